/* A matrix of int8 times every pixel, as the matrix lies: two pixels by two output channels at a
 * time, without scratch.  For weights that training changes, which nobody can pack.
 *
 * in[0]  x (rows, pixels, I)      in[1]  weights (O, I)
 * in[2]  bias (O), zero point folded in
 * with LL_PARTS, for weights in two parts of which those of the first channels are trained:
 * in[3]  their weights (O, first); those of the others are in[1], whose zero point alone is folded
 * in[4]  with `adds` a bias (O) beside that, which is trained, too
 * then the epilogue's operands
 *
 * Where a pixel or a channel has no twin it is its own.
 */
#ifndef LL_LINEAR_TILES_PARAMS
#define LL_LINEAR_TILES_PARAMS
typedef struct {
    int32_t in_c, first, zero, adds;
} ll_linear_tiles_params;
#endif

#ifdef LL_PARTS
#define LL_TILES_BEGIN p->first
#else
#define LL_TILES_BEGIN 0
#endif
#define LL_TILES_STORE(pixel, channel, sum)                                                        \
    at.x = pixel;                                                                                  \
    at.c = channel;                                                                                \
    *LL_ELEMENT(LL_Y, out_row, at.x, at.c, out) = (LL_Y)store(&at, sum);

LL_INLINE void LL_NAME(linear_tiles)(const ll_linear_tiles_params *p, const ll_in *in,
                                     const ll_out *out, const ll_region *r, void *scratch,
                                     const ll_in *operands, int32_t count,
                                     LL_R (*store)(const ll_at *, LL_ACC)) {
    const int8_t *weights = (const int8_t *)in[1].base - in[1].first * p->in_c;
    const int32_t *bias = (const int32_t *)in[2].base;
#ifdef LL_PARTS
    const int8_t *first = (const int8_t *)in[3].base - in[3].first * p->first;
    const int32_t *own = p->adds ? (const int32_t *)in[4].base : 0;
#endif
    ll_at at;
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const uint8_t *in_row = ll_in_row(&in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < r->x1; x += 2) {
            const int32_t pixels = ll_min(2, r->x1 - x), twin = x + pixels - 1;
            const int8_t *v = (const int8_t *)in_row + x * in[0].pixel + LL_TILES_BEGIN;
            const int8_t *u = (const int8_t *)in_row + twin * in[0].pixel + LL_TILES_BEGIN;
            for (int32_t c = r->c0; c < r->c1; c += 2) {
                const int32_t channels = ll_min(2, r->c1 - c), d = c + channels - 1;
                const int8_t *w = weights + c * p->in_c;
                int32_t sums[4] = {bias[c], bias[d], bias[c], bias[d]};
#ifdef LL_PARTS
                if (own) {
                    sums[0] = sums[2] = ll_wrap_add(sums[0], own[c]);
                    sums[1] = sums[3] = ll_wrap_add(sums[1], own[d]);
                }
                ll_tile_less_s8(v - p->first, u - p->first, first + c * p->first,
                                first + d * p->first, p->first, p->zero, sums);
#endif
                ll_tile_s8(v, u, w, weights + d * p->in_c, p->in_c, sums);
                LL_TILES_STORE(x, c, sums[0])
                if (channels > 1) {
                    LL_TILES_STORE(x, d, sums[1])
                }
                if (pixels > 1) {
                    LL_TILES_STORE(twin, c, sums[2])
                    if (channels > 1) {
                        LL_TILES_STORE(twin, d, sums[3])
                    }
                }
            }
        }
    }
}
#undef LL_TILES_STORE
#undef LL_TILES_BEGIN

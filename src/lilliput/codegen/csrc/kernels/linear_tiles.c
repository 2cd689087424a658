/* A matrix of int8 times every pixel, as the matrix lies: two pixels by two output channels at a
 * time, without scratch.  For weights that training changes, which nobody can pack.
 *
 * in[0]  x (rows, pixels, I)      in[1]  weights (O, I)
 * in[2]  bias (O), zero point folded in
 * in[3]  initial accumulators (rows, pixels, O), only with `resume`
 * then the epilogue's operands
 *
 * Where a pixel or a channel has no twin it is its own.
 */
#ifndef LL_LINEAR_TILES_PARAMS
#define LL_LINEAR_TILES_PARAMS
typedef struct {
    int32_t in_c, resume;
} ll_linear_tiles_params;
#endif

LL_INLINE void LL_NAME(linear_tiles)(const ll_linear_tiles_params *p, const ll_in *in,
                                     const ll_out *out, const ll_region *r, void *scratch,
                                     const ll_in *operands, int32_t count,
                                     LL_R (*store)(const ll_at *, LL_ACC)) {
    const int8_t *weights = (const int8_t *)in[1].base - in[1].first * p->in_c;
    const int32_t *bias = (const int32_t *)in[2].base;
    ll_at at;
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const uint8_t *in_row = ll_in_row(&in[0], y);
        const uint8_t *from_row = p->resume ? ll_in_row(&in[3], y) : 0;
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < r->x1; x += 2) {
            const int32_t pixels = ll_min(2, r->x1 - x);
            const int8_t *v = (const int8_t *)in_row + x * in[0].pixel;
            const int8_t *u = pixels > 1 ? v + in[0].pixel : v;
            for (int32_t c = r->c0; c < r->c1; c += 2) {
                const int32_t channels = ll_min(2, r->c1 - c), k = channels - 1;
                const int8_t *w = weights + c * p->in_c;
                int32_t sums[2][2] = {{bias[c], bias[c + k]}, {bias[c], bias[c + k]}};
                if (p->resume) {
                    for (int32_t i = 0; i < pixels; ++i) {
                        const int32_t *from =
                            (const int32_t *)(const void *)(from_row + (x + i) * in[3].pixel);
                        sums[i][0] = ll_wrap_add(sums[i][0], from[c]);
                        sums[i][1] = ll_wrap_add(sums[i][1], from[c + k]);
                    }
                }
                ll_tile_s8(v, u, w, w + k * p->in_c, p->in_c, &sums[0][0]);
                for (int32_t i = 0; i < pixels; ++i) {
                    at.x = x + i;
                    for (int32_t j = 0; j < channels; ++j) {
                        at.c = c + j;
                        *LL_ELEMENT(LL_Y, out_row, x + i, c + j, out) =
                            (LL_Y)store(&at, sums[i][j]);
                    }
                }
            }
        }
    }
}

/* Pixels picked by index: one index for each pixel of the result, clamped into the map.
 *
 * in[0]  x (rows, pixels, C)
 * in[1]  indices, LL_I: (1, B, K) when every `outer` rows of x have K of their own, else, with
 *        `nested`, (1, K, depth): the place along each of `depth` axes that are rows and pixels
 *        of x together
 *
 * extent0..4: of the axes that are indexed, outermost first.
 */
#ifndef LL_GATHER_PARAMS
#define LL_GATHER_PARAMS
typedef struct {
    int32_t outer, nested, pixels, depth, extent0, extent1, extent2, extent3, extent4;
} ll_gather_params;
#endif

LL_INLINE void LL_NAME(gather)(const ll_gather_params *p, const ll_in *in, const ll_out *out,
                               const ll_region *r, void *scratch, const ll_in *operands,
                               int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    const int32_t extent[5] = {p->extent0, p->extent1, p->extent2, p->extent3, p->extent4};
    const int32_t step = p->nested ? in[1].pixel : (int32_t)sizeof(LL_I);
    const unsigned int bytes = (unsigned int)(r->c1 - r->c0) * (unsigned int)sizeof(LL_X);
    (void)scratch;
    (void)operands;
    (void)count;
    (void)store;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const int32_t block = p->nested ? 0 : y / p->outer * in[1].pixel;
        const uint8_t *index = (const uint8_t *)in[1].base + block;
        uint8_t *to = ll_out_row(out, y) + r->c0 * (int32_t)sizeof(LL_Y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            const LL_I *at = (const LL_I *)(const void *)(index + x * step);
            int32_t n = 0;
            for (int32_t d = 0; d < p->depth; ++d) {
                const LL_I v = at[d] < extent[d] ? at[d] : (LL_I)(extent[d] - 1);
                n = n * extent[d] + (v > 0 ? (int32_t)v : 0);
            }
            const uint8_t *from = ll_in_row(&in[0], y + n / p->pixels) +
                                  n % p->pixels * in[0].pixel + r->c0 * (int32_t)sizeof(LL_X);
            __builtin_memcpy(to + x * out->pixel, from, bytes);
        }
    }
}

/* Pixels added into a map of zeros, at places that are known at run time.
 *
 * in[0]  places (1, K, depth), LL_I: one along each of `depth` axes that are rows and pixels of
 *        the result together; a place outside of the result is left out
 * in[1]  pixels (1, K, C), added in order
 *
 * extent0..4: of these axes, outermost first; `pixels`: extent of the last one.
 */
#ifndef LL_SCATTER_PARAMS
#define LL_SCATTER_PARAMS
typedef struct {
    int32_t number, pixels, depth, extent0, extent1, extent2, extent3, extent4;
} ll_scatter_params;
#endif

LL_INLINE void LL_NAME(scatter)(const ll_scatter_params *p, const ll_in *in, const ll_out *out,
                                const ll_region *r, void *scratch, const ll_in *operands,
                                int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    const int32_t extent[5] = {p->extent0, p->extent1, p->extent2, p->extent3, p->extent4};
    const unsigned int bytes = (unsigned int)(r->c1 - r->c0) * (unsigned int)sizeof(LL_Y);
    (void)scratch;
    (void)operands;
    (void)count;
    (void)store;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        uint8_t *out_row = ll_out_row(out, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            __builtin_memset(LL_ELEMENT(LL_Y, out_row, x, r->c0, out), 0, bytes);
        }
    }
    for (int32_t k = 0; k < p->number; ++k) {
        const uint8_t *places = (const uint8_t *)in[0].base + k * in[0].pixel;
        const uint8_t *pixel = (const uint8_t *)in[1].base + k * in[1].pixel;
        const LL_I *at = (const LL_I *)(const void *)places;
        const LL_X *v = (const LL_X *)(const void *)pixel;
        int32_t n = 0, inside = 1;
        for (int32_t d = 0; d < p->depth && inside; ++d) {
            inside = at[d] >= 0 && at[d] < extent[d];
            n = inside ? n * extent[d] + (int32_t)at[d] : 0;
        }
        const int32_t y = n / p->pixels;
        const int32_t x = n % p->pixels;
        if (!inside || y < r->y0 || y >= r->y1 || x < r->x0 || x >= r->x1) {
            continue;
        }
        uint8_t *out_row = ll_out_row(out, y);
        for (int32_t c = r->c0; c < r->c1; ++c) {
            LL_Y *sum = LL_ELEMENT(LL_Y, out_row, x, c, out);
            *sum = (LL_Y)LL_ADD(*sum, v[c]);
        }
    }
}

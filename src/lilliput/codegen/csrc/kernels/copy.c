/* A box from one view to another of the same frame; the two do not overlap.
 *
 * in[0]  x (rows, pixels, C)
 */
#ifndef LL_COPY_PARAMS
#define LL_COPY_PARAMS
typedef struct {
    int32_t none;
} ll_copy_params;
#endif

LL_INLINE void LL_NAME(copy)(const ll_copy_params *p, const ll_in *in, const ll_out *out,
                             const ll_region *r, void *scratch, const ll_in *operands,
                             int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    const int32_t size = (r->c1 - r->c0) * (int32_t)sizeof(LL_Y);
    /* pixels that hold nothing but these channels, in both views, go row by row */
    const int32_t pixels = in[0].pixel == size && out->pixel == size ? r->x1 - r->x0 : 1;
    const unsigned int bytes = (unsigned int)(pixels * size);
    (void)p;
    (void)scratch;
    (void)operands;
    (void)count;
    (void)store;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const uint8_t *from = ll_in_row(&in[0], y) + r->c0 * (int32_t)sizeof(LL_Y);
        uint8_t *to = ll_out_row(out, y) + r->c0 * (int32_t)sizeof(LL_Y);
        for (int32_t x = r->x0; x < r->x1; x += pixels) {
            __builtin_memcpy(to + x * out->pixel, from + x * in[0].pixel, bytes);
        }
    }
}

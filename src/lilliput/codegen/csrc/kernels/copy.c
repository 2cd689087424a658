/* A box from one view to another of the same frame; the two do not overlap, or are equal.
 *
 * in[0]  x (rows, pixels, C)
 */
#ifndef LL_COPY_PARAMS
#define LL_COPY_PARAMS
typedef struct {
    int32_t channels;
} ll_copy_params;
#endif

LL_INLINE void LL_NAME(copy)(const ll_copy_params *p, const ll_in *in, const ll_out *out,
                             const ll_region *r, void *scratch, const ll_in *operands,
                             int32_t count, LL_R (*store)(const ll_at *, LL_ACC))
{
    const int32_t dense = p->channels * (int32_t)sizeof(LL_X);
    const int32_t whole = in[0].pixel == dense && out->pixel == dense && r->c0 == 0 &&
                          r->c1 == p->channels;
    /* neighbouring pixels that are contiguous in both views go in one piece */
    const int32_t pixels = whole ? r->x1 - r->x0 : 1;
    const int32_t bytes = pixels * (r->c1 - r->c0) * (int32_t)sizeof(LL_X);
    (void)scratch;
    (void)operands;
    (void)count;
    (void)store;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const uint8_t *from = ll_in_row(&in[0], y) + r->c0 * (int32_t)sizeof(LL_X);
        uint8_t *to = ll_out_row(out, y) + r->c0 * (int32_t)sizeof(LL_Y);
        for (int32_t x = r->x0; x < r->x1; x += pixels) {
            const uint8_t *s = from + x * in[0].pixel;
            uint8_t *d = to + x * out->pixel;
            if (s != d) {
                __builtin_memcpy(d, s, (unsigned int)bytes);
            }
        }
    }
}

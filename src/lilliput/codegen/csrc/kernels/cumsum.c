/* Sums of all elements up to a place, along the pixels.
 *
 * in[0]  x (rows, N, C)
 * then the epilogue's operands
 *
 * exclusive: without the element at the place itself; reverse: from the last pixel backwards.
 * The sum starts at -`zero`, and every element counts from `zero`.
 */
#ifndef LL_CUMSUM_PARAMS
#define LL_CUMSUM_PARAMS
typedef struct {
    int32_t extent, exclusive, reverse, zero;
} ll_cumsum_params;
#endif

LL_INLINE void LL_NAME(cumsum)(const ll_cumsum_params *p, const ll_in *in, const ll_out *out,
                               const ll_region *r, void *scratch, const ll_in *operands,
                               int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    ll_at at;
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const uint8_t *row = ll_in_row(&in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t c = r->c0; c < r->c1; ++c) {
            LL_ACC sum = (LL_ACC)-p->zero;
            at.c = c;
            for (int32_t n = 0; n < p->extent; ++n) {
                const int32_t x = p->reverse ? p->extent - 1 - n : n;
                const LL_X v = ((const LL_X *)(const void *)(row + x * in[0].pixel))[c];
                const LL_ACC next = LL_ADD(sum, (LL_ACC)v - (LL_ACC)p->zero);
                if (x >= r->x0 && x < r->x1) {
                    at.x = x;
                    LL_Y *y_out = LL_ELEMENT(LL_Y, out_row, x, c, out);
                    *y_out = (LL_Y)store(&at, p->exclusive ? sum : next);
                }
                sum = next;
            }
        }
    }
}

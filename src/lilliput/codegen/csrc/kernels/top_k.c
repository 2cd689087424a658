/* Where the largest (smallest) elements along the pixels are, best first; of equal ones the
 * first.
 *
 * in[0]  x (rows, N, C)
 * then the epilogue's operands
 *
 * Pixel k of the result is the place of the element that follows the one of pixel k - 1.
 */
#ifndef LL_TOP_K_PARAMS
#define LL_TOP_K_PARAMS
typedef struct {
    int32_t extent, smallest;
} ll_top_k_params;
#endif

LL_INLINE void LL_NAME(top_k)(const ll_top_k_params *p, const ll_in *in, const ll_out *out,
                              const ll_region *r, void *scratch, const ll_in *operands,
                              int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    ll_at at;
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const uint8_t *row = ll_in_row(&in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t c = r->c0; c < r->c1; ++c) {
            LL_X last = 0;
            int32_t last_n = -1;
            at.c = c;
            for (int32_t k = 0; k < r->x1; ++k) {
                LL_X best = 0;
                int32_t best_n = -1;
                for (int32_t n = 0; n < p->extent; ++n) {
                    const LL_X v = ((const LL_X *)(const void *)(row + n * in[0].pixel))[c];
                    const int32_t later = p->smallest ? v > last : v < last;
                    if (k > 0 && !later && !(v == last && n > last_n)) {
                        continue;
                    }
                    if (best_n < 0 || (p->smallest ? v < best : v > best)) {
                        best = v;
                        best_n = n;
                    }
                }
                last = best;
                last_n = best_n;
                if (k >= r->x0) {
                    at.x = k;
                    *LL_ELEMENT(LL_Y, out_row, k, c, out) = (LL_Y)store(&at, best_n);
                }
            }
        }
    }
}

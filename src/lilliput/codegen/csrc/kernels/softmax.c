/* softmax over the channels, from int8_t to int8_t or int16_t.
 *
 * in[0]  x (rows, pixels, C)
 * in[1]  exp(-k * scale * beta) in Q0.31 for k = 0..255, int32_t
 *
 * Needs whole pixels: r->c0 = 0, r->c1 = C.  `bits`: 8 or 16, of the result.
 */
#include "../fixed_point.h"
#ifndef LL_SOFTMAX_PARAMS
#define LL_SOFTMAX_PARAMS
typedef struct {
    int32_t channels, bits;
} ll_softmax_params;
#endif

LL_INLINE void LL_NAME(softmax)(const ll_softmax_params *p, const ll_in *in, const ll_out *out,
                                const ll_region *r, void *scratch, const ll_in *operands,
                                int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    const int32_t *table = (const int32_t *)in[1].base;
    const int32_t low = -(1 << (p->bits - 1));
    (void)scratch;
    (void)operands;
    (void)count;
    (void)store;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const uint8_t *in_row = ll_in_row(&in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            const LL_X *v = (const LL_X *)(const void *)(in_row + x * in[0].pixel);
            LL_Y *y_out = (LL_Y *)(void *)(out_row + x * out->pixel);
            int32_t most = v[0];
            for (int32_t c = 1; c < p->channels; ++c) {
                most = ll_max(most, v[c]);
            }
            int32_t sum = 0; /* Q12.19 */
            for (int32_t c = 0; c < p->channels; ++c) {
                sum += ll_shr_round(table[most - v[c]], 12);
            }
            const int32_t zeros = ll_clz(sum);
            /* sum = (1 + f) * 2^(12 - zeros), f in Q0.31 */
            const int32_t scale = ll_reciprocal_q31(ll_wrap_shl(sum, zeros) & INT32_MAX);
            const int32_t right = 12 - zeros + 31 - p->bits;
            for (int32_t c = 0; c < p->channels; ++c) {
                const int32_t share = ll_mulh_round(scale, table[most - v[c]]);
                y_out[c] = (LL_Y)ll_clamp(ll_shr_round(share, right) + low, low, -low - 1);
            }
        }
    }
}

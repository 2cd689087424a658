/* log(softmax) over the channels of int8_t.
 *
 * in[0]  x (rows, pixels, C)
 * in[1]  exp(-k * scale) in Q0.31 for k = 0..255, int32_t
 *
 * Needs whole pixels: r->c0 = 0, r->c1 = C.  mult, shift: a step of x in Q5.26, `back_...` the
 * other way; reach: the steps that exp is taken of.  The result is in steps of 1/16 below 127.
 */
#include "../fixed_point.h"
#ifndef LL_LOG_SOFTMAX_PARAMS
#define LL_LOG_SOFTMAX_PARAMS
typedef struct {
    int32_t channels, mult, shift, back_mult, back_shift, reach;
} ll_log_softmax_params;
#endif

LL_INLINE void LL_NAME(log_softmax)(const ll_log_softmax_params *p, const ll_in *in,
                                    const ll_out *out, const ll_region *r, void *scratch,
                                    const ll_in *operands, int32_t count,
                                    LL_R (*store)(const ll_at *, LL_ACC)) {
    const int32_t *table = (const int32_t *)in[1].base;
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
            const int32_t log = ll_log_q26(sum);
            /* what is farther than this would leave Q5.26 */
            const int32_t least = ll_max(-p->reach - 1, ll_requant(ll_wrap_add(log, INT32_MIN),
                                                                   p->back_mult, p->back_shift));
            for (int32_t c = 0; c < p->channels; ++c) {
                const int32_t below = v[c] - most;
                const int32_t q26 = ll_wrap_add(ll_requant(below, p->mult, p->shift), -log);
                const int32_t steps = ll_clamp(ll_shr_round(q26, 22) + 127, -128, 127);
                y_out[c] = (LL_Y)(below > least ? steps : -128);
            }
        }
    }
}

/* softmax over the channels of int16_t.
 *
 * in[0]  x (rows, pixels, C)
 * in[1]  exp on [-10, 0], 513 int16_t in Q0.15      in[2]  1/(1+x) on [0, 1], the same
 *
 * Needs whole pixels: r->c0 = 0, r->c1 = C.  mult, shift: the scale of the input times beta
 * in steps of 10/65535.  The result's own elements hold the exponentials in between.
 */
#include "../fixed_point.h"
#ifndef LL_SOFTMAX_S16_PARAMS
#define LL_SOFTMAX_S16_PARAMS
typedef struct {
    int32_t channels, mult, shift;
} ll_softmax_s16_params;
#endif

LL_INLINE void LL_NAME(softmax_s16)(const ll_softmax_s16_params *p, const ll_in *in,
                                    const ll_out *out, const ll_region *r, void *scratch,
                                    const ll_in *operands, int32_t count,
                                    LL_R (*store)(const ll_at *, LL_ACC)) {
    const int16_t *exps = (const int16_t *)in[1].base;
    const int16_t *reciprocals = (const int16_t *)in[2].base;
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
            int32_t sum = 0; /* Q16.15 */
            for (int32_t c = 0; c < p->channels; ++c) {
                const int32_t diff = ll_wrap_add(ll_requant(v[c] - most, p->mult, p->shift), 32767);
                y_out[c] = (LL_Y)ll_lookup_513(ll_clamp(diff, -32768, 32767), exps);
                sum += y_out[c];
            }
            const int32_t left = ll_clz(sum) - 1;
            const int32_t shifted = (int32_t)((((int64_t)sum << left) + (1 << 13)) >> 14);
            const int32_t place = ll_clamp(shifted - (3 << 15), -32768, 32767);
            const int32_t scale = ll_lookup_513(place, reciprocals);
            const int32_t right = 30 - left;
            for (int32_t c = 0; c < p->channels; ++c) {
                const int64_t share = (int64_t)y_out[c] * scale + ((int64_t)1 << (right - 1));
                y_out[c] = (LL_Y)ll_clamp((int32_t)(share >> right), 0, 32767);
            }
        }
    }
}

/* softmax over the channels of float, or its logarithm.
 *
 * in[0]  x (rows, pixels, C)
 *
 * Needs whole pixels: r->c0 = 0, r->c1 = C.  The result's own elements hold the
 * exponentials in between.  The logarithm is x - max - log(sum of exp(x - max)); beta is 1.
 */
#include "../float.h"
#ifndef LL_SOFTMAX_F32_PARAMS
#define LL_SOFTMAX_F32_PARAMS
typedef struct {
    int32_t channels, logarithm;
    float beta;
} ll_softmax_f32_params;
#endif

LL_INLINE void LL_NAME(softmax_f32)(const ll_softmax_f32_params *p, const ll_in *in,
                                    const ll_out *out, const ll_region *r, void *scratch,
                                    const ll_in *operands, int32_t count,
                                    LL_R (*store)(const ll_at *, LL_ACC)) {
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
            LL_X most = v[0];
            for (int32_t c = 1; c < p->channels; ++c) {
                most = v[c] > most ? v[c] : most;
            }
            LL_ACC sum = 0;
            if (p->logarithm) {
                for (int32_t c = 0; c < p->channels; ++c) {
                    sum += ll_expf(v[c] - most);
                }
                const LL_ACC log = ll_logf(sum);
                for (int32_t c = 0; c < p->channels; ++c) {
                    y_out[c] = (v[c] - most) - log;
                }
                continue;
            }
            for (int32_t c = 0; c < p->channels; ++c) {
                y_out[c] = ll_expf((v[c] - most) * p->beta);
                sum += y_out[c];
            }
            for (int32_t c = 0; c < p->channels; ++c) {
                y_out[c] = y_out[c] / sum;
            }
        }
    }
}

/* Cross-entropy of softmax(logits) with a target, over the channels of each pixel.
 *
 * in[0]  logits (rows, pixels, C)      in[1]  target (rows, pixels, C)
 */
#include "../float.h"
#ifndef LL_CROSS_ENTROPY_PARAMS
#define LL_CROSS_ENTROPY_PARAMS
typedef struct {
    int32_t channels;
} ll_cross_entropy_params;
#endif

LL_INLINE void LL_NAME(cross_entropy)(const ll_cross_entropy_params *p, const ll_in *in,
                                      const ll_out *out, const ll_region *r, void *scratch,
                                      const ll_in *operands, int32_t count,
                                      LL_R (*store)(const ll_at *, LL_ACC)) {
    (void)scratch;
    (void)operands;
    (void)count;
    (void)store;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const uint8_t *logits_row = ll_in_row(&in[0], y);
        const uint8_t *target_row = ll_in_row(&in[1], y);
        uint8_t *out_row = ll_out_row(out, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            const float *v = (const float *)(const void *)(logits_row + x * in[0].pixel);
            const float *target = (const float *)(const void *)(target_row + x * in[1].pixel);
            float most = v[0];
            for (int32_t c = 1; c < p->channels; ++c) {
                most = v[c] > most ? v[c] : most;
            }
            float total = 0.0f, mass = 0.0f, hit = 0.0f;
            for (int32_t c = 0; c < p->channels; ++c) {
                const float shifted = v[c] - most;
                total += ll_expf(shifted);
                mass += target[c];
                hit += target[c] * shifted;
            }
            *(float *)(void *)(out_row + x * out->pixel) = ll_logf(total) * mass - hit;
        }
    }
}

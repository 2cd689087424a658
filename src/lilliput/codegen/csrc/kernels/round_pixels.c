/* Numbers of pixels, rounded in steps of each pixel's own, and then the bits of its step.
 *
 * in[0]  dy (rows, pixels, channels), float
 *
 * Needs whole pixels: r->c0 = 0, r->c1 those of the result.
 *
 * most   the largest number that a pixel's largest becomes
 */
#include "../update.h"
#ifndef LL_ROUND_PIXELS_PARAMS
#define LL_ROUND_PIXELS_PARAMS
typedef struct {
    int32_t channels, most;
} ll_round_pixels_params;
#endif

LL_INLINE void LL_NAME(round_pixels)(const ll_round_pixels_params *p, const ll_in *in,
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
            const float *dy = (const float *)(const void *)(in_row + x * in[0].pixel);
            int16_t *to = (int16_t *)(void *)(out_row + x * out->pixel);
            const float step = ll_fixed_pixel(dy, p->channels, p->most, to, 2);
            __builtin_memcpy(to + (p->channels + 1) / 2 * 2, &step, 4);
        }
    }
}

/* Overlapping windows of int16 samples times a window function, exact in int32.
 *
 * in[0]  x (N * blocks, axes, stride)      in[1]  w (window)
 *
 * Window f begins with block f; what lies beyond it up to `length` is zero.
 * Needs whole pixels: r->c0 = 0, r->c1 = length.
 */
#ifndef LL_FRAMES_PARAMS
#define LL_FRAMES_PARAMS
typedef struct {
    int32_t blocks, stride, window, frames, length;
} ll_frames_params;
#endif

LL_INLINE void LL_NAME(frames)(const ll_frames_params *p, const ll_in *in, const ll_out *out,
                               const ll_region *r, void *scratch, const ll_in *operands,
                               int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    const int16_t *window = (const int16_t *)in[1].base;
    (void)scratch;
    (void)operands;
    (void)count;
    (void)store;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const int32_t image = y / p->frames;
        const int32_t first = image * p->blocks + y - image * p->frames;
        uint8_t *out_row = ll_out_row(out, y);
        for (int32_t k = 0; k < p->window; k += p->stride) {
            const uint8_t *block = ll_in_row(&in[0], first + k / p->stride);
            const int32_t n = ll_min(p->stride, p->window - k);
            for (int32_t x = r->x0; x < r->x1; ++x) {
                const int16_t *from = (const int16_t *)(const void *)(block + x * in[0].pixel);
                int32_t *to = (int32_t *)(void *)(out_row + x * out->pixel) + k;
                for (int32_t i = 0; i < n; ++i) {
                    to[i] = from[i] * window[k + i];
                }
            }
        }
        for (int32_t x = r->x0; x < r->x1; ++x) {
            int32_t *to = (int32_t *)(void *)(out_row + x * out->pixel);
            for (int32_t i = p->window; i < p->length; ++i) {
                to[i] = 0;
            }
        }
    }
}

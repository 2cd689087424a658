/* Gradient of what a 1x1 convolution of int8 weights reads, of dy rounded to 16-bit numbers: two
 * pixels by four input channels at a time.
 *
 * in[0]  dy (N*H, W, in_c)   in[1]  weights: as they lie, (O, w_row), or as `gemm` has them
 * then the epilogue's operands
 *
 * A pixel's dy is rounded in steps of its largest magnitude over `most`; what no step can be made
 * of is 0, and a pixel with a number that is not finite gives NaN.  Sums are exact.
 *
 * first     bytes before the weights of the first channels, where some of them take part
 * left      input channels of a row of weights from there on
 * LL_BACK   the sums of two pixels and four channels (isa/base.h)
 * LL_NEXT_CHANNEL  bytes between the weights of two channels: 2 where they are packed
 *
 * scratch: rounded numbers (in_c/2, two pixels, 2), a missing last one 0
 */
#ifndef LL_CONV2D_GRAD_X_FIXED_PARAMS
#define LL_CONV2D_GRAD_X_FIXED_PARAMS
typedef struct {
    int32_t in_c, w_row, left, first, most;
} ll_conv2d_grad_x_fixed_params;

/* 1e-30, infinity and a NaN */
#define LL_FIXED_LEAST 0x0DA24260U
#define LL_FIXED_INFINITE 0x7F800000U
#define LL_FIXED_NAN 0x7FC00000U

/* Rounds the n numbers of a pixel to every second pair from `to` on; gives what a step is.  The
 * largest becomes `most`, so that none is beyond it.
 * Magnitudes are compared as the integers that order as they do, infinity and NaN last. */
LL_INLINE float ll_fixed_pixel(const float *d, int32_t n, int32_t most, int16_t *to) {
    uint32_t largest = 0;
    for (int32_t i = 0; i < n; ++i) {
        const uint32_t size = ll_bits_of(d[i]) & 0x7FFFFFFFU;
        largest = size > largest ? size : largest;
    }
    const float top = ll_float_of(largest);
    const int32_t some = largest >= LL_FIXED_LEAST && largest < LL_FIXED_INFINITE;
    const float times = some ? (float)most / top : 0.0f;
    for (int32_t i = 0; i < n; i += 2, to += 4) {
        const float second = i + 1 < n ? d[i + 1] : 0.0f;
        to[0] = some ? (int16_t)ll_round_even(d[i] * times, INT32_MIN, INT32_MAX) : 0;
        to[1] = some ? (int16_t)ll_round_even(second * times, INT32_MIN, INT32_MAX) : 0;
    }
    const float none = largest < LL_FIXED_LEAST ? 0.0f : ll_float_of(LL_FIXED_NAN);
    return some ? top / (float)most : none;
}
#endif

LL_INLINE void LL_NAME(conv2d_grad_x_fixed)(const ll_conv2d_grad_x_fixed_params *p, const ll_in *in,
                                            const ll_out *out, const ll_region *r, void *scratch,
                                            const ll_in *operands, int32_t count,
                                            LL_R (*store)(const ll_at *, LL_ACC)) {
    const int8_t *weights = (const int8_t *)in[1].base + p->first;
    int16_t *numbers = (int16_t *)scratch;
    ll_at at;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const uint8_t *dy_row = ll_in_row(&in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < r->x1; x += 2) {
            const int32_t pixels = ll_min(2, r->x1 - x);
            float step[2];
            for (int32_t i = 0; i < 2; ++i) {
                const int32_t own = ll_min(x + i, r->x1 - 1);
                const float *dy = (const float *)(const void *)(dy_row + own * in[0].pixel);
                step[i] = ll_fixed_pixel(dy, p->in_c, p->most, numbers + 2 * i);
            }
            for (int32_t c = r->c0 & ~3; c < r->c1; c += 4) {
                const int32_t first = ll_max(c, r->c0), last = ll_min(c + 4, r->c1);
                int32_t sums[2][4];
                LL_BACK(weights + LL_NEXT_CHANNEL * c, numbers, p->in_c, p->w_row, p->left - c,
                        &sums[0][0]);
                for (int32_t i = 0; i < pixels; ++i) {
                    at.x = x + i;
                    for (int32_t k = first; k < last; ++k) {
                        at.c = k;
                        *LL_ELEMENT(LL_Y, out_row, x + i, k, out) =
                            (LL_Y)store(&at, (float)sums[i][k - c] * step[i]);
                    }
                }
            }
        }
    }
}

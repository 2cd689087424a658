/* Gradient of what a 1x1 convolution of int8 weights reads, of dy rounded to 16-bit numbers: four
 * pixels by four input channels at a time.  Rows that follow one another are one.
 *
 * in[0]  dy (N*H, W, in_c)   in[1]  weights: as they lie, (O, w_row), or as `gemm` has them
 * then the epilogue's operands
 *
 * A pixel's dy is rounded in steps of its largest magnitude over `most`; what no step can be made
 * of is 0, and a pixel with a number that is not finite gives NaN.  Sums are exact.
 *
 * first     bytes before the weights of the first channels, where some of them take part
 * left      input channels of a row of weights from there on
 * LL_BACK   the sums of four pixels and four channels (isa/base.h)
 * LL_NEXT_CHANNEL  bytes between the weights of two channels: 2 where they are packed
 *
 * scratch: rounded numbers (in_c/2, four pixels, 2), a missing last one 0
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

/* The larger of `largest` and twice the bits of a magnitude. */
LL_INLINE uint32_t ll_fixed_larger(uint32_t largest, float d) {
    const uint32_t size = ll_bits_of(d) << 1;
    return size > largest ? size : largest;
}

/* Two numbers as the halves of a word. */
LL_INLINE void ll_fixed_pair(float low, float high, float times, int16_t *to) {
    const uint32_t a = (uint32_t)ll_round_even(low * times, INT32_MIN, INT32_MAX);
    const uint32_t b = (uint32_t)ll_round_even(high * times, INT32_MIN, INT32_MAX);
    const uint32_t both = (a & 0xFFFFU) | (b << 16);
    __builtin_memcpy(to, &both, 4);
}

/* Rounds the n numbers of a pixel to every fourth pair from `to` on; gives what a step is.  The
 * largest becomes `most`, so that none is beyond it.
 * Magnitudes are compared as the integers that order as they do, infinity and NaN last. */
LL_INLINE float ll_fixed_pixel(const float *d, int32_t n, int32_t most, int16_t *to) {
    uint32_t largest = 0;
    int32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        largest = ll_fixed_larger(largest, d[i]);
        largest = ll_fixed_larger(largest, d[i + 1]);
        largest = ll_fixed_larger(largest, d[i + 2]);
        largest = ll_fixed_larger(largest, d[i + 3]);
    }
    for (; i < n; ++i) {
        largest = ll_fixed_larger(largest, d[i]);
    }
    largest >>= 1;
    if (largest < LL_FIXED_LEAST || largest >= LL_FIXED_INFINITE) {
        for (i = 0; i < n; i += 2, to += 8) {
            to[0] = 0;
            to[1] = 0;
        }
        return largest < LL_FIXED_LEAST ? 0.0f : ll_float_of(LL_FIXED_NAN);
    }
    const float top = ll_float_of(largest), times = (float)most / top;
    for (i = 0; i + 4 <= n; i += 4, to += 16) {
        ll_fixed_pair(d[i], d[i + 1], times, to);
        ll_fixed_pair(d[i + 2], d[i + 3], times, to + 8);
    }
    for (; i < n; i += 2, to += 8) {
        ll_fixed_pair(d[i], i + 1 < n ? d[i + 1] : 0.0f, times, to);
    }
    return top / (float)most;
}
#endif

#define LL_FIXED_STORE(c0, k)                                                                      \
    at.c = (c0) + (k);                                                                             \
    *LL_ELEMENT(LL_Y, out_row, at.x, at.c, out) = (LL_Y)store(&at, (float)sums[k][i] * step[i]);

LL_INLINE void LL_NAME(conv2d_grad_x_fixed)(const ll_conv2d_grad_x_fixed_params *p, const ll_in *in,
                                            const ll_out *out, const ll_region *r, void *scratch,
                                            const ll_in *operands, int32_t count,
                                            LL_R (*store)(const ll_at *, LL_ACC)) {
    const int8_t *weights = (const int8_t *)in[1].base + p->first;
    const int32_t merged = ll_merged(r, &in[0], out, operands, count);
    int16_t *numbers = (int16_t *)scratch;
    ll_at at;
    for (int32_t y = r->y0; y < (merged ? r->y0 + 1 : r->y1); ++y) {
        const uint8_t *dy_row = ll_in_row(&in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        const int32_t x1 = r->x1 + merged;
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < x1; x += 4) {
            const int32_t pixels = ll_min(4, x1 - x);
            float step[4];
            for (int32_t i = 0; i < 4; ++i) {
                const int32_t own = ll_min(x + i, x1 - 1);
                const float *dy = (const float *)(const void *)(dy_row + own * in[0].pixel);
                step[i] = ll_fixed_pixel(dy, p->in_c, p->most, numbers + 2 * i);
            }
            for (int32_t c = r->c0 & ~3; c < r->c1; c += 4) {
                const int32_t first = ll_max(c, r->c0), last = ll_min(c + 4, r->c1);
                int32_t sums[4][4];
                LL_BACK(weights + LL_NEXT_CHANNEL * c, numbers, p->in_c, p->w_row, p->left - c,
                        &sums[0][0]);
                for (int32_t i = 0; i < pixels; ++i) {
                    at.x = x + i;
                    if (last - first == 4) {
                        LL_FIXED_STORE(c, 0)
                        LL_FIXED_STORE(c, 1)
                        LL_FIXED_STORE(c, 2)
                        LL_FIXED_STORE(c, 3)
                        continue;
                    }
                    for (int32_t k = first - c; k < last - c; ++k) {
                        LL_FIXED_STORE(c, k)
                    }
                }
            }
        }
    }
}
#undef LL_FIXED_STORE

/* Gradient of what a 1x1 convolution of int8 weights reads, of dy rounded to 16-bit numbers: four
 * pixels by four input channels at a time.  Rows that follow one another are one.  Of several fours
 * of pixels (LL_FOURS) the weights of four channels are widened once.
 *
 * in[0]  dy (N*H, W, in_c), or pixels that `round_pixels` made of it
 * in[1]  weights: as they lie, (O, w_row), or as `gemm` has them
 * then the epilogue's operands
 *
 * A pixel's dy is rounded in steps of its largest magnitude over `most`; what no step can be made
 * of is 0, and a pixel with a number that is not finite gives NaN.  Sums are exact.
 *
 * first     bytes before the weights of the first channels, where some of them take part
 * left      input channels of a row of weights from there on
 * LL_ROUNDED  whether dy is rounded already
 * LL_FOURS  how many fours of pixels are made together
 * LL_BACK   the sums of four pixels and four channels, LL_WIDEN what widens weights (isa/base.h)
 * LL_NEXT_CHANNEL  bytes between the weights of two channels: 2 where they are packed
 *
 * scratch: rounded numbers (fours, in_c/2, four pixels, 2), a missing last one 0; of several fours
 *          pairs of numbers are even, and wide weights (2, in_c/2, 2, 2) lie behind them
 */
#include "../update.h"
#ifndef LL_CONV2D_GRAD_X_FIXED_PARAMS
#define LL_CONV2D_GRAD_X_FIXED_PARAMS
typedef struct {
    int32_t in_c, w_row, left, first, most;
} ll_conv2d_grad_x_fixed_params;
#endif

#define LL_FIXED_STORE(k)                                                                          \
    at->c = c + (k);                                                                               \
    *LL_ELEMENT(LL_Y, out_row, at->x, at->c, out) =                                                \
        (LL_Y)store(at, (float)sums[(k)*4 + i] * step[i]);

/* Channels [c + from, c + to) of `pixels` pixels from x on. */
LL_INLINE void LL_NAME(fixed_store)(ll_at *at, const ll_out *out, uint8_t *out_row, int32_t x,
                                    int32_t pixels, int32_t c, int32_t from, int32_t to,
                                    const int32_t *sums, const float *step,
                                    LL_R (*store)(const ll_at *, LL_ACC)) {
    for (int32_t i = 0; i < pixels; ++i) {
        at->x = x + i;
        if (to - from == 4) {
            LL_FIXED_STORE(0)
            LL_FIXED_STORE(1)
            LL_FIXED_STORE(2)
            LL_FIXED_STORE(3)
            continue;
        }
        for (int32_t k = from; k < to; ++k) {
            LL_FIXED_STORE(k)
        }
    }
}

/* The numbers of a pixel as every fourth pair from `to` on; gives its step. */
#if LL_ROUNDED
#define LL_FIXED_PIXEL(dy, to) ll_fixed_apart(dy, p->in_c, to)
#else
#define LL_FIXED_PIXEL(dy, to) ll_fixed_pixel(dy, p->in_c, p->most, to, 8)
#endif

/* The sums of four pixels and four channels, and what is done with the weights before. */
#if LL_FOURS > 1
#define LL_FIXED_SUMS(w)                                                                           \
    static const int32_t none[4] = {0, 0, 0, 0};                                                   \
    ll_sums_wide_4(own, wide, none, sums, groups, 2);
#define LL_FIXED_WIDEN(w) LL_WIDEN(w, p->in_c, p->w_row, p->left - c, wide);
#else
#define LL_FIXED_SUMS(w) LL_BACK(w, own, p->in_c, p->w_row, p->left - c, sums);
#define LL_FIXED_WIDEN(w) (void)wide;
#endif

LL_INLINE void LL_NAME(conv2d_grad_x_fixed)(const ll_conv2d_grad_x_fixed_params *p, const ll_in *in,
                                            const ll_out *out, const ll_region *r, void *scratch,
                                            const ll_in *operands, int32_t count,
                                            LL_R (*store)(const ll_at *, LL_ACC)) {
    const int8_t *weights = (const int8_t *)in[1].base + p->first;
    const int32_t merged = ll_merged(r, &in[0], out, operands, count);
    const int32_t groups = (p->in_c + 3) / 4;
    int16_t *const numbers = (int16_t *)scratch, *const wide = numbers + LL_FOURS * groups * 16;
    ll_at at;
    for (int32_t y = r->y0; y < (merged ? r->y0 + 1 : r->y1); ++y) {
        const uint8_t *dy_row = ll_in_row(&in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        const int32_t x1 = r->x1 + merged;
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < x1; x += 4 * LL_FOURS) {
            const int32_t pixels = ll_min(4 * LL_FOURS, x1 - x);
            float step[4 * LL_FOURS];
            for (int32_t i = 0; i < ((pixels + 3) & ~3); ++i) {
                const int32_t own = ll_min(x + i, x1 - 1);
                const LL_X *dy = (const LL_X *)(const void *)(dy_row + own * in[0].pixel);
                int16_t *to = numbers + i / 4 * groups * 16 + i % 4 * 2;
                if (LL_FOURS > 1) { /* the last pair of a group, which may not be there */
                    to[groups * 16 - 8] = 0;
                    to[groups * 16 - 7] = 0;
                }
                step[i] = LL_FIXED_PIXEL(dy, to);
            }
            for (int32_t c = r->c0 & ~3; c < r->c1; c += 4) {
                const int32_t first = ll_max(c, r->c0), last = ll_min(c + 4, r->c1);
                const int8_t *w = weights + LL_NEXT_CHANNEL * c;
                LL_FIXED_WIDEN(w)
                for (int32_t i = 0; i < pixels; i += 4) {
                    const int16_t *own = numbers + i * groups * 4;
                    int32_t sums[16];
                    LL_FIXED_SUMS(w)
                    LL_NAME(fixed_store)
                    (&at, out, out_row, x + i, ll_min(4, pixels - i), c, first - c, last - c, sums,
                     step + i, store);
                }
            }
        }
    }
}
#undef LL_FIXED_PIXEL
#undef LL_FIXED_STORE
#undef LL_FIXED_SUMS
#undef LL_FIXED_WIDEN

/* Depthwise convolution of int8, a channel a lane: one pixel at a time, channels last.
 *
 * in[0]  x (N*H, W, C)      in[1]  weights (KH, KW, C), none of them -128
 * in[2]  bias (C), zero point folded in      in[3]  one pixel of zero points
 * in[4], in[5]  multipliers and shifts (C)
 * then the epilogue's operands
 *
 * Sums are requantised here, many at a time, to int8 with zero point `zero`; the epilogue gets
 * the result.
 *
 * scratch: sums of LL_CHUNK channels, a multiple of sixteen
 */
#ifndef LL_DEPTHWISE_LANES_PARAMS
#define LL_DEPTHWISE_LANES_PARAMS
typedef struct {
    int32_t in_h, in_w, out_h, kh, kw, stride_h, stride_w, dilation_h, dilation_w;
    int32_t pad_top, pad_left, lanes, zero;
} ll_depthwise_lanes_params;
#endif

LL_INLINE void LL_NAME(depthwise_lanes)(const ll_depthwise_lanes_params *p, const ll_in *in,
                                        const ll_out *out, const ll_region *r, void *scratch,
                                        const ll_in *operands, int32_t count,
                                        LL_R (*store)(const ll_at *, LL_ACC)) {
    const int8_t *zeros = (const int8_t *)in[3].base, *weights = (const int8_t *)in[1].base;
    const int32_t *mult = (const int32_t *)in[4].base, *shift = (const int32_t *)in[5].base;
    int32_t *const sums = (int32_t *)scratch;
    const uint8_t *rows[LL_ROWS];
    const int8_t *taps[LL_TAPS];
    ll_at at;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        LL_WINDOW_ROWS(rows, p, &in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            const int32_t left = x * p->stride_w - p->pad_left;
            for (int32_t k = 0, t = 0; k < p->kh; ++k) {
                for (int32_t j = 0; j < p->kw; ++j, ++t) {
                    const int32_t ix = left + j * p->dilation_w;
                    const int32_t inside = rows[k] && ix >= 0 && ix < p->in_w;
                    taps[t] = inside ? (const int8_t *)rows[k] + ix * in[0].pixel : zeros;
                }
            }
            at.x = x;
            for (int32_t base = r->c0; base < r->c1; base += LL_CHUNK) {
                const int32_t end = ll_min(base + LL_CHUNK, r->c1);
                ll_taps_lanes(taps, p->kh * p->kw, weights, LL_CHANNELS,
                              (const int32_t *)in[2].base, sums, base, end);
                ll_requant_lanes(sums, end - base, mult + base, shift + base, p->zero);
                for (int32_t c = base; c < end; ++c) {
                    at.c = c;
                    *LL_ELEMENT(LL_Y, out_row, x, c, out) = (LL_Y)store(&at, sums[c - base]);
                }
            }
        }
    }
}

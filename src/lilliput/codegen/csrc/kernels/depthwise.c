/* Depthwise convolution with a channel multiplier, channels last.
 *
 * in[0]  x (N*H, W, C)      in[1]  weights (KH, KW, C*M), taps w_next apart
 * in[2]  bias (C*M), zero point folded in      in[3]  one pixel of zero points
 * then the epilogue's operands
 */
#ifndef LL_DEPTHWISE_PARAMS
#define LL_DEPTHWISE_PARAMS
typedef struct {
    int32_t in_h, in_w, out_h, kh, kw, stride_h, stride_w, dilation_h, dilation_w;
    int32_t pad_top, pad_left, multiplier, w_next, w_zero;
} ll_depthwise_params;
#endif

LL_INLINE void LL_NAME(depthwise)(const ll_depthwise_params *p, const ll_in *in, const ll_out *out,
                                  const ll_region *r, void *scratch, const ll_in *operands,
                                  int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    const LL_X *zeros = (const LL_X *)in[3].base;
    const LL_W *weights = (const LL_W *)in[1].base;
    const LL_ACC *bias = (const LL_ACC *)in[2].base;
    const int32_t taps = p->kh * p->kw;
    const uint8_t *rows[LL_ROWS];
    const LL_X *tap[LL_TAPS];
    ll_at at;
    (void)scratch;
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
                    tap[t] =
                        inside ? (const LL_X *)(const void *)(rows[k] + ix * in[0].pixel) : zeros;
                }
            }
            at.x = x;
            for (int32_t c = r->c0; c < r->c1; ++c) {
                const int32_t channel = p->multiplier == 1 ? c : c / p->multiplier;
                LL_ACC acc = bias[c];
                for (int32_t t = 0, w = c; t < taps; ++t, w += p->w_next) {
                    const LL_ACC weight = LL_WEIGHT(weights, w, p->w_zero);
                    acc = LL_ADD(acc, (LL_ACC)tap[t][channel] * weight);
                }
                at.c = c;
                *LL_ELEMENT(LL_Y, out_row, x, c, out) = (LL_Y)store(&at, acc);
            }
        }
    }
}

/* Convolution of any stride, dilation, padding and number of groups, channels last.
 *
 * in[0]  x (N*H, W, I)      in[1]  weights (O, KH, KW, I/groups)
 * in[2]  bias (O), zero point folded in      in[3]  one window row of zero points
 * in[4]  initial accumulators (N*OH, OW, O), only with `resume`
 * then the epilogue's operands
 *
 * Taps outside the map read in[3], so the folded zero point stays right at the borders.
 */
#ifndef LL_CONV2D_PARAMS
#define LL_CONV2D_PARAMS
typedef struct {
    int32_t in_h, in_w, in_c, out_h, kh, kw, stride_h, stride_w, dilation_h, dilation_w;
    int32_t pad_top, pad_left, group_in, group_out, resume, w_next, w_zero;
} ll_conv2d_params;
#endif

LL_INLINE void LL_NAME(conv2d)(const ll_conv2d_params *p, const ll_in *in, const ll_out *out,
                               const ll_region *r, void *scratch, const ll_in *operands,
                               int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    const LL_X *zeros = (const LL_X *)in[3].base;
    const LL_W *weights = (const LL_W *)in[1].base;
    const LL_ACC *bias = (const LL_ACC *)in[2].base;
    const int32_t window = p->kw * p->group_in;
    const uint8_t *rows[LL_ROWS];
    ll_at at;
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        LL_WINDOW_ROWS(rows, p, &in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            const int32_t left = x * p->stride_w - p->pad_left;
            /* taps of one row of the window that are neighbours in memory: one dot product */
            const int32_t inside = left >= 0 && left + p->kw <= p->in_w && p->dilation_w == 1 &&
                                   p->group_in == p->in_c &&
                                   in[0].pixel == p->in_c * (int32_t)sizeof(LL_X);
            at.x = x;
            for (int32_t c = r->c0; c < r->c1; ++c) {
                const LL_W *own = LL_ROW(weights, (c - in[1].first) * p->w_next);
                int32_t w = 0;
                const int32_t group = c / p->group_out * p->group_in;
                LL_ACC acc = bias[c];
                at.c = c;
                if (p->resume) {
                    const uint8_t *row = ll_in_row(&in[4], y);
                    acc = LL_ADD(acc, ((const LL_ACC *)(const void *)(row + x * in[4].pixel))[c]);
                }
                for (int32_t k = 0; k < p->kh; ++k, w += window) {
                    if (!rows[k]) {
                        acc = LL_DOT(zeros, own, w, p->w_zero, window, acc);
                    } else if (inside) {
                        const LL_X *v = (const LL_X *)(const void *)(rows[k] + left * in[0].pixel);
                        acc = LL_DOT(v, own, w, p->w_zero, window, acc);
                    } else {
                        for (int32_t j = 0; j < p->kw; ++j) {
                            const int32_t ix = left + j * p->dilation_w;
                            const LL_X *v = zeros;
                            if (ix >= 0 && ix < p->in_w) {
                                v = (const LL_X *)(const void *)(rows[k] + ix * in[0].pixel) +
                                    group;
                            }
                            acc = LL_DOT(v, own, w + j * p->group_in, p->w_zero, p->group_in, acc);
                        }
                    }
                }
                *LL_ELEMENT(LL_Y, out_row, x, c, out) = (LL_Y)store(&at, acc);
            }
        }
    }
}

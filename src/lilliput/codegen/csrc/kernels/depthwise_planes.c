/* Depthwise convolution with a channel multiplier, one channel plane after the other.
 *
 * in[0]  x (N*H, W, C) in planes      in[1]  weights (C*M, KH, KW)
 * in[2]  bias (C*M), zero point folded in      in[3]  one row of zero points, W of them
 * then the epilogue's operands
 *
 * A tap's neighbour in memory is the next pixel of the same channel, so that the weights of a
 * channel stay in registers along a row.  Rows outside the map are read from in[3].
 */
#ifndef LL_DEPTHWISE_PLANES_PARAMS
#define LL_DEPTHWISE_PLANES_PARAMS
typedef struct {
    int32_t in_h, in_w, out_h, kh, kw, stride_h, stride_w, dilation_h, dilation_w;
    int32_t pad_top, pad_left, multiplier, w_next, w_zero;
} ll_depthwise_planes_params;
#endif

LL_INLINE void LL_NAME(depthwise_planes)(const ll_depthwise_planes_params *p, const ll_in *in,
                                         const ll_out *out, const ll_region *r, void *scratch,
                                         const ll_in *operands, int32_t count,
                                         LL_R (*store)(const ll_at *, LL_ACC)) {
    const LL_X *zeros = (const LL_X *)in[3].base;
    const LL_W *weights = (const LL_W *)in[1].base;
    const LL_ACC *bias = (const LL_ACC *)in[2].base;
    const int32_t reach = (p->kw - 1) * p->dilation_w;
    const LL_X *rows[LL_ROWS];
    ll_at at;
    (void)scratch;
    for (int32_t c = r->c0; c < r->c1; ++c) {
        const LL_W *own = LL_ROW(weights, c * p->w_next);
        const int32_t plane = (p->multiplier == 1 ? c : c / p->multiplier) * in[0].plane;
        at.c = c;
        for (int32_t y = r->y0; y < r->y1; ++y) {
            const int32_t image = y / p->out_h;
            const int32_t top = (y - image * p->out_h) * p->stride_h - p->pad_top;
            for (int32_t k = 0; k < p->kh; ++k) {
                const int32_t iy = top + k * p->dilation_h;
                const uint8_t *row = (const uint8_t *)zeros;
                if (iy >= 0 && iy < p->in_h) {
                    row = ll_in_row(&in[0], image * p->in_h + iy) + plane;
                }
                rows[k] = (const LL_X *)(const void *)row;
            }
            uint8_t *out_row = ll_out_row(out, y);
            ll_at_row(&at, operands, count, y);
            for (int32_t x = r->x0; x < r->x1; ++x) {
                const int32_t left = x * p->stride_w - p->pad_left;
                LL_ACC acc = bias[c];
                if (left >= 0 && left + reach < p->in_w) {
                    for (int32_t k = 0; k < p->kh; ++k) {
                        for (int32_t j = 0; j < p->kw; ++j) {
                            const LL_X v = rows[k][left + j * p->dilation_w];
                            acc = LL_ADD(acc, (LL_ACC)v * LL_WEIGHT(own, k * p->kw + j, p->w_zero));
                        }
                    }
                } else {
                    for (int32_t k = 0; k < p->kh; ++k) {
                        for (int32_t j = 0; j < p->kw; ++j) {
                            const int32_t ix = left + j * p->dilation_w;
                            const LL_X v = ix >= 0 && ix < p->in_w ? rows[k][ix] : zeros[0];
                            acc = LL_ADD(acc, (LL_ACC)v * LL_WEIGHT(own, k * p->kw + j, p->w_zero));
                        }
                    }
                }
                at.x = x;
                *LL_ELEMENT(LL_Y, out_row, x, c, out) = (LL_Y)store(&at, acc);
            }
        }
    }
}

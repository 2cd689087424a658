/* Gradient of a convolution's weights; rows of dy come in pieces, sums live in `scratch`.
 *
 * in[0]  x (N*H, W, I)      in[1]  dy (N*OH, OW, O)
 *
 * The region's rows are rows of dy.  Row 0 starts the sums, the last row stores them.  Taps
 * outside the map add a product with zero, so that the order of summation is the same everywhere.
 */
#ifndef LL_CONV2D_GRAD_W_PARAMS
#define LL_CONV2D_GRAD_W_PARAMS
typedef struct {
    int32_t in_h, in_w, in_c, out_h, out_w, out_c, rows, kh, kw, stride_h, stride_w;
    int32_t dilation_h, dilation_w, pad_top, pad_left;
} ll_conv2d_grad_w_params;
#endif

LL_INLINE void LL_NAME(conv2d_grad_w)(const ll_conv2d_grad_w_params *p, const ll_in *in,
                                      const ll_out *out, const ll_region *r, void *scratch,
                                      const ll_in *operands, int32_t count,
                                      LL_R (*store)(const ll_at *, LL_ACC)) {
    float *sums = (float *)scratch;
    const int32_t size = p->out_c * p->kh * p->kw * p->in_c;
    (void)operands;
    (void)count;
    (void)store;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const int32_t image = y / p->out_h;
        const int32_t top = (y - image * p->out_h) * p->stride_h - p->pad_top;
        const uint8_t *dy_row = ll_in_row(&in[1], y);
        for (int32_t i = 0; y == 0 && i < size; ++i) {
            sums[i] = 0.0f;
        }
        for (int32_t i = 0; i < p->kh; ++i) {
            const int32_t iy = top + i * p->dilation_h;
            const int32_t inside_y = iy >= 0 && iy < p->in_h;
            const uint8_t *x_row = inside_y ? ll_in_row(&in[0], image * p->in_h + iy) : 0;
            for (int32_t j = 0; j < p->kw; ++j) {
                for (int32_t x = 0; x < p->out_w; ++x) {
                    const float *dy = (const float *)(const void *)(dy_row + x * in[1].pixel);
                    const int32_t ix = x * p->stride_w + j * p->dilation_w - p->pad_left;
                    const float *v = 0;
                    if (x_row && ix >= 0 && ix < p->in_w) {
                        v = (const float *)(const void *)(x_row + ix * in[0].pixel);
                    }
                    for (int32_t o = 0; o < p->out_c; ++o) {
                        float *dw = sums + ((o * p->kh + i) * p->kw + j) * p->in_c;
                        for (int32_t c = 0; c < p->in_c; ++c) {
                            dw[c] += dy[o] * (v ? v[c] : 0.0f);
                        }
                    }
                }
            }
        }
    }
    for (int32_t y = 0; r->y1 == p->rows && y < p->out_c * p->kh; ++y) {
        uint8_t *out_row = ll_out_row(out, y);
        for (int32_t x = 0; x < p->kw; ++x) {
            for (int32_t c = 0; c < p->in_c; ++c) {
                *LL_ELEMENT(float, out_row, x, c, out) = sums[(y * p->kw + x) * p->in_c + c];
            }
        }
    }
}

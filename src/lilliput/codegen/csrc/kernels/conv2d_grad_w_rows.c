/* Gradient of a convolution's weights, a row of them at a time, from all of x and dy.
 *
 * in[0]  x (N*H, W, I)      in[1]  dy (N*OH, OW, O)
 * then the epilogue's operands
 *
 * The region's rows are (output channel, kernel row).  Each element is summed over the pixels of
 * dy, row major; taps outside the map add a product with zero, so that the order of summation is
 * the same everywhere.
 */
#ifndef LL_CONV2D_GRAD_W_ROWS_PARAMS
#define LL_CONV2D_GRAD_W_ROWS_PARAMS
typedef struct {
    int32_t in_h, in_w, in_c, out_h, out_w, out_c, rows, kh, kw, stride_h, stride_w;
    int32_t dilation_h, dilation_w, pad_top, pad_left, group_in, group_out, zero_point;
} ll_conv2d_grad_w_rows_params;
#endif

LL_INLINE void LL_NAME(conv2d_grad_w_rows)(const ll_conv2d_grad_w_rows_params *p, const ll_in *in,
                                           const ll_out *out, const ll_region *r, void *scratch,
                                           const ll_in *operands, int32_t count,
                                           LL_R (*store)(const ll_at *, LL_ACC)) {
    ll_at at;
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const int32_t o = y / p->kh;
        const int32_t i = y - o * p->kh;
        const int32_t first = o / p->group_out * p->group_in;
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t j = r->x0; j < r->x1; ++j) {
            at.x = j;
            for (int32_t c = r->c0; c < r->c1; ++c) {
                float acc = 0.0f;
                for (int32_t row = 0; row < p->rows; ++row) {
                    const int32_t image = row / p->out_h;
                    const int32_t iy =
                        (row - image * p->out_h) * p->stride_h - p->pad_top + i * p->dilation_h;
                    const int32_t inside_y = iy >= 0 && iy < p->in_h;
                    const uint8_t *x_row = inside_y ? ll_in_row(&in[0], image * p->in_h + iy) : 0;
                    const uint8_t *dy_row = ll_in_row(&in[1], row);
                    int32_t ix = j * p->dilation_w - p->pad_left;
                    for (int32_t x = 0; x < p->out_w; ++x, ix += p->stride_w) {
                        const uint8_t *dy = dy_row + x * in[1].pixel;
                        float v = 0.0f;
                        if (x_row && ix >= 0 && ix < p->in_w) {
                            const uint8_t *pixel = x_row + ix * in[0].pixel;
                            v = (float)(((const LL_X *)(const void *)pixel)[first + c] -
                                        (LL_X)p->zero_point);
                        }
                        acc += ((const float *)(const void *)dy)[o] * v;
                    }
                }
                at.c = c;
                *LL_ELEMENT(LL_Y, out_row, j, c, out) = (LL_Y)store(&at, acc);
            }
        }
    }
}

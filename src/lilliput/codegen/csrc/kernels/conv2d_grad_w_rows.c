/* Gradient of a convolution's weights, an element at a time, from all of x and dy.
 *
 * in[0]  x (N*H, W, I)      in[1]  dy (N*OH, OW, O)
 * then the epilogue's operands
 *
 * The region's rows are (output channel, kernel row).  Each element is summed over the pixels of
 * dy, row major, whose tap lies inside the map.
 */
#ifndef LL_CONV2D_GRAD_W_ROWS_PARAMS
#define LL_CONV2D_GRAD_W_ROWS_PARAMS
typedef struct {
    int32_t in_h, in_w, in_c, out_h, out_w, out_c, rows, kh, kw, stride_h, stride_w;
    int32_t dilation_h, dilation_w, pad_top, pad_left, group_in, group_out, zero_point;
} ll_conv2d_grad_w_rows_params;
#endif

/* Channel c of x with channel o of dy, at kernel row i; `at` is where pixel 0 has its tap. */
LL_INLINE float LL_NAME(grad_w_element)(const ll_conv2d_grad_w_rows_params *p, const ll_in *in,
                                        int32_t i, int32_t at, int32_t o, int32_t c) {
    const int32_t from = at < 0 ? (p->stride_w - 1 - at) / p->stride_w : 0;
    const int32_t last = p->in_w - 1 - at;
    const int32_t to = last < 0 ? 0 : ll_min(p->out_w, last / p->stride_w + 1);
    const int32_t dy_next = in[1].pixel, x_next = p->stride_w * in[0].pixel;
    float acc = 0.0f;
    for (int32_t row = 0; row < p->rows; ++row) {
        const int32_t image = row / p->out_h;
        const int32_t y = (row - image * p->out_h) * p->stride_h - p->pad_top + i * p->dilation_h;
        if (y < 0 || y >= p->in_h) {
            continue;
        }
        const uint8_t *dy = ll_in_row(&in[1], row) + from * dy_next + o * 4;
        const uint8_t *x = ll_in_row(&in[0], image * p->in_h + y) +
                           (from * p->stride_w + at) * in[0].pixel + c * (int32_t)sizeof(LL_X);
        for (int32_t n = from; n < to; ++n, dy += dy_next, x += x_next) {
            const LL_X v = *(const LL_X *)(const void *)x;
            acc += *(const float *)(const void *)dy * (float)(v - (LL_X)p->zero_point);
        }
    }
    return acc;
}

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
                const int32_t left = j * p->dilation_w - p->pad_left;
                const float acc = LL_NAME(grad_w_element)(p, in, i, left, o, first + c);
                at.c = c;
                *LL_ELEMENT(LL_Y, out_row, j, c, out) = (LL_Y)store(&at, acc);
            }
        }
    }
}

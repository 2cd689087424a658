/* Gradient of a convolution's weights; rows of dy come in pieces, sums live in `scratch`.
 *
 * in[0]  x (N*H, W, I)      in[1]  dy (N*OH, OW, O)
 * then the epilogue's operands
 *
 * The region's rows are rows of dy.  Row 0 starts the sums, the last row stores them.  Each element
 * is summed over the pixels of dy, row major, whose tap lies inside the map.  Pixels are taken four
 * at a time: a sum is loaded and stored once for them.
 */
#ifndef LL_CONV2D_GRAD_W_PARAMS
#define LL_CONV2D_GRAD_W_PARAMS
typedef struct {
    int32_t in_h, in_w, in_c, out_h, out_w, out_c, rows, kh, kw, stride_h, stride_w;
    int32_t dilation_h, dilation_w, pad_top, pad_left, group_in, group_out, zero_point;
} ll_conv2d_grad_w_params;
#endif

LL_INLINE void LL_NAME(conv2d_grad_w)(const ll_conv2d_grad_w_params *p, const ll_in *in,
                                      const ll_out *out, const ll_region *r, void *scratch,
                                      const ll_in *operands, int32_t count,
                                      LL_R (*store)(const ll_at *, LL_ACC)) {
    float *sums = (float *)scratch;
    const int32_t size = p->out_c * p->kh * p->kw * p->group_in;
    ll_at at;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const int32_t image = y / p->out_h;
        const int32_t top = (y - image * p->out_h) * p->stride_h - p->pad_top;
        const uint8_t *dy_row = ll_in_row(&in[1], y);
        for (int32_t i = 0; y == 0 && i < size; ++i) {
            sums[i] = 0.0f;
        }
        for (int32_t i = 0; i < p->kh; ++i) {
            const int32_t iy = top + i * p->dilation_h;
            if (iy < 0 || iy >= p->in_h) {
                continue;
            }
            const uint8_t *x_row = ll_in_row(&in[0], image * p->in_h + iy);
            for (int32_t j = 0; j < p->kw; ++j) {
                for (int32_t x = 0; x < p->out_w; x += 4) {
                    const int32_t left = ll_min(4, p->out_w - x);
                    const LL_X *v[4];
                    const float *dy[4];
                    for (int32_t k = 0; k < left; ++k) {
                        const int32_t ix = (x + k) * p->stride_w + j * p->dilation_w - p->pad_left;
                        const int32_t inside = ix >= 0 && ix < p->in_w;
                        v[k] =
                            inside ? (const LL_X *)(const void *)(x_row + ix * in[0].pixel) : 0;
                        dy[k] = (const float *)(const void *)(dy_row + (x + k) * in[1].pixel);
                    }
                    const int32_t whole = left == 4 && v[0] && v[1] && v[2] && v[3];
                    for (int32_t o = 0; o < p->out_c; ++o) {
                        float *dw = sums + ((o * p->kh + i) * p->kw + j) * p->group_in;
                        const int32_t first = o / p->group_out * p->group_in;
                        if (whole) {
                            const float d0 = dy[0][o], d1 = dy[1][o], d2 = dy[2][o], d3 = dy[3][o];
                            const LL_X *v0 = v[0] + first, *v1 = v[1] + first;
                            const LL_X *v2 = v[2] + first, *v3 = v[3] + first;
                            for (int32_t c = 0; c < p->group_in; ++c) {
                                float sum = dw[c] + d0 * (float)(v0[c] - (LL_X)p->zero_point);
                                sum += d1 * (float)(v1[c] - (LL_X)p->zero_point);
                                sum += d2 * (float)(v2[c] - (LL_X)p->zero_point);
                                dw[c] = sum + d3 * (float)(v3[c] - (LL_X)p->zero_point);
                            }
                            continue;
                        }
                        for (int32_t k = 0; k < left; ++k) {
                            const float d = dy[k][o];
                            for (int32_t c = 0; v[k] && c < p->group_in; ++c) {
                                dw[c] += d * (float)(v[k][first + c] - (LL_X)p->zero_point);
                            }
                        }
                    }
                }
            }
        }
    }
    for (int32_t y = 0; r->y1 == p->rows && y < p->out_c * p->kh; ++y) {
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = 0; x < p->kw; ++x) {
            at.x = x;
            for (int32_t c = 0; c < p->group_in; ++c) {
                at.c = c;
                const float sum = sums[(y * p->kw + x) * p->group_in + c];
                *LL_ELEMENT(LL_Y, out_row, x, c, out) = (LL_Y)store(&at, sum);
            }
        }
    }
}

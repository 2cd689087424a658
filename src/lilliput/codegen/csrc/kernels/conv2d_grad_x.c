/* Gradient of what a convolution reads, gathered: each element takes the taps that reach it.
 *
 * in[0]  dy (N*OH, OW, O)      in[1]  weights (O, KH, KW, I/groups)
 * then the epilogue's operands
 *
 * Row y of dx takes tap k of row i of dy where y + pad = i * stride + k * dilation; columns alike.
 * Sums go over the taps, row major, then over the output channels of the group.
 */
#ifndef LL_CONV2D_GRAD_X_PARAMS
#define LL_CONV2D_GRAD_X_PARAMS
typedef struct {
    int32_t in_h, in_w, in_c, out_h, kh, kw, stride_h, stride_w, dilation_h, dilation_w;
    int32_t pad_top, pad_left, group_in, group_out;
} ll_conv2d_grad_x_params;
#endif

LL_INLINE void LL_NAME(conv2d_grad_x)(const ll_conv2d_grad_x_params *p, const ll_in *in,
                                      const ll_out *out, const ll_region *r, void *scratch,
                                      const ll_in *operands, int32_t count,
                                      LL_R (*store)(const ll_at *, LL_ACC)) {
    const LL_W *weights = (const LL_W *)in[1].base;
    const int32_t next = p->kh * p->kw * p->group_out;
    ll_at at;
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const int32_t image = y / p->out_h;
        const int32_t top = y - image * p->out_h + p->pad_top;
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            const int32_t left = x + p->pad_left;
            at.x = x;
            for (int32_t c = r->c0; c < r->c1; ++c) {
                const int32_t group = c / p->group_out;
                const int32_t first = group * p->group_in;
                const LL_W *own = weights + first * next + (c - group * p->group_out);
                float acc = 0.0f;
                for (int32_t k = 0; k < p->kh; ++k) {
                    const int32_t iy = (top - k * p->dilation_h) / p->stride_h;
                    const int32_t row = iy * p->stride_h + k * p->dilation_h;
                    if (top < k * p->dilation_h || iy >= p->in_h || row != top) {
                        continue;
                    }
                    const uint8_t *dy_row = ll_in_row(&in[0], image * p->in_h + iy);
                    for (int32_t j = 0; j < p->kw; ++j) {
                        const int32_t ix = (left - j * p->dilation_w) / p->stride_w;
                        const int32_t column = ix * p->stride_w + j * p->dilation_w;
                        if (left < j * p->dilation_w || ix >= p->in_w || column != left) {
                            continue;
                        }
                        const uint8_t *pixel = dy_row + ix * in[0].pixel;
                        const float *dy = (const float *)(const void *)pixel + first;
                        const LL_W *w = own + (k * p->kw + j) * p->group_out;
                        for (int32_t o = 0; o < p->group_in; ++o) {
                            acc += dy[o] * (float)w[o * next];
                        }
                    }
                }
                at.c = c;
                *LL_ELEMENT(LL_Y, out_row, x, c, out) = (LL_Y)store(&at, acc);
            }
        }
    }
}

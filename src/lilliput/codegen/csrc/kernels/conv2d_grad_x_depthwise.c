/* Gradient of what a depthwise convolution reads: each element takes the taps that reach it.
 *
 * in[0]  dy (N*OH, OW, C)      in[1]  weights (C, KH, KW, 1)
 * then the epilogue's operands
 *
 * Row y of dx takes tap k of row i of dy where y + pad = i * stride + k; columns alike.
 */
#ifndef LL_CONV2D_GRAD_X_DEPTHWISE_PARAMS
#define LL_CONV2D_GRAD_X_DEPTHWISE_PARAMS
typedef struct {
    int32_t in_h, in_w, in_c, out_h, kh, kw, stride_h, stride_w, dilation_h, dilation_w;
    int32_t pad_top, pad_left, group_in, group_out;
} ll_conv2d_grad_x_depthwise_params;
#endif

LL_INLINE void LL_NAME(conv2d_grad_x_depthwise)(const ll_conv2d_grad_x_depthwise_params *p,
                                                const ll_in *in, const ll_out *out,
                                                const ll_region *r, void *scratch,
                                                const ll_in *operands, int32_t count,
                                                LL_R (*store)(const ll_at *, LL_ACC)) {
    const LL_W *weights = (const LL_W *)in[1].base;
    const int32_t taps = p->kh * p->kw;
    ll_at at;
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const int32_t image = y / p->out_h;
        const int32_t top = y - image * p->out_h + p->pad_top;
        /* taps first, first + stride ... of rows last, last - 1 ...; from the first row there is */
        int32_t first = top % p->stride_h;
        int32_t last = top / p->stride_h;
        if (last >= p->in_h) {
            first += (last - p->in_h + 1) * p->stride_h;
            last = p->in_h - 1;
        }
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            int32_t begin = (x + p->pad_left) % p->stride_w;
            int32_t end = (x + p->pad_left) / p->stride_w;
            if (end >= p->in_w) {
                begin += (end - p->in_w + 1) * p->stride_w;
                end = p->in_w - 1;
            }
            at.x = x;
            for (int32_t c = r->c0; c < r->c1; ++c) {
                const LL_W *own = weights + c * taps;
                float acc = 0.0f;
                for (int32_t k = first, i = last; k < p->kh && i >= 0; k += p->stride_h, --i) {
                    const uint8_t *dy =
                        ll_in_row(&in[0], image * p->in_h + i) + end * in[0].pixel + c * 4;
                    const LL_W *w = own + k * p->kw + begin;
                    int32_t j = begin;
                    for (int32_t n = end; j < p->kw && n >= 0; j += p->stride_w, --n) {
                        acc += *(const float *)(const void *)dy * (float)*w;
                        dy -= in[0].pixel;
                        w += p->stride_w;
                    }
                }
                at.c = c;
                *LL_ELEMENT(LL_Y, out_row, x, c, out) = (LL_Y)store(&at, acc);
            }
        }
    }
}

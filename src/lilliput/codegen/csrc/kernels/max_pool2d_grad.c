/* Gradient of what a largest-tap pool reads: the first largest tap of a window gets its gradient.
 *
 * in[0]  x (N*H, W, C)      in[1]  y (N*OH, OW, C)      in[2]  dy (N*OH, OW, C)
 * then the epilogue's operands
 *
 * Row y of dx is tap k of row i of dy where y + pad = i * stride + k; columns alike.  Sums go over
 * the taps, row major.
 */
#ifndef LL_MAX_POOL2D_GRAD_PARAMS
#define LL_MAX_POOL2D_GRAD_PARAMS
typedef struct {
    int32_t in_h, in_w, out_h, out_w, kh, kw, stride_h, stride_w, pad_top, pad_left;
} ll_max_pool2d_grad_params;
#endif

/* Whether channel c of no tap in front of (k, j) is v, in the window that begins at pixel `left`
 * of row `top`; `image` is the first row of the image. */
LL_INLINE int32_t LL_NAME(pool_grad_first)(const ll_max_pool2d_grad_params *p, const ll_in *in,
                                           int32_t image, int32_t top, int32_t left, int32_t k,
                                           int32_t j, int32_t c, LL_X v) {
    for (int32_t a = ll_max(0, -top); a <= k; ++a) {
        const uint8_t *row = ll_in_row(in, image + top + a);
        const int32_t end = a < k ? ll_min(p->kw, p->out_w - left) : j;
        for (int32_t b = ll_max(0, -left); b < end; ++b) {
            if (((const LL_X *)(const void *)(row + (left + b) * in->pixel))[c] == v) {
                return 0;
            }
        }
    }
    return 1;
}

LL_INLINE void LL_NAME(max_pool2d_grad)(const ll_max_pool2d_grad_params *p, const ll_in *in,
                                        const ll_out *out, const ll_region *r, void *scratch,
                                        const ll_in *operands, int32_t count,
                                        LL_R (*store)(const ll_at *, LL_ACC)) {
    ll_at at;
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const int32_t image = y / p->out_h;
        const int32_t top = y - image * p->out_h + p->pad_top;
        const uint8_t *x_row = ll_in_row(&in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            const LL_X *v = (const LL_X *)(const void *)(x_row + x * in[0].pixel);
            const int32_t left = x + p->pad_left;
            at.x = x;
            for (int32_t c = r->c0; c < r->c1; ++c) {
                float acc = 0.0f;
                int32_t i = top / p->stride_h;
                for (int32_t k = top % p->stride_h; k < p->kh; k += p->stride_h, --i) {
                    if (i < 0 || i >= p->in_h) {
                        continue;
                    }
                    const int32_t row = image * p->in_h + i;
                    const uint8_t *y_row = ll_in_row(&in[1], row);
                    int32_t n = left / p->stride_w;
                    for (int32_t j = left % p->stride_w; j < p->kw; j += p->stride_w, --n) {
                        if (n < 0 || n >= p->in_w) {
                            continue;
                        }
                        const uint8_t *best = y_row + n * in[1].pixel;
                        if (((const LL_X *)(const void *)best)[c] == v[c] &&
                            LL_NAME(pool_grad_first)(
                                p, in, image * p->out_h, i * p->stride_h - p->pad_top,
                                n * p->stride_w - p->pad_left, k, j, c, v[c])) {
                            const uint8_t *dy = ll_in_row(&in[2], row) + n * in[2].pixel;
                            acc += ((const float *)(const void *)dy)[c];
                        }
                    }
                }
                at.c = c;
                *LL_ELEMENT(LL_Y, out_row, x, c, out) = (LL_Y)store(&at, acc);
            }
        }
    }
}

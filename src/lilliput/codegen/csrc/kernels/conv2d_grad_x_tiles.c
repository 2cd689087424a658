/* Gradient of what a 1x1 convolution reads: 2 pixels by 4 input channels at a time.
 *
 * in[0]  dy (N*H, W, O)      in[1]  weights (O, 1, 1, I)
 * then the epilogue's operands
 *
 * Sums go over the output channels.  A weight is converted once for two pixels.
 */
#ifndef LL_CONV2D_GRAD_X_TILES_PARAMS
#define LL_CONV2D_GRAD_X_TILES_PARAMS
typedef struct {
    int32_t in_h, in_w, in_c, out_h, kh, kw, stride_h, stride_w, dilation_h, dilation_w;
    int32_t pad_top, pad_left, group_in, group_out;
} ll_conv2d_grad_x_tiles_params;
#endif

LL_INLINE void LL_NAME(conv2d_grad_x_tiles)(const ll_conv2d_grad_x_tiles_params *p, const ll_in *in,
                                            const ll_out *out, const ll_region *r, void *scratch,
                                            const ll_in *operands, int32_t count,
                                            LL_R (*store)(const ll_at *, LL_ACC)) {
    const LL_W *weights = (const LL_W *)in[1].base;
    ll_at at;
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const uint8_t *dy_row = ll_in_row(&in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < r->x1; x += 2) {
            const int32_t pair = x + 1 < r->x1;
            const uint8_t *pixel = dy_row + x * in[0].pixel;
            const float *d0 = (const float *)(const void *)pixel;
            const float *d1 = (const float *)(const void *)(pixel + (pair ? in[0].pixel : 0));
            for (int32_t c = r->c0; c < r->c1; c += 4) {
                const int32_t left = ll_min(4, r->c1 - c);
                float sums[2][4] = {{0.0f}};
                const LL_W *w = weights + c;
                if (left == 4) {
                    float a0 = 0.0f, a1 = 0.0f, a2 = 0.0f, a3 = 0.0f;
                    float b0 = 0.0f, b1 = 0.0f, b2 = 0.0f, b3 = 0.0f;
                    for (int32_t o = 0; o < p->in_c; ++o, w += p->group_out) {
                        const float w0 = (float)w[0], w1 = (float)w[1];
                        const float w2 = (float)w[2], w3 = (float)w[3];
                        a0 += d0[o] * w0;
                        a1 += d0[o] * w1;
                        a2 += d0[o] * w2;
                        a3 += d0[o] * w3;
                        b0 += d1[o] * w0;
                        b1 += d1[o] * w1;
                        b2 += d1[o] * w2;
                        b3 += d1[o] * w3;
                    }
                    sums[0][0] = a0, sums[0][1] = a1, sums[0][2] = a2, sums[0][3] = a3;
                    sums[1][0] = b0, sums[1][1] = b1, sums[1][2] = b2, sums[1][3] = b3;
                } else {
                    for (int32_t o = 0; o < p->in_c; ++o, w += p->group_out) {
                        for (int32_t k = 0; k < left; ++k) {
                            sums[0][k] += d0[o] * (float)w[k];
                            sums[1][k] += d1[o] * (float)w[k];
                        }
                    }
                }
                for (int32_t q = 0; q <= pair; ++q) {
                    at.x = x + q;
                    for (int32_t k = 0; k < left; ++k) {
                        at.c = c + k;
                        *LL_ELEMENT(LL_Y, out_row, x + q, c + k, out) =
                            (LL_Y)store(&at, sums[q][k]);
                    }
                }
            }
        }
    }
}

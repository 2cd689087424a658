/* Gradient of the weights of a 1x1 convolution: 2 output by 4 input channels at a time.
 *
 * in[0]  x (N*H, W, I)      in[1]  dy (N*OH, OW, O)
 * then the epilogue's operands
 *
 * The region's rows are output channels.  Each element is summed over the pixels, row major.
 */
#ifndef LL_CONV2D_GRAD_W_TILES_PARAMS
#define LL_CONV2D_GRAD_W_TILES_PARAMS
typedef struct {
    int32_t in_h, in_w, in_c, out_h, out_w, out_c, rows, kh, kw, stride_h, stride_w;
    int32_t dilation_h, dilation_w, pad_top, pad_left, group_in, group_out, zero_point;
} ll_conv2d_grad_w_tiles_params;
#endif

#define LL_TILE_X(k) ((float)(v[k] - (LL_X)p->zero_point))

LL_INLINE void LL_NAME(conv2d_grad_w_tiles)(const ll_conv2d_grad_w_tiles_params *p, const ll_in *in,
                                            const ll_out *out, const ll_region *r, void *scratch,
                                            const ll_in *operands, int32_t count,
                                            LL_R (*store)(const ll_at *, LL_ACC)) {
    ll_at at;
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; y += 2) {
        const int32_t pair = y + 1 < r->y1;
        for (int32_t c = r->c0; c < r->c1; c += 4) {
            const int32_t left = ll_min(4, r->c1 - c);
            float sums[2][4] = {{0.0f}};
            for (int32_t row = 0; row < p->rows; ++row) {
                const uint8_t *dy_row = ll_in_row(&in[1], row) + y * 4;
                const uint8_t *x_row = ll_in_row(&in[0], row);
                if (left == 4 && pair) {
                    float a0 = sums[0][0], a1 = sums[0][1], a2 = sums[0][2], a3 = sums[0][3];
                    float b0 = sums[1][0], b1 = sums[1][1], b2 = sums[1][2], b3 = sums[1][3];
                    const uint8_t *pixel = x_row + c * (int32_t)sizeof(LL_X);
                    for (int32_t x = 0; x < p->out_w; ++x) {
                        const LL_X *v = (const LL_X *)(const void *)pixel;
                        const float *dy = (const float *)(const void *)dy_row;
                        const float x0 = LL_TILE_X(0), x1 = LL_TILE_X(1);
                        const float x2 = LL_TILE_X(2), x3 = LL_TILE_X(3);
                        a0 += dy[0] * x0;
                        a1 += dy[0] * x1;
                        a2 += dy[0] * x2;
                        a3 += dy[0] * x3;
                        b0 += dy[1] * x0;
                        b1 += dy[1] * x1;
                        b2 += dy[1] * x2;
                        b3 += dy[1] * x3;
                        dy_row += in[1].pixel;
                        pixel += in[0].pixel;
                    }
                    sums[0][0] = a0, sums[0][1] = a1, sums[0][2] = a2, sums[0][3] = a3;
                    sums[1][0] = b0, sums[1][1] = b1, sums[1][2] = b2, sums[1][3] = b3;
                } else {
                    for (int32_t x = 0; x < p->out_w; ++x) {
                        const uint8_t *pixel = x_row + x * in[0].pixel;
                        const LL_X *v = (const LL_X *)(const void *)pixel + c;
                        const uint8_t *at_pixel = dy_row + x * in[1].pixel;
                        const float *dy = (const float *)(const void *)at_pixel;
                        for (int32_t k = 0; k < left; ++k) {
                            sums[0][k] += dy[0] * LL_TILE_X(k);
                            if (pair) {
                                sums[1][k] += dy[1] * LL_TILE_X(k);
                            }
                        }
                    }
                }
            }
            at.x = 0;
            for (int32_t o = 0; o <= pair; ++o) {
                uint8_t *out_row = ll_out_row(out, y + o);
                ll_at_row(&at, operands, count, y + o);
                for (int32_t k = 0; k < left; ++k) {
                    at.c = c + k;
                    *LL_ELEMENT(LL_Y, out_row, 0, c + k, out) = (LL_Y)store(&at, sums[o][k]);
                }
            }
        }
    }
}
#undef LL_TILE_X

/* Gradient of the weights of a 1x1 convolution: 4 output by 4 input channels at a time.
 *
 * in[0]  x (N*H, W, I)      in[1]  dy (N*OH, OW, O)
 * then the epilogue's operands
 *
 * The region's rows are output channels.  Each element is summed over the pixels, row major.  The
 * last tile begins early enough to be whole, and stores what has not been stored.
 */
#ifndef LL_CONV2D_GRAD_W_TILES_PARAMS
#define LL_CONV2D_GRAD_W_TILES_PARAMS
typedef struct {
    int32_t in_h, in_w, in_c, out_h, out_w, out_c, rows, kh, kw, stride_h, stride_w;
    int32_t dilation_h, dilation_w, pad_top, pad_left, group_in, group_out, zero_point;
} ll_conv2d_grad_w_tiles_params;
#endif

#define LL_CENTRED(k) ((float)(v[k] - (LL_X)p->zero_point))

/* dy from channel o on, x from channel c on. */
LL_INLINE void LL_NAME(grad_w_tile)(const ll_conv2d_grad_w_tiles_params *p, const ll_in *in,
                                    int32_t o, int32_t c, float (*sums)[LL_SIDE]) {
    LL_SQUARE_ZERO
    for (int32_t row = 0; row < p->rows; ++row) {
        const uint8_t *dy_pixel = ll_in_row(&in[1], row) + o * 4;
        const uint8_t *x_pixel = ll_in_row(&in[0], row) + c * (int32_t)sizeof(LL_X);
        for (int32_t x = 0; x < p->out_w; ++x) {
            const LL_X *v = (const LL_X *)(const void *)x_pixel;
            const float *dy = (const float *)(const void *)dy_pixel;
            const float t0 = LL_CENTRED(0), t1 = LL_CENTRED(1);
            const float t2 = LL_CENTRED(2), t3 = LL_CENTRED(3);
            LL_SQUARE_ROW(0, dy[0])
            LL_SQUARE_ROW(1, dy[1])
            LL_SQUARE_ROW(2, dy[2])
            LL_SQUARE_ROW(3, dy[3])
            dy_pixel += in[1].pixel;
            x_pixel += in[0].pixel;
        }
    }
    LL_SQUARE_KEEP(sums)
}

/* A tile that the tensor has not so many channels for. */
LL_INLINE void LL_NAME(grad_w_part)(const ll_conv2d_grad_w_tiles_params *p, const ll_in *in,
                                    int32_t o, int32_t c, int32_t high, int32_t wide,
                                    float (*sums)[LL_SIDE]) {
    for (int32_t i = 0; i < high; ++i) {
        for (int32_t k = 0; k < wide; ++k) {
            float acc = 0.0f;
            for (int32_t row = 0; row < p->rows; ++row) {
                const uint8_t *dy_pixel = ll_in_row(&in[1], row);
                const uint8_t *x_pixel = ll_in_row(&in[0], row);
                for (int32_t x = 0; x < p->out_w; ++x) {
                    const LL_X *v = (const LL_X *)(const void *)x_pixel;
                    acc += ((const float *)(const void *)dy_pixel)[o + i] * LL_CENTRED(c + k);
                    dy_pixel += in[1].pixel;
                    x_pixel += in[0].pixel;
                }
            }
            sums[i][k] = acc;
        }
    }
}

LL_INLINE void LL_NAME(conv2d_grad_w_tiles)(const ll_conv2d_grad_w_tiles_params *p, const ll_in *in,
                                            const ll_out *out, const ll_region *r, void *scratch,
                                            const ll_in *operands, int32_t count,
                                            LL_R (*store)(const ll_at *, LL_ACC)) {
    const int32_t high = ll_min(LL_SIDE, r->y1 - r->y0), wide = ll_min(LL_SIDE, r->c1 - r->c0);
    ll_at at[LL_SIDE];
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; y += LL_SIDE) {
        const int32_t o = ll_min(y, r->y1 - high);
        for (int32_t i = y - o; i < high; ++i) {
            ll_at_row(&at[i], operands, count, o + i);
            at[i].x = 0;
        }
        for (int32_t d = r->c0; d < r->c1; d += LL_SIDE) {
            const int32_t c = ll_min(d, r->c1 - wide);
            float sums[LL_SIDE][LL_SIDE];
            if (high == LL_SIDE && wide == LL_SIDE) {
                LL_NAME(grad_w_tile)(p, in, o, c, sums);
            } else {
                LL_NAME(grad_w_part)(p, in, o, c, high, wide, sums);
            }
            for (int32_t i = y - o; i < high; ++i) {
                uint8_t *out_row = ll_out_row(out, o + i);
                for (int32_t k = d - c; k < wide; ++k) {
                    at[i].c = c + k;
                    *LL_ELEMENT(LL_Y, out_row, 0, c + k, out) = (LL_Y)store(&at[i], sums[i][k]);
                }
            }
        }
    }
}
#undef LL_CENTRED

/* Gradient of what a 1x1 convolution reads: 4 pixels by 4 input channels at a time.
 *
 * in[0]  dy (N*H, W, O)      in[1]  weights (O, 1, 1, I)
 * then the epilogue's operands
 *
 * Sums go over the output channels.  A weight is converted once for four pixels.  The last tile
 * begins early enough to be whole, and stores what has not been stored.
 */
#ifndef LL_CONV2D_GRAD_X_TILES_PARAMS
#define LL_CONV2D_GRAD_X_TILES_PARAMS
typedef struct {
    int32_t in_h, in_w, in_c, out_h, kh, kw, stride_h, stride_w, dilation_h, dilation_w;
    int32_t pad_top, pad_left, group_in, group_out;
} ll_conv2d_grad_x_tiles_params;
#endif

/* Four pixels from `pixel` on, which are `next` bytes apart; weights from channel c on. */
LL_INLINE void LL_NAME(grad_x_tile)(const ll_conv2d_grad_x_tiles_params *p, const uint8_t *pixel,
                                    int32_t next, const LL_W *w, float (*sums)[LL_SIDE]) {
    const float *d0 = (const float *)(const void *)pixel;
    const float *d1 = (const float *)(const void *)(pixel + next);
    const float *d2 = (const float *)(const void *)(pixel + 2 * next);
    const float *d3 = (const float *)(const void *)(pixel + 3 * next);
    LL_SQUARE_ZERO
    for (int32_t o = 0; o < p->in_c; ++o, w += p->group_out) {
        const float t0 = (float)w[0], t1 = (float)w[1], t2 = (float)w[2], t3 = (float)w[3];
        LL_SQUARE_ROW(0, d0[o])
        LL_SQUARE_ROW(1, d1[o])
        LL_SQUARE_ROW(2, d2[o])
        LL_SQUARE_ROW(3, d3[o])
    }
    LL_SQUARE_KEEP(sums)
}

/* A tile that the map has not so many pixels or channels for. */
LL_INLINE void LL_NAME(grad_x_part)(const ll_conv2d_grad_x_tiles_params *p, const uint8_t *pixel,
                                    int32_t next, const LL_W *w, int32_t high, int32_t wide,
                                    float (*sums)[LL_SIDE]) {
    for (int32_t i = 0; i < high; ++i, pixel += next) {
        const float *dy = (const float *)(const void *)pixel;
        if (wide == LL_SIDE) {
            float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
            const LL_W *from = w;
            for (int32_t o = 0; o < p->in_c; ++o, from += p->group_out) {
                s0 += dy[o] * (float)from[0];
                s1 += dy[o] * (float)from[1];
                s2 += dy[o] * (float)from[2];
                s3 += dy[o] * (float)from[3];
            }
            sums[i][0] = s0, sums[i][1] = s1, sums[i][2] = s2, sums[i][3] = s3;
            continue;
        }
        for (int32_t k = 0; k < wide; ++k) {
            float acc = 0.0f;
            for (int32_t o = 0; o < p->in_c; ++o) {
                acc += dy[o] * (float)w[o * p->group_out + k];
            }
            sums[i][k] = acc;
        }
    }
}

LL_INLINE void LL_NAME(conv2d_grad_x_tiles)(const ll_conv2d_grad_x_tiles_params *p, const ll_in *in,
                                            const ll_out *out, const ll_region *r, void *scratch,
                                            const ll_in *operands, int32_t count,
                                            LL_R (*store)(const ll_at *, LL_ACC)) {
    const LL_W *weights = (const LL_W *)in[1].base;
    const int32_t high = ll_min(LL_SIDE, r->x1 - r->x0), wide = ll_min(LL_SIDE, r->c1 - r->c0);
    ll_at at;
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const uint8_t *dy_row = ll_in_row(&in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t e = r->x0; e < r->x1; e += LL_SIDE) {
            const int32_t x = ll_min(e, r->x1 - high);
            const uint8_t *pixel = dy_row + x * in[0].pixel;
            for (int32_t d = r->c0; d < r->c1; d += LL_SIDE) {
                const int32_t c = ll_min(d, r->c1 - wide);
                float sums[LL_SIDE][LL_SIDE];
                if (high == LL_SIDE && wide == LL_SIDE) {
                    LL_NAME(grad_x_tile)(p, pixel, in[0].pixel, weights + c, sums);
                } else {
                    LL_NAME(grad_x_part)(p, pixel, in[0].pixel, weights + c, high, wide, sums);
                }
                for (int32_t i = e - x; i < high; ++i) {
                    at.x = x + i;
                    for (int32_t k = d - c; k < wide; ++k) {
                        at.c = c + k;
                        *LL_ELEMENT(LL_Y, out_row, x + i, c + k, out) =
                            (LL_Y)store(&at, sums[i][k]);
                    }
                }
            }
        }
    }
}

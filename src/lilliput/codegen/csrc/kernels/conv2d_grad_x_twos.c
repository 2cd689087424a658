/* Gradient of what a 1x1 convolution reads, from the weights as `gemm` has them in flash: 4 pixels
 * by 4 input channels at a time.
 *
 * in[0]  dy (N*H, W, O)      in[1]  weights (O/2, I/4, 8): of two output channels P and Q and four
 *                            input channels P0 Q0 P2 Q2 P1 Q1 P3 Q3
 * then the epilogue's operands
 *
 * Sums go over the output channels.  The last tile of a row begins early enough to be whole, and
 * stores what has not been stored.
 */
#ifndef LL_CONV2D_GRAD_X_TWOS_PARAMS
#define LL_CONV2D_GRAD_X_TWOS_PARAMS
typedef struct {
    int32_t in_h, in_w, in_c, out_h, kh, kw, stride_h, stride_w, dilation_h, dilation_w;
    int32_t pad_top, pad_left, group_in, group_out;
} ll_conv2d_grad_x_twos_params;
#endif

#define LL_TWOS_WEIGHTS(q)                                                                         \
    const float t0 = (float)w[q], t1 = (float)w[4 + q];                                            \
    const float t2 = (float)w[2 + q], t3 = (float)w[6 + q];

#define LL_TWOS_ROWS(o)                                                                            \
    LL_SQUARE_ROW(0, d0[o])                                                                        \
    LL_SQUARE_ROW(1, d1[o])                                                                        \
    LL_SQUARE_ROW(2, d2[o])                                                                        \
    LL_SQUARE_ROW(3, d3[o])

/* Four pixels from `pixel` on, which are `next` bytes apart; 0 apart where there are fewer. */
LL_INLINE void LL_NAME(grad_x_twos)(const ll_conv2d_grad_x_twos_params *p, const uint8_t *pixel,
                                    const int32_t *next, const int8_t *w, float (*sums)[LL_SIDE]) {
    const float *d0 = (const float *)(const void *)pixel;
    const float *d1 = (const float *)(const void *)(pixel + next[0]);
    const float *d2 = (const float *)(const void *)(pixel + next[1]);
    const float *d3 = (const float *)(const void *)(pixel + next[2]);
    const int32_t pairs = p->in_c & ~1;
    LL_SQUARE_ZERO
    for (int32_t o = 0; o < pairs; o += 2, w += 2 * p->group_out) {
        {LL_TWOS_WEIGHTS(0) LL_TWOS_ROWS(o)} {
            LL_TWOS_WEIGHTS(1)
            LL_TWOS_ROWS(o + 1)
        }
    }
    if (pairs < p->in_c) {
        LL_TWOS_WEIGHTS(0)
        LL_TWOS_ROWS(pairs)
    }
    LL_SQUARE_KEEP(sums)
}

LL_INLINE void LL_NAME(conv2d_grad_x_twos)(const ll_conv2d_grad_x_twos_params *p, const ll_in *in,
                                           const ll_out *out, const ll_region *r, void *scratch,
                                           const ll_in *operands, int32_t count,
                                           LL_R (*store)(const ll_at *, LL_ACC)) {
    const int8_t *weights = (const int8_t *)in[1].base;
    const int32_t high = ll_min(LL_SIDE, r->x1 - r->x0);
    const int32_t next[3] = {high > 1 ? in[0].pixel : 0, high > 2 ? 2 * in[0].pixel : 0,
                             high > 3 ? 3 * in[0].pixel : 0};
    ll_at at;
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const uint8_t *dy_row = ll_in_row(&in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t e = r->x0; e < r->x1; e += LL_SIDE) {
            const int32_t x = ll_min(e, r->x1 - high);
            const uint8_t *pixel = dy_row + x * in[0].pixel;
            for (int32_t group = r->c0 / LL_SIDE; group * LL_SIDE < r->c1; ++group) {
                const int32_t first = ll_max(r->c0, group * LL_SIDE);
                const int32_t last = ll_min(r->c1, (group + 1) * LL_SIDE);
                float sums[LL_SIDE][LL_SIDE];
                LL_NAME(grad_x_twos)(p, pixel, next, weights + 8 * group, sums);
                for (int32_t i = e - x; i < high; ++i) {
                    at.x = x + i;
                    for (int32_t c = first; c < last; ++c) {
                        at.c = c;
                        *LL_ELEMENT(LL_Y, out_row, x + i, c, out) =
                            (LL_Y)store(&at, sums[i][c - group * LL_SIDE]);
                    }
                }
            }
        }
    }
}
#undef LL_TWOS_WEIGHTS
#undef LL_TWOS_ROWS

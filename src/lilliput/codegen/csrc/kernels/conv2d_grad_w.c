/* Gradient of a convolution's weights; rows of dy come in pieces, sums live in `scratch`.
 *
 * in[0]  x (N*H, W, I)      in[1]  dy (N*OH, OW, O)
 * then the epilogue's operands
 *
 * The region's rows are rows of dy.  Row 0 starts the sums, the last row stores them.  Each element
 * is summed over the pixels of dy, row major, whose tap lies inside the map.  Sums of 4 output by 4
 * input channels are loaded and stored once for the region.
 */
#ifndef LL_CONV2D_GRAD_W_PARAMS
#define LL_CONV2D_GRAD_W_PARAMS
typedef struct {
    int32_t in_h, in_w, in_c, out_h, out_w, out_c, rows, kh, kw, stride_h, stride_w;
    int32_t dilation_h, dilation_w, pad_top, pad_left, group_in, group_out, zero_point;
} ll_conv2d_grad_w_params;

/* Tap (i, j), whose pixels of dy from `from` on, below `to`, lie inside the map; `at`: where the
 * first pixel of dy has it. */
typedef struct {
    int32_t i, j, at, from, to;
} ll_carried_tap;
#endif

#define LL_CENTRED(k) ((float)(v[k] - (LL_X)p->zero_point))

/* The first pixels of rows of dy and x that meet in a tap; 0 where they do not. */
LL_INLINE int32_t LL_NAME(carried_row)(const ll_conv2d_grad_w_params *p, const ll_in *in,
                                       const ll_carried_tap *tap, int32_t row, const uint8_t **dy,
                                       const uint8_t **x) {
    const int32_t image = row / p->out_h;
    const int32_t y = (row - image * p->out_h) * p->stride_h - p->pad_top + tap->i * p->dilation_h;
    if (y < 0 || y >= p->in_h) {
        return 0;
    }
    *dy = ll_in_row(&in[1], row) + tap->from * in[1].pixel;
    *x = ll_in_row(&in[0], image * p->in_h + y) + (tap->from * p->stride_w + tap->at) * in[0].pixel;
    return 1;
}

/* Sums of output channels o .. o+3 and input channels c .. c+3; `next` sums lie between rows. */
LL_INLINE void LL_NAME(carried_tile)(const ll_conv2d_grad_w_params *p, const ll_in *in,
                                     const ll_region *r, const ll_carried_tap *tap, int32_t o,
                                     int32_t c, float *sums, int32_t next) {
    const int32_t x_next = p->stride_w * in[0].pixel;
    LL_SQUARE_LOAD(sums, next)
    for (int32_t row = r->y0; row < r->y1; ++row) {
        const uint8_t *dy_pixel, *x_pixel;
        if (!LL_NAME(carried_row)(p, in, tap, row, &dy_pixel, &x_pixel)) {
            continue;
        }
        dy_pixel += o * 4;
        x_pixel += c * (int32_t)sizeof(LL_X);
        for (int32_t n = tap->from; n < tap->to; ++n) {
            const LL_X *v = (const LL_X *)(const void *)x_pixel;
            const float *dy = (const float *)(const void *)dy_pixel;
            const float t0 = LL_CENTRED(0), t1 = LL_CENTRED(1);
            const float t2 = LL_CENTRED(2), t3 = LL_CENTRED(3);
            LL_SQUARE_ROW(0, dy[0])
            LL_SQUARE_ROW(1, dy[1])
            LL_SQUARE_ROW(2, dy[2])
            LL_SQUARE_ROW(3, dy[3])
            dy_pixel += in[1].pixel;
            x_pixel += x_next;
        }
    }
    LL_SQUARE_STORE(sums, next)
}

/* One sum, of output channel o and channel c of x. */
LL_INLINE float LL_NAME(carried_one)(const ll_conv2d_grad_w_params *p, const ll_in *in,
                                     const ll_region *r, const ll_carried_tap *tap, int32_t o,
                                     int32_t c, float sum) {
    for (int32_t row = r->y0; row < r->y1; ++row) {
        const uint8_t *dy_pixel, *x_pixel;
        if (!LL_NAME(carried_row)(p, in, tap, row, &dy_pixel, &x_pixel)) {
            continue;
        }
        for (int32_t n = tap->from; n < tap->to; ++n) {
            const LL_X *v = (const LL_X *)(const void *)x_pixel;
            sum += ((const float *)(const void *)dy_pixel)[o] * LL_CENTRED(c);
            dy_pixel += in[1].pixel;
            x_pixel += p->stride_w * in[0].pixel;
        }
    }
    return sum;
}

/* All sums of a tap: whole tiles, then the channels that are left. */
LL_INLINE void LL_NAME(carried_sums)(const ll_conv2d_grad_w_params *p, const ll_in *in,
                                     const ll_region *r, const ll_carried_tap *tap, float *sums) {
    const int32_t next = p->kh * p->kw * p->group_in;
    const int32_t high = p->group_out == p->out_c ? p->out_c / LL_SIDE * LL_SIDE : 0;
    const int32_t wide = p->group_in / LL_SIDE * LL_SIDE;
    float *first = sums + (tap->i * p->kw + tap->j) * p->group_in;
    for (int32_t o = 0; o < high; o += LL_SIDE) {
        for (int32_t c = 0; c < wide; c += LL_SIDE) {
            LL_NAME(carried_tile)(p, in, r, tap, o, c, first + o * next + c, next);
        }
    }
    for (int32_t o = 0; o < p->out_c; ++o) {
        float *dw = first + o * next;
        const int32_t group = o / p->group_out * p->group_in;
        for (int32_t c = o < high ? wide : 0; c < p->group_in; ++c) {
            dw[c] = LL_NAME(carried_one)(p, in, r, tap, o, group + c, dw[c]);
        }
    }
}

LL_INLINE void LL_NAME(conv2d_grad_w)(const ll_conv2d_grad_w_params *p, const ll_in *in,
                                      const ll_out *out, const ll_region *r, void *scratch,
                                      const ll_in *operands, int32_t count,
                                      LL_R (*store)(const ll_at *, LL_ACC)) {
    float *sums = (float *)scratch;
    const int32_t size = p->out_c * p->kh * p->kw * p->group_in;
    ll_at at;
    for (int32_t n = 0; r->y0 == 0 && n < size; ++n) {
        sums[n] = 0.0f;
    }
    for (int32_t i = 0; i < p->kh; ++i) {
        for (int32_t j = 0; j < p->kw; ++j) {
            const int32_t left = j * p->dilation_w - p->pad_left, last = p->in_w - 1 - left;
            const int32_t from = left < 0 ? (p->stride_w - 1 - left) / p->stride_w : 0;
            const int32_t to = last < 0 ? 0 : ll_min(p->out_w, last / p->stride_w + 1);
            const ll_carried_tap tap = {i, j, left, from, to};
            LL_NAME(carried_sums)(p, in, r, &tap, sums);
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
#undef LL_CENTRED

/* Gradient of a convolution's weights; rows of dy come in pieces, sums live in `scratch`.
 *
 * in[0]  x (N*H, W, I)      in[1]  dy (N*OH, OW, O)
 * then the epilogue's operands
 *
 * The region's rows are rows of dy.  Row 0 starts the sums, the last row stores them.  Each element
 * is summed over the pixels of dy, row major, whose tap lies inside the map.  Sums of 6 output by 4
 * input channels, of what is left 4 by 4, are loaded and stored once a row of pixels: a number of x
 * is converted for all of them, or with LL_STORED for all of its row.
 *
 * scratch: sums, and with LL_STORED a row of x as floats
 */
#ifndef LL_CONV2D_GRAD_W_PARAMS
#define LL_CONV2D_GRAD_W_PARAMS
typedef struct {
    int32_t in_h, in_w, in_c, out_h, out_w, out_c, rows, kh, kw, stride_h, stride_w;
    int32_t dilation_h, dilation_w, pad_top, pad_left, group_in, group_out, zero_point, stored_zero;
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

/* Rows 4 and 5 of a tile (update.h). */
#define LL_SIX_LOAD(at, next)                                                                      \
    float s40 = at[4 * next], s41 = at[4 * next + 1], s42 = at[4 * next + 2];                      \
    float s43 = at[4 * next + 3], s50 = at[5 * next], s51 = at[5 * next + 1];                      \
    float s52 = at[5 * next + 2], s53 = at[5 * next + 3];

#define LL_SIX_STORE(at, next)                                                                     \
    at[4 * next] = s40, at[4 * next + 1] = s41, at[4 * next + 2] = s42;                            \
    at[4 * next + 3] = s43, at[5 * next] = s50, at[5 * next + 1] = s51;                            \
    at[5 * next + 2] = s52, at[5 * next + 3] = s53;

/* What `count` pixels add to the sums of `LL_SIDE`, or with `more` six, output channels and four
 * input channels; `next` sums lie between output channels. */
#define LL_CARRIED_PIXELS(more)                                                                    \
    for (; count > 0; --count, dy_pixel += dy_next, x_pixel += x_next) {                           \
        const LL_X *v = (const LL_X *)(const void *)x_pixel;                                       \
        const float *dy = (const float *)(const void *)dy_pixel;                                   \
        LL_CENTRED_4(v, (LL_X)p->zero_point)                                                       \
        LL_CARRIED_ROW(0)                                                                          \
        LL_CARRIED_ROW(1)                                                                          \
        LL_CARRIED_ROW(2)                                                                          \
        LL_CARRIED_ROW(3)                                                                          \
        more                                                                                       \
    }

/* With a barrier, since compilers load all of dy first and then run out of registers. */
#define LL_CARRIED_ROW(i)                                                                          \
    LL_SQUARE_ROW(i, dy[i])                                                                        \
    __asm__ volatile("" ::: "memory");

LL_INLINE void LL_NAME(carried_four)(const ll_conv2d_grad_w_params *p, const uint8_t *dy_pixel,
                                     int32_t dy_next, const uint8_t *x_pixel, int32_t x_next,
                                     int32_t count, float *sums, int32_t next){
    LL_SQUARE_LOAD(sums, next) LL_CARRIED_PIXELS() LL_SQUARE_STORE(sums, next)}

LL_INLINE void LL_NAME(carried_six)(const ll_conv2d_grad_w_params *p, const uint8_t *dy_pixel,
                                    int32_t dy_next, const uint8_t *x_pixel, int32_t x_next,
                                    int32_t count, float *sums, int32_t next){
    LL_SQUARE_LOAD(sums, next) LL_SIX_LOAD(sums, next)
        LL_CARRIED_PIXELS(LL_CARRIED_ROW(4) LL_CARRIED_ROW(5)) LL_SQUARE_STORE(sums, next)
            LL_SIX_STORE(sums, next)}

/* All sums of a tap of one row: whole tiles, then the channels that are left. */
LL_INLINE void LL_NAME(carried_sums)(const ll_conv2d_grad_w_params *p, const ll_in *in,
                                     const ll_carried_tap *tap, const uint8_t *dy, const uint8_t *x,
                                     int32_t x_next, float *sums) {
    const int32_t next = p->kh * p->kw * p->group_in, count = tap->to - tap->from;
    const int32_t size = (int32_t)sizeof(LL_X);
    const int32_t whole = p->group_out == p->out_c && !LL_SMALL ? p->out_c : 0;
    const int32_t wide = p->group_in / LL_SIDE * LL_SIDE;
    int32_t o = 0;
    sums += (tap->i * p->kw + tap->j) * p->group_in;
    for (; o + 6 <= whole; o += 6) {
        for (int32_t c = 0; c < wide; c += LL_SIDE) {
            LL_NAME(carried_six)
            (p, dy + o * 4, in[1].pixel, x + c * size, x_next, count, sums + o * next + c, next);
        }
    }
    for (; p->group_out == p->out_c && o + LL_SIDE <= p->out_c; o += LL_SIDE) {
        for (int32_t c = 0; c < wide; c += LL_SIDE) {
            LL_NAME(carried_four)
            (p, dy + o * 4, in[1].pixel, x + c * size, x_next, count, sums + o * next + c, next);
        }
    }
    for (int32_t k = 0; k < p->out_c; ++k) {
        const int32_t group = k / p->group_out * p->group_in;
        for (int32_t c = k < o ? wide : 0; c < p->group_in; ++c) {
            float sum = sums[k * next + c];
            for (int32_t n = 0; n < count; ++n) {
                const LL_X *v = (const LL_X *)(const void *)(x + n * x_next);
                sum += ((const float *)(const void *)(dy + n * in[1].pixel))[k] *
                       LL_CENTRED(group + c);
            }
            sums[k * next + c] = sum;
        }
    }
}

#ifdef LL_STORED
/* The pixels of a row of x that a tap meets, as floats without their zero point. */
LL_INLINE void LL_NAME(carried_line)(const ll_conv2d_grad_w_params *p, const uint8_t *x,
                                     int32_t x_next, int32_t count, float *line) {
    for (; count > 0; --count, x += x_next) {
        line = ll_centred_pixel(x, p->stored_zero, p->in_c, line);
    }
}
#endif

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
            for (int32_t row = r->y0; row < r->y1; ++row) {
                const uint8_t *dy_pixel, *x_pixel;
                if (LL_NAME(carried_row)(p, in, &tap, row, &dy_pixel, &x_pixel)) {
                    int32_t x_next = p->stride_w * in[0].pixel;
#ifdef LL_STORED
                    LL_NAME(carried_line)(p, x_pixel, x_next, to - from, sums + size);
                    x_pixel = (const uint8_t *)(sums + size);
                    x_next = p->in_c * (int32_t)sizeof(float);
#endif
                    LL_NAME(carried_sums)(p, in, &tap, dy_pixel, x_pixel, x_next, sums);
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
#undef LL_CENTRED
#undef LL_SIX_LOAD
#undef LL_SIX_STORE
#undef LL_CARRIED_PIXELS
#undef LL_CARRIED_ROW

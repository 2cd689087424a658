/* Gradient of a convolution's weights in one group: 4 output by 4 input channels at a time.
 *
 * in[0]  x (N*H, W, I)      in[1]  dy (N*OH, OW, O)
 * then the epilogue's operands
 *
 * The region's rows are (output channel, kernel row).  Each element is summed over the pixels of
 * dy, row major, whose tap lies inside the map.  The last tile begins early enough to be whole, and
 * stores what has not been stored.  A number of x is converted for four output channels, or with
 * LL_STORED once.
 *
 * scratch: with LL_STORED, x as floats
 */
#ifndef LL_CONV2D_GRAD_W_TILES_PARAMS
#define LL_CONV2D_GRAD_W_TILES_PARAMS
typedef struct {
    int32_t in_h, in_w, in_c, out_h, out_w, out_c, rows, kh, kw, stride_h, stride_w;
    int32_t dilation_h, dilation_w, pad_top, pad_left, group_in, group_out, zero_point, stored_zero;
} ll_conv2d_grad_w_tiles_params;
#endif

#define LL_CENTRED(k) ((float)(v[k] - (LL_X)p->zero_point))

#ifdef LL_STORED
/* x in scratch, as floats without their zero point; and dy where it is. */
LL_INLINE void LL_NAME(grad_w_floats)(const ll_conv2d_grad_w_tiles_params *p, const ll_in *in,
                                      float *to, ll_in *found) {
    const int32_t row = p->in_w * p->in_c * (int32_t)sizeof(float);
    const ll_in x = {(uint8_t *)to, row, p->in_c * (int32_t)sizeof(float), LL_WHOLE, 0, 0, 0};
    for (int32_t y = 0; y < p->rows / p->out_h * p->in_h; ++y) {
        const uint8_t *pixel = ll_in_row(&in[0], y);
        for (int32_t n = 0; n < p->in_w; ++n, pixel += in[0].pixel) {
            to = ll_centred_pixel(pixel, p->stored_zero, p->in_c, to);
        }
    }
    found[0] = x;
    found[1] = in[1];
}
#endif

/* The same convolution with all rows as one, where a pixel meets none but its own and rows follow
 * one another. */
LL_INLINE ll_conv2d_grad_w_tiles_params
LL_NAME(grad_w_merged)(const ll_conv2d_grad_w_tiles_params *p, const ll_in *in) {
    ll_conv2d_grad_w_tiles_params q = *p;
    const int32_t own = p->kh * p->kw * p->stride_h * p->stride_w == 1 && p->out_h == p->in_h &&
                        p->out_w == p->in_w;
    if (own && ll_follows(in[0].row, in[0].pixel, in[0].ring, p->in_w) &&
        ll_follows(in[1].row, in[1].pixel, in[1].ring, p->in_w)) {
        q.in_w = p->rows * p->in_w;
        q.out_w = q.in_w;
        q.rows = 1;
        q.in_h = 1;
        q.out_h = 1;
    }
    return q;
}

/* Pixels of a row of dy whose tap j lies inside the map, and where in x the first one does. */
typedef struct {
    int32_t from, to, x;
} LL_NAME(grad_w_span);

LL_INLINE LL_NAME(grad_w_span)
    LL_NAME(grad_w_columns)(const ll_conv2d_grad_w_tiles_params *p, int32_t j) {
    const int32_t at = j * p->dilation_w - p->pad_left;
    const int32_t from = at < 0 ? (p->stride_w - 1 - at) / p->stride_w : 0;
    const int32_t last = p->in_w - 1 - at;
    const int32_t to = last < 0 ? 0 : ll_min(p->out_w, last / p->stride_w + 1);
    const LL_NAME(grad_w_span) found = {from, to, from * p->stride_w + at};
    return found;
}

/* The row of x that tap i of a row of dy reads; -1 outside the map. */
LL_INLINE int32_t LL_NAME(grad_w_row)(const ll_conv2d_grad_w_tiles_params *p, int32_t row,
                                      int32_t i) {
    const int32_t image = row / p->out_h;
    const int32_t y = (row - image * p->out_h) * p->stride_h - p->pad_top + i * p->dilation_h;
    return y < 0 || y >= p->in_h ? -1 : image * p->in_h + y;
}

/* dy from channel o on, x from channel c on. */
LL_INLINE void LL_NAME(grad_w_tile)(const ll_conv2d_grad_w_tiles_params *p, const ll_in *in,
                                    int32_t i, LL_NAME(grad_w_span) across, int32_t o, int32_t c,
                                    float (*sums)[LL_SIDE]) {
    const int32_t next = p->stride_w * in[0].pixel;
    LL_SQUARE_ZERO
    for (int32_t row = 0; row < p->rows; ++row) {
        const int32_t y = LL_NAME(grad_w_row)(p, row, i);
        if (y < 0) {
            continue;
        }
        const uint8_t *dy_pixel = ll_in_row(&in[1], row) + across.from * in[1].pixel + o * 4;
        const uint8_t *x_pixel =
            ll_in_row(&in[0], y) + across.x * in[0].pixel + c * (int32_t)sizeof(LL_X);
        for (int32_t x = across.from; x < across.to; ++x) {
            const LL_X *v = (const LL_X *)(const void *)x_pixel;
            const float *dy = (const float *)(const void *)dy_pixel;
            LL_CENTRED_4(v, (LL_X)p->zero_point)
            LL_SQUARE_ROW(0, dy[0])
            LL_SQUARE_ROW(1, dy[1])
            LL_SQUARE_ROW(2, dy[2])
            LL_SQUARE_ROW(3, dy[3])
            dy_pixel += in[1].pixel;
            x_pixel += next;
        }
    }
    LL_SQUARE_KEEP(sums)
}

/* A tile that the tensor has not so many channels for. */
LL_INLINE void LL_NAME(grad_w_part)(const ll_conv2d_grad_w_tiles_params *p, const ll_in *in,
                                    int32_t i, LL_NAME(grad_w_span) across, int32_t o, int32_t c,
                                    int32_t wide, float *sums) {
    for (int32_t k = 0; k < wide; ++k) {
        float acc = 0.0f;
        for (int32_t row = 0; row < p->rows; ++row) {
            const int32_t y = LL_NAME(grad_w_row)(p, row, i);
            if (y < 0) {
                continue;
            }
            const uint8_t *dy_pixel = ll_in_row(&in[1], row) + across.from * in[1].pixel;
            const uint8_t *x_pixel = ll_in_row(&in[0], y) + across.x * in[0].pixel;
            for (int32_t x = across.from; x < across.to; ++x) {
                const LL_X *v = (const LL_X *)(const void *)x_pixel;
                acc += ((const float *)(const void *)dy_pixel)[o] * LL_CENTRED(c + k);
                dy_pixel += in[1].pixel;
                x_pixel += p->stride_w * in[0].pixel;
            }
        }
        sums[k] = acc;
    }
}

LL_INLINE void LL_NAME(conv2d_grad_w_tiles)(const ll_conv2d_grad_w_tiles_params *given,
                                            const ll_in *in, const ll_out *out, const ll_region *r,
                                            void *scratch, const ll_in *operands, int32_t count,
                                            LL_R (*store)(const ll_at *, LL_ACC)) {
#ifdef LL_STORED
    ll_in floats[2];
    LL_NAME(grad_w_floats)(given, in, (float *)scratch, floats);
    in = floats;
#endif
    const ll_conv2d_grad_w_tiles_params merged = LL_NAME(grad_w_merged)(given, in), *p = &merged;
    const int32_t wide = ll_min(LL_SIDE, r->c1 - r->c0);
    ll_at at[LL_SIDE];
    (void)scratch;
    for (int32_t i = 0; i < p->kh; ++i) {
        const int32_t first = (r->y0 - i + p->kh - 1) / p->kh;
        const int32_t end = (r->y1 - i + p->kh - 1) / p->kh;
        const int32_t high = ll_min(LL_SIDE, end - first);
        for (int32_t y = first; y < end; y += LL_SIDE) {
            const int32_t o = ll_min(y, end - high);
            for (int32_t n = y - o; n < high; ++n) {
                ll_at_row(&at[n], operands, count, (o + n) * p->kh + i);
            }
            for (int32_t j = r->x0; j < r->x1; ++j) {
                const LL_NAME(grad_w_span) across = LL_NAME(grad_w_columns)(p, j);
                for (int32_t d = r->c0; d < r->c1; d += LL_SIDE) {
                    const int32_t c = ll_min(d, r->c1 - wide);
                    float sums[LL_SIDE][LL_SIDE];
                    if (high == LL_SIDE && wide == LL_SIDE) {
                        LL_NAME(grad_w_tile)(p, in, i, across, o, c, sums);
                    } else {
                        for (int32_t n = y - o; n < high; ++n) {
                            LL_NAME(grad_w_part)(p, in, i, across, o + n, c, wide, sums[n]);
                        }
                    }
                    for (int32_t n = y - o; n < high; ++n) {
                        uint8_t *out_row = ll_out_row(out, (o + n) * p->kh + i);
                        at[n].x = j;
                        for (int32_t k = d - c; k < wide; ++k) {
                            at[n].c = c + k;
                            *LL_ELEMENT(LL_Y, out_row, j, c + k, out) =
                                (LL_Y)store(&at[n], sums[n][k]);
                        }
                    }
                }
            }
        }
    }
}
#undef LL_CENTRED

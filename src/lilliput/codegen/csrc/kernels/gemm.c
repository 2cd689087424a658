/* Convolution in one group and matrix products of int8: four pixels times two channels at a time.
 *
 * in[0]  x (N*H, W, I)      in[1]  weights, see `isa/generic.h`; channels and groups padded; with
 *        LL_FRESH int8 (O, KH, KW, I), which the call itself widens
 * in[2]  bias (O, even), zero point folded in      in[3]  one window row of zero points
 * then the epilogue's operands
 *
 * The windows of four pixels become columns of int16 once; every two output channels stream
 * their weights past them.  Sums go through a buffer of `chunk` channels to the epilogue, so
 * that the inner loop knows nothing of it.  `run` numbers of a window's row are neighbours in the
 * map; where they are whole groups, or the window is one row, columns are made from the map
 * itself, elsewhere and at the borders from patches of it.
 *
 * scratch: columns; sums, in the place of four patches, which columns have been made of by then;
 *          with LL_FRESH widened weights
 */
#ifndef LL_GEMM_PARAMS
#define LL_GEMM_PARAMS
typedef struct {
    int32_t in_h, in_w, in_c, out_h, kh, kw, stride_h, stride_w, dilation_h, dilation_w;
    int32_t pad_top, pad_left, groups, chunk, patch, out_c;
} ll_gemm_params;

/* One row of a window at column `left`, where not all of its taps are in the map. */
LL_INLINE void ll_gemm_patch(const ll_gemm_params *p, int8_t *to, const uint8_t *row, int32_t left,
                             int32_t pixel, const int8_t *zeros) {
    for (int32_t j = 0; j < p->kw; ++j, to += p->in_c) {
        const int32_t x = left + j * p->dilation_w;
        const int8_t *tap = row && x >= 0 && x < p->in_w ? (const int8_t *)row + x * pixel : zeros;
        for (int32_t c = 0; c < p->in_c; ++c) {
            to[c] = tap[c];
        }
    }
}

/* Columns of `count` numbers of up to four pixels; those that are less than a group go through
 * patches `room` bytes apart. */
LL_INLINE void ll_gemm_columns(int16_t *columns, const int8_t **from, int32_t count, int32_t pixels,
                               int8_t *patches, int32_t room) {
    const int32_t whole = count / 4, rest = count % 4;
    if (whole && pixels > 1) {
        ll_columns_4(columns, from, whole);
    } else if (whole) {
        ll_columns_1(columns, from[0], whole);
    }
    if (rest) {
        for (int32_t i = 0; i < pixels; ++i) {
            int8_t *to = patches + i * room;
            for (int32_t k = 0; k < 4; ++k) {
                to[k] = k < rest ? from[i][whole * 4 + k] : 0;
            }
            from[i] = to;
        }
        for (int32_t i = pixels; i < 4; ++i) {
            from[i] = from[0];
        }
        if (pixels > 1) {
            ll_columns_4(columns + whole * 16, from, 1);
        } else {
            ll_columns_1(columns + whole * 4, from[0], 1);
        }
    }
}

/* The columns of `pixels` windows, the first at column `left` of rows of `in_w` pixels; rows
 * outside the map are null. */
LL_INLINE void ll_gemm_fill(const ll_gemm_params *p, int16_t *columns, const uint8_t **rows,
                            int32_t left, int32_t pixels, int32_t in_w, int32_t pixel,
                            const int8_t *zeros, int8_t *patches) {
    const int32_t run = p->kw * p->in_c, room = p->patch, stride = p->stride_w;
    const int32_t near = p->kw == 1 || (p->dilation_w == 1 && pixel == p->in_c);
    const int32_t direct = near && (p->kh == 1 || run % 4 == 0);
    const int32_t inside = left >= 0 && left + (pixels - 1) * stride + p->kw <= in_w;
    const int8_t *from[4] = {0}; /* of one pixel at least, which compilers do not know */
    for (int32_t k = 0; k < p->kh; ++k) {
        const int8_t *row = rows[k] ? (const int8_t *)rows[k] : zeros;
        const int32_t step = rows[k] ? pixel : 0;
#pragma GCC unroll 4
        for (int32_t i = 0; i < 4; ++i) {
            const int32_t at = left + i * stride;
            int8_t *to = patches + i * room + (direct ? 0 : k * run);
            if (i >= pixels) {
                from[i] = from[0];
            } else if (near && (inside || (at >= 0 && at + p->kw <= in_w))) {
                from[i] = row + at * step;
                if (!direct) {
                    __builtin_memcpy(to, from[i], (uint32_t)run);
                }
            } else {
                ll_gemm_patch(p, to, rows[k], at, pixel, zeros);
                from[i] = to;
            }
        }
        if (direct) {
            int16_t *to = columns + k * run * (pixels > 1 ? 4 : 1);
            ll_gemm_columns(to, from, run, pixels, patches, room);
        }
    }
    if (!direct) {
        for (int32_t i = 0; i < 4; ++i) {
            from[i] = patches + (i < pixels ? i : 0) * room;
        }
        ll_gemm_columns(columns, from, p->groups * 4, pixels, patches, room);
    }
}
#endif

LL_INLINE void LL_NAME(gemm_twos)(const int16_t *columns, const LL_W *weights, const int32_t *bias,
                                  int32_t *sums, int32_t groups, int32_t twos, int32_t pixels) {
    if (twos > 0 && pixels > 1) {
        LL_CAT(LL_SUMS, 4)(columns, weights, bias, sums, groups, twos);
    } else if (twos > 0) {
        LL_CAT(LL_SUMS, 1)(columns, weights, bias, sums, groups, twos);
    }
}

/* Sums of `channels` channels; the twin that an odd one lacks has weights, but no bias to read. */
LL_INLINE void LL_NAME(gemm_sums)(const int16_t *columns, const LL_W *weights, const int32_t *bias,
                                  int32_t *sums, int32_t groups, int32_t channels, int32_t pixels) {
    const int32_t even = channels & ~1;
    LL_NAME(gemm_twos)(columns, weights, bias, sums, groups, even / 2, pixels);
    if (even < channels) {
        const int32_t last[2] = {bias[even], 0};
        LL_NAME(gemm_twos)
        (columns, weights + even * groups * 4, last, sums + even * (pixels > 1 ? 4 : 1), groups, 1,
         pixels);
    }
}

/* The epilogue of channels [c0, c1) of `pixels` pixels from x on; sums begin at channel `base`. */
LL_INLINE void LL_NAME(gemm_store)(ll_at *at, const ll_out *out, uint8_t *out_row, int32_t x,
                                   int32_t pixels, const int32_t *sums, int32_t base, int32_t c0,
                                   int32_t c1, LL_R (*store)(const ll_at *, LL_ACC)) {
    if (!LL_SMALL && pixels == 4) {
        for (int32_t c = c0; c < c1; ++c) {
            const int32_t *s = sums + (c - base) * 4;
            LL_R y[4];
            at->c = c;
            at->x = x;
            y[0] = store(at, s[0]);
            at->x = x + 1;
            y[1] = store(at, s[1]);
            at->x = x + 2;
            y[2] = store(at, s[2]);
            at->x = x + 3;
            y[3] = store(at, s[3]);
            *LL_ELEMENT(LL_Y, out_row, x, c, out) = (LL_Y)y[0];
            *LL_ELEMENT(LL_Y, out_row, x + 1, c, out) = (LL_Y)y[1];
            *LL_ELEMENT(LL_Y, out_row, x + 2, c, out) = (LL_Y)y[2];
            *LL_ELEMENT(LL_Y, out_row, x + 3, c, out) = (LL_Y)y[3];
        }
        return;
    }
    const int32_t apart = pixels == 1 ? 1 : 4;
    for (int32_t c = c0; c < c1; ++c) {
        at->c = c;
        for (int32_t i = 0; i < pixels; ++i) {
            at->x = x + i;
            *LL_ELEMENT(LL_Y, out_row, x + i, c, out) =
                (LL_Y)store(at, sums[(c - base) * apart + i]);
        }
    }
}

#ifdef LL_FRESH
/* Weights of `channels` channels as `ll_sums_wide` wants them; the twin of an odd one is itself. */
LL_INLINE void LL_NAME(gemm_widened)(const ll_gemm_params *p, int16_t *to, const int8_t *from,
                                     int32_t channels) {
    const int32_t depth = p->kh * p->kw * p->in_c, whole = depth / 4, rest = depth % 4;
    for (int32_t c = 0; c < channels; c += 2, to += p->groups * 8) {
        const int8_t *const one = from + c * depth, *const two =
                                                        c + 1 < channels ? one + depth : one;
        if (whole) {
            ll_columns_2(to, one, two, whole);
        }
        if (rest) {
            int8_t last[8] = {0};
            __builtin_memcpy(last, one + whole * 4, (uint32_t)rest);
            __builtin_memcpy(last + 4, two + whole * 4, (uint32_t)rest);
            ll_columns_2(to + whole * 8, last, last + 4, 1);
        }
    }
}
#endif

LL_INLINE void LL_NAME(gemm)(const ll_gemm_params *p, const ll_in *in, const ll_out *out,
                             const ll_region *r, void *scratch, const ll_in *operands,
                             int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    const int8_t *zeros = (const int8_t *)in[3].base;
    const int32_t *bias = (const int32_t *)in[2].base;
    int16_t *const columns = (int16_t *)scratch;
    /* one pixel alone has a column, sums and a patch of its own */
    const int32_t together = r->y1 - r->y0 > 1 || r->x1 - r->x0 > 1 ? 4 : 1;
    int32_t *const sums = (int32_t *)scratch + p->groups * 2 * together;
    int8_t *const patches = (int8_t *)sums;
#ifdef LL_FRESH
    int16_t *const weights =
        (int16_t *)(void *)(patches + together * ll_max(p->chunk * 4, p->patch));
    LL_NAME(gemm_widened)(p, weights, (const int8_t *)in[1].base, p->out_c);
#else
    const LL_W *weights = (const LL_W *)in[1].base;
#endif
    const uint8_t *rows[LL_ROWS] = {0};
    int32_t y1 = r->y1, x1 = r->x1, in_w = p->in_w;
    ll_at at;
    if (p->kh * p->kw * p->stride_h * p->stride_w == 1 && p->out_h == p->in_h && x1 == in_w) {
        in_w += ll_merged(r, in, out, operands, count);
        y1 = in_w > x1 ? r->y0 + 1 : y1;
        x1 = in_w;
    }
    for (int32_t y = r->y0; y < y1; ++y) {
        LL_WINDOW_ROWS(rows, p, &in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < x1; x += 4) {
            const int32_t pixels = ll_min(x1 - x, 4);
            ll_gemm_fill(p, columns, rows, x * p->stride_w - p->pad_left, pixels, in_w, in[0].pixel,
                         zeros, patches);
            for (int32_t base = r->c0 & ~1; base < r->c1; base += p->chunk) {
                const int32_t channels = ll_min(p->chunk, r->c1 - base);
                LL_NAME(gemm_sums)
                (columns, weights + base * p->groups * 4, bias + base, sums, p->groups, channels,
                 pixels);
                LL_NAME(gemm_store)
                (&at, out, out_row, x, pixels, sums, base, ll_max(base, r->c0),
                 ll_min(base + p->chunk, r->c1), store);
            }
        }
    }
}

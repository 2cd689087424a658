/* Convolution 3x3 with stride 1 in one group, int8, by Winograd's F(2x2, 3x3) in integers.
 *
 * in[0]  x (N*H, W, I)      in[1]  transformed weights, see `isa/generic_winograd.h`
 * in[2]  bias (O), zero point folded in      in[3]  one pixel of zero points
 * then the epilogue's operands
 *
 * Four tiles beside one another, hence eight pixels of two rows, are transformed at once and stay
 * for all output channels.  The transforms are scaled to integers, so that the sums of a tile,
 * transformed back, are exactly four times the convolution: modulo 2^32, and it is proven of the
 * weights that four times the convolution fits.
 *
 * scratch: tiles; columns, and when these are done with, sums in the same place; four last groups
 */
#ifndef LL_WINOGRAD_PARAMS
#define LL_WINOGRAD_PARAMS
typedef struct {
    int32_t in_h, in_w, in_c, out_h, pad_top, pad_left, groups;
} ll_winograd_params;

/* One column of the map: the pixels of `rows` at column x; outside the map are zero points. */
LL_INLINE void ll_winograd_column(const ll_winograd_params *p, int16_t *to,
                                  const uint8_t *const *rows, int32_t x, int32_t pixel,
                                  const int8_t *zeros, int8_t *last) {
    const int32_t whole = p->in_c / 4, rest = p->in_c % 4, inside = x >= 0 && x < p->in_w;
    const int8_t *from[4];
    for (int32_t k = 0; k < 4; ++k) {
        from[k] = inside && rows[k] ? (const int8_t *)rows[k] + x * pixel : zeros;
    }
    if (whole) {
        ll_winograd_columns(to, from, whole);
    }
    if (rest) {
        for (int32_t k = 0; k < 4; ++k) {
            for (int32_t c = 0; c < 4; ++c) {
                last[k * 4 + c] = c < rest ? from[k][whole * 4 + c] : 0;
            }
            from[k] = last + k * 4;
        }
        ll_winograd_columns(to + whole * (LL_WINOGRAD_COLUMNS / 2), from, 1);
    }
}

/* y[0..3] = the 2x2 pixels of a tile, times four, from its sums at 16 positions. */
LL_INLINE void ll_winograd_inverse(const int32_t *sums, int32_t *y) {
    const uint32_t *m = (const uint32_t *)sums;
    uint32_t upper[4], lower[4];
    for (int32_t j = 0; j < 4; ++j, m += 8) {
        upper[j] = m[0] + m[32] + m[64];
        lower[j] = m[32] - m[64] - m[96];
    }
    /* columns 1, 2, 3, 0 */
    y[0] = (int32_t)(upper[3] + upper[0] + upper[1]);
    y[1] = (int32_t)(upper[0] - upper[1] - upper[2]);
    y[2] = (int32_t)(lower[3] + lower[0] + lower[1]);
    y[3] = (int32_t)(lower[0] - lower[1] - lower[2]);
}
#endif

/* The epilogue of one channel of one tile, of which `height` x `width` pixels are wanted. */
LL_INLINE void LL_NAME(winograd_store)(ll_at *at, const ll_out *out, uint8_t *const *out_rows,
                                       int32_t x, int32_t height, int32_t width, int32_t bias,
                                       const int32_t *sums, LL_R (*store)(const ll_at *, LL_ACC)) {
    const int32_t c = at[0].c;
    int32_t acc[4];
    LL_R y[4];
    ll_winograd_inverse(sums, acc);
    for (int32_t k = 0; k < 4; ++k) {
        if (k / 2 < height && k % 2 < width) {
            at[k / 2].x = x + k % 2;
            y[k] = store(&at[k / 2], ll_wrap_add(acc[k] >> 2, bias));
        }
    }
    for (int32_t k = 0; k < 4; ++k) {
        if (k / 2 < height && k % 2 < width) {
            *LL_ELEMENT(LL_Y, out_rows[k / 2], x + k % 2, c, out) = (LL_Y)y[k];
        }
    }
}

LL_INLINE void LL_NAME(winograd)(const ll_winograd_params *p, const ll_in *in, const ll_out *out,
                                 const ll_region *r, void *scratch, const ll_in *operands,
                                 int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    const int8_t *zeros = (const int8_t *)in[3].base;
    const int32_t *bias = (const int32_t *)in[2].base;
    int16_t *const tiles = (int16_t *)scratch;
    int16_t *const columns = tiles + p->groups * (LL_WINOGRAD_TILES / 2);
    int32_t *const sums = (int32_t *)(void *)columns;
    int8_t *const last = (int8_t *)columns + ll_max(p->groups * LL_WINOGRAD_COLUMNS, LL_WINOGRAD_SUMS);
    for (int32_t y = r->y0, height; y < r->y1; y += height) {
        const int32_t image = y / p->out_h, inside = y - image * p->out_h;
        const uint8_t *rows[4];
        uint8_t *out_rows[2];
        ll_at at[2];
        height = ll_min(ll_min(r->y1 - y, p->out_h - inside), 2);
        for (int32_t k = 0; k < 4; ++k) {
            const int32_t iy = inside - p->pad_top + k;
            const int32_t wanted = iy >= 0 && iy < p->in_h && k < height + 2;
            rows[k] = wanted ? ll_in_row(&in[0], image * p->in_h + iy) : 0;
        }
        for (int32_t k = 0; k < height; ++k) {
            out_rows[k] = ll_out_row(out, y + k);
            ll_at_row(&at[k], operands, count, y + k);
        }
        for (int32_t x = r->x0; x < r->x1; x += 8) {
            const int32_t pixels = ll_min(r->x1 - x, 8);
            for (int32_t k = 0; k < 10; ++k) {
                ll_winograd_column(p, columns + k * 16, rows, x - p->pad_left + k, in[0].pixel,
                                   zeros, last);
            }
            ll_winograd_rows(tiles, columns, p->groups);
            for (int32_t two = r->c0 & ~1; two < r->c1; two += 2) {
                ll_winograd_sums(tiles, (const int16_t *)in[1].base + two * p->groups * 64, sums,
                             p->groups * 2);
                for (int32_t c = ll_max(two, r->c0); c < ll_min(two + 2, r->c1); ++c) {
                    const int32_t *own = sums + (c - two) * 4;
                    at[0].c = c;
                    at[1].c = c;
                    for (int32_t t = 0; t * 2 < pixels; ++t) {
                        if (height == 2 && t * 2 + 1 < pixels) {
                            LL_NAME(winograd_store)
                            (at, out, out_rows, x + t * 2, 2, 2, bias[c], own + t, store);
                        } else {
                            LL_NAME(winograd_store)
                            (at, out, out_rows, x + t * 2, height, ll_min(pixels - t * 2, 2),
                             bias[c], own + t, store);
                        }
                    }
                }
            }
        }
    }
}

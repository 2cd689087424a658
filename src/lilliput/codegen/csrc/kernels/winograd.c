/* Convolution 3x3 with stride 1 in one group, int8, by Winograd's F(2x2, 3x3) in integers.
 *
 * in[0]  x (N*H, W, I)      in[1]  transformed weights, see `isa/generic_winograd.h`
 * in[2]  twice the bias (O), zero point folded in      in[3]  one pixel of zero points
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
                                  const int8_t *const *rows, int32_t x, int32_t pixel,
                                  const int8_t *zeros, int8_t *last) {
    const int32_t whole = p->in_c / 4, rest = p->in_c % 4, inside = x >= 0 && x < p->in_w;
    const int8_t *from[4];
#pragma GCC unroll 4
    for (int32_t k = 0; k < 4; ++k) {
        from[k] = inside ? rows[k] + (rows[k] == zeros ? 0 : x * pixel) : zeros;
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

/* acc[0..3] = twice the accumulators of the 2x2 pixels of a tile, from its sums. */
LL_INLINE void ll_winograd_inverse(const int32_t *sums, int32_t bias, int32_t *acc) {
    const uint32_t *right = (const uint32_t *)sums, *left = right + 8;
    acc[0] = ll_wrap_add((int32_t)(left[0] + left[16] + left[32]) >> 1, bias);
    acc[1] = ll_wrap_add((int32_t)(right[0] + right[16] + right[32]) >> 1, bias);
    acc[2] = ll_wrap_add((int32_t)(left[16] - left[32] - left[48]) >> 1, bias);
    acc[3] = ll_wrap_add((int32_t)(right[16] - right[32] - right[48]) >> 1, bias);
}
#endif

/* The epilogue of one channel of a tile at pixel x; `at` and `rows` are those of its two rows. */
LL_INLINE void LL_NAME(winograd_store)(ll_at *at, const ll_out *out, uint8_t *const *rows,
                                       int32_t x, int32_t c, const int32_t *acc,
                                       LL_R (*store)(const ll_at *, LL_ACC)) {
    LL_R y[4];
    at[0].x = at[1].x = x;
    y[0] = store(&at[0], acc[0]);
    y[2] = store(&at[1], acc[2]);
    at[0].x = at[1].x = x + 1;
    y[1] = store(&at[0], acc[1]);
    y[3] = store(&at[1], acc[3]);
    *LL_ELEMENT(LL_Y, rows[0], x, c, out) = (LL_Y)y[0];
    *LL_ELEMENT(LL_Y, rows[0], x + 1, c, out) = (LL_Y)y[1];
    *LL_ELEMENT(LL_Y, rows[1], x, c, out) = (LL_Y)y[2];
    *LL_ELEMENT(LL_Y, rows[1], x + 1, c, out) = (LL_Y)y[3];
}

/* The same of the `height` x `width` pixels that are wanted of a tile. */
LL_INLINE void LL_NAME(winograd_part)(ll_at *at, const ll_out *out, uint8_t *const *rows, int32_t x,
                                      int32_t c, const int32_t *acc, int32_t height, int32_t width,
                                      LL_R (*store)(const ll_at *, LL_ACC)) {
    for (int32_t k = 0; k < height; ++k) {
        for (int32_t i = 0; i < width; ++i) {
            at[k].x = x + i;
            *LL_ELEMENT(LL_Y, rows[k], x + i, c, out) = (LL_Y)store(&at[k], acc[k * 2 + i]);
        }
    }
}

LL_INLINE void LL_NAME(winograd)(const ll_winograd_params *p, const ll_in *in, const ll_out *out,
                                 const ll_region *r, void *scratch, const ll_in *operands,
                                 int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    const int8_t *zeros = (const int8_t *)in[3].base;
    const int32_t *bias = (const int32_t *)in[2].base;
    const int16_t *weights = (const int16_t *)in[1].base;
    int16_t *const tiles = (int16_t *)scratch;
    int16_t *const columns = tiles + p->groups * (LL_WINOGRAD_TILES / 2);
    int32_t *const sums = (int32_t *)(void *)columns;
    int8_t *const patch = (int8_t *)columns +
                          ll_max(p->groups * LL_WINOGRAD_COLUMNS, LL_CHUNK / 2 * LL_WINOGRAD_SUMS);
    for (int32_t y = r->y0, height; y < r->y1; y += height) {
        const int32_t image = y / p->out_h, inside = y - image * p->out_h;
        const int8_t *rows[4];
        uint8_t *out_rows[2];
        ll_at at[2];
        height = ll_min(ll_min(r->y1 - y, p->out_h - inside), 2);
        for (int32_t k = 0; k < 4; ++k) {
            const int32_t iy = inside - p->pad_top + k;
            const int32_t wanted = iy >= 0 && iy < p->in_h && k < height + 2;
            rows[k] = wanted ? (const int8_t *)ll_in_row(&in[0], image * p->in_h + iy) : zeros;
        }
        for (int32_t k = 0; k < 2; ++k) {
            const int32_t row = k < height ? y + k : y;
            out_rows[k] = ll_out_row(out, row);
            ll_at_row(&at[k], operands, count, row);
        }
        for (int32_t x = r->x0; x < r->x1; x += 8) {
            const int32_t pixels = ll_min(r->x1 - x, 8);
            for (int32_t k = 0; k < 10; ++k) {
                ll_winograd_column(p, columns + k * 16, rows, x - p->pad_left + k, in[0].pixel,
                                   zeros, patch);
            }
            ll_winograd_rows(tiles, columns, p->groups);
            for (int32_t base = r->c0 & ~1; base < r->c1; base += LL_CHUNK) {
                const int32_t last = ll_min(base + LL_CHUNK, r->c1);
                ll_winograd_sums(tiles, weights + base * p->groups * 64, sums, p->groups * 2,
                                 (last - base + 1) / 2);
                for (int32_t c = ll_max(base, r->c0); c < last; ++c) {
                    const int32_t *own = sums + (c - base) / 2 * 64 + (c & 1) * 4;
                    at[0].c = at[1].c = c;
                    for (int32_t k = 0; k < pixels; k += 2, ++own) {
                        int32_t acc[4];
                        ll_winograd_inverse(own, bias[c], acc);
                        if (height == 2 && pixels - k > 1) {
                            LL_NAME(winograd_store)(at, out, out_rows, x + k, c, acc, store);
                        } else {
                            LL_NAME(winograd_part)
                            (at, out, out_rows, x + k, c, acc, height, ll_min(pixels - k, 2),
                             store);
                        }
                    }
                }
            }
        }
    }
}

/* Depthwise convolution of int8: four pixels at a time, channels last.
 *
 * in[0]  x (N*H, W, C)      in[1]  weights (KH, KW, C), or int16 (fours, KH, KW, 4): see
 *        LL_ALIGNED
 * in[2]  bias (C), zero point folded in      in[3]  one pixel of zero points
 * then the epilogue's operands
 *
 * A tap is a pointer to its pixel, or to the zero points; every weight meets the taps of four
 * pixels.  Where the rows of the result follow one another, four pixels may lie in two rows, so
 * that a map of five columns is as fast as a wide one.  Channels are made in chunks that begin at a
 * multiple of LL_ALIGNED: of one with loops for cores without SIMD, of four with dual products;
 * where these are not four any more the last four channels are summed up, and the rest of them
 * stored.
 *
 * scratch: sums of four pixels times LL_CHUNK channels
 */
#ifndef LL_DEPTHWISE_FOURS_PARAMS
#define LL_DEPTHWISE_FOURS_PARAMS
typedef struct {
    int32_t in_h, in_w, out_h, kh, kw, stride_h, stride_w, dilation_h, dilation_w;
    int32_t pad_top, pad_left;
} ll_depthwise_fours_params;

/* The taps of the window whose first column is `left`, every fourth of `taps`. */
LL_INLINE void ll_depthwise_taps(const ll_depthwise_fours_params *p, const uint8_t *const *rows,
                                 int32_t left, int32_t pixel, const int8_t *zeros,
                                 const int8_t **taps) {
    for (int32_t k = 0; k < p->kh; ++k) {
        for (int32_t j = 0; j < p->kw; ++j, taps += 4) {
            const int32_t x = left + j * p->dilation_w;
            const int32_t inside = rows[k] && x >= 0 && x < p->in_w;
            *taps = inside ? (const int8_t *)rows[k] + x * pixel : zeros;
        }
    }
}
#endif

LL_INLINE void LL_NAME(depthwise_fours_store)(ll_at *at, const ll_out *out, uint8_t *out_row,
                                              int32_t x, int32_t pixels, const int32_t *sums,
                                              int32_t c0, int32_t c1,
                                              LL_R (*store)(const ll_at *, LL_ACC)) {
    for (int32_t c = c0; c < c1; ++c, sums += 4) {
        LL_R y[4];
        at->c = c;
        if (pixels < 4) {
            for (int32_t i = 0; i < pixels; ++i) {
                at->x = x + i;
                *LL_ELEMENT(LL_Y, out_row, x + i, c, out) = (LL_Y)store(at, sums[i]);
            }
            continue;
        }
        at->x = x;
        y[0] = store(at, sums[0]);
        at->x = x + 1;
        y[1] = store(at, sums[1]);
        at->x = x + 2;
        y[2] = store(at, sums[2]);
        at->x = x + 3;
        y[3] = store(at, sums[3]);
        *LL_ELEMENT(LL_Y, out_row, x, c, out) = (LL_Y)y[0];
        *LL_ELEMENT(LL_Y, out_row, x + 1, c, out) = (LL_Y)y[1];
        *LL_ELEMENT(LL_Y, out_row, x + 2, c, out) = (LL_Y)y[2];
        *LL_ELEMENT(LL_Y, out_row, x + 3, c, out) = (LL_Y)y[3];
    }
}

LL_INLINE void LL_NAME(depthwise_fours)(const ll_depthwise_fours_params *p, const ll_in *in,
                                        const ll_out *out, const ll_region *r, void *scratch,
                                        const ll_in *operands, int32_t count,
                                        LL_R (*store)(const ll_at *, LL_ACC)) {
    const int8_t *zeros = (const int8_t *)in[3].base;
    const LL_W *weights = (const LL_W *)in[1].base;
    const int32_t *bias = (const int32_t *)in[2].base;
    const ll_in any = {0, 0, 0, LL_WHOLE, 0, 0, 0}; /* taps are looked up, wherever they lie */
    const int32_t merged = ll_merged(r, &any, out, operands, count);
    int32_t *const sums = (int32_t *)scratch;
    const uint8_t *rows[LL_ROWS];
    const int8_t *taps[LL_TAPS * 4];
    ll_at at;
    for (int32_t y = r->y0; y < (merged ? r->y0 + 1 : r->y1); ++y) {
        uint8_t *out_row = ll_out_row(out, y);
        int32_t row = y, column = r->x0;
        ll_at_row(&at, operands, count, y);
        LL_WINDOW_ROWS(rows, p, &in[0], row);
        for (int32_t x = r->x0; x < r->x1 + merged; x += 4) {
            const int32_t pixels = ll_min(r->x1 + merged - x, 4);
            for (int32_t i = 0; i < 4; ++i) {
                if (column == r->x1 && i < pixels) {
                    column = r->x0;
                    ++row;
                    LL_WINDOW_ROWS(rows, p, &in[0], row);
                }
                ll_depthwise_taps(p, rows, column * p->stride_w - p->pad_left, in[0].pixel, zeros,
                                  taps + i);
                column += i < pixels;
            }
            for (int32_t base = r->c0 & ~(LL_ALIGNED - 1); base < r->c1; base += LL_CHUNK) {
                const int32_t c0 = ll_max(base, r->c0), c1 = ll_min(base + LL_CHUNK, r->c1);
#if LL_ALIGNED == 4
                const int32_t first = ll_min(base, LL_CHANNELS - 4);
                ll_taps_four(taps, weights + base * p->kh * p->kw, bias + first, sums,
                             p->kh * p->kw, first, pixels);
#else
                const int32_t first = base;
                ll_taps_4(taps, p->kh * p->kw, weights, LL_CHANNELS, bias, sums, base, c1);
#endif
                LL_NAME(depthwise_fours_store)
                (&at, out, out_row, x, pixels, sums + (c0 - first) * 4, c0, c1, store);
            }
        }
    }
}

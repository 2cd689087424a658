/* Convolution in one group and matrix products of int8: two pixels times two channels at a time,
 * from bytes where they lie.
 *
 * in[0]  x (N*H, W, I)      in[1]  weights, see `isa/generic.h`; channels and groups padded
 * in[2]  bias (O, even), zero point folded in      in[3]  one window row of zero points
 * then the epilogue's operands
 *
 * The windows of two pixels are runs of whole words, read in the map itself: KH runs of a window's
 * row where all of it is inside, else a run for each tap, which may be one of zero points.  So
 * nothing is copied.  Only where taps are no whole words (`gather`) a window is put together.
 *
 * scratch: sums of `chunk` channels, with `gather` the windows of two pixels
 */
#ifndef LL_PAIRS_PARAMS
#define LL_PAIRS_PARAMS
typedef struct {
    int32_t in_h, in_w, in_c, out_h, kh, kw, stride_h, stride_w, dilation_h, dilation_w;
    int32_t pad_top, pad_left, groups, chunk, gather;
} ll_pairs_params;

/* The window at column `left` of `rows`, which are null outside the map, one run after the other
 * from `to` on. */
LL_INLINE void ll_pairs_gather(const ll_pairs_params *p, int8_t *to, const uint8_t *const *rows,
                               int32_t left, int32_t pixel, const int8_t *zeros) {
    const int32_t run = p->kw * p->in_c;
    const int32_t inside = left >= 0 && left + p->kw <= p->in_w;
    for (int32_t k = 0; k < p->kh; ++k, to += run) {
        const int8_t *row = (const int8_t *)rows[k];
        if (!row || (inside && p->dilation_w == 1 && pixel == p->in_c)) {
            __builtin_memcpy(to, row ? row + left * pixel : zeros, (uint32_t)run);
            continue;
        }
        for (int32_t j = 0; j < p->kw; ++j) {
            const int32_t x = left + j * p->dilation_w;
            const int8_t *tap = x >= 0 && x < p->in_w ? row + x * pixel : zeros;
            for (int32_t c = 0; c < p->in_c; ++c) {
                to[j * p->in_c + c] = tap[c];
            }
        }
    }
}

/* Every second one of `runs`: a window's row each, or with `apart` a tap each. */
LL_INLINE void ll_pairs_runs(const ll_pairs_params *p, const int8_t **runs,
                             const uint8_t *const *rows, int32_t left, int32_t pixel,
                             const int8_t *zeros, int32_t apart) {
    for (int32_t k = 0; k < p->kh; ++k) {
        const int8_t *row = (const int8_t *)rows[k];
        if (!apart) {
            runs[k * 2] = row ? row + left * pixel : zeros;
            continue;
        }
        for (int32_t j = 0; j < p->kw; ++j) {
            const int32_t x = left + j * p->dilation_w;
            runs[(k * p->kw + j) * 2] = row && x >= 0 && x < p->in_w ? row + x * pixel : zeros;
        }
    }
}
#endif

/* Sums of `channels` channels; the twin that an odd one lacks has weights, but no bias to read. */
LL_INLINE void LL_NAME(pairs_sums)(const int8_t *const *runs, int32_t count, int32_t length,
                                   const LL_W *weights, const int32_t *bias, int32_t *sums,
                                   int32_t groups, int32_t channels) {
    const int32_t even = channels & ~1;
    if (even) {
        LL_PAIRS_FUNCTION(runs, weights, bias, sums, count, length, even / 2);
    }
    if (even < channels) {
        const int32_t last[2] = {bias[even], 0};
        LL_PAIRS_FUNCTION(runs, weights + even * groups * 4, last, sums + even * 2, count, length,
                          1);
    }
}

/* The epilogue of channels [c0, c1) of pixels [x, x + pixels). */
LL_INLINE void LL_NAME(pairs_store)(ll_at *at, const ll_out *out, uint8_t *out_row, int32_t x,
                                    int32_t pixels, const int32_t *sums, int32_t c0, int32_t c1,
                                    LL_R (*store)(const ll_at *, LL_ACC)) {
    for (int32_t c = c0; c < c1; ++c, sums += 2) {
        at->c = c;
        at->x = x;
        const LL_R first = store(at, sums[0]);
        if (pixels > 1) {
            at->x = x + 1;
            *LL_ELEMENT(LL_Y, out_row, x + 1, c, out) = (LL_Y)store(at, sums[1]);
        }
        *LL_ELEMENT(LL_Y, out_row, x, c, out) = (LL_Y)first;
    }
}

LL_INLINE void LL_NAME(pairs)(const ll_pairs_params *p, const ll_in *in, const ll_out *out,
                              const ll_region *r, void *scratch, const ll_in *operands,
                              int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    const int8_t *zeros = (const int8_t *)in[3].base;
    const LL_W *weights = (const LL_W *)in[1].base;
    const int32_t *bias = (const int32_t *)in[2].base;
    const int32_t pixel = in[0].pixel;
    const int32_t near = p->kw == 1 || (p->dilation_w == 1 && pixel == p->in_c);
    int32_t *const sums = (int32_t *)scratch;
    int8_t *const patches = (int8_t *)(sums + p->chunk * 2);
    const uint8_t *rows[LL_ROWS] = {0};
    const int8_t *runs[LL_TAPS * 2] = {0};
    ll_at at;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        LL_WINDOW_ROWS(rows, p, &in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < r->x1; x += 2) {
            const int32_t pixels = ll_min(r->x1 - x, 2);
            const int32_t left = x * p->stride_w - p->pad_left;
            const int32_t step = pixels > 1 ? p->stride_w : 0;
            const int32_t apart = !near || left < 0 || left + step + p->kw > p->in_w;
            const int32_t parts = p->gather ? 1 : p->kh * (apart ? p->kw : 1);
            if (p->gather) {
                ll_pairs_gather(p, patches, rows, left, pixel, zeros);
                runs[0] = patches;
                runs[1] = patches;
                if (pixels > 1) {
                    ll_pairs_gather(p, patches + p->groups * 4, rows, left + step, pixel, zeros);
                    runs[1] = patches + p->groups * 4;
                }
            } else if (apart) {
                ll_pairs_runs(p, runs, rows, left, pixel, zeros, 1);
                ll_pairs_runs(p, runs + 1, rows, left + step, pixel, zeros, 1);
            } else {
                ll_pairs_runs(p, runs, rows, left, pixel, zeros, 0);
                ll_pairs_runs(p, runs + 1, rows, left + step, pixel, zeros, 0);
            }
            for (int32_t base = r->c0 & ~1; base < r->c1; base += p->chunk) {
                const int32_t end = ll_min(base + p->chunk, r->c1), c0 = ll_max(base, r->c0);
                const int32_t length = p->gather ? p->groups : p->in_c / 4 * (apart ? 1 : p->kw);
                LL_NAME(pairs_sums)
                (runs, parts, length, weights + base * p->groups * 4, bias + base, sums, p->groups,
                 end - base);
                LL_NAME(pairs_store)
                (&at, out, out_row, x, pixels, sums + (c0 - base) * 2, c0, end, store);
            }
        }
    }
}

/* Convolution in one group and matrix products of int8 without SIMD: four channels at a time.
 *
 * in[0]  x (N*H, W, I)      in[1]  weights (O, KH, KW, I)
 * in[2]  bias (O), zero point folded in      in[3]  one window row of zero points
 * in[4], in[5]  multipliers and shifts (O), only with `lanes`
 * then the epilogue's operands
 *
 * A window is KH runs of bytes, read where they lie in the map; every byte meets the weights of
 * four channels.  Rows outside the map are runs of zero points.  Where a window hangs over the
 * left or right edge, or its taps are not neighbours in memory, its runs are patches in scratch;
 * with `gather` all of it is always one patch.  With `lanes` sums are requantised here, many at a
 * time, to int8 with zero point `zero`, and the epilogue gets the result.
 *
 * scratch: sums of LL_CHUNK channels, KH runs
 */
#ifndef LL_FOURS_PARAMS
#define LL_FOURS_PARAMS
typedef struct {
    int32_t in_h, in_w, in_c, out_h, kh, kw, stride_h, stride_w, dilation_h, dilation_w;
    int32_t pad_top, pad_left, gather, lanes, zero;
} ll_fours_params;

/* Copies the taps of one window row at column `left` to `to`; outside the map is `zeros`. */
LL_NOINLINE void ll_fours_patch(const ll_fours_params *p, int8_t *to, const uint8_t *row,
                                int32_t left, int32_t pixel, const int8_t *zeros) {
    for (int32_t j = 0; j < p->kw; ++j) {
        const int32_t x = left + j * p->dilation_w;
        const int8_t *tap = x >= 0 && x < p->in_w ? (const int8_t *)row + x * pixel : zeros;
        for (int32_t c = 0; c < p->in_c; ++c) {
            *to++ = tap[c];
        }
    }
}
#endif

LL_INLINE void LL_NAME(fours)(const ll_fours_params *p, const ll_in *in, const ll_out *out,
                              const ll_region *r, void *scratch, const ll_in *operands,
                              int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    const int8_t *zeros = (const int8_t *)in[3].base, *weights = (const int8_t *)in[1].base;
    const int32_t *bias = (const int32_t *)in[2].base;
    const int32_t run = p->kw * p->in_c, depth = p->kh * run;
    const int32_t near = p->kw == 1 || (p->dilation_w == 1 && in[0].pixel == p->in_c);
    int32_t *const sums = (int32_t *)scratch;
    int8_t *const patches = (int8_t *)(sums + LL_CHUNK);
    const uint8_t *rows[LL_ROWS];
    const int8_t *runs[LL_ROWS] = {0}; /* compilers may not see that a window has a row */
    ll_at at;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        LL_WINDOW_ROWS(rows, p, &in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            const int32_t left = x * p->stride_w - p->pad_left;
            const int32_t direct = near && left >= 0 && left + p->kw <= p->in_w;
            for (int32_t k = 0; k < p->kh; ++k) {
                int8_t *to = patches + k * run;
                runs[k] = rows[k] ? (const int8_t *)rows[k] + left * in[0].pixel : zeros;
                if (rows[k] && !direct) {
                    ll_fours_patch(p, to, rows[k], left, in[0].pixel, zeros);
                    runs[k] = to;
                } else if (p->gather) {
                    const int8_t *from = runs[k];
                    for (int32_t i = 0; i < run; ++i) {
                        to[i] = from[i];
                    }
                }
            }
            if (p->gather) {
                runs[0] = patches;
            }
            at.x = x;
            for (int32_t base = r->c0; base < r->c1; base += LL_CHUNK) {
                const int32_t end = ll_min(base + LL_CHUNK, r->c1);
                ll_fours(runs, p->gather ? 1 : p->kh, p->gather ? depth : run,
                         weights + (base - in[1].first) * depth, bias + base, sums, end - base);
                if (p->lanes) {
                    ll_requant_lanes(sums, end - base, (const int32_t *)in[4].base + base,
                                     (const int32_t *)in[5].base + base, p->zero);
                }
                for (int32_t c = base; c < end; ++c) {
                    at.c = c;
                    *LL_ELEMENT(LL_Y, out_row, x, c, out) = (LL_Y)store(&at, sums[c - base]);
                }
            }
        }
    }
}

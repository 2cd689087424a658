/* Gradient of what a depthwise convolution reads: each element takes the taps that reach it.
 *
 * in[0]  dy (N*OH, OW, C)      in[1]  weights (C, KH, KW, 1)
 * then the epilogue's operands
 *
 * Row y of dx takes tap k of row i of dy where y + pad = i * stride + k; columns alike.  Sums go
 * over the taps, row major.  Four pixels that are a stride apart take the same taps of neighbours
 * in dy: those slide through four registers, and a weight is converted once for four products.
 */
#ifndef LL_CONV2D_GRAD_X_DEPTHWISE_PARAMS
#define LL_CONV2D_GRAD_X_DEPTHWISE_PARAMS
typedef struct {
    int32_t in_h, in_w, in_c, out_h, kh, kw, stride_h, stride_w, dilation_h, dilation_w;
    int32_t pad_top, pad_left, group_in, group_out;
} ll_conv2d_grad_x_depthwise_params;
#endif

/* The rows of dy that reach a row of dx, in the order of its taps first, first + stride ...; where
 * a row is missing it is 0. */
typedef struct {
    const uint8_t *row[LL_ROWS];
    int32_t first;
} LL_NAME(rows_back);

LL_INLINE void LL_NAME(reach_back)(const ll_conv2d_grad_x_depthwise_params *p, const ll_in *dy,
                                   int32_t y, LL_NAME(rows_back) * rows) {
    const int32_t image = y / p->out_h;
    const int32_t top = y - image * p->out_h + p->pad_top;
    int32_t i = top / p->stride_h;
    rows->first = top % p->stride_h;
    for (int32_t k = rows->first; k < p->kh; k += p->stride_h, --i) {
        rows->row[k] = i >= 0 && i < p->in_h ? ll_in_row(dy, image * p->in_h + i) : 0;
    }
}

/* Pixel n of a row, 0 where there is none. */
LL_INLINE float LL_NAME(pixel_back)(const ll_conv2d_grad_x_depthwise_params *p, const uint8_t *row,
                                    int32_t step, int32_t n) {
    return (uint32_t)n < (uint32_t)p->in_w ? *(const float *)(const void *)(row + n * step) : 0.0f;
}

/* Four pixels; the last tap `begin` of the first of them is pixel n of dy.  With `inside` no tap
 * lies outside of dy, else such a tap adds 0 times an integer, which changes no sum. */
LL_INLINE void LL_NAME(four_back)(const ll_conv2d_grad_x_depthwise_params *p,
                                  const LL_NAME(rows_back) * rows, int32_t step, const LL_W *own,
                                  int32_t c, int32_t begin, int32_t n, int32_t inside,
                                  float *sums) {
    const int32_t count = (p->kw - begin + p->stride_w - 1) / p->stride_w;
    float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
    for (int32_t k = rows->first; k < p->kh; k += p->stride_h) {
        if (!rows->row[k]) {
            continue;
        }
        const uint8_t *row = rows->row[k] + c * 4;
        const LL_W *w = own + k * p->kw + begin;
        const uint8_t *at = row + n * step;
        float d0, d1, d2, d3;
        if (inside) {
            d0 = *(const float *)(const void *)at;
            d1 = *(const float *)(const void *)(at + step);
            d2 = *(const float *)(const void *)(at + 2 * step);
            d3 = *(const float *)(const void *)(at + 3 * step);
        } else {
            d0 = LL_NAME(pixel_back)(p, row, step, n);
            d1 = LL_NAME(pixel_back)(p, row, step, n + 1);
            d2 = LL_NAME(pixel_back)(p, row, step, n + 2);
            d3 = LL_NAME(pixel_back)(p, row, step, n + 3);
        }
        LL_UNROLLED
        for (int32_t j = 0; j < count; ++j) {
            const float f = (float)w[j * p->stride_w];
            s0 += d0 * f;
            s1 += d1 * f;
            s2 += d2 * f;
            s3 += d3 * f;
            d3 = d2, d2 = d1, d1 = d0;
            at -= step;
            if (j + 1 < count) {
                d0 = inside ? *(const float *)(const void *)at
                            : LL_NAME(pixel_back)(p, row, step, n - 1 - j);
            }
        }
    }
    sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
}

/* One pixel, without the taps outside of dy. */
LL_INLINE float LL_NAME(one_back)(const ll_conv2d_grad_x_depthwise_params *p,
                                  const LL_NAME(rows_back) * rows, int32_t step, const LL_W *own,
                                  int32_t c, int32_t begin, int32_t n) {
    float acc = 0.0f;
    if (n >= p->in_w) {
        begin += (n - p->in_w + 1) * p->stride_w;
        n = p->in_w - 1;
    }
    for (int32_t k = rows->first; k < p->kh; k += p->stride_h) {
        if (rows->row[k]) {
            const uint8_t *dy = rows->row[k] + n * step + c * 4;
            int32_t m = n;
            for (int32_t j = begin; j < p->kw && m >= 0; j += p->stride_w, --m, dy -= step) {
                acc += *(const float *)(const void *)dy * (float)own[k * p->kw + j];
            }
        }
    }
    return acc;
}

#define LL_BACK_STORE(first, i)                                                                    \
    at.x = r->x0 + e + ((first) + (i)) * apart;                                                    \
    *LL_ELEMENT(LL_Y, out_row, at.x, c, out) = (LL_Y)store(&at, sums[i]);

LL_INLINE void LL_NAME(conv2d_grad_x_depthwise)(const ll_conv2d_grad_x_depthwise_params *p,
                                                const ll_in *in, const ll_out *out,
                                                const ll_region *r, void *scratch,
                                                const ll_in *operands, int32_t count,
                                                LL_R (*store)(const ll_at *, LL_ACC)) {
    const LL_W *weights = (const LL_W *)in[1].base;
    const int32_t taps = p->kh * p->kw, step = in[0].pixel, apart = p->stride_w;
    const int32_t ints = sizeof(LL_W) == 1; /* products with a 0 outside change no sum */
    LL_NAME(rows_back) rows = {{0}, 0};
    ll_at at;
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        uint8_t *out_row = ll_out_row(out, y);
        LL_NAME(reach_back)(p, &in[0], y, &rows);
        ll_at_row(&at, operands, count, y);
        for (int32_t e = 0; e < apart && e < r->x1 - r->x0; ++e) {
            const int32_t pixels = (r->x1 - r->x0 - e + apart - 1) / apart;
            const int32_t left = r->x0 + e + p->pad_left;
            const int32_t begin = left % apart, n = left / apart;
            const int32_t used = (p->kw - 1 - begin) / apart; /* taps beyond the first */
            const int32_t from = ints ? 0 : ll_max(0, used - n);
            const int32_t to = begin >= p->kw ? 0 : ints ? pixels : ll_min(pixels, p->in_w - n);
            for (int32_t done = 0, next; done < pixels; done = next) {
                const int32_t four = done >= from && done < to && to - from >= 4;
                const int32_t i0 = four ? ll_min(done, to - 4) : done;
                const int32_t inside = n + i0 - used >= 0 && n + i0 + 3 < p->in_w;
                next = four ? i0 + 4 : done + 1;
                for (int32_t c = r->c0; c < r->c1; ++c) {
                    const LL_W *own = weights + c * taps;
                    float sums[4];
                    if (four && inside && begin == 0) {
                        LL_NAME(four_back)(p, &rows, step, own, c, 0, n + i0, 1, sums);
                    } else if (four && inside) {
                        LL_NAME(four_back)(p, &rows, step, own, c, begin, n + i0, 1, sums);
                    } else if (four && ints && begin == 0) {
                        LL_NAME(four_back)(p, &rows, step, own, c, 0, n + i0, 0, sums);
                    } else if (four && ints) {
                        LL_NAME(four_back)(p, &rows, step, own, c, begin, n + i0, 0, sums);
                    } else {
                        sums[0] = LL_NAME(one_back)(p, &rows, step, own, c, begin, n + i0);
                    }
                    at.c = c;
                    if (!LL_SMALL && four && done == i0) {
                        LL_BACK_STORE(i0, 0)
                        LL_BACK_STORE(i0, 1)
                        LL_BACK_STORE(i0, 2)
                        LL_BACK_STORE(i0, 3)
                        continue;
                    }
                    for (int32_t i = done - i0; i < next - i0; ++i) {
                        LL_BACK_STORE(i0, i)
                    }
                }
            }
        }
    }
}
#undef LL_BACK_STORE

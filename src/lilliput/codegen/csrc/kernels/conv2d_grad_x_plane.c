/* Gradient of what a depthwise convolution reads, channel after channel, from a copy of the rows of
 * dy that a channel of the region needs.  Of the whole map dy of a channel is copied whole before
 * dx of it is stored, so that dx may take its place.
 *
 * in[0]  dy (N*OH, OW, C)      in[1]  weights (C, KH, KW, 1) s8
 * then the epilogue's operands
 *
 * scratch  the weights of the channel as floats, then its rows of dy, `wide` numbers apart, between
 *          `left` zeros and zeros on the right, so that four pixels are always whole
 *
 * Row y of dx takes tap k of row i of dy where y + pad = i * stride + k; columns alike.  Sums go
 * over the taps that meet a row, row major; a product with a zero beside the row changes no sum.
 * Four pixels that are a stride apart slide over the row through four registers.
 */
#ifndef LL_CONV2D_GRAD_X_PLANE_PARAMS
#define LL_CONV2D_GRAD_X_PLANE_PARAMS
typedef struct {
    int32_t in_h, in_w, in_c, out_h, kh, kw, stride_h, stride_w, dilation_h, dilation_w;
    int32_t pad_top, pad_left, group_in, group_out, left, wide, narrow;
} ll_conv2d_grad_x_plane_params;
#endif

/* Tap t of pixel i of a row; where it has no more than four numbers, `narrow`, those beside it are
 * left out. */
#define LL_PLANE_TAP(i)                                                                            \
    if (!narrow || (uint32_t)(p->pad_left + (i)-t) < (uint32_t)narrow) {                           \
        s##i += d##i * f;                                                                          \
    }

/* Four pixels of dx from `count` rows of dy upwards from `at`, whose taps from `begin` on meet the
 * weights from `w` on. */
LL_INLINE void LL_NAME(plane_four)(const ll_conv2d_grad_x_plane_params *p, const float *at,
                                   const float *w, int32_t count, int32_t begin, int32_t narrow,
                                   float *sums) {
    const int32_t taps = (p->kw - begin + p->stride_w - 1) / p->stride_w;
    float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
    for (w += begin; count > 0; --count, at -= p->wide, w += p->stride_h * p->kw) {
        float d0 = at[0], d1 = at[1], d2 = at[2], d3 = at[3];
        LL_UNROLLED
        for (int32_t t = 0; t < taps; ++t) {
            const float f = w[t * p->stride_w];
            LL_PLANE_TAP(0)
            LL_PLANE_TAP(1)
            LL_PLANE_TAP(2)
            LL_PLANE_TAP(3)
            d3 = d2, d2 = d1, d1 = d0;
            d0 = t + 1 < taps ? at[-1 - t] : 0.0f;
        }
    }
    sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
}
#undef LL_PLANE_TAP

#define LL_PLANE_STORE(i)                                                                          \
    at->x = x + (i)*p->stride_w;                                                                   \
    *LL_ELEMENT(LL_Y, out_row, at->x, at->c, out) = (LL_Y)store(at, sums[i]);

/* Every `stride_w`th pixel from `e` on of a row of dx; `last`: the row of the copy that its first
 * taps `w` meet. */
LL_INLINE void LL_NAME(plane_row)(const ll_conv2d_grad_x_plane_params *p, const float *last,
                                  const float *w, int32_t count, int32_t e, int32_t begin,
                                  const ll_out *out, const ll_region *r, uint8_t *out_row,
                                  ll_at *at, LL_R (*store)(const ll_at *, LL_ACC)) {
    const float *from = last + p->left + (e + p->pad_left) / p->stride_w;
    for (int32_t x = e; x < r->x1; x += 4 * p->stride_w, from += 4) {
        float sums[4];
        if (p->narrow && x == 0) {
            LL_NAME(plane_four)(p, from, w, count, begin, p->narrow, sums);
        } else {
            LL_NAME(plane_four)(p, from, w, count, begin, 0, sums);
        }
        if (!LL_SMALL && x + 3 * p->stride_w < r->x1) {
            LL_PLANE_STORE(0)
            LL_PLANE_STORE(1)
            LL_PLANE_STORE(2)
            LL_PLANE_STORE(3)
            continue;
        }
        for (int32_t i = 0; x + i * p->stride_w < r->x1; ++i) {
            LL_PLANE_STORE(i)
        }
    }
}
#undef LL_PLANE_STORE

LL_INLINE void LL_NAME(conv2d_grad_x_plane)(const ll_conv2d_grad_x_plane_params *p, const ll_in *in,
                                            const ll_out *out, const ll_region *r, void *scratch,
                                            const ll_in *operands, int32_t count,
                                            LL_R (*store)(const ll_at *, LL_ACC)) {
    const int32_t taps = p->kh * p->kw;
    const int8_t *weights = (const int8_t *)in[1].base + r->c0 * taps;
    float *const own = (float *)scratch, *const plane = own + taps;
    ll_at at;
    for (int32_t i = 0; i < p->in_h * p->wide; ++i) {
        plane[i] = 0.0f;
    }
    for (int32_t c = r->c0; c < r->c1; ++c, weights += taps) {
        LL_UNROLLED
        for (int32_t i = 0; i < taps; ++i) {
            own[i] = (float)weights[i];
        }
        at.c = c;
        for (int32_t y = r->y0, next; y < r->y1; y = next) {
            const int32_t image = y / p->out_h, top = image * p->out_h;
            next = ll_min(r->y1, top + p->out_h);
            /* rows of dy that the first and the last row of dx begin with */
            const int32_t low = (y - top + p->pad_top - p->kh + p->stride_h) / p->stride_h;
            const int32_t high = (next - 1 - top + p->pad_top) / p->stride_h;
            for (int32_t i = ll_max(0, low); i <= ll_min(high, p->in_h - 1); ++i) {
                const uint8_t *dy = ll_in_row(&in[0], image * p->in_h + i) + c * 4;
                float *row = plane + i * p->wide + p->left;
                LL_UNROLLED
                for (int32_t x = 0; x < p->in_w; ++x, dy += in[0].pixel) {
                    row[x] = *(const float *)(const void *)dy;
                }
            }
            for (int32_t z = y; z < next; ++z) {
                const int32_t reach = z - top + p->pad_top, begun = reach / p->stride_h;
                const int32_t tap = reach - begun * p->stride_h; /* the first, of row `begun` */
                const int32_t skipped = ll_max(0, begun - p->in_h + 1);
                const int32_t met = (p->kh - tap + p->stride_h - 1) / p->stride_h;
                const int32_t rows = ll_min(met, begun + 1) - skipped;
                const float *last = plane + (begun - skipped) * p->wide;
                const float *w = own + (tap + skipped * p->stride_h) * p->kw;
                uint8_t *out_row = ll_out_row(out, z);
                ll_at_row(&at, operands, count, z);
                for (int32_t e = r->x0; e < ll_min(r->x0 + p->stride_w, r->x1); ++e) {
                    const int32_t begin = (e + p->pad_left) % p->stride_w;
                    if (p->stride_w == 1 || begin == 0) {
                        LL_NAME(plane_row)
                        (p, last, w, rows, e, 0, out, r, out_row, &at, store);
                    } else if (p->stride_w == 2) {
                        LL_NAME(plane_row)
                        (p, last, w, rows, e, 1, out, r, out_row, &at, store);
                    } else {
                        LL_NAME(plane_row)
                        (p, last, w, rows, e, begin, out, r, out_row, &at, store);
                    }
                }
            }
        }
    }
}

/* Gradient of what a depthwise convolution of stride 1 reads, channel after channel: dy of a
 * channel is copied whole before dx of it is stored, so that dx may take its place.
 *
 * in[0]  dy (N*H, W, C)      in[1]  weights (C, KH, KW, 1) s8
 * then the epilogue's operands
 *
 * scratch  the weights of the channel as floats, then its rows of dy between KW - 1 - pad zeros on
 *          the left and zeros on the right, so that four pixels are always whole
 *
 * Sums go over the taps that meet a row, row major; a product with a zero beside the row changes no
 * sum.  Four pixels slide over the row through four registers.
 */
#ifndef LL_CONV2D_GRAD_X_PLANE_PARAMS
#define LL_CONV2D_GRAD_X_PLANE_PARAMS
typedef struct {
    int32_t in_h, in_w, in_c, out_h, kh, kw, stride_h, stride_w, dilation_h, dilation_w;
    int32_t pad_top, pad_left, group_in, group_out;
} ll_conv2d_grad_x_plane_params;
#endif

/* Four pixels of dx from the rows of dy, `count` of them upwards from `at`, that taps `w` meet. */
LL_INLINE void LL_NAME(plane_four)(const float *at, const float *w, int32_t count, int32_t wide,
                                   int32_t kw, float *sums) {
    float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
    for (; count > 0; --count, at -= wide, w += kw) {
        float d0 = at[0], d1 = at[1], d2 = at[2], d3 = at[3];
        LL_UNROLLED
        for (int32_t j = 0; j < kw; ++j) {
            const float f = w[j];
            s0 += d0 * f;
            s1 += d1 * f;
            s2 += d2 * f;
            s3 += d3 * f;
            d3 = d2, d2 = d1, d1 = d0;
            d0 = j + 1 < kw ? at[-1 - j] : 0.0f;
        }
    }
    sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
}

#define LL_PLANE_STORE(i)                                                                          \
    at.x = x + (i);                                                                                \
    *LL_ELEMENT(LL_Y, out_row, at.x, c, out) = (LL_Y)store(&at, sums[i]);

LL_INLINE void LL_NAME(conv2d_grad_x_plane)(const ll_conv2d_grad_x_plane_params *p, const ll_in *in,
                                            const ll_out *out, const ll_region *r, void *scratch,
                                            const ll_in *operands, int32_t count,
                                            LL_R (*store)(const ll_at *, LL_ACC)) {
    const int32_t taps = p->kh * p->kw, left = p->kw - 1 - p->pad_left;
    const int32_t wide = ((p->in_w + 3) & ~3) + p->kw - 1;
    const int8_t *weights = (const int8_t *)in[1].base + r->c0 * taps;
    float *own = (float *)scratch;
    float *plane = own + taps;
    ll_at at;
    for (int32_t i = 0; i < p->in_h * wide; ++i) {
        plane[i] = 0.0f;
    }
    for (int32_t c = r->c0; c < r->c1; ++c, weights += taps) {
        LL_UNROLLED
        for (int32_t i = 0; i < taps; ++i) {
            own[i] = (float)weights[i];
        }
        at.c = c;
        for (int32_t y = r->y0, next; y < r->y1; y = next) {
            const int32_t top = y / p->out_h * p->out_h;
            next = ll_min(r->y1, top + p->out_h);
            for (int32_t i = 0; i < p->in_h; ++i) {
                const uint8_t *dy = ll_in_row(&in[0], top + i) + c * 4;
                float *row = plane + i * wide + left;
                LL_UNROLLED
                for (int32_t x = 0; x < p->in_w; ++x, dy += in[0].pixel) {
                    row[x] = *(const float *)(const void *)dy;
                }
            }
            for (int32_t z = y; z < next; ++z) {
                const int32_t low = z - top + p->pad_top; /* row that tap 0 takes */
                const int32_t first = ll_max(0, low - p->in_h + 1);
                const int32_t rows = ll_min(p->kh - 1, low) - first + 1;
                const float *last = plane + (low - first) * wide + p->kw - 1;
                const float *w = own + first * p->kw;
                uint8_t *out_row = ll_out_row(out, z);
                ll_at_row(&at, operands, count, z);
                for (int32_t e = r->x0; e < r->x1; e += 4) {
                    const int32_t x = ll_min(e, ll_max(0, p->in_w - 4));
                    float sums[4];
                    LL_NAME(plane_four)(last + x, w, rows, wide, p->kw, sums);
                    if (!LL_SMALL && x == e && e + 4 <= r->x1) {
                        LL_PLANE_STORE(0)
                        LL_PLANE_STORE(1)
                        LL_PLANE_STORE(2)
                        LL_PLANE_STORE(3)
                        continue;
                    }
                    for (int32_t i = e - x; i < ll_min(r->x1, e + 4) - x; ++i) {
                        LL_PLANE_STORE(i)
                    }
                }
            }
        }
    }
}
#undef LL_PLANE_STORE

/* Transposed convolution, gathered: each output reads the taps that reach it.
 *
 * in[0]  x (N*H, W, I)      in[1]  weights (O, KH, KW, I)      in[2]  bias (O)
 * in[3]  what each tap adds for the zero point of x (O, KH, KW), only with `tap_sums`
 * then the epilogue's operands
 *
 * Output row p takes tap k of input row i where p + pad_top = i * stride_h + k; columns alike.
 */
#ifndef LL_TRANSPOSE_CONV_PARAMS
#define LL_TRANSPOSE_CONV_PARAMS
typedef struct {
    int32_t in_h, in_w, in_c, out_h, kh, kw, stride_h, stride_w, pad_top, pad_left;
    int32_t tap_sums, w_next, w_zero;
} ll_transpose_conv_params;
#endif

LL_INLINE void LL_NAME(transpose_conv)(const ll_transpose_conv_params *p, const ll_in *in,
                                       const ll_out *out, const ll_region *r, void *scratch,
                                       const ll_in *operands, int32_t count,
                                       LL_R (*store)(const ll_at *, LL_ACC)) {
    const LL_W *weights = (const LL_W *)in[1].base;
    const LL_ACC *bias = (const LL_ACC *)in[2].base;
    const LL_ACC *sums = p->tap_sums ? (const LL_ACC *)in[3].base : 0;
    /* set, because compilers do not see that what is read are the taps that reach the row */
    const uint8_t *rows[LL_ROWS] = {0};
    ll_at at;
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const int32_t image = y / p->out_h;
        const int32_t top = y - image * p->out_h + p->pad_top;
        const int32_t first = top % p->stride_h;
        for (int32_t k = first, iy = top / p->stride_h; k < p->kh; k += p->stride_h, --iy) {
            rows[k] = iy >= 0 && iy < p->in_h ? ll_in_row(&in[0], image * p->in_h + iy) : 0;
        }
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            const int32_t left = x + p->pad_left;
            at.x = x;
            for (int32_t c = r->c0; c < r->c1; ++c) {
                const LL_W *own = LL_ROW(weights, (c - in[1].first) * p->w_next);
                LL_ACC acc = bias[c];
                for (int32_t k = first; k < p->kh; k += p->stride_h) {
                    int32_t ix = left / p->stride_w;
                    for (int32_t j = left % p->stride_w; rows[k] && j < p->kw;
                         j += p->stride_w, --ix) {
                        if (ix >= 0 && ix < p->in_w) {
                            const uint8_t *pixel = rows[k] + ix * in[0].pixel;
                            const int32_t tap = k * p->kw + j;
                            acc = LL_DOT((const LL_X *)(const void *)pixel, own, tap * p->in_c,
                                         p->w_zero, p->in_c, acc);
                            if (p->tap_sums) {
                                acc = LL_ADD(acc, sums[c * p->kh * p->kw + tap]);
                            }
                        }
                    }
                }
                at.c = c;
                *LL_ELEMENT(LL_Y, out_row, x, c, out) = (LL_Y)store(&at, acc);
            }
        }
    }
}

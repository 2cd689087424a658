/* A matrix times every pixel: fully connected layers and 1x1 convolutions.
 *
 * in[0]  x (rows, pixels, I)      in[1]  weights (O, I)
 * in[2]  bias (O), zero point folded in
 * in[3]  initial accumulators (rows, pixels, O), only with `resume`
 * then the epilogue's operands
 *
 * An output channel's weights begin w_next after those of the one before.
 */
#ifndef LL_LINEAR_PARAMS
#define LL_LINEAR_PARAMS
typedef struct {
    int32_t in_c, resume, w_next, w_zero;
} ll_linear_params;
#endif

LL_INLINE void LL_NAME(linear)(const ll_linear_params *p, const ll_in *in, const ll_out *out,
                               const ll_region *r, void *scratch, const ll_in *operands,
                               int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    const LL_W *weights = (const LL_W *)in[1].base;
    const LL_ACC *bias = (const LL_ACC *)in[2].base;
    ll_at at;
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const uint8_t *in_row = ll_in_row(&in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            const LL_X *v = (const LL_X *)(const void *)(in_row + x * in[0].pixel);
            at.x = x;
            for (int32_t c = r->c0; c < r->c1; ++c) {
                LL_ACC acc = bias[c];
                if (p->resume) {
                    const uint8_t *row = ll_in_row(&in[3], y);
                    acc = LL_ADD(acc, ((const LL_ACC *)(const void *)(row + x * in[3].pixel))[c]);
                }
                at.c = c;
                const LL_W *own = LL_ROW(weights, (c - in[1].first) * p->w_next);
                acc = LL_DOT(v, own, 0, p->w_zero, p->in_c, acc);
                *LL_ELEMENT(LL_Y, out_row, x, c, out) = (LL_Y)store(&at, acc);
            }
        }
    }
}

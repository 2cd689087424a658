/* A filter over time for every channel, and the sum of groups of channels.
 *
 * in[0]  x (T, pixels, C), which may be a ring that turns     in[1]  weights (T, C)
 * in[2]  bias (C / rank)
 * then the epilogue's operands
 */
#ifndef LL_TIME_FILTER_PARAMS
#define LL_TIME_FILTER_PARAMS
typedef struct {
    int32_t frames, in_c, rank;
} ll_time_filter_params;
#endif

LL_INLINE void LL_NAME(time_filter)(const ll_time_filter_params *p, const ll_in *in,
                                    const ll_out *out, const ll_region *r, void *scratch,
                                    const ll_in *operands, int32_t count,
                                    LL_R (*store)(const ll_at *, LL_ACC)) {
    const LL_X *weights = (const LL_X *)in[1].base;
    const LL_ACC *bias = (const LL_ACC *)in[2].base;
    ll_at at;
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            at.x = x;
            for (int32_t c = r->c0; c < r->c1; ++c) {
                LL_ACC acc = bias[c];
                for (int32_t k = c * p->rank; k < (c + 1) * p->rank; ++k) {
                    LL_ACC sum = 0;
                    for (int32_t t = 0; t < p->frames; ++t) {
                        const uint8_t *pixel = ll_in_row(&in[0], t) + x * in[0].pixel;
                        const LL_ACC a = (LL_ACC)((const LL_X *)(const void *)pixel)[k];
                        sum = LL_ADD(sum, a * (LL_ACC)weights[t * p->in_c + k]);
                    }
                    acc = LL_ADD(acc, sum);
                }
                at.c = c;
                *LL_ELEMENT(LL_Y, out_row, x, c, out) = (LL_Y)store(&at, acc);
            }
        }
    }
}

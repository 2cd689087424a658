/* y[o] = times (bias[o] - zero_point * sum of (w[o] - w_zero)): run only for weights that training
 * changes.
 *
 * in[0]  weights (O, count)      in[1]  bias (O), only with `has_bias`
 */
#ifndef LL_FOLD_BIAS_PARAMS
#define LL_FOLD_BIAS_PARAMS
typedef struct {
    int32_t count, zero_point, has_bias, w_zero, times;
} ll_fold_bias_params;
#endif

LL_INLINE void LL_NAME(fold_bias)(const ll_fold_bias_params *p, const ll_in *in, const ll_out *out,
                                  const ll_region *r, void *scratch, const ll_in *operands,
                                  int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    const LL_B *bias = p->has_bias ? (const LL_B *)in[1].base : 0;
    LL_Y *y = (LL_Y *)out->base;
    (void)scratch;
    (void)operands;
    (void)count;
    (void)store;
    for (int32_t c = r->c0; c < r->c1; ++c) {
        const LL_W *w = (const LL_W *)in[0].base + c * p->count;
        int32_t sum = 0;
        for (int32_t i = 0; i < p->count; ++i) {
            sum += w[i] - p->w_zero;
        }
        y[c] = (LL_Y)(((bias ? (LL_Y)bias[c] : 0) - (LL_Y)sum * p->zero_point) * p->times);
    }
}

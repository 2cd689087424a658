/* A layer of gated recurrent units over a sequence, in floats; the reset gate comes behind the
 * recurrent product.
 *
 * in[0]  x (rows, T, I)            in[1]  weights (3H, I)      in[2]  recurrent weights (3H, H)
 * in[3]  bias (3H)                 in[4]  recurrent bias (3H)  in[5]  hidden state (rows, H)
 * out    y (rows, T, H)
 *
 * Gates in the order reset, update, new.  Scratch: 4H floats, of the new gate both products.
 */
#ifndef LL_GRU_F32_PARAMS
#define LL_GRU_F32_PARAMS
typedef struct {
    int32_t frames, in_c, units;
} ll_gru_f32_params;
#endif

LL_INLINE float LL_NAME(gru_dot)(const float *a, const float *b, int32_t n, float acc) {
    for (int32_t i = 0; i < n; ++i) {
        acc = acc + a[i] * b[i];
    }
    return acc;
}

LL_INLINE void LL_NAME(gru_f32)(const ll_gru_f32_params *p, const ll_in *in, const ll_out *out,
                                const ll_region *r, void *scratch, const ll_in *operands,
                                int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    const float *weights = (const float *)in[1].base;
    const float *recurrent = (const float *)in[2].base;
    const float *bias = (const float *)in[3].base;
    const float *recurrent_bias = (const float *)in[4].base;
    float *gates = (float *)scratch;
    const int32_t n = p->units;
    (void)operands;
    (void)count;
    (void)store;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const uint8_t *in_row = ll_in_row(&in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        const float *hidden =
            (const float *)(const void *)((const uint8_t *)in[5].base + y * in[5].pixel);
        for (int32_t t = 0; t < p->frames; ++t) {
            const float *x = (const float *)(const void *)(in_row + t * in[0].pixel);
            float *to = LL_ELEMENT(float, out_row, t, 0, out);
            for (int32_t k = 0; k < 3 * n; ++k) {
                const float a = LL_NAME(gru_dot)(x, weights + k * p->in_c, p->in_c, bias[k]);
                const float b = LL_NAME(gru_dot)(hidden, recurrent + k * n, n, recurrent_bias[k]);
                if (k < 2 * n) {
                    gates[k] = ll_logisticf(a + b);
                } else {
                    gates[k] = a;
                    gates[k + n] = b;
                }
            }
            for (int32_t j = 0; j < n; ++j) {
                const float fresh = ll_tanhf(gates[2 * n + j] + gates[j] * gates[3 * n + j]);
                const float kept = gates[n + j];
                to[j] = (1.0f - kept) * fresh + kept * hidden[j];
            }
            hidden = to;
        }
    }
}

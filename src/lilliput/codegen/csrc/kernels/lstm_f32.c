/* A long short-term memory layer over a sequence, in floats.
 *
 * in[0]  x (rows, T, I)            in[1]  weights (4H, I)      in[2]  recurrent weights (4H, H)
 * in[3]  bias (4H)                 in[4]  hidden state (rows, H)
 * in[5]  cell state (rows, H)
 * out[0] y (rows, T, H)            out[1] cell state (rows, H)
 *
 * Gates in the order input, forget, cell, output.  Scratch: 4H floats.
 */
#ifndef LL_LSTM_F32_PARAMS
#define LL_LSTM_F32_PARAMS
typedef struct {
    int32_t frames, in_c, units;
    float clip;
} ll_lstm_f32_params;
#endif

LL_INLINE float LL_NAME(lstm_dot)(const float *a, const float *b, int32_t n, float acc) {
    for (int32_t i = 0; i < n; ++i) {
        acc = acc + a[i] * b[i];
    }
    return acc;
}

LL_INLINE void LL_NAME(lstm_f32)(const ll_lstm_f32_params *p, const ll_in *in, const ll_out *out,
                                 const ll_region *r, void *scratch, const ll_in *operands,
                                 int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    const float *weights = (const float *)in[1].base;
    const float *recurrent = (const float *)in[2].base;
    const float *bias = (const float *)in[3].base;
    float *gates = (float *)scratch;
    const int32_t n = p->units;
    (void)operands;
    (void)count;
    (void)store;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const uint8_t *in_row = ll_in_row(&in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        const uint8_t *state = (const uint8_t *)in[5].base + y * in[5].pixel;
        float *cell = (float *)(void *)((uint8_t *)out[1].base + y * out[1].pixel);
        const float *hidden =
            (const float *)(const void *)((const uint8_t *)in[4].base + y * in[4].pixel);
        for (int32_t j = 0; j < n; ++j) {
            cell[j] = ((const float *)(const void *)state)[j];
        }
        for (int32_t t = 0; t < p->frames; ++t) {
            const float *x = (const float *)(const void *)(in_row + t * in[0].pixel);
            float *to = LL_ELEMENT(float, out_row, t, 0, out);
            for (int32_t k = 0; k < 4 * n; ++k) {
                const float a = LL_NAME(lstm_dot)(x, weights + k * p->in_c, p->in_c, bias[k]);
                const float v = a + LL_NAME(lstm_dot)(hidden, recurrent + k * n, n, 0.0f);
                gates[k] = k / n == 2 ? ll_tanhf(v) : ll_logisticf(v);
            }
            for (int32_t j = 0; j < n; ++j) {
                const float c = gates[n + j] * cell[j] + gates[j] * gates[2 * n + j];
                cell[j] = ll_max_f32(ll_min_f32(c, p->clip), -p->clip);
                to[j] = gates[3 * n + j] * ll_tanhf(cell[j]);
            }
            hidden = to;
        }
    }
}

/* A long short-term memory layer over a sequence, in integers.
 *
 * in[0]  x (rows, T, I)            in[1]  weights (4H, I)      in[2]  recurrent weights (4H, H)
 * in[3]  bias (4H)                 in[4]  recurrent bias (4H), zero points folded into both
 * in[5]  hidden state (rows, H)    in[6]  cell state (rows, H)
 * in[7]  multiplier and shift of each gate: (4, 2) of x, then (4, 2) of the hidden state
 * in[8]  the table of logistic
 * out[0] y (rows, T, H)            out[1] cell state (rows, H)
 *
 * Gates in the order input, forget, cell, output; sums of both products in Q3.12, gates in
 * Q0.15, the cell state in its own power of two.  Scratch: 4H int16_t.
 */
#ifndef LL_LSTM_PARAMS
#define LL_LSTM_PARAMS
typedef struct {
    int32_t frames, in_c, units, clip, tanh_mult, tanh_shift, input_mult, input_shift, hidden_mult,
        hidden_shift, zero_point, low, high;
} ll_lstm_params;
#endif

LL_INLINE LL_ACC LL_NAME(lstm_dot)(const LL_X *a, const int8_t *b, int32_t n, LL_ACC acc) {
    for (int32_t i = 0; i < n; ++i) {
        acc = LL_ADD(acc, (LL_ACC)a[i] * (LL_ACC)b[i]);
    }
    return acc;
}

LL_INLINE int32_t LL_NAME(lstm_s16)(int32_t v) {
    return ll_clamp(v, INT16_MIN, INT16_MAX);
}

LL_INLINE void LL_NAME(lstm)(const ll_lstm_params *p, const ll_in *in, const ll_out *out,
                             const ll_region *r, void *scratch, const ll_in *operands,
                             int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    const int8_t *weights = (const int8_t *)in[1].base;
    const int8_t *recurrent = (const int8_t *)in[2].base;
    const LL_ACC *bias = (const LL_ACC *)in[3].base;
    const LL_ACC *recurrent_bias = (const LL_ACC *)in[4].base;
    const int32_t *scale = (const int32_t *)in[7].base;
    const uint16_t *table = (const uint16_t *)in[8].base;
    int16_t *gates = (int16_t *)scratch;
    const int32_t n = p->units;
    (void)operands;
    (void)count;
    (void)store;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const uint8_t *in_row = ll_in_row(&in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        const uint8_t *state = (const uint8_t *)in[6].base + y * in[6].pixel;
        int16_t *cell = (int16_t *)(void *)((uint8_t *)out[1].base + y * out[1].pixel);
        const LL_X *hidden =
            (const LL_X *)(const void *)((const uint8_t *)in[5].base + y * in[5].pixel);
        for (int32_t j = 0; j < n; ++j) {
            cell[j] = ((const int16_t *)(const void *)state)[j];
        }
        for (int32_t t = 0; t < p->frames; ++t) {
            const LL_X *x = (const LL_X *)(const void *)(in_row + t * in[0].pixel);
            LL_X *to = LL_ELEMENT(LL_X, out_row, t, 0, out);
            for (int32_t k = 0; k < 4 * n; ++k) {
                const int32_t *s = scale + k / n * 2;
                const LL_ACC a = LL_NAME(lstm_dot)(x, weights + k * p->in_c, p->in_c, bias[k]);
                const LL_ACC b = LL_NAME(lstm_dot)(hidden, recurrent + k * n, n, recurrent_bias[k]);
                const int32_t sum = LL_NAME(lstm_s16)(LL_REQUANT(a, s[0], s[1])) +
                                    LL_NAME(lstm_s16)(LL_REQUANT(b, s[8], s[9]));
                const int32_t v = LL_NAME(lstm_s16)(sum);
                gates[k] = (int16_t)(k / n == 2 ? ll_tanh_s16(v, 3, 0, table)
                                                : ll_logistic_s16(v, 3, 0, table));
            }
            for (int32_t j = 0; j < n; ++j) {
                const int32_t kept = ll_requant(gates[n + j] * cell[j], 1 << 30, -14);
                const int32_t fresh =
                    ll_requant(gates[j] * gates[2 * n + j], p->input_mult, p->input_shift);
                const int32_t c =
                    LL_NAME(lstm_s16)(LL_NAME(lstm_s16)(kept) + LL_NAME(lstm_s16)(fresh));
                cell[j] = (int16_t)ll_clamp(c, -p->clip, p->clip);
                const int32_t shown = ll_tanh_s16(cell[j], p->tanh_mult, p->tanh_shift, table);
                const int32_t h =
                    ll_requant(gates[3 * n + j] * shown, p->hidden_mult, p->hidden_shift);
                to[j] = (LL_X)ll_clamp(ll_wrap_add(h, p->zero_point), p->low, p->high);
            }
            hidden = to;
        }
    }
}

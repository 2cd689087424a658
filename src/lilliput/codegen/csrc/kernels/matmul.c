/* A product of two activations, one matrix after the other.
 *
 * in[0]  a (rows, M, K), or (rows, K, M) with `adj_a`
 * in[1]  b (rows, K, N), or (rows, N, K) with `adj_b`; one row of either serves all
 * then the epilogue's operands
 *
 * Rows of the result are matrices, its pixels their rows, its channels their columns.
 */
#ifndef LL_MATMUL_PARAMS
#define LL_MATMUL_PARAMS
typedef struct {
    int32_t depth, adj_a, adj_b, one_a, one_b, a_zero, b_zero;
} ll_matmul_params;
#endif

LL_INLINE void LL_NAME(matmul)(const ll_matmul_params *p, const ll_in *in, const ll_out *out,
                               const ll_region *r, void *scratch, const ll_in *operands,
                               int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    const int32_t size = (int32_t)sizeof(LL_X);
    const int32_t a_next = p->adj_a ? in[0].pixel : size, a_row = p->adj_a ? size : in[0].pixel;
    const int32_t b_next = p->adj_b ? size : in[1].pixel, b_column = p->adj_b ? in[1].pixel : size;
    ll_at at;
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const uint8_t *a_base = ll_in_row(&in[0], p->one_a ? 0 : y);
        const uint8_t *b_base = ll_in_row(&in[1], p->one_b ? 0 : y);
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            at.x = x;
            for (int32_t c = r->c0; c < r->c1; ++c) {
                const uint8_t *a = a_base + x * a_row, *b = b_base + c * b_column;
                LL_ACC acc = 0;
                for (int32_t k = 0; k < p->depth; ++k, a += a_next, b += b_next) {
                    const LL_ACC u = (LL_ACC) * (const LL_X *)(const void *)a - (LL_ACC)p->a_zero;
                    const LL_ACC v = (LL_ACC) * (const LL_X *)(const void *)b - (LL_ACC)p->b_zero;
                    acc = LL_ADD(acc, u * v);
                }
                at.c = c;
                *LL_ELEMENT(LL_Y, out_row, x, c, out) = (LL_Y)store(&at, acc);
            }
        }
    }
}

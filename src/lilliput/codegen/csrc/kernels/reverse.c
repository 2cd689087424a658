/* The first elements of an axis in reverse, the others as they are.
 *
 * in[0]  x (P*M, Q, C)
 * in[1]  with `some`: how many elements turn round, LL_I, one for each index of the other axis
 *
 * The axis that turns is Q, or P with `rows`; `extent` is its own, `inner` is M.
 */
#ifndef LL_REVERSE_PARAMS
#define LL_REVERSE_PARAMS
typedef struct {
    int32_t some, rows, extent, inner;
} ll_reverse_params;
#endif

LL_INLINE void LL_NAME(reverse)(const ll_reverse_params *p, const ll_in *in, const ll_out *out,
                                const ll_region *r, void *scratch, const ll_in *operands,
                                int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    const LL_I *lengths = p->some ? (const LL_I *)in[1].base : 0;
    const unsigned int bytes = (unsigned int)(r->c1 - r->c0) * (unsigned int)sizeof(LL_X);
    const int32_t skip = r->c0 * (int32_t)sizeof(LL_X);
    (void)scratch;
    (void)operands;
    (void)count;
    (void)store;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const int32_t outer = y / p->inner;
        uint8_t *to = ll_out_row(out, y) + skip;
        for (int32_t x = r->x0; x < r->x1; ++x) {
            int32_t length = p->extent;
            if (lengths) {
                const LL_I v = lengths[p->rows ? x : outer];
                length = v < length ? (int32_t)v : length;
            }
            const int32_t place = p->rows ? outer : x;
            const int32_t from = place < length ? length - 1 - place : place;
            const uint8_t *row = ll_in_row(&in[0], p->rows ? from * p->inner + y % p->inner : y);
            const uint8_t *pixel = row + (p->rows ? x : from) * in[0].pixel + skip;
            __builtin_memcpy(to + x * out->pixel, pixel, bytes);
        }
    }
}

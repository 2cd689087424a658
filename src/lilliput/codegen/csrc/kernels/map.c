/* Element-wise operators: one loop for a whole chain, whose C expression is `store`.
 *
 * All operands belong to `store`, which loads what it needs; there is no accumulator.
 */
#ifndef LL_MAP_PARAMS
#define LL_MAP_PARAMS
typedef struct {
    int32_t none;
} ll_map_params;
#endif

LL_INLINE void LL_NAME(map)(const ll_map_params *p, const ll_in *in, const ll_out *out,
                            const ll_region *r, void *scratch, const ll_in *operands, int32_t count,
                            LL_R (*store)(const ll_at *, LL_ACC)) {
    ll_at at;
    (void)p;
    (void)in;
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            at.x = x;
            for (int32_t c = r->c0; c < r->c1; ++c) {
                at.c = c;
                *LL_ELEMENT(LL_Y, out_row, x, c, out) = (LL_Y)store(&at, 0);
            }
        }
    }
}

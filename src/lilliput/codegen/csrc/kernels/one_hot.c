/* One value where the index along the pixels is the one asked for, another one elsewhere.
 *
 * in[0]  indices (1, rows of the result, C), LL_I
 * in[1]  the value there, in[2] the value elsewhere, one element each
 */
#ifndef LL_ONE_HOT_PARAMS
#define LL_ONE_HOT_PARAMS
typedef struct {
    int32_t none;
} ll_one_hot_params;
#endif

LL_INLINE void LL_NAME(one_hot)(const ll_one_hot_params *p, const ll_in *in, const ll_out *out,
                                const ll_region *r, void *scratch, const ll_in *operands,
                                int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    const LL_X on = *(const LL_X *)in[1].base;
    const LL_X off = *(const LL_X *)in[2].base;
    (void)p;
    (void)scratch;
    (void)operands;
    (void)count;
    (void)store;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const uint8_t *asked = (const uint8_t *)in[0].base + y * in[0].pixel;
        const LL_I *index = (const LL_I *)(const void *)asked;
        uint8_t *out_row = ll_out_row(out, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            LL_Y *y_out = (LL_Y *)(void *)(out_row + x * out->pixel);
            for (int32_t c = r->c0; c < r->c1; ++c) {
                y_out[c] = index[c] == x ? on : off;
            }
        }
    }
}

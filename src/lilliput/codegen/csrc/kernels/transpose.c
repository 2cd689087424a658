/* An operand of rank up to 6 read with any step along each axis: transpose, broadcast.
 *
 * in[0]  x, read by linear address from its base
 *
 * step0..5: elements from one index of an output axis (led by units to six) to the next, 0
 * to repeat; extent1..3: extents of the output axes inside a row's number.
 */
#ifndef LL_TRANSPOSE_PARAMS
#define LL_TRANSPOSE_PARAMS
typedef struct {
    int32_t step0, step1, step2, step3, step4, step5, extent1, extent2, extent3;
} ll_transpose_params;
#endif

LL_INLINE void LL_NAME(transpose)(const ll_transpose_params *p, const ll_in *in, const ll_out *out,
                                  const ll_region *r, void *scratch, const ll_in *operands,
                                  int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    const LL_X *base = (const LL_X *)in[0].base;
    (void)scratch;
    (void)operands;
    (void)count;
    (void)store;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const int32_t y2 = y / p->extent3;
        const int32_t y1 = y2 / p->extent2;
        const LL_X *row = base + (y - y2 * p->extent3) * p->step3 +
                          (y2 - y1 * p->extent2) * p->step2 + y1 % p->extent1 * p->step1 +
                          y1 / p->extent1 * p->step0;
        uint8_t *out_row = ll_out_row(out, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            const LL_X *from = row + x * p->step4;
            LL_Y *y_out = (LL_Y *)(void *)(out_row + x * out->pixel);
            for (int32_t c = r->c0; c < r->c1; ++c) {
                y_out[c] = from[c * p->step5];
            }
        }
    }
}

/* A reduction over any axes of a dense operand of rank up to 6.
 *
 * in[0]  x, read by linear address from its base
 * then the epilogue's operands
 *
 * step0..5: elements from one index of an output axis (led by units to six) to the next;
 * extent1..3: extents of the output axes inside a row's number; count, reduce: extent and
 * step of the reduced axes, outermost first.  LL_FOLD names the reduction, as in fold.h.
 */
#include "../fold.h"
#ifndef LL_REDUCE_DENSE_PARAMS
#define LL_REDUCE_DENSE_PARAMS
typedef struct {
    int32_t step0, step1, step2, step3, step4, step5, extent1, extent2, extent3;
    int32_t count0, count1, count2, reduce0, reduce1, reduce2, zero, mult, shift;
} ll_reduce_dense_params;
#endif

LL_INLINE void LL_NAME(reduce_dense)(const ll_reduce_dense_params *p, const ll_in *in,
                                     const ll_out *out, const ll_region *r, void *scratch,
                                     const ll_in *operands, int32_t count,
                                     LL_R (*store)(const ll_at *, LL_ACC)) {
    const ll_rescale scale = {p->zero, p->mult, p->shift};
    const LL_X *base = (const LL_X *)in[0].base;
    ll_at at;
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const int32_t y2 = y / p->extent3;
        const int32_t y1 = y2 / p->extent2;
        const LL_X *row = base + (y - y2 * p->extent3) * p->step3 +
                          (y2 - y1 * p->extent2) * p->step2 + y1 % p->extent1 * p->step1 +
                          y1 / p->extent1 * p->step0;
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            LL_Y *y_out = (LL_Y *)(void *)(out_row + x * out->pixel);
            at.x = x;
            for (int32_t c = r->c0; c < r->c1; ++c) {
                const LL_X *first = row + x * p->step4 + c * p->step5;
                LL_ACC acc = LL_FIRST((LL_ACC)*first, &scale);
                for (int32_t i = 0; i < p->count0; ++i) {
                    for (int32_t j = 0; j < p->count1; ++j) {
                        const LL_X *run = first + i * p->reduce0 + j * p->reduce1;
                        for (int32_t k = i + j == 0 ? 1 : 0; k < p->count2; ++k) {
                            acc = LL_NEXT(acc, (LL_ACC)run[k * p->reduce2], &scale);
                        }
                    }
                }
                at.c = c;
                y_out[c] = (LL_Y)store(&at, acc);
            }
        }
    }
}

/* What a reduction does with its elements: a pair of functions for each kind and type.
 *
 *     ll_first_K(v, s)      the accumulator that holds v alone
 *     ll_next_K(acc, v, s)  the one that holds v too
 *
 * K is the macro LL_FOLD of a kernel; `s` is read by the products of quantised values only.
 * Integers wrap, floats round after every step, in the order of the calls.  Built on the
 * primitives of an instruction set, whose header comes first.  Twin: FOLDS in ops/reduce.py.
 */
#ifndef LL_FOLD_H
#define LL_FOLD_H

#include "ll.h"

#define LL_FIRST LL_CAT(ll_first, LL_FOLD)
#define LL_NEXT LL_CAT(ll_next, LL_FOLD)

/* zero point of the elements, and what every product is scaled by */
typedef struct {
    int32_t zero, mult, shift;
} ll_rescale;

#define LL_FOLD_RULE(kind, type, first, next)                                                      \
    LL_INLINE type ll_first_##kind(type v, const ll_rescale *s) {                                  \
        (void)s;                                                                                   \
        return first;                                                                              \
    }                                                                                              \
    LL_INLINE type ll_next_##kind(type acc, type v, const ll_rescale *s) {                         \
        (void)s;                                                                                   \
        return next;                                                                               \
    }

LL_FOLD_RULE(sum_s32, int32_t, v, ll_wrap_add(acc, v))
LL_FOLD_RULE(sum_s64, int64_t, v, ll_wrap_add_s64(acc, v))
LL_FOLD_RULE(sum_f32, float, 0.0f + v, acc + v)
LL_FOLD_RULE(max_s32, int32_t, v, v > acc ? v : acc)
LL_FOLD_RULE(max_s64, int64_t, v, v > acc ? v : acc)
LL_FOLD_RULE(max_f32, float, v > -0x1.fffffep127f ? v : -0x1.fffffep127f, v > acc ? v : acc)
LL_FOLD_RULE(min_s32, int32_t, v, v < acc ? v : acc)
LL_FOLD_RULE(min_s64, int64_t, v, v < acc ? v : acc)
LL_FOLD_RULE(min_f32, float, v < 0x1.fffffep127f ? v : 0x1.fffffep127f, v < acc ? v : acc)
LL_FOLD_RULE(prod_s32, int32_t, v, (int32_t)((uint32_t)acc *(uint32_t)v))
LL_FOLD_RULE(prod_s64, int64_t, v, (int64_t)((uint64_t)acc *(uint64_t)v))
LL_FOLD_RULE(prod_f32, float, v, acc *v)

/* Quantised: every product is scaled at once, so that it stays within 32 bits. */
LL_INLINE int32_t ll_first_prod_quantised(int32_t v, const ll_rescale *s) {
    return v - s->zero;
}

LL_INLINE int32_t ll_next_prod_quantised(int32_t acc, int32_t v, const ll_rescale *s) {
    return ll_requant_s64((int64_t)acc * (v - s->zero), s->mult, s->shift);
}

#endif

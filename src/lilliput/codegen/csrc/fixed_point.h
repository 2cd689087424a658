/* Fixed-point 1/(1+x) and table look-up on 32-bit integers: softmax's arithmetic.
 *
 * Q0.31 is an int32_t with 31 fraction bits.  The values are those of TFLite's reference
 * kernels, to the bit; the NumPy twin is ops/fixed_exp.py.  Built on the primitives of an
 * instruction set, whose header comes first.
 */
#ifndef LL_FIXED_POINT_H
#define LL_FIXED_POINT_H

#include "ll.h"

/* a * 2^n within int32_t */
LL_INLINE int32_t ll_shl_saturate(int32_t a, int32_t n) {
    const int32_t most = INT32_MAX >> n;
    if (a > most) {
        return INT32_MAX;
    }
    return a < -most - 1 ? INT32_MIN : ll_wrap_shl(a, n);
}

/* leading zero bits of a > 0 */
LL_INLINE int32_t ll_clz(int32_t a) {
    return __builtin_clz((unsigned int)a);
}

/* 1 / (1 + a) for a of Q0.31 in [0, 1): three Newton steps in Q2.29 */
LL_INLINE int32_t ll_reciprocal_q31(int32_t a) {
    const int32_t half = (int32_t)(((int64_t)a + INT32_MAX + 1) >> 1);
    int32_t x = ll_wrap_add(1515870810, ll_mulh_round(half, -1010580540)); /* 48/17, 32/17 */
    for (int32_t k = 0; k < 3; ++k) {
        const int32_t error = ll_wrap_add(1 << 29, -ll_mulh_round(half, x));
        x = ll_wrap_add(x, ll_shl_saturate(ll_mulh_round(x, error), 2));
    }
    return ll_shl_saturate(x, 1);
}

/* A table of 513 int16_t at `value` (an int16_t), interpolated linearly. */
LL_INLINE int32_t ll_lookup_513(int32_t value, const int16_t *table) {
    const int32_t place = value + 32768;
    const int32_t base = table[place >> 7];
    const int32_t slope = table[(place >> 7) + 1] - base;
    return base + ((slope * (place & 127) + 64) >> 7);
}

#endif

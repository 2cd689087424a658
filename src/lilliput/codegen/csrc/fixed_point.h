/* Fixed-point 1/(1+x), log, 1/sqrt and table look-up on 32-bit integers: softmax's arithmetic.
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

/* Natural logarithm of a >= 1 in Q12.19, in Q5.26.
 *
 * a = 2^k m: of two choices of k, for mantissas around 1 and around sqrt(1/2), the smaller
 * mantissa r is taken; log r is a quotient in q = 2 (r - 2^(-1/4)).  Sums are in Q6.25.
 */
LL_INLINE int32_t ll_log_q26(int32_t a) {
    const int32_t sqrt_half = 1518500250, root = 1805811301;
    const int32_t zeros = ll_clz(a);
    const int32_t headroom = ll_clz(ll_mulh_round(a, sqrt_half)) - 1;
    const int32_t r_a = ll_shl_saturate(ll_mulh_round(ll_wrap_shl(a, zeros - 1), sqrt_half), 1);
    const int32_t r = ll_min(r_a, ll_shl_saturate(a, headroom));
    const int32_t power =
        ll_max(ll_wrap_shl(12 - zeros, 25) + (1 << 23), ll_wrap_shl(12 - headroom, 25) - (1 << 23));
    const int32_t p = (int32_t)(((int64_t)r + root + 1) >> 1);
    const int32_t q = ll_wrap_shl(r - root, 1);
    const int32_t square = ll_mulh_round(q, q);
    const int32_t numerator =
        ll_wrap_add(ll_mulh_round(q, r), ll_mulh_round(ll_mulh_round(q, square), 117049297));
    const int32_t inner = ll_wrap_add(ll_wrap_add(1057819769, q), ll_mulh_round(127690142, square));
    const int32_t inverse =
        ll_reciprocal_q31(ll_wrap_add(ll_mulh_round(p, inner), ll_mulh_round(638450708, q)));
    const int32_t rest = ll_mulh_round(ll_shr_round(numerator, 6), inverse);
    return ll_shl_saturate(ll_wrap_add(ll_mulh_round(power, 1488522236), rest), 1);
}

/* 1/sqrt(a) as a multiplier and its exponent, for ll_requant; a >= 0, 0 as 1.
 *
 * a is brought to [1, 4) in Q3.28 by a power of four; five Newton steps from 1.
 */
LL_INLINE int32_t ll_inverse_sqrt(int32_t a, int32_t *shift) {
    *shift = 0;
    if (a <= 1) {
        return INT32_MAX;
    }
    const int32_t bits = 32 - ll_clz(a);
    const int32_t down = ll_max(bits - 28, 0) >> 1;
    const int32_t up = bits > 29 ? 0 : ((31 - bits) >> 1) - 1;
    const int32_t half = ll_shr_round(ll_wrap_shl(a >> (2 * down), 2 * up) >> 1, 1);
    int32_t x = 1 << 28;
    for (int32_t k = 0; k < 5; ++k) {
        const int32_t cube = ll_shl_saturate(ll_mulh_round(ll_mulh_round(x, x), x), 6);
        const int32_t rest = ll_mulh_round(x, 3 << 27) - ll_mulh_round(half, cube);
        x = ll_shl_saturate(rest, 3);
    }
    *shift = ll_min(up - 11 - down, 0);
    return ll_wrap_shl(ll_mulh_round(x, 1518500250), ll_max(up - 11 - down, 0));
}

/* A table of 513 int16_t at `value` (an int16_t), interpolated linearly. */
LL_INLINE int32_t ll_lookup_513(int32_t value, const int16_t *table) {
    const int32_t place = value + 32768;
    const int32_t base = table[place >> 7];
    const int32_t slope = table[(place >> 7) + 1] - base;
    return base + ((slope * (place & 127) + 64) >> 7);
}

#endif

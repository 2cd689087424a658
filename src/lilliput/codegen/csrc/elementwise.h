/* Integer expressions of the element-wise operators, beyond those in isa/generic.h.
 *
 * Pure functions of one element; what depends on scales and zero points is an argument
 * that is a literal where they are called.  Twins:
 * ops/{elementwise,quantize,unary_rules,fixed_point}.py.
 */
#ifndef LL_ELEMENTWISE_H
#define LL_ELEMENTWISE_H

#include "arithmetic.h"
#include "ll.h"
#include "update.h"

LL_INLINE int32_t ll_wrap_sub(int32_t a, int32_t b) {
    return (int32_t)((uint32_t)a - (uint32_t)b);
}

LL_INLINE int32_t ll_wrap_mul(int32_t a, int32_t b) {
    return (int32_t)((uint32_t)a * (uint32_t)b);
}

/* |a|; of -2^31 itself */
LL_INLINE int32_t ll_magnitude(int32_t a) {
    return a < 0 ? ll_wrap_sub(0, a) : a;
}

/* `value`, or where it is negative `sloped`, each with its own multiplier; of a negative one the
 * magnitude is taken, and the result negated. */
LL_INLINE int32_t ll_slopes(int32_t value, int32_t sloped, int32_t mult, int32_t shift,
                            int32_t mult_below, int32_t shift_below) {
    if (value >= 0) {
        return ll_requant(value, mult, shift);
    }
    const int32_t below = ll_requant(sloped, ll_magnitude(mult_below), shift_below);
    return mult_below < 0 ? ll_wrap_sub(0, below) : below;
}

/* 1/sqrt(value) with 20 fraction bits, requantised; `high` where value is not positive. */
LL_INLINE int32_t ll_rsqrt_int(int32_t value, int32_t mult, int32_t shift, int32_t zero_point,
                               int32_t low, int32_t high) {
    int32_t exponent;
    if (value <= 0) {
        return high;
    }
    const int32_t inverse = ll_inverse_sqrt(value, &exponent);
    const int32_t root = ll_requant(1, inverse, exponent + 20);
    return ll_clamp(ll_wrap_add(ll_requant(root, mult, shift), zero_point), low, high);
}

/* x / scale to the nearest integer, ties away from zero, plus zero point, clamped; NaN is 0. */
LL_INLINE int32_t ll_quantize(float x, float scale, int32_t zero_point, int32_t low, int32_t high) {
    float q = x / scale;
    if (q != q) {
        q = 0.0f;
    }
    /* far outside of every 16-bit range, and exact as an integer */
    q = q < -262144.0f ? -262144.0f : (q > 262144.0f ? 262144.0f : q);
    int32_t n = (int32_t)q;
    const float rest = q - (float)n;
    n += (rest >= 0.5f ? 1 : 0) - (rest <= -0.5f ? 1 : 0);
    return ll_clamp(n + zero_point, low, high);
}

/* Towards zero, within [low, high] as floats; NaN is 0. */
LL_INLINE int32_t ll_truncate(float x, int32_t low, int32_t high) {
    if (x != x) {
        return 0;
    }
    if (x <= (float)low) {
        return low;
    }
    return x >= (float)high ? high : (int32_t)x;
}

/* x (int16) * mult / 2^shift, ties up: steps of 1/(3*4096) for the two tables below. */
LL_INLINE int32_t ll_table_s16(int32_t x, int32_t mult, int32_t shift) {
    const uint32_t round = ((uint32_t)1 << (uint32_t)shift) >> 1;
    return (int32_t)((uint32_t)x * (uint32_t)mult + round) >> shift;
}

/* logistic in Q0.15, interpolated between table[k] = logistic(k / 24) in Q0.16 */
LL_INLINE int32_t ll_logistic_s16(int32_t x, int32_t mult, int32_t shift, const uint16_t *table) {
    const int32_t v = ll_table_s16(x, mult, shift);
    const uint32_t a = v < 0 ? 0U - (uint32_t)v : (uint32_t)v;
    const uint32_t k = a >> 9;
    uint32_t r = (uint32_t)0x7FFF << 10;
    if (k < 255U) {
        r = ((uint32_t)table[k] << 9) + (a & 511U) * ((uint32_t)table[k + 1U] - table[k]);
    }
    r = v >= 0 ? r + 512U : ((uint32_t)1 << 25) - r + 511U;
    return (int32_t)(r >> 10);
}

/* tanh(x) = 2 logistic(2x) - 1 in Q0.15, from the same table */
LL_INLINE int32_t ll_tanh_s16(int32_t x, int32_t mult, int32_t shift, const uint16_t *table) {
    const int32_t v = ll_table_s16(x, mult, shift);
    const uint32_t a = v < 0 ? 0U - (uint32_t)v : (uint32_t)v;
    const uint32_t k = a >> 8;
    int32_t r = 0xFFFF << 8;
    if (k < 255U) {
        r = (int32_t)(((uint32_t)table[k] << 8) +
                      (a & 255U) * ((uint32_t)table[k + 1U] - table[k]));
    }
    r = v >= 0 ? r - (1 << 23) + 128 : (1 << 23) - r + 127;
    return r >> 8;
}

/* log2(max(x + offset, least)) in Q15.16, 1 <= least; the table holds log2(1 + k / 128) for k =
 * 0..128 in Q0.16, the last of which wraps to 0. */
LL_INLINE int32_t ll_log2_q16(int64_t x, int32_t offset, int32_t least, const uint16_t *table) {
    const int64_t sum = ll_wrap_add_s64(x, offset);
    const uint64_t value = (uint64_t)(sum < least ? least : sum);
    const uint32_t high = (uint32_t)(value >> 32), low = (uint32_t)value;
    const int32_t whole = high ? 63 - __builtin_clz(high) : 31 - __builtin_clz(low);
    const uint32_t mantissa = high ? (uint32_t)(value >> (whole - 31)) : low << (31 - whole);
    const uint32_t k = (mantissa >> 24) & 127U, rest = (mantissa >> 8) & 0xFFFFU;
    const uint32_t slope = ((uint32_t)table[k + 1U] - table[k]) & 0xFFFFU;
    return whole * 65536 + (int32_t)(table[k] + ((slope * rest + 0x8000U) >> 16));
}

#endif

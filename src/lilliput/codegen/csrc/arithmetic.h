/* Arithmetic of two elements: division, remainders, powers, 64-bit integers.
 *
 * Every function is total: nothing is undefined for any operand, and a divisor of zero has the
 * result that docs/numerics.md states.  The powers and quotients of floats are worked out in
 * double, whose operations the compiler's own support library has on every core, and rounded
 * to float once.  Twins: ops/{elementwise,arithmetic,floatpair,logical}.py.  The header of an
 * instruction set comes first.
 */
#ifndef LL_ARITHMETIC_H
#define LL_ARITHMETIC_H

#include "fixed_point.h"
#include "float.h"

/* Integers that wrap ------------------------------------------------------------------- */

LL_INLINE int64_t ll_wrap_sub_s64(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a - (uint64_t)b);
}

LL_INLINE int64_t ll_wrap_mul_s64(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a * (uint64_t)b);
}

LL_INLINE int64_t ll_min_s64(int64_t a, int64_t b) {
    return a < b ? a : b;
}

LL_INLINE int64_t ll_max_s64(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* Integer quotients; -2^31 / -1 wraps, and a divisor of zero gives zero ----------------- */

LL_INLINE int32_t ll_div_s32(int32_t a, int32_t b) {
    if (b == 0 || b == -1) {
        return b == 0 ? 0 : (int32_t)(0U - (uint32_t)a);
    }
    return a / b;
}

LL_INLINE int32_t ll_floor_mod_s32(int32_t a, int32_t b) {
    if (b == 0 || b == -1) {
        return 0;
    }
    const int32_t rest = a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

LL_INLINE int64_t ll_floor_mod_s64(int64_t a, int64_t b) {
    if (b == 0 || b == -1) {
        return 0;
    }
    const int64_t rest = a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

LL_INLINE int32_t ll_floor_div_s32(int32_t a, int32_t b) {
    const int32_t quotient = ll_div_s32(a, b);
    if (b == 0 || b == -1) {
        return quotient;
    }
    return quotient * b != a && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

/* a^b, wrapping; of a negative power the real result cut towards zero, 0^negative = 0. */
LL_INLINE int32_t ll_pow_s32(int32_t a, int32_t b) {
    if (b < 0) {
        return a == 1 ? 1 : (a == -1 ? ((b & 1) ? -1 : 1) : 0);
    }
    uint32_t result = 1, base = (uint32_t)a;
    for (uint32_t rest = (uint32_t)b; rest != 0; rest >>= 1) {
        result = (rest & 1U) ? result * base : result;
        base *= base;
    }
    return (int32_t)result;
}

/* a / b times a multiplier, of stored integers less their zero points: the reciprocal of the
 * divisor in Q0.31, two products rounded to nearest.  Stays within +-2^17. */
LL_INLINE int32_t ll_div_scaled(int32_t a, int32_t b, int32_t mult, int32_t shift) {
    if (a == 0 || b == 0) {
        return a > 0 ? 1 << 17 : (a < 0 ? -(1 << 17) : 0);
    }
    if (b < 0) {
        a = -a;
        b = -b;
    }
    const int32_t place = ll_clz(b);
    const uint32_t rest = ((uint32_t)b << (uint32_t)place) - 0x80000000U;
    const int32_t inverse = ll_reciprocal_q31((int32_t)rest);
    const int32_t room = ll_clz(a < 0 ? ~a | 1 : a) - 1 + (a == -1 ? 1 : 0);
    const int32_t scaled = ll_mulh_round(ll_mulh_round(ll_wrap_shl(a, room), inverse), mult);
    const int32_t right = 31 - place + room - shift;
    if (right > 31) {
        return 0;
    }
    const int32_t y =
        right >= 0 ? ll_shr_round(scaled, right) : ll_shl_saturate(scaled, ll_min(-right, 31));
    return ll_clamp(y, -(1 << 17), 1 << 17);
}

LL_INLINE int32_t ll_squared(int32_t a) {
    return (int32_t)((uint32_t)a * (uint32_t)a);
}

/* Bits --------------------------------------------------------------------------------- */

/* a / 2^n, rounded down; n outside 0 to 31 counts as the nearer of the two. */
LL_INLINE int32_t ll_shr(int32_t a, int32_t n) {
    return a >> ll_clamp(n, 0, 31);
}

/* Towards zero, within int64_t; NaN is 0. */
LL_INLINE int64_t ll_truncate_s64(float x) {
    if (!(x > -9223372036854775808.0f)) {
        return x == x ? INT64_MIN : 0;
    }
    return x >= 9223372036854775808.0f ? INT64_MAX : (int64_t)x;
}

/* Floats ------------------------------------------------------------------------------- */

LL_INLINE float ll_squared_difference_f32(float a, float b) {
    return (a - b) * (a - b);
}

/* The nearest float, infinite where there is none. */
LL_INLINE float ll_narrow(double v) {
    const double most = 340282356779733661637539395458142568448.0; /* halfway to 2^128 */
    if (v >= most || v <= -most) {
        return ll_float_of(v > 0.0 ? 0x7F800000U : 0xFF800000U);
    }
    return (float)v;
}

/* The quotient as a double, rounded down. */
LL_INLINE float ll_floor_divf(float a, float b) {
    const double q = (double)a / (double)b;
    if (!(q > -4503599627370496.0 && q < 4503599627370496.0)) {
        return ll_narrow(q); /* an integer, infinite, or not a number */
    }
    const double whole = (double)(int64_t)q;
    if (whole == q) {
        return (float)q;
    }
    return (float)(whole > q ? whole - 1.0 : whole);
}

/* a - n b for the integer n towards zero, exact: every step subtracts b times a power of two. */
LL_INLINE float ll_fmodf(float a, float b) {
    const float size = ll_abs_f32(b);
    float rest = ll_abs_f32(a), part = size;
    if (!(size > 0.0f) || !(rest < ll_float_of(0x7F800000U))) {
        return ll_float_of(0x7FC00000U);
    }
    if (rest < size) {
        return a;
    }
    while (part <= rest - part) {
        part += part;
    }
    for (; part >= size; part *= 0.5f) {
        rest = rest >= part ? rest - part : rest;
    }
    return ll_float_of(ll_bits_of(rest) | (ll_bits_of(a) & 0x80000000U));
}

/* The remainder with the sign of b. */
LL_INLINE float ll_floor_modf(float a, float b) {
    const float rest = ll_fmodf(a, b);
    return rest != 0.0f && (rest < 0.0f) != (b < 0.0f) ? rest + b : rest;
}

LL_INLINE double ll_double_of(uint64_t bits) {
    union {
        uint64_t bits;
        double value;
    } u = {bits};
    return u.value;
}

/* Natural logarithm of a float > 0, finite, in double: 2 artanh((m - 1) / (m + 1)) + k ln 2. */
LL_INLINE double ll_log_wide(float x) {
    union {
        double value;
        uint64_t bits;
    } u = {(double)x};
    int32_t k = (int32_t)(u.bits >> 52) - 1023;
    double m = ll_double_of((u.bits & 0xFFFFFFFFFFFFFU) | 0x3FF0000000000000U);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        k += 1;
    }
    const double s = (m - 1.0) / (m + 1.0), z = s * s;
    double p = 0.066666666666666667;
    p = p * z + 0.076923076923076927;
    p = p * z + 0.090909090909090912;
    p = p * z + 0.1111111111111111;
    p = p * z + 0.14285714285714285;
    p = p * z + 0.2;
    p = p * z + 0.33333333333333331;
    p = p * z + 1.0;
    return (double)k * 0.69314718055994529 + (s + s) * p;
}

/* e^t in double, -104 <= t <= 89. */
LL_INLINE double ll_exp_wide(double t) {
    const double u = t * 1.4426950408889634;
    const int32_t n = (int32_t)(u + (u < 0.0 ? -0.5 : 0.5));
    const double r = t - (double)n * 0.69314718055994529;
    double p = 2.7557319223985888e-07;
    p = p * r + 2.7557319223985893e-06;
    p = p * r + 2.4801587301587302e-05;
    p = p * r + 0.00019841269841269841;
    p = p * r + 0.0013888888888888889;
    p = p * r + 0.0083333333333333332;
    p = p * r + 0.041666666666666664;
    p = p * r + 0.16666666666666666;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    return p * ll_double_of((uint64_t)(n + 1023) << 52);
}

/* 0 unless y is an integer, 1 where it is odd, 2 where it is even. */
LL_INLINE int32_t ll_parity(float y) {
    const float a = ll_abs_f32(y);
    if (!(a < 16777216.0f)) {
        return 2; /* the integers of this size are even; so are the infinities here */
    }
    const int32_t n = (int32_t)a;
    return (float)n == a ? 2 - (n & 1) : 0;
}

/* x^y as C's pow has it at zeros, ones and infinities. */
LL_INLINE float ll_powf(float x, float y) {
    const float a = ll_abs_f32(x), infinite = ll_float_of(0x7F800000U);
    const int32_t parity = ll_parity(y);
    if (y == 0.0f || x == 1.0f) {
        return 1.0f;
    }
    if (x != x || y != y || (x < 0.0f && parity == 0 && a < infinite)) {
        return ll_float_of(0x7FC00000U);
    }
    float result = 1.0f;
    if (a == 0.0f || a == infinite) {
        result = (a == 0.0f) == (y < 0.0f) ? infinite : 0.0f;
    } else if (a != 1.0f) {
        const double t = (double)y * ll_log_wide(a);
        result = t > 89.0 ? infinite : (t < -104.0 ? 0.0f : ll_narrow(ll_exp_wide(t)));
    }
    const uint32_t sign = parity == 1 ? ll_bits_of(x) & 0x80000000U : 0U;
    return ll_float_of(ll_bits_of(result) | sign);
}

#endif

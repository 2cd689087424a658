/* exp, log, sin, erf, sqrt, floor ... in float, without a library.
 *
 * Every function is a fixed sequence of single-precision operations, the same as in
 * ops/floatmath.py: compile with -ffp-contract=off and the results agree bit for bit.
 */
#ifndef LL_FLOAT_H
#define LL_FLOAT_H

#include "ll.h"

LL_INLINE float ll_float_of(uint32_t bits) {
    union {
        uint32_t bits;
        float value;
    } u = {bits};
    return u.value;
}

LL_INLINE uint32_t ll_bits_of(float value) {
    union {
        float value;
        uint32_t bits;
    } u = {value};
    return u.bits;
}

/* An integer that orders as the float does; NaN lies beyond both infinities.  Integers because a
 * firmware may be compiled as if there were no NaN. */
LL_INLINE int32_t ll_order_of(float value) {
    const uint32_t bits = ll_bits_of(value), size = bits & 0x7FFFFFFFU;
    return (bits >> 31) != 0U ? -(int32_t)size : (int32_t)size;
}

LL_INLINE int ll_is_within_f32(float v, float low, float high) {
    const int32_t at = ll_order_of(v);
    return at >= ll_order_of(low) && at <= ll_order_of(high);
}

LL_INLINE int ll_is_finite(float v) {
    return (ll_bits_of(v) & 0x7F800000U) != 0x7F800000U;
}

LL_INLINE float ll_finite_or(float v, float other) {
    return ll_is_finite(v) ? v : other;
}

/* Comparisons that let NaN pass, as `std::min` and `std::max` with the bound second. */
LL_INLINE float ll_max_f32(float v, float low) {
    return v < low ? low : v;
}

LL_INLINE float ll_min_f32(float v, float high) {
    return high < v ? high : v;
}

LL_INLINE float ll_abs_f32(float v) {
    return ll_float_of(ll_bits_of(v) & 0x7FFFFFFFU);
}

/* 2^n; -126 <= n <= 127 */
LL_INLINE float ll_power_of_two(int32_t n) {
    return ll_float_of((uint32_t)(n + 127) << 23);
}

/* e^x: r = x - n ln 2, a polynomial in r, times 2^n in two steps so that subnormals round once. */
LL_INLINE float ll_expf(float x) {
    if (x != x) {
        return x;
    }
    x = ll_min_f32(ll_max_f32(x, -104.0f), 89.0f);
    const float t = x * 1.44269504f;
    const int32_t n = (int32_t)(t + (t < 0.0f ? -0.5f : 0.5f));
    const float k = (float)n;
    const float r = (x - k * 0.693359375f) - k * -2.12194440e-4f;
    float p = 0.0013951719738543034f;
    p = p * r + 0.008369598537683487f;
    p = p * r + 0.0416661873459816f;
    p = p * r + 0.16666512191295624f;
    p = p * r + 0.5f;
    p = (p * (r * r) + r) + 1.0f;
    return (p * ll_power_of_two(n >> 1)) * ll_power_of_two(n - (n >> 1));
}

/* Natural logarithm: x = (1 + f) 2^k with 1 + f around 1, a polynomial in f. */
LL_INLINE float ll_logf(float x) {
    int32_t bias = 127;
    if (x != x || x < 0.0f) {
        return ll_float_of(0x7FC00000U);
    }
    if (x == 0.0f) {
        return ll_float_of(0xFF800000U);
    }
    if (ll_bits_of(x) == 0x7F800000U) {
        return x;
    }
    if (x < 1.17549435e-38f) {
        x = x * 8388608.0f;
        bias = 127 + 23;
    }
    const uint32_t bits = ll_bits_of(x);
    const float m = ll_float_of((bits & 0x007FFFFFU) | 0x3F800000U);
    const int32_t high = m > 1.41421354f;
    const float f = (high ? m * 0.5f : m) - 1.0f;
    const float k = (float)((int32_t)(bits >> 23) - bias + high);
    const float z = f * f;
    float p = 0.06915653496980667f;
    p = p * f + -0.11794112622737885f;
    p = p * f + 0.11875060200691223f;
    p = p * f + -0.12383795529603958f;
    p = p * f + 0.14218328893184662f;
    p = p * f + -0.16669270396232605f;
    p = p * f + 0.20002242922782898f;
    p = p * f + -0.24999986588954926f;
    p = p * f + 0.3333331048488617f;
    float y = (f * z) * p;
    y = (y + k * -2.12194440e-4f) - 0.5f * z;
    return (f + y) + k * 0.693359375f;
}

LL_INLINE float ll_tanhf(float x) {
    const float a = ll_abs_f32(x);
    if (a < 0.625f) {
        const float z = x * x;
        float p = -0.005709497258067131f;
        p = p * z + 0.020644135773181915f;
        p = p * z + -0.05374162271618843f;
        p = p * z + 0.13331469893455505f;
        p = p * z + -0.3333328366279602f;
        return (p * z) * x + x;
    }
    const float y = 1.0f - 2.0f / (ll_expf(2.0f * ll_min_f32(a, 10.0f)) + 1.0f);
    return x < 0.0f ? -y : y;
}

/* e - e^2/(1+e) for x < 0, not e/(1+e): where e is small the rounding of 1+e does not show. */
LL_INLINE float ll_logisticf(float x) {
    const float e = ll_expf(-ll_abs_f32(x));
    return x < 0.0f ? e - e * e / (1.0f + e) : 1.0f / (1.0f + e);
}

/* Correctly rounded: digit by digit on the significand, which needs no square root unit. */
LL_INLINE float ll_sqrtf(float x) {
    int32_t e = 0;
    if (!(x > 0.0f) || ll_bits_of(x) == 0x7F800000U) {
        return x < 0.0f ? ll_float_of(0x7FC00000U) : x;
    }
    if (x < 1.17549435e-38f) {
        x = x * 16777216.0f;
        e = -24;
    }
    const uint32_t bits = ll_bits_of(x);
    uint32_t m = (bits & 0x007FFFFFU) | 0x00800000U;
    e += (int32_t)(bits >> 23) - 127;
    if (e & 1) {
        m <<= 1;
        e -= 1;
    }
    /* root^2 <= m 2^25 < (root+1)^2, built from the top: 25 bits, of which the last one rounds */
    const uint64_t square = (uint64_t)m << 25;
    uint32_t root = 0, rest = 0;
    for (int32_t i = 24; i >= 0; --i) {
        rest = (rest << 2) | ((uint32_t)(square >> (2 * i)) & 3U);
        const uint32_t trial = (root << 2) | 1U;
        root <<= 1;
        if (rest >= trial) {
            rest -= trial;
            root |= 1U;
        }
    }
    root = (root + 1U) >> 1;
    return ll_float_of(root + ((uint32_t)(e / 2 + 126) << 23));
}

LL_INLINE float ll_rsqrtf(float x) {
    return 1.0f / ll_sqrtf(x);
}

/* Radians from the nearest multiple of pi/2 to a >= 0, and that multiple modulo 4.
 *
 * a = m 2^e times 2/pi modulo 4 in Q2.62: bits of 2/pi that contribute whole turns are left
 * out, so that the reduction is exact for any a.
 */
LL_INLINE float ll_quadrant(float a, uint32_t *quadrant) {
    static const uint32_t two_over_pi[8] = {0U,          0xA2F9836EU, 0x4E441529U, 0xFC2757D1U,
                                            0xF534DDC0U, 0xDB629599U, 0x3C439041U, 0xFE5163ABU};
    const uint32_t bits = ll_bits_of(a);
    const uint32_t start = (bits >> 23) - 120U;
    const uint64_t m = (bits & 0x007FFFFFU) | 0x00800000U;
    uint64_t window[3];
    *quadrant = 0;
    if (a <= 0.785398185f) {
        return a;
    }
    for (uint32_t k = 0; k < 3U; ++k) {
        const uint32_t *word = two_over_pi + (start >> 5) + k;
        window[k] = ((((uint64_t)word[0] << 32) | word[1]) << (start & 31U)) >> 32;
    }
    const uint64_t turns = ((m * window[0]) << 32) + m * window[1] + ((m * window[2]) >> 32);
    const uint64_t nearest = (turns + ((uint64_t)1 << 61)) >> 62;
    *quadrant = (uint32_t)nearest;
    return (float)(int64_t)(turns - (nearest << 62)) * 3.4061217e-19f;
}

/* sin of `quadrant` * pi/2 + r, |r| <= pi/4 */
LL_INLINE float ll_sin_near(float r, uint32_t quadrant) {
    const float z = r * r;
    float p, y;
    if (quadrant & 1U) {
        p = 2.443875746394042e-05f;
        p = p * z + -0.0013887372333556414f;
        p = p * z + 0.04166664555668831f;
        y = (1.0f - 0.5f * z) + (z * z) * p;
    } else {
        p = -0.0001951665326487273f;
        p = p * z + 0.008332173340022564f;
        p = p * z + -0.16666655242443085f;
        y = r + r * (z * p);
    }
    return (quadrant & 2U) ? -y : y;
}

LL_INLINE float ll_sinf(float x) {
    const float a = ll_abs_f32(x);
    uint32_t quadrant;
    if (!(a <= 3.40282347e+38f)) {
        return ll_float_of(0x7FC00000U);
    }
    const float r = ll_quadrant(a, &quadrant);
    const float y = ll_sin_near(r, quadrant);
    return ll_bits_of(x) >> 31 ? -y : y;
}

LL_INLINE float ll_cosf(float x) {
    const float a = ll_abs_f32(x);
    uint32_t quadrant;
    if (!(a <= 3.40282347e+38f)) {
        return ll_float_of(0x7FC00000U);
    }
    const float r = ll_quadrant(a, &quadrant);
    return ll_sin_near(r, quadrant + 1U);
}

/* A polynomial on |x| < 1, 1 - exp(another) up to 4, from where on it rounds to 1. */
LL_INLINE float ll_erff(float x) {
    const float a = ll_abs_f32(x);
    float p;
    if (a < 1.0f) {
        const float z = x * x;
        p = 7.889120024628937e-05f;
        p = p * z + -0.0008020841632969677f;
        p = p * z + 0.005189535208046436f;
        p = p * z + -0.026854444295167923f;
        p = p * z + 0.11283600330352783f;
        p = p * z + -0.3761262595653534f;
        p = p * z + 0.12837916612625122f;
        return x + x * p;
    }
    const float t = ll_min_f32(a, 4.0f);
    p = 0.00018557517614681274f;
    p = p * t + -0.002939618658274412f;
    p = p * t + 0.02180536277592182f;
    p = p * t + -0.10303746163845062f;
    p = p * t + -0.6382255554199219f;
    p = p * t + -1.127040147781372f;
    p = p * t + -0.0003537039738148451f;
    const float y = 1.0f - ll_expf(p);
    return x < 0.0f ? -y : y;
}

LL_INLINE float ll_geluf(float x) {
    return (0.5f * x) * (1.0f + ll_erff(x * 0.70710677f));
}

LL_INLINE float ll_gelu_tanhf(float x) {
    const float cubic = x + ((0.044715f * x) * x) * x;
    return (0.5f * x) * (1.0f + ll_tanhf(0.7978846f * cubic));
}

/* The sign of x on a result that is 0 or has that sign already. */
LL_INLINE float ll_signed_as(float y, float x) {
    return ll_float_of(ll_bits_of(y) | (ll_bits_of(x) & 0x80000000U));
}

/* From 2^23 on every float is an integer. */
LL_INLINE float ll_floorf(float x) {
    if (!(ll_abs_f32(x) < 8388608.0f)) {
        return x;
    }
    const float t = (float)(int32_t)x;
    return ll_signed_as(t > x ? t - 1.0f : t, x);
}

LL_INLINE float ll_ceilf(float x) {
    return -ll_floorf(-x);
}

/* To nearest, ties to even: the addition leaves no bits for a fraction. */
LL_INLINE float ll_roundf(float x) {
    const float a = ll_abs_f32(x);
    return a < 8388608.0f ? ll_signed_as((a + 8388608.0f) - 8388608.0f, x) : x;
}

LL_INLINE float ll_signf(float x) {
    return (float)((x > 0.0f) - (x < 0.0f));
}

LL_INLINE float ll_eluf(float x) {
    return x < 0.0f ? ll_expf(x) - 1.0f : x;
}

LL_INLINE float ll_hard_swishf(float x) {
    return x * ll_min_f32(ll_max_f32(x + 3.0f, 0.0f), 6.0f) / 6.0f;
}

LL_INLINE float ll_leaky_relu_f32(float x, float alpha) {
    return x < 0.0f ? x * alpha : x;
}

LL_INLINE float ll_square_f32(float x) {
    return x * x;
}

#endif

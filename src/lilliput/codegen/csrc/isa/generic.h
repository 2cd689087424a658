/* The primitives that kernels are written on, in portable C.
 *
 * Another instruction set provides the same names in a header of its own; each has the
 * meaning written here, to the bit.
 */
#ifndef LL_ISA_H
#define LL_ISA_H

#include "../ll.h"

/* Signed arithmetic that wraps, without undefined behaviour. */
LL_INLINE int32_t ll_wrap_add(int32_t a, int32_t b) {
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

/* Accumulators add by these: integers wrap, floats round. */
LL_INLINE int64_t ll_wrap_add_s64(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

LL_INLINE float ll_add_f32(float a, float b) {
    return a + b;
}

/* acc + sum of x[i] * w[i], i < n */
LL_INLINE int32_t ll_dot_s8(const int8_t *x, const int8_t *w, int32_t n, int32_t acc) {
    for (int32_t i = 0; i < n; ++i) {
        acc = ll_wrap_add(acc, x[i] * w[i]);
    }
    return acc;
}

LL_INLINE int64_t ll_dot_s16(const int16_t *x, const int8_t *w, int32_t n, int64_t acc) {
    for (int32_t i = 0; i < n; ++i) {
        acc = ll_wrap_add_s64(acc, x[i] * w[i]);
    }
    return acc;
}

LL_INLINE int32_t ll_dot_s16_s32(const int16_t *x, const int8_t *w, int32_t n, int32_t acc) {
    for (int32_t i = 0; i < n; ++i) {
        acc = ll_wrap_add(acc, x[i] * w[i]);
    }
    return acc;
}

/* In this order, without contraction to fused multiply-add: the sum is defined to the bit. */
LL_INLINE float ll_dot_f32(const float *x, const float *w, int32_t n, float acc) {
    for (int32_t i = 0; i < n; ++i) {
        acc += x[i] * w[i];
    }
    return acc;
}

LL_INLINE int32_t ll_wrap_shl(int32_t a, int32_t n) {
    return (int32_t)((uint32_t)a << (uint32_t)n);
}

/* The high 32 bits of 2ab, rounded to nearest (ties up), saturating for a = b = -2^31. */
LL_INLINE int32_t ll_mulh_round(int32_t a, int32_t b) {
    if (a == INT32_MIN && b == INT32_MIN) {
        return INT32_MAX;
    }
    int64_t product = (int64_t)a * b;
    int64_t nudge = product >= 0 ? (1 << 30) : (1 - (1 << 30));
    return (int32_t)((product + nudge) / ((int64_t)1 << 31));
}

/* a / 2^n, rounded to nearest, ties away from zero; 0 <= n <= 31. */
LL_INLINE int32_t ll_shr_round(int32_t a, int32_t n) {
    int32_t mask = (int32_t)(((uint32_t)1 << (uint32_t)n) - 1U);
    int32_t rest = a & mask;
    int32_t half = (mask >> 1) + (a < 0 ? 1 : 0);
    return (a >> n) + (rest > half ? 1 : 0);
}

/* a * mult / 2^31 * 2^shift with TFLite's double rounding.  -31 <= shift <= 30. */
LL_INLINE int32_t ll_requant(int32_t a, int32_t mult, int32_t shift) {
    int32_t left = ll_max(shift, 0);
    int32_t right = ll_max(-shift, 0);
    return ll_shr_round(ll_mulh_round(ll_wrap_shl(a, left), mult), right);
}

/* The same with one rounding (ties up), as LiteRT's single-rounding build has it. */
LL_INLINE int32_t ll_requant_once(int32_t a, int32_t mult, int32_t shift) {
    int32_t total = 31 - shift;
    int64_t round = (int64_t)1 << (total - 1);
    return (int32_t)(((int64_t)a * mult + round) >> total);
}

/* 64-bit accumulators (int16 activations): a multiplier of 15 bits, one rounding. */
LL_INLINE int32_t ll_requant_s64(int64_t a, int32_t mult, int32_t shift) {
    int32_t reduced = mult < 0x7FFF0000 ? (mult + (1 << 15)) >> 16 : 0x7FFF;
    int32_t total = 15 - shift;
    int64_t round = (int64_t)1 << (total - 1);
    return (int32_t)((a * reduced + round) >> total);
}

#endif

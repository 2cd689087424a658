/* Elements of a training step: masks of what saturated, and updates of integer weights; tiles that
 * its kernels sum in; pixels of gradients as 16-bit numbers.
 *
 * Twins: ops/update.py, ops/rounded.py.  A step that is not a number moves nothing.
 */
#ifndef LL_UPDATE_H
#define LL_UPDATE_H

#include "float.h"

LL_INLINE float ll_inside(float dy, int32_t y, int32_t low, int32_t high) {
    return y > low && y < high ? dy : 0.0f;
}

/* The greatest float below a half, with the sign of v: added to v and cut off it is the nearest
 * whole number, ties away from zero.  With a half, 0.49999997 would come to 1. */
LL_INLINE float ll_half(float v) {
    return v < 0.0f ? -0.499999970197677612f : 0.499999970197677612f;
}

LL_INLINE float ll_within(float v, float limit) {
    return v < -limit ? -limit : (v > limit ? limit : v);
}

/* The nearest whole number, ties away from zero, of |v| <= limit < 2^30; NaN is 0. */
LL_INLINE int32_t ll_nearest(float v, float limit) {
    const float near = ll_within(v, limit);
    return v != v ? 0 : (int32_t)(near + ll_half(near));
}

LL_INLINE int32_t ll_symmetric_s8(int32_t w) {
    return w < -127 ? -127 : (w > 127 ? 127 : w);
}

/* What is within limits before it is rounded is so afterwards. */
LL_INLINE int32_t ll_sgd_s8(int32_t w, float step) {
    return step != step ? ll_symmetric_s8(w) : ll_nearest((float)w - step, 127.0f);
}

/* Moves within +-2^28, so that a sum which begins with it stays below 2^29. */
LL_INLINE int32_t ll_sgd_s32(int32_t b, float step) {
    const int32_t limit = 1 << 28;
    const int32_t n = ll_nearest(step, 536870912.0f);
    if (n == 0) {
        return b;
    }
    const int32_t low = b < -limit ? -limit : b;
    const int32_t moved = (low > limit ? limit : low) - n;
    return moved < -limit ? -limit : (moved > limit ? limit : moved);
}

/* The finaliser of MurmurHash3: a bijection of 32 bits. */
LL_INLINE uint32_t ll_hash(uint32_t h) {
    h = (h ^ (h >> 16)) * 0x85EBCA6BU;
    h = (h ^ (h >> 13)) * 0xC2B2AE35U;
    return h ^ (h >> 16);
}

LL_INLINE int32_t ll_sgd_dither(int32_t w, int32_t seed, float step) {
    const uint32_t key = (uint32_t)w * 0x9E3779B9U;
    const uint32_t drawn = ll_hash(ll_bits_of(step) ^ key ^ (uint32_t)seed);
    const float u = (float)(drawn >> 8) * 5.9604644775390625e-8f;
    float moved = step != step ? (float)w : (float)w - step;
    moved = ll_within(moved, 4194304.0f);
    int32_t floor = (int32_t)moved;
    floor -= (float)floor > moved ? 1 : 0;
    return ll_symmetric_s8(floor + (u < moved - (float)floor ? 1 : 0));
}

LL_INLINE int32_t ll_wrap_s8(int32_t v) {
    const int32_t low = (int32_t)((uint32_t)v & 0xFFU);
    return low < 128 ? low : low - 256;
}

LL_INLINE int32_t ll_sgd_rest(int32_t rest, float step) {
    return ll_wrap_s8(rest - ll_nearest(step * 256.0f, 4194304.0f));
}

/* The old rest is known from the new one; floor((old - q + 128) / 256) of a number above -2^23. */
LL_INLINE int32_t ll_sgd_carry(int32_t w, int32_t rest, float step) {
    const int32_t q = ll_nearest(step * 256.0f, 4194304.0f);
    const int32_t sum = ll_wrap_s8(rest + q) - q + 128;
    return ll_symmetric_s8(w + ((sum + (1 << 23)) >> 8) - (1 << 15));
}

/* Sums of products of floats, 4 by 4 of them at a time: they stay in registers, and each factor is
 * loaded, and converted, for four products.  A tile does not change the order of a sum. */
#define LL_SIDE 4

/* The columns' factors: four numbers of the kernel's type less their zero point. */
#define LL_CENTRED_4(v, zero)                                                                      \
    float t0, t1, t2, t3;                                                                          \
    LL_CAT(ll_centred, LL_X)(v, zero, &t0, &t1, &t2, &t3);

LL_INLINE void ll_centred_float(const float *v, float zero, float *t0, float *t1, float *t2,
                                float *t3) {
    *t0 = v[0] - zero, *t1 = v[1] - zero, *t2 = v[2] - zero, *t3 = v[3] - zero;
}

LL_INLINE void ll_centred_int8_t(const int8_t *v, int32_t zero, float *t0, float *t1, float *t2,
                                 float *t3) {
    int32_t n[4];
    ll_less_4(v, zero, n);
    *t0 = (float)n[0], *t1 = (float)n[1], *t2 = (float)n[2], *t3 = (float)n[3];
}

/* All channels of a pixel as floats; what follows them. */
LL_INLINE float *ll_centred_pixel(const uint8_t *pixel, int32_t zero, int32_t channels, float *to) {
    const int8_t *v = (const int8_t *)pixel;
    int32_t c = 0;
    for (; c + 4 <= channels; c += 4, to += 4) {
        ll_centred_int8_t(v + c, zero, &to[0], &to[1], &to[2], &to[3]);
    }
    for (; c < channels; ++c) {
        *to++ = (float)(v[c] - zero);
    }
    return to;
}

#define LL_SQUARE_ZERO                                                                             \
    float s00 = 0.0f, s01 = 0.0f, s02 = 0.0f, s03 = 0.0f;                                          \
    float s10 = 0.0f, s11 = 0.0f, s12 = 0.0f, s13 = 0.0f;                                          \
    float s20 = 0.0f, s21 = 0.0f, s22 = 0.0f, s23 = 0.0f;                                          \
    float s30 = 0.0f, s31 = 0.0f, s32 = 0.0f, s33 = 0.0f;

/* A row of the tile: its factor times each of the columns' t0 .. t3. */
#define LL_SQUARE_ROW(i, factor)                                                                   \
    {                                                                                              \
        const float f = factor;                                                                    \
        s##i##0 += f * t0;                                                                         \
        s##i##1 += f * t1;                                                                         \
        s##i##2 += f * t2;                                                                         \
        s##i##3 += f * t3;                                                                         \
    }

#define LL_SQUARE_KEEP(sums)                                                                       \
    sums[0][0] = s00, sums[0][1] = s01, sums[0][2] = s02, sums[0][3] = s03;                        \
    sums[1][0] = s10, sums[1][1] = s11, sums[1][2] = s12, sums[1][3] = s13;                        \
    sums[2][0] = s20, sums[2][1] = s21, sums[2][2] = s22, sums[2][3] = s23;                        \
    sums[3][0] = s30, sums[3][1] = s31, sums[3][2] = s32, sums[3][3] = s33;

/* Sums that are kept elsewhere between tiles, the rows of a tile `next` apart. */
#define LL_SQUARE_LOAD(at, next)                                                                   \
    float s00 = at[0], s01 = at[1], s02 = at[2], s03 = at[3];                                      \
    float s10 = at[next], s11 = at[next + 1], s12 = at[next + 2], s13 = at[next + 3];              \
    float s20 = at[2 * next], s21 = at[2 * next + 1], s22 = at[2 * next + 2];                      \
    float s23 = at[2 * next + 3], s30 = at[3 * next], s31 = at[3 * next + 1];                      \
    float s32 = at[3 * next + 2], s33 = at[3 * next + 3];

#define LL_SQUARE_STORE(at, next)                                                                  \
    at[0] = s00, at[1] = s01, at[2] = s02, at[3] = s03;                                            \
    at[next] = s10, at[next + 1] = s11, at[next + 2] = s12, at[next + 3] = s13;                    \
    at[2 * next] = s20, at[2 * next + 1] = s21, at[2 * next + 2] = s22;                            \
    at[2 * next + 3] = s23, at[3 * next] = s30, at[3 * next + 1] = s31;                            \
    at[3 * next + 2] = s32, at[3 * next + 3] = s33;

/* 1e-30, infinity and a NaN */
#define LL_FIXED_LEAST 0x0DA24260U
#define LL_FIXED_INFINITE 0x7F800000U
#define LL_FIXED_NAN 0x7FC00000U

/* The larger of `largest` and twice the bits of a magnitude. */
LL_INLINE uint32_t ll_fixed_larger(uint32_t largest, float d) {
    const uint32_t size = ll_bits_of(d) << 1;
    return size > largest ? size : largest;
}

/* Two numbers as the halves of a word. */
LL_INLINE void ll_fixed_pair(float low, float high, float times, int16_t *to) {
    const uint32_t a = (uint32_t)ll_round_even(low * times, INT32_MIN, INT32_MAX);
    const uint32_t b = (uint32_t)ll_round_even(high * times, INT32_MIN, INT32_MAX);
    const uint32_t both = (a & 0xFFFFU) | (b << 16);
    __builtin_memcpy(to, &both, 4);
}

/* Rounds the n numbers of a pixel to pairs from `to` on, which begin `next` numbers apart, a
 * missing last one 0; gives what a step is.  The largest becomes `most`, so that none is beyond it.
 * Magnitudes are compared as the integers that order as they do, infinity and NaN last. */
LL_INLINE float ll_fixed_pixel(const float *d, int32_t n, int32_t most, int16_t *to, int32_t next) {
    uint32_t largest = 0;
    int32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        largest = ll_fixed_larger(largest, d[i]);
        largest = ll_fixed_larger(largest, d[i + 1]);
        largest = ll_fixed_larger(largest, d[i + 2]);
        largest = ll_fixed_larger(largest, d[i + 3]);
    }
    for (; i < n; ++i) {
        largest = ll_fixed_larger(largest, d[i]);
    }
    largest >>= 1;
    if (largest < LL_FIXED_LEAST || largest >= LL_FIXED_INFINITE) {
        for (i = 0; i < n; i += 2, to += next) {
            to[0] = 0;
            to[1] = 0;
        }
        return largest < LL_FIXED_LEAST ? 0.0f : ll_float_of(LL_FIXED_NAN);
    }
    const float top = ll_float_of(largest), times = (float)most / top;
    for (i = 0; i + 4 <= n; i += 4, to += 2 * next) {
        ll_fixed_pair(d[i], d[i + 1], times, to);
        ll_fixed_pair(d[i + 2], d[i + 3], times, to + next);
    }
    for (; i < n; i += 2, to += next) {
        ll_fixed_pair(d[i], i + 1 < n ? d[i + 1] : 0.0f, times, to);
    }
    return top / (float)most;
}

/* The n numbers of a rounded pixel as every fourth pair from `to` on; gives what its step is, 0 for
 * what is no normal number. */
LL_INLINE float ll_fixed_apart(const int16_t *numbers, int32_t n, int16_t *to) {
    uint32_t step;
    int32_t i = 0;
    for (; i + 4 <= n; i += 4, to += 16) {
        __builtin_memcpy(to, numbers + i, 4);
        __builtin_memcpy(to + 8, numbers + i + 2, 4);
    }
    for (; i < n; i += 2, to += 8) {
        __builtin_memcpy(to, numbers + i, 4);
    }
    __builtin_memcpy(&step, numbers + i, 4);
    return step & LL_FIXED_INFINITE ? ll_float_of(step) : 0.0f;
}

#endif

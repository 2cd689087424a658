/* The primitives that are the same on every instruction set, in portable C.
 *
 * What an instruction set may do better is in `generic.h` and in the headers beside it, which
 * provide the same names with the same meaning, to the bit.
 */
#ifndef LL_BASE_H
#define LL_BASE_H

#include "../ll.h"

/* Signed arithmetic that wraps, without undefined behaviour. */
LL_INLINE int32_t ll_wrap_add(int32_t a, int32_t b) {
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

/* a * b / 2^16, rounded down; b is the lower or the upper half of a word. */
#ifndef LL_OWN_MULW
LL_INLINE int32_t ll_mulw_low(int32_t a, int32_t word) {
    const int32_t b = (int16_t)word;
    return (a >> 16) * b + (((a & 0xFFFF) * b) >> 16);
}

LL_INLINE int32_t ll_mulw_high(int32_t a, int32_t word) {
    const int32_t b = word >> 16;
    return (a >> 16) * b + (((a & 0xFFFF) * b) >> 16);
}
#endif

/* Accumulators add by these: integers wrap, floats round. */
LL_INLINE int64_t ll_wrap_add_s64(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

LL_INLINE float ll_add_f32(float a, float b) {
    return a + b;
}

/* Weights as they are stored.  ll_s8z: int8 with a zero point; ll_s4: two in a byte, the even
 * one in the low half, an even number of them in each row. */
typedef int8_t ll_s8z;
typedef uint8_t ll_s4;

/* Weight i of w as a number; `zero` is the zero point of those types that have one. */
LL_INLINE int32_t ll_weight_int8_t(const int8_t *w, int32_t i, int32_t zero) {
    (void)zero;
    return w[i];
}

LL_INLINE int32_t ll_weight_ll_s8z(const ll_s8z *w, int32_t i, int32_t zero) {
    return w[i] - zero;
}

LL_INLINE int32_t ll_weight_ll_s4(const ll_s4 *w, int32_t i, int32_t zero) {
    const int32_t half = (w[i >> 1] >> ((i & 1) * 4)) & 15;
    (void)zero;
    return (half ^ 8) - 8;
}

LL_INLINE float ll_weight_float(const float *w, int32_t i, int32_t zero) {
    (void)zero;
    return w[i];
}

/* Where the row of weights that begins with weight i lies. */
LL_INLINE const int8_t *ll_row_int8_t(const int8_t *w, int32_t i) {
    return w + i;
}

LL_INLINE const ll_s8z *ll_row_ll_s8z(const ll_s8z *w, int32_t i) {
    return w + i;
}

LL_INLINE const ll_s4 *ll_row_ll_s4(const ll_s4 *w, int32_t i) {
    return w + i / 2;
}

LL_INLINE const float *ll_row_float(const float *w, int32_t i) {
    return w + i;
}

/* Both for the weights of the kernel that is being included. */
#define LL_ROW LL_CAT(ll_row, LL_W)
#define LL_WEIGHT LL_CAT(ll_weight, LL_W)

/* acc + sum of x[i] * weight at + i of w, i < n.  Floats are added in this order, without
 * contraction to fused multiply-add: the sum is defined to the bit. */
#define LL_DOT_OF(name, x_type, w_type, acc_type, add)                                             \
    LL_INLINE acc_type name(const x_type *x, const w_type *w, int32_t at, int32_t zero, int32_t n, \
                            acc_type acc) {                                                        \
        for (int32_t i = 0; i < n; ++i) {                                                          \
            acc = add(acc, x[i] * LL_CAT(ll_weight, w_type)(w, at + i, zero));                     \
        }                                                                                          \
        return acc;                                                                                \
    }

LL_DOT_OF(ll_dot_s8, int8_t, int8_t, int32_t, ll_wrap_add)
LL_DOT_OF(ll_dot_s8_s8z, int8_t, ll_s8z, int32_t, ll_wrap_add)
LL_DOT_OF(ll_dot_s16, int16_t, int8_t, int64_t, ll_wrap_add_s64)
LL_DOT_OF(ll_dot_s16_s32, int16_t, int8_t, int32_t, ll_wrap_add)
LL_DOT_OF(ll_dot_f32, float, float, float, ll_add_f32)

#ifndef LL_OWN_TILE
/* acc += (x - zero) * p, (x - zero) * q, (y - zero) * p, (y - zero) * q: n bytes of each. */
LL_INLINE void ll_tile_less_s8(const int8_t *x, const int8_t *y, const int8_t *p, const int8_t *q,
                               int32_t n, int32_t zero, int32_t *acc) {
    for (int32_t i = 0; i < n; ++i) {
        acc[0] = ll_wrap_add(acc[0], (x[i] - zero) * p[i]);
        acc[1] = ll_wrap_add(acc[1], (x[i] - zero) * q[i]);
        acc[2] = ll_wrap_add(acc[2], (y[i] - zero) * p[i]);
        acc[3] = ll_wrap_add(acc[3], (y[i] - zero) * q[i]);
    }
}

/* The same of x and y as they are. */
LL_INLINE void ll_tile_s8(const int8_t *x, const int8_t *y, const int8_t *p, const int8_t *q,
                          int32_t n, int32_t *acc) {
    acc[0] = ll_dot_s8(x, p, 0, 0, n, acc[0]);
    acc[1] = ll_dot_s8(x, q, 0, 0, n, acc[1]);
    acc[2] = ll_dot_s8(y, p, 0, 0, n, acc[2]);
    acc[3] = ll_dot_s8(y, q, 0, 0, n, acc[3]);
}
#endif

#ifndef LL_OWN_FOURS
/* sums[c] = bias[c] + sum over `count` runs of `n` bytes, n >= 1, of byte * weight; a channel's
 * weights follow one another, and so do the channels.  Four channels share the loads of x, four
 * bytes a turn of the loop. */
LL_INLINE void ll_four_products(int32_t *acc, int32_t x, const int8_t *w, int32_t depth) {
    acc[0] = ll_wrap_add(acc[0], x * w[0]);
    acc[1] = ll_wrap_add(acc[1], x * w[depth]);
    acc[2] = ll_wrap_add(acc[2], x * w[depth * 2]);
    acc[3] = ll_wrap_add(acc[3], x * w[depth * 3]);
}

LL_INLINE void ll_fours(const int8_t *const *runs, int32_t count, int32_t n, const int8_t *weights,
                        const int32_t *bias, int32_t *sums, int32_t channels) {
    const int32_t depth = count * n;
    for (; channels >= 4; channels -= 4, weights += depth * 4, bias += 4, sums += 4) {
        int32_t acc[4] = {bias[0], bias[1], bias[2], bias[3]};
        const int8_t *w = weights;
        for (int32_t k = 0; k < count; ++k) {
            const int8_t *x = runs[k];
            const int8_t *const end = x + n / 4 * 4;
            for (; x < end; x += 4, w += 4) {
                ll_four_products(acc, x[0], w, depth);
                ll_four_products(acc, x[1], w + 1, depth);
                ll_four_products(acc, x[2], w + 2, depth);
                ll_four_products(acc, x[3], w + 3, depth);
            }
            for (int32_t i = 0; i < n % 4; ++i, ++w) {
                ll_four_products(acc, x[i], w, depth);
            }
        }
        __builtin_memcpy(sums, acc, sizeof acc);
    }
    for (int32_t i = 0; i < channels; ++i) {
        sums[i] = bias[i];
        for (int32_t k = 0; k < count; ++k, weights += n) {
            sums[i] = ll_dot_s8(runs[k], weights, 0, 0, n, sums[i]);
        }
    }
}
#endif

#ifndef LL_OWN_TAPS
/* sums[c - c0][pixel] = bias[c] + sum over `count` taps of taps[tap][pixel][c] * weight, c0 <= c
 * < c1, four pixels; a tap's weights lie `apart` from those of the tap before. */
LL_INLINE void ll_taps_4(const int8_t *const *taps, int32_t count, const int8_t *weights,
                         int32_t apart, const int32_t *bias, int32_t *sums, int32_t c0,
                         int32_t c1) {
    for (int32_t c = c0; c < c1; ++c, sums += 4) {
        int32_t acc[4] = {bias[c], bias[c], bias[c], bias[c]};
        const int8_t *const *tap = taps;
        const int8_t *w = weights + c;
        for (int32_t t = 0; t < count; ++t, tap += 4, w += apart) {
            acc[0] = ll_wrap_add(acc[0], tap[0][c] * *w);
            acc[1] = ll_wrap_add(acc[1], tap[1][c] * *w);
            acc[2] = ll_wrap_add(acc[2], tap[2][c] * *w);
            acc[3] = ll_wrap_add(acc[3], tap[3][c] * *w);
        }
        __builtin_memcpy(sums, acc, sizeof acc);
    }
}
#endif

/* sums[k][pixel] of four channels k, of which `left` are there, and four pixels: over n numbers o
 * of numbers[o / 2][pixel][o % 2] * w[o * apart + k]. */
LL_INLINE void ll_back_any(const int8_t *w, const int16_t *numbers, int32_t n, int32_t apart,
                           int32_t left, int32_t *sums) {
    for (int32_t k = 0; k < 4; ++k, sums += 4) {
        int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        for (int32_t o = 0; k < left && o < n; ++o) {
            const int16_t *own = numbers + (o >> 1) * 8 + (o & 1);
            const int32_t weight = w[o * apart + k];
            s0 += own[0] * weight;
            s1 += own[2] * weight;
            s2 += own[4] * weight;
            s3 += own[6] * weight;
        }
        sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
    }
}

/* The same weights as those of columns that are int16 (`generic.h`), of whole groups of four
 * numbers: what is not there is 0.  `twos`: weights in groups of 8, as below. */
LL_INLINE void ll_widen_any(const int8_t *w, int32_t n, int32_t apart, int32_t left, int16_t *to,
                            int32_t twos) {
    const int32_t pairs = (n + 3) / 4 * 2;
    for (int32_t o = 0; o < pairs * 2; ++o) {
        for (int32_t k = 0; k < 4; ++k) {
            const int32_t at =
                twos ? (o >> 1) * 2 * apart + (o & 1) + (k & 2) + (k & 1) * 4 : o * apart + k;
            to[((k >> 1) * pairs + (o >> 1)) * 4 + (k & 1) * 2 + (o & 1)] =
                o < n && k < left ? w[at] : 0;
        }
    }
}

#ifndef LL_OWN_BACK
#define ll_back_rows ll_back_any

LL_INLINE void ll_widen_rows(const int8_t *w, int32_t n, int32_t apart, int32_t left, int16_t *to) {
    ll_widen_any(w, n, apart, left, to, 0);
}

LL_INLINE void ll_widen_twos(const int8_t *w, int32_t n, int32_t apart, int32_t left, int16_t *to) {
    ll_widen_any(w, n, apart, left, to, 1);
}

/* The same of weights in groups of 8: P0 Q0 P2 Q2 P1 Q1 P3 Q3 of numbers P and Q. */
LL_INLINE void ll_back_twos(const int8_t *w, const int16_t *numbers, int32_t n, int32_t apart,
                            int32_t left, int32_t *sums) {
    (void)left;
    for (int32_t k = 0; k < 4; ++k, sums += 4) {
        const int8_t *own = w + (k & 2) + (k & 1) * 4;
        const int16_t *number = numbers;
        int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        for (int32_t o = 0; o < n; o += 2, own += 2 * apart, number += 8) {
            const int32_t p = own[0], q = own[1];
            s0 += number[0] * p + number[1] * q;
            s1 += number[2] * p + number[3] * q;
            s2 += number[4] * p + number[5] * q;
            s3 += number[6] * p + number[7] * q;
        }
        sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
    }
}
#endif

#ifndef LL_OWN_LESS
/* Four numbers less their zero point. */
LL_INLINE void ll_less_4(const int8_t *v, int32_t zero, int32_t *n) {
    n[0] = v[0] - zero, n[1] = v[1] - zero, n[2] = v[2] - zero, n[3] = v[3] - zero;
}
#endif

#ifndef LL_OWN_BETWEEN
/* Bit k: low < x[k] < high, of eight numbers. */
LL_INLINE uint32_t ll_between_8(const int8_t *x, int32_t low, int32_t high) {
    uint32_t bits = 0;
    for (int32_t k = 0; k < 8; ++k) {
        bits |= (uint32_t)(x[k] > low && x[k] < high) << k;
    }
    return bits;
}
#endif

/* `ll_dot_s8` for halves of bytes: those of one byte together. */
LL_INLINE int32_t ll_dot_s8_s4(const int8_t *x, const ll_s4 *w, int32_t at, int32_t zero, int32_t n,
                               int32_t acc) {
    int32_t i = at & 1;
    if (i && n > 0) {
        acc = ll_wrap_add(acc, x[0] * ll_weight_ll_s4(w, at, zero));
    }
    for (; i + 1 < n; i += 2) {
        const int32_t pair = (int8_t)w[(at + i) >> 1];
        const int32_t low = ((pair & 15) ^ 8) - 8;
        acc = ll_wrap_add(acc, x[i] * low + x[i + 1] * (pair >> 4));
    }
    if (i < n) {
        acc = ll_wrap_add(acc, x[i] * ll_weight_ll_s4(w, at + i, zero));
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

/* The same without the saturation, for b > -2^31. */
#ifndef LL_OWN_REQUANT
LL_INLINE int32_t ll_mulh_near(int32_t a, int32_t b) {
    return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}
#endif

/* a * mult / 2^31 * 2^shift with TFLite's double rounding.  -31 <= shift <= 30, mult >= 0. */
LL_INLINE int32_t ll_requant(int32_t a, int32_t mult, int32_t shift) {
    int32_t left = ll_max(shift, 0);
    int32_t right = ll_max(-shift, 0);
    return ll_shr_round(ll_mulh_near(ll_wrap_shl(a, left), mult), right);
}

/* Less one where a is negative: with half a unit added, a shift rounds ties away from zero. */
LL_INLINE int32_t ll_away(int32_t a) {
    return a + (a >> 31);
}

/* The same with one rounding (ties up), as LiteRT's single-rounding build has it. */
LL_INLINE int32_t ll_requant_once(int32_t a, int32_t mult, int32_t shift) {
    int32_t total = 31 - shift;
    int64_t round = (int64_t)1 << (total - 1);
    return (int32_t)(((int64_t)a * mult + round) >> total);
}

/* v cut off to [low, high] (small integers), to the nearest integer, of two the even one: 1.5 *
 * 2^23 leaves no bit below one, so that adding it rounds. */
#ifndef LL_OWN_ROUND_EVEN
LL_INLINE int32_t ll_round_even(float v, int32_t low, int32_t high) {
    v = v < (float)low ? (float)low : v;
    v = v > (float)high ? (float)high : v;
    union {
        float value;
        int32_t bits;
    } u = {v + 12582912.0f};
    return u.bits - 0x4B400000;
}
#endif

/* a * scale in float, rounded so: ONNX Runtime's requantisation. */
LL_INLINE int32_t ll_scale_float(int32_t a, float scale, int32_t low, int32_t high) {
    return ll_round_even((float)a * scale, low, high);
}

/* The same without an FPU.  scale = m / 2^e, and the exact a * m rounds as its float does unless it
 * lies near the middle of two integers: up to 512 the two roundings of the float, of a and of the
 * product, are below 2^-13 together. */
LL_INLINE int32_t ll_scale_exact(int32_t a, float scale, int32_t low, int32_t high) {
    union {
        float value;
        uint32_t bits;
    } u = {scale};
    const int32_t e = 150 - (int32_t)(u.bits >> 23);
    if (e < 14 || e > 55) {
        return ll_scale_float(a, scale, low, high);
    }
    const int64_t product = (int64_t)a * (int32_t)((u.bits & 0x007FFFFFU) | 0x00800000U);
    const int64_t whole = product >> e;
    if (whole < -512 || whole > 511) {
        return whole < 0 ? low : high;
    }
    const int64_t rest = product - whole * ((int64_t)1 << e) - ((int64_t)1 << (e - 1));
    const int64_t near = (int64_t)1 << (e - 13);
    if (rest < near && rest > -near) {
        return ll_scale_float(a, scale, low, high);
    }
    const int32_t r = (int32_t)whole + (rest > 0);
    return r < low ? low : r > high ? high : r;
}

#if defined(__ARM_FP) || defined(__riscv_flen) || !(defined(__arm__) || defined(__riscv))
#define ll_scale_even ll_scale_float
#else
#define ll_scale_even ll_scale_exact
#endif

/* 64-bit accumulators (int16 activations): a multiplier of 15 bits, one rounding. */
LL_INLINE int32_t ll_requant_s64(int64_t a, int32_t mult, int32_t shift) {
    int32_t reduced = mult < 0x7FFF0000 ? (mult + (1 << 15)) >> 16 : 0x7FFF;
    int32_t total = 15 - shift;
    int64_t round = (int64_t)1 << (total - 1);
    return (int32_t)((a * reduced + round) >> total);
}

/* Bytes of the buffers of `generic_winograd.h`: a group of columns, a group of tiles, the sums of
 * two channels. */
#define LL_WINOGRAD_COLUMNS 320
#define LL_WINOGRAD_TILES 512
#define LL_WINOGRAD_SUMS 256

/* What Helium does in lanes.  A kernel that uses these makes all channels of a pixel at a time. */
#ifndef LL_OWN_LANES
/* sums[c - c0] = bias[c] + sum over `count` taps of taps[tap][c] * weight, c0 <= c < c1; a tap's
 * weights lie `apart` from those of the tap before, and none is -128.  There is room for sums of
 * sixteen channels or a multiple of it. */
LL_INLINE void ll_taps_lanes(const int8_t *const *taps, int32_t count, const int8_t *weights,
                             int32_t apart, const int32_t *bias, int32_t *sums, int32_t c0,
                             int32_t c1) {
    for (int32_t c = c0; c < c1; ++c) {
        int32_t acc = bias[c];
        for (int32_t t = 0; t < count; ++t) {
            acc = ll_wrap_add(acc, taps[t][c] * weights[t * apart + c]);
        }
        sums[c - c0] = acc;
    }
}

/* Sums become int8 with zero point `zero`, by TFLite's double rounding; -31 <= shift <= 30. */
LL_INLINE void ll_requant_lanes(int32_t *sums, int32_t n, const int32_t *mult, const int32_t *shift,
                                int32_t zero) {
    for (int32_t i = 0; i < n; ++i) {
        const int32_t scaled = ll_requant(sums[i], mult[i], shift[i]);
        sums[i] = ll_clamp(scaled, -128 - zero, 127 - zero) + zero;
    }
}
#endif

#endif

/* What kernels gain from an instruction set, in portable C: the definition of every primitive
 * that the other headers of this folder write in instructions of theirs.
 *
 * Products of int8 go through a column: the numbers that one output pixel is made of, widened
 * to int16, in groups of four.  A group of numbers (k0, k1, k2, k3) is stored as the pairs
 * (k0, k2) and (k1, k3), which is the order in which an instruction widens every other byte of a
 * word.  Four columns lie interleaved, a pair of each after the other, so that one walk through
 * memory feeds four pixels; a single column is dense.
 *
 * Weights come as the kernel's packing has laid them out: output channels in twos (P, Q), for
 * each group the bytes P.k0 Q.k0 P.k2 Q.k2 and P.k1 Q.k1 P.k3 Q.k3.  In the joined form the two
 * bytes of P.k and Q.k are the 16-bit number 256 Q + P: half of the widening is saved, since
 * the sum over 256 Q + P less the sum over P is 256 times the sum over Q.  That holds where
 * sums fit in 24 bits, which is proven of the weights before the form is chosen.  In the wide
 * form weights are int16: P.k0 P.k2 Q.k0 Q.k2, P.k1 P.k3 Q.k1 Q.k3.
 */
#ifndef LL_GENERIC_H
#define LL_GENERIC_H

#include "base.h"
#include "generic_winograd.h"

/* c + the high 32 bits of 2ab for a that is doubled already, rounded to nearest (ties up). */
#ifndef LL_OWN_REQUANT
LL_INLINE int32_t ll_mulh_add(int32_t twice_a, int32_t b, int32_t c) {
    return ll_wrap_add((int32_t)(((int64_t)twice_a * b + ((int64_t)1 << 31)) >> 32), c);
}

LL_INLINE int32_t ll_sat8(int32_t v) {
    return ll_clamp(v, -128, 127);
}
#endif

/* Of v / 2^n, rounded down; n is a literal, 1 to 31. */
#define LL_SAT8_SHR(v, n) ll_sat8((v) >> (n))

/* Four columns from the groups of four bytes at `from`. */
LL_INLINE void ll_columns_4(int16_t *to, const int8_t *const *from, int32_t groups) {
    for (int32_t g = 0; g < groups; ++g) {
        for (int32_t k = 0; k < 4; ++k) {
            for (int32_t p = 0; p < 4; ++p) {
                to[g * 16 + (k & 1) * 8 + p * 2 + (k >> 1)] = from[p][g * 4 + k];
            }
        }
    }
}

LL_INLINE void ll_columns_1(int16_t *to, const int8_t *from, int32_t groups) {
    for (int32_t g = 0; g < groups; ++g) {
        for (int32_t k = 0; k < 4; ++k) {
            to[g * 4 + (k & 1) * 2 + (k >> 1)] = from[g * 4 + k];
        }
    }
}

/* Two rows of weights as `ll_sums_wide` wants them. */
LL_INLINE void ll_columns_2(int16_t *to, const int8_t *p, const int8_t *q, int32_t groups) {
    for (int32_t g = 0; g < groups; ++g) {
        for (int32_t k = 0; k < 4; ++k) {
            int16_t *const at = to + g * 8 + (k & 1) * 4 + (k >> 1);
            at[0] = p[g * 4 + k];
            at[2] = q[g * 4 + k];
        }
    }
}

/* `count` numbers of four columns, a multiple of four, less `zero`. */
LL_INLINE void ll_columns_less(int16_t *columns, int32_t zero, int32_t count) {
    for (int32_t i = 0; i < count * 4; ++i) {
        columns[i] = (int16_t)(columns[i] - zero);
    }
}

/* Element i of column p of `pixels`. */
LL_INLINE int32_t ll_column_at(const int16_t *columns, int32_t pixels, int32_t p, int32_t i) {
    return columns[((i >> 2) * 4 + ((i >> 1) & 1) * 2) * pixels + p * 2 + (i & 1)];
}

/* sums[P, Q][pixel] = bias + sum of columns * weights, for `twos` twos of channels and `pixels`
 * columns: the common definition of the functions below it. */
LL_INLINE void ll_sums_of(const int16_t *columns, const int8_t *weights, const int32_t *bias,
                          int32_t *sums, int32_t groups, int32_t twos, int32_t pixels,
                          int32_t joined) {
    for (int32_t two = 0; two < twos; ++two, weights += groups * 8) {
        for (int32_t p = 0; p < pixels; ++p) {
            int32_t low = bias[two * 2], high = bias[two * 2 + 1];
            for (int32_t i = 0; i < groups * 4; ++i) {
                const int32_t x = ll_column_at(columns, pixels, p, i), a = weights[i * 2];
                low = ll_wrap_add(low, x * a);
                high = ll_wrap_add(high, x * (weights[i * 2 + 1] + (joined && a < 0)));
            }
            sums[two * 2 * pixels + p] = low;
            sums[(two * 2 + 1) * pixels + p] = high;
        }
    }
}

LL_INLINE void ll_sums_wide_of(const int16_t *columns, const int16_t *weights, const int32_t *bias,
                               int32_t *sums, int32_t groups, int32_t twos, int32_t pixels) {
    for (int32_t c = 0; c < twos * 2; ++c) {
        const int16_t *own = weights + c / 2 * groups * 8 + c % 2 * 2;
        for (int32_t p = 0; p < pixels; ++p) {
            int32_t sum = bias[c];
            for (int32_t i = 0; i < groups * 4; ++i) {
                const int32_t x = ll_column_at(columns, pixels, p, i);
                sum = ll_wrap_add(sum, x * own[i / 2 * 4 + i % 2]);
            }
            sums[c * pixels + p] = sum;
        }
    }
}

/* `twos` >= 1, `groups` >= 1; columns, weights, bias and sums at addresses of whole words. */
#define LL_SUMS_OF(name, type, call, ...)                                                          \
    LL_INLINE void name(const int16_t *columns, const type *weights, const int32_t *bias,          \
                        int32_t *sums, int32_t groups, int32_t twos) {                             \
        call(columns, weights, bias, sums, groups, twos, __VA_ARGS__);                             \
    }

LL_SUMS_OF(ll_sums_4, int8_t, ll_sums_of, 4, 0)
LL_SUMS_OF(ll_sums_1, int8_t, ll_sums_of, 1, 0)
LL_SUMS_OF(ll_sums_joined_4, int8_t, ll_sums_of, 4, 1)
LL_SUMS_OF(ll_sums_joined_1, int8_t, ll_sums_of, 1, 1)
LL_SUMS_OF(ll_sums_wide_4, int16_t, ll_sums_wide_of, 4)
LL_SUMS_OF(ll_sums_wide_1, int16_t, ll_sums_wide_of, 1)

/* sums[P, Q][pixel] += sum of four columns * weights as they lie, rows of channels that begin
 * `depth` bytes after one another, anywhere, for `twos` twos of channels. */
LL_INLINE void ll_rows_4(const int16_t *columns, const int8_t *weights, int32_t *sums,
                         int32_t groups, int32_t depth, int32_t twos) {
    for (int32_t c = 0; c < twos * 2; ++c, weights += depth) {
        for (int32_t p = 0; p < 4; ++p) {
            int32_t sum = sums[c * 4 + p];
            for (int32_t k = 0; k < groups * 4; ++k) {
                /* in a group lie the numbers k0, k2, k1, k3 */
                const int32_t i = (k & ~3) | ((k & 1) << 1) | ((k >> 1) & 1);
                sum = ll_wrap_add(sum, ll_column_at(columns, 4, p, i) * weights[k]);
            }
            sums[c * 4 + p] = sum;
        }
    }
}

/* sums[P, Q][pixel] = bias + sum of bytes * weights for `twos` twos of channels and two pixels,
 * whose bytes are `count` runs of `groups` groups of four: runs[run][pixel], anywhere.  Weights
 * are laid out as those of columns are. */
LL_INLINE void ll_pairs_of(const int8_t *const *runs, const int8_t *weights, const int32_t *bias,
                           int32_t *sums, int32_t count, int32_t groups, int32_t twos,
                           int32_t joined) {
    for (int32_t two = 0; two < twos; ++two, sums += 4) {
        int32_t low[2] = {bias[two * 2], bias[two * 2]};
        int32_t high[2] = {bias[two * 2 + 1], bias[two * 2 + 1]};
        for (int32_t run = 0; run < count; ++run, weights += groups * 8) {
            for (int32_t i = 0; i < groups * 4; ++i) {
                /* in a group lie the numbers k0, k2, k1, k3 */
                const int32_t k = (i & ~3) | ((i & 1) << 1) | ((i >> 1) & 1);
                const int32_t p = weights[i * 2], q = weights[i * 2 + 1] + (joined && p < 0);
                for (int32_t x = 0; x < 2; ++x) {
                    const int32_t v = runs[run * 2 + x][k];
                    low[x] = ll_wrap_add(low[x], v * p);
                    high[x] = ll_wrap_add(high[x], v * q);
                }
            }
        }
        sums[0] = low[0];
        sums[1] = low[1];
        sums[2] = high[0];
        sums[3] = high[1];
    }
}

LL_INLINE void ll_pairs(const int8_t *const *runs, const int8_t *weights, const int32_t *bias,
                        int32_t *sums, int32_t count, int32_t groups, int32_t twos) {
    ll_pairs_of(runs, weights, bias, sums, count, groups, twos, 0);
}

LL_INLINE void ll_pairs_joined(const int8_t *const *runs, const int8_t *weights,
                               const int32_t *bias, int32_t *sums, int32_t count, int32_t groups,
                               int32_t twos) {
    ll_pairs_of(runs, weights, bias, sums, count, groups, twos, 1);
}

LL_INLINE void ll_pairs_wide(const int8_t *const *runs, const int16_t *weights, const int32_t *bias,
                             int32_t *sums, int32_t count, int32_t groups, int32_t twos) {
    for (int32_t two = 0; two < twos; ++two) {
        for (int32_t i = 0; i < 4; ++i) {
            int32_t sum = bias[two * 2 + i / 2];
            for (int32_t k = 0; k < count * groups * 4; ++k) {
                /* pairs (k0, k2) of P, of Q, then (k1, k3) */
                const int32_t at = (k & 1) * 4 + ((k >> 1) & 1) + i / 2 * 2 + k / 4 * 8;
                const int32_t v = runs[k / 4 / groups * 2 + i % 2][k % (groups * 4)];
                sum = ll_wrap_add(sum, v * weights[at]);
            }
            *sums++ = sum;
        }
        weights += count * groups * 8;
    }
}

/* sums[c][pixel] = bias[c] + sum over `count` taps of taps[tap][pixel][channel + c] * weight, for
 * four channels c and the first `pixels` of four.  A tap's weights lie in the order c0, c2, c1, c3.
 */
LL_INLINE void ll_taps_four(const int8_t *const *taps, const int16_t *weights, const int32_t *bias,
                            int32_t *sums, int32_t count, int32_t channel, int32_t pixels) {
    static const int8_t place[4] = {0, 2, 1, 3};
    for (int32_t c = 0; c < 4; ++c) {
        for (int32_t i = 0; i < pixels; ++i) {
            int32_t sum = bias[c];
            for (int32_t t = 0; t < count; ++t) {
                sum = ll_wrap_add(sum, taps[t * 4 + i][channel + c] * weights[t * 4 + place[c]]);
            }
            sums[c * 4 + i] = sum;
        }
    }
}

/* Sums of a depthwise convolution of one channel: `rows` rows of `width` pixels, in `sums` without
 * gaps.  `plane` is the first window's first number in a copy of the channel with its padding,
 * whose rows are `row` bytes apart.  Weights are pairs for each of `kh` rows: (0, 2) (1, 3) (4, 6)
 * (5, -) of seven, (0, 2) (1, 3) (4, -) of five, (0, 2) (1, -) of three.  `width`
 * is a whole number of steps: two pixels of windows of three, four of others; a step reads whole
 * words of every row. */
LL_INLINE void ll_windows_of(const int8_t *plane, const int16_t *weights, int32_t bias,
                             int32_t *sums, int32_t row, int32_t kh, int32_t rows, int32_t width,
                             int32_t kw, int32_t stride) {
    static const int8_t place[7] = {0, 2, 1, 3, 4, 6, 5};
    const int32_t room = kw + 1;
    for (int32_t y = 0; y < rows; ++y) {
        for (int32_t x = 0; x < width; ++x) {
            const int8_t *window = plane + y * stride * row + x * stride;
            int32_t sum = bias;
            for (int32_t k = 0; k < kh; ++k) {
                for (int32_t j = 0; j < kw; ++j) {
                    sum = ll_wrap_add(sum, window[k * row + j] * weights[k * room + place[j]]);
                }
            }
            *sums++ = sum;
        }
    }
}

#define LL_WINDOWS_OF(name, kw, stride)                                                            \
    LL_INLINE void name(const int8_t *plane, const int16_t *weights, int32_t bias, int32_t *sums,  \
                        int32_t row, int32_t kh, int32_t rows, int32_t width) {                    \
        ll_windows_of(plane, weights, bias, sums, row, kh, rows, width, kw, stride);               \
    }

LL_WINDOWS_OF(ll_windows_3_1, 3, 1)
LL_WINDOWS_OF(ll_windows_3_2, 3, 2)
LL_WINDOWS_OF(ll_windows_5_1, 5, 1)
LL_WINDOWS_OF(ll_windows_5_2, 5, 2)
LL_WINDOWS_OF(ll_windows_7_1, 7, 1)
LL_WINDOWS_OF(ll_windows_7_2, 7, 2)

#endif

/* The three loops of Winograd's convolution F(2x2, 3x3), in portable C: the definition of what
 * `dsp_winograd.h` writes in instructions.
 *
 * A tile is a window of 4x4 pixels that gives 2x2 pixels of the result.  Four tiles beside one
 * another share ten columns of the map.  Everything is int16, in pairs of channels as `generic.h`
 * has them: of a group of four channels the pairs (k0, k2) and (k1, k3).
 *
 *     columns  [group][10 columns][2 pairs][4 rows]       rows transformed
 *     tiles    [pair][16 positions][4 tiles]              columns transformed too
 *     weights  [two channels][16 positions][pair][P, Q]
 *     sums     [two channels][4 rows][right, left][P, Q][4 tiles]      int32, modulo 2^32
 *
 * Each axis of a window is transformed by
 *
 *     0: d0 - d2      1: d1 + d2      2: d2 - d1      3: d1 - d3
 *
 * Positions count through the rows 0, 1, 2, 3 and in each through the columns 1, 2, 3, 0.  Of the
 * sums m over channels at the four columns of a row, the back transform wants
 *
 *     left: m0 + m1 + m2      right: m1 - m2 - m3
 *
 * so that m0 is summed on top of m1 + m2, and m3, whose weights are stored negative, on top of
 * m1 - m2: no sum is kept but these.
 */
#ifndef LL_GENERIC_WINOGRAD_H
#define LL_GENERIC_WINOGRAD_H

#include "base.h"

/* Transform i of the four numbers. */
LL_INLINE int16_t ll_winograd_axis(int32_t i, int32_t d0, int32_t d1, int32_t d2, int32_t d3) {
    const int32_t every[4] = {d0 - d2, d1 + d2, d2 - d1, d1 - d3};
    return (int16_t)every[i];
}

/* One column of `groups` groups from the pixels at rows[0..3]; `to` is its place in `columns`. */
LL_INLINE void ll_winograd_columns(int16_t *to, const int8_t *const *rows, int32_t groups) {
    for (int32_t k = 0; k < groups * 4; ++k) {
        int16_t *pair = to + (k >> 2) * (LL_WINOGRAD_COLUMNS / 2) + (k & 1) * 8 + ((k >> 1) & 1);
        for (int32_t i = 0; i < 4; ++i) {
            pair[i * 2] = ll_winograd_axis(i, rows[0][k], rows[1][k], rows[2][k], rows[3][k]);
        }
    }
}

LL_INLINE void ll_winograd_rows(int16_t *to, const int16_t *columns, int32_t groups) {
    for (int32_t at = 0; at < groups * 256; ++at) {
        /* element of `to`: pair, row, place among the columns, tile, half */
        const int32_t pair = at >> 7, row = (at >> 5) & 3, j = ((at >> 3) + 1) & 3;
        const int16_t *d = columns + (pair >> 1) * (LL_WINOGRAD_COLUMNS / 2) + (pair & 1) * 8 +
                           row * 2 + ((at >> 1) & 3) * 32 + (at & 1);
        to[at] = ll_winograd_axis(j, d[0], d[16], d[32], d[48]);
    }
}

/* Sum over pairs of channels at one position of one tile and one output channel. */
LL_INLINE int32_t ll_winograd_dot(const int16_t *tiles, const int16_t *weights, int32_t pairs,
                                  int32_t sum) {
    for (int32_t k = 0; k < pairs; ++k, tiles += LL_WINOGRAD_TILES / 4, weights += 4) {
        sum = ll_wrap_add(sum, tiles[0] * weights[0]);
        sum = ll_wrap_add(sum, tiles[1] * weights[1]);
    }
    return sum;
}

/* Of `twos` twos of channels; `pairs` is even. */
LL_INLINE void ll_winograd_sums(const int16_t *tiles, const int16_t *weights, int32_t *sums,
                                int32_t pairs, int32_t twos) {
    for (int32_t row = 0; row < twos * 4; ++row, weights += pairs * 16, sums += 16) {
        for (int32_t at = 0; at < 8; ++at) {
            const int16_t *v = tiles + (row & 3) * 32 + (at & 3) * 2, *u = weights + (at >> 2) * 2;
            const int32_t m1 = ll_winograd_dot(v, u, pairs, 0);
            const int32_t m2 = ll_winograd_dot(v + 8, u + pairs * 4, pairs, 0);
            const int32_t apart = (int32_t)((uint32_t)m1 - (uint32_t)m2);
            sums[at] = ll_winograd_dot(v + 16, u + pairs * 8, pairs, apart);
            sums[at + 8] = ll_winograd_dot(v + 24, u + pairs * 12, pairs, ll_wrap_add(m1, m2));
        }
    }
}

#endif

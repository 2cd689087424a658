/* Sums of products of floats, 4 by 4 of them at a time: they stay in registers, and each factor is
 * loaded, and converted, for four products.  Each sum has its own order; a tile does not change it.
 */
#ifndef LL_TILES_H
#define LL_TILES_H

#define LL_SIDE 4

#define LL_SQUARE_ZERO                                                                               \
    float s00 = 0.0f, s01 = 0.0f, s02 = 0.0f, s03 = 0.0f;                                          \
    float s10 = 0.0f, s11 = 0.0f, s12 = 0.0f, s13 = 0.0f;                                          \
    float s20 = 0.0f, s21 = 0.0f, s22 = 0.0f, s23 = 0.0f;                                          \
    float s30 = 0.0f, s31 = 0.0f, s32 = 0.0f, s33 = 0.0f;

/* A row of the tile: its factor times each of the columns' t0 .. t3. */
#define LL_SQUARE_ROW(i, factor)                                                                     \
    {                                                                                              \
        const float f = factor;                                                                    \
        s##i##0 += f * t0;                                                                         \
        s##i##1 += f * t1;                                                                         \
        s##i##2 += f * t2;                                                                         \
        s##i##3 += f * t3;                                                                         \
    }

#define LL_SQUARE_KEEP(sums)                                                                         \
    sums[0][0] = s00, sums[0][1] = s01, sums[0][2] = s02, sums[0][3] = s03;                        \
    sums[1][0] = s10, sums[1][1] = s11, sums[1][2] = s12, sums[1][3] = s13;                        \
    sums[2][0] = s20, sums[2][1] = s21, sums[2][2] = s22, sums[2][3] = s23;                        \
    sums[3][0] = s30, sums[3][1] = s31, sums[3][2] = s32, sums[3][3] = s33;

#endif

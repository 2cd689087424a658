/* Armv7E-M cores that issue two instructions a cycle: Cortex-M7.
 *
 * As `dsp.h`, but for the sums that nearly all time goes to.  A pair of words from memory is never
 * issued beside another instruction there, and a product waits two cycles for a word; single words
 * that are loaded beside the products of those before cost nothing.
 */
#ifndef LL_DSP_DUAL_H
#define LL_DSP_DUAL_H

#ifdef __ARM_FEATURE_DSP
#define LL_OWN_SUMS_4
#define LL_DUAL
#endif
#include "dsp.h"
#ifdef __ARM_FEATURE_DSP

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* clang-format off */
/* Sums over four columns ------------------------------------------------------------------
 * Registers and stack: `dsp.h`, but 16 is eight bytes before the end of the columns.  Each tile
 * loads the first two numbers of the next one, in r2 and r3, and in lr the weights of Q, or those
 * of both; r12 is free between tiles.  16 products take 8 cycles, of weights apart 9. */
#define LL_DUAL_LAST(p2, p3, q2, q3)                                                               \
    LL_ASM(smlad r6, r2, r12, p2)                                                                  \
    LL_ASM(smlad r10, r2, lr, q2)                                                                  \
    LL_ASM(smlad r11, r3, lr, q3)                                                                  \
    LL_ASM(smlad r7, r3, r12, p3)

#define LL_DUAL_NEXT(next, p2, p3, q2, q3)                                                         \
    LL_ASM(smlad r6, r2, r12, p2)                                                                  \
    LL_ASM(smlad r10, r2, lr, q2)                                                                  \
    LL_ASM_N("ldr r2, [r0], #4")                                                                   \
    LL_ASM(smlad r11, r3, lr, q3)                                                                  \
    next                                                                                           \
    LL_ASM(smlad r7, r3, r12, p3)                                                                  \
    LL_ASM_N("ldr r3, [r0], #4")

/* The first half of a tile, where the weights of Q are there first ... */
#define LL_DUAL_Q(weights, p0, p1, q0, q1)                                                         \
    weights                                                                                        \
    LL_ASM(smlad r8, r2, lr, q0)                                                                   \
    LL_ASM(smlad r9, r3, lr, q1)                                                                   \
    LL_ASM(smlad r4, r2, r12, p0)                                                                  \
    LL_ASM_N("ldr r2, [r0], #4")                                                                   \
    LL_ASM(smlad r5, r3, r12, p1)                                                                  \
    LL_ASM_N("ldr r3, [r0], #4")
#define LL_DUAL_WIDE(...) LL_DUAL_Q(LL_ASM_N("ldr r12, [r1], #8"), __VA_ARGS__)
#define LL_DUAL_JOINED(...) LL_DUAL_Q(LL_ASM(sxtb16 r12, lr), __VA_ARGS__)

/* ... and where those of P are. */
#define LL_DUAL_APART(p0, p1, q0, q1)                                                              \
    LL_ASM(sxtb16 r12, lr)                                                                         \
    LL_ASM_N("sxtb16 lr, lr, ror #8")                                                              \
    LL_ASM(smlad r4, r2, r12, p0)                                                                  \
    LL_ASM(smlad r5, r3, r12, p1)                                                                  \
    LL_ASM(smlad r8, r2, lr, q0)                                                                   \
    LL_ASM_N("ldr r2, [r0], #4")                                                                   \
    LL_ASM(smlad r9, r3, lr, q1)                                                                   \
    LL_ASM_N("ldr r3, [r0], #4")

#define LL_DUAL_TILE(half, next)                                                                   \
    half(r4, r5, r8, r9)                                                                           \
    LL_DUAL_NEXT(next, r6, r7, r10, r11)
#define LL_DUAL_SUMS_4(name, type, half, next, join, part)                                         \
    LL_SUMS_4_OF(name, type, LL_ASM_N("sub r2, r2, #8"),                                           \
                 join next LL_ASM_N("ldrd r2, r3, [r0], #8") half(r7, r7, r11, r11)                \
                     LL_DUAL_NEXT(next, r7, r7, r11, r11),                                         \
                 LL_DUAL_TILE(half, next) LL_DUAL_TILE(half, next), r12,                           \
                 half(r4, r5, r8, r9) LL_DUAL_LAST(r6, r7, r10, r11) part)

#define LL_DUAL_BOTH LL_ASM_N("ldr lr, [r1], #4")
LL_DUAL_SUMS_4(ll_sums_4, int8_t, LL_DUAL_APART, LL_DUAL_BOTH, "", "")
LL_DUAL_SUMS_4(ll_sums_joined_4, int8_t, LL_DUAL_JOINED, LL_DUAL_BOTH, LL_JOIN(r7, r11), LL_PART_4)
LL_DUAL_SUMS_4(ll_sums_wide_4, int16_t, LL_DUAL_WIDE, LL_ASM_N("ldr lr, [r1, #4]"), "", "")
/* clang-format on */

#pragma GCC diagnostic pop

#endif
#endif

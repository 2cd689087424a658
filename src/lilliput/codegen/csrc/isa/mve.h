/* Armv8.1-M with Helium: sixteen products of int8 an instruction.
 *
 * Definitions: `base.h` and `generic.h`; what is not here is that of `dsp.h`.  Tails are
 * predicated: lanes beyond the end are neither read nor written.  A compiler for another processor
 * gets the portable twins.
 */
#ifndef LL_MVE_H
#define LL_MVE_H

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
#define LL_OWN_FOURS
#define LL_OWN_LANES
#endif
#include "dsp.h"

#ifdef LL_OWN_LANES
#include <arm_mve.h>

LL_INLINE int32_t ll_run_of_one(int32_t acc, const int8_t *x, const int8_t *w, int32_t n) {
    for (; n > 0; n -= 16, x += 16, w += 16) {
        const mve_pred16_t p = vctp8q((uint32_t)n);
        acc = vmladavaq_s8(acc, vldrbq_z_s8(x, p), vldrbq_z_s8(w, p));
    }
    return acc;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* Ten instructions of the inner loop are 64 products.  Bytes beyond a run's end are not read, but
 * addresses go on by sixteen each turn, and come back by what that is too much.
 *
 * r0, r1 the next run and the end of runs, r2 n; r3, r5, r7, r9 weights, r12 bytes of the map; sums
 * r4, r6, r8, r10; lr turns.  On the stack: 0 bytes of a channel, 4 first run, 8 bytes too much; of
 * the caller, 48 bias, 52 sums, 56 fours of channels. */
LL_ASSEMBLY void ll_whole_fours(const int8_t *const *runs, int32_t count, int32_t n,
                                const int8_t *weights, const int32_t *bias, int32_t *sums,
                                int32_t fours) {
    __asm__ volatile("push {r4-r11, lr}\n\t"
                     "sub sp, #12\n\t"
                     "mul r4, r1, r2\n\t"
                     "strd r4, r0, [sp]\n\t"
                     "rsbs r4, r2, #0\n\t"
                     "and r4, r4, #15\n\t"
                     "str r4, [sp, #8]\n\t"
                     "add r1, r0, r1, lsl #2\n"
                     "4:\n\t"
                     "ldr r11, [sp, #48]\n\t"
                     "ldr r4, [r11], #4\n\t"
                     "ldr r6, [r11], #4\n\t"
                     "ldr r8, [r11], #4\n\t"
                     "ldr r10, [r11], #4\n\t"
                     "str r11, [sp, #48]\n\t"
                     "ldrd r11, r0, [sp]\n\t"
                     "add r5, r3, r11\n\t"
                     "add r7, r5, r11\n\t"
                     "add r9, r7, r11\n\t"
                     "ldr r11, [sp, #8]\n"
                     "3:\n\t"
                     "ldr r12, [r0], #4\n\t"
                     "dlstp.8 lr, r2\n"
                     "1:\n\t"
                     "vldrb.8 q0, [r12], #16\n\t"
                     "vldrb.8 q1, [r3], #16\n\t"
                     "vmladava.s8 r4, q0, q1\n\t"
                     "vldrb.8 q2, [r5], #16\n\t"
                     "vmladava.s8 r6, q0, q2\n\t"
                     "vldrb.8 q1, [r7], #16\n\t"
                     "vmladava.s8 r8, q0, q1\n\t"
                     "vldrb.8 q2, [r9], #16\n\t"
                     "vmladava.s8 r10, q0, q2\n\t"
                     "letp lr, 1b\n\t"
                     "sub r3, r3, r11\n\t"
                     "sub r5, r5, r11\n\t"
                     "sub r7, r7, r11\n\t"
                     "sub r9, r9, r11\n\t"
                     "cmp r0, r1\n\t"
                     "bne 3b\n\t"
                     "mov r3, r9\n\t"
                     "ldr r11, [sp, #52]\n\t"
                     "str r4, [r11], #4\n\t"
                     "str r6, [r11], #4\n\t"
                     "str r8, [r11], #4\n\t"
                     "str r10, [r11], #4\n\t"
                     "str r11, [sp, #52]\n\t"
                     "ldr r11, [sp, #56]\n\t"
                     "subs r11, r11, #1\n\t"
                     "str r11, [sp, #56]\n\t"
                     "bne 4b\n\t"
                     "add sp, #12\n\t"
                     "pop {r4-r11, pc}");
}

LL_INLINE void ll_fours(const int8_t *const *runs, int32_t count, int32_t n, const int8_t *weights,
                        const int32_t *bias, int32_t *sums, int32_t channels) {
    const int32_t whole = channels / 4 * 4;
    if (whole) {
        ll_whole_fours(runs, count, n, weights, bias, sums, whole / 4);
    }
    weights += whole * count * n;
    for (int32_t c = whole; c < channels; ++c) {
        sums[c] = bias[c];
        for (int32_t k = 0; k < count; ++k, weights += n) {
            sums[c] = ll_run_of_one(sums[c], runs[k], weights, n);
        }
    }
}

/* A tap of sixteen channels, q4, times its weights.  Two products of a lane fit in 16 bits, since
 * no weight is -128, so that the first tap of two goes to q6 and q5 (even and odd lanes) and the
 * second joins it before they are widened. */
#define LL_FIRST_TAP(load)                                                                         \
    "ldr r5, [r0], #4\n\t"                                                                         \
    "add r5, r5, r6\n\t" load("q4", "r5") load("q5", "r2") "add r2, r2, r3\n\t"                    \
                                                           "vmullb.s8 q6, q4, q5\n\t"              \
                                                           "vmullt.s8 q5, q4, q5\n\t"
#define LL_SECOND_TAP(load)                                                                        \
    "ldr r5, [r0], #4\n\t"                                                                         \
    "add r5, r5, r6\n\t" load("q4", "r5")                                                          \
        load("q7", "r2") "add r2, r2, r3\n\t"                                                      \
                         "vmullb.s8 q4, q4, q7\n\t"                                                \
                         "vadd.i16 q6, q6, q4\n\t" load("q4", "r5") "vmullt.s8 q4, q4, q7\n\t"     \
                                                                    "vadd.i16 q5, q5, q4\n\t"
#define LL_WIDEN                                                                                   \
    "vmovlb.s16 q4, q6\n\t"                                                                        \
    "vadd.i32 q0, q0, q4\n\t"                                                                      \
    "vmovlb.s16 q4, q5\n\t"                                                                        \
    "vadd.i32 q1, q1, q4\n\t"                                                                      \
    "vmovlt.s16 q4, q6\n\t"                                                                        \
    "vadd.i32 q2, q2, q4\n\t"                                                                      \
    "vmovlt.s16 q4, q5\n\t"                                                                        \
    "vadd.i32 q3, q3, q4\n\t"
#define LL_EVERY_TAP(load)                                                                         \
    "lsrs r1, r1, #1\n\t"                                                                          \
    "bcc 3f\n\t" LL_FIRST_TAP(load) LL_WIDEN "cmp r1, #0\n\t"                                      \
                                             "beq 9f\n"                                            \
                                             "3:\n\t" LL_FIRST_TAP(load) LL_SECOND_TAP(load)       \
                                                 LL_WIDEN "subs r1, r1, #1\n\t"                    \
                                                          "bne 3b\n\t"
#define LL_ALL_LANES(q, at) "vldrb.8 " q ", [" at "]\n\t"
#define LL_SOME_LANES(q, at)                                                                       \
    "vpst\n\t"                                                                                     \
    "vldrbt.8 " q ", [" at "]\n\t"

/* Sums of channels c to c + 15, of which `lanes` are there; they start from the 16 words at
 * `start`. Lanes 0, 4, .. gather in q0, 1, 5, .. in q1 and so on, which `vst4` puts in order. */
LL_ASSEMBLY void ll_taps_16(const int8_t *const *taps, int32_t count, const int8_t *weights,
                            int32_t apart, const int32_t *start, int32_t *sums, int32_t c,
                            int32_t lanes) {
    __asm__ volatile(
        "push {r4-r7, lr}\n\t"
        "vpush {d8-d15}\n\t"
        "ldrd r4, r5, [sp, #84]\n\t"
        "ldrd r6, r7, [sp, #92]\n\t"
        "vld40.32 {q0, q1, q2, q3}, [r4]\n\t"
        "vld41.32 {q0, q1, q2, q3}, [r4]\n\t"
        "vld42.32 {q0, q1, q2, q3}, [r4]\n\t"
        "vld43.32 {q0, q1, q2, q3}, [r4]\n\t"
        "mov r4, r5\n\t"
        "cmp r7, #16\n\t"
        "bge 1f\n\t"
        "vctp.8 r7\n\t" LL_EVERY_TAP(
            LL_SOME_LANES) "b 9f\n"
                           "1:\n\t" LL_EVERY_TAP(LL_ALL_LANES) "9:\n\t"
                                                               "vst40.32 {q0, q1, q2, q3}, [r4]\n\t"
                                                               "vst41.32 {q0, q1, q2, q3}, [r4]\n\t"
                                                               "vst42.32 {q0, q1, q2, q3}, [r4]\n\t"
                                                               "vst43.32 {q0, q1, q2, q3}, [r4]\n\t"
                                                               "vpop {d8-d15}\n\t"
                                                               "pop {r4-r7, pc}");
}

#pragma GCC diagnostic pop

LL_INLINE void ll_taps_lanes(const int8_t *const *taps, int32_t count, const int8_t *weights,
                             int32_t apart, const int32_t *bias, int32_t *sums, int32_t c0,
                             int32_t c1) {
    for (int32_t c = c0; c < c1; c += 16, sums += 16) {
        const int32_t *start = bias + c;
        if (c1 - c < 16) {
            for (int32_t i = 0; i < c1 - c; i += 4) {
                const mve_pred16_t p = vctp32q((uint32_t)(c1 - c - i));
                vstrwq_p_s32(sums + i, vldrwq_z_s32(start + i, p), p);
            }
            start = sums;
        }
        ll_taps_16(taps, count, weights + c, apart, start, sums, c, c1 - c);
    }
}

/* `vqrdmulh` is the high half of 2ab rounded to nearest, ties up, as `ll_mulh_near`; `vrshl` rounds
 * ties up, so a negative number that is shifted loses one first, as in `ll_away`. */
LL_INLINE int32x4_t ll_requant_4(int32x4_t v, int32x4_t mult, int32x4_t shift, int32_t zero) {
    const int32x4_t right = vminq_s32(shift, vdupq_n_s32(0));
    v = vqrdmulhq_s32(vshlq_s32(v, vmaxq_s32(shift, vdupq_n_s32(0))), mult);
    v = vrshlq_s32(vqaddq_s32(v, vshrq_n_s32(vandq_s32(v, right), 31)), right);
    v = vminq_s32(vmaxq_s32(v, vdupq_n_s32(-128 - zero)), vdupq_n_s32(127 - zero));
    return vaddq_n_s32(v, zero);
}

LL_INLINE void ll_requant_lanes(int32_t *sums, int32_t n, const int32_t *mult, const int32_t *shift,
                                int32_t zero) {
    int32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const int32x4_t v = vldrwq_s32(sums + i);
        vstrwq_s32(sums + i, ll_requant_4(v, vldrwq_s32(mult + i), vldrwq_s32(shift + i), zero));
    }
    if (i < n) {
        const mve_pred16_t p = vctp32q((uint32_t)(n - i));
        const int32x4_t m = vldrwq_z_s32(mult + i, p), s = vldrwq_z_s32(shift + i, p);
        vstrwq_p_s32(sums + i, ll_requant_4(vldrwq_z_s32(sums + i, p), m, s, zero), p);
    }
}
#endif
#endif

/* Armv6-M: no long product, no SIMD, eight low registers.
 *
 * Definitions: `base.h` and `generic.h`, which leave out what this header has of its own.  Here
 * 32 x 32 -> 64 bits would be a call of the compiler's library, so the high half is made of four
 * products of 16-bit halves, in C that runs on any processor.  The loop over bytes is a function
 * in assembly, because compilers do not keep sums in the high registers.
 */
#ifndef LL_V6M_H
#define LL_V6M_H

#include "../ll.h"

/* With a = 65536 a1 + a0 and b likewise, the bits of ab above the lowest sixteen are
 * 65536 a1 b1 + a1 b0 + a0 b1 + (a0 b0 >> 16), and those below decide no rounding of theirs.  The
 * last two terms together fit in 32 bits, and so does the second with half of them. */
#define LL_OWN_REQUANT
LL_INLINE int32_t ll_middle(int32_t a, int32_t b) {
    const uint32_t a0 = a & 0xFFFF, b0 = b & 0xFFFF;
    return (int32_t)a0 * (b >> 16) + (int32_t)(a0 * b0 >> 16);
}

#ifdef __ARM_ARCH_6M__
/* Compilers move the halves through high registers and the stack: 19 instructions without. */
LL_INLINE int32_t ll_mulh_add(int32_t twice_a, int32_t b, int32_t c) {
    int32_t a0, b0, middle;
    __asm__(".syntax unified\n\t"
            "uxth %2, %0\n\t"
            "asrs %0, %0, #16\n\t"
            "uxth %3, %1\n\t"
            "asrs %1, %1, #16\n\t"
            "movs %4, %3\n\t"
            "muls %4, %2, %4\n\t"
            "lsrs %4, %4, #16\n\t"
            "muls %2, %1, %2\n\t"
            "adds %4, %4, %2\n\t"
            "muls %3, %0, %3\n\t"
            "muls %0, %1, %0\n\t"
            "uxth %2, %4\n\t"
            "adds %3, %3, %2\n\t"
            "asrs %3, %3, #15\n\t"
            "adds %3, %3, #1\n\t"
            "asrs %3, %3, #1\n\t"
            "asrs %4, %4, #16\n\t"
            "adds %0, %0, %4\n\t"
            "adds %0, %0, %3"
            : "+l"(twice_a), "+l"(b), "=&l"(a0), "=&l"(b0), "=&l"(middle)
            :
            : "cc");
    return (int32_t)((uint32_t)twice_a + (uint32_t)c);
}
#else
LL_INLINE int32_t ll_mulh_add(int32_t twice_a, int32_t b, int32_t c) {
    const int32_t middle = ll_middle(twice_a, b);
    const int32_t low = (twice_a >> 16) * (b & 0xFFFF) + (middle & 0xFFFF);
    const int32_t high = (twice_a >> 16) * (b >> 16) + (middle >> 16);
    return (int32_t)((uint32_t)high + (uint32_t)(((low >> 15) + 1) >> 1) + (uint32_t)c);
}
#endif

LL_INLINE int32_t ll_mulh_near(int32_t a, int32_t b) {
    const int32_t middle = ll_middle(a, b);
    const int32_t low = (a >> 16) * (b & 0xFFFF) + (middle & 0x7FFF);
    const uint32_t high = (uint32_t)((a >> 16) * (b >> 16)) << 1;
    return (int32_t)(high + (uint32_t)(middle >> 15) + (uint32_t)(((low >> 14) + 1) >> 1));
}

LL_INLINE int32_t ll_sat8(int32_t v) {
    return v == (int8_t)v ? v : (v >> 31) ^ 127;
}

#ifdef __ARM_ARCH_6M__
#define LL_OWN_FOURS
#define LL_OWN_TAPS
#endif
#include "generic.h"

#ifdef __ARM_ARCH_6M__
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

#define LL_SAVE_HIGH                                                                               \
    ".syntax unified\n\t"                                                                          \
    "push {r4-r7, lr}\n\t"                                                                         \
    "mov r4, r8\n\t"                                                                               \
    "mov r5, r9\n\t"                                                                               \
    "mov r6, r10\n\t"                                                                              \
    "mov r7, r11\n\t"                                                                              \
    "push {r4-r7}\n\t"
#define LL_RETURN_HIGH                                                                             \
    "pop {r4-r7}\n\t"                                                                              \
    "mov r8, r4\n\t"                                                                               \
    "mov r9, r5\n\t"                                                                               \
    "mov r10, r6\n\t"                                                                              \
    "mov r11, r7\n\t"                                                                              \
    "pop {r4-r7, pc}"

/* A loop of four turns at label 1, entered so that r7 turns are made in all; changes r7. */
#define LL_TURNS(turn)                                                                             \
    "lsls r7, r7, #31\n\t"                                                                         \
    "bcc 5f\n\t"                                                                                   \
    "bmi 6f\n\t"                                                                                   \
    "b 7f\n"                                                                                       \
    "5:\n\t"                                                                                       \
    "bmi 8f\n"                                                                                     \
    "1:\n\t" turn "6:\n\t" turn "7:\n\t" turn "8:\n\t" turn

/* One byte of x times four weights: 14 instructions of 2 bytes.
 *
 * r0-r4 ends of the run and of the channels' weights for it, r5 minus the bytes that are left;
 * r6 the byte, r7 a weight; sums r8-r11 */
#define LL_FOUR_PRODUCTS                                                                           \
    "ldrsb r6, [r0, r5]\n\t"                                                                       \
    "ldrsb r7, [r1, r5]\n\t"                                                                       \
    "muls r7, r6, r7\n\t"                                                                          \
    "add r8, r7\n\t"                                                                               \
    "ldrsb r7, [r2, r5]\n\t"                                                                       \
    "muls r7, r6, r7\n\t"                                                                          \
    "add r9, r7\n\t"                                                                               \
    "ldrsb r7, [r3, r5]\n\t"                                                                       \
    "muls r7, r6, r7\n\t"                                                                          \
    "add r10, r7\n\t"                                                                              \
    "ldrsb r7, [r4, r5]\n\t"                                                                       \
    "muls r6, r7, r6\n\t"                                                                          \
    "add r11, r6\n\t"                                                                              \
    "adds r5, #1\n\t"

#define LL_EACH_BYTE LL_TURNS(LL_FOUR_PRODUCTS)

/* r12 n.  On the stack: 0 the next run, 4 runs that are left, 8 first run, 12 their number, 16
 * bytes of a channel; of the caller, 56 bias, 60 sums, 64 fours of channels. */
LL_ASSEMBLY void ll_whole_fours(const int8_t *const *runs, int32_t count, int32_t n,
                                const int8_t *weights, const int32_t *bias, int32_t *sums,
                                int32_t fours) {
    __asm__ volatile(LL_SAVE_HIGH "sub sp, #20\n\t"
                                  "str r0, [sp, #8]\n\t"
                                  "str r1, [sp, #12]\n\t"
                                  "muls r1, r2, r1\n\t"
                                  "str r1, [sp, #16]\n\t"
                                  "mov r12, r2\n\t"
                                  "movs r4, r3\n"
                                  "4:\n\t"
                                  "ldr r5, [sp, #56]\n\t"
                                  "ldmia r5!, {r0-r3}\n\t"
                                  "str r5, [sp, #56]\n\t"
                                  "mov r8, r0\n\t"
                                  "mov r9, r1\n\t"
                                  "mov r10, r2\n\t"
                                  "mov r11, r3\n\t"
                                  "ldr r6, [sp, #8]\n\t"
                                  "ldr r5, [sp, #12]\n\t"
                                  "str r5, [sp, #4]\n\t"
                                  "ldr r7, [sp, #16]\n\t"
                                  "movs r1, r4\n\t"
                                  "adds r2, r1, r7\n\t"
                                  "adds r3, r2, r7\n\t"
                                  "adds r4, r3, r7\n"
                                  "3:\n\t"
                                  "ldmia r6!, {r0}\n\t"
                                  "str r6, [sp]\n\t"
                                  "mov r7, r12\n\t"
                                  "add r0, r7\n\t"
                                  "add r1, r7\n\t"
                                  "add r2, r7\n\t"
                                  "add r3, r7\n\t"
                                  "add r4, r7\n\t"
                                  "rsbs r5, r7, #0\n\t" LL_EACH_BYTE "bne 1b\n\t"
                                  "ldr r6, [sp]\n\t"
                                  "ldr r5, [sp, #4]\n\t"
                                  "subs r5, #1\n\t"
                                  "str r5, [sp, #4]\n\t"
                                  "bne 3b\n\t"
                                  "ldr r5, [sp, #60]\n\t"
                                  "mov r0, r8\n\t"
                                  "mov r1, r9\n\t"
                                  "mov r2, r10\n\t"
                                  "mov r3, r11\n\t"
                                  "stmia r5!, {r0-r3}\n\t"
                                  "str r5, [sp, #60]\n\t"
                                  "ldr r5, [sp, #64]\n\t"
                                  "subs r5, #1\n\t"
                                  "str r5, [sp, #64]\n\t"
                                  "bne 4b\n\t"
                                  "add sp, #20\n\t" LL_RETURN_HIGH);
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
            sums[c] = ll_dot_s8(runs[k], weights, 0, 0, n, sums[c]);
        }
    }
}

/* A weight times the taps of four pixels: 15 instructions of 2 bytes.
 *
 * r0 taps, r1 weights, r3 channel; r2, r4-r6 the pixels, r7 the weight; sums r8-r11; r12 bytes
 * between the weights of two taps */
#define LL_TAP_PRODUCTS                                                                            \
    "ldmia r0!, {r2, r4, r5, r6}\n\t"                                                              \
    "ldrsb r7, [r1, r3]\n\t"                                                                       \
    "add r1, r12\n\t"                                                                              \
    "ldrsb r2, [r2, r3]\n\t"                                                                       \
    "muls r2, r7, r2\n\t"                                                                          \
    "add r8, r2\n\t"                                                                               \
    "ldrsb r4, [r4, r3]\n\t"                                                                       \
    "muls r4, r7, r4\n\t"                                                                          \
    "add r9, r4\n\t"                                                                               \
    "ldrsb r5, [r5, r3]\n\t"                                                                       \
    "muls r5, r7, r5\n\t"                                                                          \
    "add r10, r5\n\t"                                                                              \
    "ldrsb r6, [r6, r3]\n\t"                                                                       \
    "muls r6, r7, r6\n\t"                                                                          \
    "add r11, r6\n\t"

#define LL_EACH_TAP LL_TURNS(LL_TAP_PRODUCTS)

/* lr end of the taps.  On the stack: 0 taps, 4 weights, 8 their number;
 * of the caller, 48 bias, 52 sums, 56 c0, 60 c1. */
LL_ASSEMBLY void ll_taps_4(const int8_t *const *taps, int32_t count, const int8_t *weights,
                           int32_t apart, const int32_t *bias, int32_t *sums, int32_t c0,
                           int32_t c1) {
    __asm__ volatile(LL_SAVE_HIGH "sub sp, #12\n\t"
                                  "str r0, [sp]\n\t"
                                  "lsls r4, r1, #4\n\t"
                                  "adds r4, r4, r0\n\t"
                                  "mov lr, r4\n\t"
                                  "mov r12, r3\n\t"
                                  "str r2, [sp, #4]\n\t"
                                  "str r1, [sp, #8]\n\t"
                                  "ldr r3, [sp, #56]\n\t"
                                  "lsls r5, r3, #2\n\t"
                                  "ldr r4, [sp, #48]\n\t"
                                  "adds r4, r4, r5\n\t"
                                  "str r4, [sp, #48]\n"
                                  "4:\n\t"
                                  "ldr r0, [sp, #48]\n\t"
                                  "ldmia r0!, {r7}\n\t"
                                  "str r0, [sp, #48]\n\t"
                                  "mov r8, r7\n\t"
                                  "mov r9, r7\n\t"
                                  "mov r10, r7\n\t"
                                  "mov r11, r7\n\t"
                                  "ldr r0, [sp]\n\t"
                                  "ldr r1, [sp, #4]\n\t"
                                  "ldr r7, [sp, #8]\n\t" LL_EACH_TAP "cmp r0, lr\n\t"
                                  "bne 1b\n\t"
                                  "ldr r7, [sp, #52]\n\t"
                                  "mov r2, r8\n\t"
                                  "mov r4, r9\n\t"
                                  "mov r5, r10\n\t"
                                  "mov r6, r11\n\t"
                                  "stmia r7!, {r2, r4, r5, r6}\n\t"
                                  "str r7, [sp, #52]\n\t"
                                  "ldr r7, [sp, #60]\n\t"
                                  "adds r3, #1\n\t"
                                  "cmp r3, r7\n\t"
                                  "bne 4b\n\t"
                                  "add sp, #12\n\t" LL_RETURN_HIGH);
}

#pragma GCC diagnostic pop
#endif
#endif

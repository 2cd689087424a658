/* The loops of `generic_winograd.h` for Armv7E-M and Armv8-M with the DSP extension. */
#ifndef LL_DSP_WINOGRAD_H
#define LL_DSP_WINOGRAD_H

#include "dsp.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* r0 to; r1-r3, r12 rows; r4-r7 rows 0 to 3 of the pair (k0, k2), r8-r11 of (k1, k3).  On the
 * stack: the end of `to`. */
LL_ASSEMBLY void ll_winograd_columns(int16_t *to, const int8_t *const *rows, int32_t groups) {
    __asm__ volatile("push {r4-r11, lr}\n\t"
                     "add r2, r2, r2, lsl #2\n\t"
                     "add r2, r0, r2, lsl #6\n\t"
                     "str r2, [sp, #-4]!\n\t"
                     "ldr r2, [r1, #4]\n\t"
                     "ldr r3, [r1, #8]\n\t"
                     "ldr r12, [r1, #12]\n\t"
                     "ldr r1, [r1]\n"
                     "1:\n\t"
                     "ldr r8, [r1], #4\n\t"
                     "ldr lr, [r2], #4\n\t"
                     "ldr r10, [r3], #4\n\t"
                     "ldr r11, [r12], #4\n\t"
                     "sxtb16 r4, r8\n\t"
                     "sxtb16 r8, r8, ror #8\n\t"
                     "sxtb16 r5, lr, ror #8\n\t"
                     "sxtb16 lr, lr\n\t"
                     "sxtb16 r6, r10\n\t"
                     "sxtb16 r10, r10, ror #8\n\t"
                     "sxtb16 r7, r11\n\t"
                     "sxtb16 r11, r11, ror #8\n\t"
                     "ssub16 r4, r4, r6\n\t"
                     "ssub16 r8, r8, r10\n\t"
                     "ssub16 r7, lr, r7\n\t"
                     "ssub16 r11, r5, r11\n\t"
                     "sadd16 r9, r5, r10\n\t"
                     "ssub16 r10, r10, r5\n\t"
                     "sadd16 r5, lr, r6\n\t"
                     "ssub16 r6, r6, lr\n\t"
                     "ldr lr, [sp]\n\t"
                     "stmia r0, {r4-r11}\n\t"
                     "add r0, r0, #320\n\t"
                     "cmp r0, lr\n\t"
                     "bne 1b\n\t"
                     "add sp, sp, #4\n\t"
                     "pop {r4-r11, pc}");
}

/* r0 to, r1 columns, both counting up; r2-r6 the even columns of one row and pair, r7-r11 the
 * odd ones, r12 and lr sums.  The differences of even and of odd columns come last, in place. */
#define LL_WINOGRAD_ROW                                                                            \
    "ldr r2, [r1], #4\n\t"                                                                         \
    "ldr r7, [r1, #28]\n\t"                                                                        \
    "ldr r3, [r1, #60]\n\t"                                                                        \
    "ldr r8, [r1, #92]\n\t"                                                                        \
    "ldr r4, [r1, #124]\n\t"                                                                       \
    "ldr r9, [r1, #156]\n\t"                                                                       \
    "ldr r5, [r1, #188]\n\t"                                                                       \
    "ldr r10, [r1, #220]\n\t"                                                                      \
    "ldr r6, [r1, #252]\n\t"                                                                       \
    "ldr r11, [r1, #284]\n\t"                                                                      \
    "ssub16 r12, r3, r7\n\t"                                                                       \
    "ssub16 lr, r4, r8\n\t"                                                                        \
    "strd r12, lr, [r0, #16]\n\t"                                                                  \
    "ssub16 r12, r5, r9\n\t"                                                                       \
    "ssub16 lr, r6, r10\n\t"                                                                       \
    "strd r12, lr, [r0, #24]\n\t"                                                                  \
    "sadd16 r12, r5, r9\n\t"                                                                       \
    "sadd16 lr, r6, r10\n\t"                                                                       \
    "strd r12, lr, [r0, #8]\n\t"                                                                   \
    "sadd16 r12, r3, r7\n\t"                                                                       \
    "sadd16 lr, r4, r8\n\t"                                                                        \
    "strd r12, lr, [r0], #32\n\t"                                                                  \
    "ssub16 r7, r7, r8\n\t"                                                                        \
    "ssub16 r8, r8, r9\n\t"                                                                        \
    "ssub16 r9, r9, r10\n\t"                                                                       \
    "ssub16 r10, r10, r11\n\t"                                                                     \
    "stmia r0!, {r7-r10}\n\t"                                                                      \
    "ssub16 r2, r2, r3\n\t"                                                                        \
    "ssub16 r3, r3, r4\n\t"                                                                        \
    "ssub16 r4, r4, r5\n\t"                                                                        \
    "ssub16 r5, r5, r6\n\t"                                                                        \
    "stmia r0!, {r2-r5}\n\t"

/* On the stack: the end of `to`. */
LL_ASSEMBLY void ll_winograd_rows(int16_t *to, const int16_t *columns, int32_t groups) {
    __asm__ volatile("push {r4-r11, lr}\n\t"
                     "add r2, r0, r2, lsl #9\n\t"
                     "str r2, [sp, #-4]!\n"
                     "1:\n\t"
                     ".rept 8\n\t" LL_WINOGRAD_ROW ".endr\n\t"
                     "ldr r2, [sp]\n\t"
                     "add r1, r1, #288\n\t"
                     "cmp r0, r2\n\t"
                     "bne 1b\n\t"
                     "add sp, sp, #4\n\t"
                     "pop {r4-r11, pc}");
}

/* One pair of channels of four tiles times two output channels: 16 products in 11 instructions
 * of 4 bytes.  r0 tiles, r1 weights; sums r4-r7 of P and r8-r11 of Q; r2, r3 two tiles; r12, lr
 * weights. */
#define LL_WINOGRAD_PAIR                                                                           \
    "ldrd r12, lr, [r1], #8\n\t"                                                                   \
    "ldrd r2, r3, [r0, #8]\n\t"                                                                    \
    "smlad r6, r2, r12, r6\n\t"                                                                    \
    "smlad r10, r2, lr, r10\n\t"                                                                   \
    "smlad r7, r3, r12, r7\n\t"                                                                    \
    "smlad r11, r3, lr, r11\n\t"                                                                   \
    "ldrd r2, r3, [r0], #256\n\t"                                                                  \
    "smlad r4, r2, r12, r4\n\t"                                                                    \
    "smlad r8, r2, lr, r8\n\t"                                                                     \
    "smlad r5, r3, r12, r5\n\t"                                                                    \
    "smlad r9, r3, lr, r9\n\t"
#define LL_WINOGRAD_FIRST                                                                          \
    "ldrd r12, lr, [r1], #8\n\t"                                                                   \
    "ldrd r2, r3, [r0, #8]\n\t"                                                                    \
    "smuad r6, r2, r12\n\t"                                                                        \
    "smuad r10, r2, lr\n\t"                                                                        \
    "smuad r7, r3, r12\n\t"                                                                        \
    "smuad r11, r3, lr\n\t"                                                                        \
    "ldrd r2, r3, [r0], #256\n\t"                                                                  \
    "smuad r4, r2, r12\n\t"                                                                        \
    "smuad r8, r2, lr\n\t"                                                                         \
    "smuad r5, r3, r12\n\t"                                                                        \
    "smuad r9, r3, lr\n\t"

/* The first two sums of a row become their sum, on the stack, and their difference. */
#define LL_WINOGRAD_TURN(a, b, place)                                                              \
    "ldrd r2, r3, [sp, #" place "]\n\t"                                                            \
    "add r12, r2, " a "\n\t"                                                                       \
    "add lr, r3, " b "\n\t"                                                                        \
    "sub " a ", r2, " a "\n\t"                                                                     \
    "sub " b ", r3, " b "\n\t"                                                                     \
    "strd r12, lr, [sp, #" place "]\n\t"

/* Where this position's pairs end, which run in passes of 16 behind the first pair, of which the
 * first pass begins in the middle. */
#define LL_WINOGRAD_RUN(first, exits)                                                              \
    "ldrd r2, r3, [sp, #" exits "]\n\t"                                                            \
    "strd r2, r3, [sp, #16]\n\t" first "ldr pc, [sp, #12]\n"

/* On the stack: 0 how far the end of a position is from the begin of the next, 4 where the tiles'
 * first pair ends, 8 sums, 12 where the first pass begins, 16 where a pass goes when it ends, 20
 * where the last one goes, 24 passes left, 28 passes, 32 eight sums, 64 what 16 and 20 are at the
 * four columns, 96 tiles, 100 end of the sums. */
LL_ASSEMBLY void ll_winograd_sums(const int16_t *tiles, const int16_t *weights, int32_t *sums,
                                  int32_t pairs, int32_t twos) {
    __asm__ volatile(
        "push {r4-r11, lr}\n\t"
        "ldr r12, [sp, #36]\n\t"
        "sub sp, sp, #104\n\t"
        "add r12, r2, r12, lsl #8\n\t"
        "strd r0, r12, [sp, #96]\n\t"
        "lsl r4, r3, #8\n\t"
        "sub r4, r4, #16\n\t"
        "add r5, r0, #256\n\t"
        "strd r4, r5, [sp]\n\t"
        "sub r3, r3, #1\n\t"
        "lsr r4, r3, #4\n\t"
        "and r3, r3, #15\n\t"
        "adr r5, 2f\n\t"
        "mov r6, #44\n\t"
        "mls r3, r3, r6, r5\n\t"
        "orr r3, r3, #1\n\t"
        "strd r2, r3, [sp, #8]\n\t"
        "adr r5, 5f\n\t"
        "orr r5, r5, #1\n\t"
        "adr r6, 6f\n\t"
        "orr r6, r6, #1\n\t"
        "adr r7, 7f\n\t"
        "orr r7, r7, #1\n\t"
        "adr r8, 8f\n\t"
        "orr r8, r8, #1\n\t"
        "adr r9, 3f\n\t"
        "orr r9, r9, #1\n\t"
        "strd r9, r5, [sp, #64]\n\t"
        "strd r9, r6, [sp, #72]\n\t"
        "strd r9, r7, [sp, #80]\n\t"
        "strd r9, r8, [sp, #88]\n\t"
        "cbnz r4, 1f\n\t"
        "str r5, [sp, #64]\n\t"
        "str r6, [sp, #72]\n\t"
        "str r7, [sp, #80]\n\t"
        "str r8, [sp, #88]\n\t"
        "1:\n\t"
        "add r4, r4, #1\n\t"
        "strd r4, r4, [sp, #24]\n\t"
        "4:\n\t" LL_WINOGRAD_RUN(
            LL_WINOGRAD_FIRST,
            "64") "5:\n\t"
                  "ldr r2, [sp]\n\t"
                  "add r12, sp, #32\n\t"
                  "stmia r12, {r4-r11}\n\t"
                  "sub r0, r0, r2\n\t" LL_WINOGRAD_RUN(
                      LL_WINOGRAD_FIRST,
                      "72") "6:\n\t"
                            "ldr r2, [sp]\n\t"
                            "sub r0, r0, r2\n\t" LL_WINOGRAD_TURN("r4", "r5", "32")
                                LL_WINOGRAD_TURN("r6", "r7", "40") LL_WINOGRAD_TURN(
                                    "r8", "r9", "48") LL_WINOGRAD_TURN("r10", "r11", "56")
                                    LL_WINOGRAD_RUN(LL_WINOGRAD_PAIR,
                                                    "80") "7:\n\t"
                                                          "ldr r2, [sp]\n\t"
                                                          "ldr r12, [sp, #8]\n\t"
                                                          "sub r0, r0, r2\n\t"
                                                          "stmia r12!, {r4-r11}\n\t"
                                                          "str r12, [sp, #8]\n\t"
                                                          "add r12, sp, #32\n\t"
                                                          "ldmia r12, {r4-r11}\n\t" LL_WINOGRAD_RUN(
                                                              LL_WINOGRAD_PAIR,
                                                              "88") "8:\n\t"
                                                                    "ldmia sp, {r2, r3, r12}\n\t"
                                                                    "stmia r12!, {r4-r11}\n\t"
                                                                    "str r12, [sp, #8]\n\t"
                                                                    "sub r0, r0, r2\n\t"
                                                                    "cmp r0, r3\n\t"
                                                                    "bne 4b\n\t"
                                                                    "ldrd r0, r3, [sp, #96]\n\t"
                                                                    "cmp r12, r3\n\t"
                                                                    "bne 4b\n\t"
                                                                    "add sp, sp, #104\n\t"
                                                                    "pop {r4-r11, pc}\n\t"
                                                                    ".balign 4\n"
                                                                    "9:\n\t"
                                                                    ".rept 16\n\t" LL_WINOGRAD_PAIR
                                                                    ".endr\n"
                                                                    "2:\n\t"
                                                                    "ldr pc, [sp, #16]\n"
                                                                    "3:\n\t"
                                                                    "ldrd r2, r3, [sp, #24]\n\t"
                                                                    "subs r2, r2, #1\n\t"
                                                                    "str r2, [sp, #24]\n\t"
                                                                    "bne 9b\n\t"
                                                                    "str r3, [sp, #24]\n\t"
                                                                    "ldr pc, [sp, #20]\n\t");
}

#pragma GCC diagnostic pop

#endif

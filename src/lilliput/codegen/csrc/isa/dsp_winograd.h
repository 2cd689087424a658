/* The loops of `generic_winograd.h` for Armv7E-M and Armv8-M with the DSP extension. */
#ifndef LL_DSP_WINOGRAD_H
#define LL_DSP_WINOGRAD_H

#include "dsp.h"

/* clang-format off */
/* Assembly has lines of its own. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* r0 to; r1-r3, r12 rows; r4-r7 rows 0 to 3 of the pair (k0, k2), r8-r11 of (k1, k3).  On the
 * stack: the end of `to`. */
LL_ASSEMBLY void ll_winograd_columns(int16_t *to, const int8_t *const *rows, int32_t groups) {
    __asm__ volatile(
        LL_ASM_N("push {r4-r11, lr}")
        LL_ASM_N("add r2, r2, r2, lsl #2")
        LL_ASM_N("add r2, r0, r2, lsl #6")
        LL_ASM_N("str r2, [sp, #-4]!")
        LL_ASM_N("ldr r2, [r1, #4]")
        LL_ASM_N("ldr r3, [r1, #8]")
        LL_ASM_N("ldr r12, [r1, #12]")
        LL_ASM_N("ldr r1, [r1]")
        LL_ASM_N("1:")
        LL_ASM_N("ldr r8, [r1], #4")
        LL_ASM_N("ldr lr, [r2], #4")
        LL_ASM_N("ldr r10, [r3], #4")
        LL_ASM_N("ldr r11, [r12], #4")
        LL_ASM_N("sxtb16 r4, r8")
        LL_ASM_N("sxtb16 r8, r8, ror #8")
        LL_ASM_N("sxtb16 r5, lr, ror #8")
        LL_ASM_N("sxtb16 lr, lr")
        LL_ASM_N("sxtb16 r6, r10")
        LL_ASM_N("sxtb16 r10, r10, ror #8")
        LL_ASM_N("sxtb16 r7, r11")
        LL_ASM_N("sxtb16 r11, r11, ror #8")
        LL_ASM_N("ssub16 r4, r4, r6")
        LL_ASM_N("ssub16 r8, r8, r10")
        LL_ASM_N("ssub16 r7, lr, r7")
        LL_ASM_N("ssub16 r11, r5, r11")
        LL_ASM_N("sadd16 r9, r5, r10")
        LL_ASM_N("ssub16 r10, r10, r5")
        LL_ASM_N("sadd16 r5, lr, r6")
        LL_ASM_N("ssub16 r6, r6, lr")
        LL_ASM_N("ldr lr, [sp]")
        LL_ASM_N("stmia r0, {r4-r11}")
        LL_ASM_N("add r0, r0, #320")
        LL_ASM_N("cmp r0, lr")
        LL_ASM_N("bne 1b")
        LL_ASM_N("add sp, sp, #4")
        LL_ASM_N("pop {r4-r11, pc}"));
}

/* r0 to, r1 columns, both counting up; r2-r6 the even columns of one row and pair, r7-r11 the
 * odd ones, r12 and lr sums.  The differences of even and of odd columns come last, in place. */
#define LL_WINOGRAD_ROW                                                                            \
    LL_ASM_N("ldr r2, [r1], #4")                                                                   \
    LL_ASM_N("ldr r7, [r1, #28]")                                                                  \
    LL_ASM_N("ldr r3, [r1, #60]")                                                                  \
    LL_ASM_N("ldr r8, [r1, #92]")                                                                  \
    LL_ASM_N("ldr r4, [r1, #124]")                                                                 \
    LL_ASM_N("ldr r9, [r1, #156]")                                                                 \
    LL_ASM_N("ldr r5, [r1, #188]")                                                                 \
    LL_ASM_N("ldr r10, [r1, #220]")                                                                \
    LL_ASM_N("ldr r6, [r1, #252]")                                                                 \
    LL_ASM_N("ldr r11, [r1, #284]")                                                                \
    LL_ASM_N("ssub16 r12, r3, r7")                                                                 \
    LL_ASM_N("ssub16 lr, r4, r8")                                                                  \
    LL_ASM_N("strd r12, lr, [r0, #16]")                                                            \
    LL_ASM_N("ssub16 r12, r5, r9")                                                                 \
    LL_ASM_N("ssub16 lr, r6, r10")                                                                 \
    LL_ASM_N("strd r12, lr, [r0, #24]")                                                            \
    LL_ASM_N("sadd16 r12, r5, r9")                                                                 \
    LL_ASM_N("sadd16 lr, r6, r10")                                                                 \
    LL_ASM_N("strd r12, lr, [r0, #8]")                                                             \
    LL_ASM_N("sadd16 r12, r3, r7")                                                                 \
    LL_ASM_N("sadd16 lr, r4, r8")                                                                  \
    LL_ASM_N("strd r12, lr, [r0], #32")                                                            \
    LL_ASM_N("ssub16 r7, r7, r8")                                                                  \
    LL_ASM_N("ssub16 r8, r8, r9")                                                                  \
    LL_ASM_N("ssub16 r9, r9, r10")                                                                 \
    LL_ASM_N("ssub16 r10, r10, r11")                                                               \
    LL_ASM_N("stmia r0!, {r7-r10}")                                                                \
    LL_ASM_N("ssub16 r2, r2, r3")                                                                  \
    LL_ASM_N("ssub16 r3, r3, r4")                                                                  \
    LL_ASM_N("ssub16 r4, r4, r5")                                                                  \
    LL_ASM_N("ssub16 r5, r5, r6")                                                                  \
    LL_ASM_N("stmia r0!, {r2-r5}")

/* On the stack: the end of `to`. */
LL_ASSEMBLY void ll_winograd_rows(int16_t *to, const int16_t *columns, int32_t groups) {
    __asm__ volatile(
        LL_ASM_N("push {r4-r11, lr}")
        LL_ASM_N("add r2, r0, r2, lsl #9")
        LL_ASM_N("str r2, [sp, #-4]!")
        LL_ASM_N("1:")
        LL_ASM_N(".rept 8")
        LL_WINOGRAD_ROW
        LL_ASM_N(".endr")
        LL_ASM_N("ldr r2, [sp]")
        LL_ASM_N("add r1, r1, #288")
        LL_ASM_N("cmp r0, r2")
        LL_ASM_N("bne 1b")
        LL_ASM_N("add sp, sp, #4")
        LL_ASM_N("pop {r4-r11, pc}"));
}

/* One pair of channels of four tiles times two output channels: 16 products in 11 instructions
 * of 4 bytes.  r0 tiles, r1 weights; sums r4-r7 of P and r8-r11 of Q; r2, r3 two tiles; r12, lr
 * weights. */
#define LL_WINOGRAD_PAIR                                                                           \
    LL_ASM_N("ldrd r12, lr, [r1], #8")                                                             \
    LL_ASM_N("ldrd r2, r3, [r0, #8]")                                                              \
    LL_ASM_N("smlad r6, r2, r12, r6")                                                              \
    LL_ASM_N("smlad r10, r2, lr, r10")                                                             \
    LL_ASM_N("smlad r7, r3, r12, r7")                                                              \
    LL_ASM_N("smlad r11, r3, lr, r11")                                                             \
    LL_ASM_N("ldrd r2, r3, [r0], #256")                                                            \
    LL_ASM_N("smlad r4, r2, r12, r4")                                                              \
    LL_ASM_N("smlad r8, r2, lr, r8")                                                               \
    LL_ASM_N("smlad r5, r3, r12, r5")                                                              \
    LL_ASM_N("smlad r9, r3, lr, r9")
#define LL_WINOGRAD_FIRST                                                                          \
    LL_ASM_N("ldrd r12, lr, [r1], #8")                                                             \
    LL_ASM_N("ldrd r2, r3, [r0, #8]")                                                              \
    LL_ASM_N("smuad r6, r2, r12")                                                                  \
    LL_ASM_N("smuad r10, r2, lr")                                                                  \
    LL_ASM_N("smuad r7, r3, r12")                                                                  \
    LL_ASM_N("smuad r11, r3, lr")                                                                  \
    LL_ASM_N("ldrd r2, r3, [r0], #256")                                                            \
    LL_ASM_N("smuad r4, r2, r12")                                                                  \
    LL_ASM_N("smuad r8, r2, lr")                                                                   \
    LL_ASM_N("smuad r5, r3, r12")                                                                  \
    LL_ASM_N("smuad r9, r3, lr")

/* The first two sums of a row become their sum, on the stack, and their difference. */
#define LL_WINOGRAD_TURN(a, b, place)                                                              \
    LL_ASM_N("ldrd r2, r3, [sp, #" place "]")                                                      \
    LL_ASM_N("add r12, r2, " a)                                                                    \
    LL_ASM_N("add lr, r3, " b)                                                                     \
    LL_ASM_N("sub " a ", r2, " a)                                                                  \
    LL_ASM_N("sub " b ", r3, " b)                                                                  \
    LL_ASM_N("strd r12, lr, [sp, #" place "]")

/* The pairs of one position: the first here, those behind it in passes of 16 at 9, of which the
 * first begins in the middle; they end at the label whose place in the table is `exits`. */
#define LL_WINOGRAD_RUN(first, exits)                                                              \
    LL_ASM_N("ldrd r2, r3, [sp, #" exits "]")                                                      \
    LL_ASM_N("strd r2, r3, [sp, #16]")                                                             \
    first                                                                                          \
    LL_ASM_N("ldr pc, [sp, #12]")

/* On the stack: 0 how far the end of a position is from the begin of the next, 4 where the tiles'
 * first pair ends, 8 sums, 12 where the first pass begins, 16 where a pass goes when it ends, 20
 * where the last one goes, 24 passes left, 28 passes, 32 eight sums, 64 what 16 and 20 are at the
 * four columns, 96 tiles, 100 end of the sums. */
LL_ASSEMBLY void ll_winograd_sums(const int16_t *tiles, const int16_t *weights, int32_t *sums,
                                  int32_t pairs, int32_t twos) {
    __asm__ volatile(
        LL_ASM_N("push {r4-r11, lr}")
        LL_ASM_N("ldr r12, [sp, #36]")
        LL_ASM_N("sub sp, sp, #104")
        LL_ASM_N("add r12, r2, r12, lsl #8")
        LL_ASM_N("strd r0, r12, [sp, #96]")
        LL_ASM_N("lsl r4, r3, #8")
        LL_ASM_N("sub r4, r4, #16")
        LL_ASM_N("add r5, r0, #256")
        LL_ASM_N("strd r4, r5, [sp]")
        LL_ASM_N("sub r3, r3, #1")
        LL_ASM_N("lsr r4, r3, #4")
        LL_ASM_N("and r3, r3, #15")
        LL_ASM_N("adr r5, 2f")
        LL_ASM_N("mov r6, #44")
        LL_ASM_N("mls r3, r3, r6, r5")
        LL_ASM_N("orr r3, r3, #1")
        LL_ASM_N("strd r2, r3, [sp, #8]")
        LL_ASM_N("adr r5, 5f")
        LL_ASM_N("orr r5, r5, #1")
        LL_ASM_N("adr r6, 6f")
        LL_ASM_N("orr r6, r6, #1")
        LL_ASM_N("adr r7, 7f")
        LL_ASM_N("orr r7, r7, #1")
        LL_ASM_N("adr r8, 8f")
        LL_ASM_N("orr r8, r8, #1")
        LL_ASM_N("adr r9, 3f")
        LL_ASM_N("orr r9, r9, #1")
        LL_ASM_N("strd r9, r5, [sp, #64]")
        LL_ASM_N("strd r9, r6, [sp, #72]")
        LL_ASM_N("strd r9, r7, [sp, #80]")
        LL_ASM_N("strd r9, r8, [sp, #88]")
        LL_ASM_N("cbnz r4, 1f")
        LL_ASM_N("str r5, [sp, #64]")
        LL_ASM_N("str r6, [sp, #72]")
        LL_ASM_N("str r7, [sp, #80]")
        LL_ASM_N("str r8, [sp, #88]")
        LL_ASM_N("1:")
        LL_ASM_N("add r4, r4, #1")
        LL_ASM_N("strd r4, r4, [sp, #24]")
        /* column 1 */
        LL_ASM_N("4:")
        LL_WINOGRAD_RUN(LL_WINOGRAD_FIRST, "64")
        /* column 2, when column 1 is put aside */
        LL_ASM_N("5:")
        LL_ASM_N("ldr r2, [sp]")
        LL_ASM_N("add r12, sp, #32")
        LL_ASM_N("stmia r12, {r4-r11}")
        LL_ASM_N("sub r0, r0, r2")
        LL_WINOGRAD_RUN(LL_WINOGRAD_FIRST, "72")
        /* column 3 on the difference */
        LL_ASM_N("6:")
        LL_ASM_N("ldr r2, [sp]")
        LL_ASM_N("sub r0, r0, r2")
        LL_WINOGRAD_TURN("r4", "r5", "32")
        LL_WINOGRAD_TURN("r6", "r7", "40")
        LL_WINOGRAD_TURN("r8", "r9", "48")
        LL_WINOGRAD_TURN("r10", "r11", "56")
        LL_WINOGRAD_RUN(LL_WINOGRAD_PAIR, "80")
        /* column 0 on the sum, when the right ones are stored */
        LL_ASM_N("7:")
        LL_ASM_N("ldr r2, [sp]")
        LL_ASM_N("ldr r12, [sp, #8]")
        LL_ASM_N("sub r0, r0, r2")
        LL_ASM_N("stmia r12!, {r4-r11}")
        LL_ASM_N("str r12, [sp, #8]")
        LL_ASM_N("add r12, sp, #32")
        LL_ASM_N("ldmia r12, {r4-r11}")
        LL_WINOGRAD_RUN(LL_WINOGRAD_PAIR, "88")
        /* the left ones are stored; the next row, the next two channels */
        LL_ASM_N("8:")
        LL_ASM_N("ldmia sp, {r2, r3, r12}")
        LL_ASM_N("stmia r12!, {r4-r11}")
        LL_ASM_N("str r12, [sp, #8]")
        LL_ASM_N("sub r0, r0, r2")
        LL_ASM_N("cmp r0, r3")
        LL_ASM_N("bne 4b")
        LL_ASM_N("ldrd r0, r3, [sp, #96]")
        LL_ASM_N("cmp r12, r3")
        LL_ASM_N("bne 4b")
        LL_ASM_N("add sp, sp, #104")
        LL_ASM_N("pop {r4-r11, pc}")
        LL_ASM_N(".balign 4")
        /* a pass */
        LL_ASM_N("9:")
        LL_ASM_N(".rept 16")
        LL_WINOGRAD_PAIR
        LL_ASM_N(".endr")
        LL_ASM_N("2:")
        LL_ASM_N("ldr pc, [sp, #16]")
        /* the next pass, if any */
        LL_ASM_N("3:")
        LL_ASM_N("ldrd r2, r3, [sp, #24]")
        LL_ASM_N("subs r2, r2, #1")
        LL_ASM_N("str r2, [sp, #24]")
        LL_ASM_N("bne 9b")
        LL_ASM_N("str r3, [sp, #24]")
        LL_ASM_N("ldr pc, [sp, #20]"));
}

#pragma GCC diagnostic pop
/* clang-format on */

#endif

/* Sums over bytes where they lie, for cores with dual 16-bit products.  Definitions: `generic.h`;
 * part of `dsp.h`. */
#ifndef LL_DSP_PAIRS_H
#define LL_DSP_PAIRS_H

/* clang-format off */
/* Two pixels times two channels --------------------------------------------------------------
 * r0, r1 the pixels, r2 weights, r3 end of the first pixel's run; sums r4, r5 of P and r6, r7 of Q;
 * r8, r9 pairs (k0, k2), (k1, k3) of the first pixel, r10, r11 of the second; r12, lr the weights
 * of P and Q.  A group is 16 products: 20 instructions; 18 of joined weights, 16 of wide ones. */
#define LL_PAIR_APART                                                                              \
    LL_ASM_N("ldr lr, [r2], #4")                                                                   \
    LL_ASM(sxtb16 r12, lr)                                                                         \
    LL_ASM_N("sxtb16 lr, lr, ror #8")
#define LL_PAIR_JOINED                                                                             \
    LL_ASM_N("ldr lr, [r2], #4")                                                                   \
    LL_ASM(sxtb16 r12, lr)
#define LL_PAIR_WIDE LL_ASM_N("ldrd r12, lr, [r2], #8")

#define LL_PAIR(weights)                                                                           \
    LL_ASM_N("ldr r8, [r0], #4")                                                                   \
    LL_ASM_N("ldr r10, [r1], #4")                                                                  \
    LL_ASM_N("sxtb16 r9, r8, ror #8")                                                              \
    LL_ASM(sxtb16 r8, r8)                                                                          \
    LL_ASM_N("sxtb16 r11, r10, ror #8")                                                            \
    LL_ASM(sxtb16 r10, r10)                                                                        \
    weights                                                                                        \
    LL_ASM(smlad r4, r8, r12, r4)                                                                  \
    LL_ASM(smlad r6, r8, lr, r6)                                                                   \
    LL_ASM(smlad r5, r10, r12, r5)                                                                 \
    LL_ASM(smlad r7, r10, lr, r7)                                                                  \
    weights                                                                                        \
    LL_ASM(smlad r4, r9, r12, r4)                                                                  \
    LL_ASM(smlad r6, r9, lr, r6)                                                                   \
    LL_ASM(smlad r5, r11, r12, r5)                                                                 \
    LL_ASM(smlad r7, r11, lr, r7)
#define LL_PAIR_PARTS                                                                              \
    LL_PART(r4, r6)                                                                                \
    LL_PART(r5, r7)

/* On the stack: 0 bias, 4 sums, 8 their end, 12 runs, 16 their end, 20 bytes of a run, 24 the run
 * after this one. */
#define LL_PAIRS(name, type, weights_of, join, part)                                               \
    LL_ASSEMBLY void name(const int8_t *const *runs, const type *weights, const int32_t *bias,     \
                          int32_t *sums, int32_t count, int32_t groups, int32_t twos) {            \
        __asm__ volatile(                                                                          \
            LL_ASM(push {r4-r11, lr})                                                              \
            LL_ASM_N("ldrd r4, r5, [sp, #36]")                                                     \
            LL_ASM_N("ldr r6, [sp, #44]")                                                          \
            LL_ASM_N("sub sp, sp, #28")                                                            \
            LL_ASM(strd r2, r3, [sp])                                                              \
            LL_ASM_N("add r3, r3, r6, lsl #4")                                                     \
            LL_ASM_N("strd r3, r0, [sp, #8]")                                                      \
            LL_ASM_N("add r6, r0, r4, lsl #3")                                                     \
            LL_ASM_N("lsl r5, r5, #2")                                                             \
            LL_ASM_N("strd r6, r5, [sp, #16]")                                                     \
            LL_ASM(mov r2, r1)                                                                     \
            LL_ASM(4:)                                                                             \
            LL_ASM(ldr r12, [sp])                                                                  \
            LL_ASM_N("ldrd r4, r6, [r12], #8")                                                     \
            LL_ASM(str r12, [sp])                                                                  \
            join                                                                                   \
            LL_ASM(mov r5, r4)                                                                     \
            LL_ASM(mov r7, r6)                                                                     \
            LL_ASM_N("ldr r12, [sp, #12]")                                                         \
            LL_ASM(3:)                                                                             \
            LL_ASM_N("ldrd r0, r1, [r12], #8")                                                     \
            LL_ASM_N("str r12, [sp, #24]")                                                         \
            LL_ASM_N("ldr lr, [sp, #20]")                                                          \
            LL_ASM(add r3, r0, lr)                                                                 \
            LL_ASM_N("tst lr, #4")                                                                 \
            LL_ASM(bne 5f)                                                                         \
            LL_ASM(1:)                                                                             \
            LL_PAIR(weights_of)                                                                    \
            LL_ASM(5:)                                                                             \
            LL_PAIR(weights_of)                                                                    \
            LL_ASM(cmp r0, r3)                                                                     \
            LL_ASM(bne 1b)                                                                         \
            LL_ASM_N("ldr r12, [sp, #24]")                                                         \
            LL_ASM_N("ldr lr, [sp, #16]")                                                          \
            LL_ASM(cmp r12, lr)                                                                    \
            LL_ASM(bne 3b)                                                                         \
            part                                                                                   \
            LL_ASM_N("ldrd r12, lr, [sp, #4]")                                                     \
            LL_ASM(stmia r12!, {r4-r7})                                                            \
            LL_ASM_N("str r12, [sp, #4]")                                                          \
            LL_ASM(cmp r12, lr)                                                                    \
            LL_ASM(bne 4b)                                                                         \
            LL_ASM_N("add sp, sp, #28")                                                            \
            LL_ASM(pop {r4-r11, pc}));                                                             \
    }

LL_PAIRS(ll_pairs, int8_t, LL_PAIR_APART, "", "")
LL_PAIRS(ll_pairs_joined, int8_t, LL_PAIR_JOINED, LL_JOIN(r4, r6), LL_PAIR_PARTS)
LL_PAIRS(ll_pairs_wide, int16_t, LL_PAIR_WIDE, "", "")

/* Four channels of four pixels, tap by tap ---------------------------------------------------
 * r0 taps of this pixel, every fourth; r1 weights, r2 channel, r3 end of the taps, r12 sums, lr
 * pixels that are left; sums r4-r7 of four channels; r8, r9 their numbers (c0, c2), (c1, c3), r10,
 * r11 weights.  A tap is four products: 9 instructions.
 * On the stack: 0 weights, 4 bias, 8 count; 8 bytes lower while a pixel is made, for its taps. */
#define LL_TAP                                                                                     \
    LL_ASM_N("ldr r9, [r0], #16")                                                                  \
    LL_ASM(ldr r9, [r9, r2])                                                                       \
    LL_ASM_N("ldrd r10, r11, [r1], #8")                                                            \
    LL_ASM(sxtb16 r8, r9)                                                                          \
    LL_ASM_N("sxtb16 r9, r9, ror #8")                                                              \
    LL_ASM(smlabb r4, r8, r10, r4)                                                                 \
    LL_ASM(smlatt r6, r8, r10, r6)                                                                 \
    LL_ASM(smlabb r5, r9, r11, r5)                                                                 \
    LL_ASM(smlatt r7, r9, r11, r7)

LL_ASSEMBLY void ll_taps_four(const int8_t *const *taps, const int16_t *weights,
                              const int32_t *bias, int32_t *sums, int32_t count, int32_t channel,
                              int32_t pixels) {
    __asm__ volatile(
        LL_ASM(push {r4-r11, lr})
        LL_ASM_N("ldrd r8, r9, [sp, #36]")
        LL_ASM_N("ldr lr, [sp, #44]")
        LL_ASM_N("sub sp, sp, #12")
        LL_ASM_N("str r8, [sp, #8]")
        LL_ASM(strd r1, r2, [sp])
        LL_ASM(mov r2, r9)
        LL_ASM(mov r12, r3)
        LL_ASM(4:)
        LL_ASM_N("ldr r1, [sp, #4]")
        LL_ASM(ldmia r1, {r4-r7})
        LL_ASM(ldr r1, [sp])
        LL_ASM_N("ldr r3, [sp, #8]")
        LL_ASM_N("add r3, r0, r3, lsl #4")
        LL_ASM_N("str r0, [sp, #-8]!")
        LL_ASM_N("ldr r8, [sp, #16]")
        LL_ASM_N("tst r8, #1")
        LL_ASM(bne 5f)
        LL_ASM(1:)
        LL_TAP
        LL_ASM(5:)
        LL_TAP
        LL_ASM(cmp r0, r3)
        LL_ASM(bne 1b)
        LL_ASM_N("str r4, [r12], #4")
        LL_ASM_N("str r5, [r12, #12]")
        LL_ASM_N("str r6, [r12, #28]")
        LL_ASM_N("str r7, [r12, #44]")
        LL_ASM_N("ldr r0, [sp], #8")
        LL_ASM_N("add r0, r0, #4")
        LL_ASM_N("subs lr, lr, #1")
        LL_ASM(bne 4b)
        LL_ASM_N("add sp, sp, #12")
        LL_ASM(pop {r4-r11, pc}));
}
/* clang-format on */

#endif

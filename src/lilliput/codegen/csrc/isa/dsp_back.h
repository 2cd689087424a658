/* Sums over output channels, for cores with dual 16-bit products.  Definitions: `base.h`; part of
 * `dsp.h`. */
#ifndef LL_DSP_BACK_H
#define LL_DSP_BACK_H

/* clang-format off */
/* Two pixels times four channels, two numbers each -------------------------------------------
 * r0 weights, r1 numbers; sums r4-r7 of one pixel and r8-r11 of the other; r2, r3 their numbers
 * (P, Q), r12 and lr weights.  On the stack: 0 sums, 4 bytes between the weights of pairs, 44 the
 * end of the numbers.  A turn is 16 products: 28 or 29 instructions. */
#define LL_BACK_PART(half, w, a, b, c, d)                                                          \
    LL_ASM(smlab##half a, w, r2, a)                                                                \
    LL_ASM(smlat##half b, w, r2, b)                                                                \
    LL_ASM(smlab##half c, w, r3, c)                                                                \
    LL_ASM(smlat##half d, w, r3, d)
#define LL_BACK_WORD                                                                               \
    LL_ASM_N("sxtb16 lr, r12, ror #8")                                                             \
    LL_ASM(sxtb16 r12, r12)

#define LL_BACK_OF(name, first, second)                                                            \
    LL_ASSEMBLY void name(const int8_t *w, const int16_t *numbers, int32_t *sums, int32_t next,    \
                          const int16_t *end) {                                                    \
        __asm__ volatile(                                                                          \
            LL_ASM(push {r2-r11, lr})                                                              \
            LL_ASM_N("mov r4, #0")                                                                 \
            LL_ASM_N("mov r5, #0")                                                                 \
            LL_ASM_N("mov r6, #0")                                                                 \
            LL_ASM_N("mov r7, #0")                                                                 \
            LL_ASM_N("mov r8, #0")                                                                 \
            LL_ASM_N("mov r9, #0")                                                                 \
            LL_ASM_N("mov r10, #0")                                                                \
            LL_ASM_N("mov r11, #0")                                                                \
            LL_ASM(1:)                                                                             \
            LL_ASM_N("ldrd r2, r3, [r1], #8")                                                      \
            first                                                                                  \
            second                                                                                 \
            LL_ASM_N("ldr r12, [sp, #4]")                                                          \
            LL_ASM(add r0, r12)                                                                    \
            LL_ASM_N("ldr r12, [sp, #44]")                                                         \
            LL_ASM(cmp r1, r12)                                                                    \
            LL_ASM(bne 1b)                                                                         \
            LL_ASM(pop {r2, r3})                                                                   \
            LL_ASM(stmia r2!, {r4-r11})                                                            \
            LL_ASM(pop {r4-r11, pc}));                                                             \
    }

/* P0 Q0 P2 Q2 P1 Q1 P3 Q3 */
LL_BACK_OF(ll_back_packed,
    LL_ASM(ldr r12, [r0])
    LL_BACK_WORD
    LL_BACK_PART(b, r12, r4, r6, r8, r10)
    LL_BACK_PART(t, lr, r4, r6, r8, r10),
    LL_ASM_N("ldr r12, [r0, #4]")
    LL_BACK_WORD
    LL_BACK_PART(b, r12, r5, r7, r9, r11)
    LL_BACK_PART(t, lr, r5, r7, r9, r11))

/* P0 P1 P2 P3, and Q0 Q1 Q2 Q3 half of the way to the next pair */
LL_BACK_OF(ll_back_plain,
    LL_ASM(ldr r12, [r0])
    LL_BACK_WORD
    LL_BACK_PART(b, r12, r4, r6, r8, r10)
    LL_BACK_PART(b, lr, r5, r7, r9, r11),
    LL_ASM_N("ldr r12, [sp, #4]")
    LL_ASM_N("add r12, r0, r12, lsr #1")
    LL_ASM(ldr r12, [r12])
    LL_BACK_WORD
    LL_BACK_PART(t, r12, r4, r6, r8, r10)
    LL_BACK_PART(t, lr, r5, r7, r9, r11))
/* clang-format on */

LL_INLINE void ll_back_twos(const int8_t *w, const int16_t *numbers, int32_t n, int32_t apart,
                            int32_t left, int32_t *sums) {
    (void)left;
    ll_back_packed(w, numbers, sums, 2 * apart, numbers + (n + 1) / 2 * 4);
}

LL_INLINE void ll_back_rows(const int8_t *w, const int16_t *numbers, int32_t n, int32_t apart,
                            int32_t left, int32_t *sums) {
    if (left < 4 || n < 2) {
        ll_back_any(w, numbers, n, apart, left, sums);
        return;
    }
    ll_back_plain(w, numbers, sums, 2 * apart, numbers + n / 2 * 4);
    if (n & 1) {
        for (int32_t k = 0; k < 4; ++k) {
            const int32_t weight = w[(n - 1) * apart + k];
            sums[k] += numbers[n / 2 * 4] * weight;
            sums[4 + k] += numbers[n / 2 * 4 + 2] * weight;
        }
    }
}

#endif

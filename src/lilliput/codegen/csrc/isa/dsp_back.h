/* Sums over output channels, for cores with dual 16-bit products.  Definitions: `base.h`; part of
 * `dsp.h`. */
#ifndef LL_DSP_BACK_H
#define LL_DSP_BACK_H

/* clang-format off */
/* Two channels times four pixels, two numbers each, and then the other two channels ----------
 * r0 weights, r1 numbers; sums r4-r7 of one channel and r8-r11 of the other; r2, r3 numbers of two
 * pixels; r12 and lr the weights (P, Q) of the two channels.  On the stack: 0 weights, 4 numbers,
 * 8 sums, 12 bytes between the weights of pairs, 52 end of the numbers, 56 whether the pairs are an
 * odd number.  16 products are 19.5 instructions: what is left of each pair of weights has to be
 * put together from two registers, and there is none for the loop. */
#define LL_BACK_PAIR(weights)                                                                      \
    weights                                                                                        \
    LL_ASM_N("pkhbt r12, r2, r3, lsl #16")                                                         \
    LL_ASM_N("pkhtb lr, r3, r2, asr #16")                                                          \
    LL_ASM_N("ldrd r2, r3, [r1], #8")                                                              \
    LL_ASM(smlad r4, r2, r12, r4)                                                                  \
    LL_ASM(smlad r8, r2, lr, r8)                                                                   \
    LL_ASM(smlad r5, r3, r12, r5)                                                                  \
    LL_ASM(smlad r9, r3, lr, r9)                                                                   \
    LL_ASM_N("ldrd r2, r3, [r1], #8")                                                              \
    LL_ASM(smlad r6, r2, r12, r6)                                                                  \
    LL_ASM(smlad r10, r2, lr, r10)                                                                 \
    LL_ASM(smlad r7, r3, r12, r7)                                                                  \
    LL_ASM(smlad r11, r3, lr, r11)

/* Sums of two channels to `sums` + `to` and 32 bytes behind it. */
#define LL_BACK_TWO(weights, to)                                                                   \
    LL_ASM_N("mov r4, #0")                                                                         \
    LL_ASM_N("mov r5, #0")                                                                         \
    LL_ASM_N("mov r6, #0")                                                                         \
    LL_ASM_N("mov r7, #0")                                                                         \
    LL_ASM_N("mov r8, #0")                                                                         \
    LL_ASM_N("mov r9, #0")                                                                         \
    LL_ASM_N("mov r10, #0")                                                                        \
    LL_ASM_N("mov r11, #0")                                                                        \
    LL_ASM_N("ldr r2, [sp, #56]")                                                                  \
    LL_ASM_N("cmp r2, #0")                                                                         \
    LL_ASM(bne 2f)                                                                                 \
    LL_ASM(1:)                                                                                     \
    LL_BACK_PAIR(weights)                                                                          \
    LL_ASM(2:)                                                                                     \
    LL_BACK_PAIR(weights)                                                                          \
    LL_ASM_N("ldr r2, [sp, #52]")                                                                  \
    LL_ASM(cmp r1, r2)                                                                             \
    LL_ASM(bne 1b)                                                                                 \
    LL_ASM_N("ldr r2, [sp, #8]")                                                                   \
    LL_ASM_N("add r3, r2, #" #to " + 32")                                                          \
    LL_ASM_N("add r2, r2, #" #to)                                                                  \
    LL_ASM(stmia r2, {r4-r7})                                                                      \
    LL_ASM(stmia r3, {r8-r11})

#define LL_BACK_OF(name, first, second)                                                            \
    LL_ASSEMBLY void name(const int8_t *w, const int16_t *numbers, int32_t *sums, int32_t next,    \
                          const int16_t *end, int32_t odd) {                                       \
        __asm__ volatile(                                                                          \
            LL_ASM(push {r0-r11, lr})                                                              \
            LL_BACK_TWO(first, 0)                                                                  \
            LL_ASM(ldrd r0, r1, [sp])                                                              \
            LL_BACK_TWO(second, 16)                                                                \
            LL_ASM_N("add sp, sp, #16")                                                            \
            LL_ASM(pop {r4-r11, pc}));                                                             \
    }

/* P0 Q0 P2 Q2 P1 Q1 P3 Q3 */
#define LL_BACK_PACKED(at)                                                                         \
    LL_ASM_N("ldr r2, [r0, #" #at "]")                                                             \
    LL_ASM_N("ldr r12, [sp, #12]")                                                                 \
    LL_ASM(add r0, r12)                                                                            \
    LL_ASM_N("sxtb16 r3, r2, ror #8")                                                              \
    LL_ASM(sxtb16 r2, r2)
LL_BACK_OF(ll_back_packed, LL_BACK_PACKED(0), LL_BACK_PACKED(4))

/* P0 P1 P2 P3, and Q0 Q1 Q2 Q3 half of the way to the next pair */
#define LL_BACK_PLAIN(odd)                                                                         \
    LL_ASM_N("ldr r12, [sp, #12]")                                                                 \
    LL_ASM(ldr r2, [r0])                                                                           \
    LL_ASM_N("add r3, r0, r12, lsr #1")                                                            \
    LL_ASM(ldr r3, [r3])                                                                           \
    LL_ASM(add r0, r12)                                                                            \
    LL_ASM_N("sxtb16 r2, r2" odd)                                                                  \
    LL_ASM_N("sxtb16 r3, r3" odd)
LL_BACK_OF(ll_back_plain, LL_BACK_PLAIN(""), LL_BACK_PLAIN(", ror #8"))

/* Weights of four channels of a pair of numbers P and Q, widened ---------------------------------
 * r0 weights, r1 bytes between two rows, r2 and r12 where the weights of two channels go, r3 pairs
 * that are left. */
#define LL_WIDEN_OF(name, load, p_even, p_odd, q_even, q_odd)                                      \
    LL_ASSEMBLY void name(const int8_t *w, int32_t next, int16_t *low, int32_t pairs,              \
                          int16_t *high) {                                                         \
        __asm__ volatile(                                                                          \
            LL_ASM(push {r4-r9, lr})                                                               \
            LL_ASM_N("ldr r12, [sp, #28]")                                                         \
            LL_ASM(1:)                                                                             \
            load                                                                                   \
            LL_ASM_N("add r0, r0, r1, lsl #1")                                                     \
            LL_ASM(sxtb16 r6, r4)                                                                  \
            LL_ASM_N("sxtb16 r4, r4, ror #8")                                                      \
            LL_ASM(sxtb16 r7, r5)                                                                  \
            LL_ASM_N("sxtb16 r5, r5, ror #8")                                                      \
            LL_ASM_N("pkhbt r8, " #p_even ", " #q_even ", lsl #16")                                \
            LL_ASM_N("pkhbt r9, " #p_odd ", " #q_odd ", lsl #16")                                  \
            LL_ASM(stmia r2!, {r8, r9})                                                            \
            LL_ASM_N("pkhtb r8, " #q_even ", " #p_even ", asr #16")                                \
            LL_ASM_N("pkhtb r9, " #q_odd ", " #p_odd ", asr #16")                                  \
            LL_ASM(stmia r12!, {r8, r9})                                                           \
            LL_ASM_N("subs r3, r3, #1")                                                            \
            LL_ASM(bne 1b)                                                                         \
            LL_ASM(pop {r4-r9, pc}));                                                              \
    }

/* P0 Q0 P2 Q2 P1 Q1 P3 Q3, and P0 P1 P2 P3 before the row of Q */
LL_WIDEN_OF(ll_widen_packed, LL_ASM(ldrd r4, r5, [r0]), r6, r7, r4, r5)
LL_WIDEN_OF(ll_widen_plain, LL_ASM(ldr r4, [r0]) LL_ASM(ldr r5, [r0, r1]), r6, r4, r7, r5)
/* clang-format on */

LL_INLINE void ll_widen_twos(const int8_t *w, int32_t n, int32_t apart, int32_t left, int16_t *to) {
    const int32_t pairs = (n + 3) / 4 * 2, whole = (n + 1) / 2;
    int16_t *const high = to + pairs * 4;
    (void)left;
    ll_widen_packed(w, apart, to, whole, high);
    if (whole < pairs) {
        __builtin_memset(high - 4, 0, 8);
        __builtin_memset(high + pairs * 4 - 4, 0, 8);
    }
}

LL_INLINE void ll_widen_rows(const int8_t *w, int32_t n, int32_t apart, int32_t left, int16_t *to) {
    const int32_t pairs = (n + 3) / 4 * 2, whole = n / 2;
    if (left < 4 || whole < 1) {
        ll_widen_any(w, n, apart, left, to, 0);
        return;
    }
    ll_widen_plain(w, apart, to, whole, to + pairs * 4);
    for (int32_t o = whole * 2; o < pairs * 2; ++o) {
        for (int32_t k = 0; k < 4; ++k) {
            to[((k >> 1) * pairs + (o >> 1)) * 4 + (k & 1) * 2 + (o & 1)] =
                o < n ? w[o * apart + k] : 0;
        }
    }
}

LL_INLINE void ll_back_twos(const int8_t *w, const int16_t *numbers, int32_t n, int32_t apart,
                            int32_t left, int32_t *sums) {
    const int32_t pairs = (n + 1) / 2;
    (void)left;
    ll_back_packed(w, numbers, sums, 2 * apart, numbers + pairs * 8, pairs & 1);
}

LL_INLINE void ll_back_rows(const int8_t *w, const int16_t *numbers, int32_t n, int32_t apart,
                            int32_t left, int32_t *sums) {
    const int32_t pairs = n / 2;
    if (left < 4 || pairs < 1) {
        ll_back_any(w, numbers, n, apart, left, sums);
        return;
    }
    ll_back_plain(w, numbers, sums, 2 * apart, numbers + pairs * 8, pairs & 1);
    if (n & 1) {
        const int16_t *own = numbers + pairs * 8;
        for (int32_t k = 0; k < 4; ++k, sums += 4) {
            const int32_t weight = w[(n - 1) * apart + k];
            sums[0] += own[0] * weight;
            sums[1] += own[2] * weight;
            sums[2] += own[4] * weight;
            sums[3] += own[6] * weight;
        }
    }
}

#endif

/* Sums over four columns of weights as they lie, which training changes.  Definitions: `generic.h`;
 * part of `dsp.h`. */
#ifndef LL_DSP_ROWS_H
#define LL_DSP_ROWS_H

LL_INLINE void ll_columns_less(int16_t *columns, int32_t zero, int32_t count) {
    const uint32_t less = ll_twice(zero);
    for (int16_t *const end = columns + count * 4; columns < end; columns += 4) {
        uint32_t v[2];
        __builtin_memcpy(v, columns, sizeof v);
        __asm__("ssub16 %0, %0, %1" : "+r"(v[0]) : "r"(less));
        __asm__("ssub16 %0, %0, %1" : "+r"(v[1]) : "r"(less));
        __builtin_memcpy(columns, v, sizeof v);
    }
}

/* clang-format off */
/* r0 columns, r1 weights of P; sums r4-r7 of P and r8-r11 of Q; r2, r3 two pixels; r12, lr the
 * weights of P and Q.  Two bytes of both channels are 16 products, 15 instructions. */
#define LL_ROWS_FIRST                                                                              \
    LL_ASM_N("ldr r2, [sp, #16]")                                                                  \
    LL_ASM(ldr r12, [r1])                                                                          \
    LL_ASM(ldr lr, [r1, r2])
#ifdef LL_DUAL
#define LL_ROWS_LAST                                                                               \
    LL_ROWS_FIRST                                                                                  \
    LL_ASM_N("add r1, r1, #4")
#define LL_ROWS_HALF(weights, turned)                                                              \
    weights                                                                                        \
    LL_ASM_N("ldr r2, [r0], #4")                                                                   \
    LL_ASM_N("sxtb16 r12, r12" turned)                                                             \
    LL_ASM_N("ldr r3, [r0], #4")                                                                   \
    LL_ASM_N("sxtb16 lr, lr" turned)                                                               \
    LL_ASM(smlad r4, r2, r12, r4)                                                                  \
    LL_ASM(smlad r8, r2, lr, r8)                                                                   \
    LL_ASM_N("ldr r2, [r0], #4")                                                                   \
    LL_ASM(smlad r5, r3, r12, r5)                                                                  \
    LL_ASM(smlad r9, r3, lr, r9)                                                                   \
    LL_ASM_N("ldr r3, [r0], #4")                                                                   \
    LL_ASM(smlad r6, r2, r12, r6)                                                                  \
    LL_ASM(smlad r10, r2, lr, r10)                                                                 \
    LL_ASM(smlad r7, r3, r12, r7)                                                                  \
    LL_ASM(smlad r11, r3, lr, r11)
#else
#define LL_ROWS_LAST                                                                               \
    LL_ASM_N("ldr r2, [sp, #16]")                                                                  \
    LL_ASM(ldr lr, [r1, r2])                                                                       \
    LL_ASM_N("ldr r12, [r1], #4")
#define LL_ROWS_HALF(weights, turned)                                                              \
    weights                                                                                        \
    LL_ASM_N("ldrd r2, r3, [r0], #8")                                                              \
    LL_ASM_N("sxtb16 r12, r12" turned)                                                             \
    LL_ASM_N("sxtb16 lr, lr" turned)                                                               \
    LL_ASM(smlad r4, r2, r12, r4)                                                                  \
    LL_ASM(smlad r8, r2, lr, r8)                                                                   \
    LL_ASM(smlad r5, r3, r12, r5)                                                                  \
    LL_ASM(smlad r9, r3, lr, r9)                                                                   \
    LL_ASM_N("ldrd r2, r3, [r0], #8")                                                              \
    LL_ASM(smlad r6, r2, r12, r6)                                                                  \
    LL_ASM(smlad r10, r2, lr, r10)                                                                 \
    LL_ASM(smlad r7, r3, r12, r7)                                                                  \
    LL_ASM(smlad r11, r3, lr, r11)
#endif

/* On the stack: 0 sums, 4 their end, 8 columns, 12 their end, 16 bytes from a row to the next, 20
 * from the end of P's row to where the next two begin. */
LL_ASSEMBLY void ll_rows_4(const int16_t *columns, const int8_t *weights, int32_t *sums,
                           int32_t groups, int32_t depth, int32_t twos) {
    __asm__ volatile(
        LL_ASM(push {r4-r11, lr})
        LL_ASM_N("ldrd r4, r5, [sp, #36]")
        LL_ASM_N("sub sp, sp, #28")
        LL_ASM_N("add r5, r2, r5, lsl #5")
        LL_ASM(strd r2, r5, [sp])
        LL_ASM_N("add r5, r0, r3, lsl #5")
        LL_ASM_N("strd r0, r5, [sp, #8]")
        LL_ASM_N("lsl r5, r4, #1")
        LL_ASM_N("sub r5, r5, r3, lsl #2")
        LL_ASM_N("strd r4, r5, [sp, #16]")
        LL_ASM(mov r12, r2)
        LL_ASM(4:)
        LL_ASM(ldmia r12, {r4-r11})
        LL_ASM(1:)
        LL_ROWS_HALF(LL_ROWS_FIRST, "")
        LL_ROWS_HALF(LL_ROWS_LAST, ", ror #8")
        LL_ASM_N("ldr r2, [sp, #12]")
        LL_ASM(cmp r0, r2)
        LL_ASM(bne 1b)
        LL_ASM_N("ldrd r12, r2, [sp]")
        LL_ASM(stmia r12!, {r4-r11})
        LL_ASM(str r12, [sp])
        LL_ASM_N("ldr r3, [sp, #20]")
        LL_ASM(add r1, r1, r3)
        LL_ASM_N("ldr r0, [sp, #8]")
        LL_ASM(cmp r12, r2)
        LL_ASM(bne 4b)
        LL_ASM_N("add sp, sp, #28")
        LL_ASM(pop {r4-r11, pc}));
}
/* clang-format on */

#endif

/* Armv7E-M and Armv8-M with the DSP extension: two 16-bit products an instruction.
 *
 * Definitions: `generic.h`.  The loops are functions in assembly, because compilers spill in
 * them: an inner loop here uses all fourteen registers.  Each keeps to the calling convention
 * and needs nothing of its surroundings, so that GCC and Clang build the same code.  A compiler
 * for another processor gets the portable twins: the same firmware runs in a test on a PC.
 */
#ifndef LL_DSP_H
#define LL_DSP_H

#ifndef __ARM_FEATURE_DSP
#include "generic.h"
#else
#define LL_OWN_MULW
#define LL_OWN_TILE
#define LL_OWN_BACK
#define LL_OWN_BETWEEN
#define LL_OWN_LESS
#include "../ll.h"

/* With an FPU: its conversion rounds to even and saturates, as it is set from reset on. */
#if defined(__ARM_FP) && (__ARM_FP & 4)
#define LL_OWN_ROUND_EVEN
LL_INLINE int32_t ll_round_even(float v, int32_t low, int32_t high) {
    float bits;
    __asm__("vcvtr.s32.f32 %0, %1" : "=t"(bits) : "t"(v));
    union {
        float bits;
        int32_t value;
    } u = {bits};
    int32_t r = u.value < low ? low : u.value;
    return r > high ? high : r;
}
#endif

#include "base.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* One instruction or label; one with a number is a string, since # has a meaning in macros. */
#define LL_ASM(...) #__VA_ARGS__ "\n\t"
#define LL_ASM_N(text) text "\n\t"

LL_INLINE int32_t ll_mulh_add(int32_t twice_a, int32_t b, int32_t c) {
    int32_t r;
    __asm__("smmlar %0, %1, %2, %3" : "=r"(r) : "r"(twice_a), "r"(b), "r"(c));
    return r;
}

/* acc and the products of two 16-bit numbers each. */
LL_INLINE int32_t ll_two_products(uint32_t a, uint32_t b, int32_t acc) {
    __asm__("smlad %0, %1, %2, %0" : "+r"(acc) : "r"(a), "r"(b));
    return acc;
}

/* Four bytes as numbers 0 and 2, and 1 and 3. */
LL_INLINE void ll_widened(const int8_t *from, uint32_t *even, uint32_t *odd) {
    uint32_t word;
    __builtin_memcpy(&word, from, sizeof word);
    __asm__("sxtb16 %0, %1" : "=r"(*even) : "r"(word));
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(*odd) : "r"(word));
}

/* The same, added to both halves of `more` each. */
LL_INLINE void ll_widened_more(const int8_t *from, uint32_t more, uint32_t *even, uint32_t *odd) {
    uint32_t word;
    __builtin_memcpy(&word, from, sizeof word);
    __asm__("sxtab16 %0, %1, %2" : "=r"(*even) : "r"(more), "r"(word));
    __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(*odd) : "r"(more), "r"(word));
}

/* A number twice in a word. */
LL_INLINE uint32_t ll_twice(int32_t v) {
    return ((uint32_t)v & 0xFFFFU) * 0x10001U;
}

LL_INLINE void ll_tile_less_s8(const int8_t *x, const int8_t *y, const int8_t *p, const int8_t *q,
                               int32_t n, int32_t zero, int32_t *acc) {
    int32_t xp = acc[0], xq = acc[1], yp = acc[2], yq = acc[3];
    const uint32_t less = ll_twice(-zero);
    for (const int8_t *end = x + (n & ~3); x < end; x += 4, y += 4, p += 4, q += 4) {
        uint32_t x0, x1, y0, y1, w0, w1;
        if (zero) {
            ll_widened_more(x, less, &x0, &x1);
            ll_widened_more(y, less, &y0, &y1);
        } else {
            ll_widened(x, &x0, &x1);
            ll_widened(y, &y0, &y1);
        }
        ll_widened(p, &w0, &w1);
        xp = ll_two_products(x1, w1, ll_two_products(x0, w0, xp));
        yp = ll_two_products(y1, w1, ll_two_products(y0, w0, yp));
        ll_widened(q, &w0, &w1);
        xq = ll_two_products(x1, w1, ll_two_products(x0, w0, xq));
        yq = ll_two_products(y1, w1, ll_two_products(y0, w0, yq));
    }
    for (int32_t i = 0; i < (n & 3); ++i) {
        xp = ll_wrap_add(xp, (x[i] - zero) * p[i]);
        xq = ll_wrap_add(xq, (x[i] - zero) * q[i]);
        yp = ll_wrap_add(yp, (y[i] - zero) * p[i]);
        yq = ll_wrap_add(yq, (y[i] - zero) * q[i]);
    }
    acc[0] = xp, acc[1] = xq, acc[2] = yp, acc[3] = yq;
}

LL_INLINE void ll_tile_s8(const int8_t *x, const int8_t *y, const int8_t *p, const int8_t *q,
                          int32_t n, int32_t *acc) {
    ll_tile_less_s8(x, y, p, q, n, 0, acc);
}

/* Four numbers x that keep 0 <= x - first <= span, as bytes without a sign: those of `bits`. */
LL_INLINE uint32_t ll_within_4(const int8_t *x, uint32_t first, uint32_t span, uint32_t bits) {
    uint32_t r;
    __builtin_memcpy(&r, x, sizeof r);
    __asm__("usub8 %0, %0, %1\n\t"
            "usub8 %0, %2, %0\n\t"
            "sel %0, %3, %4"
            : "+r"(r)
            : "r"(first), "r"(span), "r"(bits), "r"(0));
    return r;
}

LL_INLINE void ll_less_4(const int8_t *v, int32_t zero, int32_t *n) {
    if (zero == 0) {
        n[0] = v[0], n[1] = v[1], n[2] = v[2], n[3] = v[3];
        return;
    }
    uint32_t word;
    int32_t less = -zero;
    __asm__("" : "+r"(less)); /* or compilers make it anew for each number */
    __builtin_memcpy(&word, v, sizeof word);
    __asm__("sxtab %0, %1, %2" : "=r"(n[0]) : "r"(less), "r"(word));
    __asm__("sxtab %0, %1, %2, ror #8" : "=r"(n[1]) : "r"(less), "r"(word));
    __asm__("sxtab %0, %1, %2, ror #16" : "=r"(n[2]) : "r"(less), "r"(word));
    __asm__("sxtab %0, %1, %2, ror #24" : "=r"(n[3]) : "r"(less), "r"(word));
}

LL_INLINE uint32_t ll_between_8(const int8_t *x, int32_t low, int32_t high) {
    const int32_t least = ll_max(low, -129) + 1, span = ll_min(high, 128) - 1 - least;
    const uint32_t first = ((uint32_t)least & 0xFFU) * 0x01010101U;
    const uint32_t spans = ((uint32_t)span & 0xFFU) * 0x01010101U;
    if (span < 0) {
        return 0;
    }
    const uint32_t a = ll_within_4(x, first, spans, 0x08040201U);
    const uint32_t b = ll_within_4(x + 4, first, spans, 0x80402010U);
    uint32_t r;
    __asm__("usad8 %0, %1, %2" : "=r"(r) : "r"(a), "r"(0));
    __asm__("usada8 %0, %1, %2, %0" : "+r"(r) : "r"(b), "r"(0));
    return r;
}

LL_INLINE int32_t ll_mulw_low(int32_t a, int32_t word) {
    int32_t r;
    __asm__("smulwb %0, %1, %2" : "=r"(r) : "r"(a), "r"(word));
    return r;
}

LL_INLINE int32_t ll_mulw_high(int32_t a, int32_t word) {
    int32_t r;
    __asm__("smulwt %0, %1, %2" : "=r"(r) : "r"(a), "r"(word));
    return r;
}

LL_INLINE int32_t ll_sat8(int32_t v) {
    int32_t r;
    __asm__("ssat %0, #8, %1" : "=r"(r) : "r"(v));
    return r;
}

#define LL_SAT8_SHR(v, n)                                                                          \
    __extension__({                                                                                \
        int32_t ll_r;                                                                              \
        __asm__("ssat %0, #8, %1, asr %2" : "=r"(ll_r) : "r"(v), "i"(n));                          \
        ll_r;                                                                                      \
    })

/* clang-format off */
/* Assembly has lines of its own. */
/* Columns --------------------------------------------------------------------------------
 * r0 to, r1-r3 and r12 the four pixels, lr end; r4-r7 pairs (k0, k2), r8-r11 (k1, k3) */
LL_ASSEMBLY void ll_columns_4(int16_t *to, const int8_t *const *from, int32_t groups) {
    __asm__ volatile(
        LL_ASM(push {r4-r11, lr})
        LL_ASM_N("add lr, r0, r2, lsl #5")
        LL_ASM_N("ldrd r2, r3, [r1, #4]")
        LL_ASM_N("ldr r12, [r1, #12]")
        LL_ASM(ldr r1, [r1])
        LL_ASM(1:)
        LL_ASM_N("ldr r8, [r1], #4")
        LL_ASM_N("ldr r9, [r2], #4")
        LL_ASM_N("ldr r10, [r3], #4")
        LL_ASM_N("ldr r11, [r12], #4")
        LL_ASM(sxtb16 r4, r8)
        LL_ASM(sxtb16 r5, r9)
        LL_ASM(sxtb16 r6, r10)
        LL_ASM(sxtb16 r7, r11)
        LL_ASM_N("sxtb16 r8, r8, ror #8")
        LL_ASM_N("sxtb16 r9, r9, ror #8")
        LL_ASM_N("sxtb16 r10, r10, ror #8")
        LL_ASM_N("sxtb16 r11, r11, ror #8")
        LL_ASM(stmia r0!, {r4-r11})
        LL_ASM(cmp r0, lr)
        LL_ASM(bne 1b)
        LL_ASM(pop {r4-r11, pc}));
}

/* r0 to, r1 and r2 from, r12 end; stored are r4-r7 */
LL_ASSEMBLY void ll_columns_2(int16_t *to, const int8_t *p, const int8_t *q, int32_t groups) {
    __asm__ volatile(
        LL_ASM(push {r4-r7})
        LL_ASM_N("add r12, r0, r3, lsl #4")
        LL_ASM(1:)
        LL_ASM_N("ldr r6, [r1], #4")
        LL_ASM_N("ldr r7, [r2], #4")
        LL_ASM(sxtb16 r4, r6)
        LL_ASM(sxtb16 r5, r7)
        LL_ASM_N("sxtb16 r6, r6, ror #8")
        LL_ASM_N("sxtb16 r7, r7, ror #8")
        LL_ASM(stmia r0!, {r4-r7})
        LL_ASM(cmp r0, r12)
        LL_ASM(bne 1b)
        LL_ASM(pop {r4-r7})
        LL_ASM(bx lr));
}

/* r0 to, r1 from, r12 end */
LL_ASSEMBLY void ll_columns_1(int16_t *to, const int8_t *from, int32_t groups) {
    __asm__ volatile(
        LL_ASM_N("add r12, r0, r2, lsl #3")
        LL_ASM(1:)
        LL_ASM_N("ldr r3, [r1], #4")
        LL_ASM(sxtb16 r2, r3)
        LL_ASM_N("sxtb16 r3, r3, ror #8")
        LL_ASM(stmia r0!, {r2, r3})
        LL_ASM(cmp r0, r12)
        LL_ASM(bne 1b)
        LL_ASM(bx lr));
}

/* Sums over four columns ------------------------------------------------------------------
 * r0 columns, r1 weights; sums r4-r7 of P and r8-r11 of Q; r2, r3 two pixels; r12, lr the weights
 * of P and Q.  A pair of numbers is 16 products: 13 instructions; 12 of joined weights, 11 of
 * wide ones.  All are of four bytes, which the table of jumps counts on. */
#define LL_APART                                                                                   \
    LL_ASM_N("ldr lr, [r1], #4")                                                                   \
    LL_ASM(sxtb16 r12, lr)                                                                         \
    LL_ASM_N("sxtb16 lr, lr, ror #8")
#define LL_JOINED                                                                                  \
    LL_ASM_N("ldr lr, [r1], #4")                                                                   \
    LL_ASM(sxtb16 r12, lr)
#define LL_WIDE LL_ASM_N("ldrd r12, lr, [r1], #8")

#define LL_TILE_FROM(weights, p0, p1, p2, p3, q0, q1, q2, q3)                                      \
    weights                                                                                        \
    LL_ASM_N("ldrd r2, r3, [r0], #8")                                                              \
    LL_ASM(smlad r4, r2, r12, p0)                                                                  \
    LL_ASM(smlad r8, r2, lr, q0)                                                                   \
    LL_ASM(smlad r5, r3, r12, p1)                                                                  \
    LL_ASM(smlad r9, r3, lr, q1)                                                                   \
    LL_ASM_N("ldrd r2, r3, [r0], #8")                                                              \
    LL_ASM(smlad r6, r2, r12, p2)                                                                  \
    LL_ASM(smlad r10, r2, lr, q2)                                                                  \
    LL_ASM(smlad r7, r3, r12, p3)                                                                  \
    LL_ASM(smlad r11, r3, lr, q3)
#define LL_TILE(weights) LL_TILE_FROM(weights, r4, r5, r6, r7, r8, r9, r10, r11)
#define LL_TILES(weights)                                                                          \
    LL_TILE(weights)                                                                               \
    LL_TILE(weights)
#define LL_TILE_FIRST(weights) LL_TILE_FROM(weights, r7, r7, r7, r7, r11, r11, r11, r11)

/* Of joined weights: the bias of Q joins that of P, and the sums part. */
#define LL_JOIN(p, q) LL_ASM_N("add " #q ", " #p ", " #q ", lsl #8")
#define LL_PART(p, q)                                                                              \
    LL_ASM(sub q, q, p)                                                                            \
    LL_ASM_N("asr " #q ", " #q ", #8")
#define LL_PART_4                                                                                  \
    LL_PART(r4, r8)                                                                                \
    LL_PART(r5, r9)                                                                                \
    LL_PART(r6, r10)                                                                               \
    LL_PART(r7, r11)

/* On the stack: 0 bias, 4 sums, 8 their end, 12 columns, 16 their end or a little before, as `early`
 * has it in r2, 20 groups that are left when the first is done, modulo four: how far into the loop
 * of four groups to begin.  `first` goes on from the bias in r7 and r11, `last` is what the loop
 * leaves; `free` is a register that is not in use between groups. */
#define LL_SUMS_4_OF(name, type, early, first, groups_of, free, last)                              \
    LL_ASSEMBLY void name(const int16_t *columns, const type *weights, const int32_t *bias,        \
                          int32_t *sums, int32_t groups, int32_t twos) {                           \
        __asm__ volatile(                                                                          \
            LL_ASM(push {r4-r11, lr})                                                              \
            LL_ASM_N("ldrd r4, r5, [sp, #36]")                                                     \
            LL_ASM_N("sub sp, sp, #28")                                                            \
            LL_ASM(strd r2, r3, [sp])                                                              \
            LL_ASM_N("add r3, r3, r5, lsl #5")                                                     \
            LL_ASM_N("strd r3, r0, [sp, #8]")                                                      \
            LL_ASM_N("add r2, r0, r4, lsl #5")                                                     \
            early                                                                                  \
            LL_ASM_N("sub r4, r4, #1")                                                             \
            LL_ASM_N("and r4, r4, #3")                                                             \
            LL_ASM_N("strd r2, r4, [sp, #16]")                                                     \
            LL_ASM(4:)                                                                             \
            LL_ASM(ldr r12, [sp])                                                                  \
            LL_ASM_N("ldrd r7, r11, [r12], #8")                                                    \
            LL_ASM(str r12, [sp])                                                                  \
            first                                                                                  \
            LL_ASM_N("ldr " #free ", [sp, #20]")                                                   \
            LL_ASM(tbb [pc, free])                                                                 \
            LL_ASM(5:)                                                                             \
            LL_ASM(.byte (2f - 5b) / 2, (8f - 5b) / 2, (7f - 5b) / 2, (6f - 5b) / 2)               \
            LL_ASM(1:)                                                                             \
            groups_of                                                                              \
            LL_ASM(6:)                                                                             \
            groups_of                                                                              \
            LL_ASM(7:)                                                                             \
            groups_of                                                                              \
            LL_ASM(8:)                                                                             \
            groups_of                                                                              \
            LL_ASM(2:)                                                                             \
            LL_ASM_N("ldr r12, [sp, #16]")                                                         \
            LL_ASM(cmp r0, r12)                                                                    \
            LL_ASM(bne 1b)                                                                         \
            last                                                                                   \
            LL_ASM_N("ldrd r12, r2, [sp, #4]")                                                     \
            LL_ASM(stmia r12!, {r4-r11})                                                           \
            LL_ASM_N("str r12, [sp, #4]")                                                          \
            LL_ASM_N("ldr r0, [sp, #12]")                                                          \
            LL_ASM(cmp r12, r2)                                                                    \
            LL_ASM(bne 4b)                                                                         \
            LL_ASM_N("add sp, sp, #28")                                                            \
            LL_ASM(pop {r4-r11, pc}));                                                             \
    }
#define LL_SUMS_4(name, type, weights_of, join, part)                                              \
    LL_SUMS_4_OF(name, type, "", join LL_TILE_FIRST(weights_of) LL_TILE(weights_of),               \
                 LL_TILES(weights_of), r2, part)

#ifndef LL_OWN_SUMS_4
LL_SUMS_4(ll_sums_4, int8_t, LL_APART, "", "")
LL_SUMS_4(ll_sums_joined_4, int8_t, LL_JOINED, LL_JOIN(r7, r11), LL_PART_4)
LL_SUMS_4(ll_sums_wide_4, int16_t, LL_WIDE, "", "")
#endif

/* Sums over one column --------------------------------------------------------------------
 * r0 column, r1 weights; sums r2 of P and r3 of Q; r4-r7 weights, r8-r11 numbers, lr end. */
#define LL_APART_1(x, w)                                                                           \
    LL_ASM_N("sxtb16 r12, " #w ", ror #8")                                                         \
    LL_ASM(sxtb16 w, w)                                                                            \
    LL_ASM(smlad r2, x, w, r2)                                                                     \
    LL_ASM(smlad r3, x, r12, r3)
#define LL_JOINED_1(x, w)                                                                          \
    LL_ASM(smlad r3, x, w, r3)                                                                     \
    LL_ASM(sxtb16 w, w)                                                                            \
    LL_ASM(smlad r2, x, w, r2)
#define LL_TWO_GROUPS_1(pair)                                                                      \
    LL_ASM(ldmia r1!, {r4-r7})                                                                     \
    LL_ASM(ldmia r0!, {r8-r11})                                                                    \
    pair(r8, r4)                                                                                   \
    pair(r9, r5)                                                                                   \
    pair(r10, r6)                                                                                  \
    pair(r11, r7)
#define LL_GROUP_1(pair)                                                                           \
    LL_ASM_N("ldrd r4, r5, [r1], #8")                                                              \
    LL_ASM_N("ldrd r8, r9, [r0], #8")                                                              \
    pair(r8, r4)                                                                                   \
    pair(r9, r5)
/* Wide weights of a group are as many as those of two others. */
#define LL_GROUP_WIDE_1                                                                            \
    LL_ASM(ldmia r1!, {r4-r7})                                                                     \
    LL_ASM_N("ldrd r8, r9, [r0], #8")                                                              \
    LL_ASM(smlad r2, r8, r4, r2)                                                                   \
    LL_ASM(smlad r3, r8, r5, r3)                                                                   \
    LL_ASM(smlad r2, r9, r6, r2)                                                                   \
    LL_ASM(smlad r3, r9, r7, r3)

/* On the stack: 0 bias, 4 sums, 8 their end, 12 column, 16 whether groups are an odd number. */
#define LL_SUMS_1(name, type, one, two, join, part)                                                \
    LL_ASSEMBLY void name(const int16_t *columns, const type *weights, const int32_t *bias,        \
                          int32_t *sums, int32_t groups, int32_t twos) {                           \
        __asm__ volatile(                                                                          \
            LL_ASM(push {r4-r11, lr})                                                              \
            LL_ASM_N("ldrd r4, r5, [sp, #36]")                                                     \
            LL_ASM_N("sub sp, sp, #20")                                                            \
            LL_ASM(strd r2, r3, [sp])                                                              \
            LL_ASM_N("add r3, r3, r5, lsl #3")                                                     \
            LL_ASM_N("strd r3, r0, [sp, #8]")                                                      \
            LL_ASM_N("add lr, r0, r4, lsl #3")                                                     \
            LL_ASM_N("and r4, r4, #1")                                                             \
            LL_ASM_N("str r4, [sp, #16]")                                                          \
            LL_ASM(4:)                                                                             \
            LL_ASM(ldr r12, [sp])                                                                  \
            LL_ASM_N("ldrd r2, r3, [r12], #8")                                                     \
            LL_ASM(str r12, [sp])                                                                  \
            join                                                                                   \
            LL_ASM_N("ldr r12, [sp, #16]")                                                         \
            LL_ASM_N("cmp r12, #0")                                                                \
            LL_ASM(beq 3f)                                                                         \
            one                                                                                    \
            LL_ASM(3:)                                                                             \
            LL_ASM(cmp r0, lr)                                                                     \
            LL_ASM(beq 2f)                                                                         \
            LL_ASM(1:)                                                                             \
            two                                                                                    \
            LL_ASM(cmp r0, lr)                                                                     \
            LL_ASM(bne 1b)                                                                         \
            LL_ASM(2:)                                                                             \
            part                                                                                   \
            LL_ASM_N("ldrd r12, r4, [sp, #4]")                                                     \
            LL_ASM(stmia r12!, {r2, r3})                                                           \
            LL_ASM_N("str r12, [sp, #4]")                                                          \
            LL_ASM_N("ldr r0, [sp, #12]")                                                          \
            LL_ASM(cmp r12, r4)                                                                    \
            LL_ASM(bne 4b)                                                                         \
            LL_ASM_N("add sp, sp, #20")                                                            \
            LL_ASM(pop {r4-r11, pc}));                                                             \
    }

LL_SUMS_1(ll_sums_1, int8_t, LL_GROUP_1(LL_APART_1), LL_TWO_GROUPS_1(LL_APART_1), "", "")
LL_SUMS_1(ll_sums_joined_1, int8_t, LL_GROUP_1(LL_JOINED_1), LL_TWO_GROUPS_1(LL_JOINED_1),
          LL_JOIN(r2, r3), LL_PART(r2, r3))
LL_SUMS_1(ll_sums_wide_1, int16_t, LL_GROUP_WIDE_1, LL_GROUP_WIDE_1 LL_GROUP_WIDE_1, "", "")

/* Depthwise windows of one channel -----------------------------------------------------------
 * Of a word x0-x3, `sxtb16` makes (x0, x2) and (x1, x3), which the weights meet as (w0, w2) and
 * (w1, w3); the pair (x4, x2) for the pixel two further is one `pkhbt`, and meets them
 * crosswise.
 *
 * Three rows of three, two pixels at a time.  r0 window, r1 sums, r2 bias, r4-r9 weights, a row
 * (w0, w2), (w1, -) each; r10, r11 sums; lr bytes between rows.
 * On the stack: 0 end of this row's sums, 4 rows left, 8 window of this row, 12 bytes of sums. */
#define LL_WINDOWS_3(name, body, next)                                                             \
    LL_ASSEMBLY void name(const int8_t *plane, const int16_t *weights, int32_t bias,               \
                          int32_t *sums, int32_t row, int32_t kh, int32_t rows, int32_t width) {   \
        __asm__ volatile(                                                                          \
            LL_ASM(push {r4-r11, lr})                                                              \
            LL_ASM_N("ldr lr, [sp, #36]")                                                          \
            LL_ASM_N("ldrd r10, r11, [sp, #44]")                                                   \
            LL_ASM_N("sub sp, sp, #20")                                                            \
            LL_ASM_N("lsl r11, r11, #2")                                                           \
            LL_ASM_N("str r10, [sp, #4]")                                                          \
            LL_ASM_N("str r11, [sp, #12]")                                                         \
            LL_ASM(ldmia r1, {r4-r9})                                                              \
            LL_ASM(mov r1, r3)                                                                     \
            LL_ASM(4:)                                                                             \
            LL_ASM_N("str r0, [sp, #8]")                                                           \
            LL_ASM_N("ldr r3, [sp, #12]")                                                          \
            LL_ASM(add r3, r3, r1)                                                                 \
            LL_ASM(str r3, [sp])                                                                   \
            LL_ASM(1:)                                                                             \
            body                                                                                   \
            LL_ASM_N("strd r10, r11, [r1], #8")                                                    \
            LL_ASM(ldr r3, [sp])                                                                   \
            LL_ASM(cmp r1, r3)                                                                     \
            LL_ASM(bne 1b)                                                                         \
            LL_ASM_N("ldrd r3, r0, [sp, #4]")                                                      \
            next                                                                                   \
            LL_ASM_N("subs r3, r3, #1")                                                            \
            LL_ASM_N("str r3, [sp, #4]")                                                           \
            LL_ASM(bne 4b)                                                                         \
            LL_ASM_N("add sp, sp, #20")                                                            \
            LL_ASM(pop {r4-r11, pc}));                                                             \
    }

/* Each row loads the word of the next one as soon as its own is spent. */
#define LL_ROW_3_1(even, middle, p, q, next)                                                       \
    LL_ASM(sxtb16 r12, r3)                                                                         \
    LL_ASM_N("sxtb16 r3, r3, ror #8")                                                              \
    LL_ASM(smlad r10, r12, even, p)                                                                \
    LL_ASM(smlad r11, r3, even, q)                                                                 \
    LL_ASM(smlabb r10, r3, middle, r10)                                                            \
    next                                                                                           \
    LL_ASM(smlatb r11, r12, middle, r11)
LL_WINDOWS_3(ll_windows_3_1,
    LL_ASM_N("ldr r3, [r0, lr, lsl #1]")
    LL_ROW_3_1(r8, r9, r2, r2, LL_ASM(ldr r3, [r0, lr]))
    LL_ROW_3_1(r6, r7, r10, r11, LL_ASM_N("ldr r3, [r0], #2"))
    LL_ROW_3_1(r4, r5, r10, r11, ""),
    LL_ASM(add r0, r0, lr))

/* With stride 2 the second pixel begins two further: its outer taps are a word of their own. */
#define LL_ROW_3_2(even, middle, p, q, next)                                                       \
    LL_ASM(sxtb16 r12, r3)                                                                         \
    LL_ASM_N("sxtb16 r3, r3, ror #8")                                                              \
    LL_ASM(smlatb r11, r3, middle, q)                                                              \
    LL_ASM(smlabb r10, r3, middle, p)                                                              \
    next                                                                                           \
    LL_ASM(smlad r10, r12, even, r10)
#define LL_ROW_3_2_OUTER(even, next)                                                               \
    LL_ASM(sxtb16 r12, r3)                                                                         \
    next                                                                                           \
    LL_ASM(smlad r11, r12, even, r11)
LL_WINDOWS_3(ll_windows_3_2,
    LL_ASM_N("ldr r3, [r0, lr, lsl #1]")
    LL_ROW_3_2(r8, r9, r2, r2, LL_ASM(ldr r3, [r0, lr]))
    LL_ROW_3_2(r6, r7, r10, r11, LL_ASM_N("ldr r3, [r0], #2"))
    LL_ROW_3_2(r4, r5, r10, r11, LL_ASM_N("ldr r3, [r0, lr, lsl #1]"))
    LL_ROW_3_2_OUTER(r8, LL_ASM(ldr r3, [r0, lr]))
    LL_ROW_3_2_OUTER(r6, LL_ASM_N("ldr r3, [r0], #2"))
    LL_ROW_3_2_OUTER(r4, ""),
    LL_ASM_N("add r0, r0, lr, lsl #1"))

/* Any number of rows of five or seven, four pixels at a time.  r0 a row of the window, r1 weights,
 * r4-r7 sums, r8-r10 weights, r2, r3, r11, r12 taps, lr bytes between rows.
 * On the stack: 0 sums, 4 their end in this row, 8 window, 12 window of this row, 16 weights,
 * 20 their end, 24 bias, 28 bytes of a row's sums, 32 rows left. */
#define LL_WINDOWS(name, end, body, step, next)                                                    \
    LL_ASSEMBLY void name(const int8_t *plane, const int16_t *weights, int32_t bias,               \
                          int32_t *sums, int32_t row, int32_t kh, int32_t rows, int32_t width) {   \
        __asm__ volatile(                                                                          \
            LL_ASM(push {r4-r11, lr})                                                              \
            LL_ASM_N("ldr lr, [sp, #36]")                                                          \
            LL_ASM_N("ldr r4, [sp, #40]")                                                          \
            LL_ASM_N("ldrd r5, r6, [sp, #44]")                                                     \
            LL_ASM_N("sub sp, sp, #36")                                                            \
            end                                                                                    \
            LL_ASM_N("strd r1, r4, [sp, #16]")                                                     \
            LL_ASM_N("lsl r6, r6, #2")                                                             \
            LL_ASM_N("strd r2, r6, [sp, #24]")                                                     \
            LL_ASM_N("str r5, [sp, #32]")                                                          \
            LL_ASM(str r3, [sp])                                                                   \
            LL_ASM(4:)                                                                             \
            LL_ASM_N("strd r0, r0, [sp, #8]")                                                      \
            LL_ASM(ldr r2, [sp])                                                                   \
            LL_ASM_N("ldr r3, [sp, #28]")                                                          \
            LL_ASM(add r3, r3, r2)                                                                 \
            LL_ASM_N("str r3, [sp, #4]")                                                           \
            LL_ASM(3:)                                                                             \
            LL_ASM_N("ldr r4, [sp, #24]")                                                          \
            LL_ASM(mov r5, r4)                                                                     \
            LL_ASM(mov r6, r4)                                                                     \
            LL_ASM(mov r7, r4)                                                                     \
            LL_ASM(1:)                                                                             \
            body                                                                                   \
            LL_ASM(add r0, r0, lr)                                                                 \
            LL_ASM_N("ldr r2, [sp, #20]")                                                          \
            LL_ASM(cmp r1, r2)                                                                     \
            LL_ASM(bne 1b)                                                                         \
            LL_ASM(ldrd r2, r3, [sp])                                                              \
            LL_ASM(stmia r2!, {r4-r7})                                                             \
            LL_ASM(str r2, [sp])                                                                   \
            LL_ASM_N("ldr r0, [sp, #8]")                                                           \
            step                                                                                   \
            LL_ASM_N("str r0, [sp, #8]")                                                           \
            LL_ASM_N("ldr r1, [sp, #16]")                                                          \
            LL_ASM(cmp r2, r3)                                                                     \
            LL_ASM(bne 3b)                                                                         \
            LL_ASM_N("ldr r0, [sp, #12]")                                                          \
            next                                                                                   \
            LL_ASM_N("ldr r3, [sp, #32]")                                                          \
            LL_ASM_N("subs r3, r3, #1")                                                            \
            LL_ASM_N("str r3, [sp, #32]")                                                          \
            LL_ASM(bne 4b)                                                                         \
            LL_ASM_N("add sp, sp, #36")                                                            \
            LL_ASM(pop {r4-r11, pc}));                                                             \
    }

/* End of the weights, from their begin r1 and the number of rows r4. */
#define LL_END_5                                                                                   \
    LL_ASM_N("add r4, r4, r4, lsl #1")                                                             \
    LL_ASM_N("add r4, r1, r4, lsl #2")
#define LL_END_7 LL_ASM_N("add r4, r1, r4, lsl #4")

#define LL_WORD(even, odd, at)                                                                     \
    LL_ASM_N("ldr " #odd ", [r0, #" #at "]")                                                       \
    LL_ASM(sxtb16 even, odd)                                                                       \
    LL_ASM_N("sxtb16 " #odd ", " #odd ", ror #8")
#define LL_MAC(how, sum, x, w) LL_ASM(how sum, x, w, sum)
#define LL_LATER(to, x, next) LL_ASM(pkhbt to, next, x)

/* The first four taps of four pixels, stride 1, from x0-x7; leaves (x4, x6) and (x5, x7). */
#define LL_FOUR_TAPS_1                                                                             \
    LL_WORD(r2, r3, 0)                                                                             \
    LL_WORD(r11, r12, 4)                                                                           \
    LL_MAC(smlad, r4, r2, r8)                                                                      \
    LL_MAC(smlad, r4, r3, r9)                                                                      \
    LL_LATER(r2, r2, r11)                                                                          \
    LL_MAC(smlad, r5, r3, r8)                                                                      \
    LL_MAC(smladx, r5, r2, r9)                                                                     \
    LL_LATER(r3, r3, r12)                                                                          \
    LL_MAC(smladx, r6, r2, r8)                                                                     \
    LL_MAC(smladx, r6, r3, r9)                                                                     \
    LL_MAC(smladx, r7, r3, r8)                                                                     \
    LL_MAC(smlad, r7, r11, r9)

/* Those of the first three pixels with stride 2, from x0-x7; leaves (x4, x6), (x5, x7), (x8, x10)
 * and (x9, x11). */
#define LL_FOUR_TAPS_2                                                                             \
    LL_WORD(r2, r3, 0)                                                                             \
    LL_WORD(r11, r12, 4)                                                                           \
    LL_MAC(smlad, r4, r2, r8)                                                                      \
    LL_MAC(smlad, r4, r3, r9)                                                                      \
    LL_LATER(r2, r2, r11)                                                                          \
    LL_LATER(r3, r3, r12)                                                                          \
    LL_MAC(smladx, r5, r2, r8)                                                                     \
    LL_MAC(smladx, r5, r3, r9)                                                                     \
    LL_MAC(smlad, r6, r11, r8)                                                                     \
    LL_MAC(smlad, r6, r12, r9)                                                                     \
    LL_WORD(r2, r3, 8)

LL_WINDOWS(ll_windows_5_1,
    LL_END_5,
    LL_ASM(ldmia r1!, {r8-r10})
    LL_FOUR_TAPS_1
    LL_MAC(smlabb, r4, r11, r10)
    LL_MAC(smlabb, r5, r12, r10)
    LL_MAC(smlatb, r6, r11, r10)
    LL_MAC(smlatb, r7, r12, r10),
    LL_ASM_N("add r0, r0, #4"),
    LL_ASM(add r0, r0, lr))

LL_WINDOWS(ll_windows_5_2,
    LL_END_5,
    LL_ASM(ldmia r1!, {r8-r10})
    LL_FOUR_TAPS_2
    LL_MAC(smlabb, r4, r11, r10)
    LL_MAC(smlatb, r5, r11, r10)
    LL_MAC(smlabb, r6, r2, r10)
    LL_LATER(r11, r11, r2)
    LL_LATER(r12, r12, r3)
    LL_MAC(smladx, r7, r11, r8)
    LL_MAC(smladx, r7, r12, r9)
    LL_MAC(smlatb, r7, r2, r10),
    LL_ASM_N("add r0, r0, #8"),
    LL_ASM_N("add r0, r0, lr, lsl #1"))

LL_WINDOWS(ll_windows_7_1,
    LL_END_7,
    LL_ASM_N("ldrd r8, r9, [r1], #8")
    LL_FOUR_TAPS_1
    LL_ASM_N("ldrd r8, r9, [r1], #8")
    LL_MAC(smlad, r4, r11, r8)
    LL_MAC(smlabb, r4, r12, r9)
    LL_MAC(smlad, r5, r12, r8)
    LL_MAC(smlatb, r5, r11, r9)
    LL_WORD(r2, r3, 8)
    LL_LATER(r11, r11, r2)
    LL_MAC(smladx, r6, r11, r8)
    LL_MAC(smlatb, r6, r12, r9)
    LL_LATER(r12, r12, r3)
    LL_MAC(smladx, r7, r12, r8)
    LL_MAC(smlabb, r7, r2, r9),
    LL_ASM_N("add r0, r0, #4"),
    LL_ASM(add r0, r0, lr))

LL_WINDOWS(ll_windows_7_2,
    LL_END_7,
    LL_ASM_N("ldrd r8, r9, [r1], #8")
    LL_FOUR_TAPS_2
    LL_LATER(r10, r11, r2)
    LL_MAC(smladx, r7, r10, r8)
    LL_LATER(r10, r12, r3)
    LL_MAC(smladx, r7, r10, r9)
    LL_ASM_N("ldrd r8, r9, [r1], #8")
    LL_MAC(smlad, r4, r11, r8)
    LL_MAC(smlabb, r4, r12, r9)
    LL_LATER(r10, r11, r2)
    LL_MAC(smladx, r5, r10, r8)
    LL_MAC(smlatb, r5, r12, r9)
    LL_MAC(smlad, r6, r2, r8)
    LL_MAC(smlabb, r6, r3, r9)
    LL_ASM_N("ldr r10, [r0, #12]")
    LL_ASM(sxtb16 r10, r10)
    LL_LATER(r10, r2, r10)
    LL_MAC(smladx, r7, r10, r8)
    LL_MAC(smlatb, r7, r3, r9),
    LL_ASM_N("add r0, r0, #8"),
    LL_ASM_N("add r0, r0, lr, lsl #1"))

/* clang-format on */

#include "dsp_back.h"
#include "dsp_pairs.h"
#include "dsp_rows.h"

#pragma GCC diagnostic pop

#include "dsp_winograd.h"

#endif
#endif

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
#include "base.h"

/* A function written in assembly: compilers see neither that it reads its arguments nor which
 * registers it changes, so they must not adapt it to its callers. */
#if __has_attribute(noipa)
#define LL_ASSEMBLY __attribute__((naked, noinline, unused, noipa)) static
#else
#define LL_ASSEMBLY __attribute__((naked, noinline, unused)) static
#endif
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

LL_INLINE int32_t ll_mulh_add(int32_t twice_a, int32_t b, int32_t c) {
    int32_t r;
    __asm__("smmlar %0, %1, %2, %3" : "=r"(r) : "r"(twice_a), "r"(b), "r"(c));
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

/* r0 to, r1 pixels' addresses -> r1-r3, r12; r4-r7 (k0, k2), r8-r11 (k1, k3) of four pixels */
LL_ASSEMBLY void ll_columns_4(int16_t *to, const int8_t *const *from, int32_t groups) {
    __asm__ volatile("push {r4-r11, lr}\n\t"
                     "add lr, r0, r2, lsl #5\n\t"
                     "ldr r2, [r1, #4]\n\t"
                     "ldr r3, [r1, #8]\n\t"
                     "ldr r12, [r1, #12]\n\t"
                     "ldr r1, [r1]\n"
                     "1:\n\t"
                     "ldr r8, [r1], #4\n\t"
                     "ldr r9, [r2], #4\n\t"
                     "ldr r10, [r3], #4\n\t"
                     "ldr r11, [r12], #4\n\t"
                     "sxtb16 r4, r8\n\t"
                     "sxtb16 r5, r9\n\t"
                     "sxtb16 r6, r10\n\t"
                     "sxtb16 r7, r11\n\t"
                     "sxtb16 r8, r8, ror #8\n\t"
                     "sxtb16 r9, r9, ror #8\n\t"
                     "sxtb16 r10, r10, ror #8\n\t"
                     "sxtb16 r11, r11, ror #8\n\t"
                     "stmia r0!, {r4-r11}\n\t"
                     "cmp r0, lr\n\t"
                     "bne 1b\n\t"
                     "pop {r4-r11, pc}");
}

/* r0 to, r1 from, r12 end */
LL_ASSEMBLY void ll_columns_1(int16_t *to, const int8_t *from, int32_t groups) {
    __asm__ volatile("add r12, r0, r2, lsl #3\n"
                     "1:\n\t"
                     "ldr r3, [r1], #4\n\t"
                     "sxtb16 r2, r3\n\t"
                     "sxtb16 r3, r3, ror #8\n\t"
                     "stmia r0!, {r2, r3}\n\t"
                     "cmp r0, r12\n\t"
                     "bne 1b\n\t"
                     "bx lr");
}

/* One pair of numbers of four pixels times two channels: 16 products.
 *
 * r0 columns, r1 weights; sums r4-r7 of P and r8-r11 of Q, which start from p0-q3; r2, r3 two
 * pixels; r12, lr weights.  13 instructions of 4 bytes, or 12 where Q needs no widening. */
#define LL_TILE_FROM(widen_q, p0, p1, p2, p3, q0, q1, q2, q3)                                      \
    "ldr lr, [r1], #4\n\t"                                                                         \
    "ldrd r2, r3, [r0], #8\n\t"                                                                    \
    "sxtb16 r12, lr\n\t" widen_q "smlad r4, r2, r12, " p0 "\n\t"                                   \
    "smlad r8, r2, lr, " q0 "\n\t"                                                                 \
    "smlad r5, r3, r12, " p1 "\n\t"                                                                \
    "smlad r9, r3, lr, " q1 "\n\t"                                                                 \
    "ldrd r2, r3, [r0], #8\n\t"                                                                    \
    "smlad r6, r2, r12, " p2 "\n\t"                                                                \
    "smlad r10, r2, lr, " q2 "\n\t"                                                                \
    "smlad r7, r3, r12, " p3 "\n\t"                                                                \
    "smlad r11, r3, lr, " q3 "\n\t"
#define LL_TILE_PAIR(widen_q)                                                                      \
    LL_TILE_FROM(widen_q, "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11")
#define LL_TILE_GROUP(widen_q) LL_TILE_PAIR(widen_q) LL_TILE_PAIR(widen_q)
#define LL_TILE_FIRST(widen_q)                                                                     \
    LL_TILE_FROM(widen_q, "r7", "r7", "r7", "r7", "r11", "r11", "r11", "r11")

#define LL_TILE_APART "sxtb16 lr, lr, ror #8\n\t"
#define LL_TILE_JOINED ""

/* Of joined weights: the bias of Q joins that of P, and the sums part. */
#define LL_TILE_JOIN "add r11, r7, r11, lsl #8\n\t"
#define LL_TILE_PART(p, q) "sub " q ", " q ", " p "\n\tasr " q ", " q ", #8\n\t"
#define LL_TILE_PART_4                                                                             \
    LL_TILE_PART("r4", "r8")                                                                       \
    LL_TILE_PART("r5", "r9") LL_TILE_PART("r6", "r10") LL_TILE_PART("r7", "r11")

/* On the stack: 0 bias, 4 sums, 8 their end, 12 columns, 16 their end, 20 groups that are left
 * when the first is done, modulo four: how far into the loop of four groups to begin. */
#define LL_SUMS_4(name, widen_q, join, part)                                                                             \
    LL_ASSEMBLY void name(const int16_t *columns, const int8_t *weights, const int32_t *bias,                            \
                          int32_t *sums, int32_t groups, int32_t twos) {                                                 \
        __asm__ volatile(                                                                                                \
            "push {r4-r11, lr}\n\t"                                                                                      \
            "ldrd r4, r5, [sp, #36]\n\t"                                                                                 \
            "sub sp, sp, #28\n\t"                                                                                        \
            "strd r2, r3, [sp]\n\t"                                                                                      \
            "add r3, r3, r5, lsl #5\n\t"                                                                                 \
            "strd r3, r0, [sp, #8]\n\t"                                                                                  \
            "add r2, r0, r4, lsl #5\n\t"                                                                                 \
            "sub r4, r4, #1\n\t"                                                                                         \
            "and r4, r4, #3\n\t"                                                                                         \
            "strd r2, r4, [sp, #16]\n"                                                                                   \
            "4:\n\t"                                                                                                     \
            "ldr r12, [sp]\n\t"                                                                                          \
            "ldrd r7, r11, [r12], #8\n\t"                                                                                \
            "str r12, [sp]\n\t" join                                                                                     \
                LL_TILE_FIRST(widen_q)                                                                                   \
                    LL_TILE_PAIR(                                                                                        \
                        widen_q) "ldr r2, [sp, #20]\n\t"                                                                 \
                                 "tbb [pc, r2]\n"                                                                        \
                                 "5:\n\t"                                                                                \
                                 ".byte (2f - 5b) / 2, (8f - 5b) / 2, (7f - 5b) / 2, (6f - 5b) / "                       \
                                 "2\n"                                                                                   \
                                 "1:\n\t" LL_TILE_GROUP(widen_q) "6:\n\t" LL_TILE_GROUP(widen_q) "7:\n\t" LL_TILE_GROUP( \
                                     widen_q) "8:\n\t" LL_TILE_GROUP(widen_q) "2:\n\t"                                   \
                                                                              "ldr r12, [sp, "                           \
                                                                              "#16]\n\t"                                 \
                                                                              "cmp r0, r12\n\t"                          \
                                                                              "bne 1b\n\t" part                          \
                                                                              "ldrd r12, r2, "                           \
                                                                              "[sp, #4]\n\t"                             \
                                                                              "stmia r12!, "                             \
                                                                              "{r4-r11}\n\t"                             \
                                                                              "str r12, [sp, "                           \
                                                                              "#4]\n\t"                                  \
                                                                              "ldr r0, [sp, "                            \
                                                                              "#12]\n\t"                                 \
                                                                              "cmp r12, r2\n\t"                          \
                                                                              "bne 4b\n\t"                               \
                                                                              "add sp, sp, "                             \
                                                                              "#28\n\t"                                  \
                                                                              "pop {r4-r11, pc}");                       \
    }

LL_SUMS_4(ll_sums_4, LL_TILE_APART, "", "")
LL_SUMS_4(ll_sums_joined_4, LL_TILE_JOINED, LL_TILE_JOIN, LL_TILE_PART_4)

/* One pair of numbers of one pixel times two channels; sums r2 of P and r3 of Q. */
#define LL_TILE_APART_1(x, w)                                                                      \
    "sxtb16 r12, " w ", ror #8\n\t"                                                                \
    "sxtb16 " w ", " w "\n\t"                                                                      \
    "smlad r2, " x ", " w ", r2\n\t"                                                               \
    "smlad r3, " x ", r12, r3\n\t"
#define LL_TILE_JOINED_1(x, w)                                                                     \
    "smlad r3, " x ", " w ", r3\n\t"                                                               \
    "sxtb16 " w ", " w "\n\t"                                                                      \
    "smlad r2, " x ", " w ", r2\n\t"

/* On the stack: 0 bias, 4 sums, 8 their end, 12 columns, 16 whether groups are an odd number;
 * lr is the end of the columns. */
#define LL_SUMS_1(name, pair, join, part)                                                          \
    LL_ASSEMBLY void name(const int16_t *columns, const int8_t *weights, const int32_t *bias,      \
                          int32_t *sums, int32_t groups, int32_t twos) {                           \
        __asm__ volatile(                                                                          \
            "push {r4-r11, lr}\n\t"                                                                \
            "ldrd r4, r5, [sp, #36]\n\t"                                                           \
            "sub sp, sp, #20\n\t"                                                                  \
            "strd r2, r3, [sp]\n\t"                                                                \
            "add r3, r3, r5, lsl #3\n\t"                                                           \
            "strd r3, r0, [sp, #8]\n\t"                                                            \
            "add lr, r0, r4, lsl #3\n\t"                                                           \
            "and r4, r4, #1\n\t"                                                                   \
            "str r4, [sp, #16]\n"                                                                  \
            "4:\n\t"                                                                               \
            "ldr r12, [sp]\n\t"                                                                    \
            "ldrd r2, r3, [r12], #8\n\t"                                                           \
            "str r12, [sp]\n\t" join "ldr r12, [sp, #16]\n\t"                                      \
            "cmp r12, #0\n\t"                                                                      \
            "beq 3f\n\t"                                                                           \
            "ldrd r4, r5, [r1], #8\n\t"                                                            \
            "ldrd r8, r9, [r0], #8\n\t" pair("r8", "r4") pair(                                     \
                "r9", "r5") "3:\n\t"                                                               \
                            "cmp r0, lr\n\t"                                                       \
                            "beq 2f\n"                                                             \
                            "1:\n\t"                                                               \
                            "ldmia r1!, {r4-r7}\n\t"                                               \
                            "ldmia r0!, {r8-r11}\n\t"                                              \
                            "cmp r0, lr\n\t" pair("r8", "r4") pair("r9", "r5") pair("r10", "r6")   \
                                pair("r11", "r7") "bne 1b\n"                                       \
                                                  "2:\n\t" part "ldrd r12, r4, [sp, #4]\n\t"       \
                                                  "stmia r12!, {r2, r3}\n\t"                       \
                                                  "str r12, [sp, #4]\n\t"                          \
                                                  "ldr r0, [sp, #12]\n\t"                          \
                                                  "cmp r12, r4\n\t"                                \
                                                  "bne 4b\n\t"                                     \
                                                  "add sp, sp, #20\n\t"                            \
                                                  "pop {r4-r11, pc}");                             \
    }

LL_SUMS_1(ll_sums_1, LL_TILE_APART_1, "", "")
LL_SUMS_1(ll_sums_joined_1, LL_TILE_JOINED_1, "add r3, r2, r3, lsl #8\n\t",
          LL_TILE_PART("r2", "r3"))

/* Depthwise convolution of one channel.  Of a word x0-x3, `sxtb16` makes (x0, x2) and (x1, x3),
 * which the weights meet as (w0, w2) and (w1, w3); the pair (x4, x2) for the pixel two further is
 * one `pkhbt`, and meets them crosswise. */

/* Three rows of three, two pixels at a time.  r0 window, r1 sums, r2 bias, r4-r9 weights, a row
 * (w0, w2), (w1, 0) each; r10, r11 sums; lr bytes between rows.
 * On the stack: 0 end of this row's sums, 4 rows left, 8 window of this row, 12 bytes of sums. */
#define LL_WINDOWS_3(name, body, next)                                                             \
    LL_ASSEMBLY void name(const int8_t *plane, const int16_t *weights, int32_t bias,               \
                          int32_t *sums, int32_t row, int32_t kh, int32_t rows, int32_t width) {   \
        __asm__ volatile("push {r4-r11, lr}\n\t"                                                   \
                         "ldr lr, [sp, #36]\n\t"                                                   \
                         "ldrd r10, r11, [sp, #44]\n\t"                                            \
                         "sub sp, sp, #20\n\t"                                                     \
                         "lsl r11, r11, #2\n\t"                                                    \
                         "str r10, [sp, #4]\n\t"                                                   \
                         "str r11, [sp, #12]\n\t"                                                  \
                         "ldmia r1, {r4-r9}\n\t"                                                   \
                         "mov r1, r3\n"                                                            \
                         "4:\n\t"                                                                  \
                         "str r0, [sp, #8]\n\t"                                                    \
                         "ldr r3, [sp, #12]\n\t"                                                   \
                         "add r3, r3, r1\n\t"                                                      \
                         "str r3, [sp]\n"                                                          \
                         "1:\n\t" body "strd r10, r11, [r1], #8\n\t"                               \
                         "ldr r3, [sp]\n\t"                                                        \
                         "cmp r1, r3\n\t"                                                          \
                         "bne 1b\n\t"                                                              \
                         "ldrd r3, r0, [sp, #4]\n\t"                                               \
                         "add r0, r0, " next "\n\t"                                                \
                         "subs r3, r3, #1\n\t"                                                     \
                         "str r3, [sp, #4]\n\t"                                                    \
                         "bne 4b\n\t"                                                              \
                         "add sp, sp, #20\n\t"                                                     \
                         "pop {r4-r11, pc}");                                                      \
    }

#define LL_ROW_3_1(at, even, middle, p, q)                                                         \
    "ldr r3, " at "\n\t"                                                                           \
    "sxtb16 r12, r3\n\t"                                                                           \
    "sxtb16 r3, r3, ror #8\n\t"                                                                    \
    "smlad r10, r12, " even ", " p "\n\t"                                                          \
    "smlad r11, r3, " even ", " q "\n\t"                                                           \
    "smlabb r10, r3, " middle ", r10\n\t"                                                          \
    "smlatb r11, r12, " middle ", r11\n\t"
LL_WINDOWS_3(ll_windows_3_1,
             LL_ROW_3_1("[r0, lr, lsl #1]", "r8", "r9", "r2", "r2")
                 LL_ROW_3_1("[r0, lr]", "r6", "r7", "r10", "r11")
                     LL_ROW_3_1("[r0], #2", "r4", "r5", "r10", "r11"),
             "lr")

/* With stride 2 the second pixel begins two further: its outer taps are a word of their own. */
#define LL_ROW_3_2(at, even, middle, p, q)                                                         \
    "ldr r3, " at "\n\t"                                                                           \
    "sxtb16 r12, r3\n\t"                                                                           \
    "sxtb16 r3, r3, ror #8\n\t"                                                                    \
    "smlad r10, r12, " even ", " p "\n\t"                                                          \
    "smlatb r11, r3, " middle ", " q "\n\t"                                                        \
    "smlabb r10, r3, " middle ", r10\n\t"
#define LL_ROW_3_2_OUTER(at, even)                                                                 \
    "ldr r3, " at "\n\t"                                                                           \
    "sxtb16 r3, r3\n\t"                                                                            \
    "smlad r11, r3, " even ", r11\n\t"
LL_WINDOWS_3(ll_windows_3_2,
             LL_ROW_3_2("[r0, lr, lsl #1]", "r8", "r9", "r2", "r2")
                 LL_ROW_3_2("[r0, lr]", "r6", "r7", "r10", "r11")
                     LL_ROW_3_2("[r0], #2", "r4", "r5", "r10", "r11")
                         LL_ROW_3_2_OUTER("[r0, lr, lsl #1]", "r8")
                             LL_ROW_3_2_OUTER("[r0, lr]", "r6") LL_ROW_3_2_OUTER("[r0], #2", "r4"),
             "lr, lsl #1")

/* Any number of rows of five or seven, four pixels at a time.  r0 a row of the window, r1 weights,
 * r4-r7 sums, r8-r10 weights, r2, r3, r11, r12 taps, lr bytes between rows.
 * On the stack: 0 sums, 4 their end in this row, 8 window, 12 window of this row, 16 weights,
 * 20 their end, 24 bias, 28 bytes of a row's sums, 32 rows left. */
#define LL_WINDOWS(name, end, body, step, next)                                                    \
    LL_ASSEMBLY void name(const int8_t *plane, const int16_t *weights, int32_t bias,               \
                          int32_t *sums, int32_t row, int32_t kh, int32_t rows, int32_t width) {   \
        __asm__ volatile("push {r4-r11, lr}\n\t"                                                   \
                         "ldr lr, [sp, #36]\n\t"                                                   \
                         "ldr r4, [sp, #40]\n\t"                                                   \
                         "ldrd r5, r6, [sp, #44]\n\t"                                              \
                         "sub sp, sp, #36\n\t" end "strd r1, r4, [sp, #16]\n\t"                    \
                         "lsl r6, r6, #2\n\t"                                                      \
                         "strd r2, r6, [sp, #24]\n\t"                                              \
                         "str r5, [sp, #32]\n\t"                                                   \
                         "str r3, [sp]\n"                                                          \
                         "4:\n\t"                                                                  \
                         "strd r0, r0, [sp, #8]\n\t"                                               \
                         "ldr r2, [sp]\n\t"                                                        \
                         "ldr r3, [sp, #28]\n\t"                                                   \
                         "add r3, r3, r2\n\t"                                                      \
                         "str r3, [sp, #4]\n"                                                      \
                         "3:\n\t"                                                                  \
                         "ldr r4, [sp, #24]\n\t"                                                   \
                         "mov r5, r4\n\t"                                                          \
                         "mov r6, r4\n\t"                                                          \
                         "mov r7, r4\n"                                                            \
                         "1:\n\t" body "add r0, r0, lr\n\t"                                        \
                         "ldr r2, [sp, #20]\n\t"                                                   \
                         "cmp r1, r2\n\t"                                                          \
                         "bne 1b\n\t"                                                              \
                         "ldrd r2, r3, [sp]\n\t"                                                   \
                         "stmia r2!, {r4-r7}\n\t"                                                  \
                         "str r2, [sp]\n\t"                                                        \
                         "ldr r0, [sp, #8]\n\t"                                                    \
                         "add r0, r0, #" step "\n\t"                                               \
                         "str r0, [sp, #8]\n\t"                                                    \
                         "ldr r1, [sp, #16]\n\t"                                                   \
                         "cmp r2, r3\n\t"                                                          \
                         "bne 3b\n\t"                                                              \
                         "ldr r0, [sp, #12]\n\t"                                                   \
                         "add r0, r0, " next "\n\t"                                                \
                         "ldr r3, [sp, #32]\n\t"                                                   \
                         "subs r3, r3, #1\n\t"                                                     \
                         "str r3, [sp, #32]\n\t"                                                   \
                         "bne 4b\n\t"                                                              \
                         "add sp, sp, #36\n\t"                                                     \
                         "pop {r4-r11, pc}");                                                      \
    }

/* End of the weights from their begin r1 and the number of rows r4. */
#define LL_END_5 "add r4, r4, r4, lsl #1\n\tadd r4, r1, r4, lsl #2\n\t"
#define LL_END_7 "add r4, r1, r4, lsl #4\n\t"

#define LL_TAPS_WORD(even, odd, at)                                                                \
    "ldr " odd ", [r0, #" at "]\n\t"                                                               \
    "sxtb16 " even ", " odd "\n\t"                                                                 \
    "sxtb16 " odd ", " odd ", ror #8\n\t"
#define LL_MAC(how, sum, x, w) how " " sum ", " x ", " w ", " sum "\n\t"
#define LL_LATER(x, next) "pkhbt " x ", " next ", " x "\n\t"

/* The first four taps of four pixels, stride 1, from x0-x7; leaves (x4, x6) and (x5, x7). */
#define LL_FOUR_TAPS_1                                                                             \
    LL_TAPS_WORD("r2", "r3", "0")                                                                  \
    LL_TAPS_WORD("r11", "r12", "4")                                                                \
    LL_MAC("smlad", "r4", "r2", "r8")                                                              \
    LL_MAC("smlad", "r4", "r3", "r9")                                                              \
    LL_LATER("r2", "r11")                                                                          \
    LL_MAC("smlad", "r5", "r3", "r8")                                                              \
    LL_MAC("smladx", "r5", "r2", "r9")                                                             \
    LL_LATER("r3", "r12")                                                                          \
    LL_MAC("smladx", "r6", "r2", "r8")                                                             \
    LL_MAC("smladx", "r6", "r3", "r9")                                                             \
    LL_MAC("smladx", "r7", "r3", "r8")                                                             \
    LL_MAC("smlad", "r7", "r11", "r9")

/* The same with stride 2, from x0-x11; leaves x4-x7 as they are, and (x8, x10), (x9, x11). */
#define LL_FOUR_TAPS_2                                                                             \
    LL_TAPS_WORD("r2", "r3", "0")                                                                  \
    LL_TAPS_WORD("r11", "r12", "4")                                                                \
    LL_MAC("smlad", "r4", "r2", "r8")                                                              \
    LL_MAC("smlad", "r4", "r3", "r9")                                                              \
    LL_LATER("r2", "r11")                                                                          \
    LL_LATER("r3", "r12")                                                                          \
    LL_MAC("smladx", "r5", "r2", "r8")                                                             \
    LL_MAC("smladx", "r5", "r3", "r9")                                                             \
    LL_MAC("smlad", "r6", "r11", "r8")                                                             \
    LL_MAC("smlad", "r6", "r12", "r9")                                                             \
    LL_TAPS_WORD("r2", "r3", "8")

#define LL_ROW_5_1                                                                                 \
    "ldmia r1!, {r8-r10}\n\t" LL_FOUR_TAPS_1 LL_MAC("smlabb", "r4", "r11", "r10")                  \
        LL_MAC("smlabb", "r5", "r12", "r10") LL_MAC("smlatb", "r6", "r11", "r10")                  \
            LL_MAC("smlatb", "r7", "r12", "r10")
LL_WINDOWS(ll_windows_5_1, LL_END_5, LL_ROW_5_1, "4", "lr")

#define LL_ROW_5_2                                                                                 \
    "ldmia r1!, {r8-r10}\n\t" LL_FOUR_TAPS_2 LL_MAC("smlabb", "r4", "r11", "r10")                  \
        LL_MAC("smlatb", "r5", "r11", "r10") LL_MAC("smlabb", "r6", "r2", "r10")                   \
            LL_LATER("r11", "r2") LL_LATER("r12", "r3") LL_MAC("smladx", "r7", "r11", "r8")        \
                LL_MAC("smladx", "r7", "r12", "r9") LL_MAC("smlatb", "r7", "r2", "r10")
LL_WINDOWS(ll_windows_5_2, LL_END_5, LL_ROW_5_2, "8", "lr, lsl #1")

#define LL_ROW_7_1                                                                                 \
    "ldrd r8, r9, [r1], #8\n\t" LL_FOUR_TAPS_1                                                     \
    "ldrd r8, r9, [r1], #8\n\t" LL_MAC("smlad", "r4", "r11", "r8")                                 \
        LL_MAC("smlabb", "r4", "r12", "r9") LL_MAC("smlad", "r5", "r12", "r8")                     \
            LL_MAC("smlatb", "r5", "r11", "r9") LL_TAPS_WORD("r2", "r3", "8")                      \
                LL_LATER("r11", "r2") LL_MAC("smladx", "r6", "r11", "r8")                          \
                    LL_MAC("smlatb", "r6", "r12", "r9") LL_LATER("r12", "r3")                      \
                        LL_MAC("smladx", "r7", "r12", "r8") LL_MAC("smlabb", "r7", "r2", "r9")
LL_WINDOWS(ll_windows_7_1, LL_END_7, LL_ROW_7_1, "4", "lr")

#define LL_ROW_7_2                                                                                 \
    "ldrd r8, r9, [r1], #8\n\t" LL_FOUR_TAPS_2                                                     \
    "pkhbt r10, r2, r11\n\t" LL_MAC("smladx", "r7", "r10", "r8") "pkhbt r10, r3, r12\n\t" LL_MAC(  \
        "smladx", "r7", "r10", "r9") "ldrd r8, r9, [r1], #8\n\t" LL_MAC("smlad", "r4", "r11",      \
                                                                        "r8")                      \
        LL_MAC("smlabb", "r4", "r12", "r9") "pkhbt r10, r2, r11\n\t" LL_MAC("smladx", "r5", "r10", \
                                                                            "r8")                  \
            LL_MAC("smlatb", "r5", "r12", "r9") LL_MAC("smlad", "r6", "r2", "r8")                  \
                LL_MAC("smlabb", "r6", "r3", "r9") "ldr r10, [r0, #12]\n\t"                        \
                                                   "sxtb16 r10, r10\n\t"                           \
                                                   "pkhbt r10, r10, r2\n\t" LL_MAC("smladx", "r7", \
                                                                                   "r10", "r8")    \
                                                       LL_MAC("smlatb", "r7", "r3", "r9")
LL_WINDOWS(ll_windows_7_2, LL_END_7, LL_ROW_7_2, "8", "lr, lsl #1")

#pragma GCC diagnostic pop

#endif
#endif

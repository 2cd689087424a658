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

/* acc += sum of x * weight over a run, for four channels: ten instructions for 64 products.  In
 * assembly, because only some compilers make such loops. */
LL_INLINE void ll_run_of_four(int32_t *acc, const int8_t *x, const int8_t *w, int32_t depth,
                              int32_t n) {
    const int8_t *w1 = w + depth, *w2 = w + depth * 2, *w3 = w + depth * 3;
    int32_t a = acc[0], b = acc[1], c = acc[2], d = acc[3];
    __asm__("dlstp.8 lr, %[n]\n"
            "1:\n\t"
            "vldrb.8 q0, [%[x]], #16\n\t"
            "vldrb.8 q1, [%[w]], #16\n\t"
            "vmladava.s8 %[a], q0, q1\n\t"
            "vldrb.8 q2, [%[w1]], #16\n\t"
            "vmladava.s8 %[b], q0, q2\n\t"
            "vldrb.8 q1, [%[w2]], #16\n\t"
            "vmladava.s8 %[c], q0, q1\n\t"
            "vldrb.8 q2, [%[w3]], #16\n\t"
            "vmladava.s8 %[d], q0, q2\n\t"
            "letp lr, 1b"
            : [a] "+Te"(a), [b] "+Te"(b), [c] "+Te"(c), [d] "+Te"(d), [x] "+r"(x), [w] "+r"(w),
              [w1] "+r"(w1), [w2] "+r"(w2), [w3] "+r"(w3)
            : [n] "r"(n)
            : "lr", "q0", "q1", "q2", "memory");
    acc[0] = a;
    acc[1] = b;
    acc[2] = c;
    acc[3] = d;
}

LL_INLINE int32_t ll_run_of_one(int32_t acc, const int8_t *x, const int8_t *w, int32_t n) {
    for (; n > 0; n -= 16, x += 16, w += 16) {
        const mve_pred16_t p = vctp8q((uint32_t)n);
        acc = vmladavaq_s8(acc, vldrbq_z_s8(x, p), vldrbq_z_s8(w, p));
    }
    return acc;
}

LL_INLINE void ll_fours(const int8_t *const *runs, int32_t count, int32_t n, const int8_t *weights,
                        const int32_t *bias, int32_t *sums, int32_t channels) {
    const int32_t depth = count * n;
    for (; channels >= 4; channels -= 4, weights += depth * 4, bias += 4, sums += 4) {
        int32_t acc[4] = {bias[0], bias[1], bias[2], bias[3]};
        for (int32_t k = 0; k < count; ++k) {
            ll_run_of_four(acc, runs[k], weights + k * n, depth, n);
        }
        __builtin_memcpy(sums, acc, sizeof acc);
    }
    for (int32_t i = 0; i < channels; ++i) {
        sums[i] = bias[i];
        for (int32_t k = 0; k < count; ++k, weights += n) {
            sums[i] = ll_run_of_one(sums[i], runs[k], weights, n);
        }
    }
}

/* Sixteen channels.  Two products of a lane fit in 16 bits, since no weight is -128; lanes 0, 4,
 * .., 1, 5, .. and so on gather in a vector each, which `vst4` puts in order. */
LL_INLINE void ll_taps_lanes(const int8_t *const *taps, int32_t count, const int8_t *weights,
                             int32_t apart, const int32_t *bias, int32_t *sums, int32_t c0,
                             int32_t c1) {
    for (int32_t c = c0; c < c1; c += 16) {
        const mve_pred16_t p = vctp8q((uint32_t)(c1 - c));
        const int8_t *w = weights + c;
        int32x4x4_t acc = {
            {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)},
        };
        for (int32_t t = 0; t < count; t += 2, w += apart * 2) {
            int8x16_t x = vldrbq_z_s8(taps[t] + c, p), v = vldrbq_z_s8(w, p);
            int16x8_t even = vmullbq_int_s8(x, v), odd = vmulltq_int_s8(x, v);
            if (t + 1 < count) {
                x = vldrbq_z_s8(taps[t + 1] + c, p);
                v = vldrbq_z_s8(w + apart, p);
                even = vaddq_s16(even, vmullbq_int_s8(x, v));
                odd = vaddq_s16(odd, vmulltq_int_s8(x, v));
            }
            acc.val[0] = vaddq_s32(acc.val[0], vmovlbq_s16(even));
            acc.val[1] = vaddq_s32(acc.val[1], vmovlbq_s16(odd));
            acc.val[2] = vaddq_s32(acc.val[2], vmovltq_s16(even));
            acc.val[3] = vaddq_s32(acc.val[3], vmovltq_s16(odd));
        }
        vst4q_s32(sums + (c - c0), acc);
    }
    for (int32_t i = 0; i < c1 - c0; i += 4) {
        const mve_pred16_t p = vctp32q((uint32_t)(c1 - c0 - i));
        const int32x4_t start = vldrwq_z_s32(bias + c0 + i, p);
        vstrwq_p_s32(sums + i, vaddq_s32(vldrwq_z_s32(sums + i, p), start), p);
    }
}

/* `vqrdmulh` is the high half of 2ab rounded to nearest, ties up, as `ll_mulh_near`; `vrshl` rounds
 * ties up, so a negative number that is shifted loses one first, as in `ll_away`. */
LL_INLINE void ll_requant_lanes(int32_t *sums, int32_t n, const int32_t *mult, const int32_t *shift,
                                int32_t zero) {
    for (int32_t i = 0; i < n; i += 4) {
        const mve_pred16_t p = vctp32q((uint32_t)(n - i));
        const int32x4_t m = vldrwq_z_s32(mult + i, p), s = vldrwq_z_s32(shift + i, p);
        const int32x4_t right = vminq_s32(s, vdupq_n_s32(0));
        int32x4_t v = vldrwq_z_s32(sums + i, p);
        v = vqrdmulhq_s32(vshlq_s32(v, vmaxq_s32(s, vdupq_n_s32(0))), m);
        v = vrshlq_s32(vqaddq_s32(v, vshrq_n_s32(vandq_s32(v, right), 31)), right);
        v = vminq_s32(vmaxq_s32(v, vdupq_n_s32(-128 - zero)), vdupq_n_s32(127 - zero));
        vstrwq_p_s32(sums + i, vaddq_n_s32(v, zero), p);
    }
}
#endif
#endif

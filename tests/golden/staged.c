/* staged: written by lilliput 0.1.0; do not edit */
#include "staged.h"

#include "lilliput/isa/generic.h"
#include "lilliput/elementwise.h"
#include "lilliput/float.h"
#include "staged_data.h"

#ifdef STAGED_ARENA_RAM
extern uint8_t STAGED_ARENA_RAM[]; /* the caller provides it, aligned to 16 */
#define staged_arena_ram STAGED_ARENA_RAM
#else
#ifndef STAGED_ARENA_RAM_SECTION
#define STAGED_ARENA_RAM_SECTION
#endif
static STAGED_ARENA_RAM_SECTION _Alignas(16) uint8_t staged_arena_ram[STAGED_ARENA_RAM_BYTES];
#endif

#ifdef STAGED_ARENA_FAR
extern uint8_t STAGED_ARENA_FAR[]; /* the caller provides it, aligned to 16 */
#define staged_arena_far STAGED_ARENA_FAR
#else
#ifndef STAGED_ARENA_FAR_SECTION
#define STAGED_ARENA_FAR_SECTION __attribute__((section(".ll_arena_far")))
#endif
static STAGED_ARENA_FAR_SECTION _Alignas(16) uint8_t staged_arena_far[STAGED_ARENA_FAR_BYTES];
#endif

#define LL_NAME(kernel) ll_##kernel##_int32_3_ll_sums_joined_9_int8_int8
#define LL_ACC int32_t
#define LL_R int32_t
#define LL_ROWS 3
#define LL_SUMS ll_sums_joined
#define LL_TAPS 9
#define LL_W int8_t
#define LL_Y int8_t
#include "lilliput/kernels/gemm.inc"
#undef LL_NAME
#undef LL_ACC
#undef LL_R
#undef LL_ROWS
#undef LL_SUMS
#undef LL_TAPS
#undef LL_W
#undef LL_Y

#define LL_NAME(kernel) ll_##kernel##_int32_14_1_1_int8
#define LL_ACC int32_t
#define LL_CHUNK 14
#define LL_R int32_t
#define LL_ROWS 1
#define LL_TAPS 1
#define LL_Y int8_t
#include "lilliput/kernels/fours.inc"
#undef LL_NAME
#undef LL_ACC
#undef LL_CHUNK
#undef LL_R
#undef LL_ROWS
#undef LL_TAPS
#undef LL_Y

/* gemm of steps 0 */
LL_INLINE int32_t staged_store0(const ll_at *at, int32_t acc)
{
    const int32_t v0 = ll_sat8((ll_away(ll_mulh_add(ll_wrap_shl(acc, 1), ((const int32_t *)(const void *)at->row[0])[at->c], 0)) + ((const int32_t *)(const void *)at->row[1])[at->c]) >> ((const int8_t *)(const void *)at->row[2])[at->c]);
    return v0;
}

typedef struct {
    const void *in0;
    const void *in1;
    const void *in2;
    const void *in3;
    const void *in4;
    const void *in5;
    const void *in6;
    void *out0;
    void *scratch;
} staged_call0;
LL_NOINLINE void staged_gemm0(const staged_call0 *a)
{
    const ll_gemm_params p = {.in_h = 6, .in_w = 5, .in_c = 4, .out_h = 6, .kh = 3, .kw = 3, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .pad_top = 1, .pad_left = 1, .groups = 9, .chunk = 10, .patch = 36};
    const ll_in in[7] = {
        {a->in0, 20, 4, LL_WHOLE, 0, 1, 0},
        {a->in1, 0, 360, LL_WHOLE, 0, 1, 0},
        {a->in2, 0, 40, LL_WHOLE, 0, 4, 0},
        {a->in3, 0, 12, LL_WHOLE, 0, 1, 0},
        {a->in4, 0, 0, LL_WHOLE, 0, 4, 0},
        {a->in5, 0, 0, LL_WHOLE, 0, 4, 0},
        {a->in6, 0, 0, LL_WHOLE, 0, 1, 0},
    };
    const ll_out out[1] = {
        {a->out0, 50, 10, LL_WHOLE, 0, 1, 0},
    };
    const ll_region r = {0, 6, 0, 5, 0, 10};
    ll_gemm_int32_3_ll_sums_joined_9_int8_int8(&p, in, out, &r, a->scratch, in + 4, 3, staged_store0);
    LL_STEP_END();
}

/* fours of steps 7 */
LL_INLINE int32_t staged_store1(const ll_at *at, int32_t acc)
{
    const int32_t v0 = ll_sat8((ll_away(ll_mulh_add(ll_wrap_shl(acc, 1), ((const int32_t *)(const void *)at->row[0])[at->c], 0)) + ((const int32_t *)(const void *)at->row[1])[at->c]) >> ((const int8_t *)(const void *)at->row[2])[at->c]);
    return v0;
}

typedef struct {
    const void *in0;
    const void *in2;
    const void *in3;
    const void *in4;
    const void *in5;
    const void *in6;
    void *out0;
    void *scratch;
} staged_call1;
LL_NOINLINE void staged_fours1(const staged_call1 *a, const void *in1, int32_t in1_first, int32_t c0, int32_t c1)
{
    const ll_fours_params p = {.in_h = 1, .in_w = 1, .in_c = 300, .out_h = 1, .kh = 1, .kw = 1, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .pad_top = 0, .pad_left = 0, .gather = 0, .lanes = 0, .zero = 0};
    const ll_in in[7] = {
        {a->in0, 300, 300, LL_WHOLE, 0, 1, 0},
        {in1, 4200, 300, LL_WHOLE, in1_first, 1, 0},
        {a->in2, 56, 56, LL_WHOLE, 0, 4, 0},
        {a->in3, 300, 300, LL_WHOLE, 0, 1, 0},
        {a->in4, 56, 56, LL_WHOLE, 0, 4, 0},
        {a->in5, 56, 56, LL_WHOLE, 0, 4, 0},
        {a->in6, 14, 14, LL_WHOLE, 0, 1, 0},
    };
    const ll_out out[1] = {
        {a->out0, 14, 14, LL_WHOLE, 0, 1, 0},
    };
    const ll_region r = {0, 1, 0, 1, c0, c1};
    ll_fours_int32_14_1_1_int8(&p, in, out, &r, a->scratch, in + 4, 3, staged_store1);
    LL_STEP_END();
}

__attribute__((weak)) void staged_on_step(uint32_t step)
{
    (void)step;
}

__attribute__((weak)) void staged_copy_start(void *target, const void *source, uint32_t bytes)
{
    __builtin_memcpy(target, source, bytes);
}

__attribute__((weak)) void staged_copy_wait(void)
{
    /* memcpy is done when it returns */
}

void staged_run(void)
{
    {
        /* step 0: conv2d "y" (s8[1,6,5,4], s8[10,3,3,4], s32[10]) -> s8[1,6,5,10]; kernel gemm_joined; ram+656, staged_w1_joined, staged_y_bias, staged_y_outside, staged_y_mult, staged_y_offset, staged_y_right -> ram+448 */
        static const staged_call0 a = {
            staged_arena_ram + 656,
            (const uint8_t *)staged_w1_joined,
            (const uint8_t *)staged_y_bias,
            (const uint8_t *)staged_y_outside,
            (const uint8_t *)staged_y_mult,
            (const uint8_t *)staged_y_offset,
            (const uint8_t *)staged_y_right,
            staged_arena_ram + 448,
            staged_arena_ram + 0,
        };
        staged_gemm0(&a);
    }
    staged_on_step(0u);
    /* step 1: bring infer/y/near from ram+448 */
    staged_copy_start(staged_arena_far + 0, staged_arena_ram + 448, 300u);
    staged_on_step(1u);
    staged_copy_wait();
    staged_on_step(2u);
    /* step 3: bring y from far+0 */
    staged_copy_start(staged_arena_ram + 2756, staged_arena_far + 0, 300u);
    staged_on_step(3u);
    staged_copy_wait();
    staged_on_step(4u);
    /* 3 steps stream through line buffers */
    for (int32_t t = 0; t < 5; ++t) {
        if (t >= 1 && t - 1 < 4) {
            staged_copy_wait();
            staged_on_step(5u);
        }
        if (t < 4) {
            const int32_t k = t;
            /* step 6: bring w2 from staged_w2 */
            staged_copy_start(staged_arena_ram + 0 + k % 2 * 1200, (const uint8_t *)staged_w2 + k * 1200, (uint32_t)(ll_min(4, 14 - k * 4) * 300));
            staged_on_step(6u);
        }
        if (t >= 1 && t - 1 < 4) {
            const int32_t k = t - 1;
            {
                /* step 7: linear "z" (s8[1,300], s8[14,300], s32[14]) -> s8[1,14]; kernel fours; ram+2756, ram+0, staged_z_bias, staged_z_outside, staged_z_mult, staged_z_offset, staged_z_right -> ram+3056 */
                static const staged_call1 a = {
                    staged_arena_ram + 2756,
                    (const uint8_t *)staged_z_bias,
                    (const uint8_t *)staged_z_outside,
                    (const uint8_t *)staged_z_mult,
                    (const uint8_t *)staged_z_offset,
                    (const uint8_t *)staged_z_right,
                    staged_arena_ram + 3056,
                    staged_arena_ram + 2400,
                };
                staged_fours1(&a, staged_arena_ram + 0 + k % 2 * 1200, k * 4, ll_clamp(0 + k * 4, 0, 14), ll_clamp(4 + k * 4, 0, 14));
            }
            staged_on_step(7u);
        }
    }
}

int8_t *staged_input(void)
{
    return (int8_t *)(void *)(staged_arena_ram + 656);
}

const int8_t *staged_output(void)
{
    return (const int8_t *)(void *)(staged_arena_ram + 3056);
}


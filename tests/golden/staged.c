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

#define LL_NAME(kernel) ll_##kernel##_int32_3_9_int8_int8_int8
#define LL_ACC int32_t
#define LL_ADD ll_wrap_add
#define LL_DOT ll_dot_s8
#define LL_R int32_t
#define LL_ROWS 3
#define LL_TAPS 9
#define LL_W int8_t
#define LL_X int8_t
#define LL_Y int8_t
#include "lilliput/kernels/conv2d.inc"
#undef LL_NAME
#undef LL_ACC
#undef LL_ADD
#undef LL_DOT
#undef LL_R
#undef LL_ROWS
#undef LL_TAPS
#undef LL_W
#undef LL_X
#undef LL_Y

#define LL_NAME(kernel) ll_##kernel##_int32_int8_int8_int8
#define LL_ACC int32_t
#define LL_ADD ll_wrap_add
#define LL_DOT ll_dot_s8
#define LL_R int32_t
#define LL_W int8_t
#define LL_X int8_t
#define LL_Y int8_t
#include "lilliput/kernels/linear.inc"
#undef LL_NAME
#undef LL_ACC
#undef LL_ADD
#undef LL_DOT
#undef LL_R
#undef LL_W
#undef LL_X
#undef LL_Y

/* conv2d of steps 0 */
LL_INLINE int32_t staged_store0(const ll_at *at, int32_t acc)
{
    const int32_t v0 = ll_clamp(ll_requant(acc, ((const int32_t *)(const void *)at->row[0])[at->c], ((const int8_t *)(const void *)at->row[1])[at->c]), -123, 132) + -5;
    return v0;
}

LL_NOINLINE void staged_conv2d0(const ll_conv2d_params *p, const ll_in *in, const ll_out *out, const ll_region *r, void *scratch)
{
    ll_conv2d_params q = *p;
    q.kh = 3;
    q.kw = 3;
    q.resume = 0;
    q.group_in = 4;
    q.group_out = 10;
    q.in_c = 4;
    q.w_next = 36;
    q.w_zero = 0;
    q.stride_h = 1;
    q.stride_w = 1;
    q.dilation_h = 1;
    q.dilation_w = 1;
    q.pad_top = 1;
    q.pad_left = 1;
    q.in_h = 6;
    q.in_w = 5;
    q.out_h = 6;
    ll_out to[1];
    to[0] = out[0];
    to[0].plane = (int32_t)sizeof(int8_t);
    ll_conv2d_int32_3_9_int8_int8_int8(&q, in, to, r, scratch, in + 4, 2, staged_store0);
    LL_STEP_END();
}

/* linear of steps 7 */
LL_INLINE int32_t staged_store1(const ll_at *at, int32_t acc)
{
    const int32_t v0 = ll_clamp(ll_requant(acc, ((const int32_t *)(const void *)at->row[0])[at->c], ((const int8_t *)(const void *)at->row[1])[at->c]), -130, 125) + 2;
    return v0;
}

LL_NOINLINE void staged_linear1(const ll_linear_params *p, const ll_in *in, const ll_out *out, const ll_region *r, void *scratch)
{
    ll_linear_params q = *p;
    q.resume = 0;
    q.in_c = 300;
    q.w_next = 300;
    q.w_zero = 0;
    ll_out to[1];
    to[0] = out[0];
    to[0].plane = (int32_t)sizeof(int8_t);
    ll_linear_int32_int8_int8_int8(&q, in, to, r, scratch, in + 3, 2, staged_store1);
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
        /* step 0: conv2d "y" (s8[1,6,5,4], s8[10,3,3,4], s32[10]) -> s8[1,6,5,10]; kernel conv2d; ram+220, staged_w1, staged_y_bias, staged_y_outside, staged_y_mult, staged_y_shift -> ram+0 */
        static const ll_conv2d_params p = {.in_h = 6, .in_w = 5, .in_c = 4, .out_h = 6, .kh = 3, .kw = 3, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .pad_top = 1, .pad_left = 1, .group_in = 4, .group_out = 10, .resume = 0, .w_next = 36, .w_zero = 0};
        static const ll_in in[6] = {
            {staged_arena_ram + 220, 20, 4, LL_WHOLE, 0, 1},
            {(const uint8_t *)staged_w1, 0, 36, LL_WHOLE, 0, 1},
            {(const uint8_t *)staged_y_bias, 0, 40, LL_WHOLE, 0, 4},
            {(const uint8_t *)staged_y_outside, 0, 12, LL_WHOLE, 0, 1},
            {(const uint8_t *)staged_y_mult, 0, 40, LL_WHOLE, 0, 4},
            {(const uint8_t *)staged_y_shift, 0, 10, LL_WHOLE, 0, 1},
        };
        static const ll_out out[1] = {
            {staged_arena_ram + 0, 50, 10, LL_WHOLE, 0, 1},
        };
        static const ll_region r = {0, 6, 0, 5, 0, 10};
        staged_conv2d0(&p, in, out, &r, 0);
    }
    staged_on_step(0u);
    /* step 1: bring infer/y/near from ram+0 */
    staged_copy_start(staged_arena_far + 0, staged_arena_ram + 0, 300u);
    staged_on_step(1u);
    staged_copy_wait();
    staged_on_step(2u);
    /* step 3: bring y from far+0 */
    staged_copy_start(staged_arena_ram + 2400, staged_arena_far + 0, 300u);
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
                /* step 7: linear "z" (s8[1,300], s8[14,300], s32[14]) -> s8[1,14]; kernel linear; ram+2400, ram+0, staged_z_bias, staged_z_mult, staged_z_shift -> ram+2700 */
                static const ll_linear_params p = {.in_c = 300, .resume = 0, .w_next = 300, .w_zero = 0};
                ll_in in[5] = {
                    {staged_arena_ram + 2400, 300, 300, LL_WHOLE, 0, 1},
                    {staged_arena_ram + 0, 4200, 300, LL_WHOLE, 0, 1},
                    {(const uint8_t *)staged_z_bias, 56, 56, LL_WHOLE, 0, 4},
                    {(const uint8_t *)staged_z_mult, 56, 56, LL_WHOLE, 0, 4},
                    {(const uint8_t *)staged_z_shift, 14, 14, LL_WHOLE, 0, 1},
                };
                ll_out out[1] = {
                    {staged_arena_ram + 2700, 14, 14, LL_WHOLE, 0, 1},
                };
                in[1].base = staged_arena_ram + 0 + k % 2 * 1200;
                in[1].first = k * 4;
                const ll_region r = {0, 1, 0, 1, ll_clamp(0 + k * 4, 0, 14), ll_clamp(4 + k * 4, 0, 14)};
                staged_linear1(&p, in, out, &r, 0);
            }
            staged_on_step(7u);
        }
    }
}

int8_t *staged_input(void)
{
    return (int8_t *)(void *)(staged_arena_ram + 220);
}

const int8_t *staged_output(void)
{
    return (const int8_t *)(void *)(staged_arena_ram + 2700);
}


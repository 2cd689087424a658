/* streamed: written by lilliput 0.1.0; do not edit */
#include "streamed.h"

#include "lilliput/isa/generic.h"
#include "lilliput/elementwise.h"
#include "lilliput/float.h"
#include "streamed_data.h"

#ifdef STREAMED_ARENA_RAM
extern uint8_t STREAMED_ARENA_RAM[]; /* the caller provides it, aligned to 16 */
#define streamed_arena_ram STREAMED_ARENA_RAM
#else
#ifndef STREAMED_ARENA_RAM_SECTION
#define STREAMED_ARENA_RAM_SECTION
#endif
static STREAMED_ARENA_RAM_SECTION _Alignas(16) uint8_t streamed_arena_ram[STREAMED_ARENA_RAM_BYTES];
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
#include "lilliput/kernels/depthwise.inc"
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
LL_INLINE int32_t streamed_store0(const ll_at *at, int32_t acc)
{
    const int32_t v0 = ll_clamp(ll_requant(acc, ((const int32_t *)(const void *)at->row[0])[at->c], ((const int8_t *)(const void *)at->row[1])[at->c]), -121, 134) + -7;
    return v0;
}

LL_NOINLINE void streamed_conv2d0(const ll_conv2d_params *p, const ll_in *in, const ll_out *out, const ll_region *r, void *scratch)
{
    ll_conv2d_params q = *p;
    q.kh = 3;
    q.kw = 3;
    q.resume = 0;
    q.group_in = 3;
    q.group_out = 8;
    q.in_c = 3;
    q.w_next = 27;
    q.w_zero = 0;
    q.stride_h = 1;
    q.stride_w = 1;
    q.dilation_h = 1;
    q.dilation_w = 1;
    q.pad_top = 1;
    q.pad_left = 1;
    q.in_h = 13;
    q.in_w = 11;
    q.out_h = 13;
    ll_out to[1];
    to[0] = out[0];
    to[0].plane = (int32_t)sizeof(int8_t);
    ll_conv2d_int32_3_9_int8_int8_int8(&q, in, to, r, scratch, in + 4, 2, streamed_store0);
    LL_STEP_END();
}

/* conv2d of steps 1 */
LL_INLINE int32_t streamed_store1(const ll_at *at, int32_t acc)
{
    const int32_t v0 = ll_clamp(ll_requant(acc, ((const int32_t *)(const void *)at->row[0])[at->c], ((const int8_t *)(const void *)at->row[1])[at->c]), -121, 134) + -7;
    return v0;
}

LL_NOINLINE void streamed_conv2d1(const ll_conv2d_params *p, const ll_in *in, const ll_out *out, const ll_region *r, void *scratch)
{
    ll_conv2d_params q = *p;
    q.kh = 3;
    q.kw = 3;
    q.resume = 0;
    q.group_in = 8;
    q.group_out = 6;
    q.in_c = 8;
    q.w_next = 72;
    q.w_zero = 0;
    q.stride_h = 2;
    q.stride_w = 2;
    q.dilation_h = 1;
    q.dilation_w = 1;
    q.pad_top = 1;
    q.pad_left = 1;
    q.in_h = 13;
    q.in_w = 11;
    q.out_h = 7;
    ll_out to[1];
    to[0] = out[0];
    to[0].plane = (int32_t)sizeof(int8_t);
    ll_conv2d_int32_3_9_int8_int8_int8(&q, in, to, r, scratch, in + 4, 2, streamed_store1);
    LL_STEP_END();
}

/* depthwise of steps 2 */
LL_INLINE int32_t streamed_store2(const ll_at *at, int32_t acc)
{
    const int32_t v0 = ll_clamp(ll_requant(acc, ((const int32_t *)(const void *)at->row[0])[at->c], ((const int8_t *)(const void *)at->row[1])[at->c]), -121, 134) + -7;
    return v0;
}

LL_NOINLINE void streamed_depthwise2(const ll_depthwise_params *p, const ll_in *in, const ll_out *out, const ll_region *r, void *scratch)
{
    ll_depthwise_params q = *p;
    q.kh = 3;
    q.kw = 3;
    q.multiplier = 1;
    q.w_next = 6;
    q.w_zero = 0;
    q.stride_h = 1;
    q.stride_w = 1;
    q.dilation_h = 1;
    q.dilation_w = 1;
    q.pad_top = 1;
    q.pad_left = 1;
    q.in_h = 7;
    q.in_w = 6;
    q.out_h = 7;
    ll_out to[1];
    to[0] = out[0];
    to[0].plane = (int32_t)sizeof(int8_t);
    ll_depthwise_int32_3_9_int8_int8_int8(&q, in, to, r, scratch, in + 4, 2, streamed_store2);
    LL_STEP_END();
}

/* linear of steps 3 */
LL_INLINE int32_t streamed_store3(const ll_at *at, int32_t acc)
{
    const int32_t v0 = ll_clamp(ll_requant(acc, ((const int32_t *)(const void *)at->row[0])[at->c], ((const int8_t *)(const void *)at->row[1])[at->c]), -121, 134) + -7;
    const int32_t v1 = ll_clamp((ll_requant(ll_requant(ll_wrap_shl((v0 + 7), 20), 1073741824, 0) + ll_requant(ll_wrap_shl((((const int8_t *)(const void *)at->row[2])[at->x * 6 + at->c] + 7), 20), 1073741824, 0), 1181115982, -19) + 3), -128, 127);
    return v1;
}

LL_NOINLINE void streamed_linear3(const ll_linear_params *p, const ll_in *in, const ll_out *out, const ll_region *r, void *scratch)
{
    ll_linear_params q = *p;
    q.resume = 0;
    q.in_c = 6;
    q.w_next = 6;
    q.w_zero = 0;
    ll_out to[1];
    to[0] = out[0];
    to[0].plane = (int32_t)sizeof(int8_t);
    ll_linear_int32_int8_int8_int8(&q, in, to, r, scratch, in + 3, 3, streamed_store3);
    LL_STEP_END();
}

__attribute__((weak)) void streamed_on_step(uint32_t step)
{
    (void)step;
}

void streamed_run(void)
{
    /* 4 steps stream through line buffers */
    for (int32_t t = 0; t < 16; ++t) {
        if (t < 13) {
            const int32_t k = t;
            {
                /* step 0: conv2d "a" (s8[1,13,11,3], s8[8,3,3,3], s32[8]) -> s8[1,13,11,8]; kernel conv2d; ram+0, streamed_wa, streamed_a_bias, streamed_a_outside, streamed_a_mult, streamed_a_shift -> ram+432 */
                static const ll_conv2d_params p = {.in_h = 13, .in_w = 11, .in_c = 3, .out_h = 13, .kh = 3, .kw = 3, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .pad_top = 1, .pad_left = 1, .group_in = 3, .group_out = 8, .resume = 0, .w_next = 27, .w_zero = 0};
                static const ll_in in[6] = {
                    {streamed_arena_ram + 0, 33, 3, LL_WHOLE, 0, 1},
                    {(const uint8_t *)streamed_wa, 0, 27, LL_WHOLE, 0, 1},
                    {(const uint8_t *)streamed_a_bias, 0, 32, LL_WHOLE, 0, 4},
                    {(const uint8_t *)streamed_a_outside, 0, 9, LL_WHOLE, 0, 1},
                    {(const uint8_t *)streamed_a_mult, 0, 32, LL_WHOLE, 0, 4},
                    {(const uint8_t *)streamed_a_shift, 0, 8, LL_WHOLE, 0, 1},
                };
                static const ll_out out[1] = {
                    {streamed_arena_ram + 432, 88, 8, 3, 0, 1},
                };
                const ll_region r = {ll_clamp(0 + k * 1, 0, 13), ll_clamp(1 + k * 1, 0, 13), 0, 11, 0, 8};
                streamed_conv2d0(&p, in, out, &r, 0);
            }
            streamed_on_step(0u);
        }
        if (t >= 1 && (t - 1) % 2 == 0 && (t - 1) / 2 < 7) {
            const int32_t k = (t - 1) / 2;
            {
                /* step 1: conv2d "s" (s8[1,13,11,8], s8[6,3,3,8], s32[6]) -> s8[1,7,6,6]; kernel conv2d; ram+432, streamed_ws, streamed_s_bias, streamed_s_outside, streamed_s_mult, streamed_s_shift -> ram+948 */
                static const ll_conv2d_params p = {.in_h = 13, .in_w = 11, .in_c = 8, .out_h = 7, .kh = 3, .kw = 3, .stride_h = 2, .stride_w = 2, .dilation_h = 1, .dilation_w = 1, .pad_top = 1, .pad_left = 1, .group_in = 8, .group_out = 6, .resume = 0, .w_next = 72, .w_zero = 0};
                static const ll_in in[6] = {
                    {streamed_arena_ram + 432, 88, 8, 3, 0, 1},
                    {(const uint8_t *)streamed_ws, 0, 72, LL_WHOLE, 0, 1},
                    {(const uint8_t *)streamed_s_bias, 0, 24, LL_WHOLE, 0, 4},
                    {(const uint8_t *)streamed_s_outside, 0, 24, LL_WHOLE, 0, 1},
                    {(const uint8_t *)streamed_s_mult, 0, 24, LL_WHOLE, 0, 4},
                    {(const uint8_t *)streamed_s_shift, 0, 6, LL_WHOLE, 0, 1},
                };
                static const ll_out out[1] = {
                    {streamed_arena_ram + 948, 36, 6, 3, 0, 1},
                };
                const ll_region r = {ll_clamp(0 + k * 1, 0, 7), ll_clamp(1 + k * 1, 0, 7), 0, 6, 0, 6};
                streamed_conv2d1(&p, in, out, &r, 0);
            }
            streamed_on_step(1u);
        }
        if (t >= 3 && (t - 3) % 2 == 0 && (t - 3) / 2 < 7) {
            const int32_t k = (t - 3) / 2;
            {
                /* step 2: conv2d "d" (s8[1,7,6,6], s8[6,3,3,1], s32[6]) -> s8[1,7,6,6]; kernel depthwise; ram+948, streamed_wd_by_tap, streamed_d_bias, streamed_d_outside, streamed_s_mult, streamed_s_shift -> ram+1056 */
                static const ll_depthwise_params p = {.in_h = 7, .in_w = 6, .out_h = 7, .kh = 3, .kw = 3, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .pad_top = 1, .pad_left = 1, .w_next = 6, .w_zero = 0, .multiplier = 1};
                static const ll_in in[6] = {
                    {streamed_arena_ram + 948, 36, 6, 3, 0, 1},
                    {(const uint8_t *)streamed_wd_by_tap, 0, 54, LL_WHOLE, 0, 1},
                    {(const uint8_t *)streamed_d_bias, 0, 24, LL_WHOLE, 0, 4},
                    {(const uint8_t *)streamed_d_outside, 0, 6, LL_WHOLE, 0, 1},
                    {(const uint8_t *)streamed_s_mult, 0, 24, LL_WHOLE, 0, 4},
                    {(const uint8_t *)streamed_s_shift, 0, 6, LL_WHOLE, 0, 1},
                };
                static const ll_out out[1] = {
                    {streamed_arena_ram + 1056, 36, 6, 1, 0, 1},
                };
                const ll_region r = {ll_clamp(0 + k * 1, 0, 7), ll_clamp(1 + k * 1, 0, 7), 0, 6, 0, 6};
                streamed_depthwise2(&p, in, out, &r, 0);
            }
            streamed_on_step(2u);
        }
        if (t >= 3 && (t - 3) % 2 == 0 && (t - 3) / 2 < 7) {
            const int32_t k = (t - 3) / 2;
            {
                /* step 3: conv2d "p" + add (s8[1,7,6,6], s8[6,1,1,6], s32[6]) -> s8[1,7,6,6]; kernel linear; ram+1056, streamed_wp, streamed_p_bias, streamed_s_mult, streamed_s_shift, ram+948 -> ram+696 */
                static const ll_linear_params p = {.in_c = 6, .resume = 0, .w_next = 6, .w_zero = 0};
                static const ll_in in[6] = {
                    {streamed_arena_ram + 1056, 36, 6, 1, 0, 1},
                    {(const uint8_t *)streamed_wp, 0, 6, LL_WHOLE, 0, 1},
                    {(const uint8_t *)streamed_p_bias, 0, 24, LL_WHOLE, 0, 4},
                    {(const uint8_t *)streamed_s_mult, 0, 24, LL_WHOLE, 0, 4},
                    {(const uint8_t *)streamed_s_shift, 0, 6, LL_WHOLE, 0, 1},
                    {streamed_arena_ram + 948, 36, 6, 3, 0, 1},
                };
                static const ll_out out[1] = {
                    {streamed_arena_ram + 696, 36, 6, LL_WHOLE, 0, 1},
                };
                const ll_region r = {ll_clamp(0 + k * 1, 0, 7), ll_clamp(1 + k * 1, 0, 7), 0, 6, 0, 6};
                streamed_linear3(&p, in, out, &r, 0);
            }
            streamed_on_step(3u);
        }
    }
}

int8_t *streamed_input(void)
{
    return (int8_t *)(void *)(streamed_arena_ram + 0);
}

const int8_t *streamed_output(void)
{
    return (const int8_t *)(void *)(streamed_arena_ram + 696);
}


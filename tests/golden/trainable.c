/* trainable: written by lilliput 0.1.0; do not edit */
#include "trainable.h"

#define LL_SMALL 1

#include "lilliput/isa/generic.h"
#include "lilliput/elementwise.h"
#include "lilliput/float.h"
#include "trainable_data.h"

#ifdef TRAINABLE_ARENA_RAM
extern uint8_t TRAINABLE_ARENA_RAM[]; /* the caller provides it, aligned to 16 */
#define trainable_arena_ram TRAINABLE_ARENA_RAM
#else
#ifndef TRAINABLE_ARENA_RAM_SECTION
#define TRAINABLE_ARENA_RAM_SECTION
#endif
static TRAINABLE_ARENA_RAM_SECTION _Alignas(16) uint8_t trainable_arena_ram[TRAINABLE_ARENA_RAM_BYTES];
#endif

#define LL_NAME(kernel) ll_##kernel##_float_3_9_float_float_float
#define LL_ACC float
#define LL_ADD ll_add_f32
#define LL_DOT ll_dot_f32
#define LL_R float
#define LL_ROWS 3
#define LL_TAPS 9
#define LL_W float
#define LL_X float
#define LL_Y float
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

#define LL_NAME(kernel) ll_##kernel##_float_sum_f32_float_float
#define LL_ACC float
#define LL_FOLD sum_f32
#define LL_R float
#define LL_X float
#define LL_Y float
#include "lilliput/kernels/reduce.inc"
#undef LL_NAME
#undef LL_ACC
#undef LL_FOLD
#undef LL_R
#undef LL_X
#undef LL_Y

#define LL_NAME(kernel) ll_##kernel##_float_float_float_float
#define LL_ACC float
#define LL_ADD ll_add_f32
#define LL_DOT ll_dot_f32
#define LL_R float
#define LL_W float
#define LL_X float
#define LL_Y float
#include "lilliput/kernels/linear.inc"
#undef LL_NAME
#undef LL_ACC
#undef LL_ADD
#undef LL_DOT
#undef LL_R
#undef LL_W
#undef LL_X
#undef LL_Y

#define LL_NAME(kernel) ll_##kernel##_float_float_float
#define LL_ACC float
#define LL_R float
#define LL_X float
#define LL_Y float
#include "lilliput/kernels/softmax_f32.inc"
#undef LL_NAME
#undef LL_ACC
#undef LL_R
#undef LL_X
#undef LL_Y

#define LL_NAME(kernel) ll_##kernel##_float_float_float
#define LL_ACC float
#define LL_R float
#define LL_X float
#define LL_Y float
#include "lilliput/kernels/cross_entropy.inc"
#undef LL_NAME
#undef LL_ACC
#undef LL_R
#undef LL_X
#undef LL_Y

#define LL_NAME(kernel) ll_##kernel##_int32_float
#define LL_ACC int32_t
#define LL_R float
#define LL_Y float
#include "lilliput/kernels/map.inc"
#undef LL_NAME
#undef LL_ACC
#undef LL_R
#undef LL_Y

#define LL_NAME(kernel) ll_##kernel##_int32_float_float
#define LL_ACC int32_t
#define LL_R float
#define LL_X float
#define LL_Y float
#include "lilliput/kernels/transpose.inc"
#undef LL_NAME
#undef LL_ACC
#undef LL_R
#undef LL_X
#undef LL_Y

#define LL_NAME(kernel) ll_##kernel##_float_3_9_float_float
#define LL_ACC float
#define LL_R float
#define LL_ROWS 3
#define LL_TAPS 9
#define LL_X float
#define LL_Y float
#include "lilliput/kernels/conv2d_grad_w_rows.inc"
#undef LL_NAME
#undef LL_ACC
#undef LL_R
#undef LL_ROWS
#undef LL_TAPS
#undef LL_X
#undef LL_Y

/* conv2d of steps 0, 5 */
LL_INLINE float trainable_store0(const ll_at *at, float acc)
{
    (void)at;
    const float v0 = acc;
    return v0;
}

LL_NOINLINE void trainable_conv2d0(const ll_conv2d_params *p, const ll_in *in, const ll_out *out, const ll_region *r, void *scratch)
{
    ll_conv2d_params q = *p;
    q.kh = 3;
    q.kw = 3;
    q.resume = 0;
    q.group_in = 3;
    q.group_out = 3;
    q.in_c = 3;
    q.w_next = 27;
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
    const ll_in from[4] = {
        {in[0].base, 60, 12, LL_WHOLE, 0, 4, 0},
        {in[1].base, 0, 108, LL_WHOLE, 0, 4, 0},
        {in[2].base, 0, 12, LL_WHOLE, 0, 4, 0},
        {in[3].base, 0, 36, LL_WHOLE, 0, 4, 0},
    };
    const ll_out to[1] = {
        {out[0].base, 100, 20, LL_WHOLE, 0, 4, 0},
    };
    (void)in;
    (void)r;
    const ll_region s = {0, 6, 0, 5, 0, 3};
    ll_conv2d_float_3_9_float_float_float(&q, from, to, &s, scratch, from + 4, 0, trainable_store0);
    LL_STEP_END();
}

/* conv2d of steps 1, 6 */
LL_INLINE float trainable_store1(const ll_at *at, float acc)
{
    (void)at;
    const float v0 = acc;
    return v0;
}

LL_NOINLINE void trainable_conv2d1(const ll_conv2d_params *p, const ll_in *in, const ll_out *out, const ll_region *r, void *scratch)
{
    ll_conv2d_params q = *p;
    q.kh = 3;
    q.kw = 3;
    q.resume = 0;
    q.group_in = 3;
    q.group_out = 2;
    q.in_c = 3;
    q.w_next = 27;
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
    const ll_in from[4] = {
        {in[0].base, 60, 12, LL_WHOLE, 0, 4, 0},
        {in[1].base, 0, 108, LL_WHOLE, 0, 4, 0},
        {in[2].base, 0, 8, LL_WHOLE, 0, 4, 0},
        {in[3].base, 0, 36, LL_WHOLE, 0, 4, 0},
    };
    const ll_out to[1] = {
        {out[0].base, 100, 20, LL_WHOLE, 0, 4, 0},
    };
    (void)in;
    (void)r;
    const ll_region s = {0, 6, 0, 5, 0, 2};
    ll_conv2d_float_3_9_float_float_float(&q, from, to, &s, scratch, from + 4, 0, trainable_store1);
    LL_STEP_END();
}

/* reduce of steps 2, 7 */
LL_INLINE float trainable_store2(const ll_at *at, float acc)
{
    (void)at;
    const float v0 = acc / 30.0f;
    return v0;
}

LL_NOINLINE void trainable_reduce2(const ll_reduce_params *p, const ll_in *in, const ll_out *out, const ll_region *r, void *scratch)
{
    ll_reduce_params q = *p;
    q.reduce_w = 1;
    q.flat = 1;
    q.channels = 5;
    q.in_w = 5;
    q.in_h = 6;
    const ll_in from[1] = {
        {in[0].base, 100, 20, LL_WHOLE, 0, 4, 0},
    };
    const ll_out to[1] = {
        {out[0].base, 20, 20, LL_WHOLE, 0, 4, 0},
    };
    (void)in;
    (void)r;
    const ll_region s = {0, 6, 0, 1, 0, 5};
    ll_reduce_float_sum_f32_float_float(&q, from, to, &s, scratch, from + 1, 0, trainable_store2);
    LL_STEP_END();
}

/* linear of steps 3, 8 */
LL_INLINE float trainable_store3(const ll_at *at, float acc)
{
    (void)at;
    const float v0 = acc;
    return v0;
}

LL_NOINLINE void trainable_linear3(const ll_linear_params *p, const ll_in *in, const ll_out *out, const ll_region *r, void *scratch)
{
    ll_linear_params q = *p;
    q.resume = 0;
    q.in_c = 5;
    q.w_next = 5;
    q.w_zero = 0;
    const ll_in from[3] = {
        {in[0].base, 20, 20, LL_WHOLE, 0, 4, 0},
        {in[1].base, 80, 20, LL_WHOLE, 0, 4, 0},
        {in[2].base, 16, 16, LL_WHOLE, 0, 4, 0},
    };
    const ll_out to[1] = {
        {out[0].base, 16, 16, LL_WHOLE, 0, 4, 0},
    };
    (void)in;
    (void)r;
    const ll_region s = {0, 1, 0, 1, 0, 4};
    ll_linear_float_float_float_float(&q, from, to, &s, scratch, from + 3, 0, trainable_store3);
    LL_STEP_END();
}

/* softmax_f32 of steps 4, 10 */
LL_INLINE float trainable_store4(const ll_at *at, float acc)
{
    (void)at;
    return (float)acc;
}

LL_NOINLINE void trainable_softmax_f324(const ll_softmax_f32_params *p, const ll_in *in, const ll_out *out, const ll_region *r, void *scratch)
{
    ll_softmax_f32_params q = *p;
    q.channels = 4;
    q.beta = 1.0f;
    q.logarithm = 0;
    const ll_in from[1] = {
        {in[0].base, 16, 16, LL_WHOLE, 0, 4, 0},
    };
    const ll_out to[1] = {
        {out[0].base, 16, 16, LL_WHOLE, 0, 4, 0},
    };
    (void)in;
    (void)r;
    const ll_region s = {0, 1, 0, 1, 0, 4};
    ll_softmax_f32_float_float_float(&q, from, to, &s, scratch, from + 1, 0, trainable_store4);
    LL_STEP_END();
}

/* cross_entropy of steps 9 */
LL_INLINE float trainable_store5(const ll_at *at, float acc)
{
    (void)at;
    return (float)acc;
}

LL_NOINLINE void trainable_cross_entropy5(const ll_cross_entropy_params *p, const ll_in *in, const ll_out *out, const ll_region *r, void *scratch)
{
    ll_cross_entropy_params q = *p;
    const ll_in from[2] = {
        {in[0].base, 16, 16, LL_WHOLE, 0, 4, 0},
        {in[1].base, 16, 16, LL_WHOLE, 0, 4, 0},
    };
    const ll_out to[1] = {
        {out[0].base, 4, 4, LL_WHOLE, 0, 4, 0},
    };
    (void)in;
    (void)r;
    const ll_region s = {0, 1, 0, 1, 0, 1};
    ll_cross_entropy_float_float_float(&q, from, to, &s, scratch, from + 2, 0, trainable_store5);
    LL_STEP_END();
}

/* map of steps 11 */
LL_INLINE float trainable_store6(const ll_at *at, int32_t acc)
{
    (void)acc;
    const float v0 = (((const float *)(const void *)at->row[0])[at->c] - ((const float *)(const void *)at->row[1])[at->c]);
    return v0;
}

LL_NOINLINE void trainable_map6(const ll_map_params *p, const ll_in *in, const ll_out *out, const ll_region *r, void *scratch)
{
    ll_map_params q = *p;
    const ll_in from[2] = {
        {in[0].base, 16, 16, LL_WHOLE, 0, 4, 0},
        {in[1].base, 16, 16, LL_WHOLE, 0, 4, 0},
    };
    const ll_out to[1] = {
        {out[0].base, 16, 16, LL_WHOLE, 0, 4, 0},
    };
    (void)in;
    (void)r;
    const ll_region s = {0, 1, 0, 1, 0, 4};
    ll_map_int32_float(&q, from, to, &s, scratch, from + 0, 2, trainable_store6);
    LL_STEP_END();
}

/* transpose of steps 12 */
LL_INLINE float trainable_store7(const ll_at *at, int32_t acc)
{
    (void)at;
    return (float)acc;
}

LL_NOINLINE void trainable_transpose7(const ll_transpose_params *p, const ll_in *in, const ll_out *out, const ll_region *r, void *scratch)
{
    ll_transpose_params q = *p;
    const ll_in from[1] = {
        {in[0].base, 80, 20, LL_WHOLE, 0, 4, 0},
    };
    const ll_out to[1] = {
        {out[0].base, 80, 16, LL_WHOLE, 0, 4, 0},
    };
    (void)in;
    (void)r;
    const ll_region s = {0, 1, 0, 5, 0, 4};
    ll_transpose_int32_float_float(&q, from, to, &s, scratch, from + 1, 0, trainable_store7);
    LL_STEP_END();
}

/* linear of steps 13 */
LL_INLINE float trainable_store8(const ll_at *at, float acc)
{
    (void)at;
    const float v0 = acc;
    return v0;
}

LL_NOINLINE void trainable_linear8(const ll_linear_params *p, const ll_in *in, const ll_out *out, const ll_region *r, void *scratch)
{
    ll_linear_params q = *p;
    q.resume = 0;
    q.in_c = 4;
    q.w_next = 4;
    q.w_zero = 0;
    const ll_in from[3] = {
        {in[0].base, 16, 16, LL_WHOLE, 0, 4, 0},
        {in[1].base, 80, 16, LL_WHOLE, 0, 4, 0},
        {in[2].base, 20, 20, LL_WHOLE, 0, 4, 0},
    };
    const ll_out to[1] = {
        {out[0].base, 20, 20, LL_WHOLE, 0, 4, 0},
    };
    (void)in;
    (void)r;
    const ll_region s = {0, 1, 0, 1, 0, 5};
    ll_linear_float_float_float_float(&q, from, to, &s, scratch, from + 3, 0, trainable_store8);
    LL_STEP_END();
}

/* map of steps 14 */
LL_INLINE float trainable_store9(const ll_at *at, int32_t acc)
{
    (void)acc;
    const float v0 = (((const float *)(const void *)at->row[0])[at->c] * ((const float *)(const void *)at->row[1])[0]);
    return v0;
}

LL_NOINLINE void trainable_map9(const ll_map_params *p, const ll_in *in, const ll_out *out, const ll_region *r, void *scratch)
{
    ll_map_params q = *p;
    const ll_in from[2] = {
        {in[0].base, 8, 8, LL_WHOLE, 0, 4, 0},
        {in[1].base, 4, 4, LL_WHOLE, 0, 4, 0},
    };
    const ll_out to[1] = {
        {out[0].base, 8, 8, LL_WHOLE, 0, 4, 0},
    };
    (void)in;
    (void)r;
    const ll_region s = {0, 1, 0, 1, 0, 2};
    ll_map_int32_float(&q, from, to, &s, scratch, from + 0, 2, trainable_store9);
    LL_STEP_END();
}

/* transpose of steps 15 */
LL_INLINE float trainable_store10(const ll_at *at, int32_t acc)
{
    (void)at;
    return (float)acc;
}

LL_NOINLINE void trainable_transpose10(const ll_transpose_params *p, const ll_in *in, const ll_out *out, const ll_region *r, void *scratch)
{
    ll_transpose_params q = *p;
    const ll_in from[1] = {
        {in[0].base, 0, 8, LL_WHOLE, 0, 4, 0},
    };
    const ll_out to[1] = {
        {out[0].base, 40, 8, LL_WHOLE, 0, 4, 0},
    };
    (void)in;
    (void)r;
    const ll_region s = {0, 6, 0, 5, 0, 2};
    ll_transpose_int32_float_float(&q, from, to, &s, scratch, from + 1, 0, trainable_store10);
    LL_STEP_END();
}

/* conv2d_grad_w_rows of steps 16 */
LL_INLINE float trainable_store11(const ll_at *at, float acc)
{
    const float v0 = acc;
    const float v1 = (v0 * ((const float *)(const void *)at->row[0])[0]);
    const float v2 = (((const float *)(const void *)at->row[1])[at->x * 3 + at->c] - v1);
    return v2;
}

LL_NOINLINE void trainable_conv2d_grad_w_rows11(const ll_conv2d_grad_w_rows_params *p, const ll_in *in, const ll_out *out, const ll_region *r, void *scratch)
{
    ll_conv2d_grad_w_rows_params q = *p;
    q.kh = 3;
    q.kw = 3;
    q.zero_point = 0;
    q.stride_h = 1;
    q.stride_w = 1;
    const ll_in from[4] = {
        {in[0].base, 60, 12, LL_WHOLE, 0, 4, 0},
        {in[1].base, 40, 8, LL_WHOLE, 0, 4, 0},
        {in[2].base, 0, 0, LL_WHOLE, 0, 4, 0},
        {in[3].base, 36, 12, LL_WHOLE, 0, 4, 0},
    };
    const ll_out to[1] = {
        {out[0].base, 36, 12, LL_WHOLE, 0, 4, 0},
    };
    (void)in;
    (void)r;
    const ll_region s = {0, 6, 0, 3, 0, 3};
    ll_conv2d_grad_w_rows_float_3_9_float_float(&q, from, to, &s, scratch, from + 2, 2, trainable_store11);
    LL_STEP_END();
}

__attribute__((weak)) void trainable_on_step(uint32_t step)
{
    (void)step;
}

void trainable_reset(void)
{
    __builtin_memcpy(trainable_arena_ram + 0, trainable_w_trained_init, 216u);
}

void trainable_run(void)
{
    {
        /* step 0: conv2d "frozen" (f32[1,6,5,3], f32[3,3,3,3]) -> f32[1,6,5,3]; kernel conv2d; ram+816, trainable_w_frozen, trainable_frozen_zeros, trainable_frozen_outside -> ram+216 */
        static const ll_conv2d_params p = {.in_h = 6, .in_w = 5, .in_c = 3, .out_h = 6, .kh = 3, .kw = 3, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .pad_top = 1, .pad_left = 1, .group_in = 3, .group_out = 3, .resume = 0, .w_next = 27, .w_zero = 0};
        static const ll_in in[4] = {
            {trainable_arena_ram + 816, 60, 12, LL_WHOLE, 0, 4, 0},
            {(const uint8_t *)trainable_w_frozen, 0, 108, LL_WHOLE, 0, 4, 0},
            {(const uint8_t *)trainable_frozen_zeros, 0, 12, LL_WHOLE, 0, 4, 0},
            {(const uint8_t *)trainable_frozen_outside, 0, 36, LL_WHOLE, 0, 4, 0},
        };
        static const ll_out out[1] = {
            {trainable_arena_ram + 216, 100, 20, LL_WHOLE, 0, 4, 0},
        };
        static const ll_region r = {0, 6, 0, 5, 0, 3};
        trainable_conv2d0(&p, in, out, &r, 0);
    }
    trainable_on_step(0u);
    {
        /* step 1: conv2d "trained" (f32[1,6,5,3], f32[2,3,3,3]) -> f32[1,6,5,2]; kernel conv2d; ram+816, ram+0, trainable_trained_zeros, trainable_frozen_outside -> ram+228 */
        static const ll_conv2d_params p = {.in_h = 6, .in_w = 5, .in_c = 3, .out_h = 6, .kh = 3, .kw = 3, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .pad_top = 1, .pad_left = 1, .group_in = 3, .group_out = 2, .resume = 0, .w_next = 27, .w_zero = 0};
        static const ll_in in[4] = {
            {trainable_arena_ram + 816, 60, 12, LL_WHOLE, 0, 4, 0},
            {trainable_arena_ram + 0, 0, 108, LL_WHOLE, 0, 4, 0},
            {(const uint8_t *)trainable_trained_zeros, 0, 8, LL_WHOLE, 0, 4, 0},
            {(const uint8_t *)trainable_frozen_outside, 0, 36, LL_WHOLE, 0, 4, 0},
        };
        static const ll_out out[1] = {
            {trainable_arena_ram + 216 + 12, 100, 20, LL_WHOLE, 0, 4, 0},
        };
        static const ll_region r = {0, 6, 0, 5, 0, 2};
        trainable_conv2d1(&p, in, out, &r, 0);
    }
    trainable_on_step(1u);
    {
        /* step 2: mean "features" (f32[1,6,5,5]) -> f32[1,5]; kernel reduce; ram+216 -> ram+816 */
        static const ll_reduce_params p = {.in_h = 6, .in_w = 5, .channels = 5, .reduce_w = 1, .flat = 1, .zero = 0, .mult = 0, .shift = 0};
        static const ll_in in[1] = {
            {trainable_arena_ram + 216, 100, 20, LL_WHOLE, 0, 4, 0},
        };
        static const ll_out out[1] = {
            {trainable_arena_ram + 816, 20, 20, LL_WHOLE, 0, 4, 0},
        };
        static const ll_region r = {0, 6, 0, 1, 0, 5};
        trainable_reduce2(&p, in, out, &r, trainable_arena_ram + 840);
    }
    trainable_on_step(2u);
    {
        /* step 3: linear "logits" (f32[1,5], f32[4,5]) -> f32[1,4]; kernel linear; ram+816, trainable_v, trainable_logits_zeros -> ram+216 */
        static const ll_linear_params p = {.in_c = 5, .resume = 0, .w_next = 5, .w_zero = 0};
        static const ll_in in[3] = {
            {trainable_arena_ram + 816, 20, 20, LL_WHOLE, 0, 4, 0},
            {(const uint8_t *)trainable_v, 80, 20, LL_WHOLE, 0, 4, 0},
            {(const uint8_t *)trainable_logits_zeros, 16, 16, LL_WHOLE, 0, 4, 0},
        };
        static const ll_out out[1] = {
            {trainable_arena_ram + 216, 16, 16, LL_WHOLE, 0, 4, 0},
        };
        static const ll_region r = {0, 1, 0, 1, 0, 4};
        trainable_linear3(&p, in, out, &r, 0);
    }
    trainable_on_step(3u);
    {
        /* step 4: softmax "probability" (f32[1,4]) -> f32[1,4]; kernel softmax_f32; ram+216 -> ram+232 */
        static const ll_softmax_f32_params p = {.channels = 4, .beta = 1.0f, .logarithm = 0};
        static const ll_in in[1] = {
            {trainable_arena_ram + 216, 16, 16, LL_WHOLE, 0, 4, 0},
        };
        static const ll_out out[1] = {
            {trainable_arena_ram + 232, 16, 16, LL_WHOLE, 0, 4, 0},
        };
        static const ll_region r = {0, 1, 0, 1, 0, 4};
        trainable_softmax_f324(&p, in, out, &r, 0);
    }
    trainable_on_step(4u);
}

float *trainable_input(void)
{
    return (float *)(void *)(trainable_arena_ram + 816);
}

const float *trainable_output(void)
{
    return (const float *)(void *)(trainable_arena_ram + 232);
}

void trainable_train(void)
{
    {
        /* step 5: conv2d "frozen.1" (f32[1,6,5,3], f32[3,3,3,3]) -> f32[1,6,5,3]; kernel conv2d; ram+872, trainable_w_frozen, trainable_frozen_zeros, trainable_frozen_outside -> ram+272 */
        static const ll_conv2d_params p = {.in_h = 6, .in_w = 5, .in_c = 3, .out_h = 6, .kh = 3, .kw = 3, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .pad_top = 1, .pad_left = 1, .group_in = 3, .group_out = 3, .resume = 0, .w_next = 27, .w_zero = 0};
        static const ll_in in[4] = {
            {trainable_arena_ram + 872, 60, 12, LL_WHOLE, 0, 4, 0},
            {(const uint8_t *)trainable_w_frozen, 0, 108, LL_WHOLE, 0, 4, 0},
            {(const uint8_t *)trainable_frozen_zeros, 0, 12, LL_WHOLE, 0, 4, 0},
            {(const uint8_t *)trainable_frozen_outside, 0, 36, LL_WHOLE, 0, 4, 0},
        };
        static const ll_out out[1] = {
            {trainable_arena_ram + 272, 100, 20, LL_WHOLE, 0, 4, 0},
        };
        static const ll_region r = {0, 6, 0, 5, 0, 3};
        trainable_conv2d0(&p, in, out, &r, 0);
    }
    trainable_on_step(5u);
    {
        /* step 6: conv2d "trained.1" (f32[1,6,5,3], f32[2,3,3,3]) -> f32[1,6,5,2]; kernel conv2d; ram+872, ram+0, trainable_trained_zeros, trainable_frozen_outside -> ram+284 */
        static const ll_conv2d_params p = {.in_h = 6, .in_w = 5, .in_c = 3, .out_h = 6, .kh = 3, .kw = 3, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .pad_top = 1, .pad_left = 1, .group_in = 3, .group_out = 2, .resume = 0, .w_next = 27, .w_zero = 0};
        static const ll_in in[4] = {
            {trainable_arena_ram + 872, 60, 12, LL_WHOLE, 0, 4, 0},
            {trainable_arena_ram + 0, 0, 108, LL_WHOLE, 0, 4, 0},
            {(const uint8_t *)trainable_trained_zeros, 0, 8, LL_WHOLE, 0, 4, 0},
            {(const uint8_t *)trainable_frozen_outside, 0, 36, LL_WHOLE, 0, 4, 0},
        };
        static const ll_out out[1] = {
            {trainable_arena_ram + 272 + 12, 100, 20, LL_WHOLE, 0, 4, 0},
        };
        static const ll_region r = {0, 6, 0, 5, 0, 2};
        trainable_conv2d1(&p, in, out, &r, 0);
    }
    trainable_on_step(6u);
    {
        /* step 7: mean "features.1" (f32[1,6,5,5]) -> f32[1,5]; kernel reduce; ram+272 -> ram+236 */
        static const ll_reduce_params p = {.in_h = 6, .in_w = 5, .channels = 5, .reduce_w = 1, .flat = 1, .zero = 0, .mult = 0, .shift = 0};
        static const ll_in in[1] = {
            {trainable_arena_ram + 272, 100, 20, LL_WHOLE, 0, 4, 0},
        };
        static const ll_out out[1] = {
            {trainable_arena_ram + 236, 20, 20, LL_WHOLE, 0, 4, 0},
        };
        static const ll_region r = {0, 6, 0, 1, 0, 5};
        trainable_reduce2(&p, in, out, &r, trainable_arena_ram + 216);
    }
    trainable_on_step(7u);
    {
        /* step 8: linear "logits.1" (f32[1,5], f32[4,5]) -> f32[1,4]; kernel linear; ram+236, trainable_v, trainable_logits_zeros -> ram+216 */
        static const ll_linear_params p = {.in_c = 5, .resume = 0, .w_next = 5, .w_zero = 0};
        static const ll_in in[3] = {
            {trainable_arena_ram + 236, 20, 20, LL_WHOLE, 0, 4, 0},
            {(const uint8_t *)trainable_v, 80, 20, LL_WHOLE, 0, 4, 0},
            {(const uint8_t *)trainable_logits_zeros, 16, 16, LL_WHOLE, 0, 4, 0},
        };
        static const ll_out out[1] = {
            {trainable_arena_ram + 216, 16, 16, LL_WHOLE, 0, 4, 0},
        };
        static const ll_region r = {0, 1, 0, 1, 0, 4};
        trainable_linear3(&p, in, out, &r, 0);
    }
    trainable_on_step(8u);
    {
        /* step 9: softmax_cross_entropy "loss" (f32[1,4], f32[1,4]) -> f32[1,1]; kernel cross_entropy; ram+216, ram+256 -> ram+464 */
        static const ll_cross_entropy_params p = {.channels = 4};
        static const ll_in in[2] = {
            {trainable_arena_ram + 216, 16, 16, LL_WHOLE, 0, 4, 0},
            {trainable_arena_ram + 256, 16, 16, LL_WHOLE, 0, 4, 0},
        };
        static const ll_out out[1] = {
            {trainable_arena_ram + 464, 4, 4, LL_WHOLE, 0, 4, 0},
        };
        static const ll_region r = {0, 1, 0, 1, 0, 1};
        trainable_cross_entropy5(&p, in, out, &r, 0);
    }
    trainable_on_step(9u);
    {
        /* step 10: softmax "train/probability" (f32[1,4]) -> f32[1,4]; kernel softmax_f32; ram+216 -> ram+232 */
        static const ll_softmax_f32_params p = {.channels = 4, .beta = 1.0f, .logarithm = 0};
        static const ll_in in[1] = {
            {trainable_arena_ram + 216, 16, 16, LL_WHOLE, 0, 4, 0},
        };
        static const ll_out out[1] = {
            {trainable_arena_ram + 232, 16, 16, LL_WHOLE, 0, 4, 0},
        };
        static const ll_region r = {0, 1, 0, 1, 0, 4};
        trainable_softmax_f324(&p, in, out, &r, 0);
    }
    trainable_on_step(10u);
    {
        /* step 11: sub "d_logits" (f32[1,4], f32[1,4]) -> f32[1,4]; kernel map; ram+232, ram+256 -> ram+316 */
        static const ll_map_params p = {.none = 0};
        static const ll_in in[2] = {
            {trainable_arena_ram + 232, 16, 16, LL_WHOLE, 0, 4, 0},
            {trainable_arena_ram + 256, 16, 16, LL_WHOLE, 0, 4, 0},
        };
        static const ll_out out[1] = {
            {trainable_arena_ram + 316, 16, 16, LL_WHOLE, 0, 4, 0},
        };
        static const ll_region r = {0, 1, 0, 1, 0, 4};
        trainable_map6(&p, in, out, &r, 0);
    }
    trainable_on_step(11u);
    {
        /* step 12: transpose "v_t" (f32[4,5]) -> f32[5,4]; kernel strided; trainable_v -> ram+216 */
        static const ll_transpose_params p = {.step0 = 0, .step1 = 0, .step2 = 0, .step3 = 0, .step4 = 1, .step5 = 5, .extent1 = 1, .extent2 = 1, .extent3 = 1};
        static const ll_in in[1] = {
            {(const uint8_t *)trainable_v, 80, 20, LL_WHOLE, 0, 4, 0},
        };
        static const ll_out out[1] = {
            {trainable_arena_ram + 216, 80, 16, LL_WHOLE, 0, 4, 0},
        };
        static const ll_region r = {0, 1, 0, 5, 0, 4};
        trainable_transpose7(&p, in, out, &r, 0);
    }
    trainable_on_step(12u);
    {
        /* step 13: linear "d_features" (f32[1,4], f32[5,4]) -> f32[1,5]; kernel linear; ram+316, ram+216, trainable_d_features_zeros -> ram+296 */
        static const ll_linear_params p = {.in_c = 4, .resume = 0, .w_next = 4, .w_zero = 0};
        static const ll_in in[3] = {
            {trainable_arena_ram + 316, 16, 16, LL_WHOLE, 0, 4, 0},
            {trainable_arena_ram + 216, 80, 16, LL_WHOLE, 0, 4, 0},
            {(const uint8_t *)trainable_d_features_zeros, 20, 20, LL_WHOLE, 0, 4, 0},
        };
        static const ll_out out[1] = {
            {trainable_arena_ram + 296, 20, 20, LL_WHOLE, 0, 4, 0},
        };
        static const ll_region r = {0, 1, 0, 1, 0, 5};
        trainable_linear8(&p, in, out, &r, 0);
    }
    trainable_on_step(13u);
    {
        /* step 14: mul "d_mean" (f32[1,2], f32[1,1]) -> f32[1,2]; kernel map; ram+308, trainable_share -> ram+456 */
        static const ll_map_params p = {.none = 0};
        static const ll_in in[2] = {
            {trainable_arena_ram + 296 + 12, 8, 8, LL_WHOLE, 0, 4, 0},
            {(const uint8_t *)trainable_share, 4, 4, LL_WHOLE, 0, 4, 0},
        };
        static const ll_out out[1] = {
            {trainable_arena_ram + 456, 8, 8, LL_WHOLE, 0, 4, 0},
        };
        static const ll_region r = {0, 1, 0, 1, 0, 2};
        trainable_map9(&p, in, out, &r, 0);
    }
    trainable_on_step(14u);
    {
        /* step 15: broadcast "d_map" (f32[1,1,1,2]) -> f32[1,6,5,2]; kernel strided; ram+456 -> ram+216 */
        static const ll_transpose_params p = {.step0 = 0, .step1 = 0, .step2 = 0, .step3 = 0, .step4 = 0, .step5 = 1, .extent1 = 1, .extent2 = 1, .extent3 = 6};
        static const ll_in in[1] = {
            {trainable_arena_ram + 456, 0, 8, LL_WHOLE, 0, 4, 0},
        };
        static const ll_out out[1] = {
            {trainable_arena_ram + 216, 40, 8, LL_WHOLE, 0, 4, 0},
        };
        static const ll_region r = {0, 6, 0, 5, 0, 2};
        trainable_transpose10(&p, in, out, &r, 0);
    }
    trainable_on_step(15u);
    {
        /* step 16: conv2d_grad_w "dw" + mul + sub (f32[1,6,5,3], f32[1,6,5,2]) -> f32[2,3,3,3]; kernel conv2d_grad_w_rows; ram+872, ram+216, trainable_rate, ram+0 -> ram+0 */
        static const ll_conv2d_grad_w_rows_params p = {.in_h = 6, .in_w = 5, .in_c = 3, .out_h = 6, .out_w = 5, .out_c = 2, .rows = 6, .kh = 3, .kw = 3, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .pad_top = 1, .pad_left = 1, .group_in = 3, .group_out = 2, .zero_point = 0};
        static const ll_in in[4] = {
            {trainable_arena_ram + 872, 60, 12, LL_WHOLE, 0, 4, 0},
            {trainable_arena_ram + 216, 40, 8, LL_WHOLE, 0, 4, 0},
            {(const uint8_t *)trainable_rate, 0, 0, LL_WHOLE, 0, 4, 0},
            {trainable_arena_ram + 0, 36, 12, LL_WHOLE, 0, 4, 0},
        };
        static const ll_out out[1] = {
            {trainable_arena_ram + 0, 36, 12, LL_WHOLE, 0, 4, 0},
        };
        static const ll_region r = {0, 6, 0, 3, 0, 3};
        trainable_conv2d_grad_w_rows11(&p, in, out, &r, 0);
    }
    trainable_on_step(16u);
}

float *trainable_train_input0(void)
{
    return (float *)(void *)(trainable_arena_ram + 872);
}

float *trainable_train_input1(void)
{
    return (float *)(void *)(trainable_arena_ram + 256);
}

const float *trainable_train_output(void)
{
    return (const float *)(void *)(trainable_arena_ram + 464);
}


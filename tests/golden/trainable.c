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

typedef struct {
    const void *in0;
    const void *in1;
    const void *in2;
    const void *in3;
    void *out0;
} trainable_call0;
LL_NOINLINE void trainable_conv2d0(const trainable_call0 *a)
{
    const ll_conv2d_params p = {.in_h = 6, .in_w = 5, .in_c = 3, .out_h = 6, .kh = 3, .kw = 3, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .pad_top = 1, .pad_left = 1, .group_in = 3, .group_out = 3, .resume = 0, .w_next = 27, .w_zero = 0};
    const ll_in in[4] = {
        {a->in0, 60, 12, LL_WHOLE, 0, 4, 0},
        {a->in1, 0, 108, LL_WHOLE, 0, 4, 0},
        {a->in2, 0, 12, LL_WHOLE, 0, 4, 0},
        {a->in3, 0, 36, LL_WHOLE, 0, 4, 0},
    };
    const ll_out out[1] = {
        {a->out0, 100, 20, LL_WHOLE, 0, 4, 0},
    };
    const ll_region r = {0, 6, 0, 5, 0, 3};
    ll_conv2d_float_3_9_float_float_float(&p, in, out, &r, 0, in + 4, 0, trainable_store0);
    LL_STEP_END();
}

/* conv2d of steps 1, 6 */
LL_INLINE float trainable_store1(const ll_at *at, float acc)
{
    (void)at;
    const float v0 = acc;
    return v0;
}

typedef struct {
    const void *in0;
    const void *in1;
    const void *in2;
    const void *in3;
    void *out0;
} trainable_call1;
LL_NOINLINE void trainable_conv2d1(const trainable_call1 *a)
{
    const ll_conv2d_params p = {.in_h = 6, .in_w = 5, .in_c = 3, .out_h = 6, .kh = 3, .kw = 3, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .pad_top = 1, .pad_left = 1, .group_in = 3, .group_out = 2, .resume = 0, .w_next = 27, .w_zero = 0};
    const ll_in in[4] = {
        {a->in0, 60, 12, LL_WHOLE, 0, 4, 0},
        {a->in1, 0, 108, LL_WHOLE, 0, 4, 0},
        {a->in2, 0, 8, LL_WHOLE, 0, 4, 0},
        {a->in3, 0, 36, LL_WHOLE, 0, 4, 0},
    };
    const ll_out out[1] = {
        {a->out0, 100, 20, LL_WHOLE, 0, 4, 0},
    };
    const ll_region r = {0, 6, 0, 5, 0, 2};
    ll_conv2d_float_3_9_float_float_float(&p, in, out, &r, 0, in + 4, 0, trainable_store1);
    LL_STEP_END();
}

/* reduce of steps 2, 7 */
LL_INLINE float trainable_store2(const ll_at *at, float acc)
{
    (void)at;
    const float v0 = acc / 30.0f;
    return v0;
}

typedef struct {
    const void *in0;
    void *out0;
    void *scratch;
    int32_t zero;
    int32_t mult;
    int32_t shift;
} trainable_call2;
LL_NOINLINE void trainable_reduce2(const trainable_call2 *a)
{
    const ll_reduce_params p = {.in_h = 6, .in_w = 5, .channels = 5, .reduce_w = 1, .flat = 1, .zero = a->zero, .mult = a->mult, .shift = a->shift};
    const ll_in in[1] = {
        {a->in0, 100, 20, LL_WHOLE, 0, 4, 0},
    };
    const ll_out out[1] = {
        {a->out0, 20, 20, LL_WHOLE, 0, 4, 0},
    };
    const ll_region r = {0, 6, 0, 1, 0, 5};
    ll_reduce_float_sum_f32_float_float(&p, in, out, &r, a->scratch, in + 1, 0, trainable_store2);
    LL_STEP_END();
}

/* linear of steps 3, 8 */
LL_INLINE float trainable_store3(const ll_at *at, float acc)
{
    (void)at;
    const float v0 = acc;
    return v0;
}

typedef struct {
    const void *in0;
    const void *in1;
    const void *in2;
    void *out0;
} trainable_call3;
LL_NOINLINE void trainable_linear3(const trainable_call3 *a)
{
    const ll_linear_params p = {.in_c = 5, .resume = 0, .w_next = 5, .w_zero = 0};
    const ll_in in[3] = {
        {a->in0, 20, 20, LL_WHOLE, 0, 4, 0},
        {a->in1, 80, 20, LL_WHOLE, 0, 4, 0},
        {a->in2, 16, 16, LL_WHOLE, 0, 4, 0},
    };
    const ll_out out[1] = {
        {a->out0, 16, 16, LL_WHOLE, 0, 4, 0},
    };
    const ll_region r = {0, 1, 0, 1, 0, 4};
    ll_linear_float_float_float_float(&p, in, out, &r, 0, in + 3, 0, trainable_store3);
    LL_STEP_END();
}

/* softmax_f32 of steps 4, 10 */
LL_INLINE float trainable_store4(const ll_at *at, float acc)
{
    (void)at;
    return (float)acc;
}

typedef struct {
    const void *in0;
    void *out0;
} trainable_call4;
LL_NOINLINE void trainable_softmax_f324(const trainable_call4 *a)
{
    const ll_softmax_f32_params p = {.channels = 4, .beta = 1.0f, .logarithm = 0};
    const ll_in in[1] = {
        {a->in0, 16, 16, LL_WHOLE, 0, 4, 0},
    };
    const ll_out out[1] = {
        {a->out0, 16, 16, LL_WHOLE, 0, 4, 0},
    };
    const ll_region r = {0, 1, 0, 1, 0, 4};
    ll_softmax_f32_float_float_float(&p, in, out, &r, 0, in + 1, 0, trainable_store4);
    LL_STEP_END();
}

/* cross_entropy of steps 9 */
LL_INLINE float trainable_store5(const ll_at *at, float acc)
{
    (void)at;
    return (float)acc;
}

typedef struct {
    const void *in0;
    const void *in1;
    void *out0;
    int32_t channels;
} trainable_call5;
LL_NOINLINE void trainable_cross_entropy5(const trainable_call5 *a)
{
    const ll_cross_entropy_params p = {.channels = a->channels};
    const ll_in in[2] = {
        {a->in0, 16, 16, LL_WHOLE, 0, 4, 0},
        {a->in1, 16, 16, LL_WHOLE, 0, 4, 0},
    };
    const ll_out out[1] = {
        {a->out0, 4, 4, LL_WHOLE, 0, 4, 0},
    };
    const ll_region r = {0, 1, 0, 1, 0, 1};
    ll_cross_entropy_float_float_float(&p, in, out, &r, 0, in + 2, 0, trainable_store5);
    LL_STEP_END();
}

/* map of steps 11 */
LL_INLINE float trainable_store6(const ll_at *at, int32_t acc)
{
    (void)acc;
    const float v0 = (((const float *)(const void *)at->row[0])[at->c] - ((const float *)(const void *)at->row[1])[at->c]);
    return v0;
}

typedef struct {
    const void *in0;
    const void *in1;
    void *out0;
    int32_t none;
} trainable_call6;
LL_NOINLINE void trainable_map6(const trainable_call6 *a)
{
    const ll_map_params p = {.none = a->none};
    const ll_in in[2] = {
        {a->in0, 16, 16, LL_WHOLE, 0, 4, 0},
        {a->in1, 16, 16, LL_WHOLE, 0, 4, 0},
    };
    const ll_out out[1] = {
        {a->out0, 16, 16, LL_WHOLE, 0, 4, 0},
    };
    const ll_region r = {0, 1, 0, 1, 0, 4};
    ll_map_int32_float(&p, in, out, &r, 0, in + 0, 2, trainable_store6);
    LL_STEP_END();
}

/* transpose of steps 12 */
LL_INLINE float trainable_store7(const ll_at *at, int32_t acc)
{
    (void)at;
    return (float)acc;
}

typedef struct {
    const void *in0;
    void *out0;
    int32_t step0;
    int32_t step1;
    int32_t step2;
    int32_t step3;
    int32_t step4;
    int32_t step5;
    int32_t extent1;
    int32_t extent2;
    int32_t extent3;
} trainable_call7;
LL_NOINLINE void trainable_transpose7(const trainable_call7 *a)
{
    const ll_transpose_params p = {.step0 = a->step0, .step1 = a->step1, .step2 = a->step2, .step3 = a->step3, .step4 = a->step4, .step5 = a->step5, .extent1 = a->extent1, .extent2 = a->extent2, .extent3 = a->extent3};
    const ll_in in[1] = {
        {a->in0, 80, 20, LL_WHOLE, 0, 4, 0},
    };
    const ll_out out[1] = {
        {a->out0, 80, 16, LL_WHOLE, 0, 4, 0},
    };
    const ll_region r = {0, 1, 0, 5, 0, 4};
    ll_transpose_int32_float_float(&p, in, out, &r, 0, in + 1, 0, trainable_store7);
    LL_STEP_END();
}

/* linear of steps 13 */
LL_INLINE float trainable_store8(const ll_at *at, float acc)
{
    (void)at;
    const float v0 = acc;
    return v0;
}

typedef struct {
    const void *in0;
    const void *in1;
    const void *in2;
    void *out0;
} trainable_call8;
LL_NOINLINE void trainable_linear8(const trainable_call8 *a)
{
    const ll_linear_params p = {.in_c = 4, .resume = 0, .w_next = 4, .w_zero = 0};
    const ll_in in[3] = {
        {a->in0, 16, 16, LL_WHOLE, 0, 4, 0},
        {a->in1, 80, 16, LL_WHOLE, 0, 4, 0},
        {a->in2, 20, 20, LL_WHOLE, 0, 4, 0},
    };
    const ll_out out[1] = {
        {a->out0, 20, 20, LL_WHOLE, 0, 4, 0},
    };
    const ll_region r = {0, 1, 0, 1, 0, 5};
    ll_linear_float_float_float_float(&p, in, out, &r, 0, in + 3, 0, trainable_store8);
    LL_STEP_END();
}

/* map of steps 14 */
LL_INLINE float trainable_store9(const ll_at *at, int32_t acc)
{
    (void)acc;
    const float v0 = (((const float *)(const void *)at->row[0])[at->c] * ((const float *)(const void *)at->row[1])[0]);
    return v0;
}

typedef struct {
    const void *in0;
    const void *in1;
    void *out0;
    int32_t none;
} trainable_call9;
LL_NOINLINE void trainable_map9(const trainable_call9 *a)
{
    const ll_map_params p = {.none = a->none};
    const ll_in in[2] = {
        {a->in0, 8, 8, LL_WHOLE, 0, 4, 0},
        {a->in1, 4, 4, LL_WHOLE, 0, 4, 0},
    };
    const ll_out out[1] = {
        {a->out0, 8, 8, LL_WHOLE, 0, 4, 0},
    };
    const ll_region r = {0, 1, 0, 1, 0, 2};
    ll_map_int32_float(&p, in, out, &r, 0, in + 0, 2, trainable_store9);
    LL_STEP_END();
}

/* transpose of steps 15 */
LL_INLINE float trainable_store10(const ll_at *at, int32_t acc)
{
    (void)at;
    return (float)acc;
}

typedef struct {
    const void *in0;
    void *out0;
    int32_t step0;
    int32_t step1;
    int32_t step2;
    int32_t step3;
    int32_t step4;
    int32_t step5;
    int32_t extent1;
    int32_t extent2;
    int32_t extent3;
} trainable_call10;
LL_NOINLINE void trainable_transpose10(const trainable_call10 *a)
{
    const ll_transpose_params p = {.step0 = a->step0, .step1 = a->step1, .step2 = a->step2, .step3 = a->step3, .step4 = a->step4, .step5 = a->step5, .extent1 = a->extent1, .extent2 = a->extent2, .extent3 = a->extent3};
    const ll_in in[1] = {
        {a->in0, 0, 8, LL_WHOLE, 0, 4, 0},
    };
    const ll_out out[1] = {
        {a->out0, 40, 8, LL_WHOLE, 0, 4, 0},
    };
    const ll_region r = {0, 6, 0, 5, 0, 2};
    ll_transpose_int32_float_float(&p, in, out, &r, 0, in + 1, 0, trainable_store10);
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

typedef struct {
    const void *in0;
    const void *in1;
    const void *in2;
    const void *in3;
    void *out0;
    int32_t in_h;
    int32_t in_w;
    int32_t in_c;
    int32_t out_h;
    int32_t out_w;
    int32_t out_c;
    int32_t rows;
    int32_t dilation_h;
    int32_t dilation_w;
    int32_t pad_top;
    int32_t pad_left;
    int32_t group_in;
    int32_t group_out;
} trainable_call11;
LL_NOINLINE void trainable_conv2d_grad_w_rows11(const trainable_call11 *a)
{
    const ll_conv2d_grad_w_rows_params p = {.in_h = a->in_h, .in_w = a->in_w, .in_c = a->in_c, .out_h = a->out_h, .out_w = a->out_w, .out_c = a->out_c, .rows = a->rows, .kh = 3, .kw = 3, .stride_h = 1, .stride_w = 1, .dilation_h = a->dilation_h, .dilation_w = a->dilation_w, .pad_top = a->pad_top, .pad_left = a->pad_left, .group_in = a->group_in, .group_out = a->group_out, .zero_point = 0};
    const ll_in in[4] = {
        {a->in0, 60, 12, LL_WHOLE, 0, 4, 0},
        {a->in1, 40, 8, LL_WHOLE, 0, 4, 0},
        {a->in2, 0, 0, LL_WHOLE, 0, 4, 0},
        {a->in3, 36, 12, LL_WHOLE, 0, 4, 0},
    };
    const ll_out out[1] = {
        {a->out0, 36, 12, LL_WHOLE, 0, 4, 0},
    };
    const ll_region r = {0, 6, 0, 3, 0, 3};
    ll_conv2d_grad_w_rows_float_3_9_float_float(&p, in, out, &r, 0, in + 2, 2, trainable_store11);
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
        static const trainable_call0 a = {
            trainable_arena_ram + 816,
            (const uint8_t *)trainable_w_frozen,
            (const uint8_t *)trainable_frozen_zeros,
            (const uint8_t *)trainable_frozen_outside,
            trainable_arena_ram + 216,
        };
        trainable_conv2d0(&a);
    }
    trainable_on_step(0u);
    {
        /* step 1: conv2d "trained" (f32[1,6,5,3], f32[2,3,3,3]) -> f32[1,6,5,2]; kernel conv2d; ram+816, ram+0, trainable_trained_zeros, trainable_frozen_outside -> ram+228 */
        static const trainable_call1 a = {
            trainable_arena_ram + 816,
            trainable_arena_ram + 0,
            (const uint8_t *)trainable_trained_zeros,
            (const uint8_t *)trainable_frozen_outside,
            trainable_arena_ram + 216 + 12,
        };
        trainable_conv2d1(&a);
    }
    trainable_on_step(1u);
    {
        /* step 2: mean "features" (f32[1,6,5,5]) -> f32[1,5]; kernel reduce; ram+216 -> ram+816 */
        static const trainable_call2 a = {
            trainable_arena_ram + 216,
            trainable_arena_ram + 816,
            trainable_arena_ram + 840,
            0,
            0,
            0,
        };
        trainable_reduce2(&a);
    }
    trainable_on_step(2u);
    {
        /* step 3: linear "logits" (f32[1,5], f32[4,5]) -> f32[1,4]; kernel linear; ram+816, trainable_v, trainable_logits_zeros -> ram+216 */
        static const trainable_call3 a = {
            trainable_arena_ram + 816,
            (const uint8_t *)trainable_v,
            (const uint8_t *)trainable_logits_zeros,
            trainable_arena_ram + 216,
        };
        trainable_linear3(&a);
    }
    trainable_on_step(3u);
    {
        /* step 4: softmax "probability" (f32[1,4]) -> f32[1,4]; kernel softmax_f32; ram+216 -> ram+232 */
        static const trainable_call4 a = {
            trainable_arena_ram + 216,
            trainable_arena_ram + 232,
        };
        trainable_softmax_f324(&a);
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
        static const trainable_call0 a = {
            trainable_arena_ram + 872,
            (const uint8_t *)trainable_w_frozen,
            (const uint8_t *)trainable_frozen_zeros,
            (const uint8_t *)trainable_frozen_outside,
            trainable_arena_ram + 272,
        };
        trainable_conv2d0(&a);
    }
    trainable_on_step(5u);
    {
        /* step 6: conv2d "trained.1" (f32[1,6,5,3], f32[2,3,3,3]) -> f32[1,6,5,2]; kernel conv2d; ram+872, ram+0, trainable_trained_zeros, trainable_frozen_outside -> ram+284 */
        static const trainable_call1 a = {
            trainable_arena_ram + 872,
            trainable_arena_ram + 0,
            (const uint8_t *)trainable_trained_zeros,
            (const uint8_t *)trainable_frozen_outside,
            trainable_arena_ram + 272 + 12,
        };
        trainable_conv2d1(&a);
    }
    trainable_on_step(6u);
    {
        /* step 7: mean "features.1" (f32[1,6,5,5]) -> f32[1,5]; kernel reduce; ram+272 -> ram+236 */
        static const trainable_call2 a = {
            trainable_arena_ram + 272,
            trainable_arena_ram + 236,
            trainable_arena_ram + 216,
            0,
            0,
            0,
        };
        trainable_reduce2(&a);
    }
    trainable_on_step(7u);
    {
        /* step 8: linear "logits.1" (f32[1,5], f32[4,5]) -> f32[1,4]; kernel linear; ram+236, trainable_v, trainable_logits_zeros -> ram+216 */
        static const trainable_call3 a = {
            trainable_arena_ram + 236,
            (const uint8_t *)trainable_v,
            (const uint8_t *)trainable_logits_zeros,
            trainable_arena_ram + 216,
        };
        trainable_linear3(&a);
    }
    trainable_on_step(8u);
    {
        /* step 9: softmax_cross_entropy "loss" (f32[1,4], f32[1,4]) -> f32[1,1]; kernel cross_entropy; ram+216, ram+256 -> ram+464 */
        static const trainable_call5 a = {
            trainable_arena_ram + 216,
            trainable_arena_ram + 256,
            trainable_arena_ram + 464,
            4,
        };
        trainable_cross_entropy5(&a);
    }
    trainable_on_step(9u);
    {
        /* step 10: softmax "train/probability" (f32[1,4]) -> f32[1,4]; kernel softmax_f32; ram+216 -> ram+232 */
        static const trainable_call4 a = {
            trainable_arena_ram + 216,
            trainable_arena_ram + 232,
        };
        trainable_softmax_f324(&a);
    }
    trainable_on_step(10u);
    {
        /* step 11: sub "d_logits" (f32[1,4], f32[1,4]) -> f32[1,4]; kernel map; ram+232, ram+256 -> ram+316 */
        static const trainable_call6 a = {
            trainable_arena_ram + 232,
            trainable_arena_ram + 256,
            trainable_arena_ram + 316,
            0,
        };
        trainable_map6(&a);
    }
    trainable_on_step(11u);
    {
        /* step 12: transpose "v_t" (f32[4,5]) -> f32[5,4]; kernel strided; trainable_v -> ram+216 */
        static const trainable_call7 a = {
            (const uint8_t *)trainable_v,
            trainable_arena_ram + 216,
            0,
            0,
            0,
            0,
            1,
            5,
            1,
            1,
            1,
        };
        trainable_transpose7(&a);
    }
    trainable_on_step(12u);
    {
        /* step 13: linear "d_features" (f32[1,4], f32[5,4]) -> f32[1,5]; kernel linear; ram+316, ram+216, trainable_d_features_zeros -> ram+296 */
        static const trainable_call8 a = {
            trainable_arena_ram + 316,
            trainable_arena_ram + 216,
            (const uint8_t *)trainable_d_features_zeros,
            trainable_arena_ram + 296,
        };
        trainable_linear8(&a);
    }
    trainable_on_step(13u);
    {
        /* step 14: mul "d_mean" (f32[1,2], f32[1,1]) -> f32[1,2]; kernel map; ram+308, trainable_share -> ram+456 */
        static const trainable_call9 a = {
            trainable_arena_ram + 296 + 12,
            (const uint8_t *)trainable_share,
            trainable_arena_ram + 456,
            0,
        };
        trainable_map9(&a);
    }
    trainable_on_step(14u);
    {
        /* step 15: broadcast "d_map" (f32[1,1,1,2]) -> f32[1,6,5,2]; kernel strided; ram+456 -> ram+216 */
        static const trainable_call10 a = {
            trainable_arena_ram + 456,
            trainable_arena_ram + 216,
            0,
            0,
            0,
            0,
            0,
            1,
            1,
            1,
            6,
        };
        trainable_transpose10(&a);
    }
    trainable_on_step(15u);
    {
        /* step 16: conv2d_grad_w "dw" + mul + sub (f32[1,6,5,3], f32[1,6,5,2]) -> f32[2,3,3,3]; kernel conv2d_grad_w_rows; ram+872, ram+216, trainable_rate, ram+0 -> ram+0 */
        static const trainable_call11 a = {
            trainable_arena_ram + 872,
            trainable_arena_ram + 216,
            (const uint8_t *)trainable_rate,
            trainable_arena_ram + 0,
            trainable_arena_ram + 0,
            6,
            5,
            3,
            6,
            5,
            2,
            6,
            1,
            1,
            1,
            1,
            3,
            2,
        };
        trainable_conv2d_grad_w_rows11(&a);
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


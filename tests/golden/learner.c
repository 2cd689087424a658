/* learner: written by lilliput 0.1.0; do not edit */
#include "learner.h"

#include "lilliput/isa/generic.h"
#include "lilliput/elementwise.h"
#include "lilliput/float.h"
#include "learner_data.h"

#define LL_CHECKPOINT(name) learner_##name
#define LL_STATUS(NAME) LEARNER_##NAME
#include "lilliput/checkpoint.h"

#ifdef LEARNER_ARENA_RAM
extern uint8_t LEARNER_ARENA_RAM[]; /* the caller provides it, aligned to 16 */
#define learner_arena_ram LEARNER_ARENA_RAM
#else
#ifndef LEARNER_ARENA_RAM_SECTION
#define LEARNER_ARENA_RAM_SECTION
#endif
static LEARNER_ARENA_RAM_SECTION _Alignas(16) uint8_t learner_arena_ram[LEARNER_ARENA_RAM_BYTES];
#endif

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

#define LL_NAME(kernel) ll_##kernel##_int32_int32_float_float
#define LL_ACC int32_t
#define LL_I int32_t
#define LL_R float
#define LL_X float
#define LL_Y float
#include "lilliput/kernels/one_hot.inc"
#undef LL_NAME
#undef LL_ACC
#undef LL_I
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

#define LL_NAME(kernel) ll_##kernel##_int32_int32
#define LL_ACC int32_t
#define LL_R int32_t
#define LL_Y int32_t
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
#include "lilliput/kernels/copy.inc"
#undef LL_NAME
#undef LL_ACC
#undef LL_R
#undef LL_X
#undef LL_Y

/* linear of steps 0, 3 */
LL_INLINE float learner_store0(const ll_at *at, float acc)
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
} learner_call0;
LL_NOINLINE void learner_linear0(const learner_call0 *a)
{
    const ll_linear_params p = {.in_c = 4, .resume = 0, .w_next = 4, .w_zero = 0};
    const ll_in in[3] = {
        {a->in0, 16, 16, LL_WHOLE, 0, 4, 0},
        {a->in1, 48, 16, LL_WHOLE, 0, 4, 0},
        {a->in2, 12, 12, LL_WHOLE, 0, 4, 0},
    };
    const ll_out out[1] = {
        {a->out0, 12, 12, LL_WHOLE, 0, 4, 0},
    };
    const ll_region r = {0, 1, 0, 1, 0, 3};
    ll_linear_float_float_float_float(&p, in, out, &r, 0, in + 3, 0, learner_store0);
    LL_STEP_END();
}

/* softmax_f32 of steps 1, 7 */
LL_INLINE float learner_store1(const ll_at *at, float acc)
{
    (void)at;
    return (float)acc;
}

typedef struct {
    const void *in0;
    void *out0;
} learner_call1;
LL_NOINLINE void learner_softmax_f321(const learner_call1 *a)
{
    const ll_softmax_f32_params p = {.channels = 3, .beta = 1.0f, .logarithm = 0};
    const ll_in in[1] = {
        {a->in0, 12, 12, LL_WHOLE, 0, 4, 0},
    };
    const ll_out out[1] = {
        {a->out0, 12, 12, LL_WHOLE, 0, 4, 0},
    };
    const ll_region r = {0, 1, 0, 1, 0, 3};
    ll_softmax_f32_float_float_float(&p, in, out, &r, 0, in + 1, 0, learner_store1);
    LL_STEP_END();
}

/* one_hot of steps 4 */
LL_INLINE float learner_store2(const ll_at *at, int32_t acc)
{
    (void)at;
    return (float)acc;
}

typedef struct {
    const void *in0;
    const void *in1;
    const void *in2;
    void *out0;
    int32_t none;
} learner_call2;
LL_NOINLINE void learner_one_hot2(const learner_call2 *a)
{
    const ll_one_hot_params p = {.none = a->none};
    const ll_in in[3] = {
        {a->in0, 4, 4, LL_WHOLE, 0, 4, 0},
        {a->in1, 4, 4, LL_WHOLE, 0, 4, 0},
        {a->in2, 4, 4, LL_WHOLE, 0, 4, 0},
    };
    const ll_out out[1] = {
        {a->out0, 12, 4, LL_WHOLE, 0, 4, 0},
    };
    const ll_region r = {0, 1, 0, 3, 0, 1};
    ll_one_hot_int32_int32_float_float(&p, in, out, &r, 0, in + 3, 0, learner_store2);
    LL_STEP_END();
}

/* cross_entropy of steps 5 */
LL_INLINE float learner_store3(const ll_at *at, float acc)
{
    (void)at;
    return (float)acc;
}

typedef struct {
    const void *in0;
    const void *in1;
    void *out0;
    int32_t channels;
} learner_call3;
LL_NOINLINE void learner_cross_entropy3(const learner_call3 *a)
{
    const ll_cross_entropy_params p = {.channels = a->channels};
    const ll_in in[2] = {
        {a->in0, 12, 12, LL_WHOLE, 0, 4, 0},
        {a->in1, 12, 12, LL_WHOLE, 0, 4, 0},
    };
    const ll_out out[1] = {
        {a->out0, 4, 4, LL_WHOLE, 0, 4, 0},
    };
    const ll_region r = {0, 1, 0, 1, 0, 1};
    ll_cross_entropy_float_float_float(&p, in, out, &r, 0, in + 2, 0, learner_store3);
    LL_STEP_END();
}

/* map of steps 8 */
LL_INLINE float learner_store4(const ll_at *at, int32_t acc)
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
} learner_call4;
LL_NOINLINE void learner_map4(const learner_call4 *a)
{
    const ll_map_params p = {.none = a->none};
    const ll_in in[2] = {
        {a->in0, 12, 12, LL_WHOLE, 0, 4, 0},
        {a->in1, 12, 12, LL_WHOLE, 0, 4, 0},
    };
    const ll_out out[1] = {
        {a->out0, 12, 12, LL_WHOLE, 0, 4, 0},
    };
    const ll_region r = {0, 1, 0, 1, 0, 3};
    ll_map_int32_float(&p, in, out, &r, 0, in + 0, 2, learner_store4);
    LL_STEP_END();
}

/* map of steps 9 */
LL_INLINE float learner_store5(const ll_at *at, int32_t acc)
{
    (void)acc;
    const float v0 = (((const float *)(const void *)at->row[0])[at->x * 1] * ((const float *)(const void *)at->row[1])[at->c]);
    const float v1 = (v0 * ((const float *)(const void *)at->row[2])[0]);
    const float v2 = (((const float *)(const void *)at->row[3])[at->x * 4 + at->c] - v1);
    return v2;
}

typedef struct {
    const void *in0;
    const void *in1;
    const void *in2;
    const void *in3;
    void *out0;
    int32_t none;
} learner_call5;
LL_NOINLINE void learner_map5(const learner_call5 *a)
{
    const ll_map_params p = {.none = a->none};
    const ll_in in[4] = {
        {a->in0, 12, 4, LL_WHOLE, 0, 4, 0},
        {a->in1, 16, 0, LL_WHOLE, 0, 4, 0},
        {a->in2, 4, 0, LL_WHOLE, 0, 4, 0},
        {a->in3, 48, 16, LL_WHOLE, 0, 4, 0},
    };
    const ll_out out[1] = {
        {a->out0, 48, 16, LL_WHOLE, 0, 4, 0},
    };
    const ll_region r = {0, 1, 0, 3, 0, 4};
    ll_map_int32_float(&p, in, out, &r, 0, in + 0, 4, learner_store5);
    LL_STEP_END();
}

/* map of steps 10 */
LL_INLINE float learner_store6(const ll_at *at, int32_t acc)
{
    (void)acc;
    const float v0 = (((const float *)(const void *)at->row[0])[at->c] * ((const float *)(const void *)at->row[1])[0]);
    const float v1 = (((const float *)(const void *)at->row[2])[at->c] - v0);
    return v1;
}

typedef struct {
    const void *in0;
    const void *in1;
    const void *in2;
    void *out0;
    int32_t none;
} learner_call6;
LL_NOINLINE void learner_map6(const learner_call6 *a)
{
    const ll_map_params p = {.none = a->none};
    const ll_in in[3] = {
        {a->in0, 12, 12, LL_WHOLE, 0, 4, 0},
        {a->in1, 4, 4, LL_WHOLE, 0, 4, 0},
        {a->in2, 12, 12, LL_WHOLE, 0, 4, 0},
    };
    const ll_out out[1] = {
        {a->out0, 12, 12, LL_WHOLE, 0, 4, 0},
    };
    const ll_region r = {0, 1, 0, 1, 0, 3};
    ll_map_int32_float(&p, in, out, &r, 0, in + 0, 3, learner_store6);
    LL_STEP_END();
}

/* map of steps 11 */
LL_INLINE int32_t learner_store7(const ll_at *at, int32_t acc)
{
    (void)acc;
    const int32_t v0 = ll_wrap_add(((const int32_t *)(const void *)at->row[0])[0], ((const int32_t *)(const void *)at->row[1])[0]);
    return v0;
}

typedef struct {
    const void *in0;
    const void *in1;
    void *out0;
    int32_t none;
} learner_call7;
LL_NOINLINE void learner_map7(const learner_call7 *a)
{
    const ll_map_params p = {.none = a->none};
    const ll_in in[2] = {
        {a->in0, 4, 4, LL_WHOLE, 0, 4, 0},
        {a->in1, 4, 4, LL_WHOLE, 0, 4, 0},
    };
    const ll_out out[1] = {
        {a->out0, 4, 4, LL_WHOLE, 0, 4, 0},
    };
    const ll_region r = {0, 1, 0, 1, 0, 1};
    ll_map_int32_int32(&p, in, out, &r, 0, in + 0, 2, learner_store7);
    LL_STEP_END();
}

/* copy of steps 12 */
LL_INLINE float learner_store8(const ll_at *at, int32_t acc)
{
    (void)at;
    return (float)acc;
}

typedef struct {
    const void *in0;
    void *out0;
    int32_t none;
} learner_call8;
LL_NOINLINE void learner_copy8(const learner_call8 *a)
{
    const ll_copy_params p = {.none = a->none};
    const ll_in in[1] = {
        {a->in0, 4, 4, LL_WHOLE, 0, 4, 0},
    };
    const ll_out out[1] = {
        {a->out0, 4, 4, LL_WHOLE, 0, 4, 0},
    };
    const ll_region r = {0, 1, 0, 1, 0, 1};
    ll_copy_int32_float_float(&p, in, out, &r, 0, in + 1, 0, learner_store8);
    LL_STEP_END();
}

__attribute__((weak)) void learner_on_step(uint32_t step)
{
    (void)step;
}

void learner_reset(void)
{
    __builtin_memcpy(learner_arena_ram + 0, learner_w_init, 48u);
    __builtin_memset(learner_arena_ram + 48, 0, 12u);
    __builtin_memcpy(learner_arena_ram + 60, learner_learning_rate_init, 4u);
    __builtin_memset(learner_arena_ram + 64, 0, 4u);
    __builtin_memcpy(learner_arena_ram + 68, learner_last_loss_init, 4u);
}

float learner_get_learning_rate(void)
{
    return *(const float *)(void *)(learner_arena_ram + 60);
}

learner_status learner_set_learning_rate(float value)
{
    if (!ll_is_finite(value)) {
        return LEARNER_INVALID;
    }
    *(float *)(void *)(learner_arena_ram + 60) = value;
    return LEARNER_OK;
}

static const ll_saved learner_saved[4] = {
    {learner_arena_ram + 0, 48u}, /* w */
    {learner_arena_ram + 48, 12u}, /* bias */
    {learner_arena_ram + 60, 4u}, /* learning_rate */
    {learner_arena_ram + 64, 4u}, /* steps */
};
static const ll_checkpoint learner_checkpoint = {{0x6c57149cu, 0x47724788u}, 68u, 4u, learner_saved};

learner_status learner_save(const learner_flash *flash)
{
    return ll_save(flash, &learner_checkpoint);
}

learner_status learner_load(const learner_flash *flash)
{
    int touched;
    const learner_status status = ll_load(flash, &learner_checkpoint, &touched);
    if (touched != 0) {
        learner_reset();
    }
    return status;
}

void learner_run(void)
{
    {
        /* step 0: linear "scores" (f32[1,4], f32[3,4], f32[3]) -> f32[1,3]; kernel linear; ram+72, ram+0, ram+48 -> ram+88 */
        static const learner_call0 a = {
            learner_arena_ram + 72,
            learner_arena_ram + 0,
            learner_arena_ram + 48,
            learner_arena_ram + 88,
        };
        learner_linear0(&a);
    }
    learner_on_step(0u);
    {
        /* step 1: softmax "probability" (f32[1,3]) -> f32[1,3]; kernel softmax_f32; ram+88 -> ram+72 */
        static const learner_call1 a = {
            learner_arena_ram + 88,
            learner_arena_ram + 72,
        };
        learner_softmax_f321(&a);
    }
    learner_on_step(1u);
}

float *learner_input(void)
{
    return (float *)(void *)(learner_arena_ram + 72);
}

const float *learner_output(void)
{
    return (const float *)(void *)(learner_arena_ram + 72);
}

learner_status learner_train_step(const float *image, int32_t label, float *loss)
{
    if (image != 0 && (const void *)image != (const void *)(learner_arena_ram + 72)) {
        __builtin_memcpy(learner_arena_ram + 72, image, 16u);
    }
    *(int32_t *)(void *)(learner_arena_ram + 112) = label;
    /* step 2: %label: s32[1] within bounds, or the end */
    for (int32_t i = 0; i < 1; ++i) {
        if (!ll_is_within(((const int32_t *)(const void *)(learner_arena_ram + 112))[i], 0, 2)) {
            return LEARNER_INVALID;
        }
    }
    learner_on_step(2u);
    {
        /* step 3: linear "logits" (f32[1,4], f32[3,4], f32[3]) -> f32[1,3]; kernel linear; ram+72, ram+0, ram+48 -> ram+88 */
        static const learner_call0 a = {
            learner_arena_ram + 72,
            learner_arena_ram + 0,
            learner_arena_ram + 48,
            learner_arena_ram + 88,
        };
        learner_linear0(&a);
    }
    learner_on_step(3u);
    {
        /* step 4: one_hot "hot" (s32[1,1], f32[1], f32[1]) -> f32[1,3,1]; kernel one_hot; ram+112, learner_one, learner_zero -> ram+100 */
        static const learner_call2 a = {
            learner_arena_ram + 112,
            (const uint8_t *)learner_one,
            (const uint8_t *)learner_zero,
            learner_arena_ram + 100,
            0,
        };
        learner_one_hot2(&a);
    }
    learner_on_step(4u);
    {
        /* step 5: softmax_cross_entropy "loss" (f32[1,3], f32[1,3]) -> f32[1,1]; kernel cross_entropy; ram+88, ram+100 -> ram+124 */
        static const learner_call3 a = {
            learner_arena_ram + 88,
            learner_arena_ram + 100,
            learner_arena_ram + 124,
            3,
        };
        learner_cross_entropy3(&a);
    }
    learner_on_step(5u);
    /* step 6: %loss: f32[1,1] within bounds, or the end */
    for (int32_t i = 0; i < 1; ++i) {
        if (!ll_is_within_f32(((const float *)(const void *)(learner_arena_ram + 124))[i], -3.4028234663852886e+38f, 3.4028234663852886e+38f)) {
            return LEARNER_DIVERGED;
        }
    }
    learner_on_step(6u);
    {
        /* step 7: softmax "train/probability" (f32[1,3]) -> f32[1,3]; kernel softmax_f32; ram+88 -> ram+112 */
        static const learner_call1 a = {
            learner_arena_ram + 88,
            learner_arena_ram + 112,
        };
        learner_softmax_f321(&a);
    }
    learner_on_step(7u);
    {
        /* step 8: sub "d_logits" (f32[1,3], f32[1,3]) -> f32[1,3]; kernel map; ram+112, ram+100 -> ram+100 */
        static const learner_call4 a = {
            learner_arena_ram + 112,
            learner_arena_ram + 100,
            learner_arena_ram + 100,
            0,
        };
        learner_map4(&a);
    }
    learner_on_step(8u);
    {
        /* step 9: mul "dw" + mul + sub (f32[3,1], f32[1,4]) -> f32[3,4]; kernel map; ram+100, ram+72, ram+60, ram+0 -> ram+0 */
        static const learner_call5 a = {
            learner_arena_ram + 100,
            learner_arena_ram + 72,
            learner_arena_ram + 60,
            learner_arena_ram + 0,
            learner_arena_ram + 0,
            0,
        };
        learner_map5(&a);
    }
    learner_on_step(9u);
    {
        /* step 10: mul "bias_step" + sub (f32[3], f32[1]) -> f32[3]; kernel map; ram+100, ram+60, ram+48 -> ram+48 */
        static const learner_call6 a = {
            learner_arena_ram + 100,
            learner_arena_ram + 60,
            learner_arena_ram + 48,
            learner_arena_ram + 48,
            0,
        };
        learner_map6(&a);
    }
    learner_on_step(10u);
    {
        /* step 11: add "steps_new" (s32[1], s32[1]) -> s32[1]; kernel map; ram+64, learner_once -> ram+64 */
        static const learner_call7 a = {
            learner_arena_ram + 64,
            (const uint8_t *)learner_once,
            learner_arena_ram + 64,
            0,
        };
        learner_map7(&a);
    }
    learner_on_step(11u);
    {
        /* step 12: copy "last_loss" (f32[1,1]) -> f32[1,1]; kernel copy; ram+124 -> ram+68 */
        static const learner_call8 a = {
            learner_arena_ram + 124,
            learner_arena_ram + 68,
            0,
        };
        learner_copy8(&a);
    }
    learner_on_step(12u);
    if (loss != 0) {
        *loss = *(const float *)(const void *)(learner_arena_ram + 124);
    }
    return LEARNER_OK;
}

float *learner_train_step_input0(void)
{
    return (float *)(void *)(learner_arena_ram + 72);
}

int32_t *learner_train_step_input1(void)
{
    return (int32_t *)(void *)(learner_arena_ram + 112);
}

const float *learner_train_step_output0(void)
{
    return (const float *)(void *)(learner_arena_ram + 124);
}

const float *learner_train_step_output1(void)
{
    return (const float *)(void *)(learner_arena_ram + 88);
}


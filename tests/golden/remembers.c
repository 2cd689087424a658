/* remembers: written by lilliput 0.1.0; do not edit */
#include "remembers.h"

#include "lilliput/isa/generic.h"
#include "lilliput/elementwise.h"
#include "lilliput/float.h"
#include "remembers_data.h"

#ifdef REMEMBERS_ARENA_RAM
extern uint8_t REMEMBERS_ARENA_RAM[]; /* the caller provides it, aligned to 16 */
#define remembers_arena_ram REMEMBERS_ARENA_RAM
#else
#ifndef REMEMBERS_ARENA_RAM_SECTION
#define REMEMBERS_ARENA_RAM_SECTION
#endif
static REMEMBERS_ARENA_RAM_SECTION _Alignas(16) uint8_t remembers_arena_ram[REMEMBERS_ARENA_RAM_BYTES];
#endif

#define LL_NAME(kernel) ll_##kernel##_int32_int8_int8
#define LL_ACC int32_t
#define LL_R int32_t
#define LL_X int8_t
#define LL_Y int8_t
#include "lilliput/kernels/copy.inc"
#undef LL_NAME
#undef LL_ACC
#undef LL_R
#undef LL_X
#undef LL_Y

#define LL_NAME(kernel) ll_##kernel##_int32_5_ll_sums_joined_5_int8_int8
#define LL_ACC int32_t
#define LL_R int32_t
#define LL_ROWS 5
#define LL_SUMS ll_sums_joined
#define LL_TAPS 5
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

#define LL_NAME(kernel) ll_##kernel##_int32_1_ll_sums_joined_1_int8_int8
#define LL_ACC int32_t
#define LL_R int32_t
#define LL_ROWS 1
#define LL_SUMS ll_sums_joined
#define LL_TAPS 1
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

/* copy of steps 1 */
LL_INLINE int32_t remembers_store0(const ll_at *at, int32_t acc)
{
    (void)at;
    return (int32_t)acc;
}

typedef struct {
    const void *in0;
    void *out0;
    int32_t none;
} remembers_call0;
LL_NOINLINE void remembers_copy0(const remembers_call0 *a, int32_t out0_first)
{
    const ll_copy_params p = {.none = a->none};
    const ll_in in[1] = {
        {a->in0, 6, 6, LL_WHOLE, 0, 1, 0},
    };
    const ll_out out[1] = {
        {a->out0, 6, 6, 5, out0_first, 1, 0},
    };
    const ll_region r = {0, 1, 0, 1, 0, 6};
    ll_copy_int32_int8_int8(&p, in, out, &r, 0, in + 1, 0, remembers_store0);
    LL_STEP_END();
}

/* gemm of steps 2 */
LL_INLINE int32_t remembers_store1(const ll_at *at, int32_t acc)
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
} remembers_call1;
LL_NOINLINE void remembers_gemm1(const remembers_call1 *a, int32_t in0_first)
{
    const ll_gemm_params p = {.in_h = 5, .in_w = 1, .in_c = 6, .out_h = 1, .kh = 5, .kw = 1, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .pad_top = 0, .pad_left = 0, .groups = 8, .chunk = 8, .patch = 32};
    const ll_in in[7] = {
        {a->in0, 6, 6, 5, in0_first, 1, 0},
        {a->in1, 240, 240, LL_WHOLE, 0, 1, 0},
        {a->in2, 32, 32, LL_WHOLE, 0, 4, 0},
        {a->in3, 6, 6, LL_WHOLE, 0, 1, 0},
        {a->in4, 32, 32, LL_WHOLE, 0, 4, 0},
        {a->in5, 32, 32, LL_WHOLE, 0, 4, 0},
        {a->in6, 8, 8, LL_WHOLE, 0, 1, 0},
    };
    const ll_out out[1] = {
        {a->out0, 8, 8, LL_WHOLE, 0, 1, 0},
    };
    const ll_region r = {0, 1, 0, 1, 0, 8};
    ll_gemm_int32_5_ll_sums_joined_5_int8_int8(&p, in, out, &r, a->scratch, in + 4, 3, remembers_store1);
    LL_STEP_END();
}

/* gemm of steps 3 */
LL_INLINE int32_t remembers_store2(const ll_at *at, int32_t acc)
{
    const int32_t v0 = LL_SAT8_SHR(ll_away(ll_mulh_add(ll_wrap_shl(acc, 1), 1374389580, 0)) + 512, 10);
    const int32_t v1 = LL_SAT8_SHR(ll_away(ll_mulh_add(ll_wrap_shl((ll_wrap_shl(((const int8_t *)(const void *)at->row[0])[at->c], 19) + ll_wrap_shl(v0, 19)), 1), 1789569773, 0)) + 262144, 19);
    const int32_t v2 = remembers_hidden_new_lut[v1 + 128];
    return v2;
}

typedef struct {
    const void *in0;
    const void *in1;
    const void *in2;
    const void *in3;
    const void *in4;
    void *out0;
    void *scratch;
} remembers_call2;
LL_NOINLINE void remembers_gemm2(const remembers_call2 *a)
{
    const ll_gemm_params p = {.in_h = 1, .in_w = 1, .in_c = 8, .out_h = 1, .kh = 1, .kw = 1, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .pad_top = 0, .pad_left = 0, .groups = 2, .chunk = 8, .patch = 0};
    const ll_in in[5] = {
        {a->in0, 8, 8, LL_WHOLE, 0, 1, 0},
        {a->in1, 64, 64, LL_WHOLE, 0, 1, 0},
        {a->in2, 32, 32, LL_WHOLE, 0, 4, 0},
        {a->in3, 8, 8, LL_WHOLE, 0, 1, 0},
        {a->in4, 8, 8, LL_WHOLE, 0, 1, 0},
    };
    const ll_out out[1] = {
        {a->out0, 8, 8, LL_WHOLE, 0, 1, 0},
    };
    const ll_region r = {0, 1, 0, 1, 0, 8};
    ll_gemm_int32_1_ll_sums_joined_1_int8_int8(&p, in, out, &r, a->scratch, in + 4, 1, remembers_store2);
    LL_STEP_END();
}

/* gemm of steps 4 */
LL_INLINE int32_t remembers_store3(const ll_at *at, int32_t acc)
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
} remembers_call3;
LL_NOINLINE void remembers_gemm3(const remembers_call3 *a)
{
    const ll_gemm_params p = {.in_h = 1, .in_w = 1, .in_c = 8, .out_h = 1, .kh = 1, .kw = 1, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .pad_top = 0, .pad_left = 0, .groups = 2, .chunk = 4, .patch = 0};
    const ll_in in[7] = {
        {a->in0, 8, 8, LL_WHOLE, 0, 1, 0},
        {a->in1, 24, 24, LL_WHOLE, 0, 1, 0},
        {a->in2, 12, 12, LL_WHOLE, 0, 4, 0},
        {a->in3, 8, 8, LL_WHOLE, 0, 1, 0},
        {a->in4, 12, 12, LL_WHOLE, 0, 4, 0},
        {a->in5, 12, 12, LL_WHOLE, 0, 4, 0},
        {a->in6, 3, 3, LL_WHOLE, 0, 1, 0},
    };
    const ll_out out[1] = {
        {a->out0, 3, 3, LL_WHOLE, 0, 1, 0},
    };
    const ll_region r = {0, 1, 0, 1, 0, 3};
    ll_gemm_int32_1_ll_sums_joined_1_int8_int8(&p, in, out, &r, a->scratch, in + 4, 3, remembers_store3);
    LL_STEP_END();
}

/* copy of steps 5 */
LL_INLINE int32_t remembers_store4(const ll_at *at, int32_t acc)
{
    (void)at;
    return (int32_t)acc;
}

typedef struct {
    const void *in0;
    void *out0;
    int32_t none;
} remembers_call4;
LL_NOINLINE void remembers_copy4(const remembers_call4 *a)
{
    const ll_copy_params p = {.none = a->none};
    const ll_in in[1] = {
        {a->in0, 8, 8, LL_WHOLE, 0, 1, 0},
    };
    const ll_out out[1] = {
        {a->out0, 8, 8, LL_WHOLE, 0, 1, 0},
    };
    const ll_region r = {0, 1, 0, 1, 0, 8};
    ll_copy_int32_int8_int8(&p, in, out, &r, 0, in + 1, 0, remembers_store4);
    LL_STEP_END();
}

__attribute__((weak)) void remembers_on_step(uint32_t step)
{
    (void)step;
}

void remembers_reset(void)
{
    __builtin_memcpy(remembers_arena_ram + 0, remembers_window_init, 30u);
    __builtin_memset(remembers_arena_ram + 40, 0, 4u);
    __builtin_memset(remembers_arena_ram + 32, 0, 8u);
}

void remembers_run(void)
{
    {
        /* turn the ring window/first */
        int32_t *const first = (int32_t *)(void *)(remembers_arena_ram + 40);
        *first = (*first + 1) % 5;
    }
    remembers_on_step(0u);
    {
        /* step 1: copy "window/new" (s8[1,1,1,6]) -> s8[1,5,1,6]; kernel copy; ram+44 -> ram+0 */
        static const remembers_call0 a = {
            remembers_arena_ram + 44,
            remembers_arena_ram + 0,
            0,
        };
        remembers_copy0(&a, *(const int32_t *)(const void *)(remembers_arena_ram + 40) + 4);
    }
    remembers_on_step(1u);
    {
        /* step 2: conv2d "seen" (s8[1,5,1,6], s8[8,5,1,6], s32[8]) -> s8[1,1,1,8]; kernel gemm_joined; ram+0, remembers_w_joined, remembers_seen_bias, remembers_seen_outside, remembers_seen_mult, remembers_seen_offset, remembers_seen_right -> ram+144 */
        static const remembers_call1 a = {
            remembers_arena_ram + 0,
            (const uint8_t *)remembers_w_joined,
            (const uint8_t *)remembers_seen_bias,
            (const uint8_t *)remembers_seen_outside,
            (const uint8_t *)remembers_seen_mult,
            (const uint8_t *)remembers_seen_offset,
            (const uint8_t *)remembers_seen_right,
            remembers_arena_ram + 144,
            remembers_arena_ram + 48,
        };
        remembers_gemm1(&a, *(const int32_t *)(const void *)(remembers_arena_ram + 40));
    }
    remembers_on_step(2u);
    {
        /* step 3: linear "memory" + add + tanh (s8[1,8], s8[8,8]) -> s8[1,8]; kernel gemm_joined; ram+32, remembers_u_joined, remembers_memory_bias, remembers_memory_outside, ram+144 -> ram+96 */
        static const remembers_call2 a = {
            remembers_arena_ram + 32,
            (const uint8_t *)remembers_u_joined,
            (const uint8_t *)remembers_memory_bias,
            (const uint8_t *)remembers_memory_outside,
            remembers_arena_ram + 144,
            remembers_arena_ram + 96,
            remembers_arena_ram + 48,
        };
        remembers_gemm2(&a);
    }
    remembers_on_step(3u);
    {
        /* step 4: linear "out" (s8[1,8], s8[3,8]) -> s8[1,3]; kernel gemm_joined; ram+96, remembers_wo_joined, remembers_out_bias, remembers_memory_outside, remembers_out_mult, remembers_out_offset, remembers_out_right -> ram+44 */
        static const remembers_call3 a = {
            remembers_arena_ram + 96,
            (const uint8_t *)remembers_wo_joined,
            (const uint8_t *)remembers_out_bias,
            (const uint8_t *)remembers_memory_outside,
            (const uint8_t *)remembers_out_mult,
            (const uint8_t *)remembers_out_offset,
            (const uint8_t *)remembers_out_right,
            remembers_arena_ram + 44,
            remembers_arena_ram + 48,
        };
        remembers_gemm3(&a);
    }
    remembers_on_step(4u);
    {
        /* step 5: copy "hidden" (s8[1,8]) -> s8[1,8]; kernel copy; ram+96 -> ram+32 */
        static const remembers_call4 a = {
            remembers_arena_ram + 96,
            remembers_arena_ram + 32,
            0,
        };
        remembers_copy4(&a);
    }
    remembers_on_step(5u);
}

int8_t *remembers_input(void)
{
    return (int8_t *)(void *)(remembers_arena_ram + 44);
}

const int8_t *remembers_output(void)
{
    return (const int8_t *)(void *)(remembers_arena_ram + 44);
}


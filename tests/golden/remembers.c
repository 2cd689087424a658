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

#define LL_NAME(kernel) ll_##kernel##_int32_5_5_int8_int8_int8
#define LL_ACC int32_t
#define LL_ADD ll_wrap_add
#define LL_DOT ll_dot_s8
#define LL_R int32_t
#define LL_ROWS 5
#define LL_TAPS 5
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

/* copy of steps 1, 5 */
LL_INLINE int32_t remembers_store0(const ll_at *at, int32_t acc)
{
    (void)at;
    return (int32_t)acc;
}

LL_NOINLINE void remembers_copy0(const ll_copy_params *p, const ll_in *in, const ll_out *out, const ll_region *r, void *scratch)
{
    ll_copy_params q = *p;
    ll_out to[1];
    to[0] = out[0];
    to[0].plane = (int32_t)sizeof(int8_t);
    ll_copy_int32_int8_int8(&q, in, to, r, scratch, in + 1, 0, remembers_store0);
    LL_STEP_END();
}

/* conv2d of steps 2 */
LL_INLINE int32_t remembers_store1(const ll_at *at, int32_t acc)
{
    const int32_t v0 = ll_clamp(ll_requant(acc, ((const int32_t *)(const void *)at->row[0])[at->c], ((const int8_t *)(const void *)at->row[1])[at->c]), -128, 127);
    return v0;
}

LL_NOINLINE void remembers_conv2d1(const ll_conv2d_params *p, const ll_in *in, const ll_out *out, const ll_region *r, void *scratch)
{
    ll_conv2d_params q = *p;
    q.kh = 5;
    q.kw = 1;
    q.resume = 0;
    q.group_in = 6;
    q.group_out = 8;
    q.in_c = 6;
    q.w_next = 30;
    q.w_zero = 0;
    q.stride_h = 1;
    q.stride_w = 1;
    q.dilation_h = 1;
    q.dilation_w = 1;
    q.pad_top = 0;
    q.pad_left = 0;
    q.in_h = 5;
    q.in_w = 1;
    q.out_h = 1;
    ll_out to[1];
    to[0] = out[0];
    to[0].plane = (int32_t)sizeof(int8_t);
    ll_conv2d_int32_5_5_int8_int8_int8(&q, in, to, r, scratch, in + 4, 2, remembers_store1);
    LL_STEP_END();
}

/* linear of steps 3 */
LL_INLINE int32_t remembers_store2(const ll_at *at, int32_t acc)
{
    const int32_t v0 = ll_clamp(ll_requant(acc, 1374389580, -10), -128, 127);
    const int32_t v1 = ll_clamp(ll_requant(ll_requant(ll_wrap_shl(((const int8_t *)(const void *)at->row[0])[at->c], 20), 1073741824, 0) + ll_requant(ll_wrap_shl(v0, 20), 1073741824, 0), 1789569773, -19), -128, 127);
    const int32_t v2 = remembers_hidden_new_lut[v1 + 128];
    return v2;
}

LL_NOINLINE void remembers_linear2(const ll_linear_params *p, const ll_in *in, const ll_out *out, const ll_region *r, void *scratch)
{
    ll_linear_params q = *p;
    q.resume = 0;
    q.in_c = 8;
    q.w_next = 8;
    q.w_zero = 0;
    ll_out to[1];
    to[0] = out[0];
    to[0].plane = (int32_t)sizeof(int8_t);
    ll_linear_int32_int8_int8_int8(&q, in, to, r, scratch, in + 3, 1, remembers_store2);
    LL_STEP_END();
}

/* linear of steps 4 */
LL_INLINE int32_t remembers_store3(const ll_at *at, int32_t acc)
{
    const int32_t v0 = ll_clamp(ll_requant(acc, ((const int32_t *)(const void *)at->row[0])[at->c], ((const int8_t *)(const void *)at->row[1])[at->c]), -128, 127);
    return v0;
}

LL_NOINLINE void remembers_linear3(const ll_linear_params *p, const ll_in *in, const ll_out *out, const ll_region *r, void *scratch)
{
    ll_linear_params q = *p;
    q.resume = 0;
    q.in_c = 8;
    q.w_next = 8;
    q.w_zero = 0;
    ll_out to[1];
    to[0] = out[0];
    to[0].plane = (int32_t)sizeof(int8_t);
    ll_linear_int32_int8_int8_int8(&q, in, to, r, scratch, in + 3, 2, remembers_store3);
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
        static const ll_copy_params p = {.none = 0};
        ll_in in[1] = {
            {remembers_arena_ram + 44, 6, 6, LL_WHOLE, 0, 1},
        };
        ll_out out[1] = {
            {remembers_arena_ram + 0, 6, 6, 5, *(int32_t *)(void *)(remembers_arena_ram + 40) + 4, 1},
        };
        static const ll_region r = {0, 1, 0, 1, 0, 6};
        remembers_copy0(&p, in, out, &r, 0);
    }
    remembers_on_step(1u);
    {
        /* step 2: conv2d "seen" (s8[1,5,1,6], s8[8,5,1,6], s32[8]) -> s8[1,1,1,8]; kernel conv2d; ram+0, remembers_w, remembers_seen_bias, remembers_seen_outside, remembers_seen_mult, remembers_seen_shift -> ram+44 */
        static const ll_conv2d_params p = {.in_h = 5, .in_w = 1, .in_c = 6, .out_h = 1, .kh = 5, .kw = 1, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .pad_top = 0, .pad_left = 0, .group_in = 6, .group_out = 8, .resume = 0, .w_next = 30, .w_zero = 0};
        ll_in in[6] = {
            {remembers_arena_ram + 0, 6, 6, 5, *(int32_t *)(void *)(remembers_arena_ram + 40), 1},
            {(const uint8_t *)remembers_w, 240, 30, LL_WHOLE, 0, 1},
            {(const uint8_t *)remembers_seen_bias, 32, 32, LL_WHOLE, 0, 4},
            {(const uint8_t *)remembers_seen_outside, 6, 6, LL_WHOLE, 0, 1},
            {(const uint8_t *)remembers_seen_mult, 32, 32, LL_WHOLE, 0, 4},
            {(const uint8_t *)remembers_seen_shift, 8, 8, LL_WHOLE, 0, 1},
        };
        ll_out out[1] = {
            {remembers_arena_ram + 44, 8, 8, LL_WHOLE, 0, 1},
        };
        static const ll_region r = {0, 1, 0, 1, 0, 8};
        remembers_conv2d1(&p, in, out, &r, 0);
    }
    remembers_on_step(2u);
    {
        /* step 3: linear "memory" + add + tanh (s8[1,8], s8[8,8]) -> s8[1,8]; kernel linear; ram+32, remembers_u, remembers_memory_bias, ram+44 -> ram+44 */
        static const ll_linear_params p = {.in_c = 8, .resume = 0, .w_next = 8, .w_zero = 0};
        static const ll_in in[4] = {
            {remembers_arena_ram + 32, 8, 8, LL_WHOLE, 0, 1},
            {(const uint8_t *)remembers_u, 64, 8, LL_WHOLE, 0, 1},
            {(const uint8_t *)remembers_memory_bias, 32, 32, LL_WHOLE, 0, 4},
            {remembers_arena_ram + 44, 8, 8, LL_WHOLE, 0, 1},
        };
        static const ll_out out[1] = {
            {remembers_arena_ram + 44, 8, 8, LL_WHOLE, 0, 1},
        };
        static const ll_region r = {0, 1, 0, 1, 0, 8};
        remembers_linear2(&p, in, out, &r, 0);
    }
    remembers_on_step(3u);
    {
        /* step 4: linear "out" (s8[1,8], s8[3,8]) -> s8[1,3]; kernel linear; ram+44, remembers_wo, remembers_out_bias, remembers_out_mult, remembers_out_shift -> ram+52 */
        static const ll_linear_params p = {.in_c = 8, .resume = 0, .w_next = 8, .w_zero = 0};
        static const ll_in in[5] = {
            {remembers_arena_ram + 44, 8, 8, LL_WHOLE, 0, 1},
            {(const uint8_t *)remembers_wo, 24, 8, LL_WHOLE, 0, 1},
            {(const uint8_t *)remembers_out_bias, 12, 12, LL_WHOLE, 0, 4},
            {(const uint8_t *)remembers_out_mult, 12, 12, LL_WHOLE, 0, 4},
            {(const uint8_t *)remembers_out_shift, 3, 3, LL_WHOLE, 0, 1},
        };
        static const ll_out out[1] = {
            {remembers_arena_ram + 52, 3, 3, LL_WHOLE, 0, 1},
        };
        static const ll_region r = {0, 1, 0, 1, 0, 3};
        remembers_linear3(&p, in, out, &r, 0);
    }
    remembers_on_step(4u);
    {
        /* step 5: copy "hidden" (s8[1,8]) -> s8[1,8]; kernel copy; ram+44 -> ram+32 */
        static const ll_copy_params p = {.none = 0};
        static const ll_in in[1] = {
            {remembers_arena_ram + 44, 8, 8, LL_WHOLE, 0, 1},
        };
        static const ll_out out[1] = {
            {remembers_arena_ram + 32, 8, 8, LL_WHOLE, 0, 1},
        };
        static const ll_region r = {0, 1, 0, 1, 0, 8};
        remembers_copy0(&p, in, out, &r, 0);
    }
    remembers_on_step(5u);
}

int8_t *remembers_input(void)
{
    return (int8_t *)(void *)(remembers_arena_ram + 44);
}

const int8_t *remembers_output(void)
{
    return (const int8_t *)(void *)(remembers_arena_ram + 52);
}


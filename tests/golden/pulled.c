/* pulled: written by lilliput 0.1.0; do not edit */
#include "pulled.h"

#include "lilliput/isa/generic.h"
#include "lilliput/elementwise.h"
#include "lilliput/float.h"
#include "pulled_data.h"

#ifdef PULLED_ARENA_RAM
extern uint8_t PULLED_ARENA_RAM[]; /* the caller provides it, aligned to 16 */
#define pulled_arena_ram PULLED_ARENA_RAM
#else
#ifndef PULLED_ARENA_RAM_SECTION
#define PULLED_ARENA_RAM_SECTION
#endif
static PULLED_ARENA_RAM_SECTION _Alignas(16) uint8_t pulled_arena_ram[PULLED_ARENA_RAM_BYTES];
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

#define LL_NAME(kernel) ll_##kernel##_int32_int8
#define LL_ACC int32_t
#define LL_R int32_t
#define LL_Y int8_t
#include "lilliput/kernels/linear_tiles.inc"
#undef LL_NAME
#undef LL_ACC
#undef LL_R
#undef LL_Y

/* conv2d of steps 1 */
LL_INLINE int32_t pulled_store0(const ll_at *at, int32_t acc)
{
    const int32_t v0 = ll_sat8((ll_away(ll_mulh_add(ll_wrap_shl(acc, 1), ((const int32_t *)(const void *)at->row[0])[at->c], 0)) + ((const int32_t *)(const void *)at->row[1])[at->c]) >> ((const int8_t *)(const void *)at->row[2])[at->c]);
    return v0;
}

typedef struct {
    const void *in0;
    const uint16_t *in0_rows;
    const void *in1;
    const void *in2;
    const void *in3;
    const void *in4;
    const void *in5;
    const void *in6;
    void *out0;
    const uint16_t *out0_rows;
} pulled_call0;
LL_NOINLINE void pulled_conv2d0(const pulled_call0 *a, int32_t y0, int32_t y1)
{
    const ll_conv2d_params p = {.in_h = 13, .in_w = 11, .in_c = 3, .out_h = 13, .kh = 3, .kw = 3, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .pad_top = 1, .pad_left = 1, .group_in = 3, .group_out = 8, .resume = 0, .w_next = 27, .w_zero = 0};
    const ll_in in[7] = {
        {a->in0, 1, 3, 3, 0, 1, a->in0_rows},
        {a->in1, 0, 27, LL_WHOLE, 0, 1, 0},
        {a->in2, 0, 32, LL_WHOLE, 0, 4, 0},
        {a->in3, 0, 9, LL_WHOLE, 0, 1, 0},
        {a->in4, 0, 0, LL_WHOLE, 0, 4, 0},
        {a->in5, 0, 0, LL_WHOLE, 0, 4, 0},
        {a->in6, 0, 0, LL_WHOLE, 0, 1, 0},
    };
    const ll_out out[1] = {
        {a->out0, 8, 8, 3, 0, 1, a->out0_rows},
    };
    const ll_region r = {y0, y1, 0, 11, 0, 8};
    ll_conv2d_int32_3_9_int8_int8_int8(&p, in, out, &r, 0, in + 4, 3, pulled_store0);
    LL_STEP_END();
}

/* conv2d of steps 2 */
LL_INLINE int32_t pulled_store1(const ll_at *at, int32_t acc)
{
    const int32_t v0 = ll_sat8((ll_away(ll_mulh_add(ll_wrap_shl(acc, 1), ((const int32_t *)(const void *)at->row[0])[at->c], 0)) + ((const int32_t *)(const void *)at->row[1])[at->c]) >> ((const int8_t *)(const void *)at->row[2])[at->c]);
    return v0;
}

typedef struct {
    const void *in0;
    const uint16_t *in0_rows;
    const void *in1;
    const void *in2;
    const void *in3;
    const void *in4;
    const void *in5;
    const void *in6;
    void *out0;
    const uint16_t *out0_rows;
} pulled_call1;
LL_NOINLINE void pulled_conv2d1(const pulled_call1 *a, int32_t y0, int32_t y1)
{
    const ll_conv2d_params p = {.in_h = 13, .in_w = 11, .in_c = 8, .out_h = 7, .kh = 3, .kw = 3, .stride_h = 2, .stride_w = 2, .dilation_h = 1, .dilation_w = 1, .pad_top = 1, .pad_left = 1, .group_in = 8, .group_out = 6, .resume = 0, .w_next = 72, .w_zero = 0};
    const ll_in in[7] = {
        {a->in0, 8, 8, 3, 0, 1, a->in0_rows},
        {a->in1, 0, 72, LL_WHOLE, 0, 1, 0},
        {a->in2, 0, 24, LL_WHOLE, 0, 4, 0},
        {a->in3, 0, 24, LL_WHOLE, 0, 1, 0},
        {a->in4, 0, 0, LL_WHOLE, 0, 4, 0},
        {a->in5, 0, 0, LL_WHOLE, 0, 4, 0},
        {a->in6, 0, 0, LL_WHOLE, 0, 1, 0},
    };
    const ll_out out[1] = {
        {a->out0, 4, 6, 3, 0, 1, a->out0_rows},
    };
    const ll_region r = {y0, y1, 0, 6, 0, 6};
    ll_conv2d_int32_3_9_int8_int8_int8(&p, in, out, &r, 0, in + 4, 3, pulled_store1);
    LL_STEP_END();
}

/* depthwise of steps 3 */
LL_INLINE int32_t pulled_store2(const ll_at *at, int32_t acc)
{
    const int32_t v0 = ll_sat8((ll_away(ll_mulh_add(ll_wrap_shl(acc, 1), ((const int32_t *)(const void *)at->row[0])[at->c], 0)) + ((const int32_t *)(const void *)at->row[1])[at->c]) >> ((const int8_t *)(const void *)at->row[2])[at->c]);
    return v0;
}

typedef struct {
    const void *in0;
    const uint16_t *in0_rows;
    const void *in1;
    const void *in2;
    const void *in3;
    const void *in4;
    const void *in5;
    const void *in6;
    void *out0;
    const uint16_t *out0_rows;
} pulled_call2;
LL_NOINLINE void pulled_depthwise2(const pulled_call2 *a, int32_t y0, int32_t y1)
{
    const ll_depthwise_params p = {.in_h = 7, .in_w = 6, .out_h = 7, .kh = 3, .kw = 3, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .pad_top = 1, .pad_left = 1, .w_next = 6, .w_zero = 0, .multiplier = 1};
    const ll_in in[7] = {
        {a->in0, 4, 6, 3, 0, 1, a->in0_rows},
        {a->in1, 0, 54, LL_WHOLE, 0, 1, 0},
        {a->in2, 0, 24, LL_WHOLE, 0, 4, 0},
        {a->in3, 0, 6, LL_WHOLE, 0, 1, 0},
        {a->in4, 0, 0, LL_WHOLE, 0, 4, 0},
        {a->in5, 0, 0, LL_WHOLE, 0, 4, 0},
        {a->in6, 0, 0, LL_WHOLE, 0, 1, 0},
    };
    const ll_out out[1] = {
        {a->out0, 4, 6, 1, 0, 1, a->out0_rows},
    };
    const ll_region r = {y0, y1, 0, 6, 0, 6};
    ll_depthwise_int32_3_9_int8_int8_int8(&p, in, out, &r, 0, in + 4, 3, pulled_store2);
    LL_STEP_END();
}

/* linear_tiles of steps 4 */
LL_INLINE int32_t pulled_store3(const ll_at *at, int32_t acc)
{
    const int32_t v0 = ll_sat8((ll_away(ll_mulh_add(ll_wrap_shl(acc, 1), ((const int32_t *)(const void *)at->row[0])[at->c], 0)) + ((const int32_t *)(const void *)at->row[1])[at->c]) >> ((const int8_t *)(const void *)at->row[2])[at->c]);
    const int32_t v1 = LL_SAT8_SHR(ll_away(ll_mulh_add(ll_wrap_shl((ll_wrap_shl((v0 + 7), 19) + ll_wrap_shl((((const int8_t *)(const void *)at->row[3])[at->x * 6 + at->c] + 7), 19)), 1), 1181115982, 0)) + 1835008, 19);
    return v1;
}

typedef struct {
    const void *in0;
    const uint16_t *in0_rows;
    const void *in1;
    const void *in2;
    const void *in3;
    const void *in4;
    const void *in5;
    const void *in6;
    const uint16_t *in6_rows;
    void *out0;
} pulled_call3;
LL_NOINLINE void pulled_linear_tiles3(const pulled_call3 *a, int32_t y0, int32_t y1)
{
    const ll_linear_tiles_params p = {.in_c = 6};
    const ll_in in[7] = {
        {a->in0, 4, 6, 1, 0, 1, a->in0_rows},
        {a->in1, 0, 6, LL_WHOLE, 0, 1, 0},
        {a->in2, 0, 24, LL_WHOLE, 0, 4, 0},
        {a->in3, 0, 0, LL_WHOLE, 0, 4, 0},
        {a->in4, 0, 0, LL_WHOLE, 0, 4, 0},
        {a->in5, 0, 0, LL_WHOLE, 0, 1, 0},
        {a->in6, 4, 6, 3, 0, 1, a->in6_rows},
    };
    const ll_out out[1] = {
        {a->out0, 36, 6, LL_WHOLE, 0, 1, 0},
    };
    const ll_region r = {y0, y1, 0, 6, 0, 6};
    ll_linear_tiles_int32_int8(&p, in, out, &r, 0, in + 3, 4, pulled_store3);
    LL_STEP_END();
}

/* where rows begin in a pool of line buffers */
static const uint16_t pulled_rows0[13] = {
    176, 340, 373, 464, 340, 497, 464, 530, 569, 428, 536, 569, 245,
};
/* where rows begin in a pool of line buffers */
static const uint16_t pulled_rows1[13] = {
    11, 0, 27, 16, 5, 27, 38, 14, 25, 36, 18, 47, 23,
};
/* where rows begin in a pool of line buffers */
static const uint16_t pulled_rows2[7] = {
    76, 107, 98, 116, 125, 70, 79,
};
/* where rows begin in a pool of line buffers */
static const uint16_t pulled_rows3[7] = {
    9, 18, 50, 36, 45, 54, 63,
};
__attribute__((weak)) void pulled_on_step(uint32_t step)
{
    (void)step;
}

void pulled_run(pulled_rows_fn rows, void *ctx)
{
    /* 5 steps stream through line buffers */
    for (int32_t t = 0; t < 17; ++t) {
        if (t < 13) {
            const int32_t k = t;
            /* step 0: rows of x: s8[1,13,11,3] -> ram+0 */
            rows(ctx, k, 1, (int8_t *)(void *)(pulled_arena_ram + 0 + pulled_rows0[k] * 1));
            pulled_on_step(0u);
        }
        if (t >= 1 && t - 1 < 13) {
            const int32_t k = t - 1;
            {
                /* step 1: conv2d "a" (s8[1,13,11,3], s8[8,3,3,3], s32[8]) -> s8[1,13,11,8]; kernel conv2d; ram+0, pulled_wa, pulled_a_bias, pulled_a_outside, pulled_a_mult, pulled_a_offset, pulled_a_right -> ram+0 */
                static const pulled_call0 a = {
                    pulled_arena_ram + 0,
                    pulled_rows0,
                    (const uint8_t *)pulled_wa,
                    (const uint8_t *)pulled_a_bias,
                    (const uint8_t *)pulled_a_outside,
                    (const uint8_t *)pulled_a_mult,
                    (const uint8_t *)pulled_a_offset,
                    (const uint8_t *)pulled_a_right,
                    pulled_arena_ram + 0,
                    pulled_rows1,
                };
                pulled_conv2d0(&a, ll_clamp(0 + k * 1, 0, 13), ll_clamp(1 + k * 1, 0, 13));
            }
            pulled_on_step(1u);
        }
        if (t >= 2 && (t - 2) % 2 == 0 && (t - 2) / 2 < 7) {
            const int32_t k = (t - 2) / 2;
            {
                /* step 2: conv2d "s" (s8[1,13,11,8], s8[6,3,3,8], s32[6]) -> s8[1,7,6,6]; kernel conv2d; ram+0, pulled_ws, pulled_s_bias, pulled_s_outside, pulled_s_mult, pulled_s_offset, pulled_s_right -> ram+0 */
                static const pulled_call1 a = {
                    pulled_arena_ram + 0,
                    pulled_rows1,
                    (const uint8_t *)pulled_ws,
                    (const uint8_t *)pulled_s_bias,
                    (const uint8_t *)pulled_s_outside,
                    (const uint8_t *)pulled_s_mult,
                    (const uint8_t *)pulled_s_offset,
                    (const uint8_t *)pulled_s_right,
                    pulled_arena_ram + 0,
                    pulled_rows2,
                };
                pulled_conv2d1(&a, ll_clamp(0 + k * 1, 0, 7), ll_clamp(1 + k * 1, 0, 7));
            }
            pulled_on_step(2u);
        }
        if (t >= 4 && (t - 4) % 2 == 0 && (t - 4) / 2 < 7) {
            const int32_t k = (t - 4) / 2;
            {
                /* step 3: conv2d "d" (s8[1,7,6,6], s8[6,3,3,1], s32[6]) -> s8[1,7,6,6]; kernel depthwise; ram+0, pulled_wd_by_tap, pulled_d_bias, pulled_d_outside, pulled_s_mult, pulled_s_offset, pulled_s_right -> ram+0 */
                static const pulled_call2 a = {
                    pulled_arena_ram + 0,
                    pulled_rows2,
                    (const uint8_t *)pulled_wd_by_tap,
                    (const uint8_t *)pulled_d_bias,
                    (const uint8_t *)pulled_d_outside,
                    (const uint8_t *)pulled_s_mult,
                    (const uint8_t *)pulled_s_offset,
                    (const uint8_t *)pulled_s_right,
                    pulled_arena_ram + 0,
                    pulled_rows3,
                };
                pulled_depthwise2(&a, ll_clamp(0 + k * 1, 0, 7), ll_clamp(1 + k * 1, 0, 7));
            }
            pulled_on_step(3u);
        }
        if (t >= 4 && (t - 4) % 2 == 0 && (t - 4) / 2 < 7) {
            const int32_t k = (t - 4) / 2;
            {
                /* step 4: conv2d "p" + add (s8[1,7,6,6], s8[6,1,1,6], s32[6]) -> s8[1,7,6,6]; kernel linear_tiles; ram+0, pulled_wp, pulled_p_bias, pulled_s_mult, pulled_s_offset, pulled_s_right, ram+0 -> ram+0 */
                static const pulled_call3 a = {
                    pulled_arena_ram + 0,
                    pulled_rows3,
                    (const uint8_t *)pulled_wp,
                    (const uint8_t *)pulled_p_bias,
                    (const uint8_t *)pulled_s_mult,
                    (const uint8_t *)pulled_s_offset,
                    (const uint8_t *)pulled_s_right,
                    pulled_arena_ram + 0,
                    pulled_rows2,
                    pulled_arena_ram + 0,
                };
                pulled_linear_tiles3(&a, ll_clamp(0 + k * 1, 0, 7), ll_clamp(1 + k * 1, 0, 7));
            }
            pulled_on_step(4u);
        }
    }
}

const int8_t *pulled_output(void)
{
    return (const int8_t *)(void *)(pulled_arena_ram + 0);
}


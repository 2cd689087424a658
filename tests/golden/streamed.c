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

#define LL_NAME(kernel) ll_##kernel##_int32_ll_pairs_wide_3_9_int16_int8
#define LL_ACC int32_t
#define LL_PAIRS_FUNCTION ll_pairs_wide
#define LL_R int32_t
#define LL_ROWS 3
#define LL_TAPS 9
#define LL_W int16_t
#define LL_Y int8_t
#include "lilliput/kernels/pairs.inc"
#undef LL_NAME
#undef LL_ACC
#undef LL_PAIRS_FUNCTION
#undef LL_R
#undef LL_ROWS
#undef LL_TAPS
#undef LL_W
#undef LL_Y

#define LL_NAME(kernel) ll_##kernel##_int32_3_9_ll_windows_3_1_int8
#define LL_ACC int32_t
#define LL_R int32_t
#define LL_ROWS 3
#define LL_TAPS 9
#define LL_WINDOWS_FUNCTION ll_windows_3_1
#define LL_Y int8_t
#include "lilliput/kernels/depthwise_windows.inc"
#undef LL_NAME
#undef LL_ACC
#undef LL_R
#undef LL_ROWS
#undef LL_TAPS
#undef LL_WINDOWS_FUNCTION
#undef LL_Y

#define LL_NAME(kernel) ll_##kernel##_int32_1_ll_sums_wide_1_int16_int8
#define LL_ACC int32_t
#define LL_R int32_t
#define LL_ROWS 1
#define LL_SUMS ll_sums_wide
#define LL_TAPS 1
#define LL_W int16_t
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

/* gemm of steps 0 */
LL_INLINE int32_t streamed_store0(const ll_at *at, int32_t acc)
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
    const uint16_t *out0_rows;
    void *scratch;
} streamed_call0;
LL_NOINLINE void streamed_gemm0(const streamed_call0 *a, int32_t y0, int32_t y1)
{
    const ll_gemm_params p = {.in_h = 13, .in_w = 11, .in_c = 3, .out_h = 13, .kh = 3, .kw = 3, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .pad_top = 1, .pad_left = 1, .groups = 7, .chunk = 8, .patch = 28};
    const ll_in in[7] = {
        {a->in0, 33, 3, LL_WHOLE, 0, 1, 0},
        {a->in1, 0, 216, LL_WHOLE, 0, 1, 0},
        {a->in2, 0, 32, LL_WHOLE, 0, 4, 0},
        {a->in3, 0, 9, LL_WHOLE, 0, 1, 0},
        {a->in4, 0, 0, LL_WHOLE, 0, 4, 0},
        {a->in5, 0, 0, LL_WHOLE, 0, 4, 0},
        {a->in6, 0, 0, LL_WHOLE, 0, 1, 0},
    };
    const ll_out out[1] = {
        {a->out0, 88, 8, 3, 0, 1, a->out0_rows},
    };
    const ll_region r = {y0, y1, 0, 11, 0, 8};
    ll_gemm_int32_3_ll_sums_joined_9_int8_int8(&p, in, out, &r, a->scratch, in + 4, 3, streamed_store0);
    LL_STEP_END();
}

/* pairs of steps 1 */
LL_INLINE int32_t streamed_store1(const ll_at *at, int32_t acc)
{
    const int32_t v0 = ll_sat8((ll_away(ll_mulh_add(acc, ((const int32_t *)(const void *)at->row[0])[at->c], 0)) + ((const int32_t *)(const void *)at->row[1])[at->c]) >> ((const int8_t *)(const void *)at->row[2])[at->c]);
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
    void *scratch;
} streamed_call1;
LL_NOINLINE void streamed_pairs1(const streamed_call1 *a, int32_t y0, int32_t y1)
{
    const ll_pairs_params p = {.in_h = 13, .in_w = 11, .in_c = 8, .out_h = 7, .kh = 3, .kw = 3, .stride_h = 2, .stride_w = 2, .dilation_h = 1, .dilation_w = 1, .pad_top = 1, .pad_left = 1, .groups = 18, .chunk = 6, .gather = 0};
    const ll_in in[7] = {
        {a->in0, 88, 8, 3, 0, 1, a->in0_rows},
        {a->in1, 0, 432, LL_WHOLE, 0, 1, 0},
        {a->in2, 0, 24, LL_WHOLE, 0, 4, 0},
        {a->in3, 0, 24, LL_WHOLE, 0, 1, 0},
        {a->in4, 0, 0, LL_WHOLE, 0, 4, 0},
        {a->in5, 0, 0, LL_WHOLE, 0, 4, 0},
        {a->in6, 0, 0, LL_WHOLE, 0, 1, 0},
    };
    const ll_out out[1] = {
        {a->out0, 6, 1, 3, 0, 18, 0},
    };
    const ll_region r = {y0, y1, 0, 6, 0, 6};
    ll_pairs_int32_ll_pairs_wide_3_9_int16_int8(&p, in, out, &r, a->scratch, in + 4, 3, streamed_store1);
    LL_STEP_END();
}

/* depthwise_windows of steps 2 */
LL_INLINE int32_t streamed_store2(const ll_at *at, int32_t acc)
{
    const int32_t v0 = ll_sat8((ll_away(ll_mulh_add(acc, ((const int32_t *)(const void *)at->row[0])[at->c], 0)) + ((const int32_t *)(const void *)at->row[1])[at->c]) >> ((const int8_t *)(const void *)at->row[2])[at->c]);
    return v0;
}

typedef struct {
    const void *in0;
    const void *in1;
    const void *in2;
    const void *in3;
    const void *in4;
    const void *in5;
    void *out0;
    const uint16_t *out0_rows;
    void *scratch;
} streamed_call2;
LL_NOINLINE void streamed_depthwise_windows2(const streamed_call2 *a, int32_t y0, int32_t y1)
{
    const ll_depthwise_windows_params p = {.in_h = 7, .in_w = 6, .out_h = 7, .kh = 3, .kw = 3, .stride_h = 1, .stride_w = 1, .pad_top = 1, .pad_left = 1, .multiplier = 1, .band = 7, .width = 6, .room = 12, .taps = 12, .zero = -7};
    const ll_in in[6] = {
        {a->in0, 6, 1, 3, 0, 18, 0},
        {a->in1, 0, 54, LL_WHOLE, 0, 1, 0},
        {a->in2, 0, 24, LL_WHOLE, 0, 4, 0},
        {a->in3, 0, 0, LL_WHOLE, 0, 4, 0},
        {a->in4, 0, 0, LL_WHOLE, 0, 4, 0},
        {a->in5, 0, 0, LL_WHOLE, 0, 1, 0},
    };
    const ll_out out[1] = {
        {a->out0, 1, 6, 1, 0, 1, a->out0_rows},
    };
    const ll_region r = {y0, y1, 0, 6, 0, 6};
    ll_depthwise_windows_int32_3_9_ll_windows_3_1_int8(&p, in, out, &r, a->scratch, in + 3, 3, streamed_store2);
    LL_STEP_END();
}

/* gemm of steps 3 */
LL_INLINE int32_t streamed_store3(const ll_at *at, int32_t acc)
{
    const int32_t v0 = ll_sat8((ll_away(ll_mulh_add(acc, ((const int32_t *)(const void *)at->row[0])[at->c], 0)) + ((const int32_t *)(const void *)at->row[1])[at->c]) >> ((const int8_t *)(const void *)at->row[2])[at->c]);
    const int32_t v1 = LL_SAT8_SHR(ll_away(ll_mulh_add(ll_wrap_shl((ll_wrap_shl((v0 + 7), 19) + ll_wrap_shl((((const int8_t *)(const void *)at->row[3])[at->x * 1 + at->c * 18] + 7), 19)), 1), 1181115982, 0)) + 1835008, 19);
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
    const void *in7;
    void *out0;
    void *scratch;
} streamed_call3;
LL_NOINLINE void streamed_gemm3(const streamed_call3 *a, int32_t y0, int32_t y1)
{
    const ll_gemm_params p = {.in_h = 7, .in_w = 6, .in_c = 6, .out_h = 7, .kh = 1, .kw = 1, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .pad_top = 0, .pad_left = 0, .groups = 2, .chunk = 6, .patch = 4};
    const ll_in in[8] = {
        {a->in0, 1, 6, 1, 0, 1, a->in0_rows},
        {a->in1, 0, 36, LL_WHOLE, 0, 1, 0},
        {a->in2, 0, 24, LL_WHOLE, 0, 4, 0},
        {a->in3, 0, 6, LL_WHOLE, 0, 1, 0},
        {a->in4, 0, 0, LL_WHOLE, 0, 4, 0},
        {a->in5, 0, 0, LL_WHOLE, 0, 4, 0},
        {a->in6, 0, 0, LL_WHOLE, 0, 1, 0},
        {a->in7, 6, 1, 3, 0, 18, 0},
    };
    const ll_out out[1] = {
        {a->out0, 36, 6, LL_WHOLE, 0, 1, 0},
    };
    const ll_region r = {y0, y1, 0, 6, 0, 6};
    ll_gemm_int32_1_ll_sums_wide_1_int16_int8(&p, in, out, &r, a->scratch, in + 4, 4, streamed_store3);
    LL_STEP_END();
}

/* where rows begin in a pool of line buffers */
static const uint16_t streamed_rows0[13] = {
    0, 1, 0, 2, 0, 1, 0, 2, 0, 1, 0, 2, 0,
};
/* where rows begin in a pool of line buffers */
static const uint16_t streamed_rows1[7] = {
    0, 0, 0, 0, 0, 0, 0,
};
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
                /* step 0: conv2d "a" (s8[1,13,11,3], s8[8,3,3,3], s32[8]) -> s8[1,13,11,8]; kernel gemm_joined; ram+724, streamed_wa_joined, streamed_a_bias, streamed_a_outside, streamed_a_mult, streamed_a_offset, streamed_a_right -> ram+352 */
                static const streamed_call0 a = {
                    streamed_arena_ram + 724,
                    (const uint8_t *)streamed_wa_joined,
                    (const uint8_t *)streamed_a_bias,
                    (const uint8_t *)streamed_a_outside,
                    (const uint8_t *)streamed_a_mult,
                    (const uint8_t *)streamed_a_offset,
                    (const uint8_t *)streamed_a_right,
                    streamed_arena_ram + 352,
                    streamed_rows0,
                    streamed_arena_ram + 0,
                };
                streamed_gemm0(&a, ll_clamp(0 + k * 1, 0, 13), ll_clamp(1 + k * 1, 0, 13));
            }
            streamed_on_step(0u);
        }
        if (t >= 1 && (t - 1) % 2 == 0 && (t - 1) / 2 < 7) {
            const int32_t k = (t - 1) / 2;
            {
                /* step 1: conv2d "s" (s8[1,13,11,8], s8[6,3,3,8], s32[6]) -> s8[1,7,6,6]; kernel pairs_wide; ram+352, streamed_ws_wide, streamed_s_bias, streamed_s_outside, streamed_s_mult, streamed_s_offset, streamed_s_right -> ram+616 */
                static const streamed_call1 a = {
                    streamed_arena_ram + 352,
                    streamed_rows0,
                    (const uint8_t *)streamed_ws_wide,
                    (const uint8_t *)streamed_s_bias,
                    (const uint8_t *)streamed_s_outside,
                    (const uint8_t *)streamed_s_mult,
                    (const uint8_t *)streamed_s_offset,
                    (const uint8_t *)streamed_s_right,
                    streamed_arena_ram + 616,
                    streamed_arena_ram + 0,
                };
                streamed_pairs1(&a, ll_clamp(0 + k * 1, 0, 7), ll_clamp(1 + k * 1, 0, 7));
            }
            streamed_on_step(1u);
        }
        if (t >= 3 && (t - 3) % 2 == 0 && (t - 3) / 2 < 7) {
            const int32_t k = (t - 3) / 2;
            {
                /* step 2: conv2d "d" (s8[1,7,6,6], s8[6,3,3,1], s32[6]) -> s8[1,7,6,6]; kernel depthwise_windows; ram+616, streamed_wd_pairs, streamed_d_bias, streamed_s_mult, streamed_s_offset, streamed_s_right -> ram+352 */
                static const streamed_call2 a = {
                    streamed_arena_ram + 616,
                    (const uint8_t *)streamed_wd_pairs,
                    (const uint8_t *)streamed_d_bias,
                    (const uint8_t *)streamed_s_mult,
                    (const uint8_t *)streamed_s_offset,
                    (const uint8_t *)streamed_s_right,
                    streamed_arena_ram + 352,
                    streamed_rows1,
                    streamed_arena_ram + 0,
                };
                streamed_depthwise_windows2(&a, ll_clamp(0 + k * 1, 0, 7), ll_clamp(1 + k * 1, 0, 7));
            }
            streamed_on_step(2u);
        }
        if (t >= 3 && (t - 3) % 2 == 0 && (t - 3) / 2 < 7) {
            const int32_t k = (t - 3) / 2;
            {
                /* step 3: conv2d "p" + add (s8[1,7,6,6], s8[6,1,1,6], s32[6]) -> s8[1,7,6,6]; kernel gemm_wide; ram+352, streamed_wp_wide, streamed_p_bias, streamed_p_outside, streamed_s_mult, streamed_s_offset, streamed_s_right, ram+616 -> ram+724 */
                static const streamed_call3 a = {
                    streamed_arena_ram + 352,
                    streamed_rows1,
                    (const uint8_t *)streamed_wp_wide,
                    (const uint8_t *)streamed_p_bias,
                    (const uint8_t *)streamed_p_outside,
                    (const uint8_t *)streamed_s_mult,
                    (const uint8_t *)streamed_s_offset,
                    (const uint8_t *)streamed_s_right,
                    streamed_arena_ram + 616,
                    streamed_arena_ram + 724,
                    streamed_arena_ram + 0,
                };
                streamed_gemm3(&a, ll_clamp(0 + k * 1, 0, 7), ll_clamp(1 + k * 1, 0, 7));
            }
            streamed_on_step(3u);
        }
    }
}

int8_t *streamed_input(void)
{
    return (int8_t *)(void *)(streamed_arena_ram + 724);
}

const int8_t *streamed_output(void)
{
    return (const int8_t *)(void *)(streamed_arena_ram + 724);
}


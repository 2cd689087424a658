/* The channels of a pixel divided by the root of the sum of their squares.
 *
 * in[0]  x (rows, pixels, C)
 * then the epilogue's operands
 *
 * Needs whole pixels: r->c0 = 0, r->c1 = C.  int8_t gives steps of 1/128.
 */
#include "../fixed_point.h"
#include "../float.h"
#ifndef LL_L2_NORMALIZE_PARAMS
#define LL_L2_NORMALIZE_PARAMS
typedef struct {
    int32_t channels, zero_point;
} ll_l2_normalize_params;

/* What the channels of a pixel are divided by: a float, or a multiplier and its exponent. */
typedef struct {
    float root;
    int32_t mult, shift;
} ll_norm;

LL_INLINE int32_t ll_square_s32(int32_t v) {
    return v * v;
}

LL_INLINE ll_norm ll_norm_s32(int32_t squares) {
    ll_norm norm = {0};
    norm.mult = ll_inverse_sqrt(squares, &norm.shift);
    return norm;
}

LL_INLINE int32_t ll_normed_s32(int32_t v, ll_norm norm) {
    return ll_clamp(ll_requant(v, norm.mult, norm.shift + 7), -128, 127);
}

LL_INLINE ll_norm ll_norm_f32(float squares) {
    ll_norm norm = {0};
    norm.root = ll_max_f32(ll_sqrtf(squares), 1e-6f);
    return norm;
}

LL_INLINE float ll_normed_f32(float v, ll_norm norm) {
    return v / norm.root;
}
#endif

LL_INLINE void LL_NAME(l2_normalize)(const ll_l2_normalize_params *p, const ll_in *in,
                                     const ll_out *out, const ll_region *r, void *scratch,
                                     const ll_in *operands, int32_t count,
                                     LL_R (*store)(const ll_at *, LL_ACC)) {
    ll_at at;
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const uint8_t *in_row = ll_in_row(&in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            const LL_X *v = (const LL_X *)(const void *)(in_row + x * in[0].pixel);
            LL_ACC squares = 0;
            for (int32_t c = 0; c < p->channels; ++c) {
                squares += LL_SQUARE((LL_ACC)v[c] - (LL_ACC)p->zero_point);
            }
            const ll_norm norm = LL_NORM(squares);
            at.x = x;
            for (int32_t c = 0; c < p->channels; ++c) {
                at.c = c;
                *LL_ELEMENT(LL_Y, out_row, x, c, out) =
                    (LL_Y)store(&at, LL_NORMED((LL_ACC)v[c] - (LL_ACC)p->zero_point, norm));
            }
        }
    }
}

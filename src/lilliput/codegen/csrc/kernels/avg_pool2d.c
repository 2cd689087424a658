/* Average over the taps of a window that lie inside the map, channels last.
 *
 * in[0]  x (N*H, W, C)
 * then the epilogue's operands
 */
#ifndef LL_AVG_POOL2D_PARAMS
#define LL_AVG_POOL2D_PARAMS
typedef struct {
    int32_t in_h, in_w, out_h, kh, kw, stride_h, stride_w, pad_top, pad_left;
} ll_avg_pool2d_params;

/* to the nearest integer, ties away from zero */
LL_INLINE int32_t ll_average_s32(int32_t sum, int32_t count) {
    const int32_t half = count / 2;
    return (sum > 0 ? sum + half : sum - half) / count;
}

LL_INLINE float ll_average_f32(float sum, int32_t count) {
    return sum / (float)count;
}
#endif

LL_INLINE void LL_NAME(avg_pool2d)(const ll_avg_pool2d_params *p, const ll_in *in,
                                   const ll_out *out, const ll_region *r, void *scratch,
                                   const ll_in *operands, int32_t count,
                                   LL_R (*store)(const ll_at *, LL_ACC)) {
    const uint8_t *rows[LL_ROWS] = {0};
    ll_at at;
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const int32_t image = y / p->out_h;
        const int32_t top = (y - image * p->out_h) * p->stride_h - p->pad_top;
        const int32_t i0 = ll_max(0, -top);
        const int32_t i1 = ll_min(p->kh, p->in_h - top);
        for (int32_t i = i0; i < i1; ++i) {
            rows[i] = ll_in_row(&in[0], image * p->in_h + top + i);
        }
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            const int32_t left = x * p->stride_w - p->pad_left;
            const int32_t j0 = ll_max(0, -left);
            const int32_t j1 = ll_min(p->kw, p->in_w - left);
            const int32_t taps = (i1 - i0) * (j1 - j0);
            at.x = x;
            for (int32_t c = r->c0; c < r->c1; ++c) {
                LL_ACC acc = 0;
                for (int32_t i = i0; i < i1; ++i) {
                    const uint8_t *pixel = rows[i] + (left + j0) * in[0].pixel;
                    for (int32_t j = j0; j < j1; ++j, pixel += in[0].pixel) {
                        acc += ((const LL_X *)(const void *)pixel)[c];
                    }
                }
                at.c = c;
                *LL_ELEMENT(LL_Y, out_row, x, c, out) = (LL_Y)store(&at, LL_AVERAGE(acc, taps));
            }
        }
    }
}

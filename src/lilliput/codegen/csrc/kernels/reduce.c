/* A reduction over the rows of a map, or over its rows and pixels; input rows come in pieces.
 *
 * in[0]  x (N*H, W, C)
 * then the epilogue's operands
 *
 * The region's rows are input rows: y is what is reduced.  `scratch` holds the accumulators
 * between pieces, one LL_ACC for each pixel that stays and each channel.  The first row of an
 * image starts them; the last one writes output row `image` (pixel `image` of row 0 with
 * `flat`).  LL_FOLD names the reduction, as in fold.h.
 */
#include "../fold.h"
#ifndef LL_REDUCE_PARAMS
#define LL_REDUCE_PARAMS
typedef struct {
    int32_t in_h, in_w, channels, reduce_w, flat, zero, mult, shift;
} ll_reduce_params;
#endif

/* Four channels of a row of pixels, whose first starts them where `start` says so. */
LL_INLINE void LL_NAME(reduce_four)(const uint8_t *row, int32_t pixel, int32_t count, int32_t start,
                                    const ll_rescale *scale, LL_ACC *held) {
    LL_ACC a = held[0], b = held[1], c = held[2], d = held[3];
    if (start) {
        const LL_X *v = (const LL_X *)(const void *)row;
        a = LL_FIRST((LL_ACC)v[0], scale), b = LL_FIRST((LL_ACC)v[1], scale);
        c = LL_FIRST((LL_ACC)v[2], scale), d = LL_FIRST((LL_ACC)v[3], scale);
        row += pixel;
    }
    for (int32_t x = start; x < count; ++x, row += pixel) {
        const LL_X *v = (const LL_X *)(const void *)row;
        a = LL_NEXT(a, (LL_ACC)v[0], scale), b = LL_NEXT(b, (LL_ACC)v[1], scale);
        c = LL_NEXT(c, (LL_ACC)v[2], scale), d = LL_NEXT(d, (LL_ACC)v[3], scale);
    }
    held[0] = a, held[1] = b, held[2] = c, held[3] = d;
}

LL_INLINE void LL_NAME(reduce)(const ll_reduce_params *p, const ll_in *in, const ll_out *out,
                               const ll_region *r, void *scratch, const ll_in *operands,
                               int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    const ll_rescale scale = {p->zero, p->mult, p->shift};
    LL_ACC *held = (LL_ACC *)scratch;
    const int32_t x0 = r->x0, x1 = r->x1;
    ll_at at;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const int32_t image = y / p->in_h;
        const uint8_t *row = ll_in_row(&in[0], y);
        const int32_t start = y == image * p->in_h;
        int32_t fours = r->c0;
        for (; p->reduce_w && fours + 4 <= r->c1; fours += 4) {
            LL_NAME(reduce_four)
            (row + fours * (int32_t)sizeof(LL_X), in[0].pixel, p->in_w, start, &scale,
             held + fours);
        }
        for (int32_t c = fours; p->reduce_w && c < r->c1; ++c) {
            for (int32_t x = 0; x < p->in_w; ++x) {
                const LL_X *v = (const LL_X *)(const void *)(row + x * in[0].pixel);
                held[c] = start && x == 0 ? LL_FIRST((LL_ACC)v[c], &scale)
                                          : LL_NEXT(held[c], (LL_ACC)v[c], &scale);
            }
        }
        for (int32_t x = x0; !p->reduce_w && x < x1; ++x) {
            const LL_X *v = (const LL_X *)(const void *)(row + x * in[0].pixel);
            LL_ACC *acc = held + x * p->channels;
            for (int32_t c = r->c0; c < r->c1; ++c) {
                acc[c] =
                    start ? LL_FIRST((LL_ACC)v[c], &scale) : LL_NEXT(acc[c], (LL_ACC)v[c], &scale);
            }
        }
        if (y + 1 < (image + 1) * p->in_h) {
            continue;
        }
        const int32_t out_y = p->flat ? 0 : image;
        uint8_t *out_row = ll_out_row(out, out_y);
        ll_at_row(&at, operands, count, out_y);
        for (int32_t x = p->reduce_w ? 0 : x0; x < (p->reduce_w ? 1 : x1); ++x) {
            at.x = p->flat ? image : x;
            LL_Y *y_out = (LL_Y *)(void *)(out_row + at.x * out->pixel);
            for (int32_t c = r->c0; c < r->c1; ++c) {
                at.c = c;
                y_out[c] = (LL_Y)store(&at, held[x * p->channels + c]);
            }
        }
    }
}

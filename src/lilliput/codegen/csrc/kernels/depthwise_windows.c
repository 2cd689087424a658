/* Depthwise convolution of int8 with windows of three, five or seven pixels a row, by planes.
 *
 * in[0]  x (N*H, W, C) in planes      in[1]  int16 weights (C*M, pairs), see `isa/generic.h`
 * in[2]  bias (C*M), zero point folded in
 * then the epilogue's operands
 *
 * `band` output rows at a time: one channel's rows are copied to scratch with the padding around
 * them, so that the inner loop meets no border; its sums go to scratch, and from there through
 * the epilogue.
 *
 * scratch: sums of a band, rows of `room` bytes that a band reads
 */
#ifndef LL_DEPTHWISE_WINDOWS_PARAMS
#define LL_DEPTHWISE_WINDOWS_PARAMS
typedef struct {
    int32_t in_h, in_w, out_h, kh, kw, stride_h, stride_w, pad_top, pad_left;
    int32_t multiplier, band, width, room, taps, zero;
} ll_depthwise_windows_params;

/* `count` bytes, in words as far as they go; addresses need not be aligned. */
LL_INLINE void ll_copy_row(int8_t *to, const uint8_t *from, int32_t count) {
    int32_t k = 0;
    for (; k + 16 <= count; k += 16) {
        __builtin_memcpy(to + k, from + k, 4);
        __builtin_memcpy(to + k + 4, from + k + 4, 4);
        __builtin_memcpy(to + k + 8, from + k + 8, 4);
        __builtin_memcpy(to + k + 12, from + k + 12, 4);
    }
    for (; k + 4 <= count; k += 4) {
        __builtin_memcpy(to + k, from + k, 4);
    }
    for (; k < count; ++k) {
        to[k] = (int8_t)from[k];
    }
}
#endif

/* The epilogue of one row of one channel. */
LL_INLINE void LL_NAME(depthwise_windows_store)(ll_at *at, const ll_out *out, uint8_t *out_row,
                                                int32_t x0, int32_t x1, const int32_t *sums,
                                                LL_R (*store)(const ll_at *, LL_ACC)) {
    LL_R y[4];
    int32_t x = x0;
    for (; !LL_SMALL && x + 4 <= x1; x += 4) {
        at->x = x;
        y[0] = store(at, sums[x]);
        at->x = x + 1;
        y[1] = store(at, sums[x + 1]);
        at->x = x + 2;
        y[2] = store(at, sums[x + 2]);
        at->x = x + 3;
        y[3] = store(at, sums[x + 3]);
        *LL_ELEMENT(LL_Y, out_row, x, at->c, out) = (LL_Y)y[0];
        *LL_ELEMENT(LL_Y, out_row, x + 1, at->c, out) = (LL_Y)y[1];
        *LL_ELEMENT(LL_Y, out_row, x + 2, at->c, out) = (LL_Y)y[2];
        *LL_ELEMENT(LL_Y, out_row, x + 3, at->c, out) = (LL_Y)y[3];
    }
    for (; x < x1; ++x) {
        at->x = x;
        *LL_ELEMENT(LL_Y, out_row, x, at->c, out) = (LL_Y)store(at, sums[x]);
    }
}

LL_INLINE void LL_NAME(depthwise_windows)(const ll_depthwise_windows_params *p, const ll_in *in,
                                          const ll_out *out, const ll_region *r, void *scratch,
                                          const ll_in *operands, int32_t count,
                                          LL_R (*store)(const ll_at *, LL_ACC)) {
    const int16_t *weights = (const int16_t *)in[1].base;
    const int32_t *bias = (const int32_t *)in[2].base;
    int32_t *const sums = (int32_t *)scratch;
    /* the map begins at a whole word of each row */
    int8_t *const rows = (int8_t *)(sums + p->band * p->width);
    int8_t *const plane = rows + (-p->pad_left & 3);
    int32_t filled = 0; /* what is left of a fill is the margins, beside the rows */
    ll_at at;
    for (int32_t y = r->y0, next; y < r->y1; y = next) {
        const int32_t image = y / p->out_h;
        const int32_t top = (y - image * p->out_h) * p->stride_h - p->pad_top;
        next = ll_min(ll_min(y + p->band, r->y1), (image + 1) * p->out_h);
        const int32_t high = (next - y - 1) * p->stride_h + p->kh;
        const int32_t first = ll_max(0, -top), last = ll_min(high, p->in_h - top);
        if (!filled || first > 0 || last < high) {
            const int32_t all = (p->band - 1) * p->stride_h + p->kh;
            __builtin_memset(rows, p->zero, (uint32_t)(all * p->room));
            filled = 1;
        }
        for (int32_t c = r->c0; c < r->c1; ++c) {
            const int32_t plane_at = (p->multiplier == 1 ? c : c / p->multiplier) * in[0].plane;
            for (int32_t k = first; k < last; ++k) {
                const uint8_t *row = ll_in_row(&in[0], image * p->in_h + top + k) + plane_at;
                ll_copy_row(plane + k * p->room + p->pad_left, row, p->in_w);
            }
            LL_WINDOWS_FUNCTION(plane, weights + c * p->taps, bias[c], sums, p->room, p->kh,
                                next - y, p->width);
            at.c = c;
            for (int32_t k = y; k < next; ++k) {
                ll_at_row(&at, operands, count, k);
                LL_NAME(depthwise_windows_store)
                (&at, out, ll_out_row(out, k), r->x0, r->x1, sums + (k - y) * p->width, store);
            }
        }
    }
}

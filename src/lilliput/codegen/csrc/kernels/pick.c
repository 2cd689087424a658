/* Each element of the result from the place that tables name, one table an axis.
 *
 * in[0]  x (rows, pixels, C)
 * in[1]  row of a block of x that each row of a block of y reads (out_rows), LL_I
 * in[2]  pixel that each pixel reads, LL_I
 * in[3]  channel that each channel reads, or only that of channel 0 with `together`, LL_I
 * in[4]  with `filled`: the element that places with a negative index hold
 */
#ifndef LL_PICK_PARAMS
#define LL_PICK_PARAMS
typedef struct {
    int32_t in_rows, out_rows, together, filled;
} ll_pick_params;
#endif

LL_INLINE void LL_NAME(pick)(const ll_pick_params *p, const ll_in *in, const ll_out *out,
                             const ll_region *r, void *scratch, const ll_in *operands,
                             int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    const LL_I *rows = (const LL_I *)in[1].base;
    const LL_I *pixels = (const LL_I *)in[2].base;
    const LL_I *channels = (const LL_I *)in[3].base;
    const LL_X value = p->filled ? *(const LL_X *)in[4].base : (LL_X)0;
    const unsigned int bytes = (unsigned int)(r->c1 - r->c0) * (unsigned int)sizeof(LL_X);
    (void)scratch;
    (void)operands;
    (void)count;
    (void)store;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const int32_t block = y / p->out_rows;
        const int32_t iy = rows[y - block * p->out_rows];
        const int32_t outside = p->filled && iy < 0;
        const uint8_t *row = ll_in_row(&in[0], outside ? 0 : block * p->in_rows + iy);
        uint8_t *out_row = ll_out_row(out, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            const int32_t ix = pixels[x];
            LL_Y *to = (LL_Y *)(void *)(out_row + x * out->pixel);
            if (outside || (p->filled && ix < 0)) {
                for (int32_t c = r->c0; c < r->c1; ++c) {
                    to[c] = value;
                }
                continue;
            }
            const LL_X *from = (const LL_X *)(const void *)(row + ix * in[0].pixel);
            if (p->together) {
                __builtin_memcpy(to + r->c0, from + channels[0] + r->c0, bytes);
                continue;
            }
            for (int32_t c = r->c0; c < r->c1; ++c) {
                const int32_t ic = channels[c];
                to[c] = p->filled && ic < 0 ? value : from[ic];
            }
        }
    }
}

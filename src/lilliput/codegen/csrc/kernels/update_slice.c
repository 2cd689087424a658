/* A box of a tensor replaced by another tensor, at a place that is known at run time.
 *
 * in[0]  x (rows, pixels, C)
 * in[1]  what is put there, of no greater extents
 * in[2]  where its first element goes, LL_I, one for each axis; clamped so that all of it fits
 *
 * extent, size: extents of x and of the box, led by units to six axes; `lead`: how many units.
 */
#ifndef LL_UPDATE_SLICE_PARAMS
#define LL_UPDATE_SLICE_PARAMS
typedef struct {
    int32_t lead, extent0, extent1, extent2, extent3, extent4, extent5;
    int32_t size0, size1, size2, size3, size4, size5;
} ll_update_slice_params;
#endif

LL_INLINE void LL_NAME(update_slice)(const ll_update_slice_params *p, const ll_in *in,
                                     const ll_out *out, const ll_region *r, void *scratch,
                                     const ll_in *operands, int32_t count,
                                     LL_R (*store)(const ll_at *, LL_ACC)) {
    const int32_t extent[6] = {p->extent0, p->extent1, p->extent2,
                               p->extent3, p->extent4, p->extent5};
    const int32_t size[6] = {p->size0, p->size1, p->size2, p->size3, p->size4, p->size5};
    const LL_I *given = (const LL_I *)in[2].base;
    int32_t start[6] = {0, 0, 0, 0, 0, 0};
    (void)scratch;
    (void)operands;
    (void)count;
    (void)store;
    for (int32_t d = p->lead; d < 6; ++d) {
        const LL_I v = given[d - p->lead];
        const int32_t most = extent[d] - size[d];
        start[d] = v > most ? most : (v > 0 ? (int32_t)v : 0);
    }
    for (int32_t y = r->y0; y < r->y1; ++y) {
        int32_t inside = 1, row = 0, rest = y, step = 1;
        for (int32_t d = 3; d >= 0; --d) { /* rows are the first four axes together */
            const int32_t place = rest % extent[d] - start[d];
            rest /= extent[d];
            inside = inside && place >= 0 && place < size[d];
            row += place * step;
            step *= size[d];
        }
        const uint8_t *old_row = ll_in_row(&in[0], y);
        const uint8_t *new_row = inside ? ll_in_row(&in[1], row) : 0;
        uint8_t *out_row = ll_out_row(out, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            const int32_t px = x - start[4];
            const LL_X *old = (const LL_X *)(const void *)(old_row + x * in[0].pixel);
            LL_Y *y_out = (LL_Y *)(void *)(out_row + x * out->pixel);
            const uint8_t *pixel = new_row && px >= 0 && px < size[4] ? new_row : 0;
            const LL_X *put = pixel ? (const LL_X *)(const void *)(pixel + px * in[1].pixel) : 0;
            for (int32_t c = r->c0; c < r->c1; ++c) {
                const int32_t pc = c - start[5];
                y_out[c] = put && pc >= 0 && pc < size[5] ? put[pc] : old[c];
            }
        }
    }
}

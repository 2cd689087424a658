/* Nearest-neighbour resize of rows and pixels, channels last.
 *
 * in[0]  x (N*H, W, C)
 * in[1]  row of the map that each output row of an image reads (OH), int32_t
 * in[2]  pixel that each output pixel reads (OW), int32_t
 */
#ifndef LL_RESIZE_NEAREST_PARAMS
#define LL_RESIZE_NEAREST_PARAMS
typedef struct {
    int32_t in_h, out_h;
} ll_resize_nearest_params;
#endif

LL_INLINE void LL_NAME(resize_nearest)(const ll_resize_nearest_params *p, const ll_in *in,
                                       const ll_out *out, const ll_region *r, void *scratch,
                                       const ll_in *operands, int32_t count,
                                       LL_R (*store)(const ll_at *, LL_ACC)) {
    const int32_t *rows = (const int32_t *)in[1].base;
    const int32_t *pixels = (const int32_t *)in[2].base;
    const unsigned int bytes = (unsigned int)(r->c1 - r->c0) * (unsigned int)sizeof(LL_X);
    (void)scratch;
    (void)operands;
    (void)count;
    (void)store;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const int32_t image = y / p->out_h;
        const int32_t iy = image * p->in_h + rows[y - image * p->out_h];
        const uint8_t *from = ll_in_row(&in[0], iy) + r->c0 * (int32_t)sizeof(LL_X);
        uint8_t *to = ll_out_row(out, y) + r->c0 * (int32_t)sizeof(LL_Y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            __builtin_memcpy(to + x * out->pixel, from + pixels[x] * in[0].pixel, bytes);
        }
    }
}

/* Bilinear resize: four elements mixed with weights of the row and of the column.
 *
 * in[0]  x (N*H, W, C)
 * in[1]  the two rows of the map that each output row of an image mixes (OH, 2), int32_t
 * in[2]  weight of the second (OH), LL_W in units of 1 / LL_ONE
 * in[3]  the two pixels that each output pixel mixes (OW, 2), int32_t
 * in[4]  weight of the second (OW)
 * then the epilogue's operands
 */
#ifndef LL_RESIZE_BILINEAR_PARAMS
#define LL_RESIZE_BILINEAR_PARAMS
typedef struct {
    int32_t in_h, out_h;
} ll_resize_bilinear_params;
#endif

LL_INLINE void LL_NAME(resize_bilinear)(const ll_resize_bilinear_params *p, const ll_in *in,
                                        const ll_out *out, const ll_region *r, void *scratch,
                                        const ll_in *operands, int32_t count,
                                        LL_R (*store)(const ll_at *, LL_ACC)) {
    const int32_t *rows = (const int32_t *)in[1].base;
    const int32_t *pixels = (const int32_t *)in[3].base;
    const LL_W *row_weights = (const LL_W *)in[2].base;
    const LL_W *pixel_weights = (const LL_W *)in[4].base;
    ll_at at;
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const int32_t image = y / p->out_h;
        const int32_t oy = y - image * p->out_h;
        const uint8_t *upper = ll_in_row(&in[0], image * p->in_h + rows[2 * oy]);
        const uint8_t *lower = ll_in_row(&in[0], image * p->in_h + rows[2 * oy + 1]);
        const LL_ACC wy = (LL_ACC)row_weights[oy];
        const LL_ACC uy = (LL_ACC)LL_ONE - wy;
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            const int32_t left = pixels[2 * x] * in[0].pixel;
            const int32_t right = pixels[2 * x + 1] * in[0].pixel;
            const LL_X *a = (const LL_X *)(const void *)(upper + left);
            const LL_X *b = (const LL_X *)(const void *)(lower + left);
            const LL_X *d = (const LL_X *)(const void *)(upper + right);
            const LL_X *e = (const LL_X *)(const void *)(lower + right);
            const LL_ACC wx = (LL_ACC)pixel_weights[x];
            const LL_ACC ux = (LL_ACC)LL_ONE - wx;
            at.x = x;
            for (int32_t c = r->c0; c < r->c1; ++c) {
                const LL_ACC acc =
                    (LL_ACC)(a[c] + LL_BIAS) * uy * ux + (LL_ACC)(b[c] + LL_BIAS) * wy * ux +
                    (LL_ACC)(d[c] + LL_BIAS) * uy * wx + (LL_ACC)(e[c] + LL_BIAS) * wy * wx;
                at.c = c;
                *LL_ELEMENT(LL_Y, out_row, x, c, out) = (LL_Y)store(&at, acc);
            }
        }
    }
}

/* A map inside a margin of one value, on any of four axes, channels last.
 *
 * in[0]  x (N*H, W, C)      in[1]  the value, one element
 */
#ifndef LL_PAD_PARAMS
#define LL_PAD_PARAMS
typedef struct {
    int32_t images, in_h, in_w, in_c, out_h, pad_n, pad_top, pad_left, pad_c;
} ll_pad_params;
#endif

LL_INLINE void LL_NAME(pad)(const ll_pad_params *p, const ll_in *in, const ll_out *out,
                            const ll_region *r, void *scratch, const ll_in *operands, int32_t count,
                            LL_R (*store)(const ll_at *, LL_ACC)) {
    const LL_X value = *(const LL_X *)in[1].base;
    (void)scratch;
    (void)operands;
    (void)count;
    (void)store;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const int32_t image = y / p->out_h - p->pad_n;
        const int32_t iy = y % p->out_h - p->pad_top;
        const int32_t in_map = image >= 0 && image < p->images && iy >= 0 && iy < p->in_h;
        const uint8_t *row = in_map ? ll_in_row(&in[0], image * p->in_h + iy) : 0;
        uint8_t *out_row = ll_out_row(out, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            const int32_t ix = x - p->pad_left;
            const int32_t in_row = row && ix >= 0 && ix < p->in_w;
            const LL_X *v = in_row ? (const LL_X *)(const void *)(row + ix * in[0].pixel) : 0;
            LL_Y *y_out = (LL_Y *)(void *)(out_row + x * out->pixel);
            for (int32_t c = r->c0; c < r->c1; ++c) {
                const int32_t ic = c - p->pad_c;
                y_out[c] = v && ic >= 0 && ic < p->in_c ? v[ic] : value;
            }
        }
    }
}

/* One bit for each element that lies between two bounds, eight channels in a byte.
 *
 * in[0]  x (rows, pixels, C)
 *
 * The region's channels are bytes of eight; bits behind the last channel are 0.
 */
#ifndef LL_CLIP_BITS_PARAMS
#define LL_CLIP_BITS_PARAMS
typedef struct {
    int32_t low, high, channels;
} ll_clip_bits_params;
#endif

LL_INLINE void LL_NAME(clip_bits)(const ll_clip_bits_params *p, const ll_in *in, const ll_out *out,
                                  const ll_region *r, void *scratch, const ll_in *operands,
                                  int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    (void)scratch;
    (void)operands;
    (void)count;
    (void)store;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const uint8_t *in_row = ll_in_row(&in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            const LL_X *v = (const LL_X *)(const void *)(in_row + x * in[0].pixel);
            for (int32_t c = r->c0; c < r->c1; ++c) {
                const int32_t left = ll_min(8, p->channels - 8 * c);
                uint32_t bits = 0;
                if (sizeof(LL_X) == 1 && left == 8) {
                    const int8_t *eight = (const int8_t *)(const void *)(v + 8 * c);
                    bits = ll_between_8(eight, p->low, p->high);
                    *LL_ELEMENT(uint8_t, out_row, x, c, out) = (uint8_t)bits;
                    continue;
                }
                for (int32_t k = 0; k < left; ++k) {
                    const int32_t q = v[8 * c + k];
                    bits |= (uint32_t)(q > p->low && q < p->high) << k;
                }
                *LL_ELEMENT(uint8_t, out_row, x, c, out) = (uint8_t)bits;
            }
        }
    }
}

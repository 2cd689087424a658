/* A gradient where a bit is set, and 0 elsewhere.
 *
 * in[0]  dy (rows, pixels, C)      in[1]  bits (rows, pixels, ceil(C / 8))
 * then the epilogue's operands
 */
#ifndef LL_KEEP_BITS_PARAMS
#define LL_KEEP_BITS_PARAMS
typedef struct {
    int32_t none;
} ll_keep_bits_params;
#endif

LL_INLINE void LL_NAME(keep_bits)(const ll_keep_bits_params *p, const ll_in *in, const ll_out *out,
                                  const ll_region *r, void *scratch, const ll_in *operands,
                                  int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    ll_at at;
    (void)p;
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const uint8_t *in_row = ll_in_row(&in[0], y);
        const uint8_t *bits_row = ll_in_row(&in[1], y);
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            const float *dy = (const float *)(const void *)(in_row + x * in[0].pixel);
            const uint8_t *bits = bits_row + x * in[1].pixel;
            at.x = x;
            for (int32_t c = r->c0; c < r->c1; ++c) {
                const int32_t kept = bits[c >> 3] >> (c & 7) & 1;
                at.c = c;
                *LL_ELEMENT(LL_Y, out_row, x, c, out) = (LL_Y)store(&at, kept ? dy[c] : 0.0f);
            }
        }
    }
}

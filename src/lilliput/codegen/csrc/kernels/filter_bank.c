/* Weighted sums of channels that follow one another: bands of a spectrum.
 *
 * in[0]  x (rows, pixels, K)      in[1]  weights, Q15, those of a band after another
 * in[2]  (bands, 3): first channel, first weight, first weight of the band behind it
 * then the epilogue's operands
 */
#ifndef LL_FILTER_BANK_PARAMS
#define LL_FILTER_BANK_PARAMS
typedef struct {
    int32_t shift;
} ll_filter_bank_params;

LL_INLINE int64_t ll_tap_int32_t(int64_t sum, int32_t x, int32_t w, int32_t shift) {
    (void)shift;
    return sum + (int64_t)x * w;
}

LL_INLINE int64_t ll_band_int32_t(int64_t sum, int32_t shift) {
    return sum >> shift;
}

/* Each product by itself rounded down: in one it would not fit. */
LL_INLINE int64_t ll_tap_int64_t(int64_t sum, int64_t x, int32_t w, int32_t shift) {
    const int32_t below = (int32_t)(x & ((1 << shift) - 1));
    const uint64_t above = (uint64_t)(x >> shift) * (uint64_t)(int64_t)w;
    return ll_wrap_add_s64(sum, (int64_t)(above + (uint64_t)(int64_t)((below * w) >> shift)));
}

LL_INLINE int64_t ll_band_int64_t(int64_t sum, int32_t shift) {
    (void)shift;
    return sum;
}
#endif

LL_INLINE void LL_NAME(filter_bank)(const ll_filter_bank_params *p, const ll_in *in,
                                    const ll_out *out, const ll_region *r, void *scratch,
                                    const ll_in *operands, int32_t count,
                                    LL_R (*store)(const ll_at *, LL_ACC)) {
    const int16_t *weights = (const int16_t *)in[1].base;
    const int16_t *bands = (const int16_t *)in[2].base;
    ll_at at;
    (void)scratch;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const uint8_t *in_row = ll_in_row(&in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            const LL_X *v = (const LL_X *)(const void *)(in_row + x * in[0].pixel);
            at.x = x;
            for (int32_t c = r->c0; c < r->c1; ++c) {
                const int16_t *band = bands + 3 * c;
                const LL_X *from = v + band[0];
                int64_t sum = 0;
                for (int32_t k = band[1]; k < band[2]; ++k) {
                    sum = LL_CAT(ll_tap, LL_X)(sum, *from++, weights[k], p->shift);
                }
                at.c = c;
                *LL_ELEMENT(LL_Y, out_row, x, c, out) =
                    (LL_Y)store(&at, LL_CAT(ll_band, LL_X)(sum, p->shift));
            }
        }
    }
}

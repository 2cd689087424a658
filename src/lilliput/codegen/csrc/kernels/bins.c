/* Magnitude or power of some bins of a spectrum.
 *
 * in[0]  x (rows, pixels, 2 K), real and imaginary parts in turns
 *
 * Needs whole pixels: r->c0 = 0, r->c1 = count.  LL_BIN names what is made of a bin.
 */
#ifndef LL_BINS_PARAMS
#define LL_BINS_PARAMS
typedef struct {
    int32_t first, count;
} ll_bins_params;

LL_INLINE uint64_t ll_squares(const int32_t *z) {
    return (uint64_t)((int64_t)z[0] * z[0]) + (uint64_t)((int64_t)z[1] * z[1]);
}

LL_INLINE int64_t ll_bin_power(const int32_t *z) {
    const uint64_t squares = ll_squares(z);
    return squares > (uint64_t)INT64_MAX ? INT64_MAX : (int64_t)squares;
}

/* The root of the upper 31 or 32 bits, to the nearest, one bit a turn. */
LL_INLINE int32_t ll_bin_magnitude(const int32_t *z) {
    uint64_t squares = ll_squares(z);
    const uint32_t high = (uint32_t)(squares >> 32);
    int32_t half = 0;
    if (high) {
        half = (33 - __builtin_clz(high)) >> 1;
        squares >>= 2 * half;
    }
    uint32_t rest = (uint32_t)squares, root = 0;
#pragma GCC unroll 16
    for (uint32_t bit = (uint32_t)1 << 30; bit; bit >>= 2) {
        const uint32_t next = root + bit;
        root >>= 1;
        if (rest >= next) {
            rest -= next;
            root += bit;
        }
    }
    root += rest > root ? 1U : 0U;
    return root > (uint32_t)INT32_MAX >> half ? INT32_MAX : (int32_t)(root << half);
}
#endif

LL_INLINE void LL_NAME(bins)(const ll_bins_params *p, const ll_in *in, const ll_out *out,
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
            const int32_t *z = (const int32_t *)(const void *)(in_row + x * in[0].pixel);
            LL_Y *to = (LL_Y *)(void *)(out_row + x * out->pixel);
            z += 2 * p->first;
            for (int32_t k = 0; k < p->count; ++k, z += 2) {
                to[k] = LL_BIN(z);
            }
        }
    }
}

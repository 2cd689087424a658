/* Blocks of pixels and channels traded for one another, a chunk of channels at a time.
 *
 * in[0]  x (N*H, W, C)
 *
 * fold: pixels of x, each way, that become the chunks of one pixel; spread: pixels, each
 * way, that the chunks of one pixel of x become; depth: channels of a chunk.  One of fold
 * and spread is 1.
 */
#ifndef LL_BLOCKS_PARAMS
#define LL_BLOCKS_PARAMS
typedef struct {
    int32_t fold, spread, depth;
} ll_blocks_params;
#endif

LL_INLINE void LL_NAME(blocks)(const ll_blocks_params *p, const ll_in *in, const ll_out *out,
                               const ll_region *r, void *scratch, const ll_in *operands,
                               int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    (void)scratch;
    (void)operands;
    (void)count;
    (void)store;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        uint8_t *out_row = ll_out_row(out, y);
        for (int32_t k = r->c0 / p->depth; k * p->depth < r->c1; ++k) {
            const int32_t first = k * p->depth;
            const int32_t low = ll_max(r->c0, first);
            const int32_t size = ll_min(r->c1, first + p->depth) - low;
            const unsigned int bytes = (unsigned int)size * (unsigned int)sizeof(LL_X);
            const uint8_t *row = ll_in_row(&in[0], y * p->fold / p->spread + k / p->fold);
            for (int32_t x = r->x0; x < r->x1; ++x) {
                const int32_t chunk = y % p->spread * p->spread + x % p->spread;
                const LL_X *from =
                    (const LL_X *)(const void *)(row + (x * p->fold / p->spread + k % p->fold) *
                                                           in[0].pixel);
                LL_Y *to = (LL_Y *)(void *)(out_row + x * out->pixel);
                __builtin_memcpy(to + low, from + chunk * p->depth + low - first, bytes);
            }
        }
    }
}

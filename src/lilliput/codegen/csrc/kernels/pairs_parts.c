/* A matrix of int8 times every pixel, of which training changes the first columns: two pixels times
 * two channels at a time, from bytes where they lie.
 *
 * in[0]  x (rows, pixels, I)
 * in[1]  the other columns' weights, see `isa/generic.h`; channels and groups padded
 * in[2]  bias (O), zero point folded in with those weights alone
 * in[3]  the first columns' weights (O, first), as they lie
 * in[4]  with `adds` a bias (O) beside in[2], which is trained, too
 * then the epilogue's operands
 *
 * Sums of `chunk` channels begin with those of the packed weights; the others join them on their
 * way to the epilogue.  Only numbers that are no whole words (`gather`) are copied.
 *
 * scratch: sums and what they begin with, of `chunk` channels; with `gather` the other numbers of
 *          two pixels
 */
#ifndef LL_PAIRS_PARTS_PARAMS
#define LL_PAIRS_PARTS_PARAMS
typedef struct {
    int32_t in_c, first, zero, adds, groups, chunk, gather;
} ll_pairs_parts_params;
#endif

LL_INLINE void LL_NAME(pairs_parts)(const ll_pairs_parts_params *p, const ll_in *in,
                                    const ll_out *out, const ll_region *r, void *scratch,
                                    const ll_in *operands, int32_t count,
                                    LL_R (*store)(const ll_at *, LL_ACC)) {
    const int8_t *rest = (const int8_t *)in[1].base;
    const int32_t *bias = (const int32_t *)in[2].base;
    const int8_t *first = (const int8_t *)in[3].base - in[3].first * p->first;
    const int32_t *own = p->adds ? (const int32_t *)in[4].base : 0;
    int32_t *const sums = (int32_t *)scratch, *const begin = sums + p->chunk * 2;
    int8_t *const patches = (int8_t *)(begin + p->chunk);
    ll_at at;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const uint8_t *in_row = ll_in_row(&in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < r->x1; x += 2) {
            const int32_t pixels = ll_min(r->x1 - x, 2);
            const int8_t *v = (const int8_t *)in_row + x * in[0].pixel;
            const int8_t *u = v + (pixels - 1) * in[0].pixel;
            const int8_t *runs[2] = {v + p->first, u + p->first};
            if (p->gather) {
                for (int32_t i = 0; i < 2; ++i) {
                    int8_t *const to = patches + i * p->groups * 4;
                    __builtin_memcpy(to, runs[i], (uint32_t)(p->in_c - p->first));
                    runs[i] = to;
                }
            }
            for (int32_t base = r->c0 & ~1; base < r->c1; base += p->chunk) {
                const int32_t end = ll_min(base + p->chunk, r->c1), c0 = ll_max(base, r->c0);
                for (int32_t c = base; c < end; ++c) {
                    begin[c - base] = own ? ll_wrap_add(bias[c], own[c]) : bias[c];
                }
                if ((end - base) % 2) {
                    begin[end - base] = 0; /* of the twin that an odd one lacks */
                }
                ll_pairs(runs, rest + base * p->groups * 4, begin, sums, 1, p->groups,
                         (end - base + 1) / 2);
                for (int32_t c = base; c < end; c += 2) {
                    const int32_t d = ll_min(c + 1, end - 1);
                    const int32_t *s = sums + (c - base) * 2;
                    int32_t acc[4] = {s[0], s[2], s[1], s[3]};
                    ll_tile_less_s8(v, u, first + c * p->first, first + d * p->first, p->first,
                                    p->zero, acc);
                    for (int32_t k = ll_max(c, c0); k <= d; ++k) {
                        at.c = k;
                        at.x = x;
                        const LL_R made = store(&at, acc[k - c]);
                        if (pixels > 1) {
                            at.x = x + 1;
                            *LL_ELEMENT(LL_Y, out_row, x + 1, k, out) =
                                (LL_Y)store(&at, acc[k - c + 2]);
                        }
                        *LL_ELEMENT(LL_Y, out_row, x, k, out) = (LL_Y)made;
                    }
                }
            }
        }
    }
}

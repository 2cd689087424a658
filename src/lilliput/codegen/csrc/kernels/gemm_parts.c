/* A matrix of int8 times every pixel, of which training changes the first columns: four pixels
 * times two channels at a time.
 *
 * in[0]  x (rows, pixels, I)
 * in[1]  the other columns' weights, see `isa/generic.h`; channels and groups padded
 * in[2]  bias (O), zero point folded in with those weights alone
 * in[3]  the first columns' weights (O, first), as they lie
 * in[4]  with `adds` a bias (O) beside in[2], which is trained, too
 * then the epilogue's operands
 *
 * Four pixels become columns of int16, those of the first numbers less the zero point, so that no
 * sum over weights that change is wanted.  Sums of `chunk` channels begin with those of the packed
 * weights; the others join them there.
 *
 * scratch: columns; sums and what they begin with, of `chunk` channels
 */
#ifndef LL_GEMM_PARTS_PARAMS
#define LL_GEMM_PARTS_PARAMS
typedef struct {
    int32_t in_c, first, zero, adds, groups, chunk;
} ll_gemm_parts_params;

/* Columns of `count` numbers of four pixels, the last group filled up with `fill`. */
LL_INLINE void ll_parts_columns(int16_t *columns, const int8_t *const *from, int32_t count,
                                int32_t fill) {
    const int32_t whole = count / 4, rest = count % 4;
    if (whole) {
        ll_columns_4(columns, from, whole);
    }
    if (rest) {
        int8_t last[16];
        const int8_t *const each[4] = {last, last + 4, last + 8, last + 12};
        for (int32_t i = 0; i < 16; ++i) {
            last[i] = i % 4 < rest ? from[i / 4][whole * 4 + i % 4] : (int8_t)fill;
        }
        ll_columns_4(columns + whole * 16, each, 1);
    }
}

/* Sums of the last two channels, whose weights are `apart` bytes apart: nothing is read behind
 * them. */
LL_INLINE void ll_parts_last(const int16_t *columns, const int8_t *weights, int32_t *sums,
                             int32_t depth, int32_t apart) {
    const int32_t whole = depth / 4, rest = depth % 4;
    if (whole) {
        ll_rows_4(columns, weights, sums, whole, apart, 1);
    }
    if (rest) {
        int8_t last[8] = {0};
        for (int32_t k = 0; k < rest; ++k) {
            last[k] = weights[whole * 4 + k];
            last[k + 4] = weights[whole * 4 + k + apart];
        }
        ll_rows_4(columns + whole * 16, last, sums, 1, 4, 1);
    }
}

/* Sums of `channels` channels go on with the first numbers.  Of a last group that is not whole
 * columns have zeros, which meet the begin of the next row, where there is one.  An odd channel,
 * which only the end of all has, is its own twin. */
LL_INLINE void ll_parts_rows(const int16_t *columns, const int8_t *weights, int32_t *sums,
                             int32_t depth, int32_t channels, int32_t at_end) {
    const int32_t alone = (at_end && depth % 4) || channels % 2;
    const int32_t twos = (channels + 1) / 2 - alone;
    if (twos) {
        ll_rows_4(columns, weights, sums, (depth + 3) / 4, depth, twos);
    }
    if (alone) {
        ll_parts_last(columns, weights + twos * 2 * depth, sums + twos * 8, depth,
                      channels % 2 ? 0 : depth);
    }
}
#endif

/* The epilogue of channels [c0, c1) of `pixels` pixels from x on. */
LL_INLINE void LL_NAME(parts_store)(ll_at *at, const ll_out *out, uint8_t *out_row, int32_t x,
                                    int32_t pixels, const int32_t *sums, int32_t c0, int32_t c1,
                                    LL_R (*store)(const ll_at *, LL_ACC)) {
    for (int32_t c = c0; c < c1; ++c, sums += 4) {
        LL_R made[4];
        at->c = c;
#pragma GCC unroll 4
        for (int32_t i = 0; i < pixels; ++i) {
            at->x = x + i;
            made[i] = store(at, sums[i]);
        }
#pragma GCC unroll 4
        for (int32_t i = 0; i < pixels; ++i) {
            *LL_ELEMENT(LL_Y, out_row, x + i, c, out) = (LL_Y)made[i];
        }
    }
}

LL_INLINE void LL_NAME(gemm_parts)(const ll_gemm_parts_params *p, const ll_in *in,
                                   const ll_out *out, const ll_region *r, void *scratch,
                                   const ll_in *operands, int32_t count,
                                   LL_R (*store)(const ll_at *, LL_ACC)) {
    const int8_t *rest = (const int8_t *)in[1].base;
    const int32_t *bias = (const int32_t *)in[2].base;
    const int8_t *first = (const int8_t *)in[3].base - in[3].first * p->first;
    const int32_t *own = p->adds ? (const int32_t *)in[4].base : 0;
    const int32_t fronts = (p->first + 3) / 4;
    int16_t *const front = (int16_t *)scratch, *const back = front + fronts * 16;
    int32_t *const sums = (int32_t *)(void *)(back + p->groups * 16);
    int32_t *const begin = sums + p->chunk * 4;
    const int32_t more = ll_merged(r, &in[0], out, operands, count);
    const int32_t x1 = r->x1 + more, y1 = more ? r->y0 + 1 : r->y1;
    ll_at at;
    for (int32_t y = r->y0; y < y1; ++y) {
        const uint8_t *in_row = ll_in_row(&in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        ll_at_row(&at, operands, count, y);
        for (int32_t x = r->x0; x < x1; x += 4) {
            const int32_t pixels = ll_min(x1 - x, 4);
            const int8_t *from[4];
            for (int32_t i = 0; i < 4; ++i) {
                from[i] = (const int8_t *)in_row + (x + (i < pixels ? i : 0)) * in[0].pixel;
            }
            ll_parts_columns(front, from, p->first, p->zero);
            if (p->zero) {
                ll_columns_less(front, p->zero, fronts * 4);
            }
            for (int32_t i = 0; i < 4; ++i) {
                from[i] += p->first;
            }
            ll_parts_columns(back, from, p->in_c - p->first, 0);
            for (int32_t base = r->c0 & ~1; base < r->c1; base += p->chunk) {
                const int32_t end = ll_min(base + p->chunk, r->c1), c0 = ll_max(base, r->c0);
                for (int32_t c = base; c < end; ++c) {
                    begin[c - base] = own ? ll_wrap_add(bias[c], own[c]) : bias[c];
                }
                if ((end - base) % 2) {
                    begin[end - base] = 0; /* of the twin that an odd one lacks */
                }
                ll_sums_4(back, rest + base * p->groups * 4, begin, sums, p->groups,
                          (end - base + 1) / 2);
                ll_parts_rows(front, first + base * p->first, sums, p->first, end - base,
                              end == r->c1);
                if (!LL_SMALL && pixels == 4) {
                    LL_NAME(parts_store)
                    (&at, out, out_row, x, 4, sums + (c0 - base) * 4, c0, end, store);
                } else {
                    LL_NAME(parts_store)
                    (&at, out, out_row, x, pixels, sums + (c0 - base) * 4, c0, end, store);
                }
            }
        }
    }
}

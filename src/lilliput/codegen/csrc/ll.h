/* The calling convention of every kernel.
 *
 *     kernel(params, in[], out[], region, scratch)
 *
 * A kernel computes a box of its output: rows [y0, y1), pixels [x0, x1), channels [c0, c1).
 * The whole layer is the special case of one box.  Operands are views: a base address, the
 * bytes between rows, between pixels and between channels, and the number of rows that the
 * buffer holds; row y of the map lies in slot (first + y) % ring, or where a table says, in line
 * buffers that share their bytes.  In the layout "rows" the channels of a pixel are neighbours; in
 * "planes" the pixels of a channel's row are.
 *
 * What a kernel stores goes through its epilogue: an inline function from the accumulator
 * to the element, which may read other operands at the same place (residuals, per-channel
 * multipliers).  Everything here is inline; nothing needs a library but memcpy and memset.
 */
#ifndef LL_H
#define LL_H

#include <stdint.h>

#ifndef LL_SMALL
#define LL_SMALL 0 /* 1 where small code is worth more than fast code */
#endif

/* Kernels are compiled for the parameters of each layer.  A build with sanitizers says
 * `static inline` instead: it would check every copy, and take minutes for it. */
#ifndef LL_INLINE
#define LL_INLINE static inline __attribute__((always_inline))
#endif
#define LL_NOINLINE static __attribute__((noinline))
/* A function written in assembly: compilers see neither that it reads its arguments nor which
 * registers it changes, so they must not adapt it to its callers. */
#if __has_attribute(noipa)
#define LL_ASSEMBLY __attribute__((naked, noinline, unused, noipa)) static
#else
#define LL_ASSEMBLY __attribute__((naked, noinline, unused)) static
#endif
/* Before a loop of a few turns, whose number is known where it is compiled for speed. */
#if LL_SMALL
#define LL_UNROLLED
#else
#define LL_UNROLLED _Pragma("GCC unroll 8")
#endif
#define LL_CAT_(a, b) a##_##b
#define LL_CAT(a, b) LL_CAT_(a, b)
#define LL_WHOLE INT32_MAX /* ring of a view that holds every row */

/* Ends every step: what it wrote is memory that others read, whatever the types.  Without it
 * GCC 12 takes a step for a constant function and drops the call when its loop optimiser has
 * rewritten an address so that it seems to start at null ("NULL memory access" in the dump of
 * local-pure-const), and type-based alias analysis could see across steps.  It costs nothing.
 */
#define LL_STEP_END() __asm__ volatile("" ::: "memory")

typedef struct {
    const void *base;
    int32_t row;          /* bytes between rows, 0 to repeat one row; the unit of `rows` */
    int32_t pixel;        /* bytes between pixels, 0 to repeat one pixel */
    int32_t ring;         /* rows held, LL_WHOLE when all are */
    int32_t first;        /* slot of row 0, for rings that turn between calls; of weights that are
                             brought in slices: the first output channel that is here */
    int32_t plane;        /* bytes between channels; the element's size in the layout "rows" */
    const uint16_t *rows; /* where each row begins; null where the ring says it */
} ll_in;

typedef struct {
    void *base;
    int32_t row;
    int32_t pixel;
    int32_t ring;
    int32_t first;
    int32_t plane;
    const uint16_t *rows;
} ll_out;

typedef struct {
    int32_t y0, y1, x0, x1, c0, c1;
} ll_region;

LL_INLINE int32_t ll_slot(int32_t y, int32_t ring, int32_t first) {
    return ring == LL_WHOLE ? y : (y + first) % ring;
}

LL_INLINE const uint8_t *ll_in_row(const ll_in *v, int32_t y) {
    return (const uint8_t *)v->base +
           (v->rows ? v->rows[y] : ll_slot(y, v->ring, v->first)) * v->row;
}

LL_INLINE uint8_t *ll_out_row(const ll_out *v, int32_t y) {
    return (uint8_t *)v->base + (v->rows ? v->rows[y] : ll_slot(y, v->ring, v->first)) * v->row;
}

/* rows[k]: the row of the map `view` under row k of the window of output row y, 0 outside the map.
 * p: a kernel's in_h, out_h (rows of one image), kh, stride_h, dilation_h and pad_top. */
#define LL_WINDOW_ROWS(rows, p, view, y)                                                           \
    do {                                                                                           \
        const int32_t ll_image = (y) / (p)->out_h;                                                 \
        const int32_t ll_top = ((y)-ll_image * (p)->out_h) * (p)->stride_h - (p)->pad_top;         \
        for (int32_t ll_k = 0; ll_k < (p)->kh; ++ll_k) {                                           \
            const int32_t ll_y = ll_top + ll_k * (p)->dilation_h;                                  \
            const int32_t ll_is_inside = ll_y >= 0 && ll_y < (p)->in_h;                            \
            (rows)[ll_k] = ll_is_inside ? ll_in_row(view, ll_image * (p)->in_h + ll_y) : 0;        \
        }                                                                                          \
    } while (0)

/* Where an epilogue is: the current row of each of its operands, the pixel, the channel. */
#define LL_AT_MAX 8
typedef struct {
    const uint8_t *row[LL_AT_MAX];
    int32_t x, c;
} ll_at;

/* Without a loop, so that arrays of views that are known fall apart into numbers. */
LL_INLINE void ll_at_row(ll_at *at, const ll_in *operands, int32_t count, int32_t y) {
#define LL_AT_ROW(i)                                                                               \
    if (count > (i)) {                                                                             \
        at->row[i] = ll_in_row(&operands[i], y);                                                   \
    }
    LL_AT_ROW(0)
    LL_AT_ROW(1)
    LL_AT_ROW(2)
    LL_AT_ROW(3)
    LL_AT_ROW(4)
    LL_AT_ROW(5)
    LL_AT_ROW(6)
    LL_AT_ROW(7)
#undef LL_AT_ROW
}

/* Where element (x, c) of the row at `row` is stored. */
#define LL_ELEMENT(type, row, x, c, view)                                                          \
    ((type *)(void *)((row) + (x) * (view)->pixel + (c) * (view)->plane))

LL_INLINE int32_t ll_min(int32_t a, int32_t b) {
    return a < b ? a : b;
}

LL_INLINE int32_t ll_max(int32_t a, int32_t b) {
    return a > b ? a : b;
}

LL_INLINE int ll_is_within(int32_t v, int32_t low, int32_t high) {
    return v >= low && v <= high;
}

LL_INLINE int32_t ll_clamp(int32_t v, int32_t low, int32_t high) {
    return ll_min(ll_max(v, low), high);
}

/* Whether the rows of a view follow one another, `width` pixels each; what an epilogue repeats
 * for every row and pixel does. */
LL_INLINE int32_t ll_follows(int32_t row, int32_t pixel, int32_t ring, int32_t width) {
    const int32_t repeats = row == 0 && (pixel == 0 || width == 1);
    return ring == LL_WHOLE && (repeats || (width > 1 && row == width * pixel));
}

/* Pixels by which the first row grows when the rows of a region follow one another in in[0], the
 * output and every operand, so that they can be taken as one; 0 where they do not. */
LL_INLINE int32_t ll_merged(const ll_region *r, const ll_in *in, const ll_out *out,
                            const ll_in *operands, int32_t count) {
    const int32_t width = r->x1;
    int32_t follow = r->x0 == 0 && out->ring == LL_WHOLE && out->row == width * out->pixel &&
                     in->ring == LL_WHOLE && in->row == width * in->pixel;
#define LL_FOLLOWS(i)                                                                              \
    if (count > (i)) {                                                                             \
        follow =                                                                                   \
            follow && ll_follows(operands[i].row, operands[i].pixel, operands[i].ring, width);     \
    }
    LL_FOLLOWS(0)
    LL_FOLLOWS(1)
    LL_FOLLOWS(2)
    LL_FOLLOWS(3)
    LL_FOLLOWS(4)
    LL_FOLLOWS(5)
    LL_FOLLOWS(6)
    LL_FOLLOWS(7)
#undef LL_FOLLOWS
    return follow ? (r->y1 - r->y0 - 1) * width : 0;
}

#endif

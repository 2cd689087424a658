/* The Fourier transform of n real numbers in 32-bit fixed point, divided by n.
 *
 * in[0]  x (rows, pixels, n)
 * in[1]  -sin (upper half of a word) and -cos (lower half) of 2 pi k / n in Q15, k = 0 .. n/4
 *
 * The result holds real and imaginary parts in turns, n/2 + 1 of them.  It is the transform of
 * n/2 complex numbers, by decimation in time within the output, taken apart.  Sums wrap; none
 * does where |x| <= 2^30.  Needs whole pixels: r->c0 = 0, r->c1 = n + 2.
 */
#ifndef LL_RFFT_PARAMS
#define LL_RFFT_PARAMS
typedef struct {
    int32_t n;
} ll_rfft_params;

typedef struct {
    int32_t re, im;
} ll_complex;

LL_INLINE ll_complex ll_plus(ll_complex a, ll_complex b) {
    const ll_complex y = {ll_wrap_add(a.re, b.re), ll_wrap_add(a.im, b.im)};
    return y;
}

LL_INLINE ll_complex ll_minus(ll_complex a, ll_complex b) {
    const ll_complex y = {ll_wrap_sub(a.re, b.re), ll_wrap_sub(a.im, b.im)};
    return y;
}

LL_INLINE ll_complex ll_shifted(ll_complex a, int32_t n) {
    const ll_complex y = {a.re >> n, a.im >> n};
    return y;
}

/* Half of exp(-i angle) * a; its real part is negative. */
LL_INLINE ll_complex ll_turned(ll_complex a, int32_t w) {
    const ll_complex y = {
        ll_wrap_add(ll_mulw_low(a.re, w), ll_mulw_high(a.im, w)),
        ll_wrap_sub(ll_mulw_high(a.re, w), ll_mulw_low(a.im, w)),
    };
    return y;
}

/* Transforms of four numbers each, n/8 apart in x, divided by four. */
LL_INLINE void ll_rfft_first(const ll_complex *x, ll_complex *z, int32_t half) {
    const int32_t quarter = half / 4;
    int32_t at = 0; /* k with its bits turned around */
    for (int32_t k = 0; k < quarter; ++k, z += 4) {
        const ll_complex a = ll_shifted(x[at], 2), b = ll_shifted(x[at + 2 * quarter], 2);
        const ll_complex c = ll_shifted(x[at + quarter], 2);
        const ll_complex d = ll_shifted(x[at + 3 * quarter], 2);
        const ll_complex s = ll_plus(a, b), e = ll_minus(a, b);
        const ll_complex t = ll_plus(c, d), f = ll_minus(c, d);
        z[0] = ll_plus(s, t);
        z[1].re = ll_wrap_add(e.re, f.im);
        z[1].im = ll_wrap_sub(e.im, f.re);
        z[2] = ll_minus(s, t);
        z[3].re = ll_wrap_sub(e.re, f.im);
        z[3].im = ll_wrap_add(e.im, f.re);
        int32_t bit = quarter >> 1;
        for (; at & bit; bit >>= 1) {
            at -= bit;
        }
        at += bit;
    }
}

/* Two transforms of half of `length` become one, halved; the twiddles of the second quarter are
 * -i times those of the first. */
LL_INLINE void ll_rfft_group(ll_complex *z, const int32_t *w, int32_t quarter, int32_t step) {
    for (int32_t k = 0; k < quarter; ++k, ++z, w += step) {
        const ll_complex u = ll_shifted(z[0], 1), t = ll_turned(z[2 * quarter], *w);
        z[0].re = ll_wrap_sub(u.re, t.re);
        z[0].im = ll_wrap_add(u.im, t.im);
        z[2 * quarter].re = ll_wrap_add(u.re, t.re);
        z[2 * quarter].im = ll_wrap_sub(u.im, t.im);
        const ll_complex v = ll_shifted(z[quarter], 1), q = ll_turned(z[3 * quarter], *w);
        z[quarter].re = ll_wrap_add(v.re, q.im);
        z[quarter].im = ll_wrap_add(v.im, q.re);
        z[3 * quarter].re = ll_wrap_sub(v.re, q.im);
        z[3 * quarter].im = ll_wrap_sub(v.im, q.re);
    }
}

/* From the transform of (even + i odd) to that of the real numbers, halved. */
LL_INLINE void ll_rfft_apart(ll_complex *z, const int32_t *w, int32_t half) {
    const ll_complex first = ll_shifted(z[0], 1);
    z[0].re = ll_wrap_add(first.re, first.im);
    z[half].re = ll_wrap_sub(first.re, first.im);
    z[0].im = 0;
    z[half].im = 0;
    for (int32_t k = 1; k <= half / 2; ++k) {
        const ll_complex a = ll_shifted(z[k], 1), b = ll_shifted(z[half - k], 1);
        const ll_complex odd = {ll_wrap_add(a.im, b.im), ll_wrap_sub(b.re, a.re)};
        const int32_t even_re = ll_wrap_add(a.re, b.re) >> 1;
        const int32_t even_im = ll_wrap_sub(a.im, b.im) >> 1;
        const ll_complex t = ll_turned(odd, w[k]);
        z[half - k].re = ll_wrap_add(even_re, t.re);
        z[half - k].im = ll_wrap_sub(t.im, even_im);
        z[k].re = ll_wrap_sub(even_re, t.re);
        z[k].im = ll_wrap_add(even_im, t.im);
    }
}
#endif

LL_INLINE void LL_NAME(rfft)(const ll_rfft_params *p, const ll_in *in, const ll_out *out,
                             const ll_region *r, void *scratch, const ll_in *operands,
                             int32_t count, LL_R (*store)(const ll_at *, LL_ACC)) {
    const int32_t *twiddles = (const int32_t *)in[1].base;
    const int32_t half = p->n / 2;
    (void)scratch;
    (void)operands;
    (void)count;
    (void)store;
    for (int32_t y = r->y0; y < r->y1; ++y) {
        const uint8_t *in_row = ll_in_row(&in[0], y);
        uint8_t *out_row = ll_out_row(out, y);
        for (int32_t x = r->x0; x < r->x1; ++x) {
            ll_complex *z = (ll_complex *)(void *)(out_row + x * out->pixel);
            ll_rfft_first((const ll_complex *)(const void *)(in_row + x * in[0].pixel), z, half);
            for (int32_t length = 8; length <= half; length *= 2) {
                for (int32_t k = 0; k < half; k += length) {
                    ll_rfft_group(z + k, twiddles, length / 4, p->n / length);
                }
            }
            ll_rfft_apart(z, twiddles, half);
        }
    }
}

"""exp, log, sin, erf, sqrt ... in float32, with every operation in a defined order.

The NumPy twin of `codegen/csrc/float.h`, bit for bit: both do the same float32 additions,
multiplications and divisions one after the other, without fused multiply-add, so that a
network's floats are the same on every host and core.  The errors against the exact
functions are in docs/numerics.md and asserted in the tests.  It is not a general maths
library: arguments are finite or infinite float32, NaN gives NaN, there are no flags.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]

LN2_HIGH = np.float32(0.693359375)
LN2_LOW = np.float32(-2.12194440e-4)
LOG2_E = np.float32(1.44269504)
SQRT_2 = np.float32(1.41421354)

EXP_POLY = (
    0.0013951719738543034,
    0.008369598537683487,
    0.0416661873459816,
    0.16666512191295624,
    0.5,
)
"""(exp(r) - 1 - r) / r^2 on |r| <= ln(2)/2, highest power first."""

LOG_POLY = (
    0.06915653496980667,
    -0.11794112622737885,
    0.11875060200691223,
    -0.12383795529603958,
    0.14218328893184662,
    -0.16669270396232605,
    0.20002242922782898,
    -0.24999986588954926,
    0.3333331048488617,
)
"""(log(1+f) - f + f^2/2) / f^3 on sqrt(1/2) <= 1+f <= sqrt(2), highest power first."""

SIN_POLY = (-0.0001951665326487273, 0.008332173340022564, -0.16666655242443085)
"""(sin(r)/r - 1) / r^2 in r^2 on |r| <= pi/4, highest power first."""

COS_POLY = (2.443875746394042e-05, -0.0013887372333556414, 0.04166664555668831)
"""(cos(r) - 1 + r^2/2) / r^4 in r^2 on |r| <= pi/4, highest power first."""

ERF_POLY = (
    7.889120024628937e-05,
    -0.0008020841632969677,
    0.005189535208046436,
    -0.026854444295167923,
    0.11283600330352783,
    -0.3761262595653534,
    0.12837916612625122,
)
"""erf(x)/x - 1 in x^2 on |x| <= 1, highest power first."""

LOG_ERFC_POLY = (
    0.00018557517614681274,
    -0.002939618658274412,
    0.02180536277592182,
    -0.10303746163845062,
    -0.6382255554199219,
    -1.127040147781372,
    -0.0003537039738148451,
)
"""log(1 - erf(x)) on 1 <= x <= 4, highest power first; beyond, erf rounds to 1."""

TWO_OVER_PI = np.array(
    (0, 0xA2F9836E, 0x4E441529, 0xFC2757D1, 0xF534DDC0, 0xDB629599, 0x3C439041, 0xFE5163AB),
    np.uint64,
)
"""2/pi as a binary fraction behind 32 zero bits, 32 bits a word."""

QUARTER_PI = np.float32(0.7853981852531433)
RADIANS_Q62 = np.float32(3.4061217e-19)
"""pi/2 * 2^-62: a fraction of a quadrant, as an integer, in radians."""

SQRT_HALF = np.float32(0.70710677)
SQRT_2_OVER_PI = np.float32(0.7978846)
GELU_CUBE = np.float32(0.044715)

TANH_POLY = (
    -0.005709497258067131,
    0.020644135773181915,
    -0.05374162271618843,
    0.13331469893455505,
    -0.3333328366279602,
)
"""(tanh(x)/x - 1) / x^2 in x^2 on |x| <= 0.625, highest power first."""


def _poly(x: F32, coefficients: tuple[float, ...]) -> F32:
    result = np.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        result = result * x + np.float32(c)
    return result


def _quiet() -> np.errstate:
    return np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore")


def _power_of_two(n: npt.NDArray[np.int32]) -> F32:
    return ((n + 127) << 23).astype(np.int32).view(np.float32)


def exp(x: npt.ArrayLike) -> F32:
    """e^x within 1 ULP; 0 below -104, infinity above 88.73, subnormals between."""
    x = np.asarray(x, np.float32)
    with _quiet():
        bounded = np.where(np.isnan(x), np.float32(0), np.clip(x, np.float32(-104), np.float32(89)))
        t = bounded * LOG2_E
        n = np.trunc(t + np.where(t < 0, np.float32(-0.5), np.float32(0.5))).astype(np.int32)
        k = n.astype(np.float32)
        r = ((bounded - k * LN2_HIGH) - k * LN2_LOW).astype(np.float32)
        p = (_poly(r, EXP_POLY) * (r * r) + r) + np.float32(1)
        result = (p * _power_of_two(n >> 1)) * _power_of_two(n - (n >> 1))
    return np.where(np.isnan(x), x, result)


def log(x: npt.ArrayLike) -> F32:
    """Natural logarithm within 1 ULP; -infinity at 0, NaN below."""
    x = np.asarray(x, np.float32)
    usable = np.isfinite(x) & (x > 0)
    normal = np.where(usable, x, np.ones_like(x))
    tiny = normal < np.float32(1.17549435e-38)
    normal = normal * np.where(tiny, np.float32(8388608.0), np.ones_like(x))
    bits = normal.astype(np.float32).view(np.int32)
    e = (bits >> 23) - np.where(tiny, 127 + 23, 127).astype(np.int32)
    m = ((bits & 0x007FFFFF) | 0x3F800000).astype(np.int32).view(np.float32)
    high = m > SQRT_2
    f = np.where(high, m * np.float32(0.5), m) - np.float32(1)
    k = (e + high).astype(np.float32)
    z = f * f
    y = (f * z) * _poly(f, LOG_POLY)
    y = (y + k * LN2_LOW) - np.float32(0.5) * z
    result = np.where(usable, (f + y) + k * LN2_HIGH, x)
    result = np.where(x == 0, np.float32(-np.inf), result)
    return np.where(x < 0, np.float32(np.nan), result)


def tanh(x: npt.ArrayLike) -> F32:
    """Within 2 ULP; odd, exactly +-1 from 9.02 on."""
    x = np.asarray(x, np.float32)
    a = np.abs(x)
    near = a < np.float32(0.625)
    v = np.where(near, x, np.zeros_like(x))
    with _quiet():
        z = v * v
        small = (_poly(z, TANH_POLY) * z) * v + v
        e = exp(np.float32(2) * np.where(a > 10, np.float32(10), a))
        large = np.float32(1) - np.float32(2) / (e + np.float32(1))
    return np.where(near, small, np.where(x < 0, -large, large))


def logistic(x: npt.ArrayLike) -> F32:
    """1 / (1 + e^-x) within 2 ULP where it is not subnormal."""
    x = np.asarray(x, np.float32)
    e = exp(-np.abs(x))
    with _quiet():
        low, high = e - e * e / (np.float32(1) + e), np.float32(1) / (np.float32(1) + e)
    return np.where(x < 0, low, high)


def sqrt(x: npt.ArrayLike) -> F32:
    """Correctly rounded, as IEEE 754 wants it; NaN below 0."""
    with _quiet():
        return np.sqrt(np.asarray(x, np.float32))


def rsqrt(x: npt.ArrayLike) -> F32:
    """1 / sqrt(x), two roundings; infinity at 0, NaN below."""
    with _quiet():
        return np.float32(1) / sqrt(x)


def _quadrant(a: F32) -> tuple[F32, npt.NDArray[np.uint64]]:
    """(radians from the nearest multiple of pi/2, that multiple modulo 4) of finite a >= 0.

    a = m 2^e times 2/pi, kept modulo 4 with 62 bits of fraction: from the bits of 2/pi those
    are left out that contribute whole turns, so that the reduction is exact for any a.
    """
    bits = a.view(np.uint32).astype(np.uint64)
    m = (bits & np.uint64(0x007FFFFF)) | np.uint64(0x00800000)
    start = np.maximum(bits >> np.uint64(23), np.uint64(126)) - np.uint64(120)
    word, shift = (start >> np.uint64(5)).astype(np.int64), start & np.uint64(31)

    def window(k: int) -> npt.NDArray[np.uint64]:
        pair = (TWO_OVER_PI[word + k] << np.uint64(32)) | TWO_OVER_PI[word + k + 1]
        return (pair << shift) >> np.uint64(32)

    turns = ((m * window(0)) << np.uint64(32)) + m * window(1) + ((m * window(2)) >> np.uint64(32))
    quadrant = (turns + np.uint64(1 << 61)) >> np.uint64(62)
    fraction = (turns - (quadrant << np.uint64(62))).view(np.int64)
    near = a <= QUARTER_PI
    radians = np.where(near, a, fraction.astype(np.float32) * RADIANS_Q62)
    return radians, np.where(near, np.uint64(0), quadrant)


def _circular(x: npt.ArrayLike, ahead: int, odd: bool) -> F32:
    """sin(x + ahead * pi/2), with the sign of x where the function is odd."""
    x = np.asarray(x, np.float32)
    finite = np.isfinite(x)
    r, quadrant = _quadrant(np.abs(np.where(finite, x, np.float32(0))))
    quadrant = quadrant + np.uint64(ahead)
    z = r * r
    sine = r + r * (z * _poly(z, SIN_POLY))
    cosine = (np.float32(1) - np.float32(0.5) * z) + (z * z) * _poly(z, COS_POLY)
    y = np.where(quadrant & np.uint64(1), cosine, sine)
    negative = (quadrant & np.uint64(2)).astype(bool) ^ (odd & np.signbit(x))
    return np.where(finite, np.where(negative, -y, y), np.float32(np.nan))


def sin(x: npt.ArrayLike) -> F32:
    """Within 3 ULP for every finite x; NaN at infinity."""
    return _circular(x, 0, odd=True)


def cos(x: npt.ArrayLike) -> F32:
    """Within 3 ULP for every finite x; NaN at infinity."""
    return _circular(x, 1, odd=False)


def erf(x: npt.ArrayLike) -> F32:
    """Within 2 ULP; odd, exactly +-1 from 4 on."""
    x = np.asarray(x, np.float32)
    a = np.abs(x)
    near = a < np.float32(1)
    with _quiet():
        v = np.where(near, x, np.zeros_like(x))
        small = v + v * _poly(v * v, ERF_POLY)
        bounded = np.where(a > 4, np.float32(4), a)
        large = np.float32(1) - exp(_poly(bounded, LOG_ERFC_POLY))
    return np.where(near, small, np.where(x < 0, -large, large))


def gelu(x: F32) -> F32:
    """x times the normal distribution function at x, by erf."""
    y = (x * np.float32(0.5)) * (erf(x * SQRT_HALF) + np.float32(1))
    return y.astype(np.float32)


def gelu_tanh(x: F32) -> F32:
    """The usual approximation of gelu by tanh of a cubic."""
    cubic = x + ((x * GELU_CUBE) * x) * x
    y = (x * np.float32(0.5)) * (tanh(cubic * SQRT_2_OVER_PI) + np.float32(1))
    return y.astype(np.float32)

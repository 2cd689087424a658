"""pow, floor_div and floor_mod of two float32, with every operation in a defined order.

The NumPy twin of the floats in `codegen/csrc/arithmetic.h`, bit for bit.  Powers and
quotients are worked out in float64, one IEEE operation after the other and never fused, and
rounded to float32 once; remainders are exact.  Not for functions of one element, which are
float32 throughout and in `floatmath`.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

LN2 = math.log(2)
LOG2_E = 1 / math.log(2)
ARTANH_POLY = tuple(1 / (2 * k + 1) for k in range(7, -1, -1))
"""artanh(s) / s in s^2, highest power first."""
EXP_POLY = tuple(1 / math.factorial(k) for k in range(10, -1, -1))
LARGEST, SMALLEST = 89.0, -104.0
"""Beyond these logarithms float32 has infinity and zero."""


def _poly(x: F64, coefficients: tuple[float, ...]) -> F64:
    result = np.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        result = result * x + c
    return result


def _log(x: F64) -> F64:
    """Natural logarithm of positive finite numbers, to 2^-44 of itself."""
    half, k = np.frexp(x)
    m, k = half * 2, k - 1
    high = m > math.sqrt(2)
    m, k = np.where(high, m * 0.5, m), k + high
    s = (m - 1) / (m + 1)
    return k * LN2 + (s + s) * _poly(s * s, ARTANH_POLY)


def _exp(t: F64) -> F64:
    u = t * LOG2_E
    n = np.trunc(u + np.where(u < 0, -0.5, 0.5))
    return np.ldexp(_poly(t - n * LN2, EXP_POLY), n.astype(np.int32))


def _parity(y: F32) -> npt.NDArray[np.int64]:
    """0 unless y is an integer, 1 where it is odd, 2 where it is even."""
    size = np.abs(y)
    small = size < 2**24
    n = np.where(small, size, 0).astype(np.int64)
    return np.where(small, np.where(n == size, 2 - (n & 1), 0), 2)


def power(x: npt.ArrayLike, y: npt.ArrayLike) -> F32:
    """x^y within 1 ULP, as C's pow at zeros, ones and infinities; NaN for fractional powers of
    negative numbers."""
    x, y = np.broadcast_arrays(np.asarray(x, np.float32), np.asarray(y, np.float32))
    size, parity = np.abs(x), _parity(y)
    endless = (size == 0) | np.isinf(size)
    usable = ~endless & ~np.isnan(x) & ~np.isnan(y)
    with np.errstate(all="ignore"):
        t = y.astype(np.float64) * _log(np.where(usable, size, 1).astype(np.float64))
        inside = (t <= LARGEST) & (t >= SMALLEST)
        finite = _exp(np.where(inside, t, 0)).astype(np.float32)
    ends = np.where((size == 0) == (y < 0), np.float32(np.inf), np.float32(0))
    outside = np.where(t > LARGEST, np.float32(np.inf), np.float32(0))
    result = np.where(endless, ends, np.where(inside, finite, outside))
    result = np.where(size == 1, np.float32(1), result)
    result = np.where((parity == 1) & np.signbit(x), -result, result)
    lost = np.isnan(x) | np.isnan(y) | ((x < 0) & (parity == 0) & np.isfinite(size))
    result = np.where(lost, np.float32(np.nan), result)
    return np.where((y == 0) | (x == 1), np.float32(1), result).astype(np.float32)


def floor_div(a: npt.ArrayLike, b: npt.ArrayLike) -> F32:
    """floor(a / b) with the quotient in float64; infinite or NaN for b = 0."""
    wide = [np.asarray(v, np.float32).astype(np.float64) for v in (a, b)]
    with np.errstate(all="ignore"):
        return np.floor(np.divide(*wide)).astype(np.float32)


def floor_mod(a: npt.ArrayLike, b: npt.ArrayLike) -> F32:
    """a less the multiple of b below it, with the sign of b; NaN for b = 0 and infinite a."""
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    with np.errstate(all="ignore"):
        rest = np.fmod(a, b)
        return np.where((rest != 0) & ((rest < 0) != (b < 0)), rest + b, rest).astype(np.float32)

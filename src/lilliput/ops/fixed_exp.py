"""Fixed-point exp, log, 1/(1+x), 1/sqrt on 32-bit integers, and tables: softmax's arithmetic.

The NumPy twin of `codegen/csrc/fixed_point.h`, equal for every input.  Qm.n is an int32
with m integer and n fraction bits.  The values are those of TFLite's reference kernels:
exp by a polynomial around -1/8 and one factor for each set bit of the rest, the
reciprocal by three Newton steps, 1/sqrt by five, log by a rational function around
2^(-1/4).  No floats, except where a table is built.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from lilliput.ops.numeric import INT32_MAX, INT32_MIN, Ints, mulh_round, shr_round, wrap32

Table = npt.NDArray[np.int16]
F32 = npt.NDArray[np.float32]

_EXP_EIGHTH = round(math.exp(-0.125) * 2**31)
_THIRD = round(2**31 / 3)
_EXP_POWERS = tuple((k, round(math.exp(-(2.0**k)) * 2**31)) for k in range(-2, 5))
"""(k, exp(-2^k) in Q0.31)"""
_48_17 = round(48 / 17 * 2**29)
_M32_17 = round(-32 / 17 * 2**29)
_LN2 = round(math.log(2) * 2**31)
_SQRT_HALF = round(math.sqrt(0.5) * 2**31)
_ROOT = round(0.5**0.25 * 2**31)
"""The middle of the mantissas whose logarithm is approximated, 2^(-1/4)."""
_NUMERATOR = round(11 / 240 * 2**0.25 * 2**31)
_DENOMINATOR = round(2**0.25 / 20 * 2**31)
_DENOMINATOR_ONE = round((2 / 2**0.25 - 2**0.25) * 2**31)
_DENOMINATOR_FAR = round(2**0.25 / 4 * 2**31)


def shl_saturate(a: npt.ArrayLike, n: int) -> Ints:
    """a * 2^n within int32 (SaturatingRoundingMultiplyByPOT for n > 0)."""
    return np.clip(np.asarray(a, np.int64) << n, INT32_MIN, INT32_MAX)


def exp_negative(a: npt.ArrayLike, integer_bits: int) -> Ints:
    """exp of a Qm.(31-m) number <= 0, in Q0.31; exp(0) is 2^31 - 1."""
    a, fraction = np.asarray(a, np.int64), 31 - integer_bits
    quarter = np.int64(1) << (fraction - 2)
    rest = (a & (quarter - 1)) - quarter
    x = (rest << integer_bits) + (1 << 28)
    x2 = mulh_round(x, x)
    x3, x4 = mulh_round(x2, x), mulh_round(x2, x2)
    tail = shr_round(mulh_round(shr_round(x4, 2) + x3, _THIRD) + x2, 1)
    result = _EXP_EIGHTH + mulh_round(_EXP_EIGHTH, x + tail)
    whole = rest - a
    for k, factor in _EXP_POWERS[: integer_bits + 2]:
        result = np.where((whole >> (fraction + k)) & 1, mulh_round(result, factor), result)
    return np.where(a == 0, INT32_MAX, result)


def two_over_one_plus(a: npt.ArrayLike) -> Ints:
    """2 / (1 + a) of a Q0.31 number in [0, 1), in Q2.29, by three Newton steps."""
    half = (np.asarray(a, np.int64) + INT32_MAX + 1) >> 1
    x = _48_17 + mulh_round(half, _M32_17)
    for _ in range(3):
        error = wrap32((1 << 29) - mulh_round(half, x))
        x = wrap32(x + shl_saturate(mulh_round(x, error), 2))
    return x


def reciprocal_q31(a: npt.ArrayLike) -> Ints:
    """1 / (1 + a) of a Q0.31 number in [0, 1), in Q0.31."""
    return shl_saturate(two_over_one_plus(a), 1)


def _leading_zeros(a: Ints) -> Ints:
    """Of int32 values > 0."""
    return 32 - np.frexp(a.astype(np.float64))[1].astype(np.int64)


def log_q26(a: npt.ArrayLike) -> Ints:
    """Natural logarithm of a Q12.19 number >= 1, in Q5.26.

    a = 2^k m: of two choices of k, for mantissas around 1 and around sqrt(1/2), the smaller
    mantissa r is taken; log r is a quotient in q = 2 (r - 2^(-1/4)).  Sums are in Q6.25.
    """
    a = np.asarray(a, np.int64)
    zeros = _leading_zeros(a)
    r_a = np.minimum(mulh_round(a << (zeros - 1), _SQRT_HALF) << 1, INT32_MAX)
    rotated = mulh_round(a, _SQRT_HALF)
    headroom = _leading_zeros(rotated) - 1
    r_b = np.minimum(a << headroom, INT32_MAX)
    power = np.maximum(((12 - zeros) << 25) + (1 << 23), ((12 - headroom) << 25) - (1 << 23))
    r = np.minimum(r_a, r_b)
    p, q = (r + _ROOT + 1) >> 1, 2 * (r - _ROOT)
    square = mulh_round(q, q)
    numerator = mulh_round(q, r) + mulh_round(mulh_round(q, square), _NUMERATOR)
    inner = _DENOMINATOR_ONE + q + mulh_round(_DENOMINATOR, square)
    inverse = reciprocal_q31(mulh_round(p, inner) + mulh_round(_DENOMINATOR_FAR, q))
    rest = mulh_round(shr_round(numerator, 6), inverse)
    return shl_saturate(wrap32(mulh_round(power, _LN2) + rest), 1)


def inverse_sqrt(a: npt.ArrayLike) -> tuple[Ints, Ints]:
    """1/sqrt of int32 values >= 0 as (mult, shift) for `requant`; of 0 as of 1.

    a is brought to [1, 4) in Q3.28 by a power of four; five Newton steps from 1.
    """
    a = np.maximum(np.asarray(a, np.int64), 1)
    bits = 32 - _leading_zeros(a)
    down = np.maximum(bits - 28, 0) >> 1
    up = np.where(bits > 29, 0, ((31 - bits) >> 1) - 1)
    half = shr_round(((a >> (2 * down)) << (2 * up)) >> 1, 1)
    x = np.full_like(a, 1 << 28)
    for _ in range(5):
        cube = shl_saturate(mulh_round(mulh_round(x, x), x), 6)
        x = shl_saturate(mulh_round(x, 3 << 27) - mulh_round(half, cube), 3)
    shift = up - 11 - down
    mult = mulh_round(x, _SQRT_HALF) << np.maximum(shift, 0)
    one = a == 1
    return np.where(one, INT32_MAX, mult), np.where(one, 0, np.minimum(shift, 0))


def table_513(
    function: Callable[[F32], F32],
    low: float | np.float32,
    high: float | np.float32,
    one: float | np.float32 = 32768.0,
) -> Table:
    """513 int16 values of `function` on [low, high], 1.0 as `one`, for `lookup_513`.

    Each sample is moved by half of the error that interpolation makes in the middle.
    float32 throughout, as TFLite has it; what is not finite saturates.
    """
    low, one = np.float32(low), np.float32(one)
    i = np.arange(513, dtype=np.float32)
    with np.errstate(all="ignore"):
        step = np.float32((high - low) / 512)
        at = function(low + i * step) * one
        at[512] = function(np.array([high], np.float32))[0] * one
        sample = _round(at)
        following = function(low + (i + np.float32(1)) * step) * one
        between = _round((following + sample) / np.float32(2))
        error = between - _round(function((low + i * step) + step / np.float32(2)) * one)
        moved = _round(error / np.float32(2))
    moved[512] = 0
    values = sample - np.where(np.isfinite(moved), moved, np.float32(0))
    return np.clip(np.nan_to_num(values, nan=0.0), -32768, 32767).astype(np.int16)


def _round(x: F32) -> F32:
    """To the nearest integer, ties away from zero."""
    wide = x.astype(np.float64)
    return np.copysign(np.floor(np.abs(wide) + 0.5), wide).astype(np.float32)


def lookup_513(value: npt.ArrayLike, table: Table) -> Ints:
    """The table of 513 entries at int16 `value`, interpolated linearly between neighbours."""
    value = np.asarray(value, np.int64)
    index = 256 + (value >> 7)
    base = table[index].astype(np.int64)
    slope = table[index + 1].astype(np.int64) - base
    return base + ((slope * (value & 127) + 64) >> 7)

"""Fixed-point exp and 1/(1+x) on 32-bit integers, and tables of functions: softmax's arithmetic.

The NumPy twin of `codegen/csrc/fixed_point.h`, equal for every input.  Qm.n is an int32
with m integer and n fraction bits.  The values are those of TFLite's reference kernels:
exp by a polynomial around -1/8 and one factor for each set bit of the rest, the
reciprocal by three Newton steps.  No floats, except where a table is built.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from lilliput.ops.numeric import INT32_MAX, INT32_MIN, Ints, mulh_round, shr_round, wrap32

Table = npt.NDArray[np.int16]

_EXP_EIGHTH = round(math.exp(-0.125) * 2**31)
_THIRD = round(2**31 / 3)
_EXP_POWERS = tuple((k, round(math.exp(-(2.0**k)) * 2**31)) for k in range(-2, 5))
"""(k, exp(-2^k) in Q0.31)"""
_48_17 = round(48 / 17 * 2**29)
_M32_17 = round(-32 / 17 * 2**29)


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


def table_513(function: Callable[[np.float32], np.float32], low: float, high: float) -> Table:
    """513 int16 values in Q0.15 of `function` on [low, high], for `lookup_513`.

    Each sample is moved by half of the error that interpolation makes in the middle.
    """
    step = np.float32((high - low) / 512)
    half, one = np.float32(step / 2), np.float32(32768.0)

    def at(x: np.float32) -> np.float32:
        return np.float32(function(x) * one)

    values: list[float] = []
    for i in range(512):
        x = np.float32(np.float32(low) + np.float32(np.float32(i) * step))
        following = np.float32(np.float32(low) + np.float32(np.float32(i + 1) * step))
        sample = _round(at(x))
        between = _round(float(np.float32(at(following) + np.float32(sample)) / np.float32(2)))
        error = between - _round(at(np.float32(x + half)))
        values.append(sample - _round(error / 2))
    values.append(_round(at(np.float32(high))))
    return np.clip(values, -32768, 32767).astype(np.int16)


def _round(x: float | np.float32) -> float:
    """To the nearest integer, ties away from zero."""
    return math.copysign(math.floor(abs(float(x)) + 0.5), float(x))


def lookup_513(value: npt.ArrayLike, table: Table) -> Ints:
    """The table of 513 entries at int16 `value`, interpolated linearly between neighbours."""
    value = np.asarray(value, np.int64)
    index = 256 + (value >> 7)
    base = table[index].astype(np.int64)
    slope = table[index + 1].astype(np.int64) - base
    return base + ((slope * (value & 127) + 64) >> 7)

"""The fixed-point functions behind TFLite's int8 and int16 activations, exact to the bit.

logistic and tanh of a Q4.27 number (int8: a table is made of them), both again on int16
by interpolation in a table of 256 values (the NumPy twin of `ll_logistic_s16` and
`ll_tanh_s16` in `codegen/csrc/elementwise.h`), and hard_swish on 16-bit significands.
The meanings are those of TFLite's reference kernels; constants are derived where they
stand.  No floats, except where a constant or table is built.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from lilliput.errors import TypeMismatch
from lilliput.ops.fixed_exp import exp_negative, shl_saturate, two_over_one_plus
from lilliput.ops.numeric import INT32_MAX, Ints, shr_round, wrap32


def _sigmoid_table() -> npt.NDArray[np.uint16]:
    def q16(k: float) -> float:
        return 2**16 / (1 + math.exp(-k / 24))

    missed = (q16(k + 0.5) - (q16(k) + q16(k + 1)) / 2 for k in range(255))
    values = [math.floor(q16(k) + error / 2 + 0.5) for k, error in enumerate(missed)]
    return np.array([*values, 2**16 - 1], np.uint16)


SIGMOID_TABLE = _sigmoid_table()
"""logistic(k / 24) in Q0.16, raised by half of what interpolation misses midway; ends in 1."""


def logistic_q27(a: Ints) -> Ints:
    """1 / (1 + exp(-a)) of a Q4.27 number, in Q0.31."""
    positive = shl_saturate(two_over_one_plus(exp_negative(-np.abs(a), 4)), 1)
    result = np.where(a > 0, positive, INT32_MAX - positive)
    return np.where(a == 0, 1 << 30, result)


def tanh_q27(a: Ints) -> Ints:
    """tanh of a Q4.27 number, in Q0.31."""
    # the same bits read as Q5.26 are twice the number: exp(-2 |a|)
    t = shl_saturate(two_over_one_plus(exp_negative(-np.abs(a), 5)) - (1 << 29), 2)
    return np.where(a == 0, 0, np.where(a < 0, -t, t))


def input_s16(scale: float, shifts: tuple[int, ...]) -> tuple[int, int]:
    """(mult, shift) that bring int16 of this scale to steps of 1/(3*4096), x*mult >> shift.

    Powers of two 2^(k-12), k in `shifts`, are multiplied by 3 << k exactly.
    """
    log2 = math.log2(scale)
    if abs(log2 - round(log2)) < 1e-3 and round(log2) + 12 in shifts:
        return 3 << (round(log2) + 12), 0
    mult, shift = scale * 4096.0 * 3.0, 0
    while mult <= 32767.0 / 2.0 and shift <= 30:
        shift += 1
        mult *= 2.0
    if mult > INT32_MAX:
        raise TypeMismatch("scale of an int16 operand", expected="below 174,762", found=scale)
    return int(mult), shift


def _rescaled_s16(x: Ints, mult: int, shift: int) -> Ints:
    return wrap32(x * mult + ((1 << shift) >> 1)) >> shift


def logistic_s16(x: Ints, mult: int, shift: int) -> Ints:
    """Q0.15 of logistic, interpolated in `SIGMOID_TABLE`."""
    v = _rescaled_s16(x, mult, shift)
    a = np.abs(v)
    k = np.minimum(a >> 9, 254)
    low, high = SIGMOID_TABLE[k].astype(np.int64), SIGMOID_TABLE[k + 1].astype(np.int64)
    r = np.where(a >> 9 >= 255, 0x7FFF << 10, (low << 9) + (a & 511) * (high - low))
    return np.where(v >= 0, r + 512, (1 << 25) - r + 511) >> 10


def tanh_s16(x: Ints, mult: int, shift: int) -> Ints:
    """Q0.15 of tanh = 2 logistic(2x) - 1, from the same table."""
    v = _rescaled_s16(x, mult, shift)
    a = np.abs(v)
    k = np.minimum(a >> 8, 254)
    low, high = SIGMOID_TABLE[k].astype(np.int64), SIGMOID_TABLE[k + 1].astype(np.int64)
    r = np.where(a >> 8 >= 255, 0xFFFF << 8, (low << 8) + (a & 255) * (high - low))
    return np.where(v >= 0, r - (1 << 23) + 128, -r + (1 << 23) + 127) >> 8


def _mulh_s16(a: npt.ArrayLike, b: int, *, rounded: bool) -> Ints:
    """a*b / 2^15 within int16, to nearest or towards zero."""
    product = np.asarray(a, np.int64) * b
    if rounded:
        product = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    quotient = np.where(product >= 0, product >> 15, -((-product) >> 15))
    return np.minimum(quotient, 32767)


def _saturate_s16(a: Ints) -> Ints:
    return np.clip(a, -32768, 32767)


def to_s16_multiplier(mult: int) -> int:
    """A multiplier of 31 bits rounded to 15."""
    return 32767 if mult >= 32767 << 16 else (mult + (1 << 15)) >> 16


def hard_swish_s8(x: Ints, out: tuple[int, int], gate: tuple[int, int]) -> Ints:
    """x * relu6(x + 3) / 6 before the output's zero point; x is int8 less its zero point.

    out, gate: (15-bit multiplier, exponent) from x * 128 to the output's scale (exponent
    <= 0), and to the scale on which 3.0 is 32768.
    """
    fine = x << 7
    scaled = _mulh_s16(fine, out[0], rounded=True)
    g = fine
    if gate[1] > 0:
        g = _saturate_s16(g << (gate[1] - 1))
    g = _mulh_s16(g, gate[0], rounded=True)
    g = _saturate_s16(g << 1) if gate[1] > 0 else shr_round(g, min(-gate[1], 31))
    g = (g + (1 << 15)) >> 1
    product = g * scaled
    high = np.where(product >= 0, product >> 15, -((-product) >> 15))
    return shr_round(high, min(-out[1], 31))

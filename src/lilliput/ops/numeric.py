"""Integer arithmetic of quantised networks, as TFLite Micro's reference kernels define it.

Each function is the NumPy twin of a primitive in `codegen/csrc/isa/generic.h`; the two are
equal for every input (see docs/numerics.md for the rules in words).
"""

from __future__ import annotations

import math
from enum import Enum

import numpy as np
import numpy.typing as npt

from lilliput.errors import TypeMismatch
from lilliput.ir.types import TensorType

Ints = npt.NDArray[np.int64]
INT32_MAX = 2**31 - 1
INT32_MIN = -(2**31)


class Rounding(Enum):
    """How an accumulator is scaled: TFLM rounds twice, LiteRT's single-rounding build once, ONNX
    Runtime by a float32, with ties to even."""

    DOUBLE = "double"
    SINGLE = "single"
    EVEN = "even"

    __hash__ = object.__hash__  # of Enum it is slow, and kinds of layers are looked up by it


def quantize_multiplier(real: float) -> tuple[int, int]:
    """`real` as (mult, shift): real = mult / 2^31 * 2^shift, mult in [2^30, 2^31) or 0.

    As TFLite's QuantizeMultiplier: too small becomes (0, 0); too large saturates.
    Raises TypeMismatch for what is no number, or infinite: scales that are too far apart.
    """
    if not math.isfinite(real):
        raise TypeMismatch("scales have no finite ratio", expected="a number", found=real)
    if real == 0.0:
        return 0, 0
    fraction, shift = math.frexp(real)
    mult = _round_away(fraction * (1 << 31))
    if mult == 1 << 31:
        mult //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    if shift > 30:
        return INT32_MAX, 30
    return mult, shift


def _round_away(x: float) -> int:
    return math.floor(x + 0.5) if x >= 0 else math.ceil(x - 0.5)


def wrap32(a: npt.ArrayLike) -> Ints:
    """int64 -> the value that a wrapping int32 would hold."""
    return np.asarray(a, np.int64).astype(np.int32).astype(np.int64)


def mulh_round(a: npt.ArrayLike, b: npt.ArrayLike) -> Ints:
    """High half of 2ab, rounded to nearest, saturating (SaturatingRoundingDoublingHighMul)."""
    a, b = np.asarray(a, np.int64), np.asarray(b, np.int64)
    # to the nearest, ties upwards, whatever the sign: one shift
    high = np.asarray(a * b)
    high += 1 << 30
    high >>= 31
    if not (b == INT32_MIN).any():
        return high
    return np.where((a == INT32_MIN) & (b == INT32_MIN), INT32_MAX, high)


def shr_round(a: npt.ArrayLike, n: npt.ArrayLike) -> Ints:
    """a / 2^n to nearest, ties away from zero (RoundingDivideByPOT); 0 <= n <= 31."""
    a, n = np.asarray(a, np.int64), np.asarray(n, np.int64)
    half = (np.int64(1) << n) >> 1
    moved = np.asarray(a + half)
    moved += (a >> 63) if (n > 0).all() else np.where(n > 0, a >> 63, 0)
    return np.asarray(moved >> n)


def requant(
    a: npt.ArrayLike,
    mult: npt.ArrayLike,
    shift: npt.ArrayLike,
    rounding: Rounding = Rounding.DOUBLE,
) -> Ints:
    """a * mult / 2^31 * 2^shift.  `a` holds int32 values; mult and shift broadcast."""
    a, mult, shift = (np.asarray(v, np.int64) for v in (a, mult, shift))
    if rounding is Rounding.SINGLE:
        total = 31 - shift
        return wrap32((a * mult + (np.int64(1) << (total - 1))) >> total)
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    return shr_round(mulh_round(wrap32(a << left), mult), right)


def requant_s64(a: npt.ArrayLike, mult: npt.ArrayLike, shift: npt.ArrayLike) -> Ints:
    """64-bit accumulators (int16 activations): multiplier of 15 bits, one rounding."""
    a, mult, shift = (np.asarray(v, np.int64) for v in (a, mult, shift))
    reduced = np.where(mult < 0x7FFF0000, (mult + (1 << 15)) >> 16, 0x7FFF)
    total = 15 - shift
    return wrap32((a * reduced + (np.int64(1) << (total - 1))) >> total)


def round_even(a: npt.ArrayLike, bounds: tuple[int, int]) -> Ints:
    """float32 cut off to `bounds` and rounded to the nearest integer, of two the even one."""
    low, high = (np.float32(b) for b in bounds)
    return np.rint(np.clip(np.asarray(a, np.float32), low, high)).astype(np.int64)


def scale_even(
    a: npt.ArrayLike, scale: npt.ArrayLike, zero_point: int, bounds: tuple[int, int]
) -> Ints:
    """int32 times a float32 scale, rounded to even between what `bounds` leave around the zero
    point, plus that: as ONNX Runtime's MLAS does."""
    low, high = (b - zero_point for b in bounds)
    with np.errstate(over="ignore"):
        product = np.asarray(a, np.int64).astype(np.float32) * np.asarray(scale, np.float32)
    return round_even(product, (low, high)) + zero_point


def saturate(a: npt.ArrayLike, type: TensorType) -> npt.NDArray[np.generic]:
    """Clamped to the dtype of `type`, in that dtype."""
    low, high = type.dtype.bounds
    return np.clip(np.asarray(a, np.int64), low, high).astype(type.dtype.numpy)

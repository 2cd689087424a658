"""Operators on int8 that stands for reals, for the frontends whose files may be quantised.

One idea: such a file computes in reals between a dequantize and a quantize.  Where both are
known, the operator is built on the integers.  Functions here take their operands as integers and
`target`, the scale that the result is wanted in; None stands for an operator that has no rule for
these integers, which the caller then builds in floats.  Sums and products are scaled in float32
and rounded to the nearest, of two the even one (`Rounding.EVEN`), as ONNX Runtime and the
reference programs of PyTorch do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lilliput.errors import FormatError
from lilliput.frontends.channels import Place
from lilliput.ir import Array, Attrs, DType, Op, Quant, TensorType, Value
from lilliput.ir.build import infer
from lilliput.ops.accumulate import Linear
from lilliput.ops.conv import linear
from lilliput.ops.elementwise import Binary, Clamp, add, broadcast_shape, clamp
from lilliput.ops.numeric import Rounding
from lilliput.ops.quantize import Requantize, requantize
from lilliput.ops.reduce import Reduction, mean
from lilliput.ops.shape import Concat, Reshape, concat, reshape

SHIFT = 128
"""uint8 with a scale is int8 less this."""
ANY_SCALE = frozenset(("hard_swish", "gelu", "elu", "leaky_relu"))
"""Functions whose int8 rule takes any scale of the result, as a table of 256 entries does."""


# What integers stand for ------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Stored:
    """Constant integers that stand for reals: int8, int16 or int32, uint8 already shifted."""

    data: Array
    quant: Quant


def shifted(data: Array) -> Array:
    """uint8 as int8, less 128; others as they are."""
    if data.dtype != np.uint8:
        return data
    return (data.astype(np.int16) - SHIFT).astype(np.int8)


def quantised(
    scale: Array, zero: Array | None, axis: int, rank: int, unsigned: bool, where: str
) -> Quant:
    """The quantisation that a scale and a zero point mean; raises FormatError."""
    scales = np.asarray(scale, np.float32).reshape(-1)
    zeros = np.zeros(scales.shape, np.int64) if zero is None else zero.reshape(-1).astype(np.int64)
    sound = np.isfinite(scales).all() and (scales > 0).all() and scales.size == zeros.size
    if not sound or scales.size < 1:
        found = f"{scales[:4].tolist()}, {zeros[:4].tolist()}"
        raise FormatError("scale and zero point", where=where, expected="finite, > 0", found=found)
    zeros = zeros - SHIFT if unsigned else zeros
    if scales.size == 1:
        return Quant.per_tensor(float(scales[0]), int(zeros[0]))
    return Quant(tuple(map(float, scales)), tuple(map(int, zeros)), axis % rank if rank else 0)


def spread(quant: Quant, rank: int) -> tuple[Array, Array]:
    """Scales (float64) and zero points (int64) that broadcast to an array of `rank` axes."""
    shape = [1] * rank
    if quant.axis is not None:
        shape[quant.axis] = -1
    scale, zero = np.array(quant.scale, np.float64), np.array(quant.zero_point, np.int64)
    return scale.reshape(shape), zero.reshape(shape)


def reals(whole: Array, quant: Quant) -> Array:
    """The float32 that integers stand for: (q - zero point) * scale, rounded once."""
    scale, zero = spread(quant, whole.ndim)
    return (whole.astype(np.int64) - zero).astype(np.float32) * scale.astype(np.float32)


def int8(shape: tuple[int, ...], quant: Quant) -> TensorType:
    return TensorType(shape, DType.S8, quant)


def near(a: Quant, b: Quant) -> bool:
    """Scales that differ by rounding only."""
    close = math.isclose(a.scale[0], b.scale[0], rel_tol=1e-3)
    return a.is_per_tensor and b.is_per_tensor and close and a.zero_point == b.zero_point


def seen_as(p: Place, x: Value, quant: Quant, name: str) -> Value:
    """Integers with another meaning: the same bytes."""
    if x.type.quant == quant:
        return x
    type = TensorType(x.type.shape, x.type.dtype, quant)
    return p.between(reshape, (x,), Reshape(x.type.shape), f"{name}/seen", type)


def requantized(p: Place, x: Value, quant: Quant, suffix: str) -> Value:
    """int8 of another scale."""
    if x.type.quant == quant:
        return x
    return p.between(requantize, (x,), None, suffix, int8(x.type.shape, quant))


# Weighted sums ----------------------------------------------------------------------------


def summable(x: Value | None, w: Value | None, target: Quant | None) -> bool:
    """Whether a sum of x by weights w, constant or not, can be taken in int8."""
    if x is None or w is None or w.type.quant is None or target is None:
        return False
    zeros = w.type.quant.zero_point
    symmetric = len(zeros) == 1 or not any(zeros)
    return x.type.dtype is w.type.dtype is DType.S8 and symmetric


def bias_steps(x: Value, w: Value, real: Array, stored: Stored | None) -> Array:
    """A bias (O) in steps of the product of two scales, int32.

    What is stored in such steps is taken as it is, as ONNX Runtime does; `real` is rounded.
    """
    assert w.type.quant is not None
    steps = np.float32(x.type.scale) * np.array(w.type.quant.scale, np.float32)
    if stored is not None and stored.data.dtype == np.int32:
        scales = np.array(stored.quant.scale, np.float64)
        if np.allclose(scales, steps, rtol=1e-3, atol=0.0):
            return stored.data
    whole = np.rint(real.astype(np.float64) / steps.astype(np.float64))
    return np.clip(whole, -(2**31), 2**31 - 1).astype(np.int32)


def product(p: Place, x: Value, w: Value, bias: Value | None, target: Quant) -> Value:
    """x (.., I) by weights (O,I), and a bias (O) in int32."""
    operands = (x, w) if bias is None else (x, w, bias)
    type = int8((*x.type.shape[:-1], w.type.shape[0]), target)
    return p.last(linear, operands, Linear(Rounding.EVEN), type)


# Elements ---------------------------------------------------------------------------------


def pair(p: Place, op: Op, a: Value, b: Value, target: Quant) -> Value:
    """add, sub or mul, broadcast."""
    type = int8(broadcast_shape((a.type.shape, b.type.shape)), target)
    return p.last(op, (a, b), Binary(Rounding.EVEN), type)


def curve(p: Place, op: Op, x: Value, target: Quant, attrs: Attrs | None = None) -> Value | None:
    """A function of one element.  logistic and tanh have one scale: None where another is
    wanted."""
    if op.name in ANY_SCALE:
        return p.last(op, (x,), attrs, int8(x.type.shape, target))
    found = fixed_type(p, op, x, target)
    return None if found is None else p.last(op, (x,), attrs, found)


def hard_sigmoid(p: Place, x: Value, target: Quant, slope: float, offset: float) -> Value | None:
    """min(max(slope x + offset, 0), 1): a sum with a constant, rounded once, and cut off.  None
    where slope or offset is not above 0."""
    quant = x.type.quant
    if quant is None or not quant.is_per_tensor or min(slope, offset) <= 0:
        return None
    scaled = seen_as(p, x, Quant.per_tensor(quant.scale[0] * slope, quant.zero_point[0]), "x")
    one = p.builder.param(f"{p.name}/offset", np.array([1], np.int8), Quant.per_tensor(offset))
    line = p.between(add, (scaled, one), Binary(Rounding.EVEN), "line", int8(x.type.shape, target))
    return cut(p, line, 0.0, 1.0, target)


def fixed_type(p: Place, op: Op, x: Value, target: Quant) -> TensorType | None:
    """The type of a result whose scale the operator fixes; None where it is not the wanted one."""
    (found,) = infer(op, op.attrs(), (x.type,), p.origin or p.name)
    return found if found.quant is not None and near(found.quant, target) else None


def cut(p: Place, x: Value, low: float, high: float, target: Quant | None) -> Value | None:
    """min(max(x, low), high), exactly: where the bounds are integers of x, or the result is
    quantised as x is; None elsewhere."""
    quant = x.type.quant
    if quant is None:
        return None
    if not all(b == 0 or math.isinf(b) for b in (low, high)) and target != quant:
        return None
    attrs = Clamp(element(x.type, low), element(x.type, high))
    if (attrs.low, attrs.high) == x.type.dtype.bounds:
        return x
    return p.last(clamp, (x,), attrs)


def element(type: TensorType, real: float) -> float:
    """The integer of a type that is nearest to a real, saturated."""
    least, most = type.dtype.bounds
    if math.isinf(real):
        return least if real < 0 else most
    nearest = np.rint(np.float32(real) / np.float32(type.scale)) + type.zero_point
    return float(np.clip(nearest, least, most))


# Over axes --------------------------------------------------------------------------------


def joined(p: Place, parts: Sequence[Value], axis: int, target: Quant | None) -> Value | None:
    """Parts along an axis, in the scale that is wanted, or that they all have."""
    if len({v.type.quant for v in parts}) > 1:
        if target is None:
            return None
        parts = [requantized(p, v, target, f"part{k}") for k, v in enumerate(parts)]
    return p.last(concat, parts, Concat(axis))


def mean_of(p: Place, x: Value, over: Reduction, target: Quant) -> Value:
    """A mean that is summed in integers, scaled once and rounded to even."""
    over = replace(over, rounding=Rounding.EVEN)
    (found,) = infer(mean, over, (x.type,), p.origin or p.name)
    return p.last(mean, (x,), over, int8(found.shape, target))


def averaged(p: Place, x: Value, target: Quant, pool: Callable[[Value], Value]) -> Value:
    """An average of int8 as int8 of another scale, in finer steps of int16 where they differ."""
    if x.type.quant == target:
        return pool(x)
    fine = TensorType(
        x.type.shape, DType.S16, Quant.per_tensor(max(x.type.scale, target.scale[0]) / 64)
    )
    wide = p.between(requantize, (x,), Requantize(DType.S16), "fine", fine)
    found = pool(wide)
    type = int8(found.type.shape, target)
    return p.inner("int8").last(requantize, (found,), Requantize(DType.S8), type)

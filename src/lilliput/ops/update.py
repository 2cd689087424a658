"""Updates of integer tensors, element by element.

`step` is what a weight moves by, in steps of its own: rate * gradient / scale.  An integer moves
to a whole number in one of three ways, each the same in NumPy and in C (csrc/update.h); a step
that is not a number moves nothing.  int8 weights stay within -127 .. 127, as symmetric ones do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lilliput.ir.graph import Node
from lilliput.ir.op import NoAttrs, Op, Sample, Scalar
from lilliput.ir.types import Array, DType, TensorType, f32, s8, s32
from lilliput.ops.common import check
from lilliput.ops.elementwise import broadcast_regions, broadcast_shape
from lilliput.ops.registry import register

LARGEST = 127
FAR = np.float32(2.0**22)
"""Steps of int8 weights beyond this are cut: they saturate anyway."""
LIMIT = 1 << 28
"""int32 biases move within +-LIMIT: a sum that begins with one stays below 2^29, which short
requantisations count on."""


# sgd --------------------------------------------------------------------------------------

Ints = NDArray[np.int64]


def _sgd_types(types: Sequence[TensorType], what: str, dtypes: tuple[DType, ...]) -> TensorType:
    """The type of the first operand, which moves by a step that broadcasts to it."""
    w = types[0]
    names = " or ".join(d.value for d in dtypes)
    check(w.dtype in dtypes, what, names, w.dtype.value)
    step = types[-1]
    check(step.dtype is DType.F32, "step", "f32", step.dtype.value)
    check(broadcast_shape((w.shape, step.shape)) == w.shape, "shape", w.shape, step.shape)
    return w


def _sgd_infer(_: NoAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 2, "wrong number of operands", "w, step", len(types))
    return (_sgd_types(types, "weights", (DType.S8, DType.S32)),)


def nearest(v: Array) -> Ints:
    """The nearest whole number, ties away from zero, of |v| < 2^31; NaN is 0."""
    v = np.nan_to_num(v, nan=0.0)
    n = np.trunc(v)
    rest = v - n
    return n.astype(np.int64) + (rest >= 0.5) - (rest <= -0.5)


def _sgd_ref(_: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    w, step = operands
    if w.dtype == np.int8:
        moved = np.clip(w.astype(np.float32) - step, -FAR, FAR).astype(np.float32)
        kept = np.where(np.isnan(step), w.astype(np.int64), nearest(moved))
        return (np.clip(kept, -LARGEST, LARGEST).astype(np.int8),)
    far = np.float32(2 * LIMIT)
    by = nearest(np.clip(step, -far, far).astype(np.float32))
    moved = np.clip(np.clip(w.astype(np.int64), -LIMIT, LIMIT) - by, -LIMIT, LIMIT)
    return (np.where(by == 0, w, moved).astype(np.int32),)


def _sgd_limits(node: Node) -> tuple[int, int]:
    most = LARGEST if node.output.type.dtype is DType.S8 else LIMIT
    return -most, most


def _sgd_c(node: Node, args: Sequence[str]) -> str:
    kind = "s8" if node.output.type.dtype is DType.S8 else "s32"
    return f"ll_sgd_{kind}({args[0]}, {args[1]})"


def _w(*shape: int) -> TensorType:
    return s8(*shape, scale=0.02)


sgd = register(
    Op(
        name="sgd",
        doc="w' = round(w - step), ties away from zero, within +-127 (int8) or +-2^28 (int32, "
        "where it moves at all); step f32 broadcasts to w; where it is NaN w stays",
        infer=_sgd_infer,
        ref=_sgd_ref,
        regions=broadcast_regions,
        scalar=Scalar(_sgd_c),
        limits=_sgd_limits,
        samples=(
            Sample((_w(5, 1, 1, 7), f32(5, 1, 1, 7)), low=-9.0, high=9.0),
            Sample((_w(4, 9), f32(4, 1)), low=-300.0, high=300.0),
            Sample((s32(33), f32(33)), low=-1e4, high=1e4),
            Sample((s32(3, 5), f32(1)), low=-3e9, high=3e9),
        ),
        dtypes=(DType.S8, DType.S32),
        oracle="docs/numerics.md",
    )
)


# sgd_dither -------------------------------------------------------------------------------


def _dither_infer(_: NoAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 3, "wrong number of operands", "w, seed, step", len(types))
    seed = types[1]
    check(seed.dtype is DType.S32 and seed.size == 1, "seed", "one s32", str(seed))
    return (_sgd_types(types, "weights", (DType.S8,)),)


def _hash(bits: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The finaliser of MurmurHash3 (Appleby 2011), a bijection of 32 bits."""
    h = bits
    with np.errstate(over="ignore"):
        h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
        h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return h ^ (h >> np.uint32(16))


def _dither_ref(_: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    w, seed, step = operands
    step = np.ascontiguousarray(np.broadcast_to(step, w.shape), np.float32)
    with np.errstate(over="ignore"):
        key = w.astype(np.int64).astype(np.uint32) * np.uint32(0x9E3779B9)
    drawn = _hash(step.view(np.uint32) ^ key ^ seed.astype(np.uint32).reshape(-1)[0])
    u = (drawn >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
    moved = np.clip(w.astype(np.float32) - step, -FAR, FAR).astype(np.float32)
    moved = np.where(np.isnan(step), w.astype(np.float32), moved)
    floor = np.floor(moved)
    left = floor.astype(np.int64) + (u < moved - floor)
    return (np.clip(left, -LARGEST, LARGEST).astype(np.int8),)


sgd_dither = register(
    Op(
        name="sgd_dither",
        doc="w' = floor(w - step + u), saturated; u in [0, 1) drawn from the bits of w, step and "
        "seed; w s8, seed one s32, step f32 that broadcasts to w",
        infer=_dither_infer,
        ref=_dither_ref,
        regions=broadcast_regions,
        scalar=Scalar(lambda _, args: f"ll_sgd_dither({', '.join(args)})"),
        samples=(
            Sample((_w(5, 1, 1, 7), s32(1), f32(5, 1, 1, 7)), low=-9.0, high=9.0),
            Sample((_w(40, 30), s32(1), f32(40, 30)), low=-0.4, high=0.4),
            Sample((_w(9, 4), s32(1, 1), f32(9, 1)), low=-200.0, high=200.0),
        ),
        dtypes=(DType.S8,),
        oracle="docs/numerics.md",
    )
)


# sgd_rest, sgd_carry ----------------------------------------------------------------------
#
# A weight w with a rest r stands for w + r / 256.  Both move by q = round(256 step): the sum
# r - q is split into a carry and a new rest.  `sgd_carry` has the new rest at hand and finds the
# old one again, as r - q is known modulo 256: so each of them works in place.


def _fixed(step: Array) -> Ints:
    return nearest(np.clip(step * np.float32(256), -FAR, FAR).astype(np.float32))


def _rest_infer(_: NoAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 2, "wrong number of operands", "rest, step", len(types))
    return (_sgd_types(types, "rest", (DType.S8,)),)


def _rest_ref(_: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    rest, step = operands
    return ((rest.astype(np.int64) - _fixed(step)).astype(np.int8),)


def _carry_infer(_: NoAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 3, "wrong number of operands", "w, new rest, step", len(types))
    w, rest = types[:2]
    same = rest.dtype is DType.S8 and rest.shape == w.shape
    check(same, "new rest", f"s8{list(w.shape)}", str(rest))
    return (_sgd_types(types, "weights", (DType.S8,)),)


def _carry_ref(_: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    w, rest, step = operands
    q = _fixed(step)
    before = (rest.astype(np.int64) + q).astype(np.int8).astype(np.int64)
    carry = (before - q + 128) >> 8
    return (np.clip(w.astype(np.int64) + carry, -LARGEST, LARGEST).astype(np.int8),)


sgd_rest = register(
    Op(
        name="sgd_rest",
        doc="r' = r - round(256 step) modulo 256: what an int8 weight leaves behind, in 256ths of "
        "its steps; step f32 broadcasts to r",
        infer=_rest_infer,
        ref=_rest_ref,
        regions=broadcast_regions,
        scalar=Scalar(lambda _, args: f"ll_sgd_rest({', '.join(args)})"),
        samples=(
            Sample((s8(5, 1, 1, 7), f32(5, 1, 1, 7)), low=-9.0, high=9.0),
            Sample((s8(40, 30), f32(40, 1)), low=-0.4, high=0.4),
            Sample((s8(9, 4), f32(9, 4)), low=-200.0, high=200.0),
        ),
        dtypes=(DType.S8,),
        oracle="docs/numerics.md",
    )
)

sgd_carry = register(
    Op(
        name="sgd_carry",
        doc="w' = w + floor((r - round(256 step) + 128) / 256), saturated, of which r is found "
        "from the new rest that `sgd_rest` leaves; operands w, new rest, step",
        infer=_carry_infer,
        ref=_carry_ref,
        regions=broadcast_regions,
        scalar=Scalar(lambda _, args: f"ll_sgd_carry({', '.join(args)})"),
        samples=(
            Sample((_w(5, 1, 1, 7), s8(5, 1, 1, 7), f32(5, 1, 1, 7)), low=-9.0, high=9.0),
            Sample((_w(40, 30), s8(40, 30), f32(40, 1)), low=-0.4, high=0.4),
            Sample((_w(9, 4), s8(9, 4), f32(9, 4)), low=-200.0, high=200.0),
        ),
        dtypes=(DType.S8,),
        oracle="docs/numerics.md",
    )
)

"""resize_bilinear: a map in another size, each element mixed of four.

Rows and columns are mixed with weights that depend on the place alone, so that they are
constant tables and no position is computed on the device.  Integers keep their quantisation
and are mixed with weights of 10 bits, floats and the uint8 of older files in float32.
resize_nearest, which only moves elements, is in `frame`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Cost, Finish, Indices, Kernel, Op, Operand, Sample, Work
from lilliput.ir.range import Range
from lilliput.ir.region import OperandRule, Pointwise
from lilliput.ir.types import Array, DType, TensorType, f32, s8, s16
from lilliput.ops import shape_rules
from lilliput.ops.bounds import increasing
from lilliput.ops.common import ACTIVATIONS, c_type, check, check_activations
from lilliput.ops.move import one
from lilliput.ops.pick import axis_rule, per_tensor
from lilliput.ops.registry import register

ONE = 1 << 10
"""Weight 1 of the integers; rows times columns are scaled by its square."""


@dataclass(frozen=True)
class ResizeBilinear(Attrs):
    """height, width: of the result; the flags are TFLite's; origin: the integer of the file that
    is stored as 0, 128 where the file has uint8, which is mixed as floats."""

    height: int
    width: int
    align_corners: bool = False
    half_pixel_centers: bool = False
    origin: int = 0


class Mix(NamedTuple):
    """One axis: each place is `(1 - weight) * x[low] + weight * x[high]`; arrays of its size."""

    low: Array
    high: Array
    weight: Array


def mix(size: int, out: int, a: ResizeBilinear, real: bool) -> Mix:
    """The mix of `out` places of an axis of `size`, as TFLite computes it.

    weight: float32 where `real`, else int64 in units of 1 / ONE.  TFLite reads beyond the
    operand where its rounded scale leads there (results over a thousand times as large); here
    it is the edge.
    """
    corners = a.align_corners and out > 1
    parts, steps = (size - 1, out - 1) if corners else (size, out)
    places = np.arange(out)
    if real:
        scale = np.float32(parts) / np.float32(steps)
        place = places.astype(np.float32)
        if a.half_pixel_centers:
            place = (place + np.float32(0.5)) * scale - np.float32(0.5)
        else:
            place = place * scale
        low = np.clip(np.floor(place).astype(np.int64), 0, size - 1)
        high = np.clip(np.ceil(place).astype(np.int64), 0, size - 1)
        return Mix(low, high, place - low.astype(np.float32))
    scale = (ONE * parts + steps // 2) // steps
    place = places * scale + (scale // 2 - ONE // 2 if a.half_pixel_centers else 0)
    low = np.clip(place // ONE, 0, size - 1)
    high = np.clip(-(-place // ONE), 0, size - 1)
    return Mix(low, high, np.where(high > low, place - low * ONE, 0))


def _attrs(node: Node) -> ResizeBilinear:
    assert isinstance(node.attrs, ResizeBilinear)
    return node.attrs


def _real(node: Node) -> bool:
    """Whether the mix is computed with floats."""
    return node.inputs[0].type.dtype.is_float or _attrs(node).origin != 0


def _mixes(node: Node) -> tuple[Mix, Mix]:
    """Of the rows and of the columns."""
    a, x = _attrs(node), node.inputs[0].type.shape
    sizes = (x[1], a.height), (x[2], a.width)
    rows, columns = (mix(size, out, a, _real(node)) for size, out in sizes)
    return rows, columns


def _infer(a: ResizeBilinear, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = per_tensor(one(types))
    check_activations(x)
    check(len(x.shape) == 4, "operand is not of rank 4", "(N,H,W,C)", x.shape)
    check(min(a.height, a.width) >= 1, "height and width", ">= 1", (a.height, a.width))
    both = a.align_corners and a.half_pixel_centers
    check(a.origin == 0 or (a.origin == 128 and x.dtype is DType.S8), "origin", "0", a.origin)
    check(not both, "align_corners, half_pixel_centers", "not both", "both")
    return (x.with_shape(x.shape[0], a.height, a.width, x.shape[3]),)


def _ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    (rows, columns), dtype, real = _mixes(node), node.inputs[0].type.dtype, _real(node)
    origin = _attrs(node).origin
    x = operands[0].astype(np.float32 if real else np.int64) + (np.float32(origin) if real else 0)
    one_ = np.float32(1) if real else np.int64(ONE)
    wy, wx = rows.weight[:, None, None], columns.weight[:, None]

    def at(iy: Array, ix: Array) -> Array:
        return x[:, iy][:, :, ix]

    acc = at(rows.low, columns.low) * (one_ - wy) * (one_ - wx)
    acc = acc + at(rows.high, columns.low) * wy * (one_ - wx)
    acc = acc + at(rows.low, columns.high) * (one_ - wy) * wx
    acc = acc + at(rows.high, columns.high) * wy * wx
    if dtype.is_float:
        return (acc,)
    if real:
        return (((acc + np.float32(0.5)).astype(np.int64) - origin).astype(dtype.numpy),)
    rounded = (np.abs(acc) + ONE * ONE // 2) // (ONE * ONE)
    return ((np.sign(acc) * rounded).astype(dtype.numpy),)


def _matrices(node: Node) -> tuple[Array | None, ...]:
    """For each axis what its places take of the operand's, (out, in); None where nothing changes.

    Exact mixes, of integers too: that theirs are rounded counts as the identity.
    """
    a, x = _attrs(node), node.inputs[0].type.shape
    made: list[Array | None] = [None] * 4
    for axis, out in ((1, a.height), (2, a.width)):
        low, high, weight = mix(x[axis], out, a, real=True)
        places = np.arange(x[axis])
        matrix = (1 - weight)[:, None] * (low[:, None] == places)
        matrix += weight[:, None] * (high[:, None] == places)
        made[axis] = None if np.array_equal(matrix, np.eye(x[axis])) else matrix
    return tuple(made)


def _bounds(node: Node, operands: Sequence[Range]) -> Range | None:
    """Weights of integers are not negative; floats are rounded after every step."""
    return None if _real(node) else increasing(node, operands)


def _narrow(node: Node, _: Sequence[Indices], result: Indices) -> Attrs:
    """Only an axis that is not resized maps one to one, and stays so."""
    return replace(_attrs(node), height=len(result[1]), width=len(result[2]))


def _regions(node: Node) -> tuple[OperandRule, ...]:
    shape, (rows, columns) = node.inputs[0].type.shape, _mixes(node)
    return (
        (
            Pointwise(0),
            axis_rule(1, shape[1], rows.low, rows.high),
            axis_rule(2, shape[2], columns.low, columns.high),
            Pointwise(3),
        ),
    )


def _types(node: Node) -> Mapping[str, str]:
    dtype = node.inputs[0].type.dtype
    types = {"LL_X": c_type(dtype), "LL_Y": c_type(dtype), "LL_BIAS": str(_attrs(node).origin)}
    if _real(node):
        return {**types, "LL_ACC": "float", "LL_W": "float", "LL_ONE": "1"}
    acc = "int64_t" if dtype is DType.S16 else "int32_t"
    return {**types, "LL_ACC": acc, "LL_W": "int16_t", "LL_ONE": str(ONE)}


def _operands(b: Builder, node: Node) -> tuple[Operand, ...]:
    dtype = np.dtype(np.float32 if _real(node) else np.int16)
    tables = [Operand(node.inputs[0], 0)]
    for name, axis in zip(("row", "column"), _mixes(node), strict=True):
        pairs = np.stack((axis.low, axis.high), axis=1).astype(np.int32)
        tables.append(Operand(b.param(f"{node.output.name}/{name}s", pairs)))
        weights = axis.weight.astype(dtype)
        tables.append(Operand(b.param(f"{node.output.name}/{name}_weights", weights)))
    return tuple(tables)


def _finish(_: Builder, node: Node) -> Finish:
    """To nearest, ties away from zero: a division that cuts off, by a power of two."""
    if node.inputs[0].type.dtype.is_float:
        return Finish(lambda acc, load: acc)
    if _real(node):
        return Finish(lambda acc, load: f"(int32_t)({acc} + 0.5f) - {_attrs(node).origin}")
    square = ONE * ONE
    half = square // 2
    return Finish(
        lambda acc, load: f"(int32_t)(({acc} + ({acc} > 0 ? {half} : -{half})) / {square})"
    )


def _work(node: Node) -> Work:
    size = node.output.type.size
    return Work(4 * size, size, size // node.output.type.shape[3])


resize_bilinear = register(
    Op(
        name="resize_bilinear",
        doc="y[n,p,q,c] = x[n, ., ., c] mixed of two rows and two columns; x (N,H,W,C)",
        attrs=ResizeBilinear,
        infer=_infer,
        ref=_ref,
        grads=(shape_rules.by_matrices(_matrices),),
        regions=_regions,
        bounds=_bounds,
        narrow=lambda _: _narrow,
        cost=lambda node: Cost(ops=4 * node.output.type.size),
        kernels=(
            Kernel(
                name="resize_bilinear",
                source="resize_bilinear.c",
                accepts=lambda _: None,
                types=_types,
                params=lambda node: {
                    "in_h": node.inputs[0].type.shape[1],
                    "out_h": node.output.type.shape[1],
                },
                operands=_operands,
                finish=_finish,
                work=_work,
            ),
        ),
        samples=(
            Sample((s8(1, 3, 5, 2, scale=0.1, zero_point=-128),), ResizeBilinear(6, 10)),
            Sample((s8(2, 5, 4, 3),), ResizeBilinear(3, 7, half_pixel_centers=True)),
            Sample((s8(1, 7, 3, 1),), ResizeBilinear(13, 2, align_corners=True)),
            Sample((s8(1, 12, 9, 2),), ResizeBilinear(6, 3, half_pixel_centers=True)),
            Sample((s8(1, 6, 5, 2),), ResizeBilinear(9, 11, half_pixel_centers=True, origin=128)),
            Sample((s16(1, 4, 4, 3),), ResizeBilinear(8, 11, half_pixel_centers=True)),
            Sample((s16(2, 3, 4, 1),), ResizeBilinear(5, 1, align_corners=True)),
            Sample((f32(2, 3, 3, 2),), ResizeBilinear(7, 5), low=-1.0, high=1.0),
            Sample((f32(1, 4, 3, 2),), ResizeBilinear(8, 6, half_pixel_centers=True)),
            Sample((f32(1, 5, 1, 3),), ResizeBilinear(9, 4, align_corners=True)),
        ),
        dtypes=ACTIVATIONS,
        oracle={
            DType.F32: "TFLM RESIZE_BILINEAR",
            DType.S8: "TFLM RESIZE_BILINEAR",
            DType.S16: "LiteRT RESIZE_BILINEAR",
        },
    )
)

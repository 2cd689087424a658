"""Operators that move elements and compute nothing.

reshape, transpose, broadcast, concat, slice, copy (those that pick elements are in `pick` and
`frame`, those that trade pixels for channels in `blocks`).
None of them changes a quantisation: concat refuses operands that differ in it.  concat and
slice have no kernel: the planner places their operands as views, or copies boxes with the
kernel `copy`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Cost, Indices, Kernel, NoAttrs, Op, Operand, Sample
from lilliput.ir.region import (
    AxisRule,
    OperandRule,
    Pointwise,
    Shift,
    Whole,
    pointwise,
    whole,
)
from lilliput.ir.types import Array, DType, Quant, TensorType, bools, f32, s8, s16, s32, s64
from lilliput.ops import shape_rules
from lilliput.ops.bounds import increasing
from lilliput.ops.common import ACTIVATIONS, check, narrows
from lilliput.ops.gradient import passes
from lilliput.ops.move import (
    DTYPES,
    element_strides,
    element_types,
    moved,
    moved_work,
    one,
    oracles,
)
from lilliput.ops.registry import register

MAX_RANK = 6


@dataclass(frozen=True)
class Reshape(Attrs):
    """shape: of the result, every extent stated."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Transpose(Attrs):
    """perm: axis k of the result is axis perm[k] of the operand."""

    perm: tuple[int, ...]


@dataclass(frozen=True)
class Broadcast(Attrs):
    """shape: of the result; the operand's axes are its last ones."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Concat(Attrs):
    """axis: along which the operands lie one after another; not negative."""

    axis: int


@dataclass(frozen=True)
class Slice(Attrs):
    """begin, size: of the box that is taken, one for each axis."""

    begin: tuple[int, ...]
    size: tuple[int, ...]


def _operand(_: Builder, node: Node) -> tuple[Operand, ...]:
    return (Operand(node.inputs[0], 0),)


# reshape, copy ----------------------------------------------------------------------------


def _reshape_infer(a: Reshape, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = one(types)
    check(math.prod(a.shape) == x.size, "number of elements", x.size, a.shape)
    check(_keeps_scales(x, a.shape), "quantisation", "per tensor", "per axis")
    return (x.with_shape(*a.shape),)


def _keeps_scales(x: TensorType, shape: tuple[int, ...]) -> bool:
    """Whether each element keeps its scale: of several, as long as the first axis stays."""
    if x.quant is None or x.quant.is_per_tensor or shape == x.shape:
        return True
    return x.quant.axis == 0 and shape[:1] == x.shape[:1]


def _reshape_narrow(_node: Node, _: Sequence[Indices], result: Indices) -> Attrs:
    return Reshape(tuple(len(left) for left in result))


reshape = register(
    Op(
        name="reshape",
        doc="y = the elements of x in the same order under `shape`",
        attrs=Reshape,
        infer=_reshape_infer,
        ref=lambda node, operands: (operands[0].reshape(node.output.type.shape),),
        grads=(passes,),
        regions=lambda node: (whole(len(node.inputs[0].type.shape)),),
        bounds=increasing,
        narrow=lambda _: _reshape_narrow,
        cost=lambda _: Cost(),
        samples=(
            Sample((s8(1, 3, 5, 2, scale=0.1, zero_point=4),), Reshape((1, 30))),
            Sample((s8(7),), Reshape((7, 1, 1))),
            Sample((s16(2, 3, 4),), Reshape((4, 3, 2))),
            Sample((f32(2, 2, 3, 1, 5),), Reshape((60,)), low=-1.0, high=1.0),
            Sample((s32(1, 9),), Reshape((3, 3))),
        ),
        dtypes=DTYPES,
        oracle="TFLM RESHAPE",
        view=True,
    )
)

COPY = Kernel(
    name="copy",
    source="copy.c",
    accepts=lambda _: None,
    types=element_types,
    params=lambda _: {"none": 0},
    operands=_operand,
    work=moved_work,
)
"""Copies a box between two views of the same frame; the planner's own copies use it too."""

copy = register(
    Op(
        name="copy",
        doc="y = x, in other bytes",
        infer=lambda _, types: (one(types),),
        ref=lambda _, operands: (operands[0].copy(),),
        grads=(passes,),
        regions=lambda node: (pointwise(len(node.inputs[0].type.shape)),),
        bounds=increasing,
        narrow=narrows,
        cost=moved,
        kernels=(COPY,),
        samples=(
            Sample((s8(2, 3, 5, 7, scale=0.1, zero_point=4),), NoAttrs()),
            Sample((s16(5, 3),), NoAttrs()),
            Sample((f32(3, 1, 4),), NoAttrs(), low=-1.0, high=1.0),
            Sample((s32(11),), NoAttrs()),
            Sample((s64(2, 3),), NoAttrs()),
        ),
        dtypes=DTYPES,
        oracle="NumPy copy",
    )
)


# transpose, broadcast ---------------------------------------------------------------------


def _strided_params(shape: Sequence[int], steps: Sequence[int]) -> Mapping[str, int]:
    """Fields of `strided`: the operand's step along each axis of a result padded to rank 6."""
    lead = MAX_RANK - len(shape)
    every = (0,) * lead + tuple(steps)
    extents = (1,) * lead + tuple(shape)
    fields = {f"step{k}": every[k] for k in range(MAX_RANK)}
    return fields | {f"extent{k}": extents[k] for k in (1, 2, 3)}


def _strided(params: Callable[[Node], Mapping[str, int]]) -> Kernel:
    return Kernel(
        name="strided",
        source="transpose.c",
        accepts=lambda _: None,
        types=element_types,
        params=params,
        operands=_operand,
        work=moved_work,
        dense=True,
    )


def _transpose_attrs(node: Node) -> Transpose:
    assert isinstance(node.attrs, Transpose)
    return node.attrs


def _transpose_infer(a: Transpose, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = one(types)
    check(len(x.shape) <= MAX_RANK, "rank", f"<= {MAX_RANK}", x.shape)
    check(sorted(a.perm) == list(range(len(x.shape))), "perm", "each axis once", a.perm)
    check(x.quant is None or x.quant.is_per_tensor, "quantisation", "per tensor", "per axis")
    return (x.with_shape(*(x.shape[k] for k in a.perm)),)


def _transpose_regions(node: Node) -> tuple[OperandRule, ...]:
    perm = _transpose_attrs(node).perm
    return (tuple(Pointwise(perm.index(axis)) for axis in range(len(perm))),)


def _transpose_params(node: Node) -> Mapping[str, int]:
    strides = element_strides(node.inputs[0].type.shape)
    steps = [strides[k] for k in _transpose_attrs(node).perm]
    return _strided_params(node.output.type.shape, steps)


transpose = register(
    Op(
        name="transpose",
        doc="y = x with axis k taken from axis perm[k]; rank up to 6",
        attrs=Transpose,
        infer=_transpose_infer,
        ref=lambda node, operands: (operands[0].transpose(_transpose_attrs(node).perm),),
        grads=(shape_rules.transposed,),
        regions=_transpose_regions,
        bounds=increasing,
        narrow=narrows,
        cost=moved,
        kernels=(_strided(_transpose_params),),
        samples=(
            Sample((s8(1, 3, 5, 2, scale=0.1, zero_point=4),), Transpose((0, 3, 1, 2))),
            Sample((s8(7, 5),), Transpose((1, 0))),
            Sample((s16(2, 3, 4),), Transpose((2, 0, 1))),
            Sample((f32(2, 1, 3, 2, 5),), Transpose((4, 3, 2, 1, 0)), low=-1.0, high=1.0),
            Sample((s8(2, 3, 2, 3, 2, 3),), Transpose((5, 1, 3, 0, 4, 2))),
            Sample((s32(3, 4),), Transpose((0, 1))),
            Sample((s64(2, 1, 3),), Transpose((2, 0, 1))),
            Sample((bools(4, 3),), Transpose((1, 0))),
        ),
        dtypes=DTYPES,
        oracle=oracles("TRANSPOSE", ACTIVATIONS, (DType.S32, DType.S64, DType.BOOL)),
    )
)


def _broadcast_infer(a: Broadcast, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x, lead = one(types), len(a.shape) - len(types[0].shape)
    check(lead >= 0 and len(a.shape) <= MAX_RANK, "rank", f"<= {MAX_RANK}", a.shape)
    fits = all(d in (1, e) for d, e in zip(x.shape, a.shape[lead:], strict=True))
    check(fits, "extents", "1 or the result's", f"{x.shape} to {a.shape}")
    check(x.quant is None or x.quant.is_per_tensor, "quantisation", "per tensor", "per axis")
    return (x.with_shape(*a.shape),)


def _broadcast_regions(node: Node) -> tuple[OperandRule, ...]:
    x, y = node.inputs[0].type.shape, node.output.type.shape
    lead = len(y) - len(x)
    rules = (Pointwise(k + lead) if d == y[k + lead] else Whole() for k, d in enumerate(x))
    return (tuple(rules),)


def _broadcast_params(node: Node) -> Mapping[str, int]:
    x, y = node.inputs[0].type.shape, node.output.type.shape
    steps = [0 if d == 1 else s for d, s in zip(x, element_strides(x), strict=True)]
    return _strided_params(y, [0] * (len(y) - len(x)) + steps)


def _broadcast_narrow(_node: Node, _: Sequence[Indices], result: Indices) -> Attrs:
    return Broadcast(tuple(len(left) for left in result))


broadcast = register(
    Op(
        name="broadcast",
        doc="y = x repeated along its axes of extent 1 and along new leading axes",
        attrs=Broadcast,
        infer=_broadcast_infer,
        ref=lambda node, operands: (np.broadcast_to(operands[0], node.output.type.shape),),
        grads=(shape_rules.repeated,),
        regions=_broadcast_regions,
        bounds=increasing,
        narrow=lambda _: _broadcast_narrow,
        cost=moved,
        kernels=(_strided(_broadcast_params),),
        samples=(
            Sample((s8(1, 1, 1, 5, scale=0.1, zero_point=4),), Broadcast((1, 3, 4, 5))),
            Sample((s8(3, 1),), Broadcast((2, 3, 7))),
            Sample((s16(1, 4, 1),), Broadcast((3, 4, 2))),
            Sample((f32(5),), Broadcast((2, 5)), low=-1.0, high=1.0),
            Sample((s32(2, 1, 3, 1, 2, 1),), Broadcast((2, 2, 3, 2, 2, 3))),
            Sample((s32(1, 3),), Broadcast((4, 2, 3))),
            Sample((s64(2, 1),), Broadcast((2, 3))),
            Sample((bools(1),), Broadcast((3,))),
        ),
        dtypes=DTYPES,
        oracle=oracles("BROADCAST_TO", (*ACTIVATIONS, DType.S32, DType.S64, DType.BOOL)),
    )
)


# concat, slice ----------------------------------------------------------------------------


def _concat_infer(a: Concat, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) >= 1, "wrong number of operands", ">= 1", len(types))
    first = types[0]
    check(0 <= a.axis < len(first.shape), "axis", f"0 to {len(first.shape) - 1}", a.axis)
    for t in types:
        check(len(t.shape) == len(first.shape), "rank", len(first.shape), t.shape)
        across = (*t.shape[: a.axis], *t.shape[a.axis + 1 :])
        wanted = (*first.shape[: a.axis], *first.shape[a.axis + 1 :])
        check(across == wanted, "extents across the axis", wanted, across)
        check(t.dtype is first.dtype, "element type", first.dtype.value, t.dtype.value)
    shape = (
        *first.shape[: a.axis],
        sum(t.shape[a.axis] for t in types),
        *first.shape[a.axis + 1 :],
    )
    return (TensorType(shape, first.dtype, _joined_quant(a.axis, types)),)


def _joined_quant(axis: int, types: Sequence[TensorType]) -> Quant | None:
    """The quantisation that all have; where channels have scales of their own, those of all."""
    quants = [t.quant for t in types]
    apart = [q for q in quants if q is not None and not q.is_per_tensor and q.axis == axis]
    if len(apart) == len(quants):
        scales = tuple(s for q in apart for s in q.scale)
        return Quant(scales, tuple(z for q in apart for z in q.zero_point), axis)
    for q in quants:
        check(q == quants[0], "quantisation of the operands", quants[0], q)
    return quants[0]


def _axis(node: Node) -> int:
    assert isinstance(node.attrs, Concat)
    return node.attrs.axis


def _concat_regions(node: Node) -> tuple[OperandRule, ...]:
    rules: list[OperandRule] = []
    start, axis = 0, _axis(node)
    for value in node.inputs:
        rule: list[AxisRule] = list(pointwise(len(value.type.shape)))
        rule[axis] = Shift(axis, start)
        rules.append(tuple(rule))
        start += value.type.shape[axis]
    return tuple(rules)


concat = register(
    Op(
        name="concat",
        doc="y = the operands one after another along `axis`; one quantisation for all",
        attrs=Concat,
        infer=_concat_infer,
        ref=lambda node, operands: (np.concatenate(list(operands), _axis(node)),),
        grads=shape_rules.JOINED,
        regions=_concat_regions,
        bounds=increasing,
        narrow=narrows,
        cost=moved,
        samples=(
            Sample((s8(1, 3, 5, 2), s8(1, 3, 5, 3)), Concat(3)),
            Sample((s8(2, 1, 3), s8(2, 4, 3), s8(2, 2, 3)), Concat(1)),
            Sample((s16(1, 2, 3, 4), s16(1, 2, 5, 4)), Concat(2)),
            Sample((f32(2, 7), f32(1, 7)), Concat(0), low=-1.0, high=1.0),
            Sample((s32(3),), Concat(0)),
            Sample((s8(2, 3, 2, 2, scale=0.1, zero_point=9),) * 2, Concat(1)),
            Sample((s64(2, 3), s64(2, 2)), Concat(1)),
            Sample((bools(2, 3),) * 2, Concat(0)),
        ),
        dtypes=DTYPES,
        oracle=oracles("CONCATENATION", (*ACTIVATIONS, DType.S32, DType.S64, DType.BOOL)),
    )
)


def _slice_attrs(node: Node) -> Slice:
    assert isinstance(node.attrs, Slice)
    return node.attrs


def _slice_infer(a: Slice, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = one(types)
    check(len(a.begin) == len(a.size) == len(x.shape), "axes", len(x.shape), len(a.begin))
    inside = all(
        b >= 0 and n >= 1 and b + n <= d for b, n, d in zip(a.begin, a.size, x.shape, strict=True)
    )
    check(inside, "box", f"inside {x.shape}", f"{a.begin} + {a.size}")
    quant = x.quant
    if quant is not None and quant.axis is not None:  # the scales of the channels in the box
        box = slice(a.begin[quant.axis], a.begin[quant.axis] + a.size[quant.axis])
        quant = Quant(quant.scale[box], quant.zero_point[box], quant.axis)
    return (TensorType(a.size, x.dtype, quant),)


def _slice_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    a = _slice_attrs(node)
    box = tuple(slice(b, b + n) for b, n in zip(a.begin, a.size, strict=True))
    return (operands[0][box],)


def _slice_regions(node: Node) -> tuple[OperandRule, ...]:
    begin = _slice_attrs(node).begin
    return (tuple(Shift(k, -b) if b else Pointwise(k) for k, b in enumerate(begin)),)


def _slice_narrow(node: Node, operands: Sequence[Indices], result: Indices) -> Attrs:
    """The box begins behind what is left of the operand before it."""
    (x,), begin = operands, _slice_attrs(node).begin
    before = (int(np.sum(left < b)) for left, b in zip(x, begin, strict=True))
    return Slice(tuple(before), tuple(len(left) for left in result))


# `slice` is the operator's name everywhere but in Python, where it is a built-in
slice_ = register(
    Op(
        name="slice",
        doc="y[i] = x[begin + i], 0 <= i < size, on every axis",
        attrs=Slice,
        infer=_slice_infer,
        ref=_slice_ref,
        grads=(shape_rules.sliced,),
        regions=_slice_regions,
        bounds=increasing,
        narrow=lambda _: _slice_narrow,
        cost=moved,
        samples=(
            Sample((s8(1, 5, 7, 4),), Slice((0, 1, 2, 1), (1, 3, 4, 2))),
            Sample((s8(2, 6, 3, 5),), Slice((1, 0, 0, 0), (1, 6, 3, 5))),
            Sample((s16(9, 3),), Slice((4, 0), (5, 3))),
            Sample((f32(2, 8),), Slice((0, 3), (2, 4)), low=-1.0, high=1.0),
            Sample((s32(7),), Slice((6,), (1,))),
            Sample((s64(2, 5),), Slice((0, 1), (2, 3))),
            Sample((bools(4, 2),), Slice((1, 1), (2, 1))),
        ),
        dtypes=DTYPES,
        oracle=oracles("SLICE", (*ACTIVATIONS, DType.S32, DType.BOOL), (DType.S64,)),
    )
)

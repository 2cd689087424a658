"""Reductions over axes: mean.

Integers are summed exactly, then scaled once by x.scale / (y.scale * n); floats are summed
from zero in row-major order of the reduced axes and divided by n.  Means over (H) or (H,W)
of a map are consumed row by row (`mean`: an accumulator is carried across pieces of the
input); any other set of axes is read where it lies (`mean_dense`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node, Value
from lilliput.ir.op import Attrs, Cost, Finish, Kernel, Op, Operand, Sample, Work
from lilliput.ir.region import AxisRule, OperandRule, Pointwise, Reduce, Whole
from lilliput.ir.types import Array, DType, TensorType, f32, s8, s16
from lilliput.ops.common import c_type, check
from lilliput.ops.move import element_strides
from lilliput.ops.numeric import quantize_multiplier, requant, saturate
from lilliput.ops.registry import register

DTYPES = (DType.S8, DType.S16, DType.F32)
MAX_RANK = 6


@dataclass(frozen=True)
class Mean(Attrs):
    """axes: what is averaged, ascending, not negative; keepdims leaves them with extent 1."""

    axes: tuple[int, ...]
    keepdims: bool = True


def _attrs(node: Node) -> Mean:
    assert isinstance(node.attrs, Mean)
    return node.attrs


def _infer(a: Mean, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 1, "wrong number of operands", "x", len(types))
    x, rank = types[0], len(types[0].shape)
    check(x.dtype in DTYPES, "element type", "f32, s8 or s16", x.dtype.value)
    check(1 <= rank <= MAX_RANK, "rank", f"1 to {MAX_RANK}", rank)
    ascending = a.axes == tuple(sorted(set(a.axes))) and len(a.axes) > 0
    check(ascending, "axes", "ascending, each once, at least one", a.axes)
    check(min(a.axes) >= 0 and max(a.axes) < rank, "axes", f"0 to {rank - 1}", a.axes)
    count = math.prod(x.shape[i] for i in a.axes)
    if x.dtype.is_integer:
        limit = (1 << 31) // (1 << (8 * x.dtype.itemsize))
        check(count < limit, "too many elements for a 32-bit sum", f"< {limit}", count)
    kept = [d for i, d in enumerate(x.shape) if i not in a.axes]
    every = [1 if i in a.axes else d for i, d in enumerate(x.shape)]
    return (x.with_shape(*(every if a.keepdims else kept)),)


def _count(node: Node) -> int:
    return node.inputs[0].type.size // node.output.type.size


def scaling(node: Node) -> tuple[int, int]:
    """(mult, shift) of an integer mean: the multiplier of the scales, divided by the count.

    As TFLite's QuantizedMeanOrSum: the mantissa is moved up by the whole part of log2(n)
    before the division, no further than shift -31 allows.
    """
    x, y, n = node.inputs[0].type, node.output.type, _count(node)
    mult, shift = quantize_multiplier(x.scale / y.scale)
    up = min(n.bit_length() - 1, 32, 31 + shift)
    return (mult << up) // n, shift - up


def _ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    (x,), y, axes, n = operands, node.output.type, _attrs(node).axes, _count(node)
    kept = [i for i in range(x.ndim) if i not in axes]
    rows = x.transpose(*kept, *axes).reshape(-1, n)
    if y.dtype.is_float:
        zero = np.zeros((rows.shape[0], 1), np.float32)
        sums = np.add.accumulate(np.concatenate([zero, rows], 1), axis=1, dtype=np.float32)
        return ((sums[:, -1] / np.float32(n)).reshape(y.shape),)
    mult, shift = scaling(node)
    acc = rows.astype(np.int64).sum(1) - node.inputs[0].type.zero_point * n
    return (saturate(requant(acc, mult, shift) + y.zero_point, y).reshape(y.shape),)


def _streams(node: Node) -> bool:
    """Whether the rows of a map can be averaged as they come."""
    return len(node.inputs[0].type.shape) == 4 and _attrs(node).axes in ((1,), (1, 2))


def _regions(node: Node) -> tuple[OperandRule, ...]:
    a, rank, out = _attrs(node), len(node.inputs[0].type.shape), len(node.output.type.shape)
    rules: list[AxisRule] = []
    for axis in range(rank):
        if axis not in a.axes:
            gone = 0 if a.keepdims else sum(k < axis for k in a.axes)
            rules.append(Pointwise(axis - gone))
        elif axis == 1 and _streams(node):
            rules.append(Reduce(Pointwise(out)))
        else:
            rules.append(Whole())
    return (tuple(rules),)


# Kernels ----------------------------------------------------------------------------------


def _types(node: Node) -> Mapping[str, str]:
    x = node.inputs[0].type.dtype
    return {"LL_X": c_type(x), "LL_ACC": "float" if x.is_float else "int32_t"}


def _operands(_: Builder, node: Node) -> tuple[Operand, ...]:
    return (Operand(node.inputs[0], 0),)


def _finish(_: Builder, node: Node) -> Finish:
    x, y, n = node.inputs[0].type, node.output.type, _count(node)
    if y.dtype.is_float:
        return Finish(lambda acc, _: f"{acc} / {float(n)!r}f")
    mult, shift = scaling(node)
    offset = x.zero_point * n
    low, high = (bound - y.zero_point for bound in y.dtype.bounds)

    def c(acc: str, _: Callable[[Value], str]) -> str:
        scaled = f"ll_requant({acc} - ({offset}), {mult}, {shift})"
        return f"ll_clamp({scaled}, {low}, {high}) + ({y.zero_point})"

    return Finish(c)


def _params(node: Node) -> Mapping[str, int]:
    x, a = node.inputs[0].type, _attrs(node)
    return {
        "in_h": x.shape[1],
        "in_w": x.shape[2],
        "channels": x.shape[3],
        "reduce_w": int(2 in a.axes),
        "flat": int(2 in a.axes and not a.keepdims),
    }


def _carry(node: Node) -> int:
    """One accumulator for each output pixel and channel of one image."""
    x = node.inputs[0].type
    return 4 * x.shape[3] * (1 if 2 in _attrs(node).axes else x.shape[2])


def _dense_params(node: Node) -> Mapping[str, int]:
    a, x, y = _attrs(node), node.inputs[0].type, node.output.type
    strides = element_strides(x.shape)
    kept = [s for i, s in enumerate(strides) if i not in a.axes]
    every = [0 if i in a.axes else s for i, s in enumerate(strides)]
    steps = [0] * MAX_RANK + (every if a.keepdims else kept)
    extents = [1] * MAX_RANK + list(y.shape)
    fields = {f"step{k}": steps[k - MAX_RANK] for k in range(MAX_RANK)}
    fields |= {f"extent{k}": extents[k - MAX_RANK] for k in (1, 2, 3)}
    inner = _merge([(x.shape[i], strides[i]) for i in a.axes])
    for k in range(3):
        fields[f"count{k}"], fields[f"reduce{k}"] = inner[k]
    return fields


def _merge(axes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """(extent, stride) of axes, neighbours in memory merged, led by units up to three."""
    merged: list[tuple[int, int]] = []
    for extent, stride in axes:
        if merged and merged[-1][1] == extent * stride:
            extent *= merged.pop()[0]
        merged.append((extent, stride))
    return [(1, 0)] * (3 - len(merged)) + merged


def _work(node: Node) -> Work:
    """Inner: elements summed; set-ups: pixels of the operand."""
    x = node.inputs[0].type
    return Work(x.size, node.output.type.size, math.prod(x.shape[:-1]))


mean = register(
    Op(
        name="mean",
        doc="y = mean of x over `axes`; x of rank 1 to 6 -> y without them, or with extent 1",
        attrs=Mean,
        infer=_infer,
        ref=_ref,
        regions=_regions,
        cost=lambda node: Cost(ops=node.inputs[0].type.size),
        kernels=(
            Kernel(
                name="mean",
                source="mean.c",
                accepts=lambda node: (
                    None if _streams(node) else "not over (H) or (H,W) of a map of rank 4"
                ),
                types=_types,
                params=_params,
                specialise=("reduce_w", "flat", "channels", "in_w", "in_h"),
                operands=_operands,
                finish=_finish,
                carry=_carry,
                work=_work,
            ),
            Kernel(
                name="mean_dense",
                source="mean_dense.c",
                accepts=lambda node: (
                    "its rows are the result's, those of a mean over (H) or (H,W) the operand's"
                    if _streams(node)
                    else None
                ),
                types=_types,
                params=_dense_params,
                operands=_operands,
                finish=_finish,
                work=_work,
                dense=True,
            ),
        ),
        samples=(
            Sample(
                (s8(1, 5, 7, 6, scale=0.05, zero_point=-3),),
                Mean((1, 2)),
                (s8(1, 1, 1, 6, scale=0.05, zero_point=-3),),
            ),
            Sample(
                (s8(2, 4, 3, 5, scale=0.1, zero_point=127),),
                Mean((1, 2), keepdims=False),
                (s8(2, 5, scale=0.03, zero_point=-128),),
            ),
            Sample(
                (s8(2, 9, 3, 4, scale=0.1, zero_point=5),),
                Mean((1,)),
                (s8(2, 1, 3, 4, scale=0.2, zero_point=9),),
            ),
            Sample(
                (s8(1, 3, 8, 3, scale=1e-4, zero_point=-128),),
                Mean((2,), keepdims=False),
                (s8(1, 3, 3, scale=5.0, zero_point=0),),
            ),
            Sample(
                (s8(3, 4, 2, 33, scale=0.7, zero_point=-1),),
                Mean((3,), keepdims=False),
                (s8(3, 4, 2, scale=0.01, zero_point=2),),
            ),
            Sample(
                (s16(2, 5, 6, 3, scale=0.001),),
                Mean((1, 2)),
                (s16(2, 1, 1, 3, scale=0.0005),),
            ),
            Sample(
                (s16(2, 3, 4, 5, scale=0.01, zero_point=-77),),
                Mean((0, 2)),
                (s16(1, 3, 1, 5, scale=0.011, zero_point=32767),),
            ),
            Sample((f32(2, 5, 3, 4),), Mean((1, 2), keepdims=False), low=-3.0, high=3.0),
            Sample((f32(1, 6, 5, 3),), Mean((1,)), low=-3.0, high=3.0),
            Sample((f32(2, 3, 2, 5),), Mean((1, 3)), low=-1e4, high=1e4),
        ),
        dtypes=DTYPES,
        oracle="TFLM MEAN",
    )
)

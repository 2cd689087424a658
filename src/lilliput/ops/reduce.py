"""Reductions over axes: mean, sum, reduce_max, reduce_min, reduce_prod.

One idea: all of them are one operator with another row of `folds.KINDS`.  Elements are folded in
row-major order of the reduced axes.  Reductions over (H), (H,W) or a kept (W) of a map are
consumed row by row (`reduce`: accumulators are carried across pieces of the input); any other set
of axes is read where it lies (`reduce_dense`).  Logical any and all are the largest and smallest
of bools.  Searches for a place (arg max) are in `search`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node, Value
from lilliput.ir.op import Attrs, Bounds, Cost, Finish, Kernel, Op, Operand, Sample, Work
from lilliput.ir.range import Range
from lilliput.ir.region import AxisRule, OperandRule, Pointwise, Reduce, Whole
from lilliput.ir.types import Array, DType, TensorType, bools, f32, s8, s16, s32, s64
from lilliput.ops import shape_rules
from lilliput.ops.bounds import increasing, scales_exactly
from lilliput.ops.common import ACTIVATIONS, c_type, check, narrows
from lilliput.ops.folds import (
    KINDS,
    NUMBERS,
    Kind,
    accumulator,
    count,
    is_even,
    is_quantised,
    scaling,
)
from lilliput.ops.move import element_strides, oracles
from lilliput.ops.numeric import Rounding
from lilliput.ops.registry import register

MAX_RANK = 6


@dataclass(frozen=True)
class Reduction(Attrs):
    """axes: what is reduced, ascending, not negative; keepdims leaves them with extent 1.

    rounding : of the mean of int8: DOUBLE, as TFLite, or EVEN, as ONNX Runtime
    """

    axes: tuple[int, ...]
    keepdims: bool = True
    rounding: Rounding = Rounding.DOUBLE


def _attrs(node: Node) -> Reduction:
    assert isinstance(node.attrs, Reduction)
    return node.attrs


def _infer(kind: Kind, a: Reduction, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 1, "wrong number of operands", "x", len(types))
    x, rank = types[0], len(types[0].shape)
    allowed = " ".join(d.value for d in kind.dtypes)
    check(x.dtype in kind.dtypes, "element type", allowed, x.dtype.value)
    check(1 <= rank <= MAX_RANK, "rank", f"1 to {MAX_RANK}", rank)
    ascending = a.axes == tuple(sorted(set(a.axes))) and len(a.axes) > 0
    check(ascending, "axes", "ascending, each once, at least one", a.axes)
    check(min(a.axes) >= 0 and max(a.axes) < rank, "axes", f"0 to {rank - 1}", a.axes)
    even = a.rounding is Rounding.EVEN and kind is KINDS["mean"] and x.dtype is DType.S8
    check(even or a.rounding is Rounding.DOUBLE, "rounding", "double", a.rounding.value)
    folded = math.prod(x.shape[i] for i in a.axes)
    if kind.summed and x.dtype in ACTIVATIONS and x.dtype.is_integer:
        limit = (1 << 31) // (1 << (8 * x.dtype.itemsize))
        check(folded < limit, "too many elements for a 32-bit sum", f"< {limit}", folded)
    kept = [d for i, d in enumerate(x.shape) if i not in a.axes]
    every = [1 if i in a.axes else d for i, d in enumerate(x.shape)]
    return (x.with_shape(*(every if a.keepdims else kept)),)


def _ref(kind: Kind, node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    (x,), y, axes = operands, node.output.type, _attrs(node).axes
    kept = [i for i in range(x.ndim) if i not in axes]
    acc = kind.rows(node, x.transpose(*kept, *axes).reshape(-1, count(node)))
    return (kind.finish(node, acc).reshape(y.shape).astype(y.dtype.numpy, copy=False),)


# Regions ----------------------------------------------------------------------------------


def _streams(node: Node) -> bool:
    """Whether the rows of a map can be reduced as they come."""
    shape, axes = node.inputs[0].type.shape, _attrs(node).axes
    return len(shape) == 4 and (axes in ((1,), (1, 2)) or (axes == (0, 1, 2) and shape[0] == 1))


def _each_row(node: Node) -> bool:
    """Whether each row of a map is reduced by itself, to one pixel."""
    a = _attrs(node)
    return len(node.inputs[0].type.shape) == 4 and a.axes == (2,) and a.keepdims


def _in_rows(node: Node) -> bool:
    """Whether `reduce` can do it: to it, a row that is reduced by itself is an image."""
    return _streams(node) or _each_row(node)


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


def _bounds(kind: Kind) -> Bounds | None:
    """Extremes grow with what they are of; so do sums that are stored by a scale, unless they
    wrap when they are scaled up.  Products, and sums of plain numbers, say nothing."""

    def summed(node: Node, operands: Sequence[Range]) -> Range | None:
        if not is_quantised(node):
            return None
        mult, shift = (0, 0) if is_even(node) else scaling(node, divide=node.op.name == "mean")
        x, n = node.inputs[0].type, count(node)
        low, high = (n * (np.array(r) - x.zero_point) for r in _span(operands[0]))
        fits = mult >= 0 and scales_exactly(low, high, shift)
        return increasing(node, operands) if fits else None

    if kind.summed:
        return summed
    return None if kind.fold == "prod" else increasing


def _span(told: Range) -> tuple[int, int]:
    return int(told.low.min()), int(told.high.max())


# Kernels ----------------------------------------------------------------------------------


def _types(kind: Kind, node: Node) -> Mapping[str, str]:
    acc = accumulator(node)
    quantised = kind.fold == "prod" and is_quantised(node)
    fold = "prod_quantised" if quantised else f"{kind.fold}_{acc.value}"
    return {"LL_X": c_type(node.inputs[0].type.dtype), "LL_ACC": c_type(acc), "LL_FOLD": fold}


def _operands(_: Builder, node: Node) -> tuple[Operand, ...]:
    return (Operand(node.inputs[0], 0),)


def _finish(kind: Kind, node: Node) -> Finish:
    def c(acc: str, _: Callable[[Value], str]) -> str:
        return kind.c(node, acc)

    return Finish(c)


def _rescale_params(kind: Kind, node: Node) -> Mapping[str, int]:
    return dict(zip(("zero", "mult", "shift"), kind.rescale(node), strict=True))


def _params(node: Node) -> Mapping[str, int]:
    x, a = node.inputs[0].type, _attrs(node)
    return {
        "in_h": 1 if _each_row(node) else x.shape[1],
        "in_w": x.shape[2],
        "channels": x.shape[3],
        "reduce_w": int(2 in a.axes),
        "flat": int(2 in a.axes and not a.keepdims),
    }


def _held(node: Node) -> int:
    """One accumulator for each output pixel and channel of one image."""
    x = node.inputs[0].type
    pixels = 1 if 2 in _attrs(node).axes else x.shape[2]
    return accumulator(node).itemsize * x.shape[3] * pixels


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
    """Inner: elements folded; set-ups: pixels of the operand."""
    x = node.inputs[0].type
    return Work(x.size, node.output.type.size, math.prod(x.shape[:-1]))


ROWS_PARAMS = ("reduce_w", "flat", "channels", "in_w", "in_h")
RESCALE_PARAMS = ("zero", "mult", "shift")


def _kernels(kind: Kind) -> tuple[Kernel, ...]:
    rescaled = RESCALE_PARAMS if kind.fold == "prod" else ()
    return (
        Kernel(
            name="reduce",
            source="reduce.c",
            accepts=lambda node: (
                None if _in_rows(node) else "not over (H), (H,W) or a kept (W) of a map of rank 4"
            ),
            types=lambda node: _types(kind, node),
            params=lambda node: {**_params(node), **_rescale_params(kind, node)},
            specialise=(*ROWS_PARAMS, *rescaled),
            operands=_operands,
            finish=lambda _, node: _finish(kind, node),
            carry=lambda node: _held(node) if _streams(node) else 0,
            scratch=lambda node: _held(node) if _each_row(node) else 0,
            work=_work,
        ),
        Kernel(
            name="reduce_dense",
            source="reduce_dense.c",
            accepts=lambda node: (
                "its rows are the result's; `reduce` takes rows as they come"
                if _in_rows(node)
                else None
            ),
            types=lambda node: _types(kind, node),
            params=lambda node: {**_dense_params(node), **_rescale_params(kind, node)},
            specialise=rescaled,
            operands=_operands,
            finish=lambda _, node: _finish(kind, node),
            work=_work,
            dense=True,
        ),
    )


def _reduction(name: str, doc: str, samples: tuple[Sample, ...], oracle: Mapping[DType, str]) -> Op:
    kind = KINDS[name]
    return register(
        Op(
            name=name,
            doc=f"{doc} over `axes`; x of rank 1 to 6 -> y without them, or with extent 1",
            attrs=Reduction,
            infer=lambda a, types: _infer(kind, a, types),
            ref=lambda node, operands: _ref(kind, node, operands),
            constants=lambda node: kind.c(node, "acc"),
            grads=shape_rules.REDUCTIONS[name],
            regions=_regions,
            bounds=_bounds(kind),
            narrow=narrows,
            cost=lambda node: Cost(ops=node.inputs[0].type.size),
            kernels=_kernels(kind),
            samples=samples,
            dtypes=kind.dtypes,
            oracle=oracle,
        )
    )


WIDE = (DType.S32, DType.S64)

MEANS = (
    Sample(
        (s8(1, 5, 7, 6, scale=0.05, zero_point=-3),),
        Reduction((1, 2)),
        (s8(1, 1, 1, 6, scale=0.05, zero_point=-3),),
    ),
    Sample(
        (s8(2, 4, 3, 5, scale=0.1, zero_point=127),),
        Reduction((1, 2), keepdims=False),
        (s8(2, 5, scale=0.03, zero_point=-128),),
    ),
    Sample(
        (s8(2, 9, 3, 4, scale=0.1, zero_point=5),),
        Reduction((1,)),
        (s8(2, 1, 3, 4, scale=0.2, zero_point=9),),
    ),
    Sample(
        (s8(1, 3, 8, 3, scale=1e-4, zero_point=-128),),
        Reduction((2,), keepdims=False),
        (s8(1, 3, 3, scale=5.0, zero_point=0),),
    ),
    Sample(
        (s8(2, 3, 7, 5, scale=0.1, zero_point=11),),
        Reduction((2,)),
        (s8(2, 3, 1, 5, scale=0.04, zero_point=-20),),
    ),
    Sample(
        (s8(3, 4, 2, 33, scale=0.7, zero_point=-1),),
        Reduction((3,), keepdims=False),
        (s8(3, 4, 2, scale=0.01, zero_point=2),),
    ),
    Sample(
        (s8(1, 3, 3, 7, scale=0.02, zero_point=-8),),
        Reduction((1, 2), rounding=Rounding.EVEN),
        (s8(1, 1, 1, 7, scale=0.008, zero_point=5),),
    ),
    Sample(
        (s8(2, 6, 5, scale=0.5, zero_point=3),),
        Reduction((1,), keepdims=False, rounding=Rounding.EVEN),
        (s8(2, 5, scale=0.25),),
    ),
    Sample(
        (s16(2, 5, 6, 3, scale=0.001),),
        Reduction((1, 2)),
        (s16(2, 1, 1, 3, scale=0.0005),),
    ),
    Sample(
        (s16(2, 3, 4, 5, scale=0.01, zero_point=-77),),
        Reduction((0, 2)),
        (s16(1, 3, 1, 5, scale=0.011, zero_point=32767),),
    ),
    Sample((f32(2, 5, 3, 4),), Reduction((1, 2), keepdims=False), low=-3.0, high=3.0),
    Sample((f32(1, 6, 5, 3),), Reduction((1,)), low=-3.0, high=3.0),
    Sample((f32(2, 3, 2, 5),), Reduction((1, 3)), low=-1e4, high=1e4),
    Sample((s32(2, 4, 3, 5),), Reduction((1, 2))),
    Sample((s32(3, 7, 2),), Reduction((1,), keepdims=False), low=-9, high=9),
    Sample((s64(5, 6),), Reduction((0,))),
)

mean = _reduction("mean", "y = mean of x", MEANS, oracles("MEAN", ACTIVATIONS, WIDE))

SUMS = (
    Sample(
        (s8(2, 5, 7, 6, scale=0.05, zero_point=-3),),
        Reduction((1, 2)),
        (s8(2, 1, 1, 6, scale=1.1, zero_point=-128),),
    ),
    Sample(
        (s8(2, 4, 3, 5, scale=0.1, zero_point=127),),
        Reduction((1,), keepdims=False),
        (s8(2, 3, 5, scale=0.03, zero_point=9),),
    ),
    Sample(
        (s8(3, 4, 2, 33, scale=0.7, zero_point=-1),),
        Reduction((3,), keepdims=False),
        (s8(3, 4, 2, scale=9.0, zero_point=127),),
    ),
    Sample((s16(2, 5, 6, 3, scale=0.001),), Reduction((1, 2)), (s16(2, 1, 1, 3, scale=0.02),)),
    Sample((s16(2, 3, 4, 5, scale=0.01),), Reduction((0, 2)), (s16(1, 3, 1, 5, scale=3.0),)),
    Sample((f32(2, 5, 3, 4),), Reduction((1, 2), keepdims=False), low=-3.0, high=3.0),
    Sample((f32(2, 3, 2, 5),), Reduction((1, 3)), low=-1e4, high=1e4),
    Sample((s32(2, 4, 3, 5),), Reduction((1, 2))),
    Sample((s32(3, 7, 2),), Reduction((0, 2), keepdims=False)),
    Sample((s64(2, 3, 2),), Reduction((1,))),
)
sum_ = _reduction("sum", "y = sum of x", SUMS, oracles("SUM", ACTIVATIONS, WIDE))

EXTREMES = (
    Sample((s8(2, 5, 7, 6, scale=0.05, zero_point=-3),), Reduction((1, 2))),
    Sample((s8(2, 4, 3, 5, scale=0.1, zero_point=127),), Reduction((1,), keepdims=False)),
    Sample((s8(3, 4, 2, 33, scale=0.7, zero_point=-1),), Reduction((3,), keepdims=False)),
    Sample((s8(2, 3, 2, 3, 4, 2),), Reduction((0, 2, 4))),
    Sample((s16(2, 5, 6, 3, scale=0.001),), Reduction((1, 2), keepdims=False)),
    Sample((s16(4, 5, scale=0.001),), Reduction((0, 1))),
    Sample((f32(2, 5, 3, 4),), Reduction((1, 2)), low=-3.0, high=3.0),
    Sample((f32(7, 9),), Reduction((1,), keepdims=False), low=-1e6, high=-1.0),
    Sample((s32(2, 4, 3, 5),), Reduction((1, 2))),
    Sample((s64(2, 3, 2),), Reduction((1,))),
    Sample((bools(2, 3, 4, 3),), Reduction((1, 2))),
    Sample((bools(5, 3),), Reduction((1,), keepdims=False)),
)
_IN_TFLM = (DType.F32, DType.S8)
_IN_LITERT = (DType.S16, *WIDE)
reduce_max = _reduction(
    "reduce_max",
    "y = largest of x (any of bools)",
    EXTREMES,
    {**oracles("REDUCE_MAX", _IN_TFLM, _IN_LITERT), DType.BOOL: "LiteRT REDUCE_ANY"},
)
reduce_min = _reduction(
    "reduce_min",
    "y = smallest of x (all of bools)",
    EXTREMES,
    {**oracles("REDUCE_MIN", _IN_TFLM, _IN_LITERT), DType.BOOL: "TFLM REDUCE_ALL"},
)

PRODS = (
    Sample(
        (s8(2, 2, 3, 6, scale=0.05, zero_point=-3),),
        Reduction((1, 2)),
        (s8(2, 1, 1, 6, scale=0.5, zero_point=-128),),
    ),
    Sample(
        (s8(2, 4, 3, 5, scale=0.02, zero_point=127),),
        Reduction((1,), keepdims=False),
        (s8(2, 3, 5, scale=2.0, zero_point=9),),
    ),
    Sample((s8(9, 5, scale=0.01),), Reduction((0,)), (s8(1, 5, scale=1e-9, zero_point=-7),)),
    Sample((s16(2, 3, 2, 3, scale=1e-4),), Reduction((1, 2)), (s16(2, 1, 1, 3, scale=0.01),)),
    Sample((s16(7, 3, scale=1e-4),), Reduction((1,)), (s16(7, 1, scale=0.002),)),
    Sample((f32(2, 3, 3, 4),), Reduction((1, 2), keepdims=False), low=-3.0, high=3.0),
    Sample((f32(5, 4, 2),), Reduction((0, 2)), low=-2.0, high=2.0),
    Sample((s32(2, 4, 3, 5),), Reduction((1, 2)), low=-9, high=9),
    Sample((s32(3, 7, 2),), Reduction((0, 2), keepdims=False)),
    Sample((s64(2, 3, 2),), Reduction((1,))),
)
reduce_prod = _reduction(
    "reduce_prod", "y = product of x", PRODS, oracles("REDUCE_PROD", (), NUMBERS)
)

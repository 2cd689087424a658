"""Sliding-window reductions without weights: avg_pool2d and max_pool2d.

Both see only the taps that lie inside the map: padding moves the window, it adds no
values.  They keep the quantisation of their input, as TFLite requires; an activation that
a TFLite node carries is a `clamp` node behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Cost, Finish, Kernel, Op, Operand, Sample, Work
from lilliput.ir.region import OperandRule, Pointwise, Reduce, Whole, Window
from lilliput.ir.types import Array, TensorType, f32, s8, s16
from lilliput.ops import product_rules
from lilliput.ops.bounds import increasing
from lilliput.ops.common import ACTIVATIONS, c_type, check, check_activations, margins, narrows
from lilliput.ops.registry import register


@dataclass(frozen=True)
class Pool(Attrs):
    """kernel, stride (rows, columns); pad (top, bottom, left, right)."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)


def _attrs(node: Node) -> Pool:
    assert isinstance(node.attrs, Pool)
    return node.attrs


def _spans(node: Node) -> bool:
    """Whether the only window is the whole map, so that its rows can be added as they come."""
    a = _attrs(node)
    return a.kernel == node.inputs[0].type.shape[1:3] and not any(a.pad)


def pooled_type(a: Pool, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 1, "wrong number of operands", "x", len(types))
    x = types[0]
    check(len(x.shape) == 4, "operand is not of rank 4", "(N,H,W,C)", x.shape)
    check_activations(x)
    check(min(*a.kernel, *a.stride) >= 1, "kernel and stride", ">= 1", a)
    check(a.kernel[0] * a.kernel[1] < 1 << 15, "window", "fewer than 32768 taps", a.kernel)
    inside = max(a.pad[:2]) < a.kernel[0] and max(a.pad[2:]) < a.kernel[1]
    check(min(a.pad) >= 0 and inside, "padding", "0 <= pad < kernel", a.pad)
    free = [
        x.shape[1] + a.pad[0] + a.pad[1] - a.kernel[0],
        x.shape[2] + a.pad[2] + a.pad[3] - a.kernel[1],
    ]
    check(min(free) >= 0, "window is larger than the padded map", x.shape, a.kernel)
    oh, ow = (f // s + 1 for f, s in zip(free, a.stride, strict=True))
    return (x.with_shape(x.shape[0], oh, ow, x.shape[3]),)


def taps(a: Pool, x: Array, fill: int | float, out: tuple[int, ...]) -> list[Array]:
    """The map as each tap sees it, row major, with `fill` where a tap lies outside."""
    wide = ((0, 0), a.pad[:2], a.pad[2:], (0, 0))
    x = np.pad(x, wide, constant_values=fill)
    rows, columns = ((out[k + 1] - 1) * a.stride[k] + 1 for k in (0, 1))
    return [
        x[:, i : i + rows : a.stride[0], j : j + columns : a.stride[1]]
        for i in range(a.kernel[0])
        for j in range(a.kernel[1])
    ]


def _avg_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    a, (x,), y = _attrs(node), operands, node.output.type
    acc = np.zeros(y.shape, np.float32 if y.dtype.is_float else np.int64)
    count = np.zeros(y.shape, acc.dtype)
    inside = taps(a, np.ones_like(x), 0, y.shape)
    for tap, one in zip(taps(a, x, 0, y.shape), inside, strict=True):
        acc = acc + tap
        count = count + one
    if y.dtype.is_float:
        return (acc / count,)
    magnitude = (np.abs(acc) + count // 2) // count
    return ((np.sign(acc) * magnitude).astype(y.dtype.numpy),)


def _max_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    a, (x,), y = _attrs(node), operands, node.output.type
    lowest = -np.inf if y.dtype.is_float else y.dtype.bounds[0]
    best = np.full(y.shape, lowest, y.dtype.numpy)
    for tap in taps(a, x, lowest, y.shape):
        best = np.where(tap > best, tap, best)
    return (best,)


def _regions(node: Node) -> tuple[OperandRule, ...]:
    a = _attrs(node)
    rule: OperandRule = (
        Pointwise(0),
        Window(1, a.kernel[0], a.stride[0], 1, a.pad[0]),
        Window(2, a.kernel[1], a.stride[1], 1, a.pad[2]),
        Pointwise(3),
    )
    return (rule,)


def _avg_regions(node: Node) -> tuple[OperandRule, ...]:
    if not _spans(node):
        return _regions(node)
    rows = Reduce(Pointwise(len(node.output.type.shape)))
    return ((Pointwise(0), rows, Whole(), Pointwise(3)),)


def _slide(node: Node, axis: int, outside: tuple[int, int]) -> Attrs:
    a = _attrs(node)
    return replace(a, pad=margins(a.pad, axis, outside))


def _work(node: Node) -> int:
    kh, kw = _attrs(node).kernel
    return node.output.type.size * kh * kw


def _types(node: Node) -> Mapping[str, str]:
    x = node.inputs[0].type.dtype
    acc = "float" if x.is_float else "int32_t"
    return {
        "LL_X": c_type(x),
        "LL_ACC": acc,
        "LL_AVERAGE": "ll_average_f32" if x.is_float else "ll_average_s32",
    }


def _max_types(node: Node) -> Mapping[str, str]:
    return {k: v for k, v in _types(node).items() if k != "LL_AVERAGE"}


def _params(node: Node) -> Mapping[str, int]:
    a, x, y = _attrs(node), node.inputs[0].type, node.output.type
    return {
        "in_h": x.shape[1],
        "in_w": x.shape[2],
        "out_h": y.shape[1],
        "kh": a.kernel[0],
        "kw": a.kernel[1],
        "stride_h": a.stride[0],
        "stride_w": a.stride[1],
        "pad_top": a.pad[0],
        "pad_left": a.pad[2],
    }


def _operands(_: Builder, node: Node) -> tuple[Operand, ...]:
    return (Operand(node.inputs[0], 0),)


def _finish(_b: Builder, _node: Node) -> Finish:
    return Finish(lambda acc, _: acc)


SPECIALISE = (
    "kh",
    "kw",
    "stride_h",
    "stride_w",
    "pad_top",
    "pad_left",
    "in_h",
    "in_w",
    "out_h",
)


def _kernel_work(node: Node) -> Work:
    """Inner: taps; set-ups: rows of windows."""
    size = node.output.type.size
    return Work(_work(node), size, size * _attrs(node).kernel[0])


def _sum_types(node: Node) -> Mapping[str, str]:
    x = node.inputs[0].type.dtype
    acc, fold = ("float", "sum_f32") if x.is_float else ("int32_t", "sum_s32")
    return {"LL_X": c_type(x), "LL_ACC": acc, "LL_FOLD": fold}


def _sum_params(node: Node) -> Mapping[str, int]:
    _, rows, pixels, channels = node.inputs[0].type.shape
    every = {"in_h": rows, "in_w": pixels, "channels": channels, "reduce_w": 1, "flat": 0}
    return {**every, "zero": 0, "mult": 0, "shift": 0}


def _average(_: Builder, node: Node) -> Finish:
    kh, kw = _attrs(node).kernel
    taps = kh * kw
    if node.inputs[0].type.dtype.is_float:
        return Finish(lambda acc, _: f"{acc} / {taps}.0f")
    half = taps // 2  # to the nearest integer, ties away from zero
    return Finish(lambda acc, _: f"({acc} > 0 ? {acc} + {half} : {acc} - {half}) / {taps}")


def _sum_work(node: Node) -> Work:
    """As that of `reduce`."""
    x = node.inputs[0].type
    return Work(x.size, node.output.type.size, x.size // x.shape[3])


ROWS_ADDED = Kernel(
    name="reduce",
    source="reduce.c",
    accepts=lambda node: None if _spans(node) else "its windows are not the whole map",
    types=_sum_types,
    params=_sum_params,
    specialise=("in_h", "in_w", "channels", "reduce_w", "flat"),
    operands=_operands,
    finish=_average,
    carry=lambda node: 4 * node.inputs[0].type.shape[3],
    work=_sum_work,
)
"""The mean of a whole map: an accumulator for each channel, which rows are added to."""


def _several(node: Node) -> str | None:
    return "the rows of its only window are added as they come" if _spans(node) else None


def _kernel(
    name: str,
    types: Callable[[Node], Mapping[str, str]],
    accepts: Callable[[Node], str | None] = lambda node: None,
) -> Kernel:
    return Kernel(
        name=name,
        source=f"{name}.c",
        accepts=accepts,
        types=types,
        params=_params,
        specialise=SPECIALISE,
        operands=_operands,
        finish=_finish,
        overlap="row",
        work=_kernel_work,
    )


SAMPLES = (
    Sample((s8(1, 7, 9, 3, scale=0.05, zero_point=-3),), Pool((2, 2), (2, 2))),
    Sample((s8(2, 5, 6, 5, scale=0.1, zero_point=127),), Pool((3, 3), (1, 1), (1, 1, 1, 1))),
    Sample((s8(1, 8, 7, 4, scale=3.0, zero_point=-128),), Pool((2, 3), (3, 5), (1, 0, 0, 2))),
    Sample((s8(1, 25, 5, 16, scale=0.2, zero_point=11),), Pool((25, 5), (25, 5))),
    Sample((s16(2, 6, 5, 3, scale=0.001),), Pool((3, 2), (2, 1), (1, 1, 0, 1))),
    Sample((s16(1, 9, 4, 1, scale=1e-5, zero_point=7),), Pool((4, 4), (1, 1), (3, 2, 1, 2))),
    Sample((f32(2, 7, 5, 3),), Pool((3, 3), (2, 2), (1, 1, 1, 1)), low=-4.0, high=4.0),
    Sample((f32(1, 6, 6, 1),), Pool((1, 2), (4, 3)), low=-1e6, high=1e6),
)

avg_pool2d = register(
    Op(
        name="avg_pool2d",
        doc="y[n,p,q,c] = mean of x[n, p*s+i-pad, q*s+j-pad, c] over the taps inside the map; "
        "x (N,H,W,C) -> y (N,OH,OW,C)",
        attrs=Pool,
        infer=pooled_type,
        ref=_avg_ref,
        grads=(product_rules.average,),
        regions=_avg_regions,
        bounds=increasing,
        narrow=narrows,
        slide=_slide,
        cost=lambda node: Cost(ops=_work(node)),
        kernels=(ROWS_ADDED, _kernel("avg_pool2d", _types, _several)),
        samples=SAMPLES,
        dtypes=ACTIVATIONS,
        oracle="TFLM AVERAGE_POOL_2D",
    )
)

max_pool2d = register(
    Op(
        name="max_pool2d",
        doc="y[n,p,q,c] = max of x[n, p*s+i-pad, q*s+j-pad, c] over the taps inside the map; "
        "x (N,H,W,C) -> y (N,OH,OW,C)",
        attrs=Pool,
        infer=pooled_type,
        ref=_max_ref,
        grads=(product_rules.largest,),
        regions=_regions,
        bounds=increasing,
        narrow=narrows,
        slide=_slide,
        cost=lambda node: Cost(ops=_work(node)),
        kernels=(_kernel("max_pool2d", _max_types),),
        samples=SAMPLES,
        dtypes=ACTIVATIONS,
        oracle="TFLM MAX_POOL_2D",
    )
)

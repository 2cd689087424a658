"""frames: windows of a signal that overlap, each multiplied by a window function.

One idea: sound lies in memory as it comes, and a block of it is as long as the windows are apart.
So the signal is (N,B,A,S): B blocks of S samples, of A axes of the sensor (1 of a microphone), and
window f begins with block f.  Time is an axis of rows, on which rings turn: a step over time
takes a block and keeps the others.  Products are exact; what lies beyond the window is zero,
so that a result is as long as the transform that it is for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Cost, Kernel, Op, Operand, Sample, Work
from lilliput.ir.region import OperandRule, Pointwise, Whole, Window
from lilliput.ir.types import Array, DType, TensorType, s16
from lilliput.ops.common import check, slides
from lilliput.ops.registry import register


@dataclass(frozen=True)
class Frames(Attrs):
    """length: samples of a result; those beyond the window are zero."""

    length: int


def _attrs(node: Node) -> Frames:
    assert isinstance(node.attrs, Frames)
    return node.attrs


def _reach(window: int, stride: int) -> int:
    """Blocks that a window of so many samples lies in."""
    return -(-window // stride)


def _infer(a: Frames, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 2, "wrong number of operands", "x, window", len(types))
    x, w = types
    for what, type in (("samples", x), ("window", w)):
        check(type.dtype is DType.S16, f"element type of the {what}", "s16", type.dtype.value)
        check(type.zero_point == 0, f"zero point of the {what}", 0, type.quant)
    check(len(x.shape) == 4, "operand is not of rank 4", "(N,blocks,axes,stride)", x.shape)
    check(len(w.shape) == 1, "window is not of rank 1", "(samples)", w.shape)
    n, blocks, axes, stride = x.shape
    check(a.length >= w.shape[0], "length", f"the window's {w.shape[0]} at least", a.length)
    reach = _reach(w.shape[0], stride)
    check(blocks >= reach, "blocks", f"{reach} at least, those of one window", blocks)
    return (TensorType((n, blocks - reach + 1, axes, a.length), DType.S32),)


def _ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    x, w = (v.astype(np.int32) for v in operands)
    y = np.zeros(node.output.type.shape, np.int32)
    frames, stride = y.shape[1], x.shape[3]
    for k in range(_reach(w.size, stride)):
        part = w[k * stride : (k + 1) * stride]
        y[..., k * stride : k * stride + part.size] = x[:, k : k + frames, :, : part.size] * part
    return (y,)


def _regions(node: Node) -> tuple[OperandRule, ...]:
    x, w = (v.type.shape for v in node.inputs)
    time = Window(1, _reach(w[0], x[3]))
    return ((Pointwise(0), time, Pointwise(2), Whole()), (Whole(),))


def _params(node: Node) -> Mapping[str, int]:
    x, w = (v.type.shape for v in node.inputs)
    return {
        "blocks": x[1],
        "stride": x[3],
        "window": w[0],
        "frames": node.output.type.shape[1],
        "length": _attrs(node).length,
    }


def _products(node: Node) -> int:
    return node.output.type.size // _attrs(node).length * node.inputs[1].type.size


def _work(node: Node) -> Work:
    """Inner: products; set-ups: blocks of windows."""
    y, x, w = node.output.type, node.inputs[0].type.shape, node.inputs[1].type.shape
    return Work(_products(node), y.size, y.size // y.shape[3] * _reach(w[0], x[3]))


frames = register(
    Op(
        name="frames",
        doc="y[n,f,a,k] = x[n, f + k//S, a, k%S] * w[k], 0 for k >= W; x (N,B,A,S) of s16, "
        "w (W) of s16 -> y (N, B - ceil(W/S) + 1, A, length) of s32",
        attrs=Frames,
        infer=_infer,
        ref=_ref,
        regions=_regions,
        slide=slides,
        cost=lambda node: Cost(macs=_products(node)),
        kernels=(
            Kernel(
                name="frames",
                source="frames.c",
                accepts=lambda node: None,
                types=lambda node: {},
                params=_params,
                specialise=("stride", "window", "length"),
                operands=lambda b, node: tuple(Operand(v, i) for i, v in enumerate(node.inputs)),
                work=_work,
            ),
        ),
        samples=(
            Sample((s16(1, 7, 1, 10), s16(16)), Frames(16), params=(1,)),
            Sample((s16(1, 5, 1, 8), s16(24)), Frames(32), params=(1,)),
            Sample((s16(2, 3, 3, 5), s16(4)), Frames(7), params=(1,)),
            Sample((s16(2, 6, 2, 3), s16(8)), Frames(8), params=(1,)),
        ),
        dtypes=(DType.S16,),
        oracle="docs/audio.md",
    )
)

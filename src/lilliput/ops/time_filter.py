"""A filter over the frames of a window, one a channel: the second half of an SVDF layer.

Nakkiran et al., "Compressing deep neural networks using a rank-constrained topology"
(2015): a layer of rank R is a projection of the newest frame, a window of projections over
time, and this.  The window is a state that `push` turns; nothing here knows of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Cost, Finish, Kernel, Op, Operand, Sample, Work
from lilliput.ir.region import OperandRule, Pointwise, Whole
from lilliput.ir.types import Array, DType, TensorType, f32, s8, s16, s32
from lilliput.ops.common import ACTIVATIONS, REQUANT_C, c_type, check, check_activations
from lilliput.ops.elementwise import clamped
from lilliput.ops.numeric import Rounding, quantize_multiplier, requant, saturate, wrap32
from lilliput.ops.registry import register


@dataclass(frozen=True)
class TimeFilter(Attrs):
    """rank: neighbouring channels that are summed."""

    rank: int = 1


def _rank(node: Node) -> int:
    assert isinstance(node.attrs, TimeFilter)
    return node.attrs.rank


def _infer(a: TimeFilter, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 3, "wrong number of operands", "x, w, bias", len(types))
    x, w, bias = types
    check_activations(x)
    check(len(x.shape) == 3, "rank of x", "(T,N,C)", x.shape)
    check(a.rank >= 1 and x.shape[2] % a.rank == 0, "channels", f"a multiple of {a.rank}", x.shape)
    check(w.shape == (x.shape[0], x.shape[2]), "weights", (x.shape[0], x.shape[2]), w.shape)
    check(w.dtype is x.dtype, "type of the weights", x.dtype.value, w.dtype.value)
    units = x.shape[2] // a.rank
    wanted = DType.F32 if x.dtype.is_float else DType.S32
    check(
        bias == TensorType((units,), wanted, bias.quant), "bias", f"{wanted.value}[{units}]", bias
    )
    if x.dtype.is_integer:
        for what, type in (("x", x), ("weights", w)):
            ok = type.quant is not None and type.quant.is_per_tensor and type.zero_point == 0
            check(ok, f"quantisation of {what}", "per tensor, zero point 0", type.quant)
        return (s8(x.shape[1], units),)
    return (f32(x.shape[1], units),)


def _multiplier(node: Node) -> tuple[int, int]:
    """Scales multiplied and divided in float32, as TFLite Micro's preparation of SVDF does."""
    x, w, y = (np.float32(t.scale) for t in (*(v.type for v in node.inputs[:2]), node.output.type))
    return quantize_multiplier(float(x * w / y))


def _ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    x, w, bias = operands
    y, rank = node.output.type, _rank(node)
    kind = np.float32 if y.dtype.is_float else np.int64
    acc = np.zeros(x.shape[1:], kind)
    for frame, weights in zip(x.astype(kind), w.astype(kind), strict=True):
        acc = acc + frame * weights
    total = np.broadcast_to(bias.astype(kind), (x.shape[1], bias.size))
    for k in range(rank):
        total = total + acc[:, k::rank]
    if y.dtype.is_float:
        return (total.astype(np.float32),)
    return (saturate(wrap32(requant(wrap32(total), *_multiplier(node)) + y.zero_point), y),)


def _regions(_: Node) -> tuple[OperandRule, ...]:
    return ((Whole(), Pointwise(0), Whole()), (Whole(), Whole()), (Pointwise(1),))


def _types(node: Node) -> Mapping[str, str]:
    x = node.inputs[0].type.dtype
    acc, add = ("float", "ll_add_f32") if x.is_float else ("int32_t", "ll_wrap_add")
    return {"LL_X": c_type(x), "LL_ACC": acc, "LL_ADD": add}


def _params(node: Node) -> Mapping[str, int]:
    frames, _, channels = node.inputs[0].type.shape
    return {"frames": frames, "in_c": channels, "rank": _rank(node)}


def _finish(_: Builder, node: Node) -> Finish:
    y = node.output.type
    if y.dtype.is_float:
        return Finish(lambda acc, load: acc)
    mult, shift = _multiplier(node)
    requantise = REQUANT_C[Rounding.DOUBLE]
    return Finish(
        lambda acc, load: clamped(
            f"ll_wrap_add({requantise}({acc}, {mult}, {shift}), {y.zero_point})", y
        )
    )


def _work(node: Node) -> Work:
    """Inner: products; one set-up an output."""
    frames, pixels, channels = node.inputs[0].type.shape
    return Work(frames * pixels * channels, node.output.type.size, node.output.type.size)


time_filter = register(
    Op(
        name="time_filter",
        doc="y[n,u] = bias[u] + sum over r < rank and t of x[t,n,u*rank+r] * w[t,u*rank+r]; "
        "x (T,N,C), w (T,C), bias (C/rank) -> y (N,C/rank)",
        attrs=TimeFilter,
        infer=_infer,
        ref=_ref,
        regions=_regions,
        cost=lambda node: Cost(macs=node.inputs[0].type.size),
        kernels=(
            Kernel(
                name="time_filter",
                source="time_filter.c",
                accepts=lambda _: None,
                types=_types,
                params=_params,
                specialise=("frames", "rank", "in_c"),
                operands=lambda _, node: tuple(Operand(v, i) for i, v in enumerate(node.inputs)),
                finish=_finish,
                work=_work,
            ),
        ),
        samples=(
            Sample(
                (s16(5, 1, 6, scale=0.01), s16(5, 6, scale=0.002), s32(6)),
                TimeFilter(),
                (s8(1, 6, scale=400.0, zero_point=-128),),
                params=(1, 2),
            ),
            Sample(
                (s16(3, 2, 8, scale=0.3), s16(3, 8, scale=0.2), s32(4)),
                TimeFilter(2),
                (s8(2, 4, scale=3e6, zero_point=9),),
                params=(1, 2),
            ),
            Sample(
                (s8(7, 3, 9, scale=0.1), s8(7, 9, scale=0.05), s32(3)),
                TimeFilter(3),
                (s8(3, 3, scale=30.0),),
                params=(1, 2),
            ),
            Sample((f32(4, 2, 6), f32(4, 6), f32(3)), TimeFilter(2), params=(1, 2)),
        ),
        dtypes=ACTIVATIONS,
        oracle="TFLM SVDF",
    )
)

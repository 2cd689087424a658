"""Weighted sums: what convolutions and matrix products have in common.

Their attributes, the type they are summed in, how a sum becomes an element of the result, and
the node that folds the zero point of the activations into the bias.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node, Value
from lilliput.ir.op import Attrs, Cost, Kernel, Op, Operand, Sample, Work
from lilliput.ir.region import OperandRule, Pointwise, Whole, whole
from lilliput.ir.types import Array, DType, TensorType, s8, s32, s64
from lilliput.ops.common import c_type, check
from lilliput.ops.numeric import (
    Rounding,
    quantize_multiplier,
    requant,
    requant_s64,
    saturate,
    scale_even,
    wrap32,
)
from lilliput.ops.registry import register

AT_ONCE = 1 << 15
"""Accumulators that are rounded at once: few enough for a cache, in all the forms between."""


@dataclass(frozen=True)
class Conv2d(Attrs):
    """stride, dilation (rows, columns); pad (top, bottom, left, right)."""

    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    rounding: Rounding = Rounding.DOUBLE
    raw: bool = False


@dataclass(frozen=True)
class Linear(Attrs):
    """raw: the result is the accumulator."""

    rounding: Rounding = Rounding.DOUBLE
    raw: bool = False


@dataclass(frozen=True)
class Parts(Attrs):
    """Of a 1x1 convolution whose weights are two operands."""

    rounding: Rounding = Rounding.DOUBLE


@dataclass(frozen=True)
class TransposeConv(Attrs):
    """stride (rows, columns); pad (top, left): rows and columns cut off before the result;
    size (rows, columns) of the result."""

    stride: tuple[int, int]
    pad: tuple[int, int]
    size: tuple[int, int]
    rounding: Rounding = Rounding.DOUBLE


@dataclass(frozen=True)
class MatMul(Attrs):
    """adj_a, adj_b: the last two axes of an operand are swapped."""

    adj_a: bool = False
    adj_b: bool = False
    rounding: Rounding = Rounding.DOUBLE


Weighted = Conv2d | Linear | Parts | TransposeConv | MatMul


def accumulator(x: DType, bias: DType | None) -> DType:
    """The type that products of activations `x` are summed in."""
    if x.is_float:
        return DType.F32
    return DType.S64 if x is DType.S16 and bias is not DType.S32 else DType.S32


def multipliers(node: Node) -> tuple[list[int], list[int]]:
    """(mult, shift) of every output channel of a quantised convolution or product.

    Per channel the real multiplier is x.scale * w.scale[c] / y.scale in doubles.  Per
    tensor a matrix product multiplies the two scales in float32 first, as TFLite's
    GetQuantizedConvolutionMultipler does.
    """
    x, w, y = node.inputs[0].type, node.inputs[1].type, node.output.type
    assert w.quant is not None
    count = y.shape[-1]
    if isinstance(node.attrs, Linear | MatMul) and w.quant.is_per_tensor:
        product = float(np.float32(x.scale) * np.float32(w.quant.scale[0]))
        pairs = [quantize_multiplier(product / y.scale)] * count
    else:
        x_scale, y_scale = x.scale, y.scale
        pairs = [quantize_multiplier(x_scale * s / y_scale) for s in w.quant.scale]
        pairs *= count if w.quant.is_per_tensor else 1
    if acc_type(node) is DType.S64:
        largest = max(s for _, s in pairs)
        check(
            largest < 8, "output scale is too small", "x.scale * w.scale / y.scale < 128", y.scale
        )
    return [m for m, _ in pairs], [s for _, s in pairs]


def float_scales(node: Node) -> Array:
    """float32 (O): what ONNX Runtime scales the sums of each output channel by."""
    x, w, y = node.inputs[0].type, node.inputs[1].type, node.output.type
    assert w.quant is not None
    scales = np.float32(x.scale) * np.array(w.quant.scale, np.float32) / np.float32(y.scale)
    return np.broadcast_to(scales.astype(np.float32), (y.shape[-1],))


@np.errstate(all="ignore")
def check_multipliers(node: Node) -> None:
    """Raises TypeMismatch where the scales of a product have no ratio that can be applied."""
    x, w, y = node.inputs[0].type, node.inputs[1].type, node.output.type
    if is_raw(node) or not y.dtype.is_integer:
        return
    for what, type in (("activations", x), ("result", y)):
        one = type.quant is not None and type.quant.is_per_tensor
        check(one, f"scale of the {what}", "one", str(type.quant))
    wide = acc_type(node) is DType.S64
    even = layer(node).rounding is Rounding.EVEN
    check(not (wide and even), "rounding to even of 64-bit sums", "32-bit sums", x.dtype.value)
    channels = y.shape[-1]
    counts = len(w.quant.scale) if w.quant is not None else 0
    check(counts in (1, channels), "scales of the weights", f"1 or {channels}", counts)
    multipliers(node)


def requantize(node: Node, acc: Array) -> Array:
    """Accumulators (..., O) of `node` as elements of its output type."""
    y = node.output.type
    if is_raw(node) or y.dtype.is_float:
        return acc.astype(y.dtype.numpy)
    store = _stores(node)
    flat = acc.reshape(-1, acc.shape[-1])
    made = np.empty(flat.shape, y.dtype.numpy)
    rows = max(1, AT_ONCE // max(flat.shape[-1], 1))
    for first in range(0, len(flat), rows):
        made[first : first + rows] = store(flat[first : first + rows])
    return made.reshape(acc.shape)


def _stores(node: Node) -> Callable[[Array], Array]:
    """What makes elements of the output of accumulators (R, O)."""
    y, attrs = node.output.type, layer(node)
    if attrs.rounding is Rounding.EVEN:
        scales = float_scales(node)
        return lambda acc: scale_even(wrap32(acc), scales, y.zero_point, y.dtype.bounds)
    mult, shift = (np.asarray(v, np.int64) for v in multipliers(node))
    if acc_type(node) is DType.S64:
        return lambda acc: saturate(requant_s64(acc, mult, shift) + y.zero_point, y)
    rounding = attrs.rounding
    return lambda acc: saturate(requant(wrap32(acc), mult, shift, rounding) + y.zero_point, y)


def layer(node: Node) -> Weighted:
    """The attributes of a convolution or matrix product."""
    assert isinstance(node.attrs, Weighted)
    return node.attrs


def is_raw(node: Node) -> bool:
    """Whether the result is the accumulator."""
    return isinstance(node.attrs, Conv2d | Linear) and node.attrs.raw


def resumes(node: Node) -> bool:
    """Whether sums start from accumulators that are given."""
    return len(node.inputs) > 3


def weights_of(node: Node) -> tuple[Value, ...]:
    """The weights of a convolution or product, of which each output channel sums over all."""
    return node.inputs[1:3] if isinstance(node.attrs, Parts) else node.inputs[1:2]


def centred(data: Array, type: TensorType) -> Array:
    """Integers less their zero point, in int64; floats as they are."""
    return data if type.dtype.is_float else data.astype(np.int64) - type.zero_point


def acc_type(node: Node) -> DType:
    """The type that `node` is summed in."""
    x, *rest = (v.type.dtype for v in node.inputs)
    return accumulator(x, rest[1] if len(rest) > 1 else None)


def macs(node: Node) -> int:
    """Multiply-accumulates of a convolution or matrix product."""
    return node.output.type.size * sum(math.prod(w.type.shape[1:]) for w in weights_of(node))


# Bias folding -----------------------------------------------------------------------------


@dataclass(frozen=True)
class FoldBias(Attrs):
    """zero_point, w_zero: what activations and weights have instead of zero; wide: sums are
    int64; axes: how many of the first axes keep sums of their own; times: what a kernel whose
    weights are multiplied has its bias multiplied by."""

    zero_point: int
    wide: bool = False
    w_zero: int = 0
    axes: int = 1
    times: int = 1


def _fold_bias_infer(a: FoldBias, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) in (1, 2), "wrong number of operands", "w[, bias]", len(types))
    check(types[0].dtype.is_integer, "weights of this type", "integers", types[0].dtype.value)
    rank = len(types[0].shape)
    check(1 <= a.axes <= rank, "axes", f"1 to {rank}", a.axes)
    count = math.prod(types[0].shape[: a.axes])
    for bias in types[1:]:
        sound = bias.shape == (count,) and bias.dtype in (DType.S32, DType.S64)
        check(sound, "bias of this type", f"s32[{count}] or s64[{count}]", str(bias))
    return (TensorType((count,), DType.S64 if a.wide else DType.S32),)


def _fold_bias_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    assert isinstance(node.attrs, FoldBias)
    w = operands[0].astype(np.int64) - node.attrs.w_zero
    sums = w.reshape(node.output.type.size, -1).sum(1) * -node.attrs.zero_point
    if len(operands) > 1:
        sums = sums + operands[1].astype(np.int64)
    return ((sums * node.attrs.times).astype(node.output.type.dtype.numpy),)


def _fold_bias_regions(node: Node) -> tuple[OperandRule, ...]:
    rest = whole(len(node.inputs[0].type.shape) - 1)
    first = Pointwise(0) if _fold_attrs(node).axes == 1 else Whole()
    return ((first, *rest), (Pointwise(0),))[: len(node.inputs)]


def _fold_bias_operands(_: Builder, node: Node) -> tuple[Operand, ...]:
    return tuple(Operand(v, i) for i, v in enumerate(node.inputs))


def _fold_work(node: Node) -> Work:
    """Inner: weights summed, where there is a zero point; one set-up an output channel."""
    attrs, channels = node.attrs, node.output.type.size
    assert isinstance(attrs, FoldBias)
    return Work(node.inputs[0].type.size if attrs.zero_point else 0, channels, channels)


fold_bias = register(
    Op(
        name="fold_bias",
        doc="y[o] = times (bias[o] - zero_point * sum(w[o] - w_zero)); w (O, ...), bias (O) -> "
        "y (O); with axes > 1 o counts through the first axes of w",
        attrs=FoldBias,
        infer=_fold_bias_infer,
        ref=_fold_bias_ref,
        grads=(None, None),
        regions=_fold_bias_regions,
        cost=lambda node: Cost(ops=node.inputs[0].type.size),
        kernels=(
            Kernel(
                name="fold_bias",
                source="fold_bias.c",
                accepts=lambda node: None,
                types=lambda node: {
                    "LL_W": c_type(node.inputs[0].type.dtype),
                    "LL_Y": c_type(node.output.type.dtype),
                    "LL_B": c_type(node.inputs[-1].type.dtype),
                },
                params=lambda node: {
                    "count": node.inputs[0].type.size // node.output.type.size,
                    "zero_point": _fold_attrs(node).zero_point,
                    "has_bias": int(len(node.inputs) > 1),
                    "w_zero": _fold_attrs(node).w_zero,
                    "times": _fold_attrs(node).times,
                },
                operands=_fold_bias_operands,
                work=_fold_work,
            ),
        ),
        samples=(
            Sample((s8(6, 3, 3, 5), s32(6)), FoldBias(-7)),
            Sample((s8(3, 11),), FoldBias(128)),
            Sample((s8(2, 4), s64(2)), FoldBias(0, wide=True)),
            Sample((s8(5, 2, 3), s32(5)), FoldBias(-128, w_zero=127)),
            Sample((s8(3, 2, 3, 5),), FoldBias(-9, axes=3)),
            Sample((s8(5, 4), s32(5)), FoldBias(11, times=2)),
        ),
        dtypes=(DType.S8,),
        oracle="docs/numerics.md",
    )
)


def _fold_attrs(node: Node) -> FoldBias:
    assert isinstance(node.attrs, FoldBias)
    return node.attrs

"""Convolutions and matrix products: conv2d (grouped, hence depthwise) and linear.

Layouts: x (N,H,W,I), conv2d weights (O,KH,KW,I/groups), linear weights (O,I), bias (O),
initial accumulators of the output's shape.  Integer accumulators are int32 for int8
activations and for int16 with an int32 bias, int64 for int16 with an int64 bias; float
sums run from the bias over rows, columns, channels, in this order.  With `raw` the
result is the accumulator itself, without requantisation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node, Value
from lilliput.ir.op import (
    EITHER,
    Attrs,
    Cost,
    Finish,
    Kernel,
    Layout,
    Op,
    Operand,
    Packing,
    Sample,
    Work,
)
from lilliput.ir.region import OperandRule, Pointwise, Whole, Window, pointwise
from lilliput.ir.types import Array, DType, Quant, TensorType, f32, s8, s16, s32
from lilliput.ops.common import c_type, check
from lilliput.ops.numeric import (
    Rounding,
    quantize_multiplier,
    requant,
    requant_s64,
    saturate,
    wrap32,
)
from lilliput.ops.registry import register

REQUANT_C = {Rounding.DOUBLE: "ll_requant", Rounding.SINGLE: "ll_requant_once"}


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


def same_pad(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """TFLite's SAME padding (before, after) of one axis."""
    out = -(-size // stride)
    total = max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def accumulator(x: DType, bias: DType | None) -> DType:
    """The type that products of activations `x` are summed in."""
    if x.is_float:
        return DType.F32
    return DType.S64 if x is DType.S16 and bias is not DType.S32 else DType.S32


def _check_operands(types: Sequence[TensorType], out: int) -> None:
    """Checks the types of x, w and bias against one another."""
    check(2 <= len(types) <= 4, "wrong number of operands", "x, w[, bias[, acc]]", len(types))
    x, w = types[0], types[1]
    weights = {DType.F32: (DType.F32,), DType.S8: (DType.S8, DType.S4), DType.S16: (DType.S8,)}
    check(x.dtype in weights, "activations of this type", "f32, s8 or s16", x.dtype.value)
    check(w.dtype in weights[x.dtype], "weights of this type", weights[x.dtype], w.dtype.value)
    if len(types) > 2:
        check(types[2].shape == (out,), "bias has another length", (out,), types[2].shape)
        check(
            types[2].dtype in (DType.F32,) if x.dtype.is_float else True,
            "bias of this type",
            "f32",
            types[2].dtype.value,
        )


def _conv2d_infer(a: Conv2d, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) >= 2, "wrong number of operands", "x, w[, bias[, acc]]", len(types))
    x, w = types[0], types[1]
    check(
        len(x.shape) == 4 and len(w.shape) == 4,
        "operands are not of rank 4",
        "(N,H,W,I) and (O,KH,KW,I/groups)",
        f"{x.shape} and {w.shape}",
    )
    out, kh, kw, group_in = w.shape
    _check_operands(types, out)
    check(min(*a.stride, *a.dilation, a.groups) >= 1, "stride, dilation and groups", ">= 1", a)
    check(min(a.pad) >= 0, "padding", ">= 0", a.pad)
    check(x.shape[3] == group_in * a.groups, "input channels", group_in * a.groups, x.shape[3])
    check(out % a.groups == 0, "output channels", f"a multiple of {a.groups} groups", out)
    spans = [(k - 1) * d + 1 for k, d in zip((kh, kw), a.dilation, strict=True)]
    free = [
        x.shape[1] + a.pad[0] + a.pad[1] - spans[0],
        x.shape[2] + a.pad[2] + a.pad[3] - spans[1],
    ]
    check(min(free) >= 0, "the window is larger than the padded input", x.shape, (kh, kw))
    oh, ow = (f // s + 1 for f, s in zip(free, a.stride, strict=True))
    return (_result(types, (x.shape[0], oh, ow, out), a.raw),)


def _linear_infer(a: Linear, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) >= 2, "wrong number of operands", "x, w[, bias[, acc]]", len(types))
    x, w = types[0], types[1]
    check(len(w.shape) == 2, "weights of this rank", "(O,I)", w.shape)
    features = x.frame[2]
    check(features == w.shape[1], "input features", w.shape[1], features)
    _check_operands(types, w.shape[0])
    return (_result(types, (*x.shape[:-1], w.shape[0]), a.raw),)


def _result(types: Sequence[TensorType], shape: tuple[int, ...], raw: bool) -> TensorType:
    x = types[0]
    acc = accumulator(x.dtype, types[2].dtype if len(types) > 2 else None)
    if len(types) == 4:
        expected = f"{acc.value}{list(shape)}"
        found = f"{types[3].dtype.value}{list(types[3].shape)}"
        check(expected == found, "initial accumulators of this type", expected, found)
    return TensorType(shape, acc) if raw else TensorType(shape, x.dtype, x.quant)


# Meaning ----------------------------------------------------------------------------------


def multipliers(node: Node) -> tuple[list[int], list[int]]:
    """(mult, shift) of every output channel of a quantised convolution or product.

    Per channel the real multiplier is x.scale * w.scale[c] / y.scale in doubles.  Per
    tensor a fully connected layer multiplies the two scales in float32 first, as TFLite's
    GetQuantizedConvolutionMultipler does.
    """
    x, w, y = node.inputs[0].type, node.inputs[1].type, node.output.type
    assert w.quant is not None
    count = w.shape[0]
    if isinstance(node.attrs, Linear) and w.quant.is_per_tensor:
        product = float(np.float32(x.scale) * np.float32(w.quant.scale[0]))
        pairs = [quantize_multiplier(product / y.scale)] * count
    else:
        scales = w.quant.scale * (count if w.quant.is_per_tensor else 1)
        pairs = [quantize_multiplier(x.scale * s / y.scale) for s in scales]
    if acc_type(node) is DType.S64:
        largest = max(s for _, s in pairs)
        check(
            largest < 8, "output scale is too small", "x.scale * w.scale / y.scale < 128", y.scale
        )
    return [m for m, _ in pairs], [s for _, s in pairs]


def requantize(node: Node, acc: Array) -> Array:
    """Accumulators (..., O) of `node` as elements of its output type."""
    y, attrs = node.output.type, _attrs(node)
    if attrs.raw or y.dtype.is_float:
        return acc.astype(y.dtype.numpy)
    mult, shift = multipliers(node)
    if acc_type(node) is DType.S64:
        scaled = requant_s64(acc, mult, shift)
    else:
        scaled = requant(wrap32(acc), mult, shift, attrs.rounding)
    return saturate(scaled + y.zero_point, y)


def _attrs(node: Node) -> Conv2d | Linear:
    assert isinstance(node.attrs, Conv2d | Linear)
    return node.attrs


def acc_type(node: Node) -> DType:
    x, *rest = (v.type.dtype for v in node.inputs)
    return accumulator(x, rest[1] if len(rest) > 1 else None)


def _start(node: Node, operands: Sequence[Array], shape: tuple[int, ...]) -> Array:
    """What the sums start from: the bias and the initial accumulators."""
    dtype = np.float32 if acc_type(node).is_float else np.int64
    acc = np.zeros(shape, dtype)
    for extra in operands[2:]:
        acc = acc + extra.astype(dtype)
    return acc


def _dot(acc: Array, x: Array, w: Array) -> Array:
    """acc + x (..., I) times w (O, I); floats one product after the other, in order."""
    if acc.dtype == np.float32:
        for i in range(w.shape[1]):
            acc = acc + x[..., i, None] * w[:, i]
        return acc
    # integer products are exact in doubles: |sum| stays under 2^53
    return acc + (x.astype(np.float64) @ w.T.astype(np.float64)).astype(np.int64)


def _linear_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    x, w = operands[0], operands[1]
    acc = _start(node, operands, node.output.type.shape)
    if acc.dtype != np.float32:
        x = x.astype(np.int64) - node.inputs[0].type.zero_point
    return (requantize(node, _dot(acc, x, w)),)


def _conv2d_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    a = _attrs(node)
    assert isinstance(a, Conv2d)
    x, w = operands[0], operands[1]
    acc = _start(node, operands, node.output.type.shape)
    if acc.dtype != np.float32:
        x = x.astype(np.int64) - node.inputs[0].type.zero_point
    x = np.pad(x, ((0, 0), a.pad[:2], a.pad[2:], (0, 0)))
    group_in, group_out = w.shape[3], w.shape[0] // a.groups
    for g in range(a.groups):
        xs = x[..., g * group_in : (g + 1) * group_in]
        out = slice(g * group_out, (g + 1) * group_out)
        for tap, window in windows(xs, w.shape[1:3], a.stride, a.dilation, acc.shape[1:3]):
            acc[..., out] = _dot(acc[..., out], window, w[out, tap[0], tap[1]])
    return (requantize(node, acc),)


def windows(
    x: Array,
    kernel: tuple[int, ...],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    out: tuple[int, ...],
) -> list[tuple[tuple[int, int], Array]]:
    """((row, column) of a tap, the padded input (N,OH,OW,C) as that tap sees it), row major."""
    views: list[tuple[tuple[int, int], Array]] = []
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            top, left = i * dilation[0], j * dilation[1]
            rows = slice(top, top + (out[0] - 1) * stride[0] + 1, stride[0])
            columns = slice(left, left + (out[1] - 1) * stride[1] + 1, stride[1])
            views.append(((i, j), x[:, rows, columns]))
    return views


# Regions ----------------------------------------------------------------------------------


def _conv2d_regions(node: Node) -> tuple[OperandRule, ...]:
    a = _attrs(node)
    assert isinstance(a, Conv2d)
    _, kh, kw, _ = node.inputs[1].type.shape
    x: OperandRule = (
        Pointwise(0),
        Window(1, kh, a.stride[0], a.dilation[0], a.pad[0]),
        Window(2, kw, a.stride[1], a.dilation[1], a.pad[2]),
        _channels(node, a.groups),
    )
    w: OperandRule = (Pointwise(3), Whole(), Whole(), Whole())
    return (x, w, (Pointwise(3),), pointwise(4))[: len(node.inputs)]


def _channels(node: Node, groups: int) -> Pointwise | Whole:
    x, y = node.inputs[0].type.shape[3], node.output.type.shape[3]
    return Pointwise(3) if groups == x == y else Whole()


def _linear_regions(node: Node) -> tuple[OperandRule, ...]:
    rank = len(node.output.type.shape)
    x: OperandRule = (*pointwise(rank - 1), Whole())
    w: OperandRule = (Pointwise(rank - 1), Whole())
    return (x, w, (Pointwise(rank - 1),), pointwise(rank))[: len(node.inputs)]


# Bias folding -----------------------------------------------------------------------------


@dataclass(frozen=True)
class FoldBias(Attrs):
    """zero_point: what the activations have instead of zero; wide: sums are int64."""

    zero_point: int
    wide: bool = False


def _fold_bias_infer(a: FoldBias, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) in (1, 2), "wrong number of operands", "w[, bias]", len(types))
    return (TensorType((types[0].shape[0],), DType.S64 if a.wide else DType.S32),)


def _fold_bias_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    assert isinstance(node.attrs, FoldBias)
    w = operands[0].astype(np.int64)
    sums = w.reshape(w.shape[0], -1).sum(1) * -node.attrs.zero_point
    if len(operands) > 1:
        sums = sums + operands[1].astype(np.int64)
    return (sums.astype(node.output.type.dtype.numpy),)


def _fold_bias_operands(_: Builder, node: Node) -> tuple[Operand, ...]:
    return tuple(Operand(v, i) for i, v in enumerate(node.inputs))


def _fold_work(node: Node) -> Work:
    """Inner: weights summed; one set-up an output channel."""
    channels = node.output.type.size
    return Work(node.inputs[0].type.size, channels, channels)


fold_bias = register(
    Op(
        name="fold_bias",
        doc="y[o] = bias[o] - zero_point * sum(w[o]); w (O, ...), bias (O) -> y (O)",
        attrs=FoldBias,
        infer=_fold_bias_infer,
        ref=_fold_bias_ref,
        grads=(None, None),
        regions=lambda node: (
            (Pointwise(0), *(Whole(),) * (len(node.inputs[0].type.shape) - 1)),
            (Pointwise(0),),
        )[: len(node.inputs)],
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
                },
                operands=_fold_bias_operands,
                work=_fold_work,
            ),
        ),
        samples=(
            Sample((s8(6, 3, 3, 5), s32(6)), FoldBias(-7)),
            Sample((s8(3, 11),), FoldBias(128)),
            Sample((s8(2, 4), TensorType((2,), DType.S64)), FoldBias(0, wide=True)),
        ),
        dtypes=(DType.S8,),
        oracle="docs/numerics.md",
    )
)


def _fold_attrs(node: Node) -> FoldBias:
    assert isinstance(node.attrs, FoldBias)
    return node.attrs


# Kernels ----------------------------------------------------------------------------------


def _w(*shape: int, channels: bool = False) -> TensorType:
    """int8 weights for a sample, quantised per tensor or per output channel."""
    if not channels:
        return s8(*shape, scale=0.01)
    scales = tuple(float(np.float32(0.002 * (k + 1))) for k in range(shape[0]))
    return TensorType(shape, DType.S8, Quant(scales, (0,) * shape[0], 0))


def _depthwise_pack(w: Array) -> Array:
    return np.ascontiguousarray(w.reshape(w.shape[0], -1).T)


def _depthwise_unpack(packed: Array, type: TensorType) -> Array:
    return np.ascontiguousarray(packed.T).reshape(type.shape)


BY_TAP = Packing("by_tap", _depthwise_pack, _depthwise_unpack)
"""Depthwise weights (C*M,KH,KW,1) as (KH*KW, C*M): one row of channels for each tap."""


def _types(node: Node) -> Mapping[str, str]:
    x, w, acc = node.inputs[0].type.dtype, node.inputs[1].type.dtype, acc_type(node)
    dot = {DType.F32: "ll_dot_f32", DType.S8: "ll_dot_s8", DType.S16: "ll_dot_s16"}[x]
    if x is DType.S16 and acc is DType.S32:
        dot = "ll_dot_s16_s32"
    return {"LL_X": c_type(x), "LL_W": c_type(w), "LL_ACC": c_type(acc), "LL_DOT": dot}


def _bias(b: Builder, node: Node) -> Value:
    """The bias as kernels want it: always there, in the accumulator's type, folded."""
    x, acc = node.inputs[0].type, acc_type(node)
    if acc.is_float:
        return node.inputs[2] if len(node.inputs) > 2 else _zeros(b, node, np.float32)
    attrs = FoldBias(x.zero_point, wide=acc is DType.S64)
    return b.add(fold_bias, node.inputs[1:3], attrs, name=f"{node.output.name}/bias")


def _zeros(b: Builder, node: Node, dtype: npt.DTypeLike) -> Value:
    return b.param(f"{node.output.name}/zeros", np.zeros(node.output.type.shape[-1], dtype))


def _zero_points(b: Builder, node: Node, count: int) -> Operand:
    x = node.inputs[0].type
    data = np.full(count, x.zero_point, x.dtype.numpy)
    return Operand(b.param(f"{node.output.name}/outside", data))


def _resume(node: Node) -> tuple[Operand, ...]:
    return (Operand(node.inputs[3], 3),) if len(node.inputs) > 3 else ()


def _linear_operands(b: Builder, node: Node) -> tuple[Operand, ...]:
    x, w = node.inputs[:2]
    return (Operand(x, 0), Operand(w, 1), Operand(_bias(b, node)), *_resume(node))


def _conv2d_operands(b: Builder, node: Node) -> tuple[Operand, ...]:
    _, _, kw, group_in = node.inputs[1].type.shape
    first = _linear_operands(b, node)
    return (*first[:3], _zero_points(b, node, kw * group_in), *first[3:])


def _depthwise_operands(b: Builder, node: Node) -> tuple[Operand, ...]:
    x, w = node.inputs[:2]
    return (
        Operand(x, 0),
        Operand(w, None, BY_TAP),
        Operand(_bias(b, node)),
        _zero_points(b, node, x.type.shape[3]),
    )


def _depthwise_planes_operands(b: Builder, node: Node) -> tuple[Operand, ...]:
    x, w = node.inputs[:2]
    outside = _zero_points(b, node, x.type.shape[2])
    return (Operand(x, 0), Operand(w, 1), Operand(_bias(b, node)), outside)


def finish(b: Builder, node: Node) -> Finish:
    """Requantisation of the accumulator, with literals where all channels agree."""
    y, attrs = node.output.type, _attrs(node)
    if attrs.raw or y.dtype.is_float:
        return Finish(lambda acc, load: acc)
    mult, shift = multipliers(node)
    wide = acc_type(node) is DType.S64
    scale = "ll_requant_s64" if wide else REQUANT_C[attrs.rounding]
    low, high = (bound - y.zero_point for bound in y.dtype.bounds)
    operands: tuple[Value, ...] = ()
    if len(set(mult)) > 1 or len(set(shift)) > 1:
        operands = (
            b.param(f"{node.output.name}/mult", np.array(mult, np.int32)),
            b.param(f"{node.output.name}/shift", np.array(shift, np.int8)),
        )

    def c(acc: str, load: Callable[[Value], str]) -> str:
        m, s = map(load, operands) if operands else (str(mult[0]), str(shift[0]))
        scaled = f"ll_clamp({scale}({acc}, {m}, {s}), {low}, {high})"
        return f"{scaled} + {y.zero_point}" if y.zero_point else scaled

    return Finish(c, operands)


def _conv2d_params(node: Node) -> Mapping[str, int]:
    a, x, w, y = _attrs(node), node.inputs[0].type, node.inputs[1].type, node.output.type
    assert isinstance(a, Conv2d)
    return {
        "in_h": x.shape[1],
        "in_w": x.shape[2],
        "in_c": x.shape[3],
        "out_h": y.shape[1],
        "kh": w.shape[1],
        "kw": w.shape[2],
        "stride_h": a.stride[0],
        "stride_w": a.stride[1],
        "dilation_h": a.dilation[0],
        "dilation_w": a.dilation[1],
        "pad_top": a.pad[0],
        "pad_left": a.pad[2],
        "group_in": w.shape[3],
        "group_out": w.shape[0] // a.groups,
        "resume": int(len(node.inputs) > 3),
    }


def _depthwise_params(node: Node) -> Mapping[str, int]:
    every = dict(_conv2d_params(node))
    every["out_c"] = node.output.type.shape[3]
    every["multiplier"] = node.output.type.shape[3] // node.inputs[0].type.shape[3]
    for name in ("in_c", "group_in", "group_out", "resume"):
        del every[name]
    return every


def _depthwise_planes_params(node: Node) -> Mapping[str, int]:
    every = dict(_depthwise_params(node))
    del every["out_c"]
    return every


def _depthwise_accepts(node: Node) -> str | None:
    a = _attrs(node)
    assert isinstance(a, Conv2d)
    if a.groups != node.inputs[0].type.shape[3]:
        return "not depthwise: more than one input channel a group"
    return "takes no initial accumulators" if len(node.inputs) > 3 else None


def _pointwise_accepts(node: Node) -> str | None:
    a = _attrs(node)
    assert isinstance(a, Conv2d)
    plain = node.inputs[1].type.shape[1:3] == (1, 1) and a.stride == (1, 1) and a.groups == 1
    return None if plain and not any(a.pad) else "not 1x1 with stride 1 in one group"


def _linear_work(node: Node) -> Work:
    """Set-ups: pixels."""
    out = node.output.type
    return Work(_macs(node), out.size, out.size // out.shape[-1])


def _depthwise_work(node: Node) -> Work:
    """Set-ups: taps of the windows, one address each."""
    out = node.output.type
    return Work(_macs(node), out.size, out.size // out.shape[3] * _taps(node))


def _conv2d_work(node: Node) -> Work:
    """Set-ups: dot products, one a window's row where its taps are neighbours, else one a tap."""
    a, out = node.attrs, node.output.type
    assert isinstance(a, Conv2d)
    kh, kw = node.inputs[1].type.shape[1:3]
    in_w = node.inputs[0].type.shape[2]
    inside = 0
    if a.groups == 1 and a.dilation[1] == 1:
        lefts = (x * a.stride[1] - a.pad[2] for x in range(out.shape[2]))
        inside = sum(left >= 0 and left + kw <= in_w for left in lefts)
    dots = inside * kh + (out.shape[2] - inside) * kh * kw
    return Work(_macs(node), out.size, out.size // out.shape[2] * dots)


def _taps(node: Node) -> int:
    return math.prod(node.inputs[1].type.shape[1:3])


def _macs(node: Node) -> int:
    return node.output.type.size * math.prod(node.inputs[1].type.shape[1:])


LINEAR = Kernel(
    name="linear",
    source="linear.c",
    accepts=lambda node: None,
    types=_types,
    params=lambda node: {
        "in_c": node.inputs[0].type.shape[-1],
        "resume": int(len(node.inputs) > 3),
    },
    specialise=("resume", "in_c"),
    operands=_linear_operands,
    finish=finish,
    overlap="row",
    writes=EITHER,
    work=_linear_work,
)

conv2d = register(
    Op(
        name="conv2d",
        doc="y[n,p,q,o] = sum x[n, p*s+i*d-pad, q*s+j*d-pad, c] * w[o,i,j,c] + bias[o] (+ acc); "
        "x (N,H,W,I), w (O,KH,KW,I/groups), bias (O) -> y (N,OH,OW,O)",
        attrs=Conv2d,
        infer=_conv2d_infer,
        ref=_conv2d_ref,
        grads=(None, None, None, None),
        regions=_conv2d_regions,
        cost=lambda node: Cost(macs=_macs(node)),
        kernels=(
            replace(LINEAR, accepts=_pointwise_accepts),
            Kernel(
                name="depthwise",
                source="depthwise.c",
                accepts=_depthwise_accepts,
                types=_types,
                params=_depthwise_params,
                specialise=(
                    "kh",
                    "kw",
                    "multiplier",
                    "out_c",
                    "stride_h",
                    "stride_w",
                    "dilation_h",
                    "dilation_w",
                    "pad_top",
                    "pad_left",
                    "in_h",
                    "in_w",
                    "out_h",
                ),
                operands=_depthwise_operands,
                finish=finish,
                overlap="row",
                packed=(1,),
                writes=EITHER,
                work=_depthwise_work,
            ),
            Kernel(
                name="depthwise_planes",
                source="depthwise_planes.c",
                accepts=_depthwise_accepts,
                types=_types,
                params=_depthwise_planes_params,
                specialise=(
                    "kh",
                    "kw",
                    "multiplier",
                    "stride_h",
                    "stride_w",
                    "dilation_h",
                    "dilation_w",
                    "pad_top",
                    "pad_left",
                    "in_h",
                    "in_w",
                    "out_h",
                ),
                operands=_depthwise_planes_operands,
                finish=finish,
                overlap="row",
                reads=(Layout.PLANES,),
                writes=EITHER,
                by_planes=True,
                work=_depthwise_work,
            ),
            Kernel(
                name="conv2d",
                source="conv2d.c",
                accepts=lambda node: None,
                types=_types,
                params=_conv2d_params,
                specialise=(
                    "kh",
                    "kw",
                    "resume",
                    "group_in",
                    "group_out",
                    "in_c",
                    "stride_h",
                    "stride_w",
                    "dilation_h",
                    "dilation_w",
                    "pad_top",
                    "pad_left",
                    "in_h",
                    "in_w",
                    "out_h",
                ),
                operands=_conv2d_operands,
                finish=finish,
                overlap="row",
                writes=EITHER,
                work=_conv2d_work,
            ),
        ),
        samples=(
            Sample(
                (s8(1, 7, 9, 3, scale=0.05, zero_point=-3), _w(5, 3, 3, 3), s32(5)),
                Conv2d(stride=(2, 2), pad=(1, 1, 1, 1)),
                (s8(1, 4, 5, 5, scale=0.9, zero_point=4),),
                params=(1, 2),
            ),
            Sample(
                (s8(2, 6, 5, 4, scale=0.1, zero_point=11), _w(6, 1, 1, 4, channels=True), s32(6)),
                Conv2d(),
                (s8(2, 6, 5, 6, scale=0.7, zero_point=-128),),
                params=(1, 2),
            ),
            Sample(
                (s8(1, 9, 8, 6, scale=0.2, zero_point=-128), _w(12, 3, 5, 1, channels=True)),
                Conv2d(stride=(1, 2), pad=(1, 1, 2, 2), groups=6),
                (s8(1, 9, 4, 12, scale=2.0, zero_point=0),),
                params=(1,),
            ),
            Sample(
                (s8(1, 9, 11, 4, scale=0.2, zero_point=5), _w(6, 2, 3, 2)),
                Conv2d(dilation=(3, 2), pad=(2, 1, 2, 2), groups=2),
                (s8(1, 9, 11, 6, scale=1.5, zero_point=1),),
                params=(1,),
            ),
            Sample(
                (
                    s16(1, 5, 5, 3, scale=0.001),
                    _w(4, 3, 3, 3, channels=True),
                    TensorType((4,), DType.S64),
                ),
                Conv2d(pad=(1, 1, 1, 1)),
                (s16(1, 5, 5, 4, scale=0.02),),
                params=(1, 2),
            ),
            Sample(
                (f32(1, 6, 7, 3), f32(4, 3, 3, 3), f32(4)),
                Conv2d(stride=(2, 1), pad=(1, 1, 0, 1)),
                params=(1, 2),
            ),
            Sample((f32(1, 6, 7, 3), f32(3, 3, 3, 1)), Conv2d(groups=3), params=(1,)),
            Sample(
                (s8(1, 4, 4, 3, scale=0.1, zero_point=9), _w(2, 3, 3, 3), s32(2), s32(1, 4, 4, 2)),
                Conv2d(pad=(1, 1, 1, 1), raw=True),
                (s32(1, 4, 4, 2),),
                params=(1,),
            ),
        ),
        dtypes=(DType.S8, DType.S16, DType.F32),
        oracle="TFLM CONV_2D, DEPTHWISE_CONV_2D",
    )
)

linear = register(
    Op(
        name="linear",
        doc="y = x w^T + bias (+ acc); x (..., I), w (O,I), bias (O) -> y (..., O)",
        attrs=Linear,
        infer=_linear_infer,
        ref=_linear_ref,
        grads=(None, None, None, None),
        regions=_linear_regions,
        cost=lambda node: Cost(macs=_macs(node)),
        kernels=(LINEAR,),
        samples=(
            Sample(
                (s8(1, 7, scale=0.05, zero_point=-3), _w(3, 7), s32(3)),
                Linear(),
                (s8(1, 3, scale=0.4, zero_point=4),),
                params=(1, 2),
            ),
            Sample(
                (s8(3, 16, scale=0.1, zero_point=127), _w(8, 16, channels=True)),
                Linear(),
                (s8(3, 8, scale=0.5, zero_point=-128),),
                params=(1,),
            ),
            Sample((f32(2, 33), f32(5, 33), f32(5)), Linear(), params=(1, 2)),
            Sample(
                (s16(2, 9, scale=0.001), _w(4, 9), TensorType((4,), DType.S64)),
                Linear(),
                (s16(2, 4, scale=0.01),),
                params=(1, 2),
            ),
            Sample(
                (s8(1, 5, scale=0.1, zero_point=2), _w(3, 5), s32(3), s32(1, 3)),
                Linear(raw=True),
                (s32(1, 3),),
            ),
        ),
        dtypes=(DType.S8, DType.S16, DType.F32),
        oracle="TFLM FULLY_CONNECTED",
    )
)

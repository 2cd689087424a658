"""Convolutions and matrix products: conv2d (grouped, hence depthwise) and linear.

Layouts: x (N,H,W,I), conv2d weights (O,KH,KW,I/groups), linear weights (O,I), bias (O),
initial accumulators of the output's shape.  Integer accumulators are int32 for int8
activations and for int16 with an int32 bias, int64 for int16 with an int64 bias; float
sums run from the bias over rows, columns, channels, in this order.  With `raw` the
result is the accumulator itself, without requantisation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lilliput.ir.graph import Node
from lilliput.ir.op import Cost, Op, Sample
from lilliput.ir.region import OperandRule, Pointwise, Whole, Window, pointwise
from lilliput.ir.types import Array, DType, Quant, TensorType, f32, s8, s16, s32
from lilliput.ops import product_rules
from lilliput.ops.accumulate import (
    Conv2d,
    Linear,
    acc_type,
    accumulator,
    centred,
    check_multipliers,
    layer,
    macs,
    requantize,
)
from lilliput.ops.common import check
from lilliput.ops.conv_kernels import (
    CONV2D,
    DEPTHWISE,
    DEPTHWISE_PLANES,
    LINEAR,
    LINEAR_TILES,
    POINTWISE,
)
from lilliput.ops.depthwise import DEPTHWISE_TAPS, DEPTHWISE_WINDOWS
from lilliput.ops.gemm import (
    GEMM,
    GEMM_FRESH,
    GEMM_JOINED,
    GEMM_WIDE,
    PAIRS,
    PAIRS_JOINED,
    PAIRS_WIDE,
)
from lilliput.ops.numeric import Rounding
from lilliput.ops.registry import register
from lilliput.ops.scalar_kernels import DEPTHWISE_FOURS, FOURS
from lilliput.ops.sums import conv_slide, sum_bounds, sum_contraction, sum_narrow
from lilliput.ops.vector_kernels import DEPTHWISE_LANES, FOURS_LANES
from lilliput.ops.winograd import WINOGRAD


def same_pad(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """TFLite's SAME padding (before, after) of one axis."""
    out = -(-size // stride)
    total = max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def check_operands(types: Sequence[TensorType], out: int) -> None:
    """Checks the types of x, w and bias against one another."""
    check(2 <= len(types) <= 4, "wrong number of operands", "x, w[, bias[, acc]]", len(types))
    x, w = types[0], types[1]
    weights = {DType.F32: (DType.F32,), DType.S8: (DType.S8, DType.S4), DType.S16: (DType.S8,)}
    check(x.dtype in weights, "activations of this type", "f32, s8 or s16", x.dtype.value)
    check(w.dtype in weights[x.dtype], "weights of this type", weights[x.dtype], w.dtype.value)
    if len(types) > 2:
        check(types[2].shape == (out,), "bias has another length", (out,), types[2].shape)
        sums = {DType.F32: (DType.F32,), DType.S8: (DType.S32,), DType.S16: (DType.S32, DType.S64)}
        names = " or ".join(d.value for d in sums[x.dtype])
        check(types[2].dtype in sums[x.dtype], "bias of this type", names, types[2].dtype.value)
    check_zero_points(x, w)


def check_zero_points(x: TensorType, w: TensorType) -> None:
    """Weights may have one zero point where both types are int8; others have 0."""
    zeros = w.quant.zero_point if w.quant is not None else (0,)
    one = x.dtype is w.dtype is DType.S8 and len(zeros) == 1
    check(one or not any(zeros), "zero points of weights", "0, or one of int8", zeros[:8])


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
    check_operands(types, out)
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
    check_operands(types, w.shape[0])
    return (_result(types, (*x.shape[:-1], w.shape[0]), a.raw),)


def _result(types: Sequence[TensorType], shape: tuple[int, ...], raw: bool) -> TensorType:
    x = types[0]
    acc = accumulator(x.dtype, types[2].dtype if len(types) > 2 else None)
    if len(types) == 4:
        expected = f"{acc.value}{list(shape)}"
        found = f"{types[3].dtype.value}{list(types[3].shape)}"
        check(expected == found, "initial accumulators of this type", expected, found)
    if not raw:
        return TensorType(shape, x.dtype, x.quant)
    return TensorType(shape, acc, _sums(types[0], types[1], len(shape) - 1))


def _sums(x: TensorType, w: TensorType, axis: int) -> Quant | None:
    """Real size of one step of integer sums of products, as of a bias: scale(x) scale(w), where w
    has several one for each output channel, along `axis`.  None where a scale is missing."""
    if x.quant is None or w.quant is None or not x.quant.is_per_tensor:
        return None
    steps = (np.float32(x.scale) * np.array(w.quant.scale, np.float32)).tolist()
    if min(steps) <= 0:
        return None
    return Quant(tuple(steps), (0,) * len(steps), None if w.quant.is_per_tensor else axis)


# Meaning ----------------------------------------------------------------------------------


def start(node: Node, operands: Sequence[Array], shape: tuple[int, ...]) -> Array:
    """What the sums start from: the bias and the initial accumulators."""
    dtype = np.float32 if acc_type(node).is_float else np.int64
    acc = np.zeros(shape, dtype)
    for extra in operands[2:]:
        acc = acc + extra.astype(dtype)
    return acc


def dot(acc: Array, x: Array, w: Array) -> Array:
    """acc + x (..., I) times w (O, I); floats one product after the other, in order."""
    if acc.dtype == np.float32:
        for i in range(w.shape[1]):
            acc = acc + x[..., i, None] * w[:, i]
        return acc
    # integer products are exact in doubles: |sum| stays under 2^53
    return acc + (x.astype(np.float64) @ w.T.astype(np.float64)).astype(np.int64)


def _linear_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    x, w = operands[0], operands[1]
    acc = start(node, operands, node.output.type.shape)
    x, w = centred(x, node.inputs[0].type), centred(w, node.inputs[1].type)
    return (requantize(node, dot(acc, x, w)),)


def _conv2d_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    a = layer(node)
    assert isinstance(a, Conv2d)
    x, w = operands[0], operands[1]
    acc = start(node, operands, node.output.type.shape)
    x, w = centred(x, node.inputs[0].type), centred(w, node.inputs[1].type)
    x = np.pad(x, ((0, 0), a.pad[:2], a.pad[2:], (0, 0)))
    group_in, group_out = w.shape[3], w.shape[0] // a.groups
    for g in range(a.groups):
        xs = x[..., g * group_in : (g + 1) * group_in]
        out = slice(g * group_out, (g + 1) * group_out)
        for tap, window in windows(xs, w.shape[1:3], a.stride, a.dilation, acc.shape[1:3]):
            acc[..., out] = dot(acc[..., out], window, w[out, tap[0], tap[1]])
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
    a = layer(node)
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


# Operators --------------------------------------------------------------------------------


def _w4(*shape: int) -> TensorType:
    """int4 weights for a sample."""
    return TensorType(shape, DType.S4, Quant.per_tensor(0.15))


def _w(*shape: int, channels: bool = False, zero_point: int = 0) -> TensorType:
    """int8 weights for a sample, quantised per tensor or per output channel."""
    if not channels:
        return s8(*shape, scale=0.01, zero_point=zero_point)
    scales = tuple(float(np.float32(0.002 * (k + 1))) for k in range(shape[0]))
    return TensorType(shape, DType.S8, Quant(scales, (0,) * shape[0], 0))


def _window(
    x: tuple[int, int, int],
    w: tuple[int, int, int, int],
    stride: int,
    pad: tuple[int, int, int, int],
    zero_point: int,
) -> Sample:
    """A convolution with a scale for each channel, with or without groups, as `w` says."""
    spans = (x[0] + pad[0] + pad[1] - w[1], x[1] + pad[2] + pad[3] - w[2])
    oh, ow = (span // stride + 1 for span in spans)
    return Sample(
        (s8(1, *x, scale=0.1, zero_point=zero_point), _w(*w, channels=True), s32(w[0])),
        Conv2d(stride=(stride, stride), pad=pad, groups=x[2] // w[3]),
        (s8(1, oh, ow, w[0], scale=2.0, zero_point=zero_point),),
        params=(1, 2),
    )


conv2d = register(
    Op(
        name="conv2d",
        doc="y[n,p,q,o] = sum x[n, p*s+i*d-pad, q*s+j*d-pad, c] * w[o,i,j,c] + bias[o] (+ acc); "
        "x (N,H,W,I), w (O,KH,KW,I/groups), bias (O) -> y (N,OH,OW,O)",
        attrs=Conv2d,
        infer=_conv2d_infer,
        ref=_conv2d_ref,
        constants=check_multipliers,
        grads=product_rules.CONV,
        regions=_conv2d_regions,
        bounds=sum_bounds,
        contraction=sum_contraction,
        narrow=sum_narrow,
        slide=conv_slide,
        cost=lambda node: Cost(macs=macs(node)),
        kernels=(
            FOURS_LANES,
            DEPTHWISE_LANES,
            WINOGRAD,
            DEPTHWISE_WINDOWS,
            DEPTHWISE_TAPS,
            GEMM_WIDE,
            GEMM_JOINED,
            GEMM,
            GEMM_FRESH,
            PAIRS_WIDE,
            PAIRS_JOINED,
            PAIRS,
            FOURS,
            DEPTHWISE_FOURS,
            LINEAR_TILES,
            POINTWISE,
            DEPTHWISE,
            DEPTHWISE_PLANES,
            CONV2D,
        ),
        samples=(
            Sample(
                (s8(1, 7, 9, 3, scale=0.05, zero_point=-3), _w(5, 3, 3, 3), s32(5)),
                Conv2d(stride=(2, 2), pad=(1, 1, 1, 1)),
                (s8(1, 4, 5, 5, scale=0.9, zero_point=4),),
                params=(1, 2),
            ),
            Sample(
                (s8(1, 6, 5, 8, scale=0.05, zero_point=-3), _w(8, 3, 3, 1), s32(8)),
                Conv2d(stride=(2, 1), pad=(1, 1, 1, 1), groups=8),
                (s8(1, 3, 5, 8, scale=0.9, zero_point=4),),
                params=(1, 2),
            ),
            Sample(
                (s8(2, 6, 5, 4, scale=0.1, zero_point=11), _w(6, 1, 1, 4, channels=True), s32(6)),
                Conv2d(),
                (s8(2, 6, 5, 6, scale=0.7, zero_point=-128),),
                params=(1, 2),
            ),
            Sample(
                (s8(1, 6, 5, 3, scale=0.1, zero_point=11), _w(6, 3, 3, 3, channels=True), s32(6)),
                Conv2d(pad=(1, 1, 0, 1), rounding=Rounding.EVEN),
                (s8(1, 6, 4, 6, scale=0.7, zero_point=-128),),
                params=(1, 2),
            ),
            Sample(
                (s8(1, 7, 6, 4, scale=0.1, zero_point=-3), _w(4, 3, 3, 1, channels=True), s32(4)),
                Conv2d(pad=(1, 1, 1, 1), groups=4, rounding=Rounding.EVEN),
                (s8(1, 7, 6, 4, scale=0.3, zero_point=5),),
                params=(1, 2),
            ),
            Sample(  # a dilation of one tap, of channels that are no multiple of four
                (s8(1, 3, 7, 5, scale=0.1, zero_point=-128), _w(6, 1, 1, 5, channels=True), s32(6)),
                Conv2d(stride=(2, 2), dilation=(1, 2)),
                (s8(1, 2, 4, 6, scale=0.7, zero_point=126),),
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
                (s8(1, 7, 6, 3, scale=0.1, zero_point=-9), _w4(5, 3, 3, 3), s32(5)),
                Conv2d(stride=(1, 2), pad=(1, 1, 0, 1)),
                (s8(1, 7, 3, 5, scale=0.8, zero_point=3),),
                params=(1, 2),
            ),
            Sample(
                (s8(1, 7, 5, 5, scale=0.1, zero_point=127), _w4(5, 3, 3, 1), s32(5)),
                Conv2d(pad=(1, 1, 1, 1), groups=5),
                (s8(1, 7, 5, 5, scale=0.5, zero_point=-100),),
                params=(1, 2),
            ),
            Sample(
                (s8(1, 6, 7, 2, scale=0.1, zero_point=4), _w(3, 3, 2, 2, zero_point=-128), s32(3)),
                Conv2d(pad=(1, 1, 0, 1)),
                (s8(1, 6, 7, 3, scale=3.0, zero_point=-5),),
                params=(1, 2),
            ),
            Sample(
                (s8(1, 6, 7, 3, scale=0.1, zero_point=-4), _w(6, 3, 3, 1, zero_point=127)),
                Conv2d(pad=(1, 1, 1, 1), groups=3),
                (s8(1, 6, 7, 6, scale=2.0, zero_point=-5),),
                params=(1,),
            ),
            _window((9, 11, 5), (5, 3, 3, 1), 1, (1, 1, 1, 1), zero_point=-128),
            _window((8, 13, 3), (6, 3, 3, 1), 2, (0, 1, 0, 1), zero_point=7),
            _window((7, 9, 3), (3, 5, 5, 1), 1, (2, 2, 2, 2), zero_point=-128),
            _window((10, 9, 2), (2, 5, 5, 1), 2, (1, 2, 1, 2), zero_point=-3),
            _window((9, 10, 2), (4, 7, 7, 1), 1, (3, 3, 3, 3), zero_point=20),
            _window((11, 13, 2), (2, 3, 7, 1), 2, (1, 1, 3, 3), zero_point=-128),
            _window((5, 9, 8), (35, 1, 1, 8), 1, (0, 0, 0, 0), zero_point=-128),
            _window((6, 7, 4), (6, 3, 3, 4), 1, (1, 1, 1, 1), zero_point=-5),
            _window((9, 6, 1), (7, 4, 3, 1), 2, (1, 1, 0, 1), zero_point=-128),
            Sample(
                (s8(2, 5, 19, 8, scale=0.1, zero_point=-7), _w(6, 3, 3, 8, channels=True), s32(6)),
                Conv2d(pad=(1, 1, 1, 1)),
                (s8(2, 5, 19, 6, scale=0.9, zero_point=3),),
                params=(1, 2),
            ),
            Sample(
                (s8(1, 9, 8, 5, scale=0.2, zero_point=-128), _w(3, 3, 3, 5), s32(3)),
                Conv2d(pad=(0, 1, 2, 0)),
                (s8(1, 8, 8, 3, scale=1.1, zero_point=-128),),
                params=(1, 2),
            ),
            Sample(
                (s8(1, 3, 12, 19, scale=0.1, zero_point=127), _w(4, 3, 3, 19, channels=True)),
                Conv2d(),
                (s8(1, 1, 10, 4, scale=1.5, zero_point=0),),
                params=(1,),
            ),
            Sample(
                (s8(1, 1, 1, 1, scale=0.1, zero_point=30), _w(1, 3, 3, 1), s32(1)),
                Conv2d(pad=(1, 1, 1, 1)),
                (s8(1, 1, 1, 1, scale=0.4, zero_point=-20),),
                params=(1, 2),
            ),
            Sample(
                (
                    s8(1, 9, 6, 1, scale=0.1, zero_point=-90),
                    _w(19, 4, 3, 1, channels=True),
                    s32(19),
                ),
                Conv2d(stride=(2, 1), pad=(1, 2, 1, 1), dilation=(2, 1)),
                (s8(1, 3, 6, 19, scale=0.6, zero_point=-128),),
                params=(1, 2),
            ),
            Sample(
                (s8(1, 5, 5, 18, scale=0.1, zero_point=8), _w(4, 2, 1, 18)),
                Conv2d(stride=(1, 2)),
                (s8(1, 4, 3, 4, scale=1.6, zero_point=3),),
                params=(1,),
            ),
            Sample(
                (
                    s8(1, 7, 5, 19, scale=0.1, zero_point=-128),
                    _w(19, 3, 3, 1, channels=True),
                    s32(19),
                ),
                Conv2d(pad=(1, 1, 1, 1), groups=19),
                (s8(1, 7, 5, 19, scale=0.3, zero_point=-128),),
                params=(1, 2),
            ),
            Sample(
                (s8(2, 6, 9, 3, scale=0.1, zero_point=77), _w(3, 1, 5, 1)),
                Conv2d(stride=(2, 2), pad=(0, 0, 2, 2), groups=3),
                (s8(2, 3, 5, 3, scale=0.5, zero_point=-1),),
                params=(1,),
            ),
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
        constants=check_multipliers,
        grads=product_rules.LINEAR,
        regions=_linear_regions,
        bounds=sum_bounds,
        contraction=sum_contraction,
        narrow=sum_narrow,
        cost=lambda node: Cost(macs=macs(node)),
        kernels=(
            FOURS_LANES,
            GEMM_WIDE,
            GEMM_JOINED,
            GEMM,
            GEMM_FRESH,
            PAIRS_WIDE,
            PAIRS_JOINED,
            PAIRS,
            FOURS,
            LINEAR_TILES,
            LINEAR,
        ),
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
            Sample(
                (s8(3, 35, scale=0.1, zero_point=-128), _w(37, 35, channels=True), s32(37)),
                Linear(),
                (s8(3, 37, scale=0.8, zero_point=-128),),
                params=(1, 2),
            ),
            Sample((f32(2, 33), f32(5, 33), f32(5)), Linear(), params=(1, 2)),
            Sample(
                (s8(2, 11, scale=0.1, zero_point=-20), _w4(5, 11), s32(5)),
                Linear(),
                (s8(2, 5, scale=0.3, zero_point=9),),
                params=(1, 2),
            ),
            Sample(
                (s8(2, 6, scale=0.1, zero_point=30), _w(4, 6, zero_point=-11), s32(4)),
                Linear(),
                (s8(2, 4, scale=0.9, zero_point=9),),
            ),
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

__all__ = [
    "Conv2d",
    "Linear",
    "check_operands",
    "conv2d",
    "dot",
    "linear",
    "same_pad",
    "start",
    "windows",
]

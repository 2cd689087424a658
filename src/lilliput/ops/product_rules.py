"""Gradient rules of convolutions, matrix products and pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node, Value
from lilliput.ir.types import DType
from lilliput.ops.gradient import (
    broadcast_to,
    call,
    column,
    constant,
    mul,
    operand,
    real,
    reshape,
    scaled,
    shifted,
    sum_to,
    transpose,
    unpacked,
)

# conv2d -----------------------------------------------------------------------------------


def _window(node: Node) -> dict[str, Any]:
    a: Any = node.attrs
    return {"stride": a.stride, "dilation": a.dilation, "pad": a.pad, "groups": a.groups}


def _by_weight_scale(b: Builder, dy: Value, w: Value) -> Value:
    """dy (..., O) times the scale of the weights of each output channel."""
    if w.type.quant is None:
        return dy
    return mul(b, dy, constant(b, column(w.type).reshape(-1)))


def _readable(b: Builder, w: Value) -> Value:
    """Weights as the gradient reads them, whose scale is applied around: int8 of zero point 0, or
    float32."""
    w = unpacked(b, w)
    zero = w.type.zero_point if w.type.quant is not None else 0
    if w.type.dtype.is_float or (w.type.dtype is DType.S8 and zero == 0):
        return w
    numbers = call(b, "cast", w, dtype=DType.F32)
    return shifted(b, numbers, -zero) if zero else numbers


def _activations(b: Builder, x: Value) -> tuple[Value, float]:
    """(float32 or int8 numbers, what they are to be multiplied by)."""
    return (x, x.type.scale) if x.type.dtype is DType.S8 else (real(b, x), 1.0)


def conv_x(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    x, w = node.inputs[:2]
    dy = _by_weight_scale(b, dys[0], w)
    size = x.type.shape[1:3]
    return call(b, "conv2d_grad_x", dy, _readable(b, w), size=size, **_window(node))


def carried(weights: int, dy: Value) -> bool:
    """Whether sums of so many weights take less room than the gradient that they are made of: then
    it may come row by row, else it is there as a whole."""
    return weights < dy.type.size


def conv_w(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    w = node.inputs[1].type
    x, scale = _activations(b, node.inputs[0])
    window = _window(node) | {"carried": carried(w.size, dys[0])}
    dw = call(b, "conv2d_grad_w", x, dys[0], kernel=w.shape[1:3], **window)
    return scaled(b, dw, scale)


def bias(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    return sum_to(b, dys[0], operand(node, 2))


def start(_b: Builder, _: Node, dys: Sequence[Value]) -> Value:
    """Of the initial accumulators.  The real number of an integer accumulator is that of a bias:
    so many times scale(x) * scale(w), of a raw result too."""
    return dys[0]


CONV = (conv_x, conv_w, bias, start)

# linear -----------------------------------------------------------------------------------


def _pixels(b: Builder, v: Value) -> Value:
    """(..., C) as a map of one row, (1, 1, N, C)."""
    channels = v.type.shape[-1]
    return reshape(b, v, (1, 1, v.type.size // channels, channels))


def linear_x(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    x, w = node.inputs[:2]
    o, i = w.type.shape
    dy = _pixels(b, _by_weight_scale(b, dys[0], w))
    square = reshape(b, _readable(b, w), (o, 1, 1, i))
    dx = call(b, "conv2d_grad_x", dy, square, size=dy.type.shape[1:3])
    return reshape(b, dx, x.type.shape)


def linear_w(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    x, scale = _activations(b, node.inputs[0])
    dw = call(b, "conv2d_grad_w", _pixels(b, x), _pixels(b, dys[0]), kernel=(1, 1))
    return reshape(b, scaled(b, dw, scale), operand(node, 1))


LINEAR = (linear_x, linear_w, bias, start)

# transpose_conv ---------------------------------------------------------------------------


def transposed_x(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """The convolution whose transpose it is: y reaches x through the same taps."""
    a: Any = node.attrs
    x, w = node.inputs[0].type, node.inputs[1]
    turned = transpose(b, real(b, w), (3, 1, 2, 0))
    pad = _behind(a, x.shape, w.type.shape)
    return call(b, "conv2d", dys[0], turned, stride=a.stride, pad=pad)


def transposed_w(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    a: Any = node.attrs
    x, w = node.inputs[0], node.inputs[1].type
    pad = _behind(a, x.type.shape, w.shape)
    dw = call(
        b,
        "conv2d_grad_w",
        dys[0],
        real(b, x),
        kernel=w.shape[1:3],
        stride=a.stride,
        pad=pad,
    )
    return transpose(b, dw, (3, 1, 2, 0))


def _behind(a: Any, x: Sequence[int], w: Sequence[int]) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) padding of y for which its windows are the pixels of x."""
    after = [(x[1 + i] - 1) * a.stride[i] + w[1 + i] - a.pad[i] - a.size[i] for i in (0, 1)]
    return a.pad[0], max(after[0], 0), a.pad[1], max(after[1], 0)


TRANSPOSED = (transposed_x, transposed_w, bias)

# matmul -----------------------------------------------------------------------------------


def matmul_a(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """da = dy b^T, or its transpose where a enters transposed."""
    a: Any = node.attrs
    other, dy = real(b, node.inputs[1]), dys[0]
    da = (
        call(b, "matmul", other, dy, adj_a=a.adj_b, adj_b=True)
        if a.adj_a
        else call(b, "matmul", dy, other, adj_a=False, adj_b=not a.adj_b)
    )
    return sum_to(b, da, operand(node, 0))


def matmul_b(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    a: Any = node.attrs
    other, dy = real(b, node.inputs[0]), dys[0]
    db = (
        call(b, "matmul", dy, other, adj_a=True, adj_b=a.adj_a)
        if a.adj_b
        else call(b, "matmul", other, dy, adj_a=not a.adj_a, adj_b=False)
    )
    return sum_to(b, db, operand(node, 1))


MATMUL = (matmul_a, matmul_b)

# average pool -----------------------------------------------------------------------------


def average(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """Each tap of a window gets an equal share of its gradient; padding takes none."""
    a: Any = node.attrs
    shape = operand(node, 0)
    if a.kernel == shape[1:3] and not any(a.pad):
        return broadcast_to(b, scaled(b, dys[0], 1 / (a.kernel[0] * a.kernel[1])), shape)
    share = constant(b, 1 / _counts(node))
    ones = constant(b, np.ones((shape[3], *a.kernel, 1), np.float32))
    dy = mul(b, dys[0], share)
    window = {"stride": a.stride, "pad": a.pad, "groups": shape[3]}
    return call(b, "conv2d_grad_x", dy, ones, size=shape[1:3], **window)


def _counts(node: Node) -> Any:
    """Taps of each window that lie inside the map, (1, OH, OW, 1)."""
    a: Any = node.attrs
    _, oh, ow, _ = node.output.type.shape
    inside: list[Any] = []
    for i, (out, extent) in enumerate(zip((oh, ow), operand(node, 0)[1:3], strict=True)):
        first = np.arange(out) * a.stride[i] - a.pad[2 * i]
        inside.append(np.minimum(first + a.kernel[i], extent) - np.maximum(first, 0))
    return (inside[0][:, None] * inside[1]).reshape(1, oh, ow, 1).astype(np.float64)


# largest-tap pool -------------------------------------------------------------------------


def largest(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """The first of the largest taps of a window gets its gradient, as PyTorch has it."""
    a: Any = node.attrs
    given = (node.inputs[0], node.output, dys[0])
    return call(b, "max_pool2d_grad", *given, kernel=a.kernel, stride=a.stride, pad=a.pad)

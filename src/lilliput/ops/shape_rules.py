"""Gradient rules of operators that move, join, take, repeat or reduce elements."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node, Value
from lilliput.ir.op import Grad
from lilliput.ir.types import f32
from lilliput.ops.gradient import (
    broadcast_to,
    call,
    constant,
    div,
    mul,
    operand,
    real,
    reshape,
    scaled,
    sub,
    sum_to,
    transpose,
)


def _attrs(node: Node) -> Any:
    return node.attrs


# Moves ------------------------------------------------------------------------------------


def transposed(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    return transpose(b, dys[0], tuple(int(k) for k in np.argsort(_attrs(node).perm)))


def repeated(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    return sum_to(b, dys[0], operand(node, 0))


def joined(i: int, b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """The part of dy that operand i became."""
    axis, shape = _attrs(node).axis, operand(node, i)
    before = sum(v.type.shape[axis] for v in node.inputs[:i])
    begin = tuple(before if k == axis else 0 for k in range(len(shape)))
    return call(b, "slice", dys[0], begin=begin, size=shape)


def sliced(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """dy, and zeros around it."""
    a, shape = _attrs(node), operand(node, 0)
    after = tuple(n - at - size for n, at, size in zip(shape, a.begin, a.size, strict=True))
    return (
        call(b, "pad", dys[0], before=a.begin, after=after) if any((*a.begin, *after)) else dys[0]
    )


def padded(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    return call(b, "slice", dys[0], begin=_attrs(node).before, size=operand(node, 0))


def tiled(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    shape, repeats = operand(node, 0), _attrs(node).repeats
    split = tuple(n for pair in zip(repeats, shape, strict=True) for n in pair)
    summed = call(
        b,
        "sum",
        reshape(b, dys[0], split),
        axes=tuple(range(0, len(split), 2)),
        keepdims=False,
    )
    return reshape(b, summed, shape)


def to_depth(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    return call(b, "depth_to_space", dys[0], size=_attrs(node).size)


def to_space(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    return call(b, "space_to_depth", dys[0], size=_attrs(node).size)


def turned(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    return call(b, "reverse", dys[0])


def accumulated(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """The same sums from the other end."""
    a = _attrs(node)
    return call(b, "cumsum", dys[0], exclusive=a.exclusive, reverse=not a.reverse)


# Resizing is linear: by its matrix, axis by axis ------------------------------------------


def resized(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """dx = R^T dy C, with the matrices of rows and columns found by resizing unit maps."""
    n, h, w, c = operand(node, 0)
    oh, ow = node.output.type.shape[1:3]
    rows, columns = _matrix(node, 1), _matrix(node, 2)
    dy = reshape(b, dys[0], (n, oh, ow * c))
    dx = call(b, "matmul", constant(b, rows.T[None]), dy)
    dx = transpose(b, reshape(b, dx, (n, h, ow, c)), (0, 2, 1, 3))
    dx = call(b, "matmul", constant(b, columns.T[None]), reshape(b, dx, (n, ow, h * c)))
    return transpose(b, reshape(b, dx, (n, w, h, c)), (0, 2, 1, 3))


def _matrix(node: Node, axis: int) -> Any:
    """(out, in): what each index along the axis takes of each of the operand's."""
    x, y = node.inputs[0], node.output
    extent, out = x.type.shape[axis], y.type.shape[axis]
    shape = [1, 1, 1, extent]
    shape[axis] = extent
    kept = [1, 1, 1, extent]
    kept[axis] = out
    other = "width" if axis == 1 else "height"
    attrs: Any = replace(_attrs(node), **{other: 1})
    unit = np.eye(extent, dtype=np.float32).reshape(shape)
    alone = Node(
        node.op,
        (Value(x.name, f32(*shape)),),
        (Value(y.name, f32(*kept)),),
        attrs,
    )
    return node.op.ref(alone, [unit])[0].reshape(out, extent)


# Reductions -------------------------------------------------------------------------------


def _spread(b: Builder, node: Node, v: Value) -> Value:
    """What a reduction gave, or its gradient, over the operand's shape."""
    axes, shape = _attrs(node).axes, operand(node, 0)
    kept = tuple(1 if k in axes else n for k, n in enumerate(shape))
    return broadcast_to(b, reshape(b, v, kept), shape)


def _count(node: Node) -> int:
    return math.prod(operand(node, 0)[k] for k in _attrs(node).axes)


def _summed(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    return _spread(b, node, dys[0])


def _mean(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    return _spread(b, node, scaled(b, dys[0], 1 / _count(node)))


def _extreme(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """Equal shares for all that are the largest (or the least), as PyTorch's amax has it."""
    a, x = _attrs(node), real(b, node.inputs[0])
    hits = call(b, "equal", x, _spread(b, node, real(b, node.output)))
    ones = call(b, "select", hits, constant(b, 1.0), constant(b, 0.0))
    count = call(b, "sum", ones, axes=a.axes, keepdims=a.keepdims)
    return mul(b, ones, _spread(b, node, div(b, dys[0], count)))


def _product(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """dy * y / x: of elements that are not zero."""
    whole = mul(b, dys[0], real(b, node.output))
    return div(b, _spread(b, node, whole), real(b, node.inputs[0]))


REDUCTIONS: Mapping[str, tuple[Grad | None, ...]] = {
    "sum": (_summed,),
    "mean": (_mean,),
    "reduce_max": (_extreme,),
    "reduce_min": (_extreme,),
    "reduce_prod": (_product,),
    "reduce_any": (None,),
    "reduce_all": (None,),
}


# Normalisations over the last axis --------------------------------------------------------


def _last(b: Builder, v: Value) -> Value:
    return call(b, "sum", v, axes=(len(v.type.shape) - 1,), keepdims=True)


def softmax(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """beta * y * (dy - sum(dy * y))."""
    y = real(b, node.output)
    inner = sub(b, dys[0], _last(b, mul(b, dys[0], y)))
    return scaled(b, mul(b, y, inner), _attrs(node).beta)


def log_softmax(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """dy - exp(y) * sum(dy)."""
    y = call(b, "exp", real(b, node.output))
    return sub(b, dys[0], mul(b, y, _last(b, dys[0])))


def l2_normalize(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """(dy - y * sum(dy * y)) / |x|."""
    x, y = real(b, node.inputs[0]), real(b, node.output)
    inner = sub(b, dys[0], mul(b, y, _last(b, mul(b, dys[0], y))))
    return mul(b, inner, call(b, "rsqrt", _last(b, call(b, "square", x))))


def cross_entropy(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """dy * (softmax(x) * sum(target) - target)."""
    x, target = node.inputs
    p = mul(b, call(b, "softmax", x), _last(b, target))
    return mul(b, sub(b, p, target), dys[0])


MOST = 64
"""Operands of a concatenation that have a rule."""

JOINED: tuple[Grad, ...] = tuple(partial(joined, i) for i in range(MOST))

"""Gradient rules of operators that move, join, take, repeat or reduce elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node, Value
from lilliput.ir.op import Grad
from lilliput.ir.types import Array
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
    zero_unless,
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
    axis: int = _attrs(node).axis
    shape = operand(node, i)
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


def to_depth(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    return call(b, "depth_to_space", dys[0], size=_attrs(node).size)


def to_space(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    return call(b, "space_to_depth", dys[0], size=_attrs(node).size)


def turned(b: Builder, _: Node, dys: Sequence[Value]) -> Value:
    return call(b, "reverse", dys[0])


def turned_some(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    return call(b, "reverse_sequence", dys[0], node.inputs[1], rows=_attrs(node).rows)


def accumulated(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """The same sums from the other end."""
    a = _attrs(node)
    return call(b, "cumsum", dys[0], exclusive=a.exclusive, reverse=not a.reverse)


# Picks by indices that are known at run time ----------------------------------------------


def gathered(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """Each block's gradients added where the block's indices point, in the order of the indices."""
    _, outer, places, channels = operand(node, 0)
    index = _inside(b, node.inputs[1], (places,))
    blocks, picks = index.type.shape
    made: list[Value] = []
    for k in range(blocks):
        at = call(b, "slice", index, begin=(k, 0), size=(1, picks)) if blocks > 1 else index
        dy = dys[0]
        if blocks > 1:
            size = (1, outer, picks, channels)
            dy = call(b, "slice", dy, begin=(k, 0, 0, 0), size=size)
        rows = reshape(b, transpose(b, dy, (0, 2, 1, 3)), (picks, outer * channels))
        summed = call(b, "scatter_nd", reshape(b, at, (picks, 1)), rows, shape=(places,))
        lines = reshape(b, summed, (1, places, outer, channels))
        made.append(transpose(b, lines, (0, 2, 1, 3)))
    return call(b, "concat", *made, axis=0) if blocks > 1 else made[0]


def gathered_nd(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    places = operand(node, 0)[:-1]
    return call(b, "scatter_nd", _inside(b, node.inputs[1], places), dys[0], shape=places)


def _inside(b: Builder, index: Value, places: Sequence[int]) -> Value:
    """Indices (K, D) moved into axes of these extents, as the picks themselves move them."""
    dtype = index.type.dtype.numpy
    last = np.array([n - 1 for n in places], dtype)
    bounded = call(b, "maximum", index, b.param("d.first", np.zeros(1, dtype)))
    return call(b, "minimum", bounded, b.param("d.last", last))


# Maps that are linear axis by axis --------------------------------------------------------


def by_matrices(matrices: Callable[[Node], Sequence[Array | None]]) -> Grad:
    """Of y = x multiplied along each axis by a matrix (out, in), None where it stays as it is:
    dy multiplied by their transposes."""

    def rule(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
        dx = dys[0]
        for axis, matrix in enumerate(matrices(node)):
            dx = dx if matrix is None else _along(b, dx, axis, matrix.T)
        return dx

    return rule


def _along(b: Builder, v: Value, axis: int, matrix: Array) -> Value:
    """v multiplied along `axis` by a matrix (new extent, old extent)."""
    shape = v.type.shape
    before, after = shape[:axis], shape[axis + 1 :]
    lines = reshape(b, v, (math.prod(before), shape[axis], math.prod(after)))
    made = call(b, "matmul", constant(b, np.ascontiguousarray(matrix[None])), lines)
    return reshape(b, made, (*before, matrix.shape[0], *after))


def by_maps(maps: Callable[[Node], Sequence[Array]]) -> Grad:
    """Of y[i, j, ..] = x[m0[i], m1[j], ..]: each place's gradient goes to where it was read."""

    def rule(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
        dx = dys[0]
        for axis, index in enumerate(maps(node)):
            dx = _put_back(b, dx, axis, index, operand(node, 0)[axis])
        return dx

    return rule


def _put_back(b: Builder, dy: Value, axis: int, index: Array, extent: int) -> Value:
    """The gradient along `axis` of y[i] = x[index[i]]: copies are summed, gaps become zeros; what
    is neither, by the map's matrix."""
    places = np.arange(len(index))
    if np.array_equal(index, np.arange(extent)):
        return dy
    copies, rest = divmod(len(index), extent)
    if not rest and np.array_equal(index, places // copies):
        return _folded(b, dy, axis, (extent, copies), 1)
    if not rest and np.array_equal(index, places % extent):
        return _folded(b, dy, axis, (copies, extent), 0)
    step = int(index[1] - index[0]) if len(index) > 1 else 1
    if step >= 1 and np.array_equal(index, index[0] + step * places):
        return _strewn(b, dy, axis, (int(index[0]), step, extent))
    return _along(b, dy, axis, (index == np.arange(extent)[:, None]).astype(np.float32))


def _folded(b: Builder, v: Value, axis: int, parts: tuple[int, int], summed: int) -> Value:
    """`axis` as two axes, one of which is summed."""
    before, after = v.type.shape[:axis], v.type.shape[axis + 1 :]
    split = reshape(b, v, (math.prod(before), *parts, math.prod(after)))
    made = call(b, "sum", split, axes=(1 + summed,), keepdims=True)
    return reshape(b, made, (*before, parts[1 - summed], *after))


def _strewn(b: Builder, v: Value, axis: int, places: tuple[int, int, int]) -> Value:
    """Elements (first, step) apart along `axis` of the third's extent, zeros between them."""
    first, step, extent = places
    before, after = v.type.shape[:axis], v.type.shape[axis + 1 :]
    count, lines = v.type.shape[axis], (math.prod(before), math.prod(after))
    if step > 1:
        apart = reshape(b, v, (lines[0], count, 1, lines[1]))
        v = call(b, "pad", apart, before=(0,) * 4, after=(0, 0, step - 1, 0))
    v = reshape(b, v, (lines[0], count * step, lines[1]))
    end = min(count * step, extent - first)
    if end < count * step:
        v = call(b, "slice", v, begin=(0, 0, 0), size=(lines[0], end, lines[1]))
    margin = (0, first, 0), (0, extent - first - end, 0)
    v = call(b, "pad", v, before=margin[0], after=margin[1]) if first + end < extent or first else v
    return reshape(b, v, (*before, extent, *after))


# Reductions -------------------------------------------------------------------------------


def _spread(b: Builder, node: Node, v: Value) -> Value:
    """What a reduction gave, or its gradient, over the operand's shape."""
    axes, shape = _attrs(node).axes, operand(node, 0)
    kept = tuple(1 if k in axes else n for k, n in enumerate(shape))
    return broadcast_to(b, reshape(b, v, kept), shape)


def _count(node: Node) -> int:
    axes: tuple[int, ...] = _attrs(node).axes
    return math.prod(operand(node, 0)[k] for k in axes)


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
    """dy times the product of all the others: those of a zero, if it is the only one, are what is
    left of the product without zeros."""
    a, x = _attrs(node), real(b, node.inputs[0])
    one, none = constant(b, 1.0), constant(b, 0.0)
    zero = call(b, "equal", x, none)
    rest = call(b, "select", zero, one, x)
    whole = call(b, "reduce_prod", rest, axes=a.axes, keepdims=a.keepdims)
    own = call(b, "select", zero, one, none)
    zeros = call(b, "sum", own, axes=a.axes, keepdims=a.keepdims)
    fits = call(b, "less_equal", _spread(b, node, zeros), own)
    return zero_unless(b, fits, div(b, _spread(b, node, mul(b, dys[0], whole)), rest))


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


LEAST_NORM = 1e-6
"""What l2_normalize divides by at least."""


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
    """(dy - y * sum(dy * y)) / |x|, |x| at least what the operator divides by: finite at 0."""
    x, y = real(b, node.inputs[0]), real(b, node.output)
    inner = sub(b, dys[0], mul(b, y, _last(b, mul(b, dys[0], y))))
    norm = call(b, "sqrt", _last(b, call(b, "square", x)))
    return div(b, inner, call(b, "maximum", norm, constant(b, LEAST_NORM)))


def cross_entropy(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """dy * (softmax(x) * sum(target) - target)."""
    x, target = node.inputs
    p = mul(b, call(b, "softmax", x), _last(b, target))
    return mul(b, sub(b, p, target), dys[0])


MOST = 1024
"""Operands of a concatenation that have a rule: as many as steps of an unrolled recurrence."""

JOINED: tuple[Grad, ...] = tuple(partial(joined, i) for i in range(MOST))

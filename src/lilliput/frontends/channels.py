"""Channels-first layers as nodes of the IR, which has its channels last.

    x (N,C,*S)  ->  transpose  ->  operator on (N,*S,C)  ->  transpose  ->  y (N,C',*S')

One idea: a layer is correct by itself, with a transpose on either side, and knows nothing of its
neighbours; `passes.layout` takes the transposes between layers away.  Layers of one dimension
are those of two with a height of 1.  What is here is shared by the frontends whose files are
channels first (ONNX, PyTorch); names are given by a `Place`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lilliput.errors import UnsupportedError
from lilliput.ir import Array, Attrs, Builder, Node, Op, TensorType, Value
from lilliput.ir.build import infer
from lilliput.ops.accumulate import Conv2d, TransposeConv
from lilliput.ops.conv import conv2d
from lilliput.ops.elementwise import add, mul
from lilliput.ops.frame import Pad, pad
from lilliput.ops.numeric import Rounding
from lilliput.ops.pool import Pool, avg_pool2d, max_pool2d
from lilliput.ops.shape import (
    Concat,
    Reshape,
    Slice,
    Transpose,
    concat,
    reshape,
    slice_,
    transpose,
)
from lilliput.ops.transpose_conv import transpose_conv

Pads = Sequence[tuple[int, int]]
"""(before, after) of each spatial axis."""


@dataclass(frozen=True)
class Place:
    """Where nodes are added: all bear `name` and a suffix, the last one bears the name alone."""

    builder: Builder
    name: str
    origin: str = ""

    def between(
        self,
        op: Op,
        inputs: Sequence[Value],
        attrs: Attrs | None = None,
        suffix: str = "",
        type: TensorType | None = None,
    ) -> Value:
        """A node on the way to the result."""
        name = f"{self.name}/{suffix or op.name}"
        return self.builder.add(op, inputs, attrs, type=type, name=name, origin=self.origin)

    def last(
        self,
        op: Op,
        inputs: Sequence[Value],
        attrs: Attrs | None = None,
        type: TensorType | None = None,
    ) -> Value:
        """The node that makes the result."""
        return self.builder.add(op, inputs, attrs, type=type, name=self.name, origin=self.origin)

    def inner(self, suffix: str) -> Place:
        """For a layer that is a part of this one."""
        return replace(self, name=f"{self.name}/{suffix}")

    def constant(self, data: Array, suffix: str) -> Value:
        return self.builder.param(f"{self.name}/{suffix}", data)

    def data(self, value: Value) -> Array | None:
        """What a constant holds; None for a value that is computed."""
        param = self.builder.params.get(value.name)
        return param.data if param else None

    def refuse(
        self, what: str, *, expected: object = "", found: object = "", hint: str = ""
    ) -> UnsupportedError:
        """The error, to be raised, for a form of the layer that is not supported."""
        where = self.origin or self.name
        return UnsupportedError(what, where=where, expected=expected, found=found, hint=hint)


# Into rows of pixels and back -------------------------------------------------------------


def channels_last(p: Place, x: Value) -> Value:
    """(N,C,*S) -> (N,*S,C)."""
    rank = len(x.type.shape)
    return p.between(transpose, (x,), Transpose((0, *range(2, rank), 1)), "rows")


def channels_first(p: Place, y: Value) -> Value:
    """(N,*S,C) -> (N,C,*S), under the name of the place."""
    rank = len(y.type.shape)
    return p.last(transpose, (y,), Transpose((0, rank - 1, *range(1, rank - 1))))


def plane(p: Place, x: Value) -> Value:
    """(N,C,L) or (N,C,H,W) -> (N,H,W,C), with a height of 1."""
    if len(x.type.shape) not in (3, 4):
        raise p.refuse(
            "layer of this many dimensions", expected="1 or 2", found=len(x.type.shape) - 2
        )
    y = channels_last(p, x)
    if len(y.type.shape) == 4:
        return y
    n, length, c = y.type.shape
    return p.between(reshape, (y,), Reshape((n, 1, length, c)), "row")


def from_plane(p: Place, y: Value, rank: int) -> Value:
    """(N,H,W,C) -> (N,C,L) or (N,C,H,W), whichever has `rank` axes."""
    if rank == 3:
        n, _, length, c = y.type.shape
        y = p.between(reshape, (y,), Reshape((n, length, c)), "line")
    return channels_first(p, y)


def two(values: Sequence[int], lead: int) -> tuple[int, int]:
    """Of rows and columns; those of a layer of one dimension are led by `lead`."""
    first, second = (lead, *values)[-2:]
    return first, second


def _margins(pads: Pads) -> tuple[int, int, int, int]:
    (top, bottom), (left, right) = ((0, 0), *pads)[-2:]
    return top, bottom, left, right


def _kernel(p: Place, w: Value, perm: tuple[int, ...], spatial: int, data: Array | None) -> Value:
    """Weights with their axes in the order of `perm`, and a height of 1 if they have none."""
    if data is None:
        y = p.between(transpose, (w,), Transpose(perm), "w")
        if spatial == 2:
            return y
        o, length, i = y.type.shape
        return p.between(reshape, (y,), Reshape((o, 1, length, i)), "w/row")
    moved = np.transpose(data, perm)
    if spatial == 1:
        moved = moved[:, None]
    return p.builder.param(
        f"{p.name}/w", np.ascontiguousarray(moved), w.type.quant, dtype=w.type.dtype
    )


# Convolutions -----------------------------------------------------------------------------


def conv(
    p: Place,
    x: Value,
    w: Value,
    bias: Value | None = None,
    *,
    stride: Sequence[int],
    pads: Pads,
    dilation: Sequence[int],
    groups: int = 1,
    type: TensorType | None = None,
    rounding: Rounding = Rounding.DOUBLE,
) -> Value:
    """Convolution of one or two dimensions: x (N,C,*S), w (O,C/groups,*K), bias (O).

    type : element type and quantisation of the result (its shape is not looked at); weights
        that are quantised per channel are so along axis 0
    """
    rank = len(x.type.shape)
    rows = plane(p, x)
    if len(w.type.shape) != rank:
        raise p.refuse("rank of the weights", expected=rank, found=w.type.shape)
    kernel = _kernel(p, w, (0, *range(2, rank), 1), rank - 2, p.data(w))
    operands = (rows, kernel) if bias is None else (rows, kernel, bias)
    attrs = Conv2d(two(stride, 1), two(dilation, 1), _margins(pads), groups, rounding)
    y = p.between(conv2d, operands, attrs, type=_typed(p, conv2d, operands, attrs, type))
    return from_plane(p, y, rank)


def _typed(
    p: Place, op: Op, operands: Sequence[Value], attrs: Attrs, type: TensorType | None
) -> TensorType | None:
    """The type that the operator infers, with the elements of `type`."""
    if type is None:
        return None
    (found,) = infer(op, attrs, [v.type for v in operands], p.origin or p.name)
    return found.with_dtype(type.dtype, type.quant)


def conv_transpose(
    p: Place,
    x: Value,
    w: Value,
    bias: Value | None = None,
    *,
    stride: Sequence[int],
    pads: Pads,
    dilation: Sequence[int],
    extra: Sequence[int],
    groups: int = 1,
) -> Value:
    """Transposed convolution: x (N,C,*S), w (C,O/groups,*K) constant, bias (O).

    extra : rows added behind the result (output padding).  Groups are layers of their own; a
    dilation is made of zeros between the weights.
    """
    rank, data = len(x.type.shape), p.data(w)
    if data is None:
        raise p.refuse("weights of a transposed convolution are computed", expected="constants")
    data = _dilated(data, dilation)
    rows = plane(p, x)
    kernel, step, margin = two(data.shape[2:], 1), two(stride, 1), _margins(pads)
    more = two(extra, 0)
    size = tuple(
        (n - 1) * s + k + e - before - after
        for n, s, k, e, before, after in zip(
            rows.type.shape[1:3], step, kernel, more, margin[::2], margin[1::2], strict=True
        )
    )
    if min(size) < 1:
        raise p.refuse("result of a transposed convolution is empty", found=size)
    attrs = TransposeConv(step, (margin[0], margin[2]), (size[0], size[1]))
    parts: list[Value] = []
    each_in, each_out = data.shape[0] // groups, data.shape[1]
    for g in range(groups):
        q = p.inner(f"group{g}") if groups > 1 else p
        part = rows if groups == 1 else _channels(q, rows, g * each_in, each_in)
        weights = data[g * each_in : (g + 1) * each_in]
        kernel = _kernel(q, w, (1, *range(2, rank), 0), rank - 2, weights)
        operands = [part, kernel]
        if bias is not None:
            own = p.data(bias)
            if own is None:
                raise p.refuse("bias of a transposed convolution is computed")
            piece = own[g * each_out : (g + 1) * each_out]
            operands.append(bias if groups == 1 else q.constant(piece, "bias"))
        parts.append(q.between(transpose_conv, operands, attrs))
    y = parts[0] if groups == 1 else p.between(concat, parts, Concat(3))
    return from_plane(p, y, rank)


def _dilated(w: Array, dilation: Sequence[int]) -> Array:
    """Weights (C,O,*K) with zeros between them."""
    extents = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilation, strict=True)]
    out = np.zeros((*w.shape[:2], *extents), w.dtype)
    out[(slice(None), slice(None), *(slice(None, None, d) for d in dilation))] = w
    return out


def _channels(p: Place, x: Value, begin: int, size: int) -> Value:
    """Some channels of (N,H,W,C)."""
    shape = x.type.shape
    return p.between(slice_, (x,), Slice((0, 0, 0, begin), (*shape[:3], size)), "channels")


# Pools ------------------------------------------------------------------------------------


def ceiled(size: int, kernel: int, stride: int, pads: tuple[int, int]) -> int:
    """Rows added behind so that the last window, which begins inside, is a whole one."""
    free = size + sum(pads) - kernel
    out = -(-free // stride) + 1
    if (out - 1) * stride >= size + pads[0]:
        out -= 1
    return max((out - 1) * stride + kernel - size - sum(pads), 0)


def _ceil_pads(x: Value, kernel: Sequence[int], stride: Sequence[int], pads: Pads) -> Pads:
    rows = zip(x.type.shape[2:], kernel, stride, pads, strict=True)
    return [(before, after + ceiled(n, k, s, (before, after))) for n, k, s, (before, after) in rows]


def max_pool(
    p: Place,
    x: Value,
    *,
    kernel: Sequence[int],
    stride: Sequence[int],
    pads: Pads,
    ceil: bool = False,
) -> Value:
    """Largest of each window of x (N,C,*S); padding adds nothing."""
    pads = _ceil_pads(x, kernel, stride, pads) if ceil else pads
    attrs = Pool(two(kernel, 1), two(stride, 1), _margins(pads))
    y = p.between(max_pool2d, (plane(p, x),), attrs)
    return from_plane(p, y, len(x.type.shape))


def avg_pool(
    p: Place,
    x: Value,
    *,
    kernel: Sequence[int],
    stride: Sequence[int],
    pads: Pads,
    ceil: bool = False,
    include_pad: bool = False,
) -> Value:
    """Mean of each window of x (N,C,*S).

    include_pad : padding counts as zeros.  What `ceil` adds behind never counts.
    """
    rows = plane(p, x)
    after = _ceil_pads(x, kernel, stride, pads) if ceil else pads
    if include_pad and any(map(any, pads)):
        top, bottom, left, right = _margins(pads)
        rows = padded(p, rows, (0, top, left, 0), (0, bottom, right, 0))
        after = [(0, e[1] - b[1]) for e, b in zip(after, pads, strict=True)]
    attrs = Pool(two(kernel, 1), two(stride, 1), _margins(after))
    return from_plane(p, p.between(avg_pool2d, (rows,), attrs), len(x.type.shape))


def padded(p: Place, x: Value, before: Sequence[int], after: Sequence[int]) -> Value:
    """x inside a margin of zeros, or of zero points."""
    attrs = Pad(tuple(before), tuple(after), x.type.zero_point)
    return p.between(pad, (x,), attrs)


def adaptive_pool(p: Place, x: Value, size: Sequence[int], *, largest: bool = False) -> Value:
    """Mean or largest of windows that divide each axis of x (N,C,*S) into `size` parts.

    Part i of n reads from floor(i*n_in/n) to ceil((i+1)*n_in/n).  Where the parts are not all
    of one extent, one axis is done after the other, a part at a time.
    """
    op = max_pool2d if largest else avg_pool2d
    rows = plane(p, x)
    out = two(size, 1)
    for axis, n in zip((1, 2), out, strict=True):
        if rows.type.shape[axis] % n == 0:
            continue
        whole, parts = rows.type.shape[axis], list[Value]()
        for i in range(n):
            begin, end = i * whole // n, -(-(i + 1) * whole // n)
            q = p.inner(f"axis{axis}/part{i}")
            parts.append(_part(q, op, rows, axis, begin, end - begin))
        rows = p.between(concat, parts, Concat(axis), f"axis{axis}")
    kernel = tuple(m // n for m, n in zip(rows.type.shape[1:3], out, strict=True))
    if math.prod(kernel) > 1:
        rows = p.between(op, (rows,), Pool(two(kernel, 1), two(kernel, 1)))
    return from_plane(p, rows, len(x.type.shape))


def _part(p: Place, op: Op, x: Value, axis: int, begin: int, size: int) -> Value:
    """One row (or column) of (N,H,W,C) that is the mean or the largest of some."""
    starts, extents = [0, 0, 0, 0], list(x.type.shape)
    starts[axis], extents[axis] = begin, size
    rows = p.between(slice_, (x,), Slice(tuple(starts), tuple(extents)))
    if size == 1:
        return rows
    kernel = (size, 1) if axis == 1 else (1, size)
    return p.between(op, (rows,), Pool(kernel, kernel))


# Normalisation by constants ---------------------------------------------------------------


def batch_norm(
    p: Place, x: Value, scale: Array, bias: Array, mean: Array, variance: Array, epsilon: float
) -> Value:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias for each channel of x (N,C,...).

    Goes into the weights of the convolution that x comes from; otherwise it is a multiplication
    and an addition.
    """
    double = [a.astype(np.float64) for a in (scale, bias, mean, variance)]
    if any(a.shape != (x.type.shape[1],) for a in double):
        shapes = [a.shape for a in double]
        raise p.refuse("constants of a batch norm", expected=(x.type.shape[1],), found=shapes)
    if not (double[3] + epsilon > 0).all():
        raise p.refuse("variance of a batch norm", expected="above 0", found=double[3].min())
    factor = double[0] / np.sqrt(double[3] + epsilon)
    offset = double[1] - double[2] * factor
    folded = _into_weights(p, x, factor, offset)
    if folded is not None:
        return folded
    shape = (1, -1, *(1,) * (len(x.type.shape) - 2))
    factors = p.constant(factor.astype(np.float32).reshape(shape), "factor")
    offsets = p.constant(offset.astype(np.float32).reshape(shape), "offset")
    return p.last(add, (p.between(mul, (x, factors)), offsets))


def _into_weights(p: Place, x: Value, factor: Array, offset: Array) -> Value | None:
    """The convolution that x comes from once more, scaled; None where x comes from no other.

    The first one is dead unless something else reads it.
    """
    chain = _behind_layer(p.builder.nodes, x)
    layer = chain[-1] if chain else None
    if layer is None or layer.op not in (conv2d, transpose_conv) or len(layer.inputs) > 3:
        return None
    operands = [p.data(v) for v in layer.inputs[1:]]
    if any(d is None or d.dtype != np.float32 for d in operands):
        return None
    known = [d.astype(np.float64) for d in operands if d is not None]
    w, start = known[0], known[1] if len(known) > 1 else np.zeros(len(factor))
    scaled = (w * factor[:, None, None, None]).astype(np.float32)
    moved = (start * factor + offset).astype(np.float32)
    values = (*layer.inputs[:1], p.constant(scaled, "w"), p.constant(moved, "bias"))
    y = p.between(layer.op, values, layer.attrs)
    for step in reversed(chain[:-1]):
        make = p.last if step is chain[0] else p.between
        y = make(step.op, (y,), step.attrs)
    return y


def _behind_layer(nodes: Sequence[Node], x: Value) -> list[Node]:
    """What made x, back to a node that is no transpose or reshape, the last of the list; empty
    where axis 1 of x is not the last axis of that node's result."""
    chain: list[Node] = []
    axis, wanted = 1, x.name
    for node in reversed(nodes):
        if node.output.name != wanted:
            continue
        chain.append(node)
        wanted = node.inputs[0].name if node.inputs else ""
        if isinstance(node.attrs, Transpose):
            axis = node.attrs.perm[axis]
        elif node.op is reshape:
            old, new = node.inputs[0].type.shape, node.output.type.shape
            if axis != len(new) - 1 or old[-1:] != new[-1:]:
                return []
            axis = len(old) - 1
        else:
            return chain if axis == len(node.output.type.shape) - 1 else []
    return []

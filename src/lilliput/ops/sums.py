"""What weighted sums can hold, and how their attributes follow when channels are left out.

One idea: the sum of each output channel is as small as it can be when every input channel is at
the end that its weight asks for, so its ends are two products of matrices.  Taps that lie in
padding add nothing; which do so together depends on where the window stands, and of each axis
there are only a few such cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Contraction, Indices, Narrow
from lilliput.ir.range import Range
from lilliput.ir.types import Array, DType
from lilliput.ops.accumulate import (
    Conv2d,
    TransposeConv,
    acc_type,
    is_raw,
    layer,
    multipliers,
    requantize,
)
from lilliput.ops.bounds import scales_exactly
from lilliput.ops.common import margins, narrows
from lilliput.ops.numeric import Rounding

WIDE = 1 << 46
"""Sums in int64 below this are scaled without overflow."""


def sum_bounds(node: Node, operands: Sequence[Range]) -> Range | None:
    """Of a convolution or product with constant weights, for each output channel by itself;
    None where its scales may be negative, and for floats."""
    if not operands[1].is_constant or acc_type(node).is_float:
        return None
    low, high = _ends(node, *_taps(node, operands))
    rank, channels = len(node.output.type.shape), node.output.type.shape[-1]
    for extra in operands[2:]:
        least, most = extra.along(extra.low.ndim - 1, channels)
        low, high = low + least, high + most
    shape = (1,) * (rank - 1) + (channels,)
    return _stored(node, low.reshape(shape), high.reshape(shape))


def _taps(node: Node, operands: Sequence[Range]) -> tuple[Array, Array]:
    """Ends of what each tap adds to each output channel: (KH, KW, O), int64.

    Products of integers and their sums are exact in doubles here: they stay under 2^53.
    """
    x, w = node.inputs[0].type, node.inputs[1].type
    groups = node.attrs.groups if isinstance(node.attrs, Conv2d) else 1
    channels = x.shape[-1]
    ends = (a - x.zero_point for a in operands[0].along(len(x.shape) - 1, channels))
    least, most = (a.astype(np.float64).reshape(groups, -1, 1) for a in ends)
    window = w.shape[1:-1] or (1, 1)
    weights = operands[1].low.astype(np.float64) - w.zero_point
    weights = weights.reshape(groups, -1, channels // groups)
    above, below = np.maximum(weights, 0), np.minimum(weights, 0)
    pairs = (above @ least + below @ most), (above @ most + below @ least)
    low, high = (a.astype(np.int64).reshape(w.shape[0], *window).transpose(1, 2, 0) for a in pairs)
    return low, high


def _ends(node: Node, low: Array, high: Array) -> tuple[Array, Array]:
    """Ends of the sums (O) over the taps (KH, KW, O), wherever the window stands."""
    if isinstance(node.attrs, TransposeConv):
        return np.minimum(low, 0).sum((0, 1)), np.maximum(high, 0).sum((0, 1))
    rows, columns = _seen(node)
    sums = (
        np.einsum("rh,cw,hwo->rco", rows, columns, a).reshape(-1, a.shape[2]) for a in (low, high)
    )
    least, most = sums
    return least.min(0), most.max(0)


def _seen(node: Node) -> tuple[Array, Array]:
    """The sets of taps that are inside the map together, as rows of 0 and 1: (cases, KH) for
    rows, (cases, KW) for columns."""
    a = node.attrs
    if not isinstance(a, Conv2d):
        one = np.ones((1, 1), np.int64)
        return one, one
    sizes, x, y = (v.type.shape[1:3] for v in (node.inputs[1], node.inputs[0], node.output))
    found: list[Array] = []
    for k in (0, 1):
        first = np.arange(y[k])[:, None] * a.stride[k] - a.pad[2 * k]
        at = first + np.arange(sizes[k]) * a.dilation[k]
        found.append(np.unique(((at >= 0) & (at < x[k])).astype(np.int64), axis=0))
    return found[0], found[1]


def _stored(node: Node, low: Array, high: Array) -> Range | None:
    """What is stored of sums between these ends: scaling grows with the sum."""
    y, acc = node.output.type, acc_type(node)
    if is_raw(node):
        floor, ceiling = acc.bounds
        fits = (low >= floor) & (high <= ceiling)
        return Range(np.where(fits, low, floor), np.where(fits, high, ceiling), (low, high))
    even = layer(node).rounding is Rounding.EVEN
    mult, shift = (np.array(a) for a in multipliers(node))
    if (mult < 0).any():
        return None
    if even:
        fits = scales_exactly(low, high, 0)
    elif acc is DType.S64:
        room = 1 << 31
        fits = (abs(low) < WIDE) & (abs(high) < WIDE)
        fits &= (np.maximum(abs(low), abs(high)) >> np.maximum(-shift, 0)) << np.maximum(
            shift, 0
        ) < room
    else:
        fits = scales_exactly(low, high, shift)
    floor, ceiling = y.dtype.bounds
    least, most = requantize(node, np.where(fits, np.stack([low, high]), 0)).astype(np.int64)
    return Range(np.where(fits, least, floor), np.where(fits, most, ceiling), (low, high))


# Channels ---------------------------------------------------------------------------------


def sum_contraction(node: Node) -> Contraction | None:
    """Of one group: the input channels.  Of several there is none: each reads its own."""
    a, x, w = node.attrs, node.inputs[0].type, node.inputs[1].type
    if isinstance(a, Conv2d) and a.groups > 1:
        return None
    everywhere = not isinstance(a, TransposeConv) and all(
        len(c) == 1 and c.all() for c in _seen(node)
    )
    return Contraction(len(x.shape) - 1, len(w.shape) - 1, everywhere, acc_type(node))


def sum_narrow(node: Node) -> Narrow | None:
    """Channels may be left out of one group, and of a group for each channel."""
    a = layer(node)
    if not isinstance(a, Conv2d) or a.groups == 1:
        return narrows(node)
    whole = a.groups == node.inputs[0].type.shape[3] == node.output.type.shape[3]
    return _fewer_groups if whole else None


def _fewer_groups(node: Node, _: Sequence[Indices], result: Indices) -> Attrs:
    assert isinstance(node.attrs, Conv2d)
    return replace(node.attrs, groups=len(result[3]))


# Windows ----------------------------------------------------------------------------------


def conv_slide(node: Node, axis: int, outside: tuple[int, int]) -> Attrs | None:
    """A convolution of part of a map: what lies outside is its padding."""
    assert isinstance(node.attrs, Conv2d)
    if axis == 3:
        return None
    return replace(node.attrs, pad=margins(node.attrs.pad, axis, outside))

"""Rules of what results can hold, for operators whose meaning has a shape that says it.

    increasing   results grow with every operand: moves, extremes, averages
    monotone     in each operand, the others fixed, either grows or falls: sums, products
    tabulated    one operand of few values: all of them are tried

One idea: `Op.ref` is evaluated at the ends, so that no arithmetic is written a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from lilliput.ir.graph import Node
from lilliput.ir.range import Range, compact
from lilliput.ir.types import Array, DType
from lilliput.ops.numeric import INT32_MAX, INT32_MIN

SMALL = (DType.S8, DType.U8, DType.S16, DType.U16)
"""Types whose values can all be tried."""


def evaluated(node: Node, operands: Sequence[Array]) -> Array:
    """The first result for these operands, of the node's rank; element-wise nodes take
    operands that broadcast, all others whole ones."""
    types = [v.type for v in node.inputs]
    if node.op.scalar is None:
        operands = [np.broadcast_to(a, t.shape) for a, t in zip(operands, types, strict=True)]
    cast = [a.astype(t.dtype.numpy) for a, t in zip(operands, types, strict=True)]
    with np.errstate(all="ignore"):
        y = np.asarray(node.op.ref(node, cast)[0])
    shape = node.output.type.shape
    return y.reshape((1,) * (len(shape) - y.ndim) + y.shape if node.op.scalar else shape)


def increasing(node: Node, operands: Sequence[Range]) -> Range:
    """Of a result that no element of any operand makes smaller by growing."""
    low = evaluated(node, [r.low for r in operands])
    if all(r.is_constant for r in operands):
        return Range.constant(low)
    return compact(low, evaluated(node, [r.high for r in operands]))


def placed(node: Node, operands: Sequence[Range]) -> Range | None:
    """Of elements of the first operand, moved to where the others, if they are constant, say."""
    return increasing(node, operands) if all(r.is_constant for r in operands[1:]) else None


def monotone(node: Node, operands: Sequence[Range]) -> Range:
    """Of an element-wise result that is monotone in each operand while the others are fixed:
    its extremes lie where all operands are at an end."""
    ends = [(r.low,) if r.is_constant else (r.low, r.high) for r in operands]
    found = [evaluated(node, corner) for corner in product(*ends)]
    low, high = found[0], found[0]
    for y in found[1:]:
        low, high = np.minimum(low, y), np.maximum(high, y)
    return compact(low, high)


def tabulated(node: Node, operands: Sequence[Range]) -> Range | None:
    """Of an element-wise function of one operand of 8 or 16 bits."""
    (x,), dtype = operands, node.inputs[0].type.dtype
    if dtype not in SMALL:
        return None
    first, last = dtype.bounds
    values = np.arange(first, last + 1)
    table = evaluated(node, [values.reshape(-1, *(1,) * (x.low.ndim - 1))]).reshape(-1)
    spans, inverse = np.unique(
        np.stack(np.broadcast_arrays(x.low, x.high), -1).reshape(-1, 2), axis=0, return_inverse=True
    )
    parts = [table[a - first : b - first + 1] for a, b in spans.astype(np.int64).tolist()]
    shape = np.broadcast_shapes(x.low.shape, x.high.shape)
    least, most = (np.array([f(p) for p in parts])[inverse.reshape(-1)] for f in (np.min, np.max))
    return compact(least.reshape(shape), most.reshape(shape))


def scales_exactly(low: Array, high: Array, shift: Array | int) -> Array:
    """Where sums in [low, high] can be scaled by (mult, shift) without wrapping in int32: then
    the scaling grows with the sum."""
    left = np.maximum(np.asarray(shift, np.int64), 0)
    return (low >= INT32_MIN >> left) & (high <= INT32_MAX >> left)

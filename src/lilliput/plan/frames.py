"""From axes to frames: how rules over a tensor's axes read in rows, pixels and channels.

Kernels see any shape as rows x pixels x channels (`TensorType.frame`).  Operators state
their region rules over axes.  This file is the one place where the two meet, and where
data movement (concat, slice, a ring that turns) is read off the rules: an operator without
a kernel whose operands are all shifted says where each operand lies in the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from lilliput.ir.graph import Node, Value
from lilliput.ir.region import (
    AxisRule,
    OperandRule,
    Pointwise,
    Reduce,
    Scale,
    Shift,
    Spread,
    Whole,
    Window,
)
from lilliput.ir.types import DType, TensorType
from lilliput.plan.program import FrameRule

ALL = FrameRule(Whole(), Whole(), Whole(), (1, 1))


def frame_rule(rule: OperandRule, operand: TensorType, out: TensorType) -> FrameRule:
    """`rule` of `operand`, in frames.  What frames cannot express becomes Whole."""
    if _is_parameter(rule, out):
        return replace(ALL, x=Pointwise(2))
    padded = (Whole(),) * (3 - len(rule)) + tuple(rule)
    lead, (y, x, c) = padded[:-3], padded[-3:]
    shift = len(out.shape) - len(operand.shape)
    batched = math.prod(operand.shape[:-3]) > 1 or math.prod(out.shape[:-3]) > 1
    if isinstance(y, Reduce) and isinstance(y.inner, Pointwise):
        rows = out_rows = operand.frame[0]  # iterations are rows of the operand, images or not
    else:
        rows, out_rows = (1, 1, 1, *operand.shape)[-3], (1, 1, 1, *out.shape)[-3]
        if batched and not (shift == 0 and _own_axes(lead) and _own_axis(y, len(lead))):
            y = Whole()
    images = (1, 1) if isinstance(y, Whole) else (out_rows, rows)
    return FrameRule(
        _rename(y, out, rows=True),
        _in_frame(_rename(x, out), batched),
        _in_frame(_rename(c, out), batched),
        images,
    )


def _own_axes(lead: OperandRule) -> bool:
    return all(rule == Pointwise(i) for i, rule in enumerate(lead))


def _own_axis(rule: AxisRule, axis: int) -> bool:
    return not isinstance(rule, Whole | Reduce) and rule.axis == axis


def _in_frame(rule: AxisRule, batched: bool) -> AxisRule:
    """Rows of a batch are several axes merged: no other axis can follow them."""
    merged = batched and not isinstance(rule, Whole) and rule.axis == 0
    return Whole() if merged else rule


def _is_parameter(rule: OperandRule, out: TensorType) -> bool:
    """One slice along the first axis for each output channel: weights."""
    last = len(out.shape) - 1
    return (
        len(rule) >= 2
        and rule[0] == Pointwise(last)
        and all(isinstance(r, Whole) for r in rule[1:])
    )


def _rename(rule: AxisRule, out: TensorType, *, rows: bool = False) -> AxisRule:
    """The rule with its axis as an index of the output's frame."""
    if isinstance(rule, Whole):
        return rule
    if isinstance(rule, Reduce):  # a task that reduces iterates over the rows it takes in
        return replace(rule, inner=replace(rule.inner, axis=0)) if rows else Whole()
    axis = max(rule.axis - len(out.shape) + 3, 0)
    return replace(rule, axis=axis)


def parameter_frame(type: TensorType) -> tuple[int, int, int]:
    """Weights as (1, output channels, everything of one channel)."""
    return 1, type.shape[0], type.size // type.shape[0]


def operand_frame(rule: FrameRule, type: TensorType) -> tuple[int, int, int]:
    return parameter_frame(type) if rule == replace(ALL, x=Pointwise(2)) else type.frame


@dataclass(frozen=True)
class Box:
    """A strided box of a dense tensor, in elements."""

    rows: int
    pixels: int
    channels: int
    row: int
    pixel: int
    start: int = 0


def whole_box(type: TensorType) -> Box:
    rows, pixels, channels = type.frame
    return Box(rows, pixels, channels, pixels * channels, channels)


@dataclass(frozen=True)
class Move:
    """Operand `index` of a movement node: `inner` in the smaller tensor's own frame when
    `framed`, else both boxes are a 2-D reading of the same bytes."""

    index: int
    source: Box
    target: Box
    framed: bool


def is_movement(node: Node) -> bool:
    """No kernel and no expression of its own: the result is its operands, moved."""
    return not node.op.kernels and node.op.scalar is None and not node.op.view


def moves(node: Node) -> tuple[Move, ...]:
    """Where each operand of a movement node goes.

    y[.., i, ..] = x_k[.., i - by_k, ..] along one axis; parts that fall outside y are lost.
    """
    assert node.op.regions is not None
    out = node.output.type
    found: list[Move] = []
    for index, (rule, value) in enumerate(zip(node.op.regions(node), node.inputs, strict=True)):
        shifted = [
            (i, r.by if isinstance(r, Shift) else 0)
            for i, r in enumerate(rule)
            if (isinstance(r, Shift) and r.by) or value.type.shape[i] != out.shape[i]
        ]
        assert len(shifted) <= 1, "movement along several axes is split before planning"
        axis, by = shifted[0] if shifted else (len(out.shape) - 1, 0)
        found.append(_move(index, value.type, out, axis, by))
    return tuple(found)


def _move(index: int, source: TensorType, target: TensorType, axis: int, by: int) -> Move:
    low, high = max(by, 0), min(by + source.shape[axis], target.shape[axis])
    count = high - low
    a = _slab(source.shape, axis, low - by, count)
    b = _slab(target.shape, axis, low, count)
    framed = a is not None and b is not None
    if a is None or b is None:
        a, b = (_flat(t.shape, axis, o, count) for t, o in ((source, low - by), (target, low)))
    return Move(index, a, b, framed)


def _slab(shape: tuple[int, ...], axis: int, offset: int, count: int) -> Box | None:
    """`count` indices of `axis` from `offset`, in the tensor's own frame if it can be."""
    rows, pixels, channels = TensorType(shape, DType.S8).frame
    box = Box(rows, pixels, channels, pixels * channels, channels)
    place = axis - len(shape) + 3
    if place == 2:
        return replace(box, channels=count, start=offset)
    if place == 1:
        return replace(box, pixels=count, start=offset * channels)
    if math.prod(shape[:axis]) == 1:
        inner = math.prod(shape[axis + 1 :])
        per_row = pixels * channels
        return replace(box, rows=count * inner // per_row, start=offset * inner)
    return None


def _flat(shape: tuple[int, ...], axis: int, offset: int, count: int) -> Box:
    """The same as (1, everything before the axis, everything from it on)."""
    outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    extent = shape[axis] * inner
    return Box(1, outer, count * inner, 0, extent, offset * inner)


def fits_frame(value: Value, frame: tuple[int, int, int], *, packed: bool = False) -> bool:
    """`value` can be read element by element beside `frame`, repeated where it has one.

    packed : eight channels are the bits of one byte
    """
    if packed:
        frame = (*frame[:2], -(-frame[2] // 8))
    return all(e in (1, f) for e, f in zip(value.type.frame, frame, strict=True))


def fitting(node: Node, frame: tuple[int, int, int]) -> Iterator[tuple[Value, bool]]:
    """The operands of an element-wise node, and whether each fits beside `frame`."""
    assert node.op.scalar is not None
    for i, value in enumerate(node.inputs):
        yield value, fits_frame(value, frame, packed=i in node.op.scalar.packed)


def pointwise_rule(operand: TensorType, frame: tuple[int, int, int]) -> FrameRule:
    """How an epilogue reads an operand: the same place, or the one it has."""
    axes: list[AxisRule] = [
        Pointwise(i) if e == f else Whole()
        for i, (e, f) in enumerate(zip(operand.frame, frame, strict=True))
    ]
    return FrameRule(axes[0], axes[1], axes[2], (frame[0], operand.frame[0]))


def windowed(rule: AxisRule) -> Window | Pointwise | Spread | Scale | Shift | None:
    """The rule that says how rows stream through it; None when it wants all of them."""
    if isinstance(rule, Reduce):
        return rule.inner
    return None if isinstance(rule, Whole) or rule.axis != 0 else rule

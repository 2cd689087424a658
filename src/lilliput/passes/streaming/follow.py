"""Forward: how each value of a graph moves when the window over time moves on.

One idea: a row of a result only moves when all rows that it reads only move.  So the rows that do
(the steady ones) are an interval, which follows from those of the operands by the region rules;
padding cuts off its ends, and what mixes with a value of the whole window has none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.region import AxisRule, Interval, Pointwise, Scale, Shift, Spread, Window

Along = Pointwise | Window | Spread | Scale | Shift
Read = tuple[int, Along]
"""The axis of an operand that goes with the result's axis of time, and the rule by which."""


@dataclass(frozen=True)
class Track:
    """A value with an axis of time.

    rows : extent of `axis`
    rate : rows by which it moves for each frame that the window moves
    steady : rows [lo, hi) that only move: row i of the next window is row i + rate * frames of
        this one, as long as both are steady
    reads : for each operand of its node how rows are read along time; None: all of it
    undivided : why only all rows can be computed together, "" where any interval can
    """

    axis: int
    rows: int
    rate: Fraction
    steady: Interval
    reads: tuple[Read | None, ...] = ()
    undivided: str = ""


Tracks = Mapping[str, Track | None]
"""By value name; None: it depends on the window and has no axis of time.  What is not in it is
the same for every window."""


def follow(graph: Graph, source: Value, axis: int) -> Tracks:
    """Every value of `graph` that depends on its input `source`, whose time is `axis`."""
    rows = source.type.shape[axis]
    known: dict[str, Track | None] = {source.name: Track(axis, rows, Fraction(1), (0, rows))}
    for node in graph.nodes:
        if any(v.name in known for v in node.inputs):
            track = _track(node, known)
            known.update({v.name: track for v in node.outputs})
    return known


def _track(node: Node, known: Tracks) -> Track | None:
    found = _reads(node, known)
    if found is None:
        return None
    axis, reads = found
    rows = node.output.type.shape[axis]
    rates = {
        t.rate * _speed(r[1])
        for v, r in zip(node.inputs, reads, strict=True)
        if r is not None and (t := known.get(v.name)) is not None and t.axis == r[0]
    }
    if not rates:
        return None
    undivided = "" if way(node, axis, reads) else f"{node.op.name} computes all rows at once"
    steady = (0, 0)
    if undivided:
        reads = (None,) * len(reads)
    elif len(rates) == 1:
        steady = _steady(rows, zip(node.inputs, reads, strict=True), known)
    return Track(axis, rows, min(rates), steady, reads, undivided)


def _reads(node: Node, known: Tracks) -> tuple[int, tuple[Read | None, ...]] | None:
    """(axis of time of the result, how each operand is read along it), None: it has none."""
    if node.op.regions is None or len(node.outputs) > 1:
        return None
    if node.op.view:
        return _through_view(node, known[node.inputs[0].name])
    rules = node.op.regions(node)
    rank = len(node.output.type.shape)
    axes: set[int] = set()
    for value, rule in zip(node.inputs, rules, strict=True):
        track = known.get(value.name)
        along = rule[track.axis] if track is not None else None
        if isinstance(along, Along) and along.axis < rank:
            axes.add(along.axis)
    if len(axes) != 1:
        return None
    (axis,) = axes
    return axis, tuple(_read(rule, axis) for rule in rules)


def _read(rule: Sequence[AxisRule], axis: int) -> Read | None:
    found = ((k, r) for k, r in enumerate(rule) if isinstance(r, Along) and r.axis == axis)
    return next(found, None)


def _through_view(node: Node, track: Track | None) -> tuple[int, tuple[Read | None, ...]] | None:
    """Time is an axis of the other shape, too, where as many elements lie before it."""
    if track is None or track.rows == 1:
        return None
    before, shape = math.prod(node.inputs[0].type.shape[: track.axis]), node.output.type.shape
    for axis, extent in enumerate(shape):
        if extent == track.rows and math.prod(shape[:axis]) == before:
            return axis, ((track.axis, Pointwise(axis)),)
    return None


def _speed(rule: Along) -> Fraction:
    """Rows of the result for each row of the operand."""
    if isinstance(rule, Window):
        return Fraction(1, rule.stride)
    if isinstance(rule, Spread):
        return Fraction(rule.stride)
    return Fraction(rule.den, rule.num) if isinstance(rule, Scale) else Fraction(1)


class Way(Enum):
    """How the attributes follow when a node computes some of its rows."""

    SAME = "same"
    NARROW = "narrow"
    SLIDE = "slide"


def way(node: Node, axis: int, reads: Sequence[Read | None]) -> Way | None:
    """For rows along `axis` of the result; None where it can only compute all of them together."""
    cut = [(v.type.quant, r[1]) for v, r in zip(node.inputs, reads, strict=True) if r is not None]
    if any(quant is not None and not quant.is_per_tensor for quant, _ in cut):
        return None  # scales along an axis are a parameter's as a whole
    if node.op.scalar is not None:
        return Way.SAME
    slide, rules = node.op.slide, [rule for _, rule in cut]
    if all(isinstance(r, Pointwise | Shift | Window) for r in rules):
        if slide is not None and slide(node, axis, (0, 0)) is not None:
            return Way.SLIDE
        straight = not any(isinstance(r, Window) for r in rules)
        if straight and node.op.narrow(node) is not None:
            return Way.NARROW
    return None


def _steady(rows: int, operands: zip[tuple[Value, Read | None]], known: Tracks) -> Interval:
    low, high = 0, rows
    for value, read in operands:
        track = known.get(value.name)
        if read is None and value.name not in known:
            continue
        if track is None or read is None or read[0] != track.axis:
            return 0, 0  # it is another one for each row, or for each window
        needs = (read[1].needs(i, i + 1) for i in range(rows))
        first, last = track.steady
        inside = [i for i, (a, b) in enumerate(needs) if first <= a and b <= last]
        if not inside:
            return 0, 0
        low, high = max(low, inside[0]), min(high, inside[-1] + 1)
    return (low, high) if low < high else (0, 0)

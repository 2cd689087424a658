"""Kinds of parts in numbers, and rows of them: what `lean` computes with.

One idea: of a part (`parts`) a loop needs a few whole numbers, which do not depend on names; a
search finds them out once for each kind of layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lilliput.ir.region import AxisRule, Pointwise, Reduce, Shift, Whole, Window
from lilliput.plan.frames import windowed
from lilliput.plan.group import Lie, Member, Read, behind, last_row, span, stride
from lilliput.plan.runs import Map, Part
from lilliput.plan.strips import Flow


@dataclass(frozen=True, eq=False)
class Link:
    """An operand that is read by rows; `operand` is its place among what the part touches.

    last : the operand's row that the first execution has to wait for; behind : as in `group`
    pad : rows before the one that its index, times the stride, points at; None = all are read
    span : rows that an execution reads
    """

    operand: int
    stride: int
    last: int
    behind: int
    pad: int | None
    span: int
    lie: Lie | None


@dataclass(frozen=True, eq=False)
class Layer:
    """A kind of part in numbers.

    names : in `part`, of what it reads and of what it makes
    links : None where it does not stream
    closed : whether what is said here holds of all it reads
    near : (operand, distance) as in `Part`; flow : as there, by the names of `names`
    lean, fast : bytes of scratch of the leanest and of the fastest kernel
    """

    part: Part
    names: tuple[str, ...]
    links: tuple[Link, ...] | None
    closed: bool
    near: tuple[tuple[int, int], ...]
    rows: int
    quantum: int
    count: int
    reduces: bool
    lie: Lie | None
    lean: int
    fast: int
    carry: int
    flow: Flow | None

    @staticmethod
    def of(part: Part, names: tuple[str, ...]) -> Layer:
        member = part.member
        reads = member.reads if member else ()
        closed = all(_closed(r.rule) for r in reads)
        links: tuple[Link, ...] | None = None
        if member and closed:
            links = tuple(_link(names.index(r.root), r, member) for r in reads)
        rows, quantum = (member.rows, member.quantum) if member else (1, 1)
        return Layer(
            part,
            names,
            links,
            closed,
            tuple((names.index(n), distance) for n, distance in part.near.items()),
            rows,
            quantum,
            -(-rows // quantum),
            any(isinstance(r.rule, Reduce) for r in reads),
            member.lie if member else None,
            part.ways[0].scratch,
            part.ways[-1].scratch,
            part.carry,
            part.flow,
        )


def _closed(rule: AxisRule) -> bool:
    inner = rule.inner if isinstance(rule, Reduce) else rule
    return isinstance(inner, Window | Pointwise | Shift | Whole)


def _link(operand: int, read: Read, member: Member) -> Link:
    rule, inner = read.rule, windowed(read.rule)
    if inner is None:
        return Link(operand, 1, 0, 0, None, 0, read.lie)
    pad = inner.pad if isinstance(inner, Window) else inner.by if isinstance(inner, Shift) else 0
    last = max(last_row(rule, member.quantum), 0)
    return Link(
        operand, int(stride(rule)), last, behind(rule), pad, span(rule, member.quantum), read.lie
    )


@dataclass(frozen=True, eq=False)
class Net:
    """A row of layers, with the maps that each touches by number, in the order of its names.

    maps : in order of making
    """

    layers: list[Layer]
    touches: list[tuple[int, ...]]
    maps: list[Map]

    @property
    def closed(self) -> bool:
        """Whether closed forms hold of all layers."""
        return all(layer.closed for layer in self.layers)

    def named(self) -> tuple[list[Part], dict[str, Map]]:
        """The same as parts, with maps by their number as a name."""
        pairs = zip(self.layers, self.touches, strict=True)
        parts = [
            _renamed(x.part, dict(zip(x.names, map(str, touched), strict=True)))
            for x, touched in pairs
        ]
        return parts, {str(m): map for m, map in enumerate(self.maps)}


def _renamed(part: Part, names: Mapping[str, str]) -> Part:
    near = {names[n]: distance for n, distance in part.near.items()}
    member = part.member
    if member is not None:
        reads = tuple(replace(r, root=names[r.root]) for r in member.reads)
        member = replace(member, name="", reads=reads, writes=names[member.writes])
    return replace(part, member=member, near=near)

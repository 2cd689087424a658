"""Choosing kernels and layouts together.

A depthwise convolution is fastest over channel planes, a matrix product over pixels; what
one writes the other reads.  So the choice is one dynamic programme over the drafts in
schedule order: the cheapest way to have each value in each layout, conversions included.
A value with several readers is shared between them, which the programme counts in equal
parts; the walk back from the outputs then fixes one layout for it, and who wanted another
one pays for a conversion.  On chains the result is optimal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lilliput.ir.graph import Node, Value
from lilliput.ir.op import EITHER, Kernel, Layout


@dataclass(frozen=True)
class Candidate:
    """A kernel that accepts the anchor, and what it is predicted to cost."""

    kernel: Kernel
    cycles: float


@dataclass(frozen=True, eq=False)
class Draft:
    """An anchor with its epilogue, before a kernel is chosen.

    first : the operand whose layout the kernel prescribes; None when there is none
    free : operands that are read element by element, in whatever layout they have
    """

    node: Node
    fused: tuple[Node, ...]
    candidates: tuple[Candidate, ...]
    first: Value | None
    free: tuple[Value, ...]

    @property
    def output(self) -> Value:
        return self.fused[-1].output if self.fused else self.node.output


@dataclass(frozen=True)
class Choice:
    """The kernel of a draft, the layout in which it reads its first operand, and in which
    it writes."""

    kernel: Kernel
    reads: Layout
    writes: Layout


Convert = Callable[[Value], float]
Table = Mapping[Layout, float]


def choose(drafts: Sequence[Draft], planar: frozenset[str], convert: Convert) -> list[Choice]:
    """One choice for each draft.

    planar : values that may be held in planes; all others are held in rows
    convert : predicted cycles of changing the layout of a value
    """
    users = _users(drafts)
    best: dict[str, Table] = {}
    for draft in drafts:
        best[draft.output.name] = {
            layout: min(
                (_cost(draft, c, layout, best, users, convert) for c in _writing(draft, layout)),
                default=float("inf"),
            )
            for layout in allowed(draft.output, planar)
        }
    fixed: dict[str, Layout] = {}
    choices: list[Choice] = []
    for draft in reversed(drafts):
        choices.append(_settle(draft, planar, fixed, best, users, convert))
    return choices[::-1]


def allowed(value: Value, planar: frozenset[str]) -> tuple[Layout, ...]:
    return EITHER if value.name in planar else (Layout.ROWS,)


def _rank(cost: float, layout: Layout) -> tuple[float, bool]:
    """Rows where both cost the same."""
    return cost, layout is not Layout.ROWS


def _users(drafts: Sequence[Draft]) -> dict[str, int]:
    count: dict[str, int] = {}
    for draft in drafts:
        for value in (*draft.free, *((draft.first,) if draft.first else ())):
            count[value.name] = count.get(value.name, 0) + 1
    return count


def _writing(draft: Draft, layout: Layout) -> list[Candidate]:
    return [c for c in draft.candidates if layout in c.kernel.writes]


def _table(value: Value, best: Mapping[str, Table], users: Mapping[str, int]) -> Table:
    """This reader's part of the cost of an operand, by the layout it is made in."""
    made = best.get(value.name, {Layout.ROWS: 0.0})
    return {layout: cost / users.get(value.name, 1) for layout, cost in made.items()}


def _read(
    draft: Draft,
    kernel: Kernel,
    best: Mapping[str, Table],
    users: Mapping[str, int],
    convert: Convert,
) -> tuple[float, Layout, Layout]:
    """(cost, layout read, layout made) of the cheapest way to feed the first operand."""
    if draft.first is None:
        return 0.0, Layout.ROWS, Layout.ROWS
    value = draft.first
    return min(
        (
            (cost + (convert(value) if made is not wanted else 0.0), wanted, made)
            for wanted in kernel.reads
            for made, cost in _table(value, best, users).items()
        ),
        key=lambda option: (option[0], option[1] is not option[2], *_rank(0.0, option[1])),
    )


def _cost(
    draft: Draft,
    candidate: Candidate,
    layout: Layout,
    best: Mapping[str, Table],
    users: Mapping[str, int],
    convert: Convert,
) -> float:
    read, _, _ = _read(draft, candidate.kernel, best, users, convert)
    free = sum(min(_table(v, best, users).values()) for v in draft.free)
    return candidate.cycles + read + free


def _settle(
    draft: Draft,
    planar: frozenset[str],
    fixed: dict[str, Layout],
    best: Mapping[str, Table],
    users: Mapping[str, int],
    convert: Convert,
) -> Choice:
    """The draft's choice, given what its readers have fixed; fixes its operands' layouts."""
    table = best[draft.output.name]
    writes = fixed.setdefault(draft.output.name, min(table, key=lambda k: _rank(table[k], k)))
    chosen = min(
        _writing(draft, writes), key=lambda c: _cost(draft, c, writes, best, users, convert)
    )
    _, reads, made = _read(draft, chosen.kernel, best, users, convert)
    if draft.first is not None and draft.first.name in best:
        made = fixed.setdefault(draft.first.name, made)
        if made in chosen.kernel.reads:
            reads = made
    for value in draft.free:
        if value.name in best:
            options = best[value.name]
            fixed.setdefault(value.name, min(options, key=lambda k: _rank(options[k], k)))
    return Choice(chosen.kernel, reads, writes)

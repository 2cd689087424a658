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
from dataclasses import dataclass, field
from math import inf

from lilliput.ir.graph import Node, Value
from lilliput.ir.op import EITHER, Kernel, Layout


@dataclass(frozen=True)
class Candidate:
    """A kernel that accepts the anchor, and what it is predicted to cost (a margin included
    where it wants another layout than rows)."""

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


Table = Mapping[Layout, float]
"""Predicted cycles of everything up to a value, by the layout it is made in."""


def choose(
    drafts: Sequence[Draft], planar: frozenset[str], convert: Callable[[Value], float]
) -> list[Choice]:
    """One choice for each draft.

    planar : values that may be held in planes; all others are held in rows
    convert : predicted cycles of changing the layout of a value
    """
    programme = _Programme(_users(drafts), convert)
    weighed = [
        programme.weigh(draft, EITHER if draft.output.name in planar else _ROWS) for draft in drafts
    ]
    pairs = zip(reversed(drafts), reversed(weighed), strict=True)
    return [programme.settle(draft, costs) for draft, costs in pairs][::-1]


_ROWS = (Layout.ROWS,)


def _users(drafts: Sequence[Draft]) -> dict[str, int]:
    count: dict[str, int] = {}
    for draft in drafts:
        for value in (*draft.free, *((draft.first,) if draft.first else ())):
            count[value.name] = count.get(value.name, 0) + 1
    return count


def _rank(cost: float, layout: Layout) -> tuple[float, bool]:
    """Rows where both cost the same."""
    return cost, layout is not Layout.ROWS


@dataclass(frozen=True)
class _Feed:
    """The cheapest way to have a first operand in the layout `wanted`: from `made`."""

    cost: float
    wanted: Layout
    made: Layout

    @property
    def rank(self) -> tuple[float, bool, bool]:
        return self.cost, self.wanted is not self.made, self.wanted is not Layout.ROWS


_NOTHING = _Feed(0.0, Layout.ROWS, Layout.ROWS)

Costs = Sequence[tuple[float, Candidate, _Feed]]
"""What each candidate costs with everything before it, and how its first operand is read."""


@dataclass
class _Programme:
    """`best`: value -> its table; `fixed`: value -> the layout that the walk back gave it."""

    users: Mapping[str, int]
    convert: Callable[[Value], float]
    best: dict[str, Table] = field(default_factory=dict[str, Table])
    fixed: dict[str, Layout] = field(default_factory=dict[str, Layout])

    def table(self, value: Value) -> Table:
        return self.best.get(value.name, _GIVEN)

    def feeds(self, value: Value) -> list[_Feed]:
        """How a first operand is had in each layout; of its cost one reader pays its part."""
        convert, users = self.convert(value), self.users[value.name]
        made = [(layout, cost / users) for layout, cost in self.table(value).items()]
        return [
            min(
                (_Feed(c + (0.0 if m is wanted else convert), wanted, m) for m, c in made),
                key=lambda feed: feed.rank,
            )
            for wanted in EITHER
        ]

    def weigh(self, draft: Draft, layouts: Sequence[Layout]) -> Costs:
        """What each candidate costs; what is the best in each of `layouts` is noted."""
        free = sum(min(self.table(v).values()) / self.users[v.name] for v in draft.free)
        feeds = self.feeds(draft.first) if draft.first is not None else None
        costs: list[tuple[float, Candidate, _Feed]] = []
        for candidate in draft.candidates:
            feed = _NOTHING
            if feeds is not None:
                reads = candidate.kernel.reads
                feed = min((f for f in feeds if f.wanted in reads), key=lambda f: f.rank)
            costs.append((candidate.cycles + feed.cost + free, candidate, feed))
        self.best[draft.output.name] = {
            layout: min((c for c, x, _ in costs if layout in x.kernel.writes), default=inf)
            for layout in layouts
        }
        return costs

    def fix(self, value: Value, preferred: Layout | None = None) -> Layout:
        """The layout of a value: what an earlier reader wanted, else `preferred`, else the
        cheapest."""
        if value.name not in self.fixed:
            table = self.table(value)
            cheapest = preferred or min(table, key=lambda layout: _rank(table[layout], layout))
            self.fixed[value.name] = cheapest
        return self.fixed[value.name]

    def settle(self, draft: Draft, costs: Costs) -> Choice:
        """The draft's choice, given what its readers have fixed; fixes its first operand's layout
        (operands that are free are read in any)."""
        writes = self.fix(draft.output)
        _, chosen, feed = min((c for c in costs if writes in c[1].kernel.writes), key=_cost)
        reads = feed.wanted
        if draft.first is not None:
            made = self.fix(draft.first, feed.made)
            reads = made if made in chosen.kernel.reads else reads
        return Choice(chosen.kernel, reads, writes)


_GIVEN: Table = {Layout.ROWS: 0.0}


def _cost(weighed: tuple[float, Candidate, _Feed]) -> float:
    return weighed[0]

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
from functools import cached_property
from math import inf

from lilliput.ir.graph import Node, Value
from lilliput.ir.op import EITHER, Kernel, Layout


@dataclass(frozen=True)
class Candidate:
    """A kernel that accepts the anchor, its predicted cycles, and what it is chosen by: cycles with
    a margin where it wants another layout than rows, and what its memory costs."""

    kernel: Kernel
    cycles: float
    cost: float


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

    @cached_property
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


_Feed = tuple[float, bool, bool, Layout, Layout]
"""A way to read a first operand, better ones first: (cost, whether it is converted, whether it is
read in another layout than rows, layout read, layout made)."""
_NOTHING: _Feed = (0.0, False, False, Layout.ROWS, Layout.ROWS)

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
        """Every way to read a first operand; of its cost one reader pays its part."""
        convert, users = self.convert(value), self.users[value.name]
        return [
            (
                cost / users + (0.0 if made is wanted else convert),
                made is not wanted,
                wanted is not Layout.ROWS,
                wanted,
                made,
            )
            for made, cost in self.table(value).items()
            for wanted in EITHER
        ]

    def weigh(self, draft: Draft, layouts: Sequence[Layout]) -> Costs:
        """What each candidate costs; what is the best in each of `layouts` is noted."""
        free = 0.0
        for v in draft.free:
            free += min(self.table(v).values()) / self.users[v.name]
        feeds = self.feeds(draft.first) if draft.first is not None else []
        best = dict.fromkeys(layouts, inf)
        costs: list[tuple[float, Candidate, _Feed]] = []
        for candidate in draft.candidates:
            kernel = candidate.kernel
            feed = min([f for f in feeds if f[3] in kernel.reads]) if feeds else _NOTHING
            cost = candidate.cost + feed[0] + free
            costs.append((cost, candidate, feed))
            for layout in kernel.writes:
                if layout in best and cost < best[layout]:
                    best[layout] = cost
        self.best[draft.output.name] = best
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
        _, chosen, feed = min([c for c in costs if writes in c[1].kernel.writes], key=_cost)
        *_, reads, made = feed
        if draft.first is not None:
            made = self.fix(draft.first, made)
            reads = made if made in chosen.kernel.reads else reads
        return Choice(chosen.kernel, reads, writes)


_GIVEN: Table = {Layout.ROWS: 0.0}


def _cost(weighed: tuple[float, Candidate, _Feed]) -> float:
    return weighed[0]

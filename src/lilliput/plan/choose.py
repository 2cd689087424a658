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
    for draft in drafts:
        layouts = EITHER if draft.output.name in planar else (Layout.ROWS,)
        programme.best[draft.output.name] = {
            layout: min(
                (programme.cost(draft, c) for c in _writing(draft, layout)), default=float("inf")
            )
            for layout in layouts
        }
    return [programme.settle(draft) for draft in reversed(drafts)][::-1]


def _users(drafts: Sequence[Draft]) -> dict[str, int]:
    count: dict[str, int] = {}
    for draft in drafts:
        for value in (*draft.free, *((draft.first,) if draft.first else ())):
            count[value.name] = count.get(value.name, 0) + 1
    return count


def _writing(draft: Draft, layout: Layout) -> list[Candidate]:
    return [c for c in draft.candidates if layout in c.kernel.writes]


def _rank(cost: float, layout: Layout) -> tuple[float, bool]:
    """Rows where both cost the same."""
    return cost, layout is not Layout.ROWS


@dataclass
class _Programme:
    """`best`: value -> its table; `fixed`: value -> the layout that the walk back gave it."""

    users: Mapping[str, int]
    convert: Callable[[Value], float]
    best: dict[str, Table] = field(default_factory=dict[str, Table])
    fixed: dict[str, Layout] = field(default_factory=dict[str, Layout])

    def share(self, value: Value) -> Table:
        """One reader's part of the cost of an operand."""
        made = self.best.get(value.name, {Layout.ROWS: 0.0})
        return {layout: cost / self.users[value.name] for layout, cost in made.items()}

    def read(self, draft: Draft, kernel: Kernel) -> tuple[float, Layout, Layout]:
        """(cost, layout read, layout made) of the cheapest way to feed the first operand."""
        if draft.first is None:
            return 0.0, Layout.ROWS, Layout.ROWS
        convert = self.convert(draft.first)
        return min(
            (
                (cost + (convert if made is not wanted else 0.0), wanted, made)
                for wanted in kernel.reads
                for made, cost in self.share(draft.first).items()
            ),
            key=lambda option: (option[0], option[1] is not option[2], *_rank(0.0, option[1])),
        )

    def cost(self, draft: Draft, candidate: Candidate) -> float:
        free = sum(min(self.share(v).values()) for v in draft.free)
        return candidate.cycles + self.read(draft, candidate.kernel)[0] + free

    def fix(self, value: Value, preferred: Layout | None = None) -> Layout:
        """The layout of a value: what an earlier reader wanted, else `preferred`, else the
        cheapest."""
        table = self.best.get(value.name, {Layout.ROWS: 0.0})
        cheapest = min(table, key=lambda layout: _rank(table[layout], layout))
        return self.fixed.setdefault(value.name, preferred or cheapest)

    def settle(self, draft: Draft) -> Choice:
        """The draft's choice, given what its readers have fixed; fixes its first operand's layout
        (operands that are free are read in any)."""
        writes = self.fix(draft.output)
        chosen = min(_writing(draft, writes), key=lambda c: self.cost(draft, c))
        _, reads, made = self.read(draft, chosen.kernel)
        if draft.first is not None:
            made = self.fix(draft.first, made)
            reads = made if made in chosen.kernel.reads else reads
        return Choice(chosen.kernel, reads, writes)

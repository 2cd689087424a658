"""Which buffer lives in which RAM, where a board has several.

One idea: a search over buffers, the hottest byte first, each in the cheapest memory that still has
room for it; what that gives first is greedy, and what it finds later is only better.  Whether a
memory has room is asked of `arena`, so that buffers which are not alive together share bytes.

    cost     bytes that a call reads and writes of a buffer, times the cycles a byte of its memory
    exact    where the search ends by itself, up to how well `arena` places; else it ends after
             `CHECKS` questions, and `bound` says what no choice does with less than

Where that finds no place for all of them, the largest buffer is first.  What fits nowhere stays in
the default RAM, which is then too small: the caller sees that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from lilliput.plan import arena
from lilliput.plan.arena import Block, Distances, align_up
from lilliput.plan.traffic import Traffic

CHECKS: Final = 150
"""How often the search asks whether a memory has room."""
EFFORT: Final = 40
"""Moves of a placement that answers it."""

Spans = Mapping[str, tuple[Sequence[Block], Distances]]
"""Entry -> lifetimes of its buffers, and how far they may run over one another."""


@dataclass(frozen=True)
class Bank:
    """A RAM of the board: bytes that the plan may take of it, and cycles a byte."""

    name: str
    room: float
    read: float
    write: float


@dataclass(frozen=True)
class State:
    """A buffer that lives from call to call."""

    name: str
    nbytes: int
    align: int


@dataclass(frozen=True)
class Choice:
    """`memory` of each buffer; predicted `cycles` of them all, and what no choice has less of."""

    memory: Mapping[str, str]
    cycles: float
    bound: float
    exact: bool


def choose(
    banks: Sequence[Bank],
    spans: Spans,
    states: Sequence[State],
    moved: Mapping[str, Traffic],
    fixed: Mapping[str, str],
    checks: int = CHECKS,
) -> Choice:
    """The cheapest memories that were found for the buffers of a program.

    banks : the default one first; fixed : buffers that are in one of them for good; checks : how
        far the search goes beyond the first choice
    """
    return _Search(banks, spans, states, moved, fixed, checks).run()


@dataclass
class _Search:
    banks: Sequence[Bank]
    spans: Spans
    states: Sequence[State]
    moved: Mapping[str, Traffic]
    fixed: Mapping[str, str]
    checks: int
    known: dict[tuple[str, frozenset[str]], bool] = field(
        default_factory=dict[tuple[str, frozenset[str]], bool]
    )

    def __post_init__(self) -> None:
        blocks = [b for mine, _ in self.spans.values() for b in mine]
        self.sizes = {b.name: b.nbytes for b in blocks} | {s.name: s.nbytes for s in self.states}
        self.free = [n for n in self.sizes if n not in self.fixed]
        # the default first where it costs no more: then nothing moves without a reason
        self.ranked = sorted(self.banks, key=lambda b: b.read + b.write)
        self.best: dict[str, str] | None = None
        self.least = float("inf")

    def run(self) -> Choice:
        first = self.ranked[0]
        if all(self.fixed.get(n, first.name) == first.name for n in self.sizes) and self.fits(
            first, frozenset(self.sizes)
        ):
            return self.result(dict.fromkeys(self.sizes, first.name), exact=True)
        by_heat = sorted(self.free, key=lambda n: (-self.heat(n), n))
        packed = self.packed(by_heat)
        if not self.whole(packed):
            packed = self.packed(sorted(self.free, key=lambda n: (-self.sizes[n], n)))
        if self.whole(packed):
            self.best, self.least = packed, self.total(packed)
        cheapest = [min(self.cost(n, b) for b in self.banks) for n in by_heat]
        self.rest = [sum(cheapest[k:]) for k in range(len(by_heat) + 1)]
        self.descend(by_heat, 0, dict(self.fixed), self.total(self.fixed))
        exact = self.checks > 0
        return self.result(self.best or packed, exact=exact and self.best is not None)

    def heat(self, name: str) -> float:
        """Bytes moved for each byte of a buffer."""
        t = self.moved.get(name, Traffic())
        return (t.read + t.written) / max(self.sizes[name], 1)

    def cost(self, name: str, bank: Bank) -> float:
        return self.moved.get(name, Traffic()).cycles(bank.read, bank.write)

    def total(self, memory: Mapping[str, str]) -> float:
        banks = {b.name: b for b in self.banks}
        return sum(self.cost(n, banks[m]) for n, m in memory.items() if m in banks)

    def descend(self, order: Sequence[str], k: int, memory: dict[str, str], cost: float) -> None:
        """All ways to place the buffers from the k-th on that could be cheaper than the best."""
        if cost + self.rest[k] >= self.least:
            return
        if k == len(order):
            self.best, self.least = dict(memory), cost
            return
        name = order[k]
        for bank in self.ranked:
            if self.checks <= 0:
                return
            self.checks -= 1
            held = frozenset((name, *(n for n, m in memory.items() if m == bank.name)))
            if self.fits(bank, held):
                memory[name] = bank.name
                self.descend(order, k + 1, memory, cost + self.cost(name, bank))
                del memory[name]

    def packed(self, order: Iterable[str]) -> dict[str, str]:
        """Each in the cheapest memory that has room; in the default one where none has."""
        memory = dict(self.fixed)
        for name in order:
            held = ((b, [n for n, m in memory.items() if m == b.name]) for b in self.ranked)
            room = (b.name for b, mine in held if self.fits(b, frozenset((name, *mine))))
            memory[name] = next(room, self.banks[0].name)
        return memory

    def whole(self, memory: Mapping[str, str]) -> bool:
        """Whether every memory has room for what is in it."""
        mine = ((b, frozenset(n for n, m in memory.items() if m == b.name)) for b in self.banks)
        return all(self.fits(b, names) for b, names in mine)

    def fits(self, bank: Bank, names: frozenset[str]) -> bool:
        key = bank.name, names
        if key not in self.known:
            self.known[key] = self._fits(bank, names)
        return self.known[key]

    def _fits(self, bank: Bank, names: frozenset[str]) -> bool:
        base = 0
        for state in self.states:
            if state.name in names:
                base = align_up(base, state.align) + state.nbytes
        if base > bank.room:
            return False
        for blocks, near in self.spans.values():
            mine = [b for b in blocks if b.name in names]
            if not mine:
                continue
            pairs = {p: d for p, d in near.items() if p[0] in names and p[1] in names}
            if base + max(b.nbytes for b in mine) > bank.room:
                return False
            if base + sum(align_up(b.nbytes, b.align) for b in mine) <= bank.room:
                continue
            top = arena.extent(mine, arena.greedy(mine, pairs, base))
            if top > bank.room and not (self.checks and self._placed(mine, pairs, base, bank.room)):
                return False
        return True

    def _placed(self, blocks: Sequence[Block], near: Distances, base: int, room: float) -> bool:
        """Whether a search finds room where no greedy order does."""
        if base + arena.lower_bound(blocks, near) > room:
            return False
        return arena.extent(blocks, arena.place(blocks, near, base, EFFORT)) <= room

    def result(self, memory: Mapping[str, str], *, exact: bool) -> Choice:
        cycles = self.total(memory)
        return Choice(memory, cycles, cycles if exact else min(self.bound(), cycles), exact)

    # What no choice has less of ----------------------------------------------------------------

    def bound(self) -> float:
        """Each buffer in the cheapest memory; and of those that are alive in one step, no more in
        a memory than it holds, if buffers could be cut (a fractional knapsack).  Steps that have no
        buffer in common add up."""
        ideal = sum(min(self.cost(n, b) for b in self.banks) for n in self.sizes)
        counted: set[str] = set()
        found = [(self.excess(alive), frozenset(alive)) for alive in self.steps()]
        for excess, names in sorted(found, key=lambda x: (-x[0], sorted(x[1]))):
            if counted.isdisjoint(names):
                counted |= names
                ideal += excess
        return ideal

    def steps(self) -> Iterator[dict[str, int]]:
        """Buffers that are alive together, with the bytes that they share with no other one."""
        for blocks, near in self.spans.values():
            for at in sorted({b.first for b in blocks}):
                alive = {b.name: b.nbytes for b in blocks if b.first <= at <= b.last}
                for (out, inp), distance in near.items():
                    if out in alive and inp in alive:
                        alive[out] = min(alive[out], max(distance, 0))
                yield alive | {s.name: s.nbytes for s in self.states}

    def excess(self, alive: Mapping[str, int]) -> float:
        """Cycles beyond the ideal ones that the buffers of a step cost at the least: what does not
        fit into the cheapest memory is the coldest, and goes to the next one."""
        first, *others = self.ranked
        if not others:
            return 0.0
        over = sum(alive.values()) - first.room
        dearer = {
            n: (min(self.cost(n, b) for b in others) - self.cost(n, first)) / max(alive[n], 1)
            for n in alive
        }
        found = 0.0
        for name in sorted(alive, key=lambda n: dearer[n]):
            if over <= 0:
                break
            part = min(over, alive[name])
            found += max(dearer[name], 0.0) * part
            over -= part
        return found

"""What is kept, made again or paged out between its readers: an integer programme.

One idea, POET's (Patil et al., "POET: Training Neural Networks on Tiny Devices with Integrated
Rematerialization and Paging", ICML 2022), over one decision a value instead of one a value and
step:

    minimise    the cycles of what is made again or moved
    such that   at every step the bytes that are alive are within a limit

A value that is not kept is gone after its last early reader and there again before its first late
one, or before another value is made again out of it, and then stays; so chains through values that
are gone themselves cost each of them once.  What the steps need with everything kept comes from
the planner, line buffers and scratch included.  Copies take their time and write straight to where
the value is needed: there is no staging buffer that could be forgotten.

`solve` branches value by value and bounds by a fractional knapsack: at the fullest step so many
bytes have to go, and none goes for less than its cycles a byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from math import inf
from typing import Final

import numpy as np

from lilliput.ir.types import Array

NODES: Final = 5_000
"""Partial choices that are looked at; what is open then is in `Kept.bound`."""
NEAR: Final = 0.01
"""Of a peak: where the search for the lowest one ends."""


class Way(Enum):
    """What becomes of a value between its early and its late readers."""

    KEEP = "kept"
    AGAIN = "made again"
    PAGE = "paged out"


@dataclass(frozen=True)
class Item:
    """A value that is read early and late; steps are numbers in the order of the schedule.

    early, late, last : its last reader before the gap, its first behind it, and the last of all
    sources : indices of the items that it is made again out of
    cycles, macs : of making it again; cycles infinite where that cannot be
    paged : cycles of moving it away and back; infinite where there is nowhere to
    """

    name: str
    nbytes: int
    early: int
    late: int
    last: int
    sources: tuple[int, ...] = ()
    cycles: float = inf
    macs: int = 0
    paged: float = inf


@dataclass(frozen=True)
class Problem:
    """base[t] : bytes that step t needs with every item kept; `room` bytes may be moved away at a
    time, and `macs` multiply-accumulates be done again."""

    items: tuple[Item, ...]
    base: tuple[int, ...]
    macs: float = inf
    room: float = inf


@dataclass(frozen=True)
class Kept:
    """ways : of each item; steps : before which what is not kept is there again; `peak` bytes of
    the fullest step; `bound`: cycles that no choice costs less than."""

    ways: tuple[Way, ...]
    steps: tuple[int, ...]
    peak: int
    cycles: float
    macs: int
    bound: float

    @property
    def proven(self) -> bool:
        return self.bound >= self.cycles


def solve(problem: Problem, limit: float, nodes: int = NODES) -> Kept | None:
    """The cheapest choice that needs `limit` bytes or less at every step; None where there is none,
    or where none is found among so many partial choices."""
    return _Search(problem, limit, nodes).run()


def smallest(problem: Problem, nodes: int = NODES // 5) -> Kept:
    """A choice whose peak is within `NEAR` of the lowest for which one is found."""
    best = solve(problem, inf, nodes)
    assert best is not None
    low = 0
    while best.peak - low > NEAR * best.peak:
        middle = (low + best.peak) // 2
        found = solve(problem, middle, nodes)
        if found is None:
            low = middle + 1
        else:
            best = found
    return best


def evaluated(problem: Problem, ways: Sequence[Way], bound: float = 0.0) -> Kept:
    """What a choice needs and costs."""
    steps = needed(problem.items, ways)
    cycles = sum(_cycles(i, w) for i, w in zip(problem.items, ways, strict=True))
    macs = sum(i.macs for i, w in zip(problem.items, ways, strict=True) if w is Way.AGAIN)
    peak = max((int(m) for m in memory(problem, ways, steps)), default=0)
    return Kept(tuple(ways), steps, peak, cycles, macs, min(bound, cycles))


def needed(items: Sequence[Item], ways: Sequence[Way]) -> tuple[int, ...]:
    """Before which step each item is needed late: by a reader, or by what is made again."""
    steps = [item.late for item in items]
    for k in _latest_first(items):
        if ways[k] is Way.AGAIN:
            for source in items[k].sources:
                if steps[k] > items[source].early:
                    steps[source] = min(steps[source], steps[k])
    return tuple(steps)


def memory(problem: Problem, ways: Sequence[Way], steps: Sequence[int]) -> Array:
    """Bytes that each step needs."""
    found = np.array(problem.base, np.int64)
    until = [item.last for item in problem.items]
    for k, item in enumerate(problem.items):
        if ways[k] is not Way.KEEP:
            found[item.early + 1 : steps[k]] -= item.nbytes
        if ways[k] is Way.AGAIN:
            for source in item.sources:
                until[source] = max(until[source], steps[k])
    for item, end in zip(problem.items, until, strict=True):
        found[item.last + 1 : end + 1] += item.nbytes
    return found


def away(problem: Problem, ways: Sequence[Way], steps: Sequence[int]) -> int:
    """The most bytes that are moved away at a time."""
    found = np.zeros(len(problem.base) + 1, np.int64)
    for k, item in enumerate(problem.items):
        if ways[k] is Way.PAGE:
            found[item.early : steps[k] + 1] += item.nbytes
    return int(found.max(initial=0))


def _latest_first(items: Sequence[Item]) -> list[int]:
    """Items before those that they are made again out of: these were made earlier."""
    order: list[int] = []
    seen: set[int] = set()

    def visit(k: int) -> None:
        if k not in seen:
            seen.add(k)
            for source in items[k].sources:
                visit(source)
            order.append(k)

    for k in range(len(items)):
        visit(k)
    return order[::-1]


def _cycles(item: Item, way: Way) -> float:
    return {Way.KEEP: 0.0, Way.AGAIN: item.cycles, Way.PAGE: item.paged}[way]


@dataclass
class _Search:
    """Depth first, the cheaper side first.

    gone[k], over t : whether item k can be away at step t at all
    """

    problem: Problem
    limit: float
    nodes: int
    best: Kept | None = None
    least: float = inf
    open: float = inf
    ways: list[Way] = field(default_factory=list[Way])

    def run(self) -> Kept | None:
        items, count = self.problem.items, len(self.problem.items)
        self.cuts = self._cuts()
        self.base = np.array([self.problem.base[t] for t in self.cuts], np.int64)
        self.gone = np.zeros((count, len(self.cuts)), bool)
        for k, item in enumerate(items):
            self.gone[k] = [item.early < t < item.late for t in self.cuts]
        self.sizes = np.array([i.nbytes for i in items], np.int64)
        cheapest = [min(i.cycles, i.paged) for i in items]
        # what costs least for a byte is decided first; sources after what is made out of them
        self.price = np.array([c / max(i.nbytes, 1) for c, i in zip(cheapest, items, strict=True)])
        self.order = [k for k in _latest_first(items) if cheapest[k] < inf]
        self.by_price = sorted(self.order, key=lambda k: (self.price[k], k))
        self.ways = [Way.KEEP] * count
        self.free = np.zeros(count, bool)
        self.free[self.order] = True
        self._descend(0, 0.0, 0)
        if self.best is None:
            return None
        bound = min(self.open, self.best.cycles)
        return evaluated(self.problem, self.best.ways, bound)

    def _cuts(self) -> list[int]:
        """Steps that are enough to look at: the fullest of those between which nothing comes or
        goes."""
        edges = {0, len(self.problem.base)}
        for item in self.problem.items:
            edges |= {item.early + 1, item.late, item.last + 1, item.late + 1}
        ordered = sorted(e for e in edges if 0 <= e <= len(self.problem.base))
        base = self.problem.base
        return [max(range(a, b), key=lambda t: base[t]) for a, b in pairwise(ordered)]

    def _descend(self, depth: int, cycles: float, macs: int) -> None:
        bound = cycles + self._rest()
        if bound >= self.least:
            return
        if self.nodes <= 0:
            self.open = min(self.open, bound)
            return
        self.nodes -= 1
        if depth == len(self.order):
            self._leaf(cycles)
            return
        k = self.order[depth]
        item = self.problem.items[k]
        self.free[k] = False
        options = [
            (0.0, 0, Way.KEEP),
            (item.cycles, item.macs, Way.AGAIN),
            (item.paged, 0, Way.PAGE),
        ]
        for more, work, way in self._sorted(k, options):
            if more < inf and macs + work <= self.problem.macs:
                self.ways[k] = way
                self._descend(depth + 1, cycles + more, macs + work)
        self.ways[k] = Way.KEEP
        self.free[k] = True

    def _sorted(
        self, k: int, options: list[tuple[float, int, Way]]
    ) -> list[tuple[float, int, Way]]:
        """What the fractional knapsack does with an item comes first."""
        keep, *others = options
        others.sort(key=lambda o: o[0])
        return [*others, keep] if self.taken[k] else [keep, *others]

    def _rest(self) -> float:
        """Cycles that the undecided items cost at the least; infinite where they do not suffice.
        Leaves in `taken` what a knapsack takes at the fullest step."""
        ways = self.ways
        steps = needed(self.problem.items, ways)
        alive = self.base.copy()
        for k, item in enumerate(self.problem.items):
            if ways[k] is not Way.KEEP:
                cut = self.gone[k] if steps[k] == item.late else self._before(k, steps[k])
                alive -= np.where(cut, item.nbytes, 0)
        excess = alive - self.limit
        self.taken = np.zeros(len(ways), bool)
        rest = 0.0
        for t in np.argsort(-excess, kind="stable")[:8]:
            if excess[t] <= 0:
                break
            rest = max(rest, self._knapsack(int(t), float(excess[t]), mark=rest == 0.0))
            if rest == inf:
                break
        return rest

    def _before(self, k: int, step: int) -> Array:
        item = self.problem.items[k]
        return np.array([item.early < t < step for t in self.cuts])

    def _knapsack(self, t: int, excess: float, *, mark: bool) -> float:
        cycles = 0.0
        for k in self.by_price:
            if excess <= 0:
                return cycles
            if self.free[k] and self.gone[k, t]:
                cycles += float(self.price[k]) * min(float(self.sizes[k]), excess)
                excess -= float(self.sizes[k])
                if mark:
                    self.taken[k] = True
        return cycles if excess <= 0 else inf

    def _leaf(self, cycles: float) -> None:
        found = evaluated(self.problem, self.ways)
        fits = found.peak <= self.limit
        if fits and away(self.problem, self.ways, found.steps) <= self.problem.room:
            self.best, self.least = found, cycles

"""Proving a placement: a better one, or a bound that says how much better one could be.

`arena.place` finds good placements, but `arena.lower_bound` looks at one step at a time: where
each output lies a little below its input, several steps together have no room for what every
one of them has.  One idea: of two buffers that conflict, one lies behind the other.  Once that
is decided for every pair, the lowest offsets are longest paths, and the question whether the
arena can be as small as some size becomes a search that decides pair after pair:

    each buffer has a lowest and a highest offset that the decisions so far leave to it
    a pair of which one order does not fit between these is decided by the other order
    a pair of which neither order fits ends this branch; where all branches end, so does hope
    the lowest offsets are a placement as soon as no undecided pair overlaps there

This is precedence constraint posting, as in job-shop scheduling (Smith and Cheng, "Slack-based
heuristics for constraint satisfaction scheduling", AAAI 1993).  The number of decisions bounds
it, so that the result is always the same; what takes more is left to `exact`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from lilliput.plan.arena import Block, Distances, Problem, align_up, extent, lower_bound

Integers = npt.NDArray[np.int64]

BUDGET: Final = 400
"""Decisions that are made for one arena, over all sizes that are asked for."""
PAIRS: Final = 500_000
"""Pairs that are looked at for that, about: of several hundred buffers the search of `arena` finds
more in the same time."""


@dataclass(frozen=True)
class Placed:
    """Offsets, where they end, and the end that no placement is below: the placement is optimal
    where both are equal."""

    offsets: dict[str, int]
    top: int
    bound: int


def tighten(
    blocks: Sequence[Block],
    distances: Distances,
    base: int,
    offsets: dict[str, int],
    budget: int = BUDGET,
) -> Placed:
    """Closes the gap between the placement `offsets` from `base` on and the lower bound, from
    either side, by halving it."""
    top = max(base, extent(blocks, offsets))
    bound = base + lower_bound(blocks, distances)
    prover = _Prover(Problem(blocks, distances, base), budget)
    prover.budget = min(budget, PAIRS // max(prover.pairs.shape[1], 1))
    while bound < top:
        size = (bound + top - 1) // 2
        lower = prover.search(size)
        if lower is not None:
            offsets = {b.name: at for b, at in zip(blocks, lower, strict=True)}
            top = extent(blocks, offsets)
        elif prover.budget > 0:
            bound = size + 1
        else:
            break
    return Placed(offsets, top, bound)


class _Prover:
    """`budget`: decisions that are left."""

    def __init__(self, problem: Problem, budget: int):
        self.problem, self.budget = problem, budget
        self.pairs = np.array(sorted(problem.pairs()), np.int64).reshape(-1, 4).T

    def search(self, size: int) -> list[int] | None:
        """Offsets of a placement that ends at `size` at the latest; None: there is none, or the
        budget was used up."""
        stack = [_Branch.root(self.problem, self.pairs, size)]
        while stack:
            branch = stack.pop()
            if not branch.propagate():
                continue
            pair = branch.tightest()
            if pair is None:
                return branch.low
            if self.budget <= 0:
                return None
            self.budget -= 1
            stack += branch.children(pair)
        return None


@dataclass
class _Branch:
    """What some decisions leave: the lowest and the highest offset of each block, the decided
    arcs (block, gap) up and down from it, `above[i, j]` where j lies above i, and the indices of
    the pairs that are still open.

    pairs (4, P): of each pair i, j, the gap with j behind i, and that with i behind j
    """

    pairs: Integers
    aligns: list[int]
    low: list[int]
    high: list[int]
    up: list[tuple[tuple[int, int], ...]]
    down: list[tuple[tuple[int, int], ...]]
    above: npt.NDArray[np.bool_]
    open: Integers

    @staticmethod
    def root(problem: Problem, pairs: Integers, size: int) -> _Branch:
        count = len(problem.sizes)
        ends = zip(problem.sizes, problem.aligns, strict=True)
        return _Branch(
            pairs,
            problem.aligns,
            problem.starts[:],
            [(size - nbytes) // align * align for nbytes, align in ends],
            [()] * count,
            [()] * count,
            np.zeros((count, count), bool),
            np.arange(pairs.shape[1], dtype=np.int64),
        )

    def propagate(self) -> bool:
        """Decides every pair that has one order left; False where one has none.

        What is decided narrows other pairs, and what is fixed in the end does not depend on the
        order in which that is found out."""
        if any(low > high for low, high in zip(self.low, self.high, strict=True)):
            return False
        while True:
            room_j, room_i = self.rooms()
            settled = (room_j < 0) | (room_i < 0)
            if not settled.any():
                return True
            for i, j, gap_j, gap_i in self.pairs[:, self.open[settled]].T.tolist():
                if not (
                    (self.room(i, j, gap_j) >= 0 and self.decide(i, j, gap_j))
                    or (self.room(j, i, gap_i) >= 0 and self.decide(j, i, gap_i))
                ):
                    return False
            self.open = self.open[~settled]

    def rooms(self) -> tuple[Integers, Integers]:
        """Of each open pair the bytes between the lowest offset that the upper one could have
        above the lower one and its highest, for either order; negative where it cannot lie there.
        """
        i, j, gap_j, gap_i = self.pairs[:, self.open]
        low, high, aligns = (np.array(x) for x in (self.low, self.high, self.aligns))
        lowest_j = -(-(low[i] + gap_j) // aligns[j]) * aligns[j]
        lowest_i = -(-(low[j] + gap_i) // aligns[i]) * aligns[i]
        room_j, room_i = high[j] - lowest_j, high[i] - lowest_i
        return np.where(self.above[j, i], -1, room_j), np.where(self.above[i, j], -1, room_i)

    def room(self, lower: int, upper: int, gap: int) -> int:
        """As `rooms`, of one pair and order."""
        if self.above[upper, lower]:
            return -1
        return self.high[upper] - align_up(self.low[lower] + gap, self.aligns[upper])

    def decide(self, lower: int, upper: int, gap: int) -> bool:
        """Puts `upper` above `lower`; False where that leaves some block no offset."""
        self.up[lower] += ((upper, gap),)
        self.down[upper] += ((lower, gap),)
        below = self.above[:, lower].copy()
        below[lower] = True
        reached = self.above[upper].copy()
        reached[upper] = True
        self.above[below] |= reached
        return self.raise_from(lower) and self.sink_from(upper)

    def raise_from(self, block: int) -> bool:
        todo = [block]
        while todo:
            i = todo.pop()
            for j, gap in self.up[i]:
                low = align_up(self.low[i] + gap, self.aligns[j])
                if low > self.low[j]:
                    if low > self.high[j]:
                        return False
                    self.low[j] = low
                    todo.append(j)
        return True

    def sink_from(self, block: int) -> bool:
        todo = [block]
        while todo:
            j = todo.pop()
            for i, gap in self.down[j]:
                align = self.aligns[i]
                high = (self.high[j] - gap) // align * align
                if high < self.high[i]:
                    if high < self.low[i]:
                        return False
                    self.high[i] = high
                    todo.append(i)
        return True

    def tightest(self) -> int | None:
        """The open pair with the least room of those that overlap at their lowest offsets."""
        i, j, gap_j, gap_i = self.pairs[:, self.open]
        low = np.array(self.low)
        met = (low[j] < low[i] + gap_j) & (low[i] < low[j] + gap_i)
        if not met.any():
            return None
        room = np.add(*self.rooms())[met]
        return int(self.open[met][np.argmin(room)])

    def children(self, pair: int) -> list[_Branch]:
        """Both orders of an open pair, the one with more room last."""
        i, j, gap_j, gap_i = self.pairs[:, pair].tolist()
        rest = self.open[self.open != pair]
        choices = [(i, j, gap_j), (j, i, gap_i)]
        found: list[_Branch] = []
        for lower, upper, gap in sorted(choices, key=lambda c: self.room(*c)):
            child = _Branch(
                self.pairs,
                self.aligns,
                self.low[:],
                self.high[:],
                self.up[:],
                self.down[:],
                self.above.copy(),
                rest,
            )
            if child.decide(lower, upper, gap):
                found.append(child)
        return found

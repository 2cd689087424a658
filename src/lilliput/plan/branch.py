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

from lilliput.plan.arena import Block, Distances, Pair, Problem, align_up, extent, lower_bound

BUDGET: Final = 400
"""Decisions that are made for one arena, over all sizes that are asked for."""


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
        self.pairs = problem.pairs()

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
    arcs (block, gap) up and down from it, the blocks above it (`above`, a set of bits), and the
    pairs that are still open."""

    aligns: Sequence[int]
    low: list[int]
    high: list[int]
    up: list[tuple[tuple[int, int], ...]]
    down: list[tuple[tuple[int, int], ...]]
    above: list[int]
    open: list[Pair]

    @staticmethod
    def root(problem: Problem, pairs: list[Pair], size: int) -> _Branch:
        count = len(problem.sizes)
        ends = zip(problem.sizes, problem.aligns, strict=True)
        high = [(size - nbytes) // align * align for nbytes, align in ends]
        return _Branch(
            problem.aligns, problem.starts[:], high, [()] * count, [()] * count, [0] * count, pairs
        )

    def propagate(self) -> bool:
        """Decides every pair that has one order left; False where one has none."""
        if any(low > high for low, high in zip(self.low, self.high, strict=True)):
            return False
        before = None
        while before != len(self.open):
            before = len(self.open)
            still: list[Pair] = []
            for pair in self.open:
                i, j, gap_j, gap_i = pair
                fits_j, fits_i = self.room(i, j, gap_j) >= 0, self.room(j, i, gap_i) >= 0
                if fits_j and fits_i:
                    still.append(pair)
                elif not (
                    (fits_j and self.decide(i, j, gap_j)) or (fits_i and self.decide(j, i, gap_i))
                ):
                    return False
            self.open = still
        return True

    def room(self, lower: int, upper: int, gap: int) -> int:
        """Bytes between the lowest offset that `upper` could have above `lower` and its highest;
        negative where it cannot lie there."""
        if self.above[upper] >> lower & 1:
            return -1
        return self.high[upper] - align_up(self.low[lower] + gap, self.aligns[upper])

    def decide(self, lower: int, upper: int, gap: int) -> bool:
        """Puts `upper` above `lower`; False where that leaves some block no offset."""
        self.up[lower] += ((upper, gap),)
        self.down[upper] += ((lower, gap),)
        reached = self.above[upper] | 1 << upper
        self.above = [
            seen | reached if i == lower or seen >> lower & 1 else seen
            for i, seen in enumerate(self.above)
        ]
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
                high = (self.high[j] - gap) // self.aligns[i] * self.aligns[i]
                if high < self.high[i]:
                    if high < self.low[i]:
                        return False
                    self.high[i] = high
                    todo.append(i)
        return True

    def tightest(self) -> Pair | None:
        """The open pair with the least room of those that overlap at their lowest offsets."""
        low = self.low
        met = [
            (self.room(i, j, a) + self.room(j, i, b), (i, j, a, b))
            for i, j, a, b in self.open
            if low[j] < low[i] + a and low[i] < low[j] + b
        ]
        return min(met)[1] if met else None

    def children(self, pair: Pair) -> list[_Branch]:
        """Both orders of an open pair, the one with more room last."""
        i, j, gap_j, gap_i = pair
        rest = [p for p in self.open if p != pair]
        choices = [(i, j, gap_j), (j, i, gap_i)]
        found: list[_Branch] = []
        for lower, upper, gap in sorted(choices, key=lambda c: self.room(*c)):
            child = _Branch(
                self.aligns,
                self.low[:],
                self.high[:],
                self.up[:],
                self.down[:],
                self.above,
                rest,
            )
            if child.decide(lower, upper, gap):
                found.append(child)
        return found

"""Offsets: where each buffer lies in its memory.

Two buffers that are alive at the same time must not overlap, with one exception: a kernel
that is done with its input row by row may write its output behind itself.  How far behind
follows from what the kernel declares (`Kernel.overlap`) and from its region rule; it comes
in here as the smallest allowed distance from the output's start to the input's.

One idea: a placement is an order.  Buffers are taken one after the other, each at the lowest
offset that conflicts with none before it.  Taking the buffers of a best placement from its
lowest to its highest reaches that placement again, so the best order is a best placement, and
planning is a search over orders:

    greedy   a few orders that are known to be good: by size, by life, from the last step back
    search   the buffer at the top stands on another one, that on a third, down to the base;
             to get lower, one of this tower has to be taken before what it stands on.  Such a
             move is chosen at random (the seed is fixed), and kept if the top is no higher,
             or once in a while if it is; it ends at the lower bound, or after `effort` moves
    nested   where that is not enough, more moves from another order: what is kept for long from
             the base up, the rest above it from the last step back, small buffers of one step at
             last.  In a training step what is made first is read last, so that lives are nested

The result is a certificate that `plan.check` verifies by other means.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

T = TypeVar("T")

EFFORT: Final = 250
"""Moves of the search: of the networks that were looked at all are optimal after fewer."""
PATIENCE: Final = 50
"""Moves without a better placement after which the search goes back to the best one."""
UPHILL: Final = 0.1
"""The part of the moves that are kept although the top gets higher."""
MANY: Final = 200
"""Buffers of which the search from the best greedy order takes too long for what it finds."""
FURTHER: Final = 4
"""Times `effort` that are moves from the nested order."""
LONG: Final = 1 / 16
"""The part of all steps that is long for a buffer."""
SMALL: Final = 1 / 8
"""The part of the largest buffer below which one of a single step is small."""


@dataclass(frozen=True)
class Block:
    """A buffer to be placed: alive during steps [first, last], both ends included."""

    name: str
    nbytes: int
    align: int
    first: int
    last: int


Distances = Mapping[tuple[str, str], int]
"""(output, input) -> bytes that the input's start must lie behind the output's start, or the
input ends where the output starts at the latest.  Never both of (a, b) and (b, a)."""


def extent(blocks: Sequence[Block], offsets: Mapping[str, int]) -> int:
    """First byte behind the last buffer."""
    return max((offsets[b.name] + b.nbytes for b in blocks), default=0)


# The lower bound --------------------------------------------------------------------------


def lower_bound(blocks: Sequence[Block], distances: Distances) -> int:
    """Bytes that any placement needs, whatever its base: the most that one step needs.

    A step needs what is alive in it less what may lie over one another (`_need`).  Offsets are
    multiples of the smallest alignment g, so that a placement stays one if every size and
    distance is rounded up to a multiple of g; its extent grows by what the topmost buffer was
    rounded up by.  So the rounded need less the largest rounding is a bound as well.
    """
    inputs: dict[str, list[tuple[str, int]]] = {}
    for (out, inp), distance in distances.items():
        inputs.setdefault(out, []).append((inp, distance))
    best = 0
    for alive in _steps(blocks):
        sizes = {b.name: b.nbytes for b in alive}
        pairs = {
            out: [(inp, distance) for inp, distance in inputs[out] if inp in sizes]
            for out in sizes
            if out in inputs
        }
        grain = math.gcd(*(b.align for b in alive))
        rounded = {name: align_up(n, grain) for name, n in sizes.items()}
        coarse = {o: [(i, align_up(d, grain)) for i, d in near] for o, near in pairs.items()}
        most = max(rounded[name] - n for name, n in sizes.items())
        best = max(best, _need(sizes, pairs), _need(rounded, coarse) - most)
        best = max(best, _need_between(sizes, pairs), _need_between(rounded, coarse) - most)
    return best


def _need_between(sizes: Mapping[str, int], inputs: Mapping[str, Sequence[tuple[str, int]]]) -> int:
    """As `_need`, where line buffers lie between an output and the input that it runs over, so that
    all three may meet: counted in pairs their overlaps would be too many.

    Either the three follow one another at their distances, without a gap, or the line buffers meet
    one of the two others not at all.
    """
    best = 0
    for out, near in inputs.items():
        for lines, behind in near:
            for inp, ahead in inputs.get(lines, ()):
                three = (out, lines, inp)
                a, b, c = (sizes[name] for name in three)
                least = min(behind + ahead + c, a + b, b + c)
                apart = {
                    o: [(i, d) for i, d in pairs if o not in three or i not in three]
                    for o, pairs in inputs.items()
                }
                best = max(best, _need(sizes, apart) - a - b - c + max(least, a, b, c))
    return best


def _need(sizes: Mapping[str, int], inputs: Mapping[str, Sequence[tuple[str, int]]]) -> int:
    """Bytes that the buffers of one step cover at the least.

    A union covers at least the sum of its members less the sum of their overlaps in pairs
    (Bonferroni), and only an output and its input overlap.  Those overlaps are bounded twice:

    by output   inputs do not meet, and each begins at its distance or further on.  Laid one
                after the other in the order of their distances they leave the least of the
                output uncovered.  (If two of them may meet, each counts for itself.)
    by input    counted one after the other, outputs before their inputs, a buffer saves no
                more than its own size, over however many outputs it reaches
    """
    by_output = 0
    by_input: dict[str, int] = {}
    for out, near in inputs.items():
        covered = at = 0
        for inp, distance in sorted(near, key=lambda pair: pair[1]):
            gain = max(0, min(sizes[inp], sizes[out] - distance))
            by_input[inp] = by_input.get(inp, 0) + gain
            at = max(at, distance)
            covered += max(0, min(sizes[inp], sizes[out] - at))
            at += sizes[inp]
        names = {inp for inp, _ in near}
        meet = any(other in names for inp in names for other, _ in inputs.get(inp, ()))
        gains = sum(max(0, min(sizes[inp], sizes[out] - d)) for inp, d in near)
        by_output += gains if meet else covered
    saved = min(by_output, sum(min(sizes[inp], gain) for inp, gain in by_input.items()))
    return sum(sizes.values()) - saved


def _steps(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """What is alive at each step in which something begins to be."""
    waiting = sorted(blocks, key=lambda b: b.first)
    alive: list[Block] = []
    for k, block in enumerate(waiting):
        alive = [b for b in alive if b.last >= block.first]
        alive.append(block)
        if k + 1 == len(waiting) or waiting[k + 1].first > block.first:
            yield alive


# Placing ----------------------------------------------------------------------------------


def place(
    blocks: Sequence[Block], distances: Distances, base: int = 0, effort: int = EFFORT
) -> dict[str, int]:
    """Offsets from `base` upwards, always the same ones; never worse than the best greedy order.

    effort : moves of the search; 0 is greedy orders alone, for inner loops
    """
    if not blocks:
        return {}
    bound = base + lower_bound(blocks, distances)
    problem = Problem(blocks, distances, base)
    moves = effort if len(blocks) <= MANY else 0
    best = _improved(problem, _orders(blocks), bound, moves)
    if best.top > bound and effort:
        order = _nested(blocks, distances, base, bound, FURTHER * effort)
        best = min(best, _improved(problem, [order], bound, effort), key=lambda tower: tower.top)
    return {block.name: best.at[i] for i, block in enumerate(blocks)}


def arrange(problem: Problem, orders: Iterable[list[int]], bound: int, effort: int) -> list[int]:
    """Offsets of the blocks of a problem: the best of a few orders, improved by `effort` moves, or
    fewer where nothing ends above `bound`."""
    return _improved(problem, orders, bound, effort).at


def _improved(problem: Problem, orders: Iterable[list[int]], bound: int, effort: int) -> _Tower:
    return _improve(problem, _best_order(problem, orders, bound), bound, effort)


def greedy(blocks: Sequence[Block], distances: Distances, base: int) -> dict[str, int]:
    """Offsets of the best greedy order, which `place` begins with; there is a buffer."""
    best = _best_order(Problem(blocks, distances, base), _orders(blocks), base)
    return {block.name: best.at[i] for i, block in enumerate(blocks)}


def _best_order(problem: Problem, orders: Iterable[list[int]], bound: int) -> _Tower:
    best: _Tower | None = None
    for order in orders:
        tower = problem.build(order)
        if best is None or tower.top < best.top:
            best = tower
        if best.top <= bound:
            break
    assert best is not None
    return best


def _orders(blocks: Sequence[Block]) -> Iterator[list[int]]:
    for key in _greedy_orders(blocks):
        yield sorted(range(len(blocks)), key=lambda i: key(blocks[i]))


def _greedy_orders(blocks: Sequence[Block]) -> list[Callable[[Block], tuple[int, ...]]]:
    """What sorts the buffers; the last one places an output before the input behind it."""
    load = {max(b.first for b in alive): sum(b.nbytes for b in alive) for alive in _steps(blocks)}

    def pressure(block: Block) -> int:
        return max(n for t, n in load.items() if block.first <= t <= block.last)

    return [
        lambda b: (-b.nbytes, b.first),
        lambda b: (b.first, -b.nbytes),
        lambda b: (-b.nbytes * (b.last - b.first + 1), b.first),
        lambda b: (-(b.last - b.first), -b.nbytes),
        lambda b: (-pressure(b), -b.nbytes, b.first),
        lambda b: (-b.first, -b.last, -b.nbytes),
    ]


def _nested(
    blocks: Sequence[Block], distances: Distances, base: int, bound: int, effort: int
) -> list[int]:
    """The order of what is kept for long, then of what is not from the last step back, improved by
    `effort` moves; behind it small buffers of one step, which fit where there is room."""
    steps = max(b.last for b in blocks) - min(b.first for b in blocks) + 1
    most = max(b.nbytes for b in blocks)
    brief = {i for i, b in enumerate(blocks) if b.first == b.last and b.nbytes < most * SMALL}
    rest = [i for i in range(len(blocks)) if i not in brief]

    def key(i: int) -> tuple[int, ...]:
        b = blocks[rest[i]]
        life = b.last - b.first + 1
        return (0, -life, -b.nbytes) if life > LONG * steps else (1, -b.first, -b.last, -b.nbytes)

    order = sorted(range(len(rest)), key=key)
    problem = Problem([blocks[i] for i in rest], distances, base)
    found = _improved(problem, [order], bound, effort).order
    return [*(rest[i] for i in found), *sorted(brief, key=lambda i: (-blocks[i].nbytes, i))]


Pair = tuple[int, int, int, int]
"""Blocks i and j, how far j must start behind i if it lies behind, and how far i behind j."""


@dataclass(frozen=True)
class _Tower:
    """A placement: `order` of the buffers, `at` their offsets, `under` the buffer that each one
    stands on (-1: the base), `top` the first byte behind all."""

    order: list[int]
    at: list[int]
    under: list[int]
    top: int

    def highest(self, problem: Problem) -> list[int]:
        ends = zip(self.at, problem.sizes, problem.tails, strict=True)
        return [i for i, (at, nbytes, tail) in enumerate(ends) if at + nbytes + tail == self.top]

    def joints(self, block: int) -> list[tuple[int, int]]:
        """(lower, upper) of whatever stands on one another, from `block` down."""
        found: list[tuple[int, int]] = []
        while (lower := self.under[block]) >= 0:
            found.append((lower, block))
            block = lower
        return found


class Problem:
    """Blocks by their index, in bytes; `starts` are the lowest offsets that there are for each.

    tails : bytes of something else that is known to lie behind each, and counts as its own
    conflicts : of block i, (j, low, high): with j at offset a, the offsets of i in the open
        interval (a + low, a + high) are forbidden
    """

    def __init__(self, blocks: Sequence[Block], distances: Distances, base: int):
        self.sizes = [b.nbytes for b in blocks]
        self.aligns = [b.align for b in blocks]
        self.starts = [align_up(base, b.align) for b in blocks]
        self.tails = [0] * len(blocks)
        self.conflicts: list[list[tuple[int, int, int]]] = [[] for _ in blocks]
        alive: list[int] = []
        for i in sorted(range(len(blocks)), key=lambda i: blocks[i].first):
            alive = [j for j in alive if blocks[j].last >= blocks[i].first]
            for j in alive:
                if blocks[i].nbytes and blocks[j].nbytes:
                    above, below = _gaps(blocks[i], blocks[j], distances)
                    self.conflicts[i].append((j, -above, below))
                    self.conflicts[j].append((i, -below, above))
            alive.append(i)

    def pairs(self) -> list[Pair]:
        """Every conflict once."""
        return [
            (i, j, -low, high)
            for i, conflicts in enumerate(self.conflicts)
            for j, low, high in conflicts
            if i < j
        ]

    def build(self, order: list[int]) -> _Tower:
        """The placement of an order."""
        at, under, top = [-1] * len(order), [-1] * len(order), 0
        for i in order:
            at[i], under[i] = self._lowest(i, at)
            top = max(top, at[i] + self.sizes[i] + self.tails[i])
        return _Tower(order, at, under, top)

    def moved(self, like: _Tower, lower: int, upper: int, limit: float) -> _Tower | None:
        """The placement of the order of `like` with `upper` taken before `lower`; None where it
        gets higher than `limit`.  What has moved, or did, above a block leaves it where it is."""
        order = [i for i in like.order if i != upper]
        kept = order.index(lower)
        order.insert(kept, upper)
        at, under, top = [-1] * len(order), [-1] * len(order), 0
        for i in order[:kept]:
            at[i], under[i] = like.at[i], like.under[i]
            top = max(top, at[i] + self.sizes[i] + self.tails[i])
        again = bytearray(len(order))
        again[upper] = 1
        for i in order[kept:]:
            if again[i]:
                at[i], under[i] = self._lowest(i, at)
                if at[i] != like.at[i] or i == upper:
                    lowest = min(at[i], like.at[i])
                    for j, _, high in self.conflicts[i]:
                        if lowest - high < like.at[j]:
                            again[j] = 1
            else:
                at[i], under[i] = like.at[i], like.under[i]
            end = at[i] + self.sizes[i] + self.tails[i]
            if end > top:
                if end > limit:
                    return None
                top = end
        return _Tower(order, at, under, top)

    def _lowest(self, i: int, at: Sequence[int]) -> tuple[int, int]:
        """The lowest offset of block i beside those that have one, and which of them it stands on,
        -1 for none."""
        start, align = self.starts[i], self.aligns[i]
        offset, lower = start, -1
        taken = [
            (x + a, x + b, j)
            for j, a, b in self.conflicts[i]
            if (x := at[j]) >= 0 and x + b > start
        ]
        taken.sort()
        for low, high, j in taken:
            if low >= offset:
                break
            if offset < high:
                offset, lower = align_up(high, align), j
        return offset, lower


def _gaps(a: Block, b: Block, distances: Distances) -> tuple[int, int]:
    """(how far b must start behind a, if it lies behind; how far a behind b)."""
    behind_a = distances.get((a.name, b.name), a.nbytes)
    behind_b = distances.get((b.name, a.name), b.nbytes)
    return min(behind_a, a.nbytes), min(behind_b, b.nbytes)


def _improve(problem: Problem, best: _Tower, bound: int, effort: int) -> _Tower:
    """The best placement within `effort` moves from `best`."""
    chance = random.Random(0)
    here, without = best, 0
    for _ in range(effort):
        if best.top <= bound:
            break
        joints = here.joints(_pick(chance, here.highest(problem)))
        if not joints:
            break  # one buffer is as large as all: nothing is lower
        lower, upper = _pick(chance, joints)
        limit = math.inf if chance.random() < UPHILL else here.top
        moved = problem.moved(here, lower, upper, limit)
        here = moved or here
        without += 1
        if here.top < best.top:
            best, without = here, 0
        elif without >= PATIENCE:
            here, without = best, 0
    return best


def _pick(chance: random.Random, items: Sequence[T]) -> T:
    return items[int(chance.random() * len(items))]


def align_up(offset: int, align: int) -> int:
    """The first multiple of `align` from `offset` on."""
    return -(-offset // align) * align

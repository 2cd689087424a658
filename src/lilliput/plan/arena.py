"""Offsets: where each buffer lies in its memory.

Two buffers that are alive at the same time must not overlap, with one exception: a kernel
that is done with its input row by row may write its output behind itself.  How far behind
follows from what the kernel declares (`Kernel.overlap`) and from its region rule; it comes
in here as the smallest allowed distance from the output's start to the input's.

The planner is greedy: buffers in order of size (and other orders; the best is kept), each
at the lowest offset that conflicts with none placed before.  The result is a certificate
that `plan.check` verifies by other means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """A buffer to be placed: alive during steps [first, last], both ends included."""

    name: str
    nbytes: int
    align: int
    first: int
    last: int


Distances = Mapping[tuple[str, str], int]
"""(output, input) -> bytes that the input's start must lie behind the output's start."""


def lower_bound(blocks: Sequence[Block], distances: Distances) -> int:
    """Bytes that any placement needs: the largest sum alive at one step.

    Where an output may run over an input, the pair counts as what both need together.
    """
    times = {b.first for b in blocks}
    best = 0
    for t in times:
        alive = {b.name: b for b in blocks if b.first <= t <= b.last}
        total = sum(b.nbytes for b in alive.values())
        saved: dict[str, int] = {}
        for (out, inp), distance in distances.items():
            if out in alive and inp in alive:
                together = max(alive[out].nbytes, distance + alive[inp].nbytes)
                gain = alive[out].nbytes + alive[inp].nbytes - together
                saved[out] = saved.get(out, 0) + max(gain, 0)
        best = max(best, total - sum(saved.values()))
    return best


def place(blocks: Sequence[Block], distances: Distances, base: int = 0) -> dict[str, int]:
    """Offsets from `base` upwards; the best of several greedy orders, always the same one."""
    orders: list[Callable[[Block], tuple[int, ...]]] = [
        lambda b: (-b.nbytes, b.first),
        lambda b: (b.first, -b.nbytes),
        lambda b: (-b.nbytes * (b.last - b.first + 1), b.first),
        lambda b: (-(b.last - b.first), -b.nbytes),
    ]
    peaks = _pressure(blocks)
    orders.append(lambda b: (-peaks[b.name], -b.nbytes, b.first))
    results = [_greedy(sorted(blocks, key=order), distances, base) for order in orders]
    return min(results, key=lambda offsets: extent(blocks, offsets))


def extent(blocks: Sequence[Block], offsets: Mapping[str, int]) -> int:
    """First byte behind the last buffer."""
    return max((offsets[b.name] + b.nbytes for b in blocks), default=0)


def _pressure(blocks: Sequence[Block]) -> dict[str, int]:
    """For each block the most bytes that are alive at any step of its life."""
    return {
        b.name: max(
            sum(o.nbytes for o in blocks if o.first <= t <= o.last)
            for t in range(b.first, b.last + 1)
        )
        for b in blocks
    }


def _greedy(blocks: Sequence[Block], distances: Distances, base: int) -> dict[str, int]:
    offsets: dict[str, int] = {}
    placed: list[Block] = []
    for block in blocks:
        taken = sorted(
            _forbidden(block, other, offsets[other.name], distances)
            for other in placed
            if block.first <= other.last and other.first <= block.last
        )
        offsets[block.name] = _settle(_align(base, block.align), taken, block.align)
        placed.append(block)
    return offsets


def _settle(offset: int, taken: Sequence[tuple[int, int]], align: int) -> int:
    """The lowest aligned offset from `offset` on that lies in no open interval of `taken`."""
    moved = True
    while moved:
        moved = False
        for low, high in taken:
            if low < offset < high:
                offset, moved = _align(high, align), True
    return offset


def _forbidden(block: Block, other: Block, at: int, distances: Distances) -> tuple[int, int]:
    """The open interval of offsets that `block` may not have while `other` lies at `at`."""
    low, high = at - block.nbytes, at + other.nbytes
    if (block.name, other.name) in distances:  # block is the output, other its input
        low = at - distances[block.name, other.name]
    elif (other.name, block.name) in distances:  # block is the input, other the output
        high = at + distances[other.name, block.name]
    return low, max(low, high)


def _align(offset: int, align: int) -> int:
    return -(-offset // align) * align

"""What of an operand a reader's progress holds and needs: the arithmetic that `bound` adds up.

One idea: a node's progress is how many rows of its result are made, a number with a fraction
where a row is partly made; what it needs of an operand, and what it has no more use for, are
functions of that number.  They come from the region rules alone.

In a row, pixels do not go quite in step: a window is a few pixels ahead.  Where what is made, read
or dead after some pixels of a row is not at least (or at most) the same share of the row,
`late`, `eager` and `loose` say so, and the number is taken a row off, towards fewer bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from lilliput.ir.graph import Node
from lilliput.ir.region import AxisRule, OperandRule, Pointwise, Reduce, Whole, Window, needs
from lilliput.ir.types import Array, DType


@dataclass(frozen=True)
class Axis:
    """Which indices of an operand's axis each index of the result's axis reads."""

    extent: int
    reads: tuple[tuple[int, ...], ...]

    @property
    def used(self) -> frozenset[int]:
        return frozenset(i for some in self.reads for i in some)

    def made(self, count: int) -> int:
        """Of what is read, indices among the first `count`."""
        return sum(i < count for i in self.used)

    def ahead(self, count: int) -> int:
        """First indices that have to be there for the first `count` of the result."""
        return max((i + 1 for some in self.reads[:count] for i in some), default=0)

    def dead(self, count: int) -> int:
        """Of what is read, indices that only the first `count` of the result read."""
        return len(self.used - {i for some in self.reads[count:] for i in some})


@dataclass(frozen=True, eq=False)
class Flow:
    """From an operand to one reader.

    need : (steps + 1,) rows of the operand that have to be there when so many steps are done
    last : (rows,) step of the reader that is the last to read a row of the operand, -1 for none
    row : bytes of a row of the operand that are read
    pixels : the same within a row
    late : less is there of a row in the making than its pixels' share
    eager : more of a row is dead than the share of pixels that the reader has made of its own
    loose : less is needed
    sums : its steps are rows of the operand, which it sums up, not of its result
    """

    need: Array
    last: Array
    row: int
    pixels: Axis
    late: bool
    eager: bool
    loose: bool
    sums: bool

    @property
    def steps(self) -> int:
        return len(self.need) - 1

    def alive(self, made: Array, done: Array) -> Array:
        """(states, states) bytes of the operand at each of its own states, and of the reader's:
        so many rows made, so many steps done."""
        dead = np.clip(done[:, None] + self.eager - self.last[None], 0, 1)
        return self._alive(made, dead)

    def alive_at(self, made: Array, pixel: int) -> Array:
        """(states, steps) the same just before the reader makes `pixel` of each row."""
        share = self.pixels.dead(pixel) / max(len(self.pixels.used), 1)
        steps = np.arange(self.steps)[:, None]
        dead = np.where(self.last[None] < steps, 1.0, np.where(self.last == steps, share, 0.0))
        return self._alive(made, dead)

    def _alive(self, made: Array, dead: Array) -> Array:
        there = np.clip(made[:, None] - self.late - np.arange(len(self.last))[None], 0, 1)
        total = np.zeros((len(made), len(dead)))
        for row in np.flatnonzero(self.last >= 0):
            some, left = there[:, row] > 0, dead[:, row] < 1
            if some.any() and left.any():
                first, until = int(some.argmax()), len(left) - int(left[::-1].argmax())
                part = there[first:, row, None] - dead[None, :until, row]
                total[first:, :until] += np.maximum(part, 0)
        return total * self.row

    def needed(self, done: Array) -> Array:
        """(states,) rows of the operand that have to be there when so many steps are done."""
        whole = np.floor(done).astype(int)
        share, need = done - whole, self.need.astype(float)
        if self.loose:
            before = np.maximum(np.concatenate(([0], need[1:] - 1)), 0)
            after = np.append(need[1:] - 1, need[-1])
            return np.where(share > 0, np.maximum(after[whole], before[whole]), before[whole])
        begun = np.append(need[1:], need[-1])[whole] - 1 + share
        return np.where(share > 0, np.maximum(need[whole], begun), need[whole])

    def needed_at(self, pixel: int) -> Array:
        """(steps,) the same when the reader is about to make `pixel` of each row."""
        upto = self.pixels.ahead(pixel + 1) / self.pixels.extent
        rows = self.need[1:].astype(float)
        return np.maximum(self.need[:-1], rows - 1 + upto)


def flow(node: Node, index: int) -> Flow | None:
    """From operand `index` of a node; None where its rules do not go row by row."""
    if node.op.regions is None:
        return None
    rules, value, out = node.op.regions(node)[index], node.inputs[index].type, node.output.type
    if min(len(value.shape), len(out.shape)) < 2:
        return None
    axes = _axes(rules, value.shape, out.shape)
    if axes is None:
        return None
    (*lead, pixels, channels), counts = axes, (value.frame[0], out.frame[0])
    adds = any(isinstance(r, Reduce) for r in rules[:-1])
    sums = any(isinstance(r, Reduce) for r in rules[:-2])
    if sums:
        if counts[1] > 1 or max(value.shape[:-2]) < counts[0]:
            return None
        last, need = np.arange(counts[0]), np.arange(counts[0] + 1)
        pixels = _axis(Pointwise(0), pixels.extent, pixels.extent)
    else:
        last, need = _rows(lead, counts)
    used, wide, tall = len(pixels.used), pixels.extent, len(pixels.reads)
    if pixels.ahead(1) == 0:
        return None
    bits = 1 if value.dtype is DType.BOOL else 8 * value.dtype.itemsize
    return Flow(
        need=need,
        last=last,
        row=used * len(channels.used) * bits // 8,
        pixels=pixels,
        late=any(pixels.made(x) * wide < x * used for x in range(wide)),
        eager=(adds and not sums) or any(pixels.dead(x) * tall > x * used for x in range(tall)),
        loose=(adds and not sums) or any(pixels.ahead(x) * tall < x * wide for x in range(tall)),
        sums=sums,
    )


def _rows(lead: Sequence[Axis], counts: tuple[int, int]) -> tuple[Array, Array]:
    """(last, need) of rows, which are all axes before the pixels, in order."""
    last, need = np.full(counts[0], -1), np.zeros(counts[1] + 1, int)
    for step, places in enumerate(product(*(axis.reads for axis in lead))):
        need[step + 1] = need[step]
        for place in product(*places):
            row = 0
            for axis, i in zip(lead, place, strict=True):
                row = row * axis.extent + i
            last[row] = step
            need[step + 1] = max(need[step + 1], row + 1)
    return last, need


def _axes(
    rules: OperandRule, shape: tuple[int, ...], out: tuple[int, ...]
) -> tuple[Axis, ...] | None:
    """The axes of an operand, beside those of the result from the last one on; None where one
    follows another one than that."""
    rank = max(len(shape), len(out))
    rules = (*(Whole(),) * (rank - len(shape)), *rules)
    extents, counts = ((*(1,) * (rank - len(s)), *s) for s in (shape, out))
    for k, rule in enumerate(rules):
        if isinstance(rule, Reduce):
            if isinstance(rule.inner, Window) and k < rank - 1:
                return None
        elif not isinstance(rule, Whole) and rule.axis != k - (rank - len(out)):
            return None
    return tuple(map(_axis, rules, extents, counts))


def _axis(rule: AxisRule, extent: int, count: int) -> Axis:
    return Axis(extent, tuple(tuple(_reads(rule, i, extent)) for i in range(count)))


def _reads(rule: AxisRule, index: int, extent: int) -> range:
    """What one index reads, gaps of a dilated window left out."""
    if isinstance(rule, Whole | Reduce):
        return range(extent)
    if isinstance(rule, Window):
        first = index * rule.stride - rule.pad
        skipped = max(-(first // rule.dilation), 0) * rule.dilation
        return range(first + skipped, min(first + rule.reach + 1, extent), rule.dilation)
    return range(*needs(rule, (index, index + 1), extent))

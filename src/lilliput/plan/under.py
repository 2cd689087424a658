"""Line buffers under an input that dies: what a loop needs whose rows lie where input was read.

One idea: of a map that dies in a loop fewer and fewer rows are needed, and of the map that runs
over it more and more are there.  Between the two lies a band that moves through memory, and the
line buffers can lie in it (`lines` finds their places).  So a loop does not need room for both maps
at their worst and all line buffers beside, but at each time for what is there:

    rows of the output so far  |  rows of line buffers  |  rows of the input still to be read

This gives for each part of a loop the most of that over its executions, gone through one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from lilliput.ir.region import AxisRule, Reduce, needs
from lilliput.plan.group import Kept, Member, Slot

Ints = npt.NDArray[np.int64]

Rows = tuple[int, int]
"""Rows of a map, and bytes of one."""


@dataclass(frozen=True)
class Under:
    """A loop whose line buffers lie between `out`, which it makes, and `inp`, which dies in it.

    kept : root of a line buffer -> when how many of its rows are alive, and bytes of one
    """

    members: Sequence[Member]
    slots: Sequence[Slot]
    kept: Mapping[str, tuple[Kept, int]]
    out: tuple[str, Rows]
    inp: tuple[str, Rows]

    def most(self) -> list[int]:
        """Bytes of the two maps and of all line buffers that are needed while each part executes,
        at most; without its scratch."""
        counts = [slot.count for slot in self.slots]
        place = np.repeat(np.arange(len(counts)), counts)
        when = np.concatenate([s.phase + s.period * np.arange(s.count) for s in self.slots])

        def times(j: int) -> Ints:
            """How often part j has executed by then, what executes just then included."""
            slot = self.slots[j]
            return np.clip((when - slot.phase - (place < j)) // slot.period + 1, 0, slot.count)

        total = self._made(times, place) + self._unread(times, place)
        for kept, row in self.kept.values():
            steady = np.full(len(counts), kept.rest)
            for first, end, rows in kept.pieces():
                steady[first:end] = rows
            total += row * np.minimum(steady[place], times(kept.maker) * kept.made)
        return np.maximum.reduceat(total, np.cumsum([0, *counts[:-1]])).tolist()

    def _made(self, times: Callable[[int], Ints], place: Ints) -> Ints:
        """Bytes of the output that are there."""
        name, (rows, row) = self.out
        made = np.zeros_like(place)
        for j, member in enumerate(self.members):
            if member.writes == name:
                done = times(j)
                if any(isinstance(x.rule, Reduce) for x in member.reads):
                    done = np.where(done == self.slots[j].count, rows, 0)
                else:
                    done = np.minimum(done * member.quantum, rows)
                made = np.maximum(made, done)
        return made * row

    def _unread(self, times: Callable[[int], Ints], place: Ints) -> Ints:
        """Bytes of the input that this or a later execution reads."""
        name, (rows, row) = self.inp
        first = np.full_like(place, rows)
        for j, member in enumerate(self.members):
            for rule in (x.rule for x in member.reads if x.root == name):
                tops = _tops(rule, member.quantum, self.slots[j].count, rows)
                first = np.minimum(first, tops[times(j) - (place == j)])
        return (rows - first) * row


@lru_cache(maxsize=1024)
def _tops(rule: AxisRule, quantum: int, count: int, rows: int) -> Ints:
    """The first row that each execution or a later one reads; behind the last one all are dead."""
    tops = [needs(rule, (k * quantum, (k + 1) * quantum), rows)[0] for k in range(count)]
    return np.minimum.accumulate(np.array([*tops, rows], np.int64)[::-1])[::-1]

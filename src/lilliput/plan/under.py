"""Line buffers under an input that dies: what a loop needs whose rows lie where input was read.

One idea: of a map that dies in a loop fewer and fewer rows are needed, and of the map that runs
over it more and more are there.  Between the two lies a band that moves through memory, and the
line buffers can lie in it (`lines` finds their places).  So a loop does not need room for both maps
at their worst and all line buffers beside, but at each time for what is there:

    rows of the output so far  |  rows of line buffers  |  rows of the input still to be read

This gives for each part of a loop the most of that over its executions, gone through one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from lilliput.plan.group import Kept, Slot

PARTS: Final = 5
"""Parts of a loop that is looked at: longer ones have line buffers of so many maps that an input
hides few of them."""

Ints = npt.NDArray[np.int64]

Rows = tuple[int, int]
"""Rows of a map, and bytes of one."""


@dataclass(frozen=True)
class Under:
    """A loop whose line buffers lie between `out`, which it makes, and `inp`, which dies in it.

    kept : of each line buffer when how many of its rows are alive, and bytes of one
    writers : (part, rows an execution) of those that make the output; no rows: all at the end
    readers : (part, the first input row of each execution) of those that read the input
    strips : of a loop that goes by strips, bytes of each line buffer in an iteration
    """

    slots: Sequence[Slot]
    kept: Sequence[tuple[Kept, int]]
    out: Rows
    writers: Sequence[tuple[int, int]]
    inp: Rows
    readers: Sequence[tuple[int, Sequence[int]]]
    strips: Sequence[int] | None = None

    def most(self) -> list[int]:
        """Bytes of the two maps and of all line buffers that are needed while each part executes,
        at most; without its scratch."""
        counts = [slot.count for slot in self.slots]
        place = np.repeat(np.arange(len(counts)), counts)
        when = np.concatenate([s.phase + s.period * np.arange(s.count) for s in self.slots])

        def times(j: int) -> Ints:
            """How often part j has executed by then, what executes just then included."""
            slot, later = self.slots[j], (place < j) if self.strips is None else 0
            done = (when - slot.phase - later) // slot.period + 1
            return np.minimum(np.maximum(done, 0), slot.count)

        def before(j: int) -> Ints:
            """How often it has been over by then: with strips, before the iteration."""
            if self.strips is None:
                return times(j) - (place == j)
            slot = self.slots[j]
            return np.minimum(np.maximum((when - 1 - slot.phase) // slot.period + 1, 0), slot.count)

        made = np.zeros_like(place)
        for j, quantum in self.writers:
            done = times(j)
            rows = done * quantum if quantum else (done == self.slots[j].count) * self.out[0]
            made = np.maximum(made, np.minimum(rows, self.out[0]))
        first = np.full_like(place, self.inp[0])
        for j, tops in self.readers:
            # rows die in ascending order: none before a later execution has had it
            dead = np.minimum.accumulate(np.array([*tops, self.inp[0]])[::-1])[::-1]
            first = np.minimum(first, dead[before(j)])
        total = made * self.out[1] + (self.inp[0] - first) * self.inp[1]
        for i, (kept, row) in enumerate(self.kept):
            made = row * times(kept.maker) * kept.made
            if self.strips is not None:
                total += np.minimum(self.strips[i], made)
                continue
            steady = np.full(len(counts), kept.rest)
            for begin, end, rows in kept.pieces():
                steady[begin:end] = rows
            total += np.minimum(row * steady[place], made)
        return np.maximum.reduceat(total, np.cumsum([0, *counts[:-1]])).tolist()

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
from functools import cached_property
from typing import Final

import numpy as np

from lilliput.plan.alive import Executions, Ints, Line, Readers
from lilliput.plan.group import Slot

PARTS: Final = 5
"""Parts of a loop that is looked at: longer ones have line buffers of so many maps that an input
hides few of them."""

Rows = tuple[int, int]
"""Rows of a map, and bytes of one."""


@dataclass(frozen=True)
class Under:
    """A loop whose line buffers lie between `out`, which it makes, and `inp`, which dies in it.

    lines : its line buffers
    writers : (part, rows an execution) of those that make the output; no rows: all at the end
    readers : of the input
    strips : whether the loop goes by strips
    """

    slots: Sequence[Slot]
    lines: Sequence[Line]
    out: Rows
    writers: Sequence[tuple[int, int]]
    inp: Rows
    readers: Readers
    strips: bool = False

    @cached_property
    def executions(self) -> Executions:
        return Executions(self.slots, strips=self.strips)

    @cached_property
    def maps(self) -> Ints:
        """Bytes of the two maps while each part executes."""
        executions = self.executions
        made = np.zeros_like(executions.place)
        for j, quantum in self.writers:
            done = executions.done(j)
            rows = done * quantum if quantum else (done == self.slots[j].count) * self.out[0]
            made = np.maximum(made, np.minimum(rows, self.out[0]))
        first = executions.first(self.inp[0], self.readers)
        return made * self.out[1] + (self.inp[0] - first) * self.inp[1]

    def most(self, sizes: Sequence[int] = ()) -> list[int]:
        """Bytes of the two maps and of all line buffers that are needed while each part executes,
        at most; without its scratch.

        sizes : with strips, bytes of each line buffer in an iteration
        """
        total = self.maps.copy()
        for i, line in enumerate(self.lines):
            if self.strips:
                done = self.executions.done(line.maker)
                total += np.minimum(sizes[i], done * line.made * line.row)
            else:
                total += self.executions.kept(line)
        return self.executions.most(total)

"""What is alive while each part of a loop executes, one execution after the other.

One idea: rows are there from when they are made until no later execution reads them, and both can
be counted from the timetable alone.  `group.Kept` says in closed form what that comes to where all
parts execute in one iteration; where periods and phases do not meet there is none, and less is
alive at once than all of them need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lilliput.plan.group import Slot

Ints = npt.NDArray[np.int64]

Readers = Sequence[tuple[int, Sequence[int], int]]
"""(part, the first row of each execution, how many rows it reads) of those that read a map."""


@dataclass(frozen=True)
class Line:
    """A map of which a loop keeps rows: who makes it, how many rows at once and in all, bytes of
    one, and who reads it."""

    maker: int
    made: int
    rows: int
    row: int
    readers: Readers

    @property
    def sparse(self) -> bool:
        """Whether one of several readers leaves out rows, which die with the others."""
        gaps = (max(np.diff(tops), default=0) > rows for _, tops, rows in self.readers)
        return len(self.readers) > 1 and any(gaps)


class Executions:
    """All executions of a loop, part after part; what is counted has a number for each.

    strips : whether parts take turns in each iteration
    """

    def __init__(self, slots: Sequence[Slot], *, strips: bool = False):
        counts = [slot.count for slot in slots]
        self.slots, self.strips = slots, strips
        self.place = np.repeat(np.arange(len(counts)), counts)
        self.when = np.concatenate([s.phase + s.period * np.arange(s.count) for s in slots])
        self.starts = np.cumsum([0, *counts[:-1]])

    def done(self, j: int) -> Ints:
        """How often part j has executed by then, what executes just then included."""
        slot = self.slots[j]
        later = 0 if self.strips else self.place < j
        done = (self.when - slot.phase - later) // slot.period + 1
        return np.minimum(np.maximum(done, 0), slot.count)

    def over(self, j: int) -> Ints:
        """How often it has been over by then: with strips, before the iteration."""
        if not self.strips:
            return self.done(j) - (self.place == j)
        slot = self.slots[j]
        over = (self.when - 1 - slot.phase) // slot.period + 1
        return np.minimum(np.maximum(over, 0), slot.count)

    def first(self, rows: int, readers: Readers) -> Ints:
        """The first of the rows of a map that is still needed."""
        found = np.full_like(self.place, rows)
        for j, tops, _ in readers:
            # rows die in ascending order: none before a later execution has had it
            dead = np.minimum.accumulate(np.array([*tops, rows])[::-1])[::-1]
            found = np.minimum(found, dead[self.over(j)])
        return found

    def kept(self, line: Line) -> Ints:
        """Bytes of a map's rows that are alive."""
        if line.sparse:
            return self._counted(line) * line.row
        done, first = self.done(line.maker), self.first(line.rows, line.readers)
        made = np.minimum(done * line.made, line.rows)
        # what is made just now is there, even where nobody will read it
        fresh = np.where(self.place == line.maker, line.made, 0)
        return np.maximum(made - first, np.minimum(fresh, made)) * line.row

    def _counted(self, line: Line) -> Ints:
        """Rows that are alive, each from when it is made until it is read for the last time."""
        parts, maker = len(self.slots), self.slots[line.maker]
        made = np.arange(line.rows) // line.made
        born = (maker.phase + maker.period * made) * parts + line.maker
        died = born.copy()
        for j, tops, rows in line.readers:
            slot = self.slots[j]
            for k, top in enumerate(tops):
                read = died[top : top + rows]
                np.maximum(read, (slot.phase + slot.period * k) * parts + j, out=read)
        now = self.when * parts + self.place
        return np.searchsorted(born, now, "right") - np.searchsorted(np.sort(died), now, "left")

    def most(self, counted: Ints) -> list[int]:
        """Of each part, over its executions."""
        return np.maximum.reduceat(counted, self.starts).tolist()


def alive(slots: Sequence[Slot], lines: Sequence[Line]) -> list[int]:
    """Bytes of rows that are alive while each part of a loop executes, at most."""
    executions = Executions(slots)
    counted = np.zeros_like(executions.place)
    for line in lines:
        counted += executions.kept(line)
    return executions.most(counted)

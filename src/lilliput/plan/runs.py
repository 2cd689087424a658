"""Runs: neighbouring tasks as one loop, or one task as one call, and what each costs.

One idea: what a run costs does not depend on the runs around it.  Its bytes are the maps that are
alive when it begins, the maps that it leaves, its line buffers and its scratch, less what an
output may run over an input that dies in it; its cycles are those of the kernels that so much
scratch allows, and of calling them piece by piece.  `schedule` finds runs, `loops` what those of
several parts cost, and `partition` chooses among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from operator import add
from typing import Final

from lilliput.plan.group import Member
from lilliput.plan.strips import Flow

LOOP_CYCLES: Final = 30.0
"""What a loop adds to a call: clamping its rows."""
DUE: Final = 6.0
"""Cycles of the test, in each iteration, whether a task is due."""
BLOCKS: Final = (1, 2, 4, 8)
"""Rows that each execution of a loop may make at once: fewer calls, longer line buffers."""


@dataclass(frozen=True)
class Map:
    """A value as it lies in memory: `rows` rows of `row` bytes, made by part `first` (-1 before
    the first) and read by part `last` for the last time (the number of parts: afterwards).

    planar : held in planes, of which a row has a piece in each: nothing runs over it row by row
    """

    rows: int
    row: int
    first: int
    last: int
    planar: bool = False

    @property
    def nbytes(self) -> int:
        return self.rows * self.row


@dataclass(frozen=True)
class Way:
    """A kernel that could do a task: bytes that are dead between its calls, and cycles of one
    call on everything."""

    scratch: int
    cycles: float


@dataclass(frozen=True)
class Part:
    """A task as it is cut.

    member : how it streams; None where it cannot
    ways : its kernels, of which none is beaten in both scratch and cycles, the leanest first
    call : cycles of each further call
    carry : bytes that must live between calls
    near : input -> the distance at which one call may write its output over it
    flow : how it goes through pixels; None where it cannot go by strips
    """

    member: Member | None
    ways: tuple[Way, ...]
    call: float
    carry: int
    near: Mapping[str, int]
    flow: Flow | None = None

    def within(self, scratch: float) -> Way | None:
        """The fastest kernel of so little scratch."""
        return next((w for w in reversed(self.ways) if w.scratch <= scratch), None)


def ways(found: Sequence[Way]) -> tuple[Way, ...]:
    """Those that none beats in both scratch and cycles, the leanest first."""
    best: list[Way] = []
    for way in sorted(found, key=lambda w: (w.scratch, w.cycles)):
        if not best or way.cycles < best[-1].cycles:
            best.append(way)
    return tuple(best)


@dataclass(frozen=True)
class Slide:
    """Output `out` begins `distance` bytes before `inp`, of which it shares `gain` bytes."""

    out: str
    inp: str
    distance: int
    gain: int


@dataclass(frozen=True)
class Run:
    """Parts [start, stop) as one loop of `rows` rows an execution, or one part as one call
    (`rows` = 0).

    base : bytes that are alive all the time, `lines` of them in line buffers beside the maps;
        beside : bytes that each part has beside these, in rows that it makes or reads and nobody
        needs afterwards; scratch comes on top
    calls : cycles of going through the parts piece by piece
    slide : the output that runs over an input, if one does
    made : the largest map that is there afterwards and was not before, and its bytes
    under : whether line buffers lie between that output and its input
    strips : in how many strips each iteration makes its rows
    """

    start: int
    stop: int
    rows: int
    base: int
    beside: tuple[int, ...]
    calls: float
    slide: Slide | None
    made: tuple[str, int]
    parts: tuple[Part, ...] = field(repr=False)
    under: bool = False
    strips: int = 1
    lines: int = 0

    @cached_property
    def least(self) -> int:
        """Bytes with the leanest kernels."""
        return self.base + max(map(add, self.beside, (p.ways[0].scratch for p in self.parts)))

    def chosen(self, limit: float) -> Iterator[tuple[int, Way | None]]:
        """(bytes beside scratch, fastest kernel) of each part within `limit` bytes."""
        for beside, part in zip(self.beside, self.parts, strict=True):
            at = self.base + beside
            yield at, part.within(limit - at)

    @cached_property
    def most(self) -> int:
        """Bytes with the fastest kernels."""
        pairs = zip(self.beside, self.parts, strict=True)
        return self.base + max(beside + p.ways[-1].scratch for beside, p in pairs)

    @cached_property
    def roomy(self) -> int:
        """Bytes with the fastest kernels where its output runs over nothing."""
        return self.most + (self.slide.gain if self.slide else 0)

    @cached_property
    def fastest(self) -> float:
        """Predicted cycles with the fastest kernels."""
        return self.calls + sum(p.ways[-1].cycles for p in self.parts)

    def cycles(self, limit: float) -> float:
        """Predicted, with the fastest kernels within `limit` bytes; infinite if there is none."""
        if self.most <= limit:
            return self.fastest
        return self.calls + sum(w.cycles if w else inf for _, w in self.chosen(limit))

    def nbytes(self, limit: float) -> int:
        """Bytes with those kernels."""
        return max(at + (w.scratch if w else 0) for at, w in self.chosen(limit))

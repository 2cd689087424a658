"""Which runs of neighbouring tasks stream together: a dynamic programme over the schedule.

One idea: cut the schedule into runs.  A run of one task is a plain call; a longer one is a loop
that keeps rows where whole maps were (`plan.group`), in exchange for a call for every row.  What
a run costs does not depend on how the rest is cut: its bytes are the maps that are alive around
it, the line buffers and the scratch inside, less what its outputs may run over dying inputs.

    fewest bytes    min over the cuts of the largest run
    fewest cycles   min over the cuts of the sum, of runs within a limit

Exact for the costs it is given; placement may need more where buffers do not fit together, so
the caller plans the result and asks again with a smaller limit.  After msf-CNN (fusion groups as
a path in a graph) and StreamNet (line buffers instead of recomputation).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

from lilliput.errors import PlanError
from lilliput.ir.region import AxisRule, Reduce, Whole, needs
from lilliput.plan.group import (
    Member,
    Slot,
    Timetable,
    behind,
    first_unfinished,
    stride,
    timetable,
)

LOOP_CYCLES: Final = 30.0
"""What a loop adds to a call: clamping its rows."""
DUE: Final = 6.0
"""Cycles of the test, in each iteration, whether a task is due."""
BLOCKS: Final = (1, 2, 4, 8)
"""Rows that each execution of a run may make at once: fewer calls, longer line buffers."""


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
class Part:
    """A task as it is cut.

    member : how it streams; None where it cannot
    cycles : of one call on everything; call : of each further call
    scratch : bytes that are dead between calls; carry : bytes that are not
    near : input -> the distance at which one call may write its output over it
    """

    member: Member | None
    cycles: float
    call: float
    scratch: int
    carry: int
    near: Mapping[str, int]


@dataclass(frozen=True)
class Run:
    """Parts [start, stop) as one loop of `rows` rows an execution, or one part as one call
    (`rows` = 0); `nbytes` of RAM while it runs."""

    start: int
    stop: int
    rows: int
    nbytes: int
    cycles: float


def partition(parts: Sequence[Part], maps: Mapping[str, Map], limit: float) -> tuple[Run, ...]:
    """The cheapest cut whose runs need `limit` bytes or less each; where there is none, the cut
    of the fewest bytes, and among those the cheapest.

    maps : every value of the arena by the name of its root
    """
    work = _Cutter(parts, maps)
    plain = [work.call(i) for i in range(len(parts))]
    if all(run.nbytes <= limit for run in plain):
        return tuple(plain)
    runs = [*plain, *work.loops(max(limit, max(p.nbytes for p in plain) - 1))]
    least = _smallest(runs, len(parts))
    found = _cheapest(runs, len(parts), max(limit, least))
    assert found is not None
    return found


def front(parts: Sequence[Part], maps: Mapping[str, Map]) -> list[tuple[Run, ...]]:
    """Every cut that nothing beats in both bytes and cycles, from the fastest to the smallest."""
    work = _Cutter(parts, maps)
    plain = [work.call(i) for i in range(len(parts))]
    runs = [*plain, *work.loops(max((p.nbytes for p in plain), default=0) - 1)]
    found: list[tuple[Run, ...]] = []
    limit = inf
    while (cut := _cheapest(runs, len(parts), limit)) is not None:
        found.append(cut)
        limit = max((r.nbytes for r in cut), default=0) - 1
    return found


def _smallest(runs: Sequence[Run], count: int) -> int:
    """The fewest bytes that any cut needs."""
    best: list[float] = [0, *[inf] * count]
    for run in sorted(runs, key=lambda r: r.stop):
        best[run.stop] = min(best[run.stop], max(best[run.start], run.nbytes))
    return int(best[count])


def _cheapest(runs: Sequence[Run], count: int, limit: float) -> tuple[Run, ...] | None:
    """The cut of the fewest cycles of runs within `limit`."""
    best: list[float] = [0.0, *[inf] * count]
    last: list[Run | None] = [None] * (count + 1)
    for run in sorted(runs, key=lambda r: (r.stop, r.start)):
        cycles = best[run.start] + run.cycles
        if run.nbytes <= limit and cycles < best[run.stop]:
            best[run.stop], last[run.stop] = cycles, run
    if best[count] == inf:
        return None
    cut: list[Run] = []
    while count:
        run = last[count]
        assert run is not None
        cut.append(run)
        count = run.start
    return tuple(reversed(cut))


@dataclass
class _Cutter:
    parts: Sequence[Part]
    maps: Mapping[str, Map]
    alive: list[int] = field(init=False)

    def __post_init__(self) -> None:
        """`alive[i]`: bytes of whole maps that hold something while part i runs."""
        self.alive = [0] * len(self.parts)
        for map in self.maps.values():
            for i in range(max(map.first, 0), min(map.last, len(self.parts) - 1) + 1):
                self.alive[i] += map.nbytes

    def call(self, i: int) -> Run:
        """Part i as one call."""
        part = self.parts[i]
        saved = self.saved([n for n, m in self.maps.items() if m.first == i], i, i + 1, part.near)
        nbytes = self.alive[i] - saved + part.scratch + part.carry
        return Run(i, i + 1, 0, nbytes, part.cycles)

    def saved(self, made: Sequence[str], start: int, stop: int, near: Mapping[str, int]) -> int:
        """Bytes that an output shares with an input that dies: the best pair."""
        best = 0
        for out in made:
            for inp, distance in near.items():
                if inp in self.maps and self.maps[inp].first < start <= self.maps[inp].last < stop:
                    a, b = self.maps[out].nbytes, self.maps[inp].nbytes
                    best = max(best, a + b - max(a, distance + b))
        return best

    def loops(self, limit: float) -> list[Run]:
        """Every run that streams and needs no more than `limit` bytes."""
        found: list[Run] = []
        for start in range(len(self.parts)):
            for block in BLOCKS:
                for stop in range(start + 1, len(self.parts) + 1):
                    if self.parts[stop - 1].member is None:
                        break
                    run, least = self.loop(start, stop, block)
                    if run is not None and run.nbytes <= limit:
                        found.append(run)
                    if least > limit:
                        break  # line buffers only grow
        return found

    def loop(self, start: int, stop: int, block: int) -> tuple[Run | None, int]:
        """(the run as one loop, None where it cannot be; bytes that every longer one needs)."""
        parts = self.parts[start:stop]
        members = [p.member.in_blocks(block) for p in parts if p.member is not None]
        touched = {m.writes for m in members} | {r.root for m in members for r in m.reads}
        inner = {
            n
            for n in touched
            if n in self.maps and self.maps[n].first >= start and self.maps[n].last < stop
        }
        kept = frozenset(touched - inner)
        try:
            table = timetable(members, kept)
        except PlanError:
            return None, 0
        lines = sum(table.rings.get(n, self.maps[n].rows) * self.maps[n].row for n in inner)
        scratch = max(p.scratch for p in parts) + sum(p.carry for p in parts)
        around = sum(
            m.nbytes
            for n, m in self.maps.items()
            if n not in inner and m.first < stop and m.last >= start
        )
        shared = self.overlapped(members, table, start, stop)
        calls = sum((s.count - 1) * p.call for s, p in zip(table.slots, parts, strict=True))
        cycles = sum(p.cycles for p in parts) + calls + table.iterations * len(parts) * DUE
        cycles += sum(s.count for s in table.slots) * LOOP_CYCLES
        run = Run(start, stop, block, around - shared + lines + scratch, cycles)
        return run, lines + scratch

    def overlapped(self, members: Sequence[Member], table: Timetable, start: int, stop: int) -> int:
        """Bytes that the outputs of a loop share with inputs that die in it, one with one."""
        lying = {n: m for n, m in self.maps.items() if not m.planar}
        made = [n for n, m in lying.items() if start <= m.first < stop <= m.last]
        dying = [n for n, m in lying.items() if m.first < start <= m.last < stop]
        total, taken = 0, set[str]()
        for out in made:
            best, which = 0, ""
            for inp in dying:
                distance = None if inp in taken else self.distance(members, table, out, inp)
                if distance is not None:
                    a, b = self.maps[out].nbytes, self.maps[inp].nbytes
                    gain = a + b - max(a, distance + b)
                    best, which = max((best, which), (gain, inp))
            taken.add(which)
            total += best
        return total

    def distance(
        self, members: Sequence[Member], table: Timetable, out: str, inp: str
    ) -> int | None:
        """As `overlap.distances`, of rows alone."""
        far = 0
        writers = [k for k, m in enumerate(members) if m.writes == out]
        readers = [(k, r.rule) for k, m in enumerate(members) for r in m.reads if r.root == inp]
        for w in writers:
            for r, rule in readers:
                if isinstance(rule, Whole):
                    return None
                far = max(far, self._distance(members, table, (w, out), (r, inp, rule)))
        return far

    def _distance(
        self,
        members: Sequence[Member],
        table: Timetable,
        write: tuple[int, str],
        read: tuple[int, str, AxisRule],
    ) -> int:
        (w, out), (r, inp, rule) = write, read
        writer, reader = table.slots[w], table.slots[r]
        target, source = self.maps[out], self.maps[inp]
        whole = any(isinstance(x.rule, Reduce) for x in members[w].reads)
        far = 0
        for k in (
            (writer.count - 1,) if whole else _corners(writer, reader, rule, members[r].quantum)
        ):
            later = first_unfinished(writer, reader, k, w - r)
            if later < reader.count:
                q = members[r].quantum
                first = needs(rule, (later * q, later * q + 1), source.rows)[0]
                y1 = target.rows if whole else min((k + 1) * members[w].quantum, target.rows)
                far = max(far, y1 * target.row - first * source.row)
        return far


def _corners(writer: Slot, reader: Slot, rule: AxisRule, quantum: int) -> Iterator[int]:
    """Executions of the writer at which its lead over the reader can be largest: it changes evenly
    but where it begins, where the reader's windows leave the padding, and where either ends."""
    ahead = behind(rule) / max(float(stride(rule)) * quantum, 1e-9)
    knee = (ahead * reader.period + reader.phase - writer.phase) / writer.period
    end = (reader.period * (reader.count - 1) + reader.phase - writer.phase) / writer.period
    for middle in (0, int(knee), int(end), writer.count - 1):
        yield from (k for k in range(middle - 2, middle + 4) if 0 <= k < writer.count)

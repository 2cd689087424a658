"""Which runs of neighbouring tasks stream together: a dynamic programme over the schedule.

One idea: cut the schedule into runs.  A run of one task is a plain call; others are loops that
keep rows where whole maps were (`plan.group`), in exchange for a call for every few rows.  What
a run costs does not depend on how the rest is cut: its bytes are the maps that are alive around
it, the line buffers and the scratch inside, less what its outputs may run over dying inputs.
Scratch that is affordable decides which kernels a run can have.

    fewest bytes    min over the cuts of the largest run
    fewest cycles   min over the cuts of the sum, of runs within a limit

Exact for the costs it is given; placement may need more where buffers do not fit together, so
the caller plans the result and asks again with a smaller limit.  After msf-CNN (fusion groups as
a path through a graph), StreamNet (line buffers instead of recomputation) and vMCU (outputs that
run over inputs).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import inf, log
from typing import Final

from lilliput.errors import PlanError
from lilliput.ir.region import AxisRule, Reduce, Whole, needs
from lilliput.plan.group import (
    Member,
    Rhythm,
    Slot,
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
"""Rows that each execution of a loop may make at once: fewer calls, longer line buffers."""
STEP: Final = 0.98
"""Neighbours on a front differ by two percent of the bytes, at least."""
EXCHANGE: Final = 0.2
"""What a percent of cycles is worth in percents of RAM, where the least RAM is asked for: a kernel
that is five times as fast is not given up for a few bytes of scratch."""


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
    """

    member: Member | None
    ways: tuple[Way, ...]
    call: float
    carry: int
    near: Mapping[str, int]

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
class Run:
    """Parts [start, stop) as one loop of `rows` rows an execution, or one part as one call
    (`rows` = 0).

    base : bytes that are alive all the time; beside : bytes that each part has beside these, in
        rows that it makes or reads and nobody needs afterwards; scratch comes on top
    calls : cycles of going through the parts piece by piece
    """

    start: int
    stop: int
    rows: int
    base: int
    beside: tuple[int, ...]
    calls: float
    parts: tuple[Part, ...] = field(repr=False)

    @cached_property
    def least(self) -> int:
        """Bytes with the leanest kernels."""
        pairs = zip(self.beside, self.parts, strict=True)
        return self.base + max(beside + p.ways[0].scratch for beside, p in pairs)

    def chosen(self, limit: float) -> Iterator[tuple[int, Way | None]]:
        """(bytes beside scratch, fastest kernel) of each part within `limit` bytes."""
        for beside, part in zip(self.beside, self.parts, strict=True):
            at = self.base + beside
            yield at, part.within(limit - at)

    def cycles(self, limit: float) -> float:
        """Predicted, with the fastest kernels within `limit` bytes; infinite if there is none."""
        return self.calls + sum(w.cycles if w else inf for _, w in self.chosen(limit))

    def nbytes(self, limit: float) -> int:
        """Bytes with those kernels."""
        return max(at + (w.scratch if w else 0) for at, w in self.chosen(limit))


@dataclass(frozen=True)
class Cut:
    """A way to cut a schedule: its runs, what the largest needs, what all cost, and the limit
    that it was made for."""

    runs: tuple[Run, ...]
    nbytes: int
    cycles: float
    limit: float

    def scratch(self, index: int) -> float:
        """Bytes of scratch that part `index` can have."""
        run = next(r for r in self.runs if r.start <= index < r.stop)
        return self.limit - run.base - run.beside[index - run.start]


def worth(nbytes: float, cycles: float) -> float:
    """What is as small as possible where RAM is asked for; no unit."""
    return log(max(nbytes, 1)) + EXCHANGE * log(max(cycles, 1))


def partition(parts: Sequence[Part], maps: Mapping[str, Map], limit: float | None) -> Cut:
    """The cheapest cut whose runs need `limit` bytes or less each; where there is none, the cut
    of the fewest bytes, and among those the cheapest.  Without a limit the cut of the front that
    is smallest for what it costs (`worth`).

    maps : every value of the arena by the name of its root
    """
    if limit is not None:
        return _Cutter(parts, maps).cut(limit)
    return min(front(parts, maps), key=lambda cut: worth(cut.nbytes, cut.cycles))


def front(parts: Sequence[Part], maps: Mapping[str, Map]) -> list[Cut]:
    """Cuts that nothing beats in both bytes and cycles, from the fastest to the smallest."""
    cutter = _Cutter(parts, maps)
    least = cutter.cut(0).nbytes
    found = [cutter.cut(inf)]
    while (nbytes := found[-1].nbytes) > least:
        found.append(cutter.cut(max(least, min(nbytes - 1, nbytes * STEP))))
    return found


class _Cutter:
    """`alive[i]`: bytes of maps that hold something before part i and still in it; `made[i]`: the
    maps that part i is the first to write."""

    def __init__(self, parts: Sequence[Part], maps: Mapping[str, Map]):
        self.parts, self.maps = parts, maps
        self.alive = [0] * len(parts)
        self.made: list[list[str]] = [[] for _ in parts]
        for name, map in maps.items():
            for i in range(max(map.first + 1, 0), min(map.last, len(parts) - 1) + 1):
                self.alive[i] += map.nbytes
            if map.first >= 0:
                self.made[map.first].append(name)
        self.plain = [self._call(i) for i in range(len(parts))]
        self.refused: set[tuple[int, int, int]] = set()

    def cut(self, limit: float) -> Cut:
        """As `partition`."""
        if all(run.least <= limit for run in self.plain):
            return self._cheapest(self.plain, limit)
        lean = self._smallest([*self.plain, *self.loops[1]])
        every = [r for block in BLOCKS for r in self.loops[block]]
        least = self._smallest([*self.plain, *(r for r in every if r.least <= lean)])
        found = max(limit, least)
        runs = [r for r in (*self.plain, *every) if r.least <= found]
        while True:
            cut = self._cheapest([r for r in runs if _key(r) not in self.refused], found)
            wrong = [r for r in cut.runs if r.rows and not _streams(r)]
            if not wrong:
                return cut
            self.refused |= {_key(r) for r in wrong}
            found = max(limit, self._smallest([r for r in runs if _key(r) not in self.refused]))

    @cached_property
    def loops(self) -> dict[int, list[Run]]:
        """Rows an execution -> every run that streams, and needs no more than plain calls do."""
        limit = max((r.least for r in self.plain), default=0)
        return {block: list(self._loops(block, limit)) for block in BLOCKS}

    # programmes

    def _smallest(self, runs: Sequence[Run]) -> int:
        """The fewest bytes that any cut needs."""
        best: list[float] = [0, *[inf] * len(self.parts)]
        for run in sorted(runs, key=lambda r: r.stop):
            if _key(run) not in self.refused:
                best[run.stop] = min(best[run.stop], max(best[run.start], run.least))
        return int(best[-1])

    def _cheapest(self, runs: Sequence[Run], limit: float) -> Cut:
        """The cut of the fewest cycles, of runs within `limit`, which there is."""
        best: list[float] = [0.0, *[inf] * len(self.parts)]
        last: list[Run | None] = [None] * (len(self.parts) + 1)
        for run in sorted(runs, key=lambda r: (r.stop, r.start, r.rows)):
            cycles = best[run.start] + run.cycles(limit)
            if cycles < best[run.stop]:
                best[run.stop], last[run.stop] = cycles, run
        cut: list[Run] = []
        at = len(self.parts)
        while at:
            run = last[at]
            assert run is not None
            cut.append(run)
            at = run.start
        nbytes = max((r.nbytes(limit) for r in cut), default=0)
        return Cut(tuple(reversed(cut)), nbytes, best[-1], max(limit, nbytes))

    # runs

    def _call(self, i: int) -> Run:
        """Part i as one call."""
        part = self.parts[i]
        made = sum(self.maps[n].nbytes for n in self.made[i])
        saved = 0
        for out in self.made[i]:
            for inp, distance in part.near.items():
                if inp in self.maps and self.maps[inp].first < i == self.maps[inp].last:
                    saved = max(saved, self.gain(out, inp, distance))
        return Run(i, i + 1, 0, self.alive[i] + made - saved + part.carry, (0,), 0.0, (part,))

    def gain(self, out: str, inp: str, distance: int) -> int:
        """Bytes that an output shares with an input which begins `distance` behind it."""
        a, b = self.maps[out].nbytes, self.maps[inp].nbytes
        return a + b - max(a, distance + b)

    def _loops(self, block: int, limit: int) -> Iterator[Run]:
        for start in range(len(self.parts)):
            loop = _Loop(self, start, block)
            for part in self.parts[start:]:
                if not loop.extend(part) or loop.lines() > limit:
                    break  # line buffers only grow
                run = loop.run()
                if run.least <= limit:
                    yield run


class _Loop:
    """Parts from `start` on as one loop that grows by one part after the other."""

    def __init__(self, cutter: _Cutter, start: int, block: int):
        self.cutter, self.maps = cutter, cutter.maps
        self.start, self.block = start, block
        self.parts: list[Part] = []
        self.rhythm = Rhythm()
        self.made: list[str] = []
        self.carry = 0

    @property
    def stop(self) -> int:
        return self.start + len(self.parts)

    def extend(self, part: Part) -> bool:
        """Whether the next part can stream with those before it."""
        if part.member is None:
            return False
        try:
            self.rhythm.add(part.member.in_blocks(self.block))
        except PlanError:
            return False
        self.made += self.cutter.made[self.stop]
        self.parts.append(part)
        self.carry += part.carry
        return True

    def lines(self) -> int:
        """Bytes that this loop and every longer one needs for line buffers."""
        rings = self.rhythm.rings
        return sum(min(rings.get(n, 1), self.maps[n].rows) * self.maps[n].row for n in self.made)

    def run(self) -> Run:
        rings, stop, rhythm = self.rhythm.rings, self.stop, self.rhythm
        held = 0
        beside = [0] * len(self.parts)
        for name in self.made:
            map = self.maps[name]
            nbytes = map.row * (rings.get(name, map.rows) if map.last < stop else map.rows)
            if map.last < stop and rhythm.passes(name):
                for i in range(rhythm.makers[name][0], rhythm.readers[name][-1] + 1):
                    beside[i] += nbytes
            else:
                held += nbytes
        slots = rhythm.slots()
        base = self.cutter.alive[self.start] + held - self._shared(slots) + self.carry
        calls = sum((s.count - 1) * p.call for s, p in zip(slots, self.parts, strict=True))
        calls += rhythm.iterations(slots) * len(self.parts) * DUE
        calls += sum(s.count for s in slots) * LOOP_CYCLES
        return Run(self.start, stop, self.block, base, tuple(beside), calls, tuple(self.parts))

    def _shared(self, slots: Sequence[Slot]) -> int:
        """Bytes that outputs share with inputs that die in the loop, one with one."""
        made = [n for n in self.made if self.maps[n].last >= self.stop and not self.maps[n].planar]
        dying = [
            n
            for n in self.rhythm.outside
            if n in self.maps and self.maps[n].last < self.stop and not self.maps[n].planar
        ]
        total, taken = 0, set[str]()
        for out in made:
            best, which = 0, ""
            for inp in dying:
                distance = None if inp in taken else self._distance(slots, out, inp)
                if distance is not None:
                    best, which = max((best, which), (self.cutter.gain(out, inp, distance), inp))
            taken.add(which)
            total += best
        return total

    def _distance(self, slots: Sequence[Slot], out: str, inp: str) -> int | None:
        """As `overlap.distances`, of rows alone."""
        members = self.rhythm.members
        far = 0
        for w, writer in enumerate(members):
            if writer.writes != out:
                continue
            for r, reader in enumerate(members):
                for rule in (x.rule for x in reader.reads if x.root == inp):
                    if isinstance(rule, Whole):
                        return None
                    far = max(far, self._lead(slots, (w, out), (r, inp), rule))
        return far

    def _lead(
        self, slots: Sequence[Slot], write: tuple[int, str], read: tuple[int, str], rule: AxisRule
    ) -> int:
        """Bytes by which what is written may be ahead of what is still to be read."""
        (w, out), (r, inp) = write, read
        writer, reader = slots[w], slots[r]
        members, target, source = self.rhythm.members, self.maps[out], self.maps[inp]
        rows = members[r].quantum
        whole = any(isinstance(x.rule, Reduce) for x in members[w].reads)
        far = 0
        for k in (writer.count - 1,) if whole else _corners(writer, reader, rule, rows):
            later = first_unfinished(writer, reader, k, w - r)
            if later < reader.count:
                first = needs(rule, (later * rows, later * rows + 1), source.rows)[0]
                end = target.rows if whole else min((k + 1) * members[w].quantum, target.rows)
                far = max(far, end * target.row - first * source.row)
        return far


def _key(run: Run) -> tuple[int, int, int]:
    return run.start, run.stop, run.rows


def _streams(run: Run) -> bool:
    """Whether the exact timetable takes a loop: parts that nothing connects are guessed at."""
    try:
        timetable([p.member.in_blocks(run.rows) for p in run.parts if p.member], frozenset())
    except PlanError:
        return False
    return True


def _corners(writer: Slot, reader: Slot, rule: AxisRule, rows: int) -> Iterator[int]:
    """Executions of the writer at which its lead over the reader can be largest: it changes evenly
    but where it begins, where the reader's windows leave the padding, and where either ends."""
    ahead = behind(rule) / max(float(stride(rule)) * rows, 1e-9)
    knee = (ahead * reader.period + reader.phase - writer.phase) / writer.period
    end = (reader.period * (reader.count - 1) + reader.phase - writer.phase) / writer.period
    for middle in (0, int(knee), int(end), writer.count - 1):
        yield from (k for k in range(middle - 2, middle + 4) if 0 <= k < writer.count)

"""Runs: neighbouring tasks as one loop, or one task as one call, and what each costs.

One idea: what a run costs does not depend on the runs around it.  Its bytes are the maps that are
alive when it begins, the maps that it leaves, its line buffers and its scratch, less what an
output may run over an input that dies in it; its cycles are those of the kernels that so much
scratch allows, and of calling them piece by piece.  `partition` chooses among runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from math import inf
from operator import add
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
    unmade,
)
from lilliput.plan.strips import STRIPS, Flow, chases, in_strips
from lilliput.plan.under import PARTS, Under

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


class Schedule:
    """The parts of an entry in order, and every run of them that is worth looking at.

    maps : every value of the arena by the name of its root
    alive[i] : bytes of maps that hold something before part i and still in it
    made[i] : the maps that part i is the first to write
    facts[i] : the number of what loops depend on of part i; None where it does not stream
    loops : what is known of loops, of other schedules of the same maps, too
    strips : whether loops are looked at that make their rows strip by strip
    """

    def __init__(
        self,
        parts: Sequence[Part],
        maps: Mapping[str, Map],
        loops: Loops | None = None,
        *,
        strips: bool = False,
    ):
        self.parts, self.maps, self.strips = tuple(parts), maps, strips
        self.alive = [0] * len(parts)
        self.made: list[list[str]] = [[] for _ in parts]
        for name, map in maps.items():
            for i in range(max(map.first + 1, 0), min(map.last, len(parts) - 1) + 1):
                self.alive[i] += map.nbytes
            if map.first >= 0:
                self.made[map.first].append(name)
        self.plain = [self.call(i) for i in range(len(parts))]
        self.loops = loops or Loops()

    @cached_property
    def facts(self) -> list[int | None]:
        facts = (self._fact(i) for i in range(len(self.parts)))
        return [self.loops.number(fact) if fact else None for fact in facts]

    def _fact(self, i: int) -> _Fact | None:
        part = self.parts[i]
        if part.member is None:
            return None

        def facts(names: Iterable[str]) -> Iterator[tuple[str, int, int, int, bool]]:
            found = ((n, self.maps[n]) for n in names if n in self.maps)
            yield from ((n, m.rows, m.row, m.last - i, m.planar) for n, m in found)

        read = tuple(facts(read.root for read in part.member.reads))
        made = tuple(facts(self.made[i]))
        return _Fact(part.member, part.call, part.carry, made, read, part.flow)

    def runs(self, enough: int | None = None) -> list[Run]:
        """Plain calls, and every loop that needs less than those do which it stands for, in order.

        enough : bytes that no cut has to need less than: where calls need no more with the fastest
            kernels, whatever their outputs run over, no loop is better.  By default what the first
            run of a cut needs at the least
        """
        enough = self.enough if enough is None else enough
        loops = list(self._loops(1, None, enough))
        places = {(r.start, r.stop) for r in loops}
        for block in BLOCKS[1:]:
            loops += self._loops(block, places, enough)
        return sorted([*self.plain, *loops], key=lambda r: (r.stop, r.start, r.rows))

    @cached_property
    def enough(self) -> int:
        """Bytes that the first run of a cut needs at the least."""
        first = [*self.plain[:1], *self._grow(0, 1, lower=0)]
        return min((r.least for r in first), default=0)

    def needs(self) -> list[int]:
        """For each part the fewest bytes of any run that it is in, of a row an execution: hardly
        any cut does with less there, where that is more than `enough`."""
        least = [run.least for run in self.plain]
        for run in self._loops(1, None, self.enough):
            for i in range(run.start, run.stop):
                least[i] = min(least[i], run.least)
        return least

    def call(self, i: int) -> Run:
        """Part i as one call."""
        part = self.parts[i]
        made = sum(self.maps[n].nbytes for n in self.made[i])
        pairs = [
            Slide(out, inp, distance, self.gain(out, inp, distance))
            for out in self.made[i]
            for inp, distance in part.near.items()
            if inp in self.maps and self.maps[inp].first < i == self.maps[inp].last
        ]
        slide = max(pairs, key=lambda p: p.gain, default=None)
        base = self.alive[i] + made + part.carry - (slide.gain if slide else 0)
        return Run(i, i + 1, 0, base, (0,), 0.0, slide, self.left(i, i + 1), (part,))

    def left(self, start: int, stop: int) -> tuple[str, int]:
        """The largest map that parts [start, stop) make for others, and its bytes."""
        made = ((n, self.maps[n]) for i in range(start, stop) for n in self.made[i])
        lasting = [(m.nbytes, n) for n, m in made if m.last >= stop]
        nbytes, name = max(lasting, default=(0, ""))
        return name, nbytes

    def gain(self, out: str, inp: str, distance: int) -> int:
        """Bytes that an output shares with an input which begins `distance` behind it."""
        a, b = self.maps[out].nbytes, self.maps[inp].nbytes
        return a + b - max(a, distance + b)

    def lean(self) -> list[Run]:
        """As `runs`, for the fewest bytes alone: loops of one row an execution, and of these none
        in place of calls that need no more than some run of any cut does.

        Every cut begins with one of the runs from the first part on."""
        found = [*self.plain[:1], *self._grow(0, 1, lower=0)]
        floor = min((r.least for r in found), default=0)
        found += self.plain[1:]
        hard = [i for i, run in enumerate(self.plain) if run.least > floor]
        for start in range(1, max(hard, default=-1) + 1):
            found += self._grow(start, 1, floor, lower=floor)
        return sorted(found, key=lambda r: (r.stop, r.start, r.rows))

    def _loops(self, block: int, places: Set[tuple[int, int]] | None, enough: int) -> Iterator[Run]:
        """Loops of `block` rows an execution, at some places or everywhere; no line buffers under
        an input where `enough` bytes are not needed anyway."""
        if places is None:
            hard = [i for i, run in enumerate(self.plain) if run.roomy > enough]
            for start in range(max(hard, default=-1) + 1):
                yield from self._grow(start, block, lower=enough, enough=enough)
            return
        ends: dict[int, set[int]] = {}
        for start, stop in places:
            ends.setdefault(start, set()).add(stop)
        for start in sorted(ends):
            yield from self._grow(start, block, stops=ends[start], lower=enough)

    def _grow(
        self,
        start: int,
        block: int,
        floor: int = 0,
        stops: Set[int] | None = None,
        lower: float = inf,
        enough: int = 0,
    ) -> Iterator[Run]:
        """Loops from one part on that need less than the calls which they stand for.

        floor : bytes that those calls need more than; stops : where such loops end, where that is
        not anywhere; lower : where they need more, loops with line buffers under an input, too;
        enough : bytes that those calls need more than with the fastest kernels
        """
        loop, plain, roomy = _Loop(self, start, block), 0, 0
        while loop.stop < (max(stops) if stops else len(self.parts)) and loop.extend():
            lines = loop.known.lines
            if lines > self.limit:
                break  # line buffers only grow
            plain = max(plain, self.plain[loop.stop - 1].least)
            roomy = max(roomy, self.plain[loop.stop - 1].roomy)
            wanted = roomy > enough and (stops is None or loop.stop in stops)
            if wanted and max(lines, floor) < plain:
                yield from (run for run in loop.runs(lower) if run.least < plain)

    @cached_property
    def limit(self) -> int:
        """Bytes that calls alone need."""
        return max((r.least for r in self.plain), default=0)


@dataclass(frozen=True)
class _Fact:
    """All that a loop's shape depends on of one of its parts, wherever it stands in a schedule.

    made, read : (name, rows, bytes of one, parts until it is read for the last time, planar) of
        the maps that it is the first to write, and of those that it reads
    """

    member: Member
    call: float
    carry: int
    made: tuple[tuple[str, int, int, int, bool], ...]
    read: tuple[tuple[str, int, int, int, bool], ...]
    flow: Flow | None


@dataclass(frozen=True)
class _Shape:
    """A `Run` but for its place and its kernels; `base` without what is alive before it."""

    base: int
    beside: tuple[int, ...]
    calls: float
    slide: Slide | None
    made: tuple[str, int]
    under: bool = False
    strips: int = 1
    lines: int = 0


@dataclass(eq=False)
class Grown:
    """What is known of a loop: bytes of its line buffers, its shape once somebody wanted that, with
    line buffers apart, under an input and by strips (empty where that gains nothing), and the loops
    of one more part, by rows an execution and what they depend on of it; None where that does not
    stream.
    """

    lines: int = 0
    shape: _Shape | None = None
    lower: tuple[_Shape, ...] | None = None
    strips: tuple[_Shape, ...] | None = None
    further: dict[tuple[int, int], Grown | None] = field(
        default_factory=dict[tuple[int, int], "Grown | None"]
    )


@dataclass(eq=False)
class Loops:
    """What is known of the loops of schedules that share it: where other kernels were chosen for a
    few parts, most loops are what they were.

    numbers : of facts, equal ones have the same; empty : what all loops grow from
    """

    numbers: dict[_Fact, int] = field(default_factory=dict[_Fact, int])
    empty: Grown = field(default_factory=Grown)

    def number(self, fact: _Fact) -> int:
        return self.numbers.setdefault(fact, len(self.numbers))


class _Loop:
    """Parts from `start` on as one loop that grows by one part after the other.

    stop : after its last part; known : what is known of it
    passing : maps made and read inside -> whether their rows pass through
    held : bytes of what nobody reads afterwards, alive all the time; resting : bytes of line
        buffers in rows that are, too; beside : bytes of each part beside these
    """

    def __init__(self, schedule: Schedule, start: int, block: int):
        self.schedule, self.maps = schedule, schedule.maps
        self.start, self.block, self.stop = start, block, start
        self.known = schedule.loops.empty
        self.rhythm = Rhythm()
        self.made: list[str] = []
        self.passing: dict[str, bool] = {}
        self.held = self.resting = 0
        self.beside: list[int] = []

    def extend(self) -> bool:
        """Whether the next part can stream with those before it."""
        fact = self.schedule.facts[self.stop]
        if fact is None:
            return False
        key = self.block, fact
        if key not in self.known.further:
            self._catch_up()
            self.known.further[key] = Grown(self._lines()) if self._add(self.stop) else None
        grown = self.known.further[key]
        if grown is None:
            return False
        self.known = grown
        self.stop += 1
        return True

    def _catch_up(self) -> None:
        """Adds the parts that were known about."""
        for i in range(self.start + len(self.rhythm.members), self.stop):
            self._add(i)

    def _add(self, i: int) -> bool:
        member = self.schedule.parts[i].member
        assert member is not None
        try:
            self.rhythm.add(member.in_blocks(self.block))
        except PlanError:
            return False
        self.made += self.schedule.made[i]
        for root in {member.writes, *(read.root for read in member.reads)}:
            self.passing[root] = self.rhythm.passes(root)
        self.beside.append(0)
        for name in self.made:
            if self.maps[name].last == i:
                self._close(name)
        return True

    def _close(self, name: str) -> None:
        """Counts a map that was made inside and of which all readers are known."""
        map, rings, rhythm, beside = self.maps[name], self.rhythm.rings, self.rhythm, self.beside
        if name not in rings:
            self.held += map.nbytes
        elif not map.planar:
            kept = rhythm.kept[name]
            rest = kept.rest
            self.resting += rest * map.row
            for first, end, rows in kept.pieces():
                for i in range(first, end) if rows != rest else ():
                    beside[i] += (rows - rest) * map.row
        elif self.passing[name]:
            for i in range(rhythm.makers[name][0], rhythm.readers[name][-1] + 1):
                beside[i] += rings[name] * map.row
        else:
            self.held += rings[name] * map.row

    def _lines(self) -> int:
        """Bytes that this loop and every longer one needs for line buffers."""
        rings, kept = self.rhythm.rings, self.rhythm.kept
        mine = [n for n in self.made if n in rings and not self.passing[n]]
        planar = sum(rings[n] * self.maps[n].row for n in mine if self.maps[n].planar)
        rows = (n for n in mine if not self.maps[n].planar)
        return planar + sum(kept[n].least * self.maps[n].row for n in rows)

    def runs(self, lower: float) -> Iterator[Run]:
        """The loop with its line buffers apart, and where that needs more than `lower` bytes with
        these under an input, if that is less."""
        if self.known.shape is None:
            self._catch_up()
            self.known.shape = self._shape()
        plain = self._run(self.known.shape)
        yield plain
        if plain.least <= lower:
            return
        if self.known.lower is None:
            self._catch_up()
            self.known.lower = tuple(self._lower(self.known.shape))
        found = self.known.lower
        if self.schedule.strips:
            if self.known.strips is None:
                self._catch_up()
                shapes = (s for n in STRIPS for s in self._strips(self.known.shape, n))
                self.known.strips = tuple(shapes)
            found += self.known.strips
        yield from (r for r in map(self._run, found) if r.least < plain.least)

    def _run(self, shape: _Shape) -> Run:
        parts, slide = self.schedule.parts[self.start : self.stop], shape.slide
        base = self.schedule.alive[self.start] + shape.base
        if shape.under and slide is not None:
            scratch = (p.ways[0].scratch for p in parts)
            lines = max(map(add, shape.beside, scratch))
            slide = replace(slide, distance=slide.distance + lines)
        return Run(
            self.start,
            self.stop,
            self.block,
            base,
            shape.beside,
            shape.calls,
            slide,
            shape.made,
            parts,
            shape.under,
            shape.strips,
            shape.lines,
        )

    def _shape(self) -> _Shape:
        stop, rhythm, resting = self.stop, self.rhythm, self.resting
        parts = self.schedule.parts[self.start : stop]
        held, beside = self.held, self.beside
        held += sum([m.nbytes for m in map(self.maps.get, self.made) if m and m.last >= stop])
        slots = rhythm.slots()
        slides = self._slides(slots)
        lines = resting - min(self._tail(slots, slides), resting)
        gain = sum(slide.gain for slide in slides)
        calls = sum((s.count - 1) * p.call for s, p in zip(slots, parts, strict=True))
        calls += rhythm.iterations(slots) * len(parts) * DUE
        calls += sum(s.count for s in slots) * LOOP_CYCLES
        most = max(slides, key=lambda slide: slide.gain, default=None)
        left = self.schedule.left(self.start, stop)
        carry = sum(p.carry for p in parts)
        base = held + lines - gain + carry
        return _Shape(base, tuple(beside), calls, most, left, lines=lines)

    def _inside(self) -> list[str]:
        """Maps of which the loop keeps rows alone; none where one of them is in planes."""
        rings = self.rhythm.rings
        mine = [n for n in self.made if n in rings and self.maps[n].last < self.stop]
        return [] if any(self.maps[n].planar for n in mine) else mine

    def _strips(self, whole: _Shape, strips: int) -> Iterator[_Shape]:
        """The loop with its rows made strip by strip: what is new follows what dies, as near as it
        can; where rows are kept, that moves all of them, so that each wants so much room."""
        mine, rhythm = self._inside(), self.rhythm
        parts = self.schedule.parts[self.start : self.stop]
        flows = tuple(p.flow for p in parts if p.flow is not None)
        if self.block > 1 or not mine or len(flows) < len(parts) or not in_strips(flows, strips):
            return
        near = {c.new: c.lead for c in chases(flows, strips) if c.new == c.old}
        sizes: list[int] = []
        for name in mine:
            kept, row = rhythm.kept[name], self.maps[name].row
            lead, stay = near.get(name, row), kept.most - kept.made
            sizes.append(min(kept.most * row, stay * (row + lead)) if stay else min(lead, row))
        resting = sum(rhythm.kept[n].rest * self.maps[n].row for n in mine)
        beside = tuple(
            sum(sizes) - resting if flow.looks else nbytes
            for flow, nbytes in zip(flows, whole.beside, strict=True)
        )
        slots, due = rhythm.slots(), [i for i, flow in enumerate(flows) if flow.looks]
        more = sum(slots[i].count * (parts[i].call + LOOP_CYCLES) for i in due)
        more += rhythm.iterations(slots) * len(due) * DUE
        calls = whole.calls + (strips - 1) * more
        slides = self._slides(slots, turns=True)
        lost = sum(slide.gain for slide in self._slides(slots)) - sum(x.gain for x in slides)
        slide = max(slides, key=lambda slide: slide.gain, default=None)
        base = whole.base + lost
        shape = replace(whole, base=base, beside=beside, calls=calls, slide=slide, strips=strips)
        yield shape
        yield from self._lower(shape, sizes)

    def _lower(self, apart: _Shape, strips: Sequence[int] | None = None) -> Iterator[_Shape]:
        """The loop with its line buffers between an output and the input that it runs over; where
        all are in rows, and fewer bytes than that input.

        strips : bytes of each line buffer while rows are made strip by strip
        """
        slide, rhythm, mine = apart.slide, self.rhythm, self._inside()
        if slide is None or not mine or self.stop - self.start > PARTS:
            return
        kept = [(rhythm.kept[n], self.maps[n].row) for n in mine]
        resting = sum(k.rest * row for k, row in kept)
        out, inp = self.maps[slide.out], self.maps[slide.inp]
        if resting > inp.nbytes:
            return
        slots, members = rhythm.slots(), list(enumerate(rhythm.members))
        writers = [
            (j, 0 if any(isinstance(x.rule, Reduce) for x in m.reads) else m.quantum)
            for j, m in members
            if m.writes == slide.out
        ]
        readers = [
            (j, _tops(x.rule, m.quantum, slots[j].count, inp.rows))
            for j, m in members
            for x in m.reads
            if x.root == slide.inp
        ]
        maps = out.nbytes + inp.nbytes - slide.gain
        ends = (out.rows, out.row), writers, (inp.rows, inp.row), readers
        under = Under(slots, kept, *ends, strips)
        beside = tuple(max(nbytes - maps, 0) for nbytes in under.most())
        yield replace(apart, base=apart.base - apart.lines, beside=beside, under=True, lines=0)

    def _tail(self, slots: Sequence[Slot], slides: Sequence[Slide]) -> int:
        """Bytes of the largest output in rows, of those that run over nothing, that are still to be
        made when the first part is done."""
        members, slid = self.rhythm.members, {slide.out for slide in slides}
        found = 0
        for w, member in enumerate(members):
            map = self.maps.get(member.writes)
            if map is None or map.planar or map.last < self.stop or member.writes in slid:
                continue
            if not any(isinstance(x.rule, Reduce) for x in member.reads):
                rows = unmade(slots[0], slots[w], member.quantum, map.rows)
                found = max(found, rows * map.row)
        return found

    def _slides(self, slots: Sequence[Slot], *, turns: bool = False) -> list[Slide]:
        """Outputs that run over inputs which die in the loop, one over one.

        turns : its parts make their rows strip by strip, one after the other
        """
        made = [n for n in self.made if self.maps[n].last >= self.stop and not self.maps[n].planar]
        dying = [
            n
            for n in sorted(self.rhythm.outside)
            if n in self.maps and self.maps[n].last < self.stop and not self.maps[n].planar
        ]
        found: list[Slide] = []
        for out in made:
            free = [n for n in dying if n not in {slide.inp for slide in found}]
            far = [(n, self._distance(slots, out, n, turns)) for n in free]
            pairs = [
                Slide(out, n, d, self.schedule.gain(out, n, d)) for n, d in far if d is not None
            ]
            best = max(pairs, key=lambda pair: pair.gain, default=None)
            found += [best] if best and best.gain > 0 else []
        return found

    def _distance(self, slots: Sequence[Slot], out: str, inp: str, turns: bool) -> int | None:
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
                    order = -1 if turns else w - r
                    far = max(far, self._lead(slots, (w, out), (r, inp), rule, order))
        return far

    def _lead(
        self,
        slots: Sequence[Slot],
        write: tuple[int, str],
        read: tuple[int, str],
        rule: AxisRule,
        order: int,
    ) -> int:
        """Bytes by which what is written may be ahead of what is still to be read; `order` as of
        `first_unfinished`."""
        (w, out), (r, inp) = write, read
        members, target, source = self.rhythm.members, self.maps[out], self.maps[inp]
        whole = any(isinstance(x.rule, Reduce) for x in members[w].reads)
        made, taken = 0 if whole else members[w].quantum, members[r].quantum
        ends = (target.rows, target.row), (source.rows, source.row)
        return _lead((slots[w], made), (slots[r], taken), order, *ends, rule)


@lru_cache(maxsize=1 << 14)
def _lead(
    write: tuple[Slot, int],
    read: tuple[Slot, int],
    order: int,
    out: tuple[int, int],
    inp: tuple[int, int],
    rule: AxisRule,
) -> int:
    """Bytes by which what is written may be ahead of what is still to be read.

    write, read : when, and rows an execution; no rows are written: all at the end
    order : as in `first_unfinished`; out, inp : rows, and bytes of one
    """
    (writer, made), (reader, taken) = write, read
    far = 0
    for k in _corners(writer, reader, rule, taken) if made else (writer.count - 1,):
        later = first_unfinished(writer, reader, k, order)
        if later < reader.count:
            first = needs(rule, (later * taken, later * taken + 1), inp[0])[0]
            end = min((k + 1) * made, out[0]) if made else out[0]
            far = max(far, end * out[1] - first * inp[1])
    return far


@lru_cache(maxsize=1024)
def _tops(rule: AxisRule, quantum: int, count: int, rows: int) -> tuple[int, ...]:
    """The first row that each execution reads."""
    return tuple(needs(rule, (k * quantum, (k + 1) * quantum), rows)[0] for k in range(count))


def streams(run: Run) -> bool:
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

"""Loops: neighbouring parts that are executed together, a few rows at a time, and what they cost.

One idea: what a loop costs depends on what its parts are, not on where they stand, so that it is
worked out once for all schedules that have the same parts beside each other; and a loop is a
shorter one and a part, so that all of them are one tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from operator import add

from lilliput.errors import PlanError
from lilliput.ir.region import AxisRule, Reduce, Whole
from lilliput.plan.alive import Line, Readers, alive
from lilliput.plan.group import ALWAYS, Member, Rhythm, Slot, meet, span, stride, unmade
from lilliput.plan.leads import lead, tops
from lilliput.plan.runs import DUE, LOOP_CYCLES, Map, Part, Run, Slide
from lilliput.plan.strips import STRIPS, Flow, drifting, follows
from lilliput.plan.under import PARTS, Under


class Chain:
    """The parts of an entry in order.

    maps : every value of the arena by the name of its root
    alive[i] : bytes of maps that hold something before part i and still in it
    made[i] : the maps that part i is the first to write
    facts[i] : the number of what loops depend on of part i; None where it does not stream
    loops : what is known of loops, of other chains of the same maps, too
    strips : whether loops are looked at that make their rows strip by strip
    counted : whether rows are counted by executions where no closed form holds, as estimates do;
        cuts are chosen without, as what they find less is not always placed
    """

    def __init__(
        self,
        parts: Sequence[Part],
        maps: Mapping[str, Map],
        loops: Loops | None,
        strips: bool,
        counted: bool = False,
    ):
        self.counted = counted
        self.parts, self.maps, self.strips = tuple(parts), maps, strips
        self.alive = [0] * len(parts)
        self.made: list[list[str]] = [[] for _ in parts]
        for name, map in maps.items():
            for i in range(max(map.first + 1, 0), min(map.last, len(parts) - 1) + 1):
                self.alive[i] += map.nbytes
            if map.first >= 0:
                self.made[map.first].append(name)
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


class Loop:
    """Parts from `start` on as one loop that grows by one part after the other.

    stop : after its last part; known : what is known of it
    passing : maps made and read inside -> whether their rows pass through
    held : bytes of what nobody reads afterwards, alive all the time; beside : bytes of each part
        beside these, of what passes through in planes
    resting, steady : bytes of line buffers in rows that are alive after every part, and of each
        part beside these, in an iteration in which all execute
    """

    def __init__(self, chain: Chain, start: int, block: int):
        self.chain, self.maps = chain, chain.maps
        self.start, self.block, self.stop = start, block, start
        self.known = chain.loops.empty
        self.rhythm = Rhythm()
        self.made: list[str] = []
        self.passing: dict[str, bool] = {}
        self.held = self.resting = 0
        self.beside: list[int] = []
        self.steady: list[int] = []

    def extend(self) -> bool:
        """Whether the next part can stream with those before it."""
        fact = self.chain.facts[self.stop]
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
        member = self.chain.parts[i].member
        assert member is not None
        try:
            self.rhythm.add(member.in_blocks(self.block))
        except PlanError:
            return False
        self.made += self.chain.made[i]
        for root in {member.writes, *(read.root for read in member.reads)}:
            self.passing[root] = self.rhythm.passes(root)
        self.beside.append(0)
        self.steady.append(0)
        for name in self.made:
            if self.maps[name].last == i:
                self._close(name)
        return True

    def _close(self, name: str) -> None:
        """Counts a map that was made inside and of which all readers are known."""
        map, rings, rhythm = self.maps[name], self.rhythm.rings, self.rhythm
        if name not in rings:
            self.held += map.nbytes
        elif not map.planar:
            kept = rhythm.kept[name]
            rest = kept.rest
            self.resting += rest * map.row
            for first, end, rows in kept.pieces():
                for i in range(first, end) if rows != rest else ():
                    self.steady[i] += (rows - rest) * map.row
        elif self.passing[name]:
            for i in range(rhythm.makers[name][0], rhythm.readers[name][-1] + 1):
                self.beside[i] += rings[name] * map.row
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
        if self.chain.strips:
            if self.known.strips is None:
                self._catch_up()
                shapes = (s for n in STRIPS for s in self._strips(self.known.shape, n))
                self.known.strips = tuple(shapes)
            found += self.known.strips
        yield from (r for r in map(self._run, found) if r.least < plain.least)

    def _run(self, shape: _Shape) -> Run:
        parts, slide = self.chain.parts[self.start : self.stop], shape.slide
        base = self.chain.alive[self.start] + shape.base
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
        stop, rhythm = self.stop, self.rhythm
        parts = self.chain.parts[self.start : stop]
        held = self.held
        held += sum([m.nbytes for m in map(self.maps.get, self.made) if m and m.last >= stop])
        slots = rhythm.slots()
        resting, rows = self._rows(slots)
        slides = self._slides(slots)
        lines = resting - min(self._tail(slots, slides), resting)
        gain = sum(slide.gain for slide in slides)
        calls = sum((s.count - 1) * p.call for s, p in zip(slots, parts, strict=True))
        calls += rhythm.iterations(slots) * len(parts) * DUE
        calls += sum(s.count for s in slots) * LOOP_CYCLES
        most = max(slides, key=lambda slide: slide.gain, default=None)
        left = self.chain.left(self.start, stop)
        carry = sum(p.carry for p in parts)
        base = held + lines - gain + carry
        beside = tuple(map(add, self.beside, rows))
        return _Shape(base, beside, calls, most, left, lines=lines)

    def _rows(self, slots: Sequence[Slot]) -> tuple[int, list[int]]:
        """Bytes of line buffers in rows that are alive all the time, and of each part beside."""
        if not self.chain.counted:
            return self.resting, self.steady
        mine = [n for n in self._kept() if not self.maps[n].planar]
        if reduce(meet, slots, ALWAYS) and not any(map(self._leaves_out, mine)):
            return self.resting, self.steady
        counted = alive(slots, [self._line(n, slots) for n in mine])
        resting = min(self.resting, *counted)
        return resting, [nbytes - resting for nbytes in counted]

    def _leaves_out(self, name: str) -> bool:
        """Whether one of several readers of a map leaves out rows, which die with the others."""
        readers = [
            (span(x.rule, m.quantum), stride(x.rule) * m.quantum)
            for m in self.rhythm.members
            for x in m.reads
            if x.root == name
        ]
        return len(readers) > 1 and any(read < taken for read, taken in readers)

    def _line(self, name: str, slots: Sequence[Slot]) -> Line:
        map, (maker, *_) = self.maps[name], self.rhythm.makers[name]
        made = self.rhythm.members[maker].quantum
        return Line(maker, made, map.rows, map.row, self._readers(name, slots))

    def _readers(self, name: str, slots: Sequence[Slot]) -> Readers:
        rows = self.maps[name].rows
        return [
            (j, tops(x.rule, m.quantum, slots[j].count, rows), span(x.rule, m.quantum))
            for j, m in enumerate(self.rhythm.members)
            for x in m.reads
            if x.root == name
        ]

    def _kept(self) -> list[str]:
        """Maps of which the loop keeps rows alone."""
        rings = self.rhythm.rings
        return [n for n in self.made if n in rings and self.maps[n].last < self.stop]

    def _inside(self) -> list[str]:
        """As `_kept`; none where one of them is in planes."""
        mine = self._kept()
        return [] if any(self.maps[n].planar for n in mine) else mine

    def _strips(self, whole: _Shape, strips: int) -> Iterator[_Shape]:
        """The loop with its rows made strip by strip: what is new follows what dies, as near as it
        can; where rows are kept, that moves all of them, so that each wants so much room."""
        mine, rhythm = self._inside(), self.rhythm
        parts = self.chain.parts[self.start : self.stop]
        flows = tuple(p.flow for p in parts if p.flow is not None)
        if self.block > 1 or not mine or len(flows) < len(parts):
            return
        near = follows(flows, strips)
        if near is None:
            return
        sizes = [drifting(rhythm.kept[n], self.maps[n].row, near.get(n)) for n in mine]
        resting, _ = self._rows(rhythm.slots())
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
        out, inp = self.maps[slide.out], self.maps[slide.inp]
        if self.resting > inp.nbytes:
            return
        slots, members = rhythm.slots(), list(enumerate(rhythm.members))
        writers = [
            (j, 0 if any(isinstance(x.rule, Reduce) for x in m.reads) else m.quantum)
            for j, m in members
            if m.writes == slide.out
        ]
        readers = self._readers(slide.inp, slots)
        maps = out.nbytes + inp.nbytes - slide.gain
        ends = (out.rows, out.row), writers, (inp.rows, inp.row), readers
        lines = [self._line(n, slots) for n in mine]
        under = Under(slots, lines, *ends, strips=strips is not None)
        beside = tuple(max(nbytes - maps, 0) for nbytes in under.most(strips or ()))
        yield replace(apart, base=apart.base - apart.lines, beside=beside, under=True, lines=0)

    def _tail(self, slots: Sequence[Slot], slides: Sequence[Slide]) -> int:
        """Bytes of the largest output in rows, of those that run over nothing, that are still to be
        made when the first part is done."""
        rhythm, slid, found = self.rhythm, {slide.out for slide in slides}, 0
        for name, writers in rhythm.makers.items():
            map = self.maps.get(name)
            if map is None or map.planar or map.last < self.stop or name in slid:
                continue
            for w, member in ((w, rhythm.members[w]) for w in writers):
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
            pairs = [Slide(out, n, d, self.chain.gain(out, n, d)) for n, d in far if d is not None]
            best = max(pairs, key=lambda pair: pair.gain, default=None)
            found += [best] if best and best.gain > 0 else []
        return found

    def _distance(self, slots: Sequence[Slot], out: str, inp: str, turns: bool) -> int | None:
        """As `overlap.distances`, of rows alone."""
        far = 0
        for w in self.rhythm.makers[out]:
            for r, rule in self.rhythm.outside[inp]:
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
        return lead((slots[w], made), (slots[r], taken), order, *ends, rule)

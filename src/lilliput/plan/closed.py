"""Loops in closed form: what `loops` goes through executions for, in whole numbers.

One idea: a loop that grows by a part changes in what that part adds.  Phases and rings follow from
the part's windows and from what made its operands (`group`), a map that was read for the last time
turns into its ring, and an output over a dying input leads by a function of the execution that is
concave (`leads`).

Counted by executions are only loops whose parts never execute in one iteration, or of which a
reader leaves out rows (`alive`), and line buffers under an input (`under`).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import gcd
from typing import NamedTuple, Protocol

from lilliput.plan.alive import Line, alive
from lilliput.plan.group import ALWAYS, Kept, Slot, meet, unmade
from lilliput.plan.layers import Layer, Link
from lilliput.plan.leads import Lead
from lilliput.plan.runs import Map
from lilliput.plan.strips import STRIPS, Flow, Look, drifting, follows
from lilliput.plan.under import PARTS, Under


class Slid(NamedTuple):
    """Output `out` begins `distance` bytes before `inp`, of which it shares `gain` bytes."""

    out: int
    inp: int
    distance: int
    gain: int


class Shape(NamedTuple):
    """A loop wherever it stands: without what is alive before it, and with maps by their number
    less that of the first one that it makes; whether line buffers lie between output and input.

    base : bytes that are alive all the time, `lines` of them in line buffers beside the maps
    """

    base: int
    lines: int
    least: int
    slides: tuple[Slid, ...]
    under: bool = False

    @property
    def slide(self) -> Slid | None:
        """The output that gains most."""
        return max(self.slides, key=lambda slide: slide.gain, default=None)


@dataclass(eq=False)
class Grown:
    """What is known of a loop wherever it stands.

    floor : bytes of line buffers and scratch that every longer one needs, too; fixed : bytes beside
        the maps that are there before or after, likewise
    bound : bytes that it needs at the least, whatever its outputs run over
    left : the largest map that it leaves, and its bytes
    plain, lower, strips : its shapes, with line buffers apart, and of fewer bytes, with these under
        an input and by strips, once somebody wanted them
    further : loops of one more part, by the number of what they depend on of it; None where that
        does not stream
    """

    floor: int = 0
    fixed: int = 0
    bound: int = 0
    left: tuple[int, int] = (0, 0)
    plain: Shape | None = None
    lower: tuple[Shape, ...] | None = None
    strips: tuple[Shape, ...] | None = None
    further: dict[int, Grown | None] = field(default_factory=dict[int, "Grown | None"])


class Row(Protocol):
    """A row of layers, as loops see it.

    begin[i] : the first map that is made by part i or later
    made[i], dying[i] : maps that part i makes, and that it is the last to touch
    alive[i] : bytes of maps that hold something before part i and still in it
    """

    layers: list[Layer]
    touches: list[tuple[int, ...]]
    maps: list[Map]
    begin: list[int]
    nbytes: list[int]
    scratch: list[int]
    made: list[list[int]]
    dying: list[list[int]]
    alive: list[int]

    def gain(self, out: int, inp: int, distance: int) -> int: ...
    def left(self, made: Sequence[int], stop: int) -> tuple[int, int]: ...


class Work:
    """A loop while it is found out about, as `group.Rhythm` and `loops` have it.

    rates, phases, slots : of each part, in iterations; times : as `meet` has it
    rings : map made inside -> rows of its line buffer so far
    kept : map made inside -> when how many of its rows are alive
    lined : maps made inside whose rows nobody needs afterwards
    sparse : whether a line buffer has several readers of which one leaves out rows
    even : map made inside -> whether those who read it execute when it is made
    closed, opened : bytes of maps that nobody reads after the loop, and of those that somebody does
    lines : bytes of line buffers, which longer loops have, too
    need : bytes of each part beside those, but for rows of line buffers
    resting, steady : bytes of line buffers in rows that are alive after every part, and of each
        part beside these, in an iteration in which all execute
    outside : maps that were there before -> who reads them, and how
    """

    def __init__(self, net: Row, start: int):
        self.net, self.start, self.stop = net, start, start
        self.rates: list[int] = []
        self.phases: list[int] = []
        self.slots: list[Slot] = []
        self.times: tuple[int, int] | None = ALWAYS
        self.rings: dict[int, int] = {}
        self.kept: dict[int, Kept] = {}
        self.even: dict[int, bool] = {}
        self.closed = self.opened = self.lines = self.carry = self.resting = 0
        self.need: list[int] = []
        self.steady: list[int] = []
        self.outside: dict[int, list[tuple[int, Link]]] = {}
        self.lined: list[int] = []
        self.sparse = False
        self.dead: list[int] = []
        self.dying = 0
        self.open: list[int] = []

    # growing

    def add(self) -> bool:
        """Whether the next part can stream with those before it."""
        net, start, j = self.net, self.start, self.stop - self.start
        layer, touches = net.layers[self.stop], net.touches[self.stop]
        inside = self._inside(layer, touches)
        if layer.links is None or inside is None:
            return False
        rate = self.rates[inside[0][1]] * inside[0][2].stride if inside else self._guess(layer)
        if not rate:
            return False
        phase = 0
        for _, i, link in inside:
            grain = gcd(link.stride * layer.quantum, net.layers[start + i].quantum)
            lag = link.last - link.last % grain
            phase = max(phase, self.phases[i] + self.rates[i] * lag)
        slot = Slot(rate * layer.quantum, phase, layer.count)
        for m, i, link in inside:
            self._ring(m, i, link, slot)
        for link in layer.links:
            m = touches[link.operand]
            if net.maps[m].first < start:
                self.outside.setdefault(m, []).append((j, link))
        self.rates.append(rate)
        self.phases.append(phase)
        self.slots.append(slot)
        self.times = meet(self.times, slot)
        self._close(j)
        return True

    def _inside(self, layer: Layer, touches: Sequence[int]) -> list[tuple[int, int, Link]] | None:
        """(map, maker, how it is read) of the operands that the loop makes; None where they are
        not there row by row, or not at one rate."""
        found: list[tuple[int, int, Link]] = []
        rates: set[int] = set()
        for link in layer.links or ():
            m = touches[link.operand]
            i = self.net.maps[m].first - self.start
            if i < 0:
                continue
            maker = self.net.layers[self.start + i]
            if link.pad is None or link.lie != maker.lie or maker.reduces:
                return None
            rates.add(self.rates[i] * link.stride)
            found.append((m, i, link))
        return found if len(rates) < 2 else None

    def _guess(self, layer: Layer) -> int:
        """The rate of a part that nothing connects; 0 where that is no whole number."""
        if not self.rates:
            return 1
        first, mine = self.net.layers[self.start].rows, layer.rows
        if first >= mine:
            return max(round(first / mine), 1)
        return 1 if round(mine / first) == 1 else 0

    def _ring(self, m: int, i: int, link: Link, slot: Slot) -> None:
        maker = self.net.layers[self.start + i]
        ahead = (slot.phase - self.phases[i]) // self.rates[i]
        rows = ahead + link.behind + maker.quantum
        before, held = self.rings.get(m, 0), self._least(m)
        reader = self.net.layers[self.stop]
        kept = self.kept.setdefault(m, Kept(i, maker.quantum))
        kept.read(self.stop - self.start, rows, link.stride * reader.quantum, maker.rows)
        self.rings[m] = rows = max(min(rows, maker.rows), before)
        even = rows <= maker.quantum and slot == self.slots[i]
        self.even[m] = self.even.get(m, True) and even
        self.lines += self._least(m) - held

    def _least(self, m: int) -> int:
        """Bytes of a map's line buffer that are alive at any time."""
        map = self.net.maps[m]
        if self.even.get(m, True):
            return 0
        return map.row * (self.rings[m] if map.planar else self.kept[m].least)

    def _close(self, j: int) -> None:
        """Takes a part in whose slot and rings are known."""
        net, at = self.net, self.stop
        self.stop += 1
        self.carry += net.layers[at].carry
        self.need.append(net.scratch[at])
        self.steady.append(0)
        for m in net.made[at]:
            self.open.append(m)
            self.opened += net.nbytes[m]
        for m in net.dying[at]:
            map = net.maps[m]
            if map.first < self.start:
                if m in self.outside and not map.planar:
                    insort(self.dead, m)
                    self.dying += net.nbytes[m]
                continue
            self.open.remove(m)
            self.opened -= net.nbytes[m]
            if m not in self.rings:
                self.closed += net.nbytes[m]
            else:
                self._line_up(m, j)

    def _line_up(self, m: int, j: int) -> None:
        """Keeps rows of a map that part j is the last to read."""
        map, kept = self.net.maps[m], self.kept[m]
        self.lined.append(m)
        self.sparse |= not map.planar and len(kept.readers) > 1 and self._leaves_out(m)
        if not map.planar:
            rest = kept.rest
            self.resting += rest * map.row
            for first, end, rows in kept.pieces():
                for k in range(first, end) if rows != rest else ():
                    self.steady[k] += (rows - rest) * map.row
        elif self.even[m]:
            for k in range(map.first - self.start, j + 1):
                self.need[k] += self.rings[m] * map.row
        else:
            self.closed += self.rings[m] * map.row

    def _leaves_out(self, m: int) -> bool:
        """Whether a reader of a map leaves out rows."""
        return any(link.span < self._taken(j, link) for j, link in self._links(m))

    def _links(self, m: int) -> Iterator[tuple[int, Link]]:
        """Who reads a map that is made inside, and how."""
        for j, *_ in self.kept[m].readers:
            touches = self.net.touches[self.start + j]
            for link in self.net.layers[self.start + j].links or ():
                if touches[link.operand] == m:
                    yield j, link

    def _taken(self, j: int, link: Link) -> int:
        """Rows by which a part's window moves on with each execution."""
        return self.net.layers[self.start + j].quantum * link.stride

    # what is known

    @property
    def long(self) -> bool:
        """Whether line buffers lie apart, whatever they could lie under."""
        return self.stop - self.start > PARTS

    def grown(self) -> Grown:
        net = self.net
        most = max(self.need)
        if self._steadily:
            most = max(map(int.__add__, self.need, self.steady))
        fixed = self.closed + self.carry
        bound = self.opened - min(self.dying, self.opened)
        if self.long:
            fixed += self.resting + most if self._steadily else 0
            bound -= min(self.resting, self.opened)
        left, nbytes = net.left(self.open, self.stop)
        left = left - net.begin[self.start], nbytes
        return Grown(most + self.lines, fixed, fixed + bound, left)

    @property
    def _steadily(self) -> bool:
        """Whether the most is needed in an iteration in which all execute."""
        return self.times is not None and not self.sparse

    def _rows(self) -> tuple[int, list[int]]:
        """Bytes of line buffers in rows that are alive all the time, and of each part beside."""
        if self._steadily:
            return self.resting, self.steady
        rows = [m for m in self.lined if not self.net.maps[m].planar]
        counted = alive(self.slots, [self._line(m) for m in rows])
        resting = min(self.resting, *counted)
        return resting, [nbytes - resting for nbytes in counted]

    def plain(self) -> Shape:
        """With line buffers apart."""
        resting, rows = self._rows()
        slides = self._slides()
        slid = {slide.out for slide in slides}
        tails = (self._tail(m) for m in self._outputs() if m not in slid)
        lines = resting - min(max(tails, default=0), resting)
        base = self.closed + self.opened + self.carry + lines
        base -= sum(slide.gain for slide in slides)
        return self._shape(base, lines, base + max(map(int.__add__, self.need, rows)), slides)

    def _shape(
        self, base: int, lines: int, least: int, slides: Sequence[Slid], under: bool = False
    ) -> Shape:
        first = self.net.begin[self.start]
        moved = [x._replace(out=x.out - first, inp=x.inp - first) for x in slides]
        return Shape(base, lines, least, tuple(moved), under)

    def under(self, plain: Shape) -> Iterator[Shape]:
        """With line buffers under an input."""
        band = self._band(self._slides(), strips=False) if self._in_rows else None
        if band:
            yield self._between(plain, band)

    @property
    def _in_rows(self) -> bool:
        """Whether there are line buffers, all of them in rows."""
        return bool(self.lined) and not any(self.net.maps[m].planar for m in self.lined)

    def strips(self, plain: Shape) -> Iterator[Shape]:
        """By strips, as `loops` has it, and with line buffers under an input, too."""
        flows = self._flows() if self._in_rows else None
        if flows is None:
            return
        first, maps = self.net.begin[self.start], self.net.maps
        resting, rows = self._rows()
        turned = self._slides(turns=True)
        base = plain.base + sum([x.gain for x in plain.slides]) - sum([x.gain for x in turned])
        band = self._band(turned, strips=True)
        for strips in STRIPS:
            near = follows(flows, strips)
            if near is None:
                continue
            lines = [(m, self.kept[m], near.get(str(m - first))) for m in self.lined]
            sizes = [drifting(kept, maps[m].row, lead) for m, kept, lead in lines]
            most = max(
                nbytes + (sum(sizes) - resting if flow.looks else held)
                for flow, nbytes, held in zip(flows, self.need, rows, strict=True)
            )
            apart = self._shape(base, plain.lines, base + most, turned)
            yield apart
            if band:
                yield self._between(apart, band, sizes)

    def _flows(self) -> tuple[Flow, ...] | None:
        """How parts go through pixels, with maps by their number; None where one does not."""
        net, found = self.net, list[Flow]()
        for i in range(self.start, self.stop):
            layer, flow = net.layers[i], net.layers[i].flow
            if flow is None:
                return None
            first = net.begin[self.start]
            names = {n: str(m - first) for n, m in zip(layer.names, net.touches[i], strict=True)}
            looks = [Look(names[x.root], x.rule, x.pixels, x.late) for x in flow.looks]
            found.append(Flow(names[flow.makes], flow.pixels, flow.nbytes, tuple(looks)))
        return tuple(found)

    def _band(self, slides: Sequence[Slid], *, strips: bool) -> tuple[Under, Slid] | None:
        """Between an output and the input that it runs over, where line buffers may lie."""
        net, slide = self.net, max(slides, key=lambda slide: slide.gain, default=None)
        if slide is None or self.long or self.resting > net.nbytes[slide.inp]:
            return None
        out, inp = net.maps[slide.out], net.maps[slide.inp]
        w = out.first - self.start
        writer = net.layers[self.start + w]
        under = Under(
            self.slots,
            [self._line(m) for m in self.lined],
            (out.rows, out.row),
            [(w, 0 if writer.reduces else writer.quantum)],
            (inp.rows, inp.row),
            [self._tops(j, link, inp.rows) for j, link in self.outside[slide.inp]],
            strips,
        )
        return under, slide

    def _between(self, apart: Shape, band: tuple[Under, Slid], sizes: Sequence[int] = ()) -> Shape:
        """With line buffers in the band; `sizes` as in `Under.most`."""
        under, (out, inp, distance, gain) = band
        maps = self.net.nbytes[out] + self.net.nbytes[inp] - gain
        pairs = zip(under.most(sizes), self.need, strict=True)
        lines = max([max(nbytes - maps, 0) + scratch for nbytes, scratch in pairs])
        base = apart.base - apart.lines
        return self._shape(base, 0, base + lines, [Slid(out, inp, distance + lines, gain)], True)

    def _line(self, m: int) -> Line:
        kept, map = self.kept[m], self.net.maps[m]
        readers = [self._tops(j, link, map.rows) for j, link in self._links(m)]
        return Line(kept.maker, kept.made, map.rows, map.row, readers)

    def _tops(self, j: int, link: Link, rows: int) -> tuple[int, Sequence[int], int]:
        """What each execution of a part reads, as `alive.Readers` has it."""
        taken, pad, count = self._taken(j, link), link.pad or 0, self.slots[j].count
        tops = [min(max(k * taken - pad, 0), rows) for k in range(count)]
        return j, tops, link.span

    # outputs

    def _outputs(self) -> list[int]:
        return [m for m in self.open if not self.net.maps[m].planar]

    def _slides(self, *, turns: bool = False) -> list[Slid]:
        """Outputs that run over inputs which die, one over one; `turns` as in `loops`."""
        net, free, found = self.net, list(self.dead), list[Slid]()
        for out in self._outputs():
            best: Slid | None = None
            for inp in free:
                gain = best.gain if best else 0
                if min(net.nbytes[out], net.nbytes[inp]) <= gain:
                    continue
                distance = self._distance(out, inp, turns)
                if distance is not None and net.gain(out, inp, distance) > gain:
                    best = Slid(out, inp, distance, net.gain(out, inp, distance))
            if best is not None:
                free.remove(best.inp)
                found.append(best)
        return found

    def _tail(self, out: int) -> int:
        """Bytes of an output that are still to be made when the first part is done."""
        net, map = self.net, self.net.maps[out]
        w = map.first - self.start
        writer = net.layers[self.start + w]
        if writer.reduces:
            return 0
        return map.row * unmade(self.slots[0], self.slots[w], writer.quantum, map.rows)

    def _distance(self, out: int, inp: int, turns: bool) -> int | None:
        """Bytes by which what is written may be ahead of what is still to be read."""
        net = self.net
        w = net.maps[out].first - self.start
        writer = net.layers[self.start + w]
        far = 0
        for r, link in self.outside[inp]:
            if link.pad is None:
                return None
            reader = net.layers[self.start + r]
            lead = Lead(
                self.slots[w],
                self.slots[r],
                -1 if turns else w - r,
                writer.quantum,
                reader.quantum * link.stride,
                link.pad,
                (net.maps[out].rows, net.maps[out].row),
                (net.maps[inp].rows, net.maps[inp].row),
            )
            last = writer.count - 1, net.maps[out].rows
            far = max(far, lead.at(*last) if writer.reduces else lead.most())
        return far

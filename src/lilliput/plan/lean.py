"""The fewest bytes of a row of parts, in closed form: what `partition` searches for, in numbers.

One idea: a loop that grows by a part changes in what that part adds.  Phases and rings follow from
the part's windows and from what made its operands (`group`), a map that was read for the last time
turns into its ring, and an output over a dying input leads by a function of the execution that is
concave, so that its largest value is at an end or where it bends; executions are gone through only
where periods do not divide.  What `runs` finds for each loop by itself costs here a step from the
loop of one part less.

    call    a part alone; what its output may run over, the part says
    loop    one row an execution, about; only where calls would need more than what is before them

Covered are windows, shifts and reductions of whole strides; `Layer.closed` says which parts are.
Not here: cycles and more rows an execution, which only matter once bytes are weighed.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from math import gcd, inf
from typing import Final, NamedTuple

from lilliput.plan.group import Kept, Slot, first_unfinished, unmade
from lilliput.plan.layers import Layer, Link, Net
from lilliput.plan.under import PARTS, Under


@dataclass(frozen=True, eq=False)
class Found:
    """A call, or a loop: parts [start, stop), bytes with the leanest kernels, and of the output
    that runs over an input: (input, distance, bytes shared); the largest map made and its bytes;
    whether line buffers lie between output and input."""

    start: int
    stop: int
    least: int
    slide: tuple[int, int, int] | None
    made: tuple[int, int]
    under: bool = False


def _beside(run: Found) -> int:
    """Bytes of a run whose output runs over nothing."""
    return run.least + (run.slide[2] if run.slide else 0)


def _place(run: Found) -> tuple[int, int]:
    return run.stop, run.start


class Lean:
    """Finds the fewest bytes of a network.

    alive[i] : bytes of maps that hold something before part i and still in it
    made[i], dying[i] : maps that part i makes, and that it is the last to touch
    after[i] : bytes that calls alone need from part i on
    limit : bytes within which there is a way but for room: loops that need more are of no use
    """

    def __init__(self, net: Net, *, fast: bool = False):
        self.layers, self.touches, self.maps = net.layers, net.touches, net.maps
        count = len(net.layers)
        self.nbytes = [m.rows * m.row for m in net.maps]
        self.scratch = [x.fast if fast else x.lean for x in net.layers]
        self.made: list[list[int]] = [[] for _ in range(count)]
        self.dying: list[list[int]] = [[] for _ in range(count)]
        self.alive = self._alive(count)
        self.calls = [self._call(i) for i in range(count)]
        self.after = [*accumulate((r.least for r in reversed(self.calls)), max, initial=0)][::-1]
        self.limit: float = self.after[0]

    def _alive(self, count: int) -> list[int]:
        changes = [0] * (count + 1)
        for m, map in enumerate(self.maps):
            if map.first >= 0:
                self.made[map.first].append(m)
            if 0 <= map.last < count:
                self.dying[map.last].append(m)
            if map.last > map.first:
                changes[max(map.first + 1, 0)] += self.nbytes[m]
                changes[min(map.last, count - 1) + 1] -= self.nbytes[m]
        alive, total = [0] * count, 0
        for i in range(count):
            total += changes[i]
            alive[i] = total
        return alive

    def _call(self, i: int) -> Found:
        layer, touches, nbytes = self.layers[i], self.touches[i], self.nbytes
        made = self.made[i]
        slide: tuple[int, int, int] | None = None
        for out in made:
            for operand, distance in layer.near:
                inp = touches[operand]
                if self.maps[inp].first < i == self.maps[inp].last:
                    gain = self.gain(out, inp, distance)
                    if slide is None or gain > slide[2]:
                        slide = inp, distance, gain
        base = self.alive[i] + sum(nbytes[m] for m in made) + layer.carry
        least = base - (slide[2] if slide else 0) + self.scratch[i]
        return Found(i, i + 1, least, slide, self.left(made, i + 1))

    def gain(self, out: int, inp: int, distance: int) -> int:
        """Bytes that an output shares with an input which begins `distance` behind it."""
        a, b = self.nbytes[out], self.nbytes[inp]
        return a + b - max(a, distance + b)

    def left(self, made: Sequence[int], stop: int) -> tuple[int, int]:
        lasting = [(self.nbytes[m], m) for m in made if self.maps[m].last >= stop]
        most, map = max(lasting, default=(0, -1))
        return map, most

    def layered(self) -> int:
        """The fewest bytes of calls alone."""
        return self._within(self.calls, self.after[0])

    def least(self) -> int:
        """The fewest bytes of calls and loops."""
        best, runs = self._ways()
        low = int(best[-1])
        found = self._within(runs, low)
        if found > low:  # outputs that slide stand in each other's way: loops in their place, too
            self.limit = found - 1
            hard = [i for i, call in enumerate(self.calls) if _beside(call) > low]
            for start in range(max(hard, default=-1) + 1):
                if best[start] <= self.limit:
                    for run in self.grow(start, low, sliding=True):
                        best[run.stop] = min(best[run.stop], max(best[start], run.least))
                        runs.append(run)
            found = self._within(sorted(runs, key=_place), low, found)
        return found

    def _ways(self) -> tuple[list[float], list[Found]]:
        """The fewest bytes, but for room, that it takes to get behind each part, and runs within
        which there is a way of so few."""
        after = self.after
        best = [0.0, *accumulate((call.least for call in self.calls), max)]
        runs: list[Found] = []
        for start, call in enumerate(self.calls):
            runs.append(call)
            best[start + 1] = min(best[start + 1], max(best[start], call.least))
            if best[start] >= min(self.limit, after[start]):
                continue
            for run in self.grow(start, best[start], best):
                way = max(best[start], run.least)
                best[run.stop] = min(best[run.stop], way)
                self.limit = min(self.limit, max(way, after[run.stop]))
                runs.append(run)
        return best, sorted(runs, key=_place)

    def _within(self, runs: Sequence[Found], low: int, high: int | None = None) -> int:
        """The fewest bytes, `low` at least, within which there is a way through `runs`; of `high`
        bytes there is one."""
        if self._fits(runs, low):
            return low
        high = max(map(_beside, self.calls)) if high is None else high
        low += 1
        while low < high:
            middle = (low + high) // 2
            if self._fits(runs, middle):
                high = middle
            else:
                low = middle + 1
        return high

    def _fits(self, runs: Sequence[Found], limit: int) -> bool:
        """Whether there is a way of runs within `limit`; room below maps as in `partition`."""
        ways: list[dict[int, float]] = [{} for _ in range(len(self.calls) + 1)]
        ways[0][-1] = inf
        for run in runs:
            if run.least > limit:
                continue
            map, nbytes = run.made
            top, slide, at = limit - nbytes, run.slide, ways[run.stop]
            for before, below in ways[run.start].items():
                room: float = top
                if slide is not None and (run.under or run.least + slide[2] > limit):
                    if slide[0] != before:
                        below = limit - self.nbytes[slide[0]]
                    room = min(below - slide[1], top)
                    if room < 0:
                        continue
                if at.get(map, -1) < room:
                    at[map] = room
        return bool(ways[-1])

    # Loops ------------------------------------------------------------------------------------

    def grow(
        self,
        start: int,
        floor: float,
        best: Sequence[float] | None = None,
        *,
        sliding: bool = False,
    ) -> Iterator[Found]:
        """Loops from a part on, within the limit, that need less than the calls which they stand
        for, where those need more than `floor` bytes; `sliding`: where their outputs do not run
        over their inputs.

        best : bytes that it takes to get behind each part; loops that need as many are left out
        """
        loop, plain, hard, before = _Loop(self, start), 0, 0, self.alive[start]
        while loop.stop < len(self.calls) and loop.add():
            most = self.limit if sliding else min(self.limit, self.after[start] - 1)
            if max(loop.most + loop.lines, before + loop.fixed) > most:
                break  # longer ones hold that, too: an output shares no more than itself
            call = self.calls[loop.stop - 1]
            plain = max(plain, call.least)
            hard = max(hard, _beside(call) if sliding else call.least)
            if hard > floor and (best is None or floor < best[loop.stop]):
                within = min(self.limit, plain - 1, best[loop.stop] - 1 if best else inf)
                yield from (x for x in loop.found(within, floor) if x.least <= within)


MEMORY: Final = 1 << 14
"""What is kept of questions about loops that a search asks again and again."""


class Lead(NamedTuple):
    """By how many bytes a writer may be ahead of what a reader still needs, at most.

    order : how many places the writer stands behind the reader in the body of their loop
    made : rows that an execution of the writer makes; taken : rows by which the reader's window
        moves on with each of its executions, from `pad` rows before the first
    out, inp : (rows, bytes of one) of what is written and of what is read
    """

    writer: Slot
    reader: Slot
    order: int
    made: int
    taken: int
    pad: int
    out: tuple[int, int]
    inp: tuple[int, int]

    def at(self, k: int, end: int) -> int:
        """When the writer has executed k + 1 times, and `end` rows are there."""
        later = first_unfinished(self.writer, self.reader, k, self.order)
        if later >= self.reader.count:
            return 0
        first = min(max(later * self.taken - self.pad, 0), self.inp[0])
        return min(end, self.out[0]) * self.out[1] - first * self.inp[1]

    @lru_cache(maxsize=MEMORY)  # noqa: B019
    def most(self) -> int:
        """Over all executions.

        Where the reader's period divides the writer's, what is written and what is dead grow
        evenly, the first until the map ends, the second from where the window leaves the padding:
        the lead is concave, and largest at an end or at a bend.
        """
        writer, reader = self.writer, self.reader
        step, rest = divmod(writer.period, reader.period) if self.order else (1, 0)
        beyond = (reader.count - 1) * self.taken - self.pad > self.inp[0]
        if rest or beyond or self.pad < 0:
            return self._largest(range(writer.count))
        since = writer.phase - reader.phase if self.order else 0
        begun = since // reader.period + 1 if self.order > 0 else -(-since // reader.period)
        last = min(writer.count - 1, (reader.count - 1 - begun) // step)
        leaves = -(-(-(-self.pad // self.taken) - begun) // step)
        full = self.out[0] // self.made
        bends = 0, leaves - 1, leaves, full - 1, full, last
        return self._largest([k for k in bends if 0 <= k <= last])

    def _largest(self, executions: Iterable[int]) -> int:
        return max([self.at(k, (k + 1) * self.made) for k in executions], default=0)


_Line = tuple[int, int, tuple[tuple[int, int, int], ...], int]
"""A line buffer: who makes it, how many rows at once, its readers as `Kept` has them, bytes of a
row."""
_Reader = tuple[int, int, int, int]
"""Who reads an input: place, rows taken by an execution, rows before the first, executions."""


class _Band(NamedTuple):
    """As `Under`, in numbers."""

    slots: tuple[Slot, ...]
    lines: tuple[_Line, ...]
    out: tuple[int, int]
    writer: tuple[int, int]
    inp: tuple[int, int]
    readers: tuple[_Reader, ...]


@lru_cache(maxsize=MEMORY)
def _most(band: _Band) -> list[int]:
    """As `Under.most`."""
    rows = band.inp[0]
    return Under(
        band.slots,
        [(Kept(maker, made, list(readers)), row) for maker, made, readers, row in band.lines],
        band.out,
        [band.writer],
        band.inp,
        [
            (j, [min(max(k * taken - pad, 0), rows) for k in range(count)])
            for j, taken, pad, count in band.readers
        ],
    ).most()


class _Loop:
    """Parts from `start` on as one loop, as `group.Rhythm` and `runs` have it.

    rates, phases, slots : of each part, in iterations
    rings : map made inside -> rows of its line buffer so far
    kept : map made inside -> when how many of its rows are alive
    lined : maps made inside whose rows nobody needs afterwards
    even : map made inside -> whether those who read it execute when it is made
    resting : bytes of line buffers in rows that are alive after every part
    closed, opened : bytes of maps that nobody reads after the loop, and of those that somebody does
    lines : bytes of line buffers, which longer loops have, too
    need : bytes of each part beside those
    outside : maps that were there before -> who reads them, and how
    """

    def __init__(self, net: Lean, start: int):
        self.net, self.start, self.stop = net, start, start
        self.rates: list[int] = []
        self.phases: list[int] = []
        self.slots: list[Slot] = []
        self.rings: dict[int, int] = {}
        self.kept: dict[int, Kept] = {}
        self.even: dict[int, bool] = {}
        self.closed = self.opened = self.lines = self.most = self.carry = self.resting = 0
        self.need: list[int] = []
        self.outside: dict[int, list[tuple[int, Link]]] = {}
        self.lined: list[int] = []
        self.dead: list[int] = []
        self.open: list[int] = []

    def add(self) -> bool:
        """Whether the next part can stream with those before it."""
        net, start, j = self.net, self.start, self.stop - self.start
        layer, touches = net.layers[self.stop], net.touches[self.stop]
        if layer.links is None:
            return False
        inside: list[tuple[int, int, Link]] = []
        rate = 0
        for link in layer.links:
            m = touches[link.operand]
            i = net.maps[m].first - start
            if i < 0:
                continue
            maker = net.layers[start + i]
            if link.pad is None or link.lie != maker.lie or maker.reduces:
                return False
            through = self.rates[i] * link.stride
            if rate and rate != through:
                return False
            rate = through
            inside.append((m, i, link))
        if not rate:
            rate = self._guess(layer)
            if not rate:
                return False
        phase = 0
        for _, i, link in inside:
            grain = gcd(link.stride * layer.quantum, net.layers[start + i].quantum)
            lag = link.last - link.last % grain
            phase = max(phase, self.phases[i] + self.rates[i] * lag)
        for m, i, link in inside:
            self._ring(m, i, link, (phase, rate * layer.quantum, layer.count))
        for link in layer.links:
            m = touches[link.operand]
            if net.maps[m].first < start:
                self.outside.setdefault(m, []).append((j, link))
        self.rates.append(rate)
        self.phases.append(phase)
        self.slots.append(Slot(rate * layer.quantum, phase, layer.count))
        self._close(j)
        return True

    def _guess(self, layer: Layer) -> int:
        """The rate of a part that nothing connects; 0 where that is no whole number."""
        if not self.rates:
            return 1
        first, mine = self.net.layers[self.start].rows, layer.rows
        if first >= mine:
            return max(round(first / mine), 1)
        return 1 if round(mine / first) == 1 else 0

    def _ring(self, m: int, i: int, link: Link, slot: tuple[int, int, int]) -> None:
        maker = self.net.layers[self.start + i]
        ahead = (slot[0] - self.phases[i]) // self.rates[i]
        rows = min(ahead + link.behind + maker.quantum, maker.rows)
        before = self.rings.get(m, 0)
        mine = self.phases[i], self.rates[i] * maker.quantum, maker.count
        held = self._least(m)
        reader = self.net.layers[self.stop]
        kept = self.kept.setdefault(m, Kept(i, maker.quantum))
        kept.readers.append((self.stop - self.start, rows, link.stride * reader.quantum))
        self.rings[m] = rows = max(rows, before)
        self.even[m] = self.even.get(m, True) and rows <= maker.quantum and slot == mine
        self.lines += self._least(m) - held

    def _least(self, m: int) -> int:
        """Bytes of a map's line buffer that are alive at any time."""
        map = self.net.maps[m]
        if self.even.get(m, True):
            return 0
        return map.row * (self.rings[m] if map.planar else self.kept[m].least)

    def _held(self, m: int) -> int:
        """Bytes of a map's line buffer that are alive after every part."""
        map = self.net.maps[m]
        if map.planar:
            return 0 if self.even[m] else map.row * self.rings[m]
        return map.row * self.kept[m].rest

    def _close(self, j: int) -> None:
        """Takes a part in whose slot and rings are known."""
        net, at = self.net, self.stop
        self.stop += 1
        self.carry += net.layers[at].carry
        self.need.append(net.scratch[at])
        for m in net.made[at]:
            self.open.append(m)
            self.opened += net.nbytes[m]
        for m in net.dying[at]:
            map = net.maps[m]
            i = map.first - self.start
            if i < 0:
                if m in self.outside and not map.planar:
                    insort(self.dead, m)
                continue
            self.open.remove(m)
            self.opened -= net.nbytes[m]
            rows = self.rings.get(m)
            if rows is None:
                self.closed += net.nbytes[m]
                continue
            held = self._held(m)
            self.lined.append(m)
            self.closed += held
            self.resting += 0 if map.planar else held
            pieces = self.kept[m].pieces() if not map.planar else [(i, j + 1, rows)]
            for first, end, alive in pieces:
                if more := alive * map.row - held:
                    for k in range(first, end):
                        self.need[k] += more
            self.most = max(self.need)
        self.most = max(self.most, self.need[j])

    def found(self, limit: float, lower: float) -> Iterator[Found]:
        """The loop so far with its line buffers apart, and where that needs more than `lower` bytes
        with these under an input; none that need more than `limit` bytes in any case."""
        net = self.net
        maps = net.alive[self.start] + self.closed - self.resting + self.opened + self.carry
        fixed = net.alive[self.start] + self.opened + self.fixed
        out = [m for m in self.open if not net.maps[m].planar]
        shared = min(sum(net.nbytes[m] for m in self.dead), self.opened)
        if fixed - shared - (min(self.resting, self.opened) if self.long else 0) > limit:
            return
        slide: tuple[int, int, int] | None = None
        over = -1
        free = list(self.dead)
        tail = 0
        for o in out:
            best: tuple[int, int, int] | None = None
            for inp in free:
                if min(net.nbytes[o], net.nbytes[inp]) <= (best[2] if best else 0):
                    continue
                distance = self._distance(o, inp)
                if distance is not None:
                    gain = net.gain(o, inp, distance)
                    if gain > (best[2] if best else 0):
                        best = inp, distance, gain
            if best is not None:
                free.remove(best[0])
                maps -= best[2]
                if slide is None or best[2] > slide[2]:
                    slide, over = best, o
            else:
                tail = max(tail, self._tail(o))
        left = net.left(self.open, self.stop)
        least = maps + self.resting - min(tail, self.resting) + self.most
        yield Found(self.start, self.stop, least, slide, left)
        if slide is not None and least > lower and maps <= limit:
            beside = self._under(over, slide)
            if beside is not None and maps + beside < least:
                slide = slide[0], slide[1] + beside, slide[2]
                yield Found(self.start, self.stop, maps + beside, slide, left, under=True)

    @property
    def long(self) -> bool:
        """Whether line buffers lie apart, whatever they could lie under."""
        return self.stop - self.start > PARTS

    @property
    def fixed(self) -> int:
        """Bytes beside the maps that are there before this loop or after it, at the least."""
        if self.long:
            return self.closed + self.carry + self.most
        return self.closed - self.resting + self.carry

    def _under(self, out: int, slide: tuple[int, int, int]) -> int | None:
        """Bytes of line buffers and scratch beside an output and its input that they lie between;
        None where they cannot."""
        net, inp = self.net, slide[0]
        if not self.lined or self.long or self.resting > net.nbytes[inp]:
            return None
        if any(net.maps[m].planar for m in self.lined):
            return None
        w = net.maps[out].first - self.start
        writer = net.layers[self.start + w]
        band = _Band(
            tuple(self.slots),
            tuple([self._line(m) for m in self.lined]),
            (net.maps[out].rows, net.maps[out].row),
            (w, 0 if writer.reduces else writer.quantum),
            (net.maps[inp].rows, net.maps[inp].row),
            tuple([self._reader(j, link) for j, link in self.outside[inp]]),
        )
        maps = net.nbytes[out] + net.nbytes[inp] - slide[2]
        scratch = net.scratch[self.start : self.stop]
        pairs = zip(_most(band), scratch, strict=True)
        return max([max(nbytes - maps, 0) + kernel for nbytes, kernel in pairs])

    def _line(self, m: int) -> _Line:
        kept = self.kept[m]
        return kept.maker, kept.made, tuple(kept.readers), self.net.maps[m].row

    def _reader(self, j: int, link: Link) -> _Reader:
        layer = self.net.layers[self.start + j]
        return j, layer.quantum * link.stride, link.pad or 0, layer.count

    def _tail(self, out: int) -> int:
        """Bytes of an output that are still to be made when the first part is done."""
        net, map = self.net, self.net.maps[out]
        w = map.first - self.start
        writer = net.layers[self.start + w]
        if writer.reduces:
            return 0
        return map.row * unmade(self.slots[0], self.slots[w], writer.quantum, map.rows)

    def _distance(self, out: int, inp: int) -> int | None:
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
                w - r,
                writer.quantum,
                reader.quantum * link.stride,
                link.pad,
                (net.maps[out].rows, net.maps[out].row),
                (net.maps[inp].rows, net.maps[inp].row),
            )
            last = writer.count - 1, net.maps[out].rows
            far = max(far, lead.at(*last) if writer.reduces else lead.most())
        return far

"""The fewest bytes of a row of parts: what `partition` searches for, in numbers.

One idea: a loop is looked at only where calls would need more than what is before them, and no
further than its line buffers allow; what it needs is known in closed form (`closed`).

    call    a part alone; what its output may run over, the part says
    loop    one row an execution, about, whole or strip by strip

Covered are windows, shifts and reductions of whole strides; `Layer.closed` says which parts are.
Not here: cycles and more rows an execution, which only matter once bytes are weighed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from math import inf

from lilliput.plan.layers import Net
from lilliput.plan.tree import Found, Loop, Tree
from lilliput.plan.under import PARTS


def _beside(run: Found) -> int:
    """Bytes of a run whose output runs over nothing."""
    return run.least + (run.slide[2] if run.slide else 0)


_Ways = dict[int, list[tuple[int, int]]]
"""Ways to a part, by the largest map that the last run made; of (bytes that one needs, bytes from
where that map may begin to the end of the arena) none is beaten in both."""


def _keep(ways: list[tuple[int, int]], least: int, above: int, high: int) -> None:
    """Keeps a way of less than `high` bytes that none beats, and of the others what it leaves."""
    if least >= high or any(x <= least and y <= above for x, y in ways):
        return
    ways[:] = [(x, y) for x, y in ways if x < least or y < above]
    ways.append((least, above))


def _place(run: Found) -> tuple[int, int]:
    return run.stop, run.start


class Lean:
    """Finds the fewest bytes of a network.

    alive, begin, made, dying : as in `closed.Row`
    after[i] : bytes that calls alone need from part i on
    limit : bytes within which there is a way but for room: loops that need more are of no use
    """

    def __init__(self, net: Net, tree: Tree | None = None, *, fast: bool = False):
        self.layers, self.touches, self.maps = net.layers, net.touches, net.maps
        self.tree = tree or Tree()
        count = len(net.layers)
        self.facts: list[int | None] = [None] * count
        self.nbytes = [m.rows * m.row for m in net.maps]
        self.scratch = [x.fast if fast else x.lean for x in net.layers]
        self.made: list[list[int]] = [[] for _ in range(count)]
        self.dying: list[list[int]] = [[] for _ in range(count)]
        self.alive = self._alive(count)
        self.begin = self._begin(count)
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

    def _begin(self, count: int) -> list[int]:
        begin = [len(self.maps)] * (count + 1)
        for i in reversed(range(count)):
            begin[i] = self.made[i][0] if self.made[i] else begin[i + 1]
        return begin

    def fact(self, i: int) -> int:
        """The number of what loops depend on of part i."""
        found = self.facts[i]
        if found is None:
            first, touched = self.begin[i], dict.fromkeys((*self.touches[i], *self.made[i]))
            maps = [(m, self.maps[m]) for m in touched]
            lie = tuple([(m - first, x.rows, x.row, x.planar, x.last == i) for m, x in maps])
            found = self.facts[i] = self.tree.number((self.layers[i], lie))
        return found

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
        return self._within(self.calls, self.after[0])[0]

    def least(self) -> int:
        """The fewest bytes of calls and loops."""
        best, runs = self._ways()
        low = int(best[-1])
        found, reached = self._within(runs, low)
        if found > low:  # outputs that slide stand in each other's way
            runs, found = self._in_their_place(runs, reached, low, found)
        return self._by_strips(runs, found)

    def _in_their_place(
        self, runs: list[Found], reached: Sequence[int], low: int, found: int
    ) -> tuple[list[Found], int]:
        """The fewest bytes, `low` at least, where there are loops in the place of outputs that
        slide, too, and all runs; without these it takes `found`.

        reached : parts to which there are ways of less; loops are looked for from the last one on,
            which is where the way ends, then from twice as many at a time
        """
        hard = max((i for i, call in enumerate(self.calls) if _beside(call) > low), default=-1)
        looked, count = set[int](), 1
        while starts := [i for i in reached if i <= hard and i not in looked][-count:]:
            self.limit = found - 1
            grown = [run for i in starts for run in self.grow(i, low, sliding=True)]
            looked.update(starts)
            count *= 2
            if grown:
                runs = sorted([*runs, *grown], key=_place)
                found, reached = self._within(runs, low, found)
            if found == low:
                break
        return runs, found

    def _by_strips(self, runs: list[Found], found: int) -> int:
        """The fewest bytes where loops may make their rows strip by strip, too, of runs that need
        `found` bytes without: looked at are loops around the part that needs most."""
        while True:
            self.limit, needs = found - 1, self._needs(runs)
            runs = sorted([*runs, *self._around(needs.index(max(needs)))], key=_place)
            least, _ = self._within(runs, max(self._needs(runs)), found)
            if least == found:
                return found
            found = least

    def _needs(self, runs: Sequence[Found]) -> list[int]:
        """For each part the fewest bytes of any run that it is in."""
        least = [call.least for call in self.calls]
        for run in runs:
            for i in range(run.start, run.stop):
                least[i] = min(least[i], run.least)
        return least

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

    def _within(
        self, runs: Iterable[Found], low: int, high: int | None = None
    ) -> tuple[int, Sequence[int]]:
        """The fewest bytes, `low` at least, within which there is a way through `runs`; of `high`
        bytes there is one.  And the parts to which there are ways of less."""
        high = max(map(_beside, self.calls)) if high is None else high
        ways: list[_Ways] = [{} for _ in range(len(self.calls) + 1)]
        ways[0][-1] = [(low, 0)]
        for run in runs:
            if run.least < high and ways[run.start]:
                self._go(ways[run.start], run, ways[run.stop], high)
        found = min([nbytes for x in ways[-1].values() for nbytes, _ in x], default=high)
        return found, [i for i, x in enumerate(ways) if x]

    def _go(self, ways: _Ways, run: Found, after: _Ways, high: int) -> None:
        """Takes a run behind each of `ways`, if that needs less than `high` bytes; room below maps
        as in `partition`."""
        (map, nbytes), slide = run.made, run.slide
        there = after.setdefault(map, [])
        for before, found in ways.items():
            for least, above in found:
                if slide is None or not run.under:
                    _keep(there, max(least, _beside(run)), nbytes, high)
                if slide is not None:
                    inp, distance, _ = slide
                    top = (above if inp == before else self.nbytes[inp]) + distance
                    _keep(there, max(least, run.least, top), max(top, nbytes), high)
        if not there:
            del after[map]

    # Loops ------------------------------------------------------------------------------------

    def _around(self, part: int) -> Iterator[Found]:
        """Loops that a part is in, within the limit, by strips, too; none that begin further up
        where those do not come to it."""
        limit = self.limit
        for start in range(part, -1, -1):
            loop, before = Loop(self, start, self.tree), self.alive[start]
            while loop.stop < len(self.calls) and loop.add():
                floor = loop.known.floor if loop.stop - start > PARTS else 0  # strips need less
                if max(floor, before + loop.known.fixed) > limit:
                    break
                if loop.stop > part:
                    found = (*loop.found(limit, 0), *loop.by_strips(limit))
                    yield from (run for run in found if run.least <= limit)
            if loop.stop <= part:
                return

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
        loop, plain, hard, before = Loop(self, start, self.tree), 0, 0, self.alive[start]
        while loop.stop < len(self.calls) and loop.add():
            most = self.limit if sliding else min(self.limit, self.after[start] - 1)
            if max(loop.known.floor, before + loop.known.fixed) > most:
                break  # longer ones hold that, too: an output shares no more than itself
            call = self.calls[loop.stop - 1]
            plain = max(plain, call.least)
            hard = max(hard, _beside(call) if sliding else call.least)
            if hard > floor and (best is None or floor < best[loop.stop]):
                within = min(self.limit, plain - 1, best[loop.stop] - 1 if best else inf)
                yield from (x for x in loop.found(within, floor) if x.least <= within)

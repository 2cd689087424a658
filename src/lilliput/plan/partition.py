"""Which runs of neighbouring tasks stream together: a dynamic programme over the schedule.

One idea: cut the schedule into runs.  A run of one task is a plain call; others are loops that
keep rows where whole maps were (`plan.group`), in exchange for a call for every few rows.  What
a run costs does not depend on how the rest is cut: its bytes are the maps that are alive around
it, the line buffers and the scratch inside, less what its outputs may run over dying inputs.
Scratch that is affordable decides which kernels a run can have.

    fewest bytes    min over the cuts of the largest run
    fewest cycles   min over the cuts of the sum, of runs within a limit

Exact for the costs it is given; placement may need more where buffers do not fit together, so
the caller plans the result, corrects what a loop turned out to need, and asks again.

After msf-CNN (fusion groups as
a path through a graph), StreamNet (line buffers instead of recomputation) and vMCU (outputs that
run over inputs).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf, log
from typing import Final

from lilliput.plan.loops import Loops
from lilliput.plan.runs import Map, Part, Run
from lilliput.plan.schedule import Schedule, streams

STEP: Final = 0.98
"""Neighbours on a front differ by two percent of the bytes, at least."""
EXCHANGE: Final = 1 / 3
"""What a percent of cycles is worth in percents of RAM, where the least RAM is asked for: a network
is not made half as fast for the sake of a hundred bytes."""


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


class Cutter:
    """Cuts a schedule, again and again.

    maps : every value of the arena by the name of its root
    loops : what other cutters found out about loops
    strips : whether rows may be made strip by strip
    """

    def __init__(
        self,
        parts: Sequence[Part],
        maps: Mapping[str, Map],
        loops: Loops | None = None,
        *,
        strips: bool = False,
    ):
        self.schedule = Schedule(parts, maps, loops, strips=strips)
        self.maps, self.plain = maps, self.schedule.plain
        self.cuts: dict[float | None, Cut] = {}

    @cached_property
    def runs(self) -> list[Run]:
        """Those that cuts are made of, by where they end."""
        return self.schedule.runs()

    def best(self, limit: float | None) -> Cut:
        """As `cut`; without a limit the one of the front that is smallest for what it costs."""
        if limit not in self.cuts:
            cut = self.cut(limit) if limit is not None else self._valued()
            self.cuts[limit] = cut
        return self.cuts[limit]

    def _valued(self) -> Cut:
        return min(self.front(), key=lambda cut: worth(cut.nbytes, cut.cycles))

    def front(self) -> list[Cut]:
        """Cuts that nothing beats in both bytes and cycles, from the fastest to the smallest."""
        least = self.cut(0)
        found = [self.cut(inf)]
        while (nbytes := found[-1].nbytes) > least.nbytes:
            smaller = self.cut(max(least.limit, min(nbytes - 1, nbytes * STEP)))
            if smaller.nbytes >= nbytes:  # loops that turned out not to stream were refused since
                break
            found.append(smaller)
        return found

    def cut(self, limit: float) -> Cut:
        """The cheapest cut whose runs need `limit` bytes or less each; where there is none, the
        cut of the fewest bytes, and among those the cheapest."""
        fast = all(run.most <= limit for run in self.plain)
        if fast and self._labels(self.plain, limit, price=False)[-1]:
            return self._cheapest(self.plain, limit)
        while True:
            found = max(limit, self.least)
            cut = self._cheapest([r for r in self.runs if r.least <= found], found)
            wrong = [r for r in cut.runs if r.rows and not streams(r)]
            if not wrong:
                return cut
            self.runs = [r for r in self.runs if r not in wrong]
            del self.least

    def correct(self, run: Run, more: int) -> None:
        """Says that a run needs `more` bytes than was estimated, as its rows turned out to lie."""
        dearer = replace(run, base=run.base + more, lines=run.lines + more)
        self.runs = [dearer if r is run else r for r in self.runs]
        self.__dict__.pop("least", None)
        self.cuts.clear()

    @cached_property
    def least(self) -> int:
        """The fewest bytes within which there is a cut: of one row an execution, if not of more."""
        lean = self._smallest([r for r in self.runs if r.rows < 2])
        return self._smallest([r for r in self.runs if r.least <= lean])

    @property
    def lean(self) -> int:
        """As `least`, of loops of one row an execution alone, about."""
        return self._smallest(self.schedule.lean())

    @property
    def layered(self) -> int:
        """As `least`, of calls alone."""
        return self._smallest(self.plain)

    def _smallest(self, runs: Sequence[Run]) -> int:
        """The fewest bytes within which there is a cut: hardly more than its largest run needs,
        which only outputs that slide too far may add to."""
        low, step = self._widest(runs), 1
        high = max(low, *(r.least + (r.slide.gain if r.slide else 0) for r in self.plain))
        while low < high:
            middle = min(low + step - 1, (low + high) // 2)
            if self._labels(runs, middle, price=False)[-1]:
                high = middle
            else:
                low, step = middle + 1, 4 * step
        return high

    def _widest(self, runs: Sequence[Run]) -> int:
        """What the largest run of a cut needs at the least."""
        most = [0, *[inf] * len(self.plain)]
        for run in runs:
            most[run.stop] = min(most[run.stop], max(most[run.start], run.least))
        return int(most[-1])

    def _cheapest(self, runs: Sequence[Run], limit: float) -> Cut:
        """The cut of the fewest cycles, of runs within `limit`, which there is."""
        label = min(self._labels(runs, limit)[-1], key=lambda x: x.cycles)
        cycles = label.cycles
        cut: list[Run] = []
        while label.run is not None:
            cut.append(label.run)
            assert label.before is not None
            label = label.before
        nbytes = max((r.nbytes(limit) for r in cut), default=0)
        return Cut(tuple(reversed(cut)), nbytes, cycles, max(limit, nbytes))

    def _labels(self, runs: Sequence[Run], limit: float, price: bool = True) -> list[list[_Label]]:
        """For each place in the schedule the ways to get there that nothing beats in both cycles
        and room below the last map."""
        found: list[list[_Label]] = [[] for _ in range(len(self.plain) + 1)]
        found[0] = [_Label(0.0, "", inf, None, None)]
        for run in runs:
            if run.least > limit or not found[run.start]:
                continue
            cycles = run.cycles(limit) if price else 0.0
            for before in found[run.start]:
                room = self._room(run, before, limit)
                if room is not None:
                    label = _Label(before.cycles + cycles, run.made[0], room, run, before)
                    _insert(found[run.stop], label)
        return found

    def _room(self, run: Run, before: _Label, limit: float) -> float | None:
        """Bytes below the largest map that a run leaves, at most; None where it does not fit.

        An output that runs over an input begins below it, so that a chain of them slides down to
        the start of the arena; where both fit side by side it can begin at the top again.
        """
        top = limit - run.made[1]
        slide = run.slide
        if slide is None or (not run.under and run.least + slide.gain <= limit):
            return top
        below = before.room if slide.inp == before.map else limit - self.maps[slide.inp].nbytes
        room = min(below - slide.distance, top)
        return room if room >= 0 else None


@dataclass(frozen=True, eq=False)
class _Label:
    """A way to a place in the schedule: its cycles, the last large map and the bytes below it, the
    last run, and the way to where that began."""

    cycles: float
    map: str
    room: float
    run: Run | None
    before: _Label | None


def _insert(labels: list[_Label], new: _Label) -> None:
    """Adds a label, unless one is as good in everything; those that it beats are dropped."""
    if any(x.map == new.map and x.cycles <= new.cycles and x.room >= new.room for x in labels):
        return
    labels[:] = [
        x for x in labels if x.map != new.map or x.cycles < new.cycles or x.room > new.room
    ]
    labels.append(new)

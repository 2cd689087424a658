"""The parts of an entry in order, and every run of them that is worth looking at.

One idea: a loop is of use only where it needs less than the calls which it stands for, and longer
loops of the same parts need no fewer line buffers; so loops grow part by part until these alone
are too many.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from functools import cached_property
from math import inf

from lilliput.errors import PlanError
from lilliput.plan.group import timetable
from lilliput.plan.loops import Chain, Loop, Loops
from lilliput.plan.runs import BLOCKS, Map, Part, Run, Slide


class Schedule(Chain):
    """Runs of a chain.

    plain[i] : part i as one call
    """

    def __init__(
        self,
        parts: Sequence[Part],
        maps: Mapping[str, Map],
        loops: Loops | None = None,
        *,
        strips: bool = False,
        counted: bool = False,
    ):
        super().__init__(parts, maps, loops, strips, counted)
        self.plain = [self.call(i) for i in range(len(parts))]

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
        loop, plain, roomy = Loop(self, start, block), 0, 0
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


def streams(run: Run) -> bool:
    """Whether the exact timetable takes a loop: parts that nothing connects are guessed at."""
    try:
        timetable([p.member.in_blocks(run.rows) for p in run.parts if p.member], frozenset())
    except PlanError:
        return False
    return True

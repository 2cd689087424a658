"""Cuts of a schedule, against every cut there is.

One idea: on a schedule of a few tasks all sequences of runs can be listed.  What a cut needs is
computed anew here: large maps are put as high as they can be, one behind the other, and a cut fits
if none of them ends up below the start of the arena.  Not a test of what a run costs by itself:
the bytes of a loop are held to the placed arena in `test_streaming`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilliput.errors import PlanError
from lilliput.ir.region import AxisRule, Pointwise, Reduce, Whole, Window
from lilliput.plan.group import Member, Read, timetable
from lilliput.plan.partition import Cut, Cutter
from lilliput.plan.runs import Map, Part, Run, Way, ways

INPUT = "in"


# Schedules --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Schedule:
    """Parts and maps, as `Cutter` takes them."""

    parts: tuple[Part, ...]
    maps: dict[str, Map]

    def cutter(self) -> Cutter:
        return Cutter(self.parts, self.maps)


@st.composite
def schedules(draw: st.DrawFn, *, most: int = 5) -> Schedule:
    """Up to `most` tasks, each of which reads what the one before it made, some an older map of
    as many rows as well, or every second row of one; some cannot stream, some need all of what
    they read."""
    rows, row = {INPUT: draw(st.integers(4, 24))}, {INPUT: draw(st.integers(1, 40))}
    reads: list[tuple[str, ...]] = []
    parts: list[Part] = []
    order = [INPUT]
    for i in range(draw(st.integers(2, most))):
        last, name = order[-1], f"m{i}"
        rule, height = draw(st.sampled_from(list(_rules(rows[last]))))
        rows[name], row[name] = height, draw(st.integers(1, 40))
        taken = [Read(last, rule)]
        # an addition: an older map of as many rows is read row by row
        older = [n for n in order[:-1] if rows[n] == rows[last] == height]
        if older and rule == Pointwise(0):
            taken.append(Read(draw(st.sampled_from(older)), Pointwise(0)))
        # a shortcut: every second row of an older map
        larger = [n for n in order[:-1] if -(-rows[n] // 2) == rows[last] == height]
        if larger and len(taken) == 1 and rule == Pointwise(0):
            taken.append(Read(draw(st.sampled_from(larger)), Window(0, 1, 2, 1, 0)))
        quantum = draw(st.sampled_from((1, 1, 1, 2)))
        extent = rows[last] if isinstance(rule, Reduce) else height
        member = Member(name, tuple(taken), name, extent, quantum)
        parts.append(_part(draw, member, row[name] * height))
        reads.append(tuple(r.root for r in taken))
        order.append(name)
    first = {name: i - 1 for i, name in enumerate(order)}
    last_read = {
        n: max((i for i, r in enumerate(reads) if n in r), default=i) for n, i in first.items()
    }
    last_read[order[-1]] = len(parts)
    maps = {
        n: Map(rows[n], row[n], first[n], last_read[n], draw(st.integers(0, 9)) == 0) for n in order
    }
    return Schedule(tuple(parts), maps)


def _rules(rows: int) -> Iterator[tuple[AxisRule, int]]:
    """(rule, rows of the result) of what may read a map of so many rows."""
    yield Pointwise(0), rows
    yield Window(0, 3, 1, 1, 1), rows
    yield Window(0, 5, 1, 1, 2), rows
    yield Window(0, 3, 2, 1, 1), -(-rows // 2)
    yield Window(0, 1, 1, 1, 0), rows
    if rows >= 5:
        yield Window(0, 3, 1, 2, 0), rows - 4
    yield Reduce(Pointwise(0)), 1
    yield Whole(), rows


def _part(draw: st.DrawFn, member: Member, nbytes: int) -> Part:
    kernels = [
        Way(draw(st.integers(0, 60)) * (k > 0), 100.0 * draw(st.integers(1, 50)))
        for k in range(draw(st.integers(1, 3)))
    ]
    near = {
        r.root: draw(st.integers(0, nbytes)) for r in member.reads if draw(st.integers(0, 2)) == 0
    }
    streams = draw(st.integers(0, 9)) > 0
    carry = 8 if any(isinstance(r.rule, Reduce) for r in member.reads) else 0
    call = 10.0 * draw(st.integers(0, 20))
    return Part(member if streams else None, ways(kernels), call, carry, near)


# Every cut --------------------------------------------------------------------------------


def cuts(runs: Sequence[Run], end: int, start: int = 0) -> Iterator[tuple[Run, ...]]:
    """All sequences of `runs` that cover the parts from `start` to `end`."""
    if start == end:
        yield ()
    for run in runs:
        if run.start == start:
            yield from ((run, *rest) for rest in cuts(runs, end, run.stop))


def fits(cut: Sequence[Run], maps: dict[str, Map], limit: float) -> bool:
    """Whether all runs need `limit` bytes or less, and no output slides below the arena."""
    large, at = "", inf  # the largest map that is alive, and how high it can begin
    for run in cut:
        if run.least > limit:
            return False
        name, nbytes = run.made
        highest = limit - nbytes
        if run.slide and (run.under or run.least + run.slide.gain > limit):
            source = run.slide.inp
            begin = at if source == large else limit - maps[source].nbytes
            highest = min(highest, begin - run.slide.distance)
        if highest < 0:
            return False
        large, at = name, highest
    return True


def streams(run: Run) -> bool:
    """Whether a loop has a timetable."""
    if run.rows:
        try:
            timetable([p.member.in_blocks(run.rows) for p in run.parts if p.member], frozenset())
        except PlanError:
            return False
    return True


def least_of(every: Sequence[Sequence[Run]], maps: dict[str, Map]) -> int:
    low, high = 0, 1 << 20
    while low < high:
        middle = (low + high) // 2
        if any(fits(cut, maps, middle) for cut in every):
            high = middle
        else:
            low = middle + 1
    return low


def cost(cut: Sequence[Run], limit: float) -> float:
    return sum(run.cycles(limit) for run in cut)


def every_cut(cutter: Cutter) -> list[tuple[Run, ...]]:
    """Of all loops, those included that no cut of few bytes is made of."""
    runs = [r for r in cutter.schedule.runs(enough=0) if streams(r)]
    return list(cuts(runs, len(cutter.schedule.parts)))


@given(schedule=schedules(), share=st.floats(0, 1.2))
def test_a_cut_is_the_cheapest_within_its_limit(schedule: Schedule, share: float) -> None:
    """Where nothing fits, the fewest bytes."""
    cutter, maps = schedule.cutter(), schedule.maps
    limit = int(share * max(run.nbytes(inf) for run in cutter.plain))
    every = every_cut(cutter)
    cut = cutter.cut(limit)
    found = max(limit, least_of(every, maps))
    best = min(cost(c, found) for c in every if fits(c, maps, found))
    assert cut.cycles == pytest.approx(best)
    assert cut.limit == found
    assert fits(cut.runs, maps, found)
    assert cut.nbytes <= cut.limit


@given(schedule=schedules())
def test_the_least_limit_is_the_least_of_all_cuts(schedule: Schedule) -> None:
    cutter = schedule.cutter()
    cut = cutter.cut(0)
    least = least_of(every_cut(cutter), schedule.maps)
    assert cut.limit == least
    assert fits(cut.runs, schedule.maps, least)


@given(schedule=schedules(most=8))
def test_a_front_goes_from_the_fastest_to_the_smallest(schedule: Schedule) -> None:
    cutter = schedule.cutter()
    front = cutter.front()
    assert front[0].runs == tuple(cutter.plain)
    assert [c.nbytes for c in front] == sorted({c.nbytes for c in front}, reverse=True)
    assert [c.cycles for c in front] == sorted(c.cycles for c in front)
    assert front[-1].nbytes <= cutter.cut(0).nbytes
    assert cutter.best(None) in front


@given(schedule=schedules(most=8), share=st.floats(0, 1))
def test_runs_cover_the_schedule_and_loops_stream(schedule: Schedule, share: float) -> None:
    cutter = schedule.cutter()
    cut = cutter.cut(share * max(run.nbytes(inf) for run in cutter.plain))
    assert [run.start for run in cut.runs] == [0, *(run.stop for run in cut.runs[:-1])]
    assert cut.runs[-1].stop == len(schedule.parts)
    for run in cut.runs:
        assert run.parts == schedule.parts[run.start : run.stop]
        if run.rows:
            assert all(part.member is not None for part in run.parts)
            assert streams(run)
            assert not _needs_whole(run)


def _needs_whole(run: Run) -> bool:
    """Whether a part of the run reads all of what another one of it makes."""
    made: set[str] = set()
    for part in run.parts:
        assert part.member
        if any(r.root in made and isinstance(r.rule, Whole) for r in part.member.reads):
            return True
        made.add(part.member.writes)
    return False


@given(schedule=schedules(), share=st.floats(0, 1))
def test_scratch_that_a_cut_grants_keeps_to_its_limit(schedule: Schedule, share: float) -> None:
    cutter = schedule.cutter()
    cut = cutter.cut(share * max(run.nbytes(inf) for run in cutter.plain))
    for i, part in enumerate(schedule.parts):
        way = part.within(cut.scratch(i))
        run = next(r for r in cut.runs if r.start <= i < r.stop)
        assert way is not None
        assert run.base + run.beside[i - run.start] + way.scratch <= cut.limit


@given(schedule=schedules(most=8), share=st.floats(0, 1))
def test_cuts_are_the_same_whatever_was_asked_before(schedule: Schedule, share: float) -> None:
    one, other = schedule.cutter(), schedule.cutter()
    limit = share * max(run.nbytes(inf) for run in one.plain)
    other.front()
    assert _shape(one.cut(limit)) == _shape(other.cut(limit))


def _shape(cut: Cut) -> tuple[object, ...]:
    return [(r.start, r.stop, r.rows) for r in cut.runs], cut.nbytes, cut.cycles, cut.limit


def test_ways_are_those_that_nothing_beats() -> None:
    lean, fast, beaten = Way(0, 900.0), Way(64, 300.0), Way(80, 400.0)
    assert ways([beaten, fast, lean]) == (lean, fast)
    part = Part(None, ways([beaten, fast, lean]), 0.0, 0, {})
    assert [part.within(n) for n in (-1, 0, 63, 64)] == [None, lean, lean, fast]

"""Closed forms of loops, against the timetable that they stand for.

One idea: whatever `runs` finds of a loop, by going through the executions of its timetable, has to
come out of the closed forms, byte for byte; and so have the fewest bytes of a schedule.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.test_partition import Schedule, cuts, fits, schedules

from lilliput.ir.region import Scale, Spread
from lilliput.plan.group import Member, Read, Slot
from lilliput.plan.layers import Layer, Net
from lilliput.plan.leads import Lead
from lilliput.plan.lean import Lean
from lilliput.plan.runs import Part, Way
from lilliput.plan.schedule import Schedule as Runs


def net(schedule: Schedule) -> Net:
    numbers = {name: m for m, name in enumerate(schedule.maps)}
    layers: list[Layer] = []
    touches: list[tuple[int, ...]] = []
    for i, part in enumerate(schedule.parts):
        read = [r.root for r in part.member.reads] if part.member else []
        made = [name for name, map in schedule.maps.items() if map.first == i]
        names = tuple(dict.fromkeys((*read, *part.near, *made)))
        layers.append(Layer.of(part, names))
        touches.append(tuple(numbers[name] for name in names))
    return Net(layers, touches, list(schedule.maps.values()))


@given(schedules(most=7))
def test_loops_need_what_their_timetable_says(schedule: Schedule) -> None:
    runs = Runs(schedule.parts, schedule.maps)
    numbers = list(schedule.maps)
    lean = Lean(net(schedule))
    found = {
        (x.start, x.stop): (x.least, x.slide and (numbers[x.slide[0]], *x.slide[1:]), x.made[1])
        for start in range(len(schedule.parts))
        for x in (lean.calls[start], *lean.grow(start, 0))
    }
    expected = {
        (r.start, r.stop): (
            r.least,
            r.slide and (r.slide.inp, r.slide.distance, r.slide.gain),
            r.made[1],
        )
        for r in runs.runs(enough=0)
        if r.rows < 2
    }
    assert found == expected


@given(schedules(most=6))
def test_the_fewest_bytes_are_those_of_the_best_of_all_cuts(schedule: Schedule) -> None:
    runs = [r for r in Runs(schedule.parts, schedule.maps).runs(enough=0) if r.rows < 2]
    every = list(cuts(runs, len(schedule.parts)))
    lean, layered = Lean(net(schedule)), schedule.cutter().layered
    assert lean.layered() == layered
    limits = range(layered + 1)
    fewest = bisect_left(limits, True, key=lambda x: any(fits(c, schedule.maps, x) for c in every))
    assert lean.least() == fewest


@given(
    st.tuples(*[st.integers(1, 12)] * 2),
    st.tuples(*[st.integers(0, 40)] * 2),
    st.tuples(*[st.integers(1, 40)] * 2),
    st.integers(-3, 3),
    st.tuples(*[st.integers(1, 4)] * 2),
    st.integers(-3, 9),
    st.tuples(*[st.integers(1, 40)] * 4),
)
def test_the_largest_lead_is_at_an_end_or_at_a_bend(
    periods: tuple[int, int],
    phases: tuple[int, int],
    counts: tuple[int, int],
    order: int,
    steps: tuple[int, int],
    pad: int,
    sizes: tuple[int, int, int, int],
) -> None:
    writer, reader = (Slot(*x) for x in zip(periods, phases, counts, strict=True))
    lead = Lead(writer, reader, order, *steps, pad, sizes[:2], sizes[2:])
    every = (lead.at(k, (k + 1) * lead.made) for k in range(writer.count))
    assert max(lead.most(), 0) == max(0, *every)


def test_rules_without_whole_strides_are_left_to_the_timetable() -> None:
    for rule in (Spread(0, 3, 2, 1), Scale(0, 1, 2)):
        member = Member("m", (Read("x", rule),), "y", 8)
        layer = Layer.of(Part(member, (Way(0, 1.0),), 0.0, 0, {}), ("x", "y"))
        assert not layer.closed
        assert layer.links is None


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_named_parts_are_those_that_were_numbered(names: tuple[str, str]) -> None:
    member = Member("m", (Read("a", Scale(0, 1, 2)),), "b", 8)
    part = Part(member, (Way(0, 1.0),), 0.0, 0, {"a": 3})
    touched = tuple({"a": 0, "b": 1}[name] for name in names)
    (named,), _ = Net([Layer.of(part, names)], [touched], []).named()
    reads = (Read("0", Scale(0, 1, 2)),)
    assert named == replace(
        part, member=replace(member, name="", reads=reads, writes="1"), near={"0": 3}
    )

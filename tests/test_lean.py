"""Closed forms of loops, against the timetable that they stand for.

One idea: whatever `runs` finds of a loop, by going through the executions of its timetable, has to
come out of the closed forms, byte for byte; and so have the fewest bytes of a schedule.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.test_partition import INPUT, Schedule, cuts, fits, schedules

from lilliput.ir.region import Scale, Spread, Window
from lilliput.plan.group import Member, Read, Slot
from lilliput.plan.layers import Layer, Net
from lilliput.plan.leads import Lead
from lilliput.plan.lean import Lean
from lilliput.plan.loops import Chain
from lilliput.plan.loops import Loop as Timed
from lilliput.plan.runs import Map, Part, Way
from lilliput.plan.schedule import Schedule as Runs
from lilliput.plan.strips import Flow, Look
from lilliput.plan.tree import Loop


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
    runs = Runs(schedule.parts, schedule.maps, counted=True)
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
    runs = [
        r for r in Runs(schedule.parts, schedule.maps, counted=True).runs(enough=0) if r.rows < 2
    ]
    every = list(cuts(runs, len(schedule.parts)))
    lean, layered = Lean(net(schedule)), schedule.cutter().layered
    assert lean.layered() == layered
    limits = range(layered + 1)
    fewest = bisect_left(limits, True, key=lambda x: any(fits(c, schedule.maps, x) for c in every))
    assert lean.least() == fewest


@st.composite
def blocks(draw: st.DrawFn) -> Schedule:
    """A few windows of pixels, that can go by strips, over an input that dies or does not."""
    rows, pixels = {INPUT: draw(st.integers(8, 20))}, {INPUT: draw(st.integers(8, 40))}
    depth = {INPUT: draw(st.integers(1, 16))}
    parts: list[Part] = []
    order = [INPUT]
    for i in range(draw(st.integers(2, 5))):
        last, name = order[-1], f"m{i}"
        size, stride = draw(st.sampled_from([(1, 1), (3, 1), (3, 2), (5, 1), (5, 2)]))
        rows[name], pixels[name] = -(-rows[last] // stride), -(-pixels[last] // stride)
        depth[name] = draw(st.integers(1, 16))
        y, x = (Window(axis, size, stride, 1, size // 2) for axis in (0, 1))
        looks = (Look(last, x, pixels[last], False),)
        flow = Flow(name, pixels[name], depth[name], looks)
        member = Member(name, (Read(last, y),), name, rows[name])
        parts.append(Part(member, (Way(draw(st.integers(0, 60)), 1.0),), 0.0, 0, {}, flow))
        order.append(name)
    end = draw(st.sampled_from([0, len(parts)]))  # when the input was read for the last time
    lasts = {**{n: i for i, n in enumerate(order)}, INPUT: end, order[-1]: len(parts)}
    maps = {n: Map(rows[n], pixels[n] * depth[n], i - 1, lasts[n]) for i, n in enumerate(order)}
    return Schedule(tuple(parts), maps)


@given(blocks())
def test_strips_need_what_their_columns_say(schedule: Schedule) -> None:
    chain = Chain(schedule.parts, schedule.maps, None, strips=True)
    lean = Lean(net(schedule))
    for start in range(len(schedule.parts)):
        slow, quick = Timed(chain, start, 1), Loop(lean, start, lean.tree)
        while slow.stop < len(schedule.parts) and slow.extend():
            assert quick.add()
            whole, *others = slow.runs(0)
            expected = [(r.least, r.under) for r in others if r.strips > 1]
            found = list(quick.by_strips(inf))
            assert [(x.least, x.under) for x in found] == expected
            assert [x.least for x in quick.found(inf, inf)] == [whole.least]


@given(blocks())
def test_fewer_bytes_by_strips_are_those_of_a_cut(schedule: Schedule) -> None:
    runs = [
        r for r in Runs(schedule.parts, schedule.maps, strips=True).runs(enough=0) if r.rows < 2
    ]
    every = list(cuts(runs, len(schedule.parts)))
    lean, whole = Lean(net(schedule)).least(), schedule.cutter().lean
    limits = range(whole + 1)
    fewest = bisect_left(limits, True, key=lambda x: any(fits(c, schedule.maps, x) for c in every))
    assert fewest <= lean <= whole
    if lean < whole:
        assert any(fits(c, schedule.maps, lean) for c in every)


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

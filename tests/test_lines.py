"""Rows of a loop that share their bytes, against the iterations gone through one by one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilliput.ir.region import Pointwise, Window, needs
from lilliput.plan.group import Kept, Member, Read, Slot, timetable, unmade
from lilliput.plan.lines import Line, Lines, lines

Loop = tuple[tuple[Member, ...], tuple[Slot, ...], tuple[Line, ...]]


@st.composite
def loops(draw: st.DrawFn) -> Loop:
    """A chain of windows, and the bytes of a row of each map but the last."""
    rows = draw(st.integers(6, 24))
    members = [Member("m0", (Read("in", Pointwise(0)),), "m0", rows)]
    roots: list[Line] = []
    for i in range(1, draw(st.integers(2, 6))):
        roots.append((f"m{i - 1}", rows, draw(st.sampled_from([3, 8, 20, 32]))))
        size, stride = draw(st.sampled_from([(1, 1), (3, 1), (3, 2), (1, 2), (5, 1)]))
        rows = -(-rows // stride)
        window = Window(0, size, stride, pad=size // 2)
        members.append(Member(f"m{i}", (Read(f"m{i - 1}", window),), f"m{i}", rows))
    table = timetable(members, frozenset({members[-1].writes}))
    return tuple(members), table.slots, tuple(roots)


def played(
    loop: Loop, found: Lines, size: int, above: int | None, behind: int | None = None
) -> None:
    """Writes and reads tags as the loop does; `above` is where what it makes begins, of rows of
    eight bytes, beside the pool, and `behind` where what it reads does, of as many."""
    members, slots, roots = loop
    memory: dict[int, tuple[str, int]] = {}
    if behind is not None:
        memory.update({x + behind: ("in", x // 8) for x in range(members[0].rows * 8)})
    nbytes = {name: n for name, _, n in roots}
    for j, k in executions(members, slots):
        member = members[j]
        if size:
            at = found.scratch[j][k]
            memory.update(dict.fromkeys(range(at, at + size), ("scratch", j)))
        if member.writes in nbytes:
            at = found.places[member.writes][k]
            memory.update(dict.fromkeys(range(at, at + nbytes[member.writes]), (member.writes, k)))
        elif above is not None:
            memory.update({x + above: ("out", k) for x in range(k * 8, k * 8 + 8)})
        if behind is not None and j == 0:  # a row is read until what is made of it is there
            assert all(memory[x + behind] == ("in", k) for x in range(k * 8, k * 8 + 8))
        for read in member.reads:
            for row in range(*needs(read.rule, (k, k + 1), 99)) if read.root in nbytes else ():
                if row < len(found.places[read.root]):
                    at = found.places[read.root][row]
                    kept = {memory.get(x) for x in range(at, at + nbytes[read.root])}
                    assert kept == {(read.root, row)}
    if above is not None:
        last = members[-1].rows
        assert all(memory[x + above] == ("out", x // 8) for x in range(last * 8))


def executions(members: tuple[Member, ...], slots: tuple[Slot, ...]) -> Iterator[tuple[int, int]]:
    """(member, its k-th execution) in order."""
    for t in range(max(s.phase + s.period * (s.count - 1) for s in slots) + 1):
        for j, slot in enumerate(slots):
            k, rest = divmod(t - slot.phase, slot.period)
            if not rest and 0 <= k < slot.count:
                yield j, k


@given(loops(), st.sampled_from([0, 5, 40]))
def test_rows_are_there_until_they_have_been_read(loop: Loop, size: int) -> None:
    members, slots, roots = loop
    found = lines(members, slots, roots, (size,) * len(members), None)
    assert found is not None
    assert found.behind is None
    played(loop, found, size, None)


@given(loops())
def test_what_a_loop_makes_is_whole_where_line_buffers_lay_over_it(loop: Loop) -> None:
    members, slots, roots = loop
    out = members[-1].writes, members[-1].rows, 8
    found = lines(members, slots, roots, (0,) * len(members), out)
    assert found is not None
    played(loop, found, 0, None if found.behind is None else -found.behind)


@given(loops(), st.sampled_from([0, 40]))
def test_line_buffers_lie_where_an_input_has_been_read(loop: Loop, size: int) -> None:
    members, slots, roots = loop
    out = members[-1].writes, members[-1].rows, 8
    inp = "in", members[0].rows, 8
    found = lines(members, slots, roots, (size,) * len(members), out, inp)
    assert found is not None
    if found.behind is None or found.ahead is None:
        played(loop, found, size, None)
        return
    starts = [found.behind + found.ahead]  # of the input behind the output, which lies over it
    for k in range(members[-1].rows):
        now = slots[-1].phase + slots[-1].period * k
        read = max(now - slots[0].phase + 1, 0) // slots[0].period
        starts.append((k + 1) * 8 - read * 8)
    played(loop, found, size, -found.behind, max(starts) - found.behind)


def test_a_row_lies_over_the_one_that_dies_while_it_is_made() -> None:
    """A window of three rows that its kernel goes through pixel by pixel: the row that it makes is
    two pixels of eight bytes ahead of the oldest one."""
    reads = Read("in", Pointwise(0)), Read("m0", Window(0, 3, pad=1)), Read("m1", Pointwise(0))
    members = tuple(Member(f"m{i}", (read,), f"m{i}", 20) for i, read in enumerate(reads))
    slots = timetable(members, frozenset({"m2"})).slots
    roots = ("m0", 20, 64), ("m1", 20, 64)
    apart, over = (
        lines(members, slots, roots, (0, 0, 0), None, None, leads)
        for leads in ((), ((1, "m0", 16),))
    )
    assert apart is not None
    assert over is not None
    assert apart.nbytes == 4 * 64
    assert 3 * 64 + 16 <= over.nbytes < apart.nbytes


def test_rows_of_several_sizes_take_what_is_alive() -> None:
    """The first layers of a network for pictures; a few greedy orders leave gaps."""
    down, around = Window(0, 3, 2, pad=1), Window(0, 3, pad=1)
    rules = (
        ("in", Pointwise(0), 80),
        ("m0", down, 40),
        ("m1", around, 40),
        ("m2", Pointwise(0), 40),
        ("m3", Pointwise(0), 40),
        ("m4", down, 20),
        ("m5", Pointwise(0), 20),
    )
    members = tuple(
        Member(f"m{i}", (Read(root, rule),), f"m{i}", rows)
        for i, (root, rule, rows) in enumerate(rules)
    )
    slots = timetable(members, frozenset({"m6"})).slots
    sizes = 240, 560, 560, 320, 1880, 940
    roots = tuple((f"m{i}", rules[i][2], nbytes) for i, nbytes in enumerate(sizes))
    found = lines(members, slots, roots, (0,) * 7, ("m6", 20, 320))
    assert found is not None
    assert found.behind is not None
    assert found.beside + 6400 == 13700


def test_layers_hand_on_their_third_row() -> None:
    """Four windows of three rows: each keeps two, and a third goes from one to the next."""
    around = Window(0, 3, pad=1)
    reads = [(Read("in", Pointwise(0)),), *((Read(f"m{i}", around),) for i in range(4))]
    members = tuple(Member(f"m{i}", read, f"m{i}", 20) for i, read in enumerate(reads))
    table = timetable(members, frozenset({"m4"}))
    roots = tuple((f"m{i}", 20, 64) for i in range(4))
    found = lines(members, table.slots, roots, (0,) * 5, None)
    assert found is not None
    assert sum(table.rings.values()) == 12
    assert found.nbytes == 10 * 64  # two each, the one being made, and the one it is made from


@pytest.mark.parametrize(("stride", "rest"), [(1, 2), (2, 1)])
def test_what_is_alive_before_during_and_after(stride: int, rest: int) -> None:
    kept = Kept(1, 1)
    kept.read(2, 3, stride, 9)
    assert list(kept.pieces()) == [(0, 1, 2), (1, 3, 3)]
    assert (kept.rest, kept.least) == (rest, min(rest, 2))


def test_rows_that_are_still_to_come_when_the_head_is_done() -> None:
    assert unmade(Slot(1, 0, 10), Slot(2, 3, 5), 1, 5) == 2
    assert unmade(Slot(1, 0, 10), Slot(1, 0, 10), 1, 10) == 1

"""Rows of a loop that share their bytes, against the iterations gone through one by one."""

from __future__ import annotations

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


def played(loop: Loop, found: Lines, size: int, above: int | None) -> None:
    """Writes and reads tags as the loop does; `above` is where what it makes begins, of rows of
    eight bytes, beside the pool."""
    members, slots, roots = loop
    memory: dict[int, tuple[str, int]] = {}
    nbytes = {name: n for name, _, n in roots}
    for t in range(max(s.phase + s.period * (s.count - 1) for s in slots) + 1):
        for j, (member, slot) in enumerate(zip(members, slots, strict=True)):
            k, rest = divmod(t - slot.phase, slot.period)
            if rest or not 0 <= k < slot.count:
                continue
            if size:
                at = found.scratch[j][k]
                memory.update(dict.fromkeys(range(at, at + size), ("scratch", j)))
            if member.writes in nbytes:
                at = found.places[member.writes][k]
                memory.update(
                    dict.fromkeys(range(at, at + nbytes[member.writes]), (member.writes, k))
                )
            elif above is not None:
                memory.update({x + above: ("out", k) for x in range(k * 8, k * 8 + 8)})
            for read in member.reads:
                for row in range(*needs(read.rule, (k, k + 1), 99)) if read.root in nbytes else ():
                    if row < len(found.places[read.root]):
                        at = found.places[read.root][row]
                        kept = {memory.get(x) for x in range(at, at + nbytes[read.root])}
                        assert kept == {(read.root, row)}
    if above is not None:
        last = members[-1].rows
        assert all(memory[x + above] == ("out", x // 8) for x in range(last * 8))


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
    kept = Kept(1, 1, [(2, 3, stride)])
    assert list(kept.pieces()) == [(0, 1, 2), (1, 3, 3)]
    assert (kept.rest, kept.least) == (rest, min(rest, 2))


def test_rows_that_are_still_to_come_when_the_head_is_done() -> None:
    assert unmade(Slot(1, 0, 10), Slot(2, 3, 5), 1, 5) == 2
    assert unmade(Slot(1, 0, 10), Slot(1, 0, 10), 1, 10) == 1

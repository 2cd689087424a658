"""Timetables of streaming groups, against an execution of every iteration.

One idea: go through the iterations and write down which rows are made and read.  No row may be
read before it is made; a line buffer is large enough if no row is overwritten that is read later.
The closed forms of `plan.group` have to be safe always, and the least there is for chains.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilliput.errors import PlanError
from lilliput.ir.region import AxisRule, Interval, Pointwise, Reduce, Window, needs
from lilliput.plan.group import Member, Read, Rhythm, Slot, first_unfinished, timetable

NOTHING: frozenset[str] = frozenset()


# Execution --------------------------------------------------------------------------------


class Late(AssertionError):
    """A row is read before it is made."""


def executions(slots: Sequence[Slot]) -> list[tuple[int, int]]:
    """(member, execution) in the order of a loop over iterations."""
    due = [(s.period * k + s.phase, j, k) for j, s in enumerate(slots) for k in range(s.count)]
    return [(j, k) for _, j, k in sorted(due)]


def piece(member: Member, k: int) -> Interval:
    return k * member.quantum, min((k + 1) * member.quantum, member.rows)


def rings(members: Sequence[Member], slots: Sequence[Slot]) -> dict[str, int]:
    """Root -> the fewest rows of a ring that loses nothing; raises Late."""
    heights = {m.writes: m.rows for m in members}
    made = dict.fromkeys(heights, 0)
    order = executions(slots)
    reads: list[list[tuple[str, Interval]]] = []
    written: list[tuple[int, str, Interval]] = []
    for at, (j, k) in enumerate(order):
        member = members[j]
        rows = piece(member, k)
        taken = [(r.root, needs(r.rule, rows, heights[r.root])) for r in member.reads]
        for root, (lo, hi) in taken:
            if lo < hi and hi > made[root]:
                raise Late(f"{member.name} reads row {hi - 1} of {root}")
        reads.append(taken)
        if not any(isinstance(r.rule, Reduce) for r in member.reads):
            written.append((at, member.writes, rows))
            made[member.writes] = rows[1]
    least = dict.fromkeys(heights, 0)
    oldest = {root: len(order) * 1000 for root in heights}
    for at in reversed(range(len(order))):
        for place, root, (_, hi) in written:
            if place == at:
                least[root] = max(least[root], hi - min(oldest[root], hi))
        for root, (lo, hi) in reads[at]:
            if lo < hi:
                oldest[root] = min(oldest[root], lo)
    return least


def chain(windows: Sequence[tuple[AxisRule, int, int]], first: int, quantum: int) -> list[Member]:
    """A source of `first` rows, and behind it one member for each (rule, rows, quantum)."""
    members = [Member("m0", (), "m0", first, quantum)]
    for k, (rule, rows, quantum) in enumerate(windows, 1):
        members.append(Member(f"m{k}", (Read(f"m{k - 1}", rule),), f"m{k}", rows, quantum))
    return members


@st.composite
def chains(draw: st.DrawFn, *, quanta: Sequence[int], most: int = 4) -> list[Member]:
    first = rows = draw(st.integers(8, 60))
    windows: list[tuple[AxisRule, int, int]] = []
    for _ in range(draw(st.integers(1, most))):
        size, stride, dilation = (draw(st.integers(1, n)) for n in (5, 3, 3))
        reach = (size - 1) * dilation
        low, high = draw(st.integers(0, reach)), draw(st.integers(0, reach))
        if rows + low + high <= reach:
            break
        rows = (rows + low + high - reach - 1) // stride + 1
        rule = Window(0, size, stride, dilation, low)
        windows.append((rule, rows, draw(st.sampled_from(quanta))))
    return chain(windows, first, draw(st.sampled_from(quanta)))


@given(members=chains(quanta=(1, 2, 3, 4, 8)))
def test_no_row_is_read_too_early_and_none_is_lost(members: list[Member]) -> None:
    table = timetable(members, NOTHING)
    least = rings(members, table.slots)
    assert all(table.rings.get(root, least[root]) >= rows for root, rows in least.items())
    assert table.iterations == max(s.phase + s.period * (s.count - 1) for s in table.slots) + 1
    assert [s.count for s in table.slots] == [-(-m.rows // m.quantum) for m in members]


@given(members=chains(quanta=(1,)))
def test_rings_of_chains_row_by_row_are_the_least(members: list[Member]) -> None:
    table = timetable(members, NOTHING)
    least = rings(members, table.slots)
    for maker, reader in zip(members, members[1:]):
        have, want = table.rings[maker.writes], least[maker.writes]
        assert have == want, (maker, reader, have, want)

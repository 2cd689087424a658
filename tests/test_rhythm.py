"""Timetables of streaming groups, against an execution of every iteration.

One idea: go through the iterations and write down which rows are made and read.  No row may be
read before it is made; a line buffer is large enough if no row is overwritten that is read later.
The closed forms of `plan.group` have to be safe always, and the least there is for chains.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilliput.errors import PlanError
from lilliput.ir.region import AxisRule, Interval, Pointwise, Reduce, Whole, Window, needs
from lilliput.plan.group import Member, Read, Rhythm, Slot, first_unfinished, timetable

NOTHING: frozenset[str] = frozenset()
QUANTA = (1, 2, 4)


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


@given(members=chains(quanta=QUANTA, most=1))
def test_two_members_keep_no_row_and_lose_no_iteration_more_than_they_must(
    members: list[Member],
) -> None:
    """Where enough windows lie inside the map: at its ends less is needed."""
    if len(members) < 2 or inner(*members) < members[0].quantum:
        return
    maker, reader = members
    table = timetable(members, NOTHING)
    assert table.rings["m0"] == rings(members, table.slots)["m0"]
    first, second = table.slots
    if second.phase > first.phase:
        with pytest.raises(Late):
            rings(members, (first, replace(second, phase=second.phase - 1)))
    if maker.quantum == reader.quantum == 1:
        assert table.rings["m0"] == window(reader).reach + 1


@given(members=chains(quanta=(1,)))
def test_rings_of_chains_row_by_row_are_the_least(members: list[Member]) -> None:
    table = timetable(members, NOTHING)
    least = rings(members, table.slots)
    for maker, reader in itertools.pairwise(members):
        ring = table.rings[maker.writes]
        assert ring <= min(window(reader).reach + 1, maker.rows)
        if inner(maker, reader):
            assert ring == least[maker.writes]


def window(reader: Member) -> Window:
    (read,) = reader.reads
    assert isinstance(read.rule, Window)
    return read.rule


def inner(maker: Member, reader: Member) -> int:
    """How many executions of the reader need no row outside what the maker makes."""
    rule = window(reader)
    whole = [rule.needs(*piece(reader, k)) for k in range(reader.rows // reader.quantum)]
    end = maker.rows // maker.quantum * maker.quantum
    return sum(lo >= 0 and hi <= end for lo, hi in whole)


# Groups with branches ---------------------------------------------------------------------


@st.composite
def groups(draw: st.DrawFn) -> list[Member]:
    """Windows and sums of what was made before; perhaps a reduction over rows at the end."""
    quanta = st.sampled_from(QUANTA)
    members = [Member("m0", (), "m0", draw(st.integers(8, 40)), draw(quanta))]
    for k in range(1, draw(st.integers(2, 7))):
        source = draw(st.sampled_from(members[-2:]))
        size, stride = draw(st.sampled_from(((3, 1), (3, 1), (5, 1), (1, 1), (3, 2))))
        rows = (source.rows - 1) // stride + 1
        reads = [Read(source.writes, Window(0, size, stride, 1, size // 2))]
        if stride == 1:
            others = [m.writes for m in members if m.rows == rows]
            reads += [Read(n, Pointwise(0)) for n in draw(st.sets(st.sampled_from(others)))]
        members.append(Member(f"m{k}", tuple(reads), f"m{k}", rows, draw(quanta)))
    if draw(st.booleans()):
        last = members[-1]
        members.append(Member("sum", (Read(last.writes, Reduce(Pointwise(0))),), "sum", last.rows))
    return members


@given(members=groups())
def test_groups_with_branches_lose_no_row(members: list[Member]) -> None:
    try:
        table = timetable(members, NOTHING)
    except PlanError:  # a sum of maps whose rates differ
        return
    least = rings(members, table.slots)
    assert all(table.rings.get(root, rows) >= rows for root, rows in least.items())
    read = {r.root for m in members for r in m.reads}
    assert set(table.rings) == read


@given(members=groups())
def test_what_passes_is_never_read_in_a_later_iteration(members: list[Member]) -> None:
    rhythm = Rhythm()
    try:
        for member in members:
            rhythm.add(member)
    except PlanError:
        return
    slots = rhythm.slots()
    heights = {m.writes: m.rows for m in members}
    for j, maker in enumerate(members):
        if rhythm.passes(maker.writes):
            for i, reader in enumerate(members):
                for read in (r for r in reader.reads if r.root == maker.writes):
                    for k in range(slots[i].count):
                        lo, hi = needs(read.rule, piece(reader, k), heights[maker.writes])
                        now = slots[i].period * k + slots[i].phase
                        made = {
                            slots[j].period * (y // maker.quantum) + slots[j].phase
                            for y in range(lo, hi)
                        }
                        assert made <= {now}


@given(members=groups(), block=st.sampled_from((2, 4, 8)))
def test_blocks_of_rows_are_fewer_calls_of_at_least_as_many_rows(
    members: list[Member], block: int
) -> None:
    blocks = [m.in_blocks(block) for m in members]
    for member, many in zip(members, blocks, strict=True):
        assert many.quantum >= (block if member.reads else member.quantum)
        assert many.quantum % member.quantum == 0
        assert many.quantum < block + member.quantum
    try:
        one, other = timetable(members, NOTHING), timetable(blocks, NOTHING)
    except PlanError:
        return
    rings(blocks, other.slots)
    assert all(a.count >= b.count for a, b in zip(one.slots, other.slots, strict=True))


def test_the_closed_forms_of_a_block_of_rows() -> None:
    """A 3x3 window behind rows that are made four at once: the lag is a multiple of what the two
    have in common, the ring holds the newest rows and what is read above them."""
    window = Window(0, 3, 1, 1, 1)
    forms = {
        (1, 1): (1, 1, 3),  # row 1 is there
        (4, 1): (1, 1, 6),  # row 4, of iteration 4, is first read by execution 3
        (1, 4): (4, 4, 6),  # rows 0 to 4
        (4, 4): (4, 4, 9),  # the second block begins with row 4
        (2, 4): (4, 4, 7),
        (4, 2): (2, 2, 7),
    }
    found = {
        (a, b): (t.slots[1].phase, t.slots[1].period, t.rings["m0"])
        for a, b in forms
        for t in [timetable(chain([(window, 64, b)], 64, a), NOTHING)]
    }
    assert found == forms


# The first execution that is not over -----------------------------------------------------

SLOTS = st.builds(Slot, st.integers(1, 6), st.integers(0, 9), st.integers(1, 9))


@given(writer=SLOTS, reader=SLOTS, order=st.integers(-2, 2), k=st.integers(0, 8))
def test_executions_that_are_over_are_those_before(
    writer: Slot, reader: Slot, order: int, k: int
) -> None:
    if order == 0:  # a member reads what it overwrites itself
        assert first_unfinished(writer, writer, k, 0) == k
        return
    now = (writer.period * k + writer.phase, order)
    over = [i for i in range(200) if (reader.period * i + reader.phase, 0) < now]
    assert first_unfinished(writer, reader, k, order) == len(over)


# What does not stream ---------------------------------------------------------------------


def test_members_that_do_not_fit_are_refused() -> None:
    whole = chain([(Whole(), 8, 1)], 8, 1)
    with pytest.raises(PlanError, match="needs all of what another one makes"):
        timetable(whole, NOTHING)
    reduced = chain([(Reduce(Pointwise(0)), 8, 1), (Pointwise(0), 1, 1)], 8, 1)
    with pytest.raises(PlanError, match="reads the result of a reduction over rows"):
        timetable(reduced, NOTHING)
    halved = chain([(Window(0, 1, 2), 8, 1)], 16, 1)
    reads = (Read("m0", Pointwise(0)), Read("m1", Pointwise(0)))
    with pytest.raises(PlanError, match="two producers run at rates that do not fit"):
        timetable([*halved, Member("sum", reads, "sum", 8)], NOTHING)


def test_what_is_kept_has_no_ring() -> None:
    members = chain([(Window(0, 3, 1, 1, 1), 16, 1), (Window(0, 3, 1, 1, 1), 16, 1)], 16, 1)
    assert dict(timetable(members, NOTHING).rings) == {"m0": 3, "m1": 3}
    assert dict(timetable(members, frozenset({"m1"})).rings) == {"m0": 3}

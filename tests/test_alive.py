"""Rows that are alive in a loop, against its iterations gone through one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lilliput.ir.region import AxisRule, Pointwise, Window, needs
from lilliput.plan.alive import Line, alive
from lilliput.plan.group import Kept, Member, Read, Rhythm, Slot, span
from lilliput.plan.leads import tops

AROUND, HALF, SHORT = Window(0, 3, pad=1), Window(0, 3, 2), Window(0, 1, 2)


@st.composite
def blocks(draw: st.DrawFn) -> tuple[Member, ...]:
    """Residual blocks one after the other, some of which take every second row, their shortcuts,
    too, which leave out the others."""
    rows = draw(st.integers(12, 40))
    members = [Member("m0", (Read("in", Pointwise(0)),), "m0", rows)]

    def add(rows: int, *reads: tuple[str, AxisRule]) -> str:
        name = f"m{len(members)}"
        taken = tuple(Read(root, rule) for root, rule in reads)
        members.append(Member(name, taken, name, rows))
        return name

    for halves in draw(st.lists(st.booleans(), min_size=1, max_size=3)):
        start, rule = members[-1].writes, HALF if halves else AROUND
        rows = -(-rows // 2) if halves else rows
        inner = add(rows, (start, rule))
        last = add(rows, (inner, draw(st.sampled_from((AROUND, Pointwise(0))))))
        add(rows, (last, Pointwise(0)), (start, SHORT if halves else Pointwise(0)))
    return tuple(members)


def timed(members: tuple[Member, ...]) -> tuple[Rhythm, list[Slot]]:
    rhythm = Rhythm()
    for member in members:
        rhythm.add(member)
    return rhythm, rhythm.slots()


def line(members: tuple[Member, ...], slots: list[Slot], j: int) -> Line:
    made = members[j]
    readers = [
        (k, tops(read.rule, 1, slots[k].count, made.rows), span(read.rule, 1))
        for k, member in enumerate(members)
        for read in member.reads
        if read.root == made.writes
    ]
    return Line(j, 1, made.rows, 1, readers)


def counted(members: tuple[Member, ...], slots: list[Slot], j: int) -> list[int]:
    """The most rows of what member j makes that are there while each member executes."""
    times = [
        (slot.phase + slot.period * k, place, k)
        for place, slot in enumerate(slots)
        for k in range(slot.count)
    ]
    lives: dict[int, list[tuple[int, int]]] = {}
    for t, place, k in sorted(times):
        touched = {k} if place == j else set[int]()
        for read in members[place].reads:
            if read.root == members[j].writes:
                touched |= set(range(*needs(read.rule, (k, k + 1), members[j].rows)))
        for row in touched:
            lives.setdefault(row, []).append((t, place))
    most = [0] * len(slots)
    for t, place, _ in times:
        now = sum(life[0] <= (t, place) <= life[-1] for life in lives.values())
        most[place] = max(most[place], now)
    return most


@given(blocks())
def test_rows_are_alive_from_when_they_are_made_until_they_are_read_last(
    members: tuple[Member, ...],
) -> None:
    _, slots = timed(members)
    makes = range(len(members) - 1)
    for j in makes:
        found = alive(slots, [line(members, slots, j)])
        assert found == counted(members, slots, j)
    sums = alive(slots, [line(members, slots, j) for j in makes])
    each = [alive(slots, [line(members, slots, j)]) for j in makes]
    assert all(
        total <= sum(parts) for total, parts in zip(sums, zip(*each, strict=True), strict=True)
    )


@given(blocks())
def test_closed_forms_are_no_less_and_the_same_where_no_row_is_left_out(
    members: tuple[Member, ...],
) -> None:
    rhythm, slots = timed(members)
    for j, member in enumerate(members[:-1]):
        kept, one = rhythm.kept[member.writes], line(members, slots, j)
        found = alive(slots, [one])
        said = _said(kept, len(members))
        assert all(n <= most for n, most in zip(found, said, strict=True))
        if not one.sparse:
            assert max(found) == max(said)


def _said(kept: Kept, count: int) -> list[int]:
    said = [kept.rest] * count
    for first, end, rows in kept.pieces():
        said[first:end] = [rows] * (end - first)
    return said


def test_a_shortcut_that_leaves_out_rows_keeps_every_second_one() -> None:
    reads = (Read("in", Pointwise(0)),), (Read("m0", HALF),), (Read("m1", AROUND),)
    shortcut = Read("m2", Pointwise(0)), Read("m0", SHORT)
    rows = 32, 16, 16, 16
    members = tuple(
        Member(f"m{j}", read, f"m{j}", n)
        for j, (read, n) in enumerate(zip((*reads, shortcut), rows, strict=True))
    )
    rhythm, slots = timed(members)
    assert rhythm.kept["m0"].most == 5
    assert max(alive(slots, [line(members, slots, 0)])) == 4

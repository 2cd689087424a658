"""Streaming: a run of tasks executed row by row, each keeping only the rows still needed.

The tasks of a group become one loop.  A task has a period (iterations between its
executions) and a phase (its first).  Both follow from the region rules in closed form:

    rate     a window of stride s halves, thirds ... the rate of rows: period = s * period
             of its producer; all periods are then scaled to the smallest integers
    phase    an execution may begin when the last row of its window has been made:
             phase >= producer's phase + producer's period * (reach - pad), or as much
             earlier as that row is made together with rows before it
    ring     between the first row that an execution still reads and the newest row made
             there are (phase - producer's phase) // period + pad + 1 rows

Rows outside the map are cut off by the clamping of ranges; that makes prologue and
epilogue.  A task that reduces over rows (global pooling, weight gradients) executes once
for every row that it takes in and keeps its accumulators between executions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Final

from lilliput.errors import PlanError
from lilliput.ir.region import AxisRule, Reduce, Scale, Shift, Spread, Window
from lilliput.plan.frames import windowed

Lie = tuple[int, int, int]
"""Rows of a value, elements from one to the next, and the row of its root that is the first."""


@dataclass(frozen=True)
class Read:
    """Operand `root` of a task, read by rows as `rule` says; `lie` as in `Member`."""

    root: str
    rule: AxisRule
    lie: Lie | None = None


@dataclass(frozen=True)
class Member:
    """A task as its group sees it.

    rows : extent of its iteration over rows
    quantum : rows of an execution; pace : of these where others make one (`pace.paces`)
    lie : how what it writes lies in its root; those who read it so read the rows that it makes,
        those who read it otherwise (reshaped, or a few of its rows) have to wait for all of it
    """

    name: str
    reads: tuple[Read, ...]
    writes: str
    rows: int
    quantum: int = 1
    lie: Lie | None = None
    pace: int = 1

    def in_blocks(self, rows: int) -> Member:
        """The same with `rows` rows or more an execution, times its pace, as its kernel can make
        them; input is asked for row by row."""
        if not self.reads:
            return self
        return replace(self, quantum=-(-rows * self.pace // self.quantum) * self.quantum)


@dataclass(frozen=True)
class Slot:
    """When a member executes: execution k at period*k + phase, `count` times."""

    period: int
    phase: int
    count: int


@dataclass(frozen=True)
class Timetable:
    """`rings`: root -> rows that its line buffer must hold."""

    slots: tuple[Slot, ...]
    rings: Mapping[str, int]
    iterations: int


@dataclass
class Kept:
    """Rows of a line buffer that are alive while each member of a group executes.

    Most are in an iteration in which all of them do, if there is one: before the maker's place
    those that its last execution left, then `made` more, and after a reader's place those less that
    only it needed.

    maker : place of who makes them, `made` at once
    readers : (place, rows, freed) of who needs so many rows, and of which it is the last time that
        it needs so many
    most, rest : rows while the one that needs most of them executes, and after all of them
    """

    maker: int
    made: int
    readers: list[tuple[int, int, int]] = field(default_factory=list[tuple[int, int, int]])
    most: int = 0
    rest: int = 0

    def read(self, place: int, rows: int, step: int, of: int) -> None:
        """By a member that would need so many rows if there were not only `of`, and each time
        begins `step` rows further: where they are cut off at both ends, none may be freed."""
        needed, rest = min(rows, of), max(min(rows - step, of), 0)
        self.readers.append((place, needed, needed - min(rows - step, of)))
        self.most = max(self.most, needed)
        self.rest = max(self.rest, rest)

    @property
    def least(self) -> int:
        """At any time, whoever else will read them."""
        return min(self.rest, max(self.most - self.made, 0))

    def pieces(self) -> Iterator[tuple[int, int, int]]:
        """(first place, place behind the last, rows), up to the last reader."""
        most = self.most
        yield 0, self.maker, max(most - self.made, 0)
        start = self.maker
        if len(self.readers) == 1:  # which is what nearly all of them are
            yield start, self.readers[0][0] + 1, most
            return
        for place in sorted({place for place, *_ in self.readers}):
            left = [rows - freed * (at < start) for at, rows, freed in self.readers]
            yield start, place + 1, max(0, *left)
            start = place + 1


Rate = int | Fraction


def stride(rule: AxisRule) -> Rate:
    """Rows of the operand for each row of the iteration."""
    inner = windowed(rule)
    if isinstance(inner, Window):
        return inner.stride
    if isinstance(inner, Spread):
        return Fraction(1, inner.stride)
    return Fraction(inner.num, inner.den) if isinstance(inner, Scale) else 1


def last_row(rule: AxisRule, quantum: int) -> int:
    """Last operand row that execution 0 of `quantum` rows needs, may be negative."""
    inner = windowed(rule)
    if isinstance(inner, Window):
        return inner.stride * (quantum - 1) - inner.pad + inner.reach
    if isinstance(inner, Shift):
        return quantum - 1 - inner.by
    if isinstance(inner, Scale):
        return (quantum - 1) * inner.num // inner.den
    if isinstance(inner, Spread):  # rounded up: a later execution is no further ahead than that
        return -(-(quantum - 1 + inner.pad) // inner.stride)
    return quantum - 1


def span(rule: AxisRule, quantum: int) -> int:
    """Operand rows that an execution of `quantum` rows reads, about."""
    return last_row(rule, quantum) + behind(rule) + 1


def behind(rule: AxisRule) -> int:
    """Rows that an execution reads before the operand row its own index points at."""
    inner = windowed(rule)
    if isinstance(inner, Window):
        return inner.pad
    if isinstance(inner, Shift):
        return max(inner.by, 0)
    if isinstance(inner, Spread):
        between = inner.stride > 1  # the producer may be a row ahead of this one's own index
        return between + max((inner.size - 1 - inner.pad) // inner.stride, 0)
    return 1 if isinstance(inner, Scale) else 0


def timetable(members: Sequence[Member], keep: frozenset[str]) -> Timetable:
    """Periods, phases and rings of a group in schedule order.

    keep : roots that are read outside the group; they get no ring.
    Raises PlanError when a member needs the whole of what another one makes, or when two
    producers of one member run at rates that do not fit.
    """
    rates: dict[int, Rate] = dict(enumerate(_rates(members)))
    rhythm = Rhythm(rates)
    for member in members:
        rhythm.add(member)
    slots = rhythm.slots()
    rings = {root: rows for root, rows in rhythm.rings.items() if root not in keep}
    return Timetable(tuple(slots), rings, rhythm.iterations(slots))


@dataclass
class Rhythm:
    """The timetable of a group that grows by one member after the other.

    rates : iterations for each row, of members for which they are known; others follow from what
        they read inside, or from their number of rows where they read nothing inside
    rings : root made inside -> rows that what reads it so far needs
    makers, readers : root -> members; of readers those that read what was made inside
    outside : roots that were read and not made inside -> who reads them, and how
    kept : root read inside -> when how many of its rows are alive
    whole : slots, as long as all rates are whole numbers; the first is 1 where it was not given
    """

    rates: dict[int, Rate] = field(default_factory=dict[int, "Rate"])
    members: list[Member] = field(default_factory=list[Member])
    phases: list[Rate] = field(default_factory=list["Rate"])
    makers: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    readers: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    rings: dict[str, int] = field(default_factory=dict[str, int])
    outside: dict[str, list[tuple[int, AxisRule]]] = field(
        default_factory=dict[str, "list[tuple[int, AxisRule]]"]
    )
    kept: dict[str, Kept] = field(default_factory=dict[str, Kept])
    whole: list[Slot] = field(default_factory=list[Slot])

    def add(self, member: Member) -> None:
        """Raises PlanError where the member cannot stream with the others."""
        j = len(self.members)
        inside = [(read, i) for read in member.reads for i in self.makers.get(read.root, ())]
        rate = self.rates.get(j)
        for read, i in inside:
            self._check(member, read, i)
            through = self.rates[i] * stride(read.rule)
            if rate is not None and through != rate:
                raise PlanError(
                    "two producers run at rates that do not fit",
                    where=member.name,
                    expected=f"a row every {rate} iterations",
                    found=f"a row every {through} from {self.members[i].name}",
                )
            rate = through
        rate = self._guess(member) if rate is None else rate
        lags = (self.phases[i] + self.rates[i] * self._lag(member, read, i) for read, i in inside)
        phase = max(lags, default=0)
        for read, i in inside:
            ahead = (phase - self.phases[i]) // self.rates[i]
            maker = self.members[i]
            rows = int(ahead) + behind(read.rule) + maker.quantum
            self.rings[read.root] = max(self.rings.get(read.root, 0), min(rows, maker.rows))
            self.readers.setdefault(read.root, []).append(j)
            kept = self.kept.setdefault(read.root, Kept(i, maker.quantum))
            kept.read(j, rows, int(stride(read.rule) * member.quantum), maker.rows)
        for read in member.reads:
            if read.root not in self.makers or read.root in self.outside:
                self.outside.setdefault(read.root, []).append((j, read.rule))
        self.makers.setdefault(member.writes, []).append(j)
        self.rates[j] = rate
        self.phases.append(phase)
        self.members.append(member)
        if isinstance(rate, int) and isinstance(phase, int):
            self.whole.append(Slot(member.quantum * rate, phase, -(-member.rows // member.quantum)))

    def _lag(self, member: Member, read: Read, i: int) -> int:
        """Rows of the producer before the last one that an execution needs: those that are made
        together are there together, whichever execution it is."""
        last = max(last_row(read.rule, member.quantum), 0)
        step = stride(read.rule) * member.quantum
        grain = math.gcd(int(step), self.members[i].quantum) if isinstance(step, int) else 1
        return last - last % grain

    def passes(self, root: str) -> bool:
        """Whether what is made of a root is read in the same iterations, and never again."""
        makers, readers = self.makers.get(root, []), self.readers.get(root, [])
        if len(makers) != 1 or not readers:
            return False
        maker = makers[0]
        rows = self.members[maker].quantum
        return self.rings[root] <= rows and all(self._slot(j) == self._slot(maker) for j in readers)

    def _slot(self, j: int) -> tuple[Rate, Rate, int]:
        member = self.members[j]
        count = -(-member.rows // member.quantum)
        return self.phases[j], self.rates[j] * member.quantum, count

    def _check(self, member: Member, read: Read, i: int) -> None:
        if windowed(read.rule) is None or read.lie != self.members[i].lie:
            raise PlanError(
                "a task needs all of what another one makes, so the two cannot stream",
                where=member.name,
                found=f"all of {self.members[i].writes}",
                hint="end the group before this task",
            )
        if any(isinstance(r.rule, Reduce) for r in self.members[i].reads):
            raise PlanError(
                "a task reads the result of a reduction over rows",
                where=member.name,
                hint="end the group with the reduction",
            )

    def _guess(self, member: Member) -> Rate:
        """As if all members began and ended together."""
        if not self.members:
            return 1
        first, mine = self.members[0].rows, member.rows
        return max(round(first / mine), 1) if first >= mine else Fraction(1, round(mine / first))

    def slots(self) -> list[Slot]:
        """When each member executes, in the smallest whole iterations."""
        if len(self.whole) == len(self.members) and self.rates[0] == 1:
            return list(self.whole)
        unit = math.lcm(*(r.denominator for r in self.rates.values()))
        smallest = math.gcd(*(int(r * unit) for r in self.rates.values()))
        scale = Fraction(unit, smallest)
        whole = scale == 1
        return [
            Slot(
                m.quantum * (int(rate) if whole else int(rate * scale)),
                int(phase) if whole else int(phase * scale),
                -(-m.rows // m.quantum),
            )
            for m, rate, phase in zip(self.members, self.rates.values(), self.phases, strict=True)
        ]

    def iterations(self, slots: Sequence[Slot]) -> int:
        return max(s.phase + s.period * (s.count - 1) for s in slots) + 1


def first_unfinished(writer: Slot, reader: Slot, k: int, order: int) -> int:
    """The first execution of `reader` that is not over when `writer` executes for the k-th time.

    order : how many places the writer stands behind the reader in the body of their loop
    """
    if order == 0:
        return k
    since = writer.period * k + writer.phase - reader.phase
    begun = since // reader.period + 1 if order > 0 else -(-since // reader.period)
    return max(begun, 0)


ALWAYS: Final = 0, 1
"""Every iteration, as `meet` has it."""


def meet(times: tuple[int, int] | None, slot: Slot) -> tuple[int, int] | None:
    """(one of them, how many to the next one) of the iterations in which one more member executes,
    as if it had neither begin nor end; None where there are none."""
    if times is None:
        return None
    at, every = times
    if (slot.phase - at) % math.gcd(every, slot.period):
        return None
    while (slot.phase - at) % slot.period:
        at += every
    return at, math.lcm(every, slot.period)


def unmade(head: Slot, writer: Slot, quantum: int, rows: int) -> int:
    """Of the rows of a writer that makes `quantum` at once those that are still to come when the
    first member of its loop is done: line buffers only shrink from then on, and can lie there."""
    end = head.phase + head.period * (head.count - 1)
    done = max((end - 1 - writer.phase) // writer.period + 1, 0)
    return max(rows - done * quantum, 0)


def _inside(members: Sequence[Member], j: int) -> list[tuple[Read, int]]:
    """(read, producer) of member j, for the reads that the group itself makes."""
    return [
        (read, i) for read in members[j].reads for i in range(j) if members[i].writes == read.root
    ]


def _rates(members: Sequence[Member]) -> list[Fraction]:
    """Iterations for each row of every member; what nothing connects goes on at its own pace."""
    edges = [
        (i, j, stride(read.rule)) for j in range(len(members)) for read, i in _inside(members, j)
    ]
    rates: list[Fraction | None] = [None] * len(members)
    for seed in range(len(members)):
        if rates[seed] is None:
            rates[seed] = Fraction(1)
            _spread(edges, rates)
    return [r for r in rates if r is not None]


def _spread(edges: Sequence[tuple[int, int, Rate]], rates: list[Fraction | None]) -> None:
    moved = True
    while moved:
        moved = False
        for i, j, ratio in edges:
            a, b = rates[i], rates[j]
            if a is not None and b is None:
                rates[j], moved = a * ratio, True
            elif a is None and b is not None:
                rates[i], moved = b / ratio, True

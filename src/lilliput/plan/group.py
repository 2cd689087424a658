"""Streaming: a run of tasks executed row by row, each keeping only the rows still needed.

The tasks of a group become one loop.  A task has a period (iterations between its
executions) and a phase (its first).  Both follow from the region rules in closed form:

    rate     a window of stride s halves, thirds ... the rate of rows: period = s * period
             of its producer; all periods are then scaled to the smallest integers
    phase    an execution may begin when the last row of its window has been made:
             phase >= producer's phase + producer's period * (reach - pad)
    ring     between the first row that an execution still reads and the newest row made
             there are (phase - producer's phase) // period + pad + 1 rows

Rows outside the map are cut off by the clamping of ranges; that makes prologue and
epilogue.  A task that reduces over rows (global pooling, weight gradients) executes once
for every row that it takes in and keeps its accumulators between executions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from lilliput.errors import PlanError
from lilliput.ir.region import AxisRule, Reduce, Scale, Shift, Spread, Window
from lilliput.plan.frames import windowed


@dataclass(frozen=True)
class Read:
    """Operand `root` of a task, of `rows` rows, read by rows as `rule` says."""

    root: str
    rule: AxisRule


@dataclass(frozen=True)
class Member:
    """A task as its group sees it; `rows` is the extent of its iteration over rows."""

    name: str
    reads: tuple[Read, ...]
    writes: str
    rows: int
    quantum: int = 1

    def in_blocks(self, rows: int) -> Member:
        """The same with `rows` rows or more an execution, as its kernel can make them."""
        return replace(self, quantum=-(-rows // self.quantum) * self.quantum)


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


def stride(rule: AxisRule) -> Fraction:
    """Rows of the operand for each row of the iteration."""
    inner = windowed(rule)
    if isinstance(inner, Window):
        return Fraction(inner.stride)
    if isinstance(inner, Spread):
        return Fraction(1, inner.stride)
    return Fraction(inner.num, inner.den) if isinstance(inner, Scale) else Fraction(1)


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
    rates = _rates(members)
    unit = math.lcm(*(r.denominator for r in rates))
    unit_rates = [int(r * unit) for r in rates]
    smallest = math.gcd(*unit_rates)
    periods = [r // smallest for r in unit_rates]
    phases: list[int] = []
    for j, member in enumerate(members):
        phase = 0
        for read, i in _inside(members, j):
            lag = max(last_row(read.rule, member.quantum), 0)
            phase = max(phase, phases[i] + periods[i] * lag)
        phases.append(phase)
    slots = [
        Slot(p * m.quantum, phase, -(-m.rows // m.quantum))
        for m, p, phase in zip(members, periods, phases, strict=True)
    ]
    rings: dict[str, int] = {}
    for j in range(len(members)):
        for read, i in _inside(members, j):
            ahead = (phases[j] - phases[i]) // periods[i]
            rows = ahead + behind(read.rule) + members[i].quantum
            rings[read.root] = max(rings.get(read.root, 0), min(rows, members[i].rows))
    rings = {root: rows for root, rows in rings.items() if root not in keep}
    iterations = max(s.phase + s.period * (s.count - 1) for s in slots) + 1
    return Timetable(tuple(slots), rings, iterations)


def first_unfinished(writer: Slot, reader: Slot, k: int, order: int) -> int:
    """The first execution of `reader` that is not over when `writer` executes for the k-th time.

    order : how many places the writer stands behind the reader in the body of their loop
    """
    if order == 0:
        return k
    since = writer.period * k + writer.phase - reader.phase
    begun = since // reader.period + 1 if order > 0 else -(-since // reader.period)
    return max(begun, 0)


def _inside(members: Sequence[Member], j: int) -> list[tuple[Read, int]]:
    """(read, producer) of member j, for the reads that the group itself makes."""
    return [
        (read, i) for read in members[j].reads for i in range(j) if members[i].writes == read.root
    ]


def _rates(members: Sequence[Member]) -> list[Fraction]:
    """Iterations for each row of every member, from the first one's: 1."""
    edges: list[tuple[int, int, Fraction]] = []
    for j, member in enumerate(members):
        for read, i in _inside(members, j):
            if windowed(read.rule) is None:
                raise PlanError(
                    "a task needs all of what another one makes, so the two cannot stream",
                    where=member.name,
                    found=f"all of {members[i].writes}",
                    hint="end the group before this task",
                )
            if any(isinstance(r.rule, Reduce) for r in members[i].reads):
                raise PlanError(
                    "a task reads the result of a reduction over rows",
                    where=member.name,
                    hint="end the group with the reduction",
                )
            edges.append((i, j, stride(read.rule)))
    rates: list[Fraction | None] = [None] * len(members)
    for seed in range(len(members)):
        if rates[seed] is None:
            rates[seed] = Fraction(1)
            _spread(edges, rates)
    known = [r for r in rates if r is not None]
    for i, j, ratio in edges:
        if known[j] != known[i] * ratio:
            raise PlanError(
                "two producers run at rates that do not fit",
                where=members[j].name,
                expected=f"a row every {known[j]} iterations",
                found=f"a row every {known[i] * ratio} from {members[i].name}",
            )
    return known


def _spread(edges: Sequence[tuple[int, int, Fraction]], rates: list[Fraction | None]) -> None:
    moved = True
    while moved:
        moved = False
        for i, j, ratio in edges:
            a, b = rates[i], rates[j]
            if a is not None and b is None:
                rates[j], moved = a * ratio, True
            elif a is None and b is not None:
                rates[i], moved = b / ratio, True

"""The search for a plan: which prices make the one that is asked for.

One idea: whatever is asked for, plans are made from the same starts, each asked for less RAM until
it has it:

    planes       the fastest kernels, tasks that stream where RAM is asked for
    some rows    planes given up where the arena is fullest
    rows         all planes given up: where the arena is fullest may not be why it lies badly
    strips       loops that make their rows strip by strip

Buffers of the plan that is taken, or that nearly fits, are placed at leisure at last.

Within a number of bytes the first start that has them is followed, and those behind it while they
are faster.  For the least RAM all are, while that is worth the cycles.  Before it is said that
nothing fits, all of them go down to the smallest plan that there is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf
from typing import Final

from lilliput.devices.device import Device
from lilliput.errors import UnsupportedError
from lilliput.plan.cost import predict
from lilliput.plan.lifetimes import lifetimes, spans
from lilliput.plan.objective import (
    CODE_CALL,
    CODE_ROOM,
    FLASH,
    SIZE,
    STACK_ROOM,
    Budget,
    Optimize,
    Prices,
    beyond,
    calls_in,
    calls_of,
    predicted,
    ram_of,
)
from lilliput.plan.partition import STEP, worth
from lilliput.plan.program import Entry, Kind, Program

ASKED: Final = (1.1, 1.05, 1.02, 0.98, 0.95, 0.9, 0.8)
"""Parts of the RAM that there is that are tried where all of it makes a slow plan."""
DEAR, SLOW = 1.02, 1.1
"""What is slow, and what is so slow that all is tried: as many times the cycles of the plan that
may take any RAM."""

ROOMIER: Final = (1.01, 1.12)
"""As many times the RAM of the best plan are tried at last: kernels may want a little more."""

MISSES: Final = 3
"""Steps down with rows in strips after which that is given up."""

LEISURE: Final = 8
"""Times the usual effort by which buffers are placed of a plan that is taken or nearly fits."""
NEARLY: Final = 2
"""Plans that nearly fit of which that is tried: so many of those that could be
the smallest, and of those that are."""

Make = Callable[[Prices], Program]


def best_plan(
    make: Make,
    device: Device,
    optimize: Optimize,
    budget: Budget,
    more: float = 0.0,
    *,
    smallest: bool = False,
) -> Program:
    """The plan for `device` that `make` gives for the prices that suit `optimize` and the budget.

    more : bytes of further RAMs that `make` fills beside the default one
    smallest : where nothing fits, give the smallest plan that any search finds, which takes as long
        as two plans; else the smallest on the way
    """
    search, room = _Search(make, device, more), budget.ram - STACK_ROOM
    if optimize is Optimize.RAM:
        prices, program = search.least_ram_within(budget.flash)
    else:
        size = optimize is Optimize.SIZE
        prices = search.least_flash() if size else search.flash_within(budget.flash)
        program = make(prices)
    if search.ram(program) <= room:
        return program
    program = search.fitting(prices, room)
    if search.ram(program) <= room:
        return search.faster(program, prices, room)
    return min(program, search.smallest(prices), key=search.ram) if smallest else program


@dataclass(frozen=True)
class _Search:
    """tried : all plans so far with their prices, in order"""

    plan: Make
    device: Device
    more: float = 0.0
    tried: list[tuple[Prices, Program]] = field(default_factory=list[tuple[Prices, Program]])

    def make(self, prices: Prices) -> Program:
        program = self.plan(prices)
        self.tried.append((prices, program))
        return program

    def flash(self, program: Program) -> int:
        """Constants in the device's flash, and room for code."""
        code = max(CODE_ROOM, CODE_CALL * len(list(calls_of(program))))
        return code + program.constants(self.device.flash.name)

    def ram(self, program: Program) -> int:
        return ram_of(program, self.device)

    def flash_within(self, limit: float) -> Prices:
        """The lowest price of flash at which no more than `limit` bytes of it are wanted; the
        highest where there is none."""
        prices = Prices()
        for price in FLASH:
            if self.flash(self.make(prices)) <= limit:
                break
            prices = Prices(flash=price)
        return prices

    def least_ram_within(self, flash: float) -> tuple[Prices, Program]:
        """As `least_ram`, at the lowest price of flash at which that keeps to so many bytes."""
        prices = self.flash_within(flash)
        program = self.least_ram(prices)
        for price in FLASH:
            if self.flash(program) <= flash:
                break
            if price > prices.flash:
                prices = Prices(flash=price)
                program = self.least_ram(prices)
        return prices, program

    def least_flash(self) -> Prices:
        """Leaves out one kernel after the other, the largest first, while that saves more flash
        than the cycles are worth."""
        prices = Prices(flash=SIZE)
        best = self.make(prices)
        used = {c.kernel.name: c.kernel for c in calls_of(best)}
        for name in sorted(used, key=lambda n: (-used[n].code, n)):
            fewer = replace(prices, without=prices.without | {name})
            try:
                program = self.make(fewer)
            except UnsupportedError:
                continue  # nothing else takes these nodes
            if self.price(program) < self.price(best):
                prices, best = fewer, program
        return prices

    def price(self, program: Program) -> float:
        """Flash at the price of `SIZE`, code included, and cycles."""
        calls, core = calls_of(program), self.device.core.name
        code = sum({c.kernel.name: c.kernel.code for c in calls}.values())
        cycles = sum(predict(c.kernel, c.node, core, c.fused) for c in calls)
        return SIZE * (self.flash(program) + code) + cycles

    def least_ram(self, prices: Prices) -> Program:
        """Lets tasks stream, and gives up planes wherever the arena is fullest; then asks for less
        and less, with planes and without.  Of all plans on the way the best."""
        begin = len(self.tried)

        def best() -> tuple[Prices, Program]:
            return min(self.tried[begin:], key=lambda made: self.worth(made[1]))

        planar = tight = replace(prices, ram=None)
        while (tighter := self._tighter(self.make(tight), tight)) is not None:
            tight = tighter
        starts = (tight, planar) if tight is not planar else (planar,)
        for start in starts:
            self.down(start, begin)
        while True:
            asked, program = best()
            # steps may have been too large, and planes elsewhere may be why maps lie badly
            for last in (*starts, self._in_rows(tight, program)):
                self.squeezed(_no_more(last, program), self.ram(program) - 1)
            if best()[1] is program:
                for start in starts:  # what is nearest to the best may not be where less begins
                    self.squeezed(start, self.ram(program) - 1)
            if best()[1] is program:
                for part in ROOMIER:
                    self._streamed(prices, self.ram(program) * part)
            if best()[1] is program:
                return self._settled(self._by_strips(asked, program))

    def smallest(self, prices: Prices) -> Program:
        """The smallest plan that is found from any start, whatever it costs."""
        begin = len(self.tried)
        self.least_ram(prices)

        def best() -> Program:
            return min((made for _, made in self.tried[begin:]), key=self.ram)

        rows = self._in_rows(prices, best())
        starts = [replace(p, strips=strips) for strips in (False, True) for p in (prices, rows)]
        for start in starts:
            self.make(replace(start, ram=0.0))
        while True:
            program = best()
            for start in starts:
                self.squeezed(_no_more(start, program), self.ram(program) - 1)
            if best() is program:
                return self._settled(program)

    def down(self, prices: Prices, begin: int) -> None:
        """Makes plans of less and less RAM, as long as the smallest one that there is would be
        worth more than all that were tried since `begin` if it cost no more cycles."""
        smallest = self.make(replace(prices, ram=0.0))
        program = self.make(prices)
        while worth(self.ram(smallest), self.cycles(program)) < min(
            self.worth(made) for _, made in self.tried[begin:]
        ):
            room = self.ram(program) * STEP
            program = self.squeezed(_no_more(prices, program), room)
            if self.ram(program) > room:
                break

    def _by_strips(self, prices: Prices, best: Program) -> Program:
        """Less and less with rows in strips, as long as one of a few steps is worth the cycles: the
        first may be one of which the buffers fit together badly."""
        prices, room, missed = replace(prices, ram=None, strips=True), self.ram(best) - 1.0, 0
        while missed < MISSES:
            smaller = self.squeezed(prices, room)
            if self.worth(smaller) < self.worth(best):
                best, room, missed = smaller, self.ram(smaller), -1
            room, missed = room * STEP, missed + 1
        return best

    def _in_rows(self, prices: Prices, program: Program) -> Prices:
        """Prices with all planes of a program given up."""
        planar = {c.output.root for c in calls_of(program) if c.output.is_planar}
        rows = frozenset(c.value.name for c in calls_of(program)) | planar
        return replace(prices, rows=rows)

    def faster(self, program: Program, prices: Prices, room: float) -> Program:
        """The fastest of a plan of at most `room` bytes and, where that pays dearly for them, of
        those that the search for the least RAM comes by."""
        if self.cycles(program) < SLOW * self.cycles(self.make(replace(prices, ram=inf))):
            return program
        begin = len(self.tried)
        self.least_ram(prices)
        found = (made for _, made in self.tried[begin:])
        return min(program, *found, key=lambda p: self._beyond(p, room))

    def within(self, prices: Prices, room: float) -> Program:
        """The fastest plan of at most `room` bytes of RAM: first by streaming alone, then with
        planes given up, too, as long as that is faster.  Where there is none, the smallest that
        was found."""
        program = best = self._streamed(prices, room)
        while (tighter := self._tighter(program, prices)) is not None:
            prices = tighter
            program = self._streamed(prices, room)
            if self._beyond(program, room) >= self._beyond(best, room):
                if self.ram(best) <= room:
                    break
            else:
                best = program
        return best

    def fitting(self, prices: Prices, room: float) -> Program:
        """As `within`; where even the smallest is too large, with all planes given up at once: that
        it lies badly may be because of planes elsewhere than where the arena is fullest.  At last
        with rows in strips."""
        best = self.within(prices, room)
        others = [replace(prices, strips=True)]
        if any(c.output.is_planar for c in calls_of(best)):
            others = [rows := self._in_rows(prices, best), replace(rows, strips=True)]
        for other in others:
            if self.ram(best) <= room:
                break
            program = self._streamed(other, room)
            best = min(best, program, key=lambda p: self._beyond(p, room))
        if self.ram(best) <= room:
            return best
        might = {id(made): made for _, made in self.tried if self._bound(made) <= room}
        first = [sorted(might.values(), key=key)[:NEARLY] for key in (self._bound, self.ram)]
        for program in {id(p): p for found in first for p in found}.values():
            best = min(best, self._settled(program), key=lambda p: self._beyond(p, room))
        return best

    def _settled(self, program: Program) -> Program:
        """A program that was made here, or where its buffers may fit better, the same with them
        placed at leisure."""
        if self._bound(program) >= self.ram(program):
            return program
        asked = next(prices for prices, made in self.tried if made is program)
        other = self.make(replace(asked, effort=LEISURE))
        return min(program, other, key=self.ram)

    def _bound(self, program: Program) -> int:
        """Bytes that no placement of its buffers is below."""
        return max(program.bounds.get(self.device.ram.name, {}).values(), default=0)

    def _beyond(self, program: Program, room: float) -> tuple[float, float]:
        """By what it is worse than another: bytes that are too many, then cycles."""
        return beyond(program, self.device, room)

    def _streamed(self, prices: Prices, room: float) -> Program:
        """The fastest plan of at most `room` bytes at these prices, of a few.  Where that costs
        much, less is asked for, too: then loops are found where kernels would have lost their
        scratch, which may be faster.  And more, as a plan may take less than it was asked for."""
        best = self.squeezed(prices, room)
        free = self.cycles(self.make(replace(prices, ram=inf)))
        for part in ASKED:
            if self.ram(best) <= room and self.cycles(best) < DEAR * free:
                break
            limit = room * part - self._states()
            program = self.make(replace(prices, ram=limit, room=room))
            best = min(best, program, key=lambda p: self._beyond(p, room))
        return best

    def squeezed(self, prices: Prices, room: float) -> Program:
        """Asks for less than `room` until the plan has it, as buffers that do not fit together need
        more than their sum; the smallest that was found where that does not help.  With further
        RAMs first for all of them together, then for the default one alone."""
        if self.more:
            wide = self._asking(prices, room, room + self.more)
            if self.ram(wide) <= room:
                return wide
        return self._asking(prices, room, room)

    def _asking(self, prices: Prices, room: float, limit: float) -> Program:
        """limit : bytes within which the first plan is made, states included."""
        states, prices = self._states(), replace(prices, room=room)
        room, limit = room - states, limit - states
        best = self.make(replace(prices, ram=limit))
        while (over := self.ram(best) - states - room) > 0 and limit - over >= room / 2:
            limit -= over
            program = self.make(replace(_no_more(prices, best), ram=limit))
            if self.ram(program) >= self.ram(best):
                break
            best = program
        return best

    def _states(self) -> int:
        """Bytes of what is there for good, below the arenas that prices are about; with further
        RAMs it may lie there."""
        if self.more or not self.tried:
            return 0
        program, ram = self.tried[0][1], self.device.ram.name
        mine = (b for b in program.buffers.values() if b.kind is Kind.STATE and b.memory == ram)
        return max(((b.offset or 0) + b.nbytes for b in mine), default=0)

    def _tighter(self, program: Program, prices: Prices) -> Prices | None:
        """Prices with rows where the arena is fullest; None where there are rows already."""
        full = frozenset(n for e in program.entries for n in self._fullest(program, e))
        return None if full <= prices.rows else replace(prices, rows=prices.rows | full)

    def worth(self, program: Program) -> float:
        return worth(self.ram(program), self.cycles(program))

    def cycles(self, program: Program) -> float:
        return predicted(program, self.device)

    def _fullest(self, program: Program, entry: Entry) -> set[str]:
        """Values that are made or read while a buffer is alive that reaches the arena's top."""
        buffers = program.buffers
        blocks = [
            b for b in lifetimes(entry, buffers) if buffers[b.name].memory == self.device.ram.name
        ]
        tops = {b.name: (buffers[b.name].offset or 0) + b.nbytes for b in blocks}
        highest = [b for b in blocks if tops[b.name] == max(tops.values())]
        calls = [
            c
            for step, (begin, end) in zip(entry.steps, spans(entry), strict=True)
            if any(b.first <= end and b.last >= begin for b in highest)
            for c in calls_in(step)
        ]
        return {name for c in calls for name in (c.value.name, *(v.root for v in c.inputs))}


def _no_more(prices: Prices, program: Program) -> Prices:
    """Prices at which no kernel has more scratch than in a program: where less RAM is asked for,
    kernels that were chosen for a little more are nearer to the best than the fastest are."""
    has = {c.value.name: float(c.kernel.scratch(c.node)) for c in calls_of(program)}
    return replace(prices, scratch={**prices.scratch, **has})

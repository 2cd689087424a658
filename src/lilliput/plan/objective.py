"""What a plan is chosen for, and how a budget bends the choice.

One idea: kernels compete by predicted cycles, and memory has a price in cycles a byte.  At price
zero the fastest kernels win; where the result does not fit the device, the memory that is too
small becomes dearer, step by step, until it does.

    SPEED  the fastest plan that fits
    SIZE   flash has a price, and a kernel whose own code costs more than it saves is left out;
           within the RAM, too
    RAM    tasks stream, and planes are given up where the arena is fullest, while that is worth
           the cycles
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from math import inf
from types import MappingProxyType
from typing import Final

from lilliput.devices.device import Device
from lilliput.errors import UnsupportedError
from lilliput.plan.cost import call_cycles, predict
from lilliput.plan.lifetimes import lifetimes, spans
from lilliput.plan.partition import STEP, worth
from lilliput.plan.program import Call, Entry, Loop, Program, Step
from lilliput.plan.runs import DUE, LOOP_CYCLES
from lilliput.plan.traffic import memory_cycles


class Optimize(Enum):
    """SPEED: the fastest plan that fits; SIZE: the least flash; RAM: the smallest arena."""

    SPEED = "speed"
    SIZE = "size"
    RAM = "ram"


Selecting = tuple[float, frozenset[str], frozenset[str], tuple[tuple[str, float], ...]]


@dataclass(frozen=True)
class Prices:
    """What competes with cycles when kernels are chosen.

    flash : cycles that a byte of packed weights costs, beyond the plain ones
    rows : values that are held in the layout "rows", in which outputs run over inputs
    scratch : value -> bytes of scratch that its making may need, where not any
    without : names of kernels that are left out
    ram : bytes of activations within which tasks run one after the other where they fit, and
        stream where they do not; None where few are worth cycles
    memories : that are open beside the default RAM and flash
    strips : whether loops may make their rows strip by strip
    """

    flash: float = 0.0
    rows: frozenset[str] = frozenset()
    scratch: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    without: frozenset[str] = frozenset()
    ram: float | None = inf
    memories: frozenset[str] = frozenset()
    strips: bool = False

    def selecting(self) -> Selecting:
        """All that kernels are selected by."""
        return self.flash, self.rows, self.without, tuple(sorted(self.scratch.items()))


@dataclass(frozen=True)
class Budget:
    """Bytes of flash and RAM that a plan should keep to."""

    flash: float = inf
    ram: float = inf

    @staticmethod
    def of(device: Device) -> Budget:
        """What a board has; a generic one has no limits."""
        return Budget(device.flash.size, device.ram.size) if device.limits else Budget()

    def within(self, ram: int | None) -> Budget:
        """No more than `ram` bytes of RAM, where that is said."""
        return self if ram is None else replace(self, ram=min(self.ram, ram))


FLASH: Final = (1.0, 8.0, 64.0, 512.0, 1e5)
"""Prices of flash that are tried: a wide weight saves about a cycle for every four pixels."""
SIZE: Final = 512.0
"""What flash costs where little of it is wanted: a kernel that is three times as slow is not
taken for the sake of a few bytes."""
SCRATCH: Final = 1e6
"""What a byte of scratch costs that a value may not have."""
CODE_ROOM: Final = 16 * 1024
CODE_CALL: Final = 360
"""Bytes of flash that are left to code, when constants are planned: at least, and for each call."""
STACK_ROOM: Final = 1024
"""Bytes of RAM that are left to the stack."""

LESS: Final = (0.9, 0.8)
"""Parts of the RAM that there is that are tried where all of it makes a slow plan."""
DEAR: Final = 1.02
"""What is slow: as many times the cycles of the plan that may take any RAM."""

Make = Callable[[Prices], Program]


def best_plan(
    make: Make, device: Device, optimize: Optimize, budget: Budget, more: float = 0.0
) -> Program:
    """The plan for `device` that `make` gives for the prices that suit `optimize` and the budget.

    more : bytes of further RAMs that `make` fills beside the default one
    Where nothing fits, the last that was tried, which is the smallest.
    """
    search, room = _Search(make, device, more), budget.ram - STACK_ROOM
    if optimize is Optimize.RAM:
        prices, program = search.least_ram_within(budget.flash)
    else:
        size = optimize is Optimize.SIZE
        prices = search.least_flash() if size else search.flash_within(budget.flash)
        program = make(prices)
    return program if search.ram(program) <= room else search.fitting(prices, room)


@dataclass(frozen=True)
class Aim:
    """What plans of networks that mean the same are compared by."""

    device: Device
    optimize: Optimize
    budget: Budget

    def lacks(self, program: Program) -> float | None:
        """Bytes of RAM within which a better plan would be; None where less is not asked for."""
        if self.optimize is Optimize.RAM:
            return 0.0
        room = self.budget.ram - STACK_ROOM
        return room if _ram(program, self.device) > room else None

    def beyond(self, program: Program) -> float:
        """Bytes by which the default RAM is too small for a program, less than 0 where it fits."""
        return _ram(program, self.device) + STACK_ROOM - self.budget.ram

    def better(self, program: Program, other: Program) -> bool:
        one, another = (self.price(p) for p in (program, other))
        return one < another

    def price(self, program: Program) -> tuple[float, float]:
        """What is the less, the better."""
        nbytes, cycles = _ram(program, self.device), predicted(program, self.device)
        if self.optimize is Optimize.RAM:
            return worth(nbytes, cycles), 0.0
        return max(nbytes - self.budget.ram + STACK_ROOM, 0), cycles


@dataclass(frozen=True)
class _Search:
    make: Make
    device: Device
    more: float = 0.0

    def flash(self, program: Program) -> int:
        """Constants in the device's flash, and room for code."""
        buffers, name = program.buffers, self.device.flash.name
        mine = (c for n, c in program.consts.items() if buffers[n].memory == name)
        code = max(CODE_ROOM, CODE_CALL * len(list(_calls_of(program))))
        return code + sum(c.data.nbytes for c in mine)

    def ram(self, program: Program) -> int:
        return _ram(program, self.device)

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
        used = {c.kernel.name: c.kernel for c in _calls_of(best)}
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
        calls, core = _calls_of(program), self.device.core.name
        code = sum({c.kernel.name: c.kernel.code for c in calls}.values())
        cycles = sum(predict(c.kernel, c.node, core, c.fused) for c in calls)
        return SIZE * (self.flash(program) + code) + cycles

    def least_ram(self, prices: Prices) -> Program:
        """Lets tasks stream, and gives up planes wherever the arena is fullest; then asks for less
        and less, with planes and without.  Of all plans on the way the best."""
        tried: list[Program] = []
        asked: dict[int, Prices] = {}

        def make(prices: Prices) -> Program:
            tried.append(self.make(prices))
            asked[id(tried[-1])] = prices
            return tried[-1]

        search = replace(self, make=make)
        prices = planar = replace(prices, ram=None)
        program = make(prices)
        while (tighter := self._tighter(program, prices)) is not None:
            prices = tighter
            program = make(prices)
        starts = (prices, planar) if prices is not planar else (prices,)
        for start in starts:
            search.down(start, tried)
        while True:
            best = min(tried, key=self.worth)
            # steps may have been too large, and planes elsewhere may be why maps lie badly
            for last in (*starts, self._in_rows(prices, best)):
                search.squeezed(_no_more(last, best), self.ram(best) - 1)
            if min(tried, key=self.worth) is best:
                return self._by_strips(asked[id(best)], best)

    def down(self, prices: Prices, tried: Sequence[Program]) -> None:
        """Makes plans of less and less RAM, as long as the smallest one that there is would be
        worth more than all that were `tried` if it cost no more cycles."""
        smallest = self.make(replace(prices, ram=0.0))
        program = self.make(prices)
        while worth(self.ram(smallest), self.cycles(program)) < min(map(self.worth, tried)):
            room = self.ram(program) * STEP
            program = self.squeezed(_no_more(prices, program), room)
            if self.ram(program) > room:
                break

    def _by_strips(self, prices: Prices, best: Program) -> Program:
        """Less and less with rows in strips, as long as that is worth the cycles."""
        prices, room = replace(prices, ram=None, strips=True), self.ram(best) - 1.0
        while True:
            smaller = self.squeezed(prices, room)
            if self.worth(smaller) >= self.worth(best):
                return best
            best, room = smaller, self.ram(smaller) * STEP

    def _in_rows(self, prices: Prices, program: Program) -> Prices:
        """Prices with all planes of a program given up."""
        planar = {c.output.root for c in _calls_of(program) if c.output.is_planar}
        rows = frozenset(c.value.name for c in _calls_of(program)) | planar
        return replace(prices, rows=rows)

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
        if any(c.output.is_planar for c in _calls_of(best)):
            others = [rows := self._in_rows(prices, best), replace(rows, strips=True)]
        for other in others:
            if self.ram(best) <= room:
                break
            program = self._streamed(other, room)
            best = min(best, program, key=lambda p: self._beyond(p, room))
        return best

    def _beyond(self, program: Program, room: float) -> tuple[float, float]:
        """By what it is worse than another: bytes that are too many, then cycles."""
        return max(self.ram(program) - room, 0), self.cycles(program)

    def _streamed(self, prices: Prices, room: float) -> Program:
        """The fastest plan of at most `room` bytes at these prices, of a few.  Where that costs
        much, less is asked for, too: then loops are found where kernels would have lost their
        scratch, which may be faster."""
        best = self.squeezed(prices, room)
        free = self.cycles(self.make(replace(prices, ram=inf)))
        for part in LESS:
            if self.ram(best) > room or self.cycles(best) < DEAR * free:
                break
            program = self.squeezed(prices, room * part)
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
        best = self.make(replace(prices, ram=limit))
        while (over := self.ram(best) - room) > 0 and limit - over >= room / 2:
            limit -= over
            program = self.make(replace(_no_more(prices, best), ram=limit))
            if self.ram(program) >= self.ram(best):
                break
            best = program
        return best

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
            for c in _calls(step)
        ]
        return {name for c in calls for name in (c.value.name, *(v.root for v in c.inputs))}


def _ram(program: Program, device: Device) -> int:
    return program.arenas.get(device.ram.name, 0)


def predicted(program: Program, device: Device) -> float:
    """Cycles of one call of every entry, what it waits for memories included."""
    core = device.core.name
    cycles = sum(c for e in program.entries for s in e.steps for _, c in step_cycles(s, core))
    return cycles + memory_cycles(program.entries, program.buffers, device)


def step_cycles(step: Step, core: str) -> Iterator[tuple[Call, float]]:
    """The calls of a step with their predicted cycles, what a loop adds to each included."""
    if isinstance(step, Call):
        yield step, predict(step.kernel, step.node, core, step.fused)
    if not isinstance(step, Loop):
        return
    for timed in step.body:
        call = timed.step
        if isinstance(call, Call):
            once = predict(call.kernel, call.node, core, call.fused)
            again = (timed.count - 1) * call_cycles(call.kernel, call.node, core)
            yield call, once + again + timed.count * LOOP_CYCLES + step.count * DUE


def _no_more(prices: Prices, program: Program) -> Prices:
    """Prices at which no kernel has more scratch than in a program: where less RAM is asked for,
    kernels that were chosen for a little more are nearer to the best than the fastest are."""
    has = {c.value.name: float(c.kernel.scratch(c.node)) for c in _calls_of(program)}
    return replace(prices, scratch={**prices.scratch, **has})


def _calls_of(program: Program) -> list[Call]:
    return [c for e in program.entries for c in e.calls()]


def _calls(step: Step) -> list[Call]:
    if isinstance(step, Loop):
        return [t.step for t in step.body if isinstance(t.step, Call)]
    return [step] if isinstance(step, Call) else []

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

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from math import inf
from types import MappingProxyType
from typing import Final

from lilliput.devices.device import Device
from lilliput.plan.cost import call_cycles, predict
from lilliput.plan.partition import worth
from lilliput.plan.program import Call, Loop, Program, Step
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
    room : bytes of RAM that the plan has in any case, where less is asked for to come to lie in it
    memories : that are open beside the default RAM and flash
    strips : whether loops may make their rows strip by strip
    effort : times the usual moves by which offsets are found
    """

    flash: float = 0.0
    rows: frozenset[str] = frozenset()
    scratch: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    without: frozenset[str] = frozenset()
    ram: float | None = inf
    memories: frozenset[str] = frozenset()
    strips: bool = False
    effort: int = 1
    room: float = 0.0

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
        return room if ram_of(program, self.device) > room else None

    def beyond(self, program: Program) -> float:
        """Bytes by which the default RAM is too small for a program, less than 0 where it fits."""
        return ram_of(program, self.device) + STACK_ROOM - self.budget.ram

    def better(self, program: Program, other: Program) -> bool:
        one, another = (self.price(p) for p in (program, other))
        return one < another

    def price(self, program: Program) -> tuple[float, float]:
        """What is the less, the better."""
        if self.optimize is Optimize.RAM:
            return worth(ram_of(program, self.device), predicted(program, self.device)), 0.0
        return beyond(program, self.device, self.budget.ram - STACK_ROOM)


def ram_of(program: Program, device: Device) -> int:
    """Bytes of the default RAM, states included."""
    return program.arenas.get(device.ram.name, 0)


def beyond(program: Program, device: Device, room: float) -> tuple[float, float]:
    """What is less of a better plan: bytes of the default RAM above `room`, then cycles."""
    return max(ram_of(program, device) - room, 0), predicted(program, device)


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


def calls_of(program: Program) -> list[Call]:
    """All calls, those in loops once."""
    return [c for e in program.entries for c in e.calls()]


def calls_in(step: Step) -> list[Call]:
    """As `calls_of`, of one step."""
    if isinstance(step, Loop):
        return [t.step for t in step.body if isinstance(t.step, Call)]
    return [step] if isinstance(step, Call) else []

"""What a plan is chosen for, and how a budget bends the choice.

One idea: kernels compete by predicted cycles, and memory has a price in cycles a byte.  At price
zero the fastest kernels win; where the result does not fit the device, the memory that is too
small becomes dearer, step by step, until it does.  `SIZE` begins with dear flash, `RAM` takes
the plan with the smallest arena of all prices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from math import inf
from typing import Final

from lilliput.devices.device import Device
from lilliput.plan.program import Program


class Optimize(Enum):
    """SPEED: the fastest plan that fits; SIZE: the least flash; RAM: the smallest arena."""

    SPEED = "speed"
    SIZE = "size"
    RAM = "ram"


@dataclass(frozen=True)
class Prices:
    """Cycles that a byte costs: of packed weights beyond the plain ones, and of scratch.

    planes : whether values may leave the layout "rows", in which outputs run over inputs
    """

    flash: float = 0.0
    scratch: float = 0.0
    planes: bool = True


@dataclass(frozen=True)
class Budget:
    """Bytes of flash and RAM that a plan should keep to."""

    flash: float = inf
    ram: float = inf

    @staticmethod
    def of(device: Device) -> Budget:
        """What a board has; a generic one has no limits."""
        return Budget(device.flash.size, device.ram.size) if device.limits else Budget()


FLASH: Final = (0.0, 1.0, 8.0, 64.0, 1e4)
"""Prices of flash that are tried: a wide weight saves about a cycle for every four pixels."""
RAM: Final = (Prices(), Prices(scratch=1e4), Prices(scratch=1e4, planes=False))
"""Ways to want less RAM that are tried, the fastest first."""
CODE_ROOM: Final = 16 * 1024
"""Bytes of flash that are left to code, when constants are planned."""
STACK_ROOM: Final = 1024
"""Bytes of RAM that are left to the stack."""


def best_plan(
    make: Callable[[Prices], Program], device: Device, optimize: Optimize, budget: Budget
) -> Program:
    """The plan for `device` that `make` gives for the prices that suit `optimize` and the budget.

    Where nothing fits, the last that was tried, which is the smallest.
    """
    if optimize is Optimize.RAM:
        plans = [make(replace(p, flash=FLASH[0])) for p in RAM]
        return min(plans, key=lambda p: p.arenas.get(device.ram.name, 0))
    flash, ram = (len(FLASH) - 1 if optimize is Optimize.SIZE else 0), 0
    while True:
        program = make(replace(RAM[ram], flash=FLASH[flash]))
        if flash + 1 < len(FLASH) and _flash(program, device) > budget.flash:
            flash += 1
        elif ram + 1 < len(RAM) and _ram(program, device) > budget.ram:
            ram += 1
        else:
            return program


def _flash(program: Program, device: Device) -> int:
    buffers = program.buffers
    mine = (c for n, c in program.consts.items() if buffers[n].memory == device.flash.name)
    return CODE_ROOM + sum(c.data.nbytes for c in mine)


def _ram(program: Program, device: Device) -> int:
    return STACK_ROOM + program.arenas.get(device.ram.name, 0)

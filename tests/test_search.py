"""The search for a plan is monotone: less RAM is found whichever way it is asked for."""

from __future__ import annotations

from functools import cache

import pytest
from tests.test_slices import BLOCKS, SCHEME, bottlenecks, learned

from lilliput.compiler import from_module
from lilliput.devices.device import load as board
from lilliput.ir.module import Module
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.objective import STACK_ROOM, Budget, Optimize, predicted
from lilliput.plan.program import Program

M4 = board("cortex-m4")
STEPS = ("sliced", pytest.param("tensors", marks=pytest.mark.slow))


@cache
def step(name: str) -> Module:
    """A training step: in slices, or with more in its states than in its arena."""
    if name == "tensors":
        training = learned(bottlenecks(32, size=3), "full", {}, "nearest")
    else:
        training = learned(bottlenecks(16, size=4), SCHEME, dict.fromkeys(BLOCKS, 2), "nearest")
    return from_module(training.module).module


def ram(program: Program) -> int:
    return program.arenas[M4.ram.name]


@cache
def within(name: str, nbytes: int) -> Program:
    """What is planned where the arena may take so many bytes."""
    budget = Budget(ram=nbytes + STACK_ROOM)
    return plan(step(name), M4, PlanOptions(budget=budget))


@cache
def least(name: str) -> Program:
    return plan(step(name), M4, PlanOptions(optimize=Optimize.RAM))


def asked(name: str) -> list[int]:
    """Bytes from those of the fastest plan down to fewer than there are."""
    most, fewest = ram(plan(step(name), M4)), ram(within(name, 1))
    return [fewest + (most - fewest) * k // 2 for k in range(2)]


@pytest.mark.parametrize("name", STEPS)
def test_the_least_ram_is_not_beaten_at_no_higher_price(name: str) -> None:
    best = least(name)
    for nbytes in asked(name):
        other = within(name, nbytes)
        assert ram(other) >= ram(best) or predicted(other, M4) > predicted(best, M4), nbytes


def test_a_refusal_names_the_smallest_plan_there_is() -> None:
    """And what it names is found where it is asked for."""
    name = "sliced"
    smallest = ram(within(name, 1))
    assert smallest <= ram(least(name))
    assert ram(within(name, smallest)) == smallest
    for nbytes in asked(name):
        assert smallest <= ram(within(name, nbytes)) <= nbytes

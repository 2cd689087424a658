"""The search for a plan is monotone: less RAM is found whichever way it is asked for."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from tests.test_slices import BLOCKS, SCHEME, bottlenecks, learned

from lilliput.compiler import from_module
from lilliput.devices.device import load as board
from lilliput.ir.build import Builder
from lilliput.ir.module import Module
from lilliput.ir.types import Quant, s8
from lilliput.ops.conv import Conv2d, conv2d
from lilliput.ops.pool import Pool, avg_pool2d
from lilliput.passes.canonicalize import Canonicalize
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.objective import STACK_ROOM, Budget, Optimize, predicted
from lilliput.plan.planner import Planner
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


@pytest.mark.slow
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


def keywords() -> Module:
    """Depthwise and pointwise layers behind one convolution, as of a keyword network."""
    b, rng = Builder(), np.random.default_rng(0)
    x = b.input("x", s8(1, 50, 10, 1, scale=0.1))
    for k, (size, depth, groups) in enumerate(((3, 1, 1), *((3, 1, 64), (1, 64, 1)) * 3)):
        data = rng.integers(-90, 91, (64, size, size, depth)).astype(np.int8)
        w = b.param(f"w{k}", data, Quant.per_tensor(0.01))
        stride = (2, 2) if k == 0 else (1, 1)
        half = size // 2
        attrs = Conv2d(stride=stride, pad=(half, half, half, half), groups=groups)
        x = b.add(conv2d, (x, w), attrs, type=s8(1, 25, 5, 64, scale=0.1), name=f"c{k}")
    pooled = s8(1, 1, 1, 64, scale=0.1)
    x = b.add(avg_pool2d, (x,), Pool((25, 5)), type=pooled, name="pooled")
    return Canonicalize()(b.module((x,), name="keywords"))


def never(_planner: Planner, _name: str) -> bool:
    return False


def test_faster_kernels_come_back_where_there_is_scratch(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a small arena lean kernels are chosen for a cut that does not fit; the next one does."""
    module, room = keywords(), 4608
    options = PlanOptions(budget=Budget(ram=room + STACK_ROOM))
    found = plan(module, M4, options)
    with monkeypatch.context() as m:
        m.setattr(Planner, "use_room", never)
        lean = plan(module, M4, options)
    assert ram(lean) < ram(found) <= room
    assert predicted(found, M4) < 0.9 * predicted(lean, M4)

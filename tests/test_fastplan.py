"""The fast estimate of RAM, against the planner that it stands in for.

One idea: its parts are the planner's own parts, looked up instead of made anew; so they are equal,
and what is estimated from them is near what is placed.  Times are for `benchmarks.fastplan`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
from benchmarks.fastplan import NEAR, network
from tests.test_programs import inverted_residual, trainable

from lilliput.devices.device import load
from lilliput.ir import Builder, Module
from lilliput.ir.module import Param
from lilliput.ir.types import s8
from lilliput.ops.elementwise import Binary, add
from lilliput.ops.shape import Concat, concat
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.fast import Known, peak, quick_net, slow_parts
from lilliput.plan.objective import Budget, Optimize
from lilliput.plan.partition import Cutter
from lilliput.plan.runs import Part
from lilliput.plan.select import zeros

CORE = "cortex-m4"
SEEDS = range(4)
MODES = {False: Optimize.SPEED, True: Optimize.RAM}


@cache
def small(seed: int) -> Module:
    return network(seed, ((24, 2), (40, 2)))


def facts(part: Part) -> tuple[object, ...]:
    """All of a part but for names."""
    member = part.member and (
        [(r.rule, r.lie) for r in part.member.reads],
        part.member.rows,
        part.member.quantum,
        part.member.lie,
    )
    return member, part.ways, part.call, part.carry, list(part.near.values())


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_known_parts_are_the_planners_parts(seed: int, streaming: bool) -> None:
    module = small(seed)
    module = replace(module, params={n: zeros(p.value) for n, p in module.params.items()})
    known = Known(CORE)
    for other in SEEDS:  # what others left behind does not matter
        peak(small(other), known, streaming=streaming)
    quick = quick_net(small(seed), "infer", known, streaming=streaming)
    parts, maps = slow_parts(module, "infer", CORE, streaming=streaming)
    assert quick
    assert list(map(facts, quick.named()[0])) == list(map(facts, parts))
    assert quick.maps == list(maps.values())


@pytest.mark.parametrize("mode", MODES.values())
@pytest.mark.parametrize("seed", SEEDS)
def test_estimates_are_near_what_is_placed(seed: int, mode: Optimize) -> None:
    module, known = small(seed), Known(CORE)
    # `--optimize ram` does not pay for the last bytes, of which an estimate knows nothing
    options = PlanOptions(budget=Budget(ram=0)) if mode is Optimize.RAM else PlanOptions()
    placed = plan(module, load(CORE), options).arenas["ram"]
    # rows of several sizes leave gaps in the pool of a loop, of which an estimate knows nothing
    near = 1.25 * NEAR if mode is Optimize.RAM else NEAR
    assert peak(module, known, streaming=mode is Optimize.RAM) == pytest.approx(placed, rel=near)


@pytest.mark.parametrize("streaming", [False, True])
def test_weights_and_what_was_asked_before_do_not_matter(streaming: bool) -> None:
    known = Known(CORE)
    for seed in SEEDS:
        module = small(seed)
        bare = {n: Param(p.value, None) for n, p in module.params.items()}
        alone = peak(replace(module, params=bare), Known(CORE), streaming=streaming)
        assert peak(module, known, streaming=streaming) == alone


@pytest.mark.parametrize("seed", SEEDS)
def test_rows_need_no_more_than_layers_and_no_less_than_any_cut(seed: int) -> None:
    parts, maps = slow_parts(small(seed), "infer", CORE, streaming=True)
    cutter = Cutter(parts, maps)
    assert cutter.least <= cutter.lean <= cutter.layered
    assert cutter.lean <= cutter.least * (1 + NEAR)


def joined() -> Module:
    """Two halves of a map, side by side."""
    b = Builder()
    type = s8(1, 12, 12, 4, scale=0.1)
    x, y = b.input("x", type), b.input("y", type)
    halves = [
        b.add(add, pair, Binary(), type=type, name=n) for n, pair in (("p", (x, y)), ("q", (x, x)))
    ]
    both = b.add(concat, tuple(halves), Concat(3), type=s8(1, 12, 12, 8, scale=0.1), name="both")
    return b.module((both,), name="joined")


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("make", [joined, trainable])
def test_moved_data_and_states_are_left_to_the_planner(
    make: Callable[[], Module], streaming: bool
) -> None:
    module = make()
    assert any(
        quick_net(module, name, Known(CORE), streaming=streaming) is None for name in module.graphs
    )
    assert peak(module, Known(CORE), streaming=streaming) > 0


def test_concatenations_are_estimated_as_they_are_placed() -> None:
    placed = plan(joined(), load(CORE)).arenas["ram"]
    assert peak(joined(), Known(CORE), streaming=False) == pytest.approx(placed, rel=NEAR)


def test_a_residual_network_with_odd_sizes() -> None:
    module = inverted_residual()
    for streaming, mode in MODES.items():
        placed = plan(module, load(CORE), PlanOptions(optimize=mode)).arenas["ram"]
        assert peak(module, Known(CORE), streaming=streaming) <= placed * (1 + NEAR)

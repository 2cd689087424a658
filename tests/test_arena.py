"""Offsets against a search of everything.

Small random instances, with outputs that may run over their inputs, are solved by trying every
order of buffers at every offset; that search knows nothing of the planner.  Held against it are the
lower bound (never above), what is proven (equal), the solver (equal), and the planner (never
below, never worse than its greedy orders).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from importlib import util

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.test_planner import network

from lilliput.devices.device import load
from lilliput.errors import MissingTool
from lilliput.plan import branch, exact
from lilliput.plan.arena import Block, Problem, extent, lower_bound, place
from lilliput.plan.branch import Placed, tighten
from lilliput.plan.build import PlanOptions, plan

Instance = tuple[list[Block], dict[tuple[str, str], int]]

needs_ortools = pytest.mark.skipif(not util.find_spec("ortools"), reason="OR-tools is optional")


@st.composite
def instances(draw: st.DrawFn, most: int = 6, size: int = 9) -> Instance:
    """Blocks of a few bytes; every output may run over any of the blocks that end where it
    begins, and sometimes those over one another."""
    blocks: list[Block] = []
    for k in range(draw(st.integers(1, most))):
        first = draw(st.integers(0, 5))
        last = first + draw(st.integers(0, 3))
        align = draw(st.sampled_from((1, 1, 2, 4)))
        blocks.append(Block(f"b{k}", draw(st.integers(0, size)), align, first, last))
    near: dict[tuple[str, str], int] = {}
    for k, out in enumerate(blocks):
        for source in blocks[:k]:
            at_once = out.first <= source.last and source.first <= out.last
            if at_once and draw(st.integers(0, 2)):
                near[out.name, source.name] = draw(st.integers(0, out.nbytes + 2))
    return blocks, near


def smallest(blocks: Sequence[Block], near: Mapping[tuple[str, str], int], base: int) -> int:
    """The least end of any placement: every offset of every block, cut where it gets too high."""
    best = sum(b.nbytes + b.align for b in blocks) + base
    offsets: dict[str, int] = {}

    def descend(k: int, top: int) -> None:
        nonlocal best
        if top >= best:
            return
        if k == len(blocks):
            best = top
            return
        block = blocks[k]
        for offset in range(-(-base // block.align) * block.align, best, block.align):
            if all(apart(block, offset, other) for other in blocks[:k]):
                offsets[block.name] = offset
                descend(k + 1, max(top, offset + block.nbytes))
                del offsets[block.name]

    def apart(a: Block, at: int, b: Block) -> bool:
        if a.last < b.first or b.last < a.first or not a.nbytes or not b.nbytes:
            return True
        to = offsets[b.name]
        return (
            at + min(a.nbytes, near.get((a.name, b.name), a.nbytes)) <= to
            or to + min(b.nbytes, near.get((b.name, a.name), b.nbytes)) <= at
        )

    descend(0, base)
    return best


@given(instance=instances(), base=st.sampled_from((0, 4, 6)))
def test_the_bound_and_the_proof_against_every_placement(instance: Instance, base: int) -> None:
    blocks, near = instance
    optimum = smallest(blocks, near, base)
    assert base + lower_bound(blocks, near) <= optimum
    offsets = place(blocks, near, base)
    assert extent(blocks, offsets) >= optimum or not blocks
    for start in (offsets, place(blocks, near, base, effort=0)):
        proven = tighten(blocks, near, base, start)
        assert proven.top == proven.bound == optimum


@given(instance=instances(most=14, size=200), base=st.sampled_from((0, 4, 36)))
def test_the_search_is_never_worse_than_greedy(instance: Instance, base: int) -> None:
    blocks, near = instance
    greedy = extent(blocks, place(blocks, near, base, effort=0))
    found = extent(blocks, place(blocks, near, base))
    proven = tighten(blocks, near, base, place(blocks, near, base))
    assert base + lower_bound(blocks, near) <= proven.bound <= proven.top <= found <= greedy
    assert proven == tighten(list(blocks), dict(near), base, place(blocks, near, base))


@needs_ortools
@settings(max_examples=max(settings().max_examples // 4, 10))
@given(instance=instances(), base=st.sampled_from((0, 4, 6)))
def test_the_solver_against_every_placement(instance: Instance, base: int) -> None:
    blocks, near = instance
    top = extent(blocks, place(blocks, near, base, effort=0))
    solved = exact.solve(blocks, near, base, Placed(place(blocks, near, base, 0), top, base))
    assert solved.top == solved.bound == max(base, smallest(blocks, near, base))
    assert extent(blocks, solved.offsets) == solved.top


def stairs(count: int, step: int = 100, distance: int = 7) -> Instance:
    """A chain of equal layers, each of which may run all but `distance` bytes over the last."""
    blocks = [Block(f"b{k}", step, 1, k, k + 1) for k in range(count)]
    return blocks, {(f"b{k + 1}", f"b{k}"): distance for k in range(count - 1)}


def test_a_staircase_of_outputs_is_planned_and_proven() -> None:
    """Every step alone needs 107 bytes; six together need 135, because each lies lower."""
    blocks, near = stairs(6)
    assert lower_bound(blocks, near) == 107
    offsets = place(blocks, near)
    proven = tighten(blocks, near, 0, offsets)
    assert extent(blocks, offsets) == proven.bound == 100 + 5 * 7


def test_inputs_cannot_all_lie_in_one_output() -> None:
    """Two inputs of 60 could each run under an output of 100, but not both: 120 are needed, and
    ten more where the first of them has to keep a distance of ten."""
    blocks = [Block("x", 60, 1, 0, 1), Block("y", 60, 1, 0, 1), Block("out", 100, 1, 1, 2)]
    assert lower_bound(blocks, {("out", "x"): 0, ("out", "y"): 0}) == 120
    assert lower_bound(blocks, {("out", "x"): 10, ("out", "y"): 20}) == 130
    assert extent(blocks, place(blocks, {("out", "x"): 10, ("out", "y"): 20})) == 130


def test_padding_for_alignment_counts() -> None:
    blocks = [Block(name, 5, 4, 0, 0) for name in "abc"]
    assert lower_bound(blocks, {}) == 8 + 8 + 5 == extent(blocks, place(blocks, {}))


def test_effort_is_bounded_by_moves_not_by_time() -> None:
    blocks, near = stairs(60, 1000, 31)
    start = time.perf_counter()
    one = place(blocks, near)
    assert time.perf_counter() - start < 5  # seconds; 0.05 on an idle machine
    assert one == place(blocks, near)


def test_a_budget_that_is_used_up_leaves_a_sound_bound() -> None:
    blocks, near = stairs(40, 1000, 31)
    offsets = place(blocks, near, effort=0)
    none = tighten(blocks, near, 0, offsets, budget=0)
    some = tighten(blocks, near, 0, offsets, budget=10)
    most = tighten(blocks, near, 0, offsets, budget=2000)
    assert none.bound <= some.bound <= most.bound <= most.top <= some.top <= none.top
    assert most.top == most.bound


def test_exact_offsets_without_ortools_are_refused_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(util, "find_spec", dict[str, object]().get)
    blocks, near = stairs(3)
    open_ = Placed(place(blocks, near), 120, 107)
    with pytest.raises(MissingTool, match=r"lilliput\[planner\]") as caught:
        exact.solve(blocks, near, 0, open_)
    assert "a plan of 120 B, proven to be within 13 B of the optimum" in str(caught.value)
    done = Placed(open_.offsets, 114, 114)
    assert exact.solve(blocks, near, 0, done) is done


@needs_ortools
def test_the_solver_gives_the_same_offsets_again_and_is_never_worse() -> None:
    blocks, near = stairs(12, 90, 11)
    start = place(blocks, near, effort=0)
    open_ = Placed(start, extent(blocks, start), lower_bound(blocks, near))
    solved = exact.solve(blocks, near, 0, open_)
    assert solved == exact.solve(blocks, near, 0, open_)
    assert exact.solve(blocks, near, 0, open_, limit=1e-9).top <= open_.top
    assert solved.top == tighten(blocks, near, 0, start, branch.BUDGET * 10).top


def test_exact_offsets_of_a_plan_are_those_that_were_proven_without() -> None:
    module = network()
    own = plan(module, load("cortex-m4"))
    exactly = plan(module, load("cortex-m4"), PlanOptions(exact=True))
    assert own.lower_bound("ram") == own.arenas["ram"]
    assert exactly.buffers == own.buffers


@settings(max_examples=60)
@given(instance=instances(most=14, size=200), data=st.data())
def test_a_move_is_the_placement_of_its_order(instance: Instance, data: st.DataObject) -> None:
    """What a move leaves where it is, building the whole order leaves there, too."""
    blocks, near = instance
    problem = Problem(blocks, near, 4)
    tower = problem.build(data.draw(st.permutations(range(len(blocks)))))
    for _ in range(4):
        upper = data.draw(st.sampled_from(tower.order))
        before = tower.order[: tower.order.index(upper)]
        if not before:
            continue
        lower = data.draw(st.sampled_from(before))
        order = [i for i in tower.order if i != upper]
        order.insert(order.index(lower), upper)
        moved = problem.moved(tower, lower, upper, math.inf)
        assert moved == problem.build(order)
        assert moved is not None
        tower = moved

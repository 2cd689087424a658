"""What is read early and late: the integer programme, the graph that it makes, and the plans of it.

One idea: the programme is held against all choices there are, the graph against the graph as it
was, value by value, and the C of a plan against NumPy.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lilliput.compiler import Learner, Options, from_module
from lilliput.compiler import learner as compiled_learner
from lilliput.devices.device import Device, Memory
from lilliput.devices.device import load as board
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain, find
from lilliput.errors import DoesNotFit
from lilliput.ir import Builder, Module, Quant, Session
from lilliput.ir.graph import Value
from lilliput.ir.types import s8
from lilliput.ir.verify import verify
from lilliput.ops.conv import Conv2d, Linear, conv2d, linear
from lilliput.ops.elementwise import Binary, add
from lilliput.ops.reduce import Reduction, mean
from lilliput.passes.recompute.later import Move, Reads, chain, make_later
from lilliput.plan.build import plan
from lilliput.plan.keep import Item, Kept, Problem, Way, away, evaluated, smallest, solve
from lilliput.plan.later import Finder
from lilliput.plan.maker import Maker
from lilliput.plan.objective import STACK_ROOM, Budget, predicted
from lilliput.plan.options import PlanOptions
from lilliput.plan.program import Program
from lilliput.report import text
from lilliput.train.build import ENTRY, trainable
from lilliput.train.optimisers import Optimiser
from lilliput.train.schemes import UpdateScheme

M4 = board("cortex-m4")


# The integer programme --------------------------------------------------------------------


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Up to five values of a schedule that goes forward and back, and one that is given; each may
    be made again out of some that come before it."""
    count, steps = draw(st.integers(1, 5)), 16
    items = [Item("given", draw(st.integers(1, 9)), 2, 2, draw(st.integers(2, 3)))]
    for k in range(count):
        early, late = k + draw(st.integers(1, 2)), steps - 3 - k - draw(st.integers(0, 1))
        sources = draw(st.sets(st.integers(0, k), max_size=2))
        items.append(
            Item(
                f"v{k}",
                draw(st.integers(1, 20)),
                early,
                late,
                min(late + draw(st.integers(0, 2)), steps - 1),
                tuple(sorted(sources)),
                float(draw(st.integers(1, 9))) if draw(st.booleans()) or sources else inf,
                draw(st.integers(0, 5)),
                float(draw(st.integers(1, 9))) if draw(st.booleans()) else inf,
            )
        )
    base = [draw(st.integers(0, 10)) for _ in range(steps)]
    for item in items:
        for t in range(item.early, item.last + 1):
            base[t] += item.nbytes
    macs = draw(st.sampled_from((inf, 8.0)))
    return Problem(tuple(items), tuple(base), macs, draw(st.sampled_from((inf, 20.0))))


def every(problem: Problem) -> list[Kept]:
    """All choices that may be made."""
    ways = [
        [w for w, c in ((Way.KEEP, 0.0), (Way.AGAIN, i.cycles), (Way.PAGE, i.paged)) if c < inf]
        for i in problem.items
    ]
    found = [evaluated(problem, choice) for choice in itertools.product(*ways)]
    found = [k for k in found if k.macs <= problem.macs]
    return [k for k in found if away(problem, k.ways, k.steps) <= problem.room]


@settings(max_examples=40, deadline=None)
@given(problems())
def test_no_choice_is_cheaper(problem: Problem) -> None:
    choices = every(problem)
    for limit in sorted({k.peak for k in choices}):
        best = min(k.cycles for k in choices if k.peak <= limit)
        found = solve(problem, limit)
        assert found is not None
        assert found.proven
        assert found.peak <= limit
        assert found.cycles == best
    least = min(k.peak for k in choices)
    assert solve(problem, least - 1) is None
    assert smallest(problem).peak <= least * 1.02


@settings(max_examples=25, deadline=None)
@given(problems())
def test_what_is_not_finished_is_not_called_proven(problem: Problem) -> None:
    """Partial choices that were not looked at stay in the bound."""
    for k in every(problem):
        found = solve(problem, k.peak, nodes=12)
        if found is not None:
            exact = solve(problem, k.peak)
            assert exact is not None
            assert found.bound <= exact.cycles <= found.cycles


def test_a_chain_through_what_is_gone_itself_costs_each_once() -> None:
    """b is made again out of a, which is made again for it before its own reader."""
    a = Item("a", 10, 1, 9, 9, (), 5.0, 50)
    b = Item("b", 20, 2, 7, 7, (0,), 3.0, 30)
    base = (10, 10, 30, 30, 100, 30, 30, 30, 10, 10)
    both = evaluated(Problem((a, b), base), (Way.AGAIN, Way.AGAIN))
    assert (both.peak, both.cycles, both.macs, both.steps) == (70, 8.0, 80, (7, 7))
    found = solve(Problem((a, b), base), 70)
    assert found is not None
    assert found.ways == (Way.AGAIN, Way.AGAIN)
    assert solve(Problem((a, b), base, macs=70), 70) is None


# The graph --------------------------------------------------------------------------------

CLASSES, SIDE, WIDTH = 3, 10, 24


def bottlenecks(blocks: int = 2, side: int = SIDE) -> Module:
    """Inverted bottlenecks of 8 channels, widened to 24, with residual sums, and a head."""
    rng, b = np.random.default_rng(3), Builder()

    def conv(x: Value, out: int, size: int, name: str, *, depthwise: bool = False) -> Value:
        channels = x.type.shape[3]
        w = rng.integers(-127, 128, (out, size, size, 1 if depthwise else channels))
        weights = b.param(f"{name}_w", w.astype(np.int8), Quant((0.004,) * out, (0,) * out, 0))
        bias = b.param(f"{name}_b", rng.integers(-500, 500, out).astype(np.int32))
        p = size // 2
        attrs = Conv2d(pad=(p, p, p, p), groups=channels if depthwise else 1)
        type = s8(*x.type.shape[:3], out, scale=0.05, zero_point=-3)
        return b.add(conv2d, (x, weights, bias), attrs, type=type, name=name, origin=name)

    x = b.input("x", s8(1, side, side, 8, scale=0.05, zero_point=4))
    for k in range(blocks):
        deep = conv(conv(x, WIDTH, 1, f"wide{k}"), WIDTH, 3, f"deep{k}", depthwise=True)
        y = conv(deep, 8, 1, f"narrow{k}")
        x = b.add(add, (x, y), Binary(), type=y.type, name=f"sum{k}", origin=f"sum{k}")
    y = b.add(mean, (x,), Reduction((1, 2), keepdims=False), name="mean")
    w = b.param(
        "head_w", rng.integers(-127, 128, (CLASSES, 8)).astype(np.int8), Quant((0.01,), (0,))
    )
    bias = b.param("head_b", np.zeros(CLASSES, np.int32))
    logits = b.add(linear, (y, w, bias), Linear(), type=s8(1, CLASSES, scale=0.1), name="logits")
    return b.module((logits,), name="bottlenecks")


def learning(rule: str = "residual", blocks: int = 2) -> Module:
    """With a step that trains everything."""
    count = 3 * blocks
    scheme = UpdateScheme(count, dict.fromkeys(range(count), 1.0))
    optimiser = Optimiser(rate=0.05, rule=rule)
    found = trainable(bottlenecks(blocks), scheme, optimiser, classes=CLASSES)
    return from_module(found.module).module


def samples(module: Module, count: int) -> list[Call]:
    rng, x = np.random.default_rng(5), module.inputs(ENTRY)[0]
    pictures = [rng.integers(-128, 128, x.type.shape).astype(np.int8) for _ in range(count)]
    return [
        Call(ENTRY, {x.name: p, "label": np.array([k % CLASSES], np.int32)})
        for k, p in enumerate(pictures)
    ]


def finder(module: Module) -> Finder:
    options = PlanOptions()
    needs = Maker(module, M4, options).needs()
    macs = {
        n.output.name: float(n.op.cost(n).macs) for g in module.graphs.values() for n in g.nodes
    }
    return Finder(
        module, M4, needs, lambda f: Maker(f.made.module, M4, options).needs(), macs, None, inf
    )


def again(module: Module, names: list[str]) -> dict[str, list[Move]]:
    """Moves that make these values of the step again, as late as can be, each by itself."""
    asked = finder(module).problem(ENTRY, 0)
    items = {i.name: i for i in asked.problem.items}
    return {ENTRY: [Move(n, items[n].late, asked.chains[n]) for n in names]}


def test_what_is_made_again_is_equal_to_the_bit() -> None:
    """Of every kept value by itself: same outputs, and the value is the same."""
    module = learning()
    asked = finder(module).problem(ENTRY, 0)
    chosen = [i for i in asked.problem.items if i.cycles < inf]
    names = {i.name for i in chosen}
    assert {f"{ENTRY}/{n}{k}" for n in ("wide", "deep") for k in (0, 1)} <= names
    call = samples(module, 1)[0]
    want = Session(module).run(call.inputs, ENTRY).values
    for item in chosen:
        laid = make_later(module, again(module, [item.name]))
        verify(laid.made.module)
        got = Session(laid.made.module).run(call.inputs, ENTRY).values
        assert set(laid.owners.values()) == {item.name}
        for name, array in got.items():
            piece = laid.made.pieces.get(name)
            of = piece.of if piece else name
            np.testing.assert_array_equal(array, want[of], err_msg=name)
        assert sum(e.macs for e in laid.made.extra(module)) == item.macs


def late_readers(module: Module, item: Item) -> list[str]:
    nodes = module.graphs[ENTRY].nodes[item.late :]
    return [n.output.name for n in nodes if any(v.name == item.name for v in n.inputs)]


def test_no_late_reader_is_left_with_the_early_value() -> None:
    module = learning()
    laid = make_later(module, again(module, [f"{ENTRY}/deep1", f"{ENTRY}/wide1"]))
    before = finder(module).problem(ENTRY, 0)
    made = laid.made.module.graphs[ENTRY].producers()
    for item in before.problem.items:
        if item.name in laid.owners.values():
            readers = late_readers(module, item)
            assert readers
            for name in readers:
                assert item.name not in {v.name for v in made[name].inputs}


def test_weights_that_have_moved_are_not_read() -> None:
    """A value whose weights are updated before it is needed late has no chain."""
    module = learning()
    graph = module.graphs[ENTRY]
    reads, asked = Reads(graph), finder(module).problem(ENTRY, 0)
    item = next(i for i in asked.problem.items if i.name == f"{ENTRY}/deep1")
    moved = dict.fromkeys(module.states, len(graph.nodes))
    assert chain(reads, item.name, item.late, moved) is not None
    assert chain(reads, item.name, item.late, {**moved, "deep1_w": item.late}) is None
    assert chain(reads, item.name, item.late, {**moved, "deep1_w": item.late + 1}) is not None


# The plan ---------------------------------------------------------------------------------


def planned(module: Module, ram: float, later: float = inf, device: Device = M4) -> Program:
    budget = Budget(ram=ram + STACK_ROOM)
    beside = frozenset(m.name for m in device.memories if not m.default)
    options = PlanOptions(budget=budget, later=later, extra_macs=0, memories=beside)
    return plan(module, device, options)


def with_slow_ram(read: float, write: float) -> Device:
    """The core beside a RAM of so many cycles a byte."""
    slow = Memory("slow", "ram", 0x6000_0000, 1 << 16, read=read, write=write)
    return replace(M4, limits=True, memories=(*M4.memories, slow))


@pytest.fixture(scope="module")
def learner() -> Module:
    return learning(blocks=1)


@pytest.fixture(scope="module")
def range_of(learner: Module) -> tuple[int, int, int]:
    """Bytes of the plan with room for all, of the smallest that keeps everything, and of the
    smallest."""
    return (
        planned(learner, 1e9).arenas["ram"],
        planned(learner, 1, 0).arenas["ram"],
        planned(learner, 1).arenas["ram"],
    )


@pytest.mark.slow
def test_every_budget_down_to_the_smallest_is_kept(
    learner: Module, range_of: tuple[int, int, int], host_compiler: Toolchain
) -> None:
    """What is made again, and the updates, are those of NumPy and the step as it was."""
    most, kept, least = range_of
    for ram in (most, kept, (kept + least) // 2, least):
        program = planned(learner, ram)
        assert program.arenas["ram"] <= ram
        assert program.extra or ram >= kept
        if program.extra:
            proof = prove(learner, program, samples(learner, 3), hosts=[host_compiler])
            assert proof.exact, str(proof.difference)


def test_less_ram_than_with_everything_kept(range_of: tuple[int, int, int]) -> None:
    most, kept, least = range_of
    assert least < kept < most


def test_nothing_is_made_again_where_it_fits_or_may_not(
    learner: Module, range_of: tuple[int, int, int]
) -> None:
    assert not planned(learner, 1e9).pieces
    assert not planned(learner, range_of[2], 0).pieces


@pytest.mark.unicorn
def test_a_step_that_makes_values_again_is_the_same_on_the_core(
    learner: Module, range_of: tuple[int, int, int]
) -> None:
    program = planned(learner, range_of[2])
    assert program.extra
    target = (find(M4.core, "auto"), M4)
    proof = prove(learner, program, samples(learner, 2), target=target)
    assert proof.exact, str(proof.difference)


def test_what_is_moved_away_and_back_is_the_same(learner: Module, host_compiler: Toolchain) -> None:
    """The kept value lies in the slow RAM alone, and the copies are steps like any other."""
    device = with_slow_ram(1.5, 1.5)
    alone = replace(finder(learner), far=device.memory("slow"), macs=0)
    name, most = f"{ENTRY}/deep0", max(alone.needs.values())
    asked = alone.problem(ENTRY, 0)
    items = asked.problem.items
    ways = [Way.PAGE if i.name == name else Way.KEEP for i in items]
    moves = {ENTRY: list(asked.moves(evaluated(asked.problem, ways)))}
    laid = make_later(learner, moves)
    homes = dict.fromkeys(laid.far, "slow")
    options = PlanOptions(homes=homes, extra_macs=0)
    program = replace(plan(laid.made.module, device, options), pieces=laid.made.pieces)
    far = [b for b in program.buffers.values() if b.memory == "slow"]
    assert [b.nbytes for b in far] == [SIDE * SIDE * WIDTH]
    needs = Maker(laid.made.module, device, options).needs()
    assert max(needs.values()) <= most
    proof = prove(learner, program, samples(learner, 3), hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


@pytest.mark.slow
def test_a_slow_ram_is_used_as_is_faster(host_compiler: Toolchain) -> None:
    """Maps may stay there while they are used, or be moved away and back: no more cycles than
    without the choice."""
    module = learning()
    device = with_slow_ram(20.0, 20.0)
    program, other = (planned(module, 27_700, later, device) for later in (inf, 0))
    assert not other.paged
    assert max(program.arenas["ram"], other.arenas["ram"]) <= 27_700
    assert predicted(program, device) <= predicted(other, device)
    proof = prove(module, program, samples(module, 3), hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


def test_pages_cost_their_time_in_both_memories(learner: Module) -> None:
    """A copy each way, and what a byte waits for where it is read and where it is written."""
    cheap, dear = (
        replace(finder(learner), far=with_slow_ram(*c).memory("slow"))
        for c in ((1.0, 2.0), (3.0, 5.0))
    )
    one, other = (f.problem(ENTRY, 0).problem.items for f in (cheap, dear))
    assert [i.name for i in one] == [i.name for i in other]
    for a, b in zip(one, other, strict=True):
        if a.paged < inf:
            assert b.paged - a.paged == pytest.approx(a.nbytes * (8.0 - 3.0))
            assert a.paged > a.nbytes * 3.0


@pytest.mark.slow
def test_two_blocks_need_a_sixth_less(host_compiler: Toolchain) -> None:
    """Maps of the second block are made again out of sums that are kept, those of the first out of
    the input."""
    module = learning()
    kept, program = planned(module, 1, 0), planned(module, 1)
    assert program.arenas["ram"] < 5 / 6 * kept.arenas["ram"]
    assert {e.layer for e in program.extra} >= {"wide0", "deep0", "wide1"}
    proof = prove(module, program, samples(module, 10), hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


@pytest.mark.slow
def test_a_learner_says_what_is_made_again(range_of: tuple[int, int, int]) -> None:
    """In JSON and as text where it fits, and as what the smallest plan costs where it does not."""
    module = bottlenecks(1)
    scheme = UpdateScheme(3, dict.fromkeys(range(3), 1.0))
    options = Options(
        ram=range_of[2] + STACK_ROOM,
        compiler="none",
        plan=PlanOptions(later=inf, extra_macs=0),
    )

    def taught(ram: int) -> Learner:
        return compiled_learner(
            from_module(module),
            M4,
            scheme,
            Optimiser(rate=0.05),
            classes=CLASSES,
            options=replace(options, ram=ram),
            slices="off",
        )

    found = taught(range_of[2] + STACK_ROOM)
    made = found.to_json()["plan"]
    assert isinstance(made, dict)
    assert made["extra_macs"] > 0
    assert made["paged_bytes"] == 0
    assert made["paged"] == ()
    assert "computed again" in text(found.compiled.summary)
    with pytest.raises(DoesNotFit, match=r"the smallest plan makes [0-9,]+ MACs again"):
        taught(range_of[2] // 2)

"""Kernels and layouts: the choice is the cheapest, conversions are made where two readers
disagree, and programs in planes are exact."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from tests.samples import random_array
from tests.test_programs import bias, inverted_residual, pictures, weights

from lilliput.codegen.emit import emit
from lilliput.devices.device import load
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain
from lilliput.ir import Builder, Module, Node, Value
from lilliput.ir.op import EITHER, Kernel, Layout, NoAttrs, Work
from lilliput.ir.types import s8
from lilliput.ops.conv import Conv2d, conv2d
from lilliput.ops.elementwise import add
from lilliput.ops.shape import copy
from lilliput.plan import draft
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.choose import Candidate, Choice, Draft, choose

CONVERSION = 7.0
ROWS, PLANES = Layout.ROWS, Layout.PLANES


def kernel(name: str, reads: tuple[Layout, ...], writes: tuple[Layout, ...]) -> Kernel:
    return Kernel(
        name,
        f"{name}.c",
        lambda node: None,
        lambda node: {},
        lambda node: {},
        lambda b, node: (),
        lambda node: Work(0, 0, 0),
        reads=reads,
        writes=writes,
    )


PIXELS = kernel("pixels", (ROWS,), EITHER)
PLANAR = kernel("planar", (PLANES,), EITHER)


def chain(costs: list[tuple[float, float]]) -> list[Draft]:
    """Drafts in a row; each can be done by PIXELS or PLANAR at these costs."""
    values = [Value(f"v{i}", s8(1, 4, 4, 2)) for i in range(len(costs) + 1)]
    return [
        Draft(
            Node(copy, (a,), (b,), NoAttrs()),
            (),
            (Candidate(PIXELS, pixels, pixels), Candidate(PLANAR, planar, planar)),
            a,
            (),
        )
        for a, b, (pixels, planar) in zip(values, values[1:], costs, strict=False)
    ]


def total(drafts: list[Draft], choices: list[Choice]) -> float:
    """What the choices cost, conversions counted where a value is read in another layout."""
    made = {"v0": ROWS}
    cost = 0.0
    for item, choice in zip(drafts, choices, strict=True):
        assert choice.reads in choice.kernel.reads
        assert choice.writes in choice.kernel.writes
        cost += next(c.cycles for c in item.candidates if c.kernel is choice.kernel)
        assert item.first is not None
        cost += CONVERSION * (made[item.first.name] is not choice.reads)
        made[item.output.name] = choice.writes
    return cost


@pytest.mark.parametrize("seed", range(20))
def test_the_choice_on_a_chain_is_the_best_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs = [(float(a), float(b)) for a, b in rng.integers(1, 20, (4, 2))]
    drafts = chain(costs)
    planar = frozenset({"v1", "v2", "v3"})
    found = total(drafts, choose(drafts, planar, lambda _: CONVERSION))
    options = [
        [Choice(k, k.reads[0], w) for k, w in product((PIXELS, PLANAR), EITHER)] for _ in drafts
    ]
    legal = (c for c in product(*options) if c[-1].writes is ROWS)
    assert found == min(total(drafts, list(c)) for c in legal)


def test_rows_where_both_cost_the_same() -> None:
    drafts = chain([(5.0, 5.0), (5.0, 5.0)])
    choices = choose(drafts, frozenset({"v1"}), lambda _: 0.0)
    assert [(c.reads, c.writes) for c in choices] == [(ROWS, ROWS)] * 2


@pytest.fixture
def planes_always_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "MARGIN", -0.95)


def two_readers() -> Module:
    """A value that a depthwise (planes) and a 1x1 convolution (rows) both read."""
    b = Builder(names=set())
    x = b.input("x", s8(2, 6, 5, 4, scale=0.1, zero_point=-9))
    pad = Conv2d(pad=(1, 1, 1, 1), groups=4)
    t = s8(2, 6, 5, 4, scale=0.1, zero_point=3)
    a = b.add(conv2d, (x, weights(b, "wa", 4, 1, 1, 4), bias(b, "ba", 4)), type=t, name="a")
    d = b.add(conv2d, (a, weights(b, "wd", 4, 3, 3, 1)), pad, type=t, name="d")
    p = b.add(conv2d, (a, weights(b, "wp", 4, 1, 1, 4)), type=t, name="p")
    e = b.add(conv2d, (d, weights(b, "we", 4, 3, 3, 1)), pad, type=t, name="e")
    return b.module([b.add(add, (e, p), type=t, name="y")], name="two_readers")


@pytest.mark.usefixtures("planes_always_win")
def test_planes_are_used_converted_and_exact(host_compiler: Toolchain) -> None:
    module = two_readers()
    program = plan(module, load("cortex-m4"))
    kernels = [c.kernel.name for c in program.entries[0].calls()]
    assert kernels.count("depthwise_windows") == 2
    assert any(c.output.plane for c in program.entries[0].calls())
    rng = np.random.default_rng(0)
    calls = [
        Call("infer", {v.name: random_array(rng, v.type) for v in module.inputs("infer")})
        for _ in range(3)
    ]
    proof = prove(module, program, calls, hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


@pytest.mark.usefixtures("planes_always_win")
def test_line_buffers_in_planes_are_exact(host_compiler: Toolchain) -> None:
    module = inverted_residual()
    program = plan(module, load("cortex-m4"), PlanOptions(streams=(("a", "s", "d", "y"),)))
    ring = next(c.output for c in program.entries[0].calls() if c.value.name == "s")
    assert (ring.ring, ring.plane) == (3, 3 * 6)
    proof = prove(module, program, pictures(module, 3), hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


@pytest.mark.parametrize("align", [4, 8, 32])
def test_a_kernel_gets_the_alignment_that_it_asks_for(align: int) -> None:
    module = two_readers()
    wide = replace(conv2d, kernels=tuple(replace(k, align=align) for k in conv2d.kernels))
    graph = module.graphs["infer"]
    nodes = tuple(replace(n, op=wide) if n.op is conv2d else n for n in graph.nodes)
    program = plan(
        replace(module, graphs={"infer": replace(graph, nodes=nodes)}), load("cortex-m4")
    )
    wanting = [c for c in program.entries[0].calls() if c.kernel.align == align]
    touched = {v.buffer for c in wanting for v in (*c.inputs, c.output)}
    assert touched
    assert program.arena_align("ram") == max(16, align)
    for buffer in (program.buffers[name] for name in touched):
        assert buffer.align == align
        assert buffer.offset is None or buffer.offset % align == 0
    assert f"_Alignas({align}) int8_t" in emit(program)["two_readers_data.h"]

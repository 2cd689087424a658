"""Storage that values share: every awkward case of views, concatenations and states, exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from tests.samples import random_array

from lilliput.devices.device import load
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain
from lilliput.ir import Builder, Graph, Module, Param, Value, verify
from lilliput.ir.types import s8
from lilliput.ops.conv import Conv2d, conv2d
from lilliput.ops.elementwise import add
from lilliput.ops.recurrent import Push, push
from lilliput.ops.shape import Concat, Reshape, Slice, Transpose, concat, reshape, slice_, transpose
from lilliput.ops.unary import tanh
from lilliput.passes.canonicalize import Canonicalize
from lilliput.plan.build import plan
from lilliput.plan.program import Advance, Kind

Q = {"scale": 1 / 128}
MAP = s8(1, 3, 4, 2, scale=1 / 128)


def squash(b: Builder, x: Value, name: str) -> Value:
    """Something that computes, so that its result is made by a task."""
    return b.add(tanh, (x,), type=replace(x.type, quant=MAP.quant), name=name)


def concat_of_made_values(b: Builder, x: Value) -> list[Value]:
    return [b.add(concat, (squash(b, x, "l"), squash(b, x, "r")), Concat(3), name="y")]


def concat_of_an_input_and_itself(b: Builder, x: Value) -> list[Value]:
    return [b.add(concat, (x, x), Concat(3), name="y")]


def concat_of_one_value_twice(b: Builder, x: Value) -> list[Value]:
    one = squash(b, x, "one")
    return [b.add(concat, (one, one, squash(b, x, "two")), Concat(2), name="y")]


def concat_of_a_value_that_is_also_an_output(b: Builder, x: Value) -> list[Value]:
    one = squash(b, x, "one")
    return [b.add(concat, (one, squash(b, x, "two")), Concat(1), name="y"), one]


def nested_concats(b: Builder, x: Value) -> list[Value]:
    inner = b.add(concat, (squash(b, x, "a"), squash(b, x, "b")), Concat(3), name="inner")
    outer = b.add(concat, (inner, squash(b, x, "c")), Concat(3), name="outer")
    return [squash(b, outer, "y")]


def concat_over_rows_then_columns(b: Builder, x: Value) -> list[Value]:
    rows = b.add(concat, (squash(b, x, "a"), squash(b, x, "b")), Concat(1), name="rows")
    pair = b.add(concat, (rows, rows), Concat(2), name="pair")
    return [squash(b, pair, "y")]


def reshape_of_a_concat_and_of_a_slice(b: Builder, x: Value) -> list[Value]:
    both = b.add(concat, (squash(b, x, "a"), squash(b, x, "b")), Concat(3), name="both")
    flat = b.add(reshape, (both,), Reshape((1, 48)), name="flat")
    part = b.add(slice_, (both,), Slice((0, 0, 0, 1), (1, 3, 4, 2)), name="part")
    flat_part = b.add(reshape, (part,), Reshape((24,)), name="flat_part")
    return [squash(b, flat, "y"), squash(b, flat_part, "z")]


def slice_as_an_output(b: Builder, x: Value) -> list[Value]:
    made = squash(b, x, "made")
    return [b.add(slice_, (made,), Slice((0, 1, 1, 0), (1, 2, 2, 1)), name="y")]


def slice_of_a_slice_feeds_a_convolution(b: Builder, x: Value) -> list[Value]:
    one = b.add(slice_, (x,), Slice((0, 0, 1, 0), (1, 3, 3, 2)), name="one")
    two = b.add(slice_, (one,), Slice((0, 0, 0, 1), (1, 3, 3, 1)), name="two")
    w = b.param("w", np.full((3, 2, 2, 1), 9, np.int8), s8(scale=0.1).quant)
    return [b.add(conv2d, (two, w), Conv2d(), type=s8(1, 2, 2, 3, scale=0.5), name="y")]


def transpose_of_a_slice(b: Builder, x: Value) -> list[Value]:
    part = b.add(slice_, (squash(b, x, "m"),), Slice((0, 0, 0, 1), (1, 3, 4, 1)), name="part")
    turned = b.add(transpose, (part,), Transpose((0, 2, 1, 3)), name="turned")
    return [b.add(concat, (turned, turned), Concat(3), name="y")]


def output_twice_and_input_as_output(b: Builder, x: Value) -> list[Value]:
    y = squash(b, x, "y")
    return [y, y, x]


def constant_as_output(b: Builder, x: Value) -> list[Value]:
    constant = b.param("c", np.arange(24, dtype=np.int8).reshape(1, 3, 4, 2), MAP.quant)
    return [constant, b.add(add, (x, constant), type=MAP, name="y")]


def push_without_a_state(b: Builder, x: Value) -> list[Value]:
    row = b.add(slice_, (x,), Slice((0, 1, 0, 0), (1, 1, 4, 2)), name="row")
    return [b.add(push, (squash(b, x, "w"), squash(b, row, "n")), Push(1), name="y")]


CASES: list[Callable[[Builder, Value], list[Value]]] = [
    concat_of_made_values,
    concat_of_an_input_and_itself,
    concat_of_one_value_twice,
    concat_of_a_value_that_is_also_an_output,
    nested_concats,
    concat_over_rows_then_columns,
    reshape_of_a_concat_and_of_a_slice,
    slice_as_an_output,
    slice_of_a_slice_feeds_a_convolution,
    transpose_of_a_slice,
    output_twice_and_input_as_output,
    constant_as_output,
    push_without_a_state,
]


def prove_on_host(module: Module, host: Toolchain, steps: int = 2) -> None:
    verify(module)
    module = Canonicalize()(module)
    verify(module)
    program = plan(module, load("cortex-m4"))
    rng = np.random.default_rng(2)
    calls = [
        Call(entry, {v.name: random_array(rng, v.type) for v in module.inputs(entry)})
        for _ in range(steps)
        for entry in module.graphs
    ]
    proof = prove(module, program, calls, hosts=[host])
    assert proof.exact, str(proof.difference)


def test_views_concatenations_and_outputs(host_compiler: Toolchain) -> None:
    params: dict[str, Param] = {}
    names: set[str] = set()
    graphs: dict[str, Graph] = {}
    for case in CASES:
        b = Builder(params, names)
        outputs = case(b, b.input(f"x_{case.__name__}", MAP))
        graphs[case.__name__] = b.graph(outputs)
    prove_on_host(Module(graphs, params, {}, "views"), host_compiler)


def test_concat_of_made_values_copies_nothing() -> None:
    b = Builder(names=set())
    module = b.module(concat_of_made_values(b, b.input("x", MAP)))
    steps = plan(module, load("cortex-m4")).entries[0].steps
    assert len(steps) == 2


STATE = s8(1, 2, 3, 2, scale=1 / 128)


def with_states(
    build: Callable[[Builder, Value, Value, Value], tuple[Value, Value, Value]],
) -> Module:
    b = Builder(names=set())
    x = b.input("x", STATE)
    rng = np.random.default_rng(1)
    p, q = (b.state(n, STATE, random_array(rng, STATE)) for n in ("p", "q"))
    out, p_new, q_new = build(b, x, p, q)
    states = {
        "p": replace(b.states["p"], updates={"step": p_new}),
        "q": replace(b.states["q"], updates={"step": q_new}),
        **{name: state for name, state in b.states.items() if name not in "pq"},
    }
    more = [s.updates["step"] for name, s in states.items() if name not in "pq"]
    return Module({"step": b.graph([out, p_new, q_new, *more])}, b.params, states, "states")


def swapped(b: Builder, x: Value, p: Value, q: Value) -> tuple[Value, Value, Value]:
    return squash(b, x, "y"), q, p


def shifted_along(b: Builder, x: Value, p: Value, q: Value) -> tuple[Value, Value, Value]:
    return squash(b, q, "y"), x, p


def returned_as_they_were(b: Builder, x: Value, p: Value, q: Value) -> tuple[Value, Value, Value]:
    return p, squash(b, x, "p2"), squash(b, q, "q2")


def read_after_the_new_value_is_made(
    b: Builder, x: Value, p: Value, q: Value
) -> tuple[Value, Value, Value]:
    new = b.add(add, (p, x), type=STATE, name="new")
    late = b.add(add, (p, new), type=STATE, name="late")
    return late, new, squash(b, late, "q2")


def one_value_for_both(b: Builder, x: Value, p: Value, q: Value) -> tuple[Value, Value, Value]:
    new = b.add(add, (p, q), type=STATE, name="new")
    return squash(b, x, "y"), new, new


def a_ring_that_is_read_as_it_was(
    b: Builder, x: Value, p: Value, q: Value
) -> tuple[Value, Value, Value]:
    row = b.add(slice_, (x,), Slice((0, 0, 0, 0), (1, 1, 3, 2)), name="row")
    turned = b.add(push, (p, row), Push(1), name="turned")
    return b.add(add, (p, turned), type=STATE, name="y"), turned, squash(b, q, "q2")


LONG = s8(1, 5, 3, 2, scale=1 / 128)


def rings_turned_by_several_rows(
    b: Builder, x: Value, p: Value, q: Value
) -> tuple[Value, Value, Value]:
    """Two rows at a time; the window is flattened before and after it turns."""
    ring = b.state("ring", LONG, random_array(np.random.default_rng(3), LONG))
    before = squash(b, b.add(reshape, (ring,), Reshape((1, 30)), name="old"), "before")
    turned = b.add(push, (ring, x), Push(1), name="turned")
    after = squash(b, b.add(reshape, (turned,), Reshape((1, 30)), name="flat"), "after")
    part = b.add(slice_, (turned,), Slice((0, 1, 0, 0), (1, 2, 3, 2)), name="part")
    total = b.add(add, (before, after), type=before.type, name="total")
    b.states["ring"] = replace(b.states["ring"], updates={"step": turned})
    return total, squash(b, part, "p2"), squash(b, p, "q2")


def one_row_of_a_ring_beside_several(
    b: Builder, x: Value, p: Value, q: Value
) -> tuple[Value, Value, Value]:
    """The oldest row of a ring is added to every row of another value."""
    ring = b.state("ring", LONG, random_array(np.random.default_rng(3), LONG))
    turned = b.add(push, (ring, x), Push(1), name="turned")
    oldest = b.add(slice_, (turned,), Slice((0, 0, 0, 0), (1, 1, 3, 2)), name="oldest")
    total = b.add(add, (p, oldest), type=p.type, name="total")
    b.states["ring"] = replace(b.states["ring"], updates={"step": turned})
    return total, squash(b, p, "p2"), squash(b, q, "q2")


@pytest.mark.parametrize(
    "build",
    [
        one_row_of_a_ring_beside_several,
        rings_turned_by_several_rows,
        swapped,
        shifted_along,
        returned_as_they_were,
        read_after_the_new_value_is_made,
        one_value_for_both,
        a_ring_that_is_read_as_it_was,
    ],
)
def test_states(
    build: Callable[[Builder, Value, Value, Value], tuple[Value, Value, Value]],
    host_compiler: Toolchain,
) -> None:
    prove_on_host(with_states(build), host_compiler, steps=4)


def test_a_state_is_updated_in_place_where_its_kernel_allows() -> None:
    def in_place(b: Builder, x: Value, p: Value, q: Value) -> tuple[Value, Value, Value]:
        new = b.add(add, (p, x), type=STATE, name="new")
        return squash(b, q, "y"), new, squash(b, q, "q2")

    program = plan(with_states(in_place), load("cortex-m4"))
    made = {c.value.name: c.output.buffer for c in program.entries[0].calls()}
    assert made["new"] == "p"
    assert made["q2"] == "q"
    states = [b.name for b in program.buffers.values() if b.kind is Kind.STATE]
    assert states == ["p", "q"]


def test_a_ring_turns_by_as_many_rows_as_are_pushed() -> None:
    program = plan(with_states(rings_turned_by_several_rows), load("cortex-m4"))
    (turn,) = (s for s in program.entries[0].steps if isinstance(s, Advance))
    assert (turn.ring, turn.by) == (5, 2)


def test_an_entry_reads_a_ring_that_another_one_turns(host_compiler: Toolchain) -> None:
    params: dict[str, Param] = {}
    names: set[str] = set()
    b = Builder(params, names)
    row = b.input("row", s8(1, 1, 3, 2, scale=1 / 128))
    ring = b.state("ring", LONG, random_array(np.random.default_rng(3), LONG))
    turned = b.add(push, (ring, row), Push(1), name="turned")
    step = b.graph([squash(b, turned, "y"), turned])
    peek = Builder(params, names)
    peek.read(b.states["ring"])
    flat = peek.add(reshape, (ring,), Reshape((1, 30)), name="flat")
    look = peek.graph([squash(peek, flat, "seen"), squash(peek, ring, "whole")])
    states = {"ring": replace(b.states["ring"], updates={"step": turned})}
    module = Module({"look": look, "step": step}, params, states, "peek")
    prove_on_host(module, host_compiler, steps=4)

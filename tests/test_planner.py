"""The planner against code that shares nothing with it.

Placement is held against a brute-force overlap test and against its own lower bound.  The
checker is held against programs that were changed to be wrong: each change is made
everywhere that it can be, and whenever it makes a program compute something else, the
checker has to refuse it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import calls_of

from lilliput.devices.device import load
from lilliput.emu.prove import prove
from lilliput.emu.toolchain import Toolchain
from lilliput.errors import CertificateError
from lilliput.ir import Builder, Module, Value
from lilliput.ir.region import Window
from lilliput.ir.types import s8
from lilliput.ops.conv import Conv2d, conv2d
from lilliput.ops.elementwise import add
from lilliput.ops.pool import Pool, max_pool2d
from lilliput.passes.canonicalize import Canonicalize
from lilliput.plan.arena import Block, extent, lower_bound, place
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.check import check
from lilliput.plan.group import Member, Read, timetable
from lilliput.plan.objective import Optimize
from lilliput.plan.program import Buffer, Call, Entry, Kind, Loop, Program, Step, View, Wait

M4 = load("cortex-m4")
DIRECT = {m.name: m.direct for m in M4.memories}

# Placement --------------------------------------------------------------------------------


@st.composite
def blocks(draw: st.DrawFn) -> tuple[list[Block], dict[tuple[str, str], int]]:
    found: list[Block] = []
    for k in range(draw(st.integers(1, 14))):
        first = draw(st.integers(0, 12))
        last = first + draw(st.integers(0, 5))
        align = draw(st.sampled_from((1, 4, 8, 16)))
        found.append(Block(f"b{k}", draw(st.integers(1, 200)), align, first, last))
    near: dict[tuple[str, str], int] = {}
    for out in found:
        ending = [b for b in found if b.last == out.first and b.name != out.name]
        if ending and draw(st.booleans()):
            source = draw(st.sampled_from(ending))
            near[out.name, source.name] = draw(st.integers(0, out.nbytes + 8))
    return found, near


@settings(max_examples=settings().max_examples * 4)
@given(drawn=blocks(), base=st.sampled_from((0, 4, 36)))
def test_placement_never_overlaps(
    drawn: tuple[list[Block], dict[tuple[str, str], int]], base: int
) -> None:
    found, near = drawn
    offsets = place(found, near, base)
    assert offsets.keys() == {b.name for b in found}
    assert place(list(found), dict(near), base) == offsets
    for a in found:
        assert offsets[a.name] % a.align == 0
        assert offsets[a.name] >= base
        for b in found:
            if a.name < b.name and a.first <= b.last and b.first <= a.last:
                assert _apart(a, b, offsets, near), (a, b, offsets)
    assert extent(found, offsets) - base >= lower_bound(found, near)


def _apart(a: Block, b: Block, offsets: dict[str, int], near: dict[tuple[str, str], int]) -> bool:
    bytes_a = set(range(offsets[a.name], offsets[a.name] + a.nbytes))
    bytes_b = set(range(offsets[b.name], offsets[b.name] + b.nbytes))
    if not bytes_a & bytes_b:
        return True
    for out, source in ((a, b), (b, a)):
        distance = near.get((out.name, source.name))
        if distance is not None and offsets[source.name] - offsets[out.name] >= distance:
            return True
    return False


@given(sizes=st.lists(st.integers(1, 100), min_size=1, max_size=12))
def test_a_chain_is_placed_near_its_bound(sizes: list[int]) -> None:
    """Each buffer dies where the next one is made; greedy orders are not always optimal."""
    chain = [Block(f"b{k}", n, 1, k, k + 1) for k, n in enumerate(sizes)]
    assert extent(chain, place(chain, {})) <= 1.5 * lower_bound(chain, {})


# Streaming --------------------------------------------------------------------------------


def test_rings_are_the_closed_form() -> None:
    """window rows for a chain of windows; the whole distance for what waits behind one."""
    window = [
        Member("a", (), "a", 12),
        Member("b", (Read("a", _window(3, 1, 1)),), "b", 12),
        Member("c", (Read("b", _window(3, 2, 1)),), "c", 6),
        Member("d", (Read("c", _window(1, 1, 0)),), "d", 6),
    ]
    table = timetable(window, frozenset("d"))
    assert dict(table.rings) == {"a": 3, "b": 3, "c": 1}
    skip = [
        Member("a", (), "a", 12),
        Member("b", (Read("a", _window(5, 1, 2)),), "b", 12),
        Member("c", (Read("b", _window(1, 1, 0)), Read("a", _window(1, 1, 0))), "c", 12),
    ]
    assert dict(timetable(skip, frozenset("c")).rings) == {"a": 5, "b": 1}


def _window(size: int, stride: int, pad: int) -> Window:
    return Window(0, size, stride, 1, pad)


# The checker ------------------------------------------------------------------------------


def network() -> Module:
    """Two convolutions with a residual connection and a pool: every kind of sharing."""
    b, rng = Builder(), np.random.default_rng(4)

    def conv(x: Value, out: int, name: str) -> Value:
        w = rng.integers(-127, 128, (out, 3, 3, x.type.shape[3])).astype(np.int8)
        weights = b.param(f"{name}/w", w, s8(1, scale=0.01).quant)
        y = x.type.with_shape(1, 9, 7, out)
        return b.add(conv2d, (x, weights), Conv2d(pad=(1, 1, 1, 1)), type=y, name=name)

    x = b.input("x", s8(1, 9, 7, 3, scale=0.05, zero_point=3))
    first = conv(x, 4, "first")
    second = conv(first, 4, "second")
    third = conv(second, 4, "third")
    total = b.add(add, (first, third), name="total")
    y = b.add(max_pool2d, (total,), Pool((2, 2), (2, 2)), name="y")
    return Canonicalize()(b.module((y,), name="mutant"))


STREAMED = PlanOptions(streams=(("first", "second", "total", "y"),))
"""`third` is stored by the addition behind it."""

Mutation = Callable[[Program], Iterator[tuple[str, Program]]]


def moved(program: Program) -> Iterator[tuple[str, Program]]:
    """One buffer a little lower or higher, or on top of another one."""
    arena = [b for b in program.buffers.values() if b.kind is Kind.ARENA]
    for buffer in arena:
        assert buffer.offset is not None
        others = [o.offset for o in arena if o is not buffer and o.offset is not None]
        for offset in {buffer.offset - 4, buffer.offset + 4, *others}:
            changed = replace(buffer, offset=offset)
            buffers = {**program.buffers, buffer.name: changed}
            top = max(b.offset + b.nbytes for b in buffers.values() if b.offset is not None)
            if offset >= 0:
                arenas = {m: max(n, -(-top // 4) * 4) for m, n in program.arenas.items()}
                yield (
                    f"{buffer.name} at {offset}",
                    replace(program, buffers=buffers, arenas=arenas),
                )


def shorter_rings(program: Program) -> Iterator[tuple[str, Program]]:
    """Every view of one ring says one row less."""
    rings = {v.buffer for v in views(program) if v.ring is not None and v.ring > 1}
    for name in sorted(rings):

        def cut(view: View, name: str = name) -> View:
            return replace(view, ring=view.ring - 1) if view.buffer == name and view.ring else view

        yield f"ring {name}", mapped(program, cut)


def without_a_step(program: Program) -> Iterator[tuple[str, Program]]:
    for e, entry in enumerate(program.entries):
        for k, step in enumerate(entry.steps):
            rest = entry.steps[:k] + entry.steps[k + 1 :]
            entries = list(program.entries)
            entries[e] = replace(entry, steps=rest)
            yield f"no step {k} ({type(step).__name__})", replace(program, entries=tuple(entries))
            if k:
                swapped = list(entry.steps)
                swapped[k - 1], swapped[k] = swapped[k], swapped[k - 1]
                entries = list(program.entries)
                entries[e] = replace(entry, steps=tuple(swapped))
                yield f"steps {k - 1} and {k} swapped", replace(program, entries=tuple(entries))


def earlier(program: Program) -> Iterator[tuple[str, Program]]:
    """One member of a loop begins an iteration early, or executes once less."""
    for e, entry in enumerate(program.entries):
        for k, step in enumerate(entry.steps):
            if not isinstance(step, Loop):
                continue
            for i, timed in enumerate(step.body):
                changes = [replace(timed, count=timed.count - 1)]
                if timed.phase:
                    changes.append(replace(timed, phase=timed.phase - 1))
                for change in changes:
                    body = (*step.body[:i], change, *step.body[i + 1 :])
                    steps = (*entry.steps[:k], replace(step, body=body), *entry.steps[k + 1 :])
                    entries = list(program.entries)
                    entries[e] = replace(entry, steps=steps)
                    yield f"member {i}: {change.phase}", replace(program, entries=tuple(entries))


def views(program: Program) -> Iterator[View]:
    for entry in program.entries:
        yield from (v for _, v in (*entry.placed(), *entry.outputs))
        for call in entry.calls():
            yield from (*call.inputs, call.output)


def mapped(program: Program, change: Callable[[View], View]) -> Program:
    def call(c: Call) -> Call:
        store = c.store and replace(c.store, operands=tuple(map(change, c.store.operands)))
        inputs = tuple(map(change, c.inputs))
        return replace(c, inputs=inputs, output=change(c.output), store=store)

    def step(s: Step) -> Step:
        if isinstance(s, Call):
            return call(s)
        if isinstance(s, Loop):
            return replace(
                s,
                body=tuple(
                    replace(t, step=call(t.step) if isinstance(t.step, Call) else t.step)
                    for t in s.body
                ),
            )
        return s

    entries = tuple(
        Entry(
            e.name,
            tuple((v, change(w)) for v, w in e.placed()),
            tuple((v, change(w)) for v, w in e.outputs),
            tuple(map(step, e.steps)),
        )
        for e in program.entries
    )
    return replace(program, entries=entries)


MUTATIONS: tuple[Mutation, ...] = (moved, shorter_rings, without_a_step, earlier)


def accepted(program: Program) -> bool:
    try:
        check(program, DIRECT)
    except CertificateError:
        return False
    return True


@pytest.mark.parametrize("options", [PlanOptions(), STREAMED], ids=["whole", "streamed"])
def test_the_checker_refuses_what_computes_something_else(
    options: PlanOptions, host_compiler: Toolchain, tmp_path: Path
) -> None:
    """Every change that the checker lets pass is executed: it must not change any result."""
    module = network()
    program = plan(module, M4, options)
    assert accepted(program)
    changed = [m for mutation in MUTATIONS for m in mutation(program)]
    passed = [(name, mutant) for name, mutant in changed if accepted(mutant)]
    assert len(changed) - len(passed) >= 8
    calls = calls_of(module, 2)
    for name, mutant in passed[:4]:
        proof = prove(module, mutant, calls, hosts=[host_compiler])
        assert proof.exact, f"the checker accepted {name}: {proof.difference}"


def test_rings_are_minimal() -> None:
    program = plan(network(), M4, replace(STREAMED, optimize=Optimize.RAM))
    mutants = list(shorter_rings(program))
    assert mutants
    assert [name for name, mutant in mutants if accepted(mutant)] == []


def test_a_copy_that_is_not_waited_for_is_refused() -> None:
    device = load("cortex-m4")
    far = replace(device.flash, name="far", direct=False, default=False, origin=0x9000_0000)
    board = replace(device, memories=(*device.memories, far))
    module = network()
    weights = {name: "far" for name in module.params if name.endswith("/w")}
    program = plan(module, board, PlanOptions(homes=weights))
    direct = {m.name: m.direct for m in board.memories}
    check(program, direct)
    (entry,) = program.entries
    waits = [k for k, s in enumerate(entry.steps) if isinstance(s, Wait)]
    assert waits
    for k in waits:
        steps = entry.steps[:k] + entry.steps[k + 1 :]
        mutant = replace(program, entries=(replace(entry, steps=steps),))
        with pytest.raises(CertificateError):
            check(mutant, direct)


def test_a_buffer_outside_of_its_arena_is_refused() -> None:
    program = plan(network(), M4)
    name, buffer = next((n, b) for n, b in program.buffers.items() if b.kind is Kind.ARENA)
    for offset in (None, 2, 1 << 20):
        wrong: dict[str, Buffer] = {**program.buffers, name: replace(buffer, offset=offset)}
        with pytest.raises(CertificateError, match="no valid place"):
            check(replace(program, buffers=wrong), DIRECT)

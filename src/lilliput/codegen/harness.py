"""What the test harness needs to know of a program: `harness_model.h`, and how to read back
what it reports.

The harness (emu/csrc/harness.c) is the same for every model.  The header that is written
here tells it where inputs, outputs and arenas are, which bytes each step has made (for
comparing tensor by tensor), and which bytes nobody reads any more after a step (they are
poisoned in tests, so that a wrong lifetime shows).  Inputs that are pulled lie in memory of the
harness, whose functions hand their rows over.  With `operations`, what a firmware does with states
comes behind the entries (`operations.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.codegen import operations as beside
from lilliput.codegen.arguments import arguments
from lilliput.codegen.c import Text, comment, identifier
from lilliput.codegen.names import entry_function, leaf_steps, port_function, step_ids
from lilliput.codegen.rows import Source, sources
from lilliput.ir.types import Array
from lilliput.plan.lifetimes import lifetimes
from lilliput.plan.lifetimes import spans as step_spans
from lilliput.plan.program import Call, Entry, Kind, Loop, Program, View

Span = tuple[str, int, int]
"""(C array, offset in it, bytes)"""


@dataclass(frozen=True)
class TracePoint:
    """Step `step` leaves value `value` in `view`; the traced bytes start at the view's."""

    step: int
    value: str
    view: View


@dataclass(frozen=True)
class Harness:
    """`defines` place the model's arenas in the harness's memory.

    entries   : the functions that run the entries, in order
    names     : of all that the harness runs, in order
    callbacks : the functions that those call through a pointer
    """

    header: str
    defines: tuple[str, ...]
    points: tuple[TracePoint, ...]
    hook: str
    entries: tuple[str, ...]
    callbacks: tuple[str, ...]
    names: tuple[str, ...]


def extent(view: View) -> int:
    """Bytes from the first to behind the last element of a view."""
    rows = view.ring or view.rows
    last = (rows - 1) * view.row + (view.pixels - 1) * view.pixel
    return last + (view.channels - 1) * view.channel + view.dtype.itemsize


def extract(view: View, data: bytes) -> Array:
    """The elements (rows, pixels, channels) of a view from the bytes that it spans."""
    raw = np.frombuffer(data, np.uint8)
    size = view.dtype.itemsize
    index = (
        np.arange(view.rows)[:, None, None, None] * view.row
        + np.arange(view.pixels)[:, None, None] * view.pixel
        + np.arange(view.channels)[:, None] * view.channel
        + np.arange(size)
    )
    return raw[index].reshape(-1).view(view.dtype.numpy).reshape(view.extents)


def harness(program: Program, *, operations: bool = False) -> Harness:
    """The header for `program`, and where the tensors are in what the harness reports.

    operations : with those of `operations.py`; then an entry that may refuse a call gives its
        status behind its outputs
    """
    prefix = identifier(program.name)
    spans: list[Span] = []
    points: list[TracePoint] = []

    def add(new: Sequence[Span]) -> str:
        spans.extend(new)
        return f"{{{len(spans) - len(new)}, {len(new)}}}"

    text, servers = Text(), Text()
    if operations:
        servers.add(f"static uint32_t {beside.STATUS}[1];")
    entries: list[str] = []
    trace: list[str] = []
    poison: list[str] = []
    ids = step_ids(program)
    runs: list[str] = []
    handed: list[tuple[str, Source]] = []
    for number, entry in enumerate(program.entries):
        given = sources(prefix, program, entry)
        mine = {name: f"ll_input{len(handed) + k}" for k, name in enumerate(given)}
        places: list[Span] = [
            (mine[v.name], 0, v.type.nbytes) if view is None else _span(program, view)
            for v, view in entry.inputs
        ]
        handed += [(mine[name], source) for name, source in given.items()]
        function = entry_function(prefix, program, entry)
        if given or entry.guarded:
            held = [(mine[n], source) for n, source in given.items()]
            call = f"{function}({_arguments(prefix, program, entry, mine)})"
            function = _serve(servers, number, entry, call, held, answers=operations)
        runs.append(function)
        answer = [(beside.STATUS, 0, 4)] if operations and entry.guarded else []
        made_by = [_span(program, v) for _, v in entry.outputs]
        inputs, outputs = add(places), add([*made_by, *answer])
        entries.append(f"{{{function}, {inputs}, {outputs}}},")
        dead = _dead(program, entry)
        for index, step in enumerate(leaf_steps(entry)):
            made: list[Span] = []
            if isinstance(step, Call) and _traceable(entry, step):
                made = [_span(program, view) for _, view in step.results()]
                at = ids[entry.name, index]
                points += [TracePoint(at, value.name, view) for value, view in step.results()]
            trace.append(f"{add(made)},")
            poison.append(f"{add(dead[index])},")
    names = [e.name for e in program.entries]
    if operations:
        beside.define(servers, program, prefix)
        for found in beside.operations(program, [_span(program, s.view) for s in program.states]):
            names.append(found.name)
            entries.append(f"{{{found.function}, {add(found.inputs)}, {add(found.outputs)}}},")
    text.add(
        comment(f"what the test harness needs to know of {program.name}"),
        '#include "harness.h"',
        f'#include "{prefix}.h"',
        f"#define LL_ON_STEP {prefix}_on_step",
    )
    for memory, nbytes in program.arenas.items():
        section = (
            "" if memory == program.ram else f'__attribute__((section(".ll_arena_{memory}"))) '
        )
        aligned = f"{section}_Alignas({program.arena_align(memory)}) uint8_t"
        text.add(f"{aligned} ll_arena_{memory}[{nbytes} + LL_GUARD];")
    _table(
        text, "ll_span ll_arenas", [f"{{ll_arena_{m}, {n}u}}," for m, n in program.arenas.items()]
    )
    text.add(f"static const uint32_t ll_arena_count = {len(program.arenas)};")
    text.lines += servers.lines
    _table(text, "ll_span ll_spans", [f"{{{a} + {o}, {n}u}}," for a, o, n in spans])
    _table(text, "ll_entry ll_entries", entries)
    text.add(f"static const uint32_t ll_entry_count = {len(entries)};")
    _table(text, "ll_range ll_step_trace", trace)
    _table(text, "ll_range ll_step_poison", poison)
    with text.function("static void ll_reset(void)"):
        if program.states:
            text.add(f"{prefix}_reset();")
    defines = tuple(f"{prefix.upper()}_ARENA_{m.upper()}=ll_arena_{m}" for m in program.arenas)
    callbacks = tuple(f"{name}_rows" for name, source in handed if not source.push)
    hook = f"{prefix}_on_step"
    return Harness(str(text), defines, tuple(points), hook, tuple(runs), callbacks, tuple(names))


def _serve(
    text: Text,
    number: int,
    entry: Entry,
    call: str,
    given: Sequence[tuple[str, Source]],
    *,
    answers: bool,
) -> str:
    """Writes a function without parameters that runs an entry on what the harness holds of its
    inputs; its name."""
    run = f"ll_run{number}"
    text.add(f"void {run}(void);")
    if entry.push:
        ((name, source),) = given
        text.add(f"static _Alignas(8) uint8_t {name}[{source.value.type.nbytes}];")
        with (
            text.function(f"LL_NOINLINE void {run}(void)"),
            text.block(f"for (int32_t y = 0; y < {source.rows}; ++y)"),
        ):
            text.add(f"ll_require({call} == (y == {source.rows - 1}));")
        return run
    for name, source in given:
        head = f"LL_NOINLINE void {name}_rows{source.signature}"
        text.add(
            f"static _Alignas(8) uint8_t {name}[{source.value.type.nbytes}];",
            f"static ll_source {name}_source = {{{name}, {source.row_bytes}u, 0}};",
            f"{head.removeprefix('LL_NOINLINE ')};",
        )
        with text.function(head):
            text.add("ll_hand_over((ll_source *)ctx, first, count, rows);")
    with text.function(f"LL_NOINLINE void {run}(void)"):
        text.extend(f"{name}_source.next = 0;" for name, _ in given)
        kept = f"{beside.STATUS}[0] = (uint32_t)" if answers else "(void)"
        text.add(f"{kept}{call};" if entry.guarded else f"{call};")
        for name, source in given:
            refused = f" || {name}_source.next == 0" if entry.guarded else ""
            text.add(f"ll_require({name}_source.next == {source.rows}{refused});")
    return run


def _arguments(prefix: str, program: Program, entry: Entry, held: Mapping[str, str]) -> str:
    """What an entry is called with whose inputs lie where they belong, or are `held` to be handed
    over: in the order of `rows.prototype`."""
    pulled, given = sources(prefix, program, entry), arguments(entry) if entry.guarded else {}
    found: list[str] = []
    for k, (value, _) in enumerate(entry.inputs):
        if value.name in pulled:
            name, source = held[value.name], pulled[value.name]
            row = f"(const {source.c_type} *)(const void *)({name} + y * {source.row_bytes})"
            found.append(row if entry.push else f"{name}_rows, &{name}_source")
        elif value.name in given:
            port = port_function(prefix, program, entry, "input", k)
            found.append(f"*{port}()" if given[value.name].by_value else "0")
    return ", ".join([*found, *("0" for a in given.values() if a.result)])


def _table(text: Text, head: str, rows: Sequence[str]) -> None:
    with text.block(f"static const {head}[] =", "};"):
        text.extend(rows or ["{0},"])


def _span(program: Program, view: View) -> Span:
    buffer = program.buffers[view.buffer]
    assert buffer.offset is not None
    return f"ll_arena_{buffer.memory}", buffer.offset + view.start, extent(view)


def _traceable(entry: Entry, call: Call) -> bool:
    """Whole tensors only: line buffers never hold one, nor does a piece of a loop or copy."""
    view = call.output
    whole = view.rows * view.pixels * view.channels == call.value.type.size
    return whole and call in entry.steps and view.counter is None


def _dead(program: Program, entry: Entry) -> list[list[Span]]:
    """For each leaf step the arena bytes that nobody reads after it (none inside a loop)."""
    blocks = lifetimes(entry, program.buffers)
    spans: list[list[Span]] = []
    for step, (_, t) in zip(entry.steps, step_spans(entry), strict=True):
        if isinstance(step, Loop):
            spans += [[] for _ in step.body]
            continue
        spans.append([])
        for memory, nbytes in program.arenas.items():
            used = np.zeros(nbytes, bool)
            live = [b.name for b in blocks if b.first <= t < b.last]
            live += [b.name for b in program.buffers.values() if b.kind is Kind.STATE]
            for buffer in (program.buffers[name] for name in live):
                if buffer.memory == memory and buffer.offset is not None:
                    used[buffer.offset : buffer.offset + buffer.nbytes] = True
            edges = np.flatnonzero(np.diff(np.concatenate(([1], used, [1])).astype(np.int8)))
            runs = zip(edges[::2], edges[1::2], strict=True)
            spans[-1] += [(f"ll_arena_{memory}", int(a), int(b - a)) for a, b in runs]
    return spans

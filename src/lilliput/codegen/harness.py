"""What the test harness needs to know of a program: `harness_model.h`, and how to read back
what it reports.

The harness (emu/csrc/harness.c) is the same for every model.  The header that is written
here tells it where inputs, outputs and arenas are, which bytes each step has made (for
comparing tensor by tensor), and which bytes nobody reads any more after a step (they are
poisoned in tests, so that a wrong lifetime shows).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.codegen.c import Text, comment, identifier
from lilliput.codegen.names import entry_function, leaf_steps, step_ids
from lilliput.ir.types import Array
from lilliput.plan.lifetimes import lifetimes
from lilliput.plan.program import Call, Entry, Kind, Loop, Program, View

Span = tuple[str, int, int]
"""(memory, offset in its arena, bytes)"""


@dataclass(frozen=True)
class TracePoint:
    """Step `step` leaves value `value` in `view`; the traced bytes start at the view's."""

    step: int
    value: str
    view: View


@dataclass(frozen=True)
class Harness:
    """`defines` place the model's arenas in the harness's memory."""

    header: str
    defines: tuple[str, ...]
    points: tuple[TracePoint, ...]
    hook: str


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


def harness(program: Program) -> Harness:
    """The header for `program`, and where the tensors are in what the harness reports."""
    prefix = identifier(program.name)
    spans: list[Span] = []
    points: list[TracePoint] = []

    def add(new: Sequence[Span]) -> str:
        spans.extend(new)
        return f"{{{len(spans) - len(new)}, {len(new)}}}"

    text = Text()
    entries: list[str] = []
    trace: list[str] = []
    poison: list[str] = []
    ids = step_ids(program)
    for entry in program.entries:
        inputs = add([_span(program, v) for _, v in entry.inputs])
        outputs = add([_span(program, v) for _, v in entry.outputs])
        entries.append(f"{{{entry_function(prefix, program, entry)}, {inputs}, {outputs}}},")
        dead = _dead(program, entry)
        for index, step in enumerate(leaf_steps(entry)):
            made: list[Span] = []
            if isinstance(step, Call) and _traceable(entry, step):
                made = [_span(program, view) for _, view in step.results()]
                number = ids[entry.name, index]
                points += [TracePoint(number, value.name, view) for value, view in step.results()]
            trace.append(f"{add(made)},")
            poison.append(f"{add(dead[index])},")
    text.add(
        comment(f"what the test harness needs to know of {program.name}"),
        '#include "harness.h"',
        f'#include "{prefix}.h"',
        f"#define LL_ON_STEP {prefix}_on_step",
    )
    for memory, nbytes in program.arenas.items():
        section = (
            ""
            if memory == _default(program)
            else f'__attribute__((section(".ll_arena_{memory}"))) '
        )
        aligned = f"{section}_Alignas({program.arena_align(memory)}) uint8_t"
        text.add(f"{aligned} ll_arena_{memory}[{nbytes} + LL_GUARD];")
    _table(
        text, "ll_span ll_arenas", [f"{{ll_arena_{m}, {n}u}}," for m, n in program.arenas.items()]
    )
    text.add(f"static const uint32_t ll_arena_count = {len(program.arenas)};")
    _table(text, "ll_span ll_spans", [f"{{ll_arena_{m} + {o}, {n}u}}," for m, o, n in spans])
    _table(text, "ll_entry ll_entries", entries)
    text.add(f"static const uint32_t ll_entry_count = {len(entries)};")
    _table(text, "ll_range ll_step_trace", trace)
    _table(text, "ll_range ll_step_poison", poison)
    with text.function("static void ll_reset(void)"):
        if program.states:
            text.add(f"{prefix}_reset();")
    defines = tuple(f"{prefix.upper()}_ARENA_{m.upper()}=ll_arena_{m}" for m in program.arenas)
    return Harness(str(text), defines, tuple(points), f"{prefix}_on_step")


def _default(program: Program) -> str:
    return next(iter(program.arenas), "")


def _table(text: Text, head: str, rows: Sequence[str]) -> None:
    with text.block(f"static const {head}[] =", "};"):
        text.extend(rows or ["{0},"])


def _span(program: Program, view: View) -> Span:
    buffer = program.buffers[view.buffer]
    assert buffer.offset is not None
    return buffer.memory, buffer.offset + view.start, extent(view)


def _traceable(entry: Entry, call: Call) -> bool:
    """Whole tensors only: line buffers never hold one, nor does a piece of a loop or copy."""
    view = call.output
    whole = view.rows * view.pixels * view.channels == call.value.type.size
    return whole and call in entry.steps and view.counter is None


def _dead(program: Program, entry: Entry) -> list[list[Span]]:
    """For each leaf step the arena bytes that nobody reads after it (none inside a loop)."""
    blocks = lifetimes(entry, program.buffers)
    spans: list[list[Span]] = []
    for t, step in enumerate(entry.steps):
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
            spans[-1] += [(memory, int(a), int(b - a)) for a, b in runs]
    return spans

"""Rows of maps that live in a slow memory, moved through the default RAM.

One idea: a kernel works on rows in a line buffer, wherever these come from.  A call on a map that
is far away becomes a loop over rows, a loop over rows that reads one stays what it is, and both
get copies of which each is under way while the kernel works on what the one before has brought:

    wait                     for the rows of execution k
    start to copy            the input rows that execution k+1 needs and nobody has brought yet
    start to copy            the output rows of execution k-1 to where they live
    call                     execution k, from a ring of rows and into one

The copies go through the hooks that a firmware can leave to DMA.  What cannot go row by row (maps
in planes, windows over a batch, what needs all of a map) is read and written where it is.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, replace

from lilliput.ir.region import AxisRule, Pointwise, Reduce, Window
from lilliput.plan.group import stride
from lilliput.plan.program import (
    Buffer,
    Call,
    Copy,
    Entry,
    FrameRule,
    Kind,
    Loop,
    Range,
    Step,
    Timed,
    View,
    Wait,
)

PIECE = 1024
"""Bytes of the rows that one execution brings, at least, where a call becomes a loop."""


def fetch(
    entry: Entry, buffers: MutableMapping[str, Buffer], far: frozenset[str], ram: str
) -> Entry:
    """`entry` with copies of rows around the calls that read or write a buffer in `far`; the same
    entry where none of them can be.

    buffers : gets the line buffers, in memory `ram`
    """
    fetcher = _Fetcher(entry.name, buffers, far, ram)
    steps: list[Step] = []
    for step in entry.steps:
        steps += fetcher.step(step)
    return replace(entry, steps=tuple(steps)) if fetcher.made else entry


@dataclass(frozen=True)
class _Near:
    """A call in a loop on line buffers: copies before the loop, and in it."""

    call: Call
    first: tuple[Copy, ...]
    bring: tuple[Copy, ...]
    store: Copy | None


class _Fetcher:
    def __init__(
        self,
        entry: str,
        buffers: MutableMapping[str, Buffer],
        far: frozenset[str],
        ram: str,
    ):
        self.entry, self.buffers, self.far, self.ram = entry, buffers, far, ram
        self.made = 0

    def step(self, step: Step) -> list[Step]:
        if isinstance(step, Call):
            loop = self.as_loop(step)
            return [step] if loop is None else self.loop(loop) or [step]
        if isinstance(step, Loop):
            return self.loop(step) or [step]
        return [step]

    def as_loop(self, call: Call) -> Loop | None:
        """A whole call as a loop over its rows, where it touches what is far and can be one."""
        mine = [v for v in (*call.inputs, call.output) if v.buffer in self.far]
        if not mine or not _splits(call, self.buffers):
            return None
        quantum, rows = call.kernel.quantum, call.region.y.extent
        each = max(v.pixels * v.channels * v.dtype.itemsize for v in mine) * quantum
        q = quantum * max(1, -(-PIECE // each))
        count = -(-rows // q)
        if count < 2:
            return None
        part = replace(call, region=replace(call.region, y=Range(0, q, rows, q)))
        return Loop(count, (Timed(part, 1, 0, count),))

    def loop(self, loop: Loop) -> list[Step]:
        """The loop with copies, and what comes before and after it; nothing where none are made,
        as in loops that go by strips."""
        if any(timed.columns for timed in loop.body):
            return []
        made = {t.step.output.buffer for t in loop.body if isinstance(t.step, Call)}
        read = {v.buffer for t in loop.body if isinstance(t.step, Call) for v in t.step.inputs}
        both = made & read  # made and read in one loop: it stays where the loop keeps it
        near = {
            k: found
            for k, t in enumerate(loop.body)
            if isinstance(t.step, Call)
            and (found := self.near(t.step, self.far - both)) is not None
        }
        if not near:
            return []
        body, shift = list(loop.body), 0
        for k in near:
            shift = max(shift, body[k].period - body[k].phase)
        timed: list[Timed] = []
        end = loop.count + shift
        for k, t in enumerate(body):
            at = t.phase + shift
            if k not in near:
                timed.append(replace(t, phase=at))
                continue
            found = near[k]
            timed.append(Timed(Wait(), t.period, at, t.count))
            timed += [Timed(c, t.period, at - t.period, t.count) for c in found.bring]
            if found.store is not None:
                timed.append(Timed(found.store, t.period, at + t.period, t.count))
                end = max(end, at + t.period * t.count + 1)
            timed.append(replace(t, step=found.call, phase=at))
        first = [c for found in near.values() for c in found.first]
        last: list[Step] = [Wait()] if any(f.store for f in near.values()) else []
        return [*first, Loop(end, tuple(timed)), *last]

    def near(self, call: Call, far: frozenset[str]) -> _Near | None:
        """The call on line buffers; None where nothing of it is far, or none of that in rows."""
        q = call.region.y.step
        inputs = list(call.inputs)
        first: list[Copy] = []
        bring: list[Copy] = []
        if call.node.op.view or q <= 0:
            return None
        for i, (view, rule) in enumerate(zip(call.inputs, call.rules, strict=False)):
            if view.buffer not in far or not _in_rows(view, rule):
                continue
            low, high = _first(rule.y, q)
            step = int(stride(rule.y)) * q
            ring = high - low + step
            if ring >= view.rows or step <= 0:
                continue
            inputs[i] = self.ring(view, ring)
            before = Range(max(low, 0), high - step, view.rows)
            if before.stop > before.start:
                first.append(Copy(view, inputs[i], call.node.origin, before))
            rows = Range(high - step, high, view.rows, step)
            bring.append(Copy(view, inputs[i], call.node.origin, rows))
        output, store = call.output, None
        reduces = any(isinstance(r.y, Reduce) for r in call.rules)
        if output.buffer in far and not reduces and _rows_of(output) and 2 * q < output.rows:
            output = self.ring(call.output, 2 * q)
            store = Copy(output, call.output, call.node.origin, Range(0, q, output.rows, q))
        if not bring and store is None:
            return None
        operands = len(call.store.operands) if call.store else 0
        epilogue = call.store and replace(
            call.store, operands=tuple(inputs[len(inputs) - operands :])
        )
        moved = replace(call, inputs=tuple(inputs), output=output, store=epilogue)
        return _Near(moved, tuple(first), tuple(bring), store)

    def ring(self, view: View, rows: int) -> View:
        """A ring of `rows` dense rows of `view` in RAM."""
        name, k = f"{self.entry}/{view.root}/rows", 0
        while name in self.buffers:
            k += 1
            name = f"{self.entry}/{view.root}/rows.{k}"
        size = view.dtype.itemsize
        pixel = view.channels * size
        row = view.pixels * pixel
        self.buffers[name] = Buffer(name, self.ram, rows * row, Kind.ARENA, max(size, 4))
        self.made += 1
        return replace(view, buffer=name, root=name, row=row, pixel=pixel, start=0, ring=rows)


def _first(rule: AxisRule, q: int) -> tuple[int, int]:
    """Operand rows that the first q rows need, of which those before the map do not exist."""
    inner = rule.inner if isinstance(rule, Reduce) else rule
    assert isinstance(inner, Window | Pointwise)
    return inner.needs(0, q)


def _splits(call: Call, buffers: Mapping[str, Buffer]) -> bool:
    """Whether a whole call can be made of calls for some rows each."""
    views = [*call.inputs, call.output]
    everything = call.region.y.step == 0 and call.region.y.at(0) == (0, call.region.y.extent)
    plain = all(v.ring is None and buffers[v.buffer].kind is not Kind.STATE for v in views)
    planes = call.output.plane is not None and any(v.plane is not None for v in call.inputs)
    return (
        everything
        and plain
        and not (planes and call.kernel.by_planes)
        and not call.kernel.dense
        and not call.byproducts
        and call.value.type.shape[:-3] in ((), (1,))
    )


def _in_rows(view: View, rule: FrameRule) -> bool:
    """Whether an operand is read by windows over its rows."""
    return _windows(rule.y) and rule.images[1] == view.rows and _rows_of(view)


def _windows(rule: AxisRule) -> bool:
    inner = rule.inner if isinstance(rule, Reduce) else rule
    return isinstance(inner, Window | Pointwise) and (isinstance(rule, Reduce) or inner.axis == 0)


def _rows_of(view: View) -> bool:
    """Whether every row of a whole map is one block of bytes."""
    dense = view.pixel == view.channels * view.dtype.itemsize or view.pixels == 1
    return dense and view.plane is None and view.ring is None and view.counter is None

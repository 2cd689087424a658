"""What a call moves: bytes that are read and written of each buffer, and what memories cost.

One idea: a buffer is worth a fast memory by how often its bytes are touched.  Nothing is run for
that; it follows from the region rules:

    an operand      once for every window over it, hence size / stride times along an axis; of
                    a sum over channels once more for every `CHANNELS` of the output
    a parameter     of which every pixel reads all: once for every pixel of the output
    what is made    once; scratch is written and read once
    a copy          its source is read once, its target written once

Registers and caches save some of it, which is the same for all places that a buffer can have, so
that the order of buffers is right where the cycles are too many.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from lilliput.devices.device import Device
from lilliput.ir.region import AxisRule, Reduce, Spread, Whole, Window
from lilliput.plan.lifetimes import leaves
from lilliput.plan.program import Buffer, Call, Copy, Entry, FrameRule, Kind, Leaf, Pull, View

CHANNELS: Final = 4
"""Output channels that kernels of weighted sums make of one read, about."""


@dataclass(frozen=True)
class Traffic:
    """Bytes of a buffer that one call of every entry reads and writes."""

    read: float = 0.0
    written: float = 0.0

    def cycles(self, read: float, write: float) -> float:
        """What they cost in a memory of so many cycles a byte."""
        return self.read * read + self.written * write


def traffic(entries: Iterable[Entry], buffers: Mapping[str, Buffer]) -> dict[str, Traffic]:
    """Buffer -> its traffic; every buffer that a step touches is there."""
    found: dict[str, list[float]] = {}
    for entry in entries:
        for leaf in (leaf for step in entry.steps for leaf in leaves(step)):
            for name, read, written in _touches(leaf, buffers):
                pair = found.setdefault(name, [0.0, 0.0])
                pair[0] += read
                pair[1] += written
    return {name: Traffic(*pair) for name, pair in found.items()}


def memory_cycles(entries: Iterable[Entry], buffers: Mapping[str, Buffer], device: Device) -> float:
    """Cycles that one call of every entry waits for the memories of `device`, as they say."""
    costs = {m.name: (m.read, m.write) for m in device.memories if m.read or m.write}
    if not costs:
        return 0.0
    moved = traffic(entries, buffers).items()
    return sum(t.cycles(*costs[m]) for n, t in moved if (m := buffers[n].memory) in costs)


def _touches(leaf: Leaf, buffers: Mapping[str, Buffer]) -> Iterable[tuple[str, float, float]]:
    """(buffer, bytes read, bytes written) of all executions of a step."""
    if isinstance(leaf, Copy):
        part = leaf.rows if leaf.rows is not None and leaf.rows.step == 0 else None
        share = 1.0 if part is None else (part.stop - part.start) / part.extent
        yield leaf.source.buffer, _nbytes(leaf.source) * share, 0.0
        yield leaf.target.buffer, 0.0, _nbytes(leaf.source) * share
    elif isinstance(leaf, Pull):
        yield leaf.view.buffer, 0.0, _nbytes(leaf.view)
    elif isinstance(leaf, Call):
        pixels = leaf.region.y.extent * leaf.region.x.extent
        for view, rule in zip(leaf.inputs, leaf.rules, strict=False):
            constant = buffers[view.buffer].kind is Kind.CONST or view.block is not None
            times = pixels if constant and isinstance(rule.y, Whole) else _times(rule)
            if not constant and isinstance(rule.c, Whole):
                times *= max(leaf.region.c.extent / CHANNELS, 1.0)
            yield view.buffer, _nbytes(view) * times, 0.0
        for view in leaf.inputs[len(leaf.rules) :]:
            yield view.buffer, _nbytes(view), 0.0
        for _, view in leaf.results():
            yield view.buffer, 0.0, _nbytes(view)
        if leaf.scratch is not None:
            yield leaf.scratch.buffer, _nbytes(leaf.scratch), _nbytes(leaf.scratch)


def _nbytes(view: View) -> float:
    return view.rows * view.pixels * view.channels * view.dtype.itemsize


def _times(rule: FrameRule) -> float:
    """How many windows over rows and pixels an element lies in."""
    return _along(rule.y) * _along(rule.x)


def _along(rule: AxisRule) -> float:
    """How many windows along an axis an element lies in."""
    inner = rule.inner if isinstance(rule, Reduce) else rule
    if isinstance(inner, Window | Spread):
        return inner.size / inner.stride if isinstance(inner, Window) else inner.size
    return 1.0

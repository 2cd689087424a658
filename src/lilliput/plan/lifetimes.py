"""When each arena buffer is alive.

Time is the index of a step of the entry; a loop is one step.  The caller writes the inputs
before step 0 and reads the outputs after the last step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lilliput.plan.arena import Block
from lilliput.plan.program import Buffer, Call, Copy, Entry, Kind, Loop, Step, View


def reads_of(step: Step) -> Iterator[View]:
    if isinstance(step, Call):
        yield from step.inputs
        if step.store:
            yield from step.store.tables
    elif isinstance(step, Copy):
        yield step.source
    elif isinstance(step, Loop):
        for timed in step.body:
            yield from reads_of(timed.step)


def writes_of(step: Step) -> Iterator[View]:
    """What a step writes, its scratch included."""
    if isinstance(step, Call):
        yield from (view for _, view in step.results())
        if step.scratch:
            yield step.scratch
    elif isinstance(step, Copy):
        yield step.target
    elif isinstance(step, Loop):
        for timed in step.body:
            yield from writes_of(timed.step)


def views(entry: Entry) -> Iterator[View]:
    """Every view that an entry reads or writes."""
    yield from (v for _, v in (*entry.inputs, *entry.outputs))
    for step in entry.steps:
        yield from reads_of(step)
        yield from writes_of(step)


def lifetimes(entry: Entry, buffers: Mapping[str, Buffer]) -> list[Block]:
    """First and last step at which each arena buffer of the entry holds something."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}

    def touch(view: View, t: int) -> None:
        first[view.buffer] = min(first.get(view.buffer, t), t)
        last[view.buffer] = max(last.get(view.buffer, t), t)

    for _, view in entry.inputs:
        touch(view, -1)
    for t, step in enumerate(entry.steps):
        for view in (*reads_of(step), *writes_of(step)):
            touch(view, t)
    for _, view in entry.outputs:
        touch(view, len(entry.steps))
    return [
        Block(name, buffers[name].nbytes, buffers[name].align, first[name], last[name])
        for name in first
        if buffers[name].kind is Kind.ARENA
    ]

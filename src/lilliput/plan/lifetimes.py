"""When each arena buffer is alive.

Time counts the steps of an entry, those that a loop repeats one by one.  What a loop needs for
longer than one iteration lives as long as the loop.  The caller writes the inputs
before step 0, but for those that steps ask for, and reads the outputs after the last step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lilliput.plan.arena import Block
from lilliput.plan.program import (
    Buffer,
    Call,
    Copy,
    Entry,
    Kind,
    Leaf,
    Loop,
    Pull,
    Step,
    Stop,
    View,
)


def reads_of(step: Step) -> Iterator[View]:
    if isinstance(step, Call):
        yield from step.inputs
        if step.store:
            yield from step.store.tables
    elif isinstance(step, Copy):
        yield step.source
    elif isinstance(step, Stop):
        yield step.view
        if step.below:
            yield step.below
    elif isinstance(step, Loop):
        for timed in step.body:
            yield from reads_of(timed.step)


def writes_of(step: Step) -> Iterator[View]:
    """What a step writes, its scratch included."""
    if isinstance(step, Call):
        yield from (view for _, view in step.results())
        if step.scratch:
            yield step.scratch
    elif isinstance(step, Pull):
        yield step.view
    elif isinstance(step, Copy):
        yield step.target
    elif isinstance(step, Loop):
        for timed in step.body:
            yield from writes_of(timed.step)


def views(entry: Entry) -> Iterator[View]:
    """Every view that an entry reads or writes."""
    yield from (v for _, v in (*entry.placed(), *entry.outputs))
    for step in entry.steps:
        yield from reads_of(step)
        yield from writes_of(step)


def spans(entry: Entry) -> list[tuple[int, int]]:
    """When each step begins and ends."""
    found: list[tuple[int, int]] = []
    at = 0
    for step in entry.steps:
        count = len(leaves(step))
        found.append((at, at + count - 1))
        at += count
    return found


def lifetimes(entry: Entry, buffers: Mapping[str, Buffer]) -> list[Block]:
    """From when until when each arena buffer of the entry holds something."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}

    def touch(name: str, begin: int, end: int) -> None:
        first[name] = min(first.get(name, begin), begin)
        last[name] = max(last.get(name, end), end)

    for _, view in entry.placed():
        touch(view.buffer, -1, -1)
    end = 0
    for step, (begin, end) in zip(entry.steps, spans(entry), strict=True):
        for name, places in _touched(step).items():
            if _passes(step, name, places):
                touch(name, begin + min(places), begin + max(places))
            else:
                touch(name, begin, end)
    for _, view in entry.outputs:
        touch(view.buffer, end + 1, end + 1)
    return [
        Block(name, buffers[name].nbytes, buffers[name].align, first[name], last[name])
        for name in first
        if buffers[name].kind is Kind.ARENA
    ]


def _touched(step: Step) -> dict[str, list[int]]:
    """Buffer -> places in the body of the step at which it is read or written."""
    found: dict[str, list[int]] = {}
    for place, leaf in enumerate(leaves(step)):
        for view in (*reads_of(leaf), *writes_of(leaf)):
            found.setdefault(view.buffer, []).append(place)
    return found


def leaves(step: Step) -> list[Leaf]:
    """The step itself, or what a loop repeats."""
    return [t.step for t in step.body] if isinstance(step, Loop) else [step]


def _passes(step: Step, name: str, places: Sequence[int]) -> bool:
    """Whether what a loop keeps in a buffer is needed in the iteration that made it alone: scratch,
    and rows that are read in the same iterations, and never again."""
    if not isinstance(step, Loop):
        return True
    body = [step.body[i] for i in sorted(set(places))]
    maker = body[0].step
    if isinstance(maker, Call) and maker.scratch is not None and maker.scratch.buffer == name:
        return len(body) == 1 and not maker.kernel.carry(maker.node)
    made = [v for v in writes_of(maker) if v.buffer == name]
    if not made or any(v.buffer == name for t in body[1:] for v in writes_of(t.step)):
        return False
    rows = (
        maker.rows
        if isinstance(maker, Pull)
        else maker.region.y.step
        if isinstance(maker, Call)
        else 0
    )
    times = {(t.period, t.phase, t.count) for t in body}
    return len(times) == 1 and made[0].ring is not None and made[0].ring <= rows

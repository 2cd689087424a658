"""When each arena buffer is alive, and how far an output may run over its input.

Time is the index of a step of the entry; a loop is one step.  The caller writes the inputs
before step 0, but for those that steps ask for, and reads the outputs after the last step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lilliput.ir.region import Whole, needs
from lilliput.plan.arena import Block, Distances
from lilliput.plan.program import (
    Buffer,
    Call,
    Copy,
    Entry,
    FrameRule,
    Kind,
    Loop,
    Pull,
    Step,
    View,
)


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


def lifetimes(entry: Entry, buffers: Mapping[str, Buffer]) -> list[Block]:
    """First and last step at which each arena buffer of the entry holds something."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}

    def touch(view: View, t: int) -> None:
        first[view.buffer] = min(first.get(view.buffer, t), t)
        last[view.buffer] = max(last.get(view.buffer, t), t)

    for _, view in entry.placed():
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


def distances(entry: Entry, buffers: Mapping[str, Buffer], blocks: Sequence[Block]) -> Distances:
    """(output, input) -> how far the input must start behind the output, for the pairs of
    which the input dies in the step that makes the output."""
    life = {b.name: b for b in blocks}
    found: dict[tuple[str, str], int] = {}
    for t, step in enumerate(entry.steps):
        if not isinstance(step, Call) or step.output.buffer not in life:
            continue
        out = life[step.output.buffer]
        if out.first != t:
            continue
        for view in {v.buffer: v for v in step.inputs}.values():
            inp = life.get(view.buffer)
            if inp is None or inp.last != t or inp.name == out.name:
                continue
            if buffers[inp.name].memory != buffers[out.name].memory:
                continue
            far = [_distance(step, i) for i, v in enumerate(step.inputs) if v.buffer == inp.name]
            known = [d for d in far if d is not None]
            if len(known) == len(far):
                found[out.name, inp.name] = max(known)
    return found


def _distance(call: Call, index: int) -> int | None:
    """Bytes from the output's buffer to that of input `index`; None: they must not meet."""
    out, view = call.output, call.inputs[index]
    own = index < len(call.inputs) - (len(call.store.operands) if call.store else 0)
    policy = call.kernel.overlap if own else "element"
    shift = out.start - view.start
    if policy == "row" and call.kernel.by_planes and out.is_planar and view.is_planar:
        return _plane_distance(call.rules[index], out, view, shift)
    same = (out.is_dense and view.is_dense) or (out.is_planar and view.is_planar)
    if policy == "none" or not same or (policy == "row" and call.kernel.by_planes):
        return None
    if policy == "element":
        # planes are not gone through in the order of their bytes
        if view.extents != out.extents or out.plane is not None:
            return None
        size, wide = view.dtype.itemsize, out.dtype.itemsize
        count = out.rows * out.pixels * out.channels
        ahead = 0 if own else call.kernel.ahead(call.node) * out.channels * wide
        return max(0, shift + (count - 1) * max(wide - size, 0) + ahead)
    if out.plane is not None:
        return None
    rule = call.rules[index]
    row, wide = view.pixels * view.channels * view.dtype.itemsize, out.pixels * out.channels
    wide *= out.dtype.itemsize
    return max(
        0,
        *(shift + (y + 1) * wide - first_row(rule, view, y) * row for y in range(out.rows)),
    )


def _plane_distance(rule: FrameRule, out: View, view: View, shift: int) -> int | None:
    """As above for a kernel that goes through the rows of one channel after the other."""
    if isinstance(rule.c, Whole):
        return None
    assert out.plane is not None
    assert view.plane is not None
    far = shift
    for c in range(out.channels):
        source = c * view.channels // out.channels
        for y in range(out.rows):
            end = c * out.plane + (y + 1) * out.row
            start = source * view.plane + first_row(rule, view, y) * view.row
            far = max(far, shift + end - start)
    return max(0, far)


def first_row(rule: FrameRule, view: View, y: int) -> int:
    """The first row of an operand that output row y needs."""
    image, inside = divmod(y, rule.images[0]) if rule.images[1] != view.rows else (0, y)
    return image * rule.images[1] + needs(rule.y, (inside, inside + 1), rule.images[1])[0]

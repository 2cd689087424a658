"""How far an output may run over an input that dies while it is made.

One idea: what is written must stay behind what is still to be read.  Input rows die in ascending
order, so it is enough that the input's buffer starts a certain distance behind the output's:

    distance = max over the writes of (end of what is written - first byte that is read later)

Within one call the kernel says what it still reads (`Kernel.overlap`); in a loop each execution
is a call of its own, so rows that no later execution needs are dead whatever the kernel is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lilliput.ir.graph import Node
from lilliput.ir.op import Kernel
from lilliput.ir.region import AxisRule, Reduce, Whole, needs
from lilliput.plan.arena import Block, Distances
from lilliput.plan.group import Slot, first_unfinished
from lilliput.plan.lifetimes import spans
from lilliput.plan.program import Buffer, Call, Entry, FrameRule, Loop, Timed, View


def distances(entry: Entry, buffers: Mapping[str, Buffer], blocks: Sequence[Block]) -> Distances:
    """(output, input) -> how far the input must start behind the output, for the pairs of
    which the input dies in the step that makes the output."""
    life = {b.name: b for b in blocks}
    found: dict[tuple[str, str], int] = {}
    for step, (begin, end) in zip(entry.steps, spans(entry), strict=True):
        if isinstance(step, Call):
            timed = (Timed(step, 1, 0, 1),)
        elif isinstance(step, Loop):
            timed = step.body
        else:
            continue
        born = {n for n in _written(timed) if n in life and life[n].first == begin}
        dying = {n for n in _read(timed) if n in life and life[n].last == end and n not in born}
        for out in sorted(born):
            for inp in sorted(dying):
                if buffers[out].memory == buffers[inp].memory:
                    far = _distance(timed, out, inp)
                    if far is not None:
                        found[out, inp] = far
    return found


def _written(body: Sequence[Timed]) -> Iterator[str]:
    for timed in body:
        if isinstance(timed.step, Call):
            yield timed.step.output.buffer


def _read(body: Sequence[Timed]) -> Iterator[str]:
    for timed in body:
        if isinstance(timed.step, Call):
            yield from (v.buffer for v in timed.step.inputs)


@dataclass(frozen=True)
class _Access:
    """View `index` of the step at place `order` of a loop's body; the output where it is None."""

    order: int
    timed: Timed
    call: Call
    index: int | None

    @property
    def view(self) -> View:
        return self.call.output if self.index is None else self.call.inputs[self.index]


def _distance(body: Sequence[Timed], out: str, inp: str) -> int | None:
    """Bytes from buffer `out` to buffer `inp`; None where they must not meet."""
    calls = [(k, t, t.step) for k, t in enumerate(body) if isinstance(t.step, Call)]
    if any(v.buffer in (out, inp) for *_, call in calls for _, v in call.byproducts):
        return None
    writers = [_Access(k, t, call, None) for k, t, call in calls if call.output.buffer == out]
    readers = [
        _Access(k, t, call, i)
        for k, t, call in calls
        for i, v in enumerate(call.inputs)
        if v.buffer == inp
    ]
    far = 0
    for writer in writers:
        for reader in readers:
            between = _within(reader) if writer.order == reader.order else None
            if between is None:
                alone = len(body) == 1 and body[0].count == 1
                between = None if alone else _across(writer, reader)
            if between is None:
                return None
            far = max(far, between)
    return far


def _within(reader: _Access) -> int | None:
    """The distance within one call, between its output and one of its inputs."""
    call, index = reader.call, reader.index
    assert index is not None
    rule = call.rules[index]
    return within(
        call.kernel, call.node, rule, call.output, reader.view, epilogue=_in_epilogue(call, index)
    )


def _in_epilogue(call: Call, index: int) -> bool:
    return index >= len(call.inputs) - (len(call.store.operands) if call.store else 0)


# One call ---------------------------------------------------------------------------------


def within(
    kernel: Kernel, node: Node, rule: FrameRule, out: View, view: View, *, epilogue: bool
) -> int | None:
    """The distance that a kernel allows by itself, between its output and an input.

    epilogue : whether the input is read at the place where the output is stored
    """
    policy, shift = "element" if epilogue else kernel.overlap, out.start - view.start
    if policy == "row" and kernel.by_planes and out.is_planar and view.is_planar:
        return _plane_distance(rule, out, view, shift)
    same = (out.is_dense and view.is_dense) or (out.is_planar and view.is_planar)
    if policy == "none" or not same or (policy == "row" and kernel.by_planes):
        return None
    if policy == "element":
        # planes are not gone through in the order of their bytes
        if view.extents != out.extents or out.plane is not None:
            return None
        size, wide = view.dtype.itemsize, out.dtype.itemsize
        count = out.rows * out.pixels * out.channels
        ahead = kernel.ahead(node) * out.channels * wide if epilogue else 0
        return max(0, shift + (count - 1) * max(wide - size, 0) + ahead)
    if out.plane is not None:
        return None
    row, wide = view.pixels * view.channels * view.dtype.itemsize, out.pixels * out.channels
    wide *= out.dtype.itemsize
    tops = [first_row(rule, view, y) * row for y in range(out.rows)]
    if tile := kernel.tiles(node, out.rows):
        pixel = view.channels * view.dtype.itemsize
        lead = pixel_lead(rule.x, (out.pixels, wide // out.pixels), (view.pixels, pixel), tile)
        within_row = (shift + y * wide + lead - top for y, top in enumerate(tops))
        next_row = (shift + y * wide - top for y, top in enumerate(tops[1:], start=1))
        return max(0, *within_row, *next_row)
    return max(0, *(shift + (y + 1) * wide - top for y, top in enumerate(tops)))


def pixel_lead(rule: AxisRule, out: tuple[int, int], view: tuple[int, int], tile: int = 1) -> int:
    """Bytes of a row that are written before those of a row of its window die: at most, where a
    kernel goes through the pixels in tiles of so many.

    rule : of the pixels; out, view : (pixels, bytes of one) of what is written and what is read
    """
    if isinstance(rule, Whole) or rule.axis != 1:
        return out[0] * out[1]
    tiles = ((x, min(x + tile, out[0])) for x in range(0, out[0], tile))
    return max(x[1] * out[1] - needs(rule, x, view[0])[0] * view[1] for x in tiles)


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


# Executions of a loop ---------------------------------------------------------------------


def _across(writer: _Access, reader: _Access) -> int | None:
    """The distance between what executions of `writer` write and what executions of `reader`
    that are not over by then still read."""
    out, view, call = writer.view, reader.view, reader.call
    assert reader.index is not None
    rule = call.rules[reader.index]
    in_rows = out.ring is None and out.plane is None and view.ring is None and view.plane is None
    if not in_rows or isinstance(rule.y, Whole) or view.row == 0:
        return None
    if writer.order == reader.order and _in_epilogue(call, reader.index):
        return None  # an epilogue's operand that does not lie as the output does
    reduces = any(isinstance(r.y, Reduce) for r in writer.call.rules)
    count = writer.timed.count
    turns = writer.timed.strips > 1 and reader.timed.strips > 1
    order = (
        -1 if turns else writer.order - reader.order
    )  # a strip is written before the next is read
    far = 0
    for k in (count - 1,) if reduces else range(count):
        later = first_unfinished(_slot(writer.timed), _slot(reader.timed), k, order)
        if later >= reader.timed.count:
            continue
        y1 = out.rows if reduces else writer.call.region.y.at(k)[1]
        written = out.start + (y1 - 1) * out.row + (out.pixels - 1) * out.pixel
        written += out.channels * out.channel
        first = first_row(rule, view, reader.call.region.y.at(later)[0])
        far = max(far, written - view.start - first * view.row)
    return far


def _slot(timed: Timed) -> Slot:
    return Slot(timed.period, timed.phase, timed.count)

"""The independent checker: is a program a valid certificate?

It shares nothing with the planner but the data structures and the walk over them.  It
executes the program on shadow memory: every byte of every memory carries the name of the
value, and the position in it, that was last written there.  A step is legal when every byte
it reads carries what its view says it should, piece by piece, in the order in which its
kernel works:

    for each output row, or for each tile of pixels where the kernel goes through them and rows are
    not enough: the operand bytes that the region rule asks for are intact, before it is written
    and, unless the kernel reads an element before it writes it, after

What a piece does in which order, tags cannot tell: `sharing` says which views may share bytes.

A ring that is one row too short, an input overwritten too early, a copy not waited for, a
state updated before its last reader, a constant in a memory that cannot be read: each
shows as a byte that carries the wrong name.  No state is written while a guard may end the call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lilliput.errors import CertificateError
from lilliput.ir.region import Interval, Reduce, Whole, clamp, needs
from lilliput.plan.lifetimes import views
from lilliput.plan.program import (
    Advance,
    Buffer,
    Call,
    Copy,
    Entry,
    FrameRule,
    Kind,
    Leaf,
    Loop,
    Program,
    Pull,
    Step,
    Stop,
    View,
    Wait,
)
from lilliput.plan.sharing import Sharing

Tags = npt.NDArray[np.int64]
PENDING = -2
NOTHING = -1
SPAN = 1 << 40  # tags of value k are k*SPAN + byte
_Box = tuple[Interval, Interval, Interval]


def check(program: Program, direct: Mapping[str, bool]) -> None:
    """Raises CertificateError naming the step, the operand and the bytes that are wrong.

    direct : memory -> whether kernels can read and write it without a copy
    """
    _check_places(program)
    _check_alignment(program)
    turns = max((s.view.ring or 1 for s in program.states), default=1)
    for counter in {0, 1 % turns, turns - 1}:
        for entry in program.entries:
            _Shadow(program, direct, counter).run(entry)


def _check_places(program: Program) -> None:
    """Every buffer lies inside its arena, aligned; states overlap nothing."""
    placed = [b for b in program.buffers.values() if b.kind is not Kind.CONST]
    for buffer in placed:
        end = program.arenas.get(buffer.memory, 0)
        if (
            buffer.offset is None
            or buffer.offset % buffer.align
            or buffer.offset + buffer.nbytes > end
        ):
            raise CertificateError(
                "buffer has no valid place", where=buffer.name, found=str(buffer)
            )
    for part in (b for b in program.buffers.values() if b.within is not None):
        _check_part(program, part)
    for state in (b for b in placed if b.kind is Kind.STATE):
        for other in placed:
            if other is not state and other.memory == state.memory and _meet(state, other):
                raise CertificateError("state shares bytes", where=state.name, found=other.name)


def _check_part(program: Program, part: Buffer) -> None:
    """A constant that is a part of another one has its bytes there, aligned."""
    whole, at = program.buffers[part.within or ""], part.offset or 0
    mine, found = (program.consts[b.name].data for b in (part, whole))
    there = found.tobytes()[at : at + part.nbytes]
    aligned = at % part.align == 0 and whole.align % part.align == 0
    kind = (whole.memory, whole.within, found.dtype) == (part.memory, None, mine.dtype)
    if not (aligned and kind and there == mine.tobytes()):
        raise CertificateError("a constant is not where it is said to be", where=part.name)


def _check_alignment(program: Program) -> None:
    """Every element lies at a multiple of its size: some cores fault otherwise; what the
    caller reads and writes is one block."""
    for entry in program.entries:
        for value, view in (*entry.placed(), *entry.outputs):
            if not view.is_dense:
                raise CertificateError("a port is not one block of bytes", where=value.name)
        for view in views(entry):
            offset = program.buffers[view.buffer].offset or 0
            size = view.dtype.itemsize
            steps = (offset + view.start, view.row, view.pixel, view.channel)
            if any(step % size for step in steps):
                raise CertificateError(
                    "elements are not aligned",
                    where=f"entry {entry.name}, {view.root}",
                    expected=f"multiples of {size} bytes",
                    found=str(steps),
                )


def _meet(a: Buffer, b: Buffer) -> bool:
    assert a.offset is not None
    assert b.offset is not None
    return a.offset < b.offset + b.nbytes and b.offset < a.offset + a.nbytes


@dataclass(frozen=True)
class _Piece:
    """Bytes of one row of a view: addresses in memory and the tags they should carry."""

    address: int
    tag: int
    count: int


class _Shadow:
    def __init__(self, program: Program, direct: Mapping[str, bool], counter: int):
        self.program, self.direct = program, direct
        self.memory: dict[str, Tags] = {
            name: np.full(size, NOTHING, np.int64) for name, size in program.arenas.items()
        }
        self.ids: dict[str, int] = {}
        self.counters: dict[str, int] = {}
        self.where = ""
        self.pending: list[tuple[str, npt.NDArray[np.int64], Tags]] = []
        self.asked: dict[str, int] = {}
        self.stops = 0
        for state in program.states:
            if state.counter and state.view.ring:
                self.counters[state.counter] = counter % state.view.ring
                self.tag_box(replace(state.view, counter=state.counter))
            else:
                self.tag_box(state.view)

    def run(self, entry: Entry) -> None:
        for value, view in entry.placed():
            self.where = f"input {value.name}"
            self.tag_box(view)
        self.stops = sum(isinstance(step, Stop) for step in entry.steps)
        for index, step in enumerate(entry.steps):
            self.where = f"entry {entry.name}, step {index}"
            self.step(step)
        self.where = f"entry {entry.name}, end"
        if self.pending:
            raise CertificateError("a copy is never waited for", where=self.where)
        for value in entry.pulled():
            if self.asked.get(value.name) != value.type.frame[0]:
                raise CertificateError(
                    "rows of an input are never asked for", where=self.where, found=value.name
                )
        for _, view in entry.outputs:
            self.read(view, (0, view.rows), (0, view.pixels), (0, view.channels))
        for state in self.program.states:
            view = state.view
            self.read(view, (0, view.rows), (0, view.pixels), (0, view.channels))

    def step(self, step: Step) -> None:
        if isinstance(step, Loop):
            turns = [(q, group) for strips, group in step.turns() for q in range(strips)]
            for t in range(step.count):
                for q, group in turns:
                    due = ((timed, timed.execution(t)) for timed in group)
                    for timed, k in due:
                        if k is not None:
                            self.leaf(timed.strip(q), k)
        else:
            self.leaf(step, 0)

    def leaf(self, step: Leaf, k: int) -> None:
        """Execution k of a step."""
        if isinstance(step, Advance):
            self.advance(step)
        elif isinstance(step, Wait):
            self.wait()
        elif isinstance(step, Stop):
            self.stop(step)
        elif isinstance(step, Copy):
            self.copy(step, k)
        elif isinstance(step, Pull):
            self.pull(step, k)
        else:
            self.call(step, k)

    # memory

    def tag(self, root: str) -> int:
        return self.ids.setdefault(root, len(self.ids)) * SPAN

    def rows(self, view: View, y: Interval, x: Interval, c: Interval) -> Iterator[_Piece]:
        """The bytes of a box of a view, in runs that are contiguous."""
        buffer = self.program.buffers[view.buffer]
        base = (buffer.offset or 0) + view.start
        first = self.counters.get(view.counter, 0) if view.counter else 0
        tag = self.tag(view.root)
        places = view.places
        for row in range(*y):
            slot = row if view.ring is None else (row + view.shift + first) % view.ring
            at = base + (slot * view.row if places is None else places[row])
            for inner, count in _runs(view, x, c):
                logical = view.start + (row + view.shift) * view.row + inner
                yield _Piece(at + inner, tag + logical, count)

    def tag_box(self, view: View) -> None:
        self.write(view, (0, view.rows), (0, view.pixels), (0, view.channels))

    def write(self, view: View, y: Interval, x: Interval, c: Interval) -> None:
        self.allowed(view)
        memory = self.arena(view)
        for piece in self.rows(view, y, x, c):
            target = memory[piece.address : piece.address + piece.count]
            if target.size != piece.count or np.any(target == PENDING):
                raise CertificateError("writes where a copy is under way", where=self.where)
            target[:] = np.arange(piece.tag, piece.tag + piece.count)

    def allowed(self, view: View) -> None:
        """That no state is written which a guard may find has to stay."""
        if self.stops and self.program.buffers[view.buffer].kind is Kind.STATE:
            raise CertificateError(
                "a state is written while the call may still be refused",
                where=self.where,
                expected="guards first",
                found=view.buffer,
            )

    def read(self, view: View, y: Interval, x: Interval, c: Interval) -> None:
        """Checks that the box holds what the view says."""
        buffer = self.program.buffers[view.buffer]
        if buffer.kind is Kind.CONST:
            return
        memory = self.arena(view)
        for piece in self.rows(view, y, x, c):
            found = memory[piece.address : piece.address + piece.count]
            expected = np.arange(piece.tag, piece.tag + piece.count)
            if not np.array_equal(found, expected):
                raise CertificateError(
                    "reads bytes that do not hold what they should",
                    where=self.where,
                    expected=f"{view.root} rows {y} in {buffer.name} at {piece.address}",
                    found=self.name_of(found, expected),
                )

    def name_of(self, found: Tags, expected: Tags) -> str:
        if found.size < expected.size:
            return "the end of the arena"
        tag = int(found[np.nonzero(found != expected)[0][0]])
        if tag in (NOTHING, PENDING):
            return "a copy that is not waited for" if tag == PENDING else "nothing written"
        names = {i: n for n, i in self.ids.items()}
        return f"byte {tag % SPAN} of {names[tag // SPAN]}"

    def arena(self, view: View) -> Tags:
        return self.memory[self.program.buffers[view.buffer].memory]

    # steps

    def advance(self, step: Advance) -> None:
        """Row k+by becomes row k: the ring's tags move down by so many rows."""
        state = next(s for s in self.program.states if s.counter == step.counter)
        view = state.view
        self.read(view, (0, view.rows), (0, view.pixels), (0, view.channels))
        self.counters[step.counter] = (self.counters[step.counter] + step.by) % step.ring
        self.write(view, (0, view.rows - step.by), (0, view.pixels), (0, view.channels))
        memory = self.arena(view)
        last = (view.rows - step.by, view.rows)
        for piece in self.rows(view, last, (0, view.pixels), (0, view.channels)):
            memory[piece.address : piece.address + piece.count] = NOTHING

    def stop(self, step: Stop) -> None:
        for view in (step.view, step.below):
            if view is None:
                continue
            if not view.is_dense:
                raise CertificateError("a guarded value is no block", where=self.where)
            self.reachable(view)
            self.read(view, (0, view.rows), (0, view.pixels), (0, view.channels))
        self.stops -= 1

    def pull(self, step: Pull, k: int) -> None:
        """The caller writes the rows as one block: the first one first, none twice."""
        view, name = step.view, step.value.name
        low, high = step.at(k)
        if low != self.asked.get(name, 0):
            raise CertificateError(
                "rows of an input are asked for out of order",
                where=f"{self.where}, input {name}",
                expected=f"row {self.asked.get(name, 0)}",
                found=f"row {low}",
            )
        ring = view.ring or step.rows if view.places is None else 1
        if not replace(view, ring=None).is_dense or ring % step.rows:
            raise CertificateError("rows of an input are no block", where=f"input {name}")
        self.reachable(view)
        self.write(view, (low, high), (0, view.pixels), (0, view.channels))
        self.asked[name] = high

    def wait(self) -> None:
        for memory, where, tags in self.pending:
            self.memory[memory][where] = tags
        self.pending = []

    def copy(self, step: Copy, k: int) -> None:
        x = (0, step.source.pixels)
        if step.target.block is not None:
            low = k * step.target.block
            x = (low, min(low + step.target.block, step.source.pixels))
        rows = (0, step.source.rows) if step.rows is None else step.rows.at(k)
        channels = (0, step.source.channels)
        self.read(step.source, rows, x, channels)
        self.allowed(step.target)
        target = self.slice(step.target, k)
        memory = self.arena(target)
        for piece in self.rows(target, rows, x, channels):
            where = np.arange(piece.address, piece.address + piece.count)
            self.pending.append(
                (
                    self.program.buffers[target.buffer].memory,
                    where,
                    np.arange(piece.tag, piece.tag + piece.count),
                )
            )
            memory[where] = PENDING

    def slice(self, view: View, k: int) -> View:
        """A view of which slice k of `block` pixels lies in slot k % slots."""
        if view.block is None:
            return view
        shift = (k % view.slots - k) * view.block * view.pixel
        buffer = self.program.buffers[view.buffer]
        moved = replace(buffer, offset=(buffer.offset or 0) + shift)
        name = f"{view.buffer}#{shift}"
        self.program = replace(self.program, buffers={**self.program.buffers, name: moved})
        return replace(view, buffer=name)

    def call(self, call: Call, k: int) -> None:
        self.where = f"{self.where.split(':')[0]}: {call.node.describe()}"
        for view in (*call.inputs, *(v for _, v in call.results())):
            self.reachable(view)
        y, x, c = (axis.at(k) for axis in (call.region.y, call.region.x, call.region.c))
        reduces = any(isinstance(r.y, Reduce) for r in call.rules)
        whole = reduces or call.kernel.overlap == "none"
        pieces = [(y, x, c)] if whole else _pieces(call, y, x, c)
        own = len(call.inputs) - (len(call.store.operands) if call.store else 0)
        sharing = Sharing(self.program.buffers, self.where)
        sharing.epilogue(call, own, y)
        for i, view in enumerate(call.inputs[:own]):
            sharing.in_place(call, i, view)
        if call.scratch is not None:
            self.scratch(call, call.scratch, y, k)
        if not whole and (pixels := call.kernel.tiles(call.node, y[1] - y[0])):
            self.rows_or_tiles(call, pieces, own, k, pixels)
        else:
            self.pieces(call, pieces, own, k)
        late = [call.output] if reduces and y[1] == call.region.y.extent else []
        for out in (*late, *(view for _, view in call.byproducts)):
            self.write(out, (0, out.rows), (0, out.pixels), (0, out.channels))

    def rows_or_tiles(
        self, call: Call, pieces: Sequence[_Box], own: int, k: int, pixels: int
    ) -> None:
        """As `pieces`, by rows, or where these are not enough by tiles of so many pixels."""
        before = {name: tags.copy() for name, tags in self.memory.items()}
        try:
            self.pieces(call, pieces, own, k)
        except CertificateError:
            self.memory = before
            self.pieces(call, list(_tiles(pieces, pixels)), own, k)

    def pieces(self, call: Call, pieces: Sequence[_Box], own: int, k: int) -> None:
        """Execution k of a call, piece after piece; `own` of its inputs are not the epilogue's."""
        reduces = any(isinstance(r.y, Reduce) for r in call.rules)
        for y, x, c in pieces:
            for i, view in enumerate(call.inputs):
                self.operand(call, i, self.slice(view, k), y, x, c)
            if reduces:
                continue
            self.write(call.output, y, x, c)
            for i, view in enumerate(call.inputs):
                if i < own and call.kernel.overlap != "element":
                    self.operand(call, i, self.slice(view, k), y, x, c)

    def reachable(self, view: View) -> None:
        memory = self.program.buffers[view.buffer].memory
        if not self.direct.get(memory, False):
            raise CertificateError(
                "a kernel works in a memory that it cannot reach", where=self.where, found=memory
            )

    def scratch(self, call: Call, view: View, y: Interval, k: int) -> None:
        """Accumulators carried across pieces must still be there; the rest is just written."""
        if view.places is not None:
            view = replace(view, start=view.start + view.places[k], places=None)
        if y[0] > 0 and call.kernel.carry(call.node):
            self.read(view, (0, 1), (0, 1), (0, view.channels))
        self.tag_box(view)

    def operand(
        self, call: Call, i: int, view: View, y: Interval, x: Interval, c: Interval
    ) -> None:
        rule = call.rules[i] if i < len(call.rules) else None
        if rule is None or y[0] >= y[1]:
            return
        box = (y, x, c)
        rows = (0, view.rows)
        if not isinstance(rule.y, Whole):
            merged = rule.y.axis == 0 and rule.images[1] != view.rows
            part = box[rule.y.axis]
            rows = needs(rule.y, part, view.rows) if not merged else _image_rows(rule, part)
            rows = clamp(rows, view.rows)  # images that a batch is padded with have none
        pixels, channels = (
            (0, extent) if isinstance(axis, Whole) else needs(axis, box[axis.axis], extent)
            for axis, extent in ((rule.x, view.pixels), (rule.c, view.channels))
        )
        self.read(view, rows, pixels, channels)


def _runs(view: View, x: Interval, c: Interval) -> Iterator[tuple[int, int]]:
    """(first byte, bytes) within a row, of the parts of a box that are contiguous there."""
    size = view.dtype.itemsize
    if view.plane is not None:
        for channel in range(*c):
            yield channel * view.plane + x[0] * view.pixel, (x[1] - x[0]) * size
    elif view.pixel == view.channels * size and c == (0, view.channels):
        yield x[0] * view.pixel, (x[1] - x[0]) * view.pixel
    else:
        for pixel in range(*x):
            yield pixel * view.pixel + c[0] * size, (c[1] - c[0]) * size


def _tiles(pieces: Sequence[_Box], pixels: int) -> Iterator[_Box]:
    """Pieces of rows in pieces of so many pixels."""
    for y, (first, end), c in pieces:
        yield from ((y, (x, min(x + pixels, end)), c) for x in range(first, end, pixels))


def _image_rows(rule: FrameRule, y: Interval) -> Interval:
    """Rows of a batch of images, of which each output image reads its own."""
    per_out, per_in = rule.images
    ends: list[Interval] = []
    for row in (y[0], y[1] - 1):
        image, inside = divmod(row, per_out)
        low, high = needs(rule.y, (inside, inside + 1), per_in)
        ends.append((image * per_in + low, image * per_in + high))
    return ends[0][0], ends[1][1]


def _pieces(call: Call, y: Interval, x: Interval, c: Interval) -> list[_Box]:
    """(rows, pixels, channels) in the order in which the kernel works."""
    q = call.kernel.quantum
    rows = [(r, min(r + q, y[1])) for r in range(y[0], y[1], q)]
    if call.kernel.by_planes:
        return [(r, x, (k, k + 1)) for k in range(*c) for r in rows]
    return [(r, x, c) for r in rows]

"""The second level: where, when and in which layout.

    Program  = memories, buffers, consts, entries
    Buffer   = bytes at an offset of a named memory
    View     = a value, or part of one, as it lies in a buffer
    Step     = Call | Pull | Copy | Wait | Advance | Stop | Loop(count, body of Timed steps)

Every decision has been made here; writing C from it is mechanical.  A program is a
certificate: `plan.check` verifies it without knowing how it was found.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import groupby

from lilliput.ir.graph import Node, Value
from lilliput.ir.op import Kernel
from lilliput.ir.region import AxisRule, Interval, clamp
from lilliput.ir.types import Array, DType
from lilliput.passes.recompute import Extra, Paged, Piece


class Kind(Enum):
    """ARENA bytes are shared over time; STATE bytes live across calls; CONST are read only."""

    ARENA = "arena"
    STATE = "state"
    CONST = "const"


@dataclass(frozen=True)
class Buffer:
    """`offset` is in bytes from the start of the memory's arena; of a constant that is a part of
    another one, `within`, from the start of that; other constants have none."""

    name: str
    memory: str
    nbytes: int
    kind: Kind
    align: int = 4
    offset: int | None = None
    within: str | None = None


@dataclass(frozen=True)
class Const:
    """Read-only data as it is stored: after packing."""

    buffer: str
    data: Array
    packing: str
    value: str


@dataclass(frozen=True)
class View:
    """rows x pixels x channels elements of a value, in a buffer.

    Element (y, x, c) is byte `start + y*row + x*pixel + c*plane` of the root value, the
    value that the buffer was made for (`plane` is None where the channels of a pixel are
    neighbours: the layout "rows"); in the buffer row y lies in slot
    (counter + shift + y) % ring.  `start`, `row` and `pixel` are bytes; `ring` is None when
    every row has its own place, and only then `start` may reach into later rows.  `block` is
    set on parameters that are brought in slices of so many output channels: execution k
    finds slice k in slot k % slots.  `places` is where each row begins, in bytes from `start`,
    in line buffers that share their bytes; no more than `ring` rows are held at once.
    Of scratch it is where that of each execution begins.
    """

    buffer: str
    root: str
    dtype: DType
    rows: int
    pixels: int
    channels: int
    row: int
    pixel: int
    start: int = 0
    ring: int | None = None
    shift: int = 0
    counter: str | None = None
    block: int | None = None
    slots: int = 1
    plane: int | None = None
    places: tuple[int, ...] | None = None

    @property
    def unit(self) -> int:
        """Bytes that all of `places` are multiples of: a table of small numbers says them."""
        return math.gcd(*(self.places or ())) or 1

    @property
    def channel(self) -> int:
        """Bytes between channels."""
        return self.dtype.itemsize if self.plane is None else self.plane

    @property
    def extents(self) -> tuple[int, int, int]:
        return self.rows, self.pixels, self.channels

    @property
    def is_dense(self) -> bool:
        """Elements follow one another without gaps, in the order of the shape."""
        return (
            self.ring is None
            and self.plane is None
            and (self.pixel == self.channels * self.dtype.itemsize or self.pixels == 1)
            and (self.row == self.pixels * self.channels * self.dtype.itemsize or self.rows == 1)
        )

    @property
    def is_planar(self) -> bool:
        """Whole planes of whole rows, one channel after the other, without gaps."""
        return (
            self.ring is None
            and self.plane == self.rows * self.row
            and self.row == self.pixels * self.pixel
            and self.pixel == self.dtype.itemsize
        )


@dataclass(frozen=True)
class Range:
    """[start, stop) of an axis; execution k of a loop covers [start + k*step, stop + k*step).

    Both ends are clamped to [0, extent): that is all there is of prologue and epilogue.
    """

    start: int
    stop: int
    extent: int
    step: int = 0

    def at(self, k: int) -> Interval:
        return clamp((self.start + k * self.step, self.stop + k * self.step), self.extent)


def everything(extent: int) -> Range:
    return Range(0, extent, extent)


@dataclass(frozen=True)
class Region:
    """A box of a step's iteration space: rows, pixels, channels."""

    y: Range
    x: Range
    c: Range


@dataclass(frozen=True)
class FrameRule:
    """Which rows, pixels and channels of an operand a box of the output needs.

    Each rule's axis is 0 (rows), 1 (pixels) or 2 (channels) of the output frame; None is
    all of it.  Rows of one image never need rows of another: `images` = (output rows,
    operand rows) of one image.
    """

    y: AxisRule
    x: AxisRule
    c: AxisRule
    images: tuple[int, int]


@dataclass(frozen=True)
class Store:
    """What happens between accumulator and memory: C statements, one a fused value.

    `statements` are (C type, expression); an expression may contain the tokens `@acc@`,
    `@v<i>@` (an earlier statement), `@<i>@` (the element of operand i at this place) and
    `@t<i>@` (table i, an array).  The last statement is what is stored.
    """

    statements: tuple[tuple[str, str], ...]
    operands: tuple[View, ...] = ()
    tables: tuple[View, ...] = ()


@dataclass(frozen=True)
class Call:
    """One kernel on one region.  `node` is the anchor, `fused` what its epilogue does.

    byproducts : results of the node beyond its first; the one call on everything that such
        a node is writes them whole
    """

    kernel: Kernel
    node: Node
    fused: tuple[Node, ...]
    inputs: tuple[View, ...]
    rules: tuple[FrameRule, ...]
    output: View
    value: Value
    region: Region
    store: Store | None = None
    scratch: View | None = None
    rejected: tuple[tuple[str, str], ...] = ()
    byproducts: tuple[tuple[Value, View], ...] = ()

    def results(self) -> tuple[tuple[Value, View], ...]:
        """Every value that the call makes, and where."""
        return ((self.value, self.output), *self.byproducts)


@dataclass(frozen=True)
class Pull:
    """Asks the caller for the next rows of an input, who writes them into the view as one block.

    Execution k asks for rows [k*rows, (k+1)*rows), as far as there are so many; in a ring they
    lie in neighbouring slots.
    """

    value: Value
    view: View
    rows: int

    def at(self, k: int) -> Interval:
        return clamp((k * self.rows, (k + 1) * self.rows), self.view.rows)


@dataclass(frozen=True)
class Copy:
    """Starts moving a box between memories; it is there after the next Wait.

    Execution k moves slice k of `block` channels when the source is brought in slices, and no
    more than `rows` where that is said: rows [start + k*step, stop + k*step).
    """

    source: View
    target: View
    why: str
    rows: Range | None = None


@dataclass(frozen=True)
class Wait:
    """All copies started so far have arrived."""


@dataclass(frozen=True)
class Advance:
    """Turns a ring of `ring` rows: what was row `by` becomes row 0."""

    counter: str
    ring: int
    by: int


@dataclass(frozen=True)
class Stop:
    """Ends the entry here unless every element lies in [low, high]; no state has been written.

    given : the value is an input, else it has been computed
    below : the place of a state that every element has to be less than, too
    """

    value: Value
    view: View
    low: float
    high: float
    given: bool
    below: View | None = None


@dataclass(frozen=True)
class Timed:
    """Within a loop: execution k happens at iteration period*k + phase, 0 <= k < count.

    columns : of a call that is done strip by strip the pixel of its output at which each strip
        begins, and the end of the last one
    """

    step: Call | Pull | Copy | Wait
    period: int
    phase: int
    count: int
    columns: tuple[int, ...] = ()

    @property
    def strips(self) -> int:
        return max(len(self.columns) - 1, 1)

    def strip(self, q: int) -> Call | Pull | Copy | Wait:
        """What is done of the step in strip q."""
        if not self.columns or not isinstance(self.step, Call):
            return self.step
        x = Range(self.columns[q], self.columns[q + 1], self.step.region.x.extent)
        return replace(self.step, region=replace(self.step.region, x=x))

    def execution(self, t: int) -> int | None:
        k, rest = divmod(t - self.phase, self.period)
        return k if rest == 0 and 0 <= k < self.count else None


@dataclass(frozen=True)
class Loop:
    """`body` at each iteration t = 0 .. count-1, as far as its steps are due.

    Neighbours of as many strips take turns: all of them do one before the first does the next.
    """

    count: int
    body: tuple[Timed, ...]

    def turns(self) -> Iterator[tuple[int, tuple[Timed, ...]]]:
        """(strips, the neighbours that take turns)."""
        for strips, group in groupby(self.body, key=lambda timed: timed.strips):
            yield strips, tuple(group)


Leaf = Call | Pull | Copy | Wait | Advance | Stop
Step = Leaf | Loop


@dataclass(frozen=True)
class Entry:
    """One function of the emitted code.  Inputs and outputs are in the module's order.

    An input without a view is pulled: steps ask for its rows, in ascending order and for each
    exactly once.  push : there is one such input, and its rows are not asked for by a call: the
    function returns where it needs the next one, and goes on when it is called with it.
    """

    name: str
    inputs: tuple[tuple[Value, View | None], ...]
    outputs: tuple[tuple[Value, View], ...]
    steps: tuple[Step, ...]
    push: bool = False

    def placed(self) -> Iterator[tuple[Value, View]]:
        """The inputs that lie in memory before the first step."""
        yield from ((value, view) for value, view in self.inputs if view is not None)

    def pulled(self) -> Iterator[Value]:
        """The inputs that steps ask for."""
        yield from (value for value, view in self.inputs if view is None)

    @property
    def guarded(self) -> bool:
        """Whether a call may be refused."""
        return any(isinstance(step, Stop) for step in self.steps)

    def calls(self) -> Iterator[Call]:
        """Every kernel call once, in order, loops entered."""
        for step in self.steps:
            if isinstance(step, Call):
                yield step
            elif isinstance(step, Loop):
                yield from (t.step for t in step.body if isinstance(t.step, Call))


@dataclass(frozen=True)
class StateSlot:
    """A state's place and its value at power-on; `counter` turns the ring it is kept in.

    saved, settable, bounds : as of `State`
    """

    name: str
    view: View
    init: Array
    const: str | None
    counter: str | None = None
    saved: bool = False
    settable: bool = False
    bounds: tuple[int, int] | None = None


@dataclass(frozen=True)
class Spread:
    """How well buffers were given to several RAMs: predicted cycles that a call waits for these,
    and what no choice has less of; `exact`: the search has ended by itself."""

    cycles: float
    bound: float
    exact: bool


@dataclass(frozen=True)
class Program:
    """A planned module.

    arenas : bytes used of each memory
    bounds : memory -> entry -> bytes that no placement of the entry's buffers does with less than,
        what the states take included, for the kernels and the order that were chosen
    missing : parameters that have no data yet, whose constants stand for their size alone
    pieces : values that the planner has added, and what they are of the values that it was given
    extra : what is computed again for them; paged : what is moved to another memory and back
    ram : the default RAM, whose arena needs no section
    spread : where buffers were given to several RAMs
    near : (a, b) -> how far buffer b starts behind a, at least, where the two may meet: rows with
        places of their own, and maps that they may lie over
    identity : what a checkpoint of the saved states belongs to: see `ir.identity`
    """

    name: str
    buffers: Mapping[str, Buffer]
    consts: Mapping[str, Const]
    states: tuple[StateSlot, ...]
    entries: tuple[Entry, ...]
    arenas: Mapping[str, int]
    bounds: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    missing: tuple[str, ...] = ()
    pieces: Mapping[str, Piece] = field(default_factory=dict[str, Piece])
    extra: tuple[Extra, ...] = ()
    paged: tuple[Paged, ...] = ()
    ram: str = ""
    spread: Spread | None = None
    near: Mapping[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    identity: int = 0

    @property
    def saved(self) -> tuple[StateSlot, ...]:
        """The states that a checkpoint holds, in its order."""
        return tuple(s for s in self.states if s.saved)

    def lower_bound(self, memory: str) -> int:
        """Bytes that no placement does with less than, of all entries; an arena is whole words."""
        return -(-max(self.bounds.get(memory, {}).values(), default=0) // 4) * 4

    def constants(self, memory: str | None = None) -> int:
        """Bytes of constants that are stored in `memory`, or in all."""
        return sum(
            b.nbytes
            for b in self.buffers.values()
            if b.kind is Kind.CONST and b.within is None and memory in (None, b.memory)
        )

    def arena_align(self, memory: str) -> int:
        """What the start of an arena has to be aligned to, in bytes."""
        mine = [b.align for b in self.buffers.values() if b.memory == memory]
        return max(16, *mine) if mine else 16

"""What a user is told of a compiled program: one `Summary`.

One idea: everything that is printed, drawn or stored is a function of this one value, and every
number in it can be traced: arena bytes come from the plan, code and constants from the linked
image, the stack bound from its disassembly.  What could not be found out (no toolchain) is None,
with the reason in `missing`.  Not here: how it is gathered (`gather`) or shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from lilliput.passes.recompute import Extra, Paged
from lilliput.plan.front import Point


@dataclass(frozen=True)
class RamBytes:
    """Everything in the default RAM: the arena (activations with inputs and outputs, states,
    scratch), static data of the program, and the static stack bound of the deepest entry.

    scratch : of the activations, what kernels use as scratch at the fullest step
    """

    activations: int
    scratch: int
    states: int
    static: int | None
    stack: int | None
    total: int | None


@dataclass(frozen=True)
class FlashBytes:
    """Code and constants of the linked image; `functions` are the largest parts of the code."""

    constants: int
    code: int | None
    total: int | None
    functions: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Memory:
    """A memory of the board; `size` is what may be taken of it, None where it is room to work in
    and not a promise."""

    name: str
    kind: str
    size: int | None
    default: bool


@dataclass(frozen=True)
class MemoryUse:
    """What a memory of the board holds, in bytes; parts that only linking tells are None.

    arena : activations with inputs and outputs, scratch, and states, of which `states`
    other : static data and stack of the default RAM, code of the default flash
    """

    name: str
    kind: str
    arena: int
    states: int
    constants: int
    other: int | None
    total: int | None


@dataclass(frozen=True)
class Waiting:
    """Cycles a call that accesses to RAM cost beyond those of a memory that never waits, by the
    board's numbers: of the plan, and what no choice of memories has less of; `exact`: the search
    for that choice has ended by itself."""

    cycles: float
    bound: float
    exact: bool


@dataclass(frozen=True)
class Board:
    """What the program was planned for."""

    title: str
    core: str
    clock_hz: int | None
    memories: tuple[Memory, ...]


@dataclass(frozen=True)
class Port:
    """An input or output as the emitted C gives it; a scale only where there is one.

    rows : of an input that comes row by row, how many it has; 0 where it lies in memory
    """

    name: str
    type: str
    c_type: str
    function: str
    count: int
    scale: float | None
    zero_point: int | None
    rows: int = 0


@dataclass(frozen=True)
class EntryPoint:
    """One function of the emitted code; `push`: it is called with each row of its input; `ok`: what
    it answers where it may refuse a call and has not."""

    name: str
    function: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    push: bool = False
    ok: str = ""


@dataclass(frozen=True)
class Api:
    """What a firmware calls; `resets` where states have to be put to their first values."""

    prefix: str
    resets: bool
    entries: tuple[EntryPoint, ...]


@dataclass(frozen=True)
class Layer:
    """One kernel call.

    scratch_bytes : what the kernel needs beside its operands while it runs
    times : how often it runs in one call of the entry: more than once where it streams
    rejected : the kernels that lost, and why
    predicted_cycles : by the planner, of the whole layer
    """

    step: int
    entry: str
    name: str
    operator: str
    fused: tuple[str, ...]
    kernel: str
    output: str
    macs: int
    predicted_cycles: float
    weight_bytes: int
    scratch_bytes: int
    live_bytes: int
    times: int
    rejected: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Peak:
    """The step that decides how large the arena is, and what is alive then."""

    entry: str
    layer: str
    nbytes: int
    buffers: tuple[tuple[str, int], ...]
    lower_bound: int


@dataclass(frozen=True)
class Column:
    """One step of an entry on the time axis; a loop is one step.

    step : the number that the hook is called with first
    leaves : steps in it, more than one in a loop
    alive : bytes of all that is alive; need : what of it any placement needs, states included
    """

    step: int
    leaves: int
    what: str
    alive: int
    need: int


@dataclass(frozen=True)
class Life:
    """A buffer in an arena, alive in the columns [first, last] (-1: written by the caller;
    the number of columns: read by the caller).

    role : input, output, state, scratch, ring, staged or activation
    """

    name: str
    role: str
    offset: int
    nbytes: int
    first: int
    last: int


@dataclass(frozen=True)
class Timeline:
    """An arena over the steps of an entry; `peak` is the column that decides its size.

    arena : bytes of the whole arena; used : of them by this entry, states included
    lower_bound : of `used`, for any placement: the largest need, or more where the planner has
        proven that several steps together need more
    """

    entry: str
    memory: str
    arena: int
    used: int
    states: int
    lower_bound: int
    peak: int
    columns: tuple[Column, ...]
    lives: tuple[Life, ...]


@dataclass(frozen=True)
class Constant:
    """Read-only data as it is stored, and the first layer that reads it."""

    name: str
    memory: str
    nbytes: int
    dtype: str
    layer: str


@dataclass(frozen=True)
class TimedStep:
    """What one step cost on the emulated core."""

    step: int
    instructions: int
    estimated_cycles: float | None


@dataclass(frozen=True)
class Timing:
    """One call of an entry on the emulated core: instructions counted, cycles estimated."""

    entry: str
    compiler: str
    instructions: int
    estimated_cycles: float | None
    cycle_model: str
    steps: tuple[TimedStep, ...]


@dataclass(frozen=True)
class Alternative:
    """A board of the list whose default memories hold what was found for this one."""

    name: str
    title: str
    core: str
    ram: int
    flash: int


@dataclass(frozen=True)
class Work:
    """Multiply-accumulates of one call of every entry, and bytes of the parameters."""

    macs: int
    parameter_bytes: int


@dataclass(frozen=True)
class ChannelProof:
    """A channel that was left out.

    why : constant (low = high) or unread
    low, high : what it could hold, as it is stored; None for floats
    sum_low, sum_high : of a weighted sum, what the accumulator could be that it is stored from
    """

    channel: int
    why: str
    low: int | None
    high: int | None
    sum_low: int | None
    sum_high: int | None


@dataclass(frozen=True)
class ThinLayer:
    """A value that lost channels (indices of `axis`): `kept` of `channels` are left."""

    entry: str
    operator: str
    layer: str
    value: str
    axis: int
    channels: int
    kept: int
    constant: int
    unread: int
    proofs: tuple[ChannelProof, ...]


@dataclass(frozen=True)
class DroppedLayer:
    """A node that was left out or became simpler, and why that changes nothing."""

    entry: str
    operator: str
    layer: str
    why: str


@dataclass(frozen=True)
class Shrinking:
    """What was left out before compiling, with the proof of everything."""

    before: Work
    after: Work
    layers: tuple[ThinLayer, ...]
    nodes: tuple[DroppedLayer, ...]


@dataclass(frozen=True)
class KeptRows:
    """A ring: so many rows of a value are kept from step to step, the newest among them."""

    value: str
    rows: int
    nbytes: int


@dataclass(frozen=True)
class RepeatedLayer:
    """A layer of which a step computes more rows than are new, of all rows of its window."""

    layer: str
    operator: str
    rows: int
    computed: int
    fresh: int
    why: str


@dataclass(frozen=True)
class Streaming:
    """A step over time: `hop` new frames of a window of `window` along `axis` of the input.

    macs : of a step; window_macs : of the whole window; ring_bytes : of all rings, without the
        counters that turn them
    """

    axis: int
    window: int
    hop: int
    macs: int
    window_macs: int
    ring_bytes: int
    rings: tuple[KeptRows, ...]
    repeated: tuple[RepeatedLayer, ...]


@dataclass(frozen=True)
class Summary:
    """`missing` says why numbers are None.

    arenas : bytes of each memory that the plan uses; bounds : those that no placement of the same
        buffers does with less than; fits : in every memory of the device
    prediction : what is known of the error of `predicted_cycles`
    shrinking : what was left out of the network, None where nothing was
    streaming : what a step over time stands for, None where a call takes all of its input
    alternatives : other boards that would do, the smallest first
    allowed : bytes of the default RAM that were allowed, where that was said
    memories : what each memory of the board holds in which there is something; waiting : of plans
        that use several RAMs
    front : what the first entry could be with more or less RAM, predicted for the core, from the
        fastest to the smallest
    islands : operators that calculate in floats in a network of integers
    unrounded : operators that the file quantises dynamically, which calculate in floats
    recomputed : layers that are computed more than once, or of which a part is, to save RAM
    paged : values that are moved to a slower memory and back, to save RAM
    """

    model: str
    device: str
    compiler: str | None
    optimize: str
    ram_bytes: RamBytes
    flash_bytes: FlashBytes
    arenas: Mapping[str, int]
    bounds: Mapping[str, int]
    fits: bool | None
    peak: Peak
    layers: tuple[Layer, ...]
    timelines: tuple[Timeline, ...]
    constants: tuple[Constant, ...]
    board: Board
    api: Api
    prediction: str
    alternatives: tuple[Alternative, ...]
    missing: str
    timing: Timing | None = None
    shrinking: Shrinking | None = None
    streaming: Streaming | None = None
    allowed: int | None = None
    front: tuple[Point, ...] = ()
    recomputed: tuple[Extra, ...] = ()
    paged: tuple[Paged, ...] = ()
    memories: tuple[MemoryUse, ...] = ()
    waiting: Waiting | None = None
    islands: tuple[str, ...] = ()
    unrounded: tuple[str, ...] = ()

    @property
    def macs(self) -> int:
        """Of one call of every entry, with what is computed again."""
        return sum(layer.macs for layer in self.layers)

    @property
    def extra_macs(self) -> int:
        """What is computed again."""
        return sum(extra.macs for extra in self.recomputed)

    @property
    def paged_bytes(self) -> int:
        """What a call of every entry moves of them, both ways."""
        return 2 * sum(paged.nbytes for paged in self.paged)

    @property
    def predicted_cycles(self) -> float:
        """Of one call of the first entry."""
        first = self.api.entries[0].name
        return sum(layer.predicted_cycles for layer in self.layers if layer.entry == first)

    @property
    def rowwise(self) -> tuple[str, ...]:
        """The inputs that come row by row: no more of them is in the RAM than the plan keeps."""
        return tuple(p.name for e in self.api.entries for p in e.inputs if p.rows)

    @property
    def ram(self) -> Memory:
        """The default RAM: arena, static data and stack."""
        return next(m for m in self.board.memories if m.kind == "ram" and m.default)

    @property
    def flash(self) -> Memory:
        """The default flash: code and constants."""
        return next(m for m in self.board.memories if m.kind == "flash" and m.default)

    def to_json(self) -> dict[str, object]:
        """Plain values; `stored.from_json` reads them back."""
        more = {"macs": self.macs, "extra_macs": self.extra_macs, "paged_bytes": self.paged_bytes}
        return {**asdict(self), **more}


@dataclass(frozen=True)
class Linked:
    """What linking adds to a plan; sizes in bytes, `functions` those of the image."""

    compiler: str
    code: int
    static: int
    stack: int
    functions: tuple[tuple[str, int], ...] = ()

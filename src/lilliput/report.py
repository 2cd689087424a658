"""What a user is told of a compiled program: one `Summary`, as text and as JSON.

Every number can be traced: arena bytes come from the plan, code and constants from the
linked image, the stack bound from its disassembly.  What could not be found out (no
toolchain) is None, with the reason beside it.  kB are 1,024 bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from lilliput.devices.device import Device
from lilliput.errors import DoesNotFit, Problem
from lilliput.plan import arena
from lilliput.plan.lifetimes import distances, lifetimes
from lilliput.plan.program import Call, Entry, Kind, Loop, Program, Step


@dataclass(frozen=True)
class RamBytes:
    """Everything in the default RAM: the arena (activations with inputs and outputs, states,
    scratch), static data of the program, and the static stack bound of the deepest entry."""

    activations: int
    states: int
    static: int | None
    stack: int | None
    total: int | None


@dataclass(frozen=True)
class FlashBytes:
    """Code and constants of the linked image."""

    constants: int
    code: int | None
    total: int | None


@dataclass(frozen=True)
class Layer:
    """One kernel call.  `rejected` are the kernels that lost, and why."""

    step: int
    entry: str
    name: str
    operator: str
    fused: tuple[str, ...]
    kernel: str
    output: str
    macs: int
    weight_bytes: int
    live_bytes: int
    rejected: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Peak:
    """The step that needs most of the arena, and what is alive then."""

    entry: str
    layer: str
    nbytes: int
    buffers: tuple[tuple[str, int], ...]
    lower_bound: int


@dataclass(frozen=True)
class Summary:
    """`missing` says why numbers are None."""

    model: str
    device: str
    compiler: str | None
    ram_bytes: RamBytes
    flash_bytes: FlashBytes
    arenas: Mapping[str, int]
    fits: bool | None
    peak: Peak
    layers: tuple[Layer, ...]
    missing: str

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "macs": self.macs}


@dataclass(frozen=True)
class Linked:
    """What linking adds to a plan; sizes in bytes."""

    compiler: str
    code: int
    static: int
    stack: int


def summarize(program: Program, device: Device, linked: Linked | None, missing: str) -> Summary:
    """The summary of `program` on `device`; `linked` is None when nothing could be linked."""
    ram = device.ram.name
    states = sum(
        b.nbytes for b in program.buffers.values() if b.kind is Kind.STATE and b.memory == ram
    )
    arena_bytes = program.arenas.get(ram, 0)
    constants = sum(
        b.nbytes
        for b in program.buffers.values()
        if b.kind is Kind.CONST and b.memory == device.flash.name
    )
    ram_bytes = RamBytes(
        arena_bytes - states,
        states,
        linked.static if linked else None,
        linked.stack if linked else None,
        arena_bytes + linked.static + linked.stack if linked else None,
    )
    code = linked.code if linked else None
    flash_bytes = FlashBytes(constants, code, None if code is None else code + constants)
    return Summary(
        program.name,
        device.name,
        linked.compiler if linked else None,
        ram_bytes,
        flash_bytes,
        dict(program.arenas),
        not overflows(program, device, ram_bytes, flash_bytes) if linked else None,
        peak(program, ram),
        tuple(layers(program)),
        missing,
    )


def layers(program: Program) -> list[Layer]:
    """Every kernel call in order."""
    found: list[Layer] = []
    step = 0
    for entry in program.entries:
        blocks = lifetimes(entry, program.buffers)
        for t, top in enumerate(entry.steps):
            live = sum(b.nbytes for b in blocks if b.first <= t <= b.last)
            for leaf in _leaves(top):
                if isinstance(leaf, Call):
                    found.append(_layer(program, entry, step, leaf, live))
                step += 1
    return found


def _leaves(step: Step) -> list[object]:
    return [t.step for t in step.body] if isinstance(step, Loop) else [step]


def _layer(program: Program, entry: Entry, step: int, call: Call, live: int) -> Layer:
    consts = {v.buffer for v in call.inputs if program.buffers[v.buffer].kind is Kind.CONST}
    return Layer(
        step,
        entry.name,
        call.node.origin or call.value.name,
        call.node.op.name,
        tuple(n.op.name for n in call.fused),
        call.kernel.name,
        str(call.value.type),
        call.node.op.cost(call.node).macs,
        sum(program.buffers[name].nbytes for name in consts),
        live,
        call.rejected,
    )


def peak(program: Program, memory: str) -> Peak:
    """Where `memory` is fullest."""
    best = Peak("", "", 0, (), 0)
    for entry in program.entries:
        blocks = [
            b for b in lifetimes(entry, program.buffers) if program.buffers[b.name].memory == memory
        ]
        bound = arena.lower_bound(blocks, distances(entry, program.buffers, blocks))
        for t, step in enumerate(entry.steps):
            alive = [b for b in blocks if b.first <= t <= b.last]
            total = sum(b.nbytes for b in alive)
            if total > best.nbytes:
                names = tuple(
                    (b.name.removeprefix(f"{entry.name}/"), b.nbytes)
                    for b in sorted(alive, key=lambda b: (-b.nbytes, b.name))
                )
                calls = [s for s in _leaves(step) if isinstance(s, Call)]
                layer = calls[0].node.describe() if calls else "a copy"
                best = Peak(entry.name, layer, total, names, bound)
    return best


def overflows(program: Program, device: Device, ram: RamBytes, flash: FlashBytes) -> list[Problem]:
    """For each memory of `device` that is too small: by how much, where, and what would help."""
    if not device.limits:
        return []
    problems: list[Problem] = []
    need = dict(program.arenas)
    need[device.ram.name] = ram.total if ram.total is not None else ram.activations + ram.states
    need[device.flash.name] = flash.total if flash.total is not None else flash.constants
    for memory in device.memories:
        over = need.get(memory.name, 0) - memory.size
        if over > 0:
            problems.append(_overflow(program, device, memory.name, memory.size, over))
    return problems


def _overflow(program: Program, device: Device, memory: str, size: int, over: int) -> Problem:
    what = f"does not fit into {memory} by {over:,} bytes"
    expected = f"at most {size:,} bytes"
    if memory == device.flash.name:
        largest = max(program.consts.values(), key=lambda c: c.data.nbytes)
        return Problem(
            what,
            device.name,
            expected,
            f"{size + over:,} bytes; the largest constant is {largest.value} "
            f"with {largest.data.nbytes:,}",
            "quantise weights to int8, use fewer channels in the layers with the largest "
            "weights, or take a device with more flash (`lilliput devices`)",
        )
    worst = peak(program, memory)
    buffers = ", ".join(f"{name} {n:,}" for name, n in worst.buffers[:3])
    return Problem(
        what,
        device.name,
        expected,
        f"{size + over:,} bytes; most is needed at {worst.layer}: {buffers}",
        "use a smaller input, fewer channels or a stride in the layers before that one, "
        "or take a device with more RAM (`lilliput devices`)",
    )


def require_fit(program: Program, device: Device, summary: Summary) -> None:
    """Raises DoesNotFit, naming every memory that is too small."""
    problems = overflows(program, device, summary.ram_bytes, summary.flash_bytes)
    if problems:
        raise DoesNotFit(problems)


def text(summary: Summary) -> str:
    """The summary as a person reads it on a terminal."""
    ram, flash, top = summary.ram_bytes, summary.flash_bytes, summary.peak
    rows: list[tuple[str, str]] = [
        ("model", summary.model),
        ("device", summary.device),
        ("compiler", summary.compiler or f"none: {summary.missing}"),
        ("MACs", f"{summary.macs:,}"),
        ("RAM", _total(ram.total)),
        ("  activations", _bytes(ram.activations)),
        ("  states", _bytes(ram.states)),
        ("  static data", _bytes(ram.static)),
        ("  stack (bound)", _bytes(ram.stack)),
        ("flash", _total(flash.total)),
        ("  constants", _bytes(flash.constants)),
        ("  code", _bytes(flash.code)),
        ("fullest at", short(top.layer)),
        (
            "",
            f"{top.nbytes:,} B alive, some of them over one another; at best {top.lower_bound:,} B",
        ),
        ("fits", {True: "yes", False: "no", None: "unknown"}[summary.fits]),
    ]
    return "\n".join(f"{name:<16}{value}" for name, value in rows)


def short(name: str, width: int = 60) -> str:
    """A layer's name for a terminal: TensorFlow joins all that it fused by semicolons."""
    first, *others = name.split(";")
    text = first + (" ..." if others else "")
    return text if len(text) <= width else f"{text[: width - 4]} ..."


def _bytes(count: int | None) -> str:
    return "unknown" if count is None else f"{count:>10,} B"


def _total(count: int | None) -> str:
    return "unknown" if count is None else f"{count:>10,} B ({count / 1024:.1f} kB)"


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is aligned left and whose others are aligned right."""
    widths = [max(len(r[i]) for r in (head, *rows)) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    )

"""Proof: a program gives the same bits, run in every way there is.

The same calls go to NumPy (the definition), to the generated C on this machine under
sanitizers, and to the generated C on an emulated core.  All values that exist in memory are
compared, not only the outputs, and the first that differs is named.  Between the calls that
are compared, one run has the bytes that the plan calls dead overwritten, and one measures
how much stack and arena was really touched.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lilliput.codegen.emit import EmitOptions, emit
from lilliput.codegen.harness import Harness, TracePoint, extent, extract, harness
from lilliput.devices.device import Device
from lilliput.emu.elf import Image
from lilliput.emu.machine import Command, EntryRun, run_emulated, run_host
from lilliput.emu.toolchain import Toolchain, build_firmware, build_host
from lilliput.ir.interp import Run, Session
from lilliput.ir.module import Module
from lilliput.ir.types import Array
from lilliput.plan.program import Entry, Program


@dataclass(frozen=True)
class Call:
    """One call of an entry."""

    entry: str
    inputs: Mapping[str, Array]


@dataclass(frozen=True)
class Difference:
    """The first place where two ways disagree; `index` is flat, in the tensor's order."""

    way: str
    call: int
    tensor: str
    origin: str
    index: int
    expected: float
    found: float
    count: int

    def __str__(self) -> str:
        return (
            f"{self.way}, call {self.call}: {self.tensor} ({self.origin}) differs in "
            f"{self.count} elements, first at {self.index}: expected {self.expected}, "
            f"found {self.found}"
        )


@dataclass(frozen=True)
class WayResult:
    """What one way gave; `runs` has one item a call, without the extra runs."""

    name: str
    tensors: int
    difference: Difference | None
    runs: tuple[EntryRun, ...] = field(repr=False, default=())
    measured: EntryRun | None = field(repr=False, default=None)


def reference(module: Module, calls: Sequence[Call]) -> list[Run]:
    """The calls in NumPy, states kept from one to the next."""
    session = Session(module)
    return [session.run(call.inputs, call.entry) for call in calls]


def commands(program: Program, calls: Sequence[Call], *, poison: bool) -> list[Command]:
    """Reset, then the calls, traced."""
    names = [e.name for e in program.entries]
    result = [Command("reset")]
    for call in calls:
        index = names.index(call.entry)
        data = tuple(
            np.ascontiguousarray(call.inputs[v.name]).tobytes()
            for v, _ in program.entries[index].inputs
        )
        result.append(Command("run", index, data, trace=True, poison=poison))
    return result


def compare(
    way: str,
    program: Program,
    marks: Harness,
    calls: Sequence[Call],
    expected: Sequence[Run],
    runs: Sequence[EntryRun],
) -> WayResult:
    """Every traced tensor and output of every call against NumPy's, at 0 LSB."""
    entries = {e.name: e for e in program.entries}
    points: dict[int, list[TracePoint]] = {}
    for point in marks.points:
        points.setdefault(point.step, []).append(point)
    origins = _origins(program)
    states = {s.name for s in program.states}
    tensors = 0
    for number, (call, want, got) in enumerate(zip(calls, expected, runs, strict=True)):
        found = [pair for step, data in got.trace for pair in _traced(points.get(step, ()), data)]
        entry: Entry = entries[call.entry]
        for (value, view), data in zip(entry.outputs, got.outputs, strict=True):
            if value.name in want.outputs:  # those of a refused call are undefined
                found.append((value.name, extract(view, data)))
        for name, array in found:
            # a step that writes a state leaves its next value; what the planner copies for
            # itself has no counterpart
            meant = want.states if name in states else want.values
            piece = program.pieces.get(name)
            whole = meant.get(piece.of if piece else name)
            if whole is None:
                continue
            tensors += 1
            part = piece.cut(whole) if piece else whole
            difference = first_difference(part, array)
            if difference is not None:
                index, a, b, count = difference
                origin = origins.get(name, name)
                where = Difference(way, number, name, origin, index, a, b, count)
                return WayResult(way, tensors, where, tuple(runs))
    return WayResult(way, tensors, None, tuple(runs))


def _origins(program: Program) -> dict[str, str]:
    return {
        value.name: call.node.describe()
        for entry in program.entries
        for call in entry.calls()
        for value, _ in call.results()
    }


def _traced(points: Sequence[TracePoint], data: bytes) -> Iterator[tuple[str, Array]]:
    """(value, its data) of what one step has left, from the bytes of its spans in order."""
    start = 0
    for point in points:
        stop = start + extent(point.view)
        yield point.value, extract(point.view, data[start:stop])
        start = stop


def first_difference(want: Array, got: Array) -> tuple[int, float, float, int] | None:
    """(flat index, expected, found, how many) of bits that differ; floats bit for bit too, but for
    NaN, whose sign and payload differ from processor to processor."""
    a = np.ascontiguousarray(want).reshape(-1)
    b = np.ascontiguousarray(got).reshape(-1)
    if a.size != b.size:
        return 0, float(a.size), float(b.size), max(a.size, b.size)
    same = a.view(np.uint8).reshape(a.size, -1) == b.view(np.uint8).reshape(b.size, -1)
    wrong = np.flatnonzero(~same.all(axis=1) & ~((a != a) & (b != b)))
    if not wrong.size:
        return None
    first = int(wrong[0])
    return first, float(a[first]), float(b[first]), int(wrong.size)


@dataclass(frozen=True)
class Proof:
    """All ways; `expected` are NumPy's runs."""

    ways: tuple[WayResult, ...]
    expected: tuple[Run, ...] = field(repr=False)
    image: Image | None = field(repr=False, default=None)

    @property
    def difference(self) -> Difference | None:
        return next((w.difference for w in self.ways if w.difference), None)

    @property
    def exact(self) -> bool:
        return self.difference is None


def prove(
    module: Module,
    program: Program,
    calls: Sequence[Call],
    *,
    hosts: Sequence[Toolchain] = (),
    sanitizers: Sequence[str] = ("undefined", "address"),
    target: tuple[Toolchain, Device] | None = None,
    emulator: str = "auto",
    options: EmitOptions | None = None,
    count: bool = False,
    optimize: str = "-O2",
    workdir: Path | None = None,
    log: Callable[[str], None] = lambda _: None,
    timeout: float = 600,
) -> Proof:
    """Runs `calls` in every way that is asked for and compares all of them with NumPy.

    hosts : compilers of this machine; each build also runs with dead bytes poisoned
    target : (compiler, device) of the emulated core; its last run measures stack and arena
    count : count the first call's instructions on the emulated core
    optimize : the level that the emulated core's C is compiled with
    Raises BuildError, EmulationError; a difference is a result, not an error.
    """
    marks = harness(program)
    files = {**emit(program, options), "harness_model.h": marks.header}
    log("NumPy")
    expected = reference(module, calls)
    ways: list[WayResult] = []
    image: Image | None = None
    with tempfile.TemporaryDirectory(prefix="lilliput-") as temporary:
        folder = workdir or Path(temporary)
        for host in hosts:
            log(f"host C, {host.kind}")
            place = folder / f"host-{host.kind}"
            place.mkdir(parents=True, exist_ok=True)
            binary = build_host(host, files, place, sanitizers=sanitizers, defines=marks.defines)
            for poison in (False, True):
                runs = run_host(binary, commands(program, calls, poison=poison), timeout)
                way = f"host C ({host.kind}{', dead bytes poisoned' if poison else ''})"
                ways.append(compare(way, program, marks, calls, expected, runs))
        if target is not None:
            toolchain, device = target
            log(f"emulated {device.core.name}, {toolchain.kind}")
            place = folder / "target"
            place.mkdir(parents=True, exist_ok=True)
            image = build_firmware(
                toolchain, device, files, place, defines=marks.defines, optimize=optimize
            )
            ways.append(
                _on_target(program, marks, calls, expected, image, device, emulator, count, timeout)
            )
    return Proof(tuple(ways), tuple(expected), image)


def _on_target(
    program: Program,
    marks: Harness,
    calls: Sequence[Call],
    expected: Sequence[Run],
    image: Image,
    device: Device,
    emulator: str,
    count: bool,
    timeout: float,
) -> WayResult:
    work = commands(program, calls, poison=False)
    first = work[1]
    measure = Command("run", first.entry, first.inputs, measure=True)
    counted = [False, count, *[False] * len(work)]
    runs = run_emulated(
        image,
        device,
        [*work, measure],
        emulator=emulator,
        count=counted[: len(work) + 1],
        timeout=timeout,
    )
    name = f"emulated {device.core.name}"
    result = compare(name, program, marks, calls, expected, runs[:-1])
    return WayResult(name, result.tensors, result.difference, result.runs, runs[-1])

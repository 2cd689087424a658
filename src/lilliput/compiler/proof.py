"""Checking: every way of running a network, held against its meaning in NumPy.

One idea: a way that ran gives a result, a way that could not run is named with the reason, and
neither is ever silently left out.  The comparing itself is `lilliput.emu.prove`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path

import numpy as np

from lilliput.codegen.harness import harness
from lilliput.compiler import windows
from lilliput.compiler.others import other_way
from lilliput.compiler.pipeline import (
    Log,
    Model,
    Options,
    emit_options,
    module_for,
    quiet,
    refuse_foreign_instructions,
)
from lilliput.devices.device import Core, Device
from lilliput.emu import prove
from lilliput.emu.analysis import stack_bound
from lilliput.emu.machine import emulation_device
from lilliput.emu.toolchain import Toolchain, find, host_compilers
from lilliput.errors import MissingTool
from lilliput.ir.interp import Run
from lilliput.ir.types import Array, DType, TensorType
from lilliput.ops.index import gather
from lilliput.plan.build import plan
from lilliput.plan.memories import used_beside
from lilliput.plan.program import Program

_QEMU = {"arm": "qemu-system-arm", "riscv": "qemu-system-riscv32"}


@dataclass(frozen=True, eq=False)
class Check:
    """What the ways gave.

    exact : all ways give the same bits; None for networks with floats, see `agree`; of networks
        from ONNX and .pt2 files our own three ways do
    agree : NumPy, host C and emulated C give the same bits, floats too
    within_bound : a network with floats is as near to the oracle as `lilliput.tolerances` says, an
        integer one from an ONNX or .pt2 file within some steps of a scale; None for others, and
        where no oracle could be run
    missing : ways that had to be run and could not, with the reason
    not_installed : oracles that could not be run, with the reason; they are extras
    stack, arena : (measured bytes, bytes promised)
    """

    exact: bool | None
    agree: bool
    within_bound: bool | None
    ways: tuple[prove.WayResult, ...]
    missing: Mapping[str, str]
    not_installed: Mapping[str, str]
    samples: int
    saturated: int
    outputs: int
    stack: tuple[int, int | None]
    arena: tuple[int, int]
    problems: tuple[str, ...]
    instructions: int | None

    @property
    def ok(self) -> bool:
        """No way that was run disagrees, and nothing was used beyond what was promised."""
        return self.agree and self.difference is None and not self.problems

    @property
    def difference(self) -> prove.Difference | None:
        return next((w.difference for w in self.ways if w.difference), None)

    def to_json(self) -> dict[str, object]:
        return {
            "exact": self.exact,
            "within_bound": self.within_bound,
            "ways": {
                "run": {w.name: w.difference is None for w in self.ways},
                "missing": dict(self.missing),
                "not_installed": dict(self.not_installed),
            },
            "samples": self.samples,
            "tensors": sum(w.tensors for w in self.ways),
            "saturated": self.saturated,
            "outputs": self.outputs,
            "stack_bytes": {"measured": self.stack[0], "bound": self.stack[1]},
            "arena_bytes": {"measured": self.arena[0], "planned": self.arena[1]},
            "first_difference": str(self.difference) if self.difference else None,
            "problems": list(self.problems),
            "instructions": self.instructions,
        }


def random_calls(model: Model, samples: int, seed: int) -> list[prove.Call]:
    """`samples` calls of every entry: lowest, highest and middle values, then random ones.

    Where a network looks rows up in a table, integers without a scale are places in the
    shortest one: another implementation may refuse, or answer anything to, what lies outside.
    Guarded integers lie within their guard: a call that is refused shows little.
    """
    rng = np.random.default_rng(seed)
    nodes = [n for g in model.module.graphs.values() for n in g.nodes if n.op is gather]
    places = min((n.inputs[0].type.shape[2] for n in nodes), default=None)
    calls: list[prove.Call] = []
    for k in range(samples):
        for entry in model.module.graphs:
            inputs = {v.name: _data(rng, v.type, k, places) for v in model.module.inputs(entry)}
            for guard in model.module.guards.get(entry, ()):
                data = inputs.get(guard.name)
                if data is not None and not np.issubdtype(data.dtype, np.floating):
                    high = int(guard.high)
                    if guard.below:
                        high = min(high, int(model.module.states[guard.below].init.min()) - 1)
                    inputs[guard.name] = _within(data, int(guard.low), high)
            calls.append(prove.Call(entry, inputs))
    return calls


def _within(data: Array, low: int, high: int) -> Array:
    """The same integers, those that lie outside brought into [low, high]."""
    wide = data.astype(np.int64)
    inside = np.where((wide < low) | (wide > high), low + (wide - low) % (high - low + 1), wide)
    return inside.astype(data.dtype)


def _data(rng: np.random.Generator, type: TensorType, k: int, places: int | None) -> Array:
    if type.dtype.is_float:
        corner = {0: -1.0, 1: 1.0, 2: 0.0}.get(k)
        data = rng.normal(0, 1, type.shape) if corner is None else np.full(type.shape, corner)
        return data.astype(np.float32)
    low, high = type.dtype.bounds if type.dtype.is_integer else (0, 1)
    if places is not None and type.quant is None and type.dtype in (DType.S32, DType.S64):
        low, high = 0, places - 1
    corner = {0: low, 1: high, 2: type.zero_point}.get(k)
    if corner is None:
        return rng.integers(low, high, type.shape, endpoint=True).astype(type.dtype.numpy)
    return np.full(type.shape, corner, type.dtype.numpy)


def check(
    model: Model,
    device: Device,
    *,
    samples: int = 16,
    seed: int = 0,
    options: Options | None = None,
    emulator: str = "auto",
    calls: Sequence[prove.Call] | None = None,
    log: Log = quiet,
) -> Check:
    """Compares NumPy, the C on this machine and the C on an emulated core, tensor by tensor,
    and NumPy with TFLite Micro where the model is a .tflite file and it is installed, with ONNX
    Runtime where it is an ONNX file, with PyTorch where it is a .pt2 file.

    Where something was left out, C is held against what is left, and that against the network
    as it was read: in all outputs and in every channel that is left of what lies between.
    TFLite Micro runs the file as it is.  A step over time is held against the network of its
    window, which TFLite Micro runs; its calls are one stream, longer than a window.

    The core is emulated with memories large enough for the model, so that a model can be
    proven before it fits.  Stack and arena are measured and must not exceed what the
    compiler promises.  Raises what compilation raises, and EmulationError.
    """
    options = options or Options()
    samples = windows.enough(model.stream, samples) if model.stream else samples
    given = list(calls) if calls is not None else random_calls(model, samples, seed)
    module = module_for(model, options, log)
    program = plan(module, device, options.plan_for(device, module))
    beside = used_beside(program, device)
    room = emulation_device(device.core, emulator, beside=beside)
    missing: dict[str, str] = {}
    hosts = _hosts(missing)
    target = _target(device, options, emulator, missing)
    with tempfile.TemporaryDirectory(prefix="lilliput-") as folder:
        proof = prove.prove(
            module,
            program,
            given,
            hosts=hosts,
            target=(target, room) if target else None,
            emulator=emulator,
            optimize=options.level,
            options=emit_options(device, options),
            count=True,
            workdir=Path(folder),
            log=log,
        )
        measured = _measured(program, proof, device)
    not_installed: dict[str, str] = {}
    whole = proof.expected
    originals: list[prove.WayResult] = []
    if options.shrink and model.shrunk.changed:
        log("NumPy, nothing left out")
        whole = prove.reference(model.module, given)
        originals.append(_original(model, whole, proof.expected))
    read_as, whole_given = model, given
    if model.stream:
        log(windows.WAY)
        read_as, whole_given = model.stream.whole, windows.whole_calls(model, given)
        whole = prove.reference(read_as.module, whole_given)
        originals.append(windows.compare(model, whole, proof.expected))
    others = other_way(read_as, whole_given, whole, not_installed, log)
    agree = proof.exact and all(way.difference is None for way in originals)
    floats = any(v.type.dtype.is_float for g in model.module.graphs.values() for v in g.values())
    near = all(way.difference is None for way in others)
    bounded = (
        read_as.onnx is not None or read_as.pt2 is not None
    )  # whose integers may be a step apart
    saturated, outputs = _saturation(proof.expected)
    return Check(
        exact=None if floats else agree and (near or bounded),
        agree=agree,
        within_bound=near if (floats or bounded) and others else None,
        ways=(*originals, *proof.ways, *others),
        missing=missing,
        not_installed=not_installed,
        samples=len(given),
        saturated=saturated,
        outputs=outputs,
        stack=measured.stack,
        arena=measured.arena,
        problems=(*measured.problems, *_beyond(options.ram, program, device, measured)),
        instructions=measured.instructions,
    )


def _hosts(missing: dict[str, str]) -> list[Toolchain]:
    found = host_compilers()
    if not found:
        missing["host C"] = "no C compiler for this machine: pip install ziglang"
    return list(found[:1])


def _target(
    device: Device, options: Options, emulator: str, missing: dict[str, str]
) -> Toolchain | None:
    try:
        toolchain = find(device.core, options.compiler)
        _require_emulator(device.core, emulator)
    except MissingTool as e:
        missing[f"emulated {device.core.name}"] = str(e)
        return None
    return toolchain


def _require_emulator(core: Core, emulator: str) -> None:
    """Raises MissingTool where the emulator that will be chosen is not installed."""
    if core.unicorn and emulator != "qemu":
        if util.find_spec("unicorn") is None:
            hint = 'pip install "lilliput[emulator]"'
            raise MissingTool("the emulator unicorn is not installed", where=core.name, hint=hint)
    elif shutil.which(_QEMU[core.arch]) is None:
        program = _QEMU[core.arch]
        raise MissingTool(
            f"{program} is not on PATH", where=core.name, hint="install QEMU's system emulators"
        )


@dataclass(frozen=True)
class _Measured:
    """What the emulated core was seen to use, against what was promised."""

    stack: tuple[int, int | None]
    arena: tuple[int, int]
    problems: tuple[str, ...]
    instructions: int | None


def _measured(program: Program, proof: prove.Proof, device: Device) -> _Measured:
    planned = sum(program.arenas.values())
    last = proof.ways[-1] if proof.ways else None
    if proof.image is None or last is None or last.measured is None:
        return _Measured((0, None), (0, planned), (), None)
    refuse_foreign_instructions(proof.image, device)
    marks = harness(program)
    bound = max(stack_bound(proof.image, name, marks.callbacks or None) for name in marks.entries)
    stack = last.measured.stack_bytes
    problems: list[str] = []
    if stack > bound:
        problems.append(f"the stack reached {stack} B, over its bound of {bound} B")
    if not last.measured.guard_intact:
        problems.append("bytes behind the arena were written")
    arena = (sum(last.measured.arena_bytes), planned)
    return _Measured((stack, bound), arena, tuple(problems), last.runs[0].instructions)


def _beyond(
    allowed: int | None, program: Program, device: Device, found: _Measured
) -> Iterator[str]:
    """More RAM than was allowed; where nothing was said, a network is proven before it fits."""
    need = program.arenas.get(device.ram.name, 0) + (found.stack[1] or 0)
    if allowed is not None and need > allowed:
        yield f"arena and stack take {need:,} B of RAM, of which {allowed:,} B are allowed"


def _original(model: Model, whole: Sequence[Run], left: Sequence[Run]) -> prove.WayResult:
    """The network as it was read, where it has what the smaller one has."""
    way, shrunk = "NumPy, nothing left out", model.shrunk
    nodes = [n for g in shrunk.module.graphs.values() for n in g.nodes]
    origins = {v.name: n.describe() for n in nodes for v in n.outputs}
    tensors = 0
    for number, (a, b) in enumerate(zip(whole, left, strict=True)):
        for name in (n for n in origins if n in a.values and n in b.values):
            tensors += 1
            found = prove.first_difference(shrunk.part(name, a.values[name]), b.values[name])
            if found is not None:
                index, expected, value, count = found
                where = prove.Difference(
                    way, number, name, origins[name], index, expected, value, count
                )
                return prove.WayResult(way, tensors, where)
    return prove.WayResult(way, tensors, None)


def _saturation(runs: Sequence[Run]) -> tuple[int, int]:
    """(output elements at an end of their range, output elements): many prove little."""
    saturated = outputs = 0
    for run in runs:
        for array in run.outputs.values():
            outputs += array.size
            if array.dtype.kind in "iu":
                info = np.iinfo(array.dtype)
                saturated += int(np.sum((array == info.min) | (array == info.max)))
    return saturated, outputs

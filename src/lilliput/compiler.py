"""The pipeline: from a file to C, to a proof, to a profile.  The only module that knows
every stage.

    load      file -> Model             frontends, verified, canonical
    compile   Model -> Compiled         plan, C, linked image, summary
    check     Model -> Check            every way of running it, compared bit for bit
    profile   Model -> Profile          instructions and estimated cycles, layer by layer
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lilliput import report
from lilliput.codegen.c import identifier
from lilliput.codegen.emit import EmitOptions, emit
from lilliput.codegen.harness import harness
from lilliput.codegen.instances import Optimize
from lilliput.codegen.names import entry_function
from lilliput.devices.device import Device
from lilliput.emu import prove
from lilliput.emu.analysis import check_instructions, stack_bound
from lilliput.emu.cycles import cycle_model
from lilliput.emu.elf import Image
from lilliput.emu.machine import emulation_device
from lilliput.emu.toolchain import Toolchain, build_firmware, find, host_compilers
from lilliput.errors import EmulationError, LilliputError, MissingTool, Problem
from lilliput.frontends import load_model
from lilliput.ir.interp import Run, Session
from lilliput.ir.module import Module
from lilliput.ir.types import Array, TensorType
from lilliput.ir.verify import verify
from lilliput.passes.canonicalize import Canonicalize
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.program import Program
from lilliput.report import Linked, Summary, require_fit, summarize

Log = Callable[[str], None]
PASSES = (Canonicalize(),)


def _quiet(_: str) -> None:
    pass


@dataclass(frozen=True, eq=False)
class Model:
    """A network as it was read: verified and in canonical form."""

    module: Module

    def run(self, inputs: Mapping[str, Array] | Array, entry: str | None = None) -> Run:
        """Runs it in NumPy; `.outputs` and every intermediate in `.values`, by name."""
        if isinstance(inputs, np.ndarray):
            inputs = {self.module.inputs(entry or self.module.entry)[0].name: inputs}
        return Session(self.module).run(inputs, entry)


@dataclass(frozen=True)
class Options:
    """compiler : "auto", "gcc", "clang", "zig", or "none" to leave linking out"""

    compiler: str = "auto"
    optimize: Optimize = Optimize.SPEED
    plan: PlanOptions = field(default_factory=PlanOptions)


@dataclass(frozen=True, eq=False)
class Compiled:
    """`files` is what belongs into a firmware, path -> text."""

    model: Model
    device: Device
    program: Program
    files: Mapping[str, str]
    summary: Summary


def load(path: str | Path, *, io: str = "int8") -> Model:
    """Reads a network; `io="float"` keeps float inputs and outputs of a quantised one.

    Raises FormatError, UnsupportedError (all operators at once) or GraphError.
    """
    return from_module(load_model(path, io=io))


def from_module(module: Module) -> Model:
    """A module built by hand, verified after every pass."""
    verify(module)
    for step in PASSES:
        module = step(module)
        verify(module)
    return Model(module)


def compile(
    model: Model, device: Device, options: Options | None = None, log: Log = _quiet
) -> Compiled:
    """Plans, writes C, and links it for `device` where a toolchain exists.

    Raises DoesNotFit naming every memory that is too small and what would help.
    """
    options = options or Options()
    log("planning")
    program = plan(model.module, device, options.plan)
    log("writing C")
    files = emit(program, emit_options(device, options))
    linked, missing = _link(program, device, files, options, log)
    summary = summarize(program, device, linked, missing)
    require_fit(program, device, summary)
    return Compiled(model, device, program, files, summary)


def emit_options(device: Device, options: Options) -> EmitOptions:
    plain = frozenset({device.ram.name, device.flash.name})
    return EmitOptions(device.core.isa_header, options.optimize, plain)


def _link(
    program: Program, device: Device, files: Mapping[str, str], options: Options, log: Log
) -> tuple[Linked | None, str]:
    """What linking tells, or why there is no telling."""
    if options.compiler == "none":
        return None, "linking was switched off"
    try:
        toolchain = find(device.core, options.compiler)  # type: ignore[arg-type]
    except MissingTool as e:
        return None, str(e)
    log(f"linking with {toolchain.version}")
    prefix = identifier(program.name)
    functions = [entry_function(prefix, program, e) for e in program.entries]
    calls = [*([f"{prefix}_reset"] if program.states else []), *functions]
    main = f'#include "{prefix}.h"\n\nint main(void)\n{{\n'
    main += "".join(f"    {name}();\n" for name in calls) + "    return 0;\n}\n"
    with tempfile.TemporaryDirectory(prefix="lilliput-") as folder:
        roomy = _with_room(device)
        sources = {**files, "main.c": main}
        image = build_firmware(toolchain, roomy, sources, Path(folder), include_harness=False)
        constants = sum(c.data.nbytes for c in program.consts.values())
        arenas = sum(program.arenas.values())
        stack = max(stack_bound(image, name) for name in functions)
        refuse_foreign_instructions(image, device)
        static = max(image.ram_static_bytes - arenas, 0)
        return Linked(toolchain.version, image.flash_bytes - constants, static, stack), ""


def _with_room(device: Device) -> Device:
    """Memories large enough to link anything: what does not fit is reported, not refused."""
    return emulation_device(device.core)


def refuse_foreign_instructions(image: Image, device: Device) -> None:
    """Raises EmulationError for instructions that the core does not have.

    Emulators run them all the same, so a green run would prove nothing.
    """
    result = check_instructions(image, device.core)
    if result.violations:
        raise EmulationError(
            Problem(
                f"instruction {v.mnemonic} does not exist on {device.core.name}",
                f"{v.function} at {v.address:#x}",
                hint="a defect of the toolchain's flags: report it",
            )
            for v in result.violations[:10]
        )


# Checking ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Check:
    """`exact` is None for networks with floats, whose ways agree bit for bit as well but are
    held against other runtimes within a bound.  `missing` are ways that could not be run."""

    exact: bool
    ways: tuple[prove.WayResult, ...]
    missing: Mapping[str, str]
    samples: int
    saturated: int
    outputs: int
    stack: tuple[int, int | None]
    arena: tuple[int, int]
    problems: tuple[str, ...]
    instructions: int | None

    @property
    def ok(self) -> bool:
        return self.exact and not self.problems

    def to_json(self) -> dict[str, object]:
        difference = next((w.difference for w in self.ways if w.difference), None)
        return {
            "exact": self.exact,
            "ways": {w.name: w.difference is None for w in self.ways},
            "missing": dict(self.missing),
            "samples": self.samples,
            "tensors": sum(w.tensors for w in self.ways),
            "saturated": self.saturated,
            "outputs": self.outputs,
            "stack_bytes": {"measured": self.stack[0], "bound": self.stack[1]},
            "arena_bytes": {"measured": self.arena[0], "planned": self.arena[1]},
            "first_difference": str(difference) if difference else None,
            "problems": list(self.problems),
            "instructions": self.instructions,
        }


def random_calls(model: Model, samples: int, seed: int) -> list[prove.Call]:
    """`samples` calls of every entry: lowest, highest and middle values, then random ones."""
    rng = np.random.default_rng(seed)
    calls: list[prove.Call] = []
    for k in range(samples):
        for entry in model.module.graphs:
            inputs = {v.name: _data(rng, v.type, k) for v in model.module.inputs(entry)}
            calls.append(prove.Call(entry, inputs))
    return calls


def _data(rng: np.random.Generator, type: TensorType, k: int) -> Array:
    if type.dtype.is_float:
        corner = {0: -1.0, 1: 1.0, 2: 0.0}.get(k)
        data = rng.normal(0, 1, type.shape) if corner is None else np.full(type.shape, corner)
        return data.astype(np.float32)
    low, high = type.dtype.bounds if type.dtype.is_integer else (0, 1)
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
    log: Log = _quiet,
) -> Check:
    """Compares NumPy, the C on this machine and the C on an emulated core, tensor by tensor.

    The core is emulated with memories large enough for the model, so that a model can be
    proven before it fits.  Stack and arena are measured and must not exceed what the
    compiler promises.  Raises what compilation raises, and EmulationError.
    """
    options = options or Options()
    given = list(calls) if calls is not None else random_calls(model, samples, seed)
    room = emulation_device(device.core, emulator)  # type: ignore[arg-type]
    program = plan(model.module, room, options.plan)
    missing: dict[str, str] = {}
    hosts = _hosts(missing)
    target = _target(device, options, missing)
    with tempfile.TemporaryDirectory(prefix="lilliput-") as folder:
        proof = prove.prove(
            model.module,
            program,
            given,
            hosts=hosts,
            target=(target, room) if target else None,
            emulator=emulator,
            options=emit_options(room, options),
            count=True,
            workdir=Path(folder),
            log=log,
        )
        return _checked(model, program, proof, len(given), missing, room)


def _hosts(missing: dict[str, str]) -> list[Toolchain]:
    found = host_compilers()
    if not found:
        missing["host C"] = "no C compiler for this machine: pip install ziglang"
    return list(found[:1])


def _target(device: Device, options: Options, missing: dict[str, str]) -> Toolchain | None:
    try:
        return find(device.core, options.compiler)  # type: ignore[arg-type]
    except MissingTool as e:
        missing[f"emulated {device.core.name}"] = str(e)
        return None


def _checked(
    model: Model,
    program: Program,
    proof: prove.Proof,
    calls: int,
    missing: Mapping[str, str],
    device: Device,
) -> Check:
    problems: list[str] = []
    stack: tuple[int, int | None] = (0, None)
    arena = (0, sum(program.arenas.values()))
    instructions: int | None = None
    last = proof.ways[-1] if proof.ways else None
    if proof.image is not None and last is not None and last.measured is not None:
        refuse_foreign_instructions(proof.image, device)
        prefix = identifier(program.name)
        names = [entry_function(prefix, program, e) for e in program.entries]
        bound = max(stack_bound(proof.image, name) for name in names)
        stack = (last.measured.stack_bytes, bound)
        arena = (sum(last.measured.arena_bytes), arena[1])
        instructions = last.runs[0].instructions
        if stack[0] > bound:
            problems.append(f"the stack reached {stack[0]} B, over its bound of {bound} B")
        if not last.measured.guard_intact:
            problems.append("bytes behind the arena were written")
    saturated, outputs = _saturation(model, proof.expected)
    return Check(
        proof.exact, proof.ways, missing, calls, saturated, outputs, stack, arena,
        tuple(problems), instructions,
    )  # fmt: skip


def _saturation(model: Model, runs: Sequence[Run]) -> tuple[int, int]:
    """(output elements at an end of their range, output elements): many prove little."""
    saturated = outputs = 0
    for run in runs:
        for array in run.outputs.values():
            outputs += array.size
            if array.dtype.kind in "iu":
                info = np.iinfo(array.dtype)
                saturated += int(np.sum((array == info.min) | (array == info.max)))
    return saturated, outputs


# Profiling --------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProfiledLayer:
    """instructions are counted; estimated_cycles come from the core's cycle model."""

    layer: report.Layer
    instructions: int
    estimated_cycles: float | None

    @property
    def per_mac(self) -> float | None:
        return self.instructions / self.layer.macs if self.layer.macs else None


@dataclass(frozen=True, eq=False)
class Profile:
    """One inference on the emulated core of `device`."""

    model: str
    device: str
    compiler: str
    instructions: int
    estimated_cycles: float | None
    cycle_model: str
    layers: tuple[ProfiledLayer, ...]

    @property
    def macs(self) -> int:
        return sum(p.layer.macs for p in self.layers)

    def to_json(self) -> dict[str, object]:
        return {
            "model": self.model,
            "device": self.device,
            "compiler": self.compiler,
            "instructions": self.instructions,
            "estimated_cycles": self.estimated_cycles,
            "cycle_model": self.cycle_model,
            "macs": self.macs,
            "layers": [
                {
                    "name": p.layer.name,
                    "operator": p.layer.operator,
                    "kernel": p.layer.kernel,
                    "macs": p.layer.macs,
                    "weight_bytes": p.layer.weight_bytes,
                    "live_bytes": p.layer.live_bytes,
                    "instructions": p.instructions,
                    "instructions_per_mac": p.per_mac,
                    "estimated_cycles": p.estimated_cycles,
                }
                for p in self.layers
            ],
        }


def profile(
    model: Model,
    device: Device,
    *,
    seed: int = 0,
    options: Options | None = None,
    entry: str | None = None,
    log: Log = _quiet,
) -> Profile:
    """Counts the instructions of one call of `entry`, step by step.

    Raises MissingTool where there is no compiler or emulator.
    """
    options = options or Options()
    toolchain = find(device.core, options.compiler)  # type: ignore[arg-type]
    room = emulation_device(device.core, "unicorn")
    program = plan(model.module, room, options.plan)
    entry = entry or model.module.entry
    call = next(c for c in random_calls(model, 4, seed)[::-1] if c.entry == entry)
    proof = prove.prove(
        model.module, program, [call], target=(toolchain, room), count=True, log=log,
        options=emit_options(room, options),
    )  # fmt: skip
    run = proof.ways[-1].runs[0]
    if run.instructions is None:
        raise LilliputError("this emulator does not count instructions", where=device.core.name)
    timing = cycle_model(device.core)
    layers = [x for x in report.layers(program) if x.entry == entry]
    return Profile(
        program.name,
        device.name,
        toolchain.version,
        run.instructions,
        sum(run.step_cycles.values()) if timing else None,
        f"{timing.name}: {timing.error_note}" if timing else "none for this core",
        tuple(
            ProfiledLayer(x, run.step_instructions.get(x.step, 0), run.step_cycles.get(x.step))
            for x in layers
        ),
    )


# Writing ----------------------------------------------------------------------------------


def manifest(compiled: Compiled) -> dict[str, object]:
    """What `manifest.json` holds: the summary, and what running the folder needs."""
    marks = harness(compiled.program)
    return {
        "format": "lilliput 1",
        "summary": compiled.summary.to_json(),
        "defines": list(marks.defines),
        "entries": [
            {
                "name": entry.name,
                "inputs": [_port(v.name, v.type) for v, _ in entry.inputs],
                "outputs": [_port(v.name, v.type) for v, _ in entry.outputs],
            }
            for entry in compiled.program.entries
        ],
    }


def _port(name: str, type: TensorType) -> dict[str, object]:
    quant = type.quant
    return {
        "name": name,
        "shape": list(type.shape),
        "dtype": type.dtype.value,
        "scale": quant.scale[0] if quant and quant.is_per_tensor else None,
        "zero_point": quant.zero_point[0] if quant and quant.is_per_tensor else None,
    }


def output_files(compiled: Compiled) -> dict[str, str]:
    """Everything that `lilliput compile -o` writes: C, CMake, manifest, harness header."""
    prefix = identifier(compiled.program.name)
    cmake = (
        f"add_library({prefix} STATIC ${{CMAKE_CURRENT_LIST_DIR}}/{prefix}.c)\n"
        f"target_include_directories({prefix} PUBLIC ${{CMAKE_CURRENT_LIST_DIR}})\n"
        f"target_compile_features({prefix} PUBLIC c_std_11)\n"
        f"target_compile_options({prefix} PRIVATE -ffp-contract=off)\n"
    )
    return {
        **compiled.files,
        "CMakeLists.txt": cmake,
        "harness_model.h": harness(compiled.program).header,
        "manifest.json": json.dumps(manifest(compiled), indent=1) + "\n",
    }

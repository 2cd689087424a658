"""From a file to C: read, verified, planned, written, linked.

One idea: each stage is a function of the value that the one before gave; nothing is kept
between calls.  Not here: proving (`proof`), counting (`profiling`), folders (`folder`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lilliput.codegen import keep
from lilliput.codegen.c import identifier
from lilliput.codegen.emit import EmitOptions, emit
from lilliput.codegen.names import entry_function
from lilliput.codegen.rows import call
from lilliput.devices.device import Device
from lilliput.emu.analysis import check_instructions, stack_bound
from lilliput.emu.elf import Image
from lilliput.emu.machine import emulation_device
from lilliput.emu.toolchain import build_firmware, find
from lilliput.errors import EmulationError, MissingTool, Problem, UsageError
from lilliput.frontends import load_model, read_torch
from lilliput.frontends.onnx import matches as is_onnx
from lilliput.frontends.torch import matches as is_program
from lilliput.ir.interp import Run, Session
from lilliput.ir.islands import float_islands, told
from lilliput.ir.module import Module
from lilliput.ir.types import Array
from lilliput.ir.verify import verify
from lilliput.passes.canonicalize import Canonicalize
from lilliput.passes.layout import Layout, rows_of_pixels
from lilliput.passes.shrink import Shrunk, shrink
from lilliput.passes.streaming import Stream, Streamed
from lilliput.passes.streaming import stream as streamed
from lilliput.plan.build import PlanOptions, plan_on_front
from lilliput.plan.memories import used_beside
from lilliput.plan.objective import Budget, Optimize
from lilliput.plan.program import Program
from lilliput.quant.batch import outputs
from lilliput.quant.scheme import stored_constant
from lilliput.report import Linked, Summary, require_fit, shrinking, streaming, summarize

Log = Callable[[str], None]
Feed = Literal["memory", "callback", "push"]
PASSES = (Layout(), Canonicalize())


def quiet(_: str) -> None:
    pass


@dataclass(frozen=True, eq=False)
class Model:
    """A network as it was read: verified and in canonical form.

    tflite : the bytes of the .tflite file it came from, for other implementations to run
    onnx, pt2 : the path of the ONNX file or PyTorch program it came from, for the same
    rows : inputs and outputs that are rows of pixels where the file has maps, channels first
    stream : of a step over time: what it stands for
    """

    module: Module
    tflite: bytes | None = field(default=None, repr=False)
    onnx: Path | None = field(default=None, repr=False)
    pt2: Path | None = field(default=None, repr=False)
    rows: frozenset[str] = frozenset()
    stream: OverTime | None = field(default=None, repr=False)

    @cached_property
    def shrunk(self) -> Shrunk:
        """The network without what does not matter to its outputs, with the proofs.  A step is
        made of what is left of its network: nothing of it goes."""
        if self.stream is not None:
            return Shrunk(self.module)
        found = shrink(self.module)
        verify(found.module)
        return found

    def run(self, inputs: Mapping[str, Array] | Array, entry: str | None = None) -> Run:
        """Runs it in NumPy; `.outputs` and every intermediate in `.values`, by name."""
        if isinstance(inputs, np.ndarray):
            inputs = {self.module.inputs(entry or self.module.entry)[0].name: inputs}
        return Session(self.module).run(inputs, entry)

    def answers(self, x: Array) -> Array:
        """The first output for many examples at once, in real numbers: x (n,...) float32 -> (n,...)
        float32.  Integers at the ends are rounded to and scaled back.

        Raises UsageError for several inputs, or examples of another shape.
        """
        ends = self.module.inputs(self.module.entry)
        if len(ends) != 1 or x.shape[1:] != ends[0].type.shape[1:]:
            found = [list(v.type.shape) for v in ends]
            raise UsageError("examples", expected=f"(n,...) of {found}", found=list(x.shape))
        stored = x if ends[0].type.quant is None else stored_constant(x, ends[0].type)
        y = self.module.outputs(self.module.entry)[0]
        given = {ends[0].name: stored.astype(ends[0].type.dtype.numpy)}
        found = outputs(self.module, given)[y.name]
        if y.type.quant is None:
            return found.astype(np.float32)
        real = (found.astype(np.int64) - y.type.zero_point) * y.type.scale
        return real.astype(np.float32)


@dataclass(frozen=True, eq=False)
class OverTime:
    """`whole` is the network of a window of frames, as it was read; `found` the step made of it."""

    whole: Model
    found: Streamed

    @property
    def about(self) -> tuple[str, ...]:
        """For the header of the emitted C."""
        frames = "1 new frame" if self.found.hop == 1 else f"{self.found.hop} new frames"
        window = self.found.window
        return (
            f"A step over time: each call takes {frames} and gives, bit for bit, what the",
            f"whole network gives for the newest {window}.  Reset makes all frames before the",
            "first zero points.",
        )


@dataclass(frozen=True)
class Options:
    """compiler : "auto", "gcc", "clang", "zig", or "none" to leave linking out
    ram : bytes of RAM that may be taken, by arena, static data and stack together; None for all
        that the device has
    memories : beside the device's default RAM and flash those that may be used; None: all that the
        board leaves to the planner, or none where `ram` says how much may be taken
    shrink : leave out what provably does not matter to the outputs
    feed : how inputs come: the caller writes them into memory, hands over their rows when it is
        called for them, or calls with each row.  What a guard judges by lies in memory
    """

    compiler: str = "auto"
    optimize: Optimize = Optimize.SPEED
    plan: PlanOptions = field(default_factory=PlanOptions)
    ram: int | None = None
    shrink: bool = True
    feed: Feed = "memory"
    memories: frozenset[str] | None = None

    def plan_for(self, device: Device, module: Module) -> PlanOptions:
        """The planner's options: the same plan for `device` and where it is emulated."""
        budget = Budget.of(device).within(self.ram)
        memories = self.memories
        if memories is None:
            memories = self.plan.memories if self.ram is None else frozenset[str]()
        chosen = replace(self.plan, optimize=self.optimize, budget=budget, memories=memories)
        if self.feed == "memory":
            return chosen
        judged = {g.name for guards in module.guards.values() for g in guards}
        inputs = {v.name for entry in module.graphs for v in module.inputs(entry)}
        return replace(chosen, pull=frozenset(inputs - judged), push=self.feed == "push")

    @property
    def level(self) -> str:
        """What the C compiler is asked for."""
        return "-Os" if self.optimize is Optimize.SIZE else "-O2"


@dataclass(frozen=True, eq=False)
class Compiled:
    """`files` is what belongs into a firmware, path -> text."""

    model: Model
    device: Device
    program: Program
    files: Mapping[str, str]
    summary: Summary

    def to_json(self) -> dict[str, object]:
        """The summary, with what the planner decided under `plan`."""
        value = self.summary.to_json()
        planned = ("arenas", "bounds", "peak", "front", "layers", "timelines", "constants")
        planned = (*planned, "extra_macs", "recomputed", "paged", "paged_bytes")
        return {**value, "plan": {key: value.pop(key) for key in planned}}


def load(path: str | Path, *, io: str = "int8", channels_last: bool = False) -> Model:
    """Reads a network; `io="float"` keeps float inputs and outputs of a quantised one,
    `channels_last` has pictures (1,C,H,W) come and go as rows of pixels (1,H,W,C).

    Raises FormatError, UnsupportedError (all operators at once) or GraphError.
    """
    model = from_module(load_model(path, io=io), channels_last=channels_last)
    data = Path(path).read_bytes()
    if is_onnx(data):
        return replace(model, onnx=Path(path))
    if is_program(data):
        return replace(model, pt2=Path(path))
    return replace(model, tflite=data) if data[4:8] == b"TFL3" else model


def from_torch(
    module: object,
    example: object = None,
    *,
    name: str = "model",
    batch: int = 1,
    io: str = "int8",
) -> Model:
    """A PyTorch module, captured by `torch.export` as it runs on `example`: a tensor, a tuple of
    arguments, or a dict of them by name.  `batch` samples are what a call takes, along axis 0.

    A `torch.export.ExportedProgram` is taken as it is, without an example.  What PT2E quantised
    becomes integer operators; `io="float"` keeps float inputs and outputs.

    Raises MissingTool without torch, UsageError, or UnsupportedError with every operator and line.
    """
    return from_module(read_torch(module, example, name=name, batch=batch, io=io))


def from_module(module: Module, *, channels_last: bool = False) -> Model:
    """A module built by hand, verified after every pass; `channels_last` as in `load`."""
    verify(module)
    rows = frozenset[str]()
    for step in PASSES:
        module = step(module)
        if channels_last and isinstance(step, Layout):
            module, rows = rows_of_pixels(module)
        verify(module)
    return Model(module, rows=rows)


def over_time(
    model: Model, stream: Stream | None = None, *, shrink: bool = True, log: Log = quiet
) -> Model:
    """The step of a network over a window of frames, as a network of its own with states.

    shrink : make it of what is left of the network, see `Model.shrunk`
    Raises UsageError for an axis or a number of frames that cannot be, UnsupportedError where
    the network does not stream.
    """
    log("streaming over time")
    found = streamed(module_for(model, Options(shrink=shrink), log), stream)
    verify(found.module)
    return Model(found.module, stream=OverTime(model, found))


def compile(
    model: Model,
    device: Device,
    options: Options | None = None,
    log: Log = quiet,
    *,
    must_fit: bool = True,
) -> Compiled:
    """Plans, writes C, and links it for `device` where a toolchain exists.

    Raises DoesNotFit naming every memory that is too small and what would help, unless
    `must_fit` is False: then the summary says so.
    """
    options = options or Options()
    module = module_for(model, options, log)
    log("planning")
    program, front = plan_on_front(module, device, options.plan_for(device, module))
    log("writing C")
    about = model.stream.about if model.stream else ()
    files = emit(program, replace(emit_options(device, options), about=about))
    linked, missing = _link(program, device, files, options, log)
    summary = summarize(
        program, device, linked, missing, options.optimize.value, allowed=options.ram
    )
    summary = replace(summary, **_origins(model, options), front=front)
    if must_fit:
        require_fit(summary)
    return Compiled(model, device, program, files, summary)


def _origins(model: Model, options: Options) -> dict[str, Any]:
    """What a summary says of how the network came to be what was compiled."""
    whole = model.stream.whole if model.stream else model
    found: dict[str, Any] = {}
    if options.shrink and whole.shrunk.changed:
        found["shrinking"] = shrinking(whole.module, whole.shrunk)
    if model.stream:
        found["streaming"] = streaming(model.stream.found)
    found["islands"] = told(float_islands(module_for(model, options)))
    found["unrounded"] = whole.module.unrounded
    return found


def module_for(model: Model, options: Options, log: Log = quiet) -> Module:
    """What is compiled of a network: all of it, or what is left of it."""
    if not options.shrink or model.stream:
        return model.module
    log("shrinking")
    return model.shrunk.module


def emit_options(device: Device, options: Options) -> EmitOptions:
    plain = frozenset({device.ram.name, device.flash.name})
    return EmitOptions(device.core.isa_header, options.optimize is Optimize.SIZE, plain)


def _link(
    program: Program, device: Device, files: Mapping[str, str], options: Options, log: Log
) -> tuple[Linked | None, str]:
    """What linking tells, or why there is no telling."""
    if options.compiler == "none":
        return None, "linking was switched off"
    try:
        toolchain = find(device.core, options.compiler)
    except MissingTool as e:
        return None, str(e)
    log(f"linking with {toolchain.version}")
    prefix = identifier(program.name)
    functions = [entry_function(prefix, program, e) for e in program.entries]
    calls = [f"{prefix}_reset()"] if program.states else []
    calls += [call(prefix, program, e) for e in program.entries]
    keeping = keep.functions(program, prefix)
    calls += [f"{name}(0)" for name in keeping]
    main = f'#include "{prefix}.h"\n\nint main(void)\n{{\n'
    main += "".join(f"    {text};\n" for text in calls) + "    return 0;\n}\n"
    with tempfile.TemporaryDirectory(prefix="lilliput-") as folder:
        roomy = _with_room(device, program)
        sources = {**files, "main.c": main}
        image = build_firmware(
            toolchain, roomy, sources, Path(folder), optimize=options.level, include_harness=False
        )
        arenas = sum(program.arenas.values())
        asks = (any(e.pulled()) and not e.push for e in program.entries)
        behind = dict(zip(functions, asks, strict=True)) | dict.fromkeys(keeping, True)
        stack = max(stack_bound(image, n, () if asking else None) for n, asking in behind.items())
        refuse_foreign_instructions(image, device)
        static = max(image.ram_static_bytes - arenas, 0)
        code = image.flash_bytes - program.constants()
        sizes = tuple((name, symbol.size) for name, symbol in image.functions.items())
        return Linked(toolchain.version, code, static, stack, sizes), ""


def _with_room(device: Device, program: Program) -> Device:
    """Memories large enough to link anything: what does not fit is reported, not refused."""
    return emulation_device(device.core, beside=used_beside(program, device))


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

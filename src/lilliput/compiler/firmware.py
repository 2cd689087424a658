"""From a compiled network to the files of a whole project.

One idea: a project is the folder that `compile` writes anyway, with more around it: the manifest
says which kind it is, so that `run` and `flash` find what they need.  What a bare-metal image adds
to the network is linked before anything is written, so that what does not fit is never begun.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lilliput.codegen.c import identifier
from lilliput.codegen.harness import harness
from lilliput.compiler.folder import MANIFEST, REPORT, manifest, read
from lilliput.compiler.pipeline import Compiled, Log, Options, quiet
from lilliput.compiler.proof import random_calls
from lilliput.emu.analysis import stack_bound
from lilliput.emu.machine import emulation_device
from lilliput.emu.toolchain import build_firmware, find
from lilliput.errors import DoesNotFit, MissingTool, Problem, UsageError
from lilliput.ir import Session
from lilliput.plan.memories import used_beside
from lilliput.project import (
    Kind,
    Project,
    SelfTest,
    learn_test,
    learner,
    learning_files,
    project,
    self_test_callbacks,
)
from lilliput.report import page

_SAMPLE = 3
"""The first calls are all lowest, all highest, all middle values; this one is random."""


def self_test(compiled: Compiled, seed: int = 0) -> SelfTest:
    """A random input of the first entry, and its output by the meaning in NumPy."""
    entry = compiled.program.entries[0].name
    calls = [c for c in random_calls(compiled.model, _SAMPLE + 1, seed) if c.entry == entry]
    inputs = calls[_SAMPLE].inputs
    outputs = compiled.model.run(inputs, entry).outputs
    found = learner(compiled.program)
    if found is None:
        return SelfTest(inputs, outputs)
    learned = learn_test(Session(compiled.model.module), found, inputs)
    return SelfTest(inputs, outputs, learned)


def project_files(
    compiled: Compiled, kind: Kind, options: Options | None = None, log: Log = quiet
) -> dict[str, str]:
    """Everything that a project of that kind consists of, path -> text.

    Raises UsageError where a bare-metal project cannot be written for the device, and DoesNotFit
    where the network fits and the whole firmware does not.
    """
    test = self_test(compiled)
    made = project(kind, compiled.program, compiled.device, test)
    if kind == "bare-metal":
        _require_fit(compiled, made, test, options or Options(), log)
    described = {
        **manifest(compiled),
        "base": made.base,
        "project": {
            "kind": kind,
            "device": compiled.device.name,
            "pyocd": compiled.device.start.pyocd if compiled.device.start else "",
        },
    }
    main = f"{identifier(compiled.program.name)}.c"
    emitted = {**compiled.files, **learning_files(compiled.program)}
    emitted["harness_model.h"] = harness(compiled.program).header
    emitted[main] = made.head + emitted[main]
    placed = {f"{made.base}/{n}" if made.base else n: text for n, text in emitted.items()}
    shown = {REPORT: page(compiled.summary), MANIFEST: json.dumps(described, indent=1) + "\n"}
    return {**placed, **made.files, **shown}


def _require_fit(
    compiled: Compiled, made: Project, test: SelfTest, options: Options, log: Log
) -> None:
    """Raises DoesNotFit; without a compiler, the code of the firmware is not counted."""
    device, program = compiled.device, compiled.program
    linked = _link(compiled, made, options, log)
    flash = linked.flash if linked else program.constants(device.flash.name) + test.nbytes
    ram = program.arenas.get(device.ram.name, 0) + (linked.ram if linked else 0)
    if linked:
        log(f"the whole firmware: {flash:,} B of flash, {ram:,} B of RAM")
    problems = [
        Problem(
            f"the whole firmware does not fit into {memory.name} by {need - memory.size:,} bytes",
            device.name,
            f"at most {memory.size:,} bytes",
            f"{need:,} bytes, {test.nbytes:,} of them for the built-in test",
            "the network alone fits: leave out --project, or take a larger board "
            "(`lilliput devices`)",
        )
        for memory, need in ((device.flash, flash), (device.ram, ram))
        if need > memory.size
    ]
    if problems:
        raise DoesNotFit(problems)


@dataclass(frozen=True)
class _Linked:
    """flash : bytes in the default flash; ram : in the default RAM, without the arena"""

    flash: int
    ram: int


def _link(compiled: Compiled, made: Project, options: Options, log: Log) -> _Linked | None:
    """The sizes of the whole image, linked where there is room; None without a compiler."""
    if options.compiler == "none":
        return None
    device, program = compiled.device, compiled.program
    try:
        toolchain = find(device.core, options.compiler)
    except MissingTool:
        return None
    log("linking the whole firmware")
    with tempfile.TemporaryDirectory(prefix="lilliput-") as folder:
        image = build_firmware(
            toolchain,
            emulation_device(device.core, beside=used_beside(program, device)),
            {**compiled.files, **made.sources},
            Path(folder),
            optimize=options.level,
            include_harness=False,
        )
        elsewhere = program.constants() - program.constants(device.flash.name)
        stack = stack_bound(image, "main", self_test_callbacks(program) or None)
        static = max(image.ram_static_bytes - sum(program.arenas.values()), 0)
        return _Linked(image.flash_bytes - elsewhere, static + stack)


# Reading back -----------------------------------------------------------------------------


@dataclass(frozen=True)
class FirmwareFolder:
    """A project on disk: `device` is what it was written for, `pyocd` that part's name there."""

    path: Path
    model: str
    core: str
    device: str
    pyocd: str


def read_firmware(folder: str | Path) -> FirmwareFolder:
    """What the manifest of a bare-metal project says.  Raises UsageError for other folders."""
    model = read(folder)
    data = json.loads((Path(folder) / MANIFEST).read_text(encoding="utf-8"))
    about: dict[str, Any] = data.get("project") or {}
    kind = str(about.get("kind", "none"))
    if kind != "bare-metal":
        raise UsageError(
            "not a project that makes an image",
            where=str(folder),
            expected="a folder of `lilliput compile --project bare-metal`",
            found="a library" if kind == "none" else f"a project for {kind}",
        )
    return FirmwareFolder(
        Path(folder), model.model, model.core, str(about["device"]), str(about["pyocd"])
    )

"""The folder that `compile` writes, and running what is in one.

One idea: the manifest says everything that running the folder needs, so that a folder can be
run where neither the model nor its board file is.  Writing is all or nothing.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lilliput.codegen.c import identifier
from lilliput.codegen.harness import harness
from lilliput.compiler.pipeline import Compiled, Log, quiet
from lilliput.devices.device import Memory, cores
from lilliput.emu.machine import Command, emulation_device, run_emulated
from lilliput.emu.toolchain import build_firmware, find
from lilliput.errors import OutputExists, Problem, UsageError
from lilliput.ir.types import Array, DType, TensorType
from lilliput.plan.memories import used_beside
from lilliput.project import learning_files, library_sources
from lilliput.report import Summary, from_json, page

MANIFEST = "manifest.json"
REPORT = "report.html"
FORMAT = "lilliput 1"
_WHOLE = "write the folder again with `lilliput compile`"


def manifest(compiled: Compiled) -> dict[str, object]:
    """What `manifest.json` holds: the summary, and what running the folder needs."""
    marks = harness(compiled.program)
    return {
        "format": FORMAT,
        "core": compiled.device.core.name,
        "summary": compiled.summary.to_json(),
        "sources": sorted([*compiled.files, "harness_model.h"]),
        "defines": list(marks.defines),
        "memories": [
            {"name": m.name, "kind": m.kind, "origin": m.origin, "size": m.size}
            for m in used_beside(compiled.program, compiled.device)
        ],
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
    """Everything that `lilliput compile -o` writes: C, CMake, report, manifest, harness header."""
    prefix = identifier(compiled.program.name)
    sources = " ".join(
        f"${{CMAKE_CURRENT_LIST_DIR}}/{name}" for name in library_sources(compiled.program)
    )
    cmake = (
        f"add_library({prefix} STATIC {sources})\n"
        f"target_include_directories({prefix} PUBLIC ${{CMAKE_CURRENT_LIST_DIR}})\n"
        f"target_compile_features({prefix} PUBLIC c_std_11)\n"
        f"target_compile_options({prefix} PRIVATE -ffp-contract=off)\n"
    )
    return {
        **compiled.files,
        **learning_files(compiled.program),
        "CMakeLists.txt": cmake,
        "harness_model.h": harness(compiled.program).header,
        REPORT: page(compiled.summary),
        MANIFEST: json.dumps(manifest(compiled), indent=1) + "\n",
    }


# Writing ----------------------------------------------------------------------------------


def require_free(folder: Path, *, force: bool) -> None:
    """Raises OutputExists where `folder` is there; with `force`, only where it is not ours."""
    if not (folder.exists() or folder.is_symlink()):
        return
    if not force:
        raise OutputExists(
            "the output folder is there already",
            where=str(folder),
            hint="name another folder, or replace this one with --force",
        )
    if folder.is_symlink() or not (folder / MANIFEST).is_file():
        raise OutputExists(
            "will not replace what Lilliput did not write",
            where=str(folder),
            expected=f"a folder with a {MANIFEST}",
            found="something else",
            hint="name another folder",
        )


def write(
    compiled: Compiled,
    folder: str | Path,
    *,
    force: bool = False,
    files: Mapping[str, str] | None = None,
) -> None:
    """Writes `files` (`output_files` where not given) into `folder`, whole or not at all.

    Files are written into a folder beside it that is then renamed.  `force` replaces a folder
    that Lilliput wrote.  Raises OutputExists.
    """
    target = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow a link
    require_free(target, force=force)
    target.parent.mkdir(parents=True, exist_ok=True)
    mark = secrets.token_hex(4)
    new, old = (target.with_name(f".{target.name}.{mark}.{end}") for end in ("new", "old"))
    try:
        for name, text in (output_files(compiled) if files is None else files).items():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
        require_free(target, force=force)
        if target.exists():
            target.rename(old)
        new.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    finally:
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)


# Running ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Port:
    """An input or output of an entry, as the manifest describes it."""

    name: str
    shape: tuple[int, ...]
    dtype: DType
    scale: float | None
    zero_point: int | None

    def __str__(self) -> str:
        text = f"{self.dtype.value}{list(self.shape)}"
        if self.scale is None:
            return text
        return f"{text}, real = {self.scale:.9g} * (q - {self.zero_point})"

    def reals(self, stored: Array) -> Array:
        """The real numbers that stored integers stand for; floats as they are."""
        if self.scale is None:
            return stored
        return self.scale * (stored.astype(np.float64) - (self.zero_point or 0))


@dataclass(frozen=True)
class Folder:
    """A compiled folder that was read back; `entries` is name -> (inputs, outputs).

    memories : those beside the defaults in which it has something
    """

    model: str
    core: str
    sources: Mapping[str, str]
    defines: tuple[str, ...]
    entries: Mapping[str, tuple[tuple[Port, ...], tuple[Port, ...]]]
    memories: tuple[Memory, ...] = ()


@dataclass(frozen=True, eq=False)
class FolderRun:
    """`outputs` are the stored elements by name; instructions None under QEMU."""

    outputs: Mapping[str, Array]
    ports: Mapping[str, Port]
    core: str
    compiler: str
    instructions: int | None


def read(folder: str | Path) -> Folder:
    """Reads what `write` wrote.  Raises UsageError for a folder that is not whole."""
    path = Path(folder) / MANIFEST
    data = _read_manifest(folder)
    try:
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']!r}")
        names = [str(name) for name in data["sources"]]
        result = Folder(
            str(data["summary"]["model"]),
            str(data["core"]),
            {name: _source(Path(folder) / _base(data), name) for name in names},
            tuple(str(d) for d in data["defines"]),
            {str(e["name"]): (_ports(e["inputs"]), _ports(e["outputs"])) for e in data["entries"]},
            tuple(_memory(row) for row in data.get("memories", ())),
        )
        if result.core not in cores() or not result.entries:
            raise ValueError(f"core {result.core!r} with {len(result.entries)} entries")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, error) from error
    return result


def read_summary(folder: str | Path) -> Summary:
    """The summary of what `write` wrote.  Raises UsageError as `read` does."""
    data = _read_manifest(folder)
    try:
        return from_json(data["summary"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(Path(folder) / MANIFEST, error) from error


def _read_manifest(folder: str | Path) -> Any:
    """The JSON of the manifest, whatever it holds."""
    path = Path(folder) / MANIFEST
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            "not a folder that `lilliput compile` wrote",
            where=str(folder),
            expected=f"a readable {MANIFEST}",
            found=getattr(error, "strerror", None) or str(error),
            hint=_WHOLE,
        ) from error


def _damaged(path: Path, error: Exception) -> UsageError:
    return UsageError(
        "the manifest is damaged",
        where=str(path),
        expected=f"format {FORMAT!r} with summary, core, sources, defines and entries",
        found=f"{type(error).__name__}: {error}",
        hint=_WHOLE,
    )


def _base(data: Mapping[str, Any]) -> str:
    """The folder of the emitted C: projects of other build systems have one."""
    base = str(data.get("base", ""))
    if Path(base).is_absolute() or ".." in Path(base).parts:
        raise ValueError(f"base {base!r} outside the folder")
    return base


def _source(folder: Path, name: str) -> str:
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"source {name!r} outside the folder")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "a file that the manifest lists cannot be read",
            where=str(path),
            found=getattr(error, "strerror", None) or str(error),
            hint=_WHOLE,
        ) from error


def _memory(row: dict[str, Any]) -> Memory:
    kind, origin, size = str(row["kind"]), int(row["origin"]), int(row["size"])
    if kind not in ("ram", "flash") or origin < 0 or size <= 0 or origin + size > 1 << 32:
        raise ValueError(f"memory {row!r}")
    return Memory(str(row["name"]), "ram" if kind == "ram" else "flash", origin, size)


def _ports(rows: list[dict[str, Any]]) -> tuple[Port, ...]:
    return tuple(
        Port(
            str(row["name"]),
            tuple(int(d) for d in row["shape"]),
            DType(row["dtype"]),
            None if row["scale"] is None else float(row["scale"]),
            None if row["zero_point"] is None else int(row["zero_point"]),
        )
        for row in rows
    )


def run(
    folder: str | Path,
    inputs: Mapping[str, Array] | Array,
    *,
    entry: str | None = None,
    compiler: str = "auto",
    emulator: str = "auto",
    log: Log = quiet,
) -> FolderRun:
    """Builds the C in `folder` for its core and runs `entry` once on the emulated core.

    An array alone is the only input.  Raises UsageError (also for inputs of another shape or
    type), MissingTool, BuildError, EmulationError.
    """
    read_folder = read(folder)
    names = list(read_folder.entries)
    entry = entry or names[0]
    if entry not in read_folder.entries:
        raise UsageError("no such entry", expected=" or ".join(names), found=entry)
    takes, gives = read_folder.entries[entry]
    if isinstance(inputs, np.ndarray):
        inputs = {takes[0].name: inputs} if len(takes) == 1 else {"": inputs}
    _check_inputs(takes, inputs)
    core = cores()[read_folder.core]
    toolchain = find(core, compiler)
    room = emulation_device(core, emulator, beside=read_folder.memories)
    data = tuple(np.ascontiguousarray(inputs[port.name]).tobytes() for port in takes)
    commands = [Command("reset"), Command("run", names.index(entry), data)]
    with tempfile.TemporaryDirectory(prefix="lilliput-") as place:
        log(f"building with {toolchain.version}")
        image = build_firmware(
            toolchain, room, read_folder.sources, Path(place), defines=read_folder.defines
        )
        log(f"running on an emulated {core.name}")
        result = run_emulated(image, room, commands, emulator=emulator)[0]
    outputs = {
        port.name: _array(port, raw) for port, raw in zip(gives, result.outputs, strict=True)
    }
    ports = {port.name: port for port in gives}
    return FolderRun(outputs, ports, core.name, toolchain.version, result.instructions)


def _array(port: Port, raw: bytes) -> Array:
    expected = math.prod(port.shape) * port.dtype.itemsize
    if len(raw) != expected:
        raise UsageError(
            "the output has another length than the manifest says",
            where=port.name,
            expected=f"{expected} bytes",
            found=f"{len(raw)} bytes",
            hint=_WHOLE,
        )
    return np.frombuffer(raw, port.dtype.numpy).reshape(port.shape)


def _check_inputs(takes: tuple[Port, ...], inputs: Mapping[str, Array]) -> None:
    if set(inputs) != {port.name for port in takes}:
        raise UsageError(
            "inputs do not match the network's",
            expected=", ".join(port.name for port in takes),
            found=", ".join(name or "one without a name" for name in inputs) or "none",
            hint="give each as --input NAME=FILE.npy",
        )
    problems = [
        Problem(
            "input has another shape or type",
            port.name,
            str(port),
            f"{array.dtype}{list(array.shape)}",
            _conversion(port, array),
        )
        for port in takes
        for array in (inputs[port.name],)
        if tuple(array.shape) != port.shape or array.dtype != port.dtype.numpy
    ]
    if problems:
        raise UsageError(problems)


def _conversion(port: Port, array: Array) -> str:
    if tuple(array.shape) != port.shape:
        return f"reshape it to {port.shape}"
    if port.scale is not None and array.dtype.kind == "f":
        return (
            f"quantise it: np.clip(np.rint(x / {port.scale:.9g}) + {port.zero_point}, "
            f"{port.dtype.bounds[0]}, {port.dtype.bounds[1]}).astype(np.{port.dtype.numpy})"
        )
    return f"convert it: x.astype(np.{port.dtype.numpy})"

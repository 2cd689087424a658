"""What a board is, and how its TOML file is read.

The idea: a board is a value (`Device`) that is checked completely when it is read, so that no
later stage meets a missing memory or an unknown core.  Problems of one file are collected and
reported together.  To add a board, write one file like those under `boards/` into a folder of
your own and name that folder in `LILLIPUT_BOARDS` or pass it as `folders`.

This module is not a description of peripherals: only cores, clocks and memories matter here, and in
`start` what a whole firmware needs to begin and to be heard.
"""

from __future__ import annotations

import difflib
import functools
import itertools
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final, Literal, cast

from lilliput import errors
from lilliput.devices.flash import FLASH_KEYS, FlashTiming, flash_problems, read_flash
from lilliput.devices.start import START_KEYS, Start, read_start, start_problems

Arch = Literal["arm", "riscv"]
Kind = Literal["ram", "flash"]

BOARDS_VARIABLE: Final = "LILLIPUT_BOARDS"
_GENERIC_FLASH: Final = (0x0800_0000, 16 << 20)
_GENERIC_RAM: Final = (0x2000_0000, 16 << 20)
_DEAREST: Final = 1e6


@dataclass(frozen=True)
class QemuMachine:
    """A QEMU machine with this core; regions are (origin, size) in bytes."""

    machine: str
    cpu: str
    flash: tuple[int, int]
    ram: tuple[int, int]
    vectors: tuple[int, int] | None


@dataclass(frozen=True)
class Core:
    """One row of `cores.toml`; the keys are explained there."""

    name: str
    title: str
    arch: Arch
    features: frozenset[str]
    isa_header: str
    abi: str
    cycles: str
    gcc_prefix: str
    gcc_flags: tuple[str, ...]
    clang_flags: tuple[str, ...]
    zig_flags: tuple[str, ...]
    unicorn: str
    qemu: QemuMachine


@dataclass(frozen=True)
class Memory:
    """A contiguous memory.  `direct=False`: kernels cannot read it without a copy.

    timing : None where it is not known how long the core waits for it
    read, write : cycles that a byte costs beyond one of a memory that never waits, on average
    auto : the planner may put something there unasked; the defaults are always used
    """

    name: str
    kind: Kind
    origin: int
    size: int
    direct: bool = True
    default: bool = False
    timing: FlashTiming | None = None
    read: float = 0.0
    write: float = 0.0
    auto: bool = True

    @property
    def cost(self) -> float:
        """Cycles that a byte costs that is written and read."""
        return self.read + self.write

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.origin + self.size


@dataclass(frozen=True)
class Device:
    """A board: a core, its clock, its memories, and where each number was found.

    `limits=False` marks generic boards, whose sizes are room to work in and not a promise.
    `start` is None where no whole firmware can be written for the board.
    """

    name: str
    title: str
    core: Core
    clock_hz: int | None
    memories: tuple[Memory, ...]
    limits: bool
    sources: Mapping[str, str]
    start: Start | None = None

    @property
    def ram(self) -> Memory:
        """The default RAM: arena, static data and stack."""
        return next(m for m in self.memories if m.kind == "ram" and m.default)

    @property
    def flash(self) -> Memory:
        """The default flash: code and constants."""
        return next(m for m in self.memories if m.kind == "flash" and m.default)

    @property
    def ram_bytes(self) -> int:
        """Size of the default RAM."""
        return self.ram.size

    @property
    def flash_bytes(self) -> int:
        """Size of the default flash."""
        return self.flash.size

    def memory(self, name: str) -> Memory:
        """The memory of that name; raises `UsageError` when the board has none."""
        for memory in self.memories:
            if memory.name == name:
                return memory
        raise errors.UsageError(
            f"device has no memory {name!r}",
            where=self.name,
            expected=", ".join(m.name for m in self.memories),
            found=name,
        )


@functools.cache
def cores() -> Mapping[str, Core]:
    """Every core that the package knows, by name."""
    text = (resources.files("lilliput.devices") / "cores.toml").read_text(encoding="utf-8")
    return {
        name: _core(name, cast(dict[str, object], t)) for name, t in tomllib.loads(text).items()
    }


def _core(name: str, table: dict[str, object]) -> Core:
    def region(key: str) -> tuple[int, int]:
        origin, size = cast(list[int], qemu[key])
        return origin, size

    def strings(key: str) -> tuple[str, ...]:
        return tuple(cast(list[str], table[key]))

    qemu = cast(dict[str, object], table["qemu"])
    return Core(
        name=name,
        title=str(table["title"]),
        arch=cast(Arch, table["arch"]),
        features=frozenset(strings("features")),
        isa_header=str(table["isa_header"]),
        abi=str(table["abi"]),
        cycles=str(table["cycles"]),
        gcc_prefix=str(table["gcc_prefix"]),
        gcc_flags=strings("gcc_flags"),
        clang_flags=strings("clang_flags"),
        zig_flags=strings("zig_flags"),
        unicorn=str(table["unicorn"]),
        qemu=QemuMachine(
            str(qemu["machine"]),
            str(qemu["cpu"]),
            region("flash"),
            region("ram"),
            region("vectors") if "vectors" in qemu else None,
        ),
    )


def names(folders: Sequence[Path] = ()) -> list[str]:
    """Names of all boards, sorted: the package's, the generic ones, and those in `folders`."""
    return sorted({*cores(), *_files(folders)})


def load(name_or_path: str | Path, folders: Sequence[Path] = ()) -> Device:
    """The board of that name, or the one described by that TOML file.

    Raises `UnknownDevice` with the nearest names, `UsageError` with everything that is wrong
    with the file.
    """
    text = str(name_or_path)
    if text.endswith(".toml"):
        return _read(Path(text))
    name = text.lower()
    files = _files(folders)
    if name in files:
        return _read(files[name])
    if name in cores():
        return _generic(cores()[name])
    known = names(folders)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    raise errors.UnknownDevice(
        f"there is no device {text!r}",
        expected=" or ".join(near) if near else "one of " + ", ".join(known),
        found=text,
        hint="`lilliput devices` lists all; a path to a .toml file describes a board of your own",
    )


def _files(folders: Sequence[Path]) -> dict[str, Path]:
    """Board name -> file.  Later folders win, so that a user can override a board."""
    packaged = Path(str(resources.files("lilliput.devices") / "boards"))
    variable = os.environ.get(BOARDS_VARIABLE, "")
    own = [Path(part) for part in variable.split(os.pathsep) if part]
    found: dict[str, Path] = {}
    for folder in (packaged, *own, *folders):
        found.update({path.stem.lower(): path for path in sorted(folder.glob("*.toml"))})
    return found


def _generic(core: Core) -> Device:
    """A board with the core's name and room enough that only the core matters."""
    return Device(
        name=core.name,
        title=f"generic {core.title}",
        core=core,
        clock_hz=None,
        memories=(
            Memory("flash", "flash", *_GENERIC_FLASH, default=True),
            Memory("ram", "ram", *_GENERIC_RAM, default=True),
        ),
        limits=False,
        sources={"memories": "no real part: room to work in"},
    )


# Key -> (type, its name in messages, required).
_BOARD_KEYS: Final[Mapping[str, tuple[type, str, bool]]] = {
    "title": (str, "text", True),
    "core": (str, "text", True),
    "clock_hz": (int, "a whole number", True),
    "sources": (dict, "a table", True),
    "memory": (dict, "a table", True),
    "start": (dict, "a table", False),
}
_MEMORY_KEYS: Final[Mapping[str, tuple[type, str, bool]]] = {
    "kind": (str, "text", True),
    "origin": (int, "a whole number", True),
    "size": (int, "a whole number", True),
    "direct": (bool, "true or false", False),
    "default": (bool, "true or false", False),
    "timing": (dict, "a table", False),
    "read": (float, "a number", False),
    "write": (float, "a number", False),
    "auto": (bool, "true or false", False),
}


def _read(path: Path) -> Device:
    try:
        table: dict[str, object] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise errors.UsageError(
            "cannot read the board file", where=str(path), found=error.strerror or str(error)
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise errors.UsageError(
            "the board file is not TOML", where=str(path), found=str(error)
        ) from error
    problems = _problems(path, table)
    if problems:
        raise errors.UsageError(problems)
    memories = cast(dict[str, dict[str, object]], table["memory"])
    start = cast("dict[str, object] | None", table.get("start"))
    return Device(
        name=path.stem.lower(),
        title=cast(str, table["title"]),
        core=cores()[cast(str, table["core"])],
        clock_hz=cast(int, table["clock_hz"]),
        memories=tuple(_memory(name, row) for name, row in memories.items()),
        limits=True,
        sources=cast(dict[str, str], table["sources"]),
        start=None if start is None else read_start(start),
    )


def _memory(name: str, row: Mapping[str, object]) -> Memory:
    timing = cast("dict[str, object] | None", row.get("timing"))
    return Memory(
        name,
        cast(Kind, row["kind"]),
        cast(int, row["origin"]),
        cast(int, row["size"]),
        direct=bool(row.get("direct", True)),
        default=bool(row.get("default", False)),
        timing=None if timing is None else read_flash(timing),
        read=cast(float, row.get("read", 0.0)),
        write=cast(float, row.get("write", 0.0)),
        auto=bool(row.get("auto", True)),
    )


def _problems(path: Path, table: Mapping[str, object]) -> list[errors.Problem]:
    """Everything that is wrong with a board file."""
    found = _wrong_keys(path, "", table, _BOARD_KEYS)
    core = table.get("core")
    if isinstance(core, str) and core not in cores():
        found.append(
            errors.Problem("unknown core", f"{path}: core", "one of " + ", ".join(cores()), core)
        )
    sources = table.get("sources")
    memory = table.get("memory")
    start = table.get("start")
    if isinstance(start, dict):
        found += _wrong_start(path, cast(dict[str, object], start), sources)
    if not isinstance(memory, dict):
        return found
    rows: list[Memory] = []
    for name, row in cast(dict[str, object], memory).items():
        key = f"memory.{name}"
        if not isinstance(row, dict):
            found.append(errors.Problem("bad type", f"{path}: {key}", "a table", repr(row)))
            continue
        fields = cast(dict[str, object], row)
        wrong = _wrong_keys(path, key, fields, _MEMORY_KEYS)
        wrong += _wrong_values(path, key, fields)
        wrong += _wrong_timing(path, key, fields, table.get("sources"))
        found += wrong
        if isinstance(sources, dict) and name not in sources:
            found.append(
                errors.Problem(
                    "missing source", f"{path}: sources.{name}", "a document and section"
                )
            )
        if not wrong:
            rows.append(_memory(name, fields))
    return found + (
        _wrong_map(path, rows) if len(rows) == len(cast(dict[str, object], memory)) else []
    )


def _wrong_start(path: Path, row: Mapping[str, object], sources: object) -> list[errors.Problem]:
    found = _wrong_keys(path, "start", row, START_KEYS)
    if not found:
        found = start_problems(f"{path}: start", row)
    if isinstance(sources, dict) and "start" not in sources:
        where = f"{path}: sources.start"
        found.append(errors.Problem("missing source", where, "a document and section"))
    return found


def _wrong_keys(
    path: Path,
    prefix: str,
    table: Mapping[str, object],
    schema: Mapping[str, tuple[type, str, bool]],
) -> list[errors.Problem]:
    def where(key: str) -> str:
        return f"{path}: {prefix}.{key}" if prefix else f"{path}: {key}"

    found: list[errors.Problem] = []
    for key, value in table.items():
        if key not in schema:
            near = difflib.get_close_matches(key, schema, n=1)
            hint = f"did you mean {near[0]!r}?" if near else ""
            found.append(
                errors.Problem("unknown key", where(key), "one of " + ", ".join(schema), key, hint)
            )
        elif type(value) is not schema[key][0] and (type(value), schema[key][0]) != (int, float):
            found.append(errors.Problem("bad type", where(key), schema[key][1], repr(value)))
    for key, (_, expected, required) in schema.items():
        if required and key not in table:
            found.append(errors.Problem("missing key", where(key), expected, "nothing"))
    return found


def _wrong_values(path: Path, key: str, row: Mapping[str, object]) -> list[errors.Problem]:
    found: list[errors.Problem] = []
    kind, origin, size = row.get("kind"), row.get("origin"), row.get("size")
    if isinstance(kind, str) and kind not in ("ram", "flash"):
        found.append(errors.Problem("bad value", f"{path}: {key}.kind", "ram or flash", kind))
    for name in ("read", "write"):
        cost = row.get(name, 0)
        if isinstance(cost, int | float) and not 0 <= cost <= _DEAREST:
            expected = f"cycles a byte, 0 to {_DEAREST:g}"
            found.append(errors.Problem("bad value", f"{path}: {key}.{name}", expected, repr(cost)))
    if not isinstance(size, int) or not isinstance(origin, int):
        return found
    if size <= 0 or origin < 0 or origin + size > 1 << 32:
        found.append(
            errors.Problem(
                "region outside 32 bits",
                f"{path}: {key}",
                "0 <= origin, 0 < size, origin + size <= 0x100000000",
                f"origin {origin:#x}, size {size:#x}",
            )
        )
    return found


def _wrong_timing(
    path: Path, key: str, row: Mapping[str, object], sources: object
) -> list[errors.Problem]:
    timing = row.get("timing")
    if not isinstance(timing, dict):
        return []
    where, fields = f"{key}.timing", cast(dict[str, object], timing)
    found = _wrong_keys(path, where, fields, FLASH_KEYS)
    if row.get("kind") != "flash":
        found.append(errors.Problem("only a flash waits", f"{path}: {where}", "kind = 'flash'"))
    if not found:
        found = flash_problems(f"{path}: {where}", fields)
    if isinstance(sources, dict) and "timing" not in sources:
        place = f"{path}: sources.timing"
        found.append(errors.Problem("missing source", place, "a document and section"))
    return found


def _wrong_map(path: Path, rows: Sequence[Memory]) -> list[errors.Problem]:
    """Overlaps, and defaults that are not exactly one a kind."""
    found: list[errors.Problem] = []
    ordered = sorted(rows, key=lambda m: m.origin)
    for low, high in itertools.pairwise(ordered):
        if low.end > high.origin:
            found.append(
                errors.Problem(
                    f"memories {low.name} and {high.name} overlap",
                    f"{path}: memory",
                    f"{high.name} at or after {low.end:#010x}",
                    f"{high.origin:#010x}",
                )
            )
    for kind in ("ram", "flash"):
        defaults = [m.name for m in rows if m.kind == kind and m.default]
        if len(defaults) != 1:
            found.append(
                errors.Problem(
                    f"not exactly one default {kind}",
                    f"{path}: memory",
                    f"one {kind} memory with default = true",
                    ", ".join(defaults) or "none",
                )
            )
    return found

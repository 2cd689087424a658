"""What a linked image contains: sections, symbols, sizes, and the source line of an address.

The idea: the ELF file is read once into a frozen `Image` of plain numbers; line tables are only
opened when somebody asks where an address is.  It does not look at instructions.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from elftools.elf.elffile import ELFFile

from lilliput import errors
from lilliput.devices import Device

_ALLOC: Final = 0x2
_EXEC: Final = 0x4


@dataclass(frozen=True)
class Symbol:
    """A function or object; the address of a Thumb function has bit 0 cleared."""

    address: int
    size: int


@dataclass(frozen=True)
class Code:
    """Bytes of one executable section, and where data lies between its instructions."""

    address: int
    data: bytes


@dataclass(frozen=True)
class Image:
    """A linked firmware image; all sizes in bytes.

    `flash_bytes` counts everything stored in flash (code, constants, initial data);
    `ram_static_bytes` everything in RAM but the stack.
    """

    elf: Path
    sections: Mapping[str, int]
    symbols: Mapping[str, Symbol]
    functions: Mapping[str, Symbol]
    text_bytes: int
    rodata_bytes: int
    data_bytes: int
    bss_bytes: int
    flash_bytes: int
    ram_static_bytes: int
    entry: int
    core: str

    def function_at(self, address: int) -> str:
        """Name of the function that holds `address`; "" when none does."""
        starts, names = _starts(self.elf)
        index = bisect.bisect_right(starts, address) - 1
        if index < 0:
            return ""
        name = names[index]
        symbol = self.functions[name]
        return name if address < symbol.address + max(symbol.size, 1) else ""

    def locate(self, pc: int) -> str:
        """`function (file:line)`; the function alone without line tables."""
        function = self.function_at(pc & ~1) or f"{pc:#010x}"
        line = _line(self.elf, pc & ~1)
        return f"{function} ({line})" if line else function

    def line(self, pc: int) -> tuple[str, int] | None:
        """(file, line) of an address; None without line tables."""
        file, _, line = _line(self.elf, pc & ~1).rpartition(":")
        return (file, int(line)) if file else None


def read_image(path: Path, device: Device) -> Image:
    """Reads a linked ELF file.  Raises `BuildError` when it is not one."""
    try:
        with path.open("rb") as file:
            return _read(path, ELFFile(file), device)
    except (OSError, ValueError) as error:
        raise errors.BuildError("not a readable ELF file", where=str(path)) from error


def _read(path: Path, elf: Any, device: Device) -> Image:
    sections: dict[str, int] = {}
    flash = ram = 0
    flash_kinds = [m for m in device.memories if m.kind == "flash"]
    for section in elf.iter_sections():
        size, address = int(section["sh_size"]), int(section["sh_addr"])
        if not int(section["sh_flags"]) & _ALLOC or not size:
            continue
        sections[str(section.name)] = size
        in_flash = any(m.origin <= address < m.end for m in flash_kinds)
        stored = section["sh_type"] != "SHT_NOBITS" and not section.name.startswith(".ll_arena_")
        flash += size if in_flash or stored else 0
        ram += 0 if in_flash else size
    symbols, functions = _symbols(elf)
    consts = [n for n in sections if n == ".rodata" or n.startswith(".ll_const_")]
    arenas = [n for n in sections if n == ".bss" or n.startswith(".ll_arena_")]
    return Image(
        elf=path,
        sections=sections,
        symbols=symbols,
        functions=functions,
        text_bytes=sections.get(".text", 0) + sections.get(".vectors", 0),
        rodata_bytes=sum(sections[n] for n in consts),
        data_bytes=sections.get(".data", 0),
        bss_bytes=sum(sections[n] for n in arenas),
        flash_bytes=flash,
        ram_static_bytes=ram,
        entry=int(elf.header["e_entry"]),
        core=device.core.name,
    )


def _symbols(elf: Any) -> tuple[dict[str, Symbol], dict[str, Symbol]]:
    """All named symbols, and the functions; a static name that occurs twice gets a suffix."""
    symbols: dict[str, Symbol] = {}
    functions: dict[str, Symbol] = {}
    table = elf.get_section_by_name(".symtab")
    for symbol in table.iter_symbols() if table else ():
        name, kind = str(symbol.name), symbol["st_info"]["type"]
        if not name or name.startswith("$") or kind in ("STT_SECTION", "STT_FILE"):
            continue
        if symbol["st_shndx"] == "SHN_UNDEF":
            continue
        is_function = kind == "STT_FUNC"
        address = int(symbol["st_value"])
        address &= ~1 if is_function and elf.header["e_machine"] == "EM_ARM" else ~0
        value = Symbol(address, int(symbol["st_size"]))
        if name in symbols and symbols[name].address != address:
            name = f"{name}@{address:#x}"
        symbols[name] = value
        if is_function:
            functions[name] = value
    return symbols, functions


@functools.lru_cache(maxsize=64)
def _starts_of(path: Path, stamp: int) -> tuple[list[int], list[str]]:
    del stamp
    with path.open("rb") as file:
        _, functions = _symbols(ELFFile(file))
    rows = sorted((s.address, name) for name, s in functions.items())
    return [a for a, _ in rows], [n for _, n in rows]


def _starts(path: Path) -> tuple[list[int], list[str]]:
    """Sorted function addresses and their names; read again when the file has changed."""
    return _starts_of(path, path.stat().st_mtime_ns)


def code_sections(path: Path) -> list[Code]:
    """The executable sections of an ELF file."""
    with path.open("rb") as file:
        return [
            Code(int(s["sh_addr"]), bytes(s.data()))
            for s in cast(Iterator[Any], ELFFile(file).iter_sections())
            if int(s["sh_flags"]) & _EXEC and s["sh_type"] == "SHT_PROGBITS" and s["sh_size"]
        ]


def mapping_symbols(path: Path) -> list[tuple[int, str]]:
    """(address, "t" code | "d" data), sorted: where literal pools begin and end."""
    marks: list[tuple[int, str]] = []
    with path.open("rb") as file:
        table: Any = ELFFile(file).get_section_by_name(".symtab")
        for symbol in table.iter_symbols() if table else ():
            head = str(symbol.name)[:2]
            if head in ("$t", "$d", "$a", "$x"):
                marks.append((int(symbol["st_value"]) & ~1, "d" if head == "$d" else "t"))
    return sorted(marks)


def load_segments(path: Path) -> list[tuple[int, bytes]]:
    """(physical address, bytes) of everything that a loader writes."""
    with path.open("rb") as file:
        return [
            (int(s["p_paddr"]), bytes(s.data()))
            for s in cast(Iterator[Any], ELFFile(file).iter_segments())
            if s["p_type"] == "PT_LOAD" and int(s["p_filesz"])
        ]


@functools.lru_cache(maxsize=8)
def _lines_of(path: Path, stamp: int) -> tuple[list[int], list[str]]:
    """Addresses at which a line's code begins, sorted, and `file:line` ("" for the end of one)."""
    del stamp
    rows: list[tuple[int, bool, str]] = []
    with path.open("rb") as file:
        elf: Any = ELFFile(file)
        units = elf.get_dwarf_info().iter_CUs() if elf.has_dwarf_info() else ()
        for unit in units:
            program = unit.dwarfinfo.line_program_for_CU(unit)
            for entry in program.get_entries() if program is not None else ():
                state = entry.state
                if state is not None:
                    ends = bool(state.end_sequence)
                    place = "" if ends else f"{_file_name(program, state.file)}:{state.line}"
                    rows.append((int(state.address), not ends, place))
    rows.sort(key=lambda row: row[:2])
    return [address for address, _, _ in rows], [place for _, _, place in rows]


def _line(path: Path, pc: int) -> str:
    """`file:line` of an address from the DWARF line tables; "" when there are none."""
    addresses, places = _lines_of(path, path.stat().st_mtime_ns)
    index = bisect.bisect_right(addresses, pc) - 1
    return places[index] if index >= 0 else ""


def _file_name(program: Any, index: int) -> str:
    files = program["file_entry"]
    entry = files[index if program["version"] >= 5 else index - 1]
    return bytes(entry.name).decode("utf-8", "replace")

"""Static statements about an image: how deep its stack gets, and whether the core can run it.

The idea: follow the depth of the stack along the control flow of each function, then take the
longest path through the call graph.  What cannot be known (recursion, a call through a pointer,
a frame of unknown size) is an `AnalysisError` that names the function, never a guess.  Nothing
is run here, and nothing is known about which instructions are fast.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lilliput import errors
from lilliput.devices import Core, cores
from lilliput.emu.elf import Image, code_sections, mapping_symbols
from lilliput.emu.instructions import Flow, Instruction, decoder, flow_of

_THUMB1_CASE: Final = "__gnu_thumb1_case_"
_MAX_STACK: Final = 1 << 24


@dataclass(frozen=True)
class Violation:
    """An instruction that the core does not have."""

    function: str
    address: int
    mnemonic: str


@dataclass(frozen=True)
class InstructionCheck:
    """`checked=False`: the core's instruction set cannot be decoded, for the stated reason."""

    checked: bool
    reason: str
    violations: tuple[Violation, ...]


def check_instructions(image: Image, core: Core) -> InstructionCheck:
    """Every instruction of the image that does not exist on `core`; emulators do not tell."""
    if "mve" in core.features:
        return InstructionCheck(False, "the disassembler does not know Helium", ())
    foreign = _foreign_riscv if core.arch == "riscv" else _FOREIGN_ARM[_family(core)]
    found = [
        Violation(image.function_at(i.address), i.address, i.mnemonic)
        for i in _code(image, core)
        if i.mnemonic == ".undefined" or foreign(i)
    ]
    return InstructionCheck(True, "", tuple(found))


def _family(core: Core) -> str:
    if "div" not in core.features:
        return "v6m"
    if "dsp" not in core.features:
        return "v7m"
    return "v7em" if core.name == "cortex-m4" else "v8m"


_CONDITION: Final = r"(eq|ne|hs|cs|lo|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?(\.w)?"
_DSP: Final = re.compile(
    r"((s|u|q|sh|uh|uq)(add8|add16|sub8|sub16|asx|sax)|qadd|qsub|qdadd|qdsub"
    r"|smul(bb|bt|tb|tt|wb|wt)|smla(bb|bt|tb|tt|wb|wt)|smlal(bb|bt|tb|tt|dx?)|smlsldx?"
    r"|sml[as]dx?|smu[as]dx?|smmulr?|smmlar?|smmlsr?|umaal|pkhbt|pkhtb|sel|usada?8|[su]sat16"
    r"|[su]xtb16|[su]xtab16|[su]xta[bh])" + _CONDITION
)
_FPV5: Final = re.compile(r"v(rint|sel|maxnm|minnm|cvt[ampn]\.).*")
_V6M_WIDE: Final = frozenset({"bl", "mrs", "msr", "dsb", "dmb", "isb", "udf.w"})


def _foreign_v6m(i: Instruction) -> bool:
    wide = i.size == 4 and i.mnemonic not in _V6M_WIDE
    return wide or i.mnemonic in ("cbz", "cbnz") or bool(re.fullmatch(r"it[te]*", i.mnemonic))


def _foreign_v7m(i: Instruction) -> bool:
    return i.mnemonic.startswith("v") or bool(_DSP.fullmatch(i.mnemonic))


def _foreign_v7em(i: Instruction) -> bool:
    return ".f64" in i.mnemonic or bool(_FPV5.fullmatch(i.mnemonic))


def _foreign_v8m(i: Instruction) -> bool:
    return ".f64" in i.mnemonic


_FOREIGN_ARM: Final = {
    "v6m": _foreign_v6m,
    "v7m": _foreign_v7m,
    "v7em": _foreign_v7em,
    "v8m": _foreign_v8m,
}


def _foreign_riscv(i: Instruction) -> bool:
    name = i.mnemonic.removeprefix("c.")
    return name.startswith(("amo", "lr.", "sc.")) or (
        name.startswith("f") and not name.startswith("fence")
    )


def _code(image: Image, core: Core) -> list[Instruction]:
    """All instructions of the image in order; literal pools and jump tables are left out."""
    decode = decoder(core)
    marks = mapping_symbols(image.elf)
    found: list[Instruction] = []
    for code in code_sections(image.elf):
        end = code.address + len(code.data)
        inside = [(a, kind) for a, kind in marks if code.address <= a < end]
        if not inside or inside[0][0] > code.address:
            inside.insert(0, (code.address, "t"))
        for (start, kind), (stop, _) in zip(inside, [*inside[1:], (end, "")], strict=True):
            if kind == "t" and stop > start:
                piece = code.data[start - code.address : stop - code.address]
                found += decode(piece, start)
    return [i for i in found if not _is_padding(i)]


def _is_padding(i: Instruction) -> bool:
    """Zeros between functions: the linker's alignment of RISC-V code, which is never reached."""
    return i.mnemonic == ".undefined" and not i.operands.strip("0")


@dataclass(frozen=True)
class _Function:
    """Deepest own stack use, and (callee address, depth at the call)."""

    name: str
    depth: int
    calls: tuple[tuple[int, int], ...]


def stack_bound(image: Image, root_symbol: str, behind: Sequence[str] | None = None) -> int:
    """Bytes of stack that a call of `root_symbol` can use at most, its own frame included.

    behind : the functions that a call through a pointer may reach.  With none of them, what such
        a call reaches is not counted; with None, there must be no such call.
    Raises `AnalysisError` for recursion, a call through a pointer, or a frame of unknown size.
    """
    for name in (root_symbol, *(behind or ())):
        if name not in image.functions:
            raise errors.AnalysisError("no such function in the image", where=name)
    walker = _Walker(image, cores()[image.core], behind)
    return walker.bound(image.functions[root_symbol].address, ())


class _Walker:
    """Longest path through the call graph of one image; functions are read on first use."""

    def __init__(self, image: Image, core: Core, behind: Sequence[str] | None) -> None:
        self._image = image
        self._behind = behind
        self._core = core
        self._instructions = {i.address: i for i in _code(image, core)}
        self._words = code_sections(image.elf)
        self._bounds: dict[int, int] = {}
        starts = sorted({s.address for s in image.functions.values()})
        self._ends = dict(zip(starts, [*starts[1:], 1 << 32], strict=True))
        self._names: dict[int, str] = {s.address: n for n, s in image.functions.items()}

    def bound(self, address: int, path: tuple[str, ...]) -> int:
        """Bytes that a call of the function at `address` uses at most."""
        if address in self._bounds:
            return self._bounds[address]
        name = self._names[address]
        if name in path:
            raise errors.AnalysisError(
                "recursion: the stack has no bound", where=" -> ".join((*path, name))
            )
        function = self._function(address, name)
        deepest = function.depth
        for callee, depth in function.calls:
            deepest = max(deepest, depth + self.bound(self._start(callee, name), (*path, name)))
        self._bounds[address] = deepest
        return deepest

    def _start(self, address: int, caller: str) -> int:
        """Start of the function that holds `address`: library code also jumps into middles."""
        name = self._image.function_at(address)
        starts = [a for a in self._ends if a <= address < self._ends[a]]
        if not starts:
            raise errors.AnalysisError(
                "a call leaves the known functions", where=caller, found=f"{address:#010x} {name}"
            )
        return starts[0]

    def _function(self, address: int, name: str) -> _Function:
        size = self._image.functions[name].size
        end = address + size if size else self._ends[address]
        body = [
            self._instructions[a]
            for a in range(address, min(end, address + (1 << 20)), 2)
            if a in self._instructions
        ]
        flows = flow_of(self._core.arch, body, self._literal, name)
        for at, flow in flows.items():
            # GCC's switches for Armv6-M call a helper that returns into one of the cases.
            if flow.call is not None and self._names.get(flow.call, "").startswith(_THUMB1_CASE):
                flows[at] = Flow(call=flow.call, table=True)
            # On Armv6-M `bl` reaches farther than `b`: within a function it is a branch.
            elif flow.call is not None and address < flow.call < end:
                flows[at] = Flow(target=flow.call)
        depths = _depths(name, body, flows)
        calls: list[tuple[int, int]] = []
        for instruction in body:
            flow, depth = flows[instruction.address], depths.get(instruction.address)
            if depth is None:
                continue
            if flow.unknown_call and self._behind is not None:
                calls += [(self._image.functions[n].address, depth) for n in self._behind]
            elif flow.unknown_call:
                raise errors.AnalysisError(
                    "a call through a pointer: the stack has no bound",
                    where=self._image.locate(instruction.address),
                    found=f"{instruction.mnemonic} {instruction.operands}",
                )
            if flow.call is not None:
                calls.append((flow.call, depth))
            elif flow.target is not None and not address <= flow.target < end:
                calls.append((flow.target, depth))
        deepest = max(
            (d + flows[a].push for a, d in depths.items()),
            default=0,
        )
        return _Function(name, deepest, tuple(calls))

    def _literal(self, address: int) -> int | None:
        """The word at an address in code: what a literal load gets."""
        for code in self._words:
            at = address - code.address
            if 0 <= at <= len(code.data) - 4:
                return int.from_bytes(code.data[at : at + 4], "little")
        return None


def _depths(name: str, body: Sequence[Instruction], flows: Mapping[int, Flow]) -> dict[int, int]:
    """Address -> deepest stack before that instruction, along every path from the first one.

    The targets of a jump table are not read: what nothing else reaches gets the table's depth.
    """
    depths: dict[int, int] = {}
    work: list[tuple[int, int]] = [(body[0].address, 0)] if body else []
    tables: list[int] = []
    while work or tables:
        if not work:
            deepest = max(tables)
            missing = next((i.address for i in body if i.address not in depths), None)
            if missing is None:
                break
            work.append((missing, deepest))
        address, depth = work.pop()
        if address not in flows or depths.get(address, -1) >= depth:
            continue
        if depth > _MAX_STACK:
            raise errors.AnalysisError("the stack grows in a loop", where=name)
        depths[address] = depth
        flow = flows[address]
        after = max(depth + flow.push, 0)
        if flow.table:
            tables.append(after)
        work += [(a, after) for a in (flow.target, flow.next) if a is not None]
    return depths

"""Exact instruction counts and estimated cycles from counted blocks.

The idea: the emulator says how often each block ran and which block came next; everything else is
static, decoded once for each block.  Instructions are exact.  Cycles come from the tables in
`cycles.toml`, each with its source and what is known of its error.  No time in seconds here.
"""

from __future__ import annotations

import functools
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

from lilliput.devices import Core
from lilliput.emu.elf import Image, code_sections
from lilliput.emu.instructions import Instruction, decoder

_NOTES: Final = frozenset({"name", "source", "error"})
_FP_DIVIDES: Final = ("vdiv", "vsqrt")


@dataclass(frozen=True)
class CycleModel:
    """A table of cycles by class of instruction, its source, and what is known of its error."""

    name: str
    source: str
    error_note: str
    cycles: Mapping[str, float]

    def cost(self, kind: str) -> float:
        """Cycles of a class; a class that the table lacks costs what `alu` does."""
        return self.cycles.get(kind, self.cycles["alu"])


@dataclass(frozen=True)
class Profile:
    """Counts of one run; the steps' sums leave out what follows the last step."""

    instructions: int
    step_instructions: Mapping[int, int]
    step_cycles: Mapping[int, float]


@functools.cache
def cycle_model(core: Core) -> CycleModel | None:
    """The core's model; None for a core without a table."""
    text = (resources.files("lilliput.emu") / "cycles.toml").read_text(encoding="utf-8")
    table: dict[str, str | int] | None = tomllib.loads(text).get(core.cycles)
    if table is None:
        return None
    numbers = {k: float(v) for k, v in table.items() if k not in _NOTES}
    return CycleModel(str(table["name"]), str(table["source"]), str(table["error"]), numbers)


def classify(instruction: Instruction, arch: str) -> str:
    """The class of an instruction in the cycle tables."""
    name = instruction.mnemonic.removesuffix(".w").removesuffix(".n")
    kinds = _classify_arm if arch == "arm" else _classify_riscv
    return kinds(name, instruction)


def _classify_arm(name: str, instruction: Instruction) -> str:
    if instruction.is_branch:
        if name in ("bl", "blx"):
            return "call"
        loads_pc = name.startswith(("pop", "ldm"))
        return "return" if loads_pc or name == "bx" else "branch"
    if name.startswith(("ldm", "stm", "push", "pop", "vldm", "vstm", "vpush", "vpop")):
        return "multiple"
    if name.startswith(("ldrd", "strd")):
        return "multiple"
    if name.startswith(("ldr", "vldr")):
        return "load"
    if name.startswith(("str", "vstr")):
        return "store"
    if name.startswith(("sdiv", "udiv")):
        return "div"
    if name.startswith(("smull", "umull", "smlal", "umlal", "umaal")):
        return "mull"
    if name.startswith(("mla", "mls")):
        return "mla"
    if name.startswith(_FP_DIVIDES):
        return "fp_div"
    if name.startswith(("vmla", "vmls", "vfma", "vfms", "vnmla", "vnmls", "vfnma", "vfnms")):
        return "fp_mla"
    return "fp" if name.startswith("v") else "mul" if name.startswith("mul") else "alu"


_RISCV_CLASSES: Final[Mapping[str, str]] = {
    **dict.fromkeys(["lb", "lbu", "lh", "lhu", "lw", "c.lw", "c.lwsp"], "load"),
    **dict.fromkeys(["sb", "sh", "sw", "c.sw", "c.swsp"], "store"),
    **dict.fromkeys(["mul", "mulh", "mulhu", "mulhsu"], "mul"),
    **dict.fromkeys(["div", "divu", "rem", "remu"], "div"),
    **dict.fromkeys(["jal", "c.jal", "jalr", "c.jalr"], "call"),
    **dict.fromkeys(["ret", "c.jr"], "return"),
}


def _classify_riscv(name: str, instruction: Instruction) -> str:
    return _RISCV_CLASSES.get(name) or ("branch" if instruction.is_branch else "alu")


@dataclass(frozen=True)
class _Block:
    """What a block costs: its instructions, its cycles, and what a taken branch at its end adds."""

    instructions: int
    cycles: float
    taken_extra: float


class _Costs:
    """Static costs of the image's blocks, decoded once each."""

    def __init__(self, image: Image, core: Core) -> None:
        self._decode = decoder(core)
        self._code = code_sections(image.elf)
        self._arch = core.arch
        self._model = cycle_model(core)
        self.estimates = self._model is not None
        self._known: dict[tuple[int, int], _Block] = {}
        self.extra_at_end: dict[int, float] = {}

    def block(self, address: int, size: int) -> _Block:
        key = (address, size)
        if key not in self._known:
            found = self._cost(self._decode(self._bytes(address, size), address))
            self._known[key] = found
            self.extra_at_end[address + size] = found.taken_extra
        return self._known[key]

    def _bytes(self, address: int, size: int) -> bytes:
        for code in self._code:
            if code.address <= address < code.address + len(code.data):
                return code.data[address - code.address : address - code.address + size]
        return b""

    def _cost(self, instructions: Sequence[Instruction]) -> _Block:
        model = self._model
        if model is None:
            return _Block(len(instructions), 0.0, 0.0)
        cycles = extra = 0.0
        before = ""
        for instruction in instructions:
            kind = classify(instruction, self._arch)
            extra = 0.0
            if kind == "multiple":
                cycles += model.cost("multiple_base")
                cycles += model.cost("multiple_each") * instruction.registers
            elif kind == "return":
                cycles += 1.0 + model.cost("multiple_each") * max(instruction.registers - 1, 0)
                extra = model.cost("return_extra")
            elif kind == "branch":
                cycles += model.cost("branch_not_taken")
                extra = model.cost("branch_taken") - model.cost("branch_not_taken")
            elif kind == "load":
                pipelined = before in ("load", "store")
                cycles += model.cost("load_pipelined" if pipelined else "load")
            else:
                cycles += model.cost(kind)
            before = kind
        return _Block(len(instructions), cycles, extra)


def step_profiles(
    image: Image,
    core: Core,
    runs: Sequence[Sequence[tuple[int, Sequence[Sequence[int]]]] | None],
) -> list[Profile | None]:
    """Profiles of counted runs (None stays None); the rows are those of `unicorn_worker`."""
    if all(run is None for run in runs):
        return [None for _ in runs]
    costs = _Costs(image, core)
    return [None if run is None else _profile(costs, run) for run in runs]


def _profile(costs: _Costs, run: Sequence[tuple[int, Sequence[Sequence[int]]]]) -> Profile:
    total = 0
    instructions: dict[int, int] = defaultdict(int)
    cycles: dict[int, float] = defaultdict(float)
    for step, rows in run:
        for _, address, size, times in rows:
            block = costs.block(address, size)
            total += block.instructions * times
            instructions[step] += block.instructions * times
            cycles[step] += block.cycles * times
        for before, address, _, times in rows:
            if before != address:
                cycles[step] += costs.extra_at_end.get(before, 0.0) * times
    instructions.pop(-1, None)
    cycles.pop(-1, None)
    return Profile(total, dict(instructions), dict(cycles) if costs.estimates else {})

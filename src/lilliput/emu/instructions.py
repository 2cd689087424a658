"""Statements about an image's code: how deep its stack gets, and whether the core can run it.

The idea: disassemble only what mapping symbols call code, split it by function, and read frames
and calls off the instructions.  What cannot be known statically (recursion, an indirect call) is
an error and never a guess.  It runs nothing.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import capstone

from lilliput import errors
from lilliput.devices import Core
from lilliput.emu.elf import Image, code_sections, mapping_symbols

Decode = Callable[[bytes, int], list["Instruction"]]


@dataclass(frozen=True)
class Instruction:
    """One decoded instruction.

    `registers` is the length of a register list (1 for others); `target` the destination of a
    direct branch or call, else None.
    """

    address: int
    size: int
    mnemonic: str
    operands: str
    is_branch: bool
    registers: int
    target: int | None


@functools.cache
def decoder(core: Core) -> Decode:
    """Decodes bytes at an address for `core`; undecodable bytes become `.undefined`."""
    if core.arch == "arm":
        mode = capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS
        mode |= capstone.CS_MODE_V8 if core.name in ("cortex-m33", "cortex-m55") else 0
        engine: Any = capstone.Cs(capstone.CS_ARCH_ARM, mode)
    else:
        mode = capstone.CS_MODE_RISCV32 | capstone.CS_MODE_RISCVC
        engine = capstone.Cs(capstone.CS_ARCH_RISCV, mode)

    def decode(data: bytes, address: int) -> list[Instruction]:
        found: list[Instruction] = []
        at = 0
        while at < len(data):
            for address_, size, mnemonic, operands in engine.disasm_lite(data[at:], address + at):
                found.append(_instruction(core.arch, address_, size, mnemonic, operands))
                at = address_ + size - address
            if at < len(data):
                size = _size(core.arch, data[at : at + 2])
                found.append(
                    Instruction(address + at, size, ".undefined", data[at : at + size].hex(), False, 1, None)
                )
                at += size
        return found

    return decode


def _size(arch: str, head: bytes) -> int:
    """Length in bytes of the instruction that begins with `head`."""
    half = int.from_bytes(head, "little")
    wide = half >> 11 >= 0x1D if arch == "arm" else half & 3 == 3
    return 4 if wide else 2


_ARM_BRANCH: Final = re.compile(r"(b|bl|blx|bx|cbz|cbnz|tbb|tbh|b(eq|ne|hs|cs|lo|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le|al))(\.w|\.n)?|bx\w\w|bxns|blxns")
_RISCV_BRANCH: Final = frozenset(
    "jal c.jal jalr c.jalr ret c.jr jr j c.j beq bne blt bge bltu bgeu beqz bnez c.beqz c.bnez "
    "blez bgez bltz bgtz bgt ble bgtu bleu".split()
)


def _instruction(
    arch: str, address: int, size: int, mnemonic: str, operands: str
) -> Instruction:
    if arch == "arm":
        loads_pc = bool(re.search(r"\bpc\}", operands)) or (
            mnemonic.startswith(("ldr", "mov")) and operands.startswith("pc,")
        )
        branch = bool(_ARM_BRANCH.fullmatch(mnemonic)) or loads_pc
        direct = branch and not loads_pc and "#" in operands
        target = int(operands.rsplit("#", 1)[1], 0) if direct else None
        return Instruction(
            address, size, mnemonic, operands, branch, _list_length(operands), target
        )
    branch = mnemonic in _RISCV_BRANCH
    last = operands.rsplit(",", 1)[-1].strip()
    numeric = bool(re.fullmatch(r"-?(0x[0-9a-f]+|\d+)", last))
    indirect = mnemonic in ("jalr", "c.jalr", "ret", "c.jr", "jr")
    target = address + int(last, 0) if branch and numeric and not indirect else None
    return Instruction(address, size, mnemonic, operands, branch, 1, target)


def _list_length(operands: str) -> int:
    """Registers in `{r4, r5, lr}` or `{s16-s31}`; 2 for the pair of ldrd, 1 without a list."""
    found = re.search(r"\{(.*)\}", operands)
    if not found:
        return 1
    count = 0
    for part in found.group(1).split(","):
        ends = re.findall(r"[a-z]+(\d+)", part)
        count += int(ends[1]) - int(ends[0]) + 1 if "-" in part and len(ends) == 2 else 1
    return count

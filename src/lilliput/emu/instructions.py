"""Decoded instructions, and what each does to control flow and to the stack pointer.

The idea: the disassembler's text is read here and nowhere else; what leaves this module are
numbers.  It knows one function at a time and no image.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import capstone

from lilliput import errors
from lilliput.devices import Core

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
                    Instruction(
                        address + at, size, ".undefined", data[at : at + size].hex(), False, 1, None
                    )
                )
                at += size
        return found

    return decode


def _size(arch: str, head: bytes) -> int:
    """Length in bytes of the instruction that begins with `head`."""
    half = int.from_bytes(head, "little")
    wide = half >> 11 >= 0x1D if arch == "arm" else half & 3 == 3
    return 4 if wide else 2


_ARM_BRANCH: Final = re.compile(
    r"(b|bl|blx|bx|cbz|cbnz|tbb|tbh|b(eq|ne|hs|cs|lo|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le|al))(\.w|\.n)?|bx\w\w|bxns|blxns"
)
_RISCV_BRANCH: Final = frozenset(
    [
        "jal",
        "c.jal",
        "jalr",
        "c.jalr",
        "ret",
        "c.jr",
        "jr",
        "j",
        "c.j",
        "beq",
        "bne",
        "blt",
        "bge",
        "bltu",
        "bgeu",
        "beqz",
        "bnez",
        "c.beqz",
        "c.bnez",
        "blez",
        "bgez",
        "bltz",
        "bgtz",
        "bgt",
        "ble",
        "bgtu",
        "bleu",
    ]
)


def _instruction(arch: str, address: int, size: int, mnemonic: str, operands: str) -> Instruction:
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


@dataclass(frozen=True)
class Flow:
    """What one instruction does.

    `push`: bytes by which the stack grows (negative: shrinks).  `next`: the following
    instruction, None when control never gets there.  `target`: of a branch, `call`: of a call.
    `table`: jumps through a table; `unknown_call`: calls through a register.
    """

    push: int = 0
    next: int | None = None
    target: int | None = None
    call: int | None = None
    table: bool = False
    unknown_call: bool = False


Literal32 = Callable[[int], int | None]


def flow_of(
    arch: str, body: Sequence[Instruction], literal: Literal32, name: str
) -> dict[int, Flow]:
    """Address -> flow for the instructions of function `name`, in order.

    Raises `AnalysisError` where the stack pointer moves by an amount that is not a constant.
    """
    constants: dict[str, int] = {}
    flows: dict[int, Flow] = {}
    for index, instruction in enumerate(body):
        if arch == "arm":
            flow = _arm_flow(instruction, constants, name)
            _arm_constant(instruction, constants, literal)
        else:
            flow = _riscv_flow(instruction, constants, body[max(index - 8, 0) : index], name)
            _riscv_constant(instruction, constants)
        flows[instruction.address] = flow
    return flows


def _unknown_frame(i: Instruction, name: str) -> errors.AnalysisError:
    return errors.AnalysisError(
        "a stack frame of unknown size", where=name, found=f"{i.mnemonic} {i.operands}"
    )


def _arm_push(i: Instruction, constants: Mapping[str, int], name: str) -> int:
    """Bytes by which an Arm instruction grows the stack."""
    mnemonic = i.mnemonic.removesuffix(".w").removesuffix(".n")
    operands = [part.strip() for part in i.operands.split(",")]
    if mnemonic.startswith(("push", "pop", "vpush", "vpop")):
        each = 8 if "{d" in i.operands else 4
        return each * i.registers * (1 if "push" in mnemonic else -1)
    if mnemonic.startswith(("vldm", "vstm", "ldm", "stm")) and operands[0] == "sp!":
        each = 8 if "{d" in i.operands else 4
        return each * i.registers * (1 if mnemonic.startswith(("stm", "vstm")) else -1)
    if mnemonic.startswith("mov") and operands[0] == "sp" and operands[-1] != "r7":
        raise _unknown_frame(i, name)
    moved = re.search(r"\[sp, #(-?\w+)\]!|\[sp\], #(-?\w+)", i.operands)
    if moved:
        return -int(moved.group(1) or moved.group(2), 0)
    if operands[0] == "sp" and re.match(r"(add|sub)", mnemonic):
        sign = 1 if mnemonic.startswith("sub") else -1
        if len(operands) == 3 and operands[1] != "sp":
            return 0
        last = operands[-1]
        if last.startswith("#"):
            return sign * int(last[1:], 0)
        if last in constants:
            return sign * constants[last]
        raise _unknown_frame(i, name)
    return 0


_ARM_ALWAYS: Final = frozenset(
    ["b", "bx", "pop", "ldm", "tbb", "tbh", "ldr", "mov", "add", "bxns", "udf"]
)


def _arm_flow(i: Instruction, constants: Mapping[str, int], name: str) -> Flow:
    following = i.address + i.size
    mnemonic = i.mnemonic.removesuffix(".w").removesuffix(".n")
    if i.mnemonic.startswith("udf"):
        return Flow()
    if not i.is_branch:
        return Flow(_arm_push(i, constants, name), following)
    if mnemonic in ("bl", "blx"):
        return Flow(next=following, call=i.target, unknown_call=i.target is None)
    onward = None if mnemonic in _ARM_ALWAYS else following
    if mnemonic in ("tbb", "tbh", "mov", "add") or "[pc" in i.operands:
        back = i.operands.replace(" ", "") == "pc,lr"
        return Flow(table=not back)
    if mnemonic.startswith("bx") and i.operands != "lr":
        return Flow(next=onward, unknown_call=True)
    if mnemonic.startswith(("pop", "ldm")):
        return Flow(next=onward)
    if mnemonic.startswith("ldr"):
        saved = "[sp" in i.operands
        return Flow(next=onward, unknown_call=not saved)
    return Flow(next=onward, target=i.target)


def _signed(value: int) -> int:
    return (value & 0xFFFFFFFF) - ((value & 0x80000000) << 1)


def _arm_constant(i: Instruction, constants: dict[str, int], literal: Literal32) -> None:
    """Keeps track of registers that hold a known number."""
    operands = [part.strip() for part in i.operands.split(",")]
    register, mnemonic = operands[0], i.mnemonic.removesuffix(".w")
    if mnemonic.startswith("ldr") and len(operands) == 3 and operands[1] == "[pc":
        value = literal(((i.address + 4) & ~3) + int(operands[2].strip("#]"), 0))
        if value is not None:
            constants[register] = _signed(value)
            return
    if mnemonic in ("mov", "movs", "movw") and operands[-1].startswith("#"):
        constants[register] = int(operands[-1][1:], 0)
    elif mnemonic == "movt" and register in constants:
        high = int(operands[-1][1:], 0) << 16
        constants[register] = _signed(high | (constants[register] & 0xFFFF))
    elif mnemonic == "lsls" and operands[-1].startswith("#") and operands[-2] in constants:
        constants[register] = _signed(constants[operands[-2]] << int(operands[-1][1:], 0))
    elif mnemonic in ("rsbs", "negs") and operands[1] in constants:
        constants[register] = -constants[operands[1]]
    elif not mnemonic.startswith(("str", "push", "cmp", "tst", "cmn")):
        constants.pop(register, None)


def _riscv_push(i: Instruction, constants: Mapping[str, int], name: str) -> int:
    operands = [part.strip() for part in i.operands.split(",")]
    if operands[0] != "sp" or i.mnemonic.startswith(("c.sw", "sw", "sb", "sh", "b", "c.b")):
        return 0
    mnemonic = i.mnemonic.removeprefix("c.")
    if mnemonic in ("addi16sp", "addi"):
        return -int(operands[-1], 0) if len(operands) == 2 or operands[1] == "sp" else 0
    if mnemonic == "mv" and operands[-1] != "s0":
        raise _unknown_frame(i, name)
    if mnemonic in ("add", "sub"):
        if operands[-1] not in constants:
            raise _unknown_frame(i, name)
        return constants[operands[-1]] * (1 if mnemonic == "sub" else -1)
    return 0


def _riscv_flow(
    i: Instruction, constants: Mapping[str, int], before: Sequence[Instruction], name: str
) -> Flow:
    following = i.address + i.size
    mnemonic = i.mnemonic.removeprefix("c.")
    if mnemonic in ("ebreak", "unimp") or not i.is_branch:
        return Flow(_riscv_push(i, constants, name), following)
    if mnemonic == "ret" or (mnemonic == "jr" and i.operands in ("ra", "t0")):
        return Flow()
    if mnemonic == "jal":
        return Flow(next=following, call=i.target)
    if mnemonic == "j":
        return Flow(target=i.target)
    if mnemonic in ("jr", "jalr"):
        return _riscv_register_jump(i, mnemonic, constants, before)
    return Flow(next=following, target=i.target)


def _riscv_register_jump(
    i: Instruction, mnemonic: str, constants: Mapping[str, int], before: Sequence[Instruction]
) -> Flow:
    """A jump through a register: a far call, a far tail call, a switch, or a pointer."""
    parts = re.findall(r"[a-z]\w*|-?0x[0-9a-f]+|-?\d+", i.operands)
    registers = [p for p in parts if p[0].isalpha()]
    offset = next((int(p, 0) for p in parts if not p[0].isalpha()), 0)
    known = constants.get(registers[-1])
    target = None if known is None else (known + offset) & 0xFFFFFFFE
    if mnemonic == "jr":
        switch = any("sll" in b.mnemonic for b in before)
        if target is None and switch:
            return Flow(table=True)
        return Flow(target=target, unknown_call=target is None)
    return Flow(next=i.address + i.size, call=target, unknown_call=target is None)


def _riscv_constant(i: Instruction, constants: dict[str, int]) -> None:
    operands = [part.strip() for part in i.operands.split(",")]
    register, mnemonic = operands[0], i.mnemonic.removeprefix("c.")
    if mnemonic == "lui":
        constants[register] = _signed(int(operands[1], 0) << 12)
    elif mnemonic == "auipc":
        constants[register] = i.address + _signed(int(operands[1], 0) << 12)
    elif mnemonic == "li":
        constants[register] = int(operands[1], 0)
    elif mnemonic == "addi":
        source = operands[-2] if len(operands) == 3 else register
        base = 0 if source == "zero" else constants.get(source)
        if base is None:
            constants.pop(register, None)
        else:
            constants[register] = base + int(operands[-1], 0)
    elif not mnemonic.startswith(("sw", "sb", "sh", "b", "j")):
        constants.pop(register, None)

"""Classes of instructions: what the tables in `cycles.toml` speak about.

The idea: a class is a family of mnemonics that a core treats alike; rows in order, the first that
matches wins.  It knows no cycles.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from lilliput.emu.instructions import Instruction
from lilliput.emu.operands import Operands

_ARM: Final[tuple[tuple[str, str], ...]] = (
    ("it", r"it[te]*"),
    ("nop", r"nop"),
    ("load_pair", r"ldrd"),
    ("store_pair", r"strd"),
    ("load_multiple", r"(v?ldm|v?pop)"),
    ("store_multiple", r"(v?stm|v?push)"),
    ("load_narrow", r"ldrs?[bh]"),
    ("load", r"v?ldr"),
    ("store", r"v?str"),
    ("div", r"[su]div"),
    ("fp_div", r"v(div|sqrt)"),
    ("fp_mla", r"v(n?mla|n?mls|fn?ma|fn?ms)"),
    ("fp", r"v"),
    ("mlal", r"(umaal|[su]mlal|smlsld)"),
    ("mull", r"[su]mull"),
    ("mac", r"(ml[as]|sml[as]|smml[as]|usada8)"),
    ("mul", r"(mul|smul|smu[as]d|smmul|usad8)"),
    ("simd", r"(pkh|sel|[su]sat|qd?(add|sub)|([su]|q|uq|sh|uh)(add8|add16|sub8|sub16|asx|sax))"),
    ("extend", r"([su]xt|[su]bfx|bf[ic]|rev|rbit|clz)"),
    ("simple", r"(add|sub|mov|adr|lsl|lsr|asr|ror|rsb|neg)"),
)  # fmt: skip

_RISCV: Final[Mapping[str, str]] = {
    **dict.fromkeys(["lw", "lwsp"], "load"),
    **dict.fromkeys(["lb", "lbu", "lh", "lhu"], "load_narrow"),
    **dict.fromkeys(["sb", "sh", "sw", "swsp"], "store"),
    **dict.fromkeys(["mul"], "mul"),
    **dict.fromkeys(["mulh", "mulhu", "mulhsu"], "mull"),
    **dict.fromkeys(["div", "divu", "rem", "remu"], "div"),
    **dict.fromkeys(["jal", "jalr"], "call"),
    **dict.fromkeys(["j", "jr", "ret"], "jump"),
}


def classify(instruction: Instruction, registers: Operands, arch: str) -> str:
    """The class of an instruction.

    `simple` is what an early adder can do (sums, moves, plain shifts), `shifted` an operation
    whose second source is shifted right or rotated on the way (`shifted_left`: to the left), `alu`
    the rest that takes one pass.
    """
    name = instruction.mnemonic
    if arch == "riscv":
        name = name.removeprefix("c.")
        return _RISCV.get(name) or ("branch" if instruction.is_branch else "simple")
    if instruction.is_branch and not name.startswith(("ldm", "pop")):
        return _branch(name)
    kind = next((kind for kind, pattern in _ARM_ROWS if pattern.match(name)), "alu")
    if kind == "store" and registers.by_register:
        return "store_register"
    if kind in ("alu", "simple") and registers.shift:
        return "shifted_left" if registers.shift == "lsl" else "shifted"
    return kind


_ARM_ROWS: Final = tuple((kind, re.compile(pattern)) for kind, pattern in _ARM)


def _branch(name: str) -> str:
    if name in ("bl", "blx"):
        return "call"
    if name.startswith(("tb", "ldr")):
        return "table_branch"
    return "branch" if re.fullmatch(r"b\w\w(\.[wn])?|cbn?z", name) else "jump"

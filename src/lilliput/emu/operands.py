"""Which registers an instruction reads and writes, and through which port of the pipeline.

The idea: the shape of the operand text and a few families of mnemonics say it all; capstone's own
lists leave out the source of `ssat`, the second source of `pkhbt` and the accumulator of `smlal`.
Flags are left out: no core here waits for them.  It knows one instruction at a time and no cycles.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Final

_REGISTER: Final = re.compile(r"\b(?:r1[0-5]|r\d|sb|sl|fp|ip|sp|lr|pc|s[12]\d|s3[01]|[sd]\d)\b")
_RANGE: Final = re.compile(r"\b([rsd])(\d+)-\1(\d+)\b")
_INDEXED: Final = re.compile(r"\]!|\],")
_SHIFTED: Final = re.compile(r", (lsl|lsr|asr|ror|rrx)\b")
_NO_RESULT: Final = ("str", "stm", "push", "cmp", "cmn", "tst", "teq", "cb", "vst", "vpush", "vcmp")
_TWO_RESULTS: Final = ("smull", "umull", "smlal", "umlal", "umaal", "smlsld", "ldrd")
_ADDS_TO_RESULT: Final = ("smlal", "umlal", "umaal", "smlsld", "vmla", "vmls", "vfma", "vfms",
                          "vnmla", "vnmls", "vfnma", "vfnms")  # fmt: skip
_KEEPS_PART: Final = ("bfi", "bfc", "movt")
_COPIES: Final = re.compile(r"(mov|mvn|neg|rsb|[su]xt[bh]|rev|clz|rbit|ldr|adr|v)")
_ACCUMULATES: Final = re.compile(r"(ml[as]|sml[as]|smml[as]|usada8)")
_RISCV_REGISTER: Final = re.compile(r"\b(?:ra|sp|gp|tp|[ast]\d+)\b")
_RISCV_NO_RESULT: Final = frozenset(["sb", "sh", "sw", "swsp", "j", "jr", "ret", "beqz", "bnez"])


@dataclass(frozen=True)
class Operands:
    """Registers by name.

    reads      : used by the operation itself, an accumulator and addresses left out
    address    : base and offset of a memory access
    accumulate : what a multiplication adds to
    stored     : what a store writes to memory
    writes     : results, a base that is written back included
    shift      : the kind of an inline shift or rotation, "" without
    indexed    : the base is written back
    by_register: the offset of an access is a register
    """

    reads: frozenset[str] = frozenset()
    address: frozenset[str] = frozenset()
    accumulate: frozenset[str] = frozenset()
    stored: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    shift: str = ""
    indexed: bool = False
    by_register: bool = False


@functools.lru_cache(maxsize=1 << 16)
def operands(arch: str, mnemonic: str, text: str, *, conditional: bool = False) -> Operands:
    """The registers of an instruction; `conditional`: it stands in an IT block."""
    return _arm(mnemonic, text, conditional) if arch == "arm" else _riscv(mnemonic, text)


def _arm(mnemonic: str, text: str, conditional: bool) -> Operands:
    if mnemonic.startswith(("it", "b", "nop")) and not mnemonic.startswith(("bic", "bfi", "bfc")):
        return Operands(reads=frozenset(_REGISTER.findall(text)))
    names = _REGISTER.findall(_RANGE.sub(_spelled_out, text))
    if "{" in text or "[" in text:
        return _memory(mnemonic, text, names)
    count = 2 if mnemonic.startswith(_TWO_RESULTS) else 1
    if mnemonic.startswith(_NO_RESULT):
        count = 0
    results, sources = names[:count], names[count:]
    accumulate: list[str] = []
    if mnemonic.startswith(_ADDS_TO_RESULT):
        accumulate = results
    elif _ACCUMULATES.match(mnemonic) and len(sources) == 3:
        sources, accumulate = sources[:2], sources[2:]
    in_place = text.count(",") == 1 and not _COPIES.match(mnemonic)
    in_place |= conditional or mnemonic.startswith(_KEEPS_PART)
    shift = _SHIFTED.search(text)
    return Operands(
        reads=frozenset([*sources, *(results if in_place else ())]),
        accumulate=frozenset(accumulate),
        writes=frozenset(results),
        shift=shift.group(1) if shift else "",
    )


def _spelled_out(match: re.Match[str]) -> str:
    """`s16-s19` as its registers."""
    kind, first, last = match.groups()
    return ", ".join(f"{kind}{n}" for n in range(int(first), int(last) + 1))


def _memory(mnemonic: str, text: str, names: list[str]) -> Operands:
    """Loads and stores: `r0, [r1, r2]`, `r0!, {r1, r2}`, `{r4, lr}`."""
    if "{" in text:
        listed = _REGISTER.findall(_RANGE.sub(_spelled_out, text[text.index("{") :]))
        base = names[:1] if len(names) > len(listed) else ["sp"]
        indexed = "!" in text or len(names) == len(listed)
    else:
        before, _, inside = text.partition("[")
        listed = _REGISTER.findall(before)
        base = _REGISTER.findall(inside.partition("]")[0])
        indexed = bool(_INDEXED.search(text))
    stores = mnemonic.startswith(_NO_RESULT)
    return Operands(
        address=frozenset(base),
        stored=frozenset(listed if stores else ()),
        writes=frozenset([*(() if stores else listed), *(base[:1] if indexed else ())]),
        indexed=indexed,
        by_register=len(base) > 1,
    )


def _riscv(mnemonic: str, text: str) -> Operands:
    names = _RISCV_REGISTER.findall(text)
    name = mnemonic.removeprefix("c.")
    base = _RISCV_REGISTER.findall(text.partition("(")[2])
    if name in _RISCV_NO_RESULT or name.startswith("b"):
        stored = names[:1] if base else []
        reads = [] if base else names
        return Operands(frozenset(reads), frozenset(base), stored=frozenset(stored))
    sources = names if mnemonic.startswith("c.") and not base else names[1:]
    return Operands(
        frozenset(s for s in sources if s not in base), frozenset(base), writes=frozenset(names[:1])
    )

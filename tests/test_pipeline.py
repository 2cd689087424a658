"""What instructions read, what they are, and what straight runs of them cost on each core."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from pathlib import Path

import pytest

from lilliput import errors
from lilliput.devices import cores
from lilliput.emu.classes import classify
from lilliput.emu.cycles import cycle_model
from lilliput.emu.elf import code_sections
from lilliput.emu.instructions import Instruction, decoder
from lilliput.emu.operands import operands
from lilliput.emu.pipeline import Scoreboard, ops
from lilliput.emu.toolchain import find


@functools.cache
def assembled(core: str, text: str) -> tuple[Instruction, ...]:
    """The instructions of an assembly text, `;` between them."""
    chosen = cores()[core]
    try:
        compiler = find(chosen)
    except errors.MissingTool as error:
        pytest.skip(str(error))
    with tempfile.TemporaryDirectory() as name:
        source, output = Path(name) / "snippet.s", Path(name) / "snippet.o"
        head = ".syntax unified\n.thumb\n" if chosen.arch == "arm" else ""
        source.write_text(f".text\n{head}snippet:\n" + text.replace(";", "\n") + "\n")
        subprocess.run([*compiler.command, "-c", str(source), "-o", str(output)], check=True)
        (code,) = code_sections(output)
    return tuple(decoder(chosen)(code.data, 0))


# (instruction, class, reads, address, accumulate, stored, writes); "" is none.
ARM = [
    ("smlad r0, r1, r2, r3", "mac", "r1 r2", "", "r3", "", "r0"),
    ("smladx r0, r1, r2, r0", "mac", "r1 r2", "", "r0", "", "r0"),
    ("smlabb r0, r1, r2, r3", "mac", "r1 r2", "", "r3", "", "r0"),
    ("smlald r0, r1, r2, r3", "mlal", "r2 r3", "", "r0 r1", "", "r0 r1"),
    ("smull r0, r1, r2, r3", "mull", "r2 r3", "", "", "", "r0 r1"),
    ("smmulr r0, r1, r2", "mul", "r1 r2", "", "", "", "r0"),
    ("smmlar r0, r1, r2, r3", "mac", "r1 r2", "", "r3", "", "r0"),
    ("smuad r0, r1, r2", "mul", "r1 r2", "", "", "", "r0"),
    ("mls r0, r1, r2, r3", "mac", "r1 r2", "", "r3", "", "r0"),
    ("sxtb16 r0, r1", "extend", "r1", "", "", "", "r0"),
    ("sxtb16 r0, r1, ror #8", "extend", "r1", "", "", "", "r0"),
    ("uxtb16 r0, r1", "extend", "r1", "", "", "", "r0"),
    ("sxtab16 r0, r1, r2, ror #8", "extend", "r1 r2", "", "", "", "r0"),
    ("ubfx r0, r1, #3, #4", "extend", "r1", "", "", "", "r0"),
    ("bfi r0, r1, #3, #4", "extend", "r0 r1", "", "", "", "r0"),
    ("pkhbt r0, r1, r2, lsl #16", "simd", "r1 r2", "", "", "", "r0"),
    ("pkhtb r0, r1, r2, asr #16", "simd", "r1 r2", "", "", "", "r0"),
    ("ssat r0, #8, r1, asr #3", "simd", "r1", "", "", "", "r0"),
    ("usat r0, #8, r1", "simd", "r1", "", "", "", "r0"),
    ("sadd16 r0, r1, r2", "simd", "r1 r2", "", "", "", "r0"),
    ("ssub16 r0, r1, r2", "simd", "r1 r2", "", "", "", "r0"),
    ("qadd16 r0, r1, r2", "simd", "r1 r2", "", "", "", "r0"),
    ("shadd16 r0, r1, r2", "simd", "r1 r2", "", "", "", "r0"),
    ("qsub r0, r1, r2", "simd", "r1 r2", "", "", "", "r0"),
    ("sel r0, r1, r2", "simd", "r1 r2", "", "", "", "r0"),
    ("add r0, r1, r2, asr #31", "shifted", "r1 r2", "", "", "", "r0"),
    ("add r0, r1, r2, lsl #2", "shifted_left", "r1 r2", "", "", "", "r0"),
    ("adds r0, #1", "simple", "r0", "", "", "", "r0"),
    ("subs r0, r1, r2", "simple", "r1 r2", "", "", "", "r0"),
    ("movt r0, #5", "simple", "r0", "", "", "", "r0"),
    ("eor r0, r1, r2", "alu", "r1 r2", "", "", "", "r0"),
    ("cmp r0, r1", "alu", "r0 r1", "", "", "", ""),
    ("ldr r0, [r1, r2, lsl #2]", "load", "", "r1 r2", "", "", "r0"),
    ("ldr r0, [r1], #4", "load", "", "r1", "", "", "r0 r1"),
    ("ldrsb r0, [r1, #1]!", "load_narrow", "", "r1", "", "", "r0 r1"),
    ("ldrd r2, r3, [r0], #8", "load_pair", "", "r0", "", "", "r0 r2 r3"),
    ("strd r2, r3, [r0]", "store_pair", "", "r0", "", "r2 r3", ""),
    ("str r0, [r1, #4]", "store", "", "r1", "", "r0", ""),
    ("str r0, [r1, r2]", "store_register", "", "r1 r2", "", "r0", ""),
    ("strb r0, [r1], #1", "store", "", "r1", "", "r0", "r1"),
    ("ldmia r0!, {r1, r2, r3}", "load_multiple", "", "r0", "", "", "r0 r1 r2 r3"),
    ("ldm r0, {r0, r2}", "load_multiple", "", "r0", "", "", "r0 r2"),
    ("stmia r0!, {r1, r2}", "store_multiple", "", "r0", "", "r1 r2", "r0"),
    ("push {r4, lr}", "store_multiple", "", "sp", "", "lr r4", "sp"),
    ("pop {r4, pc}", "load_multiple", "", "sp", "", "", "pc r4 sp"),
    ("sdiv r0, r1, r2", "div", "r1 r2", "", "", "", "r0"),
    ("vmla.f32 s0, s1, s2", "fp_mla", "s1 s2", "", "s0", "", "s0"),
    ("vldmia r0!, {s4-s7}", "load_multiple", "", "r0", "", "", "r0 s4 s5 s6 s7"),
    ("bne .", "branch", "", "", "", "", ""),
    ("cbz r0, .+4; nop", "branch", "r0", "", "", "", ""),
    ("b .", "jump", "", "", "", "", ""),
    ("bx lr", "jump", "lr", "", "", "", ""),
    ("bl .", "call", "", "", "", "", ""),
    ("tbb [pc, r0]", "table_branch", "", "pc r0", "", "", ""),
]


@pytest.mark.parametrize("row", ARM, ids=lambda row: row[0])
def test_arm_instructions(row: tuple[str, ...]) -> None:
    text, kind, *registers = row
    first = assembled("cortex-m4", text)[0]
    found = operands("arm", first.mnemonic, first.operands)
    assert classify(first, found, "arm") == kind
    parts = (found.reads, found.address, found.accumulate, found.stored, found.writes)
    assert [" ".join(sorted(part)) for part in parts] == registers


RISCV = [
    ("mul a0, a1, a2", "mul", "a1 a2", "", "", "a0"),
    ("lb a0, 3(a1)", "load_narrow", "", "a1", "", "a0"),
    ("c.lw a0, 4(a1)", "load", "", "a1", "", "a0"),
    ("sw a0, 4(a1)", "store", "", "a1", "a0", ""),
    ("c.add a0, a1", "simple", "a0 a1", "", "", "a0"),
    ("bne a0, a1, .", "branch", "a0 a1", "", "", ""),
    ("rem a0, a1, a2", "div", "a1 a2", "", "", "a0"),
]


@pytest.mark.parametrize("row", RISCV, ids=lambda row: row[0])
def test_riscv_instructions(row: tuple[str, ...]) -> None:
    text, kind, *registers = row
    first = assembled("rv32imc", text)[0]
    found = operands("riscv", first.mnemonic, first.operands)
    assert classify(first, found, "riscv") == kind
    parts = (found.reads, found.address, found.stored, found.writes)
    assert [" ".join(sorted(part)) for part in parts] == registers


def test_an_it_block_makes_its_instructions_conditional() -> None:
    block = ops(assembled("cortex-m4", "cmp r0, r1; itt ge; movge r0, r1; addge r2, r3, r4"), "arm")
    assert [op.kind for op in block] == ["alu", "it", "simple", "simple"]
    assert block[2].registers.reads == {"r0", "r1"}  # keeps r0 where the condition fails
    assert block[3].registers.reads == {"r2", "r3", "r4"}
    (after,) = ops(assembled("cortex-m4", "mov r0, r1"), "arm")
    assert after.registers.reads == {"r1"}


def cycles(core: str, text: str, copies: int) -> float:
    model = cycle_model(cores()[core])
    assert model is not None
    board = Scoreboard(model.pipeline)
    return sum(board.run(ops(assembled(core, ";".join([text] * copies)), cores()[core].arch)))


# Cycles of one copy among many, as the sources in `cycles.toml` have them measured or tabled.
STEADY = [
    ("cortex-m0plus", "ldr r0, [r4]", 2),
    ("cortex-m0plus", "muls r0, r1, r0", 1),
    ("cortex-m0plus", "ldm r4!, {r0, r1, r2}", 4),
    ("cortex-m3", "mla r0, r1, r2, r0", 2),
    ("cortex-m4", "ldr r0, [r4]; ldr r1, [r5]; ldr r2, [r6]; ldr r3, [r7]", 4),
    ("cortex-m4", "ldr r0, [r4]; adds r1, r1, r2", 3),
    ("cortex-m4", "ldr r4, [r4]", 2),
    ("cortex-m4", "ldr r0, [r4], #4", 2),
    ("cortex-m4", "ldr r0, [r4], #4; ldr r1, [r5], #4", 2),
    ("cortex-m4", "ldr r0, [r4]; str r0, [r5]; adds r1, r1, r2", 3),
    ("cortex-m4", "str r0, [r4]; ldr r1, [r5]; adds r2, r2, r3", 5),
    ("cortex-m4", "str r0, [r4, r5]; adds r1, r1, r2", 3),
    ("cortex-m4", "adds r4, r4, r5; ldr r0, [r4]", 4),
    ("cortex-m4", "ldm r4, {r0-r3}; adds r5, r5, r6", 6),
    ("cortex-m4", "ldrd r0, r1, [r4]; adds r5, r5, r6", 4),
    ("cortex-m4", "smlad r0, r1, r2, r0", 1),
    ("cortex-m4", "smull r0, r1, r2, r3; ssat r4, #8, r1, asr #3", 2),
    ("cortex-m7", "adds r0, r1, r2; adds r3, r4, r5", 1),
    ("cortex-m7", "smlad r0, r1, r2, r0", 1),
    ("cortex-m7", "smlad r0, r1, r2, r0; smlad r3, r1, r2, r3", 2),
    ("cortex-m7", "mul r0, r0, r1", 2),
    ("cortex-m7", "smlad r0, r1, r2, r0; ldr r3, [r4]", 1),
    ("cortex-m7", "smlad r0, r1, r2, r0; str r3, [r4]", 2),
    ("cortex-m7", "sxtb16 r0, r1; sxtb16 r2, r3", 2),
    ("cortex-m7", "sxtb16 r0, r1; eor r2, r3, r4", 1),
    ("cortex-m7", "eor r0, r1, r2, ror #3; eor r3, r4, r5, lsl #2", 2),
    ("cortex-m7", "str r0, [r4]; str r1, [r5]", 2),
    ("cortex-m7", "ldr r0, [r4]; ldr r1, [r4, #4]", 1),
    ("cortex-m7", "ldr r0, [r4]; ldr r1, [r4, #8]", 2),
    ("cortex-m7", "ldr r0, [r4]; str r1, [r5]", 1),
    ("cortex-m7", "ldm r4, {r0-r3}", 2),
    ("cortex-m7", "ldr r4, [r4]", 2),
    ("cortex-m7", "uxtb r4, r0; ldr r0, [r5, r4]", 4),
    ("cortex-m33", "adds r0, r1, r2; adds r3, r4, r5", 2),
    ("cortex-m33", "ldr r0, [r4]; adds r1, r1, r0", 3),
    ("cortex-m33", "ldr r4, [r4]", 2),
    ("cortex-m33", "ldr r0, [r4]; adds r1, r1, r2", 2),
    ("cortex-m33", "smlad r0, r1, r2, r0", 1),
    ("cortex-m33", "smlad r0, r0, r2, r3", 2),
    ("cortex-m33", "uadd16 r0, r0, r1", 2),
    ("cortex-m33", "eor r0, r0, r1, ror #3", 2),
    ("cortex-m33", "add r0, r0, r1, lsl #3", 1),
    ("cortex-m33", "ldrd r0, r1, [r4]", 2),
    ("rv32imc", "lw a0, 0(a1); add a2, a2, a0", 3),
    ("rv32imc", "lw a0, 0(a1); add a2, a2, a3", 2),
]


@pytest.mark.parametrize(("core", "text", "expected"), STEADY, ids=lambda v: str(v)[:40])
def test_cycles_of_a_run(core: str, text: str, expected: float) -> None:
    assert (cycles(core, text, 12) - cycles(core, text, 4)) / 8 == expected

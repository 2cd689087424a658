"""Blocks of a counted run, waiting for flash, and where the models' stated errors are from."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import calibration

import tiny_firmware as tiny
from lilliput import devices
from lilliput.devices import FlashTiming
from lilliput.emu.cycles import CountedBlock, cycle_model
from lilliput.emu.flash import Wait, waits
from lilliput.emu.machine import Command, EntryRun, emulation_device, run_emulated
from lilliput.emu.toolchain import build_firmware, find

RUN = (Command("run", 0, (tiny.X,)),)


def counted(
    folder: Path, extra: str = "", core: str = "cortex-m4", flash: FlashTiming | None = None
) -> EntryRun:
    """The tiny firmware with `extra` as C before its second step, counted once."""
    device = emulation_device(devices.cores()[core], "unicorn", flash)
    image = build_firmware(find(device.core), device, tiny.sources(extra), folder)
    (run,) = run_emulated(image, device, RUN)
    return run


def with_mnemonic(run: EntryRun, name: str) -> CountedBlock:
    return next(b for b in run.blocks if any(i.mnemonic.startswith(name) for i in b.instructions))


@pytest.mark.unicorn
@pytest.mark.gcc
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4", "cortex-m7", "rv32imc"])
def test_blocks_are_disjoint_and_add_up(core: str, tmp_path: Path) -> None:
    run = counted(tmp_path, core=core)
    assert run.instructions == sum(len(b.instructions) * b.times for b in run.blocks)
    addresses = [i.address for b in run.blocks for i in b.instructions]
    assert len(addresses) == len(set(addresses))
    steps = [sum(b.step_cycles.get(step, 0) for b in run.blocks) for step in (0, 1)]
    assert steps == pytest.approx([run.step_cycles[0], run.step_cycles[1]])
    assert [b.cycles for b in run.blocks] == sorted((b.cycles for b in run.blocks), reverse=True)


# A whole loop as one block of assembly, as the kernels have them.
DOT = """
    {
        static const int16_t w[64] = {1, 2, 3};
        const int16_t *p = w;
        int32_t n = 16, sum = 0;
        __asm__ volatile(
            "1: ldrd r4, r5, [%0], #8\\n"
            "sxtb16 r6, r4, ror #8\\n"
            "smlad %1, r5, r6, %1\\n"
            "subs %2, #1\\n"
            "it mi\\n"
            "movmi %1, r4\\n"
            "cmp %2, #0\\n"
            "bne 1b\\n"
            : "+r"(p), "+r"(sum), "+r"(n) : : "r4", "r5", "r6", "cc", "memory");
        tiny_state += sum & 0;
    }
"""


@pytest.mark.unicorn
@pytest.mark.gcc
def test_a_loop_in_assembly_is_one_block_with_its_cycles(tmp_path: Path) -> None:
    block = with_mnemonic(counted(tmp_path, DOT), "sxtb16")
    assert [i.mnemonic for i in block.instructions] == [
        *("ldrd", "sxtb16", "smlad", "subs", "it", "movmi", "cmp", "bne")
    ]
    assert (block.times, block.taken) == (16, 15)
    assert block.each[:7] == (3, 1, 1, 1, 1, 1, 1)
    assert block.cycles == 16 * 10 + 15 * 2
    assert block.waits == 0
    dual = with_mnemonic(counted(tmp_path, DOT, "cortex-m7"), "sxtb16")
    assert dual.cycles < block.cycles / 1.4


@pytest.mark.unicorn
@pytest.mark.gcc
def test_a_board_s_flash_costs_waits_and_no_instructions(tmp_path: Path) -> None:
    near = counted(tmp_path, DOT)
    slow = FlashTiming(wait_states=5, line=16)
    far = counted(tmp_path, DOT, flash=slow)
    cached = counted(tmp_path, DOT, flash=FlashTiming(5, 16, code_cache=4096, data_cache=4096))
    assert near.instructions == far.instructions == cached.instructions
    loop, kept = with_mnemonic(far, "sxtb16"), with_mnemonic(cached, "sxtb16")
    assert loop.waits > kept.waits > 0
    # 128 bytes of constants in lines of 16: eight have to be read, with or without a cache.
    assert kept.waits >= 8 * 5
    assert sum(near.step_cycles.values()) < sum(cached.step_cycles.values())
    assert sum(cached.step_cycles.values()) < sum(far.step_cycles.values())


LOOP = {0x100: [(0x100, 0x120, 16.0)]}


def test_a_loop_that_fits_its_cache_waits_once() -> None:
    trace = [0x100] * 10
    kept = waits(trace, LOOP, FlashTiming(5, 16, code_cache=32))
    assert kept == {0x100: Wait(each=0, once=10)}
    # Two lines, one of them kept: both come each time, but that the first time is the first.
    lost = waits(trace, LOOP, FlashTiming(5, 16))
    assert lost == {0x100: Wait(each=9, once=10)}


def test_prefetch_hides_what_the_line_before_takes_to_run() -> None:
    assert waits([0x100], LOOP, FlashTiming(9, 16, prefetch=True))[0x100].once == 9 + 1
    assert waits([0x100], LOOP, FlashTiming(9, 16))[0x100].once == 9 + 9


def test_a_shared_cache_holds_code_and_constants() -> None:
    trace = [0x100, ~0x800, 0x100, ~0x804]
    wide = waits(trace, LOOP, FlashTiming(4, 16, shared_cache=64))
    assert wide == {0x100: Wait(each=4 / 2, once=8)}
    tight = waits(trace, LOOP, FlashTiming(4, 16, shared_cache=32))
    assert tight == {0x100: Wait(each=(4 + 8 + 4) / 2, once=8)}


def test_stated_errors_are_computed_from_published_figures() -> None:
    found = calibration.errors(calibration.comparisons())
    stated = {
        name: calibration.stated_error(name)
        for name, c in devices.cores().items()
        if cycle_model(c)
    }
    assert set(found) == {name for name, error in stated.items() if error}
    for name, error in stated.items():
        assert error is None or found[name] == (error.low, error.high, error.mean)


def test_a_board_that_is_faster_than_its_instructions_is_left_out() -> None:
    other = [c for c in calibration.comparisons() if c.ratio is None]
    assert {c.board.engine for c in other} == {"TFLM reference"}
    assert "other code" in calibration.text(other)


def test_models_say_what_their_error_is() -> None:
    known = cycle_model(devices.cores()["cortex-m4"])
    unknown = cycle_model(devices.cores()["cortex-m3"])
    assert known is not None
    assert unknown is not None
    assert known.error_note.startswith("boards took 1.22 to 1.38 times the estimate (mean 1.30): ")
    assert unknown.error_note == "compared with no published run"

"""The harness gives the same answers everywhere, counts exactly, and failed runs look failed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import tiny_firmware as tiny
from lilliput import devices, errors
from lilliput.emu import machine, toolchain
from lilliput.emu.analysis import check_instructions, stack_bound
from lilliput.emu.cycles import cycle_model
from lilliput.emu.machine import Command, EntryRun

COMMANDS = (
    Command("run", 0, (tiny.X,), trace=True, poison=True, measure=True),
    Command("run", 0, (tiny.X,)),
    Command("reset"),
    Command("run", 0, (tiny.X,)),
)
UNICORN_CORES = [name for name, core in devices.cores().items() if core.unicorn]
HOST_KINDS = [compiler.kind for compiler in toolchain.host_compilers()]


def firmware(
    core: str, folder: Path, sources: dict[str, str], emulator: str = "auto"
) -> tuple[toolchain.Image, devices.Device]:
    """A linked image for a core, and the device it was linked for."""
    device = machine.emulation_device(devices.load(core).core, emulator)
    try:
        compiler = toolchain.find(device.core)
    except errors.MissingTool as error:
        pytest.skip(str(error))
    return toolchain.build_firmware(compiler, device, sources, folder), device


def check_answers(runs: list[EntryRun]) -> None:
    """States survive a run, a reset puts them back, the trace holds every step."""
    assert [run.outputs for run in runs] == [(tiny.z(s),) for s in (10, 11, 10)]
    assert runs[0].trace == ((0, tiny.Y), (1, tiny.z(10) + tiny.pack(11)))
    assert runs[0].arena_bytes == (96,)
    assert all(run.guard_intact for run in runs)


@pytest.mark.parametrize("kind", HOST_KINDS)
def test_host(kind: str, tmp_path: Path) -> None:
    compiler = next(c for c in toolchain.host_compilers() if c.kind == kind)
    program = toolchain.build_host(compiler, tiny.sources(), tmp_path)
    check_answers(machine.run_host(program, COMMANDS))


@pytest.mark.parametrize("kind", HOST_KINDS)
def test_a_sanitizer_report_fails_the_run(kind: str, tmp_path: Path) -> None:
    compiler = next(c for c in toolchain.host_compilers() if c.kind == kind)
    overflow = "tiny_state += 2147483647;"
    program = toolchain.build_host(compiler, tiny.sources(overflow), tmp_path)
    with pytest.raises(errors.EmulationError, match="signed integer overflow"):
        machine.run_host(program, COMMANDS)


@pytest.mark.parametrize("core", UNICORN_CORES)
def test_unicorn(core: str, tmp_path: Path) -> None:
    image, device = firmware(core, tmp_path, tiny.sources())
    runs = machine.run_emulated(image, device, COMMANDS)
    check_answers(runs)
    assert runs[0].instructions is not None
    assert sum(runs[0].step_instructions.values()) <= runs[0].instructions
    assert runs[1].instructions is None
    assert set(runs[0].step_cycles) == {0, 1}
    assert 0 < runs[0].stack_bytes <= stack_bound(image, "tiny_run") + 16
    assert check_instructions(image, device.core).violations == ()


@pytest.mark.parametrize("core", list(devices.cores()))
def test_qemu(core: str, tmp_path: Path) -> None:
    program = "qemu-system-riscv32" if core == "rv32imc" else "qemu-system-arm"
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    image, device = firmware(core, tmp_path, tiny.sources(), "qemu")
    runs = machine.run_emulated(image, device, COMMANDS, emulator="qemu", timeout=30)
    check_answers(runs)
    assert runs[0].instructions is None


# Loop bodies of a known length: (C text of step 1, instructions beyond an empty step 1).
LOOPS = {
    "cortex-m4": (
        '__asm__ volatile("movs r3, #100\\n1: subs r3, #1\\nbne 1b" ::: "r3", "cc");',
        1 + 2 * 100,
    ),
    "cortex-m0plus": (
        '__asm__ volatile(".syntax unified\\nmovs r3, #50\\n1: subs r3, #1\\nbne 1b" ::: "r3");',
        1 + 2 * 50,
    ),
    "rv32imc": (
        '__asm__ volatile("li t0, 70\\n1: nop\\naddi t0, t0, -1\\nbnez t0, 1b" ::: "t0");',
        1 + 3 * 70,
    ),
}


@pytest.mark.parametrize("core", list(LOOPS))
def test_counts_are_exact(core: str, tmp_path: Path) -> None:
    loop, expected = LOOPS[core]
    counts: list[int] = []
    for name, text in (("empty", '__asm__ volatile("" ::: "memory");'), ("loop", loop)):
        image, device = firmware(core, tmp_path / name, tiny.sources(text))
        run = machine.run_emulated(image, device, COMMANDS[1:2])[0]
        counts.append(run.step_instructions[1])
    assert counts[1] - counts[0] == expected


def test_chosen_runs_are_counted(tmp_path: Path) -> None:
    image, device = firmware("cortex-m3", tmp_path, tiny.sources())
    runs = machine.run_emulated(image, device, COMMANDS, count=(False, True, True, True))
    assert [run.instructions is not None for run in runs] == [False, True, True]
    assert runs[1].step_instructions == runs[2].step_instructions


def test_tracing_is_not_counted(tmp_path: Path) -> None:
    image, device = firmware("cortex-m4", tmp_path, tiny.sources())
    commands = (Command("run", 0, (tiny.X,), trace=True), Command("run", 0, (tiny.X,)))
    first, second = machine.run_emulated(image, device, commands, count=(True, True))
    assert first.step_instructions == second.step_instructions


@pytest.mark.parametrize("emulator", ["unicorn", "qemu"])
def test_a_fault_names_function_and_line(emulator: str, tmp_path: Path) -> None:
    if emulator == "qemu" and shutil.which("qemu-system-arm") is None:
        pytest.skip("qemu-system-arm is not installed")
    bad = "*(volatile int32_t *)0xA0000000u = 1;"
    image, device = firmware("cortex-m3", tmp_path, tiny.sources(bad), emulator)
    with pytest.raises(errors.EmulationError, match=r"tiny_run \(model.c:\d+\)") as caught:
        machine.run_emulated(image, device, COMMANDS[1:], emulator=emulator, timeout=10)
    words = {"unicorn": "write to an address without memory", "qemu": "Lockup"}
    assert words[emulator] in str(caught.value)


@pytest.mark.parametrize("emulator", ["unicorn", "qemu"])
def test_a_trap_on_riscv_fails_the_run(emulator: str, tmp_path: Path) -> None:
    if emulator == "qemu" and shutil.which("qemu-system-riscv32") is None:
        pytest.skip("qemu-system-riscv32 is not installed")
    bad = "*(volatile int32_t *)0xF0000000u = 1;"
    image, device = firmware("rv32imc", tmp_path, tiny.sources(bad), emulator)
    with pytest.raises(errors.EmulationError, match=r"ended early|tiny_run \(model.c"):
        machine.run_emulated(image, device, COMMANDS[1:], emulator=emulator, timeout=10)


def test_a_write_to_flash_is_a_fault(tmp_path: Path) -> None:
    bad = "*(volatile int32_t *)0x08000100u = 1;"
    image, device = firmware("cortex-m4", tmp_path, tiny.sources(bad))
    with pytest.raises(errors.EmulationError, match="write to flash"):
        machine.run_emulated(image, device, COMMANDS[1:])


def test_unaligned_accesses_can_be_made_faults(tmp_path: Path) -> None:
    bad = '__asm__ volatile("ldr r3, [%0]" : : "l"((uintptr_t)tiny_arena + 1u) : "r3");'
    image, device = firmware("cortex-m0plus", tmp_path / "bad", tiny.sources(bad))
    with pytest.raises(errors.EmulationError, match="unaligned access of 4 bytes") as caught:
        machine.run_emulated(image, device, COMMANDS[1:], aligned=True)
    assert "tiny_run (model.c:" in str(caught.value)
    image, device = firmware("cortex-m0plus", tmp_path / "good", tiny.sources())
    check_answers(machine.run_emulated(image, device, COMMANDS, aligned=True))


def test_a_hang_ends_with_the_timeout(tmp_path: Path) -> None:
    image, device = firmware("cortex-m4", tmp_path, tiny.sources("for (;;) {}"))
    with pytest.raises(errors.EmulationError, match="did not end"):
        machine.run_emulated(image, device, COMMANDS[1:], count=False, timeout=2)


def test_a_broken_guard_is_reported(tmp_path: Path) -> None:
    image, device = firmware("cortex-m4", tmp_path, tiny.sources("tiny_arena[24] = 1;"))
    assert not machine.run_emulated(image, device, COMMANDS[1:])[0].guard_intact


def sealed(tmp_path: Path) -> tuple[bytes, int]:
    """A good response and its nonce."""
    program = toolchain.build_host(toolchain.host_compilers()[0], tiny.sources(), tmp_path)
    request = machine.encode_request(COMMANDS, 1234)
    run = subprocess.run([str(program)], input=request, capture_output=True, timeout=30, check=True)
    return run.stdout, 1234


def test_only_a_sealed_response_counts(tmp_path: Path) -> None:
    response, nonce = sealed(tmp_path)
    assert len(machine.decode_response(response, COMMANDS, nonce)) == 3
    changed = bytearray(response)
    changed[20] ^= 1
    cases = [
        (b"", nonce, "never started"),
        (response, nonce + 1, "another request"),
        (bytes(changed), nonce, "another request"),
        (response[:-16], nonce, "ended early"),
        (response[:-3], nonce, "ended early"),
    ]
    for data, number, words in cases:
        with pytest.raises(errors.EmulationError, match=words):
            machine.decode_response(data, COMMANDS, number)


def test_cycle_models_state_their_error() -> None:
    for core in devices.cores().values():
        model = cycle_model(core)
        assert (model is None) == (core.name == "cortex-m55")
        assert model is None or (model.error_note and model.source)

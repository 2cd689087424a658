"""Whole projects: they build with every tool, boot on emulated boards, and say the right thing.

One idea: a project is judged from outside, by what its own build files make of it and by what
comes out of the serial port.  Emulated here are the CMSDK, STM32 (v1) and Nordic serial ports.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from tests.cli_case import Run, runner

import boot
from lilliput import compiler, devices, errors
from lilliput.demo_data import digits_model
from lilliput.devices.start import UARTS
from lilliput.project import KINDS, Kind, require_start
from lilliput.project.template import resource

EMULATED = ("stm32f405", "mps2-an386", "mps2-an500", "mps3-an547")
"""Boards of the package that QEMU has."""

MICROBIT = """
title = "BBC micro:bit, as QEMU has it"
core = "cortex-m0plus"
clock_hz = 16_000_000
[sources]
clock_hz = "QEMU"
flash = "QEMU"
ram = "QEMU"
start = "QEMU"
[start]
clock_hz = 16_000_000
uart = "nrf"
uart_address = 0x40002000
qemu = "microbit"
[memory.flash]
kind = "flash"
origin = 0x0
size = 0x40000
default = true
[memory.ram]
kind = "ram"
origin = 0x20000000
size = 0x4000
default = true
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture
def microbit(tmp_path: Path) -> devices.Device:
    """A board of the test's own, for the serial port that no emulated board of ours has."""
    path = tmp_path / "microbit.toml"
    path.write_text(MICROBIT, encoding="utf-8")
    return devices.load(path)


def machine(board: str) -> str:
    return require_start(devices.load(board)).qemu


# Booting ----------------------------------------------------------------------------------


@pytest.mark.qemu
@pytest.mark.parametrize(
    "toolchain",
    [pytest.param("gcc", marks=pytest.mark.gcc), pytest.param("zig", marks=pytest.mark.zig)],
)
@pytest.mark.parametrize("board", EMULATED)
def test_the_image_boots_and_is_exact(board: str, toolchain: str, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    boot.write(boot.tiny(), board, folder)
    said = boot.listen(machine(board), boot.make(folder, toolchain))
    assert said[-1] == "lilliput tiny: exact"
    cycles = re.fullmatch(r"cycles: (\d+) by (DWT|SysTick), at (\d+) a second", said[0])
    assert cycles
    assert 0 < int(cycles[1]) < 0xFFFFFF
    stack = re.fullmatch(r"stack: (\d+) bytes used, (\d+) bytes never", said[1])
    assert stack
    assert 32 <= int(stack[1]) < 2048
    assert int(stack[1]) + int(stack[2]) <= devices.load(board).ram_bytes


def test_every_emulated_board_is_booted() -> None:
    boards = [devices.load(name) for name in devices.names()]
    assert {b.name for b in boards if b.start and b.start.qemu} == set(EMULATED)


@pytest.mark.qemu
@pytest.mark.parametrize(
    "toolchain",
    [pytest.param("gcc", marks=pytest.mark.gcc), pytest.param("zig", marks=pytest.mark.zig)],
)
def test_cmake_builds_the_same(toolchain: str, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    boot.write(boot.tiny(), "mps2-an386", folder)
    said = boot.listen("mps2-an386", boot.cmake(folder, toolchain))
    assert said[-1] == "lilliput tiny: exact"


@pytest.mark.qemu
@pytest.mark.gcc
def test_states_and_floats_boot(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    boot.write(boot.accumulator(), "stm32f405", folder)
    said = boot.listen("netduinoplus2", boot.make(folder))
    assert said[-1] == "lilliput sums: exact"


@pytest.mark.qemu
@pytest.mark.gcc
def test_nordics_serial_port_and_a_core_without_dwt(
    microbit: devices.Device, tmp_path: Path
) -> None:
    folder = tmp_path / "project"
    boot.write(boot.tiny(), microbit, folder)
    said = boot.listen("microbit", boot.make(folder))
    assert said[-1] == "lilliput tiny: exact"
    assert "SysTick" in said[0]


@pytest.mark.qemu
@pytest.mark.gcc
def test_semihosting_ends_with_the_verdict(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    boot.write(boot.tiny(), "mps2-an386", folder)
    image = boot.make(folder, "gcc", "CONSOLE=semihosting")
    code, text = boot.semihosted("mps2-an386", image)
    assert code == 0
    assert text.endswith("lilliput tiny: exact\n")
    test = folder / "firmware" / "self_test.c"
    head, _, tail = test.read_text(encoding="utf-8").partition("output0[8] = {\n")
    first = int(tail.strip()[:4], 16)
    wrong = tail.replace(f"{first:#04x}", f"{first ^ 1:#04x}", 1)
    test.write_text(f"{head}output0[8] = {{\n{wrong}", encoding="utf-8")
    code, text = boot.semihosted("mps2-an386", boot.make(folder, "gcc", "CONSOLE=semihosting"))
    assert code == 1
    assert text.endswith("lilliput tiny: 1 of the output's 8 bytes differ\n")


@pytest.mark.gcc
@pytest.mark.parametrize("board", ["stm32f746", "stm32h743", "nrf52840"])
def test_boards_without_an_emulator_build(board: str, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    boot.write(boot.tiny(), board, folder)
    assert boot.make(folder).is_file()


def test_every_board_that_starts_has_what_its_project_needs(tmp_path: Path) -> None:
    for name in devices.names():
        device = devices.load(name)
        if device.start is None:
            with pytest.raises(errors.UsageError, match=r"no whole firmware[\s\S]*arduino"):
                require_start(device)
            continue
        boot.write(boot.tiny(), name, tmp_path / name)
        header = (tmp_path / name / "firmware" / "board.h").read_text(encoding="utf-8")
        assert f"LL_CORE_HZ {device.start.clock_hz}u" in header
        assert ("LL_UART_ADDRESS" in header) == (device.start.uart is not None)
        script = (tmp_path / name / "firmware" / "firmware.ld").read_text(encoding="utf-8")
        assert all(f"ORIGIN = {m.origin:#010x}" in script for m in device.memories)
        assert "harness" not in script


# The command ------------------------------------------------------------------------------


@pytest.mark.zig
def test_compile_writes_a_project_that_run_understands(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("compile", digits_model(), "-d", "stm32f405", "--project", "-o", out, "--json")
    assert run(*arguments).json["project"] == "bare-metal"
    assert (out / "firmware" / "main.c").is_file()
    folder = compiler.read(out)
    assert folder.model == "digits"


@pytest.mark.unicorn
@pytest.mark.zig
@pytest.mark.parametrize("kind", KINDS)
def test_every_project_runs_on_the_emulated_core(kind: Kind, tmp_path: Path) -> None:
    out = tmp_path / "out"
    compiled = boot.write(boot.tiny(), "stm32f405", out, kind)
    x = np.arange(16, dtype=np.int8).reshape(1, 16)
    ran = compiler.run(out, x)
    for name, expected in compiled.model.run(x).outputs.items():
        np.testing.assert_array_equal(ran.outputs[name], expected)


@pytest.mark.parametrize("board", ["rp2040", "esp32-c3", "cortex-m4"])
def test_a_board_whose_start_is_not_known_is_refused(run: Run, board: str, tmp_path: Path) -> None:
    result = run("compile", digits_model(), "-d", board, "--project", "-o", tmp_path / "out")
    assert result.code == 1
    assert "no whole firmware can be written for this device" in result.err
    assert list(tmp_path.iterdir()) == []


SMALL = {"flash": "size = 0x40000\n", "ram": "size = 0x4000\n"}


@pytest.mark.zig
@pytest.mark.parametrize("memory", list(SMALL))
def test_what_does_not_fit_is_refused_before_anything_is_written(
    memory: str, run: Run, tmp_path: Path
) -> None:
    """The network alone fits by one byte; start-up, console and test do not."""
    place = tmp_path / "boards"
    place.mkdir()
    board = place / "small.toml"
    board.write_text(MICROBIT, encoding="utf-8")
    arguments = ("compile", digits_model(), "-d", board, "--compiler", "zig", "-o")
    result = run(*arguments, tmp_path / "first", "--json")
    need = 0
    # the plan shrinks to what there is of RAM, as far as it can
    while result.code == 0 and result.json[f"{memory}_bytes"]["total"] != need:
        need = result.json[f"{memory}_bytes"]["total"]
        less = need - 8 if memory == "ram" else need
        board.write_text(MICROBIT.replace(SMALL[memory], f"size = {less}\n"), encoding="utf-8")
        result = run(*arguments, tmp_path / "first", "--json", "--force")
    board.write_text(MICROBIT.replace(SMALL[memory], f"size = {need}\n"), encoding="utf-8")
    assert run(*arguments, tmp_path / "second").code == 0
    result = run(*arguments, tmp_path / "third", "--project")
    assert result.code == 1
    assert re.search(rf"the whole firmware does not fit into {memory} by [\d,]+ bytes", result.err)
    assert f"at most {need:,} bytes" in result.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["boards", "first", "second"]


def test_the_built_in_test_counts_without_a_compiler(run: Run, tmp_path: Path) -> None:
    board = tmp_path / "small.toml"
    board.write_text(MICROBIT, encoding="utf-8")
    network = digits_model()
    out = tmp_path / "first"
    told = run("compile", network, "-d", board, "--compiler", "none", "-o", out, "--json").json
    need = told["flash_bytes"]["constants"]
    board.write_text(MICROBIT.replace(SMALL["flash"], f"size = {need + 8}\n"), encoding="utf-8")
    arguments = ("compile", network, "-d", board, "--compiler", "none", "--project", "-o")
    result = run(*arguments, tmp_path / "second")
    assert result.code == 1
    assert "does not fit into flash" in result.err
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_projects_are_byte_stable_and_name_no_place(kind: Kind, tmp_path: Path) -> None:
    for name in ("a", "b"):
        boot.write(boot.tiny(), "stm32f405", tmp_path / name, kind)
    files = {
        p.relative_to(tmp_path / "a"): p.read_text(encoding="utf-8")
        for p in (tmp_path / "a").rglob("*")
        if p.is_file()
    }
    for path, text in files.items():
        assert text == (tmp_path / "b" / path).read_text(encoding="utf-8")
        assert str(tmp_path) not in text
        assert not re.search(r"@[a-z_]+@", text, re.IGNORECASE), path


def test_the_project_is_a_library_for_other_cmake_projects(tmp_path: Path) -> None:
    cmake = boot.tool("cmake")
    boot.tool("make")
    boot.tool("cc")
    boot.write(boot.tiny(), "stm32f405", tmp_path / "network")
    (tmp_path / "main.c").write_text(
        '#include "tiny.h"\nint main(void) { tiny_run(); return 0; }\n'
    )
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(user LANGUAGES C)\n"
        "add_subdirectory(network)\nadd_executable(user main.c)\n"
        "target_link_libraries(user tiny)\n"
    )
    boot.call([cmake, "-S", tmp_path, "-B", tmp_path / "build"])
    boot.call([cmake, "--build", tmp_path / "build"])
    boot.call([tmp_path / "build" / "user"])


# Board files ------------------------------------------------------------------------------

WRONG = {
    "unknown key": ('qemu = "microbit"', 'emulator = "x"', "start.emulator: unknown key"),
    "bad type": ('qemu = "microbit"', "qemu = 3", "start.qemu: bad type"),
    "driver": ('uart = "nrf"', 'uart = "vax"', "expected: one of cmsdk, nrf, stm32-v1, stm32-v2"),
    "half": ('uart = "nrf"\n', "", "both uart and uart_address"),
    "clock": ("clock_hz = 16_000_000\nuart", "clock_hz = 0\nuart", "start.clock_hz: bad value"),
    "row": ('qemu = "microbit"', "setup = [[1, 2]]", "start.setup[0]: bad value"),
    "wide row": ('qemu = "microbit"', "setup = [[1, 2, 0x100000000]]", "each of 32 bits"),
    "source": ('start = "QEMU"', "", "sources.start: missing source"),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_what_is_wrong_with_a_start_is_said(case: str, tmp_path: Path) -> None:
    old, new, words = WRONG[case]
    path = tmp_path / "mine.toml"
    assert old in MICROBIT
    path.write_text(MICROBIT.replace(old, new), encoding="utf-8")
    with pytest.raises(errors.UsageError) as caught:
        devices.load(path)
    assert words in str(caught.value)


@pytest.mark.parametrize("driver", UARTS)
def test_every_driver_of_a_board_file_exists(driver: str) -> None:
    text = resource("csrc", f"uart_{driver}.c")
    assert all(f"ll_uart_{name}(" in text for name in ("open", "byte", "flush"))

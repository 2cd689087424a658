"""A firmware that is whole: from the vector table to a line of text on a serial port.

One idea: the board file becomes a linker script and `board.h`, and nothing else knows the board.
Start-up and memory functions are those of `lilliput.emu`, which the proofs run with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lilliput import __version__
from lilliput.codegen.c import Text, comment, identifier
from lilliput.devices import Device, Start
from lilliput.devices.start import BAUD
from lilliput.emu.toolchain import RUNTIME_FLAGS, Kind, firmware_flags, link_flags, linker_script
from lilliput.plan.program import Program
from lilliput.project.learning import firmware_files, library_sources
from lilliput.project.self_test import SelfTest, self_test_call, self_test_files
from lilliput.project.template import fill, resource

FIRMWARE = "firmware"
SCRIPT = f"{FIRMWARE}/firmware.ld"
IMAGE = "build/firmware.elf"
RUNTIME = ("startup_arm.c", "freestanding.c")
_FIXED = ("console.c", "console.h", "cycles.c", "cycles.h", "stack.c", "stack.h")


def bare_metal(program: Program, device: Device, test: SelfTest) -> dict[str, str]:
    """The files beside the emitted C; `device.start` must be known."""
    start = device.start
    assert start is not None
    prefix = identifier(program.name)
    parts = {name: resource("csrc", name) for name in _FIXED}
    parts |= {name: resource("csrc", name, "lilliput.emu") for name in RUNTIME}
    parts |= self_test_files(program, test)
    parts |= firmware_files(program, device, test.learning)
    if start.uart:
        parts |= {
            "uart.h": resource("csrc", "uart.h"),
            "uart.c": resource("csrc", f"uart_{start.uart.driver}.c"),
        }
    parts["board.h"] = board_header(device, start)
    parts["firmware.ld"] = linker_script(device, harness=False)
    parts["main.c"] = fill(
        "main.c",
        name=program.name,
        device=device.name,
        prefix=prefix,
        PREFIX=prefix.upper(),
        call=self_test_call(program),
        **_learning(prefix, learns=test.learning is not None),
    )
    files = {f"{FIRMWARE}/{name}": text for name, text in parts.items()}
    own = sorted(n for n in firmware_sources(files) if n.endswith(".c"))
    return files | _build_files(program, device, [*library_sources(program), *own])


def _learning(prefix: str, *, learns: bool) -> dict[str, str]:
    """What `main.c` has of a program that learns."""
    if not learns:
        return dict.fromkeys(("includes", "learning", "unlike", "failed"), "")
    flash = "LL_FLASH_IN_RAM ? &ll_flash : 0"
    said = 'll_console_text("learning differs\\n");'
    return {
        "includes": '#include "flash.h"\n#include "learn_test.h"\n',
        "learning": f"    const uint32_t unlike = {prefix}_learn_test({flash});\n",
        "unlike": f"    }} else if (unlike != 0u) {{\n        {said}\n",
        "failed": "unlike != 0u || ",
    }


def firmware_sources(files: Mapping[str, str]) -> dict[str, str]:
    """Those of the project's files that are compiled or included, but for start-up code."""
    return {
        name: text
        for name, text in files.items()
        if name.startswith(f"{FIRMWARE}/")
        and name.endswith((".c", ".h"))
        and name.split("/")[1] not in RUNTIME
    }


def board_header(device: Device, start: Start) -> str:
    """`board.h`: everything that the firmware's own C knows of the board."""
    text = Text()
    text.add(
        comment(f"{device.title}: from the board file of {device.name}"),
        *("#ifndef LL_BOARD_H", "#define LL_BOARD_H", ""),
        comment("after reset, in Hz"),
        f"#define LL_CORE_HZ {start.clock_hz}u",
    )
    if start.uart:
        text.add(
            "",
            f"#define LL_UART_ADDRESS {start.uart.address:#010x}u",
            f"#define LL_UART_CLOCK_HZ {start.uart.clock_hz}u",
            f"#define LL_UART_BAUD {BAUD}u",
        )
    if start.setup:
        rows = ", ".join(f"{{{a:#010x}u, {c:#x}u, {s:#x}u}}" for a, c, s in start.setup)
        text.add(
            "",
            comment("address, bits to clear, bits to set: clocks and pins of the serial port"),
            f"#define LL_BOARD_SETUP {rows}",
        )
    text.add("", "#endif")
    return str(text)


def _build_files(program: Program, device: Device, sources: Sequence[str]) -> dict[str, str]:
    prefix, core = identifier(program.name), device.core
    start = device.start
    assert start is not None
    named = {"name": program.name, "device": device.name, "prefix": prefix}
    gcc = {
        "gcc": f"{core.gcc_prefix}-gcc",
        "gcc_core": " ".join(core.gcc_flags),
        "gcc_flags": _flags("gcc"),
        "gcc_runtime": " ".join(RUNTIME_FLAGS["gcc"]),
    }
    zig = {
        "zig_core": " ".join(core.zig_flags),
        "zig_flags": _flags("zig"),
        "zig_runtime": " ".join(RUNTIME_FLAGS["zig"]),
    }
    runtime = " ".join(f"{FIRMWARE}/{name}" for name in RUNTIME)
    qemu = fill("Makefile.qemu", machine=start.qemu) if start.qemu else ""
    return {
        "Makefile": fill(
            "Makefile",
            **(named | gcc | zig),
            sources=" ".join(sources),
            runtime=runtime,
            link_flags=" ".join(link_flags(SCRIPT)),
            qemu=qemu,
        ),
        "CMakeLists.txt": fill(
            "CMakeLists.txt",
            **named,
            library=" ".join(f"${{CMAKE_CURRENT_LIST_DIR}}/{n}" for n in library_sources(program)),
            sources="\n  ".join(sources),
            runtime=runtime,
            link_flags=" ".join(link_flags(f"${{CMAKE_CURRENT_LIST_DIR}}/{SCRIPT}")),
        ),
        "cmake/gcc.cmake": fill("gcc.cmake", core=core.title, **gcc),
        "cmake/zig.cmake": fill("zig.cmake", core=core.title, **zig),
        "README.md": fill(
            "README.md",
            **named,
            version=__version__,
            clock=str(start.clock_hz),
            listen=_listen(start),
        ),
    }


def _flags(kind: Kind) -> str:
    """A user's compiler may be newer than ours and warn of more: a warning is not the end."""
    return " ".join(flag for flag in firmware_flags(kind) if flag != "-Werror")


def _listen(start: Start) -> str:
    if start.uart is None:
        return (
            "No serial port is known for this board, so the text goes to a debugger that serves\n"
            "semihosting: start the debugger before the board, without it the program stops."
        )
    machine = (
        f"\n`make qemu` runs it without a board, on QEMU's {start.qemu}." if start.qemu else ""
    )
    return (
        f"on the serial port, at {BAUD} baud. With `make CONSOLE=semihosting` the text goes to a\n"
        f"debugger instead, which must then be attached.{machine}"
    )

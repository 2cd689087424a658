"""Building a written project and listening to it: make, CMake, QEMU's serial port.

One idea: a firmware never ends, so QEMU writes what it says into a file, which is read until the
verdict stands in it.  Not a test.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lilliput import compiler, devices
from lilliput.devices import Device
from lilliput.ir import Builder, Module, Quant, State
from lilliput.ir.types import f32, s8
from lilliput.ops.conv import linear
from lilliput.ops.elementwise import add, mul
from lilliput.project import Kind

ZIG = (sys.executable, "-m", "ziglang")
PATIENCE_SECONDS = 60


def tiny(inputs: int = 16, outputs: int = 8) -> Module:
    """One fully connected layer with weights."""
    rng = np.random.default_rng(7)
    b = Builder()
    x = b.input("x", s8(1, inputs, scale=0.1))
    w = b.param(
        "w", rng.integers(-127, 128, (outputs, inputs)).astype(np.int8), Quant((0.02,), (0,))
    )
    bias = b.param("bias", rng.integers(-99, 99, outputs).astype(np.int32))
    return b.module((b.add(linear, (x, w, bias), type=s8(1, outputs, scale=0.4)),), name="tiny")


def accumulator() -> Module:
    """Floats and a state: the output is the state's first value plus the input, squared."""
    b = Builder()
    x = b.input("x", f32(4))
    total = b.state("total", f32(4), np.full(4, 0.1, np.float32))
    new = b.add(add, (x, total), name="new")
    graph = b.graph((b.add(mul, (new, new)), new))
    state = State(total, b.states["total"].init, {"infer": new})
    return Module({"infer": graph}, dict(b.params), {"total": state}, "sums")


def write(
    module: Module,
    device: Device | str,
    folder: Path,
    kind: Kind = "bare-metal",
    feed: compiler.Feed = "memory",
) -> compiler.Compiled:
    """A project of that kind in `folder`."""
    board = devices.load(device) if isinstance(device, str) else device
    options = compiler.Options(compiler="none", feed=feed)
    compiled = compiler.compile(compiler.from_module(module), board, options)
    files = compiler.project_files(compiled, kind, options)
    compiler.write(compiled, folder, files=files)
    return compiled


def call(command: Sequence[str | Path], cwd: Path | None = None) -> str:
    """Runs a tool to its end; what it printed.  Its words are the failure's text."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=cwd,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def tool(name: str) -> str:
    """The path of a program; skips the test where it is missing."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def make(folder: Path, toolchain: str = "gcc", *more: str) -> Path:
    """The image that the project's Makefile builds, with every warning an error."""
    zig = [f"ZIG={' '.join(ZIG)}"] if toolchain == "zig" else []
    call([tool("make"), "-C", folder, f"TOOLCHAIN={toolchain}", "EXTRA=-Werror", *zig, *more])
    return folder / "build" / "firmware.elf"


def cmake(folder: Path, toolchain: str = "gcc") -> Path:
    """The image that the project's CMake files build."""
    zig = [f"-DLL_ZIG={';'.join(ZIG)}"] if toolchain == "zig" else []
    build = folder / "build-cmake"
    chain = f"-DCMAKE_TOOLCHAIN_FILE={folder / 'cmake' / toolchain}.cmake"
    call([tool("cmake"), "-S", folder, "-B", build, chain, *zig])
    call([tool("cmake"), "--build", build])
    return build / "firmware.elf"


def listen(machine: str, image: Path) -> list[str]:
    """What the image says on the machine's first serial port, up to its verdict."""
    said = image.with_suffix(".txt")
    said.unlink(missing_ok=True)
    command = [tool("qemu-system-arm"), "-M", machine, "-display", "none", "-monitor", "none"]
    qemu = subprocess.Popen(
        [*command, "-serial", f"file:{said}", "-kernel", str(image)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    text, end = b"", time.monotonic() + PATIENCE_SECONDS
    try:
        while not (b"lilliput" in text and text.endswith(b"\r\n")):
            assert time.monotonic() < end, f"{machine} says only {text!r}"
            assert qemu.poll() is None, f"{machine} ended: {qemu.communicate()[1]!r}"
            time.sleep(0.05)
            text = said.read_bytes() if said.exists() else b""
    finally:
        qemu.kill()
        qemu.communicate()
    return text.decode("ascii").replace("\r\n", "\n").splitlines()


def semihosted(machine: str, image: Path) -> tuple[int, str]:
    """Exit code and text of an image that talks to its debugger, and so can end."""
    done = subprocess.run(
        [
            *(tool("qemu-system-arm"), "-M", machine, "-display", "none", "-monitor", "none"),
            *("-serial", "none", "-semihosting-config", "enable=on,target=native"),
            *("-kernel", str(image)),
        ],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr

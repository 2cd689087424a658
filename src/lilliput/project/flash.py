"""From a bare-metal project to a running board: the project's own Makefile, then pyOCD.

One idea: what will be done is a list of commands, made first; a dry run shows the list, a real run
goes through it.  Both tools are used as programs, so that neither has to be installed for the rest
of the package.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any, Final

from lilliput.devices.device import Core
from lilliput.emu.toolchain import find
from lilliput.errors import BuildError, FlashError, MissingTool, UsageError
from lilliput.project.bare_metal import IMAGE

_TIMEOUT_SECONDS: Final = 600
_INSTALL: Final = 'pip install "lilliput[flash]"'


@dataclass(frozen=True)
class Plan:
    """What `flash` does: `build` is None where no compiler is there, and the image is used as
    it is."""

    image: Path
    build: tuple[str, ...] | None
    write: tuple[str, ...]

    @property
    def commands(self) -> list[str]:
        return [" ".join(command) for command in (self.build, self.write) if command]


def plan(folder: Path, core: Core, target: str) -> Plan:
    """The commands for the project in `folder`; `target` is pyOCD's name of the part.

    Raises UsageError where there is neither an image nor a way to build one, or no target.
    """
    image = folder / IMAGE
    build = build_command(folder, core)
    if build is None and not image.is_file():
        raise UsageError(
            "no image is built",
            where=str(folder),
            expected=IMAGE,
            found="no image, and no make and compiler to build one",
            hint="build the project: README.md in it says how",
        )
    if not target:
        raise UsageError(
            "pyOCD's name of the part is not known",
            where=str(folder),
            expected="`pyocd` in the [start] table of the board's file",
            found="none",
            hint="name it with --target; `pyocd list --targets` lists them, `pyocd pack find PART` "
            "finds more",
        )
    write = (sys.executable, "-m", "pyocd", "load", "--target", target, str(image))
    return Plan(image, build, write)


def build_command(folder: Path, core: Core) -> tuple[str, ...] | None:
    """How the project's Makefile is called here, or None."""
    make = shutil.which("make")
    if make is None:
        return None
    for kind in ("gcc", "zig"):
        try:
            command = find(core, kind).command
        except MissingTool:
            continue
        call = (make, "-C", str(folder), f"TOOLCHAIN={kind}")
        if kind == "gcc":
            return (*call, f"GCC={command[0]}")
        return (*call, "ZIG=" + " ".join(command[: command.index("cc")]))
    return None


def flash(todo: Plan, log: Callable[[str], None]) -> None:
    """Builds and writes.

    Raises BuildError with the compiler's words, MissingTool without pyOCD, FlashError without a
    debug probe or with pyOCD's words.
    """
    if todo.build:
        log(" ".join(todo.build))
        done = _run(todo.build)
        if done.returncode != 0:
            raise BuildError(
                "the project does not build",
                where=str(todo.image),
                found=_end(done.stderr or done.stdout),
                hint="the command was: " + " ".join(todo.build),
            )
    require_probe()
    log(" ".join(todo.write))
    done = _run(todo.write)
    if done.returncode != 0:
        raise FlashError(
            "pyOCD did not write the image",
            where=str(todo.image),
            found=_end(done.stderr or done.stdout),
            hint="the command was: " + " ".join(todo.write),
        )


def require_probe() -> None:
    """Raises MissingTool without pyOCD, FlashError without a debug probe that it sees."""
    if util.find_spec("pyocd") is None:
        raise MissingTool(
            "pyOCD is not installed",
            expected=f"the Python package pyocd in {sys.executable}",
            found="none",
            hint=_INSTALL,
        )
    done = _run((sys.executable, "-m", "pyocd", "json", "--probes"))
    if _probes(done.stdout):
        return
    raise FlashError(
        "no debug probe was found",
        expected="a board or probe that `pyocd list` shows",
        found=_end(done.stderr) or "none",
        hint="connect the board's debug port by USB; on Linux a udev rule must allow it: "
        "https://pyocd.io/docs/installing.html",
    )


def _probes(text: str) -> list[Any]:
    try:
        return json.loads(text).get("boards", [])
    except ValueError:
        return []


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise FlashError(f"took more than {_TIMEOUT_SECONDS} s", found=" ".join(command)) from error


def _end(text: str, lines: int = 12) -> str:
    return "\n".join(text.strip().split("\n")[-lines:])

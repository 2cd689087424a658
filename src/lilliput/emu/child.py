"""A module of this package asked in a process of its own: what may abort must not take us along.

One idea: a question is a dictionary and arrays, and so is the answer; both lie in a folder that
the two processes share.  The module calls `answer` where it is run as a program.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lilliput.errors import EmulationError
from lilliput.ir.types import Array

Told = tuple[dict[str, Any], Mapping[str, Array]]
"""What JSON can hold, and arrays by name."""


def ask(module: str, who: str, told: Told, timeout: float) -> Told:
    """What the module answers to what it is told.

    who : what it runs, for errors
    Raises EmulationError where that refuses, fails, or takes longer than `timeout` seconds.
    """
    with tempfile.TemporaryDirectory(prefix="lilliput-") as temporary:
        folder = Path(temporary)
        _write(folder, "asked", told)
        _run(module, folder, who, timeout)
        facts, arrays = _read(folder, "answered")
    if "refused" in facts:
        raise EmulationError(f"{who} does not run the file", found=facts["refused"])
    return facts, arrays


def answer(work: Callable[[dict[str, Any], Mapping[str, Array]], Told]) -> None:
    """The other side of `ask`: what `work` raises is why it refuses."""
    folder = Path(sys.argv[1])
    try:
        found: Told = work(*_read(folder, "asked"))
    except Exception as error:
        found = {"refused": str(error)[:1000] or type(error).__name__}, {}
    _write(folder, "answered", found)


def _write(folder: Path, name: str, told: Told) -> None:
    facts, arrays = told
    (folder / f"{name}.json").write_text(json.dumps(facts), encoding="utf-8")
    np.savez(folder / f"{name}.npz", allow_pickle=False, **arrays)


def _read(folder: Path, name: str) -> Told:
    facts = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
        return facts, dict(arrays)


def _run(module: str, folder: Path, who: str, timeout: float) -> None:
    """`python -m module folder`."""
    path = os.pathsep.join([str(Path(__file__).resolve().parents[2]), *sys.path])
    command = [sys.executable, "-m", module, str(folder)]
    try:
        run = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        raise EmulationError(f"{who} did not end within {timeout:g} s") from error
    if run.returncode != 0:
        text = run.stderr.decode("utf-8", "replace").strip()
        raise EmulationError(f"{who} failed", found=f"exit code {run.returncode}\n{text[-1000:]}")

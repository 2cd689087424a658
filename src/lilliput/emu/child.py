"""A module of this package run in a process of its own: what may abort must not take us along."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from lilliput.errors import EmulationError


def run_module(module: str, folder: Path, who: str, timeout: float) -> None:
    """`python -m module folder`; raises EmulationError where it fails or takes too long.

    who : what it runs, for the error
    """
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

"""Writes requirements/*.lock from pyproject.toml: every version, every hash, every platform.

One idea: dev.lock is chosen first and constrains the others, so that any two of them can be
installed into one environment.  Run by `make lock`, with uv in the environment of this Python.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

LOCKS: dict[str, list[str]] = {
    "dev": ["--extra", "dev", "--group", "build"],
    "demo": ["--extra", "demo", "--group", "build", "-c", "requirements/dev.lock"],
    "oracle": ["--extra", "oracle", "-c", "requirements/dev.lock"],
}
"""Lock -> what of pyproject.toml goes into it."""


def main() -> None:
    """Compiles each lock in the order of `LOCKS`; ends with uv's exit status when one fails."""
    for name, arguments in LOCKS.items():
        done = subprocess.run(
            [
                *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "pyproject.toml"),
                *arguments,
                *("--universal", "--python-version", "3.11", "--generate-hashes", "--upgrade"),
                # One version for every supported Python, so that all machines run the same code.
                *("--fork-strategy", "fewest"),
                *("--custom-compile-command", "make lock", "--no-emit-package", "lilliput"),
                *("--output-file", f"requirements/{name}.lock"),
            ],
            cwd=ROOT,
            check=False,
        )
        if done.returncode:
            sys.exit(done.returncode)


if __name__ == "__main__":
    main()

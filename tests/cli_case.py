"""Running the command line within a test: arguments in, exit code and both streams out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lilliput.cli import main


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out)

    @property
    def text(self) -> str:
        """Both streams; no test may find a traceback in it."""
        return self.out + self.err


def environment(**more: str) -> dict[str, str]:
    """The environment of a child process that imports the package from this tree."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src"), **more}


Run = Callable[..., Result]


def runner(capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("check", path, ...)`; whatever happens, there is no traceback and no defect."""

    def run(*arguments: object, defect: bool = False) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        result = Result(int(left.value.code or 0), out, err)
        assert "Traceback" not in result.text
        assert defect or "internal error" not in result.text, result.text
        return result

    return run

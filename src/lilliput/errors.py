"""What can go wrong, as one tree.

    LilliputError
    ├── UsageError            a command or call was given something it cannot use
    │   ├── UnknownDevice     no board of that name (the nearest names are listed)
    │   └── OutputExists      the output folder is there already
    ├── ModelError            the network itself is at fault
    │   ├── FormatError       the file is truncated, mutated or of another format
    │   ├── UnsupportedError  operators or forms that would not compile, all at once
    │   └── GraphError        a graph breaks a rule of the IR
    │       └── TypeMismatch  an operator was given types it does not take
    ├── PlanError             no program can be made
    │   ├── DoesNotFit        it can, but not within this device's memories
    │   └── CertificateError  the independent checker refused a program
    ├── MissingTool           a compiler, an emulator or a solver is not installed
    ├── BuildError            a compiler refused the generated C
    ├── AnalysisError         an image cannot be analysed (recursion, indirect call)
    ├── EmulationError        a run faulted, hung, or never started
    ├── DataError             a data set cannot be read or used, every file that is wrong
    └── Mismatch              two ways of running the same network disagree

Every error carries one or more `Problem`s: what happened, where, what was expected and
found, and what to do next.  A stage collects its problems and raises once.  The command
line prints `str(error)` and exits with 1; a traceback is a defect.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    `where` names the file, node or key; `expected`, `found` and `hint` may be empty.
    """

    what: str
    where: str = ""
    expected: str = ""
    found: str = ""
    hint: str = ""

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        for label, text in (
            ("expected", self.expected),
            ("found", self.found),
            ("help", self.hint),
        ):
            if text:
                lines.append(f"  {label}: {text}")
        return "\n".join(lines)


class LilliputError(Exception):
    """The root of the tree.  Catch this to catch everything that Lilliput raises on purpose."""

    def __init__(
        self,
        what: str | Problem | Iterable[Problem],
        *,
        where: str = "",
        expected: object = "",
        found: object = "",
        hint: str = "",
    ) -> None:
        if isinstance(what, str):
            what = Problem(what, where, _text(expected), _text(found), hint)
        self.problems: tuple[Problem, ...] = (what,) if isinstance(what, Problem) else tuple(what)
        super().__init__("\n".join(str(p) for p in self.problems))


def _text(value: object) -> str:
    return value if isinstance(value, str) else repr(value)


class UsageError(LilliputError):
    """A command or call was given something it cannot use."""


class UnknownDevice(UsageError):
    """No board of that name."""


class OutputExists(UsageError):
    """The output folder is there already."""


class ModelError(LilliputError):
    """The network itself is at fault."""


class FormatError(ModelError):
    """The file is truncated, mutated, or of another format."""


class UnsupportedError(ModelError):
    """Operators or forms that would not compile; all of them are listed."""


class GraphError(ModelError):
    """A graph breaks a rule of the IR."""


class TypeMismatch(GraphError):
    """An operator was given types that it does not take."""


class PlanError(LilliputError):
    """No program can be made."""


class DoesNotFit(PlanError):
    """The program needs more memory than the device has."""


class CertificateError(PlanError):
    """The independent checker refused a program: a defect of the planner, never of the user."""


class MissingTool(LilliputError):
    """A compiler, an emulator or a solver is not installed."""


class BuildError(LilliputError):
    """A compiler refused the generated C."""


class FlashError(LilliputError):
    """An image was not written to a board: no probe, no board, or the tool refused."""


class AnalysisError(LilliputError):
    """An image cannot be analysed: recursion, an indirect call, a function of unknown size."""


class EmulationError(LilliputError):
    """A run faulted, hung, or never started."""


class DataError(LilliputError):
    """A data set cannot be read or used: every file that is wrong is listed."""


class Mismatch(LilliputError):
    """Two ways of running the same network disagree."""

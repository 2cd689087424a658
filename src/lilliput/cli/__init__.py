"""The command line: parses, calls one public function, prints what it returned.

One idea: what the user asked for decides the exit code (0 it holds, 1 it does not, 2 the
command was mistyped, 70 a defect of ours, 130 interrupted), and every error that is raised on
purpose is printed as its own text.  No command computes anything itself.

`lilliput --help` imports click and nothing heavy: commands import what they need when they run.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from typing import NoReturn

import click

from lilliput import __version__
from lilliput.cli.bench import bench
from lilliput.cli.build import check, compile_, inspect, profile
from lilliput.cli.flash import flash
from lilliput.cli.lists import devices, ops, pull
from lilliput.cli.program import demo, run
from lilliput.cli.quantize import quantize
from lilliput.cli.report import report
from lilliput.cli.shrink import shrink
from lilliput.cli.train import train
from lilliput.errors import LilliputError, Problem

OK, FAILED, MISTYPED, DEFECT, INTERRUPTED = 0, 1, 2, 70, 130
DEBUG_VARIABLE = "LILLIPUT_DEBUG"


class _Ordered(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)


BEGIN = """\b
Begin with:
  lilliput demo
  lilliput compile model.tflite --device stm32f746 -o firmware"""


@click.group(cls=_Ordered, epilog=BEGIN, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lilliput")
def lilliput() -> None:
    """Turns a trained network into C for a microcontroller, proven bit for bit."""


COMMANDS = (
    demo,
    inspect,
    compile_,
    check,
    profile,
    bench,
    report,
    quantize,
    train,
    shrink,
    run,
    flash,
    devices,
    ops,
    pull,
)

for _command in COMMANDS:
    lilliput.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs a command and leaves the process with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    code = _guarded(given)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has left; the interpreter would complain while closing it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _guarded(arguments: list[str]) -> int:
    """The exit code of a command; errors become text."""
    try:
        result = lilliput.main(arguments, prog_name="lilliput", standalone_mode=False)
    except LilliputError as error:
        return _report(arguments, FAILED, error.problems)
    except click.Abort:
        return _report(arguments, INTERRUPTED, [Problem("interrupted")])
    except click.ClickException as error:
        if _json(arguments):
            return _report(arguments, MISTYPED, [Problem(error.format_message())])
        error.show()
        return MISTYPED
    except OSError as error:
        where = "" if error.filename is None else str(error.filename)
        return _report(arguments, FAILED, [Problem(error.strerror or str(error), where)])
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc()
        what = f"internal error ({type(error).__name__}: {error}), please report it"
        hint = f"{DEBUG_VARIABLE}=1 shows where it happened"
        return _report(arguments, DEFECT, [Problem(" ".join(what.split()), hint=hint)])
    return result if isinstance(result, int) else OK


def _json(arguments: Sequence[str]) -> bool:
    return "--json" in arguments


def _report(arguments: Sequence[str], code: int, problems: Sequence[Problem]) -> int:
    if _json(arguments):
        click.echo(json.dumps({"error": [asdict(p) for p in problems]}, indent=1))
    else:
        for problem in problems:
            click.echo(f"lilliput: {problem}", err=True)
    return code


__all__ = ["lilliput", "main"]

"""What commands share: options with one wording, and how results and progress are printed.

One idea: results go to standard output, as text or as one JSON object; everything else goes to
standard error, so that a pipe sees only what was asked for.
"""

from __future__ import annotations

import json as json_text
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lilliput.errors import UsageError

if TYPE_CHECKING:
    from lilliput.compiler import Feed, Model, Options

F = TypeVar("F", bound=Callable[..., Any])

json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
device = click.option(
    "--device", "-d", required=True, metavar="NAME", help="A board or core: `lilliput devices`."
)
seed = click.option("--seed", default=0, show_default=True, help="Of the random inputs.")
emulator = click.option(
    "--emulator",
    type=click.Choice(["auto", "unicorn", "qemu"]),
    default="auto",
    show_default=True,
    help="What runs the emulated core.",
)
optimize = click.option(
    "--optimize",
    type=click.Choice(["speed", "size", "ram"]),
    default="speed",
    show_default=True,
    help="The fastest plan that fits, the one with the least flash, or with the least RAM.",
)
ram = click.option(
    "--ram",
    metavar="SIZE",
    help="Bytes of RAM that it may take, stack included, where not all of the device: 48kB, 0.5MB.",
)
memories = click.option(
    "--memories",
    metavar="NAMES",
    help="What may be used beside the default RAM and flash, as in dtcm,sdram; `none` for nothing. "
    "All that the board leaves to the planner where not given.",
)
exact = click.option(
    "--exact",
    is_flag=True,
    help="Prove that buffers cannot be placed better, with OR-tools where that is open.",
)
profile = click.option(
    "--profile", "profiled", is_flag=True, help="Count the instructions for the report, too."
)
shrink = click.option(
    "--shrink/--no-shrink",
    default=True,
    help="Leave out what provably does not matter to the outputs, or compile all of it.",
)
io = click.option(
    "--io",
    type=click.Choice(["int8", "float"]),
    default="int8",
    show_default=True,
    help="What the ends of a quantised network are.",
)
feed = click.option(
    "--input",
    "feed",
    type=click.Choice(["memory", "callback", "push"]),
    default="memory",
    show_default=True,
    help="Inputs are written into memory, asked for row by row, or pushed row by row.",
)
model = click.argument("model", metavar="MODEL")
stream_axis = click.option(
    "--stream-axis",
    metavar="AXIS",
    help="Compile a step that takes the newest frames only: `time`, or the number of the input's "
    "axis that is time.",
)
hop = click.option(
    "--hop",
    metavar="N",
    type=click.IntRange(min=1),
    help="With --stream-axis: frames a step takes; as few as can be where not given.",
)


def example(command: str) -> str:
    """What a command's help ends with."""
    return f"\b\nExample:\n  {command}"


def compiler(*more: str) -> Callable[[F], F]:
    """The option that chooses a C compiler."""
    return click.option(
        "--compiler",
        type=click.Choice(["auto", "gcc", "clang", "zig", *more]),
        default="auto",
        show_default=True,
        help="auto takes GCC, else Clang, else Zig." + (" none does not link." if more else ""),
    )


def options(
    compiler: str,
    optimize: str,
    shrink: bool = True,
    feed: Feed = "memory",
    exact: bool = False,
    ram: str | None = None,
    memories: str | None = None,
) -> Options:
    """The pipeline's options from those of a command."""
    from lilliput.compiler import Options
    from lilliput.plan.build import PlanOptions
    from lilliput.plan.objective import Optimize

    plan = PlanOptions(exact=exact)
    return Options(
        compiler=compiler,
        optimize=Optimize(optimize),
        plan=plan,
        ram=None if ram is None else size(ram, "--ram"),
        shrink=shrink,
        feed=feed,
        memories=None if memories is None else _names(memories),
    )


def _names(text: str) -> frozenset[str]:
    """The memories of "dtcm,sdram"; none of "none"."""
    names = frozenset(name.strip() for name in text.split(","))
    return frozenset() if names == {"none"} else names - {""}


UNITS = {"": 1, "b": 1, "kb": 1024, "mb": 1024**2}


def size(text: str, where: str) -> int:
    """Bytes of "49152", "48kB" or "0.5MB", case aside; a kB is 1,024 bytes, as everywhere.

    Raises UsageError.
    """
    found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([km]?b|)", text.strip().lower())
    count = int(Fraction(found[1]) * UNITS[found[2]]) if found else 0
    if count < 1:
        raise UsageError(
            "no such size",
            where=where,
            expected="bytes, 1 or more, as in 49152, 48kB or 0.5MB (a kB is 1,024 bytes)",
            found=text,
        )
    return count


def load(
    path: str, io: str, stream_axis: str | None, hop: int | None, shrink: bool = True
) -> Model:
    """The network of a file, or its step over time."""
    from lilliput import compiler
    from lilliput.passes.streaming import Stream

    network = compiler.load(path, io=io)
    if stream_axis is None:
        if hop is not None:
            raise UsageError("--hop says how a step over time goes", hint="add --stream-axis time")
        return network
    if stream_axis != "time" and not stream_axis.isdecimal():
        raise UsageError(
            "no such axis", where="--stream-axis", expected="time, or a number", found=stream_axis
        )
    axis = None if stream_axis == "time" else int(stream_axis)
    return compiler.over_time(network, Stream(axis, hop), shrink=shrink, log=log)


def log(message: str) -> None:
    """One line of progress."""
    click.echo(click.style(f"  {message}", dim=True), err=True)


def show(as_json: bool, value: Mapping[str, object], text: str) -> None:
    """The result of a command."""
    click.echo(json_text.dumps(value, indent=1, allow_nan=False) if as_json else text)

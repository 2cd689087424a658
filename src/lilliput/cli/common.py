"""What commands share: options with one wording, and how results and progress are printed.

One idea: results go to standard output, as text or as one JSON object; everything else goes to
standard error, so that a pipe sees only what was asked for.
"""

from __future__ import annotations

import functools
import json as json_text
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from lilliput.errors import UsageError

if TYPE_CHECKING:
    from lilliput.compiler import Model, Options

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
max_extra_macs = click.option(
    "--max-extra-macs",
    metavar="SHARE",
    default="3%",
    show_default=True,
    help="What may be computed again for less RAM, of all multiply-accumulates: 10%, 0.1, or 0.",
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
project = click.option(
    "--project",
    type=click.Choice(["bare-metal", "arduino", "zephyr"]),
    is_flag=False,
    flag_value="bare-metal",
    help="Write a whole project around the C; alone it means bare-metal, an image that boots.",
)
profile = click.option(
    "--profile", "profiled", is_flag=True, help="Count the instructions for the report, too."
)
shrink = click.option(
    "--shrink/--no-shrink",
    default=True,
    help="Leave out what provably does not matter to the outputs, or compile all of it.",
)


feed = click.option(
    "--input",
    "feed",
    type=click.Choice(["memory", "callback", "push"]),
    default="memory",
    show_default=True,
    help="Inputs are written into memory, asked for row by row, or pushed row by row.",
)


@dataclass(frozen=True)
class Ends:
    """What the ends of a network are: integers or floats, rows of pixels or maps."""

    io: str
    channels_last: bool


def ends(command: F) -> F:
    """The options that say what a network takes and gives; they arrive as `ends`."""

    @click.option(
        "--io",
        type=click.Choice(["int8", "float"]),
        default="int8",
        show_default=True,
        help="What the ends of a quantised network are.",
    )
    @click.option(
        "--channels-last",
        is_flag=True,
        help="Pictures that the file has channels first come and go as rows of pixels.",
    )
    @functools.wraps(command)
    def wrapped(*args: Any, io: str, channels_last: bool, **more: Any) -> Any:
        return command(*args, ends=Ends(io, channels_last), **more)

    return cast(F, wrapped)


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

front_end = click.option(
    "--front-end",
    metavar="FILE",
    help="A TOML file of a front end that is put before the network, which then reads raw samples.",
)


@dataclass(frozen=True)
class Network:
    """A network's file, and what is made of it before it is compiled."""

    path: str
    ends: Ends
    front_end: str | None
    stream_axis: str | None
    hop: int | None

    def load(self, *, shrink: bool = True) -> Model:
        """The network of the file, behind a front end where one is named, or its step over time."""
        from lilliput import audio, compiler
        from lilliput.passes.streaming import Stream

        found = compiler.load(self.path, io=self.ends.io, channels_last=self.ends.channels_last)
        if self.front_end is not None:
            joined = audio.prepend(audio.read(self.front_end), found.module)
            found = compiler.from_module(joined)
        axis = self.stream_axis
        if axis is None:
            if self.hop is not None:
                hint = "add --stream-axis time"
                raise UsageError("--hop says how a step over time goes", hint=hint)
            return found
        if axis != "time" and not axis.isdecimal():
            expected = "time, or a number"
            raise UsageError("no such axis", where="--stream-axis", expected=expected, found=axis)
        stream = Stream(None if axis == "time" else int(axis), self.hop)
        return compiler.over_time(found, stream, shrink=shrink, log=log)


def network(command: F) -> F:
    """MODEL and the options that say what is made of it; they arrive as `network`."""

    @model
    @ends
    @front_end
    @stream_axis
    @hop
    @functools.wraps(command)
    def wrapped(
        *args: Any,
        model: str,
        ends: Ends,
        front_end: str | None,
        stream_axis: str | None,
        hop: int | None,
        **more: Any,
    ) -> Any:
        return command(*args, network=Network(model, ends, front_end, stream_axis, hop), **more)

    return cast(F, wrapped)


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


def planning(*compilers: str) -> Callable[[F], F]:
    """The options that say how a network is planned and compiled; they arrive as `options`."""

    def decorate(command: F) -> F:
        @optimize
        @ram
        @max_extra_macs
        @memories
        @exact
        @shrink
        @compiler(*compilers)
        @functools.wraps(command)
        def wrapped(
            *args: Any,
            optimize: str,
            ram: str | None,
            max_extra_macs: str,
            memories: str | None,
            exact: bool,
            shrink: bool,
            compiler: str,
            **more: Any,
        ) -> Any:
            chosen = options(
                compiler,
                optimize,
                ram=None if ram is None else size(ram, "--ram"),
                extra_macs=share(max_extra_macs, "--max-extra-macs"),
                memories=None if memories is None else _names(memories),
                exact=exact,
                shrink=shrink,
            )
            return command(*args, options=chosen, **more)

        return cast(F, wrapped)

    return decorate


def options(
    compiler: str,
    optimize: str,
    *,
    ram: int | None = None,
    extra_macs: float | None = None,
    memories: frozenset[str] | None = None,
    exact: bool = False,
    shrink: bool = True,
) -> Options:
    """The pipeline's options from those of a command."""
    from lilliput.compiler import Options
    from lilliput.plan.objective import Optimize
    from lilliput.plan.options import EXTRA_MACS, PlanOptions

    extra = EXTRA_MACS if extra_macs is None else extra_macs
    return Options(
        compiler=compiler,
        optimize=Optimize(optimize),
        plan=PlanOptions(exact=exact, extra_macs=extra),
        ram=ram,
        shrink=shrink,
        memories=memories,
    )


def _names(text: str) -> frozenset[str]:
    """The memories of "dtcm,sdram"; none of "none"."""
    names = frozenset(name.strip() for name in text.split(","))
    return frozenset() if names == frozenset({"none"}) else names - {""}


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


def share(text: str, where: str) -> float:
    """Part of a whole: "10%" and "0.1" are 0.1.

    Raises UsageError for what is no number, negative, or more than 1,000 %.
    """
    found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,6})?) ?(%?)", text.strip())
    value = float(Fraction(found[1]) / (100 if found[2] else 1)) if found else -1.0
    if not 0 <= value <= 10:
        raise UsageError(
            "no such share",
            where=where,
            expected="a part of the multiply-accumulates, as in 3%, 0.03 or 0 (at most 1000%)",
            found=text,
        )
    return value


def log(message: str) -> None:
    """One line of progress."""
    click.echo(click.style(f"  {message}", dim=True), err=True)


def show(as_json: bool, value: Mapping[str, object], text: str) -> None:
    """The result of a command."""
    click.echo(json_text.dumps(value, indent=1, allow_nan=False) if as_json else text)

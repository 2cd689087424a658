"""Writes docs/commands.md from the command line, by `python -m tools.command_table`.

One idea: the page is what the commands say of themselves.  Not a tutorial: that is the README.
"""

from __future__ import annotations

import inspect
import sys
from textwrap import dedent

import click

from lilliput.cli import lilliput

HEAD = """# Commands

Written by `python -m tools.command_table` from the command line; do not edit. What `lilliput
COMMAND -h` says is the same. With `--json` every command prints one JSON object on standard output,
and what it is doing on standard error. What the numbers mean is in
[reading-the-report.md](reading-the-report.md).

| exit code | meaning |
|---|---|
| 0 | what was asked for holds |
| 1 | it does not hold, or cannot be done: the text says what, where, why, and what to do |
| 2 | the command was mistyped |
| 70 | a defect of Lilliput; `LILLIPUT_DEBUG=1` shows where |
| 130 | interrupted |
"""


def render() -> str:
    """The whole page."""
    return HEAD + "".join(section(name, c) for name, c in lilliput.commands.items())


def section(name: str, command: click.Command) -> str:
    """Usage, help text and options of one command."""
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    usage = " ".join([f"lilliput {name}", *(argument(p) for p in arguments), "[OPTIONS]"])
    rows = "".join(f"| {spelling(p)} | {meaning(p)} |\n" for p in options)
    table = f"\n| option | meaning |\n|---|---|\n{rows}" if rows else ""
    text = inspect.cleandoc(command.help or "")
    example = dedent((command.epilog or "").partition("Example:\n")[2]).strip()
    fence = f"\n```\n{example}\n```\n" if example else ""
    return f"\n## {name}\n\n`{usage}`\n\n{text.strip()}\n{fence}{table}"


def argument(parameter: click.Argument) -> str:
    name = (parameter.metavar or parameter.name or "").strip("[]").upper()
    return name if parameter.required else f"[{name}]"


def spelling(option: click.Option) -> str:
    """The option as it is typed, and what kind of value it takes."""
    names = ", ".join(f"`{o}`" for o in (*option.opts, *option.secondary_opts))
    if option.is_flag:
        return names
    if isinstance(option.type, click.Choice):
        return f"{names} " + ", ".join(f"`{choice}`" for choice in option.type.choices)
    return f"{names} {(option.metavar or option.type.name).upper()}"


def meaning(option: click.Option) -> str:
    text = " ".join((option.help or "").split()).replace("|", "\\|")
    return f"{text} (required)" if option.required else text


if __name__ == "__main__":
    sys.stdout.write(render())

"""Where the files of each kind of project lie.

One idea: a project is a mapping of paths to texts and the folder of the emitted C in it (`base`);
the kinds are one table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from lilliput.devices import Device, Start
from lilliput.errors import UsageError
from lilliput.plan.program import Program
from lilliput.project.arduino import UNCONTRACTED, arduino
from lilliput.project.bare_metal import bare_metal, firmware_sources
from lilliput.project.self_test import SelfTest
from lilliput.project.zephyr import zephyr

Kind = Literal["bare-metal", "arduino", "zephyr"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


@dataclass(frozen=True)
class Project:
    """What surrounds the emitted C.

    base    : the folder that the emitted C lies in, "" or `src`
    head    : what its `NAME.c` begins with
    files   : all other files but the manifest, path -> text
    sources : those of them that a bare-metal image has beside the emitted C and start-up
    """

    kind: Kind
    base: str
    head: str
    files: Mapping[str, str]
    sources: Mapping[str, str]


Builder = Callable[[Program, Device, SelfTest], dict[str, str]]

_BUILDERS: Final[Mapping[Kind, tuple[str, Builder]]] = {
    "bare-metal": ("", bare_metal),
    "arduino": ("src", arduino),
    "zephyr": ("src", zephyr),
}


def project(kind: Kind, program: Program, device: Device, test: SelfTest) -> Project:
    """The files of a project of that kind for `program` on `device`.

    Raises UsageError for a bare-metal project on a board whose start-up is not known.
    """
    if kind == "bare-metal":
        require_start(device)
    base, build = _BUILDERS[kind]
    files = build(program, device, test)
    sources = firmware_sources(files) if kind == "bare-metal" else {}
    head = UNCONTRACTED if kind == "arduino" else ""
    return Project(kind, base, head, files, sources)


def require_start(device: Device) -> Start:
    """What is known of the board's start; raises UsageError where nothing is."""
    if device.start is None or device.core.arch != "arm":
        raise UsageError(
            "no whole firmware can be written for this device",
            where=device.name,
            expected="a board of an Arm core whose file has a [start] table",
            found="no [start]" if device.start is None else device.core.title,
            hint="take --project arduino or zephyr, whose boards start by themselves, or describe "
            "the board: docs/adding-a-board.md",
        )
    return device.start

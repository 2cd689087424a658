"""report: what was compiled, or would be, for a person to look at.

Thin over `lilliput.compiler` and `lilliput.report`: a folder is read back, a network is compiled
whether it fits or not.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lilliput.cli import common
from lilliput.errors import UsageError

if TYPE_CHECKING:
    from lilliput.compiler import Options
    from lilliput.report import Summary


@click.command(epilog=common.example("lilliput report firmware"))
@click.argument("path", metavar="PATH")
@click.option("--device", "-d", metavar="NAME", help="For a network: the board or core.")
@click.option("--html", metavar="FILE", help="Write the page into this file, too.")
@click.option("--ascii", "plain", is_flag=True, help="Draw with ASCII only.")
@common.planning("none")
@common.ends
@common.profile
@common.json
def report(
    path: str,
    device: str | None,
    html: str | None,
    plain: bool,
    options: Options,
    ends: common.Ends,
    profiled: bool,
    as_json: bool,
) -> None:
    """Shows memory over time, layers, and what would help to fit.

    PATH is a folder that compile wrote, or a network, which need not fit the device.
    """
    from lilliput import report as reports

    if Path(path).is_dir():
        summary = _of_folder(path, device, profiled=profiled)
    else:
        summary = _of_network(path, device, options, ends, profiled=profiled)
    if html is not None:
        Path(html).write_text(reports.page(summary), encoding="utf-8", newline="\n")
    text = reports.report(summary, ascii_only=plain or not _shows_blocks())
    common.show(as_json, summary.to_json(), text + (f"\n\nThe page is {html}." if html else ""))


def _of_folder(path: str, device: str | None, *, profiled: bool) -> Summary:
    from lilliput import compiler as pipeline

    if device is not None or profiled:
        raise UsageError(
            "the folder is compiled already",
            where=path,
            expected="no --device and no --profile",
            found="--profile" if profiled else f"--device {device}",
            hint="give the network in place of the folder, or `lilliput compile --profile`",
        )
    return pipeline.read_summary(path)


def _of_network(
    path: str, device: str | None, options: Options, ends: common.Ends, *, profiled: bool
) -> Summary:
    from lilliput import compiler as pipeline
    from lilliput import devices

    if device is None:
        raise UsageError(
            "a network needs a device to be reported for",
            where=path,
            expected="--device NAME",
            hint="`lilliput devices` lists all; a folder that compile wrote needs none",
        )
    board, network = (
        devices.load(device),
        pipeline.load(path, io=ends.io, channels_last=ends.channels_last),
    )
    compiled = pipeline.compile(network, board, options, common.log, must_fit=False)
    if profiled:
        compiled = pipeline.counted(compiled, options, common.log)
    return compiled.summary


def _shows_blocks() -> bool:
    """Whether standard output can encode what bars are drawn with."""
    try:
        "█│·…".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True

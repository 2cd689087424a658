"""flash: from a project's folder to a running board.

Thin over `lilliput.project.flash`; only the words are here.
"""

from __future__ import annotations

import click

from lilliput.cli import common


@click.command(epilog=common.example("lilliput flash firmware --dry-run"))
@click.argument("folder", metavar="DIR")
@click.option(
    "--device", "-d", metavar="NAME", help="Another board than the project was written for."
)
@click.option("--target", metavar="PART", help="pyOCD's name of the part: `pyocd list --targets`.")
@click.option("--dry-run", is_flag=True, help="Print the commands, do nothing.")
@common.json
def flash(
    folder: str, device: str | None, target: str | None, dry_run: bool, as_json: bool
) -> None:
    """Builds a project and writes its image to a board, by pyOCD."""
    from lilliput import compiler, devices
    from lilliput.devices import cores
    from lilliput.project import flash as tool

    project = compiler.read_firmware(folder)
    part = target or project.pyocd
    if device and not target:
        start = devices.load(device).start
        part = start.pyocd if start else ""
    todo = tool.plan(project.path, cores()[project.core], part)
    if not dry_run:
        tool.flash(todo, common.log)
    value = {"image": str(todo.image), "target": part, "commands": todo.commands}
    done = "would run" if dry_run else "ran"
    text = "\n".join(f"{done}: {command}" for command in todo.commands)
    common.show(as_json, {**value, "written": not dry_run}, text)

"""devices, ops, pull: what there is to choose from.

Thin over `lilliput.devices`, `lilliput.ops` and `lilliput.pull`; only the tables are here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lilliput.cli import common

if TYPE_CHECKING:
    from lilliput.devices import Device

KIB = 1024


@click.command(epilog=common.example("lilliput devices -v"))
@click.option("-v", "--verbose", is_flag=True, help="Every memory, and where each number is from.")
@common.json
def devices(verbose: bool, as_json: bool) -> None:
    """Lists the boards and cores to compile for."""
    from lilliput import devices as boards

    found = sorted((boards.load(n) for n in boards.names()), key=lambda d: (not d.limits, d.name))
    head = ("device", "core", "clock", "RAM", "flash", "part")
    rows = [_device_row(d) for d in found]
    text = _table(head, rows)
    if verbose:
        text += "\n\n" + "\n\n".join(_device_text(d) for d in found if d.limits)
    else:
        text += "\n\nA board of your own: a .toml file, by its path or in a folder that"
        text += " LILLIPUT_BOARDS names."
    common.show(as_json, {"devices": [_device_json(d) for d in found]}, text)


def _device_row(device: Device) -> tuple[str, ...]:
    clock = f"{device.clock_hz / 1e6:g} MHz" if device.clock_hz else "-"
    sizes = ("-", "-")
    if device.limits:
        sizes = f"{device.ram_bytes / KIB:,g} kB", f"{device.flash_bytes / KIB:,g} kB"
    return (device.name, device.core.name, clock, *sizes, device.title)


def _device_text(device: Device) -> str:
    lines = [device.name]
    for m in device.memories:
        notes = f"{' default' if m.default else ''}{'' if m.direct else ' by copy'}"
        lines.append(f"  {m.name:<12}{m.kind:<6}{m.origin:#010x} {m.size / KIB:>8,g} kB{notes}")
    return "\n".join([*lines, *(f"  {key}: {text}" for key, text in device.sources.items())])


def _device_json(device: Device) -> dict[str, object]:
    return {
        "name": device.name,
        "title": device.title,
        "core": device.core.name,
        "clock_hz": device.clock_hz,
        "limits": device.limits,
        "ram_bytes": device.ram_bytes if device.limits else None,
        "flash_bytes": device.flash_bytes if device.limits else None,
        "memories": [
            {
                "name": m.name,
                "kind": m.kind,
                "origin": m.origin,
                "size": m.size,
                "direct": m.direct,
                "default": m.default,
            }
            for m in device.memories
        ],
        "sources": dict(device.sources),
    }


@click.command(epilog=common.example("lilliput ops"))
@common.json
def ops(as_json: bool) -> None:
    """Lists the operators and whose results each type equals."""
    from lilliput.ir.types import DType
    from lilliput.ops import all_ops

    shown = [d for d in DType if any(d in op.dtypes for op in all_ops())]
    head = ("operator", *(d.value for d in shown))
    rows = [
        (op.name, *(op.held_against(d).split(" ")[0] if d in op.dtypes else "-" for d in shown))
        for op in all_ops()
    ]
    value = {
        "operators": [
            {
                "name": op.name,
                "doc": " ".join(op.doc.split()),
                "dtypes": [d.value for d in op.dtypes],
                "oracle": {d.value: op.held_against(d) for d in op.dtypes},
            }
            for op in all_ops()
        ]
    }
    common.show(as_json, value, _table(head, rows))


@click.command(epilog=common.example("lilliput pull mlperf-tiny-kws"))
@click.argument("name", metavar="[NAME]", required=False)
@common.json
def pull(name: str | None, as_json: bool) -> None:
    """Fetches a public model and prints its path, or lists them all."""
    from lilliput import pull as store

    if name is not None:
        path = store.pull(name, common.log)
        common.show(as_json, {"name": name, "path": str(path)}, str(path))
        return
    entries = store.models().values()
    rows = [(e.name, f"{e.bytes:,} B", e.licence, e.title) for e in entries]
    value = {
        "models": [
            {"name": e.name, "title": e.title, "bytes": e.bytes, "licence": e.licence, "url": e.url}
            for e in entries
        ]
    }
    common.show(as_json, value, _table(("model", "size", "licence", "what it is"), rows))


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    )

"""Writes docs/devices.md from the board files: `python -m tools.device_table > docs/devices.md`.

One idea: the table is the TOML files, read by the code that users' boards go through.  Not a
recommendation, and no word about peripherals.
"""

from __future__ import annotations

import sys

from lilliput.devices import Device, Memory, load
from lilliput.devices.device import BOARDS_VARIABLE, names

KIB = 1024
MEGA = 1_000_000

HEAD = f"""# Devices

Written by `python -m tools.device_table` from the board files; do not edit. `lilliput devices`
lists the same with the boards of your own, from the folders in `{BOARDS_VARIABLE}`: see
[adding-a-board.md](adding-a-board.md). Sizes are in kB of 1,024 bytes. The first RAM holds arena,
static data and stack by default, the first flash code and constants. *by copy* marks a memory that
kernels cannot read in place. Each board's file names the document that every number is from.

| device | part | core | clock | RAM | flash |
|---|---|---|---|---|---|
"""


def render() -> str:
    """The whole page."""
    devices = [load(name) for name in names()]
    ordered = sorted(devices, key=lambda d: (not d.limits, d.name))
    return HEAD + "".join(row(d) for d in ordered)


def row(device: Device) -> str:
    clock = f"{device.clock_hz / MEGA:g} MHz" if device.clock_hz else "-"
    cells = (f"`{device.name}`", device.title, device.core.name, clock)
    return "| " + " | ".join((*cells, memories(device, "ram"), memories(device, "flash"))) + " |\n"


def memories(device: Device, kind: str) -> str:
    """`sram 320, itcm 16`, the default first; generic boards have no limits."""
    if not device.limits:
        return "-"
    mine = sorted((m for m in device.memories if m.kind == kind), key=lambda m: not m.default)
    return ", ".join(size(m) for m in mine)


def size(memory: Memory) -> str:
    far = "" if memory.direct else " (by copy)"
    return f"{memory.name} {memory.size / KIB:,g}{far}"


if __name__ == "__main__":
    sys.stdout.write(render())

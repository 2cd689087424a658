"""How a board starts: what a whole firmware needs to know beyond cores and memories.

The idea: the `[start]` table of a board file is read into a `Start`, with every problem named; the
writing to registers that a console needs is a list of rows, so that no board needs code.  A board
without the table can be compiled for, but no bare-metal project can be written for it.  This module
is not a clock tree: a board runs on the clock that it has after reset.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final, cast

from lilliput import errors

UARTS: Final = ("cmsdk", "nrf", "stm32-v1", "stm32-v2")
BAUD: Final = 115200

# Key -> (type, its name in messages, required), as for the other tables of a board file.
START_KEYS: Final[Mapping[str, tuple[type, str, bool]]] = {
    "clock_hz": (int, "a whole number", True),
    "uart": (str, "text", False),
    "uart_address": (int, "a whole number", False),
    "uart_clock_hz": (int, "a whole number", False),
    "setup": (list, "a list of [address, bits to clear, bits to set]", False),
    "qemu": (str, "text", False),
    "pyocd": (str, "text", False),
}


@dataclasses.dataclass(frozen=True)
class Uart:
    """A serial port at `BAUD`.

    driver   : one of `UARTS`
    clock_hz : what its divider is fed with after reset
    """

    driver: str
    address: int
    clock_hz: int


@dataclasses.dataclass(frozen=True)
class Start:
    """What runs before and around `main`.

    The core takes stack and program counter from the start of the default flash, or of a flash
    memory named `vectors`.

    clock_hz : of the core after reset; nothing changes it
    uart     : where text goes; None where only a debugger listens
    setup    : (address, bits to clear, bits to set) of 32-bit registers, in order, before the
               serial port is used: clocks of peripherals and the function of a pin
    qemu     : the QEMU machine with this memory map, "" where there is none
    pyocd    : what pyOCD calls the part, "" where it needs a pack or does not know it
    """

    clock_hz: int
    uart: Uart | None
    setup: tuple[tuple[int, int, int], ...]
    qemu: str
    pyocd: str


def read_start(table: Mapping[str, object]) -> Start:
    """The value of a table without problems."""
    clock_hz = cast(int, table["clock_hz"])
    uart = None
    if "uart" in table:
        fed = cast(int, table.get("uart_clock_hz", clock_hz))
        uart = Uart(cast(str, table["uart"]), cast(int, table["uart_address"]), fed)
    rows = cast(list[list[int]], table.get("setup", []))
    return Start(
        clock_hz,
        uart,
        tuple((address, clear, put) for address, clear, put in rows),
        cast(str, table.get("qemu", "")),
        cast(str, table.get("pyocd", "")),
    )


def start_problems(where: str, table: Mapping[str, object]) -> list[errors.Problem]:
    """What is wrong with the values of a table whose keys and types are right."""
    found: list[errors.Problem] = []
    uart = table.get("uart")
    if uart is not None and uart not in UARTS:
        known = "one of " + ", ".join(UARTS)
        found.append(errors.Problem("unknown serial port", f"{where}.uart", known, str(uart)))
    if (uart is None) != ("uart_address" not in table):
        found.append(
            errors.Problem("half a serial port", where, "both uart and uart_address", "one of them")
        )
    for key in ("clock_hz", "uart_clock_hz"):
        value = table.get(key, 1)
        if not isinstance(value, int) or value <= 0:
            found.append(errors.Problem("bad value", f"{where}.{key}", "more than 0", repr(value)))
    for k, row in enumerate(cast(list[object], table.get("setup", []))):
        if not _is_row(row):
            expected = "[address, bits to clear, bits to set], each of 32 bits"
            found.append(errors.Problem("bad value", f"{where}.setup[{k}]", expected, repr(row)))
    return found


def _is_row(row: object) -> bool:
    if not isinstance(row, list):
        return False
    numbers = cast(list[object], row)
    return len(numbers) == 3 and all(type(n) is int and 0 <= n < 1 << 32 for n in numbers)

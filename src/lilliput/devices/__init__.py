"""Boards and cores as data: `load("stm32f746")`, `names()`.

One TOML file a board, one table a core; nothing else in the project knows a board by name.
This package does not know how code is compiled, placed or run.
"""

from lilliput.devices.device import Core, Device, Memory, QemuMachine, cores, load, names
from lilliput.devices.flash import FlashTiming
from lilliput.devices.start import Start, Uart

__all__ = [
    "Core",
    "Device",
    "FlashTiming",
    "Memory",
    "QemuMachine",
    "Start",
    "Uart",
    "cores",
    "load",
    "names",
]

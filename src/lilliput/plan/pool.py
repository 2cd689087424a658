"""What a program has in memory, as it is being planned: named buffers and constants.

One pool serves all entries of a module, so that they share constants, and two constants of
equal bytes are one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from lilliput.devices.device import Device
from lilliput.ir.op import PLAIN, Packing
from lilliput.ir.types import Array
from lilliput.plan.program import Buffer, Const, Kind

Homes = Mapping[str, str]


@dataclass
class Pool:
    """`buffers` and `consts` by name; `constants`: what was asked for -> the buffer it is in;
    `near`: (what a loop makes, its line buffers) or (these, what dies in it) -> how far the second
    starts behind the first, at least, where they may meet."""

    device: Device
    homes: Homes
    buffers: dict[str, Buffer] = field(default_factory=dict[str, Buffer])
    near: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    consts: dict[str, Const] = field(default_factory=dict[str, Const])
    constants: dict[str, str] = field(default_factory=dict[str, str])
    contents: dict[tuple[str, str, bytes], str] = field(
        default_factory=dict[tuple[str, str, bytes], str]
    )

    def buffer(
        self, name: str, nbytes: int, kind: Kind, memory: str | None = None, itemsize: int = 1
    ) -> str:
        """Makes a buffer in `memory`, else in its home, else in the device's default memory;
        aligned to its elements, and where it shares an arena to words."""
        default = self.device.flash.name if kind is Kind.CONST else self.device.ram.name
        home = memory or self.homes.get(name, default)
        self.device.memory(home)
        align = itemsize if kind is Kind.CONST else max(itemsize, 4)
        self.buffers[name] = Buffer(name, home, nbytes, kind, align)
        return name

    def align(self, name: str, align: int) -> None:
        """Raises the alignment of a buffer to what a kernel asks for."""
        if align > self.buffers[name].align:
            self.buffers[name] = replace(self.buffers[name], align=align)

    def constant(self, name: str, data: Array, packing: Packing) -> str:
        """The buffer of a constant as `packing` lays it out; one for all that are equal."""
        key = name if packing is PLAIN else f"{name}@{packing.name}"
        if key not in self.constants:
            packed = np.ascontiguousarray(packing.pack(data))
            memory = self.homes.get(name, self.device.flash.name)
            content = (memory, packed.dtype.str, packed.tobytes())
            if content not in self.contents:
                self.contents[content] = self.buffer(
                    key, packed.nbytes, Kind.CONST, memory, packed.itemsize
                )
                self.consts[key] = Const(key, packed, packing.name, name)
            self.constants[key] = self.contents[content]
        return self.constants[key]

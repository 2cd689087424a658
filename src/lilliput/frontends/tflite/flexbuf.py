"""The maps of numbers in which custom operators keep their options (FlexBuffers).

Read only, and only what such options are: one map from names to numbers.  The format is
read from its end; every offset is checked.  Specification: FlexBuffers' internals in the
FlatBuffers documentation.
"""

from __future__ import annotations

import struct

from lilliput.errors import FormatError

MAX_KEYS = 256
_INT, _UINT, _FLOAT, _MAP, _BOOL = 1, 2, 3, 9, 26
_INDIRECT = {6: _INT, 7: _UINT, 8: _FLOAT}
_CODES = {_INT: "bhiq", _UINT: "BHIQ", _FLOAT: "?efd", _BOOL: "BHIQ"}
"""Struct codes by log2 of the width in bytes; floats of one byte do not exist."""


class _Data:
    def __init__(self, data: bytes):
        self.data = data

    def number(self, at: int, kind: int, width: int) -> float | int:
        """The number of `width` = 1, 2, 4 or 8 bytes at `at`."""
        if width not in (1, 2, 4, 8) or at < 0 or at + width > len(self.data):
            raise FormatError("options of a custom operator are damaged", found=f"byte {at}")
        if kind == _FLOAT and width == 1:
            raise FormatError("options of a custom operator are damaged", found="a float of 1 byte")
        code = _CODES[kind][width.bit_length() - 1]
        return struct.unpack_from("<" + code, self.data, at)[0]

    def size(self, at: int, width: int) -> int:
        return int(self.number(at, _UINT, width))

    def follow(self, at: int, width: int) -> int:
        """Where the offset at `at`, which counts backwards, leads."""
        return at - self.size(at, width)

    def name(self, at: int) -> str:
        end = self.data.find(b"\0", at) if 0 <= at < len(self.data) else -1
        if end < 0:
            raise FormatError("options of a custom operator are damaged", found="a name")
        return self.data[at:end].decode("utf-8", "replace")


def numbers(data: bytes) -> dict[str, float | int]:
    """Name -> number, of the map that `data` is; what is no number is left out.

    Raises FormatError where the bytes are no such map.
    """
    d = _Data(data)
    if len(data) < 3 or data[-2] >> 2 != _MAP:
        raise FormatError("options of a custom operator are not a map", found=f"{len(data)} bytes")
    width = 1 << (data[-2] & 3)
    values = d.follow(len(data) - 2 - data[-1], data[-1])
    count = d.size(values - width, width)
    if count > MAX_KEYS:
        raise FormatError("options of a custom operator are too many", found=count)
    keys = d.follow(values - 3 * width, width)
    key_width = d.size(values - 2 * width, width)
    found: dict[str, float | int] = {}
    for k in range(count):
        name = d.name(d.follow(keys + k * key_width, key_width))
        packed = d.size(values + count * width + k, 1)
        kind, at, wide = packed >> 2, values + k * width, width
        if kind in _INDIRECT:
            kind, at, wide = _INDIRECT[kind], d.follow(at, width), 1 << (packed & 3)
        if kind in _CODES:
            found[name] = d.number(at, kind, wide)
    return found

"""The ONNX format: `read`, and `matches`, which tells by the bytes alone.

`onnx` is imported in here only, when a file is read; it comes with `lilliput[onnx]`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lilliput.ir import Module

# Of the message ModelProto: field -> wire type (0 a number, 2 bytes).
_FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
_IR_VERSION, _GRAPH, _NEWEST = 1, 7, 1000


def _number(data: bytes, at: int) -> tuple[int, int]:
    """The base-128 number at `at`, and where it ends; raises ValueError."""
    value = 0
    for k in range(10):
        if at + k >= len(data):
            break
        value |= (data[at + k] & 127) << (7 * k)
        if data[at + k] < 128:
            return value, at + k + 1
    raise ValueError("not a number")


def matches(data: bytes) -> bool:
    """Whether the bytes begin as a ModelProto: a version first of all, then known fields up to
    the graph.  A file that was cut off inside of its graph is still one."""
    at, seen = 0, set[int]()
    try:
        while at < len(data):
            key, at = _number(data, at)
            field, wire = key >> 3, key & 7
            if _FIELDS.get(field) != wire:
                return False
            value, at = _number(data, at)
            if field == _IR_VERSION and not 1 <= value < _NEWEST:
                return False
            seen.add(field)
            if _GRAPH in seen and _IR_VERSION in seen:
                return True
            at += value if wire == 2 else 0
    except ValueError:
        return False
    return False


def read(
    data: bytes, *, name: str = "model", io: str = "int8", folder: Path | None = None
) -> Module:
    """The module that an ONNX file holds; see `reader.read`.

    folder : where weights that are kept outside of the file lie
    Raises MissingTool where `onnx` is not installed.
    """
    from lilliput.frontends.onnx.reader import read as read_file

    return read_file(data, name=name, io=io, folder=folder)

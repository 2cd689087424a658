"""FlatBuffers over dataclasses: a decoder that trusts nothing, and an encoder.

The one idea: a table of the format is a frozen dataclass whose fields carry their slot, so
the same declaration types the Python value, bounds every read and lays out every write.
Decoding follows the declared fields only, each level of nesting is a level of the
declaration, and every element read is paid for from a budget proportional to the file:
time and memory are bounded for any bytes.  It is no general FlatBuffers library: structs,
keys and unions in vectors are left out.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from functools import cache
from typing import TypeVar, cast

import numpy as np

from lilliput.errors import FormatError

T = TypeVar("T")
MAX_FILE = 2**31 - 1

_SIZES = {"?": 1, "b": 1, "B": 1, "h": 2, "H": 2, "i": 4, "I": 4, "q": 8, "Q": 8, "f": 4}


@dataclass(frozen=True)
class Slot:
    """How one field is stored.

    code : a struct code, or "s" string, "t" table, "u" union (its type byte is the slot
        before)
    many : a vector of these; `table` the dataclass of a table, `union` those by type
    align : alignment of the bytes of a vector
    """

    index: int
    code: str
    many: bool = False
    table: type[object] | None = None
    union: Mapping[int, type[object]] | None = None
    align: int = 4


def scalar(index: int, code: str, default: T) -> T:
    """A dataclass field for a number; absent from the file where it has its default."""
    return field(default=default, metadata={"slot": Slot(index, code)})


def text(index: int) -> str:
    return field(default="", metadata={"slot": Slot(index, "s")})


def numbers(index: int, code: str) -> tuple[int, ...]:
    return field(default=(), metadata={"slot": Slot(index, code, many=True)})


def reals(index: int) -> tuple[float, ...]:
    return field(default=(), metadata={"slot": Slot(index, "f", many=True)})


def blob(index: int, align: int) -> memoryview:
    """A vector of bytes, not copied."""
    return field(
        default=memoryview(b""), metadata={"slot": Slot(index, "B", many=True, align=align)}
    )


def table(index: int, cls: type[T]) -> T | None:
    return field(default=None, metadata={"slot": Slot(index, "t", table=cls)})


def tables(index: int, cls: type[T]) -> tuple[T, ...]:
    return field(default=(), metadata={"slot": Slot(index, "t", many=True, table=cls)})


def union(index: int, classes: Mapping[int, type[object]]) -> object | None:
    """A table whose class the byte in slot `index` - 1 tells; None where it is not listed."""
    return field(default=None, metadata={"slot": Slot(index, "u", union=classes)})


@cache
def _slots(cls: type) -> tuple[tuple[str, Slot, object], ...]:
    declared = cast("tuple[Field[object], ...]", fields(cls))
    return tuple((f.name, cast(Slot, f.metadata["slot"]), f.default) for f in declared)


# Reading ----------------------------------------------------------------------------------


def decode(data: bytes, identifier: bytes, cls: type[T]) -> T:
    """The root table of `data`; raises FormatError with the offset of what is wrong."""
    if not data:
        raise FormatError("the file is empty", expected="a .tflite model", found="0 bytes")
    if len(data) < 8 or len(data) > MAX_FILE:
        raise FormatError(
            "not a .tflite model: size", expected=f"8 to {MAX_FILE} bytes", found=f"{len(data)}"
        )
    if data[4:8] != identifier:
        raise FormatError(
            "not a .tflite model: file identifier", expected=repr(identifier), found=repr(data[4:8])
        )
    decoder = _Decoder(memoryview(data))
    return decoder.table(cls, decoder.reference(0))


class _Decoder:
    def __init__(self, data: memoryview):
        self.data = data
        self.budget = 4 * len(data) + 4096

    def charge(self, count: int, at: int) -> None:
        self.budget -= count
        if self.budget < 0:
            raise FormatError(
                "the model's parts overlap so often that it is not a real model",
                where=f"byte {at}",
                hint="the file is damaged; export it again",
            )

    def check(self, at: int, size: int, what: str) -> None:
        if at < 0 or size < 0 or at + size > len(self.data):
            raise FormatError(
                f"{what} lies outside of the file",
                where=f"byte {at}",
                expected=f"at most {len(self.data)} bytes",
                found=f"an end at byte {at + size}",
                hint="the file is truncated or damaged; copy or export it again",
            )

    def number(self, code: str, at: int) -> int | float | bool:
        self.check(at, _SIZES[code], "a number")
        return struct.unpack_from("<" + code, self.data, at)[0]

    def integer(self, code: str, at: int) -> int:
        return int(self.number(code, at))

    def reference(self, at: int) -> int:
        return at + self.integer("I", at)

    def table(self, cls: type[T], at: int) -> T:
        vtable = at - self.integer("i", at)
        extent, size = self.integer("H", vtable), self.integer("H", vtable + 2)
        self.check(vtable, extent, "a table's layout")
        self.check(at, size, "a table")
        if extent < 4 or extent % 2 or size < 4:
            raise FormatError("a table's layout is damaged", where=f"byte {vtable}")
        slots = _slots(cls)
        self.charge(len(slots), at)
        values: dict[str, object] = {}
        for name, slot, default in slots:
            offset = self.offset(vtable, extent, slot.index)
            if offset and offset + self.width(slot) > size:
                raise FormatError("a field lies outside of its table", where=f"byte {at}, {name}")
            if slot.code == "u":
                tag = self.offset(vtable, extent, slot.index - 1)
                kind = self.integer("B", at + tag) if tag else 0
                cls_of = (slot.union or {}).get(kind)
                values[name] = (
                    self.table(cls_of, self.reference(at + offset)) if offset and cls_of else None
                )
            else:
                values[name] = self.value(slot, at + offset) if offset else default
        return cls(**values)

    def offset(self, vtable: int, extent: int, index: int) -> int:
        entry = 4 + 2 * index
        return self.integer("H", vtable + entry) if entry + 2 <= extent else 0

    def width(self, slot: Slot) -> int:
        return 4 if slot.many or slot.code not in _SIZES else _SIZES[slot.code]

    def value(self, slot: Slot, at: int) -> object:
        if slot.many:
            return self.vector(slot, self.reference(at))
        if slot.code == "s":
            start, count = self.span(self.reference(at), 1)
            self.charge(count, start)
            return bytes(self.data[start : start + count]).decode("utf-8", "backslashreplace")
        if slot.table is not None:
            return self.table(slot.table, self.reference(at))
        return self.number(slot.code, at)

    def span(self, at: int, width: int) -> tuple[int, int]:
        """(first byte, number of elements) of the vector at `at`."""
        count = self.integer("I", at)
        self.check(at + 4, count * width, "a vector")
        return at + 4, count

    def vector(self, slot: Slot, at: int) -> object:
        start, count = self.span(at, 4 if slot.table else _SIZES[slot.code])
        if slot.table is not None:
            self.charge(count, at)
            refs = (self.reference(start + 4 * i) for i in range(count))
            return tuple(self.table(slot.table, ref) for ref in refs)
        if slot.code == "B":
            return self.data[start : start + count]
        self.charge(count, at)
        dtype = np.dtype("bool" if slot.code == "?" else "<" + slot.code)
        return tuple(np.frombuffer(self.data, dtype, count, start).tolist())


# Writing ----------------------------------------------------------------------------------


def encode(root: object, identifier: bytes) -> bytes:
    """The file of `root`: parents before children, fields by size then slot; no clock, no hash."""
    out = bytearray(4) + bytearray(identifier)
    todo: deque[tuple[int, object, Slot]] = deque([(0, root, Slot(0, "t", table=type(root)))])
    while todo:
        patch, value, slot = todo.popleft()
        at = _place(out, value, slot, todo)
        struct.pack_into("<I", out, patch, at - patch)
    return bytes(out)


_Todo = deque[tuple[int, object, Slot]]


def _pad(out: bytearray, align: int, ahead: int = 0) -> None:
    """Zeros until byte len(out) + ahead is a multiple of `align`."""
    out.extend(bytes(-(len(out) + ahead) % align))


def _place(out: bytearray, value: object, slot: Slot, todo: _Todo) -> int:
    """Appends one string, vector or table; its children go to `todo`.  Returns where it is."""
    if not slot.many and slot.code in "tu":
        return _place_table(out, value, todo)
    if slot.table is not None:
        items = cast("tuple[object, ...]", value)
        _pad(out, 4)
        at = len(out)
        out.extend(struct.pack("<I", len(items)) + bytes(4 * len(items)))
        item = Slot(0, "t", table=slot.table)
        todo.extend((at + 4 + 4 * i, v, item) for i, v in enumerate(items))
        return at
    if slot.code == "s":
        data = cast(str, value).encode() + b"\0"
        count, align = len(data) - 1, 4
    elif isinstance(value, memoryview):
        data = value.tobytes()
        count, align = len(data), max(4, slot.align)
    else:
        dtype = np.dtype("bool" if slot.code == "?" else "<" + slot.code)
        array = np.asarray(value, dtype)
        data, count, align = array.tobytes(), array.size, max(4, dtype.itemsize)
    _pad(out, align, 4)
    at = len(out)
    out.extend(struct.pack("<I", count) + data)
    return at


def _place_table(out: bytearray, value: object, todo: _Todo) -> int:
    cells: list[tuple[int, str, object, Slot]] = []
    for name, slot, default in _slots(type(value)):
        item = getattr(value, name)
        if slot.code == "u" and item is not None:
            kinds = {cls: kind for kind, cls in (slot.union or {}).items()}
            cells.append((slot.index - 1, "B", kinds[type(item)], slot))
        if item is None or (item == default and not slot.many):
            continue
        if slot.many and len(cast("tuple[object, ...]", item)) == 0:
            continue
        scalar_code = slot.code if slot.code in _SIZES and not slot.many else "I"
        cells.append((slot.index, scalar_code, item, slot))
    cells.sort(key=lambda cell: (-_SIZES[cell[1]], cell[0]))
    last = max((cell[0] for cell in cells), default=-1)
    vtable, offset = [0] * (last + 1), 4
    for index, code, _, _ in cells:
        offset += -offset % _SIZES[code]
        vtable[index] = offset
        offset += _SIZES[code]
    extent = 4 + 2 * len(vtable)
    _pad(out, 8, extent)
    start = len(out)
    out.extend(struct.pack(f"<HH{len(vtable)}H", extent, offset, *vtable))
    at = len(out)
    out.extend(struct.pack("<i", at - start) + bytes(offset - 4))
    for index, code, item, slot in cells:
        where = at + vtable[index]
        if slot.index == index and (slot.many or slot.code not in _SIZES):
            todo.append((where, item, slot))
        else:
            struct.pack_into("<" + code, out, where, item)
    return at

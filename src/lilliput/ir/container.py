"""The safetensors container: named arrays and one text in a file, checked on the way in.

    8 bytes   length of the header, little-endian
    header    JSON: {"__metadata__": {key: text}, name: {dtype, shape, data_offsets}, ...}
    data      the arrays, widest elements first, then by name: each is aligned to its size

A tensor called __metadata__ has another underscore in the header.

Bytes depend on the contents alone.  Nothing in the file is trusted: offsets, shapes and
sizes are compared with the bytes that are there before an array is made.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np

from lilliput.errors import FormatError
from lilliput.ir.types import Array

METADATA = "__metadata__"
_DTYPES: dict[str, str] = {
    "F32": "float32",
    "I8": "int8",
    "U8": "uint8",
    "I16": "int16",
    "U16": "uint16",
    "I32": "int32",
    "U32": "uint32",
    "I64": "int64",
    "BOOL": "bool",
}
_NAMES = {numpy: name for name, numpy in _DTYPES.items()}


def pack(key: str, text: str, arrays: Mapping[str, Array]) -> bytes:
    """The file of `arrays` with `text` under `key` in its metadata."""
    header: dict[str, object] = {METADATA: {key: text}}
    order = sorted(arrays, key=lambda n: (-arrays[n].dtype.itemsize, n))
    blobs: list[bytes] = []
    end = 0
    for name in order:
        array = arrays[name]
        blob = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
        header[_key(name)] = {
            "dtype": _NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [end, end + len(blob)],
        }
        blobs.append(blob)
        end += len(blob)
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + b"".join(blobs)


def unpack(key: str, data: bytes) -> tuple[str, dict[str, Array]]:
    """(text, arrays) of a file that `pack` made; raises FormatError for any other bytes."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > len(data) - 8:
        raise FormatError(
            "the file is truncated", expected=f"{size + 8} bytes", found=f"{len(data)} bytes"
        )
    try:
        header: object = json.loads(data[8 : 8 + size].decode())
        json.dumps(header, ensure_ascii=False).encode()  # fails for halves of surrogate pairs
    except (ValueError, RecursionError) as e:
        raise FormatError("the header is not JSON", where="header", found=str(e)) from None
    if not isinstance(header, dict):
        raise FormatError("the header is not an object", where="header")
    fields = cast("dict[str, object]", header)
    metadata = fields.pop(METADATA, None)
    text = cast("dict[str, object]", metadata).get(key) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise FormatError("not a Lilliput module", where="header", expected=f"{METADATA}.{key}")
    body = memoryview(data)[8 + size :]
    read = 0
    arrays: dict[str, Array] = {}
    for name, field in fields.items():
        entry = _entry(name, field, len(body))
        read += entry.count * entry.dtype.itemsize
        if read > len(body):
            raise FormatError("tensors overlap", where=f"tensor {name!r}")
        array = np.frombuffer(body, entry.dtype, entry.count, entry.start)
        if entry.dtype == np.bool_ and array.view(np.uint8).max(initial=0) > 1:
            raise FormatError("booleans other than 0 and 1", where=f"tensor {name!r}")
        arrays[_name(name)] = array.reshape(entry.shape).astype(entry.dtype.newbyteorder("="))
    return text, arrays


def _key(name: str) -> str:
    """Where a tensor is in the header: not where the metadata are, whatever it is called."""
    return f"{name}_" if re.fullmatch(METADATA + "_*", name) else name


def _name(key: str) -> str:
    """The tensor that `_key` has put there."""
    return key[:-1] if re.fullmatch(METADATA + "_+", key) else key


@dataclass(frozen=True)
class _Entry:
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    start: int

    @property
    def count(self) -> int:
        return math.prod(self.shape)


def _entry(name: str, field: object, size: int) -> _Entry:
    """One tensor of the header, checked against the `size` bytes of data."""
    where = f"tensor {name!r}"
    if not isinstance(field, dict):
        raise FormatError("not an object", where=where)
    got = cast("dict[str, object]", field)
    kind, shape, span = got.get("dtype"), _integers(got, "shape"), _integers(got, "data_offsets")
    if not isinstance(kind, str) or kind not in _DTYPES:
        raise FormatError("element type", where=where, expected=", ".join(_DTYPES), found=kind)
    if shape is None or span is None or len(shape) > 32 or 0 in shape or len(span) != 2:
        raise FormatError("shape or offsets are damaged", where=where, found=str(got)[:200])
    dtype = np.dtype(_DTYPES[kind]).newbyteorder("<")
    begin, end = span
    if not begin <= end <= size or math.prod(shape) * dtype.itemsize != end - begin:
        raise FormatError(
            "the data is not where the header says", where=where, expected=size, found=span
        )
    return _Entry(dtype, shape, begin)


def _integers(entry: dict[str, object], key: str) -> tuple[int, ...] | None:
    """A list of integers in [0, 2^31); None where it is anything else."""
    items = entry.get(key)
    if not isinstance(items, list):
        return None
    numbers = tuple(i for i in cast("list[object]", items) if isinstance(i, int))
    sound = len(numbers) == len(cast("list[object]", items)) and all(
        0 <= i < 2**31 and not isinstance(i, bool) for i in numbers
    )
    return numbers if sound else None

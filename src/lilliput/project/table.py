"""Bytes as a C table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lilliput.ir.types import Array

_COLUMNS = 16


def table(name: str, array: Array) -> Iterator[str]:
    """The lines of `static const uint8_t <name>[]` with the elements as they lie in memory."""
    stored = np.ascontiguousarray(array)
    data = stored.astype(stored.dtype.newbyteorder("<"), copy=False).tobytes()
    yield f"static const uint8_t {name}[{len(data)}] = {{"
    for k in range(0, len(data), _COLUMNS):
        row = data[k : k + _COLUMNS]
        yield "    " + " ".join(f"{byte:#04x}," for byte in row)
    yield "};"

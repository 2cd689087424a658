"""Views of values: where the elements of a value lie in a buffer, row by row or plane by plane."""

from __future__ import annotations

from lilliput.ir.graph import Value
from lilliput.plan.frames import Box
from lilliput.plan.program import View


def make_view(
    buffer: str,
    value: Value,
    box: Box,
    *,
    root: str | None = None,
    ring: int | None = None,
    counter: str | None = None,
) -> View:
    size = value.type.dtype.itemsize
    shift, start = divmod(box.start, box.row) if ring is not None else (0, box.start)
    return View(
        buffer,
        root or buffer,
        value.type.dtype,
        box.rows,
        box.pixels,
        box.channels,
        box.row * size,
        box.pixel * size,
        start * size,
        ring,
        shift,
        counter,
    )


def planar_view(buffer: str, value: Value, ring: int | None) -> View:
    """A whole value in channel planes; such a value is its own root."""
    rows, pixels, channels = value.type.frame
    size = value.type.dtype.itemsize
    row = pixels * size
    plane = (ring or rows) * row
    dtype = value.type.dtype
    return View(
        buffer, value.name, dtype, rows, pixels, channels, row, size, ring=ring, plane=plane
    )

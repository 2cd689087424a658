"""Constants that are a part of a larger one: they are stored once.

One idea: packings that lay output channels one behind the other make some channels of a weight a
run of bytes of the whole one, and so are their biases and factors.  Slices of a training step,
which make channels of a frozen layer again, bring such constants.  They are found by their bytes,
whoever made them.  One number over and over is left where it is: it would be found by chance, in
what the C compiler may leave out because nothing reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from lilliput.plan.program import Buffer, Const

LEAST = 16
"""Bytes of the smallest constant that is looked for in others."""

Found = Mapping[str, tuple[str, int]]
"""Constant -> the one that it is a part of, and how many bytes from its start."""


def parts(consts: Iterable[Const], buffers: Mapping[str, Buffer]) -> Found:
    """Those of `consts` that are a part of another one of the same memory and type, where their
    alignment allows it; what they are a part of is not a part itself."""
    whole: dict[tuple[str, str], list[tuple[str, bytes]]] = {}
    found: dict[str, tuple[str, int]] = {}
    for const in sorted(consts, key=lambda c: (-c.data.nbytes, c.buffer)):
        buffer, content = buffers[const.buffer], const.data.tobytes()
        others = whole.setdefault((buffer.memory, const.data.dtype.str), [])
        align = max(buffer.align, const.data.itemsize)
        looked_for = len(content) >= LEAST and (const.data != const.data.flat[0]).any()
        for name, other in others if looked_for else ():
            at = _aligned(other, content, align)
            if at is not None:
                found[const.buffer] = name, at
                break
        else:
            others.append((const.buffer, content))
    return found


def _aligned(whole: bytes, part: bytes, align: int) -> int | None:
    """The first multiple of `align` at which `part` is in `whole`."""
    at = whole.find(part)
    while at >= 0 and at % align:
        at = whole.find(part, at + 1)
    return at if at >= 0 else None


def stored_once(buffers: Mapping[str, Buffer], found: Found) -> dict[str, Buffer]:
    """`buffers` with those that were found where they are; what they are in is aligned as they
    are."""
    made = dict(buffers)
    for name, (whole, at) in found.items():
        made[name] = replace(made[name], within=whole, offset=at)
        made[whole] = replace(made[whole], align=max(made[whole].align, made[name].align))
    return made

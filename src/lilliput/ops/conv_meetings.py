"""Where the taps of a convolution meet its map, and what its gradients have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import Finish, Operand
from lilliput.ir.types import Array, TensorType

TILE = 4
"""Elements along each side of what is computed at once (csrc/update.h)."""


SAME = (1, 1, 1, 1)
"""Padding that keeps the size of a map under a window of 3x3."""


class Geometry(Protocol):
    """stride, dilation, pad (top, bottom, left, right) and groups of a convolution."""

    @property
    def stride(self) -> tuple[int, int]: ...
    @property
    def dilation(self) -> tuple[int, int]: ...
    @property
    def pad(self) -> tuple[int, int, int, int]: ...
    @property
    def groups(self) -> int: ...


def steps_of(a: Geometry) -> dict[str, int]:
    """How windows go over a map, by the names of kernels' parameters."""
    return {
        "stride_h": a.stride[0],
        "stride_w": a.stride[1],
        "dilation_h": a.dilation[0],
        "dilation_w": a.dilation[1],
        "pad_top": a.pad[0],
        "pad_left": a.pad[2],
    }


def is_product(a: Geometry, w: Sequence[int]) -> bool:
    """Whether a convolution with weights of shape `w` is a matrix product of every pixel."""
    return tuple(w[1:3]) == a.stride == (1, 1) and not any(a.pad) and a.groups == 1


def centred(data: Array, type: TensorType) -> Array:
    """Real numbers of float32: integers less their zero point."""
    if type.dtype.is_float:
        return data
    return (data.astype(np.int32) - type.zero_point).astype(np.float32)


def given(_: Builder, node: Node) -> tuple[Operand, ...]:
    return tuple(Operand(v, i) for i, v in enumerate(node.inputs))


def plain(_: Builder, __: Node) -> Finish:
    return Finish(lambda acc, load: acc)


def extent(size: int, i: int, kernel: int, a: Geometry) -> int:
    """Of the convolution's result along rows (i = 0) or columns."""
    span = (kernel - 1) * a.dilation[i] + 1
    return (size + a.pad[2 * i] + a.pad[2 * i + 1] - span) // a.stride[i] + 1


Meeting = tuple[tuple[int, int], Sequence[slice], Sequence[slice]]
"""A tap; the rows and columns of what the convolution reads; those of its result."""


def meetings(
    a: Geometry, kernel: Sequence[int], size: Sequence[int], out: Sequence[int]
) -> Iterator[Meeting]:
    """Where each tap meets the map, row major; nothing of a tap that never does."""
    for k in range(kernel[0]):
        for j in range(kernel[1]):
            rows, from_rows = meeting_of(a, 0, k, size[0], out[0])
            columns, from_columns = meeting_of(a, 1, j, size[1], out[1])
            if from_rows.start < from_rows.stop and from_columns.start < from_columns.stop:
                yield (k, j), (rows, columns), (from_rows, from_columns)


def meeting_of(a: Geometry, i: int, tap: int, size: int, out: int) -> tuple[slice, slice]:
    """(places in what is read, places in the result) of one axis that meet in a tap."""
    offset = tap * a.dilation[i] - a.pad[2 * i]
    low = max(0, -(offset // a.stride[i]))
    high = max(low, min(out, (size - 1 - offset) // a.stride[i] + 1))
    first = low * a.stride[i] + offset
    return slice(first, first + (high - low) * a.stride[i], a.stride[i]), slice(low, high)


def pairs(meetings: Iterator[Meeting]) -> int:
    """Pairs of a pixel of an image's result and a tap inside the map."""
    spans = (result for _, _, result in meetings)
    return sum((r.stop - r.start) * (c.stop - c.start) for r, c in spans)

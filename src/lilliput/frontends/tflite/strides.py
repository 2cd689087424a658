"""STRIDED_SLICE's numbers and masks as a box of the operand: one entry for each of its axes.

The format states a list of ranges with five masks of bits, one bit a range.  What the masks
mean is worked out here once; the builder sees begin, size and stride, and the shape of the
result (axes that are dropped or new change no element) it has from the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lilliput.errors import FormatError
from lilliput.frontends.tflite.options import StridedSliceOptions

Ranges = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Begins, ends and strides as the file states them."""


class StridedBox(NamedTuple):
    """Place i of an axis reads `begin + i * stride`, 0 <= i < size."""

    begin: tuple[int, ...]
    size: tuple[int, ...]
    stride: tuple[int, ...]


def dense(o: StridedSliceOptions, shape: tuple[int, ...], ranges: Ranges, where: str) -> StridedBox:
    """The box of an operand of `shape`, without elements where a size is 0.

    Raises FormatError where the ranges make no box.
    """
    if len({len(part) for part in ranges}) != 1:
        raise FormatError(
            "begin, end and strides", where=where, expected="one length", found=ranges
        )
    entries = list(_entries(o, len(shape), len(ranges[0]), where))
    begins, sizes, strides = list[int](), list[int](), list[int]()
    for extent, k in zip(shape, entries, strict=True):
        begin, size, stride = 0, extent, 1
        if k is not None:
            begin, size, stride = _one(o, extent, k, ranges, where)
        begins.append(begin)
        sizes.append(size)
        strides.append(stride)
    return StridedBox(tuple(begins), tuple(sizes), tuple(strides))


def _entries(o: StridedSliceOptions, rank: int, count: int, where: str) -> Iterator[int | None]:
    """For each axis of the operand its range, or None where it is taken whole."""
    ellipses = [k for k in range(count) if o.ellipsis_mask >> k & 1]
    made = [k for k in range(count) if o.new_axis_mask >> k & 1 and k not in ellipses]
    left = rank - (count - len(ellipses) - len(made))
    if left < 0 or len(ellipses) > 1:
        raise FormatError(
            "ranges of a slice", where=where, expected=f"at most {rank}, one ellipsis", found=count
        )
    for k in range(count):
        if k in ellipses:
            yield from (None,) * left
        elif k not in made:
            yield k
    if not ellipses:
        yield from (None,) * left


def _one(
    o: StridedSliceOptions, extent: int, k: int, ranges: Ranges, where: str
) -> tuple[int, int, int]:
    """(begin, size, stride) of an axis by range `k`: bounds are cut to the axis, as in Python."""
    begin, end, stride = (part[k] for part in ranges)
    if stride == 0:
        raise FormatError("stride of a slice", where=where, expected="not 0", found=stride)
    # going backwards starts at the last element and may end before the first
    low, high = (0, extent) if stride > 0 else (-1, extent - 1)
    first = min(max(begin + extent if begin < 0 else begin, low), high)
    if o.begin_mask >> k & 1:
        first = low if stride > 0 else high
    if o.shrink_axis_mask >> k & 1:
        if not 0 <= first < extent:
            raise FormatError("index of a slice", where=where, expected=extent, found=begin)
        return first, 1, 1
    if o.offset:
        end += first
    last = min(max(end + extent if end < 0 else end, low), high)
    if o.end_mask >> k & 1:
        last = high if stride > 0 else low
    return first, max(-((first - last) // stride), 0), stride


def result_shape(o: StridedSliceOptions, size: tuple[int, ...], count: int) -> tuple[int, ...]:
    """The shape of a box of `size` that `count` ranges make: axes dropped, new ones put in."""
    axes, shape = iter(size), list[int]()
    ellipses = [k for k in range(count) if o.ellipsis_mask >> k & 1]
    for k in range(count):
        if k in ellipses:
            rest = [n for n in range(k + 1, count) if not o.new_axis_mask >> n & 1]
            taken = sum(1 for n in range(k) if not o.new_axis_mask >> n & 1)
            shape += [next(axes) for _ in range(len(size) - taken - len(rest))]
        elif o.new_axis_mask >> k & 1:
            shape.append(1)
        else:
            extent = next(axes)
            shape += [] if o.shrink_axis_mask >> k & 1 else [extent]
    return (*shape, *axes)

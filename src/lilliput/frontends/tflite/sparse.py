"""Sparse constants as dense arrays.

The format stores a tensor level by level, in an order of its own: the axes, then the blocks
that some axes are cut into.  A level is dense (every index is there) or compressed rows
(segments and indices).  One idea: each level turns the list of places found so far into the
list of their children, and after the last one place k is that of value k.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lilliput.errors import FormatError
from lilliput.frontends.tflite.schema import (
    Dimension,
    Int32Vector,
    Sparsity,
    Uint8Vector,
    Uint16Vector,
)
from lilliput.ir import Array

DENSE, COMPRESSED = 0, 1


def places(sparsity: Sparsity, shape: Sequence[int], where: str) -> Array:
    """Flat index in an array of `shape` of every stored value, in the order of the values.

    Raises FormatError where levels, sizes or indices contradict one another.
    """
    rank, levels = len(shape), sparsity.dimensions
    order, blocks = sparsity.traversal_order, sparsity.block_map
    if (
        sorted(order) != list(range(len(levels)))
        or len(levels) != rank + len(blocks)
        or not all(0 <= axis < rank for axis in blocks)
        or len(set(blocks)) != len(blocks)
    ):
        raise FormatError(
            "levels of a sparse tensor",
            where=where,
            expected=f"{rank} axes and {len(blocks)} blocks, each once",
            found=order[:16],
        )
    sizes = _block_sizes(sparsity, rank)
    total = int(np.prod(np.array(shape, np.int64)))
    parents, place = 1, np.zeros((1, rank), np.int64)
    for axis, level in zip(order, levels, strict=True):
        target = axis if axis < rank else blocks[axis - rank]
        extent = shape[target] // sizes[target] if axis < rank else sizes[target]
        step = sizes[target] if axis < rank else 1
        if shape[target] % sizes[target]:
            raise FormatError("blocks do not fit", where=where, expected=shape, found=sizes)
        repeats, index = _children(level, parents, extent, total, where)
        place = np.repeat(place, repeats, axis=0)
        place[:, target] += index * step
        parents = len(index)
    strides = np.cumprod([1, *reversed(shape[1:])], dtype=np.int64)[::-1] if rank else np.zeros(0)
    return (place * strides).sum(1).astype(np.int64)


def _block_sizes(sparsity: Sparsity, rank: int) -> list[int]:
    """The extent of the blocks that each axis is cut into; 1 where it is not."""
    sizes = [1] * rank
    for axis, level in zip(sparsity.traversal_order, sparsity.dimensions, strict=True):
        if axis >= rank:
            sizes[sparsity.block_map[axis - rank]] = max(level.dense_size, 1)
    return sizes


def _children(
    level: Dimension, parents: int, extent: int, total: int, where: str
) -> tuple[Array, Array]:
    """(children of each parent, their indices along the level's axis)."""
    if level.format == DENSE and level.dense_size == extent and parents * extent <= total:
        return np.full(parents, extent), np.tile(np.arange(extent), parents)
    segments, indices = _numbers(level.segments), _numbers(level.indices)
    repeats = np.diff(segments)
    sound = (
        level.format == COMPRESSED
        and len(segments) == parents + 1
        and segments[0] == 0
        and segments[-1] == len(indices) <= total
        and bool((repeats >= 0).all())
        and bool(((indices >= 0) & (indices < extent)).all())
    )
    if not sound:
        raise FormatError(
            "a level of a sparse tensor",
            where=where,
            expected=f"{parents} rows of indices below {extent}",
            found=f"format {level.format}, {len(segments)} segments, {len(indices)} indices",
        )
    return repeats, indices


def _numbers(vector: object) -> Array:
    if isinstance(vector, Uint8Vector):
        return np.frombuffer(vector.values, np.uint8).astype(np.int64)
    if isinstance(vector, Int32Vector | Uint16Vector):
        return np.array(vector.values, np.int64)
    return np.zeros(0, np.int64)

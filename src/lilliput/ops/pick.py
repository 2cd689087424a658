"""Operators whose result takes each element through one map an axis: strided_slice, tile.

One idea: y[i, j, ...] = x[m0[i], m1[j], ...].  The maps are arrays known at compile time;
the reference indexes with them, the region rules are read off them, and one kernel walks
tables made of them, for any rank and without arithmetic on the device.  mirror_pad, pad
and resize_nearest (`frame`) have their maps there.  Not for maps that mix axes: those are
`transpose` and `blocks`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Kernel, Narrow, Op, Operand, Sample, Work
from lilliput.ir.region import AxisRule, OperandRule, Pointwise, Scale, Shift, Whole, Window
from lilliput.ir.types import Array, DType, TensorType, bools, f32, s8, s16, s32, s64
from lilliput.ops import shape_rules
from lilliput.ops.bounds import increasing
from lilliput.ops.common import ACTIVATIONS, check
from lilliput.ops.move import DTYPES, element_types, moved, moved_work, one, oracles
from lilliput.ops.registry import register

OUTSIDE = -1
"""In a map: the place is outside of the operand and holds the kernel's fill value."""

Maps = Callable[[Node], tuple[Array, ...]]
"""node -> for each axis of the result, the index (int64) that each of its places reads."""


# Region rules -----------------------------------------------------------------------------


def axis_rule(axis: int, extent: int, low: Array, high: Array | None = None) -> AxisRule:
    """A rule for places i of `axis` that read [low[i], high[i]] of an operand's `extent`.

    Exact where the language has words for the map; else a window that covers it, as long as
    it is well below the whole.
    """
    high = low if high is None else high
    places = np.arange(len(low))
    single = np.array_equal(low, high)
    first, step = int(low[0]), int(low[1] - low[0]) if len(low) > 1 else 1
    if step >= 1 and np.array_equal(low, first + step * places):
        if single and step == 1:
            return Shift(axis, -first) if first else Pointwise(axis)
        if np.ptp(high - low) == 0:
            return Window(axis, int(high[0]) - first + 1, step, 1, -first)
    if single and np.array_equal(low, places * extent // len(low)):
        return Scale(axis, extent, len(low))
    return _cover(axis, extent, low, high)


def _cover(axis: int, extent: int, low: Array, high: Array) -> AxisRule:
    """The smallest window with one of the strides about extent / places, or Whole."""
    places = np.arange(len(low))
    strides = {max(1, extent // len(low)), max(1, -(-extent // len(low)))}
    found: list[tuple[int, int, int]] = []
    for stride in sorted(strides):
        begin = int(np.min(low - stride * places))
        found.append((int(np.max(high - stride * places)) - begin + 1, stride, begin))
    size, stride, begin = min(found)
    return Window(axis, size, stride, 1, -begin) if 2 * size <= extent else Whole()


def picked_regions(maps: Maps) -> Callable[[Node], tuple[OperandRule, ...]]:
    def regions(node: Node) -> tuple[OperandRule, ...]:
        shape = node.inputs[0].type.shape
        return (tuple(axis_rule(k, shape[k], index) for k, index in enumerate(maps(node))),)

    return regions


# The kernel -------------------------------------------------------------------------------


def _same(index: Array, extent: int) -> bool:
    return np.array_equal(index, np.arange(extent))


@dataclass(frozen=True)
class _Tables:
    """The maps in frames: `rows` of one block, of which every block of the operand's rows has
    the same; `pixels`; `channels`, one entry where they stay neighbours."""

    in_rows: int
    out_rows: int
    together: bool
    rows: Array
    pixels: Array
    channels: Array


def _tables(node: Node, maps: Maps) -> _Tables:
    shape, indices = node.inputs[0].type.shape, maps(node)
    lead = max(0, 3 - len(shape))
    extents = (1,) * lead + shape
    padded = (np.zeros(1, np.int64),) * lead + indices
    kept = 0
    while kept < len(extents) - 2 and _same(padded[kept], extents[kept]):
        kept += 1
    rows = np.zeros(1, np.int64)
    for extent, index in zip(extents[kept:-2], padded[kept:-2], strict=True):
        inside = (rows[:, None] >= 0) & (index >= 0)
        rows = np.where(inside, rows[:, None] * extent + index, OUTSIDE).reshape(-1)
    channels = padded[-1]
    together = _same(channels - channels[0], len(channels)) and bool(channels[0] >= 0)
    return _Tables(
        math.prod(extents[kept:-2]),
        len(rows),
        together,
        rows,
        padded[-2],
        channels[:1] if together else channels,
    )


def pick_kernel(
    maps: Maps,
    fill: Callable[[Node], Array] | None = None,
    accepts: Callable[[Node], str | None] = lambda _: None,
) -> Kernel:
    """`fill`: one element, for maps that name places outside of the operand."""

    def index_type(node: Node) -> np.dtype[np.signedinteger]:
        extents = (*node.inputs[0].type.frame, *node.output.type.frame)
        return np.dtype(np.int16 if max(extents) <= np.iinfo(np.int16).max else np.int32)

    def types(node: Node) -> Mapping[str, str]:
        return {**element_types(node), "LL_I": f"{index_type(node).name}_t"}

    def params(node: Node) -> Mapping[str, int]:
        t = _tables(node, maps)
        return {
            "in_rows": t.in_rows,
            "out_rows": t.out_rows,
            "together": int(t.together),
            "filled": int(fill is not None),
        }

    def operands(b: Builder, node: Node) -> tuple[Operand, ...]:
        t, dtype = _tables(node, maps), index_type(node)
        data = {"rows": t.rows, "pixels": t.pixels, "channels": t.channels}
        named = {name: index.astype(dtype) for name, index in data.items()}
        if fill is not None:
            named["value"] = fill(node)
        made = (b.param(f"{node.output.name}/{name}", array) for name, array in named.items())
        return (Operand(node.inputs[0], 0), *(Operand(value) for value in made))

    def work(node: Node) -> Work:
        """Inner: channels that are looked up one by one; set-ups: pixels."""
        whole = moved_work(node)
        return whole._replace(inner=0 if _tables(node, maps).together else whole.elements)

    return Kernel(
        name="pick",
        source="pick.c",
        accepts=accepts,
        types=types,
        params=params,
        specialise=("together", "filled"),
        operands=operands,
        work=work,
    )


def picked(
    name: str,
    doc: str,
    attrs: type[Attrs],
    infer: Callable[..., tuple[TensorType, ...]],
    maps: Maps,
    samples: tuple[Sample, ...],
    oracle: str | Mapping[DType, str],
    narrow: Callable[[Node], Narrow | None] = lambda _: None,
) -> Op:
    """Registers an operator that is its maps; `infer` gives the shape that they have."""

    def ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
        return (np.asarray(operands[0][np.ix_(*maps(node))]),)

    return register(
        Op(
            name=name,
            doc=doc,
            attrs=attrs,
            infer=infer,
            ref=ref,
            grads=(shape_rules.by_maps(maps),),
            regions=picked_regions(maps),
            bounds=increasing,
            narrow=narrow,
            cost=moved,
            kernels=(pick_kernel(maps),),
            samples=samples,
            dtypes=DTYPES,
            oracle=oracle,
        )
    )


def per_tensor(x: TensorType) -> TensorType:
    """`x`, checked to have one scale, so that its elements may change places."""
    check(x.quant is None or x.quant.is_per_tensor, "quantisation", "per tensor", "per axis")
    return x


# strided_slice, tile ----------------------------------------------------------------------


@dataclass(frozen=True)
class StridedSlice(Attrs):
    """begin, size, stride: of each axis of the result; a negative stride goes backwards."""

    begin: tuple[int, ...]
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class Tile(Attrs):
    """repeats: how often the operand stands side by side with itself, along each axis."""

    repeats: tuple[int, ...]


def _slice_infer(a: StridedSlice, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = per_tensor(one(types))
    ranks = {len(a.begin), len(a.size), len(a.stride)}
    check(ranks == {len(x.shape)}, "axes", len(x.shape), sorted(ranks))
    check(min(a.size, default=1) >= 1, "size", ">= 1", a.size)
    for b, n, s, d in zip(a.begin, a.size, a.stride, x.shape, strict=True):
        last = b + (n - 1) * s
        ends = f"{b} and {last} of {d}"
        check(s != 0 and min(b, last) >= 0 and max(b, last) < d, "places", "inside", ends)
    return (x.with_shape(*a.size),)


def _slice_maps(node: Node) -> tuple[Array, ...]:
    a = node.attrs
    assert isinstance(a, StridedSlice)
    axes = zip(a.begin, a.size, a.stride, strict=True)
    return tuple(b + s * np.arange(n) for b, n, s in axes)


strided_slice = picked(
    name="strided_slice",
    doc="y[i] = x[begin + i * stride], 0 <= i < size, on every axis",
    attrs=StridedSlice,
    infer=_slice_infer,
    maps=_slice_maps,
    samples=(
        Sample((s8(1, 9, 7, 4),), StridedSlice((0, 1, 0, 0), (1, 4, 4, 4), (1, 2, 2, 1))),
        Sample((s8(2, 6, 5, 3),), StridedSlice((1, 5, 1, 2), (2, 6, 2, 3), (-1, -1, 3, -1))),
        Sample((s16(3, 8),), StridedSlice((2, 1), (1, 3), (-2, 3))),
        Sample(
            (f32(2, 2, 6, 3, 3),), StridedSlice((0, 1, 0, 0, 0), (2, 1, 3, 3, 2), (1, 1, 2, 1, 2))
        ),
        Sample((f32(1, 5, 4),), StridedSlice((0, 4, 0), (1, 3, 2), (1, -2, 3))),
        Sample((s32(10),), StridedSlice((9,), (4,), (-3,))),
        Sample((s8(2, 12, 3),), StridedSlice((0, 3, 0), (2, 2, 3), (1, 4, 1))),
        Sample((bools(4, 3),), StridedSlice((0, 0), (2, 2), (2, 2))),
        Sample((s64(5, 3),), StridedSlice((4, 0), (3, 3), (-2, 1))),
    ),
    oracle=oracles("STRIDED_SLICE", (*ACTIVATIONS, DType.S32, DType.BOOL), (DType.S64,)),
)


def _tile_infer(a: Tile, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = per_tensor(one(types))
    check(len(a.repeats) == len(x.shape), "repeats", f"{len(x.shape)} axes", a.repeats)
    check(min(a.repeats, default=1) >= 1, "repeats", ">= 1", a.repeats)
    return (x.with_shape(*(d * n for d, n in zip(x.shape, a.repeats, strict=True))),)


def _tile_maps(node: Node) -> tuple[Array, ...]:
    x, y = node.inputs[0].type.shape, node.output.type.shape
    return tuple(np.arange(n) % d for d, n in zip(x, y, strict=True))


tile = picked(
    name="tile",
    doc="y[i] = x[i mod extent of x], on every axis",
    attrs=Tile,
    infer=_tile_infer,
    maps=_tile_maps,
    samples=(
        Sample((s8(1, 3, 5, 2, scale=0.1, zero_point=4),), Tile((1, 2, 1, 3))),
        Sample((s8(2, 3),), Tile((3, 1))),
        Sample((s16(1, 4, 1),), Tile((2, 1, 5))),
        Sample((f32(2, 1, 3, 2, 2),), Tile((2, 3, 1, 2, 1)), low=-1.0, high=1.0),
        Sample((s32(5),), Tile((4,))),
        Sample((s64(3, 2),), Tile((2, 2))),
        Sample((bools(3, 2),), Tile((1, 2))),
    ),
    oracle=oracles("TILE", (), (*ACTIVATIONS, DType.S32, DType.S64, DType.BOOL)),
)

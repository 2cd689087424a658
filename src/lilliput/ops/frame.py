"""Operators that put a map into another frame: pad, mirror_pad and resize_nearest.

They move elements, compute nothing, and keep the quantisation; what a margin holds is a
stored value, so that the zero point is the model's business.  A resize that interpolates is
in `resize`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Indices, Kernel, Op, Operand, Sample
from lilliput.ir.region import OperandRule, Pointwise, Shift
from lilliput.ir.types import Array, DType, TensorType, bools, f32, s8, s16, s32, s64
from lilliput.ops import shape_rules
from lilliput.ops.bounds import increasing
from lilliput.ops.common import ACTIVATIONS, check, narrows
from lilliput.ops.move import DTYPES, element_types, moved, moved_work, one, oracles
from lilliput.ops.pick import OUTSIDE, per_tensor, pick_kernel, picked
from lilliput.ops.registry import register


@dataclass(frozen=True)
class Pad(Attrs):
    """before, after: elements added to each axis; value: what they hold, as it is stored."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float = 0


@dataclass(frozen=True)
class MirrorPad(Attrs):
    """before, after: elements added to each axis; reflect: without the edge itself."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    reflect: bool = True


@dataclass(frozen=True)
class ResizeNearest(Attrs):
    """height, width: of the result; the flags are TFLite's."""

    height: int
    width: int
    align_corners: bool = False
    half_pixel_centers: bool = False


# pad --------------------------------------------------------------------------------------


def _pad_attrs(node: Node) -> Pad:
    assert isinstance(node.attrs, Pad)
    return node.attrs


def _pad_infer(a: Pad, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = one(types)
    check(len(a.before) == len(a.after) == len(x.shape), "axes", len(x.shape), len(a.before))
    check(min((*a.before, *a.after), default=0) >= 0, "padding", ">= 0", a)
    if x.dtype.is_integer:
        low, high = x.dtype.bounds
        ok = a.value == int(a.value) and low <= a.value <= high
        check(ok, "value", f"an integer in {low}..{high}", a.value)
    check(x.quant is None or x.quant.is_per_tensor, "quantisation", "per tensor", "per axis")
    extents = zip(a.before, x.shape, a.after, strict=True)
    return (x.with_shape(*(sum(parts) for parts in extents)),)


def _pad_value(node: Node) -> Array:
    dtype = node.inputs[0].type.dtype
    value = _pad_attrs(node).value
    return np.array([value if dtype.is_float else int(value)], dtype.numpy)


def _pad_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    a = _pad_attrs(node)
    widths = list(zip(a.before, a.after, strict=True))
    return (np.pad(operands[0], widths, constant_values=_pad_value(node)[0]),)


def _pad_regions(node: Node) -> tuple[OperandRule, ...]:
    before = _pad_attrs(node).before
    return (tuple(Shift(k, b) if b else Pointwise(k) for k, b in enumerate(before)),)


def _pad_slide(node: Node, axis: int, outside: tuple[int, int]) -> Attrs:
    a = _pad_attrs(node)
    before, after = list(a.before), list(a.after)
    before[axis], after[axis] = outside
    return replace(a, before=tuple(before), after=tuple(after))


def _pad_accepts(node: Node) -> str | None:
    a, x = _pad_attrs(node), node.inputs[0].type.shape
    padded = [k for k in range(len(x)) if a.before[k] or a.after[k]]
    outer = min(padded, default=len(x)) - len(x)
    if outer < -4 or (outer == -4 and math.prod(x[:-4]) > 1):
        return "pads an axis before the last four, or the fourth last of several"
    return None


def _last(values: Sequence[int], fill: int) -> tuple[int, int, int, int]:
    """The last four of `values`, led by `fill`."""
    n, h, w, c = (*(fill,) * 4, *values)[-4:]
    return n, h, w, c


def _pad_params(node: Node) -> Mapping[str, int]:
    x, before = _last(node.inputs[0].type.shape, 1), _last(_pad_attrs(node).before, 0)
    images = math.prod((1, *node.inputs[0].type.shape[:-3]))
    return {
        "images": images,
        "in_h": x[1],
        "in_w": x[2],
        "in_c": x[3],
        "out_h": _last(node.output.type.shape, 1)[1],
        "pad_n": before[0],
        "pad_top": before[1],
        "pad_left": before[2],
        "pad_c": before[3],
    }


def _pad_operands(b: Builder, node: Node) -> tuple[Operand, ...]:
    value = b.param(f"{node.output.name}/value", _pad_value(node))
    return (Operand(node.inputs[0], 0), Operand(value))


def _pad_maps(node: Node) -> tuple[Array, ...]:
    """Each place's own index, or OUTSIDE in the margin."""
    places = zip(
        _pad_attrs(node).before, node.inputs[0].type.shape, node.output.type.shape, strict=True
    )
    indices = ((np.arange(n) - before, d) for before, d, n in places)
    return tuple(np.where((i >= 0) & (i < d), i, OUTSIDE) for i, d in indices)


def _needs_tables(node: Node) -> str | None:
    return None if _pad_accepts(node) else "the kernel pad does it without tables"


pad = register(
    Op(
        name="pad",
        doc="y = x inside a margin of `value`: before and after elements on every axis",
        attrs=Pad,
        infer=_pad_infer,
        ref=_pad_ref,
        grads=(shape_rules.padded,),
        regions=_pad_regions,
        bounds=increasing,
        narrow=narrows,
        slide=_pad_slide,
        cost=moved,
        kernels=(
            Kernel(
                name="pad",
                source="pad.c",
                accepts=_pad_accepts,
                types=element_types,
                params=_pad_params,
                operands=_pad_operands,
                work=moved_work,
            ),
            pick_kernel(_pad_maps, _pad_value, _needs_tables),
        ),
        samples=(
            Sample((s8(1, 3, 5, 2),), Pad((0, 1, 2, 0), (0, 2, 1, 0), -128)),
            Sample((s8(2, 3, 4, 3),), Pad((1, 0, 0, 1), (0, 1, 0, 2), 5)),
            Sample((s16(3, 4),), Pad((2, 1), (0, 3), 1000)),
            Sample((f32(2, 2, 3),), Pad((1, 0, 1), (1, 1, 0), -1.5), low=-1.0, high=1.0),
            Sample((s8(2, 1, 2, 3, 1),), Pad((0, 0, 1, 1, 0), (0, 0, 1, 0, 4), 7)),
            Sample((s32(5),), Pad((0,), (3,), -1)),
            Sample((s64(2, 3),), Pad((1, 0), (0, 2), 7)),
            Sample((bools(2, 3),), Pad((1, 0), (0, 2), 0)),
            Sample((s8(2, 3, 1, 2, 2),), Pad((1, 0, 1, 0, 0), (0, 1, 0, 0, 0), -3)),
            Sample(
                (f32(2, 2, 2, 2, 2, 2),),
                Pad((0, 1, 0, 1, 0, 1), (1, 0, 1, 0, 1, 0), 0.5),
                low=-1.0,
                high=1.0,
            ),
        ),
        dtypes=DTYPES,
        oracle=oracles("PAD, PADV2", (*ACTIVATIONS, DType.S32), (DType.S64, DType.BOOL)),
    )
)


# mirror_pad -------------------------------------------------------------------------------


def _mirror_infer(a: MirrorPad, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = per_tensor(one(types))
    check(len(a.before) == len(a.after) == len(x.shape), "axes", len(x.shape), len(a.before))
    limits = tuple(d - int(a.reflect) for d in x.shape)
    fits = all(
        min(b, e) >= 0 and max(b, e) <= limit
        for b, e, limit in zip(a.before, a.after, limits, strict=True)
    )
    check(fits, "margin", f"0 to {limits}", f"{a.before} and {a.after}")
    extents = zip(a.before, x.shape, a.after, strict=True)
    return (x.with_shape(*(sum(parts) for parts in extents)),)


def _mirror_maps(node: Node) -> tuple[Array, ...]:
    a = node.attrs
    assert isinstance(a, MirrorPad)
    skip = int(a.reflect)

    def index(before: int, extent: int, out: int) -> Array:
        i = np.arange(out) - before
        i = np.where(i < 0, -i - 1 + skip, i)
        return np.where(i >= extent, 2 * extent - 1 - skip - i, i)

    shapes = zip(a.before, node.inputs[0].type.shape, node.output.type.shape, strict=True)
    return tuple(index(*axis) for axis in shapes)


mirror_pad = picked(
    name="mirror_pad",
    doc="y = x inside a margin of its own mirror image, with (symmetric) or without the edge",
    attrs=MirrorPad,
    infer=_mirror_infer,
    maps=_mirror_maps,
    samples=(
        Sample((s8(1, 13, 5, 2),), MirrorPad((0, 1, 2, 0), (0, 2, 1, 0))),
        Sample((s8(2, 3, 4, 3),), MirrorPad((1, 0, 4, 1), (0, 3, 0, 3), reflect=False)),
        Sample((s16(3, 4),), MirrorPad((2, 1), (0, 3))),
        Sample((f32(2, 2, 3),), MirrorPad((1, 0, 2), (1, 1, 0)), low=-1.0, high=1.0),
        Sample((s8(2, 1, 2, 3, 2),), MirrorPad((0, 0, 1, 1, 0), (1, 0, 0, 2, 1))),
        Sample((s32(5),), MirrorPad((0,), (5,), reflect=False)),
        Sample((s64(2, 3),), MirrorPad((1, 0), (0, 2))),
    ),
    oracle=oracles("MIRROR_PAD", (DType.F32, DType.S8), (DType.S16, DType.S32, DType.S64)),
    narrow=narrows,
)


# resize_nearest ---------------------------------------------------------------------------


def _resize_infer(a: ResizeNearest, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = one(types)
    check(len(x.shape) == 4, "operand is not of rank 4", "(N,H,W,C)", x.shape)
    check(min(a.height, a.width) >= 1, "height and width", ">= 1", (a.height, a.width))
    return (x.with_shape(x.shape[0], a.height, a.width, x.shape[3]),)


def nearest(size: int, out: int, align_corners: bool, half_pixel_centers: bool) -> Array:
    """The index that each of `out` positions reads of `size`; float32, as TFLite does it."""
    corners = align_corners and out > 1
    scale = (
        np.float32(size - 1) / np.float32(out - 1)
        if corners
        else np.float32(size) / np.float32(out)
    )
    offset = np.float32(0.5 if half_pixel_centers else 0.0)
    place = (np.arange(out, dtype=np.float32) + offset) * scale
    index = np.floor(place + np.float32(0.5)) if align_corners else np.floor(place)
    return np.clip(index.astype(np.int64), 0, size - 1)


def _resize_maps(node: Node) -> tuple[Array, ...]:
    a, shape = node.attrs, node.inputs[0].type.shape
    assert isinstance(a, ResizeNearest)
    flags = a.align_corners, a.half_pixel_centers
    rows, columns = nearest(shape[1], a.height, *flags), nearest(shape[2], a.width, *flags)
    return np.arange(shape[0]), rows, columns, np.arange(shape[3])


def _resize_narrow(node: Node, _: Sequence[Indices], result: Indices) -> Attrs:
    """Only an axis that is not resized maps one to one, and stays so."""
    assert isinstance(node.attrs, ResizeNearest)
    return replace(node.attrs, height=len(result[1]), width=len(result[2]))


resize_nearest = picked(
    name="resize_nearest",
    doc="y[n,p,q,c] = x[n, row(p), column(q), c]; x (N,H,W,C) -> y (N,height,width,C)",
    attrs=ResizeNearest,
    infer=_resize_infer,
    maps=_resize_maps,
    samples=(
        Sample((s8(1, 3, 5, 2),), ResizeNearest(6, 10)),
        Sample((s8(2, 5, 4, 3),), ResizeNearest(3, 7)),
        Sample((s8(1, 7, 3, 1),), ResizeNearest(13, 2, align_corners=True)),
        Sample((s16(1, 4, 4, 3),), ResizeNearest(8, 12, half_pixel_centers=True)),
        Sample((f32(2, 3, 3, 2),), ResizeNearest(7, 5), low=-1.0, high=1.0),
        Sample((s8(1, 1, 9, 2),), ResizeNearest(4, 4, half_pixel_centers=True)),
    ),
    oracle=oracles("RESIZE_NEAREST_NEIGHBOR", ACTIVATIONS),
    narrow=lambda _: _resize_narrow,
)

"""Resizing of channels-first maps, by rules that ONNX and PyTorch name.

    place of result i in the operand      half_pixel, pytorch_half_pixel, asymmetric, align_corners
    what is read there                    nearest (four ways to round), linear (two neighbours)

The IR has TFLite's resizes; a nearest rule that is none of them is a gather of rows and of columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lilliput.frontends.channels import Place, from_plane, plane, two
from lilliput.ir import Array, Value
from lilliput.ir.verify import MAX_ELEMENTS
from lilliput.ops.frame import ResizeNearest, nearest, resize_nearest
from lilliput.ops.index import gather
from lilliput.ops.resize import ResizeBilinear, resize_bilinear
from lilliput.ops.shape import Reshape, reshape

ROUND: Mapping[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _place(i: Array, size: int, out: int, rule: str) -> Array | None:
    """Where result `i` lies in an axis of `size`; None for a rule that is not known."""
    if rule == "align_corners":
        return i * ((size - 1) / (out - 1)) if out > 1 else np.zeros_like(i)
    scale = size / out
    if rule == "asymmetric":
        return i * scale
    if rule == "half_pixel" or (rule == "pytorch_half_pixel" and out > 1):
        return (i + 0.5) * scale - 0.5
    return np.zeros_like(i) if rule == "pytorch_half_pixel" else None


def resize(
    p: Place, x: Value, size: Sequence[int], *, mode: str, rule: str, rounding: str = "floor"
) -> Value:
    """x (N,C,*S) with its spatial axes resized to `size`.

    mode : "nearest" or "linear"; rule, rounding : as in the table above
    """
    shape, (height, width) = x.type.shape, two(size, 1)
    if min(size) < 1 or math.prod((*shape[:2], *size)) > MAX_ELEMENTS:
        raise p.refuse("size of a resize", expected=f"1 to {MAX_ELEMENTS} elements", found=size)
    rows = plane(p, x)
    if mode == "linear":
        flags = rule == "align_corners", rule in ("half_pixel", "pytorch_half_pixel")
        if rule not in ("align_corners", "half_pixel", "pytorch_half_pixel", "asymmetric"):
            raise p.refuse("places of a resize", expected="half_pixel ...", found=rule)
        y = p.between(resize_bilinear, (rows,), ResizeBilinear(height, width, *flags))
    elif mode == "nearest":
        y = _nearest(p, rows, (height, width), rule, rounding)
    else:
        raise p.refuse("mode of a resize", expected="nearest or linear", found=mode)
    return from_plane(p, y, len(shape))


def _nearest(p: Place, x: Value, size: tuple[int, int], rule: str, rounding: str) -> Value:
    """Of (N,H,W,C)."""
    if rounding not in ROUND:
        raise p.refuse("rounding of a nearest resize", expected=", ".join(ROUND), found=rounding)
    maps: list[Array] = []
    for n, out in zip(x.type.shape[1:3], size, strict=True):
        place = _place(np.arange(out, dtype=np.float64), n, out, rule)
        if place is None:
            raise p.refuse("places of a resize", expected="half_pixel ...", found=rule)
        maps.append(np.clip(ROUND[rounding](place).astype(np.int64), 0, n - 1))
    for flags in ((False, False), (False, True), (True, False)):
        found = [nearest(n, o, *flags) for n, o in zip(x.type.shape[1:3], size, strict=True)]
        if all(np.array_equal(a, b) for a, b in zip(maps, found, strict=True)):
            return p.between(resize_nearest, (x,), ResizeNearest(*size, *flags))
    for axis, index in zip((1, 2), maps, strict=True):
        x = picked(p.inner(f"axis{axis}"), x, index, axis)
    return x


def picked(p: Place, x: Value, index: Array, axis: int) -> Value:
    """x with what `index` names along an axis; the result has the index's shape there."""
    shape = x.type.shape
    before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    flat = p.between(reshape, (x,), Reshape((1, before, shape[axis], after)), "flat")
    where = p.constant(index.reshape(1, -1).astype(np.int32), "index")
    y = p.between(gather, (flat, where))
    whole = (*shape[:axis], *index.shape, *shape[axis + 1 :])
    return p.between(reshape, (y,), Reshape(whole), "picked")

"""Operators that move elements: view, permute, cat, slice, pad, flip ..."""

from __future__ import annotations

from collections.abc import Sequence

from lilliput.frontends.channels import Place
from lilliput.frontends.integers import element
from lilliput.frontends.torch.call import Build, Call
from lilliput.ir import DType, Value
from lilliput.ops.frame import MirrorPad, Pad, mirror_pad, pad
from lilliput.ops.pick import StridedSlice, Tile, strided_slice, tile
from lilliput.ops.reverse import reverse
from lilliput.ops.shape import (
    Broadcast,
    Concat,
    Reshape,
    Slice,
    Transpose,
    broadcast,
    concat,
    reshape,
    slice_,
    transpose,
)

X = "self"


def _viewed(call: Call) -> Value:
    """Whatever only gives the elements another shape: the result's is known."""
    return call.shaped(call.value(X), call.out.shape)


def _permute(call: Call) -> Value:
    x = call.value(X)
    rank = len(x.type.shape)
    return _moved(call, x, tuple(k % rank for k in call.ints("dims")))


def _transpose(call: Call) -> Value:
    x = call.value(X)
    perm = list(range(len(x.type.shape)))
    i, j = (call.axis(n, len(perm)) for n in ("dim0", "dim1"))
    perm[i], perm[j] = perm[j], perm[i]
    return _moved(call, x, tuple(perm))


def _moved(call: Call, x: Value, perm: tuple[int, ...]) -> Value:
    if perm == tuple(range(len(perm))):
        return x
    return call.emit(transpose, (x,), Transpose(perm))


def _expand(call: Call) -> Value:
    x, shape = call.value(X), call.out.shape
    return x if x.type.shape == shape else call.emit(broadcast, (x,), Broadcast(shape))


def _repeat(call: Call) -> Value:
    x, times = call.value(X), call.ints("repeats")
    x = call.shaped(x, (*(1,) * (len(times) - len(x.type.shape)), *x.type.shape), "operand")
    return x if set(times) == {1} else call.emit(tile, (x,), Tile(times))


# Joining and dividing ---------------------------------------------------------------------


def _cat(call: Call) -> Value:
    """Of several types, those of the result; what is left out of it has no elements."""
    y, parts = call.out, call.list("tensors")
    parts = [call.cast(v, y.dtype) for v in parts if len(v.type.shape) == len(y.shape)]
    axis = call.axis("dim", len(y.shape))
    return parts[0] if len(parts) == 1 else call.emit(concat, parts, Concat(axis))


def box(p: Place, x: Value, axis: int, begin: int, size: int, suffix: str) -> Value:
    """`size` places of `x` along one axis."""
    begins, sizes = [0] * len(x.type.shape), list(x.type.shape)
    begins[axis], sizes[axis] = begin, size
    if tuple(sizes) == x.type.shape:
        return x
    return p.between(slice_, (x,), Slice(tuple(begins), tuple(sizes)), suffix)


def _slice(call: Call) -> Value:
    x = call.value(X)
    rank = len(x.type.shape)
    axis, extent = call.axis("dim", rank), x.type.shape[call.axis("dim", rank)]
    step = call.integer("step") if call.has("step") else 1
    start = call.integer("start") if call.has("start") else 0
    begin = min(max(start + (extent if start < 0 else 0), 0), extent)
    size = call.out.shape[axis]
    if step == 1 and size == extent:
        return x
    begins, strides = [0] * rank, [1] * rank
    begins[axis], strides[axis] = begin, step
    if step == 1:
        return call.emit(slice_, (x,), Slice(tuple(begins), call.out.shape))
    attrs = StridedSlice(tuple(begins), call.out.shape, tuple(strides))
    return call.emit(strided_slice, (x,), attrs)


def _select(call: Call) -> Value:
    x = call.value(X)
    axis = call.axis("dim", len(x.type.shape))
    part = box(call.place, x, axis, call.integer("index") % x.type.shape[axis], 1, "part")
    return call.shaped(part, call.out.shape)


def _split(call: Call) -> Sequence[Value]:
    x = call.value(X)
    axis = call.axis("dim", len(x.type.shape))
    parts, begin = list[Value](), 0
    for k in range(len(call.step.results)):
        size = call.result(k).shape[axis]
        parts.append(box(call.place, x, axis, begin, size, f"part{k}"))
        begin += size
    return parts


def _unbind(call: Call) -> Sequence[Value]:
    x = call.value(X)
    axis = call.axis("dim", len(x.type.shape))
    cells = [box(call.place, x, axis, k, 1, f"part{k}/cell") for k in range(len(call.step.results))]
    return [call.shaped(v, call.result(k).shape, f"part{k}") for k, v in enumerate(cells)]


def _put(call: Call) -> Value:
    """slice_scatter, select_scatter: `src` in the place of a part of the operand."""
    x, new = call.value(X), call.value("src")
    rank = len(x.type.shape)
    axis, extent = call.axis("dim", rank), x.type.shape[call.axis("dim", rank)]
    if call.has("index"):
        begin = call.integer("index") % extent
        new = call.shaped(new, (*x.type.shape[:axis], 1, *x.type.shape[axis + 1 :]), "new")
    else:
        if call.has("step") and call.integer("step") != 1:
            raise call.refuse("a step between places that are put", found=call.integer("step"))
        start = call.integer("start") if call.has("start") else 0
        begin = min(max(start + (extent if start < 0 else 0), 0), extent)
    end = begin + new.type.shape[axis]
    parts = [] if begin == 0 else [box(call.place, x, axis, 0, begin, "before")]
    parts.append(new)
    if end < extent:
        parts.append(box(call.place, x, axis, end, extent - end, "after"))
    return new if len(parts) == 1 else call.emit(concat, parts, Concat(axis))


# Margins and directions -------------------------------------------------------------------


def _margins(call: Call, name: str, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(before, after) of every axis; torch lists them from the last axis on."""
    found = call.ints(name)
    before, after = [0] * rank, [0] * rank
    for k in range(len(found) // 2):
        before[rank - 1 - k], after[rank - 1 - k] = found[2 * k], found[2 * k + 1]
    return tuple(before), tuple(after)


def _cropped(call: Call, x: Value, before: Sequence[int], after: Sequence[int]) -> Value:
    """Negative margins cut off."""
    for axis, (b, a) in enumerate(zip(before, after, strict=True)):
        first, last = max(-b, 0), max(-a, 0)
        size = x.type.shape[axis] - first - last
        x = box(call.place, x, axis, first, size, f"crop{axis}")
    return x


def _pad(call: Call) -> Value:
    x = call.value(X)
    before, after = _margins(call, "pad", len(x.type.shape))
    x = _cropped(call, x, before, after)
    outside = tuple(max(b, 0) for b in before), tuple(max(a, 0) for a in after)
    if not any(map(any, outside)):
        return x
    if x.type.dtype is DType.BOOL:
        raise call.refuse("margin of bools")
    value = call.number("value")
    value = element(x.type, value) if x.type.quant is not None else value
    return call.emit(pad, (x,), Pad(*outside, value))


def _reflect(call: Call) -> Value:
    x = call.value(X)
    before, after = _margins(call, "padding", len(x.type.shape))
    if min(*before, *after) < 0:
        raise call.refuse("negative margin of a mirror image", found=call.ints("padding"))
    return call.emit(mirror_pad, (x,), MirrorPad(before, after, reflect=True))


def _replicate(call: Call) -> Value:
    """The edge repeated: joined on, axis by axis."""
    x = call.value(X)
    before, after = _margins(call, "padding", len(x.type.shape))
    for axis, (b, a) in enumerate(zip(before, after, strict=True)):
        parts, extent = [x], x.type.shape[axis]
        if b > 0:
            parts.insert(0, _edge(call, x, axis, 0, b, f"before{axis}"))
        if a > 0:
            parts.append(_edge(call, x, axis, extent - 1, a, f"after{axis}"))
        if len(parts) > 1:
            x = call.between(concat, parts, Concat(axis), f"axis{axis}")
    return x


def _edge(call: Call, x: Value, axis: int, place: int, times: int, suffix: str) -> Value:
    shape = list(x.type.shape)
    shape[axis] = times
    edge = box(call.place, x, axis, place, 1, f"{suffix}/edge")
    return call.between(broadcast, (edge,), Broadcast(tuple(shape)), suffix)


def turned(p: Place, x: Value, axis: int, suffix: str) -> Value:
    """`x` backwards along an axis."""
    shape = x.type.shape
    outer, inner = 1, 1
    for d in shape[:axis]:
        outer *= d
    for d in shape[axis + 1 :]:
        inner *= d
    rows = p.between(reshape, (x,), Reshape((outer, shape[axis], inner)), f"{suffix}/rows")
    return p.between(
        reshape, (p.between(reverse, (rows,), None, f"{suffix}/turned"),), Reshape(shape), suffix
    )


def _flip(call: Call) -> Value:
    x = call.value(X)
    for axis in sorted(k % len(x.type.shape) for k in call.ints("dims")):
        x = turned(call.place, x, axis, f"flip{axis}")
    return x


def _roll(call: Call) -> Value:
    """Cut in two, joined the other way round."""
    x, shifts, dims = call.value(X), call.ints("shifts"), call.ints("dims")
    if len(shifts) != len(dims):
        raise call.refuse("roll of all elements as one axis", hint="name the axes: dims")
    for shift, dim in zip(shifts, dims, strict=True):
        axis = dim % len(x.type.shape)
        n = x.type.shape[axis]
        cut = (n - shift) % n
        if cut:
            p = call.place.inner(f"axis{axis}")
            parts = box(p, x, axis, cut, n - cut, "last"), box(p, x, axis, 0, cut, "first")
            x = p.between(concat, parts, Concat(axis))
    return x


def _pixel_shuffle(call: Call) -> Value:
    """(.., C r^2, H, W) -> (.., C, H r, W r)."""
    return _shuffled(call, call.integer("upscale_factor"), forward=True)


def _pixel_unshuffle(call: Call) -> Value:
    return _shuffled(call, call.integer("downscale_factor"), forward=False)


def _shuffled(call: Call, r: int, *, forward: bool) -> Value:
    x, y = call.value(X), call.out.shape
    *lead, c, h, w = y if forward else x.type.shape
    n = 1
    for d in lead:
        n *= d
    split, perm = (
        ((n * c, r, r, h // r, w // r), (0, 3, 1, 4, 2))
        if forward
        else (
            (n * c, h // r, r, w // r, r),
            (0, 2, 4, 1, 3),
        )
    )
    cells = call.shaped(x, split, "cells")
    moved = call.between(transpose, (cells,), Transpose(perm))
    return call.shaped(moved, y)


_VIEWS = (
    "_unsafe_view.default",
    "flatten.using_ints",
    "reshape.default",
    "squeeze.default",
    "squeeze.dim",
    "squeeze.dims",
    "unflatten.int",
    "unsqueeze.default",
    "view.default",
)

READ: dict[str, Build] = {
    **dict.fromkeys(_VIEWS, _viewed),
    "cat.default": _cat,
    "constant_pad_nd.default": _pad,
    "expand.default": _expand,
    "flip.default": _flip,
    "permute.default": _permute,
    "pixel_shuffle.default": _pixel_shuffle,
    "pixel_unshuffle.default": _pixel_unshuffle,
    "reflection_pad1d.default": _reflect,
    "reflection_pad2d.default": _reflect,
    "repeat.default": _repeat,
    "replication_pad1d.default": _replicate,
    "replication_pad2d.default": _replicate,
    "roll.default": _roll,
    "select.int": _select,
    "select_scatter.default": _put,
    "slice.Tensor": _slice,
    "slice_scatter.default": _put,
    "split.Tensor": _split,
    "split_with_sizes.default": _split,
    "transpose.int": _transpose,
    "unbind.int": _unbind,
}

"""Operators that put a map into another frame: PAD, RESIZE_BILINEAR, SPACE_TO_BATCH_ND ..."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lilliput.errors import FormatError
from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.operators.shape import origin, reshaped
from lilliput.frontends.tflite.operators.table import ANY, Row, Rule
from lilliput.frontends.tflite.options import (
    DepthToSpaceOptions,
    MirrorPadOptions,
    ResizeBilinearOptions,
    ResizeNearestOptions,
    SpaceToDepthOptions,
)
from lilliput.frontends.tflite.writing import Job, Writer, fail
from lilliput.ir import Op, Value
from lilliput.ops.blocks import Blocks, depth_to_space, space_to_depth
from lilliput.ops.frame import MirrorPad, Pad, ResizeNearest, mirror_pad, pad, resize_nearest
from lilliput.ops.resize import ResizeBilinear, resize_bilinear
from lilliput.ops.shape import Reshape, Slice, Transpose, reshape, slice_, transpose

REFLECT = 0
"""The other mode of MIRROR_PAD, symmetric, is 1."""


def _widths(call: Call) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(before, after) of each axis."""
    widths, rank = call.ints(1), len(call.type(0).shape)
    if len(widths) != 2 * rank:
        raise FormatError("paddings", where=call.where, expected=(rank, 2), found=widths)
    return widths[::2], widths[1::2]


def _pad(call: Call) -> Value:
    value: float = 0.0 if call.out.dtype.is_float else call.out.zero_point
    if call.has(2):
        data = call.constant(2)
        if data is None or data.size != 1 or call.type(2).dtype is not call.out.dtype:
            expected = f"one constant {call.out.dtype.value}, as the result"
            raise call.refuse("padding value", expected=expected, found=str(call.type(2)))
        value = data.reshape(-1)[0].item() + 0  # a boolean becomes its number
        if call.out.quant is not None and call.type(2).quant != call.out.quant:
            raise call.refuse("padding value is quantised otherwise than the result")
    return call.emit(pad, (call.value(0),), Pad(*_widths(call), value))


def _mirror_pad(call: Call) -> Value:
    mode = call.options(MirrorPadOptions).mode
    return call.emit(mirror_pad, (call.value(0),), MirrorPad(*_widths(call), mode == REFLECT))


# Resizing ---------------------------------------------------------------------------------


def _resize(
    op: Op,
    attrs: type[ResizeNearest | ResizeBilinear],
    options: type[ResizeNearestOptions | ResizeBilinearOptions],
) -> Callable[[Call], Value]:
    def build(call: Call) -> Value:
        o, size = call.options(options), call.ints(1)
        if len(size) != 2:
            raise FormatError("size", where=call.where, expected="height, width", found=size)
        flags = o.align_corners, o.half_pixel_centers
        a = attrs(size[0], size[1], *flags)
        if isinstance(a, ResizeBilinear):
            a = replace(a, origin=origin(call, 0))
        return call.emit(op, (call.value(0),), a)

    return build


def _write_resize(
    name: str, options: type[ResizeNearestOptions | ResizeBilinearOptions]
) -> Callable[[Writer, Job], None]:
    def write(w: Writer, job: Job) -> None:
        a = job.node.attrs
        assert isinstance(a, ResizeNearest | ResizeBilinear)
        if isinstance(a, ResizeBilinear) and a.origin:
            raise fail(job.node, "the format's int8 is mixed with integers")
        size = w.integers(job, "size", (a.height, a.width))
        w.emit(name, job, None, options(a.align_corners, a.half_pixel_centers), [size])

    return write


# Blocks -----------------------------------------------------------------------------------


def _blocks(
    op: Op, options: type[SpaceToDepthOptions | DepthToSpaceOptions]
) -> Callable[[Call], Value]:
    return lambda call: call.emit(op, (call.value(0),), Blocks(call.options(options).block_size))


def _write_blocks(
    name: str, options: type[SpaceToDepthOptions | DepthToSpaceOptions]
) -> Callable[[Writer, Job], None]:
    def write(w: Writer, job: Job) -> None:
        assert isinstance(job.node.attrs, Blocks)
        w.emit(name, job, None, options(job.node.attrs.size))

    return write


def _batches(call: Call) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """(block, (before, after)) of each spatial axis, of which there are one or two."""
    blocks, margins = call.ints(1), call.ints(2)
    m, rank = len(blocks), len(call.type(0).shape)
    if not 1 <= m <= 2 or len(margins) != 2 * m or rank <= m or min((*blocks, 1)) < 1:
        raise FormatError(
            "blocks of a batch",
            where=call.where,
            expected="one or two spatial axes, two margins of each",
            found=(blocks, margins),
        )
    if min(margins) < 0:
        raise FormatError("margins", where=call.where, expected=">= 0", found=margins)
    return blocks, tuple(zip(margins[::2], margins[1::2], strict=True))


def _space_to_batch(call: Call) -> Value:
    """Padded with zeros; then each place of a block becomes a batch of its own."""
    x, y = call.value(0), call.out
    blocks, margins = _batches(call)
    m = len(blocks)
    if any(map(any, margins)):
        rest = ((0, 0),) * (len(x.type.shape) - 1 - m)
        before, after = zip((0, 0), *margins, *rest, strict=True)
        zero = 0 if y.dtype.is_float else y.zero_point
        x = call.between(pad, (x,), Pad(before, after, zero), "/padded")
    batch, *space = x.type.shape[: m + 1]
    if any(d % b for d, b in zip(space, blocks, strict=True)):
        raise FormatError("padded extents", where=call.where, expected=blocks, found=space)
    cut = [n for d, b in zip(space, blocks, strict=True) for n in (d // b, b)]
    inner = math.prod(x.type.shape[m + 1 :])
    split = reshaped(call, x, (batch, *cut, inner), "/blocks")
    places, order = range(2, 2 * m + 1, 2), range(1, 2 * m, 2)
    perm = Transpose((*places, 0, *order, 2 * m + 1))
    return call.emit(
        reshape, (call.between(transpose, (split,), perm, "/batches"),), Reshape(y.shape)
    )


def _batch_to_space(call: Call) -> Value:
    """The batches of a block dealt out among its places; then the margins are cut off."""
    x, y = call.value(0), call.out
    blocks, margins = _batches(call)
    m, shape = len(blocks), x.type.shape
    batch, odd = divmod(shape[0], math.prod(blocks))
    if odd:
        raise FormatError("batches", where=call.where, expected=blocks, found=shape[0])
    rest = shape[m + 1 :]
    split = reshaped(call, x, (*blocks, batch, *shape[1 : m + 1], math.prod(rest)), "/blocks")
    spread = [axis for k in range(m) for axis in (m + 1 + k, k)]
    perm = Transpose((m, *spread, 2 * m + 1))
    mixed = call.between(transpose, (split,), perm, "/places")
    space = tuple(d * b for d, b in zip(shape[1 : m + 1], blocks, strict=True))
    whole = (batch, *space, *rest)
    if whole == y.shape:
        return call.emit(reshape, (mixed,), Reshape(whole))
    begin = (0, *(before for before, _ in margins), *(0 for _ in rest))
    sizes = (d - before - after for d, (before, after) in zip(space, margins, strict=True))
    joined = reshaped(call, mixed, whole, "/joined")
    return call.emit(slice_, (joined,), Slice(begin, (batch, *sizes, *rest)))


# Writing ----------------------------------------------------------------------------------


def _write_pad(w: Writer, job: Job) -> None:
    a, type = job.node.attrs, job.out.type
    assert isinstance(a, Pad)
    extra = [w.integers(job, "paddings", np.stack((a.before, a.after), axis=1))]
    if a.value == (0 if type.dtype.is_float else type.zero_point):
        w.emit("PAD", job, None, None, extra)
        return
    value = np.array([a.value], type.dtype.numpy)
    named = w.extra(w.fresh(f"{job.out.name}/value"), value, type.quant)
    w.emit("PADV2", job, None, None, [*extra, named])


def _write_mirror_pad(w: Writer, job: Job) -> None:
    a = job.node.attrs
    assert isinstance(a, MirrorPad)
    extra = [w.integers(job, "paddings", np.stack((a.before, a.after), axis=1))]
    w.emit("MIRROR_PAD", job, None, MirrorPadOptions(REFLECT if a.reflect else 1), extra)


READ = {
    "BATCH_TO_SPACE_ND": Row(_batch_to_space, (3, 3), ANY, ()),
    "DEPTH_TO_SPACE": Row(_blocks(depth_to_space, DepthToSpaceOptions), (1, 1), ANY, ()),
    "MIRROR_PAD": Row(_mirror_pad, (2, 2), ANY, ()),
    "PAD": Row(_pad, (2, 2), ANY, ()),
    "PADV2": Row(_pad, (3, 3), ANY, ()),
    "RESIZE_BILINEAR": Row(_resize(resize_bilinear, ResizeBilinear, ResizeBilinearOptions), (2, 2)),
    "RESIZE_NEAREST_NEIGHBOR": Row(
        _resize(resize_nearest, ResizeNearest, ResizeNearestOptions), (2, 2), ANY, ()
    ),
    "SPACE_TO_BATCH_ND": Row(_space_to_batch, (3, 3), ANY, ()),
    "SPACE_TO_DEPTH": Row(_blocks(space_to_depth, SpaceToDepthOptions), (1, 1), ANY, ()),
}

WRITE = {
    "depth_to_space": Rule(_write_blocks("DEPTH_TO_SPACE", DepthToSpaceOptions)),
    "mirror_pad": Rule(_write_mirror_pad),
    "pad": Rule(_write_pad),
    "resize_bilinear": Rule(_write_resize("RESIZE_BILINEAR", ResizeBilinearOptions)),
    "resize_nearest": Rule(_write_resize("RESIZE_NEAREST_NEIGHBOR", ResizeNearestOptions)),
    "space_to_depth": Rule(_write_blocks("SPACE_TO_DEPTH", SpaceToDepthOptions)),
}

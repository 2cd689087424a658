"""Operators that move elements and keep them: RESHAPE, TRANSPOSE, CONCATENATION, SPLIT ...

What only divides or joins becomes slices, concatenations and reshapes, which the planner
places without copies where it can.  A result has the bytes of its operands whatever scale
the file gives it, as in TFLite; only CONCATENATION asks for one scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lilliput.errors import FormatError
from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.operators.table import ANY, Row, Rule
from lilliput.frontends.tflite.options import (
    ConcatenationOptions,
    PackOptions,
    ReshapeOptions,
    StridedSliceOptions,
    UnpackOptions,
)
from lilliput.frontends.tflite.strides import dense, result_shape
from lilliput.frontends.tflite.tensors import SHIFT, Empty, Operand
from lilliput.frontends.tflite.writing import Job, Writer, fail
from lilliput.ir import DType, TensorType, Value
from lilliput.ops.frame import Pad, pad
from lilliput.ops.pick import StridedSlice, Tile, strided_slice, tile
from lilliput.ops.rescale import Rescale, rescale
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

MANY = 4096
"""Operands or results of one operator, at most."""


def reshaped(call: Call, x: Value, shape: Sequence[int], suffix: str) -> Value:
    """`x` under another shape; itself where it has it."""
    if x.type.shape == tuple(shape):
        return x
    return call.between(reshape, (x,), Reshape(tuple(shape)), suffix)


def origin(call: Call, k: int) -> int:
    """The integer of the file that operand `k` stores as 0."""
    older = call.tensors.kind(call.index(k)) == "UINT8" and call.type(k).dtype is DType.S8
    return SHIFT if older else 0


def _reshape(call: Call) -> Value:
    return call.emit(reshape, (call.value(0),), Reshape(call.out.shape))


def _transpose(call: Call) -> Value:
    rank = len(call.type(0).shape)
    perm = tuple(call.axis(k, rank) for k in call.ints(1))
    return call.emit(transpose, (call.value(0),), Transpose(perm))


def _broadcast_to(call: Call) -> Value:
    return call.emit(broadcast, (call.value(0),), Broadcast(call.out.shape))


def _tile(call: Call) -> Value:
    return call.emit(tile, (call.value(0),), Tile(call.ints(1)))


def _matrix_diag(call: Call) -> Value:
    """Each element followed by a row of zeros, cut into rows that are one shorter."""
    x, y = call.value(0), call.out
    if not x.type.shape or y.shape != (*x.type.shape, x.type.shape[-1]):
        raise FormatError("diagonals", where=call.where, expected="(.., N,N)", found=str(y))
    n = x.type.shape[-1]
    count = x.type.size // n
    cells = reshaped(call, x, (count, n, 1), "/cells")
    rows = call.between(pad, (cells,), Pad((0, 0, 0), (0, 0, n), -origin(call, 0)), "/rows")
    flat = reshaped(call, rows, (count, n * (n + 1)), "/flat")
    cut = call.between(slice_, (flat,), Slice((0, 0), (count, n * n)), "/cut")
    return call.emit(reshape, (cut,), Reshape(y.shape))


# Joining ----------------------------------------------------------------------------------


def _of_one_scale(call: Call, k: int, y: TensorType) -> Value:
    """Operand `k` of a concatenation that gives `y`.

    uint8 of another scale is rescaled, as LiteRT does it; so is int8, which TFLite refuses.  Of
    other types TFLite takes the bytes.
    """
    x = call.value(k)
    if x.type.quant == y.quant:
        return x
    scaled = x.type.quant is not None and x.type.quant.is_per_tensor and y.quant is not None
    if x.type.dtype is y.dtype is DType.S8 and scaled:
        op, attrs = rescale, Rescale(origin(call, k))
    else:
        op, attrs = reshape, Reshape(x.type.shape)
    type = y.with_shape(*x.type.shape)
    add, name = call.tensors.builder.add, f"{call.tensors.names[call.outputs[0]]}/operand"
    return add(op, (x,), attrs, type=type, name=name, origin=call.origin)


def _concatenation(call: Call) -> Value:
    o, y = call.options(ConcatenationOptions), call.out
    joined = [k for k in range(len(call.inputs)) if not isinstance(call.operand(k), Empty)]
    values = [_of_one_scale(call, k, y) for k in joined]
    attrs = Concat(call.axis(o.axis, len(y.shape)))
    return call.emit(concat, values, attrs, o.activation)


def _pack(call: Call) -> Value:
    """Joined along the axis that the new one comes to lie before, so that one view is enough."""
    shape = call.type(0).shape
    axis = call.axis(call.options(PackOptions).axis, len(shape) + 1)
    values = [_of_one_scale(call, k, call.out) for k in range(len(call.inputs))]
    if axis == len(shape):
        cells = [reshaped(call, v, (*v.type.shape, 1), "/cells") for v in values]
        return call.emit(concat, cells, Concat(axis))
    joined = call.between(concat, values, Concat(axis), "/joined")
    return call.emit(reshape, (joined,), Reshape(call.out.shape))


# Dividing ---------------------------------------------------------------------------------


def _slice(call: Call) -> Value | Empty:
    x, begin, size = call.type(0), call.ints(1), call.ints(2)
    if not len(begin) == len(size) == len(x.shape):
        raise FormatError("begin and size", where=call.where, expected=len(x.shape), found=size)
    size = tuple(d - b if s == -1 else s for d, b, s in zip(x.shape, begin, size, strict=True))
    if 0 in size:
        return Empty(call.out.with_shape(*size))
    return call.emit(slice_, (call.value(0),), Slice(begin, size))


def _strided_slice(call: Call) -> Value | Empty:
    o, y = call.options(StridedSliceOptions), call.out
    box = dense(o, call.type(0).shape, (call.ints(1), call.ints(2), call.ints(3)), call.where)
    if 0 in box.size:
        return Empty(y.with_shape(*result_shape(o, box.size, len(call.ints(1)))))
    x = call.value(0)
    if math.prod(box.size) != y.size:
        raise FormatError("slice", where=call.where, expected=str(y), found=box.size)
    plain = all(s == 1 for s in box.stride)
    op = slice_ if plain else strided_slice
    attrs = Slice(box.begin, box.size) if plain else StridedSlice(box.begin, box.size, box.stride)
    if box.size == y.shape:
        return call.emit(op, (x,), attrs)
    if plain and box.size == x.type.shape:
        return call.emit(reshape, (x,), Reshape(y.shape))
    part = call.between(op, (x,), attrs, "/part")
    return call.emit(reshape, (part,), Reshape(y.shape))


def _parts(call: Call, x: Value, axis: int) -> tuple[Operand, ...]:
    """Results that lie one after another along `axis` of `x`; their types say how wide."""
    shape, begin = x.type.shape, 0
    made: list[Operand] = []
    for k in range(len(call.outputs)):
        size = call.result(k).shape[axis : axis + 1]
        width = size[0] if size else 0
        size = tuple(width if i == axis else d for i, d in enumerate(shape))
        box = Slice(tuple(begin if i == axis else 0 for i in range(len(shape))), size)
        empty = Empty(call.result(k).with_shape(*size))
        made.append(call.emit(slice_, (x,), box, result=k) if width else empty)
        begin += width
    if begin != shape[axis]:
        raise FormatError("parts", where=call.where, expected=shape[axis], found=begin)
    return tuple(made)


def _split(call: Call) -> tuple[Operand, ...]:
    x = call.value(1)
    return _parts(call, x, _split_axis(call, 0, x))


def _split_v(call: Call) -> tuple[Operand, ...]:
    x = call.value(0)
    axis, sizes = _split_axis(call, 2, x), call.ints(1)
    widths = [call.result(k).shape[axis : axis + 1] for k in range(len(call.outputs))]
    stated = [w for w, s in zip(widths, sizes, strict=False) if s in (-1, *w)]
    if len(sizes) != len(widths) or len(stated) != len(widths):
        raise FormatError("sizes of the parts", where=call.where, expected=widths, found=sizes)
    return _parts(call, x, axis)


def _split_axis(call: Call, k: int, x: Value) -> int:
    axes = call.ints(k)
    if len(axes) != 1:
        raise FormatError("axis", where=call.where, expected="one integer", found=axes)
    return call.axis(axes[0], len(x.type.shape))


def _unpack(call: Call) -> tuple[Operand, ...]:
    """The axis is merged with the one behind it, whose parts are the results."""
    x = call.value(0)
    shape, rank = x.type.shape, len(x.type.shape)
    axis = call.axis(call.options(UnpackOptions).axis, rank)
    if shape[axis] != len(call.outputs):
        raise FormatError(
            "results", where=call.where, expected=shape[axis], found=len(call.outputs)
        )
    if axis < rank - 1:
        merged = (*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])
        return _parts(call, reshaped(call, x, merged, "/merged"), axis)
    made: list[Value] = []
    for k in range(shape[axis]):
        box = Slice((*(0,) * axis, k), (*shape[:axis], 1))
        part = call.between(slice_, (x,), box, f"/part{k}")
        made.append(call.emit(reshape, (part,), Reshape(shape[:axis]), result=k))
    return tuple(made)


# Writing ----------------------------------------------------------------------------------


def _write_broadcast(w: Writer, job: Job) -> None:
    assert isinstance(job.node.attrs, Broadcast)
    w.emit("BROADCAST_TO", job, None, None, [w.integers(job, "shape", job.node.attrs.shape)])


def _write_concat(w: Writer, job: Job) -> None:
    assert isinstance(job.node.attrs, Concat)
    w.emit("CONCATENATION", job, None, ConcatenationOptions(job.node.attrs.axis))


def _write_view(w: Writer, job: Job) -> None:
    shape = job.out.type.shape
    w.emit("RESHAPE", job, None, ReshapeOptions(shape), [w.integers(job, "shape", shape)])


def _write_slice(w: Writer, job: Job) -> None:
    a = job.node.attrs
    assert isinstance(a, Slice)
    extra = [w.integers(job, "begin", a.begin), w.integers(job, "size", a.size)]
    w.emit("SLICE", job, None, None, extra)


def _write_strided_slice(w: Writer, job: Job) -> None:
    a = job.node.attrs
    assert isinstance(a, StridedSlice)
    if len(a.begin) > 30:
        raise fail(job.node, "more axes than a mask of the format has bits")
    ends = [
        b + (n - 1) * s + (1 if s > 0 else -1)
        for b, n, s in zip(a.begin, a.size, a.stride, strict=True)
    ]
    # the place before the first counts from the end: only the mask can say it
    mask = sum(1 << k for k, end in enumerate(ends) if end < 0)
    numbers = {"begin": a.begin, "end": ends, "strides": a.stride}
    extra = [w.integers(job, name, values) for name, values in numbers.items()]
    w.emit("STRIDED_SLICE", job, None, StridedSliceOptions(0, mask), extra)


def _write_tile(w: Writer, job: Job) -> None:
    assert isinstance(job.node.attrs, Tile)
    w.emit("TILE", job, None, None, [w.integers(job, "repeats", job.node.attrs.repeats)])


def _write_transpose(w: Writer, job: Job) -> None:
    assert isinstance(job.node.attrs, Transpose)
    w.emit("TRANSPOSE", job, None, None, [w.integers(job, "perm", job.node.attrs.perm)])


_VIEW = Row(_reshape, (1, 2), ANY, ())

READ = {
    "BROADCAST_TO": Row(_broadcast_to, (2, 2), ANY, ()),
    "CONCATENATION": Row(_concatenation, (1, MANY), ANY, ()),
    "EXPAND_DIMS": _VIEW,
    "MATRIX_DIAG": Row(_matrix_diag, (1, 1), ANY, ()),
    "PACK": Row(_pack, (1, MANY), ANY, ()),
    "RESHAPE": _VIEW,
    "SLICE": Row(_slice, (3, 3), ANY, ()),
    "SPLIT": Row(_split, (2, 2), ANY, (), (1, MANY)),
    "SPLIT_V": Row(_split_v, (3, 3), ANY, (), (1, MANY)),
    "SQUEEZE": _VIEW,
    "STRIDED_SLICE": Row(_strided_slice, (4, 4), ANY, ()),
    "TILE": Row(_tile, (2, 2), ANY, ()),
    "TRANSPOSE": Row(_transpose, (2, 2), ANY, ()),
    "UNPACK": Row(_unpack, (1, 1), ANY, (), (1, MANY)),
}

WRITE = {
    "broadcast": Rule(_write_broadcast),
    "concat": Rule(_write_concat),
    "copy": Rule(_write_view),
    "reshape": Rule(_write_view),
    "slice": Rule(_write_slice),
    "strided_slice": Rule(_write_strided_slice),
    "tile": Rule(_write_tile),
    "transpose": Rule(_write_transpose),
}

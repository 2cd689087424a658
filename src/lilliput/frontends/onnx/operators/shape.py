"""Operators that move elements and compute nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lilliput.errors import FormatError
from lilliput.frontends.integers import element, joined
from lilliput.frontends.onnx.call import Call
from lilliput.frontends.onnx.library import onnx
from lilliput.frontends.onnx.tensors import Tensor
from lilliput.frontends.resizing import picked
from lilliput.ir import Value
from lilliput.ops.frame import MirrorPad, Pad, mirror_pad, pad
from lilliput.ops.index import gather
from lilliput.ops.pick import StridedSlice, Tile, strided_slice, tile
from lilliput.ops.quantize import To, cast
from lilliput.ops.shape import (
    Concat,
    Reshape,
    Slice,
    Transpose,
    concat,
    reshape,
    slice_,
    transpose,
)

Build = Callable[[Call], Tensor | list[Tensor]]


def _reshaped(call: Call, shape: Sequence[int]) -> Tensor:
    """Operand 0 under another shape."""
    t, wanted = call.tensor(0), tuple(shape)
    if math.prod(wanted) != math.prod(t.shape) or min(wanted, default=1) < 0:
        raise FormatError("shape", where=call.where, expected=t.shape, found=wanted)
    if t.data is not None:
        return call.known(t.data.reshape(wanted))
    return call.like(call.emit(reshape, (call.moved(0),), Reshape(wanted)), 0)


def _reshape(call: Call) -> Tensor:
    given = call.numbers(1, "shape", "shape")
    if given is None:
        raise FormatError("no shape", where=call.where)
    shape, old = list(given), call.shape(0)
    if not call.attr("allowzero", 0):
        shape = [old[k] if n == 0 and k < len(old) else n for k, n in enumerate(shape)]
    if shape.count(-1) == 1:
        rest = math.prod(n for n in shape if n != -1)
        shape[shape.index(-1)] = math.prod(old) // rest if rest else 0
    return _reshaped(call, shape)


def _flatten(call: Call) -> Tensor:
    shape = call.shape(0)
    axis = call.attr("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return _reshaped(call, (math.prod(shape[:axis]), math.prod(shape[axis:])))


def _squeeze(call: Call) -> Tensor:
    shape = call.shape(0)
    axes = call.numbers(1, "axes", "axes")
    if axes is None:
        axes = tuple(k for k, n in enumerate(shape) if n == 1)
    gone = {call.axis(a, len(shape)) for a in axes}
    return _reshaped(call, [n for k, n in enumerate(shape) if k not in gone])


def _unsqueeze(call: Call) -> Tensor:
    shape = list(call.shape(0))
    axes = call.numbers(1, "axes", "axes") or ()
    rank = len(shape) + len(axes)
    for axis in sorted(call.axis(a, rank) for a in axes):
        shape.insert(axis, 1)
    return _reshaped(call, shape)


def _transpose(call: Call) -> Tensor:
    rank = len(call.shape(0))
    perm = call.ints("perm") or tuple(reversed(range(rank)))
    return call.like(call.emit(transpose, (call.moved(0),), Transpose(perm)), 0)


def _concat(call: Call) -> Tensor:
    rank = len(call.shape(0))
    axis, target = call.axis(call.attr("axis", 0), rank), call.target
    parts = [call.integers(k) for k in range(len(call.inputs))]
    whole = [v for v in parts if v is not None]
    if len(whole) == len(parts):
        y = joined(call.place, whole, axis, target)
        if y is not None:
            return Tensor(call.output, integers=y)
    values = [call.value(k) for k in range(len(call.inputs))]
    return call.result(call.emit(concat, values, Concat(axis)))


def _box(call: Call) -> tuple[list[int], list[int], list[int]]:
    """(begin, size, stride) of each axis of a Slice."""
    shape = call.shape(0)
    starts, ends = call.numbers(1, "starts", "starts"), call.numbers(2, "ends", "ends")
    if starts is None or ends is None:
        raise FormatError("no starts or ends", where=call.where)
    axes = call.numbers(3, "axes", "axes") or tuple(range(len(starts)))
    steps = call.list(4, "steps") if call.has(4) else (1,) * len(starts)
    begin, size, stride = [0] * len(shape), list(shape), [1] * len(shape)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        k = call.axis(axis, len(shape))
        if step == 0:
            raise FormatError("step of a slice", where=call.where, found=0)
        first, last, step = slice(start, end, step).indices(shape[k])
        begin[k], stride[k] = first, step
        size[k] = len(range(first, last, step))
    if 0 in size:
        raise call.refuse("slice without elements", found=tuple(size))
    return begin, size, stride


def _slice(call: Call) -> Tensor:
    begin, size, stride = (tuple(v) for v in _box(call))
    x = call.moved(0)
    if all(s == 1 for s in stride):
        return call.like(call.emit(slice_, (x,), Slice(begin, size)), 0)
    return call.like(call.emit(strided_slice, (x,), StridedSlice(begin, size, stride)), 0)


def _split(call: Call) -> list[Tensor]:
    shape, count = call.shape(0), len(call.node.output)
    axis = call.axis(call.attr("axis", 0), len(shape))
    sizes = call.numbers(1, "split", "parts")
    if sizes is None:
        each = -(-shape[axis] // count)
        sizes = tuple(min(each, shape[axis] - k * each) for k in range(count))
    if len(sizes) != count or sum(sizes) != shape[axis] or min(sizes) < 1:
        raise FormatError("parts of a split", where=call.where, expected=shape[axis], found=sizes)
    parts: list[Tensor] = []
    start, x = 0, call.moved(0)
    for k, n in enumerate(sizes):
        begin, size = [0] * len(shape), list(shape)
        begin[axis], size[axis] = start, n
        start += n
        name = call.node.output[k]
        y = call.builder.add(
            slice_,
            (x,),
            Slice(tuple(begin), tuple(size)),
            name=call.scope.rename(name),
            origin=call.origin,
        )
        parts.append(call.like(y, 0, k))
    return parts


def _pad(call: Call) -> Tensor:
    rank, mode = len(call.shape(0)), call.attr("mode", "constant")
    widths = call.numbers(1, "pads", "margins")
    if widths is None or len(widths) % 2:
        raise FormatError("margins", where=call.where, found=widths)
    axes = call.list(3, "axes") if call.has(3) else tuple(range(rank))
    before, after, half = [0] * rank, [0] * rank, len(widths) // 2
    for axis, b, a in zip(axes, widths[:half], widths[half:], strict=True):
        k = call.axis(axis, rank)
        before[k], after[k] = b, a
    if min(*before, *after) < 0:
        raise call.refuse("negative margin", expected=">= 0", found=widths)
    x = call.moved(0)
    if mode == "reflect":
        attrs = MirrorPad(tuple(before), tuple(after))
        return call.like(call.emit(mirror_pad, (x,), attrs), 0)
    if mode != "constant":
        raise call.refuse("mode of a pad", expected="constant or reflect", found=mode)
    value = call.attr("value", 0.0)
    if call.has(2):
        value = call.constant(2, "value of a margin").reshape(-1)[0].item()
    if x.type.quant is not None and call.tensor(0).integers is not None:
        value = element(x.type, value)
    return call.like(call.emit(pad, (x,), Pad(tuple(before), tuple(after), value)), 0)


def _tile(call: Call) -> Tensor:
    return call.like(call.emit(tile, (call.moved(0),), Tile(call.list(1, "repeats"))), 0)


def _gather(call: Call) -> Tensor:
    shape = call.shape(0)
    axis = call.axis(call.attr("axis", 0), len(shape))
    index = call.data(1)
    if index is None:
        return _gather_computed(call, axis)
    index = np.where(index < 0, index + shape[axis], index).astype(np.int64)
    if index.size and not 0 <= index.min() <= index.max() < shape[axis]:
        raise FormatError("index outside of its axis", where=call.where, found=int(index.max()))
    x = call.moved(0)
    if index.ndim == 0:
        begin, size = [0] * len(shape), list(shape)
        begin[axis], size[axis] = int(index), 1
        row = call.place.between(slice_, (x,), Slice(tuple(begin), tuple(size)))
        rest = (*shape[:axis], *shape[axis + 1 :])
        return call.like(call.emit(reshape, (row,), Reshape(rest)), 0)
    return call.like(picked(call.place, x, index, axis), 0)


def _gather_computed(call: Call, axis: int) -> Tensor:
    """Indices that are computed, such as the words of an embedding; negative ones are none."""
    p, shape, index = call.place, call.shape(0), call.value(1)
    before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    flat = p.between(reshape, (call.moved(0),), Reshape((1, before, shape[axis], after)), "flat")
    where: Value = p.between(reshape, (index,), Reshape((1, index.type.size)), "index")
    where = p.between(cast, (where,), To()) if where.type.dtype.value == "bool" else where
    y = p.between(gather, (flat, where))
    whole = (*shape[:axis], *index.type.shape, *shape[axis + 1 :])
    return call.like(call.emit(reshape, (y,), Reshape(whole)), 0)


def _shape(call: Call) -> Tensor:
    shape = call.shape(0)
    start, end = call.attr("start", 0), call.attr("end", len(shape))
    return call.known(np.array(shape[slice(start, end)], np.int64))


def _size(call: Call) -> Tensor:
    return call.known(np.array(math.prod(call.shape(0)), np.int64))


def _constant(call: Call) -> Tensor:
    from lilliput.frontends.onnx.tensors import Budget, array

    for a in call.node.attribute:
        if a.name == "value" and a.HasField("t"):
            budget = Budget(16 * a.ByteSize() + 1024)
            return call.known(array(a.t, None, budget))
        if a.name in ("value_int", "value_ints"):
            return call.known(np.array(onnx.helper.get_attribute_value(a), np.int64))
        if a.name in ("value_float", "value_floats"):
            return call.known(np.array(onnx.helper.get_attribute_value(a), np.float32))
    raise call.refuse("constant of this kind", found=[a.name for a in call.node.attribute])


def _built_constant(call: Call) -> Tensor:
    raise call.refuse("shape that is computed at run time", hint="export with fixed shapes")


READ: Mapping[str, Build] = {
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _built_constant,
    "Flatten": _flatten,
    "Gather": _gather,
    "Pad": _pad,
    "Range": _built_constant,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}

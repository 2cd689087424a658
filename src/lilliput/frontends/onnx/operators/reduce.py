"""Reductions over axes, softmax, and searches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from lilliput.frontends.integers import fixed_type, mean_of
from lilliput.frontends.onnx.call import Call
from lilliput.frontends.onnx.tensors import Tensor
from lilliput.ir import DType, Op, TensorType, Value
from lilliput.ops.normalise import log_softmax
from lilliput.ops.reduce import Reduction, mean, reduce_max, reduce_min, reduce_prod, sum_
from lilliput.ops.search import Arg, Cumsum, arg_max, arg_min, cumsum
from lilliput.ops.shape import Reshape, Transpose, reshape, transpose
from lilliput.ops.softmax import softmax
from lilliput.ops.unary import UNARY

Build = Callable[[Call], Tensor | list[Tensor]]


def _attrs(call: Call) -> Reduction | None:
    """None where nothing is reduced."""
    rank = len(call.shape(0))
    axes = call.numbers(1, "axes", "axes")
    if not axes:
        if call.attr("noop_with_empty_axes", 0):
            return None
        axes = tuple(range(rank))
    found = tuple(sorted({call.axis(a, rank) for a in axes}))
    return Reduction(found, bool(call.attr("keepdims", 1)))


def _reduce(op: Op, before: str = "", after: str = "") -> Build:
    """`before` and `after` are functions of one element around it."""

    def build(call: Call) -> Tensor:
        attrs = _attrs(call)
        if attrs is None:
            return Tensor(call.output, value=call.value(0))
        x, target = call.tensor(0).integers, call.target
        if op is mean and x is not None and target is not None:
            return Tensor(call.output, integers=mean_of(call.place, x, attrs, target))
        if op in (reduce_max, reduce_min) and x is not None:
            return Tensor(call.output, integers=call.emit(op, (x,), attrs))
        value = call.value(0)
        if before:
            value = call.place.between(UNARY[before], (value,))
        if after:
            inner = call.place.between(op, (value,), attrs)
            return call.result(call.emit(UNARY[after], (inner,)))
        return call.result(call.emit(op, (value,), attrs))

    return build


# Softmax ----------------------------------------------------------------------------------


def _softmax(op: Op) -> Build:
    def build(call: Call) -> Tensor:
        shape = call.shape(0)
        axis = call.axis(call.attr("axis", -1 if call.opset >= 13 else 1), len(shape))
        x, target = call.tensor(0).integers, call.target
        if x is not None and target is not None and op is softmax:
            found = fixed_type(call.place, op, x, target)
            if found is not None:
                return Tensor(call.output, integers=along(call, op, x, axis, found))
        return call.result(along(call, op, call.value(0), axis, None))

    return build


def along(call: Call, op: Op, x: Value, axis: int, type: TensorType | None) -> Value:
    """`op`, which works on the last axis, along another one; before opset 13 along all behind."""
    p, shape = call.place, x.type.shape
    if call.opset < 13 and axis < len(shape) - 1:
        flat = (math.prod(shape[:axis]), math.prod(shape[axis:]))
        rows = p.between(reshape, (x,), Reshape(flat), "rows")
        y = p.between(op, (rows,), type=type and type.with_shape(*flat))
        return p.last(reshape, (y,), Reshape(shape))
    if axis == len(shape) - 1:
        return p.last(op, (x,), type=type)
    order = (*(k for k in range(len(shape)) if k != axis), axis)
    moved = p.between(transpose, (x,), Transpose(order), "order")
    y = p.between(op, (moved,), type=type and type.with_shape(*moved.type.shape))
    return p.last(transpose, (y,), Transpose(tuple(order.index(k) for k in range(len(shape)))))


# Searches ---------------------------------------------------------------------------------


def _arg(op: Op) -> Build:
    def build(call: Call) -> Tensor:
        if call.attr("select_last_index", 0):
            raise call.refuse("the last of equal ones (select_last_index)", expected=0)
        shape = call.shape(0)
        axis = call.axis(call.attr("axis", 0), len(shape))
        before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        p = call.place
        flat = p.between(reshape, (call.moved(0),), Reshape((before, shape[axis], after)), "flat")
        y = p.between(op, (flat,), Arg(DType.S64.value))
        keep = (1,) if call.attr("keepdims", 1) else ()
        whole = (*shape[:axis], *keep, *shape[axis + 1 :])
        return call.result(call.emit(reshape, (y,), Reshape(whole)))

    return build


def _cumsum(call: Call) -> Tensor:
    shape = call.shape(0)
    axis = call.axis(int(np.asarray(call.constant(1, "axis")).reshape(-1)[0]), len(shape))
    before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    p = call.place
    flat = p.between(reshape, (call.value(0),), Reshape((before, shape[axis], after)), "flat")
    attrs = Cumsum(bool(call.attr("exclusive", 0)), bool(call.attr("reverse", 0)))
    return call.result(call.emit(reshape, (p.between(cumsum, (flat,), attrs),), Reshape(shape)))


READ: Mapping[str, Build] = {
    "ArgMax": _arg(arg_max),
    "ArgMin": _arg(arg_min),
    "CumSum": _cumsum,
    "LogSoftmax": _softmax(log_softmax),
    "ReduceL1": _reduce(sum_, before="abs"),
    "ReduceL2": _reduce(sum_, before="square", after="sqrt"),
    "ReduceLogSumExp": _reduce(sum_, before="exp", after="log"),
    "ReduceMax": _reduce(reduce_max),
    "ReduceMean": _reduce(mean),
    "ReduceMin": _reduce(reduce_min),
    "ReduceProd": _reduce(reduce_prod),
    "ReduceSum": _reduce(sum_),
    "ReduceSumSquare": _reduce(sum_, before="square"),
    "Softmax": _softmax(softmax),
}

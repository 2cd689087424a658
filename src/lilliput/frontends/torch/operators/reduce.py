"""Reductions, softmax, running sums and searches along an axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lilliput.frontends.torch.call import Build, Call
from lilliput.ir import DType, Op, Value
from lilliput.ops.compare import comparisons
from lilliput.ops.elementwise import mul, sub
from lilliput.ops.index import gather
from lilliput.ops.normalise import log_softmax
from lilliput.ops.reduce import Reduction, mean, reduce_max, reduce_min, reduce_prod, sum_
from lilliput.ops.search import Arg, Cumsum, TopK, arg_max, arg_min, cumsum, top_k
from lilliput.ops.shape import Transpose, transpose
from lilliput.ops.softmax import softmax
from lilliput.ops.unary import UNARY

X = "self"


def axes_of(call: Call, rank: int) -> tuple[int, ...]:
    name = "dim" if "dim" in call.step.arguments else ""
    return call.axes(name, rank) if name else tuple(range(rank))


def _reduction(op: Op, *, truth: bool = False) -> Build:
    def build(call: Call) -> Value:
        x = call.value(X)
        if truth and x.type.dtype is not DType.BOOL:
            zero = call.constant(np.zeros(1, x.type.dtype.numpy), "zero")
            x = call.between(comparisons["not_equal"], (x, zero), suffix="truth")
        if not x.type.shape:
            return x
        x = call.cast(x, call.out.dtype)
        return call.emit(
            op, (x,), Reduction(axes_of(call, len(x.type.shape)), call.flag("keepdim"))
        )

    return build


def _variance(call: Call, x: Value, axes: Sequence[int], *, keep: bool) -> Value:
    """Mean of squares around the mean, over one element less unless `correction` says else."""
    over = Reduction(tuple(axes))
    count = math.prod(x.type.shape[k] for k in axes)
    correction = call.number("correction", 1.0)
    centred = call.between(sub, (x, call.between(mean, (x,), over)), suffix="centred")
    square = call.between(UNARY["square"], (centred,))
    spread = call.between(mean, (square,), Reduction(tuple(axes), keep), "spread")
    if correction == 0:
        return spread
    if count <= correction:
        raise call.refuse("variance of too few elements", found=count)
    return call.between(mul, (spread, call.real(count / (count - correction), "unbiased")))


def _var(call: Call) -> Value:
    x = call.value(X)
    return _variance(call, x, axes_of(call, len(x.type.shape)), keep=call.flag("keepdim"))


def _var_mean(call: Call) -> Sequence[Value]:
    x = call.value(X)
    axes, keep = axes_of(call, len(x.type.shape)), call.flag("keepdim")
    return _variance(call, x, axes, keep=keep), call.between(mean, (x,), Reduction(axes, keep))


def _norm(call: Call) -> Value:
    x, order = call.value(X), call.number("ord", 2.0)
    over = Reduction(axes_of(call, len(x.type.shape)), call.flag("keepdim"))
    if order == 2:
        square = call.between(UNARY["square"], (x,))
        return call.emit(UNARY["sqrt"], (call.between(sum_, (square,), over),))
    size = call.between(UNARY["abs"], (x,))
    if order not in (1, math.inf, -math.inf):
        raise call.refuse("order of a norm", expected="1, 2 or infinity", found=order)
    return call.emit({1: sum_, math.inf: reduce_max}.get(order, reduce_min), (size,), over)


# Along one axis ---------------------------------------------------------------------------


def last_axis(call: Call, x: Value, op: Op, axis: int) -> Value:
    """`op`, which works along the last axis, along another one."""
    rank = len(x.type.shape)
    if axis == rank - 1:
        return call.emit(op, (x,))
    perm = list(range(rank))
    perm[axis], perm[-1] = perm[-1], perm[axis]
    moved = call.between(transpose, (x,), Transpose(tuple(perm)), "last")
    return call.emit(transpose, (call.between(op, (moved,)),), Transpose(tuple(perm)))


def _softmax(op: Op) -> Build:
    def build(call: Call) -> Value:
        x = call.cast(call.value(X), DType.F32)
        return last_axis(call, x, op, call.axis("dim", len(x.type.shape)))

    return build


def _around(shape: Sequence[int], axis: int) -> tuple[int, int, int]:
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def _places(call: Call, op: Op, x: Value, axis: int | None, suffix: str) -> Value:
    """Where the best elements are; of all elements as one row where there is no axis."""
    shape = x.type.shape if axis is not None else (x.type.size,)
    rows = call.shaped(x, _around(shape, axis or 0), f"{suffix}/rows")
    return call.between(op, (rows,), Arg("s64"), suffix)


def _arg(op: Op) -> Build:
    def build(call: Call) -> Value:
        x = call.value(X)
        axis = call.axis("dim", len(x.type.shape)) if call.has("dim") else None
        return call.shaped(_places(call, op, x, axis, "places"), call.out.shape)

    return build


def _extreme(best: Op, search: Op) -> Build:
    """(values, places) along an axis."""

    def build(call: Call) -> Sequence[Value]:
        x = call.value(X)
        axis = call.axis("dim", len(x.type.shape))
        values = call.between(best, (x,), Reduction((axis,), call.flag("keepdim")), "values")
        places = _places(call, search, x, axis, "places")
        return values, call.shaped(places, call.result(1).shape, "indices")

    return build


def _cumsum(call: Call) -> Value:
    x = call.cast(call.value(X), call.out.dtype)
    axis = call.axis("dim", len(x.type.shape))
    rows = call.shaped(x, _around(x.type.shape, axis), "rows")
    return call.shaped(call.between(cumsum, (rows,), Cumsum()), call.out.shape, "sums")


def _top_k(call: Call) -> Sequence[Value]:
    x, k = call.value(X), call.integer("k")
    rank = len(x.type.shape)
    axis = call.axis("dim", rank)
    if not call.flag("largest") or axis != rank - 1:
        raise call.refuse("topk", expected="the largest, along the last axis", found=f"dim={axis}")
    r, n, _ = _around(x.type.shape, axis)
    places = call.between(top_k, (call.shaped(x, (r, n, 1), "rows"),), TopK(k), "places")
    cells = call.shaped(x, (r, 1, n, 1), "cells"), call.shaped(places, (r, k), "where")
    values = call.between(gather, cells, None, "best")
    return (
        call.shaped(values, call.result(0).shape, "values"),
        call.cast(call.shaped(places, call.result(1).shape, "indices"), DType.S64),
    )


READ: dict[str, Build] = {
    "_log_softmax.default": _softmax(log_softmax),
    "_softmax.default": _softmax(softmax),
    "all.default": _reduction(reduce_min, truth=True),
    "all.dim": _reduction(reduce_min, truth=True),
    "all.dims": _reduction(reduce_min, truth=True),
    "amax.default": _reduction(reduce_max),
    "amin.default": _reduction(reduce_min),
    "any.default": _reduction(reduce_max, truth=True),
    "any.dim": _reduction(reduce_max, truth=True),
    "any.dims": _reduction(reduce_max, truth=True),
    "argmax.default": _arg(arg_max),
    "argmin.default": _arg(arg_min),
    "cumsum.default": _cumsum,
    "linalg_vector_norm.default": _norm,
    "max.default": _reduction(reduce_max),
    "max.dim": _extreme(reduce_max, arg_max),
    "mean.default": _reduction(mean),
    "mean.dim": _reduction(mean),
    "min.default": _reduction(reduce_min),
    "min.dim": _extreme(reduce_min, arg_min),
    "prod.default": _reduction(reduce_prod),
    "prod.dim_int": _reduction(reduce_prod),
    "sum.default": _reduction(sum_),
    "sum.dim_IntList": _reduction(sum_),
    "topk.default": _top_k,
    "var.correction": _var,
    "var_mean.correction": _var_mean,
}

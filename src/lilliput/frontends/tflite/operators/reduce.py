"""Reductions over axes: MEAN, SUM, REDUCE_MAX, REDUCE_ANY ...; and L2_POOL_2D.

Any and all are the largest and smallest of bools.  A root of mean squares over windows is three
operators that exist already: square, average pool, square root, in the order of its own sums.
"""

from __future__ import annotations

from collections.abc import Callable

from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.operators.table import ANY, Row, Rule, check_row
from lilliput.frontends.tflite.operators.windows import pads
from lilliput.frontends.tflite.options import Pool2DOptions, ReducerOptions
from lilliput.frontends.tflite.writing import Job, Writer
from lilliput.ir import DType, Op, Value
from lilliput.ops.pool import Pool, avg_pool2d
from lilliput.ops.quantize import requantize
from lilliput.ops.reduce import Reduction, mean, reduce_max, reduce_min, reduce_prod, sum_
from lilliput.ops.shape import Reshape, reshape
from lilliput.ops.unary import UNARY

NUMBERS = ANY - {DType.S4, DType.BOOL}
BOOLS = frozenset({DType.BOOL})
QUANTISED = frozenset({DType.S8, DType.S16})
SELECTS = (reduce_max, reduce_min)
"""Reductions whose result is one of the elements: it has their quantisation."""


def _reduction(op: Op) -> Callable[[Call], Value]:
    def build(call: Call) -> Value:
        x, y, rank = call.type(0), call.out, len(call.type(0).shape)
        if x.dtype in QUANTISED:
            check_row(call, Row(build, (2, 2), QUANTISED))
        axes = tuple(sorted({call.axis(k, rank) for k in call.ints(1)}))
        rescaled = x.dtype in QUANTISED and x.quant != y.quant
        if not axes:
            return (
                call.emit(requantize, (call.value(0),))
                if rescaled
                else call.emit(reshape, (call.value(0),), Reshape(y.shape))
            )
        attrs = Reduction(axes, call.options(ReducerOptions).keep_dims)
        if op in SELECTS and rescaled:
            found = call.between(op, (call.value(0),), attrs, "/found")
            return call.emit(requantize, (found,))
        return call.emit(op, (call.value(0),), attrs)

    return build


def _l2_pool(call: Call) -> Value:
    o = call.options(Pool2DOptions)
    window, stride = (o.filter_h, o.filter_w), (o.stride_h, o.stride_w)
    attrs = Pool(window, stride, pads(call, o.padding, window, stride, (1, 1)))
    squares = call.between(UNARY["square"], (call.value(0),), None, "/squares")
    means = call.between(avg_pool2d, (squares,), attrs, "/means")
    return call.emit(UNARY["sqrt"], (means,), None, o.activation)


def _write(name: str, of_bools: str = "") -> Callable[[Writer, Job], None]:
    def rule(w: Writer, job: Job) -> None:
        a = job.node.attrs
        assert isinstance(a, Reduction)
        code = of_bools if job.out.type.dtype is DType.BOOL else name
        w.emit(code, job, None, ReducerOptions(a.keepdims), [w.integers(job, "axes", a.axes)])

    return rule


def _row(op: Op, *, of_bools: bool = False) -> Row:
    return Row(_reduction(op), (2, 2), BOOLS if of_bools else NUMBERS, ())


READ = {
    "L2_POOL_2D": Row(_l2_pool, (1, 1), frozenset({DType.F32})),
    "MEAN": _row(mean),
    "REDUCE_ALL": _row(reduce_min, of_bools=True),
    "REDUCE_ANY": _row(reduce_max, of_bools=True),
    "REDUCE_MAX": _row(reduce_max),
    "REDUCE_MIN": _row(reduce_min),
    "REDUCE_PROD": _row(reduce_prod),
    "SUM": _row(sum_),
}

WRITE = {
    "mean": Rule(_write("MEAN")),
    "reduce_max": Rule(_write("REDUCE_MAX", "REDUCE_ANY")),
    "reduce_min": Rule(_write("REDUCE_MIN", "REDUCE_ALL")),
    "reduce_prod": Rule(_write("REDUCE_PROD")),
    "sum": Rule(_write("SUM")),
}

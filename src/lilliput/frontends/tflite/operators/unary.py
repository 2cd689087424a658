"""Functions of one element: every row of `ops.unary` under the name that the format has for it."""

from __future__ import annotations

import math
from collections.abc import Callable

from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.operators.table import Row, Rule
from lilliput.frontends.tflite.options import LeakyReluOptions
from lilliput.frontends.tflite.schema import CODES
from lilliput.frontends.tflite.writing import Job, Writer
from lilliput.ir import NoAttrs, Op, Value
from lilliput.ops.elementwise import Clamp, clamp
from lilliput.ops.unary import UNARY, Slope


def _unary(op: Op) -> Callable[[Call], Value]:
    return lambda call: call.emit(op, (call.value(0),))


def _limit(op: Op, low: float, high: float) -> Callable[[Call], Value]:
    """An activation that is a range: a clamp of floats, an operator that rescales integers."""

    def build(call: Call) -> Value:
        if call.out.dtype.is_float:
            return call.emit(clamp, (call.value(0),), Clamp(low, high))
        return call.emit(op, (call.value(0),))

    return build


def _leaky_relu(call: Call) -> Value:
    attrs = Slope(call.options(LeakyReluOptions).alpha)
    return call.emit(UNARY["leaky_relu"], (call.value(0),), attrs)


def _write_leaky_relu(w: Writer, job: Job) -> None:
    assert isinstance(job.node.attrs, Slope)
    w.emit("LEAKY_RELU", job, None, LeakyReluOptions(job.node.attrs.alpha))


def _write_unary(name: str) -> Rule:
    return Rule(lambda w, job: w.emit(name, job))


_PLAIN = tuple(op for op in UNARY.values() if op.attrs is NoAttrs and op.name.upper() in CODES)

READ = {op.name.upper(): Row(_unary(op)) for op in _PLAIN} | {
    "LEAKY_RELU": Row(_leaky_relu),
    "RELU": Row(_limit(UNARY["relu"], 0.0, math.inf)),
    "RELU6": Row(_limit(UNARY["relu6"], 0.0, 6.0)),
}

WRITE = {op.name: _write_unary(op.name.upper()) for op in _PLAIN} | {
    "leaky_relu": Rule(_write_leaky_relu),
}

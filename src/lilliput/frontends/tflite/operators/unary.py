"""Functions of one element: every row of `ops.unary` under the name that the format has for it."""

from __future__ import annotations

import math
from collections.abc import Callable

from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.operators.table import Row, Rule
from lilliput.frontends.tflite.options import GeluOptions, LeakyReluOptions
from lilliput.frontends.tflite.schema import CODES
from lilliput.frontends.tflite.writing import Job, Writer
from lilliput.ir import DType, NoAttrs, Op, Value
from lilliput.ops.elementwise import Clamp, clamp
from lilliput.ops.prelu import prelu
from lilliput.ops.unary import UNARY, Gelu, Slope

RANGES = {
    "relu": (0.0, math.inf),
    "relu6": (0.0, 6.0),
    "relu_n1_to_1": (-1.0, 1.0),
    "relu_0_to_1": (0.0, 1.0),
}


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


def _gelu(call: Call) -> Value:
    attrs = Gelu(call.options(GeluOptions).approximate)
    return call.emit(UNARY["gelu"], (call.value(0),), attrs)


def _prelu(call: Call) -> Value:
    return call.emit(prelu, (call.value(0), call.value(1)))


def _write_leaky_relu(w: Writer, job: Job) -> None:
    assert isinstance(job.node.attrs, Slope)
    w.emit("LEAKY_RELU", job, None, LeakyReluOptions(job.node.attrs.alpha))


def _write_gelu(w: Writer, job: Job) -> None:
    assert isinstance(job.node.attrs, Gelu)
    w.emit("GELU", job, None, GeluOptions(job.node.attrs.approximate))


def _write_unary(name: str) -> Rule:
    return Rule(lambda w, job: w.emit(name, job))


def _quantised(op: Op) -> tuple[int, ...]:
    """int32 that stand for themselves have no scale to ask for; the operator asks the others."""
    return () if DType.S32 in op.dtypes else (0,)


_PLAIN = tuple(op for op in UNARY.values() if op.attrs is NoAttrs and op.name.upper() in CODES)

READ = (
    {
        op.name.upper(): Row(_unary(op), (1, 1), frozenset(op.dtypes), _quantised(op))
        for op in _PLAIN
    }
    | {name.upper(): Row(_limit(UNARY[name], low, high)) for name, (low, high) in RANGES.items()}
    | {
        "GELU": Row(_gelu),
        "LEAKY_RELU": Row(_leaky_relu),
        "PRELU": Row(_prelu, (2, 2), quantised=(0, 1)),
    }
)

WRITE = {op.name: _write_unary(op.name.upper()) for op in _PLAIN} | {
    "gelu": Rule(_write_gelu),
    "leaky_relu": Rule(_write_leaky_relu),
    "prelu": _write_unary("PRELU"),
}

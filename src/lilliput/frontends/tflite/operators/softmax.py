"""SOFTMAX and its relations, LOG_SOFTMAX and L2_NORMALIZATION."""

from __future__ import annotations

from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.operators.table import Row, Rule
from lilliput.frontends.tflite.options import L2NormOptions, SoftmaxOptions
from lilliput.frontends.tflite.writing import Job, Writer
from lilliput.ir import DType, NoAttrs, Value
from lilliput.ops.normalise import l2_normalize, log_softmax
from lilliput.ops.softmax import Softmax, softmax

FLOAT_OR_INT8 = frozenset({DType.F32, DType.S8})


def _softmax(call: Call) -> Value:
    x, y = call.type(0).dtype, call.out.dtype
    attrs = Softmax(call.options(SoftmaxOptions).beta, wide=(x, y) == (DType.S8, DType.S16))
    return call.emit(softmax, (call.value(0),), attrs)


def _log_softmax(call: Call) -> Value:
    return call.emit(log_softmax, (call.value(0),))


def _l2_normalization(call: Call) -> Value:
    activation = call.options(L2NormOptions).activation
    return call.emit(l2_normalize, (call.value(0),), NoAttrs(), activation)


def _write_softmax(w: Writer, job: Job) -> None:
    assert isinstance(job.node.attrs, Softmax)
    w.emit("SOFTMAX", job, None, SoftmaxOptions(job.node.attrs.beta))


def _write_l2_normalization(w: Writer, job: Job) -> None:
    w.emit("L2_NORMALIZATION", job, None, L2NormOptions(job.activation))


READ = {
    "L2_NORMALIZATION": Row(_l2_normalization, (1, 1), FLOAT_OR_INT8),
    "LOG_SOFTMAX": Row(_log_softmax, (1, 1), FLOAT_OR_INT8),
    "SOFTMAX": Row(_softmax),
}

WRITE = {
    "l2_normalize": Rule(_write_l2_normalization),
    "log_softmax": Rule(lambda w, job: w.emit("LOG_SOFTMAX", job)),
    "softmax": Rule(_write_softmax),
}

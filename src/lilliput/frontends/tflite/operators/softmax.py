"""SOFTMAX and its relations."""

from __future__ import annotations

from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.operators.table import Row, Rule
from lilliput.frontends.tflite.options import SoftmaxOptions
from lilliput.frontends.tflite.writing import Job, Writer
from lilliput.ir import DType, Value
from lilliput.ops.softmax import Softmax, softmax


def _softmax(call: Call) -> Value:
    x, y = call.type(0).dtype, call.out.dtype
    attrs = Softmax(call.options(SoftmaxOptions).beta, wide=(x, y) == (DType.S8, DType.S16))
    return call.emit(softmax, (call.value(0),), attrs)


def _write_softmax(w: Writer, job: Job) -> None:
    assert isinstance(job.node.attrs, Softmax)
    w.emit("SOFTMAX", job, None, SoftmaxOptions(job.node.attrs.beta))


READ = {"SOFTMAX": Row(_softmax)}

WRITE = {"softmax": Rule(_write_softmax)}

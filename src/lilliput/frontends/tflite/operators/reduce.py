"""Reductions over axes: MEAN ..."""

from __future__ import annotations

from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.operators.table import Row, Rule
from lilliput.frontends.tflite.options import ReducerOptions
from lilliput.frontends.tflite.writing import Job, Writer
from lilliput.ir import Value
from lilliput.ops.reduce import Mean, mean


def _mean(call: Call) -> Value:
    rank = len(call.type(0).shape)
    axes = tuple(sorted({call.axis(k, rank) for k in call.ints(1)}))
    attrs = Mean(axes, call.options(ReducerOptions).keep_dims)
    return call.emit(mean, (call.value(0),), attrs)


def _write_mean(w: Writer, job: Job) -> None:
    a = job.node.attrs
    assert isinstance(a, Mean)
    w.emit("MEAN", job, None, ReducerOptions(a.keepdims), [w.integers(job, "axes", a.axes)])


READ = {"MEAN": Row(_mean, (2, 2))}

WRITE = {"mean": Rule(_write_mean)}

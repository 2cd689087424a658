"""Operators that move elements and keep them: RESHAPE, TRANSPOSE, CONCATENATION, SLICE ..."""

from __future__ import annotations

from lilliput.errors import FormatError
from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.operators.table import ANY, Row, Rule
from lilliput.frontends.tflite.options import ConcatenationOptions, ReshapeOptions
from lilliput.frontends.tflite.writing import Job, Writer
from lilliput.ir import Value
from lilliput.ops.shape import Concat, Reshape, Slice, Transpose, concat, reshape, slice_, transpose


def _reshape(call: Call) -> Value:
    return call.emit(reshape, (call.value(0),), Reshape(call.out.shape))


def _transpose(call: Call) -> Value:
    rank = len(call.type(0).shape)
    perm = tuple(call.axis(k, rank) for k in call.ints(1))
    return call.emit(transpose, (call.value(0),), Transpose(perm))


def _concatenation(call: Call) -> Value:
    o = call.options(ConcatenationOptions)
    values = [call.value(k) for k in range(len(call.inputs))]
    attrs = Concat(call.axis(o.axis, len(call.out.shape)))
    return call.emit(concat, values, attrs, o.activation)


def _slice(call: Call) -> Value:
    x, begin, size = call.type(0), call.ints(1), call.ints(2)
    if not len(begin) == len(size) == len(x.shape):
        raise FormatError("begin and size", where=call.where, expected=len(x.shape), found=size)
    size = tuple(d - b if s == -1 else s for d, b, s in zip(x.shape, begin, size, strict=True))
    return call.emit(slice_, (call.value(0),), Slice(begin, size))


def _write_concat(w: Writer, job: Job) -> None:
    assert isinstance(job.node.attrs, Concat)
    w.emit("CONCATENATION", job, None, ConcatenationOptions(job.node.attrs.axis))


def _write_reshape(w: Writer, job: Job) -> None:
    assert isinstance(job.node.attrs, Reshape)
    shape = job.node.attrs.shape
    w.emit("RESHAPE", job, None, ReshapeOptions(shape), [w.integers(job, "shape", shape)])


def _write_slice(w: Writer, job: Job) -> None:
    a = job.node.attrs
    assert isinstance(a, Slice)
    extra = [w.integers(job, "begin", a.begin), w.integers(job, "size", a.size)]
    w.emit("SLICE", job, None, None, extra)


def _write_transpose(w: Writer, job: Job) -> None:
    assert isinstance(job.node.attrs, Transpose)
    w.emit("TRANSPOSE", job, None, None, [w.integers(job, "perm", job.node.attrs.perm)])


_VIEW = Row(_reshape, (1, 2), ANY, ())

READ = {
    "CONCATENATION": Row(_concatenation, (1, 4096), ANY, ()),
    "EXPAND_DIMS": _VIEW,
    "RESHAPE": _VIEW,
    "SLICE": Row(_slice, (3, 3), ANY, ()),
    "SQUEEZE": _VIEW,
    "TRANSPOSE": Row(_transpose, (2, 2), ANY, ()),
}

WRITE = {
    "concat": Rule(_write_concat),
    "reshape": Rule(_write_reshape),
    "slice": Rule(_write_slice),
    "transpose": Rule(_write_transpose),
}

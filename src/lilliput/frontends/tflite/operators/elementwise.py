"""Operators of two elements, and what changes their type: ADD, SUB, MUL, QUANTIZE ..."""

from __future__ import annotations

from collections.abc import Callable

from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.operators.table import ACTIVATIONS, INTEGERS, Row, Rule
from lilliput.frontends.tflite.options import AddOptions, MulOptions, SubOptions
from lilliput.frontends.tflite.writing import Job, Writer, activation_of, fail
from lilliput.ir import DType, Op, Value
from lilliput.ops.elementwise import Binary, Clamp, add, mul, sub
from lilliput.ops.quantize import Requantize, To, dequantize, quantize, requantize


def _binary(op: Op, options: type[AddOptions | SubOptions | MulOptions]) -> Callable[[Call], Value]:
    def build(call: Call) -> Value:
        operands = call.value(0), call.value(1)
        return call.emit(op, operands, Binary(), call.options(options).activation)

    return build


def _quantize(call: Call) -> Value:
    if call.type(0).dtype.is_float:
        return call.emit(quantize, (call.value(0),), To(call.out.dtype))
    return call.emit(requantize, (call.value(0),), Requantize(call.out.dtype))


def _dequantize(call: Call) -> Value:
    return call.emit(dequantize, (call.value(0),))


def _write_binary(
    name: str, options: type[AddOptions | SubOptions | MulOptions]
) -> Callable[[Writer, Job], None]:
    return lambda w, job: w.emit(name, job, None, options(job.activation))


def _write_clamp(w: Writer, job: Job) -> None:
    assert isinstance(job.node.attrs, Clamp)
    activation = activation_of(job.node.attrs, job.out.type)
    if job.node.inputs[0].type != job.out.type or not activation:
        raise fail(job.node, "bounds are those of no activation of the format")
    w.emit(activation.name, job)


READ = {
    "ADD": Row(_binary(add, AddOptions), (2, 2), ACTIVATIONS, (0, 1)),
    "DEQUANTIZE": Row(_dequantize, (1, 1), frozenset({DType.F32})),
    "MUL": Row(_binary(mul, MulOptions), (2, 2), ACTIVATIONS, (0, 1)),
    "QUANTIZE": Row(_quantize, (1, 1), INTEGERS),
    "SUB": Row(_binary(sub, SubOptions), (2, 2), ACTIVATIONS, (0, 1)),
}

WRITE = {
    "add": Rule(_write_binary("ADD", AddOptions), fuses=True),
    "clamp": Rule(_write_clamp),
    "dequantize": Rule(lambda w, job: w.emit("DEQUANTIZE", job)),
    "mul": Rule(_write_binary("MUL", MulOptions), fuses=True),
    "quantize": Rule(lambda w, job: w.emit("QUANTIZE", job)),
    "requantize": Rule(lambda w, job: w.emit("QUANTIZE", job)),
    "sub": Rule(_write_binary("SUB", SubOptions), fuses=True),
}

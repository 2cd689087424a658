"""Operators of two elements, and what changes their type: ADD, DIV, POW, QUANTIZE, CAST ...

int32 and int64 are numbers without a scale here; int8 and int16 need one, except where an
operator takes stored integers as they are (FLOOR_DIV, FLOOR_MOD).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.operators.table import (
    ACTIVATIONS,
    ANY,
    INTEGERS,
    Row,
    Rule,
    check_scales,
)
from lilliput.frontends.tflite.options import (
    AddOptions,
    DivOptions,
    MulOptions,
    ReshapeOptions,
    SubOptions,
)
from lilliput.frontends.tflite.schema import Activation
from lilliput.frontends.tflite.writing import Job, Writer, activation_of, fail
from lilliput.ir import DType, NoAttrs, Op, Quant, Value
from lilliput.ops.arithmetic import (
    MOST_OPERANDS,
    add_n,
    div,
    floor_div,
    floor_mod,
    power,
    squared_difference,
)
from lilliput.ops.elementwise import Binary, Clamp, add, mul, sub
from lilliput.ops.quantize import Requantize, To, cast, dequantize, quantize, requantize

Options = type[AddOptions | SubOptions | MulOptions | DivOptions]
Build = Callable[[Call], Value]

NUMBERS = ACTIVATIONS | {DType.S32}
MOST_SUMMED = 1024
"""Operands of one ADD_N: more is no network."""


def values(call: Call) -> list[Value]:
    return [call.value(k) for k in range(len(call.inputs))]


def scaled(build: Build) -> Build:
    """`build`, after int8 and int16 operands have been seen to have scales."""

    def checked(call: Call) -> Value:
        if call.out.dtype in (DType.S8, DType.S16):
            check_scales(call, range(len(call.inputs)))
        return build(call)

    return checked


def _binary(op: Op, options: Options) -> Build:
    def build(call: Call) -> Value:
        attrs = Binary() if op.attrs is Binary else NoAttrs()
        return call.emit(op, values(call), attrs, call.options(options).activation)

    return scaled(build)


def plain(op: Op) -> Build:
    """The operator as it is, without options."""
    return lambda call: call.emit(op, values(call))


# ADD_N ------------------------------------------------------------------------------------


def _add_n(call: Call) -> Value:
    operands = values(call)
    if len(operands) <= MOST_OPERANDS or call.out.dtype is not DType.S8:
        return call.emit(add_n, _summed(call, operands))
    # sums of eight in int32, in the steps that one sum would have
    type = call.type(0)
    quant = Quant.per_tensor(type.scale / (1 << 19))
    start = call.param("/start", np.array(-type.zero_point << 19, np.int32), quant)
    steps = [
        call.tensors.builder.add(
            requantize,
            (x,),
            Requantize(DType.S32),
            type=x.type.with_dtype(DType.S32, quant),
            name=f"{x.name}/steps",
            origin=call.origin,
        )
        for x in operands
    ]
    total = call.between(add_n, _summed(call, [start, *steps]), None, "/sum")
    return call.emit(requantize, (total,), Requantize(DType.S8))


def _summed(call: Call, operands: Sequence[Value]) -> list[Value]:
    """At most eight operands with the same sum: leading ones added already."""
    rest = list(operands)
    while len(rest) > MOST_OPERANDS:
        rest = [call.between(add_n, rest[:MOST_OPERANDS], None, "/part"), *rest[MOST_OPERANDS:]]
    return rest


# Types ------------------------------------------------------------------------------------


def _quantize(call: Call) -> Value:
    if call.type(0) == call.out:
        return call.value(0)  # uint8 and int8 of the same reals
    if call.type(0).dtype.is_float:
        return call.emit(quantize, (call.value(0),), To(call.out.dtype))
    return call.emit(requantize, (call.value(0),), Requantize(call.out.dtype))


def _dequantize(call: Call) -> Value:
    if call.type(0) == call.out:
        return call.value(0)  # float16: a float32 constant since it was read
    return call.emit(dequantize, (call.value(0),))


def _cast(call: Call) -> Value:
    return call.emit(cast, (call.value(0),), To(call.out.dtype))


# Writing ----------------------------------------------------------------------------------


def writes(name: str) -> Rule:
    return Rule(lambda w, job: w.emit(name, job))


def _write_binary(name: str, options: Options) -> Rule:
    return Rule(lambda w, job: w.emit(name, job, None, options(job.activation)), fuses=True)


def _write_clamp(w: Writer, job: Job) -> None:
    assert isinstance(job.node.attrs, Clamp)
    a, y = job.node.attrs, job.out.type
    activation = activation_of(a, y)
    if activation is Activation.NONE:
        shape = w.integers(job, "shape", y.shape)
        w.emit("RESHAPE", job, None, ReshapeOptions(y.shape), [shape])
        return
    name = activation.name if activation else ""
    if y.dtype.is_float and (a.low, a.high) == (0, 1):
        name = "RELU_0_TO_1"  # a node only: nothing fuses it
    if job.node.inputs[0].type != y or not name:
        raise fail(job.node, "bounds are those of no activation of the format")
    w.emit(name, job)


READ = {
    "ADD": Row(_binary(add, AddOptions), (2, 2), NUMBERS | {DType.S64}, ()),
    "ADD_N": Row(scaled(_add_n), (2, MOST_SUMMED), frozenset(add_n.dtypes), ()),
    "CAST": Row(_cast, (1, 1), (ANY | {DType.U8}) - {DType.S4}, ()),
    "DEQUANTIZE": Row(_dequantize, (1, 1), frozenset({DType.F32})),
    "DIV": Row(_binary(div, DivOptions), (2, 2), NUMBERS, ()),
    "FLOOR_DIV": Row(plain(floor_div), (2, 2), NUMBERS, ()),
    "FLOOR_MOD": Row(plain(floor_mod), (2, 2), NUMBERS | {DType.S64}, ()),
    "MUL": Row(_binary(mul, MulOptions), (2, 2), NUMBERS | {DType.S64}, ()),
    "POW": Row(plain(power), (2, 2), frozenset(power.dtypes), ()),
    "QUANTIZE": Row(_quantize, (1, 1), INTEGERS),
    "SQUARED_DIFFERENCE": Row(scaled(plain(squared_difference)), (2, 2), NUMBERS, ()),
    "SUB": Row(_binary(sub, SubOptions), (2, 2), NUMBERS | {DType.S64}, ()),
}

WRITE = {
    "add": _write_binary("ADD", AddOptions),
    "add_n": writes("ADD_N"),
    "cast": writes("CAST"),
    "clamp": Rule(_write_clamp),
    "dequantize": writes("DEQUANTIZE"),
    "div": _write_binary("DIV", DivOptions),
    "floor_div": writes("FLOOR_DIV"),
    "floor_mod": writes("FLOOR_MOD"),
    "mul": _write_binary("MUL", MulOptions),
    "pow": writes("POW"),
    "quantize": writes("QUANTIZE"),
    "requantize": writes("QUANTIZE"),
    "squared_difference": writes("SQUARED_DIFFERENCE"),
    "sub": _write_binary("SUB", SubOptions),
}

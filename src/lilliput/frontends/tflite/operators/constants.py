"""Operators whose result is known when the model is read: SHAPE, RANK, FILL, RANGE ...

Every shape is static, so these become constants; chains of them that compute the operand of
a RESHAPE or a SLICE leave nothing behind.
"""

from __future__ import annotations

import math

import numpy as np

from lilliput.errors import FormatError
from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.operators.table import ANY, Row, Rule
from lilliput.ir import Array, DType, Value
from lilliput.ops.shape import Broadcast, broadcast

COUNTED = frozenset({DType.S32, DType.S64})
MAX_BYTES = 1 << 24
"""Of a constant that a few bytes of the file ask for: more than any device's flash holds."""


def _constant(call: Call, data: Array) -> Value:
    y = call.out
    if data.shape != y.shape:
        raise FormatError(
            "shape of a constant", where=call.where, expected=data.shape, found=str(y)
        )
    return call.param("", data, y.quant)


def _filled(call: Call, value: Array | int) -> Value:
    """One number everywhere; it takes no memory before it is written."""
    y = call.out
    if y.nbytes > MAX_BYTES:
        raise call.refuse("constant is too large", expected=f"{MAX_BYTES} bytes", found=str(y))
    return _constant(call, np.broadcast_to(np.array(value, y.dtype.numpy), y.shape))


def _shape(call: Call) -> Value:
    return _constant(call, np.array(call.type(0).shape, call.out.dtype.numpy))


def _rank(call: Call) -> Value:
    return _constant(call, np.array(len(call.type(0).shape), call.out.dtype.numpy))


def _zeros_like(call: Call) -> Value:
    """Stored zeros, whatever they stand for, as in TFLite."""
    return _filled(call, 0)


def _number(call: Call, k: int) -> Array | None:
    """Operand `k`, one element of the result's type, where it is a constant."""
    data, type = call.constant(k), call.type(k)
    if type.size != 1 or type.dtype is not call.out.dtype:
        expected = f"one {call.out.dtype.value}"
        raise FormatError(f"operand {k}", where=call.where, expected=expected, found=str(type))
    return None if data is None else data.reshape(-1)[0]


def _fill(call: Call) -> Value:
    value = _number(call, 1)
    if value is None:
        return call.emit(broadcast, (call.value(1),), Broadcast(call.out.shape))
    return _filled(call, value)


def _steps(start: Array, limit: Array, delta: Array) -> int:
    """Elements of a range, 0 where there are none; floats are divided in float32."""
    if start.dtype.kind != "f":
        step = int(delta)
        return 0 if step == 0 else -((int(start) - int(limit)) // step)
    with np.errstate(all="ignore"):
        ratio = float((limit - start) / delta)
    return math.ceil(ratio) if math.isfinite(ratio) else 0


def _range(call: Call) -> Value:
    """start, start + delta ...: each the one before plus delta, rounded to the type."""
    parts = [part for k in range(3) if (part := _number(call, k)) is not None]
    if len(parts) < 3:
        raise call.refuse("range is computed at run time", expected="constant operands")
    start, limit, delta = parts
    steps = _steps(start, limit, delta)
    call.tensors.settle(call.outputs[0], (steps,))
    y = call.out
    if y.size != steps or y.nbytes > MAX_BYTES:
        found = f"{start} to {limit} by {delta}"
        raise FormatError("range", where=call.where, expected=str(y), found=found)
    terms = np.full(y.size, delta, y.dtype.numpy)
    terms[:1] = start
    with np.errstate(all="ignore"):
        data = np.cumsum(terms, dtype=terms.dtype)
    return _constant(call, data)


READ = {
    "FILL": Row(_fill, (2, 2), ANY, ()),
    "RANGE": Row(_range, (3, 3), frozenset({DType.F32, *COUNTED}), ()),
    "RANK": Row(_rank, (1, 1), COUNTED, ()),
    "SHAPE": Row(_shape, (1, 1), COUNTED, ()),
    "ZEROS_LIKE": Row(_zeros_like, (1, 1), ANY, ()),
}

WRITE: dict[str, Rule] = {}

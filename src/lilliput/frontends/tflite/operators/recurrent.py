"""Layers that keep a state between calls: SVDF and UNIDIRECTIONAL_SEQUENCE_LSTM.

The format keeps their states in variable tensors; here they become states of the module,
laid out as it suits the operators (an SVDF's window by frames, so that it can be a ring).
"""

from __future__ import annotations

import numpy as np

from lilliput.errors import FormatError
from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.operators.table import Row, Rule
from lilliput.frontends.tflite.options import SVDFOptions, UnidirectionalSequenceLSTMOptions
from lilliput.frontends.tflite.schema import Activation
from lilliput.ir import Array, DType, Quant, TensorType, Value
from lilliput.ops.conv import Linear, linear
from lilliput.ops.lstm import LSTM, lstm
from lilliput.ops.quantize import Requantize, requantize
from lilliput.ops.recurrent import Push, push
from lilliput.ops.shape import Reshape, Slice, Transpose, reshape, slice_, transpose
from lilliput.ops.time_filter import TimeFilter, time_filter


def _state(call: Call, k: int, type: TensorType) -> tuple[str, Value]:
    """(name, value at this point) of the variable tensor that is operand `k`."""
    index = call.index(k)
    if not call.tensors.graph.tensors[index].is_variable:
        raise FormatError("state is not a variable tensor", where=call.where, found=f"operand {k}")
    name = call.tensors.names[index]
    return name, call.scope.variables.read(name, type, call.where)


def _constant(call: Call, k: int) -> Array:
    data = call.constant(k)
    if data is None:
        raise call.refuse(f"operand {k} is computed at run time", expected="a constant")
    return data


# SVDF -------------------------------------------------------------------------------------


def _svdf(call: Call) -> Value:
    """project the frame, push it onto the window, filter the window over time."""
    o = call.options(SVDFOptions)
    x, w, taps = call.value(0), call.type(1), call.type(2)
    stored = call.type(4)
    if not len(x.type.shape) == len(w.shape) == len(taps.shape) == 2:
        raise FormatError("ranks of SVDF", where=call.where, expected=2, found=x.type)
    (batch, _), filters, frames = x.type.shape, w.shape[0], taps.shape[1]
    if stored.size != batch * filters * frames or taps.shape[0] != filters or o.rank < 1:
        raise FormatError("state of SVDF", where=call.where, expected=taps, found=stored)
    newest = _newest(call, x, stored, (batch, filters))
    newest = call.between(reshape, (newest,), Reshape((1, batch, filters)), "/newest")
    window = newest
    if frames > 1:
        type = TensorType((frames, batch, filters), stored.dtype, stored.quant)
        name, before = _state(call, 4, type)
        window = call.between(push, (before, newest), Push(0), "/window")
        call.scope.variables.assign(name, window)
    weights = call.tensors.derived(call.index(2), "frames first", lambda data: (data.T, taps.quant))
    if call.has(3):
        bias = call.value(3)
    else:
        kind = np.float32 if x.type.dtype.is_float else np.int32
        bias = call.param("/bias", np.zeros(filters // o.rank, kind))
    activation = o.activation if x.type.dtype.is_float else Activation.NONE
    return call.emit(time_filter, (window, weights, bias), TimeFilter(o.rank), activation)


def _newest(call: Call, x: Value, stored: TensorType, shape: tuple[int, int]) -> Value:
    """The projection of the newest frame, in the state's type.

    The real multiplier is formed in float32, as TFLite Micro's preparation does: the scale
    of the accumulators is chosen so that `requantize` finds the same.
    """
    w = call.value(1)
    if x.type.dtype.is_float:
        return call.between(linear, (x, w), Linear(), "/projection")
    if w.type.quant is None or not w.type.quant.is_per_tensor or stored.quant is None:
        raise call.refuse("weights or state of SVDF without one scale", found=w.type)
    product = np.float32(x.type.scale) * np.float32(w.type.scale) / np.float32(stored.scale)
    scale = Quant((float(product) * stored.scale,), (0,))
    add, origin = call.tensors.builder.add, call.origin
    sums = TensorType(shape, DType.S32, scale)
    name = call.tensors.names[call.outputs[0]]
    raw = add(linear, (x, w), Linear(raw=True), type=sums, name=f"{name}/sums", origin=origin)
    type = TensorType(shape, stored.dtype, stored.quant)
    attrs = Requantize(stored.dtype)
    return add(requantize, (raw,), attrs, type=type, name=f"{name}/projection", origin=origin)


# LSTM -------------------------------------------------------------------------------------


def _lstm(call: Call) -> Value:
    o = call.options(UnidirectionalSequenceLSTMOptions)
    _check_lstm(call, o)
    x = call.value(0)
    if len(x.type.shape) != 3:
        raise FormatError("rank of a sequence", where=call.where, expected=3, found=x.type)
    if o.time_major:
        x = call.between(transpose, (x,), Transpose((1, 0, 2)), "/by_sequence")
    w, r = _gates(call, "weights", (1, 2, 3, 4)), _gates(call, "recurrent", (5, 6, 7, 8))
    bias = _bias(call, w.type.shape[0])
    hidden_name, hidden = _state(call, 18, call.type(18))
    cell_name, cell = _state(call, 19, call.type(19))
    if (hidden.type.quant, hidden.type.dtype) != (call.out.quant, call.out.dtype):
        raise call.refuse(
            "hidden state and result are quantised differently",
            expected=hidden.type.quant,
            found=call.out.quant,
        )
    batch, frames, _ = x.type.shape
    units = hidden.type.shape[-1]
    name = call.tensors.names[call.outputs[0]]
    y, after = call.tensors.builder.add_multi(
        lstm,
        (x, w, r, bias, hidden, cell),
        LSTM(o.cell_clip),
        types=(call.out.with_shape(batch, frames, units), cell.type),
        name=f"{name}/sequence" if o.time_major else name,
        origin=call.origin,
    )
    last = Slice((0, frames - 1, 0), (batch, 1, units))
    shown = call.between(slice_, (y,), last, "/last")
    shown = call.between(reshape, (shown,), Reshape((batch, units)), "/hidden")
    call.scope.variables.assign(hidden_name, shown)
    call.scope.variables.assign(cell_name, after)
    return call.emit(transpose, (y,), Transpose((1, 0, 2))) if o.time_major else y


def _check_lstm(call: Call, o: UnidirectionalSequenceLSTMOptions) -> None:
    """Raises UnsupportedError for what TFLite Micro has no kernel for either."""
    missing = [k for k in (1, 5, 12) if not call.has(k)]
    extras = {"peephole": (9, 10, 11), "projection": (16, 17), "normalisation": (20, 21, 22, 23)}
    found = [name for name, operands in extras.items() if any(call.has(k) for k in operands)]
    if missing or found or o.diagonal_recurrent:
        raise call.refuse(
            "form of LSTM",
            expected="four gates, without peepholes, projection and layer normalisation",
            found=", ".join(found) or "a coupled or diagonal gate",
        )
    if o.activation != Activation.TANH:
        raise call.refuse("activation of LSTM", expected="TANH", found=o.activation)


def _gates(call: Call, what: str, operands: tuple[int, ...]) -> Value:
    """The matrices of the gates, one below the other; float32 where activations are."""
    types = [call.type(k) for k in operands]
    arrays = [_constant(call, k) for k in operands]
    if len({t.shape for t in types}) != 1 or len(types[0].shape) != 2:
        raise FormatError(f"{what} of the gates differ in shape", where=call.where, found=types)
    quants = [t.quant for t in types if t.quant is not None and t.quant.is_per_tensor]
    if not types[0].dtype.is_integer:
        return call.param(f"/{what}", np.concatenate(arrays))
    if len(quants) != 4 or any(q.zero_point[0] for q in quants):
        raise call.refuse(f"{what} of a gate", expected="one scale, zero point 0", found=types)
    if call.type(0).dtype.is_float:
        real = [
            a.astype(np.float32) * np.float32(q.scale[0])
            for a, q in zip(arrays, quants, strict=True)
        ]
        return call.param(f"/{what}", np.concatenate(real))
    units = types[0].shape[0]
    scales = tuple(q.scale[0] for q in quants for _ in range(units))
    quant = Quant(scales, (0,) * len(scales), 0)
    return call.param(f"/{what}", np.concatenate(arrays), quant)


def _bias(call: Call, size: int) -> Value:
    arrays = [_constant(call, k) for k in (12, 13, 14, 15)]
    data = np.concatenate([a.reshape(-1) for a in arrays])
    if data.size != size:
        raise FormatError("biases of the gates", where=call.where, expected=size, found=data.size)
    return call.param("/bias", data)


READ = {
    "SVDF": Row(_svdf, (5, 5)),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": Row(_lstm, (20, 24)),
}

WRITE: dict[str, Rule] = {}

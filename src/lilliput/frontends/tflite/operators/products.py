"""Convolutions and products with weights: CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED.

One idea: whatever the file calls them, weights arrive with axis 0 = output channels, with
positive scales, and a bias as a vector; the format's own layouts end here.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lilliput.errors import FormatError
from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.operators.table import Row, Rule
from lilliput.frontends.tflite.operators.windows import padding_of, pads
from lilliput.frontends.tflite.options import (
    Conv2DOptions,
    DepthwiseConv2DOptions,
    FullyConnectedOptions,
)
from lilliput.frontends.tflite.schema import Padding
from lilliput.frontends.tflite.writing import Job, Writer, fail
from lilliput.ir import Array, Quant, TensorType, Value
from lilliput.ops.conv import Conv2d, Linear, conv2d, linear
from lilliput.ops.shape import Reshape, Transpose, reshape, transpose

DEPTHWISE_TO_CONV = (3, 1, 2, 0)
CONV_TO_DEPTHWISE = (3, 1, 2, 0)
_NO_RAW = "the format has no accumulators: requantise in the node itself"


# Weights ----------------------------------------------------------------------------------


def _weights(call: Call, layout: tuple[int, ...] | None = None) -> Value:
    """Operand 1 with axis 0 = output channels; `layout` is the permutation that makes it so.

    int8 weights of float activations are dequantised here: float32 data, the same values.
    Channels with a negative scale become their negation: every product, and so every
    rounding, stays the same.
    """
    type = call.type(1)
    _check_weights(call, type, layout[0] if layout else 0)
    hybrid = call.type(0).dtype.is_float and type.dtype.is_integer
    if call.constant(1) is None:
        if hybrid:
            raise call.refuse("integer weights of float activations are computed at run time")
        value = call.value(1)
        return call.between(transpose, (value,), Transpose(layout), "/weights") if layout else value
    signs = None if hybrid else _signs(type)
    if not hybrid and layout is None and signs is None:
        return call.value(1)

    def make(data: Array) -> tuple[Array, Quant | None]:
        quant = type.quant
        if hybrid:
            assert quant is not None
            data, quant = _dequantised(data, quant), None
        if layout:
            data = data.transpose(layout)
            if quant is not None and not quant.is_per_tensor:
                quant = replace(quant, axis=0)
        if signs is not None:
            data, quant = _negated(call, data, signs), _positive(quant)
        return data, quant

    return call.tensors.derived(call.index(1), f"weights {layout} {hybrid}", make)


def _signs(type: TensorType) -> Array | None:
    """(channels) or (1): -1 where the scale is negative; None where no scale is."""
    if type.quant is None or min(type.quant.scale) > 0:
        return None
    return np.sign(np.array(type.quant.scale)).astype(np.int64)


def _negated(call: Call, data: Array, signs: Array) -> Array:
    """`data` with the channels (axis 0) of negative sign negated, in its own type."""
    wide = data.astype(np.int64) * signs.reshape(-1, *[1] * (data.ndim - 1))
    narrow = wide.astype(data.dtype)
    if not np.array_equal(narrow, wide):
        raise call.refuse(
            "negative scale of weights that hold the smallest integer",
            hint="convert again with symmetric weights, -127 to 127",
        )
    return narrow


def _positive(quant: Quant | None) -> Quant | None:
    return quant and replace(quant, scale=tuple(abs(s) for s in quant.scale))


def _check_weights(call: Call, type: TensorType, axis: int) -> None:
    if axis >= len(type.shape):
        raise FormatError("weights of too few axes", where=call.where, found=str(type))
    if not type.dtype.is_integer:
        return
    quant = type.quant
    if quant is None:
        raise call.refuse("integer weights without a scale", found=str(type))
    if quant.axis not in (None, axis):
        raise call.refuse("weights quantised along another axis", expected=axis, found=quant.axis)
    if any(quant.zero_point):
        raise call.refuse(
            "weights with a zero point",
            expected="symmetric weights, zero point 0",
            found=quant.zero_point[:8],
            hint="convert again with the current TFLite converter",
        )


def _dequantised(data: Array, quant: Quant) -> Array:
    scale = np.asarray(quant.scale, np.float32)
    if quant.axis is not None:
        scale = scale.reshape([-1 if k == quant.axis else 1 for k in range(data.ndim)])
    return data.astype(np.float32) * scale


def _with_bias(call: Call, weights: Value) -> tuple[Value, ...]:
    """(x, w[, bias]); a bias of one column or row is read as a vector."""
    operands = call.value(0), weights
    if not call.has(2):
        return operands
    type, signs = call.type(2), _signs(call.type(1))
    integer = type.dtype.is_integer
    if call.constant(2) is None or (len(type.shape) == 1 and not (integer and signs is not None)):
        return (*operands, call.value(2))
    if integer and signs is not None and type.size % signs.size:
        raise FormatError("bias has another length", where=call.where, found=str(type))

    def make(data: Array) -> tuple[Array, Quant | None]:
        flat, quant = data.reshape(-1), _positive(type.quant)
        if quant is not None and not quant.is_per_tensor:
            quant = replace(quant, axis=0)
        if integer and signs is not None:
            flat = _negated(call, flat, signs)
        return flat, quant

    return (*operands, call.tensors.derived(call.index(2), f"bias of {call.index(1)}", make))


# Reading ----------------------------------------------------------------------------------


def _conv(call: Call, o: Conv2DOptions | DepthwiseConv2DOptions, w: Value, groups: int) -> Value:
    if len(w.type.shape) != 4:
        raise FormatError("weights are not of rank 4", where=call.where, found=str(w.type))
    stride, dilation = (o.stride_h, o.stride_w), (o.dilation_h, o.dilation_w)
    around = pads(call, o.padding, (w.type.shape[1], w.type.shape[2]), stride, dilation)
    attrs = Conv2d(stride, dilation, around, groups)
    return call.emit(conv2d, _with_bias(call, w), attrs, o.activation)


def _conv_2d(call: Call) -> Value:
    w = _weights(call)
    channels = call.type(0).shape[-1:]
    groups = max(1, channels[0] // w.type.shape[-1]) if channels and w.type.shape else 1
    return _conv(call, call.options(Conv2DOptions), w, groups)


def _depthwise_conv_2d(call: Call) -> Value:
    shape = call.type(1).shape
    if len(shape) != 4 or shape[0] != 1 or len(call.type(0).shape) != 4:
        raise FormatError(
            "weights of a depthwise convolution",
            where=call.where,
            expected="(1,KH,KW,C)",
            found=shape,
        )
    w = _weights(call, DEPTHWISE_TO_CONV)
    return _conv(call, call.options(DepthwiseConv2DOptions), w, call.type(0).shape[3])


def _fully_connected(call: Call) -> Value:
    o = call.options(FullyConnectedOptions)
    if o.weights_format:
        raise call.refuse("shuffled weights", found=o.weights_format, hint="use the default format")
    w = _weights(call)
    if len(w.type.shape) != 2:
        raise FormatError("weights are not of rank 2", where=call.where, found=str(w.type))
    operands, (features, depth), out = _with_bias(call, w), w.type.shape, call.out
    x = operands[0]
    if x.type.shape[-1:] != (depth,) or (*x.type.shape[:-1], features) != out.shape:
        if x.type.size % depth:
            raise FormatError(
                "operand cannot be cut into rows",
                where=call.where,
                expected=depth,
                found=str(x.type),
            )
        x = _reshaped(call, x, (x.type.size // depth, depth))
    flat = out.with_shape(*x.type.shape[:-1], features)
    if flat == out:
        return call.emit(linear, (x, *operands[1:]), Linear(), o.activation)
    raise FormatError(
        "result of a fully connected layer", where=call.where, expected=str(flat), found=str(out)
    )


def _reshaped(call: Call, x: Value, shape: tuple[int, ...]) -> Value:
    return x if x.type.shape == shape else call.between(reshape, (x,), Reshape(shape), "/rows")


# Writing ----------------------------------------------------------------------------------


def _bias(w: Writer, job: Job) -> list[int]:
    """The bias of a product; integers get the scale x.scale * w.scale that the format asks for."""
    if len(job.node.inputs) < 3:
        return []
    x, weights, bias = (v.type for v in job.node.inputs[:3])
    value = job.node.inputs[2]
    plain = bias.dtype.is_float or bias.quant is not None or value.name not in w.module.params
    if plain or x.quant is None or weights.quant is None:
        return [w.tensor(value)]
    scales = tuple(float(np.float32(x.scale * s)) for s in weights.quant.scale)
    axis = None if weights.quant.is_per_tensor else 0
    return [w.extra(w.claim(value.name), w.data(value), Quant(scales, (0,) * len(scales), axis))]


def _product(job: Job, raw: bool) -> None:
    if raw or len(job.node.inputs) > 3:
        raise fail(job.node, "has a raw or an initial accumulator", _NO_RAW)


def _write_conv2d(w: Writer, job: Job) -> None:
    node, a = job.node, job.node.attrs
    assert isinstance(a, Conv2d)
    _product(job, a.raw)
    x, weights = node.inputs[0], node.inputs[1]
    padding = padding_of(x.type, a.pad, weights.type.shape[1:3], a.stride, a.dilation)
    source = w.tensor(x) if padding is not None else w.padded(job, a.pad)
    padding = Padding.VALID if padding is None else padding
    size = (a.stride[1], a.stride[0])
    dilation = (a.dilation[1], a.dilation[0])
    if a.groups > 1 and a.groups == x.type.shape[3]:
        quant = weights.type.quant
        if quant is not None and not quant.is_per_tensor:
            quant = replace(quant, axis=3)
        data = np.ascontiguousarray(w.data(weights).transpose(CONV_TO_DEPTHWISE))
        kernel = w.extra(w.claim(weights.name), data, quant, weights.type.dtype)
        multiplier = weights.type.shape[0] // a.groups
        options = DepthwiseConv2DOptions(padding, *size, multiplier, job.activation, *dilation)
        w.emit("DEPTHWISE_CONV_2D", job, (source, kernel, *_bias(w, job)), options)
        return
    options = Conv2DOptions(padding, *size, job.activation, *dilation)
    w.emit("CONV_2D", job, (source, w.tensor(weights), *_bias(w, job)), options)


def _write_linear(w: Writer, job: Job) -> None:
    a, x = job.node.attrs, job.node.inputs[0]
    assert isinstance(a, Linear)
    _product(job, a.raw)
    options = FullyConnectedOptions(job.activation, 0, len(x.type.shape) != 2)
    operands = [w.tensor(v) for v in job.node.inputs[:2]]
    w.emit("FULLY_CONNECTED", job, (*operands, *_bias(w, job)), options)


READ = {
    "CONV_2D": Row(_conv_2d, (2, 3)),
    "DEPTHWISE_CONV_2D": Row(_depthwise_conv_2d, (2, 3)),
    "FULLY_CONNECTED": Row(_fully_connected, (2, 3)),
}

WRITE = {
    "conv2d": Rule(_write_conv2d, fuses=True),
    "linear": Rule(_write_linear, fuses=True),
}

"""Convolutions and matrix products: CONV_2D, TRANSPOSE_CONV, FULLY_CONNECTED, BATCH_MATMUL ...

One idea: whatever the file calls them, weights arrive with axis 0 = output channels, with
positive scales, and a bias as a vector; the format's own layouts end here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lilliput.errors import FormatError
from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.operators.table import ANY, Row, Rule
from lilliput.frontends.tflite.operators.windows import padding_of, pads
from lilliput.frontends.tflite.options import (
    BatchMatMulOptions,
    Conv2DOptions,
    DepthwiseConv2DOptions,
    FullyConnectedOptions,
    TransposeConvOptions,
)
from lilliput.frontends.tflite.schema import Padding
from lilliput.frontends.tflite.writing import Job, Writer, fail
from lilliput.ir import Array, DType, Quant, TensorType, Value
from lilliput.ops.conv import Conv2d, Linear, conv2d, linear
from lilliput.ops.matmul import MatMul, matmul
from lilliput.ops.shape import Broadcast, Reshape, Transpose, broadcast, reshape, transpose
from lilliput.ops.transpose_conv import TransposeConv, transpose_conv, transposed_pad

DEPTHWISE_TO_CONV = (3, 1, 2, 0)
CONV_TO_DEPTHWISE = (3, 1, 2, 0)
_NO_RAW = "the format has no accumulators: requantise in the node itself"


# Weights ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Places:
    """Which operands of a call are the activations, the weights and the bias.

    zeros : whether int8 weights may have a zero point: the format gives one to matrix
        products, and to all weights that were uint8
    """

    x: int = 0
    w: int = 1
    bias: int = 2
    zeros: bool = False


_CONV = _Places()
_TRANSPOSED = _Places(2, 1, 3)
_PRODUCT = _Places(zeros=True)


def _weights(call: Call, at: _Places, layout: tuple[int, ...] | None = None) -> Value:
    """The weights with axis 0 = output channels; `layout` is the permutation that makes it so.

    int8 weights of float activations are dequantised here: float32 data, the same values; what the
    file rounds activations to at run time is left out, which is noted.
    Channels with a negative scale become their negation: every product, and so every
    rounding, stays the same.
    """
    type = call.type(at.w)
    _check_weights(call, at, layout[0] if layout else 0)
    hybrid = call.type(at.x).dtype.is_float and type.dtype.is_integer
    if hybrid:
        call.tensors.builder.unrounded.append(call.where)
    if call.constant(at.w) is None:
        if hybrid or type.dtype is DType.S4:
            raise call.refuse(
                "weights of this type are computed at run time",
                expected="the activations' own type, or constants",
                found=str(type),
            )
        value = call.value(at.w)
        return call.between(transpose, (value,), Transpose(layout), "/weights") if layout else value
    signs = None if hybrid else _signs(type)
    if not hybrid and layout is None and signs is None:
        return call.value(at.w)

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

    return call.tensors.derived(call.index(at.w), f"weights {layout} {hybrid}", make)


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


def _check_weights(call: Call, at: _Places, axis: int) -> None:
    type = call.type(at.w)
    if axis >= len(type.shape):
        raise FormatError("weights of too few axes", where=call.where, found=str(type))
    if not type.dtype.is_integer:
        return
    quant = type.quant
    if quant is None:
        raise call.refuse("integer weights without a scale", found=str(type))
    if quant.axis not in (None, axis):
        raise call.refuse("weights quantised along another axis", expected=axis, found=quant.axis)
    x = call.type(at.x).dtype
    legacy = call.tensors.kind(call.index(at.w)) == "UINT8"
    free = x.is_float or ((at.zeros or legacy) and x is type.dtype is DType.S8)
    if any(quant.zero_point) and not (free and quant.is_per_tensor and min(quant.scale) > 0):
        raise call.refuse(
            "weights with a zero point",
            expected="symmetric weights, zero point 0",
            found=quant.zero_point[:8],
            hint="convert again with the current TFLite converter",
        )


def _dequantised(data: Array, quant: Quant) -> Array:
    scale, zero = np.asarray(quant.scale, np.float32), np.asarray(quant.zero_point, np.float32)
    if quant.axis is not None:
        along = [-1 if k == quant.axis else 1 for k in range(data.ndim)]
        scale, zero = scale.reshape(along), zero.reshape(along)
    with np.errstate(over="ignore"):
        return (data.astype(np.float32) - zero) * scale


def _with_bias(call: Call, at: _Places, weights: Value) -> tuple[Value, ...]:
    """(x, w[, bias]); a bias of one column or row is read as a vector."""
    operands = call.value(at.x), weights
    if not call.has(at.bias):
        return operands
    type, signs = call.type(at.bias), _signs(call.type(at.w))
    integer = type.dtype.is_integer
    plain = len(type.shape) == 1 and not (integer and signs is not None)
    if call.constant(at.bias) is None or plain:
        return (*operands, call.value(at.bias))
    if integer and signs is not None and type.size % signs.size:
        raise FormatError("bias has another length", where=call.where, found=str(type))

    def make(data: Array) -> tuple[Array, Quant | None]:
        flat, quant = data.reshape(-1), _positive(type.quant)
        if quant is not None and not quant.is_per_tensor:
            quant = replace(quant, axis=0)
        if integer and signs is not None:
            flat = _negated(call, flat, signs)
        return flat, quant

    how = f"bias of {call.index(at.w)}"
    return (*operands, call.tensors.derived(call.index(at.bias), how, make))


# Reading ----------------------------------------------------------------------------------


def _conv(call: Call, o: Conv2DOptions | DepthwiseConv2DOptions, w: Value, groups: int) -> Value:
    if len(w.type.shape) != 4:
        raise FormatError("weights are not of rank 4", where=call.where, found=str(w.type))
    stride, dilation = (o.stride_h, o.stride_w), (o.dilation_h, o.dilation_w)
    around = pads(call, o.padding, (w.type.shape[1], w.type.shape[2]), stride, dilation)
    attrs = Conv2d(stride, dilation, around, groups)
    return call.emit(conv2d, _with_bias(call, _CONV, w), attrs, o.activation)


def _conv_2d(call: Call) -> Value:
    w = _weights(call, _CONV)
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
    w = _weights(call, _CONV, DEPTHWISE_TO_CONV)
    return _conv(call, call.options(DepthwiseConv2DOptions), w, call.type(0).shape[3])


def _transpose_conv(call: Call) -> Value:
    o, at = call.options(TransposeConvOptions), _TRANSPOSED
    size, w = call.ints(0), _weights(call, at)
    x, y = call.type(at.x).shape, call.out.shape
    stride = o.stride_h, o.stride_w
    if len(w.type.shape) != 4 or len(x) != 4 or size != y or min(stride) < 1:
        raise FormatError(
            "operands of a transposed convolution",
            where=call.where,
            expected="(N,H,W,I), (O,KH,KW,I), the result's shape, stride >= 1",
            found=f"{x}, {w.type.shape}, {size}, {stride}",
        )
    around = _transposed_pads(o.padding, y[1:3], w.type.shape[1:3], stride)
    if around is None:
        raise FormatError("padding", where=call.where, expected="SAME or VALID", found=o.padding)
    attrs = TransposeConv(stride, around, (y[1], y[2]))
    return call.emit(transpose_conv, _with_bias(call, at, w), attrs, o.activation)


def _transposed_pads(
    padding: int, size: Sequence[int], window: Sequence[int], stride: Sequence[int]
) -> tuple[int, int] | None:
    """(top, left) that a padding means for a result of `size`; None where it has no meaning."""
    if padding == Padding.VALID:
        return 0, 0
    top, left = (transposed_pad(size[k], window[k], stride[k]) for k in (0, 1))
    return (top, left) if padding == Padding.SAME else None


def _fully_connected(call: Call) -> Value:
    o = call.options(FullyConnectedOptions)
    if o.weights_format:
        raise call.refuse("shuffled weights", found=o.weights_format, hint="use the default format")
    w = _weights(call, _PRODUCT)
    if len(w.type.shape) != 2:
        raise FormatError("weights are not of rank 2", where=call.where, found=str(w.type))
    operands, (features, depth), out = _with_bias(call, _PRODUCT, w), w.type.shape, call.out
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


def _batch_matmul(call: Call) -> Value:
    o = call.options(BatchMatMulOptions)
    a, b = call.type(0), call.type(1)
    rank = len(call.out.shape)
    if min(len(a.shape), len(b.shape)) < 2 or max(len(a.shape), len(b.shape)) != rank:
        raise FormatError(
            "operands of a product of matrices",
            where=call.where,
            expected=f"ranks of 2 to {rank}",
            found=f"{a.shape} and {b.shape}",
        )
    shared = math.prod(b.shape[:-2]) == 1 and not o.adjoint_x and call.constant(1) is not None
    if shared and b.dtype is not DType.S16:
        x = _reshaped(call, call.value(0), (1,) * (rank - len(a.shape)) + a.shape)
        return call.emit(linear, (x, _matrix(call, o.adjoint_y)), Linear())
    if a.dtype is not b.dtype:
        raise call.refuse("operands differ in type", expected=str(a), found=str(b))
    attrs = MatMul(o.adjoint_x, o.adjoint_y)
    return call.emit(matmul, (_matrices(call, 0), _matrices(call, 1)), attrs)


def _matrix(call: Call, transposed: bool) -> Value:
    """The constant right operand as weights (N, K), float beside floats."""
    type, float_x = call.type(1), call.type(0).dtype.is_float

    def make(data: Array) -> tuple[Array, Quant | None]:
        quant = type.quant
        if float_x and quant is not None:
            data, quant = _dequantised(data, quant), None
        flat = data.reshape(data.shape[-2:])
        return (flat if transposed else flat.T), quant

    return call.tensors.derived(call.index(1), f"matrix {transposed} {float_x}", make)


def _matrices(call: Call, k: int) -> Value:
    """Operand `k` with as many axes as the result, repeated along those in front where neither
    operand has one matrix for all."""
    value, lead = call.value(k), call.out.shape[:-2]
    shape = value.type.shape
    own = (1,) * (len(lead) + 2 - len(shape)) + shape
    value = _reshaped(call, value, own)
    if own[:-2] == lead or math.prod(own[:-2]) == 1:
        return value
    full = (*lead, *own[-2:])
    return call.between(broadcast, (value,), Broadcast(full), f"/operand{k}")


def _densify(call: Call) -> Value:
    """Sparse constants are dense as soon as they are read."""
    if call.constant(0) is None:
        raise call.refuse("a sparse tensor that is no constant")
    return call.value(0)


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


def _product(job: Job, raw: bool = False, zeros: bool = False) -> None:
    """Raises UnsupportedError for what the format has no words for."""
    if job.node.inputs[1].type.zero_point and not zeros:
        raise fail(job.node, "weights have a zero point", "use symmetric weights")
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
    _product(job, a.raw, zeros=True)
    options = FullyConnectedOptions(job.activation, 0, len(x.type.shape) != 2)
    operands = [w.tensor(v) for v in job.node.inputs[:2]]
    w.emit("FULLY_CONNECTED", job, (*operands, *_bias(w, job)), options)


def _write_transpose_conv(w: Writer, job: Job) -> None:
    a, (x, weights, *_) = job.node.attrs, job.node.inputs
    assert isinstance(a, TransposeConv)
    _product(job)
    window = weights.type.shape[1:3]
    same = zip(a.size, a.stride, x.type.shape[1:3], strict=True)
    order = Padding if all(-(-d // s) == e for d, s, e in same) else reversed(Padding)
    meant = (p for p in order if _transposed_pads(p, a.size, window, a.stride) == a.pad)
    padding = next(meant, None)
    if padding is None:
        raise fail(job.node, "pads are neither SAME nor VALID", f"pads are {a.pad}")
    shape = w.integers(job, "shape", job.out.type.shape)
    options = TransposeConvOptions(padding, a.stride[1], a.stride[0], job.activation)
    operands = shape, w.tensor(weights), w.tensor(x), *_bias(w, job)
    w.emit("TRANSPOSE_CONV", job, operands, options)


def _write_matmul(w: Writer, job: Job) -> None:
    a = job.node.attrs
    assert isinstance(a, MatMul)
    w.emit("BATCH_MATMUL", job, None, BatchMatMulOptions(a.adj_a, a.adj_b))


READ = {
    "BATCH_MATMUL": Row(_batch_matmul, (2, 2), quantised=(0, 1)),
    "CONV_2D": Row(_conv_2d, (2, 3)),
    "DEPTHWISE_CONV_2D": Row(_depthwise_conv_2d, (2, 3)),
    "DENSIFY": Row(_densify, dtypes=ANY, quantised=()),
    "FULLY_CONNECTED": Row(_fully_connected, (2, 3)),
    "TRANSPOSE_CONV": Row(_transpose_conv, (3, 4), quantised=(2,)),
}

WRITE = {
    "conv2d": Rule(_write_conv2d, fuses=True),
    "linear": Rule(_write_linear, fuses=True),
    "matmul": Rule(_write_matmul),
    "transpose_conv": Rule(_write_transpose_conv, fuses=True),
}

"""What each .tflite operator becomes: one table from its name to a builder.

To read another operator, write `def _name(call: Call) -> Value` and add its row to
`BUILDERS`.  The row's fields are checked before the builder runs; what the IR operator
checks by itself (shapes, ranks) is not checked again here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lilliput.errors import FormatError
from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.schema import (
    AddOptions,
    ConcatenationOptions,
    Conv2DOptions,
    DepthwiseConv2DOptions,
    FullyConnectedOptions,
    LeakyReluOptions,
    MulOptions,
    Padding,
    Pool2DOptions,
    ReducerOptions,
    ResizeNearestOptions,
    SoftmaxOptions,
    SubOptions,
)
from lilliput.ir import Array, DType, NoAttrs, Op, Quant, TensorType, Value
from lilliput.ops.conv import Conv2d, Linear, conv2d, linear, same_pad
from lilliput.ops.elementwise import Binary, Clamp, add, clamp, mul, sub
from lilliput.ops.frame import Pad, ResizeNearest, pad, resize_nearest
from lilliput.ops.pool import Pool, avg_pool2d, max_pool2d
from lilliput.ops.quantize import Requantize, To, dequantize, quantize, requantize
from lilliput.ops.reduce import Mean, mean
from lilliput.ops.shape import Concat, Reshape, Slice, Transpose, concat, reshape, slice_, transpose
from lilliput.ops.softmax import Softmax, softmax
from lilliput.ops.unary import UNARY, Slope

ACTIVATIONS = frozenset({DType.F32, DType.S8, DType.S16})
ANY = frozenset({*ACTIVATIONS, DType.S32, DType.S64, DType.BOOL, DType.S4})
DEPTHWISE_TO_CONV = (3, 1, 2, 0)


@dataclass(frozen=True)
class Row:
    """inputs: how many operands, least and most; dtypes: of the result; quantised: integer
    operands that are activations, and the result, need a scale."""

    build: Callable[[Call], Value]
    inputs: tuple[int, int] = (1, 1)
    dtypes: frozenset[DType] = ACTIVATIONS
    quantised: tuple[int, ...] = (0,)


def check_row(call: Call, row: Row) -> None:
    """Raises FormatError or UnsupportedError where a call does not fit its row."""
    least, most = row.inputs
    if not least <= len(call.inputs) <= most or len(call.outputs) != 1:
        raise FormatError(
            "wrong number of operands or results",
            where=call.where,
            expected=f"{least} to {most} and 1",
            found=f"{len(call.inputs)} and {len(call.outputs)}",
        )
    if call.out.dtype not in row.dtypes:
        raise call.refuse(
            "result type is not supported",
            expected=", ".join(sorted(d.value for d in row.dtypes)),
            found=call.out.dtype.value,
        )
    if not row.quantised:
        return
    names = [(f"operand {k}", call.type(k)) for k in row.quantised if call.has(k)]
    for what, type in (*names, ("the result", call.out)):
        if type.dtype.is_integer and (type.quant is None or not type.quant.is_per_tensor):
            raise call.refuse(
                f"{what} is an integer tensor without a scale of its own",
                expected="per-tensor quantisation",
                found=f"{type}, {type.quant}",
                hint="convert with full integer quantisation and a representative data set",
            )


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


# Windows ----------------------------------------------------------------------------------


def _pads(
    call: Call,
    padding: int,
    window: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[int, int, int, int]:
    x = call.type(0).shape
    if len(x) != 4 or padding not in (Padding.SAME, Padding.VALID):
        raise FormatError(
            "padding or rank", where=call.where, expected="SAME or VALID, (N,H,W,C)", found=x
        )
    if min(*window, *stride, *dilation) < 1:
        raise FormatError(
            "window, stride and dilation",
            where=call.where,
            expected=">= 1",
            found=(window, stride, dilation),
        )
    if padding == Padding.VALID:
        return 0, 0, 0, 0
    rows, columns = (same_pad(x[k + 1], window[k], stride[k], dilation[k]) for k in (0, 1))
    return *rows, *columns


def _conv(call: Call, o: Conv2DOptions | DepthwiseConv2DOptions, w: Value, groups: int) -> Value:
    if len(w.type.shape) != 4:
        raise FormatError("weights are not of rank 4", where=call.where, found=str(w.type))
    stride, dilation = (o.stride_h, o.stride_w), (o.dilation_h, o.dilation_w)
    pads = _pads(call, o.padding, (w.type.shape[1], w.type.shape[2]), stride, dilation)
    attrs = Conv2d(stride, dilation, pads, groups)
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


def _pool(op: Op) -> Callable[[Call], Value]:
    def build(call: Call) -> Value:
        o = call.options(Pool2DOptions)
        window, stride = (o.filter_h, o.filter_w), (o.stride_h, o.stride_w)
        attrs = Pool(window, stride, _pads(call, o.padding, window, stride, (1, 1)))
        return call.emit(op, (call.value(0),), attrs, o.activation)

    return build


# Products ---------------------------------------------------------------------------------


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


# Element-wise -----------------------------------------------------------------------------


def _binary(op: Op, options: type[AddOptions | SubOptions | MulOptions]) -> Callable[[Call], Value]:
    def build(call: Call) -> Value:
        operands = call.value(0), call.value(1)
        return call.emit(op, operands, Binary(), call.options(options).activation)

    return build


def _unary(op: Op) -> Callable[[Call], Value]:
    return lambda call: call.emit(op, (call.value(0),))


def _limit(op: Op, low: float, high: float) -> Callable[[Call], Value]:
    """An activation that is a range: a clamp of floats, an operator that rescales integers."""

    def build(call: Call) -> Value:
        if call.out.dtype.is_float:
            return call.emit(clamp, (call.value(0),), Clamp(low, high))
        return call.emit(op, (call.value(0),))

    return build


def _leaky_relu(call: Call) -> Value:
    attrs = Slope(call.options(LeakyReluOptions).alpha)
    return call.emit(UNARY["leaky_relu"], (call.value(0),), attrs)


def _quantize(call: Call) -> Value:
    if call.type(0).dtype.is_float:
        return call.emit(quantize, (call.value(0),), To(call.out.dtype))
    return call.emit(requantize, (call.value(0),), Requantize(call.out.dtype))


def _softmax(call: Call) -> Value:
    x, y = call.type(0).dtype, call.out.dtype
    attrs = Softmax(call.options(SoftmaxOptions).beta, wide=(x, y) == (DType.S8, DType.S16))
    return call.emit(softmax, (call.value(0),), attrs)


# Shapes -----------------------------------------------------------------------------------


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


def _pad(call: Call) -> Value:
    widths, rank = call.ints(1), len(call.type(0).shape)
    if len(widths) != 2 * rank:
        raise FormatError("paddings", where=call.where, expected=(rank, 2), found=widths)
    value: float = 0.0 if call.out.dtype.is_float else call.out.zero_point
    if call.has(2):
        data = call.constant(2)
        if data is None or data.size != 1 or call.type(2).dtype is not call.out.dtype:
            raise call.refuse("padding value", expected="one constant of the result's type")
        value = data.reshape(-1)[0].item()
        if call.out.quant is not None and call.type(2).quant != call.out.quant:
            raise call.refuse("padding value is quantised otherwise than the result")
    return call.emit(pad, (call.value(0),), Pad(widths[::2], widths[1::2], value))


def _mean(call: Call) -> Value:
    rank = len(call.type(0).shape)
    axes = tuple(sorted({call.axis(k, rank) for k in call.ints(1)}))
    attrs = Mean(axes, call.options(ReducerOptions).keep_dims)
    return call.emit(mean, (call.value(0),), attrs)


def _resize_nearest(call: Call) -> Value:
    o, size = call.options(ResizeNearestOptions), call.ints(1)
    if len(size) != 2:
        raise FormatError("size", where=call.where, expected="height, width", found=size)
    attrs = ResizeNearest(size[0], size[1], o.align_corners, o.half_pixel_centers)
    return call.emit(resize_nearest, (call.value(0),), attrs)


_FLOATS = frozenset({DType.F32})
_INTEGERS = frozenset({DType.S8, DType.S16, DType.S32})
_VIEW = Row(_reshape, (1, 2), ANY, ())

BUILDERS: dict[str, Row] = {
    "ADD": Row(_binary(add, AddOptions), (2, 2), ACTIVATIONS, (0, 1)),
    "AVERAGE_POOL_2D": Row(_pool(avg_pool2d)),
    "CONCATENATION": Row(_concatenation, (1, 4096), ANY, ()),
    "CONV_2D": Row(_conv_2d, (2, 3)),
    "DEPTHWISE_CONV_2D": Row(_depthwise_conv_2d, (2, 3)),
    "DEQUANTIZE": Row(_unary(dequantize), (1, 1), _FLOATS),
    "EXPAND_DIMS": _VIEW,
    "FULLY_CONNECTED": Row(_fully_connected, (2, 3)),
    "LEAKY_RELU": Row(_leaky_relu),
    "MAX_POOL_2D": Row(_pool(max_pool2d)),
    "MEAN": Row(_mean, (2, 2)),
    "MUL": Row(_binary(mul, MulOptions), (2, 2), ACTIVATIONS, (0, 1)),
    "PAD": Row(_pad, (2, 2), ANY, ()),
    "PADV2": Row(_pad, (3, 3), ANY, ()),
    "QUANTIZE": Row(_quantize, (1, 1), _INTEGERS),
    "RELU": Row(_limit(UNARY["relu"], 0.0, math.inf)),
    "RELU6": Row(_limit(UNARY["relu6"], 0.0, 6.0)),
    "RESHAPE": _VIEW,
    "RESIZE_NEAREST_NEIGHBOR": Row(_resize_nearest, (2, 2), ANY, ()),
    "SLICE": Row(_slice, (3, 3), ANY, ()),
    "SOFTMAX": Row(_softmax),
    "SQUEEZE": _VIEW,
    "SUB": Row(_binary(sub, SubOptions), (2, 2), ACTIVATIONS, (0, 1)),
    "TRANSPOSE": Row(_transpose, (2, 2), ANY, ()),
}


def find(name: str) -> Row | None:
    """The builder of an operator; a unary one is read as soon as the IR has it."""
    op = UNARY.get(name.lower())
    if name not in BUILDERS and op is not None and op.attrs is NoAttrs:
        return Row(_unary(op))
    return BUILDERS.get(name)

"""Quantised models: QuantizeLinear and DequantizeLinear, and operators on integers (QLinear...).

One idea: an operator on integers is the float operator whose operands are known as integers and
whose result is wanted as such, so that both forms of a quantised model meet in one builder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from lilliput.errors import FormatError
from lilliput.frontends.integers import (
    Stored,
    int8,
    quantised,
    reals,
    requantized,
    seen_as,
    shifted,
    spread,
)
from lilliput.frontends.onnx.call import Call
from lilliput.frontends.onnx.operators import elementwise, products, reduce, shape, windows
from lilliput.frontends.onnx.tensors import Tensor, numpy_type
from lilliput.ir import Array, DType, Quant, TensorType
from lilliput.ops.quantize import To, quantize

Build = Callable[[Call], Tensor | list[Tensor]]


def _quant(call: Call, scale: int, zero: int, axis: int, rank: int, dtype: np.dtype) -> Quant:
    zeros = call.constant(zero, "zero point") if call.has(zero) else None
    scales = call.constant(scale, "scale")
    return quantised(scales, zeros, axis, rank, dtype == np.uint8, call.where)


# QuantizeLinear and DequantizeLinear ------------------------------------------------------


def _check_blocks(call: Call) -> None:
    if call.attr("block_size", 0):
        raise call.refuse("scales of blocks (block_size)", expected="per tensor or per channel")


def _quantize(call: Call) -> Tensor:
    _check_blocks(call)
    rank = len(call.shape(0))
    dtype = np.dtype(np.uint8)
    if call.has(2):
        dtype = call.constant(2, "zero point").dtype
    elif call.attr("output_dtype", 0):
        dtype = numpy_type(call.attr("output_dtype", 0), call.where)
    if dtype.name not in ("int8", "uint8", "int16"):
        raise call.refuse(
            "quantisation to this type", expected="8 bits, or int16", found=dtype.name
        )
    quant = _quant(call, 1, 2, call.attr("axis", 1), rank, dtype)
    data = call.data(0)
    if data is not None:
        return _constant(call, data, quant, dtype)
    if not quant.is_per_tensor:
        raise call.refuse("activations quantised per channel", expected="one scale")
    wide = DType.S16 if dtype == np.int16 else DType.S8
    x = call.tensor(0).integers
    if x is not None and x.type.dtype is wide is DType.S8:
        return Tensor(call.output, value=requantized(call.place, x, quant, "requantized"))
    type = TensorType(call.shape(0), wide, quant)
    return call.result(call.emit(quantize, (call.value(0),), To(wide), type))


def _constant(call: Call, data: Array, quant: Quant, dtype: np.dtype) -> Tensor:
    """Constant reals as integers of the file: ties to even, saturated."""
    scale, zero = spread(quant, data.ndim)
    stored = np.rint(data / scale.astype(np.float32)) + zero
    whole = np.int8 if dtype == np.uint8 else dtype
    bounds = np.iinfo(whole)
    signed = np.clip(stored, bounds.min, bounds.max).astype(whole)
    if dtype == np.uint8:
        return call.known((signed.astype(np.int16) + 128).astype(np.uint8))
    return call.known(signed)


def known(call: Call, name: str, data: Array, quant: Quant) -> Tensor:
    """Constant integers of the file as the reals that they stand for, and as integers."""
    if quant.axis is not None and data.shape[quant.axis] != len(quant.scale):
        raise FormatError(
            "scales of a constant", where=call.where, expected=data.shape, found=len(quant.scale)
        )
    whole = shifted(data)
    return Tensor(name, data=reals(whole, quant), stored=Stored(whole, quant))


def _dequantize(call: Call) -> Tensor:
    _check_blocks(call)
    t, rank = call.tensor(0), len(call.shape(0))
    dtype = t.data.dtype if t.data is not None else np.dtype(np.int8)
    if call.has(2):
        dtype = call.constant(2, "zero point").dtype
    quant = _quant(call, 1, 2, call.attr("axis", 1), rank, dtype)
    if t.data is not None:
        if t.data.dtype.kind not in "iu":
            raise FormatError("constant is not of integers", where=call.where, found=dtype.name)
        return known(call, call.output, t.data, quant)
    if not quant.is_per_tensor:
        raise call.refuse("activations quantised per channel", expected="one scale")
    return Tensor(call.output, integers=seen_as(call.place, call.value(0), quant, "x"))


# Operators on integers --------------------------------------------------------------------


def _operand(call: Call, x: int, scale: int, zero: int, axis: int) -> Tensor:
    """Operand `x` with its scale and zero point, as the reals that it stands for."""
    t = call.tensor(x)
    dtype = call.constant(zero, "zero point").dtype if call.has(zero) else np.dtype(np.uint8)
    if dtype.name not in ("int8", "uint8"):
        raise call.refuse("integers of this type", expected="int8 or uint8", found=dtype.name)
    quant = _quant(call, scale, zero, axis, len(t.shape), dtype)
    if t.data is not None:
        return known(call, t.name, t.data, quant)
    if not quant.is_per_tensor:
        raise call.refuse("activations quantised per channel", expected="one scale")
    value = call.value(x)
    if value.type.dtype is not DType.S8:
        raise call.refuse("integers that nobody gives a scale", found=str(value.type))
    return Tensor(t.name, integers=seen_as(call.place, value, quant, t.name))


def _bias(call: Call, k: int, x: Tensor, w: Tensor) -> Tensor | None:
    """Operand `k`, int32 in steps of the product of the scales of x and w."""
    if not call.has(k):
        return None
    data, wq = call.constant(k, "bias"), w.stored.quant if w.stored else None
    xq = x.integers.type.quant if x.integers is not None else None
    if wq is None or xq is None:
        raise call.refuse("weights that are computed", expected="constants")
    scales = tuple(float(np.float32(xq.scale[0]) * np.float32(s)) for s in wq.scale)
    quant = Quant(scales, (0,) * len(scales), 0 if len(scales) > 1 else None)
    return known(call, call.tensor(k).name, data.reshape(-1), quant)


def _as_integers(call: Call, made: Tensor | list[Tensor], quant: Quant) -> Tensor:
    """What a float builder made, as the integers that the node stands for."""
    assert isinstance(made, Tensor)
    value = made.integers
    if value is None:
        assert made.value is not None
        type = int8(made.value.type.shape, quant)
        value = call.place.between(quantize, (made.value,), To(), "int8", type)
    return Tensor(call.output, value=requantized(call.place, value, quant, "requantized"))


def _weighted(build: Build, at: tuple[int, int, int], axis: int) -> Build:
    """x and w, each with scale and zero point, then those of the result, then a bias; `at`:
    where the scale of the result and its zero point and the bias are."""

    def made(call: Call) -> Tensor:
        x, w = _operand(call, 0, 1, 2, 1), _operand(call, 3, 4, 5, axis)
        bias = _bias(call, at[2], x, w) if at[2] >= 0 else None
        quant = _result_quant(call, at[0], at[1])
        own = replace(call, inputs=(x, w) if bias is None else (x, w, bias), forced=quant)
        return _as_integers(call, build(own), quant)

    return made


def _result_quant(call: Call, scale: int, zero: int) -> Quant:
    dtype = call.constant(zero, "zero point").dtype if call.has(zero) else np.dtype(np.uint8)
    return _quant(call, scale, zero, 0, 1, dtype)


def _one(build: Build) -> Build:
    """x, its scale and zero point, then those of the result."""

    def made(call: Call) -> Tensor:
        quant = _result_quant(call, 3, 4)
        own = replace(call, inputs=(_operand(call, 0, 1, 2, 1),), forced=quant)
        return _as_integers(call, build(own), quant)

    return made


def _two(build: Build) -> Build:
    """a and b, each with scale and zero point, then those of the result."""

    def made(call: Call) -> Tensor:
        quant = _result_quant(call, 6, 7)
        pair = _operand(call, 0, 1, 2, 1), _operand(call, 3, 4, 5, 1)
        return _as_integers(call, build(replace(call, inputs=pair, forced=quant)), quant)

    return made


def _concat(call: Call) -> Tensor:
    """The result's scale and zero point, then x, scale and zero point of each part."""
    quant = _result_quant(call, 0, 1)
    parts = tuple(_operand(call, k, k + 1, k + 2, 1) for k in range(2, len(call.inputs), 3))
    made = shape.READ["Concat"](replace(call, inputs=parts, forced=quant))
    return _as_integers(call, made, quant)


READ: Mapping[str, Build] = {
    "DequantizeLinear": _dequantize,
    "QGemm": _weighted(products.READ["Gemm"], (7, 8, 6), 0),
    "QLinearAdd": _two(elementwise.READ["Add"]),
    "QLinearAveragePool": _one(windows.READ["AveragePool"]),
    "QLinearConcat": _concat,
    "QLinearConv": _weighted(windows.READ["Conv"], (6, 7, 8), 0),
    "QLinearGlobalAveragePool": _one(windows.READ["GlobalAveragePool"]),
    "QLinearLeakyRelu": _one(elementwise.READ["LeakyRelu"]),
    "QLinearMatMul": _weighted(products.READ["MatMul"], (6, 7, -1), 1),
    "QLinearMul": _two(elementwise.READ["Mul"]),
    "QLinearSigmoid": _one(elementwise.READ["Sigmoid"]),
    "QLinearSoftmax": _one(reduce.READ["Softmax"]),
    "QuantizeLinear": _quantize,
}

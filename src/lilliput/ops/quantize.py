"""Conversions of one element: quantize, dequantize, requantize and cast.

quantize: float32 to int8, uint8 or int16, rounding half away from zero and saturating.
dequantize: the other way, one subtraction and one multiplication.  requantize: integers
of one scale to integers of another, with TFLite's fixed-point multiplier.  cast: the
number itself in another type, without scales; integers wrap, floats are cut off towards
zero and saturate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Op, Sample, Scalar
from lilliput.ir.range import Range
from lilliput.ir.types import Array, DType, Quant, TensorType, f32, s8, s16, s32
from lilliput.ops import element_rules
from lilliput.ops.bounds import increasing
from lilliput.ops.common import REQUANT_C, c_float, c_type, check
from lilliput.ops.elementwise import (
    broadcast_regions,
    c_int,
    check_fixed,
    check_quantised,
    clamped,
)
from lilliput.ops.numeric import Rounding, quantize_multiplier, requant, saturate, wrap32
from lilliput.ops.registry import register


@dataclass(frozen=True)
class To(Attrs):
    """dtype: the type of the result."""

    dtype: DType = DType.S8


@dataclass(frozen=True)
class Requantize(Attrs):
    """dtype: the type of the result; rounding: how it is scaled."""

    dtype: DType = DType.S8
    rounding: Rounding = Rounding.DOUBLE


QUANTIZED = (DType.S8, DType.U8, DType.S16)
INTEGERS = (*QUANTIZED, DType.S32)
CASTS = (DType.F32, *INTEGERS, DType.S64, DType.BOOL)


def _one(types: Sequence[TensorType], dtypes: tuple[DType, ...]) -> TensorType:
    check(len(types) == 1, "wrong number of operands", "x", len(types))
    names = ", ".join(d.value for d in dtypes)
    check(types[0].dtype in dtypes, "operand of this type", names, types[0].dtype.value)
    return types[0]


def _check_result(dtype: DType, dtypes: tuple[DType, ...]) -> None:
    names = ", ".join(d.value for d in dtypes)
    check(dtype in dtypes, "result of this type", names, dtype.value)


# quantize ---------------------------------------------------------------------------------


def _quantize_infer(a: To, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = _one(types, (DType.F32,))
    _check_result(a.dtype, QUANTIZED)
    return (x.with_dtype(a.dtype, Quant.per_tensor(1.0)),)


def _quantize_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    y = node.output.type
    check_quantised(y)
    with np.errstate(over="ignore", invalid="ignore"):
        q = operands[0].astype(np.float32) / np.float32(y.scale)
    bounded = np.clip(np.nan_to_num(q, nan=0.0), -262144.0, 262144.0).astype(np.float64)
    rounded = np.trunc(bounded + np.copysign(0.5, bounded)).astype(np.int64)
    return (saturate(rounded + y.zero_point, y),)


def _quantize_c(node: Node, args: Sequence[str]) -> str:
    y = node.output.type
    low, high = y.dtype.bounds
    return f"ll_quantize({args[0]}, {c_float(y.scale)}, {y.zero_point}, {low}, {high})"


quantize = register(
    Op(
        name="quantize",
        doc="y = round(x / scale) + zero_point, saturated; x float, y of one shape",
        attrs=To,
        infer=_quantize_infer,
        ref=_quantize_ref,
        grads=element_rules.PASSES,
        regions=broadcast_regions,
        scalar=Scalar(_quantize_c),
        samples=(
            Sample(
                (f32(1, 3, 5, 2),), To(), (s8(1, 3, 5, 2, scale=0.05, zero_point=-7),), (), -9, 9
            ),
            Sample((f32(33),), To(), (s8(33, scale=1.0, zero_point=-128),), (), -1e9, 1e9),
            Sample((f32(7, 3),), To(DType.S16), (s16(7, 3, scale=1e-4),), (), -4, 4),
            Sample(
                (f32(5),),
                To(DType.U8),
                (TensorType((5,), DType.U8, Quant.per_tensor(0.1, 128)),),
                (),
                -20,
                20,
            ),
        ),
        dtypes=QUANTIZED,
        oracle="TFLM QUANTIZE",
    )
)


# dequantize -------------------------------------------------------------------------------


def _dequantize_infer(_: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = _one(types, INTEGERS)
    check_quantised(x)
    return (x.with_dtype(DType.F32),)


def _dequantize_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    x = node.inputs[0].type
    value = wrap32(operands[0].astype(np.int64) - x.zero_point).astype(np.float32)
    return (np.float32(x.scale) * value,)


def _dequantize_c(node: Node, args: Sequence[str]) -> str:
    x = node.inputs[0].type
    value = f"ll_wrap_sub({args[0]}, {c_int(x.zero_point)})" if x.zero_point else f"({args[0]})"
    return f"({c_float(x.scale)} * (float){value})"


dequantize = register(
    Op(
        name="dequantize",
        doc="y = scale * (x - zero_point); x quantised, y float of one shape",
        infer=_dequantize_infer,
        ref=_dequantize_ref,
        grads=element_rules.PASSES,
        regions=broadcast_regions,
        scalar=Scalar(_dequantize_c),
        samples=(
            Sample((s8(1, 3, 5, 2, scale=0.05, zero_point=-7),)),
            Sample((s8(9, scale=1e-9, zero_point=127),)),
            Sample((s16(7, 3, scale=3e-5),)),
            Sample((s32(11).with_dtype(DType.S32, Quant.per_tensor(0.001)),)),
            Sample((TensorType((6,), DType.U8, Quant.per_tensor(0.3, 200)),)),
        ),
        dtypes=INTEGERS,
        oracle=dict.fromkeys(QUANTIZED, "TFLM DEQUANTIZE") | {DType.S32: "docs/numerics.md"},
    )
)


# requantize -------------------------------------------------------------------------------


def _requantize_infer(a: Requantize, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = _one(types, INTEGERS)
    check_quantised(x)
    check_fixed(a.rounding)
    _check_result(a.dtype, INTEGERS)
    return (x.with_dtype(a.dtype, x.quant if a.dtype is x.dtype else Quant.per_tensor(x.scale)),)


def _ratio(node: Node) -> tuple[int, int]:
    x, y = node.inputs[0].type, node.output.type
    check_quantised(y)
    return quantize_multiplier(x.scale / y.scale)


def _rounding(node: Node) -> Rounding:
    assert isinstance(node.attrs, Requantize)
    return node.attrs.rounding


def _requantize_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    x, y = node.inputs[0].type, node.output.type
    value = wrap32(operands[0].astype(np.int64) - x.zero_point)
    return (saturate(wrap32(requant(value, *_ratio(node), _rounding(node)) + y.zero_point), y),)


def _requantize_bounds(node: Node, operands: Sequence[Range]) -> Range | None:
    """None where a number that is scaled up might wrap."""
    (x,), (mult, shift), zero = operands, _ratio(node), node.inputs[0].type.zero_point
    ends = int(x.low.min()) - zero, int(x.high.max()) - zero
    fits = mult >= 0 and max(map(abs, ends)) << max(shift, 0) < 1 << 30
    return increasing(node, operands) if fits else None


def _requantize_c(node: Node, args: Sequence[str]) -> str:
    x, y = node.inputs[0].type, node.output.type
    mult, shift = _ratio(node)
    value = f"ll_wrap_sub({args[0]}, {c_int(x.zero_point)})" if x.zero_point else args[0]
    scaled = value
    if x.scale != y.scale:
        scaled = f"{REQUANT_C[_rounding(node)]}({value}, {mult}, {shift})"
    if y.zero_point:
        scaled = f"ll_wrap_add({scaled}, {c_int(y.zero_point)})"
    return clamped(scaled, y)


requantize = register(
    Op(
        name="requantize",
        doc="y = round((x - x.zero_point) * x.scale / y.scale) + y.zero_point, saturated",
        attrs=Requantize,
        infer=_requantize_infer,
        ref=_requantize_ref,
        grads=element_rules.PASSES,
        regions=broadcast_regions,
        bounds=_requantize_bounds,
        scalar=Scalar(_requantize_c),
        samples=(
            Sample(
                (s8(300, scale=0.05, zero_point=-7),),
                Requantize(),
                (s8(300, scale=0.02, zero_point=100),),
            ),
            Sample(
                (s8(5, scale=0.05, zero_point=127),),
                Requantize(rounding=Rounding.SINGLE),
                (s8(5, scale=0.3, zero_point=-128),),
            ),
            Sample((s8(7, scale=0.5, zero_point=1),), Requantize(DType.S16), (s16(7, scale=0.01),)),
            Sample((s16(7, 4, scale=0.001),), Requantize(), (s8(7, 4, scale=0.2, zero_point=3),)),
            Sample((s16(99, scale=0.3),), Requantize(DType.S16), (s16(99, scale=0.1),)),
            Sample(
                (s32(99).with_dtype(DType.S32, Quant.per_tensor(1e-7)),),
                Requantize(),
                (s8(99, scale=0.9, zero_point=-5),),
            ),
            Sample(
                (TensorType((9,), DType.U8, Quant.per_tensor(0.1, 128)),),
                Requantize(),
                (s8(9, scale=0.1),),
            ),
        ),
        dtypes=INTEGERS,
        oracle="TFLM QUANTIZE",
    )
)


# cast -------------------------------------------------------------------------------------


def _cast_infer(a: To, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    _check_result(a.dtype, CASTS)
    return (_one(types, CASTS).with_dtype(a.dtype),)


def _cast_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    (x,), y = operands, node.output.type.dtype
    if y is DType.BOOL:
        return (x != 0,)
    if x.dtype == np.float32 and y.is_integer:
        low, high = y.bounds
        whole = np.trunc(np.nan_to_num(x.astype(np.float64), nan=0.0))
        # the largest double below 2^63 is no bound: what reaches it is set by itself
        inside = np.where(whole >= high, 0.0, np.maximum(whole, low)).astype(np.int64)
        return (np.where(whole >= high, high, inside).astype(y.numpy),)
    return (x.astype(y.numpy),)


def _cast_c(node: Node, args: Sequence[str]) -> str:
    x, y = node.inputs[0].type.dtype, node.output.type.dtype
    if x is y:
        return args[0]
    if y is DType.BOOL:
        return f"({args[0]} != 0)"
    if y.is_float:
        return f"((float)({args[0]}))"
    if y is DType.S64:
        return f"ll_truncate_s64({args[0]})" if x.is_float else f"((int64_t){args[0]})"
    if x.is_float:
        low, high = y.bounds
        return f"ll_truncate({args[0]}, {c_int(low)}, {c_int(high)})"
    return f"((int32_t)({c_type(y)})({args[0]}))"


def _cast_sample(dtype: DType, to: DType, *shape: int) -> Sample:
    """Numbers that both types hold, where floats are cut to integers: else others differ."""
    most = 100.0 if dtype.is_float and to.itemsize == 1 else 30000.0
    low = 0.0 if dtype.is_float and to is DType.U8 else -most
    return Sample((TensorType(shape, dtype),), To(to), low=low, high=most)


cast = register(
    Op(
        name="cast",
        doc="y = x as another type; x, y of one shape",
        attrs=To,
        infer=_cast_infer,
        ref=_cast_ref,
        grads=(element_rules.converted,),
        regions=broadcast_regions,
        scalar=Scalar(_cast_c),
        samples=(
            *(_cast_sample(a, b, 3, 5) for a in CASTS for b in CASTS if a is not b),
            _cast_sample(DType.F32, DType.S8),
            _cast_sample(DType.S32, DType.S32, 9),
        ),
        dtypes=CASTS,
        oracle="LiteRT CAST",
    )
)

"""Functions of one element, one row each: relu, logistic, tanh, hard_swish, exp, elu ...

A row has the function on float32 (NumPy and C, equal bit for bit), and for each integer
type that it takes an `IntRule`.  Any int8 function is a table of 256 bytes: `tabled` makes
one of an exact integer rule, `by_value` of the float function, as TFLite fills its lookup
tables.  To add a function, add a row to `ROWS`; nothing else knows them by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lilliput.errors import TypeMismatch
from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, NoAttrs, Op, Sample, Scalar
from lilliput.ir.types import Array, DType, Quant, TensorType, f32, s8, s16
from lilliput.ops import fixed_point, floatmath
from lilliput.ops.common import check
from lilliput.ops.elementwise import broadcast_regions, c_float, c_int, check_quantised
from lilliput.ops.floatmath import F32
from lilliput.ops.numeric import Ints, quantize_multiplier, requant, wrap32
from lilliput.ops.registry import register


@dataclass(frozen=True)
class Slope(Attrs):
    """alpha: the slope below zero."""

    alpha: float = 0.01


@dataclass(frozen=True)
class IntRule:
    """The integer meaning of a function: stored integers to stored integers, and its C."""

    ref: Callable[[Node, Ints], Ints]
    c: Callable[[Node, str], str]
    tables: Callable[[Node], Mapping[str, Array]] = lambda _: {}


@dataclass(frozen=True)
class Row:
    """One function.

    real(attrs, x), c(attrs, x) : the function on float32, in NumPy and in C
    rules : what it does to integers, by dtype
    chosen : quantisation of the result, where the function prescribes or suggests one
    """

    name: str
    doc: str
    real: Callable[[Attrs, F32], F32]
    c: Callable[[Attrs, str], str]
    rules: Mapping[DType, IntRule]
    samples: tuple[Sample, ...]
    chosen: Mapping[DType, Quant] = field(default_factory=dict[DType, Quant])
    attrs: type[Attrs] = NoAttrs
    oracle: str = ""


def tabled(rule: Callable[[Node, Ints], Ints]) -> IntRule:
    """An int8 function as a table of 256 bytes, indexed by x + 128."""
    return IntRule(
        rule,
        lambda _, x: f"{{lut}}[{x} + 128]",
        lambda node: {"lut": rule(node, np.arange(-128, 128)).astype(np.int8)},
    )


def by_value(real: Callable[[Attrs, F32], F32]) -> IntRule:
    """The table of round(real(x) / scale) + zero point, in float32 (TFLite's LUTPopulate)."""

    def rule(node: Node, q: Ints) -> Ints:
        x, y = node.inputs[0].type, node.output.type
        value = np.float32(x.scale) * (q - x.zero_point).astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = real(node.attrs, value) * (np.float32(1) / np.float32(y.scale))
        bounded = np.clip(np.nan_to_num(scaled, nan=0.0), -1e6, 1e6).astype(np.float64)
        rounded = np.trunc(bounded + np.copysign(0.5, bounded)).astype(np.int64)
        return np.clip(rounded + y.zero_point, *y.dtype.bounds)

    return tabled(rule)


# Rules that requantise --------------------------------------------------------------------


def _ratio(node: Node) -> tuple[int, int]:
    return quantize_multiplier(node.inputs[0].type.scale / node.output.type.scale)


def _relu_ref(node: Node, q: Ints) -> Ints:
    x, y = node.inputs[0].type, node.output.type
    scaled = wrap32(requant(q - x.zero_point, *_ratio(node)) + y.zero_point)
    return np.clip(scaled, y.zero_point, y.dtype.bounds[1])


def _relu_c(node: Node, q: str) -> str:
    x, y = node.inputs[0].type, node.output.type
    high = y.dtype.bounds[1]
    mult, shift = _ratio(node)
    if x.scale == y.scale:
        return f"ll_clamp({q} + {y.zero_point - x.zero_point}, {y.zero_point}, {high})"
    scaled = f"ll_requant({q} - {c_int(x.zero_point)}, {mult}, {shift})"
    return f"ll_clamp(ll_wrap_add({scaled}, {y.zero_point}), {y.zero_point}, {high})"


def _six(node: Node) -> tuple[int, int]:
    """Zero and six in the input's quantisation, in which relu6 stays."""
    x = node.inputs[0].type
    six = float(np.float32(6) / np.float32(x.scale))
    return x.zero_point, min(math.floor(six + 0.5) + x.zero_point, x.dtype.bounds[1])


_RELU = IntRule(_relu_ref, _relu_c)
_RELU6 = IntRule(
    lambda node, q: np.clip(q, *_six(node)),
    lambda node, q: "ll_clamp({}, {}, {})".format(q, *_six(node)),
)


def _abs_s8(node: Node, q: Ints) -> Ints:
    x, y = node.inputs[0].type, node.output.type
    magnitude = np.abs(q - x.zero_point)
    if x.scale != y.scale:
        magnitude = wrap32(requant(magnitude, *_ratio(node)))
    return np.clip(magnitude + y.zero_point, *y.dtype.bounds)


def _leaky_relu_s8(node: Node, q: Ints) -> Ints:
    x, y = node.inputs[0].type, node.output.type
    x_scale, y_scale = np.float32(x.scale), np.float32(y.scale)
    value = q - x.zero_point
    above = requant(value, *quantize_multiplier(float(x_scale / y_scale)))
    alpha = np.float32(_alpha(node.attrs))
    below = requant(value, *quantize_multiplier(float(x_scale * alpha / y_scale)))
    return np.clip(wrap32(np.where(value >= 0, above, below) + y.zero_point), *y.dtype.bounds)


# Rules in fixed point ---------------------------------------------------------------------


def _check_output(node: Node, scale: float, zero_point: int) -> None:
    y = node.output.type
    check(
        (y.scale, y.zero_point) == (scale, zero_point),
        "output quantisation that the fixed-point rule does not give",
        f"scale {scale}, zero point {zero_point}",
        f"scale {y.scale}, zero point {y.zero_point}",
    )


def _in_q27(node: Node, q: Ints) -> tuple[Ints, Ints]:
    """(x less its zero point, the same in Q4.27), and where that leaves +-15: the first, 0."""
    x = node.inputs[0].type
    value = q - x.zero_point
    mult, shift = quantize_multiplier(x.scale * (1 << 27))
    radius = math.floor(15 * 2**27 / 2.0**shift)
    inside = np.abs(value) < radius
    outside = np.where(inside, 0, np.where(value < 0, -1, 1))
    return outside, requant(np.where(inside, value, 0), mult, shift)


def _logistic_s8(node: Node, q: Ints) -> Ints:
    _check_output(node, 2.0**-8, -128)
    outside, x = _in_q27(node, q)
    y = (fixed_point.logistic_q27(x) + (1 << 22)) >> 23
    return np.where(outside != 0, np.where(outside < 0, -128, 127), np.clip(y - 128, -128, 127))


def _tanh_s8(node: Node, q: Ints) -> Ints:
    _check_output(node, 2.0**-7, 0)
    outside, x = _in_q27(node, q)
    y = fixed_point.tanh_q27(x)
    rounded = np.where(y >= 0, (y + (1 << 23)) >> 24, -((-y + (1 << 23)) >> 24))
    return np.where(outside != 0, np.where(outside < 0, -128, 127), np.clip(rounded, -128, 127))


def _hard_swish_s8(node: Node, q: Ints) -> Ints:
    x, y = node.inputs[0].type, node.output.type
    fine = np.float32(1 / 128) * np.float32(x.scale)
    out = quantize_multiplier(float(fine / np.float32(y.scale)))
    gate = quantize_multiplier(float(fine / (np.float32(3) / np.float32(32768))))
    if out[1] > 0:
        raise TypeMismatch(
            "output scale is too small for hard_swish",
            expected=f"at least {x.scale / 128:g}",
            found=y.scale,
        )
    value = fixed_point.hard_swish_s8(
        q - x.zero_point,
        (fixed_point.to_s16_multiplier(out[0]), out[1]),
        (fixed_point.to_s16_multiplier(gate[0]), gate[1]),
    )
    return np.clip(value + y.zero_point, *y.dtype.bounds)


def _interpolated(
    name: str, function: Callable[[Ints, int, int], Ints], shifts: tuple[int, ...]
) -> IntRule:
    """logistic or tanh of int16 with the shared table, in Q0.15."""

    def scale(node: Node) -> tuple[int, int]:
        _check_output(node, 2.0**-15, 0)
        check(
            node.inputs[0].type.zero_point == 0,
            "int16 operand has a zero point",
            0,
            node.inputs[0].type.zero_point,
        )
        return fixed_point.input_s16(node.inputs[0].type.scale, shifts)

    return IntRule(
        lambda node, q: function(q, *scale(node)),
        lambda node, q: "{}({}, {}, {}, {{sigmoid}})".format(name, q, *scale(node)),
        lambda _: {"sigmoid": fixed_point.SIGMOID_TABLE},
    )


# Float functions --------------------------------------------------------------------------


def _relu(_: Attrs, x: F32) -> F32:
    return np.where(x < 0, np.float32(0), x)


def _relu6(_: Attrs, x: F32) -> F32:
    return np.where(x > 6, np.float32(6), np.where(x < 0, np.float32(0), x))


def _hard_swish(_: Attrs, x: F32) -> F32:
    gate = _relu6(_, x + np.float32(3))
    return x * gate / np.float32(6)


def _elu(_: Attrs, x: F32) -> F32:
    return np.where(x < 0, floatmath.exp(x) - np.float32(1), x)


def _exp(_: Attrs, x: F32) -> F32:
    return floatmath.exp(x)


def _square(_: Attrs, x: F32) -> F32:
    return x * x


def _neg(_: Attrs, x: F32) -> F32:
    return -x


def _alpha(attrs: Attrs) -> float:
    assert isinstance(attrs, Slope)
    return attrs.alpha


def _leaky_relu(attrs: Attrs, x: F32) -> F32:
    return np.where(x < 0, x * np.float32(_alpha(attrs)), x)


# The rows ---------------------------------------------------------------------------------

_FLOAT = Sample((f32(3, 7),), low=-12.0, high=12.0)
_WIDE = Sample((f32(1, 2, 5, 3),), low=-1e4, high=1e4)
_Q8, _Q7, _Q15 = (Quant.per_tensor(2.0**-n, z) for n, z in ((8, -128), (7, 0), (15, 0)))
_Y8, _Y7 = s8(300, scale=2.0**-8, zero_point=-128), s8(300, scale=2.0**-7)
_Y15 = s16(999, scale=2.0**-15)


def _s8_samples(y: TensorType | None, *inputs: tuple[float, int]) -> tuple[Sample, ...]:
    """Samples of int8 inputs (scale, zero point); outputs y, or of another scale each."""
    samples: list[Sample] = []
    for scale, zero_point in inputs:
        out = y or s8(300, scale=scale * 0.7, zero_point=-zero_point // 2)
        samples.append(Sample((s8(300, scale=scale, zero_point=zero_point),), outputs=(out,)))
    return tuple(samples)


def _s16_samples(*scales: float) -> tuple[Sample, ...]:
    return tuple(Sample((s16(999, scale=s),), outputs=(_Y15,)) for s in scales)


_SCALES = ((0.05, -7), (0.001, 127), (2.5, -128), (0.3, 0))

ROWS = (
    Row(
        "relu",
        "y = max(x, 0)",
        _relu,
        lambda _, x: f"ll_max_f32({x}, 0.0f)",
        {DType.S8: _RELU, DType.S16: _RELU},
        (
            *_s8_samples(None, *_SCALES),
            Sample((s8(5, scale=0.1, zero_point=3),)),
            Sample((s16(9, scale=0.1),), outputs=(s16(9, scale=0.01),)),
            _FLOAT,
        ),
        oracle="TFLM RELU",
    ),
    Row(
        "relu6",
        "y = min(max(x, 0), 6), quantised as x",
        _relu6,
        lambda _, x: f"ll_min_f32(ll_max_f32({x}, 0.0f), 6.0f)",
        {DType.S8: _RELU6, DType.S16: _RELU6},
        (
            Sample((s8(2, 40, scale=0.05, zero_point=-100),)),
            Sample((s8(80, scale=0.2, zero_point=5),)),
            Sample((s16(80, scale=0.001),)),
            _FLOAT,
        ),
        oracle="TFLM RELU6",
    ),
    Row(
        "logistic",
        "y = 1 / (1 + exp(-x))",
        lambda _, x: floatmath.logistic(x),
        lambda _, x: f"ll_logisticf({x})",
        {
            DType.S8: tabled(_logistic_s8),
            DType.S16: _interpolated("ll_logistic_s16", fixed_point.logistic_s16, (0,)),
        },
        (*_s8_samples(_Y8, *_SCALES), *_s16_samples(2.0**-12, 0.0007, 2.0**-10), _FLOAT, _WIDE),
        {DType.S8: _Q8, DType.S16: _Q15},
        oracle="TFLM LOGISTIC",
    ),
    Row(
        "tanh",
        "y = tanh(x)",
        lambda _, x: floatmath.tanh(x),
        lambda _, x: f"ll_tanhf({x})",
        {
            DType.S8: tabled(_tanh_s8),
            DType.S16: _interpolated("ll_tanh_s16", fixed_point.tanh_s16, (0, 1)),
        },
        (*_s8_samples(_Y7, *_SCALES), *_s16_samples(2.0**-12, 2.0**-11, 0.0001), _FLOAT, _WIDE),
        {DType.S8: _Q7, DType.S16: _Q15},
        oracle="TFLM TANH",
    ),
    Row(
        "hard_swish",
        "y = x * min(max(x + 3, 0), 6) / 6",
        _hard_swish,
        lambda _, x: f"ll_hard_swishf({x})",
        {DType.S8: tabled(_hard_swish_s8)},
        (*_s8_samples(None, *_SCALES), _FLOAT),
        oracle="TFLM HARD_SWISH",
    ),
    Row(
        "exp",
        "y = exp(x)",
        _exp,
        lambda _, x: f"ll_expf({x})",
        {DType.S8: by_value(_exp)},
        (*_s8_samples(s8(300, scale=0.02, zero_point=-128), *_SCALES), _FLOAT, _WIDE),
        oracle="TFLM EXP (float)",
    ),
    Row(
        "abs",
        "y = |x|",
        lambda _, x: np.abs(x),
        lambda _, x: f"ll_abs_f32({x})",
        {DType.S8: tabled(_abs_s8)},
        (*_s8_samples(None, *_SCALES), Sample((s8(7, scale=0.1, zero_point=3),)), _FLOAT),
        oracle="TFLM ABS",
    ),
    Row(
        "neg",
        "y = -x",
        _neg,
        lambda _, x: f"(-{x})",
        {DType.S8: by_value(_neg)},
        (*_s8_samples(None, *_SCALES), _FLOAT),
        oracle="TFLM NEG (float)",
    ),
    Row(
        "square",
        "y = x * x",
        _square,
        lambda _, x: f"ll_square_f32({x})",
        {DType.S8: by_value(_square)},
        (*_s8_samples(None, *_SCALES), _FLOAT),
        oracle="TFLM SQUARE (float)",
    ),
    Row(
        "elu",
        "y = x where x >= 0, else exp(x) - 1",
        _elu,
        lambda _, x: f"ll_eluf({x})",
        {DType.S8: by_value(_elu)},
        (*_s8_samples(None, *_SCALES), _FLOAT),
        oracle="TFLM ELU",
    ),
    Row(
        "leaky_relu",
        "y = x where x >= 0, else alpha * x",
        _leaky_relu,
        lambda a, x: f"ll_leaky_relu_f32({x}, {c_float(_alpha(a))})",
        {DType.S8: tabled(_leaky_relu_s8)},
        tuple(
            Sample(s.inputs, Slope(alpha), s.outputs, s.params, s.low, s.high)
            for alpha, s in zip(
                (0.1, 0.01, 1.5, -0.2, 0.3), (*_s8_samples(None, *_SCALES), _FLOAT), strict=True
            )
        ),
        attrs=Slope,
        oracle="TFLM LEAKY_RELU",
    ),
)


def _operator(row: Row) -> Op:
    """The operator of a row: types, NumPy meaning and C expression by dtype."""
    dtypes = (DType.F32, *row.rules)

    def infer(_: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
        check(len(types) == 1, "wrong number of operands", "x", len(types))
        (x,) = types
        names = ", ".join(d.value for d in dtypes)
        check(x.dtype in dtypes, "operand of this type", names, x.dtype.value)
        if x.dtype.is_integer:
            check_quantised(x)
        return (TensorType(x.shape, x.dtype, row.chosen.get(x.dtype, x.quant)),)

    def ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
        (x,) = operands
        dtype = node.inputs[0].type.dtype
        if dtype.is_float:
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                return (row.real(node.attrs, x.astype(np.float32)),)
        return (row.rules[dtype].ref(node, x.astype(np.int64)).astype(dtype.numpy),)

    def c(node: Node, args: Sequence[str]) -> str:
        dtype = node.inputs[0].type.dtype
        x = args[0]
        return row.c(node.attrs, x) if dtype.is_float else row.rules[dtype].c(node, x)

    def tables(node: Node) -> Mapping[str, Array]:
        dtype = node.inputs[0].type.dtype
        return {} if dtype.is_float else row.rules[dtype].tables(node)

    return Op(
        name=row.name,
        doc=f"{row.doc}; x, y of one shape",
        attrs=row.attrs,
        infer=infer,
        ref=ref,
        regions=broadcast_regions,
        scalar=Scalar(c, tables),
        samples=row.samples,
        dtypes=dtypes,
        oracle=row.oracle,
    )


UNARY: Mapping[str, Op] = {row.name: register(_operator(row)) for row in ROWS}
relu, relu6, logistic, tanh, hard_swish, exp = (
    UNARY[name] for name in ("relu", "relu6", "logistic", "tanh", "hard_swish", "exp")
)

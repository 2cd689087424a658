"""Functions of one element, one row each: relu, logistic, exp, sin, floor, gelu ...

A row has the function on float32, in NumPy and in C, equal bit for bit.  That alone gives it
int8 (a table of 256 bytes) and int16 (through float); `rules` are the integer types that it
treats otherwise, as TFLite's kernels do.  To add a function, add a row to `ROWS` and its slope to
`element_rules.SLOPES`; nothing else knows them by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, NoAttrs, Op, Sample, Scalar
from lilliput.ir.types import Array, DType, Quant, TensorType, f32, s8, s16, s32
from lilliput.ops import element_rules, fixed_point, floatmath
from lilliput.ops import unary_rules as rules
from lilliput.ops.common import c_float, check
from lilliput.ops.elementwise import broadcast_regions, check_quantised
from lilliput.ops.floatmath import F32
from lilliput.ops.registry import register
from lilliput.ops.unary_rules import IntRule, by_value, interpolated, plain, tabled, through_float


@dataclass(frozen=True)
class Slope(Attrs):
    """alpha: the slope below zero."""

    alpha: float = 0.01


@dataclass(frozen=True)
class Gelu(Attrs):
    """approximate: by tanh of a cubic, not by the error function."""

    approximate: bool = False


@dataclass(frozen=True)
class Row:
    """One function.

    real(attrs, x), c(attrs, x) : the function on float32, in NumPy and in C
    rules : what it does to integers where that does not follow from `real`
    chosen : quantisation of the result, where the function prescribes or suggests one
    tflm, litert : the types whose rule is that of either's kernel; the others' rules are ours
    """

    name: str
    doc: str
    real: Callable[[Attrs, F32], F32]
    c: Callable[[Attrs, str], str]
    samples: tuple[Sample, ...]
    rules: Mapping[DType, IntRule] = field(default_factory=dict[DType, IntRule])
    chosen: Mapping[DType, Quant] = field(default_factory=dict[DType, Quant])
    attrs: type[Attrs] = NoAttrs
    tflm: tuple[DType, ...] = (DType.F32,)
    litert: tuple[DType, ...] = ()


# Float functions --------------------------------------------------------------------------

ZERO, ONE, SIX = np.float32(0), np.float32(1), np.float32(6)


def _limit(x: F32, low: float, high: float) -> F32:
    return np.where(x > high, np.float32(high), np.where(x < low, np.float32(low), x))


def _hard_swish(_: Attrs, x: F32) -> F32:
    return x * _limit(x + np.float32(3), 0, 6) / SIX


def _elu(_: Attrs, x: F32) -> F32:
    return np.where(x < 0, floatmath.exp(x) - ONE, x)


def _sign(_: Attrs, x: F32) -> F32:
    return (x > 0).astype(np.float32) - (x < 0).astype(np.float32)


def _gelu(a: Attrs, x: F32) -> F32:
    return floatmath.gelu_tanh(x) if _approximate(a) else floatmath.gelu(x)


def _leaky_relu(a: Attrs, x: F32) -> F32:
    return np.where(x < 0, x * np.float32(_alpha(a)), x)


def _alpha(attrs: Attrs) -> float:
    assert isinstance(attrs, Slope)
    return attrs.alpha


def _approximate(attrs: Attrs) -> bool:
    assert isinstance(attrs, Gelu)
    return attrs.approximate


# What tables are filled with: functions rounded once from double, as a C library's are --------


def _once(x: F32, function: Callable[[Array], Array]) -> F32:
    return function(x.astype(np.float64)).astype(np.float32)


def _table_exp(_: Node, x: F32) -> F32:
    return _once(x, np.exp)


def _table_elu(_: Node, x: F32) -> F32:
    return np.where(x < 0, _once(x, np.exp) - ONE, x)


def _table_log(node: Node, x: F32) -> F32:
    """Where there is no logarithm, the least that the result can hold."""
    y = node.output.type
    least = np.float32(y.scale) * np.float32(y.dtype.bounds[0] - y.zero_point)
    return np.where(x > 0, _once(np.where(x > 0, x, ONE), np.log), least)


def _table_gelu(node: Node, x: F32) -> F32:
    half = x * np.float32(0.5)
    if _approximate(node.attrs):
        cubic = (x + x * floatmath.GELU_CUBE * x * x) * floatmath.SQRT_2_OVER_PI
        y = half * (_once(cubic.astype(np.float32), np.tanh) + ONE)
        return y.astype(np.float32)
    return half * _once(x * -floatmath.SQRT_HALF, np.vectorize(math.erfc, otypes=[np.float64]))


# Samples ----------------------------------------------------------------------------------

S8, S16, S32, S64, F = DType.S8, DType.S16, DType.S32, DType.S64, DType.F32
_FLOAT = Sample((f32(3, 7),), low=-12.0, high=12.0)
_WIDE = Sample((f32(1, 2, 5, 3),), low=-1e4, high=1e4)
_POSITIVE = Sample((f32(1, 2, 5, 3),), low=1e-3, high=1e4)
_PLAIN = Sample((s32(2, 9),))
_Q8, _Q7, _Q15 = (Quant.per_tensor(2.0**-n, z) for n, z in ((8, -128), (7, 0), (15, 0)))
_Y8, _Y7 = s8(300, scale=2.0**-8, zero_point=-128), s8(300, scale=2.0**-7)
_Y15 = s16(999, scale=2.0**-15)
_SCALES = ((0.05, -7), (0.001, 127), (2.5, -128), (0.3, 0))


def _s8(y: TensorType | None, *inputs: tuple[float, int]) -> tuple[Sample, ...]:
    """Samples of int8 inputs (scale, zero point); outputs y, or of another scale each."""
    samples: list[Sample] = []
    for scale, zero_point in inputs:
        out = y or s8(300, scale=scale * 0.7, zero_point=-zero_point // 2)
        samples.append(Sample((s8(300, scale=scale, zero_point=zero_point),), outputs=(out,)))
    return tuple(samples)


def _s16(*scales: tuple[float, float]) -> tuple[Sample, ...]:
    """Samples of int16 (scale, scale of the result)."""
    return tuple(Sample((s16(999, scale=x),), outputs=(s16(999, scale=y),)) for x, y in scales)


def _to_q15(*scales: float) -> tuple[Sample, ...]:
    return tuple(Sample((s16(999, scale=s),), outputs=(_Y15,)) for s in scales)


def _bounded(low: float, *samples: Sample) -> tuple[Sample, ...]:
    """Samples without elements under a stored `low`."""
    return tuple(replace(s, low=low, high=s.inputs[0].dtype.bounds[1]) for s in samples)


def _with(attrs: Sequence[Attrs], samples: Sequence[Sample]) -> tuple[Sample, ...]:
    return tuple(replace(s, attrs=a) for a, s in zip(attrs, samples, strict=True))


_ANY = (*_s8(None, *_SCALES), *_s16((1e-3, 2e-3), (3e-4, 1e-3), (0.02, 0.01)), _FLOAT)
_ROUGH = (*_s8(None, (0.3, 4), (0.05, -128), (2.5, 127)), *_s16((0.01, 0.02)), _FLOAT, _WIDE)
_UNIT = Sample((s8(300, scale=0.1, zero_point=9),), outputs=(s8(300, scale=0.008, zero_point=2),))
_TURNS = Sample((s16(999, scale=0.01),), outputs=(_Y15,))
_ROOTS = (
    *_bounded(-128, *_s8(None, (0.05, -128), (2.5, -128))),
    *_bounded(4, *_s8(s8(300, scale=0.02, zero_point=-128), (0.001, 4))),
    *_bounded(0, *_s16((1e-3, 2e-3), (0.3, 1e-4), (2e-5, 0.02))),
    _POSITIVE,
)

# The rows ---------------------------------------------------------------------------------

ROWS = (
    Row(
        "relu",
        "y = max(x, 0)",
        lambda _, x: np.where(x < 0, ZERO, x),
        lambda _, x: f"ll_max_f32({x}, 0.0f)",
        (
            *_s8(None, *_SCALES),
            Sample((s8(5, scale=0.1, zero_point=3),)),
            *_s16((0.1, 0.01)),
            _FLOAT,
        ),
        {S8: rules.RELU, S16: rules.RELU},
        tflm=(F, S8, S16),
    ),
    Row(
        "relu6",
        "y = min(max(x, 0), 6), quantised as x",
        lambda _, x: _limit(x, 0, 6),
        lambda _, x: f"ll_min_f32(ll_max_f32({x}, 0.0f), 6.0f)",
        (
            Sample((s8(2, 40, scale=0.05, zero_point=-100),)),
            Sample((s8(80, scale=0.2, zero_point=5),)),
            Sample((s16(80, scale=0.001),)),
            _FLOAT,
        ),
        {S8: rules.RELU6, S16: rules.RELU6},
        tflm=(F, S8, S16),
    ),
    Row(
        "relu_n1_to_1",
        "y = min(max(x, -1), 1)",
        lambda _, x: _limit(x, -1, 1),
        lambda _, x: f"ll_min_f32(ll_max_f32({x}, -1.0f), 1.0f)",
        (*_s8(None, *_SCALES), _UNIT, *_s16((1e-3, 2e-3)), _FLOAT),
        {S8: rules.limited(-1.0, 1.0), S16: rules.limited(-1.0, 1.0)},
        tflm=(),
        litert=(F, S8),
    ),
    Row(
        "relu_0_to_1",
        "y = min(max(x, 0), 1)",
        lambda _, x: _limit(x, 0, 1),
        lambda _, x: f"ll_min_f32(ll_max_f32({x}, 0.0f), 1.0f)",
        (*_s8(None, *_SCALES), _UNIT, *_s16((1e-3, 2e-3)), _FLOAT),
        {S8: rules.limited(0.0, 1.0), S16: rules.limited(0.0, 1.0)},
        tflm=(),
        litert=(F, S8),
    ),
    Row(
        "logistic",
        "y = 1 / (1 + exp(-x))",
        lambda _, x: floatmath.logistic(x),
        lambda _, x: f"ll_logisticf({x})",
        (*_s8(_Y8, *_SCALES), *_to_q15(2.0**-12, 0.0007, 2.0**-10), _FLOAT, _WIDE),
        {
            S8: tabled(rules.logistic),
            S16: rules.sigmoidal("ll_logistic_s16", fixed_point.logistic_s16, (0,)),
        },
        {S8: _Q8, S16: _Q15},
        tflm=(F, S8, S16),
    ),
    Row(
        "tanh",
        "y = tanh(x)",
        lambda _, x: floatmath.tanh(x),
        lambda _, x: f"ll_tanhf({x})",
        (*_s8(_Y7, *_SCALES), *_to_q15(2.0**-12, 2.0**-11, 0.0001), _FLOAT, _WIDE),
        {
            S8: tabled(rules.tanh),
            S16: rules.sigmoidal("ll_tanh_s16", fixed_point.tanh_s16, (0, 1)),
        },
        {S8: _Q7, S16: _Q15},
        tflm=(F, S8, S16),
    ),
    Row(
        "hard_swish",
        "y = x * min(max(x + 3, 0), 6) / 6",
        _hard_swish,
        lambda _, x: f"ll_hard_swishf({x})",
        _ANY,
        {S8: tabled(rules.hard_swish)},
        tflm=(F, S8),
    ),
    Row(
        "exp",
        "y = exp(x)",
        lambda _, x: floatmath.exp(x),
        lambda _, x: f"ll_expf({x})",
        (
            *_s8(s8(300, scale=0.02, zero_point=-128), (0.05, -7), (0.001, 127), (0.3, 0)),
            *_s16((1e-4, 1e-3), (3e-4, 0.5)),
            _FLOAT,
            _WIDE,
        ),
        {S8: by_value(_table_exp), S16: interpolated(_table_exp)},
        litert=(S8, S16),
    ),
    Row(
        "log",
        "y = log(x); of int8 and int16 that are not positive the least that y can hold",
        lambda _, x: floatmath.log(x),
        lambda _, x: f"ll_logf({x})",
        (*_s8(None, *_SCALES), *_s16((1e-3, 2e-4), (0.02, 3e-4)), _POSITIVE),
        {S8: by_value(_table_log), S16: interpolated(_table_log)},
        litert=(S8, S16),
    ),
    Row(
        "sqrt",
        "y = sqrt(x); of int8 and int16 that are negative 0",
        lambda _, x: floatmath.sqrt(x),
        lambda _, x: f"ll_sqrtf({x})",
        _ROOTS,
        {S8: tabled(rules.sqrt), S16: IntRule(rules.sqrt, rules.sqrt_c)},
        litert=(S8, S16),
    ),
    Row(
        "rsqrt",
        "y = 1 / sqrt(x); of int8 and int16 that are not positive the most that y can hold",
        lambda _, x: floatmath.rsqrt(x),
        lambda _, x: f"ll_rsqrtf({x})",
        _ROOTS,
        {S8: tabled(rules.rsqrt), S16: IntRule(rules.rsqrt, rules.rsqrt_c)},
        tflm=(F, S8, S16),
    ),
    Row(
        "square",
        "y = x * x",
        lambda _, x: x * x,
        lambda _, x: f"ll_square_f32({x})",
        (*_ANY, _PLAIN),
        {S32: plain(lambda q: q * q, "ll_wrap_mul({0}, {0})")},
    ),
    Row(
        "abs",
        "y = |x|",
        lambda _, x: np.abs(x),
        lambda _, x: f"ll_abs_f32({x})",
        (*_ANY, Sample((s8(7, scale=0.1, zero_point=3),)), Sample((s16(7, scale=0.1),)), _PLAIN),
        {
            S8: tabled(rules.magnitude),
            S16: IntRule(rules.magnitude, rules.magnitude_c),
            S32: plain(np.abs, "ll_magnitude({0})"),
        },
        tflm=(F, S8, S16),
        litert=(S32,),
    ),
    Row(
        "neg",
        "y = -x",
        lambda _, x: -x,
        lambda _, x: f"(-{x})",
        (*_ANY, _PLAIN, Sample((TensorType((7,), S64),))),
        {
            S32: plain(np.negative, "ll_wrap_sub(0, {0})"),
            S64: plain(np.negative, "ll_wrap_sub_s64(0, {0})"),
        },
        litert=(S32, S64),
    ),
    Row(
        "sign",
        "y = -1, 0 or 1, the sign of x",
        _sign,
        lambda _, x: f"ll_signf({x})",
        (*_ROUGH, _PLAIN),
        {S32: plain(np.sign, "(({0} > 0) - ({0} < 0))")},
        tflm=(),
        litert=(F, S32),
    ),
    Row(
        "erf",
        "y = erf(x), the error function",
        lambda _, x: floatmath.erf(x),
        lambda _, x: f"ll_erff({x})",
        _ROUGH,
        tflm=(),
    ),
    Row(
        "floor",
        "y = the largest integer that is not above x",
        lambda _, x: np.floor(x),
        lambda _, x: f"ll_floorf({x})",
        _ROUGH,
    ),
    Row(
        "ceil",
        "y = the least integer that is not below x",
        lambda _, x: np.ceil(x),
        lambda _, x: f"ll_ceilf({x})",
        _ROUGH,
    ),
    Row(
        "round",
        "y = the nearest integer to x, of two the even one",
        lambda _, x: np.rint(x),
        lambda _, x: f"ll_roundf({x})",
        _ROUGH,
    ),
    Row(
        "sin",
        "y = sin(x)",
        lambda _, x: floatmath.sin(x),
        lambda _, x: f"ll_sinf({x})",
        (*_s8(_Y7, *_SCALES), _TURNS, _FLOAT, _WIDE),
    ),
    Row(
        "cos",
        "y = cos(x)",
        lambda _, x: floatmath.cos(x),
        lambda _, x: f"ll_cosf({x})",
        (*_s8(_Y7, *_SCALES), _TURNS, _FLOAT, _WIDE),
    ),
    Row(
        "elu",
        "y = x where x >= 0, else exp(x) - 1",
        _elu,
        lambda _, x: f"ll_eluf({x})",
        _ANY,
        {S8: by_value(_table_elu)},
        tflm=(F, S8),
    ),
    Row(
        "gelu",
        "y = x * Phi(x), Phi the normal distribution function",
        _gelu,
        lambda a, x: f"ll_gelu{'_tanh' if _approximate(a) else ''}f({x})",
        _with([Gelu(k % 2 == 0) for k in range(2 * len(_ANY))], [s for s in _ANY for _ in "12"]),
        {S8: by_value(_table_gelu), S16: interpolated(_table_gelu)},
        attrs=Gelu,
        tflm=(),
        litert=(F, S8, S16),
    ),
    Row(
        "leaky_relu",
        "y = x where x >= 0, else alpha * x",
        _leaky_relu,
        lambda a, x: f"ll_leaky_relu_f32({x}, {c_float(_alpha(a))})",
        _with([Slope(a) for a in (0.1, 0.01, 1.5, -0.2, 0.3, 0.01, -1.1, 0.3)], _ANY),
        {
            S8: tabled(rules.leaky(lambda node: _alpha(node.attrs)).ref),
            S16: rules.leaky(lambda node: _alpha(node.attrs)),
        },
        attrs=Slope,
        tflm=(F, S8, S16),
    ),
)


def _rules(row: Row) -> Mapping[DType, IntRule]:
    """The row's own rules, and for int8 and int16 those that its float function gives."""

    def real(node: Node, x: F32) -> F32:
        return row.real(node.attrs, x)

    def c(node: Node, x: str) -> str:
        return row.c(node.attrs, x)

    return {S8: by_value(real), S16: through_float(real, c), **row.rules}


def _oracle(row: Row, dtypes: Sequence[DType]) -> Mapping[DType, str]:
    name = row.name.upper()
    kernels = dict.fromkeys(row.tflm, f"TFLM {name}") | dict.fromkeys(row.litert, f"LiteRT {name}")
    return dict.fromkeys(dtypes, "docs/numerics.md") | kernels


def _operator(row: Row) -> Op:
    """The operator of a row: types, NumPy meaning and C expression by dtype."""
    by_dtype = _rules(row)
    dtypes = (F, *by_dtype)

    def infer(_: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
        check(len(types) == 1, "wrong number of operands", "x", len(types))
        (x,) = types
        names = ", ".join(d.value for d in dtypes)
        check(x.dtype in dtypes, "operand of this type", names, x.dtype.value)
        if x.dtype in (S8, S16):
            check_quantised(x)
        return (TensorType(x.shape, x.dtype, row.chosen.get(x.dtype, x.quant)),)

    def ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
        (x,) = operands
        dtype = node.inputs[0].type.dtype
        if dtype.is_float:
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                return (row.real(node.attrs, x.astype(np.float32)),)
        return (by_dtype[dtype].ref(node, x.astype(np.int64)).astype(dtype.numpy),)

    def c(node: Node, args: Sequence[str]) -> str:
        dtype = node.inputs[0].type.dtype
        x = args[0]
        return row.c(node.attrs, x) if dtype.is_float else by_dtype[dtype].c(node, x)

    def tables(node: Node) -> Mapping[str, Array]:
        dtype = node.inputs[0].type.dtype
        return {} if dtype.is_float else by_dtype[dtype].tables(node)

    return Op(
        name=row.name,
        doc=f"{row.doc}; x, y of one shape",
        attrs=row.attrs,
        infer=infer,
        ref=ref,
        grads=(element_rules.SLOPES[row.name],),
        regions=broadcast_regions,
        scalar=Scalar(c, tables),
        samples=row.samples,
        dtypes=dtypes,
        oracle=_oracle(row, dtypes),
    )


UNARY: Mapping[str, Op] = {row.name: register(_operator(row)) for row in ROWS}
relu, relu6, logistic, tanh, hard_swish, exp = (
    UNARY[name] for name in ("relu", "relu6", "logistic", "tanh", "hard_swish", "exp")
)

"""Element-wise operators of two operands, add, sub and mul, and clamp.

Operands broadcast as in NumPy.  int8 and int16 are rescaled to a common scale with 20 or
15 extra bits (add, sub) or multiplied and rescaled once (mul), exactly as TFLite's
reference kernels do; unquantised int32 and int64 wrap; float32 is one IEEE operation.
Fused activations are not here: they are `clamp` nodes, which the compiler fuses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.errors import TypeMismatch
from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Bounds, Op, Sample, Scalar
from lilliput.ir.range import Range
from lilliput.ir.region import AxisRule, OperandRule, Pointwise, Whole
from lilliput.ir.types import Array, DType, TensorType, f32, s8, s16, s32, s64
from lilliput.ops import element_rules
from lilliput.ops.bounds import monotone
from lilliput.ops.common import c_float, check
from lilliput.ops.numeric import (
    Ints,
    Rounding,
    quantize_multiplier,
    requant,
    round_even,
    saturate,
    scale_even,
    wrap32,
)
from lilliput.ops.registry import register
from lilliput.ops.scaling import scaled, stored

BINARY_DTYPES = (DType.F32, DType.S8, DType.S16, DType.S32, DType.S64)
CLAMP_DTYPES = (DType.F32, DType.S8, DType.U8, DType.S16, DType.S32)
QUANTIZED = (DType.S8, DType.S16)


@dataclass(frozen=True)
class Binary(Attrs):
    """How quantised operands are rescaled; without effect on floats and plain int32."""

    rounding: Rounding = Rounding.DOUBLE


@dataclass(frozen=True)
class Clamp(Attrs):
    """Bounds of the elements as they are stored; infinite where there is none."""

    low: float = -math.inf
    high: float = math.inf


# Shapes and regions -----------------------------------------------------------------------


def broadcast_shape(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape that `shapes` broadcast to; raises TypeMismatch where there is none."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise TypeMismatch(
            "shapes do not broadcast",
            expected="equal extents, or 1, axis by axis from the last",
            found=" and ".join(str(list(s)) for s in shapes),
        ) from None


def broadcast_rule(operand: tuple[int, ...], out: tuple[int, ...]) -> OperandRule:
    """Pointwise along the axes that `operand` has, Whole along those that are repeated."""
    offset = len(out) - len(operand)

    def rule(i: int) -> AxisRule:
        repeated = operand[i] == 1 and out[offset + i] != 1
        return Whole() if repeated else Pointwise(offset + i)

    return tuple(rule(i) for i in range(len(operand)))


def broadcast_regions(node: Node) -> tuple[OperandRule, ...]:
    """The region rules of any element-wise node."""
    out = node.output.type.shape
    return tuple(broadcast_rule(v.type.shape, out) for v in node.inputs)


def check_quantised(t: TensorType) -> None:
    """Raises TypeMismatch unless `t` is quantised per tensor."""
    check(
        t.quant is not None and t.quant.is_per_tensor,
        "operand is not quantised per tensor",
        "one scale and zero point",
        t.quant,
    )


def c_int(value: int) -> str:
    """An int32 literal (INT32_MIN has none of its own)."""
    return "INT32_MIN" if value == -(2**31) else str(value)


def pair(
    types: Sequence[TensorType], dtypes: Sequence[DType], quantised: Sequence[DType] = QUANTIZED
) -> TensorType:
    """The type that two operands of one of `dtypes` broadcast to; a's quantisation.

    quantised : types that need a scale.  Raises TypeMismatch with what is wrong.
    """
    check(len(types) == 2, "wrong number of operands", "a, b", len(types))
    a, b = types
    names = ", ".join(d.value for d in dtypes)
    check(a.dtype in dtypes, "operands of this type", names, a.dtype.value)
    check(a.dtype is b.dtype, "operand types differ", a.dtype, b.dtype)
    if a.dtype in quantised:
        check_quantised(a)
        check_quantised(b)
    return TensorType(broadcast_shape((a.shape, b.shape)), a.dtype, a.quant)


def check_fixed(rounding: Rounding) -> None:
    """Raises TypeMismatch for a rounding by floats, where there is none."""
    check(rounding is not Rounding.EVEN, "rounding", "double or single", rounding.value)


def _binary_infer(a: Binary, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    found = pair(types, BINARY_DTYPES)
    if a.rounding is Rounding.EVEN:
        check(found.dtype is DType.S8, "rounding to even", "int8", found.dtype.value)
    return (found,)


def symmetric(types: Sequence[TensorType]) -> None:
    """Raises TypeMismatch where an int16 operand has a zero point: those rules have none."""
    for t in types:
        check(
            t.dtype is not DType.S16 or t.zero_point == 0,
            "int16 operand has a zero point",
            0,
            t.zero_point,
        )


def unscaled(t: TensorType) -> bool:
    """Integers that are numbers themselves: they wrap."""
    return t.dtype in (DType.S32, DType.S64)


def wide(t: TensorType) -> str:
    """What the names of C functions on 64-bit integers end with."""
    return "_s64" if t.dtype is DType.S64 else ""


# add and sub ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rescale:
    """(mult, shift) of both operands, from 2^left finer steps, and of the result."""

    left: int
    a: tuple[int, int]
    b: tuple[int, int]
    y: tuple[int, int]


def _rescale(node: Node) -> Rescale:
    """TFLite's parameters of a quantised sum.

    Raises TypeMismatch when the output's scale is so small that a multiplier is not < 1.
    """
    scales = [v.type.scale for v in (*node.inputs, node.output)]
    left = 15 if node.output.type.dtype is DType.S16 else 20
    twice = 2 * max(scales[0], scales[1])
    y = twice / ((1 << left) * scales[2])
    check(0 < y < 1, "output scale is too small", f"> {twice / (1 << left)}", scales[2])
    a, b = (quantize_multiplier(s / twice) for s in scales[:2])
    return Rescale(left, a, b, quantize_multiplier(y))


def _sum_ref(sign: int) -> Callable[[Node, Sequence[Array]], tuple[Array, ...]]:
    def ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
        a, b = operands
        y = node.output.type
        if y.dtype.is_float:
            with np.errstate(over="ignore", invalid="ignore"):
                return (np.add(a, b) if sign > 0 else np.subtract(a, b),)
        if unscaled(y):
            with np.errstate(over="ignore"):
                return (np.asarray(np.add(a, b) if sign > 0 else np.subtract(a, b)),)
        exact = [v.astype(np.int64) for v in operands]
        if _rounding(node) is Rounding.EVEN:
            return (_sum_even(node, sign, exact),)
        p, rounding = _rescale(node), _rounding(node)
        left, right = (
            requant((x - v.type.zero_point) << p.left, *scale, rounding)
            for x, v, scale in zip(exact, node.inputs, (p.a, p.b), strict=True)
        )
        total = requant(left + sign * right, *p.y, rounding)
        return (saturate(total + y.zero_point, y),)

    return ref


def _ratios(node: Node, sign: int) -> tuple[np.float32, np.float32, np.float32]:
    """What ONNX Runtime multiplies the stored a and b by, and what it adds first."""
    a, b, y = (v.type for v in (*node.inputs, node.output))
    left, right = (np.float32(t.scale) / np.float32(y.scale) for t in (a, b))
    right = right if sign > 0 else -right
    rest = left * np.float32(a.zero_point) + right * np.float32(b.zero_point)
    return left, right, np.float32(y.zero_point) - rest


def _sum_even(node: Node, sign: int, operands: Sequence[Ints]) -> Array:
    y, (left, right, start) = node.output.type, _ratios(node, sign)
    a, b = (v.astype(np.float32) for v in operands)
    total = (start + a * left) + b * right
    return round_even(total, y.dtype.bounds).astype(y.dtype.numpy)


def _sum_even_c(node: Node, sign: int, args: Sequence[str]) -> str:
    (left, right, start), (low, high) = _ratios(node, sign), node.output.type.dtype.bounds
    first = f"({c_float(float(start))} + (float){args[0]} * {c_float(float(left))})"
    second = f"(float){args[1]} * {c_float(float(right))}"
    return f"ll_round_even({first} + {second}, {low}, {high})"


def _sum_c(sign: int) -> Callable[[Node, Sequence[str]], str]:
    symbol, wrap = ("+", "ll_wrap_add") if sign > 0 else ("-", "ll_wrap_sub")

    def c(node: Node, args: Sequence[str]) -> str:
        y = node.output.type
        if y.dtype.is_float:
            return f"({args[0]} {symbol} {args[1]})"
        if unscaled(y):
            return f"{wrap}{wide(y)}({args[0]}, {args[1]})"
        if _rounding(node) is Rounding.EVEN:
            return _sum_even_c(node, sign, args)
        p, rounding = _rescale(node), _rounding(node)
        reach = [_reach(v.type) for v in node.inputs]
        parts = [
            scaled(less(x, v.type.zero_point), p.left, m, s, largest, rounding)
            for x, v, (m, s), largest in zip(args, node.inputs, (p.a, p.b), reach, strict=True)
        ]
        # each part is at most half of its operand in the finer steps
        largest = sum(r << p.left - 1 for r in reach)
        return stored(f"({parts[0]} {symbol} {parts[1]})", *p.y, largest, y, rounding)

    return c


def _reach(t: TensorType) -> int:
    """The largest magnitude of an element less the zero point."""
    low, high = t.dtype.bounds
    return max(high - t.zero_point, t.zero_point - low)


def _sum_bounds(node: Node, operands: Sequence[Range]) -> Range | None:
    """No step of a quantised sum can wrap: both multipliers are below 1."""
    return None if unscaled(node.output.type) else monotone(node, operands)


def _rounding(node: Node) -> Rounding:
    assert isinstance(node.attrs, Binary)
    return node.attrs.rounding


def less(x: str, offset: int) -> str:
    """`x - offset`, for integers that cannot overflow."""
    return x if offset == 0 else f"({x} {'-' if offset > 0 else '+'} {abs(offset)})"


def clamped(x: str, t: TensorType) -> str:
    """The expression x, saturated to the dtype of `t`."""
    low, high = t.dtype.bounds
    return f"ll_clamp({x}, {c_int(low)}, {c_int(high)})"


# mul --------------------------------------------------------------------------------------


def _mul_infer(a: Binary, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    symmetric(types)
    return _binary_infer(a, types)


def _product_scale(node: Node) -> tuple[int, int]:
    a, b, y = (v.type.scale for v in (*node.inputs, node.output))
    return quantize_multiplier(a * b / y)


def _float_scale(node: Node) -> np.float32:
    a, b, y = (np.float32(v.type.scale) for v in (*node.inputs, node.output))
    return a * b / y


def _mul_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    y = node.output.type
    if y.dtype.is_float:
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            return (np.multiply(*operands),)
    if unscaled(y):
        with np.errstate(over="ignore"):
            return (np.asarray(np.multiply(*operands)),)
    a, b = (
        x.astype(np.int64) - v.type.zero_point for x, v in zip(operands, node.inputs, strict=True)
    )
    product: Ints = a * b
    if _rounding(node) is Rounding.EVEN:
        scaled = scale_even(product, _float_scale(node), y.zero_point, y.dtype.bounds)
        return (scaled.astype(y.dtype.numpy),)
    return (
        saturate(
            wrap32(requant(product, *_product_scale(node), _rounding(node)) + y.zero_point), y
        ),
    )


def _mul_c(node: Node, args: Sequence[str]) -> str:
    y = node.output.type
    if y.dtype.is_float:
        return f"({args[0]} * {args[1]})"
    if unscaled(y):
        return f"ll_wrap_mul{wide(y)}({args[0]}, {args[1]})"
    a, b = (less(x, v.type.zero_point) for x, v in zip(args, node.inputs, strict=True))
    if _rounding(node) is Rounding.EVEN:
        low, high = (bound - y.zero_point for bound in y.dtype.bounds)
        scale = c_float(float(_float_scale(node)))
        scaled = f"ll_scale_even({a} * {b}, {scale}, {low}, {high})"
        return f"({scaled} + {y.zero_point})" if y.zero_point else scaled
    largest = math.prod(_reach(v.type) for v in node.inputs)
    return stored(f"({a} * {b})", *_product_scale(node), largest, y, _rounding(node))


def _mul_bounds(node: Node, operands: Sequence[Range]) -> Range | None:
    """None where a product that is scaled up might wrap."""
    if unscaled(node.output.type):
        return None
    most = 1
    for r, v in zip(operands, node.inputs, strict=True):
        ends = (int(r.low.min()) - v.type.zero_point, int(r.high.max()) - v.type.zero_point)
        most *= max(map(abs, ends))
    mult, shift = _product_scale(node)
    return monotone(node, operands) if mult >= 0 and most << max(shift, 0) < 1 << 30 else None


# clamp ------------------------------------------------------------------------------------


def _clamp_attrs(node: Node) -> Clamp:
    assert isinstance(node.attrs, Clamp)
    return node.attrs


def _clamp_infer(a: Clamp, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 1, "wrong number of operands", "x", len(types))
    check(types[0].dtype in CLAMP_DTYPES, "operand of this type", CLAMP_DTYPES, types[0].dtype)
    check(a.low <= a.high, "empty range", "low <= high", (a.low, a.high))
    return (types[0],)


def _bounds(node: Node) -> tuple[int, int]:
    """The bounds of an integer clamp, within the dtype."""
    a = _clamp_attrs(node)
    low, high = node.output.type.dtype.bounds
    return int(min(max(a.low, low), high)), int(max(min(a.high, high), low))


def _clamp_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    (x,), a = operands, _clamp_attrs(node)
    if not node.output.type.dtype.is_float:
        return (np.clip(x.astype(np.int64), *_bounds(node)).astype(x.dtype),)
    low, high = np.float32(a.low), np.float32(a.high)
    above = np.where(x < low, low, x)
    return (np.where(high < above, high, above),)


def _clamp_c(node: Node, args: Sequence[str]) -> str:
    a, x = _clamp_attrs(node), args[0]
    if not node.output.type.dtype.is_float:
        low, high = _bounds(node)
        return f"ll_clamp({x}, {c_int(low)}, {c_int(high)})"
    if a.low > -math.inf:
        x = f"ll_max_f32({x}, {c_float(a.low)})"
    return f"ll_min_f32({x}, {c_float(a.high)})" if a.high < math.inf else x


def stored_bounds(low: float, high: float, type: TensorType) -> tuple[int, int]:
    """The elements of a quantised `type` that real bounds limit it to, within its dtype.

    As TFLite's CalculateActivationRangeQuantized: zero point + round(bound / scale) in float32,
    ties away from zero.
    """
    floor, ceiling = type.dtype.bounds

    def stored(real: float) -> int:
        with np.errstate(over="ignore"):
            ratio = float(np.float32(real) / np.float32(type.scale))
        whole = (
            math.copysign(math.floor(abs(ratio) + 0.5), ratio) if math.isfinite(ratio) else ratio
        )
        return int(min(max(type.zero_point + whole, floor), ceiling))

    return (
        floor if math.isinf(low) else stored(low),
        ceiling if math.isinf(high) else stored(high),
    )


# The operators ----------------------------------------------------------------------------

_ONCE = Binary(Rounding.SINGLE)


def _pairs(mul: bool) -> tuple[Sample, ...]:
    """Samples of a binary operator: shapes that broadcast every way, scales far apart."""
    zero = 0 if mul else -11
    return (
        Sample((s8(1, 5, 3, 7, scale=0.02, zero_point=4), s8(1, 5, 3, 7, scale=0.5, zero_point=9)),
               Binary(), (s8(1, 5, 3, 7, scale=0.6, zero_point=-3),)),
        Sample((s8(2, 3, 4, scale=0.1, zero_point=-128), s8(4, scale=0.001, zero_point=127)),
               Binary(), (s8(2, 3, 4, scale=0.03, zero_point=127),), (1,)),
        Sample((s8(3, 1, 5, scale=0.5), s8(3, 4, 1, scale=0.25, zero_point=1)),
               _ONCE, (s8(3, 4, 5, scale=4.0, zero_point=-128),)),
        Sample((s8(1, scale=1e-6), s8(6, scale=200.0)), Binary(), (s8(6, scale=0.01),)),
        Sample((s8(2, 7, scale=0.1, zero_point=-128), s8(7, scale=0.03, zero_point=12)),
               Binary(Rounding.EVEN), (s8(2, 7, scale=0.12, zero_point=-128),)),
        Sample((s16(2, 9, scale=0.001), s16(2, 9, scale=0.0004)), Binary(),
               (s16(2, 9, scale=0.002),)),
        Sample((s16(4, 3, scale=0.1, zero_point=zero), s16(1, scale=0.3)), _ONCE,
               (s16(4, 3, scale=0.4),)),
        Sample((s32(3, 5), s32(3, 5)), Binary()),
        Sample((s32(), s32(4, 1)), Binary()),
        Sample((s64(3, 4), s64(4)), Binary()),
        Sample((f32(1, 4, 4, 3), f32(3)), Binary(), low=-3.0, high=3.0),
        Sample((f32(2, 1, 3), f32(5, 1)), Binary(), low=-1e30, high=1e30),
    )  # fmt: skip


def _binary(
    name: str,
    doc: str,
    ref: Callable[[Node, Sequence[Array]], tuple[Array, ...]],
    c: Callable[[Node, Sequence[str]], str],
    bounds: Bounds,
) -> Op:
    mul = name == "mul"
    return register(
        Op(
            name=name,
            doc=f"y = {doc}; a and b broadcast to y",
            attrs=Binary,
            infer=_mul_infer if mul else _binary_infer,
            ref=ref,
            grads=element_rules.PAIRS[name],
            regions=broadcast_regions,
            bounds=bounds,
            scalar=Scalar(c),
            samples=_pairs(mul),
            dtypes=BINARY_DTYPES,
            oracle={d: f"TFLM {name.upper()}" for d in BINARY_DTYPES}
            | {DType.S64: f"LiteRT {name.upper()}"},
        )
    )


add = _binary("add", "a + b", _sum_ref(1), _sum_c(1), _sum_bounds)
sub = _binary("sub", "a - b", _sum_ref(-1), _sum_c(-1), _sum_bounds)
mul = _binary("mul", "a * b", _mul_ref, _mul_c, _mul_bounds)

clamp = register(
    Op(
        name="clamp",
        doc="y = min(max(x, low), high), bounds in stored units; x, y of one shape",
        attrs=Clamp,
        infer=_clamp_infer,
        ref=_clamp_ref,
        grads=(element_rules.clamped,),
        regions=broadcast_regions,
        bounds=monotone,
        scalar=Scalar(_clamp_c),
        samples=(
            Sample((s8(1, 3, 5, 4, scale=0.05, zero_point=-7),), Clamp(-7, 90)),
            Sample((s8(9),), Clamp(low=-3)),
            Sample((s16(3, 5),), Clamp(0, 32767)),
            Sample((s32(7),), Clamp(-100000, 5)),
            Sample((f32(2, 5),), Clamp(0.0, 6.0), low=-20.0, high=20.0),
            Sample((f32(2, 5),), Clamp(low=-1.1), low=-5.0, high=5.0),
        ),
        dtypes=CLAMP_DTYPES,
        oracle="fused activations of TFLM",
    )
)

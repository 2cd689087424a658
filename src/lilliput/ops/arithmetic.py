"""Operators of two elements beyond sums and products: quotients, remainders, powers, add_n.

div and squared_difference rescale int8 and int16 as TFLite's reference kernels do;
floor_div and floor_mod take stored integers as the numbers they are, whatever their scale,
as LiteRT does.  A divisor of zero has a stated result instead of a fault: for integers 0, or
the end of the range that the dividend points to where there is a scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Bounds, NoAttrs, Op, Sample, Scalar
from lilliput.ir.range import Range
from lilliput.ir.types import Array, DType, TensorType, f32, s8, s16, s32, s64
from lilliput.ops import element_rules, floatpair
from lilliput.ops.bounds import increasing
from lilliput.ops.common import c_type, check
from lilliput.ops.elementwise import (
    broadcast_regions,
    broadcast_shape,
    check_quantised,
    clamped,
    less,
    pair,
    symmetric,
)
from lilliput.ops.fixed_exp import reciprocal_q31
from lilliput.ops.numeric import (
    Ints,
    mulh_round,
    quantize_multiplier,
    requant,
    saturate,
    shr_round,
    wrap32,
)
from lilliput.ops.registry import register

DTYPES = (DType.F32, DType.S8, DType.S16, DType.S32)
MOST_OPERANDS = 8
"""Operands of one loop (`LL_AT_MAX`)."""

Ref = Callable[[Node, Sequence[Array]], tuple[Array, ...]]
C = Callable[[Node, Sequence[str]], str]


def _centred(node: Node, operands: Sequence[Array]) -> list[Ints]:
    """The operands less their zero points."""
    return [
        x.astype(np.int64) - v.type.zero_point for x, v in zip(operands, node.inputs, strict=True)
    ]


def _centred_c(node: Node, args: Sequence[str]) -> list[str]:
    return [less(x, v.type.zero_point) for x, v in zip(args, node.inputs, strict=True)]


# div --------------------------------------------------------------------------------------


def _div_infer(_: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    symmetric(types)
    return (pair(types, DTYPES),)


def _quotient_scale(node: Node) -> tuple[int, int]:
    """a.scale / (b.scale * y.scale), in float32 as the format's other readers have it."""
    a, b, y = (np.float32(v.type.scale) for v in (*node.inputs, node.output))
    with np.errstate(all="ignore"):
        ratio = float(a / (b * y))
    check(0 < ratio < 2**31, "scales are too far apart", "a / (b * y) in (0, 2^31)", ratio)
    return quantize_multiplier(ratio)


def _truncated(a: Ints, b: Ints) -> Ints:
    """a / b towards zero; 0 where b is 0."""
    quotient = np.abs(a) // np.maximum(np.abs(b), 1)
    return np.where(b == 0, 0, np.where((a < 0) != (b < 0), -quotient, quotient))


def _div_scaled(a: Ints, b: Ints, mult: int, shift: int) -> Ints:
    """The twin of `ll_div_scaled`: |a|, |b| < 2^17."""
    a, b = np.broadcast_arrays(np.where(b < 0, -a, a), np.abs(b))
    divisor = np.maximum(b, 1)
    place = 31 - np.frexp(divisor.astype(np.float64))[1] + 1
    inverse = reciprocal_q31((divisor << place) - (1 << 31))
    room = 32 - np.frexp(np.where(a < 0, ~a, a).astype(np.float64))[1] - 1
    scaled = mulh_round(mulh_round(wrap32(a << room), inverse), mult)
    right = 31 - place + room - shift
    left = np.clip(-right, 0, 31)
    high = np.clip(scaled << left, -(1 << 31), (1 << 31) - 1)
    y = np.where(right >= 0, shr_round(scaled, np.clip(right, 0, 31)), high)
    y = np.where(right > 31, 0, np.clip(y, -(1 << 17), 1 << 17))
    return np.where((a == 0) | (b == 0), np.sign(a) << 17, y)


def _div_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    y = node.output.type
    if y.dtype.is_float:
        with np.errstate(all="ignore"):
            return (np.asarray(np.divide(*operands)),)
    a, b = _centred(node, operands)
    if y.dtype is DType.S32:
        return (wrap32(_truncated(a, b)).astype(np.int32),)
    return (saturate(_div_scaled(a, b, *_quotient_scale(node)) + y.zero_point, y),)


def _div_c(node: Node, args: Sequence[str]) -> str:
    y = node.output.type
    if y.dtype.is_float:
        return f"({args[0]} / {args[1]})"
    if y.dtype is DType.S32:
        return f"ll_div_s32({args[0]}, {args[1]})"
    a, b = _centred_c(node, args)
    mult, shift = _quotient_scale(node)
    return clamped(less(f"ll_div_scaled({a}, {b}, {mult}, {shift})", -y.zero_point), y)


# squared_difference -----------------------------------------------------------------------


def _difference_scales(node: Node) -> tuple[int, tuple[tuple[int, int], ...]]:
    """(finer steps, (mult, shift) of a, of b and of the square)."""
    a, b, y = (v.type.scale for v in (*node.inputs, node.output))
    left = 0 if node.output.type.dtype is DType.S16 else 7
    twice = 2 * max(a, b)
    real = (a / twice, b / twice, twice * twice / ((1 << 2 * left) * y))
    return left, tuple(quantize_multiplier(r) for r in real)


def _squared_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    y = node.output.type
    if not y.dtype.is_integer or y.dtype is DType.S32:
        with np.errstate(over="ignore", invalid="ignore"):
            difference = np.asarray(np.subtract(*operands))
            return (np.asarray(difference * difference),)
    left, (a_scale, b_scale, y_scale) = _difference_scales(node)
    a, b = (
        requant(x << left, *scale)
        for x, scale in zip(_centred(node, operands), (a_scale, b_scale), strict=True)
    )
    return (saturate(wrap32(requant(wrap32((a - b) ** 2), *y_scale) + y.zero_point), y),)


def _squared_c(node: Node, args: Sequence[str]) -> str:
    y = node.output.type
    if y.dtype.is_float:
        return f"ll_squared_difference_f32({args[0]}, {args[1]})"
    if y.dtype is DType.S32:
        return f"ll_squared(ll_wrap_sub({args[0]}, {args[1]}))"
    left, (*pairs, (mult, shift)) = _difference_scales(node)
    a, b = (
        f"ll_requant(ll_wrap_shl({x}, {left}), {m}, {s})"
        for x, (m, s) in zip(_centred_c(node, args), pairs, strict=True)
    )
    square = f"ll_requant(ll_squared({a} - {b}), {mult}, {shift})"
    return clamped(f"ll_wrap_add({square}, {y.zero_point})", y)


# floor_div, floor_mod, pow ----------------------------------------------------------------


def _floored_ref(
    on_floats: Callable[[Array, Array], Array], on_ints: Callable[[Ints, Ints], Ints]
) -> Ref:
    """Floats by `on_floats`; integers by NumPy's own, wrapping, 0 where the divisor is 0."""

    def ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
        a, b = operands
        dtype = node.output.type.dtype
        if dtype.is_float:
            return (np.asarray(on_floats(a, b)),)
        wide = b.astype(np.int64)
        # -1 divides without a rest; int64's own quotient by -1 could overflow
        safe = np.where((wide == 0) | (wide == -1), 1, wide)
        dividend = np.where(wide == -1, -a.astype(np.int64), a.astype(np.int64))
        result = on_ints(dividend, safe)
        return (np.where(wide == 0, 0, result).astype(dtype.numpy),)

    return ref


def _floored_c(name: str) -> C:
    def c(node: Node, args: Sequence[str]) -> str:
        dtype = node.output.type.dtype
        if dtype.is_float:
            return f"{name}f({args[0]}, {args[1]})"
        if dtype is DType.S64:
            return f"{name}_s64({args[0]}, {args[1]})"
        return f"((int32_t)({c_type(dtype)}){name}_s32({args[0]}, {args[1]}))"

    return c


def _of(dtypes: Sequence[DType]) -> Callable[[Attrs, Sequence[TensorType]], tuple[TensorType, ...]]:
    return lambda _, types: (pair(types, dtypes, ()),)


def _pow_s32(a: Array, b: Array) -> Array:
    result, base = np.ones(np.broadcast_shapes(a.shape, b.shape), np.int64), a.astype(np.int64)
    rest = np.maximum(b, 0).astype(np.int64)
    for _ in range(31):
        result = np.where(rest & 1, wrap32(result * base), result)
        base, rest = wrap32(base * base), rest >> 1
    sign = np.where(a == -1, 1 - 2 * (b & 1), np.where(a == 1, 1, 0))
    return np.where(b < 0, sign, result).astype(np.int32)


def _pow_ref(_: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    a, b = operands
    return (np.asarray(floatpair.power(a, b) if a.dtype == np.float32 else _pow_s32(a, b)),)


def _pow_c(node: Node, args: Sequence[str]) -> str:
    return f"{'ll_powf' if node.output.type.dtype.is_float else 'll_pow_s32'}({args[0]}, {args[1]})"


# add_n ------------------------------------------------------------------------------------

SUM_DTYPES = (DType.F32, DType.S8, DType.S32)
_LEFT = 19
"""Bits of a quantised sum below the operands' steps: 20, halved as in a sum of two."""


def _add_n_infer(_: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(
        2 <= len(types) <= MOST_OPERANDS, "number of operands", f"2 to {MOST_OPERANDS}", len(types)
    )
    first = types[0]
    names = ", ".join(d.value for d in SUM_DTYPES)
    check(first.dtype in SUM_DTYPES, "operands of this type", names, first.dtype.value)
    for t in types:
        check(t.dtype is first.dtype, "operand types differ", first.dtype, t.dtype)
        check(t.quant == first.quant, "quantisation of the operands", first.quant, t.quant)
    if first.dtype is DType.S8:
        check_quantised(first)
    return (first.with_shape(*broadcast_shape([t.shape for t in types])),)


def _sum_scale(node: Node) -> tuple[int, int]:
    x, y = node.inputs[0].type, node.output.type
    real = x.scale / ((1 << _LEFT) * y.scale)
    check(real < 1, "output scale is too small", f"> {x.scale / (1 << _LEFT)}", y.scale)
    return quantize_multiplier(real)


def _add_n_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    y = node.output.type
    if y.dtype is not DType.S8:
        total = np.zeros(y.shape, y.dtype.numpy)
        with np.errstate(over="ignore", invalid="ignore"):
            for x in operands:
                total = np.add(total, x)
        return (np.asarray(total),)
    total = sum(_centred(node, operands), np.int64(-node.inputs[0].type.zero_point))
    return (saturate(requant(wrap32(total << _LEFT), *_sum_scale(node)) + y.zero_point, y),)


def _add_n_bounds(node: Node, operands: Sequence[Range]) -> Range | None:
    """No sum of int8 can wrap; those of int32 do."""
    return increasing(node, operands) if node.output.type.dtype is DType.S8 else None


def _add_n_c(node: Node, args: Sequence[str]) -> str:
    y = node.output.type
    if y.dtype.is_float:
        return f"({' + '.join(('0.0f', *args))})"
    if y.dtype is DType.S32:
        total = args[0]
        for x in args[1:]:
            total = f"ll_wrap_add({total}, {x})"
        return total
    offset = (len(args) + 1) * node.inputs[0].type.zero_point
    total = f"ll_wrap_shl({less('(' + ' + '.join(args) + ')', offset)}, {_LEFT})"
    mult, shift = _sum_scale(node)
    return clamped(less(f"ll_requant({total}, {mult}, {shift})", -y.zero_point), y)


# The operators ----------------------------------------------------------------------------


def _register(
    name: str,
    doc: str,
    infer: Callable[[Attrs, Sequence[TensorType]], tuple[TensorType, ...]],
    ref: Ref,
    c: C,
    samples: tuple[Sample, ...],
    oracle: str | dict[DType, str],
    dtypes: tuple[DType, ...] = DTYPES,
    bounds: Bounds | None = None,
) -> Op:
    return register(
        Op(
            name=name,
            doc=doc,
            infer=infer,
            ref=ref,
            grads=element_rules.PAIRS.get(name, ()),
            regions=broadcast_regions,
            bounds=bounds,
            scalar=Scalar(c),
            samples=samples,
            dtypes=dtypes,
            oracle=oracle,
        )
    )


def _sample(a: TensorType, b: TensorType, y: TensorType | None = None, *span: float) -> Sample:
    low, high = span or (None, None)
    return Sample((a, b), NoAttrs(), (y,) if y else (), (), low, high)


div = _register(
    "div",
    "y = a / b; a and b broadcast to y; unscaled integers are cut towards zero",
    _div_infer,
    _div_ref,
    _div_c,
    (
        _sample(s8(5, 3, 7, scale=0.02, zero_point=-1), s8(5, 3, 7, scale=0.05, zero_point=-2),
                s8(5, 3, 7, scale=0.006, zero_point=-3), -1, 127),
        _sample(s8(2, 3, 4, scale=0.1, zero_point=-128), s8(4, scale=0.1, zero_point=-128),
                s8(2, 3, 4, scale=1 / 64), -127, 127),
        _sample(s8(1, scale=3.0, zero_point=-1), s8(6, scale=0.01, zero_point=-1),
                s8(6, scale=5.0), 0, 127),
        _sample(s16(2, 9, scale=0.001), s16(9, scale=0.0004), s16(2, 9, scale=0.0005), 1, 32767),
        _sample(s32(3, 5), s32(3, 1), None, 1, 100000),
        _sample(f32(1, 4, 4, 3), f32(3), None, 0.5, 3.0),
        _sample(f32(), f32(5, 1), None, 1e-30, 1e30),
    ),
    dict.fromkeys(DTYPES, "TFLM DIV") | {DType.S16: "LiteRT DIV"},
)  # fmt: skip

squared_difference = _register(
    "squared_difference",
    "y = (a - b)^2; a and b broadcast to y",
    _div_infer,
    _squared_ref,
    _squared_c,
    (
        _sample(s8(1, 5, 3, 7, scale=0.02, zero_point=4), s8(1, 5, 3, 7, scale=0.05, zero_point=9),
                s8(1, 5, 3, 7, scale=0.6, zero_point=-128)),
        _sample(s8(2, 3, 4, scale=0.1, zero_point=-128), s8(4, scale=0.001, zero_point=127),
                s8(2, 3, 4, scale=3.0, zero_point=127)),
        _sample(s8(1, scale=1e-4), s8(6, scale=20.0), s8(6, scale=1e4, zero_point=-5)),
        _sample(s16(2, 9, scale=0.001), s16(9, scale=0.0004), s16(2, 9, scale=0.05)),
        _sample(s32(3, 5), s32(3, 1)),
        _sample(f32(1, 4, 4, 3), f32(3), None, -3.0, 3.0),
        _sample(f32(4, 1), f32(), None, -1e18, 1e18),
    ),
    "TFLM SQUARED_DIFFERENCE",
)  # fmt: skip

_FLOORED = (
    _sample(s8(3, 5), s8(5), None, 1, 127),
    _sample(s8(2, 7, zero_point=-7), s8(1, 7, zero_point=-7), None, -128, -1),
    _sample(s16(2, 9), s16(2, 9), None, 1, 900),
    _sample(s32(2, 1, 5), s32(3, 1), None, -900, -1),
    _sample(f32(1, 4, 4, 3), f32(3), None, 0.5, 30.0),
    _sample(f32(2, 9), f32(2, 9), None, -7.0, -1e-3),
    _sample(f32(), f32(5, 1), None, 1e-30, 1e30),
)

floor_div = _register(
    "floor_div",
    "y = floor(a / b) of the stored numbers; a and b broadcast to y",
    _of(DTYPES),
    _floored_ref(floatpair.floor_div, np.floor_divide),
    _floored_c("ll_floor_div"),
    _FLOORED,
    dict.fromkeys(DTYPES, "LiteRT FLOOR_DIV") | {DType.F32: "TFLM FLOOR_DIV"},
)

floor_mod = _register(
    "floor_mod",
    "y = a - b * floor(a / b) of the stored numbers; a and b broadcast to y",
    _of((*DTYPES, DType.S64)),
    _floored_ref(floatpair.floor_mod, np.remainder),
    _floored_c("ll_floor_mod"),
    (
        *_FLOORED,
        _sample(s64(3, 2), s64(2), None, 1, 90000),
    ),
    dict.fromkeys((*DTYPES, DType.S64), "LiteRT FLOOR_MOD") | {DType.F32: "TFLM FLOOR_MOD"},
    (*DTYPES, DType.S64),
)

power = _register(
    "pow",
    "y = a ^ b; a and b broadcast to y; integers wrap",
    _of((DType.F32, DType.S32)),
    _pow_ref,
    _pow_c,
    (
        _sample(f32(1, 4, 4, 3), f32(3), None, 0.01, 4.0),
        _sample(f32(2, 9), f32(), None, 0.5, 2.5),
        _sample(f32(5, 1), f32(3), None, 1e-3, 30.0),
        _sample(s32(3, 5), s32(5), None, 0, 9),
        _sample(s32(2, 1, 2), s32(), None, 1, 30),
    ),
    "LiteRT POW",
    (DType.F32, DType.S32),
)

add_n = _register(
    "add_n",
    "y = sum of two to eight operands, which broadcast to y; int8 share one quantisation",
    _add_n_infer,
    _add_n_ref,
    _add_n_c,
    (
        Sample((s8(1, 5, 3, 7, scale=0.02),) * 3, NoAttrs(),
               (s8(1, 5, 3, 7, scale=0.05, zero_point=-3),)),
        Sample((s8(2, 9, scale=0.5, zero_point=-128),) * 8, NoAttrs(), (s8(2, 9, scale=9.0),)),
        Sample((s8(2, 9, scale=0.1, zero_point=5),) * 2, NoAttrs(), (s8(2, 9, scale=0.1),)),
        Sample((f32(3, 5),) * 4, low=-3.0, high=3.0),
        Sample((s32(7),) * 3),
    ),
    {DType.F32: "TFLM ADD_N", DType.S8: "TFLM ADD_N", DType.S32: "LiteRT ADD_N"},
    SUM_DTYPES,
    _add_n_bounds,
)  # fmt: skip

"""What functions of one element do to integers: each `IntRule` is a NumPy meaning and its C.

Any int8 function is a table of 256 bytes: `tabled` makes one of an exact integer rule,
`by_value` of a float function.  An int16 function is interpolated between 513 entries
(`interpolated`), worked out in float32 (`through_float`), or has a rule in fixed point.
Every rule is that of TFLite's reference kernel, where there is one.  Which function has
which rule is not said here but in `ops/unary.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lilliput.errors import TypeMismatch
from lilliput.ir.graph import Node
from lilliput.ir.types import Array, TensorType
from lilliput.ops import fixed_point
from lilliput.ops.common import c_float, check
from lilliput.ops.elementwise import c_int, clamped
from lilliput.ops.fixed_exp import Table, inverse_sqrt, lookup_513, table_513
from lilliput.ops.floatmath import F32
from lilliput.ops.numeric import Ints, quantize_multiplier, requant, wrap32

Meaning = Callable[[Node, Ints], Ints]
"""(node, stored integers) -> stored integers of the result."""

Real = Callable[[Node, F32], F32]
"""(node, real values) -> real values of the result."""


@dataclass(frozen=True)
class IntRule:
    """The integer meaning of a function: stored integers to stored integers, and its C."""

    ref: Meaning
    c: Callable[[Node, str], str]
    tables: Callable[[Node], Mapping[str, Array]] = lambda _: {}


def _types(node: Node) -> tuple[TensorType, TensorType]:
    return node.inputs[0].type, node.output.type


def _less(q: str, zero_point: int) -> str:
    return f"({q} - {c_int(zero_point)})" if zero_point else q


def _offset(scaled: str, y: TensorType) -> str:
    """`scaled` plus the zero point of y, saturated."""
    return clamped(f"ll_wrap_add({scaled}, {y.zero_point})" if y.zero_point else scaled, y)


# Tables -----------------------------------------------------------------------------------


def tabled(rule: Meaning) -> IntRule:
    """An int8 function as a table of 256 bytes, indexed by x + 128."""
    return IntRule(
        rule,
        lambda _, x: f"{{lut}}[{x} + 128]",
        lambda node: {"lut": rule(node, np.arange(-128, 128)).astype(np.int8)},
    )


def by_value(real: Real) -> IntRule:
    """The table of round(real(x) / scale) + zero point, in float32 (TFLite's LUTPopulate)."""

    def rule(node: Node, q: Ints) -> Ints:
        x, y = _types(node)
        with np.errstate(all="ignore"):
            value = np.float32(x.scale) * (q - x.zero_point).astype(np.float32)
            scaled = real(node, value) * (np.float32(1) / np.float32(y.scale))
        return _rounded(scaled, y)

    return tabled(rule)


def _rounded(scaled: F32, y: TensorType) -> Ints:
    """To the nearest integer, ties away from zero, plus y's zero point; NaN is 0."""
    bounded = np.clip(np.nan_to_num(scaled, nan=0.0), -262144.0, 262144.0).astype(np.float64)
    rounded = np.trunc(bounded + np.copysign(0.5, bounded)).astype(np.int64)
    return np.clip(rounded + y.zero_point, *y.dtype.bounds)


def interpolated(real: Real) -> IntRule:
    """An int16 function between 513 values over the input's whole range, in float32."""

    def table(node: Node) -> Table:
        x, y = _types(node)
        for t in (x, y):
            check(t.zero_point == 0, "int16 of a table has a zero point", 0, t.zero_point)
        x_scale, y_scale = np.float32(x.scale), np.float32(y.scale)
        with np.errstate(all="ignore"):
            low, high = x_scale * np.float32(-32768), x_scale * np.float32(32767)
            reach = y_scale * np.float32(32767) - y_scale * np.float32(-32768)
            return table_513(lambda v: real(node, v), low, high, np.float32(65536) / reach)

    return IntRule(
        lambda node, q: lookup_513(q, table(node)),
        lambda _, q: f"ll_lookup_513({q}, {{table}})",
        lambda node: {"table": table(node)},
    )


def through_float(real: Real, c: Callable[[Node, str], str]) -> IntRule:
    """The real function of the dequantised value, quantised as the operator `quantize` does."""

    def rule(node: Node, q: Ints) -> Ints:
        x, y = _types(node)
        with np.errstate(all="ignore"):
            value = np.float32(x.scale) * (q - x.zero_point).astype(np.float32)
            return _rounded(real(node, value) / np.float32(y.scale), y)

    def text(node: Node, q: str) -> str:
        x, y = _types(node)
        value = f"({c_float(x.scale)} * (float)({_less(q, x.zero_point)}))"
        low, high = y.dtype.bounds
        return f"ll_quantize({c(node, value)}, {c_float(y.scale)}, {y.zero_point}, {low}, {high})"

    return IntRule(rule, text)


def plain(ref: Callable[[Ints], Ints], c: str) -> IntRule:
    """Integers that stand for themselves and wrap; `c` has the operand as {0}."""
    return IntRule(lambda _, q: ref(q), lambda _, q: c.format(q))


# Rules that requantise --------------------------------------------------------------------


def ratio(node: Node) -> tuple[int, int]:
    """The multiplier from the input's scale to the output's."""
    x, y = _types(node)
    return quantize_multiplier(x.scale / y.scale)


def _relu_ref(node: Node, q: Ints) -> Ints:
    x, y = _types(node)
    scaled = wrap32(requant(q - x.zero_point, *ratio(node)) + y.zero_point)
    return np.clip(scaled, y.zero_point, y.dtype.bounds[1])


def _relu_c(node: Node, q: str) -> str:
    x, y = _types(node)
    high = y.dtype.bounds[1]
    mult, shift = ratio(node)
    if x.scale == y.scale:
        return f"ll_clamp({q} + {y.zero_point - x.zero_point}, {y.zero_point}, {high})"
    scaled = f"ll_requant({q} - {c_int(x.zero_point)}, {mult}, {shift})"
    return f"ll_clamp(ll_wrap_add({scaled}, {y.zero_point}), {y.zero_point}, {high})"


RELU = IntRule(_relu_ref, _relu_c)


def _step(real: float, t: TensorType) -> int:
    """A bound as the nearest stored integer of `t`."""
    low, high = t.dtype.bounds
    with np.errstate(over="ignore"):
        steps = float(np.float32(real) / np.float32(t.scale))
    steps = min(max(steps, 2.0 * low), 4.0 * high)
    nearest = int(math.copysign(math.floor(abs(steps) + 0.5), steps))
    return min(max(nearest + t.zero_point, low), high)


def _six(node: Node) -> tuple[int, int]:
    """Zero and six in the input's quantisation, in which relu6 stays."""
    x = node.inputs[0].type
    return x.zero_point, _step(6.0, x)


RELU6 = IntRule(
    lambda node, q: np.clip(q, *_six(node)),
    lambda node, q: "ll_clamp({}, {}, {})".format(q, *_six(node)),
)


def limited(low: float, high: float) -> IntRule:
    """Between two reals: requantised, then limited to their steps in the output's scale.

    The quotient of the scales is rounded to float32, as LiteRT does it.
    """

    def bounds(y: TensorType) -> tuple[int, int]:
        return _step(low, y), _step(high, y)

    def scaling(x: TensorType, y: TensorType) -> tuple[int, int]:
        with np.errstate(over="ignore", under="ignore"):
            return quantize_multiplier(float(np.float32(x.scale) / np.float32(y.scale)))

    def ref(node: Node, q: Ints) -> Ints:
        x, y = _types(node)
        scaled = wrap32(requant(q - x.zero_point, *scaling(x, y)) + y.zero_point)
        return np.clip(scaled, *bounds(y))

    def c(node: Node, q: str) -> str:
        x, y = _types(node)
        mult, shift = scaling(x, y)
        scaled = f"ll_requant({_less(q, x.zero_point)}, {mult}, {shift})"
        least, most = bounds(y)
        return f"ll_clamp(ll_wrap_add({scaled}, {y.zero_point}), {least}, {most})"

    return IntRule(ref, c)


def magnitude(node: Node, q: Ints) -> Ints:
    """|x|, rescaled where the scales differ."""
    x, y = _types(node)
    value = np.abs(q - x.zero_point)
    if x.scale != y.scale:
        value = requant(value, *ratio(node))
    return np.clip(wrap32(value + y.zero_point), *y.dtype.bounds)


def magnitude_c(node: Node, q: str) -> str:
    """The C of `magnitude`."""
    x, y = _types(node)
    value = f"ll_magnitude({_less(q, x.zero_point)})"
    if x.scale != y.scale:
        value = "ll_requant({}, {}, {})".format(value, *ratio(node))
    return _offset(value, y)


@dataclass(frozen=True)
class Slopes:
    """(mult, shift) of a value that is not negative, and of a negative one times its slope.

    A negative multiplier is applied as its magnitude, and the result negated: ties of the
    negative product go up before the sign changes.
    """

    above: tuple[int, int]
    below: tuple[int, int]

    def ref(self, value: Ints, sloped: Ints, y: TensorType) -> Ints:
        mult, shift = self.below
        below = requant(sloped, abs(mult), shift)
        below = wrap32(-below) if mult < 0 else below
        scaled = np.where(value >= 0, requant(value, *self.above), below)
        return np.clip(wrap32(scaled + y.zero_point), *y.dtype.bounds)

    def c(self, value: str, sloped: str, y: TensorType) -> str:
        (m1, s1), (m2, s2) = self.above, self.below
        return _offset(f"ll_slopes({value}, {sloped}, {m1}, {s1}, {m2}, {s2})", y)


def leaky(alpha: Callable[[Node], float]) -> IntRule:
    """x, or alpha x where it is negative: one multiplier for each sign, in double."""

    def slopes(node: Node) -> Slopes:
        x, y = _types(node)
        slope = float(np.float32(alpha(node)))
        return Slopes(ratio(node), quantize_multiplier(x.scale * slope / y.scale))

    def ref(node: Node, q: Ints) -> Ints:
        x, y = _types(node)
        value = q - x.zero_point
        return slopes(node).ref(value, value, y)

    def c(node: Node, q: str) -> str:
        x, y = _types(node)
        value = _less(q, x.zero_point)
        return slopes(node).c(value, value, y)

    return IntRule(ref, c)


# Roots ------------------------------------------------------------------------------------

ROOT_BITS = 20
"""Fraction bits of 1/sqrt between its multiplier and that of the output's scale."""


def _inverse_root(node: Node) -> tuple[int, int]:
    x, y = _types(node)
    mult, shift = quantize_multiplier(1.0 / (math.sqrt(x.scale) * y.scale))
    return (mult, shift - ROOT_BITS) if shift - ROOT_BITS >= -31 else (0, 0)


def rsqrt(node: Node, q: Ints) -> Ints:
    """1/sqrt(x) in fixed point; the largest integer where x is not positive."""
    x, y = _types(node)
    value = q - x.zero_point
    mult, shift = inverse_sqrt(np.maximum(value, 1))
    root = requant(np.ones_like(value), mult, shift + ROOT_BITS)
    result = wrap32(requant(root, *_inverse_root(node)) + y.zero_point)
    low, high = y.dtype.bounds
    return np.where(value <= 0, high, np.clip(result, low, high))


def rsqrt_c(node: Node, q: str) -> str:
    """The C of `rsqrt`."""
    x, y = _types(node)
    value = _less(q, x.zero_point)
    mult, shift = _inverse_root(node)
    low, high = y.dtype.bounds
    return f"ll_rsqrt_int({value}, {mult}, {shift}, {y.zero_point}, {low}, {high})"


def sqrt(node: Node, q: Ints) -> Ints:
    """The root in steps of y, cut towards zero, in float32; 0 where x is negative."""
    x, y = _types(node)
    with np.errstate(over="ignore"):
        value = np.float32(x.scale) * np.maximum(q - x.zero_point, 0).astype(np.float32)
        steps = np.minimum(np.sqrt(value) / np.float32(y.scale), np.float32(65536))
    return np.clip(np.trunc(steps).astype(np.int64) + y.zero_point, *y.dtype.bounds)


def sqrt_c(node: Node, q: str) -> str:
    """The C of `sqrt`."""
    x, y = _types(node)
    value = f"{c_float(x.scale)} * (float)ll_max({_less(q, x.zero_point)}, 0)"
    return _offset(f"ll_truncate(ll_sqrtf({value}) / {c_float(y.scale)}, 0, 65536)", y)


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
    real = x.scale * (1 << 27)
    mult, shift = quantize_multiplier(real)
    # of the shift before it saturates: no step of a large scale is inside, not even 0
    radius = math.floor(15 * 2**27 / 2.0 ** max(shift, math.frexp(real)[1]))
    inside = np.abs(value) < radius
    outside = np.where(inside, 0, np.where(value <= 0, -1, 1))
    return outside, requant(np.where(inside, value, 0), mult, shift)


def logistic(node: Node, q: Ints) -> Ints:
    """1 / (1 + exp(-x)) of int8, to scale 1/256 and zero point -128."""
    _check_output(node, 2.0**-8, -128)
    outside, x = _in_q27(node, q)
    y = (fixed_point.logistic_q27(x) + (1 << 22)) >> 23
    return np.where(outside != 0, np.where(outside < 0, -128, 127), np.clip(y - 128, -128, 127))


def tanh(node: Node, q: Ints) -> Ints:
    """tanh of int8, to scale 1/128 and zero point 0."""
    _check_output(node, 2.0**-7, 0)
    outside, x = _in_q27(node, q)
    y = fixed_point.tanh_q27(x)
    rounded = np.where(y >= 0, (y + (1 << 23)) >> 24, -((-y + (1 << 23)) >> 24))
    return np.where(outside != 0, np.where(outside < 0, -128, 127), np.clip(rounded, -128, 127))


def hard_swish(node: Node, q: Ints) -> Ints:
    """x * relu6(x + 3) / 6 of int8 with multipliers of 15 bits."""
    x, y = _types(node)
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


def sigmoidal(
    name: str, function: Callable[[Ints, int, int], Ints], shifts: tuple[int, ...]
) -> IntRule:
    """logistic or tanh of int16 with the shared table, in Q0.15; `name` is its C."""

    def scale(node: Node) -> tuple[int, int]:
        _check_output(node, 2.0**-15, 0)
        zero_point = node.inputs[0].type.zero_point
        check(zero_point == 0, "int16 operand has a zero point", 0, zero_point)
        return fixed_point.input_s16(node.inputs[0].type.scale, shifts)

    return IntRule(
        lambda node, q: function(q, *scale(node)),
        lambda node, q: "{}({}, {}, {}, {{sigmoid}})".format(name, q, *scale(node)),
        lambda _: {"sigmoid": fixed_point.SIGMOID_TABLE},
    )

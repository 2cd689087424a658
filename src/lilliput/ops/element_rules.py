"""Gradient rules of element-wise operators: functions of one element, of two, and selections.

SLOPES has a row for each function of `unary.ROWS`; None where the slope is zero or is not defined
everywhere else: no gradient passes.  A slope is written over the result where it can be, so that
the operand need not be kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node, Value
from lilliput.ir.op import Grad
from lilliput.ir.types import DType
from lilliput.ops.gradient import (
    add,
    broadcast_to,
    call,
    column,
    constant,
    div,
    mul,
    neg,
    operand,
    passes,
    real,
    scaled,
    shifted,
    sub,
    sum_to,
    unbroadcast,
    zero_unless,
)

Slope = Callable[[Builder, Node], Value]
"""(builder, node) -> the derivative of the result by the operand, of its shape."""


def _x(b: Builder, node: Node) -> Value:
    return real(b, node.inputs[0])


def _y(b: Builder, node: Node) -> Value:
    return real(b, node.output)


def _times(slope: Slope) -> Grad:
    return lambda b, node, dys: mul(b, dys[0], slope(b, node))


def _between(low: float, high: float) -> Grad:
    """Of an activation that limits: what lies strictly inside passes, judged by the result."""

    def rule(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
        return _limited(b, _y(b, node), dys[0], low, high)

    return rule


def _limited(b: Builder, y: Value, dy: Value, low: float, high: float) -> Value:
    if low > -math.inf:
        dy = zero_unless(b, call(b, "greater", y, constant(b, low)), dy)
    if high < math.inf:
        dy = zero_unless(b, call(b, "less", y, constant(b, high)), dy)
    return dy


def _either(b: Builder, condition: Value, yes: Value, no: Value) -> Value:
    return call(b, "select", condition, yes, no)


def _logistic(b: Builder, node: Node) -> Value:
    y = _y(b, node)
    return mul(b, y, sub(b, constant(b, 1.0), y))


def _tanh(b: Builder, node: Node) -> Value:
    return sub(b, constant(b, 1.0), call(b, "square", _y(b, node)))


def _log(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """dy / x where x is positive, else 0."""
    x = _x(b, node)
    return _where_positive(b, x, div(b, dys[0], x))


def _sqrt(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """dy / 2y where y is positive, else 0: finite at 0, where norms and deviations start."""
    y = _y(b, node)
    return _where_positive(b, y, div(b, scaled(b, dys[0], 0.5), y))


def _where_positive(b: Builder, v: Value, dx: Value) -> Value:
    return zero_unless(b, call(b, "greater", v, constant(b, 0.0)), dx)


def _rsqrt(b: Builder, node: Node) -> Value:
    y = _y(b, node)
    return scaled(b, mul(b, mul(b, y, y), y), -0.5)


def _erf(b: Builder, node: Node) -> Value:
    x = _x(b, node)
    return scaled(b, call(b, "exp", neg(b, call(b, "square", x))), 2 / math.sqrt(math.pi))


def _elu(b: Builder, node: Node) -> Value:
    y = _y(b, node)
    below = call(b, "less", y, constant(b, 0.0))
    return _either(b, below, shifted(b, y, 1.0), constant(b, 1.0))


def _leaky(b: Builder, node: Node) -> Value:
    attrs: Any = node.attrs
    below = call(b, "less", _x(b, node), constant(b, 0.0))
    return _either(b, below, constant(b, attrs.alpha), constant(b, 1.0))


def _hard_swish(b: Builder, node: Node) -> Value:
    """0 below -3, 1 above 3, (2x + 3) / 6 between."""
    x = _x(b, node)
    inner = scaled(b, shifted(b, scaled(b, x, 2.0), 3.0), 1 / 6)
    rising = _either(b, call(b, "less", x, constant(b, 3.0)), inner, constant(b, 1.0))
    return zero_unless(b, call(b, "greater", x, constant(b, -3.0)), rising)


def _gelu(b: Builder, node: Node) -> Value:
    attrs: Any = node.attrs
    x = _x(b, node)
    return _gelu_tanh(b, x) if attrs.approximate else _gelu_erf(b, x)


def _gelu_erf(b: Builder, x: Value) -> Value:
    """Phi(x) + x phi(x)."""
    below = scaled(b, shifted(b, call(b, "erf", scaled(b, x, math.sqrt(0.5))), 1.0), 0.5)
    density = call(b, "exp", scaled(b, call(b, "square", x), -0.5))
    return add(b, below, mul(b, scaled(b, x, 1 / math.sqrt(2 * math.pi)), density))


def _gelu_tanh(b: Builder, x: Value) -> Value:
    """(1 + t) / 2 + x (1 - t^2) u' / 2 with t = tanh(u), u = sqrt(2/pi) (x + 0.044715 x^3)."""
    root = math.sqrt(2 / math.pi)
    square = call(b, "square", x)
    u = mul(b, scaled(b, x, root), shifted(b, scaled(b, square, 0.044715), 1.0))
    t = call(b, "tanh", u)
    slope = scaled(b, shifted(b, scaled(b, square, 3 * 0.044715), 1.0), 0.5 * root)
    bent = mul(b, mul(b, x, slope), sub(b, constant(b, 1.0), call(b, "square", t)))
    return add(b, scaled(b, shifted(b, t, 1.0), 0.5), bent)


SLOPES: Mapping[str, Grad | None] = {
    "relu": _between(0.0, math.inf),
    "relu6": _between(0.0, 6.0),
    "relu_n1_to_1": _between(-1.0, 1.0),
    "relu_0_to_1": _between(0.0, 1.0),
    "logistic": _times(_logistic),
    "tanh": _times(_tanh),
    "hard_swish": _times(_hard_swish),
    "exp": _times(_y),
    "log": _log,
    "sqrt": _sqrt,
    "rsqrt": _times(_rsqrt),
    "square": _times(lambda b, node: scaled(b, _x(b, node), 2.0)),
    "abs": _times(lambda b, node: call(b, "sign", _x(b, node))),
    "neg": lambda b, _, dys: neg(b, dys[0]),
    "sign": None,
    "erf": _times(_erf),
    "floor": None,
    "ceil": None,
    "round": None,
    "sin": _times(lambda b, node: call(b, "cos", _x(b, node))),
    "cos": _times(lambda b, node: neg(b, call(b, "sin", _x(b, node)))),
    "elu": _times(_elu),
    "gelu": _times(_gelu),
    "leaky_relu": _times(_leaky),
}


def clamped(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """Bounds of floats are real; integers that limit are known to the driver by their table."""
    attrs: Any = node.attrs
    type = node.output.type
    low, high = attrs.low, attrs.high
    if type.quant is not None:
        low, high = ((v - type.zero_point) * type.scale for v in (low, high))
    return _limited(b, _y(b, node), dys[0], low, high)


# Two operands -----------------------------------------------------------------------------


def _other(i: int) -> Grad:
    """Of operand i of a product."""

    def rule(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
        return sum_to(b, mul(b, dys[0], real(b, node.inputs[1 - i])), operand(node, i))

    return rule


def _numerator(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    return sum_to(b, div(b, dys[0], real(b, node.inputs[1])), operand(node, 0))


def _denominator(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """-dy * y / b."""
    share = div(b, mul(b, dys[0], _y(b, node)), real(b, node.inputs[1]))
    return sum_to(b, neg(b, share), operand(node, 1))


def _difference(sign: float) -> Grad:
    def rule(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
        apart = sub(b, real(b, node.inputs[0]), real(b, node.inputs[1]))
        i = 0 if sign > 0 else 1
        return sum_to(b, mul(b, dys[0], scaled(b, apart, 2 * sign)), operand(node, i))

    return rule


def _chosen(i: int, op: str) -> Grad:
    """Of operand i of a maximum or minimum: all of it where it wins, none in a tie that it loses
    to the operand before it."""

    def rule(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
        one, other = real(b, node.inputs[i]), real(b, node.inputs[1 - i])
        wins = call(b, op if i else f"{op}_equal", one, other)
        return sum_to(b, zero_unless(b, wins, dys[0]), operand(node, i))

    return rule


def _power(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """p x^(p-1)."""
    x, p = (real(b, v) for v in node.inputs)
    slope = mul(b, p, call(b, "pow", x, shifted(b, p, -1.0)))
    return sum_to(b, mul(b, dys[0], slope), operand(node, 0))


def _exponent(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """y log(x) where x is positive, else 0."""
    x = real(b, node.inputs[0])
    slope = mul(b, _y(b, node), call(b, "log", x))
    return sum_to(b, mul(b, dys[0], _where_positive(b, x, slope)), operand(node, 1))


def _modulus(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """-floor(a / b)."""
    times = call(b, "floor_div", *(real(b, v) for v in node.inputs))
    return sum_to(b, neg(b, mul(b, dys[0], times)), operand(node, 1))


PAIRS: Mapping[str, tuple[Grad | None, ...]] = {
    "add": (unbroadcast(0), unbroadcast(1)),
    "sub": (unbroadcast(0), unbroadcast(1, -1.0)),
    "mul": (_other(0), _other(1)),
    "div": (_numerator, _denominator),
    "squared_difference": (_difference(1.0), _difference(-1.0)),
    "maximum": (_chosen(0, "greater"), _chosen(1, "greater")),
    "minimum": (_chosen(0, "less"), _chosen(1, "less")),
    "pow": (_power, _exponent),
    "floor_div": (None, None),
    "floor_mod": (unbroadcast(0), _modulus),
    "add_n": tuple(unbroadcast(i) for i in range(8)),
}


def _branch(i: int) -> Grad:
    def rule(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
        zero = constant(b, 0.0)
        yes, no = (dys[0], zero) if i == 1 else (zero, dys[0])
        return sum_to(b, call(b, "select", node.inputs[0], yes, no), operand(node, i))

    return rule


SELECT: tuple[Grad | None, ...] = (None, _branch(1), _branch(2))


def _prelu_x(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    x, alpha = (real(b, v) for v in node.inputs)
    below = call(b, "less", x, constant(b, 0.0))
    return call(b, "select", below, mul(b, dys[0], alpha), dys[0])


def _prelu_alpha(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    x = real(b, node.inputs[0])
    below = call(b, "less", x, constant(b, 0.0))
    return sum_to(b, zero_unless(b, below, mul(b, dys[0], x)), operand(node, 1))


def converted(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """Of a cast, which takes the stored number without its scale; none passes where it cuts off
    a fraction or tells zero from all else."""
    x, y = node.inputs[0].type, node.output.type
    if y.dtype is DType.BOOL or (x.dtype.is_float and not y.dtype.is_float):
        return broadcast_to(b, constant(b, 0.0), x.shape)
    return dys[0] if x.quant is None else mul(b, dys[0], constant(b, 1 / column(x)))


PRELU: tuple[Grad | None, ...] = (_prelu_x, _prelu_alpha)
PASSES: tuple[Grad | None, ...] = (passes,)
"""Of operators that change how a number is stored, not which it is."""

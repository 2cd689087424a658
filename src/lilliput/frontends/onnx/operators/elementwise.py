"""Element-wise operators: arithmetic, comparisons, activations, casts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from lilliput.frontends import integers
from lilliput.frontends.onnx.call import Call
from lilliput.frontends.onnx.tensors import Tensor, numpy_type
from lilliput.ir import Attrs, DType, Op, Value
from lilliput.ops.arithmetic import div, floor_mod, power
from lilliput.ops.compare import comparisons, maximum, minimum, select
from lilliput.ops.elementwise import Clamp, add, broadcast_shape, clamp, mul, sub
from lilliput.ops.logical import logical_and, logical_not, logical_or
from lilliput.ops.prelu import prelu
from lilliput.ops.quantize import To, cast
from lilliput.ops.shape import Broadcast, broadcast
from lilliput.ops.unary import UNARY, Gelu, Slope

Build = Callable[[Call], Tensor | list[Tensor]]
LARGEST = 3.4e38
LOGISTIC, TANH, EXP, LOG, RELU = (UNARY[n] for n in ("logistic", "tanh", "exp", "log", "relu"))


def constant(call: Call, value: float, suffix: str) -> Value:
    """A number as an operand."""
    return call.place.constant(np.array([value], np.float32), suffix)


# Two operands -----------------------------------------------------------------------------


def _pair(op: Op, quantised: bool = False) -> Build:
    """add, sub, mul: in int8 where both operands and the result are quantised."""

    def build(call: Call) -> Tensor:
        if quantised and call.target is not None:
            a, b = call.integers(0), call.integers(1)
            if a is not None and b is not None:
                y = integers.pair(call.place, op, a, b, call.target)
                return Tensor(call.output, integers=y)
        return call.result(call.emit(op, (call.value(0), call.value(1))))

    return build


def _chain(op: Op) -> Build:
    """Any number of operands, two at a time."""

    def build(call: Call) -> Tensor:
        values = [call.value(k) for k in range(len(call.inputs))]
        y = values[0]
        for k, value in enumerate(values[1:], 2):
            last = k == len(values)
            y = call.emit(op, (y, value)) if last else call.place.between(op, (y, value))
        return call.result(y) if len(values) > 1 else Tensor(call.output, value=y)

    return build


def _mod(call: Call) -> Tensor:
    if call.attr("fmod", 0):
        raise call.refuse("remainder with the sign of the dividend (fmod=1)", expected="fmod=0")
    return call.result(call.emit(floor_mod, (call.value(0), call.value(1))))


def _pow(call: Call) -> Tensor:
    exponent, x = call.data(1), call.value(0)
    if exponent is not None and exponent.size == 1 and call.tensor(0).dtype is DType.F32:
        number = float(exponent.reshape(-1)[0])
        known = {2.0: UNARY["square"], 0.5: UNARY["sqrt"], -0.5: UNARY["rsqrt"]}
        if number in known:
            return call.result(call.emit(known[number], (x,)))
        if number == 3.0:
            square = call.place.between(UNARY["square"], (x,))
            return call.result(call.emit(mul, (square, x)))
    other = call.value(1)
    if other.type.dtype is not x.type.dtype:
        other = call.place.between(cast, (other,), To(x.type.dtype))
    return call.result(call.emit(power, (x, other)))


def _where(call: Call) -> Tensor:
    return call.result(call.emit(select, tuple(call.value(k) for k in range(3))))


def _prelu(call: Call) -> Tensor:
    return call.result(call.emit(prelu, (call.value(0), call.value(1))))


# One operand ------------------------------------------------------------------------------

Attributes = Callable[[Call], Attrs]
INTEGER = integers.ANY_SCALE | {"logistic", "tanh"}
"""Functions that have an int8 rule."""


def _unary(name: str, attrs: Attributes | None = None) -> Build:
    op = UNARY[name]

    def build(call: Call) -> Tensor:
        a = attrs(call) if attrs else None
        x, target = call.tensor(0).integers, call.target
        if x is not None and target is not None and name in INTEGER:
            y = integers.curve(call.place, op, x, target, a)
            if y is not None:
                return Tensor(call.output, integers=y)
        return call.result(call.emit(op, (call.value(0),), a))

    return build


def cut(call: Call, low: float, high: float) -> Tensor:
    """min(max(x, low), high)."""
    x = call.tensor(0).integers
    if x is not None:
        y = integers.cut(call.place, x, low, high, call.target)
        if y is not None:
            return Tensor(call.output, integers=y)
    return call.result(call.emit(clamp, (call.value(0),), Clamp(low, high)))


def _relu(call: Call) -> Tensor:
    if call.tensor(0).integers is not None:
        return cut(call, 0.0, math.inf)
    return call.result(call.emit(RELU, (call.value(0),)))


def _clip(call: Call) -> Tensor:
    low, high = call.attr("min", -math.inf), call.attr("max", math.inf)
    if call.has(1):
        low = float(call.constant(1, "lower bound").reshape(-1)[0])
    if call.has(2):
        high = float(call.constant(2, "upper bound").reshape(-1)[0])
    if low > high:
        low = high
    if call.tensor(0).dtype is not DType.F32:
        bounds = Clamp(low, high)
        return call.result(call.emit(clamp, (call.value(0),), bounds))
    # what exporters write for no bound is the largest float
    low, high = (math.copysign(math.inf, b) if abs(b) > LARGEST else b for b in (low, high))
    return cut(call, low, high)


def _hard_sigmoid(call: Call) -> Tensor:
    alpha, beta = call.attr("alpha", 0.2), call.attr("beta", 0.5)
    whole, target = call.tensor(0).integers, call.target
    if whole is not None and target is not None:
        y = integers.hard_sigmoid(call.place, whole, target, alpha, beta)
        if y is not None:
            return Tensor(call.output, integers=y)
    p, x = call.place, call.value(0)
    line = p.between(
        add,
        (p.between(mul, (x, constant(call, alpha, "alpha"))), constant(call, beta, "beta")),
    )
    return call.result(call.emit(clamp, (line,), Clamp(0.0, 1.0)))


def _softplus_value(call: Call) -> Value:
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|))."""
    p, x = call.place.inner("softplus"), call.value(0)
    small = p.between(EXP, (p.between(UNARY["neg"], (p.between(UNARY["abs"], (x,)),)),))
    log = p.between(LOG, (p.between(add, (small, constant(call, 1.0, "one"))),))
    return p.between(add, (p.between(RELU, (x,)), log), suffix="sum")


def _softplus(call: Call) -> Tensor:
    return call.result(_softplus_value(call))


def _mish(call: Call) -> Tensor:
    gate = call.place.between(TANH, (_softplus_value(call),))
    return call.result(call.emit(mul, (call.value(0), gate)))


def _swish(call: Call) -> Tensor:
    """x * logistic(alpha * x)."""
    x, alpha = call.value(0), call.attr("alpha", 1.0)
    p, inner = call.place, x
    if alpha != 1.0:
        inner = p.between(mul, (x, constant(call, alpha, "alpha")), suffix="scaled")
    return call.result(call.emit(mul, (x, p.between(LOGISTIC, (inner,)))))


def _elu(call: Call) -> Tensor:
    if call.attr("alpha", 1.0) != 1.0:
        raise call.refuse("elu of this slope", expected="alpha 1", found=call.attr("alpha", 1.0))
    return _as_tensor(_unary("elu")(call))


def _as_tensor(found: Tensor | list[Tensor]) -> Tensor:
    assert isinstance(found, Tensor)
    return found


def _gelu(call: Call) -> Tensor:
    approximate = call.attr("approximate", "none") == "tanh"
    return _as_tensor(_unary("gelu", lambda _: Gelu(approximate))(call))


def _selu(call: Call) -> Tensor:
    alpha = call.attr("alpha", 1.67326319217681884765625)
    gamma = call.attr("gamma", 1.05070102214813232421875)
    p, x = call.place, call.value(0)
    low = p.between(UNARY["elu"], (p.between(clamp, (x,), Clamp(high=0.0)),))
    scaled = p.between(mul, (low, constant(call, alpha, "alpha")), suffix="below")
    both = p.between(add, (p.between(RELU, (x,)), scaled))
    return call.result(call.emit(mul, (both, constant(call, gamma, "gamma"))))


def _softsign(call: Call) -> Tensor:
    x, p = call.value(0), call.place
    below = p.between(add, (p.between(UNARY["abs"], (x,)), constant(call, 1.0, "one")))
    return call.result(call.emit(div, (x, below)))


def _reciprocal(call: Call) -> Tensor:
    return call.result(call.emit(div, (constant(call, 1.0, "one"), call.value(0))))


def _cast(call: Call) -> Tensor:
    wanted = DType.of(numpy_type(call.attr("to", 1), call.where))
    x = call.value(0)
    if x.type.dtype is wanted:
        return Tensor(call.output, value=x)
    return call.result(call.emit(cast, (x,), To(wanted)))


def _same(call: Call) -> Tensor:
    """Nodes that do nothing at inference: their result is their operand."""
    t = call.tensor(0)
    return Tensor(call.output, t.data, t.value, t.stored, t.integers)


def _dropout(call: Call) -> list[Tensor]:
    made = [_same(call)]
    if len(call.node.output) > 1 and call.node.output[1]:
        made.append(call.known(np.ones(call.shape(0), np.bool_), 1))
    return made


def _expand(call: Call) -> Tensor:
    shape = broadcast_shape((call.shape(0), call.list(1, "shape")))
    return call.like(call.emit(broadcast, (call.moved(0),), Broadcast(shape)), 0)


READ: Mapping[str, Build] = {
    "Abs": _unary("abs"),
    "Add": _pair(add, quantised=True),
    "And": _pair(logical_and),
    "Cast": _cast,
    "Ceil": _unary("ceil"),
    "Clip": _clip,
    "Cos": _unary("cos"),
    "Div": _pair(div),
    "Dropout": _dropout,
    "Elu": _elu,
    "Equal": _pair(comparisons["equal"]),
    "Erf": _unary("erf"),
    "Exp": _unary("exp"),
    "Expand": _expand,
    "Floor": _unary("floor"),
    "Gelu": _gelu,
    "Greater": _pair(comparisons["greater"]),
    "GreaterOrEqual": _pair(comparisons["greater_equal"]),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _unary("hard_swish"),
    "Identity": _same,
    "LeakyRelu": _unary("leaky_relu", lambda call: Slope(call.attr("alpha", 0.01))),
    "Less": _pair(comparisons["less"]),
    "LessOrEqual": _pair(comparisons["less_equal"]),
    "Log": _unary("log"),
    "Max": _chain(maximum),
    "Min": _chain(minimum),
    "Mish": _mish,
    "Mod": _mod,
    "Mul": _pair(mul, quantised=True),
    "Neg": _unary("neg"),
    "Not": lambda call: call.result(call.emit(logical_not, (call.value(0),))),
    "Or": _pair(logical_or),
    "PRelu": _prelu,
    "Pow": _pow,
    "QuickGelu": _swish,
    "Reciprocal": _reciprocal,
    "Relu": _relu,
    "Round": _unary("round"),
    "Selu": _selu,
    "Sigmoid": _unary("logistic"),
    "Sign": _unary("sign"),
    "Sin": _unary("sin"),
    "Softplus": _softplus,
    "Softsign": _softsign,
    "Sqrt": _unary("sqrt"),
    "Sub": _pair(sub, quantised=True),
    "Sum": _chain(add),
    "Swish": _swish,
    "Tanh": _unary("tanh"),
    "Where": _where,
    "Xor": _pair(comparisons["not_equal"]),
}

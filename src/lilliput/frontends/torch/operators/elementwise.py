"""Element-wise operators: arithmetic with type promotion, comparisons, logic, activations."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from lilliput.frontends.torch.call import Build, Call
from lilliput.frontends.torch.program import Ref
from lilliput.ir import Attrs, DType, Op, Value
from lilliput.ops.arithmetic import div, floor_div, floor_mod, power
from lilliput.ops.compare import comparisons, maximum, minimum, select
from lilliput.ops.elementwise import Clamp, add, clamp, mul, sub
from lilliput.ops.logical import logical_and, logical_not, logical_or
from lilliput.ops.prelu import prelu
from lilliput.ops.shape import Broadcast, broadcast
from lilliput.ops.unary import UNARY, Gelu, Slope

ABS, EXP, LOG, LOGISTIC, TANH = (UNARY[n] for n in ("abs", "exp", "log", "logistic", "tanh"))
ORDER = (DType.BOOL, DType.U8, DType.S32, DType.S64, DType.F32)
"""Of types that meet in an operator, the one furthest behind is computed with."""
A, B = "self", "other"


# Two operands -----------------------------------------------------------------------------


def _common(call: Call, *names: str) -> DType:
    """The type that operands are compared in: a number does not change a tensor's kind."""
    tensors = [call.value(n).type.dtype for n in names if isinstance(call.get(n), Ref)]
    real = any(isinstance(call.get(n), float) for n in names)
    return max([*tensors, *([DType.F32] if real else [])], key=ORDER.index)


def _binary(op: Op, a: str = A, b: str = B) -> Build:
    def build(call: Call) -> Value:
        dtype = call.out.dtype
        x, y = call.operand(a, dtype), call.operand(b, dtype)
        alpha = call.number("alpha", 1.0)
        if alpha != 1.0:
            factor = call.constant(np.array([alpha]).astype(dtype.numpy), "alpha")
            y = call.between(mul, (y, factor), suffix="scaled")
        return call.emit(op, (x, y))

    return build


def _divide(call: Call) -> Value:
    mode, dtype = call.get("rounding_mode"), call.out.dtype
    x, y = call.operand(A, dtype), call.operand(B, dtype)
    if mode == "floor":
        return call.emit(floor_div, (x, y))
    if mode == "trunc" and dtype.is_float:
        return _towards_zero(call, call.between(div, (x, y)))
    return call.emit(div, (x, y))


def _towards_zero(call: Call, x: Value) -> Value:
    """floor of what is not negative, ceil of what is."""
    below = call.between(comparisons["less"], (x, call.real(0, "zero")), suffix="below")
    return call.emit(
        select,
        (below, call.between(UNARY["ceil"], (x,)), call.between(UNARY["floor"], (x,))),
    )


def _fmod(call: Call) -> Value:
    """a - b * trunc(a / b), through magnitudes: |a| mod |b| with the sign of a."""
    dtype = call.out.dtype
    x, y = call.operand(A, dtype), call.operand(B, dtype)
    rest = call.between(
        floor_mod, (call.between(ABS, (x,), suffix="a"), call.between(ABS, (y,), suffix="b"))
    )
    zero = call.constant(np.zeros(1, dtype.numpy), "zero")
    below = call.between(comparisons["less"], (x, zero), suffix="below")
    return call.emit(select, (below, call.between(UNARY["neg"], (rest,)), rest))


def _power(call: Call) -> Value:
    exponent, dtype = call.get("exponent"), call.out.dtype
    if exponent == 2:
        return call.emit(UNARY["square"], (call.operand(A, dtype),))
    if exponent == 0.5 and dtype.is_float:
        return call.emit(UNARY["sqrt"], (call.operand(A, dtype),))
    if exponent == -0.5 and dtype.is_float:
        return call.emit(UNARY["rsqrt"], (call.operand(A, dtype),))
    return call.emit(power, (call.operand(A, dtype), call.operand("exponent", dtype)))


def _compare(name: str) -> Build:
    op = comparisons[name]

    def build(call: Call) -> Value:
        dtype = _common(call, A, B)
        return call.emit(op, (call.operand(A, dtype), call.operand(B, dtype)))

    return build


def _truth(call: Call, name: str) -> Value:
    """A tensor as bools: what is not zero."""
    x = call.value(name)
    if x.type.dtype is DType.BOOL:
        return x
    zero = call.constant(np.zeros(1, x.type.dtype.numpy), "zero")
    return call.between(comparisons["not_equal"], (x, zero), suffix=f"{name}/truth")


def _logical(op: Op) -> Build:
    return lambda call: call.emit(op, (_truth(call, A), _truth(call, B)))


def _bitwise(build: Build) -> Build:
    """Of bools; integers have no such operators here."""

    def checked(call: Call) -> Value:
        if call.out.dtype is not DType.BOOL:
            raise call.refuse("bits of integers", expected="bool", found=call.out.dtype.value)
        made = build(call)
        assert isinstance(made, Value)
        return made

    return checked


def _where(call: Call) -> Value:
    dtype = call.out.dtype
    x, y = call.operand("self", dtype), call.operand("other", dtype)
    return call.emit(select, (_truth(call, "condition"), x, y))


# One operand ------------------------------------------------------------------------------


def _unary(op: Op, attrs: Attrs | None = None) -> Build:
    return lambda call: call.emit(op, (call.operand(A, call.out.dtype),), attrs)


def _limited(low: str, high: str) -> Build:
    """min(max(x, low), high) where each is a number, a tensor, or left out."""

    def build(call: Call) -> Value:
        dtype = call.out.dtype
        if isinstance(call.get(low), Ref) or isinstance(call.get(high), Ref) or dtype is DType.S64:
            x = call.operand(A, dtype)
            if call.has(low):
                bound = call.operand(low, dtype)
                x = (call.between if call.has(high) else call.emit)(maximum, (x, bound))
            return call.emit(minimum, (x, call.operand(high, dtype))) if call.has(high) else x
        bounds = Clamp(call.number(low, -math.inf), call.number(high, math.inf))
        return call.emit(clamp, (call.operand(A, dtype),), bounds)

    return build


def _range(low: float, high: float = math.inf) -> Build:
    return _unary(clamp, Clamp(low, high))


def _relu(call: Call) -> Value:
    if call.out.dtype.is_float:
        return call.emit(clamp, (call.value(A),), Clamp(0.0))
    zero = call.constant(np.zeros(1, call.out.dtype.numpy), "zero")
    return call.emit(maximum, (call.value(A), zero))


def _hard_sigmoid(call: Call) -> Value:
    moved = call.between(add, (call.value(A), call.real(3, "three")))
    limited = call.between(clamp, (moved,), Clamp(0, 6))
    return call.emit(mul, (limited, call.real(1 / 6, "sixth")))


def _silu(call: Call) -> Value:
    x = call.value(A)
    return call.emit(mul, (x, call.between(LOGISTIC, (x,))))


def _softplus(call: Call, x: Value, suffix: str = "") -> Value:
    """max(x, 0) + log(1 + exp(-|x|)): no intermediate result overflows."""
    small = call.between(EXP, (call.between(UNARY["neg"], (call.between(ABS, (x,)),)),))
    rest = call.between(LOG, (call.between(add, (small, call.real(1, "one")), suffix="sum"),))
    above = call.between(clamp, (x,), Clamp(0.0), "above")
    operands = (above, rest)
    return call.between(add, operands, None, suffix) if suffix else call.emit(add, operands)


def _softplus_beta(call: Call) -> Value:
    """log(1 + exp(beta x)) / beta; beyond the threshold torch has x, which is the same number."""
    beta = call.number("beta", 1.0)
    if beta == 1.0:
        return _softplus(call, call.value(A))
    scaled = call.between(mul, (call.value(A), call.real(beta, "beta")), suffix="scaled")
    y = _softplus(call, scaled, "softplus")
    return call.emit(mul, (y, call.real(1 / beta, "back")))


def _mish(call: Call) -> Value:
    x = call.value(A)
    return call.emit(mul, (x, call.between(TANH, (_softplus(call, x, "softplus"),))))


def _elu(call: Call) -> Value:
    """scale * (x where x > 0, else alpha * (exp(input_scale x) - 1))."""
    x = call.value(A)
    alpha, scale = call.number("alpha", 1.0), call.number("scale", 1.0)
    if (alpha, scale, call.number("input_scale", 1.0)) == (1.0, 1.0, 1.0):
        return call.emit(UNARY["elu"], (x,))
    above = call.between(clamp, (x,), Clamp(0.0), "above")
    below = call.between(clamp, (x,), Clamp(high=0.0), "below")
    within = call.real(call.number("input_scale", 1.0), "input_scale")
    curve = call.between(UNARY["elu"], (call.between(mul, (below, within), suffix="inner"),))
    factors = call.real(scale, "scale"), call.real(scale * alpha, "alpha")
    parts = zip((above, curve), factors, ("positive", "negative"), strict=True)
    return call.emit(add, [call.between(mul, (v, f), suffix=s) for v, f, s in parts])


def _gelu(call: Call) -> Value:
    attrs = Gelu(call.get("approximate") == "tanh")
    return call.emit(UNARY["gelu"], (call.value(A),), attrs)


def _leaky(call: Call) -> Value:
    attrs = Slope(call.number("negative_slope", 0.01))
    return call.emit(UNARY["leaky_relu"], (call.value(A),), attrs)


def _prelu(call: Call) -> Value:
    """Slopes are those of channels, axis 1, or one for all."""
    x, w = call.value(A), call.value("weight")
    if w.type.size > 1:
        shape = (w.type.size, *(1,) * (len(x.type.shape) - 2))
        w = call.shaped(w, shape, "slopes")
    else:
        w = call.shaped(w, (1,), "slopes")
    return call.emit(prelu, (x, w))


def _offset(op: Op, before: bool) -> Build:
    """log(1 + x) or exp(x) - 1."""

    def build(call: Call) -> Value:
        x, one = call.operand(A, DType.F32), call.real(1, "one")
        if before:
            return call.emit(op, (call.between(add, (x, one)),))
        return call.emit(sub, (call.between(op, (x,)), one))

    return build


def _log_of(base: float) -> Build:
    def build(call: Call) -> Value:
        y = call.between(LOG, (call.operand(A, DType.F32),))
        return call.emit(mul, (y, call.real(1 / math.log(base), "base")))

    return build


def _reciprocal(call: Call) -> Value:
    return call.emit(div, (call.real(1, "one"), call.operand(A, DType.F32)))


def _round(call: Call) -> Value:
    if call.integer("decimals") if call.has("decimals") else 0:
        raise call.refuse("rounding to decimals", found=call.get("decimals"))
    return call.emit(UNARY["round"], (call.value(A),))


def _is(value: float) -> Build:
    """isnan, isinf."""

    def build(call: Call) -> Value:
        x = call.value(A)
        if math.isnan(value):
            return call.emit(comparisons["not_equal"], (x, x))
        size = call.between(ABS, (x,))
        return call.emit(comparisons["equal"], (size, call.real(value, "infinity")))

    return build


def _same(call: Call) -> Value:
    return call.value(A)


def _to(call: Call) -> Value:
    """Another element type; floats become integers by cutting towards zero, as here."""
    x = call.value(A)
    if call.out.dtype is DType.BOOL and x.type.dtype is not DType.BOOL:
        return _truth(call, A)
    return call.cast(x, call.out.dtype)


def _copied(call: Call) -> Value:
    """`src` as elements of `self`, broadcast."""
    x = call.cast(call.value("src"), call.out.dtype)
    shape = call.out.shape
    return x if x.type.shape == shape else call.emit(broadcast, (x,), Broadcast(shape))


def _filled(call: Call) -> Value:
    """full, full_like, scalar_tensor: constants."""
    y = call.out
    number = next(call.get(n) for n in ("fill_value", "value", "s") if call.has(n))
    if not isinstance(number, bool | int | float):
        raise call.refuse("fill value", expected="a number", found=number)
    return call.constant(np.full(y.shape, number).astype(y.dtype.numpy), "full")


def _counted(call: Call) -> Value:
    """arange."""
    y, step = call.out, call.number("step", 1.0)
    values = call.number("start") + np.arange(y.size) * step
    return call.constant(values.astype(y.dtype.numpy), "arange")


def _scalar_operands(names: Mapping[str, Build]) -> dict[str, Build]:
    """Each operator for tensors and for numbers as its second operand."""
    return {f"{n}.{kind}": b for n, b in names.items() for kind in ("Tensor", "Scalar")}


_UNARY = ("abs", "ceil", "cos", "exp", "floor", "log", "neg", "rsqrt", "sin", "sqrt", "tanh")

READ: dict[str, Build] = {
    **_scalar_operands(
        {
            "add": _binary(add),
            "div": _divide,
            "fmod": _fmod,
            "mul": _binary(mul),
            "remainder": _binary(floor_mod),
            "sub": _binary(sub),
        }
    ),
    **_scalar_operands(
        {
            "eq": _compare("equal"),
            "ge": _compare("greater_equal"),
            "gt": _compare("greater"),
            "le": _compare("less_equal"),
            "lt": _compare("less"),
            "ne": _compare("not_equal"),
        }
    ),
    **_scalar_operands(
        {
            "bitwise_and": _bitwise(_logical(logical_and)),
            "bitwise_or": _bitwise(_logical(logical_or)),
            "bitwise_xor": _bitwise(_compare("not_equal")),
        }
    ),
    **{f"{name}.default": _unary(UNARY[name]) for name in _UNARY},
    "_to_copy.default": _to,
    "alias.default": _same,
    "arange.start_step": _counted,
    "bitwise_not.default": _bitwise(lambda call: call.emit(logical_not, (_truth(call, A),))),
    "clamp.default": _limited("min", "max"),
    "clamp.Tensor": _limited("min", "max"),
    "clamp_max.default": _limited("", "max"),
    "clamp_min.default": _limited("min", ""),
    "clone.default": _same,
    "copy.default": _copied,
    "div.Scalar_mode": _divide,
    "div.Tensor_mode": _divide,
    "elu.default": _elu,
    "expm1.default": _offset(EXP, before=False),
    "full.default": _filled,
    "full_like.default": _filled,
    "gelu.default": _gelu,
    "hardsigmoid.default": _hard_sigmoid,
    "hardswish.default": _unary(UNARY["hard_swish"]),
    "hardtanh.default": _limited("min_val", "max_val"),
    "isinf.default": _is(math.inf),
    "isnan.default": _is(math.nan),
    "leaky_relu.default": _leaky,
    "lift_fresh_copy.default": _same,
    "log10.default": _log_of(10),
    "log1p.default": _offset(LOG, before=True),
    "log2.default": _log_of(2),
    "logical_and.default": _logical(logical_and),
    "logical_not.default": lambda call: call.emit(logical_not, (_truth(call, A),)),
    "logical_or.default": _logical(logical_or),
    "maximum.default": _binary(maximum),
    "minimum.default": _binary(minimum),
    "mish.default": _mish,
    "pow.Scalar": _power,
    "pow.Tensor_Scalar": _power,
    "pow.Tensor_Tensor": _power,
    "prelu.default": _prelu,
    "reciprocal.default": _reciprocal,
    "relu.default": _relu,
    "relu6.default": _range(0.0, 6.0),
    "round.default": _round,
    "scalar_tensor.default": _filled,
    "sigmoid.default": _unary(LOGISTIC),
    "sign.default": _unary(UNARY["sign"]),
    "silu.default": _silu,
    "softplus.default": _softplus_beta,
    "square.default": _unary(UNARY["square"]),
    "trunc.default": lambda call: _towards_zero(call, call.value(A)),
    "where.self": _where,
}

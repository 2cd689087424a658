"""Programs that PT2E quantised: quantize and dequantize, and operators on the integers between.

`READ` has the conversions, `INTEGER` a second builder of operators that also `READ` of the other
families has: it is asked first where an operand is known as integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lilliput.frontends import channels, integers
from lilliput.frontends.integers import int8, requantized, seen_as, shifted, spread, summable
from lilliput.frontends.torch.call import Build, Call, Integer, Made
from lilliput.frontends.torch.operators import elementwise, layers, reduce, shape
from lilliput.frontends.torch.scales import DEQUANTIZES, QUANTIZES, Scale, scale_of
from lilliput.ir import Array, Attrs, DType, Op, Quant, Value
from lilliput.ops.elementwise import Clamp, add, clamp, mul, sub
from lilliput.ops.numeric import Rounding
from lilliput.ops.quantize import To, quantize
from lilliput.ops.reduce import Reduction
from lilliput.ops.softmax import softmax
from lilliput.ops.unary import UNARY, Gelu, Slope

# quantize and dequantize ------------------------------------------------------------------


def _scale(call: Call) -> Scale:
    return scale_of(call.step, call.tensors.held, call.where)


def _quantize(call: Call) -> Value:
    scale, p = _scale(call), call.place
    x, data = call.integers("input"), None
    if x is None:
        data = p.data(call.value("input"))
    if data is not None:
        return call.builder.param(f"{p.name}/stored", _rounded(data, scale), scale.quant)
    if not scale.quant.is_per_tensor:
        raise call.refuse("activations quantised per channel", expected="one scale")
    if scale.dtype == "int32":
        raise call.refuse("activations of this type", expected="8 or 16 bits", found=scale.dtype)
    wide = DType.S16 if scale.dtype == "int16" else DType.S8
    if x is not None and x.type.dtype is wide is DType.S8:
        y = requantized(p, x, scale.quant, "requantized")
    else:
        real = call.value("input")
        y = p.last(quantize, (real,), To(wide), real.type.with_dtype(wide, scale.quant))
    if scale.bounds == wide.bounds:
        return y
    return p.between(clamp, (y,), Clamp(*map(float, scale.bounds)), "range")


def _rounded(data: Array, scale: Scale) -> Array:
    """Constant reals as integers: torch multiplies by the inverse and rounds to even."""
    axis, (low, high) = scale.quant.axis, scale.bounds
    shape = [-1 if k == axis else 1 for k in range(data.ndim)]
    _, zero = spread(scale.quant, data.ndim)
    steps = np.rint(data.astype(np.float32) * scale.inverse.reshape(shape)).astype(np.int64)
    kind = np.int8 if scale.dtype == "uint8" else np.dtype(scale.dtype)
    return np.clip(steps + zero, low, high).astype(kind)


def _dequantize(call: Call) -> Value:
    """The integers that stand for the result."""
    scale, x, p = _scale(call), call.value("input"), call.place
    if call.step.results[0].dtype != "float32":
        found = call.step.results[0].dtype
        raise call.refuse("dequantize to this type", expected="float32", found=found)
    if x.type.dtype not in (DType.S8, DType.U8, DType.S16, DType.S32):
        raise call.refuse("dequantize of this type", found=x.type.dtype.value)
    data = p.data(x)
    if data is not None:
        return call.builder.param(f"{p.name}/stored", shifted(data), scale.quant)
    if not scale.quant.is_per_tensor:
        raise call.refuse("activations quantised per channel", expected="one scale")
    if x.type.quant is None:
        raise call.refuse("integers that nobody gives a scale", found=str(x.type))
    return seen_as(p, x, scale.quant, "x")


# Weighted sums ----------------------------------------------------------------------------


def _bias(call: Call, name: str, x: Value, w: Value) -> Value | None:
    """An operand as a bias in int32; raises UnsupportedError where it is computed."""
    if not call.has(name):
        return None
    whole, stored = call.integers(name), None
    if whole is not None and whole.type.quant is not None:
        data = call.place.data(whole)
        stored = integers.Stored(data, whole.type.quant) if data is not None else None
    steps = integers.bias_steps(x, w, call.data(name), stored)
    return call.constant(steps.reshape(-1), "bias")


def _conv(call: Call) -> Value | None:
    x, w, target = call.integers("input"), call.integers("weight"), call.target
    if x is None or w is None or target is None or not summable(x, w, target):
        return None
    if call.flag("transposed") or w.type.quant is None or w.type.quant.axis not in (None, 0):
        return None
    bias = _bias(call, "bias", x, w)
    return layers.conv(call.whole, bias, int8((), target), Rounding.EVEN)


def _linear(call: Call) -> Value | None:
    return _product(call, call.integers("input"), call.integers("weight"), "bias")


def _mm(first: str, second: str, bias: str = "") -> Integer:
    """addmm, mm, matmul by constant weights (I,O)."""

    def build(call: Call) -> Value | None:
        w = call.integers(second)
        if w is None or len(w.type.shape) != 2 or call.place.data(w) is None:
            return None
        if (call.number("alpha", 1.0), call.number("beta", 1.0)) != (1.0, 1.0):
            return None
        if bias and len(call.value(bias).type.shape) != 1:
            return None
        return _product(call, call.integers(first), _turned(call, w, (1, 0)), bias)

    return build


def _product(call: Call, x: Value | None, w: Value | None, bias: str) -> Value | None:
    """x (.., I) by weights (O,I)."""
    target = call.target
    if x is None or w is None or target is None or not summable(x, w, target):
        return None
    if min(len(x.type.shape), len(w.type.shape)) < 2 or call.place.data(w) is None:
        return None
    if w.type.quant is None or w.type.quant.axis not in (None, 0):
        return None
    steps = _bias(call, bias, x, w) if bias else None
    return integers.product(call.place, x, w, steps, target)


# Elements ---------------------------------------------------------------------------------


def _pair(op: Op) -> Integer:
    def build(call: Call) -> Value | None:
        a, b, target = call.integers("self"), call.integers("other"), call.target
        if a is None or b is None or target is None or call.number("alpha", 1.0) != 1.0:
            return None
        if not (_is_plain(a) and _is_plain(b)):
            return None
        return integers.pair(call.place, op, a, b, target)

    return build


def _is_plain(x: Value) -> bool:
    """int8 of one scale."""
    quant = x.type.quant
    return x.type.dtype is DType.S8 and quant is not None and quant.is_per_tensor


def _curve(op: Op, attrs: Callable[[Call], Attrs] | None = None) -> Integer:
    def build(call: Call) -> Value | None:
        x, target = call.integers("self"), call.target
        if x is None or target is None or not _is_plain(x):
            return None
        return integers.curve(call.place, op, x, target, attrs(call) if attrs else None)

    return build


def _hard_sigmoid(call: Call) -> Value | None:
    x, target = call.integers("self"), call.target
    if x is None or target is None or not _is_plain(x):
        return None
    return integers.hard_sigmoid(call.place, x, target, 1 / 6, 0.5)


def _elu(call: Call) -> Made | None:
    plain = all(call.number(name, 1.0) == 1.0 for name in ("alpha", "scale", "input_scale"))
    return _curve(UNARY["elu"])(call) if plain else None


def _softmax(call: Call) -> Value | None:
    x, target = call.integers("self"), call.target
    if x is None or target is None or not _is_plain(x):
        return None
    rank = len(x.type.shape)
    if call.axis("dim", rank) != rank - 1:
        return None
    found = integers.fixed_type(call.place, softmax, x, target)
    return None if found is None else call.place.last(softmax, (x,), type=found)


def _cut(low: str | float, high: str | float) -> Integer:
    """Bounds are numbers, or the names of arguments that are left out where there is none."""

    def build(call: Call) -> Value | None:
        x, ends = call.integers("self"), list[float]()
        for end, none in ((low, -math.inf), (high, math.inf)):
            ends.append(call.number(end, none) if isinstance(end, str) else end)
        if x is None or not _is_plain(x):
            return None
        return integers.cut(call.place, x, ends[0], ends[1], call.target)

    return build


# Places -----------------------------------------------------------------------------------


def _turned(call: Call, x: Value, perm: Sequence[int]) -> Value:
    """A constant with its axes in another order, that of its scales too."""
    data, quant = call.place.data(x), x.type.quant
    assert data is not None
    assert quant is not None
    if quant.axis is not None:
        quant = Quant(quant.scale, quant.zero_point, list(perm).index(quant.axis))
    moved = np.ascontiguousarray(np.transpose(data, perm))
    return call.builder.param(f"{call.place.name}/turned", moved, quant)


def _permute(call: Call) -> Made | None:
    """Weights of one scale for each channel are turned as they are, all else is moved."""
    x = call.integers("self")
    if x is None or _is_plain(x):
        return _moved(shape.READ[call.step.operator])(call)
    if call.place.data(x) is None or x.type.quant is None:
        return None
    rank = len(x.type.shape)
    if call.has("dims"):
        return _turned(call, x, [k % rank for k in call.ints("dims")])
    perm = list(range(rank))
    i, j = (call.axis(n, rank) for n in ("dim0", "dim1"))
    perm[i], perm[j] = perm[j], perm[i]
    return _turned(call, x, perm)


def _moved(build: Build) -> Integer:
    """An operator that only moves or compares elements: on integers it is the same one."""

    def made(call: Call) -> Made | None:
        x = call.integers("self") or call.integers("input")
        return build(call.whole) if x is not None and _is_plain(x) else None

    return made


def _cat(call: Call) -> Value | None:
    parts = call.whole.list("tensors")
    if not all(map(_is_plain, parts)):
        return None
    axis = call.axis("dim", len(call.out.shape))
    return integers.joined(call.place, parts, axis, call.target)


# Averages ---------------------------------------------------------------------------------


def _mean(call: Call) -> Value | None:
    x, target = call.integers("self"), call.target
    if x is None or target is None or not _is_plain(x):
        return None
    over = Reduction(reduce.axes_of(call, len(x.type.shape)), call.flag("keepdim"))
    return integers.mean_of(call.place, x, over, target)


def _adaptive(n: int) -> Integer:
    """Windows of one extent; others are not, for their means would be rounded several times."""

    def build(call: Call) -> Value | None:
        x, target = call.integers("self"), call.target
        if x is None or target is None or not _is_plain(x):
            return None
        x = layers.batched(call.whole, "self", n)
        space, size = x.type.shape[2:], call.out.shape[-n:]
        if any(m % s for m, s in zip(space, size, strict=True)):
            return None
        if set(size) == {1}:
            over = Reduction(tuple(range(2, 2 + n)))
            return layers.unbatched(call, integers.mean_of(call.place, x, over, target))

        def pool(v: Value) -> Value:
            return channels.adaptive_pool(call.place, v, size)

        return layers.unbatched(call, integers.averaged(call.place, x, target, pool))

    return build


def _avg_pool(n: int) -> Integer:
    def build(call: Call) -> Value | None:
        x, target = call.integers("self"), call.target
        if x is None or target is None or not _is_plain(x):
            return None
        pool = layers.averaging(call, n)
        x = layers.batched(call.whole, "self", n)
        return layers.unbatched(call, integers.averaged(call.place, x, target, pool))

    return build


_SAME = ("alias.default", "clone.default", "lift_fresh_copy.default")
_NOT_MOVED = {"cat.default", "permute.default", "select_scatter.default", "slice_scatter.default"}
_MOVED = sorted(shape.READ.keys() - _NOT_MOVED - {"transpose.int"})

READ: dict[str, Build] = dict.fromkeys(sorted(QUANTIZES), _quantize)

INTEGER: Mapping[str, Integer] = {
    **dict.fromkeys(sorted(DEQUANTIZES), _dequantize),
    **{name: _moved(elementwise.READ[name]) for name in _SAME},
    **{name: _moved(shape.READ[name]) for name in _MOVED},
    "_softmax.default": _softmax,
    "adaptive_avg_pool1d.default": _adaptive(1),
    "adaptive_avg_pool2d.default": _adaptive(2),
    "_adaptive_avg_pool2d.default": _adaptive(2),
    "add.Tensor": _pair(add),
    "addmm.default": _mm("mat1", "mat2", "self"),
    "amax.default": _moved(reduce.READ["amax.default"]),
    "avg_pool1d.default": _avg_pool(1),
    "avg_pool2d.default": _avg_pool(2),
    "cat.default": _cat,
    "clamp.default": _cut("min", "max"),
    "clamp_max.default": _cut(-math.inf, "max"),
    "clamp_min.default": _cut("min", math.inf),
    "conv1d.default": _conv,
    "conv1d.padding": _conv,
    "conv2d.default": _conv,
    "conv2d.padding": _conv,
    "convolution.default": _conv,
    "elu.default": _elu,
    "gelu.default": _curve(UNARY["gelu"], lambda c: Gelu(c.get("approximate") == "tanh")),
    "hardsigmoid.default": _hard_sigmoid,
    "hardswish.default": _curve(UNARY["hard_swish"]),
    "hardtanh.default": _cut("min_val", "max_val"),
    "leaky_relu.default": _curve(
        UNARY["leaky_relu"], lambda c: Slope(c.number("negative_slope", 0.01))
    ),
    "linear.default": _linear,
    "matmul.default": _mm("self", "other"),
    "max_pool1d.default": _moved(layers.READ["max_pool1d.default"]),
    "max_pool2d.default": _moved(layers.READ["max_pool2d.default"]),
    "max_pool2d_with_indices.default": _moved(layers.READ["max_pool2d_with_indices.default"]),
    "mean.dim": _mean,
    "mm.default": _mm("self", "mat2"),
    "mul.Tensor": _pair(mul),
    "permute.default": _permute,
    "relu.default": _cut(0.0, math.inf),
    "relu6.default": _cut(0.0, 6.0),
    "sigmoid.default": _curve(UNARY["logistic"]),
    "sub.Tensor": _pair(sub),
    "tanh.default": _curve(UNARY["tanh"]),
    "transpose.int": _permute,
}

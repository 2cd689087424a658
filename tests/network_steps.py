"""How each operator is applied in a random network: one row each in `STEPS`.

An operator of elements needs no more than its place in a list; what has attributes has a
function that draws them.  A test asks for a row of every operator that the .tflite writer
knows, so that a new one comes into the random networks with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from tests.grower import SCALED, USED, Grower, Pair, Step
from tests.network_products import PRODUCTS, same_or_valid

from lilliput.frontends.tflite.call import activation_bounds
from lilliput.frontends.tflite.schema import Activation
from lilliput.ir import (
    Attrs,
    DType,
    Op,
    Quant,
    TensorType,
    Value,
)
from lilliput.ops.blocks import Blocks
from lilliput.ops.elementwise import Clamp
from lilliput.ops.frame import MirrorPad, Pad, ResizeNearest
from lilliput.ops.index import OneHot, Scatter
from lilliput.ops.pick import StridedSlice, Tile
from lilliput.ops.pool import Pool
from lilliput.ops.prelu import SLOPES
from lilliput.ops.quantize import Requantize, To
from lilliput.ops.reduce import Reduction
from lilliput.ops.registry import get
from lilliput.ops.resize import ResizeBilinear
from lilliput.ops.reverse import ReverseSequence
from lilliput.ops.search import Arg, Cumsum, TopK
from lilliput.ops.shape import Broadcast, Concat, Reshape, Slice, Transpose
from lilliput.ops.softmax import Softmax
from lilliput.ops.unary import Gelu, Slope

FLEXIBLE = (1, 6)
"""Ranks of what elements are only moved or gathered in."""


@dataclass(frozen=True)
class Of:
    """An operator of one operand: how its attributes are drawn, and what it is applied to.

    free : the quantisation of the result is the model's to choose
    dtypes : of the operand, where the operator's own are not meant
    """

    attrs: Callable[[Grower, TensorType], Attrs | None] = lambda g, t: None
    ranks: Pair = (1, 5)
    free: bool = False
    dtypes: tuple[DType, ...] = ()

    def step(self, op: Op) -> Step:
        dtypes = self.dtypes or op.dtypes

        def apply(g: Grower) -> Value | None:
            x = g.operand(dtypes, self.ranks)
            return x and g.node(op, (x,), self.attrs(g, x.type), free=self.free)

        return apply


# Attributes -------------------------------------------------------------------------------


def _to(*dtypes: DType) -> Callable[[Grower, TensorType], Attrs]:
    return lambda g, t: To(g.draw(st.sampled_from(dtypes)))


def _clamp(g: Grower, t: TensorType) -> Clamp:
    """The range of an activation of the format."""
    kind = g.draw(st.sampled_from((Activation.RELU, Activation.RELU6, Activation.RELU_N1_TO_1)))
    bounds = activation_bounds(kind, t)
    return Clamp(*bounds) if bounds else Clamp()


def _reduction(g: Grower, t: TensorType) -> Reduction:
    rank = len(t.shape)
    axes = g.draw(st.sets(st.integers(0, rank - 1), min_size=1, max_size=rank))
    return Reduction(tuple(sorted(axes)), len(axes) == rank or g.chance(2))


def _reshape(g: Grower, t: TensorType) -> Reshape:
    last = t.shape[-1]
    rest = t.size // last
    shapes = [
        (t.size,),
        (1, t.size),
        (rest, last),
        (last, rest),
        (1, rest, last),
        (1, rest, 1, last),
    ]
    return Reshape(g.draw(st.sampled_from(shapes)))


def _transpose(g: Grower, t: TensorType) -> Transpose:
    return Transpose(tuple(g.draw(st.permutations(range(len(t.shape))))))


def _broadcast(g: Grower, t: TensorType) -> Broadcast:
    shape = [g.integer(1, 4) if d == 1 else d for d in t.shape]
    lead = (g.integer(1, 3),) if len(shape) < 6 and g.chance(2) else ()
    return Broadcast((*lead, *shape))


def _box(g: Grower, extent: int) -> Pair:
    """(begin, size)."""
    if not g.chance(2):
        return 0, extent
    begin = g.integer(0, extent - 1)
    return begin, g.integer(1, extent - begin)


def _slice(g: Grower, t: TensorType) -> Slice:
    boxes = [_box(g, d) for d in t.shape]
    return Slice(tuple(b for b, _ in boxes), tuple(n for _, n in boxes))


def _strided(g: Grower, t: TensorType) -> StridedSlice:
    axes: list[tuple[int, int, int]] = []
    for extent in t.shape:
        stride = g.draw(st.sampled_from((1, 1, 2, 3, -1, -2)))
        begin, size = _box(g, extent)
        count = -(-size // abs(stride))
        axes.append((begin if stride > 0 else begin + size - 1, count, stride))
    begins, sizes, strides = zip(*axes, strict=True)
    return StridedSlice(begins, sizes, strides)


def _tile(g: Grower, t: TensorType) -> Tile:
    return Tile(tuple(g.draw(st.sampled_from((1, 1, 2, 3))) for _ in t.shape))


def _ends(g: Grower, limits: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(before, after) of each axis, none at half of them."""
    ends = [
        [g.integer(0, max(limit, 0)) if g.chance(2) else 0 for limit in limits] for _ in range(2)
    ]
    return tuple(ends[0]), tuple(ends[1])


def _pad(g: Grower, t: TensorType) -> Pad:
    value: float = t.zero_point
    if g.chance(2):
        low, high = (0, 1) if t.dtype is DType.BOOL else (-100, 100)
        value = g.integer(low, high)
    return Pad(*_ends(g, [2] * len(t.shape)), value)


def _mirror(g: Grower, t: TensorType) -> MirrorPad:
    reflect = g.chance(2)
    return MirrorPad(*_ends(g, [min(d - reflect, 2) for d in t.shape]), reflect)


def _resize(kind: type[ResizeNearest | ResizeBilinear]) -> Callable[[Grower, TensorType], Attrs]:
    flags = ((False, False), (True, False), (False, True))
    return lambda g, t: kind(g.integer(1, 7), g.integer(1, 7), *g.draw(st.sampled_from(flags)))


def _arg(g: Grower, t: TensorType) -> Arg:
    return Arg(g.draw(st.sampled_from(("s32", "s64"))))


def _pool(g: Grower, t: TensorType) -> Pool:
    window, stride = (g.integer(1, 3), g.integer(1, 3)), (g.integer(1, 2), g.integer(1, 2))
    return Pool(window, stride, same_or_valid(g, t.shape, window, stride, (1, 1)))


ONE: dict[str, Of] = {
    **dict.fromkeys(("ceil", "cos", "elu", "exp", "floor", "hard_swish", "abs"), Of(free=True)),
    **dict.fromkeys(("neg", "relu", "relu_0_to_1", "relu_n1_to_1"), Of(free=True)),
    **dict.fromkeys(("round", "sign", "sin", "square"), Of(free=True)),
    **dict.fromkeys(("logical_not", "logistic", "relu6", "tanh", "dequantize"), Of()),
    **dict.fromkeys(("copy", "l2_normalize", "log_softmax"), Of()),
    **dict.fromkeys(("mean", "reduce_prod", "sum"), Of(_reduction, FLEXIBLE, free=True)),
    **dict.fromkeys(("reduce_max", "reduce_min"), Of(_reduction, FLEXIBLE)),
    **dict.fromkeys(("arg_max", "arg_min"), Of(_arg, (3, 3))),
    **dict.fromkeys(("avg_pool2d", "max_pool2d"), Of(_pool, (4, 4))),
    "broadcast": Of(_broadcast, FLEXIBLE),
    "cast": Of(_to(DType.F32, DType.S32, DType.S64, DType.BOOL)),
    "clamp": Of(_clamp, dtypes=(DType.F32, *SCALED)),
    "cumsum": Of(lambda g, t: Cumsum(g.chance(2), g.chance(2)), (3, 3), free=True),
    "gelu": Of(lambda g, t: Gelu(g.chance(2)), free=True),
    "leaky_relu": Of(lambda g, t: Slope(0.125 * g.integer(-3, 9)), free=True),
    "mirror_pad": Of(_mirror, FLEXIBLE),
    "pad": Of(_pad, FLEXIBLE),
    "quantize": Of(_to(*SCALED), free=True, dtypes=(DType.F32,)),
    "requantize": Of(
        lambda g, t: Requantize(g.draw(st.sampled_from(SCALED))), free=True, dtypes=SCALED
    ),
    "reshape": Of(_reshape, FLEXIBLE),
    "resize_bilinear": Of(_resize(ResizeBilinear), (4, 4)),
    "resize_nearest": Of(_resize(ResizeNearest), (4, 4)),
    "reverse": Of(ranks=(3, 3)),
    "slice": Of(_slice, FLEXIBLE),
    "softmax": Of(lambda g, t: Softmax(1.0, t.dtype is DType.S8 and g.chance(4))),
    "strided_slice": Of(_strided, FLEXIBLE),
    "tile": Of(_tile, FLEXIBLE),
    "transpose": Of(_transpose, (2, 6)),
}


# Two operands of one shape, or of shapes that broadcast -----------------------------------


def _partner(
    g: Grower, x: Value, *, scaled: bool, zeros: bool = True, same: bool = False
) -> Value | None:
    """Another operand beside `x`; of its quantisation where not `scaled`."""
    shape = x.type.shape
    found = g.pick(lambda t: t.shape == shape and t.dtype is x.type.dtype)
    if found is not None and (scaled or found.type == x.type) and (zeros or not g.has_zero(found)):
        return found
    if not same and g.chance(2):
        shape = tuple(d if g.chance(2) else 1 for d in shape)[g.integer(0, len(shape) - 1) :]
    quant = g.quant(x.type.dtype) if scaled else x.type.quant
    if zeros and g.chance(3) and len(g.inputs) < 4:
        return g.input(TensorType(shape, x.type.dtype, quant))
    return g.constant(TensorType(shape, x.type.dtype, quant), zeros=zeros)


def _pair(*, free: bool = False, scaled: bool = True, zeros: bool = True) -> Callable[[Op], Step]:
    def of(op: Op) -> Step:
        def apply(g: Grower) -> Value | None:
            a = g.operand(op.dtypes)
            b = a and _partner(g, a, scaled=scaled, zeros=zeros)
            if a is None or b is None:
                return None
            swapped = zeros and g.chance(2)
            return g.node(op, (b, a) if swapped else (a, b), free=free)

        return apply

    return of


TWO: dict[str, Callable[[Op], Step]] = {
    **dict.fromkeys(("add", "sub", "mul", "squared_difference"), _pair(free=True)),
    "div": _pair(free=True, zeros=False),
    **dict.fromkeys(("floor_div", "floor_mod"), _pair(zeros=False, scaled=False)),
    **dict.fromkeys(("maximum", "minimum"), _pair(scaled=False)),
    **dict.fromkeys(("equal", "not_equal", "greater", "greater_equal", "less"), _pair()),
    "less_equal": _pair(),
    **dict.fromkeys(("logical_and", "logical_or"), _pair()),
    "bitwise_xor": _pair(scaled=False),
}


# Operators with operands of their own kinds -----------------------------------------------


def _positive(op: Op) -> Step:
    """A function of numbers that are not negative: of magnitudes where some are."""

    def apply(g: Grower) -> Value | None:
        x = g.operand(op.dtypes)
        if x is not None and any(bool(np.any(a < x.type.zero_point)) for a in g.data[x.name]):
            x = g.node(get("abs"), (x,), free=True)
        return x and g.node(op, (x,), free=True)

    return apply


def _pow(g: Grower) -> Value | None:
    x = g.operand((DType.F32, DType.S32))
    if x is None:
        return None
    largest = max(float(np.abs(a).max()) for a in g.data[x.name])
    most = 4 if largest < 100 else 1 if largest < 2**31 else 0  # beyond int32 nothing is defined
    powers = g.rng.integers(0, most, x.type.shape[-1:], endpoint=True).astype(x.type.dtype.numpy)
    return g.node(get("pow"), (x, g.param(powers)))


def _right_shift(g: Grower) -> Value | None:
    x = g.operand((*SCALED, DType.S32))
    if x is None:
        return None
    most = 8 * x.type.dtype.itemsize - 1
    shifts = g.rng.integers(0, most, x.type.shape, endpoint=True).astype(x.type.dtype.numpy)
    return g.node(get("right_shift"), (x, g.param(shifts, x.type.quant)))


def _prelu(g: Grower) -> Value | None:
    x = g.operand(tuple(SLOPES))
    if x is None:
        return None
    shape = (*(1 for _ in x.type.shape[:-1]), x.type.shape[-1])
    dtype = SLOPES[x.type.dtype]
    quant = Quant.per_tensor(0.01, g.integer(-9, 9)) if dtype in SCALED else None
    if x.type.dtype is DType.S16:
        quant = Quant.per_tensor(0.01)
    return g.node(get("prelu"), (x, g.constant(TensorType(shape, dtype, quant))), free=True)


def _add_n(g: Grower) -> Value | None:
    x = g.operand(get("add_n").dtypes)
    if x is None:
        return None
    return g.node(get("add_n"), (x, *(g.alike(x) for _ in range(g.integer(1, 3)))), free=True)


def _select(g: Grower) -> Value | None:
    a = g.operand([d for d in get("select").dtypes if d in USED])
    if a is None:
        return None
    shape = a.type.shape
    condition = g.pick(lambda t: t.dtype is DType.BOOL and t.shape == shape)
    if condition is None:
        condition = g.input(TensorType(shape, DType.BOOL))
    b = _partner(g, a, scaled=False)
    return b and g.node(get("select"), (condition, a, b))


def _concat(g: Grower) -> Value | None:
    x = g.operand(USED)
    if x is None:
        return None
    shape, axis = x.type.shape, g.integer(0, len(x.type.shape) - 1)
    parts = [
        g.alike(x, (*shape[:axis], g.integer(1, 4), *shape[axis + 1 :]))
        for _ in range(g.integer(1, 2))
    ]
    return g.node(get("concat"), (*parts, x) if g.chance(2) else (x, *parts), Concat(axis))


def _gather(g: Grower) -> Value | None:
    x = g.operand(USED, (4, 4))
    if x is None:
        return None
    index = g.places((x.type.shape[0], g.integer(1, 4)), x.type.shape[2:3])
    return g.node(get("gather"), (x, index))


def _gather_nd(g: Grower) -> Value | None:
    x = g.operand(USED, (2, 4))
    if x is None:
        return None
    extents = x.type.shape[:-1]
    return g.node(get("gather_nd"), (x, g.places((g.integer(1, 5), len(extents)), extents)))


def _scatter_nd(g: Grower) -> Value | None:
    x = g.operand(get("scatter_nd").dtypes, (2, 2))
    if x is None:
        return None
    extents = g.shape(g.integer(1, 2))
    index = g.places((x.type.shape[0], len(extents)), extents)
    return g.node(get("scatter_nd"), (index, x), Scatter(extents))


def _update_slice(g: Grower) -> Value | None:
    x = g.operand(USED)
    if x is None:
        return None
    update = g.alike(x, [g.integer(1, d) for d in x.type.shape])
    return g.node(get("update_slice"), (x, update, g.places((len(x.type.shape),), x.type.shape)))


def _top_k(g: Grower) -> Value | None:
    x = g.operand(get("top_k").dtypes, (2, 2))
    rows = x and g.node(get("reshape"), (x,), Reshape((*x.type.shape, 1)))
    return rows and g.node(get("top_k"), (rows,), TopK(g.integer(1, rows.type.shape[1])))


def _blocks(op: Op) -> Step:
    """Of a map that is tiled first where its extents do not fit."""

    def apply(g: Grower) -> Value | None:
        x, n = g.operand(op.dtypes, (4, 4)), g.integer(2, 3)
        if x is None:
            return None
        units = (1, n, n, 1) if op.name == "space_to_depth" else (1, 1, 1, n * n)
        if any(d % k for d, k in zip(x.type.shape, units, strict=True)):
            x = g.node(get("tile"), (x,), Tile(units))
        return x and g.node(op, (x,), Blocks(n))

    return apply


def _one_hot(g: Grower) -> Value | None:
    depth, index = g.integer(1, 6), g.pick(lambda t: t.dtype is DType.S32 and len(t.shape) == 2)
    if index is None:
        index = g.places((g.integer(1, 4), g.integer(1, 4)), (depth + 2,))
    dtype = g.draw(st.sampled_from([d for d in get("one_hot").dtypes if d in USED]))
    type = TensorType((1,), dtype, g.quant(dtype))
    return g.node(get("one_hot"), (index, g.constant(type), g.constant(type)), OneHot(depth))


def _reverse_sequence(g: Grower) -> Value | None:
    x = g.operand(USED, (4, 4))
    if x is None:
        return None
    p, _, q, _ = x.type.shape
    rows = g.chance(2)
    lengths = g.places((q if rows else p,), ((p if rows else q) + 1,))
    return g.node(get("reverse_sequence"), (x, lengths), ReverseSequence(rows))


OWN: dict[str, Step] = {
    "add_n": _add_n,
    "concat": _concat,
    "gather": _gather,
    "gather_nd": _gather_nd,
    "one_hot": _one_hot,
    "pow": _pow,
    "prelu": _prelu,
    "reverse_sequence": _reverse_sequence,
    "right_shift": _right_shift,
    "scatter_nd": _scatter_nd,
    "select": _select,
    "top_k": _top_k,
    "update_slice": _update_slice,
}

STEPS: dict[str, Step] = {
    **{name: row.step(get(name)) for name, row in ONE.items()},
    **{name: row(get(name)) for name, row in TWO.items()},
    **{name: _positive(get(name)) for name in ("log", "rsqrt", "sqrt")},
    **{name: _blocks(get(name)) for name in ("depth_to_space", "space_to_depth")},
    **OWN,
    **PRODUCTS,
}
"""Operator -> how it is applied."""

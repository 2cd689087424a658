"""Random networks for property tests, all in one place.

One idea: a graph grows from its inputs, one operator at a time, out of a pool of values
that later operators may read again; so chains, residual connections, concats of things
made at different times and several outputs all come from the same rule.  Quantisation is
random up to the extremes that each operator accepts.  Knows operators by name, because a
random network needs attributes that fit; a table holds one row for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st
from tests.samples import random_array

from lilliput.emu.prove import Call
from lilliput.errors import TypeMismatch
from lilliput.ir import Attrs, Builder, DType, Graph, Module, Op, Param, Quant, TensorType, Value
from lilliput.ops.conv import Conv2d, Linear, conv2d, linear, same_pad
from lilliput.ops.elementwise import Binary, Clamp, add, clamp, mul, sub
from lilliput.ops.frame import Pad, ResizeNearest, pad, resize_nearest
from lilliput.ops.pool import Pool, avg_pool2d, max_pool2d
from lilliput.ops.quantize import Requantize, requantize
from lilliput.ops.reduce import Reduction, mean
from lilliput.ops.shape import Concat, Reshape, Slice, Transpose, concat, reshape, slice_, transpose
from lilliput.ops.softmax import Softmax, softmax
from lilliput.ops.unary import UNARY, Slope

MAX_ELEMENTS = 1500
DTYPES = (DType.S8, DType.S8, DType.S16, DType.F32)
UNARIES = {
    DType.S8: ("relu", "relu6", "logistic", "tanh", "hard_swish", "leaky_relu", "abs", "exp"),
    DType.S16: ("relu", "relu6", "logistic", "tanh"),
    DType.F32: ("relu", "relu6", "logistic", "tanh", "hard_swish", "leaky_relu", "neg", "elu"),
}


@dataclass
class Grower:
    """Grows one graph; `draw` makes every choice, so that failures shrink.

    rigid : only forms that the .tflite format can hold
    """

    draw: st.DrawFn
    b: Builder
    dtype: DType
    rigid: bool = False
    pool: list[Value] = field(default_factory=list[Value])

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def one_of(self, *items: object) -> object:
        return self.draw(st.sampled_from(items))

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.integer(0, 2**16))

    def quant(self, near: float | None = None) -> Quant | None:
        """Any scale around `near`, sometimes far from it; any zero point."""
        if self.dtype.is_float:
            return None
        spread = self.draw(st.sampled_from((1.0, 1.0, 1.0, 4.0)))
        scale = (near or 0.05) * 10 ** self.draw(st.floats(-spread, spread, width=32))
        scale = min(max(scale, 1e-7), 1e4)
        if self.dtype is DType.S16:
            return Quant.per_tensor(scale)
        zero = self.draw(st.sampled_from((-128, 127, 0, 1)) | st.integers(-128, 127))
        return Quant.per_tensor(scale, zero)

    def value(self, fits: Callable[[TensorType], bool] = lambda t: True) -> Value | None:
        """A value made before, the newest ones more often."""
        able = [v for v in self.pool if fits(v.type)]
        if not able:
            return None
        back = min(self.integer(0, 3), self.integer(0, len(able) - 1))
        return able[len(able) - 1 - back]

    def node(
        self,
        op: Op,
        inputs: tuple[Value, ...],
        attrs: Attrs | None = None,
        near: float | None = None,
    ) -> None:
        """Adds a node of a random output quantisation; forgets it where the types do not fit."""
        attrs = op.attrs() if attrs is None else attrs
        try:
            (y,) = op.infer(attrs, [v.type for v in inputs])
            if y.size > MAX_ELEMENTS:
                return
            if near is not None and y.quant is not None:
                y = TensorType(y.shape, y.dtype, self.quant(near))
            node = Builder(names=set())
            node.add(op, inputs, attrs, type=y)
            probe = node.nodes[0]
            zeros = [np.zeros(v.type.shape, v.type.dtype.numpy) for v in inputs]
            op.ref(probe, zeros)
        except TypeMismatch:
            return
        self.pool.append(self.b.add(op, inputs, attrs, type=y, name="v"))

    def input(self) -> None:
        n = 1 if self.rigid else self.draw(st.sampled_from((1, 1, 1, 2)))
        shape = (n, *(self.integer(1, 9) for _ in range(2)), self.integer(1, 6))
        self.pool.append(self.b.input("x", TensorType(shape, self.dtype, self.quant())))


def _scale(value: Value) -> float:
    return value.type.quant.scale[0] if value.type.quant else 1.0


def _weights(g: Grower, shape: tuple[int, ...]) -> Value:
    """Float weights, or int8 (sometimes int4) ones per tensor or per output channel."""
    rng = g.rng()
    if g.dtype.is_float:
        return g.b.param("w", rng.uniform(-1, 1, shape).astype(np.float32))
    small = g.dtype is DType.S8 and not g.rigid and g.integer(0, 5) == 0
    dtype = DType.S4 if small else DType.S8
    count = shape[0] if g.draw(st.booleans()) else 1
    scales = tuple(float(np.float32(s)) for s in 10 ** rng.uniform(-4, 0, count))
    quant = Quant(scales, (0,) * count, 0 if count > 1 else None)
    data = random_array(rng, TensorType(shape, dtype))
    return g.b.param("w", data, quant, dtype)


def _bias(g: Grower, x: Value, w: Value) -> tuple[Value, ...]:
    if g.draw(st.booleans()):
        return ()
    rng, count = g.rng(), w.type.shape[0]
    if g.dtype.is_float:
        return (g.b.param("b", rng.uniform(-1, 1, count).astype(np.float32)),)
    wide = g.dtype is DType.S16 and (g.rigid or g.draw(st.booleans()))
    dtype = DType.S64 if wide else DType.S32
    data = rng.integers(-50_000, 50_000, count).astype(dtype.numpy)
    assert w.type.quant is not None
    scales = tuple(float(np.float32(_scale(x) * s)) for s in w.type.quant.scale)
    axis = None if w.type.quant.is_per_tensor else 0
    return (g.b.param("b", data, Quant(scales, (0,) * len(scales), axis)),)


def _near_product(x: Value, w: Value) -> float:
    """A scale at which sums of products neither vanish nor all saturate."""
    depth = math.prod(w.type.shape[1:])
    scale = w.type.quant.scale[0] if w.type.quant else 1.0
    return _scale(x) * scale * 30 * math.sqrt(depth)


def _four(t: TensorType) -> bool:
    return len(t.shape) == 4


def _pads(
    g: Grower, shape: tuple[int, ...], window: tuple[int, int], stride: tuple[int, int],
    dilation: tuple[int, int], limit: int,
) -> tuple[int, int, int, int]:  # fmt: skip
    if g.rigid or g.draw(st.booleans()):
        if g.draw(st.booleans()):
            return 0, 0, 0, 0
        rows, columns = (same_pad(shape[k + 1], window[k], stride[k], dilation[k]) for k in (0, 1))
        return *rows, *columns
    low = [g.integer(0, min(limit, (window[k // 2] - 1) * dilation[k // 2])) for k in range(4)]
    return low[0], low[1], low[2], low[3]


def _conv(g: Grower) -> None:
    x = g.value(_four)
    if x is None:
        return
    shape = x.type.shape
    groups = int(str(g.one_of(1, 1, shape[3], shape[3])))
    if not g.rigid and shape[3] % 2 == 0 and g.integer(0, 4) == 0:
        groups = 2
    out = groups * g.integer(1, 2) if groups > 1 else g.integer(1, 8)
    window = g.integer(1, 3), g.integer(1, 3)
    stride, dilation = (g.integer(1, 2), g.integer(1, 2)), (g.integer(1, 2), g.integer(1, 2))
    if g.rigid and max(stride) > 1:
        dilation = 1, 1
    pads = _pads(g, shape, window, stride, dilation, 2)
    w = _weights(g, (out, *window, shape[3] // groups))
    attrs = Conv2d(stride, dilation, pads, groups)
    g.node(conv2d, (x, w, *_bias(g, x, w)), attrs, _near_product(x, w))


def _linear(g: Grower) -> None:
    x = g.value(lambda t: 2 <= len(t.shape) <= (2 if g.rigid else 4))
    if x is not None:
        w = _weights(g, (g.integer(1, 9), x.type.shape[-1]))
        g.node(linear, (x, w, *_bias(g, x, w)), Linear(), _near_product(x, w))


def _pool(g: Grower) -> None:
    x = g.value(_four)
    if x is not None:
        window, stride = (g.integer(1, 3), g.integer(1, 3)), (g.integer(1, 2), g.integer(1, 2))
        pads = _pads(g, x.type.shape, window, stride, (1, 1), 2)
        op = (avg_pool2d, max_pool2d)[g.integer(0, 1)]
        g.node(op, (x,), Pool(window, stride, pads))


def _binary(g: Grower) -> None:
    a = g.value()
    assert a is not None
    shape = a.type.shape
    kind = g.integer(0, 3)
    b = g.value(lambda t: t.shape == shape)
    if kind == 0:
        quant = g.quant(_scale(a))
        one = () if g.rigid or len(shape) < 2 else (shape[-1:], (1,))
        type = TensorType(g.draw(st.sampled_from((shape, *one))), g.dtype, quant)
        b = g.b.param("k", random_array(g.rng(), type), quant)
    if b is None:
        return
    op = (add, add, sub, mul)[g.integer(0, 3)]
    near = _scale(a) * _scale(b) * 60 if op is mul else 1.5 * max(_scale(a), _scale(b))
    g.node(op, (a, b) if g.draw(st.booleans()) else (b, a), Binary(), near)


def _clamp(g: Grower) -> None:
    x = g.value()
    assert x is not None
    if g.dtype.is_float:
        low, high = sorted((g.integer(-3, 3), g.integer(-3, 6)))
        g.node(clamp, (x,), Clamp(float(low), float(high)) if not g.rigid else Clamp(0.0, 6.0))
        return
    bounds = g.dtype.bounds
    low, high = sorted((g.integer(*bounds), g.integer(*bounds)))
    zero = x.type.zero_point
    g.node(clamp, (x,), Clamp(zero, bounds[1]) if g.rigid else Clamp(low, high))


def _unary(g: Grower) -> None:
    x = g.value()
    assert x is not None
    names = [n for n in UNARIES[g.dtype] if not (g.rigid and n in ("exp", "abs"))]
    op = UNARY[str(g.draw(st.sampled_from(names)))]
    attrs = Slope(0.125 * g.integer(-3, 9)) if op.attrs is Slope else None
    g.node(op, (x,), attrs, None if op.name in ("logistic", "tanh", "relu6") else _scale(x))


def _softmax(g: Grower) -> None:
    x = g.value(lambda t: len(t.shape) <= 4)
    if x is not None:
        g.node(softmax, (x,), Softmax(1.0))


def _mean(g: Grower) -> None:
    x = g.value()
    assert x is not None
    rank = len(x.type.shape)
    axes = (1, 2) if rank == 4 and g.integer(0, 2) else (g.integer(0, rank - 1),)
    if rank > 1 or g.rigid is False:
        g.node(mean, (x,), Reduction(axes, g.draw(st.booleans()) or rank == 1), _scale(x))


def _requantize(g: Grower) -> None:
    x = g.value()
    assert x is not None
    if not g.dtype.is_float:
        g.node(requantize, (x,), Requantize(g.dtype), _scale(x))


def _concat(g: Grower) -> None:
    first = g.value()
    assert first is not None
    shape = first.type.shape
    axis = g.integer(0, len(shape) - 1)

    def fits(t: TensorType) -> bool:
        if len(t.shape) != len(shape) or t.quant != first.type.quant:
            return False
        return all(i == axis or a == b for i, (a, b) in enumerate(zip(t.shape, shape, strict=True)))

    parts = [v for v in (g.value(fits) for _ in range(g.integer(1, 3))) if v is not None]
    g.node(concat, (first, *parts), Concat(axis))


def _slice(g: Grower) -> None:
    x = g.value()
    assert x is not None
    begin: list[int] = []
    size: list[int] = []
    for extent in x.type.shape:
        low = g.integer(0, extent - 1) if g.draw(st.booleans()) else 0
        begin.append(low)
        size.append(g.integer(1, extent - low) if g.draw(st.booleans()) else extent - low)
    g.node(slice_, (x,), Slice(tuple(begin), tuple(size)))


def _reshape(g: Grower) -> None:
    x = g.value()
    assert x is not None
    n, size = x.type.shape[0], x.type.size
    last = x.type.shape[-1]
    shapes = [(n, size // n), (1, size), (size // last, last), (size,), (1, 1, size // last, last)]
    g.node(reshape, (x,), Reshape(g.draw(st.sampled_from(shapes))))


def _pad(g: Grower) -> None:
    x = g.value()
    assert x is not None
    rank = len(x.type.shape)
    ends = [
        tuple(g.integer(0, 2) if g.integer(0, 2) == 0 else 0 for _ in range(rank)) for _ in "ab"
    ]
    low, high = (-2, 2) if g.dtype.is_float else g.dtype.bounds
    fill = g.integer(low, high) if g.draw(st.booleans()) else x.type.zero_point
    g.node(pad, (x,), Pad(ends[0], ends[1], fill))


def _transpose(g: Grower) -> None:
    x = g.value(lambda t: 2 <= len(t.shape) <= 5)
    if x is not None:
        perm = g.draw(st.permutations(range(len(x.type.shape))))
        g.node(transpose, (x,), Transpose(tuple(perm)))


def _resize(g: Grower) -> None:
    x = g.value(_four)
    if x is not None:
        g.node(resize_nearest, (x,), ResizeNearest(g.integer(1, 9), g.integer(1, 9)))


STEPS: tuple[Callable[[Grower], None], ...] = (
    *(_conv,) * 5, *(_binary,) * 4, *(_unary,) * 2, _clamp, _pool, _pool, _linear, _concat, _concat,
    _slice, _reshape, _pad, _mean, _softmax, _transpose, _resize, _requantize,
)  # fmt: skip


def grow(
    draw: st.DrawFn, params: dict[str, Param], names: set[str], *, rigid: bool, most: int
) -> Graph:
    """One random graph; several inputs and outputs, among them values that are read later."""
    g = Grower(draw, Builder(params, names), draw(st.sampled_from(DTYPES)), rigid)
    for _ in range(g.integer(1, 2)):
        g.input()
    for _ in range(g.integer(1, most)):
        draw(st.sampled_from(STEPS))(g)
    made = [v for n in g.b.nodes for v in n.outputs]
    if not made:
        relu = UNARY["relu"]
        made = [g.b.add(relu, (g.pool[0],), type=g.pool[0].type, name="v")]
    outputs = [made[-1]]
    read = {v.name for n in g.b.nodes for v in n.inputs}
    loose = [v for v in made[:-1] if v.name not in read]
    outputs += [v for v in loose if rigid or draw(st.booleans())]
    if draw(st.booleans()):
        outputs += [v for v in (made[g.integer(0, len(made) - 1)],) if v not in outputs]
    if not rigid and g.integer(0, 7) == 0:
        outputs.append(draw(st.sampled_from((g.pool[0], made[-1]))))
    return g.b.graph(outputs)


@st.composite
def modules(draw: st.DrawFn, *, graphs: int = 6, rigid: bool = False, most: int = 9) -> Module:
    """`graphs` random graphs as the entries of one module."""
    params: dict[str, Param] = {}
    names: set[str] = set()
    entries = {f"case{k}": grow(draw, params, names, rigid=rigid, most=most) for k in range(graphs)}
    return Module(entries, params, {}, "random")


@st.composite
def chains(draw: st.DrawFn, *, graphs: int = 4) -> tuple[Module, Mapping[str, tuple[str, ...]]]:
    """Chains that can stream, and for each entry the values of a group: all that it makes."""
    params: dict[str, Param] = {}
    names: set[str] = set()
    entries: dict[str, Graph] = {}
    groups: dict[str, tuple[str, ...]] = {}
    for k in range(graphs):
        dtype = draw(st.sampled_from((DType.S8, DType.S16, DType.F32)))
        g = Grower(draw, Builder(params, names), dtype)
        shape = (1, g.integer(5, 12), g.integer(2, 6), g.integer(1, 4))
        g.pool.append(g.b.input("x", TensorType(shape, dtype, g.quant())))
        for _ in range(g.integer(2, 5)):
            before = len(g.pool)
            draw(st.sampled_from((_stream_conv, _stream_conv, _stream_pool, _residual)))(g)
            if len(g.pool) > before and g.pool[-1].type.shape[1] < 2:
                break
        if not g.b.nodes:
            g.node(UNARY["relu"], (g.pool[0],))
        entries[f"case{k}"] = g.b.graph((g.b.nodes[-1].output,))
        groups[f"case{k}"] = tuple(n.output.name for n in g.b.nodes)
    return Module(entries, params, {}, "chains"), groups


def _stream_conv(g: Grower) -> None:
    x = g.pool[-1]
    shape = x.type.shape
    groups = shape[3] if g.draw(st.booleans()) else 1
    window = g.integer(1, min(4, shape[1])), g.integer(1, min(3, shape[2]))
    stride, dilation = (g.integer(1, 3), g.integer(1, 2)), (g.integer(1, 2), 1)
    pads = _pads(g, shape, window, stride, dilation, 3)
    out = groups if groups > 1 else g.integer(1, 5)
    w = _weights(g, (out, *window, shape[3] // groups))
    attrs = Conv2d(stride, dilation, pads, groups)
    g.node(conv2d, (x, w, *_bias(g, x, w)), attrs, _near_product(x, w))


def _stream_pool(g: Grower) -> None:
    x = g.pool[-1]
    window = g.integer(1, min(3, x.type.shape[1])), g.integer(1, min(3, x.type.shape[2]))
    stride = g.integer(1, 2), g.integer(1, 2)
    pads = _pads(g, x.type.shape, window, stride, (1, 1), 2)
    g.node((avg_pool2d, max_pool2d)[g.integer(0, 1)], (x,), Pool(window, stride, pads))


def _residual(g: Grower) -> None:
    """x + f(x), f a convolution that keeps the shape: the producer is read at two distances."""
    x = g.pool[-1]
    size = min(3, x.type.shape[1])
    rows, columns = (same_pad(x.type.shape[k], size, 1, 1) for k in (1, 2))
    if x.type.shape[2] + sum(columns) < size:
        return
    w = _weights(g, (x.type.shape[3], size, size, x.type.shape[3]))
    before = len(g.pool)
    attrs = Conv2d(pad=(*rows, *columns))
    g.node(conv2d, (x, w), attrs, _near_product(x, w))
    if len(g.pool) > before:
        a, b = g.pool[-1], x
        g.node(add, (a, b), Binary(), 1.5 * max(_scale(a), _scale(b)))


def calls_of(module: Module, seed: int, *, each: int = 2) -> list[Call]:
    """`each` calls of every entry: random data, then data at the ends of the range."""
    rng = np.random.default_rng(seed)
    calls: list[Call] = []
    for entry in module.graphs:
        for k in range(each):
            data = {v.name: random_array(rng, v.type, -8.0, 8.0) if v.type.dtype.is_float
                    else random_array(rng, v.type) for v in module.inputs(entry)}  # fmt: skip
            if k == each - 1:
                for name, array in data.items():
                    if array.dtype.kind == "i":
                        ends = np.iinfo(array.dtype)
                        low = rng.random(array.shape) < 0.5
                        data[name] = np.where(low, ends.min, ends.max).astype(array.dtype)
            calls.append(Call(entry, data))
    return calls

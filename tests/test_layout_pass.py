"""The layout pass: transposes move and cancel, and nothing that is computed changes.

Random networks of channels-first layers, element-wise nodes over several operands, moves,
reductions and reshapes, held against themselves behind the pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from lilliput.frontends.channels import Place, avg_pool, conv, max_pool
from lilliput.ir import Array, Builder, DType, Module, Quant, TensorType, Value, verify
from lilliput.ir.interp import Session
from lilliput.ops.conv import Conv2d, conv2d
from lilliput.ops.elementwise import Binary, add, mul
from lilliput.ops.frame import MirrorPad, Pad, mirror_pad, pad
from lilliput.ops.matmul import MatMul, matmul
from lilliput.ops.pick import StridedSlice, Tile, strided_slice, tile
from lilliput.ops.reduce import Reduction, mean, reduce_max, sum_
from lilliput.ops.shape import Concat, Reshape, Slice, Transpose, concat, reshape, slice_, transpose
from lilliput.ops.softmax import softmax
from lilliput.ops.unary import UNARY
from lilliput.passes.axes import compose, inverse, is_identity, is_view, through_reshape
from lilliput.passes.layout import Layout, moved_elements, rows_of_pixels
from lilliput.tolerances import Bound

SUMMED = Bound(1e-5, 1e-4)
"""Sums over several axes are taken in another order."""
S8 = Quant.per_tensor(0.05, 3)


def run(module: Module, seed: int, rows: frozenset[str] = frozenset()) -> list[Array]:
    rng, given = np.random.default_rng(seed), dict[str, Array]()
    for v in module.inputs("infer"):
        shape = v.type.shape
        if v.name in rows:
            shape = (shape[0], shape[3], shape[1], shape[2])
        data: Array = rng.integers(-128, 128, shape).astype(np.int8)
        if v.type.dtype.is_float:
            data = rng.normal(0, 1, shape).astype(np.float32)
        given[v.name] = data.transpose(0, 2, 3, 1) if v.name in rows else data
    found = Session(module).run(given).outputs
    return [a.transpose(0, 3, 1, 2) if n in rows else a for n, a in found.items()]


def check_same(module: Module, seed: int) -> Module:
    """The module behind the pass, which computes the same under the same names."""
    verify(module)
    found = Layout()(module)
    verify(found)
    for a, b in zip(run(module, seed), run(found, seed), strict=True):
        assert a.shape == b.shape
        if a.dtype == np.float32:
            assert not SUMMED.broken(a, b).any()
        else:
            np.testing.assert_array_equal(a, b)
    names = [v.name for v in (*module.inputs("infer"), *module.outputs("infer"))]
    assert names == [v.name for v in (*found.inputs("infer"), *found.outputs("infer"))]
    return found


class Grow:
    """A network that grows step by step over values (1,C,H,W) and what they become."""

    def __init__(self, draw: st.DrawFn, quantised: bool):
        self.draw, self.b = draw, Builder()
        self.rng = np.random.default_rng(draw(st.integers(0, 99)))
        dtype, quant = (DType.S8, S8) if quantised else (DType.F32, None)
        shape = [draw(st.integers(1, 4)) for _ in range(3)]
        self.pool: list[Value] = [self.b.input("x", TensorType((1, *shape), dtype, quant))]

    def pick(self) -> Value:
        return self.draw(st.sampled_from(self.pool[-4:]))

    def constant(self, shape: tuple[int, ...]) -> Value:
        if self.pool[0].type.dtype.is_float:
            return self.b.param("k", self.rng.normal(0, 1, shape).astype(np.float32))
        return self.b.param("k", self.rng.integers(-128, 128, shape).astype(np.int8), S8)

    def step(self) -> None:
        x = self.pick()
        if math.prod(x.type.shape) > 2000:
            return
        kind = self.draw(st.sampled_from(list(STEPS)))
        y = STEPS[kind](self, x)
        if y is not None:
            self.pool.append(y)


def _conv(g: Grow, x: Value) -> Value | None:
    if len(x.type.shape) != 4 or not x.type.dtype.is_float:
        return None
    c = x.type.shape[1]
    w = g.constant((g.draw(st.integers(1, 4)), c, 1, 1))
    p = Place(g.b, "conv")
    return conv(p, x, w, stride=(1, 1), pads=[(0, 0)] * 2, dilation=(1, 1))


def _pool(g: Grow, x: Value) -> Value | None:
    if len(x.type.shape) != 4 or min(x.type.shape[2:]) < 2:
        return None
    layer = g.draw(st.sampled_from([max_pool, avg_pool]))
    p = Place(g.b, "pool")
    return layer(p, x, kernel=(2, 2), stride=(1, 1), pads=[(0, 1), (1, 0)])


def _unary(g: Grow, x: Value) -> Value:
    return g.b.add(UNARY["relu"], (x,))


def _binary(g: Grow, x: Value) -> Value:
    """With another value of the shape, with one that broadcasts, or with a constant."""
    others = [v for v in g.pool if v.type.shape == x.type.shape]
    shape = tuple(d if g.draw(st.booleans()) else 1 for d in x.type.shape)
    shape = shape[g.draw(st.integers(0, len(shape))) :]
    other = g.draw(st.sampled_from([*others, g.constant(shape)]))
    pair = (x, other) if g.draw(st.booleans()) else (other, x)
    return g.b.add(g.draw(st.sampled_from([add, mul])), pair, Binary(), type=x.type)


def _broadcast(g: Grow, x: Value) -> Value:
    """A gate: the mean of each channel, times the map."""
    axes = tuple(sorted(g.draw(st.sets(st.integers(0, len(x.type.shape) - 1), min_size=1))))
    gate = g.b.add(mean, (x,), Reduction(axes))
    return g.b.add(mul, (x, gate), type=x.type)


def _transpose(g: Grow, x: Value) -> Value:
    return g.b.add(
        transpose, (x,), Transpose(tuple(g.draw(st.permutations(range(len(x.type.shape))))))
    )


def _reshape(g: Grow, x: Value) -> Value:
    """Axes split and joined, axes of 1 put in."""
    shape = [d for d in x.type.shape if d != 1 or g.draw(st.booleans())]
    if len(shape) > 1 and g.draw(st.booleans()):
        k = g.draw(st.integers(0, len(shape) - 2))
        shape[k : k + 2] = [shape[k] * shape[k + 1]]
    if shape and g.draw(st.booleans()):
        k = g.draw(st.integers(0, len(shape) - 1))
        if shape[k] % 2 == 0:
            shape[k : k + 1] = [2, shape[k] // 2]
    if len(shape) < 5 and g.draw(st.booleans()):
        shape.insert(g.draw(st.integers(0, len(shape))), 1)
    return g.b.add(reshape, (x,), Reshape(tuple(shape or [1])))


def _reduce(g: Grow, x: Value) -> Value:
    axes = tuple(sorted(g.draw(st.sets(st.integers(0, len(x.type.shape) - 1), min_size=1))))
    op = g.draw(st.sampled_from([mean, reduce_max, sum_]))
    keep = g.draw(st.booleans()) or len(axes) == len(x.type.shape)
    return g.b.add(op, (x,), Reduction(axes, keep))


def _moves(g: Grow, x: Value) -> Value:
    rank, shape = len(x.type.shape), x.type.shape
    a = [g.draw(st.integers(0, 1)) for _ in range(rank)]
    b = [g.draw(st.integers(0, 1)) for _ in range(rank)]
    box = tuple(min(i, d - 1) for i, d in zip(a, shape, strict=True))
    left = tuple(d - i for i, d in zip(box, shape, strict=True))
    which = g.draw(st.integers(0, 4))
    if which == 0:
        return g.b.add(slice_, (x,), Slice(box, left))
    if which == 1:
        return g.b.add(pad, (x,), Pad(tuple(a), tuple(b), 1))
    if which == 2:
        limit = tuple(min(i, d - 1) for i, d in zip(b, shape, strict=True))
        return g.b.add(mirror_pad, (x,), MirrorPad(box, limit))
    if which == 3:
        size = tuple(-(-d // 2) for d in shape)
        return g.b.add(strided_slice, (x,), StridedSlice((0,) * rank, size, (2,) * rank))
    return g.b.add(tile, (x,), Tile(tuple(1 + i for i in a)))


def _concat(g: Grow, x: Value) -> Value:
    axis = g.draw(st.integers(0, len(x.type.shape) - 1))
    others = [v for v in g.pool if v.type == x.type]
    parts = [
        x,
        g.draw(st.sampled_from(others)),
        *([g.constant(x.type.shape)] * g.draw(st.booleans())),
    ]
    return g.b.add(concat, parts, Concat(axis))


def _softmax(g: Grow, x: Value) -> Value | None:
    return g.b.add(softmax, (x,)) if x.type.dtype.is_float else None


def _product(g: Grow, x: Value) -> Value | None:
    if len(x.type.shape) < 2 or not x.type.dtype.is_float:
        return None
    return g.b.add(matmul, (x, x), MatMul(adj_b=True))


STEPS: dict[str, Callable[[Grow, Value], Value | None]] = {
    "conv": _conv, "pool": _pool, "unary": _unary, "binary": _binary, "gate": _broadcast,
    "transpose": _transpose, "transpose again": _transpose, "reshape": _reshape,
    "reduce": _reduce, "moves": _moves, "concat": _concat, "softmax": _softmax,
    "product": _product,
}  # fmt: skip


@st.composite
def networks(draw: st.DrawFn) -> Module:
    g = Grow(draw, draw(st.booleans()))
    for _ in range(draw(st.integers(2, 12))):
        g.step()
    outputs = draw(st.lists(st.sampled_from(g.pool), min_size=1, max_size=3, unique_by=id))
    return g.b.module(outputs)


@given(networks(), st.integers(0, 9))
def test_random_networks(module: Module, seed: int) -> None:
    check_same(module, seed)


@given(networks(), st.integers(0, 9))
def test_rows_of_pixels(module: Module, seed: int) -> None:
    found, rows = rows_of_pixels(Layout()(module))
    verify(found)
    assert moved_elements(found) <= moved_elements(Layout()(module))
    for a, b in zip(run(module, seed), run(found, seed, rows), strict=True):
        assert a.shape == b.shape
        assert not SUMMED.broken(a, b).any() if a.dtype == np.float32 else (a == b).all()


# Axes -------------------------------------------------------------------------------------


@given(st.permutations(range(5)), st.permutations(range(5)))
def test_permutations(first: list[int], then: list[int]) -> None:
    x = np.arange(120).reshape(1, 2, 3, 4, 5)
    a, b = tuple(first), tuple(then)
    np.testing.assert_array_equal(x.transpose(a).transpose(b), x.transpose(compose(a, b)))
    assert is_identity(compose(a, inverse(a)))
    moved = x.transpose(a).reshape(-1).tolist() != x.reshape(-1).tolist()
    assert is_view(x.shape, a) != moved


@given(st.data())
def test_reshapes_behind_transposes(data: st.DataObject) -> None:
    """Where the pair can be swapped, both orders give the same."""
    shape = tuple(data.draw(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1, max_size=4)))
    perm = tuple(data.draw(st.permutations(range(len(shape)))))
    x = np.arange(math.prod(shape)).reshape(shape)
    y = x.transpose(perm)
    wanted = [d for d in y.shape if d != 1 or data.draw(st.booleans())]
    if len(wanted) > 1 and data.draw(st.booleans()):
        k = data.draw(st.integers(0, len(wanted) - 2))
        wanted[k : k + 2] = [wanted[k] * wanted[k + 1]]
    wanted.insert(data.draw(st.integers(0, len(wanted))), 1)
    found = through_reshape(shape, perm, wanted)
    if found is not None:
        other, back = found
        np.testing.assert_array_equal(y.reshape(wanted), x.reshape(other).transpose(back))


def test_channel_shuffle_stays_last() -> None:
    """A reshape that splits channels, a transpose of the parts, and back: no map is moved."""
    b = Builder()
    x = b.input("x", TensorType((1, 5, 5, 6), DType.F32))
    first = b.add(transpose, (x,), Transpose((0, 3, 1, 2)))
    parts = b.add(reshape, (first,), Reshape((1, 2, 3, 5, 5)))
    mixed = b.add(transpose, (parts,), Transpose((0, 2, 1, 3, 4)))
    whole = b.add(reshape, (mixed,), Reshape((1, 6, 5, 5)))
    module = b.module([b.add(transpose, (whole,), Transpose((0, 2, 3, 1)))])
    found = check_same(module, 0)
    moves = [n for n in found.graphs["infer"].nodes if n.op is transpose]
    assert [n.output.type.shape for n in moves] == [(1, 5, 5, 3, 2)]


def test_a_cube_is_moved_all_the_same() -> None:
    """Of a value of equal extents the transpose has the same shape, and is another value."""
    w = np.random.default_rng(0).normal(size=(8, 3, 3, 8)).astype(np.float32)
    b = Builder()
    x = b.input("x", TensorType((1, 8, 8, 8), DType.F32))
    y = b.add(transpose, (x,), Transpose((0, 2, 3, 1)))
    y = b.add(UNARY["relu"], (y,))
    y = b.add(conv2d, (y, b.param("w", w)), Conv2d(pad=(1, 1, 1, 1)))
    check_same(b.module((y,)), 0)

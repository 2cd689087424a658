"""Networks over a window of frames: random ones, and the wake word network of MLPerf Tiny.

One idea: `Frames` grows a network from its newest value; weights and scales come from one seeded
generator, so a network is a function of the numbers that a test draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from tests.samples import random_array

from lilliput.ir import Builder, DType, Module, Quant, TensorType, Value
from lilliput.ops.conv import Conv2d, Linear, conv2d, linear
from lilliput.ops.elementwise import add, mul
from lilliput.ops.frame import Pad, ResizeNearest, pad, resize_nearest
from lilliput.ops.pool import Pool, avg_pool2d, max_pool2d
from lilliput.ops.reduce import Reduction, mean
from lilliput.ops.shape import Concat, Reshape, Slice, concat, reshape, slice_
from lilliput.ops.unary import relu
from lilliput.passes.canonicalize import Canonicalize

Ends = tuple[int, int]


@dataclass
class Frames:
    """Grows a network; every value is (1,T,W,C), or (1,W,T,C) where `time` is 2."""

    rng: np.random.Generator
    dtype: DType = DType.S8
    time: int = 1
    b: Builder = field(default_factory=lambda: Builder(names=set()))

    def activations(self, *shape: int, zero_point: int | None = None) -> TensorType:
        if self.dtype is DType.F32:
            return TensorType(shape, self.dtype)
        drawn = int(self.rng.integers(-40, 41)) if zero_point is None else zero_point
        zero = drawn if self.dtype is DType.S8 else 0
        scale = 0.05 if self.dtype is DType.S8 else 2e-4
        return TensorType(shape, self.dtype, Quant.per_tensor(scale, zero))

    def map(self, rows: int, width: int, channels: int) -> tuple[int, ...]:
        return (1, rows, width, channels) if self.time == 1 else (1, width, rows, channels)

    def input(self, rows: int, width: int, channels: int) -> Value:
        return self.b.input("x", self.activations(*self.map(rows, width, channels)))

    def rows(self, x: Value) -> int:
        return x.type.shape[self.time]

    def pair(self, along: int, across: int) -> tuple[int, int]:
        """(rows, columns) of an attribute from what it is along time and across."""
        return (along, across) if self.time == 1 else (across, along)

    def margin(self, ends: Ends) -> tuple[int, int, int, int]:
        return (*ends, 0, 0) if self.time == 1 else (0, 0, *ends)

    def weights(self, name: str, *shape: int) -> Value:
        if self.dtype is DType.F32:
            data = self.rng.normal(0, 1 / math.sqrt(math.prod(shape[1:])), shape)
            return self.b.param(name, data.astype(np.float32))
        data = self.rng.integers(-127, 127, shape, endpoint=True).astype(np.int8)
        scale = float(np.float32(0.02 / math.sqrt(math.prod(shape[1:]))))
        return self.b.param(name, data, Quant((scale,) * shape[0], (0,) * shape[0], 0))

    def bias(self, name: str, count: int) -> Value:
        if self.dtype is DType.F32:
            return self.b.param(name, self.rng.normal(0, 1, count).astype(np.float32))
        kind = np.int32 if self.dtype is DType.S8 else np.int64
        return self.b.param(name, self.rng.integers(-300, 300, count).astype(kind))

    def conv(
        self,
        x: Value,
        taps: int,
        channels: int = 0,
        *,
        stride: int = 1,
        dilation: int = 1,
        ends: Ends = (0, 0),
        name: str = "conv",
    ) -> Value:
        """`channels` 0: depthwise."""
        inside = x.type.shape[3]
        out, groups = (channels, 1) if channels else (inside, inside)
        operands = (
            x,
            self.weights(f"{name}/w", out, *self.pair(taps, 1), inside // groups),
            self.bias(f"{name}/b", out),
        )
        attrs = Conv2d(self.pair(stride, 1), self.pair(dilation, 1), self.margin(ends), groups)
        span = (taps - 1) * dilation + 1
        rows = (self.rows(x) + sum(ends) - span) // stride + 1
        shape = self.map(rows, x.type.shape[3 - self.time], out)
        return self.b.add(conv2d, operands, attrs, type=self.activations(*shape), name=name)

    def pool(self, x: Value, taps: int, stride: int, ends: Ends, *, average: bool) -> Value:
        op = avg_pool2d if average else max_pool2d
        attrs = Pool(self.pair(taps, 1), self.pair(stride, 1), self.margin(ends))
        return self.b.add(op, (x,), attrs, name="pool")

    def padded(self, x: Value, ends: Ends) -> Value:
        before, after = [0] * 4, [0] * 4
        before[self.time], after[self.time] = ends
        value = x.type.zero_point
        return self.b.add(pad, (x,), Pad(tuple(before), tuple(after), value), name="pad")

    def cropped(self, x: Value, first: int, count: int) -> Value:
        begin, size = [0] * 4, list(x.type.shape)
        begin[self.time], size[self.time] = first, count
        return self.b.add(slice_, (x,), Slice(tuple(begin), tuple(size)), name="crop")

    def sum(self, a: Value, b: Value) -> Value:
        type = self.activations(*a.type.shape)
        return self.b.add(add, (a, b), type=type, name="sum")

    def relu(self, x: Value) -> Value:
        return self.b.add(relu, (x,), type=x.type, name="relu")

    def beside(self, a: Value, b: Value) -> Value:
        """The channels of both, one behind the other, in one scale."""
        same = self.b.add(add, (b, self.zero(a.type)), type=a.type.with_shape(*b.type.shape))
        return self.b.add(concat, (a, same), Concat(3), name="beside")

    def zero(self, type: TensorType) -> Value:
        data = np.full((1, 1, 1, 1), type.zero_point, type.dtype.numpy)
        return self.b.param("zero", data, type.quant)

    def upsampled(self, x: Value) -> Value:
        rows, columns = x.type.shape[1:3]
        twice = (2 * rows, columns) if self.time == 1 else (rows, 2 * columns)
        return self.b.add(resize_nearest, (x,), ResizeNearest(*twice), name="up")

    def gated(self, x: Value) -> Value:
        """Each channel times a number that depends on the whole window."""
        channels = x.type.shape[3]
        seen = self.b.add(mean, (x,), Reduction((1, 2)), type=self.activations(1, 1, 1, channels))
        gate = self.conv(seen, 1, channels, name="gate")
        return self.b.add(mul, (x, gate), type=self.activations(*x.type.shape), name="gated")

    def pooled(self, x: Value, classes: int = 3) -> Value:
        type = self.activations(1, x.type.shape[3])
        seen = self.b.add(mean, (x,), Reduction((1, 2), keepdims=False), type=type, name="mean")
        return self.classes(seen, classes)

    def flat(self, x: Value, classes: int = 3) -> Value:
        return self.classes(
            self.b.add(reshape, (x,), Reshape((1, x.type.size)), name="flat"), classes
        )

    def classes(self, x: Value, count: int) -> Value:
        operands = (x, self.weights("fc/w", count, x.type.shape[1]), self.bias("fc/b", count))
        return self.b.add(linear, operands, Linear(), type=self.activations(1, count), name="y")

    def module(self, *outputs: Value, name: str = "timed") -> Module:
        return Canonicalize()(self.b.module(list(outputs), name=name))

    def frames(self, module: Module, count: int, hop: int) -> list[np.ndarray]:
        """`count` calls of `hop` new frames for a network over a window."""
        (source,) = module.inputs(module.entry)
        shape = list(source.type.shape)
        shape[self.time] = hop
        return [random_array(self.rng, source.type.with_shape(*shape)) for _ in range(count)]


Choose = Callable[[int, int], int]
"""An integer between two, both included."""


def grow(f: Frames, choose: Choose, layers: int, *, padding: bool = True) -> Module:
    """A network of `layers` layers over time, then a head over the whole window."""
    stack = [f.input(choose(12, 30), choose(1, 2), choose(1, 4))]
    for _ in range(layers):
        stack.append(_layer(f, choose, stack[-1], padding=padding))
    x = stack[-1]
    head = choose(0, 3)
    if head == 3:
        return f.module(x, f.pooled(x))
    return f.module(f.pooled(x) if head == 0 else f.flat(x) if head == 1 else x)


def _layer(f: Frames, choose: Choose, x: Value, *, padding: bool) -> Value:
    kind, rows = choose(0, 9), f.rows(x)
    taps, dilation = choose(1, 4), choose(1, 2)
    span = (taps - 1) * dilation + 1
    ends = (choose(0, taps - 1), choose(0, taps - 1)) if padding else (0, 0)
    stride = choose(1, 2) if rows > 8 else 1
    if rows + sum(ends) < span + stride or rows < taps + 2:
        return f.relu(x)
    if kind < 3:
        channels = choose(0, 4)
        return f.conv(x, taps, channels, stride=stride, dilation=dilation, ends=ends)
    if kind == 3:
        return f.pool(x, taps, stride, ends, average=bool(choose(0, 1)))
    if kind == 4 and padding:
        return f.padded(x, (choose(0, 3), choose(0, 3)))
    if kind == 5:  # a residual: the branch without a window waits for the other one
        y = f.conv(x, taps, x.type.shape[3], ends=ends)
        z = f.conv(y, 2, x.type.shape[3])
        late = choose(0, taps - 1)
        count = min(f.rows(z), rows - late)
        return f.sum(f.cropped(x, late, count), f.cropped(z, 0, count))
    if kind == 6:
        return f.beside(x, f.conv(x, 3, 2, ends=(1, 1) if padding else (0, 0))) if padding else x
    if kind == 7:
        return f.gated(x) if choose(0, 2) == 0 else f.relu(x)
    if kind == 8 and rows <= 10:
        return f.upsampled(x)
    return f.relu(x)


# The wake word network --------------------------------------------------------------------


def wake_word(time: int = 1) -> Module:
    """The streaming benchmark of MLPerf Tiny 1.3: 30 frames of 40 features, weights at random.

    Depthwise convolutions over 3, 5, 10 and 15 frames, none padded, products of 1x1 between
    them, 3 classes: 826,368 MACs for a window.  Time is axis 1, or 2 as in files of Conv1D.
    """
    f = Frames(np.random.default_rng(30), time=time)
    x = f.b.input("features", f.activations(*f.map(30, 1, 40), zero_point=-128))
    for taps, channels in ((3, 128), (5, 128), (10, 128), (15, 32)):
        x = f.conv(f.conv(x, taps, name="dw"), 1, channels, name="pw")
    return f.module(f.flat(x), name="wake_word")

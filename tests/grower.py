"""A random network as it grows, with the data that it is called with.

One idea: every value is grown together with what it holds in each call.  So a scale can be
chosen for the numbers that really come, a divisor can be seen to have no zero, and a node
whose result leaves what the contract covers (infinities, NaN) is not added.  What operators
there are and how one is applied say `network_steps`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from hypothesis import strategies as st
from tests.samples import random_array

from lilliput.errors import TypeMismatch
from lilliput.ir import (
    Array,
    Attrs,
    Builder,
    DType,
    Op,
    Quant,
    TensorType,
    Value,
)
from lilliput.ops.quantize import Requantize, To, cast, dequantize, quantize, requantize
from lilliput.ops.shape import Reshape, reshape

CALLS = 2
MAX_ELEMENTS = 600
MAX_INPUTS = 4
LARGEST_FLOAT = 1e6
SCALED = (DType.S8, DType.S16)
USED = (DType.S8, DType.S16, DType.F32, DType.S32, DType.S64, DType.BOOL)
"""Types of the values of random networks; what else there is (unsigned, int4) has no inputs."""

Fits = Callable[[TensorType], bool]
Pair = tuple[int, int]


@dataclass
class Grower:
    """Grows one graph; `draw` makes every choice, so that failures shrink.

    pool : values that later nodes may read, the newest last
    data : name of a value or parameter -> what it holds in each call
    """

    draw: st.DrawFn
    b: Builder
    rng: np.random.Generator
    pool: list[Value] = field(default_factory=list[Value])
    data: dict[str, tuple[Array, ...]] = field(default_factory=dict[str, tuple[Array, ...]])
    inputs: list[Value] = field(default_factory=list[Value])

    # Choices --------------------------------------------------------------------------

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def chance(self, one_in: int) -> bool:
        return self.integer(1, one_in) == one_in

    def shape(self, rank: int) -> tuple[int, ...]:
        """Odd extents more often than even ones; a batch of one more often than others."""
        extents = (1, 2, 3, 3, 4, 5, 5, 7)
        lead = (1,) if rank == 4 and not self.chance(4) else ()
        rest = [self.draw(st.sampled_from(extents)) for _ in range(rank - len(lead))]
        while math.prod(rest) > MAX_ELEMENTS // 2:
            rest[rest.index(max(rest))] = 1
        return (*lead, *rest)

    def quant(self, dtype: DType, scale: float | None = None) -> Quant | None:
        """A random zero point, often at an end, and a random scale where none is given."""
        if dtype not in SCALED:
            return None
        if scale is None:
            scale = float(10 ** self.rng.uniform(-3, 0.5))
        if dtype is DType.S16:
            return Quant.per_tensor(scale / 64)
        return Quant.per_tensor(scale, self.draw(st.sampled_from((0, 3, -7, 127, -128, 40))))

    # Values ---------------------------------------------------------------------------

    def input(self, type: TensorType, arrays: Sequence[Array] | None = None) -> Value:
        """A new input; its data is random, then at the ends of the range, unless it is given."""
        value = self.b.input("x", type)
        self.data[value.name] = tuple(arrays) if arrays else self._random(type)
        self.inputs.append(value)
        return value

    def _random(self, type: TensorType) -> tuple[Array, ...]:
        first = random_array(self.rng, type)
        if type.dtype in SCALED:
            low, high = type.dtype.bounds
            second = self.rng.choice(np.array([low, high, type.zero_point]), type.shape)
        elif type.dtype.is_float:
            second = np.exp2(self.rng.integers(-6, 5, type.shape)) * np.sign(first)
        elif type.dtype is DType.BOOL:
            second = np.ones(type.shape)
        else:
            second = self.rng.integers(-3, 4, type.shape)
        return first, np.asarray(second).astype(type.dtype.numpy)

    def param(self, array: Array, quant: Quant | None = None) -> Value:
        value = self.b.param("w", array, quant)
        self.data[value.name] = (array,) * CALLS
        return value

    def constant(self, type: TensorType, *, zeros: bool = True) -> Value:
        """A parameter of random data; `zeros`: whether it may have some, see `has_zero`."""
        array = random_array(self.rng, type)
        if not zeros:
            zero = type.zero_point
            array = np.where(np.isin(array, (0, zero)), max(1, zero + 1) % 127 + 1, array)
            if type.dtype.is_float:
                array = np.copysign(np.maximum(np.abs(array), 0.1), array)
            array = array.astype(type.dtype.numpy)
        return self.param(array, type.quant)

    def places(self, shape: tuple[int, ...], extents: Sequence[int]) -> Value:
        """Indices below `extents`, which lie along the last axis: a constant or an input."""
        dtype = DType.S64 if self.chance(5) else DType.S32
        drawn = [self.rng.integers(0, np.array(extents), shape) for _ in range(CALLS)]
        arrays = [a.astype(dtype.numpy) for a in drawn]
        if len(self.inputs) >= MAX_INPUTS or self.chance(2):
            return self.param(arrays[0])
        return self.input(TensorType(shape, dtype), arrays)

    def has_zero(self, value: Value) -> bool:
        """Whether an element means zero or is stored as 0."""
        zeros = (0, value.type.zero_point)
        return any(bool(np.isin(a, zeros).any()) for a in self.data[value.name])

    def pick(self, fits: Fits) -> Value | None:
        """A value made before that fits, the newest ones more often."""
        able = [v for v in self.pool if fits(v.type)]
        back = min(self.integer(0, 2), len(able) - 1)
        return able[len(able) - 1 - back] if able else None

    def operand(self, dtypes: Sequence[DType], ranks: tuple[int, int] = (1, 5)) -> Value | None:
        """A value of one of these types and ranks: made before, converted, or a new input."""
        usable = [d for d in USED if d in dtypes]
        last = self.pool[-1]
        wanted = last.type.dtype
        if wanted not in usable or self.chance(5):
            wanted = self.draw(st.sampled_from(usable))

        def fits(t: TensorType) -> bool:
            return t.dtype is wanted and ranks[0] <= len(t.shape) <= ranks[1]

        found = self.pick(fits)
        if found is not None:
            return found
        rank = self.integer(*ranks)
        if len(self.inputs) < MAX_INPUTS and self.chance(4):
            return self.input(TensorType(self.shape(rank), wanted, self.quant(wanted)))
        converted = self.convert(last, wanted)
        return converted and self.of_rank(converted, ranks)

    def convert(self, x: Value, dtype: DType) -> Value | None:
        """`x` as another type, by the operator that means the same reals where there is one."""
        if x.type.dtype is dtype:
            return x
        if x.type.dtype.is_float and dtype in SCALED:
            return self.node(quantize, (x,), To(dtype), free=True)
        if x.type.dtype in SCALED and dtype.is_float:
            return self.node(dequantize, (x,))
        if x.type.dtype in SCALED and dtype in SCALED:
            return self.node(requantize, (x,), Requantize(dtype), free=True)
        if dtype in SCALED:
            real = self.node(cast, (x,), To(DType.F32))
            return real and self.node(quantize, (real,), To(dtype), free=True)
        return self.node(cast, (x,), To(dtype))

    def of_rank(self, x: Value, ranks: tuple[int, int]) -> Value | None:
        """`x` with axes merged, split or added until their number is within `ranks`."""
        shape = list(x.type.shape)
        while len(shape) > ranks[1]:
            k = self.integer(0, len(shape) - 2)
            shape[k : k + 2] = [shape[k] * shape[k + 1]]
        while len(shape) < ranks[0]:
            k = self.integer(0, len(shape) - 1) if shape else 0
            extent = shape[k] if shape else 1
            factor = next((f for f in (2, 3, 5, 7) if extent % f == 0), 1)
            shape[k : k + 1] = [extent // factor, factor] if self.chance(2) else [1, extent]
        if tuple(shape) == x.type.shape:
            return x
        return self.node(reshape, (x,), Reshape(tuple(shape)))

    def alike(self, x: Value, shape: Sequence[int] | None = None) -> Value:
        """Another value of x's type: made before, a constant, or a new input."""
        type = x.type if shape is None else x.type.with_shape(*shape)
        found = self.pick(lambda t: t == type)
        if found is not None and found is not x:
            return found
        if len(self.inputs) < MAX_INPUTS and self.chance(3):
            return self.input(type)
        return self.constant(type)

    # Nodes ----------------------------------------------------------------------------

    def node(
        self,
        op: Op,
        inputs: Sequence[Value],
        attrs: Attrs | None = None,
        *,
        free: bool = False,
        near: float | None = None,
    ) -> Value | None:
        """A new node; None where the types do not fit or a result leaves the contract.

        free : the quantisation of the result is not the operator's to choose; `near` is the
            scale to begin at
        """
        attrs = op.attrs() if attrs is None else attrs
        try:
            (type,) = op.infer(attrs, [v.type for v in inputs])
        except TypeMismatch:
            return None
        if type.size > MAX_ELEMENTS:
            return None
        if free and type.dtype in SCALED:
            found = self._calibrated(op, inputs, attrs, type, near)
        else:
            found = self._tried(op, inputs, attrs, type)
        if found is None or not all(_ordinary(a) for a in found[1]):
            return None
        value = self.b.add(op, inputs, attrs, type=found[0], name="v")
        self.data[value.name] = found[1]
        self.pool.append(value)
        return value

    def _tried(
        self, op: Op, inputs: Sequence[Value], attrs: Attrs, type: TensorType
    ) -> tuple[TensorType, tuple[Array, ...]] | None:
        """`type` and the results of all calls; None where the operator refuses it."""
        probe = Builder(names=set())
        try:
            probe.add(op, inputs, attrs, type=type)
            (node,) = probe.nodes
            with np.errstate(all="ignore"):
                runs = zip(*(self.data[v.name] for v in inputs), strict=True)
                found = [np.asarray(op.ref(node, run)[0]).reshape(type.shape) for run in runs]
                return type, tuple(a.astype(type.dtype.numpy) for a in found)
        except TypeMismatch:
            return None

    def _calibrated(
        self,
        op: Op,
        inputs: Sequence[Value],
        attrs: Attrs,
        type: TensorType,
        near: float | None,
    ) -> tuple[TensorType, tuple[Array, ...]] | None:
        """A scale at which not all saturates nor vanishes; one time in six any scale at all."""
        quant = self.quant(type.dtype)
        assert quant is not None
        scale = quant.scale[0] if near is None else near
        if self.chance(6):
            return self._tried(op, inputs, attrs, replace(type, quant=quant))
        first = None
        for _ in range(8):
            trial = replace(quant, scale=(float(np.float32(scale)),))
            found = self._tried(op, inputs, attrs, replace(type, quant=trial))
            first = first or found
            step = 4.0 if found is None else _step(found[1], type.dtype)
            if step == 1:
                return found
            if step > 1 and found is not None:
                quant = Quant.per_tensor(scale)  # with all reals on one side of its zero
            scale *= step
        return first


def _step(runs: Sequence[Array], dtype: DType) -> float:
    """What to multiply a scale by: results saturate, vanish, or are well."""
    all_ = np.concatenate([a.reshape(-1).astype(np.int64) for a in runs])
    low, high = dtype.bounds
    if np.mean((all_ == low) | (all_ == high)) > 0.7:
        return 4.0
    return 0.25 if int(all_.max() - all_.min()) < (high - low) // 12 else 1.0


def _ordinary(array: Array) -> bool:
    """Whether floats are finite and not enormous; other types always."""
    return array.dtype.kind != "f" or bool(np.all(np.abs(array) <= LARGEST_FLOAT))


Step = Callable[[Grower], Value | None]
"""Applies one operator to what has been made; None where it could not be applied."""

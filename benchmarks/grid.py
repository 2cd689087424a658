"""The shapes that the cost model is fitted on: one case is one operator, one kernel, one sample.

One idea: what is fitted has the sizes that networks have; an operator's own samples, which
are corners, only stand in for element types without larger shapes.  A case forces its kernel,
so that those that selection would not take are measured too.  To give an operator larger
shapes, add a row to `LARGER`; those whose result has the operands' shape get them from `FRAMES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lilliput.errors import LilliputError
from lilliput.ir.build import Builder
from lilliput.ir.graph import Graph
from lilliput.ir.module import Module, Param
from lilliput.ir.op import Attrs, Kernel, NoAttrs, Op, Sample
from lilliput.ir.types import Array, DType, Quant, TensorType, f32, s8, s16, s32
from lilliput.ops import all_ops
from lilliput.ops.accumulate import Conv2d, FoldBias, Linear
from lilliput.ops.frame import Pad, ResizeNearest
from lilliput.ops.pool import Pool
from lilliput.ops.reduce import Mean
from lilliput.ops.shape import Transpose
from lilliput.ops.softmax import Softmax
from lilliput.ops.training import ConvGrad

FRAMES = ((1, 1, 1, 256), (1, 8, 8, 4), (1, 4, 5, 32), (1, 16, 16, 3), (1, 6, 6, 16))
"""Shapes for operators whose operands and result have one shape."""

# height, width, channels in, channels out, kernel, stride, pad
CONVS = (
    (8, 8, 3, 8, 3, 2, 1),
    (12, 12, 3, 16, 3, 1, 1),
    (8, 8, 8, 16, 3, 1, 1),
    (6, 6, 16, 16, 3, 1, 0),
    (12, 6, 1, 16, 5, 2, 2),
    (4, 4, 24, 24, 3, 1, 1),
    (8, 8, 8, 16, 1, 1, 0),
    (6, 6, 16, 32, 1, 1, 0),
    (4, 4, 48, 32, 1, 1, 0),
    (5, 5, 32, 8, 1, 1, 0),
    (3, 3, 96, 24, 1, 1, 0),
    (1, 1, 128, 64, 1, 1, 0),
)
# height, width, channels, kernel, stride, pad
DEPTHWISE = (
    (12, 12, 8, 3, 1, 1),
    (6, 6, 32, 3, 1, 1),
    (12, 12, 16, 3, 2, 1),
    (5, 5, 64, 3, 1, 1),
    (9, 9, 8, 5, 1, 2),
    (8, 8, 8, 7, 1, 3),
    (16, 16, 8, 3, 1, 1),
)
LINEARS = ((1, 320, 32), (1, 128, 64), (4, 32, 16), (1, 64, 10), (8, 16, 24))
# height, width, channels, kernel, stride
POOLS = (
    (8, 8, 8, 2, 2),
    (12, 12, 16, 3, 2),
    (6, 6, 32, 6, 1),
    (10, 10, 4, 3, 1),
    (12, 12, 16, 2, 2),
    (4, 4, 64, 4, 4),
    (9, 9, 8, 3, 3),
)
MAPS = ((1, 6, 6, 32), (1, 12, 12, 8), (1, 3, 3, 64), (1, 10, 5, 16), (1, 16, 16, 4), (1, 8, 8, 24))
ROWS = ((1, 10), (1, 64), (16, 8), (8, 32), (64, 2))


@dataclass(frozen=True, eq=False)
class Case:
    """`op` has one kernel at most: the one that is measured."""

    op: Op
    sample: Sample


def _x(dtype: DType, *shape: int) -> TensorType:
    quantised = {DType.S8: s8, DType.S16: s16}
    return quantised[dtype](*shape, scale=0.02) if dtype in quantised else f32(*shape)


def _weights(dtype: DType, *shape: int) -> TensorType:
    if dtype is DType.F32:
        return f32(*shape)
    channels = shape[0]
    return TensorType(shape, DType.S8, Quant((0.01,) * channels, (0,) * channels, 0))


def _convs(dtype: DType) -> Iterator[Sample]:
    for h, w, i, o, k, stride, pad in CONVS:
        attrs = Conv2d(stride=(stride, stride), pad=(pad, pad, pad, pad))
        inputs = (_x(dtype, 1, h, w, i), _weights(dtype, o, k, k, i))
        yield _quantised(dtype, inputs, attrs, (1, *_out(h, w, k, stride, pad), o))
    for h, w, c, k, stride, pad in DEPTHWISE:
        attrs = Conv2d(stride=(stride, stride), pad=(pad, pad, pad, pad), groups=c)
        inputs = (_x(dtype, 1, h, w, c), _weights(dtype, c, k, k, 1))
        yield _quantised(dtype, inputs, attrs, (1, *_out(h, w, k, stride, pad), c))


def _out(h: int, w: int, k: int, stride: int, pad: int) -> tuple[int, int]:
    return (h + 2 * pad - k) // stride + 1, (w + 2 * pad - k) // stride + 1


def _quantised(
    dtype: DType, inputs: tuple[TensorType, ...], attrs: Attrs, shape: tuple[int, ...]
) -> Sample:
    return _sample(dtype, inputs, attrs, (_x(dtype, *shape),), (1,))


def _sample(
    dtype: DType,
    inputs: tuple[TensorType, ...],
    attrs: Attrs,
    outputs: tuple[TensorType, ...] = (),
    params: tuple[int, ...] = (),
) -> Sample:
    """Floats stay within [-1, 1], integers take their whole range."""
    low, high = (-1.0, 1.0) if dtype is DType.F32 else (None, None)
    return Sample(inputs, attrs, outputs, params, low, high)


def _linears(dtype: DType) -> Iterator[Sample]:
    for m, i, o in LINEARS:
        yield _quantised(dtype, (_x(dtype, m, i), _weights(dtype, o, i)), Linear(), (m, o))


def _pools(dtype: DType) -> Iterator[Sample]:
    for h, w, c, k, stride in POOLS:
        yield _sample(dtype, (_x(dtype, 1, h, w, c),), Pool((k, k), (stride, stride)))


def _grads(_: DType) -> Iterator[Sample]:
    for h, i, o, k in ((6, 4, 8, 3), (8, 3, 4, 3), (5, 16, 8, 1), (4, 8, 8, 3)):
        p = k // 2
        inputs = (f32(1, h, h, i), f32(1, h, h, o))
        yield Sample(inputs, ConvGrad((k, k), pad=(p, p, p, p)), low=-1.0, high=1.0)


def _each(attrs: Attrs, shapes: Sequence[tuple[int, ...]], dtype: DType) -> Iterator[Sample]:
    for shape in shapes:
        yield _sample(dtype, (_x(dtype, *shape),), attrs)


def _losses(_: DType) -> Iterator[Sample]:
    for shape in ROWS:
        yield Sample((f32(*shape),) * 2, low=0.0, high=1.0)


def _folds(_: DType) -> Iterator[Sample]:
    for shape in ((16, 3, 3, 8), (32, 64), (64, 16), (8, 5, 5, 3)):
        yield Sample((s8(*shape), s32(shape[0])), FoldBias(-7))


def _resizes(dtype: DType) -> Iterator[Sample]:
    for _, h, w, c in MAPS:
        yield from _each(ResizeNearest(2 * h, 2 * w), ((1, h, w, c),), dtype)


def _transposes(dtype: DType) -> Iterator[Sample]:
    yield from _each(Transpose((0, 2, 1, 3)), MAPS, dtype)
    yield from _each(Transpose((0, 3, 1, 2)), MAPS[:2], dtype)


def _means(dtype: DType) -> Iterator[Sample]:
    for axes in ((1, 2), (2,), (3,)):
        yield from _each(Mean(axes), MAPS, dtype)


LARGER: Mapping[str, Callable[[DType], Iterator[Sample]]] = {
    "conv2d": _convs,
    "linear": _linears,
    "avg_pool2d": _pools,
    "max_pool2d": _pools,
    "mean": _means,
    "softmax": lambda dtype: _each(Softmax(), ROWS, dtype),
    "softmax_cross_entropy": _losses,
    "conv2d_grad_w": _grads,
    "fold_bias": _folds,
    "resize_nearest": _resizes,
    "pad": lambda dtype: _each(Pad((0, 1, 1, 0), (0, 1, 1, 0)), MAPS, dtype),
    "transpose": _transposes,
}
"""Operator -> larger samples of one element type, where `FRAMES` alone would not do."""


def _same_shape(op: Op, dtype: DType) -> Iterator[Sample]:
    """The operator's own sample of this dtype, in `FRAMES`."""
    for sample in op.samples:
        first = sample.inputs[0]
        alike = all(t.shape == first.shape for t in (*sample.inputs, *sample.outputs))
        plain = all(t.quant is None or t.quant.is_per_tensor for t in sample.inputs)
        if first.dtype is dtype and alike and plain:
            for shape in FRAMES:
                inputs = tuple(replace(t, shape=shape) for t in sample.inputs)
                outputs = tuple(replace(t, shape=shape) for t in sample.outputs)
                yield replace(sample, inputs=inputs, outputs=outputs)
            return


def cases() -> list[Case]:
    """Every case, in an order that depends on nothing but the registry."""
    return [case for op in all_ops() for case in cases_of(op)]


def cases_of(op: Op) -> list[Case]:
    """The cases of one operator; none for one that computes nothing."""
    if op.view or not (op.kernels or op.scalar):
        return []
    larger = [s for d in _dtypes(op) for s in _larger(op, d)]
    covered = {s.inputs[0].dtype for s in larger}
    samples = [*larger, *(s for s in op.samples if s.inputs[0].dtype not in covered)]
    forced = [replace(op, kernels=(k,)) for k in op.kernels] or [op]
    return [Case(f, s) for s in samples for f in forced if takes(f, s)]


def _larger(op: Op, dtype: DType) -> Iterator[Sample]:
    make = LARGER.get(op.name)
    return make(dtype) if make else _same_shape(op, dtype)


def _dtypes(op: Op) -> tuple[DType, ...]:
    """The element types of networks that the operator's samples have, in a fixed order."""
    found = {s.inputs[0].dtype for s in op.samples}
    return tuple(d for d in (DType.S8, DType.S16, DType.F32, DType.S32) if d in found)


def takes(op: Op, sample: Sample) -> bool:
    """Whether the type rule and the kernel accept the case."""
    try:
        graph = module([Case(op, sample)]).graphs["case0"]
    except LilliputError:
        return False
    kernel: Kernel | None = next(iter(op.kernels), None)
    return kernel is None or kernel.accepts(graph.nodes[0]) is None


def module(chosen: Sequence[Case], seed: int = 0) -> Module:
    """One module with an entry `case<k>` for each case; parameters are random."""
    rng = np.random.default_rng(seed)
    params: dict[str, Param] = {}
    names: set[str] = set()
    graphs: dict[str, Graph] = {}
    for k, case in enumerate(chosen):
        b, sample = Builder(params, names), case.sample
        operands = [
            b.param(f"p{k}_{i}", data(rng, t, sample), t.quant, t.dtype)
            if i in sample.params
            else b.input(f"x{k}_{i}", t)
            for i, t in enumerate(sample.inputs)
        ]
        attrs = case.op.attrs() if type(sample.attrs) is NoAttrs else sample.attrs
        types = sample.outputs or None
        outputs = b.add_multi(case.op, operands, attrs, types=types, name=f"y{k}")
        graphs[f"case{k}"] = b.graph(outputs)
    return Module(graphs, params, {}, "fit")


def data(rng: np.random.Generator, type: TensorType, sample: Sample) -> Array:
    """Random elements within the sample's range."""
    if type.dtype.is_float:
        low, high = sample.low, sample.high
        span = (-4.0 if low is None else low, 4.0 if high is None else high)
        return rng.uniform(*span, type.shape).astype(np.float32)
    if type.dtype is DType.BOOL:
        return rng.integers(0, 2, type.shape).astype(bool)
    low, high = type.dtype.bounds if type.dtype.itemsize <= 2 else (-100_000, 100_000)
    low = low if sample.low is None else max(low, int(sample.low))
    high = high if sample.high is None else min(high, int(sample.high))
    return rng.integers(low, high, type.shape, endpoint=True).astype(type.dtype.numpy)


def inputs(chosen: Module, entry: str, case: Case, seed: int = 0) -> Mapping[str, Array]:
    """Random inputs of one entry."""
    rng = np.random.default_rng([seed, case.sample.inputs[0].size])
    return {v.name: data(rng, v.type, case.sample) for v in chosen.inputs(entry)}

"""The shapes that the cost model is fitted on: one case is one operator, one kernel, one sample.

One idea: what is fitted has the sizes that networks have.  A row of `LARGER` gives an operator's
attributes and the shapes of its operands; element types, scales, constants and ranges are those
of the operator's own sample, which is grown to these shapes.  Operators without a row are
grown to `FRAMES`, and measured on their samples as they are where they cannot be.  A case
forces its kernel, so that those that selection would not take are measured too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lilliput.devices.device import Core
from lilliput.errors import LilliputError
from lilliput.ir.build import Builder
from lilliput.ir.graph import Graph, Node
from lilliput.ir.module import Module, Param
from lilliput.ir.op import Attrs, Kernel, NoAttrs, Op, Sample
from lilliput.ir.types import Array, DType, Quant, TensorType
from lilliput.ops import all_ops
from lilliput.ops.accumulate import Conv2d, FoldBias, Linear, MatMul, Parts, TransposeConv
from lilliput.ops.blocks import Blocks
from lilliput.ops.clipping import Between
from lilliput.ops.conv_back import ConvBack
from lilliput.ops.conv_grads import ConvGrad
from lilliput.ops.detection import Detection
from lilliput.ops.frame import MirrorPad, Pad, ResizeNearest
from lilliput.ops.index import OneHot, Scatter
from lilliput.ops.lstm import LSTM
from lilliput.ops.pick import StridedSlice, Tile
from lilliput.ops.pool import Pool
from lilliput.ops.reduce import Reduction
from lilliput.ops.resize import ResizeBilinear
from lilliput.ops.reverse import ReverseSequence
from lilliput.ops.rounded import width
from lilliput.ops.search import Arg, Cumsum, TopK
from lilliput.ops.shape import Broadcast, Transpose
from lilliput.ops.softmax import Softmax
from lilliput.ops.time_filter import TimeFilter

Shape = tuple[int, ...]
Grown = tuple[Attrs, tuple[Shape, ...]]
"""Attributes of a node, and the shapes of its operands."""

DTYPES = (DType.S8, DType.S16, DType.F32, DType.S32)
"""Element types that are measured, and bool where an operator takes none of them; `plan.cost`
predicts the others as one of their size."""

FRAMES: Sequence[Shape] = ((1, 1, 1, 256), (1, 8, 8, 4), (1, 4, 5, 32), (1, 16, 16, 3))
"""Shapes for operators whose operands and result have one shape."""

# height, width, channels in, channels out, kernel, stride, pad
CONVS = (
    (8, 8, 3, 8, 3, 2, 1),
    (12, 12, 3, 16, 3, 1, 1),
    (8, 8, 8, 16, 3, 1, 1),
    (6, 6, 16, 16, 3, 1, 0),
    (12, 6, 1, 16, 5, 2, 2),
    (4, 4, 24, 24, 3, 1, 1),
    (16, 16, 16, 16, 3, 1, 1),
    (8, 8, 32, 32, 3, 1, 1),
    (4, 8, 64, 48, 3, 1, 1),
    (7, 11, 12, 20, 3, 1, 1),
    (8, 8, 8, 16, 1, 1, 0),
    (6, 6, 16, 32, 1, 1, 0),
    (4, 4, 48, 32, 1, 1, 0),
    (5, 5, 32, 8, 1, 1, 0),
    (3, 3, 96, 24, 1, 1, 0),
    (24, 24, 8, 16, 1, 1, 0),
    (9, 9, 64, 64, 1, 1, 0),
    (24, 24, 3, 8, 3, 2, 1),
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
    (25, 5, 16, 3, 1, 1),
    (32, 32, 4, 3, 1, 1),
    (24, 24, 6, 3, 2, 1),
    (3, 3, 48, 3, 1, 1),
    (11, 11, 12, 5, 1, 2),
    (14, 14, 8, 5, 2, 2),
    (12, 12, 8, 7, 2, 3),
)
# height, width, channels in, channels out, kernel, stride
TRANSPOSED = (
    (4, 4, 8, 8, 2, 2),
    (3, 3, 24, 8, 3, 2),
    (5, 5, 4, 16, 4, 2),
    (6, 6, 8, 4, 3, 1),
    (2, 3, 32, 12, 3, 3),
    (4, 5, 16, 6, 2, 1),
    (3, 4, 6, 20, 5, 2),
    (6, 6, 12, 2, 2, 2),
)
# rows, inputs, outputs
LINEARS = ((1, 320, 32), (1, 128, 64), (4, 32, 16), (1, 64, 10), (8, 16, 24))
# matrices, rows, depth, columns
PRODUCTS = ((1, 4, 64, 8), (2, 8, 16, 16), (1, 16, 32, 4), (4, 6, 8, 20), (1, 12, 12, 12))
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
MAPS = ((1, 6, 6, 32), (1, 12, 12, 8), (1, 2, 4, 64), (1, 10, 4, 16), (1, 16, 16, 4), (1, 8, 8, 24))
FEW_MAPS = MAPS[:5]
ROWS = ((1, 10), (1, 64), (16, 8), (8, 32), (64, 2))
LINES = ((2, 32, 8), (1, 100, 4), (16, 12, 3), (4, 20, 16), (1, 16, 40))
"""Rows, pixels and channels, for operators along the pixels."""


@dataclass(frozen=True, eq=False)
class Case:
    """`op` has one kernel at most: the one that is measured."""

    op: Op
    sample: Sample

    def node(self) -> Node:
        """The node alone; raises LilliputError where the type rule does not take it."""
        return module([self]).graphs["case0"].nodes[0]


def _convs() -> Iterator[Grown]:
    for h, w, i, o, k, stride, pad in CONVS:
        attrs = Conv2d(stride=(stride, stride), pad=(pad, pad, pad, pad))
        yield attrs, ((1, h, w, i), (o, k, k, i))
    for h, w, c, k, stride, pad in DEPTHWISE:
        attrs = Conv2d(stride=(stride, stride), pad=(pad, pad, pad, pad), groups=c)
        yield attrs, ((1, h, w, c), (c, k, k, 1))


def _transposed() -> Iterator[Grown]:
    for h, w, i, o, k, stride in TRANSPOSED:
        attrs = TransposeConv((stride, stride), (0, 0), (h * stride, w * stride))
        yield attrs, ((1, h, w, i), (o, k, k, i))


# height, width, channels in, channels out, kernel, stride, groups
BACKWARD = (
    (6, 6, 4, 8, 3, 1, 1),
    (8, 8, 3, 4, 3, 1, 1),
    (5, 5, 16, 8, 1, 1, 1),
    (8, 8, 24, 12, 1, 1, 1),
    (4, 4, 32, 40, 1, 1, 1),
    (4, 4, 8, 8, 3, 2, 1),
    (7, 7, 8, 6, 3, 1, 1),
    (5, 5, 12, 6, 3, 1, 1),
    (8, 8, 12, 12, 3, 1, 12),
    (6, 9, 20, 20, 3, 2, 20),
    (7, 7, 16, 16, 5, 1, 16),
    (5, 5, 24, 24, 7, 1, 24),
    (10, 10, 8, 16, 1, 1, 1),
    (3, 3, 48, 16, 1, 1, 1),
    (6, 6, 20, 20, 1, 1, 1),
    (10, 10, 8, 8, 3, 1, 8),
    (4, 4, 40, 40, 5, 1, 40),
)


PLANES: Sequence[tuple[int, int, int, int]] = (
    (4, 4, 96, 7),
    (4, 4, 24, 5),
    (4, 4, 40, 3),
    (8, 8, 16, 7),
    (8, 8, 48, 5),
    (5, 5, 12, 5),
    (2, 2, 64, 3),
    (10, 7, 8, 7),
)
"""Rows, columns, channels and window of depthwise convolutions whose window is half a map."""
COPIES: Sequence[tuple[int, int, int, int]] = (
    (8, 8, 40, 7),
    (16, 16, 12, 5),
    (8, 8, 48, 3),
    (12, 10, 24, 3),
)
"""The same of those that step over two pixels at a time."""


def _weight_gradients() -> Iterator[Grown]:
    for h, w, i, o, k, stride, groups in BACKWARD:
        p = k // 2
        dy = (1, (h - 1) // stride + 1, (w - 1) // stride + 1, o)
        attrs = ConvGrad((k, k), (stride, stride), (1, 1), (p, p, p, p), groups)
        yield attrs, ((1, h, w, i), dy)
        yield replace(attrs, carried=True), ((1, h, w, i), dy)


def _gradients() -> Iterator[Grown]:
    for h, w, i, o, k, stride, groups in BACKWARD:
        p = k // 2
        dy = (1, (h - 1) // stride + 1, (w - 1) // stride + 1, o)
        attrs = ConvBack((h, w), (stride, stride), (1, 1), (p, p, p, p), groups)
        yield attrs, (dy, (o, k, k, i // groups))
        if k == 1:
            fixed, w = replace(attrs, fixed=True), (o, 1, 1, i)
            yield fixed, (dy, w)
            yield fixed, ((*dy[:3], width(o)), w)
    for h, w, c, k in PLANES:
        p = k // 2
        attrs = ConvBack((h, w), pad=(p, p, p, p), groups=c)
        yield attrs, ((1, h, w, c), (c, k, k, 1))
    for h, w, c, k in COPIES:
        p = k // 2
        attrs = ConvBack((h, w), (2, 2), pad=(p, p - 1, p, p - 1), groups=c)
        yield attrs, ((1, h // 2, w // 2, c), (c, k, k, 1))


def _pool_gradients() -> Iterator[Grown]:
    for h, w, c, k, s in POOLS:
        y = (1, (h - k) // s + 1, (w - k) // s + 1, c)
        yield Pool((k, k), (s, s)), ((1, h, w, c), y, y)


def _means() -> Iterator[Grown]:
    for axes in ((1, 2), (2,), (3,)):
        yield from ((Reduction(axes), (shape,)) for shape in FEW_MAPS)


def _picked_slices() -> Iterator[Grown]:
    for n, h, w, c in FEW_MAPS:
        yield StridedSlice((0, 0, 1, 0), (n, h // 2, w // 2, c), (1, 2, 2, 1)), ((n, h, w, c),)
        yield StridedSlice((0, 0, 0, 1), (n, h, w, c // 2), (1, 1, 1, 2)), ((n, h, w, c),)


def _lstms() -> Iterator[Grown]:
    for frames, depth, units in ((4, 8, 8), (8, 20, 4), (2, 6, 24), (1, 32, 16), (5, 12, 12)):
        state = (1, units)
        gates = ((4 * units, depth), (4 * units, units), (4 * units,))
        yield LSTM(), ((1, frames, depth), *gates, state, state)


def _detections() -> Iterator[Grown]:
    for boxes, classes in ((20, 3), (60, 3), (40, 10), (100, 5), (60, 20)):
        yield Detection(5, classes, 0.3, 0.5), ((1, boxes, 4), (1, boxes, classes + 1), (boxes, 4))


def _frames(frames: Sequence[tuple[int, int, int]]) -> Iterator[Grown]:
    for t, c, rank in frames:
        yield TimeFilter(rank), ((t, 1, c), (t, c), (c // rank,))


def _each(attrs: Attrs, shapes: Sequence[Shape], operands: int = 1) -> Iterator[Grown]:
    return ((attrs, (shape,) * operands) for shape in shapes)


# height, width, channels whose weights are trained, others, channels out
PARTS = (
    (4, 4, 24, 72, 96),
    (8, 8, 8, 16, 40),
    (4, 4, 48, 48, 64),
    (5, 5, 12, 84, 32),
    (8, 8, 24, 24, 48),
    (3, 7, 5, 19, 36),
    (6, 6, 4, 12, 24),
    (10, 10, 6, 10, 16),
    (2, 2, 40, 120, 80),
)


def _parts() -> Iterator[Grown]:
    for h, w, i, j, o in PARTS:
        yield Parts(), ((1, h, w, i + j), (o, 1, 1, i), (o, 1, 1, j), (o,))


LARGER: Mapping[str, Sequence[Grown]] = {
    "conv2d": [*_convs()],
    "conv2d_parts": [*_parts()],
    "linear": [(Linear(), ((m, i), (o, i))) for m, i, o in LINEARS],
    "matmul": [(MatMul(), ((b, m, k), (b, k, n))) for b, m, k, n in PRODUCTS],
    "transpose_conv": [*_transposed()],
    "lstm": [*_lstms()],
    "time_filter": [
        *_frames(((10, 32, 1), (8, 64, 2), (40, 16, 4), (24, 24, 1), (64, 8, 2), (16, 48, 3)))
    ],
    "detection": [*_detections()],
    "avg_pool2d": [(Pool((k, k), (s, s)), ((1, h, w, c),)) for h, w, c, k, s in POOLS],
    "max_pool2d": [(Pool((k, k), (s, s)), ((1, h, w, c),)) for h, w, c, k, s in POOLS],
    "mean": [*_means()],
    "reduce_max": [*_means()],
    # the others are folded by the kernels that these two are measured with
    "sum": [],
    "reduce_min": [],
    "reduce_prod": [],
    "softmax": [*_each(Softmax(), ROWS)],
    "log_softmax": [*_each(NoAttrs(), ROWS)],
    "l2_normalize": [*_each(NoAttrs(), ROWS)],
    "softmax_cross_entropy": [*_each(NoAttrs(), ROWS, 2)],
    "conv2d_grad_w": [*_weight_gradients()],
    "conv2d_grad_x": [*_gradients()],
    "round_pixels": [*_each(NoAttrs(), FEW_MAPS)],
    "max_pool2d_grad": [*_pool_gradients()],
    "clip_bits": [*_each(Between(-128, 127), FEW_MAPS)],
    "keep_bits": [(NoAttrs(), (s, (*s[:-1], -(-s[-1] // 8)))) for s in FEW_MAPS],
    "sgd": [*_each(NoAttrs(), FRAMES, 2)],
    "sgd_dither": [(NoAttrs(), (s, (1,), s)) for s in FRAMES],
    "sgd_rest": [*_each(NoAttrs(), FRAMES, 2)],
    "sgd_carry": [*_each(NoAttrs(), FRAMES, 3)],
    "fold_bias": [
        (FoldBias(-7), (shape, shape[:1]))
        for shape in ((16, 3, 3, 8), (32, 64), (64, 16), (8, 5, 5, 3))
    ],
    "prelu": [(NoAttrs(), (shape, shape[-1:])) for shape in FRAMES],
    "resize_nearest": [(ResizeNearest(2 * s[1], 2 * s[2]), (s,)) for s in FEW_MAPS],
    "resize_bilinear": [(ResizeBilinear(2 * s[1], 2 * s[2]), (s,)) for s in FEW_MAPS],
    "pad": [*_each(Pad((0, 1, 1, 0), (0, 1, 1, 0)), FEW_MAPS)],
    "mirror_pad": [*_each(MirrorPad((0, 1, 1, 0), (0, 1, 1, 0)), FEW_MAPS)],
    "tile": [*_each(Tile((1, 2, 1, 1)), FEW_MAPS), *_each(Tile((1, 1, 1, 2)), FEW_MAPS)],
    "strided_slice": [*_picked_slices()],
    "space_to_depth": [*_each(Blocks(2), FEW_MAPS)],
    "depth_to_space": [*_each(Blocks(2), FEW_MAPS)],
    "transpose": [
        *_each(Transpose((0, 2, 1, 3)), MAPS),
        *_each(Transpose((0, 3, 1, 2)), MAPS[:2]),
    ],
    "broadcast": [(Broadcast((4, *s[1:])), ((1, *s[1:]),)) for s in FRAMES],
    "gather": [
        (NoAttrs(), (shape, (shape[0], count)))
        for shape, count in zip(
            ((1, 1, 20, 16), (2, 8, 16, 4), (1, 1, 64, 32), (1, 16, 10, 1), (1, 4, 12, 8)),
            (8, 12, 24, 30, 20),
            strict=True,
        )
    ],
    "gather_nd": [
        (NoAttrs(), (shape, (count, len(shape) - 1)))
        for shape, count in zip(
            ((8, 8, 16), (20, 32), (4, 4, 4, 8), (12, 12, 1)), (32, 20, 40, 64), strict=True
        )
    ],
    "scatter_nd": [
        (Scatter(shape), ((count, len(shape)), (count, channels)))
        for shape, count, channels in (
            ((4, 8), 16, 8),
            ((40,), 10, 16),
            ((3, 4, 5), 60, 4),
            ((100,), 80, 1),
            ((6, 6), 30, 12),
            ((10, 10), 40, 3),
            ((16,), 24, 20),
            ((4, 4, 4), 12, 8),
        )
    ],
    "update_slice": [
        (NoAttrs(), (shape, (1, shape[1] // 2, shape[2], shape[3]), (4,))) for shape in FEW_MAPS
    ],
    "one_hot": [
        (OneHot(depth), ((rows, channels), (), ()))
        for rows, channels, depth in (
            (8, 1, 10),
            (1, 40, 10),
            (16, 4, 20),
            (2, 16, 32),
            (64, 1, 6),
            (4, 10, 12),
            (20, 2, 16),
            (1, 100, 4),
        )
    ],
    "arg_max": [*_each(Arg(), LINES)],
    "arg_min": [*_each(Arg(), LINES[:2])],
    "top_k": [*_each(TopK(3), LINES), *_each(TopK(1), LINES[:2])],
    "cumsum": [*_each(Cumsum(), LINES)],
    "reverse": [*_each(NoAttrs(), LINES)],
    "reverse_sequence": [
        (ReverseSequence(), (shape, shape[:1]))
        for shape in ((3, 2, 16, 4), (2, 1, 40, 8), (4, 4, 6, 16), (1, 8, 20, 3))
    ],
}
"""Operator -> larger nodes, where `FRAMES` alone would not do."""


def _like(op: Op, dtype: DType, operands: int) -> Sample | None:
    """The operator's first sample of this type with as many operands, or with more of them."""
    enough = (s for s in op.samples if s.inputs[0].dtype is dtype and len(s.inputs) >= operands)
    return min(enough, key=lambda s: len(s.inputs) > operands, default=None)


def _grow(type: TensorType, shape: Shape) -> TensorType:
    """The type in another shape; every channel gets the first one's scale."""
    quant = type.quant
    if quant is not None and quant.axis is not None:
        extent = shape[quant.axis]
        quant = Quant(quant.scale[:1] * extent, quant.zero_point[:1] * extent, quant.axis)
    return TensorType(shape, type.dtype, quant)


def grown(op: Op, like: Sample, attrs: Attrs, shapes: Sequence[Shape]) -> Sample:
    """`like` with these attributes and operands of these shapes, those beyond them left out.

    Raises LilliputError where the operator's type rule does not take them.
    """
    inputs = tuple(_grow(t, s) for t, s in zip(like.inputs, shapes, strict=False))
    made = op.infer(op.attrs() if type(attrs) is NoAttrs else attrs, inputs)
    outputs = tuple(_grow(t, m.shape) for t, m in zip(like.outputs, made, strict=False))
    params = tuple(i for i in like.params if i < len(inputs))
    return replace(like, inputs=inputs, attrs=attrs, outputs=outputs, params=params)


def _larger(op: Op, dtype: DType) -> Iterator[Sample]:
    """Samples of one element type: the rows of `LARGER`, or the operator's sample in `FRAMES`."""
    own = next((s for s in op.samples if s.inputs[0].dtype is dtype), None)
    if own is None:
        return
    everywhere = [(own.attrs, (frame,) * len(own.inputs)) for frame in FRAMES]
    for attrs, shapes in LARGER.get(op.name, everywhere):
        like = _like(op, dtype, len(shapes))
        if like is not None:
            try:
                yield grown(op, like, attrs, shapes)
            except (LilliputError, IndexError):
                continue


def cases() -> list[Case]:
    """Every case, in an order that depends on nothing but the registry."""
    return [case for op in all_ops() for case in cases_of(op)]


def cases_of(op: Op) -> list[Case]:
    """The cases of one operator; none for one that computes nothing."""
    if op.view or not (op.kernels or op.scalar):
        return []
    forced = [replace(op, kernels=(k,)) for k in op.kernels] or [op]
    samples = [s for d in DTYPES for s in _larger(op, d)] or [*_larger(op, DType.BOOL)]
    cases = [Case(f, s) for s in samples for f in forced if takes(f, s)]
    if cases or op.name in LARGER:
        return cases
    return [Case(f, s) for s in op.samples for f in forced if takes(f, s)]


def takes(op: Op, sample: Sample) -> bool:
    """Whether the type rule and the kernel accept the case."""
    try:
        node = Case(op, sample).node()
    except LilliputError:
        return False
    kernel: Kernel | None = next(iter(op.kernels), None)
    if kernel is None or kernel.accepts(node) is not None:
        return kernel is None
    params = module([Case(op, sample)]).params.values()
    known = {
        v.name: p.data
        for v in node.inputs
        for p in params
        if p.name == v.name and p.data is not None
    }
    return kernel.proof is None or kernel.proof(node, known) is None


def runs_on(core: Core, case: Case) -> bool:
    """Whether the core has what the case's kernel is written for."""
    return all(not k.feature or k.feature in core.features for k in case.op.kernels)


def module(chosen: Sequence[Case], seed: int = 0) -> Module:
    """One module with an entry `case<k>` for each case; parameters are random, the same for a case
    whatever stands beside it.  What the kernel packs itself is no parameter."""
    params: dict[str, Param] = {}
    names: set[str] = set()
    graphs: dict[str, Graph] = {}
    for k, case in enumerate(chosen):
        b, sample = Builder(params, names), case.sample
        kernels = case.op.kernels
        fresh = {i for i in sample.params if kernels and all(i in k.packs for k in kernels)}
        operands = [
            b.param(f"p{k}_{i}", constant(t, sample, [seed, i]), t.quant, t.dtype)
            if i in sample.params and i not in fresh
            else b.input(f"x{k}_{i}", t)
            for i, t in enumerate(sample.inputs)
        ]
        attrs = case.op.attrs() if type(sample.attrs) is NoAttrs else sample.attrs
        types = sample.outputs or None
        outputs = b.add_multi(case.op, operands, attrs, types=types, name=f"y{k}")
        graphs[f"case{k}"] = b.graph(outputs)
    return Module(graphs, params, {}, "fit")


def constant(type: TensorType, sample: Sample, seed: Sequence[int]) -> Array:
    """Random data of a parameter; weights of int8 are symmetric, as those of networks are."""
    drawn = data(np.random.default_rng([*seed, *type.shape]), type, sample)
    return np.maximum(drawn, -127) if type.dtype is DType.S8 else drawn


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

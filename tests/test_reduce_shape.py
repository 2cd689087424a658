"""Pooling, mean, softmax and the operators that move elements: what they mean, and their C.

One idea: every sample of these operators goes three ways.  The reference is compared with
TFLite Micro through a model of one operator; the C kernel, built for the host under the
sanitizers, is compared with the reference on random boxes, through rings, with padded
strides and guard bytes; shapes and regions follow from the same samples.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
import tflite
from tests.kernel_harness import build, data_of, program, random_array, run_kernel
from tests.tflite_ops import one_op_model, run_tflm

from lilliput.errors import TypeMismatch
from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Op, Sample
from lilliput.ir.region import Reduce, needs
from lilliput.ir.types import Array, DType, Quant, TensorType, s8, s16
from lilliput.ops import frame, pool, reduce, shape, softmax
from lilliput.ops.conv import same_pad
from lilliput.ops.fixed_exp import exp_negative, reciprocal_q31

OPS = (
    pool.avg_pool2d,
    pool.max_pool2d,
    reduce.mean,
    softmax.softmax,
    shape.reshape,
    shape.copy,
    shape.transpose,
    shape.broadcast,
    shape.concat,
    shape.slice_,
    frame.pad,
    frame.resize_nearest,
)


def cases(ops: tuple[Op, ...] = OPS) -> list[Any]:
    return [
        pytest.param(op, sample, id=f"{op.name}-{k}")
        for op in ops
        for k, sample in enumerate(op.samples)
    ]


@pytest.mark.parametrize(("op", "sample"), cases())
def test_ref_has_the_inferred_type_and_regions_cover_every_axis(op: Op, sample: Sample) -> None:
    node = build(op, sample)
    (result,) = op.ref(node, data_of(sample))
    assert result.shape == node.output.type.shape
    assert result.dtype == node.output.type.dtype.numpy
    assert op.regions is not None
    rules = op.regions(node)
    assert [len(r) for r in rules] == [len(v.type.shape) for v in node.inputs]


@pytest.mark.parametrize(("op", "sample"), cases())
def test_what_a_region_leaves_out_does_not_matter(op: Op, sample: Sample) -> None:
    """Elements outside the needed box are changed: the piece of the result stays."""
    node, rng = build(op, sample), np.random.default_rng(1)
    operands = data_of(sample)
    (whole,) = op.ref(node, operands)
    piece: list[tuple[int, int]] = []
    for extent in node.output.type.shape:
        lo = int(rng.integers(0, extent))
        piece.append((lo, int(rng.integers(lo, extent)) + 1))
    assert op.regions is not None
    changed: list[Array] = []
    for rules, operand in zip(op.regions(node), operands, strict=True):
        other = random_array(rng, TensorType(operand.shape, DType.of(operand.dtype)), sample)
        box = tuple(
            slice(0, d)
            if isinstance(rule, Reduce)
            else slice(*needs(rule, piece[getattr(rule, "axis", 0)], d))
            for rule, d in zip(rules, operand.shape, strict=True)
        )
        other[box] = operand[box]
        changed.append(other)
    (again,) = op.ref(node, changed)
    part = tuple(slice(lo, hi) for lo, hi in piece)
    np.testing.assert_array_equal(again[part], whole[part])


@pytest.mark.parametrize(
    ("op", "types", "attrs", "words"),
    [
        (pool.avg_pool2d, (s8(1, 3, 3, 1),), pool.Pool((2, 2), pad=(2, 0, 0, 0)), "padding"),
        (pool.max_pool2d, (s8(1, 3, 3, 1),), pool.Pool((4, 2)), "larger"),
        (reduce.mean, (s8(2, 3),), reduce.Reduction((2,)), "axes"),
        (reduce.mean, (s16(1, 300, 300, 2),), reduce.Reduction((1, 2)), "32-bit"),
        (softmax.softmax, (s8(1, 5000),), softmax.Softmax(), "channels"),
        (softmax.softmax, (s16(1, 5),), softmax.Softmax(wide=True), "wide"),
        (shape.reshape, (s8(6),), shape.Reshape((4,)), "number of elements"),
        (shape.transpose, (s8(2, 3),), shape.Transpose((0, 0)), "perm"),
        (shape.broadcast, (s8(2, 3),), shape.Broadcast((2, 4)), "extents"),
        (shape.concat, (s8(2), s8(2, scale=2.0)), shape.Concat(0), "quantisation"),
        (shape.concat, (s8(2, 3), s8(3, 2)), shape.Concat(0), "across"),
        (shape.slice_, (s8(4),), shape.Slice((2,), (3,)), "box"),
        (frame.pad, (s8(4),), frame.Pad((1,), (1,), 128), "value"),
        (frame.resize_nearest, (s8(4),), frame.ResizeNearest(2, 2), "rank"),
    ],
)
def test_refusals_name_what_is_wrong(
    op: Op, types: tuple[TensorType, ...], attrs: Any, words: str
) -> None:
    with pytest.raises(TypeMismatch, match=words):
        op.infer(attrs, types)


def test_fixed_point_functions_are_close_to_the_real_ones() -> None:
    a = -np.arange(0, 31 << 26, 1_234_567, dtype=np.int64)
    np.testing.assert_allclose(exp_negative(a, 5) / 2**31, np.exp(a / 2**26), atol=2e-7)
    f = np.arange(0, 1 << 31, 3_456_789, dtype=np.int64)
    np.testing.assert_allclose(reciprocal_q31(f) / 2**31, 1 / (1 + f / 2**31), atol=2e-7)


# TFLite Micro -----------------------------------------------------------------------------

Fields = dict[str, int | float | bool]


@dataclass(frozen=True)
class Oracle:
    """How TFLite writes an operator: its code, its options, operands after the first."""

    code: str
    options: str
    fields: Callable[[Any, Node], Fields | None] = lambda a, n: {}
    constants: Callable[[Any, Node], list[Array]] = lambda a, n: []


def ints(*values: object) -> list[Array]:
    return [np.array(v, np.int32) for v in values]


def pool_fields(a: pool.Pool, node: Node) -> Fields | None:
    """None where the padding is neither VALID nor SAME."""
    x, strides = node.inputs[0].type.shape, (a.stride[0], a.stride[1])
    same = [same_pad(x[k + 1], a.kernel[k], strides[k], 1) for k in (0, 1)]
    if any(a.pad) and a.pad != (*same[0], *same[1]):
        return None
    return {
        "FilterHeight": a.kernel[0],
        "FilterWidth": a.kernel[1],
        "StrideH": a.stride[0],
        "StrideW": a.stride[1],
        "Padding": tflite.Padding.SAME if any(a.pad) else tflite.Padding.VALID,
    }


def pad_constants(a: frame.Pad, node: Node) -> list[Array]:
    value = np.array([a.value]).astype(node.output.type.dtype.numpy)
    return [np.array([a.before, a.after], np.int32).T.copy(), value]


ORACLES = {
    "avg_pool2d": Oracle("AVERAGE_POOL_2D", "Pool2DOptions", pool_fields),
    "max_pool2d": Oracle("MAX_POOL_2D", "Pool2DOptions", pool_fields),
    "mean": Oracle(
        "MEAN",
        "ReducerOptions",
        lambda a, n: {"KeepDims": a.keepdims},
        lambda a, n: ints(a.axes),
    ),
    "softmax": Oracle("SOFTMAX", "SoftmaxOptions", lambda a, n: {"Beta": a.beta}),
    "concat": Oracle("CONCATENATION", "ConcatenationOptions", lambda a, n: {"Axis": a.axis}),
    "resize_nearest": Oracle(
        "RESIZE_NEAREST_NEIGHBOR",
        "ResizeNearestNeighborOptions",
        lambda a, n: {
            "AlignCorners": a.align_corners,
            "HalfPixelCenters": a.half_pixel_centers,
        },
        lambda a, n: ints([a.height, a.width]),
    ),
    "transpose": Oracle("TRANSPOSE", "TransposeOptions", constants=lambda a, n: ints(a.perm)),
    "broadcast": Oracle("BROADCAST_TO", "BroadcastToOptions", constants=lambda a, n: ints(a.shape)),
    "slice": Oracle("SLICE", "SliceOptions", constants=lambda a, n: ints(a.begin, a.size)),
    "pad": Oracle("PADV2", "PadV2Options", constants=pad_constants),
}

NOT_IN_TFLM = {
    "avg_pool2d-2": "padding that is neither SAME nor VALID",
    "avg_pool2d-4": "padding that is neither SAME nor VALID",
    "avg_pool2d-5": "padding that is neither SAME nor VALID",
    "max_pool2d-2": "padding that is neither SAME nor VALID",
    "max_pool2d-4": "padding that is neither SAME nor VALID",
    "max_pool2d-5": "padding that is neither SAME nor VALID",
    "mean-6": "rounded once and to even, as ONNX Runtime does",
    "transpose-4": "rank 6",
    "transpose-5": "int32",
    "transpose-6": "int64",
    "transpose-7": "bool",
    "broadcast-4": "rank 6",
    "slice-5": "int64",
    "pad-6": "int64",
    "pad-7": "bool",
    "pad-9": "rank 6",
}
"""Samples that have no counterpart there, and why."""


def one_node_model(node: Node, oracle: Oracle) -> bytes:
    """A .tflite file that holds `node` alone."""

    def options(b: flatbuffers.Builder) -> tuple[int, int]:
        fields = oracle.fields(node.attrs, node)
        assert fields is not None
        getattr(tflite, f"{oracle.options}Start")(b)
        for name, value in fields.items():
            getattr(tflite, f"{oracle.options}Add{name}")(b, value)
        end = getattr(tflite, f"{oracle.options}End")(b)
        return getattr(tflite.BuiltinOptions, oracle.options), end

    types, constants = [v.type for v in node.inputs], oracle.constants(node.attrs, node)
    for data in constants:
        quant = node.output.type.quant if data.dtype != np.int32 else None
        types.append(TensorType(data.shape, DType.of(data.dtype), quant))
    held = {len(node.inputs) + k: data for k, data in enumerate(constants)}
    code = getattr(tflite.BuiltinOperator, oracle.code)
    return one_op_model(code, types, [node.output.type], options, held)


def oracle_compare(op: Op, sample: Sample) -> None:
    node = build(op, sample)
    model = one_node_model(node, ORACLES[op.name])
    for seed in range(2):
        operands = data_of(sample, seed)
        (ours,) = op.ref(node, operands)
        theirs = run_tflm(model, operands)[0].reshape(ours.shape)
        if ours.dtype == np.float32 and op is softmax.softmax:
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-30)
        else:
            np.testing.assert_array_equal(ours, theirs)


def says_tflm(op: Op, sample: Sample) -> bool:
    return op.held_against(sample.inputs[0].dtype).startswith("TFLM")


IN_TFLM = [
    c
    for c in cases()
    if c.values[0].name in ORACLES and c.id not in NOT_IN_TFLM and says_tflm(*c.values)
]


@pytest.mark.oracle
@pytest.mark.parametrize(("op", "sample"), IN_TFLM)
def test_ref_is_tflite_micro(op: Op, sample: Sample) -> None:
    oracle_compare(op, sample)


def random_case(rng: np.random.Generator) -> tuple[Op, Sample]:
    """A random operator, shape and quantisation that TFLite Micro takes too."""
    dtype = (DType.S8, DType.S16, DType.F32)[int(rng.integers(3))]
    zero = int(rng.integers(-128, 128)) if dtype is DType.S8 else 0
    quants = [Quant.per_tensor(10 ** rng.uniform(-5, 1), zero) for _ in range(2)]
    x_quant, y_quant = (None, None) if dtype.is_float else quants
    n, h, w, c = (int(v) for v in rng.integers(1, 9, 4))
    x = TensorType((n, h, w, c), dtype, x_quant)
    kernel, stride = (int(v) for v in rng.integers(1, 4, 2))
    pad = (*same_pad(h, kernel, stride, 1), *same_pad(w, kernel, stride, 1))
    axes = tuple(int(v) for v in np.flatnonzero(rng.permutation([1, 1, 0, 0])))
    corners, half = ((False, False), (True, False), (False, True))[int(rng.integers(3))]
    size = [int(v) for v in rng.integers(1, 20, 2)]
    choices: list[tuple[Op, Attrs, Quant | None]] = [
        (pool.avg_pool2d, pool.Pool((kernel, kernel), (stride, stride), pad), x_quant),
        (reduce.mean, reduce.Reduction(axes, bool(rng.integers(2))), y_quant),
        (reduce.mean, reduce.Reduction(axes[:1]), x_quant),
        (softmax.softmax, softmax.Softmax(10 ** rng.uniform(-1, 1)), None),
        (frame.resize_nearest, frame.ResizeNearest(size[0], size[1], corners, half), x_quant),
    ]
    op, attrs, quant = choices[int(rng.integers(len(choices)))]
    y = op.infer(attrs, [x])[0]
    y = y if op is softmax.softmax else TensorType(y.shape, dtype, quant)
    return op, Sample((x,), attrs, (y,), low=-9.0, high=9.0)


@pytest.mark.oracle
def test_random_cases_are_tflite_micro() -> None:
    rng = np.random.default_rng(11)
    for _ in range(200):
        oracle_compare(*random_case(rng))


# C on the host ---------------------------------------------------------------------------


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("op", [pytest.param(o, id=o.name) for o in OPS if o.kernels])
def test_kernels_are_the_ref_on_any_partition(
    op: Op, compiler: str, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    binary, every = program(op, compiler, tmp_path_factory.mktemp("kernels"))
    for which, case in enumerate(every):
        for seed in range(4):
            run_kernel(binary, case, which, seed, tmp_path)

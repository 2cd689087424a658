"""Operators of .tflite files that move elements: what their attributes mean, and what they cost.

One idea: a model of one operator, with every form of its attributes, is read by us and run by
another implementation; the bytes are equal.  What the samples of our own operators show
(`test_ops`, `test_oracle`) is not shown again; plans are in `test_moves_plan`.
"""

# flatbuffers and tflite ship without types
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
import pytest
import tflite
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.samples import random_array
from tests.tflite_ops import Options, one_op_model, run_tflm
from tests.tflm import run_litert

from lilliput.errors import FormatError, ModelError
from lilliput.frontends.tflite import read
from lilliput.frontends.tflite.flatbuf import encode
from lilliput.frontends.tflite.options import PackOptions, ShapeOptions, StridedSliceOptions
from lilliput.frontends.tflite.schema import (
    CODES,
    IDENTIFIER,
    Buffer,
    Model,
    Operator,
    OperatorCode,
    SubGraph,
    Tensor,
)
from lilliput.frontends.tflite.strides import dense
from lilliput.ir import Array, DType, Quant, Session, TensorType
from lilliput.ir.types import f32, s8, s16, s32, s64
from lilliput.passes.canonicalize import Canonicalize

OP = tflite.BuiltinOperator
KIND = tflite.BuiltinOptions


def q8(*shape: int) -> TensorType:
    return s8(*shape, scale=0.1, zero_point=-7)


def ints(*values: int) -> Array:
    return np.array(values, np.int32)


def options(name: str, **fields: int) -> Options:
    """The options table `name` of the schema with these fields."""

    def build(b: flatbuffers.Builder) -> tuple[int, int]:
        getattr(tflite, f"{name}Start")(b)
        for field, value in fields.items():
            getattr(tflite, f"{name}Add{field}")(b, value)
        return getattr(KIND, name), getattr(tflite, f"{name}End")(b)

    return build


def ours(model: bytes, inputs: Sequence[Array]) -> list[Array]:
    module = read(model, io="float")
    names = [v.name for v in module.inputs("infer")]
    found = Session(module).run(dict(zip(names, inputs, strict=True))).outputs
    return list(found.values())


def held(
    code: int,
    inputs: Sequence[TensorType],
    outputs: Sequence[TensorType],
    how: Options | None = None,
    constants: Mapping[int, Array] | None = None,
    *,
    micro: bool = False,
    version: int = 1,
) -> None:
    """Reads and runs the model of one operator; LiteRT, or TFLite Micro, gives the same bytes."""
    model = one_op_model(code, inputs, outputs, how, constants, version)
    rng = np.random.default_rng(len(model))
    given_types = [t for i, t in enumerate(inputs) if i not in (constants or {})]
    data = [random_array(rng, t) for t in given_types]
    mine = ours(model, data)
    if micro:
        theirs = run_tflm(model, data, len(outputs))
    else:
        theirs = run_litert(model, data, reference=True)
    assert len(mine) == len(theirs) == len(outputs)
    for a, b, t in zip(mine, theirs, outputs, strict=True):
        assert a.shape == t.shape
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()


# Dividing ---------------------------------------------------------------------------------


@pytest.mark.oracle
@pytest.mark.parametrize("micro", [False, True], ids=["LiteRT", "TFLM"])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("kind", [s8, s16, f32])
def test_split(kind: Callable[..., TensorType], axis: int, micro: bool) -> None:
    parts = [kind(*(d // 2 if k == axis % 3 else d for k, d in enumerate((4, 6, 2))))] * 2
    how = options("SplitOptions", NumSplits=2)
    held(OP.SPLIT, (s32(1), kind(4, 6, 2)), parts, how, {0: ints(axis)}, micro=micro)


@pytest.mark.oracle
@pytest.mark.parametrize("micro", [False, True], ids=["LiteRT", "TFLM"])
@pytest.mark.parametrize("sizes", [(1, 4, 2), (2, -1, 1), (-1, 1, 3)])
def test_split_into_parts_of_stated_sizes(sizes: tuple[int, ...], micro: bool) -> None:
    widths = [7 - sum(s for s in sizes if s > 0) if s < 0 else s for s in sizes]
    held(
        OP.SPLIT_V,
        (q8(2, 7, 3), s32(3), s32(1)),
        [q8(2, w, 3) for w in widths],
        options("SplitVOptions", NumSplits=3),
        {1: ints(*sizes), 2: ints(1)},
        micro=micro,
    )


def test_sizes_that_do_not_fit_the_results_are_refused() -> None:
    types = [q8(2, 3), q8(2, 4)]
    operands = (q8(2, 7), s32(2), s32(1))
    how = options("SplitVOptions", NumSplits=2)
    for sizes in ((4, 3), (3, 3)):
        model = one_op_model(OP.SPLIT_V, operands, types, how, {1: ints(*sizes), 2: ints(1)})
        with pytest.raises(FormatError, match="sizes of the parts"):
            read(model)
    model = one_op_model(OP.SPLIT, (s32(1), q8(2, 9)), types, options("SplitOptions"), {0: ints(1)})
    with pytest.raises(FormatError, match="parts"):
        read(model)


@pytest.mark.oracle
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_unpack(axis: int) -> None:
    shape = (3, 4, 2)
    at = axis % 3
    parts = [q8(*shape[:at], *shape[at + 1 :])] * shape[at]
    how = options("UnpackOptions", Num=shape[at], Axis=axis)
    held(OP.UNPACK, (q8(*shape),), parts, how)


@pytest.mark.oracle
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("kind", [s8, s16, f32, s32, s64])
def test_pack(kind: Callable[..., TensorType], axis: int) -> None:
    at = axis % 3
    shape = [4, 2]
    shape.insert(at, 3)
    how = options("PackOptions", ValuesCount=3, Axis=axis)
    held(OP.PACK, [kind(4, 2)] * 3, [kind(*shape)], how)


@pytest.mark.oracle
def test_pack_of_scalars_with_a_constant() -> None:
    how = options("PackOptions", ValuesCount=2, Axis=0)
    held(OP.PACK, [s32(), s32()], [s32(2)], how, {1: np.array(7, np.int32)})


MASKS = [
    # begin, end, strides, shape of the result, masks and offset
    ((0, 1, 0), (2, 5, 3), (1, 2, 1), (2, 2, 3), {}),
    ((0, 9, 0), (2, -9, 3), (1, -2, 1), (2, 3, 3), {}),
    ((1, 0, -1), (2, 0, 0), (1, 1, -1), (1, 6, 3), {"EndMask": 6, "BeginMask": 2}),
    ((0, 2, 1), (0, 0, 0), (1, 1, 1), (3,), {"ShrinkAxisMask": 3, "EndMask": 4, "BeginMask": 4}),
    ((-1, -2, 0), (0, 0, 3), (1, 1, 2), (2,), {"ShrinkAxisMask": 3}),
    ((0, 1), (0, 2), (1, 1), (2, 6, 1), {"EllipsisMask": 1}),
    ((0, 0, 2), (0, 0, 3), (1, 1, 1), (2, 1, 6, 1), {"EllipsisMask": 1, "NewAxisMask": 2}),
    ((0, 0, 1), (0, 0, 2), (1, 1, 1), (1, 2, 6, 1), {"NewAxisMask": 1, "EllipsisMask": 2}),
    ((1,), (2,), (1,), (1, 6, 3), {}),
    ((0, 1, 1), (2, 3, 2), (1, 1, 1), (2, 3, 2), {"Offset": 1}),
    ((0, 5, 0), (2, -4, 3), (1, -1, 1), (2, 4, 3), {"Offset": 1}),
    ((0, 0, 0), (2, 6, 3), (1, 1, 1), (2, 6, 3), {}),
]


@pytest.mark.oracle
@pytest.mark.parametrize(("begin", "end", "strides", "shape", "masks"), MASKS)
def test_strided_slice_masks(
    begin: tuple[int, ...],
    end: tuple[int, ...],
    strides: tuple[int, ...],
    shape: tuple[int, ...],
    masks: dict[str, int],
) -> None:
    held(
        OP.STRIDED_SLICE,
        (q8(2, 6, 3), *(s32(len(begin)),) * 3),
        (q8(*shape),),
        options("StridedSliceOptions", **masks),
        {1: ints(*begin), 2: ints(*end), 3: ints(*strides)},
    )


@given(
    extent=st.integers(1, 7),
    begin=st.integers(-9, 9),
    end=st.integers(-9, 9),
    stride=st.integers(-3, 3).filter(bool),
    masks=st.tuples(st.booleans(), st.booleans()),
)
@settings(max_examples=300, deadline=None)
def test_ranges_are_those_of_python(
    extent: int, begin: int, end: int, stride: int, masks: tuple[bool, bool]
) -> None:
    o = StridedSliceOptions(int(masks[0]), int(masks[1]))
    places = range(extent)[None if masks[0] else begin : None if masks[1] else end : stride]
    box = dense(o, (extent,), ((begin,), (end,), (stride,)), "here")
    found = [box.begin[0] + k * box.stride[0] for k in range(box.size[0])]
    assert found == list(places)


@pytest.mark.parametrize(
    ("o", "ranges", "what"),
    [
        (StridedSliceOptions(), ((0, 0), (1, 1), (1, 0)), "stride"),
        (StridedSliceOptions(), ((0,) * 3, (1,) * 3, (1,) * 3), "ranges"),
        (StridedSliceOptions(ellipsis_mask=3), ((0, 0), (1, 1), (1, 1)), "ranges"),
        (StridedSliceOptions(shrink_axis_mask=1), ((4,), (5,), (1,)), "index"),
        (StridedSliceOptions(), ((0,), (1, 1), (1,)), "begin, end and strides"),
    ],
)
def test_slices_that_mean_nothing_are_refused(
    o: StridedSliceOptions, ranges: tuple[tuple[int, ...], ...], what: str
) -> None:
    with pytest.raises(FormatError, match=what):
        dense(o, (4, 4), (ranges[0], ranges[1], ranges[2]), "here")


# Joining ----------------------------------------------------------------------------------


def test_concatenation_of_int8_scales_is_rescaled() -> None:
    """TFLite has no answer: it refuses int8 operands of another scale than the result."""
    y = s8(1, 4, scale=0.5, zero_point=3)
    x = s8(1, 2, scale=0.25, zero_point=-10)
    how = options("ConcatenationOptions", Axis=1)
    model = one_op_model(OP.CONCATENATION, (y.with_shape(1, 2), x), (y,), how)
    given_ = [np.array([[1, 2]], np.int8), np.array([[-10, 127]], np.int8)]
    (found,) = ours(model, given_)
    assert found.tolist() == [[1, 2, 3, 72]]  # (127 + 10) / 2 = 68.5, away from zero, + 3


def u8(*shape: int, scale: float, zero_point: int) -> TensorType:
    return TensorType(shape, DType.U8, Quant.per_tensor(scale, zero_point))


def held_uint8(
    code: int,
    inputs: Sequence[TensorType],
    output: TensorType,
    data: Sequence[Array],
    how: Options,
    constants: Mapping[int, Array] | None = None,
) -> None:
    """As `held`, for the uint8 of older files, which is read as int8 less 128."""
    model = one_op_model(code, inputs, (output,), how, constants, 3 if constants else 1)
    (mine,) = ours(model, [(x.astype(np.int16) - 128).astype(np.int8) for x in data])
    (theirs,) = run_litert(model, data, reference=True)
    assert np.array_equal(mine.astype(np.int16) + 128, theirs)


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(40))
def test_concatenation_of_uint8_scales(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scale, other = 10 ** rng.uniform(-2, 1, 2)
    if seed % 2:
        other = scale * int(rng.integers(1, 9)) / 2  # quotients with ties
    zeros = [int(z) for z in rng.integers(0, 256, 2)]
    x, same = u8(256, scale=scale, zero_point=zeros[0]), u8(1, scale=other, zero_point=zeros[1])
    data = [np.arange(256, dtype=np.uint8), np.array([3], np.uint8)]
    how = options("ConcatenationOptions", Axis=0)
    held_uint8(OP.CONCATENATION, (x, same), same.with_shape(257), data, how)


@pytest.mark.oracle
@pytest.mark.parametrize("micro", [False, True], ids=["LiteRT", "TFLM"])
def test_concatenation_of_int16_scales_keeps_the_bytes(micro: bool) -> None:
    how = options("ConcatenationOptions", Axis=1)
    operands = (s16(1, 2, scale=0.5), s16(1, 3, scale=0.25))
    held(OP.CONCATENATION, operands, (s16(1, 5, scale=0.5),), how, micro=micro)


@pytest.mark.oracle
def test_matrix_diag() -> None:
    for kind in (s8, f32, s32):
        held(OP.MATRIX_DIAG, (kind(2, 3, 4),), (kind(2, 3, 4, 4),))
        held(OP.MATRIX_DIAG, (kind(5),), (kind(5, 5),))


# Constants --------------------------------------------------------------------------------


@pytest.mark.oracle
def test_shape_and_rank() -> None:
    for code, kind in ((2, s32), (4, s64)):
        how = options("ShapeOptions", OutType=code)
        held(OP.SHAPE, (q8(2, 5, 3),), (kind(3),), how)
    held(OP.RANK, (f32(2, 5, 3),), (s32(),))


@pytest.mark.oracle
def test_fill_and_zeros_like() -> None:
    for t in (q8(2, 3), s16(2, 3), f32(2, 3), s32(2, 3), s64(2, 3)):
        value = np.array(5).astype(t.dtype.numpy)
        scalar = t.with_shape()
        held(OP.FILL, (s32(2), scalar), (t,), None, {0: ints(2, 3), 1: value})
        held(OP.FILL, (s32(2), scalar), (t,), None, {0: ints(2, 3)})
    for t in (q8(2, 3), f32(2, 3), s32(2, 3)):
        held(OP.ZEROS_LIKE, (t,), (t,), micro=True)


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("dtype", "start", "limit", "delta"),
    [
        (np.float32, 0.1, 2.0, 0.3),
        (np.float32, 5.0, 1.0, -0.7),
        (np.int32, 3, 12, 4),
        (np.int64, 9, -9, -5),
    ],
)
def test_range(dtype: type[np.generic], start: float, limit: float, delta: float) -> None:
    parts = [np.array(v, dtype) for v in (start, limit, delta)]
    scalar = TensorType((), DType.of(dtype))
    count = int(np.ceil(abs((limit - start) / delta)))
    constants = dict(enumerate(parts))
    held(OP.RANGE, (scalar,) * 3, (scalar.with_shape(count),), None, constants)


@pytest.mark.parametrize(("limit", "delta", "count"), [(9, 2, 4), (9, 0, 3), (-9, 2, 6), (9, 2, 6)])
def test_ranges_that_do_not_fit_their_result_are_refused(
    limit: int, delta: int, count: int
) -> None:
    constants = {k: np.array(v, np.int32) for k, v in enumerate((0, limit, delta))}
    model = one_op_model(OP.RANGE, (s32(),) * 3, (s32(count),), None, constants)
    with pytest.raises(FormatError, match="range"):
        read(model)


def test_operands_of_another_rank_are_not_joined() -> None:
    how = options("ConcatenationOptions", Axis=1)
    model = one_op_model(OP.CONCATENATION, (f32(4, 2), f32(4)), (f32(4, 3),), how)
    with pytest.raises(ModelError, match="rank"):
        read(model)


def test_a_chain_that_computes_an_operand_leaves_nothing_behind() -> None:
    """size = pack(shape(x)[0], fill([1], 3)[0]) of a SLICE, as exporters write."""
    tensors: list[Tensor] = []
    buffers = [Buffer()]
    nodes: list[Operator] = []
    names = ("SHAPE", "STRIDED_SLICE", "FILL", "PACK", "SLICE")

    def tensor(*shape: int, data: Array | None = None, code: int = 2) -> int:
        if data is not None:
            buffers.append(Buffer(memoryview(data.tobytes())))
        at = len(buffers) - 1 if data is not None else 0
        tensors.append(Tensor(shape, code, at, f"t{len(tensors)}"))
        return len(tensors) - 1

    def node(name: str, inputs: Sequence[int], output: int, how: object | None = None) -> int:
        nodes.append(Operator(names.index(name), tuple(inputs), (output,), how))
        return output

    x, zero, one = tensor(2, 5, code=0), tensor(1, data=ints(0)), tensor(1, data=ints(1))
    shape = node("SHAPE", (x,), tensor(2), ShapeOptions(2))
    cut = StridedSliceOptions(shrink_axis_mask=1)
    rows = node("STRIDED_SLICE", (shape, zero, one, one), tensor(), cut)
    filled = node("FILL", (one, tensor(data=np.array(3, np.int32))), tensor(1))
    columns = node("STRIDED_SLICE", (filled, zero, one, one), tensor(), cut)
    size = node("PACK", (rows, columns), tensor(2), PackOptions(2, 0))
    y = node("SLICE", (x, tensor(2, data=ints(0, 1)), size), tensor(2, 3, code=0))
    codes = tuple(OperatorCode(min(CODES[n], 127), builtin=CODES[n]) for n in names)
    graph = SubGraph(tuple(tensors), (x,), (y,), tuple(nodes))
    model = Model(3, codes, (graph,), "", tuple(buffers))
    module = Canonicalize()(read(encode(model, IDENTIFIER)))
    assert [n.op.name for n in module.graphs["infer"].nodes] == ["slice"]
    data = np.arange(10, dtype=np.float32).reshape(2, 5)
    (found,) = Session(module).run({"t0": data}).outputs.values()
    assert np.array_equal(found, data[:, 1:4])


# Blocks, batches and margins --------------------------------------------------------------

BATCHES = [
    # operand, blocks, margins, result
    ((1, 4, 6, 3), (2, 2), (0, 0, 0, 0), (4, 2, 3, 3)),
    ((2, 5, 4, 2), (3, 2), (1, 0, 2, 0), (12, 2, 3, 2)),
    ((2, 7, 3), (2,), (0, 1), (4, 4, 3)),
    ((1, 6, 2), (3,), (2, 1), (3, 3, 2)),
]


@pytest.mark.oracle
@pytest.mark.parametrize("micro", [False, True], ids=["LiteRT", "TFLM"])
@pytest.mark.parametrize("kind", [q8, f32])
@pytest.mark.parametrize(("shape", "blocks", "margins", "batches"), BATCHES)
def test_space_and_batches(
    kind: Callable[..., TensorType],
    shape: tuple[int, ...],
    blocks: tuple[int, ...],
    margins: tuple[int, ...],
    batches: tuple[int, ...],
    micro: bool,
) -> None:
    m = len(blocks)
    apart, joined = kind(*batches), kind(*shape)
    tables = {1: ints(*blocks), 2: ints(*margins).reshape(m, 2)}
    if not (micro and any(margins)):  # its margin holds whatever byte was on the stack
        operands = (joined, s32(m), s32(m, 2))
        held(OP.SPACE_TO_BATCH_ND, operands, (apart,), None, tables, micro=micro)
    held(OP.BATCH_TO_SPACE_ND, (apart, s32(m), s32(m, 2)), (joined,), None, tables, micro=micro)


@pytest.mark.parametrize(
    ("blocks", "margins", "what"),
    [
        ((2, 2), (0, 1, 0, 0), "extents"),
        ((0, 2), (0, 0, 0, 0), "blocks"),
        ((2, 2), (-1, 1, 0, 0), "margins"),
    ],
)
def test_batches_that_do_not_fit_are_refused(
    blocks: tuple[int, ...], margins: tuple[int, ...], what: str
) -> None:
    tables = {1: ints(*blocks), 2: ints(*margins).reshape(2, 2)}
    types = (q8(1, 4, 4, 1), s32(2), s32(2, 2))
    model = one_op_model(OP.SPACE_TO_BATCH_ND, types, (q8(4, 2, 2, 1),), None, tables)
    with pytest.raises(ModelError, match=what):
        read(model)


@pytest.mark.oracle
@pytest.mark.parametrize(("corners", "half"), [(0, 0), (0, 1), (1, 0)])
@pytest.mark.parametrize("kind", [s8, s16, f32])
def test_bilinear_resizes_of_every_ratio(
    kind: Callable[..., TensorType], corners: int, half: int
) -> None:
    how = options("ResizeBilinearOptions", AlignCorners=corners, HalfPixelCenters=half)
    for height, width in ((1, 1), (2, 3), (5, 7), (9, 4), (10, 14), (37, 61)):
        held(
            OP.RESIZE_BILINEAR,
            (kind(2, 5, 7, 3), s32(2)),
            (kind(2, height, width, 3),),
            how,
            {1: ints(height, width)},
            version=3,
        )


@pytest.mark.oracle
@pytest.mark.parametrize(("corners", "half"), [(0, 0), (0, 1), (1, 0)])
def test_bilinear_resizes_of_uint8(corners: int, half: int) -> None:
    how = options("ResizeBilinearOptions", AlignCorners=corners, HalfPixelCenters=half)
    x = u8(2, 5, 7, 3, scale=0.5, zero_point=17)
    data = np.random.default_rng(half).integers(0, 256, x.shape).astype(np.uint8)
    for height, width in ((2, 3), (5, 7), (9, 4), (37, 61)):
        y, size = x.with_shape(2, height, width, 3), {1: ints(height, width)}
        held_uint8(OP.RESIZE_BILINEAR, (x, s32(2)), y, [data], how, size)


# What is left of a node -------------------------------------------------------------------


def test_dividing_and_joining_of_a_file_become_views_and_one_concat() -> None:
    def nodes(*model: Any) -> list[str]:
        return [n.op.name for n in read(one_op_model(*model)).graphs["infer"].nodes]

    x, part = q8(2, 3, 4), q8(2, 4)
    how = options("UnpackOptions", Num=3, Axis=1)
    assert nodes(OP.UNPACK, (x,), [part] * 3, how) == ["reshape", *["slice"] * 3]
    how = options("PackOptions", ValuesCount=3, Axis=1)
    assert nodes(OP.PACK, [part] * 3, (x,), how) == ["concat", "reshape"]
    how = options("SplitOptions", NumSplits=3)
    halves_ = [q8(2, 1, 4)] * 3
    model = (OP.SPLIT, (s32(1), x), halves_, how, {0: ints(1)})
    assert nodes(*model) == ["slice"] * 3

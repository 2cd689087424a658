"""Reductions, searches and indexing as files have them: axes, batches, orders, bad indices.

One idea: a file of one operator, written without our writer, is read by our reader and equals
TFLite Micro's or LiteRT's reference kernel, bit for bit.  The samples of the operators
themselves are in `test_ops` and `test_oracle`; here is what only the format can say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import pytest
import tflite
from tests.tflite_ops import one_op_model
from tests.tflm import Tflm, run_litert

from lilliput.devices.device import load
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain
from lilliput.errors import FormatError, UnsupportedError
from lilliput.frontends.tflite import read
from lilliput.ir import Array, Builder, Module, Op, Session
from lilliput.ir.op import Attrs
from lilliput.ir.types import DType, Quant, TensorType, bools, f32, s8, s16, s32, s64
from lilliput.ops import all_ops
from lilliput.ops.conv import Conv2d, conv2d
from lilliput.ops.folds import KINDS
from lilliput.ops.index import Scatter as ScatterShape
from lilliput.ops.index import gather, gather_nd, scatter_nd, update_slice
from lilliput.ops.reduce import Reduction
from lilliput.ops.reverse import ReverseSequence, reverse_sequence
from lilliput.plan.build import PlanOptions, plan

Fields = Mapping[str, int | bool]


@dataclass(frozen=True)
class Case:
    """A file of one operator.

    options : name of the table, and its fields; constants : operands that the file holds;
    given : inputs that must not be random; oracle : what it is compared with
    """

    code: str
    inputs: Sequence[TensorType]
    outputs: Sequence[TensorType]
    options: tuple[str, Fields] | None = None
    constants: Mapping[int, Array] = field(default_factory=dict[int, Array])
    given: Mapping[int, Array] = field(default_factory=dict[int, Array])
    oracle: str = "LiteRT"

    @property
    def data(self) -> bytes:
        def table(b: flatbuffers.Builder) -> tuple[int, int]:
            assert self.options is not None
            name, fields = self.options
            getattr(tflite, f"{name}Start")(b)
            for key, value in fields.items():
                getattr(tflite, f"{name}Add{key}")(b, value)
            end = getattr(tflite, f"{name}End")(b)
            return getattr(tflite.BuiltinOptions, name), end

        code = getattr(tflite.BuiltinOperator, self.code)
        options = table if self.options else None
        return one_op_model(code, self.inputs, self.outputs, options, self.constants)

    def random(self, seed: int) -> list[Array]:
        """Data of the inputs that are not constants."""
        rng = np.random.default_rng(seed)
        return [
            self.given[k] if k in self.given else random(rng, t)
            for k, t in enumerate(self.inputs)
            if k not in self.constants
        ]


def random(rng: np.random.Generator, t: TensorType) -> Array:
    if t.dtype.is_float:
        return rng.uniform(-4.0, 4.0, t.shape).astype(np.float32)
    low, high = t.dtype.bounds if t.dtype.itemsize < 4 else (-50, 50)
    if t.dtype is DType.BOOL:
        low, high = 0, 1
    return rng.integers(low, high, t.shape, endpoint=True).astype(t.dtype.numpy)


def q8(*shape: int) -> TensorType:
    return s8(*shape, scale=0.1, zero_point=3)


def ints(*values: object) -> Array:
    return np.array(values[0] if len(values) == 1 else values, np.int32)


def reduction(
    code: str, x: TensorType, axes: Sequence[int], y: TensorType, oracle: str, keep: bool = False
) -> Case:
    options = ("ReducerOptions", {"KeepDims": keep})
    return Case(
        code, (x, s32(len(axes))), (y,), options, {1: np.array(axes, np.int32)}, oracle=oracle
    )


def arg(code: str, x: TensorType, axis: int, y: TensorType, oracle: str) -> Case:
    kind = tflite.TensorType.INT64 if y.dtype is DType.S64 else tflite.TensorType.INT32
    options = ("ArgMaxOptions" if code == "ARG_MAX" else "ArgMinOptions", {"OutputType": kind})
    return Case(code, (x, s32()), (y,), options, {1: ints(axis)}, oracle=oracle)


def picked(
    x: TensorType, at: Array, axis: int, batch: int, y: TensorType, *, held: bool = False
) -> Case:
    options = ("GatherOptions", {"Axis": axis, "BatchDims": batch})
    oracle = "TFLM" if x.dtype in (DType.F32, DType.S8) else "LiteRT"
    index = TensorType(at.shape, DType.of(at.dtype))
    constants, given = ({1: at}, {}) if held else ({}, {1: at})
    return Case("GATHER", (x, index), (y,), options, constants, given, oracle)


def turned(code: str, x: TensorType, options: Fields, lengths: Array) -> Case:
    index = TensorType(lengths.shape, DType.of(lengths.dtype))
    return Case(code, (x, index), (x,), ("ReverseSequenceOptions", options), {}, {1: lengths})


def hot(index: Array, depth: int, axis: int, y: TensorType) -> Case:
    scalar = TensorType((), y.dtype, y.quant)
    held = {1: ints(depth), 2: np.array(1, y.dtype.numpy), 3: np.array(0, y.dtype.numpy)}
    inputs = (TensorType(index.shape, DType.of(index.dtype)), s32(), scalar, scalar)
    return Case("ONE_HOT", inputs, (y,), ("OneHotOptions", {"Axis": axis}), held, {0: index})


def update(x: TensorType, piece: TensorType, start: Array) -> Case:
    inputs = (x, piece, TensorType(start.shape, DType.of(start.dtype)))
    return Case("DYNAMIC_UPDATE_SLICE", inputs, (x,), given={2: start}, oracle="TFLM")


def top(x: TensorType, k: int) -> Case:
    shape = (*x.shape[:-1], k)
    results = (x.with_shape(*shape), s32(*shape))
    return Case("TOPK_V2", (x, s32()), results, ("TopKV2Options", {}), {1: ints(k)})


CASES = {
    "mean of negative axes": reduction(
        "MEAN", q8(2, 3, 4, 5), (-1, 1), s8(2, 4, scale=0.07, zero_point=-9), "TFLM"
    ),
    "an axis twice": reduction("SUM", f32(3, 4, 5), (1, -2), f32(3, 5), "LiteRT"),
    "sum of everything": reduction(
        "SUM", s16(3, 4, 5, scale=0.01), (0, 1, 2), s16(scale=0.1), "TFLM"
    ),
    "mean over three groups of axes": reduction(
        "MEAN", f32(2, 3, 2, 3, 2), (0, 2, 4), f32(3, 3), "TFLM"
    ),
    "largest of int16": reduction("REDUCE_MAX", s16(3, 4, 5), (2,), s16(3, 4), "LiteRT"),
    "smallest, rank kept": reduction(
        "REDUCE_MIN", q8(2, 3, 4), (1,), q8(2, 1, 4), "TFLM", keep=True
    ),
    "product of int16": reduction(
        "REDUCE_PROD", s16(3, 4, scale=1e-4), (1,), s16(3, scale=0.01), "LiteRT"
    ),
    "any": reduction("REDUCE_ANY", bools(3, 4, 2), (1,), bools(3, 2), "LiteRT"),
    "all": reduction("REDUCE_ALL", bools(3, 2, 2), (0, 2), bools(2), "TFLM"),
    "root mean square": Case(
        "L2_POOL_2D",
        (f32(2, 7, 5, 3),),
        (f32(2, 4, 3, 3),),
        (
            "Pool2DOptions",
            {"FilterHeight": 3, "FilterWidth": 2, "StrideH": 2, "StrideW": 2, "Padding": 0},
        ),
        oracle="TFLM",
    ),
    "arg max over channels": arg("ARG_MAX", q8(2, 3, 9), -1, s32(2, 3), "TFLM"),
    "arg max over rows": arg("ARG_MAX", f32(5, 3, 2), 0, s32(3, 2), "TFLM"),
    "arg min of int64 places": arg("ARG_MIN", f32(5, 3, 2), 1, s64(5, 2), "LiteRT"),
    "arg max of a vector": arg("ARG_MAX", q8(30), 0, s32(), "TFLM"),
    "best of int8": top(q8(3, 2, 11), 4),
    "best of floats": top(f32(9), 9),
    "best of int16": top(s16(2, 300, scale=0.1), 3),
    "running sum over rows": Case(
        "CUMSUM",
        (q8(5, 3, 2), s32()),
        (s8(5, 3, 2, scale=0.3, zero_point=-4),),
        ("CumsumOptions", {"Exclusive": True, "Reverse": True}),
        {1: ints(-3)},
        oracle="TFLM",
    ),
    "gather from the last axis": picked(f32(2, 3, 7), ints(6, 0, 3), -1, 0, f32(2, 3, 3)),
    "gather by a map": picked(q8(9, 2), ints([[1, 2], [8, 0]]), 0, 0, q8(2, 2, 2)),
    "gather one": picked(f32(4, 3), ints(2), 0, 0, f32(3)),
    "gather in batches": picked(
        f32(2, 3, 4, 2), ints([[0, 3, 1], [2, 2, 0]]), 2, 1, f32(2, 3, 3, 2)
    ),
    "gather in two batch axes": picked(
        f32(2, 3, 4), ints([[[0], [3], [1]], [[2], [2], [0]]]), 2, -1, f32(2, 3, 1)
    ),
    "gather by constants": picked(
        s16(4, 3, scale=0.1), ints(3, 1), 0, 0, s16(2, 3, scale=0.1), held=True
    ),
    "gather bools by int64": picked(bools(5, 2), np.array([4, 0, 0], np.int64), 0, 0, bools(3, 2)),
    "gather nd, whole indices": Case(
        "GATHER_ND",
        (f32(3, 4, 2), s32(2, 2, 3)),
        (f32(2, 2),),
        ("GatherNdOptions", {}),
        {},
        {1: ints([[[0, 1, 1], [2, 3, 0]], [[1, 1, 1], [2, 0, 0]]])},
        "TFLM",
    ),
    "gather nd, partial indices": Case(
        "GATHER_ND",
        (q8(3, 4, 2, 5), s32(3, 2)),
        (q8(3, 2, 5),),
        ("GatherNdOptions", {}),
        {},
        {1: ints([[0, 3], [2, 0], [1, 1]])},
        "TFLM",
    ),
    "embedding": Case(
        "EMBEDDING_LOOKUP",
        (s32(4), q8(9, 3, 2)),
        (q8(4, 3, 2),),
        None,
        {1: np.arange(54, dtype=np.int8).reshape(9, 3, 2)},
        {0: ints(8, 0, 3, 3)},
        "TFLM",
    ),
    "embedding of quantised rows": Case(
        "EMBEDDING_LOOKUP",
        (s32(4), s8(9, 3, scale=0.07)),
        (f32(4, 3),),
        None,
        {1: np.arange(-13, 14, dtype=np.int8).reshape(9, 3)},
        {0: ints(8, 0, 3, 3)},
    ),
    "reverse neighbouring axes": Case(
        "REVERSE_V2", (f32(2, 3, 4), s32(2)), (f32(2, 3, 4),), None, {1: ints(1, 2)}, {}, "TFLM"
    ),
    "sequences, batch first": turned(
        "REVERSE_SEQUENCE", f32(3, 2, 5, 2), {"SeqDim": 2, "BatchDim": 0}, ints(5, 0, 3)
    ),
    "sequences, time first": turned(
        "REVERSE_SEQUENCE", f32(5, 3, 2), {"SeqDim": 0, "BatchDim": 1}, np.array([2, 5, 1])
    ),
    "one hot behind": hot(ints(1, 4, -1, 9), 5, -1, f32(4, 5)),
    "one hot in front": hot(np.array([[1, 0], [2, 2]], np.int64), 3, 0, q8(3, 2, 2)),
    "one hot between": hot(ints([[1, 0], [2, 2]]), 3, 1, s32(2, 3, 2)),
    "update beyond the end": update(f32(4, 5), f32(2, 3), ints(9, -4)),
    "update by int64": update(q8(4, 5), q8(1, 5), np.array([2, 0])),
    "scatter rows": Case(
        "SCATTER_ND",
        (s32(3, 1), f32(3, 2, 2), s32(3)),
        (f32(5, 2, 2),),
        ("ScatterNdOptions", {}),
        {2: ints(5, 2, 2)},
        {0: ints([[4], [1], [4]])},
    ),
    "scatter elements": Case(
        "SCATTER_ND",
        (s32(2, 2, 2), q8(2, 2), s32(2)),
        (q8(3, 4),),
        ("ScatterNdOptions", {}),
        {2: ints(3, 4)},
        {0: ints([[[0, 0], [2, 3]], [[2, 3], [1, 2]]])},
    ),
}


@pytest.mark.oracle
@pytest.mark.parametrize("name", CASES)
def test_what_files_say_is_what_others_read(name: str) -> None:
    case = CASES[name]
    module = read(case.data, io="float")
    for seed in range(3):
        given = case.random(seed)
        inputs = dict(zip((v.name for v in module.inputs("infer")), given, strict=True))
        ours = list(Session(module).run(inputs).outputs.values())
        theirs = (
            Tflm(case.data, arena=1 << 20).run(given).outputs
            if case.oracle == "TFLM"
            else run_litert(case.data, given, reference=True)
        )
        assert len(ours) == len(theirs) == len(case.outputs)
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(mine, other.reshape(mine.shape))


@pytest.mark.parametrize(
    "name",
    [
        "best of int8",
        "arg max over channels",
        "gather in batches",
        "reverse neighbouring axes",
        "embedding of quantised rows",
        "root mean square",
        "one hot between",
        "update by int64",
        "scatter elements",
        "mean over three groups of axes",
    ],
)
def test_c_of_what_files_say_equals_the_reference(name: str, host_compiler: Toolchain) -> None:
    case = CASES[name]
    module = read(case.data, io="float")
    names = [v.name for v in module.inputs("infer")]
    calls = [Call("infer", dict(zip(names, case.random(s), strict=True))) for s in range(2)]
    proof = prove(module, plan(module, load("cortex-m4")), calls, hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


def test_axes_that_are_apart_turn_round_one_after_another() -> None:
    """LiteRT and TFLite Micro refuse them."""
    x = q8(2, 3, 4)
    case = Case("REVERSE_V2", (x, s32(2)), (x,), None, {1: ints(2, 0)})
    (data,) = case.random(0)
    module = read(case.data, io="float")
    (found,) = Session(module).run({"x0": data}).outputs.values()
    np.testing.assert_array_equal(found, data[::-1, :, ::-1])


def test_results_of_other_quantisation_are_rescaled() -> None:
    y = s8(2, 4, scale=0.2, zero_point=-5)
    case = reduction("REDUCE_MAX", q8(2, 3, 4), (1,), y, "TFLM")
    module = read(case.data, io="float")
    assert [n.op.name for n in module.graphs["infer"].nodes] == ["reduce_max", "requantize"]


# Indices outside of their axis ------------------------------------------------------------


def run(op: Op, attrs: Attrs | None, *operands: Array) -> Array:
    b = Builder()
    names = [f"x{k}" for k in range(len(operands))]
    types = [TensorType(a.shape, DType.of(a.dtype)) for a in operands]
    values = [b.input(n, t) for n, t in zip(names, types, strict=True)]
    module = b.module([b.add(op, values, attrs, name="y")])
    return Session(module).run(dict(zip(names, operands, strict=True))).outputs["y"]


def test_an_index_outside_of_its_axis_is_the_nearest_inside() -> None:
    x = np.arange(5, dtype=np.float32).reshape(1, 1, 5, 1)
    assert run(gather, None, x, ints([[-3, 9, 2]])).tolist() == [[[[0], [4], [2]]]]
    square = np.arange(6, dtype=np.float32).reshape(2, 3, 1)
    assert run(gather_nd, None, square, ints([[-1, 7], [9, 1]])).tolist() == [[2], [4]]


def test_what_lies_outside_is_not_scattered() -> None:
    ones = np.ones((3, 2), np.int8)
    y = run(scatter_nd, ScatterShape((2,)), ints([[-1], [2], [1]]), ones)
    assert y.tolist() == [[0, 0], [1, 1]]


def test_an_update_is_moved_until_it_fits() -> None:
    y = run(update_slice, None, np.zeros((2, 3), np.int8), np.ones((1, 2), np.int8), ints(5, 5))
    assert y.tolist() == [[0, 0, 0], [0, 1, 1]]


def test_lengths_beyond_the_axis_mean_all_of_it() -> None:
    x = np.arange(6, dtype=np.int8).reshape(2, 1, 3, 1)
    y = run(reverse_sequence, ReverseSequence(), x, ints(7, -2))
    assert y.reshape(2, 3).tolist() == [[2, 1, 0], [3, 4, 5]]


def test_constant_indices_outside_are_refused() -> None:
    case = picked(f32(4, 3), ints(4, 1), 0, 0, f32(2, 3), held=True)
    with pytest.raises(FormatError, match="outside of its axis"):
        read(case.data, io="float")


# What constants determine -----------------------------------------------------------------


def test_where_and_broadcast_args_of_constants_are_constants() -> None:
    where = Case("WHERE", (bools(2, 3),), (s64(2, 2),), None, {0: np.eye(2, 3, dtype=bool)})
    module = read(where.data, io="float")
    assert not module.graphs["infer"].nodes
    (found,) = Session(module).run({}).outputs.values()
    assert found.tolist() == [[0, 0], [1, 1]]
    shapes = Case(
        "BROADCAST_ARGS", (s32(2), s32(3)), (s32(3),), None, {0: ints(4, 1), 1: ints(2, 1, 5)}
    )
    (found,) = Session(read(shapes.data, io="float")).run({}).outputs.values()
    assert found.tolist() == [2, 4, 5]


def test_where_of_what_is_computed_is_refused() -> None:
    case = Case("WHERE", (bools(2, 3),), (s64(2, 2),))
    with pytest.raises(UnsupportedError, match="at run time only"):
        read(case.data, io="float")


# Streaming --------------------------------------------------------------------------------


def streamed(name: str) -> Module:
    op = next(o for o in all_ops() if o.name == name)
    rng = np.random.default_rng(2)
    b = Builder()
    x = b.input("x", s8(1, 9, 7, 3, scale=0.05, zero_point=4))
    data = rng.integers(-127, 128, (5, 3, 3, 3)).astype(np.int8)
    w = b.param("w", data, Quant.per_tensor(0.02))
    a = b.add(conv2d, (x, w), Conv2d(pad=(1, 1, 1, 1)), type=s8(1, 9, 7, 5, scale=0.1), name="a")
    wanted = s8(1, 5, scale=0.1 if "max" in name or "min" in name else 0.9)
    y = b.add(op, (a,), Reduction((1, 2), keepdims=False), type=wanted, name="y")
    return b.module([y], name="streamed")


@pytest.mark.parametrize("name", KINDS)
def test_every_reduction_takes_rows_as_they_come(name: str, host_compiler: Toolchain) -> None:
    module = streamed(name)
    whole = plan(module, load("cortex-m4"))
    program = plan(module, load("cortex-m4"), PlanOptions(streams=(("a", "y"),)))
    assert program.arenas["ram"] < whole.arenas["ram"]
    rng = np.random.default_rng(0)
    types: dict[str, Any] = {v.name: v.type for v in module.inputs("infer")}
    calls = [Call("infer", {n: random(rng, t) for n, t in types.items()}) for _ in range(2)]
    proof = prove(module, program, calls, hosts=[host_compiler])
    assert proof.exact, str(proof.difference)

"""Networks and constants in forms that end where they are read.

Legacy uint8 networks, float16 and sparse constants, int4 weights: other implementations run
the same bytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from tests.tflite_tables import N, T, data_of, file, run
from tests.tflm import run_litert
from tests.tolerances import ONE_OPERATOR, check_near

from lilliput import devices
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain
from lilliput.errors import FormatError, UnsupportedError
from lilliput.frontends.tflite import read
from lilliput.frontends.tflite.options import (
    AddOptions,
    ConcatenationOptions,
    Conv2DOptions,
    DepthwiseConv2DOptions,
    FullyConnectedOptions,
    MulOptions,
    Pool2DOptions,
    ReducerOptions,
    SoftmaxOptions,
    SubOptions,
)
from lilliput.frontends.tflite.schema import Dimension, Int32Vector, Sparsity, Uint8Vector
from lilliput.ir import Array, Builder, DType, Quant
from lilliput.ir.types import s8
from lilliput.ops.conv import Conv2d, conv2d
from lilliput.plan.build import plan

# uint8 ------------------------------------------------------------------------------------

SCALES = (
    ((0.02, 128), (0.01, 120), (0.13, 110)),
    ((0.05, 3), (0.007, 250), (0.2, 7)),
    ((0.013, 255), (0.003, 0), (0.031, 200)),
)


def legacy(name: str, which: int) -> tuple[list[T], N]:
    """A uint8 network of one operator."""
    rng = np.random.default_rng(which)
    x, w, y = SCALES[which]
    bias = T((7,), "INT32", (x[0] * w[0], 0), rng.integers(-2000, 2000, 7).astype(np.int32))
    picture, maps, rows = (1, 8, 8, 5), (1, 8, 8, 7), (4, 50)

    def weights(*shape: int) -> T:
        return T(shape, "UINT8", w, rng.integers(0, 256, shape).astype(np.uint8))

    def u8(shape: tuple[int, ...], quant: tuple[float, int]) -> T:
        return T(shape, "UINT8", quant)

    every: dict[str, tuple[list[T], object | None]] = {
        "CONV_2D": (
            [u8(picture, x), weights(7, 3, 3, 5), bias, u8(maps, y)],
            Conv2DOptions(0, 1, 1, 0, 1, 1),
        ),
        "DEPTHWISE_CONV_2D": (
            [u8(maps, x), weights(1, 3, 3, 7), bias, u8(maps, y)],
            DepthwiseConv2DOptions(0, 1, 1, 1, 3, 1, 1),
        ),
        "FULLY_CONNECTED": (
            [u8((3, 20), x), weights(7, 20), bias, u8((3, 7), y)],
            FullyConnectedOptions(),
        ),
        "ADD": ([u8(rows, x), u8(rows, w), u8(rows, y)], AddOptions()),
        "SUB": ([u8(rows, x), u8(rows, w), u8(rows, y)], SubOptions()),
        "MUL": ([u8(rows, x), u8(rows, w), u8(rows, y)], MulOptions()),
        "AVERAGE_POOL_2D": ([u8(picture, x), u8((1, 4, 4, 5), x)], Pool2DOptions(0, 2, 2, 3, 3)),
        "MAX_POOL_2D": ([u8(picture, x), u8((1, 4, 4, 5), x)], Pool2DOptions(0, 2, 2, 3, 3)),
        "CONCATENATION": (
            [u8(picture, x), u8(picture, x), u8((1, 8, 8, 10), x)],
            ConcatenationOptions(3),
        ),
        "MEAN": (
            [u8(picture, x), T((2,), "INT32", None, np.array([1, 2], np.int32)), u8((1, 5), y)],
            ReducerOptions(),
        ),
        "PAD": (
            [
                u8(picture, x),
                T((4, 2), "INT32", None, np.array([0, 0, 1, 2, 0, 1, 0, 0], np.int32)),
                u8((1, 11, 9, 5), x),
            ],
            None,
        ),
        "SOFTMAX": ([u8(rows, x), u8(rows, (1 / 256, 0))], SoftmaxOptions(1.0)),
        "LOGISTIC": ([u8(rows, x), u8(rows, (1 / 256, 0))], None),
        "TANH": ([u8(rows, x), u8(rows, (1 / 128, 128))], None),
        "RELU": ([u8(rows, x), u8(rows, y)], None),
        "HARD_SWISH": ([u8(rows, x), u8(rows, y)], None),
        "QUANTIZE": ([u8(rows, x), u8(rows, y)], None),
        "DEQUANTIZE": ([u8(rows, x), T(rows)], None),
    }
    tensors, options = every[name]
    return tensors, N(name, tuple(range(len(tensors) - 1)), len(tensors) - 1, options)


OFF_BY_ONE = {"AVERAGE_POOL_2D": 0.1, "FULLY_CONNECTED": 0.02}
"""Operators whose LiteRT kernel of uint8 rounds otherwise than that of int8, and how many of
the results may be one off: halves of means round up, sums are rounded once."""
LEGACY = (
    *("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "SUB", "MUL", "AVERAGE_POOL_2D"),
    *("MAX_POOL_2D", "CONCATENATION", "SOFTMAX", "LOGISTIC", "TANH", "RELU", "HARD_SWISH"),
    *("QUANTIZE", "DEQUANTIZE", "MEAN", "PAD"),
)


@pytest.mark.oracle
@pytest.mark.parametrize("which", range(len(SCALES)))
@pytest.mark.parametrize("name", LEGACY)
def test_uint8_networks_follow_the_rules_of_int8(name: str, which: int) -> None:
    tensors, node = legacy(name, which)
    data = file(tensors, [node])
    module, rng = read(data, io="float"), np.random.default_rng(9)
    for _ in range(10):
        given = [data_of(rng, t) for t in tensors[:-1] if t.data is None]
        shifted = [(x.astype(np.int16) - 128).astype(np.int8) for x in given]
        ours, theirs = run(module, shifted), run_litert(data, given, reference=True)[0]
        if theirs.dtype == np.uint8:
            off = np.abs(ours.astype(np.int32) + 128 - theirs)
            assert off.max() <= (name in OFF_BY_ONE)
            assert (off > 0).mean() <= OFF_BY_ONE.get(name, 0)
        else:
            np.testing.assert_array_equal(ours, theirs)


def test_a_uint8_network_is_an_int8_network() -> None:
    tensors, node = legacy("CONV_2D", 0)
    module = read(file(tensors, [node]))
    (x,), (y,) = module.inputs("infer"), module.outputs("infer")
    assert x.type == s8(1, 8, 8, 5, scale=0.02, zero_point=0)
    assert y.type == s8(1, 8, 8, 7, scale=0.13, zero_point=-18)
    (w,) = (p for p in module.params.values() if len(p.value.type.shape) == 4)
    assert w.value.type.quant == Quant.per_tensor(0.01, -8)
    assert w.data is not None
    assert tensors[1].data is not None
    np.testing.assert_array_equal(w.data.astype(int) + 128, tensors[1].data)


def test_uint8_ends_of_an_int8_network_cost_nothing() -> None:
    """The usual form of converters: uint8 in, QUANTIZE, int8, QUANTIZE, uint8 out."""
    inner = T((1, 6), "INT8", (0.1, -28))
    data = file(
        [T((1, 6), "UINT8", (0.1, 100)), inner, inner, T((1, 6), "UINT8", (0.1, 100))],
        [N("QUANTIZE", (0,), 1), N("ADD", (1, 1), 2, AddOptions()), N("QUANTIZE", (2,), 3)],
    )
    assert [n.op.name for n in read(data).graphs["infer"].nodes] == ["add"]


def test_uint8_without_a_scale_stays_uint8() -> None:
    for quant in (None, (0.5, 3)):
        data = file([T((2, 3), "UINT8", quant), T((2, 3))], [N("CAST", (0,), 1)])
        module = read(data)
        assert module.inputs("infer")[0].type.dtype is DType.U8
        x = np.array([[0, 1, 127], [128, 254, 255]], np.uint8)
        np.testing.assert_array_equal(run(module, [x]), x.astype(np.float32))


def test_int8_weights_of_a_convolution_have_no_zero_point() -> None:
    tensors, node = legacy("CONV_2D", 0)
    w = replace(tensors[1], kind="INT8", quant=(0.01, 5))
    x, y = (replace(tensors[k], kind="INT8", quant=(0.1, 5)) for k in (0, 3))
    with pytest.raises(UnsupportedError, match="weights with a zero point"):
        read(file([x, w, tensors[2], y], [node]))


def test_a_uint8_network_in_c(host_compiler: Toolchain) -> None:
    for name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        tensors, node = legacy(name, 1)
        module = read(file(tensors, [node]))
        (x,) = module.inputs("infer")
        rng = np.random.default_rng(3)
        calls = [
            Call("infer", {x.name: rng.integers(-128, 128, x.type.shape).astype(np.int8)})
            for _ in range(3)
        ]
        program = plan(module, devices.load("cortex-m4"))
        proof = prove(module, program, calls, hosts=[host_compiler])
        assert proof.exact, str(proof.difference)


# Constants in other forms -----------------------------------------------------------------


@pytest.mark.oracle
def test_float16_weights_are_float32_once_read() -> None:
    rng = np.random.default_rng(4)
    w = rng.normal(size=(1, 3, 3, 4)).astype(np.float16)
    tensors = [
        T((1, 6, 5, 4)),
        T(w.shape, "FLOAT16", None, w),
        T(w.shape),
        T((4,), "FLOAT16", None, rng.normal(size=4).astype(np.float16)),
        T((4,)),
        T((1, 6, 5, 4)),
    ]
    options = DepthwiseConv2DOptions(0, 1, 1, 1, 1, 1, 1)
    nodes = [
        N("DEQUANTIZE", (1,), 2),
        N("DEQUANTIZE", (3,), 4),
        N("DEPTHWISE_CONV_2D", (0, 2, 4), 5, options),
    ]
    data = file(tensors, nodes)
    module = read(data)
    assert [n.op.name for n in module.graphs["infer"].nodes] == ["conv2d", "clamp"]
    x = data_of(rng, tensors[0])
    check_near(run(module, [x]), run_litert(data, [x], reference=True)[0], ONE_OPERATOR, "float16")


def test_bfloat16_constants_are_float32_once_read() -> None:
    values = np.array([1.0, -2.5, 3.140625, 0.0], np.float32)
    short = (values.view(np.uint32) >> 16).astype(np.uint16)
    nodes = [N("DEQUANTIZE", (1,), 2), N("ADD", (0, 2), 3, AddOptions())]
    data = file([T((4,)), T((4,), "BFLOAT16", None, short), T((4,)), T((4,))], nodes)
    np.testing.assert_array_equal(run(read(data), [np.zeros(4, np.float32)]), values)


def compressed(
    dense: Array, order: Sequence[int], blocks: dict[int, int]
) -> tuple[Sparsity, Array]:
    """A sparse form of `dense`: axes and blocks in `order`, the last axis compressed.

    blocks : axis -> extent of its blocks; their numbers in `order` follow those of the axes
    """
    rank = dense.ndim
    split = [(d // blocks.get(k, 1), blocks.get(k, 1)) for k, d in enumerate(dense.shape)]
    parts = dense.reshape([e for pair in split for e in pair])
    axes = [2 * k for k in range(rank)] + [2 * k + 1 for k in blocks]
    ordered = parts.transpose(
        [axes[k] for k in order] + [2 * k + 1 for k in range(rank) if k not in blocks]
    )
    ordered = ordered.reshape([ordered.shape[i] for i in range(len(order))])
    last_axis = [i for i, k in enumerate(order) if k < rank][-1]
    inner = ordered.reshape(*ordered.shape[: last_axis + 1], -1)
    segments, indices, values = [0], list[int](), list[Array]()
    for place in itertools.product(*map(range, ordered.shape[:last_axis])):
        for k in range(ordered.shape[last_axis]):
            if inner[(*place, k)].any():
                indices.append(k)
                values.append(inner[(*place, k)])
        segments.append(len(indices))
    levels = [
        Dimension(1, 0, Int32Vector(tuple(segments)), Uint8Vector(memoryview(bytes(indices))))
        if i == last_axis
        else Dimension(0, ordered.shape[i])
        for i in range(len(order))
    ]
    return Sparsity(tuple(order), tuple(blocks), tuple(levels)), np.concatenate(values)


SPARSE: tuple[tuple[tuple[int, ...], dict[int, int]], ...] = (
    ((0, 1), {}),
    ((1, 0), {}),
    ((0, 1, 2), {1: 4}),
    ((0, 1, 2, 3), {0: 2, 1: 4}),
    ((1, 0, 3, 2), {0: 2, 1: 4}),
)


def sparse(order: tuple[int, ...], blocks: dict[int, int]) -> tuple[Array, T]:
    rng = np.random.default_rng(len(order))
    dense = rng.integers(-127, 128, (6, 8)).astype(np.int8)
    keep = rng.random((6 // blocks.get(0, 1), 8 // blocks.get(1, 1))) < 0.4
    dense *= np.kron(keep, np.ones((blocks.get(0, 1), blocks.get(1, 1)))).astype(np.int8)
    sparsity, values = compressed(dense, order, blocks)
    return dense, T((6, 8), "INT8", (0.05, 0), values, sparsity)


@pytest.mark.parametrize(("order", "blocks"), SPARSE)
def test_sparse_weights_are_dense_once_read(order: tuple[int, ...], blocks: dict[int, int]) -> None:
    dense, stored = sparse(order, blocks)
    assert stored.data is not None
    assert stored.data.size < dense.size
    x, y = T((2, 8), "INT8", (0.1, 3)), T((2, 6), "INT8", (0.5, -4))
    given = data_of(np.random.default_rng(1), x)
    node = N("FULLY_CONNECTED", (0, 1), 2, FullyConnectedOptions())
    plain = read(file([x, T((6, 8), "INT8", (0.05, 0), dense), y], [node]))
    for tensors, nodes in (
        ([x, stored, y], [node]),
        (
            [x, T((6, 8), "INT8", (0.05, 0)), y, stored],
            [N("DENSIFY", (3,), 1), node],
        ),
    ):
        module = read(file(tensors, nodes))
        np.testing.assert_array_equal(run(module, [given]), run(plain, [given]))


@pytest.mark.oracle
def test_sparse_weights_equal_litert() -> None:
    dense, stored = sparse((0, 1), {})
    weights = T((6, 8), "FLOAT32", None, stored.data, stored.sparsity)
    assert weights.data is not None
    weights = replace(weights, data=weights.data.astype(np.float32))
    tensors = [T((2, 8)), weights, T((6, 8)), T((2, 6))]
    nodes = [
        N("DENSIFY", (1,), 2),
        N("FULLY_CONNECTED", (0, 2), 3, FullyConnectedOptions()),
    ]
    data, x = file(tensors, nodes), data_of(np.random.default_rng(2), tensors[0])
    ours = run(read(data), [x])
    check_near(ours, run_litert(data, [x], reference=True)[0], ONE_OPERATOR, "sparse")
    check_near(ours, x @ dense.astype(np.float32).T, ONE_OPERATOR, "dense")


def test_damaged_sparse_weights_are_refused() -> None:
    _, stored = sparse((0, 1), {})
    s = stored.sparsity
    assert s is not None
    rows, columns = s.dimensions
    bad = (
        replace(s, traversal_order=(0, 0)),
        replace(s, traversal_order=(0,), dimensions=(rows,)),
        replace(s, block_map=(0,)),
        replace(s, dimensions=(replace(rows, dense_size=7), columns)),
        replace(s, dimensions=(rows, replace(columns, segments=Int32Vector((0, 3))))),
        replace(
            s, dimensions=(rows, replace(columns, segments=Int32Vector((0, 9, 1, 2, 3, 4, 5))))
        ),
        replace(
            s,
            dimensions=(
                rows,
                replace(columns, indices=Uint8Vector(memoryview(bytes([200] * stored.data.size)))),
            ),
        )
        if stored.data is not None
        else s,
        replace(s, dimensions=(rows, replace(columns, format=3))),
    )
    node = N("FULLY_CONNECTED", (0, 1), 2, FullyConnectedOptions())
    x, y = T((2, 8), "INT8", (0.1, 3)), T((2, 6), "INT8", (0.5, -4))
    read(file([x, stored, y], [node]))
    for sparsity in bad:
        with pytest.raises(
            FormatError, match=r"sparse tensor|blocks do not fit|as long as its type"
        ):
            read(file([x, replace(stored, sparsity=sparsity), y], [node]))


def test_int4_weights_take_half_a_byte() -> None:
    def bytes_of(dtype: DType) -> int:
        b, rng = Builder(), np.random.default_rng(0)
        x = b.input("x", s8(1, 6, 6, 8, scale=0.1))
        quant = Quant.per_tensor(0.1)
        for k, shape in enumerate(((16, 3, 3, 8), (16, 3, 3, 1), (8, 1, 1, 16))):
            w = b.param(f"w{k}", rng.integers(-8, 8, shape).astype(np.int8), quant, dtype)
            attrs = Conv2d(groups=16 if shape[3] == 1 else 1)
            out = (1, x.type.shape[1] - shape[1] + 1, x.type.shape[2] - shape[2] + 1, shape[0])
            x = b.add(conv2d, (x, w), attrs, type=s8(*out, scale=0.2))
        program = plan(b.module((x,)), devices.load("cortex-m4"))
        return sum(c.data.nbytes for c in program.consts.values() if c.value in ("w0", "w1", "w2"))

    weights = 16 * 9 * 8 + 16 * 9 + 8 * 16
    assert bytes_of(DType.S4) == weights // 2
    assert bytes_of(DType.S8) >= weights

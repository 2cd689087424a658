"""Convolutions and matrix products: computed weights, batches of matrices, transposed ones.

Other implementations run the same bytes; what a transposed convolution reads lets it stream.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.tflite_tables import N, T, data_of, file, run
from tests.tflm import Tflm, run_litert
from tests.tolerances import ONE_OPERATOR, check_near

from lilliput import devices
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain
from lilliput.errors import FormatError, ModelError, UnsupportedError
from lilliput.frontends.tflite import read, write
from lilliput.frontends.tflite.options import (
    BatchMatMulOptions,
    Conv2DOptions,
    DepthwiseConv2DOptions,
    FullyConnectedOptions,
    TransposeConvOptions,
)
from lilliput.frontends.tflite.schema import Padding
from lilliput.ir import Builder, DType, Module, Quant, Value
from lilliput.ir.types import s8, s32
from lilliput.ops.conv import Conv2d, Linear, conv2d, linear
from lilliput.ops.matmul import MatMul, matmul
from lilliput.ops.transpose_conv import TransposeConv, transpose_conv
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.objective import Optimize

# Weights computed by nodes ----------------------------------------------------------------


@pytest.mark.oracle
def test_weights_may_be_computed_at_run_time() -> None:
    x, w, y = (0.1, 4), (0.02, 0), (0.4, -7)
    conv = Conv2DOptions(0, 1, 1, 0, 1, 1)
    deep = DepthwiseConv2DOptions(0, 1, 1, 1, 0, 1, 1)
    cases = {
        "CONV_2D": ((1, 5, 5, 3), (4, 3, 3, 3), (1, 5, 5, 4), conv),
        "DEPTHWISE_CONV_2D": ((1, 5, 5, 3), (1, 3, 3, 3), (1, 5, 5, 3), deep),
        "FULLY_CONNECTED": ((2, 9), (4, 9), (2, 4), FullyConnectedOptions()),
    }
    rng = np.random.default_rng(5)
    for name, (a, b, c, options) in cases.items():
        zero = (0.02, -30) if name == "FULLY_CONNECTED" else w
        tensors = [T(a, "INT8", x), T(b, "INT8", zero), T(c, "INT8", y)]
        data = file(tensors, [N(name, (0, 1), 2, options)])
        given = [data_of(rng, t) for t in tensors[:2]]
        theirs = Tflm(data, arena=1 << 20).run(given).outputs[0]
        np.testing.assert_array_equal(run(read(data), given), theirs, name)


def test_int4_weights_are_constants() -> None:
    b = Builder()
    x, w = b.input("x", s8(1, 4, scale=0.1)), b.input("w", replace(s8(3, 4), dtype=DType.S4))
    y = b.add(linear, (x, w), Linear(), type=s8(1, 3, scale=0.1))
    with pytest.raises(UnsupportedError, match="int4 weights"):
        plan(b.module((y,)), devices.load("cortex-m4"))


# Batches of matrices ----------------------------------------------------------------------

BATCHES = (
    ((2, 3, 4), (4, 5), False, False),
    ((4, 3), (2, 4, 5), True, False),
    ((2, 1, 3, 4), (1, 3, 5, 4), False, True),
    ((3, 1, 2, 4, 3), (2, 1, 5, 4), True, True),
)


@pytest.mark.oracle
@pytest.mark.parametrize("kind", ["INT8", "INT16", "FLOAT32"])
@pytest.mark.parametrize(("a", "b", "adj_a", "adj_b"), BATCHES)
@pytest.mark.parametrize("fixed", [False, True], ids=["computed", "constant"])
def test_batches_of_matrices(
    a: tuple[int, ...], b: tuple[int, ...], adj_a: bool, adj_b: bool, kind: str, fixed: bool
) -> None:
    rng, zero = np.random.default_rng(6), kind == "INT8"
    quants = [None] * 3 if kind == "FLOAT32" else [(0.1, 3 * zero), (0.05, -9 * zero), (0.9, zero)]
    rows, columns = a[-1 if adj_a else -2], b[-2 if adj_b else -1]
    lead = np.broadcast_shapes(a[:-2], b[:-2])
    x, w = T(a, kind, quants[0]), T(b, kind, quants[1])
    if fixed:
        w = replace(w, data=data_of(rng, w))
    node = N("BATCH_MATMUL", (0, 1), 2, BatchMatMulOptions(adj_a, adj_b))
    data = file([x, w, T((*lead, rows, columns), kind, quants[2])], [node])
    module = read(data)
    products = [n.op.name for n in module.graphs["infer"].nodes if n.op in (linear, matmul)]
    shared = fixed and len(b) == 2 and kind != "INT16" and not adj_a
    assert products == ["linear" if shared else "matmul"]
    for _ in range(3):
        given = [data_of(rng, t) for t in (x, w) if t.data is None]
        theirs = run_litert(data, given, reference=True)[0]
        check_near(run(module, given), theirs, ONE_OPERATOR, "matmul")


def test_float_matrices_times_int8_weights() -> None:
    weights = np.arange(12, dtype=np.int8).reshape(4, 3)
    data = file(
        [T((2, 4)), T((4, 3), "INT8", (0.5, 2), weights), T((2, 3))],
        [N("BATCH_MATMUL", (0, 1), 2, BatchMatMulOptions())],
    )
    module, x = read(data), np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(run(module, [x]), x @ ((weights - 2.0) * 0.5))


def test_a_product_of_matrices_that_do_not_fit_is_refused() -> None:
    for shapes in (((2, 3), (4, 5)), ((2, 3, 4), (3, 4, 5)), ((3,), (3, 4))):
        tensors = [*(T(s) for s in shapes), T((2, 5))]
        with pytest.raises(ModelError):
            read(file(tensors, [N("BATCH_MATMUL", (0, 1), 2, BatchMatMulOptions())]))


# Transposed convolutions ------------------------------------------------------------------


@pytest.mark.oracle
@pytest.mark.parametrize("kind", ["INT8", "INT16", "UINT8", "FLOAT32"])
@pytest.mark.parametrize("padding", [Padding.SAME, Padding.VALID])
@pytest.mark.parametrize(
    ("window", "stride"), [((3, 3), (2, 2)), ((2, 4), (3, 1)), ((1, 1), (2, 3)), ((5, 2), (1, 2))]
)
def test_transposed_convolutions(
    window: tuple[int, int], stride: tuple[int, int], padding: Padding, kind: str
) -> None:
    rng, (h, w) = np.random.default_rng(7), (4, 3)
    size = [
        extent * s if padding is Padding.SAME else (extent - 1) * s + k
        for extent, s, k in zip((h, w), stride, window, strict=True)
    ]
    zero = {"INT8": 1, "UINT8": 1}.get(kind, 0)
    x, y = ((0.02, 5 * zero), (0.1, 20 * zero)) if kind != "FLOAT32" else (None, None)
    shape = (2, *window, 3)
    weights = T(shape, "INT8", (0.02, 0), rng.integers(-127, 128, shape).astype(np.int8))
    if kind in ("UINT8", "FLOAT32"):
        weights = T(shape, kind, (0.02, 110) if x else None)
        weights = replace(weights, data=data_of(rng, weights))
    target = np.array([1, *size, 2], np.int32)
    tensors = [
        T((4,), "INT32", None, target),
        weights,
        T((1, h, w, 3), kind, x),
        T((1, *size, 2), kind, y),
    ]
    options = TransposeConvOptions(padding, stride[1], stride[0])
    data = file(tensors, [N("TRANSPOSE_CONV", (0, 1, 2), 3, options)])
    module = read(data)
    for _ in range(3):
        given = data_of(rng, tensors[2])
        theirs = run_litert(data, [given], reference=True)[0]
        if kind == "UINT8":
            given = (given.astype(np.int16) - 128).astype(np.int8)
            theirs = (theirs.astype(np.int16) - 128).astype(np.int8)
        check_near(run(module, [given]), theirs, ONE_OPERATOR, "transposed")


def upsampled(kernel: int, stride: int, pad: int, size: int) -> Module:
    """conv, transposed conv, conv; each needs some rows of the one before."""
    b, rng, quant = Builder(), np.random.default_rng(kernel), Quant.per_tensor(0.02)

    def weights(name: str, *shape: int) -> Value:
        return b.param(name, rng.integers(-127, 128, shape).astype(np.int8), quant)

    x = b.input("x", s8(1, 16, 5, 3, scale=0.1, zero_point=7))
    y = b.add(
        conv2d,
        (x, weights("wa", 4, 3, 3, 3)),
        Conv2d(pad=(1, 1, 1, 1)),
        type=s8(1, 16, 5, 4, scale=0.3, zero_point=-3),
        name="a",
    )
    y = b.add(
        transpose_conv,
        (y, weights("wt", 3, kernel, kernel, 4)),
        TransposeConv((stride, stride), (pad, pad), (size, 5 * stride)),
        type=s8(1, size, 5 * stride, 3, scale=0.4),
        name="t",
    )
    y = b.add(
        conv2d,
        (y, weights("wb", 2, 3, 3, 3)),
        Conv2d(pad=(1, 1, 1, 1)),
        type=s8(1, size, 5 * stride, 2, scale=0.4),
        name="b",
    )
    return b.module((y,))


@pytest.mark.parametrize(
    ("kernel", "stride", "pad", "size"),
    [(3, 2, 0, 32), (4, 2, 1, 32), (5, 3, 1, 48), (2, 3, 0, 47), (3, 1, 1, 16), (7, 2, 3, 31)],
)
def test_transposed_convolutions_stream(
    kernel: int, stride: int, pad: int, size: int, host_compiler: Toolchain
) -> None:
    """Row by row through line buffers: the same bytes, in less memory."""
    module, device = upsampled(kernel, stride, pad, size), devices.load("cortex-m4")
    options = PlanOptions(streams=(tuple("atb"),), optimize=Optimize.RAM)
    streamed = plan(module, device, options)
    assert streamed.arenas["ram"] < plan(module, device).arenas["ram"]
    rng = np.random.default_rng(8)
    given = {"x": rng.integers(-128, 128, (1, 16, 5, 3)).astype(np.int8)}
    proof = prove(module, streamed, [Call("infer", given)], hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


def test_a_transposed_convolution_of_another_size_is_refused() -> None:
    w = T((2, 3, 3, 3), "FLOAT32", None, np.zeros((2, 3, 3, 3), np.float32))
    size = T((4,), "INT32", None, np.array([1, 8, 8, 2], np.int32))
    node = N("TRANSPOSE_CONV", (0, 1, 2), 3, TransposeConvOptions(0, 2, 2))
    with pytest.raises(FormatError, match="transposed convolution"):
        read(file([size, w, T((1, 4, 4, 3)), T((1, 8, 9, 2))], [node]))


def test_what_the_format_cannot_say_is_not_written() -> None:
    b = Builder()
    x = b.input("x", s8(1, 4, scale=0.1))
    w = b.param("w", np.ones((4, 4, 1, 1), np.int8).reshape(4, 1, 1, 4), Quant.per_tensor(0.1, 5))
    image = b.input("image", s8(1, 2, 2, 4, scale=0.1))
    y = b.add(conv2d, (image, w), Conv2d(), type=s8(1, 2, 2, 4, scale=0.1))
    z = b.add(matmul, (x, b.input("m", s8(4, 2, scale=0.1))), MatMul())
    with pytest.raises(UnsupportedError, match="zero point") as caught:
        write(b.module((y, z)))
    assert len(caught.value.problems) == 1


def test_zero_points_of_weights_beside_int16_are_refused() -> None:
    b = Builder()
    x = b.input("x", replace(s8(1, 4, scale=0.1), dtype=DType.S16))
    w = b.param("w", np.ones((3, 4), np.int8), Quant.per_tensor(0.1, 5))
    with pytest.raises(ModelError, match="zero points of weights"):
        b.add(linear, (x, w, b.input("b", s32(3))), Linear())

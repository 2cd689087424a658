"""ONNX files: every operator against ONNX Runtime, quantised networks, bad files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.onnx_files import Step, model, onnx, ran

from lilliput import compiler
from lilliput.compiler import pipeline, proof
from lilliput.devices import load as load_device
from lilliput.emu import onnx_oracle
from lilliput.errors import FormatError, LilliputError
from lilliput.frontends import load_model
from lilliput.frontends import onnx as frontend
from lilliput.ir import Array, DType
from lilliput.ir.batch import batched
from lilliput.ir.interp import Session
from lilliput.ops.shape import transpose
from lilliput.tolerances import BOUNDS

FLOATS = BOUNDS["ONNX Runtime"]


def given(shape: Sequence[int], seed: int = 0, low: float = -2.0, high: float = 2.0) -> Array:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def real(values: float | Sequence[float]) -> Array:
    return np.array(values, np.float32)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def ours(data: bytes, inputs: Mapping[str, Array], io: str = "float") -> list[Array]:
    """What the network gives behind all passes."""
    found = pipeline.from_module(frontend.read(data, io=io))
    return list(found.run(dict(inputs)).outputs.values())


def same(file: Any, inputs: Mapping[str, Array]) -> None:
    """Both agree, floats within the stated bound and everything else to the bit."""
    data = file.SerializeToString()
    for want, found in zip(ran(data, inputs), ours(data, inputs), strict=True):
        assert found.shape == want.shape
        assert found.dtype == want.dtype
        if want.dtype == np.float32:
            broken = FLOATS.broken(want, found)
            assert not broken.any(), np.abs(want - found).max()
        else:
            np.testing.assert_array_equal(want, found)


# Operators --------------------------------------------------------------------------------

IMAGE = (1, 4, 9, 8)
W = given((6, 4, 3, 3), 1)
LINE = (1, 4, 12)
CASES: dict[str, tuple[list[Step], dict[str, Sequence[int]], dict[str, Array]]] = {}


def case(
    name: str,
    kind: str,
    shape: Sequence[int] | Sequence[Sequence[int]],
    attrs: Mapping[str, Any] | None = None,
    **constants: Array,
) -> None:
    """A node over inputs of these shapes and then the constants, in order; `_` leaves one out."""
    several = bool(shape) and not isinstance(shape[0], int)
    shapes: Sequence[Any] = shape if several else [shape]
    inputs = {f"x{k}": s for k, s in enumerate(shapes)}
    operands = [*inputs, *("" if n.startswith("_") else n for n in constants)]
    known = {n: a for n, a in constants.items() if not n.startswith("_")}
    CASES[name] = [(kind, operands, ["y"], attrs or {})], inputs, known


NO = np.zeros(0, np.float32)
case("conv", "Conv", IMAGE, {"pads": [1, 1, 1, 1]}, w=W, b=given((6,), 2))
case("conv stride", "Conv", IMAGE, {"strides": [2, 1], "dilations": [2, 1]}, w=W)
case("conv groups", "Conv", IMAGE, {"group": 2}, w=given((6, 2, 3, 2)))
case("conv depthwise", "Conv", IMAGE, {"group": 4, "auto_pad": "SAME_UPPER", "strides": [2, 2]},
     w=given((8, 1, 3, 3)))  # fmt: skip
case("conv same lower", "Conv", IMAGE, {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, w=W)
case("conv1d", "Conv", LINE, {"pads": [1, 2], "strides": [2]}, w=given((5, 4, 3)), b=given((5,)))
case("conv transpose", "ConvTranspose", IMAGE,
     {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 0]},
     w=given((4, 3, 3, 3)), b=given((3,)))  # fmt: skip
case("conv transpose groups", "ConvTranspose", IMAGE,
     {"strides": [2, 1], "group": 2, "dilations": [1, 2]}, w=given((4, 3, 2, 3)))  # fmt: skip
case("conv transpose 1d", "ConvTranspose", LINE, {"strides": [3]}, w=given((4, 2, 4)))
case("max pool", "MaxPool", IMAGE, {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1})
case("max pool pads", "MaxPool", IMAGE, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]})
case("max pool 1d", "MaxPool", LINE, {"kernel_shape": [3], "strides": [2]})
case("average pool", "AveragePool", IMAGE, {"kernel_shape": [2, 3], "strides": [2, 2]})
case("average pool pads", "AveragePool", IMAGE, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]})
case("average pool counts pads", "AveragePool", IMAGE,
     {"kernel_shape": [3, 3], "pads": [1, 0, 1, 2], "count_include_pad": 1})  # fmt: skip
case("average pool ceil", "AveragePool", IMAGE,
     {"kernel_shape": [2, 3], "strides": [2, 3], "ceil_mode": 1})  # fmt: skip
case("global average pool", "GlobalAveragePool", IMAGE)
case("global max pool", "GlobalMaxPool", IMAGE)
case("batch norm", "BatchNormalization", IMAGE, {"epsilon": 1e-3}, s=given((4,)), b=given((4,), 1),
     m=given((4,), 2), v=given((4,), 3, 0.1, 2.0))  # fmt: skip
case("instance norm", "InstanceNormalization", IMAGE, {}, s=given((4,)), b=given((4,), 1))
case("layer norm", "LayerNormalization", (1, 5, 12), {}, s=given((12,)), b=given((12,), 1))
case("layer norm two axes", "LayerNormalization", (2, 5, 4), {"axis": 1}, s=given((5, 4)))
HALF = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
for rule in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"):
    case(f"resize linear {rule}", "Resize", IMAGE,
         {"mode": "linear", "coordinate_transformation_mode": rule},
         _r=NO, _s=NO, size=ints(1, 4, 13, 5))  # fmt: skip
    for nearest in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"):
        case(f"resize {nearest} {rule}", "Resize", IMAGE,
             {"mode": "nearest", "coordinate_transformation_mode": rule, "nearest_mode": nearest},
             _r=NO, _s=NO, size=ints(1, 4, 7, 16))  # fmt: skip
case("resize by factors", "Resize", IMAGE, {"mode": "nearest", "nearest_mode": "floor"},
     _r=NO, s=real([1, 1, 2, 3]))  # fmt: skip
case("depth to space", "DepthToSpace", (1, 8, 3, 4), {"blocksize": 2})
case("pixel shuffle", "DepthToSpace", (1, 8, 3, 4), {"blocksize": 2, "mode": "CRD"})
case("space to depth", "SpaceToDepth", (1, 2, 4, 6), {"blocksize": 2})

for name in ("Relu", "LeakyRelu", "Sigmoid", "Tanh", "Elu", "Softplus", "HardSigmoid", "HardSwish",
             "Exp", "Abs", "Neg", "Floor", "Ceil", "Round", "Sign", "Sin", "Cos", "Erf", "Selu",
             "Softsign", "Mish", "Reciprocal"):  # fmt: skip
    case(name, name, (2, 3, 5))
case("Sqrt", "Sqrt", (2, 3), {})
case("Clip", "Clip", (2, 9), {}, low=real(-0.5), high=real(1))
case("Clip one bound", "Clip", (2, 9), {}, _low=NO, high=real(1))
case("PRelu", "PRelu", IMAGE, {}, slope=given((4, 1, 1)))
for name in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Equal", "Less", "GreaterOrEqual"):
    case(name, name, [(2, 3, 5), (3, 1)])
for power in (2.0, 0.5, 3.0, 1.7):
    case(f"Pow {power}", "Pow", (2, 5), {}, e=real(power))
case("Sum", "Sum", [(2, 3), (3,), (1, 3)])

case("matmul weights", "MatMul", (2, 3, 5), {}, w=given((5, 4)))
case("matmul", "MatMul", [(2, 3, 5), (2, 5, 4)])
case("matmul broadcast", "MatMul", [(2, 2, 3, 5), (5, 4)])
case("matmul vector", "MatMul", [(2, 3, 5), (5,)])
case("gemm", "Gemm", (3, 5), {"transB": 1, "alpha": 0.5, "beta": 2.0}, w=given((4, 5)),
     b=given((4,)))  # fmt: skip
case("gemm transposed", "Gemm", (5, 3), {"transA": 1}, w=given((5, 4)), b=given((3, 4)))
for equation, shapes in {"bij,bjk->bik": [(2, 3, 4), (2, 4, 5)], "ij,kj->ki": [(3, 4), (5, 4)],
                         "bhid,bhjd->bhij": [(1, 2, 3, 4), (1, 2, 5, 4)]}.items():  # fmt: skip
    case(f"einsum {equation}", "Einsum", shapes, {"equation": equation})

case("reshape", "Reshape", (2, 3, 4), {}, s=ints(0, -1))
case("flatten", "Flatten", (2, 3, 4), {"axis": 2})
case("squeeze", "Squeeze", (2, 1, 4, 1), {}, a=ints(1))
case("unsqueeze", "Unsqueeze", (2, 4), {}, a=ints(0, -1))
case("transpose", "Transpose", (2, 3, 4), {"perm": [2, 0, 1]})
case("concat", "Concat", [(2, 3), (2, 4)], {"axis": -1})
case("slice", "Slice", (4, 9), {}, b=ints(1, -8), e=ints(3, 100), a=ints(0, 1), s=ints(1, 2))
case("slice backwards", "Slice", (4, 9), {}, b=ints(-1), e=ints(-(2**40)), a=ints(1), s=ints(-1))
case("pad", "Pad", (1, 2, 3), {}, p=ints(0, 1, 0, 2, 0, 1), v=real(1.5))
case("pad reflect", "Pad", IMAGE, {"mode": "reflect"}, p=ints(0, 0, 1, 2, 0, 0, 1, 0))
case("tile", "Tile", (2, 3), {}, r=ints(2, 3))
case("expand", "Expand", (3, 1), {}, s=ints(2, 1, 4))
case("gather", "Gather", (3, 4, 5), {"axis": 1}, i=ints(3, -1, 0))
case("gather one", "Gather", (3, 4, 5), {"axis": 1}, i=np.array(2))
for name in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2"):
    case(name, name, IMAGE, {"axes": [2, 3], "keepdims": 0})
case("reduce sum", "ReduceSum", IMAGE, {}, a=ints(1))
case("softmax", "Softmax", (2, 3, 5), {"axis": -1})
case("softmax of channels", "Softmax", IMAGE, {"axis": 1})
case("log softmax", "LogSoftmax", (2, 5))
case("arg max", "ArgMax", (2, 3, 5), {"axis": 1})
case("arg min", "ArgMin", (2, 3, 5), {"axis": 2, "keepdims": 0})
case("cumsum", "CumSum", (2, 5, 3), {}, a=np.array(1))
for direction, count in (("forward", 1), ("reverse", 1), ("bidirectional", 2)):
    hidden = {"hidden_size": 3, "direction": direction}
    case(f"lstm {direction}", "LSTM", (5, 1, 4), hidden, w=given((count, 12, 4)),
         r=given((count, 12, 3), 1), b=given((count, 24), 2))  # fmt: skip
    for reset in (0, 1):
        options = {**hidden, "linear_before_reset": reset}
        case(f"gru {direction} {reset}", "GRU", (5, 1, 4), options,
             w=given((count, 9, 4)), r=given((count, 9, 3)), b=given((count, 18), 2))  # fmt: skip


OTHERS = {"Equal": "bool", "Less": "bool", "GreaterOrEqual": "bool", "ArgMax": "int64",
          "ArgMin": "int64"}  # fmt: skip
"""Element types of results that are no floats."""


@pytest.mark.parametrize("name", CASES)
def test_operator(name: str) -> None:
    steps, shapes, constants = CASES[name]
    kind = steps[0][0]
    least = 0.1 if kind in ("Sqrt", "Pow", "Reciprocal") else -2.0
    inputs = {n: given(s, k, least) for k, (n, s) in enumerate(shapes.items())}
    opset, kinds = 18 if kind == "Mish" else 17, {"y": OTHERS.get(kind, "float32")}
    same(model(steps, shapes, ["y"], constants, opset=opset, kinds=kinds), inputs)


def recurrent(frames: int, reset: int) -> tuple[Any, dict[str, Array]]:
    """A GRU in both directions from an initial state, and all that it gives."""
    constants = {"w": given((2, 9, 4)) / 2, "r": given((2, 9, 3), 1) / 2, "b": given((2, 18), 2)}
    options = {"hidden_size": 3, "direction": "bidirectional", "linear_before_reset": reset}
    operands = ["x", "w", "r", "b", "", "h"]
    shapes = {"x": (frames, 1, 4), "h": (2, 1, 3)}
    file = model([("GRU", operands, ["y", "last"], options)], shapes, ["y", "last"], constants)
    return file, {n: given(s, 3 + k) for k, (n, s) in enumerate(shapes.items())}


def test_a_gru_that_is_reset_behind_its_product_is_one_operator() -> None:
    file, inputs = recurrent(300, 1)
    same(file, inputs)
    nodes = frontend.read(file.SerializeToString()).graphs["infer"].nodes
    assert [n.op.name for n in nodes].count("gru") == 2
    assert "logistic" not in {n.op.name for n in nodes}


def test_several_results() -> None:
    file = model([("Split", ["x", "n"], ["a", "b"], {"axis": 1})], {"x": (2, 5)}, ["a", "b"],
                 {"n": ints(2, 3)})  # fmt: skip
    same(file, {"x": given((2, 5))})


@pytest.mark.parametrize("opset", [11, 13, 15, 18, 21])
def test_opsets(opset: int) -> None:
    """The same network as each opset states it."""
    steps: list[Step] = [
        ("Conv", ["x", "w"], ["c"], {"pads": [1, 1, 1, 1]}),
        ("Relu", ["c"], ["r"], {}),
        ("GlobalAveragePool", ["r"], ["g"], {}),
        ("Flatten", ["g"], ["f"], {}),
        ("Softmax", ["f"], ["y"], {}),
    ]
    same(model(steps, {"x": IMAGE}, ["y"], {"w": W}, opset=opset), {"x": given(IMAGE)})


def test_shapes_are_computed_at_import() -> None:
    """Shape, Gather, Concat in front of a Reshape leave nothing behind; the batch is open."""
    steps: list[Step] = [
        ("Shape", ["x"], ["s"], {}),
        ("Gather", ["s", "zero"], ["n"], {}),
        ("Concat", ["n", "rest"], ["to"], {"axis": 0}),
        ("Reshape", ["x", "to"], ["y"], {}),
    ]
    file = model(steps, {"x": ["N", 3, 4]}, ["y"], {"zero": ints(0), "rest": ints(-1)})
    same(file, {"x": given((1, 3, 4))})
    module = frontend.read(file.SerializeToString())
    assert [n.op.name for n in module.graphs["infer"].nodes] == ["reshape"]


# Layout -----------------------------------------------------------------------------------

BLOCK: list[Step] = [
    ("Conv", ["x", "w0"], ["c0"], {"pads": [1, 1, 1, 1]}),
    ("BatchNormalization", ["c0", "s", "s", "s", "s"], ["n0"], {}),
    ("Clip", ["n0", "zero", "six"], ["r0"], {}),
    ("Conv", ["r0", "w1"], ["c1"], {"pads": [1, 1, 1, 1], "group": 6}),
    ("GlobalAveragePool", ["c1"], ["p"], {}),
    ("Conv", ["p", "w2"], ["q"], {}),
    ("Sigmoid", ["q"], ["gate"], {}),
    ("Mul", ["c1", "gate"], ["e"], {}),
    ("Add", ["e", "r0"], ["a"], {}),
    ("Concat", ["a", "r0"], ["d"], {"axis": 1}),
    ("MaxPool", ["d"], ["m"], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("Flatten", ["m"], ["f"], {}),
    ("Gemm", ["f", "w3"], ["y"], {}),
]
CONSTANTS: dict[str, Array] = {
    "w0": W,
    "s": given((6,), 2, 0.5, 1.5),
    "zero": real(0),
    "six": real(6),
    "w1": given((6, 1, 3, 3), 3),
    "w2": given((6, 6, 1, 1), 4),
    "w3": given((12 * 16, 5), 5),
}


def test_no_transpose_is_left_inside() -> None:
    """Of a block with a residual, a gate, a concat and a head over the whole map."""
    file = model(BLOCK, {"x": IMAGE}, ["y"], CONSTANTS)
    same(file, {"x": given(IMAGE)})
    module = frontend.read(file.SerializeToString())
    network = pipeline.from_module(module)
    moves = [n for n in network.module.graphs["infer"].nodes if n.op is transpose]
    assert [n.inputs[0].name for n in moves] == ["x"]
    network = pipeline.from_module(module, channels_last=True)
    assert network.rows == {"x"}
    assert network.module.inputs("infer")[0].type.shape == (1, 9, 8, 4)
    assert all(n.op is not transpose for n in network.module.graphs["infer"].nodes)
    x = given(IMAGE)
    rows = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    (want,) = ran(file.SerializeToString(), {"x": x})
    assert not FLOATS.broken(want, network.run({"x": rows}).outputs["y"]).any()


def test_batch_norm_goes_into_the_weights() -> None:
    module = frontend.read(model(BLOCK, {"x": IMAGE}, ["y"], CONSTANTS).SerializeToString())
    nodes = pipeline.from_module(module).module.graphs["infer"].nodes
    assert sum(n.op.name == "mul" for n in nodes) == 1  # the gate
    assert sum(n.op.name == "conv2d" for n in nodes) == 3


def test_batch_norm_behind_another_order_of_axes() -> None:
    """Its channels are rows of the convolution's map: the weights stay as they are."""
    steps: list[Step] = [
        ("Conv", ["x", "w"], ["c"], {"pads": [1, 1, 1, 1]}),
        ("Transpose", ["c"], ["t"], {"perm": [0, 2, 1, 3]}),
        ("BatchNormalization", ["t", "s", "s", "s", "s"], ["y"], {}),
    ]
    constants = {"w": given((9, 4, 3, 3)), "s": given((9,), 2, 0.5, 1.5)}
    same(model(steps, {"x": IMAGE}, ["y"], constants), {"x": given(IMAGE)})


# Quantised networks -----------------------------------------------------------------------


def quantised(dtype: str, *, per_channel: bool = True) -> Any:
    """A network as a quantiser leaves it: QDQ around convolution, add, pool and product."""
    low = 0 if dtype == "int8" else 128
    steps: list[Step] = []
    constants: dict[str, Array] = {}

    def pair(x: str, scale: float, zero: int) -> str:
        constants[f"{x}/s"], constants[f"{x}/z"] = real(scale), np.array(zero + low, dtype)
        steps.append(("QuantizeLinear", [x, f"{x}/s", f"{x}/z"], [f"{x}/q"], {}))
        steps.append(("DequantizeLinear", [f"{x}/q", f"{x}/s", f"{x}/z"], [f"{x}/d"], {}))
        return f"{x}/d"

    def weights(name: str, shape: Sequence[int], x_scale: float, seed: int) -> tuple[str, str]:
        rng = np.random.default_rng(seed)
        count = shape[0] if per_channel else 1
        scales = rng.uniform(0.002, 0.01, count).astype(np.float32)
        scales = scales if per_channel else scales.reshape(())
        constants[f"{name}/q"] = rng.integers(-127, 128, shape).astype(np.int8)
        constants[f"{name}/s"], constants[f"{name}/z"] = scales, np.zeros(scales.shape, np.int8)
        constants[f"{name}/b"] = rng.integers(-3000, 3000, shape[0]).astype(np.int32)
        constants[f"{name}/bs"] = (scales * real(x_scale)).astype(np.float32)
        axis = {"axis": 0} if per_channel else {}
        steps.append(
            ("DequantizeLinear", [f"{name}/{k}" for k in ("q", "s", "z")], [f"{name}/d"], axis)
        )
        steps.append(("DequantizeLinear", [f"{name}/b", f"{name}/bs"], [f"{name}/bd"], axis))
        return f"{name}/d", f"{name}/bd"

    x = pair("x", 0.02, -5)
    steps.append(("Conv", [x, *weights("w0", (8, 4, 3, 3), 0.02, 1)], ["c0"],
                  {"pads": [1, 1, 1, 1]}))  # fmt: skip
    steps.append(("Relu", ["c0"], ["r0"], {}))
    r0 = pair("r0", 0.01, -128)
    steps.append(("Conv", [r0, *weights("w1", (8, 1, 3, 3), 0.01, 2)], ["c1"],
                  {"pads": [1, 1, 1, 1], "group": 8}))  # fmt: skip
    c1 = pair("c1", 0.013, 3)
    steps.append(("Add", [r0, c1], ["a"], {}))
    a = pair("a", 0.017, -40)
    steps.append(("MaxPool", [a], ["m"], {"kernel_shape": [2, 2], "strides": [2, 2]}))
    m = pair("m", 0.017, -40)
    steps.append(("GlobalAveragePool", [m], ["p"], {}))
    p = pair("p", 0.011, -30)
    steps.append(("Flatten", [p], ["f"], {}))
    f = pair("f", 0.011, -30)
    steps.append(("Gemm", [f, *weights("w2", (5, 8), 0.011, 3)], ["g"], {"transB": 1}))
    pair("g", 0.02, 7)
    return model(steps, {"x": IMAGE}, ["g/d"], constants)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_quantised_network(dtype: str, per_channel: bool) -> None:
    """All integers, equal to ONNX Runtime within one step; nearly all of them exactly."""
    data = quantised(dtype, per_channel=per_channel).SerializeToString()
    network = pipeline.from_module(frontend.read(data))
    values = list(network.module.graphs["infer"].values())
    assert {v.type.dtype for v in values} <= {DType.S8, DType.S32}
    assert [
        v.name for v in (*network.module.inputs("infer"), *network.module.outputs("infer"))
    ] == [
        "x",
        "g/d",
    ]
    (x,), (y,) = network.module.inputs("infer"), network.module.outputs("infer")
    exact = total = 0
    for seed in range(16):
        q = np.random.default_rng(seed).integers(-128, 128, IMAGE).astype(np.int8)
        reals = (q.astype(np.float32) - x.type.zero_point) * real(x.type.scale)
        (want,) = ran(data, {"x": reals})
        found = network.run({"x": q}).outputs[y.name].astype(np.int64)
        steps = np.rint(want / real(y.type.scale)).astype(np.int64) + y.type.zero_point
        assert np.abs(found - steps).max() <= 1
        exact += int(np.sum(found == steps))
        total += found.size
    assert exact >= 0.9 * total


def test_operators_on_integers() -> None:
    """QLinearConv, QLinearAdd, QLinearMatMul: the same builders behind another form."""
    rng = np.random.default_rng(5)
    constants: dict[str, Array] = {
        "xs": real(0.02), "xz": np.array(120, np.uint8),
        "w": rng.integers(-127, 128, (6, 4, 3, 3)).astype(np.int8),
        "ws": rng.uniform(0.002, 0.01, 6).astype(np.float32), "wz": np.zeros(6, np.int8),
        "ys": real(0.05), "yz": np.array(100, np.uint8),
        "b": rng.integers(-3000, 3000, 6).astype(np.int32),
        "as": real(0.08), "az": np.array(90, np.uint8), "to": ints(1, -1),
        "m": rng.integers(-127, 128, (6 * 7 * 6, 5)).astype(np.int8),
        "ms": real(0.004), "mz": np.array(0, np.int8),
        "os": real(0.3), "oz": np.array(128, np.uint8),
    }  # fmt: skip
    steps: list[Step] = [
        ("QLinearConv", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"], ["c"], {}),
        ("QLinearAdd", ["c", "ys", "yz", "c", "ys", "yz", "as", "az"], ["a"], {}),
        ("Reshape", ["a", "to"], ["f"], {}),
        ("QLinearMatMul", ["f", "as", "az", "m", "ms", "mz", "os", "oz"], ["y"], {}),
    ]
    file = model(steps, {"x": IMAGE}, ["y"], constants, kinds={"x": "uint8", "y": "uint8"})
    data = file.SerializeToString()
    for seed in range(4):
        x = np.random.default_rng(seed).integers(0, 256, IMAGE).astype(np.uint8)
        (want,) = ran(data, {"x": x})
        (found,) = ours(data, {"x": (x.astype(np.int16) - 128).astype(np.int8)})
        assert np.abs(found.astype(np.int64) + 128 - want).max() <= 1


def test_hard_sigmoid_on_integers() -> None:
    """Every int8, cut off at both ends; a float32 that lies in the middle may fall either way."""
    constants = {"s": real(0.05), "z": np.array(7, np.int8), "t": real(1 / 255)}
    constants["u"] = np.array(-128, np.int8)
    steps: list[Step] = [
        ("DequantizeLinear", ["x", "s", "z"], ["d"], {}),
        ("HardSigmoid", ["d"], ["h"], {"alpha": 1 / 6, "beta": 0.5}),
        ("QuantizeLinear", ["h", "t", "u"], ["y"], {}),
    ]
    every = np.arange(-128, 128, dtype=np.int8).reshape(1, 256)
    kinds = {"x": "int8", "y": "int8"}
    data = model(steps, {"x": every.shape}, ["y"], constants, kinds=kinds).SerializeToString()
    module = frontend.read(data)
    assert not {"quantize", "dequantize"} & {n.op.name for n in module.graphs["infer"].nodes}
    ((want,), (found,)) = ran(data, {"x": every}), ours(data, {"x": every}, "int8")
    off = np.abs(found.astype(np.int64) - want)
    assert off.max() <= 1
    assert np.mean(off != 0) < 0.02
    assert {-128, 127} <= set(found.reshape(-1).tolist())


# Bad files --------------------------------------------------------------------------------


def refused(file: Any, *words: str) -> None:
    data = file if isinstance(file, bytes) else file.SerializeToString()
    with pytest.raises(LilliputError) as caught:
        frontend.read(data)
    for word in words:
        assert word in str(caught.value)


def test_unsupported_operators_are_listed_at_once() -> None:
    steps: list[Step] = [
        ("Det", ["x"], ["a"], {}),
        ("Relu", ["x"], ["b"], {}),
        ("NonZero", ["b"], ["c"], {}),
    ]
    refused(model(steps, {"x": (2, 2)}, ["a", "c"]), "Det", "NonZero", "Det_0", "NonZero_2")


def test_forms_of_a_gru() -> None:
    refused(recurrent(300, 0)[0], "GRU of many frames", "256", "linear_before_reset=1")
    file = recurrent(3, 1)[0]
    file.graph.node[0].attribute.append(onnx.helper.make_attribute("clip", 1.0))
    refused(file, "GRU that is clipped")


def test_dynamic_shapes() -> None:
    step: list[Step] = [("Relu", ["x"], ["y"], {})]
    refused(model(step, {"x": ["N", "time", 3]}, ["y"]), "axis 1 (time)", "fixed shapes")
    refused(model(step, {"x": [1, 0]}, ["y"]), "no elements")


def test_names_and_order() -> None:
    twice: list[Step] = [("Relu", ["x"], ["y"], {}), ("Neg", ["x"], ["y"], {})]
    refused(model(twice, {"x": (2,)}, ["y"]), "more than once")
    cycle: list[Step] = [("Add", ["x", "b"], ["a"], {}), ("Relu", ["a"], ["b"], {})]
    refused(model(cycle, {"x": (2,)}, ["b"]), "cycle")
    missing: list[Step] = [("Add", ["x", "nothing"], ["a"], {})]
    refused(model(missing, {"x": (2,)}, ["a"]), "never defined")


def test_opset_and_domain() -> None:
    step: list[Step] = [("Relu", ["x"], ["y"], {})]
    refused(model(step, {"x": (2,)}, ["y"], opset=3), "opset")
    file = model(step, {"x": (2,)}, ["y"])
    file.graph.node[0].domain = "mine"
    refused(file, "mine.Relu")


def test_weights_outside_of_the_folder(tmp_path: Path) -> None:
    file = model([("Add", ["x", "w"], ["y"], {})], {"x": (2,)}, ["y"], {"w": given((2,))})
    w = file.graph.initializer[0]
    raw = w.raw_data
    w.ClearField("raw_data")
    w.data_location = onnx.TensorProto.EXTERNAL
    entry = w.external_data.add()
    entry.key, entry.value = "location", "../weights.bin"
    path = tmp_path / "model.onnx"
    path.write_bytes(file.SerializeToString())
    with pytest.raises(FormatError, match="outside of the folder"):
        load_model(path)
    entry.value = "weights.bin"
    path.write_bytes(file.SerializeToString())
    with pytest.raises(FormatError, match="cannot read the weights"):
        load_model(path)
    (tmp_path / "weights.bin").write_bytes(raw)
    assert load_model(path).params


@pytest.mark.parametrize("seed", range(40))
def test_damaged_files(seed: int) -> None:
    """Cut off and changed bytes: refused, or read as another network; never anything else."""
    data = bytearray(model(BLOCK, {"x": IMAGE}, ["y"], CONSTANTS).SerializeToString())
    rng = np.random.default_rng(seed)
    header = 700
    for _ in range(int(rng.integers(1, 6))):
        data[int(rng.integers(0, header))] = int(rng.integers(0, 256))
    cut = bytes(data[: int(rng.integers(1, len(data)))]) if seed % 2 else bytes(data)
    with pytest.raises(LilliputError) if not frontend.matches(cut) else _Either():
        if not frontend.matches(cut):
            raise FormatError("not an ONNX file")
        pipeline.from_module(frontend.read(cut))


class _Either:
    """Either nothing is raised, or an error of ours."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is None or issubclass(kind, LilliputError)


def test_recognised_by_content(tmp_path: Path) -> None:
    data = model(BLOCK, {"x": IMAGE}, ["y"], CONSTANTS).SerializeToString()
    assert frontend.matches(data)
    assert frontend.matches(data[: len(data) // 2])
    for other in (b"", b"\x08", b"TFL3" * 9, b"\x1c\0\0\0TFL3" + bytes(99), b"{}", b"PK\3\4" * 9):
        assert not frontend.matches(other)
    path = tmp_path / "some.bin"
    path.write_bytes(data)
    assert compiler.load(path).onnx == path


# Proven -----------------------------------------------------------------------------------


@pytest.mark.unicorn
def test_check_runs_onnx_runtime(tmp_path: Path) -> None:
    path = tmp_path / "q.onnx"
    path.write_bytes(quantised("int8").SerializeToString())
    network = pipeline.load(path, channels_last=True)
    found = proof.check(network, load_device("cortex-m4"), samples=4)
    assert found.exact
    assert found.within_bound
    assert found.ok
    assert onnx_oracle.NAME in [w.name for w in found.ways]


SHARED = ("alibaba_open_kws", "ic_resnet_submission_k1", "kws_ref_model_submission_k1",
          "vww_96_float", "vww_mobilenet_v1_submission_k1")  # fmt: skip


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.models
@pytest.mark.unicorn
@pytest.mark.parametrize("name", SHARED)
def test_published_networks(name: str, shared: Path) -> None:
    path = shared / "models" / "mlperf_tiny_onnx" / f"{name}.onnx"
    network = pipeline.load(path, channels_last=True)
    assert all(n.op is not transpose for n in network.module.graphs["infer"].nodes)
    found = proof.check(network, load_device("cortex-m4"), samples=4)
    assert found.ok
    assert found.within_bound


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.models
def test_keyword_accuracy(shared: Path) -> None:
    """90.2 % of the official set, which is int8 features of another quantisation."""
    path = shared / "models" / "mlperf_tiny_onnx" / "kws_ref_model_submission_k1.onnx"
    archive = np.load(shared / "data" / "mlperf_tiny" / "kws01_eval.npz")
    module = pipeline.load(path).module
    (value,) = module.inputs("infer")
    reals = (archive["x"].astype(np.float32) - 83) * real(0.5847)
    stored = np.rint(reals / real(value.type.scale)) + value.type.zero_point
    data = np.clip(stored, -128, 127).astype(np.int8).reshape(10, 100, 490)
    session = Session(batched(module, 100))
    scores = [session.run({value.name: part}).outputs["dense"] for part in data]
    right = np.concatenate(scores).argmax(1) == archive["y"]
    assert int(right.sum()) == KEYWORDS


KEYWORDS = 902

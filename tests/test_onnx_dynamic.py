"""Dynamically quantised ONNX files: read as floats with the weights of the integers, and told of.

One idea: onnxruntime.quantization makes the files, so that their chains of nodes are those that
users have; ONNX Runtime rounds the activations of each to eight bits, we do not, and the bound for
that is one of `lilliput.tolerances`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.onnx_files import Step, model, onnx, ran

from lilliput import devices
from lilliput.compiler import Model, check, compile, inspect, load, quantize
from lilliput.compiler.inspection import inspection_text
from lilliput.errors import FormatError, UnsupportedError
from lilliput.frontends import onnx as frontend
from lilliput.ir import Array
from lilliput.report.terminal import text
from lilliput.tolerances import BOUNDS

BOUND = BOUNDS["scales of run time"]
BOTH = {"hidden_size": 6, "direction": "bidirectional"}
PRODUCTS = {"MatMulInteger", "ConvInteger", "DynamicQuantizeLSTM"}


@dataclass(frozen=True)
class Case:
    """A float network of one input x and one output y, and the shapes of its constants."""

    steps: tuple[Step, ...]
    shape: tuple[int, ...]
    constants: Mapping[str, tuple[int, ...]]
    options: Mapping[str, object] = field(default_factory=dict[str, object])


CASES = {
    "perceptron": Case(
        (
            ("MatMul", ["x", "w"], ["a"], {}),
            ("Add", ["a", "b"], ["c"], {}),
            ("Relu", ["c"], ["d"], {}),
            ("Gemm", ["d", "v", "u"], ["y"], {"transB": 1}),
        ),
        (3, 16),
        {"w": (16, 24), "b": (24,), "v": (10, 24), "u": (10,)},
    ),
    "pictures": Case(
        (
            ("Conv", ["x", "w", "b"], ["a"], {"pads": [1, 1, 1, 1]}),
            ("Relu", ["a"], ["c"], {}),
            ("Conv", ["c", "v", "u"], ["d"], {"group": 8, "pads": [1, 1, 1, 1], "strides": [2, 2]}),
            ("GlobalAveragePool", ["d"], ["e"], {}),
            ("Flatten", ["e"], ["f"], {}),
            ("MatMul", ["f", "t"], ["y"], {}),
        ),
        (1, 3, 9, 8),
        {"w": (8, 3, 3, 3), "b": (8,), "v": (8, 1, 3, 3), "u": (8,), "t": (8, 5)},
    ),
    "sequence": Case(
        (
            ("LSTM", ["x", "w", "r", "b"], ["", "h"], BOTH),
            ("MatMul", ["h", "t"], ["y"], {}),
        ),
        (5, 1, 4),
        {"w": (2, 24, 4), "r": (2, 24, 6), "b": (2, 48), "t": (6, 3)},
    ),
    "attention": Case(
        (
            ("MatMul", ["x", "q"], ["a"], {}),
            ("MatMul", ["x", "k"], ["b"], {}),
            ("Transpose", ["b"], ["c"], {"perm": [0, 2, 1]}),
            ("MatMul", ["a", "c"], ["d"], {}),
            ("Softmax", ["d"], ["e"], {"axis": -1}),
            ("MatMul", ["e", "x"], ["y"], {}),
        ),
        (1, 6, 8),
        {"q": (8, 8), "k": (8, 8)},
        {"MatMulConstBOnly": False},
    ),
}  # fmt: skip


def drawn(shape: tuple[int, ...], seed: int, scale: float = 1.0) -> Array:
    return (np.random.default_rng(seed).normal(0, scale, shape)).astype(np.float32)


def dynamic(name: str, folder: Path, *, weights: str = "QInt8", per_channel: bool = False) -> Path:
    """The file that quantize_dynamic makes of a case."""
    quantization: Any = pytest.importorskip("onnxruntime.quantization")
    case = CASES[name]
    constants = {n: drawn(s, k, 0.3) for k, (n, s) in enumerate(case.constants.items())}
    plain, made = folder / "float.onnx", folder / "dynamic.onnx"
    onnx.save(model(case.steps, {"x": case.shape}, ["y"], constants), str(plain))
    logging.disable(logging.WARNING)  # it advises to run its preprocessing first
    try:
        quantization.quantize_dynamic(
            plain,
            made,
            weight_type=quantization.QuantType[weights],
            per_channel=per_channel,
            extra_options=dict(case.options),
        )
    finally:
        logging.disable(logging.NOTSET)
    return made


def apart(path: Path, network: Model, x: Array) -> Array:
    """Where ours is out of the bound of ONNX Runtime's."""
    (want,) = ran(path.read_bytes(), {"x": x})
    (found,) = network.run({"x": x}).outputs.values()
    return BOUND.broken(want, found)


@pytest.mark.parametrize("per_channel", [False, True], ids=["tensor", "channel"])
@pytest.mark.parametrize("weights", ["QInt8", "QUInt8"])
@pytest.mark.parametrize("name", ["perceptron", "pictures", "sequence", "attention"])
def test_files_are_floats_with_the_weights_of_their_integers(
    name: str, weights: str, per_channel: bool, tmp_path: Path
) -> None:
    path = dynamic(name, tmp_path, weights=weights, per_channel=per_channel)
    network = load(path)
    nodes = network.module.graphs["infer"].nodes
    assert all(v.type.quant is None for n in nodes for v in (*n.inputs, *n.outputs))
    kinds = [n.op_type for n in onnx.load(str(path)).graph.node]
    assert len(network.module.unrounded) == sum(k in PRODUCTS for k in kinds) > 0
    for seed in range(3):
        x = drawn(CASES[name].shape, 10 + seed)
        assert not apart(path, network, x).any()


def test_weights_are_those_of_the_integers(tmp_path: Path) -> None:
    """Not those of the float file: each is a whole number of steps of its scale."""
    network = load(dynamic("perceptron", tmp_path, per_channel=True))
    (first,) = (n for n in network.module.graphs["infer"].nodes if n.output.type.shape == (3, 24)
                if n.op.name == "linear")  # fmt: skip
    data = network.module.params[first.inputs[1].name].data
    assert data is not None
    steps = np.abs(data).max(1, keepdims=True) / 127
    np.testing.assert_allclose(data / steps, np.rint(data / steps), atol=1e-3)


def test_the_user_is_told(tmp_path: Path) -> None:
    path = dynamic("pictures", tmp_path)
    network = load(path)
    lines = [x for x in inspection_text(inspect(network)).splitlines() if "NOT ROUNDED" in x]
    assert len(lines) == 3
    assert 'ConvInteger "Conv_0_quant"' in lines[0]
    summary = compile(network, devices.load("cortex-m4")).summary
    assert summary.unrounded == network.module.unrounded
    assert "NOT ROUNDED" in text(summary)
    found = check(network, devices.load("cortex-m4"), samples=4)
    assert found.ok
    assert found.within_bound
    assert "ONNX Runtime" in [w.name for w in found.ways]


def test_data_make_integers_of_it(tmp_path: Path) -> None:
    """What is left out at run time comes back as scales of calibration."""
    network = load(dynamic("pictures", tmp_path))
    data = np.concatenate([drawn((1, 3, 9, 8), k, 3.0) for k in range(40)])
    made = quantize(network, data)
    assert not made.outcome.floats
    assert not made.model.module.unrounded
    assert sum("ConvInteger" in w for w in made.outcome.warnings) == 2
    (x,) = made.model.module.inputs("infer")
    stored = np.rint(data[:1] / x.type.scale) + x.type.zero_point
    (whole,) = made.model.run(np.clip(stored, -128, 127).astype(np.int8)).outputs.values()
    (y,) = made.model.module.outputs("infer")
    (real,) = network.run(data[:1]).outputs.values()
    assert (
        np.abs((whole - y.type.zero_point) * y.type.scale - real).max() < 0.1 * np.abs(real).max()
    )


def whole(shape: tuple[int, ...], seed: int, dtype: str = "int8") -> Array:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(low, high, shape, endpoint=True).astype(dtype)


MEASURE: Step = ("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], {})
WEIGHTS: dict[str, Array] = {
    "w": whole((8, 5), 1),
    "ws": np.full(5, 0.01, np.float32),
    "wz": np.zeros(5, np.int8),
}
BIAS = {"b": drawn((5,), 4)}


CHAINS: dict[str, tuple[list[Step], dict[str, Array]]] = {
    "in one": ([("DynamicQuantizeMatMul", ["x", "w", "ws", "wz", "b"], ["y"], {})], BIAS),
    "without bias": ([("DynamicQuantizeMatMul", ["x", "w", "ws"], ["y"], {})], {}),
    "to float": (
        [MEASURE, ("MatMulIntegerToFloat", ["q", "w", "s", "ws", "z", "wz", "b"], ["y"], {})],
        BIAS,
    ),
    "scaled twice": (
        [
            MEASURE,
            ("MatMulInteger", ["q", "w", "z"], ["a"], {}),
            ("Cast", ["a"], ["c"], {"to": 1}),
            ("Mul", ["c", "s"], ["d"], {}),
            ("Mul", ["d", "ws"], ["y"], {}),
        ],
        {},
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_other_chains_of_the_same(name: str) -> None:
    steps, constants = CHAINS[name]
    data = model(steps, {"x": (2, 8)}, ["y"], {**WEIGHTS, **constants}).SerializeToString()
    x = drawn((2, 8), 3)
    (want,) = ran(data, {"x": x})
    module = frontend.read(data)
    (found,) = Model(module).run({"x": x}).outputs.values()
    assert not BOUND.broken(want, found).any()
    assert len(module.unrounded) == 1


REFUSED: dict[str, tuple[list[Step], str]] = {
    "other use": (
        [MEASURE, ("Transpose", ["q"], ["y"], {"perm": [1, 0]})],
        "are used for more than one product",
    ),
    "output": ([MEASURE, ("MatMulInteger", ["q", "w", "z"], ["y"], {})], "output \"y\""),
    "wrong scale": (
        [
            MEASURE,
            ("Neg", ["x"], ["n"], {}),
            ("DynamicQuantizeLinear", ["n"], ["q2", "s2", "z2"], {}),
            ("MatMulInteger", ["q", "w", "z"], ["a"], {}),
            ("Cast", ["a"], ["c"], {"to": 1}),
            ("Mul", ["c", "s2"], ["y"], {}),
        ],
        "are used for more than one product",
    ),
    "wrong zero point": (
        [MEASURE, ("MatMulInteger", ["q", "w"], ["y"], {})],
        "the zero point of other integers",
    ),
    "stored integers": (
        [
            ("QuantizeLinear", ["x", "one"], ["q"], {}),
            ("MatMulInteger", ["q", "w"], ["y"], {}),
        ],
        "integers of no measured scale",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_chains_that_are_none_are_refused(name: str) -> None:
    steps, words = REFUSED[name]
    constants = {**WEIGHTS, "one": np.ones((), np.float32)}
    data = model(steps, {"x": (2, 8)}, ["y"], constants).SerializeToString()
    with pytest.raises((UnsupportedError, FormatError), match=words) as found:
        frontend.read(data)
    assert "with calibration data" in str(found.value) or name == "wrong zero point"

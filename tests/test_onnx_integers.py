"""ONNX operators on integers, one by one against ONNX Runtime: within one step of the result.

One idea: a row says where an operator wants its operands; scales and zero points are the same for
all, but no two of a row are equal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from tests.onnx_files import model, ran

from lilliput.compiler import pipeline
from lilliput.frontends import onnx as frontend
from lilliput.frontends.onnx.operators import quantised
from lilliput.ir import Array

IMAGE, ROWS = (1, 4, 6, 5), (3, 8)
ZERO = {"uint8": {"x": 120, "z": 101, "y": 110}, "int8": {"x": -8, "z": -27, "y": 5}}
WEIGHTED = ["x", "xs", "xz", "w", "ws", "wz"]
ENDS = ["ys", "yz"]
ONE = ["x", "xs", "xz", *ENDS]
TWO = ["x", "xs", "xz", "z", "zs", "zz", *ENDS]


@dataclass(frozen=True)
class Row:
    """operands : names, of which x and z are inputs; weights : shape and per-channel axis of w;
    scale : of y; off : share of results that may differ by one step."""

    operands: list[str]
    scale: float
    shape: tuple[int, ...] = IMAGE
    weights: tuple[tuple[int, ...], int | None] | None = None
    attrs: dict[str, Any] = field(default_factory=dict[str, Any])
    off: float = 0.1


POOL = {"kernel_shape": [2, 2], "strides": [2, 1]}
CONV = {"pads": [1, 1, 1, 1]}
GROUPS = {"pads": [1, 0, 1, 0], "strides": [2, 1], "group": 4}
CASES = {
    "QLinearConv": Row([*WEIGHTED, *ENDS, "b"], 0.05, weights=((6, 4, 3, 3), 0), attrs=CONV),
    "QLinearConv/groups": Row(
        [*WEIGHTED, *ENDS, "b"], 0.03, weights=((8, 1, 3, 3), 0), attrs=GROUPS
    ),
    "QLinearConv/tensor": Row([*WEIGHTED, *ENDS], 0.05, weights=((6, 4, 1, 1), None)),
    "QLinearMatMul": Row([*WEIGHTED, *ENDS], 0.04, ROWS, ((8, 5), None)),
    "QGemm": Row([*WEIGHTED, "b", *ENDS], 0.04, ROWS, ((5, 8), None), {"transB": 1}),
    "QLinearAdd": Row(TWO, 0.03),
    "QLinearMul": Row(TWO, 0.04),
    "QLinearConcat": Row([*ENDS, "x", "xs", "xz", "z", "zs", "zz"], 0.025, attrs={"axis": 1}),
    "QLinearGlobalAveragePool": Row(ONE, 0.008, (1, 32, 3, 3), off=0.0),
    "QLinearAveragePool": Row(ONE, 0.018, attrs=POOL),
    "QLinearLeakyRelu": Row(ONE, 0.015, attrs={"alpha": 0.1}),
    "QLinearSigmoid": Row(ONE, 1 / 256),
    "QLinearSoftmax": Row(ONE, 1 / 256, ROWS, attrs={"axis": 1, "opset": 13}),
}


def _constants(row: Row, dtype: str, rng: np.random.Generator) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for name, scale in (("x", 0.02), ("z", 0.013), ("y", row.scale)):
        found[f"{name}s"] = np.array(scale, np.float32)
        found[f"{name}z"] = np.array(ZERO[dtype][name], dtype)
    if row.weights is not None:
        shape, axis = row.weights
        count = () if axis is None else (shape[axis],)
        found["w"] = rng.integers(-127, 128, shape).astype(np.int8)
        found["ws"] = np.asarray(rng.uniform(0.002, 0.01, count), np.float32)
        found["wz"] = np.zeros(count, np.int8)
        found["b"] = rng.integers(-3000, 3000, shape[0]).astype(np.int32)
    return {name: a for name, a in found.items() if name in row.operands}


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("name", CASES)
def test_an_operator_on_integers_is_onnx_runtimes(name: str, dtype: str) -> None:
    row, rng = CASES[name], np.random.default_rng(9)
    names = [n for n in ("x", "z") if n in row.operands]
    kinds = {**dict.fromkeys(names, dtype), "y": dtype}
    steps = [(name.partition("/")[0], row.operands, ["y"], row.attrs)]
    file = model(
        steps, dict.fromkeys(names, row.shape), ["y"], _constants(row, dtype, rng), kinds=kinds
    )
    data = file.SerializeToString()
    shift = 128 if dtype == "uint8" else 0  # legacy uint8 is int8 here
    network = pipeline.from_module(frontend.read(data))
    differences = list[Array]()
    for _ in range(8):
        given = {n: rng.integers(-128, 128, row.shape).astype(np.int16) + shift for n in names}
        (want,) = ran(data, {n: a.astype(dtype) for n, a in given.items()})
        mine = {n: (a - shift).astype(np.int8) for n, a in given.items()}
        (found,) = network.run(mine).outputs.values()
        assert found.dtype == np.int8
        assert np.ptp(want.astype(np.int64)) > 20
        differences.append(np.abs(found.astype(np.int64) + shift - want).reshape(-1))
    assert max(d.max() for d in differences) <= 1
    assert np.mean(np.concatenate(differences) > 0) <= row.off


def test_every_operator_on_integers_has_a_row() -> None:
    taken = {name for name in quantised.READ if name not in ("QuantizeLinear", "DequantizeLinear")}
    assert taken == {name.partition("/")[0] for name in CASES}


def test_averages_of_onnx_runtime_are_no_function_of_their_integer_sums() -> None:
    """Its float32 sums, one tap after the other by rows, give its answers at 0 LSB; they round
    alike sums differently where the average lies in the middle of two steps."""
    size, window, scale, zero = 64, 2, np.float32(0.0837), 11
    x = np.random.default_rng(4).integers(0, 256, (1, 4, size, size)).astype(np.uint8)
    constants = {"xs": scale, "ys": scale, "xz": np.uint8(zero), "yz": np.uint8(zero)}
    attrs = {"kernel_shape": [window] * 2, "strides": [window] * 2}
    file = model(
        [("QLinearAveragePool", ONE, ["y"], attrs)],
        {"x": x.shape},
        ["y"],
        {name: np.asarray(a) for name, a in constants.items()},
        kinds={"x": "uint8", "y": "uint8"},
    )
    (answers,) = ran(file.SerializeToString(), {"x": x})
    taps = [x[:, :, a::window, b::window] for a in range(window) for b in range(window)]
    floats, whole = np.zeros(answers.shape, np.float32), np.zeros(answers.shape, np.int64)
    for tap in taps:
        floats += (tap.astype(np.float32) - np.float32(zero)) * scale
        whole += tap
    found = np.rint(floats / np.float32(window**2) / scale + np.float32(zero))
    assert np.array_equal(np.clip(found, 0, 255), answers)
    split = [s for s in np.unique(whole) if np.ptp(answers[whole == s])]
    assert len(split) > 10
    assert all(s % window**2 == window**2 // 2 for s in split)

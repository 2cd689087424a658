"""Small ONNX files made by tests, and what ONNX Runtime makes of them.

`graph` takes nodes as tuples (operator, inputs, outputs, attributes) and constants by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from lilliput.ir.types import Array

onnx: Any = pytest.importorskip("onnx")
runtime: Any = pytest.importorskip("onnxruntime")

Step = tuple[str, Sequence[str], Sequence[str], Mapping[str, Any]]
MICROSOFT = frozenset(
    (
        "DynamicQuantizeMatMul",
        "MatMulIntegerToFloat",
        "QGemm",
        "QLinearAdd",
        "QLinearAveragePool",
        "QLinearConcat",
        "QLinearGlobalAveragePool",
        "QLinearLeakyRelu",
        "QLinearMul",
        "QLinearSigmoid",
        "QLinearSoftmax",
    )
)


def model(
    steps: Sequence[Step],
    inputs: Mapping[str, Sequence[Any]],
    outputs: Sequence[str],
    constants: Mapping[str, Array] | None = None,
    *,
    opset: int = 17,
    kinds: Mapping[str, str] | None = None,
) -> Any:
    """A ModelProto; `kinds`: element types of inputs and outputs that are no floats."""
    code = onnx.helper.np_dtype_to_tensor_dtype

    def info(name: str, shape: Sequence[Any] | None) -> Any:
        dtype = np.dtype((kinds or {}).get(name, "float32"))
        return onnx.helper.make_tensor_value_info(name, code(dtype), shape)

    nodes = [
        onnx.helper.make_node(
            kind, list(i), list(o), name=f"{kind}_{k}",
            domain="com.microsoft" if kind in MICROSOFT else "", **a,
        )
        for k, (kind, i, o, a) in enumerate(steps)
    ]  # fmt: skip
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [info(n, s) for n, s in inputs.items()],
        [info(n, None) for n in outputs],
        [onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()],
    )
    ids = [onnx.helper.make_opsetid("", opset), onnx.helper.make_opsetid("com.microsoft", 1)]
    return onnx.helper.make_model(graph, opset_imports=ids, ir_version=10)


def ran(data: bytes, inputs: Mapping[str, Array]) -> list[Array]:
    """ONNX Runtime's outputs."""
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return [np.asarray(a) for a in session.run(None, dict(inputs))]

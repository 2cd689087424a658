"""ONNX Runtime runs the same ONNX file, in a child process.

One idea: of a quantised model integers are compared.  Where a network ends in floats, as a softmax
behind its last integers, the file is cut there: the reals behind the last DequantizeLinear are
what both have.  A difference is counted in steps of their scale, and one step is allowed: ONNX
Runtime computes some layers of a quantised file in float32, in an order of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module, util
from pathlib import Path
from typing import Any

import numpy as np

from lilliput.emu.child import Told, answer, ask
from lilliput.emu.near import Near, Shown
from lilliput.errors import MissingTool
from lilliput.ir.graph import Graph, Value
from lilliput.ir.types import Array
from lilliput.ops.quantize import dequantize, quantize
from lilliput.tolerances import BOUNDS

NAME = "ONNX Runtime"
STEP = 1.001
"""Steps of a scale that integers may be apart: one, and the rounding of its float32."""
SUFFIX = "/float"
"""What the reader names the reals by that a DequantizeLinear gives (`onnx.call`)."""


NEAR = Near(NAME, BOUNDS[NAME], STEP)
MEASURED = Near(NAME, BOUNDS["scales of run time"], STEP)
"""For files that round activations to scales which are measured on each input."""


def ends(graph: Graph, outputs: Sequence[Value]) -> tuple[Shown, ...]:
    """The last integers in front of each float end; empty where a network has none, or where
    floats lie between integers too."""
    behind: set[str] = set()
    for node in reversed(graph.nodes):
        if node.op is quantize or any(v.name in behind for v in node.outputs):
            behind.update(v.name for v in node.inputs)
    found = tuple(
        Shown(n.output.name.removesuffix(SUFFIX), n.inputs[0])
        for n in graph.nodes
        if n.op is dequantize and n.output.name not in behind and n.output.name.endswith(SUFFIX)
    )
    stored = [Shown(v.name, v) for v in outputs if v.type.quant is not None]
    return (*stored, *found) if found else ()


def run(
    path: Path,
    inputs: Sequence[Value],
    calls: Sequence[Sequence[Array]],
    rows: frozenset[str],
    cut: Sequence[str] = (),
    timeout: float = 300,
) -> list[tuple[Array, ...]]:
    """What ONNX Runtime gives for each call: its outputs, or the tensors named by `cut`.

    Integers that stand for floats of the file are given as these, and rows of pixels channels
    first.  Raises MissingTool where it is not installed, EmulationError where it refuses.
    """
    for module in ("onnxruntime", "onnx"):
        if util.find_spec(module) is None:
            hint = 'pip install "lilliput[oracle]"'
            raise MissingTool(f"{NAME} is not installed", expected=module, hint=hint)
    arrays = {
        f"{c}.{k}": a.transpose(0, 3, 1, 2) if v.name in rows else a
        for c, call in enumerate(calls)
        for k, (v, a) in enumerate(zip(inputs, call, strict=True))
    }
    quant = [[v.type.scale, v.type.zero_point] if v.type.quant else None for v in inputs]
    job = {"path": str(path.resolve()), "calls": len(calls), "quant": quant, "cut": list(cut)}
    found, results = ask(__name__, NAME, (job, arrays), timeout)
    return [tuple(results[f"{c}.{k}"] for k in range(found["outputs"])) for c in range(len(calls))]


# In the child -----------------------------------------------------------------------------


def _work(job: Mapping[str, Any], given: Mapping[str, Array]) -> Told:
    runtime: Any = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    data = _cut(job["path"], job["cut"]) if job["cut"] else job["path"]
    session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    arrays: dict[str, Array] = {}
    for c in range(job["calls"]):
        feed = {
            info.name: _given(given[f"{c}.{k}"], info.type, job["quant"][k])
            for k, info in enumerate(session.get_inputs())
        }
        found = session.run(job["cut"] or None, feed)
        arrays |= {f"{c}.{k}": np.asarray(a) for k, a in enumerate(found)}
    return {"outputs": len(session.get_outputs())}, arrays


def _given(array: Array, kind: str, quant: Sequence[float] | None) -> Array:
    if kind == "tensor(float)" and array.dtype.kind in "iu" and quant:
        reals = (array.astype(np.int64) - int(quant[1])) * np.float64(quant[0])
        return reals.astype(np.float32)
    if kind == "tensor(uint8)" and array.dtype == np.int8:
        return (array.astype(np.int16) + 128).astype(np.uint8)
    return np.ascontiguousarray(array)


def _cut(path: str, names: Sequence[str]) -> bytes:
    """The file with other tensors for outputs, and without what they do not need."""
    onnx: Any = import_module("onnx")
    model = onnx.load(path)
    wanted, kept = set(names), list[Any]()
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(kept))
    known = {i.name: i for i in (*model.graph.value_info, *model.graph.output)}
    outputs = [
        known[n] if n in known else onnx.helper.make_empty_tensor_value_info(n) for n in names
    ]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    model = onnx.shape_inference.infer_shapes(model)
    return model.SerializeToString()


if __name__ == "__main__":
    answer(_work)

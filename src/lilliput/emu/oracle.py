"""Other implementations run the same .tflite file: TFLite Micro, and LiteRT for what it refuses.

One idea: the bytes of the file go in and tensors come out, so nothing of this project's reading
takes part but the names that tensors are matched by.  It runs in a child process, because a
runtime that aborts must not take this one along.  LiteRT stands in only for networks with floats;
its integer kernels round differently.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from lilliput import errors
from lilliput.emu.prove import Difference, WayResult
from lilliput.frontends.tflite.flatbuf import decode
from lilliput.frontends.tflite.schema import IDENTIFIER, Model, SubGraph
from lilliput.ir.graph import Graph, Value
from lilliput.ir.interp import Run
from lilliput.ir.types import Array, TensorType
from lilliput.tolerances import BOUNDS, EXACT

ARENA_BYTES = 64 << 20
_TFLM, _LITERT = "TFLite Micro", "LiteRT"
_MODULES = {_TFLM: "tflite_micro", _LITERT: "ai_edge_litert"}


@dataclass(frozen=True, eq=False)
class OracleRun:
    """One item a call: outputs in the file's order, and what TFLite Micro had between, by name."""

    name: str
    outputs: tuple[tuple[Array, ...], ...]
    between: tuple[Mapping[str, Array], ...]


def run(
    tflite: bytes,
    types: Sequence[TensorType],
    calls: Sequence[Sequence[Array]],
    *,
    floats: bool = False,
    timeout: float = 300,
) -> OracleRun:
    """Runs the calls on a file; `types` are those of the inputs, in the file's order.

    An input that the file has as float and we as integers is given as the reals that they stand
    for.  floats : the network computes with floats, so LiteRT may stand in.
    Raises MissingTool where nothing is installed, EmulationError where the file is refused.
    """
    names = [n for n in (_TFLM, _LITERT)[: 2 if floats else 1] if util.find_spec(_MODULES[n])]
    if not names:
        raise errors.MissingTool(
            "TFLite Micro is not installed",
            expected="the Python package tflite-micro",
            hint='pip install "lilliput[oracle]" (Linux x86-64 and macOS only)',
        )
    with tempfile.TemporaryDirectory(prefix="lilliput-") as temporary:
        folder = Path(temporary)
        (folder / "model.tflite").write_bytes(tflite)
        arrays = {f"{c}.{k}": a for c, call in enumerate(calls) for k, a in enumerate(call)}
        np.savez(folder / "inputs.npz", allow_pickle=False, **arrays)
        job = {
            "names": names,
            "calls": len(calls),
            "quant": [[t.scale, t.zero_point] if t.quant else None for t in types],
        }
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        _child(folder, timeout)
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        if not result["name"]:
            raise errors.EmulationError("the file is refused", found="; ".join(result["refused"]))
        with np.load(folder / "outputs.npz", allow_pickle=False) as data:
            calls_found = range(len(calls))
            outputs = [
                tuple(data[f"{c}.{k}"] for k in range(result["outputs"])) for c in calls_found
            ]
            between = [
                {name: data[f"{c}.t{i}"] for i, name in enumerate(result["between"])}
                for c in calls_found
            ]
    return OracleRun(result["name"], tuple(outputs), tuple(between))


def compare(
    run: OracleRun, graph: Graph, outputs: Sequence[Value], expected: Sequence[Run], *, floats: bool
) -> WayResult:
    """Everything that both have, at 0 LSB; of networks with floats within `tolerances.BOUNDS`."""
    bound = BOUNDS[run.name] if floats else EXACT
    ends_too = {v.name for v in outputs}
    values = {v.name: v for v in graph.values() if v.name not in ends_too}
    origins = {n.output.name: n.describe() for n in graph.nodes}
    tensors = 0
    for number, (want, ends, between) in enumerate(
        zip(expected, run.outputs, run.between, strict=True)
    ):
        named = [(values[n], a) for n, a in between.items() if n in values and n in want.values]
        for value, found in [*named, *zip(outputs, ends, strict=True)]:
            pair = _comparable(value, want.values[value.name], found)
            if pair is None:
                continue
            tensors += 1
            broken = np.flatnonzero(bound.broken(*pair))
            if broken.size:
                at, origin = int(broken[0]), origins.get(value.name, "output")
                first = float(pair[0].reshape(-1)[at]), float(pair[1].reshape(-1)[at])
                difference = Difference(
                    run.name, number, value.name, origin, at, *first, int(broken.size)
                )
                return WayResult(run.name, tensors, difference)
    return WayResult(run.name, tensors, None)


def _comparable(value: Value, want: Array, found: Array) -> tuple[Array, Array] | None:
    """Both in one type and shape; None where a name means two things."""
    if found.size != want.size:
        return None
    if found.dtype.kind == "f" and want.dtype.kind in "iu" and value.type.quant is not None:
        want = _reals(want, value.type.scale, value.type.zero_point)
    if found.dtype != want.dtype:
        return None
    return want, found.reshape(want.shape)


def _reals(stored: Array, scale: float, zero_point: int) -> Array:
    return (np.float64(scale) * (stored.astype(np.int64) - zero_point)).astype(np.float32)


def _child(folder: Path, timeout: float) -> None:
    path = os.pathsep.join([str(Path(__file__).resolve().parents[2]), *sys.path])
    command = [sys.executable, "-m", "lilliput.emu.oracle", str(folder)]
    try:
        run = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        raise errors.EmulationError(f"TFLite Micro did not end within {timeout:g} s") from error
    if run.returncode != 0:
        text = run.stderr.decode("utf-8", "replace").strip()
        raise errors.EmulationError(
            "TFLite Micro failed", found=f"exit code {run.returncode}\n{text[-1000:]}"
        )


# In the child -----------------------------------------------------------------------------


class _Micro(Protocol):
    def set_input(self, data: Array, index: int) -> None: ...
    def invoke(self) -> int: ...
    def get_output(self, index: int) -> Array: ...
    def GetTensor(self, tensor: int, subgraph: int) -> dict[str, Any]: ...  # noqa: N802 - theirs
    def get_input_details(self, index: int) -> dict[str, Any]: ...


Found = tuple[list[Array], dict[str, Array]]
Invoke = Callable[[Sequence[Array]], Found]
"""inputs -> (outputs, tensors between by name); for inputs see `_given`."""


def _given(array: Array, dtype: Any, quant: Sequence[float] | None) -> Array:
    if np.dtype(dtype).kind == "f" and array.dtype.kind in "iu" and quant:
        return _reals(array, quant[0], int(quant[1]))
    return array


def _micro(tflite: bytes, graph: SubGraph, quant: Sequence[Sequence[float] | None]) -> Invoke:
    runtime = importlib.import_module("tflite_micro.python.tflite_micro.runtime")
    keep = runtime.InterpreterConfig.kPreserveAllTensors
    interpreter = cast(
        _Micro,
        runtime.Interpreter.from_bytes(tflite, arena_size=ARENA_BYTES, intrepreter_config=keep),
    )
    dtypes = [interpreter.get_input_details(k)["dtype"] for k in range(len(quant))]
    seen = Counter(t.name for t in graph.tensors)
    made = [i for op in graph.operators for i in op.outputs if seen[graph.tensors[i].name] == 1]

    def invoke(inputs: Sequence[Array]) -> Found:
        for k, array in enumerate(inputs):
            interpreter.set_input(_given(array, dtypes[k], quant[k]), k)
        interpreter.invoke()
        outputs = [np.array(interpreter.get_output(k)) for k in range(len(graph.outputs))]
        between = {
            graph.tensors[i].name: np.array(interpreter.GetTensor(i, 0)["tensor_data"])
            for i in made
        }
        return outputs, between

    return invoke


def _litert(tflite: bytes, graph: SubGraph, quant: Sequence[Sequence[float] | None]) -> Invoke:
    module = importlib.import_module("ai_edge_litert.interpreter")
    interpreter: Any = module.Interpreter(
        model_content=tflite,
        experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()
    results = [d["index"] for d in interpreter.get_output_details()][: len(graph.outputs)]

    def invoke(inputs: Sequence[Array]) -> Found:
        for detail, array, q in zip(details, inputs, quant, strict=True):
            interpreter.set_tensor(detail["index"], _given(array, detail["dtype"], q))
        interpreter.invoke()
        return [np.array(interpreter.get_tensor(index)) for index in results], {}

    return invoke


_RUNTIMES = {_TFLM: _micro, _LITERT: _litert}


def _work(folder: Path) -> None:
    """Answers job.json with outputs.npz and result.json."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    tflite = (folder / "model.tflite").read_bytes()
    graph = decode(tflite, IDENTIFIER, Model).subgraphs[0]
    result: dict[str, object] = {"name": "", "outputs": len(graph.outputs), "between": []}
    refused: list[str] = []
    for name in job["names"]:
        try:
            arrays, between = _calls(_RUNTIMES[name](tflite, graph, job["quant"]), folder, job)
        except Exception as error:
            refused.append(f"{name}: {error}")
            continue
        np.savez(folder / "outputs.npz", allow_pickle=False, **arrays)
        result |= {"name": name, "between": between}
        break
    result["refused"] = refused
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


def _calls(invoke: Invoke, folder: Path, job: dict[str, Any]) -> tuple[dict[str, Array], list[str]]:
    """Arrays as outputs.npz names them, and the names of those that lie between."""
    arrays: dict[str, Array] = {}
    names: list[str] = []
    with np.load(folder / "inputs.npz", allow_pickle=False) as data:
        for c in range(job["calls"]):
            inputs = [data[f"{c}.{k}"] for k in range(len(job["quant"]))]
            outputs, between = invoke(inputs)
            names = list(between)
            arrays |= {f"{c}.{k}": a for k, a in enumerate(outputs)}
            arrays |= {f"{c}.t{i}": a for i, a in enumerate(between.values())}
    return arrays, names


if __name__ == "__main__":
    _work(Path(sys.argv[1]))

"""Other implementations run the same .tflite file: TFLite Micro, and LiteRT for what it refuses.

One idea: the bytes of the file go in and tensors come out, so nothing of this project's reading
takes part but the names that tensors are matched by.  It runs in a child process, because a
runtime that aborts must not take this one along.  LiteRT stands in only for networks with floats;
its integer kernels round differently.
"""

from __future__ import annotations

import importlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import util
from typing import Any, Protocol, cast

import numpy as np

from lilliput import errors
from lilliput.emu.child import Told, answer, ask
from lilliput.emu.prove import Difference, WayResult
from lilliput.frontends.tflite.flatbuf import decode
from lilliput.frontends.tflite.schema import CODES, IDENTIFIER, Model, SubGraph
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
    sizes: Mapping[str, int] | None = None,
    timeout: float = 300,
) -> OracleRun:
    """Runs the calls on a file; `types` are those of the inputs, in the file's order.

    An input that the file has as float or uint8 and we as int8 is given as the reals, or the
    bytes, that stand for the same.  floats : the network computes with floats, so LiteRT may
    stand in.  sizes : elements of the tensors by name; where the file states another number for
    one, it leaves extents open, which TFLite Micro takes for 1 and LiteRT works out.
    Raises MissingTool where nothing is installed, EmulationError where the file is refused.
    """
    open_extents = _states_other_sizes(tflite, sizes or {})
    kinds = ((_TFLM,) * (not open_extents)) + ((_LITERT,) * floats)
    if not kinds:
        raise errors.EmulationError(
            "the file leaves extents open, which TFLite Micro takes for 1",
            hint="convert the model with a fixed batch size",
        )
    names = [n for n in kinds if util.find_spec(_MODULES[n])]
    if not names:
        raise errors.MissingTool(
            "TFLite Micro is not installed",
            expected="the Python package tflite-micro",
            hint='pip install "lilliput[oracle]" (Linux x86-64 and macOS only)',
        )
    arrays = {f"{c}.{k}": a for c, call in enumerate(calls) for k, a in enumerate(call)}
    arrays["tflite"] = np.frombuffer(tflite, np.uint8)
    job = {
        "names": names,
        "calls": len(calls),
        "quant": [[t.scale, t.zero_point] if t.quant else None for t in types],
    }
    found, data = ask(__name__, " or ".join(names), (job, arrays), timeout)
    numbers = range(len(calls))
    outputs = (tuple(data[f"{c}.{k}"] for k in range(found["outputs"])) for c in numbers)
    between = ({n: data[f"{c}.t{i}"] for i, n in enumerate(found["between"])} for c in numbers)
    return OracleRun(found["name"], tuple(outputs), tuple(between))


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
    if found.dtype == np.uint8 and want.dtype == np.int8:
        found = _flipped(found).view(np.int8)
    if found.dtype != want.dtype:
        return None
    return want, found.reshape(want.shape)


def _flipped(stored: Array) -> Array:
    """The same reals in the other of int8 and uint8, as bytes: they are 128 apart."""
    return stored.view(np.uint8) ^ np.uint8(128)


def _reals(stored: Array, scale: float, zero_point: int) -> Array:
    return (np.float64(scale) * (stored.astype(np.int64) - zero_point)).astype(np.float32)


def _states_other_sizes(tflite: bytes, sizes: Mapping[str, int]) -> bool:
    """Of the entry, whose tensors have their names; loops may give theirs many sizes."""
    entry, *called = (
        [t for t in graph.tensors if min(t.shape_signature, default=0) < 0]
        for graph in decode(tflite, IDENTIFIER, Model).subgraphs
    )
    stated = {t.name: math.prod(t.shape) for t in entry}
    return any(called) or any(sizes.get(name, size) != size for name, size in stated.items())


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
    if np.dtype(dtype) == np.uint8 and array.dtype == np.int8:
        return _flipped(array)
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
    interpreter = _litert_interpreter(tflite)
    details = interpreter.get_input_details()
    results = [d["index"] for d in interpreter.get_output_details()][: len(graph.outputs)]

    def invoke(inputs: Sequence[Array]) -> Found:
        for detail, array, q in zip(details, inputs, quant, strict=True):
            interpreter.set_tensor(detail["index"], _given(array, detail["dtype"], q))
        interpreter.invoke()
        return [np.array(interpreter.get_tensor(index)) for index in results], {}

    return invoke


def _litert_interpreter(tflite: bytes) -> Any:
    """With the reference kernels, but where there are none, or they are wrong: its SUM of int8
    leaves the scale out."""
    module = importlib.import_module("ai_edge_litert.interpreter")
    kinds, codes = module.OpResolverType, decode(tflite, IDENTIFIER, Model).codes

    def ready(resolver: Any) -> Any:
        interpreter = module.Interpreter(
            model_content=tflite, experimental_op_resolver_type=resolver, num_threads=1
        )
        interpreter.allocate_tensors()
        return interpreter

    if all(c.code != CODES["SUM"] for c in codes):
        with suppress(RuntimeError, ValueError):
            return ready(kinds.BUILTIN_REF)
    return ready(kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES)


_RUNTIMES = {_TFLM: _micro, _LITERT: _litert}


def _work(job: Mapping[str, Any], given: Mapping[str, Array]) -> Told:
    """The calls by the first of the runtimes that does not refuse the file."""
    tflite = given["tflite"].tobytes()
    graph = decode(tflite, IDENTIFIER, Model).subgraphs[0]
    refused: list[str] = []
    for name in job["names"]:
        try:
            arrays, between = _calls(_RUNTIMES[name](tflite, graph, job["quant"]), given, job)
        except Exception as error:
            refused.append(f"{name}: {error}")
            continue
        return {"name": name, "outputs": len(graph.outputs), "between": between}, arrays
    raise errors.EmulationError("; ".join(refused))


def _calls(
    invoke: Invoke, given: Mapping[str, Array], job: Mapping[str, Any]
) -> tuple[dict[str, Array], list[str]]:
    """Outputs and what lies between, by call and place, and the names of what lies between."""
    arrays: dict[str, Array] = {}
    names: list[str] = []
    for c in range(job["calls"]):
        outputs, between = invoke([given[f"{c}.{k}"] for k in range(len(job["quant"]))])
        names = list(between)
        arrays |= {f"{c}.{k}": a for k, a in enumerate(outputs)}
        arrays |= {f"{c}.t{i}": a for i, a in enumerate(between.values())}
    return arrays, names


if __name__ == "__main__":
    answer(_work)

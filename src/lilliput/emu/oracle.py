"""Other implementations run the same .tflite file: TFLite Micro, and LiteRT for what it refuses.

One idea: the bytes of the file go in and outputs come out, so nothing of this project's reading
takes part.  It runs in a child process, because a runtime that aborts must not take this one
along.  LiteRT stands in only for networks with floats; its integer kernels round differently.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from lilliput import errors
from lilliput.emu.prove import Difference, WayResult
from lilliput.ir.graph import Value
from lilliput.ir.types import Array, TensorType
from lilliput.tolerances import BOUNDS, EXACT

ARENA_BYTES = 64 << 20
_TFLM, _LITERT = "TFLite Micro", "LiteRT"
_MODULES = {_TFLM: "tflite_micro", _LITERT: "ai_edge_litert"}


@dataclass(frozen=True, eq=False)
class OracleRun:
    """`outputs` has one tuple a call, in the order of the file's outputs."""

    name: str
    outputs: tuple[tuple[Array, ...], ...]


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
            outputs = [
                tuple(data[f"{c}.{k}"] for k in range(result["outputs"])) for c in range(len(calls))
            ]
    return OracleRun(result["name"], tuple(outputs))


def compare(
    run: OracleRun, outputs: Sequence[Value], expected: Sequence[Sequence[Array]], *, floats: bool
) -> WayResult:
    """Outputs at 0 LSB; those of networks with floats within `tolerances.BOUNDS`."""
    bound = BOUNDS[run.name] if floats else EXACT
    for number, (found, wanted) in enumerate(zip(run.outputs, expected, strict=True)):
        for value, got, want in zip(outputs, found, wanted, strict=True):
            if got.dtype.kind == "f" and want.dtype.kind in "iu":
                want = _reals(want, value.type.scale, value.type.zero_point)
            broken = np.flatnonzero(bound.broken(want, got.reshape(want.shape)))
            if broken.size:
                at = int(broken[0])
                first = float(want.reshape(-1)[at]), float(got.reshape(-1)[at])
                difference = Difference(
                    run.name, number, value.name, "output", at, *first, int(broken.size)
                )
                return WayResult(run.name, number + 1, difference)
    return WayResult(run.name, len(expected) * len(outputs), None)


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
    def get_input_details(self, index: int) -> dict[str, Any]: ...


Invoke = Callable[[Sequence[Array]], list[Array]]
"""inputs -> outputs; inputs may be reals or stored integers, see `_given`."""


def _given(array: Array, dtype: Any, quant: Sequence[float] | None) -> Array:
    if np.dtype(dtype).kind == "f" and array.dtype.kind in "iu" and quant:
        return _reals(array, quant[0], int(quant[1]))
    return array


def _micro(tflite: bytes, outputs: int, quant: Sequence[Sequence[float] | None]) -> Invoke:
    runtime = importlib.import_module("tflite_micro.python.tflite_micro.runtime")
    interpreter = cast(_Micro, runtime.Interpreter.from_bytes(tflite, arena_size=ARENA_BYTES))
    dtypes = [interpreter.get_input_details(k)["dtype"] for k in range(len(quant))]

    def invoke(inputs: Sequence[Array]) -> list[Array]:
        for k, array in enumerate(inputs):
            interpreter.set_input(_given(array, dtypes[k], quant[k]), k)
        interpreter.invoke()
        return [np.array(interpreter.get_output(k)) for k in range(outputs)]

    return invoke


def _litert(tflite: bytes, outputs: int, quant: Sequence[Sequence[float] | None]) -> Invoke:
    module = importlib.import_module("ai_edge_litert.interpreter")
    interpreter: Any = module.Interpreter(
        model_content=tflite,
        experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()
    results = [d["index"] for d in interpreter.get_output_details()][:outputs]

    def invoke(inputs: Sequence[Array]) -> list[Array]:
        for detail, array, q in zip(details, inputs, quant, strict=True):
            interpreter.set_tensor(detail["index"], _given(array, detail["dtype"], q))
        interpreter.invoke()
        return [np.array(interpreter.get_tensor(index)) for index in results]

    return invoke


_RUNTIMES = {_TFLM: _micro, _LITERT: _litert}


def _work(folder: Path) -> None:
    """Answers job.json with outputs.npz and result.json."""
    from lilliput.frontends.tflite.flatbuf import decode
    from lilliput.frontends.tflite.schema import IDENTIFIER, Model

    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    tflite = (folder / "model.tflite").read_bytes()
    outputs = len(decode(tflite, IDENTIFIER, Model).subgraphs[0].outputs)
    refused: list[str] = []
    for name in job["names"]:
        try:
            invoke = _RUNTIMES[name](tflite, outputs, job["quant"])
            found: dict[str, Array] = {}
            with np.load(folder / "inputs.npz", allow_pickle=False) as data:
                for c in range(job["calls"]):
                    inputs = [data[f"{c}.{k}"] for k in range(len(job["quant"]))]
                    found |= {f"{c}.{k}": a for k, a in enumerate(invoke(inputs))}
        except Exception as error:
            refused.append(f"{name}: {error}")
            continue
        np.savez(folder / "outputs.npz", allow_pickle=False, **found)
        break
    else:
        name = ""
    result = {"name": name, "outputs": outputs, "refused": refused}
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    _work(Path(sys.argv[1]))

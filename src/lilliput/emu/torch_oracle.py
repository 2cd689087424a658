"""PyTorch runs the same .pt2 file, in a child process.

One idea: the program in the file computes in floats, quantised or not, and is the reference.  Of
floats the bound is that of imported modules; of int8 ends, steps of their scale are counted.
Float ends behind integers have no bound: a step inside becomes any difference there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np

from lilliput.emu.child import Told, answer, ask
from lilliput.emu.near import Near
from lilliput.errors import MissingTool
from lilliput.frontends.torch.archive import load
from lilliput.ir.graph import Graph, Value
from lilliput.ir.types import Array
from lilliput.optional import need
from lilliput.tolerances import BOUNDS

NAME = "PyTorch"
NEAR = Near(NAME, BOUNDS[NAME], 2.001)
"""Integers may be two steps apart: floats of the program round beside the middle of two integers
now and then, which behind a sum of finer steps are two."""
MEASURED = Near(NAME, BOUNDS["scales of run time"], 2.001)
"""For programs that round activations to scales which are measured on each input."""


def comparable(graph: Graph, outputs: Sequence[Value]) -> list[int]:
    """Which outputs have a bound: all of a float network, the integers of another."""
    whole = any(v.type.quant is not None for v in graph.values())
    return [k for k, v in enumerate(outputs) if not (whole and v.type.dtype.is_float)]


def run(
    path: Path,
    inputs: Sequence[Value],
    calls: Sequence[Sequence[Array]],
    rows: frozenset[str],
    timeout: float = 300,
) -> list[tuple[Array, ...]]:
    """What PyTorch gives for each call, one after the other: buffers that change keep their state.

    Integers that stand for floats of the program are given as these, and rows of pixels channels
    first.  Raises MissingTool where torch is not installed, EmulationError where it fails.
    """
    if util.find_spec("torch") is None:
        hint = 'pip install "lilliput[torch]"'
        raise MissingTool(f"{NAME} is not installed", expected="torch", hint=hint)
    arrays = {
        f"{c}.{k}": _reals(v, a).transpose(0, 3, 1, 2) if v.name in rows else _reals(v, a)
        for c, call in enumerate(calls)
        for k, (v, a) in enumerate(zip(inputs, call, strict=True))
    }
    job = {"path": str(path.resolve()), "calls": len(calls), "inputs": len(inputs)}
    found, results = ask(__name__, NAME, (job, arrays), timeout)
    return [tuple(results[f"{c}.{k}"] for k in range(found["outputs"])) for c in range(len(calls))]


def _reals(value: Value, data: Array) -> Array:
    if value.type.quant is None:
        return data
    whole = data.astype(np.int64) - value.type.zero_point
    return (whole * np.float64(value.type.scale)).astype(np.float32)


# In the child -----------------------------------------------------------------------------


def _work(job: Mapping[str, Any], given: Mapping[str, Array]) -> Told:
    torch = need("torch", "torch", "PyTorch programs")
    tree = need("torch.utils._pytree", "torch", "PyTorch programs")
    torch.set_num_threads(1)
    program = load(Path(job["path"]).read_bytes(), job["path"])
    module, types = program.module(), _types(program)
    arrays: dict[str, Array] = {}
    outputs = 0
    with torch.no_grad():
        for c in range(job["calls"]):
            tensors = iter([torch.from_numpy(given[f"{c}.{k}"]) for k in range(job["inputs"])])
            flat = [next(tensors).to(t) if isinstance(t, torch.dtype) else t for t in types]
            args, named = tree.tree_unflatten(flat, program.call_spec.in_spec)
            leaves = tree.tree_leaves(module(*args, **named))
            found = [a.numpy().copy() for a in leaves if isinstance(a, torch.Tensor)]
            arrays |= {f"{c}.{k}": a for k, a in enumerate(found)}
            outputs = len(found)
    return {"outputs": outputs}, arrays


def _types(program: Any) -> list[Any]:
    """Of each argument the element type, or the value that export has fixed it to."""
    made = {n.name: n.meta["val"] for n in program.graph.nodes if n.op == "placeholder"}
    return [
        made[spec.arg.name].dtype if hasattr(made[spec.arg.name], "dtype") else spec.arg.value
        for spec in program.graph_signature.input_specs
        if spec.kind.name == "USER_INPUT"
    ]


if __name__ == "__main__":
    answer(_work)

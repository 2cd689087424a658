"""Another implementation that reads the same file, as a way of checking a network.

One idea: a file is read by at most one of them: a .tflite by TFLite Micro or LiteRT, an ONNX file
by ONNX Runtime, a .pt2 by PyTorch.  It gives tensors, which are compared with ours; where it
cannot be run, or nothing it gives has a bound, it is named with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lilliput.compiler.pipeline import Log, Model
from lilliput.emu import onnx_oracle, oracle, torch_oracle
from lilliput.emu.near import Shown, compare
from lilliput.emu.prove import Call, WayResult
from lilliput.errors import EmulationError, LilliputError
from lilliput.frontends.tflite import read
from lilliput.ir.interp import Run
from lilliput.ir.types import Array

TFLITE = "TFLite Micro"


def other_way(
    model: Model,
    calls: Sequence[Call],
    expected: Sequence[Run],
    not_installed: dict[str, str],
    log: Log,
) -> list[WayResult]:
    """How the one that reads the model's file compares with `expected`, a run for each call;
    nothing for other files.

    not_installed : is told of the one that could not be run, with the reason
    """
    inputs = model.module.inputs(model.module.entry)
    given = [tuple(c.inputs[v.name] for v in inputs) for c in calls]
    name = ""
    try:
        if model.onnx is not None:
            log(name := onnx_oracle.NAME)
            return [_onnx(model, model.onnx, given, expected)]
        if model.pt2 is not None:
            log(name := torch_oracle.NAME)
            return [_torch(model, model.pt2, given, expected)]
        if model.tflite is not None:
            log(name := TFLITE)
            return [_tflite(model, model.tflite, given, expected)]
    except LilliputError as e:
        not_installed[name] = str(e)
    return []


def _tflite(
    model: Model, file: bytes, given: Sequence[Sequence[Array]], expected: Sequence[Run]
) -> WayResult:
    """Every tensor that both have, also within the network."""
    entry = model.module.entry
    graph = model.module.graphs[entry]
    floats = any(v.type.dtype.is_float for v in graph.values())
    types = [v.type for v in model.module.inputs(entry)]
    as_read = read(file).graphs[entry]  # passes leave tensors out
    sizes = {v.name: v.type.size for v in as_read.values()}
    run = oracle.run(file, types, given, floats=floats, sizes=sizes)
    return oracle.compare(run, graph, model.module.outputs(entry), expected, floats=floats)


def _onnx(
    model: Model, path: Path, given: Sequence[Sequence[Array]], expected: Sequence[Run]
) -> WayResult:
    """Outputs, or the last integers in front of floats."""
    entry = model.module.entry
    inputs, outputs = model.module.inputs(entry), model.module.outputs(entry)
    shown = onnx_oracle.ends(model.module.graphs[entry], outputs)
    found = onnx_oracle.run(path, inputs, given, model.rows, [one.tensor for one in shown])
    shown = shown or tuple(Shown(v.name, v) for v in outputs)
    near = onnx_oracle.MEASURED if model.module.unrounded else onnx_oracle.NEAR
    return compare(shown, found, expected, model.rows, near)


def _torch(
    model: Model, path: Path, given: Sequence[Sequence[Array]], expected: Sequence[Run]
) -> WayResult:
    """Outputs that have a bound."""
    entry = model.module.entry
    inputs, outputs = model.module.inputs(entry), model.module.outputs(entry)
    kept = torch_oracle.comparable(model.module.graphs[entry], outputs)
    if not kept:
        raise EmulationError("float ends behind integers have no bound to be compared within")
    found = torch_oracle.run(path, inputs, given, model.rows)
    if len(found[0]) != len(outputs):
        raise EmulationError(f"it has {len(found[0])} tensors for {len(outputs)} outputs")
    shown = [Shown(outputs[k].name, outputs[k]) for k in kept]
    chosen = [tuple(call[k] for k in kept) for call in found]
    near = torch_oracle.MEASURED if model.module.unrounded else torch_oracle.NEAR
    return compare(shown, chosen, expected, model.rows, near)

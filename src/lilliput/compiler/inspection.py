"""Inspecting: what a network consists of, before a device is chosen.

One idea: `inspect` plans the network for a core with room enough, so that a network it shows
compiles; what would not is in the error that `load` or `plan` raises, all problems at once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass

from lilliput import report
from lilliput.compiler.pipeline import Model
from lilliput.devices.device import load as load_device
from lilliput.ir.islands import float_islands, told
from lilliput.ir.types import TensorType
from lilliput.plan.build import plan

CORE = "cortex-m4"
"""Any core would do: what can be planned does not depend on it."""


@dataclass(frozen=True)
class Layer:
    """One node; `type` is its output's, bytes are those of its parameters."""

    entry: str
    name: str
    operator: str
    type: str
    macs: int
    parameter_bytes: int


@dataclass(frozen=True)
class Inspection:
    """Layers and parameters are those of the file.

    activation_bytes : the arena that one inference needs, inputs and outputs included
    streaming : of a step over time: what it stands for
    islands : operators that calculate in floats in a network of integers
    unrounded : see `Module`
    shrunk_macs, shrunk_parameter_bytes : what is compiled of them, see docs/shrinking.md
    """

    model: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: tuple[tuple[str, int], ...]
    layers: tuple[Layer, ...]
    parameter_bytes: int
    activation_bytes: int
    shrunk_macs: int
    shrunk_parameter_bytes: int
    streaming: report.Streaming | None = None
    islands: tuple[str, ...] = ()
    unrounded: tuple[str, ...] = ()

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "operators": dict(self.operators), "macs": self.macs}


def inspect(model: Model) -> Inspection:
    """Every layer with its shape and work.  Raises PlanError where no program can be made."""
    module = model.module
    device = load_device(CORE)
    left = report.work(model.shrunk.module)
    program = plan(model.shrunk.module, device)
    layers: list[Layer] = []
    for entry, graph in module.graphs.items():
        for node in graph.nodes:
            constants = sum(v.type.nbytes for v in node.inputs if v.name in module.params)
            name = node.origin or node.output.name
            type, macs = str(node.output.type), node.op.cost(node).macs
            layers.append(Layer(entry, name, node.op.name, type, macs, constants))
    ends = module.inputs(module.entry), module.outputs(module.entry)
    return Inspection(
        module.name,
        tuple(f"{v.name} {_typed(v.type)}" for v in ends[0]),
        tuple(f"{v.name} {_typed(v.type)}" for v in ends[1]),
        tuple(Counter(layer.operator for layer in layers).most_common()),
        tuple(layers),
        sum(p.value.type.nbytes for p in module.params.values()),
        program.arenas.get(device.ram.name, 0),
        left.macs,
        left.parameter_bytes,
        report.streaming(model.stream.found) if model.stream else None,
        told(float_islands(module)),
        module.unrounded,
    )


def _typed(type: TensorType) -> str:
    if type.quant is None or not type.quant.is_per_tensor:
        return str(type)
    return f"{type}, real = {type.scale:.9g} * (q - {type.zero_point})"


def _left(whole: int, left: int, unit: str) -> str:
    return "" if left == whole else f", {left:,}{unit} after shrinking"


def inspection_text(found: Inspection) -> str:
    """The inspection as a person reads it on a terminal."""
    rows = [
        (x.name[:40], x.operator, x.type, f"{x.macs:,}", f"{x.parameter_bytes:,} B")
        for x in found.layers
    ]
    sizes = found.parameter_bytes, found.shrunk_parameter_bytes
    facts = [
        ("model", found.model),
        *(("input", text) for text in found.inputs),
        *(("output", text) for text in found.outputs),
        ("operators", ", ".join(f"{name} {count}" for name, count in found.operators)),
        ("MACs", f"{found.macs:,}{_left(found.macs, found.shrunk_macs, '')}"),
        ("parameters", f"{found.parameter_bytes:,} B{_left(*sizes, ' B')}"),
        ("activations", f"{found.activation_bytes:,} B"),
        *(("STAYS FLOAT", name) for name in found.islands),
        *(("NOT ROUNDED", name) for name in found.unrounded),
    ]
    head = ("layer", "operator", "output", "MACs", "parameters")
    table = report.columns(head, rows)
    if found.streaming is not None:
        table += f"\n\n{report.streaming_text(found.streaming)}"
    return "\n".join([table, "", *(f"{name:<14}{text}" for name, text in facts)])

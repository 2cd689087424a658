"""The interpreter: a graph's meaning in NumPy, one `Op.ref` after the other.

It is the definition that everything else is compared with: integers and floats bit for
bit.  It is written for clarity; the C is what is fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lilliput.errors import UsageError
from lilliput.ir.graph import Graph
from lilliput.ir.module import Module
from lilliput.ir.types import Array


def evaluate(graph: Graph, given: Mapping[str, Array]) -> dict[str, Array]:
    """Every value of `graph` by name, from its inputs and parameters in `given`.

    Floats overflow and become NaN silently, as they do on a device.
    """
    values = dict(given)
    for node in graph.nodes:
        with np.errstate(all="ignore"):
            results = node.op.ref(node, [values[v.name] for v in node.inputs])
        for value, result in zip(node.outputs, results, strict=True):
            stored = result.astype(value.type.dtype.numpy, copy=False)
            values[value.name] = np.asarray(stored.reshape(value.type.shape), order="C")
    return values


@dataclass(frozen=True, eq=False)
class Run:
    """One call: what the caller gets, what is left in the states, and everything between.

    refused : the input or output whose guard did not hold, "" where all did; then the states are
        what they were, and of the outputs only a guarded one that was computed is there
    """

    outputs: dict[str, Array]
    states: dict[str, Array]
    values: dict[str, Array]
    refused: str = ""


class Session:
    """Runs a module's entries one after another, keeping its states as the device would."""

    def __init__(self, module: Module):
        self.module = module
        self.states: dict[str, Array] = {}
        self.reset()

    def reset(self) -> None:
        """Puts every state back to what it is at power-on."""
        self.states = {s.name: s.init for s in self.module.states.values()}

    def run(
        self, inputs: Mapping[str, Array], entry: str | None = None, *, keep: bool = True
    ) -> Run:
        """Runs `entry` once; `keep=False` leaves the states as they were.

        Where a guard does not hold, every state stays as it was.  Raises UsageError when an input
        is missing, unknown, or of another shape or dtype.
        """
        entry = entry or self.module.entry
        graph = self.module.graphs[entry]
        self._check_inputs(inputs, entry)
        given: dict[str, Array] = {**self.states, **inputs}
        for value in graph.params:
            data = self.module.params[value.name].data
            if data is None:
                raise UsageError(
                    "parameter has no data: it can be planned, not run", where=value.name
                )
            given[value.name] = data
        refused = self._refused(entry, inputs)
        if refused:  # operators need not have a meaning for what is out of range
            return Run({}, dict(self.states), given, refused)
        values = evaluate(graph, given)
        refused = self._refused(entry, values)
        if refused:
            return Run({refused: values[refused]}, dict(self.states), values, refused)
        after = dict(self.states)
        after.update({n: values[v.name] for n, v in self.module.updates(entry).items()})
        if keep:
            self.states = after
        outputs = {v.name: values[v.name] for v in self.module.outputs(entry)}
        return Run(outputs, after, values)

    def _refused(self, entry: str, values: Mapping[str, Array]) -> str:
        """The first guarded value of those that are known whose guard does not hold."""
        guards = self.module.guards.get(entry, ())
        known = (g for g in guards if g.name in values)
        return next((g.name for g in known if not g.holds(values[g.name], self.states)), "")

    def _check_inputs(self, inputs: Mapping[str, Array], entry: str) -> None:
        wanted = {v.name: v.type for v in self.module.inputs(entry)}
        if inputs.keys() != wanted.keys():
            raise UsageError(
                "inputs do not match the network's",
                where=f"entry {entry!r}",
                expected=", ".join(sorted(wanted)),
                found=", ".join(sorted(inputs)) or "none",
            )
        for name, type in wanted.items():
            array = inputs[name]
            if tuple(array.shape) != type.shape or array.dtype != type.dtype.numpy:
                raise UsageError(
                    "input has another type",
                    where=name,
                    expected=str(type),
                    found=f"{array.dtype}{list(array.shape)}",
                )

"""Gradients of imported PyTorch modules against PyTorch's own: every operator, small networks.

The cases are those of `test_torch`; each float result is differentiated by each float input, and in
networks by every parameter that the import leaves as it is.  This is the tight half of the proof:
`test_gradients` has every rule, but differences are coarse.
"""

# torch comes as `Any`, for it is not installed everywhere; so lambdas and bases are unknown.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from tests.test_torch import CASES, EACH, NETWORKS, Many, leaves, ready

from lilliput.compiler import from_torch
from lilliput.errors import GraphError
from lilliput.ir import Builder, Module, Session, Value
from lilliput.ir.types import Array
from lilliput.ops.registry import get
from lilliput.tolerances import BOUNDS
from lilliput.train.autodiff import gradients

torch: Any = pytest.importorskip("torch", reason="torch is not installed: make setup-torch")

BOUND = BOUNDS["PyTorch gradients"]

REFUSED = {
    **dict.fromkeys(("windows", "ceiled", "windows1d"), "max_pool2d"),
    **dict.fromkeys(("gru", "gru_deep", "gru_state"), "gru"),
    **dict.fromkeys(("lstm", "lstm_deep", "lstm_no_batch"), "lstm"),
}
"""Cases with results that no gradient passes, as long as the operator has no rules."""


FOLDED = "bias_hh_l0"
"""Of an unrolled recurrence: its first step starts from zeros and is folded on import, so that the
bias is there twice."""


@dataclass(frozen=True, eq=False)
class Result:
    """A float result of a case: its name, PyTorch's value, ours, and L = sum(weights * it)."""

    case: str
    theirs: Any
    ours: Value
    weights: Array


class Both:
    """A module in PyTorch and imported, on one input, ready to be differentiated.

    by : names of what L is differentiated by -> PyTorch's tensor and its axes in our order
    """

    def __init__(self, module: Any, given: Sequence[Any]):
        imported = from_torch(module, tuple(given), batch=given[0].shape[0]).module
        names = [v.name for v in imported.inputs("infer")]
        floats = {
            n: g.clone().requires_grad_() if g.is_floating_point() else g
            for n, g in zip(names, given, strict=True)
        }
        self.inputs: dict[str, Array] = {n: g.detach().numpy() for n, g in floats.items()}
        self.by = {n: g for n, g in floats.items() if g.is_floating_point()}
        self.by |= kept(module, imported)
        self.b = over(imported)
        self.nodes = tuple(self.b.nodes)
        self.results = list(self._results(module(*floats.values()), imported.outputs("infer")))

    def _results(self, found: Any, outputs: Sequence[Value]) -> Iterator[Result]:
        rng = np.random.default_rng(0)
        named = found if isinstance(found, dict) else {"": found}
        flat = [(case, leaf) for case, value in named.items() for leaf in leaves(value)]
        for (case, theirs), ours in zip(flat, outputs, strict=True):
            if theirs.is_floating_point() and self.by:
                weights = np.asarray(rng.normal(size=tuple(theirs.shape)), np.float32)
                yield Result(case, theirs, ours, weights)

    def expected(self, result: Result) -> Mapping[str, Array]:
        """PyTorch's gradients; zeros where a result does not depend on a tensor."""
        tensors = list(self.by.values())
        found = [None] * len(tensors)
        if result.theirs.requires_grad:
            weights = torch.from_numpy(result.weights)
            found = torch.autograd.grad(
                result.theirs, tensors, weights, allow_unused=True, retain_graph=True
            )
        arrays = [
            torch.zeros_like(t) if g is None else g for t, g in zip(tensors, found, strict=True)
        ]
        return {n: a.numpy() for n, a in zip(self.by, arrays, strict=True)}

    def added(self, result: Result) -> Mapping[str, Value]:
        """Our gradients, as nodes; raises GraphError where an operator has no rules."""
        seeds = {result.ours.name: self.b.param("c", result.weights)}
        return gradients(self.b, self.nodes, seeds, list(self.by))


def over(module: Module) -> Builder:
    """A builder that holds the graph of a module, for more nodes."""
    graph = module.graphs[module.entry]
    b = Builder(names={v.name for n in graph.nodes for v in n.outputs})
    for value in graph.inputs:
        b.input(value.name, value.type)
    for value in graph.params:
        b.use(module.params[value.name])
    b.nodes.extend(graph.nodes)
    return b


def kept(module: Any, imported: Module) -> dict[str, Any]:
    """Parameters of one name and the same numbers in the same order in both."""
    read = {v.name for v in imported.graphs[imported.entry].params}
    ours = {n: p.data for n, p in imported.params.items() if n in read and p.data is not None}
    return {
        name: tensor
        for name, tensor in module.named_parameters()
        if name in ours
        and not name.endswith(FOLDED)
        and np.array_equal(ours[name].reshape(-1), tensor.detach().numpy().reshape(-1))
    }


def compare(both: Both) -> tuple[set[str], int]:
    """(cases that are refused, gradients that were found equal); fails where one differs."""
    refused: set[str] = set()
    pairs: list[tuple[str, Array, Value | None]] = []
    for result in both.results:
        try:
            added = both.added(result)
        except GraphError:
            refused.add(result.case)
            continue
        for name, expected in both.expected(result).items():
            pairs.append((f"{result.case} by {name}", expected, added.get(name)))
    outputs = {v.name: v for _, _, v in pairs if v is not None}
    run = Session(both.b.module(tuple(outputs.values()))).run(both.inputs)
    for what, expected, value in pairs:
        found = np.zeros(expected.shape, np.float32) if value is None else run.values[value.name]
        wrong = BOUND.broken(expected, found.reshape(expected.shape))
        assert not wrong.any(), f"{what}: {np.abs(found.reshape(expected.shape) - expected).max()}"
    return refused, len(pairs)


@pytest.mark.parametrize("first", range(0, len(CASES), EACH), ids=lambda k: [*CASES][k])
def test_operators(first: int) -> None:
    cases = {name: CASES[name] for name in [*CASES][first : first + EACH]}
    both = Both(ready(Many(cases)), [x for _, given in cases.values() for x in given])
    refused, compared = compare(both)
    assert refused == {name for name in cases if name in REFUSED and not get(REFUSED[name]).grads}
    assert compared > 0


@pytest.mark.parametrize("name", [n for n in NETWORKS if n not in ("gru", "lstm")])
def test_networks(name: str) -> None:
    build, given = NETWORKS[name]
    both = Both(ready(build()), [given])
    refused, compared = compare(both)
    assert not refused
    assert compared > 1

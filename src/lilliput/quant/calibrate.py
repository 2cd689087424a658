"""The scales of activations, from what a float network does with the user's data.

One idea: values that must share a scale are one group (`Ties`); a group is looked at as if it
were one value.  The data stream through the network once for the extremes and, where a method
needs more, once again for histograms; nothing is kept of them but these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from lilliput.errors import Problem, UsageError
from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Module
from lilliput.ir.types import Array, DType, Quant
from lilliput.quant import forms
from lilliput.quant.batch import Step, chunks, walk
from lilliput.quant.prepare import is_product
from lilliput.quant.ranges import BINS, METHODS, Seen
from lilliput.quant.recurrent import cell_quant, cell_reach, gate_weights, is_lstm, recurrent_name
from lilliput.quant.scheme import Encodings, Scheme, Weights, covering, quantise_weights


class Ties:
    """Groups of values that share a scale: name -> the name that stands for its group."""

    def __init__(self, module: Module, dtype: DType):
        graph = module.graphs[module.entry]
        self._parent = {v.name: v.name for v in graph.values() if v.type.dtype.is_float}
        self.fixed: dict[str, Quant] = {}
        self.unseen = set(forms.fused(graph)) | forms.bounded(graph, module.params)
        for node in graph.nodes:
            quant = forms.fixed_quant(node, dtype)
            if quant is not None:
                self.fixed[node.output.name] = quant
        for node in graph.nodes:
            self._tie(node, forms.fused(graph))

    def _tie(self, node: Node, fused: Mapping[str, Node]) -> None:
        y = node.output
        if node.op.name == "lstm":
            self._join(node.inputs[4].name, y.name)
        if y.name in fused:
            self._join(y.name, fused[y.name].output.name)
        if node.op.name not in forms.TIED or not y.type.dtype.is_float:
            return
        operands = forms.floats_of(node.inputs)
        for v in operands:
            # one of several operands with a scale of its own is rescaled instead
            if len(operands) == 1 or self.of(v.name) not in self.fixed:
                self._join(v.name, y.name)

    def of(self, name: str) -> str:
        while self._parent[name] != name:
            name = self._parent[name]
        return name

    def _join(self, a: str, b: str) -> None:
        a, b = self.of(a), self.of(b)
        if a == b or (a in self.fixed and b in self.fixed and self.fixed[a] != self.fixed[b]):
            return
        if b in self.fixed:
            a, b = b, a
        self._parent[b] = a


@dataclass(frozen=True, eq=False)
class Extremes:
    """Of one value over all samples; channels are its last axis, (C)."""

    low: Array
    high: Array

    @property
    def reach(self) -> Array:
        """The largest magnitude of each channel."""
        return np.maximum(np.abs(self.low), np.abs(self.high))


@dataclass(frozen=True, eq=False)
class Observed:
    """extremes : of every float value by name; samples : how many there were; cells : largest
    magnitude of the cell state of each LSTM, by its result."""

    extremes: Mapping[str, Extremes]
    samples: int
    never: tuple[Problem, ...] = field(default=())
    cells: Mapping[str, float] = field(default_factory=dict[str, float])


def observe(module: Module, inputs: Mapping[str, Array]) -> Observed:
    """Streams the data through the network once.  Raises UsageError where a value is no number."""
    graph = module.graphs[module.entry]
    found: dict[str, Extremes] = {}
    bad: dict[str, Problem] = {}
    cells: dict[str, float] = {}
    total = 0
    for v in forms.floats_of(graph.inputs):
        found[v.name] = _extremes(inputs[v.name], v)
    for count, part in chunks(graph, inputs):
        total += count
        for step in walk(graph, module, part, count):
            if is_lstm(step.node, module.params):
                name, reach = step.node.output.name, cell_reach(step.node, step.operands)
                cells[name] = max(cells.get(name, 0.0), reach)
            for v, data in zip(step.node.outputs, step.results, strict=True):
                if not v.type.dtype.is_float:
                    continue
                new = _extremes(data, v)
                if not (np.isfinite(new.low).all() and np.isfinite(new.high).all()):
                    bad.setdefault(v.name, _infinite(step))
                old = found.get(v.name, new)
                found[v.name] = Extremes(
                    np.minimum(old.low, new.low), np.maximum(old.high, new.high)
                )
    if bad:
        raise UsageError(list(bad.values())[:1])
    return Observed(found, total, tuple(_never(graph, found)), cells)


def _extremes(data: Array, v: Value) -> Extremes:
    channels = v.type.shape[-1] if v.type.shape else 1
    flat = data.reshape(-1, channels)
    return Extremes(flat.min(0), flat.max(0))


def _infinite(step: Step) -> Problem:
    return Problem(
        "the float network gives infinity or NaN on this data",
        step.node.describe(),
        "finite numbers",
        "",
        "look at the range of the data: is it what the network was trained on?",
    )


def _never(graph: Graph, found: Mapping[str, Extremes]) -> list[Problem]:
    """Activations that were 0 throughout: their scale would be a guess."""
    return [
        Problem(
            "this activation never fires",
            node.describe(),
            "a value other than 0 on some sample",
            "0 everywhere",
            "give data that covers what the network is for; --allow-dead accepts it",
        )
        for node in graph.nodes
        for v in node.outputs
        if v.type.dtype.is_float and v.type.size > 1 and not found[v.name].reach.any()
    ]


# Scales -----------------------------------------------------------------------------------


def calibrate(
    module: Module,
    inputs: Mapping[str, Array],
    observed: Observed,
    scheme: Scheme,
    method: str = "minmax",
) -> Encodings:
    """A scale for every float value, and weights to the nearest step.

    Inputs of the network are covered whole: the caller's numbers are not clipped.
    """
    if method not in METHODS:
        raise UsageError("no such ranges", expected=", ".join(METHODS), found=method)
    if method == "kl" and scheme.activations is not DType.S8:
        raise UsageError("kl is a rule for 8 bits", hint="int16 has steps enough: use minmax")
    graph = module.graphs[module.entry]
    ties = Ties(module, scheme.activations)
    spans = _spans(module, observed, ties)
    whole_spans = dict(spans)
    if method != "minmax":
        whole = {ties.of(v.name) for v in graph.inputs if v.type.dtype.is_float}
        low, high = scheme.activations.bounds
        for name, seen in _histograms(module, inputs, ties, spans, high - low).items():
            if name not in whole and seen.high > seen.low and seen.counts.any():
                spans[name] = METHODS[method](seen)
    heads = {ties.of(v.name) for v in graph.outputs if v.type.dtype.is_float}
    fixed = Ties(module, DType.S16).fixed
    activations, views = dict[str, Quant](), dict[str, Quant]()
    for v in graph.values():
        if v.type.dtype.is_float:
            group = ties.of(v.name)
            symmetric = scheme.symmetric_heads and group in heads
            found = covering(scheme.activations, *spans[group], symmetric=symmetric)
            activations[v.name] = ties.fixed.get(group, found)
            # 16 bits have steps enough for all that was seen
            views[v.name] = fixed.get(group, covering(DType.S16, *whole_spans[group]))
    wide = {node.outputs[1].name for node in graph.nodes if is_lstm(node, module.params)}
    for node in graph.nodes:
        if is_lstm(node, module.params):
            activations[node.outputs[1].name] = cell_quant(observed.cells[node.output.name])
    return with_weights(module, Encodings(scheme, activations, {}, frozenset(wide), views))


def with_weights(module: Module, encodings: Encodings) -> Encodings:
    """`encodings` with every product's weights to the nearest step."""
    graph = module.graphs[module.entry]
    made: dict[str, Weights] = {}
    for node in graph.nodes:
        name = node.output.name
        if is_product(node, module.params):
            made[name] = quantise_weights(*constants(module, node), read_scale(encodings, node))
        elif is_lstm(node, module.params):
            w, r, bias = (module.params[v.name].data for v in node.inputs[1:4])
            assert w is not None
            assert r is not None
            made[name] = gate_weights(w, bias, read_scale(encodings, node))
            made[recurrent_name(node)] = gate_weights(r, None, encodings.activations[name].scale[0])
    return replace(encodings, weights=made)


def read_scale(encodings: Encodings, node: Node) -> float:
    """Of the first operand of a product, as the product reads it."""
    x = node.inputs[0]
    return encodings.read(x.type, x.name, encodings.layer(node)).scale


def constants(module: Module, node: Node) -> tuple[Array, Array | None]:
    """Weights and bias of a product, float32."""
    found = [module.params[v.name].data for v in node.inputs[1:3]]
    assert found[0] is not None
    return found[0], found[1] if len(found) > 1 else None


def _spans(module: Module, observed: Observed, ties: Ties) -> dict[str, tuple[float, float]]:
    """Group -> extremes of its values; constants that share a scale count, too."""
    graph, spans = module.graphs[module.entry], dict[str, tuple[float, float]]()
    for v in graph.values():
        if not v.type.dtype.is_float or v.name in ties.unseen:
            continue
        if v.name in observed.extremes:
            e = observed.extremes[v.name]
            low, high = float(e.low.min()), float(e.high.max())
        else:
            data = module.params[v.name].data
            assert data is not None
            low, high = float(data.min()), float(data.max())
        group = ties.of(v.name)
        old = spans.get(group, (low, high))
        spans[group] = min(old[0], low), max(old[1], high)
    return spans


def _histograms(
    module: Module,
    inputs: Mapping[str, Array],
    ties: Ties,
    spans: Mapping[str, tuple[float, float]],
    levels: int,
) -> dict[str, Seen]:
    graph = module.graphs[module.entry]
    counts = {group: np.zeros(BINS) for group in spans}
    for count, part in chunks(graph, inputs):
        for step in walk(graph, module, part, count):
            for v, data in zip(step.node.outputs, step.results, strict=True):
                if v.type.dtype.is_float and v.name not in ties.unseen:
                    group = ties.of(v.name)
                    counts[group] += np.histogram(data, BINS, spans[group])[0]
    return {group: Seen(*spans[group], counts[group], levels) for group in spans}

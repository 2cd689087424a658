"""High biases: what a rectified channel never falls below is given to the layer that reads it.

One idea: relu(x) = relu(x - c) + c while x >= c, and the layer behind turns the c into a constant
of its bias (Nagel et al. 2019, absorbing high biases).  The channel then needs a range of
max - c and not of max.  c is what calibration saw less a margin, so the float function stays on
the calibration data and a quarter of a channel's range beyond, and no further.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from lilliput.ir.build import fresh_name
from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Module, Param
from lilliput.ir.types import Array, f32
from lilliput.ops.accumulate import Conv2d
from lilliput.quant.calibrate import Extremes
from lilliput.quant.passages import Passage, is_depthwise, passages

MARGIN = 0.25
"""Share of a channel's range below its least sum that still comes through."""
HIGH = 0.5
"""Of the largest value of a layer, from which what lies below is worth telling of."""


@dataclass(frozen=True, eq=False)
class Absorbed:
    """channels : how many gave a part of their bias away."""

    module: Module
    channels: int


def absorb(module: Module, extremes: Mapping[str, Extremes]) -> Absorbed:
    """The same float network on data like those of `extremes`, with smaller activations."""
    params, count = dict(module.params), 0
    graph = module.graphs[module.entry]
    made = {n.output.name: n for n in graph.nodes}
    names = {v.name for v in graph.values()}
    for passage in _plain(module):
        c = _floor(passage, extremes)
        if not c.any():
            continue
        count += int((c > 0).sum())
        name = passage.first.output.name
        made[name] = _shifted(made[name], -c, params, names)
        for reader in passage.readers:
            name = reader.output.name
            made[name] = _shifted(made[name], _carried(reader, c, params), params, names)
    if not count:
        return Absorbed(module, 0)
    nodes = tuple(made[n.output.name] for n in graph.nodes)
    used = {v.name for n in nodes for v in n.inputs}
    held = tuple(p.value for p in params.values() if p.name in used)
    graphs = {module.entry: replace(graph, nodes=nodes, params=held)}
    kept = {v.name: params[v.name] for v in held}
    return Absorbed(replace(module, graphs=graphs, params=kept), count)


def lifted(module: Module, extremes: Mapping[str, Extremes]) -> list[str]:
    """Values whose range is spent mostly on what some channel never falls below."""
    return [
        p.ranged
        for p in _plain(module)
        if _floor(p, extremes).max() > HIGH * extremes[p.ranged].reach.max()
    ]


def _plain(module: Module) -> Iterator[Passage]:
    """Rectified products that products without padding read: a padded place holds no c."""
    graph = module.graphs[module.entry]
    for p in passages(module).found:
        direct = p.activation is None and p.scaled == (p.first.output.name, p.ranged)
        padded = any(isinstance(r.attrs, Conv2d) and any(r.attrs.pad) for r in p.readers)
        if direct and not padded and _own_biases(graph, p):
            yield p


def _own_biases(graph: Graph, passage: Passage) -> bool:
    users = graph.consumers()
    biases = [v for n in (passage.first, *passage.readers) for v in n.inputs[2:]]
    return all(len(users[v.name]) == 1 for v in biases)


def _floor(passage: Passage, extremes: Mapping[str, Extremes]) -> Array:
    """(C) float64, 0 or more."""
    seen = extremes[passage.first.output.name]
    low, high = seen.low.astype(np.float64), seen.high.astype(np.float64)
    return np.maximum(low - MARGIN * (high - low), 0.0)


def _carried(reader: Node, c: Array, params: Mapping[str, Param]) -> Array:
    """(O): what `reader` makes of the constant c (C)."""
    data = params[reader.inputs[1].name].data
    assert data is not None
    taps = data.astype(np.float64).reshape(len(data), -1, data.shape[-1]).sum(1)
    return taps[:, 0] * c if is_depthwise(reader) and len(c) == len(data) else taps @ c


def _shifted(node: Node, by: Array, params: dict[str, Param], names: set[str]) -> Node:
    """The product with `by` (O) added to its bias, which it has from now on."""
    x, w, *rest = node.inputs
    old = params[rest[0].name].data if rest else np.zeros(len(by))
    assert old is not None
    value = Value(fresh_name(names, f"{w.name}/shifted"), f32(len(by)))
    params[value.name] = Param(value, (old.astype(np.float64) + by).astype(np.float32))
    return replace(node, inputs=(x, w, value))

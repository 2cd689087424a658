"""Small tools for passes: dead code, and folding of constants."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from lilliput.ir.graph import Graph, Node
from lilliput.ir.module import Param

MAX_WORK = 1 << 28
MAX_MADE = 1 << 18
"""Of one folded node: operations, and elements of its results (or twice what it reads)."""


def drop_dead(graph: Graph) -> Graph:
    """Without the nodes and parameters that no output depends on.  Inputs stay: they are API."""
    live = {v.name for v in graph.outputs}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if any(v.name in live for v in node.outputs):
            kept.append(node)
            live.update(v.name for v in node.inputs)
    params = tuple(p for p in graph.params if p.name in live)
    return replace(graph, params=params, nodes=tuple(reversed(kept)))


@dataclass(frozen=True)
class Folded:
    """A graph without cheap constant nodes, and the parameters that it reads."""

    graph: Graph
    params: dict[str, Param]


def fold(graph: Graph, params: Mapping[str, Param], kept: Collection[str] = ()) -> Folded:
    """Evaluates every node whose operands are all parameters with data, unless that would
    take long or fill the flash with what a loop can compute.

    kept : results of nodes that stay
    Its results become parameters; the data of a folded node is what `Op.ref` gives.
    """
    known = {v.name: params[v.name] for v in graph.params}
    nodes: list[Node] = []
    for node in graph.nodes:
        data = [known[v.name].data if v.name in known else None for v in node.inputs]
        constant = node.inputs and all(d is not None for d in data)
        if constant and node.outputs[0].name not in kept and is_cheap(node):
            with np.errstate(all="ignore"):
                results = node.op.ref(node, [d for d in data if d is not None])
            for value, result in zip(node.outputs, results, strict=True):
                shaped = result.astype(value.type.dtype.numpy, copy=False)
                known[value.name] = Param(value, shaped.reshape(value.type.shape))
        else:
            nodes.append(node)
    folded = drop_dead(
        replace(graph, params=tuple(p.value for p in known.values()), nodes=tuple(nodes))
    )
    return Folded(folded, {v.name: known[v.name] for v in folded.params})


def is_cheap(node: Node) -> bool:
    cost = node.op.cost(node)
    read = sum(v.type.size for v in node.inputs)
    made = sum(v.type.size for v in node.outputs)
    return cost.macs + cost.ops <= MAX_WORK and made <= max(MAX_MADE, 2 * read)

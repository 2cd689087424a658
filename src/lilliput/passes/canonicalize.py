"""Canonical form: what every later stage may rely on.

constant nodes are folded; dead nodes and parameters are gone
a view is of no view, and not of the shape and scale of what it shows unless it is an output
a slice moves along one axis (several become a chain, the largest saving first)
operands of an element-wise node are there along an axis of its frame, or repeated
an output is made by a node of its own graph: a parameter, an input, or a value that is
returned twice gets a copy
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from lilliput.ir.build import fresh_name
from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Module, Param
from lilliput.ir.op import NoAttrs
from lilliput.ir.rewrite import drop_dead, fold
from lilliput.ops.shape import Slice, copy, slice_
from lilliput.passes.broadcast import fit_frames


@dataclass(frozen=True)
class Canonicalize:
    """Module in, module of the same meaning in canonical form out."""

    def __call__(self, module: Module) -> Module:
        params: dict[str, Param] = {}
        graphs: dict[str, Graph] = {}
        names = {v.name for g in module.graphs.values() for v in g.values()}
        updates = {s: dict(state.updates) for s, state in module.states.items()}
        for entry, graph in module.graphs.items():
            fresh = partial(fresh_name, names)
            kept = _shared(graph)
            folded = fold(drop_dead(graph), module.params, kept)
            # constants that get another shape there are folded once more
            framed = fit_frames(folded.graph, fresh)
            folded = fold(framed, {**module.params, **folded.params}, kept)
            split = _split_slices(merge_views(folded.graph), fresh)
            own = _own_outputs(split, fresh)
            params |= folded.params
            graphs[entry] = own
            updated = [state for state in updates.values() if entry in state]
            tail = own.outputs[len(own.outputs) - len(updated) :]
            for state, value in zip(updated, tail, strict=True):
                state[entry] = value
        states = {
            name: replace(state, updates=updates[name]) for name, state in module.states.items()
        }
        return replace(module, graphs=graphs, params=params, states=states)


def _shared(graph: Graph) -> set[str]:
    """Results of products of constants with weights that something else is multiplied by, too: the
    first step of an unrolled recurrence, from zeros.  Training has to see each use of a weight."""
    constant = {v.name for v in graph.params}
    moved: set[str] = set()
    still: list[Node] = []
    for node in graph.nodes:
        if all(v.name in constant for v in node.inputs):
            constant |= {v.name for v in node.outputs}
            still += [node] if node.op.contraction(node) is not None else []
        elif node.op.contraction(node) is not None:
            moved |= {v.name for v in node.inputs[1:]}
    return {n.output.name for n in still if any(v.name in moved for v in n.inputs[1:2])}


Fresh = Callable[[str], str]


def merge_views(graph: Graph) -> Graph:
    """Without views of views, and without those that show what is there already."""
    kept = {v.name for v in graph.outputs}
    source: dict[str, Value] = {}  # of a view: what it shows
    same: dict[str, Value] = {}  # of a value that is left out: what stands for it
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = tuple(same.get(v.name, v) for v in node.inputs)
        if node.op.view:
            (first,), y = inputs, node.output
            shows = source[y.name] = source.get(first.name, first)
            inputs = (shows,)
            if shows.type == y.type and y.name not in kept:
                same[y.name] = shows
                continue
        nodes.append(replace(node, inputs=inputs))
    return drop_dead(replace(graph, nodes=tuple(nodes)))


def _split_slices(graph: Graph, fresh: Fresh) -> Graph:
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes += _one_axis_each(node, fresh) if node.op is slice_ else [node]
    return replace(graph, nodes=tuple(nodes))


def _one_axis_each(node: Node, fresh: Fresh) -> list[Node]:
    a = node.attrs
    assert isinstance(a, Slice)
    source, target = node.inputs[0], node.output
    left = [n / whole for n, whole in zip(a.size, source.type.shape, strict=True)]
    axes = sorted((i for i, share in enumerate(left) if share < 1), key=lambda i: left[i])
    if len(axes) < 2:
        return [node]
    chain: list[Node] = []
    for k, axis in enumerate(axes):
        now = list(source.type.shape)
        begin, size = [0] * len(now), list(now)
        begin[axis], size[axis] = a.begin[axis], a.size[axis]
        last = k == len(axes) - 1
        value = (
            target
            if last
            else Value(fresh(f"{target.name}/axis{axis}"), replace(source.type, shape=tuple(size)))
        )
        part = Slice(tuple(begin), tuple(size))
        chain.append(Node(slice_, (source,), (value,), part, node.origin))
        source = value
    return chain


def _own_outputs(graph: Graph, fresh: Fresh) -> Graph:
    made = {v.name for n in graph.nodes for v in n.outputs}
    nodes, outputs, seen = list(graph.nodes), list[Value](), set[str]()
    for value in graph.outputs:
        if value.name not in made or value.name in seen:
            own = Value(fresh(f"{value.name}/out"), value.type)
            nodes.append(Node(copy, (value,), (own,), NoAttrs(), value.name))
            value = own
        seen.add(value.name)
        outputs.append(value)
    return replace(graph, nodes=tuple(nodes), outputs=tuple(outputs))

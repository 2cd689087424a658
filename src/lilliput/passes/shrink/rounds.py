"""The rounds of shrinking: tidy, look, narrow, for each entry until nothing changes.

One idea: each round proves what it does anew, on the network that the round before has left; the
indices in a proof are those of the network as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from lilliput.ir.build import fresh_name
from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Module, Param
from lilliput.ir.op import Indices, NoAttrs
from lilliput.ir.range import Range
from lilliput.ir.rewrite import fold
from lilliput.ir.types import Array
from lilliput.ops.shape import copy
from lilliput.passes.canonicalize import merge_views
from lilliput.passes.shrink.demand import Demand
from lilliput.passes.shrink.narrow import Narrowed, is_whole
from lilliput.passes.shrink.ranges import ranges
from lilliput.passes.shrink.result import Removal, Rewrite, Shrunk, Why, named
from lilliput.passes.shrink.tidy import STRUCTURE, VALUES, Draft, Rule, apply

Fresh = Callable[[str], str]


def shrink(module: Module) -> Shrunk:
    """`module` without what does not matter to its outputs, with the proofs."""
    names = {v.name for g in module.graphs.values() for v in g.values()}
    fresh = partial(fresh_name, names)
    entries = [_Entry(name, graph, module.params) for name, graph in module.graphs.items()]
    for one in entries:
        one.fold(fresh)
        while one.round(fresh):
            pass
    if not any(one.removed or one.rewritten for one in entries):
        return Shrunk(module)
    params: dict[str, Param] = {}
    for one in entries:
        params |= one.own_params(params, fresh)
    smaller = replace(module, graphs={e.name: e.graph for e in entries}, params=params)
    return Shrunk(
        smaller,
        tuple(r for e in entries for r in e.removed),
        tuple(r for e in entries for r in e.rewritten),
        {name: kept for e in entries for name, kept in e.kept.items()},
    )


class _Entry:
    """One entry on its way: `kept` counts in the indices of the original."""

    def __init__(self, name: str, graph: Graph, params: Mapping[str, Param]):
        self.name = name
        self.graph = graph
        self.params = {v.name: params[v.name] for v in graph.params}
        self.kept: dict[str, Indices] = {}
        self.removed: list[Removal] = []
        self.rewritten: list[Rewrite] = []

    def fold(self, fresh: Fresh) -> None:
        """The first step of a recurrence from zeros, which training needs, is a constant."""
        constant = self.params.keys()
        if any(n.inputs and all(v.name in constant for v in n.inputs) for n in self.graph.nodes):
            self._take(self.graph, self.params, fresh)

    def round(self, fresh: Fresh) -> bool:
        """One step of each kind; whether it has changed anything."""
        found = len(self.rewritten)
        self._tidy(STRUCTURE, {}, fresh)
        known = ranges(self.graph, self.params)
        if self._tidy(VALUES, known, fresh):
            known = ranges(self.graph, self.params)
        changed = len(self.rewritten) > found
        demand = Demand(self.graph, self.params, known)
        gone = [v for v in self.graph.values() if not is_whole(demand.kept(v), v.type)]
        if not gone:
            return changed
        made = {v.name: n for n in self.graph.nodes for v in n.outputs}
        narrowed = Narrowed(self.graph, demand, fresh)
        for value in (v for v in gone if v.name in made):
            self.removed += self._removals(value, made[value.name], demand, known)
            self.kept[value.name] = tuple(
                self._index(value, k)[left] for k, left in enumerate(demand.kept(value))
            )
        self.graph, self.params = narrowed.graph, narrowed.params
        return True

    # Nodes ----------------------------------------------------------------------------

    def _tidy(self, rules: tuple[Rule, ...], known: Mapping[str, Range], fresh: Fresh) -> bool:
        draft = Draft(self.name, self.graph, dict(self.params), known, fresh)
        graph = apply(draft, rules)
        if draft.rewritten:
            self.rewritten += draft.rewritten
            self._take(graph, draft.params, fresh)
        return bool(draft.rewritten)

    def _take(self, graph: Graph, params: Mapping[str, Param], fresh: Fresh) -> None:
        """The graph with constants folded, and without what has become dead."""
        folded = fold(merge_views(graph), params)
        self.params = dict(folded.params)
        self.graph = _own_constants(folded.graph, self.params, fresh)
        left = {v.name for n in self.graph.nodes for v in n.outputs}
        constant = set(params)
        for node in graph.nodes:
            if all(v.name in constant for v in node.inputs):
                constant.update(v.name for v in node.outputs)
            if not any(v.name in left for v in node.outputs):
                ahead = node.output.name in constant
                what = "its operands are constants" if ahead else "nothing that is left reads it"
                self.rewritten.append(Rewrite(self.name, *named(node), what))

    # Channels -------------------------------------------------------------------------

    def _index(self, value: Value, axis: int) -> Array:
        """The indices of the original that are there now."""
        known = self.kept.get(value.name)
        return known[axis] if known is not None else np.arange(value.type.shape[axis])

    def _removals(
        self, value: Value, node: Node, demand: Demand, known: Mapping[str, Range]
    ) -> Iterator[Removal]:
        told = known.get(value.name)
        for axis, (left, extent) in enumerate(
            zip(demand.kept(value), value.type.shape, strict=True)
        ):
            gone = np.setdiff1d(np.arange(extent), left)
            names = self._index(value, axis)
            ends = told.along(axis, extent) if told is not None else None
            sums = Range(*told.sums).along(axis, extent) if told and told.sums else None
            for k in gone.tolist():
                low, high = _at(ends, k)
                constant = low is not None and low == high
                why = Why.CONSTANT if constant else Why.UNREAD
                place = self.name, value.name, *named(node), axis, int(names[k])
                yield Removal(*place, why, low, high, *_at(sums, k))

    # Entries share parameters ---------------------------------------------------------

    def own_params(self, taken: Mapping[str, Param], fresh: Fresh) -> dict[str, Param]:
        """The parameters of this entry; those that other entries have otherwise are renamed."""
        new: dict[str, Value] = {}
        for name, param in self.params.items():
            other = taken.get(name)
            if other is not None and (other.value != param.value or other.data is not param.data):
                new[name] = Value(fresh(name), param.value.type)
        if not new:
            return self.params
        self.params = {
            new.get(name, p.value).name: Param(new.get(name, p.value), p.data)
            for name, p in self.params.items()
        }
        nodes = tuple(
            n.with_inputs([new.get(v.name, v) for v in n.inputs]) for n in self.graph.nodes
        )
        params = tuple(new.get(v.name, v) for v in self.graph.params)
        self.graph = replace(self.graph, nodes=nodes, params=params)
        return self.params


def _at(ends: tuple[Array, Array] | None, k: int) -> tuple[int | None, int | None]:
    return (int(ends[0][k]), int(ends[1][k])) if ends is not None else (None, None)


def _own_constants(graph: Graph, params: dict[str, Param], fresh: Fresh) -> Graph:
    """Outputs that have become parameters are copies of them: an output keeps its name."""
    nodes = list(graph.nodes)
    renamed: dict[str, Value] = {}
    for value in graph.outputs:
        if value.name in params:
            param = params.pop(value.name)
            stored = Value(fresh(f"{value.name}/constant"), value.type)
            params[stored.name] = Param(stored, param.data)
            renamed[value.name] = stored
            nodes.append(Node(copy, (stored,), (value,), NoAttrs(), value.name))
    if not renamed:
        return graph
    kept = tuple(n.with_inputs([renamed.get(v.name, v) for v in n.inputs]) for n in nodes)
    return replace(graph, nodes=kept, params=tuple(p.value for p in params.values()))

"""What frozen beginnings of networks make of examples, shared between ways to train one network.

Each way has names of its own for the same values, and may hold them otherwise (channels in another
order), so values are known by what they are made of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import replace

from lilliput.ir import Array, Graph, Module
from lilliput.ir.rewrite import drop_dead
from lilliput.train.stages import Parts, Prepare, reached

KEPT = 4
"""Values that are kept, those that were used last."""


class Fronts:
    """Of examples x (n,...), as the network stores its input; keeps the last few that were made."""

    def __init__(self, x: Array, prepare: Prepare, keep: int = KEPT):
        self.x, self.prepare, self.keep = x, prepare, keep
        self._made: dict[str, Array] = {}

    def given(self, module: Module, entry: str) -> dict[str, Array]:
        """Name -> (n,...): the last value of an entry that all of the rest follows from, and that
        is the same in every step."""
        graph = module.graphs[entry]
        source, *others = module.inputs(entry)
        moving = reached(graph.nodes, {*module.states, *(v.name for v in others)})
        hashes = _hashes(module, graph)
        cuts = [source.name, *_cuts(graph, source.name, moving)]
        name = cuts[-1]
        if name == source.name:
            return {name: self.x}
        key = hashes[name]
        if key not in self._made:
            known = [c for c in cuts if hashes[c] in self._made]
            start = known[-1] if known else source.name
            data = self._used(hashes[start]) if known else self.x
            self._made[key] = self._after(module, graph, start, data, name)
            while len(self._made) > self.keep:
                del self._made[next(iter(self._made))]
        return {name: self._used(key)}

    def _used(self, key: str) -> Array:
        """What is kept, as the newest of it."""
        self._made[key] = self._made.pop(key)
        return self._made[key]

    def _after(self, module: Module, graph: Graph, start: str, data: Array, name: str) -> Array:
        (value,) = [v for n in graph.nodes for v in n.outputs if v.name == name]
        cut = drop_dead(replace(graph, outputs=(value,)))
        cut = replace(cut, inputs=graph.inputs[:1])
        params = {p.name: module.params[p.name] for p in cut.params}
        alone = Module({"front": cut}, params, {}, module.name)
        return Parts(alone, "front", self.prepare).features({start: data})[name]


def _cuts(graph: Graph, source: str, moving: Collection[str]) -> Iterator[str]:
    """Values in order, before anything moves, that all later nodes that read the input read it
    through."""
    seen = reached(graph.nodes, {source})
    last = {v.name: i for i, n in enumerate(graph.nodes) for v in n.inputs}
    last |= {v.name: len(graph.nodes) for v in graph.outputs}
    alive = {source}
    for i, node in enumerate(graph.nodes):
        made = {v.name for v in node.outputs if v.name in seen}
        if made & set(moving):
            return
        alive = {name for name in alive | made if last.get(name, -1) > i}
        if made and len(alive) == 1:
            yield next(iter(alive))


def _hashes(module: Module, graph: Graph) -> dict[str, str]:
    """Value -> hash of what it is made of; the input is one value, whatever its name."""
    found = {v.name: f"input {v.type}" for v in graph.inputs}
    for value in graph.params:
        param = module.params.get(value.name)
        data = b"" if param is None or param.data is None else param.data.tobytes()
        found[value.name] = hashlib.sha256(f"{value.type}".encode() + data).hexdigest()
    for node in graph.nodes:
        reads = [found.get(v.name, v.name) for v in node.inputs]
        for k, value in enumerate(node.outputs):
            text = f"{node.op.name} {node.attrs!r} {k} {value.type!r} {reads}"
            found[value.name] = hashlib.sha256(text.encode()).hexdigest()
    return found

"""An entry of a module in three parts, by what its values depend on.

    fixed      on parameters alone: calculated once
    before     on the input: calculated once for each example, whatever is trained
    rest       on states or on a further input: calculated in every step

A frozen beginning of a network is all in `before`: training on the host need not repeat it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache, partial

import numpy as np

from lilliput.errors import UsageError
from lilliput.ir import Array, Module, Node, Value
from lilliput.ir.batch import widened

Run = Callable[[Sequence[Array]], Sequence[Array]]
Prepare = Callable[[Node], Run]
"""How a node is executed; `reference` is what it means."""
BATCH = 16
"""Examples that `before` takes at once."""
WIDTHS = 4
"""Batch sizes for which widened nodes are kept."""


def reference(node: Node) -> Run:
    """The definition: `Op.ref`."""
    return partial(node.op.ref, node)


class Stage:
    """Nodes in order, each with the way it is executed."""

    def __init__(self, nodes: Sequence[Node], prepare: Prepare):
        self.nodes = tuple(nodes)
        self._runs = tuple(prepare(n) for n in self.nodes)

    def __call__(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """`given` and every value that the nodes make; stored as `ir.evaluate` stores them."""
        values = dict(given)
        with np.errstate(all="ignore"):
            for node, run in zip(self.nodes, self._runs, strict=True):
                results = run([values[v.name] for v in node.inputs])
                for value, result in zip(node.outputs, results, strict=True):
                    values[value.name] = _stored(value, result)
        return values


def _stored(value: Value, result: Array) -> Array:
    kept = result.astype(value.type.dtype.numpy, copy=False)
    return np.asarray(kept.reshape(value.type.shape), order="C")


class Parts:
    """The parts of one entry.

    source : the network's input
    kept : what `rest` reads of `before`, in order; these are an example's features
    """

    def __init__(self, module: Module, entry: str, prepare: Prepare):
        self.module, self.entry, self._prepare = module, entry, prepare
        graph = module.graphs[entry]
        self.source, *others = module.inputs(entry)
        self.outputs = module.outputs(entry)
        data = {p.name: module.params[p.name].data for p in graph.params}
        missing = [name for name, d in data.items() if d is None]
        if missing:
            raise UsageError(
                "parameters have no data: they can be planned, not trained", found=missing
            )
        moving = reached(graph.nodes, {*module.states, *(v.name for v in others)})
        seen = reached(graph.nodes, {self.source.name})
        fixed = [n for n in graph.nodes if n.output.name not in moving | seen]
        self._before = [n for n in graph.nodes if n.output.name in seen - moving]
        self._rest = [n for n in graph.nodes if n.output.name in moving]
        self.fixed = Stage(fixed, prepare)({k: d for k, d in data.items() if d is not None})
        self.rest = Stage(self._rest, prepare)
        read = {v.name for n in self._rest for v in n.inputs} | {v.name for v in self.outputs}
        made = [self.source, *(v for n in self._before for v in n.outputs)]
        self.kept = tuple(v for v in made if v.name in read)
        self._wide = lru_cache(WIDTHS)(self._widened)

    def features(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """What `rest` reads of n examples.

        given : the input, or values further on that suffice, name -> (n,...): one row for each
        """
        needed = self._needed(given)
        count = len(next(iter(given.values())))
        parts: list[dict[str, Array]] = []
        for begin in range(0, count, BATCH):
            some = {k: np.ascontiguousarray(v[begin : begin + BATCH]) for k, v in given.items()}
            parts.append(self._some(needed, some))
        return {v.name: np.concatenate([p[v.name] for p in parts]) for v in self.kept}

    def _some(self, needed: tuple[Node, ...], given: Mapping[str, Array]) -> dict[str, Array]:
        n = len(next(iter(given.values())))
        values = self._wide(needed, tuple(given), n, False)({**self.fixed, **given})
        return {v.name: values[v.name] for v in self.kept}

    def batch(self, features: Mapping[str, Array], states: Mapping[str, Array]) -> list[Array]:
        """The entry's outputs for n examples at once; for entries whose `rest` has no sum over
        examples: not for training steps."""
        n = len(next(iter(features.values())))
        stage = self._wide(tuple(self._rest), tuple(features), n, True)
        values = stage({**self.fixed, **states, **features})
        return [values[v.name] for v in self.outputs]

    def _needed(self, given: Collection[str]) -> tuple[Node, ...]:
        """Nodes between `given` and `kept`; raises UsageError where those do not suffice."""
        wanted = {v.name for v in self.kept} - set(given)
        found: list[Node] = []
        for node in reversed(self._before):
            if wanted.intersection(v.name for v in node.outputs):
                found.append(node)
                wanted -= {v.name for v in node.outputs}
                wanted |= {v.name for v in node.inputs} - self.fixed.keys() - set(given)
        if wanted:
            raise UsageError(
                "examples", where=self.entry, expected=", ".join(sorted(wanted)), found=list(given)
            )
        return tuple(reversed(found))

    def _widened(
        self, nodes: tuple[Node, ...], given: tuple[str, ...], n: int, states: bool
    ) -> Stage:
        """`nodes` for n examples, of which `given` are there; `states`: beside the states."""
        graph = self.module.graphs[self.entry]
        types = {v.name: v for v in graph.values()}
        known = {name: types[name] for name in self.fixed}
        known |= {name: types[name] for name in self.module.states if states and name in types}
        for name in given:
            shape = types[name].type.shape
            known[name] = Value(name, types[name].type.with_shape(n, *shape[1:]))
        wide: list[Node] = []
        for node in nodes:
            inputs = tuple(known[v.name] for v in node.inputs)
            wide.append(node if inputs == node.inputs else widened(node, inputs, n))
            known |= {v.name: v for v in wide[-1].outputs}
        return Stage(wide, self._prepare)


def reached(nodes: Iterable[Node], names: Collection[str]) -> set[str]:
    """`names` and every value that depends on one of them."""
    found = set(names)
    for node in nodes:
        if any(v.name in found for v in node.inputs):
            found |= {v.name for v in node.outputs}
    return found

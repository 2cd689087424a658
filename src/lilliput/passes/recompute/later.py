"""Later: a value that is read early and late is made again, or fetched, before it is read late.

Between its last early reader and its first late one such a value is alive for nothing: what the
backward part of a training step reads of the forward part, both ends of a long connection.  Then

    v -> early ...... v' -> late      v' made again by the nodes of v, out of what is there
    v -> copy -> w ...... copy -> v'  w in another memory

Weights are shared.  A value is a result of a pure graph, so what a clone computes is equal to the
bit; a state that an update moves meanwhile is one that the planner would have to keep twice, which
`chain` refuses.  Views of the value are cloned with it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from lilliput.ir.build import fresh_name
from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Module
from lilliput.ir.op import NoAttrs
from lilliput.ops.shape import copy, slice_
from lilliput.passes.recompute.pieces import Piece, Recomputed

DEPTH: Final = 16
"""Nodes that are made again for one value, at most."""


@dataclass(frozen=True)
class Chain:
    """The nodes that make a value, by what they make, in order, out of `sources`, parameters and
    states."""

    nodes: tuple[str, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Move:
    """Value `value` is there again before node `step` of its entry, by index, and for all readers
    from there on: made by `chain`, or fetched from a copy where there is none."""

    value: str
    step: int
    chain: Chain | None


@dataclass(frozen=True, eq=False)
class Laid:
    """far : copies that are to lie in another memory; owners : value that was added -> the value
    that it was added for."""

    made: Recomputed
    far: tuple[str, ...]
    owners: Mapping[str, str]


@dataclass
class Reads:
    """Where the values of a graph are made and read, by the index of the node; a view is what it
    shows."""

    graph: Graph
    shown: dict[str, str] = field(default_factory=dict[str, str])
    made: dict[str, int] = field(default_factory=dict[str, int])
    reads: dict[str, list[int]] = field(default_factory=dict[str, list[int]])

    def __post_init__(self) -> None:
        for i, node in enumerate(self.graph.nodes):
            if shows(node):
                self.shown[node.output.name] = self.root(node.inputs[0].name)
                continue
            for value in node.inputs:
                self.reads.setdefault(self.root(value.name), []).append(i)
            self.made |= {v.name: i for v in node.outputs}

    def root(self, name: str) -> str:
        """The value that a view shows; the value itself if it is none."""
        return self.shown.get(name, name)

    def last(self, name: str) -> int:
        """The last node that reads it; the one that makes it if none does."""
        return max(self.reads.get(name, ()), default=self.made.get(name, -1))


def shows(node: Node) -> bool:
    """Whether a node's result is its operand, or a part of it, seen otherwise."""
    return node.op.view or node.op is slice_


def chain(reads: Reads, name: str, step: int, barred: Mapping[str, int]) -> Chain | None:
    """How value `name` is made again before node `step`: out of the values that are alive there
    anyway, and of inputs; None where that is not possible.

    barred : state -> the first node from which on it may have moved
    """
    nodes, makers = reads.graph.nodes, reads.made
    params = {v.name for v in reads.graph.params}
    wanted, found, sources = [makers[name]], set[int](), list[str]()
    while wanted:
        index = wanted.pop()
        found.add(index)
        if len(found) > DEPTH or len(nodes[index].outputs) > 1:
            return None
        for value in nodes[index].inputs:
            root = reads.root(value.name)
            if barred.get(root, step + 1) <= step:
                return None
            if root in params or root in barred:
                continue
            if root not in makers or reads.last(root) >= step:
                sources.append(root)
            elif makers[root] not in found:
                wanted.append(makers[root])
    names = tuple(nodes[i].output.name for i in sorted(found))
    return Chain(names, tuple(dict.fromkeys(sources)))


def make_later(module: Module, moves: Mapping[str, Sequence[Move]]) -> Laid:
    """`module` with the values of `moves`, entry by entry, there once more for their late
    readers."""
    names = {v.name for g in module.graphs.values() for v in g.values()} | set(module.states)
    graphs, far = dict(module.graphs), list[str]()
    pieces, owners = dict[str, Piece](), dict[str, str]()
    for entry, chosen in moves.items():
        work = _Later(module.graphs[entry], chosen, names)
        graphs[entry] = replace(module.graphs[entry], nodes=tuple(work.run()))
        far += work.far.values()
        pieces |= work.pieces
        owners |= work.owners
    return Laid(Recomputed(replace(module, graphs=graphs), pieces), tuple(far), owners)


class _Later:
    def __init__(self, graph: Graph, moves: Collection[Move], names: set[str]):
        self.graph, self.names = graph, names
        self.makers = graph.producers()
        order = {v.name: i for i, n in enumerate(graph.nodes) for v in n.outputs}
        self.due: dict[int, list[Move]] = {}
        for move in sorted(moves, key=lambda m: order[m.value]):
            self.due.setdefault(move.step, []).append(move)
        self.away = {m.value for m in moves if m.chain is None}
        self.far: dict[str, str] = {}
        self.pieces: dict[str, Piece] = {}
        self.owners: dict[str, str] = {}
        self.now: dict[str, Value] = {}
        self.nodes: list[Node] = []

    def run(self) -> list[Node]:
        for i, node in enumerate(self.graph.nodes):
            for move in self.due.get(i, ()):
                self.bring(move)
            self.nodes.append(node.with_inputs(tuple(self.seen(v) for v in node.inputs)))
            for value in node.outputs:
                if value.name in self.away:
                    self.far[value.name] = self.copied(value, value, "away").name
        return self.nodes

    def bring(self, move: Move) -> None:
        before = len(self.nodes)
        self._bring(move)
        self.owners |= {n.output.name: move.value for n in self.nodes[before:]}

    def _bring(self, move: Move) -> None:
        makers = self.makers
        if move.chain is None:
            value = makers[move.value].output
            source = replace(value, name=self.far[move.value])
            self.now[move.value] = self.copied(source, value, "back")
            return
        kept = dict(self.now)
        for name in move.chain.nodes:
            node = makers[name]
            inputs = tuple(self.seen(v) for v in node.inputs)
            self.now[name] = self.added(node, inputs)
        # what lies between belongs to this chain alone
        self.now = {**kept, move.value: self.now[move.value]}

    def seen(self, value: Value) -> Value:
        """What stands for a value from here on."""
        if value.name in self.now or value.name not in self.makers:
            return self.now.get(value.name, value)
        node = self.makers[value.name]
        if not shows(node):
            return value
        source = self.seen(node.inputs[0])
        if source == node.inputs[0]:
            return value
        self.now[value.name] = self.added(node, (source, *node.inputs[1:]))
        return self.now[value.name]

    def added(self, node: Node, inputs: tuple[Value, ...]) -> Value:
        value = self.fresh(node.output, "again")
        self.nodes.append(replace(node, inputs=inputs, outputs=(value,)))
        return value

    def copied(self, source: Value, value: Value, word: str) -> Value:
        result = self.fresh(value, word)
        origin = self.makers[value.name].origin
        self.nodes.append(Node(copy, (source,), (result,), NoAttrs(), origin))
        return result

    def fresh(self, value: Value, word: str) -> Value:
        made = replace(value, name=fresh_name(self.names, f"{value.name}/{word}"))
        shape = value.type.shape
        self.pieces[made.name] = Piece(value.name, (0,) * len(shape), shape)
        return made

"""Two passes: a map that is reduced, and needed once more afterwards, is made twice.

The squeeze of a squeeze-and-excite block is a mean over a map that is scaled by what follows from
that mean.  So the scale is needed from the first row on, and all of the map has to wait for it:

    x -> expand -> depthwise -> y -> mean -> ... -> s          y waits while s is made
                                y * s -> project

The nodes that make y out of something smaller are done once for the mean and once more for the
product.  Then both passes stream: of y, only rows exist.

    x -> expand' -> depthwise' -> y' -> mean -> ... -> s
    x -> expand -> depthwise -> y * s -> project
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lilliput.ir.build import fresh_name
from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Module
from lilliput.ir.region import Pointwise, Reduce, Shift, Spread, Whole, Window
from lilliput.passes.recompute.pieces import Piece, Recomputed

DEPTH = 8
"""Nodes that are made again for one value, at most."""


@dataclass(frozen=True)
class Twice:
    """Value `value` of entry `entry` and the nodes that make it, by what they make, in order;
    `early` are the nodes that read it first, by what they make."""

    entry: str
    value: str
    chain: tuple[str, ...]
    early: frozenset[str]


def find_twice(module: Module) -> list[Twice]:
    """Every value that waits for a reduction of itself, in order, with the chain that leads to it
    from the smallest value that is near enough."""
    found: list[Twice] = []
    for entry, graph in module.graphs.items():
        users, makers = graph.consumers(), graph.producers()
        given = frozenset(v.name for v in graph.params)
        for node in graph.nodes:
            early = _early(graph, node.output, users)
            chain = _chain(node, makers, users, given) if early else ()
            if chain:
                found.append(Twice(entry, node.output.name, chain, early))
    return found


def make_twice(module: Module, chosen: Sequence[Twice]) -> Recomputed:
    """`module` with the chains of `chosen`, which are disjoint, done once more for their early
    readers; those that were there come before the first reader that is left."""
    names = {v.name for g in module.graphs.values() for v in g.values()}
    graphs, pieces = dict(module.graphs), dict[str, Piece]()
    for twice in chosen:
        graphs[twice.entry] = _twice(graphs[twice.entry], twice, names, pieces)
    return Recomputed(replace(module, graphs=graphs), pieces)


def stretches(module: Module, found: Sequence[Twice]) -> list[frozenset[str]]:
    """For each of `found`, all that `find_twice` finds, what is made from the start of its chain
    to that of the next one: in `module`, or in what `make_twice` has made of it."""
    begins = {name: k for k, t in enumerate(found) for name in (again(t.chain[0]), t.chain[0])}
    inside: list[set[str]] = [set() for _ in found]
    for graph in module.graphs.values():
        now = -1
        for node in graph.nodes:
            now = max(now, begins.get(node.output.name, -1))
            if now >= 0:
                inside[now].update(v.name for v in node.outputs)
    return [frozenset(names) for names in inside]


def again(name: str) -> str:
    """How what is made once more is called, if nothing else is."""
    return f"{name}/again"


def _early(graph: Graph, value: Value, users: Mapping[str, list[Node]]) -> frozenset[str]:
    """The readers of a map that reduce it, and on which another reader of it waits."""
    readers = users[value.name]
    if len(readers) < 2 or value in graph.outputs or len(value.type.shape) != 4:
        return frozenset()
    early = {
        node.output.name
        for node in readers
        if _gathers(node, value, users)
        and any(_follows(other, node, users) for other in readers if other is not node)
    }
    return frozenset(early) if len(early) < len(readers) else frozenset()


def _gathers(node: Node, value: Value, users: Mapping[str, list[Node]]) -> bool:
    """Whether what `node` makes of a map is there only when all rows have been read: a reduction
    over rows, or over pixels with one over rows behind it."""
    if node.op.regions is None or node.op.view:
        return False
    rows = node.op.regions(node)[node.inputs.index(value)][1]
    if isinstance(rows, Whole | Reduce):
        return True
    y = node.output
    smaller = y.type.size < value.type.size and len(y.type.shape) == 4
    return smaller and all(_gathers(user, y, users) for user in users[y.name])


def _follows(node: Node, first: Node, users: Mapping[str, list[Node]]) -> bool:
    """Whether `node` depends on `first`."""
    seen, queue = set[str](), [first]
    while queue:
        for value in queue.pop().outputs:
            for user in users[value.name]:
                if user is node:
                    return True
                if user.output.name not in seen:
                    seen.add(user.output.name)
                    queue.append(user)
    return False


def _chain(
    node: Node,
    makers: Mapping[str, Node],
    users: Mapping[str, list[Node]],
    given: frozenset[str],
) -> tuple[str, ...]:
    """The nodes that make `node`'s result out of the smallest value, among those that lie on the
    way to it and are read by nobody else; () where it is the smallest one."""
    chain: list[str] = []
    best, least = 0, node.output.type.nbytes
    while len(chain) < DEPTH and (source := _source(node, given)) is not None:
        chain.append(node.output.name)
        if source.type.nbytes < least:
            best, least = len(chain), source.type.nbytes
        if source.name not in makers or len(users[source.name]) > 1:
            break
        node = makers[source.name]
    return tuple(reversed(chain[:best]))


def _source(node: Node, given: frozenset[str]) -> Value | None:
    """The one map that a node computes its rows of; None where it does something else."""
    maps = [v for v in node.inputs if v.name not in given]
    if len(maps) != 1 or node.op.regions is None or node.op.view or len(node.outputs) > 1:
        return None
    (value,) = maps
    rule = node.op.regions(node)[node.inputs.index(value)]
    follows = len(rule) == 4 and isinstance(rule[1], Pointwise | Window | Shift | Spread)
    return value if follows else None


def _twice(graph: Graph, twice: Twice, names: set[str], pieces: dict[str, Piece]) -> Graph:
    mine, renamed = set(twice.chain), dict[str, Value]()
    originals = [n for n in graph.nodes if n.output.name in mine]
    nodes: list[Node] = []
    waiting = True
    for node in graph.nodes:
        name = node.output.name
        if name in mine:
            made = replace(node.output, name=fresh_name(names, again(name)))
            inputs = tuple(renamed.get(v.name, v) for v in node.inputs)
            nodes.append(replace(node, inputs=inputs, outputs=(made,)))
            renamed[name] = made
            shape = made.type.shape
            pieces[made.name] = Piece(name, (0,) * len(shape), shape)
        elif name in twice.early:
            nodes.append(node.with_inputs(tuple(renamed.get(v.name, v) for v in node.inputs)))
        else:
            if waiting and any(v.name == twice.value for v in node.inputs):
                nodes, waiting = [*nodes, *originals], False
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes))

"""Guards come first: what writes a state is computed after the values that may refuse the call.

One idea: a state is written in place by the task that computes its next value, and such a task is
an anchor with element-wise nodes behind it.  If all of these come after the guarded values, the
state is still what it was where a guard ends the call, and nothing is copied for that.  Where a
guarded value depends on the update itself (a recurrent state that the loss has read), the layout
keeps the next value apart until the entry's end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from lilliput.ir.graph import Graph, Node
from lilliput.ir.module import Module


def guarded_first(module: Module) -> Module:
    """`module` with what leads to guarded values ahead of what writes states; the same object
    where that is so already."""
    graphs = dict(module.graphs)
    for entry, graph in module.graphs.items():
        nodes = _ordered(graph, *waiting(module, entry))
        if nodes != list(graph.nodes):
            graphs[entry] = replace(graph, nodes=tuple(nodes))
    changed = any(graphs[entry] is not graph for entry, graph in module.graphs.items())
    return replace(module, graphs=graphs) if changed else module


def waiting(module: Module, entry: str) -> tuple[frozenset[int], frozenset[int]]:
    """(nodes that make guarded values, nodes that have to wait for them), by index: those that
    write states, as far as no guarded value needs them."""
    graph = module.graphs[entry]
    names = {g.name for g in module.guards.get(entry, ())}
    makers = [n for n in graph.nodes if any(v.name in names for v in n.outputs)]
    if not makers:
        return frozenset(), frozenset()
    needed = _needed(graph, makers)
    late = writers(graph, {v.name for v in module.updates(entry).values()})
    indices = range(len(graph.nodes))
    return (
        frozenset(i for i in indices if graph.nodes[i] in makers),
        frozenset(i for i in indices if i in late and i not in needed),
    )


def _needed(graph: Graph, makers: Collection[Node]) -> set[int]:
    """The nodes that lead to `makers`, these among them."""
    wanted = {v.name for n in makers for v in n.outputs}
    found: set[int] = set()
    for i in reversed(range(len(graph.nodes))):
        node = graph.nodes[i]
        if any(v.name in wanted for v in node.outputs):
            found.add(i)
            wanted.update(v.name for v in node.inputs)
    return found


def writers(graph: Graph, updates: Collection[str]) -> set[int]:
    """Nodes that may be one task with the making of an update: element-wise nodes of one reader
    before it, and the node that these begin at."""
    index = {v.name: i for i, n in enumerate(graph.nodes) for v in n.outputs}
    users = graph.consumers()

    def chain(i: int) -> Iterator[int]:
        yield i
        node = graph.nodes[i]
        if node.op.scalar is not None:
            for value in node.inputs:
                if value.name in index and len(users[value.name]) == 1:
                    yield from chain(index[value.name])

    return {i for name in updates if name in index for i in chain(index[name])}


def _ordered(graph: Graph, makers: Collection[int], late: Collection[int]) -> Sequence[Node]:
    """The nodes in their order, but for late ones: these and what reads them follow the makers."""
    if not late or max(makers) < min(late):
        return list(graph.nodes)
    before: list[Node] = []
    after: list[Node] = []
    moved: set[str] = set()
    for i, node in enumerate(graph.nodes):
        waits = i in late or any(v.name in moved for v in node.inputs)
        if waits and i < max(makers):
            after.append(node)
            moved.update(v.name for v in node.outputs)
        else:
            before.append(node)
        if i == max(makers):
            before += after
    return before

"""How updates stand in a step's graph: each gradient is applied as soon as it exists."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from lilliput.ir import Graph, Node

NOTHING: Mapping[str, str] = MappingProxyType({})


def hoisted(
    graph: Graph,
    computed: Collection[str],
    owner: Mapping[str, str],
    after: Mapping[str, str] = NOTHING,
    apart: Collection[str] = (),
) -> Graph:
    """What is made for one update alone as early as it can be, and the update behind all that reads
    what its gradient is made of, and what it moves: a gradient is applied and gone before the
    next one is made (Lin et al. 2022, section 3.3), and what reads the same rows stands together.

    computed : results of the nodes that are no updates
    owner : what is left in a state -> the tensor that the state belongs to
    after : tensor -> the value that is made before anything is made for its update alone
    apart : results of nodes that no update waits for, though they read the same
    """
    alone = _alone(graph.nodes, owner)
    last: dict[str, int] = {}
    for i, node in enumerate(graph.nodes):
        if i not in alone and node.output.name in computed and node.output.name not in apart:
            last |= {v.name: i for v in node.inputs}
    made = {v.name: i for i, node in enumerate(graph.nodes) for v in node.outputs}
    last |= {t: max(last.get(t, -1), made[value]) for t, value in after.items()}
    for node in reversed(graph.nodes):
        if node.op.view:  # who reads it reads what it shows
            shown = node.inputs[0].name
            last[shown] = max(last.get(shown, -1), last.get(node.output.name, -1))
    place: dict[str, int] = {}
    due: dict[str, int] = {}
    keys: list[tuple[int, bool, int]] = []
    for i, node in enumerate(graph.nodes):
        side = i in alone or node.output.name not in computed
        at = max((place.get(v.name, -1) for v in node.inputs), default=-1) if side else i
        if i in alone:
            at = max(at, last.get(alone[i], -1))
            behind = max(max(last.get(v.name, -1), due.get(v.name, -1)) for v in node.inputs)
            due |= {v.name: behind for v in node.outputs}
            at = at if node.output.name in computed else max(at, behind)
        keys.append((at, side, i))
        place |= {v.name: at for v in node.outputs}
    return replace(graph, nodes=tuple(graph.nodes[i] for _, _, i in sorted(keys)))


def _alone(nodes: Sequence[Node], owner: Mapping[str, str]) -> dict[int, str]:
    """Index of a node -> the tensor whose update is all that it is made for.

    owner : what is left in a state -> the tensor that the state belongs to
    """
    reach: dict[str, set[str]] = {}
    found: dict[int, str] = {}
    for i in reversed(range(len(nodes))):
        made = [v.name for v in nodes[i].outputs]
        tensors = {owner[n] for n in made if n in owner}.union(*(reach.get(n, ()) for n in made))
        if len(tensors) == 1:
            found[i] = next(iter(tensors))
        for value in nodes[i].inputs:
            reach[value.name] = reach.get(value.name, set()) | tensors
    return found

"""Tiles: a stretch of a graph from one map to another is computed piece by piece.

Each piece of the result needs a rectangle of the map at the start, larger than its share by the
halo of the windows between.  The stretch is copied for each piece, with the padding that is left at
its borders, and the pieces are joined.  What neighbours have in common is computed for both.

    a -> conv -> b      a -> slice -> conv' -> piece 0 -> concat -> b
                          -> slice -> conv' -> piece 1 ->

A grid of one row makes strips of columns.  Each streams by rows, and its line buffers are as wide
as the strip; slices and pieces are views, so that nothing is moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Module
from lilliput.ir.region import Interval
from lilliput.ops.shape import Concat, concat
from lilliput.passes.recompute.cutting import AXES, Cutting, Rectangle, divides, whole
from lilliput.passes.recompute.pieces import Recomputed


@dataclass(frozen=True)
class Stretch:
    """All nodes between map `source` and map `target` of an entry, by what they make, in order;
    nobody else reads what lies between."""

    entry: str
    source: str
    target: str
    nodes: tuple[str, ...]


def find_stretch(module: Module, entry: str, source: str, target: str) -> Stretch | None:
    """The nodes that make `target` out of `source` and parameters alone; None where there is
    more to it, or where a piece of some result is not made of pieces of its operands."""
    graph = module.graphs[entry]
    makers, users, wanted = graph.producers(), graph.consumers(), [target]
    given, nodes = {v.name for v in graph.params}, set[str]()
    while wanted:
        name = wanted.pop()
        if name == source or name in given or name in nodes:
            continue
        if name not in makers or not divides(makers[name], given):
            return None
        nodes.add(name)
        wanted += [v.name for v in makers[name].inputs]
    outside = {v.name for v in graph.outputs} - {target}
    between = [u for n in nodes - {target} for u in users[n]]
    if not nodes or outside & nodes or any(u.output.name not in nodes for u in between):
        return None
    order = tuple(n.output.name for n in graph.nodes if n.output.name in nodes)
    return Stretch(entry, source, target, order)


def boxes_of(module: Module, stretch: Stretch, cuts: Sequence[int]) -> list[dict[str, Rectangle]]:
    """What each strip of a stretch needs of every map, the target's share included: `cuts` are the
    columns of the target at which a strip ends and the next one begins."""
    work = _Tiling(module.graphs[stretch.entry], stretch, set())
    rows, columns = whole(work.target)
    boxes = ((rows, x) for x in _between(cuts, columns[1]))
    return [work.wanted(work.inside, stretch.target, box) for box in boxes]


def tile(module: Module, stretch: Stretch, cuts: tuple[Sequence[int], Sequence[int]]) -> Recomputed:
    """`module` with a stretch in pieces: `cuts` are the rows and columns of its target at which
    a piece ends and the next one begins, ascending."""
    names = {v.name for g in module.graphs.values() for v in g.values()}
    work = _Tiling(module.graphs[stretch.entry], stretch, names)
    graph = work.tiled(
        [_between(c, work.target.type.shape[a]) for a, c in zip(AXES, cuts, strict=True)]
    )
    return Recomputed(replace(module, graphs={**module.graphs, stretch.entry: graph}), work.pieces)


def _between(cuts: Sequence[int], extent: int) -> list[Interval]:
    return list(pairwise((0, *cuts, extent)))


class _Tiling(Cutting):
    def __init__(self, graph: Graph, stretch: Stretch, names: set[str]):
        super().__init__(graph, names)
        self.stretch = stretch
        self.target = self.values[stretch.target]
        inside = set(stretch.nodes)
        self.inside = [n for n in graph.nodes if n.output.name in inside]

    def tiled(self, grid: Sequence[Sequence[Interval]]) -> Graph:
        bands = [self._joined([self._piece((y, x)) for x in grid[1]], 2) for y in grid[0]]
        self._joined(bands, 1, last=True)
        nodes: list[Node] = []
        for node in self.graph.nodes:
            if node.output.name == self.stretch.target:
                nodes += self.made
            elif node.output.name not in self.stretch.nodes:
                nodes.append(node)
        return replace(self.graph, nodes=tuple(nodes))

    def _piece(self, box: Rectangle) -> tuple[Value, Rectangle]:
        """Adds the nodes that compute `box` of the target."""
        wanted = self.wanted(self.inside, self.stretch.target, box)
        parts: dict[str, tuple[Rectangle, Value]] = {}
        for name, node in ((n.output.name, n) for n in self.inside):
            parts[name] = wanted[name], self.cut_of(node, wanted[name], parts)
        return parts[self.stretch.target][1], box

    def _joined(
        self, parts: Sequence[tuple[Value, Rectangle]], axis: int, last: bool = False
    ) -> tuple[Value, Rectangle]:
        """The parts as one, along an axis; the target itself where it is the `last` of all."""
        (first_y, first_x), (last_y, last_x) = parts[0][1], parts[-1][1]
        box = (first_y[0], last_y[1]), (first_x[0], last_x[1])
        if len(parts) == 1 and not last:
            return parts[0]
        if len(parts) == 1 and self.made[-1].outputs == (parts[0][0],):
            self.pieces.pop(parts[0][0].name)
            self.made[-1] = replace(self.made[-1], outputs=(self.target,))
            return self.target, box
        made = self.target if last else self.part(self.target, box)
        values = tuple(value for value, _ in parts)
        origin = self.origin(self.stretch.target)
        self.made.append(Node(concat, values, (made,), Concat(axis), origin))
        return made, box

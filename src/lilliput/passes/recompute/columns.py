"""Columns: the maps of a residual stage in pieces of columns, and blocks of it strip by strip.

A residual block holds its input while it makes its output, and line buffers of a wider map beside
the two.  Strip by strip these are as wide as a strip; and where both maps lie in pieces of columns,
each piece of the output can take the place of the piece of the input that dies with its strip.  Of
what a later strip still needs of such a piece, the halo, a copy is kept:

    h = copy of the last columns of x0
    x0, x1 -> block' -> y0        over x0
     h, x1 -> block' -> y1        over x1

All maps of the stage are cut at the same columns.  A layer without a window makes each piece by
itself; where its reader has a window the pieces are views of one map, of which a loop keeps rows.
So only blocks that are made in strips compute their halo again.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from itertools import pairwise

from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Module
from lilliput.ir.op import NoAttrs
from lilliput.ir.region import Interval, Pointwise, Window
from lilliput.ops.shape import Concat, concat, copy
from lilliput.passes.recompute.cutting import Cutting, Rectangle, divides
from lilliput.passes.recompute.pieces import Recomputed
from lilliput.passes.recompute.tiles import Stretch, find_stretch

COLUMNS = 2
"""The axis that is cut, of a map (N,H,W,C)."""

Part = tuple[Interval, Value]
"""Columns of a map, and the value that holds them."""
Inner = dict[str, tuple[Rectangle, Value]]
"""What a strip has of the maps between the ends of its block."""


@dataclass(frozen=True)
class Stage:
    """Maps of one shape, each made of the one before by a block that adds to it; nobody else reads
    any but the last."""

    entry: str
    maps: tuple[str, ...]
    blocks: tuple[Stretch, ...]


def find_stages(module: Module) -> list[Stage]:
    """Every longest chain of residual blocks whose maps can be made and read column by column."""
    found: list[Stage] = []
    for entry, graph in module.graphs.items():
        blocks = {b.source: b for b in _blocks(module, entry, graph)}
        targets = {b.target for b in blocks.values()}
        for first in (b for name, b in blocks.items() if name not in targets):
            chain = [first]
            while (after := blocks.get(chain[-1].target)) is not None:
                chain.append(after)
            maps = (first.source, *(b.target for b in chain))
            found.append(Stage(entry, maps, tuple(chain)))
    return found


def _blocks(module: Module, entry: str, graph: Graph) -> list[Stretch]:
    """Stretches whose last node adds to the map that they begin at, column by column."""
    given = {v.name for v in graph.params}
    makers, users, kept = graph.producers(), graph.consumers(), {v.name for v in graph.outputs}

    def apart(name: str) -> bool:
        """Whether a map can be made, and is read, column by column."""
        nodes = (makers[name], *users[name]) if name in makers else ()
        return bool(nodes) and name not in kept and all(_pointwise(n, given) for n in nodes)

    found: list[Stretch] = []
    for node in graph.nodes:
        terms = [v for v in node.inputs if v.type.shape == node.output.type.shape]
        if len(terms) < 2 or not apart(node.output.name):
            continue
        for term in (v for v in terms if v.name in makers and apart(v.name)):
            stretch = find_stretch(module, entry, term.name, node.output.name)
            if stretch and {n.output.name for n in users[term.name]} <= set(stretch.nodes):
                found.append(stretch)
                break
    return found


def _pointwise(node: Node, given: Set[str]) -> bool:
    """Whether each column of a node's map is made of the same column of its operands."""
    if not divides(node, given):
        return False
    assert node.op.regions is not None
    pairs = zip(node.inputs, node.op.regions(node), strict=True)
    rules = [rule[COLUMNS] for value, rule in pairs if value.name not in given]
    return all(
        isinstance(r, Pointwise)
        or (isinstance(r, Window) and (r.size, r.stride, r.pad) == (1, 1, 0))
        for r in rules
    )


def in_columns(module: Module, stage: Stage, cuts: Sequence[int], strips: Set[str]) -> Recomputed:
    """`module` with the maps of a stage cut at `cuts`, ascending.

    strips : of the blocks that are made strip by strip, the maps that they make
    """
    names = {v.name for g in module.graphs.values() for v in g.values()}
    work = _Columns(module.graphs[stage.entry], stage, cuts, strips, names)
    graphs = {**module.graphs, stage.entry: work.cut()}
    return Recomputed(replace(module, graphs=graphs), work.pieces)


class _Columns(Cutting):
    """lies : the parts of each map that lies in pieces."""

    def __init__(
        self, graph: Graph, stage: Stage, cuts: Sequence[int], strips: Set[str], names: set[str]
    ):
        super().__init__(graph, names)
        width = self.values[stage.maps[0]].type.shape[COLUMNS]
        self.spans = list(pairwise((0, *cuts, width)))
        self.maps = set(stage.maps)
        self.strips = {b.target: b for b in stage.blocks if b.target in strips}
        self.makers, self.users = graph.producers(), graph.consumers()
        self.lies: dict[str, list[Part]] = {}

    def cut(self) -> Graph:
        inside = {name for block in self.strips.values() for name in block.nodes}
        for node in self.graph.nodes:
            name = node.output.name
            if name in self.strips:
                self._in_strips(self.strips[name])
            elif name in inside:
                continue
            elif self._apart(node):
                self._piece_by_piece(node)
            else:
                self.made.append(node)
        return replace(self.graph, nodes=tuple(self.made))

    def _apart(self, node: Node) -> bool:
        """Whether a node makes each piece by itself."""
        reads = any(v.name in self.maps for v in node.inputs)
        return reads or self._in_pieces(node.output)

    def _in_pieces(self, value: Value) -> bool:
        """Whether a value lies in pieces: maps of the stage, and what only these are made of."""
        users = self.users[value.name]
        return value.name in self.maps or (
            len(users) == 1
            and users[0].output.name in self.maps - self.strips.keys()
            and value.type.shape[:3] == users[0].output.type.shape[:3]
            and _pointwise(self.makers[value.name], self.given)
        )

    def _piece_by_piece(self, node: Node) -> None:
        parts = [(span, self._made(node, span, {})) for span in self.spans]
        if self._in_pieces(node.output):
            self.lies[node.output.name] = parts
        else:
            self._join(node, parts, node.output)

    def _made(self, node: Node, span: Interval, inner: Inner) -> Value:
        """Columns `span` of what a node without a window makes, of those parts of its operands that
        have them."""
        found = dict(inner)
        for value in (v for v in node.inputs if v.name in self.lies):
            parts = self.lies[value.name]
            has, part = next(p for p in parts if p[0][0] <= span[0] and span[1] <= p[0][1])
            found[value.name] = self._box(part, has), part
        return self.cut_of(node, self._box(node.output, span), found)

    def _join(self, node: Node, parts: Sequence[Part], made: Value) -> None:
        values = tuple(value for _, value in parts)
        self.made.append(Node(concat, values, (made,), Concat(COLUMNS), node.origin))

    # strips

    def _in_strips(self, block: Stretch) -> None:
        nodes = [n for n in self.graph.nodes if n.output.name in block.nodes]
        target = self.values[block.target]
        boxes = (self._box(target, span) for span in self.spans)
        wanted = [self.wanted(nodes, block.target, box) for box in boxes]
        halos = [self._halo(block, k, need[block.source][1]) for k, need in enumerate(wanted)]
        parts: list[Part] = []
        for k, need in enumerate(wanted):
            parts.append((self.spans[k], self._strip(nodes, block, need, halos[k], k)))
        self.lies[block.target] = parts

    def _box(self, value: Value, span: Interval) -> Rectangle:
        return (0, value.type.shape[1]), span

    def _halo(self, block: Stretch, k: int, need: Interval) -> list[Part]:
        """Copies of what strip k needs of pieces that are written over before it is made."""
        found: list[Part] = []
        for span, piece in self.lies[block.source][:k]:
            low, high = max(span[0], need[0]), min(span[1], need[1])
            if low < high:
                source, box = self.values[block.source], self._box(piece, (low, high))
                there = self.slice(piece, self._box(piece, span), box, block.source)
                made = self.part(source, box)
                self.made.append(Node(copy, (there,), (made,), NoAttrs(), self.origin(source.name)))
                found.append(((low, high), made))
        return found

    def _strip(
        self,
        nodes: Sequence[Node],
        block: Stretch,
        wanted: dict[str, Rectangle],
        halo: Sequence[Part],
        k: int,
    ) -> Value:
        """Strip k of a block's map, of its own pieces of the input, later ones and the halo."""
        whole_map, inner = self.lies[block.source], Inner()
        self.lies[block.source] = [*halo, *whole_map[k:]]
        for node in nodes:
            box = self._box(node.output, wanted[node.output.name][1])
            if any(v.name == block.source for v in node.inputs):
                value = self._of_parts(node, box[1], block.source, inner)
            else:
                value = self.cut_of(node, box, inner)
            inner[node.output.name] = box, value
        self.lies[block.source] = whole_map
        return inner[block.target][1]

    def _of_parts(self, node: Node, span: Interval, source: str, inner: Inner) -> Value:
        """Columns of what is made of the parts of a block's input."""
        bounds = [(max(a, span[0]), min(b, span[1])) for (a, b), _ in self.lies[source]]
        parts = [(b, self._made(node, b, inner)) for b in bounds if b[0] < b[1]]
        if len(parts) == 1:
            return parts[0][1]
        made = self.part(node.output, self._box(node.output, span))
        self._join(node, parts, made)
        return made

"""What recomputed values stand for, and what they cost.

One idea: a value that a rewrite has added is a box of a value of the network as it was.  So the
proof holds every one of them against the network itself, and not against what was made of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lilliput.ir.graph import Graph, Node
from lilliput.ir.module import Module
from lilliput.ir.types import Array


@dataclass(frozen=True)
class Piece:
    """The box of value `of` that begins at `begin` and is of `shape`, one index for each axis."""

    of: str
    begin: tuple[int, ...]
    shape: tuple[int, ...]

    def cut(self, whole: Array) -> Array:
        """The piece, of the data of the whole value."""
        return whole[tuple(slice(b, b + n) for b, n in zip(self.begin, self.shape, strict=True))]


@dataclass(frozen=True)
class Extra:
    """Multiply-accumulates that are done on top of a layer's own, once or in all its pieces;
    `times` its nodes there are for it.  Less than none where strides leave out what lies between
    two pieces."""

    layer: str
    macs: int
    times: int


@dataclass(frozen=True)
class Paged:
    """A value that lies in another memory between its early and its late readers; each call moves
    its bytes there and back."""

    value: str
    memory: str
    nbytes: int


@dataclass(frozen=True, eq=False)
class Recomputed:
    """`module` with what was added: value name -> what it stands for."""

    module: Module
    pieces: Mapping[str, Piece] = field(default_factory=dict[str, Piece])

    def extra(self, before: Module) -> tuple[Extra, ...]:
        """What it does on top of `before`, by layer, in the order of `before`."""
        return tuple(
            extra
            for name, graph in before.graphs.items()
            for extra in self._of_graph(graph, self.module.graphs[name])
        )

    def _of_graph(self, before: Graph, after: Graph) -> Iterator[Extra]:
        made: dict[str, list[Node]] = {}
        for node in after.nodes:
            piece = self.pieces.get(node.output.name)
            made.setdefault(piece.of if piece else node.output.name, []).append(node)
        for node in before.nodes:
            found = made.get(node.output.name, [])
            if any(n.output.name in self.pieces for n in found):
                done = sum(n.op.cost(n).macs for n in found)
                if more := done - node.op.cost(node).macs:
                    yield Extra(node.origin or node.output.name, more, len(found))


def macs(module: Module) -> int:
    """Multiply-accumulates of one call of every entry."""
    nodes = (n for graph in module.graphs.values() for n in graph.nodes)
    return sum(n.op.cost(n).macs for n in nodes)

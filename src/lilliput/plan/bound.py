"""The least bytes of activations that any schedule of a class needs: what no planner gets below.

The class: each element is computed once; each map is made from the top row to the bottom row, in a
row from left to right, all channels of a pixel together. Layers may take turns in any way, by maps,
by rows or by pixels; anything may lie anywhere, a pixel of an output in the bytes of what dies with
it, too. An element takes its bytes from when it is made until its last reader has had it. Results
of layers without products that are not element-wise take none, as those that move elements may be
views, nor do scratch, accumulators and states; an input is there at the start, or comes row by row
when it is asked for.

The bound: at any time each layer l has made some t_l rows, and these numbers fit: what t_l rows
read is made.  Whatever the schedule, there is a time at which layer b has made p rows.  So

    max over b and p of   min over all t that fit with t_b = p of   bytes alive at t

are needed.  Bytes alive are a sum of terms of two variables, of a value and of its last reader, so
that the minimum is found by eliminating one variable after the other.

Why rows are enough where pixels may take turns: let each t have a fraction.  Between whole numbers,
what has to fit says of some pairs that one fraction is not below the other, and no more; and bytes
alive are linear, at least, as long as the order of the fractions is one (`flow` sees to it that
shares of rows are on the safe side).  So the least is at a corner, where all fractions are 0 or 1:
whole rows again.  Where b is looked at within a row, just before it makes a pixel, corners may also
have the share of a row that b has made, and the shares of its operands' rows that it is about to
read, for fractions; they are added to the states.

What is left out only lowers the result: of the readers of a value all but one, operands whose rules
do not go row by row, and what depends on more than two other variables at a time.  Element-wise
layers are not looked at within rows: they may be done in registers by what makes their operand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

import numpy as np

from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Module
from lilliput.ir.types import Array
from lilliput.plan.flow import Flow, flow

LOOKED = 8
"""So many layers are looked at within rows, those that promise most."""
TINY = 1e-6
"""Far above the error of shares, far below the share of a pixel and below a byte."""


@dataclass(frozen=True)
class Least:
    """Bytes that are alive at least when, in `entry`, `node` has made so many rows, or so many rows
    and pixels and is about to make the next one.  Without a node: rows of an input have come."""

    nbytes: int
    entry: str = ""
    node: Node | None = None
    rows: int = 0
    pixels: int | None = None


def least(module: Module, pull: frozenset[str] = frozenset()) -> Least:
    """The bound of the entry that needs most; the inputs `pull` come row by row."""
    found: list[Least] = []
    for name, graph in module.graphs.items():
        free = {s.value.name for s in module.states.values()}
        free |= {v.name for v in module.updates(name).values()}
        found.append(_Layers(graph, name, pull, free).least())
    return max(found, key=lambda x: x.nbytes, default=Least(0))


def _live(graph: Graph) -> list[Node]:
    """The nodes whose results are asked for."""
    asked, found = {v.name for v in graph.outputs}, list[Node]()
    for node in reversed(graph.nodes):
        if asked.intersection(v.name for v in node.outputs):
            asked.update(v.name for v in node.inputs)
            found.append(node)
    return found[::-1]


@dataclass(frozen=True, eq=False)
class _Edge:
    """A reader's use of a value."""

    value: str
    reader: str
    flow: Flow


@dataclass(eq=False)
class _Layers:
    """The variables of a graph: one for each node that computes something, named as its first
    result, and one for each input; its steps are what it goes through one after the other.

    free : values whose bytes are not counted; lead : steps of a node before its first row
    """

    graph: Graph
    entry: str
    pull: frozenset[str]
    free: set[str]
    nodes: dict[str, Node] = field(default_factory=dict[str, Node])
    lead: dict[str, int] = field(default_factory=dict[str, int])
    rows: dict[str, int] = field(default_factory=dict[str, int])
    edges: list[_Edge] = field(default_factory=list[_Edge])
    counted: dict[str, _Edge] = field(default_factory=dict[str, _Edge])

    def __post_init__(self) -> None:
        for value in self.graph.inputs:
            self._add(value)
        for node in _live(self.graph):
            if any(v.name in self.rows for v in node.inputs):
                self._node(node)
        kept = {v.name for v in self.graph.outputs}
        for edge in self.edges:
            if edge.value not in self.free | kept:
                self.counted[edge.value] = edge

    def _add(self, value: Value) -> None:
        self.rows[value.name], self.lead[value.name] = value.type.frame[0], 0

    def _node(self, node: Node) -> None:
        name = node.output.name
        self._add(node.output)
        self.nodes[name] = node
        if node.op.scalar is None and not node.op.cost(node).macs:
            self.free.add(name)  # a tile, say, may become a concatenation of what is there
        flows = [
            (v.name, found)
            for k, v in enumerate(node.inputs)
            if v.name in self.rows and (found := flow(node, k)) is not None
        ]
        summed = next((x for x in flows if x[1].sums), None)
        if summed is not None:
            flows, self.lead[name] = [summed], summed[1].steps
        self.edges += [_Edge(v, name, x) for v, x in flows]

    def least(self) -> Least:
        """Between rows first, then within rows where that can give more."""
        found, hopes = [Least(0, self.entry)], list[tuple[int, str]]()
        between = self._problem()
        for name in self.rows:
            found.append(self._best(between.lowest(name), name))
            if more := self._window(name):
                hopes.append((found[-1].nbytes + more, name))
        for hope, name in sorted(hopes, reverse=True)[:LOOKED]:
            if hope > max(x.nbytes for x in found):
                wide = self.nodes[name].output.type.frame[1]
                pixels = sorted({0, wide // 2, wide - 1})
                found += [self._best(self._problem(name, p).lowest(name), name, p) for p in pixels]
        return max(found, key=lambda x: x.nbytes)

    def _best(self, lowest: Array, name: str, pixels: int | None = None) -> Least:
        rows = int(lowest.argmax())
        nbytes = ceil(lowest[rows] - TINY)
        return Least(nbytes, self.entry, self.nodes.get(name), rows, pixels)

    def _window(self, name: str) -> int:
        """Bytes that a layer's operands have more just before a pixel than between rows, at most;
        0 where it is not looked at there."""
        node = self.nodes.get(name)
        if node is None or node.op.scalar is not None or name in self.free or self.lead[name]:
            return 0
        mine = [e for e in self.edges if e.reader == name and self.counted.get(e.value) is e]
        return sum(e.flow.row * int(np.diff(e.flow.need, prepend=0).max()) for e in mine)

    def _problem(self, looked: str = "", pixel: int = 0) -> _Problem:
        """Tables of bytes over the states of two variables, infinite where these do not fit.  A
        state is how many steps are done; those of `looked` are about to make `pixel` of a row."""
        states = self._states(looked, pixel)
        made = {n: np.maximum(s - self.lead[n], 0) for n, s in states.items()}
        problem = _Problem({n: len(s) for n, s in states.items()})
        for edge in self.edges:
            there, done, flow = made[edge.value], states[edge.reader], edge.flow
            if flow.sums:
                done = np.minimum(done, flow.steps)
            within = edge.reader == looked
            needed = flow.needed_at(pixel) if within else flow.needed(done)
            table = np.where(there[:, None] >= needed - TINY, 0, np.inf)
            if self.counted.get(edge.value) is edge:
                table += flow.alive_at(there, pixel) if within else flow.alive(there, done)
            problem.add(edge.value, edge.reader, table)
        for value in dict.fromkeys(self.graph.outputs):
            if value.name in states and value.name not in self.free:
                row = value.type.nbytes / self.rows[value.name]
                problem.alone[value.name] = made[value.name] * row
        return problem

    def _states(self, looked: str, pixel: int) -> dict[str, Array]:
        """Whole steps, and after each of them the shares of the next one that corners have."""
        shares, own = set[float](), 0.0
        if looked:
            own = pixel / self.nodes[looked].output.type.frame[1]
            pixels = [e.flow.pixels for e in self.edges if e.reader == looked]
            shares = {own, *(axis.ahead(pixel + 1) / axis.extent for axis in pixels)} - {0, 1}
        states: dict[str, Array] = {}
        for name, rows in self.rows.items():
            steps = np.arange(rows + self.lead[name])
            parts = steps[:, None] + np.array((0, *sorted(shares)))
            states[name] = np.append(parts, len(steps))
        for value in self.graph.inputs:
            if value.name not in self.pull:
                states[value.name] = states[value.name][-1:]
        if looked:
            states[looked] = np.arange(self.rows[looked]) + own
        return states


class _Problem:
    """A sum of tables of one and two variables, and its least for each state of one of them."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.alone = {name: np.zeros(size) for name, size in sizes.items()}
        self.pairs: dict[str, dict[str, Array]] = {name: {} for name in sizes}

    def add(self, a: str, b: str, table: Array) -> None:
        before = self.pairs[a].get(b)
        table = table if before is None else before + table
        self.pairs[a][b], self.pairs[b][a] = table, table.T

    def take(self, a: str, b: str) -> Array:
        del self.pairs[b][a]
        return self.pairs[a].pop(b)

    def copy(self) -> _Problem:
        new = _Problem({})
        new.alone = dict(self.alone)
        new.pairs = {name: dict(near) for name, near in self.pairs.items()}
        return new

    def lowest(self, name: str) -> Array:
        """(states of `name`,) least of the sum over all states of the others, or less."""
        left, rest = self.copy(), set(self.pairs) - {name}
        while rest:
            x = min(rest, key=lambda n: (len(left.pairs[n]), n))
            rest.remove(x)
            near = sorted(left.pairs[x])
            tables = [left.take(x, n) for n in near][:2]
            if not tables:
                continue
            first = tables[0] + left.alone[x][:, None]
            if len(tables) == 1:
                left.alone[near[0]] = left.alone[near[0]] + first.min(axis=0)
            else:
                left.add(near[0], near[1], _product(first, tables[1]))
        return left.alone[name]


def _product(a: Array, b: Array) -> Array:
    """(j, k) least over i of a[i, j] + b[i, k]."""
    least = np.full((a.shape[1], b.shape[1]), np.inf)
    for x, y in zip(a, b, strict=True):
        np.minimum(least, x[:, None] + y[None], out=least)
    return least

"""Backward: which indices of each axis of each value something that is left depends on.

One idea: a set of indices for each (value, axis), grown until nothing more follows.  Three
rules make it grow: what a node needs of its operands for what is needed of its result (its
region rules, and for weighted sums the weights that are not zero); axes that map one to one
keep the same indices on both sides; inputs and outputs stay whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Param
from lilliput.ir.op import Contraction, Indices
from lilliput.ir.range import Range
from lilliput.ir.region import Pointwise, Shift
from lilliput.ir.types import Array
from lilliput.ops.numeric import INT32_MAX

Axis = tuple[str, int]
"""(name of a value, number of an axis)."""


@dataclass(frozen=True, eq=False)
class Tie:
    """Index `here[k]` of `axis` stays exactly where index `there[k]` of every part stays."""

    axis: Axis
    here: Array
    parts: tuple[tuple[Axis, Array], ...]

    @property
    def axes(self) -> set[Axis]:
        return {self.axis, *(axis for axis, _ in self.parts)}


@dataclass(frozen=True, eq=False)
class Reads:
    """What a weighted sum reads along the axis that it sums over.

    used : (input indices, output channels), whether the product counts: its weights are not
        zero, and its operand is not a constant that the bias can take
    constant : (input indices) what a constant operand is above its zero point, else 0
    """

    x: Axis
    y: Axis
    contraction: Contraction
    used: Array
    constant: Array


class Demand:
    """`needed` by (value, axis): an array of bools; `reads` by the name of a node's result."""

    def __init__(self, graph: Graph, params: Mapping[str, Param], known: Mapping[str, Range]):
        self.params = params
        self.known = known
        self.needed: dict[Axis, Array] = {
            (v.name, k): np.zeros(d, np.bool_)
            for v in graph.values()
            for k, d in enumerate(v.type.shape)
        }
        self.reads: dict[str, Reads] = {}
        self._ties: list[Tie] = []
        for value in (*graph.inputs, *graph.outputs):
            self._all(value)
        for node in graph.nodes:
            self._node(node)
        self._grow()
        self._least(graph)

    def kept(self, value: Value) -> Indices:
        """What is left of a value, axis by axis."""
        return tuple(
            np.flatnonzero(self.needed[value.name, k]) for k in range(len(value.type.shape))
        )

    # Rules ----------------------------------------------------------------------------

    def _all(self, value: Value) -> None:
        for k in range(len(value.type.shape)):
            self.needed[value.name, k][:] = True

    def _node(self, node: Node) -> None:
        elementwise = node.op.scalar is not None
        fixed = node.op.regions is None or not (elementwise or node.op.narrow(node))
        if fixed or len(node.outputs) > 1:
            for value in (*node.inputs, *node.outputs):
                self._all(value)
            return
        ties = list(_view_ties(node) if node.op.view else self._region_ties(node))
        reads = self._sum_reads(node)
        if reads is not None:
            self.reads[node.output.name] = reads
        self._ties += ties
        self._pin_untied(node, ties, reads)

    def _region_ties(self, node: Node) -> Iterator[Tie]:
        assert node.op.regions is not None
        y, c = node.output, node.op.contraction(node)
        if c is not None:
            x, w = node.inputs[:2]
            every = np.arange(x.type.shape[c.data])
            yield Tie((x.name, c.data), every, (((w.name, c.weights), every),))
        for i, (value, rules) in enumerate(zip(node.inputs, node.op.regions(node), strict=True)):
            for k, rule in enumerate(rules):
                if c is not None and (i, k) in ((0, c.data), (1, c.weights)):
                    continue
                if isinstance(rule, Pointwise | Shift):
                    tie = _axis_tie((value, k), (y, rule.axis), rule)
                    if tie is not None:
                        yield tie

    def _pin_untied(self, node: Node, ties: list[Tie], reads: Reads | None) -> None:
        """Whole axes, and indices of the result that no operand has, stay."""
        y = node.output
        for k, extent in enumerate(y.type.shape):
            covered = np.zeros(extent, np.bool_)
            for tie in ties:
                for axis, places in ((tie.axis, tie.here), *tie.parts):
                    if axis == (y.name, k):
                        covered[places] = True
            self.needed[y.name, k] |= ~covered
        told = {axis for tie in ties for axis in tie.axes} | ({reads.x} if reads else set[Axis]())
        for value in node.inputs:
            for k in range(len(value.type.shape)):
                if (value.name, k) not in told:
                    self.needed[value.name, k][:] = True

    # Weighted sums --------------------------------------------------------------------

    def _sum_reads(self, node: Node) -> Reads | None:
        c = node.op.contraction(node)
        if c is None:
            return None
        x, w = node.inputs[:2]
        axes = (x.name, c.data), (node.output.name, len(node.output.type.shape) - 1)
        extent, channels = x.type.shape[c.data], w.type.shape[0]
        constant = np.zeros(extent, np.int64)
        data = self.params[w.name].data if w.name in self.params else None
        if data is None or not w.type.dtype.is_integer or x.name not in self.known:
            return Reads(*axes, c, np.ones((extent, channels), np.bool_), constant)
        low, high = self.known[x.name].along(c.data, extent)
        above = np.where(low == high, low - x.type.zero_point, 0)
        if c.everywhere and self._room(node, tap_sums(data, w.type.zero_point, c), above):
            constant = above
        absorbed = (low == high) & ((above == 0) | (constant != 0))
        used = tap_sums(data != w.type.zero_point, 0, c) > 0
        return Reads(*axes, c, used & ~absorbed[:, None], constant)

    def _room(self, node: Node, sums: Array, above: Array) -> bool:
        """Whether constants, each so much above its zero point, can all go into the bias without
        leaving int32."""
        most = np.abs(sums * above[:, None]).sum(0)
        for bias in node.inputs[2:3]:
            if bias.name not in self.params or self.params[bias.name].data is None:
                return False
            data = self.params[bias.name].data
            assert data is not None
            most = most + np.abs(data.astype(np.int64))
        return bool((most <= INT32_MAX).all())

    # Growing --------------------------------------------------------------------------

    def _grow(self) -> None:
        changed = True
        while changed:
            changed = False
            for reads in reversed(self.reads.values()):
                more = reads.used @ self.needed[reads.y]
                changed |= self._add(reads.x, np.arange(more.size), more)
            for tie in reversed(self._ties):
                here = self.needed[tie.axis][tie.here]
                both = np.ones(here.size, np.bool_)
                for axis, there in tie.parts:
                    both &= self.needed[axis][there]
                    changed |= self._add(axis, there, here)
                changed |= self._add(tie.axis, tie.here, both)

    def _add(self, axis: Axis, places: Array, more: Array) -> bool:
        now = self.needed[axis]
        new = places[more & ~now[places]]
        now[new] = True
        return bool(new.size)

    def _least(self, graph: Graph) -> None:
        """No axis is left without an index, and one with scales of its own has two: one scale
        would be taken for that of the whole tensor."""
        for value in graph.values():
            quant = value.type.quant
            for k, extent in enumerate(value.type.shape):
                now = self.needed[value.name, k]
                least = 2 if quant is not None and quant.axis == k else 1
                missing = min(least, extent) - int(now.sum())
                if missing > 0:
                    now[np.flatnonzero(~now)[:missing]] = True
                    self._grow()


def tap_sums(w: Array, zero: int, c: Contraction) -> Array:
    """Weights less their zero point, summed over taps: (input indices, output channels)."""
    rest = tuple(k for k in range(1, w.ndim) if k != c.weights)
    return (w.astype(np.int64) - zero).sum(rest).T


def _axis_tie(a: tuple[Value, int], b: tuple[Value, int], rule: Pointwise | Shift) -> Tie | None:
    """Of an axis of an operand and the axis of the result that its rule names; None where their
    extents say that they are not one to one."""
    (x, i), (y, j) = a, b
    extent, out = x.type.shape[i], y.type.shape[j]
    if isinstance(rule, Pointwise) and extent != out:
        return None
    by = rule.by if isinstance(rule, Shift) else 0
    here = np.arange(max(0, -by), min(extent, out - by))
    return Tie((x.name, i), here, (((y.name, j), here + by),))


def _view_ties(node: Node) -> Iterator[Tie]:
    """Axes of a view: one of either side that consists of some of the other side, its digits."""
    x, y = node.inputs[0], node.output
    for mine, others in _blocks(x.type.shape, y.type.shape):
        sides = [(x, mine), (y, others)] if len(mine) == 1 else [(y, others), (x, mine)]
        (whole, axes), (parted, digits) = sides
        if len(axes) > 1:
            continue
        extents = [parted.type.shape[k] for k in digits]
        here = np.arange(whole.type.shape[axes[0]])
        places = np.unravel_index(here, extents)
        parts = tuple(((parted.name, k), p) for k, p in zip(digits, places, strict=True))
        yield Tie((whole.name, axes[0]), here, parts)


def _blocks(a: tuple[int, ...], b: tuple[int, ...]) -> Iterator[tuple[list[int], list[int]]]:
    """Runs of axes of both shapes with the same number of elements, as short as they can be;
    axes of extent 1 left out."""
    left, right = ([k for k, d in enumerate(s) if d > 1] for s in (a, b))
    while left and right:
        mine, others = [left.pop()], [right.pop()]
        sizes = a[mine[0]], b[others[0]]
        while sizes[0] != sizes[1]:
            if sizes[0] < sizes[1]:
                mine.insert(0, left.pop())
                sizes = sizes[0] * a[mine[0]], sizes[1]
            else:
                others.insert(0, right.pop())
                sizes = sizes[0], sizes[1] * b[others[0]]
        yield mine, others

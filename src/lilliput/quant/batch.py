"""Many samples at once: the interpreter's meaning, vectorised.

One idea: networks are of batch 1, and N samples of a value are one array, joined along its first
axis.  A node whose operands and results all have a first axis of 1 that is treated index by
index (its region rules say so) is calculated once, as a node of batch N; any other sample by
sample.  Integers are those of `Op.ref` bit for bit.  Float products are summed by the BLAS, in
its own order: near the defined float meaning, and fast.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lilliput.errors import UnsupportedError
from lilliput.ir.batch import widened
from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Module
from lilliput.ir.region import Pointwise
from lilliput.ir.types import Array
from lilliput.ops.accumulate import Conv2d, Linear, centred, requantize
from lilliput.ops.conv import windows
from lilliput.ops.shape import Reshape

ELEMENTS = 1 << 20
"""Of the largest value of a network, over the samples that are calculated at once: in a cache."""
BAND = 1 << 16
"""Sums of a depthwise layer that all taps are added to before others are."""
MOST = 256
SEQUENCES = frozenset({"gru", "lstm"})
"""Operators over time: samples are rows of the first operand, and constant states serve all."""
SPREAD = 1 << 22
"""The same, of samples that are looked at together."""


@dataclass(frozen=True, eq=False)
class Step:
    """A node as it was calculated for `count` samples: operands and results, joined."""

    node: Node
    operands: tuple[Array, ...]
    results: tuple[Array, ...]
    count: int


class Batch:
    """Calculates nodes for `count` samples."""

    def __init__(self, count: int):
        self.count = count
        self._wide: dict[str, Node | None] = {}

    def apply(
        self, node: Node, operands: Sequence[Array], varies: Sequence[bool]
    ) -> tuple[Array, ...]:
        """The results of `node`; `varies` says which operands are joined samples."""
        wide = self.widened(node, varies)
        with np.errstate(all="ignore"):
            if node.op.name in SEQUENCES and not any(varies[1:]):
                return tuple(node.op.ref(node, operands))
            if wide is not None:
                return _shaped(wide, _meaning(wide, operands))
            return self._one_by_one(node, operands, varies)

    def widened(self, node: Node, varies: Sequence[bool]) -> Node | None:
        """`node` of batch `count`, or None where its samples cannot be told apart."""
        name = node.outputs[0].name
        if name not in self._wide:
            self._wide[name] = _widened(node, varies, self.count)
        return self._wide[name]

    def _one_by_one(
        self, node: Node, operands: Sequence[Array], varies: Sequence[bool]
    ) -> tuple[Array, ...]:
        made: list[tuple[Array, ...]] = []
        for k in range(self.count):
            part = [
                a.reshape(self.count, *v.type.shape)[k] if varying else a
                for a, v, varying in zip(operands, node.inputs, varies, strict=True)
            ]
            made.append(_shaped(node, node.op.ref(node, part)))
        return tuple(
            np.concatenate([np.atleast_1d(r) for r in rs]) for rs in zip(*made, strict=True)
        )


def walk(graph: Graph, module: Module, inputs: Mapping[str, Array], count: int) -> Iterator[Step]:
    """Every node of `graph` in order, for `count` samples; values are let go once nobody reads
    them.  inputs : name -> array (count * d0, ...) of an input (d0, ...)."""
    batch = Batch(count)
    given = {p.name: module.params[p.name].data for p in graph.params}
    live: dict[str, Array] = dict(inputs)
    left = {name: len(nodes) for name, nodes in graph.consumers().items()}
    for node in graph.nodes:
        varies = [v.name in live for v in node.inputs]
        operands: list[Array] = []
        for v in node.inputs:
            data = live[v.name] if v.name in live else given[v.name]
            assert data is not None
            operands.append(data)
        if any(varies):
            results = batch.apply(node, operands, varies)
        else:
            alone = _shaped(node, node.op.ref(node, operands))
            results = tuple(np.concatenate([np.atleast_1d(r)] * count) for r in alone)
        live.update((v.name, r) for v, r in zip(node.outputs, results, strict=True))
        yield Step(node, tuple(operands), results, count)
        for name in {v.name for v in node.inputs}:
            left[name] -= 1
            if not left[name]:
                live.pop(name, None)


def chunks(
    graph: Graph, inputs: Mapping[str, Array], most: int = MOST, elements: int = ELEMENTS
) -> Iterator[tuple[int, dict[str, Array]]]:
    """(count, their part of `inputs`) of samples that are calculated at once, in order: `most`,
    and `elements` of the largest value."""
    first = graph.inputs[0]
    total = len(inputs[first.name]) // leading(first)
    largest = max(v.type.size for v in graph.values() if v not in graph.params)
    step = max(1, min(most, elements // max(largest, 1)))
    for start in range(0, total, step):
        count = min(step, total - start)
        part = {
            v.name: inputs[v.name][start * leading(v) : (start + count) * leading(v)]
            for v in graph.inputs
        }
        yield count, part


def evenly(
    graph: Graph, inputs: Mapping[str, Array], most: int = MOST, elements: int = SPREAD
) -> tuple[int, dict[str, Array]]:
    """(count, their part of `inputs`) of at most `most` samples, fewer where `elements` says so,
    spread evenly over all: data come sorted by class or by time, and the first of them are then
    all alike."""
    first = graph.inputs[0]
    total = len(inputs[first.name]) // leading(first)
    count = min(total, next(chunks(graph, inputs, most, elements))[0])
    at = np.linspace(0, total - 1, count).round().astype(np.int64)
    part: dict[str, Array] = {}
    for v in graph.inputs:
        data = inputs[v.name]
        rows = data.reshape(total, leading(v), *data.shape[1:])[at]
        part[v.name] = rows.reshape(count * leading(v), *data.shape[1:])
    return count, part


def leading(value: Value) -> int:
    """Indices of a joined array's first axis that one sample takes."""
    return value.type.shape[0] if value.type.shape else 1


def outputs(module: Module, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The results of all samples, joined; the module has one graph."""
    graph = module.graphs[module.entry]
    wanted = {v.name for v in graph.outputs}
    made: dict[str, list[Array]] = {v.name: [] for v in graph.outputs}
    for count, part in chunks(graph, inputs):
        for step in walk(graph, module, part, count):
            for v, r in zip(step.node.outputs, step.results, strict=True):
                if v.name in wanted:
                    made[v.name].append(r)
    return {name: np.concatenate(parts) for name, parts in made.items()}


# Nodes of batch N -------------------------------------------------------------------------


def _widened(node: Node, varies: Sequence[bool], count: int) -> Node | None:
    ends = (*(v for v, varying in zip(node.inputs, varies, strict=True) if varying), *node.outputs)
    if any(v.type.shape[:1] != (1,) for v in ends) or not _by_index(node, varies):
        return None
    inputs = tuple(
        replace(v, type=v.type.with_shape(count, *v.type.shape[1:])) if varying else v
        for v, varying in zip(node.inputs, varies, strict=True)
    )
    try:
        return widened(node, inputs, count)
    except UnsupportedError:
        return None


def _by_index(node: Node, varies: Sequence[bool]) -> bool:
    """Whether sample k of the results depends on sample k of the operands alone."""
    if isinstance(node.attrs, Reshape):
        return True
    if node.op.regions is None:
        return False
    rules = zip(node.op.regions(node), varies, strict=True)
    return all(rule[:1] == (Pointwise(0),) for rule, varying in rules if varying)


def _shaped(node: Node, results: Sequence[Array]) -> tuple[Array, ...]:
    return tuple(
        r.astype(v.type.dtype.numpy, copy=False).reshape(v.type.shape)
        for v, r in zip(node.outputs, results, strict=True)
    )


# Products ---------------------------------------------------------------------------------


def _meaning(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    if not isinstance(node.attrs, Conv2d | Linear):
        return node.op.ref(node, operands)
    x, w = (centred(a, v.type) for a, v in zip(operands[:2], node.inputs[:2], strict=True))
    acc = sums(node, x, w)
    integer = node.inputs[0].type.dtype.is_integer
    total = acc.astype(np.int64) if integer else acc
    for extra in operands[2:]:
        total = total + extra.astype(total.dtype)
    return (requantize(node, total),)


def sums(node: Node, x: Array, w: Array) -> Array:
    """Sums of products of `node` without bias, in float32 or float64: exact for integers."""
    dtype = _accurate(w, x)
    x, w = x.astype(dtype), w.astype(dtype)
    if not isinstance(node.attrs, Conv2d):
        return x @ w.T
    a, shape = node.attrs, node.output.type.shape
    padded = np.pad(x, ((0, 0), a.pad[:2], a.pad[2:], (0, 0)))
    taps = windows(padded, w.shape[1:3], a.stride, a.dilation, shape[1:3])
    acc = np.zeros((len(x), *shape[1:]), dtype)
    group_in, group_out = w.shape[3], w.shape[0] // a.groups
    if group_in == group_out == 1:
        _add_depthwise(acc, taps, w)
        return acc
    for (i, j), window in taps:
        if group_in == 1:
            acc += np.repeat(window, group_out, axis=-1) * w[:, i, j, 0]
        elif a.groups == 1:
            acc += np.ascontiguousarray(window) @ w[:, i, j].T
        else:
            parts = window.reshape(*window.shape[:3], a.groups, 1, group_in)
            grouped = w[:, i, j].reshape(a.groups, group_out, group_in)
            acc += (parts @ np.swapaxes(grouped, 1, 2)).reshape(acc.shape)
    return acc


def _add_depthwise(acc: Array, taps: Sequence[tuple[tuple[int, int], Array]], w: Array) -> None:
    """Weights are repeated along a row, which is then one loop of NumPy's, and all taps are added
    to some rows before others: a band of `acc` stays in a cache."""
    rows = max(1, BAND // acc[0, 0].size)
    spread = [np.tile(w[:, i, j, 0], (acc.shape[2], 1)) for (i, j), _ in taps]
    for k in range(len(acc)):
        for first in range(0, acc.shape[1], rows):
            band = acc[k, first : first + rows]
            product = np.empty_like(band)
            for (_, window), weights in zip(taps, spread, strict=True):
                np.multiply(window[k, first : first + rows], weights, out=product)
                band += product


def _accurate(w: Array, x: Array) -> type[np.float32] | type[np.float64]:
    """float64, unless these are float32, or integers whose sums float32 holds exactly."""
    if x.dtype == np.float32:
        return np.float32
    if not np.issubdtype(x.dtype, np.integer) or not w.size or not x.size:
        return np.float64
    reach = int(np.abs(x).max()) * int(np.abs(w).reshape(len(w), -1).sum(1).max())
    return np.float32 if reach < 1 << 24 else np.float64

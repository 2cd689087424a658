"""The channels that a part of a layer trains: the largest, moved to the front once at compile time.

MCUNetV3 chooses channels by the L2 norm of their weights (Lin et al. 2022; its released code then
trains the first ones, whatever they are).  A slice is cheap where it is contiguous, so the network
is written with its channels in another order: output channels of what makes them, every operator
between, input channels of all that reads them.  Integer sums do not depend on their order, so that
an integer network computes the same, bit for bit; sums of floats are made in the new order.

One idea: two axes of two tensors are the same channels if an operator maps index i of one to
index i of the other.  Classes of such axes are permuted as one, or, where an axis means something
by itself (inputs, outputs, what is joined, flattened or slid over), not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from lilliput.ir import Array, Graph, Module, Node, Param, TensorType, Value
from lilliput.ops.accumulate import Conv2d
from lilliput.ops.frame import Pad
from lilliput.ops.pick import StridedSlice
from lilliput.ops.pool import Pool
from lilliput.ops.reduce import Reduction
from lilliput.ops.shape import Concat, Reshape, Slice, Transpose
from lilliput.train.layers import Layer, layers

ALL, MAGNITUDE, JOINT, FIRST = "all", "magnitude", "joint", "first"
"""Which channels a layer trains: all; its own largest; those that are largest for several layers
of the same channels together; the first, because the order of its channels is fixed."""

Axis = tuple[str, int]
"""An axis of a value, by its name."""


@dataclass(frozen=True, eq=False)
class Arranged:
    """module : the same network; how : layer -> `MAGNITUDE`, `JOINT` or `FIRST`
    order : layer -> the former index of each of its channels."""

    module: Module
    how: Mapping[int, str]
    order: Mapping[int, Array]


def arranged(module: Module, parts: Mapping[int, int]) -> Arranged:
    """`module` with the largest channels of some layers at the front.

    parts : layer -> how many of its channels (`Layer.channels`) are trained
    """
    found = {layer.index: layer for layer in layers(module)}
    classes = _Classes(module.graphs[module.entry])
    sharing: dict[Axis, list[int]] = {}
    order = {index: np.arange(found[index].channels) for index in parts}
    how = dict.fromkeys(parts, FIRST)
    for index in parts:
        layer = found[index]
        root = classes.root((layer.weight.name, layer.axis))
        if root not in classes.fixed and module.params[layer.weight.name].data is not None:
            sharing.setdefault(root, []).append(index)
    orders: dict[Axis, Array] = {}
    for root, together in sharing.items():
        sizes = {i: magnitudes(module, found[i]) for i in together}
        shares = [s / max(float(s.sum()), 1e-30) for s in sizes.values()]
        orders[root] = _largest_first(np.sum(shares, axis=0))
        for index, size in sizes.items():
            own, k = _largest_first(size), parts[index]
            order[index] = orders[root]
            how[index] = MAGNITUDE if {*own[:k]} == {*orders[root][:k]} else JOINT
    return Arranged(_permuted(module, classes, orders), how, order)


def magnitudes(module: Module, layer: Layer) -> Array:
    """(channels) float64: squared L2 norm of the real weights of each channel."""
    param = module.params[layer.weight.name]
    assert param.data is not None
    real = param.data.astype(np.float64)
    if param.value.type.quant is not None:
        scale = np.array(param.value.type.quant.scale, np.float64)
        real *= scale.reshape(-1, *(1,) * (real.ndim - 1))
    others = tuple(k for k in range(real.ndim) if k != layer.axis)
    return np.sum(real * real, axis=others)


def _largest_first(size: Array) -> Array:
    """Of equal ones the first stays first."""
    return np.argsort(-size, kind="stable")


# Permuting --------------------------------------------------------------------------------


def _permuted(module: Module, classes: _Classes, orders: Mapping[Axis, Array]) -> Module:
    """Every parameter of which an axis is in a permuted class, in the new order."""
    params = dict(module.params)
    for value in module.graphs[module.entry].params:
        for axis in range(len(value.type.shape)):
            order = orders.get(classes.root((value.name, axis)))
            if order is not None and value.type.shape[axis] > 1:
                params[value.name] = _taken(params[value.name], order, axis)
    new = {name: p.value for name, p in params.items()}
    graph = module.graphs[module.entry]
    nodes = tuple(
        replace(n, inputs=tuple(new.get(v.name, v) for v in n.inputs)) for n in graph.nodes
    )
    moved = replace(graph, params=tuple(new[v.name] for v in graph.params), nodes=nodes)
    return replace(module, graphs={**module.graphs, module.entry: moved}, params=params)


def _taken(param: Param, order: Array, axis: int) -> Param:
    type, data = param.value.type, param.data
    quant = type.quant
    if quant is not None and quant.axis == axis:
        places: list[int] = order.tolist()
        scale = tuple(quant.scale[i] for i in places)
        quant = replace(quant, scale=scale, zero_point=tuple(quant.zero_point[i] for i in places))
    value = replace(param.value, type=TensorType(type.shape, type.dtype, quant))
    return Param(value, None if data is None else np.ascontiguousarray(np.take(data, order, axis)))


# Classes of axes --------------------------------------------------------------------------


class _Classes:
    """fixed : the classes whose order is given from outside, by their roots."""

    def __init__(self, graph: Graph):
        self._above: dict[Axis, Axis] = {}
        fixed = [*_axes((*graph.inputs, *graph.outputs))]
        constant = {v.name for v in graph.params}
        for node in graph.nodes:
            tied = [pair for pair in _ties(node) if all(map(_known, pair))]
            for one, other in tied:
                self._join(_named(one), _named(other))
            met = {_named(a) for pair in tied for a in pair}
            fixed += [a for a in _axes((*node.inputs, *node.outputs)) if a not in met]
            fixed += [a for v in node.outputs for a in _own_scales(v)]
            fixed += [a for v in node.inputs if v.name not in constant for a in _own_scales(v)]
        self.fixed = {self.root(axis) for axis in fixed}

    def root(self, axis: Axis) -> Axis:
        while axis in self._above:
            axis = self._above[axis]
        return axis

    def _join(self, one: Axis, other: Axis) -> None:
        one, other = self.root(one), self.root(other)
        if one != other:
            self._above[one] = other


def _axes(values: Iterable[Value]) -> Iterator[Axis]:
    """Those that have an order."""
    return ((v.name, k) for v in values for k, n in enumerate(v.type.shape) if n > 1)


def _own_scales(v: Value) -> list[Axis]:
    """The axis along which an activation has several scales: its type names their order."""
    return (
        [] if v.type.quant is None or v.type.quant.axis is None else [(v.name, v.type.quant.axis)]
    )


Place = tuple[Value, int]
Tie = tuple[Place, Place]


def _known(place: Place) -> bool:
    v, axis = place
    return v.type.shape[axis] > 1


def _named(place: Place) -> Axis:
    v, axis = place
    return v.name, axis % len(v.type.shape)


def _ties(node: Node) -> list[Tie]:
    """Axes of a node that are the same channels; any other keeps its order."""
    if not node.inputs:
        return []
    x, y, a = node.inputs[0], node.output, node.attrs
    rank = len(x.type.shape)
    if node.op.name in ("conv2d", "linear", "transpose_conv"):
        return _product(node)
    if node.op.scalar is not None:
        return [t for v in node.inputs for t in _broadcast(v, y)]
    if isinstance(a, Pool) or node.op.name.startswith("resize_"):
        return [((x, 3), (y, 3))]
    if isinstance(a, Reduction):
        kept = [k for k in range(rank) if k not in a.axes]
        return [((x, k), (y, k if a.keepdims else i)) for i, k in enumerate(kept)]
    if isinstance(a, Pad):
        return [((x, k), (y, k)) for k in range(rank) if not (a.before[k] or a.after[k])]
    if isinstance(a, Slice | StridedSlice):
        ahead = a.stride if isinstance(a, StridedSlice) else (1,) * rank
        whole = (k for k in range(rank) if a.size[k] == x.type.shape[k] and ahead[k] == 1)
        return [((x, k), (y, k)) for k in whole]
    if isinstance(a, Concat):
        return [((v, k), (y, k)) for v in node.inputs for k in range(rank) if k != a.axis]
    if isinstance(a, Transpose):
        return [((x, k), (y, i)) for i, k in enumerate(a.perm)]
    if isinstance(a, Reshape):
        return _reshape(x, y)
    return []


def _product(node: Node) -> list[Tie]:
    x, w, *sums = node.inputs
    y, a = node.output, node.attrs
    out: list[Tie] = [((v, len(v.type.shape) - 1), (y, -1)) for v in sums]
    groups = a.groups if isinstance(a, Conv2d) else 1
    if groups == 1:
        return [((w, len(w.type.shape) - 1), (x, -1)), ((w, 0), (y, -1)), *out]
    one_each = groups == x.type.shape[-1] == w.type.shape[0]
    return [((w, 0), (x, -1)), ((w, 0), (y, -1)), *out] if one_each else []


def _broadcast(v: Value, y: Value) -> list[Tie]:
    """Of an operand whose last axes are those of the result."""
    ahead = len(y.type.shape) - len(v.type.shape)
    return [((v, k), (y, k + ahead)) for k, n in enumerate(v.type.shape) if n > 1]


def _reshape(x: Value, y: Value) -> list[Tie]:
    """Channels that stay last, or are all that there is."""
    old, new = x.type.shape, y.type.shape
    one, other = ([k for k, n in enumerate(s) if n > 1] for s in (old, new))
    if len(one) == len(other) == 1:
        return [((x, one[0]), (y, other[0]))]
    return [((x, len(old) - 1), (y, len(new) - 1))] if old[-1:] == new[-1:] else []

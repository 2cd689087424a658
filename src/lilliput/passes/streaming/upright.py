"""Upright: maps of one row whose columns are time become maps of one column.

One idea: (N,1,T,C) and (N,T,1,C) are the same bytes, and a window over columns is one over rows.
One-dimensional convolutions come from files lying; a ring turns only along rows, so a step would
move such windows instead.  What is turned computes the same numbers in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from lilliput.ir.build import fresh_name
from lilliput.ir.graph import Node, Value
from lilliput.ir.module import Module, Param
from lilliput.ir.op import Attrs, Op
from lilliput.ir.types import TensorType
from lilliput.ops.accumulate import Conv2d
from lilliput.ops.conv import conv2d
from lilliput.ops.pool import Pool, avg_pool2d, max_pool2d
from lilliput.ops.shape import Reshape, reshape
from lilliput.passes.canonicalize import Canonicalize
from lilliput.passes.streaming.follow import Tracks

Pad = tuple[int, int, int, int]


def _conv(a: Attrs) -> Attrs:
    assert isinstance(a, Conv2d)
    return replace(a, stride=a.stride[::-1], dilation=a.dilation[::-1], pad=_pad(a.pad))


def _pool(a: Attrs) -> Attrs:
    assert isinstance(a, Pool)
    return replace(a, kernel=a.kernel[::-1], stride=a.stride[::-1], pad=_pad(a.pad))


def _pad(pad: Pad) -> Pad:
    return (*pad[2:], *pad[:2])


TURNED: Mapping[Op, Callable[[Attrs], Attrs]] = {
    conv2d: _conv,
    avg_pool2d: _pool,
    max_pool2d: _pool,
}


def upright(module: Module, tracks: Tracks) -> Module:
    """`module`, of one entry and in canonical form, with its lying windows turned."""
    work = _Upright(module, tracks)
    graph = module.graphs[module.entry]
    for node in graph.nodes:
        work.node(node)
    if not work.turned:
        return module
    outputs = tuple(work.lying(v) for v in graph.outputs)
    params = tuple(p.value for p in work.params.values())
    turned = replace(graph, params=params, nodes=tuple(work.nodes), outputs=outputs)
    return Canonicalize()(replace(module, graphs={module.entry: turned}, params=work.params))


class _Upright:
    def __init__(self, module: Module, tracks: Tracks):
        graph = module.graphs[module.entry]
        self.tracks = tracks
        self.params = dict(module.params)
        self.names = {v.name for v in graph.values()}
        self.nodes: list[Node] = []
        self.turned: dict[str, Value] = {}  # values whose nodes were turned
        self.views: dict[str, Value] = {}  # the other way round of some value

    def node(self, node: Node) -> None:
        if not self._turns(node):
            inputs = [self.lying(v) for v in node.inputs]
            self.nodes.append(node.with_inputs(inputs))
            return
        inputs = [self._standing(v) for v in node.inputs]
        made = Value(node.output.name, _swapped(node.output.type))
        attrs = TURNED[node.op](node.attrs) if node.op in TURNED else node.attrs
        self.nodes.append(Node(node.op, tuple(inputs), (made,), attrs, node.origin))
        self.turned[made.name] = made

    def _turns(self, node: Node) -> bool:
        """Whether it is a window over the columns of one row, or element-wise behind one."""
        track = self.tracks.get(node.output.name)
        if track is None or track.axis != 2:
            return False
        maps = [v.type.shape for v in (*node.inputs, node.output) if len(v.type.shape) != 1]
        if any(len(shape) != 4 or shape[1] != 1 for shape in maps):
            return False
        if node.op.scalar is not None:
            return any(v.name in self.turned for v in node.inputs)
        constant = all(v.name in self.params for v in node.inputs[1:])
        return node.op in TURNED and constant

    def lying(self, value: Value) -> Value:
        """`value` as it was."""
        if value.name not in self.turned:
            return value
        return self._view(self.turned[value.name], value.type)

    def _standing(self, value: Value) -> Value:
        if value.name in self.turned or len(value.type.shape) == 1:
            return self.turned.get(value.name, value)
        if value.name not in self.params:
            return self._view(value, _swapped(value.type))
        type, data = _swapped(value.type), self.params[value.name].data
        if type == value.type:
            return value
        if value.name not in self.views:
            new = Value(fresh_name(self.names, f"{value.name}/upright"), type)
            held = None if data is None else np.ascontiguousarray(data.reshape(type.shape))
            self.params[new.name] = Param(new, held)
            self.views[value.name] = new
        return self.views[value.name]

    def _view(self, value: Value, type: TensorType) -> Value:
        if value.name not in self.views:
            new = Value(fresh_name(self.names, f"{value.name}/turned"), type)
            self.nodes.append(Node(reshape, (value,), (new,), Reshape(type.shape), value.name))
            self.views[value.name] = new
        return self.views[value.name]


def _swapped(type: TensorType) -> TensorType:
    """(N,1,T,C) or (O,1,T,I) with its middle axes the other way round: the same bytes."""
    n, one, time, c = type.shape
    return type.with_shape(n, time, one, c)

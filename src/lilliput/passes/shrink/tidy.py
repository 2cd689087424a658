"""Nodes that do nothing, or nothing that another node could not do on the way.

A rule takes a `Draft`, changes it, and says what it did.  Structure alone decides about
transposes and pads; for constants and identities the ranges of the values do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Param
from lilliput.ir.op import NoAttrs
from lilliput.ir.range import Range
from lilliput.ir.types import Array
from lilliput.ops.accumulate import Conv2d
from lilliput.ops.bounds import SMALL, evaluated
from lilliput.ops.frame import Pad
from lilliput.ops.shape import Reshape, Transpose, copy, reshape
from lilliput.passes.shrink.result import Rewrite, named

MAX_CONSTANT = 1 << 16
"""Bytes of a value that becomes a constant; a larger one is computed on."""

Rule = Callable[["Draft", Node], str]
"""Changes a draft, or not; what it did, in words, or ""."""


@dataclass
class Draft:
    """A graph that is being changed.

    known : the ranges of its values; fresh : stem -> a name that nobody has
    """

    entry: str
    graph: Graph
    params: dict[str, Param]
    known: Mapping[str, Range]
    fresh: Callable[[str], str]
    rewritten: list[Rewrite] = field(default_factory=list[Rewrite])

    def __post_init__(self) -> None:
        self.nodes = {n.output.name: n for n in self.graph.nodes}
        self.readers = self.graph.consumers()
        self.ends = {v.name for v in self.graph.outputs}
        self._home = {v.name: n.output.name for n in self.graph.nodes for v in n.outputs}
        self._same: dict[str, Value] = {}

    def now(self, name: str) -> Node:
        """The node that made `name`, with its operands as the rules before have left them."""
        node = self.nodes[name]
        return node.with_inputs([self._left(v) for v in node.inputs])

    def _left(self, value: Value) -> Value:
        while value.name in self._same:
            value = self._same[value.name]
        return value

    def maker(self, value: Value) -> Node | None:
        return self.now(self._home[value.name]) if value.name in self._home else None

    def is_constant(self, value: Value) -> bool:
        return value.name in self.params

    def put(self, node: Node) -> None:
        """`node` instead of the one that made its result."""
        self.nodes[self._home[node.output.name]] = node

    def drop(self, node: Node, stands: Value) -> None:
        """Without `node`: who reads its result reads `stands`, of the same type."""
        del self.nodes[self._home[node.output.name]]
        self._same[node.output.name] = stands

    def move(self, maker: Node, x: Value, node: Node) -> None:
        """Without `node`: `maker` gives its result instead of `x`, of the same type."""
        home, y = self._home[x.name], node.output
        del self.nodes[self._home[y.name]]
        self.nodes[home] = replace(maker, outputs=(y,))
        self._home[y.name] = home
        self._same[x.name] = y

    def result(self) -> Graph:
        """As it is now, with every parameter, whether it is read or not."""
        nodes = tuple(self.now(name) for name in self.nodes)
        return replace(self.graph, params=tuple(p.value for p in self.params.values()), nodes=nodes)


def apply(draft: Draft, rules: tuple[Rule, ...]) -> Graph:
    """The graph after one walk over its nodes; what was done is in `draft.rewritten`."""
    for name in [n.output.name for n in draft.graph.nodes]:
        for rule in rules:
            if name in draft.nodes:
                node = draft.now(name)
                done = rule(draft, node)
                if done:
                    draft.rewritten.append(Rewrite(draft.entry, *named(node), done))
    return draft.result()


# Structure --------------------------------------------------------------------------------


def cancel_transpose(draft: Draft, node: Node) -> str:
    """Two transposes are one, or none; one that moves only axes of extent 1 is a view."""
    if not isinstance(node.attrs, Transpose):
        return ""
    (x,), y, perm = node.inputs, node.output, node.attrs.perm
    before = draft.maker(x)
    if before is not None and isinstance(before.attrs, Transpose):
        (x,), perm = before.inputs, tuple(before.attrs.perm[k] for k in perm)
        if perm == tuple(range(len(perm))) and y.name not in draft.ends:
            draft.drop(node, x)
            return "undoes the transpose before it"
        if len(draft.readers[before.output.name]) == 1:
            draft.put(replace(node, inputs=(x,), attrs=Transpose(perm)))
            return "one transpose with the one before it"
        (x,), perm = node.inputs, node.attrs.perm
    moved = [k for k in perm if x.type.shape[k] > 1]
    if moved == sorted(moved):
        draft.put(Node(reshape, (x,), (y,), Reshape(y.type.shape), node.origin))
        return "moves only axes of extent 1: a view"
    return ""


def fold_pad(draft: Draft, node: Node) -> str:
    """A pad with what a convolution takes for zero is padding of the convolution."""
    pad = draft.maker(node.inputs[0]) if isinstance(node.attrs, Conv2d) else None
    if pad is None or not isinstance(pad.attrs, Pad) or not isinstance(node.attrs, Conv2d):
        return ""
    a, (x,) = pad.attrs, pad.inputs
    zero = 0.0 if x.type.dtype.is_float else x.type.zero_point
    outer = (*a.before[::3], *a.after[::3])
    same = pad.output.type.quant == x.type.quant and a.value == zero
    if not same or any(outer) or x.type.dtype.is_float:
        return ""
    added = (a.before[1], a.after[1], a.before[2], a.after[2])
    pads = tuple(p + q for p, q in zip(node.attrs.pad, added, strict=True))
    top, bottom, left, right = pads
    attrs = replace(node.attrs, pad=(top, bottom, left, right))
    draft.put(replace(node, inputs=(x, *node.inputs[1:]), attrs=attrs))
    return f"pads by itself, not by {pad.describe()}"


# Values -----------------------------------------------------------------------------------


def settle_constant(draft: Draft, node: Node) -> str:
    """A value that is always the same is a parameter."""
    y = node.output
    told = draft.known.get(y.name)
    if len(node.outputs) > 1 or told is None or y.type.nbytes > MAX_CONSTANT:
        return ""
    if all(draft.is_constant(v) for v in node.inputs) or not told.is_constant:
        return ""
    data = np.broadcast_to(told.low, y.type.shape).astype(y.type.dtype.numpy)
    value = Value(draft.fresh(f"{y.name}/constant"), y.type)
    draft.params[value.name] = Param(value, np.ascontiguousarray(data))
    if y.name in draft.ends:
        draft.put(Node(copy, (value,), (y,), NoAttrs(), node.origin))
    else:
        draft.drop(node, value)
    low, high = int(data.min()), int(data.max())
    return f"always the same: {low}" if low == high else f"always the same: {low} to {high}"


def drop_identity(draft: Draft, node: Node) -> str:
    """An element-wise node that gives what it gets, for all that it can get."""
    moving = [v for v in node.inputs if not draft.is_constant(v)]
    if node.op.scalar is None or len(moving) != 1 or moving[0].type != node.output.type:
        return ""
    (x,), y = moving, node.output
    told = draft.known.get(x.name)
    if told is None or not _gives_back(draft, node, x, told):
        return ""
    if y.name not in draft.ends:
        draft.drop(node, x)
    else:
        maker = draft.maker(x)
        if maker is None or x.name in draft.ends or len(maker.outputs) > 1:
            return ""
        draft.move(maker, x, node)
    return f"gives what it gets: between {int(told.low.min())} and {int(told.high.max())}"


def _gives_back(draft: Draft, node: Node, x: Value, told: Range) -> bool:
    """Whether f(v) = v for every v that x can hold, tried one after the other along axis 0."""
    if x.type.dtype not in SMALL or (len(node.inputs) > 1 and node.op.bounds is None):
        return False
    rank = len(x.type.shape)
    if rank == 0 or told.low.shape[0] > 1 or told.high.shape[0] > 1:
        return False
    values = np.arange(int(told.low.min()), int(told.high.max()) + 1).reshape(
        -1, *(1,) * (rank - 1)
    )
    operands: list[Array] = []
    for value in node.inputs:
        data = values if value is x else draft.params[value.name].data
        if data is None or (value is not x and data.ndim == rank and data.shape[0] > 1):
            return False
        operands.append(data)
    possible = (values >= told.low) & (values <= told.high)
    return bool(((evaluated(node, operands) == values) | ~possible).all())


STRUCTURE: tuple[Rule, ...] = (cancel_transpose, fold_pad)
VALUES: tuple[Rule, ...] = (settle_constant, drop_identity)

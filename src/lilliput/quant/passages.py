"""Where a factor for each channel can travel: in at one product, out at those that read it.

Channel i of a product's result may be divided by any s[i] > 0 if whatever reads it multiplies by
s[i] again.  What lies between must be homogeneous: f(x / s) = f(x) / s, channel by channel, which
rectifiers, pools, means and gates are.  An activation that is not, a clamp at 6 or a hard-swish,
may stand right behind the product: it has another form that takes the factor (`bounded`, `gated`).

One idea: a walk from the product's result along all of its readers, which ends at products whose
weights have an index for each channel; a single way out without one, and there is no passage.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Module, Param
from lilliput.ops.elementwise import Clamp
from lilliput.ops.frame import Pad
from lilliput.ops.reduce import Reduction
from lilliput.ops.shape import Reshape
from lilliput.quant.prepare import is_product

SAME = frozenset({"abs", "avg_pool2d", "leaky_relu", "max_pool2d", "prelu"})
"""Homogeneous for positive factors whatever their attributes, and with the channels last."""


@dataclass(frozen=True, eq=False)
class Passage:
    """first : the product whose channels are divided; activation : what must take another form,
    if any; ranged : the value whose channel ranges matter; scaled : the values that are divided,
    before the readers; readers : the products that multiply back."""

    first: Node
    activation: Node | None
    ranged: str
    scaled: tuple[str, ...]
    readers: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Passages:
    """found : in the order of the network; blocked : results of activations that have no form
    which takes a factor."""

    found: tuple[Passage, ...]
    blocked: tuple[str, ...]


def passages(module: Module) -> Passages:
    """Every passage of a prepared network."""
    walker = _Walker(module)
    found, blocked = list[Passage](), list[str]()
    for node in walker.graph.nodes:
        if not is_product(node, module.params) or node.op.name == "transpose_conv":
            continue
        behind = walker.users[node.output.name]
        if len(behind) == 1 and _stands_between(behind[0]):
            blocked.append(behind[0].output.name)
            continue
        passage = walker.passage(node)
        if passage is not None:
            found.append(passage)
    return Passages(tuple(found), tuple(blocked))


def has_form(node: Node) -> bool:
    """Whether an activation that is not homogeneous can be said in operators that are."""
    a = node.attrs
    bounds = isinstance(a, Clamp) and a.low == 0.0 and 0.0 < a.high < math.inf
    return bounds or (node.op.name == "hard_swish" and len(node.output.type.shape) in (2, 4))


def is_depthwise(reader: Node) -> bool:
    """Whether each of its weights reads the channel that it makes."""
    return reader.inputs[1].type.shape[-1] == 1 and reader.op.name == "conv2d"


def _stands_between(node: Node) -> bool:
    plain = isinstance(node.attrs, Clamp) and (node.attrs.low, node.attrs.high) == (0.0, math.inf)
    return isinstance(node.attrs, Clamp) and not plain and not has_form(node)


class _Walker:
    def __init__(self, module: Module):
        self.graph: Graph = module.graphs[module.entry]
        self.params: Mapping[str, Param] = module.params
        self.users = self.graph.consumers()
        self.kept = {v.name for v in self.graph.outputs}

    def passage(self, first: Node) -> Passage | None:
        start, activation = first.output, None
        behind = self.users[start.name]
        if start.name not in self.kept and len(behind) == 1 and has_form(behind[0]):
            activation, start = behind[0], behind[0].output
        axes, readers = dict[str, int](), list[Node]()
        if not self._walk(start, len(start.type.shape) - 1, axes, readers) or not readers:
            return None
        if not self._once(first, axes, readers):
            return None
        # of a hard-swish what enters is stored, too, and is never the smaller one
        swish = activation is not None and activation.op.name == "hard_swish"
        ranged = first.output.name if swish else self._stored(start)
        return Passage(first, activation, ranged, tuple(axes), tuple(readers))

    def _walk(self, v: Value, axis: int, axes: dict[str, int], readers: list[Node]) -> bool:
        if v.name in self.kept:
            return False
        axes[v.name] = axis
        for node in self.users[v.name]:
            if self._reads(node, v, axis):
                readers.append(node)
                continue
            behind = _axis_behind(node, v, axis)
            if behind is None or not self._walk(node.output, behind, axes, readers):
                return False
        return True

    def _reads(self, node: Node, v: Value, axis: int) -> bool:
        """Whether the weights of `node` have an index for each channel of `v`."""
        if not is_product(node, self.params) or node.op.name == "transpose_conv":
            return False
        channels, w = v.type.shape[axis], node.inputs[1].type.shape
        depthwise = w[-1] == 1 and node.op.name == "conv2d" and w[0] == channels
        last = axis == len(v.type.shape) - 1
        return last and node.inputs[0].name == v.name and (w[-1] == channels or depthwise)

    def _once(self, first: Node, axes: Mapping[str, int], readers: list[Node]) -> bool:
        """No operator gets the factor twice, and no parameter belongs to another node as well."""
        inside = [n for name in axes for n in self.users[name]]
        twice = any(sum(v.name in axes for v in n.inputs) > 1 for n in inside)
        touched = [*first.inputs[1:], *(r.inputs[1] for r in readers)]
        return not twice and all(len(self.users[v.name]) == 1 for v in touched)

    def _stored(self, v: Value) -> str:
        """The value, or the rectified one that alone reads it."""
        behind = self.users[v.name]
        return (
            behind[0].output.name if len(behind) == 1 and behind[0].op.name == "clamp" else v.name
        )


def _axis_behind(node: Node, x: Value, axis: int) -> int | None:
    """The axis of the channels in the result of `node`; None where it is not homogeneous."""
    a, shape = node.attrs, x.type.shape
    if isinstance(a, Clamp):
        return axis if (a.low, a.high) == (0.0, math.inf) else None
    if isinstance(a, Reduction):
        if node.op.name not in ("mean", "sum") or axis in a.axes:
            return None
        return axis if a.keepdims else axis - sum(k < axis for k in a.axes)
    if isinstance(a, Pad):
        return axis if a.value == 0 and not (a.before[axis] or a.after[axis]) else None
    if isinstance(a, Reshape):
        return _reshaped(shape, node.output.type.shape, axis)
    if node.op.name == "mul":
        y = node.output.type.shape
        return axis + len(y) - len(shape) if y[-len(shape) :] == shape else None
    return axis if node.op.name in SAME and axis == len(shape) - 1 else None


def _reshaped(old: tuple[int, ...], new: tuple[int, ...], axis: int) -> int | None:
    """Channels stay last, or are the only axis that is no 1."""
    if axis == len(old) - 1 and new[-1:] == (old[axis],):
        return len(new) - 1
    alone = all(d == 1 for k, d in enumerate(old) if k != axis)
    places = [k for k, d in enumerate(new) if d != 1]
    return places[0] if alone and len(places) == 1 else None

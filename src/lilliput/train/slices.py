"""The backward part of a block, some of its widened channels at a time.

Between the two 1x1 convolutions of an inverted bottleneck no channel knows of another: what passes
back through its second one is made for channels c0 .. c1 alone, goes through masks and the
depthwise convolution, moves their biases and weights, and is summed into the gradient of what the
first one reads.  So of the widened map's gradient, the largest float map of a step, a slice is
alive at a time, and of the sums for weights a slice as well.

It is a rewrite of the step's graph.  Sums over slices come in another order than without, and each
slice of a gradient that is rounded has steps of its own: the step is another one, as exact, and
NumPy, C and the simulation execute the same one.

A block is found, not named: a *seed* is a 1x1 convolution's gradient of rounded numbers, and its
channels are followed through operators that keep them apart (`_Walk`) until they are summed over.
Channels are sliced by eights, as bits of masks are packed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lilliput.ir import Builder, Node, Param, TensorType, Value
from lilliput.ops import registry
from lilliput.ops.conv_back import ConvBack
from lilliput.ops.conv_grads import ConvGrad
from lilliput.ops.shape import Concat, Slice
from lilliput.train.masks import Masks, apart, masks_of
from lilliput.train.rewrites import in_order

EIGHT = 8
"""Channels are cut at multiples of this."""


@dataclass(frozen=True)
class Block:
    """A part of a step whose channels are apart.

    name : of the weights of the convolution that the gradient comes back through first
    channels : of the widened map; nbytes : of its gradient
    masks : those of its masks that can be made again
    """

    name: str
    channels: int
    nbytes: int
    seed: Node = field(repr=False)
    axes: Mapping[str, int] = field(repr=False)
    nodes: tuple[Node, ...] = field(repr=False)
    sums: tuple[_Sum, ...] = field(repr=False)
    masks: Masks = field(repr=False)

    @property
    def most(self) -> int:
        """Slices that it can be cut into."""
        return self.channels // EIGHT


@dataclass(frozen=True)
class _Sum:
    """A sum over the channels.

    nodes : sums by different weights, what joins them if they are several, and what adds `start`
    start : what else is added, where something is; total : the sum, with that
    """

    nodes: tuple[Node, ...]
    start: Value | None
    total: Value


@dataclass(frozen=True)
class Part:
    """A trained tensor's channels from `begin` on, in a slice: `state` shows them.

    after : what is made of the slice before its weights move, so that the sums over its channels
        stand together and can be one loop over rows; None where they may move at once
    """

    begin: int
    state: Value
    gradient: Value
    after: str | None


@dataclass(frozen=True)
class Sliced:
    """nodes : of the step; parts : tensor whose gradient is made slice by slice -> its slices;
    slices : block -> how many they are; remade : block whose masks are made again -> the
    multiply-accumulates of that; masks : what is made for these; made : block -> the values of its
    backward part."""

    nodes: list[Node]
    parts: Mapping[str, tuple[Part, ...]]
    slices: Mapping[str, int]
    remade: Mapping[str, int]
    masks: frozenset[str]
    made: Mapping[str, frozenset[str]]


def blocks(nodes: Sequence[Node]) -> tuple[Block, ...]:
    """The blocks of a step without updates, in the order in which gradients come to them."""
    users: dict[str, list[Node]] = {}
    for node in nodes:
        for value in node.inputs:
            users.setdefault(value.name, []).append(node)
    found: list[Block] = []
    summed: set[str] = set()
    for i, node in enumerate(nodes):
        if _fixed(node) and _widens(node) and node.output.name not in summed:
            before = {v.name: n for n in nodes[:i] for v in n.outputs}
            block = _Walk(node, nodes[i + 1 :], users, before).block()
            if block is not None and block.most > 1:
                found.append(block)
                summed.update(n.output.name for n in _of(block.sums))
    return tuple(found)


def _fixed(node: Node) -> bool:
    """The gradient of a 1x1 convolution, all of it, by rounded numbers."""
    a = node.attrs
    return isinstance(a, ConvBack) and a.fixed and not (a.outputs[1] or a.inputs[1])


def _widens(node: Node) -> bool:
    return node.output.type.shape[3] > node.inputs[0].type.shape[3]


def cuts(channels: int, slices: int) -> list[tuple[int, int]]:
    """(first, count) of each of so many slices: whole eights but for what is left of the last."""
    eights = -(-channels // EIGHT)
    ends = [min(channels, EIGHT * (eights * (k + 1) // slices)) for k in range(slices)]
    return [(a, b - a) for a, b in zip([0, *ends], ends, strict=False)]


# Following the channels ---------------------------------------------------------------------


class _Walk:
    """What is made of the channels of a seed: `axes` says along which axis a value has them."""

    def __init__(
        self,
        seed: Node,
        rest: Sequence[Node],
        users: Mapping[str, Sequence[Node]],
        before: Mapping[str, Node],
    ):
        self.seed, self.rest, self.users, self.before = seed, rest, users, before
        self.channels = seed.output.type.shape[3]
        self.axes = {seed.output.name: 3}
        self.nodes: list[Node] = []
        self.ends: list[Node] = []

    def block(self) -> Block | None:
        """None where channels meet in an operator that is not known to keep them apart."""
        for node in self.rest:
            if not any(v.name in self.axes for v in node.inputs):
                continue
            if self._sums(node):
                self.ends.append(node)
                continue
            axis = self._axis(node)
            if axis is None:
                return None
            self.nodes.append(node)
            self.axes[node.output.name] = axis
        name, nbytes = self.seed.inputs[1].name, self.seed.output.type.nbytes
        nodes, sums = tuple(self.nodes), tuple(self._totals())
        read = [v for n in nodes for v in n.inputs if v.name in self.before]
        masks = masks_of(read, self.channels, self.before)
        return Block(name, self.channels, nbytes, self.seed, self.axes, nodes, sums, masks)

    def _sums(self, node: Node) -> bool:
        """Whether a node is a sum over the channels, of which some can be left out."""
        return _fixed(node) and node.inputs[1].name not in self.axes

    def _axis(self, node: Node) -> int | None:
        """Where a node's result has the channels, if it keeps them apart."""
        if len(node.outputs) > 1:
            return None
        if node.op.scalar is not None:
            return self._elementwise(node)
        first = node.inputs[0]
        if node.op.name == "sum" and first.name in self.axes:
            axes, keep = getattr(node.attrs, "axes", ()), getattr(node.attrs, "keepdims", True)
            axis = self.axes[first.name]
            return None if axis in axes else axis - (0 if keep else sum(a < axis for a in axes))
        a = node.attrs
        if isinstance(a, ConvBack) and node.inputs[1].name not in self.axes:
            return 3 if a.groups == self.channels == node.inputs[1].type.shape[0] else None
        if isinstance(a, ConvGrad) and first.name not in self.axes:
            return 0 if a.groups in (1, self.channels) else None
        return None

    def _elementwise(self, node: Node) -> int | None:
        rank = len(node.output.type.shape)
        ends = {len(v.type.shape) - self.axes[v.name] for v in node.inputs if v.name in self.axes}
        if len(ends) != 1 or node.output.type.shape[rank - min(ends)] != self.channels:
            return None
        packed = node.op.scalar.packed if node.op.scalar is not None else ()
        known = all(
            _extent(v, min(ends)) in (1, self.channels)
            or (i in packed and min(ends) == 1 and _extent(v, 1) == -(-self.channels // EIGHT))
            for i, v in enumerate(node.inputs)
        )
        return rank - min(ends) if known else None

    def _totals(self) -> Iterator[_Sum]:
        """The sums over the channels; of what is joined behind them, the joined one."""
        left = list(self.ends)
        while left:
            node = left.pop(0)
            own: list[Node] = [node]
            reader = self._alone(node.output)
            if reader is not None and reader.op.name == "concat":
                ends = {n.output.name: n for n in (node, *left)}
                if all(v.name in ends for v in reader.inputs):
                    own = [*(ends[v.name] for v in reader.inputs), reader]
                    left = [n for n in left if n not in own]
            yield self._from(tuple(own))

    def _from(self, own: tuple[Node, ...]) -> _Sum:
        """With what it is added to, where that is there before the channels are."""
        total = own[-1].output
        reader = self._alone(total)
        if reader is not None and reader.op.name == "add":
            start = next(v for v in reader.inputs if v != total)
            if start.name in self.before and start.type == total.type == reader.output.type:
                return _Sum((*own, reader), start, reader.output)
        return _Sum(own, None, total)

    def _alone(self, value: Value) -> Node | None:
        readers = self.users.get(value.name, ())
        return readers[0] if len(readers) == 1 and readers[0].inputs.count(value) == 1 else None


def _extent(value: Value, end: int) -> int:
    """Along the axis that is `end` from the last one's end."""
    shape = value.type.shape
    return shape[len(shape) - end] if end <= len(shape) else 1


# Slicing ------------------------------------------------------------------------------------


def sliced(
    b: Builder,
    whole: Sequence[Node],
    found: Sequence[Block],
    slices: Mapping[str, int],
    remade: Collection[str],
    tensors: Mapping[str, Value],
    gradients: Mapping[str, Value],
) -> Sliced:
    """whole : the step without updates; found : its `blocks`; slices : block -> how many
    remade : of those that are sliced the ones whose masks are made again
    tensors, gradients : of what is trained: the states, and their gradients in `whole`."""
    made, parts, counts = list(whole), dict[str, tuple[Part, ...]](), dict[str, int]()
    again, masked = dict[str, int](), dict[str, Sequence[Node]]()
    values: dict[str, frozenset[str]] = {}
    for block in found:
        count = min(slices.get(block.name, 1), block.most)
        own = [block.seed, *block.nodes, *_of(block.sums)]
        if count > 1 and _apart(block, tensors, gradients):
            own_masks = block.masks if block.name in remade else Masks()
            cut = _Cut(b, block, tensors, gradients, own_masks)
            made = _placed(made, block, cut.all(count))
            parts |= cut.parts
            counts[block.name] = count
            if own_masks.bits:
                again[block.name] = own_masks.macs
                masked |= cut.masked
            own = [*cut.first, *cut.made, *(n for ns in cut.masked.values() for n in ns)]
        values[block.name] = frozenset(n.output.name for n in own)
    # what masks are made of is there all along: they stand where a slice begins
    nodes = [n for node in in_order(made) for n in (*masked.get(node.output.name, ()), node)]
    masks = frozenset(n.output.name for ns in masked.values() for n in ns)
    return Sliced(nodes, parts, counts, again, masks, values)


def _apart(block: Block, tensors: Mapping[str, Value], gradients: Mapping[str, Value]) -> bool:
    """Whether each tensor that a block's gradients move has the channels along axis 0."""
    axes = {t: block.axes[g.name] for t, g in gradients.items() if g.name in block.axes}
    return all(a == 0 and tensors[t].type.shape[0] == block.channels for t, a in axes.items())


def _placed(nodes: Sequence[Node], block: Block, instead: Sequence[Node]) -> list[Node]:
    """`instead` of the nodes of a block, where its last one stood."""
    gone = {n.output.name for n in (block.seed, *block.nodes, *_of(block.sums))}
    last = max(i for i, n in enumerate(nodes) if n.output.name in gone)
    kept = [n for n in nodes if n.output.name not in gone]
    at = sum(n.output.name not in gone for n in nodes[:last])
    return [*kept[:at], *instead, *kept[at:]]


def _of(sums: Sequence[_Sum]) -> Iterator[Node]:
    for s in sums:
        yield from s.nodes


class _Cut:
    """The nodes of a block, slice after slice."""

    def __init__(
        self,
        b: Builder,
        block: Block,
        tensors: Mapping[str, Value],
        gradients: Mapping[str, Value],
        masks: Masks,
    ):
        self.b, self.block, self.tensors, self.masks = b, block, tensors, masks
        self.wanted = {gradients[t].name: t for t in gradients if gradients[t].name in block.axes}
        self.first: list[Node] = []
        self.made: list[Node] = []
        self.views: dict[tuple[str, int, int], Value] = {}
        self.parts: dict[str, tuple[Part, ...]] = {}
        self.masked: dict[str, Sequence[Node]] = {}
        self.totals = {s.total.name: s.start for s in block.sums}
        self.seed = self._rounded(block.seed)

    def _rounded(self, seed: Node) -> Node:
        """`seed` of a gradient that is rounded once for all slices."""
        dy, w = seed.inputs
        op = registry.get("round_pixels")
        (type,) = op.infer(op.attrs(), [dy.type])
        numbers = Value(self.b.fresh(f"{dy.name}/rounded"), type)
        self.made.append(Node(op, (dy,), (numbers,), op.attrs(), ""))
        return replace(seed, inputs=(numbers, w))

    def all(self, count: int) -> list[Node]:
        """Views of states stand in front: they look into what updates move, part after part."""
        spans = cuts(self.block.channels, count)
        for begin, size in spans:
            for tensor in self.wanted.values():
                self._part_of(self.tensors[tensor], 0, begin, size)
        for begin, size in spans:
            self._slice(begin, size, last=(begin, size) == spans[-1])
        return [*self.first, *self.made]

    def _slice(self, begin: int, size: int, *, last: bool) -> None:
        seed, block = self.seed, self.block
        masks = self._masks(begin, size)
        values = {whole: node.output for whole, node in masks.items()}
        attrs = replace(seed.attrs, inputs=(begin, size))  # type: ignore[type-var]
        values[seed.output.name] = self._add(seed, seed.inputs, attrs)
        self.masked[values[seed.output.name].name] = list(masks.values())
        for node in block.nodes:
            values[node.output.name] = self._of_slice(node, values, begin, size)
        shares = [self._into(s, values, begin, size, last=last) for s in block.sums]
        for name, tensor in self.wanted.items():
            state = self._part_of(self.tensors[tensor], 0, begin, size)
            after = shares[-1].name if shares and len(state.type.shape) == 4 else None
            part = Part(begin, state, values[name], after)
            self.parts[tensor] = (*self.parts.get(tensor, ()), part)

    def _masks(self, begin: int, size: int) -> dict[str, Node]:
        """Value of the whole block -> what makes it again for a slice, in order."""
        made: dict[str, Node] = {}
        for layer in self.masks.layers:
            x, *others = layer.inputs
            given = [made[x.name].output if x.name in made else x]
            given += [self._part_of(v, 0, begin, size) for v in others]
            attrs = replace(layer.attrs, groups=size) if apart(layer) else layer.attrs  # type: ignore[call-arg]
            shape = (*layer.output.type.shape[:3], size)
            type = layer.output.type.with_shape(*shape)
            again = made[layer.output.name] = self._like(layer, given, attrs, type)
            for node in self.masks.bits:
                if node.inputs[0] == layer.output:
                    made[node.output.name] = self._like(node, again.outputs)
        return made

    def _of_slice(self, node: Node, values: Mapping[str, Value], begin: int, size: int) -> Value:
        """A node for the channels of a slice."""
        a, axes = node.attrs, self.block.axes
        given = [values.get(v.name, v) for v in node.inputs]
        if isinstance(a, ConvBack | ConvGrad):
            outer = 1 if isinstance(a, ConvBack) else 0
            if a.groups > 1:
                axis = 0 if isinstance(a, ConvBack) else 3
                given[outer] = self._part_of(given[outer], axis, begin, size)
                a = replace(a, groups=size)
            if isinstance(a, ConvGrad):
                a = replace(a, carried=False)
            return self._add(node, given, a)
        if node.op.scalar is None:
            return self._add(node, given, a)
        end = len(node.output.type.shape) - axes[node.output.name]
        for i, value in enumerate(node.inputs):
            extent = _extent(value, end)
            if value.name in values or extent == 1:
                continue
            unit = 1 if extent == self.block.channels else EIGHT
            axis = len(value.type.shape) - end
            given[i] = self._part_of(value, axis, begin // unit, -(-size // unit))
        return self._add(node, given, a)

    def _into(
        self, total: _Sum, values: Mapping[str, Value], begin: int, size: int, *, last: bool
    ) -> Value:
        """Adds a slice's share to a sum: what that is now.  Of one sum the share is added where it
        is made; joined ones are added together, row by row where they are one loop."""
        known = dict(values)
        own = total.nodes[:-1] if total.start is not None else total.nodes
        for node in own:
            attrs, given = node.attrs, [known.get(v.name, v) for v in node.inputs]
            if isinstance(attrs, ConvBack):
                given[1], attrs = self._weights(node.inputs[1], attrs, begin, size)
            known[node.output.name] = self._add(node, given, attrs)
        share, before = known[own[-1].output.name], self.totals[total.total.name]
        if before is not None:
            result = total.total if last else Value(self.b.fresh(total.total.name), share.type)
            add = registry.get("add")
            self.made.append(Node(add, (before, share), (result,), add.attrs(), ""))
            share = result
        self.totals[total.total.name] = share
        return share

    def _weights(self, w: Value, a: ConvBack, begin: int, size: int) -> tuple[Value, ConvBack]:
        """The weights of a slice's channels: of constants all of them, so that they are in flash
        once, of states a view, which an update of other channels does not touch."""
        if w.name in self.b.params:
            return w, replace(a, outputs=(begin, size))
        return self._part_of(w, 0, begin, size), a

    def _part_of(self, value: Value, axis: int, begin: int, size: int) -> Value:
        """Some indices of an axis: of a constant another one, of anything else a view."""
        key = value.name, axis, begin
        if key not in self.views:
            shape = value.type.shape
            box = Slice(
                tuple(begin if k == axis else 0 for k in range(len(shape))),
                tuple(size if k == axis else d for k, d in enumerate(shape)),
            )
            take = registry.get("slice")
            (type,) = take.infer(box, [value.type])
            made = Value(self.b.fresh(f"{value.name}/slice"), type)
            data = self.b.params[value.name].data if value.name in self.b.params else None
            if data is not None:
                part = np.ascontiguousarray(data.take(range(begin, begin + size), axis))
                self.b.use(Param(made, part))
            else:
                self.first.append(Node(take, (value,), (made,), box, ""))
            self.views[key] = made
        return self.views[key]

    def _add(self, node: Node, inputs: Sequence[Value], attrs: object) -> Value:
        self.made.append(self._like(node, inputs, attrs))
        return self.made[-1].output

    def _like(
        self,
        node: Node,
        inputs: Sequence[Value],
        attrs: object = None,
        type: TensorType | None = None,
    ) -> Node:
        """`node` with other operands, and attributes where they are said, under another name; of
        the type that follows, or `type`."""
        attrs = node.attrs if attrs is None else attrs
        if type is None:
            (type,) = node.op.infer(attrs, [v.type for v in inputs])  # type: ignore[arg-type]
        made = Value(self.b.fresh(node.output.name), type)
        return replace(node, inputs=tuple(inputs), outputs=(made,), attrs=attrs)


def joined(b: Builder, state: Value, parts: Sequence[Value]) -> Value:
    """What is left in a state of which each part was moved for itself, parts in order."""
    return b.add(
        registry.get("concat"), parts, Concat(0), type=state.type, name=f"{state.name}/new"
    )

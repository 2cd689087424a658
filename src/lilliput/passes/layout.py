"""Transposes move towards the end of a network until they meet their opposites.

    y = transpose(x)        nothing is done: y *is* x, seen through a permutation
    relu(y)                 relu(x), seen through the same one
    transpose(y)            the product of both; x itself where they cancel
    conv2d(y)               has to have y as it is: only now a transpose is made

One idea: a value of the network is kept as a `View` of one that is there, and nodes that do not
care for the order of axes are applied to what is there, with their attributes and constants in
its order.  In a network that came channels first, with a transpose on either side of each layer,
only those are left at the ends, and where the order of axes is the point.  Integers stay equal;
so do floats, but for sums over several axes, which are then taken in another order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from lilliput.ir.build import fresh_name
from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Module, Param
from lilliput.ir.op import Attrs, NoAttrs, Op
from lilliput.ir.rewrite import drop_dead
from lilliput.ir.types import Array, TensorType
from lilliput.ops.conv import linear
from lilliput.ops.frame import MirrorPad, Pad
from lilliput.ops.matmul import MatMul
from lilliput.ops.pick import StridedSlice, Tile
from lilliput.ops.reduce import Reduction
from lilliput.ops.shape import (
    Broadcast,
    Concat,
    Reshape,
    Slice,
    Transpose,
    copy,
    reshape,
    transpose,
)
from lilliput.passes.axes import (
    Perm,
    compose,
    identity,
    inverse,
    is_identity,
    is_view,
    joining,
    through_reshape,
)

LAST_AXIS = ("softmax", "log_softmax", "l2_normalize", "linear")
"""Operators that only know which axis is the last."""
PER_AXIS = {
    "pad": (Pad, ("before", "after")),
    "mirror_pad": (MirrorPad, ("before", "after")),
    "slice": (Slice, ("begin", "size")),
    "strided_slice": (StridedSlice, ("begin", "size", "stride")),
    "tile": (Tile, ("repeats",)),
    "broadcast": (Broadcast, ("shape",)),
}
"""Operators whose attributes have an entry for each axis."""


@dataclass(frozen=True)
class Layout:
    """Module in, module of the same meaning with few transposes out."""

    def __call__(self, module: Module) -> Module:
        params: dict[str, Param] = dict(module.params)
        names = {v.name for g in module.graphs.values() for v in g.values()}
        graphs: dict[str, Graph] = {}
        for entry, graph in module.graphs.items():
            if any(n.op is transpose for n in graph.nodes):
                graph = _Walk(graph, params, partial(fresh_name, names)).run()
            graphs[entry] = graph
        read = {p.name for g in graphs.values() for p in g.params}
        kept = {name: param for name, param in params.items() if name in read}
        return replace(module, graphs=graphs, params=kept)


@dataclass(frozen=True)
class View:
    """A value as transpose(source, perm), then a reshape to `shape` unless that is None."""

    source: Value
    perm: Perm
    shape: tuple[int, ...] | None = None

    @property
    def transposed(self) -> tuple[int, ...]:
        """The shape behind the transpose."""
        return tuple(self.source.type.shape[k] for k in self.perm)

    @property
    def is_plain(self) -> bool:
        return self.shape is None and is_identity(self.perm)


class _Walk:
    """One graph, node by node; `params` gains what constants become."""

    def __init__(self, graph: Graph, params: dict[str, Param], fresh: Callable[[str], str]):
        self.graph, self.params, self.fresh = graph, params, fresh
        self.nodes: list[Node] = []
        self.views: dict[str, View] = {}
        self.made: dict[tuple[str, Perm, tuple[int, ...] | None], Value] = {}
        self.outputs = {v.name for v in graph.outputs}
        self.used: dict[str, Value] = {v.name: v for v in graph.params}

    def run(self) -> Graph:
        for node in self.graph.nodes:
            if not self._moved(node):
                inputs = tuple(self._plain(v) for v in node.inputs)
                self.nodes.append(replace(node, inputs=inputs))
        for value in self.graph.outputs:
            self._output(value)
        return drop_dead(
            replace(self.graph, nodes=tuple(self.nodes), params=tuple(self.used.values()))
        )

    # Views ----------------------------------------------------------------------------

    def _data(self, value: Value) -> Array | None:
        """What a constant holds; None of what is computed, and of parameters without data."""
        return self.params[value.name].data if value.name in self.used else None

    def _view(self, value: Value) -> View:
        return self.views.get(value.name) or View(value, identity(len(value.type.shape)))

    def _plain(self, value: Value) -> Value:
        """`value` as a value that is there."""
        view = self._view(value)
        return self._make(view, value) if value.name in self.views else value

    def _make(self, view: View, like: Value) -> Value:
        """A view as a value; `like` lends its name and origin."""
        key = view.source.name, view.perm, view.shape
        if view.is_plain:
            return view.source
        if key not in self.made:
            y = view.source
            if not is_identity(view.perm):
                y = self._permuted(y, view.perm, like)
            if view.shape is not None:
                y = self._emit(reshape, (y,), Reshape(view.shape), like, y.type, view.shape)
            self.made[key] = y
        return self.made[key]

    def _permuted(self, x: Value, perm: Perm, like: Value) -> Value:
        """The transpose of a value: of a constant the data, a reshape where nothing moves."""
        shape = tuple(x.type.shape[k] for k in perm)
        key = x.name, perm, None
        if key in self.made:
            return self.made[key]
        data = self._data(x)
        if data is not None:
            y = self._constant(np.transpose(data, perm), x)
        elif is_view(x.type.shape, perm):
            y = self._emit(reshape, (x,), Reshape(shape), like, x.type, shape)
        else:
            y = self._emit(transpose, (x,), Transpose(perm), like, x.type, shape)
        self.made[key] = y
        return y

    def _emit(
        self,
        op: Op,
        inputs: tuple[Value, ...],
        attrs: Attrs,
        like: Value,
        type: TensorType,
        shape: tuple[int, ...],
    ) -> Value:
        y = Value(self.fresh(f"{like.name}/{op.name}"), replace(type, shape=shape))
        self.nodes.append(Node(op, inputs, (y,), attrs, like.name))
        return y

    def _constant(self, data: Array, like: Value) -> Value:
        data = np.ascontiguousarray(data)
        value = Value(self.fresh(f"{like.name}/moved"), replace(like.type, shape=data.shape))
        self.params[value.name] = Param(value, data)
        self.used[value.name] = value
        return value

    def _result(self, node: Node, inputs: Sequence[Value], attrs: Attrs, view: View) -> bool:
        """Adds `node` over `inputs`; its output is `view`, whose source is what it makes."""
        self.nodes.append(replace(node, inputs=tuple(inputs), outputs=(view.source,), attrs=attrs))
        if view.source != node.output or not view.is_plain:  # of a cube both have one shape
            self.views[node.output.name] = view
        return True

    def _source(self, node: Node, shape: tuple[int, ...], plain: bool) -> Value:
        """What a node makes in another order of axes, under its name unless an output has it."""
        y = node.output
        name = y.name if plain or y.name not in self.outputs else self.fresh(f"{y.name}/rows")
        return Value(name, replace(y.type, shape=shape))

    def _output(self, value: Value) -> None:
        """Sees to it that an output is made under its own name."""
        if value.name not in self.views:
            return
        made = self._make(self.views.pop(value.name), value)
        for k in range(len(self.nodes) - 1, -1, -1):
            node = self.nodes[k]
            if made in node.outputs and made.name not in self.outputs:
                outputs = tuple(value if v == made else v for v in node.outputs)
                self.nodes[k] = replace(node, outputs=outputs)
                self._rename(made, value)
                return
        self.nodes.append(Node(copy, (made,), (value,), NoAttrs(), value.name))

    def _rename(self, old: Value, new: Value) -> None:
        self.nodes = [
            n.with_inputs([new if v == old else v for v in n.inputs]) if old in n.inputs else n
            for n in self.nodes
        ]
        self.made = {key: new if v == old else v for key, v in self.made.items()}
        for name, view in self.views.items():
            if view.source == old:
                self.views[name] = replace(view, source=new)

    # Nodes ----------------------------------------------------------------------------

    def _moved(self, node: Node) -> bool:
        """Whether `node` was applied to what its operands are views of."""
        if node.op is transpose:
            return self._transpose(node)
        if len(node.outputs) > 1 or all(v.name not in self.views for v in node.inputs):
            return False
        if node.op is reshape:
            return self._reshape(node)
        if node.op.scalar is not None:
            return self._flat(node) or self._same_order(node, node.attrs)
        rule = _RULES.get(node.op.name)
        return rule is not None and rule(self, node)

    def _transpose(self, node: Node) -> bool:
        assert isinstance(node.attrs, Transpose)
        x, y, perm = node.inputs[0], node.output, node.attrs.perm
        view = self._view(x)
        if view.shape is not None:
            view = View(self._make(view, x), identity(len(perm)))
        if view.source.type.quant != y.type.quant:
            return False
        self.views[y.name] = View(view.source, compose(view.perm, perm))
        return True

    def _reshape(self, node: Node) -> bool:
        x, y = node.inputs[0], node.output
        view = self._view(x)
        if y.type.quant != x.type.quant:
            return False
        if view.shape is None and is_view(view.source.type.shape, view.perm):
            self.nodes.append(replace(node, inputs=(view.source,)))
            return True
        through = None
        if view.shape is None:
            through = through_reshape(view.source.type.shape, view.perm, y.type.shape)
            part = joining(view.source.type.shape, view.perm, y.type.shape)
            if through is None and part is not None:
                moved = self._permuted(view.source, part, x)
                view = View(moved, compose(inverse(part), view.perm))
                through = through_reshape(moved.type.shape, view.perm, y.type.shape)
        if through is None:
            self.views[y.name] = replace(view, shape=y.type.shape)
            return True
        shape, perm = through
        source = self._source(node, shape, is_identity(perm))
        return self._result(node, (view.source,), Reshape(shape), View(source, perm))

    def _flat(self, node: Node) -> bool:
        """Element-wise nodes over one operand that is reshaped behind its transpose."""
        x, *others = node.inputs
        view = self._view(x)
        single = all(self._data(v) is not None and v.type.size == 1 for v in others)
        if view.shape is None or not single or node.output.type.shape != x.type.shape:
            return False
        rank = len(view.perm)
        inputs = [view.source, *(self._single(v, rank) for v in others)]
        source = self._source(node, view.source.type.shape, plain=False)
        return self._result(node, inputs, node.attrs, replace(view, source=source))

    def _single(self, value: Value, rank: int) -> Value:
        """A constant of one element, with no more axes than others have."""
        if len(value.type.shape) <= rank:
            return value
        data = self._data(value)
        assert data is not None
        return self._constant(data.reshape(1), value)

    def _same_order(self, node: Node, attrs: Attrs) -> bool:
        """Applies `node` to all operands in the order that most of their elements have."""
        y, rank = node.output, len(node.output.type.shape)
        perm = self._wanted(node, rank)
        if perm is None:
            return False
        inputs = [self._ordered(v, perm, rank) for v in node.inputs]
        if any(v is None for v in inputs):
            return False
        back = inverse(perm)
        shape = tuple(y.type.shape[k] for k in back)
        source = self._source(node, shape, plain=False)
        found = [v for v in inputs if v is not None]
        return self._result(node, found, attrs, View(source, perm))

    def _wanted(self, node: Node, rank: int) -> Perm | None:
        """The permutation that most elements of the operands are seen through, if any is."""
        sizes: dict[Perm, int] = {}
        for value in node.inputs:
            view = self._view(value)
            constant = self._data(value) is not None
            if constant or view.shape is not None or len(view.perm) != rank:
                continue
            if is_view(view.source.type.shape, view.perm) and not is_identity(view.perm):
                continue
            sizes[view.perm] = sizes.get(view.perm, 0) + value.type.size
        moved = {perm: size for perm, size in sizes.items() if not is_identity(perm)}
        if not moved:
            return None
        best = max(moved, key=lambda perm: moved[perm])
        return best if moved[best] >= sizes.get(identity(rank), 0) else None

    def _ordered(self, value: Value, perm: Perm, rank: int) -> Value | None:
        """The value that `value` is seen from through `perm`, of full rank."""
        back, view = inverse(perm), self._view(value)
        data = self._data(value)
        if data is not None:
            if value.type.size == 1 and len(value.type.shape) <= rank:
                return value
            if value.type.quant is not None and not value.type.quant.is_per_tensor:
                return None
            return self._constant(
                np.transpose(data.reshape((1,) * (rank - data.ndim) + data.shape), back), value
            )
        if view.shape is not None or len(view.perm) != rank:
            x = self._plain(value)
            if len(x.type.shape) != rank:
                shape = (1,) * (rank - len(x.type.shape)) + x.type.shape
                x = self._emit(reshape, (x,), Reshape(shape), value, x.type, shape)
            view = View(x, identity(rank))
        return self._make(View(view.source, compose(view.perm, back)), value)

    # Rules ----------------------------------------------------------------------------

    def per_axis(self, node: Node) -> bool:
        cls, fields = PER_AXIS[node.op.name]
        x, a = node.inputs[0], node.attrs
        view = self._view(x)
        assert isinstance(a, cls)
        if view.shape is not None or len(view.perm) != len(node.output.type.shape):
            return False
        back = inverse(view.perm)
        moved = {f: tuple(getattr(a, f)[k] for k in back) for f in fields}
        shape = tuple(node.output.type.shape[k] for k in back)
        source = self._source(node, shape, plain=False)
        return self._result(node, (view.source,), replace(a, **moved), View(source, view.perm))

    def concat(self, node: Node) -> bool:
        assert isinstance(node.attrs, Concat)
        perm = self._wanted(node, len(node.output.type.shape))
        return perm is not None and self._same_order(node, Concat(perm[node.attrs.axis]))

    def reduce(self, node: Node) -> bool:
        a, x = node.attrs, node.inputs[0]
        assert isinstance(a, Reduction)
        view = self._view(x)
        if view.shape is not None:
            return False
        axes = tuple(sorted(view.perm[k] for k in a.axes))
        if a.keepdims:
            perm = view.perm
        else:
            left = [k for k in range(len(view.perm)) if k not in axes]
            perm = tuple(left.index(k) for j, k in enumerate(view.perm) if j not in a.axes)
        shape = tuple(node.output.type.shape[k] for k in inverse(perm))
        source = self._source(node, shape, is_identity(perm))
        return self._result(node, (view.source,), replace(a, axes=axes), View(source, perm))

    def last_axis(self, node: Node) -> bool:
        if node.op is linear and self._columns(node):
            return True
        x, *others = node.inputs
        view = self._view(x)
        same_rank = len(view.perm) == len(node.output.type.shape)
        if view.shape is not None or view.perm[-1] != len(view.perm) - 1 or not same_rank:
            return False
        if len(others) > 2:
            return False
        shape = tuple(node.output.type.shape[k] for k in inverse(view.perm))
        source = self._source(node, shape, plain=False)
        inputs = [view.source, *(self._plain(v) for v in others)]
        return self._result(node, inputs, node.attrs, View(source, view.perm))

    def _columns(self, node: Node) -> bool:
        """A product over all of a map: the columns of constant weights are put in its order."""
        x, w, *rest = node.inputs
        view = self._view(x)
        data, flat = self._data(w), view.shape
        if data is None or flat is None or view.perm[:1] != (0,):
            return False
        n, *inner = view.transposed
        if flat != (n, math.prod(inner)):
            return False
        order = tuple(k for k in inverse(view.perm))
        columns = data.reshape(data.shape[0], *inner).transpose(order).reshape(data.shape)
        row = self._emit(reshape, (view.source,), Reshape(flat), x, view.source.type, flat)
        inputs = (row, self._constant(columns, w), *map(self._plain, rest))
        self.nodes.append(replace(node, inputs=inputs))
        return True

    def matmul(self, node: Node) -> bool:
        """A transpose of the last two axes of an operand is a flag of the product."""
        assert isinstance(node.attrs, MatMul)
        flags = [node.attrs.adj_a, node.attrs.adj_b]
        inputs: list[Value] = []
        for k, value in enumerate(node.inputs):
            view = self._view(value)
            last = len(view.perm)
            swap = (*range(last - 2), last - 1, last - 2)
            if view.shape is None and view.perm == swap and value.name in self.views:
                flags[k] = not flags[k]
                inputs.append(view.source)
            else:
                inputs.append(self._plain(value))
        attrs = replace(node.attrs, adj_a=flags[0], adj_b=flags[1])
        self.nodes.append(replace(node, inputs=tuple(inputs), attrs=attrs))
        return True


_RULES: Mapping[str, Callable[[_Walk, Node], bool]] = {
    **dict.fromkeys(PER_AXIS, _Walk.per_axis),
    **dict.fromkeys(("mean", "sum", "reduce_max", "reduce_min", "reduce_prod"), _Walk.reduce),
    **dict.fromkeys(LAST_AXIS, _Walk.last_axis),
    "concat": _Walk.concat,
    "matmul": _Walk.matmul,
}


# Ends -------------------------------------------------------------------------------------

ROWS, FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def rows_of_pixels(module: Module) -> tuple[Module, frozenset[str]]:
    """Maps (N,C,H,W) that come in or go out become rows of pixels (N,H,W,C), where that makes
    fewer elements change their place; their names.  States are left alone."""
    turned: set[str] = set()
    for entry, graph in module.graphs.items():
        for value in (*graph.inputs, *graph.outputs):
            if len(value.type.shape) != 4 or value.name in module.states:
                continue
            other = Layout()(_turned(module, entry, value))
            if moved_elements(other) < moved_elements(module):
                module = other
                turned.add(value.name)
    return module, frozenset(turned)


def moved_elements(module: Module) -> int:
    """Elements that the transposes of a module move."""
    nodes = (n for graph in module.graphs.values() for n in graph.nodes)
    return sum(n.output.type.size for n in nodes if n.op is transpose)


def _turned(module: Module, entry: str, value: Value) -> Module:
    """`module` with one end of an entry as rows of pixels, and a transpose inside of it."""
    graph = module.graphs[entry]
    names = {v.name for g in module.graphs.values() for v in g.values()}
    inside = replace(value, name=fresh_name(names, f"{value.name}/channels"))
    shape = tuple(value.type.shape[k] for k in ROWS)
    outside = replace(value, type=replace(value.type, shape=shape))

    def swap(values: Sequence[Value], new: Value) -> tuple[Value, ...]:
        return tuple(new if v == value else v for v in values)

    nodes = [
        replace(n, inputs=swap(n.inputs, inside), outputs=swap(n.outputs, inside))
        for n in graph.nodes
    ]
    if value in graph.inputs:
        first = Node(transpose, (outside,), (inside,), Transpose(FIRST), value.name)
        outputs = swap(graph.outputs, inside)
        turned = replace(
            graph, inputs=swap(graph.inputs, outside), nodes=(first, *nodes), outputs=outputs
        )
    else:
        last = Node(transpose, (inside,), (outside,), Transpose(ROWS), value.name)
        turned = replace(graph, nodes=(*nodes, last), outputs=swap(graph.outputs, outside))
    return replace(module, graphs={**module.graphs, entry: turned})

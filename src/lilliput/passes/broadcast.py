"""Element-wise nodes whose operands broadcast in a way that no loop over frames can read.

A loop sees rows, pixels and channels; an operand is there along each of them, or repeated.
Where an operand is repeated along some of the axes that rows are made of and not along
others, neighbouring axes that every operand treats alike become one, by reshapes, which
cost nothing.  Three axes are a frame.  Where more are left, the operands that still do not
fit are written out along the leading ones by `broadcast`.  Nodes that fit stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby

from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.op import Attrs, Op
from lilliput.ops.shape import MAX_RANK, Broadcast, Reshape, broadcast, reshape

Fresh = Callable[[str], str]
Shape = tuple[int, ...]
PLAIN = 2
"""Axes behind the rows of a frame: pixels and channels."""


def fit_frames(graph: Graph, fresh: Fresh) -> Graph:
    """`graph` of the same meaning; every element-wise node's operands fit its frame.

    fresh : stem -> a name that nobody has.  More than six axes that differ are left alone.
    """
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes += [node] if node.op.scalar is None or _fits(node) else _fitted(node, fresh)
    return replace(graph, nodes=tuple(nodes))


def _fits(node: Node) -> bool:
    frame, scalar = node.output.type.frame, node.op.scalar
    if scalar is not None and scalar.packed:  # by its type rule
        return True
    operands = (v.type.frame for v in node.inputs)
    return all(e in (1, f) for operand in operands for e, f in zip(operand, frame, strict=True))


def merged(shapes: list[Shape], out: Shape) -> tuple[list[Shape], Shape]:
    """The operands' shapes and the result's, with axes joined that all operands treat alike.

    All have the same rank afterwards; element order stays.
    """
    padded = [(1,) * (len(out) - len(s)) + s for s in shapes]
    axes = [k for k, extent in enumerate(out) if extent > 1]
    alike = groupby(axes, key=lambda k: tuple(s[k] == 1 for s in padded))
    groups = [tuple(group) for _, group in alike]

    def joined(shape: Shape) -> Shape:
        return tuple(math.prod(shape[k] for k in group) for group in groups)

    return [joined(s) for s in padded], joined(out)


def _fitted(node: Node, fresh: Fresh) -> list[Node]:
    target = node.output
    shapes, out = merged([v.type.shape for v in node.inputs], target.type.shape)
    if len(out) > MAX_RANK:
        return [node]
    nodes: list[Node] = []
    made: dict[tuple[str, Shape], Value] = {}

    def derived(op: Op, x: Value, attrs: Attrs, shape: Shape, stem: str) -> Value:
        key = stem, shape
        if x.type.shape == shape:
            return x
        if key not in made:
            value = Value(fresh(stem), x.type.with_shape(*shape))
            nodes.append(Node(op, (x,), (value,), attrs, node.origin))
            made[key] = value
        return made[key]

    operands: list[Value] = []
    for value, shape in zip(node.inputs, shapes, strict=True):
        x = derived(reshape, value, Reshape(shape), shape, f"{value.name}/merged")
        lead, whole = shape[:-PLAIN], out[:-PLAIN]
        if lead != whole and math.prod(lead) > 1:
            full = (*whole, *shape[-PLAIN:])
            x = derived(broadcast, x, Broadcast(full), full, f"{value.name}/repeated")
        operands.append(x)
    result = target
    if target.type.shape != out:
        result = Value(fresh(f"{target.name}/merged"), target.type.with_shape(*out))
    nodes.append(Node(node.op, tuple(operands), (result,), node.attrs, node.origin))
    if result != target:
        back = Reshape(target.type.shape)
        nodes.append(Node(reshape, (result,), (target,), back, node.origin))
    return nodes

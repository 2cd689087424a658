"""Reverse-mode differentiation at compile time: a gradient is more graph.

`gradients` walks nodes backwards and calls one rule for each operand on the way to what is asked
for (`Op.grads`); a gradient that nobody asked for is never built, which is what sparse update is.
A gradient is float32 of its value's shape, in real units: of an integer value it is the
derivative by scale * (q - zero_point).  Rounding counts as the identity (straight-through
estimator, Bengio et al. 2013) and nothing passes where a result saturated, as in MCUNetV3
(Lin et al. 2022, section 3.1); in real units its quantisation-aware scaling holds by construction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.errors import GraphError, Problem
from lilliput.ir import Builder, Node, Value
from lilliput.ir.types import Array, DType
from lilliput.ops.clipping import Between, inside
from lilliput.ops.elementwise import add

_SATURATES = (DType.S8, DType.S16)
"""Element types of activations, of which the ends of the range stand for all that lies beyond."""


def gradients(
    b: Builder, nodes: Sequence[Node], seeds: Mapping[str, Value], wanted: Collection[str]
) -> dict[str, Value]:
    """Adds to `b` the nodes that compute the gradient of every value named in `wanted`.

    nodes : what was computed, in order; `b` knows their values
    seeds : value name -> its gradient to start from, float32 of its shape
    Returns a gradient for each wanted name that a seed depends on.  Raises GraphError naming
    every operator on the way that has no rule.
    """
    path = _path(nodes, seeds, wanted)
    covered = _covered(nodes)
    found = {name: value for name, value in seeds.items() if name in path}
    for node in reversed(nodes):
        asked = [i for i, v in enumerate(node.inputs) if v.name in path]
        if not asked or not any(v.name in found for v in node.outputs):
            continue
        exact = _moves(node) or clamps(node) is not None  # a clamp's own mask is stricter
        dys = [_entering(b, v, found.get(v.name), exact or v.name in covered) for v in node.outputs]
        for i in asked:
            dx = _operand(b, node, i, dys)
            if dx is not None:
                name = node.inputs[i].name
                found[name] = _sum(b, found[name], dx) if name in found else dx
    return {name: found[name] for name in wanted if name in found}


def _operand(b: Builder, node: Node, i: int, dys: Sequence[Value]) -> Value | None:
    """The gradient of operand i; None where none passes."""
    kept = clamps(node)
    if kept is not None:
        return _inside(b, dys[0], node.output, kept.low, kept.high)
    rule = node.op.grads[i]
    return rule(b, node, dys) if rule is not None else None


def _path(nodes: Sequence[Node], seeds: Mapping[str, Value], wanted: Collection[str]) -> set[str]:
    """The values that depend on a wanted one and that a seed depends on."""
    reached = set(wanted)
    for node in nodes:
        if any(v.name in reached and _passes(node, i) for i, v in enumerate(node.inputs)):
            reached.update(v.name for v in node.outputs)
    needed = set(seeds)
    problems: list[Problem] = []
    for node in reversed(nodes):
        if any(v.name in needed for v in node.outputs):
            towards = [i for i, v in enumerate(node.inputs) if v.name in reached]
            needed.update(node.inputs[i].name for i in towards if _passes(node, i))
            if towards and not node.op.grads and clamps(node) is None:
                problems.append(_missing(node))
    if problems:
        raise GraphError(list(reversed(problems)))
    return reached & needed


def _passes(node: Node, i: int) -> bool:
    """Whether operand i has a gradient, or would have one if the operator had rules."""
    return not node.op.grads or clamps(node) is not None or node.op.grads[i] is not None


def _missing(node: Node) -> Problem:
    return Problem(
        "no gradient passes this operator",
        where=node.describe(),
        expected="an operator with gradient rules between the loss and what is trained",
        found=node.op.name,
        hint="train only layers behind it, or add a rule: docs/adding-an-operator.md",
    )


# Saturation -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clamped:
    """An element-wise operator that only limits: y = min(max(x, low), high), in stored integers."""

    low: int
    high: int


def clamps(node: Node) -> Clamped | None:
    """Whether `node` is an activation that limits integers and does nothing else to them.

    Known by its table of all 256 int8 values, not by its name.
    """
    x, y = node.inputs[0].type, node.output.type
    if len(node.inputs) != 1 or x.dtype is not DType.S8 or node.op.scalar is None:
        return None
    if y.dtype is not x.dtype or y.quant != x.quant:
        return None
    every = np.arange(-128, 128).astype(np.int8)
    small = _over(node, every)
    low, high = int(small.min()), int(small.max())
    return Clamped(low, high) if np.array_equal(small, np.clip(every, low, high)) else None


def _over(node: Node, values: Array) -> Array:
    """What a node of one operand makes of each of `values`."""
    x, y = node.inputs[0], node.output
    table = Node(
        node.op,
        (Value(x.name, x.type.with_shape(values.size)),),
        (Value(y.name, y.type.with_shape(values.size)),),
        node.attrs,
    )
    return node.op.ref(table, [values])[0]


def _covered(nodes: Sequence[Node]) -> set[str]:
    """Values of which a limiting activation is the only reader: its mask holds for both."""
    users: dict[str, list[Node]] = {}
    for node in nodes:
        for value in node.inputs:
            users.setdefault(value.name, []).append(node)
    return {n for n, readers in users.items() if len(readers) == 1 and clamps(readers[0])}


def _moves(node: Node) -> bool:
    """Whether results are elements of the operands, or means of them: nothing can saturate."""
    if node.op.scalar is not None or node.op.contraction(node) is not None:
        return False
    kinds = {(v.type.dtype, v.type.quant) for v in (*node.inputs, *node.outputs)}
    return len(kinds) == 1


def _entering(b: Builder, value: Value, dy: Value | None, exact: bool) -> Value:
    """The gradient of a result: zero where nobody asked, and where it saturated."""
    if dy is None:
        return b.param(f"d.{value.name}", np.zeros(value.type.shape, np.float32))
    if value.type.dtype not in _SATURATES or exact or value.type.quant is None:
        return dy
    return _inside(b, dy, value, *value.type.dtype.bounds)


def _inside(b: Builder, dy: Value, y: Value, low: int, high: int) -> Value:
    """dy where low < y < high, else 0."""
    return b.add(inside, (dy, y), Between(low, high), name=f"d.{y.name}")


def _sum(b: Builder, one: Value, other: Value) -> Value:
    return b.add(add, (one, other), name=one.name)

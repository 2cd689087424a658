"""A network for one example as a network for n of them: many at once through NumPy or torch.

Only the leading axis changes, from 1 to n, in values and in the attributes that state shapes.
The importers fix the batch at 1 because that is what a device runs; evaluation over a data set,
calibration and training on the host want more at once.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from lilliput.errors import TypeMismatch, UnsupportedError
from lilliput.ir.build import infer
from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Module
from lilliput.ir.op import Attrs
from lilliput.ir.types import TensorType

_SHAPES = ("shape", "size")
"""Attributes that state the extents of a result."""


def batched(module: Module, n: int) -> Module:
    """The first entry of `module` over n examples: (1,...) becomes (n,...).

    Raises UnsupportedError naming the first node whose leading axis is not the batch, and for
    states, which belong to one example.
    """
    if module.states:
        raise UnsupportedError(
            "a network with states has no batch",
            where=module.name,
            found=", ".join(list(module.states)[:4]),
        )
    graph = module.graphs[module.entry]
    known: dict[str, Value] = {v.name: v for v in graph.params}
    for value in graph.inputs:
        known[value.name] = Value(value.name, _wider(value.type, n, f"input {value.name}"))
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = tuple(known[v.name] for v in node.inputs)
        nodes.append(node if inputs == node.inputs else widened(node, inputs, n))
        known |= {v.name: v for v in nodes[-1].outputs}
    inputs, outputs = (tuple(known[v.name] for v in part) for part in (graph.inputs, graph.outputs))
    whole = Graph(inputs, graph.params, tuple(nodes), outputs)
    return Module({module.entry: whole}, module.params, {}, module.name)


def _wider(type: TensorType, n: int, where: str) -> TensorType:
    if type.shape[:1] != (1,):
        raise UnsupportedError(
            "the leading axis is not a batch of one", where=where, found=str(type)
        )
    return type.with_shape(n, *type.shape[1:])


def widened(node: Node, inputs: tuple[Value, ...], n: int) -> Node:
    """`node` over `inputs`, some of which are n examples: its results are n, too.

    Raises UnsupportedError where its leading axis is not the batch.
    """
    where = node.describe()
    outputs = tuple(Value(v.name, _wider(v.type, n, where)) for v in node.outputs)
    wide = replace(node, inputs=inputs, outputs=outputs, attrs=_attrs(node, n))
    try:
        found = [t.shape for t in infer(node.op, wide.attrs, [v.type for v in inputs], where)]
    except TypeMismatch as e:
        raise UnsupportedError("has no batch", where=where, found=e.problems[0].what) from None
    if found != [v.type.shape for v in outputs]:
        raise UnsupportedError("mixes the batch with another axis", where=where, found=str(found))
    return wide


def _attrs(node: Node, n: int) -> Attrs:
    changed: dict[str, Any] = {}
    for f in fields(node.attrs):
        value = getattr(node.attrs, f.name)
        if f.name in _SHAPES and value == node.output.type.shape and value[:1] == (1,):
            changed[f.name] = (n, *value[1:])
    return replace(node.attrs, **changed)

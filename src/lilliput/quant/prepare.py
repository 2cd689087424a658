"""A float network in the form that is quantised: products with their scales and biases folded in,
and activations that are ranges as `clamp`.

One idea: every rewrite here leaves the float function as it is, up to the rounding of float32.
Batch normalisation arrives as a multiplication and an addition by constants along the channels;
where a product alone feeds them, they are its weights and its bias.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lilliput.errors import UnsupportedError
from lilliput.ir.build import fresh_name
from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Module, Param
from lilliput.ir.rewrite import drop_dead
from lilliput.ir.types import Array, f32
from lilliput.ops.elementwise import Clamp, clamp
from lilliput.quant.unroll import unrolled

RANGES = {
    "relu": (0.0, math.inf),
    "relu6": (0.0, 6.0),
    "relu_n1_to_1": (-1.0, 1.0),
    "relu_0_to_1": (0.0, 1.0),
}
PRODUCTS = frozenset({"conv2d", "linear", "transpose_conv"})
"""Operators whose operand 1, where it is constant, is weights with axis 0 = output channels."""
FOLDED = frozenset({"add", "sub", "mul", "div"})


def prepare(module: Module) -> Module:
    """The same network in that form.  Raises UnsupportedError for what is no float network of
    one entry without states."""
    _checked(module)
    module = unrolled(module)
    graph = module.graphs[module.entry]
    graph = replace(graph, nodes=tuple(_as_clamp(n) for n in graph.nodes))
    graph, params = _fold_channels(graph, dict(module.params))
    graph = drop_dead(graph)
    kept = {p.name: params[p.name] for p in graph.params}
    return replace(module, graphs={module.entry: graph}, params=kept)


def _checked(module: Module) -> None:
    if len(module.graphs) > 1 or module.states:
        raise UnsupportedError(
            "only networks of one entry without states are quantised",
            found=f"{len(module.graphs)} entries, {len(module.states)} states",
            hint="quantise the network before it becomes a step over time",
        )
    graph = module.graphs[module.entry]
    scaled = [v for v in graph.values() if v.type.quant is not None]
    if scaled:
        raise UnsupportedError(
            "the network is quantised already",
            where=scaled[0].name,
            expected="a network of floats",
            found=str(scaled[0].type),
            hint="compile it as it is, or quantise the float network that it came from",
        )
    if not any(v.type.dtype.is_float for v in graph.outputs):
        raise UnsupportedError("no output is a float", found=", ".join(map(str, graph.outputs)))
    if any(p.data is None for p in module.params.values()):
        raise UnsupportedError(
            "parameters have no data", hint="only trained networks are quantised"
        )


def _as_clamp(node: Node) -> Node:
    if node.op.name not in RANGES or not node.output.type.dtype.is_float:
        return node
    return replace(node, op=clamp, attrs=Clamp(*RANGES[node.op.name]))


def is_product(node: Node, params: Mapping[str, object]) -> bool:
    """Whether `node` is a weighted sum with constant weights, and a constant bias if any."""
    constants = all(v.name in params for v in node.inputs[1:])
    return node.op.name in PRODUCTS and constants and node.inputs[0].type.dtype.is_float


# Folding ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Affine:
    """y = x * scale + shift, along the channels: each (C) or (1), float64."""

    scale: Array
    shift: Array


def _fold_channels(graph: Graph, params: dict[str, Param]) -> tuple[Graph, dict[str, Param]]:
    names = {v.name for v in graph.values()}
    changed = True
    while changed:
        changed = False
        users, kept = graph.consumers(), {v.name for v in graph.outputs}
        for node in graph.nodes:
            y = node.output
            if not is_product(node, params) or y.name in kept or len(users[y.name]) != 1:
                continue
            behind = users[y.name][0]
            found = _affine(behind, y, params)
            if found is None:
                continue
            merged = _merged(node, behind, found, params, names)
            nodes = [merged if n is behind else n for n in graph.nodes if n is not node]
            used = {v.name for n in nodes for v in n.inputs}
            held = tuple(p.value for p in params.values() if p.name in used)
            graph, changed = replace(graph, nodes=tuple(nodes), params=held), True
            break
    return graph, params


def _affine(node: Node, x: Value, params: Mapping[str, Param]) -> _Affine | None:
    """What `node` does to the channels of `x`, where that is all it does."""
    if node.op.name not in FOLDED or node.output.type != x.type or len(node.inputs) != 2:
        return None
    first = node.inputs[0].name == x.name
    other = node.inputs[1] if first else node.inputs[0]
    data = params[other.name].data if other.name in params else None
    if (
        data is None
        or data.size not in (1, data.shape[-1])
        or data.size not in (1, x.type.shape[-1])
    ):
        return None
    c, one, zero = data.reshape(-1).astype(np.float64), np.ones(1), np.zeros(1)
    name = node.op.name
    if name == "add":
        return _Affine(one, c)
    if name == "mul":
        return _Affine(c, zero)
    if name == "sub":
        return _Affine(one, -c) if first else _Affine(-one, c)
    return _Affine(1 / c, zero) if first and np.all(c != 0) else None


def _merged(
    product: Node, behind: Node, found: _Affine, params: dict[str, Param], names: set[str]
) -> Node:
    """The product that gives what `behind` gave; its parameters are added to `params`."""
    x, w, *rest = product.inputs
    weights, count = params[w.name].data, product.output.type.shape[-1]
    assert weights is not None
    bias = params[rest[0].name].data if rest else np.zeros(count)
    assert bias is not None
    scale = np.broadcast_to(found.scale, (count,))
    folded = weights.astype(np.float64) * scale.reshape(-1, *[1] * (weights.ndim - 1))
    moved = bias.astype(np.float64) * scale + found.shift
    made = [
        Param(Value(fresh_name(names, f"{w.name}/folded"), w.type), folded.astype(np.float32)),
        Param(Value(fresh_name(names, f"{w.name}/bias"), f32(count)), moved.astype(np.float32)),
    ]
    params.update((p.name, p) for p in made)
    inputs = (x, *(p.value for p in made))
    return replace(product, inputs=inputs, outputs=behind.outputs)

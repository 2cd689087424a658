"""The last layer in float32: a classifier of the user's own classes on the network's features.

A float head costs a few kilobytes and gains accuracy over an int8 one (Lin et al. 2022, Table 3:
71.2 to 73.5 % on average).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lilliput.errors import GraphError, UsageError
from lilliput.ir import Array, Builder, Graph, Module, Node, Param, Value
from lilliput.ir.rewrite import drop_dead
from lilliput.ops import registry
from lilliput.ops.gradient import real, reshape
from lilliput.train.layers import Layer, layers, logits

_SHAPING = ("reshape", "squeeze")


@dataclass(frozen=True)
class Head:
    """w (classes, features), b (classes), float32."""

    w: Array
    b: Array


def with_head(module: Module, classes: int | None = None, seed: int = 0) -> Module:
    """`module` with its last layer as a float `linear`, and nothing behind it.

    classes : how many; those of the network with its own weights when None, else drawn weights.
        The entry's output is (1, classes) logits, float32.
    Raises GraphError where the network does not end in a product, UsageError for classes < 2.
    """
    if classes is not None and classes < 2:
        raise UsageError("classes", expected="2 or more", found=classes)
    graph, end = logits(module)
    layer = _last(module, graph, end)
    features = layer.node.inputs[0]
    head = _drawn(classes, features.type.size, seed) if classes else _own(module, layer)
    before = graph.nodes[: graph.nodes.index(layer.node)]
    b = Builder(dict(module.params), {v.name for n in before for v in (*n.inputs, *n.outputs)})
    x = reshape(b, real(b, features), (1, features.type.size))
    w, bias = b.param("head/weight", head.w), b.param("head/bias", head.b)
    out = b.add(registry.get("linear"), (x, w, bias), name="logits", origin=layer.name)
    made = b.graph((out,))
    params = (*graph.params, *made.params)
    whole = drop_dead(Graph(graph.inputs, params, (*before, *made.nodes), (out,)))
    kept = {p.name: b.params[p.name] for p in whole.params}
    return replace(module, graphs={module.entry: whole}, params=kept, states={})


def _last(module: Module, graph: Graph, end: Value) -> Layer:
    """The product whose result, reshaped at most, is `end`."""
    makers: Mapping[str, Node] = graph.producers()
    while end.name in makers and makers[end.name].op.name in _SHAPING:
        end = makers[end.name].inputs[0]
    found = [la for la in layers(module) if la.node.output.name == end.name]
    if not found or found[0].node.inputs[0].type.size != found[0].weight.type.shape[-1]:
        raise GraphError(
            "the network does not end in a layer that can be its head",
            where=makers[end.name].describe() if end.name in makers else end.name,
            expected="a linear layer or a 1x1 convolution of one pixel with constant weights",
            hint="train it with a loss on what it gives: --loss mse",
        )
    return found[0]


def _drawn(classes: int, features: int, seed: int) -> Head:
    """Uniform within 1 / sqrt(features), as PyTorch starts a linear layer; no bias."""
    bound = 1 / np.sqrt(features)
    w = np.random.default_rng(seed).uniform(-bound, bound, (classes, features))
    return Head(w.astype(np.float32), np.zeros(classes, np.float32))


def _own(module: Module, layer: Layer) -> Head:
    w = _real(module.params[layer.weight.name])
    count = int(w.shape[0])
    if layer.bias is None:
        none: Array = np.zeros(count, np.float32)
        return Head(w.reshape(count, -1), none)
    data = module.params[layer.bias.name].data
    assert data is not None
    x, quant = layer.node.inputs[0].type, layer.weight.type.quant
    if quant is not None:
        data = data * (np.array(quant.scale) * x.scale)
    real: Array = data.astype(np.float32)
    return Head(w.reshape(count, -1), real)


def _real(param: Param) -> Array:
    """Real weights (O,...) of float or integer ones."""
    if param.data is None:
        raise UsageError("parameter has no data: it cannot be trained", where=param.name)
    quant = param.value.type.quant
    if quant is None:
        return param.data.astype(np.float32)
    column = (-1, *(1,) * (param.data.ndim - 1))
    scale, zero = (np.array(v).reshape(column) for v in (quant.scale, quant.zero_point))
    return ((param.data.astype(np.int64) - zero) * scale).astype(np.float32)

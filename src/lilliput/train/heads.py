"""The last layer as a classifier of the user's own classes on the network's features.

Its weights are float32, or int8 with one scale: a quarter of the bytes, or half with a rest for
each.  Either way nothing of it is requantised: sums of integers are int32, and the logits the real
numbers that these stand for.  A float head gains accuracy over an int8 one whose steps are rounded
to the nearest (Lin et al. 2022, Table 3: 71.2 to 73.5 % on average).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lilliput.errors import GraphError, UnsupportedError, UsageError
from lilliput.ir import Array, Builder, DType, Graph, Module, Node, Param, Quant, Value
from lilliput.ir.rewrite import drop_dead
from lilliput.ops import registry
from lilliput.ops.accumulate import Conv2d
from lilliput.ops.gradient import call, column, constant, real, reshape
from lilliput.train.layers import Layer, layers, logits

HEADS = ("float", "int8")
"""What the weights of a head are stored in."""
ROOM = 8.0
"""Largest int8 weight that a new head can grow to, by the bound within which weights are drawn."""
_SHAPING = ("reshape", "squeeze")


@dataclass(frozen=True)
class Head:
    """w (classes, features), b (classes): float32; or w (classes, 1, 1, features) int8 with the
    scales `quant`, and int32."""

    w: Array
    b: Array
    quant: Quant | None = None


def with_head(
    module: Module, classes: int | None = None, seed: int = 0, form: str = HEADS[0]
) -> Module:
    """`module` with its last layer as a product of one row of features, and nothing behind it but
    what makes real numbers of integer sums.

    classes : how many; those of the network with its own weights when None, else drawn weights.
        The entry's output is (1, classes) logits, float32.
    form : of its weights, one of `HEADS`; int8: a new head has one scale, the network's own keeps
        weights, scales and bias as they are stored
    Raises GraphError where the network does not end in a product, UsageError for classes < 2 and an
    unknown form, UnsupportedError where an int8 head has no int8 features or own weights.
    """
    if classes is not None and classes < 2:
        raise UsageError("classes", expected="2 or more", found=classes)
    if form not in HEADS:
        raise UsageError("unknown head", expected=" or ".join(HEADS), found=form)
    graph, end = logits(module)
    layer = _last(module, graph, end)
    before = graph.nodes[: graph.nodes.index(layer.node)]
    b = Builder(dict(module.params), {v.name for n in before for v in (*n.inputs, *n.outputs)})
    add = _floats if form == "float" else _integers
    out = add(b, module, layer, classes, seed)
    made = b.graph((out,))
    params = (*graph.params, *made.params)
    whole = drop_dead(Graph(graph.inputs, params, (*before, *made.nodes), (out,)))
    kept = {p.name: b.params[p.name] for p in whole.params}
    return replace(module, graphs={module.entry: whole}, params=kept, states={})


def _floats(b: Builder, module: Module, layer: Layer, classes: int | None, seed: int) -> Value:
    features = layer.node.inputs[0]
    count = features.type.size
    head = _drawn(classes, count, seed) if classes else _own(module, layer)
    x = reshape(b, real(b, features), (1, count))
    w, bias = b.param("head/weight", head.w), b.param("head/bias", head.b)
    return b.add(registry.get("linear"), (x, w, bias), name="logits", origin=layer.name)


def _integers(b: Builder, module: Module, layer: Layer, classes: int | None, seed: int) -> Value:
    """int32 sums of int8 features and weights, and the real numbers that they are: a convolution
    of one pixel, whose gradient of weights has their shape, so that each is applied as it is made.
    """
    features = layer.node.inputs[0]
    type, count = features.type, features.type.size
    if type.dtype is not DType.S8 or type.quant is None or not type.quant.is_per_tensor:
        raise UnsupportedError(
            "an int8 head needs int8 features",
            where=layer.node.describe(),
            expected="a network of int8",
            found=f"{type}, {type.quant or 'not quantised'}",
            hint="--head float, or lilliput quantize first",
        )
    head = _rounded(_drawn(classes, count, seed)) if classes else _stored(module, layer)
    w = b.param("head/weight", head.w, head.quant)
    bias = b.param("head/bias", head.b)
    x = reshape(b, features, (1, 1, 1, count))
    conv, raw = registry.get("conv2d"), Conv2d(raw=True)
    sums = b.add(conv, (x, w, bias), raw, name="logits/sums", origin=layer.name)
    return _logits(b, sums)


def _logits(b: Builder, sums: Value) -> Value:
    """The real numbers of int32 sums, which have one scale, or one for each class."""
    assert sums.type.quant is not None
    row = (1, sums.type.size)
    if sums.type.quant.is_per_tensor:
        return b.add(registry.get("dequantize"), (reshape(b, sums, row),), name="logits")
    numbers = reshape(b, call(b, "cast", sums, dtype=DType.F32), row)
    scales = constant(b, column(sums.type).reshape(row))
    return b.add(registry.get("mul"), (numbers, scales), name="logits")


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
    """Uniform within the bound; no bias."""
    bound = _bound(features)
    w = np.random.default_rng(seed).uniform(-bound, bound, (classes, features))
    return Head(w.astype(np.float32), np.zeros(classes, np.float32))


def _bound(features: int) -> float:
    """1 / sqrt(features), within which PyTorch starts a linear layer."""
    return float(1 / np.sqrt(features))


def _rounded(head: Head) -> Head:
    """Drawn weights in int8, with one scale that does not depend on what was drawn: rows of other
    classes change none."""
    scale = np.float32(ROOM * _bound(head.w.shape[1]) / 127)
    w: Array = np.rint(head.w / scale).astype(np.int8)
    return Head(w[:, None, None], np.zeros(len(w), np.int32), Quant.per_tensor(float(scale)))


def _stored(module: Module, layer: Layer) -> Head:
    """The network's own weights and scales."""
    param = module.params[layer.weight.name]
    type, data = param.value.type, param.data
    if data is None:
        raise _without_data(param)
    if type.dtype not in (DType.S8, DType.S4) or type.quant is None or any(type.quant.zero_point):
        raise UnsupportedError(
            "the network's own head cannot be an int8 one",
            where=layer.node.describe(),
            expected="int8 weights without zero points",
            found=f"{type}, {type.quant or 'not quantised'}",
            hint="--head float, or --classes N for a new one",
        )
    count = len(data)
    bias: Array = np.zeros(count, np.int32)
    if layer.bias is not None:
        own = module.params[layer.bias.name].data
        assert own is not None
        bias = own.astype(np.int32)
    return Head(data.reshape(count, 1, 1, -1).astype(np.int8), bias, type.quant)


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
        raise _without_data(param)
    quant = param.value.type.quant
    if quant is None:
        return param.data.astype(np.float32)
    column = (-1, *(1,) * (param.data.ndim - 1))
    scale, zero = (np.array(v).reshape(column) for v in (quant.scale, quant.zero_point))
    return ((param.data.astype(np.int64) - zero) * scale).astype(np.float32)


def _without_data(param: Param) -> UsageError:
    return UsageError("parameter has no data: it cannot be trained", where=param.name)

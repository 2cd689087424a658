"""Channels whose bias has run into the ends of int32, written with numbers of an ordinary size.

A quantiser gives an output channel that has lost its weights a scale of its least number, and
then its bias no longer fits.  The published checkpoints of MCUNetV3 have dozens of them: weights
that are zero or move the sum by less than the result shows, beside a bias of -2^31.  What such a
channel stores is one number; but one of them is enough that no kernel may double the sums of
its layer, and that none of its requantisations is short.

One idea: weights of zero may have any scale.  The channel's scale grows by a power of two and its
bias shrinks by the same, so that the real bias and the stored number stay what they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lilliput.ir import Array, DType, Graph, Module, Node, Param, Quant, Value
from lilliput.ops.accumulate import (
    Conv2d,
    Linear,
    acc_type,
    is_raw,
    multipliers,
    requantize,
    resumes,
)
from lilliput.ops.numeric import INT32_MAX, INT32_MIN
from lilliput.ops.scaling import MOST_SHIFT

NEAR = 1 << 27
"""Channels whose sums may be larger than this are looked at, and those that are scaled by less than
short requantisations take."""
SMALL = 1 << 26
"""What is left of a bias at most."""


@dataclass(frozen=True, eq=False)
class _Layer:
    """A product of constant int8 weights, which nothing else reads, and its constant int32 bias."""

    node: Node
    weights: Param
    bias: Param

    @property
    def data(self) -> tuple[Array, Array]:
        w, bias = self.weights.data, self.bias.data
        assert w is not None
        assert bias is not None
        return w.astype(np.int64), bias.astype(np.int64)


def unsaturated(module: Module) -> Module:
    """The first entry with small biases in place of those of constant channels.

    Results are those of `module`, except where a sum leaves int32: there they are what a sum that
    saturates gives, not one that wraps.
    """
    graph = module.graphs[module.entry]
    params = dict(module.params)
    for layer in _layers(graph, module.params):
        changed = _rewritten(layer)
        params |= {p.name: p for p in changed}
    return _with_params(module, graph, params)


def _layers(graph: Graph, params: Mapping[str, Param]) -> list[_Layer]:
    users = graph.consumers()
    found: list[_Layer] = []
    for node in graph.nodes:
        if not isinstance(node.attrs, Conv2d | Linear) or len(node.inputs) < 3:
            continue
        if resumes(node) or is_raw(node) or node.output.type.dtype is not DType.S8:
            continue
        w, bias = (params.get(v.name) for v in node.inputs[1:3])
        if w is None or bias is None or w.data is None or bias.data is None:
            continue
        alone = all(len(users[p.name]) == 1 for p in (w, bias))
        quant = w.value.type.quant
        channels = quant is not None and not quant.is_per_tensor and not any(quant.zero_point)
        if alone and channels and w.value.type.dtype is DType.S8 and acc_type(node) is DType.S32:
            found.append(_Layer(node, w, bias))
    return found


def _rewritten(layer: _Layer) -> tuple[Param, ...]:
    """Weights and bias, where there are channels to change."""
    w, bias = layer.data
    x = layer.node.inputs[0].type
    low, high = x.dtype.bounds
    reach = max(abs(low), high) + abs(x.zero_point)
    size = reach * np.abs(w).reshape(len(w), -1).sum(1)
    quant = layer.weights.value.type.quant
    assert quant is not None
    ends = [_stored(layer.node, np.clip(bias + s, INT32_MIN, INT32_MAX)) for s in (-size, size)]
    times = np.zeros(len(bias), np.int64)
    far = np.array(multipliers(layer.node)[1]) < -MOST_SHIFT
    odd = (np.abs(bias) + size >= NEAR) | far
    for c in np.flatnonzero(odd & (ends[0] == ends[1])).tolist():
        times[c] = _power(layer.node, quant, c, int(bias[c]), int(ends[0][c]))
    if not times.any():
        return ()
    some = times > 0
    w[some] = 0
    bias = np.where(some, _shifted(bias, times), bias)
    return _scaled(layer.weights, w, times), _scaled(layer.bias, bias, times)


def _power(node: Node, quant: Quant, c: int, bias: int, stored: int) -> int:
    """By which power of two the scale of channel `c` grows; 0 where none keeps what is stored."""
    for k in range(1, 31):
        smaller = int(_shifted(np.array(bias), np.array(k)))
        if abs(smaller) > SMALL:
            continue
        scale = (*quant.scale[:c], quant.scale[c] * 2.0**k, *quant.scale[c + 1 :])
        type = replace(node.inputs[1].type, quant=replace(quant, scale=scale))
        weights = replace(node.inputs[1], type=type)
        moved = node.with_inputs((node.inputs[0], weights, *node.inputs[2:]))
        if multipliers(moved)[1][c] < -MOST_SHIFT:
            continue
        sums = np.zeros(len(quant.scale), np.int64)
        sums[c] = smaller
        return k if _stored(moved, sums)[c] == stored else 0
    return 0


def _shifted(bias: Array, power: Array) -> Array:
    """bias / 2^power to the nearest."""
    return (bias + ((1 << power) >> 1)) >> power


def _stored(node: Node, sums: Array) -> Array:
    """int64 (O): what each channel stores of its sum."""
    return requantize(node, sums).astype(np.int64)


def _scaled(param: Param, data: Array, power: Array) -> Param:
    """The parameter with new numbers, a step of channel c 2^power[c] times as large."""
    type = param.value.type
    quant = type.quant
    if quant is not None and not quant.is_per_tensor:
        scale = tuple(s * 2.0**k for s, k in zip(quant.scale, power.tolist(), strict=True))
        type = replace(type, quant=replace(quant, scale=scale))
    return Param(replace(param.value, type=type), data.astype(type.dtype.numpy))


def _with_params(module: Module, graph: Graph, params: Mapping[str, Param]) -> Module:
    """`module` over parameters of new types."""
    new: Mapping[str, Value] = {name: p.value for name, p in params.items()}
    nodes = tuple(
        replace(n, inputs=tuple(new.get(v.name, v) for v in n.inputs)) for n in graph.nodes
    )
    moved = replace(graph, params=tuple(new[v.name] for v in graph.params), nodes=nodes)
    return replace(module, graphs={**module.graphs, module.entry: moved}, params=dict(params))

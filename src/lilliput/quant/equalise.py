"""Channels of unequal range, brought nearer to one another; the float function stays.

Between two products that only a rectifier or nothing separates, channel i may be divided by any
s[i] > 0 if the next layer's weights for it are multiplied by it (Nagel et al. 2019, cross-layer
equalisation).  There the ranges of the weights of both layers are balanced.  Weights have a scale
for each channel here, so what suffers is the activation between, with its one scale: its channel
ranges, as calibration saw them, take the place of the first layer's weights.

One idea: s[i] = sqrt(r[i] / w[i]) makes r[i] / s[i] equal to w[i] * s[i], r the range of channel
i and w that of the weights that read it.  A depthwise layer has a scale for each channel of its
own, so nothing is lost there: s[i] = r[i], all channels equal.  A clamp to 6 is no line through
zero, so it stands between: it is listed in `blocked`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lilliput.ir.graph import Graph, Node
from lilliput.ir.module import Module, Param
from lilliput.ir.types import Array
from lilliput.ops.elementwise import Clamp
from lilliput.quant.calibrate import Extremes
from lilliput.quant.prepare import is_product

ROUNDS = 4
"""A layer's own channels change the weights that the pair before it is balanced by."""
MOST = 2.0**12
"""Of one channel's factor, either way."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Two products with channels of one value (or of its clamped form) between them."""

    first: Node
    between: tuple[str, ...]
    second: Node

    @property
    def depthwise(self) -> bool:
        return self.second.inputs[1].type.shape[-1] == 1 and self.second.op.name == "conv2d"


@dataclass(frozen=True, eq=False)
class Equalised:
    """pairs : how many; blocked : values that a clamp kept from it; spread : value -> largest over
    typical channel range, before and after."""

    module: Module
    pairs: int
    blocked: tuple[str, ...]
    spread: Mapping[str, tuple[float, float]]


def equalise(module: Module, extremes: Mapping[str, Extremes]) -> Equalised:
    """The same float network with channels of nearer ranges."""
    graph = module.graphs[module.entry]
    pairs, blocked = _pairs(graph, module)
    params = dict(module.params)
    reach = {p.between[-1]: extremes[p.between[-1]].reach.astype(np.float64) for p in pairs}
    before = {name: spread(r) for name, r in reach.items()}
    for _ in range(ROUNDS):
        for pair in pairs:
            name = pair.between[-1]
            s = _factors(pair, reach[name], params)
            _divide(pair, s, params)
            reach[name] = reach[name] / s
    after = {name: (before[name], spread(r)) for name, r in reach.items()}
    return Equalised(replace(module, params=params), len(pairs), tuple(blocked), after)


def spread(reach: Array) -> float:
    """The largest channel range over the middle one of those that are not 0; 1 = all equal."""
    live = reach[reach > 0]
    return float(live.max() / np.median(live)) if live.size else 1.0


def _pairs(graph: Graph, module: Module) -> tuple[list[Pair], list[str]]:
    users, kept = graph.consumers(), {v.name for v in graph.outputs}
    found, blocked = list[Pair](), list[str]()
    for first in graph.nodes:
        if not is_product(first, module.params) or first.op.name == "transpose_conv":
            continue
        value, names = first.output, [first.output.name]
        while value.name not in kept and len(users[value.name]) == 1:
            node = users[value.name][0]
            if isinstance(node.attrs, Clamp):
                if (node.attrs.low, node.attrs.high) != (0.0, math.inf):
                    blocked.append(node.output.name)
                    break
                value = node.output
                names.append(value.name)
                continue
            if _reads_channels(node, module) and node.inputs[0].name == value.name:
                found.append(Pair(first, tuple(names), node))
            break
    return found, blocked


def _reads_channels(node: Node, module: Module) -> bool:
    """Whether the weights of `node` have an index for each channel of its input."""
    if not is_product(node, module.params) or node.op.name == "transpose_conv":
        return False
    channels, w = node.inputs[0].type.shape[-1], node.inputs[1].type.shape
    return w[-1] == channels or (w[-1] == 1 and node.op.name == "conv2d" and w[0] == channels)


def _factors(pair: Pair, reach: Array, params: Mapping[str, Param]) -> Array:
    data = params[pair.second.inputs[1].name].data
    assert data is not None
    read = np.abs(data.astype(np.float64))
    weights = np.ones_like(reach) if pair.depthwise else read.reshape(-1, read.shape[-1]).max(0)
    live = (reach > 0) & (weights > 0)
    s = np.ones_like(reach)
    if not live.any():
        return s
    s[live] = reach[live] if pair.depthwise else np.sqrt(reach[live] / weights[live])
    s[live] /= np.exp(np.mean(np.log(s[live])))
    return np.clip(s, 1 / MOST, MOST)


def _divide(pair: Pair, s: Array, params: dict[str, Param]) -> None:
    """Channels of the first layer by s, what reads them times s."""

    def scaled(name: str, factor: Array) -> None:
        old = params[name]
        assert old.data is not None
        params[name] = replace(old, data=(old.data * factor).astype(np.float32))

    _, w, *bias = pair.first.inputs
    scaled(w.name, (1 / s).reshape(-1, *[1] * (len(w.type.shape) - 1)))
    for b in bias:
        scaled(b.name, 1 / s)
    read = pair.second.inputs[1]
    axis = -1 if not pair.depthwise else 0
    scaled(read.name, s if axis == -1 else s.reshape(-1, 1, 1, 1))

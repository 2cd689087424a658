"""Activations in another form, which takes a factor s[i] for each channel:

    clamp(x, 0, b)  = s * min(max(x', 0), b / s)                 with x' = x / s
    hard_swish(x)   = s * (x' * clamp(x' * s / 6 + 1/2, 0, 1))

One idea: only operators that have exact integers for any factors: bounds are constants of the
result's own scale, slopes are weights with a scale for each channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node, Value
from lilliput.ir.module import Module, Param
from lilliput.ir.types import Array
from lilliput.ops.accumulate import Conv2d
from lilliput.ops.compare import minimum
from lilliput.ops.conv import conv2d
from lilliput.ops.elementwise import Clamp, clamp, mul
from lilliput.ops.shape import Reshape, reshape


def reformed(module: Module, factors: Mapping[str, Array]) -> Module:
    """The network with the activations named in `factors` in their other form, for operands and
    results that are divided by the factors (C)."""
    if not factors:
        return module
    graph = module.graphs[module.entry]
    names = {v.name for v in graph.values()}
    made, nodes = list[Param](), list[Node]()
    for node in graph.nodes:
        s = factors.get(node.output.name)
        if s is None:
            nodes.append(node)
            continue
        b = Builder(names=names)
        last = _bounded(b, node, s) if isinstance(node.attrs, Clamp) else _gated(b, node, s)
        nodes += [*b.nodes[:-1], replace(b.nodes[-1], outputs=node.outputs)]
        assert last is b.nodes[-1].output
        made += b.params.values()
    graph = replace(graph, nodes=tuple(nodes), params=(*graph.params, *(p.value for p in made)))
    params = {**module.params, **{p.name: p for p in made}}
    return replace(module, graphs={module.entry: graph}, params=params)


def _bounded(b: Builder, node: Node, s: Array) -> Value:
    """A rectifier and a bound for each channel."""
    assert isinstance(node.attrs, Clamp)
    name, origin = node.output.name, node.origin or node.output.name
    bounds = b.param(f"{name}/bounds", (node.attrs.high / s).astype(np.float32))
    x = b.add(clamp, node.inputs, Clamp(0.0), name=f"{name}/rectified", origin=origin)
    return b.add(minimum, (x, bounds), name=f"{name}/bounded", origin=origin)


def _gated(b: Builder, node: Node, s: Array) -> Value:
    """x times a gate: a depthwise layer of one tap, whose integers hold any factors exactly."""
    name, origin = node.output.name, node.origin or node.output.name
    (x,), channels = node.inputs, len(s)
    w = b.param(f"{name}/slopes", (s / 6).astype(np.float32).reshape(-1, 1, 1, 1))
    half = b.param(f"{name}/half", np.full(channels, 0.5, np.float32))

    def shaped(v: Value, shape: tuple[int, ...], stem: str) -> Value:
        same = v.type.shape == shape
        return (
            v
            if same
            else b.add(reshape, (v,), Reshape(shape), name=f"{name}/{stem}", origin=origin)
        )

    shape = x.type.shape
    flat = shaped(x, shape if len(shape) == 4 else (1, shape[0], 1, shape[1]), "rows")
    sums = b.add(
        conv2d, (flat, w, half), Conv2d(groups=channels), name=f"{name}/sums", origin=origin
    )
    gate = b.add(clamp, (sums,), Clamp(0.0, 1.0), name=f"{name}/gate", origin=origin)
    return b.add(mul, (x, shaped(gate, shape, "back")), name=f"{name}/gated", origin=origin)

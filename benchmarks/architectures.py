"""Integer networks of a published architecture whose weights are not: for RAM and speed alone.

Weights are drawn from a fixed seed, scales are such that values spread over their type; what a
plan needs does not depend on them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lilliput.frontends.checkpoints import read_architecture
from lilliput.ir import Module, Node, Param, Quant, TensorType, Value
from lilliput.ir.types import DType
from lilliput.ops.elementwise import Clamp
from lilliput.passes.canonicalize import Canonicalize

SEED = 0


def integers(data: bytes, name: str) -> Module:
    """The int8 network of an architecture in JSON, activations as bounds of their layers."""
    float_one = read_architecture(data, name)
    rng = np.random.default_rng(SEED)
    graph = float_one.graphs["infer"]
    known: dict[str, Value] = {}
    params: dict[str, Param] = {}
    for value in graph.params:
        weights = len(value.type.shape) > 1
        channels = value.type.shape[0]
        reach = 127 if weights else 2000
        drawn = rng.integers(-reach, reach + 1, value.type.shape)
        fan = int(np.prod(value.type.shape[1:]))
        quant = Quant((float(np.float32(0.3 / fan**0.5)),) * channels, (0,) * channels, 0)
        dtype = DType.S8 if weights else DType.S32
        type = TensorType(value.type.shape, dtype, quant if weights else None)
        known[value.name] = Value(value.name, type)
        params[value.name] = Param(known[value.name], drawn.astype(dtype.numpy))
    nodes: list[Node] = []
    for value in graph.inputs:
        known[value.name] = Value(value.name, _stored(value.type))
    for node in graph.nodes:
        inputs = [known[v.name] for v in node.inputs]
        kept = node.op.name in ("clamp", "avg_pool2d", "reshape")
        quant = inputs[0].type.quant if kept else _stored(node.output.type).quant
        y = Value(node.output.name, TensorType(node.output.type.shape, DType.S8, quant))
        known[y.name] = y
        attrs = Clamp(-20.0, 100.0) if node.op.name == "clamp" else node.attrs
        nodes.append(replace(node, inputs=tuple(inputs), outputs=(y,), attrs=attrs))
    whole = replace(
        graph,
        inputs=tuple(known[v.name] for v in graph.inputs),
        params=tuple(known[v.name] for v in graph.params),
        nodes=tuple(nodes),
        outputs=tuple(known[v.name] for v in graph.outputs),
    )
    return Canonicalize()(Module({"infer": whole}, params, {}, name))


def _stored(type: TensorType) -> TensorType:
    return TensorType(type.shape, DType.S8, Quant.per_tensor(0.05, -3))

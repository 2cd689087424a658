"""Float networks for the tests of quantisation: the digits network in floats, and small ones.

One idea: the demo's int8 network says its weights in reals, so its float twin needs no training.
Not a test module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np

from lilliput.compiler import load
from lilliput.demo_data import digits_model
from lilliput.ir import Array, Builder, DType, Module, Param, Value
from lilliput.ir.types import f32
from lilliput.ops.conv import Conv2d, Linear, conv2d, linear
from lilliput.ops.elementwise import Clamp, add, clamp, mul
from lilliput.ops.frame import Pad, pad
from lilliput.ops.pool import Pool, avg_pool2d, max_pool2d
from lilliput.ops.reduce import Reduction, mean
from lilliput.ops.shape import Concat, Reshape, concat, reshape
from lilliput.ops.softmax import Softmax, softmax
from lilliput.ops.unary import UNARY


def float_digits() -> Module:
    """The digits network of the demo, in floats; its input is a picture of 0..16."""
    module = load(digits_model()).module
    graph = module.graphs[module.entry]
    b, made = Builder(), dict[str, Value]()
    scales: dict[str, Array] = {}
    for v in graph.inputs:
        made[v.name] = b.input(v.name, f32(*v.type.shape))
    for node in graph.nodes:
        operands = [made[v.name] for v in node.inputs[:1]]
        for k, v in enumerate(node.inputs[1:]):
            data = module.params[v.name].data
            assert data is not None
            if k == 0:
                assert v.type.quant is not None
                scales[node.output.name] = np.array(v.type.quant.scale)
                along = scales[node.output.name].reshape(-1, *[1] * (data.ndim - 1))
            else:
                along = scales[node.output.name] * node.inputs[0].type.scale
            operands.append(b.param(v.name, (data * along).astype(np.float32)))
        y = node.output.name
        made[y] = b.add(node.op, operands, node.attrs, name=y, origin=node.origin)
        if node.op is conv2d:  # its rectifier is the end of its int8 range
            made[y] = b.add(clamp, (made[y],), Clamp(0.0), name=f"{y}/relu", origin=node.origin)
    return b.module([made[v.name] for v in graph.outputs], name="digits")


def unequal(module: Module, seed: int = 0, decades: float = 3.0) -> Module:
    """The same float function with the channels between layers far apart: those that a rectifier
    alone separates from a depthwise layer are multiplied, and divided behind it."""
    rng = np.random.default_rng(seed)
    graph, params = module.graphs[module.entry], dict(module.params)
    products = [n for n in graph.nodes if n.op is conv2d]
    for first, second in pairwise(products):
        channels = first.output.type.shape[3]
        if second.inputs[1].type.shape[3] != 1:
            continue
        factor = (10.0 ** rng.uniform(0, decades, channels)).astype(np.float32)
        for name in (v.name for v in first.inputs[1:]):
            _multiply(params, name, factor)
        _multiply(params, second.inputs[1].name, 1 / factor)
    return replace(module, params=params)


def _multiply(params: dict[str, Param], name: str, factor: Array) -> None:
    data = params[name].data
    assert data is not None
    along = factor.reshape(-1, *[1] * (data.ndim - 1))
    params[name] = replace(params[name], data=(data * along).astype(np.float32))


def varied(dtype: DType = DType.S8) -> Module:
    """One network with an operator of every kind of form, on (1, 6, 6, 3)."""
    rng = np.random.default_rng(3)
    b = Builder()

    def weights(name: str, *shape: int) -> Value:
        return b.param(name, rng.normal(0, 0.4, shape).astype(np.float32))

    x = b.input("x", f32(1, 6, 6, 3))
    wide = b.add(pad, (x,), Pad((0, 1, 1, 0), (0, 1, 1, 0), 0.0), name="wide")
    a = b.add(conv2d, (wide, weights("wa", 8, 3, 3, 3)), Conv2d(), name="a")
    a = b.add(mul, (a, weights("norm", 8)), name="a/scaled")
    a = b.add(add, (a, weights("shift", 8)), name="a/shifted")
    a = b.add(clamp, (a,), Clamp(0.0, 6.0), name="a/relu6")
    d = b.add(conv2d, (a, weights("wd", 8, 3, 3, 1)), Conv2d(pad=(1, 1, 1, 1), groups=8), name="d")
    d = b.add(UNARY["relu"], (d,), name="d/relu")
    total = b.add(add, (a, d), name="residual")
    gate = b.add(UNARY["logistic"], (total,), name="gate")
    sides = [b.add(mul, (total, gate), name="gated"), b.add(UNARY["tanh"], (d,), name="tanh")]
    if dtype is DType.S8:
        sides.append(b.add(UNARY["hard_swish"], (total,), name="hard_swish"))
    joined = b.add(concat, sides, Concat(3), name="joined")
    small = b.add(max_pool2d, (joined,), Pool((2, 2), (2, 2)), name="small")
    small = b.add(avg_pool2d, (small,), Pool((2, 2), (1, 1)), name="smaller")
    flat = b.add(mean, (small,), Reduction((1, 2)), name="means")
    flat = b.add(reshape, (flat,), Reshape((1, flat.type.size)), name="flat")
    y = b.add(
        linear, (flat, weights("wy", 5, flat.type.size), weights("by", 5)), Linear(), name="y"
    )
    return b.module((b.add(softmax, (y,), Softmax(), name="scores"),), name="varied")


def pictures(count: int = 48, seed: int = 1) -> Array:
    return np.random.default_rng(seed).normal(0, 1, (count, 6, 6, 3)).astype(np.float32)


def inputs_of(module: Module, data: Array) -> Mapping[str, Array]:
    return {module.inputs(module.entry)[0].name: data}

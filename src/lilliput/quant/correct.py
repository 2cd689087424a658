"""Layer by layer towards the float network: adaptive rounding and bias correction.

One idea: both networks walk side by side over some of the data.  At each product the inputs that
the integer network really has are known; its weights are rounded for them, then what its sums
miss on average, channel by channel, is added to the bias (Nagel et al. 2019, empirical bias
correction), and the next layer sees the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lilliput.ir.module import Module
from lilliput.ir.types import Array
from lilliput.quant.batch import evenly, walk
from lilliput.quant.calibrate import constants
from lilliput.quant.prepare import is_product
from lilliput.quant.rounding import adapt
from lilliput.quant.scheme import Encodings, Weights
from lilliput.quant.simulate import Simulation

MOST = 128
"""Samples that it learns from, at most."""
ELEMENTS = 1 << 24
"""Of the largest value, over these samples: more is better, and they are all in memory at once."""


def correct(
    module: Module,
    encodings: Encodings,
    inputs: Mapping[str, Array],
    *,
    rounding: bool,
    bias: bool,
    seed: int = 0,
) -> Encodings:
    """`encodings` with better weights and biases of every product."""
    graph = module.graphs[module.entry]
    count, part = evenly(graph, inputs, MOST, ELEMENTS)
    whole = Simulation(module, encodings, part, count)
    rng = np.random.default_rng(seed)
    users = graph.consumers()
    left = {name: len(nodes) for name, nodes in users.items()}
    for step in walk(graph, module, part, count):
        node, name = step.node, step.node.output.name
        alone = all(len(users[v.name]) == 1 for v in node.inputs[1:])  # or frames share them
        if alone and is_product(node, module.params) and node.op.name != "transpose_conv":
            if rounding:
                real, _ = constants(module, node)
                x = whole.real(node.inputs[0])
                data = adapt(node, real, x, whole.weights[name], rng, centred=bias)
                whole.weights[name] = replace(whole.weights[name], data=data)
            if bias:
                missing = step.results[0] - whole.accumulated(node) * whole.unit(node)
                mean = missing.reshape(-1, missing.shape[-1]).mean(0)
                whole.weights[name] = _moved(whole.weights[name], mean / whole.unit(node))
        whole.apply(node)
        for v in {v.name for v in node.inputs}:
            left[v] -= 1
            if not left[v]:
                whole.forget(v)
    return replace(encodings, weights=whole.weights)


def _moved(weights: Weights, steps: Array) -> Weights:
    moved = np.clip(weights.bias + np.rint(steps), -(2**31 - 1), 2**31 - 1)
    return replace(weights, bias=moved.astype(np.int64))

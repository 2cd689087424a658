"""Ways to train that no device takes, as references for those that one does.

real       trained integers are kept as real numbers beside the network, and rounded when they
           are used: no step is ever lost
plain=F    the same without quantisation-aware scaling: an integer moves by F * rate * the
           gradient by the integer, which is the real gradient times the size of its step
           (Lin et al. 2022, equation 4), where the scaling divides by that size
float      what is behind the frozen front is a network of float32: weights, activations,
           gradients, steps; clamps stay where the integer network rectifies
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lilliput.ir import Array, Builder, DType, Module, Node, Value
from lilliput.ir.rewrite import drop_dead
from lilliput.ops.gradient import call, real
from lilliput.train import fast
from lilliput.train.stages import Run

REAL, FLOAT, PLAIN = "real", "float", "plain"


def factor(rule: str) -> float | None:
    """F of `plain=F`, 1 of `plain`; None of another rule."""
    name, _, number = rule.partition("=")
    return float(number or 1) if name == PLAIN else None


@dataclass
class Masters:
    """Executes updates on real numbers beside the integers: `round` is for their use alone.

    scale : tensor -> what its steps are multiplied by, of a shape that broadcasts to it
    """

    scale: Mapping[str, Array] = field(default_factory=dict[str, Array])
    real: dict[str, Array] = field(default_factory=dict[str, Array])

    def prepare(self, node: Node) -> Run:
        if node.op.name != "sgd":
            return fast.prepare(node)
        name, limits = node.inputs[0].name, node.op.limits(node)
        assert limits is not None
        low, high = limits
        scale = self.scale.get(name, 1.0)

        def run(operands: Sequence[Array]) -> tuple[Array]:
            w, step = operands
            known = self.real.get(name, w.astype(np.float64))
            moved = known - np.where(np.isnan(step), 0, step) * scale
            self.real[name] = np.clip(moved, low, high)
            return (np.rint(self.real[name]),)

        return run


def unscaled(module: Module, by: float) -> dict[str, Array]:
    """Trained integer tensor -> by * size of its step, squared: what takes the scaling out of
    steps that were divided by that size."""
    found: dict[str, Array] = {}
    for node in module.graphs[module.entry].nodes:
        if node.op.name not in ("conv2d", "linear") or node.inputs[1].type.quant is None:
            continue
        x, w, *more = node.inputs
        quant = w.type.quant
        assert quant is not None
        size = np.array(quant.scale, np.float64)
        if w.name in module.states:
            found[w.name] = by * size.reshape(-1, *(1,) * (len(w.type.shape) - 1)) ** 2
        for bias in more:
            if bias.name in module.states and bias.type.dtype is DType.S32:
                found[bias.name] = by * (size * x.type.scale) ** 2
    return found


def as_float(module: Module, front: str | None) -> Module:
    """An int8 network as the float32 one that it stands for, behind the node of origin `front`.

    front : None: all of it, its input dequantised
    Products, sums and pools alone: what convolutional networks are made of.
    """
    graph = module.graphs[module.entry]
    b = Builder(dict(module.params), set(module.params))
    known = {v.name: b.input(v.name, v.type) for v in graph.inputs}
    behind = front is None
    for node in graph.nodes:
        if behind:
            known[node.output.name] = _float_node(b, module, node, known)
            continue
        inputs = [known.get(v.name, v) for v in node.inputs]
        for value in node.inputs:
            if value.name in module.params:
                b.use(module.params[value.name])
        known[node.output.name] = b.add(
            node.op,
            inputs,
            node.attrs,
            type=node.output.type,
            name=node.output.name,
            origin=node.origin,
        )
        behind = node.origin == front
    made = drop_dead(b.graph([known[v.name] for v in graph.outputs]))
    kept = {p.name: b.params[p.name] for p in made.params}
    return replace(module, graphs={module.entry: made}, params=kept)


def _float_node(b: Builder, module: Module, node: Node, known: Mapping[str, Value]) -> Value:
    """A node of integers, on real numbers."""
    operands = [real(b, known[v.name]) for v in node.inputs if v.name in known]
    if node.op.name in ("conv2d", "linear"):
        operands += _float_weights(b, module, node)
    y = b.add(node.op, operands, node.attrs, name=node.output.name, origin=node.origin)
    quant, low = node.output.type.quant, node.output.type.dtype.bounds[0]
    if node.op.name in ("conv2d", "linear") and quant and quant.zero_point == (low,):
        high = (node.output.type.dtype.bounds[1] - low) * quant.scale[0]
        return call(b, "clamp", y, low=0.0, high=float(np.float32(high)))
    return y


def _float_weights(b: Builder, module: Module, node: Node) -> list[Value]:
    """The weights of a product, and its bias."""
    found: list[Value] = []
    x, w, *more = node.inputs
    assert w.type.quant is not None
    size = np.array(w.type.quant.scale, np.float64)
    for value, scale in [(w, size), *((v, size * x.type.scale) for v in more)]:
        data = module.params[value.name].data
        assert data is not None
        column = scale.reshape(-1, *(1,) * (data.ndim - 1))
        found.append(b.param(f"{value.name}/real", (data * column).astype(np.float32)))
    return found

"""The layers of a network whose tensors can be trained, in the order in which they run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lilliput.errors import GraphError, UnsupportedError
from lilliput.ir import DType, Graph, Module, Node, Value

PRODUCTS = ("conv2d", "linear", "transpose_conv")
"""Operators with weights (O,...) as operand 1 and a bias (O) as operand 2, both constants."""
_TRAINED = (DType.F32, DType.S8)


@dataclass(frozen=True)
class Layer:
    """index counts from 0 in the order of execution; `channels` is the axis of `weight` along
    which a part of it may be trained: input channels, or the channels of a depthwise one."""

    index: int
    node: Node
    weight: Value
    bias: Value | None

    @property
    def name(self) -> str:
        return self.node.origin or self.node.output.name

    @property
    def depthwise(self) -> bool:
        return len(self.weight.type.shape) == 4 and self.weight.type.shape[3] == 1 < self.groups

    @property
    def groups(self) -> int:
        return int(getattr(self.node.attrs, "groups", 1))

    @property
    def axis(self) -> int:
        return 0 if self.depthwise else len(self.weight.type.shape) - 1

    @property
    def channels(self) -> int:
        return self.weight.type.shape[self.axis]


def layers(module: Module) -> tuple[Layer, ...]:
    """The products of the first entry with constant weights of float32 or int8."""
    graph = module.graphs[module.entry]
    constant = {v.name for v in graph.params}
    found: list[Layer] = []
    for node in graph.nodes:
        if node.op.name not in PRODUCTS or node.inputs[1].name not in constant:
            continue
        weight = node.inputs[1]
        if weight.type.dtype not in _TRAINED:
            continue
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        own = bias if bias is not None and bias.name in constant else None
        found.append(Layer(len(found), node, weight, own))
    return tuple(found)


def logits(module: Module) -> tuple[Graph, Value]:
    """The first entry without the softmax that it may end in, and what it then ends in.

    Raises UnsupportedError for a network with states, GraphError where it has several outputs: a
    loss speaks of one.
    """
    graph = module.graphs[module.entry]
    if module.states:
        raise UnsupportedError(
            "a network that remembers between calls is not trained",
            where=module.name,
            found=", ".join(list(module.states)[:3]),
            hint="no gradient is carried from call to call: train a network of a whole window",
        )
    if len(graph.outputs) != 1:
        raise GraphError(
            "a network of one output can be trained",
            where=module.name,
            expected="one output",
            found=", ".join(str(v) for v in graph.outputs),
        )
    makers: Mapping[str, Node] = graph.producers()
    value = graph.outputs[0]
    while value.name in makers and makers[value.name].op.name in ("softmax", "dequantize"):
        value = makers[value.name].inputs[0]
    return graph, value

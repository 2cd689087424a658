"""Normalisations that are operators of their own: a scale and a shift for each channel, in float.

What measures its operand (layer, group, instance norm) is imported as means and products that end
in `mul` by gamma and `add` of beta; a batch norm behind an activation is such a pair as well.  One
that follows a product is folded into its weights and is no tensor any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lilliput.errors import UnsupportedError
from lilliput.ir import Module, Node, Value
from lilliput.train.stages import reached

_SHAPING = ("reshape", "transpose")


@dataclass(frozen=True)
class Norm:
    """name : by its origin; tensors : gamma, and beta where there is one."""

    name: str
    tensors: tuple[Value, ...]


def norms(module: Module) -> tuple[Norm, ...]:
    """The normalisations of the first entry, in order; raises UnsupportedError if there is none."""
    graph = module.graphs[module.entry]
    users, makers = graph.consumers(), graph.producers()
    constant = {v.name for v in graph.params}
    moving = reached(graph.nodes, [v.name for v in graph.inputs])
    found: list[Norm] = []
    for node in graph.nodes:
        gamma = _per_channel(node, "mul", constant, moving)
        if gamma is None:
            continue
        behind = users[node.output.name]
        beta = _per_channel(behind[0], "add", constant, moving) if len(behind) == 1 else None
        if beta is not None or _normalised(node.inputs[0], makers):
            tensors = (gamma,) if beta is None else (gamma, beta)
            found.append(Norm(node.origin or node.output.name, tensors))
    if not found:
        raise UnsupportedError(
            "no normalisation of this network is an operator of its own",
            where=module.name,
            expected="layer, group or instance norms, or batch norms behind activations, in float",
            hint="a norm behind a product is part of its weights and bias: --scheme biases",
        )
    return tuple(found)


def _per_channel(node: Node, op: str, constant: set[str], moving: set[str]) -> Value | None:
    """The constant operand of `op`, a float for each of several channels."""
    if node.op.name != op or node.inputs[0].name not in moving:
        return None
    v = node.inputs[1]
    return v if v.name in constant and v.type.dtype.is_float and v.type.size > 1 else None


def _normalised(v: Value, makers: Mapping[str, Node]) -> bool:
    """Whether `v`, reshaped at most, is something divided by a root."""
    while v.name in makers and makers[v.name].op.name in _SHAPING:
        v = makers[v.name].inputs[0]
    if v.name not in makers or makers[v.name].op.name not in ("mul", "div"):
        return False
    roots = (makers[x.name].op.name for x in makers[v.name].inputs if x.name in makers)
    return any(name in ("rsqrt", "sqrt") for name in roots)

"""Who reads the tensors of an ONNX graph: its nodes as `frontends.uses` wants them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lilliput.errors import ModelError
from lilliput.frontends.integers import quantised
from lilliput.frontends.onnx.library import GraphProto, NodeProto
from lilliput.frontends.onnx.tensors import Tensor
from lilliput.frontends.uses import Reading, Uses
from lilliput.ir import Quant

MOVES = frozenset(("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity"))
CUTS = frozenset(("Relu", "Clip"))
OPERANDS = {
    "DequantizeLinear": ((0, 1, 2),),
    "QLinearConv": ((0, 1, 2),),
    "QLinearMatMul": ((0, 1, 2), (3, 4, 5)),
    "QGemm": ((0, 1, 2),),
    "QLinearAdd": ((0, 1, 2), (3, 4, 5)),
    "QLinearMul": ((0, 1, 2), (3, 4, 5)),
    "QLinearSigmoid": ((0, 1, 2),),
    "QLinearLeakyRelu": ((0, 1, 2),),
    "QLinearGlobalAveragePool": ((0, 1, 2),),
    "QLinearAveragePool": ((0, 1, 2),),
    "QLinearSoftmax": ((0, 1, 2),),
}
"""(tensor, scale, zero point) operands of nodes that read integers; `operands` has them all."""


def operands(node: NodeProto) -> Sequence[tuple[int, int, int]]:
    """OPERANDS of a node; a concatenation has as many as it has parts."""
    if node.op_type == "QLinearConcat":
        return [(k, k + 1, k + 2) for k in range(2, len(node.input) - 2, 3)]
    return OPERANDS.get(node.op_type, ())


def uses_of(graph: GraphProto, tensors: Mapping[str, Tensor | None]) -> Uses[str]:
    """`tensors` has the constants, and later everything else."""
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in dict.fromkeys(node.input):
            readers.setdefault(name, []).append(node)

    def readings(name: str) -> list[Reading[str]]:
        return [_reading(node, name, tensors) for node in readers.get(name, ())]

    return Uses(readings, {o.name for o in graph.output})


def _reading(node: NodeProto, name: str, tensors: Mapping[str, Tensor | None]) -> Reading[str]:
    kind = node.op_type
    if kind == "QuantizeLinear" and node.input[0] == name:
        return Reading("quantizes", _quant(node, 1, 2, tensors))
    for x, scale, zero in operands(node):
        if node.input[x] == name:
            return Reading("dequantizes", _quant(node, scale, zero, tensors))
    if kind in MOVES and node.input[0] == name and node.output:
        return Reading("moves", result=node.output[0])
    if kind in CUTS and node.input[0] == name and len(node.output) == 1:
        return Reading("cuts", result=node.output[0])
    return Reading("other")


def _quant(
    node: NodeProto, scale: int, zero: int, tensors: Mapping[str, Tensor | None]
) -> Quant | None:
    """What a node says by two of its operands: one scale, 8 bits; None for anything else."""
    names = [*node.input, *("",) * 8]
    s = _constant(tensors, names[scale])
    z = _constant(tensors, names[zero]) if names[zero] else np.zeros(1, np.uint8)
    if s is None or z is None or s.size != 1 or z.dtype.name not in ("int8", "uint8"):
        return None
    try:
        return quantised(s, z, 0, 1, z.dtype == np.uint8, node.name)
    except ModelError:
        return None


def _constant(tensors: Mapping[str, Tensor | None], name: str) -> np.ndarray | None:
    tensor = tensors.get(name)
    return tensor.data if tensor is not None else None

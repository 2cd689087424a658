"""Who reads the tensors of an ONNX graph, and as which integers.

What a layer's result is quantised to is said by the QuantizeLinear behind it, sometimes behind
an activation that only cuts off; what a uint8 tensor stands for, by whoever reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lilliput.errors import ModelError
from lilliput.frontends.onnx.library import GraphProto, NodeProto
from lilliput.frontends.onnx.tensors import Tensor, quantised
from lilliput.ir import Quant

MOVES = frozenset(("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity"))
CUTS = frozenset(("Relu", "Clip"))
DEPTH = 8
"""Nodes that are looked through."""
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


class Uses:
    """Of one graph; `tensors` has the constants, and later everything else."""

    def __init__(self, graph: GraphProto, tensors: Mapping[str, Tensor | None]):
        self.tensors = tensors
        self.outputs = {o.name for o in graph.output}
        self.readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                self.readers.setdefault(name, []).append(node)

    def _constant(self, name: str) -> np.ndarray | None:
        tensor = self.tensors.get(name)
        return tensor.data if tensor is not None else None

    def quant(self, node: NodeProto, scale: int, zero: int) -> Quant | None:
        """What a node says by two of its operands: one scale, 8 bits; None for anything else."""
        names = [*node.input, *("",) * 8]
        s = self._constant(names[scale])
        z = self._constant(names[zero]) if names[zero] else np.zeros(1, np.uint8)
        if s is None or z is None or s.size != 1 or z.dtype.name not in ("int8", "uint8"):
            return None
        try:
            return quantised(s, z, 0, 1, z.dtype == np.uint8, node.name)
        except ModelError:
            return None

    def target(self, name: str, depth: int = 0) -> Quant | None:
        """The int8 that all readers of a float tensor make of it, if they make the same."""
        if name in self.outputs or depth > DEPTH:
            return None
        found = [self._wanted(node, depth) for node in self.readers.get(name, ())]
        return found[0] if found and all(q == found[0] for q in found) else None

    def _wanted(self, node: NodeProto, depth: int) -> Quant | None:
        if node.op_type == "QuantizeLinear":
            return self.quant(node, 1, 2)
        cuts = node.op_type in CUTS and len(node.output) == 1
        return self.target(node.output[0], depth + 1) if cuts else None

    def quantised_input(self, name: str, depth: int = 0) -> Quant | None:
        """The int8 that an input is quantised to, which may be moved before; None where anybody
        reads the floats."""
        if name in self.outputs or depth > DEPTH:
            return None
        found: list[Quant | None] = []
        for node in self.readers.get(name, ()):
            if node.op_type == "QuantizeLinear" and node.input[0] == name:
                found.append(self.quant(node, 1, 2))
            elif node.op_type in MOVES and node.input[0] == name:
                found.append(self.quantised_input(node.output[0], depth + 1))
            else:
                return None
        return found[0] if found and all(q == found[0] for q in found) else None

    def stored(self, name: str, depth: int = 0) -> Quant | None:
        """What the integers of a tensor stand for, by the first who reads them as reals."""
        for node in self.readers.get(name, ()) if depth <= DEPTH else ():
            for x, scale, zero in operands(node):
                if node.input[x] == name:
                    return self.quant(node, scale, zero)
            if node.op_type in MOVES and node.input[0] == name:
                return self.stored(node.output[0], depth + 1)
        return None

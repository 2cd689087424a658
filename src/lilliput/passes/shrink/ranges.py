"""Forward: what every value of a graph can hold.

One idea: inputs can be anything of their type, constants are themselves, and each operator says
what its result can be (`Op.bounds`); where it says nothing, anything is possible.
"""

from __future__ import annotations

from collections.abc import Mapping

from lilliput.ir.graph import Graph, Node
from lilliput.ir.module import Param
from lilliput.ir.range import Range
from lilliput.ops.bounds import tabulated


def ranges(graph: Graph, params: Mapping[str, Param]) -> dict[str, Range]:
    """The range of every integer value, by name; floats and bools have none."""
    found = {v.name: Range.full(v.type) for v in graph.inputs if v.type.dtype.is_integer}
    for value in graph.params:
        data = params[value.name].data
        if value.type.dtype.is_integer:
            found[value.name] = Range.full(value.type) if data is None else Range.constant(data)
    for node in graph.nodes:
        for value in node.outputs:
            if value.type.dtype.is_integer:
                found[value.name] = Range.full(value.type)
        told = _result(node, found)
        if told is not None:
            found[node.output.name] = told.within(node.output.type)
    return found


def _result(node: Node, known: Mapping[str, Range]) -> Range | None:
    """The range of the first result; None where nothing is known."""
    operands = [known[v.name] for v in node.inputs if v.name in known]
    if len(operands) < len(node.inputs) or node.output.name not in known:
        return None
    if node.op.bounds is not None:
        told = node.op.bounds(node, operands)
        if told is not None:
            return told
    elementwise = node.op.scalar is not None and len(operands) == 1
    return tabulated(node, operands) if elementwise else None

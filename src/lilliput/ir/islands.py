"""Float islands: operators that calculate in floats inside a network of integers.

One idea: a network is one of integers where some value has a scale; there, what reads or makes
floats is told of, unless it only goes between the two: floats on one side, scales on the other.
No operator is known by name.
"""

from __future__ import annotations

from collections.abc import Sequence

from lilliput.ir.graph import Node, Value
from lilliput.ir.module import Module


def float_islands(module: Module, entry: str | None = None) -> tuple[Node, ...]:
    """In the order of the entry (the main one where none is named); none where no value has a
    scale: such a network is meant to be one of floats."""
    graph = module.graphs[entry or module.entry]
    if all(v.type.quant is None for v in graph.values()):
        return ()
    return tuple(n for n in graph.nodes if _is_float(n))


def told(nodes: Sequence[Node]) -> tuple[str, ...]:
    """Each as operator and origin."""
    return tuple(n.describe() for n in nodes)


def _is_float(node: Node) -> bool:
    reads, makes = _floats(node.inputs), _floats(node.outputs)
    if not (reads or makes):
        return False
    between = (reads and not makes and _scaled(node.outputs)) or (
        makes and not reads and _scaled(node.inputs)
    )
    return not between


def _floats(values: Sequence[Value]) -> bool:
    return any(v.type.dtype.is_float for v in values)


def _scaled(values: Sequence[Value]) -> bool:
    return any(v.type.quant is not None for v in values)

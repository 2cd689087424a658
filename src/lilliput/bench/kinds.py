"""What layers are: the five kinds that engines tune, and the work of a network in each.

One idea: a kind is read off a node of the graph, so that the multiply-accumulates of the network
as its file has it, what shrinking left of them, and the instructions are sorted by one rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from lilliput.compiler.profiling import Profile
from lilliput.ir.graph import Node
from lilliput.ir.module import Module
from lilliput.ops.accumulate import Conv2d, Linear, Parts


class Kind(Enum):
    """POINTWISE: a 1x1 convolution; DEPTHWISE: each channel by itself; OTHER: everything that is
    not listed, and what is executed between layers."""

    POINTWISE = "pointwise"
    CONVOLUTION = "convolution"
    DEPTHWISE = "depthwise"
    FULLY_CONNECTED = "fully connected"
    OTHER = "other"


@dataclass(frozen=True)
class Share:
    """The layers of one kind: multiply-accumulates in the file and after shrinking, instructions
    of one inference."""

    kind: str
    macs: int
    macs_left: int
    instructions: int

    @property
    def per_mac(self) -> float | None:
        """Instructions over the multiply-accumulates in the file."""
        return self.instructions / self.macs if self.macs else None

    @property
    def per_mac_left(self) -> float | None:
        return self.instructions / self.macs_left if self.macs_left else None


def kind_of(node: Node) -> Kind:
    if isinstance(node.attrs, Linear):
        return Kind.FULLY_CONNECTED
    if isinstance(node.attrs, Parts):
        return Kind.POINTWISE
    if not isinstance(node.attrs, Conv2d):
        return Kind.OTHER
    _, height, width, depth = node.inputs[1].type.shape
    if node.attrs.groups > 1 and depth == 1:
        return Kind.DEPTHWISE
    return Kind.POINTWISE if height == width == 1 else Kind.CONVOLUTION


def shares(file: Module, compiled: Module, profile: Profile) -> tuple[Share, ...]:
    """The kinds that a network has, in the order of `Kind`.

    file : the network before shrinking; compiled : what is left of it; both of one entry, that
        which was profiled
    """
    before, left = _macs(file), _macs(compiled)
    kinds = {_key(n): kind_of(n) for n in reversed([*_nodes(compiled)])}
    instructions: Counter[Kind] = Counter()
    for found in profile.layers:
        layer = found.layer
        instructions[kinds.get((layer.name, layer.operator), Kind.OTHER)] += found.instructions
    instructions[Kind.OTHER] += profile.instructions - instructions.total()
    return tuple(
        Share(kind.value, before[kind], left[kind], instructions[kind])
        for kind in Kind
        if before[kind] or instructions[kind]
    )


def _key(node: Node) -> tuple[str, str]:
    """What a layer of the report is called, and its operator."""
    return node.origin or node.output.name, node.op.name


def _macs(module: Module) -> Mapping[Kind, int]:
    found: Counter[Kind] = Counter()
    for node in _nodes(module):
        found[kind_of(node)] += node.op.cost(node).macs
    return found


def _nodes(module: Module) -> Iterator[Node]:
    """Of the entry that is profiled."""
    yield from module.graphs[module.entry].nodes

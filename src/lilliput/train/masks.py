"""How the masks of a block are made, so that they can be made again where gradients come to it.

A mask says in a bit where a map of the widened channels saturated.  It is kept from the forward
part on, unless it is made again, some channels at a time, by the convolutions that made it: the
one that widens, of what the block reads, and the depthwise ones behind it, which keep channels
apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lilliput.ir import Node, Value
from lilliput.ops.accumulate import Conv2d, Parts, is_raw, resumes


@dataclass(frozen=True)
class Masks:
    """layers : the convolutions, in order; bits : the nodes that make masks of their results."""

    layers: tuple[Node, ...] = ()
    bits: tuple[Node, ...] = ()

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the layers."""
        return sum(n.op.cost(n).macs for n in self.layers)


def masks_of(read: Sequence[Value], channels: int, makers: Mapping[str, Node]) -> Masks:
    """Those masks among the values that a backward part has `read` that can be made again.

    channels : of the widened map; makers : value -> the node that makes it, of the forward part
    """
    layers: dict[str, Node] = {}
    bits: list[Node] = []
    for value in read:
        made = makers.get(value.name)
        if made is None or made.op.name != "clip_bits" or made in bits:
            continue
        chain = _chain(made.inputs[0], channels, makers)
        if chain:
            layers |= {n.output.name: n for n in chain}
            bits.append(made)
    return Masks(tuple(layers.values()), tuple(bits))


def _chain(value: Value, channels: int, makers: Mapping[str, Node]) -> tuple[Node, ...]:
    """The convolutions from the one that widens to the one that makes `value`; none where there
    is something else among them."""
    node = makers.get(value.name)
    if node is None or value.type.shape[3] != channels:
        return ()
    if isinstance(node.attrs, Parts):
        return (node,)
    if not isinstance(node.attrs, Conv2d) or is_raw(node) or resumes(node):
        return ()
    if node.attrs.groups == 1:
        return (node,)
    before = _chain(node.inputs[0], channels, makers) if apart(node) else ()
    return (*before, node) if before else ()


def apart(node: Node) -> bool:
    """Whether a convolution keeps its channels apart."""
    x, y = node.inputs[0].type.shape[3], node.output.type.shape[3]
    return isinstance(node.attrs, Conv2d) and node.attrs.groups == x == y

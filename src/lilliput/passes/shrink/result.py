"""What shrinking gives: the smaller module, and a proof for everything that it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from lilliput.ir.graph import Node
from lilliput.ir.module import Module
from lilliput.ir.op import Indices
from lilliput.ir.types import Array


class Why(Enum):
    """Why a channel is not needed.

    CONSTANT : it holds one number, whatever the network is given; who read it has it now
    UNREAD : no result that is left depends on it
    """

    CONSTANT = "constant"
    UNREAD = "unread"


@dataclass(frozen=True)
class Removal:
    """One channel (index of an axis of a value) that was left out, and the proof.

    operator, layer : of the node that makes the value, and the name that the user knows it by
    low, high : what its elements can be, as they are stored; None for floats
    sum_low, sum_high : what the accumulators that they are stored from can be, for weighted sums
    """

    entry: str
    value: str
    operator: str
    layer: str
    axis: int
    index: int
    why: Why
    low: int | None
    high: int | None
    sum_low: int | None = None
    sum_high: int | None = None


@dataclass(frozen=True)
class Rewrite:
    """A node that was left out or replaced by less, and why that changes nothing."""

    entry: str
    operator: str
    layer: str
    what: str


@dataclass(frozen=True, eq=False)
class Shrunk:
    """`module` gives the outputs of the original, bit for bit, for any input.

    kept : value of a node that lost channels -> the indices that are left, axis by axis
    """

    module: Module
    removed: tuple[Removal, ...] = ()
    rewritten: tuple[Rewrite, ...] = ()
    kept: Mapping[str, Indices] = field(default_factory=dict[str, Indices])

    @property
    def changed(self) -> bool:
        return bool(self.removed or self.rewritten)

    def part(self, name: str, data: Array) -> Array:
        """Of a value of the original the elements that the smaller module has, too."""
        return data[np.ix_(*self.kept[name])] if name in self.kept else data


def named(node: Node) -> tuple[str, str]:
    """(operator, layer) of a proof."""
    return node.op.name, node.origin or node.output.name

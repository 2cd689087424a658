"""A flat, immutable graph in single-assignment form.

    Graph  = inputs, params, nodes, outputs       the order of nodes is the schedule
    Node   = op, inputs, outputs, attrs, origin
    Value  = name, type

Graphs are pure: state is a value that comes in and a value that goes out (see `module`).
A value is identified by its name, which is unique in a module.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lilliput.ir.types import TensorType

if TYPE_CHECKING:
    from lilliput.ir.op import Attrs, Op


@dataclass(frozen=True)
class Value:
    """What a node reads or makes; two values are the same when name and type are."""

    name: str
    type: TensorType

    def __str__(self) -> str:
        return f"%{self.name}: {self.type}"


@dataclass(frozen=True)
class Node:
    """One application of an operator.  `origin` is the name that the user knows it by."""

    op: Op
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    attrs: Attrs
    origin: str = ""

    @property
    def output(self) -> Value:
        return self.outputs[0]

    def with_inputs(self, inputs: Sequence[Value]) -> Node:
        return replace(self, inputs=tuple(inputs))

    def describe(self) -> str:
        """`conv2d "model/conv1"`: how errors and comments name a node."""
        return f'{self.op.name} "{self.origin or self.output.name}"'


@dataclass(frozen=True)
class Graph:
    """`params` are values whose data the module holds; all other operands are computed."""

    inputs: tuple[Value, ...]
    params: tuple[Value, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Value, ...]

    def values(self) -> Iterator[Value]:
        """Every value once, in order of definition."""
        yield from self.inputs
        yield from self.params
        for node in self.nodes:
            yield from node.outputs

    def producers(self) -> dict[str, Node]:
        return {v.name: n for n in self.nodes for v in n.outputs}

    def consumers(self) -> dict[str, list[Node]]:
        """Value name -> the nodes that read it, in schedule order."""
        users: dict[str, list[Node]] = {v.name: [] for v in self.values()}
        for node in self.nodes:
            for name in dict.fromkeys(v.name for v in node.inputs):
                users[name].append(node)
        return users

"""What follows from constants alone, evaluated while a file is read.

Shapes, axes and trip counts are often computed (SHAPE, STRIDED_SLICE, PACK) where their
operator needs them at import.  One idea: such a value is evaluated when it is asked for, by
the operators' own meaning, and only as long as that is cheap.  Not the folding of weights:
that is a pass.
"""

from __future__ import annotations

from lilliput.ir import Array, Builder, Node, Value

MAX_WORK = 1 << 22
"""Operations and elements that are spent on one file."""


class Folding:
    """Arrays of the values of a builder; asks each node at most once."""

    def __init__(self, builder: Builder):
        self._builder = builder
        self._makers: dict[str, Node] = {}
        self._seen = 0
        self._found: dict[str, Array | None] = {}
        self._left = MAX_WORK

    def array(self, value: Value) -> Array | None:
        """The data of `value`, or None where it depends on an input or costs too much."""
        for node in self._builder.nodes[self._seen :]:
            self._makers.update({v.name: node for v in node.outputs})
        self._seen = len(self._builder.nodes)
        open_values = [value]
        while open_values:
            current = open_values[-1]
            missing = self._operands(current)
            if missing:
                open_values += missing
            else:
                self._evaluate(current)
                open_values.pop()
        return self._found[value.name]

    def _operands(self, value: Value) -> list[Value]:
        """Operands to be looked at before `value`; none once one of them is not constant."""
        node = self._makers.get(value.name)
        if value.name in self._found or node is None:
            return []
        if any(self._found.get(v.name, 0) is None for v in node.inputs):
            return []
        return [v for v in node.inputs if v.name not in self._found][:1]

    def _evaluate(self, value: Value) -> None:
        if value.name in self._found:
            return
        node = self._makers.get(value.name)
        if node is None:
            param = self._builder.params.get(value.name)
            self._found[value.name] = param.data if param else None
            return
        arrays = [self._found.get(v.name) for v in node.inputs]
        known = [a for a in arrays if a is not None]
        cost = node.op.cost(node)
        self._left -= cost.macs + cost.ops + sum(v.type.size for v in node.outputs)
        results: tuple[Array | None, ...] = (None,) * len(node.outputs)
        if len(known) == len(arrays) and self._left >= 0:
            results = tuple(node.op.ref(node, known))
        for output, result in zip(node.outputs, results, strict=True):
            self._found[output.name] = result

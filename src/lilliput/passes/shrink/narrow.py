"""A graph without the indices that nothing depends on.

One idea: types, data, scales and attributes of what is left follow from the indices that are
left.  What a constant operand gave to a weighted sum is in its bias from now on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Param
from lilliput.ir.op import Indices
from lilliput.ir.rewrite import drop_dead
from lilliput.ir.types import Array, TensorType
from lilliput.passes.shrink.demand import Demand, Reads, tap_sums


class Narrowed:
    """`graph` and `params` with what `demand` keeps.  fresh : stem -> a name that nobody has."""

    def __init__(self, graph: Graph, demand: Demand, fresh: Callable[[str], str]):
        self._demand = demand
        self._fresh = fresh
        self._kept = {v.name: demand.kept(v) for v in graph.values()}
        self._values = {v.name: Value(v.name, self._type(v)) for v in graph.values()}
        self.params = {v.name: self._param(demand.params[v.name]) for v in graph.params}
        nodes = tuple(self._node(n) for n in graph.nodes)
        params = tuple(p.value for p in self.params.values())
        self.graph = drop_dead(replace(graph, params=params, nodes=nodes))

    def _type(self, value: Value) -> TensorType:
        kept, quant = self._kept[value.name], value.type.quant
        if quant is not None and quant.axis is not None:
            left: list[int] = kept[quant.axis].tolist()
            scales, zeros = (tuple(t[k] for k in left) for t in (quant.scale, quant.zero_point))
            quant = replace(quant, scale=scales, zero_point=zeros)
        return TensorType(tuple(map(len, kept)), value.type.dtype, quant)

    def _param(self, param: Param) -> Param:
        data = param.data
        if data is not None and self._values[param.name] != param.value:
            data = np.ascontiguousarray(data[np.ix_(*self._kept[param.name])])
        return Param(self._values[param.name], data)

    def _node(self, node: Node) -> Node:
        names = [v.name for v in node.inputs]
        inputs = tuple(self._values[name] for name in names)
        outputs = tuple(self._values[v.name] for v in node.outputs)
        attrs, narrow = node.attrs, node.op.narrow(node)
        if narrow is not None and (inputs, outputs) != (node.inputs, node.outputs):
            attrs = narrow(node, [self._kept[name] for name in names], self._kept[node.output.name])
        reads = self._demand.reads.get(node.output.name)
        if reads is not None:
            inputs = self._with_bias(node, reads, inputs)
        return replace(node, inputs=inputs, outputs=outputs, attrs=attrs)

    def _with_bias(self, node: Node, reads: Reads, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        """The operands, the bias with what the constants that are left out have given."""
        constant = reads.constant.copy()
        constant[self._kept[reads.x[0]][reads.x[1]]] = 0
        weights = self._demand.params.get(node.inputs[1].name)
        if not constant.any() or weights is None or weights.data is None:
            return inputs
        given = tap_sums(weights.data, weights.value.type.zero_point, reads.contraction)
        extra = (given * constant[:, None]).sum(0)[self._outputs(reads)]
        type, before = TensorType(extra.shape, reads.contraction.bias), np.int64(0)
        name = f"{node.output.name}/bias"
        if len(inputs) > 2:
            old = self.params[inputs[2].name]
            assert old.data is not None
            type, before, name = old.value.type, old.data.astype(np.int64), old.name
        bias = Param(Value(self._fresh(name), type), (before + extra).astype(type.dtype.numpy))
        self.params[bias.name] = bias
        return (*inputs[:2], bias.value, *inputs[3:])

    def _outputs(self, reads: Reads) -> Array:
        return self._kept[reads.y[0]][reads.y[1]]


def is_whole(kept: Indices, type: TensorType) -> bool:
    """Whether nothing of a value of this type is left out."""
    return tuple(map(len, kept)) == type.shape

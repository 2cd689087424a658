"""The integer network said in reals: what fake quantisation computes, with the integer semantics.

One idea: the simulation walks the *float* network and holds every value as the reals that its
integers stand for.  A product is summed in float64 over those reals, divided by the unit of its
accumulator, and stored by the rounding of `ops.accumulate`; every other operator by its integer
meaning.  It shares no graph with `convert`: that both give the same integers, for every value, is
the check that the conversion says what was meant.

Two kinds of nodes are floats: those named in `floats` are left unrounded, which tells what rounding
them costs; those without an integer form, and those named in `islands`, are floats in the integer
network, too, where what reads them rounds them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lilliput.ir.graph import Node, Value
from lilliput.ir.module import Module
from lilliput.ir.op import Attrs
from lilliput.ir.types import Array, DType, TensorType
from lilliput.ops.accumulate import requantize as store
from lilliput.ops.elementwise import Clamp
from lilliput.ops.quantize import Requantize, To, quantize, requantize
from lilliput.quant import forms
from lilliput.quant.batch import Batch, sums
from lilliput.quant.calibrate import read_scale
from lilliput.quant.prepare import is_product
from lilliput.quant.recurrent import is_lstm, recurrent_name
from lilliput.quant.scheme import Encodings, Weights, bias_type, stored_constant


class Simulation:
    """`count` samples on their way through a prepared network.

    whole : name -> integers; reals : name -> float64 of values that were not rounded
    weights : of every product, by name; may be changed before `apply` comes to it
    """

    def __init__(
        self,
        module: Module,
        encodings: Encodings,
        inputs: Mapping[str, Array],
        count: int,
        floats: frozenset[str] = frozenset(),
        islands: frozenset[str] = frozenset(),
    ):
        self.module, self.encodings = module, encodings
        self.floats, self.islands = floats, islands
        graph = module.graphs[module.entry]
        self.weights: dict[str, Weights] = dict(encodings.weights)
        self.whole: dict[str, Array] = {}
        self.reals: dict[str, Array] = {}
        self._unrounded: set[str] = set()
        self.fused = forms.fused(graph)
        self._made = {n.output.name for n in self.fused.values()}
        self._batch = Batch(count)
        self._count = count
        for v in graph.inputs:
            if v.type.dtype.is_float:
                self.reals[v.name] = inputs[v.name]
                self.whole[v.name] = self._rounded(v)
                del self.reals[v.name]
            else:
                self.whole[v.name] = inputs[v.name]

    def forget(self, name: str) -> None:
        """Lets a value go that nobody reads any more."""
        self.whole.pop(name, None)
        self.reals.pop(name, None)

    # Operands

    def type(self, v: Value) -> TensorType:
        return self.encodings.type(v.type, v.name) if v.type.dtype.is_float else v.type

    def _view(self, v: Value, dtype: DType) -> TensorType:
        """The type in which a layer of `dtype` reads `v`."""
        float_ = v.type.dtype.is_float
        return self.encodings.read(v.type, v.name, dtype) if float_ else v.type

    def real(self, v: Value) -> Array:
        """float64: what the integers of `v` stand for, or the reals that it is."""
        if v.name in self.module.params:
            data = self.module.params[v.name].data
            assert data is not None
            return data
        if v.name in self.reals:
            return self.reals[v.name]
        type = self.type(v)
        if not v.type.dtype.is_float:
            return self.whole[v.name]
        return (self.whole[v.name].astype(np.float64) - type.zero_point) * type.scale

    def _rounded(self, v: Value) -> Array:
        """The integers of `v` in its own scale."""
        if v.name in self.module.params:
            data = self.module.params[v.name].data
            assert data is not None
            return stored_constant(data, self.type(v)) if v.type.dtype.is_float else data
        if v.name in self.whole:
            return self.whole[v.name]
        y = replace(v, type=self.type(v))
        node = Node(quantize, (v,), (y,), To(y.type.dtype))
        return node.op.ref(node, [self.reals[v.name].astype(np.float32)])[0]

    def _read(self, v: Value, dtype: DType) -> Array:
        """The integers of `v` as a layer of `dtype` reads them."""
        type = self._view(v, dtype)
        if v.name in self.module.params and v.type.dtype.is_float:
            data = self.module.params[v.name].data
            assert data is not None
            return stored_constant(data, type)
        return self._rescaled(v, self._rounded(v), self.type(v), type)

    def _tied(self, v: Value, to: TensorType) -> Array:
        """The integers of `v` in the type and scale of `to`."""
        if v.name in self.module.params:
            return self._rescaled(v, self._read(v, to.dtype), self._view(v, to.dtype), to)
        return self._rescaled(v, self._rounded(v), self.type(v), to)

    def _rescaled(self, v: Value, data: Array, type: TensorType, to: TensorType) -> Array:
        if not v.type.dtype.is_float or (type.dtype, type.quant) == (to.dtype, to.quant):
            return data
        x, y = replace(v, type=type), replace(v, type=type.with_dtype(to.dtype, to.quant))
        node = Node(requantize, (x,), (y,), Requantize(to.dtype))
        return node.op.ref(node, [data])[0]

    # Nodes

    def apply(self, node: Node) -> None:
        """Calculates `node`, whose operands are there."""
        name = node.output.name
        if name in self._made and name in self.whole:
            return
        moved = node.op.name in forms.TIED and any(v.name in self._unrounded for v in node.inputs)
        if name in self.floats or moved:
            self._float(node)
            self._unrounded.add(name)
        elif name in self.islands or not forms.has_form(node, self.module.params):
            self._float(node)
        elif is_lstm(node, self.module.params):
            self._lstm(node)
        elif is_product(node, self.module.params):
            self._store(node, self._product(node))
        else:
            self._store(node, self._integer(node))

    def _float(self, node: Node) -> None:
        operands = [
            self.real(v).astype(np.float32) if v.type.dtype.is_float else self._rounded(v)
            for v in node.inputs
        ]
        for v, r in zip(
            node.outputs, self._batch.apply(node, operands, self._varies(node)), strict=True
        ):
            (self.reals if v.type.dtype.is_float else self.whole)[v.name] = r

    def _varies(self, node: Node) -> list[bool]:
        return [v.name not in self.module.params for v in node.inputs]

    def _store(self, node: Node, result: Array) -> None:
        y = node.output
        limit = self.fused.get(y.name)
        if limit is not None:
            bounds = forms.integer_attrs(limit, self.type(y))
            assert isinstance(bounds, Clamp)
            result = np.clip(result, bounds.low, bounds.high).astype(result.dtype)
            self.whole[limit.output.name] = result
        self.whole[y.name] = result

    def _integer(self, node: Node) -> Array:
        dtype, y = self.encodings.layer(node), self.type(node.output)
        types = [self._view(v, dtype) for v in node.inputs]
        if node.op.name in forms.TIED and y.quant is not None:
            operands = [self._tied(v, y) for v in node.inputs]
            types = [t.with_dtype(y.dtype, y.quant) if t.quant else t for t in types]
        else:
            operands = [self._read(v, dtype) for v in node.inputs]
        whole = _typed(node, types, y, forms.integer_attrs(node, y))
        if any(self._varies(node)):
            return self._batch.apply(whole, operands, self._varies(node))[0]
        alone = np.atleast_1d(node.op.ref(whole, operands)[0])
        return np.concatenate([alone] * self._count)

    def _lstm(self, node: Node) -> None:
        dtype, (y, c) = self.encodings.layer(node), (self.type(v) for v in node.outputs)
        w, r = (self.weights[n] for n in (node.output.name, recurrent_name(node)))
        first, *rest = node.inputs
        quants = (w.quant, r.quant, None, y.quant, c.quant)
        dtypes = (w.dtype, r.dtype, bias_type(dtype), y.dtype, c.dtype)
        kinds = zip(rest, dtypes, quants, strict=True)
        types = [self._view(first, dtype), *(v.type.with_dtype(d, q) for v, d, q in kinds)]
        states: list[Array] = []
        for v, type in zip(rest[-2:], types[-2:], strict=True):
            data = self.module.params[v.name].data
            assert data is not None
            states.append(stored_constant(data, type))
        ends = [replace(v, type=t) for v, t in zip(node.outputs, (y, c), strict=True)]
        inputs = [replace(v, type=t) for v, t in zip(node.inputs, types, strict=True)]
        whole = replace(node, inputs=tuple(inputs), outputs=tuple(ends))
        operands = [self._read(first, dtype), w.data, r.data, w.bias, *states]
        results = self._batch.apply(whole, operands, self._varies(node))
        self.whole.update(zip((v.name for v in node.outputs), results, strict=True))

    # Products

    def accumulated(self, node: Node) -> Array:
        """Sums of a product in units of its accumulator, bias included: float64 (..., O)."""
        found = self.weights[node.output.name]
        dtype = self.encodings.layer(node)
        x = self._view(node.inputs[0], dtype)
        if node.inputs[0].name in self._unrounded:
            steps = self.real(node.inputs[0]) / x.scale
        else:
            steps = self._read(node.inputs[0], dtype).astype(np.float64) - x.zero_point
        if node.op.name == "transpose_conv":
            return self._transposed(node, steps, found)
        return sums(node, steps, found.data.astype(np.float64)) + found.bias

    def _transposed(self, node: Node, steps: Array, found: Weights) -> Array:
        plain = replace(node, inputs=node.inputs[:2])
        data = found.data.astype(np.float32)
        return self._batch.apply(plain, [steps.astype(np.float32), data], (True, False))[0] + (
            found.bias
        )

    def _product(self, node: Node) -> Array:
        acc = np.rint(self.accumulated(node)).astype(np.int64)
        found, (x, w) = self.weights[node.output.name], node.inputs[:2]
        dtype = self.encodings.layer(node)
        bias = TensorType((len(found.bias),), bias_type(dtype))
        types = [self._view(x, dtype), w.type.with_dtype(found.dtype, found.quant), bias]
        three = replace(node, inputs=(x, w, Value(f"{w.name}/bias", bias)))
        return store(_typed(three, types, self.type(node.output), node.attrs), acc)

    def unit(self, node: Node) -> Array:
        """(O): what one step of the accumulator of a product stands for."""
        scale = np.asarray(self.weights[node.output.name].scale, np.float64)
        return scale * read_scale(self.encodings, node)


def _typed(node: Node, types: Sequence[TensorType], y: TensorType, attrs: Attrs) -> Node:
    inputs = tuple(replace(v, type=t) for v, t in zip(node.inputs, types, strict=True))
    return replace(node, inputs=inputs, outputs=(replace(node.output, type=y),), attrs=attrs)


def simulate(
    module: Module,
    encodings: Encodings,
    inputs: Mapping[str, Array],
    count: int,
    floats: frozenset[str] = frozenset(),
    islands: frozenset[str] = frozenset(),
) -> Simulation:
    """The whole network for `count` samples; every value is kept."""
    made = Simulation(module, encodings, inputs, count, floats, islands)
    for node in module.graphs[module.entry].nodes:
        made.apply(node)
    return made


def stored_inputs(
    module: Module, encodings: Encodings, inputs: Mapping[str, Array]
) -> dict[str, Array]:
    """Samples as the integer network takes them."""
    return Simulation(module, encodings, inputs, 1).whole

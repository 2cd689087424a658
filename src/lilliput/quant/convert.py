"""The integer network: the operators that the importer of .tflite files makes, from floats and
`Encodings`.

One idea: every float value has an integer twin of the same name, made when its node is converted.
Where a node needs another scale than its operand has, a `requantize` is put between; where it has
no integer form, it stays a float between a `dequantize` and a `quantize`, and is listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.errors import Problem, TypeMismatch, UnsupportedError
from lilliput.ir.build import Builder
from lilliput.ir.graph import Node, Value
from lilliput.ir.module import Module
from lilliput.ir.types import DType, Quant, TensorType
from lilliput.ops.elementwise import Clamp, clamp
from lilliput.ops.quantize import Requantize, To, dequantize, quantize, requantize
from lilliput.quant import forms
from lilliput.quant.prepare import is_product
from lilliput.quant.recurrent import is_lstm, recurrent_name
from lilliput.quant.scheme import Encodings, Weights, bias_type, quantise_weights, stored_constant


@dataclass(frozen=True, eq=False)
class Converted:
    """module : integers; floats : nodes that are floats in it, each with the reason; islands : the
    names of their (first) results."""

    module: Module
    floats: tuple[Problem, ...] = ()
    islands: frozenset[str] = frozenset()


def convert(module: Module, encodings: Encodings, *, allow_float: bool = False) -> Converted:
    """The integer network of a prepared float network.

    Raises UnsupportedError with every node that has no integer form, unless `allow_float`.
    """
    made = _Converter(module, encodings)
    graph = module.graphs[module.entry]
    for node in graph.nodes:
        made.node(node)
    if made.floats and not allow_float:
        raise UnsupportedError(made.floats)
    outputs = [made.end(v) for v in graph.outputs]
    whole = made.builder.module(outputs, name=module.name)
    return Converted(whole, tuple(made.floats), frozenset(made.islands))


def product_names(module: Module) -> dict[str, str]:
    """Result of a product in the integer network -> of the same product in the float network."""
    graph = module.graphs[module.entry]
    found: dict[str, str] = {}
    for node in graph.nodes:
        if is_product(node, module.params):
            limit = forms.fused(graph).get(node.output.name)
            made = (limit or node).output.name
            found[made] = found[_inner(made)] = node.output.name
    return found


def _inner(name: str) -> str:
    """Of what a clamp that is a node of its own limits, by the name of its result."""
    return f"{name}/linear"


class _Converter:
    def __init__(self, module: Module, encodings: Encodings):
        self.module, self.encodings = module, encodings
        self.builder = Builder()
        self.floats: list[Problem] = []
        self.islands: list[str] = []
        self._integers: dict[str, Value] = {}
        self._views: dict[tuple[str, DType], Value] = {}
        self._weights: dict[tuple[str, Quant, bytes], Value] = {}
        self._reals: dict[str, Value] = {}
        graph = module.graphs[module.entry]
        self.fused = forms.fused(graph)
        self.clamps = {n.output.name: name for name, n in self.fused.items()}
        for v in graph.inputs:
            type = encodings.type(v.type, v.name) if v.type.dtype.is_float else v.type
            self._integers[v.name] = self.builder.input(v.name, type)

    # Operands

    def end(self, v: Value) -> Value:
        return self._integers[v.name] if v.name in self._integers else self._real(v)

    def _real(self, v: Value) -> Value:
        """The value as floats."""
        if v.name not in self._reals:
            if v.name in self.module.params:
                self._reals[v.name] = self.builder.use(self.module.params[v.name])
            else:
                x, name = self._integers[v.name], f"{v.name}/float"
                self._reals[v.name] = self.builder.add(dequantize, (x,), name=name)
        return self._reals[v.name]

    def _plain(self, v: Value) -> Value:
        """The value in its own scale; what is no float is as it was."""
        if v.name in self._integers:
            return self._integers[v.name]
        if v.name in self.module.params:
            made = self._constant(v)
        else:
            type = self.encodings.type(v.type, v.name)
            made = self.builder.add(
                quantize, (self._reals[v.name],), To(type.dtype), type=type, name=f"{v.name}/whole"
            )
        self._integers[v.name] = made
        return made

    def _constant(self, v: Value) -> Value:
        param = self.module.params[v.name]
        if not v.type.dtype.is_float:
            return self.builder.use(param)
        return self._stored(v, self.encodings.type(v.type, v.name), v.name)

    def _stored(self, v: Value, type: TensorType, name: str) -> Value:
        data = self.module.params[v.name].data
        assert data is not None
        return self.builder.param(name, stored_constant(data, type), type.quant, type.dtype)

    def _read(self, v: Value, dtype: DType) -> Value:
        """The value as a layer of `dtype` reads it; what is no float is as it was."""
        if not v.type.dtype.is_float or self.encodings.dtype(v.name) is dtype:
            return self._plain(v)
        if (v.name, dtype) not in self._views:
            type, name = self.encodings.read(v.type, v.name, dtype), f"{v.name}/{dtype.value}"
            constant = v.name in self.module.params
            made = self._stored(v, type, name) if constant else self._rescaled(v, type, name)
            self._views[v.name, dtype] = made
        return self._views[v.name, dtype]

    def _rescaled(self, v: Value, type: TensorType, name: str) -> Value:
        attrs = Requantize(type.dtype)
        return self.builder.add(requantize, (self._plain(v),), attrs, type=type, name=name)

    def _scaled(self, v: Value, y: TensorType) -> Value:
        """The value in the type and scale of `y`."""
        x = self._read(v, y.dtype) if v.name in self.module.params else self._plain(v)
        if x.type.quant is None or (x.type.dtype, x.type.quant) == (y.dtype, y.quant):
            return x
        type, attrs = x.type.with_dtype(y.dtype, y.quant), Requantize(y.dtype)
        return self.builder.add(requantize, (x,), attrs, type=type, name=f"{x.name}/scaled")

    # Nodes

    def node(self, node: Node) -> None:
        if node.output.name in self.clamps:
            return  # made with what it limits
        if not forms.touches_floats(node):
            made = self.builder.add_multi(
                node.op,
                [self._plain(v) for v in node.inputs],
                node.attrs,
                types=[v.type for v in node.outputs],
                name=node.output.name,
                origin=node.origin,
            )
            self._integers.update(zip((v.name for v in node.outputs), made, strict=True))
            return
        why = "no integer form of this operator"
        if forms.has_form(node, self.module.params):
            try:
                self._integer(node)
                return
            except TypeMismatch as e:
                p = e.problems[0]
                why = f"its integer form does not take this: {p.what}, {p.found}"
        self._float(node, why)

    def _integer(self, node: Node) -> None:
        if is_lstm(node, self.module.params):
            self._lstm(node)
            return
        if is_product(node, self.module.params):
            operands: Sequence[Value] = self._product(node)
        elif node.op.name in forms.TIED and node.output.type.dtype.is_float:
            type = self.encodings.type(node.output.type, node.output.name)
            operands = [
                self._scaled(v, type) if v.type.dtype.is_float else self._plain(v)
                for v in node.inputs
            ]
        else:
            operands = [self._read(v, self.encodings.layer(node)) for v in node.inputs]
        y = node.output
        type = self.encodings.type(y.type, y.name) if y.type.dtype.is_float else y.type
        limit = self.fused.get(y.name)
        result = limit.output if limit else y
        attrs = forms.integer_attrs(node, type)
        bounds = forms.integer_attrs(limit, type) if limit else None
        if not isinstance(bounds, Clamp) or (bounds.low, bounds.high) == type.dtype.bounds:
            made = self._add(node, operands, attrs, type, result.name)
        else:
            inner = self._add(node, operands, attrs, type, _inner(result.name))
            made = self.builder.add(
                clamp, (inner,), bounds, type=type, name=result.name, origin=node.origin
            )
        self._integers[y.name] = self._integers[result.name] = made

    def _add(
        self, node: Node, operands: Sequence[Value], attrs: object, type: TensorType, name: str
    ) -> Value:
        assert isinstance(attrs, node.op.attrs)
        return self.builder.add(
            node.op, operands, attrs, type=type, name=name, origin=node.origin or node.output.name
        )

    def _product(self, node: Node) -> tuple[Value, ...]:
        x, w, *rest = node.inputs
        dtype = self.encodings.layer(node)
        first = self._read(x, dtype)
        found = self.encodings.weights.get(node.output.name)
        if found is None:
            data, bias = (self.module.params[v.name].data for v in (w, rest[0] if rest else w))
            assert data is not None
            found = quantise_weights(data, bias if rest else None, first.type.scale)
        weights = self._shared(w.name, found)
        unit = tuple(float(np.float32(first.type.scale * s)) for s in found.scale)
        bias_quant = Quant(unit, (0,) * len(unit), 0)
        bias = found.bias.astype(bias_type(dtype).numpy)
        name = rest[0].name if rest else f"{w.name}/bias"
        return first, weights, self.builder.param(name, bias, bias_quant)

    def _shared(self, name: str, found: Weights) -> Value:
        """Weights as a parameter: one for all that read the same integers, as frames do."""
        key = name, found.quant, found.data.tobytes()
        if key not in self._weights:
            made = self.builder.param(name, found.data, found.quant, found.dtype)
            self._weights[key] = made
        return self._weights[key]

    def _lstm(self, node: Node) -> None:
        x, w, r, bias, h, c = node.inputs
        dtype, name = self.encodings.layer(node), node.output.name
        types = [self.encodings.type(v.type, v.name) for v in node.outputs]
        found = [self.encodings.weights[n] for n in (name, recurrent_name(node))]
        weights = [
            self.builder.param(v.name, made.data, made.quant, made.dtype)
            for v, made in zip((w, r), found, strict=True)
        ]
        sums = found[0].bias.astype(bias_type(dtype).numpy)
        states = [self._stored(v, t, v.name) for v, t in zip((h, c), types, strict=True)]
        operands = (self._read(x, dtype), *weights, self.builder.param(bias.name, sums), *states)
        origin = node.origin or name
        made = self.builder.add_multi(
            node.op, operands, node.attrs, types=types, name=name, origin=origin
        )
        self._integers.update(zip((v.name for v in node.outputs), made, strict=True))

    def _float(self, node: Node, why: str) -> None:
        self.floats.append(
            Problem(
                why,
                node.describe(),
                "an operator that `lilliput ops` lists with s8 or s16",
                ", ".join(str(v.type) for v in node.inputs),
                "replace the layer, or keep it in floats on the device with --allow-float",
            )
        )
        operands = [
            self._real(v) if v.type.dtype is DType.F32 else self._plain(v) for v in node.inputs
        ]
        made = self.builder.add_multi(
            node.op,
            operands,
            node.attrs,
            types=[v.type for v in node.outputs],
            name=node.output.name,
            origin=node.origin,
        )
        for v, value in zip(node.outputs, made, strict=True):
            (self._reals if v.type.dtype.is_float else self._integers)[v.name] = value
        self.islands.append(node.output.name)
        if node.output.name in self.fused:  # nobody else makes the clamp
            self._integer(self.fused[node.output.name])

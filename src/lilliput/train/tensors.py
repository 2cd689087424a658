"""What a scheme trains: the network's tensors as states and constants.

A tensor that is named becomes a state; of a weight of which a part is trained that part does, and
the rest stays a constant: the network is built over both, in as many entries as there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lilliput.ir import Builder, Graph, Module, Node, Param, State, TensorType, Value
from lilliput.ir.types import Array
from lilliput.ops import registry
from lilliput.ops.gradient import call
from lilliput.ops.shape import Concat
from lilliput.train.channels import ALL
from lilliput.train.layers import Layer
from lilliput.train.lite import with_lite
from lilliput.train.norms import norms
from lilliput.train.optimisers import Tensor
from lilliput.train.schemes import UpdateScheme


@dataclass(frozen=True)
class Trained:
    """One trained tensor: `layer` by its origin, `share` of its channels, bytes in RAM.

    index : of the layer; None of what belongs to none: a norm, a lite residual module
    channels : which those are, in the words of `lilliput.train.channels`
    frozen : output channels that stay, as they have no weights and a scale that means nothing
    """

    name: str
    layer: str
    index: int | None
    share: float
    channels: str
    shape: tuple[int, ...]
    nbytes: int
    frozen: int = 0


@dataclass(frozen=True)
class Choice:
    """What of a layer is trained: `channels` of its weights, and its bias."""

    layer: Layer
    channels: int
    bias: bool

    @property
    def in_part(self) -> bool:
        return 0 < self.channels < self.layer.channels


def chosen(products: Sequence[Layer], scheme: UpdateScheme) -> tuple[Choice, ...]:
    """Of each layer how many channels of its weights, and whether its bias."""
    *body, head = products
    found = [
        Choice(
            layer,
            round(scheme.weights.get(layer.index, 0) * layer.channels),
            layer.index >= len(body) - scheme.biases and layer.bias is not None,
        )
        for layer in body
    ]
    found.append(Choice(head, head.channels, bias=head.bias is not None))
    return tuple(c for c in found if c.channels or c.bias)


def others(
    module: Module, scheme: UpdateScheme, seed: int
) -> tuple[Module, Mapping[str, Sequence[Value]]]:
    """The network with its lite residual modules, and what is trained beside layers: float tensors
    by what they belong to."""
    found: dict[str, Sequence[Value]] = {}
    if scheme.norms:
        found |= {n.name: n.tensors for n in norms(module)}
    if scheme.lite:
        made = with_lite(module, scheme.lite, seed)
        module = made.module
        for block, names in made.tensors.items():
            found[f"{block}/lite"] = [module.params[n].value for n in names]
    return module, found


class Split:
    """The network's tensors as states and constants: a weight of which a part is trained is the
    two parts joined."""

    def __init__(
        self,
        module: Module,
        chosen: Sequence[Choice],
        others: Mapping[str, Sequence[Value]],
        how: Mapping[int, str],
    ):
        self.module, self.how = module, how
        self.params = dict(module.params)
        self.names = set(module.params)
        self.states: dict[str, State] = {}
        self.tensors: dict[str, Tensor] = {}
        self.rows: list[Trained] = []
        self.parts: dict[str, tuple[Value, Value]] = {}
        self.depthwise: set[str] = set()
        for owner, values in others.items():
            for value in values:
                decays = len(value.type.shape) > 1
                self._state((owner, None), value, self._data(value), None, decays)
        for choice in chosen:
            if choice.channels:
                self._weight(choice)
            if choice.bias:
                self._bias(choice)

    def _data(self, value: Value) -> Array:
        data = self.module.params[value.name].data
        return data if data is not None else np.zeros(value.type.shape, value.type.dtype.numpy)

    def _weight(self, choice: Choice) -> None:
        layer, w = choice.layer, choice.layer.weight
        if w.name in self.states or w.name in self.parts:
            return  # of several layers: the first has decided
        owner = layer.name, layer.index
        if not choice.in_part:
            self._state(owner, w, self._data(w), _column(w, self._data(w)))
            return
        first, rest = np.split(self._data(w), [choice.channels], layer.axis)
        trained = Value(f"{w.name}/trained", _part(w.type, first, 0, layer.axis))
        frozen = Value(f"{w.name}/frozen", _part(w.type, rest, choice.channels, layer.axis))
        self.params[frozen.name] = Param(frozen, np.ascontiguousarray(rest))
        steps, share = _column(trained, first), choice.channels / layer.channels
        self._state(owner, trained, np.ascontiguousarray(first), steps, share=share)
        self.parts[w.name] = (trained, frozen)
        if layer.depthwise:
            self.depthwise.add(w.name)
            self._unscale(layer.bias)

    def _unscale(self, bias: Value | None) -> None:
        """A bias that is cut in two is plain numbers: its scales follow from the weights'."""
        if bias is not None:
            value = replace(bias, type=TensorType(bias.type.shape, bias.type.dtype))
            self.params[bias.name] = Param(value, self._data(bias))

    def _bias(self, choice: Choice) -> None:
        layer, bias = choice.layer, choice.layer.bias
        assert bias is not None
        if bias.name in self.states:
            return
        x = layer.node.inputs[0].type
        steps = None
        if not bias.type.dtype.is_float:
            steps = _steps(layer.weight, self._data(layer.weight)) * x.scale
        value = self.params[bias.name].value
        self._state((layer.name, layer.index), value, self._data(bias), steps, decays=False)

    def _state(
        self,
        owner: tuple[str, int | None],
        value: Value,
        init: Array,
        steps: Array | None,
        decays: bool = True,
        share: float = 1.0,
    ) -> None:
        self.params.pop(value.name, None)
        self.states[value.name] = State(value, init)
        self.tensors[value.name] = Tensor(value, steps, decays)
        name, index = owner
        which = ALL if index is None or share == 1.0 else self.how[index]
        type = value.type
        frozen = 0 if steps is None else int(np.isinf(steps).sum())
        row = Trained(value.name, name, index, share, which, type.shape, type.nbytes, frozen)
        self.rows.append(row)

    def builder(self) -> Builder:
        """For another entry over the same parameters, states and names."""
        return Builder(self.params, self.names)

    def entry(self, graph: Graph, prefix: str, b: Builder | None = None) -> Graph:
        """The network's nodes over the states; names of its values begin with `prefix`."""
        b = b or self.builder()
        known: dict[str, Value] = {}
        for value in graph.inputs:
            known[value.name] = b.input(prefix + value.name, value.type)
        for state in self.states.values():
            known[state.name] = b.read(state)
        for value in graph.params:
            if value.name in self.parts:
                known |= self._joined(b, value, prefix)
            elif value.name not in self.states:
                known[value.name] = b.use(self.params[value.name])
        for node in graph.nodes:
            if any(v.name in self.depthwise for v in node.inputs[1:2]):
                operands = [known[v.name] for v in node.inputs if v.name in known]
                known[node.output.name] = self._two(b, node, operands, prefix)
                continue
            results = b.add_multi(
                node.op,
                [known[v.name] for v in node.inputs],
                node.attrs,
                types=[v.type for v in node.outputs],
                name=prefix + node.output.name,
                origin=node.origin,
            )
            known |= {v.name: r for v, r in zip(node.outputs, results, strict=True)}
        return b.graph([known[v.name] for v in graph.outputs])

    def _joined(self, b: Builder, weight: Value, prefix: str) -> dict[str, Value]:
        """A weight whose input channels are trained in part, put together again."""
        trained, frozen = self.parts[weight.name]
        own = b.use(self.params[frozen.name])
        if weight.name in self.depthwise:
            return {}
        name, axis = f"{prefix}{weight.name}/whole", len(weight.type.shape) - 1
        whole = b.add(
            registry.get("concat"), (trained, own), Concat(axis), type=weight.type, name=name
        )
        return {weight.name: whole}

    def _two(self, b: Builder, node: Node, operands: Sequence[Value], prefix: str) -> Value:
        """A depthwise layer as two, of its trained and of its frozen channels."""
        x, *bias = operands
        results: list[Value] = []
        begin, ratio = 0, node.output.type.shape[3] // x.type.shape[3]
        for w in self.parts[node.inputs[1].name]:
            size = w.type.shape[0]
            first, count = begin // ratio, size // ratio
            part = call(b, "slice", x, begin=(0, 0, 0, first), size=(*x.type.shape[:3], count))
            own = [call(b, "slice", v, begin=(begin,), size=(size,)) for v in bias]
            attrs = replace(node.attrs, groups=count)  # type: ignore[call-arg]
            type = node.output.type.with_shape(*node.output.type.shape[:3], size)
            results.append(b.add(node.op, (part, w, *own), attrs, type=type, origin=node.origin))
            begin += size
        name = prefix + node.output.name
        return b.add(registry.get("concat"), results, Concat(3), type=node.output.type, name=name)


def _part(type: TensorType, data: Array, begin: int, axis: int) -> TensorType:
    """The type of some of a weight's channels, which have scales of their own where they are
    output channels."""
    quant = type.quant
    if quant is not None and quant.axis == axis and not quant.is_per_tensor:
        end = begin + data.shape[axis]
        quant = replace(quant, scale=quant.scale[begin:end], zero_point=quant.zero_point[begin:end])
    return TensorType(tuple(data.shape), type.dtype, quant)


def _column(w: Value, data: Array) -> Array | None:
    """Real size of a step of each weight, broadcasting from axis 0; None of floats."""
    if w.type.quant is None:
        return None
    return _steps(w, data).reshape(-1, *(1,) * (len(w.type.shape) - 1))


LEAST = 1e-3
"""Scales below this share of the largest are those of channels that have no weights."""


def _steps(w: Value, data: Array) -> Array:
    """(1) or (O) float64: real size of a step, infinite where there is nothing to measure it by: a
    quantiser gives channels without weights a scale of its least number, in which a bias would
    run through all of its range at once."""
    assert w.type.quant is not None
    scale = np.array(w.type.quant.scale, np.float64)
    if scale.size == 1 or not data.any():
        return scale
    empty = ~data.reshape(len(data), -1).any(axis=1) & (scale < LEAST * scale.max())
    return np.where(empty, np.inf, scale)

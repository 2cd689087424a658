"""A network as a module that learns: entries `infer` and `train_step` over shared states.

    train_step(x, label) -> loss, logits        and the trained tensors, moved
    evaluate(x, label) -> loss, logits          where it is asked for: nothing moves

What the scheme names becomes states; everything else stays constant.  Forward, backward and
update are ordinary nodes: the planner, the kernels and the emitter do not know of training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lilliput.errors import GraphError, UnsupportedError
from lilliput.ir import (
    Builder,
    DType,
    Graph,
    Guard,
    Module,
    Node,
    Param,
    State,
    TensorType,
    Value,
    finite,
    verify,
)
from lilliput.ir.rewrite import drop_dead
from lilliput.ir.types import Array
from lilliput.ops import registry
from lilliput.ops.gradient import call
from lilliput.ops.shape import Concat
from lilliput.train import losses
from lilliput.train.autodiff import gradients
from lilliput.train.classes import Room, room
from lilliput.train.heads import with_head
from lilliput.train.layers import Layer, layers
from lilliput.train.optimisers import RATE, Optimiser, Tensor, Updates
from lilliput.train.rewrites import bit_masks, one_factor, one_scale, split_weights
from lilliput.train.schemes import UpdateScheme, checked
from lilliput.train.updates import hoisted, keep_numbers

ENTRY = "train_step"
EVALUATE = "evaluate"


@dataclass(frozen=True)
class Trained:
    """One trained tensor: `layer` by its origin, `share` of its channels, bytes in RAM."""

    name: str
    layer: str
    index: int
    share: float
    shape: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True, eq=False)
class Training:
    """module : entries `infer` and `train_step`, `evaluate` where it was asked for; tensors : what
    is trained, in order."""

    module: Module
    scheme: UpdateScheme
    optimiser: Optimiser
    tensors: tuple[Trained, ...]


def trainable(
    module: Module,
    scheme: UpdateScheme,
    optimiser: Optimiser | None = None,
    *,
    classes: int | None = None,
    max_classes: int | None = None,
    evaluate: bool = False,
    seed: int = 0,
) -> Training:
    """`module` (one entry, one input, ending in a classifier) with a training step.

    The step takes the network's input and `label`, s32[1]; gives `loss` f32[1] and logits
    (1, classes) f32.

    classes : of a new head with drawn weights; None: the network's own head
    max_classes : for how many the head has room, of which a state `classes` says how many count
    evaluate : with an entry that gives the same loss and moves nothing

    Raises UnsupportedError for what is no such network, UsageError for a scheme
    that does not fit it, GraphError where no gradient reaches a tensor that is to be trained.
    """
    _check(module)
    optimiser = optimiser or Optimiser()
    whole = with_head(module, max_classes or classes, seed)
    products = layers(whole)
    checked(scheme, products)
    split = _Split(whole, _chosen(products, scheme))
    limit = room(classes, max_classes, split.names)
    b = split.builder()
    infer = b.graph([_forward(b, split, whole, "", limit)])
    step, updates = _step(split, whole, optimiser, limit)
    states = _states(split, updates)
    if limit is not None:
        states[limit.state.name] = limit.state
    graphs = {whole.entry: drop_dead(infer), ENTRY: drop_dead(step)}
    guards = {ENTRY: _guards("label", graphs[ENTRY], limit)}
    if evaluate:
        graphs[EVALUATE] = drop_dead(_evaluation(split, whole, limit))
        guards[EVALUATE] = _guards(f"{EVALUATE}/label", graphs[EVALUATE], limit)
    params = {**whole.params, **split.params}
    used = {p.name for g in graphs.values() for p in g.params}
    kept = {n: p for n, p in params.items() if n in used}
    made = Module(graphs, kept, states, module.name, guards)
    verify(made)
    return Training(made, scheme, optimiser, split.trained())


def _check(module: Module) -> None:
    graph = module.graphs[module.entry]
    if len(module.graphs) > 1 or module.states or len(graph.inputs) != 1:
        raise UnsupportedError(
            "only networks of one entry and one input without states are trained",
            where=module.name,
            found=f"{len(module.graphs)} entries, {len(module.states)} states, "
            f"{len(graph.inputs)} inputs",
        )


# What is trained --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Choice:
    layer: Layer
    channels: int
    bias: bool


def _chosen(products: Sequence[Layer], scheme: UpdateScheme) -> tuple[_Choice, ...]:
    """Of each layer how many channels of its weights, and whether its bias."""
    *body, head = products
    found = [
        _Choice(
            layer,
            round(scheme.weights.get(layer.index, 0) * layer.channels),
            layer.index >= len(body) - scheme.biases and layer.bias is not None,
        )
        for layer in body
    ]
    found.append(_Choice(head, head.channels, bias=True))
    return tuple(c for c in found if c.channels or c.bias)


class _Split:
    """The network's tensors as states and constants: a weight of which a part is trained is the
    two parts joined."""

    def __init__(self, module: Module, chosen: Sequence[_Choice]):
        self.module, self.chosen = module, chosen
        self.params = dict(module.params)
        self.names = set(module.params)
        self.states: dict[str, State] = {}
        self.tensors: dict[str, tuple[_Choice, Tensor]] = {}
        self.parts: dict[str, tuple[Value, Value]] = {}
        self.depthwise: set[str] = set()
        for choice in chosen:
            if choice.channels:
                self._weight(choice)
            if choice.bias:
                self._bias(choice)

    def _data(self, value: Value) -> Array:
        data = self.module.params[value.name].data
        return data if data is not None else np.zeros(value.type.shape, value.type.dtype.numpy)

    def _weight(self, choice: _Choice) -> None:
        layer, w = choice.layer, choice.layer.weight
        if choice.channels == layer.channels:
            self._state(choice, w, self._data(w), _column(w, 1.0))
            return
        first, rest = np.split(self._data(w), [choice.channels], layer.axis)
        trained = Value(f"{w.name}/trained", _part(w.type, first, 0, layer.axis))
        frozen = Value(f"{w.name}/frozen", _part(w.type, rest, choice.channels, layer.axis))
        self.params[frozen.name] = Param(frozen, np.ascontiguousarray(rest))
        self._state(choice, trained, np.ascontiguousarray(first), _column(trained, 1.0))
        self.parts[w.name] = (trained, frozen)
        if layer.depthwise:
            self.depthwise.add(w.name)
            self._unscale(layer.bias)

    def _unscale(self, bias: Value | None) -> None:
        """A bias that is cut in two is plain numbers: its scales follow from the weights'."""
        if bias is not None:
            value = replace(bias, type=TensorType(bias.type.shape, bias.type.dtype))
            self.params[bias.name] = Param(value, self._data(bias))

    def _bias(self, choice: _Choice) -> None:
        layer, bias = choice.layer, choice.layer.bias
        assert bias is not None
        x = layer.node.inputs[0].type
        steps = None if bias.type.dtype.is_float else _bias_steps(layer, x.scale)
        value = self.params[bias.name].value
        self._state(choice, value, self._data(bias), steps, decays=False)

    def _state(
        self,
        choice: _Choice,
        value: Value,
        init: Array,
        steps: Array | None,
        decays: bool = True,
    ) -> None:
        self.params.pop(value.name, None)
        self.states[value.name] = State(value, init)
        self.tensors[value.name] = choice, Tensor(value, steps, decays)

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

    def trained(self) -> tuple[Trained, ...]:
        return tuple(
            Trained(
                name,
                choice.layer.name,
                choice.layer.index,
                choice.channels / choice.layer.channels
                if tensor.decays and choice.channels
                else 1.0,
                tensor.state.type.shape,
                tensor.state.type.nbytes,
            )
            for name, (choice, tensor) in self.tensors.items()
        )


def _part(type: TensorType, data: Array, begin: int, axis: int) -> TensorType:
    """The type of some of a weight's channels, which have scales of their own where they are
    output channels."""
    quant = type.quant
    if quant is not None and quant.axis == axis and not quant.is_per_tensor:
        end = begin + data.shape[axis]
        quant = replace(quant, scale=quant.scale[begin:end], zero_point=quant.zero_point[begin:end])
    return TensorType(tuple(data.shape), type.dtype, quant)


def _column(w: Value, times: float) -> Array | None:
    """Real size of a step of each weight, broadcasting from axis 0; None of floats."""
    if w.type.quant is None:
        return None
    scales = np.array(w.type.quant.scale, np.float64) * times
    return scales.reshape(-1, *(1,) * (len(w.type.shape) - 1))


def _bias_steps(layer: Layer, x_scale: float) -> Array:
    quant = layer.weight.type.quant
    assert quant is not None
    return np.array(quant.scale, np.float64) * x_scale


# The step ---------------------------------------------------------------------------------


def _forward(b: Builder, split: _Split, whole: Module, prefix: str, limit: Room | None) -> Value:
    """The network in `b`: its logits, of which those of classes in use count."""
    (logits,) = split.entry(whole.graphs[whole.entry], prefix, b).outputs
    return logits if limit is None else limit.logits(b, logits, f"{prefix}used_logits")


def _guards(label: str, graph: Graph, limit: Room | None) -> tuple[Guard, Guard]:
    """That the label is a class in use and the loss a number."""
    loss, logits = graph.outputs[:2]
    bounds = Guard(label, 0, logits.type.shape[-1] - 1) if limit is None else limit.guard(label)
    return bounds, finite(loss.name)


def _evaluation(split: _Split, whole: Module, limit: Room | None) -> Graph:
    """Forward and loss: outputs loss, logits."""
    b, prefix = split.builder(), f"{EVALUATE}/"
    logits = _forward(b, split, whole, prefix, limit)
    loss = losses.cross_entropy(b, logits, b.input(f"{prefix}label", TensorType((1,), DType.S32)))
    b.nodes[:] = _named(b.nodes, {loss.name: f"{prefix}loss"})
    return b.graph([_renamed(loss, f"{prefix}loss"), logits])


def _step(
    split: _Split, whole: Module, optimiser: Optimiser, limit: Room | None
) -> tuple[Graph, Updates]:
    """Forward, loss, backward, updates: outputs loss, logits, then what is left in the states."""
    b = split.builder()
    logits = _forward(b, split, whole, f"{ENTRY}/", limit)
    label = b.input("label", TensorType((1,), DType.S32))
    loss = losses.cross_entropy(b, logits, label)
    one = b.param(f"{ENTRY}/one", np.ones(loss.type.shape, np.float32))
    found = gradients(b, tuple(b.nodes), {loss.name: one}, list(split.states))
    missing = [n for n in split.states if n not in found]
    if missing:
        raise GraphError("no gradient reaches what is to be trained", found=", ".join(missing[:5]))
    b.nodes[:] = _small(b, split, loss)
    computed, updates = {v.name for n in b.nodes for v in n.outputs}, Updates(b, optimiser)
    for name, gradient in found.items():
        updates.update(split.tensors[name][1], gradient)
    keep_numbers(b, updates)
    data = {name: p.data for name, p in b.params.items() if p.data is not None}
    b.nodes[:] = one_factor(b, b.nodes, data)
    order = [n for n in (*split.states, *b.states) if n in updates.left]
    b.nodes[:] = _named(b.nodes, {loss.name: "loss"})
    loss = _renamed(loss, "loss")
    graph = b.graph([loss, logits, *(updates.left[n] for n in order)])
    owner = {updates.left[state].name: tensor for state, tensor in updates.owner.items()}
    return hoisted(graph, computed, owner), updates


def _named(nodes: Sequence[Node], names: Mapping[str, str]) -> list[Node]:
    """The nodes with some values under other names."""

    def value(v: Value) -> Value:
        return _renamed(v, names[v.name]) if v.name in names else v

    return [
        replace(n, inputs=tuple(map(value, n.inputs)), outputs=tuple(map(value, n.outputs)))
        for n in nodes
    ]


def _renamed(value: Value, name: str) -> Value:
    return replace(value, name=name)


def _small(b: Builder, split: _Split, loss: Value) -> list[Node]:
    """The nodes of `b` after every rewrite that makes a step small."""
    parts = {trained.name: (trained, frozen) for trained, frozen in split.parts.values()}
    joined = {
        n.output.name: parts[n.inputs[0].name]
        for n in b.nodes
        if n.op.name == "concat" and n.inputs[0].name in parts
    }
    nodes = split_weights(b, b.nodes, joined)
    data = {name: p.data for name, p in b.params.items() if p.data is not None}
    nodes = one_scale(b, nodes, data)
    forward = next(i for i, n in enumerate(nodes) if n.output == loss)
    return bit_masks(b, nodes, forward + 1)


def _states(split: _Split, updates: Updates) -> dict[str, State]:
    """With what a step leaves in them, all of which is saved: after a load the next step is the one
    that would have come."""
    declared: Mapping[str, State] = {**split.states, **updates.b.states}
    return {
        name: replace(
            s,
            updates={ENTRY: updates.left[name]} if name in updates.left else {},
            saved=name in updates.left,
            settable=name == RATE,
        )
        for name, s in declared.items()
    }

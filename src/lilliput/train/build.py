"""A network as a module that learns: entries `infer` and `train_step` over shared states.

    train_step(x, label) -> loss, logits        and the trained tensors, moved
    train_step(x, target) -> loss, output       of losses without classes
    train_step(x) -> loss, output               of autoencoders
    evaluate(x, label) -> loss, logits          where it is asked for: nothing moves

What the scheme names becomes states; everything else stays constant.  Forward, backward and
update are ordinary nodes: the planner, the kernels and the emitter do not know of training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from lilliput.errors import GraphError, UnsupportedError
from lilliput.ir import (
    Builder,
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
from lilliput.train.autodiff import gradients
from lilliput.train.channels import ALL, arranged
from lilliput.train.classes import Room, room
from lilliput.train.layers import Layer, layers
from lilliput.train.lite import with_lite
from lilliput.train.norms import norms
from lilliput.train.objectives import Objective
from lilliput.train.optimisers import EXAMPLES, RATE, SUM, Optimiser, Tensor, Updates
from lilliput.train.rewrites import bit_masks, one_factor, one_scale, rounded, split_weights
from lilliput.train.saturated import unsaturated
from lilliput.train.schemes import UpdateScheme, checked
from lilliput.train.slices import Block, Sliced, blocks, sliced
from lilliput.train.updates import hoisted

NOTHING: Mapping[str, int] = MappingProxyType({})
ENTRY = "train_step"
EVALUATE = "evaluate"


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


@dataclass(frozen=True, eq=False)
class Training:
    """module : entries `infer` and `train_step`, `evaluate` where it was asked for; tensors : what
    is trained, in order
    order : layer that is trained in part -> the channels of the network, the trained ones first
    beside : bytes of RAM that the optimiser keeps, by what they are: sums, moments, rests
    blocks : parts of the step that can be made slice by slice, as gradients come to them; slices :
        how many those are made in that are; made : the values of each."""

    module: Module
    scheme: UpdateScheme
    optimiser: Optimiser
    tensors: tuple[Trained, ...]
    order: Mapping[int, Array]
    beside: Mapping[str, int]
    objective: Objective
    blocks: tuple[Block, ...]
    slices: Mapping[str, int]
    made: Mapping[str, frozenset[str]]


def trainable(
    module: Module,
    scheme: UpdateScheme,
    optimiser: Optimiser | None = None,
    *,
    classes: int | None = None,
    max_classes: int | None = None,
    evaluate: bool = False,
    seed: int = 0,
    loss: str = "cross_entropy",
    slices: Mapping[str, int] = NOTHING,
) -> Training:
    """`module` (one entry, one input) with a training step.

    The step takes the network's input and `label`, s32[1]; gives `loss` f32[1] and logits
    (1, classes) f32.  For a `loss` of `losses.LOSSES` without classes it takes `target`, float32,
    or nothing beside the input, and gives the network's output.

    classes : of a new head with drawn weights; None: the network's own head
    max_classes : for how many the head has room, of which a state `classes` says how many count
    evaluate : with an entry that gives the same loss and moves nothing
    slices : block of `Training.blocks` -> slices of its channels in the backward part

    Raises UnsupportedError for what is no such network, UsageError for a scheme that does not fit
    it, GraphError where no gradient reaches a tensor that is to be trained.
    """
    _check(module)
    optimiser = optimiser or Optimiser()
    objective = Objective(loss)
    headed = unsaturated(objective.prepared(module, max_classes or classes, seed))
    checked(scheme, layers(headed))
    parts = {c.layer.index: c.channels for c in _chosen(layers(headed), scheme) if c.in_part}
    ordered = arranged(headed, parts)
    chosen = _chosen(layers(ordered.module), scheme)
    whole, others = _others(ordered.module, scheme, seed)
    split = _Split(whole, chosen, others, ordered.how)
    limit = room(classes, max_classes, split.names)
    b = split.builder()
    output = _forward(b, split, whole, "", limit)[1]
    b.nodes[:] = _unjoined(b, split)
    infer = b.graph([output])
    goal = _Goal(split, whole, objective, limit, slices)
    step = _step(goal, optimiser)
    states = _states(split, step.updates)
    if limit is not None:
        states[limit.state.name] = limit.state
    graphs = {whole.entry: drop_dead(infer), ENTRY: drop_dead(step.graph)}
    guards = {ENTRY: step.guards}
    if evaluate:
        tested, guards[EVALUATE] = _evaluation(goal)
        graphs[EVALUATE] = drop_dead(tested)
    params = {**whole.params, **split.params}
    used = {p.name for g in graphs.values() for p in g.params}
    kept = {n: p for n, p in params.items() if n in used}
    made = Module(graphs, kept, states, module.name, guards)
    verify(made)
    return Training(
        made,
        scheme,
        optimiser,
        tuple(split.rows),
        ordered.order,
        _beside(step.updates),
        objective,
        step.blocks,
        step.cut.slices,
        step.cut.made,
    )


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

    @property
    def in_part(self) -> bool:
        return 0 < self.channels < self.layer.channels


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
    found.append(_Choice(head, head.channels, bias=head.bias is not None))
    return tuple(c for c in found if c.channels or c.bias)


def _others(
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


class _Split:
    """The network's tensors as states and constants: a weight of which a part is trained is the
    two parts joined."""

    def __init__(
        self,
        module: Module,
        chosen: Sequence[_Choice],
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

    def _weight(self, choice: _Choice) -> None:
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

    def _bias(self, choice: _Choice) -> None:
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


# The step ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Goal:
    """What every entry with a loss begins with."""

    split: _Split
    whole: Module
    objective: Objective
    limit: Room | None
    slices: Mapping[str, int]

    def loss(self, b: Builder, prefix: str, target: str) -> tuple[Value, Value, tuple[Guard, ...]]:
        """Adds the network and its loss: that, what the network gives, and the guards of what goes
        in; names begin with `prefix`, that of the target with `target`."""
        x, output = _forward(b, self.split, self.whole, prefix, self.limit)
        loss, given = self.objective.loss(b, x, output, target)
        if given is not None and self.limit is not None and given.type.dtype.is_integer:
            return loss, output, (self.limit.guard(given.name),)
        return loss, output, self.objective.guards(given, output)


def _forward(
    b: Builder, split: _Split, whole: Module, prefix: str, limit: Room | None
) -> tuple[Value, Value]:
    """The network in `b`: its input, and its output, of which classes in use count."""
    graph = split.entry(whole.graphs[whole.entry], prefix, b)
    (output,) = graph.outputs
    named = output if limit is None else limit.logits(b, output, f"{prefix}used_logits")
    return graph.inputs[0], named


def _evaluation(goal: _Goal) -> tuple[Graph, tuple[Guard, ...]]:
    """Forward and loss: outputs loss, what the network gives."""
    b, prefix = goal.split.builder(), f"{EVALUATE}/"
    loss, output, guards = goal.loss(b, prefix, prefix)
    b.nodes[:] = _unjoined(b, goal.split)
    b.nodes[:] = _named(b.nodes, {loss.name: f"{prefix}loss"})
    loss = _renamed(loss, f"{prefix}loss")
    return b.graph([loss, output]), (*guards, finite(loss.name))


@dataclass(frozen=True, eq=False)
class _Step:
    """graph : outputs loss, what the network gives, then what is left in the states
    guards : of what goes in and of the loss; blocks : as `Training` has them"""

    graph: Graph
    updates: Updates
    guards: tuple[Guard, ...]
    blocks: tuple[Block, ...]
    cut: Sliced


def _step(goal: _Goal, optimiser: Optimiser) -> _Step:
    """Forward, loss, backward, updates."""
    split = goal.split
    b = split.builder()
    loss, output, guards = goal.loss(b, f"{ENTRY}/", "")
    one = b.param(f"{ENTRY}/one", np.ones(loss.type.shape, np.float32))
    found = gradients(b, tuple(b.nodes), {loss.name: one}, list(split.states))
    missing = [n for n in split.states if n not in found]
    if missing:
        raise GraphError("no gradient reaches what is to be trained", found=", ".join(missing[:5]))
    b.nodes[:] = _small(b, split, loss, optimiser)
    parts = blocks(b.nodes)
    states = {name: tensor.state for name, tensor in split.tensors.items()}
    cut = sliced(b, b.nodes, parts, goal.slices, states, found)
    b.nodes[:] = cut.nodes
    computed, updates = {v.name for n in b.nodes for v in n.outputs}, Updates(b, optimiser)
    for name, gradient in found.items():
        if name in cut.parts:
            updates.update_parts(split.tensors[name], cut.parts[name])
        else:
            updates.update(split.tensors[name], gradient)
    data = {name: p.data for name, p in b.params.items() if p.data is not None}
    b.nodes[:] = one_factor(b, b.nodes, data)
    order = [n for n in (*split.states, *b.states) if n in updates.left]
    b.nodes[:] = _named(b.nodes, {loss.name: "loss"})
    loss = _renamed(loss, "loss")
    graph = b.graph([loss, output, *(updates.left[n] for n in order)])
    owner = {updates.left[state].name: tensor for state, tensor in updates.owner.items()}
    owner |= updates.moved
    after = {p.state.name: p.after for ps in cut.parts.values() for p in ps if p.after is not None}
    made = hoisted(graph, computed, owner, after)
    return _Step(made, updates, (*guards, finite(loss.name)), parts, cut)


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


def _unjoined(b: Builder, split: _Split) -> list[Node]:
    """The nodes of `b`, where no weight of which a part is trained is put together."""
    parts = {trained.name: (trained, frozen) for trained, frozen in split.parts.values()}
    joined = {
        n.output.name: parts[n.inputs[0].name]
        for n in b.nodes
        if n.op.name == "concat" and n.inputs[0].name in parts
    }
    return split_weights(b, b.nodes, joined)


def _small(b: Builder, split: _Split, loss: Value, optimiser: Optimiser) -> list[Node]:
    """The nodes of `b` after every rewrite that makes a step small."""
    nodes = _unjoined(b, split)
    if optimiser.gradients == "fixed":
        nodes = rounded(nodes)
    data = {name: p.data for name, p in b.params.items() if p.data is not None}
    nodes = one_scale(b, nodes, data)
    forward = next(i for i, n in enumerate(nodes) if n.output == loss)
    return bit_masks(b, nodes, forward + 1)


def _states(split: _Split, updates: Updates) -> dict[str, State]:
    """With what a step leaves in them, which is saved: after a load the next step is the one that
    would have come.  Sums of a step that is not complete are not: it begins anew."""
    declared: Mapping[str, State] = {**split.states, **updates.b.states}
    return {
        name: replace(
            s,
            updates={ENTRY: updates.left[name]} if name in updates.left else {},
            saved=name in updates.left and name != EXAMPLES and updates.kinds.get(name) != SUM,
            settable=name == RATE,
        )
        for name, s in declared.items()
    }


def _beside(updates: Updates) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, kind in updates.kinds.items():
        found[kind] = found.get(kind, 0) + updates.b.states[name].value.type.nbytes
    return found

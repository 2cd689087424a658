"""A network as a module that learns: entries `infer` and `train_step` over shared states.

    train_step(x, label) -> loss, logits        and the trained tensors, moved
    train_step(x, target) -> loss, output       of losses without classes
    train_step(x) -> loss, output               of autoencoders
    evaluate(x, label) -> loss, logits          where it is asked for: nothing moves

What the scheme names becomes states; everything else stays constant.  Forward, backward and
update are ordinary nodes: the planner, the kernels and the emitter do not know of training.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
    State,
    Value,
    finite,
    verify,
)
from lilliput.ir.rewrite import drop_dead
from lilliput.ir.types import Array
from lilliput.train.autodiff import gradients
from lilliput.train.channels import arranged
from lilliput.train.classes import Room, room
from lilliput.train.layers import layers
from lilliput.train.objectives import Objective
from lilliput.train.optimisers import EXAMPLES, RATE, SUM, Optimiser, Updates
from lilliput.train.rewrites import bit_masks, one_factor, one_scale, rounded, split_weights
from lilliput.train.saturated import unsaturated
from lilliput.train.schemes import UpdateScheme, checked
from lilliput.train.slices import Block, Sliced, blocks, sliced
from lilliput.train.tensors import Split, Trained, chosen, others
from lilliput.train.updates import hoisted

NOTHING: Mapping[str, int] = MappingProxyType({})
ENTRY = "train_step"
EVALUATE = "evaluate"


@dataclass(frozen=True, eq=False)
class Training:
    """module : entries `infer` and `train_step`, `evaluate` where it was asked for; tensors : what
    is trained, in order
    order : layer that is trained in part -> the channels of the network, the trained ones first
    beside : bytes of RAM that the optimiser keeps, by what they are: sums, moments, rests
    blocks : parts of the step that can be made slice by slice, as gradients come to them; slices :
        how many those are made in that are; made : the values of each
    remade : those whose masks are made again -> what that takes, in multiply-accumulates."""

    module: Module
    scheme: UpdateScheme
    optimiser: Optimiser
    tensors: tuple[Trained, ...]
    order: Mapping[int, Array]
    beside: Mapping[str, int]
    objective: Objective
    blocks: tuple[Block, ...]
    slices: Mapping[str, int]
    remade: Mapping[str, int]
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
    head: str = "float",
    slices: Mapping[str, int] = NOTHING,
    remade: Collection[str] = (),
) -> Training:
    """`module` (one entry, one input) with a training step.

    The step takes the network's input and `label`, s32[1]; gives `loss` f32[1] and logits
    (1, classes) f32.  For a `loss` of `losses.LOSSES` without classes it takes `target`, float32,
    or nothing beside the input, and gives the network's output.

    classes : of a new head with drawn weights; None: the network's own head
    max_classes : for how many the head has room, of which a state `classes` says how many count
    evaluate : with an entry that gives the same loss and moves nothing
    head : of `heads.HEADS`, how the classifier's weights are stored
    slices : block of `Training.blocks` -> slices of its channels in the backward part
    remade : those of them whose masks are made again, slice by slice, and not kept

    Raises UnsupportedError for what is no such network, UsageError for a scheme that does not fit
    it, GraphError where no gradient reaches a tensor that is to be trained.
    """
    _check(module)
    optimiser = optimiser or Optimiser()
    objective = Objective(loss, head)
    headed = unsaturated(objective.prepared(module, max_classes or classes, seed))
    checked(scheme, layers(headed))
    parts = {c.layer.index: c.channels for c in chosen(layers(headed), scheme) if c.in_part}
    ordered = arranged(headed, parts)
    whole, beside = others(ordered.module, scheme, seed)
    split = Split(whole, chosen(layers(ordered.module), scheme), beside, ordered.how)
    limit = room(classes, max_classes, split.names)
    b = split.builder()
    output = _forward(b, split, whole, "", limit)[1]
    b.nodes[:] = _unjoined(b, split)
    infer = b.graph([output])
    goal = _Goal(split, whole, objective, limit, slices, remade)
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
        step.cut.remade,
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


# The step ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Goal:
    """What every entry with a loss begins with."""

    split: Split
    whole: Module
    objective: Objective
    limit: Room | None
    slices: Mapping[str, int]
    remade: Collection[str]

    def loss(self, b: Builder, prefix: str, target: str) -> tuple[Value, Value, tuple[Guard, ...]]:
        """Adds the network and its loss: that, what the network gives, and the guards of what goes
        in; names begin with `prefix`, that of the target with `target`."""
        x, output = _forward(b, self.split, self.whole, prefix, self.limit)
        loss, given = self.objective.loss(b, x, output, target)
        if given is not None and self.limit is not None and given.type.dtype.is_integer:
            return loss, output, (self.limit.guard(given.name),)
        return loss, output, self.objective.guards(given, output)


def _forward(
    b: Builder, split: Split, whole: Module, prefix: str, limit: Room | None
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
    cut = sliced(b, b.nodes, parts, goal.slices, goal.remade, states, found)
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
    made = hoisted(graph, computed, owner, after, cut.masks)
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


def _unjoined(b: Builder, split: Split) -> list[Node]:
    """The nodes of `b`, where no weight of which a part is trained is put together."""
    parts = {trained.name: (trained, frozen) for trained, frozen in split.parts.values()}
    joined = {
        n.output.name: parts[n.inputs[0].name]
        for n in b.nodes
        if n.op.name == "concat" and n.inputs[0].name in parts
    }
    return split_weights(b, b.nodes, joined)


def _small(b: Builder, split: Split, loss: Value, optimiser: Optimiser) -> list[Node]:
    """The nodes of `b` after every rewrite that makes a step small."""
    nodes = _unjoined(b, split)
    if optimiser.gradients == "fixed":
        nodes = rounded(nodes)
    data = {name: p.data for name, p in b.params.items() if p.data is not None}
    nodes = one_scale(b, nodes, data)
    forward = next(i for i, n in enumerate(nodes) if n.output == loss)
    return bit_masks(b, nodes, forward + 1)


def _states(split: Split, updates: Updates) -> dict[str, State]:
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

"""One operator between random operands and L = sum(c * y), and three ways to differentiate L.

`by_rules` runs the nodes that `train.autodiff` adds, in the interpreter; `by_differences` moves one
element of an operand at a time and looks at the operator's NumPy meaning; the third way is PyTorch
(`torch_meanings`).  Operands of a case are distinct points of a lattice in random order, and a
difference moves less than half way to the next one: no two elements change places, so that a
maximum has a derivative.  What is left of corners and jumps (relu at 0, floor) shows in a
difference that depends on its step; such elements are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tests.samples import random_array

from lilliput.emu.prove import Call
from lilliput.ir import Builder, Graph, Module, Node, Op, Param, Session, TensorType, Value
from lilliput.ir.op import Attrs, NoAttrs, Sample
from lilliput.ir.rewrite import drop_dead
from lilliput.ir.types import Array, DType, f32
from lilliput.ops.elementwise import Clamp
from lilliput.ops.gradient import neg
from lilliput.train.autodiff import gradients

WIDEST = 3.0
"""Operands lie within -WIDEST .. WIDEST, whatever a sample says: farther out float32 has no room
for differences."""
CORNER = 1e-3
"""Of the largest derivative: differences of two steps that are farther apart than this see a
corner or a jump."""
LEAST = 0.25
"""Of operands that are positive."""


@dataclass(frozen=True, eq=False)
class Case:
    """node : the operator; operands : data of its inputs; weights : c, one array a result;
    step : how far a difference moves an element"""

    node: Node
    operands: tuple[Array, ...]
    weights: tuple[Array, ...]
    step: float

    @property
    def differentiable(self) -> tuple[int, ...]:
        """Operands that have a rule."""
        grads = self.node.op.grads
        return tuple(i for i in range(len(self.operands)) if grads[i] is not None)

    @property
    def wanted(self) -> tuple[int, ...]:
        """Those of them that are floats."""
        inputs = self.node.inputs
        return tuple(i for i in self.differentiable if inputs[i].type.dtype.is_float)

    def results(self) -> tuple[Array, ...]:
        """What the operator makes of its operands."""
        with np.errstate(all="ignore"):
            return self.node.op.ref(self.node, self.operands)


def make_case(op: Op, sample: Sample, seed: int = 0) -> Case:
    """`op` on random data of a sample's types."""
    rng = np.random.default_rng(seed)
    node = make_node(op, sample.inputs, sample)
    operands, step = _lattice(rng, sample)
    weights = tuple(rng.normal(size=v.type.shape).astype(np.float32) for v in node.outputs)
    return Case(node, operands, weights, step)


def make_node(op: Op, inputs: Sequence[TensorType], sample: Sample) -> Node:
    """`op` with a sample's attributes, and its outputs where they are stated."""
    b = Builder()
    operands = [b.input(f"x{i}", t) for i, t in enumerate(inputs)]
    attrs = op.attrs() if type(sample.attrs) is NoAttrs else sample.attrs
    b.add_multi(op, operands, attrs, types=sample.outputs or None, name="y")
    return b.nodes[0]


def _lattice(rng: np.random.Generator, sample: Sample) -> tuple[tuple[Array, ...], float]:
    """Operands, and how far an element may move without passing another."""
    low, high = _span(sample)
    count = sum(t.size for t in sample.inputs if t.dtype.is_float)
    spacing = (high - low) / max(count, 1)
    points = list(low + (rng.permutation(count) + 0.4) * spacing)
    operands: list[Array] = []
    for t in sample.inputs:
        if t.dtype.is_float:
            taken, points = points[: t.size], points[t.size :]
            operands.append(np.array(taken, np.float32).reshape(t.shape))
        else:
            operands.append(random_array(rng, t, sample.low, sample.high))
    return tuple(operands), min(spacing / 4, (high - low) / 512)


def _span(sample: Sample) -> tuple[float, float]:
    low = -WIDEST if sample.low is None else max(sample.low, -WIDEST)
    high = WIDEST if sample.high is None else min(sample.high, WIDEST)
    every_float = all(t.dtype.is_float for t in sample.inputs)
    if not every_float and low >= 0:
        low = -WIDEST  # the bounds are those of indices
    return (max(low, LEAST), high) if low > 0 else (low, high)


# Gradients --------------------------------------------------------------------------------


def by_rules(case: Case) -> dict[int, Array]:
    """The gradient of L by every wanted operand, from the graph that autodiff makes."""
    names = {case.node.inputs[i].name: i for i in case.wanted}

    def add(b: Builder) -> Mapping[str, Value]:
        b.add_multi(
            case.node.op,
            case.node.inputs,
            case.node.attrs,
            types=[v.type for v in case.node.outputs],
            name="y",
        )
        seeds = {
            v.name: b.param("c", c) for v, c in zip(case.node.outputs, case.weights, strict=True)
        }
        return gradients(b, tuple(b.nodes), seeds, names)

    values = {v.name: d for v, d in zip(case.node.inputs, case.operands, strict=True)}
    found = evaluated(case.node.inputs, values, add)
    return {names[name]: data for name, data in found.items()}


def by_rule(case: Case, i: int, results: Sequence[Array]) -> Array:
    """What the rule of operand i alone makes of c, where the node has these `results`."""
    rule = case.node.op.grads[i]
    assert rule is not None
    known = (*case.node.inputs, *case.node.outputs)
    values = dict(zip((v.name for v in known), (*case.operands, *results), strict=True))

    def add(b: Builder) -> Mapping[str, Value]:
        seeds = [b.param("c", c) for c in case.weights]
        return {"dx": rule(b, case.node, seeds)}

    return evaluated(known, values, add)["dx"]


def evaluated(
    inputs: Sequence[Value],
    values: Mapping[str, Array],
    add: Callable[[Builder], Mapping[str, Value]],
) -> dict[str, Array]:
    """What the nodes that `add` builds over `inputs` compute, under the names it gives."""
    b = Builder()
    for value in inputs:
        if value.type.dtype is DType.S4:
            b.use(Param(value, values[value.name]))  # four bits are those of constants
        else:
            b.input(value.name, value.type)
    made = add(b)
    for value in made.values():
        assert value.type == f32(*value.type.shape), f"gradient of type {value.type}"
    # a result may be an operand, or the same value twice: each gets a name of its own
    module = b.module(tuple({v.name: v for v in made.values()}.values()))
    run = Session(module).run({n: d for n, d in values.items() if n not in module.params})
    return {name: run.values[v.name] for name, v in made.items()}


def by_differences(case: Case, i: int) -> tuple[Array, Array]:
    """(L's derivative by operand i, where it has one): central differences of two steps of the
    operator's NumPy meaning, in double."""
    wide, narrow = (_differences(case, i, case.step * share) for share in (1.0, 0.5))
    limit = CORNER * float(np.max(np.abs(narrow), initial=0.0))
    return narrow, np.abs(wide - narrow) <= limit


def _differences(case: Case, i: int, step: float) -> Array:
    x = case.operands[i]
    found = np.zeros(x.shape, np.float64)
    for at in np.ndindex(x.shape):
        up, down = (_moved(x, at, sign * step) for sign in (1, -1))
        apart = float(up[at]) - float(down[at])
        found[at] = (_loss(case, i, up) - _loss(case, i, down)) / apart
    return found


def _moved(x: Array, at: tuple[int, ...], by: float) -> Array:
    moved = x.copy()
    moved[at] += np.float32(by)
    return moved


def _loss(case: Case, i: int, operand: Array) -> float:
    operands = [operand if k == i else data for k, data in enumerate(case.operands)]
    with np.errstate(all="ignore"):
        results = case.node.op.ref(case.node, operands)
    pairs = zip(results, case.weights, strict=True)
    return sum(float(np.sum(y.astype(np.float64) * c)) for y, c in pairs)


# Integers ---------------------------------------------------------------------------------


def real_case(case: Case) -> tuple[Case, tuple[Array, ...]]:
    """The same of the real numbers that a case's integers stand for, and its results in them.

    Raises TypeMismatch where the operator takes no floats.
    """
    node = case.node
    inputs = tuple(
        f32(*v.type.shape) if i in case.differentiable else v.type
        for i, v in enumerate(node.inputs)
    )
    real = make_node(node.op, inputs, Sample(inputs, _real_attrs(node)))
    operands = tuple(
        _real_numbers(v.type, data) if i in case.differentiable else data
        for i, (v, data) in enumerate(zip(node.inputs, case.operands, strict=True))
    )
    results = zip(node.outputs, case.results(), strict=True)
    given = tuple(_real_numbers(v.type, data) for v, data in results)
    return Case(real, operands, case.weights, case.step), given


def _real_attrs(node: Node) -> Attrs:
    """Of the attributes, stored numbers as real ones."""
    if isinstance(node.attrs, Clamp):
        t = node.output.type
        low, high = ((v - t.zero_point) * t.scale for v in (node.attrs.low, node.attrs.high))
        return Clamp(low, high)
    return node.attrs


def _real_numbers(type: TensorType, data: Array) -> Array:
    """scale * (q - zero_point); what has no scale is a number itself."""
    if type.quant is None:
        return data.astype(np.float32)
    shape = [1] * data.ndim
    if not type.quant.is_per_tensor:
        shape[type.quant.axis or 0] = -1
    scale = np.array(type.quant.scale, np.float32).reshape(shape)
    centred = data.astype(np.int64) - type.zero_point
    return np.asarray(scale * centred.astype(np.float32))


# As a program -----------------------------------------------------------------------------


def gradient_module(op: Op, samples: Sequence[Sample]) -> tuple[Module, list[Call]]:
    """An entry for each sample: its operands and c -> minus the gradients of L (minus, so that
    each is a value of its own)."""
    params: dict[str, Param] = {}
    names: set[str] = set()
    graphs: dict[str, Graph] = {}
    calls: list[Call] = []
    for k, sample in enumerate(samples):
        case = make_case(op, sample, seed=k)
        b = Builder(params, names)
        operands = [b.input(f"x{k}_{i}", v.type) for i, v in enumerate(case.node.inputs)]
        types = [v.type for v in case.node.outputs]
        results = b.add_multi(op, operands, case.node.attrs, types=types, name=f"y{k}")
        seeds = {v.name: b.input(f"c{k}_{v.name}", f32(*v.type.shape)) for v in results}
        wanted = [operands[i].name for i in case.wanted]
        found = gradients(b, tuple(b.nodes), seeds, wanted)
        outputs = [neg(b, found[name]) for name in wanted]
        graphs[f"case{k}"] = drop_dead(b.graph(outputs))
        given = (*operands, *seeds.values())
        data = zip(given, (*case.operands, *case.weights), strict=True)
        calls.append(Call(f"case{k}", {v.name: d for v, d in data}))
    used = {v.name for g in graphs.values() for v in g.params}
    return Module(graphs, {n: p for n, p in params.items() if n in used}, {}, f"d_{op.name}"), calls

"""The verifier of the graph level: what is legal, checked between stages.

every operand is defined before it is read        names are unique
every node's output types are what its operator infers (shape and dtype), and give it the
constants that its meaning needs; scales along an axis are an operand's too
quantisation has positive scales, as many as its axis is long, zero points in range
params and states have data of their type; every state update has the state's type
guards are on inputs and outputs of their entry; what can be set has one element; a setting with
bounds is within them for ever; a guard below a state is of an entry that reads the state
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from lilliput.errors import GraphError, Problem, TypeMismatch
from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Guard, Module
from lilliput.ir.types import DType, TensorType

MAX_ELEMENTS = 2**31 - 1
GUARDED = (DType.F32, DType.S8, DType.U8, DType.S16, DType.S32)
"""Types of what a guard may be of."""
COUNTS = frozenset({DType.S8, DType.U8, DType.S16, DType.S32})
"""Of what has bounds that are no numbers of the program, or is such a bound."""


def check_node(node: Node) -> None:
    """Raises TypeMismatch where the recorded output types are not what the op infers, or where
    no constants of its meaning follow from the types and attributes (scales too far apart)."""
    try:
        expected = node.op.infer(node.attrs, [v.type for v in node.inputs])
    except TypeMismatch as e:
        raise _located(e, node) from None
    found = tuple(v.type for v in node.outputs)
    if [(t.shape, t.dtype) for t in expected] != [(t.shape, t.dtype) for t in found]:
        raise TypeMismatch(
            "output type differs from what the operator gives",
            where=node.describe(),
            expected=", ".join(map(str, expected)),
            found=", ".join(map(str, found)),
        )
    _check_scales(node, expected)
    _check_constants(node)


def _check_scales(node: Node, expected: Sequence[TensorType]) -> None:
    """Scales along an axis come with parameters; no operator gives a result other ones, but for
    those of some of their channels."""
    known = [v.type.quant for v in node.inputs] + [t.quant for t in expected]
    for value in node.outputs:
        quant = value.type.quant
        if quant is not None and not quant.is_per_tensor and quant not in known:
            raise TypeMismatch(
                "result is quantised per axis",
                where=node.describe(),
                expected="one scale and zero point",
                found=f"{len(quant.scale)} along axis {quant.axis}",
                hint="convert again with activations quantised per tensor",
            )


def _located(error: TypeMismatch, node: Node) -> TypeMismatch:
    p = error.problems[0]
    return TypeMismatch(
        p.what, where=node.describe(), expected=p.expected, found=p.found, hint=p.hint
    )


def _check_constants(node: Node) -> None:
    """An expression in C has every constant of its operator in it: so it is written here."""
    constants, scalar = node.op.constants, node.op.scalar
    if any(_type_faults(v.type) for v in (*node.inputs, *node.outputs)):
        return
    try:
        with np.errstate(all="ignore"):
            if constants is not None:
                constants(node)
            elif scalar is not None:
                scalar.tables(node)
                scalar.c(node, ["x"] * len(node.inputs))
    except TypeMismatch as e:
        raise _located(e, node) from None


def verify_graph(graph: Graph) -> None:
    """Raises GraphError with every rule that the graph breaks."""
    problems = list(_graph_problems(graph))
    if problems:
        raise GraphError(problems)


def verify(module: Module) -> None:
    """Raises GraphError with every rule that the module breaks."""
    problems: list[Problem] = []
    for entry, graph in module.graphs.items():
        problems += _graph_problems(graph)
        problems += _binding_problems(module, entry, graph)
    problems += _guard_problems(module)
    problems += _data_problems(module)
    if problems:
        raise GraphError(problems)


def _graph_problems(graph: Graph) -> Iterator[Problem]:
    defined: dict[str, Value] = {}
    for value in (*graph.inputs, *graph.params):
        yield from _define(value, defined, "graph")
    for node in graph.nodes:
        for value in node.inputs:
            if defined.get(value.name) != value:
                yield Problem(
                    "reads a value that is not defined before it"
                    if value.name not in defined
                    else "reads a value under another type than it was defined with",
                    node.describe(),
                    expected=str(defined.get(value.name, "an earlier definition")),
                    found=str(value),
                )
        yield from _caught(check_node, node)
        for value in node.outputs:
            yield from _define(value, defined, node.describe())
    for value in graph.outputs:
        if defined.get(value.name) != value:
            yield Problem("output is not defined", found=str(value))


def _define(value: Value, defined: dict[str, Value], where: str) -> Iterator[Problem]:
    if value.name in defined:
        yield Problem("name is defined twice", where, found=value.name)
    defined[value.name] = value
    yield from _type_problems(value)


def _type_problems(value: Value) -> Iterator[Problem]:
    type = value.type
    if _shape_fault(type):
        yield Problem("shape is empty or too large", value.name, "1 to 2^31-1 elements", str(type))
    yield from (Problem(text, value.name, found=str(type.quant)) for text in _quant_faults(type))


def _shape_fault(type: TensorType) -> bool:
    return any(d < 1 for d in type.shape) or math.prod(type.shape) > MAX_ELEMENTS


def _type_faults(type: TensorType) -> bool:
    return _shape_fault(type) or any(_quant_faults(type))


def _quant_faults(type: TensorType) -> Iterator[str]:
    quant = type.quant
    if quant is None:
        return
    if not type.dtype.is_integer:
        yield f"{type.dtype.value} cannot be quantised"
        return
    if any(not (math.isfinite(s) and s > 0) for s in quant.scale):
        yield "scale is not a positive number"
    low, high = type.dtype.bounds
    if any(not low <= z <= high for z in quant.zero_point):
        yield "zero point is out of range"
    count = 1 if quant.axis is None else -1
    if quant.axis is not None and 0 <= quant.axis < len(type.shape):
        count = type.shape[quant.axis]
    if (len(quant.scale), len(quant.zero_point)) != (count, count):
        yield "number of scales and zero points does not match the quantised axis"


def _caught(check: Callable[[Node], None], node: Node) -> Iterator[Problem]:
    try:
        check(node)
    except GraphError as e:
        yield from e.problems


def _binding_problems(module: Module, entry: str, graph: Graph) -> Iterator[Problem]:
    where = f"entry {entry!r}"
    for value in graph.params:
        if value.name not in module.params or module.params[value.name].value != value:
            yield Problem("parameter is not in the module", where, found=str(value))
    updates = module.updates(entry)
    tail = graph.outputs[len(graph.outputs) - len(updates) :]
    if tail != tuple(updates.values()):
        yield Problem(
            "state updates are not the graph's last outputs",
            where,
            expected=", ".join(v.name for v in updates.values()),
            found=", ".join(v.name for v in tail),
        )
    for name, new in updates.items():
        old = module.states[name].value
        if (new.type.shape, new.type.dtype) != (old.type.shape, old.type.dtype):
            yield Problem("state changes its type", f"{where}, {name}", str(old), str(new))


def _guard_problems(module: Module) -> Iterator[Problem]:
    for entry, guards in module.guards.items():
        known = entry in module.graphs
        ports = (*module.inputs(entry), *module.outputs(entry)) if known else ()
        by_name = {v.name: v for v in ports}
        for guard in guards:
            where = f"entry {entry!r}, guard of {guard.name}"
            if guard.name not in by_name:
                yield Problem("guard of no input or output", where, ", ".join(by_name), guard.name)
            elif by_name[guard.name].type.dtype not in GUARDED:
                yield Problem(
                    "guard of what is not compared", where, found=str(by_name[guard.name].type)
                )
            elif guard.below:
                yield from _limit_problems(module, entry, guard, where)
            if not guard.low <= guard.high:
                found = f"{guard.low} to {guard.high}"
                yield Problem("guard that nothing passes", where, found=found)
    for state in module.states.values():
        if state.settable and state.value.type.size != 1:
            yield Problem("only a state of one element is set", state.name, "1", str(state.value))
        elif state.bounds is not None:
            low, high = state.bounds
            integer = state.settable and state.value.type.dtype in COUNTS
            within = bool(np.all((state.init >= low) & (state.init <= high)))
            if not integer or state.updates or not within:
                yield Problem(
                    "bounds of what is not a setting within them",
                    state.name,
                    f"an integer from {low} to {high} that no entry updates",
                    f"{state.value}, {state.init}",
                )


def _limit_problems(module: Module, entry: str, guard: Guard, where: str) -> Iterator[Problem]:
    """Of the state that bounds an input."""
    given = {v.name: v for v in module.inputs(entry)}.get(guard.name)
    read = {v.name: v for v in module.graphs[entry].inputs if v.name in module.states}
    limit = read.get(guard.below)
    counts = {v.type.dtype for v in (given, limit) if v is not None} <= COUNTS
    if given is None or limit is None or limit.type.size != 1 or not counts:
        yield Problem(
            "guard below what is no count",
            where,
            "an integer input, below an integer state of one element that the entry reads",
            guard.below,
        )


def _data_problems(module: Module) -> Iterator[Problem]:
    held = [(p.value, p.data) for p in module.params.values()]
    held += [(s.value, s.init) for s in module.states.values()]
    for value, data in held:
        if data is not None and (
            tuple(data.shape) != value.type.shape or data.dtype != value.type.dtype.numpy
        ):
            yield Problem(
                "data does not have its type",
                value.name,
                str(value.type),
                f"{data.dtype}{list(data.shape)}",
            )
    for name in module.states.keys() & module.params.keys():
        yield Problem("name is both a parameter and a state", name)

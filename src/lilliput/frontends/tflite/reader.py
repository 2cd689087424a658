"""Reads a .tflite file: bytes in, verified module out, or one error with every reason.

The bytes are checked as they are decoded (`flatbuf`), tensors when they are first needed
(`tensors`), operators by their families (`operators`).  This file walks the nodes in order
and decides what the ends of the network look like.  No TensorFlow is used or needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from lilliput.errors import FormatError, ModelError, Problem, UnsupportedError, UsageError
from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.flatbuf import decode
from lilliput.frontends.tflite.operators import READ
from lilliput.frontends.tflite.operators.table import check_row
from lilliput.frontends.tflite.schema import (
    BUILTIN,
    CONTROL_FLOW,
    IDENTIFIER,
    VERSION,
    Model,
    Operator,
    SubGraph,
)
from lilliput.frontends.tflite.tensors import FIXED_SHAPE, Tensors, Unavailable
from lilliput.ir import Builder, DType, Module, Value, verify

IO = ("int8", "float")
MAX_PROBLEMS = 100


def read(data: bytes, *, name: str = "model", io: str = "int8") -> Module:
    """The module of one entry, `infer`, that `data` holds.

    io="int8": a float input that only feeds one QUANTIZE is the quantised input itself, and
    an output that is only the result of a DEQUANTIZE is the integers; these values keep the
    names of the float tensors.  io="float" keeps the nodes.

    Raises FormatError, UnsupportedError or GraphError with every problem found.
    """
    if io not in IO:
        raise UsageError("unknown form of inputs and outputs", expected=" or ".join(IO), found=io)
    model = decode(data, IDENTIFIER, Model)
    if model.version != VERSION:
        raise FormatError("version of the .tflite schema", expected=VERSION, found=model.version)
    if not model.subgraphs:
        raise FormatError("the model has no subgraph")
    graph = model.subgraphs[0]
    _check_indices(model, graph)
    module = _Reader(model, graph, name, 16 * len(data) + (1 << 20)).run(io)
    verify(module)
    return module


def _check_indices(model: Model, graph: SubGraph) -> None:
    """Raises FormatError with every index that points to nothing."""
    count, problems = len(graph.tensors), list[Problem]()

    def check(where: str, indices: Iterable[int], least: int) -> None:
        bad = [i for i in indices if not least <= i < count]
        if bad:
            expected = f"tensors {least} to {count - 1}"
            problems.append(Problem("tensor does not exist", where, expected, str(bad[:8])))

    check("inputs of the model", graph.inputs, 0)
    check("outputs of the model", graph.outputs, 0)
    for k, op in enumerate(graph.operators):
        if op.opcode >= len(model.codes):
            problems.append(
                Problem("operator code does not exist", f"node {k}", found=str(op.opcode))
            )
        check(f"node {k}, inputs", op.inputs, -1)
        check(f"node {k}, outputs", op.outputs, 0)
    if not graph.outputs:
        problems.append(Problem("the model has no outputs"))
    if len(set(graph.inputs)) != len(graph.inputs):
        problems.append(Problem("an input is listed twice", found=str(graph.inputs[:16])))
    if problems:
        raise FormatError(_capped(problems))


def _capped(problems: list[Problem]) -> list[Problem]:
    left = len(problems) - MAX_PROBLEMS
    return problems if left <= 0 else [*problems[:MAX_PROBLEMS], Problem(f"... and {left} more")]


@dataclass(frozen=True)
class _Ends:
    """Float ends that become integers: nodes left out, and tensor -> the tensor it stands for."""

    skipped: frozenset[int]
    inputs: dict[int, int]
    outputs: dict[int, int]


class _Reader:
    def __init__(self, model: Model, graph: SubGraph, name: str, budget: int):
        self.model = model
        self.graph = graph
        self.name = name
        self.builder = Builder()
        self.tensors = Tensors(model, graph, self.builder, budget)
        self.errors: list[ModelError] = []

    def run(self, io: str) -> Module:
        ends = self._integer_ends() if io == "int8" else _Ends(frozenset(), {}, {})
        for index in self.graph.inputs:
            self._guard(lambda index=index: self._input(index, ends))
        for k, op in enumerate(self.graph.operators):
            if k not in ends.skipped:
                self._node(k, op)
        outputs: list[Value] = []
        for index in self.graph.outputs:
            source = ends.outputs.get(index, index)
            self._guard(lambda source=source: outputs.append(self.tensors.value(source)))
        self._raise()
        return self.builder.module(outputs, name=self.name)

    def _guard(self, step: Callable[[], object]) -> None:
        """Runs `step`, keeping its error for the end."""
        try:
            step()
        except Unavailable:
            pass
        except ModelError as e:
            self.errors.append(e)

    def _raise(self) -> None:
        if not self.errors:
            return
        order = (FormatError, UnsupportedError, type(self.errors[0]))
        cls = next(c for c in order if any(isinstance(e, c) for e in self.errors))
        raise cls(_capped([p for e in self.errors for p in e.problems]))

    # Ends -----------------------------------------------------------------------------

    def _input(self, index: int, ends: _Ends) -> None:
        tensors, target = self.tensors, ends.inputs.get(index, index)
        tensors.values[target] = None
        signature = self.graph.tensors[index].shape_signature
        shape = tensors.type(index).shape
        if signature and len(signature) != len(shape):
            raise FormatError(
                "shape and shape signature differ in rank",
                where=tensors.where(index),
                expected=shape,
                found=signature,
            )
        open_axes = [k for k, d in enumerate(signature) if d < 0 and not (k == 0 and shape[0] == 1)]
        if open_axes:
            raise UnsupportedError(
                f"input has a dynamic shape, axis {open_axes}",
                where=tensors.where(index),
                found=signature,
                hint=FIXED_SHAPE,
            )
        if tensors.data(index) is not None:
            raise FormatError("input of the model is a constant", where=tensors.where(index))
        tensors.bind(target, self.builder.input(tensors.names[target], tensors.type(target)))

    def _integer_ends(self) -> _Ends:
        graph, tensors = self.graph, self.tensors
        users: dict[int, list[int]] = {}
        makers: dict[int, list[int]] = {}
        for k, op in enumerate(graph.operators):
            for i in op.inputs:
                users.setdefault(i, []).append(k)
            for i in op.outputs:
                makers.setdefault(i, []).append(k)
        skipped: set[int] = set()
        inputs: dict[int, int] = {}
        outputs: dict[int, int] = {}
        for t in graph.inputs:
            k = users.get(t, [])
            if len(k) == 1 and self._is(k[0], "QUANTIZE") and t not in graph.outputs:
                q = graph.operators[k[0]].outputs[0]
                if len(makers[q]) == 1 and q not in graph.inputs and self._converts(t, q):
                    inputs[t] = q
                    skipped.add(k[0])
        for t in dict.fromkeys(graph.outputs):
            k = makers.get(t, [])
            if len(k) == 1 and self._is(k[0], "DEQUANTIZE") and t not in users:
                q = graph.operators[k[0]].inputs[0]
                taken = q in graph.outputs or q in outputs.values() or q in inputs.values()
                if q in makers and q not in graph.inputs and not taken and self._converts(t, q):
                    outputs[t] = q
                    skipped.add(k[0])
        for t, q in (*inputs.items(), *outputs.items()):
            tensors.names[q], tensors.names[t] = tensors.names[t], tensors.names[q]
        return _Ends(frozenset(skipped), inputs, outputs)

    def _is(self, k: int, name: str) -> bool:
        op = self.graph.operators[k]
        code = self.model.codes[op.opcode].code
        return BUILTIN.get(code) == name and len(op.inputs) == len(op.outputs) == 1

    def _converts(self, real: int, stored: int) -> bool:
        """Both tensors are sound, of one shape, and one stands for the other."""
        a, b = self.tensors.peek(real), self.tensors.peek(stored)
        if a is None or b is None or b.quant is None or not b.quant.is_per_tensor:
            return False
        return a.dtype.is_float and b.dtype in (DType.S8, DType.S16) and a.shape == b.shape

    # Nodes ----------------------------------------------------------------------------

    def _node(self, k: int, op: Operator) -> None:
        code = self.model.codes[op.opcode]
        name = BUILTIN.get(code.code, f"operator {code.code}")
        label = f' "{self.tensors.origin(op.outputs[0])}"' if op.outputs else ""
        where = f"node {k} {name}{label}"
        call = Call(self.tensors, name, where, op.inputs, op.outputs, op.options, op.custom)
        values: Sequence[Value] = ()
        try:
            values = self._build(call)
        except Unavailable:
            pass
        except ModelError as e:
            self.errors.append(_located(e, where))
        for index, value in zip_longest(dict.fromkeys(op.outputs), values[: len(op.outputs)]):
            self._guard(lambda index=index, value=value: self._define(index, value))

    def _define(self, index: int, value: Value | None) -> None:
        """Binds a result; where its node failed, a stand-in lets later nodes be checked too."""
        if index in self.graph.inputs or self.tensors.data(index) is not None:
            raise FormatError(
                "a node writes to an input or a constant", where=self.tensors.where(index)
            )
        if value is None:
            name, type = self.tensors.names[index], self.tensors.type(index)
            value = Value(self.builder.fresh(name), type)
        self.tensors.bind(index, value)

    def _build(self, call: Call) -> Sequence[Value]:
        row = READ.get(call.name)
        if row is None:
            raise self._unknown(call)
        check_row(call, row)
        if len(set(call.outputs)) < len(call.outputs):
            raise FormatError("a result is listed twice", where=call.where, found=call.outputs)
        made = row.build(call)
        return (made,) if isinstance(made, Value) else made

    def _unknown(self, call: Call) -> UnsupportedError:
        what, hint = "operator is not supported", "`lilliput ops` lists what is"
        if call.name in CONTROL_FLOW:
            others = ", ".join(f"{i} {g.name!r}" for i, g in enumerate(self.model.subgraphs) if i)
            what = f"operator calls another subgraph ({others or 'none is there'})"
            hint = "export the model as one graph: no loops, conditions or resource variables"
        elif call.name == "CUSTOM":
            names = {c.custom for c in self.model.codes if c.custom}
            what = f"custom operator ({', '.join(sorted(names)) or 'unnamed'})"
            hint = "replace it by built-in operators before converting"
        return call.refuse(what, hint=hint)


def _located(error: ModelError, where: str) -> ModelError:
    """`error` with the node named in every problem."""
    problems = [
        Problem(
            p.what,
            p.where if p.where.startswith("node") else f"{where}, {p.where}".rstrip(", "),
            p.expected,
            p.found,
            p.hint,
        )
        for p in error.problems
    ]
    return type(error)(problems)

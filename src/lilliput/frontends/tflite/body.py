"""The nodes of subgraphs, added to one builder in the order of the file.

A subgraph that another calls (IF, WHILE, CALL_ONCE) is added where it is called: which
branch, and how often, must follow from constants.  Errors are collected, so that all of
them are reported together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest

from lilliput.errors import FormatError, ModelError, Problem, UnsupportedError
from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.folding import Folding
from lilliput.frontends.tflite.operators import READ
from lilliput.frontends.tflite.operators.table import check_row
from lilliput.frontends.tflite.schema import BUILTIN, Model, Operator
from lilliput.frontends.tflite.shapes import settle
from lilliput.frontends.tflite.tensors import Budget, Operand, Tensors, Unavailable
from lilliput.frontends.tflite.variables import Variables
from lilliput.ir import Builder

MAX_PROBLEMS = 100
MAX_NODES = 50_000
MAX_DEPTH = 16
"""Of a whole file, loops unrolled; calls of subgraphs inside of one another."""


class File:
    """A file on its way into one builder; `errors` found so far."""

    def __init__(self, model: Model, budget: int):
        self.model = model
        self.builder = Builder()
        self.errors: list[ModelError] = []
        folding = Folding(self.builder)
        shared = Budget(budget)
        self.variables = Variables(self.builder, folding.array)
        self.tensors = [
            Tensors(model, graph, self.builder, folding, shared) for graph in model.subgraphs
        ]
        self._open: list[int] = [0]
        self._steps = 0

    def guard(self, step: Callable[[], object]) -> None:
        """Runs `step`, keeping its error for the end."""
        try:
            step()
        except Unavailable:
            pass
        except ModelError as e:
            self.errors.append(e)

    def raise_errors(self) -> None:
        if not self.errors:
            return
        order = (FormatError, UnsupportedError, type(self.errors[0]))
        cls = next(c for c in order if any(isinstance(e, c) for e in self.errors))
        raise cls(capped([p for e in self.errors for p in e.problems]))

    def inline(self, index: int, operands: Sequence[Operand], where: str) -> list[Operand]:
        """The outputs of subgraph `index` for `operands`; raises FormatError."""
        if not 0 < index < len(self.tensors) or index in self._open:
            raise FormatError("subgraph does not exist or calls itself", where=where, found=index)
        tensors = self.tensors[index]
        graph = tensors.graph
        if len(operands) != len(graph.inputs):
            raise FormatError(
                "wrong number of operands for a subgraph",
                where=where,
                expected=len(graph.inputs),
                found=len(operands),
            )
        self._spend()
        tensors.restart()
        for k, operand in zip(graph.inputs, operands, strict=True):
            tensors.define(k, operand)
        if len(self._open) > MAX_DEPTH:
            raise FormatError(
                "subgraphs call one another too deeply", where=where, expected=f"{MAX_DEPTH} calls"
            )
        self._open.append(index)
        try:
            self.walk(index, frozenset())
        finally:
            self._open.pop()
        return [tensors.operand(k) for k in graph.outputs]

    def _spend(self) -> None:
        """Counts an operator or a call: calls of calls double with each level."""
        self._steps += 1
        if max(self._steps, len(self.builder.nodes)) > MAX_NODES:
            raise FormatError(
                "too many nodes once loops are unrolled", expected=MAX_NODES, found="more"
            )

    def walk(self, index: int, skipped: frozenset[int]) -> None:
        """Adds the nodes of a subgraph, but those that are skipped."""
        for k, op in enumerate(self.model.subgraphs[index].operators):
            if k not in skipped:
                self._node(index, k, op)
            self._spend()

    def _node(self, index: int, k: int, op: Operator) -> None:
        tensors, code = self.tensors[index], self.model.codes[op.opcode]
        name = BUILTIN.get(code.code, f"operator {code.code}")
        label = f' "{tensors.origin(op.outputs[0])}"' if op.outputs else ""
        where = f"node {k} {name}{label}" + (f" of subgraph {index}" if index else "")
        name = code.custom if name == "CUSTOM" else name
        call = Call(
            self,
            tensors,
            name,
            where,
            op.inputs,
            op.outputs,
            op.options,
            op.custom,
            op.intermediates,
        )
        made: Sequence[Operand] = ()
        try:
            made = self._build(call)
        except Unavailable:
            pass
        except ModelError as e:
            self.errors.append(_located(e, where))
        for result, operand in zip_longest(dict.fromkeys(op.outputs), made[: len(op.outputs)]):
            if operand is None:
                tensors.abandon(result)
            else:
                self.guard(lambda result=result, operand=operand: tensors.define(result, operand))

    def _build(self, call: Call) -> Sequence[Operand]:
        row = READ.get(call.name)
        if row is None:
            raise self._unknown(call)
        settle(call)
        check_row(call, row)
        if len(set(call.outputs)) < len(call.outputs):
            raise FormatError("a result is listed twice", where=call.where, found=call.outputs)
        made = row.build(call)
        return made if isinstance(made, Sequence) else (made,)

    def _unknown(self, call: Call) -> UnsupportedError:
        if call.name.startswith("Flex"):
            return call.refuse(
                f"operator of TensorFlow that TFLite does not have ({call.name[4:]})",
                hint="convert without SELECT_TF_OPS; layers that loop need a fixed batch size",
            )
        if call.name not in BUILTIN.values():
            return call.refuse(
                f"custom operator ({call.name or 'unnamed'})",
                hint="replace it by built-in operators before converting",
            )
        return call.refuse("operator is not supported", hint="`lilliput ops` lists what is")


def check_indices(model: Model) -> None:
    """Raises FormatError with every index that points to nothing."""
    problems = list[Problem]()
    for number, graph in enumerate(model.subgraphs):
        count, of = len(graph.tensors), f" of subgraph {number}" if number else ""

        def check(where: str, indices: Iterable[int], least: int, *, count: int = count) -> None:
            bad = [i for i in indices if not least <= i < count]
            if bad:
                expected = f"tensors {least} to {count - 1}"
                problems.append(Problem("tensor does not exist", where, expected, str(bad[:8])))

        check(f"inputs of the model{of}", graph.inputs, 0)
        check(f"outputs of the model{of}", graph.outputs, 0)
        for k, op in enumerate(graph.operators):
            where = f"node {k}{of}"
            if op.opcode >= len(model.codes):
                problems.append(
                    Problem("operator code does not exist", where, found=str(op.opcode))
                )
            check(f"{where}, inputs", op.inputs, -1)
            check(f"{where}, outputs", op.outputs, 0)
            check(f"{where}, intermediates", op.intermediates, -1)
        if len(set(graph.inputs)) != len(graph.inputs):
            problems.append(Problem(f"an input{of} is listed twice", found=str(graph.inputs[:16])))
    if not model.subgraphs[0].outputs:
        problems.append(Problem("the model has no outputs"))
    if problems:
        raise FormatError(capped(problems))


def capped(problems: list[Problem]) -> list[Problem]:
    left = len(problems) - MAX_PROBLEMS
    return problems if left <= 0 else [*problems[:MAX_PROBLEMS], Problem(f"... and {left} more")]


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

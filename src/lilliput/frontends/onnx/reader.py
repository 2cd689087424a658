"""Reads an ONNX file: bytes in, verified module out, or one error with every reason.

Shapes are fixed, so that what is computed of shapes is a constant: a node whose operands are all
known is evaluated here and leaves nothing behind.  The others are built by their families
(`operators`).  Channels-first layers are built with transposes around them, which
`passes.layout` takes away.  uint8 is int8 less 128; a float input that is only quantised is the
integers themselves, and an output that is only dequantised too.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from lilliput.errors import (
    FormatError,
    ModelError,
    Problem,
    UnsupportedError,
    UsageError,
)
from lilliput.frontends.ends import named
from lilliput.frontends.onnx.call import AWAITED, STATIC, Call
from lilliput.frontends.onnx.folding import evaluated
from lilliput.frontends.onnx.library import (
    DecodeError,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    onnx,
)
from lilliput.frontends.onnx.operators import READ
from lilliput.frontends.onnx.tensors import Budget, Tensor, array, input_type
from lilliput.frontends.onnx.uses import uses_of
from lilliput.ir import Builder, DType, Module, Quant, TensorType, Value, verify
from lilliput.ir.build import fresh_name
from lilliput.ops.quantize import dequantize

IO = ("int8", "float")
OLDEST = 7
"""Of the opsets that are read; what an operator did before may be something else."""
MAX_NODES = 50_000
MAX_PROBLEMS = 100
DOMAINS = ("", "ai.onnx", "com.microsoft")


def read(
    data: bytes, *, name: str = "model", io: str = "int8", folder: Path | None = None
) -> Module:
    """The module of one entry, `infer`, that `data` holds.

    io : "int8" takes Quantize and Dequantize off the ends, "float" keeps them
    folder : where weights that are kept outside of the file lie

    Raises FormatError, UnsupportedError or GraphError with every problem found.
    """
    if io not in IO:
        raise UsageError("unknown form of inputs and outputs", expected=" or ".join(IO), found=io)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as e:
        raise FormatError("the file is damaged or was cut off", where=name, found=str(e)) from None
    opset = _opset(model)
    if model.functions:
        raise UnsupportedError(
            "the model has functions of its own",
            found=", ".join(f.name for f in model.functions[:8]),
            hint="inline them: onnx.inliner.inline_local_functions(model)",
        )
    module = _Reader(model.graph, opset, name, 16 * len(data) + (1 << 20), folder).run(io)
    verify(module)
    return module


def _opset(model: ModelProto) -> int:
    versions = {o.domain: o.version for o in model.opset_import}
    opset = versions.get("", versions.get("ai.onnx", 1 if not versions else 0))
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST <= opset <= newest:
        raise UnsupportedError(
            "version of the operators (opset)",
            expected=f"{OLDEST} to {newest}",
            found=opset,
            hint="convert it: onnx.version_converter.convert_version(model, 17)",
        )
    return opset


class _Reader:
    """One graph on its way into a builder; `errors` found so far."""

    def __init__(self, graph: GraphProto, opset: int, name: str, budget: int, folder: Path | None):
        self.graph, self.opset, self.name, self.folder = graph, opset, name, folder
        self.budget = Budget(budget)
        self.builder = Builder()
        self.errors: list[ModelError] = []
        self.tensors: dict[str, Tensor | None] = {}
        self.names: dict[str, str] = {}
        self.taken: set[str] = set()

    def run(self, io: str) -> Module:
        self._check()
        for proto in self.graph.initializer:
            self._guard(lambda proto=proto: self._constant(proto))
        self.uses = uses_of(self.graph, self.tensors)
        for info in self.graph.input:
            if info.name not in self.tensors:
                self._guard(lambda info=info: self._input(info, io))
                self.tensors.setdefault(info.name, None)
        for k, node in enumerate(self.graph.node):
            self._node(k, node)
        outputs: list[Value] = []
        for info in self.graph.output:
            self._guard(lambda info=info: outputs.append(self._output(info.name, io)))
        self._raise()
        names = [self.rename(o.name) for o in self.graph.output]
        return self.builder.module(named(self.builder, outputs, names), name=self.name)

    # What a builder may ask for -------------------------------------------------------

    def target(self, name: str) -> Quant | None:
        return self.uses.target(name)

    def rename(self, name: str) -> str:
        """A name of the IR for a tensor, the same each time."""
        if name not in self.names:
            self.names[name] = fresh_name(self.taken, name or "tensor")
        return self.names[name]

    # The graph ------------------------------------------------------------------------

    def _check(self) -> None:
        """Raises FormatError where names are not defined once, before they are used."""
        graph, problems = self.graph, list[Problem]()
        texts = [t for n in graph.node for t in (n.name, n.op_type, n.domain, *n.input, *n.output)]
        ends = [*graph.initializer, *graph.input, *graph.output]
        if not all(isinstance(t, str) for t in (*texts, *(e.name for e in ends))):
            raise FormatError("a name is no UTF-8 text")  # protobuf gives its bytes
        if not graph.output:
            problems.append(Problem("the model has no outputs"))
        if len(graph.node) > MAX_NODES:
            problems.append(Problem("too many nodes", "", str(MAX_NODES), str(len(graph.node))))
        constants = [i.name for i in graph.initializer]
        inputs = [i.name for i in graph.input]
        made = [name for n in graph.node for name in n.output if name]
        every = Counter([*dict.fromkeys([*constants, *inputs]), *made])
        every.update(k for k, n in Counter(constants).items() if n > 1)
        every.update(k for k, n in Counter(inputs).items() if n > 1)
        for name, count in every.items():
            if count > 1:
                problems.append(Problem("name is defined more than once", f'tensor "{name}"'))
        defined = {*constants, *inputs, ""}
        for k, node in enumerate(graph.node):
            for name in node.input:
                if name not in defined:
                    what = "is made by a later node: the graph has a cycle, or is not in order"
                    what = what if name in every else "is never defined"
                    problems.append(Problem(f'operand "{name}" {what}', self._where(k, node)))
            defined.update(node.output)
        problems += [
            Problem("output is never defined", f'tensor "{o.name}"')
            for o in graph.output
            if o.name not in defined or not o.name
        ]
        if graph.sparse_initializer:
            problems.append(Problem("sparse constants are not supported"))
        if problems:
            raise FormatError(_capped(problems))

    def _constant(self, proto: TensorProto) -> None:
        self.tensors[proto.name] = None
        data = array(proto, self.folder, self.budget)
        self.tensors[proto.name] = Tensor(proto.name, data=data)

    def _input(self, info: ValueInfoProto, io: str) -> None:
        shape, dtype = input_type(info, lambda name: None)
        name = self.rename(info.name)
        quant = self.uses.quantised_input(info.name) if io == "int8" else None
        if quant is not None and dtype == np.float32:
            value = self.builder.input(name, TensorType(shape, DType.S8, quant))
            self.tensors[info.name] = Tensor(info.name, integers=value)
            return
        stored = self.uses.stored(info.name)
        if dtype == np.uint8 and stored is not None:
            dtype = np.dtype(np.int8)
        value = self.builder.input(name, TensorType(shape, DType.of(dtype), stored))
        self.tensors[info.name] = Tensor(info.name, value=value)

    def _output(self, name: str, io: str) -> Value:
        tensor = self.tensors[name]
        if tensor is None:
            raise FormatError("output could not be made", where=f'tensor "{name}"')
        if tensor.integers is not None and io == "int8":
            return tensor.integers
        if tensor.value is not None:
            return tensor.value
        if tensor.data is not None:
            return self.builder.param(self.rename(name), tensor.data)
        if tensor.awaited is not None:
            raise UnsupportedError(AWAITED, where=f'output "{name}"', hint=STATIC)
        assert tensor.integers is not None
        stem = f"{name}/float"
        return self.builder.add(dequantize, (tensor.integers,), name=stem, origin=name)

    # Nodes ----------------------------------------------------------------------------

    @staticmethod
    def _where(k: int, node: NodeProto) -> str:
        label = node.name or (node.output[0] if node.output else "")
        return f'node {k} {node.op_type} "{label}"'

    def _node(self, k: int, node: NodeProto) -> None:
        where = self._where(k, node)
        made: list[Tensor] = []
        try:
            with np.errstate(all="ignore"):
                made = self._build(node, where)
        except _Unavailable:
            pass
        except ModelError as e:
            self.errors.append(_located(e, where))
        except (ValueError, TypeError, IndexError, OverflowError) as e:
            self.errors.append(FormatError(f"cannot be read ({e})", where=where))
        for tensor in made:
            if tensor.name:
                self.tensors[tensor.name] = tensor
        for name in node.output:
            self.tensors.setdefault(name, None)

    def _build(self, node: NodeProto, where: str) -> list[Tensor]:
        if not node.output:
            raise FormatError("node has no outputs", where=where)
        row = READ.get(node.op_type) if node.domain in DOMAINS else None
        if row is None:
            raise self._unknown(node, where)
        operands: list[Tensor | None] = []
        for name in node.input:
            tensor = self.tensors[name] if name else None
            if name and tensor is None:
                raise _Unavailable
            operands.append(tensor)
        call = Call(self, node, self.opset, where, tuple(operands))
        found = evaluated(call, self.budget)
        if found is not None:
            return found
        made = row(call)
        return made if isinstance(made, list) else [made]

    def _unknown(self, node: NodeProto, where: str) -> UnsupportedError:
        kind = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        if node.op_type in ("If", "Loop", "Scan"):
            hint = "export without control flow: with fixed shapes, in evaluation mode"
            return UnsupportedError(f"control flow ({kind})", where=where, hint=hint)
        hint = "docs/importing.md lists what is"
        return UnsupportedError(f"operator is not supported ({kind})", where=where, hint=hint)

    def _guard(self, step: object) -> None:
        assert callable(step)
        try:
            step()
        except ModelError as e:
            self.errors.append(e)

    def _raise(self) -> None:
        if not self.errors:
            return
        order = (FormatError, UnsupportedError, type(self.errors[0]))
        cls = next(c for c in order if any(isinstance(e, c) for e in self.errors))
        raise cls(_capped([p for e in self.errors for p in e.problems]))


class _Unavailable(Exception):
    """A tensor that an earlier problem, already reported, has left without a value."""


def _capped(problems: list[Problem]) -> list[Problem]:
    left = len(problems) - MAX_PROBLEMS
    return problems if left <= 0 else [*problems[:MAX_PROBLEMS], Problem(f"... and {left} more")]


def _located(error: ModelError, where: str) -> ModelError:
    """`error` with the node named in every problem."""
    problems = [
        Problem(
            p.what, p.where if p.where.startswith("node") else where, p.expected, p.found, p.hint
        )
        for p in error.problems
    ]
    return type(error)(problems)

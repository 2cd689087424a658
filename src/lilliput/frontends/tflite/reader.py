"""Reads a .tflite file: bytes in, verified module out, or one error with every reason.

The bytes are checked as they are decoded (`flatbuf`), tensors when they are first needed
(`tensors`), nodes as they are walked (`body`), operators by their families (`operators`).
This file decides what the ends of the network look like.  No TensorFlow is used or needed.
"""

from __future__ import annotations

from dataclasses import dataclass

from lilliput.errors import FormatError, UnsupportedError, UsageError
from lilliput.frontends.tflite.body import File, check_indices
from lilliput.frontends.tflite.flatbuf import decode
from lilliput.frontends.tflite.schema import BUILTIN, IDENTIFIER, VERSION, Model
from lilliput.frontends.tflite.tensors import FIXED_SHAPE
from lilliput.ir import DType, Module, Value, verify

IO = ("int8", "float")


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
    check_indices(model)
    module = _Reader(model, name, 16 * len(data) + (1 << 20)).run(io)
    verify(module)
    return module


@dataclass(frozen=True)
class _Ends:
    """Float ends that become integers: nodes left out, and tensor -> the tensor it stands for."""

    skipped: frozenset[int]
    inputs: dict[int, int]
    outputs: dict[int, int]


class _Reader:
    def __init__(self, model: Model, name: str, budget: int):
        self.model = model
        self.graph = model.subgraphs[0]
        self.name = name
        self.file = File(model, budget)
        self.tensors = self.file.tensors[0]

    def run(self, io: str) -> Module:
        file = self.file
        ends = self._integer_ends() if io == "int8" else _Ends(frozenset(), {}, {})
        for index in self.graph.inputs:
            file.guard(lambda index=index: self._input(index, ends))
        file.walk(0, ends.skipped)
        outputs: list[Value] = []
        for index in self.graph.outputs:
            source = ends.outputs.get(index, index)
            file.guard(lambda source=source: outputs.append(self.tensors.value(source)))
        file.raise_errors()
        updates = file.variables.finish()
        return file.builder.module(outputs, name=self.name, updates=updates)

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
        if 0 in shape:
            raise UnsupportedError("input has no elements", where=tensors.where(index), found=shape)
        if tensors.data(index) is not None:
            raise FormatError("input of the model is a constant", where=tensors.where(index))
        tensors.bind(target, self.file.builder.input(tensors.names[target], tensors.type(target)))

    def _integer_ends(self) -> _Ends:
        graph, tensors = self.graph, self.tensors
        users: dict[int, list[int]] = {}
        makers: dict[int, list[int]] = {}
        for k, op in enumerate(graph.operators):
            for i in op.inputs:
                users.setdefault(i, []).append(k)
            for i in op.outputs:
                makers.setdefault(i, []).append(k)
        given, wanted = frozenset(graph.inputs), frozenset(graph.outputs)
        skipped: set[int] = set()
        inputs: dict[int, int] = {}
        outputs: dict[int, int] = {}
        for t in graph.inputs:
            k = users.get(t, [])
            if len(k) == 1 and self._is(k[0], "QUANTIZE") and t not in wanted:
                q = graph.operators[k[0]].outputs[0]
                if len(makers[q]) == 1 and q not in given and self._converts(t, q):
                    inputs[t] = q
                    skipped.add(k[0])
        taken = {*wanted, *inputs.values()}
        for t in dict.fromkeys(graph.outputs):
            k = makers.get(t, [])
            if len(k) == 1 and self._is(k[0], "DEQUANTIZE") and t not in users:
                q = graph.operators[k[0]].inputs[0]
                if q in makers and q not in given and q not in taken and self._converts(t, q):
                    outputs[t] = q
                    taken.add(q)
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

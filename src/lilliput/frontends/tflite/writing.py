"""What the rules of operators write with: tensors, constants and operators of a file to be.

`writer` walks the nodes and calls the rules; nothing here knows an operator by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.errors import Problem, UnsupportedError
from lilliput.frontends.tflite.call import activation_bounds
from lilliput.frontends.tflite.schema import (
    CODES,
    TYPE_CODES,
    VERSION,
    Activation,
    Buffer,
    Model,
    Operator,
    OperatorCode,
    Quantization,
    SubGraph,
    Tensor,
)
from lilliput.ir import Array, DType, Module, Node, Quant, TensorType, Value
from lilliput.ir.build import fresh_name
from lilliput.ops.elementwise import Clamp
from lilliput.ops.numeric import Rounding

RANGES = (Activation.RELU, Activation.RELU6, Activation.RELU_N1_TO_1)
VERSIONS = {
    "ADD_N": 1,
    "BITWISE_XOR": 1,
    "CONV_2D": 3,
    "CUMSUM": 1,
    "DEPTHWISE_CONV_2D": 3,
    "DEPTH_TO_SPACE": 1,
    "FULLY_CONNECTED": 4,
    "ONE_HOT": 1,
    "POW": 1,
    "REDUCE_ALL": 1,
    "REDUCE_ANY": 1,
    "RESHAPE": 1,
    "RESIZE_NEAREST_NEIGHBOR": 3,
    "REVERSE_SEQUENCE": 1,
    "RIGHT_SHIFT": 1,
    "SCATTER_ND": 1,
    "NEG": 1,
    "PRELU": 1,
    "RELU_N1_TO_1": 1,
    "RELU_0_TO_1": 1,
}
"""Versions that a reader of the format may ask for; 2, the first with int8, where unlisted."""


def fail(node: Node, what: str, hint: str = "") -> UnsupportedError:
    """The error, to be raised, for a node that the format cannot say."""
    return UnsupportedError(what, where=node.describe(), hint=hint)


@dataclass(frozen=True)
class Job:
    """A node to write: what it is called, where its result goes, and its activation."""

    node: Node
    out: Value
    activation: Activation


class Writer:
    """One entry on its way into a file.

    rules : IR operator -> how it is written; fuses: those that can carry an activation
    """

    def __init__(
        self,
        module: Module,
        entry: str,
        rules: Mapping[str, Callable[[Writer, Job], None]],
        fuses: frozenset[str],
    ):
        self.rules = rules
        self.fuses = fuses
        self.module = module
        self.graph = module.graphs[entry]
        self.entry = entry
        self.tensors: list[Tensor] = []
        self.buffers: list[Buffer] = [Buffer()]
        self.codes: dict[str, int] = {}
        self.operators: list[Operator] = []
        self._index: dict[str, int] = {}
        self._names = {v.name for v in self.graph.values()}
        self._claimed: set[str] = set()
        self._alias: dict[str, Value] = {}

    def model(self) -> Model:
        problems = [
            Problem("the format cannot hold a state", s.name) for s in self.module.states.values()
        ]
        inputs = [self.tensor(v) for v in self.graph.inputs]
        for job in self._jobs():
            try:
                self._write(job)
            except UnsupportedError as e:
                problems += e.problems
        if problems:
            raise UnsupportedError(problems)
        outputs = [self.tensor(v) for v in self.module.outputs(self.entry)]
        graph = SubGraph(
            tuple(self.tensors), tuple(inputs), tuple(outputs), tuple(self.operators), "main"
        )
        codes = tuple(
            OperatorCode(min(CODES[n], 127), "", VERSIONS.get(n, 2), CODES[n]) for n in self.codes
        )
        return Model(VERSION, codes, (graph,), "lilliput", tuple(self.buffers))

    def _jobs(self) -> list[Job]:
        """The nodes to write, with clamps moved into the nodes that they follow."""
        consumers, producers = self.graph.consumers(), self.graph.producers()
        kept = {v.name for v in self.graph.outputs}
        jobs: dict[str, Job] = {}
        for node in self.graph.nodes:
            job = Job(node, node.output, Activation.NONE)
            if isinstance(node.attrs, Clamp) and node.inputs[0].type == node.output.type:
                source = node.inputs[0]
                activation = activation_of(node.attrs, node.output.type)
                maker = producers.get(source.name)
                alone = len(consumers[source.name]) == 1 and source.name not in kept
                returned = node.output.name in kept
                own = maker is not None and source.name not in kept
                if activation is Activation.NONE and (own or not returned):
                    if returned:
                        kept.add(source.name)  # a tensor is one output at most
                    self._alias[node.output.name] = source
                    continue
                if maker and maker.op.name in self.fuses and alone and activation:
                    jobs[source.name] = Job(maker, node.output, activation)
                    continue
            jobs[node.output.name] = job
        return list(jobs.values())

    def _write(self, job: Job) -> None:
        node = job.node
        if getattr(node.attrs, "rounding", Rounding.DOUBLE) is not Rounding.DOUBLE:
            raise fail(node, "rounds otherwise than the format does", "use Rounding.DOUBLE")
        rule = self.rules.get(node.op.name)
        if rule is None:
            raise fail(node, "the .tflite format has no such operator")
        rule(self, job)

    def emit(
        self,
        name: str,
        job: Job,
        inputs: Sequence[int] | None = None,
        options: object | None = None,
        extra: Sequence[int] = (),
    ) -> None:
        """One operator; `inputs` default to the node's own, followed by `extra`."""
        given = [self.tensor(v) for v in job.node.inputs] if inputs is None else list(inputs)
        outputs = [self.tensor(v) for v in (job.out, *job.node.outputs[1:])]
        self.operator(name, (*given, *extra), outputs, options)

    def operator(
        self, name: str, inputs: Sequence[int], outputs: Sequence[int], options: object | None
    ) -> None:
        """One operator over tensors that exist."""
        code = self.codes.setdefault(name, len(self.codes))
        self.operators.append(Operator(code, tuple(inputs), tuple(outputs), options))

    # Tensors --------------------------------------------------------------------------

    def tensor(self, value: Value) -> int:
        """The tensor of a value, written when it is first needed."""
        while value.name in self._alias:
            value = self._alias[value.name]
        if value.name not in self._index:
            data = None
            if value.name in self.module.params:
                data = self.data(value)
            self._index[value.name] = self._append(self.claim(value.name), value.type, data)
        return self._index[value.name]

    def data(self, value: Value) -> Array:
        data = self.module.params[value.name].data if value.name in self.module.params else None
        if data is None:
            raise UnsupportedError("parameter has no data", where=value.name)
        return data

    def extra(
        self, name: str, array: Array, quant: Quant | None = None, dtype: DType | None = None
    ) -> int:
        """A constant that the graph does not have as a value, under a name nobody has."""
        type = TensorType(tuple(array.shape), dtype or DType.of(array.dtype), quant)
        return self._append(name, type, array)

    def integers(self, job: Job, suffix: str, numbers: Sequence[int] | Array) -> int:
        return self.extra(self.fresh(f"{job.out.name}/{suffix}"), np.asarray(numbers, np.int32))

    def claim(self, name: str) -> str:
        """The name of a value for the one tensor that stands for it; another one the next time."""
        if name in self._claimed:
            return self.fresh(name)
        self._claimed.add(name)
        return name

    def fresh(self, stem: str) -> str:
        return fresh_name(self._names, stem)

    def _append(self, name: str, type: TensorType, data: Array | None) -> int:
        if type.dtype not in TYPE_CODES:
            raise UnsupportedError("element type is not in the format", where=name, found=str(type))
        buffer = 0
        if data is not None:
            buffer = len(self.buffers)
            self.buffers.append(Buffer(memoryview(_bytes(data, type.dtype))))
        quant = None
        if type.quant is not None:
            q = type.quant
            quant = Quantization(q.scale, q.zero_point, dimension=q.axis or 0)
        self.tensors.append(Tensor(type.shape, TYPE_CODES[type.dtype], buffer, name, quant))
        return len(self.tensors) - 1

    def padded(self, job: Job, pad: tuple[int, int, int, int]) -> int:
        """The node's first operand behind a PAD node."""
        x = job.node.inputs[0]
        widths = [(0, 0), pad[:2], pad[2:], (0, 0)]
        shape = tuple(d + a + b for d, (a, b) in zip(x.type.shape, widths, strict=True))
        table = self.integers(job, "paddings", np.array(widths))
        out = self._append(self.fresh(f"{job.out.name}/pad"), x.type.with_shape(*shape), None)
        self.operator("PAD", (self.tensor(x), table), (out,), None)
        return out


def _bytes(data: Array, dtype: DType) -> bytes:
    if dtype is not DType.S4:
        return np.ascontiguousarray(data, data.dtype.newbyteorder("<")).tobytes()
    flat = np.append(data.reshape(-1), np.zeros(data.size % 2, np.int8)).astype(np.uint8) & 15
    return (flat[::2] | (flat[1::2] << 4)).tobytes()


def activation_of(attrs: Clamp, type: TensorType) -> Activation | None:
    """The activation that limits as `attrs` do; NONE where nothing is limited."""
    bounds: tuple[float, float] = attrs.low, attrs.high
    if type.dtype.is_integer:
        if type.quant is None or not type.quant.is_per_tensor:
            return None
        floor, ceiling = type.dtype.bounds
        bounds = max(attrs.low, floor), min(attrs.high, ceiling)
        if bounds == (floor, ceiling):
            return Activation.NONE
    elif bounds == (-math.inf, math.inf):
        return Activation.NONE
    return next((a for a in RANGES if activation_bounds(a, type) == bounds), None)

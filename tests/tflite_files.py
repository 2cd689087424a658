"""Files of the .tflite format, table by table, for what the writer of the project cannot say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lilliput.frontends.tflite.flatbuf import encode
from lilliput.frontends.tflite.schema import (
    CODES,
    IDENTIFIER,
    TENSOR_TYPES,
    Buffer,
    Model,
    Operator,
    OperatorCode,
    Quantization,
    Sparsity,
    SubGraph,
    Tensor,
)
from lilliput.ir import Array

TYPES = {name: code for code, name in TENSOR_TYPES.items()}


def _code(name: str, version: int) -> OperatorCode:
    custom = "" if name in CODES else name
    number = CODES.get(name, CODES["CUSTOM"])
    return OperatorCode(min(number, 127), custom, version, number)


@dataclass
class Graph:
    """A subgraph that is being written; `add` gives the index of the node's result."""

    file: File
    name: str
    tensors: list[Tensor] = field(default_factory=list[Tensor])
    operators: list[Operator] = field(default_factory=list[Operator])
    inputs: tuple[int, ...] = ()

    def tensor(
        self,
        shape: Sequence[int] = (),
        kind: str = "FLOAT32",
        data: Array | None = None,
        *,
        scale: float | None = None,
        zero_point: int = 0,
        variable: bool = False,
        signature: Sequence[int] = (),
        sparsity: Sparsity | None = None,
    ) -> int:
        """A tensor; a constant where there is data, quantised where there is a scale.

        signature : its shape with -1 for extents that the file leaves open
        """
        buffer = 0
        if data is not None:
            self.file.buffers.append(Buffer(memoryview(np.ascontiguousarray(data).tobytes())))
            buffer = len(self.file.buffers) - 1
        name = f"{self.name}/{len(self.tensors)}"
        quant = None
        if scale is not None:
            quant = Quantization((float(np.float32(scale)),), (zero_point,))
        tensor = Tensor(
            tuple(shape), TYPES[kind], buffer, name, quant, variable, sparsity, tuple(signature)
        )
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def add(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: object | None = None,
        custom: bytes = b"",
    ) -> None:
        self.file.codes.setdefault(name, len(self.file.codes))
        code = self.file.codes[name]
        data = memoryview(custom)
        self.operators.append(Operator(code, tuple(inputs), tuple(outputs), options, data))

    def done(self, *outputs: int) -> SubGraph:
        return SubGraph(tuple(self.tensors), self.inputs, outputs, tuple(self.operators), self.name)


@dataclass
class File:
    """version : of every operator that `versions` does not name."""

    version: int = 1
    versions: Mapping[str, int] = field(default_factory=dict[str, int])
    buffers: list[Buffer] = field(default_factory=lambda: [Buffer()])
    codes: dict[str, int] = field(default_factory=dict[str, int])

    def write(self, *graphs: SubGraph) -> bytes:
        codes = tuple(_code(n, self.versions.get(n, self.version)) for n in self.codes)
        return encode(Model(3, codes, graphs, "test", tuple(self.buffers)), IDENTIFIER)

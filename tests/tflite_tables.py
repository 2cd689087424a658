"""Files of a few nodes, laid out table by table, for tests of how the format is read.

`T` is a tensor, `N` a node; `file` gives the bytes.  Nothing here knows an operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
from lilliput.ir import Array, Module, Session

VERSIONS = {"DENSIFY": 1, "HARD_SWISH": 1}
KINDS = {name: code for code, name in TENSOR_TYPES.items()}


@dataclass(frozen=True, eq=False)
class T:
    """A tensor: (scale, zero point) and data where it has them."""

    shape: tuple[int, ...]
    kind: str = "FLOAT32"
    quant: tuple[float, int] | None = None
    data: Array | None = None
    sparsity: Sparsity | None = None


@dataclass(frozen=True)
class N:
    """A node over tensors by number."""

    name: str
    inputs: tuple[int, ...]
    output: int
    options: object | None = None


def file(tensors: Sequence[T], nodes: Sequence[N]) -> bytes:
    """The file of nodes in order; tensors that no node makes and that have no data are inputs."""
    buffers, made = [Buffer()], {n.output for n in nodes}
    stored: list[Tensor] = []
    for k, t in enumerate(tensors):
        place = 0
        if t.data is not None:
            place = len(buffers)
            buffers.append(Buffer(memoryview(np.ascontiguousarray(t.data).tobytes())))
        quant = t.quant and Quantization((float(np.float32(t.quant[0])),), (t.quant[1],))
        stored.append(
            Tensor(t.shape, KINDS[t.kind], place, f"t{k}", quant or None, sparsity=t.sparsity)
        )
    names = list(dict.fromkeys(n.name for n in nodes))
    operators = tuple(
        Operator(names.index(n.name), n.inputs, (n.output,), n.options) for n in nodes
    )
    given = tuple(k for k, t in enumerate(tensors) if t.data is None and k not in made)
    read_by = {i for n in nodes for i in n.inputs}
    results = tuple(n.output for n in nodes if n.output not in read_by)
    codes = tuple(OperatorCode(min(CODES[n], 127), "", VERSIONS.get(n, 3), CODES[n]) for n in names)
    graph = SubGraph(tuple(stored), given, results, operators, "main")
    return encode(Model(3, codes, (graph,), "", tuple(buffers)), IDENTIFIER)


def run(module: Module, inputs: Sequence[Array]) -> Array:
    names = [v.name for v in module.inputs("infer")]
    (result,) = Session(module).run(dict(zip(names, inputs, strict=True))).outputs.values()
    return result


def data_of(rng: np.random.Generator, t: T) -> Array:
    if t.kind == "FLOAT32":
        return rng.uniform(-2, 2, t.shape).astype(np.float32)
    dtype = np.dtype({"UINT8": "uint8", "INT8": "int8", "INT16": "int16"}[t.kind])
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, t.shape, endpoint=True).astype(dtype)

"""Files of a few nodes, laid out table by table, for tests of how the format is read.

`T` is a tensor, `N` a node; `file` gives the bytes.  Nothing here knows an operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tests.tflite_files import File, Graph

from lilliput.frontends.tflite.schema import Sparsity
from lilliput.ir import Array, Module, Session

VERSIONS = {"DENSIFY": 1, "HARD_SWISH": 1}


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
    graph = Graph(out := File(3, VERSIONS), "t")
    for t in tensors:
        scale, zero_point = t.quant or (None, 0)
        graph.tensor(
            t.shape, t.kind, t.data, scale=scale, zero_point=zero_point, sparsity=t.sparsity
        )
    for n in nodes:
        graph.add(n.name, n.inputs, (n.output,), n.options)
    made, read_by = {n.output for n in nodes}, {i for n in nodes for i in n.inputs}
    graph.inputs = tuple(k for k, t in enumerate(tensors) if t.data is None and k not in made)
    return out.write(graph.done(*(n.output for n in nodes if n.output not in read_by)))


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

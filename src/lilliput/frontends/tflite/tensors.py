"""The tensors of one .tflite subgraph as IR types, constants and values.

Nothing is looked at before a node asks for it, so that a tensor that no node reads cannot
make a model fail.  Every index, size and quantisation is checked here, once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lilliput.errors import FormatError, ModelError, UnsupportedError
from lilliput.frontends.tflite.folding import Folding
from lilliput.frontends.tflite.schema import (
    BUILTIN,
    DTYPES,
    TENSOR_TYPES,
    Model,
    SubGraph,
    Tensor,
)
from lilliput.frontends.tflite.sparse import places
from lilliput.ir import Array, Builder, DType, Quant, TensorType, Value
from lilliput.ir.verify import MAX_ELEMENTS

MAX_RANK = 8
FIXED_SHAPE = "export the model with a fixed shape (batch 1, every other extent stated)"
DTYPE_HINTS = {
    "FLOAT16": "only constants may be float16; convert again with float32 activations",
    "BFLOAT16": "only constants may be bfloat16; convert again with float32 activations",
}
SHORT_FLOATS = frozenset({"FLOAT16", "BFLOAT16"})
"""Types of constants that are float32 once they are read, with the same values."""
SHIFT = 128
"""uint8 with a scale is int8 less this: the same reals, and the rules of int8."""
SMALLEST = 2.0**-149
"""The least scale that a float32 can be."""
AS_STORED = frozenset({"CAST", "BITCAST"})
"""Operators that take the stored number itself: a uint8 tensor that they touch stays one."""


@dataclass
class Budget:
    """Bytes of constants that may still be decoded: buffers may be shared by many tensors."""

    left: int


@dataclass(frozen=True)
class Variable:
    """What a resource tensor stands for: a name that is shared by all subgraphs."""

    name: str


@dataclass(frozen=True)
class Empty:
    """What a tensor without elements stands for, as loops over lists make them: nothing."""

    type: TensorType


Operand = Value | Variable | Empty


class Unavailable(Exception):
    """A tensor that an earlier problem, already reported, has left without a value."""


class Tensors:
    """`names` are the names that values get; `values` those that are defined so far."""

    def __init__(
        self, model: Model, graph: SubGraph, builder: Builder, folding: Folding, budget: Budget
    ):
        self.graph = graph
        self.builder = builder
        self.folding = folding
        self.values: dict[int, Value | None] = {}
        self.others: dict[int, Variable | Empty] = {}
        self._settled: dict[int, tuple[int, ...]] = {}
        self._constants: dict[int, Value | None] = {}
        self._buffers = model.buffers
        self._inputs = frozenset(graph.inputs)
        self._budget = budget
        self._types: dict[int, TensorType | ModelError] = {}
        self._derived: dict[tuple[int, str], Value] = {}
        self._reported: set[int] = set()
        self._dense = self._touched(model, frozenset({"DENSIFY"}))
        self._as_stored = self._touched(model, AS_STORED)
        seen = Counter(t.name for t in graph.tensors)
        self.names: dict[int, str] = {
            i: t.name if t.name and seen[t.name] == 1 else f"{t.name or 'tensor'}:{i}"
            for i, t in enumerate(graph.tensors)
        }

    def _touched(self, model: Model, names: frozenset[str]) -> frozenset[int]:
        """Tensors that operators of these names read or write."""
        return frozenset(
            i
            for op in self.graph.operators
            if BUILTIN.get(model.codes[op.opcode].code) in names
            for i in (*op.inputs, *op.outputs)
        )

    def origin(self, index: int) -> str:
        """The tensor's name in the file, which the user knows."""
        return self.graph.tensors[index].name or f"tensor:{index}"

    def where(self, index: int) -> str:
        return f'tensor {index} "{self.graph.tensors[index].name}"'

    def type(self, index: int) -> TensorType:
        """Raises FormatError or UnsupportedError the first time, Unavailable afterwards."""
        if index not in self._types:
            try:
                self._types[index] = self._type(index)
            except ModelError as e:
                self._types[index] = e
        found = self._types[index]
        if isinstance(found, TensorType):
            shape = self._settled.get(index)
            return found if shape is None else found.with_shape(*shape)
        if index in self._reported:
            raise Unavailable
        self._reported.add(index)
        raise found

    def is_open(self, index: int) -> bool:
        """Whether the file leaves extents of a tensor open; it states 1 for each."""
        return any(d < 0 for d in self.graph.tensors[index].shape_signature)

    def settle(self, index: int, shape: tuple[int, ...]) -> None:
        """Fills in the extents of an open tensor; other tensors stay as they are stated."""
        signature = self.graph.tensors[index].shape_signature
        stated = self.type(index).shape
        if not self.is_open(index) or not len(signature) == len(shape) == len(stated):
            return
        fits = all(s in (-1, d) and d >= 0 for s, d in zip(signature, shape, strict=True))
        if fits and math.prod(shape) <= MAX_ELEMENTS:
            self._settled[index] = shape

    def peek(self, index: int) -> TensorType | None:
        """The type of a tensor, or None where it has none; reports nothing."""
        try:
            return self._type(index)
        except ModelError:
            return None

    def _type(self, index: int) -> TensorType:
        tensor, where = self.graph.tensors[index], self.where(index)
        kind = self.kind(index)
        short = kind in SHORT_FLOATS and (self._is_constant(tensor) or index in self._dense)
        if kind not in DTYPES and not short:
            raise UnsupportedError(
                "element type is not supported",
                where=where,
                expected=", ".join(DTYPES),
                found=kind,
                hint=DTYPE_HINTS.get(kind, "convert the model again with int8 or float32 tensors"),
            )
        shape = tensor.shape
        if any(d < 0 for d in shape) or len(shape) > MAX_RANK or math.prod(shape) > MAX_ELEMENTS:
            raise UnsupportedError(
                "shape is dynamic or too large",
                where=where,
                expected=f"up to {MAX_RANK} extents, {MAX_ELEMENTS} elements",
                found=shape,
                hint=FIXED_SHAPE,
            )
        dtype = DType.F32 if short else DTYPES[kind]
        quant = _quant(tensor, dtype, where, index in self._inputs)
        if kind == "UINT8" and quant is not None:
            dtype, quant = (
                (DType.U8, None) if index in self._as_stored else (DType.S8, _shifted(quant))
            )
        if quant is not None and min(quant.scale) < 0 and not self._is_constant(tensor):
            raise FormatError("scale is not a positive number", where=where, found=quant.scale[:8])
        return TensorType(shape, dtype, quant)

    def kind(self, index: int) -> str:
        """The element type that the file states, by its name in the schema."""
        number = self.graph.tensors[index].type
        return TENSOR_TYPES.get(number, f"type {number}")

    def _is_constant(self, tensor: Tensor) -> bool:
        return tensor.buffer < len(self._buffers) and len(self._buffers[tensor.buffer].data) > 0

    def data(self, index: int) -> Array | None:
        """The constant that the file holds for a tensor; None where there is none."""
        tensor, where = self.graph.tensors[index], self.where(index)
        if tensor.buffer >= len(self._buffers):
            raise FormatError(
                "buffer does not exist",
                where=where,
                expected=f"0 to {len(self._buffers) - 1}",
                found=tensor.buffer,
            )
        buffer = self._buffers[tensor.buffer]
        if buffer.offset > 1:
            raise UnsupportedError("data behind the FlatBuffer (a model over 2 GB)", where=where)
        if len(buffer.data) == 0:
            return None
        type, sparsity = self.type(index), tensor.sparsity
        self._budget.left -= type.nbytes
        if self._budget.left < 0:
            raise FormatError("constants share their bytes too often for a real model", where=where)
        if sparsity is None:
            return self._decoded(index, buffer.data, type.size).reshape(type.shape)
        at = places(sparsity, type.shape, where)
        shifted = self.kind(index) == "UINT8" and type.dtype is DType.S8
        dense = np.full(type.size, -SHIFT if shifted else 0, type.dtype.numpy)
        dense[at] = self._decoded(index, buffer.data, len(at))
        return dense.reshape(type.shape)

    def _decoded(self, index: int, data: memoryview, count: int) -> Array:
        """The `count` elements that a buffer holds, as they are in the tensor's type."""
        type, kind = self.type(index), self.kind(index)
        stored = np.dtype(_STORED.get(kind, type.dtype.numpy)).newbyteorder("<")
        size = (count + 1) // 2 if type.dtype is DType.S4 else count * stored.itemsize
        if len(data) != size:
            raise FormatError(
                "constant is not as long as its type",
                where=self.where(index),
                expected=f"{size} bytes for {count} of {type}",
                found=f"{len(data)} bytes",
            )
        if type.dtype is DType.S4:
            return _nibbles(np.frombuffer(data, np.uint8), count)
        array = np.frombuffer(data, stored)
        if kind == "BFLOAT16":
            return (array.astype(np.uint32) << 16).view(np.float32)
        if kind == "UINT8" and type.dtype is DType.S8:
            return (array.astype(np.int16) - SHIFT).astype(np.int8)
        if type.dtype is DType.BOOL and array.view(np.uint8).max(initial=0) > 1:
            raise FormatError("booleans other than 0 and 1", where=self.where(index))
        return array.astype(type.dtype.numpy)

    def known(self, index: int) -> Array | None:
        """The data of a tensor that is constant, or computed from constants alone."""
        value = self.values.get(index)
        if value is None and index in self._inputs and index not in self.others:
            return None
        type = self.type(index)
        if type.size == 0:
            return np.zeros(type.shape, type.dtype.numpy)
        return self.data(index) if value is None else self.folding.array(value)

    def operand(self, index: int) -> Operand:
        """The value of a tensor, or what else it stands for."""
        if index not in self.others and self.type(index).size == 0:
            return Empty(self.type(index))
        return self.others.get(index) or self.value(index)

    def define(self, index: int, operand: Operand) -> None:
        """What a node has made of a tensor."""
        if isinstance(operand, Variable):
            self.others[index] = operand
            return
        self.settle(index, operand.type.shape)
        if (index in self._inputs and index in self.values) or self.data(index) is not None:
            raise FormatError("a node writes to an input or a constant", where=self.where(index))
        type = self.type(index)
        stated = type.shape or operand.type.shape  # custom operators leave their shapes out
        if (operand.type.shape, operand.type.dtype) != (stated, type.dtype):
            raise FormatError(
                "value of another type", where=self.where(index), expected=type, found=operand
            )
        if isinstance(operand, Empty):
            self.others[index] = operand
        else:
            self.bind(index, operand)

    def abandon(self, index: int) -> None:
        """Leaves a tensor without a value, for a problem that has been reported.

        Nodes behind it are still looked at where its type is beyond doubt.
        """
        self._reported.add(index)
        type = self.peek(index)
        if index in self.others or (index in self._inputs and index in self.values):
            return
        if type is None or self.is_open(index):
            self.values[index] = None
        else:
            self.values[index] = Value(self.builder.fresh(self.names[index]), type)

    def restart(self) -> None:
        """Forgets what nodes have made; constants stay the parameters that they are."""
        self.values = dict(self._constants)
        self.others = {}
        self._settled = {}

    def value(self, index: int) -> Value:
        """The value of a tensor; constants become parameters when they are first read.

        A constant may have negative scales in the file (some converters fold the sign of a
        batch norm into them); only the weights of a product may, which are read by
        `derived`: here they are an error.
        """
        if index in self.values:
            value = self.values[index]
            if value is None:
                raise Unavailable
            return value
        if index in self.others or self.type(index).size == 0:
            raise UnsupportedError(
                "tensor has no elements, or is a variable",
                where=self.where(index),
                expected="a tensor of at least one element",
                hint=FIXED_SHAPE,
            )
        data, type = self.data(index), self.type(index)
        if data is None:
            raise FormatError(
                "is read before any node gives it a value",
                where=self.where(index),
                hint="the file is damaged, or its nodes are not in order",
            )
        if type.quant is not None and min(type.quant.scale) < 0:
            raise FormatError("scale is not a positive number", where=self.where(index))
        param = self.builder.param(self.names[index], data, type.quant, type.dtype)
        self._constants[index] = param
        return self.bind(index, param)

    def bind(self, index: int, value: Value | None) -> Value:
        """Defines a tensor; None: an earlier problem has left it without a value."""
        if self.values.get(index) is not None:
            raise FormatError("two nodes give it a value", where=self.where(index))
        self.values[index] = value
        if value is None:
            raise Unavailable
        return value

    def derived(
        self, index: int, how: str, make: Callable[[Array], tuple[Array, Quant | None]]
    ) -> Value:
        """A parameter computed from a constant at import, once for all its readers."""
        key = index, how
        if key not in self._derived:
            data = self.known(index)
            assert data is not None
            array, quant = make(data)
            dtype = DType.S4 if self.type(index).dtype is DType.S4 and quant else None
            self._derived[key] = self.builder.param(
                self.names[index], np.asarray(array, order="C"), quant, dtype
            )
        return self._derived[key]


def _quant(tensor: Tensor, dtype: DType, where: str, given: bool) -> Quant | None:
    """The quantisation of a tensor, checked; None where the file states none.

    Converters give a scale of 0 to what was always 0: `SMALLEST` gives the same results.  What
    is `given` (an input) needs a scale that says what its integers stand for.
    """
    q = tensor.quantization
    if q is None or not q.scale or not dtype.is_integer:
        return None
    if q.details_type:
        raise UnsupportedError("custom quantisation", where=where, hint="use int8 per channel")
    if any(not math.isfinite(s) or (given and s == 0) for s in q.scale):
        raise FormatError("scale is zero or not a number", where=where, found=q.scale[:8])
    low, high = dtype.bounds
    if any(not low <= z <= high for z in q.zero_point):
        raise FormatError(
            "zero point is out of range", where=where, expected=(low, high), found=q.zero_point[:8]
        )
    axis = None if len(q.scale) == 1 else q.dimension
    count = 1
    if axis is not None:
        if not 0 <= axis < len(tensor.shape):
            raise FormatError("quantised axis does not exist", where=where, found=axis)
        count = tensor.shape[axis]
    if (len(q.scale), len(q.zero_point)) != (count, count):
        raise FormatError(
            "number of scales and zero points does not match the quantised axis",
            where=where,
            expected=count,
            found=f"{len(q.scale)} scales, {len(q.zero_point)} zero points",
        )
    return Quant(tuple(s or SMALLEST for s in q.scale), q.zero_point, axis)


def _shifted(quant: Quant) -> Quant:
    """The quantisation of uint8 numbers once `SHIFT` is taken from them."""
    return replace(quant, zero_point=tuple(z - SHIFT for z in quant.zero_point))


def _nibbles(data: Array, count: int) -> Array:
    """Two 4-bit integers a byte, the low half first, as `count` int8."""
    pairs = np.stack((data & 15, data >> 4), axis=-1).astype(np.int8).reshape(-1)
    return ((pairs ^ 8) - 8).astype(np.int8)[:count]


_STORED = {"UINT8": "uint8", "FLOAT16": "float16", "BFLOAT16": "uint16"}
"""How the elements of a constant lie in the file, where its type does not say it."""

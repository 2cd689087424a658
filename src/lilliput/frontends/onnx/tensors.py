"""The tensors of an ONNX graph: constants, values, and integers that stand for either.

One idea: a float tensor behind a DequantizeLinear keeps the integers that it was made of.  Who
can work on them takes them; who cannot asks for the floats, and only then they are made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lilliput.errors import FormatError, UnsupportedError
from lilliput.frontends.integers import Stored
from lilliput.frontends.onnx.library import TensorProto, ValueInfoProto, numpy_helper, onnx
from lilliput.ir import Array, DType, Quant, TensorType, Value
from lilliput.ir.verify import MAX_ELEMENTS

MAX_RANK = 8
_KINDS = {
    "float16": np.float32,
    "float64": np.float32,
    "bfloat16": np.float32,
    "uint64": np.int64,
}
"""Types that are others here, with the same values or the nearest."""


class Awaited(Protocol):
    """What stands between the nodes of a chain that together are one operator
    (`operators.measured`)."""

    @property
    def shape(self) -> tuple[int, ...]: ...


@dataclass(frozen=True, eq=False)
class Tensor:
    """What a name of the graph stands for.

    data : of a constant
    value : of what is computed, as it is in the file (uint8 with a scale is int8)
    stored : constant integers that stand for it
    integers : computed integers that stand for it
    awaited : nothing yet that could be computed
    """

    name: str
    data: Array | None = None
    value: Value | None = None
    stored: Stored | None = None
    integers: Value | None = None
    awaited: Awaited | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        if self.data is not None:
            return tuple(self.data.shape)
        if self.awaited is not None:
            return self.awaited.shape
        known = self.value or self.integers
        assert known is not None
        return known.type.shape

    @property
    def dtype(self) -> DType:
        """F32 of whatever stands for reals."""
        if self.data is not None:
            return DType.of(self.data.dtype)
        return self.value.type.dtype if self.value is not None else DType.F32


def numpy_type(code: int, where: str) -> np.dtype[Any]:
    """The NumPy type of an ONNX element type; raises UnsupportedError."""
    try:
        found = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(code))
    except (KeyError, TypeError, ValueError):
        raise FormatError("element type does not exist", where=where, found=code) from None
    found = np.dtype(_KINDS.get(found.name, found))
    try:
        DType.of(found)
    except KeyError:
        name = onnx.TensorProto.DataType.Name(code)
        raise UnsupportedError("element type", where=where, found=name) from None
    return found


@dataclass
class Budget:
    """Bytes of constants that may still be decoded."""

    left: int

    def spend(self, size: int, where: str) -> None:
        self.left -= size
        if self.left < 0:
            raise FormatError("constants are larger than the file", where=where, found=size)


def array(proto: TensorProto, folder: Path | None, budget: Budget) -> Array:
    """What a constant of the file holds; raises FormatError."""
    where = f'constant "{proto.name}"'
    dims = tuple(proto.dims)
    if len(dims) > MAX_RANK or min(dims, default=0) < 0:
        raise FormatError("shape of a constant", where=where, found=dims)
    size = 1
    for d in dims:
        size *= d
    if size > MAX_ELEMENTS:
        raise FormatError("constant is too large", where=where, found=dims)
    wanted = numpy_type(proto.data_type, where)
    budget.spend(size * wanted.itemsize, where)
    if proto.data_location == onnx.TensorProto.EXTERNAL:
        proto = _with_external(proto, folder, where)
    try:
        data = numpy_helper.to_array(proto)
    except Exception as e:
        raise FormatError("constant cannot be decoded", where=where, found=str(e)) from None
    if data.shape != dims:
        raise FormatError("constant of another size", where=where, expected=dims, found=data.shape)
    with np.errstate(all="ignore"):
        return np.asarray(data).astype(wanted)


def _with_external(proto: TensorProto, folder: Path | None, where: str) -> TensorProto:
    """The constant with its bytes, which lie in a file in the folder of the model."""
    entries = {e.key: e.value for e in proto.external_data}
    location = entries.get("location", "")
    if folder is None or not location:
        raise FormatError("weights outside of the file, but no folder is known", where=where)
    root = folder.resolve()
    path = (root / location).resolve()
    if not path.is_relative_to(root):
        raise FormatError("weights outside of the folder of the model", where=where, found=location)
    try:
        offset, length = int(entries.get("offset", "0")), int(entries.get("length", "-1"))
        with path.open("rb") as file:
            file.seek(max(offset, 0))
            raw = file.read(length if length >= 0 else -1)
    except (OSError, ValueError) as e:
        text = e.strerror if isinstance(e, OSError) and e.strerror else str(e)
        raise FormatError(f"cannot read the weights in {location}", where=where, found=text) from e
    found = onnx.TensorProto()
    found.CopyFrom(proto)
    found.data_location = onnx.TensorProto.DEFAULT
    del found.external_data[:]
    found.raw_data = raw
    return found


def input_type(
    info: ValueInfoProto, shapes: Callable[[str], tuple[int, ...] | None]
) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """(shape, element type) of an input; a batch that is left open is 1.

    shapes : name -> what the caller says it is, or None
    """
    where = f'input "{info.name}"'
    kind = info.type.WhichOneof("value")
    if kind != "tensor_type":
        raise UnsupportedError("input is no tensor", where=where, found=kind or "nothing")
    tensor = info.type.tensor_type
    dtype = numpy_type(tensor.elem_type, where)
    stated = shapes(info.name)
    if stated is not None:
        return stated, dtype
    if not tensor.HasField("shape"):
        raise UnsupportedError(
            "input has no shape", where=where, hint="export the model with fixed shapes"
        )
    shape: list[int] = []
    for axis, dim in enumerate(tensor.shape.dim):
        n = dim.dim_value if dim.HasField("dim_value") else -1
        if n < 0 and axis == 0:
            n = 1
        if n < 0:
            label = dim.dim_param or "?"
            raise UnsupportedError(
                f"input has a dynamic shape, axis {axis} ({label})",
                where=where,
                hint="export the model with fixed shapes (only the batch may be left open)",
            )
        if n == 0:
            raise UnsupportedError("input has no elements", where=where, found=f"axis {axis} of 0")
        shape.append(n)
    if len(shape) > MAX_RANK:
        raise UnsupportedError("rank of an input", where=where, expected=MAX_RANK, found=len(shape))
    return tuple(shape), dtype


def type_of(data: Array, quant: Quant | None = None) -> TensorType:
    return TensorType(tuple(data.shape), DType.of(data.dtype), quant)

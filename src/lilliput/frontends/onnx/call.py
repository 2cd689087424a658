"""One node of an ONNX graph, as the builders see it: checked operands, attributes, and `emit`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import numpy as np

from lilliput.errors import FormatError, UnsupportedError
from lilliput.frontends.channels import Place
from lilliput.frontends.onnx.library import NodeProto, onnx
from lilliput.frontends.onnx.tensors import Tensor
from lilliput.ir import Array, Attrs, Builder, DType, Op, Quant, TensorType, Value
from lilliput.ops.quantize import dequantize

T = TypeVar("T", int, float, str)
MAX_INTS = 4096
AWAITED = "integers whose scale is measured at run time are used for more than one product"
STATIC = "quantise it statically, with calibration data, or compile the float model"


class Scope(Protocol):
    """What a call can reach beyond its own node."""

    builder: Builder

    def target(self, name: str) -> Quant | None:
        """The int8 that all readers of a tensor make of it; None where they want the reals."""
        ...

    def rename(self, name: str) -> str:
        """The name that the value of a tensor gets."""
        ...


@dataclass(frozen=True, eq=False)
class Call:
    """`inputs` are None where an operand is left out; `where` names the node in errors; `forced`
    is what a node that makes integers itself says of its result."""

    scope: Scope
    node: NodeProto
    opset: int
    where: str
    inputs: tuple[Tensor | None, ...]
    forced: Quant | None = None

    # Attributes -----------------------------------------------------------------------

    def _attribute(self, name: str) -> Any:
        for a in self.node.attribute:
            if a.name == name:
                try:
                    return onnx.helper.get_attribute_value(a)
                except ValueError as e:
                    raise FormatError(
                        f"attribute {name} cannot be decoded", where=self.where, found=str(e)
                    ) from None
        return None

    def attr(self, name: str, default: T) -> T:
        """An attribute of the type of `default`."""
        found = self._attribute(name)
        if found is None:
            return default
        if isinstance(found, bytes):
            found = found.decode("utf-8", "replace")
        if isinstance(default, float) and isinstance(found, int | float):
            return cast(T, float(found))
        if type(found) is not type(default):
            kind = type(default).__name__
            raise FormatError(f"attribute {name}", where=self.where, expected=kind, found=found)
        return cast(T, found)

    def ints(self, name: str) -> tuple[int, ...] | None:
        """An attribute that is a list of integers; None where it is left out."""
        found = self._attribute(name)
        if found is None:
            return None
        if type(found) in (list, tuple) and all(isinstance(v, int) for v in found):
            return tuple(int(v) for v in found)
        raise FormatError(f"attribute {name}", where=self.where, expected="integers", found=found)

    def strings(self, name: str) -> tuple[str, ...]:
        found = self._attribute(name)
        values = cast("Sequence[Any]", found) if type(found) in (list, tuple) else ()
        return tuple(
            v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values
        )

    # Operands -------------------------------------------------------------------------

    def has(self, k: int) -> bool:
        return k < len(self.inputs) and self.inputs[k] is not None

    def tensor(self, k: int) -> Tensor:
        """Operand `k`; raises FormatError where it is left out."""
        found = self.inputs[k] if k < len(self.inputs) else None
        if found is None:
            raise FormatError(f"operand {k} is missing", where=self.where)
        return found

    def shape(self, k: int) -> tuple[int, ...]:
        return self.tensor(k).shape

    def data(self, k: int) -> Array | None:
        """What operand `k` holds, where that is known."""
        return self.tensor(k).data

    def constant(self, k: int, what: str) -> Array:
        """Operand `k`, which has to be known; raises UnsupportedError."""
        found = self.data(k)
        if found is None:
            raise UnsupportedError(
                f"{what} is computed at run time",
                where=self.where,
                expected="a constant",
                hint="export the model with fixed shapes and constants folded",
            )
        return found

    def list(self, k: int, what: str) -> tuple[int, ...]:
        """A constant operand of few integers."""
        data = self.constant(k, what)
        if data.dtype.kind not in "iu" or data.size > MAX_INTS:
            raise FormatError(what, where=self.where, expected="few integers", found=data.shape)
        return tuple(int(v) for v in data.reshape(-1))

    def numbers(self, k: int, name: str, what: str) -> tuple[int, ...] | None:
        """Integers that newer opsets have as operand `k` and older ones as an attribute."""
        return self.list(k, what) if self.has(k) else self.ints(name)

    def value(self, k: int) -> Value:
        """Operand `k` as a value; reals are floats, whatever they are stored as."""
        t = self.tensor(k)
        if t.value is not None:
            return t.value
        if t.data is not None:
            return self.scope.builder.param(self.scope.rename(t.name), t.data)
        if t.awaited is not None:
            raise self.refuse(AWAITED, found=t.name, hint=STATIC)
        assert t.integers is not None
        return self.builder.add(
            dequantize, (t.integers,), name=f"{t.name}/float", origin=self.origin
        )

    def integers(self, k: int) -> Value | None:
        """The int8 that stand for operand `k`, or None: as a value, constants too."""
        t = self.tensor(k)
        if t.integers is not None:
            return t.integers
        if t.stored is None:
            return None
        return self.builder.param(self.scope.rename(t.name), t.stored.data, t.stored.quant)

    def moved(self, k: int) -> Value:
        """Operand `k` for a node that moves elements: integers where there are some."""
        return self.tensor(k).integers or self.value(k)

    # Results --------------------------------------------------------------------------

    @property
    def builder(self) -> Builder:
        return self.scope.builder

    @property
    def output(self) -> str:
        return self.node.output[0]

    @property
    def origin(self) -> str:
        return self.node.name or self.output

    @property
    def place(self) -> Place:
        return Place(self.builder, self.scope.rename(self.output), self.origin)

    @property
    def target(self) -> Quant | None:
        """The int8 that the result is wanted as."""
        return self.forced or self.scope.target(self.output)

    def emit(
        self,
        op: Op,
        inputs: Sequence[Value],
        attrs: Attrs | None = None,
        type: TensorType | None = None,
    ) -> Value:
        return self.place.last(op, inputs, attrs, type)

    def result(self, value: Value, k: int = 0) -> Tensor:
        """A result as what its elements are."""
        return Tensor(self.node.output[k], value=value)

    def like(self, value: Value, k: int, result: int = 0) -> Tensor:
        """A result whose elements are those of operand `k`, reals or integers for them."""
        name = self.node.output[result]
        if self.tensor(k).integers is not None:
            return Tensor(name, integers=value)
        return Tensor(name, value=value)

    def known(self, data: Array, k: int = 0) -> Tensor:
        return Tensor(self.node.output[k], data=np.asarray(data))

    def axis(self, axis: int, rank: int) -> int:
        """`axis` counted from the front."""
        if not -rank <= axis < rank:
            raise FormatError("axis does not exist", where=self.where, found=f"{axis} of {rank}")
        return axis % rank

    def refuse(
        self, what: str, *, found: object = "", expected: object = "", hint: str = ""
    ) -> UnsupportedError:
        """The error, to be raised, for a form of the operator that is not supported."""
        return UnsupportedError(what, where=self.where, found=found, expected=expected, hint=hint)

    def check_float(self, k: int) -> None:
        if self.tensor(k).dtype is not DType.F32:
            raise self.refuse("element type", expected="float", found=self.tensor(k).dtype.value)

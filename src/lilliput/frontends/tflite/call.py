"""One operator of a .tflite file, as the builders see it: checked operands, and `emit`.

A builder asks for what it needs (a value, a constant, its options) and gets it or an error
that names the node.  Fused activations are written behind a node as a `clamp`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from lilliput.errors import FormatError, UnsupportedError
from lilliput.frontends.tflite.schema import Activation
from lilliput.frontends.tflite.tensors import Operand, Tensors
from lilliput.frontends.tflite.variables import Variables
from lilliput.ir import Array, Attrs, DType, Op, Quant, TensorType, Value
from lilliput.ir.build import infer
from lilliput.ops.elementwise import Clamp, clamp, stored_bounds

T = TypeVar("T")
MAX_INTS = 64

_BOUNDS: dict[Activation, tuple[float, float]] = {
    Activation.NONE: (-math.inf, math.inf),
    Activation.RELU: (0.0, math.inf),
    Activation.RELU_N1_TO_1: (-1.0, 1.0),
    Activation.RELU6: (0.0, 6.0),
}


def activation_bounds(activation: int, type: TensorType) -> tuple[float, float] | None:
    """What an activation limits stored elements of `type` to; None where it limits nothing.

    Raises KeyError for activations that are no range.
    """
    low, high = _BOUNDS[Activation(activation)]
    if type.quant is None:
        return None if (low, high) == _BOUNDS[Activation.NONE] else (low, high)
    bounds = stored_bounds(low, high, type)
    return None if bounds == type.dtype.bounds else bounds


class Scope(Protocol):
    """What a call can reach beyond its own tensors."""

    @property
    def variables(self) -> Variables: ...

    def inline(self, index: int, operands: Sequence[Operand], where: str) -> list[Operand]:
        """The outputs of subgraph `index` for `operands`, its nodes added here."""
        ...


@dataclass(frozen=True, eq=False)
class Call:
    """`inputs` and `outputs` are tensor indices, -1 for an operand that is left out."""

    scope: Scope
    tensors: Tensors
    name: str
    where: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    stated: object | None
    custom: memoryview
    intermediates: tuple[int, ...]

    def options(self, cls: type[T]) -> T:
        if not isinstance(self.stated, cls):
            raise FormatError("has no options", where=self.where, expected=cls.__name__)
        return self.stated

    def has(self, k: int) -> bool:
        return k < len(self.inputs) and self.inputs[k] >= 0

    def index(self, k: int) -> int:
        """The tensor of operand `k`; raises FormatError where it is left out."""
        if not self.has(k):
            raise FormatError(
                f"operand {k} is missing", where=self.where, found=f"inputs {self.inputs}"
            )
        return self.inputs[k]

    def value(self, k: int) -> Value:
        return self.tensors.value(self.index(k))

    def type(self, k: int) -> TensorType:
        return self.tensors.type(self.index(k))

    @property
    def out(self) -> TensorType:
        return self.tensors.type(self.outputs[0])

    def result(self, k: int) -> TensorType:
        """The type of result `k`."""
        return self.tensors.type(self.outputs[k])

    def operand(self, k: int) -> Operand:
        """Operand `k`, which may be a variable."""
        return self.tensors.operand(self.index(k))

    def constant(self, k: int) -> Array | None:
        """The data of operand `k` where the file holds it, or where constants determine it."""
        return self.tensors.known(self.index(k))

    def ints(self, k: int) -> tuple[int, ...]:
        """A constant operand of few integers, flat, in order."""
        type = self.type(k)
        if type.dtype not in (DType.S32, DType.S64) or type.size > MAX_INTS:
            raise FormatError(
                f"operand {k} is not a short list of integers",
                where=self.where,
                expected=f"int32 or int64, at most {MAX_INTS} elements",
                found=str(type),
            )
        data = self.constant(k)
        if data is None:
            raise UnsupportedError(
                f"operand {k} is computed at run time",
                where=self.where,
                expected="a constant",
                hint="export the model with fixed shapes",
            )
        return tuple(int(v) for v in data.reshape(-1))

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

    def between(self, op: Op, inputs: Sequence[Value], attrs: Attrs | None, suffix: str) -> Value:
        """A node that the file does not have; its type is what the operator infers."""
        return self.tensors.builder.add(
            op, inputs, attrs, name=self._name(0) + suffix, origin=self.origin
        )

    def param(self, suffix: str, data: Array, quant: Quant | None = None) -> Value:
        """A constant that the file does not have."""
        return self.tensors.builder.param(self._name(0) + suffix, data, quant)

    def _name(self, k: int) -> str:
        return self.tensors.names[self.outputs[k]]

    @property
    def origin(self) -> str:
        return self.tensors.origin(self.outputs[0])

    def emit(
        self,
        op: Op,
        inputs: Sequence[Value],
        attrs: Attrs | None = None,
        activation: int = Activation.NONE,
        type: TensorType | None = None,
        result: int = 0,
    ) -> Value:
        """Adds the node of a result and, where the activation limits anything, a clamp."""
        type = type or self._settled(op, inputs, attrs, result)
        origin = self.tensors.origin(self.outputs[result])
        if activation and type.quant is not None and not type.quant.is_per_tensor:
            raise self.refuse(
                "fused activation of a result that is quantised per axis",
                expected="one scale and zero point",
                found=f"{len(type.quant.scale)} along axis {type.quant.axis}",
                hint="convert again with activations quantised per tensor",
            )
        try:
            bounds = activation_bounds(activation, type)
        except (KeyError, ValueError):
            raise self.refuse(
                "fused activation is not supported",
                expected=", ".join(a.name for a in _BOUNDS),
                found=activation,
                hint="write the activation as a node of its own",
            ) from None
        add, name = self.tensors.builder.add, self._name(result)
        if bounds is None:
            return add(op, inputs, attrs, type=type, name=name, origin=origin)
        inner = add(op, inputs, attrs, type=type, name=f"{name}/linear", origin=origin)
        return add(clamp, (inner,), Clamp(*bounds), type=type, name=name, origin=origin)

    def _settled(
        self, op: Op, inputs: Sequence[Value], attrs: Attrs | None, result: int
    ) -> TensorType:
        """The type of a result, whose shape is what `op` gives where the file leaves it open."""
        index = self.outputs[result]
        if self.tensors.is_open(index):
            types = [v.type for v in inputs]
            (inferred,) = infer(op, attrs or op.attrs(), types, self.origin)
            self.tensors.settle(index, inferred.shape)
        return self.result(result)

    def emit_all(
        self, op: Op, inputs: Sequence[Value], attrs: Attrs | None = None
    ) -> tuple[Value, ...]:
        """Adds one node that gives every result."""
        return self.tensors.builder.add_multi(
            op,
            inputs,
            attrs,
            types=[self.result(k) for k in range(len(self.outputs))],
            name=self._name(0),
            origin=self.origin,
        )

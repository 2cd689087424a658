"""One step of a captured module, as the builders see it: arguments by name, and `emit`.

A float tensor behind a dequantize keeps the integers that it was made of.  Who can work on them
asks for them (`integers`, or all operands `as_integers`); who cannot takes the floats, and only
then they are made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from lilliput.errors import UnsupportedError
from lilliput.frontends.channels import Place
from lilliput.frontends.integers import reals
from lilliput.frontends.torch.program import Argument, Held, Ref, Spec, Step
from lilliput.ir import Array, Attrs, Builder, DType, Op, Param, Quant, TensorType, Value
from lilliput.ir.rewrite import is_cheap
from lilliput.ops.quantize import To, cast, dequantize
from lilliput.ops.shape import Reshape, reshape

DTYPES = {
    "float32": DType.F32,
    "int32": DType.S32,
    "int64": DType.S64,
    "bool": DType.BOOL,
    "uint8": DType.U8,
    "int8": DType.S8,
    "int16": DType.S16,
}


class Unavailable(Exception):
    """An operand that an earlier problem, already reported, has left without a value."""


class Folding(Builder):
    """A builder that evaluates what follows from parameters alone, as nodes are added.

    What a module computes of its weights (weight norm, masks of arange and comparisons) is known
    to the builders behind it; what nothing reads in the end is dropped by canonicalisation.  A
    product of zeros stays: a recurrence begins with it, whose other steps have its weights too, and
    canonicalisation knows whether they do.
    """

    def add_multi(
        self,
        op: Op,
        inputs: Sequence[Value],
        attrs: Attrs | None = None,
        *,
        types: Sequence[TensorType] | None = None,
        name: str = "",
        origin: str = "",
    ) -> tuple[Value, ...]:
        made = super().add_multi(op, inputs, attrs, types=types, name=name, origin=origin)
        known = [self.params[v.name].data for v in inputs if v.name in self.params]
        operands = [d for d in known if d is not None]
        begins = op.name == "linear" and len(operands) == len(inputs) and not operands[0].any()
        if begins or len(operands) < len(inputs) or not is_cheap(self.nodes[-1]):
            return made
        node = self.nodes.pop()
        with np.errstate(all="ignore"):
            results = node.op.ref(node, operands)
        for v, r in zip(made, results, strict=True):
            self.use(Param(v, r.astype(v.type.dtype.numpy).reshape(v.type.shape)))
        return made


class Tensors:
    """What earlier steps have made.

    values : tensors as they are in the program (uint8 with a scale is int8); None where a step
        failed, and of reals that nobody has asked for yet
    integers : those that stand for the reals of a tensor, computed or constant
    """

    def __init__(self, builder: Builder, constants: Mapping[str, Held]):
        self.builder, self.constants = builder, constants
        self.values: dict[Ref, Value | None] = {}
        self.integers: dict[Ref, Value] = {}

    def of(self, ref: Ref) -> Value | None:
        """The tensor as a value, reals as floats; None where an earlier step failed."""
        whole = self.integers.get(ref)
        if self.values.get(ref) is None and whole is not None:
            self.values[ref] = self._reals(whole)
        return self.values.get(ref)

    def held(self, ref: Ref) -> Array | None:
        """What a constant holds, in whatever type the program has it."""
        found, value = self.constants.get(ref.name), self.values.get(ref)
        if found is not None:
            return found.data
        param = self.builder.params.get(value.name) if value is not None else None
        return param.data if param else None

    def _reals(self, x: Value) -> Value:
        name, param = f"{x.name}/float", self.builder.params.get(x.name)
        if param is None or param.data is None or x.type.quant is None:
            return self.builder.add(dequantize, (x,), name=name, origin=x.name)
        return self.builder.param(name, reals(param.data, x.type.quant))


@dataclass(frozen=True, eq=False)
class Call:
    """`target` is the int8 that the result is wanted as, None where somebody wants the reals;
    `as_integers`: operands that integers stand for are read as those."""

    builder: Builder
    tensors: Tensors
    step: Step
    name: str
    target: Quant | None = None
    as_integers: bool = False

    # Arguments ------------------------------------------------------------------------

    def get(self, name: str) -> Argument:
        return self.step.arguments.get(name)

    def has(self, name: str) -> bool:
        return self.get(name) is not None

    def _of(self, ref: Argument, name: str) -> Value:
        if not isinstance(ref, Ref):
            raise self.refuse(f"argument {name}", expected="a tensor", found=ref)
        value = self.tensors.integers.get(ref) if self.as_integers else None
        value = value or self.tensors.of(ref)
        if value is None:
            raise Unavailable
        return value

    def value(self, name: str) -> Value:
        return self._of(self.get(name), name)

    def optional(self, name: str) -> Value | None:
        return self.value(name) if self.has(name) else None

    def list(self, name: str) -> list[Value]:
        """A list of tensors."""
        found = self.get(name)
        return [self._of(a, name) for a in found] if isinstance(found, tuple) else []

    def integers(self, name: str) -> Value | None:
        """The integers that stand for a tensor; None where there are none."""
        found = self.get(name)
        return self.tensors.integers.get(found) if isinstance(found, Ref) else None

    @property
    def whole(self) -> Call:
        """This call on integers."""
        return replace(self, as_integers=True)

    def operand(self, name: str, dtype: DType) -> Value:
        """A tensor or a number, as elements of `dtype`."""
        found = self.get(name)
        if isinstance(found, Ref):
            return self.cast(self.value(name), dtype)
        if isinstance(found, bool | int | float):
            return self.constant(self._alone(found).astype(dtype.numpy), name)
        raise self.refuse(f"argument {name}", expected="a tensor or a number", found=found)

    def data(self, name: str) -> Array:
        """What a constant tensor holds; raises UnsupportedError where it is computed."""
        found = self.place.data(self.value(name))
        if found is None:
            raise self.refuse(f"{name} is computed at run time", expected="a constant")
        return found

    def ints(self, name: str) -> tuple[int, ...]:
        """Integers; one stands for itself; none where it is left out."""
        found = self.get(name)
        found = (found,) if isinstance(found, int) else found or ()
        if isinstance(found, tuple) and all(isinstance(v, int) for v in found):
            return tuple(v for v in found if isinstance(v, int))
        raise self.refuse(f"argument {name}", expected="fixed integers", found=found)

    def pair(self, name: str, count: int, default: int = 1) -> tuple[int, ...]:
        """`count` integers, of which torch may give one for all, or none."""
        found = self.ints(name) or (default,)
        return found * count if len(found) == 1 else found

    def integer(self, name: str) -> int:
        found = self.ints(name)
        if len(found) != 1:
            raise self.refuse(f"argument {name}", expected="a fixed integer", found=found)
        return found[0]

    def number(self, name: str, default: float = 0.0) -> float:
        found = self.get(name)
        if found is None:
            return default
        if isinstance(found, int | float):
            return float(found)
        raise self.refuse(f"argument {name}", expected="a number", found=found)

    def flag(self, name: str) -> bool:
        return bool(self.get(name))

    def axis(self, name: str, rank: int) -> int:
        """One axis, counted from the front."""
        return self.integer(name) % max(rank, 1)

    def axes(self, name: str, rank: int) -> tuple[int, ...]:
        """Axes from the front, ascending; all where none is named."""
        return tuple(sorted({k % rank for k in self.ints(name)})) or tuple(range(rank))

    @property
    def where(self) -> str:
        """How errors name the step."""
        return describe(self.step)

    # Results --------------------------------------------------------------------------

    @property
    def out(self) -> TensorType:
        return self.result(0)

    def result(self, k: int) -> TensorType:
        """The type that torch gives result `k`; raises UnsupportedError for one we have not."""
        return self.typed(self.step.results[k])

    def typed(self, spec: Spec) -> TensorType:
        if spec.shape is None:
            raise self.refuse(
                "a shape that depends on the data", hint="keep every shape fixed: torch.where"
            )
        if spec.dtype not in DTYPES:
            known = ", ".join(DTYPES)
            raise self.refuse("element type", expected=known, found=spec.dtype)
        if 0 in spec.shape:
            raise self.refuse("a tensor without elements", found=spec.shape)
        dtype = DTYPES[spec.dtype]
        if self.as_integers and dtype is DType.F32:
            dtype = DType.S8
        return TensorType(spec.shape, dtype)

    @property
    def place(self) -> Place:
        return Place(self.builder, self.name, self.step.origin)

    def emit(self, op: Op, inputs: Sequence[Value], attrs: Attrs | None = None) -> Value:
        return self.place.last(op, inputs, attrs)

    def between(
        self, op: Op, inputs: Sequence[Value], attrs: Attrs | None = None, suffix: str = ""
    ) -> Value:
        return self.place.between(op, inputs, attrs, suffix)

    def constant(self, data: Array, suffix: str) -> Value:
        return self.place.constant(data, suffix)

    def real(self, value: float, suffix: str) -> Value:
        """A float32 number."""
        return self.constant(self._alone(value).astype(np.float32), suffix)

    def _alone(self, number: float) -> Array:
        """A number with no more axes than the result has."""
        axes = self.step.results[0].shape
        return np.array([number] if axes else number)

    def cast(self, x: Value, dtype: DType) -> Value:
        return x if x.type.dtype is dtype else self.between(cast, (x,), To(dtype), "cast")

    def shaped(self, x: Value, shape: Sequence[int], suffix: str = "") -> Value:
        """`x` under another shape; itself where it has it.  Without a suffix: the result."""
        if x.type.shape == tuple(shape):
            return x
        attrs = Reshape(tuple(shape))
        return (
            self.between(reshape, (x,), attrs, suffix)
            if suffix
            else self.emit(reshape, (x,), attrs)
        )

    def refuse(
        self, what: str, *, found: object = "", expected: object = "", hint: str = ""
    ) -> UnsupportedError:
        """The error, to be raised, for a form of the operator that is not supported."""
        return UnsupportedError(what, where=self.where, found=found, expected=expected, hint=hint)


def describe(step: Step) -> str:
    """`conv2d "features.0" (net.py:41)`: how errors name a step."""
    operator = step.operator.removesuffix(".default")
    line = f" ({step.source})" if step.source else ""
    return f'{operator} "{step.label}"{line}'


Made: TypeAlias = "Value | Sequence[Value]"
Build: TypeAlias = Callable[[Call], Made]
Integer: TypeAlias = Callable[[Call], "Made | None"]
"""A builder on integers; None where it has no rule for these, and floats are computed."""

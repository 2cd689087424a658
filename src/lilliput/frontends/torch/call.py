"""One step of a captured module, as the builders see it: arguments by name, and `emit`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from lilliput.errors import UnsupportedError
from lilliput.frontends.channels import Place
from lilliput.frontends.torch.program import Argument, Ref, Spec, Step
from lilliput.ir import Array, Attrs, Builder, DType, Op, Param, TensorType, Value
from lilliput.ir.rewrite import is_cheap
from lilliput.ops.quantize import To, cast
from lilliput.ops.shape import Reshape, reshape

DTYPES = {
    "float32": DType.F32,
    "int32": DType.S32,
    "int64": DType.S64,
    "bool": DType.BOOL,
    "uint8": DType.U8,
}


class Unavailable(Exception):
    """An operand that an earlier problem, already reported, has left without a value."""


class Folding(Builder):
    """A builder that evaluates what follows from parameters alone, as nodes are added.

    What a module computes of its weights (weight norm, masks of arange and comparisons) is known
    to the builders behind it; what nothing reads in the end is dropped by canonicalisation.
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
        if len(operands) < len(inputs) or not is_cheap(self.nodes[-1]):
            return made
        node = self.nodes.pop()
        with np.errstate(all="ignore"):
            results = node.op.ref(node, operands)
        for v, r in zip(made, results, strict=True):
            self.use(Param(v, r.astype(v.type.dtype.numpy).reshape(v.type.shape)))
        return made


@dataclass(frozen=True, eq=False)
class Call:
    """`values` are what earlier steps have made; None where they failed."""

    builder: Builder
    values: Mapping[Ref, Value | None]
    step: Step
    name: str

    # Arguments ------------------------------------------------------------------------

    def get(self, name: str) -> Argument:
        return self.step.arguments.get(name)

    def has(self, name: str) -> bool:
        return self.get(name) is not None

    def _of(self, ref: Argument, name: str) -> Value:
        if not isinstance(ref, Ref):
            raise self.refuse(f"argument {name}", expected="a tensor", found=ref)
        value = self.values.get(ref)
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
        return TensorType(spec.shape, DTYPES[spec.dtype])

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
        where = describe(self.step)
        return UnsupportedError(what, where=where, found=found, expected=expected, hint=hint)


def describe(step: Step) -> str:
    """`conv2d "features.0" (net.py:41)`: how errors name a step."""
    operator = step.operator.removesuffix(".default")
    line = f" ({step.source})" if step.source else ""
    return f'{operator} "{step.label}"{line}'


Made: TypeAlias = "Value | Sequence[Value]"
Build: TypeAlias = Callable[[Call], Made]

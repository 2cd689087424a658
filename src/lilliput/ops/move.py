"""What the operators that mostly move elements share: `shape`, `frame` and `reduce`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from lilliput.ir.graph import Node
from lilliput.ir.op import Cost, Work
from lilliput.ir.types import DType, TensorType
from lilliput.ops.common import c_type, check

DTYPES = tuple(d for d in DType if d is not DType.S4)


def oracles(name: str, micro: Iterable[DType], lite: Iterable[DType] = ()) -> dict[DType, str]:
    """`Op.oracle` of the operator `name` of TFLite.

    micro : types that TFLite Micro's kernel takes; lite : those that only LiteRT's takes.
    Of all others the elements move in the same way.
    """
    ours = dict.fromkeys(DTYPES, "docs/numerics.md")
    held = dict.fromkeys(lite, f"LiteRT {name}") | dict.fromkeys(micro, f"TFLM {name}")
    return ours | held


def one(types: Sequence[TensorType]) -> TensorType:
    """The type of the only operand."""
    check(len(types) == 1, "wrong number of operands", "x", len(types))
    return types[0]


def element_types(node: Node) -> Mapping[str, str]:
    """The C types of a kernel that copies elements."""
    x = c_type(node.inputs[0].type.dtype)
    return {"LL_X": x, "LL_Y": x, "LL_ACC": "int32_t"}


def element_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Elements between neighbours along each axis of a dense tensor."""
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def moved_work(node: Node) -> Work:
    """No inner loop but the copy of a pixel: elements, and pixels of the result."""
    out = node.output.type
    return Work(0, out.size, math.prod(out.shape[:-1]))


def moved(node: Node) -> Cost:
    """One operation an element."""
    return Cost(ops=node.output.type.size)

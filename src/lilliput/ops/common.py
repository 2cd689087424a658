"""What every operator family needs: a check that names what it wanted, and C's type names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lilliput.errors import TypeMismatch
from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Indices, Narrow
from lilliput.ir.types import DType, TensorType
from lilliput.ops.numeric import Rounding

_C = {
    DType.F32: "float",
    DType.S4: "int8_t",
    DType.S8: "int8_t",
    DType.U8: "uint8_t",
    DType.S16: "int16_t",
    DType.U16: "uint16_t",
    DType.S32: "int32_t",
    DType.U32: "uint32_t",
    DType.S64: "int64_t",
    DType.BOOL: "uint8_t",
}

ACTIVATIONS = (DType.F32, DType.S8, DType.S16)
"""Element types of the values between a network's layers."""

REQUANT_C = {Rounding.DOUBLE: "ll_requant", Rounding.SINGLE: "ll_requant_once"}
"""The primitive that scales an int32."""


def c_type(dtype: DType) -> str:
    """The C type that holds one element."""
    return _C[dtype]


def c_float(value: float) -> str:
    """A finite float32 literal that reads back as the same number."""
    return repr(float(np.float32(value))) + "f"


def check(ok: bool, what: str, expected: object, found: object) -> None:
    """Raises TypeMismatch unless `ok`; the builder adds which node it was."""
    if not ok:
        raise TypeMismatch(what, expected=expected, found=found)


def check_activations(type: TensorType) -> None:
    """Raises TypeMismatch unless the elements are of `ACTIVATIONS`."""
    names = ", ".join(d.value for d in ACTIVATIONS)
    check(type.dtype in ACTIVATIONS, "element type", names, type.dtype.value)


def _unchanged(node: Node, _operands: Sequence[Indices], _result: Indices) -> Attrs:
    return node.attrs


def narrows(_: Node) -> Narrow:
    """`Op.narrow` of operators whose attributes mention no extent of an axis that may narrow."""
    return _unchanged


def slides(node: Node, _axis: int, _outside: tuple[int, int]) -> Attrs:
    """`Op.slide` of operators whose attributes say nothing of where windows begin."""
    return node.attrs


def margins(
    pad: tuple[int, int, int, int], axis: int, outside: tuple[int, int]
) -> tuple[int, int, int, int]:
    """`pad` (top, bottom, left, right) of a map (N,H,W,C) with `outside` along one axis."""
    if axis == 1:
        return (*outside, pad[2], pad[3])
    return (pad[0], pad[1], *outside) if axis == 2 else pad

"""What every operator family needs: a check that names what it wanted, and C's type names."""

from __future__ import annotations

from lilliput.errors import TypeMismatch
from lilliput.ir.types import DType
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


REQUANT_C = {Rounding.DOUBLE: "ll_requant", Rounding.SINGLE: "ll_requant_once"}
"""The primitive that scales an int32."""


def c_type(dtype: DType) -> str:
    """The C type that holds one element."""
    return _C[dtype]


def check(ok: bool, what: str, expected: object, found: object) -> None:
    """Raises TypeMismatch unless `ok`; the builder adds which node it was."""
    if not ok:
        raise TypeMismatch(what, expected=expected, found=found)

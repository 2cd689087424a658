"""What a family of operators says of itself: how each is read, and how it is written.

`READ` of a family maps the format's name to a `Row`, `WRITE` maps the IR's name to a `Rule`.
The fields of a row are checked before its builder runs; what the IR operator checks by
itself (shapes, ranks) is not checked again there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lilliput.errors import FormatError
from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.tensors import Operand
from lilliput.frontends.tflite.writing import Job, Writer
from lilliput.ir import DType
from lilliput.ops import common

ACTIVATIONS = frozenset(common.ACTIVATIONS)
INTEGERS = frozenset({DType.S8, DType.S16, DType.S32})
ANY = frozenset({*ACTIVATIONS, DType.S32, DType.S64, DType.BOOL, DType.S4})


@dataclass(frozen=True)
class Row:
    """How an operator is read.

    build : call -> the value of its result, or one for each result
    inputs, outputs : how many operands and results, least and most
    dtypes : of the first result; nothing is asked of it where there are none
    quantised : operands that, where they are integers, need a scale; the results then too
    """

    build: Callable[[Call], Operand | Sequence[Operand]]
    inputs: tuple[int, int] = (1, 1)
    dtypes: frozenset[DType] = ACTIVATIONS
    quantised: tuple[int, ...] = (0,)
    outputs: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Rule:
    """How an operator is written; fuses: a clamp behind it may be its fused activation."""

    write: Callable[[Writer, Job], None]
    fuses: bool = False


def check_row(call: Call, row: Row) -> None:
    """Raises FormatError or UnsupportedError where a call does not fit its row."""
    for what, found, (least, most) in (
        ("operands", len(call.inputs), row.inputs),
        ("results", len(call.outputs), row.outputs),
    ):
        if not least <= found <= most:
            raise FormatError(
                f"wrong number of {what}",
                where=call.where,
                expected=f"{least} to {most}" if least < most else least,
                found=found,
            )
    if row.dtypes and call.out.dtype not in row.dtypes:
        raise call.refuse(
            "result type is not supported",
            expected=", ".join(sorted(d.value for d in row.dtypes)),
            found=call.out.dtype.value,
        )
    if row.quantised:
        check_scales(call, row.quantised)


def check_scales(call: Call, quantised: Sequence[int]) -> None:
    """Raises UnsupportedError where one of these operands, or the result, has no scale."""
    names = [(f"operand {k}", call.type(k)) for k in quantised if call.has(k)]
    for what, type in (*names, ("the result", call.out)):
        stated = type.dtype in (DType.S8, DType.S16) or what != "the result"
        if (
            stated
            and type.dtype.is_integer
            and (type.quant is None or not type.quant.is_per_tensor)
        ):
            raise call.refuse(
                f"{what} is an integer tensor without a scale of its own",
                expected="per-tensor quantisation",
                found=f"{type}, {type.quant}",
                hint="convert with full integer quantisation and a representative data set",
            )

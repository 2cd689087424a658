"""Comparisons, minimum and maximum, logic, bits and selection.

What chooses one of its operands has one quantisation for all of them: operands of another
are requantised on the way.
"""

from __future__ import annotations

from collections.abc import Sequence

from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.operators.elementwise import plain, values, writes
from lilliput.frontends.tflite.operators.table import Row, Rule
from lilliput.ir import DType, Op, Value
from lilliput.ops.compare import NUMBERS, SELECTED, comparisons, maximum, minimum, select
from lilliput.ops.logical import (
    BITS,
    bitwise_xor,
    logical_and,
    logical_not,
    logical_or,
    right_shift,
)
from lilliput.ops.quantize import Requantize, requantize
from lilliput.ops.shape import Reshape, reshape

BOOL = frozenset({DType.BOOL})


def _alike(call: Call, operands: Sequence[Value]) -> list[Value]:
    """The operands in the quantisation of the result."""
    return [x if x.type.quant == call.out.quant else _requantised(call, x) for x in operands]


def _requantised(call: Call, x: Value) -> Value:
    if call.out.quant is None or x.type.quant is None:
        raise call.refuse(
            "operands and result have a scale or have none",
            expected=str(call.out.quant),
            found=str(x.type.quant),
        )
    return call.tensors.builder.add(
        requantize,
        (x,),
        Requantize(x.type.dtype),
        type=x.type.with_dtype(x.type.dtype, call.out.quant),
        name=f"{x.name}/alike",
        origin=call.origin,
    )


def _extreme(op: Op) -> Row:
    def build(call: Call) -> Value:
        return call.emit(op, _alike(call, values(call)))

    return Row(build, (2, 2), frozenset(NUMBERS), ())


def _select(call: Call) -> Value:
    condition, *operands = values(call)
    x, rank = operands[0].type, len(condition.type.shape)
    if call.name == "SELECT" and rank == 1 and condition.type.shape != x.shape:
        # a vector chooses whole rows: along the first axis, not the last
        shape = (*condition.type.shape, *(1 for _ in x.shape[1:]))
        condition = call.between(reshape, (condition,), Reshape(shape), "/condition")
    return call.emit(select, (condition, *_alike(call, operands)))


_SELECT = Row(_select, (3, 3), frozenset(SELECTED), ())

READ: dict[str, Row] = {
    **{name.upper(): Row(plain(op), (2, 2), BOOL, ()) for name, op in comparisons.items()},
    "BITWISE_XOR": Row(plain(bitwise_xor), (2, 2), frozenset(BITS), ()),
    "LOGICAL_AND": Row(plain(logical_and), (2, 2), BOOL, ()),
    "LOGICAL_NOT": Row(plain(logical_not), (1, 1), BOOL, ()),
    "LOGICAL_OR": Row(plain(logical_or), (2, 2), BOOL, ()),
    "MAXIMUM": _extreme(maximum),
    "MINIMUM": _extreme(minimum),
    "RIGHT_SHIFT": Row(plain(right_shift), (2, 2), frozenset(BITS), ()),
    "SELECT": _SELECT,
    "SELECT_V2": _SELECT,
}

WRITE: dict[str, Rule] = {
    **{name: writes(name.upper()) for name in comparisons},
    "bitwise_xor": writes("BITWISE_XOR"),
    "logical_and": writes("LOGICAL_AND"),
    "logical_not": writes("LOGICAL_NOT"),
    "logical_or": writes("LOGICAL_OR"),
    "maximum": writes("MAXIMUM"),
    "minimum": writes("MINIMUM"),
    "right_shift": writes("RIGHT_SHIFT"),
    "select": writes("SELECT_V2"),
}

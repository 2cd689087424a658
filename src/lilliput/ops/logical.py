"""Operators on truth values and on bits: logical_and, logical_or, logical_not, xor, shift.

Bits are those of stored integers, whatever their scale.  They broadcast as all element-wise
operators do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Op, Sample, Scalar
from lilliput.ir.types import Array, DType, TensorType, bools, s8, s16, s32
from lilliput.ops.common import check
from lilliput.ops.elementwise import broadcast_regions, pair
from lilliput.ops.registry import register

BITS = (DType.S8, DType.S16, DType.S32)

_TRUTHS = (
    Sample((bools(1, 5, 3, 7),) * 2),
    Sample((bools(2, 3, 4), bools(4)), params=(1,)),
    Sample((bools(5, 1), bools(3))),
    Sample((bools(), bools(2, 1, 3))),
)
_INTEGERS = (
    Sample((s8(1, 5, 3, 7, zero_point=4),) * 2),
    Sample((s8(2, 3), s8(3))),
    Sample((s16(2, 9), s16(9)), low=-40, high=40),
    Sample((s32(3, 5), s32(3, 1)), low=-40, high=40),
    Sample((s32(4), s32()), low=0, high=31),
)


def _two(
    name: str,
    doc: str,
    dtypes: tuple[DType, ...],
    function: Callable[[Array, Array], Array],
    c: str,
    oracle: str,
) -> Op:
    """c : the expression, over {a} and {b}."""

    def infer(_: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
        return (pair(types, dtypes, ()),)

    def ref(_: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
        return (np.asarray(function(*operands)),)

    return register(
        Op(
            name=name,
            doc=f"y = {doc}; a and b broadcast to y",
            infer=infer,
            ref=ref,
            grads=(None, None),
            regions=broadcast_regions,
            scalar=Scalar(lambda _, args: c.format(a=args[0], b=args[1])),
            samples=_TRUTHS if DType.BOOL in dtypes else _INTEGERS,
            dtypes=dtypes,
            oracle=oracle,
        )
    )


def _shifted(a: Array, n: Array) -> Array:
    most = 8 * a.dtype.itemsize - 1
    return np.right_shift(a, np.clip(n, 0, most).astype(a.dtype))


_BOOL = (DType.BOOL,)
logical_and = _two(
    "logical_and", "a and b", _BOOL, np.logical_and, "({a} && {b})", "TFLM LOGICAL_AND"
)
logical_or = _two("logical_or", "a or b", _BOOL, np.logical_or, "({a} || {b})", "TFLM LOGICAL_OR")
bitwise_xor = _two(
    "bitwise_xor", "a xor b, bit by bit", BITS, np.bitwise_xor, "({a} ^ {b})", "LiteRT BITWISE_XOR"
)
right_shift = _two(
    "right_shift",
    "a / 2^b, rounded down; b outside of the bits counts as the nearest of them",
    BITS,
    _shifted,
    "ll_shr({a}, {b})",
    "LiteRT RIGHT_SHIFT",
)


def _not_infer(_: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 1, "wrong number of operands", "x", len(types))
    check(types[0].dtype is DType.BOOL, "operand of this type", "bool", types[0].dtype.value)
    return (types[0],)


logical_not = register(
    Op(
        name="logical_not",
        doc="y = not x; x, y of one shape",
        infer=_not_infer,
        ref=lambda _, operands: (np.logical_not(operands[0]),),
        grads=(None,),
        regions=broadcast_regions,
        scalar=Scalar(lambda _, args: f"(!{args[0]})"),
        samples=(Sample((bools(1, 5, 3, 7),)), Sample((bools(9),)), Sample((bools(),))),
        dtypes=_BOOL,
        oracle="TFLM LOGICAL_NOT",
    )
)

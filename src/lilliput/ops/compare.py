"""Comparisons, minimum and maximum, and select: which of two elements.

Comparisons bring quantised operands to real steps of 2^-8 first where TFLite's reference
kernels do, else they compare integers as they are stored.  minimum, maximum and select
choose one of the operands, so that these have one quantisation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Op, Sample, Scalar
from lilliput.ir.types import Array, DType, TensorType, bools, f32, s8, s16, s32, s64
from lilliput.ops import element_rules
from lilliput.ops.bounds import monotone
from lilliput.ops.common import check
from lilliput.ops.elementwise import broadcast_regions, broadcast_shape, less, pair
from lilliput.ops.numeric import quantize_multiplier, requant
from lilliput.ops.registry import register

NUMBERS = (DType.F32, DType.S8, DType.S16, DType.S32, DType.S64)
LEFT = 8
"""Finer steps of a compared integer, in bits."""
LARGEST = 32
"""Scales below it leave every compared int16 within int32."""


# Comparisons ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """A row: the operator's name, its symbol in C, and its meaning in NumPy.

    scaled : types whose operands are brought to real steps
    """

    name: str
    symbol: str
    ufunc: np.ufunc
    dtypes: tuple[DType, ...] = NUMBERS
    scaled: tuple[DType, ...] = (DType.S8,)


COMPARISONS = (
    Comparison("equal", "==", np.equal, (*NUMBERS, DType.BOOL), (DType.S8, DType.S16)),
    Comparison("not_equal", "!=", np.not_equal, (*NUMBERS, DType.BOOL), (DType.S8, DType.S16)),
    Comparison("less", "<", np.less),
    Comparison("less_equal", "<=", np.less_equal),
    Comparison("greater", ">", np.greater),
    Comparison("greater_equal", ">=", np.greater_equal),
)


def _infer(row: Comparison) -> Callable[[Attrs, Sequence[TensorType]], tuple[TensorType, ...]]:
    def infer(_: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
        y = pair(types, row.dtypes, row.scaled)
        if y.dtype in row.scaled:
            scale = max(t.scale for t in types)
            check(scale < LARGEST, "scale is too large to compare", f"< {LARGEST}", scale)
        return (y.with_dtype(DType.BOOL),)

    return infer


def _ref(row: Comparison) -> Callable[[Node, Sequence[Array]], tuple[Array, ...]]:
    def ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
        a, b = operands
        if node.inputs[0].type.dtype in row.scaled:
            a, b = (
                requant(
                    (x.astype(np.int64) - v.type.zero_point) << LEFT,
                    *quantize_multiplier(v.type.scale),
                )
                for x, v in zip(operands, node.inputs, strict=True)
            )
        return (np.asarray(row.ufunc(a, b)),)

    return ref


def _scaled(t: TensorType, x: str) -> str:
    mult, shift = quantize_multiplier(t.scale)
    return f"ll_requant(ll_wrap_shl({less(x, t.zero_point)}, {LEFT}), {mult}, {shift})"


def _c(row: Comparison) -> Callable[[Node, Sequence[str]], str]:
    def c(node: Node, args: Sequence[str]) -> str:
        a, b = args
        if node.inputs[0].type.dtype in row.scaled:
            a, b = (_scaled(v.type, x) for v, x in zip(node.inputs, args, strict=True))
        if a == b and not node.inputs[0].type.dtype.is_float:
            return f"({a} - {b} {row.symbol} 0)"  # compilers object to comparing x with x
        return f"({a} {row.symbol} {b})"

    return c


def _comparison_samples(row: Comparison) -> tuple[Sample, ...]:
    same = s8(2, 3, 4, scale=0.5, zero_point=3)
    samples = (
        Sample((s8(5, 3, 7, scale=0.02, zero_point=4), s8(5, 3, 7, scale=0.05, zero_point=9))),
        Sample((same, same.with_shape(4))),
        Sample((s8(9, scale=1e-3, zero_point=127), s8(3, 1, scale=0.9, zero_point=-128))),
        Sample((s16(2, 9, scale=0.001), s16(9, scale=0.001)), low=-9, high=9),
        Sample((s16(5, 1, scale=0.1, zero_point=3), s16(9, scale=0.3)), low=-9, high=9),
        Sample((s32(3, 5), s32(3, 1)), low=-2, high=2),
        Sample((s64(3, 5), s64())),
        Sample((f32(1, 4, 4, 3), f32(3)), low=-3.0, high=3.0),
    )  # fmt: skip
    return (*samples, Sample((bools(3, 5), bools(5)))) if DType.BOOL in row.dtypes else samples


def _comparison(row: Comparison) -> Op:
    name = row.name.upper()
    oracle = dict.fromkeys(row.dtypes, f"TFLM {name}") | {DType.S16: f"LiteRT {name}"}
    return register(
        Op(
            name=row.name,
            doc=f"y = a {row.symbol} b, bool; a and b broadcast to y",
            infer=_infer(row),
            ref=_ref(row),
            grads=(None, None),
            regions=broadcast_regions,
            scalar=Scalar(_c(row)),
            samples=_comparison_samples(row),
            dtypes=row.dtypes,
            oracle=oracle,
        )
    )


comparisons = {row.name: _comparison(row) for row in COMPARISONS}


# minimum, maximum -------------------------------------------------------------------------


def _one_quant(a: TensorType, b: TensorType) -> None:
    check(a.quant == b.quant, "quantisation of the operands", a.quant, b.quant)
    check(a.quant is None or a.quant.is_per_tensor, "quantisation", "per tensor", "per axis")


def _extreme_infer(_: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    y = pair(types, NUMBERS, ())
    _one_quant(*types)
    return (y,)


def _extreme(name: str, ufunc: np.ufunc, symbol: str, float_c: str) -> Op:
    """a where `a symbol b`, else b: so that NaN and zeros of both signs are b."""

    def c(node: Node, args: Sequence[str]) -> str:
        a, b = args
        dtype = node.output.type.dtype
        if dtype.is_float:
            return f"{float_c}({b}, {a})"
        return f"{float_c.removesuffix('_f32')}{'_s64' if dtype is DType.S64 else ''}({a}, {b})"

    return register(
        Op(
            name=name,
            doc=f"y = a {symbol} b ? a : b; a and b broadcast to y, of one quantisation",
            infer=_extreme_infer,
            ref=lambda _, operands: (np.where(ufunc(*operands), *operands),),
            grads=element_rules.PAIRS[name],
            regions=broadcast_regions,
            bounds=monotone,
            scalar=Scalar(c),
            samples=(
                Sample((s8(1, 5, 3, 7, scale=0.02, zero_point=4),) * 2),
                Sample((s8(2, 3, 4, zero_point=-128), s8(4, zero_point=-128)), params=(1,)),
                Sample((s16(2, 9, scale=0.1), s16(9, scale=0.1))),
                Sample((s32(3, 5), s32(3, 1))),
                Sample((s64(3), s64(2, 1))),
                Sample((f32(1, 4, 4, 3), f32(3)), low=-3.0, high=3.0),
                Sample((f32(2, 1, 3), f32()), low=-1e30, high=1e30),
            ),
            dtypes=NUMBERS,
            oracle=f"TFLM {name.upper()}",
        )
    )


minimum = _extreme("minimum", np.less, "<", "ll_min_f32")
maximum = _extreme("maximum", np.greater, ">", "ll_max_f32")


# select -----------------------------------------------------------------------------------

SELECTED = (*NUMBERS, DType.U8, DType.BOOL)


def _select_infer(_: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 3, "wrong number of operands", "condition, a, b", len(types))
    condition, a, b = types
    check(condition.dtype is DType.BOOL, "condition of this type", "bool", condition.dtype.value)
    names = ", ".join(d.value for d in SELECTED)
    check(a.dtype in SELECTED, "operands of this type", names, a.dtype.value)
    check(a.dtype is b.dtype, "operand types differ", a.dtype, b.dtype)
    _one_quant(a, b)
    return (a.with_shape(*broadcast_shape([t.shape for t in types])),)


select = register(
    Op(
        name="select",
        doc="y = condition ? a : b; all broadcast to y; a and b of one quantisation",
        infer=_select_infer,
        ref=lambda _, operands: (np.where(*operands),),
        grads=element_rules.SELECT,
        regions=broadcast_regions,
        scalar=Scalar(lambda _, args: f"({args[0]} ? {args[1]} : {args[2]})"),
        samples=(
            Sample((bools(1, 5, 3, 7), *(s8(1, 5, 3, 7, scale=0.02, zero_point=4),) * 2)),
            Sample((bools(3, 1), s8(3, 4), s8(4)), params=(2,)),
            Sample((bools(), s16(2, 9, scale=0.1), s16(9, scale=0.1))),
            Sample((bools(4), s32(3, 1), s32())),
            Sample((bools(2, 3), s64(3), s64(2, 1))),
            Sample((bools(4, 4, 1), f32(1, 4, 4, 3), f32(3)), low=-3.0, high=3.0),
            Sample((bools(7),) * 3),
            Sample((bools(5), *(TensorType((6, 1), DType.U8),) * 2)),
        ),
        dtypes=SELECTED,
        oracle="LiteRT SELECT_V2",
    )
)

"""How elements fold into one: the table of reductions, without axes and without kernels.

One idea: a reduction is a row of `KINDS`, how one element more is folded into an accumulator,
and what becomes of the accumulator in the end.  Elements are folded in the order in which they
come, so that floats are exact too; csrc/fold.h is the C of it.  Which elements are folded, and
when, is said in `reduce`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lilliput.errors import TypeMismatch
from lilliput.ir.graph import Node
from lilliput.ir.types import Array, DType
from lilliput.ops.common import ACTIVATIONS, c_float
from lilliput.ops.numeric import (
    Rounding,
    quantize_multiplier,
    requant,
    requant_s64,
    saturate,
    scale_even,
)

NUMBERS = (*ACTIVATIONS, DType.S32, DType.S64)
ORDERED = (*NUMBERS, DType.BOOL)
PROD_SHIFTS = range(-31, 8)
"""Exponents of the multiplier of a quantised product, as TFLite takes them."""


@dataclass(frozen=True)
class Kind:
    """A row of the table: one reduction.

    fold : name of the functions in csrc/fold.h, without the type
    rows : (node, (results, n) elements in order) -> (results) accumulators
    finish : (node, accumulators) -> results, of the output's type
    c : (node, C expression of the accumulator) -> C expression of the element
    rescale : node -> (zero, mult, shift) of csrc/fold.h
    summed : whether small integers add up, and so have to fit in 32 bits
    """

    fold: str
    dtypes: tuple[DType, ...]
    rows: Callable[[Node, Array], Array]
    finish: Callable[[Node, Array], Array] = lambda node, acc: acc
    c: Callable[[Node, str], str] = lambda node, acc: acc
    rescale: Callable[[Node], tuple[int, int, int]] = lambda node: (0, 0, 0)
    summed: bool = False


def count(node: Node) -> int:
    return node.inputs[0].type.size // node.output.type.size


# Folds ------------------------------------------------------------------------------------


def _sums(node: Node, rows: Array) -> Array:
    if not node.output.type.dtype.is_float:
        return rows.astype(np.int64).sum(1)
    zero = np.zeros((rows.shape[0], 1), np.float32)
    return np.add.accumulate(np.concatenate([zero, rows], 1), axis=1, dtype=np.float32)[:, -1]


def _extremes(best: Callable[[Array], Array], last: float) -> Callable[[Node, Array], Array]:
    """The first of the best elements; floats beyond `last` (infinities) become it, as TFLite's
    search starts there."""

    def rows(node: Node, rows: Array) -> Array:
        found = np.take_along_axis(rows, best(rows)[:, None], 1)[:, 0]
        if not node.output.type.dtype.is_float:
            return found
        limit = np.float32(last)
        return np.where(found < limit if last > 0 else found > limit, found, limit)

    return rows


def _products(node: Node, rows: Array) -> Array:
    if node.inputs[0].type.dtype not in (DType.S8, DType.S16):
        with np.errstate(over="ignore"):
            return np.multiply.accumulate(rows, axis=1, dtype=rows.dtype)[:, -1]
    zero, mult, shift = prod_rescale(node)
    values = rows.astype(np.int64) - zero
    acc = values[:, 0]
    for k in range(1, values.shape[1]):
        acc = requant_s64(acc * values[:, k], mult, shift)
    return acc


# What the accumulator becomes -------------------------------------------------------------


def is_quantised(node: Node) -> bool:
    return node.inputs[0].type.dtype in (DType.S8, DType.S16)


def scaling(node: Node, divide: bool) -> tuple[int, int]:
    """(mult, shift) of an integer sum, or of a mean: divided by the count.

    The mean as TFLite's QuantizedMeanOrSum: the mantissa is moved up by the whole part of
    log2(n) before the division, no further than shift -31 allows.
    """
    x, y, n = node.inputs[0].type, node.output.type, count(node)
    mult, shift = quantize_multiplier(x.scale / y.scale)
    if not divide:
        return mult, shift
    up = min(n.bit_length() - 1, 32, 31 + shift)
    return (mult << up) // n, shift - up


def _scaled(node: Node, acc: Array, divide: bool) -> Array:
    mult, shift = scaling(node, divide)
    y, offset = node.output.type, node.inputs[0].type.zero_point * count(node)
    return saturate(requant(acc - offset, mult, shift) + y.zero_point, y)


def _scaled_c(node: Node, acc: str, divide: bool) -> str:
    mult, shift = scaling(node, divide)
    y, offset = node.output.type, node.inputs[0].type.zero_point * count(node)
    low, high = (bound - y.zero_point for bound in y.dtype.bounds)
    scaled = f"ll_requant({acc} - ({offset}), {mult}, {shift})"
    return f"ll_clamp({scaled}, {low}, {high}) + ({y.zero_point})"


def _sum_finish(node: Node, acc: Array) -> Array:
    return _scaled(node, acc, divide=False) if is_quantised(node) else acc


def _sum_c(node: Node, acc: str) -> str:
    return _scaled_c(node, acc, divide=False) if is_quantised(node) else acc


def is_even(node: Node) -> bool:
    """Whether the result is scaled by one float32, with ties to even."""
    return getattr(node.attrs, "rounding", Rounding.DOUBLE) is Rounding.EVEN


def _even_scale(node: Node) -> np.float32:
    """As MLAS has it: the operand's scale over that of the sum of `count` results."""
    x, y = node.inputs[0].type, node.output.type
    return np.float32(x.scale) / (np.float32(y.scale) * np.float32(count(node)))


def _mean_finish(node: Node, acc: Array) -> Array:
    if is_even(node):
        x, y = node.inputs[0].type, node.output.type
        centred = acc - x.zero_point * count(node)
        return scale_even(centred, _even_scale(node), y.zero_point, y.dtype.bounds)
    if is_quantised(node):
        return _scaled(node, acc, divide=True)
    if node.output.type.dtype.is_float:
        return acc / np.float32(count(node))
    return np.sign(acc) * (np.abs(acc) // count(node))


def _mean_c(node: Node, acc: str) -> str:
    if is_even(node):
        y, offset = node.output.type, node.inputs[0].type.zero_point * count(node)
        low, high = (bound - y.zero_point for bound in y.dtype.bounds)
        scale = c_float(float(_even_scale(node)))
        return f"ll_scale_even({acc} - ({offset}), {scale}, {low}, {high}) + ({y.zero_point})"
    if is_quantised(node):
        return _scaled_c(node, acc, divide=True)
    n = count(node)
    if node.output.type.dtype.is_float:
        return f"{acc} / {float(n)!r}f"
    return f"(int32_t)({acc} / {n})" if node.output.type.dtype is DType.S32 else f"{acc} / {n}"


def prod_rescale(node: Node) -> tuple[int, int, int]:
    """(zero, mult, shift): every product of two is scaled by x.scale / y.scale^(1/n), and so is
    the last one, as TFLite's QuantizedReduceProd does it to stay within 32 bits.

    Raises TypeMismatch where the multiplier is beyond what TFLite takes.
    """
    if not is_quantised(node):
        return 0, 0, 0
    x, y = node.inputs[0].type, node.output.type
    mult, shift = quantize_multiplier(x.scale / y.scale ** (1.0 / count(node)))
    if shift not in PROD_SHIFTS:
        raise TypeMismatch(
            "scale of a product",
            where=node.describe(),
            expected=f"a multiplier below 2^{PROD_SHIFTS[-1]}",
            found=f"2^{shift} from {x.scale} and {y.scale}",
            hint="choose a larger scale for the result",
        )
    return x.zero_point, mult, shift


def _prod_finish(node: Node, acc: Array) -> Array:
    if not is_quantised(node):
        return acc
    _, mult, shift = prod_rescale(node)
    y = node.output.type
    return saturate(requant_s64(acc, mult, shift) + y.zero_point, y)


def _prod_c(node: Node, acc: str) -> str:
    if not is_quantised(node):
        return acc
    _, mult, shift = prod_rescale(node)
    y = node.output.type
    low, high = (bound - y.zero_point for bound in y.dtype.bounds)
    scaled = f"ll_requant_s64({acc}, {mult}, {shift})"
    return f"ll_clamp({scaled}, {low}, {high}) + ({y.zero_point})"


LARGEST = float(np.finfo(np.float32).max)
KINDS: Mapping[str, Kind] = {
    "mean": Kind("sum", NUMBERS, _sums, _mean_finish, _mean_c, summed=True),
    "sum": Kind("sum", NUMBERS, _sums, _sum_finish, _sum_c, summed=True),
    "reduce_max": Kind("max", ORDERED, _extremes(lambda rows: rows.argmax(1), -LARGEST)),
    "reduce_min": Kind("min", ORDERED, _extremes(lambda rows: rows.argmin(1), LARGEST)),
    "reduce_prod": Kind("prod", NUMBERS, _products, _prod_finish, _prod_c, prod_rescale),
}


def accumulator(node: Node) -> DType:
    """Sums of int32 that are divided, and int64, take 64 bits; smaller integers 32."""
    dtype = node.inputs[0].type.dtype
    if dtype.is_float or dtype is DType.S64:
        return dtype
    return DType.S64 if node.op.name == "mean" and dtype is DType.S32 else DType.S32

"""C expressions that scale an int32 by a multiplier, as short as what is known of it allows.

One idea: TFLite's double rounding is `ll_requant` for every int32; for one whose magnitude is
known to leave a bit free, the product with its first rounding is one instruction on many cores,
and the second rounding is an addition and a shift.
"""

from __future__ import annotations

from lilliput.ir.types import DType, TensorType
from lilliput.ops.common import REQUANT_C
from lilliput.ops.numeric import Rounding

MOST_SHIFT = 20
"""Larger right shifts move a zero point out of 32 bits."""
HALF = 1 << 30
"""The multiplier 0.5: what scales by it and has zeros below is shifted, without rounding."""


def narrowed(twice: str, mult: str, offset: str, right: str, *, away: bool) -> str:
    """int8 of (mulh(twice, mult) + offset) >> right, saturated.

    away : ties of negative products are rounded away from zero; without it they are rounded up
    """
    scaled = (
        f"ll_away(ll_mulh_add({twice}, {mult}, 0)) + {offset}"
        if away
        else f"ll_mulh_add({twice}, {mult}, {offset})"
    )
    if right == "0":
        return f"ll_sat8({scaled})"
    literal = right.isdigit()
    return f"LL_SAT8_SHR({scaled}, {right})" if literal else f"ll_sat8(({scaled}) >> {right})"


def shifted(x: str, left: int) -> str:
    return f"ll_wrap_shl({x}, {left})" if left else x


def scaled(
    x: str, left: int, mult: int, shift: int, largest: int, rounding: Rounding = Rounding.DOUBLE
) -> str:
    """(x << left) * mult / 2^31 * 2^shift, rounded; |x| <= largest."""
    if rounding is Rounding.DOUBLE and mult == HALF and left + shift >= 1:
        return shifted(x, left + shift - 1)
    fits = largest << left + max(shift, 0) + 1 < 1 << 31
    if rounding is not Rounding.DOUBLE or not fits:
        return f"{REQUANT_C[rounding]}({shifted(x, left)}, {mult}, {shift})"
    product = f"ll_mulh_add({shifted(x, left + max(shift, 0) + 1)}, {mult}, 0)"
    return product if shift >= 0 else f"((ll_away({product}) + {1 << -shift - 1}) >> {-shift})"


def stored(x: str, mult: int, shift: int, largest: int, y: TensorType, rounding: Rounding) -> str:
    """x * mult / 2^31 * 2^shift plus the zero point of `y`, saturated to its elements."""
    zero, (low, high) = y.zero_point, y.dtype.bounds
    short = rounding is Rounding.DOUBLE and y.dtype is DType.S8 and -MOST_SHIFT <= shift <= 0
    if short and largest < 1 << 29:
        half = 1 << -shift - 1 if shift else 0
        offset = half + (zero << -shift)
        away = zero > low and shift < 0
        return narrowed(shifted(x, 1), str(mult), str(offset), str(-shift), away=away)
    whole = scaled(x, 0, mult, shift, largest, rounding)
    return f"ll_clamp({f'll_wrap_add({whole}, {zero})' if zero else whole}, {low}, {high})"

"""How the accumulator of a weighted sum becomes the element that is stored, in C.

One idea: requantisation is exact in every form, and the form is as short as what is known of the
sums allows.  In general it is `ll_requant` and a clamp.  Where the weights are constant and prove
that no sum leaves 30 bits (of a bias that is trained, how far it may move says so), the rounded
product, the offset of the last rounding and the zero point are one instruction, and shift and
saturation another:

    sat8((mulh(2a, m) + 2^(r-1) + (zp << r)) >> r)      TFLite's double rounding, shift -r

Rounding ties away from zero takes one off a negative product first (`ll_away`).  That is left
out where no negative product is seen: the zero point is the smallest element.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node, Value
from lilliput.ir.op import Finish
from lilliput.ir.types import Array, DType
from lilliput.ops.accumulate import (
    Conv2d,
    Linear,
    Parts,
    acc_type,
    float_scales,
    is_raw,
    layer,
    multipliers,
    weights_of,
)
from lilliput.ops.common import REQUANT_C, c_float
from lilliput.ops.numeric import Rounding
from lilliput.ops.scaling import MOST_SHIFT, narrowed

Load = Callable[[Value], str]


def finish(b: Builder, node: Node) -> Finish:
    """Requantisation of the accumulator, with literals where all channels agree."""
    return _finish(b, node, doubled=False)


def finish_doubled(b: Builder, node: Node) -> Finish:
    """The same of an accumulator that is twice the sum: a shift less where the form is short.

    For kernels whose weights and bias are doubled, which `doubles` has proven to be possible.
    """
    return _finish(b, node, doubled=True)


def doubles(node: Node, data: Mapping[str, Array]) -> str | None:
    """A kernel's proof that twice every sum fits in 32 bits."""
    largest = largest_sum(node, lambda value: data.get(value.name))
    if largest is None:
        return "nothing is known of the weights"
    most = int(largest.max())
    return None if most < 1 << 30 else f"twice a sum may reach {2 * most:,}, more than 32 bits hold"


def _finish(b: Builder, node: Node, *, doubled: bool) -> Finish:
    y = node.output.type
    if is_raw(node) or y.dtype.is_float:
        return Finish(lambda acc, load: f"{acc} >> 1" if doubled else acc)
    if layer(node).rounding is Rounding.EVEN:
        return _even(b, node, doubled=doubled)
    mult, shift = (np.array(x, np.int64) for x in multipliers(node))
    form = _short if _is_short(b, node, shift) else _general
    return form(b, node, mult, shift, doubled=doubled)


def largest_sum(node: Node, data: Callable[[Value], Array | None]) -> Array | None:
    """The largest magnitude that each output channel's sum can reach, for any input; None where
    weights or bias are not known.

    Bounds every partial sum of products too, with the bias that zero points were folded into and
    the accumulators that it goes on from.
    """
    plain = isinstance(node.attrs, Conv2d | Linear | Parts)
    if not plain or acc_type(node) is not DType.S32:
        return None
    x, weights = node.inputs[0], weights_of(node)
    low, high = x.type.dtype.bounds
    # |x| alone, not |x - zero point|: kernels add products of stored numbers to a folded bias
    reach = max(abs(low), high) + abs(x.type.zero_point)
    sums = np.zeros(1, np.int64)
    for value in weights:
        w = data(value)
        if w is None and len(weights) > 1:
            # of what is trained beside what is not, whatever it will be
            w = np.full(value.type.shape, value.type.dtype.bounds[0])
        if w is None:
            return None
        size = np.abs(w.astype(np.int64) - value.type.zero_point)
        sums = sums + reach * size.reshape(w.shape[0], -1).sum(1)
    for value in node.inputs[1 + len(weights) :]:
        begun = data(value)
        if begun is None:
            return None
        sums = sums + np.abs(begun.astype(np.int64).reshape(-1, begun.shape[-1])).max(0)
    return sums


def sizes_of(b: Builder) -> Callable[[Value], Array | None]:
    """The data of a builder's parameters, and the largest magnitudes of what is no constant."""

    def data(value: Value) -> Array | None:
        param = b.params.get(value.name)
        return param.data if param else b.magnitudes.get(value.name)

    return data


@dataclass(frozen=True)
class _Channels:
    """Numbers of the output channels: a literal where all channels agree, else an operand."""

    numbers: tuple[int | Value, ...]

    @staticmethod
    def of(b: Builder, node: Node, **numbers: Array) -> _Channels:
        types = {"shift": np.int8, "right": np.int8, "left": np.int8}

        def number(name: str, n: Array) -> int | Value:
            if (n == n[0]).all():
                return int(n[0])
            data = n.astype(types.get(name, np.int32))
            return b.param(f"{node.output.name}/{name}", data)

        return _Channels(tuple(number(*pair) for pair in numbers.items()))

    def operands(self) -> tuple[Value, ...]:
        return tuple(n for n in self.numbers if isinstance(n, Value))

    def load(self, load: Load) -> list[str]:
        """The C expressions of the numbers, in the order they were given."""
        return [load(n) if isinstance(n, Value) else str(n) for n in self.numbers]


def _is_short(b: Builder, node: Node, shift: Array) -> bool:
    largest = largest_sum(node, sizes_of(b))
    if largest is None or node.output.type.dtype is not DType.S8:
        return False
    in_range = shift.min() + MOST_SHIFT >= 0 and shift.max() < 29
    alike = not _rounds_away(node) or (shift < 0).all() or (shift >= 0).all()
    double = layer(node).rounding is Rounding.DOUBLE
    fits = in_range and (largest << np.maximum(shift, 0) < 1 << 29).all()
    return bool(fits and alike and double)


def _rounds_away(node: Node) -> bool:
    """Whether negative products are stored as more than the smallest element."""
    y = node.output.type
    return y.zero_point > y.dtype.bounds[0]


def _short(b: Builder, node: Node, mult: Array, shift: Array, *, doubled: bool) -> Finish:
    right, left = np.maximum(-shift, 0), np.maximum(shift, 0) + (not doubled)
    half = np.where(right > 0, 1 << np.maximum(right - 1, 0), 0)
    offset = half + (node.output.type.zero_point << right)
    away = _rounds_away(node) and right.min() > 0
    numbers = _Channels.of(b, node, mult=mult, offset=offset, right=right, left=left)

    def c(acc: str, load: Load) -> str:
        m, k, r, up = numbers.load(load)
        twice = acc if up == "0" else f"ll_wrap_shl({acc}, {up})"
        return narrowed(twice, m, k, r, away=away)

    return Finish(c, numbers.operands())


def _general(b: Builder, node: Node, mult: Array, shift: Array, *, doubled: bool) -> Finish:
    y = node.output.type
    wide = acc_type(node) is DType.S64
    scale = "ll_requant_s64" if wide else REQUANT_C[layer(node).rounding]
    low, high = (bound - y.zero_point for bound in y.dtype.bounds)
    numbers = _Channels.of(b, node, mult=mult, shift=shift)

    def c(acc: str, load: Load) -> str:
        m, s = numbers.load(load)
        single = f"({acc} >> 1)" if doubled else acc
        scaled = f"ll_clamp({scale}({single}, {m}, {s}), {low}, {high})"
        return f"{scaled} + {y.zero_point}" if y.zero_point else scaled

    return Finish(c, numbers.operands())


def _even(b: Builder, node: Node, *, doubled: bool) -> Finish:
    """By a float32 for each channel, a literal where all channels agree."""
    y, scales = node.output.type, float_scales(node)
    low, high = (bound - y.zero_point for bound in y.dtype.bounds)
    alike = (scales == scales[0]).all()
    each = None if alike else b.param(f"{node.output.name}/scale", np.array(scales))

    def c(acc: str, load: Load) -> str:
        single = f"({acc} >> 1)" if doubled else acc
        scale = load(each) if each else c_float(float(scales[0]))
        scaled = f"ll_scale_even({single}, {scale}, {low}, {high})"
        return f"{scaled} + {y.zero_point}" if y.zero_point else scaled

    return Finish(c, (each,) if each else ())

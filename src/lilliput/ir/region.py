"""Region rules: which part of an operand a part of the result needs.

A rule is data, one for every axis of every operand.  It names an axis of the node's
iteration space, which is the axes of its (first) output followed by the axes that it
sums over, and says how an interval [lo, hi) of that axis maps to an interval of the
operand's axis.  Halo, ring rows, phases and costs are derived from the rules; nothing
else in the system knows what a convolution reads.

    Pointwise   the same interval
    Window      a sliding window: convolution, pooling
    Spread      a window of results for each operand index: transposed convolution
    Scale       index * num // den: nearest-neighbour resize, upsampling
    Shift       index - by: padding, slicing, concatenation
    Whole       everything, whatever is asked for
    Reduce      as the inner rule, over an axis that is summed: the operand may be
                consumed in pieces, with an accumulator carried across them
"""

from __future__ import annotations

from dataclasses import dataclass

Interval = tuple[int, int]


def clamp(interval: Interval, extent: int) -> Interval:
    """The part of `interval` inside [0, extent); empty intervals keep lo <= hi."""
    lo = min(max(interval[0], 0), extent)
    return lo, max(lo, min(interval[1], extent))


@dataclass(frozen=True)
class Pointwise:
    """Index i reads i."""

    axis: int

    def needs(self, lo: int, hi: int) -> Interval:
        return lo, hi


@dataclass(frozen=True)
class Window:
    """Index i reads [i*stride - pad, i*stride - pad + (size-1)*dilation], step `dilation`."""

    axis: int
    size: int
    stride: int = 1
    dilation: int = 1
    pad: int = 0

    @property
    def reach(self) -> int:
        """Distance from the first to the last element of one window."""
        return (self.size - 1) * self.dilation

    def needs(self, lo: int, hi: int) -> Interval:
        return lo * self.stride - self.pad, (hi - 1) * self.stride - self.pad + self.reach + 1


@dataclass(frozen=True)
class Spread:
    """Index i reads every j with i in j*stride - pad + [0, size)."""

    axis: int
    size: int
    stride: int = 1
    pad: int = 0

    def needs(self, lo: int, hi: int) -> Interval:
        first = -((self.size - 1 - self.pad - lo) // self.stride)
        return first, (hi - 1 + self.pad) // self.stride + 1


@dataclass(frozen=True)
class Scale:
    """Index i reads i * num // den."""

    axis: int
    num: int
    den: int

    def needs(self, lo: int, hi: int) -> Interval:
        return lo * self.num // self.den, (hi - 1) * self.num // self.den + 1


@dataclass(frozen=True)
class Shift:
    """Index i reads i - by."""

    axis: int
    by: int

    def needs(self, lo: int, hi: int) -> Interval:
        return lo - self.by, hi - self.by


@dataclass(frozen=True)
class Whole:
    """Every index reads everything."""


@dataclass(frozen=True)
class Reduce:
    """`inner.axis` counts from the number of output axes upwards."""

    inner: Pointwise | Window

    @property
    def axis(self) -> int:
        return self.inner.axis

    def needs(self, lo: int, hi: int) -> Interval:
        return self.inner.needs(lo, hi)


AxisRule = Pointwise | Window | Spread | Scale | Shift | Whole | Reduce
OperandRule = tuple[AxisRule, ...]


def whole(rank: int) -> OperandRule:
    return (Whole(),) * rank


def pointwise(rank: int) -> OperandRule:
    return tuple(Pointwise(i) for i in range(rank))


def needs(rule: AxisRule, piece: Interval, extent: int) -> Interval:
    """The part of an operand's axis of `extent` that `piece` of the rule's axis reads."""
    if isinstance(rule, Whole):
        return 0, extent
    return clamp(rule.needs(*piece), extent) if piece[0] < piece[1] else (0, 0)

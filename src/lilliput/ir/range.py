"""What a value can hold: an interval of stored integers for each of its elements.

One idea: the two ends are arrays that broadcast to the value's shape, so that one form says
"every channel by itself", "each element" (a constant) and "anything of this type".  Operators
say how ends of operands become ends of results (`Op.bounds`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lilliput.ir.types import Array, TensorType


@dataclass(frozen=True, eq=False)
class Range:
    """Every element x satisfies low <= x <= high.

    low, high : integers, of the value's rank; each extent is the value's or 1
    sums : ends of the accumulators that a weighted sum is stored from, in the same form
    """

    low: Array
    high: Array
    sums: tuple[Array, Array] | None = None

    @staticmethod
    def full(type: TensorType) -> Range:
        """Everything that elements of an integer type can be."""
        low, high = type.dtype.bounds
        ones = (1,) * len(type.shape)
        return Range(np.full(ones, low, np.int64), np.full(ones, high, np.int64))

    @staticmethod
    def constant(data: Array) -> Range:
        return Range(data, data)

    @property
    def is_constant(self) -> bool:
        """Whether each element has one value, whatever the network is given."""
        return self.low is self.high or bool(np.array_equal(self.low, self.high))

    def along(self, axis: int, extent: int) -> tuple[Array, Array]:
        """The ends for each index of `axis`, whatever the others are: two int64 arrays (extent)."""
        rest = tuple(k for k in range(self.low.ndim) if k != axis)
        low, high = self.low.min(rest), self.high.max(rest)
        return (
            np.broadcast_to(low, (extent,)).astype(np.int64),
            np.broadcast_to(high, (extent,)).astype(np.int64),
        )

    def within(self, type: TensorType) -> Range:
        """The part inside the range of an integer type."""
        low, high = type.dtype.bounds
        if self.low is self.high:
            return self
        return Range(np.clip(self.low, low, high), np.clip(self.high, low, high), self.sums)


def compact(low: Array, high: Array) -> Range:
    """The range of these ends, with extent 1 along axes where neither changes."""
    for axis in range(low.ndim):
        if low.shape[axis] == high.shape[axis] > 1:
            first = low.take([0], axis), high.take([0], axis)
            if (low == first[0]).all() and (high == first[1]).all():
                low, high = first
    return Range(low, high)

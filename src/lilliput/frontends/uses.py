"""Who reads the tensors of a file, and as which integers.

What a layer's result is quantised to is said by whoever quantises it, sometimes behind an
activation that only cuts off or a node that only moves elements; what stored integers stand for,
by whoever reads them as reals.  A frontend says what each reader is (`Reading`); the rules are
here, for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from lilliput.ir import Quant

DEPTH = 8
"""Readers that are looked through."""

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Reading(Generic[K]):
    """One reader of a tensor.

    quantizes : makes the integers of `quant` of reals (None: integers that are not supported)
    dequantizes : takes integers for the reals of `quant`
    cuts, moves : keeps elements or the bounds instead of them, changes their places; in `result`
    """

    kind: Literal["quantizes", "dequantizes", "cuts", "moves", "other"]
    quant: Quant | None = None
    result: K | None = None


class Uses(Generic[K]):
    """Of one graph, whose tensors go by keys; `readings` is asked when it matters, for what is
    constant may be known later only."""

    def __init__(self, readings: Callable[[K], Sequence[Reading[K]]], outputs: AbstractSet[K]):
        self._readings, self._outputs = readings, outputs

    def target(self, key: K, depth: int = 0) -> Quant | None:
        """The int8 that all readers of reals make of them, if they make the same."""
        if key in self._outputs or depth > DEPTH:
            return None
        return _same([self._wanted(r, depth) for r in self._readings(key)])

    def _wanted(self, reading: Reading[K], depth: int) -> Quant | None:
        if reading.kind in ("cuts", "moves") and reading.result is not None:
            return self.target(reading.result, depth + 1)
        return reading.quant if reading.kind == "quantizes" else None

    def quantised_input(self, key: K, depth: int = 0) -> Quant | None:
        """The int8 that an input is quantised to, which may be moved before; None where anybody
        reads the reals."""
        if key in self._outputs or depth > DEPTH:
            return None
        found: list[Quant | None] = []
        for reading in self._readings(key):
            if reading.kind == "moves" and reading.result is not None:
                found.append(self.quantised_input(reading.result, depth + 1))
            else:
                found.append(reading.quant if reading.kind == "quantizes" else None)
        return _same(found)

    def stored(self, key: K, depth: int = 0) -> Quant | None:
        """What integers stand for, by the first who reads them as reals."""
        for reading in self._readings(key) if depth <= DEPTH else ():
            if reading.kind == "dequantizes":
                return reading.quant
            if reading.kind == "moves" and reading.result is not None:
                return self.stored(reading.result, depth + 1)
        return None


def _same(found: Sequence[Quant | None]) -> Quant | None:
    return found[0] if found and all(q == found[0] for q in found) else None

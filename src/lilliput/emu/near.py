"""How near an implementation that computes in floats comes to our integers.

One idea: ONNX Runtime and PyTorch run quantised files in floats of their own order, so a
difference is counted in steps of the scale of the tensor, and so many are allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.emu.prove import Difference, WayResult
from lilliput.ir.graph import Value
from lilliput.ir.interp import Run
from lilliput.ir.types import Array
from lilliput.tolerances import Bound


@dataclass(frozen=True)
class Near:
    """How near another implementation has to come: floats within a bound, integers within so many
    steps of their scale."""

    who: str
    floats: Bound
    steps: float


@dataclass(frozen=True)
class Shown:
    """A tensor that both have: its name in the file, and our value of the same elements."""

    tensor: str
    value: Value


def compare(
    shown: Sequence[Shown],
    found: Sequence[Sequence[Array]],
    expected: Sequence[Run],
    rows: frozenset[str],
    near: Near,
) -> WayResult:
    """Every tensor that is shown, of every call."""
    tensors = 0
    for number, (theirs, ours) in enumerate(zip(found, expected, strict=True)):
        for one, array in zip(shown, theirs, strict=True):
            want = ours.values[one.value.name]
            if one.value.name in rows:
                want = want.transpose(0, 3, 1, 2)
            bound, want, array = _comparable(one.value, want, array, near)
            tensors += 1
            broken = np.flatnonzero(bound.broken(want, array.reshape(want.shape)))
            if broken.size:
                at = int(broken[0])
                pair = float(want.reshape(-1)[at]), float(array.reshape(-1)[at])
                difference = Difference(
                    near.who, number, one.tensor, "output", at, *pair, int(broken.size)
                )
                return WayResult(near.who, tensors, difference)
    return WayResult(near.who, tensors, None)


def _comparable(value: Value, want: Array, found: Array, near: Near) -> tuple[Bound, Array, Array]:
    """(how far they may be apart, ours, theirs), both as reals or as plain numbers."""
    quant = value.type.quant
    if quant is None or not quant.is_per_tensor:
        bound = near.floats if value.type.dtype.is_float else Bound(0.0, 0.0)
        return bound, want, found
    if found.dtype == np.uint8:
        found = found.astype(np.int16) - 128
    if found.dtype.kind == "f":
        want = (want.astype(np.float64) - value.type.zero_point) * value.type.scale
        return Bound(near.steps * value.type.scale, 0.0), want, found
    return Bound(near.steps, 0.0), want.astype(np.float64), found

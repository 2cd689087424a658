"""How near floats must be to other implementations; integers are compared for equality.

One table for all tests.  Our own float results are equal bit for bit wherever they are
computed; these bounds are for sums that others add in another order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lilliput.ir import Array, DType


@dataclass(frozen=True)
class Bound:
    """|ours - theirs| <= absolute + relative * max |theirs| over the tensor."""

    relative: float
    absolute: float


FLOAT_MAX = np.finfo(np.float32).max
ONE_OPERATOR = {DType.F32: Bound(2e-6, 1e-6)}
WHOLE_NETWORK = {DType.F32: Bound(2e-5, 1e-5)}


def check_near(ours: Array, theirs: Array, bounds: dict[DType, Bound], what: str) -> None:
    """Fails naming `what` unless the arrays agree: integers and bool exactly."""
    theirs = np.asarray(theirs).reshape(ours.shape)
    bound = bounds.get(DType.of(ours.dtype))
    if bound is None:
        wrong = np.flatnonzero((ours != theirs).reshape(-1))
        assert wrong.size == 0, f"{what}: {wrong.size} elements differ, first at {wrong[:4]}"
        return
    # TFLite's "no activation" limits floats to the largest finite ones
    ours, theirs = (np.clip(a, -FLOAT_MAX, FLOAT_MAX) for a in (ours, theirs))
    finite = np.isfinite(theirs)
    assert np.array_equal(ours[~finite], theirs[~finite], equal_nan=True), f"{what}: not finite"
    ours, theirs = ours[finite].astype(np.float64), theirs[finite].astype(np.float64)
    allowed = bound.absolute + bound.relative * float(np.max(np.abs(theirs), initial=0.0))
    error = np.abs(ours - theirs)
    assert float(np.max(error, initial=0.0)) <= allowed, f"{what}: off by {error.max()}"

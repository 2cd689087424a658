"""How far floats may be from those of another implementation: one table.

One idea: integers are compared at 0 LSB and our own ways bit for bit, so this table is only about
floats that others sum in another order.  Every bound was measured on published networks and then
doubled; a network that needs more is a defect to look at, not a reason to widen a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lilliput.ir.types import Array


@dataclass(frozen=True)
class Bound:
    """|found - expected| <= absolute + relative * (largest |expected| of the tensor)."""

    absolute: float
    relative: float

    def broken(self, expected: Array, found: Array) -> Array:
        """bool, of the operands' shape: elements outside the bound; NaN is outside."""
        a, b = expected.astype(np.float64), found.astype(np.float64)
        limit = self.absolute + self.relative * float(np.max(np.abs(a), initial=0.0))
        return ~(np.abs(a - b) <= limit)


EXACT = Bound(0.0, 0.0)

BOUNDS = {
    # float32 networks: the same arithmetic, summed in another order.
    "TFLite Micro": Bound(1e-6, 2.5e-5),
    # float32 networks from ONNX files, and the float ends of quantised ones.
    "ONNX Runtime": Bound(2e-6, 5e-5),
    # int8 weights with float activations, which ONNX Runtime, or a program of PyTorch, rounds to
    # eight bits, layer by layer.
    "scales of run time": Bound(0.01, 0.05),
    # float32 modules: products in blocks, batch norm in the weights, functions of their own.
    "PyTorch": Bound(2e-6, 2e-5),
    # gradients of operators and of small networks, and ten steps: fewer sums than networks have.
    "PyTorch gradients": Bound(2e-6, 1e-6),
    # differences of float32 functions by steps of about a thousandth of their range.
    "differences": Bound(1e-6, 1.5e-3),
    # gradients of integers, whose scales are multiplied in at other places than those of floats.
    "gradients of integers": Bound(1e-30, 1e-6),
    # int8 weights with float activations: LiteRT quantises the activations of every layer to
    # eight bits on the fly, we multiply by the dequantised weights.
    "LiteRT": Bound(0.01, 0.05),
}

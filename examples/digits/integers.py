"""The digits network in int8: what is stored for each layer, and how it is found.

One idea: `QuantLayer` holds exactly what a TFLite file says about a layer, in NumPy.
Not a quantiser for other networks: ranges are the plain minimum and maximum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from network import F32, LAYERS, Layer, Weights, forward

I8 = NDArray[np.int8]
PIXEL_MAX = 16


@dataclass(frozen=True)
class Scale:
    """real = scale * (stored - zero_point), for one int8 tensor."""

    scale: float
    zero_point: int

    def store(self, real: NDArray[np.floating]) -> I8:
        """Rounds half to even and saturates to -128..127."""
        return np.clip(np.rint(real / self.scale) + self.zero_point, -128, 127).astype(np.int8)


@dataclass(frozen=True)
class QuantLayer:
    """A row of `LAYERS` in integers.

    weight: int8, shaped as `layer.shape`, zero point 0.  weight_scale: float32, one an output
    channel (axis 0 of conv, axis 3 of depthwise), a single one for dense.  bias: int32, one an
    output channel, of scale source.scale * weight_scale.  All three are empty for flatten.
    """

    layer: Layer
    weight: I8
    weight_scale: F32
    bias: NDArray[np.int32]
    source: Scale
    result: Scale


INPUT = Scale(float(np.float32(PIXEL_MAX / 255)), -128)
PROBABILITY = Scale(1 / 256, -128)
"""The softmax that `to_module` puts after the last layer: what TFLite fixes for int8."""


def quantise(weights: Weights, calibration: F32) -> tuple[QuantLayer, ...]:
    """int8 by the ranges seen on `calibration` (N,8,8,1), in pixels 0..16."""
    layers: list[QuantLayer] = []
    source = INPUT
    for layer, out in zip(LAYERS, forward(weights, calibration)[1:], strict=True):
        w = weights.get(layer.name, np.zeros(0, np.float32))
        bias = weights.get(layer.name + "/bias", np.zeros(0, np.float32))
        axes = {"conv": (1, 2, 3), "depthwise": (0, 1, 2), "dense": (0, 1)}.get(layer.kind)
        scale = np.atleast_1d(np.abs(w).max(axes) / 127) if layer.shape else w
        weight = np.rint(w / (scale[:, None, None, None] if layer.kind == "conv" else scale))
        result = covering(float(out.min()), float(out.max())) if layer.shape else source
        whole = np.rint(bias / (scale * np.float32(source.scale))).astype(np.int32)
        layers.append(QuantLayer(layer, weight.astype(np.int8), scale, whole, source, result))
        source = result
    return tuple(layers)


def covering(low: float, high: float) -> Scale:
    """The int8 scale that covers [low, high] and 0, with 0 on a whole step."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / 255))
    return Scale(scale, int(np.rint(-128 - low / scale)))

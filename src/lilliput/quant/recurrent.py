"""LSTMs in integers: the operator that the importer of .tflite files makes, from floats and data.

    x, h    the activations' type; h, which is the result, has one scale for all frames
    w, r    int8, one scale for each of the four gates, as the kernel multiplies a gate at once
    bias    in units of x.scale * w.scale of its gate
    c       int16, its scale the least power of two that covers the cell state of all frames

One idea: the scale of the cell state is the only one that no value of the float network shows, for
only its last frame comes out; so it is looked at where the operator is calculated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from lilliput.ir.graph import Node
from lilliput.ir.types import Array, Quant
from lilliput.ops.lstm import float_frames
from lilliput.quant.scheme import BIAS_LIMIT, SMALLEST, WEIGHT_LIMIT, Weights, along, stored_bias

GATES, LEAST_POWER, MOST_POWER = 4, -27, -9
"""Powers of two between which the kernel takes the scale of the cell state."""


def is_lstm(node: Node, params: Mapping[str, object]) -> bool:
    """Whether `node` is an LSTM of floats that begins with constant states."""
    constants = all(v.name in params for v in node.inputs[1:])
    return node.op.name == "lstm" and constants and node.inputs[0].type.dtype.is_float


def recurrent_name(node: Node) -> str:
    """Under which recurrent weights are kept; those of the input are under the result's name."""
    return f"{node.output.name}/recurrent"


def cell_reach(node: Node, operands: Sequence[Array]) -> float:
    """The largest magnitude of the cell state, over all frames and samples joined in x."""
    return max(float(np.abs(c).max()) for _, c in float_frames(node, operands))


def cell_quant(reach: float) -> Quant:
    power = math.ceil(math.log2(max(reach, SMALLEST) / 32767))
    return Quant.per_tensor(2.0 ** min(max(power, LEAST_POWER), MOST_POWER))


def gate_weights(data: Array, bias: Array | None, x_scale: float) -> Weights:
    """data (4H, I), bias (4H) or None : to the nearest step, one scale a gate."""
    flat = np.abs(data.astype(np.float64)).reshape(GATES, -1)
    scale = flat.max(1, initial=0.0) / WEIGHT_LIMIT[Weights.dtype]
    if bias is not None:
        reach = np.abs(bias.astype(np.float64)).reshape(GATES, -1).max(1, initial=0.0)
        scale = np.maximum(scale, reach / (x_scale * BIAS_LIMIT))
    scale = np.where(scale > SMALLEST, scale, 1.0).astype(np.float32)
    scales = tuple(float(s) for s in np.repeat(scale, len(data) // GATES))
    limit = WEIGHT_LIMIT[Weights.dtype]
    steps = np.rint(data.astype(np.float64) / along(scales, 2))
    whole = np.clip(steps, -limit, limit).astype(Weights.dtype.numpy)
    real = np.zeros(len(data)) if bias is None else bias
    return Weights(whole, scales, stored_bias(real, x_scale, scales))

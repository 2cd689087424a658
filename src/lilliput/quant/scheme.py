"""How numbers are represented, and what was decided for one network.

    Scheme      the form: types of activations and weights, which ends are symmetric
    Encodings   the outcome: a scale for each activation, integers for each layer's weights

One idea: calibration, equalisation, rounding and training end in `Encodings`, and `convert`
and `simulate` begin with them; neither asks how they were found.  Fewer bits, and bits that
differ from layer to layer, are a `Weights` of another dtype.

    activations  int8: real = scale * (q - zero_point), one scale a tensor
                 int16: real = scale * q
                 of all layers, or int16 of some and int8 of the others (`mixed`)
    weights      int8 in -127..127, one scale for each output channel (axis 0), no zero point
    biases       int32 (int64 beside int16) of scale x.scale * w.scale[o]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from lilliput.errors import UsageError
from lilliput.ir.graph import Node
from lilliput.ir.types import Array, DType, Quant, TensorType
from lilliput.ops.numeric import saturate

WEIGHT_LIMIT = {DType.S8: 127, DType.S4: 7}
"""Largest magnitude of a symmetric weight."""
BIAS_LIMIT = 2**30
"""Largest magnitude of a bias: half of int32 is left for the products."""
SMALLEST = float(np.finfo(np.float32).tiny) * 2.0**20
"""Scales below this have products that float32 cannot hold."""


@dataclass(frozen=True)
class Scheme:
    """activations : S8 or S16
    weights : S8; others are refused
    symmetric_heads : int8 outputs of the network have zero point 0, so that the sign of a logit
        is the sign of its integer
    """

    activations: DType = DType.S8
    weights: DType = DType.S8
    symmetric_heads: bool = False

    def __post_init__(self) -> None:
        if self.activations not in (DType.S8, DType.S16):
            raise UsageError(
                "no such activations", expected="int8 or int16", found=self.activations.value
            )
        if self.weights is not DType.S8:
            raise UsageError("no such weights", expected="int8", found=self.weights.value)


def bias_type(activations: DType) -> DType:
    """int64 beside int16: sums of int16 products leave int32 after some 500 of them."""
    return DType.S32 if activations is DType.S8 else DType.S64


def covering(dtype: DType, low: float, high: float, *, symmetric: bool = False) -> Quant:
    """The scale and zero point that cover [low, high] and 0, which is always exact."""
    low, high = min(low, 0.0), max(high, 0.0)
    first, last = dtype.bounds
    if symmetric or dtype is DType.S16:
        return Quant.per_tensor(_scale(max(-low, high) / last))
    scale = _scale((high - low) / (last - first))
    zero_point = int(np.clip(np.rint(first - low / scale), first, last))
    return Quant.per_tensor(scale, zero_point)


def _scale(real: float) -> float:
    """float32, as it is stored; 1 where nothing was seen but zeros."""
    return float(np.float32(real)) if real > SMALLEST else 1.0


@dataclass(frozen=True, eq=False)
class Weights:
    """data (O, ...), of `dtype`; scale (O); bias (O), int64 in units of x.scale * scale[o]."""

    data: Array
    scale: tuple[float, ...]
    bias: Array
    dtype: DType = DType.S8

    @property
    def quant(self) -> Quant:
        return Quant(self.scale, (0,) * len(self.scale), 0)

    @property
    def real(self) -> Array:
        """The weights that the integers stand for, float64, in the shape of `data`."""
        return self.data.astype(np.float64) * along(self.scale, self.data.ndim)

    def with_bias(self, real: Array, x_scale: float) -> Weights:
        """With the bias that is nearest to `real` (O)."""
        return replace(self, bias=stored_bias(real, x_scale, self.scale))


@dataclass(frozen=True, eq=False)
class Encodings:
    """activations : value name -> its quantisation; weights : name of a product's (first) result
    -> its weights
    wide : values that are int16 although the scheme says int8
    views : value name -> its quantisation where a layer of int16 reads it, or of a value in `wide`
        where a layer of int8 does
    """

    scheme: Scheme
    activations: Mapping[str, Quant]
    weights: Mapping[str, Weights] = field(default_factory=dict[str, Weights])
    wide: frozenset[str] = frozenset()
    views: Mapping[str, Quant] = field(default_factory=dict[str, Quant])

    def dtype(self, name: str) -> DType:
        return DType.S16 if name in self.wide else self.scheme.activations

    def type(self, real: TensorType, name: str) -> TensorType:
        """The integer type of the float value `name`."""
        return real.with_dtype(self.dtype(name), self.activations[name])

    def read(self, real: TensorType, name: str, dtype: DType) -> TensorType:
        """The type in which a layer of `dtype` reads the float value `name`."""
        if self.dtype(name) is dtype:
            return self.type(real, name)
        return real.with_dtype(dtype, self.views[name])

    def layer(self, node: Node) -> DType:
        """The type that `node` calculates in: that of its float results, or else the widest of
        its float operands."""
        if node.output.type.dtype.is_float:
            return self.dtype(node.output.name)
        wide = any(v.name in self.wide for v in node.inputs)
        return DType.S16 if wide else self.scheme.activations


def along(values: tuple[float, ...] | Array, rank: int) -> Array:
    """(O) as float64 (O, 1, ...) of `rank` axes."""
    return np.asarray(values, np.float64).reshape(-1, *[1] * (rank - 1))


def weight_scales(
    data: Array, bias: Array | None, x_scale: float, dtype: DType = DType.S8
) -> tuple[float, ...]:
    """A scale for each output channel: the largest weight, and the bias, can be said in it.

    A channel of zeros gets the largest scale of the others, so that its bias has a unit.
    """
    flat = np.abs(data.astype(np.float64)).reshape(len(data), -1)
    scale = flat.max(1, initial=0.0) / WEIGHT_LIMIT[dtype]
    if bias is not None:
        scale = np.maximum(scale, np.abs(bias.astype(np.float64)) / (x_scale * BIAS_LIMIT))
    common = float(scale.max(initial=0.0))
    common = common if common > SMALLEST else 1.0
    scale = np.where(scale > max(SMALLEST, common * 2.0**-40), scale, common)
    return tuple(float(s) for s in scale.astype(np.float32))


def quantise_weights(
    data: Array, bias: Array | None, x_scale: float, dtype: DType = DType.S8
) -> Weights:
    """Every weight to the nearest step; the bias to the nearest unit of its sum."""
    scale = weight_scales(data, bias, x_scale, dtype)
    limit = WEIGHT_LIMIT[dtype]
    steps = np.rint(data.astype(np.float64) / along(scale, data.ndim))
    whole = np.clip(steps, -limit, limit).astype(dtype.numpy)
    real = np.zeros(len(data)) if bias is None else bias
    return Weights(whole, scale, stored_bias(real, x_scale, scale), dtype)


def stored_bias(real: Array, x_scale: float, scale: tuple[float, ...]) -> Array:
    """(O) reals as int64 in units of x_scale * scale[o]."""
    unit = np.float64(np.float32(x_scale)) * np.asarray(scale, np.float64)
    return np.clip(np.rint(real.astype(np.float64) / unit), -(2**31 - 1), 2**31 - 1).astype(
        np.int64
    )


def stored_constant(data: Array, type: TensorType) -> Array:
    """A constant operand that is no weight: reals as elements of `type`."""
    steps = np.rint(data.astype(np.float64) / type.scale) + type.zero_point
    return saturate(steps, type)

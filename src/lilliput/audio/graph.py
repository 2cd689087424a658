"""A front end as a graph: frames, rfft, magnitude or power, filter_bank, log2, matmul, requantize.

One idea: what turns stored integers into reals (the scale of window and transform, the base of the
logarithm) is the scale and zero point of the logarithm, and the last step brings it to those
of the network's input.  docs/audio.md says every step with its bits.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from lilliput.audio.describe import BAND_FRACTION, Q15, WINDOW, FrontEnd, LogMel, Mfcc, Spectra
from lilliput.audio.tables import cosines, hann
from lilliput.errors import UsageError
from lilliput.ir.build import Builder
from lilliput.ir.graph import Value
from lilliput.ir.interp import Session
from lilliput.ir.module import Module
from lilliput.ir.types import Array, DType, Quant, TensorType, s16
from lilliput.ops.fourier import rfft
from lilliput.ops.framing import Frames, frames
from lilliput.ops.matmul import MatMul, matmul
from lilliput.ops.quantize import Requantize, dequantize, requantize
from lilliput.ops.spectrum import (
    LOG_FRACTION,
    Bins,
    FilterBank,
    Log2,
    filter_bank,
    log2,
    magnitude,
    power,
)

SAMPLES = "samples"
RESULTS = (DType.S8, DType.S16, DType.F32)
INT16_MAX = 32767

Samples = npt.NDArray[np.int16]


def module(front: FrontEnd, count: int, type: TensorType | None = None) -> Module:
    """From samples (1, blocks, axes, stride) to features (1, count, axes, features).

    type : element type and quantisation of the features; None: int16, with the smallest scale at
        which nothing saturates
    Raises UsageError for no frames, or a type that features cannot have.
    """
    if count < 1:
        raise UsageError("frames", where=_name(front), expected=">= 1", found=str(count))
    b = Builder(names=set())
    return b.module([build(b, front, count, type)], name="front_end")


def build(b: Builder, front: FrontEnd, count: int, type: TensorType | None) -> Value:
    """Adds the input and the nodes of `module` to `b`."""
    _require_type(front, type)
    x = s16(1, count + _reach(front) - 1, front.axes, front.stride, scale=1 / Q15)
    samples = b.input(SAMPLES, x)
    if isinstance(front, Mfcc):
        return _coefficients(b, front, _log_mel(b, front.mel, samples), type)
    if isinstance(front, LogMel):
        return _stored(b, _log_mel(b, front, samples), type, _largest_log(front))
    return _stored(b, _log_spectra(b, front, samples), type, _largest_log(front))


def features(front: FrontEnd, samples: Samples, type: TensorType | None = None) -> Array:
    """(T) or (T, axes) samples -> (frames, ...) features: what the graph gives, to the bit.

    Samples behind the last whole block of `stride` are left out.  Raises UsageError.
    """
    axes = () if front.axes == 1 else (front.axes,)
    if samples.dtype != np.int16 or samples.ndim != 1 + len(axes) or samples.shape[1:] != axes:
        raise UsageError(
            "samples",
            where=_name(front),
            expected=f"int16 of shape ({', '.join(('T', *map(str, axes)))})",
            found=f"{samples.dtype} of shape {samples.shape}",
        )
    count = len(samples) // front.stride - _reach(front) + 1
    if count < 1:
        least = _reach(front) * front.stride
        raise UsageError(
            "too few samples for one window",
            where=_name(front),
            expected=f"{least} at least",
            found=str(len(samples)),
        )
    graph = module(front, count, type)
    found = Session(graph).run({SAMPLES: blocks(front, samples)}).outputs
    return next(iter(found.values())).reshape(count, *front.shape)


def blocks(front: FrontEnd, samples: Samples) -> Samples:
    """(T) or (T, axes) samples as the graph takes them: (1, blocks, axes, stride)."""
    count = len(samples) // front.stride
    cut = samples[: count * front.stride].reshape(count, front.stride, front.axes)
    return np.ascontiguousarray(cut.swapaxes(1, 2))[None]


def _name(front: FrontEnd) -> str:
    return front.__class__.__name__


def _reach(front: FrontEnd) -> int:
    """Blocks of `stride` samples that a window lies in."""
    return -(-front.window // front.stride)


def _require_type(front: FrontEnd, type: TensorType | None) -> None:
    if type is None:
        return
    quantised = type.dtype.is_float or (type.quant is not None and type.quant.is_per_tensor)
    if type.dtype not in RESULTS or not quantised:
        raise UsageError(
            "type of the features",
            where=_name(front),
            expected="s8 or s16 with one scale, or f32",
            found=f"{type}, {type.quant or 'without a scale'}",
        )


# From samples to logarithms ---------------------------------------------------------------


def _transform(b: Builder, front: LogMel | Spectra, samples: Value) -> Value:
    window = np.floor(hann(front.window) * WINDOW + 0.5).astype(np.int16)
    cut = b.add(frames, (samples, b.param("window", window)), Frames(front.fft), name="frames")
    return b.add(rfft, (cut,), name="rfft")


def _log_mel(b: Builder, front: LogMel, samples: Value) -> Value:
    weights = np.minimum(np.floor(front.weights() * Q15 + 0.5), INT16_MAX).astype(np.int16)
    used = np.flatnonzero(weights.any(0))
    bins = Bins(int(used[0]), int(used[-1] - used[0]) + 1)
    squared = front.spectrum == "power"
    found = b.add(
        power if squared else magnitude, (_transform(b, front, samples),), bins, name="bins"
    )
    held = [np.flatnonzero(row) for row in weights]
    bank = FilterBank(
        tuple(int(k[0]) - bins.first if k.size else 0 for k in held),
        tuple(int(k[-1] - k[0]) + 1 if k.size else 0 for k in held),
        15 if squared else 15 - BAND_FRACTION,
    )
    packed = np.concatenate([row[k[0] : k[-1] + 1] for row, k in zip(weights, held, strict=True)])
    bands = b.add(filter_bank, (found, b.param("mel", packed)), bank, name="bands")
    tenth = 10 if squared else 20
    factor = 1.0 if front.log == "natural" else tenth / math.log(10)
    return _log(b, front, bands, factor)


def _log_spectra(b: Builder, front: Spectra, samples: Value) -> Value:
    every = Bins(0, front.fft // 2 + 1)
    found = b.add(magnitude, (_transform(b, front, samples),), every, name="bins")
    return _log(b, front, found, 1.0)


def _log(b: Builder, front: LogMel | Spectra, x: Value, factor: float) -> Value:
    """Of `x` and the offset, in units of `factor` for each step of the natural logarithm."""
    scale = factor * math.log(2) / (1 << LOG_FRACTION)
    zero = -math.log(front.unit) * factor / scale
    quant = Quant.per_tensor(scale, math.floor(zero + 0.5))
    type = TensorType(x.type.shape, DType.S32, quant)
    offset = Log2(offset=round(front.log_offset / front.unit))
    return b.add(log2, (x,), offset, type=type, name="logarithm")


def _largest_log(front: LogMel | Spectra) -> float:
    """A magnitude that no logarithm exceeds."""
    most = front.window / 2 + 1
    factor = 1.0
    if isinstance(front, LogMel):
        squared = front.spectrum == "power"
        most = (most**2 if squared else most) * float(front.weights().sum(1).max())
        factor = 1.0 if front.log == "natural" else (10 if squared else 20) / math.log(10)
    return factor * max(abs(math.log(front.log_offset)), abs(math.log(most + front.log_offset)))


# From logarithms to features --------------------------------------------------------------


def _stored(b: Builder, x: Value, type: TensorType | None, most: float) -> Value:
    """`x` as elements of `type`; of None as int16 that hold numbers up to `most`."""
    if type is not None and type.dtype.is_float:
        return b.add(dequantize, (x,), name="features")
    dtype = DType.S16 if type is None else type.dtype
    quant = Quant.per_tensor(most / INT16_MAX) if type is None else type.quant
    held = x.type.with_dtype(dtype, quant)
    return b.add(requantize, (x,), Requantize(dtype), type=held, name="features")


def _coefficients(b: Builder, front: Mfcc, logs: Value, type: TensorType | None) -> Value:
    """The cosine transform of int16 logarithms, in int16: of int8 features with 7 bits more."""
    most = _largest_log(front.mel)
    matrix = cosines(front.mel.mels, front.coefficients)
    step = float(np.abs(matrix).max()) / INT16_MAX
    weights = np.floor(matrix / step + 0.5).astype(np.int16)[None, None]
    wide = _stored(b, logs, None, most)
    scale = most * float(np.abs(matrix).sum(0).max()) / INT16_MAX
    quant = Quant.per_tensor(scale)
    if type is not None and type.dtype is DType.S8:
        quant = Quant.per_tensor(type.scale / 128)
    if type is not None and type.dtype is DType.S16 and type.zero_point == 0:
        quant = type.quant or quant
    operands = wide, b.param("cosines", weights, Quant.per_tensor(step))
    shape = (*logs.type.shape[:-1], front.coefficients)
    y = b.add(
        matmul, operands, MatMul(), type=TensorType(shape, DType.S16, quant), name="coefficients"
    )
    same = type is None or (type.dtype is DType.S16 and type.quant == quant)
    return y if same else _stored(b, y, type, most)

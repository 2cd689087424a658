"""Front ends in float64: the definition that fixed point is measured against."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lilliput.audio.describe import FrontEnd, LogMel, Mfcc
from lilliput.audio.tables import Reals, cosines, hann

Samples = npt.NDArray[np.int16]


def _magnitudes(samples: Samples, window: int, stride: int, fft: int) -> Reals:
    """(T, ...) -> (frames, ..., fft/2 + 1), of windows whose blocks are whole."""
    count = len(samples) // stride - -(-window // stride) + 1
    sound = samples.astype(np.float64) / 32768
    cut = np.stack([sound[k * stride : k * stride + window] for k in range(count)])
    return np.abs(np.fft.rfft(np.moveaxis(cut, 1, -1) * hann(window), fft))


def reference(front: FrontEnd, samples: Samples) -> Reals:
    """(T) or (T, axes) samples -> (frames, ...) features, as `tf.signal` defines them."""
    if isinstance(front, Mfcc):
        return _log_mel(front.mel, samples) @ cosines(front.mel.mels, front.coefficients)
    if isinstance(front, LogMel):
        return _log_mel(front, samples)
    found = _magnitudes(samples, front.window, front.stride, front.fft)
    return np.log(found.reshape(-1, *front.shape) + front.log_offset)


def _log_mel(front: LogMel, samples: Samples) -> Reals:
    spectrum = _magnitudes(samples, front.window, front.stride, front.fft)
    power = front.spectrum == "power"
    bands = (spectrum**2 if power else spectrum) @ front.weights().T
    logs = np.log(bands + front.log_offset)
    return logs if front.log == "natural" else logs * ((10 if power else 20) / np.log(10))

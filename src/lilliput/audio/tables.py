"""The constants of a front end, in float64: windows, mel triangles, the cosine transform.

The definitions are those of `tf.signal` (hann_window, linear_to_mel_weight_matrix,
mfccs_from_log_mel_spectrograms), which keyword networks are trained on.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]


def hann(window: int) -> Reals:
    """The periodic Hann window."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)


def mel(hertz: Reals) -> Reals:
    """HTK's mel scale."""
    return 1127.0 * np.log1p(hertz / 700.0)


def triangles(sample_rate: int, fft: int, mels: int, low: float, high: float) -> Reals:
    """(mels, fft/2 + 1): triangles that overlap by half, of height 1, straight on the mel scale.

    The bin of frequency 0 belongs to none.
    """
    bins = mel(np.arange(fft // 2 + 1) * sample_rate / fft)
    ends = mel(np.array([low, high]))
    edges: Reals = ends[0] + (ends[1] - ends[0]) * np.arange(mels + 2)[:, None] / (mels + 1)
    below, centre, above = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - below) / (centre - below), (above - bins) / (above - centre)
    weights = np.maximum(0.0, np.minimum(rising, falling))
    weights[:, 0] = 0.0
    return weights


def cosines(mels: int, coefficients: int) -> Reals:
    """(mels, coefficients): DCT-II with sqrt(2 / mels), the first coefficient like the others."""
    n, k = np.arange(mels)[:, None], np.arange(coefficients)[None]
    return np.sqrt(2.0 / mels) * np.cos(np.pi / mels * (n + 0.5) * k)

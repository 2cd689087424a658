"""From what was seen of a value to the range that its integers cover.

    minmax      all that was seen
    percentile  all but a share of the elements at each end
    mse         the range with the least squared error, clipping included
    kl          the range whose integers keep the distribution: the least Kullback-Leibler
                divergence (the entropy calibration of TensorRT, Migacz 2017)

One idea: a `Seen` is a histogram over the extremes of a value, and a method is a function of it;
nothing here sees an array of activations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lilliput.ir.types import Array

BINS = 2048
PERCENTILE = 99.99
LEVELS = 255
"""Steps of int8 between its ends."""


@dataclass(frozen=True, eq=False)
class Seen:
    """Elements of a value over all samples.

    low, high : extremes; counts (BINS) : elements by equal parts of [low, high]
    levels : steps of the integers between their ends
    """

    low: float
    high: float
    counts: Array
    levels: int = LEVELS

    @property
    def centres(self) -> Array:
        width = (self.high - self.low) / BINS
        return self.low + width * (np.arange(BINS) + 0.5)


Method = Callable[[Seen], tuple[float, float]]


def minmax(seen: Seen) -> tuple[float, float]:
    return seen.low, seen.high


def percentile(seen: Seen) -> tuple[float, float]:
    """Leaves out 100 - PERCENTILE percent of the elements, half of them at each end."""
    share = (1 - PERCENTILE / 100) / 2
    below = np.cumsum(seen.counts) / max(int(seen.counts.sum()), 1)
    width = (seen.high - seen.low) / BINS
    first = int(np.searchsorted(below, share, side="right"))
    last = int(np.searchsorted(below, 1 - share, side="left"))
    low = seen.low if seen.low >= 0 else seen.low + width * first
    return low, seen.low + width * (min(last, BINS - 1) + 1)


def mse(seen: Seen) -> tuple[float, float]:
    """The best of the range and 79 smaller ones, each end scaled alike."""
    x, n = seen.centres, seen.counts
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    best, found = np.inf, (low, high)
    for share in np.linspace(1.0, 0.21, 80):
        a, b = low * share, high * share
        step = (b - a) / seen.levels
        stored = np.rint(np.clip(x, a, b) / step) * step
        error = float(np.sum(n * (stored - x) ** 2))
        if error < best:
            best, found = error, (a, b)
    return found


def kl(seen: Seen) -> tuple[float, float]:
    """The best threshold of |x|; both ends are clipped at it."""
    top = max(-seen.low, seen.high)
    index = np.minimum((np.abs(seen.centres) / top * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(index, weights=seen.counts, minlength=BINS)
    counts[0] = counts[1]  # zeros, of which a rectifier makes most, are exact in any range
    if not counts.any():
        return minmax(seen)
    levels = LEVELS + 1 if seen.low >= 0 or seen.high <= 0 else (LEVELS + 1) // 2
    best, limit = np.inf, BINS
    for bins in range(levels, BINS + 1, 16):
        found = _divergence(counts, bins, levels)
        if found < best:
            best, limit = found, bins
    threshold = top * limit / BINS
    return max(seen.low, -threshold), min(seen.high, threshold)


def _divergence(counts: Array, bins: int, levels: int) -> float:
    """Of the first `bins`, the rest added to the last of them, from itself in `levels` steps."""
    p = counts[:bins].copy()
    kept = p > 0
    group = np.arange(bins) * levels // bins
    mass = np.bincount(group, weights=p, minlength=levels)
    filled = np.bincount(group, weights=kept, minlength=levels)
    q = np.where(kept, (mass / np.maximum(filled, 1))[group], 0.0)
    p[-1] += counts[bins:].sum()
    both = (p > 0) & (q > 0)
    missing = float(p[~both].sum())
    p, q = p / p.sum(), q / max(float(q.sum()), 1e-30)
    lost = missing / max(float(counts.sum()), 1e-30)
    return float(np.sum(p[both] * np.log(p[both] / q[both]))) + lost * np.log(BINS)


METHODS: dict[str, Method] = {"minmax": minmax, "percentile": percentile, "mse": mse, "kl": kl}

"""What is believed of gains that were measured with noise: no more than the noise leaves.

Of forty candidates that are worth the same the largest measured gain is one of luck.  Three things
are known beside the measurements, and used:

    noise       each gain is measured several times, with other examples held out and another head:
                how much these differ says how far a mean is to be believed
    shares      a share r of a layer's channels is worth sqrt(r) of all: one number a layer, from
                all of its shares, and more of a layer is never worth less
    prior       late layers, and those that widen, are worth more (`prior`)

Measured means are drawn to the nearest multiple of the prior, by the share of their scatter around
it that is noise, and that multiple to 0 by its own error: empirical Bayes (Efron and Morris 1973;
between-candidate variance by moments, DerSimonian and Laird 1986).  Exact measurements are left as
they are; where nothing is told apart, the prior decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

from lilliput.ir import Array
from lilliput.train.layers import Layer
from lilliput.train.schemes import UpdateScheme


@dataclass(frozen=True)
class Score:
    """Mean cross-entropy and accuracy on what was held out; a diverged training has no loss."""

    loss: float
    accuracy: float


class OfParts:
    """Figures of each part of the examples that was held out, and their means."""

    losses: tuple[float, ...]
    accuracies: tuple[float, ...]

    @property
    def loss(self) -> float:
        return sum(self.losses) / len(self.losses)

    @property
    def accuracy(self) -> float:
        return sum(self.accuracies) / len(self.accuracies)


@dataclass(frozen=True)
class Gain(OfParts):
    """losses, accuracies : of each part that was held out, what the loss falls by and the accuracy
    rises by where `scheme` is trained and not `over` alone; -inf, and minus all of it, where it
    diverged."""

    scheme: UpdateScheme
    over: UpdateScheme
    losses: tuple[float, ...]
    accuracies: tuple[float, ...]


@dataclass(frozen=True)
class Gains:
    """The additive model: bias depth -> gain; layer -> share -> gain on top."""

    biases: Mapping[int, float]
    weights: Mapping[int, Mapping[float, float]]

    def __call__(self, scheme: UpdateScheme) -> float:
        """Raises KeyError for choices that it does not know."""
        depth = self.biases[scheme.biases] if scheme.biases else 0.0
        return depth + sum(self.weights[i][r] for i, r in scheme.weights.items())

    def known(self, scheme: UpdateScheme) -> float | None:
        """The same, None for choices that it does not know."""
        try:
            return self(scheme)
        except KeyError:
            return None


@dataclass(frozen=True)
class Contribution:
    """head : the score of training the head alone; gains : of every candidate, biases first."""

    head: Score
    gains: tuple[Gain, ...]

    @cached_property
    def errors(self) -> tuple[float, float]:
        """Standard errors of the mean gains of biases, and of weights: as the parts disagree,
        pooled over candidates."""
        biases = [g.losses for g in self.gains if not g.scheme.weights]
        return _error(biases), _error([g.losses for g in self.gains if g.scheme.weights])

    def model(self, assumed: Gains) -> Gains:
        """What is believed, in held-out loss, of the choices of which `assumed` is the prior."""
        of_biases, of_weights = self.errors
        measured = {g.scheme.biases: g.loss for g in self.gains if not g.scheme.weights}
        depths = sorted(k for k in measured if k in assumed.biases)
        believed = shrunk(
            [measured[k] for k in depths],
            [of_biases**2] * len(depths),
            [assumed.biases[k] for k in depths],
        )
        biases = dict(zip(depths, believed, strict=True))
        return Gains(biases, self._weights(assumed, of_weights))

    def _weights(self, assumed: Gains, error: float) -> dict[int, dict[float, float]]:
        shares: dict[int, dict[float, float]] = {}
        for gain in self.gains:
            for layer, share in gain.scheme.weights.items():
                if layer in assumed.weights:
                    shares.setdefault(layer, {})[share] = gain.loss
        least = {
            i: min((r for r in s if s[r] == -math.inf), default=2.0) for i, s in shares.items()
        }
        kept = {i: {r: g for r, g in s.items() if r < least[i]} for i, s in shares.items()}
        layers = sorted(i for i in kept if kept[i])
        rooms = [sum(kept[i]) for i in layers]
        whole = shrunk(
            [
                sum(math.sqrt(r) * g for r, g in kept[i].items()) / room
                for i, room in zip(layers, rooms, strict=True)
            ],
            [error**2 / room for room in rooms],
            [max(w / math.sqrt(r) for r, w in assumed.weights[i].items()) for i in layers],
        )
        return {
            i: {r: math.sqrt(r) * value for r in assumed.weights[i] if r < least[i]}
            for i, value in zip(layers, whole, strict=True)
        }

    def to_json(self) -> dict[str, object]:
        rows = [
            {
                "scheme": str(g.scheme),
                "over": str(g.over),
                "loss": g.loss if math.isfinite(g.loss) else None,
                "accuracy": g.accuracy,
            }
            for g in self.gains
        ]
        return {"head": asdict(self.head), "errors": list(self.errors), "gains": rows}


def _error(rows: Sequence[Sequence[float]]) -> float:
    """The standard error of a row's mean, from the variance within rows; what diverged is left
    out, and a row of one number tells nothing."""
    known = [row for row in rows if len(row) > 1 and all(map(math.isfinite, row))]
    if not known:
        return 0.0
    return math.sqrt(float(np.mean([np.var(row, ddof=1) / len(row) for row in known])))


def shrunk(
    measured: Sequence[float], variances: Sequence[float], prior: Sequence[float]
) -> list[float]:
    """What is believed of numbers whose measurements have these variances, and that are about
    some multiple of `prior`; -inf stays what it is."""
    y, v, w = (np.array(numbers, np.float64) for numbers in (measured, variances, prior))
    known = np.isfinite(y)
    if not known.any() or not v[known].all():
        return list(measured)
    a = _multiple(y[known], v[known], w[known])
    over = (y[known] - a * w[known]) ** 2 / v[known]
    scatter = max(0.0, float(over.sum() - (len(over) - 1)) / float((1 / v[known]).sum()))
    trust = scatter / (scatter + v)
    believed: Array = np.where(known, a * w + trust * np.where(known, y - a * w, 0), y)
    return believed.tolist()


def _multiple(y: Array, v: Array, w: Array) -> float:
    """Of `w` the one that is nearest to `y`, drawn to 0 by the variance that it has; never less."""
    weight = float((w * w / v).sum())
    if not weight:
        return 0.0
    a = float((w * y / v).sum()) / weight
    return a * max(0.0, 1 - 1 / (weight * a * a)) if a > 0 else 0.0


def prior(products: Sequence[Layer], ratios: Sequence[float]) -> Gains:
    """Gains where there are no data to measure them on, in no unit.

    As published (Lin et al. 2022, Figure 4 and their schemes) late layers are worth more than early
    ones, what widens a block's features (the first pointwise layer of an inverted bottleneck) twice
    as much as what does not, and a share r of the channels more than r of all.  All biases
    together are worth as much as all weights.
    """
    body = list(products[:-1])
    count = len(body)
    worth = {la.index: (la.index + 1) / count * (1.0 if _widens(la) else 0.5) for la in body}
    total = sum(worth.values()) or 1.0
    weights = {i: {r: math.sqrt(r) * w / total for r in ratios} for i, w in worth.items()}
    late = [(la.index + 1) / count for la in reversed(body)]
    sums = np.cumsum(late)
    return Gains({k + 1: float(sums[k] / sums[-1]) for k in range(count)}, weights)


def _widens(layer: Layer) -> bool:
    outputs = layer.weight.type.shape[0]
    return not layer.depthwise and outputs > layer.weight.type.shape[-1]

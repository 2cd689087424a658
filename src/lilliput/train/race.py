"""Which of a few schemes is best: each is trained, and scored on examples that it did not see.

What a model predicts of schemes is a guess; what they reach is measured.  All hold out the same
parts, one after the other, with the same head and order, so that losses are compared in pairs.
After the first parts only those go on that are not clearly behind (successive elimination;
Maron and Moore 1994): their distance to the best is compared with its own error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.ir import Array
from lilliput.train.gains import OfParts, Score
from lilliput.train.schemes import UpdateScheme

BEHIND = 2.0
"""Standard errors of a distance that what is given up is behind by."""
Measure = Callable[[Sequence[tuple[UpdateScheme, int]]], Sequence[Score]]
"""Scores of schemes, each with the part that it holds out."""


@dataclass(frozen=True)
class Finalist(OfParts):
    """losses, accuracies : of the parts that were held out, in order; inf, 0: it diverged."""

    scheme: UpdateScheme
    losses: tuple[float, ...]
    accuracies: tuple[float, ...]

    def gain(self, other: Finalist) -> tuple[float, float]:
        """What its loss is below that of `other`, over the parts that both have, and the standard
        error of that by how the parts disagree."""
        pairs = zip(self.losses, other.losses, strict=False)
        gaps = [theirs - ours for ours, theirs in pairs]
        if not all(map(math.isfinite, gaps)):
            return -math.inf, math.inf
        return float(np.mean(gaps)), float(np.std(gaps, ddof=1) / math.sqrt(len(gaps)))


def race(
    schemes: Sequence[UpdateScheme],
    measure: Measure,
    first: int,
    parts: int,
    base: UpdateScheme | None = None,
) -> tuple[Finalist, ...]:
    """Every scheme, the best first, and those that were given up at the end.

    first : parts that all are scored on; parts : and what is not clearly behind
    base : goes on in any case, as gains are to be over it
    """
    begun = _scored(schemes, measure, range(first))
    error, best = _error(begun), min(f.loss for f in begun)
    kept = [f for f in begun if f.scheme == base or f.loss - best <= BEHIND * error]
    left = [f for f in begun if f not in kept]
    more = _scored([f.scheme for f in kept], measure, range(first, parts))
    whole = [
        Finalist(a.scheme, a.losses + b.losses, a.accuracies + b.accuracies)
        for a, b in zip(kept, more, strict=True)
    ]
    return (*_ranked(whole), *_ranked(left))


def _scored(
    schemes: Sequence[UpdateScheme], measure: Measure, parts: Sequence[int]
) -> list[Finalist]:
    scores = iter(measure([(s, p) for s in schemes for p in parts]))
    found: list[Finalist] = []
    for scheme in schemes:
        mine = [next(scores) for _ in parts]
        losses, accuracies = tuple(s.loss for s in mine), tuple(s.accuracy for s in mine)
        found.append(Finalist(scheme, losses, accuracies))
    return found


def _ranked(finalists: Sequence[Finalist]) -> list[Finalist]:
    """Of equal ones that which was named first."""
    return sorted(finalists, key=lambda f: f.loss)


def _error(finalists: Sequence[Finalist]) -> float:
    """The standard error of a difference between two means, from what neither the scheme nor the
    part explains; inf where there is too little to tell."""
    rows: Array = np.array([f.losses for f in finalists if math.isfinite(f.loss)], np.float64)
    if min(rows.shape) < 2:
        return math.inf
    rest = rows - rows.mean(1, keepdims=True) - rows.mean(0) + rows.mean()
    freedom = (rows.shape[0] - 1) * (rows.shape[1] - 1)
    return math.sqrt(2 * float((rest**2).sum()) / freedom / rows.shape[1])

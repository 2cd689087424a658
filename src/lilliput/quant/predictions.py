"""Answers of the float and of the integer network, side by side: who lost what.

One idea: equal accuracy can hide many changed answers, so the changes are counted, too: in which
direction, in which class, in which group.  Names as in the literature on what compression forgets
(Hooker et al. 2019, 2020): an example whose answer changed although the float network was sure of
it is *compression-identified*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lilliput.ir.types import Array

MARGIN = 0.2
"""Float margin between the first and second answer, as a share of the range of the outputs, from
which a changed answer is compression-identified."""
SMALL = 50
"""Samples of a group from which its accuracy says something."""


@dataclass(frozen=True)
class Part:
    """Of the samples of one class or group; accuracies are shares."""

    name: str
    samples: int
    float_accuracy: float
    integer_accuracy: float
    flips: int

    @property
    def change(self) -> float:
        return self.integer_accuracy - self.float_accuracy


@dataclass(frozen=True)
class Predictions:
    """flips : answers that changed; accuracies and the three kinds of flips only with labels.

    worst_gap : groups (classes where there are none): largest less least accuracy, float and
        integer; amplified : the largest difference of a group's change from that of all
    identified : samples that are compression-identified
    """

    samples: int
    flips: int
    float_accuracy: float | None = None
    integer_accuracy: float | None = None
    regressions: int | None = None
    repairs: int | None = None
    wrong_to_wrong: int | None = None
    classes: tuple[Part, ...] = ()
    groups: tuple[Part, ...] = ()
    worst_gap: tuple[float, float] | None = None
    amplified: float | None = None
    identified: tuple[int, ...] = field(default=())


def compare(
    real: Array, whole: Array, labels: Array | None = None, groups: Sequence[str] | None = None
) -> Predictions:
    """`real`, `whole` (N, classes): outputs of both networks, in reals."""
    a, b = real.argmax(1), whole.argmax(1)
    changed = a != b
    ordered = np.sort(real, axis=1)
    wide = max(float(np.ptp(real)), 1e-30)
    margin = (ordered[:, -1] - ordered[:, -2]) / wide if real.shape[1] > 1 else np.zeros(len(a))
    identified = tuple(int(k) for k in np.flatnonzero(changed & (margin > MARGIN)))
    if labels is None:
        return Predictions(len(a), int(changed.sum()), identified=identified)
    right = {"float": a == labels, "whole": b == labels}
    classes = _parts({str(c): labels == c for c in np.unique(labels)}, right, changed)
    named = np.asarray(groups) if groups is not None else None
    parts = (
        _parts({str(g): named == g for g in np.unique(named)}, right, changed)
        if named is not None
        else ()
    )
    audited = [p for p in parts or classes if p.samples >= SMALL] or list(parts or classes)
    change = float(right["whole"].mean() - right["float"].mean())
    return Predictions(
        len(a),
        int(changed.sum()),
        float(right["float"].mean()),
        float(right["whole"].mean()),
        int((right["float"] & ~right["whole"]).sum()),
        int((~right["float"] & right["whole"]).sum()),
        int((changed & ~right["float"] & ~right["whole"]).sum()),
        classes,
        parts,
        (
            _gap([p.float_accuracy for p in audited]),
            _gap([p.integer_accuracy for p in audited]),
        ),
        max(abs(p.change - change) for p in audited),
        identified,
    )


def _gap(accuracies: Sequence[float]) -> float:
    return max(accuracies) - min(accuracies)


def _parts(
    members: Mapping[str, Array], right: Mapping[str, Array], changed: Array
) -> tuple[Part, ...]:
    return tuple(
        Part(
            name,
            int(where.sum()),
            float(right["float"][where].mean()),
            float(right["whole"][where].mean()),
            int(changed[where].sum()),
        )
        for name, where in members.items()
    )

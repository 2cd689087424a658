"""What is believed of noisy gains: the truth where it shows, else the prior, and no luck."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from lilliput.train.gains import Contribution, Gain, Gains, Score, shrunk
from lilliput.train.schemes import UpdateScheme

HEAD = UpdateScheme()
SHARES = (0.25, 0.5, 1.0)
LAYERS = 24
PRIOR = Gains(
    {k: k / 4 for k in (1, 2, 3, 4)},
    {i: {r: math.sqrt(r) * (i + 1) / LAYERS for r in SHARES} for i in range(LAYERS)},
)


def contribution(
    weights: Mapping[tuple[int, float], Sequence[float]],
    biases: Mapping[int, Sequence[float]] | None = None,
) -> Contribution:
    """Of losses that were measured, part by part."""

    def gain(scheme: UpdateScheme, losses: Sequence[float]) -> Gain:
        return Gain(scheme, HEAD, tuple(losses), (0.0,) * len(losses))

    found = [gain(UpdateScheme(k), losses) for k, losses in (biases or {}).items()]
    found += [gain(UpdateScheme(0, {i: r}), losses) for (i, r), losses in weights.items()]
    return Contribution(Score(1.0, 0.5), tuple(found))


def noisy(seed: int, truth: Sequence[float], noise: float) -> Contribution:
    """Half of each layer's channels, held out twice."""
    rng = np.random.default_rng(seed)
    return contribution(
        {(i, 0.5): (g + rng.normal(0, noise, 2)).tolist() for i, g in enumerate(truth)}
    )


def test_a_lucky_gain_is_not_believed() -> None:
    """Five of layers that are worth little: what was measured promises much more than it keeps."""
    truth = [0.02 * PRIOR.weights[i][0.5] for i in range(LAYERS)]
    raw: list[tuple[float, float]] = []
    ours: list[tuple[float, float]] = []
    for seed in range(60):
        found = noisy(seed, truth, 0.03)
        measured = {next(iter(g.scheme.weights)): g.loss for g in found.gains}
        model = found.model(PRIOR)
        believed = {i: shares[0.5] for i, shares in model.weights.items()}
        for gains, rows in ((measured, raw), (believed, ours)):
            five = sorted(gains, key=lambda i: -gains[i])[:5]
            rows.append((sum(gains[i] for i in five), sum(truth[i] for i in five)))
    (promised, kept), (believes, holds) = (np.mean(rows, axis=0) for rows in (raw, ours))
    assert promised > 2.5 * kept, "a measured maximum is one of luck"
    assert believes < 1.4 * holds
    assert holds > 1.2 * kept


def test_layers_that_are_worth_nothing_are_not_chosen_for_luck() -> None:
    found = [noisy(seed, [0.0] * LAYERS, 0.03) for seed in range(40)]
    largest = [max(g.loss for g in f.gains) for f in found]
    believed = [max(s[0.5] for s in f.model(PRIOR).weights.values()) for f in found]
    assert np.mean(believed) < 0.2 * np.mean(largest)


def test_what_stands_out_of_the_noise_is_believed() -> None:
    truth = [0.0] * LAYERS
    truth[3] = 0.5
    model = noisy(0, truth, 0.01).model(PRIOR)
    assert model.weights[3][0.5] == pytest.approx(0.5, rel=0.1)
    assert max(model.weights, key=lambda i: model.weights[i][0.5]) == 3


def test_exact_measurements_stay_what_they_are() -> None:
    exact = {(i, r): (0.3 * math.sqrt(r) * i,) * 2 for i in (2, 5) for r in SHARES}
    biases = {1: (0.1, 0.1), 4: (-0.2, -0.2)}
    model = contribution(exact, biases).model(PRIOR)
    assert model.biases == {1: 0.1, 4: -0.2}
    for (i, r), (gain, _) in exact.items():
        assert model.weights[i][r] == pytest.approx(gain)


def test_more_of_a_layer_is_never_worth_less() -> None:
    """A quarter by luck better than all of it: one curve for both, which rises."""
    rows = {(7, 0.25): (0.05, 0.03), (7, 1.0): (0.02, 0.01), (9, 1.0): (0.1, 0.02)}
    shares = contribution(rows).model(PRIOR).weights[7]
    assert tuple(shares) == SHARES, "also what was not measured"
    assert 0 < shares[0.25] < shares[0.5] < shares[1.0]


def test_what_diverged_is_left_out_with_all_that_trains_more() -> None:
    rows = {(4, 0.25): (0.1, 0.1), (4, 0.5): (-math.inf, 0.1), (8, 0.25): (-math.inf, -math.inf)}
    biases = {2: (0.2, 0.2), 3: (-math.inf, 0.2)}
    model = contribution(rows, biases).model(PRIOR)
    assert set(model.weights[4]) == {0.25}
    assert 8 not in model.weights
    assert model.biases == {2: 0.2, 3: -math.inf}


def test_a_curve_of_depths_is_drawn_to_one_that_rises() -> None:
    rng = np.random.default_rng(3)
    biases = {k: (0.02 * k + rng.normal(0, 0.05, 2)).tolist() for k in PRIOR.biases}
    biases[2] = [0.16, 0.08]  # luck
    believed = contribution({}, biases).model(PRIOR).biases
    gap = abs(believed[2] - 0.04)
    assert gap < abs(np.mean(biases[2]) - 0.04) / 2


def test_errors_are_of_means_and_pooled() -> None:
    found = contribution({(1, 1.0): (0.0, 2.0), (2, 1.0): (1.0, 5.0)}, {1: (0.0, 2.0)})
    assert found.errors == pytest.approx((1.0, math.sqrt((1 + 4) / 2)))
    assert contribution({(1, 1.0): (-math.inf, 1.0)}).errors == (0.0, 0.0)


def test_no_measurement_is_an_answer_too() -> None:
    assert shrunk([], [], []) == []
    assert shrunk([-math.inf], [1.0], [1.0]) == [-math.inf]
    assert contribution({}).model(PRIOR) == Gains({}, {})
    assert Gains({2: 1.0}, {}).known(UpdateScheme(3)) is None

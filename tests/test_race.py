"""The race of a few schemes: the best of all parts wins, and what is clearly behind is given up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from lilliput.train.gains import Score
from lilliput.train.race import Finalist, race
from lilliput.train.schemes import UpdateScheme

SCHEMES = [UpdateScheme(k) for k in range(6)]


class Measured:
    """Losses by number of biases and part; `asked` is what was measured."""

    def __init__(self, losses: Mapping[int, Sequence[float]]):
        self.losses, self.asked = losses, list[tuple[int, int]]()

    def __call__(self, wanted: Sequence[tuple[UpdateScheme, int]]) -> list[Score]:
        pairs = [(s.biases, p) for s, p in wanted]
        self.asked += pairs
        return [Score(self.losses[k][p], 1 - self.losses[k][p] / 10) for k, p in pairs]


def order(found: Sequence[Finalist]) -> list[int]:
    return [f.scheme.biases for f in found]


def test_what_is_clearly_behind_is_given_up() -> None:
    rng = np.random.default_rng(0)
    means = [0.5, 0.51, 0.52, 0.9, 0.95, math.inf]
    parts = rng.normal(0, 0.1, 4)  # some examples are harder, for every scheme
    losses = {k: (m + parts + rng.normal(0, 0.01, 4)).tolist() for k, m in enumerate(means)}
    measured = Measured(losses)
    found = race(SCHEMES, measured, 2, 4)
    assert set(order(found)[:3]) == {0, 1, 2}
    assert order(found)[3:] == [3, 4, 5]
    assert [len(f.losses) for f in found] == [4, 4, 4, 2, 2, 2]
    assert len(measured.asked) == len(set(measured.asked)) == 6 * 2 + 3 * 2
    based = race(SCHEMES, measured, 2, 4, SCHEMES[4])
    assert order(based)[3:] == [4, 3, 5], "over which gains are is not given up"
    assert len(based[3].losses) == 4


def test_luck_in_the_first_parts_does_not_win() -> None:
    losses = {0: [0.40, 0.44, 0.60, 0.60], 1: [0.45, 0.45, 0.45, 0.45], 2: [0.5, 0.49, 0.5, 0.51]}
    found = race(SCHEMES[:3], Measured(losses), 2, 4)
    assert order(found) == [1, 0, 2], "the last one was clearly behind"
    assert found[0].loss == pytest.approx(0.45)
    assert found[0].accuracy == pytest.approx(0.955)


def test_the_best_of_noisy_schemes_wins_more_often_than_by_luck() -> None:
    won: list[int] = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        noise = rng.normal(0, 0.02, (6, 4)) + rng.normal(0, 0.2, 4)
        losses = {k: (0.5 + 0.01 * k + noise[k]).tolist() for k in range(6)}
        won.append(order(race(SCHEMES, Measured(losses), 2, 4))[0])
    assert won.count(0) > 45
    assert won.count(0) + won.count(1) > 70
    assert np.mean(won) < 1.2


def test_equal_schemes_keep_their_order_and_one_is_a_race() -> None:
    losses = dict.fromkeys(range(6), [0.5] * 4)
    assert order(race(SCHEMES, Measured(losses), 2, 4)) == list(range(6))
    assert order(race(SCHEMES[3:4], Measured(losses), 2, 4)) == [3]
    assert order(race(SCHEMES[:2], Measured(dict.fromkeys(range(6), [math.inf] * 4)), 2, 4))


def test_gains_are_over_the_parts_that_both_have() -> None:
    ours, head = (
        Finalist(UpdateScheme(1), (0.3, 0.5), (0.5, 0.5)),
        Finalist(UpdateScheme(), (0.5, 0.6, 9.0), (0.5, 0.5, 0.5)),
    )
    assert ours.gain(head) == pytest.approx((0.15, 0.05))
    lost = Finalist(UpdateScheme(1), (math.inf, 0.5), (0.0, 0.5))
    assert lost.gain(head) == (-math.inf, math.inf)

"""Contribution analysis: what it measures, that it repeats itself, goes on, and shares fronts."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from tests.cli_case import runner

from lilliput.compiler import load
from lilliput.demo_data import digits_model
from lilliput.errors import DataError, FormatError, UsageError
from lilliput.ir import Array
from lilliput.train.build import ENTRY, trainable
from lilliput.train.contribution import (
    Analysis,
    Candidates,
    Study,
    candidates,
    depths,
    halves,
)
from lilliput.train.fronts import Fronts
from lilliput.train.gains import Gains
from lilliput.train.heads import with_head
from lilliput.train.layers import layers
from lilliput.train.optimisers import Optimiser
from lilliput.train.schemes import UpdateScheme, parse
from lilliput.train.simulate import Simulator
from lilliput.train.stages import reference

MODULE = load(digits_model()).module
PRODUCTS = layers(with_head(MODULE, 10))
RATIOS = (0.5, 1.0)
STUDY = Study(steps=24, finals=3, ratios=RATIOS, measured=RATIOS, depths=2, reach=2)


@cache
def turned() -> tuple[Array, Array]:
    """x (n,8,8,1) int8, y (n): digits that lie on their side, which the network does not know."""
    found = pytest.importorskip("sklearn.datasets").load_digits()
    pixels = np.rint(np.rot90(found.images, axes=(1, 2)) / 16 * 255 - 128)[..., None]
    return np.ascontiguousarray(pixels).astype(np.int8)[:60], found.target[:60]


def analysis(file: Path | None = None, study: Study = STUDY, rate: float = 0.02) -> Analysis:
    x, y = turned()
    return Analysis(MODULE, x, y, Optimiser(rate=rate), study, 10, file=file)


def chosen(study: Study = STUDY) -> Candidates:
    return candidates(PRODUCTS, study, lambda _: True)


def wanted(study: Study = STUDY) -> tuple[tuple[UpdateScheme, UpdateScheme], ...]:
    return chosen(study).pairs(study)


# Candidates -------------------------------------------------------------------------------


def test_depths_are_spread_and_end_at_all_layers() -> None:
    assert depths(5, 12) == (1, 2, 3, 4, 5)
    assert depths(42, 6) == (7, 14, 21, 28, 35, 42)
    assert depths(1, 3) == (1,)


def test_candidates_are_measured_over_the_biases_that_reach_them() -> None:
    found = [(str(s), str(over)) for s, over in wanted(replace(STUDY, depths=5, reach=5))]
    assert found == [
        *((f"biases={k}", "head") for k in range(1, 6)),
        ("biases=5,0", "biases=5"),  # one input channel: there is no half of it
        ("biases=4,1:1/2", "biases=4"),
        ("biases=4,1", "biases=4"),
        ("biases=3,2:1/2", "biases=3"),
        ("biases=3,2", "biases=3"),
        ("biases=2,3:1/2", "biases=2"),
        ("biases=2,3", "biases=2"),
        ("biases=1,4:1/2", "biases=1"),
        ("biases=1,4", "biases=1"),
    ]


def test_what_cannot_be_is_not_measured() -> None:
    asked: list[str] = []

    def possible(scheme: UpdateScheme) -> bool:
        asked.append(str(scheme))
        return scheme.biases in (0, 1, 3) and scheme.weights.get(3, 0) <= 0.5

    study = replace(STUDY, depths=5, reach=5)
    found = {str(s) for s, _ in candidates(PRODUCTS, study, possible).pairs(study)}
    assert found == {
        *("biases=1", "biases=3", "biases=3,2:1/2", "biases=3,2", "biases=3,3:1/2"),
        *("biases=1,4:1/2", "biases=1,4"),
    }
    assert "biases=5" not in asked, "what is behind two that are impossible is not asked for"
    assert not any(",0" in name or ",1" in name for name in asked), "biases do not reach these"


def test_of_a_layer_some_shares_are_measured_and_all_may_be_chosen() -> None:
    study = replace(STUDY, ratios=(0.125, 0.25, 0.5, 1.0), measured=(0.25, 1.0))

    def possible(scheme: UpdateScheme) -> bool:
        return scheme.weights.get(3, 0) <= 0.125

    found = candidates(PRODUCTS, study, possible)
    assert found.shares == {3: (0.125,), 4: (0.125, 0.25, 0.5, 1.0)}
    pairs = [str(s) for s, _ in found.pairs(study) if s.weights]
    assert pairs == ["biases=3,3:1/8", "biases=3,4:1/4", "biases=3,4"]
    assumed = found.prior(PRODUCTS)
    assert {i: tuple(s) for i, s in assumed.weights.items()} == found.shares
    assert set(assumed.biases) == set(found.depths)


# Measuring --------------------------------------------------------------------------------


def test_halves_are_of_every_class_and_repeat_themselves() -> None:
    _, y = turned()
    one, again = (halves(y, STUDY) for _ in range(2))
    np.testing.assert_array_equal(one.learn, again.learn)
    np.testing.assert_array_equal(one.held, again.held)
    assert set(y[one.held]) == set(y)
    assert len(one.learn) == STUDY.steps, "no more examples than steps"
    assert not set(one.learn) & set(one.held)
    other = halves(y, replace(STUDY, seed=1))
    assert not np.array_equal(one.held, other.held)


def test_each_example_is_held_out_once() -> None:
    _, y = turned()
    parts = [halves(y, replace(STUDY, steps=1000), k) for k in range(4)]
    every = list(range(len(y)))
    assert sorted(k for p in parts for k in p.held.tolist()) == every
    for part in parts:
        assert sorted([*part.learn.tolist(), *part.held.tolist()]) == every


def test_a_score_is_that_of_a_training_from_the_picture_on() -> None:
    """Nothing is kept between candidates that changes what one of them learns."""
    made = analysis()
    made.contribution(wanted())
    x, y = turned()
    for text, part in (("biases=3,4:1/2", 0), ("head", 1)):
        own, scheme = halves(y, STUDY, part), parse(text, PRODUCTS)
        training = trainable(MODULE, scheme, Optimiser(rate=0.02), classes=10, seed=part)
        simulator = Simulator(training)
        simulator.fit(simulator.learning(x[own.learn], y[own.learn]), plan=made.plan(part))
        test = simulator.testing(x[own.held], y[own.held])
        logits = simulator.logits(test).astype(np.float64)
        p: Array = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        labels = y[own.held]
        loss = -float(np.mean(np.log(p[np.arange(len(labels)), labels])))
        assert made.score(scheme, part).loss == pytest.approx(loss, rel=1e-12)
        assert made.score(scheme, part).accuracy == np.mean(np.argmax(logits, 1) == labels)


def test_gains_are_differences_and_add_up() -> None:
    found = analysis()
    contribution = found.contribution(wanted())
    for gain in contribution.gains:
        for part in range(STUDY.parts):
            ours, theirs = found.score(gain.scheme, part), found.score(gain.over, part)
            assert gain.losses[part] == theirs.loss - ours.loss
            assert gain.accuracies[part] == ours.accuracy - theirs.accuracy
        assert gain.loss == pytest.approx(np.mean(gain.losses))
    model = contribution.model(chosen().prior(PRODUCTS))
    assert set(model.biases) == {3, 5}
    assert {i: set(shares) for i, shares in model.weights.items()} == {
        3: {0.5, 1.0},
        4: {0.5, 1.0},
    }
    scheme = UpdateScheme(3, {3: 1.0, 4: 0.5})
    assert model(scheme) == model.biases[3] + (model.weights[3][1.0] + model.weights[4][0.5])
    assert model(UpdateScheme()) == 0
    assert contribution.head.loss > 0
    rows = json.loads(json.dumps(contribution.to_json()))["gains"]
    assert [r["scheme"] for r in rows] == [str(g.scheme) for g in contribution.gains]


def test_an_analysis_repeats_itself_and_goes_on(tmp_path: Path) -> None:
    whole, part = tmp_path / "whole.json", tmp_path / "part.json"
    analysis(whole).contribution(wanted())
    first = analysis(part)
    first.contribution(wanted()[:2])  # and then the power fails
    told: list[str] = []
    second = analysis(part)
    second.log = told.append
    second.contribution(wanted())
    measured = [line for line in told if ": loss" in line]
    assert len(measured) == STUDY.parts * (len(wanted()) - 2)
    assert json.loads(part.read_text())["scores"] == json.loads(whole.read_text())["scores"]
    third = analysis(part)
    third.log = told.append
    before = len(told)
    assert third.contribution(wanted()) == second.contribution(wanted())
    assert len(told) == before, "nothing is left to measure"
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".part"] == []


def test_a_training_that_diverges_has_no_gain(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    found = analysis(file, rate=3e38).contribution(wanted()[:1])
    assert found.gains[0].loss == -math.inf
    assert found.to_json()["gains"] == [
        {"scheme": "biases=3", "over": "head", "loss": None, "accuracy": 0.0}
    ]
    assert analysis(file, rate=3e38).contribution(wanted()[:1]) == found


# What candidates share --------------------------------------------------------------------


def test_fronts_are_values_of_the_network_and_shared() -> None:
    x, _ = turned()
    fronts = Fronts(x[:5], reference)
    made: list[Array] = []
    for text in ("biases=2", "biases=1,3", "2"):
        module = trainable(MODULE, parse(text, PRODUCTS), classes=10).module
        simulator = Simulator(trainable(MODULE, parse(text, PRODUCTS), classes=10))
        for entry in (ENTRY, module.entry):
            given = fronts.given(module, entry)
            (name,) = given
            assert name != module.inputs(entry)[0].name
            examine = simulator.learning if entry == ENTRY else simulator.testing
            ours, theirs = (examine(v, np.zeros(5)) for v in (given, x[:5]))
            assert ours.features.keys() == theirs.features.keys()
            for key, data in theirs.features.items():
                np.testing.assert_array_equal(ours.features[key], data)
            made.append(given[name])
    assert made[0] is made[1] is made[2] is made[3], "the same value, whatever its name"
    assert made[4] is made[5] is not made[0]


def test_fronts_of_layers_in_part_are_their_own() -> None:
    """A way to train them that holds channels in another order gets them in that order."""
    x, _ = turned()
    fronts = Fronts(x[:5], reference, keep=1)
    for text in ("biases=2", "2:1/2", "biases=1,3:1/4", "4:1/2", "biases=2"):
        simulator = Simulator(trainable(MODULE, parse(text, PRODUCTS), classes=10))
        module = simulator.training.module
        for entry in (ENTRY, module.entry):
            examine = simulator.learning if entry == ENTRY else simulator.testing
            given = fronts.given(module, entry)
            ours, theirs = (examine(v, np.zeros(5)) for v in (given, x[:5]))
            for key, data in theirs.features.items():
                np.testing.assert_array_equal(ours.features[key], data)


def test_where_everything_moves_the_picture_is_what_is_given() -> None:
    x, _ = turned()
    module = trainable(MODULE, parse("full", PRODUCTS), classes=10).module
    given = Fronts(x[:5], reference).given(module, ENTRY)
    assert list(given) == [module.inputs(ENTRY)[0].name]
    assert next(iter(given.values())).shape == (5, 8, 8, 1)


# Bad input --------------------------------------------------------------------------------


def test_files_of_something_else_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    analysis(file).contribution(wanted()[:1])
    kept = file.read_bytes()
    with pytest.raises(FormatError, match=r"something else[\s\S]*another optimiser"):
        analysis(file, rate=0.01)
    with pytest.raises(FormatError, match="another study"):
        analysis(file, replace(STUDY, steps=25))
    x, y = turned()
    with pytest.raises(FormatError, match="another data"):
        Analysis(MODULE, x[::-1], y, Optimiser(rate=0.02), STUDY, 10, file=file)
    assert file.read_bytes() == kept
    one = b'{"about": {}, "scores": {"head": [0.5, 0.5]}}'  # what had no parts
    for text in (b"", b"{", b"[]", b'{"about": 1, "scores": {}}', b'{"about": {}}', b"\xff", one):
        file.write_bytes(text)
        with pytest.raises(FormatError):
            analysis(file)
    assert analysis(tmp_path / "new.json", replace(STUDY, ratios=(1.0,))).study.ratios == (1.0,)


def test_data_that_do_not_do_are_refused() -> None:
    x, y = turned()
    with pytest.raises(DataError, match="too few examples"):
        Analysis(MODULE, x[:12], y[:12], Optimiser(), STUDY, 10)
    with pytest.raises(UsageError, match="0 to 9"):
        Analysis(MODULE, x, y + 1, Optimiser(), STUDY, 10)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"steps": 0}, {"held": 1.0}, {"ratios": (0.0,)}, {"measured": (2.0,)}, {"depths": 0}),
        *({"reach": 0}, {"most": 0}, {"parts": 1}, {"parts": 4}, {"finals": 5}, {"held": 0.5}),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        replace(STUDY, **wrong)


def test_a_model_does_not_know_what_was_not_measured() -> None:
    with pytest.raises(KeyError):
        Gains({2: 1.0}, {})(UpdateScheme(3))


# The command ------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_measures_searches_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="torch is not installed (extra torch)")
    x, y = turned()
    data, file = tmp_path / "data.npz", tmp_path / "analysis.json"
    np.savez(data, x_train=x, y_train=y, x_test=x[:9], y_test=y[:9])
    run = runner(capsys)
    words = ["train", digits_model(), "--device", "stm32f746", "--classes", "10", "--fast"]
    words += ["--data", data, "--ram", "17100B", "--analysis", file, "--analysis-steps", "20"]
    one = run(*words, "--plan-only", "--json")
    assert one.code == 0, one.text
    again = run(*words, "--plan-only")
    assert again.code == 0, again.text
    assert "loss" in one.err
    assert "trainings of" not in again.err, "all of it is in the file"
    found = one.json
    assert found["ram_bytes"]["total"] <= 17_100
    scores = json.loads(file.read_text())["scores"]
    best, *others = found["search"]["finalists"]
    assert best["scheme"] == found["scheme"]["text"], "the first of the race fits"
    assert {best["scheme"], *(f["scheme"] for f in others)} >= {"head", "biases=2"}
    head, ours = (list(scores[name].values()) for name in ("head", best["scheme"]))
    gaps = [theirs[0] - mine[0] for theirs, mine in zip(head, ours, strict=False)]
    assert found["search"]["measured_gain"] == pytest.approx(np.mean(gaps))
    assert best["gain"] == max(f["gain"] for f in (best, *others) if f["parts"] == best["parts"])
    gains = {g["scheme"]: g for g in found["search"]["contribution"]["gains"]}
    assert gains["biases=2"]["over"] == "head"
    assert f"scheme          {found['scheme']['text']}" in again.out
    assert "gain over the head" in again.out
    other = run(*words, "--plan-only", "--rate", "0.5")
    assert other.code == 1
    assert "something else" in other.err

"""The search for an update scheme: exact under its model, within the budget that is planned."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from tests.cli_case import runner
from tests.test_slices import CLASSES, bottlenecks

from lilliput.compiler import (
    Optimiser,
    Options,
    Search,
    from_module,
    learner,
    load,
    searched,
    train_layers,
)
from lilliput.compiler.costs import StepCosts
from lilliput.demo_data import digits_model
from lilliput.devices.device import load as board
from lilliput.errors import DoesNotFit, UsageError
from lilliput.train.contribution import RATIOS, Study
from lilliput.train.gains import Gains, prior
from lilliput.train.schemes import UpdateScheme, last, parse, published_of
from lilliput.train.search import Evolution, Need, Programme, best, covers, evolve, exact

MANY = 1000
"""More plans than there are schemes."""


@dataclass
class Made:
    """Costs by numbers: each choice has states and activations; what is planned is more than the
    bound, and the more for each pair of layers."""

    states_of: Mapping[tuple[int, float], int]
    activations_of: Mapping[tuple[int, float], int]
    placing: float = 1.1
    pair: int = 40
    asked: list[str] = field(default_factory=list[str])

    def parts(self, scheme: UpdateScheme) -> list[tuple[int, float]]:
        return [(-1, 0), *((-1, k) for k in (scheme.biases,) if k), *scheme.weights.items()]

    def states(self, scheme: UpdateScheme) -> int:
        return sum(self.states_of[p] for p in self.parts(scheme))

    def activations(self, scheme: UpdateScheme) -> int:
        return max(self.activations_of[p] for p in self.parts(scheme))

    def planned(self, scheme: UpdateScheme) -> Need:
        self.asked.append(str(scheme))
        count = len(scheme.weights)
        placed = self.placing * self.activations(scheme) + self.pair * count * (count - 1)
        return Need(self.states(scheme) + placed, cycles=10 + self.states(scheme))


def problem(seed: int) -> tuple[Gains, Made]:
    """Three depths, three layers of three shares; some gains are negative."""
    rng = np.random.default_rng(seed)
    biases = {k: float(rng.normal(0.5 + k / 10, 0.3)) for k in (2, 4, 6)}
    shares = (0.25, 0.5, 1.0)
    weights = {i: {r: float(rng.normal(r, 0.5)) for r in shares} for i in (1, 3, 5)}
    states, activations = {(-1, 0.0): 100}, {(-1, 0.0): 500}
    for k in biases:
        states[-1, k], activations[-1, k] = 10 * k, 500 + 50 * k
    for i in weights:
        size, base = int(rng.integers(100, 800)), int(rng.integers(400, 900))
        for r in shares:
            states[i, r], activations[i, r] = int(size * r), base + int(2 * size * r)
    return Gains(biases, weights), Made(states, activations)


def schemes(gains: Gains) -> Iterator[UpdateScheme]:
    layers = list(gains.weights)
    for k in (0, *gains.biases):
        for shares in itertools.product(*((0.0, *gains.weights[i]) for i in layers)):
            chosen = zip(layers, shares, strict=True)
            yield UpdateScheme(k, {i: r for i, r in chosen if r})


@pytest.mark.parametrize("seed", range(12))
def test_the_exact_search_finds_what_trying_everything_finds(seed: int) -> None:
    gains, costs = problem(seed)
    for room in (700, 1000, 1500, 2500, 1e9):
        budget = Need(room, math.inf, math.inf)
        fitting = [s for s in schemes(gains) if costs.planned(s).within(budget)]
        found = exact(gains, costs, budget, plans=MANY)
        assert found is not None
        assert found.proven
        assert found.need.ram <= room
        assert found.gain == pytest.approx(max(map(gains, fitting)), abs=1e-9)
        assert gains(found.scheme) == found.gain


def test_cycles_and_flash_are_limits_as_ram_is() -> None:
    gains, costs = problem(3)
    for cycles in (150, 400, 900):
        budget = Need(math.inf, math.inf, cycles)
        fitting = [s for s in schemes(gains) if costs.planned(s).within(budget)]
        found = exact(gains, costs, budget, plans=MANY)
        assert found is not None
        assert found.gain == pytest.approx(max(map(gains, fitting)), abs=1e-9)


def test_few_plans_leave_a_scheme_that_fits_and_a_bound_that_holds() -> None:
    for seed in range(6):
        gains, costs = problem(seed)
        budget = Need(1200, math.inf, math.inf)
        whole = exact(gains, costs, budget, plans=MANY)
        costs.asked.clear()
        few = exact(gains, costs, budget, plans=3)
        assert whole is not None
        assert few is not None
        assert len(costs.asked) == few.plans <= 3
        assert few.need.ram <= 1200
        assert few.gain <= whole.gain <= few.bound + 1e-9


def test_not_even_the_head_fits() -> None:
    gains, costs = problem(0)
    budget = Need(500, math.inf, math.inf)
    assert exact(gains, costs, budget) is None
    assert evolve(gains, costs, budget) is None


def test_evolution_keeps_the_budget_repeats_itself_and_beats_no_optimum() -> None:
    gap: list[float] = []
    for seed in range(6):
        gains, costs = problem(seed)
        budget = Need(1500, math.inf, math.inf)
        settings = Evolution(population=40, generations=15, parents=10, plans=30)
        one, again = (evolve(gains, costs, budget, settings) for _ in range(2))
        optimum = exact(gains, costs, budget, plans=MANY)
        assert one == again
        assert one is not None
        assert optimum is not None
        assert one.need.ram <= 1500
        assert one.gain <= optimum.gain + 1e-9 <= one.bound + 2e-9
        gap.append(optimum.gain - one.gain)
    assert sum(g < 1e-9 for g in gap) >= 4, gap


def test_what_is_cut_is_not_found_again() -> None:
    gains, costs = problem(1)
    programme = Programme(gains, costs)
    first = best(programme, 1e9)
    assert first is not None
    second = best(programme, 1e9, cuts=[first])
    assert second is not None
    assert not covers(second, first)
    assert gains(second) <= gains(first)
    others = [s for s in schemes(gains) if not covers(s, first)]
    assert gains(second) == pytest.approx(max(map(gains, others)))
    assert best(programme, 1e9, beyond=gains(first)) is None


# With the planner -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def costs() -> StepCosts:
    return StepCosts(
        load(digits_model()),
        board("stm32f746"),
        Optimiser(),
        10,
        0,
        Options("none", ram=18_000),
    )


@pytest.mark.slow
def test_the_planned_optimum_is_that_of_trying_everything(costs: StepCosts) -> None:
    rng = np.random.default_rng(7)
    biases = {k: float(rng.uniform(0, 1)) for k in (2, 5)}
    weights = {i: {r: float(rng.uniform(0, 1))} for i, r in ((2, 0.25), (3, 1.0))}
    gains, budget = Gains(biases, weights), Need(18_000, math.inf, math.inf)
    found = exact(gains, costs, budget, plans=MANY)
    assert found is not None
    assert found.proven
    tried = len(costs.learners)
    fitting = [s for s in schemes(gains) if costs.planned(s).within(budget)]
    assert 1 < len(fitting) < len(costs.learners)
    assert tried < len(costs.learners), "not everything was planned"
    assert found.gain == pytest.approx(max(map(gains, fitting)))


@pytest.mark.parametrize("method", ["ilp", "evolution"])
def test_what_is_chosen_keeps_to_the_ram_of_the_whole_image(method: str) -> None:
    model, device = load(digits_model()), board("stm32f746")
    search = Search(method, study=Study(ratios=(0.25,), depths=2, reach=3))
    found = searched(model, device, search, classes=10, options=Options(ram=17_500))
    total = found.learner.compiled.summary.ram_bytes.total
    assert total is not None
    assert total == found.chosen.need.ram <= 17_500
    assert found.learner.compiled.summary.fits
    assert found.chosen.scheme.biases > 0
    text = str(found.chosen.scheme)
    assert found.to_json()["scheme"] == {"text": text, **found.chosen.scheme.to_json()}


@pytest.mark.parametrize("text", ["head", "biases=2", "last=2"])
def test_an_estimate_is_near_the_plan(costs: StepCosts, text: str) -> None:
    scheme = parse(text, train_layers(costs.model, 10))
    assert 0.98 < costs.planned(scheme).ram / costs.estimated(scheme) < 1.1


@pytest.mark.slow
def test_estimates_and_plans_are_of_sliced_blocks() -> None:
    """As a learner has them, unless they are not to be."""
    model, device = from_module(bottlenecks(96, size=8)), board("stm32f746")
    scheme, options = parse("last=3", train_layers(model, CLASSES)), Options("none", ram=28_000)
    costs, off = (
        StepCosts(model, device, Optimiser(), CLASSES, 0, options, slices=slices)
        for slices in ("auto", "off")
    )
    assert off.activations(scheme) > 1.4 * costs.activations(scheme)
    found = learner(model, device, scheme, Optimiser(), classes=CLASSES, options=options)
    nbytes = found.compiled.summary.ram_bytes
    assert found.training.slices
    assert costs.planned(scheme).ram == nbytes.activations + nbytes.states <= 28_000
    assert 0.98 < costs.planned(scheme).ram / costs.estimated(scheme) < 1.1


@pytest.mark.slow
def test_a_plan_that_does_not_fit_teaches_by_how_much_estimates_are_too_low(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing that was refused is compiled as if it fitted, and another is proposed."""
    model, device = load(digits_model()), board("stm32f746")
    real, asked = StepCosts.activations, list[str]()

    def low(self: StepCosts, scheme: UpdateScheme) -> int:
        return real(self, scheme) * 8 // 10

    def planned(self: StepCosts, scheme: UpdateScheme) -> Need:
        asked.append(str(scheme))
        return plan(self, scheme)

    plan = StepCosts.planned
    monkeypatch.setattr(StepCosts, "activations", low)
    monkeypatch.setattr(StepCosts, "planned", planned)
    options = Options("none", ram=18_000)
    found = searched(model, device, classes=10, options=options)
    tried = [s for s in dict.fromkeys(asked) if s not in ("head", str(found.chosen.scheme))]
    assert tried, "more was proposed than fits"
    assert str(found.chosen.scheme) not in ("head", *tried)
    assert found.chosen.need.ram <= 18_000
    assert found.chosen.plans == 2 + len(tried)


def test_published_schemes_are_those_of_such_a_network() -> None:
    products = train_layers(load(digits_model()), 10)
    assert published_of(products) == ()
    assert [s.name for s in published_of(products[:1] * 43)] == [
        f"published:mcunet-{kb}kb" for kb in (49, 74, 99, 124, 148)
    ]
    assert str(last(2, products)) == str(parse("last=2", products)) == "biases=2,3,4"


def test_the_prior_prefers_late_layers_and_more_of_them() -> None:
    gains = prior(train_layers(load(digits_model()), 10), RATIOS)
    assert sorted(gains.biases.values()) == [gains.biases[k] for k in sorted(gains.biases)]
    assert gains.weights[4][1.0] > gains.weights[2][1.0]
    assert gains.weights[2][1.0] > gains.weights[2][0.25] > gains.weights[2][1.0] / 4
    assert gains.biases[5] == pytest.approx(1)
    assert sum(w[1.0] for w in gains.weights.values()) == pytest.approx(1)


def test_a_budget_that_is_too_small_says_what_the_head_needs() -> None:
    model, device = load(digits_model()), board("stm32f746")
    with pytest.raises(DoesNotFit, match=r"the least that works is the head alone.*--ram \d+"):
        searched(model, device, classes=10, options=Options("none", ram=8_000))
    with pytest.raises(UsageError, match="no scheme keeps to the cycles"):
        searched(model, device, Search(cycles=10), classes=10, options=Options("none"))


def test_searches_say_what_is_wrong() -> None:
    for wrong in ({"method": "guess"}, {"plans": 0}, {"cycles": 0.0}):
        with pytest.raises(UsageError):
            Search(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--ram SIZE"):
        searched(load(digits_model()), board("cortex-m4"), classes=10)


def test_the_command_searches_where_ram_is_all_that_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = runner(capsys)
    network = str(digits_model())
    words = ["train", network, "--device", "stm32f746", "--ram", "17000B", "--classes", "10"]
    result = run(*words, "--plan-only", "--json")
    assert result.code == 0, result.text
    found = result.json
    assert found["ram_bytes"]["total"] <= 17_000
    assert found["search"]["proven"]
    assert found["search"]["contribution"] is None
    assert found["search"]["need"]["ram"] == found["ram_bytes"]["total"]
    named = run(*words, "--scheme", "head", "--search", "ilp", "--plan-only")
    assert named.code == 1
    assert "--scheme and --search" in named.err
    assert Path(network).is_file()

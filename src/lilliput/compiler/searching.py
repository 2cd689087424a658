"""The scheme for a budget: gains from the user's data, costs from the planner, and a race.

    candidates   biases, and shares of layers, that may fit, by estimates            `costs`
    gains        measured on the user's data, and what is believed of them           `contribution`
    programme    the scheme of the largest sum of gains within the estimates         `search`
    race         that scheme, those of less RAM and those that need no search,
                 trained and compared                                                `race`
    plan         the best of them that fits, as `learner` compiles it

RAM is the `ram_bytes.total` of the whole image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from itertools import takewhile
from pathlib import Path

from lilliput.compiler.costs import Estimated, StepCosts
from lilliput.compiler.pipeline import Log, Model, Options, quiet
from lilliput.compiler.slicing import AUTO
from lilliput.compiler.training import Learner, examples, train_layers
from lilliput.data import DataSet
from lilliput.devices.device import Device
from lilliput.errors import DoesNotFit, UsageError
from lilliput.report import columns, require_fit
from lilliput.train.contribution import Analysis, Candidates, Study, candidates
from lilliput.train.gains import Contribution, Gains, Score
from lilliput.train.heads import HEADS
from lilliput.train.layers import Layer
from lilliput.train.optimisers import Optimiser
from lilliput.train.race import Finalist, race
from lilliput.train.schemes import UpdateScheme, last, published_of
from lilliput.train.search import METHODS, PLANS, Chosen, Costs, Evolution, Need, evolve, exact
from lilliput.train.stages import reference

SHARES = (1 / 2, 1 / 4)
"""Parts of the RAM whose schemes are in the race, too."""


@dataclass(frozen=True)
class Search:
    """How a scheme is chosen.

    method : "ilp", exact, or "evolution"
    cycles : predicted cycles that a step may take; plans : of how many schemes the programme asks
        what they take, at most
    analysis : the file of the contribution analysis, which goes on from it
    fast : it is simulated by torch
    """

    method: str = "ilp"
    cycles: float = math.inf
    plans: int = PLANS
    analysis: Path | None = None
    study: Study = field(default_factory=Study)
    fast: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError for what is no method or number."""
        if self.method not in METHODS:
            raise UsageError("search", expected=" or ".join(METHODS), found=self.method)
        if self.plans < 1 or not self.cycles > 0:
            found = f"{self.plans}, {self.cycles}"
            raise UsageError("plans, cycles", expected=">= 1, > 0", found=found)


@dataclass(frozen=True)
class Taken:
    """scheme, what its plan needs, and its gain by the model, None where that does not know it
    bound : no scheme within the estimates has more, as far as was proven; method : of the programme
    plans : how many there are, those for other budgets included where these share costs
    """

    scheme: UpdateScheme
    need: Need
    gain: float | None
    bound: float
    plans: int
    method: str

    @property
    def proven(self) -> bool:
        return self.gain is not None and self.bound <= self.gain + 1e-9


@dataclass(frozen=True, eq=False)
class Searched:
    """learner : what was chosen, compiled
    contribution : None where gains are the prior's; finalists : of the race, the best first
    budget : what it had to keep to; layers : of the network, the head the last"""

    learner: Learner
    chosen: Taken
    contribution: Contribution | None
    finalists: tuple[Finalist, ...]
    budget: Need
    layers: tuple[Layer, ...]

    def gain(self, finalist: Finalist) -> tuple[float, float]:
        """Measured over the head, and its standard error."""
        return finalist.gain(next(f for f in self.finalists if str(f.scheme) == "head"))

    @property
    def measured(self) -> tuple[float, float] | None:
        """The gain of what was chosen, and its standard error; None where nothing was measured."""
        name = str(self.chosen.scheme)
        return next((self.gain(f) for f in self.finalists if str(f.scheme) == name), None)

    def to_json(self) -> dict[str, object]:
        """That of the learner, and `search`."""
        chosen = self.chosen
        limits = {k: v for k, v in asdict(self.budget).items() if math.isfinite(v)}
        contribution = self.contribution.to_json() if self.contribution else None
        found = {
            "method": chosen.method,
            "gain": chosen.gain,
            "measured_gain": _finite(self.measured[0]) if self.measured else None,
            "bound": chosen.bound,
            "proven": chosen.proven,
            "plans": chosen.plans,
            "budget": limits,
            "need": asdict(chosen.need),
            "finalists": [self._row(f) for f in self.finalists],
            "contribution": contribution,
        }
        return {**self.learner.to_json(), "search": found}

    def _row(self, finalist: Finalist) -> dict[str, object]:
        scheme, (gain, error) = finalist.scheme, self.gain(finalist)
        return {
            "scheme": str(scheme),
            "name": scheme.name or None,
            "parts": len(finalist.losses),
            "gain": _finite(gain),
            "error": _finite(error),
            "accuracy": finalist.accuracy,
        }

    def __str__(self) -> str:
        chosen, unit = self.chosen, "of the held-out loss" if self.contribution else "by the prior"
        lines = [gains_text(self.contribution, self.layers), ""] if self.contribution else []
        lines += [self._race_text(), ""] if self.finalists else []
        lines += [f"{'scheme':<16}{chosen.scheme}"]
        if chosen.gain is not None:
            above = "optimal" if chosen.proven else f"none has more than {chosen.bound:.4f}"
            lines += [f"{'predicted gain':<16}{chosen.gain:.4f} {unit}, {above}"]
        if self.measured:
            gain, error = self.measured
            lines += [f"{'measured gain':<16}{gain:.4f} ± {error:.4f}"]
        ram = f"{chosen.need.ram:,.0f} B of {self.budget.ram:,.0f} B ({chosen.plans} plans)"
        return "\n".join([*lines, f"{'RAM':<16}{ram}"])

    def _race_text(self) -> str:
        rows = [
            [
                f.scheme.name if f.scheme.name.startswith("published:") else str(f.scheme),
                "{:.4f} ± {:.4f}".format(*self.gain(f)),
                f"{f.accuracy:.1%}",
                str(len(f.losses)),
            ]
            for f in self.finalists
        ]
        return columns(["trained and compared", "gain", "accuracy", "parts"], rows)


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def searched(
    model: Model,
    device: Device,
    search: Search | None = None,
    data: DataSet | None = None,
    optimiser: Optimiser | None = None,
    *,
    classes: int | None = None,
    max_classes: int | None = None,
    evaluate: bool = False,
    head: str = HEADS[0],
    seed: int = 0,
    options: Options | None = None,
    slices: str | int = AUTO,
    log: Log = quiet,
    costs: StepCosts | None = None,
) -> Searched:
    """The scheme that does best on the split `train` of `data` within the default RAM of the
    device, or what the options allow of it.  Without data gains are a prior (`gains.prior`), and
    nothing is compared.

    max_classes, evaluate, head, slices : as of `learner`
    costs : what was planned already, for another budget: with options under which a plan does not
        depend on it
    Raises UsageError for a core without limits where none is said, DoesNotFit with the least that
    would do, FormatError for a file of another analysis, DataError for data without classes.
    """
    search, options = search or Search(), options or Options()
    optimiser = optimiser or Optimiser()
    budget = _budget(device, options, search)
    options = replace(options, ram=int(budget.ram))
    if costs is None:
        beside = max_classes, evaluate, head, slices
        costs = StepCosts(model, device, optimiser, classes, seed, options, log, *beside)
    if not costs.planned(UpdateScheme()).within(budget):
        raise _too_small(costs)
    products = train_layers(model, classes)
    analysis = None
    if data is not None:
        analysis = _analysis(model, data, search, optimiser, classes, head, log)
    log("estimates of RAM of what could be trained")
    wanted = candidates(products, search.study, lambda s: _possible(costs, s, budget))
    contribution = analysis.contribution(wanted.pairs(search.study)) if analysis else None
    gains = wanted.prior(products)
    gains = contribution.model(gains) if contribution else gains
    log(f"searching within {budget.ram:,.0f} B of RAM")
    choice = _Choice(search, gains, costs, budget, analysis, seed, log)
    chosen = choice.made(_named(products, wanted, gains, costs, budget) if analysis else ())
    found = costs.learners[str(chosen.scheme)]
    return Searched(found, chosen, contribution, choice.ranked, budget, products)


def _named(
    products: tuple[Layer, ...],
    wanted: Candidates,
    gains: Gains,
    costs: StepCosts,
    budget: Need,
) -> tuple[UpdateScheme, ...]:
    """Schemes that need no search, as far as they may fit: the head, biases of the depth of which
    most is believed and of the greatest, as many of the last layers as there is room for, and what
    was published for such a network."""
    found = [UpdateScheme(), *map(UpdateScheme, wanted.depths[-1:])]
    best = max(wanted.depths, key=lambda k: gains.biases[k], default=0)
    found.append(UpdateScheme(best))
    layers = [last(k, products) for k in range(1, len(products))]
    room = budget.ram - costs.activations(UpdateScheme())
    held = list(takewhile(lambda s: costs.states(s) <= room, layers))
    found += [next((s for s in reversed(held) if costs.estimated(s) <= budget.ram), UpdateScheme())]
    found += [s for s in published_of(products) if costs.estimated(s) <= budget.ram]
    return tuple({str(s): s for s in found}.values())


@dataclass(eq=False)
class _Choice:
    """The way to the scheme that is taken.

    ranked : finalists, the best first; none where there are no data to compare them with
    """

    search: Search
    gains: Gains
    costs: StepCosts
    budget: Need
    analysis: Analysis | None
    seed: int
    log: Log
    ranked: tuple[Finalist, ...] = ()

    def made(self, named: Sequence[UpdateScheme]) -> Taken:
        """The best of the finalists whose plan is within the budget.

        Where the programme's own is refused, it learns by how much plans exceed estimates, and
        proposes another.  The head is always among them, and fits.
        """
        estimates: Costs = Estimated(self.costs)
        if math.isfinite(self.budget.cycles):
            estimates = self.costs  # of cycles there is no estimate
        refused: set[str] = set()
        smaller = self._of_less(estimates) if isinstance(estimates, Estimated) else ()
        while True:
            solved = self._solved(estimates, self.budget)
            finalists = {str(s): s for s in (solved.scheme, *smaller, *named, UpdateScheme())}
            self.ranked = self._raced(tuple(finalists.values()))
            order = [f.scheme for f in self.ranked] or list(finalists.values())
            scheme = next(s for s in order if str(s) not in refused)
            need = self.costs.planned(scheme)
            if need.within(self.budget):
                return self._taken(solved, scheme, need)
            self.log(f"{scheme}: needs {need.ram:,.0f} B of RAM, does not fit")
            refused.add(str(scheme))
            if str(scheme) == str(solved.scheme) and isinstance(estimates, Estimated):
                estimates = self._learned(estimates, scheme, need)

    def _learned(self, estimates: Estimated, scheme: UpdateScheme, need: Need) -> Costs:
        """Estimates under which a scheme that was refused would not have been proposed."""
        if need.ram <= self.budget.ram:
            return self.costs  # flash was not enough: only plans know of that
        over = need.ram - self.costs.states(scheme)
        return Estimated(self.costs, max(estimates.raised, over / self.costs.activations(scheme)))

    def _of_less(self, costs: Costs) -> tuple[UpdateScheme, ...]:
        """What would be proposed for parts of the RAM: gains of many layers do not add up, so that
        less may serve better.  Nothing where there is no race that could tell."""
        if self.analysis is None:
            return ()
        budgets = [replace(self.budget, ram=share * self.budget.ram) for share in SHARES]
        head = costs.planned(UpdateScheme()).ram
        return tuple(self._solved(costs, b).scheme for b in budgets if b.ram >= head)

    def _solved(self, costs: Costs, budget: Need) -> Chosen:
        """By the programme."""
        plans = self.search.plans
        if self.search.method == "ilp":
            solved = exact(self.gains, costs, budget, plans=plans, log=self.log)
        else:
            settings = Evolution(seed=self.seed, plans=plans)
            solved = evolve(self.gains, costs, budget, settings, self.log)
        head = self.costs.planned(UpdateScheme())  # which fits, whatever is estimated
        return solved or Chosen(UpdateScheme(), head, 0.0, 0.0, 0, self.search.method)

    def _raced(self, schemes: Sequence[UpdateScheme]) -> tuple[Finalist, ...]:
        if self.analysis is None:
            return ()
        analysis, study = self.analysis, self.analysis.study

        def measure(wanted: Sequence[tuple[UpdateScheme, int]]) -> list[Score]:
            analysis.measure("race", wanted)
            return [analysis.score(scheme, part) for scheme, part in wanted]

        return race(schemes, measure, study.parts, study.finals, UpdateScheme())

    def _taken(self, solved: Chosen, scheme: UpdateScheme, need: Need) -> Taken:
        gain, plans = self.gains.known(scheme), len(self.costs.learners)
        return Taken(scheme, need, gain, solved.bound, plans, solved.method)


def _budget(device: Device, options: Options, search: Search) -> Need:
    own = device.ram.size if device.limits else math.inf
    ram = min(options.ram or math.inf, own)
    if ram == math.inf:
        raise UsageError(
            "no budget to search a scheme for",
            where=device.name,
            expected="a board with memories, or --ram SIZE",
        )
    return Need(ram, device.flash.size if device.limits else math.inf, search.cycles)


def _analysis(
    model: Model,
    data: DataSet,
    search: Search,
    optimiser: Optimiser,
    classes: int | None,
    head: str,
    log: Log,
) -> Analysis:
    prepare = reference
    if search.fast:
        from lilliput.train.fast import prepare
    x, y = examples(data, "train", model.module.inputs(model.module.entry)[0].type)
    assert y is not None
    return Analysis(
        model.module, x, y, optimiser, search.study, classes, prepare, search.analysis, head, log
    )


def _possible(costs: StepCosts, scheme: UpdateScheme, budget: Need) -> bool:
    """Whether its parts alone leave hope that it fits."""
    parts = [UpdateScheme(scheme.biases)]
    parts += [UpdateScheme(weights={i: r}) for i, r in scheme.weights.items()]
    head = costs.states(UpdateScheme())
    states = head + sum(costs.states(p) - head for p in parts)
    return (
        states + costs.activations(parts[0]) <= budget.ram
        and states + max(map(costs.activations, parts)) <= budget.ram
    )


def _too_small(costs: StepCosts) -> DoesNotFit:
    """Says what the head alone needs, which is the least."""
    need = costs.planned(UpdateScheme())
    try:
        require_fit(costs.learners[str(UpdateScheme())].compiled.summary)
    except DoesNotFit as e:
        hint = f"the least that works is the head alone, in {need.ram:,.0f} B: --ram {need.ram:.0f}"
        return DoesNotFit([*e.problems[:-1], replace(e.problems[-1], hint=hint)])
    raise UsageError(
        "no scheme keeps to the cycles",
        expected="more than the head alone takes",
        found=f"{need.cycles:,.0f} predicted cycles",
    )


def gains_text(contribution: Contribution, layers: tuple[Layer, ...]) -> str:
    """What each candidate gains: of the held-out loss, and points of accuracy beside it."""
    head = contribution.head
    biases = [
        [str(g.scheme), _gain(g.loss, g.accuracy)]
        for g in contribution.gains
        if not g.scheme.weights
    ]
    shares = sorted({r for g in contribution.gains for r in g.scheme.weights.values()})
    cells: dict[int, dict[float, str]] = {}
    for g in contribution.gains:
        for i, r in g.scheme.weights.items():
            cells.setdefault(i, {})[r] = _gain(g.loss, g.accuracy)
    rows = [
        [f"{i} {layers[i].name}", *(cells[i].get(r, "") for r in shares)] for i in sorted(cells)
    ]
    names = [str(Fraction(r).limit_denominator(64)) for r in shares]
    parts = [
        f"the head alone: loss {head.loss:.4f}, accuracy {head.accuracy:.1%} of what is held out\n"
        "standard error of a gain: {:.4f} of biases, {:.4f} of weights".format(
            *contribution.errors
        ),
        columns(["gain over the head", "loss (points)"], biases) if biases else "",
        columns(["gain of weights on top", *names], rows) if rows else "",
    ]
    return "\n\n".join(p for p in parts if p)


def _gain(loss: float, accuracy: float) -> str:
    return f"{loss:.4f} ({100 * accuracy:+.1f})" if math.isfinite(loss) else "diverged"

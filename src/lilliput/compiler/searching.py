"""The scheme for a budget: gains from the user's data, costs from the planner, the best of both.

What is compared is what `learner` compiles: RAM is the `ram_bytes.total` of the whole image.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path

from lilliput.compiler.pipeline import Log, Model, Options, compile, from_module, quiet
from lilliput.compiler.training import Learner, examples, train_layers
from lilliput.data import DataSet
from lilliput.devices.device import Device
from lilliput.errors import DoesNotFit, UsageError
from lilliput.plan.fast import Known, peak
from lilliput.plan.guard import guarded_first
from lilliput.plan.order import reorder
from lilliput.report import columns, require_fit
from lilliput.train.build import ENTRY, Training, trainable
from lilliput.train.contribution import (
    Analysis,
    Contribution,
    Gains,
    Study,
    candidates,
    prior,
)
from lilliput.train.layers import Layer
from lilliput.train.optimisers import Optimiser
from lilliput.train.schemes import UpdateScheme
from lilliput.train.search import METHODS, PLANS, Chosen, Evolution, Need, evolve, exact
from lilliput.train.stages import reference

EVERY = 20
"""Bounds between two lines of progress."""


@dataclass(frozen=True)
class Search:
    """How a scheme is chosen.

    method : "ilp", exact, or "evolution"
    cycles : predicted cycles that a step may take; plans : how many are made, at most
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


@dataclass(frozen=True, eq=False)
class Searched:
    """learner : what was chosen, compiled; contribution : None where gains are the prior's
    measured : the gain of what was chosen over the head, trained as the candidates were
    budget : what it had to keep to; layers : of the network, the head the last"""

    learner: Learner
    chosen: Chosen
    contribution: Contribution | None
    measured: float | None
    budget: Need
    layers: tuple[Layer, ...]

    def to_json(self) -> dict[str, object]:
        """That of the learner, and `search`."""
        chosen = self.chosen
        limits = {k: v for k, v in asdict(self.budget).items() if math.isfinite(v)}
        contribution = self.contribution.to_json() if self.contribution else None
        found = {
            "method": chosen.method,
            "gain": chosen.gain,
            "measured_gain": self.measured,
            "bound": chosen.bound,
            "proven": chosen.proven,
            "plans": chosen.plans,
            "budget": limits,
            "need": asdict(chosen.need),
            "contribution": contribution,
        }
        return {**self.learner.to_json(), "search": found}

    def __str__(self) -> str:
        chosen, unit = self.chosen, "of the held-out loss" if self.contribution else "by the prior"
        above = "optimal" if chosen.proven else f"none has more than {chosen.bound:.4f}"
        lines = [gains_text(self.contribution, self.layers), ""] if self.contribution else []
        lines += [
            f"{'scheme':<16}{chosen.scheme}",
            f"{'predicted gain':<16}{chosen.gain:.4f} {unit}, {above} ({chosen.plans} plans)",
            *([f"{'measured gain':<16}{self.measured:.4f}"] if self.measured is not None else []),
            f"{'RAM':<16}{chosen.need.ram:,.0f} B of {self.budget.ram:,.0f} B",
        ]
        return "\n".join(lines)


class StepCosts:
    """`search.Costs` of a network on a board; each scheme once.

    learners : scheme -> what was compiled of it
    """

    def __init__(
        self,
        model: Model,
        device: Device,
        optimiser: Optimiser | None,
        classes: int | None,
        seed: int,
        options: Options,
        log: Log = quiet,
        max_classes: int | None = None,
        evaluate: bool = False,
        head: str = "float",
    ):
        self.model, self.device, self.optimiser = model, device, optimiser
        self.classes, self.seed, self.log = classes, seed, log
        self.max_classes, self.evaluate, self.head = max_classes, evaluate, head
        self.options = replace(options, shrink=False)
        self.learners: dict[str, Learner] = {}
        self._known = Known(device.core.name)
        self._activations: dict[str, int] = {}
        self._states: dict[str, int] = {}

    def _training(self, scheme: UpdateScheme) -> Training:
        return trainable(
            self.model.module,
            scheme,
            self.optimiser,
            classes=self.classes,
            seed=self.seed,
            max_classes=self.max_classes,
            evaluate=self.evaluate,
            head=self.head,
        )

    def states(self, scheme: UpdateScheme) -> int:
        """Of every tensor that outlives a step."""
        name = str(scheme)
        if name not in self._states:
            states = self._training(scheme).module.states.values()
            self._states[name] = sum(s.value.type.nbytes for s in states)
        return self._states[name]

    def activations(self, scheme: UpdateScheme) -> int:
        """By the fast planner, streaming, in the better of the two orders that the planner tries:
        before placement, which may take more.  Of an input that is asked for row by row none is
        counted.  With the stack and static data that the head needs."""
        name = str(scheme)
        if name not in self._activations:
            module = from_module(self._training(scheme).module).module
            orders = module, reorder(guarded_first(module))
            least = min(peak(m, self._known, streaming=True) for m in orders)
            (x,) = self.model.module.inputs(self.model.module.entry)
            pulled = 0 if self.options.feed == "memory" else x.type.nbytes
            self._activations[name] = max(0, least - pulled) + self._beside
            if len(self._activations) % EVERY == 0:
                self.log(f"{len(self._activations)} bounds of RAM, the last of {scheme}")
        return self._activations[name]

    @cached_property
    def _beside(self) -> int:
        self.planned(UpdateScheme())
        ram = self.learners[str(UpdateScheme())].compiled.summary.ram_bytes
        return (ram.static or 0) + (ram.stack or 0)

    def planned(self, scheme: UpdateScheme) -> Need:
        """Planned for the budget, compiled and, where there is a toolchain, linked."""
        name = str(scheme)
        if name not in self.learners:
            training = self._training(scheme)
            module = from_module(training.module)
            compiled = compile(module, self.device, self.options, must_fit=False)
            self.learners[name] = Learner(training, compiled)
        summary = self.learners[name].compiled.summary
        ram, flash = summary.ram_bytes, summary.flash_bytes
        return Need(
            ram.total or ram.activations + ram.states,
            flash.total or flash.constants,
            sum(la.predicted_cycles for la in summary.layers if la.entry == ENTRY),
        )


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
    head: str = "float",
    seed: int = 0,
    options: Options | None = None,
    log: Log = quiet,
    costs: StepCosts | None = None,
) -> Searched:
    """The scheme that gains most on the split `train` of `data` within the default RAM of the
    device, or what the options allow of it.  Without data gains are a prior (`contribution.prior`).

    max_classes, evaluate, head : as of `learner`
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
        beside = max_classes, evaluate, head
        costs = StepCosts(model, device, optimiser, classes, seed, options, log, *beside)
    if not costs.planned(UpdateScheme()).within(budget):
        raise _too_small(costs)
    products = train_layers(model, classes)
    analysis = None
    if data is not None:
        analysis = _analysis(model, data, search, optimiser, classes, head, log)
    log("bounds of RAM of what could be trained")
    wanted = candidates(products, search.study, lambda s: _possible(costs, s, budget))
    contribution = analysis.contribution(wanted) if analysis else None
    gains = contribution.model if contribution else _assumed(products, search.study, wanted)
    log(f"searching within {budget.ram:,.0f} B of RAM")
    if search.method == "ilp":
        chosen = exact(gains, costs, budget, plans=search.plans, log=log)
    else:
        chosen = evolve(gains, costs, budget, Evolution(seed=seed, plans=search.plans), log)
    assert chosen is not None, "the head fits"
    measured = None
    if analysis and contribution:
        chosen, measured = _confirmed(analysis, contribution, chosen, costs, budget, log)
    found = costs.learners[str(chosen.scheme)]
    return Searched(found, chosen, contribution, measured, budget, products)


def _confirmed(
    analysis: Analysis,
    contribution: Contribution,
    chosen: Chosen,
    costs: StepCosts,
    budget: Need,
    log: Log,
) -> tuple[Chosen, float]:
    """What was chosen and its gain, trained as the candidates were: gains need not add up.  A
    candidate that is better by itself, and fits, takes its place."""

    def gain(scheme: UpdateScheme) -> float:
        loss = analysis.score(scheme).loss
        return contribution.head.loss - loss if math.isfinite(loss) else -math.inf

    model, ours = contribution.model, gain(chosen.scheme)
    log(f"{chosen.scheme}: measured gain {ours:.4f}, predicted {chosen.gain:.4f}")
    alone = {str(g.scheme): (gain(g.scheme), g.scheme) for g in contribution.gains}
    alone["head"] = 0.0, UpdateScheme()
    for name, (value, scheme) in sorted(alone.items(), key=lambda item: -item[1][0]):
        if value <= ours:
            break
        if costs.states(scheme) + costs.activations(scheme) > budget.ram:
            continue
        need = costs.planned(scheme)
        if need.within(budget):
            log(f"{name} by itself: measured gain {value:.4f}")
            plans = chosen.plans + 1
            return replace(chosen, scheme=scheme, need=need, gain=model(scheme), plans=plans), value
    return chosen, ours


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


def _assumed(
    products: tuple[Layer, ...],
    study: Study,
    wanted: tuple[tuple[UpdateScheme, UpdateScheme], ...],
) -> Gains:
    """The prior of those candidates."""
    whole = prior(products, study.ratios)
    weights: dict[int, dict[float, float]] = {}
    for scheme, _ in wanted:
        for i, r in scheme.weights.items():
            weights.setdefault(i, {})[r] = whole.weights[i][r]
    depths = {s.biases: whole.biases[s.biases] for s, _ in wanted if not s.weights}
    return Gains(depths, weights)


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
        f"the head alone: loss {head.loss:.4f}, accuracy {head.accuracy:.1%} of what is held out",
        columns(["gain over the head", "loss (points)"], biases) if biases else "",
        columns(["gain of weights on top", *names], rows) if rows else "",
    ]
    return "\n\n".join(p for p in parts if p)


def _gain(loss: float, accuracy: float) -> str:
    return f"{loss:.4f} ({100 * accuracy:+.1f})" if math.isfinite(loss) else "diverged"

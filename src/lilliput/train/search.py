"""The update scheme that is worth most within a budget.

    maximise    gain of the bias depth + sum of the gains of weights        (`Gains`)
    subject to  RAM, flash and cycles of the planned step <= the budget

RAM is no sum: it is what the planner finds.  What is known before a plan is, for choices S,

    RAM(S) >= sum of states(s) + max of activations(s),    s in S            (`Costs`)

as a step that does more needs no fewer bytes than a step that does a part of it.  The integer
programme under this bound is solved exactly by branch and bound, and its best scheme is planned.
One that does not fit becomes a cut: it is excluded, with all schemes that train more.  The first
that fits is the optimum, if gains add up, the planner keeps that rule and the bound is one.  As
plans are dear, schemes that should fit are tried in between, under the bound raised by as much
as plans have exceeded it.  Where no more plans are allowed, the best that was found stands beside
the gain that none can exceed.

The evolutionary search, as MCUNetV3 has it (Lin et al. 2022, appendix D), breeds schemes within the
same raised bound and plans the best; it proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Protocol

import numpy as np

from lilliput.train.contribution import Gains
from lilliput.train.schemes import UpdateScheme

PLANS = 16
"""Plans that a search makes at most."""
METHODS = ("ilp", "evolution")
Log = Callable[[str], None]


@dataclass(frozen=True)
class Need:
    """What a planned step takes: bytes of RAM and of flash, predicted cycles."""

    ram: float = 0.0
    flash: float = 0.0
    cycles: float = 0.0

    def within(self, budget: Need) -> bool:
        pairs = (self.ram, budget.ram), (self.flash, budget.flash), (self.cycles, budget.cycles)
        return all(mine <= most for mine, most in pairs)


class Costs(Protocol):
    """What a scheme costs: the bound of its RAM is states + activations, in bytes."""

    def states(self, scheme: UpdateScheme) -> int:
        """Bytes that are kept from step to step."""
        ...

    def activations(self, scheme: UpdateScheme) -> int:
        """The fewest bytes that anything else of the step takes."""
        ...

    def planned(self, scheme: UpdateScheme) -> Need:
        """What the planner finds; of what does not fit the least that it found."""
        ...


@dataclass(frozen=True)
class Chosen:
    """scheme, what it needs, and its gain by the model; bound : no scheme has more, as far as was
    proven; plans : how many were made"""

    scheme: UpdateScheme
    need: Need
    gain: float
    bound: float
    plans: int
    method: str

    @property
    def proven(self) -> bool:
        return self.bound <= self.gain + 1e-9


# The integer programme --------------------------------------------------------------------


@dataclass(frozen=True)
class Option:
    """A choice: a depth or a share, its gain, bytes of its states, least activations with it.

    known : they are what the costs say, and not only what less of the same takes
    """

    level: float
    gain: float
    states: int
    activations: int
    known: bool = True

    def scheme(self, layer: int | None) -> UpdateScheme:
        """That choice alone: of a layer's share, or of the depth."""
        if layer is None:
            return UpdateScheme(int(self.level))
        return UpdateScheme(weights={layer: self.level})


class Programme:
    """head : bytes of the states of the head alone
    depths : options of the bias depth, 0 among them
    layers : of each layer's share, the smallest first, without that of training none

    Options of no gain are left out.  Bounds of shares are asked for where a scheme takes them.
    """

    def __init__(self, gains: Gains, costs: Costs):
        self.costs, self.head = costs, costs.states(UpdateScheme())
        self.depths = [Option(0, 0.0, 0, costs.activations(UpdateScheme()))]
        for k, gain in sorted(gains.biases.items()):
            if gain > 0:
                scheme = UpdateScheme(k)
                option = Option(k, gain, self._states(scheme), costs.activations(scheme))
                self.depths.append(option)
        self.layers: dict[int, list[Option]] = {}
        for layer, shares in sorted(gains.weights.items()):
            options = [
                Option(r, gain, self._states(UpdateScheme(weights={layer: r})), 0, known=False)
                for r, gain in sorted(shares.items())
                if gain > 0
            ]
            if options:
                self.layers[layer] = options

    def _states(self, scheme: UpdateScheme) -> int:
        return self.costs.states(scheme) - self.head

    def chosen(self, scheme: UpdateScheme) -> list[Option]:
        """Its options; those that are left out are not among them."""
        found = [o for o in self.depths if o.level == scheme.biases]
        for i, share in scheme.weights.items():
            found += [o for o in self.layers.get(i, ()) if o.level == share]
        return found

    def least(self, scheme: UpdateScheme, raised: float = 1.0) -> float:
        """The bound of RAM with activations `raised`; inf for options that are left out."""
        chosen = self.chosen(scheme)
        if len(chosen) < 1 + len(scheme.weights):
            return math.inf
        top = max(o.activations for o in chosen)
        return self.head + sum(o.states for o in chosen) + raised * top

    def refine(self, scheme: UpdateScheme) -> bool:
        """Asks for the bounds of its shares; says whether one was not known."""
        asked = False
        for layer, share in scheme.weights.items():
            options = self.layers[layer]
            k = next(k for k, o in enumerate(options) if o.level == share)
            if options[k].known:
                continue
            asked, needs = True, self.costs.activations(options[k].scheme(layer))
            for at, o in enumerate(options):
                least = max(o.activations, needs) if at >= k else o.activations
                options[at] = replace(o, activations=least, known=o.known or at == k)
        return asked


def covers(scheme: UpdateScheme, part: UpdateScheme) -> bool:
    """Whether `scheme` trains all that `part` does."""
    shares = scheme.weights
    weights = all(shares.get(i, 0) >= share for i, share in part.weights.items())
    return scheme.biases >= part.biases and weights


def best(
    programme: Programme,
    room: float,
    raised: float = 1.0,
    cuts: Sequence[UpdateScheme] = (),
    beyond: float = -math.inf,
) -> UpdateScheme | None:
    """The scheme of the largest gain above `beyond` whose bound is within `room` and that covers
    none of the `cuts`; None where there is none.  Exact, by branch and bound: what is left to
    decide is bounded by the relaxation of the knapsack."""
    search = _Branch(programme, room, raised, cuts, beyond)
    for depth in sorted(programme.depths, key=lambda o: -o.gain):
        search.visit(0, depth, {}, depth.gain, programme.head + depth.states, depth.activations)
    return search.found


class _Branch:
    """Depth first over the layers, those with most gain a byte first."""

    def __init__(
        self,
        programme: Programme,
        room: float,
        raised: float,
        cuts: Sequence[UpdateScheme],
        beyond: float,
    ):
        self.room, self.raised, self.cuts = room, raised, cuts
        self.value = beyond
        self.found: UpdateScheme | None = None

        def density(item: tuple[int, Sequence[Option]]) -> float:
            return -max(o.gain / max(o.states, 1) for o in item[1])

        self.order = sorted(programme.layers.items(), key=density)
        rising = [
            (gain / max(nbytes, 1), g, gain, nbytes)
            for g, (_, options) in enumerate(self.order)
            for gain, nbytes in _hull(options)
        ]
        self.rising = sorted(rising, key=lambda r: -r[0])

    def visit(
        self,
        at: int,
        depth: Option,
        shares: dict[int, float],
        gain: float,
        states: int,
        activations: int,
    ) -> None:
        left = self.room - states - self.raised * activations
        if left < 0 or gain + self._relaxed(at, left) <= self.value + 1e-12:
            return
        scheme = UpdateScheme(int(depth.level), dict(sorted(shares.items())))
        if any(covers(scheme, cut) for cut in self.cuts):
            return
        if gain > self.value + 1e-12:
            self.value, self.found = gain, scheme
        if at == len(self.order):
            return
        layer, options = self.order[at]
        for o in sorted(options, key=lambda o: -o.gain):
            more = {**shares, layer: o.level}
            top = max(activations, o.activations)
            self.visit(at + 1, depth, more, gain + o.gain, states + o.states, top)
        self.visit(at + 1, depth, shares, gain, states, activations)

    def _relaxed(self, at: int, left: float) -> float:
        """The most that layers from `at` on can gain within `left` bytes, options in part too."""
        total = 0.0
        for _, layer, gain, nbytes in self.rising:
            if layer < at:
                continue
            if nbytes > left:
                return total + gain * left / nbytes
            total, left = total + gain, left - nbytes
        return total


def _hull(options: Sequence[Option]) -> list[tuple[float, int]]:
    """Steps (gain, bytes) from nothing along the upper hull, of falling gain a byte."""
    points = [(0, 0.0)]
    for o in sorted(options, key=lambda o: (o.states, -o.gain)):
        if o.gain <= points[-1][1]:
            continue
        while len(points) > 1 and _slope(points[-1], (o.states, o.gain)) >= _slope(*points[-2:]):
            points.pop()
        points.append((o.states, o.gain))
    return [(b[1] - a[1], b[0] - a[0]) for a, b in pairwise(points)]


def _slope(a: tuple[int, float], b: tuple[int, float]) -> float:
    return (b[1] - a[1]) / max(b[0] - a[0], 1)


# Planning ---------------------------------------------------------------------------------


@dataclass(eq=False)
class _Ledger:
    """What plans have told: `raised`, by how much activations exceed their bound; `cuts`."""

    programme: Programme
    gains: Gains
    costs: Costs
    budget: Need
    log: Log
    raised: float = 1.0
    plans: int = 0
    cuts: list[UpdateScheme] = field(default_factory=list[UpdateScheme])
    held: tuple[UpdateScheme, Need] | None = None

    @property
    def value(self) -> float:
        return self.gains(self.held[0]) if self.held else -math.inf

    def best(self, raised: float) -> UpdateScheme | None:
        """The best that is better than what is held, with bounds that are all known."""
        while True:
            found = best(self.programme, self.budget.ram, raised, self.cuts, self.value)
            if found is None or not self.programme.refine(found):
                return found

    def fits(self, scheme: UpdateScheme) -> bool:
        """Plans it, if it may fit; keeps it, or cuts it off."""
        states, least = self.costs.states(scheme), self.costs.activations(scheme)
        if states + least > self.budget.ram:
            self.log(f"{scheme}: needs {states + least:,} B or more")
            return self._cut(scheme, least)
        self.plans += 1
        need = self.costs.planned(scheme)
        told = f"gain {self.gains(scheme):.4f}, {need.ram:,.0f} B of RAM"
        fits = need.within(self.budget)
        self.log(f"{scheme}: {told}, {'fits' if fits else 'does not fit'}")
        if not fits:
            return self._cut(scheme, need.ram - states if need.ram > self.budget.ram else 0.0)
        if self.held is None or self.gains(scheme) > self.value:
            self.held = scheme, need
        return True

    def _cut(self, scheme: UpdateScheme, activations: float) -> bool:
        self.cuts.append(scheme)
        bound = max(o.activations for o in self.programme.chosen(scheme))
        self.raised = max(self.raised, activations / max(bound, 1))
        return False

    def chosen(self, method: str, bound: float) -> Chosen | None:
        if self.held is None:
            return None
        scheme, need = self.held
        return Chosen(scheme, need, self.value, max(bound, self.value), self.plans, method)


def exact(
    gains: Gains, costs: Costs, budget: Need, *, plans: int = PLANS, log: Log = lambda _: None
) -> Chosen | None:
    """The optimum, or the best of `plans` plans beside the bound; None where not even the head
    fits."""
    ledger = _Ledger(Programme(gains, costs), gains, costs, budget, log)
    if not ledger.fits(UpdateScheme()):
        return None
    while (upper := ledger.best(1.0)) is not None and ledger.plans < plans:
        if ledger.fits(upper):
            return ledger.chosen("ilp", ledger.value)
        sure = ledger.best(ledger.raised) if ledger.raised > 1 else None
        if sure is not None and ledger.plans < plans:
            ledger.fits(sure)
    bound = gains(upper) if upper is not None else ledger.value
    return ledger.chosen("ilp", bound)


# Evolution --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evolution:
    """population, generations : of each round of breeding; parents : those that breed
    mutation : chance that a gene is drawn anew; plans as in `exact`"""

    population: int = 100
    generations: int = 40
    parents: int = 25
    mutation: float = 0.1
    seed: int = 0
    plans: int = PLANS


Genes = tuple[int, ...]
"""The option of the depth, then that of each layer, 0 for none."""


def evolve(
    gains: Gains,
    costs: Costs,
    budget: Need,
    evolution: Evolution | None = None,
    log: Log = lambda _: None,
) -> Chosen | None:
    """The best scheme that breeding finds and the planner confirms; None where not even the head
    fits.  Its bound is that of the integer programme before any plan."""
    settings = evolution or Evolution()
    programme = Programme(gains, costs)
    ledger = _Ledger(programme, gains, costs, budget, log)
    if not ledger.fits(UpdateScheme()):
        return None
    upper = ledger.best(1.0)
    breed = _Breed(programme, ledger, settings)
    while ledger.plans < settings.plans:
        found = breed.best()
        if found is None or (not programme.refine(found) and ledger.fits(found)):
            break
    return ledger.chosen("evolution", gains(upper) if upper else ledger.value)


class _Breed:
    """A population of schemes within the raised bound; those outside are worth less than none, by
    how far they are out."""

    def __init__(self, programme: Programme, ledger: _Ledger, settings: Evolution):
        self.programme, self.ledger, self.settings = programme, ledger, settings
        self.rng = np.random.default_rng(settings.seed)
        self.layers = sorted(programme.layers.items())
        self.sizes = [len(programme.depths), *(1 + len(o) for _, o in self.layers)]
        self.population: list[Genes] = [self._drawn() for _ in range(settings.population)]

    def _drawn(self) -> Genes:
        """Few layers at first: most schemes of many do not fit."""
        share = self.rng.random()
        return tuple(
            int(self.rng.integers(n)) if k == 0 or self.rng.random() < share else 0
            for k, n in enumerate(self.sizes)
        )

    def scheme(self, genes: Genes) -> UpdateScheme:
        depth = self.programme.depths[genes[0]]
        chosen = zip(self.layers, genes[1:], strict=True)
        weights = {i: options[g - 1].level for (i, options), g in chosen if g}
        return UpdateScheme(int(depth.level), weights)

    def fitness(self, genes: Genes) -> float:
        scheme = self.scheme(genes)
        if any(covers(scheme, cut) for cut in self.ledger.cuts):
            return -math.inf
        over = self.programme.least(scheme, self.ledger.raised) - self.ledger.budget.ram
        return -over if over > 0 else self.ledger.gains(scheme)

    def best(self) -> UpdateScheme | None:
        """After another round; None where none of the population is better than what is held."""
        for _ in range(self.settings.generations):
            ranked = sorted(set(self.population), key=lambda g: (-self.fitness(g), g))
            parents = ranked[: self.settings.parents]
            self.population = [*parents]
            while len(self.population) < self.settings.population:
                self.population.append(self._child(parents))
        top = min(self.population, key=lambda g: (-self.fitness(g), g))
        value = self.fitness(top)
        return self.scheme(top) if value > max(self.ledger.value, 0.0) else None

    def _child(self, parents: Sequence[Genes]) -> Genes:
        """Of two parents, gene by gene, some drawn anew."""
        one, other = (parents[int(self.rng.integers(len(parents)))] for _ in range(2))
        genes = [a if self.rng.random() < 0.5 else b for a, b in zip(one, other, strict=True)]
        for k, n in enumerate(self.sizes):
            if self.rng.random() < self.settings.mutation:
                genes[k] = int(self.rng.integers(n))
        return tuple(genes)

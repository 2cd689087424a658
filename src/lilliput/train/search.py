"""The update scheme that is worth most within a budget.

    maximise    gain of the bias depth + sum of the gains of weights        (`Gains`)
    subject to  RAM, flash and cycles of the planned step <= the budget

RAM is no sum: it is what the planner finds.  What is known before a plan is, for choices S,

    RAM(S) >= sum of states(s) + max of activations(s),    s in S            (`Costs`)

as a step that does more needs no fewer bytes than a step that does a part of it.  The integer
programme under this bound is solved exactly (`best`), and its best scheme is planned.  One that
does not fit becomes a cut: it is excluded, with all schemes of the same biases that train more.
The first that fits is the optimum, if gains add up, the planner keeps that rule and the bound is
one.  As plans are dear, schemes that should fit are tried before, under the bound with a margin: by
as much as plans have exceeded it.  Where no more plans are allowed, the best that was found stands
beside the gain that none can exceed.

The evolutionary search, as MCUNetV3 has it (Lin et al. 2022, appendix D), breeds schemes within
the same margin and plans the best; it proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from lilliput.ir import Array
from lilliput.train.gains import Gains
from lilliput.train.schemes import UpdateScheme

PLANS = 16
"""Plans that a search makes at most."""
ASKED = 4
"""Bounds of whole schemes that are asked for, for each plan, at most."""
PARTS = (1.0, 0.5, 0.25, 0.0)
"""Parts of the margin that schemes are tried with in turn: what should fit, and what may."""
METHODS = ("ilp", "evolution")
GRAIN = 16
"""Bytes of states in a cell of the tables of the integer programme."""
EPSILON = 1e-12
"""Gains that differ by less are equal."""
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
        """What the planner finds, or an estimate of that; of what does not fit the least."""
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
class Margin:
    """By what plans exceed the bound.

    raised : times the activations of the neediest choice
    shared : and this part of what the other shares' activations exceed the head's by: of what is
        kept for several layers at once
    """

    raised: float = 1.0
    shared: float = 0.0

    def part(self, of: float) -> Margin:
        """Between none, 0, and all of it, 1."""
        return Margin(1 + of * (self.raised - 1), of * self.shared)


NONE = Margin()


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

    def options(self) -> list[Option]:
        return [*self.depths, *(o for options in self.layers.values() for o in options)]

    def chosen(self, scheme: UpdateScheme) -> list[Option]:
        """Its options; those that are left out are not among them."""
        found = [o for o in self.depths if o.level == scheme.biases]
        for i, share in scheme.weights.items():
            found += [o for o in self.layers.get(i, ()) if o.level == share]
        return found

    def least(self, scheme: UpdateScheme, margin: Margin = NONE) -> float:
        """The bound of RAM with a margin; inf for options that are left out."""
        chosen = self.chosen(scheme)
        if len(chosen) < 1 + len(scheme.weights):
            return math.inf
        top = max(o.activations for o in chosen)
        states = sum(self.room(o, margin) for o in chosen)
        return self.head + states + margin.raised * top

    def room(self, option: Option, margin: Margin) -> int:
        """Bytes that an option takes for itself: states, and its part of what is shared."""
        if option in self.depths:
            return option.states
        return option.states + math.floor(margin.shared * self.extra(option))

    def extra(self, option: Option) -> int:
        """Bytes by which its activations exceed those of the head."""
        return max(0, option.activations - self.depths[0].activations)

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
    """Whether `scheme` trains all that `part` does, and the same biases: of these one more may
    give the planner an order that it does not find with one less."""
    shares = scheme.weights
    weights = all(shares.get(i, 0) >= share for i, share in part.weights.items())
    return scheme.biases == part.biases and weights


def best(
    programme: Programme,
    room: float,
    margin: Margin = NONE,
    cuts: Sequence[UpdateScheme] = (),
    beyond: float = -math.inf,
) -> UpdateScheme | None:
    """The scheme of the largest gain above `beyond` whose bound, with the margin, is within `room`
    and that covers none of the `cuts`; None where there is none.

    Exact: for each number of bytes that activations may take, what is left is a knapsack of
    states.  Its dynamic programme bounds what layers that are not decided can gain, and without
    cuts the search along that bound walks straight to the optimum.
    """
    levels = [
        _Level(programme, room - programme.head - margin.raised * most, most, margin)
        for most in sorted({o.activations for o in programme.options()})
        if most >= programme.depths[0].activations
    ]
    found, value = None, beyond
    for level in sorted(levels, key=lambda v: -v.top):
        if level.top > value + EPSILON:
            found, value = level.search(found, value, cuts)
    return found


class _Level:
    """Schemes whose states are within `room` and whose options have `most` activations or less.

    groups : (layer, its options); the depth is layer None, and comes first
    bounds : what the groups from k on gain at most, for each number of whole grains of room
    """

    def __init__(self, programme: Programme, room: float, most: int, margin: Margin):
        whole = [(None, programme.depths), *programme.layers.items()]
        self.groups = [
            (i, [(o, programme.room(o, margin)) for o in options if o.activations <= most])
            for i, options in whole
        ]
        every = sum(max((need for _, need in group), default=0) for _, group in self.groups)
        self.room = math.floor(min(room, every))
        self.bounds: list[Array] = []
        if self.room >= 0:
            self.bounds = self._bounds(self.room // GRAIN)
        self.top = float(self.bounds[0][-1]) if self.bounds else -math.inf

    def _bounds(self, grains: int) -> list[Array]:
        found = [np.zeros(grains + 1)]
        for _, options in reversed(self.groups):
            after, best = found[-1], found[-1].copy()
            for o, need in options:
                size = need // GRAIN  # rounded down: a bound
                if size <= grains:
                    best[size:] = np.maximum(best[size:], after[: grains + 1 - size] + o.gain)
            found.append(best)
        return found[::-1]

    def search(
        self, found: UpdateScheme | None, value: float, cuts: Sequence[UpdateScheme]
    ) -> tuple[UpdateScheme | None, float]:
        """The best scheme and its gain, where one has more than `value`."""
        none = Option(0, 0.0, 0, 0), 0
        waiting = [(0, self.room, 0.0, UpdateScheme())]
        while waiting:
            at, room, gain, scheme = waiting.pop()
            if gain + self.bounds[at][room // GRAIN] <= value + EPSILON:
                continue
            if any(covers(scheme, cut) for cut in cuts):
                continue
            if at == len(self.groups):
                found, value = scheme, gain
                continue
            layer, options = self.groups[at]
            after = self.bounds[at + 1]
            ranked = sorted(
                (o.gain + after[(room - need) // GRAIN], need, o.level, o.gain)
                for o, need in (none, *options)
                if need <= room
            )
            for _, need, level, own in ranked:  # the most promising is visited first
                part = _with(scheme, layer, level)
                waiting.append((at + 1, room - need, gain + own, part))
        return found, value


def _with(scheme: UpdateScheme, layer: int | None, level: float) -> UpdateScheme:
    if not level:
        return scheme
    if layer is None:
        return replace(scheme, biases=int(level))
    return replace(scheme, weights={**scheme.weights, layer: level})


# Planning ---------------------------------------------------------------------------------


@dataclass(eq=False)
class _Ledger:
    """What plans have told: a margin, and cuts.

    asked : bounds of whole schemes that were asked for; held : the best that fits
    """

    programme: Programme
    gains: Gains
    costs: Costs
    budget: Need
    log: Log
    margin: Margin = NONE
    plans: int = 0
    asked: int = 0
    cuts: list[UpdateScheme] = field(default_factory=list[UpdateScheme])
    held: tuple[UpdateScheme, Need] | None = None

    @property
    def value(self) -> float:
        return self.gains(self.held[0]) if self.held else -math.inf

    def best(self, margin: Margin) -> UpdateScheme | None:
        """The best that is better than what is held, with bounds that are all known."""
        while True:
            found = best(self.programme, self.budget.ram, margin, self.cuts, self.value)
            if found is None or not self.programme.refine(found):
                return found

    def spent(self, plans: int) -> bool:
        return self.plans >= plans or self.asked >= ASKED * plans

    def fits(self, scheme: UpdateScheme, learn: bool = True) -> bool:
        """Plans it, if it may fit; keeps it, or cuts it off and, asked to learn, widens the margin
        until it would not have been tried."""
        self.asked += 1
        states, least = self.costs.states(scheme), self.costs.activations(scheme)
        if states + least > self.budget.ram:
            self.log(f"{scheme}: needs {states + least:,} B or more")
            return self._cut(scheme, least, learn)
        self.plans += 1
        need = self.costs.planned(scheme)
        told = f"gain {self.gains(scheme):.4f}, {need.ram:,.0f} B of RAM"
        fits = need.within(self.budget)
        self.log(f"{scheme}: {told}, {'fits' if fits else 'does not fit'}")
        if not fits:
            return self._cut(scheme, need.ram - states, learn and need.ram > self.budget.ram)
        if self.held is None or self.gains(scheme) > self.value:
            self.held = scheme, need
        return True

    def _cut(self, scheme: UpdateScheme, activations: float, learn: bool) -> bool:
        self.cuts.append(scheme)
        chosen = self.programme.chosen(scheme)
        if learn and chosen:
            top = max(o.activations for o in chosen)
            extra = sum(self.programme.extra(o) for o in chosen if o not in self.programme.depths)
            over = activations - self.margin.raised * top
            if len(scheme.weights) > 1 and extra:
                self.margin = replace(self.margin, shared=max(self.margin.shared, over / extra))
            else:
                raised = max(self.margin.raised, activations / max(top, 1))
                self.margin = replace(self.margin, raised=raised)
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
    while not ledger.spent(plans):
        for part in PARTS:
            found = ledger.best(ledger.margin.part(part))
            fits = found is not None and ledger.fits(found, learn=part == 1)
            if part == 0 and (fits or found is None):
                return ledger.chosen("ilp", ledger.value)  # nothing better is within the bound
            if fits or ledger.spent(plans):
                break
    upper = ledger.best(NONE)
    return ledger.chosen("ilp", gains(upper) if upper else ledger.value)


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
    upper = ledger.best(NONE)
    breed = _Breed(programme, ledger, settings)
    while not ledger.spent(settings.plans):
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
        over = self.programme.least(scheme, self.ledger.margin) - self.ledger.budget.ram
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

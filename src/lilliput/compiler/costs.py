"""What update schemes cost on a board: estimates within seconds, and the plans that decide.

An estimate is what the planner says that no plan does with less than (`plan.build.needs`), of the
step with the slices of blocks that `learner` would give it.  Plans lie up to a tenth above it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial

from lilliput.compiler.pipeline import Log, Model, Options, quiet
from lilliput.compiler.slicing import AUTO, Slicing, asked
from lilliput.compiler.training import Learner
from lilliput.devices.device import Device
from lilliput.train.build import ENTRY, Training, trainable
from lilliput.train.heads import HEADS
from lilliput.train.optimisers import Optimiser
from lilliput.train.schemes import UpdateScheme
from lilliput.train.search import Need

EVERY = 20
"""Estimates between two lines of progress."""
PLACED = 1.03
"""By how much plans are taken to exceed estimates of activations, until one says otherwise."""


class StepCosts:
    """`search.Costs` of a network on a board; each scheme once.

    head, slices : as of `learner`
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
        head: str = HEADS[0],
        slices: str | int = AUTO,
    ):
        self.model, self.device, self.optimiser = model, device, optimiser
        self.classes, self.seed, self.log = classes, seed, log
        self.max_classes, self.evaluate, self.head = max_classes, evaluate, head
        self.slices = asked(slices)
        self.options = replace(options, shrink=False)
        self.learners: dict[str, Learner] = {}
        self._activations: dict[str, int] = {}
        self._states: dict[str, int] = {}

    def _training(
        self, scheme: UpdateScheme, slices: Mapping[str, int], remade: Collection[str] = ()
    ) -> Training:
        return trainable(
            self.model.module,
            scheme,
            self.optimiser,
            classes=self.classes,
            seed=self.seed,
            max_classes=self.max_classes,
            evaluate=self.evaluate,
            slices=slices,
            remade=remade,
            head=self.head,
        )

    def _slicing(self, scheme: UpdateScheme) -> Slicing:
        return Slicing(partial(self._training, scheme), self.device, self.options, self.log)

    def states(self, scheme: UpdateScheme) -> int:
        """Of every tensor that outlives a step."""
        name = str(scheme)
        if name not in self._states:
            states = self._training(scheme, {}).module.states.values()
            self._states[name] = sum(s.value.type.nbytes for s in states)
        return self._states[name]

    def activations(self, scheme: UpdateScheme) -> int:
        """Estimated; with the stack and static data that the head needs."""
        name = str(scheme)
        if name not in self._activations:
            self._activations[name] = self._slicing(scheme).least(self.slices) + self._beside
            if len(self._activations) % EVERY == 0:
                self.log(f"{len(self._activations)} estimates of RAM, the last of {scheme}")
        return self._activations[name]

    def estimated(self, scheme: UpdateScheme) -> int:
        """Bytes of RAM of the whole image."""
        return self.states(scheme) + self.activations(scheme)

    @cached_property
    def _beside(self) -> int:
        self.planned(UpdateScheme())
        ram = self.learners[str(UpdateScheme())].compiled.summary.ram_bytes
        return (ram.static or 0) + (ram.stack or 0)

    def planned(self, scheme: UpdateScheme) -> Need:
        """Planned for the budget as `learner` does, compiled and, where there is a toolchain,
        linked."""
        name = str(scheme)
        if name not in self.learners:
            self.learners[name] = Learner(*self._slicing(scheme).of(self.slices))
        summary = self.learners[name].compiled.summary
        ram, flash = summary.ram_bytes, summary.flash_bytes
        return Need(
            ram.total or ram.activations + ram.states,
            flash.total or flash.constants,
            sum(la.predicted_cycles for la in summary.layers if la.entry == ENTRY),
        )


@dataclass(frozen=True)
class Estimated:
    """The same costs where an estimate stands for a plan: of RAM alone.

    raised : times the activations, what a plan is taken to need
    """

    costs: StepCosts
    raised: float = PLACED

    def states(self, scheme: UpdateScheme) -> int:
        return self.costs.states(scheme)

    def activations(self, scheme: UpdateScheme) -> int:
        return round(self.raised * self.costs.activations(scheme))

    def planned(self, scheme: UpdateScheme) -> Need:
        return Need(self.states(scheme) + self.activations(scheme))

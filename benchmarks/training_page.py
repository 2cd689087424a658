"""What docs/training-results.md speaks of: every run of it, in the order of what tells most.

A scheme `ours:SIZE` is searched for before the first run that needs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.training import Setting, setting
from lilliput.train.optimisers import RULES

SEEDS = (0, 1, 2)
MORE = range(3, 9)
"""Seeds beside these, of int8 steps against float ones, and of one rule against another."""
SIZES = ("64kB", "100kB", "150kB", "256kB")
OURS = tuple(f"ours:{size}" for size in SIZES)
PUBLISHED = tuple(f"published:mcunet-{kb}kb" for kb in (49, 99, 148))
PICTURES = ("flowers", "cifar", "person")
LOW, MIDDLE, HIGH = 0.004, 0.016, 0.064
"""First rates."""
SMALL = (0.00025, 0.001, LOW)
"""First rates of the update of everything on pictures."""
WORDS = "last=4"
"""The scheme with which rules and optimisers are compared on words."""


@dataclass(frozen=True)
class Tuned:
    """A way to learn a task; the rate that is best on seed 0 is taken for the other seeds."""

    scheme: str
    rule: str = "residual"
    optimiser: str = "sgd"
    rates: tuple[float, ...] = (LOW, MIDDLE, HIGH)
    task: str = "words"
    head: str = "float"

    def sweep(self) -> Iterator[Setting]:
        for rate in self.rates:
            found = setting(self.task, self.scheme, self.rule, rate, 0, self.optimiser)
            yield replace(found, head=self.head)

    def settings(self, known: Mapping[Setting, float]) -> Iterator[Setting]:
        """known : accuracies so far; the other seeds follow when the rates are compared"""
        sweep = list(self.sweep())
        yield from sweep
        if all(s in known for s in sweep):
            best = max(sweep, key=lambda s: known[s])
            yield from (replace(best, seed=seed) for seed in SEEDS)


TENTHS = (0.0016, 0.0064)
"""First rates of momentum and Adam; their moments in int8 take what was better with floats."""
_WORDS = (
    *(Tuned(scheme) for scheme in ("head", "biases", "last=2", WORDS, "full")),
    Tuned(WORDS, "nearest", rates=(HIGH,)),
    *(Tuned(WORDS, rule, rates=(HIGH,), head="int8") for rule in ("nearest", "residual")),
    *(Tuned(WORDS, rule) for rule in ("plain=1e6", "float", "plain")),
    *(Tuned(WORDS, optimiser=o, rates=TENTHS) for o in ("momentum", "adam")),
    *(Tuned(WORDS, optimiser=f"{o} int8", rates=TENTHS[1:]) for o in ("momentum", "adam")),
    *(Tuned(scheme) for scheme in OURS),
    *(Tuned(WORDS, rule, rates=(HIGH,)) for rule in ("real", "dither")),
)


def settings(known: Mapping[Setting, float]) -> Iterator[Setting]:
    """known : accuracies so far; those that follow from them come when they are there"""
    for way in _WORDS:
        yield from way.settings(known)
    yield from _each("flowers", OURS)
    for task in PICTURES:
        yield from _each(task, ("head",), ("nearest",))
        yield from _each(task, ("biases=20", "last=6", *PUBLISHED))
    yield from _each("flowers", PUBLISHED[:1], (*RULES, "real", "plain", "plain=1e6", "float"))
    for task in PICTURES[1:]:
        yield from _each(task, OURS)
        yield from _each(task, PUBLISHED[:1], (*RULES, "real", "plain", "plain=1e6", "float"))
    for task in PICTURES:
        for way in _each(task, PUBLISHED[:1], ("nearest", "residual")):
            yield replace(way, head="int8")
        yield from _each(task, PUBLISHED[:1], ("residual", "nearest", "float"), MORE)
    for rule in ("residual", "nearest", "float"):
        yield from (setting("words", WORDS, rule, HIGH, seed) for seed in MORE)
    for task in PICTURES:
        yield from Tuned("full", rates=SMALL, task=task).settings(known)


def _each(
    task: str,
    schemes: Sequence[str],
    rules: Sequence[str] = ("residual",),
    seeds: Sequence[int] = SEEDS,
) -> Iterator[Setting]:
    for scheme in schemes:
        for rule in rules:
            for seed in seeds:
                yield setting(task, scheme, rule, LOW, seed)

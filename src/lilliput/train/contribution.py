"""What each bias depth, and each share of a layer's weights, is worth on the user's own data.

Contribution analysis (Lin et al. 2022, section 3.2): the gain of every candidate is measured alone,
and the gain of a scheme is taken as the sum.

    biases=k        over the head alone
    biases=k,i:r    a share r of the weights of layer i, over biases=k, the least k that reaches i

Each is one short simulated training with the same head, examples, order and rates, scored on a part
of the examples that none of them learns from.  A gain is what the mean cross-entropy of that part
falls by: of 100 examples the accuracy moves in whole points, by chance more than by most tensors,
while the loss of the same examples after the same steps tells two trainings apart.  The accuracy is
kept beside it.

What is in front of the first trained layer is calculated once for all candidates that share it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from lilliput.errors import DataError, FormatError, UsageError
from lilliput.ir import Array, Module
from lilliput.ir.text import print_module
from lilliput.train.build import ENTRY, trainable
from lilliput.train.fronts import Fronts
from lilliput.train.heads import HEADS, with_head
from lilliput.train.layers import Layer, layers
from lilliput.train.optimisers import Optimiser
from lilliput.train.schemes import UpdateScheme
from lilliput.train.simulate import Plan, Simulator
from lilliput.train.stages import Prepare, reference

RATIOS = (0.125, 0.25, 0.5, 1.0)
"""Shares of a layer's channels, as published."""
DEPTHS = 12
"""Bias depths that are measured, at most."""
REACH = 28
"""Layers before the head whose weights are, at most: no published scheme trains an earlier one."""
REFUSED = 2
"""Depths that may be impossible before deeper ones are not asked for."""
LEAST = 8
"""Examples in either part, at least."""
Possible = Callable[[UpdateScheme], bool]


@dataclass(frozen=True)
class Study:
    """How candidates are measured.

    steps : of each training, about: whole epochs over as many examples, all if there are fewer
    held : share of the examples that is held out, of each class; most : of them at most
    ratios : shares of the channels; depths : how many bias depths, at most
    reach : of how many layers before the head the weights are measured, at most
    """

    steps: int = 400
    held: float = 0.25
    most: int = 200
    ratios: tuple[float, ...] = RATIOS
    depths: int = DEPTHS
    reach: int = REACH
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises UsageError for numbers out of range."""
        ratios = all(0 < r <= 1 for r in self.ratios)
        counts = {"steps": self.steps, "most": self.most, "depths": self.depths}
        for name, count in {**counts, "reach": self.reach}.items():
            if count < 1:
                raise UsageError(name, expected="1 or more", found=count)
        if not 0 < self.held < 1:
            raise UsageError("share that is held out", expected="in (0, 1)", found=self.held)
        if not ratios:
            raise UsageError("ratios", expected="in (0, 1]", found=self.ratios)


@dataclass(frozen=True)
class Score:
    """Mean cross-entropy and accuracy on what was held out; a diverged training has no loss."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class Gain:
    """loss : what the held-out loss falls by, accuracy : what the accuracy rises by, where
    `scheme` is trained and not `over` alone; -inf, and minus all of it, where it diverged."""

    scheme: UpdateScheme
    over: UpdateScheme
    loss: float
    accuracy: float


@dataclass(frozen=True)
class Gains:
    """The additive model: bias depth -> gain; layer -> share -> gain on top."""

    biases: Mapping[int, float]
    weights: Mapping[int, Mapping[float, float]]

    def __call__(self, scheme: UpdateScheme) -> float:
        """Raises KeyError for choices that were not measured."""
        depth = self.biases[scheme.biases] if scheme.biases else 0.0
        return depth + sum(self.weights[i][r] for i, r in scheme.weights.items())


@dataclass(frozen=True)
class Contribution:
    """head : the score of training the head alone; gains : of every candidate, biases first."""

    head: Score
    gains: tuple[Gain, ...]

    @property
    def model(self) -> Gains:
        """In held-out loss."""
        biases: dict[int, float] = {}
        weights: dict[int, dict[float, float]] = {}
        for gain in self.gains:
            if not gain.scheme.weights:
                biases[gain.scheme.biases] = gain.loss
            for layer, share in gain.scheme.weights.items():
                weights.setdefault(layer, {})[share] = gain.loss
        return Gains(biases, weights)

    def to_json(self) -> dict[str, object]:
        rows = [
            {
                "scheme": str(g.scheme),
                "over": str(g.over),
                "loss": g.loss if math.isfinite(g.loss) else None,
                "accuracy": g.accuracy,
            }
            for g in self.gains
        ]
        return {"head": asdict(self.head), "gains": rows}


# Candidates -------------------------------------------------------------------------------


def depths(count: int, most: int) -> tuple[int, ...]:
    """At most `most` numbers in 1 .. `count`, evenly, the last one included."""
    return tuple(sorted({math.ceil(count * k / most) for k in range(1, most + 1)} - {0}))


def candidates(
    products: Sequence[Layer], study: Study, possible: Possible
) -> tuple[tuple[UpdateScheme, UpdateScheme], ...]:
    """(scheme, what its gain is over) of each bias depth and each share of each layer's weights.

    products : layers, the head the last of them
    possible : says no to what is not worth measuring
    """
    body = list(products[:-1])
    found: list[tuple[UpdateScheme, UpdateScheme]] = []
    reach, refused = [0], list[int]()
    for k in depths(len(body), study.depths):
        if possible(UpdateScheme(k)):
            reach.append(k)
            found.append((UpdateScheme(k), UpdateScheme()))
            continue
        refused.append(k)
        if len(refused) == REFUSED:
            break
    beyond = min((k for k in refused if k > reach[-1]), default=len(body) + 1)
    for layer in body[-study.reach :]:
        deep = len(body) - layer.index
        if deep >= beyond:
            continue
        over = UpdateScheme(next((k for k in reach if k >= deep), reach[-1]))
        counts = {round(r * layer.channels): r for r in sorted(study.ratios)[::-1]}
        shares = sorted(r for count, r in counts.items() if count)
        schemes = [replace(over, weights={layer.index: r}) for r in shares]
        if not schemes or not possible(schemes[-1]):
            schemes = list(takewhile(possible, schemes))
        found += [(scheme, over) for scheme in schemes]
    return tuple(found)


def prior(products: Sequence[Layer], ratios: Sequence[float] = RATIOS) -> Gains:
    """Gains where there are no data to measure them on, in no unit.

    As published (Lin et al. 2022, Figure 4 and their schemes) late layers are worth more than early
    ones, what widens a block's features (the first pointwise layer of an inverted bottleneck) twice
    as much as what does not, and a share r of the channels more than r of all.  All biases
    together are worth as much as all weights.
    """
    body = list(products[:-1])
    count = len(body)
    worth = {la.index: (la.index + 1) / count * (1.0 if _widens(la) else 0.5) for la in body}
    total = sum(worth.values()) or 1.0
    weights = {i: {r: math.sqrt(r) * w / total for r in ratios} for i, w in worth.items()}
    late = [(la.index + 1) / count for la in reversed(body)]
    sums = np.cumsum(late)
    return Gains({k + 1: float(sums[k] / sums[-1]) for k in range(count)}, weights)


def _widens(layer: Layer) -> bool:
    outputs = layer.weight.type.shape[0]
    return not layer.depthwise and outputs > layer.weight.type.shape[-1]


# The data ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Halves:
    """x (n,...) as the network stores its input, y (n): to learn from, and held out."""

    learn: tuple[Array, Array]
    held: tuple[Array, Array]


def halves(x: Array, y: Array, study: Study) -> Halves:
    """Splits examples by a seeded draw in each class.

    Raises DataError where either part would have fewer than `LEAST`.
    """
    rng = np.random.default_rng(study.seed)
    held: list[int] = []
    for label in np.unique(y):
        mine = rng.permutation(np.flatnonzero(y == label))
        held += mine[: round(study.held * len(mine))].tolist()
    held = rng.permutation(held)[: study.most].tolist()
    rest = rng.permutation(np.setdiff1d(np.arange(len(y)), held))[: study.steps]
    if min(len(held), len(rest)) < LEAST:
        raise DataError(
            "too few examples to measure what is worth training",
            where="train",
            expected=f"{LEAST} to learn from and {LEAST} to hold out",
            found=f"{len(rest)} and {len(held)}",
            hint="name the scheme: --scheme biases=4",
        )
    return Halves((x[rest], y[rest]), (x[held], y[held]))


# The analysis -----------------------------------------------------------------------------


@dataclass(eq=False)
class Analysis:
    """Measures candidates, each once; what was measured is kept in a file.

    module : one entry, one input, ending in a classifier; x, y : examples, as in `Halves`
    prepare : how nodes are executed, as in `Simulator`
    head : of `heads.HEADS`
    file : JSON of network, data and settings, and the score of each scheme; an analysis that was
        interrupted goes on from it
    """

    module: Module
    x: Array
    y: Array
    optimiser: Optimiser
    study: Study = field(default_factory=Study)
    classes: int | None = None
    prepare: Prepare = reference
    file: Path | None = None
    head: str = HEADS[0]
    log: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        """Raises FormatError where the file is no analysis, or one of something else, UsageError
        for labels out of range, DataError for too few examples."""
        self._halves = halves(self.x, self.y, self.study)
        self._learn = Fronts(self._halves.learn[0], self.prepare)
        self._held = Fronts(self._halves.held[0], self.prepare)
        *body, head = layers(with_head(self.module, self.classes))
        self._body, classes = len(body), head.weight.type.shape[0]
        if self.y.min() < 0 or self.y.max() >= classes:
            found = f"{self.y.min()} to {self.y.max()}"
            raise UsageError("labels", expected=f"0 to {classes - 1}", found=found)
        self._about = self._identity()
        self._scores = self._read()

    def contribution(self, wanted: Sequence[tuple[UpdateScheme, UpdateScheme]]) -> Contribution:
        """The gains of `candidates`, measured where they are not known."""
        schemes = {str(s): s for pair in wanted for s in pair} | {"head": UpdateScheme()}
        missing = [s for name, s in schemes.items() if name not in self._scores]
        if missing:
            known, each = len(schemes) - len(missing), self.plan.epochs * self._count
            self.log(f"contribution analysis: {len(missing)} trainings of {each} steps")
            if known:
                self.log(f"{known} are in {self.file}")
        for k, scheme in enumerate(sorted(missing, key=self._deepest)):
            score = self.score(scheme)
            told = f"loss {score.loss:.4f}, accuracy {score.accuracy:.1%}"
            self.log(f"{k + 1}/{len(missing)} {scheme}: {told}")
        head = self.score(UpdateScheme())
        return Contribution(head, tuple(self._gain(s, over) for s, over in wanted))

    def _deepest(self, scheme: UpdateScheme) -> tuple[int, str]:
        """The first layer that is trained: what is kept of the examples for it leads to what is
        kept for later ones."""
        first = min(scheme.weights, default=self._body)
        return min(first, self._body - scheme.biases), str(scheme)

    def _gain(self, scheme: UpdateScheme, over: UpdateScheme) -> Gain:
        one, other = self.score(scheme), self.score(over)
        finite = math.isfinite(one.loss) and math.isfinite(other.loss)
        loss = other.loss - one.loss if finite else -math.inf
        return Gain(scheme, over, loss, one.accuracy - other.accuracy)

    def score(self, scheme: UpdateScheme) -> Score:
        """On what is held out, after a training of `scheme`."""
        if str(scheme) not in self._scores:
            self._scores[str(scheme)] = self._measured(scheme)
            self._write()
        return self._scores[str(scheme)]

    @property
    def _count(self) -> int:
        return len(self._halves.learn[1])

    @property
    def plan(self) -> Plan:
        """Of every training."""
        epochs = max(1, round(self.study.steps / self._count))
        return Plan(epochs, self.optimiser.rate, seed=self.study.seed)

    def _measured(self, scheme: UpdateScheme) -> Score:
        training = trainable(
            self.module,
            scheme,
            self.optimiser,
            classes=self.classes,
            seed=self.study.seed,
            head=self.head,
        )
        simulator = Simulator(training, self.prepare)
        module, (_, labels) = training.module, self._halves.learn
        learn = simulator.learning(self._learn.given(module, ENTRY), labels)
        try:
            simulator.fit(learn, plan=self.plan)
        except UsageError:  # the loss is no number any more
            return Score(math.inf, 0.0)
        labels = self._halves.held[1]
        test = simulator.testing(self._held.given(module, module.entry), labels)
        logits = simulator.logits(test).astype(np.float64)
        right = np.count_nonzero(np.argmax(logits, 1) == labels)
        return Score(_cross_entropy(logits, labels), right / len(labels))

    # the file

    def _identity(self) -> dict[str, Any]:
        network = hashlib.sha256(print_module(self.module).encode())
        for name in sorted(self.module.params):
            data = self.module.params[name].data
            network.update(b"" if data is None else np.ascontiguousarray(data).tobytes())
        data = hashlib.sha256(np.ascontiguousarray(self.x).tobytes())
        data.update(np.ascontiguousarray(self.y, "<i8").tobytes())
        # which candidates there are does not change what one of them scores
        study = {
            k: v for k, v in asdict(self.study).items() if k in ("steps", "held", "most", "seed")
        }
        return {
            "network": network.hexdigest(),
            "data": data.hexdigest(),
            "classes": self.classes,
            "head": self.head,
            "optimiser": asdict(self.optimiser),
            "study": study,
            "exact": self.prepare is reference,
        }

    def _read(self) -> dict[str, Score]:
        if self.file is None or not self.file.exists():
            return {}
        try:
            found = json.loads(self.file.read_text("utf-8"))
            about = {"head": HEADS[0], **found["about"]}
            scores = {
                str(name): Score(math.inf if loss is None else float(loss), float(accuracy))
                for name, (loss, accuracy) in found["scores"].items()
            }
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as e:
            where = str(self.file)
            raise FormatError("no contribution analysis", where=where, found=str(e)[:120]) from e
        wrong = [key for key, value in self._about.items() if about.get(key) != value]
        if wrong:
            raise FormatError(
                "the analysis is of something else",
                where=str(self.file),
                expected="the same network, data, optimiser and settings",
                found="another " + ", ".join(wrong),
                hint="name another file: it is kept beside this one",
            )
        return scores

    def _write(self) -> None:
        if self.file is None:
            return
        scores = {
            name: [s.loss if math.isfinite(s.loss) else None, s.accuracy]
            for name, s in self._scores.items()
        }
        text = json.dumps({"about": self._about, "scores": scores}, indent=1) + "\n"
        whole = self.file.with_name(f"{self.file.name}.part")
        whole.write_text(text, "utf-8")  # what is interrupted here leaves the old file
        whole.replace(self.file)


def _cross_entropy(logits: Array, labels: Array) -> float:
    top = logits.max(1, keepdims=True)
    log_sum = np.log(np.exp(logits - top).sum(1)) + top[:, 0]
    losses: Array = log_sum - logits[np.arange(len(labels)), labels]
    return float(losses.mean())

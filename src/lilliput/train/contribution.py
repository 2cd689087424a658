"""What each bias depth, and each share of a layer's weights, is worth on the user's own data.

Contribution analysis (Lin et al. 2022, section 3.2): the gain of every candidate is measured alone,
and the gain of a scheme is taken as the sum.

    biases=k        over the head alone
    biases=k,i:r    a share r of the weights of layer i, over biases=k, the least k that reaches i

Each is a few short simulated trainings with the same heads, examples, orders and rates, scored on a
part of the examples that none of them learns from; each time another part, and another seed.  A
gain is what the mean cross-entropy of those parts falls by: of 100 examples the accuracy moves in
whole points, by chance more than by most tensors, while the loss of the same examples after the
same steps tells two trainings apart.  The accuracy is kept beside it.  `gains` says what is then
believed of them.

What is in front of the first trained layer is calculated once for all candidates that share it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from lilliput.errors import DataError, FormatError, UsageError
from lilliput.ir import Array, Module
from lilliput.ir.text import print_module
from lilliput.train.build import ENTRY, trainable
from lilliput.train.fronts import Fronts
from lilliput.train.gains import Contribution, Gain, Gains, Score, prior
from lilliput.train.heads import HEADS, with_head
from lilliput.train.layers import Layer, layers
from lilliput.train.optimisers import Optimiser
from lilliput.train.schemes import UpdateScheme
from lilliput.train.simulate import Plan, Simulator
from lilliput.train.stages import Prepare, reference

RATIOS = (0.125, 0.25, 0.5, 1.0)
"""Shares of a layer's channels, as published."""
MEASURED = (0.25, 1.0)
"""Those that are measured: the others of a layer follow from them."""
PARTS, FINALS = 2, 4
"""Parts that are held out in turn, for each candidate and for each finalist."""
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
    parts : of so many parts each candidate holds out one after the other; finals : and what may
        be chosen, `race`; finals * held is 1 at most
    ratios : shares of the channels; measured : those of them that are; depths : how many bias
        depths, at most
    reach : of how many layers before the head the weights are measured, at most
    """

    steps: int = 400
    held: float = 0.25
    most: int = 200
    parts: int = PARTS
    finals: int = FINALS
    ratios: tuple[float, ...] = RATIOS
    measured: tuple[float, ...] = MEASURED
    depths: int = DEPTHS
    reach: int = REACH
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises UsageError for numbers out of range."""
        ratios = all(0 < r <= 1 for r in (*self.ratios, *self.measured))
        counts = {"steps": self.steps, "most": self.most, "depths": self.depths}
        for name, count in {**counts, "reach": self.reach}.items():
            if count < 1:
                raise UsageError(name, expected="1 or more", found=count)
        if not 0 < self.held < 1:
            raise UsageError("share that is held out", expected="in (0, 1)", found=self.held)
        most = math.floor(1 / self.held + 1e-9)
        if not 2 <= self.parts <= self.finals <= most:
            found = f"{self.parts} and {self.finals}"
            expected = f"2 to {most}, no fewer for finalists"
            raise UsageError("parts that are held out", expected=expected, found=found)
        if not ratios:
            found = self.ratios + self.measured
            raise UsageError("ratios", expected="in (0, 1]", found=found)


# Candidates -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidates:
    """What schemes are made of.

    depths : of biases; shares : layer -> shares of its channels; over : layer -> the depth that the
        gain of its weights is measured over
    """

    depths: tuple[int, ...]
    shares: Mapping[int, tuple[float, ...]]
    over: Mapping[int, int]

    def pairs(self, study: Study) -> tuple[tuple[UpdateScheme, UpdateScheme], ...]:
        """(scheme, what its gain is over) of all that is measured: of a layer none of whose
        measured shares is possible the largest that is."""
        found = [(UpdateScheme(k), UpdateScheme()) for k in self.depths]
        for layer, shares in self.shares.items():
            over = UpdateScheme(self.over[layer])
            chosen = [r for r in shares if r in study.measured] or shares[-1:]
            found += [(replace(over, weights={layer: r}), over) for r in chosen]
        return tuple(found)

    def prior(self, products: Sequence[Layer]) -> Gains:
        """What is assumed of them."""
        whole = prior(products, sorted({r for s in self.shares.values() for r in s}))
        weights = {i: {r: whole.weights[i][r] for r in s} for i, s in self.shares.items()}
        return Gains({k: whole.biases[k] for k in self.depths}, weights)


def depths(count: int, most: int) -> tuple[int, ...]:
    """At most `most` numbers in 1 .. `count`, evenly, the last one included."""
    return tuple(sorted({math.ceil(count * k / most) for k in range(1, most + 1)} - {0}))


def candidates(products: Sequence[Layer], study: Study, possible: Possible) -> Candidates:
    """Of a network of these layers, the head the last of them.

    possible : says no to what is not worth measuring
    """
    count, reach, beyond = len(products) - 1, [0], len(products)
    refused: list[int] = []
    for k in depths(count, study.depths):
        if possible(UpdateScheme(k)):
            reach.append(k)
            continue
        refused.append(k)
        if len(refused) == REFUSED:
            break
    beyond = min((k for k in refused if k > reach[-1]), default=beyond)
    shares: dict[int, tuple[float, ...]] = {}
    over: dict[int, int] = {}
    for layer in products[max(0, count - study.reach) : count]:
        deep = count - layer.index
        if deep >= beyond:
            continue
        depth = next((k for k in reach if k >= deep), reach[-1])
        counts = {round(r * layer.channels): r for r in sorted(study.ratios)[::-1]}
        some = sorted(r for channels, r in counts.items() if channels)
        schemes = [UpdateScheme(depth, {layer.index: r}) for r in some]
        if not schemes or not possible(schemes[-1]):
            some = some[: len(list(takewhile(possible, schemes)))]
        if some:
            shares[layer.index], over[layer.index] = tuple(some), depth
    return Candidates(tuple(reach[1:]), shares, over)


# The data ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Halves:
    """Which examples are learned from, and which are held out."""

    learn: Array
    held: Array


def halves(y: Array, study: Study, part: int = 0) -> Halves:
    """Splits examples of classes `y` (n) by a seeded draw in each class; what is held out as one
    part is in no other.

    Raises DataError where either half would have fewer than `LEAST`.
    """
    rng = np.random.default_rng(study.seed)
    held: list[int] = []
    for label in np.unique(y):
        mine = rng.permutation(np.flatnonzero(y == label))
        begin, end = (round(k * study.held * len(mine)) for k in (part, part + 1))
        held += mine[begin:end].tolist()
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
    return Halves(rest, np.array(held))


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
        self._halves = [halves(self.y, self.study, k) for k in range(self.study.finals)]
        self._fronts = Fronts(self.x, self.prepare)
        *body, head = layers(with_head(self.module, self.classes))
        self._body, classes = len(body), head.weight.type.shape[0]
        if self.y.min() < 0 or self.y.max() >= classes:
            found = f"{self.y.min()} to {self.y.max()}"
            raise UsageError("labels", expected=f"0 to {classes - 1}", found=found)
        self._about = self._identity()
        self._scores = self._read()

    def contribution(self, wanted: Sequence[tuple[UpdateScheme, UpdateScheme]]) -> Contribution:
        """The gains of candidates, measured where they are not known."""
        schemes = {str(s): s for pair in wanted for s in pair} | {"head": UpdateScheme()}
        parts = range(self.study.parts)
        self.measure("contribution analysis", [(s, p) for s in schemes.values() for p in parts])
        heads = [self.score(UpdateScheme(), p) for p in parts]
        loss, accuracy = (sum(v) / len(heads) for v in zip(*map(astuple, heads), strict=True))
        return Contribution(Score(loss, accuracy), tuple(self._gain(s, over) for s, over in wanted))

    def measure(self, what: str, wanted: Sequence[tuple[UpdateScheme, int]]) -> None:
        """Trains what is not known of these, those together that share most of what is frozen."""
        missing = [(s, p) for s, p in wanted if (str(s), p) not in self._scores]
        if missing:
            each = self.plan(0).epochs * len(self._halves[0].learn)
            self.log(f"{what}: {len(missing)} trainings of {each} steps")
            if known := len(wanted) - len(missing):
                self.log(f"{known} are known")
        for k, (scheme, part) in enumerate(sorted(missing, key=self._deepest)):
            score = self.score(scheme, part)
            told = f"loss {score.loss:.4f}, accuracy {score.accuracy:.1%}"
            self.log(f"{k + 1}/{len(missing)} {scheme}, part {part + 1}: {told}")

    def _deepest(self, pair: tuple[UpdateScheme, int]) -> tuple[int, str, int]:
        """The first layer that is trained: what is kept of the examples for it leads to what is
        kept for later ones."""
        scheme, part = pair
        first = min(scheme.weights, default=self._body)
        return min(first, self._body - scheme.biases), str(scheme), part

    def _gain(self, scheme: UpdateScheme, over: UpdateScheme) -> Gain:
        losses: list[float] = []
        accuracies: list[float] = []
        for part in range(self.study.parts):
            one, other = self.score(scheme, part), self.score(over, part)
            finite = math.isfinite(one.loss) and math.isfinite(other.loss)
            losses.append(other.loss - one.loss if finite else -math.inf)
            accuracies.append(one.accuracy - other.accuracy)
        return Gain(scheme, over, tuple(losses), tuple(accuracies))

    def score(self, scheme: UpdateScheme, part: int) -> Score:
        """On the part that is held out, after a training of `scheme` on the rest."""
        key = str(scheme), part
        if key not in self._scores:
            self._scores[key] = self._measured(scheme, part)
            self._write()
        return self._scores[key]

    def plan(self, part: int) -> Plan:
        """Of every training that holds out this part."""
        epochs = max(1, round(self.study.steps / len(self._halves[part].learn)))
        return Plan(epochs, self.optimiser.rate, seed=self.study.seed + part)

    def _measured(self, scheme: UpdateScheme, part: int) -> Score:
        seed, parts = self.study.seed + part, self._halves[part]
        training = trainable(
            self.module,
            scheme,
            self.optimiser,
            classes=self.classes,
            seed=seed,
            head=self.head,
        )
        simulator, module = Simulator(training, self.prepare), training.module

        def given(entry: str, some: Array) -> dict[str, Array]:
            return {k: v[some] for k, v in self._fronts.given(module, entry).items()}

        learn = simulator.learning(given(ENTRY, parts.learn), self.y[parts.learn])
        try:
            simulator.fit(learn, plan=self.plan(part))
        except UsageError:  # the loss is no number any more
            return Score(math.inf, 0.0)
        labels = self.y[parts.held]
        test = simulator.testing(given(module.entry, parts.held), labels)
        logits = simulator.logits(test).astype(np.float64)
        right = int(np.count_nonzero(np.argmax(logits, 1) == labels))
        return Score(_cross_entropy(logits, labels), right / len(labels))

    # the file

    def _identity(self) -> dict[str, Any]:
        network = hashlib.sha256(print_module(self.module).encode())
        for name in sorted(self.module.params):
            data = self.module.params[name].data
            network.update(b"" if data is None else np.ascontiguousarray(data).tobytes())
        data = hashlib.sha256(np.ascontiguousarray(self.x).tobytes())
        data.update(np.ascontiguousarray(self.y, "<i8").tobytes())
        # which candidates there are, and how many parts, does not change what one of them scores
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

    def _read(self) -> dict[tuple[str, int], Score]:
        if self.file is None or not self.file.exists():
            return {}
        try:
            found = json.loads(self.file.read_text("utf-8"))
            about = {"head": HEADS[0], **found["about"]}
            scores = {
                (str(name), int(part)): Score(math.inf if loss is None else loss, float(accuracy))
                for name, parts in found["scores"].items()
                for part, (loss, accuracy) in parts.items()
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
        scores: dict[str, dict[str, list[float | None]]] = {}
        for (name, part), s in self._scores.items():
            loss = s.loss if math.isfinite(s.loss) else None
            scores.setdefault(name, {})[str(part)] = [loss, s.accuracy]
        text = json.dumps({"about": self._about, "scores": scores}, indent=1) + "\n"
        whole = self.file.with_name(f"{self.file.name}.part")
        whole.write_text(text, "utf-8")  # what is interrupted here leaves the old file
        whole.replace(self.file)


def _cross_entropy(logits: Array, labels: Array) -> float:
    top = logits.max(1, keepdims=True)
    log_sum = np.log(np.exp(logits - top).sum(1)) + top[:, 0]
    losses: Array = log_sum - logits[np.arange(len(labels)), labels]
    return float(losses.mean())

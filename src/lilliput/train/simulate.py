"""Training on the device, simulated on the host: over whole data sets, and bit for bit.

A step is the entry `train_step` itself, by `Op.ref`.  What depends on the picture alone, the
frozen beginning of the network, is calculated once for each example and kept; a step is the rest.
So the states after any number of steps are those that the device would hold.  `train.fast`
gives a faster way to execute the same nodes, with its bound.

    simulator = Simulator(training)
    learn, test = simulator.learning(x, y), simulator.testing(x_test, y_test)
    curve = simulator.fit(learn, test, Plan(epochs=5, rate=0.01), progress=print)
    simulator.save("state.npz")
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from lilliput.errors import FormatError, UsageError
from lilliput.ir import Array
from lilliput.train.build import ENTRY, Training
from lilliput.train.stages import BATCH, Parts, Prepare, reference

RATE = "learning_rate"
SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True, eq=False)
class Examples:
    """features : name -> (n,...), what the step reads of each example
    labels : (n) int32, or targets (n,...) float32; (n, 0) where the step is given none"""

    features: Mapping[str, Array]
    labels: Array

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Plan:
    """epochs : how often each example is seen, in an order drawn for each epoch from `seed`
    rate : learning rate of the first step; cosine: falls to 0 by half a period
    every : steps between two points of the curve; 0: one at the end of each epoch
    """

    epochs: int = 1
    rate: float = 0.01
    schedule: str = "cosine"
    seed: int = 0
    every: int = 0

    def __post_init__(self) -> None:
        """Raises UsageError for numbers out of range and unknown schedules."""
        if self.schedule not in SCHEDULES:
            raise UsageError("schedule", expected=" or ".join(SCHEDULES), found=self.schedule)
        if self.epochs < 1 or not self.rate > 0 or self.every < 0:
            found = f"{self.epochs}, {self.rate}, {self.every}"
            raise UsageError("epochs, rate, every", expected=">= 1, > 0, >= 0", found=found)

    def rate_at(self, step: int, steps: int) -> np.float32:
        """Of step 0 .. steps - 1."""
        if self.schedule == "constant":
            return np.float32(self.rate)
        return np.float32(self.rate * (1 + math.cos(math.pi * step / steps)) / 2)

    def order(self, epoch: int, count: int) -> Array:
        """Of the `count` examples in an epoch."""
        return np.random.default_rng((self.seed, epoch)).permutation(count)


@dataclass(frozen=True)
class Point:
    """After `step` steps: mean loss of the steps since the point before, share of the test
    examples whose class is right (NaN: not tested), mean loss of the test examples where there are
    no classes."""

    step: int
    loss: float
    accuracy: float
    tested: float | None = None

    def __str__(self) -> str:
        reached = f"accuracy {100 * self.accuracy:.2f} %"
        if self.tested is not None:
            reached = f"of test examples {self.tested:.4f}"
        return f"step {self.step}: loss {self.loss:.4f}, {reached}"


class Simulator:
    """A network that learns, with its states as the device would hold them.

    states : name -> array; taken : steps so far; curve : points so far
    """

    def __init__(self, training: Training, prepare: Prepare = reference):
        self.training = training
        module = training.module
        self._step = Parts(module, ENTRY, prepare)
        self._infer = Parts(module, module.entry, prepare)
        self._left = module.updates(ENTRY)
        self._guards = module.guards.get(ENTRY, ())
        self._classes = self._infer.outputs[0].type.size
        others = module.inputs(ENTRY)[1:]
        self._target = others[0] if others else None
        self.reset()

    def reset(self) -> None:
        """Back to what the states are at power-on."""
        self.states = {s.name: s.init for s in self.training.module.states.values()}
        self.taken = 0
        self.curve: list[Point] = []
        self._losses: list[float] = []

    # examples

    def learning(self, x: Array | Mapping[str, Array], labels: Array | None = None) -> Examples:
        """Examples to learn from.

        x : (n,...) as the network stores its input, or name -> (n,...) of values of `train_step`
            behind it that suffice; labels : (n) classes, or targets (n,...) of the loss; None
            where it has none
        Raises UsageError where these do not fit the network.
        """
        return self._examples(self._step, x, labels)

    def testing(self, x: Array | Mapping[str, Array], labels: Array | None = None) -> Examples:
        """Examples to test with; as `learning`, names those of the inference entry where there are
        classes."""
        parts = self._infer if self.training.objective.classifies else self._step
        return self._examples(parts, x, labels)

    def _examples(
        self, parts: Parts, x: Array | Mapping[str, Array], labels: Array | None
    ) -> Examples:
        given = {parts.source.name: x} if isinstance(x, np.ndarray) else dict(x)
        types = {v.name: v.type for v in self.training.module.graphs[parts.entry].values()}
        for name, data in given.items():
            type = types.get(name)
            fits = type is not None and data.shape[1:] == type.shape[1:]
            if type is None or not fits or data.dtype != type.dtype.numpy:
                raise UsageError(
                    "examples", where=name, expected=str(type), found=f"{data.dtype}{data.shape}"
                )
        count = len(next(iter(given.values())))
        if not count:
            raise UsageError("examples", where=parts.source.name, expected="1 or more", found=0)
        return Examples(parts.features(given), self._targets(labels, count))

    def _targets(self, labels: Array | None, count: int) -> Array:
        """As a step is given them."""
        target = self._target
        if target is None:
            return np.zeros((count, 0), np.float32)
        if labels is None or len(labels) != count:
            expected = target.name if labels is None else len(labels)
            raise UsageError("examples", where=target.name, expected=expected, found=count)
        type = target.type
        if type.dtype.is_float:
            wanted = (count, *type.shape[1:])
            if labels.size != math.prod(wanted):
                raise UsageError("targets", expected=str(wanted), found=str(labels.shape))
            return labels.astype(np.float32).reshape(wanted)
        labels = np.asarray(labels).astype(np.int32)
        if labels.min() < 0 or labels.max() >= self._classes:
            raise UsageError(
                "labels",
                expected=f"0 to {self._classes - 1}",
                found=f"{labels.min()} to {labels.max()}",
            )
        return labels

    # learning

    def step(self, examples: Examples, index: int) -> tuple[float, Array]:
        """One step on example `index`: its loss, and logits (classes) or what the network gives.

        Where a guard of the step does not hold, the states stay as they were, as on the device.
        """
        values = self._values(examples, index)
        if all(g.holds(values[g.name], self.states) for g in self._guards if g.name in values):
            self.states |= {name: values[v.name] for name, v in self._left.items()}
        self.taken += 1
        loss, logits = (values[v.name] for v in self._step.outputs)
        return float(loss[0]), logits.reshape(-1)

    def _values(self, examples: Examples, index: int) -> dict[str, Array]:
        """What a step computes of one example."""
        one = slice(index, index + 1)
        values = {name: data[one] for name, data in examples.features.items()}
        if self._target is not None:
            values[self._target.name] = examples.labels[one]
        return self._step.rest({**self._step.fixed, **self.states, **values})

    def loss(self, test: Examples) -> float:
        """Mean over examples, with the states as they are; of losses without classes."""
        name = self._step.outputs[0].name
        return float(np.mean([self._values(test, i)[name][0] for i in range(len(test))]))

    def fit(
        self,
        learn: Examples,
        test: Examples | None = None,
        plan: Plan | None = None,
        progress: Callable[[Point], None] | None = None,
    ) -> list[Point]:
        """Goes on from `taken` to the end of the plan; gives the whole curve.

        progress : is called with each new point, when the states may be saved
        Raises UsageError where the loss is no number any more, and for labels of classes that are
        not in use.
        """
        self._require_used(learn.labels)
        plan = plan or Plan()
        total = plan.epochs * len(learn)
        every = plan.every or len(learn)
        epoch, order = -1, np.zeros(0, np.int64)
        while self.taken < total:
            if self.taken // len(learn) != epoch:
                epoch = self.taken // len(learn)
                order = plan.order(epoch, len(learn))
            self.states[RATE] = np.full(1, plan.rate_at(self.taken, total), np.float32)
            loss, _ = self.step(learn, int(order[self.taken % len(learn)]))
            if not math.isfinite(loss):
                raise UsageError(
                    "the loss is no number any more",
                    where=f"step {self.taken}",
                    found=loss,
                    hint="a lower learning rate",
                )
            self._losses.append(loss)
            if self.taken % every == 0 or self.taken == total:
                self._point(test, progress)
        return self.curve

    def _require_used(self, labels: Array) -> None:
        """The device would refuse every step with such a label."""
        for guard in self._guards:
            used = self.states[guard.below] if guard.below else None
            if used is not None and not guard.holds(labels, self.states):
                raise UsageError(
                    "labels of classes that are not in use",
                    where=guard.below,
                    expected=f"0 to {int(used[0]) - 1}",
                    found=f"{labels.min()} to {labels.max()}",
                    hint="more --classes at power-on, or set the state before",
                )

    def _point(self, test: Examples | None, progress: Callable[[Point], None] | None) -> None:
        accuracy, tested = math.nan, None
        if test is not None and self.training.objective.classifies:
            accuracy = self.accuracy(test)
        elif test is not None:
            tested = self.loss(test)
        point = Point(self.taken, float(np.mean(self._losses)), accuracy, tested)
        self.curve.append(point)
        self._losses = []
        if progress is not None:
            progress(point)

    def logits(self, test: Examples) -> Array:
        """(n, classes) float32 of the inference entry, with the states as they are."""
        found: list[Array] = []
        for begin in range(0, len(test), BATCH):
            some = {k: v[begin : begin + BATCH] for k, v in test.features.items()}
            found += self._infer.batch(some, self.states)
        return np.concatenate(found)

    def accuracy(self, test: Examples) -> float:
        """Share of the examples whose largest logit, the first of equal ones, is their label, or
        has the largest share of it."""
        labels = test.labels if test.labels.ndim == 1 else np.argmax(test.labels, 1)
        chosen: Array = np.argmax(self.logits(test), 1)
        return np.count_nonzero(chosen == labels) / len(test)

    # files

    def save(self, path: str | Path) -> None:
        """States, steps taken and the curve, as .npz."""
        tested = [math.nan if p.tested is None else p.tested for p in self.curve]
        rows = [(p.step, p.loss, p.accuracy, t) for p, t in zip(self.curve, tested, strict=True)]
        curve = np.array(rows, np.float64)
        arrays = {f"state/{name}": data for name, data in self.states.items()}
        arrays["taken"] = np.array(self.taken)
        arrays["curve"] = curve.reshape(-1, 4)
        arrays["losses"] = np.array(self._losses, np.float64)
        with Path(path).open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def load(self, path: str | Path) -> None:
        """What `save` wrote for the same training; raises FormatError for anything else."""
        try:
            with np.load(io.BytesIO(Path(path).read_bytes())) as file:
                found = {name: file[name] for name in file.files}
        except (BadZipFile, ValueError, OSError, EOFError) as e:
            raise FormatError("no saved states", where=str(path), found=str(e)[:120]) from e
        expected = {f"state/{name}": data for name, data in self.states.items()}
        for name, data in expected.items():
            other = found.get(name)
            if other is None or other.shape != data.shape or other.dtype != data.dtype:
                raise FormatError(
                    "the states are those of another training",
                    where=f"{path}: {name}",
                    expected=f"{data.dtype}{list(data.shape)}",
                    found="none" if other is None else f"{other.dtype}{list(other.shape)}",
                )
        whole = {"taken", "curve", "losses"} <= found.keys() and found["curve"].shape[1:] == (4,)
        if not whole or len(found) != len(expected) + 3:
            unknown = sorted(found.keys() - expected.keys() - {"taken", "curve", "losses"})
            raise FormatError("no saved states", where=str(path), found=", ".join(unknown[:5]))
        self.states = {name: found[f"state/{name}"] for name in self.states}
        self.taken = int(found["taken"])
        rows: list[tuple[float, float, float, float]] = found["curve"].tolist()
        self.curve = [
            Point(int(step), loss, accuracy, None if math.isnan(tested) else tested)
            for step, loss, accuracy, tested in rows
        ]
        self._losses = found["losses"].tolist()

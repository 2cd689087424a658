"""Learning on the device: from a network and an update scheme to firmware that trains.

The training step is more graph (`lilliput.train.build`), so that what it needs is what the planner
finds and the linker says, not a formula.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from lilliput.compiler.pipeline import (
    Compiled,
    Log,
    Model,
    Options,
    compile,
    from_module,
    quiet,
)
from lilliput.compiler.slicing import AUTO, Slicing, asked
from lilliput.data import DataSet
from lilliput.devices.device import Device
from lilliput.emu.live import Board
from lilliput.errors import DataError, DoesNotFit
from lilliput.ir.types import Array, TensorType
from lilliput.plan.objective import Optimize
from lilliput.quant.scheme import stored_constant
from lilliput.report import Summary, require_fit
from lilliput.train.build import Training, trainable
from lilliput.train.channels import ALL, FIRST, JOINT, MAGNITUDE
from lilliput.train.layers import Layer, layers
from lilliput.train.objectives import Objective
from lilliput.train.optimisers import REST, Optimiser
from lilliput.train.schemes import UpdateScheme, parse
from lilliput.train.simulate import Plan as Lessons
from lilliput.train.simulate import Point, Simulator
from lilliput.train.stages import reference
from lilliput.train.tensors import Trained


@dataclass(frozen=True, eq=False)
class Learner:
    """training : the module with its step, and what is trained; compiled : its C for a device."""

    training: Training
    compiled: Compiled

    def to_json(self) -> dict[str, object]:
        """The summary of what was compiled; what is trained under `trained`, `scheme` and
        `optimiser`; how many `slices` the backward parts of blocks are made in, and of which masks
        are `remade`, with the multiply-accumulates of that."""
        scheme = self.training.scheme
        return {
            **self.compiled.to_json(),
            "scheme": {"text": str(scheme), **scheme.to_json()},
            "loss": self.training.objective.name,
            "head": self.training.objective.head if self.training.objective.classifies else None,
            "optimiser": asdict(self.training.optimiser),
            "trained": [asdict(t) for t in self.training.tensors],
            "trained_bytes": sum(t.nbytes for t in self.training.tensors),
            "optimiser_bytes": dict(self.training.beside),
            "slices": dict(self.training.slices),
            "remade": dict(self.training.remade),
        }


def train_layers(
    model: Model, classes: int | None = None, loss: str = "cross_entropy"
) -> tuple[Layer, ...]:
    """The layers that a scheme of this network speaks of; the last one is its head."""
    return layers(Objective(loss).prepared(model.module, classes, 0))


def learner(
    model: Model,
    device: Device,
    scheme: str | UpdateScheme = "head",
    optimiser: Optimiser | None = None,
    *,
    classes: int | None = None,
    max_classes: int | None = None,
    evaluate: bool = False,
    seed: int = 0,
    loss: str = "cross_entropy",
    head: str = "float",
    options: Options | None = None,
    slices: str | int = AUTO,
    log: Log = quiet,
) -> Learner:
    """Compiles `model` with a training step for `device`.

    scheme : what is trained, as text (see `lilliput.train.schemes`) or a value
    classes : of the new head; those of the network, with its weights, where None
    loss : of `lilliput.train.losses`; one without classes trains the network as it ends
    head : "float" or "int8": how the weights of the classifier are stored
    max_classes : for how many the head has room; `NAME_set_classes` says how many count
    evaluate : with an entry `evaluate` that gives the loss and moves nothing
    slices : of the channels of each block in the backward part, see `lilliput.train.slices`: a
        number, "off", or "auto": where the least RAM is asked for, or what there is does not do
    Raises UsageError for a scheme that does not fit the network, GraphError where no gradient
    reaches what is to be trained, DoesNotFit with what the least scheme would need.
    """
    options = replace(options or Options(), shrink=False)
    found = train_layers(model, classes, loss)
    chosen = parse(scheme, found) if isinstance(scheme, str) else scheme
    log("adding gradients and updates")

    def make(slices: Mapping[str, int], remade: Collection[str] = ()) -> Training:
        return trainable(
            model.module,
            chosen,
            optimiser,
            classes=classes,
            max_classes=max_classes,
            evaluate=evaluate,
            seed=seed,
            loss=loss,
            head=head,
            slices=slices,
            remade=remade,
        )

    training, compiled = Slicing(make, device, options, log).of(asked(slices))
    try:
        require_fit(compiled.summary)
    except DoesNotFit as e:
        raise _too_small(e, model, compiled.summary, training, device, options, seed) from None
    return Learner(training, compiled)


def _too_small(
    error: DoesNotFit,
    model: Model,
    summary: Summary,
    training: Training,
    device: Device,
    options: Options,
    seed: int,
) -> DoesNotFit:
    """The same error, with what the smallest plan of the step costs where it makes values again,
    what another rule would save, and what the head alone would need."""
    objective, classes = training.objective, None
    if objective.classifies:
        classes = training.module.outputs("train_step")[1].type.shape[-1]
    head = trainable(
        model.module,
        UpdateScheme(name="head"),
        training.optimiser,
        classes=classes,
        seed=seed,
        loss=objective.name,
        head=objective.head,
    )
    smallest = replace(options, optimize=Optimize.RAM, ram=None)
    least = compile(from_module(head.module), device, smallest, must_fit=False).summary
    need = least.ram_bytes
    nbytes = need.total or need.activations + need.states
    hints = [f"training the head alone needs {nbytes:,} B of RAM: --scheme head"]
    if rests := training.beside.get(REST, 0):
        hints.insert(0, f"rests of int8 weights take {rests:,} B: --rule nearest has none")
    if summary.recomputed:
        hints.insert(0, f"the smallest plan makes {summary.extra_macs:,} MACs again")
    hint = "; ".join(hints)
    return DoesNotFit([*error.problems[:-1], replace(error.problems[-1], hint=hint)])


@dataclass(frozen=True, eq=False)
class Taught:
    """A simulation: accuracy on the test split before, or its mean loss where the loss has no
    classes, and the curve of `Simulator.fit`."""

    before: float
    curve: tuple[Point, ...]
    simulator: Simulator

    def to_json(self) -> dict[str, object]:
        curve = [
            {k: v for k, v in asdict(p).items() if v is not None and not math.isnan(v)}
            for p in self.curve
        ]
        return {f"{self._what}_before": self.before, "curve": curve}

    @property
    def _what(self) -> str:
        return "accuracy" if self.simulator.training.objective.classifies else "loss"

    def __str__(self) -> str:
        last = self.curve[-1]
        if self._what == "accuracy":
            return f"{self.before:.1%} -> {last.accuracy:.1%} of the test examples"
        return f"loss {self.before:.4g} -> {last.tested or 0:.4g} of the test examples"


def taught(
    found: Learner,
    data: DataSet,
    lessons: Lessons | None = None,
    *,
    fast: bool = False,
    log: Log = quiet,
) -> Taught:
    """What the device would learn of `data`, example after example, in splits `train` and `test`.

    fast : heavy sums by torch, whose gradients have another order of summation; else bit for bit
    Raises DataError for splits that are not there or have no classes, UsageError for examples
    of another shape, MissingTool where torch is asked for and missing.
    """
    prepare = reference
    if fast:
        from lilliput.train.fast import prepare
    simulator = Simulator(found.training, prepare)
    x = found.training.module.inputs("train_step")[0].type
    objective = found.training.objective
    given = objective.target is not None
    learn = simulator.learning(*examples(data, "train", x, given=given))
    test = simulator.testing(*examples(data, "test", x, given=given))
    before = simulator.accuracy(test) if objective.classifies else simulator.loss(test)
    log(f"before: accuracy {before:.2%}" if objective.classifies else f"before: loss {before:.4g}")
    curve = simulator.fit(learn, test, lessons, lambda point: log(str(point)))
    return Taught(before, tuple(curve), simulator)


def examples(
    data: DataSet, name: str, type: TensorType, *, given: bool = True
) -> tuple[Array, Array | None]:
    """(n,...) as the network stores its input, and classes (n) or targets, if any are `given`.

    Raises DataError for a split that is not there, or has none though they are.
    """
    split = data[name]
    if split.y is None and given:
        raise DataError("examples without classes", where=name, expected="y beside x")
    x = split.x
    if x.shape[1:] != type.shape[1:] and x[0].size == type.size:
        x = x.reshape(len(x), *type.shape[1:])
    if x.dtype != type.dtype.numpy and type.quant is not None:
        x = stored_constant(x, type)
    return x.astype(type.dtype.numpy), split.y if given else None


_WHICH = {
    MAGNITUDE: "the largest channels",
    JOINT: "the channels largest for all layers that share them",
    FIRST: "the first channels: their order is fixed",
}


def emulated(compiled: Compiled, *, compiler: str = "auto", timeout: float = 120) -> Board:
    """The firmware on an emulated core with a flash, switched off: see `lilliput.emu.live`.

    Raises MissingTool without a compiler for the core, UsageError for a core that Unicorn has no
    model of.
    """
    return Board(
        compiled.program, compiled.files, compiled.device, compiler=compiler, timeout=timeout
    )


def described(found: Learner, tensors: Sequence[Trained] | None = None) -> str:
    """What is trained, tensor by tensor, as text."""
    rows = list(tensors or found.training.tensors)
    width = max(len(name) for name in (*(t.layer for t in rows), "moments"))
    lines = [
        f"{t.layer:<{width}}  {_what(t):<8}{_share(t):>6}{t.nbytes:>10,} B{_which(t)}" for t in rows
    ]
    total = sum(t.nbytes for t in rows)
    lines.append(f"{'trained':<{width}}  {'':<14}{total:>10,} B")
    for kind, nbytes in found.training.beside.items():
        lines.append(f"{kind:<{width}}  {'':<14}{nbytes:>10,} B")
    slices = ", ".join(f"{name} in {n} slices" for name, n in found.training.slices.items())
    if slices:
        lines.append(f"backward part: {slices}")
    if remade := found.training.remade:
        lines.append(
            f"masks made again: {', '.join(remade)}; {sum(remade.values()):,} multiply-accumulates"
        )
    return "\n".join(lines)


def _what(t: Trained) -> str:
    return "weights" if len(t.shape) > 1 else "bias"


def _share(t: Trained) -> str:
    return "all" if t.share == 1 else f"{t.share:.1%}"


def _which(t: Trained) -> str:
    """Of a part: which channels; of channels without weights: how many."""
    words = [] if t.channels == ALL else [_WHICH[t.channels]]
    stay = "1 channel without weights stays"
    stay = stay if t.frozen == 1 else f"{t.frozen} channels without weights stay"
    words += [stay] if t.frozen else []
    return f"  {'; '.join(words)}" if words else ""

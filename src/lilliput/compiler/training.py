"""Learning on the device: from a network and an update scheme to firmware that trains.

The training step is more graph (`lilliput.train.build`), so that what it needs is what the planner
finds and the linker says, not a formula.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from lilliput.data import DataSet
from lilliput.devices.device import Device
from lilliput.errors import DataError, DoesNotFit
from lilliput.ir.types import Array, TensorType
from lilliput.quant.scheme import stored_constant
from lilliput.report import require_fit
from lilliput.train.build import Trained, Training, trainable
from lilliput.train.heads import with_head
from lilliput.train.layers import Layer, layers
from lilliput.train.optimisers import Optimiser
from lilliput.train.schemes import UpdateScheme, parse
from lilliput.train.simulate import Plan as Lessons
from lilliput.train.simulate import Point, Simulator
from lilliput.train.stages import reference


@dataclass(frozen=True, eq=False)
class Learner:
    """training : the module with its step, and what is trained; compiled : its C for a device."""

    training: Training
    compiled: Compiled

    def to_json(self) -> dict[str, object]:
        """The summary of what was compiled; what is trained under `trained`, `scheme` and
        `optimiser`."""
        scheme = self.training.scheme
        return {
            **self.compiled.to_json(),
            "scheme": {"text": str(scheme), **scheme.to_json()},
            "optimiser": asdict(self.training.optimiser),
            "trained": [asdict(t) for t in self.training.tensors],
            "trained_bytes": sum(t.nbytes for t in self.training.tensors),
        }


def train_layers(model: Model, classes: int | None = None) -> tuple[Layer, ...]:
    """The layers that a scheme of this network speaks of; the last one is its head."""
    return layers(with_head(model.module, classes))


def learner(
    model: Model,
    device: Device,
    scheme: str | UpdateScheme = "head",
    optimiser: Optimiser | None = None,
    *,
    classes: int | None = None,
    seed: int = 0,
    options: Options | None = None,
    log: Log = quiet,
) -> Learner:
    """Compiles `model` with a training step for `device`.

    scheme : what is trained, as text (see `lilliput.train.schemes`) or a value
    classes : of the new head; those of the network, with its weights, where None
    Raises UsageError for a scheme that does not fit the network, GraphError where no gradient
    reaches what is to be trained, DoesNotFit with what the least scheme would need.
    """
    options = replace(options or Options(), shrink=False)
    found = train_layers(model, classes)
    chosen = parse(scheme, found) if isinstance(scheme, str) else scheme
    log("adding gradients and updates")
    training = trainable(model.module, chosen, optimiser, classes=classes, seed=seed)
    compiled = compile(from_module(training.module), device, options, log, must_fit=False)
    try:
        require_fit(compiled.summary)
    except DoesNotFit as e:
        raise _too_small(e, model, device, training, options, seed) from None
    return Learner(training, compiled)


def _too_small(
    error: DoesNotFit,
    model: Model,
    device: Device,
    training: Training,
    options: Options,
    seed: int,
) -> DoesNotFit:
    """The same error, and what the head alone would need."""
    classes = training.module.outputs("train_step")[1].type.shape[-1]
    head = trainable(
        model.module, UpdateScheme(name="head"), training.optimiser, classes=classes, seed=seed
    )
    least = compile(from_module(head.module), device, options, must_fit=False).summary
    need = least.ram_bytes
    nbytes = need.total or need.activations + need.states
    hint = f"training the head alone needs {nbytes:,} B of RAM: --scheme head"
    return DoesNotFit([*error.problems[:-1], replace(error.problems[-1], hint=hint)])


@dataclass(frozen=True, eq=False)
class Taught:
    """A simulation: accuracy on the test split before, and the curve of `Simulator.fit`."""

    before: float
    curve: tuple[Point, ...]
    simulator: Simulator

    def to_json(self) -> dict[str, object]:
        return {"accuracy_before": self.before, "curve": [asdict(p) for p in self.curve]}


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
    learn = simulator.learning(*examples(data, "train", x))
    test = simulator.testing(*examples(data, "test", x))
    before = simulator.accuracy(test)
    log(f"before: accuracy {100 * before:.2f} %")
    curve = simulator.fit(learn, test, lessons, lambda point: log(str(point)))
    return Taught(before, tuple(curve), simulator)


def examples(data: DataSet, name: str, type: TensorType) -> tuple[Array, Array]:
    """(n,...) as the network stores its input, and classes (n).

    Raises DataError for a split that is not there or has no classes.
    """
    split = data[name]
    if split.y is None:
        raise DataError("examples without classes", where=name, expected="y beside x")
    x = split.x
    if x.shape[1:] != type.shape[1:] and x[0].size == type.size:
        x = x.reshape(len(x), *type.shape[1:])
    if x.dtype != type.dtype.numpy and type.quant is not None:
        x = stored_constant(x, type)
    return x.astype(type.dtype.numpy), split.y


def described(found: Learner, tensors: Sequence[Trained] | None = None) -> str:
    """What is trained, tensor by tensor, as text."""
    rows = list(tensors or found.training.tensors)
    width = max(len(t.layer) for t in rows)
    lines = [f"{t.layer:<{width}}  {_what(t):<8}{_share(t):>6}{t.nbytes:>10,} B" for t in rows]
    total = sum(t.nbytes for t in rows)
    return "\n".join([*lines, f"{'trained':<{width}}  {'':<14}{total:>10,} B"])


def _what(t: Trained) -> str:
    return "weights" if len(t.shape) > 1 else "bias"


def _share(t: Trained) -> str:
    return "all" if t.share == 1 else f"{t.share:.1%}"

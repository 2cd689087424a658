"""Accuracy of training on the device: `python -m benchmarks.training --task flowers ...`.

Transfer from the published int8 MCUNet-5fps to a few hundred pictures, one picture a step, by the
steps that a device would take (`lilliput.train.fast`, whose forward values are the device's).
Every run is one line of `training.json`, and is not repeated: what is interrupted goes on.

The rule `real` is the reference that no device runs: the same graph, whose trained tensors are kept
as real numbers and rounded when they are used, so that no small step is ever lost.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import lilliput
from benchmarks.training_tasks import TASKS, Data, load, shared
from lilliput.errors import UsageError
from lilliput.ir import Array, Graph, Module, Node
from lilliput.ir.rewrite import drop_dead
from lilliput.train import fast
from lilliput.train.build import ENTRY, Training, trainable
from lilliput.train.heads import with_head
from lilliput.train.layers import layers
from lilliput.train.optimisers import RULES, Optimiser
from lilliput.train.schemes import parse
from lilliput.train.simulate import Examples, Plan, Simulator
from lilliput.train.stages import Parts, Run

BACKBONE = "models/tiny_training/mcunet-5fps.pkl"
FRONT = "blocks.5.pointwise2"
"""What layers 0 to 17 make, which none of the schemes here trains: calculated once a task."""
DEEPEST = 42 - 18
REAL = "real"
RESULTS = Path(__file__).parent / "training.json"
CACHE = Path("build/training")


@dataclass(frozen=True)
class Setting:
    """One run: what is trained on what, and how."""

    task: str
    scheme: str
    rule: str
    rate: float
    epochs: int
    seed: int
    learn: int
    test: int

    @property
    def group(self) -> tuple[str, str, str, float, int, int]:
        """All but the seed."""
        return self.task, self.scheme, self.rule, self.rate, self.epochs, self.learn


class Masters:
    """Executes updates on real numbers beside the integers: `round` is for their use alone."""

    def __init__(self) -> None:
        self.real: dict[str, Array] = {}

    def prepare(self, node: Node) -> Run:
        if node.op.name != "sgd":
            return fast.prepare(node)
        name, limits = node.inputs[0].name, node.op.limits(node)
        assert limits is not None
        low, high = limits

        def run(operands: Sequence[Array]) -> tuple[Array]:
            w, step = operands
            real = self.real.get(name, w.astype(np.float64))
            self.real[name] = np.clip(real - np.where(np.isnan(step), 0, step), low, high)
            return (np.rint(self.real[name]),)

        return run


@cache
def _backbone() -> Module:
    return lilliput.load(shared() / BACKBONE).module


@cache
def _data(task: str) -> Data:
    return load(task)


@cache
def _front(task: str) -> tuple[Array, Array]:
    """What the first layers make of all pictures of a task, (n,8,8,40) int8 each."""
    data = _data(task)
    digest = hashlib.sha256(data.x.tobytes() + data.x_test.tobytes()).hexdigest()[:16]
    path = CACHE / f"{task}-{digest}.npz"
    if not path.is_file():
        print(f"{task}: the frozen layers of {len(data.x) + len(data.x_test)} pictures")
        parts = Parts(_cut(with_head(_backbone(), TASKS[task].classes)), "infer", fast.prepare)
        name = parts.outputs[0].name
        learn, test = (parts.features({parts.source.name: x})[name] for x in (data.x, data.x_test))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez(file, learn=learn, test=test)
    with np.load(path) as found:
        return found["learn"], found["test"]


def _cut(module: Module) -> Module:
    """`module` up to `FRONT`."""
    graph = module.graphs[module.entry]
    (made,) = [n.output for n in graph.nodes if n.origin == FRONT]
    cut = drop_dead(replace(graph, outputs=(made,)))
    kept = {p.name: module.params[p.name] for p in cut.params}
    return replace(module, graphs={"infer": cut}, params=kept)


def _front_of(graph: Graph) -> str:
    """The name of the value in an entry of a network that learns."""
    (name,) = [n.output.name for n in graph.nodes if n.origin == FRONT]
    return name


def _training(setting: Setting) -> Training:
    classes = TASKS[setting.task].classes
    scheme = parse(setting.scheme, layers(with_head(_backbone(), classes)))
    if max(scheme.biases, *(42 - i for i in scheme.weights), 0) > DEEPEST:
        raise UsageError(
            "the scheme trains layers that this benchmark keeps",
            expected=f"the last {DEEPEST} layers",
            found=setting.scheme,
        )
    rule = "nearest" if setting.rule == REAL else setting.rule
    optimiser = Optimiser(rate=setting.rate, rule=rule, seed=setting.seed + 1)
    return trainable(_backbone(), scheme, optimiser, classes=classes, seed=setting.seed)


def _examples(simulator: Simulator, setting: Setting) -> tuple[Examples, Examples]:
    data, (learn, test) = _data(setting.task), _front(setting.task)
    n, m = setting.learn, setting.test
    module = simulator.training.module
    return (
        simulator.learning({_front_of(module.graphs[ENTRY]): learn[:n]}, data.y[:n]),
        simulator.testing({_front_of(module.graphs[module.entry]): test[:m]}, data.y_test[:m]),
    )


def measure(setting: Setting, every: int) -> dict[str, Any]:
    """Accuracy after the last step, the curve, a point `every` so many steps, seconds of a step."""
    prepare = Masters().prepare if setting.rule == REAL else fast.prepare
    simulator = Simulator(_training(setting), prepare)
    learn, test = _examples(simulator, setting)
    plan = Plan(epochs=setting.epochs, rate=setting.rate, seed=setting.seed, every=every)
    start = time.perf_counter()
    try:
        curve = simulator.fit(learn, test, plan, lambda p: print(f"    {p}", flush=True))
    except UsageError as e:
        return {**asdict(setting), "accuracy": None, "why": str(e).splitlines()[0]}
    seconds = (time.perf_counter() - start) / simulator.taken
    return {
        **asdict(setting),
        "accuracy": curve[-1].accuracy,
        "curve": [asdict(p) for p in curve],
        "seconds_a_step": round(seconds, 4),
    }


def settings(args: argparse.Namespace) -> list[Setting]:
    return [
        Setting(
            task,
            scheme,
            rule,
            rate,
            args.epochs,
            seed,
            min(args.learn, TASKS[task].learn),
            min(args.test, TASKS[task].test),
        )
        for task, scheme, rate, rule, seed in itertools.product(
            args.task, args.scheme, args.rate, args.rule, args.seeds
        )
    ]


def read(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text("utf-8")) if path.is_file() else []


def key(row: Mapping[str, Any]) -> Setting:
    return Setting(**{name: row[name] for name in Setting.__dataclass_fields__})


def run(wanted: Sequence[Setting], path: Path, every: int) -> None:
    """Measures what is not in `path` yet, and writes it after each."""
    rows = read(path)
    done = {key(row) for row in rows}
    missing = [s for s in wanted if s not in done]
    for i, setting in enumerate(missing):
        print(f"{i + 1}/{len(missing)} {setting}", flush=True)
        rows.append(measure(setting, every))
        lines = ",\n".join(json.dumps(row) for row in rows)
        path.write_text(f"[\n{lines}\n]\n", "utf-8")


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Mean and standard deviation over the seeds, in percent, as Markdown."""
    groups: dict[Any, list[float]] = {}
    for row in rows:
        accuracy = row["accuracy"]
        groups.setdefault(key(row).group, []).append(float("nan") if accuracy is None else accuracy)
    lines = [
        "| task | scheme | rule | rate | epochs | pictures | accuracy, % | deviation | seeds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for group, found in groups.items():
        spread = f"{100 * statistics.stdev(found):.1f}" if len(found) > 1 else ""
        words = " | ".join(str(v) for v in group)
        lines.append(f"| {words} | {100 * statistics.mean(found):.1f} | {spread} | {len(found)} |")
    return "\n".join(lines)


def _words(text: str) -> list[str]:
    """Split at semicolons: schemes have commas."""
    return [w.strip() for w in text.split(";") if w.strip()]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--task", type=_words, default=["flowers"], help=";".join(TASKS))
    parser.add_argument("--scheme", type=_words, default=["published:mcunet-49kb"])
    parser.add_argument("--rule", type=_words, default=[*RULES, REAL])
    parser.add_argument("--rate", type=lambda t: [float(w) for w in _words(t)], default=[0.004])
    parser.add_argument("--seeds", type=lambda t: [int(w) for w in _words(t)], default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learn", type=int, default=500, help="pictures to learn from")
    parser.add_argument("--test", type=int, default=500, help="pictures to test with")
    parser.add_argument("--every", type=int, default=0, help="steps between tests; 0: an epoch")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print what is there, measure nothing")
    args = parser.parse_args(argv)
    if not args.table:
        run(settings(args), args.results, args.every)
    print(table(read(args.results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

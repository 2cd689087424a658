"""Accuracy of training on the device: `python -m benchmarks.training --page`.

Transfer from a network of pictures or of words to a few hundred examples that it has never seen,
one example a step, by the steps that a device would take (`lilliput.train.fast`, whose forward
values are the device's).  Every run is one line of `training.json`, and is not repeated: what is
interrupted goes on.  `--page` runs all that docs/training-results.md speaks of, schemes that are
searched for included, and draws its pictures; the other options choose runs one by one.

Rules are those of `lilliput.train.optimisers`, and the references of `benchmarks.training_rules`.
A scheme `ours:64kB` is what `benchmarks.schemes` found for that RAM.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.training_rules import FLOAT, REAL, Masters, as_float, factor, unscaled
from benchmarks.training_tasks import TASKS, Data, backbone, load, network
from lilliput.errors import UsageError
from lilliput.ir import Array, Graph, Module
from lilliput.ir.rewrite import drop_dead
from lilliput.train import fast
from lilliput.train.build import ENTRY, Training, trainable
from lilliput.train.heads import HEADS, with_head
from lilliput.train.layers import layers
from lilliput.train.optimisers import RULES, Optimiser
from lilliput.train.schemes import UpdateScheme, parse
from lilliput.train.simulate import Examples, Plan, Simulator
from lilliput.train.stages import Parts, reached

RESULTS = Path(__file__).parent / "training.json"
CACHE = Path("build/training")
OURS = "ours:"
OPTIMISERS: Mapping[str, Mapping[str, Any]] = {
    "sgd": {},
    "momentum": {"momentum": 0.9},
    "momentum int8": {"momentum": 0.9, "moments": "int8"},
    "adam": {"kind": "adam"},
    "adam int8": {"kind": "adam", "moments": "int8"},
}


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
    optimiser: str = "sgd"
    head: str = "float"

    @property
    def group(self) -> tuple[str, str, str, str, str, float, int, int]:
        """All but the seed."""
        return (
            self.task,
            self.scheme,
            self.rule,
            self.optimiser,
            self.head,
            self.rate,
            self.epochs,
            self.learn,
        )


@cache
def _data(task: str) -> Data:
    return load(task)


def _front(task: str, module: Module, name: str) -> tuple[Array, Array]:
    """What the frozen beginning of a network, up to a value of its first entry, makes of all
    examples of a task; kept in a file."""
    graph = module.graphs[module.entry]
    (made,) = [n.output for n in graph.nodes if n.output.name == name]
    cut = drop_dead(replace(graph, outputs=(made,)))
    params = {p.name: module.params[p.name] for p in cut.params}
    data, digest = _data(task), hashlib.sha256()
    for array in (data.x, data.x_test, *(p.data for _, p in sorted(params.items()))):
        assert array is not None
        digest.update(np.ascontiguousarray(array).tobytes())
    path = CACHE / f"{task}-{digest.hexdigest()[:16]}.npz"
    if not path.is_file():
        print(f"{task}: the frozen layers of {len(data.x) + len(data.x_test)} examples", flush=True)
        alone = Module({"front": cut}, params, {}, module.name)
        parts = Parts(alone, "front", fast.prepare)
        learn, test = (parts.features({parts.source.name: x})[name] for x in (data.x, data.x_test))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez(file, learn=learn, test=test)
    with np.load(path) as found:
        return found["learn"], found["test"]


def _front_of(graph: Graph, front: str | None, states: Mapping[str, Any]) -> str | None:
    """The name of what the layers make whose result is kept; None where some of them learn."""
    names = [n.output.name for n in graph.nodes if front is not None and n.origin == front]
    moving = reached(graph.nodes, set(states))
    return next((name for name in names if name not in moving), None)


def scheme_of(task: str, text: str) -> UpdateScheme:
    """What a text means, `ours:SIZE` included."""
    if text.startswith(OURS):
        from benchmarks import schemes  # which imports this module

        text = schemes.ours(task, text.removeprefix(OURS))
    return parse(text, layers(with_head(network(task), TASKS[task].classes)))


def _training(setting: Setting) -> Training:
    task = TASKS[setting.task]
    scheme = scheme_of(setting.task, setting.scheme)
    rule = setting.rule if setting.rule in RULES else "nearest"
    more = OPTIMISERS[setting.optimiser]
    optimiser = Optimiser(rate=setting.rate, rule=rule, seed=setting.seed + 1, **more)
    module = network(setting.task)
    if setting.rule == FLOAT:
        first = min(scheme.weights, default=task.backbone.layers)
        first = min(first, task.backbone.layers - 1 - scheme.biases)
        module = as_float(module, task.backbone.front if first >= task.backbone.kept else None)
    return trainable(
        module,
        scheme,
        optimiser,
        classes=task.classes,
        seed=setting.seed,
        head=setting.head,
    )


def _simulator(setting: Setting) -> Simulator:
    training, by = _training(setting), factor(setting.rule)
    if by is not None:
        return Simulator(training, Masters(unscaled(training.module, by)).prepare)
    return Simulator(training, Masters().prepare if setting.rule == REAL else fast.prepare)


def _examples(simulator: Simulator, setting: Setting) -> tuple[Examples, Examples]:
    data, n, m = _data(setting.task), setting.learn, setting.test
    module, front = simulator.training.module, TASKS[setting.task].backbone.front
    names = {e: _front_of(module.graphs[e], front, module.states) for e in module.graphs}
    known = names[module.entry]
    if known is None:
        learn, test = data.x, data.x_test
    else:
        learn, test = _front(setting.task, module, known)
    sources = {e: names[e] or module.inputs(e)[0].name for e in module.graphs}
    return (
        simulator.learning({sources[ENTRY]: learn[:n]}, data.y[:n]),
        simulator.testing({sources[module.entry]: test[:m]}, data.y_test[:m]),
    )


def measure(setting: Setting, every: int) -> dict[str, Any]:
    """Accuracy after the last step, the curve, a point `every` so many steps, seconds of a step."""
    simulator = _simulator(setting)
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
        setting(task, scheme, rule, rate, seed, optimiser, args.epochs, args.learn, args.test, head)
        for task, scheme, rate, rule, optimiser, head, seed in itertools.product(
            args.task, args.scheme, args.rate, args.rule, args.optimiser, args.head, args.seeds
        )
    ]


def setting(
    task: str,
    scheme: str,
    rule: str = "residual",
    rate: float = 0.004,
    seed: int = 0,
    optimiser: str = "sgd",
    epochs: int = 3,
    learn: int = 500,
    test: int = 600,
    head: str = "float",
) -> Setting:
    """Of so many examples at most."""
    known = TASKS[task]
    learn, test = min(learn, known.learn), min(test, known.test)
    return Setting(task, scheme, rule, rate, epochs, seed, learn, test, optimiser, head)


def read(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text("utf-8")) if path.is_file() else []


def key(row: Mapping[str, Any]) -> Setting:
    return Setting(**{name: row[name] for name in Setting.__dataclass_fields__ if name in row})


def comparable(
    rows: Sequence[dict[str, Any]], tasks: Collection[str] = tuple(TASKS)
) -> list[dict[str, Any]]:
    """The runs of these tasks, of the backbones that they have here."""
    mine = [row for row in rows if row["task"] in tasks]
    return [row for row in mine if row.get("backbone") == backbone(row["task"])]


def run(wanted: Sequence[Setting], path: Path, every: int) -> None:
    """Measures what is not in `path` yet, and writes it after each."""
    rows = read(path)
    tasks = {setting.task for setting in wanted}
    done = {key(row) for row in comparable(rows, tasks)}
    missing = [s for s in dict.fromkeys(wanted) if s not in done]
    for i, setting in enumerate(missing):
        print(f"{i + 1}/{len(missing)} {setting}", flush=True)
        row = _twin(setting, comparable(rows, tasks)) or measure(setting, every)
        own = backbone(setting.task)
        rows.append(row if own is None else {**row, "backbone": own})
        lines = ",\n".join(json.dumps(row) for row in rows)
        path.write_text(f"[\n{lines}\n]\n", "utf-8")


def _twin(setting: Setting, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The run of another name for a scheme that was searched for; a float head alone takes every
    rule alike."""
    if not setting.scheme.startswith(OURS):
        return None
    for row in rows:
        other = key(row)
        floats = other.scheme == "head" and other.head == HEADS[0]
        rule = setting.rule if floats else other.rule
        named = replace(other, scheme=setting.scheme, rule=rule)
        same = named == setting and other.scheme != setting.scheme
        if same and scheme_of(other.task, other.scheme) == scheme_of(setting.task, setting.scheme):
            return {**row, "scheme": setting.scheme, "rule": setting.rule}
    return None


def _missing(
    settings: Callable[[Mapping[Setting, float]], Iterable[Setting]], path: Path
) -> list[Setting]:
    known = {key(row): row["accuracy"] or 0.0 for row in comparable(read(path))}
    return [s for s in dict.fromkeys(settings(known)) if s not in known]


def _words(text: str) -> list[str]:
    """Split at semicolons: schemes have commas."""
    return [w.strip() for w in text.split(";") if w.strip()]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--task", type=_words, default=["flowers"], help=";".join(TASKS))
    parser.add_argument("--scheme", type=_words, default=["published:mcunet-49kb"])
    parser.add_argument("--rule", type=_words, default=[*RULES, REAL])
    parser.add_argument("--rate", type=lambda t: [float(w) for w in _words(t)], default=[0.004])
    parser.add_argument("--optimiser", type=_words, default=["sgd"], help=";".join(OPTIMISERS))
    parser.add_argument("--head", type=_words, default=["float"], help=";".join(HEADS))
    parser.add_argument("--seeds", type=lambda t: [int(w) for w in _words(t)], default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learn", type=int, default=500, help="pictures to learn from")
    parser.add_argument("--test", type=int, default=600, help="pictures to test with")
    parser.add_argument("--every", type=int, default=0, help="steps between tests; 0: an epoch")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", action="store_true", help="all of docs/training-results.md")
    parser.add_argument("--document", action="store_true", help="of what is there, measure nothing")
    args = parser.parse_args(argv)
    if args.page or args.document:
        from benchmarks import training_document, training_page

        while args.page and (more := _missing(training_page.settings, args.results)):
            # one: what follows from it comes before what is left
            print(f"{len(more)} runs are missing, and what follows from them", flush=True)
            run(more[:1], args.results, args.every)
        training_document.write()
    else:
        run(settings(args), args.results, args.every)
    return 0


if __name__ == "__main__":
    # settings of `benchmarks.training_page` are of the class by that name
    from benchmarks.training import main as named

    sys.exit(named())

"""Schemes that were searched for, against others: `python -m benchmarks.schemes --case turned`.

For each budget of RAM the contribution analysis and the search, by both methods; then what the
chosen scheme and the usual ones learn, over seeds, by the steps that a device would take.  The
analysis goes on from `build/training` where it was interrupted; each scheme is one line of
`schemes.json`, and is not measured again.

    turned    the demo's network of digits, and digits that lie on their side
    flowers   the published int8 MCUNet-5fps and flowers
    words     a keyword network, and words that it does not know

The last two are tasks of `benchmarks.training`, which measures what their schemes learn.  Their
plans are the smallest ones, and those of one network are shared between budgets, as trainings are;
where not even the head fits with the picture in memory, its rows are asked for.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import lilliput
from benchmarks.training import CACHE
from benchmarks.training_tasks import TASKS, backbone, load, network
from lilliput.compiler import (
    Feed,
    Model,
    Optimiser,
    Options,
    Search,
    Searched,
    Study,
    UpdateScheme,
    from_module,
    searched,
    train_layers,
)
from lilliput.compiler.costs import StepCosts
from lilliput.compiler.training import examples
from lilliput.data import DataSet, Split
from lilliput.demo_data import digits_model
from lilliput.devices.device import load as board
from lilliput.errors import DoesNotFit, UsageError
from lilliput.optional import need
from lilliput.plan.objective import Optimize
from lilliput.train import fast
from lilliput.train.build import trainable
from lilliput.train.schemes import parse
from lilliput.train.search import METHODS, PLANS
from lilliput.train.simulate import Plan, Simulator

DEVICE = "stm32f746"
EPOCHS = 3
LEAST = 1024
"""Bytes of RAM that nothing keeps to: the smallest plan is what is then found."""
RESULTS = Path(__file__).parent / "schemes.json"


@dataclass(frozen=True)
class Case:
    """A network and examples that it was not trained on.

    budgets : bytes of RAM; others : schemes that it is compared with; rate : of the first step
    task : one of `benchmarks.training`, which measures accuracies; plans : of a search's programme
    study : its analysis
    """

    model: Callable[[], Model]
    data: Callable[[], DataSet]
    classes: int
    rate: float
    budgets: tuple[int, ...]
    others: tuple[str, ...]
    task: bool = False
    plans: int = PLANS
    study: Study = field(default_factory=Study)


@cache
def turned() -> DataSet:
    """300 digits of each split, turned by a quarter."""
    datasets: Any = need("sklearn.datasets", "demo", "digits")
    found = datasets.load_digits()
    x = np.rot90(found.images, axes=(1, 2))[..., None].astype(np.float32)
    y = found.target
    return DataSet({"train": Split(x[:300], y[:300]), "test": Split(x[300:900], y[300:900])})


def _task(name: str, others: tuple[str, ...], study: Study, rate: float) -> Case:
    """A task of `benchmarks.training`: its examples, 500 of them to learn from."""

    @cache
    def data() -> DataSet:
        found = load(name)
        learn = Split(found.x[:500], found.y[:500])
        return DataSet({"train": learn, "test": Split(found.x_test, found.y_test)})

    def model() -> Model:
        return from_module(network(name))

    classes = TASKS[name].classes
    return Case(model, data, classes, rate, BUDGETS, others, True, 4, study)


BUDGETS = tuple(1024 * kb for kb in (64, 100, 150, 256))
PUBLISHED = tuple(f"published:mcunet-{kb}kb" for kb in (49, 99, 148))
CASES: Mapping[str, Case] = {
    "turned": Case(
        lambda: lilliput.load(digits_model()),
        turned,
        10,
        0.02,
        (17_100, 18_000, 20_000, 24_000),
        ("head", "biases", "last=1", "last=2", "full"),
    ),
    "flowers": _task(
        "flowers",
        ("head", "biases=20", "last=6", *PUBLISHED, "full"),
        Study(752, measured=(0.5,), depths=6, reach=22),
        rate=0.004,
    ),
    "words": _task(
        "words",
        ("head", "biases", "last=2", "last=4", "full"),
        Study(752, measured=(0.5,), depths=4, reach=9),
        rate=0.064,
    ),
}


def size(ram: int) -> str:
    return f"{ram:,} B" if ram % 1024 else f"{ram // 1024}kB"


@cache
def costs(name: str, feed: Feed) -> StepCosts:
    """Of a task: the smallest plans, whatever the budget."""
    case = CASES[name]
    options = Options(optimize=Optimize.RAM, feed=feed)
    optimiser = Optimiser(rate=case.rate)
    return StepCosts(case.model(), board(DEVICE), optimiser, case.classes, 0, options, log)


def log(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def chosen(name: str, ram: int, method: str, study: Study) -> dict[str, Any]:
    """What the search finds within so many bytes."""
    feeds: tuple[Feed, ...] = ("memory", "callback") if CASES[name].task else ("memory",)
    for feed in feeds:
        try:
            result = _searched(name, ram, method, study, feed)
        except DoesNotFit as e:
            log(str(e))
            continue
        print(result, flush=True)
        return {
            "size": size(ram),
            "input": feed,
            "scheme": str(result.chosen.scheme),
            "ram": result.chosen.need.ram,
            **_gains(result),
            "finalists": [
                [f.scheme.name or str(f.scheme), *map(_rounded, result.gain(f)), len(f.losses)]
                for f in result.finalists
            ],
        }
    return {"size": size(ram), "scheme": None, "ram": None}


def _gains(result: Searched) -> dict[str, Any]:
    """Predicted, as far as the model knows what was chosen, and measured with its error."""
    found: dict[str, Any] = {"bound": round(result.chosen.bound, 6)}
    if result.chosen.gain is not None:
        found["gain"] = round(result.chosen.gain, 6)
    if result.measured is not None:
        found["measured"], found["error"] = map(_rounded, result.measured)
    return found


def _rounded(number: float) -> float | None:
    return round(number, 6) if math.isfinite(number) else None


def _searched(name: str, ram: int, method: str, study: Study, feed: Feed) -> Searched:
    case = CASES[name]
    CACHE.mkdir(parents=True, exist_ok=True)
    file = CACHE / f"{name}-{study.steps}-contribution.json"
    return searched(
        case.model(),
        board(DEVICE),
        Search(method, plans=case.plans, analysis=file, study=study, fast=True),
        case.data(),
        Optimiser(rate=case.rate),
        classes=case.classes,
        options=Options(ram=ram, feed=feed),
        log=log,
        costs=costs(name, feed) if case.task else None,
    )


def named(name: str, text: str) -> dict[str, Any]:
    """The same of a scheme that needs no search: the RAM of its smallest plan."""
    case = CASES[name]
    scheme = parse(text, train_layers(case.model(), case.classes))
    if case.task:
        rams = {feed: costs(name, feed).planned(scheme).ram for feed in ("memory", "callback")}
        return {"scheme": str(scheme), "ram": rams["memory"], "callback": rams["callback"]}
    options, optimiser = Options(ram=LEAST), Optimiser(rate=case.rate)
    alone = StepCosts(case.model(), board(DEVICE), optimiser, case.classes, 0, options)
    return {"scheme": str(scheme), "ram": alone.planned(scheme).ram}


def accuracy(name: str, scheme: UpdateScheme, seed: int) -> float:
    """Of the test split, after the last step."""
    case = CASES[name]
    module = case.model().module
    optimiser = Optimiser(rate=case.rate, seed=seed + 1)
    training = trainable(module, scheme, optimiser, classes=case.classes, seed=seed)
    simulator = Simulator(training, fast.prepare)
    x = module.inputs(module.entry)[0].type
    learn = simulator.learning(*examples(case.data(), "train", x))
    test = simulator.testing(*examples(case.data(), "test", x))
    simulator.fit(learn, plan=Plan(EPOCHS, case.rate, seed=seed))
    return simulator.accuracy(test)


def ours(task: str, size: str) -> str:
    """The scheme for so much RAM, as `training.json` names it, of a network of
    `benchmarks.training`: searched for where it was not.  Raises UsageError where none fits."""
    backbone = TASKS[task].backbone
    name = next(n for n, case in CASES.items() if case.task and TASKS[n].backbone is backbone)
    row = found(name, ("ilp", 1024 * int(size.removesuffix("kB"))), CASES[name].study)
    if row["scheme"] is None:
        raise UsageError("no scheme fits", where=f"{name}, {size}", found="not even the head")
    return row["scheme"]


def found(
    name: str, what: tuple[str, int | None], study: Study, seeds: Sequence[int] = (0, 1, 2)
) -> dict[str, Any]:
    """One line of `schemes.json`, which is measured where it is not there: a scheme, or a method
    and what it may take."""
    method, ram = what
    rows: list[dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    how = method if ram is None else f"{method}, {size(ram)}"
    own = backbone(name) if CASES[name].task else None
    for row in rows:
        if (row["case"], row["how"], row.get("backbone")) == (name, how, own):
            return row
    row = named(name, method) if ram is None else chosen(name, ram, method, study)
    lead: dict[str, Any] = {"case": name, "how": how}
    lead |= {"backbone": own} if own else {}
    rows.append({**lead, **measured(name, row, seeds)})
    lines = ",\n".join(json.dumps(r) for r in rows)
    RESULTS.write_text(f"[\n{lines}\n]\n", "utf-8")
    return rows[-1]


def measured(name: str, row: dict[str, Any], seeds: Sequence[int]) -> dict[str, Any]:
    if CASES[name].task:
        return row
    products = train_layers(CASES[name].model(), CASES[name].classes)
    scheme = parse(row["scheme"], products)
    return {**row, "accuracy": [accuracy(name, scheme, seed) for seed in seeds]}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "| case | how | scheme | RAM, B | gain, predicted | measured | at most | accuracy, % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        gains = [f"{row[k]:.3f}" if k in row else "" for k in ("gain", "measured", "bound")]
        points = [100 * a for a in row.get("accuracy", ())]
        reached = f"{statistics.mean(points):.1f}" if points else ""
        reached += f" ± {statistics.stdev(points):.1f}" if len(points) > 1 else ""
        lines.append(
            f"| {row['case']} | {row['how']} | `{row['scheme']}` | {row['ram'] or 0:,.0f} "
            f"| {' | '.join(gains)} | {reached} |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.schemes", description=__doc__)
    parser.add_argument("--case", nargs="+", default=["turned"], choices=list(CASES))
    parser.add_argument("--method", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--ram", nargs="+", type=int, help="budgets in bytes, not the case's own")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="of a training of the analysis")
    parser.add_argument("--measured", nargs="+", type=float, help="shares of a layer's channels")
    parser.add_argument("--depths", type=int, help="bias depths, at most")
    parser.add_argument("--reach", type=int, help="layers with weights, at most")
    args = parser.parse_args(argv)
    said = {
        "steps": args.steps,
        "measured": args.measured and tuple(args.measured),
        "depths": args.depths,
        "reach": args.reach,
    }
    for name in args.case:
        case = CASES[name]
        study = replace(case.study, **{k: v for k, v in said.items() if v is not None})
        others: list[tuple[str, int | None]] = [(how, None) for how in case.others]
        searches = [(m, ram) for ram in args.ram or case.budgets for m in args.method]
        for what in searches + others if case.task else others + searches:
            found(name, what, study, args.seeds)
    print(table(json.loads(RESULTS.read_text("utf-8"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())

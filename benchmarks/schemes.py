"""Schemes that were searched for, against others: `python -m benchmarks.schemes --case turned`.

For each budget of RAM the contribution analysis and the search, by both methods; then what the
chosen scheme and the usual ones learn, over seeds, by the steps that a device would take.  The
analysis goes on from `build/training` where it was interrupted; each scheme is one line of
`schemes.json`, and is not measured again.

    turned    the demo's network of digits, and digits that lie on their side
    flowers   the published int8 MCUNet-5fps, with the pictures and settings of
              `benchmarks.training`, which measures other schemes of it
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import lilliput
from benchmarks.training import BACKBONE, CACHE
from benchmarks.training_tasks import load, shared
from lilliput.compiler import (
    Model,
    Optimiser,
    Options,
    Search,
    Study,
    UpdateScheme,
    searched,
    train_layers,
)
from lilliput.compiler.searching import StepCosts
from lilliput.compiler.training import examples
from lilliput.data import DataSet, Split
from lilliput.demo_data import digits_model
from lilliput.devices.device import load as board
from lilliput.optional import need
from lilliput.train import fast
from lilliput.train.build import trainable
from lilliput.train.contribution import DEPTHS, RATIOS, REACH
from lilliput.train.schemes import parse
from lilliput.train.search import METHODS
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
    """

    model: Callable[[], Model]
    data: Callable[[], DataSet]
    classes: int
    rate: float
    budgets: tuple[int, ...]
    others: tuple[str, ...]


@cache
def turned() -> DataSet:
    """300 digits of each split, turned by a quarter."""
    datasets: Any = need("sklearn.datasets", "demo", "digits")
    found = datasets.load_digits()
    x = np.rot90(found.images, axes=(1, 2))[..., None].astype(np.float32)
    y = found.target
    return DataSet({"train": Split(x[:300], y[:300]), "test": Split(x[300:900], y[300:900])})


@cache
def flowers() -> DataSet:
    data = load("flowers")
    learn = Split(data.x[:500], data.y[:500])
    return DataSet({"train": learn, "test": Split(data.x_test, data.y_test)})


CASES: Mapping[str, Case] = {
    "turned": Case(
        lambda: lilliput.load(digits_model()),
        turned,
        10,
        0.02,
        (17_100, 18_000, 20_000, 24_000),
        ("head", "biases", "last=1", "last=2", "full"),
    ),
    "flowers": Case(
        lambda: lilliput.load(shared() / BACKBONE),
        flowers,
        5,
        0.004,
        (128 * 1024, 150 * 1024, 256 * 1024),
        (),
    ),
}


def chosen(name: str, ram: int, method: str, study: Study) -> dict[str, Any]:
    """What the search finds within so many bytes."""
    case = CASES[name]
    CACHE.mkdir(parents=True, exist_ok=True)
    file = CACHE / f"{name}-{study.steps}-contribution.json"
    found = searched(
        case.model(),
        board(DEVICE),
        Search(method, analysis=file, study=study, fast=True),
        case.data(),
        Optimiser(rate=case.rate),
        classes=case.classes,
        options=Options(ram=ram),
        log=lambda line: print(f"  {line}", file=sys.stderr, flush=True),
    )
    print(found, flush=True)
    return {
        "scheme": str(found.chosen.scheme),
        "ram": found.chosen.need.ram,
        "gain": round(found.chosen.gain, 6),
        "measured": None if found.measured is None else round(found.measured, 6),
        "bound": round(found.chosen.bound, 6),
        "plans": found.chosen.plans,
    }


def named(name: str, text: str) -> dict[str, Any]:
    """The same of a scheme that needs no search: the RAM of its smallest plan."""
    case = CASES[name]
    model, options = case.model(), Options(ram=LEAST)
    optimiser = Optimiser(rate=case.rate)
    costs = StepCosts(model, board(DEVICE), optimiser, case.classes, 0, options)
    scheme = parse(text, train_layers(model, case.classes))
    return {"scheme": str(scheme), "ram": costs.planned(scheme).ram}


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


def measured(name: str, row: dict[str, Any], seeds: Sequence[int]) -> dict[str, Any]:
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
        points = [100 * a for a in row["accuracy"]]
        spread = f" ± {statistics.stdev(points):.1f}" if len(points) > 1 else ""
        lines.append(
            f"| {row['case']} | {row['how']} | `{row['scheme']}` | {row['ram']:,.0f} "
            f"| {' | '.join(gains)} | {statistics.mean(points):.1f}{spread} |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.schemes", description=__doc__)
    parser.add_argument("--case", nargs="+", default=["turned"], choices=list(CASES))
    parser.add_argument("--method", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--ram", nargs="+", type=int, help="budgets in bytes, not the case's own")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=400, help="of a training of the analysis")
    parser.add_argument("--ratios", nargs="+", type=float, default=list(RATIOS))
    parser.add_argument("--depths", type=int, default=DEPTHS, help="bias depths, at most")
    parser.add_argument("--reach", type=int, default=REACH, help="layers with weights, at most")
    args = parser.parse_args(argv)
    study = Study(args.steps, ratios=tuple(args.ratios), depths=args.depths, reach=args.reach)
    rows: list[dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    for name in args.case:
        wanted = [(how, None) for how in CASES[name].others]
        wanted += [(m, ram) for ram in args.ram or CASES[name].budgets for m in args.method]
        for method, ram in wanted:
            how = method if ram is None else f"{method}, {ram:,} B"
            if any((r["case"], r["how"]) == (name, how) for r in rows):
                continue
            row = named(name, method) if ram is None else chosen(name, ram, method, study)
            rows.append({"case": name, "how": how, **measured(name, row, args.seeds)})
            lines = ",\n".join(json.dumps(r) for r in rows)
            RESULTS.write_text(f"[\n{lines}\n]\n", "utf-8")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())

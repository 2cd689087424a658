"""The schemes that fit budgets of RAM: `python -m benchmarks.schemes --task flowers --ram 128 150`.

For the published int8 MCUNet-5fps on an STM32F746: contribution analysis on the pictures that
`benchmarks.training` learns from, then the search within each budget (kB), by both methods.  The
analysis goes on from `build/training` where it was interrupted; `schemes.json` holds what was
found, and `benchmarks.training --scheme` measures it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lilliput
from benchmarks.training import BACKBONE, CACHE
from benchmarks.training_tasks import TASKS, load, shared
from lilliput.compiler import Optimiser, Options, Search, Searched, Study, searched
from lilliput.data import DataSet, Split
from lilliput.devices.device import load as board
from lilliput.train.contribution import DEPTHS, RATIOS, REACH
from lilliput.train.search import METHODS

DEVICE = "stm32f746"
RATE = 0.004
RESULTS = Path(__file__).parent / "schemes.json"


def found(task: str, ram: int, method: str, learn: int, study: Study) -> Searched:
    """ram : kB of the whole image; learn : pictures of the analysis."""
    data = load(task)
    examples = DataSet({"train": Split(data.x[:learn], data.y[:learn])})
    CACHE.mkdir(parents=True, exist_ok=True)
    file = CACHE / f"{task}-{learn}-{study.steps}-contribution.json"
    search = Search(method, analysis=file, study=study, fast=True)
    return searched(
        lilliput.load(shared() / BACKBONE),
        board(DEVICE),
        search,
        examples,
        Optimiser(rate=RATE),
        classes=TASKS[task].classes,
        options=Options(ram=ram * 1024),
        log=lambda line: print(f"  {line}", file=sys.stderr, flush=True),
    )


def row(task: str, ram: int, method: str, result: Searched) -> dict[str, Any]:
    chosen = result.chosen
    return {
        "task": task,
        "ram": ram,
        "method": method,
        "scheme": str(chosen.scheme),
        "ram_bytes": chosen.need.ram,
        "flash_bytes": chosen.need.flash,
        "gain": round(chosen.gain, 6),
        "bound": round(chosen.bound, 6),
        "plans": chosen.plans,
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.schemes", description=__doc__)
    parser.add_argument("--task", nargs="+", default=["flowers"], choices=list(TASKS))
    parser.add_argument("--ram", nargs="+", type=int, default=[256, 150, 128], help="in kB")
    parser.add_argument("--method", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--learn", type=int, default=500, help="pictures of the analysis")
    parser.add_argument("--steps", type=int, default=250, help="of each of its trainings")
    parser.add_argument("--ratios", nargs="+", type=float, default=list(RATIOS))
    parser.add_argument("--depths", type=int, default=DEPTHS, help="bias depths, at most")
    parser.add_argument("--reach", type=int, default=REACH, help="layers with weights, at most")
    args = parser.parse_args(argv)
    study = Study(args.steps, ratios=tuple(args.ratios), depths=args.depths, reach=args.reach)
    rows: list[dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    for task in args.task:
        for ram in args.ram:
            for method in args.method:
                result = found(task, ram, method, args.learn, study)
                print(result, flush=True)
                key = task, ram, method
                rows = [r for r in rows if (r["task"], r["ram"], r["method"]) != key]
                rows.append(row(*key, result))
                lines = ",\n".join(json.dumps(r) for r in rows)
                RESULTS.write_text(f"[\n{lines}\n]\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

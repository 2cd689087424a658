"""Training steps of the published int8 networks: `python -m benchmarks.steps [--only NAME]`.

A scheme is a published one, with the tensors that were published and no rest for each weight, or
`ours:SIZE`, what `benchmarks.schemes` found for MCUNet-5fps in so much RAM, with the default rule.

One step on a picture of 128 x 128, ten classes, batch 1: RAM and flash of the whole image for an
STM32F746, or another device, instructions counted on its emulated core, cycles estimated.  The
picture lies in memory, and is included, or its rows are asked for (`callback`), and the caller's
are not.  The head is the published float one, or of int8 (`--head`).
`steps.json` holds what was found, and docs/training.md has a table of it (`--document` writes it
anew); what is not measured this time stays as it was.

`--full` plans the update of every tensor instead, for the same core with RAM without limits: no
board of the kind holds it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.marked import filled
from lilliput.compiler import Feed, Optimiser, Options, from_module, learner, load, profile
from lilliput.devices.device import load as board
from lilliput.errors import LilliputError
from lilliput.plan.build import PlanOptions
from lilliput.plan.objective import Optimize
from lilliput.train.heads import HEADS

FEEDS: Sequence[Feed] = ("memory", "callback")
HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "steps.json", HERE.parent / "docs" / "training.md"
DEVICE = "stm32f746"
CLASSES = 10
PUBLISHED = {
    "mcunet-49kb": 134,
    "mcunet-99kb": 160,
    "mcunet-148kb": 173,
    "mbv2-99kb": 141,
    "proxyless-98kb": 135,
}
"""Scheme -> kB of RAM that were measured of it (Lin et al. 2022, Figure 9), where they were."""
FILES = {"mcunet": "mcunet-5fps.pkl", "mbv2": "mbv2-w0.35.pkl", "proxyless": "proxyless-w0.3.pkl"}

GOALS = {
    ("mcunet-49kb", "memory"): 95,
    ("mcunet-99kb", "memory"): 130,
    ("mcunet-148kb", "memory"): 180,
    ("mcunet-49kb", "callback"): 75,
    ("mcunet-99kb", "callback"): 110,
    ("mcunet-148kb", "callback"): 160,
    ("mbv2-99kb", "callback"): 115,
    ("proxyless-98kb", "callback"): 110,
    ("ours:64kB", "callback"): 64,
    ("ours:100kB", "memory"): 100,
    ("ours:150kB", "memory"): 150,
    ("ours:256kB", "memory"): 256,
}
"""Scheme and input -> kB of RAM that a step should do with: the plan `goal` is the fastest within
them."""
NAMES = dict.fromkeys(name for name, _ in GOALS)
"""The schemes, in the order of the page."""
OURS, SEARCHED_FOR = "ours:", "flowers"
"""How schemes begin that were searched for, and with whose data they were."""

CYCLES = {"mcunet": 118, "mbv2": 81, "proxyless": 96}
"""Network -> million cycles of a step of its largest scheme, as published."""
FULL = {"mcunet": 3650, "mbv2": 2939, "proxyless": 2745}
"""Network -> kB of RAM that were published for the update of everything."""
CORE = "cortex-m7"


@dataclass(frozen=True)
class Step:
    """ram, flash : bytes of the image; instructions : of one step, counted"""

    scheme: str
    optimize: str
    ram: int
    states: int
    flash: int
    instructions: int
    estimated_cycles: float
    macs: int
    exact: bool
    input: Feed = "memory"
    head: str = HEADS[0]
    device: str = DEVICE

    @property
    def key(self) -> tuple[str, str, Feed, str, str]:
        return self.scheme, self.optimize, self.input, self.head, self.device


def family(scheme: str) -> str:
    """The network that a scheme is for."""
    return "mcunet" if scheme.startswith(OURS) else scheme.partition("-")[0]


def measured(folder: Path, name: str, optimize: str, feed: Feed, head: str, on: str) -> Step:
    """One step of the network that a scheme is for; raises LilliputError where none is made."""
    options = Options(shrink=False, feed=feed, plan=PlanOptions(later=math.inf))  # as the command
    if optimize == "goal":
        options = replace(options, ram=GOALS[name, feed] * 1024)
    else:
        options = replace(options, optimize=Optimize(optimize))
    if name.startswith(OURS):
        from benchmarks import schemes  # which needs data sets

        optimiser = Optimiser()
        scheme = schemes.ours(SEARCHED_FOR, name.removeprefix(OURS))
    else:
        optimiser, scheme = Optimiser(rule="nearest"), f"published:{name}"
    model, device = load(folder / "tiny_training" / FILES[family(name)]), board(on)

    def log(what: str) -> None:
        print(f"{time.process_time():7.0f} s  {what}", file=sys.stderr, flush=True)

    found = learner(
        model, device, scheme, optimiser, classes=CLASSES, head=head, options=options, log=log
    )
    log(f"{found.training.slices} slices, masks made again: {found.training.remade}")
    counted = profile(
        from_module(found.training.module),
        device,
        options=options,
        entry="train_step",
        program=found.compiled.program,
    )
    summary = found.compiled.summary
    assert summary.ram_bytes.total is not None
    assert summary.flash_bytes.total is not None
    return Step(
        name,
        optimize,
        summary.ram_bytes.total,
        summary.ram_bytes.states,
        summary.flash_bytes.total,
        counted.instructions,
        counted.estimated_cycles or 0.0,
        counted.macs,
        counted.exact,
        feed,
        head,
        on,
    )


def full(folder: Path, name: str) -> str:
    """A row of Markdown: RAM of the image that updates every tensor of a network, and of that its
    states; nothing runs."""
    options = Options(optimize=Optimize.RAM, shrink=False)
    model, optimiser = load(folder / "tiny_training" / FILES[name]), Optimiser(rule="nearest")
    found = learner(model, board(CORE), "full", optimiser, classes=CLASSES, options=options)
    nbytes = found.compiled.summary.ram_bytes
    total = nbytes.total or nbytes.activations + nbytes.states
    return f"| {name}, full | {total:,} | {FULL[name]:,} | {nbytes.states:,} |"


def table(steps: Sequence[Step]) -> str:
    """Markdown; RAM and cycles that were published beside it, where they were."""
    columns = "scheme", "options", "RAM, B", "goal", "published", "states, B", "flash, B"
    columns += "instructions", "cycles, estimated", "published"
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for step in steps:
        name = step.scheme if step.scheme.startswith(OURS) else f"published:{step.scheme}"
        on = "" if step.device == DEVICE else f" ({step.device})"
        cells = (
            f"`{name}`{on}",
            f"`{asked(step)}`",
            f"{step.ram:,}",
            goal(step),
            f"{PUBLISHED[step.scheme]} kB" if step.scheme in PUBLISHED else "",
            f"{step.states:,}",
            f"{step.flash:,}",
            f"{step.instructions / 1e6:.1f} M",
            f"{step.estimated_cycles / 1e6:.1f} M",
            f"{CYCLES[family(step.scheme)]} M" if step.device == DEVICE else "",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def asked(step: Step) -> str:
    """The options of `lilliput train` that ask for a step."""
    within = step.optimize == "goal"
    what = f"ram {GOALS[step.scheme, step.input]}kB" if within else f"optimize {step.optimize}"
    head = f" --head {step.head}" if step.head != HEADS[0] else ""
    feed = f" --input {step.input}" if step.input != FEEDS[0] else ""
    return f"--{what}{head}{feed}"


def goal(step: Step) -> str:
    """Whether a step within a goal has its RAM; nothing of others."""
    if step.optimize != "goal":
        return ""
    kb = GOALS[step.scheme, step.input]
    return f"{kb} kB: {'met' if step.ram <= 1024 * kb else 'missed'}"


def page(text: str, steps: Sequence[Step]) -> str:
    """`text` with the table of what was found where it says `<!-- steps -->`."""
    return filled(text, {"steps": lambda: table(steps)})


def known() -> list[Step]:
    """What was measured before, in order."""
    rows: list[dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    order = list(NAMES)
    return sorted((Step(**row) for row in rows), key=lambda s: (order.index(s.scheme), s.key))


def keep(step: Step) -> None:
    """Writes a step to what is known, in the place of an older one."""
    found = {s.key: s for s in known()} | {step.key: step}
    rows = [asdict(found[key]) for key in sorted(found)]
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


def document() -> None:
    PAGE.write_text(page(PAGE.read_text("utf-8"), known()), "utf-8")


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", help="measure this (repeatable)")
    parser.add_argument("--optimize", action="append", choices=["speed", "ram", "goal"])
    parser.add_argument("--full", action="store_true", help="plan the update of all tensors")
    parser.add_argument("--document", action="store_true", help="of what is there, measure nothing")
    parser.add_argument("--input", action="append", choices=FEEDS)
    parser.add_argument("--head", action="append", choices=HEADS, help="float where not said")
    parser.add_argument("--device", default=DEVICE, help=f"{DEVICE} where not said")
    chosen = parser.parse_args()
    names = FULL if chosen.full else NAMES
    if unknown := set(chosen.only or ()) - set(names):
        parser.error(f"--only {min(unknown)}: of {', '.join(sorted(names))}")
    return chosen


def main() -> int:
    chosen = parsed()
    if chosen.document:
        document()
        return 0
    shared = os.environ.get("LILLIPUT_SHARED")
    if shared is None:
        print("note: the networks are found by LILLIPUT_SHARED, which is not set", file=sys.stderr)
        return 0
    if chosen.full:
        print("| scheme | RAM, B | published, kB | states, B |\n|---|---|---|---|")
        for name in chosen.only or FULL:
            print(full(Path(shared) / "models", name), flush=True)
        return 0
    wrong = 0
    wanted = product(
        chosen.only or PUBLISHED,
        chosen.optimize or ["ram"],
        chosen.input or FEEDS,
        chosen.head or HEADS[:1],
    )
    for name, optimize, feed, head in wanted:
        if optimize == "goal" and (name, feed) not in GOALS:
            continue
        what = f"{name}, {chosen.device}, {optimize}, {feed}, head {head}"
        print(f"measuring {what}", file=sys.stderr)
        try:
            step = measured(Path(shared) / "models", name, optimize, feed, head, chosen.device)
        except LilliputError as error:
            print(f"{what}: {error}", file=sys.stderr)
            wrong += 1
            continue
        wrong += not step.exact
        keep(step)
    document()
    print(table(known()))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

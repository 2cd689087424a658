"""train: firmware that learns on the device.

Thin over `lilliput.compiler.training`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lilliput.cli import common

if TYPE_CHECKING:
    from lilliput.compiler import Options, Search

EXAMPLE = (
    "lilliput train model.tflite --device stm32f746 --classes 5 --scheme last=2 -o firmware\n"
    "  lilliput train model.tflite --device stm32f746 --ram 128kB --data DIR --fast -o firmware"
)


@click.command(epilog=common.example(EXAMPLE))
@common.network
@common.device
@click.option(
    "--scheme",
    metavar="SCHEME",
    help="What is trained: head, biases[=N], last=N, full, LAYER[:SHARE], joined by commas; "
    "published:NAME; or JSON. Where not given: searched with --ram or --search, else head.",
)
@click.option(
    "--search",
    type=click.Choice(["ilp", "evolution"]),
    help="How the scheme is chosen that gains most on --data within --ram and --cycles: exactly, "
    "or by breeding. ilp where --ram and no scheme is given.",
)
@click.option(
    "--cycles",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Of the search: predicted cycles that a step may take.",
)
@click.option(
    "--analysis",
    metavar="FILE",
    help="Keep the contribution analysis of the search, and go on from it.",
)
@click.option(
    "--analysis-steps",
    type=click.IntRange(min=1),
    default=400,
    show_default=True,
    help="Of each of its trainings, about.",
)
@click.option(
    "--classes",
    type=click.IntRange(min=2),
    metavar="N",
    help="Classes of a new head; the network's own head is trained where not given.",
)
@click.option(
    "--optimizer",
    type=click.Choice(["sgd", "adam", "lion"]),
    default="sgd",
    show_default=True,
    help="How a gradient becomes a step.",
)
@click.option("--rate", default=0.01, show_default=True, help="Learning rate at power-on.")
@click.option("--momentum", default=0.0, show_default=True, help="Of SGD.")
@click.option("--weight-decay", default=0.0, show_default=True, help="Of weights, not of biases.")
@click.option(
    "--rule",
    type=click.Choice(["nearest", "dither", "residual"]),
    default="residual",
    show_default=True,
    help="How an int8 weight takes a step that is no whole number.",
)
@click.option(
    "--data",
    metavar="PATH",
    help="Simulate it on this data set: a folder, .npz or .csv with splits train and test.",
)
@click.option("--epochs", default=1, show_default=True, help="Of the simulation.")
@click.option(
    "--fast", is_flag=True, help="Simulate with PyTorch: quicker, not bit for bit in gradients."
)
@click.option("--seed", default=0, show_default=True, help="Of the head, and of the order.")
@click.option("-o", "out", metavar="DIR", help="The folder to write.")
@click.option("--plan-only", is_flag=True, help="Stop after the plan and what it needs.")
@common.planning("auto")
@click.option("--force", is_flag=True, help="Replace a folder that Lilliput wrote.")
@common.json
def train(
    network: common.Network,
    device: str,
    scheme: str | None,
    search: str | None,
    cycles: float | None,
    analysis: str | None,
    analysis_steps: int,
    classes: int | None,
    optimizer: str,
    rate: float,
    momentum: float,
    weight_decay: float,
    rule: str,
    data: str | None,
    epochs: int,
    fast: bool,
    seed: int,
    out: str | None,
    plan_only: bool,
    options: Options,
    force: bool,
    as_json: bool,
) -> None:
    """Writes C that goes on learning on the device."""
    from lilliput import compiler as pipeline
    from lilliput import data as data_sets
    from lilliput import devices, report
    from lilliput.errors import UsageError

    board = devices.load(device)
    if out is None and data is None and not plan_only:
        raise UsageError(
            "nothing to do",
            expected="-o DIR for the firmware, --data PATH for a simulation, or both",
            hint="or --plan-only for the plan alone",
        )
    if out is not None:
        pipeline.require_free(Path(out), force=force)
    optimiser = pipeline.Optimiser(optimizer, rate, momentum, weight_decay, rule)
    way = _search(scheme, search, options.ram, cycles, analysis, analysis_steps, seed, fast)
    examples = data_sets.read(data) if data is not None else None
    model = network.load(shrink=False)
    lead = ""
    if way is None:
        found = pipeline.learner(
            model,
            board,
            scheme or "head",
            optimiser,
            classes=classes,
            seed=seed,
            options=options,
            log=common.log,
        )
        result = found.to_json()
    else:
        chosen = pipeline.searched(
            model,
            board,
            way,
            examples,
            optimiser,
            classes=classes,
            seed=seed,
            options=options,
            log=common.log,
        )
        found, result, lead = chosen.learner, chosen.to_json(), f"{chosen}\n\n"
    text = f"{lead}{report.text(found.compiled.summary)}\n\n{pipeline.described(found)}"
    if examples is not None and not plan_only:
        lessons = pipeline.Lessons(epochs, rate, seed=seed)
        learned = pipeline.taught(found, examples, lessons, fast=fast, log=common.log)
        last = learned.curve[-1].accuracy
        text += f"\n\n{'simulated':<16}{learned.before:.1%} -> {last:.1%} of the test examples"
        result["simulated"] = learned.to_json()
    if out is not None and not plan_only:
        pipeline.write(found.compiled, out, force=force)
        text += f"\n{'written to':<16}{out}"
    common.show(as_json, result, text)


def _search(
    scheme: str | None,
    method: str | None,
    ram: int | None,
    cycles: float | None,
    analysis: str | None,
    steps: int,
    seed: int,
    fast: bool,
) -> Search | None:
    """How a scheme is searched for; None where one is named, or nothing limits it."""
    from lilliput.compiler import Search, Study
    from lilliput.errors import UsageError

    asked = {"--search": method, "--cycles": cycles, "--analysis": analysis}
    words = [name for name, value in asked.items() if value is not None]
    if scheme is not None:
        if words:
            found = f"--scheme and {', '.join(words)}"
            raise UsageError("a scheme is named, or it is searched for", found=found)
        return None
    if ram is None and not words:
        return None
    return Search(
        method or "ilp",
        cycles=cycles or math.inf,
        analysis=None if analysis is None else Path(analysis),
        study=Study(steps=steps, seed=seed),
        fast=fast,
    )

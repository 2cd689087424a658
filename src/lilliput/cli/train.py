"""train: firmware that learns on the device.

Thin over `lilliput.compiler.training`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lilliput.cli import common

if TYPE_CHECKING:
    from lilliput.compiler import Feed, Options, Search
    from lilliput.project import Kind

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
    help="What is trained: head, biases[=N], last=N, full, lite[=N], norm, LAYER[:SHARE], joined "
    "by commas; published:NAME; or JSON. Where not given: searched with --ram or --search, else "
    "head.",
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
    "--loss",
    type=click.Choice(["cross_entropy", "bce", "mse", "reconstruction"]),
    default="cross_entropy",
    show_default=True,
    help="What a step makes small. Without classes the network is trained as it ends; "
    "reconstruction needs no target: autoencoders.",
)
@click.option(
    "--head",
    type=click.Choice(["float", "int8"]),
    default="float",
    show_default=True,
    help="How the weights of the classifier are stored: int8 takes a quarter of the RAM, half with "
    "--rule residual.",
)
@click.option(
    "--max-classes",
    type=click.IntRange(min=3),
    metavar="M",
    help="Room in the head for classes that the firmware adds: NAME_set_classes.",
)
@click.option(
    "--evaluate", is_flag=True, help="With NAME_evaluate: the loss of a sample, nothing moves."
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
    "--accumulate",
    type=click.IntRange(1, 1 << 20),
    default=1,
    show_default=True,
    metavar="N",
    help="Examples to a step: their gradients are summed in RAM, and every Nth call moves.",
)
@click.option(
    "--moments",
    type=click.Choice(["float32", "int8"]),
    default="float32",
    show_default=True,
    help="How momentum and the moments of Adam and Lion are stored.",
)
@click.option(
    "--gradients",
    type=click.Choice(["fixed", "float"]),
    default="fixed",
    show_default=True,
    help="How they pass back through int8 weights: as 16-bit numbers, a scale a pixel, or floats.",
)
@click.option(
    "--recompute",
    type=click.Choice(["auto", "off"]),
    default="auto",
    show_default=True,
    help="Where the step of a scheme does not fit: make values of the forward part again in the "
    "backward part, or move them to a slower RAM that may be used, and back.",
)
@click.option(
    "--slices",
    metavar="auto|off|N",
    default="auto",
    show_default=True,
    help="In how many slices of channels the backward parts of blocks are made: less RAM. auto: "
    "what the planner finds best, with --optimize ram or where nothing else fits.",
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
@common.feed
@common.planning("auto")
@common.project
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
    loss: str,
    head: str,
    max_classes: int | None,
    evaluate: bool,
    optimizer: str,
    rate: float,
    momentum: float,
    weight_decay: float,
    rule: str,
    gradients: str,
    recompute: str,
    slices: str,
    accumulate: int,
    moments: str,
    data: str | None,
    epochs: int,
    fast: bool,
    seed: int,
    out: str | None,
    plan_only: bool,
    feed: Feed,
    options: Options,
    project: Kind | None,
    force: bool,
    as_json: bool,
) -> None:
    """Writes C that goes on learning on the device."""
    from lilliput import compiler as pipeline
    from lilliput import data as data_sets
    from lilliput import devices, report
    from lilliput.errors import UsageError
    from lilliput.project import require_start

    board, options = devices.load(device), replace(options, feed=feed)
    if project == "bare-metal":
        require_start(board)
    if out is None and data is None and not plan_only:
        raise UsageError(
            "nothing to do",
            expected="-o DIR for the firmware, --data PATH for a simulation, or both",
            hint="or --plan-only for the plan alone",
        )
    if out is not None:
        pipeline.require_free(Path(out), force=force)
    optimiser = pipeline.Optimiser(
        optimizer,
        rate,
        momentum,
        weight_decay,
        rule,
        accumulate=accumulate,
        moments=moments,
        gradients=gradients,
    )
    way = _search(scheme, search, options.ram, cycles, analysis, analysis_steps, seed, fast)
    examples = data_sets.read(data) if data is not None else None
    model = network.load(shrink=False)
    lead = ""
    if way is None:
        later = math.inf if recompute == "auto" else 0.0
        options = replace(options, plan=replace(options.plan, later=later))
        found = pipeline.learner(
            model,
            board,
            scheme or "head",
            optimiser,
            classes=classes,
            max_classes=max_classes,
            evaluate=evaluate,
            seed=seed,
            loss=loss,
            head=head,
            options=options,
            slices=slices,
            log=common.log,
        )
        result = found.to_json()
    else:
        if loss != "cross_entropy":
            raise UsageError(
                "a scheme is searched for classifiers alone",
                expected="--loss cross_entropy, or --scheme",
                found=f"--loss {loss}",
            )
        chosen = pipeline.searched(
            model,
            board,
            way,
            examples,
            optimiser,
            classes=classes,
            max_classes=max_classes,
            evaluate=evaluate,
            head=head,
            seed=seed,
            options=options,
            slices=slices,
            log=common.log,
        )
        found, result, lead = chosen.learner, chosen.to_json(), f"{chosen}\n\n"
    text = f"{lead}{report.text(found.compiled.summary)}\n\n{pipeline.described(found)}"
    if examples is not None and not plan_only:
        lessons = pipeline.Lessons(epochs, rate, seed=seed)
        learned = pipeline.taught(found, examples, lessons, fast=fast, log=common.log)
        text += f"\n\n{'simulated':<16}{learned}"
        result["simulated"] = learned.to_json()
    if out is not None and not plan_only:
        made = found.compiled
        files = pipeline.project_files(made, project, options, common.log) if project else None
        pipeline.write(made, out, force=force, files=files)
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

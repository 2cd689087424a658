"""train: firmware that learns on the device.

Thin over `lilliput.compiler.training`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lilliput.cli import common

if TYPE_CHECKING:
    from lilliput.compiler import Options
    from lilliput.project import Kind

EXAMPLE = "lilliput train model.tflite --device stm32f746 --classes 5 --scheme last=2 -o firmware"


@click.command(epilog=common.example(EXAMPLE))
@common.network
@common.device
@click.option(
    "--scheme",
    default="head",
    show_default=True,
    metavar="SCHEME",
    help="What is trained: head, biases[=N], last=N, full, lite[=N], norm, LAYER[:SHARE], joined "
    "by commas; published:NAME; or JSON.",
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
@common.project
@click.option("--force", is_flag=True, help="Replace a folder that Lilliput wrote.")
@common.json
def train(
    network: common.Network,
    device: str,
    scheme: str,
    classes: int | None,
    loss: str,
    max_classes: int | None,
    evaluate: bool,
    optimizer: str,
    rate: float,
    momentum: float,
    weight_decay: float,
    rule: str,
    accumulate: int,
    moments: str,
    data: str | None,
    epochs: int,
    fast: bool,
    seed: int,
    out: str | None,
    plan_only: bool,
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

    board = devices.load(device)
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
        optimizer, rate, momentum, weight_decay, rule, accumulate=accumulate, moments=moments
    )
    examples = data_sets.read(data) if data is not None else None
    found = pipeline.learner(
        network.load(shrink=False),
        board,
        scheme,
        optimiser,
        classes=classes,
        max_classes=max_classes,
        evaluate=evaluate,
        seed=seed,
        loss=loss,
        options=options,
        log=common.log,
    )
    text = f"{report.text(found.compiled.summary)}\n\n{pipeline.described(found)}"
    result = found.to_json()
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

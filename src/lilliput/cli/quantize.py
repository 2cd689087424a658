"""quantize: a float network and data become an integer network.

Thin over `lilliput.compiler.quantizing`; only the reading of labels is here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lilliput.cli import common
from lilliput.errors import UsageError

if TYPE_CHECKING:
    from lilliput.ir.types import Array

EXAMPLE = "lilliput quantize model.tflite --data calibration.npz -o small.tflite --explain"


@click.command(epilog=common.example(EXAMPLE))
@common.model
@click.option(
    "--data",
    required=True,
    metavar="PATH",
    help="Data like those it will see: .npy, .npz, or a folder of .npy files or pictures.",
)
@click.option("--test", metavar="PATH", help="Other data, to compare answers on.")
@click.option(
    "--labels",
    metavar="NAME",
    help="Classes of the compared data: an array of its .npz, or an .npy.",
)
@click.option("--groups", metavar="NAME", help="Groups of the compared data, given like --labels.")
@click.option(
    "-o",
    "out",
    required=True,
    metavar="FILE",
    help="What to write: .tflite, or .lilliput, which every command reads.",
)
@click.option(
    "--activations",
    type=click.Choice(["int8", "int16"]),
    default="int8",
    show_default=True,
    help="What values between layers become; int16 is exacter and twice the RAM.",
)
@click.option(
    "--int16-layers",
    metavar="NAME,...",
    help="Layers with int16 results in a network of int8: names as --explain lists them, or "
    "patterns.",
)
@click.option(
    "--ranges",
    type=click.Choice(["minmax", "percentile", "mse", "kl"]),
    default="minmax",
    show_default=True,
    help="How ranges follow from the data.",
)
@click.option("--equalize", is_flag=True, help="Bring ranges of channels nearer to one another.")
@click.option("--absorb-bias", is_flag=True, help="Give high biases to the layer behind.")
@click.option("--bias-correction", is_flag=True, help="Make up in biases for what layers miss.")
@click.option("--adaptive-rounding", is_flag=True, help="Round weights for the least output error.")
@click.option(
    "--distill",
    default=0,
    metavar="ROUNDS",
    help="Train the integers towards the float network, so often over the data, without labels.",
)
@click.option("--symmetric-heads", is_flag=True, help="Give int8 outputs the zero point 0.")
@click.option("--allow-float", is_flag=True, help="Leave what has no integer form in floats.")
@click.option("--allow-dead", is_flag=True, help="Accept activations that are 0 on all data.")
@click.option("--explain", is_flag=True, help="Say layer by layer where the accuracy went.")
@click.option("--report", "page", metavar="FILE", help="Write the account as an HTML page, too.")
@click.option("--seed", default=0, show_default=True, help="Of the places rounding looks at.")
@click.option("--force", is_flag=True, help="Replace files.")
@common.json
def quantize(
    model: str,
    data: str,
    test: str | None,
    labels: str | None,
    groups: str | None,
    out: str,
    activations: str,
    int16_layers: str | None,
    ranges: str,
    equalize: bool,
    absorb_bias: bool,
    bias_correction: bool,
    adaptive_rounding: bool,
    distill: int,
    symmetric_heads: bool,
    allow_float: bool,
    allow_dead: bool,
    explain: bool,
    page: str | None,
    seed: int,
    force: bool,
    as_json: bool,
) -> None:
    """Makes an integer network of a float one, and says what it cost."""
    from lilliput import compiler as pipeline
    from lilliput import report

    for path in (out, page):
        if path is not None:
            pipeline.require_free_file(path, force=force)
    options = pipeline.Quantization(
        activations,
        ranges,
        equalize,
        absorb_bias,
        bias_correction,
        adaptive_rounding,
        symmetric_heads,
        allow_float,
        allow_dead,
        explain,
        seed,
        tuple(n.strip() for n in int16_layers.split(",") if n.strip()) if int16_layers else (),
        distill,
    )
    compared = test or data
    found = pipeline.quantize(
        pipeline.load(model),
        data,
        options,
        test=test,
        labels=_named(labels, compared, "--labels"),
        groups=_named(groups, compared, "--groups"),
        log=common.log,
    )
    pipeline.write_file(pipeline.file_of(found, out), out, force=force)
    if page is not None:
        pipeline.write_file(report.quantized_page(found.outcome).encode(), page, force=force)
    text = f"{report.quantized_text(found.outcome)}\n\n{'written to':<16}{out}"
    common.show(as_json, {**found.to_json(), "out": out, "report": page}, text)


def _named(name: str | None, data: str, option: str) -> Array | None:
    """An array of the data's .npz, or of an .npy file."""
    from lilliput.data import ALONE, load_arrays

    if name is None:
        return None
    if Path(name).suffix == ".npy":
        return load_arrays(Path(name))[ALONE]
    arrays = load_arrays(Path(data)) if Path(data).suffix == ".npz" else {}
    if name not in arrays:
        raise UsageError(
            "no such array",
            where=option,
            expected=f"one of {data}: {', '.join(arrays) or 'no .npz'}; or an .npy file",
            found=name,
        )
    return arrays[name]

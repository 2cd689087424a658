"""inspect, compile, check, profile: what is done with a network's file.

Thin over `lilliput.compiler` and `lilliput.report`; only the words are here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lilliput.cli import common

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lilliput.compiler import Check, Feed, HotBlock, Options, Profile
    from lilliput.project import Kind


@click.command(epilog=common.example("lilliput inspect model.tflite"))
@common.network
@common.json
def inspect(network: common.Network, as_json: bool) -> None:
    """Shows the layers of a network, or why it would not compile."""
    from lilliput import compiler

    found = compiler.inspect(network.load())
    common.show(as_json, found.to_json(), compiler.inspection_text(found))


@click.command(
    "compile", epilog=common.example("lilliput compile model.tflite --device stm32f746 -o firmware")
)
@common.network
@common.device
@click.option("-o", "out", required=True, metavar="DIR", help="The folder to write.")
@common.planning("none")
@common.feed
@common.project
@click.option("--force", is_flag=True, help="Replace a folder that Lilliput wrote.")
@common.profile
@common.json
def compile_(
    network: common.Network,
    device: str,
    out: str,
    options: Options,
    feed: Feed,
    project: Kind | None,
    force: bool,
    profiled: bool,
    as_json: bool,
) -> None:
    """Writes C for a device, with its RAM and flash to the byte."""
    from lilliput import compiler as pipeline
    from lilliput import devices, report
    from lilliput.project import require_start

    board = devices.load(device)
    if project == "bare-metal":
        require_start(board)
    pipeline.require_free(Path(out), force=force)
    options = replace(options, feed=feed)
    loaded = network.load(shrink=options.shrink)
    compiled = pipeline.compile(loaded, board, options, common.log)
    if profiled:
        compiled = pipeline.counted(compiled, options, common.log)
    files = pipeline.project_files(compiled, project, options, common.log) if project else None
    pipeline.write(compiled, out, force=force, files=files)
    text = f"{report.text(compiled.summary)}\n{'written to':<16}{out}"
    text += f"\n{'look at':<16}{Path(out) / pipeline.REPORT}"
    common.show(as_json, {**compiled.to_json(), "out": out, "project": project}, text)


@click.command(epilog=common.example("lilliput check model.tflite --device cortex-m4"))
@common.network
@common.device
@click.option(
    "--samples",
    type=click.IntRange(1, 100_000),
    default=16,
    show_default=True,
    help="Calls of every entry: corners first, then random inputs.",
)
@common.seed
@common.planning()
@common.feed
@common.emulator
@click.option("--allow-missing", is_flag=True, help="Accept ways that cannot be run here.")
@common.json
def check(
    network: common.Network,
    device: str,
    samples: int,
    seed: int,
    options: Options,
    feed: Feed,
    emulator: str,
    allow_missing: bool,
    as_json: bool,
) -> int:
    """Proves that every way of running a network gives the same bits.

    NumPy, the C on this machine under sanitizers, the C on an emulated core, and TFLite Micro
    where it is installed, on lowest, highest, middle and random inputs.
    """
    from lilliput import compiler as pipeline
    from lilliput import devices

    result = pipeline.check(
        network.load(shrink=options.shrink),
        devices.load(device),
        samples=samples,
        seed=seed,
        options=replace(options, feed=feed),
        emulator=emulator,
        log=common.log,
    )
    common.show(as_json, result.to_json(), _check_text(result, allow_missing))
    return 0 if result.ok and (allow_missing or not result.missing) else 1


def _check_text(check: Check, allow_missing: bool) -> str:
    rows = [(w.name, f"{w.tensors:,} tensors, {_agrees(w.difference)}") for w in check.ways]
    rows += [(name, f"MISSING: {why}") for name, why in check.missing.items()]
    rows += [(name, f"not compared: {why}") for name, why in check.not_installed.items()]
    rows.append(("inputs", f"{check.samples} calls"))
    rows.append(("saturated", f"{check.saturated:,} of {check.outputs:,} output elements"))
    if check.stack[1] is not None:
        rows.append(("stack", f"{check.stack[0]:,} B, bound {check.stack[1]:,} B"))
        rows.append(("arena", f"{check.arena[0]:,} B, planned {check.arena[1]:,} B"))
    rows += [("problem", text) for text in check.problems]
    return "\n".join(
        [*(f"{name:<36}{text}" for name, text in rows), _verdict(check, allow_missing)]
    )


def _agrees(difference: object) -> str:
    return "the same" if difference is None else f"DIFFERENT: {difference}"


def _verdict(check: Check, allow_missing: bool) -> str:
    if not check.ok:
        return "NOT exact" if check.exact is False else "NOT proven"
    if check.missing and not allow_missing:
        return "NOT proven: a way could not be run (--allow-missing accepts that)"
    if check.exact is None:
        bound = {
            True: "within the bound of",
            False: "beyond the bound of",
            None: "not held against",
        }
        return f"floats: bit for bit among our ways, {bound[check.within_bound]} an oracle"
    return "exact"


@click.command(epilog=common.example("lilliput profile model.tflite --device stm32f746"))
@common.network
@common.device
@common.seed
@common.planning()
@common.feed
@click.option(
    "--blocks",
    default=5,
    show_default=True,
    metavar="N",
    type=click.IntRange(min=0),
    help="Show the N basic blocks that cost most.",
)
@common.json
def profile(
    network: common.Network,
    device: str,
    seed: int,
    options: Options,
    feed: Feed,
    blocks: int,
    as_json: bool,
) -> None:
    """Counts the instructions of one inference, layer by layer."""
    from lilliput import compiler as pipeline
    from lilliput import devices

    result = pipeline.profile(
        network.load(shrink=options.shrink),
        devices.load(device),
        seed=seed,
        options=replace(options, feed=feed),
        blocks=blocks,
        log=common.log,
    )
    common.show(as_json, result.to_json(), _profile_text(result))


def _predicted(profile: Profile) -> str:
    error = profile.prediction_error
    text = f"{profile.predicted_cycles:,.0f}, by the planner"
    if error is None:
        return text
    size = f"{error.median:.1%} median, {error.worst:.0%} worst"
    return f"{text}; error a step {size}, fitted with {error.compiler}"


def _waiting(profile: Profile) -> str:
    waits = profile.flash_waits
    return "" if waits is None else f", {waits:,.0f} of them waiting for flash"


def _blocks_text(blocks: Sequence[HotBlock]) -> str:
    from lilliput.report import columns

    head = ("hottest blocks", "lines", "layer", "length", "times", "est. cycles", "share")
    rows = [
        (
            b.function[:40],
            b.place,
            b.layer[:30],
            f"{len(b.disassembly)}",
            f"{b.times:,}",
            f"{b.estimated_cycles:,.0f}",
            f"{b.share:.1%}",
        )
        for b in blocks
    ]
    return columns(head, rows)


def _profile_text(profile: Profile) -> str:
    from lilliput.report import columns

    head = ("layer", "kernel", "MACs", "weights", "alive", "instructions", "/MAC", "est. cycles")
    rows = [
        (
            p.layer.name[:40],
            p.layer.kernel,
            f"{p.layer.macs:,}",
            f"{p.layer.weight_bytes:,} B",
            f"{p.layer.live_bytes:,} B",
            f"{p.instructions:,}",
            "-" if p.per_mac is None else f"{p.per_mac:.2f}",
            "-" if p.estimated_cycles is None else f"{p.estimated_cycles:,.0f}",
        )
        for p in profile.layers
    ]
    cycles = profile.estimated_cycles
    estimate = "-" if cycles is None else f"{cycles:,.0f}{_waiting(profile)}"
    return "\n".join(
        [
            columns(head, rows),
            "",
            *([_blocks_text(profile.blocks), ""] if profile.blocks else []),
            f"{'device':<18}{profile.device}, {profile.compiler}",
            f"{'MACs':<18}{profile.macs:,}",
            f"{'instructions':<18}{profile.instructions:,}, counted",
            f"{'estimated cycles':<18}{estimate}",
            f"{'cycle model':<18}{profile.cycle_model}",
            f"{'predicted cycles':<18}{_predicted(profile)}",
        ]
    )

"""Profiling: what one inference costs on an emulated core, layer by layer.

One idea: instructions are counted, cycles are estimated from a stated model, and the two are
never mixed.  Beside them stands what the planner had predicted.  No milliseconds.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lilliput import report
from lilliput.compiler.hotspots import HotBlock, hot_blocks
from lilliput.compiler.pipeline import (
    Compiled,
    Log,
    Model,
    Options,
    emit_options,
    module_for,
    quiet,
)
from lilliput.compiler.proof import random_calls
from lilliput.devices.device import Device
from lilliput.devices.flash import FlashTiming
from lilliput.emu import prove
from lilliput.emu.cycles import CycleModel, ModelError, cycle_model
from lilliput.emu.machine import emulation_device
from lilliput.emu.toolchain import find
from lilliput.errors import LilliputError
from lilliput.plan.build import plan
from lilliput.plan.cost import PredictionError, prediction_error
from lilliput.plan.memories import used_beside
from lilliput.plan.program import Program


@dataclass(frozen=True)
class ProfiledLayer:
    """instructions are counted; estimated_cycles come from the core's cycle model, and
    predicted_cycles from `plan.cost`, which decided before anything was compiled."""

    layer: report.Layer
    instructions: int
    estimated_cycles: float | None

    @property
    def predicted_cycles(self) -> float:
        return self.layer.predicted_cycles

    @property
    def per_mac(self) -> float | None:
        return self.instructions / self.layer.macs if self.layer.macs else None


@dataclass(frozen=True, eq=False)
class Profile:
    """One inference on the emulated core of `device`.

    exact            : whether every tensor of the run was NumPy's, bit for bit
    cycle_error      : what is known of the error of `estimated_cycles`; None: nothing
    flash_waits      : the part of `estimated_cycles` that waits for flash; None where the board
                       does not say how its flash waits, and none is taken to
    prediction_error : what is known of the error of `predicted_cycles` on this core
    blocks           : the basic blocks that cost most, the most expensive first
    """

    model: str
    device: str
    compiler: str
    exact: bool
    instructions: int
    estimated_cycles: float | None
    cycle_model: str
    cycle_error: ModelError | None
    flash_waits: float | None
    prediction_error: PredictionError | None
    layers: tuple[ProfiledLayer, ...]
    blocks: tuple[HotBlock, ...] = ()

    @property
    def macs(self) -> int:
        return sum(p.layer.macs for p in self.layers)

    @property
    def predicted_cycles(self) -> float:
        return sum(p.predicted_cycles for p in self.layers)

    def to_json(self) -> dict[str, object]:
        return {
            "model": self.model,
            "device": self.device,
            "compiler": self.compiler,
            "exact": self.exact,
            "instructions": self.instructions,
            "estimated_cycles": self.estimated_cycles,
            "cycle_model": self.cycle_model,
            "cycle_error": asdict(self.cycle_error) if self.cycle_error else None,
            "flash_waits": self.flash_waits,
            "predicted_cycles": self.predicted_cycles,
            "prediction_error": asdict(self.prediction_error) if self.prediction_error else None,
            "macs": self.macs,
            "layers": [
                {
                    "name": p.layer.name,
                    "operator": p.layer.operator,
                    "kernel": p.layer.kernel,
                    "macs": p.layer.macs,
                    "weight_bytes": p.layer.weight_bytes,
                    "live_bytes": p.layer.live_bytes,
                    "instructions": p.instructions,
                    "instructions_per_mac": p.per_mac,
                    "estimated_cycles": p.estimated_cycles,
                    "predicted_cycles": p.predicted_cycles,
                }
                for p in self.layers
            ],
            "blocks": [b.to_json() for b in self.blocks],
        }


def profile(
    model: Model,
    device: Device,
    *,
    seed: int = 0,
    options: Options | None = None,
    entry: str | None = None,
    program: Program | None = None,
    blocks: int = 5,
    log: Log = quiet,
) -> Profile:
    """Counts the instructions of one call of `entry`, step by step.

    program : a plan of the model for the device, where not one by `options`
    blocks : how many of the most expensive basic blocks to show
    Raises MissingTool where there is no compiler or emulator.
    """
    options = options or Options()
    toolchain = find(device.core, options.compiler)
    flash = device.flash.timing
    module = module_for(model, options, log)
    program = program or plan(module, device, options.plan_for(device, module))
    room = emulation_device(device.core, "unicorn", flash, used_beside(program, device))
    entry = entry or model.module.entry
    call = next(c for c in random_calls(model, 4, seed)[::-1] if c.entry == entry)
    layers = [x for x in report.layers(program, device.core.name) if x.entry == entry]
    with tempfile.TemporaryDirectory(prefix="lilliput-") as folder:
        proof = prove.prove(
            module, program, [call], target=(toolchain, room), count=True, log=log,
            options=emit_options(device, options), workdir=Path(folder), optimize=options.level,
        )  # fmt: skip
        run, image = proof.ways[-1].runs[0], proof.image
        if run.instructions is None or image is None:
            raise LilliputError("this emulator does not count instructions", where=device.core.name)
        hot = hot_blocks(image, run.blocks, {x.step: x.name for x in layers}, blocks)
    timing = cycle_model(device.core)
    return Profile(
        program.name,
        device.name,
        toolchain.version,
        proof.exact,
        run.instructions,
        sum(run.step_cycles.values()) if timing else None,
        _model_text(timing, flash),
        timing.error if timing else None,
        sum(b.waits for b in run.blocks) if timing and flash else None,
        prediction_error(device.core.name),
        tuple(
            ProfiledLayer(
                x,
                run.step_instructions.get(x.step, 0),
                run.step_cycles.get(x.step),
            )
            for x in layers
        ),
        hot,
    )


def _model_text(timing: CycleModel | None, flash: FlashTiming | None) -> str:
    """Which model, and what is known of its error."""
    if timing is None:
        return "none for this core"
    memory = "memory that never waits" if flash is None else f"a flash with {flash}"
    return f"{timing.name}, {memory}; {timing.error_note}"


def counted(compiled: Compiled, options: Options | None = None, log: Log = quiet) -> Compiled:
    """`compiled` with a profile of its first entry in its summary.

    Counting needs room enough, so its plan may have other steps: layers meet in their order.
    Where even their kernels differ, the summary stays as it is.  Raises what `profile` raises.
    """
    found = profile(compiled.model, compiled.device, options=options, blocks=0, log=log)
    entry = compiled.model.module.entry
    mine = [x for x in compiled.summary.layers if x.entry == entry]
    if [x.kernel for x in mine] != [p.layer.kernel for p in found.layers]:
        return compiled
    timing = report.Timing(
        entry,
        found.compiler,
        found.instructions,
        found.estimated_cycles,
        found.cycle_model,
        tuple(
            report.TimedStep(x.step, p.instructions, p.estimated_cycles)
            for x, p in zip(mine, found.layers, strict=True)
        ),
    )
    return replace(compiled, summary=replace(compiled.summary, timing=timing))

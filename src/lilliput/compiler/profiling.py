"""Profiling: what one inference costs on an emulated core, layer by layer.

One idea: instructions are counted, cycles are estimated from a stated model, and the two are
never mixed.  No milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from lilliput import report
from lilliput.compiler.pipeline import Log, Model, Options, emit_options, quiet
from lilliput.compiler.proof import random_calls
from lilliput.devices.device import Device
from lilliput.emu import prove
from lilliput.emu.cycles import cycle_model
from lilliput.emu.machine import emulation_device
from lilliput.emu.toolchain import find
from lilliput.errors import LilliputError
from lilliput.plan.build import plan


@dataclass(frozen=True)
class ProfiledLayer:
    """instructions are counted; estimated_cycles come from the core's cycle model."""

    layer: report.Layer
    instructions: int
    estimated_cycles: float | None

    @property
    def per_mac(self) -> float | None:
        return self.instructions / self.layer.macs if self.layer.macs else None


@dataclass(frozen=True, eq=False)
class Profile:
    """One inference on the emulated core of `device`."""

    model: str
    device: str
    compiler: str
    instructions: int
    estimated_cycles: float | None
    cycle_model: str
    layers: tuple[ProfiledLayer, ...]

    @property
    def macs(self) -> int:
        return sum(p.layer.macs for p in self.layers)

    def to_json(self) -> dict[str, object]:
        return {
            "model": self.model,
            "device": self.device,
            "compiler": self.compiler,
            "instructions": self.instructions,
            "estimated_cycles": self.estimated_cycles,
            "cycle_model": self.cycle_model,
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
                }
                for p in self.layers
            ],
        }


def profile(
    model: Model,
    device: Device,
    *,
    seed: int = 0,
    options: Options | None = None,
    entry: str | None = None,
    log: Log = quiet,
) -> Profile:
    """Counts the instructions of one call of `entry`, step by step.

    Raises MissingTool where there is no compiler or emulator.
    """
    options = options or Options()
    toolchain = find(device.core, options.compiler)  # type: ignore[arg-type]
    room = emulation_device(device.core, "unicorn")
    program = plan(model.module, room, options.plan)
    entry = entry or model.module.entry
    call = next(c for c in random_calls(model, 4, seed)[::-1] if c.entry == entry)
    proof = prove.prove(
        model.module, program, [call], target=(toolchain, room), count=True, log=log,
        options=emit_options(room, options),
    )  # fmt: skip
    run = proof.ways[-1].runs[0]
    if run.instructions is None:
        raise LilliputError("this emulator does not count instructions", where=device.core.name)
    timing = cycle_model(device.core)
    layers = [x for x in report.layers(program) if x.entry == entry]
    return Profile(
        program.name,
        device.name,
        toolchain.version,
        run.instructions,
        sum(run.step_cycles.values()) if timing else None,
        f"{timing.name}: {timing.error_note}" if timing else "none for this core",
        tuple(
            ProfiledLayer(x, run.step_instructions.get(x.step, 0), run.step_cycles.get(x.step))
            for x in layers
        ),
    )

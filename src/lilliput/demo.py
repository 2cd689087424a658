"""The demo: the built-in digits network, from its file to a proven program, on real pictures.

One idea: nothing here is special to the demo.  It calls what every other command calls, on data
that comes with it, and its accuracy is counted from what the emulated core wrote.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lilliput import compiler
from lilliput.demo_data import Digits, digits_model, load_digits_split
from lilliput.devices.device import Device, load
from lilliput.emu.cycles import cycle_model
from lilliput.emu.prove import Call
from lilliput.errors import MissingTool
from lilliput.ir.types import Array, TensorType
from lilliput.report import Summary

DEVICE = "stm32f746"
SHADES = " .:-=+*#%@"


@dataclass(frozen=True, eq=False)
class Demo:
    """What the demo found.

    accuracy : share of the test digits that the emulated core gets right
    saturated : share of output elements at an end of their range: many prove little
    instructions, estimated_cycles : of one inference on the emulated core
    """

    summary: Summary
    device: Device
    model_bytes: int
    check: compiler.Check
    digits: Digits = field(repr=False)
    answers: NDArray[np.int64] = field(repr=False)
    instructions: int
    estimated_cycles: float | None
    cycle_note: str

    @property
    def accuracy(self) -> float:
        return int(np.sum(self.answers == self.digits.y_test)) / len(self.answers)

    @property
    def ok(self) -> bool:
        return self.check.ok and bool(self.check.exact) and not self.check.missing

    def to_json(self) -> dict[str, object]:
        return {
            "device": self.device.name,
            "exact": self.check.exact,
            "digits": len(self.answers),
            "accuracy": self.accuracy,
            "ram_bytes": asdict(self.summary.ram_bytes),
            "flash_bytes": asdict(self.summary.flash_bytes),
            "macs": self.summary.macs,
            "instructions": self.instructions,
            "estimated_cycles": self.estimated_cycles,
            "cycle_model": self.cycle_note,
            "check": self.check.to_json(),
        }


def run(
    *,
    out: str | Path | None = None,
    force: bool = False,
    log: compiler.Log = lambda _: None,
) -> Demo:
    """Compiles, builds, runs and proves the digits network; `out` keeps the C in a folder.

    Raises MissingTool where the pictures, a C compiler or the emulator are not installed.
    """
    if out is not None:
        compiler.require_free(Path(out), force=force)
    path, device = digits_model(), load(DEVICE)
    digits = load_digits_split()
    model = compiler.load(path)
    compiled = compiler.compile(model, device, log=log)
    value = model.module.inputs(model.module.entry)[0]
    calls = [
        Call(model.module.entry, {value.name: stored(picture, value.type)})
        for picture in digits.x_test
    ]
    log(f"{len(calls)} real digits, every tensor of every one compared")
    check = compiler.check(model, device, calls=calls, log=log)
    if check.missing:
        raise MissingTool(
            "the proof needs a C compiler and an emulator",
            found="; ".join(f"{way}: {why}" for way, why in check.missing.items()),
            hint='pip install "lilliput[demo]"',
        )
    way = next(w for w in check.ways if w.measured is not None)
    scores = np.array([np.frombuffer(r.outputs[0], np.int8) for r in way.runs])
    first, timing = way.runs[0], cycle_model(device.core)
    if out is not None:
        compiler.write(compiled, out, force=force)
    return Demo(
        compiled.summary,
        device,
        path.stat().st_size,
        check,
        digits,
        scores.argmax(1),
        first.instructions or 0,
        sum(first.step_cycles.values()) if timing else None,
        f"{timing.name}, memory that never waits; {timing.error_note}"
        if timing
        else "none for this core",
    )


def stored(real: Array, type: TensorType) -> Array:
    """float32 of the type's shape less its batch axis -> the integers that stand for it."""
    low, high = type.dtype.bounds
    whole = np.rint(real / np.float32(type.scale)) + type.zero_point
    return np.clip(whole, low, high).astype(type.dtype.numpy).reshape(type.shape)


def text(demo: Demo) -> str:
    """The story of the demo, as a newcomer reads it on a terminal."""
    return "\n".join(_lines(demo))


def _lines(demo: Demo) -> Iterator[str]:
    ram, flash, device = demo.summary.ram_bytes, demo.summary.flash_bytes, demo.device
    total, right = len(demo.answers), int(np.sum(demo.answers == demo.digits.y_test))
    yield from _pictures(demo)
    yield ""
    yield (
        f"A network of {demo.summary.macs:,} multiply-accumulates ({demo.model_bytes:,} B as"
        f" .tflite) became C for the {device.name} ({device.core.name})."
    )
    yield ""
    yield f"accuracy          {right} of {total} handwritten digits right ({demo.accuracy:.1%})"
    yield f"exact             {_verdict(demo)}"
    yield f"RAM               {_part(ram.total, device.ram_bytes)}: all of it, stack included"
    yield f"flash             {_part(flash.total, device.flash_bytes)}: code and constants"
    yield f"instructions      {demo.instructions:,} for one digit, counted on the emulated core"
    yield f"estimated cycles  {_cycles(demo)}"
    yield f"                  ({demo.cycle_note})"


def _verdict(demo: Demo) -> str:
    check = demo.check
    if not demo.ok:
        return f"NO: {check.difference or '; '.join(check.problems)}"
    tensors = sum(w.tensors for w in check.ways)
    ways = " = ".join(["NumPy", *(w.name for w in check.ways if "poisoned" not in w.name)])
    return f"yes, {tensors:,} tensors bit for bit: {ways}"


def _part(used: int | None, size: int) -> str:
    if used is None:
        return "unknown, nothing was linked"
    return f"{used:,} B ({used / 1024:.1f} of {size / 1024:,.0f} kB)"


def _cycles(demo: Demo) -> str:
    if demo.estimated_cycles is None:
        return "unknown"
    clock = demo.device.clock_hz
    time = (
        f", {demo.estimated_cycles / clock * 1000:.2f} ms at {clock / 1e6:g} MHz" if clock else ""
    )
    return f"about {demo.estimated_cycles:,.0f}{time}: an estimate, not a measurement"


def _pictures(demo: Demo, count: int = 6) -> Iterator[str]:
    """The first test digits and what the emulated core called them."""
    shown = demo.digits.x_test[:count, :, :, 0].astype(int)
    for row in range(shown.shape[1]):
        yield "   ".join("".join(SHADES[p * 9 // 16] * 2 for p in x[row]) for x in shown).rstrip()
    yield "   ".join(f"{f'-> {answer}':^16}" for answer in demo.answers[:count]).rstrip()

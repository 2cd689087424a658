"""Seconds of this machine: planning, compiling, checking, starting.  Printed, never stored."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from lilliput import compiler
from lilliput.compiler import Options
from lilliput.devices.device import Device
from lilliput.errors import LilliputError
from lilliput.plan.build import plan_on_front
from lilliput.report import columns

CHECK_SAMPLES = 16
CHECK_MACS = 20_000_000
"""Networks with more are not checked here: that takes minutes."""
TARGETS = {
    "plan mcunet-320kb": 10.0,
    "compile vww": 5.0,
    "check vww": 20.0,
    "profile vww": 15.0,
    "start": 0.3,
}
"""Seconds, on a machine of today."""
STEPS = ("plan", "compile", "profile", "check")

T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def seconds(path: Path, device: Device, options: Options) -> list[float]:
    """What this machine takes for each of `STEPS`, up to the last that suits the network."""
    module = compiler.load(path).shrunk.module
    _, plan_s = timed(lambda: plan_on_front(module, device, options.plan_for(device, module)))
    compiled, compile_s = timed(lambda: compiler.compile(compiler.load(path), device, options))
    model = compiled.model
    _, profile_s = timed(lambda: compiler.profile(model, device, options=options))
    if compiled.summary.macs > CHECK_MACS:
        return [plan_s, compile_s, profile_s]
    checked, check_s = timed(
        lambda: compiler.check(model, device, samples=CHECK_SAMPLES, options=options)
    )
    if not checked.ok:
        raise LilliputError("the check does not hold", where=str(path))
    return [plan_s, compile_s, profile_s, check_s]


def start_seconds() -> float:
    """The bare command, three times, the fastest."""
    command = [sys.executable, "-m", "lilliput", "--help"]
    runs = (timed(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in "123")
    return min(seconds for _, seconds in runs)


def times(taken: Mapping[str, Sequence[float]]) -> str:
    """A table of seconds, and what became of the targets."""
    absent = ["-"] * len(STEPS)
    rows = [(n, *[*(f"{s:.1f}" for s in t), *absent][: len(STEPS)]) for n, t in taken.items()]
    found = {"start": start_seconds()}
    for name, t in taken.items():
        found |= {f"{what} {name}": s for what, s in zip(STEPS, t, strict=False)}
    verdicts = [
        f"{what}: {found[what]:.2f} s, target {limit:g} s"
        + (", met" if found[what] < limit else ", missed")
        for what, limit in TARGETS.items()
        if what in found
    ]
    head = ("network", *(f"{step} s" for step in STEPS))
    return "\n".join([columns(head, rows), *verdicts])

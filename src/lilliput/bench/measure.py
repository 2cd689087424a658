"""One network, measured: what is deterministic only, bytes and counts and whether it is exact.

Seconds of this machine are nobody's figure; they stay in `benchmarks/` of the repository.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lilliput import compiler, pull
from lilliput.bench.kinds import Share, shares
from lilliput.compiler import Log, Options
from lilliput.compiler.pipeline import module_for, quiet
from lilliput.demo_data import digits_model
from lilliput.devices.device import Device
from lilliput.emu.toolchain import find
from lilliput.report import FlashBytes, RamBytes


@dataclass(frozen=True)
class Measurement:
    """One network on one core, compiled in one way; sizes in bytes, counts of one inference.

    optimize : what the plan was chosen for: speed, size or ram; callback and push are ram with an
        input that comes row by row
    toolchain, compiler : the kind of C compiler, and its version
    macs : of the network as its file has it; macs_left : of what shrinking left
    estimated_cycles : from the core's cycle model; predicted_cycles: from the planner's
    kinds : the layers by their kind
    ways, exact : how it was run, and whether all of them gave the same integers
    """

    name: str
    sha256: str
    optimize: str
    toolchain: str
    compiler: str
    macs: int
    macs_left: int
    ram_bytes: RamBytes
    flash_bytes: FlashBytes
    instructions: int
    estimated_cycles: float | None
    predicted_cycles: float
    kinds: tuple[Share, ...]
    exact: bool
    ways: tuple[str, ...]

    @property
    def instructions_per_mac(self) -> float | None:
        """Over the multiply-accumulates in the file: engines that shrink nothing are compared by
        the same number."""
        return round(self.instructions / self.macs, 4) if self.macs else None

    @property
    def prediction_error(self) -> float | None:
        """predicted / estimated - 1; None without an estimate."""
        estimated = self.estimated_cycles
        return round(self.predicted_cycles / estimated - 1, 4) if estimated else None

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "instructions_per_mac": self.instructions_per_mac,
            "prediction_error": self.prediction_error,
        }


def networks() -> Iterator[tuple[str, Path]]:
    """Name and file of the demo's network and of every public model that is on this machine."""
    yield "digits", digits_model()
    shared = os.environ.get(pull.SHARED_VARIABLE)
    for name, entry in pull.models().items():
        cached = pull.cache_folder() / f"{name}.tflite"
        found = Path(shared) / "models" / entry.shared if shared else cached
        for path in (cached, found):
            if path.is_file():
                yield name, path
                break


def measure(
    name: str,
    path: Path,
    device: Device,
    *,
    options: Options | None = None,
    samples: int = 4,
    log: Log = quiet,
) -> Measurement:
    """Compiles, profiles and checks the network that a file holds.

    samples : inputs of the check on this machine and on the emulated core; 0 leaves it out, and
        only the run that was counted is compared with NumPy
    Raises what `compiler.load`, `compile`, `profile` and `check` raise.
    """
    options = options or Options()
    model = compiler.load(path)
    summary = compiler.compile(model, device, options, log=log).summary
    profile = compiler.profile(model, device, options=options, log=log)
    exact, ways = profile.exact, (f"emulated {device.core.name}",)
    if samples:
        checked = compiler.check(model, device, samples=samples, options=options, log=log)
        exact, ways = exact and checked.ok, tuple(w.name for w in checked.ways)
    kinds = shares(model.module, module_for(model, options), profile)
    cycles = profile.estimated_cycles
    return Measurement(
        name,
        hashlib.sha256(path.read_bytes()).hexdigest(),
        options.optimize.value if options.feed == "memory" else options.feed,
        find(device.core, options.compiler).kind,
        profile.compiler,
        sum(s.macs for s in kinds),
        sum(s.macs_left for s in kinds),
        summary.ram_bytes,
        summary.flash_bytes,
        profile.instructions,
        None if cycles is None else round(cycles),
        round(profile.predicted_cycles),
        kinds,
        exact,
        ways,
    )

"""Whole networks on an emulated core, beside other engines' figures: `python -m benchmarks`.

One idea: what is deterministic (bytes, instructions, estimated and predicted cycles) goes into
`results.json` and is compared exactly; what is not (seconds of this machine) is only printed.
`--compare` measures again, writes nothing, and fails where RAM, flash or instructions grew.

The network of the demo is always measured; the published ones where LILLIPUT_SHARED names the
folder that holds `models/`.  Not a test of correctness, although checking is timed on the way.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from lilliput import compiler
from lilliput.demo_data import digits_model
from lilliput.devices.device import Device, load
from lilliput.errors import LilliputError
from lilliput.report import FlashBytes, RamBytes, columns

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
DEVICE = "cortex-m4"
CHECK_SAMPLES = 16
CHECK_MACS = 20_000_000
"""Networks with more are not checked here: that takes minutes."""
TARGETS = {"compile vww": 5.0, "check vww": 20.0, "start": 0.3}
"""Seconds, on a machine of today."""

PUBLISHED = {
    "kws": "mlperf_tiny/kws_ref_model_int8.tflite",
    "ic": "mlperf_tiny/ic_resnet8_int8.tflite",
    "vww": "mlperf_tiny/vww_96_int8.tflite",
    "ad": "mlperf_tiny/ad01_int8.tflite",
    "mcunet-320kb": "mcunet/mcunet-320kb-1mb_imagenet.tflite",
    "tinyengine-vww": "tinyengine/vww.tflite",
}
GUARDED = ("ram_bytes", "flash_bytes", "instructions")

T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """One network; sizes in bytes, counts of one inference."""

    macs: int
    ram_bytes: RamBytes
    flash_bytes: FlashBytes
    instructions: int
    instructions_per_mac: float
    estimated_cycles: float | None
    predicted_cycles: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Seconds:
    """What this machine took; `check` is None where checking was left out."""

    compile: float
    profile: float
    check: float | None
    exact: bool | None


def networks() -> Iterator[tuple[str, Path]]:
    """Name and file of every network that is there."""
    yield "digits", digits_model()
    shared = os.environ.get("LILLIPUT_SHARED")
    for name, file in PUBLISHED.items():
        path = Path(shared) / "models" / file if shared else Path()
        if path.is_file():
            yield name, path


def timed(work: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def measure(
    path: Path, device: Device, options: compiler.Options, *, check: bool
) -> tuple[Result, Seconds, str]:
    """One network's result, this machine's seconds, and the compiler."""
    compiled, compile_s = timed(lambda: compiler.compile(compiler.load(path), device, options))
    model, summary = compiled.model, compiled.summary
    profile, profile_s = timed(lambda: compiler.profile(model, device, options=options))
    seconds = Seconds(compile_s, profile_s, None, None)
    if check and profile.macs <= CHECK_MACS:
        checked, check_s = timed(
            lambda: compiler.check(model, device, samples=CHECK_SAMPLES, options=options)
        )
        seconds = Seconds(compile_s, profile_s, check_s, checked.ok)
    cycles = profile.estimated_cycles
    result = Result(
        profile.macs,
        summary.ram_bytes,
        summary.flash_bytes,
        profile.instructions,
        round(profile.instructions / profile.macs, 4),
        None if cycles is None else round(cycles),
        round(profile.predicted_cycles),
    )
    return result, seconds, profile.compiler


def start_seconds() -> float:
    """The bare command, three times, the fastest."""
    command = [sys.executable, "-m", "lilliput.cli", "--help"]
    runs = (timed(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in "123")
    return min(seconds for _, seconds in runs)


def commit() -> str:
    """The commit that was measured; with a + where the sources differ from it."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD").strip()
        return head + ("+" if _git("status", "--porcelain", "src").strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    run = subprocess.run(["git", *arguments], check=True, capture_output=True, text=True, cwd=HERE)
    return run.stdout


# Comparing --------------------------------------------------------------------------------


def sizes(result: Mapping[str, Any]) -> dict[str, int]:
    """The guarded numbers of a result as it is stored."""
    total: dict[str, Any] = {key: result[key] for key in GUARDED}
    return {k: int(v["total"] if k.endswith("_bytes") else v) for k, v in total.items()}


def regressions(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What grew, network by network; a network that only one side has says nothing."""
    if old["compiler"] != new["compiler"] or old["device"] != new["device"]:
        sides = (f"{side['compiler']} for {side['device']}" for side in (old, new))
        return ["not comparable: {} was committed, this is {}".format(*sides)]
    grown: list[str] = []
    for name in old["networks"].keys() & new["networks"].keys():
        before, after = sizes(old["networks"][name]), sizes(new["networks"][name])
        grown += [
            f"{name}: {key} grew from {before[key]:,} to {after[key]:,}"
            for key in GUARDED
            if after[key] > before[key]
        ]
    return sorted(grown)


# Printing ---------------------------------------------------------------------------------


def table(results: Mapping[str, Result]) -> str:
    head = ("network", "MACs", "RAM", "= arena", "+ states", "+ static", "+ stack", "flash")
    head += ("= constants", "+ code", "instructions", "/MAC", "est. cycles", "predicted", "error")
    rows = [
        (
            name,
            *map(_number, (r.macs, r.ram_bytes.total, r.ram_bytes.activations)),
            *map(_number, (r.ram_bytes.states, r.ram_bytes.static, r.ram_bytes.stack)),
            *map(_number, (r.flash_bytes.total, r.flash_bytes.constants, r.flash_bytes.code)),
            _number(r.instructions),
            f"{r.instructions_per_mac:.2f}",
            *map(_number, (r.estimated_cycles, r.predicted_cycles)),
            f"{r.predicted_cycles / r.estimated_cycles - 1:+.0%}" if r.estimated_cycles else "-",
        )
        for name, r in results.items()
    ]
    return columns(head, rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def peers_table(results: Mapping[str, Result]) -> str:
    """Ours and the published figures, network by network, with their conditions."""
    peers = tomllib.loads((HERE / "peers.toml").read_text(encoding="utf-8"))
    conditions: Mapping[str, str] = peers.pop("conditions")
    rows: list[tuple[str, ...]] = []
    for name, engines in peers.items():
        if name not in results:
            continue
        r = results[name]
        ours = (r.instructions, r.estimated_cycles, r.ram_bytes.total, r.flash_bytes.total)
        rows.append((name, "Lilliput", *map(_number, ours), ""))
        keys = ("instructions", "cycles", "ram_bytes", "flash_bytes")
        rows += [
            ("", e["engine"], *(_number(e[key]) for key in keys), e.get("note", ""))
            for e in engines
        ]
    if not rows:
        return ""
    head = ("network", "engine", "instructions", "est. cycles", "RAM", "flash", "note")
    notes = [f"  {key}: {text}" for key, text in conditions.items()]
    return "\n".join(["other engines' figures were taken under:", *notes, "", columns(head, rows)])


def times(seconds: Mapping[str, Seconds]) -> str:
    rows = [(n, f"{s.compile:.1f}", f"{s.profile:.1f}", _check_text(s)) for n, s in seconds.items()]
    found = {"start": start_seconds()}
    for name, s in seconds.items():
        found |= {f"compile {name}": s.compile}
        found |= {f"check {name}": s.check} if s.check is not None else {}
    verdicts = [
        f"{what}: {found[what]:.2f} s, target {limit:g} s"
        + (", met" if found[what] < limit else ", missed")
        for what, limit in TARGETS.items()
        if what in found
    ]
    return "\n".join([columns(("network", "compile s", "profile s", "check s"), rows), *verdicts])


def _check_text(s: Seconds) -> str:
    if s.check is None:
        return "-"
    return f"{s.check:.1f}" + ("" if s.exact else ", DIFFERS")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--compare", action="store_true", help="fail where something grew")
    parser.add_argument("--no-check", action="store_true", help="leave the timed checks out")
    parser.add_argument("--only", action="append", help="measure this network (repeatable)")
    parser.add_argument("--compiler", default="auto", help="auto, gcc, clang or zig")
    chosen = parser.parse_args(arguments)
    device, options = load(DEVICE), compiler.Options(compiler=chosen.compiler)
    results: dict[str, Result] = {}
    seconds: dict[str, Seconds] = {}
    version = ""
    failed: list[str] = []
    for name, path in networks():
        if chosen.only and name not in chosen.only:
            continue
        print(f"measuring {name}", file=sys.stderr)
        try:
            check = not chosen.no_check
            results[name], seconds[name], version = measure(path, device, options, check=check)
        except LilliputError as error:
            failed.append(f"{name}: {error}")
    print(f"{DEVICE}, {version}\n")
    print("\n\n".join(filter(None, [table(results), peers_table(results), times(seconds)])))
    new: dict[str, Any] = {
        "commit": commit(),
        "compiler": version,
        "device": DEVICE,
        "networks": {name: r.to_json() for name, r in results.items()},
    }
    old = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else None
    if chosen.compare:
        failed += regressions(old, new) if old else [f"no {RESULTS.name} to compare with"]
    elif results:
        if old and old["compiler"] == version:
            new["networks"] = {**old["networks"], **new["networks"]}
        RESULTS.write_text(json.dumps(new, indent=1) + "\n", encoding="utf-8", newline="\n")
    print("\n".join(failed), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

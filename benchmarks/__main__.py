"""Whole networks on an emulated core, beside other engines' figures: `python -m benchmarks`.

One idea: what is deterministic (bytes, instructions, estimated and predicted cycles) is
measured by `lilliput.bench`, goes into `results.json` and is compared exactly; what is not
(seconds of this machine) is only printed.  `--compare` measures again, writes nothing, and fails
where RAM, flash or instructions grew.

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lilliput import compiler
from lilliput.bench import Measurement, measure, page, peers_table, table
from lilliput.demo_data import digits_model
from lilliput.devices.device import Device, load
from lilliput.errors import LilliputError
from lilliput.report import columns

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


def seconds(path: Path, device: Device, options: compiler.Options, *, check: bool) -> list[float]:
    """What this machine takes to compile and, where asked for, to check."""
    compiled, compile_s = timed(lambda: compiler.compile(compiler.load(path), device, options))
    if not check or sum(x.macs for x in compiled.summary.layers) > CHECK_MACS:
        return [compile_s]
    model = compiled.model
    checked, check_s = timed(
        lambda: compiler.check(model, device, samples=CHECK_SAMPLES, options=options)
    )
    if not checked.ok:
        raise LilliputError("the check does not hold", where=str(path))
    return [compile_s, check_s]


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


def stored(m: Measurement) -> dict[str, Any]:
    """What is kept of a measurement: what is the same wherever it is measured."""
    kept = {k: v for k, v in m.to_json().items() if k not in ("name", "ways", "exact", "compiler")}
    flash = {k: v for k, v in kept["flash_bytes"].items() if k != "functions"}
    return {**kept, "flash_bytes": flash}


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


def times(taken: Mapping[str, Sequence[float]]) -> str:
    rows = [(n, *(f"{s:.1f}" for s in t), *["-"] * (2 - len(t))) for n, t in taken.items()]
    found = {"start": start_seconds()}
    for name, t in taken.items():
        found |= {f"{what} {name}": s for what, s in zip(("compile", "check"), t, strict=False)}
    verdicts = [
        f"{what}: {found[what]:.2f} s, target {limit:g} s"
        + (", met" if found[what] < limit else ", missed")
        for what, limit in TARGETS.items()
        if what in found
    ]
    return "\n".join([columns(("network", "compile s", "check s"), rows), *verdicts])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--compare", action="store_true", help="fail where something grew")
    parser.add_argument("--no-check", action="store_true", help="leave the timed checks out")
    parser.add_argument("--only", action="append", help="measure this network (repeatable)")
    parser.add_argument("--compiler", default="auto", help="auto, gcc, clang or zig")
    parser.add_argument("--html", help="write a page with charts here")
    chosen = parser.parse_args(arguments)
    device, options = load(DEVICE), compiler.Options(compiler=chosen.compiler)
    results: list[Measurement] = []
    taken: dict[str, Sequence[float]] = {}
    failed: list[str] = []
    for name, path in networks():
        if chosen.only and name not in chosen.only:
            continue
        print(f"measuring {name}", file=sys.stderr)
        try:
            results.append(measure(name, path, device, options=options, samples=0))
            taken[name] = seconds(path, device, options, check=not chosen.no_check)
        except LilliputError as error:
            failed.append(f"{name}: {error}")
    version = results[0].compiler if results else "no compiler"
    print(f"{DEVICE}, {version}\n")
    parts = [table(results), peers_table(results, DEVICE), times(taken)]
    print("\n\n".join(filter(None, parts)))
    if chosen.html:
        Path(chosen.html).write_text(page(results, DEVICE, DEVICE), encoding="utf-8")
    new: dict[str, Any] = {
        "commit": commit(),
        "compiler": version,
        "device": DEVICE,
        "networks": {m.name: stored(m) for m in results},
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

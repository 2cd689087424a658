"""Whole networks on an emulated core, beside other engines' figures: `python -m benchmarks`.

One idea: what is deterministic (bytes, instructions, estimated and predicted cycles) is measured
by `lilliput.bench` and goes into `results.json`, from which `docs/benchmarks.md` is written.
What was not measured this time stays as it was.  `--compare` writes nothing and fails where
instructions, flash or RAM grew.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import document, results
from benchmarks.networks import DEVICE, MODES, TOOLCHAINS, WAYS, Network, Way, present
from benchmarks.seconds import seconds, times
from lilliput.bench import Measurement, measure, page, peers_table, table
from lilliput.devices.device import load
from lilliput.emu.toolchain import find
from lilliput.errors import LilliputError, MissingTool

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Job:
    """One measurement to make."""

    network: Network
    path: Path
    way: Way

    def __str__(self) -> str:
        return f"{self.network.name}, {self.way.toolchain}, {self.way.mode}"


def jobs(chosen: argparse.Namespace) -> list[Job]:
    """What is asked for and can be made here, in the order of the tables."""
    missing = {kind: why for kind in chosen.compiler or TOOLCHAINS if (why := unavailable(kind))}
    for why in missing.values():
        print(f"note: {why}", file=sys.stderr)
    return [
        Job(network, path, way)
        for network, path in present()
        for way in (WAYS if chosen.everything else network.measured())
        if way.toolchain not in missing
        and network.name in (chosen.only or [network.name])
        and way.toolchain in (chosen.compiler or TOOLCHAINS)
        and way.mode in (chosen.mode or MODES)
    ]


def unavailable(toolchain: str) -> str:
    """Why a compiler cannot be used; "" where it can."""
    try:
        find(load(DEVICE).core, toolchain)
    except MissingTool as error:
        return str(error)
    return ""


def run(job: Job) -> Measurement | str:
    """The measurement, or in words why there is none."""
    try:
        options = job.way.options(job.network.name)
        found = measure(job.network.name, job.path, load(DEVICE), options=options, samples=0)
        return replace(found, optimize=job.way.mode)
    except LilliputError as error:
        return f"{job}: {error}"


def measured(work: Sequence[Job], processes: int) -> tuple[list[Measurement], list[str]]:
    """(measurements, failures) in the order of `work`; the longest are begun first."""
    longest = sorted(work, key=lambda job: -job.network.minutes)
    with ProcessPoolExecutor(max_workers=processes) as pool:
        futures = {job: pool.submit(run, job) for job in longest}
        for job, future in futures.items():
            future.add_done_callback(lambda _, job=job: print(f"measured {job}", file=sys.stderr))
        found = [futures[job].result() for job in work]
    wrong = [
        f"{m.name}, {m.toolchain}, {m.optimize}: not exact" for m in _only(found) if not m.exact
    ]
    return _only(found), [f for f in found if isinstance(f, str)] + wrong


def _only(found: Sequence[Measurement | str]) -> list[Measurement]:
    return [m for m in found if not isinstance(m, str)]


def commit() -> str:
    """The commit that was measured; with a + where the sources differ from it."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD").strip()
        return head + ("+" if _git("status", "--porcelain", "src").strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], check=True, capture_output=True, text=True, cwd=HERE)
    return done.stdout


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    made.add_argument("--only", action="append", help="measure this network (repeatable)")
    made.add_argument("--compiler", action="append", choices=TOOLCHAINS, help="(repeatable)")
    made.add_argument("--mode", action="append", choices=MODES, help="(repeatable)")
    made.add_argument(
        "--everything", action="store_true", help="every way of the largest network, too"
    )
    made.add_argument("--jobs", type=int, default=2, help="processes; the result is the same")
    made.add_argument("--compare", action="store_true", help="fail where something grew")
    made.add_argument(
        "--render",
        action="store_true",
        help="measure nothing; write the page, and what is derived from other tables",
    )
    made.add_argument("--seconds", action="store_true", help="time this machine, afterwards")
    made.add_argument("--html", help="write a page with charts here")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parser().parse_args(arguments)
    if chosen.render:
        results.write(results.read())
        document.write()
        return 0
    work = jobs(chosen)
    found, failed = measured(work, chosen.jobs)
    print(
        f"{DEVICE}, {', '.join(dict.fromkeys(m.compiler for m in found)) or 'nothing measured'}\n"
    )
    print("\n\n".join(filter(None, (table(found, DEVICE), peers_table(found, DEVICE)))))
    if chosen.seconds:
        print("\n" + taken(work))
    if chosen.html:
        Path(chosen.html).write_text(page(found, DEVICE, DEVICE), encoding="utf-8", newline="\n")
    old = results.read()
    if chosen.compare:
        failed += results.regressions(old, found)
    elif found:
        results.write([*results.kept(old, found), *found], commit())
        document.write()
    print("\n".join(failed), file=sys.stderr)
    return 1 if failed or not found else 0


def taken(work: Sequence[Job]) -> str:
    """Seconds of every network in the first way that was measured of it."""
    first = {job.network.name: job for job in reversed(work)}
    ordered = (job for job in work if first[job.network.name] is job)
    device = load(DEVICE)
    return times(
        {j.network.name: seconds(j.path, device, j.way.options(j.network.name)) for j in ordered}
    )


if __name__ == "__main__":
    sys.exit(main())

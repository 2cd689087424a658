"""What is kept of measurements: `results.json`, read back as measurements, and compared exactly.

One idea: only what is the same wherever it is measured is stored, so that any number that differs
is a change of the compiler.  Keys are network, C compiler, mode, always in one order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.networks import DEVICE, MODES, NETWORKS, TOOLCHAINS, Way
from lilliput.bench import Measurement, Share, goal_of
from lilliput.devices import cores
from lilliput.emu.cycles import cycle_model
from lilliput.report import FlashBytes, RamBytes

RESULTS = Path(__file__).parent / "results.json"

_NETWORK = ("sha256", "macs", "macs_left")
_LEFT_OUT = frozenset({*_NETWORK, "name", "optimize", "toolchain", "compiler", "ways"})


def read(path: Path = RESULTS) -> list[Measurement]:
    """The measurements of a file; none where there is no file."""
    if not path.is_file():
        return []
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return [
        _measurement(name, network, Way(toolchain, mode), data["compilers"][toolchain], values)
        for name, network in data["networks"].items()
        for toolchain, modes in network["measured"].items()
        for mode, values in modes.items()
    ]


def _measurement(
    name: str, network: Mapping[str, Any], way: Way, version: str, values: Mapping[str, Any]
) -> Measurement:
    kinds = tuple(
        Share(k["kind"], k["macs"], k["macs_left"], k["instructions"]) for k in values["kinds"]
    )
    return Measurement(
        name,
        network["sha256"],
        way.mode,
        way.toolchain,
        version,
        network["macs"],
        network["macs_left"],
        RamBytes(**values["ram_bytes"]),
        FlashBytes(**values["flash_bytes"], functions=()),
        values["instructions"],
        values["estimated_cycles"],
        values["predicted_cycles"],
        kinds,
        values["exact"],
        (f"emulated {DEVICE}",),
    )


def write(found: Sequence[Measurement], commit: str | None = None) -> None:
    """Writes `results.json`; None keeps the commit that it names."""
    named = commit or json.loads(RESULTS.read_text(encoding="utf-8"))["commit"]
    RESULTS.write_text(text(found, named), encoding="utf-8", newline="\n")


def text(found: Sequence[Measurement], commit: str) -> str:
    """The file for measurements in any order; of a network that was measured twice in one way,
    the later counts."""
    model = cycle_model(cores()[DEVICE])
    value = {
        "commit": commit,
        "device": DEVICE,
        "cycle_model": model.name if model else None,
        "cycle_error": asdict(model.error) if model and model.error else None,
        "compilers": {m.toolchain: m.compiler for m in ordered(found)},
        "networks": dict(_networks(ordered(found))),
    }
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def ordered(found: Iterable[Measurement]) -> list[Measurement]:
    """Each network and way once, the last one given, in the order of `networks`."""
    last = {(m.name, m.toolchain, m.optimize): m for m in found}
    keys = [
        (n.name, toolchain, mode) for n in NETWORKS for toolchain in TOOLCHAINS for mode in MODES
    ]
    return [last[key] for key in keys if key in last]


def _networks(found: Sequence[Measurement]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name in dict.fromkeys(m.name for m in found):
        mine = [m for m in found if m.name == name]
        goal = goal_of(mine[0].sha256, DEVICE)
        measured: dict[str, dict[str, Any]] = {}
        for m in mine:
            measured.setdefault(m.toolchain, {})[m.optimize] = _stored(m)
        about = {key: getattr(mine[0], key) for key in _NETWORK}
        yield name, {**about, "goal": asdict(goal) if goal else None, "measured": measured}


def _stored(m: Measurement) -> dict[str, Any]:
    value = {k: v for k, v in m.to_json().items() if k not in _LEFT_OUT}
    flash = {k: v for k, v in value["flash_bytes"].items() if k != "functions"}
    kinds = [{**asdict(s), "instructions_per_mac": _rounded(s.per_mac)} for s in m.kinds]
    return {**value, "flash_bytes": flash, "kinds": kinds}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def kept(old: Sequence[Measurement], new: Sequence[Measurement]) -> list[Measurement]:
    """Of the old measurements those that may stand beside the new ones: of the same version of
    their compiler."""
    versions = {m.toolchain: m.compiler for m in new}
    return [m for m in old if versions.get(m.toolchain, m.compiler) == m.compiler]


# Comparing --------------------------------------------------------------------------------


def guarded(m: Measurement) -> dict[str, int]:
    """What must not grow."""
    ram, flash = m.ram_bytes.total, m.flash_bytes.total
    assert ram is not None, "only linked programs are measured"
    assert flash is not None, "only linked programs are measured"
    return {"instructions": m.instructions, "flash bytes": flash, "RAM bytes": ram}


def changes(old: Measurement, new: Measurement) -> tuple[list[str], list[str]]:
    """(what grew, what shrank), in words."""
    before, after = guarded(old), guarded(new)
    where = f"{new.name}, {new.toolchain}, {new.optimize}"
    told = {
        key: f"{where}: {key} were {before[key]:,}, are {after[key]:,} "
        f"({after[key] - before[key]:+,})"
        for key in before
    }
    grew = [told[key] for key in before if after[key] > before[key]]
    return grew, [told[key] for key in before if after[key] < before[key]]


def regressions(old: Sequence[Measurement], new: Sequence[Measurement]) -> list[str]:
    """What grew; what only one side has says nothing."""
    before = {(m.name, m.toolchain, m.optimize): m for m in old}
    found: list[str] = []
    for m in new:
        committed = before.get((m.name, m.toolchain, m.optimize))
        if committed is None:
            continue
        if committed.compiler != m.compiler:
            sides = f"{committed.compiler} was committed, this is {m.compiler}"
            found.append(f"{m.name}: not comparable: {sides}")
        else:
            found += changes(committed, m)[0]
    return found

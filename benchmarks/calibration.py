"""How far boards are from the cycle models: `python -m benchmarks.calibration`.

One idea: an error is computed from figures that were published, never typed.  What boards took is
in `calibration.toml`, what the same engines cost by the rules of a Cortex-M4 in `bench/peers.toml`;
their ratios, and the geometric mean of them, are the `error` of a core in `emu/cycles.toml`, and a
test holds the two together.

Three kinds of comparison, from the best to the worst:

    counted    the engine's instructions were counted, and a board of the same core ran it
    carried    the same, on another core: its estimate is the Cortex-M4's times what Lilliput's own
               C costs there by our models, relative to the Cortex-M4
    relative   nobody counted the engine, but the same one ran on a Cortex-M4 board, too: its error
               there is taken to be that of the counted engine

A board that took fewer cycles than instructions were counted ran other code: its core starts one
instruction a cycle.  Such a row is shown and left out.  No board is measured here.
"""

from __future__ import annotations

import argparse
import math
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.networks import present
from lilliput import compiler
from lilliput.bench import peers
from lilliput.devices.device import Core, cores
from lilliput.emu import prove
from lilliput.emu.cycles import CountedBlock, ModelError, cycle_model
from lilliput.emu.machine import EntryRun, emulation_device
from lilliput.emu.toolchain import find
from lilliput.plan.build import plan
from lilliput.report import columns

SOURCE: Final = Path(__file__).with_name("calibration.toml")
BASE: Final = "cortex-m4"
SINGLE_ISSUE: Final = frozenset(["cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m33"])


@dataclass(frozen=True)
class Board:
    """An engine that was measured; `cycles` by network, `counted`: its counted relative or ""."""

    core: str
    board: str
    clock_mhz: int
    engine: str
    round: str
    cycles: Mapping[str, float]
    counted: str = ""

    @property
    def title(self) -> str:
        return f"{self.engine} {self.round} on {self.board} at {self.clock_mhz} MHz"


@dataclass(frozen=True)
class Comparison:
    """One network on one board.  ratio: cycles of the board over the estimate; None: other code."""

    board: Board
    network: str
    kind: str
    estimate: float
    ratio: float | None


def read() -> tuple[tuple[Board, ...], Mapping[str, Mapping[str, float]]]:
    """The boards, and the relative costs by core and network."""
    table: dict[str, Any] = tomllib.loads(SOURCE.read_text(encoding="utf-8"))
    return tuple(Board(**row) for row in table["boards"]), table["relative"]


def comparisons() -> list[Comparison]:
    """Every network of every board that can be compared."""
    boards, relative = read()
    direct = list(_counted(boards, relative))
    return [*direct, *_relative(boards, relative, direct)]


def _counted(
    boards: Sequence[Board], relative: Mapping[str, Mapping[str, float]]
) -> Iterator[Comparison]:
    for board in boards:
        for network, cycles in board.cycles.items() if board.counted else ():
            found = peers.named(network, "emulated", board.counted)
            if found.cycles is None or found.instructions is None:
                continue
            estimate = found.cycles / 1e6 * relative[BASE][network]
            estimate *= relative[board.core][network] if board.core != BASE else 1
            other = board.core in SINGLE_ISSUE and cycles * 1e6 < found.instructions
            kind = "counted" if board.core == BASE else "carried"
            yield Comparison(board, network, kind, estimate, None if other else cycles / estimate)


def _relative(
    boards: Sequence[Board],
    relative: Mapping[str, Mapping[str, float]],
    direct: Sequence[Comparison],
) -> Iterator[Comparison]:
    base = {(b.engine, b.round): b for b in boards if b.core == BASE and not b.counted}
    known = {c.network: c.ratio for c in direct if c.board.core == BASE and c.ratio}
    for board in boards:
        there = base.get((board.engine, board.round))
        if board.counted or there is None or there is board:
            continue
        for network, cycles in board.cycles.items():
            estimate = there.cycles[network] / known[network] * relative[board.core][network]
            yield Comparison(board, network, "relative", estimate, cycles / estimate)


def errors(found: Sequence[Comparison]) -> dict[str, tuple[float, float, float]]:
    """core -> (lowest, highest, geometric mean) of the ratios, to two digits behind the point."""
    ratios: dict[str, list[float]] = {}
    for c in found:
        if c.ratio is not None:
            ratios.setdefault(c.board.core, []).append(c.ratio)
    return {
        core: (
            round(min(r), 2),
            round(max(r), 2),
            round(math.exp(sum(map(math.log, r)) / len(r)), 2),
        )
        for core, r in ratios.items()
    }


# Measuring what is relative ---------------------------------------------------------------

# The rules of the counted engines' estimates: a load 2, or 1 behind another load or store; a
# multiple or pair 1 + N; a taken branch 3; a division 7; everything else 1.
_ACCESS: Final = ("ldr", "str", "vldr", "vstr")
_MULTIPLE: Final = ("ldm", "stm", "push", "pop", "vldm", "vstm", "vpush", "vpop", "ldrd", "strd")


def by_the_rules(blocks: Sequence[CountedBlock]) -> float:
    """Cycles of a run on a Cortex-M4 by the rules that the peers were estimated with."""
    total = 0.0
    for block in blocks:
        cycles, before = 0, ""
        for i in block.instructions:
            name = i.mnemonic
            if name.startswith(_MULTIPLE):
                cycles += 1 + (2 if name[3:4] == "d" else i.registers)
            elif name.startswith(("sdiv", "udiv")):
                cycles += 7
            else:
                alone = name.startswith(("ldr", "vldr")) and not before.startswith(_ACCESS)
                cycles += 2 if alone else 1
            before = name
        total += cycles * block.times
        total += 2 * block.taken if block.instructions[-1].is_branch else 0
    return total


def run(path: Path, core: Core) -> EntryRun:
    """One counted inference of a network with memory that never waits."""
    room = emulation_device(core, "unicorn")
    model = compiler.load(path)
    program = plan(model.module, room)
    call = compiler.random_calls(model, 4, 0)[-1]
    target, options = (find(core), room), compiler.emit_options(room, compiler.Options())
    proof = prove.prove(model.module, program, [call], target=target, count=True, options=options)
    return proof.ways[-1].runs[0]


def measure() -> str:
    """The rows of [relative], from this tree's kernels and compiler."""
    wanted = ("kws", "ic", "vww", "ad")
    found: dict[str, dict[str, float]] = {}
    for network, path in present():
        name = network.name
        if name not in wanted:
            continue
        base = run(path, cores()[BASE])
        cycles = sum(b.cycles for b in base.blocks)
        found.setdefault(BASE, {})[name] = cycles / by_the_rules(base.blocks)
        for core in ("cortex-m7", "cortex-m33"):
            other = sum(b.cycles for b in run(path, cores()[core]).blocks)
            found.setdefault(core, {})[name] = other / cycles
    rows = (
        f"{core} = {{ {', '.join(f'{n} = {v:.3f}' for n, v in row.items())} }}"
        for core, row in found.items()
    )
    return "\n".join(["[relative]", *rows])


# Printing ---------------------------------------------------------------------------------


def text(found: Sequence[Comparison]) -> str:
    """Every comparison, and the error of each core."""
    rows = [
        (
            c.board.title,
            c.board.core,
            c.network,
            c.kind,
            f"{c.board.cycles[c.network]:.2f}",
            f"{c.estimate:.2f}",
            "other code" if c.ratio is None else f"{c.ratio:.2f}",
        )
        for c in found
    ]
    head = ("board", "core", "network", "kind", "M cycles", "estimate", "ratio")
    stated = errors(found)
    lines = [
        f"{core}: {low:.2f} to {high:.2f} times the estimate, mean {mean:.2f}; "
        + _agreement(core, (low, high, mean))
        for core, (low, high, mean) in stated.items()
    ]
    lines += [
        f"{name}: compared with nothing"
        for name, core in cores().items()
        if cycle_model(core) and name not in stated
    ]
    return "\n".join([columns(head, rows), "", *lines])


def _agreement(core: str, found: tuple[float, float, float]) -> str:
    stated = stated_error(core)
    same = stated is not None and found == (stated.low, stated.high, stated.mean)
    return "as emu/cycles.toml says" if same else "NOT what emu/cycles.toml says"


def stated_error(core: str) -> ModelError | None:
    """What `emu/cycles.toml` says of a core."""
    model = cycle_model(cores()[core])
    return model.error if model else None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=__doc__)
    parser.add_argument(
        "--measure", action="store_true", help="run the networks of LILLIPUT_SHARED for [relative]"
    )
    chosen = parser.parse_args(arguments)
    print(measure() if chosen.measure else text(comparisons()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

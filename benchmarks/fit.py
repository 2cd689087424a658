"""Fits the cost model: `python -m benchmarks.fit` writes `src/lilliput/plan/cycles.toml`.

Every kernel runs every shape of `benchmarks.grid` on each emulated core.  The estimated cycles
of a step (instructions, where the core has no cycle table) are linear in the kernel's `Work`
with coefficients that are not negative; least squares of the relative error finds them, one row
for each kernel and element type.  The stated error is cross-validated: every observation is
predicted by a row that was fitted without it.  Steps below `SMALL` cycles count less in the fit
and not in the error: a compiler unrolls them, and they decide nothing.

The result depends on the compiler, the kernels and nothing else: two runs write equal bytes.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from benchmarks import grid
from lilliput.codegen.emit import emit
from lilliput.codegen.harness import harness
from lilliput.codegen.names import leaf_steps, step_ids
from lilliput.compiler import Options, emit_options
from lilliput.devices.device import Core, Device, cores
from lilliput.emu.cycles import cycle_model
from lilliput.emu.machine import Command, EntryRun, emulation_device, run_emulated
from lilliput.emu.toolchain import Toolchain, build_firmware, find
from lilliput.errors import EmulationError
from lilliput.ir.op import Work
from lilliput.plan.build import plan
from lilliput.plan.cost import DEFAULT, row_name
from lilliput.plan.draft import MAP
from lilliput.plan.program import Call, Program

CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "rv32imc")
ENTRIES = 64
UNCOUNTED = "cortex-m55"
LIKE = "cortex-m33"
LANES = {
    "depthwise_lanes/s8": (0.0, 13.79, 14.21, 17.87),
    "fours_lanes/s8": (34.49, 9.119, 9.209, 36.3),
}
"""No emulator here counts what a Cortex-M55 executes: its table is that of `LIKE`, with rows for
Helium's kernels from instructions that QEMU counted once.  They rank; no error is claimed."""
SMALL = 1000.0
TARGET = Path("src/lilliput/plan/cycles.toml")
HEAD = """\
# Written by `python -m benchmarks.fit`; do not edit.
#
# rows     kernel/dtype = [cycles a call, a pass of the inner loop, an element, a set-up]
# default  the row of what has none
# error    |predicted / estimated - 1| of every step of 1,000 or more by a row fitted without it
"""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Observation:
    """One step that was run: which row it belongs to, its work, what it took."""

    row: str
    work: Work
    cycles: float


@dataclass(frozen=True)
class Table:
    """One core's fit; `rows` maps names to the four coefficients."""

    unit: str
    compiler: str
    rows: Mapping[str, tuple[float, ...]]
    median: float
    worst: float
    observations: int


def dealt(cases: Sequence[grid.Case]) -> Iterator[Sequence[grid.Case]]:
    """`cases` in groups of at most `ENTRIES`, none with two that are fitted by the same row.

    Two calls of one kernel may share a function, which then knows neither's shape, and copies a
    pixel of unknown size at several times the cost: a network rarely has two such layers.
    """
    rounds: list[list[grid.Case]] = []
    taken: Counter[str] = Counter()
    for case in cases:
        row = _row(case)
        if taken[row] == len(rounds):
            rounds.append([])
        rounds[taken[row]].append(case)
        taken[row] += 1
    for chosen in rounds:
        for at in range(0, len(chosen), ENTRIES):
            yield chosen[at : at + ENTRIES]


def _row(case: grid.Case) -> str:
    """The row that a case is fitted for."""
    return row_name(next(iter(case.op.kernels), MAP), case.node())


def observe(core: Core, toolchain: Toolchain, cases: Sequence[grid.Case]) -> Iterator[Observation]:
    """Runs `cases`, a firmware of `dealt` at a time, and gives every call that was counted."""
    room = emulation_device(core, "unicorn")
    for chosen in dealt(cases):
        module = grid.module(chosen)
        program = plan(module, room)
        commands = [Command("reset")]
        for k, case in enumerate(chosen):
            data = grid.inputs(module, f"case{k}", case)
            spans = tuple(
                np.ascontiguousarray(data[v.name]).tobytes() for v, _ in program.entries[k].inputs
            )
            commands.append(Command("run", k, spans))
        runs = _run(program, toolchain, room, commands)
        yield from _observations(program, runs, estimated=cycle_model(core) is not None)


def _run(
    program: Program, toolchain: Toolchain, room: Device, commands: Sequence[Command]
) -> list[EntryRun]:
    marks = harness(program)
    files = {**emit(program, emit_options(room, Options())), "harness_model.h": marks.header}
    with tempfile.TemporaryDirectory(prefix="lilliput-fit-") as folder:
        image = build_firmware(toolchain, room, files, Path(folder), defines=marks.defines)
        count = [c.op == "run" for c in commands]
        return run_emulated(image, room, commands, emulator="unicorn", count=count, timeout=600)


def _observations(
    program: Program, runs: Sequence[EntryRun], *, estimated: bool
) -> Iterator[Observation]:
    ids = step_ids(program)
    for entry, run in zip(program.entries, runs, strict=True):
        if not run.guard_intact:
            raise EmulationError("a kernel wrote outside its memory", where=str(entry.name))
        counts = run.step_cycles if estimated else run.step_instructions
        for index, step in enumerate(leaf_steps(entry)):
            taken = counts.get(ids[entry.name, index])
            if isinstance(step, Call) and not step.fused and taken:
                name, work = row_name(step.kernel, step.node), step.kernel.work(step.node)
                yield Observation(name, work, float(taken))


def fit(observations: Sequence[Observation]) -> tuple[float, ...]:
    """(call, inner, element, setup), not negative, least squares of the relative error.

    With four unknowns every set of them can be tried: the best set whose own least-squares
    solution has no negative number is the constrained optimum.
    """
    works = np.array([(1, *o.work) for o in observations], np.float64)
    cycles = np.array([o.cycles for o in observations])
    weight = 1 / np.maximum(cycles, SMALL)
    scaled, target = works * weight[:, None], cycles * weight
    best, found = np.inf, np.zeros(4)
    for size in range(1, 5):
        for chosen in itertools.combinations(range(4), size):
            solution = _least_squares(scaled[:, chosen], target)
            if (solution < 0).any():
                continue
            loss = float(((scaled[:, chosen] @ solution - target) ** 2).sum())
            if loss < best * (1 - 1e-9):
                best, found = loss, np.zeros(4)
                found[list(chosen)] = solution
    return tuple(float(f"{c:.4g}") for c in found)


def _least_squares(columns: Floats, target: Floats) -> Floats:
    """The solution; minus one everywhere when the columns do not determine it."""
    solved = np.linalg.lstsq(columns, target, rcond=1e-9)
    solution, _, rank, _ = cast(tuple[Floats, Floats, int, Floats], solved)
    return solution if rank == columns.shape[1] else np.zeros(columns.shape[1]) - 1


def predicted(row: Sequence[float], work: Work) -> float:
    return float(np.dot(row, (1, *work)))


def left_out_errors(observations: Sequence[Observation]) -> list[float]:
    """The relative error of each observation of `SMALL` or more by a fit of the others."""
    errors: list[float] = []
    for k, one in enumerate(observations):
        if one.cycles < SMALL:
            continue
        others = [*observations[:k], *observations[k + 1 :]]
        errors.append(abs(predicted(fit(others), one.work) / one.cycles - 1))
    return errors


def table(observations: Sequence[Observation], unit: str, compiler: str) -> Table:
    """Rows in alphabetical order; rows of fewer than three observations have no error."""
    groups: dict[str, list[Observation]] = defaultdict(list)
    for o in observations:
        groups[o.row].append(o)
    rows = {DEFAULT: fit(observations)} | {name: fit(groups[name]) for name in sorted(groups)}
    errors = [e for group in groups.values() if len(group) > 2 for e in left_out_errors(group)]
    return Table(unit, compiler, rows, statistics.median(errors), max(errors), len(observations))


def render(tables: Mapping[str, Table]) -> str:
    """The text of `cycles.toml`."""
    text = [HEAD]
    for core, t in tables.items():
        text += [f"[{core}]", f'unit = "{t.unit}"', f'compiler = "{t.compiler}"']
        if t.observations:
            text += [f"error = {{ median = {t.median:.4f}, worst = {t.worst:.4f} }}"]
        text += [f"observations = {t.observations}", f"[{core}.rows]"]
        text += [f'"{name}" = [{", ".join(f"{c:g}" for c in row)}]' for name, row in t.rows.items()]
        text.append("")
    return "\n".join(text)


def written(path: Path) -> dict[str, Table]:
    """The tables of a file that `render` made."""
    found = tomllib.loads(path.read_text(encoding="utf-8"))
    return {
        name: Table(
            t["unit"],
            t["compiler"],
            {row: tuple(numbers) for row, numbers in t["rows"].items()},
            t.get("error", {}).get("median", 0.0),
            t.get("error", {}).get("worst", 0.0),
            t["observations"],
        )
        for name, t in found.items()
    }


def _with_rows(old: Table, name: str, cases: Sequence[grid.Case]) -> Table:
    """A core's table with rows of its own for the kernels of `cases`; its error stays that of the
    last fit of everything."""
    core = cores()[LIKE if name == UNCOUNTED else name]
    groups: dict[str, list[Observation]] = defaultdict(list)
    asked = {_row(case) for case in cases}
    for o in observe(core, find(core), [c for c in cases if grid.runs_on(core, c)]):
        if o.row in asked:
            groups[o.row].append(o)
    for row, group in sorted(groups.items()):
        errors = left_out_errors(group) if len(group) > 2 else []
        text = f"{statistics.median(errors):.1%} median, {max(errors):.0%} worst" if errors else "-"
        print(f"{name}: {row}, {len(group)} steps, error {text}")
    first = {DEFAULT: old.rows[DEFAULT]}
    fresh = {row: fit(group) for row, group in groups.items()}
    return replace(old, rows=first | dict(sorted({**old.rows, **fresh}.items())))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit", description=__doc__)
    parser.add_argument("--core", action="append", choices=CORES, help="only these (default all)")
    parser.add_argument(
        "--kernel",
        action="append",
        help="only these (map.NAME of an element-wise operator); other rows stay as they are",
    )
    parser.add_argument("--output", type=Path, default=TARGET)
    chosen = parser.parse_args(arguments)
    if chosen.core and not chosen.kernel and chosen.output == TARGET:
        parser.error("some cores alone would lose the others: give --output another file")
    cases = grid.cases()
    if chosen.kernel:
        cases = [c for c in cases if _row(c).split("/")[0] in chosen.kernel]
        old = written(chosen.output)
        fresh = {name: _with_rows(old[name], name, cases) for name in chosen.core or old}
        tables = {**old, **fresh}
        chosen.output.write_text(render(tables), encoding="utf-8", newline="\n")
        return 0
    tables: dict[str, Table] = {}
    for name in chosen.core or CORES:
        core = cores()[name]
        toolchain = find(core)
        unit = "estimated cycles" if cycle_model(core) else "instructions"
        found = list(observe(core, toolchain, [c for c in cases if grid.runs_on(core, c)]))
        tables[name] = table(found, unit, toolchain.version)
        t = tables[name]
        print(f"{name}: {len(found)} steps, error {t.median:.1%} median, {t.worst:.0%} worst")
    if LIKE in tables:
        like = tables[LIKE]
        rows = dict(sorted({**like.rows, **LANES}.items()))
        tables[UNCOUNTED] = replace(like, rows=rows, observations=0)
    chosen.output.write_text(render(tables), encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

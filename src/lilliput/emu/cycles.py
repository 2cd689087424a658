"""Exact instruction counts and estimated cycles from counted blocks.

The idea: the emulator says how often each block ran and which block came next; everything else is
static, decoded once.  What it counted is cut into basic blocks at every address that something
jumps to, and a block's cycles are those of the core's pipeline, a branch's of whether it was taken,
and, on a board whose flash waits, of the lines that were not in a cache.  Instructions are exact;
cycles are an estimate, with its source and what is known of its error.  No time in seconds here.
"""

from __future__ import annotations

import functools
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any, Final, cast

from lilliput.devices import Core, FlashTiming
from lilliput.emu.elf import Image, code_sections
from lilliput.emu.flash import Trace, Wait, waits
from lilliput.emu.instructions import Instruction, decoder
from lilliput.emu.pipeline import Pipeline, Scoreboard, ops

Rows = Sequence[Sequence[int]]
"""[end of the block before (0: none), address, size, times] of `unicorn_worker`."""

_OTHER: Final = frozenset({"name", "source", "error"})
_SETS: Final = frozenset({"early", "alone", "first_only"})


@dataclass(frozen=True)
class ModelError:
    """Cycles that boards took, divided by the estimate: the range and the geometric mean.

    conditions : what was compared with what
    """

    low: float
    high: float
    mean: float
    conditions: str

    def __str__(self) -> str:
        return (
            f"boards took {self.low:.2f} to {self.high:.2f} times the estimate "
            f"(mean {self.mean:.2f}): {self.conditions}"
        )


@dataclass(frozen=True)
class CycleModel:
    """The timing of a core, its source, and what is known of its error (None: nothing)."""

    name: str
    source: str
    error: ModelError | None
    pipeline: Pipeline

    @property
    def error_note(self) -> str:
        """The error in words."""
        return str(self.error) if self.error else "compared with no published run"


@dataclass(frozen=True)
class CountedBlock:
    """A basic block of one run.

    cycles      : estimated, of all `times` together, with its branch and waiting for flash
    taken       : how often the branch at its end was
    waits       : the part of the cycles that waits for flash
    each        : estimated cycles of each instruction when the block runs once, without flash
    step_cycles : how they are shared by the steps
    """

    address: int
    instructions: tuple[Instruction, ...]
    times: int
    taken: int
    cycles: float
    waits: float
    each: tuple[float, ...]
    step_cycles: Mapping[int, float]


@dataclass(frozen=True)
class Profile:
    """Counts of one run; the steps' sums leave out what follows the last step."""

    instructions: int
    step_instructions: Mapping[int, int]
    step_cycles: Mapping[int, float]
    blocks: tuple[CountedBlock, ...] = ()


@functools.cache
def cycle_model(core: Core) -> CycleModel | None:
    """The core's model; None for a core without a table."""
    text = (resources.files("lilliput.emu") / "cycles.toml").read_text(encoding="utf-8")
    table: dict[str, Any] | None = tomllib.loads(text).get(core.cycles)
    if table is None:
        return None
    numbers = {k: _number(k, v) for k, v in table.items() if k not in _OTHER}
    error = ModelError(**table["error"]) if "error" in table else None
    return CycleModel(str(table["name"]), str(table["source"]), error, Pipeline(**numbers))


def _number(key: str, value: Any) -> Any:
    """A value of the table as `Pipeline` has it."""
    if key in _SETS:
        return frozenset(cast(list[str], value))
    if key == "exclusive":
        return tuple(frozenset(group) for group in cast(list[list[str]], value))
    return tuple(cast(list[float], value)) if isinstance(value, list) else value


@dataclass(frozen=True)
class _Block:
    """A basic block: its instructions, and the cycles of each, first and right behind itself."""

    instructions: tuple[Instruction, ...]
    each: tuple[float, ...]
    again: tuple[float, ...]

    @property
    def address(self) -> int:
        return self.instructions[0].address

    @property
    def end(self) -> int:
        return self.instructions[-1].address + self.instructions[-1].size


class _Code:
    """The image's code, cut into basic blocks; every block is decoded and timed once."""

    def __init__(self, image: Image, core: Core, leaders: frozenset[int]) -> None:
        self._decode = decoder(core)
        self._code = code_sections(image.elf)
        self._arch = core.arch
        self._leaders = leaders
        self._cut: dict[tuple[int, int], tuple[_Block, ...]] = {}
        self._timed: dict[tuple[Instruction, ...], _Block] = {}
        model = cycle_model(core)
        self.pipeline = model.pipeline if model else None

    def blocks(self, address: int, size: int) -> tuple[_Block, ...]:
        """The basic blocks of a run of code."""
        key = (address, size)
        if key not in self._cut:
            parts: list[list[Instruction]] = []
            for instruction in self._decode(self._bytes(address, size), address):
                if not parts or instruction.address in self._leaders:
                    parts.append([])
                parts[-1].append(instruction)
            self._cut[key] = tuple(self._timing(tuple(part)) for part in parts)
        return self._cut[key]

    def _bytes(self, address: int, size: int) -> bytes:
        for code in self._code:
            if code.address <= address < code.address + len(code.data):
                return code.data[address - code.address : address - code.address + size]
        return b""

    def _timing(self, part: tuple[Instruction, ...]) -> _Block:
        if part not in self._timed:
            none = (0.0,) * len(part)
            each, again = none, none
            if self.pipeline is not None:
                board, block = Scoreboard(self.pipeline), ops(part, self._arch)
                each, again = tuple(board.run(block)), tuple(board.run(block))
            self._timed[part] = _Block(part, each, again)
        return self._timed[part]


def step_profiles(
    image: Image,
    core: Core,
    runs: Sequence[Sequence[tuple[int, Rows]] | None],
    flash: FlashTiming | None = None,
    traces: Sequence[Mapping[int, Trace] | None] = (),
) -> list[Profile | None]:
    """Profiles of counted runs (None stays None).

    flash, traces : of a board whose flash waits, and what each step fetched and read from it
    """
    counted = [run for run in runs if run is not None]
    if not counted:
        return [None for _ in runs]
    leaders = frozenset(row[1] for run in counted for _, rows in run for row in rows)
    code = _Code(image, core, leaders)
    found: list[Profile | None] = []
    for k, run in enumerate(runs):
        trace = traces[k] if flash is not None and k < len(traces) else None
        found.append(None if run is None else _profile(code, run, flash, trace or {}))
    return found


@dataclass
class _Sum:
    """What a step's rows say of one basic block, while they are read."""

    block: _Block
    times: int = 0
    behind_itself: int = 0
    straight: int = 0
    taken: int = 0


def _profile(
    code: _Code,
    run: Sequence[tuple[int, Rows]],
    flash: FlashTiming | None,
    traces: Mapping[int, Trace],
) -> Profile:
    instructions: dict[int, int] = defaultdict(int)
    blocks: dict[int, CountedBlock] = {}
    for step, rows in run:
        sums = _sums(code, rows)
        instructions[step] += sum(len(s.block.instructions) * s.times for s in sums.values())
        if code.pipeline is None:
            continue
        waiting = _waiting(code, rows, flash, traces.get(step))
        for address, s in sums.items():
            counted = _counted(code.pipeline, s, waiting.get(address, Wait()), step)
            blocks[address] = _together(blocks.get(address), counted)
    total = sum(instructions.values())
    cycles: dict[int, float] = defaultdict(float)
    for block in blocks.values():
        for step, spent in block.step_cycles.items():
            cycles[step] += spent
    instructions.pop(-1, None)
    cycles.pop(-1, None)
    ordered = sorted(blocks.values(), key=lambda b: (-b.cycles, b.address))
    return Profile(total, dict(instructions), dict(sorted(cycles.items())), tuple(ordered))


def _sums(code: _Code, rows: Rows) -> dict[int, _Sum]:
    """The basic blocks of a step, by address: how often each ran, and where its branch went."""
    sums: dict[int, _Sum] = {}
    ends: dict[int, _Sum] = {}
    for _, address, size, times in rows:
        parts = code.blocks(address, size)
        for block in parts:
            found = sums.setdefault(block.address, _Sum(block))
            found.times += times
            ends[block.end] = found
        for block in parts[:-1]:
            sums[block.address].straight += times
    for before, address, _, times in rows:
        source = ends.get(before)
        if source is None:
            continue
        if before == address:
            source.straight += times
        else:
            source.taken += times
            source.behind_itself += times if source.block.address == address else 0
    return sums


def _counted(pipeline: Pipeline, s: _Sum, wait: Wait, step: int) -> CountedBlock:
    first = s.times - s.behind_itself
    each = [
        (a * first + b * s.behind_itself) / s.times
        for a, b in zip(s.block.each, s.block.again, strict=True)
    ]
    if s.block.instructions[-1].is_branch:
        branch = pipeline.taken * s.taken + pipeline.mispredicted * min(s.taken, s.straight)
        each[-1] += branch / s.times
    block, waited = s.block, wait.each * s.times + wait.once
    cycles = sum(each) * s.times + waited
    return CountedBlock(
        address=block.address,
        instructions=block.instructions,
        times=s.times,
        taken=s.taken,
        cycles=cycles,
        waits=waited,
        each=tuple(each),
        step_cycles={step: cycles},
    )


def _together(one: CountedBlock | None, other: CountedBlock) -> CountedBlock:
    """The same block in two steps."""
    if one is None:
        return other
    times = one.times + other.times
    each = (
        (a * one.times + b * other.times) / times for a, b in zip(one.each, other.each, strict=True)
    )
    steps = dict(one.step_cycles)
    for step, cycles in other.step_cycles.items():
        steps[step] = steps.get(step, 0.0) + cycles
    return replace(
        one,
        times=times,
        taken=one.taken + other.taken,
        cycles=one.cycles + other.cycles,
        waits=one.waits + other.waits,
        each=tuple(each),
        step_cycles=steps,
    )


def _waiting(
    code: _Code, rows: Rows, flash: FlashTiming | None, trace: Trace | None
) -> Mapping[int, Wait]:
    """What each basic block waits for flash, by its address."""
    if flash is None or trace is None:
        return {}
    longest: dict[int, int] = {}
    for _, address, size, _ in rows:
        longest[address] = max(size, longest.get(address, 0))
    extents = {
        address: [(b.address, b.end, sum(b.each)) for b in code.blocks(address, size)]
        for address, size in longest.items()
    }
    return waits(trace, extents, flash)

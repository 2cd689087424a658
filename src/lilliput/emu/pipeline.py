"""A static scoreboard: cycles of a straight run of instructions on an in-order core.

The idea: an instruction starts when the pipeline is free and its registers are ready, and keeps
the pipeline for as long as its class says.  A core that issues two starts the second in the same
cycle where its rules allow.  The core is a `Pipeline`, numbers of `cycles.toml`; nothing here knows
a core by name, memory that waits, or what a program does.

    start     = max(pipeline free, every register ready at the port that reads it)
    free then = start + cycles of the class
    ready     = start + latency of the class, where more than its cycles
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from lilliput.emu.classes import classify
from lilliput.emu.instructions import Instruction
from lilliput.emu.operands import Operands, operands

_LIKE: Final[Mapping[str, str]] = {
    "simple": "alu",
    "shifted": "alu",
    "shifted_left": "alu",
    "extend": "alu",
    "simd": "alu",
    "it": "alu",
    "nop": "alu",
    "mul": "alu",
    "mac": "mul",
    "mull": "mul",
    "mlal": "mull",
    "load_narrow": "load",
    "load_pair": "load_multiple",
    "store_pair": "store_multiple",
    "store_register": "store",
    "branch": "alu",
    "jump": "branch",
    "call": "jump",
    "table_branch": "jump",
    "fp": "alu",
    "fp_mla": "fp",
    "fp_div": "fp",
    "div": "alu",
}
"""A class without a row of its own -> the class whose row it takes."""

_PRODUCTS: Final = frozenset(["mul", "mac", "mull", "mlal", "fp_mla"])
_THROUGH_SHIFTER: Final = frozenset(["extend", "simd"])
_LOADS: Final = frozenset(["load", "load_narrow"])
_STORES: Final = frozenset(["store", "store_register"])
_OFFSET: Final = re.compile(r"\[(\w+)(?:, #(-?\w+))?\]$")


@dataclass(frozen=True)
class Pipeline:
    """What a core does with classes of instructions; times in cycles.

    issue           : instructions that may start in one cycle, 1 or 2
    cycles, latency : by class; a class without a row takes that of `_LIKE`
    multiple        : (first, each register) of multiple transfers, rounded up
    address_early   : base and offset have to be ready so much earlier than other operands
    shift_early     : the same of operands of the shifter, and of loaded words that are multiplied
    early           : classes whose results come early enough for all that; on a core that issues
                      two, the second may use such a result of the first in the same cycle
    accumulate      : latency of a product to the sum of the next one
    load_overlap    : what a load or store saves behind a load that its address does not need
    store_then_load : what a load costs more behind a store
    alone           : classes that never pair
    exclusive       : groups of classes; of one group, one instruction starts in a cycle
    first_only      : classes that pair only as the first of two
    taken           : what a taken branch adds, mispredicted: what a wrong prediction adds
    """

    cycles: Mapping[str, float]
    latency: Mapping[str, float] = field(default_factory=dict[str, float])
    issue: int = 1
    multiple: tuple[float, float] = (1, 1)
    address_early: float = 0
    shift_early: float = 0
    early: frozenset[str] = frozenset()
    accumulate: float | None = None
    load_overlap: float = 0
    store_then_load: float = 0
    alone: frozenset[str] = frozenset()
    exclusive: tuple[frozenset[str], ...] = ()
    first_only: frozenset[str] = frozenset()
    taken: float = 0
    mispredicted: float = 0

    def busy(self, op: Op) -> float:
        """Cycles that an instruction keeps the pipeline."""
        if op.kind in ("load_multiple", "load_pair", "store_multiple", "store_pair"):
            first, each = self.multiple
            return math.ceil(first + each * op.count)
        row = _row(self.cycles, op.kind)
        return 1.0 if row is None else row

    def ready(self, op: Op) -> float:
        """Cycles until its result can be used."""
        return max(_row(self.latency, op.kind) or 0.0, self.busy(op) if self.issue == 1 else 1.0)


def _row(table: Mapping[str, float], kind: str) -> float | None:
    while kind not in table:
        if kind not in _LIKE:
            return None
        kind = _LIKE[kind]
    return table[kind]


@dataclass(frozen=True)
class Op:
    """An instruction as the pipeline sees it; `count` registers of a multiple transfer."""

    kind: str
    registers: Operands
    count: int
    bank: tuple[str, int] | None

    @property
    def memory(self) -> bool:
        return self.kind.startswith(("load", "store"))

    def other_bank(self, other: Op) -> bool:
        """Whether two accesses are known to go to different banks of a memory with two."""
        mine, theirs = self.bank, other.bank
        known = mine is not None and theirs is not None and mine[0] == theirs[0]
        return known and mine != theirs


def ops(instructions: Sequence[Instruction], arch: str) -> list[Op]:
    """The instructions of one block; an IT block's are conditional."""
    found: list[Op] = []
    conditional = 0
    for i in instructions:
        registers = operands(arch, i.mnemonic, i.operands, conditional=conditional > 0)
        kind = classify(i, registers, arch)
        conditional = len(i.mnemonic) - 1 if kind == "it" else max(conditional - 1, 0)
        count = 2 if kind.endswith("_pair") else i.registers
        found.append(Op(kind, registers, count, _bank(i)))
    return found


def _bank(i: Instruction) -> tuple[str, int] | None:
    """(base, which of two banks of words) of an access with a constant offset."""
    match = _OFFSET.search(i.operands)
    return (match[1], int(match[2] or "0", 0) >> 2 & 1) if match else None


@dataclass(frozen=True)
class _Result:
    """When a register can be used, by the port that reads it."""

    plain: float
    address: float
    shifter: float
    factor: float
    addend: float
    stored: float


class Scoreboard:
    """Runs ops through a pipeline, from one where nothing is under way."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._start = 0.0
        self._free = 0.0
        self._cycle: list[Op] = []
        self._before: Op | None = None
        self._results: dict[str, _Result] = {}

    def run(self, block: Sequence[Op]) -> list[float]:
        """Cycles that each op adds to the run; their sum is that of the block."""
        added: list[float] = []
        for op in block:
            before = self._free
            self._issue(op)
            added.append(self._free - before)
        return added

    def _issue(self, op: Op) -> None:
        ready = self._operands_ready(op)
        if ready <= self._start and self._pairs(op):
            self._cycle.append(op)
        else:
            self._start = max(self._free + self._adjusted(op), ready)
            self._cycle = [op]
        self._free = max(self._free, self._start + self._pipeline.busy(op))
        for name in op.registers.writes:
            self._results[name] = self._result(op, name)
        self._before = op

    def _adjusted(self, op: Op) -> float:
        """What this access saves or loses for the one before."""
        before = self._before
        if before is None or not op.memory:
            return 0.0
        if before.kind in _STORES and op.kind.startswith("load"):
            return self._pipeline.store_then_load
        depends = before.registers.writes & op.registers.address
        follows = before.kind in _LOADS and op.kind in _LOADS | _STORES and not depends
        return -self._pipeline.load_overlap if follows else 0.0

    def _operands_ready(self, op: Op) -> float:
        """The first cycle in which every register is ready at its port."""
        found, r = self._results, op.registers
        times = [0.0]
        for name in r.reads & found.keys():
            result = found[name]
            shifts = bool(r.shift) or op.kind in _THROUGH_SHIFTER
            times.append(
                result.shifter if shifts
                else result.factor if op.kind in _PRODUCTS
                else result.plain
            )  # fmt: skip
        times += [found[n].address for n in r.address & found.keys()]
        times += [found[n].stored for n in r.stored & found.keys()]
        times += [found[n].addend for n in r.accumulate & found.keys()]
        return max(times)

    def _pairs(self, op: Op) -> bool:
        """Whether `op` may start beside the one that has started in this cycle."""
        pipeline = self._pipeline
        if pipeline.issue < 2 or len(self._cycle) != 1:
            return False
        first = self._cycle[0]
        if {first.kind, op.kind} & pipeline.alone or op.kind in pipeline.first_only:
            return False
        if any(first.kind in group and op.kind in group for group in pipeline.exclusive):
            return False
        if first.kind in _LOADS and op.kind in _LOADS:
            return first.other_bank(op)
        return True

    def _result(self, op: Op, name: str) -> _Result:
        pipeline, start = self._pipeline, self._start
        if op.memory and op.registers.indexed and name in op.registers.address:
            return _Result(*[start + 1] * 6)
        ready = start + pipeline.ready(op)
        early = op.kind in pipeline.early and self._cycle[0] is op
        same_cycle = 1.0 if pipeline.issue == 2 else 0.0
        addend = ready - same_cycle
        if op.kind in _PRODUCTS and pipeline.accumulate is not None:
            addend = start + pipeline.accumulate
        return _Result(
            plain=ready - (same_cycle if early and not op.memory else 0.0),
            address=ready + (0.0 if early else pipeline.address_early),
            shifter=ready + (0.0 if early else pipeline.shift_early),
            factor=max(ready, start + 1 + pipeline.shift_early) if op.kind in _LOADS else ready,
            addend=addend,
            stored=ready - 1,
        )

"""Cycles that code waits for a flash with wait states.

The idea: the emulator records pieces of what a step executed and read from flash, in order; they
are played through the board's caches, empty at its start, and what a block waited on average there
is what it is taken to wait each time; only the first fetch of a line of code happens once.  Exact
sequences of all blocks would be too long; a piece begins whenever a block is new to the step, so
that none is missing.  RAM never waits here.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lilliput.devices import FlashTiming

Trace = Sequence[int]
"""Addresses of blocks that ran, and ~address of every line that they read from flash, in order."""
Extents = Mapping[int, Sequence[tuple[int, int, float]]]
"""Address of a traced block -> its basic blocks: (address, end, cycles without waiting)."""


@dataclass(frozen=True)
class Wait:
    """Cycles that a basic block waits for flash: each time that it runs, and once besides."""

    each: float = 0.0
    once: float = 0.0


class _Cache:
    """Lines that are near, the least recently used first; at least the last one read."""

    def __init__(self, lines: int) -> None:
        self._room = max(lines, 1)
        self._lines: OrderedDict[int, None] = OrderedDict()

    def has(self, line: int) -> bool:
        """Whether the line is there; it is afterwards."""
        if line in self._lines:
            self._lines.move_to_end(line)
            return True
        self._lines[line] = None
        if len(self._lines) > self._room:
            self._lines.popitem(last=False)
        return False


def waits(trace: Trace, extents: Extents, flash: FlashTiming) -> Mapping[int, Wait]:
    """Address of a basic block -> what it waits, fetching and reading."""
    code = _Cache((flash.shared_cache or flash.code_cache) // flash.line)
    data = code if flash.shared_cache else _Cache(flash.data_cache // flash.line)
    waited: dict[int, float] = defaultdict(float)
    once: dict[int, float] = defaultdict(float)
    times: dict[int, int] = defaultdict(int)
    fetched: set[int] = set()
    here, last = 0, -1
    for item in trace:
        if item < 0:
            if not data.has(~item // flash.line):
                waited[here] += flash.wait_states
            continue
        for address, end, cycles in extents.get(item, ()):
            here = address
            times[address] += 1
            for line in range(address // flash.line, (end - 1) // flash.line + 1):
                if line != last and not code.has(line):
                    hidden = cycles * flash.line / (end - address)
                    ahead = flash.prefetch and line == last + 1
                    wait = max(flash.wait_states - (hidden if ahead else 0), 0)
                    (waited if line in fetched else once)[address] += wait
                    fetched.add(line)
                last = line
    return {address: Wait(waited[address] / n, once[address]) for address, n in times.items()}


def step_traces(steps: Iterable[tuple[int, Trace]]) -> Mapping[int, Trace]:
    """The pieces of a run, put together by step."""
    found: dict[int, list[int]] = defaultdict(list)
    for step, trace in steps:
        found[step].extend(trace)
    return found

"""Cycles that code waits for a flash with wait states.

The idea: the emulator records pieces of what a step executed and read from flash, in order; they
are played through the board's caches, and what a block waited on average there is what it is
taken to wait each time.  Exact sequences of all blocks would be too long; a piece begins whenever
a block is new to the step, so that none is missing.  RAM never waits here.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from lilliput.devices import FlashTiming

Trace = Sequence[int]
"""Addresses of blocks that ran, and ~address of every line that they read from flash, in order."""
Waits = Mapping[int, float]
Extents = Mapping[int, Sequence[tuple[int, int, float]]]
"""Address of a traced block -> its basic blocks: (address, end, cycles without waiting)."""


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


def waits(trace: Trace, extents: Extents, flash: FlashTiming) -> Waits:
    """Address of a basic block -> cycles that it waits on average, fetching and reading."""
    code = _Cache((flash.shared_cache or flash.code_cache) // flash.line)
    data = code if flash.shared_cache else _Cache(flash.data_cache // flash.line)
    waited: dict[int, float] = defaultdict(float)
    times: dict[int, int] = defaultdict(int)
    here, last = 0, -1
    for item in trace:
        if item < 0:
            if not data.has(~item // flash.line):
                waited[here] += flash.wait_states
            continue
        for address, end, cycles in extents.get(item, ()):
            here = address
            times[address] += 1
            lines = range(address // flash.line, (end - 1) // flash.line + 1)
            for line in lines:
                if line != last and not code.has(line):
                    hidden = cycles * flash.line / (end - address)
                    ahead = flash.prefetch and line == last + 1
                    waited[address] += max(flash.wait_states - (hidden if ahead else 0), 0)
                last = line
    return {address: waited[address] / n for address, n in times.items()}


def step_traces(steps: Iterable[tuple[int, Trace]]) -> Mapping[int, Trace]:
    """The pieces of a run, put together by step."""
    found: dict[int, list[int]] = defaultdict(list)
    for step, trace in steps:
        found[step].extend(trace)
    return found

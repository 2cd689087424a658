"""An arena over time: which buffer lies where, in which steps, and which step decides.

One idea: a step *needs* what is alive in it, less what may lie over one another because a kernel
has no more use for an input row.  No placement can do with less than the largest need, so the
step of the largest need is the one to look at when memory is short.  The lower bound that the
planner has proven is that, or more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from lilliput.plan import arena
from lilliput.plan.lifetimes import leaves, lifetimes, spans
from lilliput.plan.overlap import distances
from lilliput.plan.program import Call, Copy, Entry, Kind, Loop, Program, Pull, Step, Stop
from lilliput.report.summary import Column, Life, Peak, Timeline
from lilliput.report.words import middle

NAME = 40
"""How long the name of a loop's first and last layer may be."""


def timelines(program: Program) -> list[Timeline]:
    """One for each entry and each memory in which it has buffers."""
    return [
        line
        for entry in program.entries
        for memory in program.arenas
        if (line := _timeline(program, entry, memory)) is not None
    ]


def _timeline(program: Program, entry: Entry, memory: str) -> Timeline | None:
    buffers = program.buffers
    blocks = [b for b in lifetimes(entry, buffers) if buffers[b.name].memory == memory]
    kept = [b for b in buffers.values() if b.kind is Kind.STATE and b.memory == memory]
    if not blocks and not kept:
        return None
    far = {**distances(entry, buffers, blocks), **program.near}
    states = max((_end(b.offset, b.nbytes) for b in kept), default=0)
    columns: list[Column] = []
    number = first_step(program, entry)
    times = spans(entry)
    for step, (begin, last) in zip(entry.steps, times, strict=True):
        alive = [
            replace(b, first=max(b.first, begin), last=min(b.last, last))
            for b in blocks
            if b.first <= last and b.last >= begin
        ]
        count = len(leaves(step))
        total = max(
            sum(b.nbytes for b in alive if b.first <= t <= b.last) for t in range(begin, last + 1)
        )
        need = arena.lower_bound(alive, far)
        columns.append(Column(number, count, describe(step), states + total, states + need))
        number += count
    roles = _roles(program, entry)
    end = len(entry.steps)
    lives = [
        Life(b.name, "state", _offset(b.offset), b.nbytes, -1, end)
        for b in sorted(kept, key=lambda b: _offset(b.offset))
    ]
    lives += [
        Life(
            b.name.removeprefix(f"{entry.name}/"),
            roles.get(b.name, "activation"),
            _offset(buffers[b.name].offset),
            b.nbytes,
            _step_at(times, b.first),
            _step_at(times, b.last),
        )
        for b in sorted(blocks, key=lambda b: (b.first, b.last, b.name))
    ]
    peak = max(range(end), key=lambda t: (columns[t].need, columns[t].alive, -t), default=0)
    return Timeline(
        entry.name,
        memory,
        program.arenas[memory],
        max(b.offset + b.nbytes for b in lives),
        states,
        program.bounds[memory][entry.name],
        peak,
        tuple(columns),
        tuple(lives),
    )


def peak(lines: Sequence[Timeline], memory: str) -> Peak:
    """Where `memory` is fullest over all entries."""
    line = fullest(lines, memory)
    if line is None:
        return Peak("", "", 0, (), 0)
    buffers = [b for b in alive(line) if b.role != "state"]
    return Peak(
        line.entry,
        line.columns[line.peak].what,
        line.columns[line.peak].alive - line.states,
        tuple((b.name, b.nbytes) for b in buffers),
        line.lower_bound - line.states,
    )


def fullest(lines: Sequence[Timeline], memory: str) -> Timeline | None:
    """The timeline whose peak decides about `memory`; None where no step of any uses it."""
    mine = (x for x in lines if x.memory == memory and x.columns)
    return max(mine, key=lambda x: x.columns[x.peak].need, default=None)


def alive(line: Timeline) -> list[Life]:
    """What is alive in the step that decides, the largest first."""
    found = (b for b in line.lives if b.first <= line.peak <= b.last)
    return sorted(found, key=lambda b: (-b.nbytes, b.name))


def scratch(lines: Sequence[Timeline], memory: str) -> int:
    """Bytes of scratch in the step that decides about `memory`."""
    line = fullest(lines, memory)
    if line is None:
        return 0
    spans = [(b.offset, b.offset + b.nbytes) for b in alive(line) if b.role == "scratch"]
    covered = end = 0  # what a loop needs for one task after the other lies in the same place
    for low, high in sorted(spans):
        covered += max(high - max(low, end), 0)
        end = max(end, high)
    return covered


def first_step(program: Program, entry: Entry) -> int:
    """The number of the first step of `entry`: steps are counted over all entries."""
    before = program.entries[: program.entries.index(entry)]
    return sum(len(leaves(step)) for e in before for step in e.steps)


def _step_at(times: Sequence[tuple[int, int]], t: int) -> int:
    """The index of the step during which time t is: -1 before the first one."""
    return sum(begin <= t for begin, _ in times) - (0 if times and t > times[-1][1] else 1)


def describe(step: Step) -> str:
    """A step in words: a loop by its first and its last layer, a copy by what it moves."""
    calls = [s for s in leaves(step) if isinstance(s, Call)]
    if isinstance(step, Loop):
        ends = [_short(c) for c in (calls[0], calls[-1])]
        count = f"a loop of {len(calls)} layer{'s' * (len(calls) > 1)}, {step.count} times: "
        return count + " to ".join(dict.fromkeys(ends))
    if calls:
        return calls[0].node.describe()
    if isinstance(step, Pull):
        return f"rows of {step.value.name}"
    if isinstance(step, Stop):
        return f"guard of {step.value.name}"
    return f"copy of {step.source.root}" if isinstance(step, Copy) else type(step).__name__.lower()


def _short(call: Call) -> str:
    """As `Node.describe`, of a name that may join those of many layers."""
    node = call.node
    return f'{node.op.name} "{middle(node.origin or node.output.name, NAME)}"'


def _roles(program: Program, entry: Entry) -> Mapping[str, str]:
    """Buffer -> what it is for; where it is several things, the first of the list below."""
    found: dict[str, str] = {}
    for buffer, role in _said(program, entry):
        found.setdefault(buffer, role)
    return found


def _said(program: Program, entry: Entry) -> Iterator[tuple[str, str]]:
    yield from ((v.buffer, "input") for _, v in entry.placed())
    yield from ((v.buffer, "output") for _, v in entry.outputs)
    steps = [leaf for s in entry.steps for leaf in leaves(s)]
    for step in (s for s in steps if isinstance(s, Call)):  # a pool of rows has scratch, too
        yield from ((v.buffer, "ring") for _, v in step.results() if v.ring is not None)
    for step in steps:
        if isinstance(step, Call):
            if step.scratch:
                yield step.scratch.buffer, "scratch"
        elif isinstance(step, Pull):
            yield step.view.buffer, "input" if step.view.ring is None else "ring"
        elif isinstance(step, Copy) and program.buffers[step.source.buffer].kind is Kind.CONST:
            yield step.target.buffer, "staged"


def _offset(offset: int | None) -> int:
    return 0 if offset is None else offset


def _end(offset: int | None, nbytes: int) -> int:
    return _offset(offset) + nbytes

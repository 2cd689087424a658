"""Whether a program fits its board, and what would help where it does not.

One idea: advice names this model's layers and this board's bytes, or is not given.  Nothing here
tries another plan: what an option would save is said only where it follows from the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from lilliput.errors import DoesNotFit, Problem
from lilliput.report.summary import Life, Memory, Summary, Timeline
from lilliput.report.timeline import peak
from lilliput.report.words import middle

SHOWN = 5
"""How many layers or constants a piece of advice names."""
NAME = 52
"""How long a name in it may be."""


@dataclass(frozen=True)
class Need:
    """A memory of the board: bytes wanted of it, and the bytes that are too many (or 0)."""

    memory: Memory
    used: int
    over: int


@dataclass(frozen=True)
class Advice:
    """A heading, and what there is to say and to do."""

    title: str
    points: tuple[str, ...]


def needs(summary: Summary) -> list[Need]:
    """What is wanted of each memory, as far as it is known."""
    ram, flash = summary.ram_bytes, summary.flash_bytes
    wanted = dict(summary.arenas)
    for constant in summary.constants:
        wanted[constant.memory] = wanted.get(constant.memory, 0) + constant.nbytes
    wanted[summary.ram.name] = ram.activations + ram.states if ram.total is None else ram.total
    wanted[summary.flash.name] = flash.constants if flash.total is None else flash.total
    return [
        Need(m, used, max(0, used - m.size) if m.size is not None else 0)
        for m in summary.board.memories
        for used in (wanted.get(m.name, 0),)
    ]


def overflows(summary: Summary) -> list[Problem]:
    """For each memory that is too small: by how much, where, and what would help."""
    return [_overflow(summary, n) for n in needs(summary) if n.over]


def require_fit(summary: Summary) -> None:
    """Raises DoesNotFit, naming every memory that is too small."""
    problems = overflows(summary)
    if problems:
        raise DoesNotFit(problems)


def _overflow(summary: Summary, need: Need) -> Problem:
    memory = need.memory
    what = f"does not fit into {memory.name} by {need.over:,} bytes"
    expected = f"at most {memory.size:,} bytes"
    if memory.kind == "flash":
        largest = next((c for c in summary.constants if c.memory == memory.name), None)
        named = (
            f"; the largest constant is {largest.name} with {largest.nbytes:,}" if largest else ""
        )
        return Problem(
            what,
            summary.device,
            expected,
            f"{need.used:,} bytes{named}",
            "quantise weights to int8, use fewer channels in the layers with the largest "
            "weights, or take a device with more flash (`lilliput devices`); "
            "`lilliput report MODEL` tells more",
        )
    worst = peak(summary.timelines, memory.name)
    buffers = ", ".join(f"{name} {n:,}" for name, n in worst.buffers[:3])
    mine = memory.name == summary.ram.name
    said = mine and memory.size == summary.allowed
    larger = "allow more RAM" if said else "take a device with more RAM (`lilliput devices`)"
    return Problem(
        what,
        summary.device,
        f"{expected}, as --ram says" if said else expected,
        f"{need.used:,} bytes{' in the smallest plan that was found' if mine else ''}; "
        f"most is needed at {worst.layer}: {buffers}",
        "use a smaller input, fewer channels or a stride in the layers before that one, "
        f"or {larger}; `lilliput report MODEL` tells more",
    )


# Advice -----------------------------------------------------------------------------------


def advice(summary: Summary) -> list[Advice]:
    """What would help, for each memory that is too small; else how much room is left."""
    found = [
        Advice(
            f"{n.memory.name} lacks {n.over:,} B",
            tuple((_flash if n.memory.kind == "flash" else _ram)(summary, n)),
        )
        for n in needs(summary)
        if n.over
    ]
    turned = tuple(_turned(summary))
    more = [Advice("Channels first", turned)] if turned else []
    if found:
        boards = tuple(_boards(summary))
        return [*found, *more, *([Advice("Another board", boards)] if boards else [])]
    return [Advice("Room that is left", tuple(_room(summary))), *more]


def _turned(summary: Summary) -> Iterator[str]:
    """Transposes at the ends: what comes before them is at most a conversion of the input."""
    for layer in dict.fromkeys((*summary.layers[:2], *summary.layers[-1:])):
        if layer.operator == "transpose":
            yield (
                f"Step {layer.step}, {middle(layer.name, NAME)}, turns a map of the file's order "
                f"of axes, for {layer.predicted_cycles:,.0f} predicted cycles: with "
                "`--channels-last` pictures come and go as rows of pixels, without it."
            )


def _front(summary: Summary) -> Iterator[str]:
    """What less RAM would cost."""
    chosen = next((p for p in summary.front if p.chosen), None)
    if chosen is None or summary.front[-1].chosen:
        return
    least = summary.front[-1]
    more = least.predicted_cycles / max(chosen.predicted_cycles, 1.0) - 1
    yield (
        f"An arena of about {least.ram_bytes:,} B would do, for {more:.1%} more predicted cycles: "
        "`--ram SIZE` takes the fastest plan within a size, `--optimize ram` the smallest that is "
        "worth its cycles."
    )


def _ram(summary: Summary, need: Need) -> Iterator[str]:
    lines = [x for x in summary.timelines if x.memory == need.memory.name and x.columns]
    if not lines:
        yield f"States and static data alone need {need.used:,} B."
        return
    line = max(lines, key=lambda x: x.columns[x.peak].need)
    top, size = line.columns[line.peak], need.memory.size or 0
    rest = need.used - line.arena
    gap = line.arena - top.need
    yield (
        f"Step {top.step}, {middle(top.what, NAME)}, decides: it needs {top.need:,} B at once. "
        + (
            "The plan reaches that, so that no other placement would help."
            if gap == 0
            else f"The plan needs {gap:,} B more than that, as every placement does."
            if line.arena == summary.bounds[line.memory]
            else f"The plan needs {gap:,} B more than that."
        )
    )
    beyond = [c for c in line.columns if c.need + rest > size]
    if beyond:
        named = ", ".join(middle(c.what, NAME) for c in beyond[:SHOWN])
        more = f" and {len(beyond) - SHOWN} more" if len(beyond) > SHOWN else ""
        yield f"{len(beyond)} of {len(line.columns)} steps need too much: {named}{more}."
    for life in sorted(alive(line), key=lambda b: -b.nbytes)[:3]:
        yield f"{_who(line, life)}."
    yield from _smaller_input(line, size - rest)
    yield from _elsewhere(summary, line)
    if need.memory.name == summary.ram.name:
        yield from _rows(summary, line)


def alive(line: Timeline) -> list[Life]:
    """What is alive in the step that decides."""
    return [b for b in line.lives if b.first <= line.peak <= b.last]


def _who(line: Timeline, life: Life) -> str:
    """A buffer with who makes it and who reads it last."""
    made = "the caller" if life.first < 0 else middle(line.columns[life.first].what, NAME)
    end = life.last >= len(line.columns)
    read = "the caller" if end else middle(line.columns[life.last].what, NAME)
    text = f"{middle(life.name, NAME)} ({life.role}) is {life.nbytes:,} B"
    if life.role == "state":
        return f"{text} that live from call to call"
    return f"{text}, made by {made}, read last by {read}"


def _smaller_input(line: Timeline, room: int) -> Iterator[str]:
    """Maps shrink with the area of the picture; states and scratch need not."""
    maps = sum(b.nbytes for b in alive(line) if b.role in ("input", "activation", "output"))
    need = line.columns[line.peak].need
    fixed = max(0, need - maps)
    if not 0 < room - fixed < need - fixed:
        return
    side = math.isqrt((room - fixed) * 10_000 // (need - fixed))
    yield (
        f"If these are maps of a picture, one of about {side} % of the width and height would do, "
        "or fewer channels in the same proportion to the area."
    )


def _rows(summary: Summary, line: Timeline) -> Iterator[str]:
    """What running row by row does, and could do: the planner has tried layers, not inputs."""
    streamed = sum(x.times > 1 for x in summary.layers if x.entry == line.entry)
    yield (
        "Where RAM is short the planner lets layers run row by row, each keeping a few rows only: "
        + (
            f"{streamed} of them do, which is in these numbers."
            if streamed
            else "none gains by it."
        )
    )
    for life in alive(line):
        if life.role == "input":
            yield (
                f"The input {middle(life.name, NAME)} need not be in memory as a whole: with "
                "`--input callback` or `push` its rows are taken one by one, where layers can."
            )


def _elsewhere(summary: Summary, line: Timeline) -> Iterator[str]:
    for n in needs(summary):
        memory = n.memory
        if memory.kind != "ram" or memory.name == line.memory or memory.size is None:
            continue
        free = memory.size - n.used
        movable = [b for b in alive(line) if 0 < b.nbytes <= free and b.role == "activation"]
        if movable:
            best = max(movable, key=lambda b: b.nbytes)
            yield (
                f"{memory.name} has {free:,} B free, enough for {middle(best.name, NAME)} "
                f"({best.nbytes:,} B): `PlanOptions(homes={{...}})` in Python puts it there."
            )


def _flash(summary: Summary, need: Need) -> Iterator[str]:
    mine = [c for c in summary.constants if c.memory == need.memory.name]
    total = sum(c.nbytes for c in mine)
    code = summary.flash_bytes.code
    yield f"Constants are {total:,} B" + ("." if code is None else f", code {code:,} B.")
    for c in mine[:SHOWN]:
        where = f", read by {middle(c.layer, NAME)}" if c.layer else ""
        yield f"{middle(c.name, NAME)} is {c.nbytes:,} B of {c.dtype}{where}."
    floats = sum(c.nbytes for c in mine if c.dtype == "float32")
    if floats:
        yield f"{floats:,} B are float32: as int8 they would be about {floats // 4:,} B."
    if summary.optimize == "speed" and code is not None:
        yield (
            "`--optimize size` takes kernels with little code and weights that are not widened; "
            f"it can save a part of the {code:,} B of code, and of the constants."
        )


def _boards(summary: Summary) -> Iterator[str]:
    if not summary.alternatives and summary.flash.size is not None:
        yield "No board of `lilliput devices` holds it in its default memories."
    for b in summary.alternatives:
        yield (
            f"{b.name} ({b.core}, {b.ram // 1024:,} kB RAM, {b.flash // 1024:,} kB flash) "
            f"would hold it{_as_here(summary, b.core)}."
        )


def _as_here(summary: Summary, core: str) -> str:
    if summary.flash_bytes.code is None:
        return ", if code and stack do not fill the rest"
    return "" if core == summary.board.core else ", if code and stack are about as large there"


def _room(summary: Summary) -> Iterator[str]:
    known = summary.fits is not None
    for n in needs(summary):
        if n.memory.size is not None and n.used:
            part = n.used / n.memory.size
            yield (
                f"{n.memory.name}: {n.memory.size - n.used:,} of {n.memory.size:,} B are left "
                f"({part:.1%} used{'' if known else ', without what only linking tells'})."
            )
    if all(n.memory.size is None for n in needs(summary)):
        yield "This is a core and not a board: there is no limit to hold the numbers against."
    for line in summary.timelines:
        if line.columns and line.memory == summary.ram.name:
            top = line.columns[line.peak]
            what, gap = middle(top.what, NAME), line.used - top.need
            every = ", as every placement is" if line.used == line.lower_bound else ""
            yield (
                f"{line.entry}: {what} needs most, {top.need:,} B at once."
                + (f" The plan is {gap:,} B above that{every}." if gap else "")
            )
    yield from _front(summary)
    smaller = [b for b in summary.alternatives if summary.ram.size and b.ram < summary.ram.size]
    if smaller:
        names = ", ".join(f"{b.name} ({b.ram // 1024:,} kB RAM)" for b in smaller)
        yield f"Boards with less RAM that would hold it, too: {names}."

"""`docs/benchmarks.md` and its picture, from the stored results and nothing else.

One idea: no figure is typed, so the page cannot say anything that `results.json` does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks import ram
from benchmarks.marked import filled
from benchmarks.networks import DEVICE, FIRST, TOOLCHAINS, Way
from benchmarks.results import read
from lilliput.bench import (
    Figures,
    Grid,
    Measurement,
    chart,
    chart_rows,
    conditions,
    goal_of,
    peers_of,
    tables,
)
from lilliput.bench.chart import millions

DOCS = Path(__file__).parent.parent / "docs"
PAGE, PICTURE = DOCS / "benchmarks.md", DOCS / "benchmarks.svg"
README = DOCS.parent / "README.md"
TITLE = "Instructions for each multiply-accumulate, Cortex-M4"
ENGINES = ("TFLM reference", "TFLM + CMSIS-NN", "TinyEngine")

PAGE_TEXT = """\
<!-- Written by `python -m benchmarks`; do not edit. -->

# Benchmarks

What one inference takes, beside other engines on the same files. Instructions are counted on an
emulated Cortex-M4 and are the same on every machine; cycles are an estimate
([cycles.md](cycles.md)). What the columns mean, and which figures of other engines are shown, is in
[comparing.md](comparing.md). No figure on this page is typed: `make bench` measures everything,
and writes it and `benchmarks/results.json`, where there is more.

## Instructions, and the goals

![Instructions for each multiply-accumulate, of Lilliput and of other engines](benchmarks.svg)

{goals}

Lilliput for speed, compiled by {gcc} and by {zig}. The others' instructions were counted in the
same way ({emulated}); in brackets, how many times Lilliput's with GCC they are. The goals are for
GCC. {met}

## RAM, and the goals

{ram}

RAM in bytes; that of others is the least that the engine takes in any of its ways, its runtime
included, or what was published for a Cortex-M7 (kB of 1,024 B, rounded). Ours holds the proven
bound of the stack. Goals are for the arena, where kernels' scratch and the input lie. `goal` is the
fastest plan within it with the input in memory, `ram` the smallest; `callback` asks for the input
row by row; `twice` does so, too, and may compute up to a fifth of the multiply-accumulates again.
{ram_met} How far it is from
the least: [memory.md](memory.md#how-far-it-is-from-the-least).

## Every mode

{costs}

{costs_note}

{beyond}

## By kind of layer

{kinds}

{kinds_note}

## Where the bytes are

RAM is the arena, states, static data and the proven bound of the stack; flash is constants and
code. There is no runtime beside them. {code}

{memory}

## Beside other engines

{peers}

{conditions}
"""


def write() -> None:
    """Writes page, picture and the README's figures from the stored results."""
    found = read()
    README.write_text(readme(found), encoding="utf-8", newline="\n")
    PAGE.write_text(page(found), encoding="utf-8", newline="\n")
    PICTURE.write_text(picture(found), encoding="utf-8", newline="\n")


def readme(found: Sequence[Measurement]) -> str:
    """The README with the figures of `found`."""
    parts = {"figures": lambda: ram.beside(found).markdown()}
    return filled(README.read_text(encoding="utf-8"), parts)


def picture(found: Sequence[Measurement]) -> str:
    return chart(chart_rows(_first(found), DEVICE), TITLE) + "\n"


def page(found: Sequence[Measurement]) -> str:
    versions = {m.toolchain: m.compiler for m in found}
    peers = tables.peers([m for m in found if m.toolchain == TOOLCHAINS[0]], DEVICE)
    used, emulated = tables.used_conditions(found, DEVICE), conditions()["emulated"]
    told = [f"- *{c.name}*: {tables.conditions_text(c)}" for c in used]
    return PAGE_TEXT.format(
        goals=_goals(found).markdown(),
        gcc=versions.get("gcc", "-"),
        zig=versions.get("zig", "-"),
        emulated=f"{emulated.compiler}, {emulated.when}",
        met=_met(found),
        ram=ram.table(found).markdown(),
        ram_met=ram.met(found),
        costs=tables.costs(found, DEVICE).markdown(),
        costs_note=tables.COSTS_NOTE,
        beyond=tables.beyond_gcc(found),
        kinds=tables.by_kind(found).markdown(),
        kinds_note=tables.KINDS_NOTE,
        code=_code(found),
        memory=tables.memory(found).markdown(),
        peers=peers.markdown() if peers else "",
        conditions="\n".join([f"- *this run*: {tables.how_estimated(DEVICE)}", *told]),
    )


def _first(found: Sequence[Measurement]) -> list[Measurement]:
    """Those that the goals are for."""
    return [m for m in found if Way(m.toolchain, m.optimize) in FIRST]


def _goals(found: Sequence[Measurement]) -> Grid:
    """The networks with a goal: others, the goal, and where we are."""
    head = ("network (MACs)", *ENGINES, "goal", "Lilliput, GCC", "of the goal", "Lilliput, Zig")
    rows = [_goal_row(m, found) for m in _first(found) if goal_of(m.sha256, DEVICE) is not None]
    return Grid(head, tuple(rows))


def _goal_row(m: Measurement, found: Sequence[Measurement]) -> tuple[str, ...]:
    counted = {f.engine: f for f in peers_of(m.sha256, DEVICE) if f.conditions == "emulated"}
    goal = tables.goal(m, DEVICE)
    zig = [
        o for o in found if (o.name, o.optimize) == (m.name, m.optimize) and o.toolchain == "zig"
    ]
    left = "" if m.macs == m.macs_left else f", {millions(m.macs_left)} after shrinking"
    return (
        f"{m.name} ({millions(m.macs)}{left})",
        *(_theirs(counted.get(engine), m) for engine in ENGINES),
        millions(goal) if goal else "-",
        _ours(m),
        tables.share(m.instructions, goal),
        _ours(zig[0]) if zig else "-",
    )


def _ours(m: Measurement) -> str:
    """Instructions, and a warning where they are those of a wrong result."""
    told = millions(m.instructions)
    return told if m.exact else f"{told}, {tables.EXACT[False]}"


def _theirs(f: Figures | None, m: Measurement) -> str:
    """Their instructions, how many times ours, and what is to be said of them."""
    if f is None or f.instructions is None:
        return f.note if f else "-"
    told = f"{millions(f.instructions)} ({f.instructions / m.instructions:.1f})"
    return f"{told}, {f.note}" if f.note else told


def _met(found: Sequence[Measurement]) -> str:
    """Which goals are met, which are not; a wrong result meets none."""
    goals = [(m, goal) for m in _first(found) if (goal := tables.goal(m, DEVICE))]
    missed = [
        f"{m.name} ({m.instructions / goal:.2f} times{'' if m.exact else ', not exact'})"
        for m, goal in goals
        if m.instructions > goal or not m.exact
    ]
    return ram.verdict(len(goals), missed)


def _code(found: Sequence[Measurement]) -> str:
    """How much code a network has where little flash is wanted."""
    sizes = {
        m.name: m.flash_bytes.code or 0
        for m in found
        if Way(m.toolchain, m.optimize) == Way("gcc", "size")
    }
    if not sizes:
        return ""
    largest = max(sizes, key=lambda name: sizes[name])
    least, most = min(sizes.values()), sizes[largest]
    return f"With GCC for size, the code of a network is {least:,} to {most:,} B ({largest})."

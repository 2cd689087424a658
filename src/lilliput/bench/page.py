"""Measurements as one page: tables, a chart, and beside every figure of ours those of others.

Self-contained like the report, and made of the same parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lilliput.bench.chart import chart, rows
from lilliput.bench.grid import Grid
from lilliput.bench.measure import Measurement
from lilliput.bench.peers import Figures, peers_of
from lilliput.bench.tables import (
    COSTS_NOTE,
    KINDS_NOTE,
    beyond_gcc,
    by_kind,
    conditions_text,
    costs,
    how_estimated,
    memory,
    number,
    used_conditions,
)
from lilliput.report.markup import Markup, document, join, tag

_GRID = "display: grid; grid-template-columns: minmax(6rem, 15rem) 1fr; gap: 0.25rem 0.6rem"
_NAME = "text-align: right"
_BAR = "display: inline-block; height: 0.8em; border-radius: 2px; background: var(--own);"

QUANTITIES: tuple[
    tuple[str, Callable[[Measurement], float | None], Callable[[Figures], int | None]], ...
] = (
    ("instructions", lambda m: m.instructions, lambda f: f.instructions),
    ("cycles", lambda m: m.estimated_cycles, lambda f: f.cycles),
    ("RAM, bytes", lambda m: m.ram_bytes.total, lambda f: f.ram_bytes),
    ("flash, bytes", lambda m: m.flash_bytes.total, lambda f: f.flash_bytes),
)
CHART = "Instructions of one inference"


def page(found: Sequence[Measurement], device: str, core: str) -> str:
    """The HTML document; the same measurements give the same bytes."""
    compilers = ", ".join(dict.fromkeys(m.compiler for m in found))
    compared = rows(found, core)
    main = tag(
        "main",
        tag("header", tag("h1", "Benchmarks"), tag("p", f"{device}, {compilers}")),
        _section(CHART, tag("figure", chart(compared, CHART))) if compared else None,
        _table("Networks", costs(found, core), COSTS_NOTE, beyond_gcc(found)),
        _table("By kind of layer", by_kind(found), KINDS_NOTE),
        _table("Where the bytes are", memory(found)),
        *(_network(found, sha, core) for sha in dict.fromkeys(m.sha256 for m in found)),
        _conditions(found, core),
    )
    return document(f"Benchmarks on {device}", main)


def _section(title: str, *parts: Markup) -> Markup:
    return tag("section", tag("h2", title), *parts)


def _table(title: str, grid: Grid, *notes: str) -> Markup:
    lines = [line for note in notes for line in note.splitlines()]
    return _section(title, grid.html(), *(tag("p", line, class_="quiet") for line in lines))


def _network(found: Sequence[Measurement], sha256: str, core: str) -> Markup | None:
    """Every quantity that others state of a network as bars; None where nobody does."""
    mine = [m for m in found if m.sha256 == sha256]
    others = peers_of(sha256, core)
    charts = [
        _bars(
            title,
            [(_own(m), ours(m), True) for m in mine]
            + [(_engine(f), theirs(f), False) for f in others],
        )
        for title, ours, theirs in QUANTITIES
        if any(theirs(f) is not None for f in others)
    ]
    return _section(mine[0].name, *charts) if charts else None


def _own(m: Measurement) -> str:
    return f"Lilliput, {m.toolchain}, {m.optimize}"


def _engine(f: Figures) -> str:
    return f.engine if f.conditions == "emulated" else f"{f.engine}, {f.conditions}"


def _bars(title: str, bars: Sequence[tuple[str, float | None, bool]]) -> Markup:
    """Bars on one scale; rows without a figure are left out."""
    known = [(label, value, own) for label, value, own in bars if value is not None]
    most = max(value for _, value, _ in known)
    cells: list[Markup] = []
    for label, value, own in known:
        share = f"{value / most:.4f}"
        kind = "activation" if own else "runtime"
        bar = tag("span", class_=kind, style=f"{_BAR} width: calc((100% - 7rem) * {share})")
        cells += [tag("span", label, style=_NAME), tag("span", bar, " ", number(value))]
    return join(tag("h3", title), tag("div", *cells, style=_GRID))


def _conditions(found: Sequence[Measurement], core: str) -> Markup:
    items = [
        tag("li", tag("strong", c.name), f": {conditions_text(c)}")
        for c in used_conditions(found, core)
    ]
    ours = tag("li", tag("strong", "Lilliput"), f": {how_estimated(core)}.")
    return _section("How the figures were taken", tag("ul", ours, *items))

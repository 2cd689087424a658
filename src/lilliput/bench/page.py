"""Measurements as one page: a table, and beside every figure of ours those of other engines.

Self-contained like the report, and made of the same parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lilliput.bench.measure import Measurement
from lilliput.bench.peers import Figures, conditions, peers_of
from lilliput.bench.tables import EXACT, how_estimated, number, percent
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


def page(found: Sequence[Measurement], device: str, core: str) -> str:
    """The HTML document; the same measurements give the same bytes."""
    compilers = ", ".join(dict.fromkeys(m.compiler for m in found))
    main = tag(
        "main",
        tag("header", tag("h1", "Benchmarks"), tag("p", f"{device}, {compilers}")),
        _table(found),
        *(_network(m, core) for m in found if peers_of(m.sha256, core)),
        _conditions(found, core),
    )
    return document(f"Benchmarks on {device}", main)


def _table(found: Sequence[Measurement]) -> Markup:
    head = ("network", "MACs", "RAM", "flash", "instructions", "per MAC", "est. cycles")
    head += ("pred. error", "check")
    rows = [
        (
            m.name,
            *map(number, (m.macs, m.ram_bytes.total, m.flash_bytes.total, m.instructions)),
            "-" if m.instructions_per_mac is None else f"{m.instructions_per_mac:.2f}",
            number(m.estimated_cycles),
            percent(m.prediction_error),
            EXACT[m.exact],
        )
        for m in found
    ]
    body = [
        tag("tr", *(tag("td", c, class_="number" if k else None) for k, c in enumerate(r)))
        for r in rows
    ]
    table = tag(
        "table",
        tag(
            "thead",
            tag("tr", *(tag("th", h, class_="number" if k else None) for k, h in enumerate(head))),
        ),
        tag("tbody", *body),
    )
    return tag("section", tag("h2", "Networks"), tag("div", table, class_="scroll"))


def _network(m: Measurement, core: str) -> Markup:
    others = peers_of(m.sha256, core)
    charts = [
        _chart(
            title, [("Lilliput", ours(m), True)] + [(_engine(f), theirs(f), False) for f in others]
        )
        for title, ours, theirs in QUANTITIES
        if ours(m) is not None and any(theirs(f) is not None for f in others)
    ]
    return tag("section", tag("h2", m.name), *charts)


def _engine(f: Figures) -> str:
    return f.engine if f.conditions == "emulated" else f"{f.engine}, {f.conditions}"


def _chart(title: str, bars: Sequence[tuple[str, float | None, bool]]) -> Markup:
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
    used = dict.fromkeys(f.conditions for m in found for f in peers_of(m.sha256, core))
    items = [
        tag(
            "li",
            tag("strong", c.name),
            f": {c.title}; {c.compiler}; {c.when}. Instructions: {c.instructions}. "
            f"Cycles: {c.cycles}. {c.note}",
        )
        for c in (conditions()[name] for name in used)
    ]
    ours = tag(
        "li",
        tag("strong", "Lilliput"),
        f": {how_estimated(core)}.",
    )
    return tag("section", tag("h2", "How the figures were taken"), tag("ul", ours, *items))

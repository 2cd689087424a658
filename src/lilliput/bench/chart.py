"""Instructions for each multiply-accumulate as SVG: a row a network, a dot an engine, a tick the
goal, on one logarithmic axis.

One idea: per multiply-accumulate, small and large networks stand on one axis, and equal distances
are equal factors.  The picture brings its own colours, for light and dark, so that it can stand in
a page of Markdown as well as in ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log

from lilliput.bench.measure import Measurement
from lilliput.bench.peers import goal_of, peers_of
from lilliput.report.markup import Markup, tag

WIDTH, ROW, TOP, BOTTOM = 960, 66, 64, 44
LEFT, RIGHT = 172, 40
LABEL = 50
"""Two labels nearer than this would touch."""
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

ENGINES = {
    "Lilliput": "own",
    "TinyEngine": "tiny",
    "TFLM + CMSIS-NN": "cmsis",
    "TFLM reference": "tflm",
}
"""Engine -> its class.  Others are in the tables only."""

STYLE = """
.dots { --paper: #ffffff; --ink: #1d2430; --quiet: #5d6675; --rule: #e2e0da; --own: #1d7f4f;
  --tiny: #8a4fc7; --cmsis: #2f6fd0; --tflm: #b5562b; }
@media (prefers-color-scheme: dark) {
  .dots { --paper: #1b1f26; --ink: #e6e8ec; --quiet: #98a1b0; --rule: #343b46; --own: #3cc98a;
    --tiny: #b583ee; --cmsis: #6fa5f7; --tflm: #e59a6c; }
}
.dots .paper { fill: var(--paper); }
.dots text { font: 12px system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif;
  fill: var(--ink); text-anchor: middle; }
.dots text.name { font-weight: 600; font-size: 13px; text-anchor: end; }
.dots text.macs { fill: var(--quiet); font-size: 11px; text-anchor: end; }
.dots text.tick, .dots text.aim { fill: var(--quiet); font-size: 11px; }
.dots text.key { text-anchor: start; }
.dots text.own { font-weight: 600; }
.dots .grid { stroke: var(--rule); }
.dots .span { stroke: var(--quiet); stroke-opacity: 0.45; stroke-width: 2; }
.dots .goal { stroke: var(--ink); stroke-width: 2.5; }
.dots circle { stroke: var(--paper); stroke-width: 1.5; }
.dots circle.own { fill: var(--own); } .dots circle.tiny { fill: var(--tiny); }
.dots circle.cmsis { fill: var(--cmsis); } .dots circle.tflm { fill: var(--tflm); }
"""


@dataclass(frozen=True)
class Mark:
    """One engine's instructions on one network."""

    engine: str
    instructions: int


@dataclass(frozen=True)
class Row:
    """A network with the marks of `ENGINES`, the fewest instructions first."""

    name: str
    macs: int
    marks: tuple[Mark, ...]
    goal: int | None

    def per_mac(self) -> list[float]:
        counts = [m.instructions for m in self.marks] + ([self.goal] if self.goal else [])
        return [n / self.macs for n in counts]


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float

    def x(self, value: float) -> float:
        part = log(value / self.low) / log(self.high / self.low)
        return LEFT + (WIDTH - LEFT - RIGHT) * part


def rows(found: Sequence[Measurement], core: str) -> list[Row]:
    """The networks that others were counted on, each once: by its first measurement."""
    first = {m.sha256: m for m in reversed(found)}
    return [
        row
        for m in found
        if first[m.sha256] is m and m.macs and len((row := _row(m, core)).marks) > 1
    ]


def _row(m: Measurement, core: str) -> Row:
    theirs = [
        Mark(f.engine, f.instructions)
        for f in peers_of(m.sha256, core)
        if f.engine in ENGINES and f.instructions
    ]
    marks = sorted([Mark("Lilliput", m.instructions), *theirs], key=lambda k: k.instructions)
    goal = goal_of(m.sha256, core)
    return Row(m.name, m.macs, tuple(marks), goal.instructions if goal else None)


def chart(shown: Sequence[Row], title: str) -> Markup:
    """The SVG of `rows`, complete by itself."""
    values = [v for row in shown for v in row.per_mac()]
    low = max((t for t in TICKS if t <= min(values, default=1)), default=TICKS[0])
    high = min((t for t in TICKS if t >= max(values, default=10)), default=TICKS[-1])
    axis, height = _Axis(low, high), TOP + ROW * len(shown) + BOTTOM
    return tag(
        "svg",
        tag("title", title),
        tag("style", Markup(STYLE)),
        tag("rect", width=WIDTH, height=height, rx=8, class_="paper"),
        *_legend(shown),
        *_grid(axis, height - BOTTOM),
        *(mark for k, row in enumerate(shown) for mark in _network(axis, row, TOP + ROW * k)),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        class_="dots",
    )


def _legend(shown: Sequence[Row]) -> Iterator[Markup]:
    used = {m.engine for row in shown for m in row.marks}
    x = float(LEFT)
    for engine, kind in ENGINES.items():
        if engine in used:
            yield tag("circle", cx=x + 6, cy=26, r=6, class_=kind)
            yield _text(engine, x + 18, 30, "key")
            x += 42 + 7.2 * len(engine)
    if any(row.goal for row in shown):
        yield tag("line", x1=x + 6, x2=x + 6, y1=18, y2=34, class_="goal")
        yield _text("goal", x + 14, 30, "key")


def _grid(axis: _Axis, bottom: int) -> Iterator[Markup]:
    for tick in (t for t in TICKS if axis.low <= t <= axis.high):
        x = axis.x(tick)
        yield tag("line", x1=x, x2=x, y1=TOP - 16, y2=bottom, class_="grid")
        yield _text(f"{tick:g}", x, bottom + 16, "tick")
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield _text(
        "instructions for each multiply-accumulate of the file", middle, bottom + 34, "tick"
    )


def _network(axis: _Axis, row: Row, top: int) -> Iterator[Markup]:
    """Names at the left; counts above their dots, below where two would touch."""
    y = top + ROW / 2
    yield _text(row.name, LEFT - 16, y, "name")
    yield _text(f"{millions(row.macs)} MACs", LEFT - 16, y + 15, "macs")
    places = [axis.x(m.instructions / row.macs) for m in row.marks]
    yield tag("line", x1=places[0], x2=places[-1], y1=y, y2=y, class_="span")
    if row.goal:
        x = axis.x(row.goal / row.macs)
        told = tag("title", f"goal: {row.goal:,} instructions")
        yield tag("line", told, x1=x, x2=x, y1=y - 11, y2=y + 11, class_="goal")
        yield _text(millions(row.goal), x, y + 25, "aim")
    above = -LABEL
    for mark, x in zip(row.marks, places, strict=True):
        kind = ENGINES[mark.engine]
        told = tag("title", f"{mark.engine}: {mark.instructions:,} instructions")
        yield tag("circle", told, cx=x, cy=y, r=7, class_=kind)
        free = x - above >= LABEL
        above = x if free else above
        yield _text(millions(mark.instructions), x, y - 13 if free else y + 25, kind)


def _text(text: str, x: float, y: float, kind: str) -> Markup:
    return tag("text", text, x=x, y=y, class_=kind)


def millions(count: int) -> str:
    """Three digits, or all before the point where there are more."""
    value = count / 1e6
    digits = 3 if value < 0.995 else 2 if value < 9.95 else 1 if value < 99.5 else 0
    return f"{value:,.{digits}f} M"

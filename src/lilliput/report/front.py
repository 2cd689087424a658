"""RAM against predicted cycles: what the first entry could be with more or less RAM.

One idea: the fastest plan within so many bytes is the point at or left of them, so the picture is
a staircase.  Bytes go to the right, and up goes what a call takes longer than the fastest one, so
that both axes begin at nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

from lilliput.plan.front import Point, thin
from lilliput.report.markup import Markup, tag
from lilliput.report.picture import ticks
from lilliput.report.summary import Summary
from lilliput.report.words import columns

WIDTH, HEIGHT = 720, 240
LEFT, RIGHT, TOP, BOTTOM = 74, 24, 30, 42
SHOWN = 6
"""Points in text."""


def front_text(summary: Summary) -> Iterator[str]:
    """A row a point, the plan marked; nothing where there is no choice."""
    if len(summary.front) < 2:
        return
    rows = [
        (
            f"{p.ram_bytes:,} B{', this plan' if p.chosen else ''}",
            f"{p.predicted_cycles:,.0f}",
            f"+{_more(summary.front, p):.1f} %",
        )
        for p in thin(summary.front, SHOWN)
    ]
    yield columns((f"arena of {_entry(summary)}", "predicted cycles", "slower"), rows)


def front_page(summary: Summary) -> Iterator[Markup]:
    """The children of the section."""
    yield tag(
        "p",
        f"What {_entry(summary)} could be with more or less RAM, predicted for "
        f"{summary.board.core}: nothing that the planner found is better in both. The plan of this "
        "page is marked; the others are estimates before placement. ",
        tag("code", "--ram SIZE"),
        " takes the fastest plan within a size.",
        class_="quiet",
    )
    yield tag("figure", tag("div", staircase(summary.front), class_="scroll", tabindex=0))


def _entry(summary: Summary) -> str:
    return summary.api.entries[0].name


def _more(points: Sequence[Point], point: Point) -> float:
    """Percent of predicted cycles beyond the fastest of them."""
    return 100 * (point.predicted_cycles / max(points[0].predicted_cycles, 1.0) - 1)


@dataclass(frozen=True)
class _Scale:
    """Bytes and percents to places in the picture."""

    bytes: int
    percent: int

    def x(self, nbytes: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * nbytes / self.bytes

    def y(self, percent: float) -> float:
        return TOP + HEIGHT * (1 - percent / self.percent)


def staircase(points: Sequence[Point]) -> Markup:
    """The SVG of a front of one point or more, from the fastest to the smallest."""
    scale = _Scale(max(points[0].ram_bytes, 1), max(ceil(_more(points, points[-1])), 1))
    return tag(
        "svg",
        tag("title", "RAM against predicted cycles"),
        *_axes(scale),
        tag("path", d=_steps(scale, points), class_="stairs"),
        *(_mark(scale, points, p) for p in points if not p.chosen),
        *(_mark(scale, points, p) for p in points if p.chosen),
        viewBox=f"0 0 {WIDTH} {TOP + HEIGHT + BOTTOM}",
        role="img",
        class_="timeline front",
    )


def _axes(scale: _Scale) -> Iterator[Markup]:
    for percent in ticks(scale.percent):
        y = scale.y(percent)
        yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid")
        yield _text(f"+{percent} %", LEFT - 8, y + 4, "tick right")
    bottom = float(TOP + HEIGHT)
    for nbytes in ticks(scale.bytes):
        x = scale.x(nbytes)
        yield tag("line", x1=x, x2=x, y1=bottom, y2=bottom + 4, class_="axis")
        label = f"{nbytes / 1024:g} kB" if scale.bytes >= 4096 else f"{nbytes:,} B"
        yield _text(label, x, bottom + 16, "tick")
    yield _text("arena, bytes of RAM", (LEFT + WIDTH - RIGHT) / 2, bottom + 34, "tick")
    yield _text("predicted cycles more than the fastest", LEFT, TOP - 14, "tick left")


def _steps(scale: _Scale, points: Sequence[Point]) -> str:
    """From the fastest on: as far left as it goes, then up to the next one."""
    x, y = scale.x(points[0].ram_bytes), scale.y(0)
    path = f"M{x:.1f} {y:.1f}"
    for before, p in pairwise(points):
        path += f"H{scale.x(before.ram_bytes):.1f}V{scale.y(_more(points, p)):.1f}"
        path += f"H{scale.x(p.ram_bytes):.1f}"
    return path


def _mark(scale: _Scale, points: Sequence[Point], p: Point) -> Markup:
    more = _more(points, p)
    x, y = scale.x(p.ram_bytes), scale.y(more)
    told = f"{p.ram_bytes:,} B, {p.predicted_cycles:,.0f} cycles predicted, +{more:.1f} %"
    dot = tag("circle", cx=x, cy=y, r=6 if p.chosen else 4)
    if not p.chosen:
        return tag("g", tag("title", told), dot, class_="point")
    side, at = ("right", x - 10) if x > WIDTH / 2 else ("left", x + 10)
    name = _text(f"this plan, {p.ram_bytes:,} B", at, y - 9, f"name {side}")
    return tag("g", tag("title", f"this plan: {told}"), dot, name, class_="point chosen")


def _text(text: str, x: float, y: float, kind: str) -> Markup:
    return tag("text", text, x=x, y=y, class_=kind)

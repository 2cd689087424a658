"""Curves of accuracy as SVG: a panel a task, a line a scheme, named where it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lilliput.report.markup import Markup, tag

PANEL, HEIGHT, TOP, LEFT, RIGHT, BOTTOM = 480, 300, 40, 44, 150, 34
COLUMNS = 2
NEAR = 13
"""Two names nearer than this would touch."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Told apart by colour-blind readers (Okabe and Ito 2008), on light and dark paper."""
STYLE = """
.curves { --paper: #ffffff; --ink: #1d2430; --quiet: #5d6675; --rule: #e2e0da; }
@media (prefers-color-scheme: dark) {
  .curves { --paper: #1b1f26; --ink: #e6e8ec; --quiet: #98a1b0; --rule: #343b46; }
}
.curves .paper { fill: var(--paper); }
.curves text { font: 11px system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif;
  fill: var(--ink); }
.curves text.title { font-weight: 600; font-size: 13px; }
.curves text.tick { fill: var(--quiet); text-anchor: end; }
.curves .grid { stroke: var(--rule); }
.curves polyline { fill: none; stroke-width: 2; }
"""


@dataclass(frozen=True)
class Line:
    """points : (step, accuracy in percent), in order"""

    name: str
    points: Sequence[tuple[int, float]]


def chart(tasks: Mapping[str, Sequence[Line]]) -> Markup:
    """The SVG, complete by itself."""
    deep = -(-len(tasks) // COLUMNS)
    width, height = PANEL * COLUMNS, HEIGHT * deep
    panels = [
        part
        for k, (task, lines) in enumerate(tasks.items())
        for part in _panel(PANEL * (k % COLUMNS), HEIGHT * (k // COLUMNS), task, lines)
    ]
    return tag(
        "svg",
        tag("title", "Accuracy over the steps of training"),
        tag("style", Markup(STYLE)),
        tag("rect", width=width, height=height, rx=8, class_="paper"),
        *panels,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        role="img",
        class_="curves",
    )


def _panel(left: int, top: int, task: str, lines: Sequence[Line]) -> Iterator[Markup]:
    values = [v for line in lines for _, v in line.points]
    last = max(step for line in lines for step, _ in line.points)
    low, high = 5 * int(min(values) // 5), 5 * int(-(-max(values) // 5))
    high = max(high, low + 5)
    wide, tall = PANEL - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    x0, y0 = left + LEFT, top + TOP

    def y(value: float) -> float:
        return y0 + tall * (high - value) / (high - low)

    yield tag("text", f"{task}: accuracy, %", x=x0, y=top + 22, class_="title")
    for value in range(low, high + 1, 5):
        yield tag("line", x1=x0, x2=x0 + wide, y1=y(value), y2=y(value), class_="grid")
        yield tag("text", value, x=x0 - 6, y=y(value) + 4, class_="tick")
    yield tag("text", f"step {last}", x=x0 + wide, y=y0 + tall + 18, class_="tick")
    names = _spread([y(line.points[-1][1]) for line in lines])
    for k, (line, at) in enumerate(zip(lines, names, strict=True)):
        colour = COLOURS[k % len(COLOURS)]
        places = " ".join(f"{x0 + wide * s / last:.1f},{y(v):.1f}" for s, v in line.points)
        dashes = None if k < len(COLOURS) else "5 3"
        yield tag("polyline", points=places, stroke=colour, stroke_dasharray=dashes)
        label = f"{line.name}  {line.points[-1][1]:.1f}"
        yield tag("text", label, x=x0 + wide + 8, y=at + 4, style=f"fill:{colour}")


def _spread(places: Sequence[float]) -> list[float]:
    """Near enough to each place, and `NEAR` apart, in the same order."""
    found = list(places)
    order = sorted(range(len(places)), key=lambda k: places[k])
    for before, k in pairwise(order):
        found[k] = max(found[k], found[before] + NEAR)
    return found

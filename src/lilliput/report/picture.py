"""An arena over time as SVG: steps from left to right, addresses from the bottom up.

One idea: each buffer is one rectangle, from the step that first writes it to the one that last
reads it, at its offset and of its size; what overlaps shows through.  Colours are the page's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lilliput.report.markup import Markup, join, tag
from lilliput.report.summary import Life, Timeline
from lilliput.report.words import middle, short

WIDTH, HEIGHT, STRIP = 1120, 400, 64
LEFT, RIGHT, TOP, GAP, BOTTOM = 74, 12, 22, 26, 22
EDGE = 30
"""Width of what is before the first step and behind the last one, where the caller is."""
CHARACTER = 6.1
"""Width of a character of a label, a little too wide rather than too narrow."""
LOOP = 6
"""A loop is as wide as its steps, but not wider than so many."""


@dataclass(frozen=True)
class _Scale:
    """Columns and bytes to places in the picture."""

    line: Timeline
    top_bytes: int

    def __post_init__(self) -> None:
        assert self.top_bytes > 0

    @property
    def plot_bottom(self) -> float:
        return TOP + HEIGHT

    @property
    def strip_bottom(self) -> float:
        return self.plot_bottom + GAP + STRIP

    def y(self, address: int) -> float:
        return self.plot_bottom - HEIGHT * address / self.top_bytes

    def x(self, column: int) -> float:
        """The left of a column; -1 is the caller before, the number of columns the one behind."""
        if column < 0:
            return LEFT
        weights = [min(c.leaves, LOOP) for c in self.line.columns]
        room = WIDTH - LEFT - RIGHT - 2 * EDGE
        if column > len(weights):
            return WIDTH - RIGHT
        return LEFT + EDGE + (room * sum(weights[:column]) / sum(weights) if weights else 0)


def picture(line: Timeline, limit: int | None) -> Markup:
    """The SVG of one timeline; `limit` is what the memory has for the arena."""
    highest = max(line.arena, line.lower_bound, 1)
    scale = _Scale(line, highest)
    title = (
        f"{line.memory} over the steps of {line.entry}: {line.used:,} B, "
        f"at best {line.lower_bound:,} B"
    )
    return tag(
        "svg",
        tag("title", title),
        *_axes(scale),
        *_peak_band(scale),
        *(
            _buffer(scale, life, name, k)
            for k, (life, name) in enumerate(zip(line.lives, _names(line), strict=True))
        ),
        *_bounds(scale, limit),
        *_strip(scale),
        viewBox=f"0 0 {WIDTH} {scale.strip_bottom + BOTTOM:.0f}",
        role="img",
        class_="timeline",
    )


def _buffer(scale: _Scale, life: Life, name: str, number: int) -> Markup:
    left, right = scale.x(life.first), scale.x(life.last + 1)
    top = scale.y(life.offset + life.nbytes)
    height = scale.y(life.offset) - top
    told = (
        f"{life.name} ({life.role}): {life.nbytes:,} B at offset {life.offset:,}, "
        f"{_steps(scale.line, life)}"
    )
    return tag(
        "g",
        tag("title", told),
        tag("rect", x=left, y=top, width=right - left, height=height),
        *_label(name, life, left, top, right - left, height),
        class_=f"buffer {life.role}{' odd' if number % 2 else ''}",
    )


def _steps(line: Timeline, life: Life) -> str:
    """From when to when, in words."""
    if not line.columns or life.role == "state":
        return "all the time"
    first = "the call" if life.first < 0 else f"step {line.columns[life.first].step}"
    end = life.last >= len(line.columns)
    return f"from {first} to {'the return' if end else f'step {line.columns[life.last].step}'}"


def _label(
    name: str, life: Life, x: float, y: float, width: float, height: float
) -> Iterator[Markup]:
    """As much of name and size as there is room for; upright where that shows more."""
    size = f"{life.nbytes:,} B"
    both = f"{name}  {size}"
    middle_x, middle_y = x + width / 2, y + height / 2
    across, up = int((width - 6) / CHARACTER), int((height - 8) / CHARACTER)
    if len(name) > across and up > across and width >= 13:
        if up >= 4:
            turn = f"rotate(-90 {middle_x:.2f} {middle_y:.2f})"
            told = both if len(both) <= up else middle(name, up)
            yield _text(told, middle_x, middle_y + 4, "name", turn)
    elif across >= 4 and height >= 30 and len(size) <= across:
        yield _text(middle(name, across), middle_x, middle_y - 3, "name")
        yield _text(size, middle_x, middle_y + 11, "size")
    elif across >= 4 and height >= 13:
        told = both if len(both) <= across else middle(name, across)
        yield _text(told, middle_x, middle_y + 4, "name")


def _names(line: Timeline) -> list[str]:
    """Names for labels: without the folders that every name which has folders begins with."""
    firsts = [life.name.split(";")[0] for life in line.lives]
    folders = [name.split("/")[:-1] for name in firsts if "/" in name]
    if not folders:
        return firsts
    shared = ""
    for parts in zip(*folders, strict=False):
        if len(set(parts)) > 1:
            break
        shared += f"{parts[0]}/"
    return [name.removeprefix(shared) for name in firsts]


def _text(text: str, x: float, y: float, kind: str, turn: str | None = None) -> Markup:
    return tag("text", text, x=x, y=y, class_=kind, transform=turn)


def _axes(scale: _Scale) -> Iterator[Markup]:
    for address in ticks(scale.top_bytes):
        y = scale.y(address)
        yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid")
        label = f"{address / 1024:g} kB" if scale.top_bytes >= 4096 else f"{address:,} B"
        yield _text(label, LEFT - 8, y + 4, "tick right")
    line = scale.line
    y = scale.plot_bottom + 15
    yield _text("in", (LEFT + scale.x(0)) / 2, y, "tick")
    count = len(line.columns)
    yield _text("out", (scale.x(count) + WIDTH - RIGHT) / 2, y, "tick")
    every = max(1, -(-count // 40))
    for k in range(0, count, every):
        middle_x = (scale.x(k) + scale.x(k + 1)) / 2
        yield _text(str(line.columns[k].step), middle_x, y, "tick")


def ticks(top: int) -> list[int]:
    """About five round numbers from 0 up to `top`."""
    unit = 1024 if top >= 4096 else 1
    rough, step = top / unit / 5, 1
    while step < rough:
        step = next(step * f for f in (2, 2.5, 5, 10) if step * f >= rough or f == 10)
        step = int(step) if step == int(step) else int(step) + 1
    return list(range(0, top + 1, step * unit))


def _peak_band(scale: _Scale) -> Iterator[Markup]:
    line = scale.line
    if not line.columns:
        return
    left, right = scale.x(line.peak), scale.x(line.peak + 1)
    height = scale.strip_bottom - TOP
    yield tag("rect", x=left, y=TOP, width=right - left, height=height, class_="peak")
    told = f"fullest: step {line.columns[line.peak].step}, {short(line.columns[line.peak].what)}"
    half = len(told) * CHARACTER / 2
    x = min(max((left + right) / 2, LEFT + half), WIDTH - RIGHT - half)
    yield _text(told, x, TOP - 8, "peak-name")


def _bounds(scale: _Scale, limit: int | None) -> Iterator[Markup]:
    line = scale.line
    if limit is not None and 0 <= limit < scale.top_bytes:
        y = scale.y(limit)
        yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="limit")
        yield _text(f"there is room for {limit:,} B", WIDTH - RIGHT - 4, y - 5, "limit right")
    if line.lower_bound < line.used:
        y = scale.y(line.lower_bound)
        yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="bound")
        told = f"lower bound {line.lower_bound:,} B"
        yield _text(told, WIDTH - RIGHT - 4, y + 14, "bound right")


def _strip(scale: _Scale) -> Iterator[Markup]:
    """Below the picture: what each step needs, whatever the placement."""
    line, base = scale.line, scale.strip_bottom
    yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=base, y2=base, class_="axis")
    yield _text("needed", LEFT - 8, base - STRIP / 2 - 2, "tick right")
    yield _text("a step", LEFT - 8, base - STRIP / 2 + 11, "tick right")
    for k, column in enumerate(line.columns):
        left, right = scale.x(k), scale.x(k + 1)
        gap = min(1.5, (right - left) / 6)
        height = STRIP * column.need / scale.top_bytes
        told = f"step {column.step}, {column.what}: {column.need:,} B needed"
        if column.alive != column.need:
            told += f", {column.alive:,} B alive, some of them over one another"
        rect = tag(
            "rect", x=left + gap, y=base - height, width=right - left - 2 * gap, height=height
        )
        kind = "step most" if k == line.peak else "step"
        yield tag("g", tag("title", told), rect, class_=kind)


def legend(line: Timeline) -> Markup:
    """The colours that the picture uses."""
    used = {life.role for life in line.lives}
    return tag(
        "ul",
        *(
            tag("li", tag("span", class_=f"swatch {role}"), meaning)
            for role, meaning in ROLES.items()
            if role in used
        ),
        class_="legend",
    )


ROLES = {
    "input": "input, written by the caller",
    "output": "output, read by the caller",
    "state": "state, kept from call to call",
    "activation": "activation",
    "ring": "ring of a few rows of a streamed layer",
    "staged": "parameters brought in from another memory",
    "scratch": "scratch of one kernel",
}


def figure(line: Timeline, limit: int | None) -> Markup:
    """The picture with its legend, in a box that scrolls where it is narrow."""
    return tag(
        "figure",
        tag("div", picture(line, limit), class_="scroll", tabindex=0),
        tag("figcaption", join(legend(line))),
    )

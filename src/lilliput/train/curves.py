"""Curves of training as a picture: one SVG, which says its numbers as text too.

Two panels over the steps: mean loss, and accuracy where it was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

from lilliput.errors import UsageError
from lilliput.train.simulate import Point

WIDTH, HEIGHT, MARGIN, LINE = 360, 220, 44, 16
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Told apart by colour-blind readers (Okabe and Ito 2008)."""

Reading = Callable[[Point], float]
_PANELS: Sequence[tuple[str, Reading]] = (
    ("loss", lambda p: p.loss),
    ("accuracy, %", lambda p: 100 * p.accuracy),
)


def svg(curves: Mapping[str, Sequence[Point]]) -> str:
    """The picture of curves by name; raises UsageError where there is no point."""
    if not any(curves.values()):
        raise UsageError("curves", expected="at least one point", found="none")
    last = max(p.step for points in curves.values() for p in points)
    height = HEIGHT + LINE * (len(curves) + 1)
    size = f'width="{2 * WIDTH}" height="{height}" viewBox="0 0 {2 * WIDTH} {height}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">']
    parts.append("<style>text{font-size:11px}polyline{fill:none;stroke-width:1.5}</style>")
    for k, (title, reading) in enumerate(_PANELS):
        parts += _panel(k * WIDTH, title, curves, reading, last)
    for k, (name, points) in enumerate(curves.items()):
        y = HEIGHT + LINE * (k + 1)
        parts.append(f'<rect x="{MARGIN}" y="{y - 8}" width="12" height="4" fill="{_colour(k)}"/>')
        end = f": {points[-1]}" if points else ""
        parts.append(f'<text x="{MARGIN + 18}" y="{y}">{escape(name + end)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(
    left: int, title: str, curves: Mapping[str, Sequence[Point]], reading: Reading, last: int
) -> list[str]:
    known = [reading(p) for points in curves.values() for p in points]
    known = [v for v in known if math.isfinite(v)]
    most = max(known, default=1.0) or 1.0
    bottom, wide = HEIGHT - MARGIN, WIDTH - MARGIN - 12
    parts = [
        f'<text x="{left + MARGIN}" y="16">{title}</text>',
        f'<text x="{left + MARGIN - 4}" y="{MARGIN / 2 + 8}" text-anchor="end">{most:.3g}</text>',
        f'<text x="{left + MARGIN - 4}" y="{bottom}" text-anchor="end">0</text>',
        f'<text x="{left + MARGIN + wide}" y="{bottom + 14}" text-anchor="end">step {last}</text>',
        _axes(left + MARGIN, bottom, wide),
    ]
    for k, points in enumerate(curves.values()):
        places = [
            f"{left + MARGIN + wide * p.step / max(last, 1):.1f},"
            f"{bottom - (bottom - MARGIN / 2) * reading(p) / most:.1f}"
            for p in points
            if math.isfinite(reading(p))
        ]
        if places:
            parts.append(f'<polyline stroke="{_colour(k)}" points="{" ".join(places)}"/>')
    return parts


def _axes(x: int, y: int, wide: int) -> str:
    return f'<path d="M{x} {MARGIN / 2}V{y}H{x + wide}" fill="none" stroke="#888"/>'


def _colour(k: int) -> str:
    return COLOURS[k % len(COLOURS)]

"""The front that a plan was chosen from: bytes of RAM against predicted cycles.

One idea: of the cuts of a schedule (`partition`) those that nothing beats in both are what could
have been planned; the plan itself is one point among them, as it was placed.  All others are
estimates before placement.  Not here: the search (`objective`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lilliput.plan.partition import Cut

MOST: Final = 12
"""Points that are shown, at most."""


@dataclass(frozen=True)
class Point:
    """A plan: bytes of the default RAM's arena, and predicted cycles of one call of the entry."""

    ram_bytes: int
    predicted_cycles: float
    chosen: bool = False


def front(cuts: Sequence[Cut], states: int, chosen: Point) -> tuple[Point, ...]:
    """From the fastest to the smallest, `chosen` among them: each has less RAM and more cycles
    than the one before.  Estimates that seem to beat what was placed are left out.

    states : bytes below every cut, for good
    """
    points = [Point(-(-(states + cut.nbytes) // 4) * 4, cut.cycles) for cut in cuts]
    faster = [
        p
        for p in points
        if p.ram_bytes > chosen.ram_bytes and p.predicted_cycles < chosen.predicted_cycles
    ]
    smaller = [
        p
        for p in points
        if p.ram_bytes < chosen.ram_bytes and p.predicted_cycles > chosen.predicted_cycles
    ]
    return thin([*_unbeaten(faster), chosen, *_unbeaten(smaller)], MOST)


def _unbeaten(points: Sequence[Point]) -> list[Point]:
    found: list[Point] = []
    for point in sorted(points, key=lambda p: (p.ram_bytes, p.predicted_cycles)):
        if not found or point.predicted_cycles < found[-1].predicted_cycles:
            found.append(point)
    return found[::-1]


def thin(points: Sequence[Point], most: int) -> tuple[Point, ...]:
    """At most `most` of them (3 or more), both ends and the chosen one included: the others go
    where the two neighbours are nearest to one another in RAM."""
    left = list(points)
    while len(left) > most:
        inner = [i for i in range(1, len(left) - 1) if not left[i].chosen]
        del left[min(inner, key=lambda i: left[i - 1].ram_bytes / left[i + 1].ram_bytes)]
    return tuple(left)

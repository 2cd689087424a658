"""Loops of a row of layers, of which a search keeps what it found out.

One idea: what a loop needs (`closed`) does not depend on where it stands, and a loop is a shorter
one and a part; so all loops of all networks are one tree, of which a network goes along a few
branches, and most of them were there before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from lilliput.plan.closed import Grown, Row, Shape, Work
from lilliput.plan.layers import Layer
from lilliput.plan.under import PARTS


class Found(NamedTuple):
    """A call, or a loop: parts [start, stop), bytes with the leanest kernels, and of the output
    that runs over an input: (input, distance, bytes shared); the largest map made and its bytes;
    whether line buffers lie between output and input."""

    start: int
    stop: int
    least: int
    slide: tuple[int, int, int] | None
    made: tuple[int, int]
    under: bool = False


Fact = tuple[Layer, tuple[tuple[int, int, int, bool, bool], ...]]
"""What a loop depends on of one of its parts, wherever it stands: its kind, and of each map that it
touches its number less that of the first one that it makes, rows, bytes of one, whether it is
planar, and whether nobody reads it later."""


@dataclass(eq=False)
class Tree:
    """What is known of loops; numbers : of facts, equal ones have the same; empty : what all loops
    grow from."""

    numbers: dict[Fact, int] = field(default_factory=dict[Fact, int])
    empty: Grown = field(default_factory=Grown)

    def number(self, fact: Fact) -> int:
        return self.numbers.setdefault(fact, len(self.numbers))


class Numbered(Row, Protocol):
    """A row of layers; `fact` : the number of what loops depend on of a part."""

    def fact(self, i: int) -> int: ...


class Loop:
    """Parts from `start` on as one loop that grows by one part after the other.

    stop : after its last part; known : what is known of it; timetable : the work of finding out
    """

    def __init__(self, net: Numbered, start: int, tree: Tree):
        self.net, self.start, self.stop = net, start, start
        self.known = tree.empty
        self.work: Work | None = None

    def add(self) -> bool:
        """Whether the next part can stream with those before it."""
        number = self.net.fact(self.stop)
        if number not in self.known.further:
            work = self._caught_up()
            self.known.further[number] = work.grown() if work.add() else None
        grown = self.known.further[number]
        if grown is None:
            return False
        self.known = grown
        self.stop += 1
        return True

    def _caught_up(self) -> Work:
        if self.work is None:
            self.work = Work(self.net, self.start)
        while self.work.stop < self.stop:
            self.work.add()
        return self.work

    def found(self, limit: float, lower: float) -> Iterator[Found]:
        """The loop so far with its line buffers apart, and where that needs more than `lower` bytes
        with these under an input; none that need more than `limit` bytes in any case."""
        known, before = self.known, self.net.alive[self.start]
        if before + known.bound > limit:
            return
        if known.plain is None:
            known.plain = self._caught_up().plain()
        plain = known.plain
        yield self._found(plain)
        if before + plain.least <= lower or before + plain.base - plain.lines > limit:
            return
        if known.lower is None:
            shapes = self._caught_up().under(plain)
            known.lower = tuple([x for x in shapes if x.least < plain.least])
        yield from map(self._found, known.lower)

    def by_strips(self, limit: float) -> Iterator[Found]:
        """The loop so far, where its rows are made strip by strip, if that could do within `limit`
        bytes; of a few parts, as with more of them strips leave gaps that nothing here tells."""
        known, before = self.known, self.net.alive[self.start]
        if self.stop - self.start > PARTS:
            return
        if known.plain is None:
            known.plain = self._caught_up().plain()
        plain = known.plain
        if before + plain.base - plain.lines > limit:
            return
        if known.strips is None:
            shapes = self._caught_up().strips(plain)
            known.strips = tuple([x for x in shapes if x.least < plain.least])
        yield from map(self._found, known.strips)

    def _found(self, shape: Shape) -> Found:
        first = self.net.begin[self.start]
        slide, (left, nbytes) = shape.slide, self.known.left
        over = (slide.inp + first, slide.distance, slide.gain) if slide else None
        least = self.net.alive[self.start] + shape.least
        left = left + first if nbytes else -1
        return Found(self.start, self.stop, least, over, (left, nbytes), shape.under)

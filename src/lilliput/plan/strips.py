"""Strips: the rows of an iteration made some pixels at a time, by all layers of a loop in turn.

One idea: while a layer makes a row, the row of its window that nobody reads afterwards dies from
its first pixel on.  Where each layer makes a few pixels and the next one takes them at once, what
is new can follow what dies at a short distance, instead of needing a row of its own:

    row y-1   ................######     read until row y of the next layer is there
    row y+1   ###################        may lie over it, so many pixels ahead

So may a row that is read in the iteration that made it, of which no more than a strip is alive.
Nothing is computed twice: the halo is in the rows that are kept anyway, and each layer is as many
pixels ahead of its reader as that reader's window hangs over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import Final

from lilliput.ir.region import AxisRule, needs
from lilliput.plan.group import Kept

STRIPS: Final = (2, 4, 8)
"""Into how many strips rows are cut, where that is tried."""
TOGETHER: Final = 4
"""Pixels that many kernels make together: strips are whole multiples where they have as many."""
WIDEST: Final = 1 << 16
"""Pixels of a row that a table of columns could not say."""


@dataclass(frozen=True)
class Look:
    """An operand as a flow reads it: the pixels that `rule` says, of a row of `pixels`; `late`:
    at the place where the result is stored."""

    root: str
    rule: AxisRule
    pixels: int
    late: bool


@dataclass(frozen=True)
class Flow:
    """How a part of a loop goes through the pixels of a row that it makes.

    pixels, nbytes : of that row, and bytes of each; looks : what it reads by rows, nothing of
    input that is asked for, whose rows come whole
    """

    makes: str
    pixels: int
    nbytes: int
    looks: tuple[Look, ...]


Columns = tuple[int, ...]
"""Pixels at which each strip begins, and the end of the last."""


@dataclass(frozen=True)
class Chase:
    """A row of `new` may lie `lead` bytes before a row of `old` that dies in the same iteration.

    fresh : of a row of `old` that is made in that iteration, too
    """

    new: str
    old: str
    fresh: bool
    lead: int


@lru_cache(maxsize=4096)
def columns(flows: tuple[Flow, ...], strips: int) -> tuple[Columns, ...] | None:
    """The strips of each part of a loop, none of what is asked for; None where rows are too short.

    What nothing in the loop reads is cut evenly, what is read as far as its readers need it.
    """
    found: list[Columns] = [()] * len(flows)
    for i in reversed(range(len(flows))):
        flow = flows[i]
        if not flow.looks:
            continue
        if not 2 * strips <= flow.pixels < WIDEST:
            return None
        ends = [0] * strips
        for j in range(i + 1, len(flows)):
            for look in (x for x in flows[j].looks if x.root == flow.makes):
                upto = [needs(look.rule, (0, end), look.pixels)[1] for end in found[j][1:]]
                ends = [max(pair) for pair in zip(ends, upto, strict=True)]
        if not any(ends):
            unit = TOGETHER if flow.pixels >= TOGETHER * strips else 1
            even = (flow.pixels * q // strips for q in range(1, strips))
            ends = [*((end + unit // 2) // unit * unit for end in even), flow.pixels]
        found[i] = (0, *ends[:-1], flow.pixels)
    return tuple(found)


def in_strips(flows: tuple[Flow, ...], strips: int) -> bool:
    """Whether a loop can go by strips: what is asked for comes first, and each part makes a value
    of its own."""
    return _orderly(flows) and columns(flows, strips) is not None


def _orderly(flows: Sequence[Flow]) -> bool:
    asked = [not flow.looks for flow in flows]
    own = len({flow.makes for flow in flows}) == len(flows)
    return own and asked == sorted(asked, reverse=True)


@lru_cache(maxsize=4096)
def chases(flows: tuple[Flow, ...], strips: int) -> tuple[Chase, ...]:
    """How near rows may follow one another; of parts that each make a value of their own.

    What is written must not reach what a later strip still reads of the other row, or a later call
    of the same strip, or this one; nor what is later made of it.
    """
    cut = columns(flows, strips)
    if cut is None:
        return ()
    return tuple(
        Chase(flow.makes, old.makes, fresh, lead)
        for i, flow in enumerate(flows)
        for b, old in enumerate(flows)
        for fresh in ((False, True) if cut[b] and b != i else (False,))
        if cut[i] and not any(x.late for x in flow.looks if x.root == old.makes)
        for lead in (_lead(flows, cut, i, b, fresh),)
        if lead < flow.pixels * flow.nbytes
    )


@lru_cache(maxsize=4096)
def follows(flows: tuple[Flow, ...], strips: int) -> Mapping[str, int] | None:
    """Of `chases`: how near rows may follow older ones of the same value; None where the loop
    cannot go by strips."""
    cut = columns(flows, strips) if _orderly(flows) else None
    if cut is None:
        return None
    leads = {x.makes: _own_lead(flows, cut, i) for i, x in enumerate(flows) if cut[i]}
    return {x.makes: leads[x.makes] for x in flows if leads.get(x.makes, inf) < x.pixels * x.nbytes}


def _own_lead(flows: Sequence[Flow], cut: Sequence[Columns], i: int) -> int:
    """As `_lead`, to a row of the same part: a reader needs no pixel before those of its next
    strip that is not empty."""
    makes, own, lead = flows[i].makes, cut[i], 0
    strips = range(len(own) - 1)
    for j in range(i + 1, len(flows)):
        for rule in (x.rule for x in flows[j].looks if x.root == makes):
            top: int | None = None
            for q in reversed(strips):
                if cut[j][q] < cut[j][q + 1]:
                    top = needs(rule, (cut[j][q], cut[j][q + 1]), flows[i].pixels)[0]
                if own[q] < own[q + 1] and top is not None:
                    lead = max(lead, (own[q + 1] - top) * flows[i].nbytes)
    return lead


def drifting(kept: Kept, row: int, lead: int | None) -> int:
    """Bytes of a line buffer in which rows follow older ones, `lead` bytes before them where they
    may: that moves all of them, so that each wants so much room."""
    lead, stay = row if lead is None else lead, kept.most - kept.made
    return min(kept.most * row, stay * (row + lead)) if stay else min(lead, row)


def _lead(flows: Sequence[Flow], cut: Sequence[Columns], i: int, b: int, fresh: bool) -> int:
    """Bytes from a row that part i makes to one that part b has made."""
    new, old = flows[i], flows[b]
    touched = sorted(_touches(flows, cut, b, fresh))
    lead = 0
    for q, (low, high) in enumerate(zip(cut[i], cut[i][1:], strict=False)):
        later = [at for strip, j, made, at in touched if (strip, j, made) >= (q, i, False)]
        if low < high and later:
            lead = max(lead, high * new.nbytes - min(later) * old.nbytes)
    return lead


def _touches(
    flows: Sequence[Flow], cut: Sequence[Columns], b: int, fresh: bool
) -> Iterator[tuple[int, int, bool, int]]:
    """(strip, part, whether it makes it, first pixel) of whatever touches a row that part b has
    made."""
    for j, flow in enumerate(flows):
        rules = [look.rule for look in flow.looks if look.root == flows[b].makes]
        for q, (low, high) in enumerate(zip(cut[j], cut[j][1:], strict=False)):
            if low < high:
                if fresh and j == b:
                    yield q, j, True, low
                for rule in rules:
                    yield q, j, False, needs(rule, (low, high), flows[b].pixels)[0]

"""Line buffers that share their bytes: the rows of a loop in one pool.

One idea: a ring of three rows holds three of them only while its reader works.  Before, the third
one has not been made; afterwards the first one is dead.  As the layers of a loop work one after the
other, what one has just given up is room for what the next one makes.  So each row gets a place of
its own, from when it is made until it has been read for the last time:

    iteration    layer 1 makes row t    layer 2 makes row t-1    layer 3 makes row t-2   ...
    places              t                   that of row t-2 of        that of row t-3 of
                                            layer 1, dead now         layer 2, dead now

Rows that are needed for longer than an iteration are placed first, in the order in which they are
made, each as low as there is room; then those that pass through, on top of them.  Scratch lies
above what is alive while its task works.  Where rows are of one size, nothing does with less than
this takes; where they are not, gaps can be left.  A table says where each row begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lilliput.ir.region import needs
from lilliput.plan.group import Member, Slot

TABLE: int = 1 << 16
"""What a table can say, in units that all places are multiples of."""
ALIGN: int = 8
"""Of scratch, in bytes."""

Line = tuple[int, int]
"""Of a root that is kept in rows: rows, and bytes of one."""


@dataclass(frozen=True)
class Lines:
    """A pool of `nbytes`: where each row of a root begins, and the scratch of each member."""

    nbytes: int
    places: Mapping[str, tuple[int, ...]]
    scratch: tuple[int, ...]


def lines(
    members: Sequence[Member],
    slots: Sequence[Slot],
    roots: Mapping[str, Line],
    scratch: Sequence[int],
) -> Lines | None:
    """The pool of a loop; None where a table could not say where rows are.

    roots : what is made inside and dies inside; scratch : bytes of each member
    """
    rows = [_Rows(members, slots, root, *line) for root, line in roots.items()]
    born = np.concatenate([r.born for r in rows])
    died = np.concatenate([r.died for r in rows])
    sizes = np.concatenate([np.full(len(r.born), r.nbytes) for r in rows])
    grain = np.concatenate([np.full(len(r.born), _grain(r.nbytes)) for r in rows])
    passing = died - born < len(members)
    at = _place(np.lexsort((born, passing)), born, died, sizes, grain)
    tops = _tops(len(members), born, died, at + sizes)
    above = [-(-s // ALIGN) * ALIGN for s in scratch]
    end = max(-(-int(top) // ALIGN) * ALIGN + s for top, s in zip(tops, above, strict=True))
    places: dict[str, tuple[int, ...]] = {}
    first = 0
    for r in rows:
        places[r.root] = tuple(int(x) for x in at[first : first + len(r.born)])
        first += len(r.born)
    unit = min(int(np.gcd.reduce(at[at > 0], initial=0)) or 1, int(grain.min()))
    if int(at.max()) // unit >= TABLE:
        return None
    return Lines(end, places, tuple(end - s for s in above))


class _Rows:
    """When the rows of a root are made, and read for the last time: iteration * members + place in
    the loop's body."""

    def __init__(
        self, members: Sequence[Member], slots: Sequence[Slot], root: str, rows: int, nbytes: int
    ):
        self.root, self.nbytes = root, nbytes
        self.born = np.full(rows, np.iinfo(np.int64).max)
        self.died = np.zeros(rows, np.int64)
        for j, (member, slot) in enumerate(zip(members, slots, strict=True)):
            rules = [read.rule for read in member.reads if read.root == root]
            for k in range(slot.count):
                now = (slot.phase + slot.period * k) * len(members) + j
                piece = k * member.quantum, min((k + 1) * member.quantum, member.rows)
                if member.writes == root:
                    made = slice(*piece)
                    self.born[made] = np.minimum(self.born[made], now)
                    self.died[made] = np.maximum(self.died[made], now)
                for rule in rules:
                    read = slice(*needs(rule, piece, rows))
                    self.died[read] = np.maximum(self.died[read], now)


def _grain(nbytes: int) -> int:
    """What rows of so many bytes are aligned to: as much as they were in a ring, up to a point."""
    return min(nbytes & -nbytes, ALIGN)


Ints = npt.NDArray[np.int64]


def _place(order: Ints, born: Ints, died: Ints, sizes: Ints, grain: Ints) -> Ints:
    """Each row, in `order`, as low as it has room beside those placed before it."""
    at = np.full(len(born), -1)
    for i in order:
        meets = (at >= 0) & (born <= died[i]) & (born[i] <= died)
        low, high = at[meets], at[meets] + sizes[meets]
        found = 0
        for k in np.argsort(low, kind="stable"):
            if low[k] >= found + sizes[i]:
                break
            found = max(found, -(-int(high[k]) // int(grain[i])) * int(grain[i]))
        at[i] = found
    return at


def _tops(count: int, born: Ints, died: Ints, ends: Ints) -> Ints:
    """For each place in the body how high rows are that are alive when it executes."""
    tops = np.zeros(count, np.int64)
    for j, top in _during(count, born, died, ends):
        tops[j] = max(tops[j], top)
    return tops


def _during(count: int, born: Ints, died: Ints, ends: Ints) -> Iterator[tuple[int, int]]:
    long = died - born >= count
    most = int(ends[long].max(initial=0))
    yield from ((j, most) for j in range(count))
    for i in np.flatnonzero(~long):
        yield from ((t % count, int(ends[i])) for t in range(int(born[i]), int(died[i]) + 1))

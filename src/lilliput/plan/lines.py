"""Line buffers that share their bytes: the rows of a loop in one pool.

One idea: a ring of three rows holds three of them only while its reader works.  Before, the third
one has not been made; afterwards the first one is dead.  As the layers of a loop work one after the
other, what one has just given up is room for what the next one makes.  So each row gets a place of
its own, from when it is made until it has been read for the last time:

    iteration    layer 1 makes row t    layer 2 makes row t-1    layer 3 makes row t-2   ...
    places              t                   that of row t-2 of        that of row t-3 of
                                            layer 1, dead now         layer 2, dead now

So has the scratch of each execution.  What is needed for longer than an iteration is placed first,
in the order in which it is made, each as low as there is room; then what passes through, on top of
that; a few other orders are tried, and the best one is improved as `arena` does it, until nothing
lies above what is alive at a time.  Where all are of one size, nothing does with less than that;
where they are not, gaps can be left.  A table says where each row begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from lilliput.ir.region import needs
from lilliput.plan.arena import Block, Problem, align_up, arrange
from lilliput.plan.group import Member, Slot
from lilliput.plan.strips import Chase

TABLE: Final = 1 << 16
"""What a table can say, in units that all places are multiples of."""
ALIGN: Final = 8
"""Of scratch, in bytes."""
EFFORT: Final = 150
"""Moves of the search for a pool: those that reach the bound at all do so after fewer, mostly."""

Ints = npt.NDArray[np.int64]

Line = tuple[str, int, int]
"""A root that is kept in rows: its name, its rows, and the bytes of one."""

Lead = tuple[int, str, int]
"""A member that makes a row while it goes through the pixels of rows of a root, in the pool or of
the map that dies, and how far ahead the row must begin of one of these that dies then: it may lie
over it."""


@dataclass(frozen=True)
class Lines:
    """A pool of `nbytes`: where each row of a root begins, and the scratch of each execution of
    each member.

    beside : bytes that it takes beside the maps that it may lie over
    behind : how far the pool has to start behind the map that the loop makes; None where the two
        may not meet
    ahead : how far the pool has to start before the map that dies in the loop, likewise
    """

    nbytes: int
    places: Mapping[str, tuple[int, ...]]
    scratch: tuple[tuple[int, ...], ...]
    beside: int
    behind: int | None = None
    ahead: int | None = None


@lru_cache(maxsize=256)
def lines(
    members: tuple[Member, ...],
    slots: tuple[Slot, ...],
    roots: tuple[Line, ...],
    scratch: tuple[int, ...],
    out: Line | None,
    inp: Line | None = None,
    leads: tuple[Lead, ...] = (),
    chases: tuple[Chase, ...] | None = None,
) -> Lines | None:
    """The pool of a loop; None where a table could not say where rows are.

    roots : what is made inside and dies inside; scratch : bytes of each member
    out : a map that the loop makes row by row: while its last rows are still to come, their bytes
        are free
    inp : a map that dies in the loop and ends behind all of that: what was read of it is free
    chases : of a loop that goes by strips: its members share each iteration, and a scratch
    """
    work = _Work(members, slots, roots, scratch, leads, chases)
    best = work.placed(None, None)
    if best.beside and (out is not None or inp is not None):
        best = min(best, work.placed(out, inp), key=lambda placed: placed.beside)
    return work.lines(best)


@dataclass(frozen=True)
class _Placed:
    """Where rows are, in bytes from the start of the loop's output where they may lie over it.

    beside : bytes that they take beside the maps that they may lie over
    over : whether there is an output that they may lie over
    ahead : how far from there a map that dies must start, if they may lie over one
    """

    at: Ints
    beside: int
    over: bool
    ahead: int | None


class _Work:
    """The rows of a loop, one after the other: when each is made, and read for the last time.

    Times are iteration * members + place in the loop's body, with strips the first place of those
    that take turns.
    last : when each member executes for the last time
    """

    def __init__(
        self,
        members: Sequence[Member],
        slots: Sequence[Slot],
        roots: Sequence[Line],
        scratch: Sequence[int],
        leads: Sequence[Lead] = (),
        chases: Sequence[Chase] | None = None,
    ):
        self.members, self.slots, self.count = members, slots, len(members)
        self.roots = [name for name, *_ in roots]
        turns = next((j for j, m in enumerate(members) if m.reads), 0)
        self.places = [j if chases is None or not m.reads else turns for j, m in enumerate(members)]
        lives = [(*self._lives(*line[:2]), np.full(line[1], line[2])) for line in roots]
        self.works = [
            np.array([self._time(j, k) for k in range(slot.count if nbytes else 0)], np.int64)
            for j, (slot, nbytes) in enumerate(zip(slots, scratch, strict=True))
        ]
        lives += self._scratch([-(-n // ALIGN) * ALIGN for n in scratch], chases is not None)
        self.ends = np.cumsum([len(born) for born, *_ in lives])[:-1]
        self.born = np.concatenate([born for born, *_ in lives])
        self.died = np.concatenate([died for _, died, _ in lives])
        self.sizes = np.concatenate([sizes for *_, sizes in lives])
        lies = zip(self.sizes.tolist(), self.born.tolist(), self.died.tolist(), strict=True)
        self.blocks = [
            Block(str(i), n, _grain(n), born, died) for i, (n, born, died) in enumerate(lies)
        ]
        self.last = [self._time(j, slot.count - 1) for j, slot in enumerate(slots)]
        self.near: dict[tuple[str, str], int] = {}
        self.shared = np.zeros(max(self.last) + 1, np.int64)
        self.leads = tuple(leads) if chases is None else ()
        for lead in self.leads:
            if lead[1] in self.roots:
                self._over(*lead)
        self.strips = chases is not None
        self._follow({(c.new, c.old, c.fresh): c.lead for c in chases or ()})

    def _scratch(self, scratch: Sequence[int], shared: bool) -> list[tuple[Ints, Ints, Ints]]:
        """When there is scratch, and its bytes: of each member, or one for all of an iteration."""
        if not shared:
            pairs = zip(self.works, scratch, strict=True)
            return [(works, works, np.full(len(works), n)) for works, n in pairs]
        most: dict[int, int] = {}
        for works, nbytes in zip(self.works, scratch, strict=True):
            most |= {t: max(most.get(t, 0), nbytes) for t in works.tolist()}
        times = np.array(sorted(most), np.int64)
        self.works = [np.searchsorted(times, works) for works in self.works]
        return [(times, times, np.array([most[t] for t in times.tolist()], np.int64))]

    def _follow(self, leads: Mapping[tuple[str, str, bool], int]) -> None:
        """Lets rows that are made strip by strip lie over those that die meanwhile."""
        if not leads:
            return
        names = np.repeat(self.roots, np.diff([0, *self.ends])[: len(self.roots)])
        made: dict[int, list[int]] = {}
        dying: dict[int, list[int]] = {}
        for i in range(len(names)):
            made.setdefault(int(self.born[i]), []).append(i)
            dying.setdefault(int(self.died[i]), []).append(i)
        for now, new in made.items():
            for i, j in ((i, j) for i in new for j in dying.get(now, ()) if i != j):
                lead = leads.get((str(names[i]), str(names[j]), int(self.born[j]) == now))
                if lead is not None:
                    self.near[str(i), str(j)] = lead

    def _rows_of(self, root: str) -> range:
        """The blocks that are rows of a root."""
        place = self.roots.index(root)
        ends = (0, *self.ends.tolist(), len(self.born))
        return range(ends[place], ends[place + 1])

    def _over(self, j: int, root: str, lead: int) -> None:
        """Lets the rows that member j makes lie over those of a root that die meanwhile."""
        mine = self._rows_of(self.members[j].writes)
        dying: dict[int, list[int]] = {}
        for i in self._rows_of(root):
            dying.setdefault(int(self.died[i]), []).append(i)
        for made in mine:
            now = int(self.born[made])
            rows = dying.get(now, [])
            self.near |= {(str(made), str(i)): lead for i in rows}
            gain = min(int(self.sizes[made]) - lead, int(self.sizes[rows].sum()))
            self.shared[now] += max(gain, 0)

    def _time(self, place: int, k: int) -> int:
        slot = self.slots[place]
        return (slot.phase + slot.period * k) * self.count + self.places[place]

    def _lives(self, root: str, rows: int) -> tuple[Ints, Ints]:
        """When the rows of a root are made, and when they are read for the last time."""
        born = np.full(rows, np.iinfo(np.int64).max)
        died = np.zeros(rows, np.int64)
        for j, (member, slot) in enumerate(zip(self.members, self.slots, strict=True)):
            rules = [read.rule for read in member.reads if read.root == root]
            for k in range(slot.count):
                now = self._time(j, k)
                piece = k * member.quantum, min((k + 1) * member.quantum, member.rows)
                made = slice(*piece) if member.writes == root else slice(0)
                born[made] = np.minimum(born[made], now)
                for read in (made, *(slice(*needs(rule, piece, rows)) for rule in rules)):
                    died[read] = np.maximum(died[read], now)
        return born, died

    def written(self, out: Line) -> Ints:
        """Bytes of a map that are there, by time."""
        name, rows, nbytes = out
        made = np.zeros(max(self.last) + 1, np.int64)
        for j, (member, slot) in enumerate(zip(self.members, self.slots, strict=True)):
            for k in range(slot.count if member.writes == name else 0):
                made[self._time(j, k)] = min((k + 1) * member.quantum, rows) * nbytes
        return np.maximum.accumulate(made)

    def dead(self, inp: Line) -> Ints:
        """Bytes of a map that nobody reads any more, by time."""
        name, rows, nbytes = inp
        first = np.full(max(self.last) + 1, rows, np.int64)
        for j, (member, slot) in enumerate(zip(self.members, self.slots, strict=True)):
            for rule in [read.rule for read in member.reads if read.root == name]:
                for k in range(slot.count):
                    piece = k * member.quantum, min((k + 1) * member.quantum, member.rows)
                    now = self._time(j, k)
                    first[now] = min(first[now], needs(rule, piece, rows)[0])
        return np.minimum.accumulate(first[::-1])[::-1] * nbytes

    def placed(self, out: Line | None, inp: Line | None) -> _Placed:
        """The best of a few orders, improved: nothing over what is made of a map by then, or is
        still to be read of another one that begins behind it as near as can be."""
        nothing = np.zeros(max(self.last) + 1, np.int64)
        made = nothing if out is None else self.written(out)
        rest = nothing if inp is None else inp[1] * inp[2] - self.dead(inp)
        problem = Problem(self.blocks, self.near, 0)
        starts = zip(made[self.died].tolist(), self.blocks, strict=True)
        problem.starts = [align_up(least, block.align) for least, block in starts]
        tails, over = self._tails(inp, rest)
        problem.tails = tails.tolist()
        maps = max(int(made[-1]), int((made + rest).max()))
        if self.strips:  # before an iteration begins: in it much may lie over much else
            before = np.concatenate([[0], made[:-1]])
            bound = max(int((self._alive() + before + rest).max()), maps)
        else:
            bound = max(int((self._alive() + made + rest - over).max()), maps)
        at = np.array(arrange(problem, self._orders(), bound, EFFORT))
        end = int((at + self.sizes + tails).max())
        ahead = None if inp is None else end - inp[1] * inp[2]
        return _Placed(at, max(end - maps, 0), out is not None, ahead)

    def _tails(self, inp: Line | None, rest: Ints) -> tuple[Ints, Ints]:
        """For each block what must be free behind it when it is made, for the rows of a map that
        are `rest` by time; and by time the bytes of these that a row which is made from them may
        lie over."""
        tails, over = rest[self.born], np.zeros_like(rest)
        for j, root, lead in self.leads:
            if inp is None or root != inp[0]:
                continue
            mine = self._rows_of(self.members[j].writes)
            born, sizes = self.born[mine], self.sizes[mine]
            later = np.append(rest, 0)[born + 1]
            near = np.maximum(later, np.maximum(rest[born] + lead - sizes, 0))
            tails[mine] = np.minimum(tails[mine], near)
            over[born] = rest[born] - tails[mine]
        return tails, over

    def _orders(self) -> Iterator[list[int]]:
        """What is made first comes first, but for what passes; or what is needed last."""
        passing = self.died - self.born < self.count
        for keys in (
            (self.born, passing),
            (self.born, -self.sizes, passing),
            (self.born, -self.sizes),
            (-self.died, -self.sizes),
            (-self.died, -self.sizes, passing),
        ):
            yield np.lexsort(keys).tolist()

    def _alive(self) -> Ints:
        """Bytes that are alive, by time, less what may lie over one another; with strips those that
        have been made before."""
        changes = np.zeros(max(self.last) + 2, np.int64)
        np.add.at(changes, self.born + 1 if self.strips else self.born, self.sizes)
        np.add.at(changes, self.died + 1, -self.sizes)
        return np.cumsum(changes[:-1]) - self.shared

    def lines(self, placed: _Placed) -> Lines | None:
        base = int(placed.at.min()) // ALIGN * ALIGN
        at = placed.at - base
        unit = int(np.gcd.reduce(at)) or 1
        if int(at.max()) // unit >= TABLE:
            return None
        parts = [tuple(int(x) for x in part) for part in np.split(at, self.ends)]
        count = len(self.roots)
        places = dict(zip(self.roots, parts[:count], strict=True))
        scratch = parts[count:]
        if self.strips:
            shared = parts[count]
            scratch = [tuple(shared[int(k)] for k in works) for works in self.works]
        ahead = None if placed.ahead is None else max(placed.ahead - base, 0)
        nbytes = int((at + self.sizes).max())
        return Lines(
            nbytes,
            places,
            tuple(scratch),
            placed.beside,
            base if placed.over else None,
            ahead,
        )


def _grain(nbytes: int) -> int:
    """What rows of so many bytes are aligned to: as much as they were in a ring, up to a point."""
    return min(nbytes & -nbytes, ALIGN)

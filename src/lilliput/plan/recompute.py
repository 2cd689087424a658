"""What is computed again for the sake of RAM: found from estimates, before anything is planned.

One idea: for each value there are bytes that hardly any cut does with less than while it is made
(`Schedule.needs`; conversions to planes are counted, which a plan may avoid).  The arena is about
the largest of them, so what is worth recomputing are the values at the top.

    two passes   the network is looked at twice, as it is and with all maps made twice that wait
                 for their own mean; the bounds of all choices between follow from these two
    strips       a stretch around the top, between two small maps: the one of which ends and line
                 buffers seem to need the least is looked at
    in turn      a stretch inside a loop that is at the top, in strips that take turns row by row:
                 that of which line buffers seem to shrink the most is looked at
    columns      of a stage of residual blocks the neediest strip by strip, one more as long as it
                 is at the top
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lilliput.ir.module import Module
from lilliput.ir.region import Window
from lilliput.passes.recompute import (
    Recomputed,
    Stage,
    Stretch,
    Twice,
    find_stages,
    find_stretch,
    find_twice,
    in_columns,
    macs,
    make_twice,
    stretches,
    tile,
)
from lilliput.plan.turns import saved

Needs = Mapping[str, int]
"""Value -> bytes that no cut does with less than while it is made."""

GAIN: Final = 0.98
"""What is computed again has to lower the bound by two percent, at least."""

STRIPS: Final = (2, 3, 4)
"""Strips that a stretch is cut into."""
PIECES: Final = (2, 3)
"""Pieces that the maps of a stage are cut into."""
REACH: Final = 8
"""Maps before and behind the neediest one at which a stretch may begin or end."""

Found = tuple[int, Recomputed]
"""A bound in bytes, and what has it."""


def recompute(
    module: Module,
    needs: Needs,
    needs_of: Callable[[Module], Needs],
    share: float,
    has: int,
    room: float,
) -> Recomputed | None:
    """`module` with as much computed again as brings its bound down to `room` bytes, or down the
    most, for no more than `share` of its multiply-accumulates; None where that gains nothing.

    needs : of `module`; needs_of : of what it becomes; has : bytes of the arena as it is
    """
    limit, top = share * macs(module), min(has, max(needs.values(), default=0))
    if room >= GAIN * top:
        return None
    ways = (two_passes, strips, in_turn, columns)
    found = [x for way in ways if (x := way(module, needs, needs_of, limit, room)) is not None]
    bound, best = min(found, key=lambda x: max(x[0], room), default=(top, None))
    return best if bound < GAIN * top else None


def two_passes(
    module: Module, needs: Needs, needs_of: Callable[[Module], Needs], limit: float, room: float
) -> Found | None:
    """The neediest of what waits for its own mean made twice."""
    found = find_twice(module)
    mine = dict(zip(found, stretches(module, found), strict=True))
    within = [twice for twice in found if work(module, twice) <= limit]
    rest = _most(needs, lambda name: not any(name in mine[twice] for twice in within))
    if not within or rest >= GAIN * max(needs.values()):
        return None
    every = make_twice(module, found).module
    after, becomes = needs_of(every), dict(zip(found, stretches(every, found), strict=True))
    ideas = [
        _Idea(t, _most(needs, mine[t].__contains__), _most(after, becomes[t].__contains__))
        for t in within
    ]
    ideas.sort(key=lambda idea: -idea.before)
    chosen = _chosen(module, ideas, rest, limit, room)
    bound = max([rest, *(i.after for i in chosen), *(i.before for i in ideas[len(chosen) :])])
    return bound, make_twice(module, [i.twice for i in chosen])


@dataclass(frozen=True)
class _Idea:
    """What may be made twice, and the bytes that its part of the network needs without and with
    that."""

    twice: Twice
    before: int
    after: int


def _chosen(
    module: Module, ideas: Sequence[_Idea], rest: int, limit: float, room: float
) -> Sequence[_Idea]:
    """As many of `ideas`, the neediest first, as make the bound the smallest, or small enough."""
    best: Sequence[_Idea] = ()
    least = max(rest, ideas[0].before)
    for count in range(1, len(ideas) + 1):
        if sum(work(module, i.twice) for i in ideas[:count]) > limit or least <= room:
            break
        left = ideas[count].before if count < len(ideas) else 0
        bound = max(rest, left, *(i.after for i in ideas[:count]))
        if bound < least:
            best, least = ideas[:count], bound
    return best


def _most(needs: Needs, counts: Callable[[str], bool]) -> int:
    return max((nbytes for name, nbytes in needs.items() if counts(name)), default=0)


def work(module: Module, twice: Twice) -> int:
    """Multiply-accumulates of a chain."""
    nodes = module.graphs[twice.entry].nodes
    return sum(n.op.cost(n).macs for n in nodes if n.output.name in twice.chain)


# Strips -----------------------------------------------------------------------------------


def strips(
    module: Module, needs: Needs, needs_of: Callable[[Module], Needs], limit: float, room: float
) -> Found | None:
    """The stretch around the neediest value in strips of columns: both its ends are whole while
    line buffers between them are a strip wide."""
    del room
    top = max(needs.values())
    found: list[tuple[float, Stretch, int]] = []
    for stretch, ends in _around(module, max(needs, key=lambda n: needs[n])):
        lines = _lines(module, stretch)
        for count in STRIPS:
            about = ends[0] + ends[1] * (count - 1) / count + lines / count
            if about < GAIN * top:
                found.append((about, stretch, count))
    for _, stretch, count in sorted(found, key=lambda x: x[0]):
        tiled = _in_strips(module, stretch, count)
        if tiled and sum(extra.macs for extra in tiled.extra(module)) <= limit:
            return max(needs_of(tiled.module).values()), tiled
    return None


def _lines(module: Module, stretch: Stretch) -> int:
    """Bytes of the line buffers inside a stretch as one loop, of a row an execution."""
    nodes = [n for n in module.graphs[stretch.entry].nodes if n.output.name in stretch.nodes]
    rows: dict[str, int] = {}
    sizes = {v.name: v.type.nbytes // v.type.shape[1] for n in nodes for v in n.outputs}
    for node in nodes:
        assert node.op.regions is not None
        for value, rule in zip(node.inputs, node.op.regions(node), strict=True):
            if value.name in sizes and isinstance(rule[1], Window):
                rows[value.name] = max(rows.get(value.name, 0), rule[1].reach + 1)
    return sum(sizes[name] * count for name, count in rows.items())


def _around(module: Module, name: str) -> Iterator[tuple[Stretch, tuple[int, int]]]:
    """Stretches in which value `name` is made, not too long, and the bytes of their ends; none that
    ends between a layer and what is done to its result before that is stored."""
    for entry, graph in module.graphs.items():
        users = graph.consumers()
        stored = {
            v.name
            for v in graph.values()
            if len(users[v.name]) != 1 or users[v.name][0].op.scalar is None or v.name == name
        }
        maps = [v for v in graph.values() if v not in graph.params and v.name in stored]
        maps = [v for v in maps if len(v.type.shape) == 4]
        at = next((k for k, v in enumerate(maps) if v.name == name), None)
        if at is None:
            continue
        for first in maps[max(at - REACH, 0) : at]:
            for last in maps[at : at + REACH]:
                stretch = find_stretch(module, entry, first.name, last.name)
                if stretch is not None:
                    yield stretch, (first.type.nbytes, last.type.nbytes)


def _in_strips(module: Module, stretch: Stretch, count: int) -> Recomputed | None:
    """A stretch in `count` strips about as wide as one another; None where it is too narrow."""
    cuts = _evenly(module, stretch, count)
    return tile(module, stretch, ((), cuts)) if cuts else None


def _evenly(module: Module, stretch: Stretch, count: int) -> list[int]:
    """Where a target ends that is cut into `count` strips; nowhere if it is too narrow."""
    graph = module.graphs[stretch.entry]
    width = next(v for v in graph.values() if v.name == stretch.target).type.shape[2]
    return [width * k // count for k in range(1, count)] if width >= 2 * count else []


# Strips in turn ---------------------------------------------------------------------------


def in_turn(
    module: Module, needs: Needs, needs_of: Callable[[Module], Needs], limit: float, room: float
) -> Found | None:
    """A stretch inside a loop in strips of columns that take turns: the loop stays one, and its
    line buffers hold what is new of a strip at a time."""
    top = max(needs.values())
    neediest = [name for name, nbytes in needs.items() if nbytes == top]
    stretches = dict.fromkeys(s for name in neediest for s, _ in _around(module, name))
    found: list[tuple[float, int, int, Stretch]] = []
    for k, stretch in enumerate(stretches):
        for count in STRIPS:
            cuts = _evenly(module, stretch, count)
            about = top - saved(module, stretch, cuts) if cuts else top
            if about < GAIN * top:
                found.append((max(about, room), count, k, stretch))
    for _, count, _, stretch in sorted(found, key=lambda x: x[:3]):
        tiled = _in_strips(module, stretch, count)
        if tiled and sum(extra.macs for extra in tiled.extra(module)) <= limit:
            return max(needs_of(tiled.module).values()), tiled
    return None


# Columns ----------------------------------------------------------------------------------


def columns(
    module: Module, needs: Needs, needs_of: Callable[[Module], Needs], limit: float, room: float
) -> Found | None:
    """A stage of residual blocks in pieces of columns, its neediest blocks strip by strip."""
    best: Found | None = None
    top = max(needs.values())
    for stage in find_stages(module):
        mine = {b.target: _most(needs, b.nodes.__contains__) for b in stage.blocks}
        if max(mine.values()) == top:
            for count in PIECES:
                found = _in_columns(module, stage, count, mine, needs_of, limit, room)
                best = min(filter(None, (best, found)), key=lambda x: x[0], default=None)
    return best


def _in_columns(
    module: Module,
    stage: Stage,
    count: int,
    needs: Needs,
    needs_of: Callable[[Module], Needs],
    limit: float,
    room: float,
) -> Found | None:
    """A stage in `count` pieces, with as many blocks in strips as are worth it; `needs` of the maps
    that its blocks make."""
    values = {v.name: v for v in module.graphs[stage.entry].values()}
    width = values[stage.maps[0]].type.shape[2]
    cuts = [width * k // count for k in range(1, count)]
    best: Found | None = None
    order = sorted(needs, key=lambda name: -needs[name])
    for k, name in enumerate(order, start=1):
        if width < 2 * count or (best and needs[name] <= max(best[0], room)):
            break
        if k < len(order) and needs[order[k]] > GAIN * needs[name]:
            continue  # of no use without one that needs as much
        cut = in_columns(module, stage, cuts, frozenset(order[:k]))
        if sum(extra.macs for extra in cut.extra(module)) > limit:
            break
        bound = max(needs_of(cut.module).values())
        if best and bound >= best[0]:
            break
        best = bound, cut
    return best

"""What is computed again for the sake of RAM: found from bounds, before anything is planned.

One idea: for each value there are bytes that no cut does with less than while it is made
(`Schedule.needs`).  The arena is at least the largest of them, so what is worth recomputing are the
values at the top; with those taken away, the next one says how far the arena can come down.  So
the network is looked at twice, as it is and with everything made twice that could be, and the
bounds of all choices between follow from these two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lilliput.ir.module import Module
from lilliput.passes.recompute import Recomputed, Twice, find_twice, macs, make_twice, stretches

Needs = Mapping[str, int]
"""Value -> bytes that no cut does with less than while it is made."""

GAIN: Final = 0.98
"""What is computed again has to lower the bound by two percent, at least."""


def recompute(
    module: Module, needs: Needs, needs_of: Callable[[Module], Needs], share: float, room: float
) -> Recomputed | None:
    """`module` with as much computed again as brings its bound down to `room` bytes, or down the
    most, for no more than `share` of its multiply-accumulates; None where that gains nothing.

    needs : of `module`; needs_of : of what it becomes
    """
    limit = share * macs(module)
    found = find_twice(module)
    mine = dict(zip(found, stretches(module, found), strict=True))
    within = [twice for twice in found if work(module, twice) <= limit]
    top = max(needs.values(), default=0)
    rest = _most(needs, lambda name: not any(name in mine[twice] for twice in within))
    if not within or max(room, rest) >= GAIN * top:
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
    return make_twice(module, [i.twice for i in chosen]) if bound < GAIN * top else None


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

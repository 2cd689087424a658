"""In how many slices the blocks of a training step are made: as many as lower its RAM.

One idea: the planner says of each value what no plan does with less than while it is made
(`plan.build.needs`), within seconds.  The slices of those blocks are raised that need more than
anything that cannot be sliced, until none does or none gets smaller.  A plan of the result decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lilliput.errors import UsageError
from lilliput.ir import Module
from lilliput.train.build import ENTRY, Training

Make = Callable[[Mapping[str, int]], Training]
"""The training with its blocks in so many slices."""
Needs = Callable[[Module], Mapping[str, int]]
"""Value -> bytes that no plan does with less than while it is made."""
SERIES = (1, 2, 3, 4, 6, 8, 12, 16, 24)
"""Numbers of slices that are tried."""
SLACK = 0.92
"""The part of what cannot be helped that is left to blocks: several hundred buffers do not fit
where all steps are full."""
AUTO, OFF = "auto", "off"


def asked(slices: str | int) -> int | None:
    """How many slices each block is to have; None where that is found.

    Raises UsageError for what is neither `auto`, `off` nor a number.
    """
    if slices == AUTO:
        return None
    text = "1" if slices == OFF else str(slices)
    if not text.isdigit() or int(text) < 1:
        raise UsageError("slices of a block", expected="auto, off, or a number", found=slices)
    return int(text)


def lean(make: Make, needs: Needs, whole: Training, needed: Mapping[str, int]) -> Training:
    """`whole`, which has `needed` so many bytes, or the same training with slices where these need
    less.

    A block is tried in more and more slices while it needs more than what is not in blocks, and
    than blocks of which no more slices can be made; it gets the fewest of those that need least.
    """
    most = {b.name: b.most for b in whole.blocks}
    need = _by_block(whole, needed)
    tried = dict.fromkeys(most, 1)
    best = dict(tried)
    while True:
        ended = [n for n in most if _next(tried[n], most[n]) is None]
        floor = max(need.get(name, 0) for name in ("", *ended))
        raised = {
            name: more
            for name in most
            if need.get(name, 0) > SLACK * floor
            and (more := _next(tried[name], most[name])) is not None
        }
        if not raised:
            break
        tried |= raised
        training = make({**best, **raised})
        now = _by_block(training, needs(training.module))
        for name, more in raised.items():
            if now.get(name, 0) < need[name]:
                best[name], need[name] = more, now.get(name, 0)
    return make(best) if max(best.values(), default=1) > 1 else whole


def _next(count: int, most: int) -> int | None:
    return next((n for n in SERIES if count < n <= most), None)


def _by_block(training: Training, needs: Mapping[str, int]) -> dict[str, int]:
    """Block -> the most that is needed from where it begins to where the next one does, so that
    what it leaves to be done counts; under "" what is needed before the first one."""
    nodes = training.module.graphs[ENTRY].nodes
    place = {v.name: i for i, node in enumerate(nodes) for v in node.outputs}
    begins = {
        min(place[v] for v in values if v in place): block
        for block, values in training.made.items()
        if not values.isdisjoint(place)
    }
    owner, current = list[str](), ""
    for i in range(len(nodes)):
        current = begins.get(i, current)
        owner.append(current)
    found: dict[str, int] = {}
    for value, nbytes in needs.items():
        block = owner[place[value]] if value in place else ""
        found[block] = max(nbytes, found.get(block, 0))
    return found

"""What may be asked of the planner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from lilliput.plan.objective import (
    Budget,
    Optimize,
)
from lilliput.plan.pool import Homes

EXTRA_MACS = 0.03
"""Share of the multiply-accumulates that may be done again where nobody says how many."""


@dataclass(frozen=True)
class PlanOptions:
    """homes : value name -> memory it lives in, where the planner is not to choose;
    memories : beside the defaults that it may choose; None: those that the board leaves to it;
    streams : groups of values whose tasks run row by row in one loop;
    pull : inputs whose rows are asked of the caller; one that is named in a group, too, lies in a
    line buffer and is never whole in memory;
    push : those inputs come by calls with one row each, one such input an entry;
    blocks : parameter that is copied to RAM before it is used -> output channels a slice;
    optimize : what the plan is chosen for; budget : what it should fit, where that is not the
    device it is planned for;
    exact : offsets that are not proven to be optimal are left to OR-tools, which must be there;
    extra_macs : multiply-accumulates that may be done again for the sake of RAM, as a share of
    those of the network: where the least RAM is asked for, or where nothing else fits;
    later : the same share for values that are read early and late, such as those that a training
    step keeps of its forward part: made again, or moved to a slower memory that is open and back,
    where nothing else fits."""

    homes: Homes = field(default_factory=lambda: MappingProxyType({}))
    streams: tuple[tuple[str, ...], ...] = ()
    pull: frozenset[str] = frozenset()
    push: bool = False
    blocks: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    optimize: Optimize = Optimize.SPEED
    budget: Budget | None = None
    exact: bool = False
    extra_macs: float = EXTRA_MACS
    later: float = 0.0
    memories: frozenset[str] | None = None

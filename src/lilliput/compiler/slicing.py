"""In how many slices the blocks of a training step are made: as many as lower its RAM.

One idea: the planner says of each value what no plan does with less than while it is made
(`plan.build.needs`), within seconds.  The slices of those blocks are raised that need nearly as
much as what cannot be sliced, until none does or none gets smaller.  A plan of the result decides.
Where that does not do, masks are made again in the slices (`lilliput.train.masks`), of as few
blocks as the estimate lets.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from lilliput import report
from lilliput.compiler.pipeline import Compiled, Log, Options, compile, from_module
from lilliput.devices.device import Device
from lilliput.errors import UsageError
from lilliput.ir import Module
from lilliput.passes.recompute import macs
from lilliput.plan.build import needs
from lilliput.plan.guard import guarded_first
from lilliput.plan.objective import Budget, Optimize
from lilliput.plan.order import reorder
from lilliput.train.build import ENTRY, Training


class Make(Protocol):
    """The training with its blocks in so many slices, the masks of some of them made again."""

    def __call__(self, slices: Mapping[str, int], remade: Collection[str] = ()) -> Training: ...


Needs = Callable[[Module], Mapping[str, int]]
"""Value -> bytes that no plan does with less than while it is made."""
Ways = tuple[tuple[tuple[str, int], ...], tuple[str, ...]]
"""The slices of blocks, and those whose masks are made again."""
SERIES = (1, 2, 3, 4, 6, 8, 12, 16, 24)
"""Numbers of slices that are tried."""
ALL, FILLED = 1.0, 0.92
"""The parts of what cannot be helped that are left to blocks, one after the other where the step
does not fit: several hundred buffers may not lie well where all steps are full, and more slices
take longer."""
PLACED = 0.9
"""The part of the room that an estimate may fill where it says of how few blocks masks are made
again: plans lie up to a tenth above it."""
FEWEST = 2
"""Slices of a block whose masks are made again: whole blocks keep them."""
SEVERAL = 12
"""Slices of each block in estimates of what a step needs: of MCUNet-5fps more lower nothing."""
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


@dataclass(frozen=True)
class Slicing:
    """Steps of one training, made whole and in slices, as they are compiled for a device.

    bounds : of those that were asked for
    """

    make: Make
    device: Device
    options: Options
    log: Log
    bounds: dict[Ways, int] = field(default_factory=dict["Ways", int], repr=False, compare=False)

    def of(self, slices: int | None) -> tuple[Training, Compiled]:
        """The step with each block in so many slices; None: in as many as lower the RAM, where the
        least is asked for, or what there is does not do."""
        whole = self.make({})
        if slices is None:
            return self._found(whole)
        training = self.make(dict.fromkeys((b.name for b in whole.blocks), slices))
        return training, self._compiled(training)

    def _found(self, whole: Training) -> tuple[Training, Compiled]:
        """The first way that does; where none does, or the least is asked for, that of the smallest
        arena."""
        tried: list[tuple[Training, Compiled]] = []
        for training, later in self._ways(whole, tried):
            tried.append((training, self._compiled(training, later=later)))
            if not self._least_asked and _enough(*tried[-1]):
                return tried[-1]
        return min(tried, key=lambda made: (_arena(made[1]), len(made[0].slices)))

    def _ways(
        self, whole: Training, tried: Sequence[tuple[Training, Compiled]]
    ) -> Iterator[tuple[Training, bool]]:
        """What to plan, one after the other, and whether what is read late may be made again as a
        whole; `tried` is what was.

        What cannot do by the estimate is not planned, unless nothing does: whole blocks then come
        at the end, where no plan of slices is proven to need less than any of theirs.
        """
        room, anyhow, later = self._room(), self._least_asked, self.options.plan.later > 0
        if not anyhow and _side_by_side(whole) <= room:
            yield whole, later
        ordered = self._ordered(whole.module)
        floor = _states(whole) + _most(ordered)
        if not anyhow and not tried and floor <= room:
            yield whole, False
        self.log("slicing blocks")
        least, known = whole, whole
        for other in self._sliced(whole, ordered[0]):
            if (other.slices, other.remade) == (known.slices, known.remade):
                continue
            least = known = other
            if anyhow or _states(whole) + self.bound(other) <= room:
                yield other, False
        if not tried or (later and not anyhow):
            yield least, later
        wholes = any(training is whole for training, _ in tried)
        if not wholes and min((_arena(c) for _, c in tried), default=floor) >= floor:
            yield whole, False

    def _sliced(self, whole: Training, needed: Mapping[str, int]) -> Iterator[Training]:
        """Ways to slice, those that compute less first; `needed`: of what is `whole`.

        Masks are made again of the first blocks of the network, which keep theirs for longest."""
        room = self._room() - _states(whole)
        kept = lean(self.make, self._needs, whole, needed)
        if not self._least_asked and self.bound(kept) <= room:
            yield lean(self.make, self._needs, whole, needed, ALL)
        yield kept
        if not (remade := self._remade(whole)):
            return
        make = partial(self.make, remade=remade)
        begun = make(dict.fromkeys(remade, FEWEST))
        needed = self._needs(begun.module)
        coarse, fine = (lean(make, self._needs, begun, needed, f) for f in (ALL, FILLED))
        if not self._least_asked:
            for least in (coarse, fine):
                ways = (self.make(least.slices, remade[:n]) for n in range(1, len(remade)))
                yield next((t for t in ways if self.bound(t) <= PLACED * room), least)
        yield fine

    def _remade(self, whole: Training) -> Sequence[str]:
        """The blocks whose masks may be made again, the first ones of the network first."""
        plan = self.options.plan
        share = min(plan.extra_macs, plan.later) if self._least_asked else plan.later
        left, found = share * macs(whole.module), list[str]()
        for block in reversed(whole.blocks):
            if block.masks.bits and block.masks.macs <= left:
                left -= block.masks.macs
                found.append(block.name)
        return found

    def bound(self, training: Training) -> int:
        """Bytes beside the states that every plan needs, by the planner's estimate, in the order of
        the slices."""
        key = tuple(training.slices.items()), tuple(training.remade)
        if key not in self.bounds:
            self.bounds[key] = max(self._needs(training.module).values(), default=0)
        return self.bounds[key]

    def least(self, slices: int | None) -> int:
        """Bytes beside the states that every plan needs, by the planner's estimate, with each block
        in so many slices; None: the fewer of whole blocks and of `SEVERAL` slices of each."""
        whole = self.make({})
        names = [b.name for b in whole.blocks]
        counts = (1, SEVERAL) if slices is None and names else (slices or 1,)
        trainings = (whole if n == 1 else self.make(dict.fromkeys(names, n)) for n in counts)
        return min(_most(self._ordered(t.module)) for t in trainings)

    def _ordered(self, module: Module) -> list[Mapping[str, int]]:
        """`_needs` in both orders that the planner tries, as it is first."""
        network = from_module(module).module
        orders = [network]
        if (other := reorder(guarded_first(network))) is not network:
            orders.append(other)
        options = self.options.plan_for(self.device, network)
        return [needs(m, self.device, options) for m in orders]

    @property
    def _least_asked(self) -> bool:
        return self.options.optimize is Optimize.RAM

    def _compiled(self, training: Training, *, later: bool = True) -> Compiled:
        model, options = from_module(training.module), self.options
        if not later:
            options = replace(options, plan=replace(options.plan, later=0.0))
        compiled = compile(model, self.device, options, self.log, must_fit=False)
        for problem in report.overflows(compiled.summary):
            self.log(problem.what)
        return compiled

    def _needs(self, module: Module) -> Mapping[str, int]:
        network = from_module(module).module
        return needs(network, self.device, self.options.plan_for(self.device, network))

    def _room(self) -> float:
        return Budget.of(self.device).within(self.options.ram).ram


def _most(ordered: Sequence[Mapping[str, int]]) -> int:
    """Of all moments the neediest, in the better order."""
    return min(max(needed.values(), default=0) for needed in ordered)


def _enough(training: Training, compiled: Compiled) -> bool:
    """Whether there is RAM enough, and flash for what slices add."""
    short = {n.memory.kind for n in report.needs(compiled.summary) if n.over > 0}
    return "ram" not in short and not (short and training.slices)


def _arena(compiled: Compiled) -> int:
    return compiled.summary.ram_bytes.activations + compiled.summary.ram_bytes.states


def _side_by_side(training: Training) -> int:
    """Bytes of all that a step has, if nothing shared a byte."""
    values = training.module.graphs[ENTRY].values()
    return _states(training) + sum(v.type.nbytes for v in values)


def _states(training: Training) -> int:
    return sum(s.value.type.nbytes for s in training.module.states.values())


def lean(
    make: Make,
    needs: Needs,
    begun: Training,
    needed: Mapping[str, int],
    filled: float = FILLED,
) -> Training:
    """`begun`, which has `needed` so many bytes, or the same training with more slices where these
    need less.

    A block is tried in more and more slices while it needs more than `filled` of what is not in
    blocks, and of blocks of which no more slices can be made; it gets the fewest of those that
    need least.  Where `begun` has slices, which bring layers and weights with them, the fewest that
    need no more than `filled` of the neediest block do.
    """
    most = {b.name: b.most for b in begun.blocks}
    need = _by_block(begun, needed)
    tried = {name: begun.slices.get(name, 1) for name in most}
    found = {name: {count: need.get(name, 0)} for name, count in tried.items()}
    best = dict(tried)
    while True:
        ended = [n for n in most if _next(tried[n], most[n]) is None]
        floor = max(need.get(name, 0) for name in ("", *ended))
        raised = {
            name: more
            for name in most
            if need.get(name, 0) > filled * floor
            and (more := _next(tried[name], most[name])) is not None
        }
        if not raised:
            break
        tried |= raised
        training = make({**best, **raised})
        now = _by_block(training, needs(training.module))
        for name, more in raised.items():
            found[name][more] = now.get(name, 0)
            if now.get(name, 0) < need[name]:
                best[name], need[name] = more, now.get(name, 0)
    if begun.slices:
        limit = filled * max(need.values(), default=0)
        for name, by_count in found.items():
            best[name] = next((n for n in sorted(by_count) if by_count[n] <= limit), best[name])
    more = any(count > begun.slices.get(name, 1) for name, count in best.items())
    return make(best) if more else begun


def _next(count: int, most: int) -> int | None:
    return next((n for n in SERIES if count < n <= most), None)


def _by_block(training: Training, needs: Mapping[str, int]) -> dict[str, int]:
    """Block -> the most that is needed for what it makes, and from where it begins to where the
    next one does, so that what it leaves to be done counts; under "" what is needed before the
    first one."""
    nodes = training.module.graphs[ENTRY].nodes
    place = {v.name: i for i, node in enumerate(nodes) for v in node.outputs}
    owner = {value: block for block, values in training.made.items() for value in values}
    # views of states stand in front of all blocks
    begun = {v: place[v] for v in owner if v in place and nodes[place[v]].op.name != "slice"}
    first: dict[str, int] = {}
    for value, at in begun.items():
        first[owner[value]] = min(at, first.get(owner[value], at))
    begins = {at: block for block, at in first.items()}
    at_place, current = list[str](), ""
    for i in range(len(nodes)):
        current = begins.get(i, current)
        at_place.append(current)
    found: dict[str, int] = {}
    for value, nbytes in needs.items():
        block = owner.get(value) or (at_place[place[value]] if value in place else "")
        found[block] = max(nbytes, found.get(block, 0))
    return found

"""From a module to a program: the planner's own pipeline, on one screen in `plan`.

order     of all orders of the operators the one that keeps the fewest bytes alive
recompute where that saves RAM: values that are computed again, in a graph that is planned as any
select    nodes -> tasks (kernels, epilogues)
layout    which values share storage
group     which tasks stream, and the size of their line buffers
steps     calls, copies and loops over views of buffers without offsets
arena     offsets, by a search; branch, exact: what is left to prove or to improve
check     the certificate is verified by code that shares none of the above
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Final

import numpy as np

from lilliput.devices.device import Device, Memory
from lilliput.errors import PlanError
from lilliput.ir.identity import identity
from lilliput.ir.module import Module, Param
from lilliput.passes.recompute import macs
from lilliput.plan.check import check
from lilliput.plan.front import Point
from lilliput.plan.guard import guarded_first
from lilliput.plan.later import Finder, Later, cycles_of
from lilliput.plan.maker import Maker
from lilliput.plan.memories import best_of_memories, further, used_beside
from lilliput.plan.objective import (
    STACK_ROOM,
    Aim,
    Budget,
    Optimize,
    Prices,
    ram_of,
)
from lilliput.plan.options import PlanOptions
from lilliput.plan.order import reorder
from lilliput.plan.program import (
    Program,
)
from lilliput.plan.quiet import planning
from lilliput.plan.recompute import recompute

TRIES: Final = 2
"""Plans of graphs in which values that are read early and late are not kept, before what needs the
least is planned."""


@planning()
def plan(module: Module, device: Device, options: PlanOptions | None = None) -> Program:
    """Plans every entry of `module` for the memories of `device`, and checks the result.

    Raises PlanError when an option asks for what cannot be; the program may need more than
    the device has (`summary` compares), because that is what a user wants to see.
    """
    return _planned(module, device, options or PlanOptions())[1]


@planning()
def plan_on_front(
    module: Module, device: Device, options: PlanOptions | None = None
) -> tuple[Program, tuple[Point, ...]]:
    """As `plan`, and the front of the first entry that the plan was chosen from: see
    `Maker.front`."""
    maker, program = _planned(module, device, options or PlanOptions())
    return program, maker.front(program)


@planning()
def needs(module: Module, device: Device, options: PlanOptions | None = None) -> Mapping[str, int]:
    """`Maker.needs` of a module in the order that it has, with the fastest kernels or the leanest,
    whichever need less there: much sooner there than a plan."""
    maker = Maker(_with_stand_ins(module), device, options or PlanOptions())
    both = maker.needs(), maker.needs(lean=True)
    names = {name for needed in both for name in needed}
    return {n: min(needed[n] for needed in both if n in needed) for n in sorted(names)}


def _planned(module: Module, device: Device, options: PlanOptions) -> tuple[Maker, Program]:
    missing = tuple(p.name for p in module.params.values() if p.data is None)
    whole = guarded_first(_with_stand_ins(module))
    _check_pull(module, options)
    maker, ordered = Maker(whole, device, options), whole
    if not options.streams:  # a group is a run of neighbours in the order that its author saw
        ordered = reorder(whole)
    if ordered is not whole:
        other = Maker(ordered, device, options)
        maker = _smaller(maker, other, options.optimize)
    more = further(device, options.memories)

    def best(maker: Maker, more: Sequence[Memory] = more, *, smallest: bool = False) -> Program:
        return best_of_memories(
            maker,
            maker.moving_rows,
            device,
            options.optimize,
            maker.budget,
            more,
            smallest=smallest,
        )

    first = maker
    program = best(maker)
    if options.extra_macs > 0 and not options.streams:  # groups name values of the graph as it is
        maker, program = _with_less(maker, program, best)
    if options.later > 0 and not options.streams:
        maker, program = _with_later(first, (maker, program), best, more)
    aim = Aim(device, options.optimize, maker.budget)
    if aim.beyond(program) > 0:
        last = best(first, smallest=True)
        if aim.beyond(last) < aim.beyond(program):
            maker, program = first, last
    check(program, {m.name: m.direct for m in device.memories})
    return maker, replace(program, missing=missing, identity=identity(module))


def _with_less(
    maker: Maker, program: Program, best: Callable[[Maker], Program]
) -> tuple[Maker, Program]:
    """`program`, or a better one that computes some values again."""
    device, options = maker.device, maker.options
    aim = Aim(device, options.optimize, maker.budget)
    room = aim.lacks(program)
    if room is None:
        return maker, program

    def estimate(module: Module) -> Mapping[str, int]:
        return Maker(module, device, options).needs(lean=True)

    has = ram_of(program, device)
    found = recompute(maker.module, maker.needs(lean=True), estimate, options.extra_macs, has, room)
    if found is None:
        return maker, program
    other = Maker(found.module, device, options)
    tried = best(other)
    if not aim.better(tried, program):
        return maker, program
    extra = found.extra(maker.module)
    return other, replace(tried, pieces=found.pieces, extra=extra)


def _with_later(
    maker: Maker,
    planned: tuple[Maker, Program],
    best: Callable[[Maker, Sequence[Memory]], Program],
    more: Sequence[Memory],
) -> tuple[Maker, Program]:
    """What was `planned`, or where that does not fit, or waits for a slow RAM, a better one that
    makes again, or moves away and back, what is read early and late.

    maker : of the module as it is
    """
    device, options, ram = maker.device, maker.options, maker.device.ram
    aim = Aim(device, options.optimize, maker.budget)
    slow = [m for m in more if m.kind == "ram" and m.cost > ram.cost]
    quick = [m for m in more if m not in slow]
    made = planned[1]
    if aim.beyond(made) <= 0 and not any(m in slow for m in used_beside(made, device)):
        return planned

    def maker_of(found: Later, budget: Budget = maker.budget) -> Maker:
        homes = {**options.homes, **found.homes}
        other = replace(options, homes=homes, budget=budget)
        return Maker(found.made.module, device, other)

    finder = Finder(
        maker.module,
        device,
        maker.needs(),
        lambda found: maker_of(found).needs(),
        cycles_of(made, device.core.name),
        slow[0] if slow else None,
        options.later * macs(maker.module),
    )
    states = sum(s.value.type.nbytes for s in maker.module.states.values())
    room = maker.budget.ram - STACK_ROOM - states
    room += sum(m.size for m in quick if m.kind == "ram")

    def tried(found: Later, other: Maker) -> tuple[Maker, Program]:
        program, extra = best(other, quick), found.made.extra(maker.module)
        made = replace(program, pieces=found.made.pieces, extra=extra, paged=found.paged)
        return other, made

    for _ in range(TRIES):
        found = finder.within(room)
        if found is None:
            break
        other = tried(found, maker_of(found))
        planned = min(planned, other, key=lambda p: aim.price(p[1]))
        over = aim.beyond(other[1])
        if over <= 0:
            return planned
        room -= 2 * over
    found = finder.least()
    for budget in (maker.budget, replace(maker.budget, ram=STACK_ROOM)):
        if found is not None and aim.beyond(planned[1]) > 0:
            other = maker_of(found, budget)
            planned = min(planned, tried(found, other), key=lambda p: aim.price(p[1]))
    return planned


def _smaller(make: Maker, other: Maker, optimize: Optimize) -> Maker:
    """The one of two orders of the operators whose arena is smaller, `make` where both are equal:
    fewer bytes alive do not always make a smaller arena.  The arena of the fastest plans, or where
    those do not do, of plans that stream."""
    device, room = make.device, make.budget.ram - STACK_ROOM

    def arena(maker: Maker, ram: float | None) -> int:
        return ram_of(maker(Prices(ram=ram)), device)

    one, another = arena(make, inf), arena(other, inf)
    if optimize is Optimize.RAM or min(one, another) > room:
        one, another = arena(make, None), arena(other, None)
    return other if another < one else make


def _check_pull(module: Module, options: PlanOptions) -> None:
    inputs = {name: [v.name for v in module.inputs(name)] for name in module.graphs}
    known = {name for names in inputs.values() for name in names}
    if unknown := sorted(options.pull - known):
        raise PlanError(
            "values that are no inputs cannot be asked of the caller",
            where=module.name,
            expected=", ".join(sorted(known)),
            found=", ".join(unknown),
        )
    for entry, names in inputs.items():
        pulled = [n for n in names if n in options.pull]
        if options.push and len(pulled) > 1:
            raise PlanError(
                "rows of several inputs cannot be pushed into one entry",
                where=f"entry {entry!r}",
                expected="one input that comes row by row",
                found=", ".join(pulled),
                hint="let the network ask for them: --input callback",
            )
        guards = module.guards.get(entry, ())
        late = [g.name for g in guards if g.name in pulled or (options.push and pulled)]
        if late:
            raise PlanError(
                "an entry whose rows are pushed, or come after its guard, cannot refuse a call",
                where=f"entry {entry!r}",
                found=", ".join(late),
                hint="let the input lie in memory",
            )


def _with_stand_ins(module: Module) -> Module:
    """`module` with data for parameters that have none: a search plans shapes alone.

    Of no two that have some elements one is equal to the other, or a part of it, so that each is
    stored.
    """

    def stand_in(index: int, param: Param) -> Param:
        type = param.value.type
        data = np.random.default_rng(index).integers(-127, 128, type.size)
        return Param(param.value, data.astype(type.dtype.numpy).reshape(type.shape))

    params = {
        name: stand_in(k, p) if p.data is None else p
        for k, (name, p) in enumerate(module.params.items())
    }
    return replace(module, params=params)

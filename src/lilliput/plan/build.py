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

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from lilliput.devices.device import Device
from lilliput.errors import PlanError
from lilliput.ir.identity import identity
from lilliput.ir.module import Module, Param
from lilliput.plan.check import check
from lilliput.plan.front import Point
from lilliput.plan.guard import guarded_first
from lilliput.plan.maker import Maker
from lilliput.plan.memories import best_of_memories, further
from lilliput.plan.objective import (
    Aim,
    Optimize,
    Prices,
)
from lilliput.plan.options import PlanOptions
from lilliput.plan.order import reorder
from lilliput.plan.program import (
    Program,
)
from lilliput.plan.recompute import recompute


@np.errstate(all="ignore")  # tables are made here, of functions that overflow to infinity
def plan(module: Module, device: Device, options: PlanOptions | None = None) -> Program:
    """Plans every entry of `module` for the memories of `device`, and checks the result.

    Raises PlanError when an option asks for what cannot be; the program may need more than
    the device has (`summary` compares), because that is what a user wants to see.
    """
    return _planned(module, device, options or PlanOptions())[1]


@np.errstate(all="ignore")
def plan_on_front(
    module: Module, device: Device, options: PlanOptions | None = None
) -> tuple[Program, tuple[Point, ...]]:
    """As `plan`, and the front of the first entry that the plan was chosen from: see
    `Maker.front`."""
    maker, program = _planned(module, device, options or PlanOptions())
    return program, maker.front(program)


@np.errstate(all="ignore")
def needs(module: Module, device: Device, options: PlanOptions | None = None) -> Mapping[str, int]:
    """`Maker.needs` of a module in the order that it has: much sooner there than a plan."""
    return Maker(_with_stand_ins(module), device, options or PlanOptions()).needs()


def _planned(module: Module, device: Device, options: PlanOptions) -> tuple[Maker, Program]:
    missing = tuple(p.name for p in module.params.values() if p.data is None)
    whole = guarded_first(_with_stand_ins(module))
    _check_pull(module, options)
    maker, ordered = Maker(whole, device, options), whole
    if not options.streams:  # a group is a run of neighbours in the order that its author saw
        ordered = reorder(whole)
    if ordered is not whole:
        other = Maker(ordered, device, options)
        maker = _smaller(maker, other, options.optimize, device.ram.name)
    more = further(device, options.memories)

    def best(maker: Maker) -> Program:
        refine, budget = maker.moving_rows, maker.budget
        return best_of_memories(maker, refine, device, options.optimize, budget, more)

    program = best(maker)
    if options.extra_macs > 0 and not options.streams:  # groups name values of the graph as it is
        maker, program = _with_less(maker, program, best)
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
        return Maker(module, device, options).needs()

    has = program.arenas.get(device.ram.name, 0)
    found = recompute(maker.module, maker.needs(), estimate, options.extra_macs, has, room)
    if found is None:
        return maker, program
    other = Maker(found.module, device, options)
    tried = best(other)
    if not aim.better(tried, program):
        return maker, program
    extra = found.extra(maker.module)
    return other, replace(tried, pieces=found.pieces, extra=extra)


def _smaller(make: Maker, other: Maker, optimize: Optimize, memory: str) -> Maker:
    """The one of two orders of the operators whose arena is smaller, `make` where both are equal:
    fewer bytes alive do not always make a smaller arena."""
    prices = Prices(ram=None) if optimize is Optimize.RAM else Prices()
    one, another = (m(prices).arenas.get(memory, 0) for m in (make, other))
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

    No two stand-ins are equal, so that none is stored in another's place.
    """

    def stand_in(index: int, param: Param) -> Param:
        type = param.value.type
        data = np.arange(type.size, dtype=np.int64) * (2 * index + 1) + index
        return Param(param.value, data.astype(type.dtype.numpy).reshape(type.shape))

    params = {
        name: stand_in(k, p) if p.data is None else p
        for k, (name, p) in enumerate(module.params.items())
    }
    return replace(module, params=params)

"""From a module to a program: the planner's own pipeline, on one screen in `plan`.

select    nodes -> tasks (kernels, epilogues)
layout    which values share storage
group     which tasks stream, and the size of their line buffers
steps     calls, copies and loops over views of buffers without offsets
arena     offsets
check     the certificate is verified by code that shares none of the above
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from lilliput.devices.device import Device
from lilliput.errors import PlanError
from lilliput.ir.module import Module, Param
from lilliput.ir.op import PLAIN
from lilliput.plan import arena, stage
from lilliput.plan.check import check
from lilliput.plan.frames import whole_box
from lilliput.plan.layout import Storage, lay_out
from lilliput.plan.lifetimes import distances, lifetimes, views
from lilliput.plan.objective import Budget, Optimize, Prices, best_plan
from lilliput.plan.pool import Homes, Pool
from lilliput.plan.program import (
    Entry,
    Kind,
    Program,
    StateSlot,
)
from lilliput.plan.select import Selection, select
from lilliput.plan.steps import StepWriter, make_view


@dataclass(frozen=True)
class PlanOptions:
    """homes : value name -> memory it lives in, where that is not the device's default;
    streams : groups of values whose tasks run row by row in one loop;
    pull : inputs whose rows are asked of the caller; one that is named in a group, too, lies in a
    line buffer and is never whole in memory;
    push : those inputs come by calls with one row each, one such input an entry;
    blocks : parameter in a memory that kernels cannot read -> output channels a slice;
    optimize : what the plan is chosen for; budget : what it should fit, where that is not the
    device it is planned for."""

    homes: Homes = field(default_factory=lambda: MappingProxyType({}))
    streams: tuple[tuple[str, ...], ...] = ()
    pull: frozenset[str] = frozenset()
    push: bool = False
    blocks: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    optimize: Optimize = Optimize.SPEED
    budget: Budget | None = None


@np.errstate(all="ignore")  # tables are made here, of functions that overflow to infinity
def plan(module: Module, device: Device, options: PlanOptions | None = None) -> Program:
    """Plans every entry of `module` for the memories of `device`, and checks the result.

    Raises PlanError when an option asks for what cannot be; the program may need more than
    the device has (`summary` compares), because that is what a user wants to see.
    """
    missing = tuple(p.name for p in module.params.values() if p.data is None)
    whole, chosen = _with_stand_ins(module), options or PlanOptions()
    _check_pull(module, chosen)

    def make(prices: Prices) -> Program:
        work = _Planner(whole, device, chosen, prices)
        for name in module.graphs:
            work.choose(name)
        return work.finish(tuple(work.entry(name) for name in module.graphs))

    program = best_plan(make, device, chosen.optimize, chosen.budget or Budget.of(device))
    check(program, {m.name: m.direct for m in device.memories})
    return replace(program, missing=missing)


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


class _Planner:
    def __init__(self, module: Module, device: Device, options: PlanOptions, prices: Prices):
        self.module, self.device, self.options, self.prices = module, device, options, prices
        self.pool = Pool(device, options.homes)
        self.selections: dict[str, Selection] = {}
        self.turning: frozenset[str] = frozenset()
        self.spans: dict[str, tuple[list[arena.Block], arena.Distances]] = {}
        for state in module.states.values():
            type = state.value.type
            self.pool.buffer(state.name, type.nbytes, Kind.STATE, itemsize=type.dtype.itemsize)

    def choose(self, name: str) -> None:
        """Kernels of an entry, and the states that it wants to keep as rings: what one entry
        turns, all others have to read as a ring."""
        graph = self.module.graphs[name]
        keep = frozenset(v.name for v in graph.outputs)
        sliced = frozenset(self.options.blocks)
        core = self.device.core.name
        self.selections[name] = select(graph, self.module.params, keep, core, sliced, self.prices)
        self.turning |= self._storage(name).turning

    def _storage(self, name: str) -> Storage:
        module, selection = self.module, self.selections[name]
        inputs = frozenset(v.name for v in module.graphs[name].inputs)
        return lay_out(
            selection.items,
            inputs | frozenset(selection.params),
            module.outputs(name),
            module.updates(name),
            {s.name: s.value for s in module.states.values()},
            self.turning,
            [v for v in module.inputs(name) if v.name in self.options.pull],
        )

    def entry(self, name: str) -> Entry:
        """Storage, steps, copies between memories, lifetimes."""
        module, selection, layout = self.module, self.selections[name], self._storage(name)
        writer = StepWriter(module, name, layout, selection, self.pool, self.options.streams)
        steps = writer.steps()
        pull = self.options.pull
        inputs = tuple((v, None if v.name in pull else writer.view(v)) for v in module.inputs(name))
        outputs = tuple((v, writer.view(v)) for v in module.outputs(name))
        entry = stage.stage(
            Entry(
                name,
                inputs,
                outputs,
                steps,
                self.options.push and any(v is None for _, v in inputs),
            ),
            self.pool.buffers,
            {m.name for m in self.device.memories if m.direct},
            self.device.ram.name,
            self.options.blocks,
        )
        for call in entry.calls():
            for view in (*call.inputs, *(v for _, v in call.results())):
                self.pool.align(view.buffer, call.kernel.align)
        blocks = lifetimes(entry, self.pool.buffers)
        self.spans[name] = (blocks, distances(entry, self.pool.buffers, blocks))
        return entry

    def finish(self, entries: tuple[Entry, ...]) -> Program:
        """Offsets: states first, for good; above them each entry's arena, shared over time."""
        states = tuple(self._state(s.name) for s in self.module.states.values())
        arenas: dict[str, int] = {}
        for memory in self.device.memories:
            at = 0
            for buffer in self.pool.buffers.values():
                if buffer.memory == memory.name and buffer.kind is Kind.STATE:
                    at = -(-at // buffer.align) * buffer.align
                    self.pool.buffers[buffer.name] = replace(buffer, offset=at)
                    at += buffer.nbytes
            top = at
            for blocks, near in self.spans.values():
                mine = [b for b in blocks if self.pool.buffers[b.name].memory == memory.name]
                offsets = arena.place(mine, near, at)
                for block in mine:
                    self.pool.buffers[block.name] = replace(
                        self.pool.buffers[block.name], offset=offsets[block.name]
                    )
                top = max(top, arena.extent(mine, offsets))
            if top:
                arenas[memory.name] = -(-top // 4) * 4
        used = {v.buffer for e in entries for v in views(e)}
        used |= {s.const for s in states if s.const} | {s.counter for s in states if s.counter}
        buffers = {n: b for n, b in self.pool.buffers.items() if n in used or b.kind is Kind.STATE}
        consts = {n: c for n, c in self.pool.consts.items() if n in used}
        return Program(self.module.name, buffers, consts, states, entries, arenas)

    def _state(self, name: str) -> StateSlot:
        state = self.module.states[name]
        box = whole_box(state.value.type)
        turns = name in self.turning
        counter = (
            self.pool.buffer(f"{name}/first", 4, Kind.STATE, self.pool.buffers[name].memory)
            if turns
            else None
        )
        view = make_view(name, state.value, box, ring=box.rows if turns else None, counter=counter)
        const = None
        if any(state.init.tobytes()):  # what is all zero needs no copy of itself
            const = self.pool.constant(f"{name}/init", state.init, PLAIN)
        return StateSlot(name, view, state.init, const, counter)

"""Plans of one order of the operators at any prices, and what may be asked about that order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import inf

from lilliput.devices.device import Device
from lilliput.ir.module import Module
from lilliput.plan.front import Point, front
from lilliput.plan.guard import guarded_first
from lilliput.plan.lifetimes import lifetimes
from lilliput.plan.memories import Moved, with_spilled
from lilliput.plan.objective import (
    STACK_ROOM,
    Budget,
    Prices,
    beyond,
    predicted,
    ram_of,
    step_cycles,
)
from lilliput.plan.options import PlanOptions
from lilliput.plan.partition import worth
from lilliput.plan.planner import AGAIN, Memo, Planner
from lilliput.plan.program import (
    Buffer,
    Kind,
    Program,
)


class Maker:
    """Plans one order of the operators at any prices."""

    def __init__(self, module: Module, device: Device, options: PlanOptions):
        self.module, self.device, self.options = guarded_first(module), device, options
        self.memo = Memo()
        self.budget = options.budget or Budget.of(device)
        self.spilled: dict[int, Maker] = {}

    def __call__(self, prices: Prices) -> Program:
        asked = prices.ram, prices.room, prices.memories, prices.strips, prices.effort
        key = prices.selecting(), *asked
        if key not in self.memo.programs:
            self.memo.programs[key] = prices, self._make(prices)
        return self.memo.programs[key][1]

    def _make(self, prices: Prices) -> Program:
        """A plan, and where its constants are too many for the internal flash and another one is
        open, with the coldest of them there."""
        program = self._corrected(prices)
        flashes = [m for m in self.device.memories if m.name in prices.memories]
        flashes = [m for m in flashes if m.kind == "flash"]
        opened = prices.memories - {m.name for m in flashes}

        def again(moved: Moved) -> Program:
            homes = {**moved.homes, **self.options.homes}
            blocks = {**moved.blocks, **self.options.blocks}
            options = replace(self.options, homes=homes, blocks=blocks)
            maker = Maker(self.module, self.device, options)
            found = maker(replace(prices, memories=opened))
            self.spilled[id(found)] = maker
            return found

        if not flashes:
            return program
        return with_spilled(program, self.device, self.budget, flashes, again)

    def _corrected(self, prices: Prices) -> Program:
        """The smallest of a few plans, each cut by what the one before said of its loops, up to the
        first that has the RAM that was asked for; with faster kernels where that is no worse."""
        best: Program | None = None
        for _ in range(AGAIN):
            work = self._chosen(prices)
            program = work.hasty()
            nbytes = ram_of(program, self.device)
            if best is None or nbytes < ram_of(best, self.device):
                best = program
            if not work.corrected or prices.ram is None or nbytes <= prices.ram:
                break
        assert best is not None
        return min(best, self._filled(prices) or best, key=lambda made: self._misses(made, prices))

    def _filled(self, prices: Prices) -> Program | None:
        """A plan with faster kernels where the one at these prices has scratch to spare, which may
        lie worse; None where there are none."""
        work = self._chosen(prices)
        faster = [work.use_room(name) for name in self.module.graphs]
        return work.hasty() if any(faster) else None

    def _misses(self, program: Program, prices: Prices) -> tuple[float, float]:
        """Bytes above those that were asked for, then cycles; what both are worth where few are."""
        if prices.ram is None:
            return 0.0, worth(ram_of(program, self.device), predicted(program, self.device))
        return beyond(program, self.device, max(prices.ram, prices.room))

    def moving_rows(self, plain: Program) -> Program:
        """The fastest of a few: a program that was made here and whose buffers were given to
        memories in a hurry, the same at leisure, and others that move rows of what is in slow
        memories through the default RAM, with planes there and without."""
        if id(plain) in self.spilled:
            return self.spilled[id(plain)].moving_rows(plain)
        ram = self.device.ram
        far = {m.name for m in self.device.memories if m.kind == "ram" and m.cost > ram.cost}
        if len(plain.arenas) < 2:
            return plain
        prices = next(prices for prices, p in self.memo.programs.values() if p is plain)
        program = self._chosen(prices).program(rows=False)
        if far.isdisjoint(program.arenas):
            return min(plain, program, key=self._worse)
        tried = [plain, program, self._chosen(prices).program(rows=True)]
        calls = (c for e in program.entries for c in e.calls())
        views = (v for c in calls for v in (*c.inputs, c.output))
        planar = {v.root: program.buffers[v.buffer] for v in views if v.plane is not None}
        planes = frozenset(name for name, b in planar.items() if b.memory in far)
        if planes - prices.rows:
            lean = replace(prices, rows=prices.rows | planes)
            tried.append(self._chosen(lean).program(rows=True))
        return min(tried, key=self._worse)

    def _worse(self, program: Program) -> tuple[float, float]:
        """Bytes that are too many in the default RAM, then cycles."""
        return beyond(program, self.device, self.budget.ram - STACK_ROOM)

    def _chosen(self, prices: Prices) -> Planner:
        work = Planner(self.module, self.device, self.options, prices, self.memo)
        for name in self.module.graphs:
            work.choose(name)
        return work

    def front(self, program: Program) -> tuple[Point, ...]:
        """What the first entry of a program that was made here could be with more or less RAM: with
        planes, and with planes given up; empty where groups or homes were said, and where the plan
        takes more than the default memories."""
        others = {b.memory for b in program.buffers.values()}
        others -= {self.device.ram.name, self.device.flash.name}
        if self.options.streams or self.options.homes or others:
            return ()
        made = self.memo.programs.values()
        prices = next(prices for prices, p in made if p.entries is program.entries)
        entry, buffers, ram = program.entries[0], program.buffers, self.device.ram.name
        free = replace(prices, rows=frozenset(), scratch={}, ram=inf)
        roomy = self._chosen(free)
        rows = prices.rows or roomy.planes(entry.name)
        lean = self._chosen(replace(free, rows=rows)) if rows else roomy
        cuts = [c for work in (roomy, lean) for c in work.cutter(entry.name).front()]
        mine = [b for b in buffers.values() if b.memory == ram]
        alive = {b.name for b in lifetimes(entry, buffers)}
        states = _top(b for b in mine if b.kind is Kind.STATE)
        used = _top(b for b in mine if b.kind is Kind.STATE or b.name in alive)
        core = self.device.core.name
        cycles = sum(c for step in entry.steps for _, c in step_cycles(step, core))
        return front(cuts, states, Point(-(-used // 4) * 4, cycles, chosen=True))

    def needs(self, *, lean: bool = False) -> Mapping[str, int]:
        """Value -> bytes that no cut of its entry does with less than while it is made, or
        converted, where all values lie in rows; `lean`: with the kernels of the least scratch."""
        rows = frozenset(v.name for graph in self.module.graphs.values() for v in graph.values())
        scratch = dict.fromkeys(rows, 0.0) if lean else {}
        chosen, most = self._chosen(Prices(rows=rows, scratch=scratch)), dict[str, int]()
        for name, nbytes in (need for entry in self.module.graphs for need in chosen.needs(entry)):
            most[name] = max(nbytes, most.get(name, 0))
        return most


def _top(buffers: Iterable[Buffer]) -> int:
    """Where the highest of them ends."""
    return max(((b.offset or 0) + b.nbytes for b in buffers), default=0)

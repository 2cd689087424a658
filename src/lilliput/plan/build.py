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

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from types import MappingProxyType

import numpy as np

from lilliput.devices.device import Device, Memory
from lilliput.errors import PlanError
from lilliput.ir.module import Module, Param
from lilliput.ir.op import PLAIN, Layout
from lilliput.plan import arena, branch, exact, stage
from lilliput.plan.banks import CHECKS, Bank, Choice, State, choose
from lilliput.plan.check import check
from lilliput.plan.fetch import fetch
from lilliput.plan.frames import whole_box
from lilliput.plan.front import Point, front
from lilliput.plan.layout import Job, Storage, lay_out
from lilliput.plan.lifetimes import lifetimes, views
from lilliput.plan.memories import Moved, best_of_memories, further, with_spilled
from lilliput.plan.objective import (
    STACK_ROOM,
    Aim,
    Budget,
    Optimize,
    Prices,
    Selecting,
    predicted,
    step_cycles,
)
from lilliput.plan.order import reorder
from lilliput.plan.overlap import distances
from lilliput.plan.partition import Cut, Cutter
from lilliput.plan.parts import Parts
from lilliput.plan.pool import Homes, Pool
from lilliput.plan.program import (
    Buffer,
    Entry,
    Kind,
    Program,
    Spread,
    StateSlot,
)
from lilliput.plan.recompute import recompute
from lilliput.plan.runs import Loops
from lilliput.plan.select import Selection, select
from lilliput.plan.stage import staged
from lilliput.plan.steps import StepWriter
from lilliput.plan.traffic import traffic
from lilliput.plan.views import make_view

EXTRA_MACS = 0.03
"""Share of the multiply-accumulates that may be done again where nobody says how many."""
AGAIN = 4
"""Times that kernels are chosen at most: each time with less scratch for some."""


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
    those of the network: where the least RAM is asked for, or where nothing else fits."""

    homes: Homes = field(default_factory=lambda: MappingProxyType({}))
    streams: tuple[tuple[str, ...], ...] = ()
    pull: frozenset[str] = frozenset()
    push: bool = False
    blocks: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    optimize: Optimize = Optimize.SPEED
    budget: Budget | None = None
    exact: bool = False
    extra_macs: float = EXTRA_MACS
    memories: frozenset[str] | None = None


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
    `_Maker.front`."""
    maker, program = _planned(module, device, options or PlanOptions())
    return program, maker.front(program)


def _planned(module: Module, device: Device, options: PlanOptions) -> tuple[_Maker, Program]:
    missing = tuple(p.name for p in module.params.values() if p.data is None)
    whole = _with_stand_ins(module)
    _check_pull(module, options)
    maker, ordered = _Maker(whole, device, options), whole
    if not options.streams:  # a group is a run of neighbours in the order that its author saw
        ordered = reorder(whole)
    if ordered is not whole:
        other = _Maker(ordered, device, options)
        maker = _smaller(maker, other, options.optimize, device.ram.name)
    more = further(device, options.memories)

    def best(maker: _Maker) -> Program:
        refine, budget = maker.moving_rows, maker.budget
        return best_of_memories(maker, refine, device, options.optimize, budget, more)

    program = best(maker)
    if options.extra_macs > 0 and not options.streams:  # groups name values of the graph as it is
        maker, program = _with_less(maker, program, best)
    check(program, {m.name: m.direct for m in device.memories})
    return maker, replace(program, missing=missing)


def _with_less(
    maker: _Maker, program: Program, best: Callable[[_Maker], Program]
) -> tuple[_Maker, Program]:
    """`program`, or a better one that computes some values again."""
    device, options = maker.device, maker.options
    aim = Aim(device, options.optimize, maker.budget)
    room = aim.lacks(program)
    if room is None:
        return maker, program

    def needs(module: Module) -> Mapping[str, int]:
        return _Maker(module, device, options).needs()

    has = program.arenas.get(device.ram.name, 0)
    found = recompute(maker.module, maker.needs(), needs, options.extra_macs, has, room)
    if found is None:
        return maker, program
    other = _Maker(found.module, device, options)
    tried = best(other)
    if not aim.better(tried, program):
        return maker, program
    extra = found.extra(maker.module)
    return other, replace(tried, pieces=found.pieces, extra=extra)


class _Maker:
    """Plans one order of the operators at any prices."""

    def __init__(self, module: Module, device: Device, options: PlanOptions):
        self.module, self.device, self.options = module, device, options
        self.memo = Memo()
        self.budget = options.budget or Budget.of(device)
        self.spilled: dict[int, _Maker] = {}

    def __call__(self, prices: Prices) -> Program:
        key = prices.selecting(), prices.ram, prices.memories
        if key not in self.memo.programs:
            self.memo.programs[key] = prices, self._make(prices)
        return self.memo.programs[key][1]

    def _make(self, prices: Prices) -> Program:
        """A plan, and where its constants are too many for the internal flash and another one is
        open, with the coldest of them there."""
        program = self._chosen(prices).program(rows=False, checks=0)
        flashes = [m for m in self.device.memories if m.name in prices.memories]
        flashes = [m for m in flashes if m.kind == "flash"]
        opened = prices.memories - {m.name for m in flashes}

        def again(moved: Moved) -> Program:
            homes = {**moved.homes, **self.options.homes}
            blocks = {**moved.blocks, **self.options.blocks}
            options = replace(self.options, homes=homes, blocks=blocks)
            maker = _Maker(self.module, self.device, options)
            found = maker(replace(prices, memories=opened))
            self.spilled[id(found)] = maker
            return found

        if not flashes:
            return program
        return with_spilled(program, self.device, self.budget, flashes, again)

    def moving_rows(self, plain: Program) -> Program:
        """The fastest of a few: a program that was made here and whose buffers were given to
        memories in a hurry, the same at leisure, and others that move rows of what is in slow
        memories through the default RAM, with planes there and without."""
        if id(plain) in self.spilled:
            return self.spilled[id(plain)].moving_rows(plain)
        ram = self.device.ram
        far = {m.name for m in self.device.memories if m.kind == "ram" and _dearer(m, ram)}
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
        room = self.budget.ram - STACK_ROOM
        over = program.arenas.get(self.device.ram.name, 0) - room
        return max(over, 0), predicted(program, self.device)

    def _chosen(self, prices: Prices) -> _Planner:
        work = _Planner(self.module, self.device, self.options, prices, self.memo)
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
        roomy = self._chosen(replace(prices, rows=frozenset(), ram=inf))
        rows = prices.rows or roomy.planes(entry.name)
        lean = self._chosen(replace(prices, rows=rows, ram=inf)) if rows else roomy
        cuts = [c for work in (roomy, lean) for c in work.cutter(entry.name).front()]
        mine = [b for b in buffers.values() if b.memory == ram]
        alive = {b.name for b in lifetimes(entry, buffers)}
        states = _top(b for b in mine if b.kind is Kind.STATE)
        used = _top(b for b in mine if b.kind is Kind.STATE or b.name in alive)
        core = self.device.core.name
        cycles = sum(c for step in entry.steps for _, c in step_cycles(step, core))
        return front(cuts, states, Point(-(-used // 4) * 4, cycles, chosen=True))

    def needs(self) -> Mapping[str, int]:
        """Value -> bytes that no cut of its entry does with less than while it is made, or
        converted, where all values lie in rows."""
        rows = frozenset(v.name for graph in self.module.graphs.values() for v in graph.values())
        lean, most = self._chosen(Prices(rows=rows)), dict[str, int]()
        for name, nbytes in (need for entry in self.module.graphs for need in lean.needs(entry)):
            most[name] = max(nbytes, most.get(name, 0))
        return most


def _dearer(memory: Memory, other: Memory) -> bool:
    return memory.read + memory.write > other.read + other.write


def _top(buffers: Iterable[Buffer]) -> int:
    """Where the highest of them ends."""
    return max(((b.offset or 0) + b.nbytes for b in buffers), default=0)


def _smaller(make: _Maker, other: _Maker, optimize: Optimize, memory: str) -> _Maker:
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


@dataclass
class Memo:
    """What plans at several prices have in common: selections, and the runs of their tasks."""

    programs: dict[tuple[Selecting, float | None, frozenset[str]], tuple[Prices, Program]] = field(
        default_factory=dict[tuple[Selecting, float | None, frozenset[str]], tuple[Prices, Program]]
    )
    selections: dict[tuple[str, Selecting], Selection] = field(
        default_factory=dict[tuple[str, Selecting], Selection]
    )
    cutters: dict[tuple[int, frozenset[str]], Cutter] = field(
        default_factory=dict[tuple[int, frozenset[str]], Cutter]
    )
    loops: Loops = field(default_factory=Loops)


class _Planner:
    def __init__(
        self, module: Module, device: Device, options: PlanOptions, prices: Prices, memo: Memo
    ):
        self.module, self.device, self.options, self.prices = module, device, options, prices
        self.memo = memo
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
        core, prices = self.device.core.name, self.prices
        for _ in range(AGAIN):
            key = name, prices.selecting()
            if key not in self.memo.selections:
                chosen = select(graph, self.module.params, keep, core, sliced, prices)
                self.memo.selections[key] = chosen
            self.selections[name] = self.memo.selections[key]
            allowed = self._scratch(name)
            if not allowed:
                break
            prices = replace(prices, scratch={**prices.scratch, **allowed})
        self.turning |= self._storage(name).turning

    def _scratch(self, name: str) -> dict[str, float]:
        """Value -> bytes of scratch that its making may have in the cut of the entry, where its
        kernel wants more: as little as can be in groups that somebody asked for."""
        storage = self._storage(name)
        cut = self._cut(name, storage)
        if self.prices.ram == inf:
            return {}
        tasks = [(i, a.task) for i, a in enumerate(storage.actions) if isinstance(a, Job)]
        return {
            task.output.name: allowed
            for i, task in tasks
            if task.others
            for least in (min(k.scratch(task.node) for k in task.others),)
            for allowed in (max(cut.scratch(i) if cut else 0, least),)
            if task.kernel.scratch(task.node) > allowed
        }

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
        cut = self._cut(name, layout)
        runs = cut.runs if cut else ()
        writer = StepWriter(module, name, layout, selection, self.pool, self.options.streams, runs)
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
        self._live(entry)
        return entry

    def _live(self, entry: Entry) -> None:
        """When its buffers are alive, and how far they may run over one another."""
        for call in entry.calls():
            for view in (*call.inputs, *(v for _, v in call.results())):
                self.pool.align(view.buffer, call.kernel.align)
        buffers: Mapping[str, Buffer] = self.pool.buffers
        if self.prices.memories:  # any two may come to lie in one memory
            buffers = {n: replace(b, memory="") for n, b in buffers.items()}
        blocks = lifetimes(entry, buffers)
        self.spans[entry.name] = (blocks, distances(entry, buffers, blocks))

    def _cut(self, name: str, layout: Storage) -> Cut | None:
        """Which tasks stream together, for the RAM that there is; None where that is said, or
        does not matter."""
        if self.prices.ram == inf or self.options.streams:
            return None
        return self.cutter(name, layout).best(self.prices.ram)

    def cutter(self, name: str, layout: Storage | None = None) -> Cutter:
        """What cuts an entry whose kernels are chosen, and whose storage may be known already."""
        selection = self.selections[name]
        key = id(selection), frozenset(self.turning)
        if key not in self.memo.cutters:
            layout = layout or self._storage(name)
            apart = frozenset(self.options.blocks)
            view = Parts(self.module, name, layout, selection, self.device.core.name, apart)
            self.memo.cutters[key] = Cutter(view.parts(), view.maps(), self.memo.loops)
        return self.memo.cutters[key]

    def needs(self, name: str) -> Iterator[tuple[str, int]]:
        """What `_Maker.needs` says of an entry, in the order of its tasks."""
        layout, graph = self._storage(name), self.module.graphs[name]
        known = {v.name for v in graph.values()}
        needs = self.cutter(name, layout).schedule.needs()
        for action, nbytes in zip(layout.actions, needs, strict=True):
            if isinstance(action, Job):
                values = (action.task.output, *action.task.reads())
                yield next((v.name for v in values if v.name in known), ""), nbytes

    def planes(self, name: str) -> frozenset[str]:
        """Values of an entry that are held in planes."""
        held = self.selections[name].layouts
        return frozenset(n for n, layout in held.items() if layout is Layout.PLANES)

    def program(self, *, rows: bool, checks: int = CHECKS) -> Program:
        """Steps of every entry, memories where there are several, offsets.

        rows : maps in slow memories are moved row by row through the default RAM
        """
        entries = tuple(self.entry(name) for name in self.module.graphs)
        states = tuple(self._state(s.name) for s in self.module.states.values())
        stay = {n: b.memory for n, b in self.pool.buffers.items() if b.kind is not Kind.CONST}
        stay = {n: m for n, m in stay.items() if m != self.device.ram.name}
        choice = self._spread(entries, stay, checks)
        for _ in range(AGAIN if choice and rows else 0):
            far = self._far() - stay.keys()
            moved = tuple(fetch(e, self.pool.buffers, far, self.device.ram.name) for e in entries)
            if moved == entries:
                break
            entries = moved
            stay |= {n: self.pool.buffers[n].memory for n in far}
            for entry in entries:
                self._live(entry)
            choice = self._spread(entries, stay, checks)
        return self.finish(entries, states, choice)

    def _far(self) -> frozenset[str]:
        """What lies in a RAM that is dearer than the default one."""
        dear = {m.name for m in self.device.memories if _dearer(m, self.device.ram)}
        buffers = self.pool.buffers.values()
        return frozenset(b.name for b in buffers if b.kind is Kind.ARENA and b.memory in dear)

    def _spread(
        self, entries: tuple[Entry, ...], stay: Mapping[str, str], checks: int
    ) -> Choice | None:
        """Gives every buffer its RAM where more than the default one is open; `stay` is settled,
        and so is what is copied into: it is where a DMA controller reaches it."""
        ram, opened = self.device.ram, self.prices.memories
        rams = [m for m in self.device.memories if m.kind == "ram" and m.name in opened]
        if not rams:
            return None
        budget = self.options.budget or Budget.of(self.device)
        banks = [Bank(ram.name, budget.ram - STACK_ROOM, ram.read, ram.write)]
        banks += [Bank(m.name, m.size, m.read, m.write) for m in rams]
        buffers = self.pool.buffers
        near = {v.buffer: ram.name for e in entries for v in staged(e)}
        fixed = {**near, **stay}
        states = [
            State(b.name, b.nbytes, b.align) for b in buffers.values() if b.kind is Kind.STATE
        ]
        moved = traffic(entries, buffers)
        choice = choose(banks, self.spans, states, moved, fixed, checks)
        for name, memory in choice.memory.items():
            buffers[name] = replace(buffers[name], memory=memory)
        return choice

    def finish(
        self, entries: tuple[Entry, ...], states: tuple[StateSlot, ...], choice: Choice | None
    ) -> Program:
        """Offsets: states first, for good; above them each entry's arena, shared over time."""
        arenas: dict[str, int] = {}
        bounds: dict[str, dict[str, int]] = {}
        for memory in self.device.memories:
            at = 0
            for buffer in self.pool.buffers.values():
                if buffer.memory == memory.name and buffer.kind is Kind.STATE:
                    at = -(-at // buffer.align) * buffer.align
                    self.pool.buffers[buffer.name] = replace(buffer, offset=at)
                    at += buffer.nbytes
            top = at
            for entry, (blocks, near) in self.spans.items():
                mine = [b for b in blocks if self.pool.buffers[b.name].memory == memory.name]
                placed = self._place(mine, near, at)
                for name, offset in placed.offsets.items():
                    self.pool.buffers[name] = replace(self.pool.buffers[name], offset=offset)
                bounds.setdefault(memory.name, {})[entry] = placed.bound
                top = max(top, placed.top)
            if top:
                arenas[memory.name] = -(-top // 4) * 4
        used = {v.buffer for e in entries for v in views(e)}
        used |= {s.const for s in states if s.const} | {s.counter for s in states if s.counter}
        buffers = {n: b for n, b in self.pool.buffers.items() if n in used or b.kind is Kind.STATE}
        consts = {n: c for n, c in self.pool.consts.items() if n in used}
        bounds = {memory: bounds[memory] for memory in arenas}
        program = Program(
            self.module.name,
            buffers,
            consts,
            states,
            entries,
            arenas,
            bounds,
            ram=self.device.ram.name,
        )
        if choice is None or len(arenas) < 2:
            return program
        return replace(program, spread=Spread(choice.cycles, choice.bound, choice.exact))

    def _place(self, blocks: list[arena.Block], near: arena.Distances, base: int) -> branch.Placed:
        """Offsets from `base` on, and how far they can be from the best ones."""
        placed = branch.tighten(blocks, near, base, arena.place(blocks, near, base))
        return exact.solve(blocks, near, base, placed) if self.options.exact else placed

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

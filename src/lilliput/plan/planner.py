"""One plan of a module, at the prices that it is given: kernels, storage, loops, offsets.

One idea: what depends on little is kept in `Memo`, as the search for a plan comes here many times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np

from lilliput.devices.device import Device
from lilliput.errors import PlanError
from lilliput.ir.graph import Node, Value
from lilliput.ir.module import Module
from lilliput.ir.op import PLAIN, Layout
from lilliput.ir.types import Array, DType
from lilliput.plan import arena, branch, exact, stage, within
from lilliput.plan.banks import CHECKS, Bank, Choice, State, choose
from lilliput.plan.cost import predict
from lilliput.plan.fetch import fetch
from lilliput.plan.frames import is_movement, whole_box
from lilliput.plan.layout import Job, Storage, Watch, lay_out
from lilliput.plan.lifetimes import lifetimes, views
from lilliput.plan.loops import Loops
from lilliput.plan.objective import (
    STACK_ROOM,
    Budget,
    Prices,
    Selecting,
)
from lilliput.plan.options import PlanOptions
from lilliput.plan.overlap import distances
from lilliput.plan.pace import paces
from lilliput.plan.partition import Cut, Cutter
from lilliput.plan.parts import Parts
from lilliput.plan.pool import Pool
from lilliput.plan.program import (
    Buffer,
    Const,
    Entry,
    Kind,
    Program,
    Spread,
    StateSlot,
)
from lilliput.plan.select import Chosen, Selection, Task, select
from lilliput.plan.stage import staged
from lilliput.plan.steps import StepWriter
from lilliput.plan.traffic import traffic
from lilliput.plan.views import make_view

AGAIN = 4
"""Times that kernels are chosen at most: each time with less scratch for some."""


Asked = tuple[Selecting, float | None, float, frozenset[str], bool, int]
"""All of `Prices`: what kernels are selected by, RAM, room, memories, strips, effort."""

Same = tuple[
    tuple[int, ...],
    tuple[tuple[int, ...] | None, ...],
    frozenset[str],
    frozenset[str],
    bool,
    int,
]
"""What a program follows from: selections and runs of every entry, states turning, memories,
strips, effort."""


@dataclass
class Memo:
    """What plans at several prices have in common.

    programs : by the prices that were asked for; same : by all that they follow from, which is
        kept with them, so that no other object takes its `id`
    selections : by entry and prices; chosen : by entry and kernels
    storages, cutters : of a selection, states turning
    parts : by the constants that there are, where each is, and how it is aligned
    """

    programs: dict[Asked, tuple[Prices, Program]] = field(
        default_factory=dict["Asked", tuple[Prices, Program]]
    )
    selections: dict[tuple[str, Selecting], Selection] = field(
        default_factory=dict[tuple[str, Selecting], Selection]
    )
    same: dict[Same, tuple[Sequence[Cut | None], Program]] = field(
        default_factory=dict["Same", tuple[Sequence["Cut | None"], Program]]
    )
    chosen: dict[str, dict[Chosen, Selection]] = field(
        default_factory=dict[str, dict["Chosen", Selection]]
    )
    storages: dict[tuple[str, int, frozenset[str]], Storage] = field(
        default_factory=dict[tuple[str, int, frozenset[str]], Storage]
    )
    cutters: dict[tuple[int, frozenset[str], bool], Cutter] = field(
        default_factory=dict[tuple[int, frozenset[str], bool], Cutter]
    )
    loops: Loops = field(default_factory=Loops)
    parts: dict[frozenset[tuple[str, str, int]], within.Found] = field(
        default_factory=dict[frozenset[tuple[str, str, int]], "within.Found"]
    )


class Planner:
    """`choose` for each entry, then `program` once.

    corrected : whether a loop turned out to need more than it was chosen for
    """

    def __init__(
        self, module: Module, device: Device, options: PlanOptions, prices: Prices, memo: Memo
    ):
        self.module, self.device, self.options, self.prices = module, device, options, prices
        self.memo = memo
        self.pool = Pool(device, options.homes)
        self.selections: dict[str, Selection] = {}
        self.turning: frozenset[str] = frozenset()
        self.corrected = False
        self.spans: dict[str, tuple[list[arena.Block], arena.Distances]] = {}
        for state in module.states.values():
            type = state.value.type
            self.pool.buffer(state.name, type.nbytes, Kind.STATE, itemsize=type.dtype.itemsize)

    def choose(self, name: str) -> None:
        """Kernels of an entry, and the states that it wants to keep as rings: what one entry
        turns, all others have to read as a ring."""
        self._settle(name, self.prices)
        self.turning |= self._storage(name).turning

    def _settle(self, name: str, prices: Prices) -> None:
        """Selects, cuts, and selects again with less scratch where the cut has not got it."""
        for _ in range(AGAIN):
            key = name, prices.selecting()
            if key not in self.memo.selections:
                self.memo.selections[key] = self._select(name, prices)
            self.selections[name] = self.memo.selections[key]
            allowed = self._scratch(name)
            if not allowed:
                break
            prices = replace(prices, scratch={**prices.scratch, **allowed})

    def _select(self, name: str, prices: Prices) -> Selection:
        graph = self.module.graphs[name]
        return select(
            graph,
            self.module.params,
            frozenset(v.name for v in graph.outputs),
            self.device.core.name,
            frozenset(self.options.blocks),
            prices,
            _sizes(self.module),
            self.memo.chosen.setdefault(name, {}),
        )

    def use_room(self, name: str) -> bool:
        """Takes faster kernels of an entry where its cut turned out to have the scratch, as what
        was chosen for an earlier one may be leaner than that needs; whether there are any."""
        cut = self._cut(name, self._storage(name))
        room = self._roomy(name, cut) if cut else {}
        if room:
            rows = {v.name for v in self.module.graphs[name].values()} - self.planes(name)
            tasks = (x for x in self.selections[name].items if isinstance(x, Task))
            has = {t.output.name: float(t.kernel.scratch(t.node)) for t in tasks}
            prices = replace(self.prices, rows=self.prices.rows | rows, scratch={**has, **room})
            self._settle(name, prices)
        return bool(room)

    def _roomy(self, name: str, cut: Cut) -> dict[str, float]:
        """Value -> bytes of scratch in a cut within which a faster kernel could make it that takes
        the operands as they lie."""
        core, found = self.device.core.name, dict[str, float]()
        for i, task in self._tasks(name):
            room, has = cut.scratch(i), task.kernel.scratch(task.node)
            more = [k for k in task.others if has < k.scratch(task.node) <= room]
            cycles = [predict(k, task.node, core, task.fused) for k in (task.kernel, *more)]
            if min(cycles) < cycles[0]:
                found[task.output.name] = room
        return found

    def _scratch(self, name: str) -> dict[str, float]:
        """Value -> bytes of scratch that its making may have in the cut of the entry, where its
        kernel wants more: as little as can be in groups that somebody asked for."""
        storage = self._storage(name)
        cut = self._cut(name, storage)
        if self.prices.ram == inf:
            return {}
        return {
            task.output.name: allowed
            for i, task in self._tasks(name)
            if task.others
            for least in (min(k.scratch(task.node) for k in task.others),)
            for allowed in (max(cut.scratch(i) if cut else 0, least),)
            if task.kernel.scratch(task.node) > allowed
        }

    def _tasks(self, name: str) -> list[tuple[int, Task]]:
        """What an entry computes, and its place among all that is done."""
        actions = enumerate(self._storage(name).actions)
        return [(i, a.task) for i, a in actions if isinstance(a, Job)]

    def _storage(self, name: str) -> Storage:
        module, selection = self.module, self.selections[name]
        key = name, id(selection), self.turning
        if key in self.memo.storages:
            return self.memo.storages[key]
        inputs = frozenset(v.name for v in module.graphs[name].inputs)
        self.memo.storages[key] = storage = lay_out(
            selection.items,
            inputs | frozenset(selection.params),
            module.outputs(name),
            module.updates(name),
            {s.name: s.value for s in module.states.values()},
            self.turning,
            [v for v in module.inputs(name) if v.name in self.options.pull],
            self._guards(name),
        )
        return storage

    def _guards(self, name: str) -> list[Watch]:
        given = {v.name: v for v in self.module.inputs(name)}
        ports = {v.name: v for v in self.module.outputs(name)} | given
        guards = self.module.guards.get(name, ())
        return [Watch(g, ports[g.name], g.name in given) for g in guards]

    def entry(self, name: str) -> Entry:
        """Storage, steps, copies between memories, lifetimes."""
        module, selection, layout = self.module, self.selections[name], self._storage(name)
        cut = self._cut(name, layout)
        runs = cut.runs if cut else ()
        writer = StepWriter(module, name, layout, selection, self.pool, self.options.streams, runs)
        steps = writer.steps()
        for run, more in writer.excess if self.prices.strips else ():
            self.cutter(name, layout).correct(run, more)
            self.corrected |= cut is not None and run.nbytes(cut.limit) + more > cut.limit
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
        near = {**distances(entry, buffers, blocks), **self.pool.near}
        self.spans[entry.name] = (blocks, near)

    def _cut(self, name: str, layout: Storage) -> Cut | None:
        """Which tasks stream together, for the RAM that there is; None where that is said, or
        does not matter."""
        if self.prices.ram == inf or self.options.streams:
            return None
        return self.cutter(name, layout).best(self.prices.ram)

    def cutter(self, name: str, layout: Storage | None = None) -> Cutter:
        """What cuts an entry whose kernels are chosen, and whose storage may be known already."""
        selection = self.selections[name]
        key = id(selection), frozenset(self.turning), self.prices.strips
        if key not in self.memo.cutters:
            layout = layout or self._storage(name)
            apart = frozenset(self.options.blocks)
            away = frozenset(n for n, m in self.options.homes.items() if m != self.device.ram.name)
            core = self.device.core.name
            pace = paces(layout, selection.params)
            view = Parts(self.module, name, layout, selection, core, apart, away, pace)
            loops, strips = self.memo.loops, self.prices.strips
            self.memo.cutters[key] = Cutter(view.parts(), view.maps(), loops, strips=strips)
        return self.memo.cutters[key]

    def needs(self, name: str) -> Iterator[tuple[str, int]]:
        """What `Maker.needs` says of an entry, in the order of its tasks."""
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

    def hasty(self) -> Program:
        """As `program`, memories chosen without checks, maps where they lie."""
        names, prices = list(self.module.graphs), self.prices
        cuts = [self._cut(name, self._storage(name)) for name in names]
        runs = tuple(tuple(map(id, cut.runs)) if cut else None for cut in cuts)
        selections = tuple(id(self.selections[name]) for name in names)
        key = selections, runs, self.turning, prices.memories, prices.strips, prices.effort
        if key not in self.memo.same:
            self.memo.same[key] = cuts, self.program(rows=False, checks=0)
        return self.memo.same[key][1]

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
        dear = {m.name for m in self.device.memories if m.cost > self.device.ram.cost}
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
        buffers = within.stored_once(buffers, self._parts(consts))
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
            near=dict(self.pool.near),
        )
        if choice is None or len(arenas) < 2:
            return program
        return replace(program, spread=Spread(choice.cycles, choice.bound, choice.exact))

    def _parts(self, consts: Mapping[str, Const]) -> within.Found:
        mine = (self.pool.buffers[n] for n in consts)
        key = frozenset((b.name, b.memory, b.align) for b in mine)
        if key not in self.memo.parts:
            self.memo.parts[key] = within.parts(consts.values(), self.pool.buffers)
        return self.memo.parts[key]

    def _place(self, blocks: list[arena.Block], near: arena.Distances, base: int) -> branch.Placed:
        """Offsets from `base` on, and how far they can be from the best ones."""
        effort = arena.EFFORT * self.prices.effort
        offsets = arena.place(blocks, near, base, effort)
        placed = branch.tighten(blocks, near, base, offsets)
        return exact.solve(blocks, near, base, placed) if self.options.exact else placed

    def _state(self, name: str) -> StateSlot:
        state = self.module.states[name]
        box = whole_box(state.value.type)
        turns = name in self.turning
        if turns and state.saved:
            raise PlanError(
                "a ring over time is not saved",
                where=name,
                expected="trained tensors, and what trains them",
                hint="leave it out of the saved states: a stream begins anew at power-on",
            )
        counter = (
            self.pool.buffer(f"{name}/first", 4, Kind.STATE, self.pool.buffers[name].memory)
            if turns
            else None
        )
        view = make_view(name, state.value, box, ring=box.rows if turns else None, counter=counter)
        const = None
        if any(state.init.tobytes()):  # what is all zero needs no copy of itself
            const = self.pool.constant(f"{name}/init", state.init, PLAIN)
        marks = state.saved, state.settable, state.bounds
        return StateSlot(name, view, state.init, const, counter, *marks)


def _sizes(module: Module) -> dict[str, Array]:
    """The largest magnitudes of integer states that every entry keeps within limits.

    Those of int8 weights are none where -128 is among them, which has no opposite.
    """
    makers = {v.name: n for g in module.graphs.values() for n in g.nodes for v in n.outputs}
    found: dict[str, Array] = {}
    for state in module.states.values():
        limits = [_limits(v, makers) for v in state.updates.values()]
        if limits and state.value.type.dtype in (DType.S8, DType.S32) and all(limits):
            most = max(max(abs(low), abs(high)) for low, high in filter(None, limits))
            sizes = np.maximum(np.abs(state.init.astype(np.int64)), most)
            if state.value.type.dtype is DType.S32 or sizes.max() <= DType.S8.bounds[1]:
                found[state.name] = sizes
    return found


def _limits(value: Value, makers: Mapping[str, Node]) -> tuple[int, int] | None:
    """The least and the most that an integer value can hold, where that is known: of parts that
    are moved together, what is known of all of them."""
    node = makers.get(value.name)
    if node is None or not (node.op.view or is_movement(node)):
        return node.op.limits(node) if node else None
    found = [_limits(v, makers) for v in node.inputs]
    known = [limits for limits in found if limits is not None]
    if not known or len(known) < len(found):
        return None
    return min(low for low, _ in known), max(high for _, high in known)

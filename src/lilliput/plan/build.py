"""From a module to a program: the planner's own pipeline, on one screen in `plan`.

select    nodes -> tasks (kernels, epilogues)
layout    which values share storage
group     which tasks stream, and the size of their line buffers
steps     calls, copies and loops over views of buffers without offsets
arena     offsets
check     the certificate is verified by code that shares none of the above
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from lilliput.devices.device import Device
from lilliput.errors import PlanError
from lilliput.ir.graph import Value
from lilliput.ir.module import Module, Param
from lilliput.ir.op import PLAIN, Layout, Packing
from lilliput.ir.region import Reduce
from lilliput.ir.types import Array, DType
from lilliput.plan import arena, stage
from lilliput.plan.check import check
from lilliput.plan.frames import Box, operand_frame, whole_box, windowed
from lilliput.plan.group import Member, Read, timetable
from lilliput.plan.layout import Job, Storage, Turn, compose, lay_out
from lilliput.plan.lifetimes import distances, lifetimes, views
from lilliput.plan.program import (
    Advance,
    Buffer,
    Call,
    Const,
    Entry,
    Kind,
    Loop,
    Program,
    Range,
    Region,
    StateSlot,
    Step,
    Store,
    Timed,
    View,
    everything,
)
from lilliput.plan.select import Selection, Task, copy_task, select

Homes = Mapping[str, str]


@dataclass(frozen=True)
class PlanOptions:
    """homes : value name -> memory it lives in, where that is not the device's default;
    streams : groups of values whose tasks run row by row in one loop;
    blocks : parameter in a memory that kernels cannot read -> output channels a slice."""

    homes: Homes = field(default_factory=lambda: MappingProxyType({}))
    streams: tuple[tuple[str, ...], ...] = ()
    blocks: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


def plan(module: Module, device: Device, options: PlanOptions | None = None) -> Program:
    """Plans every entry of `module` for the memories of `device`, and checks the result.

    Raises PlanError when an option asks for what cannot be; the program may need more than
    the device has (`summary` compares), because that is what a user wants to see.
    """
    work = _Planner(module, device, options or PlanOptions())
    entries = tuple(work.entry(name) for name in module.graphs)
    program = work.finish(entries)
    check(program, {m.name: m.direct for m in device.memories})
    return program


class _Planner:
    def __init__(self, module: Module, device: Device, options: PlanOptions):
        self.module, self.device, self.options = module, device, options
        self.buffers: dict[str, Buffer] = {}
        self.consts: dict[str, Const] = {}
        self.constants: dict[str, str] = {}
        self.pool: dict[tuple[str, str, bytes], str] = {}
        self.turning: set[str] = set()
        self.spans: dict[str, tuple[list[arena.Block], arena.Distances]] = {}
        for state in module.states.values():
            self.buffer(state.name, state.value.type.nbytes, Kind.STATE)

    def buffer(self, name: str, nbytes: int, kind: Kind, memory: str | None = None) -> str:
        default = self.device.flash.name if kind is Kind.CONST else self.device.ram.name
        home = memory or self.options.homes.get(name, default)
        self.device.memory(home)
        self.buffers[name] = Buffer(name, home, nbytes, kind)
        return name

    def entry(self, name: str) -> Entry:
        module, graph = self.module, self.module.graphs[name]
        keep = frozenset(v.name for v in graph.outputs)
        selection = select(graph, module.params, keep, self.device.core.name)
        layout = lay_out(
            selection.items,
            frozenset(v.name for v in graph.inputs) | frozenset(selection.params),
            module.outputs(name),
            module.updates(name),
            {s.name: s.value for s in module.states.values()},
        )
        self.turning |= layout.turning
        writer = _Writer(self, name, layout, selection)
        steps = writer.steps()
        inputs = tuple((v, writer.view(v)) for v in module.inputs(name))
        outputs = tuple((v, writer.view(v)) for v in module.outputs(name))
        entry = stage.stage(
            Entry(name, inputs, outputs, steps),
            self.buffers,
            {m.name for m in self.device.memories if m.direct},
            self.device.ram.name,
            self.options.blocks,
        )
        blocks = lifetimes(entry, self.buffers)
        self.spans[name] = (blocks, distances(entry, self.buffers, blocks))
        return entry

    def finish(self, entries: tuple[Entry, ...]) -> Program:
        """Offsets: states first, for good; above them each entry's arena, shared over time."""
        states = tuple(self._state(s.name) for s in self.module.states.values())
        arenas: dict[str, int] = {}
        for memory in self.device.memories:
            at = 0
            for buffer in self.buffers.values():
                if buffer.memory == memory.name and buffer.kind is Kind.STATE:
                    at = -(-at // buffer.align) * buffer.align
                    self.buffers[buffer.name] = replace(buffer, offset=at)
                    at += buffer.nbytes
            top = at
            for blocks, near in self.spans.values():
                mine = [b for b in blocks if self.buffers[b.name].memory == memory.name]
                offsets = arena.place(mine, near, at)
                for block in mine:
                    self.buffers[block.name] = replace(
                        self.buffers[block.name], offset=offsets[block.name]
                    )
                top = max(top, arena.extent(mine, offsets))
            if top:
                arenas[memory.name] = -(-top // 4) * 4
        used = {v.buffer for e in entries for v in views(e)}
        used |= {s.const for s in states if s.const} | {s.counter for s in states if s.counter}
        buffers = {n: b for n, b in self.buffers.items() if n in used or b.kind is Kind.STATE}
        consts = {n: c for n, c in self.consts.items() if n in used}
        return Program(self.module.name, buffers, consts, states, entries, arenas)

    def _state(self, name: str) -> StateSlot:
        state = self.module.states[name]
        box = whole_box(state.value.type)
        turns = name in self.turning
        counter = (
            self.buffer(f"{name}/first", 4, Kind.STATE, self.buffers[name].memory)
            if turns
            else None
        )
        view = make_view(name, state.value, box, ring=box.rows if turns else None, counter=counter)
        const = None
        if np.any(state.init.view(np.uint8) if state.init.flags.c_contiguous else state.init):
            const = self.constant(f"{name}/init", state.init, PLAIN)
        return StateSlot(name, view, state.init, const, counter)

    def constant(self, name: str, data: Array, packing: Packing) -> str:
        """The buffer of a constant as `packing` lays it out; one for all that are equal."""
        key = name if packing is PLAIN else f"{name}@{packing.name}"
        if key not in self.constants:
            packed = np.ascontiguousarray(packing.pack(data))
            memory = self.options.homes.get(name, self.device.flash.name)
            content = (memory, packed.dtype.str, packed.tobytes())
            if content not in self.pool:
                self.pool[content] = self.buffer(key, packed.nbytes, Kind.CONST, memory)
                self.consts[key] = Const(key, packed, packing.name, name)
            self.constants[key] = self.pool[content]
        return self.constants[key]


def make_view(
    buffer: str,
    value: Value,
    box: Box,
    *,
    root: str | None = None,
    ring: int | None = None,
    counter: str | None = None,
) -> View:
    size = value.type.dtype.itemsize
    shift, start = divmod(box.start, box.row) if ring is not None else (0, box.start)
    return View(
        buffer,
        root or buffer,
        value.type.dtype,
        box.rows,
        box.pixels,
        box.channels,
        box.row * size,
        box.pixel * size,
        start * size,
        ring,
        shift,
        counter,
    )


def planar_view(buffer: str, value: Value, ring: int | None) -> View:
    """A whole value in channel planes; such a value is its own root."""
    rows, pixels, channels = value.type.frame
    size = value.type.dtype.itemsize
    row = pixels * size
    plane = (ring or rows) * row
    dtype = value.type.dtype
    return View(
        buffer, value.name, dtype, rows, pixels, channels, row, size, ring=ring, plane=plane
    )


class _Writer:
    """Writes the steps of one entry."""

    def __init__(self, planner: _Planner, entry: str, layout: Storage, selection: Selection):
        self.planner, self.name, self.layout = planner, entry, layout
        self.params: Mapping[str, Param] = selection.params
        self.layouts = selection.layouts
        self.rings: dict[str, int] = {}
        graph = planner.module.graphs[entry]
        self.values = {v.name: v for v in graph.values()}
        for job in self._jobs():
            for value in (*job.task.reads(), job.task.output):
                self.values[value.name] = value

    def _jobs(self) -> list[Job]:
        return [a for a in self.layout.actions if isinstance(a, Job)]

    def steps(self) -> tuple[Step, ...]:
        groups = self._groups()
        self.rings = {r: n for g in groups.values() for r, n in g.rings.items()}
        steps: list[Step] = []
        for index, action in enumerate(self.layout.actions):
            if isinstance(action, Turn):
                ring = self._rows(action.state)
                steps.append(Advance(f"{action.state}/first", ring, action.rows))
            elif (group := groups.get(index)) is not None:
                steps.append(self._loop(group))
            elif not any(index in g.members for g in groups.values()):
                steps += self._calls(action)
        return tuple(steps)

    def _rows(self, state: str) -> int:
        return self.planner.module.states[state].value.type.frame[0]

    # groups

    def _groups(self) -> dict[int, _Group]:
        """First action of each group -> the group."""
        found: dict[int, _Group] = {}
        makers = {
            a.task.output.name: i for i, a in enumerate(self.layout.actions) if isinstance(a, Job)
        }
        for names in self.planner.options.streams:
            if not any(n in makers for n in names):
                continue  # a group of another entry
            missing = [n for n in names if n not in makers]
            if missing:
                raise PlanError(
                    "a streaming group names values that no task makes",
                    where=f"entry {self.name!r}",
                    expected=", ".join(makers),
                    found=", ".join(missing),
                )
            first, last = (f(makers[n] for n in names) for f in (min, max))
            members = list(range(first, last + 1))
            own = {v.name for v in self.planner.module.graphs[self.name].values()}
            strange = [n for n, i in makers.items() if i in members and n in own and n not in names]
            if strange or len([i for i in makers.values() if i in members]) != len(members):
                raise PlanError(
                    "a streaming group is not a run of neighbouring tasks",
                    where=", ".join(names),
                    found=", ".join(strange) or "a ring that turns",
                    hint="include the tasks in between",
                )
            found[members[0]] = self._group(members)
        return found

    def _group(self, members: Sequence[int]) -> _Group:
        jobs = [a for i in members if isinstance(a := self.layout.actions[i], Job)]
        outside = {
            self.layout.place(v).root
            for i, a in enumerate(self.layout.actions)
            if isinstance(a, Job) and i not in members
            for v in a.task.reads()
        }
        module = self.planner.module
        outside |= {self.layout.place(v).root for v in module.graphs[self.name].outputs}
        outside |= {v.name for v in module.graphs[self.name].inputs}
        table = timetable([self._member(j.task) for j in jobs], frozenset(outside))
        return _Group(
            tuple(members),
            tuple(jobs),
            tuple((s.period, s.phase, s.count) for s in table.slots),
            dict(table.rings),
            table.iterations,
        )

    def _member(self, task: Task) -> Member:
        reads = tuple(
            Read(self.layout.place(v).root, r.y)
            for v, r in zip(_operands(task), task.rules, strict=True)
            if v.name not in self.params
        )
        if any(windowed(r.rule) is not None for r in reads) and task.output.type.shape[:-3] not in (
            (),
            (1,),
        ):
            raise PlanError("only batch 1 streams", where=task.node.describe())
        output = self.layout.place(task.output).root
        return Member(
            task.node.describe(), reads, output, iteration_rows(task), task.kernel.quantum
        )

    def _loop(self, group: _Group) -> Loop:
        body: list[Timed] = []
        for job, (period, phase, count) in zip(group.jobs, group.slots, strict=True):
            call = self._call(job)
            q = job.task.kernel.quantum
            y = Range(0, q, call.region.y.extent, q)
            body.append(
                Timed(replace(call, region=replace(call.region, y=y)), period, phase, count)
            )
        return Loop(group.iterations, tuple(body))

    # calls

    def _calls(self, job: Job) -> list[Step]:
        """The call, with copies around it where its kernel wants operands without strides."""
        if not job.task.kernel.dense:
            return [self._call(job)]
        before: list[Step] = []
        task = job.task
        operands = list(task.operands)
        for i, operand in enumerate(operands):
            value = operand.value
            if value.name not in self.params and not self.view(value).is_dense:
                packed = self._temporary(value, "dense")
                before.append(self._call(Job(copy_task(task.node.origin, value, packed))))
                operands[i] = replace(operand, value=packed)
        call_task = replace(task, operands=tuple(operands))
        if self.view(task.output).is_dense:
            return [*before, self._call(replace(job, task=call_task))]
        packed = self._temporary(task.output, "dense")
        call = self._call(replace(job, task=replace(call_task, output=packed)))
        after = self._call(Job(copy_task(task.node.origin, packed, task.output)))
        return [*before, call, after]

    def _temporary(self, value: Value, why: str) -> Value:
        name, k = f"{value.name}/{why}", 0
        while name in self.planner.buffers:
            k += 1
            name = f"{value.name}/{why}.{k}"
        return Value(name, value.type)

    def _call(self, job: Job) -> Call:
        task = job.task
        inputs: list[View] = []
        for operand, rule in zip(task.operands, task.rules, strict=False):
            if operand.packing is not PLAIN:
                inputs.append(self._packed(operand.value, operand.packing))
            else:
                frame = operand_frame(rule, operand.value.type)
                inputs.append(self.view(operand.value, job.source, frame))
        store: Store | None = None
        if task.expression is not None:
            loads = tuple(self.view(v) for v in task.expression.operands)
            tables = tuple(self.view(v) for v in task.expression.tables)
            store = Store(task.expression.statements, loads, tables)
            inputs += loads
        output = self.view(task.output, job.target)
        rows = iteration_rows(task) if job.target is None else job.target.rows
        region = Region(everything(rows), everything(output.pixels), everything(output.channels))
        return Call(
            task.kernel,
            task.node,
            task.fused,
            tuple(inputs),
            task.rules,
            output,
            task.output,
            region,
            store,
            self._scratch(task),
            task.rejected,
        )

    def _scratch(self, task: Task) -> View | None:
        nbytes = task.kernel.scratch(task.node) + task.kernel.carry(task.node)
        if not nbytes:
            return None
        name = self.planner.buffer(f"{self.name}/{task.output.name}/scratch", nbytes, Kind.ARENA)
        return View(name, name, DType.U8, 1, 1, nbytes, nbytes, nbytes)

    def _packed(self, value: Value, packing: Packing) -> View:
        param = self.params[value.name]
        assert param.data is not None
        buffer = self.planner.constant(value.name, param.data, packing)
        box = Box(1, 1, value.type.size, value.type.size, value.type.size)
        return make_view(buffer, value, box)

    def view(
        self, value: Value, box: Box | None = None, frame: tuple[int, int, int] | None = None
    ) -> View:
        """Where `value`, or `box` of it, lies; makes the buffer of its root on first use."""
        place = self.layout.place(value)
        if place.root in self.params:
            data = self.params[place.root].data
            if data is None:
                raise PlanError("parameter has no data", where=place.root)
            buffer = self.planner.constant(place.root, data, PLAIN)
        elif place.root in self.planner.module.states:
            buffer = place.root
        else:
            buffer = self._arena_buffer(place.root, value)
        at = place.box
        if box is not None:
            at = compose(box, at)
        elif frame is not None and frame != (at.rows, at.pixels, at.channels):
            rows, pixels, channels = frame
            at = Box(rows, pixels, channels, pixels * channels, channels, at.start)
        turning = place.root in self.layout.turning
        ring = self.rings.get(place.root) or (self._rows(place.root) if turning else None)
        if self.layouts.get(place.root) is Layout.PLANES:
            return planar_view(buffer, value, ring)
        counter = f"{place.root}/first" if turning else None
        return make_view(buffer, value, at, root=place.root, ring=ring, counter=counter)

    def _arena_buffer(self, root: str, value: Value) -> str:
        key = f"{self.name}/{root}"
        if key not in self.planner.buffers:
            type = self.values.get(root, value).type
            nbytes = type.nbytes
            if root in self.rings:
                nbytes = self.rings[root] * type.frame[1] * type.frame[2] * type.dtype.itemsize
            home = self.planner.options.homes.get(root)
            self.planner.buffer(key, nbytes, Kind.ARENA, home)
        return key


@dataclass(frozen=True)
class _Group:
    members: tuple[int, ...]
    jobs: tuple[Job, ...]
    slots: tuple[tuple[int, int, int], ...]
    rings: Mapping[str, int]
    iterations: int


def _operands(task: Task) -> tuple[Value, ...]:
    extra = task.expression.operands if task.expression else ()
    return (*(o.value for o in task.operands), *extra)


def iteration_rows(task: Task) -> int:
    """Extent of the row axis that the kernel iterates over: output rows, or input rows of a
    reduction."""
    for operand, rule in zip(task.operands, task.rules, strict=False):
        if isinstance(rule.y, Reduce) and not hasattr(rule.y.inner, "size"):
            return operand.value.type.frame[0]
    return task.output.type.frame[0]

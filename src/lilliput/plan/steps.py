"""Steps: calls, copies and loops over views of buffers that have no offsets yet.

One `StepWriter` writes one entry from its layout.  Kernels that want operands without gaps
get copies; the tasks of a streaming group become one loop, timed by `group`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lilliput.errors import PlanError
from lilliput.ir.graph import Value
from lilliput.ir.module import Module, Param
from lilliput.ir.op import PLAIN, Layout, Packing
from lilliput.ir.region import Reduce
from lilliput.ir.types import DType
from lilliput.plan.frames import Box, operand_frame
from lilliput.plan.group import Member, Timetable, timetable
from lilliput.plan.layout import Ask, Job, Storage, Turn, Watch, compose
from lilliput.plan.lines import Lead, Line, lines
from lilliput.plan.overlap import pixel_lead
from lilliput.plan.pace import paces
from lilliput.plan.parts import flow, iteration_rows, member
from lilliput.plan.pool import Pool
from lilliput.plan.program import (
    Advance,
    Call,
    Kind,
    Loop,
    Pull,
    Range,
    Region,
    Step,
    Stop,
    Store,
    Timed,
    View,
    everything,
)
from lilliput.plan.runs import Run
from lilliput.plan.select import Selection, Task, copy_task
from lilliput.plan.strips import Flow, chases, columns, in_strips
from lilliput.plan.views import make_view, planar_view


@dataclass(frozen=True)
class _Group:
    """Actions that become one loop, as `streaming` says.

    under : (output, input) that line buffers lie between
    flows : of one that goes by strips, how its actions go through pixels, and in how many strips
    run : what it was estimated as, where it was chosen
    """

    members: Sequence[int]
    actions: tuple[Job | Ask, ...]
    streaming: tuple[Member, ...]
    table: Timetable
    under: tuple[str, str] | None = None
    flows: tuple[Flow, ...] = ()
    strips: int = 1
    run: Run | None = None


class StepWriter:
    """Writes the steps of one entry."""

    def __init__(
        self,
        module: Module,
        entry: str,
        layout: Storage,
        selection: Selection,
        pool: Pool,
        streams: Sequence[Sequence[str]],
        runs: Sequence[Run],
    ):
        """streams : groups that somebody asked for, by the values they make; runs : groups that
        were chosen, by their actions.

        excess : of these the ones that turn out to need more bytes than was estimated
        """
        self.module, self.name, self.layout = module, entry, layout
        self.pool, self.streams, self.runs = pool, streams, runs
        self.params: Mapping[str, Param] = selection.params
        self.layouts = selection.layouts
        self.paces = paces(layout, selection.params)
        self.rings: dict[str, int] = {}
        self.lines: dict[str, tuple[str, tuple[int, ...]]] = {}
        self.scratch: dict[str, tuple[str, tuple[int, ...]]] = {}
        self.excess: list[tuple[Run, int]] = []
        graph = module.graphs[entry]
        self.values = {v.name: v for v in graph.values()}
        for job in self._jobs():
            for value in (*job.task.reads(), *job.task.makes()):
                self.values[value.name] = value

    def _jobs(self) -> list[Job]:
        return [a for a in self.layout.actions if isinstance(a, Job)]

    def steps(self) -> tuple[Step, ...]:
        groups = self._groups()
        self.rings = {r: n for g in groups.values() for r, n in g.table.rings.items()}
        steps: list[Step] = []
        for index, action in enumerate(self.layout.actions):
            if isinstance(action, Turn):
                ring = self._rows(action.state)
                steps.append(Advance(f"{action.state}/first", ring, action.rows))
            elif isinstance(action, Watch):
                guard, value = action.guard, action.value
                view = self.view(value)
                below = self.view(self.values[guard.below]) if guard.below else None
                steps.append(Stop(value, view, guard.low, guard.high, action.given, below))
            elif (group := groups.get(index)) is not None:
                steps.append(self._loop(group))
            elif any(index in g.members for g in groups.values()):
                continue
            elif isinstance(action, Ask):
                steps.append(self._pull(action))
            else:
                steps += self._calls(action)
        return tuple(steps)

    def _rows(self, state: str) -> int:
        return self.module.states[state].value.type.frame[0]

    # groups

    def _groups(self) -> dict[int, _Group]:
        """First action of each group -> the group."""
        loops = (run for run in self.runs if run.rows)
        found = {
            r.start: self._by_strips(
                replace(
                    self._group(range(r.start, r.stop), r.rows),
                    under=(r.slide.out, r.slide.inp) if r.under and r.slide else None,
                    run=r,
                ),
                r.strips,
            )
            for r in loops
        }
        makers = {
            _made(a).name: i for i, a in enumerate(self.layout.actions) if isinstance(a, Job | Ask)
        }
        for names in self.streams:
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
            own = {v.name for v in self.module.graphs[self.name].values()}
            strange = [n for n, i in makers.items() if i in members and n in own and n not in names]
            if strange or len([i for i in makers.values() if i in members]) != len(members):
                raise PlanError(
                    "a streaming group is not a run of neighbouring tasks",
                    where=", ".join(names),
                    found=", ".join(strange) or "a ring that turns, or a guard",
                    hint="include the tasks in between",
                )
            found[members[0]] = self._group(members)
        return found

    def _group(self, members: Sequence[int], rows: int = 1) -> _Group:
        actions = [a for i in members if isinstance(a := self.layout.actions[i], Job | Ask)]
        outside = {
            self.layout.place(v).root
            for i, a in enumerate(self.layout.actions)
            if isinstance(a, Job) and i not in members
            for v in (*a.task.reads(), *a.task.makes())
        }
        graph = self.module.graphs[self.name]
        outside |= {self.layout.place(v).root for v in graph.outputs}
        outside |= {v.name for v in graph.inputs} - {_made(a).name for a in actions}
        streaming = [
            member(a, self.layout, self.params, self.paces).in_blocks(rows) for a in actions
        ]
        table = timetable(streaming, frozenset(outside))
        return _Group(members, tuple(actions), tuple(streaming), table)

    def _by_strips(self, group: _Group, strips: int) -> _Group:
        """A group in strips, where the kernels that were taken in the end allow that."""
        found = (flow(action, self.layout, self.params) for action in group.actions)
        flows = tuple(f for f in found if f is not None)
        if strips == 1 or len(flows) < len(group.actions) or not in_strips(flows, strips):
            return group
        return replace(group, flows=flows, strips=strips)

    def _loop(self, group: _Group) -> Loop:
        shares = self._share(group)
        if not shares and group.run and group.run.strips > 1:
            self.excess.append((group.run, group.run.least))  # no strips without places
        cut = columns(group.flows, group.strips) if shares and group.strips > 1 else None
        body: list[Timed] = []
        quanta = (m.quantum for m in group.streaming)
        for i, (action, q) in enumerate(zip(group.actions, quanta, strict=True)):
            slot = group.table.slots[i]
            if isinstance(action, Ask):
                step = replace(self._pull(action), rows=q)
            else:
                call = self._call(action)
                y = Range(0, q, call.region.y.extent, q)
                step = replace(call, region=replace(call.region, y=y))
            strips = cut[i] if cut else ()
            body.append(Timed(step, slot.period, slot.phase, slot.count, strips))
        return Loop(group.table.iterations, tuple(body))

    def _share(self, group: _Group) -> bool:
        """Line buffers and scratch of a loop in one pool, where that takes less than buffers of
        their own; whether it is so."""
        rings, roots = group.table.rings, tuple(self._lines(group, group.table.rings, parts=True))
        planes = any(self.layouts.get(r) is Layout.PLANES for r in rings)
        jobs = [a.task if isinstance(a, Job) else None for a in group.actions]
        scratch = tuple(
            0 if planes or not t or t.kernel.carry(t.node) else t.kernel.scratch(t.node)
            for t in jobs
        )
        if not roots:
            return False
        out, inp = self._free(group)
        leads = tuple(self._leads(group, {name for name, *_ in roots}, inp[0] if inp else None))
        near = chases(group.flows, group.strips) if group.strips > 1 else None
        pool = lines(group.streaming, group.table.slots, roots, scratch, out, inp, leads, near)
        if pool is None or pool.beside >= _apart(group, roots, scratch):
            return False
        if group.run is not None:
            beside = zip(group.run.beside, scratch, strict=True)
            more = pool.beside - group.run.lines - max(rows + n for rows, n in beside)
            self.excess += [(group.run, more)] if more > 0 else []
        name = f"{self.name}/{_made(group.actions[0]).name}/lines"
        self.pool.buffer(name, pool.nbytes, Kind.ARENA, itemsize=8)
        if pool.behind is not None and out is not None:
            self.pool.near[f"{self.name}/{out[0]}", name] = pool.behind
        if pool.ahead is not None and inp is not None:
            self.pool.near[name, f"{self.name}/{inp[0]}"] = pool.ahead
        self.lines |= {root: (name, places) for root, places in pool.places.items()}
        self.scratch |= {
            t.output.name: (name, at)
            for t, at, nbytes in zip(jobs, pool.scratch, scratch, strict=True)
            if t and nbytes
        }
        return True

    def _leads(self, group: _Group, made: set[str], inp: str | None) -> Iterator[Lead]:
        """Rows that may lie over those that they are made from, tile by tile: rows of a pool, and
        of the map that it lies before."""
        for j, (action, part) in enumerate(zip(group.actions, group.streaming, strict=True)):
            if not isinstance(action, Job) or part.quantum > 1 or part.writes not in made:
                continue
            task = action.task
            read = [x.root for x in part.reads]
            tile = task.kernel.tile(task.node)
            if not tile or [m.writes for m in group.streaming].count(part.writes) > 1:
                continue
            for operand, rule in zip(task.operands, task.rules, strict=False):
                root = self._root(operand.value)
                if (root in made or root == inp) and read.count(root) == 1:
                    ends = _pixels(task.output), _pixels(operand.value)
                    yield j, root, pixel_lead(rule.x, *ends, tile)

    def _free(self, group: _Group) -> tuple[Line | None, Line | None]:
        """What a loop makes and what dies in it, where line buffers may lie over the rows that are
        still to come, or have been read."""
        if group.under is None:
            return None if self._slides(group) else self._made_in_rows(group), None
        out, inp = (next(self._lines(group, [root]), None) for root in group.under)
        return out, inp

    def _slides(self, group: _Group) -> bool:
        """Whether what a loop makes can run over an input that dies in it."""
        roots = {x.root for m in group.streaming for x in m.reads} - group.table.rings.keys()
        later = (a for a in self.layout.actions[group.members[-1] + 1 :] if isinstance(a, Job))
        needed = {self.layout.place(v).root for a in later for v in a.task.reads()}
        return bool(roots - needed - self.module.states.keys() - self.params.keys())

    def _made_in_rows(self, group: _Group) -> Line | None:
        """The largest map that a loop makes row by row, by itself, and leaves."""
        reduced = {
            m.writes for m in group.streaming if any(isinstance(x.rule, Reduce) for x in m.reads)
        }
        barred = reduced | {x.root for m in group.streaming for x in m.reads}
        before = self.layout.actions[: group.members[0]]
        barred |= {self._root(v) for a in before if isinstance(a, Job) for v in a.task.makes()}
        left = dict.fromkeys(m.writes for m in group.streaming)
        names = [n for n in left if n not in group.table.rings and n not in barred]
        found = list(self._lines(group, names, parts=True))
        return max(found, key=lambda line: line[1] * line[2], default=None)

    def _lines(self, group: _Group, names: Iterable[str], *, parts: bool = False) -> Iterator[Line]:
        """Those of the default RAM that lie in rows, as whoever reads or writes them sees them.

        parts : also what some see columns or channels of: of a line buffer nobody fills the rest
        """
        for root in names:
            type = self.values[root].type if root in self.values else None
            if type is None or root in self.pool.homes or root in self.module.states:
                continue
            rows, pixels, channels = type.frame
            whole = rows, pixels * channels, 0
            if not parts and any(v.type.size != type.size for v in self._seen(group, root)):
                continue  # slices of it: others fill the rest
            lies = [m.lie for m in group.streaming if m.writes == root]
            lies += [x.lie for m in group.streaming for x in m.reads if x.root == root]
            planar = self.layouts.get(root) is Layout.PLANES
            if rows > 1 and not planar and all(lie == whole for lie in lies):
                yield root, rows, pixels * channels * type.dtype.itemsize

    def _seen(self, group: _Group, root: str) -> Iterator[Value]:
        """The values of a loop that lie in a root."""
        for action in group.actions:
            if isinstance(action, Ask):
                values = (action.value,)
            else:
                values = (*action.task.reads(), *action.task.makes())
            yield from (v for v in values if self._root(v) == root)

    def _root(self, value: Value) -> str:
        constant = value.name in self.params
        return value.name if constant else self.layout.place(value).root

    def _pull(self, ask: Ask) -> Pull:
        view = self.view(ask.value)
        return Pull(ask.value, view, view.rows)

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
        while name in self.pool.buffers:
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
            tuple((v, self.view(v)) for v in task.byproducts),
        )

    def _scratch(self, task: Task) -> View | None:
        nbytes = task.kernel.scratch(task.node) + task.kernel.carry(task.node)
        if not nbytes:
            return None
        name = f"{self.name}/{task.output.name}/scratch"
        buffer, places = self.scratch.get(task.output.name, (name, None))
        if places is None:
            self.pool.buffer(name, nbytes, Kind.ARENA, itemsize=8)
        return View(buffer, name, DType.U8, 1, 1, nbytes, nbytes, nbytes, places=places)

    def _packed(self, value: Value, packing: Packing) -> View:
        param = self.params[value.name]
        assert param.data is not None
        buffer = self.pool.constant(value.name, param.data, packing)
        box = Box(1, 1, value.type.size, value.type.size, value.type.size)
        return make_view(buffer, value, box)

    def view(
        self, value: Value, box: Box | None = None, frame: tuple[int, int, int] | None = None
    ) -> View:
        """Where `value`, or `box` of it, lies; makes the buffer of its root on first use."""
        place = self.layout.place(value)
        if place.root in self.params:
            data = self.params[place.root].data
            assert data is not None  # `plan` has put stand-ins where it was missing
            buffer = self.pool.constant(place.root, data, PLAIN)
        elif place.root in self.module.states:
            buffer = place.root
        elif place.root in self.lines:
            buffer, _ = self.lines[place.root]
        else:
            buffer = self._arena_buffer(place.root, value)
        at = place.box
        if box is not None:
            at = compose(box, at)
        elif frame is not None and frame != (at.rows, at.pixels, at.channels):
            rows, pixels, channels = frame
            at = Box(rows, pixels, channels, pixels * channels, channels, at.start)
        turning = place.root in self.layout.turning
        if place.root in self.lines:
            return self._shared(value, place.root, at)
        ring = self.rings.get(place.root) or (self._rows(place.root) if turning else None)
        if self.layouts.get(place.root) is Layout.PLANES:
            return planar_view(buffer, value, ring)
        counter = f"{place.root}/first" if turning else None
        return make_view(buffer, value, at, root=place.root, ring=ring, counter=counter)

    def _shared(self, value: Value, root: str, box: Box) -> View:
        """Of a value whose rows have places of their own."""
        buffer, places = self.lines[root]
        view = make_view(buffer, value, box, root=root, ring=self.rings[root])
        return replace(view, places=places)

    def _arena_buffer(self, root: str, value: Value) -> str:
        key = f"{self.name}/{root}"
        if key not in self.pool.buffers:
            type = self.values.get(root, value).type
            nbytes = type.nbytes
            if root in self.rings:
                nbytes = self.rings[root] * type.frame[1] * type.frame[2] * type.dtype.itemsize
            home = self.pool.homes.get(root)
            self.pool.buffer(key, nbytes, Kind.ARENA, home, type.dtype.itemsize)
        return key


def _apart(group: _Group, roots: Sequence[Line], scratch: Sequence[int]) -> int:
    """Bytes of the line buffers of a loop, each by itself, and of the scratch beside them."""
    rings, beside = group.table.rings, list(scratch)
    held = 0
    for root, _, row in roots:
        at = [i for i, m in enumerate(group.streaming) if _touches(m, root)]
        times = {group.table.slots[i] for i in at}
        maker = group.streaming[at[0]]
        if len(times) == 1 and rings[root] <= maker.quantum:
            for i in range(at[0], at[-1] + 1):
                beside[i] += rings[root] * row
        else:
            held += rings[root] * row
    return held + max(beside)


def _pixels(value: Value) -> tuple[int, int]:
    """Pixels of a row, and bytes of one."""
    _, pixels, channels = value.type.frame
    return pixels, channels * value.type.dtype.itemsize


def _touches(member: Member, root: str) -> bool:
    return member.writes == root or any(read.root == root for read in member.reads)


def _made(action: Job | Ask) -> Value:
    return action.value if isinstance(action, Ask) else action.task.output

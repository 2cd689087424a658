"""What is cut and what streams: the tasks of a layout as `partition` and `group` see them.

One idea: neither needs more of a task than how it reads rows, what its calls cost, and which maps
it touches; this is the one place where tasks become that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from lilliput.errors import PlanError
from lilliput.ir.graph import Value
from lilliput.ir.module import Module, Param
from lilliput.ir.op import Kernel, Layout
from lilliput.ir.region import Pointwise, Reduce, Whole
from lilliput.plan.cost import call_cycles, predict
from lilliput.plan.frames import whole_box, windowed
from lilliput.plan.group import Lie, Member, Read
from lilliput.plan.layout import Action, Ask, Job, Place, Storage, Turn
from lilliput.plan.overlap import within
from lilliput.plan.program import View
from lilliput.plan.runs import Map, Part, Way, ways
from lilliput.plan.select import Selection, Task
from lilliput.plan.strips import Flow, Look
from lilliput.plan.views import make_view, planar_view

ASK_CYCLES: Final = 50.0
"""What asking for a row costs beside what the caller does."""


def operands(task: Task) -> tuple[Value, ...]:
    """What a task reads by rows: its operands, then those of its epilogue."""
    extra = task.expression.operands if task.expression else ()
    return (*(o.value for o in task.operands), *extra)


def iteration_rows(task: Task) -> int:
    """Extent of the row axis that the kernel iterates over: output rows, or input rows of a
    reduction."""
    for operand, rule in zip(task.operands, task.rules, strict=False):
        if isinstance(rule.y, Reduce) and isinstance(rule.y.inner, Pointwise):
            return operand.value.type.frame[0]
    return task.output.type.frame[0]


def member(
    action: Job | Ask, layout: Storage, params: Mapping[str, Param], pace: Mapping[str, int]
) -> Member:
    """A task as its group sees it; raises PlanError where it cannot stream.

    pace : as `paces` says
    """
    if isinstance(action, Ask):
        value = action.value
        rows = value.type.frame[0]
        return Member(f"input {value.name}", (), value.name, rows, lie=lie(layout.place(value)))
    task = action.task
    reads = tuple(
        Read(layout.place(v).root, r.y, lie(layout.place(v)))
        for v, r in zip(operands(task), task.rules, strict=True)
        if v.name not in params
    )
    if any(windowed(r.rule) is not None for r in reads) and not _one_image(task):
        raise PlanError("only batch 1 streams", where=task.node.describe())
    if task.byproducts:
        raise PlanError("operator of several results streams", where=task.node.describe())
    output = layout.place(task.output)
    rows, quantum = iteration_rows(task), task.kernel.quantum
    own = Member(task.node.describe(), reads, output.root, rows, quantum, lie(output))
    return replace(own, pace=pace.get(output.root, 1)).in_blocks(1)


def flow(action: Job | Ask, layout: Storage, params: Mapping[str, Param]) -> Flow | None:
    """How a part that streams goes through pixels; None where it cannot go by strips."""
    if isinstance(action, Ask):
        value, looks = action.value, tuple[Look, ...]()
        if layout.place(value).box != whole_box(value.type):
            return None
    else:
        task, value = action.task, action.task.output
        own, read = len(task.operands), operands(task)
        pairs = [
            (v, rule.x, i >= own)
            for i, (v, rule) in enumerate(zip(read, task.rules, strict=True))
            if v.name not in params
        ]
        whole = all(
            layout.place(v).box == whole_box(v.type) for v in (value, *(p[0] for p in pairs))
        )
        if not (task.kernel.strips and task.kernel.quantum == 1 and whole and pairs):
            return None
        if any(isinstance(rule.y, Reduce) for rule in task.rules):
            return None
        looks = tuple(
            Look(layout.place(v).root, rule, v.type.frame[1], late) for v, rule, late in pairs
        )
    _, pixels, channels = value.type.frame
    return Flow(layout.place(value).root, pixels, channels * value.type.dtype.itemsize, looks)


def _one_image(task: Task) -> bool:
    """Whether the rows that a task goes through are those of one map."""
    mapped = next(
        (
            operand.value
            for operand, rule in zip(task.operands, task.rules, strict=False)
            if isinstance(rule.y, Reduce)
        ),
        task.output,
    )
    return mapped.type.shape[:-3] in ((), (1,))


def lie(place: Place) -> Lie:
    """How a value lies in its root."""
    box = place.box
    return box.rows, box.row, box.start // box.row


@dataclass(frozen=True)
class Parts:
    """The actions of one entry as parts, and the maps that lie in the arena.

    apart : parameters that are copied to RAM before a call, which no loop waits for
    away : values that live in another memory
    paces : as `pace.paces` says
    """

    module: Module
    entry: str
    layout: Storage
    selection: Selection
    core: str
    apart: frozenset[str] = frozenset()
    away: frozenset[str] = frozenset()
    paces: Mapping[str, int] = field(default_factory=dict[str, int])

    def maps(self) -> dict[str, Map]:
        """Root -> what it is in memory, of every value that is neither constant nor a state."""
        graph = self.module.graphs[self.entry]
        types = {v.name: v.type for v in graph.values()}
        first: dict[str, int] = {}
        last: dict[str, int] = {}

        def touch(value: Value, at: int) -> None:
            root = self.layout.place(value).root
            types.setdefault(value.name, value.type)
            first[root] = min(first.get(root, at), at)
            last[root] = max(last.get(root, at), at)

        asked = {a.value for a in self.layout.actions if isinstance(a, Ask)}
        for value in self.module.inputs(self.entry):
            if value not in asked:
                touch(value, -1)
        for at, action in enumerate(self.layout.actions):
            if isinstance(action, Ask):
                touch(action.value, at)
            if isinstance(action, Job):
                for value in (*action.task.reads(), *action.task.makes()):
                    touch(value, at)
        for value in self.module.outputs(self.entry):
            touch(value, len(self.layout.actions))
        elsewhere = {*self.selection.params, *self.module.states, *self.away}
        planar = {n for n, held in self.selection.layouts.items() if held is Layout.PLANES}
        return {
            root: Map(rows, -(-types[root].nbytes // rows), first[root], last[root], root in planar)
            for root in first
            if root not in elsewhere
            for rows in (types[root].frame[0],)
        }

    def parts(self) -> list[Part]:
        return [self.part(action) for action in self.layout.actions]

    def part(self, action: Action) -> Part:
        if isinstance(action, Ask):
            streaming = member(action, self.layout, self.selection.params, self.paces)
            through = flow(action, self.layout, self.selection.params)
            return Part(streaming, (Way(0, 0.0),), ASK_CYCLES, 0, {}, through)
        if not isinstance(action, Job):
            return Part(None, (Way(0, 0.0),), 0.0, 0, {})
        task, kernel = action.task, action.task.kernel
        return Part(
            self._member(action),
            ways([Way(k.scratch(task.node), cycles) for k, cycles in self._kernels(task)]),
            call_cycles(kernel, task.node, self.core),
            kernel.carry(task.node),
            dict(self._near(action)),
            self._flow(action),
        )

    def _flow(self, job: Job) -> Flow | None:
        """As `flow`, of whichever of its kernels is taken in the end."""
        if all(kernel.strips and kernel.quantum == 1 for kernel, _ in self._kernels(job.task)):
            return flow(job, self.layout, self.selection.params)
        return None

    def _kernels(self, task: Task) -> Iterator[tuple[Kernel, float]]:
        """The one that was chosen, and those of less scratch that could do the task from where its
        operands lie: none is taken in its place but for that."""
        most = task.kernel.scratch(task.node)
        leaner = (k for k in task.others if k.scratch(task.node) < most)
        for kernel in dict.fromkeys((task.kernel, *leaner)):
            yield kernel, predict(kernel, task.node, self.core, task.fused)

    def _member(self, job: Job) -> Member | None:
        task = job.task
        if job.source or job.target or task.kernel.dense or self._touches_state(task):
            return None
        if task.kernel.in_place and self._in_place(task):
            return None
        if not self.apart.isdisjoint(v.name for v in operands(task)):
            return None
        try:
            return member(job, self.layout, self.selection.params, self.paces)
        except PlanError:
            return None

    def _in_place(self, task: Task) -> bool:
        """Whether the output has the place of the first operand."""
        roots = (self.layout.place(v).root for v in (task.output, task.operands[0].value))
        return len(set(roots)) == 1

    def _touches_state(self, task: Task) -> bool:
        """Of a state that is written, or turned, what was read before must not be read after: but
        weights that are read as a whole are there as a whole, and what a reduction leaves is
        written once, behind all that its rows are read for."""
        turned = {a.state for a in self.layout.actions if isinstance(a, Turn)}
        states = self.module.states.keys()
        for value, rule in zip(operands(task), task.rules, strict=True):
            root = self.layout.place(value).root
            late = any(isinstance(r.y, Reduce) for r in task.rules)
            if root in states and (root in turned or not (late or isinstance(rule.y, Whole))):
                return True
        roots = {self.layout.place(v).root for v in task.makes()}
        return not roots.isdisjoint(states) and not any(isinstance(r.y, Reduce) for r in task.rules)

    def _near(self, job: Job) -> Iterator[tuple[str, int]]:
        """(input, distance) for the inputs over which one call may write its output."""
        task = job.task
        if job.source or job.target:
            return
        out = self._view(task.output)
        count = len(task.operands)
        far: dict[str, int | None] = {}
        for i, (value, rule) in enumerate(zip(operands(task), task.rules, strict=True)):
            if value.name in self.selection.params:
                continue
            root, epilogue = self.layout.place(value).root, i >= count
            view = self._view(value)
            near = within(task.kernel, task.node, rule, out, view, epilogue=epilogue)
            before = far.get(root, 0)
            far[root] = None if near is None or before is None else max(before, near)
        yield from ((root, distance) for root, distance in far.items() if distance is not None)

    def _view(self, value: Value) -> View:
        place = self.layout.place(value)
        if self.selection.layouts.get(place.root) is Layout.PLANES:
            return planar_view(place.root, value, None)
        return make_view(place.root, value, place.box)

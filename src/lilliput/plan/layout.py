"""Layout: which values share storage, and how each lies in it.

Every value has a root, the value whose buffer it lives in, and a box of that root:

    reshape           the operand's bytes under another shape
    slice             a box of the operand
    concat            each operand is written where it belongs in the result, by the task
                      that makes it; where that cannot be (an input, a constant, a value that
                      goes to two places) a copy does it
    state update      the new value is written over the old one when nobody reads the old
                      one afterwards; else it is copied there at the end of the entry
    in place          a kernel that may writes its result over the operand that dies with it; one
                      that gathers, over the sum that it goes on from
    guarded value     watched where it is made: what writes a state in place does so after it
    ring over time    an update that shifts a state by k rows and appends k turns a ring
                      instead of moving it

The result is a list of tasks (movement nodes are gone) and a place for every value.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lilliput.ir.graph import Node, Value
from lilliput.ir.module import Guard
from lilliput.plan.draft import Movement
from lilliput.plan.frames import Box, Move, moves, whole_box
from lilliput.plan.select import Item, Task, copy_task


@dataclass(frozen=True)
class Place:
    """`box` of the dense root value (elements); `framed` boxes keep the value's own frame."""

    root: str
    box: Box


@dataclass(frozen=True, eq=False)
class Turn:
    """Advances the ring that holds state `state` by `rows` rows."""

    state: str
    rows: int


@dataclass(frozen=True, eq=False)
class Job:
    """A task with the boxes that it reads and writes where they are not whole values."""

    task: Task
    source: Box | None = None
    target: Box | None = None


@dataclass(frozen=True, eq=False)
class Ask:
    """All rows of input `value` are asked of the caller, who writes them into its storage."""

    value: Value


@dataclass(frozen=True, eq=False)
class Watch:
    """The entry ends here unless `guard` holds of `value`, which is an input if `given`."""

    guard: Guard
    value: Value
    given: bool


Action = Job | Turn | Ask | Watch


@dataclass
class Storage:
    """`actions` in order; `parents` of values that live in another's storage; `turning`
    states that are kept as rings."""

    actions: list[Action] = field(default_factory=list[Action])
    parents: dict[str, Place] = field(default_factory=dict[str, Place])
    turning: set[str] = field(default_factory=set[str])

    def place(self, value: Value) -> Place:
        """The root of `value` and its box there, through any number of parents."""
        place = Place(value.name, whole_box(value.type))
        while place.root in self.parents:
            parent = self.parents[place.root]
            place = Place(parent.root, compose(place.box, parent.box))
        return place


def compose(inner: Box, outer: Box) -> Box:
    """Where `inner`, a box of a dense tensor, lies when that tensor is `outer` of its root."""
    if is_dense(outer):
        return replace(inner, start=outer.start + inner.start)  # any reading will do
    y, rest = divmod(inner.start, outer.pixels * outer.channels)
    x, c = divmod(rest, outer.channels)
    start = outer.start + y * outer.row + x * outer.pixel + c
    return replace(inner, row=outer.row, pixel=outer.pixel, start=start)


def is_dense(box: Box) -> bool:
    return (box.pixel == box.channels or box.pixels == 1) and (
        box.row == box.pixels * box.channels or box.rows == 1
    )


def lay_out(
    items: Sequence[Item],
    external: frozenset[str],
    outputs: Sequence[Value],
    updates: Mapping[str, Value],
    states: Mapping[str, Value],
    turning: frozenset[str],
    pulled: Sequence[Value] = (),
    guards: Sequence[Watch] = (),
) -> Storage:
    """external : graph inputs, states and parameters; updates : state name -> its new value;
    turning : states that another entry keeps as rings; pulled : inputs that the caller is asked
    for, just before their first reader; guards : on inputs and outputs."""
    work = _Work(items, external, outputs, updates, states, turning, guards)
    work.layout.actions += [g for g in guards if g.given]
    for item in items:
        work.item(item)
    work.finish_states()
    for value in pulled:
        work.ask(value)
    return work.layout


class _Work:
    def __init__(
        self,
        items: Sequence[Item],
        external: frozenset[str],
        outputs: Sequence[Value],
        updates: Mapping[str, Value],
        states: Mapping[str, Value],
        turning: frozenset[str],
        guards: Sequence[Watch],
    ):
        self.guards = guards
        self.layout = Storage(turning=set(turning))
        self.items, self.external, self.outputs = items, external, outputs
        self.updates, self.states = updates, states
        self.made_by_task = {i.output.name for i in items if isinstance(i, Task)}
        self.aliased = {
            v.name
            for i in items
            if isinstance(i, Movement) and len(i.node.inputs) == 1
            for v in i.node.inputs
        }
        self.last_read = self._last_reads()
        watched = {g.guard.name for g in guards}
        made = [i for i, item in enumerate(items) if _gives(item, watched)]
        guarded = max(made, default=-1)
        self.turns: dict[str, tuple[str, int]] = {}
        self.taken: set[str] = set()
        """Values in the very place of others."""
        for index, item in enumerate(items):
            turn = self._turn_of(item.node) if isinstance(item, Movement) else None
            if turn is not None and self.last_read[turn[0]] <= index and guarded < index:
                self.turns[item.output.name] = turn
                self.layout.turning.add(turn[0])
        # concat results take their operands in before those are made: decide it first
        for item in items:
            if isinstance(item, Movement) and len(item.node.inputs) > 1:
                self._absorb(item.node)

    def _last_reads(self) -> dict[str, int]:
        """Value name -> index of the last item that reads it (or something inside it)."""
        last: dict[str, int] = {}
        for index, item in enumerate(self.items):
            for value in item.reads():
                last[value.name] = index
        for item in reversed(self.items):  # a view keeps alive what it looks into
            if isinstance(item, Movement) and len(item.node.inputs) == 1:
                source = item.node.inputs[0].name
                last[source] = max(last[source], last.get(item.output.name, -1))
        return last

    def _turn_of(self, node: Node) -> tuple[str, int] | None:
        """(state, rows) when `node` is the update that shifts a state by so many rows."""
        for state, new in self.updates.items():
            if node.output != new or node.inputs[0] != self.states[state] or len(node.inputs) != 2:
                continue
            old, tail = moves(node)
            rows = tail.target.rows
            whole_rows = old.framed and tail.framed and old.target.start == 0
            if whole_rows and tail.target.pixels * tail.target.channels == old.source.row:
                return state, rows
        return None

    def _absorb(self, node: Node) -> None:
        if node.output.name in self.turns:
            return
        for move in moves(node):
            value = node.inputs[move.index]
            whole = move.source == whole_box(value.type)
            free = (
                value.name in self.made_by_task
                and value.name not in self.aliased
                and value.name not in self.layout.parents
                and value not in self.outputs
                and value not in self.updates.values()
                and sum(v == value for v in node.inputs) == 1
            )
            if free and move.framed and whole:
                self.layout.parents[value.name] = Place(node.output.name, move.target)

    def item(self, item: Item) -> None:
        source = self._taken(item) if isinstance(item, Task) else None
        if source is not None:
            self.layout.parents[item.output.name] = Place(source.name, whole_box(source.type))
            self.taken.add(item.output.name)
        self._act(item)
        self.layout.actions += [g for g in self.guards if _gives(item, {g.guard.name})]

    def _taken(self, task: Task) -> Value | None:
        """What the output of a task is written over: its first operand, or what its epilogue adds
        to it, where another task made that for it alone, and it is nothing else's place."""
        given = [o.value for o in task.operands]
        found = given[:1] if task.kernel.in_place else []
        if task.kernel.gathers and task.expression is not None:
            found += [v for v in task.expression.operands if v not in given]
        return next((x for x in found if self._may_take(task, x)), None)

    def _may_take(self, task: Task, x: Value) -> bool:
        y = task.output
        if y.type != x.type or x.name not in self.made_by_task:
            return False
        parted = {x.name, y.name} & (self.aliased | (self.layout.parents.keys() - self.taken))
        bound = {v.name for v in (*self.outputs, *self.updates.values())}
        bound |= {g.guard.name for g in self.guards}
        last = self.items[self.last_read[x.name]]
        return not parted and bound.isdisjoint({x.name, y.name}) and last is task

    def _act(self, item: Item) -> None:
        if isinstance(item, Task):
            self.layout.actions.append(Job(item))
            return
        node = item.node
        if node.output.name in self.turns:
            self._turn(node, *self.turns[node.output.name])
        elif len(node.inputs) == 1:
            self._view(node)
        else:
            for move in moves(node):
                value = node.inputs[move.index]
                parent = self.layout.parents.get(value.name)
                if parent is None or parent.root != node.output.name:
                    self._copy(node, move)

    def _turn(self, node: Node, state: str, rows: int) -> None:
        """The update becomes: turn the ring, write the newest rows."""
        self.layout.parents[node.output.name] = Place(state, whole_box(node.output.type))
        self.layout.actions.append(Turn(state, rows))
        self._copy(node, moves(node)[1])

    def _copy(self, node: Node, move: Move) -> None:
        source, origin = node.inputs[move.index], node.origin or node.output.name
        if not move.framed and not is_dense(self.layout.place(source).box):
            # the move reads its source as plain bytes
            packed = Value(f"{node.output.name}/operand{move.index}", source.type)
            self.layout.actions.append(Job(copy_task(origin, source, packed)))
            source = packed
        task = copy_task(origin, source, node.output)
        self.layout.actions.append(Job(task, move.source, move.target))

    def _view(self, node: Node) -> None:
        """A reshape or a slice: a place in the operand's storage, or a copy."""
        source, y = node.inputs[0], node.output
        own = y in self.updates.values()
        place = self.layout.place(source)
        if node.op.view:
            box = whole_box(y.type)
            fits = is_dense(place.box) and place.root not in self.layout.turning
        else:
            move = moves(node)[0]
            box, fits = move.source, move.framed
            fits = fits and not (place.root in self.layout.turning and self._repeated(y))
        if y in self.outputs:  # a caller sees one block of bytes
            fits = (
                fits and place.root not in self.layout.turning and is_dense(compose(box, place.box))
            )
        if fits and not (own and source.name in self.external):
            self.layout.parents[y.name] = Place(source.name, box)
        elif node.op.view:
            task = copy_task(node.origin or y.name, source, y)
            self.layout.actions.append(Job(task, None, whole_box(source.type)))
        else:
            self._copy(node, moves(node)[0])

    def _repeated(self, value: Value) -> bool:
        """Whether `value` has one row and is read beside several: such a row has a stride of 0,
        which leaves no room for the turning of a ring."""
        if value.type.frame[0] > 1:
            return False
        readers = (i for i in self.items if value in i.reads())
        return any(
            i.output.type.frame[0] > 1 if isinstance(i, Task) else len(i.reads()) == 1
            for i in readers
        )

    def finish_states(self) -> None:
        """Writes updates over their states where that is safe, else copies them at the end."""
        late: list[tuple[Value, Value]] = []
        for state, new in self.updates.items():
            place = self.layout.place(new)
            if place.root == state or self._merge(state, new):
                continue
            if place.root in self.states:  # another state, which may be overwritten before
                saved = Value(f"{state}/next", new.type)
                self.layout.actions.append(Job(copy_task(state, new, saved)))
                new = saved
            late.append((new, self.states[state]))
        self.layout.actions += [Job(copy_task(old.name, new, old)) for new, old in late]

    def ask(self, value: Value) -> None:
        at = min(self._readers(value.name), default=0)
        self.layout.actions.insert(at, Ask(value))

    def _merge(self, state: str, new: Value) -> bool:
        """Gives `new` the storage of `state` if no read of the old value comes later, and no
        guard that may still refuse the call."""
        makers = [i for i, a in enumerate(self.layout.actions) if _makes(a, new)]
        if new.name in self.layout.parents or self.states[state] in self.outputs:
            return False
        if not makers:
            return self._merge_parts(state, new)
        if len(makers) > 1:
            return False
        at = makers[0]
        if any(isinstance(a, Watch) for a in self.layout.actions[at:]):
            return False
        if any(i > at or (i == at and not self._in_place(i, state)) for i in self._readers(state)):
            return False
        self.layout.parents[new.name] = Place(state, whole_box(new.type))
        return True

    def _merge_parts(self, state: str, new: Value) -> bool:
        """The same of a `new` that is joined of parts, which are made at their places: of the old
        value nothing is read after its place is written, but by what writes it."""
        made = [
            (at, value)
            for at, action in enumerate(self.layout.actions)
            if isinstance(action, Job)
            for value in action.task.makes()
            if self.layout.place(value).root == new.name
        ]
        if not made or sum(v.type.size for _, v in made) != new.type.size:
            return False
        first = min(at for at, _ in made)
        if any(isinstance(a, Watch) for a in self.layout.actions[first:]):
            return False
        readers = [
            (i, v) for i in self._readers(state) if i >= first for v in self._reads(i, state)
        ]
        for at, value in made:
            box = self.layout.place(value).box
            for i, v in readers:
                read = self.layout.place(v).box
                own = i == at and read == box and self._own(i, v)
                if i >= at and not own and _meet(read, box):
                    return False
        self.layout.parents[new.name] = Place(state, whole_box(new.type))
        return True

    def _reads(self, index: int, root: str) -> list[Value]:
        """What an action reads of a root."""
        action = self.layout.actions[index]
        reads = action.task.reads() if isinstance(action, Job) else ()
        return [v for v in reads if self.layout.place(v).root == root]

    def _own(self, index: int, value: Value) -> bool:
        """Whether an action reads each element of `value` right before it writes the one in its
        place."""
        action = self.layout.actions[index]
        if not isinstance(action, Job):
            return False
        task = action.task
        given = any(o.value == value for o in task.operands)
        same = task.output.type.shape == value.type.shape
        return task.kernel.overlap == "element" or (not given and same)

    def _readers(self, root: str) -> list[int]:
        return [
            i
            for i, a in enumerate(self.layout.actions)
            if isinstance(a, Job) and any(self.layout.place(v).root == root for v in a.task.reads())
        ]

    def _in_place(self, index: int, root: str) -> bool:
        """Whether each element of `root` is read right before the one in its place is written: by a
        kernel that goes through them so, or by the epilogue alone."""
        action = self.layout.actions[index]
        if not isinstance(action, Job):
            return False
        task, state = action.task, self.states[root]
        if task.kernel.overlap == "element":
            return True
        read = [v for v in task.reads() if self.layout.place(v).root == root]
        given = any(o.value in read for o in task.operands)
        return not given and all(v == state for v in read) and task.output.type == state.type


def _meet(a: Box, b: Box) -> bool:
    """Whether the spans of two boxes of one root have an element in common."""

    def span(box: Box) -> tuple[int, int]:
        last = (box.rows - 1) * box.row + (box.pixels - 1) * box.pixel + box.channels
        return box.start, box.start + last

    (first, end), (other, stop) = span(a), span(b)
    return first < stop and other < end


def _gives(item: Item, names: Collection[str]) -> bool:
    made = item.makes() if isinstance(item, Task) else (item.output,)
    return any(v.name in names for v in made)


def _makes(action: Action, value: Value) -> bool:
    return isinstance(action, Job) and value in action.task.makes()

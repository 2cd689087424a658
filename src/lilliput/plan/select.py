"""Selection: from nodes to tasks.  A task is one kernel with an epilogue.

Drafts say which nodes are computed together and which kernels could; `choose` picks kernels
and layouts for all of them at once.  Here they become tasks: what a kernel derives from its
operands (folded biases, multipliers) is evaluated where it is constant and stays as tasks
of its own where training changes it, and a value that a kernel wants in another layout is
converted.  The kernels that lost, and why, are kept for the report.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from lilliput.errors import UnsupportedError
from lilliput.ir.build import Builder
from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Param
from lilliput.ir.op import Finish, Kernel, Layout, NoAttrs, Operand
from lilliput.ir.range import Range
from lilliput.ir.rewrite import fold
from lilliput.ir.types import Array, DType
from lilliput.ops.common import c_type
from lilliput.ops.shape import COPY, copy
from lilliput.plan.choose import Candidate, Choice, Draft, choose
from lilliput.plan.cost import predict
from lilliput.plan.draft import MAP, NOTHING, Movement, draft, planar_values
from lilliput.plan.frames import ALL, frame_rule, pointwise_rule
from lilliput.plan.objective import Prices
from lilliput.plan.program import FrameRule

Chosen = tuple[frozenset[str], tuple[tuple[str, Layout, Layout], ...]]
"""Kernels that are left out, and of each draft the kernel, the layouts it reads and writes."""

FREE = Prices()
AHEAD: Final = 4
"""Items before the task that it is for which a derived value stands ahead of: a block of a network,
about.  It is kept that long."""


@dataclass(frozen=True)
class Expression:
    """A task's store before its operands have places; tokens as in `program.Store`."""

    statements: tuple[tuple[str, str], ...]
    operands: tuple[Value, ...]
    tables: tuple[Value, ...]


@dataclass(frozen=True, eq=False)
class Task:
    """One kernel call of the program to be; `rules` are those of its operands, then of its
    expression's; `others`: kernels that take the operands and give the output as they lie, too."""

    node: Node
    fused: tuple[Node, ...]
    kernel: Kernel
    operands: tuple[Operand, ...]
    rules: tuple[FrameRule, ...]
    expression: Expression | None
    output: Value
    rejected: tuple[tuple[str, str], ...] = ()
    others: tuple[Kernel, ...] = ()

    @property
    def byproducts(self) -> tuple[Value, ...]:
        """Results of the node beyond its first."""
        return self.node.outputs[1:]

    def makes(self) -> tuple[Value, ...]:
        return (self.output, *self.byproducts)

    def reads(self) -> tuple[Value, ...]:
        """Every value that the task reads, constants included."""
        extra = (*self.expression.operands, *self.expression.tables) if self.expression else ()
        return (*(o.value for o in self.operands), *extra)


Item = Task | Movement


@dataclass
class Selection:
    """The tasks of one entry, the constants that they need, and the values (by name) that
    are held in another layout than rows."""

    items: list[Item] = field(default_factory=list[Item])
    params: dict[str, Param] = field(default_factory=dict[str, Param])
    layouts: dict[str, Layout] = field(default_factory=dict[str, Layout])


def select(
    graph: Graph,
    params: Mapping[str, Param],
    keep: frozenset[str],
    core: str,
    sliced: frozenset[str] = frozenset(),
    prices: Prices = FREE,
    sizes: Mapping[str, Array] = NOTHING,
    known: dict[Chosen, Selection] | None = None,
) -> Selection:
    """Tasks for `graph` in schedule order.

    core : name of the core whose predicted cycles decide between kernels
    keep : values that must exist in memory although only one task reads them
    sliced : parameters that come in slices of output channels
    prices : what memory costs beside cycles
    sizes : the largest magnitudes of states that are known to stay small
    known : what was selected at other prices; given again where the same kernels are chosen
    Raises UnsupportedError listing every node that no kernel accepts.
    """
    sizes = {**sizes, **accumulators(graph, params)}
    drafts = draft(graph, params, keep, core, sliced, prices, sizes)
    if drafts.problems:
        raise UnsupportedError(drafts.problems)
    computing = [d for d in drafts.items if isinstance(d, Draft)]
    planar = planar_values(drafts.items, keep)
    planar -= prices.rows

    def convert(value: Value) -> float:
        return predict(MAP, Node(copy, (value,), (value,), NoAttrs()), core)

    chosen = choose(computing, planar, convert)
    key = prices.without, tuple((c.kernel.name, c.reads, c.writes) for c in chosen)
    if known is not None and key in known:
        return known[key]
    choices = dict(zip((d.output.name for d in computing), chosen, strict=True))
    writer = _Writer(graph, params, core, sizes)
    for item in drafts.items:
        if isinstance(item, Movement):
            writer.selection.items.append(item)
        else:
            writer.add(item, choices[item.output.name], drafts.lost.get(item.node.output.name, ()))
    if known is not None:
        known[key] = writer.selection
    return writer.selection


def accumulators(graph: Graph, params: Mapping[str, Param]) -> dict[str, Array]:
    """The largest magnitudes, channel by channel, of int32 results whose operator bounds them
    for any input: sums of constant weights that others go on from."""
    found: dict[str, Array] = {}
    for node in graph.nodes:
        types = [v.type for v in (*node.inputs, node.output)]
        if node.output.type.dtype is not DType.S32 or node.op.bounds is None:
            continue
        if not all(t.dtype.is_integer and len(t.shape) > 0 for t in types):
            continue
        told = node.op.bounds(node, [_anything(v, params) for v in node.inputs])
        if told is not None:
            rank, channels = len(types[-1].shape), types[-1].shape[-1]
            low, high = told.along(rank - 1, channels)
            found[node.output.name] = np.maximum(np.abs(low), np.abs(high))
    return found


def _anything(value: Value, params: Mapping[str, Param]) -> Range:
    param = params.get(value.name)
    data = param.data if param is not None else None
    return Range.full(value.type) if data is None else Range.constant(data)


def task_alone(
    draft: Draft, choice: Choice, held: Mapping[str, Layout], params: Collection[str], core: str
) -> Selection:
    """What `select` makes of a network of one draft, of which this was chosen; the last item is
    its task.

    held : layouts of operands that do not lie in rows
    params : names of constants, whatever they are
    """
    nodes = (draft.node, *draft.fused)
    read = {v.name: v for v in _outer(nodes)}
    inputs = tuple(v for v in read.values() if v.name not in params)
    constants = {v.name: zeros(v) for v in read.values() if v.name in params}
    held_by = tuple(p.value for p in constants.values())
    writer = _Writer(Graph(inputs, held_by, nodes, (draft.output,)), constants, core)
    writer.selection.layouts.update(held)
    writer.add(draft, choice, ())
    return writer.selection


def zeros(value: Value) -> Param:
    """A constant of nothing but zeros, where only its type matters."""
    return Param(value, np.zeros(value.type.shape, value.type.dtype.numpy))


def conversion_alone(value: Value, held: Layout, layout: Layout, core: str) -> Selection:
    """What `select` makes where `value`, which lies as `held`, is read in `layout`; one task."""
    writer = _Writer(Graph((value,), (), (), (value,)), {}, core)
    writer.selection.layouts[value.name] = held
    writer.in_layout(value, layout)
    return writer.selection


class _Writer:
    """Turns drafts with choices into tasks."""

    def __init__(
        self,
        graph: Graph,
        params: Mapping[str, Param],
        core: str,
        sizes: Mapping[str, Array] = NOTHING,
    ):
        self.sizes = sizes
        self.selection = Selection(params=dict(params))
        self.names = {v.name for v in graph.values()} | set(params)
        self.core = core
        self.converted: dict[tuple[str, Layout], Value] = {}

    def add(self, item: Draft, choice: Choice, lost: tuple[tuple[str, str], ...]) -> None:
        node = item.node
        if item.first is not None:
            first = self.in_layout(item.first, choice.reads)
            node = node.with_inputs((first, *node.inputs[1:]))
        best = next(c for c in item.candidates if c.kernel is choice.kernel)
        others = tuple(
            (c.kernel.name, _instead(c, best, item.node)) for c in item.candidates if c is not best
        )
        alike = tuple(
            c.kernel
            for c in item.candidates
            if choice.reads in c.kernel.reads and choice.writes in c.kernel.writes
        )
        self._task(node, item.fused, choice.kernel, (*lost, *others), alike)
        if choice.writes is not Layout.ROWS:
            self.selection.layouts[item.output.name] = choice.writes

    def in_layout(self, value: Value, layout: Layout) -> Value:
        """`value`, or a conversion of it that is made once."""
        if self.selection.layouts.get(value.name, Layout.ROWS) is layout:
            return value
        key = value.name, layout
        if key not in self.converted:
            name = f"{value.name}/{layout.value}"
            while name in self.names:
                name += "'"
            self.names.add(name)
            made = replace(value, name=name)
            node = Node(copy, (value,), (made,), NoAttrs(), value.name)
            kind = _statement_type(value.type.dtype)
            expression = Expression(((kind, "@0@"),), (value,), ())
            rule = pointwise_rule(value.type, value.type.frame)
            self.selection.items.append(Task(node, (), MAP, (), (rule,), expression, made))
            if layout is not Layout.ROWS:
                self.selection.layouts[name] = layout
            self.converted[key] = made
        return self.converted[key]

    def _task(
        self,
        node: Node,
        fused: tuple[Node, ...],
        kernel: Kernel,
        rejected: tuple[tuple[str, str], ...],
        others: tuple[Kernel, ...] = (),
    ) -> None:
        b = Builder(self.selection.params, self.names, self.sizes)
        operands = kernel.operands(b, node)
        output = fused[-1].output if fused else node.output
        expression: Expression | None = None
        if node.op.scalar is not None:
            expression = _expression(b, node, fused, None)
        elif kernel.finish is not None:
            expression = _expression(b, node, fused, kernel.finish(b, node))
        self._derive(b)
        rules = [_rule(node, o) for o in operands]
        if expression is not None:
            frame = output.type.frame
            rules += [pointwise_rule(v.type, frame) for v in expression.operands]
        self.selection.items.append(
            Task(node, fused, kernel, operands, tuple(rules), expression, output, rejected, others)
        )

    def _derive(self, b: Builder) -> None:
        """Folds what `b` has derived, or schedules it where it is not constant."""
        self.names.update(self.selection.params)
        if not b.nodes:
            return
        wanted = tuple(n.output for n in b.nodes)
        known = {v.name: p for v in _outer(b.nodes) if (p := self.selection.params.get(v.name))}
        graph = Graph((), tuple(p.value for p in known.values()), tuple(b.nodes), wanted)
        folded = fold(graph, known)
        self.selection.params.update(folded.params)
        begin = len(self.selection.items)
        for node in folded.graph.nodes:
            kernel = min(node.op.kernels, key=lambda k: predict(k, node, self.core))
            self._task(node, (), kernel, ())
        self._hoist(begin)

    def _hoist(self, begin: int) -> None:
        """What was derived, from `begin` on, stands before the last few items, as far as it reads
        none of them: these and the task that it is for can be one loop.  Nor does it stand between
        two convolutions of which one goes on from the sums of the other."""
        items = self.selection.items
        read = {v.name for item in items[begin:] for v in item.reads()}
        at = begin
        while at > 0 and read.isdisjoint(_made(items[at - 1])):
            if at <= begin - AHEAD and not _goes_on(items[at - 1], items[at]):
                break
            at -= 1
        items[at:] = [*items[begin:], *items[at:begin]]


def _instead(other: Candidate, best: Candidate, node: Node) -> str:
    """What a kernel would take that the chosen one does not."""
    more = other.kernel.scratch(node) - best.kernel.scratch(node)
    scratch = f", {more:,} B more scratch" if more > 0 else ""
    return f"{other.cycles / best.cycles:.2f} times the predicted cycles{scratch}"


def _made(item: Item) -> set[str]:
    return {v.name for v in (item.makes() if isinstance(item, Task) else (item.output,))}


def _goes_on(one: Item, other: Item) -> bool:
    """Whether the sums that a task makes begin with those of another."""
    if not isinstance(one, Task) or not isinstance(other, Task):
        return False
    return one.node.op is other.node.op and one.output in other.node.inputs[3:]


def _rule(node: Node, operand: Operand) -> FrameRule:
    if operand.source is None or node.op.regions is None or operand.packing.block_axis is None:
        return ALL
    rule = node.op.regions(node)[operand.source]
    rank = len(operand.value.type.shape)
    return frame_rule(rule[-rank:] if rank else rule, operand.value.type, node.output.type)


def _outer(nodes: Sequence[Node]) -> list[Value]:
    inner = {n.output.name for n in nodes}
    return [v for n in nodes for v in n.inputs if v.name not in inner]


def _expression(b: Builder, node: Node, fused: Sequence[Node], finish: Finish | None) -> Expression:
    """The C statements of an anchor's finish and of what is fused behind it."""
    statements: list[tuple[str, str]] = []
    operands: list[Value] = []
    tables: list[Value] = []
    made: dict[str, str] = {}

    def load(value: Value) -> str:
        if value.name in made:
            return made[value.name]
        if value not in operands:
            operands.append(value)
        return f"@{operands.index(value)}@"

    def scalar(n: Node) -> str:
        assert n.op.scalar is not None
        text = n.op.scalar.c(n, [load(v) for v in n.inputs])
        for name, data in n.op.scalar.tables(n).items():
            tables.append(b.param(f"{n.output.name}/{name}", data))
            text = text.replace("{" + name + "}", f"@t{len(tables) - 1}@")
        return text

    for n in (node, *fused):
        text = finish.c("@acc@", load) if finish and n is node else scalar(n)
        if finish and n is node:
            operands += [v for v in finish.operands if v not in operands]
        made[n.output.name] = f"@v{len(statements)}@"
        statements.append((_statement_type(n.output.type.dtype), text))
    return Expression(tuple(statements), tuple(operands), tuple(tables))


def _statement_type(dtype: DType) -> str:
    return c_type(dtype) if dtype in (DType.F32, DType.S64) else "int32_t"


def copy_task(origin: str, operand: Value, output: Value) -> Task:
    """A copy of (part of) `operand` into (part of) `output`."""
    node = Node(copy, (operand,), (output,), NoAttrs(), origin)
    return Task(node, (), COPY, (Operand(operand),), (ALL,), None, output, ())

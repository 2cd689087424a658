"""Selection: from nodes to tasks.  A task is one kernel with an epilogue.

For every node that computes, the cheapest kernel that accepts it (predicted cycles) is the
anchor; the element-wise nodes behind it, as long as nobody else reads what is between,
become its epilogue; a chain of element-wise nodes alone becomes one loop.  What a kernel
derives from its operands (folded biases, multipliers) is evaluated now where it is
constant and stays as tasks of its own where training changes it.  The kernels that lost,
and why, are kept for the report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lilliput.errors import Problem, UnsupportedError
from lilliput.ir.build import Builder
from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Param
from lilliput.ir.op import Finish, Kernel, NoAttrs, Operand
from lilliput.ir.rewrite import fold
from lilliput.ir.types import DType
from lilliput.ops.common import c_type
from lilliput.ops.shape import COPY, copy
from lilliput.plan.frames import (
    ALL,
    fits_frame,
    frame_rule,
    is_movement,
    pointwise_rule,
)
from lilliput.plan.program import FrameRule

EPILOGUE_OPERANDS = 8


@dataclass(frozen=True)
class Expression:
    """A task's store before its operands have places; tokens as in `program.Store`."""

    statements: tuple[tuple[str, str], ...]
    operands: tuple[Value, ...]
    tables: tuple[Value, ...]


@dataclass(frozen=True, eq=False)
class Task:
    node: Node
    fused: tuple[Node, ...]
    kernel: Kernel
    operands: tuple[Operand, ...]
    rules: tuple[FrameRule, ...]
    expression: Expression | None
    output: Value
    rejected: tuple[tuple[str, str], ...]

    def reads(self) -> tuple[Value, ...]:
        """Every value that the task reads, constants included."""
        extra = (*self.expression.operands, *self.expression.tables) if self.expression else ()
        return (*(o.value for o in self.operands), *extra)


@dataclass(frozen=True, eq=False)
class Movement:
    """A node that computes nothing: a view of its operand, or its operands moved."""

    node: Node

    @property
    def output(self) -> Value:
        return self.node.output

    def reads(self) -> tuple[Value, ...]:
        return self.node.inputs


Item = Task | Movement

MAP = Kernel(
    name="map",
    source="map.c",
    accepts=lambda node: None,
    types=lambda node: {"LL_ACC": "int32_t"},
    params=lambda node: {"none": 0},
    operands=lambda b, node: (),
    cycles=lambda node: 15.0 * node.output.type.size,
    overlap="element",
)


@dataclass
class Selection:
    """The tasks of one entry, and the constants that they need."""

    items: list[Item] = field(default_factory=list[Item])
    params: dict[str, Param] = field(default_factory=dict[str, Param])


def select(graph: Graph, params: Mapping[str, Param], keep: frozenset[str]) -> Selection:
    """Tasks for `graph` in schedule order.

    keep : values that must exist in memory although only one task reads them
    Raises UnsupportedError listing every node that no kernel accepts.
    """
    chooser = _Chooser(graph, params, keep)
    chooser.run(graph.nodes)
    if chooser.problems:
        raise UnsupportedError(chooser.problems)
    return chooser.selection


class _Chooser:
    def __init__(self, graph: Graph, params: Mapping[str, Param], keep: frozenset[str]):
        self.selection = Selection(params=dict(params))
        self.problems: list[Problem] = []
        self.names = {v.name for v in graph.values()} | set(params)
        self.ready = {v.name for v in graph.inputs} | set(params)
        self.users: dict[str, list[Node]] = graph.consumers()
        self.kept = keep | {v.name for v in graph.outputs}

    def run(self, nodes: Sequence[Node]) -> None:
        done: set[str] = set()
        for node in nodes:
            if node.output.name in done:
                continue
            if node.op.view or is_movement(node):
                self._emit(Movement(node))
                continue
            anchor = self._anchor(node)
            if anchor is None:
                continue
            fused = self._epilogue(node, anchor[0])
            done.update(n.output.name for n in fused)
            self._task(node, fused, *anchor)

    def _emit(self, item: Item) -> None:
        self.selection.items.append(item)
        self.ready.add(item.output.name)

    def _anchor(self, node: Node) -> tuple[Kernel, tuple[tuple[str, str], ...]] | None:
        """The cheapest kernel that accepts `node`, and why the others lost."""
        if node.op.scalar is not None:
            return MAP, ()
        lost: list[tuple[str, str]] = []
        won: list[Kernel] = []
        for kernel in node.op.kernels:
            reason = kernel.accepts(node) or self._unpackable(node, kernel)
            if reason is None:
                won.append(kernel)
            else:
                lost.append((kernel.name, reason))
        if not won:
            text = "; ".join(f"{name}: {reason}" for name, reason in lost)
            self.problems.append(
                Problem("no kernel takes this operator", node.describe(), found=text)
            )
            return None
        won.sort(key=lambda k: k.cycles(node))
        best = won[0].cycles(node)
        lost += [
            (k.name, f"{k.cycles(node) / best:.2f} times the predicted cycles") for k in won[1:]
        ]
        return won[0], tuple(lost)

    def _unpackable(self, node: Node, kernel: Kernel) -> str | None:
        trained = [i for i in kernel.packed if node.inputs[i].name not in self.selection.params]
        return "weights that training changes are kept as they are, not packed" if trained else None

    def _epilogue(self, node: Node, kernel: Kernel) -> list[Node]:
        """The element-wise nodes that `node`'s kernel can do before it stores."""
        if node.op.scalar is None and kernel.finish is None:
            return []
        chain: list[Node] = []
        last = node
        while (following := self._only_user(last)) is not None:
            if following.op.scalar is None or following.output.type.frame != node.output.type.frame:
                break
            others = [v for v in following.inputs if v != last.output]
            if not all(
                v.name in self.ready and fits_frame(v, node.output.type.frame) for v in others
            ):
                break
            if self._operand_count(node, [*chain, following]) > EPILOGUE_OPERANDS:
                break
            chain.append(following)
            last = following
        return chain

    def _only_user(self, node: Node) -> Node | None:
        users = self.users[node.output.name]
        alone = len(users) == 1 and len(node.outputs) == 1 and node.output.name not in self.kept
        return users[0] if alone else None

    @staticmethod
    def _operand_count(node: Node, chain: Sequence[Node]) -> int:
        count = len(node.inputs) if node.op.scalar is not None else 2
        return count + sum(len(n.inputs) - 1 for n in chain)

    def _task(
        self,
        node: Node,
        fused: Sequence[Node],
        kernel: Kernel,
        rejected: tuple[tuple[str, str], ...],
    ) -> None:
        b = Builder(self.selection.params, self.names)
        operands = kernel.operands(b, node)
        output = fused[-1].output if fused else node.output
        expression: Expression | None = None
        if node.op.scalar is not None:
            self._broadcast(b, node)
            expression = _expression(b, node, fused, None)
        elif kernel.finish is not None:
            expression = _expression(b, node, fused, kernel.finish(b, node))
        self._derive(b)
        rules = [self._rule(node, o) for o in operands]
        if expression is not None:
            frame = output.type.frame
            rules += [pointwise_rule(v.type, frame) for v in expression.operands]
        self._emit(
            Task(node, tuple(fused), kernel, operands, tuple(rules), expression, output, rejected)
        )

    def _broadcast(self, b: Builder, node: Node) -> None:
        misfit = [v for v in node.inputs if not fits_frame(v, node.output.type.frame)]
        self.problems += [
            Problem(
                "operand is repeated along a batch axis that is not its first",
                node.describe(),
                expected="shapes that agree once leading axes are merged",
                found=str(v),
            )
            for v in misfit
        ]

    @staticmethod
    def _rule(node: Node, operand: Operand) -> FrameRule:
        if operand.source is None or node.op.regions is None:
            return ALL
        rule = node.op.regions(node)[operand.source]
        rank = len(operand.value.type.shape)
        return frame_rule(rule[-rank:] if rank else rule, operand.value.type, node.output.type)

    def _derive(self, b: Builder) -> None:
        """Folds what `b` has derived, or schedules it where it is not constant."""
        self.names.update(self.selection.params)
        if b.nodes:
            wanted = tuple(n.output for n in b.nodes)
            known = {v.name: p for v in _outer(b.nodes) if (p := self.selection.params.get(v.name))}
            graph = Graph((), tuple(p.value for p in known.values()), tuple(b.nodes), wanted)
            folded = fold(graph, known)
            self.selection.params.update(folded.params)
            for node in folded.graph.nodes:
                anchor = self._anchor(node)
                if anchor is not None:
                    self.users[node.output.name] = []
                    self._task(node, (), *anchor)


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

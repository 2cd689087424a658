"""Drafts: which nodes are computed together, and which kernels could do it.

Every node that computes is an anchor; the element-wise nodes behind it, as long as nobody
else reads what is between, become its epilogue.  A chain of element-wise nodes alone has
the loop `MAP` as its kernel.  Nodes that only move data are left to the layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from types import MappingProxyType

from lilliput.devices.device import cores
from lilliput.errors import Problem
from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Param
from lilliput.ir.op import EITHER, Kernel, Layout
from lilliput.ir.types import Array, DType
from lilliput.ops.move import moved_work
from lilliput.plan.choose import Candidate, Draft
from lilliput.plan.cost import predict
from lilliput.plan.frames import fitting, is_movement
from lilliput.plan.objective import SCRATCH, Prices

EPILOGUE_OPERANDS = 8
MARGIN = 0.1
"""By how much a kernel must be predicted to win before values leave the layout "rows": small
gains are within the prediction's error, and outputs in rows can run over their inputs."""
GENERAL = 0.05
"""By how much a kernel must be predicted to win over those that its operator lists before it,
the most special first: about the median error of a prediction."""

MAP = Kernel(
    name="map",
    source="map.c",
    accepts=lambda node: None,
    types=lambda node: {"LL_ACC": "int32_t"},
    params=lambda node: {"none": 0},
    operands=lambda b, node: (),
    work=moved_work,
    overlap="element",
    reads=EITHER,
    writes=EITHER,
)


@dataclass(frozen=True, eq=False)
class Movement:
    """A node that computes nothing: a view of its operand, or its operands moved."""

    node: Node

    @property
    def output(self) -> Value:
        return self.node.output

    def reads(self) -> tuple[Value, ...]:
        return self.node.inputs


NOTHING: Mapping[str, Array] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Drafts:
    """`items` in schedule order; `lost`: output of a draft -> kernels that do not take it."""

    items: tuple[Draft | Movement, ...]
    lost: Mapping[str, tuple[tuple[str, str], ...]]
    problems: tuple[Problem, ...]


def draft(
    graph: Graph,
    params: Mapping[str, Param],
    keep: frozenset[str],
    core: str,
    sliced: frozenset[str],
    prices: Prices,
    sizes: Mapping[str, Array] = NOTHING,
) -> Drafts:
    """params : constants; keep : values that must exist in memory in any case; sliced : constants
    that come in slices of output channels; prices : of memory, in cycles a byte; sizes : of states
    that are known to stay small, the largest magnitudes."""
    drafter = Drafter(graph, params, keep, core, sliced, prices, sizes)
    for node in graph.nodes:
        drafter.add(node)
    return Drafts(tuple(drafter.items), drafter.lost, tuple(drafter.problems))


class Drafter:
    """Collects `items` node after node."""

    def __init__(
        self,
        graph: Graph,
        params: Mapping[str, Param],
        keep: frozenset[str],
        core: str,
        sliced: frozenset[str],
        prices: Prices,
        sizes: Mapping[str, Array] = NOTHING,
    ):
        self.sizes = sizes
        self.params, self.core, self.sliced, self.prices = params, core, sliced, prices
        self.features = cores()[core].features
        self.kept = keep | {v.name for v in graph.outputs}
        self.users = graph.consumers()
        self.ready = {v.name for v in graph.inputs} | set(params)
        self.fused: set[str] = set()
        self.items: list[Draft | Movement] = []
        self.lost: dict[str, tuple[tuple[str, str], ...]] = {}
        self.problems: list[Problem] = []

    def add(self, node: Node) -> None:
        if node.output.name in self.fused:
            return
        item = Movement(node) if node.op.view or is_movement(node) else self._draft(node)
        if item is not None:
            self.items.append(item)
            self.ready.add(item.output.name)
            self.ready.update([v.name for v in node.outputs])

    def _draft(self, node: Node) -> Draft | None:
        kernels = self.kernels(node)
        if not kernels:
            return None
        chain = self._epilogue(node) if all(map(_stores, kernels)) else []
        self.fused.update(n.output.name for n in chain)
        candidates = self.candidates(kernels, node, chain)
        made = {n.output.name for n in (node, *chain)}
        free = [v for n in chain for v in n.inputs if v.name not in made]
        first = None
        if node.op.scalar is not None:
            free += node.inputs
        elif node.inputs:
            first = node.inputs[0]
        return Draft(node, tuple(chain), candidates, first, tuple(free))

    def candidates(
        self, kernels: Sequence[Kernel], node: Node, chain: Sequence[Node]
    ) -> tuple[Candidate, ...]:
        """`kernels` with what they are predicted to cost, `chain` as their epilogue."""
        return tuple(self._candidate(k, node, chain, special=k is kernels[0]) for k in kernels)

    def _candidate(
        self, kernel: Kernel, node: Node, chain: Sequence[Node], *, special: bool
    ) -> Candidate:
        cycles = predict(kernel, node, self.core, chain)
        margin = MARGIN if Layout.ROWS not in kernel.reads else 0.0 if special else GENERAL
        made = chain[-1].output if chain else node.output
        cost = cycles * (1 + margin) + self._memory(kernel, node, made)
        return Candidate(kernel, cycles, cost)

    def _memory(self, kernel: Kernel, node: Node, made: Value) -> float:
        """What the kernel's memory costs at today's prices."""
        allowed = self.prices.scratch.get(made.name, inf)
        scratch = SCRATCH * max(kernel.scratch(node) - allowed, 0)
        if not self.prices.flash or (kernel.growth == 1 and not kernel.again):
            return scratch
        packed = (node.inputs[i].type.nbytes for i in kernel.packed)
        twice = (v.type.nbytes for v in (node.inputs[i] for i in kernel.again))
        known = any(node.inputs[i].name in self.params for i in kernel.again)
        more = (kernel.growth - 1) * sum(packed) + (sum(twice) if known else 0)
        return scratch + self.prices.flash * more

    def kernels(self, node: Node) -> list[Kernel]:
        """The kernels that accept `node`; a problem when there is none."""
        if node.op.scalar is not None:
            self._check_broadcast(node)
            return [MAP]
        reasons = {k.name: self._refusal(node, k) for k in node.op.kernels}
        lost = tuple((name, reason) for name, reason in reasons.items() if reason)
        self.lost[node.output.name] = lost
        found = [k for k in node.op.kernels if reasons[k.name] is None]
        if not found:
            text = "; ".join(f"{name}: {reason}" for name, reason in lost)
            what = "no kernel takes this operator"
            self.problems.append(Problem(what, node.describe(), found=text))
        return found

    def _refusal(self, node: Node, kernel: Kernel) -> str | None:
        """Why `kernel` cannot compute `node` here."""
        if kernel.feature and kernel.feature not in self.features:
            return f"{self.core} lacks {kernel.feature}"
        if kernel.name in self.prices.without:
            return "its code costs more flash than it saves"
        refused = kernel.accepts(node) or self._unpackable(node, kernel)
        if refused or kernel.proof is None:
            return refused
        known = ((v.name, self.params.get(v.name)) for v in node.inputs)
        data = {v.name: self.sizes[v.name] for v in node.inputs if v.name in self.sizes}
        data |= {name: p.data for name, p in known if p is not None and p.data is not None}
        return kernel.proof(node, data)

    def _unpackable(self, node: Node, kernel: Kernel) -> str | None:
        if any(node.inputs[i].name in self.sliced for i in kernel.packed):
            return "weights that come in slices are kept as they are, not packed"
        if any(v.type.dtype is DType.S4 and v.name not in self.params for v in node.inputs):
            return "int4 weights are two in a byte, hence constant"
        if any(node.inputs[i].name in self.params for i in kernel.packs):
            return "constant weights are packed beforehand"
        trained = any(node.inputs[i].name not in self.params for i in kernel.packed)
        return "weights that training changes are kept as they are, not packed" if trained else None

    def _check_broadcast(self, node: Node) -> None:
        self.problems += [
            Problem(
                "operand is repeated along a batch axis that is not its first",
                node.describe(),
                expected="shapes that agree once leading axes are merged",
                found=str(value),
            )
            for value, fits in fitting(node, node.output.type.frame)
            if not fits
        ]

    def _epilogue(self, node: Node) -> list[Node]:
        """The element-wise nodes that can be done before `node`'s result is stored."""
        frame = node.output.type.frame
        chain: list[Node] = []
        while (following := self._only_user(chain[-1] if chain else node)) is not None:
            last = chain[-1] if chain else node
            fits = (
                following.op.scalar is not None
                and following.output.type.frame == frame
                and all(
                    v == last.output or (fits and v.name in self.ready)
                    for v, fits in fitting(following, frame)
                )
                and _operand_count(node, [*chain, following]) <= EPILOGUE_OPERANDS
            )
            if not fits:
                break
            chain.append(following)
        return chain

    def _only_user(self, node: Node) -> Node | None:
        users = self.users[node.output.name]
        alone = len(users) == 1 and len(node.outputs) == 1 and node.output.name not in self.kept
        return users[0] if alone else None


def _stores(kernel: Kernel) -> bool:
    return kernel is MAP or kernel.finish is not None


def _operand_count(node: Node, chain: Sequence[Node]) -> int:
    count = len(node.inputs) if node.op.scalar is not None else 2
    return count + sum(len(n.inputs) - 1 for n in chain)


def planar_values(items: Sequence[Draft | Movement], kept: frozenset[str]) -> frozenset[str]:
    """Values that may be held in channel planes: made and read by kernels alone, and only
    where a layout is asked of the planner (first operands, epilogues)."""
    made = {i.output.name: i.output.type for i in items if isinstance(i, Draft)}
    barred = set(kept)
    for item in items:
        if isinstance(item, Movement):
            barred.update(v.name for v in item.node.inputs)
        elif item.first is not None:
            barred.update(v.name for v in item.node.inputs[1:])
    return frozenset(
        name
        for name, type in made.items()
        if name not in barred and type.frame[2] > 1 and type.frame[0] * type.frame[1] > 1
    )

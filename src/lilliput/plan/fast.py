"""How much RAM a network needs, in milliseconds: for a search that asks about thousands.

One idea: what the planner knows of a layer depends on its operator, its attributes and the types
that it reads and writes, and a search sees the same layers again and again.  So tasks become parts
(`parts`) once for each kind of layer, in a network of that layer alone; a network is then a row of
known parts, and what it needs is the least limit that its runs keep to (`partition`).

    speed       every task as one call, with the kernels of the fewest predicted cycles
    streaming   the fewest bytes of any cut into calls and loops of one row an execution, with the
                leanest kernels and every map in rows

Not here: placement, which may need more where buffers do not fit together, and the trade of bytes
for cycles that `--optimize ram` makes.  Networks with states, several entries or moved data
(concatenation, slices) are planned as far as their parts by the planner itself, which takes longer.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np

from lilliput.errors import UnsupportedError
from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Module, Param
from lilliput.ir.op import Kernel, Layout, NoAttrs
from lilliput.ops.shape import copy
from lilliput.plan.choose import Candidate, Choice, Draft, choose
from lilliput.plan.cost import predict
from lilliput.plan.draft import MAP, Drafter, Movement, planar_values
from lilliput.plan.group import Member, Read
from lilliput.plan.layout import Job, Storage, lay_out
from lilliput.plan.objective import Prices
from lilliput.plan.partition import Cutter
from lilliput.plan.parts import Parts
from lilliput.plan.runs import Loops, Map, Part
from lilliput.plan.select import Selection, Task, conversion_alone, select, task_alone, zeros


@dataclass(eq=False)
class Known:
    """What was found out about the layers of networks so far, on one core; a search keeps one.

    kinds : all that the facts of a node depend on -> its number; scales and weights are no part
    """

    core: str
    kinds: dict[Hashable, int] = field(default_factory=dict[Hashable, int])
    kernels: dict[Hashable, list[Kernel]] = field(default_factory=dict[Hashable, list[Kernel]])
    candidates: dict[Hashable, tuple[Candidate, ...]] = field(
        default_factory=dict[Hashable, tuple[Candidate, ...]]
    )
    parts: dict[Hashable, tuple[Part, tuple[str, ...]]] = field(
        default_factory=dict[Hashable, tuple[Part, tuple[str, ...]]]
    )
    converting: dict[Hashable, float] = field(default_factory=dict[Hashable, float])
    loops: Loops = field(default_factory=Loops)

    def kind(self, node: Node, params: Container[str]) -> int:
        inputs = tuple((v.type.shape, v.type.dtype, v.name in params) for v in node.inputs)
        outputs = tuple((v.type.shape, v.type.dtype) for v in node.outputs)
        facts = node.op.name, node.attrs, inputs, outputs
        return self.kinds.setdefault(facts, len(self.kinds))


def peak(module: Module, known: Known, *, streaming: bool) -> int:
    """Bytes of activations and scratch that the neediest entry of `module` needs, about; states
    come on top.  Parameters may lack data.

    known : what is known of layers on a core; grows
    streaming : the fewest bytes, row by row; else with the fastest kernels, layer by layer
    Raises UnsupportedError listing every node that no kernel accepts.
    """
    return max((_peak(module, name, known, streaming) for name in module.graphs), default=0)


def _peak(module: Module, entry: str, known: Known, streaming: bool) -> int:
    parts, maps = quick_parts(module, entry, known, streaming=streaming) or slow_parts(
        module, entry, known.core, streaming=streaming
    )
    if streaming:
        return Cutter(parts, maps, known.loops).lean
    fastest = [replace(part, ways=part.ways[-1:]) for part in parts]
    return Cutter(fastest, maps).layered


Pieces = tuple[Sequence[Part], Mapping[str, Map]]


def slow_parts(module: Module, entry: str, core: str, *, streaming: bool) -> Pieces:
    """The parts and maps of an entry as the planner has them."""
    shapes = {n: zeros(p.value) if p.data is None else p for n, p in module.params.items()}
    module = replace(module, params=shapes)
    graph = module.graphs[entry]
    keep = frozenset(v.name for v in graph.outputs)
    with np.errstate(all="ignore"):  # as in `build.plan`
        selection = select(graph, shapes, keep, core, prices=_prices(graph, streaming))
    external = frozenset(v.name for v in graph.inputs) | frozenset(selection.params)
    states = {s.name: s.value for s in module.states.values()}
    outputs, updates = module.outputs(entry), module.updates(entry)
    layout = lay_out(selection.items, external, outputs, updates, states, frozenset())
    view = Parts(module, entry, layout, selection, core)
    return view.parts(), view.maps()


def _prices(graph: Graph, streaming: bool) -> Prices:
    """Where rows stream, no scratch is worth a byte, and all is held in rows."""
    if not streaming:
        return Prices()
    names = [v.name for v in graph.values()]
    return Prices(rows=frozenset(names), scratch=dict.fromkeys(names, 0.0))


def quick_parts(module: Module, entry: str, known: Known, *, streaming: bool) -> Pieces | None:
    """The same from what is known of layers; None where data is moved, or there are states."""
    if module.states:
        return None
    graph = module.graphs[entry]
    keep = frozenset(v.name for v in graph.outputs)
    drafter = _Remembering(graph, module.params, keep, known, _prices(graph, streaming))
    for node in graph.nodes:
        drafter.add(node)
    if drafter.problems:
        raise UnsupportedError(drafter.problems)
    moved = (i.node for i in drafter.items if isinstance(i, Movement))
    if any(not n.op.view or n.inputs[0].name in module.params for n in moved):
        return None
    computing = [d for d in drafter.items if isinstance(d, Draft)]
    planar = frozenset[str]() if streaming else planar_values(drafter.items, keep)
    choices = iter(choose([_leading(d) for d in computing], planar, drafter.convert))
    work = _Row(module.params, drafter)
    for i, value in enumerate(module.inputs(entry)):
        work.make(value, f"in{i}", -1)
    for item in drafter.items:
        if isinstance(item, Movement):
            work.roots[item.output.name] = work.roots[item.node.inputs[0].name]
        else:
            work.add(item, next(choices))
    for value in module.outputs(entry):
        work.last[work.roots[value.name]] = len(work.parts)
    return work.parts, work.maps()


# Layers -----------------------------------------------------------------------------------


class _Remembering(Drafter):
    """Drafts whose candidates are looked up where a layer of their kind was seen before.

    Kernels that take weights by a proof take these: for trained weights the proofs nearly always
    hold, and a search has none yet.
    """

    def __init__(
        self,
        graph: Graph,
        params: Mapping[str, Param],
        keep: frozenset[str],
        known: Known,
        prices: Prices,
    ):
        super().__init__(graph, dict(params), keep, known.core, frozenset(), prices)
        self.known, self.kinds = known, dict[str, int]()

    def kind(self, node: Node) -> int:
        """The number of a node's kind, by the name of what it makes."""
        name = node.output.name
        if name not in self.kinds:
            self.kinds[name] = self.known.kind(node, self.params)
        return self.kinds[name]

    def kernels(self, node: Node) -> list[Kernel]:
        kind = self.kind(node)
        if kind not in self.known.kernels:
            held = {v.name: v for v in node.inputs if v.name in self.params}
            self.params = {**self.params, **{n: zeros(v) for n, v in held.items()}}
            self.known.kernels[kind] = super().kernels(node)
        return self.known.kernels[kind]

    def candidates(
        self, kernels: Sequence[Kernel], node: Node, chain: Sequence[Node]
    ) -> tuple[Candidate, ...]:
        lean = bool(self.prices.scratch)
        kind = lean, *map(self.kind, (node, *chain))
        if kind not in self.known.candidates:
            self.known.candidates[kind] = super().candidates(kernels, node, chain)
        return self.known.candidates[kind]

    def convert(self, value: Value) -> float:
        """Predicted cycles of changing the layout of a value."""
        kind = value.type.shape, value.type.dtype
        if kind not in self.known.converting:
            node = Node(copy, (value,), (value,), NoAttrs())
            self.known.converting[kind] = predict(MAP, node, self.core)
        return self.known.converting[kind]


def _leading(draft: Draft) -> Draft:
    """With the fastest of the candidates that read and write alike alone."""
    best: dict[Hashable, Candidate] = {}
    for c in draft.candidates:
        ends = c.kernel.reads, c.kernel.writes
        if ends not in best or c.cycles < best[ends].cycles:
            best[ends] = c
    return replace(draft, candidates=tuple(best.values()))


class _Row:
    """The parts of a network; maps are named by who makes them, so that loops of networks which
    are partly alike are alike.

    roots : value -> the map in which it lies
    maps : map -> the value it is made as, its first and its last part
    held : values that lie in planes; converted : the same values in another layout
    """

    def __init__(self, params: Mapping[str, Param], drafter: _Remembering):
        self.params, self.known, self.kind = params, drafter.known, drafter.kind
        self.parts: list[Part] = []
        self.roots: dict[str, str] = {}
        self.made: dict[str, tuple[Value, int]] = {}
        self.last: dict[str, int] = {}
        self.held: dict[str, Layout] = {}
        self.converted: dict[tuple[str, Layout], Value] = {}

    def make(self, value: Value, root: str, at: int) -> None:
        self.roots[value.name], self.made[root], self.last[root] = root, (value, at), at

    def maps(self) -> dict[str, Map]:
        found: dict[str, Map] = {}
        for root, (value, at) in self.made.items():
            rows = value.type.frame[0]
            planar = value.name in self.held
            found[root] = Map(rows, -(-value.type.nbytes // rows), at, self.last[root], planar)
        return found

    def add(self, draft: Draft, choice: Choice) -> None:
        first = draft.first
        if first is not None and first.name not in self.params:
            if self.held.get(first.name, Layout.ROWS) is not choice.reads:
                first = self._convert(first, choice.reads)
            node = draft.node.with_inputs((first, *draft.node.inputs[1:]))
            draft = replace(draft, node=node, first=first)
        self._task(draft, choice)

    def _convert(self, value: Value, layout: Layout) -> Value:
        """`value` in another layout, which a part of its own makes once."""
        if (value.name, layout) not in self.converted:
            held = self.held.get(value.name, Layout.ROWS)
            made = replace(value, name=f"{value.name}/{layout.value}")
            kind = value.type.shape, value.type.dtype, held, layout

            def alone() -> Selection:
                return conversion_alone(value, held, layout, self.known.core)

            self._append(kind, alone, (value.name,), (made,))
            if layout is not Layout.ROWS:
                self.held[made.name] = layout
            self.converted[value.name, layout] = made
        return self.converted[value.name, layout]

    def _task(self, draft: Draft, choice: Choice) -> None:
        nodes = draft.node, *draft.fused
        inner = {v.name for n in nodes for v in n.outputs}
        read = (v.name for n in nodes for v in n.inputs if v.name not in inner)
        names = tuple(n for n in read if n not in self.params)
        held = {n: self.held[n] for n in names if n in self.held}
        lie = tuple((names.index(n), n in held) for n in names)
        kind = tuple(map(self.kind, nodes)), choice, lie

        def alone() -> Selection:
            return task_alone(draft, choice, held, self.params, self.known.core)

        self._append(kind, alone, names, (draft.output, *draft.node.outputs[1:]))
        if choice.writes is not Layout.ROWS:
            self.held[draft.output.name] = choice.writes

    def _append(
        self,
        kind: Hashable,
        alone: Callable[[], Selection],
        reads: tuple[str, ...],
        makes: tuple[Value, ...],
    ) -> None:
        """A part of a kind; `alone` makes it in a network of its own, where it is the first."""
        at = len(self.parts)
        if kind not in self.known.parts:
            with np.errstate(all="ignore"):  # as in `build.plan`
                selection = alone()
            job = Job(cast(Task, selection.items[-1]))
            view = Parts(Module({}, {}), "", Storage(), selection, self.known.core)
            self.known.parts[kind] = view.part(job), (*reads, makes[0].name)
        part, before = self.known.parts[kind]
        for i, value in enumerate(makes):
            self.make(value, f"{at}.{i}" if i else str(at), at)
        roots = [self.roots[name] for name in reads]
        self.last.update((root, at) for root in roots)
        self.parts.append(_renamed(part, dict(zip(before, (*roots, str(at)), strict=True))))


def _renamed(part: Part, names: Mapping[str, str]) -> Part:
    near = {names[n]: distance for n, distance in part.near.items()}
    member = part.member
    if member is not None:
        reads = tuple(Read(names[r.root], r.rule, r.lie) for r in member.reads)
        member = Member("", reads, names[member.writes], member.rows, member.quantum, member.lie)
    return Part(member, part.ways, part.call, part.carry, near)

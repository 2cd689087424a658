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

from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from lilliput.errors import UnsupportedError
from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Module, Param
from lilliput.ir.op import Kernel, Layout, NoAttrs
from lilliput.ops.shape import copy
from lilliput.plan.choose import Candidate, Choice, Draft, choose
from lilliput.plan.cost import predict
from lilliput.plan.draft import MAP, Drafter, Movement, planar_values
from lilliput.plan.layers import Layer, Net
from lilliput.plan.layout import Job, Storage, lay_out
from lilliput.plan.lean import Lean
from lilliput.plan.objective import Prices
from lilliput.plan.partition import Cutter
from lilliput.plan.parts import Parts
from lilliput.plan.quiet import planning
from lilliput.plan.runs import Map, Part
from lilliput.plan.select import Selection, Task, conversion_alone, select, task_alone, zeros
from lilliput.plan.tree import Tree


@dataclass(eq=False)
class _Kind:
    """What is known of a kind of draft: its candidates, of those the fastest of each pair of
    layouts, and the one that is chosen where all is held in rows, once somebody wanted that."""

    number: int
    candidates: tuple[Candidate, ...]
    leading: tuple[Candidate, ...]
    alone: Choice | None = None


@dataclass(frozen=True, eq=False)
class _Made:
    """What is known of a kind of part, and the rows that it makes: (rows, bytes of one) of each
    result."""

    layer: Layer
    results: tuple[tuple[int, int], ...]


@dataclass(eq=False)
class Known:
    """What was found out about the layers of networks so far, on one core; a search keeps one.

    kinds : all that the facts of a node depend on -> its number; scales and weights are no part
    parts : None where a kind takes several tasks; loops : of rows of those
    """

    core: str
    kinds: dict[Hashable, int] = field(default_factory=dict[Hashable, int])
    kernels: dict[int, list[Kernel]] = field(default_factory=dict[int, list[Kernel]])
    drafts: dict[Hashable, _Kind] = field(default_factory=dict[Hashable, _Kind])
    parts: dict[Hashable, _Made | None] = field(default_factory=dict[Hashable, "_Made | None"])
    converting: dict[Hashable, float] = field(default_factory=dict[Hashable, float])
    loops: Tree = field(default_factory=Tree)

    def kind(self, node: Node, params: Container[str]) -> int:
        inputs = tuple([(v.type.shape, v.type.dtype, v.name in params) for v in node.inputs])
        outputs = tuple([(v.type.shape, v.type.dtype) for v in node.outputs])
        facts = node.op.name, node.attrs, inputs, outputs
        return self.kinds.setdefault(facts, len(self.kinds))


@planning()
def peak(module: Module, known: Known, *, streaming: bool) -> int:
    """Bytes of activations and scratch that the neediest entry of `module` needs, about; states
    come on top.  Parameters may lack data.

    known : what is known of layers on a core; grows
    streaming : the fewest bytes, row by row; else with the fastest kernels, layer by layer
    Raises UnsupportedError listing every node that no kernel accepts.
    """
    return max((_peak(module, name, known, streaming) for name in module.graphs), default=0)


def _peak(module: Module, entry: str, known: Known, streaming: bool) -> int:
    net = quick_net(module, entry, known, streaming=streaming)
    if net is not None and not streaming:
        return Lean(net, fast=True).layered()
    if net is not None and net.closed:
        return Lean(net, known.loops).least()
    parts, maps = net.named() if net else slow_parts(module, entry, known.core, streaming=streaming)
    if streaming:
        return Cutter(parts, maps).lean
    fastest = [replace(part, ways=part.ways[-1:]) for part in parts]
    return Cutter(fastest, maps).layered


def slow_parts(
    module: Module, entry: str, core: str, *, streaming: bool
) -> tuple[Sequence[Part], Mapping[str, Map]]:
    """The parts and maps of an entry as the planner has them."""
    shapes = {n: zeros(p.value) if p.data is None else p for n, p in module.params.items()}
    module = replace(module, params=shapes)
    graph = module.graphs[entry]
    keep = frozenset(v.name for v in graph.outputs)
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


def quick_net(module: Module, entry: str, known: Known, *, streaming: bool) -> Net | None:
    """The same from what is known of layers; None where data is moved, a layer takes several tasks,
    or there are states."""
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
    choices = iter(drafter.choices(keep))
    work = _Row(module.params, drafter)
    for value in module.inputs(entry):
        rows = value.type.frame[0]
        work.make(value.name, (rows, -(-value.type.nbytes // rows)), -1)
    for item in drafter.items:
        if isinstance(item, Movement):
            work.roots[item.output.name] = work.roots[item.node.inputs[0].name]
        elif not work.add(item, next(choices)):
            return None
    return work.net(module.outputs(entry))


# Layers -----------------------------------------------------------------------------------


class _Remembering(Drafter):
    """Drafts whose candidates are looked up where a layer of their kind was seen before.

    Kernels that take weights by a proof take these: for trained weights the proofs nearly always
    hold, and a search has none yet.

    kinds : draft -> what is known of its kind, by the name of what its anchor makes; only its
        leading candidates are in the draft
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
        self.known, self.lean = known, bool(prices.scratch)
        self.kinds = dict[str, _Kind]()

    def kernels(self, node: Node) -> list[Kernel]:
        kind = self.known.kind(node, self.params)
        self.last = kind
        if kind not in self.known.kernels:
            held = {v.name: v for v in node.inputs if v.name in self.params}
            self.params = {**self.params, **{n: zeros(v) for n, v in held.items()}}
            self.known.kernels[kind] = super().kernels(node)
        return self.known.kernels[kind]

    def candidates(
        self, kernels: Sequence[Kernel], node: Node, chain: Sequence[Node]
    ) -> tuple[Candidate, ...]:
        known = self.known
        key = self.lean, self.last, *[known.kind(n, self.params) for n in chain]
        if key not in known.drafts:
            found = super().candidates(kernels, node, chain)
            known.drafts[key] = _Kind(len(known.drafts), found, _leading(found))
        self.kinds[node.output.name] = known.drafts[key]
        return known.drafts[key].leading

    def choices(self, keep: frozenset[str]) -> list[Choice]:
        """As `select` has it; where all is held in rows, no choice depends on others."""
        drafts = [d for d in self.items if isinstance(d, Draft)]
        if not self.lean:
            return choose(drafts, planar_values(self.items, keep), self.convert)
        found: list[Choice] = []
        for draft in drafts:
            kind = self.kinds[draft.node.output.name]
            if kind.alone is None:
                (kind.alone,) = choose((draft,), frozenset(), self.convert)
            found.append(kind.alone)
        return found

    def convert(self, value: Value) -> float:
        """Predicted cycles of changing the layout of a value."""
        kind = value.type.shape, value.type.dtype
        if kind not in self.known.converting:
            node = Node(copy, (value,), (value,), NoAttrs())
            self.known.converting[kind] = predict(MAP, node, self.core)
        return self.known.converting[kind]


def _leading(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The fastest of those that read and write alike."""
    best: dict[Hashable, Candidate] = {}
    for c in candidates:
        ends = c.kernel.reads, c.kernel.writes
        if ends not in best or c.cost < best[ends].cost:
            best[ends] = c
    return tuple(best.values())


class _Row:
    """Builds a net of known layers.

    roots : value -> the number of the map in which it lies
    maps : (rows, bytes of one) of each; first, last : parts that make it, and read it at last
    held : values that lie in planes; converted : the same values in another layout
    """

    def __init__(self, params: Mapping[str, Param], drafter: _Remembering):
        self.params, self.known, self.kinds = params, drafter.known, drafter.kinds
        self.layers: list[Layer] = []
        self.touches: list[tuple[int, ...]] = []
        self.roots: dict[str, int] = {}
        self.maps: list[tuple[int, int]] = []
        self.first: list[int] = []
        self.last: list[int] = []
        self.planar: set[int] = set()
        self.held: dict[str, Layout] = {}
        self.converted: dict[tuple[str, Layout], Value] = {}

    def make(self, name: str, rows: tuple[int, int], at: int) -> None:
        self.roots[name] = len(self.maps)
        self.maps.append(rows)
        self.first.append(at)
        self.last.append(at)

    def net(self, outputs: Iterable[Value]) -> Net:
        for value in outputs:
            self.last[self.roots[value.name]] = len(self.layers)
        lies = zip(self.maps, self.first, self.last, strict=True)
        maps = [
            Map(rows, row, first, last, m in self.planar)
            for m, ((rows, row), first, last) in enumerate(lies)
        ]
        return Net(self.layers, self.touches, maps)

    def add(self, draft: Draft, choice: Choice) -> bool:
        """Whether a draft is one task."""
        first = draft.first
        if (
            first is not None
            and first.name not in self.params
            and self._lie(first) is not choice.reads
        ):
            first = self._convert(first, choice.reads)
            node = draft.node.with_inputs((first, *draft.node.inputs[1:]))
            draft = replace(draft, node=node, first=first)
        return self._task(draft, choice)

    def _lie(self, value: Value) -> Layout:
        return self.held.get(value.name, Layout.ROWS)

    def _convert(self, value: Value, layout: Layout) -> Value:
        """`value` in another layout, which a part of its own makes once."""
        if (value.name, layout) not in self.converted:
            held = self._lie(value)
            made = replace(value, name=f"{value.name}/{layout.value}")
            kind = value.type.shape, value.type.dtype, held, layout

            def alone() -> Selection:
                return conversion_alone(value, held, layout, self.known.core)

            self._append(kind, alone, (value.name,), (made,))
            self._hold(made, layout)
            self.converted[value.name, layout] = made
        return self.converted[value.name, layout]

    def _hold(self, value: Value, layout: Layout) -> None:
        if layout is not Layout.ROWS:
            self.held[value.name] = layout
            self.planar.add(self.roots[value.name])

    def _task(self, draft: Draft, choice: Choice) -> bool:
        params, node = self.params, draft.node
        read = [v.name for v in node.inputs if v.name not in params]
        if draft.fused:
            inner = {v.name for n in (node, *draft.fused) for v in n.outputs}
            extra = [v.name for n in draft.fused for v in n.inputs]
            read += [n for n in extra if n not in inner and n not in params]
        names = tuple(read)
        held = {n: self.held[n] for n in names if n in self.held} if self.held else {}
        lie = tuple([(names.index(n), n in held) for n in names])
        known = self.kinds[node.output.name]
        kind = known.number, choice.kernel.name, choice.reads, choice.writes, lie

        def alone() -> Selection:
            every = replace(draft, candidates=known.candidates)
            return task_alone(every, choice, held, params, self.known.core)

        done = self._append(kind, alone, names, (draft.output, *draft.node.outputs[1:]))
        if done:
            self._hold(draft.output, choice.writes)
        return done

    def _append(
        self,
        kind: Hashable,
        alone: Callable[[], Selection],
        reads: tuple[str, ...],
        makes: tuple[Value, ...],
    ) -> bool:
        """A part of a kind; `alone` makes it in a network of its own."""
        if kind not in self.known.parts:
            self.known.parts[kind] = _part_alone(alone(), reads, makes, self.known.core)
        made = self.known.parts[kind]
        if made is None:
            return False
        at = len(self.layers)
        touched = [self.roots[name] for name in reads]
        for root in touched:
            self.last[root] = at
        for value, rows in zip(makes, made.results, strict=True):
            self.make(value.name, rows, at)
        self.layers.append(made.layer)
        self.touches.append((*touched, self.roots[makes[0].name]))
        return True


def _part_alone(
    selection: Selection, reads: tuple[str, ...], makes: tuple[Value, ...], core: str
) -> _Made | None:
    """The only task of a selection as a part; None where there are several."""
    if len(selection.items) > 1:
        return None
    job = Job(cast(Task, selection.items[0]))
    part = Parts(Module({}, {}), "", Storage(), selection, core).part(job)
    frames = [(v.type.frame[0], v.type.nbytes) for v in makes]
    results = tuple([(rows, -(-nbytes // rows)) for rows, nbytes in frames])
    return _Made(Layer.of(part, (*reads, makes[0].name)), results)

"""The order of operators: of all that a graph allows, one that keeps the fewest bytes alive.

A chain has one order.  Where a graph branches, a branch that ends small should be finished
before the next one begins, and it depends on the sizes which of them goes first.

One idea: what is alive depends on *which* operators have run and not on the order in which they
did.  So the orders are the paths through the sets of executed operators, the cost of a path is
the most that one of its steps needs, and the best path is found as in Dijkstra's algorithm with
the maximum in place of the sum: always go on from the set that was reached with the least.  Only
sets that can be reached with no more than the optimum are ever looked at (the soft budget that
Ahn et al., "Ordering Chaos: Memory-Aware Scheduling of Irregularly Wired Neural Networks for
Edge Devices", MLSys 2020, search for from above), and a graph that narrows to one value now and
then costs no more than its parts do one after the other.  Three things make it fast:

    an operator that frees as many bytes as it takes, within what has been needed already, is run
    at once: nothing that follows can need more for it
    sets that need as much as the order of the graph are left out: ties keep that order
    after LIMIT sets a beam search goes on, and what the last set needed remains as lower bound

Not here: offsets.  Whether fewer bytes alive make a smaller arena is for who calls to find out.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Module
from lilliput.plan.frames import is_movement
from lilliput.plan.guard import waiting

LIMIT: Final = 10_000
"""Sets of executed operators that are gone on from, for one graph."""
WIDTH: Final = 64
"""Sets of each size that the beam search keeps."""


@dataclass(frozen=True)
class Task:
    """What runs as one step; storages and other tasks are named by their index.

    over : what it writes may lie over operands that it is the last to read
    """

    after: frozenset[int]
    reads: frozenset[int]
    writes: frozenset[int]
    over: bool = False


@dataclass(frozen=True)
class Work:
    """Tasks in an order that is legal, and the bytes of each storage.

    given : storages that are alive before the first task; kept : those that are after the last
    """

    tasks: tuple[Task, ...]
    sizes: tuple[int, ...]
    given: frozenset[int]
    kept: frozenset[int]


@dataclass(frozen=True)
class Order:
    """Indices of tasks in order, the most bytes that one of its steps needs, and the bytes that
    no order does with less than."""

    tasks: tuple[int, ...]
    peak: int
    bound: int


def reorder(module: Module) -> Module:
    """`module` with the nodes of each graph in the best order that is found; the same object
    where no order needs less than that of the graph."""
    graphs = dict(module.graphs)
    for name, graph in module.graphs.items():
        work = work_of(graph, frozenset(module.states), *waiting(module, name))
        order = best_order(work)
        if order.tasks != tuple(range(len(graph.nodes))):
            graphs[name] = replace(graph, nodes=tuple(graph.nodes[i] for i in order.tasks))
    changed = any(graphs[name] is not graph for name, graph in module.graphs.items())
    return replace(module, graphs=graphs) if changed else module


def best_order(work: Work, limit: int = LIMIT, width: int = WIDTH) -> Order:
    """The best order of `work`: exact while `limit` sets suffice, else what a beam of `width`
    sets finds.  The order of `work` itself where nothing needs less."""
    search = _Search(work)
    own = tuple(range(len(work.tasks)))
    peak = search.peak(own)
    if peak <= search.least():
        return Order(own, peak, peak)
    found, bound = search.exact(peak, limit)
    if found is None and bound < peak:
        found = search.beam(peak, width)
    if found is None:
        return Order(own, peak, bound)
    order = search.restored(found)
    return Order(order, search.peak(order), min(bound, search.peak(order)))


_NONE: Final[frozenset[int]] = frozenset()

# From a graph to its tasks ----------------------------------------------------------------


def work_of(
    graph: Graph,
    states: frozenset[str] = frozenset(),
    guarded: frozenset[int] = frozenset(),
    late: frozenset[int] = frozenset(),
) -> Work:
    """One task for each node; the storages are those that `plan.layout` is going to make, as far
    as they can be foreseen: views take none, operands of a concat lie in its result.

    late : tasks that come after all of `guarded`
    """
    roots = _roots(graph)
    free = {v.name for v in graph.params} | states
    indices: dict[str, int] = {}
    sizes: list[int] = []
    for value in graph.values():
        name = _root(roots, value.name)
        if name == value.name and name not in free:
            indices[name] = len(sizes)
            sizes.append(value.type.nbytes)

    def storages(values: Sequence[Value]) -> frozenset[int]:
        names = (_root(roots, v.name) for v in values)
        return frozenset(indices[n] for n in names if n in indices)

    maker = {v.name: i for i, node in enumerate(graph.nodes) for v in node.outputs}
    tasks = tuple(
        Task(
            frozenset(maker[v.name] for v in node.inputs if v.name in maker)
            | (guarded if i in late else _NONE),
            storages(node.inputs),
            storages(node.outputs),
            node.output.name not in roots and _overlaps(node),
        )
        for i, node in enumerate(graph.nodes)
    )
    return Work(tasks, tuple(sizes), storages(graph.inputs), storages(graph.outputs))


def _roots(graph: Graph) -> Mapping[str, str]:
    """Value -> the value in whose storage it lies, of those that have none of their own."""
    parents: dict[str, str] = {}
    outputs = {v.name for v in graph.outputs}
    makers, users = graph.producers(), graph.consumers()
    given = {v.name for v in (*graph.inputs, *graph.params)}
    for node in graph.nodes:
        name = node.output.name
        if _is_view(node):
            if name not in outputs and node.inputs[0].name not in {p.name for p in graph.params}:
                parents[name] = node.inputs[0].name
        elif is_movement(node):
            for v in node.inputs:
                free = v.name not in outputs | given | set(parents)
                computed = free and not is_movement(makers[v.name]) and not _is_view(makers[v.name])
                viewed = any(_is_view(user) for user in users[v.name])
                if computed and not viewed and node.inputs.count(v) == 1:
                    parents[v.name] = name
    return parents


def _overlaps(node: Node) -> bool:
    """Whether some kernel could write over an operand; a part of a concat lies among others."""
    return node.op.scalar is not None or any(k.overlap != "none" for k in node.op.kernels)


def _is_view(node: Node) -> bool:
    return node.op.view or (is_movement(node) and len(node.inputs) == 1)


def _root(parents: Mapping[str, str], name: str) -> str:
    while name in parents:
        name = parents[name]
    return name


# The search -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Step:
    """What running a task takes: bytes needed while it runs, and alive after it."""

    need: int
    live: int


@dataclass(frozen=True)
class _State:
    """A set of executed tasks (`done`, bits), the tasks that could run next, and the bytes that
    are alive."""

    done: int
    ready: int
    live: int


class _Search:
    def __init__(self, work: Work):
        self.work, self.count = work, len(work.tasks)
        self.needs = [_bits(task.after) for task in work.tasks]
        self.then = [0] * self.count
        self.makers = [0] * len(work.sizes)
        self.users = [0] * len(work.sizes)
        for i, task in enumerate(work.tasks):
            for before in task.after:
                self.then[before] |= 1 << i
            for storage in task.writes:
                self.makers[storage] |= 1 << i
            for storage in task.reads | task.writes:
                self.users[storage] |= 1 << i

    def start(self) -> _State:
        given = (s for s in self.work.given if self.users[s] or s in self.work.kept)
        ready = _bits(i for i, need in enumerate(self.needs) if not need)
        return _State(0, ready, sum(self.work.sizes[s] for s in given))

    def step(self, state: _State, i: int) -> _Step:
        """What task i takes after the tasks of `state`."""
        task, work, done = self.work.tasks[i], self.work, state.done | 1 << i
        made = sum(
            work.sizes[s]
            for s in task.writes
            if not self.makers[s] & state.done and s not in work.given
        )
        ending = [
            s for s in task.reads | task.writes if not self.users[s] & ~done and s not in work.kept
        ]
        read = sum(work.sizes[s] for s in ending if s not in task.writes)
        freed = sum(work.sizes[s] for s in ending)
        saved = min(made, read) if task.over else 0
        return _Step(state.live + made - saved, state.live + made - freed)

    def after(self, state: _State, i: int, live: int) -> _State:
        done = state.done | 1 << i
        ready = state.ready & ~(1 << i)
        for j in _indices(self.then[i]):
            if not self.needs[j] & ~done:
                ready |= 1 << j
        return _State(done, ready, live)

    def peak(self, order: Sequence[int]) -> int:
        """Bytes that the neediest step of an order needs, or that are given before the first."""
        state = self.start()
        most = state.live
        for i in order:
            step = self.step(state, i)
            most, state = max(most, step.need), self.after(state, i, step.live)
        return most

    def least(self) -> int:
        """Bytes that some step needs in every order: its operands and what it makes."""
        sizes, best = self.work.sizes, self.start().live
        for task in self.work.tasks:
            made = sum(sizes[s] for s in task.writes - task.reads)
            read = sum(sizes[s] for s in task.reads)
            best = max(best, read + made - (min(made, read) if task.over else 0))
        return best

    def choices(self, state: _State, peak: int) -> list[tuple[int, _Step]]:
        """Tasks that could run next; one alone where that cannot be wrong."""
        found: list[tuple[int, _Step]] = []
        for i in _indices(state.ready):
            step = self.step(state, i)
            if step.live <= state.live and step.need <= peak:
                return [(i, step)]
            found.append((i, step))
        return found

    def exact(self, below: int, limit: int) -> tuple[list[int] | None, int]:
        """(the best order that needs less than `below`, if `limit` sets lead to one; the bytes
        that none does with less than)."""
        start, full = self.start(), (1 << self.count) - 1
        peaks, paths = {0: start.live}, {0: (0, -1)}
        queue = [(start.live, self.count, 0, start)]
        pushed = looked = 0
        while queue:
            peak, left, _, state = heapq.heappop(queue)
            if state.done == full:
                return _path(paths, full), peak
            if peak > peaks[state.done]:
                continue
            if looked == limit:
                return None, peak
            looked += 1
            for i, step in self.choices(state, peak):
                most, done = max(peak, step.need), state.done | 1 << i
                if most < min(below, peaks.get(done, below)):
                    peaks[done], paths[done] = most, (state.done, i)
                    pushed += 1
                    following = self.after(state, i, step.live)
                    heapq.heappush(queue, (most, left - 1, pushed, following))
        return None, below

    def beam(self, below: int, width: int) -> list[int] | None:
        """An order that needs less than `below`, if the best `width` sets of each size lead to
        one."""
        start = self.start()
        level, paths = [(start.live, start)], {0: (0, -1)}
        for _ in range(self.count):
            found: dict[int, tuple[int, _State]] = {}
            for peak, state in level:
                for i, step in self.choices(state, peak):
                    most, done = max(peak, step.need), state.done | 1 << i
                    if most < below and (done not in found or most < found[done][0]):
                        found[done] = most, self.after(state, i, step.live)
                        paths[done] = state.done, i
            level = sorted(found.values(), key=lambda entry: (entry[0], entry[1].live))[:width]
        return _path(paths, level[0][1].done) if level else None

    def restored(self, order: Sequence[int]) -> tuple[int, ...]:
        """`order`, with the tasks of every stretch that gains nothing as they were: a stretch
        ends where the same tasks have run in both orders."""
        peak, own, cut = self.peak(order), list(order), 0
        done = kept = 0
        for at, i in enumerate(order, 1):
            done, kept = done | 1 << i, kept | 1 << (at - 1)
            if done == kept:
                tried = [*own[:cut], *range(cut, at), *own[at:]]
                own = tried if self.peak(tried) <= peak else own
                cut = at
        return tuple(own)


def _path(paths: Mapping[int, tuple[int, int]], done: int) -> list[int]:
    order: list[int] = []
    while done:
        done, i = paths[done]
        order.append(i)
    return order[::-1]


def _bits(indices: Iterator[int] | frozenset[int]) -> int:
    return sum(1 << i for i in indices)


def _indices(bits: int) -> Iterator[int]:
    while bits:
        low = bits & -bits
        yield low.bit_length() - 1
        bits ^= low

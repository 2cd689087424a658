"""From a plan that does not fit to the integer programme of `keep`, and back to a graph.

One idea: what the steps need comes from the planner (`Maker.needs`), what making something again
costs from its predictions, and what comes out is a graph that is planned like any other.  Estimates
choose; the plan decides.  Where it still needs too much the programme is asked again with less.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Final

from lilliput.devices.device import Device, Memory
from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Module
from lilliput.ir.op import NoAttrs
from lilliput.ops.shape import COPY, copy
from lilliput.passes.recompute import Paged, Recomputed
from lilliput.passes.recompute.later import Chain, Move, Reads, chain, make_later, shows
from lilliput.plan.cost import predict
from lilliput.plan.frames import is_movement
from lilliput.plan.guard import writers
from lilliput.plan.keep import Item, Kept, Problem, Way, smallest, solve
from lilliput.plan.objective import step_cycles
from lilliput.plan.program import Program

LEAST: Final = 256
"""Bytes of a value that is worth the question."""
REACH: Final = 16
"""Nodes before its first late reader at which a value may be there again."""
ASKED: Final = 6
"""Times that the programme is asked again because the estimate for its graph is too much."""

Needs = Mapping[str, int]
"""Value -> bytes that no cut does with less than while it is made."""


@dataclass(frozen=True, eq=False)
class Later:
    """made : the graph; homes : what of it lies in which other memory; paged : what is moved there
    and back
    peak : bytes of activations that the programme counts; owners : value that was added -> the one
    that it was added for
    """

    made: Recomputed
    homes: Mapping[str, str]
    paged: tuple[Paged, ...]
    peak: int
    owners: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Finder:
    """What is known of a module that was planned.

    needs : of `module`; needs_of : of what it becomes
    cycles : value -> predicted cycles of making it
    far : where values may be moved to
    macs : multiply-accumulates that may be done again
    """

    module: Module
    device: Device
    needs: Needs
    needs_of: Callable[[Later], Needs]
    cycles: Mapping[str, float]
    far: Memory | None
    macs: float

    def within(self, room: float) -> Later | None:
        """The cheapest that is estimated to need no more than `room` bytes of activations; None
        where nothing does."""
        limit, refused = room, frozenset[str]()
        for _ in range(ASKED):
            found = self.asked(limit, refused)
            if found is None:
                return None
            needs = self.needs_of(found)
            over = max(needs.values(), default=0) - room
            if over <= 0:
                return found
            dear = _dear(found, needs, room)
            refused |= dear
            limit -= 0 if dear else over
        return None

    def least(self) -> Later | None:
        """What is estimated to need the least; None where nothing lowers the estimate."""
        least, best = max(self.needs.values(), default=0), None
        refused = frozenset[str]()
        for _ in range(ASKED):
            found = self.asked(0, refused, tight=True)
            if found is None:
                break
            needs = self.needs_of(found)
            most = max(needs.values(), default=0)
            if most < least:
                least, best = most, found
            dear = _dear(found, needs, found.peak)
            if not dear:
                break
            refused |= dear
        return best

    def asked(
        self, limit: float, refused: Collection[str] = (), *, tight: bool = False
    ) -> Later | None:
        """What the programme chooses within `limit` bytes, or `tight` of all that it can be asked;
        `refused` values are not made again.  None where it has no choice."""
        moves: dict[str, Sequence[Move]] = {}
        peak = 0
        for entry in self.module.graphs:
            asked = self.problem(entry, 0 if tight else limit, refused)
            peak = max(peak, *asked.problem.base)
            if peak <= limit:
                continue
            kept = smallest(asked.problem) if tight else solve(asked.problem, limit)
            if kept is None:
                return None
            peak = kept.peak
            moves[entry] = list(asked.moves(kept))
        laid = make_later(self.module, moves)
        memory = self.far.name if self.far else ""
        sizes = {v.name: v.type.nbytes for g in self.module.graphs.values() for v in g.values()}
        gone = [m.value for chosen in moves.values() for m in chosen if m.chain is None]
        paged = tuple(Paged(name, memory, sizes[name]) for name in gone)
        homes = dict.fromkeys(laid.far, memory)
        return Later(laid.made, homes, paged, peak, laid.owners)

    def problem(self, entry: str, limit: float, refused: Collection[str] = ()) -> Asked:
        """What of an entry is read early and late, around a step that needs more than `limit`."""
        graph = self.module.graphs[entry]
        reads = Reads(graph)
        base = tuple(max(self.needs.get(v.name, 0) for v in n.outputs) for n in graph.nodes)
        found = dict(_gaps(graph, reads, self._bound(entry)))
        gaps = {
            name: (early, late)
            for name, (early, late) in found.items()
            if any(b > limit for b in base[early + 1 : late])
        }
        passing = _passing(graph, reads, found)
        quiet = {name: _quiet(passing, *gap) for name, gap in gaps.items()}
        barred = self._barred(entry)
        chains = {
            name: None if name in refused else chain(reads, name, late, barred)
            for name, (_, late) in gaps.items()
        }
        given = {v.name for v in self.module.inputs(entry)}
        asked = {s for c in chains.values() if c for s in c.sources}
        names = [n for n in gaps if chains[n] or self.far or n in asked]
        names += sorted(given & asked)
        index = {name: k for k, name in enumerate(names)}
        nbytes = {v.name: v.type.nbytes for v in graph.values()}
        items: list[Item] = []
        for name in names:
            last = max(reads.last(name), 0)
            early, late = gaps.get(name, (last, last))
            made = chains.get(name)
            sources = made.sources if made else ()
            items.append(
                Item(
                    name,
                    nbytes[name],
                    early,
                    late,
                    last,
                    tuple(index[s] for s in sources if s in index),
                    self._cycles(made),
                    self._macs(graph, made),
                    self._paged(graph, name) if name in gaps else inf,
                )
            )
        room = float(self.far.size) if self.far else 0.0
        return Asked(Problem(tuple(items), base, self.macs, room), chains, quiet)

    def _bound(self, entry: str) -> set[str]:
        """Values that are alive at the end of the entry, or looked at by a guard."""
        outputs = {v.name for v in self.module.graphs[entry].outputs}
        return outputs | {g.name for g in self.module.guards.get(entry, ())}

    def _barred(self, entry: str) -> Mapping[str, int]:
        """State -> the first node from which on it may have moved."""
        graph, updates = self.module.graphs[entry], self.module.updates(entry)
        never = len(graph.nodes)
        return {
            state: min(writers(graph, {updates[state].name}), default=never)
            if state in updates
            else never
            for state in self.module.states
        }

    def _cycles(self, found: Chain | None) -> float:
        return sum(self.cycles.get(name, 0.0) for name in found.nodes) if found else inf

    def _macs(self, graph: Graph, found: Chain | None) -> int:
        names = set(found.nodes) if found else set[str]()
        return sum(n.op.cost(n).macs for n in graph.nodes if n.output.name in names)

    def _paged(self, graph: Graph, name: str) -> float:
        """Predicted cycles of a copy there and one back, and of what they wait for memories."""
        if self.far is None:
            return inf
        value = next(v for v in graph.values() if v.name == name)
        node = Node(copy, (value,), (Value(f"{name}/away", value.type),), NoAttrs(), "")
        both = 2 * predict(COPY, node, self.device.core.name)
        return both + value.type.nbytes * (self.far.cost + self.device.ram.cost)


@dataclass(frozen=True)
class Asked:
    """A programme, how each of its items would be made again, and before which node it would be
    fetched: copies in the middle of nodes that stream would part them."""

    problem: Problem
    chains: Mapping[str, Chain | None]
    quiet: Mapping[str, int]

    def moves(self, kept: Kept) -> Iterator[Move]:
        for item, way, step in zip(self.problem.items, kept.ways, kept.steps, strict=True):
            if way is Way.AGAIN:
                yield Move(item.name, step, self.chains[item.name])
            elif way is Way.PAGE:
                yield Move(item.name, min(step, self.quiet[item.name]), None)


def _dear(found: Later, needs: Needs, counted: float) -> frozenset[str]:
    """Values that are made again by nodes which themselves need more than was counted: they are
    to be kept the next time."""
    return frozenset(found.owners[n] for n, b in needs.items() if b > counted and n in found.owners)


def _gaps(
    graph: Graph, reads: Reads, bound: Collection[str]
) -> Iterator[tuple[str, tuple[int, int]]]:
    """Values that are for nothing alive for a while: the longest such while of each, as the reader
    before it and the one behind it."""
    shared = {
        reads.root(v.name) for n in graph.nodes if is_movement(n) and not shows(n) for v in n.inputs
    }
    bound = {reads.root(name) for name in bound} | shared
    for node in graph.nodes:
        for value in node.outputs:
            name = value.name
            if name not in reads.made or name in bound or value.type.nbytes < LEAST:
                continue
            times = [reads.made[name], *reads.reads.get(name, ())]
            pairs = list(pairwise(times))
            if pairs:
                early, late = max(pairs, key=lambda p: p[1] - p[0])
                if late - early > 1:
                    yield name, (early, late)


def _passing(graph: Graph, reads: Reads, gaps: Mapping[str, tuple[int, int]]) -> Sequence[int]:
    """Bytes that are alive before each node, but for values that wait for long."""
    found = [0] * (len(graph.nodes) + 1)
    for node in graph.nodes:
        for value in node.outputs:
            early, late = gaps.get(value.name, (0, 0))
            if value.name in reads.made and late - early <= REACH:
                for t in range(reads.made[value.name] + 1, reads.last(value.name) + 1):
                    found[t] += value.type.nbytes
    return found


def _quiet(passing: Sequence[int], early: int, late: int) -> int:
    """The place before the first late reader at which least is under way."""
    places = range(max(early + 1, late - REACH), late + 1)
    return min(places, key=lambda t: (passing[t], -t))


def cycles_of(program: Program, core: str) -> Mapping[str, float]:
    """Value -> predicted cycles of the call that makes it; what is fused into it is included."""
    found: dict[str, float] = {}
    for entry in program.entries:
        for step in entry.steps:
            for call, cycles in step_cycles(step, core):
                found[call.value.name] = found.get(call.value.name, 0.0) + cycles
    return found

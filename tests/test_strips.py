"""Loops whose rows are made strip by strip, against the strips gone through one by one."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import calls_of
from tests.test_properties import SLOW_START, examples

from lilliput.devices.device import load
from lilliput.emu.prove import prove
from lilliput.emu.toolchain import Toolchain, find
from lilliput.ir import Builder, Module, Quant
from lilliput.ir.region import Interval, Pointwise, Window, needs
from lilliput.ir.types import s8
from lilliput.ops.conv import Conv2d, conv2d
from lilliput.ops.elementwise import Binary, add
from lilliput.passes.canonicalize import Canonicalize
from lilliput.plan import loops as plan_loops
from lilliput.plan import search
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.group import Member, Read, Slot, timetable
from lilliput.plan.lines import Line, Lines, lines
from lilliput.plan.objective import Budget, Optimize
from lilliput.plan.partition import Cut, Cutter
from lilliput.plan.program import Loop, Program
from lilliput.plan.strips import Columns, Flow, Look, chases, columns, in_strips

M4 = load("cortex-m4")
M0 = load("cortex-m0plus")
"""Its kernels want no planes, so that more loops can go by strips."""
SMALL = PlanOptions(optimize=Optimize.RAM)
NOTHING = Budget(ram=0)
"""Of which no plan is: the smallest that there is."""

Chain = tuple[tuple[Member, ...], tuple[Slot, ...], tuple[Flow, ...]]


@st.composite
def flowing(draw: st.DrawFn) -> Chain:
    """A chain of windows over rows and pixels; its input is asked for or lies in memory."""
    rows = pixels = draw(st.integers(8, 24))
    asked = draw(st.booleans())
    members = [Member("m0", () if asked else (Read("in", Pointwise(0)),), "m0", rows)]
    looks = () if asked else (Look("in", Pointwise(1), pixels, late=False),)
    flows = [Flow("m0", pixels, draw(st.sampled_from([1, 3, 8])), looks)]
    for i in range(1, draw(st.integers(2, 5))):
        size, stride = draw(st.sampled_from([(1, 1), (3, 1), (3, 2), (1, 2), (5, 1)]))
        pad, before = size // 2, pixels
        rows, pixels = -(-rows // stride), -(-pixels // stride)
        reads = (Read(f"m{i - 1}", Window(0, size, stride, pad=pad)),)
        members.append(Member(f"m{i}", reads, f"m{i}", rows))
        look = Look(f"m{i - 1}", Window(1, size, stride, pad=pad), before, draw(st.booleans()))
        flows.append(Flow(f"m{i}", pixels, draw(st.sampled_from([1, 3, 8])), (look,)))
    table = timetable(members, frozenset({members[-1].writes}))
    return tuple(members), table.slots, tuple(flows)


@given(flowing(), st.integers(2, 4))
def test_a_strip_reads_what_has_been_made(chain: Chain, strips: int) -> None:
    *_, flows = chain
    cut = columns(flows, strips)
    if cut is None:
        assert any(flow.looks and flow.pixels < 2 * strips for flow in flows)
        return
    for i, (flow, ends) in enumerate(zip(flows, cut, strict=True)):
        if flow.looks:
            assert (ends[0], ends[-1], len(ends)) == (0, flow.pixels, strips + 1)
            assert list(ends) == sorted(ends)
        for before in (b for b in range(i) if cut[b]):
            for look in (x for x in flow.looks if x.root == flows[before].makes):
                for made, piece in zip(cut[before][1:], pairwise(ends), strict=True):
                    assert needs(look.rule, piece, look.pixels)[1] <= made


@given(flowing(), st.integers(2, 4), st.sampled_from([0, 5, 40]), st.booleans())
def test_rows_are_there_until_their_last_strip_is_read(
    chain: Chain, strips: int, size: int, over: bool
) -> None:
    members, slots, flows = chain
    cut = columns(flows, strips)
    if cut is None or not in_strips(flows, strips):
        return
    roots = tuple(
        (m.writes, m.rows, f.pixels * f.nbytes) for m, f in zip(members, flows, strict=True)
    )
    last = roots[-1]
    scratch = tuple(size if flow.looks else 0 for flow in flows)
    near = chases(flows, strips)
    found = lines(members, slots, roots[:-1], scratch, last if over else None, None, (), near)
    assert found is not None
    played(chain, cut, roots, found, size)


@dataclass
class Played:
    """Memory as the strips of a loop write it: byte -> (root, row, byte of the row) that was last
    written there; what the loop makes lies over the pool, as far as it may."""

    chain: Chain
    roots: tuple[Line, ...]
    found: Lines
    memory: dict[int, tuple[str, int, int]] = field(default_factory=dict[int, tuple[str, int, int]])

    def bytes_of(self, j: int, row: int, part: Interval) -> dict[int, tuple[str, int, int]]:
        """Where pixels of a row of part j are, and what they are; nothing if it has no place."""
        (root, _, nbytes), pixel = self.roots[j], self.chain[2][j].nbytes
        if root in self.found.places:
            start = self.found.places[root][row]
        elif self.found.behind is not None:
            start = row * nbytes - self.found.behind
        else:
            return {}
        return {start + at: (root, row, at) for at in range(part[0] * pixel, part[1] * pixel)}

    def read(self, j: int, k: int, piece: Interval) -> None:
        """That all which pixels of row k of part j are made from is there."""
        members, _, flows = self.chain
        made = {flow.makes: i for i, flow in enumerate(flows)}
        for read, look in zip(members[j].reads, flows[j].looks, strict=True):
            if look.root not in made:
                continue
            i = made[look.root]
            for row in range(*needs(read.rule, (k, k + 1), members[i].rows)):
                self.holds(i, row, needs(look.rule, piece, look.pixels))

    def holds(self, j: int, row: int, part: Interval) -> None:
        for at, what in self.bytes_of(j, row, part).items():
            assert self.memory.get(at) == what


def played(
    chain: Chain, cut: tuple[Columns, ...], roots: tuple[Line, ...], found: Lines, size: int
) -> None:
    now = Played(chain, roots, found)
    for j, k, piece in executions(chain, cut):
        now.read(j, k, piece)
        if cut[j] and size:
            at = found.scratch[j][k]
            now.memory.update({at + byte: ("scratch", j, k) for byte in range(size)})
        now.memory.update(now.bytes_of(j, k, piece))
        now.read(j, k, piece)  # kernels may read an operand again after they have written
    last = len(roots) - 1
    for k in range(roots[last][1]):
        now.holds(last, k, (0, chain[2][last].pixels))


def executions(chain: Chain, cut: tuple[Columns, ...]) -> Iterator[tuple[int, int, Interval]]:
    """(part, its k-th execution, pixels) in order: what is asked for, then strip by strip."""
    _, slots, flows = chain
    strips = max(len(ends) for ends in cut) - 1
    for t in range(max(s.phase + s.period * (s.count - 1) for s in slots) + 1):
        due = [
            (j, (t - slot.phase) // slot.period)
            for j, slot in enumerate(slots)
            if (t - slot.phase) % slot.period == 0
            and 0 <= (t - slot.phase) // slot.period < slot.count
        ]
        yield from ((j, k, (0, flows[j].pixels)) for j, k in due if not cut[j])
        for q in range(strips):
            yield from ((j, k, (cut[j][q], cut[j][q + 1])) for j, k in due if cut[j])


# Networks ---------------------------------------------------------------------------------


def in_strips_anywhere(module: Module, options: PlanOptions, seed: int) -> Program:
    """Cut at random into loops, in strips where that is possible."""

    known: dict[int, Cut] = {}

    def best(cutter: Cutter, limit: float | None) -> Cut:
        del limit
        if id(cutter) not in known:
            known[id(cutter)] = anywhere(cutter)
        return known[id(cutter)]

    def anywhere(cutter: Cutter) -> Cut:
        rng, runs, at = random.Random(seed), list[plan_loops.Run](), 0
        parts = [replace(part, near={}) for part in cutter.schedule.parts]
        every = Cutter(parts, cutter.maps, strips=True).runs
        while at < len(parts):
            begun = [r for r in every if r.start == at]
            runs.append(rng.choice([r for r in begun if r.strips > 1] or begun))
            at = runs[-1].stop
        nbytes = max((r.nbytes(float("inf")) for r in runs), default=0)
        return Cut(tuple(runs), nbytes, 0.0, float("inf"))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Cutter, "best", best)
        patched.setattr(search, "ROOMIER", ())  # more cuts at random, of which a small one is taken
        return plan(module, M0, options)


def strips_of(program: Program) -> list[int]:
    """Of the loops of a program, how many strips they go by."""
    loops = (s for e in program.entries for s in e.steps if isinstance(s, Loop))
    return [max(t.strips for t in loop.body) for loop in loops]


Layer = tuple[str, int, int]
"""What it is, the side of its window, its stride; "sum" adds the last sum, or the picture."""


def network(pixels: int, layers: Sequence[Layer]) -> Module:
    """A picture of `pixels` squared with three channels, through layers of random weights."""
    b, rng = Builder(), np.random.default_rng(0)
    y = b.input("picture", s8(1, pixels, pixels, 3, scale=0.1, zero_point=-128))
    start = y
    for i, (kind, kernel, stride) in enumerate(layers):
        _, rows, _, depth = y.type.shape
        if kind == "sum":
            if start.type.shape == y.type.shape:
                y = b.add(add, (y, start), Binary(), type=y.type, name=f"sum{i}")
            start = y
            continue
        channels = {"wide": 48, "narrow": 8, "around": depth}[kind]
        groups = depth if kind == "around" else 1
        half, side = kernel // 2, -(-rows // stride)
        weights = rng.integers(-60, 60, (channels, kernel, kernel, depth // groups))
        w = b.param(f"w{i}", weights.astype(np.int8), Quant.per_tensor(0.01))
        bias = b.param(f"b{i}", rng.integers(-99, 99, channels).astype(np.int32))
        attrs = Conv2d(stride=(stride, stride), pad=(half, half, half, half), groups=groups)
        type = s8(1, side, side, channels, scale=0.1, zero_point=-128)
        y = b.add(conv2d, (y, w, bias), attrs, type=type, name=f"{kind}{i}")
    return Canonicalize()(Module({"infer": b.graph([y])}, b.params, {}, "network"))


LAYERS: tuple[Layer, ...] = (
    ("wide", 1, 1),
    ("narrow", 1, 1),
    ("narrow", 3, 2),
    ("around", 3, 1),
    ("around", 3, 2),
    ("around", 5, 1),
    ("sum", 0, 0),
)


@examples(0.1)
@given(
    layers=st.lists(st.sampled_from(LAYERS), min_size=2, max_size=7),
    seed=st.integers(0, 2**16),
    pulled=st.booleans(),
)
def test_networks_in_strips_are_what_they_were(
    host_compiler: Toolchain, layers: list[Layer], seed: int, pulled: bool
) -> None:
    """The planner holds each to its checker, too."""
    module = network(18, layers)
    options = replace(SMALL, pull=frozenset({"picture"} if pulled else ()))
    program = in_strips_anywhere(module, options, seed)
    proof = prove(module, program, calls_of(module, seed), hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


FIRST: tuple[Layer, ...] = (
    ("narrow", 3, 2),
    ("around", 3, 1),
    ("wide", 1, 1),
    ("around", 3, 2),
    ("narrow", 1, 1),
)
"""Those that networks for pictures begin with."""


def test_strips_need_less_and_are_exact(
    host_compiler: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first layers of a network for pictures, whose rows are asked for."""
    module = network(64, FIRST)
    options = PlanOptions(budget=NOTHING, pull=frozenset({"picture"}), extra_macs=0)
    program = plan(module, M4, options)
    assert max(strips_of(program)) > 1
    proof = prove(module, program, calls_of(module, 3), hosts=[host_compiler])
    assert proof.exact, str(proof.difference)
    monkeypatch.setattr(plan_loops, "STRIPS", ())
    assert program.arenas["ram"] < plan(module, M4, options).arenas["ram"]


@pytest.mark.unicorn
def test_strips_are_exact_on_the_core() -> None:
    module = network(64, FIRST)
    options = PlanOptions(budget=NOTHING, pull=frozenset({"picture"}), extra_macs=0)
    program = plan(module, M4, options)
    assert max(strips_of(program)) > 1
    proof = prove(module, program, calls_of(module, 3), target=(find(M4.core), M4))
    assert proof.exact, str(proof.difference)


def test_random_networks_do_go_by_strips() -> None:
    """Without this, the other test could be hollow."""
    found: list[int] = []

    @settings(max_examples=8, derandomize=True, database=None, suppress_health_check=SLOW_START)
    @given(layers=st.lists(st.sampled_from(LAYERS), min_size=2, max_size=7), pulled=st.booleans())
    def look(layers: list[Layer], pulled: bool) -> None:
        options = replace(SMALL, pull=frozenset({"picture"} if pulled else ()))
        found.extend(strips_of(in_strips_anywhere(network(18, layers), options, 0)))

    look()
    assert sum(strips > 1 for strips in found) >= 4

"""Plans that choose their streaming groups: small, certified, and the whole network bit for bit.

One idea: where groups begin and end must not matter to a single bit, so random networks are cut
as the planner likes best, to random limits, and anywhere at all; each program is executed with
dead bytes poisoned.  Cuts and timetables by themselves: `test_partition`, `test_rhythm`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from tests.networks import Network, networks
from tests.strategies import calls_of, chains, modules
from tests.test_properties import SLOW_START, examples

from lilliput.devices.device import load
from lilliput.emu.prove import prove
from lilliput.emu.toolchain import Toolchain
from lilliput.errors import CertificateError, PlanError
from lilliput.ir import Module
from lilliput.ir.text import parse_module, print_module
from lilliput.ops.registry import get
from lilliput.passes.canonicalize import Canonicalize
from lilliput.plan import search
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.check import check
from lilliput.plan.lifetimes import lifetimes, reads_of, writes_of
from lilliput.plan.objective import STACK_ROOM, Budget, Optimize
from lilliput.plan.overlap import distances
from lilliput.plan.partition import Cut, Cutter
from lilliput.plan.program import Entry, Kind, Loop, Program
from lilliput.plan.runs import Run

M4 = load("cortex-m4")
DIRECT = {m.name: m.direct for m in M4.memories}
SMALL = PlanOptions(optimize=Optimize.RAM)
Chains = tuple[Module, Mapping[str, tuple[str, ...]]]

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")


def ram(program: Program) -> int:
    return program.arenas.get(M4.ram.name, 0)


def loops(program: Program) -> list[Loop]:
    return [s for e in program.entries for s in e.steps if isinstance(s, Loop)]


def inputs(module: Module) -> frozenset[str]:
    return frozenset(v.name for entry in module.graphs for v in module.inputs(entry))


# Sizes ------------------------------------------------------------------------------------


@examples(0.5)
@given(module=modules(graphs=1))
def test_the_least_ram_is_no_more_than_that_of_the_fastest(module: Module) -> None:
    canonical = Canonicalize()(module)
    note(print_module(canonical))
    assert ram(plan(canonical, M4, SMALL)) <= ram(plan(canonical, M4))


@examples(0.5)
@given(drawn=chains(graphs=1), share=st.floats(0, 1))
def test_a_budget_is_kept_where_something_fits(drawn: Chains, share: float) -> None:
    module = Canonicalize()(drawn[0])
    note(print_module(module))
    least, most = ram(plan(module, M4, SMALL)), ram(plan(module, M4))
    room = int(least + share * (most - least)) // 4 * 4  # as arenas are
    budget = Budget(ram=room + STACK_ROOM)
    assert ram(plan(module, M4, PlanOptions(budget=budget))) <= room


@examples(0.3)
@given(network=networks())
def test_random_networks_have_a_plan_of_the_least_ram(network: Network) -> None:
    """The planner holds what it returns to its checker."""
    module = Canonicalize()(network.module)
    assert ram(plan(module, M4, SMALL)) <= ram(plan(module, M4))


RESHAPED = """lilliput 1
module "reshaped"
entry infer
  input %x : s8[1,3,2,1] q(0.25, 40)
  %a = tile(%x) {repeats=(1, 2, 2, 1)} : s8[1,6,4,1] q(0.25, 40)
  %b = space_to_depth(%a) {size=2} : s8[1,3,2,4] q(0.25, 40)
  %c = reshape(%b) {shape=(1, 3, 8)} : s8[1,3,8] q(0.25, 40)
  %y = arg_min(%c) {dtype="s64"} : s64[1,1,8]
  return %y
"""


def test_what_is_reshaped_does_not_come_row_by_row() -> None:
    """Rows of `c` are no rows of `b`, whose storage it shares."""
    module = parse_module(RESHAPED, {}, get)
    options = PlanOptions(streams=(("b", "y"),))
    with pytest.raises(PlanError, match="needs all of what another one makes"):
        plan(module, M4, options)
    for seed in range(4):
        assert all(len(loop.body) < 3 for loop in loops(cut_anywhere(module, SMALL, seed)))


# Bits -------------------------------------------------------------------------------------


@pytest.mark.slow
@examples(0.1)
@given(module=modules(graphs=6), seed=st.integers(0, 2**16))
def test_random_graphs_in_the_least_ram(
    host_compiler: Toolchain, module: Module, seed: int
) -> None:
    canonical = Canonicalize()(module)
    exact(canonical, plan(canonical, M4, SMALL), seed, host_compiler)


@examples(0.04)
@given(drawn=chains(graphs=5), seed=st.integers(0, 2**16), pulled=st.booleans())
def test_random_chains_in_the_least_ram(
    host_compiler: Toolchain, drawn: Chains, seed: int, pulled: bool
) -> None:
    module = Canonicalize()(drawn[0])
    options = replace(SMALL, pull=inputs(module) if pulled else frozenset())
    exact(module, plan(module, M4, options), seed, host_compiler)


@examples(0.04)
@given(drawn=chains(graphs=4), seed=st.integers(0, 2**16), pulled=st.booleans())
def test_chains_may_be_cut_anywhere(
    host_compiler: Toolchain, drawn: Chains, seed: int, pulled: bool
) -> None:
    module = Canonicalize()(drawn[0])
    options = replace(SMALL, pull=inputs(module) if pulled else frozenset())
    exact(module, cut_anywhere(module, options, seed), seed, host_compiler)


@examples(0.4)
@given(
    module=st.one_of(modules(graphs=2), networks().map(lambda network: network.module)),
    seed=st.integers(0, 2**16),
    pulled=st.booleans(),
)
def test_any_cut_of_any_network_is_a_certificate(module: Module, seed: int, pulled: bool) -> None:
    """The planner holds what it returns to its checker, whatever was cut."""
    canonical = Canonicalize()(module)
    note(print_module(canonical))
    options = replace(SMALL, pull=inputs(canonical) if pulled else frozenset())
    program = cut_anywhere(canonical, options, seed)
    assert program.lower_bound(M4.ram.name) <= ram(program)


def exact(module: Module, program: Program, seed: int, compiler: Toolchain) -> None:
    note(print_module(module))
    proof = prove(module, program, calls_of(module, seed), hosts=[compiler])
    assert proof.exact, str(proof.difference)


def cut_anywhere(module: Module, options: PlanOptions, seed: int) -> Program:
    def best(cutter: Cutter, limit: float | None) -> Cut:
        del limit
        return anywhere(cutter, seed)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Cutter, "best", best)
        patched.setattr(search, "ROOMIER", ())  # more cuts at random, of which a small one is taken
        return plan(module, M4, options)


def anywhere(cutter: Cutter, seed: int) -> Cut:
    """A random cut: a run is drawn of those that begin where the last one ends, a loop if there is
    one.  As if calls never ran over their inputs: more loops are better than that."""
    rng, runs, at = random.Random(seed), list[Run](), 0
    apart = Cutter([replace(part, near={}) for part in cutter.schedule.parts], cutter.maps)
    while at < len(cutter.schedule.parts):
        begun = [r for r in apart.runs if r.start == at]
        runs.append(rng.choice([r for r in begun if r.rows] or begun))
        at = runs[-1].stop
    nbytes = max((r.nbytes(inf) for r in runs), default=0)
    return Cut(tuple(runs), nbytes, sum(r.cycles(inf) for r in runs), inf)


# Outputs over inputs, in loops ------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """An output that may lie over an input which dies in the same loop, `distance` bytes behind
    its start."""

    program: Program
    entry: Entry
    loop: Loop
    output: str
    input: str
    distance: int

    @property
    def unit(self) -> int:
        """Elements have to lie at multiples of this."""
        views = [*reads_of(self.loop), *writes_of(self.loop)]
        mine = [v for v in views if v.buffer in (self.input, self.output)]
        return max(v.dtype.itemsize for v in mine)

    def placed(self, behind: int) -> Program:
        """The entry alone, the input so many bytes behind the output, all else far away."""
        used = [b.name for b in lifetimes(self.entry, self.program.buffers)]
        buffers = {
            name: b
            for name, b in self.program.buffers.items()
            if name in used or b.kind is not Kind.ARENA
        }
        room = max(buffers[n].nbytes for n in used) // 16 * 16 + 64
        for k, name in enumerate(used):
            buffers[name] = replace(buffers[name], offset=(k + 4) * room)
        for name, offset in ((self.output, room), (self.input, room + behind)):
            buffers[name] = replace(buffers[name], offset=offset, align=1)
        arenas = {M4.ram.name: (len(used) + 4) * room}
        return replace(self.program, buffers=buffers, entries=(self.entry,), arenas=arenas)


def pairs(program: Program) -> Iterator[Pair]:
    """Those of all loops."""
    for entry in program.entries:
        blocks = lifetimes(entry, program.buffers)
        found = distances(entry, program.buffers, blocks)
        for loop in (s for s in entry.steps if isinstance(s, Loop)):
            written, read = ({v.buffer for v in f(loop)} for f in (writes_of, reads_of))
            for (output, source), distance in found.items():
                if output in written and source in read:
                    yield Pair(program, entry, loop, output, source, distance)


def accepted(program: Program) -> bool:
    try:
        check(program, DIRECT)
    except CertificateError:
        return False
    return True


@examples(0.1)
@given(drawn=chains(graphs=3), seed=st.integers(0, 2**16))
def test_outputs_come_as_near_to_inputs_as_a_loop_lets_them(drawn: Chains, seed: int) -> None:
    """The checker accepts the distance, and nothing nearer; where it is 0 nobody wants that."""
    module = Canonicalize()(drawn[0])
    note(print_module(module))
    for pair in pairs(cut_anywhere(module, SMALL, seed)):
        nearest = -(-pair.distance // pair.unit) * pair.unit
        assert accepted(pair.placed(nearest))
        nearer = nearest - pair.unit
        if 0 <= nearer < pair.program.buffers[pair.output].nbytes:
            assert not accepted(pair.placed(nearer))


@pytest.mark.slow
def test_random_chains_do_stream() -> None:
    """Without this, the other tests could be hollow."""
    bodies: list[int] = []
    near = 0

    @settings(max_examples=12, derandomize=True, database=None, suppress_health_check=SLOW_START)
    @given(drawn=chains(graphs=4))
    def look(drawn: Chains) -> None:
        nonlocal near
        program = cut_anywhere(Canonicalize()(drawn[0]), SMALL, 0)
        bodies.extend(len(loop.body) for loop in loops(program))
        near += sum(pair.distance > 0 for pair in pairs(program))

    look()
    assert max(bodies) >= 4
    assert len(bodies) >= 8
    assert near >= 4

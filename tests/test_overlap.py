"""How far an output may run over its input: as near as the planner says, and no nearer.

Every sample of every operator is planned.  Where an output may lie over an input, the two are put
as near to one another as `distances` allows, all else far away: the checker has to accept that.
One element nearer it has to refuse.  A few of the nearest programs are executed, with dead bytes
poisoned, for each way in which a kernel lets its output overlap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from tests.networks import Network, networks
from tests.samples import sample_module
from tests.strategies import modules

from lilliput.devices.device import load
from lilliput.emu.prove import prove
from lilliput.emu.toolchain import Toolchain
from lilliput.errors import CertificateError
from lilliput.ir import Module, Node, Op
from lilliput.ir.op import Sample
from lilliput.ir.types import s8, s32
from lilliput.ops import all_ops
from lilliput.ops.accumulate import Parts
from lilliput.ops.conv import Conv2d
from lilliput.passes.canonicalize import Canonicalize
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.check import check
from lilliput.plan.lifetimes import lifetimes
from lilliput.plan.objective import Optimize
from lilliput.plan.overlap import distances, within
from lilliput.plan.program import Call, Entry, Kind, Program
from lilliput.report.timeline import timelines

M4 = load("cortex-m4")
DIRECT = {m.name: m.direct for m in M4.memories}
SMALL = PlanOptions(optimize=Optimize.RAM)


@dataclass(frozen=True)
class Pair:
    """An output that may lie over an input of the same call, `distance` bytes behind its start."""

    program: Program
    entry: Entry
    call: Call
    output: str
    input: str
    distance: int

    @property
    def unit(self) -> int:
        """Elements have to lie at multiples of this."""
        mine = [v for v in self.call.inputs if v.buffer == self.input]
        return max(v.dtype.itemsize for v in (*mine, self.call.output))

    def nearest(self) -> int:
        return -(-self.distance // self.unit) * self.unit

    def meet(self, behind: int) -> bool:
        buffers = self.program.buffers
        return -buffers[self.input].nbytes < behind < buffers[self.output].nbytes

    def placed(self, behind: int) -> Program:
        """The entry alone, the input so many bytes behind the output, all else far away."""
        used = [b.name for b in lifetimes(self.entry, self.program.buffers)]
        buffers = {
            name: b
            for name, b in self.program.buffers.items()
            if name in used or b.kind is not Kind.ARENA
        }
        room = max(buffers[n].nbytes for n in used) // 16 * 16 + 64
        for k, name in enumerate(n for n in used if n not in (self.output, self.input)):
            buffers[name] = replace(buffers[name], offset=(k + 4) * room)
        for name, offset in ((self.output, room), (self.input, room + behind)):
            buffers[name] = replace(buffers[name], offset=offset, align=1)
        arenas = {M4.ram.name: (len(used) + 4) * room}
        return replace(self.program, buffers=buffers, entries=(self.entry,), arenas=arenas)


def pairs(module: Module) -> Iterator[Pair]:
    program = plan(module, M4, SMALL)
    for entry in program.entries:
        found = distances(entry, program.buffers, lifetimes(entry, program.buffers))
        for (output, source), distance in found.items():
            call = next(
                c
                for c in entry.calls()
                if c.output.buffer == output and any(v.buffer == source for v in c.inputs)
            )
            yield Pair(program, entry, call, output, source, distance)


def canonical(op: Op) -> Module:
    return Canonicalize()(sample_module(op, op.samples)[0])


def accepted(program: Program) -> bool:
    try:
        check(program, DIRECT)
    except CertificateError:
        return False
    return True


COMPUTING = [op for op in all_ops() if op.scalar or any(k.overlap != "none" for k in op.kernels)]


@pytest.mark.parametrize("op", COMPUTING, ids=lambda op: op.name)
def test_distances_are_safe_and_tight(op: Op) -> None:
    for pair in pairs(canonical(op)):
        said = f"{pair.entry.name}, {pair.call.kernel.name}: {pair.input} at {pair.distance}"
        assert accepted(pair.placed(pair.nearest())), said
        nearer = pair.nearest() - pair.unit
        if pair.meet(nearer) and pair.call.kernel.overlap != "none":
            assert not accepted(pair.placed(nearer)), said


@pytest.mark.parametrize("name", ["conv2d", "conv2d_parts", "max_pool2d", "softmax", "add", "cast"])
def test_the_nearest_programs_compute_the_same(name: str, host_compiler: Toolchain) -> None:
    op = next(op for op in all_ops() if op.name == name)
    module, calls = sample_module(op, op.samples)
    module = Canonicalize()(module)
    near = [p for p in pairs(module) if p.meet(p.nearest())]
    assert near
    for pair in near[:: max(len(near) // 3, 1)][:3]:
        alone = replace(module, graphs={pair.entry.name: module.graphs[pair.entry.name]})
        mine = [c for c in calls if c.entry == pair.entry.name]
        proof = prove(alone, pair.placed(pair.nearest()), mine, hosts=[host_compiler])
        assert proof.exact, f"{pair.entry.name}: {proof.difference}"


def test_kernels_that_go_through_pixels_compute_the_same(host_compiler: Toolchain) -> None:
    """Each at the distance of its own, which is less than that of rows."""
    op = next(op for op in all_ops() if op.name == "conv2d")
    module, calls = sample_module(op, op.samples)
    module = Canonicalize()(module)
    near = [p for p in pairs(module) if p.meet(p.nearest()) and p.call.kernel.tiles(p.call.node, 2)]
    first = {p.call.kernel.name: p for p in reversed(near)}
    assert first.keys() >= {"conv2d", "depthwise", "gemm_joined"}
    assert first
    for pair in first.values():
        alone = replace(module, graphs={pair.entry.name: module.graphs[pair.entry.name]})
        mine = [c for c in calls if c.entry == pair.entry.name]
        proof = prove(alone, pair.placed(pair.nearest()), mine, hosts=[host_compiler])
        assert proof.exact, f"{pair.entry.name}: {proof.difference}"


def _wide(kernel: str) -> Sample:
    """A map of which each row is whole tiles, and more than one tile."""
    x, y = s8(1, 6, 8, 8, scale=0.1, zero_point=-3), s8(1, 6, 8, 8, scale=0.4, zero_point=4)
    if kernel.endswith("parts"):
        weights = (s8(8, 1, 1, 3, scale=0.01), s8(8, 1, 1, 5, scale=0.01))
        return Sample((x, *weights, s32(8)), Parts(), (y,), params=(2,))
    depthwise = kernel.startswith("depthwise")
    window, pad = (3, (1, 1, 1, 1)) if depthwise else (1, (0, 0, 0, 0))
    weights = s8(8, window, window, 1 if depthwise else 8, scale=0.01)
    attrs = Conv2d(pad=pad, groups=8 if depthwise else 1)
    return Sample((x, weights, s32(8)), attrs, (y,), params=(1, 2))


def _rows(_: Node) -> int:
    """The tile of a kernel that goes by rows."""
    return 0


OF_TILES = ("depthwise_taps", "depthwise_fours", "linear_tiles", "pairs", "linear_tiles_parts")


@pytest.mark.parametrize("name", [*OF_TILES, "gemm_parts"])
def test_tiles_of_many_rows_compute_the_same(name: str, host_compiler: Toolchain) -> None:
    """Several pixels at a time of a call that makes all rows: nearer than by rows, and safe."""
    every = [(op, k) for op in all_ops() for k in op.kernels if k.name == name]
    op, kernel = next((op, k) for op, k in every if op.name.startswith("conv2d"))
    module, calls = sample_module(replace(op, kernels=(kernel,)), (_wide(name),))
    (pair,) = (p for p in pairs(module) if p.meet(p.nearest()))
    node, rows = pair.call.node, replace(kernel, tile=_rows)
    assert kernel.tiles(node, node.output.type.frame[0]) >= (2 if name in OF_TILES else 1)
    (rule, *_), (view, *_) = pair.call.rules, pair.call.inputs
    far = within(rows, node, rule, pair.call.output, view, epilogue=False)
    assert far is not None
    assert pair.distance < far
    assert accepted(pair.placed(pair.nearest()))
    assert not accepted(pair.placed(pair.nearest() - pair.unit))
    proof = prove(module, pair.placed(pair.nearest()), calls, hosts=[host_compiler])
    assert proof.exact, proof.difference


def bounded(module: Module) -> None:
    """The planner's own check accepts the program; no arena is below what is said of every one."""
    program = plan(Canonicalize()(module), M4, SMALL)
    check(program, DIRECT)
    for line in timelines(program):
        assert all(column.need <= line.lower_bound for column in line.columns)
        assert line.lower_bound <= line.used <= line.arena
        assert program.lower_bound(line.memory) <= line.arena


@given(module=modules(graphs=2))
def test_random_graphs_are_accepted_and_not_below_their_bound(module: Module) -> None:
    bounded(module)


@given(network=networks())
def test_random_networks_are_accepted_and_not_below_their_bound(network: Network) -> None:
    bounded(network.module)

"""The bound of every schedule: never above a plan, nor above what all schedules are searched for.

Plans are those of random networks, by rows, strips and calls, cut well and cut anywhere.  The
search goes through all orders in which tiny networks can be made pixel by pixel; it knows of
windows what is written here, not what the region rules say.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from benchmarks.bounds import Row, rows
from benchmarks.networks import CALLBACK, NETWORKS, present
from hypothesis import assume, given, note
from hypothesis import strategies as st
from tests.networks import Network, networks
from tests.strategies import chains, modules
from tests.test_streaming import Chains, cut_anywhere, examples, inputs, ram

from lilliput import compiler
from lilliput.devices.device import load
from lilliput.ir import Builder, Module
from lilliput.ir.text import print_module
from lilliput.ir.types import f32, s8
from lilliput.ops.conv import Conv2d, conv2d
from lilliput.ops.elementwise import Binary, add
from lilliput.ops.pick import Tile, tile
from lilliput.ops.pool import Pool, avg_pool2d, max_pool2d
from lilliput.ops.shape import Reshape, reshape
from lilliput.passes.canonicalize import Canonicalize
from lilliput.plan.bound import least
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.lifetimes import views
from lilliput.plan.objective import Budget, Optimize
from lilliput.plan.options import EXTRA_MACS
from lilliput.plan.program import Program

M4 = load("cortex-m4")
SMALL = PlanOptions(optimize=Optimize.RAM, extra_macs=0)
SMALLEST = PlanOptions(budget=Budget(ram=0), extra_macs=0)

# Against plans ----------------------------------------------------------------------------


def never_below(module: Module, options: PlanOptions, pulled: bool) -> None:
    canonical = Canonicalize()(module)
    note(print_module(canonical))
    pull = inputs(canonical) if pulled else frozenset[str]()
    program = plan(canonical, M4, replace(options, pull=pull))
    assume(not in_planes(program))
    assert least(canonical, pull).nbytes <= ram(program)


def in_planes(program: Program) -> bool:
    """Whether channels are made one after the other, which the bound is not for."""
    return any(view.plane is not None for entry in program.entries for view in views(entry))


@given(network=networks(), pulled=st.booleans())
def test_no_plan_of_a_random_network_is_below(network: Network, pulled: bool) -> None:
    never_below(network.module, SMALL, pulled)


@examples(0.5)
@given(module=modules(graphs=1), pulled=st.booleans())
def test_no_plan_of_a_random_graph_is_below(module: Module, pulled: bool) -> None:
    never_below(module, SMALLEST, pulled)


@examples(0.5)
@given(drawn=chains(graphs=1), pulled=st.booleans())
def test_no_plan_of_a_random_chain_is_below(drawn: Chains, pulled: bool) -> None:
    never_below(drawn[0], SMALLEST, pulled)


@examples(0.5)
@given(drawn=chains(graphs=1), seed=st.integers(0, 2**16), pulled=st.booleans())
def test_no_cut_of_a_random_chain_is_below(drawn: Chains, seed: int, pulled: bool) -> None:
    module = Canonicalize()(drawn[0])
    note(print_module(module))
    pull = inputs(module) if pulled else frozenset[str]()
    program = cut_anywhere(module, replace(SMALL, pull=pull), seed)
    assume(not in_planes(program))
    assert least(module, pull).nbytes <= ram(program)


def test_what_a_plan_need_not_make_is_not_counted() -> None:
    """A `tile` becomes a concatenation, and its result two views of one value."""
    b = Builder()
    x = b.input("x", f32(2, 2, 5))
    y = b.add(tile, (x,), Tile((2, 1, 1)))
    y = b.add(reshape, (y,), Reshape((1, 4, 2, 5)))
    y = b.add(max_pool2d, (y,), Pool(kernel=(1, 1), stride=(1, 1), pad=(0, 0, 0, 0)))
    y = b.add(avg_pool2d, (y,), Pool(kernel=(4, 2), stride=(4, 2), pad=(0, 0, 0, 0)))
    module = Canonicalize()(b.module((y,), name="tiled"))
    assert least(module, frozenset()).nbytes <= ram(plan(module, M4, SMALL))


def computes_again(row: Row) -> bool:
    """Whether the plan that was measured does, and one that does not is not below the bound."""
    path = next(path for network, path in present() if network.name == row.name)
    module = compiler.load(path).shrunk.module
    pull = inputs(module) if row.mode == CALLBACK else frozenset[str]()
    again, once = (
        plan(module, M4, PlanOptions(optimize=Optimize.RAM, pull=pull, extra_macs=share))
        for share in (EXTRA_MACS, 0)
    )
    assert ram(again) == row.arena
    return bool(again.extra) and ram(once) >= row.bound.nbytes


@pytest.mark.slow
def test_no_arena_of_a_measured_network_is_below() -> None:
    """Nor does the page say another bound."""
    page = (Path(__file__).parent.parent / "docs" / "memory.md").read_text(encoding="utf-8")
    for row in rows([network.name for network in NETWORKS]):
        assert not row.below or computes_again(row)
        assert row.goal is None or f"| {row.bound.nbytes:,} B |" in page


# Against all schedules --------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """A window of `size` pixels each way, padded to keep the map at a stride of 1; or, of two
    operands, their sum.  Layer 0 is the input."""

    operands: tuple[int, ...]
    channels: int
    size: int = 1
    stride: int = 1


@dataclass(frozen=True)
class Tiny:
    """(rows, pixels) of the input, and layers; the last one is the output."""

    shape: tuple[int, int]
    layers: tuple[Layer, ...]

    def shapes(self) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        for layer in self.layers:
            high, wide = found[layer.operands[0]] if layer.operands else self.shape
            found.append((-(-high // layer.stride), -(-wide // layer.stride)))
        return found

    def module(self) -> Module:
        b = Builder()
        values = [b.input("l0", s8(1, *self.shape, self.layers[0].channels))]
        for k, (layer, shape) in enumerate(zip(self.layers, self.shapes(), strict=True)):
            if not layer.operands:
                continue
            operands, type = [values[i] for i in layer.operands], s8(1, *shape, layer.channels)
            if len(operands) == 2:
                values.append(b.add(add, operands, Binary(), type=type, name=f"l{k}"))
                continue
            (x,) = operands
            w = np.ones((layer.channels, layer.size, layer.size, x.type.shape[3]), np.int8)
            half = layer.size // 2
            ends = [(n - 1) * layer.stride + layer.size - half for n in shape]
            more = [max(e - n, 0) for e, n in zip(ends, x.type.shape[1:3], strict=True)]
            attrs = Conv2d((layer.stride, layer.stride), pad=(half, more[0], half, more[1]))
            weights = b.param(f"w{k}", w, s8(1).quant)
            values.append(b.add(conv2d, (x, weights), attrs, type=type, name=f"l{k}"))
        return b.module((values[-1],))

    def reads(self, k: int, pixel: int, operand: int) -> Iterator[int]:
        """Pixels of the operand that layer k reads for one of its own."""
        shapes, layer = self.shapes(), self.layers[k]
        y, x = divmod(pixel, shapes[k][1])
        down, across = (i * layer.stride - layer.size // 2 for i in (y, x))
        high, wide = shapes[operand]
        for dy, dx in product(range(layer.size), repeat=2):
            if 0 <= down + dy < high and 0 <= across + dx < wide:
                yield (down + dy) * wide + across + dx


class Schedules:
    """All states of a tiny network: how many pixels of each layer are made."""

    def __init__(self, tiny: Tiny, pulled: bool) -> None:
        self.tiny, self.pulled = tiny, pulled
        self.counts = [high * wide for high, wide in tiny.shapes()]
        uses = [(k, o) for k, layer in enumerate(tiny.layers) for o in layer.operands]
        self.ahead = {u: self._ahead(*u) for u in uses}
        self.last = {u: self._last(*u) for u in uses}

    def _ahead(self, k: int, operand: int) -> list[int]:
        """Pixels of the operand that are needed for the first so many."""
        found = [0]
        for pixel in range(self.counts[k]):
            found.append(max(found[-1], *(p + 1 for p in self.tiny.reads(k, pixel, operand))))
        return found

    def _last(self, k: int, operand: int) -> np.ndarray:
        found = np.full(self.counts[operand], -1)
        for pixel in range(self.counts[k]):
            found[list(self.tiny.reads(k, pixel, operand))] = pixel
        return found

    def ready(self, state: Sequence[int], k: int) -> bool:
        """Whether layer k can make its next pixel."""
        if state[k] == self.counts[k]:
            return False
        return all(state[o] >= self.ahead[k, o][state[k] + 1] for o in self.tiny.layers[k].operands)

    def alive(self, state: Sequence[int]) -> int:
        total = 0
        for k, layer in enumerate(self.tiny.layers):
            readers = [r for r, o in self.last if o == k]
            left = np.full(self.counts[k], not readers)
            for reader in readers:
                left |= self.last[reader, k] >= state[reader]
            total += int(left[: state[k]].sum()) * layer.channels
        return total

    def least(self) -> int:
        """The smallest maximum on a path from the start to the end.  A sum may follow what it
        adds at once, in registers."""
        end = tuple(self.counts)
        start = tuple(0 if k or self.pulled else n for k, n in enumerate(self.counts))
        best = {start: self.alive(start)}
        heap = [(best[start], start)]
        while heap:
            cost, state = heapq.heappop(heap)
            if state == end:
                return cost
            for new in self.next(state):
                total = max(cost, self.alive(new))
                if total < best.get(new, total + 1):
                    best[new] = total
                    heapq.heappush(heap, (total, new))
        raise AssertionError("no schedule ends")

    def next(self, state: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        for k in range(len(state)):
            if self.ready(state, k):
                new = tuple(n + (i == k) for i, n in enumerate(state))
                yield new
                for j, layer in enumerate(self.tiny.layers):
                    if len(layer.operands) == 2 and k in layer.operands and self.ready(new, j):
                        yield tuple(n + (i == j) for i, n in enumerate(new))


@st.composite
def tinies(draw: st.DrawFn) -> Tiny:
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 3)))
    channels = st.integers(1, 5)
    layers = [Layer((), draw(channels))]
    for _ in range(draw(st.integers(1, 3))):
        size, stride = draw(st.sampled_from(((1, 1), (3, 1), (3, 2), (1, 2), (2, 2))))
        layers.append(Layer((len(layers) - 1,), draw(channels), size, stride))
    shapes = Tiny(shape, tuple(layers)).shapes()
    *before, last = range(len(layers))
    if (alike := [k for k in before if shapes[k] == shapes[last]]) and draw(st.booleans()):
        first = draw(st.sampled_from(alike))
        layers[last] = replace(layers[last], channels=layers[first].channels)
        layers.append(Layer((last, first), layers[first].channels))
    return Tiny(shape, tuple(layers))


@given(tiny=tinies(), pulled=st.booleans())
def test_no_schedule_is_below(tiny: Tiny, pulled: bool) -> None:
    module = tiny.module()
    pull = inputs(module) if pulled else frozenset[str]()
    assert least(module, pull).nbytes <= Schedules(tiny, pulled).least()


BLOCK = (Layer((), 2), Layer((0,), 6), Layer((1,), 6, 3), Layer((2,), 2), Layer((3, 0), 2))


@pytest.mark.parametrize(
    ("layers", "pulled", "nbytes"),
    [
        # of input or output all pixels, beside them a row and a pixel that are read again
        pytest.param((Layer((), 2), Layer((0,), 2, 3)), False, 2 * (12 + 4), id="window"),
        # 7 pixels of output, and 2 rows and 3 pixels of what comes
        pytest.param((Layer((), 2), Layer((0,), 1, 3)), True, 7 + 2 * 9, id="window, pulled"),
        # of input or output all pixels, of the wide map 2 rows and 3 pixels
        pytest.param(BLOCK, False, 2 * 12 + 6 * 9, id="block"),
        pytest.param(BLOCK, True, 2 * 12 + 6 * 9, id="block, pulled"),
    ],
)
def test_the_bound_is_what_the_best_schedule_needs(
    layers: tuple[Layer, ...], pulled: bool, nbytes: int
) -> None:
    tiny = Tiny((4, 3), layers)
    module = tiny.module()
    pull = inputs(module) if pulled else frozenset[str]()
    assert least(module, pull).nbytes == Schedules(tiny, pulled).least() == nbytes

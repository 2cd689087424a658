"""Strips of columns that take turns in a loop: the same bits, fewer rows in line buffers.

One idea: which blocks are cut, and at which columns, must not matter to a single bit, whatever
their windows are; so they are drawn.  What the cut is chosen by, an estimate in closed form, must
not promise more than the planner's own timetables keep.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given, note
from hypothesis import strategies as st
from tests.test_properties import examples
from tests.test_tiles import Maps

from lilliput.devices.device import load
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain, find
from lilliput.ir import Module, Quant
from lilliput.ir.graph import Value
from lilliput.ir.interp import Session
from lilliput.ir.text import print_module
from lilliput.ir.types import s8
from lilliput.ir.verify import verify
from lilliput.ops.conv import Conv2d, conv2d
from lilliput.passes.canonicalize import Canonicalize
from lilliput.passes.recompute import Recomputed, find_stretch, macs, tile
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.maker import Maker
from lilliput.plan.objective import Optimize, Prices
from lilliput.plan.program import Call as CallStep
from lilliput.plan.program import Loop, Program
from lilliput.plan.turns import saved

M4 = load("cortex-m4")
RAM = M4.ram.name
PULL = frozenset({"x"})


@dataclass(frozen=True)
class Deep:
    """The depthwise layer of a block: window, stride, dilation, and (before, after) of padding, of
    rows and of columns; `wide`: channels it works on."""

    size: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (2, 2)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (1, 1, 1, 1)
    wide: int = 24


class Nets(Maps):
    """Inverted bottlenecks: a map "narrow{k}", widened, depthwise, and "narrow{k + 1}"."""

    def layer(self, x: Value, out: int, name: str, deep: Deep | None = None) -> Value:
        _, _, _, c = x.type.shape
        size, groups = (deep.size, c) if deep else ((1, 1), 1)
        data = self.rng.integers(-127, 128, (out, *size, c // groups)).astype(np.int8)
        weights = self.b.param(f"{name}_w", data, Quant((0.01,) * out, (0,) * out, 0))
        attrs = Conv2d(groups=groups)
        if deep:
            top, bottom, left, right = deep.pad
            attrs = Conv2d(deep.stride, deep.dilation, (top, left, bottom, right), groups)
        (y,) = conv2d.infer(attrs, [x.type, weights.type])
        type = s8(*y.shape, scale=0.2, zero_point=9)
        return self.b.add(conv2d, (x, weights), attrs, type=type, name=name, origin=name)

    def bottlenecks(self, height: int, width: int, blocks: list[Deep], narrow: int = 4) -> Module:
        x = self.b.input("x", s8(1, height, width, 3, scale=0.1, zero_point=-7))
        x = self.layer(x, narrow, "narrow0")
        for k, deep in enumerate(blocks):
            x = self.layer(x, deep.wide, f"wide{k}")
            x = self.layer(self.layer(x, deep.wide, f"deep{k}", deep), narrow, f"narrow{k + 1}")
        return Canonicalize()(self.b.module((self.layer(x, 2, "end"),), name="turns"))


def cut(module: Module, source: str, target: str, cuts: list[int]) -> Recomputed:
    stretch = find_stretch(module, "infer", source, target)
    assert stretch is not None
    return tile(module, stretch, ((), cuts))


def pixels(module: Module, seed: int) -> dict[str, np.ndarray]:
    (x,) = module.inputs("infer")
    return {"x": np.random.default_rng(seed).integers(-128, 128, x.type.shape).astype(np.int8)}


def width_of(module: Module, name: str) -> int:
    return next(v for v in module.graphs["infer"].values() if v.name == name).type.shape[2]


sizes = st.sampled_from((1, 3, 5, 7))


@st.composite
def deeps(draw: st.DrawFn) -> Deep:
    size = draw(sizes), draw(sizes)
    stride = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    dilation = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    reach = [(n - 1) * d for n, d in zip(size, dilation, strict=True)]
    pads = [draw(st.integers(0, r // 2)) for r in reach for _ in range(2)]
    return Deep(
        size, stride, dilation, (pads[0], pads[1], pads[2], pads[3]), draw(st.integers(5, 9))
    )


@examples(0.03)
@given(
    seed=st.integers(0, 2**32 - 1),
    blocks=st.lists(deeps(), min_size=1, max_size=2),
    pull=st.booleans(),
    data=st.data(),
)
def test_strips_in_turn_are_exact(
    host_compiler: Toolchain, seed: int, blocks: list[Deep], pull: bool, data: st.DataObject
) -> None:
    height, width = (data.draw(st.integers(26, 34)) for _ in range(2))
    module = Nets(seed).bottlenecks(height, width, blocks)
    last = data.draw(st.integers(1, len(blocks)))
    source = "x" if data.draw(st.booleans()) else f"narrow{data.draw(st.integers(0, last - 1))}"
    target, wide = f"narrow{last}", width_of(module, f"narrow{last}")
    cuts = sorted(data.draw(st.sets(st.integers(1, wide - 1), min_size=1, max_size=3)))
    stretch = find_stretch(module, "infer", source, target)
    assume(stretch is not None)  # a layer whose pieces are not made of pieces
    assert stretch is not None
    made = tile(module, stretch, ((), cuts))
    note(print_module(made.module))
    verify(made.module)
    want, got = (Session(m).run(pixels(module, seed)).values for m in (module, made.module))
    for name, array in got.items():
        piece = made.pieces.get(name)
        np.testing.assert_array_equal(piece.cut(want[piece.of]) if piece else want[name], array)
    options = PlanOptions(optimize=Optimize.RAM, pull=PULL if pull else frozenset(), extra_macs=0)
    program = plan(made.module, M4, options)
    proof = prove(module, program, [Call("infer", pixels(module, seed))], hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


def narrowing() -> Module:
    """Of which a loop of rows 40 pixels wide and 24 channels deep needs the most."""
    return Nets(5).bottlenecks(40, 40, [Deep(), Deep(wide=8)])


def loop_of(program: Program, of: str) -> list[tuple[str, Loop, int]]:
    """(value, loop, rows an execution) of whatever makes a piece of `of`."""
    return [
        (timed.step.value.name, step, timed.step.region.y.step)
        for step in program.entries[0].steps
        if isinstance(step, Loop)
        for timed in step.body
        if isinstance(timed.step, CallStep) and timed.step.value.name.split("/")[0] == of
    ]


@cache
def chosen() -> tuple[Module, Program]:
    module = narrowing()
    return module, plan(module, M4, PlanOptions(optimize=Optimize.RAM, pull=PULL))


def test_strips_are_chosen_inside_a_loop(host_compiler: Toolchain) -> None:
    """The input is asked for, so that nothing is whole that strips could begin at."""
    module, strips = chosen()
    whole = plan(module, M4, PlanOptions(optimize=Optimize.RAM, pull=PULL, extra_macs=0))
    assert strips.arenas[RAM] < 0.85 * whole.arenas[RAM]
    assert 0 < sum(e.macs for e in strips.extra) <= 0.03 * macs(module)
    made = loop_of(strips, "wide0")
    assert len(made) > 1
    assert len({id(loop) for _, loop, _ in made}) == 1  # all strips are in one loop
    proof = prove(module, strips, [Call("infer", pixels(module, 1))], hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


@pytest.mark.unicorn
def test_strips_in_turn_are_exact_on_the_core() -> None:
    module, strips = chosen()
    calls = [Call("infer", pixels(module, 1))]
    proof = prove(module, strips, calls, target=(find(M4.core), M4))
    assert proof.exact, str(proof.difference)


def test_nothing_is_cut_where_that_is_not_allowed_or_saves_nothing() -> None:
    options = PlanOptions(optimize=Optimize.RAM, pull=PULL, extra_macs=0.001)
    assert not plan(narrowing(), M4, options).pieces  # a column of halo is more than that
    flat = Nets(5).bottlenecks(40, 6, [Deep(wide=8), Deep(wide=8)])
    assert not plan(flat, M4, PlanOptions(optimize=Optimize.RAM, pull=PULL, extra_macs=1)).pieces


def test_rows_of_a_strip_are_made_when_they_are_read() -> None:
    """Two rows at once in front of a stride of 2, four in front of two; and of whole maps one."""
    module = Nets(2).bottlenecks(40, 40, [Deep(), Deep()])

    def rows(module: Module) -> dict[str, set[int]]:
        """Of each value as it was the rows an execution of all that makes it, all in one loop."""
        made = [n.output.name for n in module.graphs["infer"].nodes if n.op is conv2d]
        program = plan(module, M4, PlanOptions(streams=(("x", *made),), pull=PULL))
        return {name: {n for *_, n in loop_of(program, name)} for name in ("wide0", "wide1")}

    assert rows(module) == {"wide0": {1}, "wide1": {1}}
    for source, count in (("narrow0", 4), ("narrow1", 1)):
        cutted = cut(module, source, "narrow2", [5]).module
        assert rows(cutted) == {"wide0": {count}, "wide1": {2}}


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize(
    "deep",
    [
        Deep(),
        Deep((5, 5), pad=(2, 2, 2, 2)),
        Deep((7, 7), pad=(3, 3, 3, 3)),
        Deep(dilation=(2, 2), pad=(2, 2, 2, 2)),
        Deep((2, 2), pad=(0, 0, 0, 0)),
        Deep(stride=(1, 1)),
    ],
)
def test_no_more_is_promised_than_is_saved(deep: Deep, count: int) -> None:
    """Nor less by more than a row: what passes through is not counted, and a row of the target is
    counted twice."""
    module = Nets(3).bottlenecks(48, 48, [deep])
    stretch = find_stretch(module, "infer", "narrow0", "narrow1")
    assert stretch is not None
    wide = width_of(module, "narrow1")
    cuts = [wide * k // count for k in range(1, count)]
    options = PlanOptions(optimize=Optimize.RAM, pull=PULL)
    before, after = (
        max(Maker(m, M4, options).needs(lean=True).values())
        for m in (module, tile(module, stretch, ((), cuts)).module)
    )
    assert 0 <= before - after - saved(module, stretch, cuts) <= 48 * deep.wide


def test_line_buffers_lie_over_rows_to_come_of_a_map_in_strips() -> None:
    """As over those of a map that one layer makes."""
    module = cut(Nets(5).bottlenecks(24, 40, [Deep()]), "narrow0", "end", [5, 10, 15]).module
    rows = frozenset(v.name for v in module.graphs["infer"].values())
    prices = Prices(rows=rows, scratch=dict.fromkeys(rows, 0.0), ram=0.0)
    program = Maker(module, M4, PlanOptions(optimize=Optimize.RAM, pull=PULL))(prices)
    assert ("infer/end", "infer/x/lines") in program.near
    buffers = program.buffers
    assert program.arenas[RAM] < sum(buffers[n].nbytes for n in ("infer/end", "infer/x/lines"))

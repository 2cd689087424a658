"""Residual stages in pieces of columns: the same bits, and less RAM where windows are large.

One idea: where maps are cut, and which blocks are made strip by strip, must not matter to a single
bit; so they are drawn.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, note
from hypothesis import strategies as st
from tests.test_properties import examples
from tests.test_tiles import Maps

from lilliput.devices.device import load
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain
from lilliput.ir import Module, Quant
from lilliput.ir.graph import Value
from lilliput.ir.interp import Session
from lilliput.ir.text import print_module
from lilliput.ir.types import s8
from lilliput.ir.verify import verify
from lilliput.ops.conv import Conv2d, conv2d
from lilliput.ops.elementwise import Binary, add
from lilliput.passes.canonicalize import Canonicalize
from lilliput.passes.recompute import find_stages, in_columns, macs
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.objective import Optimize

M4 = load("cortex-m4")


class Blocks(Maps):
    """Inverted residual blocks."""

    def layer(self, x: Value, out: int, size: int, *, depthwise: bool = False) -> Value:
        _, _, _, c = x.type.shape
        shape = out, size, size, 1 if depthwise else c
        data = self.rng.integers(-127, 128, shape).astype(np.int8)
        weights = self.b.param(f"w{len(self.b.params)}", data, Quant((0.01,) * out, (0,) * out, 0))
        pad = size // 2
        attrs = Conv2d(pad=(pad, pad, pad, pad), groups=c if depthwise else 1)
        (y,) = conv2d.infer(attrs, [x.type, weights.type])
        return self.b.add(conv2d, (x, weights), attrs, type=s8(*y.shape, scale=0.2, zero_point=9))

    def block(self, x: Value, wide: int, size: int) -> Value:
        y = self.layer(self.layer(x, wide, 1), wide, size, depthwise=True)
        y = self.layer(y, x.type.shape[3], 1)
        return self.b.add(add, (y, x), Binary(), type=x.type)

    def stage(
        self, height: int, width: int, blocks: list[tuple[int, int]], channels: int = 6
    ) -> Module:
        """A pointwise layer, blocks of (channels between, window), and a pointwise layer."""
        x = self.b.input("x", s8(1, height, width, 3, scale=0.1, zero_point=-7))
        x = self.layer(self.layer(x, 4, 3), channels, 1)
        for wide, size in blocks:
            x = self.block(x, wide, size)
        return Canonicalize()(self.b.module((self.layer(x, 2, 1),), name="stage"))


def pixels(module: Module, seed: int) -> dict[str, np.ndarray]:
    (x,) = module.inputs("infer")
    return {"x": np.random.default_rng(seed).integers(-128, 128, x.type.shape).astype(np.int8)}


stages = st.tuples(
    st.integers(0, 2**32 - 1),
    st.integers(1, 9),
    st.integers(4, 13),
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from((1, 3, 5, 7))), min_size=1, max_size=3),
)


@examples(0.02)
@given(drawn=stages, data=st.data())
def test_pieces_of_columns_are_exact(
    host_compiler: Toolchain,
    drawn: tuple[int, int, int, list[tuple[int, int]]],
    data: st.DataObject,
) -> None:
    seed, height, width, blocks = drawn
    module = Blocks(seed).stage(height, width, blocks)
    (stage,) = find_stages(module)
    assert len(stage.blocks) == len(blocks)
    cuts = data.draw(st.sets(st.integers(1, width - 1), min_size=1, max_size=3).map(sorted))
    targets = [b.target for b in stage.blocks]
    cut = in_columns(module, stage, cuts, data.draw(st.sets(st.sampled_from(targets))))
    note(print_module(cut.module))
    verify(cut.module)
    want, got = (Session(m).run(pixels(module, seed)).values for m in (module, cut.module))
    for name, array in got.items():
        piece = cut.pieces.get(name)
        np.testing.assert_array_equal(piece.cut(want[piece.of]) if piece else want[name], array)
    assert macs(cut.module) == macs(module) + sum(e.macs for e in cut.extra(module))
    program = plan(cut.module, M4, PlanOptions(optimize=Optimize.RAM, extra_macs=0))
    proof = prove(module, program, [Call("infer", pixels(module, seed))], hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


@pytest.mark.slow
def test_blocks_of_large_windows_are_made_in_strips(host_compiler: Toolchain) -> None:
    """Seven rows of a map that is five times as wide as what it is made of, which is whole."""
    module = Blocks(1).stage(28, 28, [(60, 7)] * 3, 12)
    pull = frozenset({"x"})
    whole, cut = (
        plan(module, M4, PlanOptions(optimize=Optimize.RAM, pull=pull, extra_macs=share))
        for share in (0, 0.1)
    )
    assert cut.arenas[M4.ram.name] < 0.9 * whole.arenas[M4.ram.name]
    assert {p.of for p in cut.pieces.values()} >= {"add", "add.1"}
    assert 0 < sum(e.macs for e in cut.extra) <= 0.1 * macs(module)
    proof = prove(module, cut, [Call("infer", pixels(module, 1))], hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


def test_a_map_that_somebody_else_reads_ends_a_stage() -> None:
    """The second block could not be written over it."""
    maps = Blocks(0)
    x = maps.b.input("x", s8(1, 6, 6, 3, scale=0.1, zero_point=-7))
    first = maps.block(maps.layer(x, 4, 1), 8, 3)
    last = maps.layer(maps.block(first, 8, 3), 4, 3)
    y = maps.b.add(add, (last, first), Binary(), type=first.type)
    module = Canonicalize()(maps.b.module((y,), name="skip"))
    (stage,) = find_stages(module)
    assert len(stage.blocks) == 1

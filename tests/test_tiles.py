"""Tiles and strips of random stretches: the same bits as the whole, and as many products as said.

One idea: which stretch is cut, and where, must not matter to a single bit; so they are drawn.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, note
from hypothesis import strategies as st
from tests.test_properties import examples

from lilliput.devices.device import load
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain
from lilliput.ir import Builder, Module, Quant
from lilliput.ir.graph import Value
from lilliput.ir.interp import Session
from lilliput.ir.text import print_module
from lilliput.ir.types import s8
from lilliput.ir.verify import verify
from lilliput.ops.conv import Conv2d, conv2d
from lilliput.ops.elementwise import Binary, add
from lilliput.ops.pool import Pool, avg_pool2d, max_pool2d
from lilliput.passes.canonicalize import Canonicalize
from lilliput.passes.recompute import Recomputed, find_stretch, macs, tile
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.objective import Optimize

M4 = load("cortex-m4")


class Maps:
    """A network of windows of any size, stride, dilation and padding, with residual additions."""

    def __init__(self, seed: int):
        self.rng, self.b = np.random.default_rng(seed), Builder()

    def pads(self, size: int) -> tuple[int, int, int, int]:
        a, b, c, d = (int(n) for n in self.rng.integers(0, size, 4))
        return a, b, c, d

    def conv(self, x: Value) -> Value:
        rng, (_, h, w, c) = self.rng, x.type.shape
        size, depthwise = int(rng.integers(1, 4)), bool(rng.integers(2))
        dilation = int(rng.integers(1, 3)) if min(h, w) > 2 * size else 1
        stride = int(rng.integers(1, 3)), int(rng.integers(1, 3))
        out = c if depthwise else int(rng.integers(1, 6))
        data = rng.integers(-127, 128, (out, size, size, 1 if depthwise else c)).astype(np.int8)
        name = f"w{len(self.b.params)}"
        weights = self.b.param(name, data, Quant((0.01,) * out, (0,) * out, 0))
        bias = self.b.param(f"{name}_b", rng.integers(-99, 99, out).astype(np.int32))
        attrs = Conv2d(
            stride=stride,
            dilation=(dilation, dilation),
            pad=self.pads(size),
            groups=c if depthwise else 1,
        )
        (y,) = conv2d.infer(attrs, [x.type, weights.type, bias.type])
        return self.b.add(
            conv2d, (x, weights, bias), attrs, type=s8(*y.shape, scale=0.2, zero_point=9)
        )

    def pool(self, x: Value) -> Value:
        size = int(self.rng.integers(1, 4))
        attrs = Pool(kernel=(size, size), stride=(1, 2), pad=self.pads(size))
        return self.b.add((avg_pool2d, max_pool2d)[int(self.rng.integers(2))], (x,), attrs)

    def residual(self, x: Value) -> Value:
        _, _, _, c = x.type.shape
        data = self.rng.integers(-127, 128, (c, 3, 3, 1)).astype(np.int8)
        weights = self.b.param(f"w{len(self.b.params)}", data, Quant((0.01,) * c, (0,) * c, 0))
        y = self.b.add(conv2d, (x, weights), Conv2d(pad=(1, 1, 1, 1), groups=c), type=x.type)
        return self.b.add(add, (y, x), Binary(), type=x.type)

    def network(self, steps: int) -> Module:
        x = self.b.input("x", s8(1, 13, 17, 3, scale=0.1, zero_point=-7))
        for _ in range(steps):
            kind = int(self.rng.integers(4))
            if min(x.type.shape[1:3]) > 5 or kind == 2:
                x = (self.conv, self.pool, self.residual, self.conv)[kind](x)
        x = self.residual(x)
        return Canonicalize()(self.b.module((x,), name="maps"))


def drawn(seed: int, steps: int, *, strips: bool = False) -> tuple[Module, Recomputed] | None:
    """A network, and the same with a random stretch cut at random places."""
    module = Maps(seed).network(steps)
    graph, rng = module.graphs["infer"], np.random.default_rng(seed)
    maps = ["x", *(n.output.name for n in graph.nodes)]
    first, last = sorted(int(i) for i in rng.choice(len(maps), 2, replace=False))
    stretch = find_stretch(module, "infer", maps[first], maps[last])
    if stretch is None:
        return None
    _, h, w, _ = next(v for v in graph.values() if v.name == stretch.target).type.shape
    rows, columns = (
        sorted(int(i) for i in rng.choice(np.arange(1, n), min(int(rng.integers(3)), n - 1), False))
        for n in (h, w)
    )
    return module, tile(module, stretch, ([] if strips else rows, columns))


def call(seed: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).integers(-128, 128, (1, 13, 17, 3)).astype(np.int8)}


@examples(2)
@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(1, 5))
def test_pieces_are_pieces_of_the_whole(seed: int, steps: int) -> None:
    found = drawn(seed, steps)
    if found is None:
        return
    module, tiled = found
    note(print_module(tiled.module))
    verify(tiled.module)
    want, got = (Session(m).run(call(seed)).values for m in (module, tiled.module))
    for name, array in got.items():
        piece = tiled.pieces.get(name)
        np.testing.assert_array_equal(piece.cut(want[piece.of]) if piece else want[name], array)
    extra = tiled.extra(module)
    assert macs(tiled.module) == macs(module) + sum(e.macs for e in extra)


@examples(0.06)
@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(1, 4), strips=st.booleans())
def test_tiles_are_planned_and_exact(
    host_compiler: Toolchain, seed: int, steps: int, strips: bool
) -> None:
    """Whole and streaming, as the rows of strips do."""
    found = drawn(seed, steps, strips=strips)
    if found is None:
        return
    module, tiled = found
    note(print_module(tiled.module))
    canonical = Canonicalize()(tiled.module)
    program = plan(canonical, M4, PlanOptions(optimize=Optimize.RAM, extra_macs=0))
    proof = prove(module, program, [Call("infer", call(seed))], hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


def test_random_stretches_are_cut() -> None:
    """Without this, the other tests could be hollow."""
    found = [f for seed in range(100) if (f := drawn(seed, 4)) is not None]
    assert len(found) >= 40
    assert sum(len(t.pieces) > 4 and bool(t.extra(m)) for m, t in found) >= 8


def test_strips_are_chosen_where_rows_are_long(host_compiler: Toolchain) -> None:
    """A spectrogram: few rows, of which three in each line buffer are most of the map."""
    maps = Maps(1)
    x = maps.b.input("x", s8(1, 10, 160, 1, scale=0.1, zero_point=-7))
    for k, (out, stride) in enumerate(((12, 1), (12, 1), (12, 2), (4, 2))):
        _, _, _, c = x.type.shape
        data = maps.rng.integers(-127, 128, (out, 3, 3, c)).astype(np.int8)
        weights = maps.b.param(f"w{k}", data, Quant((0.01,) * out, (0,) * out, 0))
        attrs = Conv2d(stride=(min(stride, 2), stride), pad=(1, 1, 1, 1))
        (y,) = conv2d.infer(attrs, [x.type, weights.type])
        type = s8(*y.shape, scale=0.2, zero_point=9)
        x = maps.b.add(conv2d, (x, weights), attrs, type=type, name=f"c{k}", origin=f"c{k}")
    module = Canonicalize()(maps.b.module((x,), name="long"))
    whole, cut = (
        plan(module, M4, PlanOptions(optimize=Optimize.RAM, extra_macs=share)) for share in (0, 0.1)
    )
    assert cut.arenas[M4.ram.name] < 0.75 * whole.arenas[M4.ram.name]
    assert 0 < sum(e.macs for e in cut.extra) <= 0.1 * macs(module)
    pixels = np.random.default_rng(0).integers(-128, 128, (1, 10, 160, 1)).astype(np.int8)
    proof = prove(module, cut, [Call("infer", {"x": pixels})], hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


@pytest.mark.parametrize("target", ["x", "w0"])
def test_there_is_no_stretch_to_what_nothing_makes(target: str) -> None:
    assert find_stretch(Maps(0).network(2), "infer", "x", target) is None

"""Values that are computed again: what is made twice, what it costs, and that no bit changes.

One idea: a rewritten network is held against the network as it was, value by value, in NumPy and
in the C that is planned from it; what waits for its own mean must not be whole any more.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from lilliput import compiler
from lilliput.cli import common
from lilliput.compiler import Options
from lilliput.devices.device import load
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain
from lilliput.errors import UsageError
from lilliput.ir import Builder, Module, Quant
from lilliput.ir.graph import Value
from lilliput.ir.interp import Session
from lilliput.ir.types import TensorType, s8
from lilliput.ir.verify import verify
from lilliput.ops.conv import Conv2d, conv2d
from lilliput.ops.elementwise import Binary, mul
from lilliput.ops.reduce import Reduction, mean
from lilliput.passes.canonicalize import Canonicalize
from lilliput.passes.recompute import find_twice, macs, make_twice
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.objective import STACK_ROOM, Budget, Optimize

M4 = load("cortex-m4")
SMALL = PlanOptions(optimize=Optimize.RAM)


def squeeze_excite(blocks: int = 1, *, means: tuple[tuple[int, ...], ...] = ((1, 2),)) -> Module:
    """Inverted bottlenecks of 8 channels, widened to 48, on a map of 20x20 pixels; each map that
    is scaled by what follows from its `means`, one after the other, and projected."""
    rng, b = np.random.default_rng(7), Builder()

    def conv(x: Value, out: int, size: int, name: str, *, depthwise: bool = False) -> Value:
        channels = x.type.shape[3]
        w = rng.integers(-127, 128, (out, size, size, 1 if depthwise else channels))
        weights = b.param(f"{name}_w", w.astype(np.int8), Quant((0.01,) * out, (0,) * out, 0))
        bias = b.param(f"{name}_b", rng.integers(-500, 500, out).astype(np.int32))
        p = size // 2
        attrs = Conv2d(pad=(p, p, p, p), groups=channels if depthwise else 1)
        type = s8(*x.type.shape[:3], out, scale=0.1 * size, zero_point=-3)
        return b.add(conv2d, (x, weights, bias), attrs, type=type, name=name, origin=name)

    x = b.input("x", s8(1, 20, 20, 8, scale=0.05, zero_point=4))
    for k in range(blocks):
        wide = conv(x, 48, 1, f"wide{k}")
        y = s = conv(wide, 48, 3, f"deep{k}", depthwise=True)
        for axes in means:
            s = b.add(mean, (s,), Reduction(axes), name=f"mean{k}_{axes[0]}")
        s = conv(s, 48, 1, f"scale{k}")
        scaled = _type(y.type, 0.02)
        y = b.add(mul, (y, s), Binary(), type=scaled, name=f"scaled{k}", origin=f"scaled{k}")
        x = conv(y, 8, 1, f"narrow{k}")
    return Canonicalize()(b.module((x,), name="squeezed"))


def _type(type: TensorType, scale: float) -> TensorType:
    return s8(*type.shape, scale=scale, zero_point=5)


WIDE, DEEP = 20 * 20 * 8 * 48, 20 * 20 * 9 * 48
"""Multiply-accumulates of what is made twice in one block."""


def picture(seed: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).integers(-128, 128, (1, 20, 20, 8)).astype(np.int8)}


# The rewriting ----------------------------------------------------------------------------


@pytest.mark.parametrize("means", [((1, 2),), ((2,), (1,))])
def test_what_waits_for_its_mean_is_made_twice_from_where_it_is_small(
    means: tuple[tuple[int, ...], ...],
) -> None:
    module = squeeze_excite(2, means=means)
    found = find_twice(module)
    assert [(t.value, t.chain) for t in found] == [
        ("deep0", ("wide0", "deep0")),
        ("deep1", ("wide1", "deep1")),
    ]
    made = make_twice(module, found[1:])
    verify(made.module)
    assert [(e.layer, e.macs, e.times) for e in made.extra(module)] == [
        ("wide1", WIDE, 2),
        ("deep1", DEEP, 2),
    ]
    assert macs(made.module) == macs(module) + WIDE + DEEP
    assert made.module.params == module.params
    want, got = (Session(m).run(picture(3)).values for m in (module, made.module))
    assert set(want) < set(got)
    for name, array in got.items():
        piece = made.pieces.get(name)
        np.testing.assert_array_equal(piece.cut(want[piece.of]) if piece else want[name], array)


def test_a_residual_connection_is_not_made_twice() -> None:
    """Its map is read again in the order in which it was made."""
    b = Builder()
    x = b.input("x", s8(1, 8, 8, 4))
    y = b.add(mul, (x, x), Binary(), name="y")
    z = b.add(mul, (y, b.add(mul, (y, y), Binary(), name="t")), Binary(), name="z")
    assert find_twice(Canonicalize()(b.module((z,), name="residual"))) == []


# The plan ---------------------------------------------------------------------------------


def test_two_passes_need_less_ram_and_are_exact(host_compiler: Toolchain) -> None:
    module = squeeze_excite(2, means=((2,), (1,)))
    once = plan(module, M4, replace(SMALL, extra_macs=0))
    twice = plan(module, M4, replace(SMALL, extra_macs=1))
    assert once.arenas[M4.ram.name] >= 20 * 20 * 48  # the map is whole
    assert twice.arenas[M4.ram.name] < 20 * 20 * 48 / 2
    assert not once.extra
    assert not once.pieces
    assert {e.layer for e in twice.extra} == {"wide0", "deep0", "wide1", "deep1"}
    calls = [Call("infer", picture(seed)) for seed in range(2)]
    for program in (once, twice):
        proof = prove(module, program, calls, hosts=[host_compiler])
        assert proof.exact, str(proof.difference)
    again = [name for name in twice.pieces if name.endswith("/again")]
    assert len(again) == 4


def test_no_more_is_computed_again_than_is_allowed() -> None:
    module = squeeze_excite()
    share = (WIDE + DEEP) / macs(module)
    assert plan(module, M4, replace(SMALL, extra_macs=share * 1.001)).extra
    assert not plan(module, M4, replace(SMALL, extra_macs=share * 0.999)).extra
    assert not plan(module, M4, SMALL).extra  # three percent are not enough here


def test_a_budget_that_nothing_else_keeps_is_kept_by_computing_again() -> None:
    module = squeeze_excite()
    budget = Budget(ram=20 * 20 * 48 / 2 + STACK_ROOM)
    options = PlanOptions(budget=budget, extra_macs=1)
    assert plan(module, M4, options).extra
    assert not plan(module, M4, replace(options, budget=Budget())).extra


def test_the_plan_says_what_is_computed_again() -> None:
    model = compiler.from_module(squeeze_excite())
    options = Options(compiler="none", optimize=Optimize.RAM, plan=PlanOptions(extra_macs=1))
    told = compiler.compile(model, M4, options).to_json()["plan"]
    text = json.dumps(told)
    assert f'"extra_macs": {WIDE + DEEP}' in text
    assert f'{{"layer": "wide0", "macs": {WIDE}, "times": 2}}' in text


def test_pieces_are_held_against_the_network_itself(host_compiler: Toolchain) -> None:
    """Where they lie in memory whole."""
    module = squeeze_excite()
    made = make_twice(module, find_twice(module))
    program = replace(plan(made.module, M4), pieces=made.pieces)
    wrong = {name: replace(piece, of="scaled0") for name, piece in made.pieces.items()}
    calls = [Call("infer", picture(0))]
    right, broken = (
        prove(module, replace(program, pieces=pieces), calls, hosts=[host_compiler])
        for pieces in (made.pieces, wrong)
    )
    assert right.exact
    assert right.ways[0].tensors == len(made.module.graphs["infer"].nodes)
    assert broken.difference is not None
    assert broken.difference.tensor in wrong


# The command ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "share"), [("3%", 0.03), ("0.1", 0.1), ("0", 0), ("12.5 %", 0.125), ("1", 1)]
)
def test_shares_are_read(text: str, share: float) -> None:
    assert common.share(text, "--max-extra-macs") == share


@pytest.mark.parametrize("text", ["", "-1", "-3%", "ten", "3%%", "nan", "1e3", "11", "2000%", "%"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"max-extra-macs.*no such share"):
        common.share(text, "--max-extra-macs")

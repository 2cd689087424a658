"""Shrinking: the same bits from less, on networks by hand and on random ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from tests.networks import Network, networks
from tests.starved import check_shrunk, starved
from tests.strategies import calls_of, chains, modules

from lilliput.devices.device import load
from lilliput.emu.prove import prove
from lilliput.emu.toolchain import Toolchain
from lilliput.ir import Builder, Graph, Module, Node, Param, Quant, Value
from lilliput.ir.text import print_module
from lilliput.ir.types import f32, s8, s16
from lilliput.ops.conv import Conv2d, Linear, conv2d, linear
from lilliput.ops.elementwise import Binary, Clamp, add, clamp, mul
from lilliput.ops.frame import Pad, pad
from lilliput.ops.pool import Pool, avg_pool2d
from lilliput.ops.quantize import Requantize, requantize
from lilliput.ops.shape import (
    Concat,
    Reshape,
    Slice,
    Transpose,
    concat,
    reshape,
    slice_,
    transpose,
)
from lilliput.ops.unary import relu
from lilliput.passes.canonicalize import Canonicalize
from lilliput.passes.shrink import Shrunk, Why, shrink
from lilliput.plan.build import plan

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")
M4 = load("cortex-m4")
ZERO = -128
"""Zero point of the maps here: what a clamped channel is stuck at."""


def examples(share: float) -> settings:
    count = max(2, int(settings().max_examples * share))
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    checks.append(HealthCheck.function_scoped_fixture)
    phases = [p for p in Phase if p is not Phase.explain]
    return settings(max_examples=count, suppress_health_check=checks, phases=phases)


# Random networks --------------------------------------------------------------------------


@examples(1)
@given(module=modules(graphs=2), seed=st.integers(0, 2**16))
def test_starved_networks_keep_their_bits(module: Module, seed: int) -> None:
    hungry = starved(module, seed)
    note(print_module(hungry))
    check_shrunk(hungry, seed)


@examples(1)
@given(found=chains(graphs=2), seed=st.integers(0, 2**16))
def test_starved_chains_keep_their_bits(
    found: tuple[Module, dict[str, tuple[str, ...]]], seed: int
) -> None:
    check_shrunk(starved(found[0], seed, 0.6), seed)


@examples(1)
@given(network=networks(graphs=2), seed=st.integers(0, 2**16))
def test_networks_of_every_operator_keep_their_bits(network: Network, seed: int) -> None:
    check_shrunk(starved(network.module, seed), seed)


@examples(0.1)
@given(module=modules(graphs=6), seed=st.integers(0, 2**16))
def test_what_is_left_compiles(host_compiler: Toolchain, module: Module, seed: int) -> None:
    left = shrink(Canonicalize()(starved(module, seed, 0.5))).module
    proof = prove(left, plan(left, M4), calls_of(left, seed), hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


# By hand ----------------------------------------------------------------------------------


class Net:
    """Builds a network of maps (1, 6, 6, C) with scale 0.1 and zero point ZERO.

    Weights are positive where they are not zero, so that only what is meant to is constant.
    """

    def __init__(self, channels: int = 4, seed: int = 0):
        self.b = Builder()
        self.rng = np.random.default_rng(seed)
        self.x = self.b.input("x", s8(1, 6, 6, channels, scale=0.1, zero_point=ZERO))

    def conv(
        self,
        x: Value,
        out: int,
        size: int = 1,
        *,
        zero_rows: tuple[int, ...] = (),
        zero_columns: tuple[int, ...] = (),
        bias: dict[int, int] | None = None,
        depthwise: bool = False,
        padded: bool = False,
        name: str = "y",
        with_bias: bool = True,
    ) -> Value:
        channels = x.type.shape[3]
        shape = out, size, size, 1 if depthwise else channels
        w = self.rng.integers(1, 90, shape).astype(np.int8)
        w[list(zero_rows)] = 0
        w[..., list(zero_columns)] = 0
        values = np.zeros(out, np.int32)
        for k, value in (bias or {}).items():
            values[k] = value
        operands = [x, self.b.param("w", w, Quant((0.01,) * out, (0,) * out, 0))]
        operands += [self.b.param("bias", values)] if with_bias else []
        side = size // 2 if padded else 0
        attrs = Conv2d(pad=(side, side, side, side), groups=channels if depthwise else 1)
        rows = x.type.shape[1] + 2 * side - size + 1
        y = s8(1, rows, rows, out, scale=0.1, zero_point=ZERO)
        return self.b.add(conv2d, operands, attrs, type=y, name=name)

    def shrunk(self, *outputs: Value) -> Shrunk:
        return check_shrunk(self.b.module(outputs))


def node(found: Shrunk, name: str) -> Node:
    (graph,) = found.module.graphs.values()
    return next(n for n in graph.nodes if n.output.name == name)


def shape(found: Shrunk, name: str) -> tuple[int, ...]:
    return node(found, name).output.type.shape


def operators(found: Shrunk) -> list[str]:
    (graph,) = found.module.graphs.values()
    return [n.op.name for n in graph.nodes]


def bias_of(found: Shrunk, name: str) -> list[int]:
    data = found.module.params[node(found, name).inputs[2].name].data
    assert data is not None
    return data.tolist()


def test_zero_rows_at_the_zero_point_go_through_padding_too() -> None:
    net = Net()
    a = net.conv(net.x, 5, zero_rows=(1, 3), name="a")
    d = net.conv(a, 5, 3, depthwise=True, padded=True, name="d")
    found = net.shrunk(net.conv(d, 2, name="y"))
    assert shape(found, "a") == shape(found, "d") == (1, 6, 6, 3)
    attrs = node(found, "d").attrs
    assert isinstance(attrs, Conv2d)
    assert attrs.groups == 3
    assert found.kept["a"][3].tolist() == [0, 2, 4]
    assert {(r.value, r.index) for r in found.removed} == {
        (v, k) for v in ("a", "d") for k in (1, 3)
    }
    assert all((r.why, r.low, r.high) == (Why.CONSTANT, ZERO, ZERO) for r in found.removed)


def test_a_channel_stuck_at_the_clamp_has_the_interval_of_its_sums_as_proof() -> None:
    net = Net(channels=1)
    a = net.conv(net.x, 3, bias={1: -(10**6)}, name="a")
    found = net.shrunk(net.conv(a, 2, name="y"))
    (removal,) = found.removed
    assert (removal.value, removal.axis, removal.index) == ("a", 3, 1)
    assert (removal.low, removal.high) == (ZERO, ZERO)
    assert removal.sum_low is not None
    assert removal.sum_high is not None
    assert -(10**6) - 255 * 90 <= removal.sum_low < removal.sum_high <= -(10**6) + 255 * 90


def test_another_constant_goes_into_the_bias() -> None:
    net = Net()
    a = net.conv(net.x, 3, zero_rows=(1,), bias={1: 500}, name="a")
    y = net.conv(a, 2, bias={0: 7, 1: -9}, name="y")
    found = net.shrunk(y)
    assert shape(found, "a")[3] == 2
    (removal,) = found.removed
    assert removal.low == removal.high == ZERO + 5
    assert bias_of(found, "y") != [7, -9]


def test_a_bias_is_added_where_there_was_none() -> None:
    net = Net()
    a = net.conv(net.x, 3, zero_rows=(0,), bias={0: 500}, name="a")
    found = net.shrunk(net.conv(a, 2, name="y", with_bias=False))
    assert len(node(found, "y").inputs) == 3
    assert any(bias_of(found, "y"))


def test_another_constant_stays_before_padding() -> None:
    net = Net()
    a = net.conv(net.x, 3, zero_rows=(1,), bias={1: 500}, name="a")
    found = net.shrunk(net.conv(a, 2, 3, padded=True, name="y"))
    assert not found.changed


def test_a_constant_before_padding_goes_when_the_border_makes_no_difference() -> None:
    net = Net()
    a = net.conv(net.x, 3, zero_rows=(1,), bias={1: 500}, name="a")
    d = net.conv(a, 3, 3, depthwise=True, padded=True, bias={1: -(10**6)}, name="d")
    found = net.shrunk(net.conv(d, 2, name="y"))
    assert shape(found, "a")[3] == shape(found, "d")[3] == 2


def test_what_no_weight_reads_goes() -> None:
    net = Net()
    a = net.conv(net.x, 4, name="a")
    found = net.shrunk(net.conv(a, 2, zero_columns=(0, 2), name="y"))
    assert shape(found, "a")[3] == 2
    assert {r.why for r in found.removed} == {Why.UNREAD}
    assert all(r.low is not None and r.high is not None and r.low < r.high for r in found.removed)


def test_a_channel_that_another_branch_reads_stays() -> None:
    net = Net()
    a = net.conv(net.x, 4, name="a")
    y = net.conv(a, 2, zero_columns=(0, 2), name="y")
    z = net.conv(a, 2, zero_columns=(0, 1), name="z")
    found = net.shrunk(y, z)
    assert found.kept["a"][3].tolist() == [1, 2, 3]


def test_a_residual_keeps_channels_on_both_sides_together() -> None:
    net = Net()
    a = net.conv(net.x, 4, zero_rows=(0, 1), name="a")
    c = net.conv(a, 4, zero_rows=(1, 2), name="c")
    total = net.b.add(add, (a, c), Binary(), type=a.type, name="total")
    found = net.shrunk(net.conv(total, 2, name="y"))
    assert [found.kept[n][3].tolist() for n in ("a", "c", "total")] == [[0, 2, 3]] * 3


def test_concat_and_slice_follow_channels() -> None:
    net = Net()
    a = net.conv(net.x, 3, zero_rows=(1,), name="a")
    c = net.conv(net.x, 4, zero_rows=(0, 3), name="c")
    joined = net.b.add(concat, (a, c), Concat(3), name="joined")
    part = net.b.add(slice_, (joined,), Slice((0, 0, 0, 2), (1, 6, 6, 4)), name="part")
    y, z = net.conv(joined, 2, name="y"), net.conv(part, 2, name="z")
    found = net.shrunk(y, z)
    assert found.kept["joined"][3].tolist() == [0, 2, 4, 5]
    assert node(found, "part").attrs == Slice((0, 0, 0, 1), (1, 6, 6, 3))


def test_channels_are_followed_through_views_and_transposes() -> None:
    net = Net()
    a = net.conv(net.x, 3, zero_rows=(1,), name="a")
    turned = net.b.add(transpose, (a,), Transpose((0, 3, 1, 2)), name="turned")
    pooled = net.b.add(avg_pool2d, (a,), Pool((3, 3), (3, 3)), name="pooled")
    flat = net.b.add(reshape, (pooled,), Reshape((1, 12)), name="flat")
    also = net.b.add(reshape, (turned,), Reshape((3, 36)), name="also")
    w = net.rng.integers(-90, 91, (2, 12)).astype(np.int8)
    y = net.b.add(
        linear,
        (flat, net.b.param("v", w, Quant.per_tensor(0.01))),
        Linear(),
        type=s8(1, 2, scale=0.5),
        name="y",
    )
    back = net.b.add(reshape, (also,), Reshape((1, 3, 6, 6)), name="back")
    forth = net.b.add(transpose, (back,), Transpose((0, 2, 3, 1)), name="forth")
    found = net.shrunk(y, net.conv(forth, 2, name="z"))
    assert shape(found, "flat") == (1, 8)
    assert shape(found, "a")[3] == 2
    assert found.kept["flat"][1].tolist() == [k for k in range(12) if k % 3 != 1]


def test_inputs_and_outputs_keep_their_shapes() -> None:
    net = Net()
    found = net.shrunk(net.conv(net.x, 4, zero_rows=(0,), zero_columns=(1,), name="y"))
    assert not found.changed


def test_a_network_that_does_not_depend_on_its_input() -> None:
    net = Net()
    a = net.conv(net.x, 4, zero_rows=(0, 1, 2, 3), bias={2: 900}, name="a")
    found = net.shrunk(net.conv(a, 3, name="y"))
    assert operators(found) == ["copy"]


def test_an_axis_never_becomes_empty() -> None:
    """`a` is too large for a constant, and nothing reads it: one channel of it is left."""
    b = Builder()
    x = b.input("x", s8(1, 200, 200, 2, scale=0.1, zero_point=ZERO))
    net = Net()
    net.b, net.x = b, x
    a = net.conv(x, 4, zero_rows=(0, 1, 2, 3), name="a")
    found = net.shrunk(b.add(add, (net.conv(a, 2, name="c"), x), Binary(), type=x.type, name="y"))
    assert shape(found, "a")[3] == 2


def test_a_pad_becomes_padding_of_the_convolution() -> None:
    net = Net()
    p = net.b.add(pad, (net.x,), Pad((0, 1, 0, 0), (0, 1, 2, 0), ZERO), name="p")
    found = net.shrunk(_padded(net, p))
    assert operators(found) == ["conv2d"]
    attrs = node(found, "y").attrs
    assert isinstance(attrs, Conv2d)
    assert attrs.pad == (1, 1, 0, 2)


def _padded(net: Net, p: Value) -> Value:
    w = net.rng.integers(-90, 91, (2, 3, 3, 4)).astype(np.int8)
    weights = net.b.param("w", w, Quant.per_tensor(0.01))
    y = s8(1, 6, 6, 2, scale=0.5)
    return net.b.add(conv2d, (p, weights), Conv2d(), type=y, name="y")


@pytest.mark.parametrize("value", [ZERO + 1, 0])
def test_a_pad_with_anything_else_stays(value: int) -> None:
    net = Net()
    p = net.b.add(pad, (net.x,), Pad((0, 1, 0, 0), (0, 1, 2, 0), value), name="p")
    assert not net.shrunk(_padded(net, p)).changed


def test_transposes_cancel() -> None:
    net = Net()
    t = net.b.add(transpose, (net.x,), Transpose((0, 3, 1, 2)), name="t")
    u = net.b.add(transpose, (t,), Transpose((0, 2, 3, 1)), name="u")
    found = net.shrunk(net.conv(u, 2, name="y"))
    assert operators(found) == ["conv2d"]


def test_transposes_join_and_those_of_single_axes_are_views() -> None:
    b = Builder()
    x = b.input("x", s8(2, 3, 4, 5))
    t = b.add(transpose, (x,), Transpose((0, 2, 1, 3)), name="t")
    y = b.add(transpose, (t,), Transpose((1, 0, 2, 3)), name="y")
    p = b.input("p", s8(1, 1, 1, 5))
    q = b.add(transpose, (p,), Transpose((0, 3, 1, 2)), name="q")
    found = check_shrunk(b.module((y, q)))
    assert operators(found) == ["transpose", "reshape"]
    assert node(found, "y").attrs == Transpose((2, 0, 1, 3))


def test_a_limit_that_is_never_reached_goes() -> None:
    b = Builder()
    x = b.input("x", s8(1, 9))
    low = b.add(clamp, (x,), Clamp(-20, 30), name="low")
    again = b.add(clamp, (low,), Clamp(-20, 127), name="again")
    y = b.add(relu, (low,), type=low.type, name="y")
    z = b.add(clamp, (again,), Clamp(high=100), name="z")
    found = check_shrunk(b.module((y, z)))
    assert operators(found) == ["clamp", "relu"]


def test_identities_go_wherever_they_come_from() -> None:
    b = Builder()
    t = s8(1, 4, 4, 3, scale=0.1, zero_point=5)
    x = b.input("x", t)
    one = b.param("one", np.array([1], np.int8), Quant.per_tensor(1.0))
    scaled = b.add(mul, (x, one), Binary(), type=t, name="scaled")
    same = b.add(requantize, (scaled,), Requantize(), type=t, name="same")
    y = b.add(avg_pool2d, (same,), Pool((2, 2), (2, 2)), name="y")
    assert operators(check_shrunk(b.module((y,)))) == ["avg_pool2d"]


def test_floats_lose_only_what_is_never_read() -> None:
    b = Builder()
    x = b.input("x", f32(1, 4))
    w = b.param("w", np.zeros((3, 4), np.float32))
    h = b.add(linear, (x, w), Linear(), name="h")
    part = b.add(slice_, (h,), Slice((0, 1), (1, 2)), name="part")
    found = check_shrunk(b.module((part,)))
    assert shape(found, "h") == (1, 2)
    assert {(r.why, r.low) for r in found.removed} == {(Why.UNREAD, None)}


def test_wide_sums_of_int16() -> None:
    b = Builder()
    x = b.input("x", s16(1, 6, scale=0.001))
    w = np.zeros((4, 6), np.int8)
    w[1:3] = 3
    v = np.full((2, 4), 5, np.int8)
    h = b.add(
        linear,
        (x, b.param("w", w, Quant.per_tensor(0.01)), b.param("b", np.full(4, 70, np.int64))),
        Linear(),
        type=s16(1, 4, scale=0.0005),
        name="h",
    )
    y = b.add(
        linear,
        (h, b.param("v", v, Quant.per_tensor(0.01))),
        Linear(),
        type=s16(1, 2, scale=0.001),
        name="y",
    )
    found = check_shrunk(b.module((y,)))
    assert shape(found, "h") == (1, 2)
    assert found.module.params[node(found, "y").inputs[2].name].value.type.dtype.value == "s64"


def test_states_are_anything_and_stay() -> None:
    b = Builder()
    state = b.state("s", s8(1, 3, scale=0.1), np.zeros((1, 3), np.int8))
    x = b.input("x", s8(1, 4, scale=0.1))
    w = b.param("w", np.zeros((3, 4), np.int8), Quant.per_tensor(0.01))
    h = b.add(linear, (x, w), Linear(), type=state.type, name="h")
    total = b.add(add, (state, h), Binary(), type=state.type, name="total")
    found = check_shrunk(b.module((total,), updates={"s": total}))
    assert found.module.states["s"].value == state


def test_entries_that_share_weights_may_need_other_parts_of_them() -> None:
    rng = np.random.default_rng(0)
    params, names, graphs = dict[str, Param](), set[str](), dict[str, Graph]()
    w = rng.integers(1, 90, (4, 3)).astype(np.int8)
    for entry, columns in (("one", (0, 1)), ("two", (2,))):
        b = Builder(params, names)
        x = b.input("x", s8(1, 3, scale=0.1))
        shared = b.use(params["w"]) if "w" in params else b.param("w", w, Quant.per_tensor(0.01))
        h = b.add(linear, (x, shared), Linear(), type=s8(1, 4, scale=0.3), name=f"h_{entry}")
        v = rng.integers(1, 90, (2, 4)).astype(np.int8)
        v[:, list(columns)] = 0
        y = b.add(
            linear,
            (h, b.param("v", v, Quant.per_tensor(0.01))),
            Linear(),
            type=s8(1, 2, scale=0.5),
            name=f"y_{entry}",
        )
        graphs[entry] = b.graph((y,))
    found = check_shrunk(Module(graphs, params))
    sizes = {
        n.output.name: n.output.type.shape for g in found.module.graphs.values() for n in g.nodes
    }
    assert (sizes["h_one"], sizes["h_two"]) == ((1, 2), (1, 3))

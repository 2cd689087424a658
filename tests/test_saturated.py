"""Sums of training steps are bounded: a bias that has run into the ends of int32 gets an ordinary
size, and what is trained says how far it moves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from lilliput.ir import Array, Builder, DType, Module, Node, Quant, Session, TensorType
from lilliput.ir.types import s8, s32
from lilliput.ops.accumulate import Conv2d
from lilliput.ops.conv import conv2d
from lilliput.ops.conv_parts import conv2d_parts
from lilliput.ops.finish import doubles, finish, largest_sum
from lilliput.ops.update import LIMIT
from lilliput.plan.select import accumulators
from lilliput.train.saturated import unsaturated

LEAST = float(np.float32(3.9370080e-09))
"""The scale that the published checkpoints give to channels without weights."""
CHANNELS = 6


def network(biases: Mapping[int, int], weights: Mapping[int, int], least: float = LEAST) -> Module:
    """A convolution whose channels in `biases` have the least scale, that bias, and zero weights
    but for one number each."""
    rng = np.random.default_rng(5)
    w = rng.integers(-127, 128, (CHANNELS, 3, 3, 4)).astype(np.int8)
    bias = rng.integers(-900, 900, CHANNELS).astype(np.int32)
    scale = [0.004] * CHANNELS
    for c, value in biases.items():
        w[c], bias[c], scale[c] = 0, value, least
        w[c, 1, 1, 2] = weights.get(c, 0)
    b = Builder()
    x = b.input("x", s8(1, 5, 5, 4, scale=0.05, zero_point=-128))
    quant = Quant(tuple(scale), (0,) * CHANNELS, 0)
    numbers = b.param("w", w, quant), b.param("bias", bias)
    y = s8(1, 5, 5, CHANNELS, scale=0.1, zero_point=-128)
    return b.module((b.add(conv2d, (x, *numbers), Conv2d(pad=(1, 1, 1, 1)), type=y, name="y"),))


def result(module: Module, seed: int) -> Array:
    x = np.random.default_rng(seed).integers(-128, 128, (1, 5, 5, 4)).astype(np.int8)
    return Session(module).run({"x": x}).outputs["y"]


def data(module: Module) -> dict[str, Array]:
    return {name: p.data for name, p in module.params.items() if p.data is not None}


def node(module: Module) -> Node:
    return module.graphs[module.entry].nodes[0]


def real_bias(module: Module) -> Array:
    quant = module.params["w"].value.type.quant
    assert quant is not None
    return data(module)["bias"] * np.array(quant.scale)


def test_what_is_stored_stays_and_kernels_may_double_the_sums() -> None:
    biases = {0: -(2**31), 2: 2**31 - 1, 3: -1_351_545_984, 5: 979_301_312}
    before = network(biases, {3: 7, 5: -9})
    after = unsaturated(before)
    for seed in range(5):
        assert np.array_equal(result(before, seed), result(after, seed))
    assert doubles(node(before), data(before)) is not None
    assert doubles(node(after), data(after)) is None
    largest = largest_sum(node(after), lambda v: data(after).get(v.name))
    assert largest is not None
    assert largest.max() < LIMIT
    # the real bias, and channels that are alive, are what they were
    assert np.allclose(real_bias(before), real_bias(after), rtol=1e-6)
    for c in (1, 4):
        assert np.array_equal(data(before)["w"][c], data(after)["w"][c])
        assert data(before)["bias"][c] == data(after)["bias"][c]


def test_a_sum_that_wrapped_saturates() -> None:
    """-2^31 less something is 2^31 - 1 and less in int32: such a channel stored the opposite."""
    before = network({1: -(2**31)}, {1: -90})
    wrapped, found = result(before, 0)[..., 1], result(unsaturated(before), 0)[..., 1]
    assert (wrapped > -128).any()
    assert (found == -128).all()


@pytest.mark.parametrize("bias", [-(2**27) + 4000, 0, 2**26])
def test_ordinary_biases_are_left_alone(bias: int) -> None:
    before = network({0: bias}, {}, least=1e-6)
    assert data(unsaturated(before))["bias"][0] == bias


def test_what_is_stored_of_it_is_requantised_shortly() -> None:
    """A scale of the least number shifts a zero point out of 32 bits."""
    for bias in (-(2**31), 2**31 - 1):
        after = unsaturated(network({0: bias}, {}))
        b = Builder(dict(after.params))
        assert "ll_requant" not in finish(b, node(after)).c("acc", lambda value: value.name)


def test_a_trained_bias_has_short_requantisations() -> None:
    """How far a bias may move bounds the sums: what requantises them needs no general form."""
    whole = node(network({}, {}))
    known = {n: p for n, p in network({}, {}).params.items() if n != "bias"}

    def text(magnitude: int) -> str:
        b = Builder(dict(known), magnitudes={"bias": np.array([magnitude])})
        return finish(b, whole).c("acc", lambda value: value.name)

    assert "ll_mulh_add" in text(LIMIT)
    assert "ll_requant" in text(2 * LIMIT)


def resumed() -> tuple[Builder, Node]:
    """A layer that goes on from the sums of constant weights with weights that are trained."""
    rng = np.random.default_rng(8)
    b = Builder()
    x = b.input("x", s8(1, 3, 4, 6, scale=0.05, zero_point=4))
    frozen = rng.integers(-127, 128, (5, 1, 1, 6)).astype(np.int8)
    w = b.param("frozen", frozen, Quant((0.01,) * 5, (0,) * 5, 0))
    zeros, raw = b.param("zeros", np.zeros(5, np.int32)), Conv2d(raw=True)
    begun = b.add(conv2d, (x, w, zeros), raw, type=s32(1, 3, 4, 5), name="begun")
    trained = b.state("w", w.type, np.zeros((5, 1, 1, 6), np.int8))
    bias = b.state("bias", s32(5), np.zeros(5, np.int32))
    y = s8(1, 3, 4, 5, scale=0.1, zero_point=-128)
    b.add(conv2d, (x, trained, bias, begun), Conv2d(), type=y, name="y")
    return b, b.nodes[-1]


def test_sums_that_go_on_are_bounded_by_what_came_before() -> None:
    b, last = resumed()
    graph = b.graph([last.output])
    sizes = accumulators(graph, b.params)
    assert list(sizes) == ["begun"]
    weights = data_of(b)["frozen"].reshape(5, 6).astype(np.int64)
    ends = np.array([weights.clip(0) @ np.full(6, v) for v in (-132, 123)])
    ends = ends + np.array([weights.clip(None, 0) @ np.full(6, v) for v in (123, -132)])
    assert np.array_equal(sizes["begun"], np.abs(ends).max(0))
    known = {**sizes, "w": np.full((5, 1, 1, 6), 127), "bias": np.full(5, LIMIT)}
    largest = largest_sum(last, lambda v: known.get(v.name))
    assert largest is not None
    assert np.array_equal(largest, LIMIT + 6 * 127 * 132 + sizes["begun"])
    short = Builder(dict(b.params), magnitudes=known)
    assert "ll_requant" not in finish(short, last).c("acc", lambda value: value.name)
    unknown = Builder(dict(b.params), magnitudes={**known, "begun": np.full(5, LIMIT)})
    assert "ll_requant" in finish(unknown, last).c("acc", lambda value: value.name)


def test_sums_of_two_weights_are_bounded_whatever_the_trained_one_is() -> None:
    rng = np.random.default_rng(8)
    b = Builder()
    x = b.input("x", s8(1, 3, 4, 6, scale=0.05, zero_point=4))
    quant = Quant((0.01,) * 5, (0,) * 5, 0)
    frozen = rng.integers(-127, 128, (5, 1, 1, 4)).astype(np.int8)
    type = TensorType((5, 1, 1, 2), DType.S8, quant)
    trained = b.state("w", type, np.zeros(type.shape, np.int8))
    bias = b.state("bias", s32(5), np.zeros(5, np.int32))
    y = s8(1, 3, 4, 5, scale=0.1, zero_point=-128)
    b.add(conv2d_parts, (x, trained, b.param("frozen", frozen, quant), bias), type=y, name="y")
    known = {"frozen": frozen, "bias": np.full(5, LIMIT)}
    others = np.abs(frozen.astype(np.int64)).reshape(5, -1).sum(1)
    for size, told in ((128, {}), (127, {"w": np.full((5, 1, 1, 2), 127)})):
        data = {**known, **told}
        largest = largest_sum(b.nodes[-1], lambda v, data=data: data.get(v.name))
        assert largest is not None
        assert np.array_equal(largest, LIMIT + (2 * size + others) * 132)
    assert largest_sum(b.nodes[-1], lambda v: frozen if v.name == "frozen" else None) is None


def data_of(b: Builder) -> dict[str, Array]:
    return {name: p.data for name, p in b.params.items() if p.data is not None}

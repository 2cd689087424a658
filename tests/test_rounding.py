"""Adaptive rounding: the outputs of a layer on the data never get worse, whatever its groups."""

from __future__ import annotations

import numpy as np
import pytest

from lilliput.ir import Array, Builder, Node
from lilliput.ir.op import Attrs
from lilliput.ir.types import f32
from lilliput.ops.conv import Conv2d, Linear, conv2d, linear
from lilliput.quant import rounding
from lilliput.quant.batch import evenly, sums
from lilliput.quant.scheme import Weights, quantise_weights

SHAPE = (1, 6, 7, 8)
LAYERS: dict[str, tuple[tuple[int, ...], Attrs]] = {
    "dense": ((5, 3, 3, 8), Conv2d(pad=(1, 1, 1, 1))),
    "pointwise": ((12, 1, 1, 8), Conv2d()),
    "groups": ((6, 3, 2, 4), Conv2d(stride=(2, 1), groups=2)),
    "depthwise": ((16, 3, 3, 1), Conv2d(pad=(2, 2, 2, 2), dilation=(2, 2), groups=8)),
    "linear": ((5, 8), Linear()),
}


def layer(name: str) -> Node:
    shape, attrs = LAYERS[name]
    b = Builder()
    x = b.input("x", f32(*SHAPE))
    w = b.param("w", np.zeros(shape, np.float32))
    b.add(linear if isinstance(attrs, Linear) else conv2d, (x, w), attrs, name="y")
    return b.nodes[0]


def drawn(name: str, mean: float = 0.0) -> tuple[Array, Array, Weights]:
    """Correlated inputs (as neighbouring pixels are), weights, and these at the nearest steps."""
    rng = np.random.default_rng(5)
    mixed = rng.normal(0, 1, (4, *SHAPE[1:])) @ rng.normal(0, 1, (8, 8)) + mean
    real = rng.normal(0, 0.2, LAYERS[name][0]).astype(np.float32)
    coarse = quantise_weights(real, None, 0.1)
    scale = tuple(20 * s for s in coarse.scale)  # some six steps, so that rounding tells
    whole = np.rint(real / np.reshape(scale, (-1, *[1] * (real.ndim - 1)))).astype(np.int8)
    return mixed, real, Weights(whole, scale, coarse.bias)


def missed(
    node: Node, x: Array, real: Array, made: Array, nearest: Weights, centred: bool
) -> Array:
    """(O): mean squared difference of the outputs, apart from their mean if that is made up for."""
    scale = np.reshape(nearest.scale, (-1, *[1] * (real.ndim - 1)))
    d = sums(node, x, real.astype(np.float64) - made * scale)
    d = d.reshape(-1, len(real))
    return d.var(0) if centred else (d**2).mean(0)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_outputs_are_nearer_in_every_channel(name: str, centred: bool) -> None:
    node, (x, real, nearest) = layer(name), drawn(name)
    rng = np.random.default_rng(0)
    made = rounding.adapt(node, real, x, nearest, rng, centred=centred)
    before = missed(node, x, real, nearest.data, nearest, centred)
    after = missed(node, x, real, made, nearest, centred)
    assert (after <= before * (1 + 1e-9)).all()
    assert after.sum() < before.sum()


@pytest.mark.parametrize("name", ["groups", "depthwise"])
def test_groups_are_told_apart(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    node, (x, real, nearest) = layer(name), drawn(name)
    whole, one = (np.random.default_rng(0) for _ in range(2))
    together = rounding.adapt(node, real, x, nearest, whole, centred=True)
    monkeypatch.setattr(rounding, "BLOCK", 1)
    alone = rounding.adapt(node, real, x, nearest, one, centred=True)
    np.testing.assert_array_equal(together, alone)


def test_what_the_bias_makes_up_for_is_left_out() -> None:
    """Inputs far from zero: their mean would outweigh all else."""
    node, (x, real, nearest) = layer("pointwise"), drawn("pointwise", mean=20.0)
    found = {
        centred: rounding.adapt(node, real, x, nearest, np.random.default_rng(0), centred=centred)
        for centred in (False, True)
    }
    errors = {c: missed(node, x, real, made, nearest, True).sum() for c, made in found.items()}
    assert errors[True] < errors[False]


def test_inputs_of_zeros_keep_the_nearest() -> None:
    node, (x, real, nearest) = layer("depthwise"), drawn("depthwise")
    x[..., 3] = 0.0
    rng = np.random.default_rng(0)
    made = rounding.adapt(node, real, x, nearest, rng, centred=True)
    np.testing.assert_array_equal(made[6:8], nearest.data[6:8])


def test_more_samples_are_learnt_from_than_are_calculated_at_once() -> None:
    b = Builder()
    x = b.input("x", f32(1, 512, 512, 4))
    b.add(conv2d, (x, b.param("w", np.zeros((4, 1, 1, 4), np.float32))), Conv2d(), name="y")
    graph = b.graph((b.nodes[0].output,))
    data = {"x": np.broadcast_to(np.float32(0), (40, 512, 512, 4))}
    assert evenly(graph, data)[0] == 4
    assert evenly(graph, data, 128, 1 << 24)[0] == 16

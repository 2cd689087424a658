"""Losses: their values and slopes against the formulas in double, and the C that they become."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from lilliput import devices
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain, find
from lilliput.errors import GraphError
from lilliput.ir import Builder, Module, Session, Value, verify
from lilliput.ir.types import Array, DType, TensorType, f32, s8, s32
from lilliput.ops.quantize import dequantize
from lilliput.plan.build import plan
from lilliput.tolerances import BOUNDS, Bound
from lilliput.train.autodiff import gradients
from lilliput.train.losses import LOSSES, MARGIN

EXACT_ENOUGH = Bound(1e-6, 2e-6)
"""A loss is a few sums and one logarithm of float32."""
OUTPUT, INPUT = f32(2, 5), f32(1, 10)


def build(name: str, output: TensorType = OUTPUT) -> Module:
    """Entry (output, target) -> the loss, and its gradient by the output."""
    b = Builder()
    y = b.input("output", output)
    target = b.input("target", LOSSES[name].target(output, INPUT))
    loss = LOSSES[name].build(b, y, target)
    assert loss.type == f32(1)
    seed = b.param("seed", np.ones(1, np.float32))
    found = gradients(b, tuple(b.nodes), {loss.name: seed}, ["output"])
    module = b.module((loss, found["output"]), name=name)
    verify(module)
    return module


def run(module: Module, output: Array, target: Array) -> tuple[float, Array]:
    found = Session(module).run({"output": output, "target": target})
    loss, slope = found.outputs.values()
    return float(loss[0]), slope


# The formulas, in double ------------------------------------------------------------------


def cross_entropy(x: Array, t: Array) -> float:
    shares = np.eye(x.shape[-1])[t] if t.dtype == np.int32 else t
    log_p = x - np.log(np.exp(x).sum(-1, keepdims=True))
    return float(-(shares * log_p).sum(-1).mean())


def bce(x: Array, t: Array) -> float:
    p = 1 / (1 + np.exp(-x))
    return float(-(t * np.log(p) + (1 - t) * np.log(1 - p)).mean())


def mse(x: Array, t: Array) -> float:
    return float(((x - t.reshape(x.shape)) ** 2).mean())


def triplet(x: Array, t: Array) -> float:
    near, far = ((x.reshape(-1) - t) ** 2).sum(-1)
    return max(0.0, float(near - far) + MARGIN)


def contrastive(x: Array, t: Array) -> float:
    other, same = t[0, :-1], t[0, -1]
    d = np.linalg.norm(x.reshape(-1) - other)
    return float(same * d**2 + (1 - same) * max(0.0, MARGIN - d) ** 2)


FORMULAS: Mapping[str, Callable[[Array, Array], float]] = {
    "cross_entropy": cross_entropy,
    "soft_cross_entropy": cross_entropy,
    "bce": bce,
    "mse": mse,
    "reconstruction": mse,
    "triplet": triplet,
    "contrastive": contrastive,
}


def operands(name: str, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=OUTPUT.shape).astype(np.float32)
    t = LOSSES[name].target(OUTPUT, INPUT)
    if t.dtype is DType.S32:
        return x, rng.integers(0, OUTPUT.shape[-1], t.shape).astype(np.int32)
    target = rng.uniform(size=t.shape)
    if name == "soft_cross_entropy":
        target /= target.sum(-1, keepdims=True)
    if name == "triplet":
        target = x.reshape(-1) + np.array([[0.3], [0.5]]) * target
    if name == "contrastive":
        target[0] = [*(x.reshape(-1) + 0.2 * target[0, :-1]), seed % 2]
    return x, target.astype(np.float32)


def test_every_loss_is_tested() -> None:
    assert LOSSES.keys() == FORMULAS.keys()


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_its_formula_and_so_is_its_slope(name: str) -> None:
    module = build(name)
    for seed in range(4):
        x, t = operands(name, seed)
        loss, slope = run(module, x, t)
        expected = FORMULAS[name](x.astype(np.float64), _double(t))
        assert not EXACT_ENOUGH.broken(np.array(expected), np.array(loss)).any()
        assert expected > 0
        wanted = _slope(lambda v, t=t: FORMULAS[name](v, _double(t)), x)
        assert not BOUNDS["PyTorch gradients"].broken(wanted, slope).any()


def _double(t: Array) -> Array:
    return t if t.dtype == np.int32 else t.astype(np.float64)


def _slope(function: Callable[[Array], float], x: Array) -> Array:
    """Central differences in double: good to about 1e-9."""
    found = np.zeros(x.shape)
    for at in np.ndindex(x.shape):
        move = np.zeros(x.shape)
        move[at] = 1e-5
        found[at] = (function(x + move) - function(x - move)) / 2e-5
    return found


@pytest.mark.parametrize("name", ["cross_entropy", "soft_cross_entropy", "bce"])
def test_logits_may_be_as_large_as_they_like(name: str) -> None:
    module = build(name)
    _, t = operands(name)
    for x in (1e4 * operands(name)[0], np.zeros(OUTPUT.shape, np.float32)):
        loss, slope = run(module, x, t)
        assert np.isfinite(loss)
        assert np.isfinite(slope).all()


def test_the_slope_of_a_logit_is_what_its_probability_lacks() -> None:
    """At 0, too, where a formula with |x| has a corner."""
    x, t = np.zeros(OUTPUT.shape, np.float32), operands("bce")[1]
    _, slope = run(build("bce"), x, t)
    assert np.allclose(slope, (0.5 - t) / t.size, atol=1e-7)


def test_a_triplet_that_is_told_apart_teaches_nothing() -> None:
    x = operands("triplet")[0]
    far = np.stack([x.reshape(-1), x.reshape(-1) + 2])
    loss, slope = run(build("triplet"), x, far)
    assert loss == 0
    assert not slope.any()


def test_two_equal_embeddings_have_a_slope() -> None:
    x = operands("contrastive")[0]
    for same in (0, 1):
        target = np.array([[*x.reshape(-1), same]], np.float32)
        loss, slope = run(build("contrastive"), x, target)
        assert loss == (1 - same) * MARGIN**2
        assert np.isfinite(slope).all()


@pytest.mark.parametrize("name", LOSSES)
def test_integers_count_as_their_real_numbers(name: str) -> None:
    """And the gradient is that of the real numbers, less what saturated."""
    quantised = s8(*OUTPUT.shape, scale=0.05, zero_point=7)
    q = np.random.default_rng(3).integers(-100, 100, OUTPUT.shape).astype(np.int8)
    _, t = operands(name)
    b = Builder()
    real = b.add(dequantize, (b.input("q", quantised),))
    (x,) = Session(b.module((real,))).run({"q": q}).outputs.values()
    loss, slope = run(build(name, quantised), q, t)
    expected, wanted = run(build(name), x, t)
    assert loss == expected
    assert np.array_equal(slope, wanted)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("mse", f32(5, 2)),
        ("bce", s32(2, 5)),
        ("cross_entropy", f32(2, 4)),
        ("triplet", f32(2, 5)),
        ("contrastive", f32(1, 10)),
    ],
)
def test_a_target_of_another_type_is_refused(name: str, target: TensorType) -> None:
    b = Builder()
    y = b.input("output", OUTPUT)
    with pytest.raises(GraphError, match=f"target of {name}[\\s\\S]*expected: f32"):
        LOSSES[name].build(b, y, b.input("target", target))


@pytest.mark.gcc
@pytest.mark.unicorn
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_and_its_slope_in_c(name: str, host_compiler: Toolchain) -> None:
    module = build(name)
    device = devices.load("cortex-m4")
    calls = [Call("infer", _named(module, operands(name, seed))) for seed in range(3)]
    target = (find(device.core), device)
    proof = prove(module, plan(module, device), calls, hosts=[host_compiler], target=target)
    assert proof.exact, proof.difference


def _named(module: Module, data: tuple[Array, Array]) -> dict[str, Array]:
    values: tuple[Value, ...] = module.inputs(module.entry)
    return {v.name: d for v, d in zip(values, data, strict=True)}

"""What plain quantisation breaks is explained, and repaired by what the explanation names."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

import lilliput
from lilliput import Quantization, devices
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain
from lilliput.ir import Array, Builder, Module, Value
from lilliput.ir.types import f32
from lilliput.ops.conv import Conv2d, Linear, conv2d, linear
from lilliput.ops.elementwise import Clamp, clamp, mul
from lilliput.ops.reduce import Reduction, mean
from lilliput.ops.unary import UNARY
from lilliput.plan.build import plan
from lilliput.quant.absorb import absorb, lifted
from lilliput.quant.batch import outputs
from lilliput.quant.calibrate import observe
from lilliput.quant.equalise import equalise
from lilliput.quant.passages import passages
from lilliput.quant.prepare import prepare

if TYPE_CHECKING:
    from tests.mobile_block import Trained


@cache
def _trained() -> tuple[Trained, Module]:
    pytest.importorskip("torch", reason="torch is not installed (extra torch)")
    import torch
    from tests.mobile_block import trained

    found = trained()
    return found, lilliput.from_torch(found.module, torch.zeros(1, 1, 8, 8)).module


def _accuracies(options: Quantization) -> tuple[float, float, lilliput.Quantized]:
    """(float, integer) accuracy on the test split."""
    data, module = _trained()
    found = lilliput.quantize(
        module, data.x_train[:256], options, test=data.x_test, labels=data.y_test
    )
    seen = found.outcome.evaluated
    assert seen is not None
    assert seen.float_accuracy is not None
    assert seen.integer_accuracy is not None
    return seen.float_accuracy, seen.integer_accuracy, found


def test_a_hard_swish_block_fails_and_is_explained() -> None:
    real, whole, found = _accuracies(Quantization(explain=True))
    assert real > 0.9
    assert whole < real - 0.3
    assert found.outcome.explanation is not None
    assert found.outcome.explanation.output_db < 6
    assert found.outcome.explanation.advice[0].startswith("equalize")


def test_a_hard_swish_block_is_repaired_by_what_was_named() -> None:
    options = Quantization(
        equalize=True, adaptive_rounding=True, bias_correction=True, explain=True
    )
    real, whole, found = _accuracies(options)
    assert whole > real - 0.01
    assert {"relu6", "hardswish_1"} <= set(found.outcome.reformed)
    assert found.outcome.explanation is not None
    assert found.outcome.explanation.output_db > 20
    assert not any(text.startswith("equalize") for text in found.outcome.explanation.advice)


def test_a_hard_swish_block_is_repaired_by_16_bits() -> None:
    real, whole, found = _accuracies(Quantization(activations="int16"))
    assert whole > real - 0.01
    assert not found.outcome.floats


# Where factors travel ---------------------------------------------------------------------

LIMITS: dict[str, Callable[[Builder, Value], Value]] = {
    "clamp": lambda b, x: b.add(clamp, (x,), Clamp(0.0, 6.0)),
    "hard_swish": lambda b, x: b.add(UNARY["hard_swish"], (x,)),
    "leaky_relu": lambda b, x: b.add(UNARY["leaky_relu"], (x,)),
    "relu": lambda b, x: b.add(clamp, (x,), Clamp(0.0)),
}


def _apart(limit: str, rank: int = 4) -> Module:
    """A product with channels of ranges four decades apart, an activation, and what reads it: a
    gate and a product."""
    rng = np.random.default_rng(7)
    b, channels = Builder(), 12
    shape = (1, 4, 4, 3) if rank == 4 else (1, 3)
    x = b.input("x", f32(*shape))

    apart = np.logspace(-3, 1, channels)

    def product(x: Value, out: int, scale: Array | float = 1.0, read: Array | float = 1.0) -> Value:
        kernel = (out, 1, 1, x.type.shape[-1]) if rank == 4 else (out, x.type.shape[-1])
        along = np.broadcast_to(np.asarray(scale), (out,)).reshape(-1, *[1] * (rank - 1))
        w = b.param("w", (rng.normal(0, 1, kernel) * along * read).astype(np.float32))
        bias = b.param("b", (rng.normal(0, 0.3, out) * along.reshape(-1)).astype(np.float32))
        return b.add(conv2d if rank == 4 else linear, (x, w, bias))

    y = LIMITS[limit](b, product(x, channels, apart))
    if rank == 4:
        pooled = b.add(mean, (y,), Reduction((1, 2)))
        gate = b.add(UNARY["logistic"], (product(pooled, channels, read=0.1 / apart),))
        y = b.add(mul, (y, gate))
    return b.module((product(y, 5, read=1 / apart),))


def _data(module: Module, seed: int = 2, scale: float = 1.0) -> dict[str, Array]:
    (x,) = module.inputs("infer")
    rng = np.random.default_rng(seed)
    return {x.name: rng.normal(0, scale, (64, *x.type.shape[1:])).astype(np.float32)}


def _result(module: Module, data: dict[str, Array]) -> Array:
    return next(iter(outputs(module, data).values()))


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("rank", [2, 4])
def test_equalising_leaves_the_function_and_evens_the_ranges(limit: str, rank: int) -> None:
    network = prepare(_apart(limit, rank))
    found = equalise(network, observe(network, _data(network)).extremes)
    assert found.pairs == 1
    ((before, after),) = found.spread.values()
    assert after < before / 3
    # beyond the calibration data, too: every bound is carried over
    data = _data(network, seed=3, scale=5.0)
    real, other = _result(network, data), _result(found.module, data)
    np.testing.assert_allclose(other, real, rtol=1e-4, atol=1e-4 * float(np.abs(real).max()))


@pytest.mark.parametrize("limit", ["clamp", "hard_swish"])
@pytest.mark.parametrize("activations", ["int8", "int16"])
def test_activations_in_another_form_compile(
    limit: str, activations: str, host_compiler: Toolchain
) -> None:
    module = _apart(limit)
    data = _data(module)
    made = lilliput.quantize(module, data, Quantization(activations, equalize=True))
    assert made.outcome.reformed
    whole = made.model.shrunk.module
    (x,) = whole.inputs("infer")
    low, high = x.type.dtype.bounds
    rng = np.random.default_rng(5)
    given = rng.integers(low, high + 1, x.type.shape).astype(x.type.dtype.numpy)
    calls = [Call("infer", {x.name: given})]
    proof = prove(whole, plan(whole, devices.load("cortex-m4")), calls, hosts=[host_compiler])
    assert proof.exact, proof.difference


def test_a_clamp_with_two_ends_stands_in_the_way() -> None:
    b = Builder()
    x = b.input("x", f32(1, 4))
    y = b.add(linear, (x, b.param("w", np.eye(4, dtype=np.float32))))
    y = b.add(clamp, (y,), Clamp(-1.0, 1.0), name="limited")
    y = b.add(linear, (y, b.param("v", np.eye(4, dtype=np.float32))))
    found = passages(prepare(b.module((y,))))
    assert not found.found
    assert found.blocked == ("limited",)


def test_a_shared_weight_or_a_second_way_out_is_no_passage() -> None:
    def network(second: bool) -> Module:
        b = Builder()
        x, w = b.input("x", f32(1, 4)), b.param("w", np.eye(4, dtype=np.float32))
        y = b.add(clamp, (b.add(linear, (x, w), Linear()),), Clamp(0.0))
        z = b.add(linear, (y, b.param("v", np.eye(4, dtype=np.float32)) if second else w))
        return b.module((z, b.add(UNARY["tanh"], (y,))) if second else (z,))

    assert not passages(prepare(network(second=True))).found
    assert not passages(prepare(network(second=False))).found


# High biases ------------------------------------------------------------------------------


def _high(padded: bool = False) -> Module:
    """Rectified channels, one of which lies between 90 and 110."""
    rng = np.random.default_rng(11)
    b = Builder()
    x = b.input("x", f32(1, 5, 5, 3))
    w = b.param("w", rng.normal(0, 0.5, (6, 1, 1, 3)).astype(np.float32))
    bias = b.param("b", np.array([100, 0, 0.2, 0, -0.1, 0], np.float32))
    y = b.add(clamp, (b.add(conv2d, (x, w, bias)),), Clamp(0.0), name="high")
    deep = b.param("d", rng.normal(0, 0.5, (6, 3, 3, 1)).astype(np.float32))
    pad = (1, 1, 1, 1) if padded else (0, 0, 0, 0)
    y = b.add(conv2d, (y, deep), Conv2d(pad=pad, groups=6))
    return b.module((y,))


def test_high_biases_are_named_and_absorbed() -> None:
    module = _high()
    data = _data(module)
    plain = lilliput.quantize(module, data, Quantization(explain=True))
    told = plain.outcome.explanation
    assert told is not None
    assert any(text.startswith("absorb") for text in told.advice)
    found = lilliput.quantize(module, data, Quantization(absorb_bias=True, explain=True))
    told = found.outcome.explanation
    assert told is not None
    assert not any(text.startswith("absorb") for text in told.advice)
    assert found.outcome.absorbed == 1
    # the channel between 90 and 110 no longer decides everybody's step
    steps = [made.encodings.activations["high"].scale[0] for made in (plain, found)]
    assert steps[1] < steps[0] / 4


def test_what_is_absorbed_leaves_the_function() -> None:
    network = prepare(_high())
    data = _data(network)
    extremes = observe(network, data).extremes
    assert lifted(network, extremes) == ["high"]
    other = absorb(network, extremes).module
    np.testing.assert_allclose(_result(other, data), _result(network, data), atol=1e-4)


def test_padding_keeps_biases_from_being_absorbed() -> None:
    network = prepare(_high(padded=True))
    assert absorb(network, observe(network, _data(network)).extremes).channels == 0

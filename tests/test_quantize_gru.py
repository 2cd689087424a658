"""GRUs of few frames become integers frame by frame: the same function, weights stored once."""

from __future__ import annotations

import numpy as np
import pytest

import lilliput
from lilliput import Quantization, compiler, devices
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain, find
from lilliput.errors import UnsupportedError
from lilliput.ir import Array, Builder, Module, Session
from lilliput.ir.types import f32
from lilliput.ops.gru import gru
from lilliput.plan.build import plan
from lilliput.quant.unroll import MOST_FRAMES, unrolled

DEPTH, UNITS = 3, 4


def network(frames: int, state: float = 0.0) -> Module:
    rng, b = np.random.default_rng(4), Builder()

    def param(name: str, *shape: int) -> Array:
        return rng.normal(0, 0.6, shape).astype(np.float32)

    x = b.input("x", f32(1, frames, DEPTH))
    shapes = {"w": (3 * UNITS, DEPTH), "r": (3 * UNITS, UNITS), "b": (3 * UNITS,)}
    shapes["c"] = (3 * UNITS,)
    operands = [b.param(name, param(name, *shape)) for name, shape in shapes.items()]
    first = b.param("h", (state * param("h", 1, UNITS)).astype(np.float32))
    return b.module((b.add(gru, (x, *operands, first), name="series"),), name="series")


def sounds(frames: int, count: int = 24) -> Array:
    return np.random.default_rng(1).normal(0, 1, (count, frames, DEPTH)).astype(np.float32)


@pytest.mark.parametrize("state", [0.0, 0.7])
def test_frame_by_frame_is_the_same_function(state: float) -> None:
    module, x = network(5, state), sounds(5, 1)
    want = Session(module).run({"x": x}).outputs["series"]
    found = Session(unrolled(module)).run({"x": x}).outputs["series"]
    np.testing.assert_allclose(found, want, atol=1e-6)


@pytest.mark.parametrize(("activations", "least"), [("int8", 28.0), ("int16", 38.0)])
def test_integers_are_near_the_floats(activations: str, least: float) -> None:
    module, x = network(5, 0.7), sounds(5)
    found = lilliput.quantize(module, x, Quantization(activations=activations))
    assert not found.outcome.floats
    real = compiler.from_module(module).answers(x)
    noise = np.square(found.model.answers(x) - real).sum()
    assert 10 * np.log10(np.square(real).sum() / noise) > least


def test_c_and_an_emulated_core_are_exact_and_share_weights(host_compiler: Toolchain) -> None:
    """Six matrices for the gates, and no more, though every frame multiplies with them."""
    options = Quantization(adaptive_rounding=True, bias_correction=True)
    model = lilliput.quantize(network(2), sounds(2), options).model
    names = [n for n, p in model.module.params.items() if p.value.type.shape[:1] == (UNITS,)]
    assert len([n for n in names if not n.endswith(("bias", "first")) and "/bias" not in n]) == 6
    device = devices.load("cortex-m4")
    x = np.random.default_rng(0).integers(-128, 128, (1, 2, DEPTH)).astype(np.int8)
    program = plan(model.module, device)
    proof = prove(
        model.module,
        program,
        [Call("infer", {"x": x})],
        hosts=[host_compiler],
        target=(find(device.core), device),
    )
    assert proof.exact, proof.difference


def test_long_sequences_are_refused() -> None:
    frames = MOST_FRAMES + 1
    with pytest.raises(UnsupportedError, match="no integer form"):
        lilliput.quantize(network(frames), sounds(frames, 4), Quantization())

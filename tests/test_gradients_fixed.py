"""Gradients that pass back in little: rounded to 16-bit numbers, in place, through bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.test_programs import CORE, prove_everywhere

from lilliput.devices.device import load
from lilliput.emu.prove import Call
from lilliput.emu.toolchain import Toolchain
from lilliput.errors import CertificateError, GraphError, UsageError
from lilliput.ir import Array, Builder, DType, Module, TensorType, Value
from lilliput.ir.types import f32, s8
from lilliput.ops.clipping import keep_bits
from lilliput.ops.conv_back import ConvBack, conv2d_grad_x, rounded_sums
from lilliput.ops.rounded import packed, round_pixels, rounded, steps, unpacked, width
from lilliput.plan.build import plan
from lilliput.plan.check import check
from lilliput.plan.program import Program
from lilliput.train.optimisers import Optimiser

RNG = np.random.default_rng(3)


def weights(b: Builder, name: str, *shape: int) -> Value:
    drawn = RNG.integers(-127, 128, shape).astype(np.int8)
    return b.param(name, drawn, s8(*shape, scale=0.02).quant)


def proven(module: Module, compiler: Toolchain, *calls: dict[str, Array]) -> Program:
    program = plan(module, load(CORE))
    prove_everywhere(module, program, [Call("infer", c) for c in calls], compiler)
    return program


# Rounded ----------------------------------------------------------------------------------


@given(st.integers(1, 300), st.integers(1, 9), st.floats(-12, 12), st.integers(0, 2**32 - 1))
def test_a_rounded_gradient_is_off_by_half_a_step_a_weight(
    channels: int, inputs: int, exponent: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    dy = (rng.normal(size=(3, channels)) * 10.0**exponent).astype(np.float32)
    w = rng.integers(-128, 128, (channels, 1, 1, inputs)).astype(np.int8)
    true = dy.astype(np.float64) @ w[:, 0, 0]
    size = np.abs(w[:, 0, 0].astype(np.float64)).sum(0)
    half = np.abs(dy).max(-1, keepdims=True) / (2.0 * steps(channels))
    # three float32 operations of the order of the largest sum
    slack = 2.0**-22 * (np.abs(true) + half * size * 2 * steps(channels))
    assert (np.abs(rounded_sums(dy, w) - true) <= half * size + slack).all()


def test_sums_of_the_largest_numbers_fit() -> None:
    for channels in (1, 5, 512, 513, 4096, 1 << 14):
        assert steps(channels) * 128 * channels < 1 << 31
        assert steps(channels) >= 1023
    dy = np.full((1, 16384), 7.5, np.float32)
    w = np.full((16384, 1, 1, 1), -128, np.int8)
    assert rounded_sums(dy, w)[0, 0] == np.float32(7.5 * 16384 * -128)


@given(st.integers(1, 70), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_what_was_rounded_before_has_the_same_sums(channels: int, inputs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = np.float32(10.0) ** rng.integers(-40, 39, (4, 1))
    dy = (rng.uniform(-1, 1, (4, channels)) * sizes).astype(np.float32)
    dy[0, 0] = rng.choice([0, np.inf, -np.inf, np.nan])
    w = rng.integers(-128, 128, (channels, 1, 1, inputs)).astype(np.int8)
    numbers, step = rounded(dy)
    pixels = packed(numbers, step)
    assert pixels.shape == (4, width(channels))
    again, same = unpacked(pixels, channels)
    assert np.array_equal(again, numbers)
    assert same.tobytes() == step.tobytes()
    assert rounded_sums(pixels, w).tobytes() == rounded_sums(dy, w).tobytes()


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("channels", [7, 24])
def test_pixels_of_nothing_and_of_no_numbers(
    channels: int, before: bool, host_compiler: Toolchain
) -> None:
    """Zeros and what is too small give 0, an infinity or a NaN gives NaN to its pixel alone; the
    weights packed and, of seven input channels, as they lie; rounded by itself and before."""
    b = Builder(names=set())
    dy = b.input("dy", f32(1, 2, 3, 5))
    w = weights(b, "w", 5, 1, 1, channels)
    read = b.add(round_pixels, (dy,)) if before else dy
    module = b.module([b.add(conv2d_grad_x, (read, w), ConvBack((2, 3), fixed=True), name="dx")])
    given_dy = RNG.normal(size=dy.type.shape).astype(np.float32)
    given_dy[0, 0, 0] = 0
    given_dy[0, 0, 1] = 3e-31
    given_dy[0, 1, 1, 2] = np.inf
    given_dy[0, 1, 2, 4] = np.nan
    program = plan(module, load(CORE))
    proof = prove_everywhere(module, program, [Call("infer", {"dy": given_dy})], host_compiler)
    dx = proof.expected[0].outputs["dx"]
    assert (dx[0, 0, :2] == 0).all()
    assert np.isfinite(dx[0, 0, 2]).all()
    assert (dx[0, 0, 2] != 0).any()
    assert np.isfinite(dx[0, 1, 0]).all()
    assert np.isnan(dx[0, 1, 1:]).all()
    assert program.entries[0].steps
    *_, call = program.entries[0].calls()
    assert before or ("_twos" in call.kernel.name) == (channels % 4 == 0)


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("size", [(3, 5), (2, 2)])
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(("outputs", "inputs"), [(32, 24), (33, 20), (34, 28), (35, 23)])
def test_weights_are_widened_once_for_several_fours_of_pixels(
    size: tuple[int, int],
    first: int,
    outputs: int,
    inputs: int,
    before: bool,
    host_compiler: Toolchain,
) -> None:
    """The last four is not whole; from an even row of weights packed by twos, else as they lie."""
    b = Builder(names=set())
    dy = b.input("dy", f32(1, *size, outputs))
    w = weights(b, "w", outputs + first, 1, 1, inputs)
    attrs = ConvBack(size, fixed=True, outputs=(first, outputs) if first else (0, 0))
    read = b.add(round_pixels, (dy,)) if before else dy
    module = b.module([b.add(conv2d_grad_x, (read, w), attrs, name="dx")])
    program = proven(module, host_compiler, drawn(module), drawn(module))
    *_, call = program.entries[0].calls()
    twos = "_twos" if first % 2 == 0 and inputs % 4 == 0 else ""
    several = "_wide" if size[0] * size[1] > 4 else ""
    assert call.kernel.name == f"conv2d_grad_x_fixed{twos}{several}"


def test_only_products_of_int8_weights_are_rounded() -> None:
    b = Builder(names=set())
    dy = b.input("dy", f32(1, 4, 4, 3))
    with pytest.raises(GraphError, match="rounded"):
        b.add(conv2d_grad_x, (dy, weights(b, "w", 3, 3, 3, 2)), ConvBack((6, 6), fixed=True))
    with pytest.raises(UsageError, match="gradients"):
        Optimiser(gradients="int4")


# In place ---------------------------------------------------------------------------------


def depthwise(window: int, stride: int = 1) -> Module:
    """1x1, bits, depthwise, bits, 1x1 backwards, on maps of 4 x 4 (or 8 x 8) and 20 channels."""
    b = Builder(names=set())
    size = 4 * stride
    dy = b.input("dy", f32(1, 4, 4, 6))
    below = b.input("below", TensorType((1, 4, 4, 3), DType.U8))
    above = b.input("above", TensorType((1, size, size, 3), DType.U8))
    wide = b.add(
        conv2d_grad_x, (dy, weights(b, "wp", 6, 1, 1, 20)), ConvBack((4, 4), fixed=True), name="a"
    )
    kept = b.add(keep_bits, (wide, below), name="b")
    half = window // 2
    attrs = ConvBack((size, size), (stride, stride), pad=(half, half, half, half), groups=20)
    through = b.add(conv2d_grad_x, (kept, weights(b, "wd", 20, window, window, 1)), attrs, name="c")
    again = b.add(keep_bits, (through, above), name="d")
    last = ConvBack((size, size), fixed=True)
    dx = b.add(conv2d_grad_x, (again, weights(b, "we", 20, 1, 1, 6)), last, name="dx")
    return b.module([dx], name="block")


def drawn(module: Module) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for value in module.inputs("infer"):
        shape = value.type.shape
        if value.type.dtype is DType.U8:
            found[value.name] = RNG.integers(0, 256, shape).astype(np.uint8)
        else:
            found[value.name] = RNG.normal(size=shape).astype(np.float32)
    return found


@pytest.mark.parametrize("window", [3, 5, 7])
def test_a_depthwise_gradient_takes_the_place_of_what_it_is_made_from(
    window: int, host_compiler: Toolchain
) -> None:
    module = depthwise(window)
    program = proven(module, host_compiler, drawn(module), drawn(module))
    first, middle, _ = program.entries[0].calls()
    assert middle.kernel.name == "conv2d_grad_x_plane"
    assert middle.output.buffer == first.output.buffer
    assert [[n.op.name for n in c.fused] for c in (first, middle)] == [["keep_bits"]] * 2


def test_one_of_another_size_has_a_place_of_its_own(host_compiler: Toolchain) -> None:
    module = depthwise(3, stride=2)
    program = proven(module, host_compiler, drawn(module))
    assert [c.kernel.name for c in program.entries[0].calls()][1] == "conv2d_grad_x_copied"
    buffers = {c.output.buffer for c in program.entries[0].calls()}
    assert len(buffers) == 3


def test_a_place_that_is_read_again_is_not_taken(host_compiler: Toolchain) -> None:
    b = Builder(names=set())
    dy = b.input("dy", f32(1, 4, 4, 5))
    x = b.add(keep_bits, (dy, b.input("bits", TensorType((1, 4, 4, 1), DType.U8))), name="x")
    attrs = ConvBack((4, 4), pad=(1, 1, 1, 1), groups=5)
    y = b.add(conv2d_grad_x, (x, weights(b, "w", 5, 3, 3, 1)), attrs, name="y")
    module = b.module([x, y], name="twice")
    program = proven(module, host_compiler, drawn(module))
    assert len({c.output.buffer for c in program.entries[0].calls()}) == 2


def test_only_a_kernel_that_says_so_may_take_a_place() -> None:
    device = load(CORE)
    direct = {m.name: m.direct for m in device.memories}
    program = plan(depthwise(3), device)
    entry = program.entries[0]
    check(program, direct)
    first, middle, last = entry.calls()
    other = replace(middle, kernel=replace(middle.kernel, in_place=False))
    wrong = replace(program, entries=(replace(entry, steps=(first, other, last)),))
    with pytest.raises(CertificateError, match="still reads"):
        check(wrong, direct)

"""Winograd's convolution in integers: exact for every shape, on the host and in assembly; refused
where four times a sum could leave 32 bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.kernel_harness import build, run_kernel
from tests.kernel_harness import program as harness
from tests.samples import sample_module

from lilliput.devices.device import cores
from lilliput.emu.machine import emulation_device
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import find
from lilliput.ir import Array, Builder, Module, Node, Quant
from lilliput.ir.op import Sample
from lilliput.ir.types import DType, TensorType, s8, s32
from lilliput.ops.conv import Conv2d, conv2d
from lilliput.ops.winograd import WINOGRAD, WINOGRAD_2X2
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.program import Loop
from lilliput.plan.select import Task, select

ONLY = replace(conv2d, kernels=(WINOGRAD,))
"""The operator with no other kernel to choose."""
DSP_CORES = (
    "cortex-m4",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("cortex-m7", "cortex-m33")),
)


def sample(
    x: tuple[int, int, int, int], out: int, pad: tuple[int, int, int, int], seed: int = 0
) -> Sample:
    """A convolution of x (N,H,W,I) to `out` channels; scales and zero points from the seed."""
    rng = np.random.default_rng(seed)
    count = out if rng.random() < 0.5 else 1
    scales = tuple(float(s) for s in rng.uniform(0.002, 0.02, count).astype(np.float32))
    w = TensorType(
        (out, 3, 3, x[3]), DType.S8, Quant(scales, (0,) * count, 0 if count > 1 else None)
    )
    zero_x, zero_y = (int(z) for z in rng.choice([-128, -5, 0, 127], 2))
    rows, columns = x[1] + pad[0] + pad[1] - 2, x[2] + pad[2] + pad[3] - 2
    return Sample(
        (s8(*x, scale=0.05, zero_point=zero_x), w, s32(out)),
        Conv2d(pad=pad),
        (s8(x[0], rows, columns, out, scale=float(rng.choice([0.01, 0.3])), zero_point=zero_y),),
        params=(1, 2),
    )


def random_samples(count: int, seed: int) -> tuple[Sample, ...]:
    rng = np.random.default_rng(seed)
    made: list[Sample] = []
    while len(made) < count:
        top, bottom, left, right = (int(p) for p in rng.integers(0, 3, 4))
        h = int(rng.integers(max(3 - top - bottom, 1), 10))
        w = int(rng.integers(max(3 - left - right, 1), 21))
        n, channels, out = (int(c) for c in rng.integers(1, (3, 20, 14)))
        pad = (top, bottom, left, right)
        made.append(sample((n, h, w, channels), out, pad, len(made)))
    return tuple(made)


DEEP = tuple(
    sample((1, 4, 9, channels), 3, (1, 1, 1, 1), channels)
    for channels in (1, 4, 7, 16, 19, 32, 36, 64, 68, 100, 136)
)
"""Channels of one pass of the loop in assembly and of several, of which the first is a part."""


def one_layer(w: Array, zero_point: int = -128) -> Module:
    b = Builder()
    x = b.input("x", s8(1, 4, 8, w.shape[3], scale=0.1, zero_point=zero_point))
    weights = b.param("w", w, Quant.per_tensor(0.01))
    bias = b.param("b", np.arange(w.shape[0], dtype=np.int32) * 1000)
    type = s8(1, 4, 8, w.shape[0], scale=20.0)
    return b.module((b.add(ONLY, (x, weights, bias), Conv2d(pad=(1, 1, 1, 1)), type=type),))


def node_of(module: Module) -> Node:
    return module.graphs["infer"].nodes[-1]


@pytest.mark.parametrize("shape", [(1, 1), (2, 4), (5, 7), (16, 12), (3, 136)])
def test_weights_come_back_from_what_is_stored(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape[1])
    w = rng.integers(-128, 128, (shape[0], 3, 3, shape[1])).astype(np.int8)
    w.flat[:9] = -128
    packed = WINOGRAD_2X2.pack(w)
    assert packed.dtype == np.int16
    assert packed.size == -(-shape[0] // 2) * 2 * 16 * -(-shape[1] // 4) * 4
    assert np.array_equal(WINOGRAD_2X2.unpack(packed, s8(*w.shape)), w)


@pytest.mark.parametrize("count", [8, pytest.param(24, marks=pytest.mark.slow)])
def test_any_part_of_any_shape_is_exact(count: int, tmp_path: Path) -> None:
    binary, every = harness(replace(ONLY, samples=random_samples(count, 0)), "gcc", tmp_path)
    assert len(every) == count
    for which, case in enumerate(every):
        for seed in range(4):
            run_kernel(binary, case, which, seed, tmp_path)


@pytest.mark.unicorn
@pytest.mark.parametrize("core", DSP_CORES)
def test_assembly_equals_the_reference(core: str) -> None:
    device = emulation_device(cores()[core])
    module, calls = sample_module(ONLY, (*DEEP, *random_samples(8, 1)))
    target = (find(device.core), device)
    proof = prove(module, plan(module, device), calls, hosts=[], target=target)
    assert proof.exact, str(proof.difference)


@pytest.mark.unicorn
@pytest.mark.parametrize("channels", [3, 64, 132])
def test_the_largest_numbers_are_exact(channels: int) -> None:
    device = emulation_device(cores()["cortex-m4"])
    signs = np.indices((4, 3, 3, channels)).sum(0) % 2
    for w in (np.full(signs.shape, -128), np.full(signs.shape, 127), np.where(signs, 127, -128)):
        module = one_layer(w.astype(np.int8))
        odd = np.indices((1, 4, 8, channels)).sum(0) % 2
        inputs = (np.full(odd.shape, 127), np.full(odd.shape, -128), np.where(odd, 127, -128))
        calls = [Call("infer", {"x": x.astype(np.int8)}) for x in inputs]
        target = (find(device.core), device)
        proof = prove(module, plan(module, device), calls, hosts=[], target=target)
        assert proof.exact, str(proof.difference)


@pytest.mark.unicorn
@pytest.mark.parametrize("height", [6, 9])
def test_rows_in_rings_are_exact(height: int) -> None:
    """Two layers in one loop, two rows at a time, of an even and an odd number of rows."""
    rng = np.random.default_rng(height)
    b = Builder()
    x = value = b.input("x", s8(1, height, 9, 5, scale=0.1, zero_point=3))
    for name in ("h", "y"):
        w = rng.integers(-128, 128, (8, 3, 3, value.type.shape[3])).astype(np.int8)
        weights = b.param(f"{name}_w", w, Quant.per_tensor(0.01))
        type = s8(1, height, 9, 8, scale=1.5, zero_point=-20)
        value = b.add(ONLY, (value, weights), Conv2d(pad=(1, 1, 1, 1)), type=type, name=name)
    module = b.module((value,))
    device = emulation_device(cores()["cortex-m4"])
    whole = plan(module, device)
    streamed = plan(module, device, PlanOptions(streams=(("h", "y"),)))
    assert any(isinstance(step, Loop) for step in streamed.entries[0].steps)
    calls = [Call("infer", {"x": rng.integers(-128, 128, x.type.shape).astype(np.int8)})]
    for program in (whole, streamed):
        proof = prove(module, program, calls, hosts=[], target=(find(device.core), device))
        assert proof.exact, str(proof.difference)


def test_sums_that_leave_32_bits_are_refused() -> None:
    assert WINOGRAD.proof is not None
    small, large = (np.full((1, 3, 3, channels), -128, np.int8) for channels in (64, 1830))
    bias = np.zeros(1, np.int32)
    for w, b, said in (
        (small, bias, None),
        (small, bias + (1 << 29), "four times a sum of up to 555,745,280"),
        (large, bias, "four times a sum of up to 539,688,960"),
    ):
        found = WINOGRAD.proof(node_of(one_layer(w)), {"w": w, "b": b})
        assert found == (said and f"{said} does not fit in 32 bits")
    assert WINOGRAD.proof(node_of(one_layer(small)), {}) == "nothing is known of the weights"


@pytest.mark.parametrize(
    ("attrs", "kernel", "groups"),
    [
        (Conv2d(stride=(1, 2), pad=(1, 1, 1, 1)), (3, 3), 1),
        (Conv2d(dilation=(2, 1), pad=(2, 2, 1, 1)), (3, 3), 1),
        (Conv2d(pad=(1, 1, 1, 1), groups=2), (3, 3), 2),
        (Conv2d(pad=(1, 1, 1, 1)), (3, 2), 1),
    ],
)
def test_other_windows_are_refused(attrs: Conv2d, kernel: tuple[int, int], groups: int) -> None:
    w = s8(4, *kernel, 8 // groups, scale=0.01)
    node = build(conv2d, Sample((s8(1, 8, 8, 8, scale=0.1), w), attrs))
    said = "more than one group" if groups > 1 else "not 3x3 with stride and dilation 1"
    assert WINOGRAD.accepts(node) == said


def test_only_a_core_that_has_the_instructions_is_offered_it() -> None:
    module, _ = sample_module(conv2d, (sample((1, 16, 16, 16), 16, (1, 1, 1, 1)),))
    graph = module.graphs["case0"]
    for core, said in (("cortex-m4", "predicted cycles"), ("cortex-m3", "cortex-m3 lacks dsp")):
        (task,) = select(graph, module.params, core=core, keep=frozenset()).items
        assert isinstance(task, Task)
        reasons = dict(task.rejected)
        assert task.kernel is WINOGRAD or said in reasons["winograd"]

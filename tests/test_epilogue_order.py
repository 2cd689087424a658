"""Residuals in the output's bytes: kernels that store several pixels at a time need them behind.

What went wrong once: an addition in the epilogue of a tiled product read a residual that the tile's
earlier channels had been written over.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lilliput.devices.device import load
from lilliput.emu.prove import Call as Run
from lilliput.emu.prove import prove
from lilliput.emu.toolchain import Toolchain
from lilliput.errors import CertificateError
from lilliput.ir import Builder, Module, Quant, Value
from lilliput.ir.types import DType, TensorType, s8
from lilliput.ops.conv import Conv2d, conv2d
from lilliput.ops.elementwise import add
from lilliput.ops.registry import get
from lilliput.ops.shape import Concat
from lilliput.plan.build import plan
from lilliput.plan.check import check
from lilliput.plan.program import Call, Program

CHANNELS = 12
OUTPUT = "infer/y"


def residual() -> Module:
    """y = conv(h) + r, of which r dies in that step."""
    rng = np.random.default_rng(3)
    b = Builder()

    def weights(name: str, inputs: int) -> tuple[Value, Value]:
        w = rng.integers(-127, 128, (CHANNELS, 1, 1, inputs)).astype(np.int8)
        bias = rng.integers(-900, 900, CHANNELS).astype(np.int32)
        quant = Quant((0.01,) * CHANNELS, (0,) * CHANNELS, 0)
        return b.param(name, w, quant), b.param(f"{name}_bias", bias)

    x = b.input("x", s8(1, 3, 6, 20, scale=0.05, zero_point=3))
    shape = (1, 3, 6, CHANNELS)
    r = b.add(conv2d, (x, *weights("w1", 20)), Conv2d(), type=s8(*shape, scale=0.2), name="r")
    h = b.add(conv2d, (x, *weights("w2", 20)), Conv2d(), type=s8(*shape, scale=0.3), name="h")
    c = b.add(conv2d, (h, *weights("w3", CHANNELS)), Conv2d(), type=s8(*shape, scale=0.2), name="c")
    y = b.add(add, (c, r), type=s8(*shape, scale=0.4), name="y")
    return b.module((y,), name="residual")


def last(program: Program) -> Call:
    *_, call = program.entries[0].calls()
    assert call.fused
    assert call.kernel.ahead(call.node) > 0
    return call


def test_the_residual_lies_as_far_behind_as_the_kernel_is_ahead(host_compiler: Toolchain) -> None:
    module = residual()
    program = plan(module, load("cortex-m4"))
    call = last(program)
    pictures = np.random.default_rng(1).integers(-128, 128, (3, 1, 3, 6, 20)).astype(np.int8)
    runs = [Run("infer", {"x": picture}) for picture in pictures]
    proof = prove(module, program, runs, hosts=[host_compiler])
    assert proof.exact, str(proof.difference)
    operand = next(v for v in call.inputs if v.root == "r")
    out, behind = (program.buffers[v.buffer].offset or 0 for v in (call.output, operand))
    size = program.buffers[call.output.buffer].nbytes
    assert behind - out >= call.kernel.ahead(call.node) * CHANNELS or behind + size <= out


@pytest.mark.parametrize("distance", [1, CHANNELS, 3 * CHANNELS])
def test_a_residual_that_is_too_near_is_refused(distance: int) -> None:
    program = plan(residual(), load("cortex-m4"))
    operand = next(v for v in last(program).inputs if v.root == "r").buffer
    spread = {
        name: b if b.offset is None else replace(b, offset=4096 * (k + 1), align=1)
        for k, (name, b) in enumerate(program.buffers.items())
    }
    apart = replace(program, buffers=spread, arenas={"ram": 1 << 20})
    check(apart, {"ram": True, "flash": True})
    near = replace(spread[operand], offset=(spread[OUTPUT].offset or 0) + distance)
    with pytest.raises(CertificateError, match="epilogue has not read"):
        check(replace(apart, buffers={**spread, operand: near}), {"ram": True, "flash": True})


def test_two_slices_of_a_joined_map_lie_beside_each_other(host_compiler: Toolchain) -> None:
    """A selection reads one slice of a concatenation and writes another, pixel beside pixel."""
    b, f = Builder(), TensorType((4, 3, 3), DType.F32)
    x, mask = b.input("x", f), b.input("mask", TensorType((4, 3, 3), DType.BOOL))
    last = b.input("last", TensorType((4, 3, 1), DType.F32))
    first = b.add(get("sin"), (x,), type=f)
    middle = b.add(get("select"), (mask, first, first), type=f)
    y = b.add(get("concat"), (first, last, middle), Concat(axis=2), name="y")
    module = b.module((y,), name="joined")
    program = plan(module, load("cortex-m4"))
    assert {c.output.root for c in program.entries[0].calls()} == {"y"}
    rng = np.random.default_rng(2)
    inputs = {
        "x": rng.normal(size=(4, 3, 3)).astype(np.float32),
        "mask": rng.integers(0, 2, (4, 3, 3)).astype(bool),
        "last": rng.normal(size=(4, 3, 1)).astype(np.float32),
    }
    proof = prove(module, program, [Run("infer", inputs)], hosts=[host_compiler])
    assert proof.exact, str(proof.difference)

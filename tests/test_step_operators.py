"""Operators of a training step in programs: updates in place, gradients that stream.

One by one they are driven by their samples, like every other operator.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.samples import random_array
from tests.test_programs import CORE, prove_everywhere

from lilliput.devices.device import load
from lilliput.emu.prove import Call
from lilliput.emu.toolchain import Toolchain
from lilliput.ir import Builder, Module, Value
from lilliput.ir.types import f32, s8
from lilliput.ops.conv_back import ConvBack, conv2d_grad_x
from lilliput.ops.conv_grads import ConvGrad, conv2d_grad_w
from lilliput.ops.elementwise import mul
from lilliput.ops.pool import Pool, max_pool2d
from lilliput.ops.pool_grads import max_pool2d_grad
from lilliput.ops.shape import Broadcast, broadcast
from lilliput.ops.update import sgd
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.program import Call as Step
from lilliput.plan.program import Kind, Loop, Program

SAME = (1, 1, 1, 1)
UPDATES = {
    "pointwise": (ConvGrad((1, 1)), (4, 5, 16), (4, 5, 9), "conv2d_grad_w_floats"),
    "depthwise": (ConvGrad((3, 3), pad=SAME, groups=7), (6, 5, 7), (6, 5, 7), "conv2d_grad_w_rows"),
    "few": (ConvGrad((3, 2), (2, 1)), (7, 5, 3), (3, 4, 5), "conv2d_grad_w_rows"),
    "general": (
        ConvGrad((3, 3), (1, 2), (1, 1), SAME),
        (4, 9, 6),
        (4, 5, 5),
        "conv2d_grad_w_floats",
    ),
    "carried": (ConvGrad((3, 3), pad=SAME, carried=True), (6, 5, 2), (6, 5, 3), "conv2d_grad_w"),
}


def calls_of(module: Module, entry: str, count: int) -> list[Call]:
    rng = np.random.default_rng(5)
    inputs = module.inputs(entry)
    return [Call(entry, {v.name: random_array(rng, v.type) for v in inputs}) for _ in range(count)]


def updating(kind: str) -> Module:
    """`train`: an int8 weight less rate * gradient / scale, the weight being a state."""
    attrs, x_shape, dy_shape, _ = UPDATES[kind]
    b = Builder(names=set())
    x = b.input("x", s8(1, *x_shape, scale=0.1, zero_point=-4))
    dy = b.input("dy", f32(1, *dy_shape))
    dw = b.add(conv2d_grad_w, (x, dy), attrs, name="dw")
    start = np.random.default_rng(1).integers(-127, 128, dw.type.shape).astype(np.int8)
    w = b.state("w", s8(*dw.type.shape, scale=0.02), start)
    rates = b.param("rates", np.full((*dw.type.shape[:2], 1, 1), 0.125, np.float32))
    step = b.add(mul, (dw, rates), name="step")
    new = b.add(sgd, (w, step), type=w.type, name="w/new")
    states = {"w": replace(b.states["w"], updates={"train": new})}
    return Module({"train": b.graph([new])}, b.params, states, "updates")


@pytest.mark.parametrize("kind", UPDATES)
def test_gradient_scale_and_update_are_one_step_in_place(
    kind: str, host_compiler: Toolchain
) -> None:
    """No gradient of the weight is ever in memory, nor a second weight."""
    module = updating(kind)
    program = plan(module, load(CORE))
    (step,) = program.entries[0].calls()
    assert step.kernel.name == UPDATES[kind][-1]
    assert [n.op.name for n in step.fused] == ["mul", "sgd"]
    assert step.output.buffer == "w"
    made = {n for n, buffer in program.buffers.items() if buffer.kind is Kind.ARENA}
    assert made - {"train/x", "train/dy"} == ({step.scratch.buffer} if step.scratch else set())
    prove_everywhere(module, program, calls_of(module, "train", 3), host_compiler)


@pytest.mark.parametrize("kind", UPDATES)
def test_a_tap_in_the_padding_adds_nothing(kind: str, host_compiler: Toolchain) -> None:
    """Not even of a gradient that is infinite: only the taps that read something become so."""
    attrs, x_shape, dy_shape, _ = UPDATES[kind]
    b = Builder(names=set())
    x, dy = b.input("x", f32(1, *x_shape)), b.input("dy", f32(1, *dy_shape))
    module = b.module([b.add(conv2d_grad_w, (x, dy), attrs, name="dw")], name="infinite")
    gradient = np.ones(dy.type.shape, np.float32)
    gradient[0, 0, 0] = np.inf
    given = {"x": np.ones(x.type.shape, np.float32), "dy": gradient}
    program = plan(module, load(CORE))
    proof = prove_everywhere(module, program, [Call("infer", given)], host_compiler)
    dw = proof.expected[0].outputs["dw"]
    assert np.isinf(dw[:, -1, -1]).all()
    assert np.isfinite(dw[:, 0, 0]).all() == any(attrs.pad)


def test_a_state_that_a_gradient_is_made_of_is_not_overwritten_meanwhile(
    host_compiler: Toolchain,
) -> None:
    """The state is both what the kernel reads and what its epilogue moves: it is copied at the
    end."""
    b = Builder(names=set())
    x = b.state("x", s8(1, 3, 3, 2, scale=0.1), np.arange(18, dtype=np.int8).reshape(1, 3, 3, 2))
    dy = b.input("dy", f32(1, 3, 1, 1))
    dw = b.add(conv2d_grad_w, (x, dy), ConvGrad((1, 3)), name="dw")
    step = b.add(broadcast, (dw,), Broadcast((1, 3, 3, 2)), name="step")
    new = b.add(sgd, (x, step), type=x.type, name="x/new")
    states = {"x": replace(b.states["x"], updates={"train": new})}
    module = Module({"train": b.graph([new])}, b.params, states, "kept")
    prove_everywhere(module, plan(module, load(CORE)), calls_of(module, "train", 2), host_compiler)


# Streams ----------------------------------------------------------------------------------


def _weights(b: Builder, name: str, *shape: int) -> Value:
    drawn = np.random.default_rng(len(name)).integers(-127, 128, shape).astype(np.int8)
    return b.param(name, drawn, s8(*shape, scale=0.02).quant)


def backward() -> Module:
    """An inverted residual block, backwards: 1x1, depthwise of stride 2, 1x1 and 3x3."""
    b = Builder(names=set())
    dy = b.input("dy", f32(1, 6, 5, 4))
    a = b.add(conv2d_grad_x, (dy, _weights(b, "wa", 4, 1, 1, 8)), ConvBack((6, 5)), name="a")
    window = ConvBack((12, 10), (2, 2), pad=SAME, groups=8)
    d = b.add(conv2d_grad_x, (a, _weights(b, "wd", 8, 3, 3, 1)), window, name="d")
    e = b.add(conv2d_grad_x, (d, _weights(b, "we", 8, 1, 1, 3)), ConvBack((12, 10)), name="e")
    g = b.add(
        conv2d_grad_x, (e, _weights(b, "wg", 3, 3, 3, 2)), ConvBack((12, 10), pad=SAME), name="g"
    )
    return b.module([g], name="backward")


def _loop(program: Program) -> Loop:
    (loop,) = program.entries[0].steps
    assert isinstance(loop, Loop)
    return loop


def test_gradients_stream_row_by_row(host_compiler: Toolchain) -> None:
    module = backward()
    streamed = plan(module, load(CORE), PlanOptions(streams=(("a", "d", "e", "g"),)))
    steps = [t.step for t in _loop(streamed).body if isinstance(t.step, Step)]
    assert [s.kernel.name for s in steps] == [
        "conv2d_grad_x_twos",
        "conv2d_grad_x_copied",
        "conv2d_grad_x_tiles",
        "conv2d_grad_x",
    ]
    rings = {s.output.root: s.output.ring for s in steps}
    # three rows of e reach one of g; of a two reach one of d, and the next one is made meanwhile
    assert rings == {"a": 3, "d": 1, "e": 3, "g": None}
    assert streamed.arenas["ram"] < plan(module, load(CORE)).arenas["ram"]
    prove_everywhere(module, streamed, calls_of(module, "infer", 3), host_compiler)


@pytest.mark.parametrize("pad", [(0, 0, 0, 0), (1, 0, 1, 1)])
def test_each_window_of_a_pool_gives_its_gradient_to_one_tap(
    pad: tuple[int, int, int, int], host_compiler: Toolchain
) -> None:
    """Of maps with many equal elements; the sum of all gradients is kept."""
    b = Builder(names=set())
    x = b.input("x", s8(1, 9, 7, 5, scale=0.1, zero_point=3))
    pool = Pool((3, 3), (2, 2), pad)
    y = b.add(max_pool2d, (x,), pool, name="y")
    dy = b.input("dy", f32(*y.type.shape))
    dx = b.add(max_pool2d_grad, (x, y, dy), pool, name="dx")
    module = b.module([dx], name="pooled")
    rng = np.random.default_rng(2)
    given = [
        {
            "x": rng.integers(-2, 2, x.type.shape).astype(np.int8),
            "dy": rng.integers(1, 9, y.type.shape).astype(np.float32),
        }
        for _ in range(3)
    ]
    program = plan(module, load(CORE), PlanOptions(streams=(("y", "dx"),)))
    proof = prove_everywhere(module, program, [Call("infer", g) for g in given], host_compiler)
    for run, inputs in zip(proof.expected, given, strict=True):
        assert run.outputs["dx"].sum() == inputs["dy"].sum()
        assert np.count_nonzero(run.outputs["dx"]) <= inputs["dy"].size


def test_a_streamed_gradient_that_is_carried_needs_no_map(host_compiler: Toolchain) -> None:
    """Rows of dx are made, and summed into dw of the layer in front, while x lies there."""
    b = Builder(names=set())
    x = b.input("x", s8(1, 8, 6, 3, scale=0.1, zero_point=7))
    dy = b.input("dy", f32(1, 8, 6, 4))
    dx = b.add(conv2d_grad_x, (dy, _weights(b, "w", 4, 1, 1, 5)), ConvBack((8, 6)), name="dx")
    attrs = ConvGrad((3, 3), pad=SAME, carried=True)
    dw = b.add(conv2d_grad_w, (x, dx), attrs, name="dw")
    module = b.module([dw], name="carried")
    program = plan(module, load(CORE), PlanOptions(streams=(("dx", "dw"),)))
    rings = {c.output.root: c.output.ring for c in program.entries[0].calls()}
    assert rings["dx"] == 1
    prove_everywhere(module, program, calls_of(module, "infer", 2), host_compiler)

"""Four hand-built programs that the structure rests on: streaming, training, state over time,
and a second memory.  Each is planned, certified, emitted, and exact everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from tests.samples import random_array

from lilliput.codegen.emit import emit
from lilliput.devices.device import Device, Memory, load
from lilliput.emu.machine import emulation_device
from lilliput.emu.prove import Call, Proof, prove
from lilliput.emu.toolchain import Toolchain, find
from lilliput.errors import CertificateError, PlanError, UsageError
from lilliput.ir import Builder, Module, Param, Quant, State, Value, verify
from lilliput.ir.interp import Session
from lilliput.ir.types import Array, f32, s8
from lilliput.ops.conv import Conv2d, Linear, conv2d, linear
from lilliput.ops.conv_grads import ConvGrad, conv2d_grad_w
from lilliput.ops.elementwise import add, mul, sub
from lilliput.ops.frame import ResizeNearest, resize_nearest
from lilliput.ops.recurrent import Push, push
from lilliput.ops.reduce import Reduction, mean
from lilliput.ops.shape import (
    Broadcast,
    Concat,
    Reshape,
    Slice,
    Transpose,
    broadcast,
    concat,
    reshape,
    slice_,
    transpose,
)
from lilliput.ops.softmax import Softmax, softmax
from lilliput.ops.training import softmax_cross_entropy
from lilliput.ops.unary import tanh
from lilliput.passes.canonicalize import Canonicalize
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.check import check
from lilliput.plan.objective import Optimize, predicted
from lilliput.plan.partition import worth
from lilliput.plan.program import Advance, Copy, Kind, Loop, Program, View, Wait
from lilliput.plan.program import Call as KernelCall
from lilliput.report import summarize

CORE = "cortex-m4"


def prove_everywhere(
    module: Module,
    program: Program,
    calls: Sequence[Call],
    host: Toolchain,
    device: Device | None = None,
) -> Proof:
    """Exact on the host under sanitizers, with dead bytes poisoned, and on the core."""
    device = device or load(CORE)
    if device.name == CORE:
        device = emulation_device(device.core)
    target = (find(device.core), device)
    proof = prove(module, program, calls, hosts=[host], target=target)
    assert proof.exact, str(proof.difference)
    assert len(proof.ways) == 3
    assert all(w.tensors > 0 for w in proof.ways)
    measured = proof.ways[-1].measured
    assert measured is not None
    assert measured.guard_intact
    assert sum(measured.arena_bytes) <= sum(program.arenas.values())
    return proof


def weights(b: Builder, name: str, *shape: int, seed: int = 0) -> Value:
    rng = np.random.default_rng([seed, *name.encode()])
    data = rng.integers(-127, 127, shape, endpoint=True).astype(np.int8)
    scales = tuple(float(np.float32(0.003 + 0.001 * (k % 5))) for k in range(shape[0]))
    return b.param(name, data, Quant(scales, (0,) * shape[0], 0))


def bias(b: Builder, name: str, count: int) -> Value:
    rng = np.random.default_rng([1, *name.encode()])
    return b.param(name, rng.integers(-3000, 3000, count).astype(np.int32))


# 1. streaming -----------------------------------------------------------------------------


def inverted_residual() -> Module:
    """conv 3x3 - conv 3x3 stride 2 - depthwise 3x3 - 1x1 - residual add, odd sizes, borders."""
    b = Builder(names=set())
    x = b.input("x", s8(1, 13, 11, 3, scale=0.05, zero_point=4))
    pad = (1, 1, 1, 1)
    a = b.add(
        conv2d,
        (x, weights(b, "wa", 8, 3, 3, 3), bias(b, "ba", 8)),
        Conv2d(pad=pad),
        type=s8(1, 13, 11, 8, scale=0.11, zero_point=-7),
        name="a",
    )
    s = b.add(
        conv2d,
        (a, weights(b, "ws", 6, 3, 3, 8), bias(b, "bs", 6)),
        Conv2d(stride=(2, 2), pad=pad),
        type=s8(1, 7, 6, 6, scale=0.11, zero_point=-7),
        name="s",
    )
    d = b.add(
        conv2d,
        (s, weights(b, "wd", 6, 3, 3, 1), bias(b, "bd", 6)),
        Conv2d(pad=pad, groups=6),
        type=s8(1, 7, 6, 6, scale=0.11, zero_point=-7),
        name="d",
    )
    p = b.add(
        conv2d,
        (d, weights(b, "wp", 6, 1, 1, 6), bias(b, "bp", 6)),
        Conv2d(),
        type=s8(1, 7, 6, 6, scale=0.11, zero_point=-7),
        name="p",
    )
    y = b.add(add, (p, s), type=s8(1, 7, 6, 6, scale=0.2, zero_point=3), name="y")
    return b.module([y], name="streamed")


def pictures(module: Module, count: int) -> list[Call]:
    rng = np.random.default_rng(5)
    return [
        Call("infer", {v.name: random_array(rng, v.type) for v in module.inputs("infer")})
        for _ in range(count)
    ]


STREAM = PlanOptions(streams=(("a", "s", "d", "y"),))
SMALL = PlanOptions(optimize=Optimize.RAM)
"""Kernels without scratch, where line buffers are what counts."""


def test_streamed_network_equals_the_same_network_run_whole(host_compiler: Toolchain) -> None:
    module = inverted_residual()
    calls = pictures(module, 4)
    whole, streamed = (
        plan(module, load(CORE), o) for o in (SMALL, replace(STREAM, optimize=SMALL.optimize))
    )
    one = prove_everywhere(module, whole, calls, host_compiler)
    two = prove_everywhere(module, streamed, calls, host_compiler)
    for a, b in zip(one.ways[-1].runs, two.ways[-1].runs, strict=True):
        assert a.outputs == b.outputs
    assert streamed.arenas["ram"] < plan(module, load(CORE)).arenas["ram"]
    least, own = (worth(p.arenas["ram"], predicted(p, load(CORE))) for p in (whole, streamed))
    assert least <= own, "the planner finds this group, or better"


def test_layers_of_different_rates_stream_with_the_rings_of_the_closed_form() -> None:
    program = plan(inverted_residual(), load(CORE), STREAM)
    (loop,) = program.entries[0].steps
    assert isinstance(loop, Loop)
    periods = {t.step.value.name: t.period for t in loop.body if isinstance(t.step, KernelCall)}
    assert periods == {"a": 1, "s": 2, "d": 2, "y": 2}
    rings = {c.output.root: c.output.ring for c in program.entries[0].calls()}
    # 3 rows for a 3x3 window; the residual reads the middle one of them at the same time
    assert rings == {"a": 3, "s": 3, "d": 1, "y": None}


def test_rates_that_rise_again_and_a_reduction_stream(host_compiler: Toolchain) -> None:
    """conv - conv stride 2 - upsampling - depthwise - global mean: periods 1, 2, 1, 1, 1."""
    b = Builder(names=set())
    x = b.input("x", s8(1, 11, 9, 3, scale=0.05, zero_point=4))
    pad = (1, 1, 1, 1)
    a = b.add(
        conv2d,
        (x, weights(b, "wa", 8, 3, 3, 3), bias(b, "ba", 8)),
        Conv2d(pad=pad),
        type=s8(1, 11, 9, 8, scale=0.1),
        name="a",
    )
    s = b.add(
        conv2d,
        (a, weights(b, "ws", 4, 3, 3, 8), bias(b, "bs", 4)),
        Conv2d(stride=(2, 2), pad=pad),
        type=s8(1, 6, 5, 4, scale=0.1),
        name="s",
    )
    u = b.add(resize_nearest, (s,), ResizeNearest(12, 10), name="u")
    d = b.add(
        conv2d,
        (u, weights(b, "wd", 4, 3, 3, 1), bias(b, "bd", 4)),
        Conv2d(pad=pad, groups=4),
        type=s8(1, 12, 10, 4, scale=0.1),
        name="d",
    )
    y = b.add(mean, (d,), Reduction((1, 2), keepdims=False), type=s8(1, 4, scale=0.05), name="y")
    module = b.module([y], name="rates")
    options = replace(SMALL, streams=(("a", "s", "u", "d", "y"),))
    program = plan(module, load(CORE), options)
    (loop,) = program.entries[0].steps
    assert isinstance(loop, Loop)
    periods = {t.step.value.name: t.period for t in loop.body if isinstance(t.step, KernelCall)}
    assert {n: periods[n] for n in "asudy"} == {"a": 1, "s": 2, "u": 1, "d": 1, "y": 1}
    assert program.arenas["ram"] < plan(module, load(CORE)).arenas["ram"]
    assert plan(module, load(CORE), SMALL).arenas["ram"] <= program.arenas["ram"]
    prove_everywhere(module, program, pictures(module, 3), host_compiler)


@pytest.mark.parametrize("root", ["a", "s"])
def test_a_ring_one_row_shorter_is_refused(root: str) -> None:
    program = plan(inverted_residual(), load(CORE), STREAM)
    (loop,) = program.entries[0].steps
    assert isinstance(loop, Loop)

    def shorter(view: object) -> object:
        if not isinstance(view, View) or view.root != root or view.ring is None:
            return view
        if view.places is not None:  # rows of a pool: two of them in one place
            two = tuple(view.places[k - k % 2] for k in range(len(view.places)))
            return replace(view, places=two)
        return replace(view, ring=view.ring - 1)

    body = tuple(
        replace(
            t,
            step=replace(
                t.step,
                inputs=tuple(shorter(v) for v in t.step.inputs),  # type: ignore[union-attr]
                output=shorter(t.step.output),  # type: ignore[union-attr]
            ),
        )
        for t in loop.body
    )
    entry = replace(program.entries[0], steps=(replace(loop, body=body),))
    with pytest.raises(CertificateError, match="do not hold what they should"):
        check(replace(program, entries=(entry,)), {"ram": True, "flash": True})


# 2. training ------------------------------------------------------------------------------

RATE = 0.5


def classifier(
    b: Builder, x: Value, w_frozen: Value, w_trained: Value, v: Value
) -> tuple[Value, Value, Value]:
    """conv 3x3 with frozen and trained output channels, mean, linear -> (map, features, logits)."""
    conv = Conv2d(pad=(1, 1, 1, 1))
    frozen = b.add(conv2d, (x, w_frozen), conv, name="frozen")
    trained = b.add(conv2d, (x, w_trained), conv, name="trained")
    both = b.add(concat, (frozen, trained), Concat(3), name="map")
    features = b.add(mean, (both,), Reduction((1, 2), keepdims=False), name="features")
    logits = b.add(linear, (features, v), Linear(), name="logits")
    return both, features, logits


def trainable() -> Module:
    """`infer`, and `train`: loss and SGD on 2 of 5 channels of a convolution held in RAM."""
    rng = np.random.default_rng(3)

    def normal(*shape: int) -> Array:
        return rng.normal(0, 0.5, shape).astype(np.float32)

    params: dict[str, Param] = {}
    names: set[str] = set()
    b = Builder(params, names)
    x = b.input("x", f32(1, 6, 5, 3))
    w = b.state("w_trained", f32(2, 3, 3, 3), normal(2, 3, 3, 3))
    w_frozen, v = b.param("w_frozen", normal(3, 3, 3, 3)), b.param("v", normal(4, 5))
    _, _, logits = classifier(b, x, w_frozen, w, v)
    infer = b.graph([b.add(softmax, (logits,), Softmax(1.0), name="probability")])

    t = Builder(params, names)
    x = t.input("x_train", f32(1, 6, 5, 3))
    target = t.input("target", f32(1, 4))
    t.read(b.states["w_trained"])
    t.use(params["w_frozen"])
    t.use(params["v"])
    _, _, logits = classifier(t, x, w_frozen, w, v)
    loss = t.add(softmax_cross_entropy, (logits, target), name="loss")
    probability = t.add(softmax, (logits,), Softmax(1.0), name="train/probability")
    d_logits = t.add(sub, (probability, target), name="d_logits")
    v_t = t.add(transpose, (v,), Transpose((1, 0)), name="v_t")
    d_features = t.add(linear, (d_logits, v_t), Linear(), name="d_features")
    part = t.add(slice_, (d_features,), Slice((0, 3), (1, 2)), name="d_features/trained")
    share = t.param("share", np.full((1, 1), 1 / 30, np.float32))
    scaled = t.add(mul, (part, share), name="d_mean")
    spread = t.add(
        broadcast,
        (t.add(reshape, (scaled,), Reshape((1, 1, 1, 2)), name="d_pixel"),),
        Broadcast((1, 6, 5, 2)),
        name="d_map",
    )
    dw = t.add(conv2d_grad_w, (x, spread), ConvGrad((3, 3), pad=(1, 1, 1, 1)), name="dw")
    rate = t.param("rate", np.full((1, 1, 1, 1), RATE, np.float32))
    step = t.add(mul, (dw, rate), name="step")
    new = t.add(sub, (w, step), name="w_new")
    train = t.graph([loss, new])
    state = State(b.states["w_trained"].value, b.states["w_trained"].init, {"train": new})
    return Module({"infer": infer, "train": train}, params, {"w_trained": state}, "trainable")


def training_calls(steps: int) -> list[Call]:
    rng = np.random.default_rng(8)
    calls: list[Call] = []
    for _ in range(steps):
        x = rng.normal(0, 1, (1, 6, 5, 3)).astype(np.float32)
        target = np.eye(4, dtype=np.float32)[rng.integers(4)][None]
        calls += [Call("train", {"x_train": x, "target": target}), Call("infer", {"x": x})]
    return calls


def test_training_updates_weights_in_ram_bit_for_bit(host_compiler: Toolchain) -> None:
    module = trainable()
    verify(module)
    program = plan(module, load(CORE))
    prove_everywhere(module, program, training_calls(6), host_compiler)
    # only what is trained is in RAM; the frozen channels and the classifier stay in flash
    assert {b.name for b in program.buffers.values() if b.kind is Kind.STATE} == {"w_trained"}
    assert program.buffers["w_frozen"].kind is Kind.CONST
    assert program.buffers["w_frozen"].memory == "flash"


def test_entries_share_the_arena_and_the_frozen_and_trained_maps_share_a_buffer() -> None:
    program = plan(trainable(), load(CORE))
    state = program.buffers["w_trained"]
    assert state.offset is not None
    starts = {
        e.name: min(
            b.offset
            for n, b in program.buffers.items()
            if n.startswith(f"{e.name}/") and b.offset is not None
        )
        for e in program.entries
    }
    assert starts["infer"] == starts["train"] == state.offset + state.nbytes
    outputs = {c.value.name: c.output for c in program.entries[0].calls()}
    assert outputs["frozen"].buffer == outputs["trained"].buffer
    assert outputs["trained"].start == 3 * 4


def test_training_lowers_the_loss() -> None:
    session = Session(trainable())
    call = training_calls(1)[0]
    losses = [float(session.run(call.inputs, "train").outputs["loss"][0, 0]) for _ in range(100)]
    assert losses[-1] < 0.7 * losses[0]


def test_a_weight_split_over_input_channels_adds_up_in_the_accumulator(
    host_compiler: Toolchain,
) -> None:
    """Frozen input channels give a raw accumulator; the trained ones start from it."""
    b = Builder(names=set())
    x = b.input("x", s8(1, 5, 6, 6, scale=0.1, zero_point=-3))
    w = weights(b, "w", 4, 3, 3, 6)
    scale = w.type.quant
    data = b.params["w"].data
    assert scale is not None
    assert data is not None
    pad = (1, 1, 1, 1)
    whole_type = s8(1, 5, 6, 4, scale=0.3, zero_point=5)
    whole = b.add(conv2d, (x, w, bias(b, "b", 4)), Conv2d(pad=pad), type=whole_type, name="whole")
    parts = [
        b.add(slice_, (x,), Slice((0, 0, 0, at), (1, 5, 6, n)), name=f"x{at}")
        for at, n in ((0, 4), (4, 2))
    ]
    frozen, trained = (
        b.param(name, np.ascontiguousarray(data[..., part]), scale)
        for name, part in (("w_frozen", slice(0, 4)), ("w_trained", slice(4, 6)))
    )
    acc = b.add(conv2d, (parts[0], frozen), Conv2d(pad=pad, raw=True), name="acc")
    split = b.add(
        conv2d,
        (parts[1], trained, b.use(b.params["b"]), acc),
        Conv2d(pad=pad),
        type=whole_type,
        name="split",
    )
    module = b.module([whole, split], name="partial")
    calls = pictures(module, 3)
    proof = prove_everywhere(module, plan(module, load(CORE)), calls, host_compiler)
    for run in proof.expected:
        np.testing.assert_array_equal(run.outputs["whole"], run.outputs["split"])


# 3. state over time -----------------------------------------------------------------------


def stream_with_memory() -> Module:
    """A window over the last 5 frames, a convolution over it, and a recurrent cell."""
    b = Builder(names=set())
    frame_type = s8(1, 1, 1, 6, scale=0.1, zero_point=2)
    frame = b.input("frame", frame_type)
    silence = np.full((1, 5, 1, 6), 2, np.int8)
    ring = b.state("window", frame_type.with_shape(1, 5, 1, 6), silence)
    hidden_type = s8(1, 8, scale=1 / 128)
    hidden = b.state("hidden", hidden_type, np.zeros((1, 8), np.int8))
    window = b.add(push, (ring, frame), Push(1), name="window/new")
    seen = b.add(
        conv2d,
        (window, weights(b, "w", 8, 5, 1, 6), bias(b, "b", 8)),
        Conv2d(),
        type=s8(1, 1, 1, 8, scale=0.05),
        name="seen",
    )
    flat = b.add(reshape, (seen,), Reshape((1, 8)), name="flat")
    w_hidden = b.param(
        "u",
        np.random.default_rng(4).integers(-99, 99, (8, 8)).astype(np.int8),
        Quant.per_tensor(0.004),
    )
    memory = b.add(linear, (hidden, w_hidden), Linear(), type=s8(1, 8, scale=0.05), name="memory")
    total = b.add(add, (flat, memory), type=s8(1, 8, scale=0.06), name="total")
    new = b.add(tanh, (total,), type=hidden_type, name="hidden/new")
    out = b.add(
        linear, (new, weights(b, "wo", 3, 8)), Linear(), type=s8(1, 3, scale=0.02), name="out"
    )
    graph = b.graph([out, window, new])
    states = {
        "window": replace(b.states["window"], updates={"step": window}),
        "hidden": replace(b.states["hidden"], updates={"step": new}),
    }
    return Module({"step": graph}, b.params, states, "remembers")


def test_state_is_carried_between_calls_and_reset(host_compiler: Toolchain) -> None:
    module = stream_with_memory()
    verify(module)
    rng = np.random.default_rng(6)
    frames = [random_array(rng, module.inputs("step")[0].type) for _ in range(13)]
    calls = [Call("step", {"frame": f}) for f in frames]
    program = plan(module, load(CORE))
    prove_everywhere(module, program, calls, host_compiler)
    # the window turns: nothing of it is moved, one frame is written
    assert any(isinstance(s, Advance) for s in program.entries[0].steps)
    session = Session(module)
    first = session.run(calls[0].inputs).outputs["out"]
    later = session.run(calls[0].inputs).outputs["out"]
    session.reset()
    assert not np.array_equal(first, later)
    np.testing.assert_array_equal(session.run(calls[0].inputs).outputs["out"], first)


def test_reset_on_the_device_gives_the_first_answers_again(host_compiler: Toolchain) -> None:
    """Every proof begins with reset on memory that is not clean: two runs agree."""
    module = stream_with_memory()
    program = plan(module, load(CORE))
    frame = np.full((1, 1, 1, 6), 77, np.int8)
    calls = [Call("step", {"frame": frame})] * 3
    one = prove_everywhere(module, program, calls, host_compiler)
    measured = one.ways[-1].measured  # runs after the calls, on painted memory, from reset
    assert measured is not None
    assert measured.outputs == one.ways[-1].runs[0].outputs


# 4. a second memory -----------------------------------------------------------------------


def two_memories() -> Device:
    """A core with a RAM and a flash that its kernels cannot reach."""
    device = emulation_device(load(CORE).core)
    far = (
        Memory("far", "ram", 0x6000_0000, 1 << 20, direct=False),
        Memory("store", "flash", 0x9000_0000, 1 << 20, direct=False),
    )
    return replace(device, name="two-memories", memories=(*device.memories, *far))


def two_layers() -> Module:
    b = Builder(names=set())
    x = b.input("x", s8(1, 6, 5, 4, scale=0.1, zero_point=1))
    y = b.add(
        conv2d,
        (x, weights(b, "w1", 10, 3, 3, 4), bias(b, "b1", 10)),
        Conv2d(pad=(1, 1, 1, 1)),
        type=s8(1, 6, 5, 10, scale=0.2, zero_point=-5),
        name="y",
    )
    flat = b.add(reshape, (y,), Reshape((1, 300)), name="flat")
    z = b.add(
        linear,
        (flat, weights(b, "w2", 14, 300), bias(b, "b2", 14)),
        Linear(),
        type=s8(1, 14, scale=1.1, zero_point=2),
        name="z",
    )
    return b.module([z], name="staged")


def test_a_buffer_and_weights_in_a_second_memory_are_brought_in(host_compiler: Toolchain) -> None:
    module, device = two_layers(), two_memories()
    options = PlanOptions(homes={"y": "far", "w2": "store"}, blocks={"w2": 4})
    program = plan(module, device, options)
    assert program.arenas["far"] == 300
    assert program.buffers["w2"].memory == "store"
    steps = program.entries[0].steps
    loops = [s for s in steps if isinstance(s, Loop)]
    assert sum(isinstance(s, Copy) for s in steps) == 2
    assert [type(t.step) for t in loops[0].body][:2] == [Wait, Copy]
    # two slices of 4 channels in RAM, not 14 channels
    assert program.buffers["infer/w2/near"].nbytes == 2 * 4 * 300
    prove_everywhere(module, program, pictures(module, 4), host_compiler, device)


def test_a_copy_that_is_not_waited_for_is_refused() -> None:
    device = two_memories()
    options = PlanOptions(homes={"y": "far", "w2": "store"}, blocks={"w2": 4})
    program = plan(two_layers(), device, options)
    direct = {m.name: m.direct for m in device.memories}
    entry = program.entries[0]
    first = next(i for i, s in enumerate(entry.steps) if isinstance(s, Wait))
    loop = entry.steps[-1]
    assert isinstance(loop, Loop)
    for steps in (
        (*entry.steps[:first], *entry.steps[first + 1 :]),
        (*entry.steps[:-1], replace(loop, body=loop.body[1:])),
    ):
        with pytest.raises(CertificateError, match="not waited for"):
            check(replace(program, entries=(replace(entry, steps=steps),)), direct)


# and without data -------------------------------------------------------------------------


def test_a_network_without_weights_is_planned_and_costed_but_not_written() -> None:
    """What a search needs: the same plan to the byte, before there is anything to store."""
    full = Canonicalize()(inverted_residual())
    bare = {n: replace(p, data=None) for n, p in inverted_residual().params.items()}
    module = Canonicalize()(replace(inverted_residual(), params=bare))
    program, whole = (plan(m, load(CORE)) for m in (module, full))
    assert program.missing == tuple(bare)
    assert program.arenas == whole.arenas
    assert (
        summarize(program, load(CORE), None, "").macs == summarize(whole, load(CORE), None, "").macs
    )
    assert sum(b.nbytes for b in program.buffers.values()) >= sum(
        b.nbytes for b in whole.buffers.values()
    )
    with pytest.raises(PlanError, match="can be planned, not written"):
        emit(program)
    with pytest.raises(UsageError, match="can be planned, not run"):
        Session(module).run(pictures(full, 1)[0].inputs)

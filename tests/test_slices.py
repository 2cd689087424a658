"""The backward part of a block in slices of its channels: the same step, but for rounding."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.test_programs import bias, weights

from lilliput.compiler import Options, described, from_module, learner
from lilliput.compiler.slicing import Slicing, asked, lean
from lilliput.devices.device import load as board
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain, find
from lilliput.errors import UsageError
from lilliput.ir import Array, Builder, Module, Session, Value
from lilliput.ir.types import s8
from lilliput.ops.conv import Conv2d, conv2d, linear
from lilliput.ops.elementwise import add
from lilliput.ops.gradient import call
from lilliput.plan.build import PlanOptions, needs, plan
from lilliput.plan.objective import STACK_ROOM, Optimize
from lilliput.plan.program import Kind
from lilliput.train.build import ENTRY, Training, trainable
from lilliput.train.heads import with_head
from lilliput.train.layers import layers
from lilliput.train.optimisers import Optimiser
from lilliput.train.schemes import parse
from lilliput.train.slices import cuts

CLASSES = 3
NARROW = 8


def bottlenecks(wide: int, window: int = 3, stride: int = 1, size: int = 5) -> Module:
    """Two inverted bottlenecks on `size` x `size` pixels, the second one with a residual sum."""
    b = Builder(names=set())
    x = b.input("x", s8(1, size, size, NARROW, scale=0.05, zero_point=3))

    def conv(x: Value, name: str, w: Value, outputs: int, attrs: Conv2d, scale: float) -> Value:
        size = (x.type.shape[1] - 1) // attrs.stride[0] + 1
        type = s8(1, size, size, outputs, scale=scale, zero_point=-9)
        return b.add(conv2d, (x, w, bias(b, f"{name}/b", outputs)), attrs, type=type, name=name)

    def block(x: Value, name: str, step: int) -> Value:
        half = window // 2
        around = Conv2d((step, step), pad=(half, half, half, half), groups=wide)
        w1 = weights(b, f"{name}/w1", wide, 1, 1, NARROW)
        w2 = weights(b, f"{name}/w2", wide, window, window, 1)
        w3 = weights(b, f"{name}/w3", NARROW, 1, 1, wide)
        a = conv(x, f"{name}/1", w1, wide, Conv2d(), 0.2)
        d = conv(a, f"{name}/2", w2, wide, around, 0.4)
        return conv(d, f"{name}/3", w3, NARROW, Conv2d(), 1.5)

    first = block(x, "one", stride)
    second = block(first, "two", 1)
    total = b.add(add, (first, second), type=replace(first.type, quant=second.type.quant))
    mean = call(b, "mean", total, axes=(1, 2), keepdims=False)
    w = weights(b, "classes/w", CLASSES, NARROW)
    y = b.add(linear, (mean, w, bias(b, "classes/b", CLASSES)), type=s8(1, CLASSES, scale=0.1))
    return b.module((y,))


def learned(
    module: Module,
    scheme: str,
    slices: Mapping[str, int],
    rule: str = "residual",
    remade: Collection[str] = (),
) -> Training:
    found = parse(scheme, layers(with_head(module, CLASSES)))
    optimiser = Optimiser(rate=0.05, rule=rule)
    return trainable(module, found, optimiser, classes=CLASSES, slices=slices, remade=remade)


def pictures(found: Training, count: int) -> list[Call]:
    rng = np.random.default_rng(5)
    x = found.module.inputs(ENTRY)[0]
    return [
        Call(
            ENTRY,
            {
                x.name: rng.integers(-128, 128, x.type.shape).astype(np.int8),
                "label": np.array([k % CLASSES], np.int32),
            },
        )
        for k in range(count)
    ]


def stepped(found: Training) -> dict[str, Array]:
    """The states after a step, those of a tensor's parts joined."""
    session = Session(found.module)
    session.run(pictures(found, 1)[0].inputs, ENTRY)
    return dict(session.states)


SCHEME = "biases=6,0,3:1/2"
BLOCKS = ("two/w3", "one/w3")


def test_blocks_are_found() -> None:
    found = learned(bottlenecks(40), SCHEME, {})
    assert [(b.name, b.channels, b.nbytes) for b in found.blocks] == [
        ("two/w3", 40, 4 * 25 * 40),
        ("one/w3", 40, 4 * 25 * 40),
    ]
    assert not found.slices


def test_channels_are_cut_at_eights() -> None:
    assert cuts(40, 2) == [(0, 16), (16, 24)]
    assert cuts(20, 2) == [(0, 8), (8, 12)]
    assert cuts(24, 3) == [(0, 8), (8, 8), (16, 8)]


@settings(max_examples=12)
@given(
    st.integers(2, 6).map(lambda n: 8 * n),
    st.sampled_from([3, 5]),
    st.integers(1, 2),
    st.integers(2, 5),
    st.sampled_from([SCHEME, "biases=6", "full", "biases=4,4:1/2,0:1/4"]),
)
def test_a_sliced_step_is_the_step_but_for_rounding(
    wide: int, window: int, stride: int, slices: int, scheme: str
) -> None:
    """By a rule that leaves floats to compare: what is left of an int8 step is a 256th."""
    module = bottlenecks(wide, window, stride)
    whole = learned(module, scheme, {})
    cut = learned(module, scheme, dict.fromkeys(BLOCKS, slices))
    assert dict(cut.slices) == {n: min(slices, wide // 8) for n in BLOCKS if n in cut.slices}
    one, other = stepped(whole), stepped(cut)
    for t in whole.tensors:
        a, b = (s[t.name].astype(np.float64) for s in (one, other))
        assert np.abs(a - b).max() <= max(1, 1e-3 * np.abs(a).max()), t.name


def test_a_sliced_step_is_the_same_in_numpy_and_c(host_compiler: Toolchain) -> None:
    found = learned(bottlenecks(24, 5, size=4), SCHEME, {"two/w3": 3, "one/w3": 2})
    module = from_module(found.module).module
    program = plan(module, board("cortex-m4"))
    proof = prove(module, program, pictures(found, 5), hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


@pytest.mark.unicorn
def test_a_sliced_step_is_the_same_on_the_core() -> None:
    core = board("cortex-m4")
    found = learned(bottlenecks(24, stride=2), SCHEME, {"two/w3": 3, "one/w3": 2}, "nearest")
    module = from_module(found.module).module
    program = plan(module, core, PlanOptions(optimize=Optimize.RAM))
    target = (find(core.core, "auto"), core)
    proof = prove(module, program, pictures(found, 3), target=target)
    assert proof.exact, str(proof.difference)


def test_parts_move_in_the_place_of_their_tensor() -> None:
    """What is left in a state is nowhere but there."""
    found = learned(bottlenecks(24, size=4), SCHEME, dict.fromkeys(BLOCKS, 3), "nearest")
    program = plan(from_module(found.module).module, board("cortex-m4"))
    arena = [n for n, buffer in program.buffers.items() if buffer.kind is Kind.ARENA]
    assert not [n for n in arena if n.endswith("/new")]


def test_a_sum_over_slices_stays_in_one_place() -> None:
    found = learned(bottlenecks(24, size=4), "biases=6", {"two/w3": 3})
    program = plan(from_module(found.module).module, board("cortex-m4"))
    (entry,) = (e for e in program.entries if e.name == ENTRY)
    adds = [c for c in entry.calls() if c.kernel.gathers and c.store and c.store.operands]
    names = [c.output.root for c in adds if c.node.inputs[1].name.endswith("two/w1")]
    assert len(names) == 3
    assert len(set(names)) == 1


def test_layers_keep_their_kernels_where_biases_move_in_slices() -> None:
    """They rest on how large a bias becomes, which is known of each of its parts."""

    def kernels(slices: Mapping[str, int]) -> list[str]:
        found = learned(bottlenecks(24), SCHEME, slices, "nearest")
        program = plan(from_module(found.module).module, board("cortex-m4"))
        (entry,) = (e for e in program.entries if e.name == ENTRY)
        return [c.kernel.name for c in entry.calls() if c.node.op is conv2d]

    whole = kernels({})
    assert "depthwise_fours" not in whole
    assert kernels(dict.fromkeys(BLOCKS, 3)) == whole


# Masks that are made again ------------------------------------------------------------------


@settings(max_examples=12)
@given(
    st.integers(2, 6).map(lambda n: 8 * n),
    st.integers(1, 2),
    st.integers(2, 5),
    st.sampled_from([SCHEME, "biases=6", "full", "biases=4,4:1/2,1:1/4"]),
    st.sampled_from(["nearest", "residual"]),
)
def test_masks_that_are_made_again_are_those_that_were(
    wide: int, stride: int, slices: int, scheme: str, rule: str
) -> None:
    module = bottlenecks(wide, stride=stride)
    counts: Mapping[str, int] = dict.fromkeys(BLOCKS, slices)
    kept = learned(module, scheme, counts, rule)
    again = learned(module, scheme, counts, rule, BLOCKS)
    assert set(again.remade) == {b.name for b in kept.blocks if b.masks.bits} & set(again.slices)
    one, other = stepped(kept), stepped(again)
    assert one.keys() == other.keys()
    for name, state in one.items():
        np.testing.assert_array_equal(other[name], state, name)


def test_masks_that_are_made_again_are_not_kept() -> None:
    module = bottlenecks(40)
    again = learned(module, SCHEME, {"one/w3": 2}, remade=["one/w3", "two/w3"])
    # two layers of 5 x 5 pixels and 40 channels: one of 8 channels, one of windows of 3 x 3
    assert dict(again.remade) == {"one/w3": 25 * 40 * (8 + 9)}
    names = [n.output.name for n in again.module.graphs[ENTRY].nodes if n.op.name == "clip_bits"]
    assert not [n for n in names if n in ("train_step/one/1/bits", "train_step/one/2/bits")]
    assert "train_step/two/1/bits" in names


def test_masks_made_again_are_the_same_in_numpy_and_c(host_compiler: Toolchain) -> None:
    counts = {"two/w3": 3, "one/w3": 2}
    found = learned(bottlenecks(24, 5, size=4), SCHEME, counts, remade=BLOCKS)
    assert found.remade
    module = from_module(found.module).module
    program = plan(module, board("cortex-m4"))
    proof = prove(module, program, pictures(found, 5), hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


# How many -----------------------------------------------------------------------------------


def test_slices_are_raised_while_a_block_needs_most() -> None:
    module = bottlenecks(64, size=8)
    core = board("cortex-m4")

    def make(slices: Mapping[str, int], remade: Collection[str] = ()) -> Training:
        return learned(module, SCHEME, slices, remade=remade)

    def most(module: Module) -> Mapping[str, int]:
        return needs(from_module(module).module, core)

    whole = make({})
    found = lean(make, most, whole, most(whole.module))
    assert set(found.slices) <= set(BLOCKS)
    assert max(most(found.module).values()) < 0.8 * max(most(whole.module).values())
    assert lean(make, lambda _: {}, whole, {}) is whole


def test_slices_that_are_none_are_refused() -> None:
    assert (asked("auto"), asked("off"), asked("3"), asked(1)) == (None, 1, 3, 1)
    for wrong in ("many", "0", "-1"):
        with pytest.raises(UsageError, match="slices of a block"):
            asked(wrong)


def test_a_learner_says_its_slices() -> None:
    model = from_module(bottlenecks(24, size=4))
    options = Options(compiler="none")
    found = learner(model, board("cortex-m4"), "last=3", classes=CLASSES, slices=2, options=options)
    assert found.to_json()["slices"] == {"two/w3": 2}
    assert "two/w3 in 2 slices" in described(found)


def test_a_step_that_plainly_fits_is_planned_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Even if nothing shared a byte: no estimate is made for it.  One that does not is sliced."""
    model, device = from_module(bottlenecks(96, size=8)), board("stm32f746")
    asked: list[str] = []

    def estimate(self: Slicing, module: Module) -> Mapping[str, int]:
        asked.append(module.name)
        return estimated(self, module)

    estimated = Slicing._needs  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(Slicing, "_needs", estimate)
    options = Options("none")
    whole = learner(model, device, "last=3", classes=CLASSES, options=options)
    assert not asked
    assert not whole.training.slices

    def make(slices: Mapping[str, int], remade: Collection[str] = ()) -> Training:
        return learned(bottlenecks(96, size=8), "last=3", slices, remade=remade)

    slicing = Slicing(make, device, options, print)
    between = (slicing.least(1) + slicing.least(None)) // 2
    room = between + whole.compiled.summary.ram_bytes.states
    options = Options("none", ram=room)
    lean = learner(model, device, "last=3", classes=CLASSES, options=options)
    assert asked
    assert lean.training.slices
    less = lean.compiled.summary.ram_bytes
    assert less.activations + less.states <= room


@pytest.mark.slow
def test_masks_are_made_again_where_slices_alone_do_not_do() -> None:
    """Where there is less than what is kept needs, by the estimate."""
    model, device, scheme = from_module(bottlenecks(32, size=8)), board("stm32f746"), "biases=6,3,0"

    def make(slices: Mapping[str, int], remade: Collection[str] = ()) -> Training:
        return learned(bottlenecks(32, size=8), scheme, slices, remade=remade)

    whole = make({})
    counts: Mapping[str, int] = dict.fromkeys(BLOCKS, 4)
    kept = Slicing(make, device, Options("none"), print).bound(make(counts))
    states = sum(s.value.type.nbytes for s in whole.module.states.values())
    room = states + kept - 200 + STACK_ROOM
    options = Options("none", ram=room, plan=PlanOptions(later=0.3))
    found = learner(model, device, scheme, Optimiser(), classes=CLASSES, options=options)
    assert found.training.remade
    less = found.compiled.summary.ram_bytes
    assert less.activations + less.states <= room
    assert f"masks made again: {', '.join(found.training.remade)}" in described(found)
    assert found.to_json()["remade"] == dict(found.training.remade)

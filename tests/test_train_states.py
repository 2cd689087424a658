"""States of an optimiser: sums over several examples, moments in int8, numbers that are none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lilliput.compiler import described, from_module, learner, load
from lilliput.demo_data import digits_model, load_digits_split
from lilliput.devices.device import load as board
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain
from lilliput.errors import UsageError
from lilliput.ir import Array, Builder, Module, Session
from lilliput.ir.types import f32, s8
from lilliput.ops.gradient import call
from lilliput.plan.build import plan
from lilliput.train.build import ENTRY, Training, trainable
from lilliput.train.heads import with_head
from lilliput.train.layers import layers
from lilliput.train.optimisers import EXAMPLES, RULES, Optimiser, Tensor, Updates
from lilliput.train.schemes import UpdateScheme, parse
from lilliput.train.simulate import Plan, Simulator

CLASSES = 10


@pytest.fixture(scope="module")
def digits() -> Module:
    return load(digits_model()).module


def training(module: Module, scheme: str, optimiser: Optimiser) -> Training:
    found = layers(with_head(module, CLASSES))
    return trainable(module, parse(scheme, found), optimiser, classes=CLASSES)


def calls(found: Training, count: int) -> list[Call]:
    x = found.module.inputs(ENTRY)[0]
    split = load_digits_split()
    pictures = np.rint(split.x_train[:count] / 16 * 255 - 128).astype(np.int8)
    labels = split.y_train.astype(np.int32)
    return [
        Call(ENTRY, {x.name: p.reshape(x.type.shape), "label": labels[i : i + 1]})
        for i, p in enumerate(pictures)
    ]


def run(found: Training, count: int) -> list[dict[str, Array]]:
    """The states after each of `count` steps."""
    session = Session(found.module)
    after: list[dict[str, Array]] = []
    for one in calls(found, count):
        session.run(one.inputs, ENTRY)
        after.append(dict(session.states))
    return after


# Several examples to a step -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sgd", "adam", "lion"])
@pytest.mark.parametrize("rule", RULES)
def test_only_the_last_example_of_a_step_moves(digits: Module, kind: str, rule: str) -> None:
    optimiser = Optimiser(kind, 0.02, momentum=0.9, rule=rule, accumulate=3)
    found = training(digits, "biases=3,4,2:1/2", optimiser)
    first = {n: s.init for n, s in found.module.states.items()}
    free = {n for n in first if n.endswith("/sum")} | {EXAMPLES, "seed"}
    one, two, three = run(found, 3)
    assert [int(after[EXAMPLES][0]) for after in (one, two, three)] == [1, 2, 0]
    for name in first.keys() - free:
        assert np.array_equal(first[name], one[name]), name
        assert np.array_equal(first[name], two[name]), name
    assert all(np.any(first[t.name] != three[t.name]) for t in found.tensors)
    sums = [n for n in free if n.endswith("/sum")]
    assert len(sums) == len(found.tensors)
    assert all(np.any(one[n]) and not np.any(three[n]) for n in sums)


def test_a_step_of_several_is_that_of_their_mean_gradient(digits: Module) -> None:
    """Of the head, which is float: its gradient does not depend on what it was before."""
    found = training(digits, "head", Optimiser(rate=0.1, accumulate=4))
    alone = training(digits, "head", Optimiser(rate=0.1))
    moves: list[Array] = []
    for one in calls(alone, 4):
        session = Session(alone.module)
        session.run(one.inputs, ENTRY)
        start = alone.module.states["head/weight"].init
        moves.append(session.states["head/weight"] - start)
    ours = run(found, 4)[-1]["head/weight"] - found.module.states["head/weight"].init
    assert np.allclose(ours, np.mean(moves, axis=0), atol=1e-6)
    assert np.abs(ours).max() > 1e-3


def test_sums_are_planned_and_reported(digits: Module) -> None:
    model, device = from_module(digits), board("stm32f746")
    once, four = (
        learner(model, device, "last=1", Optimiser(accumulate=n), classes=CLASSES) for n in (1, 4)
    )
    assert "sums" not in once.training.beside
    nbytes = sum(4 * int(np.prod(t.shape)) for t in four.training.tensors)
    assert four.training.beside["sums"] == nbytes
    assert f"{nbytes:,} B" in described(four)
    held = [f.compiled.summary.ram_bytes.states for f in (once, four)]
    assert held[1] - held[0] == nbytes + 4
    saved = {n: s.saved for n, s in four.training.module.states.items()}
    assert saved["head/weight"]
    assert not saved["head/weight/sum"]
    assert not saved[EXAMPLES]


# Moments in int8 --------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "rate"), [("sgd", 0.002), ("adam", 0.002), ("lion", 0.0005)])
def test_small_moments_learn_as_large_ones(digits: Module, kind: str, rate: float) -> None:
    split = load_digits_split()
    reached: list[float] = []
    for moments in ("float32", "int8"):
        optimiser = Optimiser(kind, rate, momentum=0.9, moments=moments)
        found = training(digits, "last=1", optimiser)
        simulator = Simulator(found)
        pixels = [
            np.rint(x / 16 * 255 - 128).astype(np.int8) for x in (split.x_train, split.x_test)
        ]
        learn = simulator.learning(pixels[0][:300], split.y_train[:300])
        test = simulator.testing(pixels[1], split.y_test)
        (point,) = simulator.fit(learn, test, Plan(rate=rate))
        reached.append(point.accuracy)
    assert min(reached) > 0.85
    assert max(reached) - min(reached) < 0.03


def test_a_moment_of_a_weight_is_a_byte_and_a_scale_for_each_channel(digits: Module) -> None:
    large, small = (
        training(digits, "last=1", Optimiser("adam", moments=m)) for m in ("float32", "int8")
    )
    weights = [t for t in small.tensors if len(t.shape) > 1]
    biases = [t for t in small.tensors if len(t.shape) == 1]
    elements, rows, few = (
        sum(int(np.prod(t.shape)) for t in weights),
        sum(t.shape[0] for t in weights),
        sum(t.shape[0] for t in biases),
    )
    assert large.beside["moments"] == 2 * 4 * (elements + few)
    assert small.beside["moments"] == 2 * (elements + 4 * rows + 4 * few)


def test_rounding_of_a_moment_is_right_on_average() -> None:
    """Momentum of gradients that are 1000 times as large in one place as in the others."""
    b = Builder()
    g = b.input("g", f32(1, 64))
    w = b.state("w", f32(1, 64), np.zeros((1, 64), np.float32))
    updates = Updates(b, Optimiser(rate=1e-3, momentum=0.9, moments="int8"))
    updates.update(Tensor(w, None, True), g)
    session = Session(b.module((call(b, "neg", g),), updates=updates.left))
    gradient = np.linspace(9e-4, 1.1e-3, 64, dtype=np.float32)[None]  # equal ones draw equally
    gradient[0, 0] = 1.0
    for _ in range(400):
        session.run({"g": gradient})
    moved = session.states["w"][0]
    assert moved[0] == pytest.approx(-4.0, rel=0.05)
    assert np.mean(moved[1:]) == pytest.approx(-4e-3, rel=0.1)


OPTIMISERS = [
    Optimiser("sgd", 0.05, momentum=0.9, moments="int8", accumulate=2),
    Optimiser("adam", 0.01, moments="int8", rule="dither"),
    Optimiser("adam", 0.01, weight_decay=0.01, accumulate=3, rule="nearest"),
    Optimiser("lion", 0.003, moments="int8", accumulate=2),
]


@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=lambda o: f"{o.kind}-{o.moments}")
def test_a_step_is_the_same_in_numpy_and_c(
    digits: Module, optimiser: Optimiser, host_compiler: Toolchain
) -> None:
    found = training(digits, "biases=2,4,2:1/2", optimiser)
    module = from_module(found.module).module
    program = plan(module, board("cortex-m4"))
    proof = prove(module, program, calls(found, 7), hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


# Numbers that are none ------------------------------------------------------------------------


@pytest.mark.parametrize("moments", ["float32", "int8"])
@pytest.mark.parametrize("kind", ["sgd", "adam", "lion"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_gradient_that_is_no_number_moves_nothing_and_is_forgotten(
    kind: str, moments: str, accumulate: int
) -> None:
    """Floats and integers, and moments, which would carry it on for ever."""
    b = Builder()
    g = b.input("g", f32(2, 4))
    start = np.arange(8, dtype=np.float32).reshape(2, 4)
    w = b.state("w", f32(2, 4), start)
    q = b.state("q", s8(2, 4, scale=0.5), start.astype(np.int8))
    optimiser = Optimiser(kind, 0.1, momentum=0.5, moments=moments, accumulate=accumulate)
    updates = Updates(b, optimiser)
    updates.update(Tensor(w, None, True), g)
    updates.update(Tensor(q, np.full((1, 1), 0.5), True), g)
    session = Session(b.module((call(b, "neg", g),), updates=updates.left))
    bad = np.ones((2, 4), np.float32)
    bad[0] = np.nan, np.inf, -np.inf, 1.0
    for _ in range(accumulate):
        session.run({"g": bad})
    still = 1 if kind == "lion" and accumulate == 1 else 3  # an infinite one has a sign
    assert np.array_equal(session.states["w"][0, :still], start[0, :still])
    assert np.array_equal(session.states["q"][0, :still], start[0, :still])
    for _ in range(8 * accumulate):
        session.run({"g": np.ones((2, 4), np.float32)})
    states = {n: v for n, v in session.states.items() if v.dtype == np.float32}
    assert all(np.all(np.isfinite(v)) for v in states.values())
    assert np.all(session.states["w"] < start), "they learn again"


@pytest.mark.shared
def test_channels_without_weights_stay(shared: Path) -> None:
    """Quantisers give them the least scale: MCUNet-5fps has one in layer 18."""
    module = load(str(shared / "models/tiny_training/mcunet-5fps.pkl")).module
    scheme = UpdateScheme(24, {18: 1.0, 39: 1.0})
    found = trainable(module, scheme, Optimiser(rate=1.0), classes=4)
    frozen = {(t.index, len(t.shape)): t.frozen for t in found.tensors if t.frozen}
    assert frozen[18, 4] == 1
    assert {index for index, rank in frozen if rank == 1} == {
        18,
        19,
        24,
        25,
        27,
        28,
        33,
        34,
        36,
        37,
    }
    (weights,) = (t.name for t in found.tensors if (t.index, len(t.shape)) == (18, 4))
    (bias,) = (t.name for t in found.tensors if (t.index, len(t.shape)) == (24, 1))
    x = found.module.inputs(ENTRY)[0]
    picture = np.random.default_rng(0).integers(-128, 128, x.type.shape).astype(np.int8)
    session = Session(found.module)
    session.run({x.name: picture, "label": np.zeros(1, np.int32)}, ENTRY)
    for name, index in ((weights, 18), (bias, 24)):
        layer = layers(module)[index]
        data = module.params[layer.weight.name].data
        assert data is not None
        empty = ~data.reshape(len(data), -1).any(axis=1)
        assert np.array_equal(session.states[name][empty], found.module.states[name].init[empty])
        assert np.any(session.states[name] != found.module.states[name].init)


@pytest.mark.parametrize("wrong", [{"accumulate": 0}, {"moments": "int4"}])
def test_optimisers_say_what_is_wrong(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        replace(Optimiser(), **wrong)

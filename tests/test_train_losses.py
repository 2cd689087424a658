"""Networks that are no classifiers and learn: autoencoders, regressions, yes/no questions."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from tests.cli_case import runner

from lilliput.compiler import Lessons, from_module, learner, load, taught
from lilliput.data import DataSet, Split
from lilliput.devices.device import load as board
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain, find
from lilliput.errors import GraphError, UsageError
from lilliput.ir import Array, Builder, Module, Session, Value
from lilliput.ir.text import save
from lilliput.ir.types import Quant, f32, s8
from lilliput.ops.elementwise import Clamp
from lilliput.ops.gradient import call
from lilliput.ops.registry import get
from lilliput.plan.build import plan
from lilliput.train.build import ENTRY, EVALUATE, Training, trainable
from lilliput.train.fast import prepare
from lilliput.train.optimisers import Optimiser
from lilliput.train.schemes import UpdateScheme
from lilliput.train.simulate import Plan, Simulator

SIZE, INSIDE = 24, 6
SCALE = 1 / 32


def dense(b: Builder, x: Value, count: int, seed: int, scale: float = SCALE) -> Value:
    """A layer of int8, or of float32, like its operand."""
    rng = np.random.default_rng(seed)
    bound = 1 / np.sqrt(x.type.size)
    w = rng.uniform(-bound, bound, (count, x.type.size)).astype(np.float32)
    if x.type.dtype.is_float:
        bias = b.param(f"{seed}/bias", np.zeros(count, np.float32))
        return b.add(get("linear"), (x, b.param(f"{seed}/w", w), bias), name=f"layer{seed}")
    size = tuple(float(np.float32(s)) for s in np.abs(w).max(axis=1) / 127)
    stored = np.rint(w / np.array(size)[:, None]).astype(np.int8)
    weight = b.param(f"{seed}/w", stored, Quant(size, (0,) * count, 0))
    bias = b.param(f"{seed}/bias", np.zeros(count, np.int32))
    type = s8(1, count, scale=scale)
    return b.add(get("linear"), (x, weight, bias), type=type, name=f"layer{seed}")


def autoencoder(integers: bool = True) -> Module:
    """24 numbers through 6, without a classifier anywhere."""
    b = Builder()
    x = b.input("x", s8(1, SIZE, scale=SCALE) if integers else f32(1, SIZE))
    hidden = dense(b, x, INSIDE, 1)
    low = 0 if integers else 0.0
    hidden = b.add(get("clamp"), (hidden,), Clamp(low, 127 if integers else 100.0))
    return b.module((dense(b, hidden, SIZE, 2),), name="autoencoder")


def waves(count: int, seed: int = 0) -> Array:
    """(count, 24) of few degrees of freedom, in -1 .. 1."""
    rng = np.random.default_rng(seed)
    phase, size = rng.uniform(0, 2, (count, 1)), rng.uniform(0.3, 1, (count, 1))
    wave = size * np.sin(2 * np.pi * np.arange(SIZE) / SIZE + phase)
    return wave.astype(np.float32)


def stored(x: Array, module: Module) -> Array:
    type = module.inputs(module.entry)[0].type
    return x if type.quant is None else np.rint(x / type.scale).astype(np.int8)


def learned(module: Module, scheme: UpdateScheme, rate: float) -> tuple[float, float, Simulator]:
    """Mean loss of other waves before and after."""
    found = trainable(module, scheme, Optimiser(rate=rate), loss="reconstruction")
    simulator = Simulator(found, prepare)
    learn = simulator.learning(stored(waves(200), module))
    test = simulator.testing(stored(waves(40, 1), module))
    before = simulator.loss(test)
    (*_, last) = simulator.fit(learn, test, Plan(epochs=4, rate=rate))
    assert np.isnan(last.accuracy)
    assert last.tested is not None
    assert f"of test examples {last.tested:.4f}" in str(last)
    return before, last.tested, simulator


@pytest.mark.parametrize("integers", [True, False])
def test_an_autoencoder_learns_what_is_normal(integers: bool) -> None:
    """And what is not stands out."""
    module = autoencoder(integers)
    before, after, simulator = learned(module, UpdateScheme(1, {0: 1.0}), 0.3)
    assert after < 0.3 * before
    strange = np.random.default_rng(5).uniform(-1, 1, (40, SIZE)).astype(np.float32)
    assert simulator.loss(simulator.testing(stored(strange, module))) > 4 * after


def test_its_step_takes_nothing_but_the_input(host_compiler: Toolchain) -> None:
    found = trainable(autoencoder(), UpdateScheme(1, {0: 1.0}), loss="reconstruction")
    assert [v.name for v in found.module.inputs(ENTRY)] == [f"{ENTRY}/x"]
    assert [v.name for v in found.module.outputs(ENTRY)] == ["loss", f"{ENTRY}/layer2"]
    assert len(found.tensors) == 4
    module = from_module(found.module).module
    calls = [Call(ENTRY, {f"{ENTRY}/x": x[None]}) for x in stored(waves(5), module)]
    device = board("cortex-m4")
    target = (find(device.core), device)
    proof = prove(module, plan(module, device), calls, hosts=[host_compiler], target=target)
    assert proof.exact, str(proof.difference)


def test_the_header_says_so() -> None:
    model = from_module(autoencoder())
    found = learner(model, board("stm32f746"), "full", loss="reconstruction")
    files = found.compiled.files.items()
    (header,) = (text for name, text in files if name.endswith("autoencoder.h"))
    assert re.search(r"autoencoder_train_step\(const int8_t \*\w+, float \*loss\)", header)
    assert found.to_json()["loss"] == "reconstruction"


def test_it_is_evaluated_without_a_label(host_compiler: Toolchain) -> None:
    scheme = UpdateScheme(1, {0: 1.0})
    found = trainable(autoencoder(), scheme, loss="reconstruction", evaluate=True)
    (x,) = stored(waves(1), found.module)
    session = Session(found.module)
    looked = session.run({f"{EVALUATE}/x": x[None]}, EVALUATE).outputs[f"{EVALUATE}/loss"]
    assert all(np.array_equal(v, found.module.states[n].init) for n, v in session.states.items())
    assert looked == session.run({f"{ENTRY}/x": x[None]}, ENTRY).outputs["loss"]
    module = from_module(found.module).module
    calls = [Call(entry, {f"{entry}/x": x[None]}) for entry in (ENTRY, EVALUATE)]
    proof = prove(module, plan(module, board("cortex-m4")), calls, hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


def regression(loss: str) -> Training:
    b = Builder()
    x = b.input("x", f32(1, SIZE))
    y = dense(b, call(b, "tanh", dense(b, x, 8, 1)), 2, 2)
    y = call(b, "logistic", y) if loss == "bce" else y
    return trainable(b.module((y,)), UpdateScheme(1, {0: 1.0}), Optimiser(rate=0.1), loss=loss)


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_targets_are_numbers(loss: str) -> None:
    """Where a wave begins; and two questions about it, of which `infer` gives probabilities."""
    found = regression(loss)
    simulator = Simulator(found, prepare)
    x, other = waves(300), waves(60, 1)

    def targets(x: Array) -> Array:
        size = np.stack([x.max(axis=1), x[:, 0]], 1)
        return (size > 0.5).astype(np.float32) if loss == "bce" else size

    learn, test = simulator.learning(x, targets(x)), simulator.testing(other, targets(other))
    before = simulator.loss(test)
    simulator.fit(learn, test, Plan(epochs=8, rate=0.1))
    assert simulator.loss(test) < 0.5 * before
    session = Session(found.module)
    given = {f"{ENTRY}/x": x[:1], "target": np.full((1, 2), np.nan, np.float32)}
    assert session.run(given, ENTRY).refused == "target"


def test_the_logistic_function_of_bce_is_part_of_the_loss() -> None:
    """Its gradient is p - t, also where p is 1 to the bit."""
    b = Builder()
    x = b.input("x", f32(1, 4))
    w = b.param("w", np.full((1, 4), 100, np.float32))
    y = call(b, "logistic", call(b, "linear", x, w))
    found = trainable(b.module((y,)), UpdateScheme(), Optimiser(rate=1.0), loss="bce")
    session = Session(found.module)
    assert session.run({"x": np.ones((1, 4), np.float32)}).outputs[y.name][0, 0] == 1
    given = {f"{ENTRY}/x": np.ones((1, 4), np.float32), "target": np.zeros((1, 1), np.float32)}
    session.run(given, ENTRY)
    assert np.array_equal(session.states["w"], np.full((1, 4), 99, np.float32))


def test_what_does_not_fit_a_loss_is_said() -> None:
    module = autoencoder()
    with pytest.raises(UsageError, match="unknown loss"):
        trainable(module, UpdateScheme(), loss="hinge")
    with pytest.raises(UsageError, match="classes are of a classifier"):
        trainable(module, UpdateScheme(), loss="mse", classes=3)
    b = Builder()
    bare = b.module((call(b, "relu", b.input("x", f32(1, 4))),))
    with pytest.raises(GraphError, match="nothing to train"):
        trainable(bare, UpdateScheme(), loss="reconstruction")
    simulator = Simulator(regression("mse"))
    for wrong in (None, np.zeros((2, 2)), np.zeros((3, 1))):
        with pytest.raises(UsageError):
            simulator.learning(waves(3), wrong)


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data = tmp_path / "autoencoder.lilliput", tmp_path / "waves.npz"
    model.write_bytes(save(autoencoder()))
    np.savez(data, x_train=waves(60), x_test=waves(20, 1))
    command = ["train", model, "--device", "stm32f746", "--scheme", "full", "--rate", 0.3]
    command += ["--loss", "reconstruction", "--data", data, "--epochs", 2, "--json"]
    found = runner(capsys)(*command)
    assert found.code == 0, found.text
    result = found.json["simulated"]
    assert result["curve"][-1]["tested"] < result["loss_before"]
    assert "accuracy" not in result["curve"][-1]


@pytest.mark.shared
def test_the_published_autoencoder_goes_on_learning(shared: Path) -> None:
    """ad01 of MLPerf Tiny, int8, on one sound that it does not know."""
    model = load(str(shared / "models/mlperf_tiny/ad01_int8.tflite"))
    x = model.module.inputs(model.module.entry)[0].type
    rng = np.random.default_rng(0)
    hum = 20 * np.sin(np.arange(x.size) / 7) + rng.normal(size=(40, x.size))
    sounds = np.clip(hum, -128, 127).astype(np.int8).reshape(40, *x.shape[1:])
    data = DataSet({"train": Split(sounds[:30]), "test": Split(sounds[30:])})
    found = learner(
        model, board("stm32h743"), "last=3", Optimiser(rate=1e-3), loss="reconstruction"
    )
    result = taught(found, data, Lessons(epochs=2, rate=1e-3), fast=True)
    (*_, last) = result.curve
    assert last.tested is not None
    assert last.tested < 0.8 * result.before

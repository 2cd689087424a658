"""Classes that are added later, and a loss that moves nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lilliput import compiler
from lilliput.codegen.emit import emit
from lilliput.demo_data import digits_model
from lilliput.devices.device import load as board
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain
from lilliput.errors import GraphError, ModelError, UsageError
from lilliput.ir import Array, Guard, Module, Session, State, verify
from lilliput.ir.text import load as load_module
from lilliput.ir.text import parse_module, print_module, save
from lilliput.ops.registry import get
from lilliput.plan.build import plan
from lilliput.train.build import ENTRY, EVALUATE, Training, trainable
from lilliput.train.classes import UNUSED
from lilliput.train.optimisers import Optimiser
from lilliput.train.schemes import UpdateScheme
from lilliput.train.simulate import Simulator

FEW, MOST = 4, 6
CORE = "cortex-m4"


@pytest.fixture(scope="module")
def digits() -> Module:
    return compiler.load(digits_model()).module


def training(
    network: Module, most: int | None = MOST, optimiser: Optimiser | None = None
) -> Training:
    scheme = UpdateScheme(biases=2, weights={3: 1.0})
    return trainable(network, scheme, optimiser, classes=FEW, max_classes=most, evaluate=True)


def examples(found: Training, count: int, classes: int) -> list[dict[str, Array]]:
    x, rng = found.module.inputs(ENTRY)[0], np.random.default_rng(2)
    pictures = rng.integers(-128, 128, (count, *x.type.shape)).astype(np.int8)
    return [{x.name: pictures[i], "label": np.full(1, i % classes, np.int32)} for i in range(count)]


def of(entry: str, example: dict[str, Array]) -> dict[str, Array]:
    """The example under the names of another entry's inputs."""
    x, label = example.values()
    pixels = next(iter(example)).split("/")[-1]
    given = {f"{entry}/{pixels}": x, f"{entry}/label": label}
    return given if entry != "infer" else {pixels: x}


def used(session: Session | Simulator, classes: int) -> None:
    session.states["classes"] = np.full(1, classes, np.int32)


@pytest.mark.parametrize(
    "optimiser", [Optimiser(rate=0.02), Optimiser("adam", 0.01), Optimiser("lion", 0.003)]
)
def test_a_wide_head_learns_as_one_of_the_classes_in_use(
    digits: Module, optimiser: Optimiser
) -> None:
    """Losses and states, to the bit, and what is not in use does not move."""
    wide, narrow = (training(digits, most, optimiser) for most in (MOST, None))
    one, other = Session(wide.module), Session(narrow.module)
    heads = [n for n in other.states if n.startswith("head/")]
    for name in heads:
        other.states[name] = one.states[name][:FEW].copy()
    for example in examples(wide, 12, FEW):
        ran, expected = one.run(example, ENTRY), other.run(example, ENTRY)
        assert ran.outputs["loss"].tobytes() == expected.outputs["loss"].tobytes()
        logits = ran.outputs[f"{ENTRY}/used_logits"]
        assert np.all(logits[0, FEW:] == np.float32(UNUSED))
    for name, state in other.states.items():
        cut = one.states[name][:FEW] if name in heads else one.states[name]
        assert cut.tobytes() == state.tobytes(), name
    for name in ("head/weight", "head/bias"):
        assert np.array_equal(one.states[name][FEW:], wide.module.states[name].init[FEW:])


def test_labels_of_classes_that_are_not_in_use_are_refused(digits: Module) -> None:
    found = training(digits)
    session = Session(found.module)
    example = examples(found, 1, 1)[0]
    for count in (FEW, FEW + 1, MOST):
        used(session, count)
        for label in (-1, 0, count - 1, count, MOST):
            given = {**example, "label": np.full(1, label, np.int32)}
            expected = "" if 0 <= label < count else "label"
            assert session.run(given, ENTRY).refused == expected
            expected = expected and f"{EVALUATE}/label"
            assert session.run(of(EVALUATE, given), EVALUATE).refused == expected


def test_a_class_that_is_added_is_learnt(digits: Module) -> None:
    found = training(digits, optimiser=Optimiser(rate=0.02))
    simulator, rows = Simulator(found), examples(found, 10, 5)
    x, y = (np.concatenate([list(r.values())[k] for r in rows]) for k in (0, 1))
    old = y < FEW
    learn, test = simulator.learning(x, y), simulator.testing(x, y)
    for i in np.flatnonzero(old).tolist() * 8:
        simulator.step(learn, i)
    assert not np.any(simulator.logits(test).argmax(1) >= FEW)
    before = {n: s.copy() for n, s in simulator.states.items()}
    simulator.step(learn, int(np.flatnonzero(~old)[0]))
    assert all(np.array_equal(before[n], s) for n, s in simulator.states.items()), "refused"
    used(simulator, FEW + 1)
    for i in list(range(10)) * 8:
        simulator.step(learn, i)
    assert simulator.accuracy(test) == 1


def test_a_simulation_refuses_labels_that_the_device_would_refuse(digits: Module) -> None:
    found = training(digits)
    simulator, rows = Simulator(found), examples(found, 5, 5)
    x, y = (np.concatenate([list(r.values())[k] for r in rows]) for k in (0, 1))
    with pytest.raises(UsageError, match="classes that are not in use"):
        simulator.fit(simulator.learning(x, y))
    used(simulator, 5)
    assert len(simulator.fit(simulator.learning(x, y))) == 1


def test_the_fast_simulation_knows_of_classes(digits: Module) -> None:
    pytest.importorskip("torch", reason="torch is not installed (extra torch)")
    fast = pytest.importorskip("lilliput.train.fast")
    found = training(digits, optimiser=Optimiser(rate=0.02))
    one, other = Simulator(found), Simulator(found, fast.prepare)
    rows = examples(found, 4, FEW)
    x, y = (np.concatenate([list(r.values())[k] for r in rows]) for k in (0, 1))
    first, second = (s.step(s.learning(x, y), 0) for s in (one, other))
    assert first[0] == pytest.approx(second[0], rel=1e-5)
    assert np.array_equal(first[1][FEW:], second[1][FEW:])
    assert np.allclose(one.states["head/weight"], other.states["head/weight"], atol=1e-5)


def test_evaluating_gives_the_loss_of_a_step_and_moves_nothing(digits: Module) -> None:
    found = training(digits)
    session = Session(found.module)
    assert found.module.updates(EVALUATE) == {}
    for example in examples(found, 4, FEW):
        loss = session.run(of(EVALUATE, example), EVALUATE).outputs[f"{EVALUATE}/loss"]
        stepped = session.run(example, ENTRY).outputs["loss"]
        assert loss.tobytes() == stepped.tobytes()


def test_other_losses_are_evaluated_as_well(digits: Module) -> None:
    found = trainable(digits, UpdateScheme(biases=2), loss="mse", evaluate=True)
    session, rng = Session(found.module), np.random.default_rng(4)
    x, target = found.module.inputs(ENTRY)
    for _ in range(3):
        given = {
            x.name: rng.integers(-128, 128, x.type.shape).astype(np.int8),
            target.name: rng.random(target.type.shape).astype(np.float32),
        }
        renamed = {
            n.name: given[v.name]
            for n, v in zip(found.module.inputs(EVALUATE), (x, target), strict=True)
        }
        loss = session.run(renamed, EVALUATE).outputs[f"{EVALUATE}/loss"]
        assert loss.tobytes() == session.run(given, ENTRY).outputs["loss"].tobytes()
        endless = {**renamed, f"{EVALUATE}/target": np.full(target.type.shape, np.inf, np.float32)}
        assert session.run(endless, EVALUATE).refused == f"{EVALUATE}/target"


def test_every_entry_is_the_same_in_numpy_and_c(digits: Module, host_compiler: Toolchain) -> None:
    module = compiler.from_module(training(digits).module).module
    rows = examples(training(digits), 10, MOST)
    calls = [Call(ENTRY, row) for row in rows]
    calls += [Call(EVALUATE, of(EVALUATE, row)) for row in rows]
    calls += [Call("infer", of("infer", row)) for row in rows[:2]]
    proof = prove(module, plan(module, board(CORE)), calls, hosts=[host_compiler])
    assert proof.exact, str(proof.difference)
    refused = [bool(r.refused) for r in proof.expected]
    assert refused == [k % MOST >= FEW for k in range(10)] * 2 + [False, False]


@pytest.mark.unicorn
def test_classes_are_counted_on_the_core_and_the_count_is_saved(digits: Module) -> None:
    found = training(digits, optimiser=Optimiser(rate=0.02))
    compiled = compiler.compile(
        compiler.from_module(found.module), board(CORE), compiler.Options("none")
    )
    session, rows = Session(found.module), examples(found, 12, MOST)
    with compiler.emulated(compiled) as device:
        assert device.get("classes") == FEW
        for count in (FEW, FEW + 1, MOST):
            assert device.set("classes", count) == "OK"
            used(session, count)
            for row in rows:
                ran, answer = session.run(row, ENTRY), device.call(ENTRY, row)
                assert answer.status == ("INVALID" if ran.refused else "OK")
                if not ran.refused:
                    assert answer.outputs["loss"].tobytes() == ran.outputs["loss"].tobytes()
        for count in (-1, 0, 1, MOST + 1, 2**31 - 1):
            assert device.set("classes", count) == "INVALID"
        states = device.states()
        assert all(states[n].tobytes() == s.tobytes() for n, s in session.states.items())
        assert device.save() == "OK"
        device.on()
        assert device.get("classes") == FEW
        assert device.load() == "OK"
        assert device.get("classes") == MOST


def test_the_header_says_what_may_be_set_and_names_are_short(digits: Module) -> None:
    module = compiler.from_module(training(digits).module).module
    header = emit(plan(module, board(CORE)))["digits.h"]
    assert "state classes: s32; from 2 to 6, else it is refused" in header
    assert "digits_status digits_set_classes(int32_t value);" in header
    step = "(const int8_t *pixels, int32_t label, float *loss);"
    assert f"digits_status digits_train_step{step}" in header
    assert f"digits_status digits_evaluate{step}" in header


# The text form, and what is no count ------------------------------------------------------


def test_bounds_and_limits_are_in_the_file(digits: Module) -> None:
    module = training(digits).module
    text = print_module(module)
    assert "state %classes : s32[1] saved settable (2, 6)" in text
    assert "guard %label (0, 5) below %classes" in text
    again = load_module(save(module), get)
    assert print_module(again) == text
    assert again.guards == module.guards
    arrays = {s.name: s.init for s in module.states.values()}
    arrays |= {p.name: p.data for p in module.params.values() if p.data is not None}
    with pytest.raises(ModelError, match="not the bounds of a setting"):
        parse_module(text.replace("settable (2, 6)", "settable (2.5, 6)"), arrays, get)


@pytest.mark.parametrize(
    ("guard", "where"),
    [
        (Guard("label", 0, 5, "head/bias"), "guard below what is no count"),
        (Guard("label", 0, 5, "learning_rate"), "guard below what is no count"),
        (Guard("label", 0, 5, "nothing"), "guard below what is no count"),
        (Guard("loss", 0, 5, "classes"), "guard below what is no count"),
    ],
)
def test_a_limit_is_an_integer_state_of_the_entry(digits: Module, guard: Guard, where: str) -> None:
    module = training(digits).module
    with pytest.raises(GraphError, match=where):
        verify(replace(module, guards={ENTRY: (guard,)}))


@pytest.mark.parametrize(
    "change",
    [
        {"bounds": (5, 6)},
        {"settable": False},
        {"init": np.full(1, 7, np.int32)},
    ],
)
def test_a_setting_is_within_its_bounds(digits: Module, change: dict[str, object]) -> None:
    module = training(digits).module
    state: State = replace(module.states["classes"], **change)
    with pytest.raises(GraphError, match="bounds of what is not a setting within them"):
        verify(replace(module, states={**module.states, "classes": state}))


@pytest.mark.parametrize(("classes", "most"), [(4, 4), (4, 3), (None, 9)])
def test_more_classes_than_at_the_beginning(digits: Module, classes: int | None, most: int) -> None:
    with pytest.raises(UsageError, match="classes that may come"):
        trainable(digits, UpdateScheme(), classes=classes, max_classes=most)

"""A board that stays powered: calls one after the other, settings, saves that lose power."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.learner import CLASSES, core, examples, learner, program

from lilliput import compiler
from lilliput.codegen.emit import emit
from lilliput.codegen.harness import extract, harness
from lilliput.demo_data import digits_model
from lilliput.devices.device import Device, load
from lilliput.emu.live import DARK, Board
from lilliput.emu.machine import Command, run_host
from lilliput.emu.toolchain import Toolchain, build_host
from lilliput.errors import EmulationError, UsageError
from lilliput.ir import Array, Session
from lilliput.plan.program import Program
from lilliput.train.build import ENTRY, Training, trainable
from lilliput.train.heads import with_head
from lilliput.train.layers import layers
from lilliput.train.optimisers import Optimiser
from lilliput.train.schemes import parse
from lilliput.train.simulate import Simulator

pytestmark = pytest.mark.unicorn


def board_of(module_name: str = "learner", device: Device | None = None) -> Board:
    device = device or core()
    made = program(module_name, device)
    return Board(made, emit(made), device)


def assert_states(found: dict[str, Array], expected: dict[str, Array]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize("name", ["cortex-m0plus", "cortex-m4", "rv32imc"])
def test_what_is_saved_outlives_the_power(name: str) -> None:
    session = Session(learner())
    with board_of(device=core(name)) as board:
        assert board.load() == "NO_CHECKPOINT"
        assert board.set("learning_rate", 0.125) == "OK"
        session.states["learning_rate"] = np.full(1, 0.125, np.float32)
        for example in examples(4):
            expected = session.run(example, "train_step").outputs
            answer = board.call("train_step", example)
            assert answer.status == "OK"
            for output, array in expected.items():
                assert answer.outputs[output].tobytes() == array.tobytes()
        assert board.save() == "OK"
        assert_states(board.states(), session.states)
        board.off()
        assert not board.powered
        board.on()
        assert board.get("learning_rate") == 0.25
        assert board.load() == "OK"
        kept = {**session.states, "last_loss": np.full((1, 1), -1, np.float32)}
        assert_states(board.states(), kept)


def test_power_that_fails_in_a_save_leaves_the_last_one() -> None:
    with board_of() as board:
        example = examples(1)[0]
        board.call("train_step", example)
        assert board.save() == "OK"
        kept = board.states()
        kept["last_loss"] = np.full((1, 1), -1, np.float32)
        slot = len(board.flash) // 2
        whole = board.program.saved
        written = 32 + sum(board.program.buffers[s.name].nbytes for s in whole)
        for cut in (0, 1, slot - 1, slot, slot + 31, slot + written - 1):
            board.call("train_step", example)
            assert board.save(cut=cut) == DARK
            assert not board.powered
            board.on()
            assert board.load() == "OK"
            assert_states(board.states(), kept)
        board.call("train_step", example)
        moved = board.states()
        padded = -(-written // 8) * 8
        assert board.save(cut=slot + padded) == "OK", "that byte is never reached"
        board.on()
        assert board.load() == "OK"
        assert board.states()["w"].tobytes() == moved["w"].tobytes()


def test_reset_brings_the_factory_back_and_a_save_makes_it_stay() -> None:
    factory = Session(learner()).states
    with board_of() as board:
        board.call("train_step", examples(1)[0])
        board.save()
        learned = board.states()
        board.reset()
        assert_states(board.states(), factory)
        assert board.load() == "OK"
        assert board.states()["w"].tobytes() == learned["w"].tobytes(), "reset leaves the flash"
        board.reset()
        assert board.save() == "OK"
        board.on()
        assert board.load() == "OK"
        assert_states(board.states(), factory)


def test_calls_are_refused_as_in_the_firmware() -> None:
    with board_of() as board:
        before = board.states()
        example = examples(1)[0]
        wrong = {**example, "label": np.full(1, CLASSES, np.int32)}
        assert board.call("train_step", wrong).status == "INVALID"
        endless = {**example, "image": np.full_like(example["image"], 3e38)}
        answer = board.call("train_step", endless)
        assert (answer.status, dict(answer.outputs)) == ("DIVERGED", {})
        assert board.set("learning_rate", float("nan")) == "INVALID"
        assert_states(board.states(), before)


def test_a_flash_of_another_program_is_foreign() -> None:
    with board_of() as board:
        board.save()
        board.off()
        foreign = board.flash
    with board_of("other") as board:
        board.off()
        board.flash = foreign
        board.on()
        assert board.load() == "FOREIGN"


def test_what_a_board_cannot_do_is_said() -> None:
    with board_of() as board:
        with pytest.raises(UsageError, match="no such entry"):
            board.call("train", {})
        with pytest.raises(UsageError, match=r"expected: f32\[1,4\]"):
            board.call("train_step", {})
        with pytest.raises(UsageError, match="no such setting"):
            board.set("steps", 1)
        board.off()
        with pytest.raises(UsageError, match="the board is off"):
            board.load()
    with pytest.raises(UsageError, match="Unicorn has no model"):
        board_of(device=load("cortex-m55"))


def test_a_fault_names_its_function() -> None:
    made = program(device=core())
    files, answer = emit(made), "return LEARNER_OK;"
    broken = files["learner.c"].replace(answer, f"*(volatile uint32_t *)0xC0000000u = 1u; {answer}")
    with Board(made, {**files, "learner.c": broken}, core()) as board:
        with pytest.raises(EmulationError, match="learner_set_learning_rate"):
            board.set("learning_rate", 0.5)
        with pytest.raises(UsageError, match="the board is off"):
            board.states()


def test_an_emulator_that_is_gone_is_said() -> None:
    with board_of() as board:
        child = board._core.child  # type: ignore[union-attr]
        child.kill()
        child.wait()
        with pytest.raises(EmulationError, match="the emulator failed"):
            board.states()
        assert not board.powered


def test_a_core_that_does_not_answer_is_gone() -> None:
    made = program(device=core())
    files, answer = emit(made), "return LEARNER_OK;"
    endless = files["learner.c"].replace(answer, f"for (;;) {{ value += 1.0f; }} {answer}", 1)
    with Board(made, {**files, "learner.c": endless}, core(), timeout=3) as board:
        with pytest.raises(EmulationError, match="does not answer"):
            board.set("learning_rate", 0.5)
        assert not board.powered


# A whole network --------------------------------------------------------------------------

STEPS = 100


def training(scheme: str, optimiser: Optimiser) -> Training:
    network = compiler.load(digits_model()).module
    found = layers(with_head(network, 10))
    return trainable(network, parse(scheme, found), optimiser, classes=10)


def on_the_host(
    made: Program, calls: Sequence[dict[str, Array]], host: Toolchain, folder: Path
) -> tuple[list[float], dict[str, Array]]:
    """Losses and states after the calls of `train_step`, by the C under sanitizers."""
    marks = harness(made, operations=True)
    files = {**emit(made), "harness_model.h": marks.header}
    binary = build_host(host, files, folder, defines=marks.defines)
    entry = next(e for e in made.entries if e.name == ENTRY)
    step, states = marks.names.index(ENTRY), marks.names.index("states")
    data = [tuple(call[v.name].tobytes() for v, _ in entry.inputs) for call in calls]
    commands = [Command("reset"), *(Command("run", step, d) for d in data)]
    *runs, last = run_host(binary, [*commands, Command("run", states)], 600)
    place = [v.name for v, _ in entry.outputs].index("loss")
    losses = [float(np.frombuffer(r.outputs[place], "<f4")[0]) for r in runs]
    pairs = zip(made.states, last.outputs, strict=True)
    return losses, {s.name: extract(s.view, raw).reshape(s.init.shape) for s, raw in pairs}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "optimiser"),
    [
        ("last=2", Optimiser(rate=0.02, rule="residual")),
        ("biases=3,0:1/2,3:1/4", Optimiser(rate=0.02, momentum=0.9, rule="dither")),
        ("full", Optimiser("adam", 0.003, weight_decay=0.01, rule="nearest")),
    ],
)
def test_a_hundred_steps_are_the_same_everywhere(
    scheme: str, optimiser: Optimiser, host_compiler: Toolchain, tmp_path: Path
) -> None:
    """NumPy, C under sanitizers and the core; then power fails in saves of what was learned, and
    training goes on as if it had not."""
    found = training(scheme, optimiser)
    compiled = compiler.compile(
        compiler.from_module(found.module), load("cortex-m4"), compiler.Options("none")
    )
    rng = np.random.default_rng(3)
    x = found.module.inputs(ENTRY)[0]
    pictures = rng.integers(-128, 128, (STEPS, *x.type.shape[1:])).astype(np.int8)
    labels = rng.integers(0, 10, STEPS).astype(np.int32)
    host = Simulator(found)
    learn = host.learning(pictures, labels)
    expected = [host.step(learn, i)[0] for i in range(STEPS)]
    calls = [{x.name: pictures[i : i + 1], "label": labels[i : i + 1]} for i in range(STEPS)]
    losses, states = on_the_host(compiled.program, calls, host_compiler, tmp_path)
    assert losses == expected
    assert_states(states, host.states)
    with compiler.emulated(compiled) as board:
        answers = [board.call(ENTRY, call).outputs["loss"] for call in calls]
        assert [float(a[0]) for a in answers] == expected
        assert_states(board.states(), host.states)
        assert board.save() == "OK"
        slot = len(board.flash) // 2
        for cut in (5, slot // 2, slot + 3, slot + slot // 2):
            board.call(ENTRY, calls[0])
            assert board.save(cut=cut) == DARK
            board.on()
            assert board.load() == "OK"
            assert_states(board.states(), host.states)
        for i in range(5):
            assert float(board.call(ENTRY, calls[i]).outputs["loss"][0]) == host.step(learn, i)[0]
        assert_states(board.states(), host.states)


@pytest.mark.models
@pytest.mark.shared
def test_a_published_network_learns_on_the_core_as_on_the_host(shared: Path) -> None:
    """MCUNet-5fps of MCUNetV3 with its scheme of 49 kB, and room for more classes."""
    found = compiler.learner(
        compiler.load(shared / "models" / "tiny_training" / "mcunet-5fps.pkl"),
        load("stm32f746"),
        "published:mcunet-49kb",
        Optimiser(rate=0.01),
        classes=6,
        max_classes=10,
        options=compiler.Options("none"),
    )
    x, rng = found.training.module.inputs(ENTRY)[0], np.random.default_rng(0)
    pictures = rng.integers(-128, 128, (3, *x.type.shape[1:])).astype(np.int8)
    labels = np.array([0, 3, 5], np.int32)
    host = Simulator(found.training)
    learn = host.learning(pictures, labels)
    with compiler.emulated(found.compiled) as board:
        for i in range(3):
            answer = board.call(ENTRY, {x.name: pictures[i : i + 1], "label": labels[i : i + 1]})
            assert float(answer.outputs["loss"][0]) == host.step(learn, i)[0]
            assert_states(board.states(), host.states)
        assert board.save() == "OK"
        assert board.save(cut=len(board.flash) // 2 + 9000) == DARK
        board.on()
        assert board.load() == "OK"
        assert_states(board.states(), host.states)

"""Entries that refuse a call: before any state is written, on every way that a program is run."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.learner import CLASSES, FEATURES, core, examples, learner
from tests.test_programs import (
    prove_everywhere,
    stream_with_memory,
    trainable,
    training_calls,
    two_memories,
)

from lilliput.codegen.emit import emit
from lilliput.emu.prove import Call
from lilliput.emu.toolchain import Toolchain
from lilliput.errors import CertificateError, GraphError, ModelError, PlanError
from lilliput.ir import Builder, Guard, Module, Session, State, finite, verify
from lilliput.ir.identity import identity
from lilliput.ir.text import load as load_module
from lilliput.ir.text import parse_module, print_module, save
from lilliput.ir.types import f32
from lilliput.ops.elementwise import add, mul, sub
from lilliput.ops.registry import get
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.check import check
from lilliput.plan.guard import guarded_first
from lilliput.plan.objective import Optimize
from lilliput.plan.program import Program, Stop

INFINITE = np.full((1, FEATURES), 3e38, np.float32)


def steps_with_refusals() -> list[Call]:
    """Good steps, labels that are no class, and a picture whose loss is no number."""
    calls = [Call("train_step", e) for e in examples(4)]
    for label in (CLASSES, -1, 2**31 - 1):
        wrong = {**examples(1)[0], "label": np.full(1, label, np.int32)}
        calls.append(Call("train_step", wrong))
    calls.append(Call("train_step", {**examples(1)[0], "image": INFINITE}))
    return [*calls, *(Call("train_step", e) for e in examples(3, seed=8))]


@pytest.mark.parametrize("late_loss", [False, True])
def test_a_refused_step_leaves_every_state_as_it_was(
    host_compiler: Toolchain, *, late_loss: bool
) -> None:
    module = learner(late_loss=late_loss)
    program = plan(module, core())
    proof = prove_everywhere(module, program, steps_with_refusals(), host_compiler)
    assert [r.refused for r in proof.expected] == [""] * 4 + ["label"] * 3 + ["loss"] + [""] * 3
    for refused in proof.expected[4:8]:
        assert refused.states is not proof.expected[3].states
        for name, array in refused.states.items():
            np.testing.assert_array_equal(array, proof.expected[3].states[name])
    assert not np.isfinite(proof.expected[7].outputs["loss"]).all()
    assert proof.expected[-1].states["steps"] == 7


def test_the_loss_is_made_first_wherever_it_was_and_no_weight_is_copied() -> None:
    """As much RAM, and as many calls, as where the author has put it first."""
    early, late = (plan(learner(late_loss=late), core()) for late in (False, True))
    assert early.arenas == late.arenas
    assert len(list(early.entries[1].calls())) == len(list(late.entries[1].calls()))
    ordered = guarded_first(learner(late_loss=True)).graphs["train_step"].nodes
    names = [n.output.name for n in ordered]
    assert names.index("loss") < min(names.index(n) for n in ("w_new", "bias_new", "steps_new"))
    module = learner()
    assert guarded_first(module) is module


@pytest.mark.parametrize("optimize", [Optimize.SPEED, Optimize.RAM])
def test_a_gradient_of_weights_that_updates_them_itself_comes_behind_the_guard(
    host_compiler: Toolchain, optimize: Optimize
) -> None:
    """A convolution's: its epilogue is the update, in place; nothing is larger for the guard."""
    plain = trainable()
    module = replace(plain, guards={"train": (finite("loss"),)})
    options = PlanOptions(optimize=optimize)
    program = plan(module, core(), options)
    assert program.arenas == plan(plain, core(), options).arenas
    one, two = training_calls(2)[0], training_calls(4)[2]
    bad = Call("train", {**one.inputs, "x_train": one.inputs["x_train"] * np.float32(1e38)})
    proof = prove_everywhere(module, program, [one, bad, two], host_compiler)
    assert [r.refused for r in proof.expected] == ["", "loss", ""]


def test_a_refused_call_waits_for_the_copies_that_it_has_started(host_compiler: Toolchain) -> None:
    device = two_memories()
    module = replace(trainable(), guards={"train": (finite("loss"),)})
    program = plan(module, device, PlanOptions(homes={"v": "store"}))
    one = training_calls(1)[0]
    bad = Call("train", {**one.inputs, "x_train": one.inputs["x_train"] * np.float32(1e38)})
    prove_everywhere(module, program, [one, bad, one], host_compiler, device)
    source = emit(program)["trainable.c"]
    assert re.search(r"trainable_copy_wait\(\);\s+return TRAINABLE_DIVERGED;", source)


def moved_to_the_end(program: Program) -> Program:
    entry = program.entries[1]
    stops = [s for s in entry.steps if isinstance(s, Stop)]
    others = [s for s in entry.steps if not isinstance(s, Stop)]
    steps = (*others, *stops)
    return replace(program, entries=(program.entries[0], replace(entry, steps=steps)))


def test_a_program_that_writes_a_state_before_its_guards_is_no_certificate() -> None:
    program = plan(learner(), core())
    with pytest.raises(CertificateError, match="may still be refused"):
        check(moved_to_the_end(program), {"ram": True, "flash": True})


def recurrent() -> Module:
    """The guarded output depends on the state's next value, which so cannot lie in its place."""
    b = Builder(names=set())
    x, h = b.input("x", f32(1, 6)), b.state("h", f32(1, 6), np.full((1, 6), 0.5, np.float32))
    new = b.add(add, (x, h), name="new")
    y = b.add(get("log"), (new,), name="y")
    module = b.module([y], updates={"h": new}, name="recurrent")
    return replace(module, guards={"infer": (finite("y"),)})


def test_a_state_that_the_guarded_value_has_read_is_updated_at_the_end(
    host_compiler: Toolchain,
) -> None:
    module = recurrent()
    rows = [np.full((1, 6), v, np.float32) for v in (1.0, -9.0, 2.0)]
    calls = [Call("infer", {"x": x}) for x in rows]
    proof = prove_everywhere(module, plan(module, core()), calls, host_compiler)
    assert [r.refused for r in proof.expected] == ["", "y", ""]
    assert float(proof.expected[2].states["h"][0, 0]) == 3.5


def with_callback(module: Module) -> Module:
    """A map that comes by rows, and a label that is guarded."""
    b = Builder(names=set())
    x, k = b.input("x", f32(1, 4, 3, 2)), b.input("k", f32(1))
    total = b.state("total", f32(1, 4, 3, 2), np.zeros((1, 4, 3, 2), np.float32))
    scaled = b.add(mul, (x, k), name="scaled")
    new = b.add(add, (total, scaled), name="new")
    size = b.add(get("abs"), (scaled,), name="size")
    graph = b.graph([size, new])
    state = State(total, b.states["total"].init, {"infer": new})
    guards = {"infer": (Guard("k", 0.0, 2.5), *module.guards.get("infer", ()))}
    return Module({"infer": graph}, dict(b.params), {"total": state}, "asks", guards)


def test_rows_that_are_asked_for_and_guards_go_together(host_compiler: Toolchain) -> None:
    module = with_callback(recurrent_without_guards())
    x = np.random.default_rng(2).normal(0, 1, (1, 4, 3, 2)).astype(np.float32)
    values = (1.0, 2.5, 2.75, -0.0, np.nan, -np.nan, np.inf)
    calls = [Call("infer", {"x": x, "k": np.full(1, v, np.float32)}) for v in values]
    program = plan(module, core(), PlanOptions(pull=frozenset({"x"})))
    proof = prove_everywhere(module, program, calls, host_compiler)
    assert [bool(r.refused) for r in proof.expected] == [v not in (1.0, 2.5, 0.0) for v in values]


def recurrent_without_guards() -> Module:
    return replace(recurrent(), guards={})


def test_a_weight_stays_where_its_new_value_is_no_number(host_compiler: Toolchain) -> None:
    b = Builder(names=set())
    step, w = b.input("step", f32(2, 4)), b.state("w", f32(2, 4), np.full((2, 4), 3, np.float32))
    moved = b.add(sub, (w, step), name="moved")
    new = b.add(get("finite_or"), (moved, w), name="new")
    module = b.module([b.add(get("abs"), (step,), name="size")], updates={"w": new}, name="keeps")
    steps = np.array([[1, np.nan, np.inf, -np.inf], [3e38, -3e38, -np.nan, 0]], np.float32)
    program = plan(module, core())
    proof = prove_everywhere(module, program, [Call("infer", {"step": steps})] * 2, host_compiler)
    left = proof.expected[1].states["w"]
    assert left[0].tolist() == [1, 3, 3, 3]
    assert left[1, 2:].tolist() == [3, 3]
    assert len(list(program.entries[0].calls())) == 2, "the update and its guard are one step"


def test_pushed_rows_and_saved_rings_are_refused() -> None:
    module = with_callback(recurrent_without_guards())
    with pytest.raises(PlanError, match="cannot refuse a call"):
        plan(module, core(), PlanOptions(pull=frozenset({"x"}), push=True))
    guarded = replace(module, guards={"infer": (finite("x"),)})
    with pytest.raises(PlanError, match="cannot refuse a call"):
        plan(guarded, core(), PlanOptions(pull=frozenset({"x"})))
    stream = stream_with_memory()
    ring = replace(stream.states["window"], saved=True)
    with pytest.raises(PlanError, match="a ring over time is not saved"):
        plan(replace(stream, states={**stream.states, "window": ring}), core())


def test_guards_and_marks_of_states_are_in_the_file() -> None:
    module = learner()
    text = print_module(module)
    assert "state %learning_rate : f32[1] saved settable" in text
    assert "guard %label (0, 2)" in text
    again = load_module(save(module), get)
    assert print_module(again) == text
    assert again.guards == module.guards
    arrays = {s.name: s.init for s in module.states.values()}
    arrays |= {p.name: p.data for p in module.params.values() if p.data is not None}
    assert print_module(parse_module(text, arrays, get)) == text


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("guard %loss", "unexpected text"),
        ("guard %loss (1,)", "not the bounds of a guard"),
        ('guard %loss (0, "a")', "not the bounds of a guard"),
        ("guard %nothing (0, 1)", "value is not defined before it is read"),
        ("guard %dw (0, 1)", "guard of no input or output"),
    ],
)
def test_a_damaged_guard_is_refused_where_it_stands(line: str, what: str) -> None:
    module = learner()
    text = print_module(module).replace("guard %label (0, 2)", line)
    arrays = {s.name: s.init for s in module.states.values()}
    arrays |= {p.name: p.data for p in module.params.values() if p.data is not None}
    with pytest.raises(ModelError, match=what):
        parse_module(text, arrays, get)


@pytest.mark.parametrize(
    ("guards", "what"),
    [
        ({"train_step": (finite("w"),)}, "guard of no input or output"),
        ({"train": (finite("loss"),)}, "guard of no input or output"),
        ({"train_step": (Guard("loss", 1.0, 0.0),)}, "guard that nothing passes"),
        ({"train_step": (Guard("loss", np.nan, 0.0),)}, "guard that nothing passes"),
    ],
)
def test_guards_that_mean_nothing_are_refused(
    guards: dict[str, Sequence[Guard]], what: str
) -> None:
    with pytest.raises(GraphError, match=what):
        verify(replace(learner(), guards={e: tuple(g) for e, g in guards.items()}))


def test_only_a_state_of_one_element_is_set() -> None:
    module = learner()
    states = {**module.states, "w": replace(module.states["w"], settable=True)}
    with pytest.raises(GraphError, match="only a state of one element"):
        verify(replace(module, states=states))


def test_an_input_that_is_refused_is_not_computed_with() -> None:
    session = Session(learner())
    before = dict(session.states)
    run = session.run({**examples(1)[0], "label": np.full(1, 9, np.int32)}, "train_step")
    assert run.refused == "label"
    assert run.outputs == {}
    assert run.states == before


def test_the_identity_is_of_the_network_and_of_what_is_saved_not_of_its_first_values() -> None:
    module = learner()
    one = identity(module)
    w = module.states["w"]
    other_start = replace(module, states={**module.states, "w": replace(w, init=w.init + 1)})
    assert identity(other_start) == one == plan(module, core()).identity
    fewer = replace(module, states={**module.states, "w": replace(w, saved=False)})
    turned = replace(module, states={n: module.states[n] for n in reversed(list(module.states))})
    half = replace(module.params["one"], data=np.full(1, 0.5, np.float32))
    changed = replace(module, params={**module.params, "one": half})
    found = {identity(m) for m in (module, fewer, turned, changed, learner("other"))}
    assert len(found) == 5
    nothing = {n: replace(s, saved=False) for n, s in module.states.items()}
    assert identity(replace(module, states=nothing)) == 0


FAST = """\
#include "learner.h"
int main(void) {
    const float x[4] = {3e38f, 3e38f, 3e38f, 3e38f};
    volatile float zero = 0.0f;
    learner_reset();
    const learner_status step = learner_train_step(x, 1, 0);
    const learner_status none = learner_set_learning_rate(zero / zero);
    const learner_status huge = learner_set_learning_rate(1.0f / zero);
    const int kept = learner_get_learning_rate() == 0.25f;
    return step == LEARNER_DIVERGED && none == LEARNER_INVALID && huge == none && kept ? 0 : 1;
}
"""


@pytest.mark.parametrize("name", ["gcc", "clang"])
def test_guards_hold_in_firmware_that_is_compiled_as_if_there_were_no_nan(
    name: str, tmp_path: Path
) -> None:
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    for path, text in {**emit(plan(learner(), core())), "main.c": FAST}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    build = [name, "-std=c11", "-O3", "-ffast-math", "main.c", "learner.c", "-o", "firmware"]
    subprocess.run(build, cwd=tmp_path, check=True, timeout=120)
    subprocess.run([tmp_path / "firmware"], check=True, timeout=20)


def test_the_header_has_only_what_the_module_asks_for() -> None:
    plain = emit(plan(recurrent_without_guards(), core()))
    assert "lilliput/checkpoint.h" not in plain
    assert "_status" not in plain["recurrent.h"]
    header = emit(plan(learner(), core()))["learner.h"]
    for line in (
        "learner_status learner_train_step(const float *image, int32_t label, float *loss);",
        "learner_status learner_set_learning_rate(float value);",
        "learner_status learner_save(const learner_flash *flash);",
        "void learner_run(void);",
    ):
        assert line in header

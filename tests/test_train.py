"""Networks that learn: what is trained, that a step is the same everywhere, that it is right."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from lilliput.compiler import Options, from_module, learner, load
from lilliput.demo_data import digits_model
from lilliput.devices.device import load as board
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain, find
from lilliput.errors import DoesNotFit, GraphError, LilliputError, UnsupportedError, UsageError
from lilliput.ir import Array, Builder, Module, Session
from lilliput.ir.types import DType, Quant, f32, s8
from lilliput.ops.conv import Conv2d, conv2d, linear
from lilliput.ops.registry import get
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.objective import Optimize
from lilliput.plan.program import Kind
from lilliput.train.build import ENTRY, Training, trainable
from lilliput.train.channels import arranged
from lilliput.train.heads import with_head
from lilliput.train.layers import layers
from lilliput.train.optimisers import RULES, Optimiser
from lilliput.train.schemes import UpdateScheme, parse, published

CLASSES = 4
CORE = "cortex-m4"


@pytest.fixture(scope="module")
def digits() -> Module:
    return load(digits_model()).module


def training(module: Module, scheme: str, optimiser: Optimiser | None = None) -> Training:
    found = layers(with_head(module, CLASSES))
    return trainable(module, parse(scheme, found), optimiser, classes=CLASSES)


def pictures(count: int, module: Module) -> list[tuple[Array, int]]:
    rng = np.random.default_rng(5)
    shape = module.inputs(module.entry)[0].type.shape
    return [(rng.integers(-128, 128, shape).astype(np.int8), k % CLASSES) for k in range(count)]


def steps(found: Training, count: int) -> list[Call]:
    x = found.module.inputs(ENTRY)[0].name
    return [
        Call(ENTRY, {x: picture, "label": np.array([label], np.int32)})
        for picture, label in pictures(count, found.module)
    ]


# Schemes ----------------------------------------------------------------------------------


def test_schemes_are_read_and_written(digits: Module) -> None:
    found = layers(with_head(digits, CLASSES))
    before = len(found) - 1
    for text in ("head", "biases=2", "biases=1,0:1/2,1", "2:1/4"):
        scheme = parse(text, found)
        again = parse(str(scheme), found)
        assert (again.biases, dict(again.weights)) == (scheme.biases, dict(scheme.weights))
        assert UpdateScheme.from_json(json.dumps(scheme.to_json())) == scheme
    assert parse("full", found).weights == dict.fromkeys(range(before), 1.0)
    assert parse("last=2", found).weights == {before - 2: 1.0, before - 1: 1.0}
    assert parse("biases", found).biases == before
    assert parse(found[0].name, found).weights == {0: 1.0}


@pytest.mark.parametrize("text", ["nonsense", "biases=99", "77", "0:2", "0:1/0", "{", "last=x"])
def test_what_is_no_scheme_is_refused(digits: Module, text: str) -> None:
    with pytest.raises(UsageError):
        parse(text, layers(with_head(digits, CLASSES)))


def test_the_fifteen_published_schemes_are_there() -> None:
    names = [f"mcunet-{k}kb" for k in (49, 74, 99, 124, 148)]
    names += [f"mbv2-{k}kb" for k in (49, 73, 99, 123, 138)]
    names += [f"proxyless-{k}kb" for k in (49, 74, 98, 120, 148)]
    assert [published(n).biases for n in names] == [
        *(20, 21, 22, 24, 23),
        *(16, 20, 25, 31, 34),
        *(21, 28, 25, 32, 45),
    ]
    assert all(0 < share <= 1 for n in names for share in published(n).weights.values())
    with pytest.raises(UsageError, match="no published scheme"):
        published("mcunet-50kb")


# A step is the same everywhere ------------------------------------------------------------

SCHEMES = ["head", "biases=3", "full", "biases=2,0:1/2,1:1/4,3:1/2", "2:1/2"]


def test_a_step_is_the_same_in_numpy_and_c(digits: Module, host_compiler: Toolchain) -> None:
    """Every scheme, rule and optimiser, ten steps with their states, on the host."""
    optimisers = [Optimiser(rate=0.05, rule=rule) for rule in RULES] + [
        Optimiser("adam", 0.01),
        Optimiser("lion", 0.003, weight_decay=0.01),
    ]
    for k, scheme in enumerate(SCHEMES):
        found = training(digits, scheme, optimisers[k])
        module = from_module(found.module).module
        proof = prove(module, plan(module, board(CORE)), steps(found, 10), hosts=[host_compiler])
        assert proof.exact, f"{scheme}: {proof.difference}"


@pytest.mark.unicorn
@pytest.mark.parametrize("optimize", [Optimize.SPEED, Optimize.RAM])
def test_a_step_is_the_same_on_the_core(digits: Module, optimize: Optimize) -> None:
    core = board(CORE)
    found = training(digits, SCHEMES[3], Optimiser(rate=0.05, momentum=0.9, rule="residual"))
    module = from_module(found.module).module
    program = plan(module, core, PlanOptions(optimize=optimize))
    target = (find(core.core, "auto"), core)
    proof = prove(module, program, steps(found, 4), target=target)
    assert proof.exact, str(proof.difference)


def test_only_what_is_trained_is_in_ram(digits: Module) -> None:
    found = training(digits, "biases=2,1:1/2", Optimiser(rule="nearest"))
    program = plan(from_module(found.module).module, board(CORE))
    held = {b.name for b in program.buffers.values() if b.kind is Kind.STATE}
    assert held == {t.name for t in found.tensors} | {"learning_rate"}
    assert sum(t.nbytes for t in found.tensors) + 4 == sum(
        b.nbytes for b in program.buffers.values() if b.kind is Kind.STATE
    )


def test_no_entry_puts_a_weight_together_that_is_trained_in_part(digits: Module) -> None:
    scheme = parse("1:1/2,3:1/2", layers(with_head(digits, CLASSES)))
    found = trainable(digits, scheme, classes=CLASSES, evaluate=True)
    parts = {t.name for t in found.tensors if t.name.endswith("/trained")}
    assert len(parts) == 2
    assert len(found.module.graphs) == 3
    for graph in found.module.graphs.values():
        joined = [n for n in graph.nodes if n.op.name == "concat"]
        assert parts.isdisjoint(v.name for n in joined for v in n.inputs)


@pytest.mark.unicorn
def test_products_that_are_trained_in_part_have_no_rows_of_sums(digits: Module) -> None:
    core = board(CORE)
    found = training(digits, "biases=2,2:1/2,4:1/3", Optimiser(rate=0.05))
    for graph in found.module.graphs.values():
        assert sum(n.op.name == "conv2d_parts" for n in graph.nodes) == 2
        sums = [
            n for n in graph.nodes if n.op.name == "conv2d" and n.output.type.dtype is DType.S32
        ]
        assert not sums
    module = from_module(found.module).module
    for optimize in (Optimize.SPEED, Optimize.RAM):
        program = plan(module, core, PlanOptions(optimize=optimize))
        proof = prove(module, program, steps(found, 3), target=(find(core.core, "auto"), core))
        assert proof.exact, str(proof.difference)


def test_less_ram_is_asked_for_and_found(digits: Module) -> None:
    module = from_module(training(digits, "biases=2,1:1/2").module).module
    fast, small = (
        plan(module, board(CORE), PlanOptions(optimize=o)).arenas["ram"]
        for o in (Optimize.SPEED, Optimize.RAM)
    )
    assert small < fast


# A step is right --------------------------------------------------------------------------


@pytest.mark.parametrize("some", [(1, 3), (2, 4)], ids=["depthwise", "pointwise"])
def test_a_part_of_the_channels_moves_as_it_does_with_all_of_them(
    digits: Module, some: tuple[int, int]
) -> None:
    """Channels that are trained in part move as in a step that trains them all, the others stay."""
    headed = with_head(digits, CLASSES)
    first, second = some
    ordered = arranged(headed, {first: 8, second: 16}).module
    whole, part = (
        trainable(ordered, parse(scheme, layers(headed)), Optimiser(rate=0.05))
        for scheme in (f"biases=2,{first},{second}", f"biases=2,{first}:1/2,{second}:1/2")
    )
    one, other = Session(whole.module), Session(part.module)
    for call in steps(whole, 1):
        one.run(call.inputs, ENTRY)
        other.run(call.inputs, ENTRY)
    checked = 0
    for name, value in other.states.items():
        if name.endswith("/trained"):
            origin = one.states[name.removesuffix("/trained")]
            kept = tuple(slice(0, n) for n in value.shape)
            apart = np.abs(origin[kept].astype(int) - value.astype(int))
            assert apart.max() <= 1, "float sums of two orders may round to neighbours"
            assert np.mean(apart == 0) > 0.99
            assert np.any(value != part.module.states[name].init)
            checked += 1
    assert checked == 2


def test_training_lowers_the_loss_on_what_is_seen(digits: Module) -> None:
    for rule in RULES:
        found = training(digits, "last=2", Optimiser(rate=0.02, rule=rule))
        session, calls = Session(found.module), steps(found, 4)
        losses = [
            [float(session.run(c.inputs, ENTRY).outputs["loss"][0]) for c in calls]
            for _ in range(12)
        ]
        assert np.mean(losses[-1]) < 0.5 * np.mean(losses[0]), rule


def test_the_network_that_learned_infers_with_what_it_learned(digits: Module) -> None:
    found = training(digits, "last=2", Optimiser(rate=0.05))
    session, calls = Session(found.module), steps(found, 1)
    x = next(iter(found.module.inputs("infer"))).name
    picture = next(iter(calls[0].inputs.values()))
    before = session.run({x: picture}, "infer").outputs["logits"]
    step = session.run(calls[0].inputs, ENTRY).outputs[f"{ENTRY}/logits"]
    after = session.run({x: picture}, "infer").outputs["logits"]
    assert np.array_equal(before, step)
    assert not np.array_equal(before, after)


def test_labels_out_of_range_are_refused(digits: Module) -> None:
    session = Session(training(digits, "last=2").module)
    call = steps(training(digits, "last=2"), 1)[0]
    for label in (-1, CLASSES):
        run = session.run({**call.inputs, "label": np.array([label], np.int32)}, ENTRY)
        assert run.refused == "label"
        assert all(
            np.array_equal(v, session.module.states[n].init) for n, v in session.states.items()
        )


def test_a_step_that_overflows_leaves_numbers(digits: Module) -> None:
    found = training(digits, "full", Optimiser(rate=3e38))
    session = Session(found.module)
    for call in steps(found, 3):
        session.run(call.inputs, ENTRY)
    assert all(np.all(np.isfinite(v)) for v in session.states.values() if v.dtype == np.float32)


# Bad input --------------------------------------------------------------------------------


def test_a_budget_that_is_too_small_says_what_would_work(digits: Module) -> None:
    for rule, saves in (("residual", True), ("nearest", False)):
        with pytest.raises(DoesNotFit, match=r"--scheme head") as refused:
            learner(
                from_module(digits),
                board("stm32f746"),
                "full",
                Optimiser(rule=rule),
                classes=CLASSES,
                options=Options("none", ram=4096),
            )
        assert ("--rule nearest" in refused.value.problems[-1].hint) is saves


def test_a_network_without_a_head_is_refused() -> None:
    b = Builder()
    x = b.input("x", s8(1, 4, 4, 3, scale=0.1))
    w = b.param("w", np.ones((2, 3, 3, 3), np.int8), Quant((0.1, 0.1), (0, 0), 0))
    y = b.add(conv2d, (x, w), Conv2d(), type=s8(1, 2, 2, 2, scale=0.1), name="y")
    with pytest.raises(GraphError, match="head"):
        with_head(b.module([y]), 3)


def test_a_network_that_remembers_is_refused() -> None:
    b = Builder()
    x = b.input("x", s8(1, 4, scale=0.1))
    b.state("memory", s8(1, 4, scale=0.1), np.zeros((1, 4), np.int8))
    with pytest.raises(UnsupportedError, match="remembers"):
        with_head(b.module([x]), 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "sgdd"},
        {"rule": "up"},
        {"rate": 0.0},
        {"momentum": 1.0},
        {"weight_decay": -1.0},
        {"beta1": 1.5},
    ],
)
def test_optimisers_say_what_is_wrong(wrong: dict[str, object]) -> None:
    with pytest.raises(LilliputError):
        replace(Optimiser(), **wrong)


# Gradients that are no numbers ------------------------------------------------------------


def overflowing() -> Module:
    """A float network whose gradient overflows where its loss does not: see `endless`."""
    b = Builder()
    x = b.input("x", f32(1, 4))
    w = b.param("w", np.full((3, 4), 1e-3, np.float32))
    bias = b.param("bias", np.zeros(3, np.float32))
    hidden = b.add(get("relu"), (b.add(linear, (x, w, bias)),))
    return b.module([b.add(linear, (hidden, b.param("out", np.eye(2, 3, dtype=np.float32))))])


def example(label: int, *x: float) -> dict[str, Array]:
    pixels = np.array([x], np.float32)
    return {f"{ENTRY}/x": pixels, "label": np.full(1, label, np.int32)}


ENDLESS, USUAL = example(1, 3e38, 0.5, 0, 0), example(0, 0.5, 1, 2, 1)


@pytest.mark.parametrize(
    "optimiser",
    [
        Optimiser(rate=1e-6),
        Optimiser(rate=1e-6, momentum=0.9),
        Optimiser("adam", 1e-4, weight_decay=0.1),
        Optimiser("lion", 1e-4),
    ],
)
def test_a_gradient_that_is_no_number_leaves_the_states_numbers(
    optimiser: Optimiser, host_compiler: Toolchain
) -> None:
    found = trainable(overflowing(), UpdateScheme(biases=1, weights={0: 1.0}), optimiser)
    head = np.array([[20, -20, 20], [-20, 20, -20]], np.float32)
    states = dict(found.module.states)
    states["head/weight"] = replace(states["head/weight"], init=head)
    module = replace(found.module, states=states)
    session = Session(module)
    session.run(USUAL, ENTRY)
    before = dict(session.states)
    ran = session.run(ENDLESS, ENTRY)
    assert not ran.refused
    assert np.isfinite(ran.outputs["loss"]).all()
    gradients = [v for n, v in ran.values.items() if n.startswith("d.") and v.shape == (3, 4)]
    endless = np.any([~np.isfinite(g) for g in gradients], axis=0)
    assert endless.any(), "the gradient overflows"
    floats = {n: v for n, v in session.states.items() if v.dtype == np.float32}
    assert all(np.isfinite(v).all() for v in floats.values())
    stay = [n for n in floats if n.startswith("w/mom")] if optimiser.kind != "lion" else []
    stay += ["w"] if not stay and optimiser.kind == "sgd" else []
    for name in stay:
        assert np.array_equal(floats[name][endless], before[name][endless]), name
    for _ in range(3):
        session.run(USUAL, ENTRY)
    assert not np.array_equal(session.states["w"], floats["w"]), "and go on learning"
    calls = [Call(ENTRY, given) for given in (USUAL, ENDLESS, USUAL, USUAL)]
    proof = prove(module, plan(module, board(CORE)), calls, hosts=[host_compiler])
    assert proof.exact, str(proof.difference)

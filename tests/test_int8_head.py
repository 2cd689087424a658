"""A head of int8: its logits, its steps everywhere, its ends, its bytes, and what has none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lilliput import compiler
from lilliput.compiler import from_module, learner
from lilliput.demo_data import digits_model, load_digits_split
from lilliput.devices.device import load as board
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain, find
from lilliput.errors import LilliputError, UnsupportedError, UsageError
from lilliput.ir import Array, Builder, Module, Session
from lilliput.ir.types import DType, Quant, f32, s8
from lilliput.ops.conv import Conv2d, Linear, conv2d, linear
from lilliput.plan.build import plan
from lilliput.train.build import ENTRY, Training, trainable
from lilliput.train.heads import ROOM, with_head
from lilliput.train.layers import layers
from lilliput.train.optimisers import RULES, Optimiser
from lilliput.train.schemes import UpdateScheme, parse
from lilliput.train.simulate import Plan, Simulator

CLASSES, FEATURES, CORE = 10, 192, "cortex-m4"


@pytest.fixture(scope="module")
def digits() -> Module:
    return compiler.load(digits_model()).module


def training(
    module: Module, scheme: str, optimiser: Optimiser | None = None, **more: object
) -> Training:
    found = parse(scheme, layers(with_head(module, CLASSES)))
    given = {"classes": CLASSES, "head": "int8", **more}
    return trainable(module, found, optimiser, **given)  # type: ignore[arg-type]


def pixels(x: Array) -> Array:
    return np.rint(x / 16 * 255 - 128).astype(np.int8)


def calls(found: Training, count: int, classes: int = CLASSES) -> list[Call]:
    x, split = found.module.inputs(ENTRY)[0], load_digits_split()
    labels = (split.y_train % classes).astype(np.int32)
    pictures = pixels(split.x_train[:count])
    return [
        Call(ENTRY, {x.name: p.reshape(x.type.shape), "label": labels[i : i + 1]})
        for i, p in enumerate(pictures)
    ]


def per_class() -> Module:
    """A network that ends in a 1x1 convolution with a scale for each of its three classes."""
    rng, b = np.random.default_rng(3), Builder()
    x = b.input("x", s8(1, 1, 1, 8, scale=0.05, zero_point=-9))
    w = rng.integers(-127, 128, (3, 1, 1, 8)).astype(np.int8)
    weights = b.param("w", w, Quant((0.01, 0.02, 0.04), (0, 0, 0), 0))
    bias = b.param("b", np.array([100, -50, 20], np.int32))
    y = b.add(conv2d, (x, weights, bias), Conv2d(), type=s8(1, 1, 1, 3, scale=0.2), name="y")
    return b.module([y])


# What it computes -------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [CLASSES, None])
def test_logits_are_the_real_numbers_of_the_sums(digits: Module, classes: int | None) -> None:
    """The float head of the same real weights gives the same, but for the order of its sums."""
    x = pixels(load_digits_split().x_test[:20])
    forms = [with_head(digits, classes, form=form) for form in ("int8", "float")]
    w = forms[0].params["head/weight"]
    assert w.data is not None
    assert w.value.type.dtype is DType.S8
    assert w.value.type.quant is not None
    (scale,) = w.value.type.quant.scale
    real = forms[1].params["head/weight"].data
    assert real is not None
    apart = np.abs(w.data[:, 0, 0] * scale - real).max()
    assert apart <= (0.5001 * scale if classes else 1e-5 * scale)
    bias = forms[0].params["head/bias"].data
    assert bias is not None
    graph = forms[0].graphs[forms[0].entry]
    many = next(v for v in graph.values() if v.name.startswith("flatten"))
    step = np.float32(np.float32(many.type.scale) * np.float32(scale))
    weights = w.data[:, 0, 0].T.astype(np.int64)
    for picture in x:
        runs = [Session(m).run({"pixels": picture[None]}) for m in forms]
        ours, theirs = (next(iter(r.outputs.values())) for r in runs)
        assert ours.dtype == np.float32
        assert ours.shape == (1, CLASSES)
        features = runs[0].values[many.name].astype(np.int64) - many.type.zero_point
        assert np.array_equal(ours, step * (features @ weights + bias).astype(np.float32))
        if classes is None:
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_head_of_the_network_keeps_a_scale_for_each_class() -> None:
    module = per_class()
    made = with_head(module, form="int8")
    for name, own in (("head/weight", "w"), ("head/bias", "b")):
        ours, theirs = made.params[name], module.params[own]
        assert np.array_equal(ours.data, theirs.data)  # type: ignore[arg-type]
    assert made.params["head/weight"].value.type.quant == module.params["w"].value.type.quant
    x = np.arange(-20, 20, 5).astype(np.int8).reshape(1, 1, 1, 8)
    ours, theirs = (
        next(iter(Session(m).run({"x": x}).outputs.values()))
        for m in (made, with_head(module, form="float"))
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("classes", [4, None])
def test_the_first_step_is_that_of_the_float_head(classes: int | None) -> None:
    """Of the same real weights, within half a step of each weight: `real` units are one."""
    module = per_class()
    moved: dict[str, Array] = {}
    start: dict[str, Array] = {}
    scale: Array = np.ones(1)
    x = np.arange(-20, 20, 5).astype(np.int8).reshape(1, 1, 1, 8)
    for form in ("int8", "float"):
        optimiser = Optimiser(rate=0.5, rule="nearest")
        found = trainable(module, UpdateScheme(), optimiser, classes=classes, head=form)
        source = found.module.inputs(ENTRY)[0].name
        session = Session(found.module)
        session.run({source: x, "label": np.array([1], np.int32)}, ENTRY)
        state = found.module.states["head/weight"]
        quant = state.value.type.quant
        if quant is not None:
            scale = np.array(quant.scale)[:, None]
        size = scale if form == "int8" else 1.0
        shape = (state.init.shape[0], -1)
        start[form] = state.init.reshape(shape) * size
        moved[form] = session.states["head/weight"].reshape(shape) * size
    ours, theirs = (moved[form] - start[form] for form in ("int8", "float"))
    ends = np.abs(np.abs(moved["int8"]) - 127 * scale) < 1e-6
    assert np.abs(theirs).max() > 3 * scale.min()
    drawn = 2.0 if classes else 1.0  # of drawn weights the logits differ, as they are rounded
    assert np.all((np.abs(ours - theirs) <= drawn * 0.51 * scale) | ends)
    assert not ends.all()


# A step is the same everywhere --------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_steps_are_the_same_in_numpy_and_c(
    digits: Module, rule: str, host_compiler: Toolchain
) -> None:
    ways = {
        "nearest": training(digits, "head", Optimiser(rate=0.05, rule=rule)),
        "dither": training(
            digits, "biases=2,3:1/2", Optimiser(rate=0.05, rule=rule), classes=4, max_classes=6
        ),
        "residual": training(
            digits,
            "last=1",
            Optimiser(rate=0.02, rule=rule, momentum=0.9, moments="int8", accumulate=2),
            classes=None,
        ),
    }
    found = ways[rule]
    module = from_module(found.module).module
    some = calls(found, 8, 4)
    proof = prove(module, plan(module, board(CORE)), some, hosts=[host_compiler])
    assert proof.exact, str(proof.difference)
    session = Session(found.module)
    for call in some:
        session.run(call.inputs, ENTRY)
    start = found.module.states["head/weight"].init
    assert np.any(session.states["head/weight"] != start)


def test_a_scale_for_each_class_learns_the_same_in_c(host_compiler: Toolchain) -> None:
    found = trainable(per_class(), UpdateScheme(), Optimiser(rate=0.1), head="int8")
    module, rng = from_module(found.module).module, np.random.default_rng(1)
    source = found.module.inputs(ENTRY)[0].name
    some = [
        Call(
            ENTRY,
            {
                source: rng.integers(-128, 128, (1, 1, 1, 8)).astype(np.int8),
                "label": np.array([k % 3], np.int32),
            },
        )
        for k in range(6)
    ]
    proof = prove(module, plan(module, board(CORE)), some, hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


@pytest.mark.unicorn
def test_steps_are_the_same_on_the_core(digits: Module) -> None:
    core = board(CORE)
    found = training(digits, "biases=2", Optimiser(rate=0.05))
    module = from_module(found.module).module
    target = (find(core.core, "auto"), core)
    proof = prove(module, plan(module, core), calls(found, 4), target=target)
    assert proof.exact, str(proof.difference)


def test_the_fast_simulation_is_the_exact_one(digits: Module) -> None:
    pytest.importorskip("torch", reason="torch is not installed (extra torch)")
    fast = pytest.importorskip("lilliput.train.fast")
    found, split = training(digits, "head", Optimiser(rule="residual")), load_digits_split()
    both = [Simulator(found), Simulator(found, fast.prepare)]
    for s in both:
        learn = s.learning(pixels(split.x_train[:20]), split.y_train[:20])
        s.fit(learn, plan=Plan(rate=0.02))
    ours, theirs = (s.states["head/weight"].astype(int) for s in both)
    assert np.any(ours != found.module.states["head/weight"].init)
    assert np.abs(ours - theirs).max() <= 1  # a sum in another order may round otherwise
    assert np.mean(ours == theirs) > 0.999


@pytest.mark.parametrize("rule", RULES)
def test_digits_are_learnt_and_a_checkpoint_goes_on(
    digits: Module, rule: str, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="torch is not installed (extra torch)")
    fast = pytest.importorskip("lilliput.train.fast")
    found, split = training(digits, "head", Optimiser(rule=rule)), load_digits_split()
    simulator = Simulator(found, fast.prepare)
    learn = simulator.learning(pixels(split.x_train[:300]), split.y_train[:300])
    test = simulator.testing(pixels(split.x_test[:200]), split.y_test[:200])
    before = simulator.accuracy(test)
    curve = simulator.fit(learn, test, Plan(epochs=2, rate=0.02))
    assert before < 0.3 < 0.8 < curve[-1].accuracy
    simulator.save(tmp_path / "state.npz")
    other = Simulator(found, fast.prepare)
    other.load(tmp_path / "state.npz")
    assert other.accuracy(test) == curve[-1].accuracy
    other.reset()
    assert other.accuracy(test) == before


@pytest.mark.parametrize("rule", RULES)
def test_a_wide_head_learns_as_one_of_the_classes_in_use(digits: Module, rule: str) -> None:
    optimiser = Optimiser(rate=0.05, rule=rule)
    wide = training(digits, "biases=2", optimiser, classes=4, max_classes=6)
    narrow = training(digits, "biases=2", optimiser, classes=4)
    sessions = Session(wide.module), Session(narrow.module)
    for call in calls(wide, 4, 4):
        for session in sessions:
            session.run(call.inputs, ENTRY)
    ours, theirs = (s.states for s in sessions)
    for name, data in theirs.items():
        assert np.array_equal(ours[name][: len(data)], data), name
    start = wide.module.states["head/weight"].init
    assert np.array_equal(ours["head/weight"][4:], start[4:])
    assert np.any(ours["head/weight"][:4] != start[:4])


# Ends and bytes -------------------------------------------------------------------------------


def test_weights_stop_at_the_ends_of_their_scale(digits: Module) -> None:
    """Of a step that is far too large: what w - rate * gradient / scale is, or the end."""
    found = training(digits, "head", Optimiser(rate=5.0, rule="nearest"))
    (call,) = calls(found, 1)
    run = Session(found.module).run(call.inputs, ENTRY)
    features = next(v for n, v in run.values.items() if n.endswith("flatten"))
    graph = found.module.graphs[ENTRY].values()
    x = next(v.type for v in graph if v.name.endswith("flatten"))
    real = (features.astype(np.float64) - x.zero_point) * x.scale
    logits = run.values[f"{ENTRY}/logits"].astype(np.float64)[0]
    slope = np.exp(logits - logits.max())
    slope /= slope.sum()
    slope[int(call.inputs["label"][0])] -= 1
    state = found.module.states["head/weight"]
    assert state.value.type.quant is not None
    step = 5.0 * slope[:, None] * real / state.value.type.quant.scale[0]
    free = state.init[:, 0, 0] - step
    ours = run.states["head/weight"][:, 0, 0].astype(int)
    assert np.abs(ours - free.clip(-127, 127)).max() < 0.51
    assert np.abs(free).max() > 256  # what wraps would be seen
    assert {ours.min(), ours.max()} == {-127, 127}


def test_a_new_head_has_room_to_grow(digits: Module) -> None:
    state = training(digits, "head").module.states["head/weight"]
    assert int(np.abs(state.init).max()) == round(127 / ROOM)
    assert state.value.type.quant is not None
    (scale,) = state.value.type.quant.scale
    assert scale * 127 == pytest.approx(ROOM / np.sqrt(FEATURES), rel=1e-6)


@pytest.mark.parametrize(("rule", "each"), [("nearest", 1), ("residual", 2)])
def test_it_takes_a_byte_a_weight_and_one_for_a_rest(digits: Module, rule: str, each: int) -> None:
    model, device = from_module(digits), board("stm32f746")
    ours, theirs = (
        learner(model, device, "head", Optimiser(rule=rule), classes=CLASSES, head=head)
        for head in ("int8", "float")
    )
    held = [f.compiled.summary.ram_bytes.states for f in (ours, theirs)]
    assert held[1] - held[0] == (4 - each) * CLASSES * FEATURES
    assert [f.to_json()["head"] for f in (ours, theirs)] == ["int8", "float"]


def test_no_map_of_its_gradient_is_ever_there(digits: Module) -> None:
    found = training(digits, "head", Optimiser(rule="nearest"))
    program = plan(from_module(found.module).module, board(CORE))
    names = [n for n, b in program.buffers.items() if b.nbytes >= CLASSES * FEATURES]
    assert "head/weight" in names
    weights = CLASSES * FEATURES * 4
    assert all(program.buffers[n].nbytes < weights for n in names), names


# What has none ----------------------------------------------------------------------------


def test_a_float_network_has_no_int8_head() -> None:
    b = Builder()
    x = b.input("x", f32(1, 4))
    w = b.param("w", np.ones((3, 4), np.float32))
    module = b.module([b.add(linear, (x, w), Linear(), name="y")])
    with pytest.raises(UnsupportedError, match=r"int8 features(.|\n)*--head float"):
        trainable(module, UpdateScheme(), classes=3, head="int8")


def test_own_weights_with_a_zero_point_stay_float() -> None:
    b = Builder()
    x = b.input("x", s8(1, 4, scale=0.1))
    w = b.param("w", np.ones((3, 4), np.int8), Quant.per_tensor(0.1, 7))
    module = b.module([b.add(linear, (x, w), Linear(), type=s8(1, 3, scale=0.1), name="y")])
    with pytest.raises(UnsupportedError, match=r"without zero points(.|\n)*--classes N"):
        with_head(module, form="int8")
    assert with_head(module, 3, form="int8").params["head/weight"].value.type.dtype is DType.S8


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"loss": "mse", "classes": None}, r"of a classifier(.|\n)*leave --head out"),
        ({"head": "int4"}, r"unknown head(.|\n)*float or int8"),
    ],
)
def test_what_does_not_go_together_is_refused(
    digits: Module, more: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as e:
        training(digits, "head", None, **more)
    assert isinstance(e.value, LilliputError)

"""Training simulated on the host: the device's own steps, resumed anywhere; the fast ones."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from tests.samples import random_array

from lilliput import compiler
from lilliput.demo_data import digits_model
from lilliput.errors import FormatError, UsageError
from lilliput.ir import Array, DType, Node, Session, Value
from lilliput.ir.op import Sample
from lilliput.ops import registry
from lilliput.ops.numeric import requant
from lilliput.train.build import ENTRY, Training, trainable
from lilliput.train.curves import svg
from lilliput.train.heads import with_head
from lilliput.train.layers import layers
from lilliput.train.optimisers import RULES, Optimiser
from lilliput.train.schemes import parse
from lilliput.train.simulate import Examples, Plan, Point, Simulator
from lilliput.train.stages import Parts, reference

UNIT = 2.0**-24
"""Half a step of float32 at 1."""


def fast() -> Any:
    pytest.importorskip("torch", reason="torch is not installed (extra torch)")
    return pytest.importorskip("lilliput.train.fast")


@cache
def training(scheme: str = "biases=3,4:1/2", rule: str = "residual", kind: str = "sgd") -> Training:
    """The demo's network of digits, with a new head."""
    module = compiler.load(digits_model()).module
    found = layers(with_head(module, 10))
    optimiser = Optimiser(kind, rate=0.02, rule=rule)
    return trainable(module, parse(scheme, found), optimiser, classes=10)


@cache
def digits() -> tuple[Array, Array]:
    """x (n,8,8,1) int8, y (n)."""
    found = pytest.importorskip("sklearn.datasets").load_digits()
    pixels = np.rint(found.images / 16 * 255 - 128)[..., None]
    return pixels.astype(np.int8), found.target


def some(count: int = 12) -> tuple[Array, Array]:
    x, y = digits()
    return x[:count], y[:count]


def states_equal(ours: dict[str, Array], theirs: dict[str, Array]) -> None:
    assert ours.keys() == theirs.keys()
    for name, data in ours.items():
        assert data.dtype == theirs[name].dtype, name
        np.testing.assert_array_equal(data, theirs[name], err_msg=name)


# The device's own steps ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "rule", "kind"),
    [
        *(("biases=3,4:1/2", rule, "sgd") for rule in RULES),
        ("head", "nearest", "sgd"),
        ("full", "dither", "sgd"),
        ("last=2", "residual", "adam"),
    ],
)
def test_steps_are_the_devices_to_the_bit(scheme: str, rule: str, kind: str) -> None:
    made, (x, y) = training(scheme, rule, kind), some()
    simulator, session = Simulator(made), Session(made.module)
    learn = simulator.learning(x, y)
    source = made.module.inputs(ENTRY)[0].name
    for i in range(len(x)):
        loss, logits = simulator.step(learn, i)
        run = session.run({source: x[i : i + 1], "label": y[i : i + 1].astype(np.int32)}, ENTRY)
        theirs = list(run.outputs.values())
        assert np.float32(loss) == theirs[0][0]
        np.testing.assert_array_equal(logits, theirs[1][0])
    states_equal(simulator.states, session.states)
    moved = [
        n for n, s in made.module.states.items() if not np.array_equal(s.init, session.states[n])
    ]
    assert {t.name for t in made.tensors} & set(moved)


def test_logits_are_those_of_the_inference_entry() -> None:
    made, (x, y) = training(), some(19)
    simulator, session = Simulator(made), Session(made.module)
    simulator.fit(simulator.learning(x, y), plan=Plan(rate=0.05))
    session.states = dict(simulator.states)
    source = made.module.inputs("infer")[0].name
    ours = simulator.logits(simulator.testing(x, y))
    for i in range(len(x)):
        (theirs,) = session.run({source: x[i : i + 1]}, "infer").outputs.values()
        np.testing.assert_array_equal(ours[i], theirs[0])


def test_what_is_frozen_is_calculated_once() -> None:
    made, (x, y) = training("last=1"), some()
    simulator = Simulator(made)
    (name, features), *others = simulator.learning(x, y).features.items()
    assert not others
    assert features.shape == (12, 2, 2, 32), name
    weights = {v.name for n in Parts(made.module, ENTRY, reference).rest.nodes for v in n.inputs}
    assert "depthwise1/weight" not in weights


def test_values_further_on_serve_as_well_as_the_input() -> None:
    made, (x, y) = training("last=1"), some()
    simulator = Simulator(made)
    learn = simulator.learning(x, y)
    again = simulator.learning(learn.features, y)
    states_equal(dict(again.features), dict(learn.features))
    with pytest.raises(UsageError, match="examples") as e:
        simulator.learning({"label": y.astype(np.int32)}, y)
    assert "depthwise2" in str(e.value) or "pixels" in str(e.value)


# Whole trainings ----------------------------------------------------------------------------


def test_digits_are_learnt() -> None:
    x, y = digits()
    simulator = Simulator(training("head", "nearest"))
    learn, test = simulator.learning(x[:300], y[:300]), simulator.testing(x[-200:], y[-200:])
    before = simulator.accuracy(test)
    seen: list[Point] = []
    curve = simulator.fit(learn, test, Plan(epochs=2, rate=0.02, every=150), seen.append)
    assert [p.step for p in curve] == [150, 300, 450, 600]
    assert seen == curve
    assert before < 0.3 < 0.85 < curve[-1].accuracy
    assert curve[-1].loss < curve[0].loss


@pytest.mark.parametrize("stop", [7, 12, 17])
def test_what_was_interrupted_goes_on_as_if_it_had_not_been(tmp_path: Path, stop: int) -> None:
    made, (x, y) = training(rule="dither"), some()
    plan = Plan(epochs=2, rate=0.05, seed=3, every=5)
    whole, part = Simulator(made), Simulator(made)
    learn, test = whole.learning(x, y), whole.testing(x, y)
    whole.fit(learn, test, plan)
    _until(part, learn, test, plan, stop)
    part.save(tmp_path / "state.npz")
    other = Simulator(made)
    other.load(tmp_path / "state.npz")
    other.fit(learn, test, plan)
    states_equal(other.states, whole.states)
    assert other.curve == whole.curve


def _until(s: Simulator, learn: Examples, test: Examples, plan: Plan, stop: int) -> None:
    """Trains until step `stop` fails, as a power cut does."""
    step = s.step

    def cut(examples: Examples, index: int) -> tuple[float, Array]:
        if s.taken == stop:
            raise KeyboardInterrupt
        return step(examples, index)

    s.step = cut  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        s.fit(learn, test, plan)


def test_rate_and_order() -> None:
    plan = Plan(rate=0.1, epochs=2, seed=5)
    rates = [float(plan.rate_at(i, 100)) for i in range(100)]
    assert rates[0] == np.float32(0.1)
    assert rates == sorted(rates, reverse=True)
    assert rates[50] == pytest.approx(0.05)
    assert 0 < rates[99] < 1e-4
    assert {float(replace(plan, schedule="constant").rate_at(i, 9)) for i in range(9)} == {rates[0]}
    first, second = (plan.order(e, 50).tolist() for e in (0, 1))
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert first == plan.order(0, 50).tolist()


# Bad input ----------------------------------------------------------------------------------


def test_examples_that_do_not_fit_are_refused() -> None:
    simulator, (x, y) = Simulator(training()), some()
    with pytest.raises(UsageError, match=r"labels\n  expected: 0 to 9\n  found: 1 to 10"):
        simulator.learning(x, y + 1)
    with pytest.raises(UsageError, match=r"found: float32"):
        simulator.learning(x.astype(np.float32), y)
    with pytest.raises(UsageError, match=r"found: int8\(12, 7, 8, 1\)"):
        simulator.testing(x[:, :7], y)
    with pytest.raises(UsageError, match=r"expected: 11\n  found: 12"):
        simulator.learning(x, y[:11])
    with pytest.raises(UsageError, match="found: int32"):
        simulator.learning({"unknown": y.astype(np.int32)}, y)


def test_plans_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="cosine or constant"):
        Plan(schedule="linear")
    with pytest.raises(UsageError, match="epochs, rate, every"):
        Plan(rate=0.0)


def test_a_loss_that_is_no_number_stops_the_training() -> None:
    simulator, (x, y) = Simulator(training("head", "nearest")), some()
    with pytest.raises(UsageError, match="a lower learning rate"):
        simulator.fit(simulator.learning(x, y), plan=Plan(rate=1e38, epochs=3))


def test_states_of_another_training_are_refused(tmp_path: Path) -> None:
    path, simulator = tmp_path / "state.npz", Simulator(training())
    Simulator(training("head", "nearest")).save(path)
    with pytest.raises(FormatError, match="the states are those of another training"):
        simulator.load(path)
    simulator.save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(FormatError, match="no saved states"):
        simulator.load(path)
    Simulator(training()).save(path)
    with pytest.raises(FormatError, match=r"no saved states|another training"):
        Simulator(training("head", "nearest")).load(path)


# Fast ---------------------------------------------------------------------------------------


def _sample_nodes(name: str) -> list[tuple[Node, list[Array]]]:
    rng, op = np.random.default_rng(3), registry.get(name)
    found: list[tuple[Node, list[Array]]] = []
    for sample in op.samples:
        values = tuple(Value(f"x{i}", t) for i, t in enumerate(sample.inputs))
        types = sample.outputs or op.infer(sample.attrs, list(sample.inputs))
        outputs = tuple(Value(f"y{i}", t) for i, t in enumerate(types))
        node = Node(op, values, outputs, sample.attrs)
        found.append((node, _operands(rng, sample)))
    return found


def _operands(rng: np.random.Generator, sample: Sample) -> list[Array]:
    return [random_array(rng, t, sample.low, sample.high) for t in sample.inputs]


def test_fast_integer_products_are_exact() -> None:
    prepare = fast().prepare
    for node, operands in (*_sample_nodes("conv2d"), *_sample_nodes("conv2d_parts")):
        if node.inputs[0].type.dtype is DType.S8:
            (ours,), (theirs,) = prepare(node)(operands), node.op.ref(node, operands)
            np.testing.assert_array_equal(ours, theirs, err_msg=str(node.attrs))
            assert ours.dtype == theirs.dtype


@pytest.mark.parametrize("name", ["conv2d", "conv2d_grad_x", "conv2d_grad_w", "sum"])
def test_fast_sums_of_floats_are_within_their_bound(name: str) -> None:
    prepare = fast().prepare
    for node, operands in _sample_nodes(name):
        if not node.output.type.dtype.is_float:
            continue
        (ours,), (theirs,) = prepare(node)(operands), node.op.ref(node, operands)
        if node.inputs[0].type.dtype is DType.S16:  # rounded before, and summed exactly
            np.testing.assert_array_equal(ours, theirs)
            continue
        sizes = [np.abs(_centred(v, o)) for v, o in zip(node.inputs, operands, strict=True)]
        plain = replace(node, inputs=tuple(_float(v) for v in node.inputs))
        (total,) = node.op.ref(plain, sizes)
        count = max(v.type.size for v in (*node.inputs, node.output))
        ours = np.asarray(ours).reshape(theirs.shape)
        assert np.all(np.abs(ours - theirs) <= 2 * count * UNIT * total + 1e-30), node.attrs


def _centred(value: Value, data: Array) -> Array:
    quant = value.type.quant
    return data.astype(np.float32) - (quant.zero_point[0] if quant is not None else 0)


def _float(value: Value) -> Value:
    return Value(value.name, replace(value.type, dtype=DType.F32, quant=None))


def test_scaling_in_doubles_is_that_of_integers() -> None:
    rng = np.random.default_rng(0)
    mult = rng.integers(2**30, 2**31, 64)
    mult[:3] = 0, 2**30, 2**31 - 1
    shift = rng.integers(-31, 1, 64)
    doubles = fast()._Doubles(mult, shift)
    for size in (2**8, 2**20, 2**31):
        acc = rng.integers(-size, size, (500, 64))
        acc[0], acc[1], acc[2] = 0, -size, size - 1
        ours = doubles(acc.astype(np.float64))
        np.testing.assert_array_equal(ours.astype(np.int64), requant(acc, mult, shift))
    left = fast()._Doubles(mult, -shift // 4)
    acc = rng.integers(-int(left.limit) + 1, int(left.limit), (500, 64))
    np.testing.assert_array_equal(
        left(acc.astype(np.float64)).astype(np.int64), requant(acc, mult, -shift // 4)
    )


def test_fast_steps_begin_as_the_devices_and_stay_near() -> None:
    made, (x, y) = training(), some(40)
    exact, quick = Simulator(made), Simulator(made, fast().prepare)
    learn = exact.learning(x, y)
    states_equal(dict(quick.learning(x, y).features), dict(learn.features))
    losses = [(exact.step(learn, i)[0], quick.step(learn, i)[0]) for i in range(len(x))]
    assert losses[0][0] == pytest.approx(losses[0][1], rel=1e-5)
    np.testing.assert_allclose(*np.array(losses).T, rtol=0.05, atol=0.02)
    for tensor in made.tensors:
        ours, theirs = (s.states[tensor.name].astype(np.float64) for s in (quick, exact))
        assert np.abs(ours - theirs).max() <= 2 or tensor.name.startswith("head"), tensor.name


# Pictures -----------------------------------------------------------------------------------


def test_curves_are_drawn_within_their_panels() -> None:
    untested = [Point(10, 2.0, math.nan), Point(20, 1.0, math.nan)]
    tested = [Point(10, 1.5, 0.25), Point(40, 0.5, 0.75)]
    root = ElementTree.fromstring(svg({"a < b": untested, "both": tested}))
    lines = [e for e in root.iter() if e.tag.endswith("polyline")]
    assert len(lines) == 3  # two losses, one accuracy
    for line in lines:
        for place in line.attrib["points"].split():
            x, y = map(float, place.split(","))
            assert 0 <= x <= 720
            assert 22 <= y <= 176
    ends = [line.attrib["points"].split()[-1] for line in lines]
    assert ends[0] == "196.0,99.0"  # half of the steps, half of the largest loss
    texts = "".join(e.text or "" for e in root.iter())
    assert "a < b: step 20" in texts
    assert "both: step 40: loss 0.5000, accuracy 75.00 %" in texts


def test_no_curve_is_no_picture() -> None:
    with pytest.raises(UsageError, match="at least one point"):
        svg({"none": []})

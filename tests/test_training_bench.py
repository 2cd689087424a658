"""The benchmark of training: its references, what is kept, and its page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (extra torch)")

from benchmarks import training, training_document
from benchmarks.training import Setting, key
from benchmarks.training_document import PAGE, PARTS
from benchmarks.training_page import SEEDS, Tuned
from benchmarks.training_picture import Line, chart
from benchmarks.training_rules import Masters, as_float, factor, unscaled

from lilliput import compiler
from lilliput.demo_data import digits_model, load_digits_split
from lilliput.ir import Node, Session, Value
from lilliput.ir.types import f32, s8
from lilliput.ops.registry import get
from lilliput.train.build import trainable
from lilliput.train.schemes import UpdateScheme

ONE = Setting("flowers", "head", "nearest", 0.01, 2, 0, 100, 50)


def row(seed: int, accuracy: float | None) -> dict[str, Any]:
    return {**ONE.__dict__, "seed": seed, "accuracy": accuracy, "curve": []}


def test_real_weights_lose_no_small_step() -> None:
    """20 steps of 0.3 are 6 whole ones; rounded to the nearest each is lost."""
    w, step = Value("w", s8(3)), Value("step", f32(3))
    node = Node(get("sgd"), (w, step), (Value("new", s8(3)),), get("sgd").attrs())
    run = Masters().prepare(node)
    stored = lost = np.array([10, -125, 0], np.int8)
    by = np.array([0.3, 0.3, np.nan], np.float32)
    for _ in range(20):
        stored = np.asarray(run([stored, by])[0]).astype(np.int8)
        lost = np.asarray(node.op.ref(node, [lost, by])[0])
    assert stored.tolist() == [4, -127, 0]
    assert lost.tolist() == [10, -125, 0]


def test_each_run_is_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[int] = []
    stop = {2}

    def measured(setting: Setting, every: int) -> dict[str, Any]:
        asked.append(setting.seed)
        if setting.seed in stop:
            raise KeyboardInterrupt
        return row(setting.seed, 0.5)

    monkeypatch.setattr(training, "measure", measured)
    path = tmp_path / "training.json"
    wanted = [key(row(seed, None)) for seed in range(4)]
    with pytest.raises(KeyboardInterrupt):
        training.run(wanted, path, 0)
    stop.clear()
    training.run(wanted, path, 0)
    assert asked == [0, 1, 2, 2, 3]
    assert [r["seed"] for r in json.loads(path.read_text("utf-8"))] == [0, 1, 2, 3]
    assert "1/2" in capsys.readouterr().out


def test_a_scheme_that_is_found_again_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the head whatever the rule; of others by the same one."""
    known = {"head": 0, "ours:64kB": 0, "ours:100kB": 1, "ours:150kB": 1, "ours:256kB": 2}
    asked: list[str] = []

    def measured(setting: Setting, every: int) -> dict[str, Any]:
        asked.append(setting.scheme)
        return {**setting.__dict__, "accuracy": 0.1 * len(asked), "curve": []}

    def parsed(task: str, text: str) -> int:
        return known[text]

    monkeypatch.setattr(training, "measure", measured)
    monkeypatch.setattr(training, "scheme_of", parsed)
    path = tmp_path / "training.json"
    wanted = [ONE, *(replace(ONE, scheme=s, rule="residual") for s in known if s != "head")]
    training.run([*wanted, replace(ONE, scheme="ours:150kB")], path, 0)
    assert asked == ["head", "ours:100kB", "ours:256kB", "ours:150kB"]
    found = [(r["scheme"], r["rule"], r["accuracy"]) for r in training.read(path)]
    assert found[1] == ("ours:64kB", "residual", 0.1)
    assert found[3] == ("ours:150kB", "residual", found[2][2])


def test_runs_with_another_backbone_are_measured_again_and_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each machine trains the network for words itself; that of pictures is published."""
    monkeypatch.setattr(training, "backbone", {"words": "mine", "flowers": None}.get)
    asked: list[str] = []

    def measured(setting: Setting, every: int) -> dict[str, Any]:
        asked.append(setting.task)
        return {**setting.__dict__, "accuracy": 0.9, "curve": []}

    monkeypatch.setattr(training, "measure", measured)
    path = tmp_path / "training.json"
    words = {"task": "words", "learn": 500, "epochs": 3, "rule": "residual", "scheme": "last=4"}
    theirs = [{**row(seed, 0.5), **words, "backbone": "theirs"} for seed in range(2)]
    path.write_text(json.dumps([*theirs, row(0, 0.5)]), "utf-8")
    wanted = [key(theirs[0]), key(theirs[1]), replace(key(theirs[0]), seed=2), ONE]
    training.run(wanted, path, 0)
    assert asked == ["words"] * 3, "flowers are known"
    rows = training.read(path)
    assert [r.get("backbone") for r in rows] == ["theirs"] * 2 + [None] + ["mine"] * 3
    assert len(training.comparable(rows)) == 4
    text = training_document.page("<!-- words -->\n<!-- end -->", rows)
    assert "| `last=4` | 90.0 ± 0.0 (3, 0.01) |" in text


def test_other_seeds_take_the_rate_that_was_best_on_the_first() -> None:
    way = Tuned("last=4", rates=(0.1, 0.2))
    low, high = sweep = list(way.sweep())
    assert [(s.rate, s.seed) for s in sweep] == [(0.1, 0), (0.2, 0)]
    assert list(way.settings({low: 0.5})) == sweep
    followed = list(way.settings({low: 0.5, high: 0.4}))[2:]
    assert [(s.rate, s.seed) for s in followed] == [(0.1, seed) for seed in SEEDS]


def test_a_step_without_scaling_is_a_gradient_by_integers() -> None:
    """By the size of a step, where the scaling divides by it."""
    module = compiler.load(digits_model()).module
    learning = trainable(module, UpdateScheme(biases=2, weights={3: 1.0})).module
    nodes = learning.graphs["infer"].nodes
    (layer,) = [n for n in nodes if n.op.name == "conv2d" and n.inputs[1].name in learning.states]
    x, w, bias = layer.inputs
    assert w.type.quant is not None
    size = np.array(w.type.quant.scale)
    found = unscaled(learning, 10.0)
    np.testing.assert_allclose(found[w.name].ravel(), 10 * size**2)
    np.testing.assert_allclose(found[bias.name], 10 * (size * x.type.scale) ** 2)
    assert (factor("plain"), factor("plain=1e4"), factor("nearest")) == (1, 1e4, None)


@pytest.mark.parametrize("behind", [0, 2])
def test_the_float_network_is_what_the_integers_stand_for(behind: int) -> None:
    module = compiler.load(digits_model()).module
    graph = module.graphs[module.entry]
    front = [n for n in graph.nodes if n.op.name == "conv2d"][behind - 1].origin if behind else None
    real = as_float(module, front)
    floats = [n for n in real.graphs[real.entry].nodes if n.output.type.dtype.is_float]
    assert len(floats) > 4
    (x,), (y,) = module.inputs(module.entry), module.outputs(module.entry)
    gaps: list[float] = []
    for picture in load_digits_split().x_test[:30]:
        stored = np.rint(picture / 16 * 255 - 128).astype(np.int8).reshape(x.type.shape)
        integers = Session(module).run({x.name: stored}).outputs[y.name].astype(np.float64)
        (found,) = Session(real).run({x.name: stored}).outputs.values()
        if y.type.quant is not None:
            integers = (integers - y.type.zero_point) * y.type.scale
        gaps.append(float(np.abs(found - integers).max()))
    assert 0 < np.mean(gaps) < 0.02
    assert max(gaps) < 0.15


# The page ---------------------------------------------------------------------------------


def test_the_page_is_what_the_results_say() -> None:
    text = PAGE.read_text("utf-8")
    assert all(f"<!-- {name} -->" in text for name in PARTS)
    assert training_document.page(text, training.read(training.RESULTS)) == text


def test_a_claim_is_judged_by_pairs_of_seeds() -> None:
    words = {"task": "words", "epochs": 3, "learn": 500, "rate": 0.004, "scheme": "last=4"}
    rows = [
        {**row(seed, accuracy), **words, "rule": rule}
        for rule, found in (("residual", (0.8, 0.9, 0.7)), ("plain", (0.7, 0.78, 0.62)))
        for seed, accuracy in enumerate(found)
    ]
    text = training_document.page("<!-- orders -->\n<!-- end -->", rows)
    assert "| QAS > plain int8, `last=4` | words | +10.0 ± 1.2 | 3 | 3, 0, 0 | confirmed |" in text
    assert "plain" not in training_document.page("<!-- orders -->\n<!-- end -->", rows[:4])


def test_curves_are_named_apart() -> None:
    lines = [Line(name, [(1, 50.0), (2, 70.0)]) for name in ("one", "<two>")]
    drawn = chart({"words": lines})
    assert "&lt;two&gt;  70.0" in drawn
    places = [part.split('"')[0] for part in drawn.split(' y="')[1:]]
    assert len(set(places[-2:])) == 2

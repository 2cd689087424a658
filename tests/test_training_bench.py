"""The benchmark of training: its reference with real weights, what is kept, and its table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (extra torch)")

from benchmarks import training
from benchmarks.training import Masters, Setting, key, table

from lilliput.ir import Node, Value
from lilliput.ir.types import f32, s8
from lilliput.ops.registry import get

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


def test_table_has_means_and_deviations_over_seeds() -> None:
    other = {**row(0, 0.25), "rule": "residual"}
    *_, first, second = table([row(0, 0.5), other, row(1, 0.7)]).splitlines()
    assert first == "| flowers | head | nearest | 0.01 | 2 | 100 | 60.0 | 14.1 | 2 |"
    assert second == "| flowers | head | residual | 0.01 | 2 | 100 | 25.0 |  | 1 |"

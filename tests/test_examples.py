"""The examples, from data to firmware, at a small setting: what they print holds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.unicorn]

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")

ROOT = Path(__file__).resolve().parents[1]


def run(example: str, *arguments: str) -> str:
    """What an example prints; it ends with 1 where its firmware is not exact."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / example), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def accuracies(text: str) -> tuple[float, float]:
    found = re.search(r"float ([0-9.]+)%, int8 ([0-9.]+)%", text)
    assert found is not None
    return float(found[1]), float(found[2])


@needs_torch
@pytest.mark.parametrize(
    ("example", "epochs", "least"),
    [("pictures.py", 6, 90.0), ("keywords.py", 24, 80.0), ("gestures.py", 30, 90.0)],
)
def test_classes_are_told_apart(tmp_path: Path, example: str, epochs: int, least: float) -> None:
    out = tmp_path / "firmware"
    text = run(example, "--epochs", str(epochs), "--out", str(out))
    real, whole = accuracies(text)
    assert real >= least
    assert abs(real - whole) <= 3
    assert ": True" in text
    assert (out / "manifest.json").is_file()


@needs_torch
def test_odd_sounds_are_found() -> None:
    text = run("anomaly.py", "--epochs", "10")
    found = dict(re.findall(r"(float|int8): AUC ([0-9.]+)", text))
    assert float(found["float"]) > 0.9
    assert abs(float(found["float"]) - float(found["int8"])) < 0.03


@needs_torch
def test_pictures_of_a_users_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 800)
    x = (rng.normal(90, 20, (800, 16, 16, 3)) + 60 * y[:, None, None, None]).clip(0, 255)
    data = tmp_path / "own.npz"
    np.savez(data, x=x.astype(np.uint8), y=y)
    real, whole = accuracies(run("pictures.py", "--data", str(data), "--epochs", "12"))
    assert min(real, whole) > 80


def test_a_device_learns_and_loses_power() -> None:
    text = run("learn_on_device.py", "--steps", "160", "--every", "40", "--test", "60")
    rows = re.findall(r"^ *(\d+) +([0-9.]+)% +([0-9.]+)% +(True|False)  (.*)$", text, re.MULTILINE)
    assert [(step, flash) for step, *_, flash in rows] == [
        ("0", "load: NO_CHECKPOINT"),
        ("40", "save: OK"),
        ("40", "load: OK"),
        ("120", "save: OK"),
        ("160", "save: OK"),
    ]
    assert "back to step 40" in text
    assert all(device == host and equal == "True" for _, device, host, equal, _ in rows)
    assert float(rows[0][1]) < 20
    assert float(rows[-1][1]) > 70


@pytest.mark.parametrize(
    "example", ["pictures.py", "keywords.py", "gestures.py", "anomaly.py", "learn_on_device.py"]
)
def test_an_example_is_short(example: str) -> None:
    lines = (ROOT / "examples" / example).read_text(encoding="utf-8").splitlines()
    assert len(lines) < 100

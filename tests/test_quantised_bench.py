"""benchmarks.quantised: rows, halves, and MCUNet itself where it is at hand."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from benchmarks import quantised
from tests.test_quantize_data import network

from lilliput.compiler import Quantization, from_module, load, quantize
from lilliput.demo_data import load_digits_split


def test_a_row_counts_what_changed() -> None:
    real = np.array([[3.0, 1, 0], [0, 2, 1], [1, 0, 5], [2, 1, 0]])
    found = np.array([[3.0, 1, 0], [0, 1, 2], [1, 0, 5], [1, 2, 0]])
    made = quantised.row("name", real, found, np.array([0, 1, 2, 1]))
    assert (made.right, made.gained, made.lost, made.same) == (3, 1, 1, 2)
    assert made.noise_db == pytest.approx(10 * np.log10((real**2).sum() / 4))
    assert "1 gained, 1 lost (chance 1.00)" in str(made)


def test_the_chance_of_changes_is_mcnemars() -> None:
    """18 against 22 as SciPy's binomial test has it; none at all says nothing."""
    assert quantised.Row("", 40, 0, 18, 22, 0, 0.0).chance == pytest.approx(0.6358, abs=1e-4)
    assert quantised.Row("", 40, 0, 1, 9, 0, 0.0).chance == pytest.approx(0.02148, abs=1e-5)
    assert quantised.Row("", 40, 0, 0, 0, 0, 0.0).chance == 1.0


def test_examples_are_pictures_or_features(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed (extra data)")
    case = quantised.Case("", "", "", scale=0.5, offset=-1.0)
    np.savez(tmp_path / "x.npz", x=np.arange(-6, 6, dtype=np.int8).reshape(2, 6), y=[3, 4])
    x, classes = quantised.examples(case, tmp_path / "x.npz", (2, 3, 1))
    assert x.dtype == np.float32
    assert np.array_equal(x.reshape(-1), np.arange(-6, 6) * 0.5 - 1)
    assert list(classes) == [3, 4]
    grey = (40, 200)
    files = list[bytes]()
    for value in grey:
        file = io.BytesIO()
        image.new("RGB", (16, 16), (value,) * 3).save(file, "JPEG")
        files.append(file.getvalue())
    ends, packed = np.cumsum([0, *map(len, files)]), np.frombuffer(b"".join(files), np.uint8)
    np.savez(tmp_path / "jpeg.npz", jpeg=packed, offs=ends, y=[0, 1])
    x, _ = quantised.examples(case, tmp_path / "jpeg.npz", (8, 8, 3))
    assert x.shape == (2, 8, 8, 3)
    for row, value in zip(x, grey, strict=True):
        assert np.abs(row - (value * 0.5 - 1)).max() <= 0.5


def test_no_half_answers_for_itself() -> None:
    """Scales of a half that is nearly dark can say little of the other."""
    digits = load_digits_split()
    x = digits.x_train[:40].copy()
    model = from_module(network())
    whole = quantised.crossed(model, x, Quantization())
    real = quantised.answers(model, x)
    assert quantised.row("", real, whole, digits.y_train[:40]).noise_db > 15
    x[1::2] *= 1e-3
    crossed = quantised.crossed(model, x, Quantization())
    real = quantised.answers(model, x)
    noise = ((crossed - real) ** 2).mean(1)
    assert noise[0::2].mean() > 10 * ((whole - quantised.answers(model, x)) ** 2)[0::2].mean()


def test_recipes_are_chosen_on_one_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other half holds changes nothing, and sixteen bits are nearer than eight."""
    x = load_digits_split().x_train[:64].copy()
    model = from_module(network())
    sixteen = Quantization(activations="int16", adaptive_rounding=True)
    monkeypatch.setattr(quantised, "RECIPES", {"plain": Quantization(), "16": sixteen})
    found = list(quantised.choose(model, x, quantised.RECIPES))
    assert [(c.name, c.count) for c in found] == [("plain", 8), ("16", 8)]
    assert found[1].noise_db > found[0].noise_db + 3
    assert "of 8 as the float" in str(found[0])
    x[1::2] = 0
    assert list(quantised.choose(model, x, quantised.RECIPES)) == found


@pytest.mark.shared
@pytest.mark.slow
def test_mcunet_keeps_what_the_page_says(shared: Path) -> None:
    """With fewer pictures than there, which cost a few dB."""
    case = quantised.CASES["mcunet"]
    model = load(shared / case.real)
    x, classes = quantised.examples(case, shared / case.data, (176, 176, 3))
    seen, held = x[0:192:2], x[1:64:2]
    real = quantised.answers(model, held)
    rows = [
        quantised.row(
            name,
            real,
            quantised.answers(quantize(model, seen, options, test=held[:1]).model, held),
            classes[1:64:2],
        )
        for name, options in quantised.RECIPES.items()
        if name in ("plain", "recommended")
    ]
    assert rows[1].noise_db > rows[0].noise_db + 2
    assert rows[1].noise_db > 16

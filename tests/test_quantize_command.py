"""`lilliput quantize`: data in, a network out, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.cli_case import Run, runner
from tests.quantised import float_digits

from lilliput import compiler
from lilliput.demo_data import load_digits_split
from lilliput.ir.text import save


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "float.lilliput"
    path.write_bytes(save(float_digits()))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    digits = load_digits_split()
    path = tmp_path / "data.npz"
    np.savez(path, x=digits.x_train[:80], y=digits.y_train[:80])
    return path


@pytest.mark.parametrize("form", ["lilliput", "tflite"])
def test_a_network_is_written_and_said_of(
    run: Run, network: Path, data: Path, tmp_path: Path, form: str
) -> None:
    out, page = tmp_path / f"small.{form}", tmp_path / "account.html"
    arrays = tmp_path / "x.npz"
    digits = load_digits_split()
    np.savez(arrays, x=digits.x_train[:80])
    labels = tmp_path / "y.npy"
    np.save(labels, digits.y_train[:80])
    said = run(
        *("quantize", str(network), "--data", str(arrays), "--labels", str(labels)),
        *("-o", str(out), "--explain", "--report", str(page), "--json"),
    )
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["evaluated"]["integer_accuracy"] > 0.9
    assert found["explanation"]["layers"]
    assert page.read_text(encoding="utf-8").startswith("<!")
    model = compiler.load(out)
    pixels = model.module.inputs("infer")[0]
    assert pixels.type.dtype.value == "s8"
    assert (model.answers(digits.x_train[:80]).argmax(1) == digits.y_train[:80]).mean() > 0.9
    again = run("quantize", str(network), "--data", str(arrays), "-o", str(out))
    assert again.code == 1
    assert "--force" in again.err


@pytest.mark.parametrize(
    ("kind", "words"),
    [("one", "sample"), ("nan", "NaN"), ("zeros", "constant"), ("shape", "shape")],
)
def test_data_that_cannot_be_used(
    run: Run, network: Path, tmp_path: Path, kind: str, words: str
) -> None:
    x = load_digits_split().x_train[:20].astype(np.float32)
    data = {"one": x[:1], "nan": x * np.nan, "zeros": x * 0, "shape": x[:, :4]}[kind]
    path, out = tmp_path / "x.npz", tmp_path / "out.lilliput"
    np.savez(path, x=data)
    said = run("quantize", str(network), "--data", str(path), "-o", str(out))
    assert said.code == 1
    assert words in said.err, said.err
    assert not out.exists()


def test_a_network_of_integers_is_refused(run: Run, data: Path, tmp_path: Path) -> None:
    from lilliput.demo_data import digits_model

    out = tmp_path / "out.lilliput"
    said = run("quantize", str(digits_model()), "--data", str(data), "-o", str(out))
    assert said.code == 1
    assert not out.exists()

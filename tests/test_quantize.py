"""Quantising: float networks and data become integers equal to their simulation."""

from __future__ import annotations

import numpy as np
import pytest
from tests.quantised import float_digits, pictures, unequal, varied

import lilliput
from lilliput import Quantization
from lilliput.demo_data import load_digits_split
from lilliput.errors import UsageError
from lilliput.ir import DType


@pytest.mark.parametrize(("name", "dtype"), [("int8", DType.S8), ("int16", DType.S16)])
def test_every_kind_of_operator_equals_its_simulation(name: str, dtype: DType) -> None:
    found = lilliput.quantize(varied(dtype), pictures(), Quantization(activations=name))
    assert found.outcome.compared >= 14
    assert not found.outcome.floats
    assert found.model.tflite is not None


def test_unequal_channels_fail_are_explained_and_repaired() -> None:
    digits, network = load_digits_split(), unequal(float_digits())

    def accuracy(options: Quantization) -> tuple[float, lilliput.Quantized]:
        found = lilliput.quantize(
            network, digits.x_train[:200], options, test=digits.x_test, labels=digits.y_test
        )
        assert found.outcome.evaluated is not None
        assert found.outcome.evaluated.integer_accuracy is not None
        return found.outcome.evaluated.integer_accuracy, found

    plain, found = accuracy(Quantization(explain=True))
    assert plain < 0.8
    assert found.outcome.explanation is not None
    assert found.outcome.explanation.advice[0].startswith("equalize")
    assert accuracy(Quantization(equalize=True))[0] > 0.96


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (np.zeros((8, 6, 6, 3), np.float32), "constant"),
        (np.full((8, 6, 6, 3), np.nan, np.float32), "NaN"),
        (pictures(1), "too few samples"),
        (pictures(8).transpose(0, 3, 1, 2), "channels come last"),
        (np.array(["a", "b"]), "no numbers"),
    ],
)
def test_data_that_tell_nothing_are_refused(data: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        lilliput.quantize(varied(), data)
